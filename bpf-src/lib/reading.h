/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From segments, in whatever order they come, to the steps of a parser. */
#ifndef MESHTAP_READING_H
#define MESHTAP_READING_H

#include "lib/early.h"
#include "lib/ending.h"

#define BURST 64 /* steps; at most BURST * BURSTS lines, windows or chunks of one segment are looked at */
#define BURSTS 128

/*
 * One step of the parser and what it asks for, verified once by itself: what it knows lies in the connection. That is
 * looked up only here and where a segment comes in, not by every function.
 */
__attribute__((noinline)) int turn(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;
	int result;

	if (!c || c->protocol == OPAQUE)
		return STOP;
	s = stream_of(c, direction);
	result = http1_step(c, s, direction);
	if (result == ANSWERED) {
		end_response(c, s, FAILURE_NONE);
		result = AGAIN;
	}
	if (result == AGAIN && s->at >= s->end)
		result = WAIT;
	return result == WAIT ? refill(skb, c, s) : result;
}

/* Bytes were missed, or make no sense. */
__attribute__((noinline)) int lose(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);

	if (!c)
		return STOP;
	return c->protocol == HTTP2 ? http2_lose_sync(skb, direction) : lose_sync(c, stream_of(c, direction));
}

/* It is another protocol, or none that is known here, or, of a connection that was open before, the middle of one. */
__attribute__((noinline)) int classify(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;

	if (!c)
		return STOP;
	if (http2_begin(skb, direction))
		return AGAIN;
	if (c->protocol == OPAQUE) /* no memory for it */
		return STOP;
	s = stream_of(c, direction);
	switch (carries_tls(c, s)) {
	case TLS_YES:
		count_tls(c);
		return STOP;
	case TLS_PERHAPS: /* too little to tell: the rest comes with the next segment */
		return STOP;
	}
	if (c->synced) {
		__u64 at = bounded(s->at);
		__u32 n = s->end - at;

		/* too little to tell: the rest comes with the next segment */
		if (!is_request(c, direction) && n && n < FRAME_HEADER && begins_like_settings(s, at, n))
			return STOP;
		return give_up(c, CONNECTIONS_OTHER);
	}
	s->phase = UNSYNCED;
	s->began = 0;
	return STOP;
}

/* The server grants what a request asked for: HTTP/2, in which the request is stream 1 (RFC 7540 3.2). */
__attribute__((noinline)) int upgrade(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;
	__u64 request;

	if (!c)
		return STOP;
	s = stream_of(c, direction);
	request = front(c);
	if (!http2_upgrade(skb, c, s->now - since(request, s->now), METHOD_BITS(request))) {
		c->protocol = OPAQUE;
		end_response(c, s, FAILURE_NONE);
		return STOP;
	}
	note(c->role, RESPONSES_INTERIM, 1);
	c->answered++;
	end_message(s);
	return AGAIN;
}

/* As turn(), for a connection that speaks HTTP/2. */
__attribute__((noinline)) int http2_turn(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct http2 *h = http2_of(skb->sk);
	struct stream *s;
	int result;

	if (!c || !h)
		return STOP;
	s = stream_of(c, direction);
	result = http2_step(skb, c, h, s, direction);
	if (result == ANSWERED)
		return http2_end(c, h, s, direction);
	if (result == LOST)
		return http2_lose_sync(skb, direction);
	return result == WAIT ? refill(skb, c, s) : result;
}

/* Two loops instead of a long one: the verifier walks 64 and 128 turns, not their product. */
__attribute__((noinline)) int burst(struct __sk_buff *skb, __u32 direction)
{
	for (int i = 0; i < BURST; i++) {
		int result = turn(skb, direction);

		if (result == STRANGE)
			return classify(skb, direction);
		if (result == UPGRADED)
			return upgrade(skb, direction);
		if (result != AGAIN)
			return result;
	}
	return AGAIN;
}

__attribute__((noinline)) int http2_burst(struct __sk_buff *skb, __u32 direction)
{
	for (int i = 0; i < BURST; i++) {
		int result = http2_turn(skb, direction);

		if (result != AGAIN)
			return result;
	}
	return AGAIN;
}

/* Parse length bytes at offset of the packet (or of an early piece); next is where they begin. */
static __noinline int parse(struct __sk_buff *skb, struct connection *c, __u32 direction, __u32 offset, __u32 length)
{
	int result = AGAIN;
	struct stream *s;

	if (!c)
		return 0;
	s = stream_of(c, direction);
	s->base = offset;
	s->left = length;
	if (!s->passing)
		result = refill(skb, c, s);
	s->passing = 0;
	for (int i = 0; i < BURSTS && result == AGAIN; i++)
		result = c->protocol == HTTP2 ? http2_burst(skb, direction) : burst(skb, direction);

	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		empty_window(s);
	else if (result != STOP)
		lose(skb, direction);
	return 0;
}

/* Somebody lost or regained the thread since this direction last looked. */
static __always_inline void follow_era(struct connection *c, struct stream *s, __u32 direction, __u64 here)
{
	if (s->era == c->era)
		return;
	s->era = c->era;
	empty_window(s);
	s->began = 0;
	drop_answer(c, s);
	s->next = here;
	s->phase = c->synced ? START : UNSYNCED;
	if (!is_request(c, direction))
		drop_void(c);
}

/* Up to where everything has arrived: TCP knows, but for what it has not looked at yet. */
static __always_inline __u64 in_order(const struct stream *s, __u32 received)
{
	__u64 known = position(s, received);

	return s->whole > known ? s->whole : known;
}

/* Take up one early piece whose turn has come, or that is of no use any more. */
__attribute__((noinline)) int take_piece(struct __sk_buff *skb, __u32 received)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = {};
	struct early_value *value;
	struct reassembly *r;
	__u32 found, length;
	struct stream *s;
	__u64 from;

	if (!c || !sk)
		return 0;
	s = &c->stream[IN];
	if (s->passing && in_order(s, received) < s->next)
		return 0;
	r = bpf_sk_storage_get(&reassembly, sk, 0, 0);
	key.tuple = c->tuple;
	key.seq = s->next;
	found = r ? unlist_piece(c, r, s->next, &key.seq) : 0;
	/* what came before the connection was known is on no list: it is looked for where it should begin */
	if (!found && (__s32)(received - key.seq) <= 0)
		return 0;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value && !found) {
		key.seq = c->active_isn + ((key.seq - c->active_isn) & ~(PIECE - 1));
		value = bpf_map_lookup_elem(&early, &key);
	}
	if (!value)
		return found;
	from = position(s, key.seq);
	length = value->length;
	if (from + length > s->next && c->protocol != OPAQUE && s->phase != UNSYNCED) {
		__u32 skip = s->next - from;

		s->now = found ? bpf_ktime_get_ns() : value->at;
		s->early_seq = key.seq;
		s->from_early = 1;
		parse(skb, c, IN, skip, length - skip);
		s->from_early = 0;
	}
	bpf_map_delete_elem(&early, &key);
	return 1;
}

/* Whether the parser lacks something that TCP has received. */
static __always_inline int is_behind(const struct connection *c, __u64 received)
{
	const struct stream *s = &c->stream[IN];

	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		return 0;
	if (s->phase == UNTIL_CLOSE)
		return s->fin == received;
	return (__s64)(received - s->next) > 0 || (received == s->next && s->passing);
}

/* Called with the gate. received: what TCP has in order; what the parser lacks of it has passed unseen. */
__attribute__((noinline)) int catch_up(struct __sk_buff *skb, __u32 received)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;

	if (!c)
		return 0;
	s = &c->stream[IN];
	for (int i = 0; i < 2 * PIECES; i++)
		if (!take_piece(skb, received))
			break;
	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		return 0;
	if (s->passing && s->next == position(s, received)) {
		s->now = bpf_ktime_get_ns();
		parse(skb, c, IN, 0, 0);
	}
	if (s->phase == UNTIL_CLOSE) {
		if (c->finished_in && s->fin == position(s, received)) {
			s->now = bpf_ktime_get_ns();
			end_response(c, s, FAILURE_NONE);
		}
		return 0;
	}
	if ((__s64)(position(s, received) - s->next) > 0)
		lose(skb, IN);
	return 0;
}

/* Called with the gate. received: what TCP had in order before this segment. */
static __noinline int take_in(struct __sk_buff *skb, struct connection *c, const struct segment *seg, __u32 received)
{
	__u64 from, to, whole;
	struct stream *s;

	if (!c || !seg)
		return 0;
	s = &c->stream[IN];
	from = position(s, seg->seq);
	to = from + seg->length;
	whole = in_order(s, received);
	if (to > s->top)
		s->top = to;
	if (from <= whole && to > s->whole)
		s->whole = to;
	follow_era(c, s, IN, from);
	if (c->protocol == OPAQUE)
		return 0;
	if (s->phase == UNSYNCED) {
		if (from < whole || !seg->length)
			return 0;
		s->next = from;
	}
	if (s->phase == UNTIL_CLOSE) {
		if (to > s->next)
			s->next = to;
		if (c->finished_in && s->fin == to && from <= whole) {
			s->now = bpf_ktime_get_ns();
			end_response(c, s, FAILURE_NONE);
		}
		return 0;
	}
	/* behind a hole: what is passed over has no end as long as there is one in it */
	if (from > s->next || (s->passing && from > whole)) {
		if (seg->length && to > s->next)
			hold(skb, c->role, seg, 1);
		return 0;
	}
	if (to > s->next || (to == s->next && s->passing)) {
		s->now = bpf_ktime_get_ns();
		parse(skb, c, IN, seg->payload + (s->next - from), to - s->next);
	}
	/* an answer that runs until the close may have come with it */
	if (s->phase == UNTIL_CLOSE && c->finished_in && s->fin == to)
		end_response(c, s, FAILURE_NONE);
	return 0;
}

/* Called under the socket's lock, as all that sends is. */
static __noinline int send_out(struct __sk_buff *skb, struct connection *c, const struct segment *seg)
{
	__u64 from, to, fresh;
	struct stream *s;

	if (!c || !seg)
		return 0;
	s = &c->stream[OUT];
	from = position(s, seg->seq);
	to = from + seg->length;
	fresh = from < s->top ? s->top : from;
	if (seg->fin) {
		s->fin = to;
		c->finished_out = 1;
	}
	if (to <= s->top && !seg->fin) /* sent again */
		return 0;
	/* TCP has put the time there (net/ipv4/tcp_output.c, __tcp_transmit_skb), for nothing: a clock is dear */
	s->now = skb->tstamp ? skb->tstamp : bpf_ktime_get_ns();
	if (from > s->top && s->phase != UNSYNCED && c->protocol != OPAQUE)
		lose(skb, OUT);
	if (to > s->top)
		s->top = to;
	follow_era(c, s, OUT, fresh);
	if (c->protocol == OPAQUE)
		return 0;
	if (s->phase == UNSYNCED)
		s->next = fresh;
	if (s->phase == UNTIL_CLOSE)
		s->next = to;
	else if (from <= s->next && (to > s->next || (to == s->next && s->passing)))
		parse(skb, c, OUT, seg->payload + (s->next - from), to - s->next);
	if (s->phase == UNTIL_CLOSE && seg->fin)
		end_response(c, s, FAILURE_NONE);
	return 0;
}

#endif
