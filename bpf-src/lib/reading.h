/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From segments, in whatever order they come, to bytes in their order. */
#ifndef MESHTAP_READING_H
#define MESHTAP_READING_H

#include "lib/early.h"
#include "lib/ending.h"
#include "lib/steps.h"

/* Up to where everything has arrived: TCP knows, but for what it has not looked at yet. */
static __always_inline __u64 in_order(const struct stream *s, __u32 received)
{
	__u64 known = position(s, received);

	return s->whole > known ? s->whole : known;
}

static __always_inline void extend_whole(struct stream *s, __u64 from, __u64 to)
{
	if (from <= s->whole && to > s->whole)
		s->whole = to;
}

/* A piece is gone: others needed its place. Not inline: it would cost the deepest of all paths the stack that it has left. */
static __noinline int miss_piece(const struct connection *c)
{
	if (c)
		note(c->role, SEGMENTS_EARLY_DROPPED, 1);
	return 1;
}

/* Take up one early piece whose turn has come, or that is of no use any more. */
__attribute__((noinline)) int take_piece(struct __sk_buff *skb, __u32 received)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = {};
	struct early_value *value;
	struct reassembly *r;
	__u32 length;
	struct stream *s;
	__u64 from;

	if (!c || !sk)
		return 0;
	s = &c->stream[IN];
	if (s->passing && in_order(s, received) < s->next)
		return 0;
	r = bpf_sk_storage_get(&reassembly, sk, 0, 0);
	if (!r || !unlist_piece(c, r, s->next, &key.seq))
		return 0;
	key.tuple = c->tuple;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value)
		return miss_piece(c);
	from = position(s, key.seq);
	length = value->length;
	extend_whole(s, from, from + length);
	if (from <= s->next && from + length > s->next && c->protocol != OPAQUE && s->phase != UNSYNCED) {
		__u32 skip = s->next - from;

		s->now = value->at ? value->at : bpf_ktime_get_ns();
		s->early_seq = key.seq;
		s->from_early = 1;
		parse(skb, c, IN, skip, length - skip);
		s->from_early = 0;
	}
	bpf_map_delete_elem(&early, &key);
	return 1;
}

static __always_inline void take_pieces(struct __sk_buff *skb, __u32 received)
{
	for (int i = 0; i < 2 * PIECES; i++)
		if (!take_piece(skb, received))
			break;
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
	take_pieces(skb, received);
	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		return 0;
	if (s->phase != UNTIL_CLOSE && (__s64)(position(s, received) - s->next) > 0) {
		for (int i = 1; i <= STRAYS; i++)
			adopt(skb, i);
		take_pieces(skb, received);
	}
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
	__u64 from, to, known, whole;
	struct stream *s;

	if (!c || !seg)
		return 0;
	s = &c->stream[IN];
	from = position(s, seg->seq);
	to = from + seg->length;
	known = position(s, received);
	/* of what the parser lacks, take_piece() says how it passed */
	if (known <= s->next)
		extend_whole(s, s->whole, known);
	whole = in_order(s, received);
	extend_whole(s, from, to);
	if (to > s->top)
		s->top = to;
	/* where the other direction found the thread again, this one goes on behind what had come by then */
	follow_era(c, s, IN, whole);
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
