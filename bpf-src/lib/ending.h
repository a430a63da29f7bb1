/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The first and the last things that are counted of a connection. */
#ifndef MESHTAP_ENDING_H
#define MESHTAP_ENDING_H

#include "protocols/http1.h"

/* Both ends of a connection that began before these programs' eyes have met in its handshake. */
static __noinline int find_by_handshake(struct connection *c)
{
	struct handshake_key key = {};
	struct handshake *both;

	if (!c || c->joined || !c->established)
		return 0;
	key.active_isn = c->active_isn;
	key.passive_isn = c->passive_isn;
	both = bpf_map_lookup_elem(&handshakes, &key);
	if (!both)
		return 0;
	if (c->role == ROLE_CLIENT) {
		both->active_cgroup = c->cgroup;
		c->peer_cgroup = both->passive_cgroup;
		both->met = 1;
	} else {
		c->peer_cgroup = both->active_cgroup;
		if (both->met || !both->active_cgroup) /* nobody else wants to know */
			bpf_map_delete_elem(&handshakes, &key);
	}
	return 1;
}

/* From here on the pair is known, and what is known of the connection so far is counted. */
static __noinline int settle(struct connection *c)
{
	struct pair_value *value;

	if (!c)
		return 0;
	find_pair(c);
	barrier(); /* who sees it settled, on another CPU, must see the pair */
	c->settled = 1;
	tell_tls(c);
	value = pair_value_of(c);
	if (!value)
		return 0;
	if (c->established && !c->joined) {
		add(&value->opened, 1);
		if (c->role == ROLE_CLIENT)
			observe(&value->connect, c->connect_ns);
	}
	return 0;
}

/* What TCP has received, without FIN, which it counts as a byte. */
static __always_inline __u32 received_of(struct connection *c, __u32 rcv_nxt)
{
	struct stream *s = &c->stream[IN];

	if (!s->fin || rcv_nxt != (__u32)s->fin + 1)
		return rcv_nxt;
	c->finished_in = 1;
	return rcv_nxt - 1;
}

/* Bytes that have passed since they were last counted. Called under the socket's lock. received: without FIN. */
static __always_inline void account(struct connection *c, __u32 received)
{
	__u64 sent = c->stream[OUT].top - c->sent_to;
	__s32 arrived = received - c->received_to;
	struct pair_value *value;

	if (!c->settled || (!sent && arrived <= 0))
		return;
	value = pair_value_of(c);
	if (!value)
		return;
	if (sent) {
		c->sent_to += sent;
		add(&value->bytes_sent, sent);
	}
	if (arrived > 0) {
		c->received_to = received;
		add(&value->bytes_received, arrived);
	}
}

/* srtt_us is kept times eight (net/ipv4/tcp_input.c, tcp_rtt_estimator). */
static __always_inline void sample(struct connection *c, __u32 srtt_us, __u32 total_retrans)
{
	struct pair_value *value = c->settled ? pair_value_of(c) : 0;

	if (!value)
		return;
	if (srtt_us)
		observe(&value->rtt, (__u64)srtt_us * 125);
	if (total_retrans != c->retransmits) {
		add(&value->retransmits, total_retrans - c->retransmits);
		c->retransmits = total_retrans;
	}
}

static __always_inline int has_spoken(const struct connection *c)
{
	__u32 in = c->stream[IN].top, out = c->stream[OUT].top;

	return c->role == ROLE_CLIENT ? out != c->active_isn || in != c->passive_isn :
					in != c->active_isn || out != c->passive_isn;
}

static __always_inline __u8 failure_of(const struct connection *c)
{
	return c->reset ? FAILURE_RESET : c->finished_in || c->finished_out ? FAILURE_CLOSED : FAILURE_TIMEOUT;
}

static __always_inline struct stream *answer_of(struct connection *c)
{
	return stream_of(c, c->role == ROLE_CLIENT ? IN : OUT);
}

/* The oldest request will not be answered, or not to the end. 0 = there is none. */
static __always_inline int fail_front(struct connection *c)
{
	__u64 request, now = bpf_ktime_get_ns();
	struct stream *answer;
	__u8 failure;

	if (!c)
		return 0;
	failure = failure_of(c);
	request = front(c);
	if (!request)
		return 0;
	answer = answer_of(c);
	if (answer->status >= 200) {
		answer->now = now;
		end_response(c, answer, failure);
		return 1;
	}
	measure(c, TAG(0, METHOD_BITS(request), request & 1, failure), since(request, now), 0);
	c->answered++;
	return 1;
}

/*
 * The connection is over: nothing more will be answered. Called by whoever owns the answering direction. True where
 * requests are left, for the caller to fail.
 */
static __noinline int end_connection(struct connection *c)
{
	struct pair_value *value;
	struct stream *answer;
	__u8 failure, orderly;

	if (!c || c->ended)
		return 0;
	c->ended = 1;
	failure = failure_of(c);
	value = pair_value_of(c);
	if (value)
		add(failure == FAILURE_RESET ? &value->reset :
		    failure == FAILURE_CLOSED ? &value->closed : &value->timed_out, 1);

	drop_void(c);
	/* an answer to what was given up is none to what was asked since */
	answer = answer_of(c);
	if (answer->era != c->era)
		drop_answer(c, answer);
	orderly = c->role == ROLE_CLIENT ? c->finished_in : c->finished_out;
	if (answer->phase == UNTIL_CLOSE && orderly && !c->reset) {
		answer->now = bpf_ktime_get_ns();
		end_response(c, answer, FAILURE_NONE);
	}
	if (c->untracked != c->untracked_answered)
		note(c->role, REQUESTS_PIPELINE_FULL, c->untracked - c->untracked_answered);
	if (c->protocol == UNCLASSIFIED && !c->joined && has_spoken(c))
		note(c->role, CONNECTIONS_OTHER, 1); /* but not enough to be anything else */
	if (c->asked == c->answered || answer->status < 200) /* no answer has begun, or one that is not the last */
		drop_answer(c, answer);
	return c->asked != c->answered || c->protocol == HTTP2;
}

#endif
