/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The first and the last things that are counted of a connection. */
#ifndef MESHTAP_ENDING_H
#define MESHTAP_ENDING_H

#include "protocols/http1.h"

/* From here on the pair is known, and what is known of the connection so far is counted. */
static __noinline int settle(struct connection *c)
{
	struct handshake_key key = {};
	struct handshake *both;
	struct pair_value *value;
	int first;

	if (!c || c->settled)
		return 0;
	bpf_spin_lock(&c->lock);
	first = !c->settled;
	c->settled = 1;
	bpf_spin_unlock(&c->lock);
	if (!first)
		return 0;
	key.active_isn = c->active_isn;
	key.passive_isn = c->passive_isn;
	both = c->established && !c->joined ? bpf_map_lookup_elem(&handshakes, &key) : 0;
	if (both && c->role == ROLE_CLIENT) {
		both->active_cgroup = c->cgroup;
		c->peer_cgroup = both->passive_cgroup;
	} else if (both) {
		c->peer_cgroup = both->active_cgroup;
		bpf_map_delete_elem(&handshakes, &key);
	}
	find_pair(c);
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

static __always_inline void account(struct connection *c, __u64 sent, __u64 received)
{
	struct pair_value *value = c->settled ? pair_value_of(c) : 0;

	if (value && sent)
		add(&value->bytes_sent, sent);
	if (value && received)
		add(&value->bytes_received, received);
}

/* What arrived since the last look, in order and without FIN. */
static __always_inline __u64 newly_received(struct connection *c, __u32 rcv_nxt)
{
	__u32 fin = c->stream[IN].fin, n;

	if (c->finished_in && (__s32)(rcv_nxt - fin) > 0)
		rcv_nxt = fin;
	n = rcv_nxt - c->received_to;
	if ((__s32)n <= 0)
		return 0;
	c->received_to = rcv_nxt;
	return n;
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
	answer = c->role == ROLE_CLIENT ? &c->stream[IN] : &c->stream[OUT];
	if (answer->status >= 200) {
		answer->now = now;
		end_response(c, answer, failure);
		return 1;
	}
	measure(c, request >> 1 & 127, request & 1, 0, failure, now - (request & ~0xffull), 0);
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
	__u8 failure, orderly;

	if (!c || c->ended)
		return 0;
	c->ended = 1;
	settle(c);
	failure = failure_of(c);
	value = pair_value_of(c);
	if (value)
		add(failure == FAILURE_RESET ? &value->reset :
		    failure == FAILURE_CLOSED ? &value->closed : &value->timed_out, 1);

	drop_void(c);
	/* an answer to what was given up is none to what was asked since */
	struct stream *answer = c->role == ROLE_CLIENT ? &c->stream[IN] : &c->stream[OUT];
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
	if (c->asked == c->answered)
		drop_answer(c, answer);
	return c->asked != c->answered;
}

#endif
