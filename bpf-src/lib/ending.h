/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The first and the last things that are counted of a connection. */
#ifndef MESHTAP_ENDING_H
#define MESHTAP_ENDING_H

#include "lib/unanswered.h"

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
		show_connection(c, FLOW_OPENED, 0);
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

/*
 * Whoever reads inside TLS is told that nothing more will come. A reset that follows on the end of the answering side is
 * nothing: TLS says goodbye, often to a side that has closed and does not hear it (RFC 8446 6.1).
 */
static __always_inline void end_tls(struct connection *c, __u8 failure)
{
	struct tls_socket *socket = bpf_map_lookup_elem(&tls_sockets, &c->tls_cookie);
	__u8 finished = c->role == ROLE_CLIENT ? c->finished_in : c->finished_out;

	if (!socket)
		return;
	socket->failure = finished ? FAILURE_CLOSED : failure;
	socket->orderly = finished;
	barrier(); /* who sees the time must see the rest */
	socket->ended_at = bpf_ktime_get_ns();
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

static __always_inline int fail_front(struct connection *c)
{
	return c ? fail_front_at(c, failure_of(c), bpf_ktime_get_ns()) : 0;
}

/* The side that answers has closed its direction, and nobody has cut the connection. */
static __always_inline int is_orderly(const struct connection *c)
{
	return !c->reset && (c->role == ROLE_CLIENT ? c->finished_in : c->finished_out);
}

/*
 * The connection is over: nothing more will be answered. Called by whoever owns the answering direction. True where
 * requests are left, for the caller to fail.
 */
static __noinline int end_connection(struct connection *c)
{
	struct pair_value *value;
	__u8 failure;

	if (!c || c->ended)
		return 0;
	c->ended = 1;
	failure = failure_of(c);
	value = pair_value_of(c);
	if (value)
		add(failure == FAILURE_RESET ? &value->reset :
		    failure == FAILURE_CLOSED ? &value->closed : &value->timed_out, 1);
	show_connection(c, FLOW_CLOSED, failure);
	if (c->protocol == UNCLASSIFIED && !c->joined && has_spoken(c))
		note(c->role, CONNECTIONS_OTHER, 1); /* but not enough to be anything else */
	if (c->tls_cookie)
		end_tls(c, failure);
	end_answers(c, is_orderly(c), bpf_ktime_get_ns());
	return c->asked != c->answered || c->protocol == HTTP2;
}

#endif
