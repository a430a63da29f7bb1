/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Segments that come before their turn are kept, in pieces, until it is there. */
#ifndef MESHTAP_EARLY_H
#define MESHTAP_EARLY_H

#include "lib/segments.h"

/* Too large for the stack. Ingress only: it runs in softirq, which does not nest on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct early_value);
} early_scratch SEC(".maps");

/* On the connection's list of pieces. */
static __always_inline int list_piece(struct connection *c, struct reassembly *r, __u32 seq, __u32 length)
{
	int listed = 0;

	take(&c->lock);
	for (__u32 i = 1; i <= PIECES; i++) {
		__u32 place = (r->put + i) & (PIECES - 1);

		if (r->length[place])
			continue;
		r->seq[place] = seq;
		r->length[place] = length;
		r->put = place;
		c->early++;
		listed = 1;
		break;
	}
	leave(&c->lock);
	return listed;
}

/* The name of a connection, also where it is not known yet: its addresses and ports. 0 = that is no segment. */
static __always_inline __u64 tuple_of(struct __sk_buff *skb, const struct connection *c, __u32 listed)
{
	struct segment seg = {};
	struct ends ends;

	if (listed)
		return c ? c->tuple : 0;
	if (!read_segment(skb, &seg) || !read_ends(skb, &seg, &ends))
		return 0;
	return hash_of(ends.source, ends.destination, ends.source_port, ends.destination_port);
}

/*
 * Keep one piece of a segment. It is on a list unless the connection is not known yet: then it is looked for under the
 * addresses and ports, where it should begin. What is kept stays as it is: another CPU may have it under the parser, and
 * will throw it away. Of a segment that is sent again, and longer, the rest is kept behind it.
 */
__attribute__((noinline)) int hold_piece(struct __sk_buff *skb, __u32 offset, __u32 seq, __u32 listed)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = { .seq = seq };
	struct early_value *value, *old;
	struct reassembly *r = 0;
	__u32 zero = 0, length = skb->len - offset;

	value = bpf_map_lookup_elem(&early_scratch, &zero);
	if (!value || !sk || offset >= skb->len)
		return 0;
	if (length > PIECE)
		length = PIECE;
	/* what the parser passes over, such as most of a download, is not wanted back */
	if (listed && c && position(&c->stream[IN], seq + length) <= c->stream[IN].next)
		return 1;
	key.tuple = tuple_of(skb, c, listed);
	if (!key.tuple)
		return 0;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		old = bpf_map_lookup_elem(&early, &key);
		if (!old)
			break;
		if (old->length >= length)
			return 1;
		offset += old->length;
		key.seq += old->length;
		length -= old->length;
	}
	length--;
	asm volatile("%0 &= 2047" : "+r"(length));
	if (bpf_skb_load_bytes(skb, offset, value->byte, (length & 2047) + 1))
		return 0;
	length++;
	value->length = length;
	value->at = bpf_ktime_get_ns();

	if (listed) {
		r = make_storage(&reassembly, sk);
		if (!r)
			return 0;
	}
	/* another CPU may have kept the same meanwhile */
	if (bpf_map_update_elem(&early, &key, value, BPF_NOEXIST)) {
		old = bpf_map_lookup_elem(&early, &key);
		return old && old->length >= length;
	}
	if (!c || !r || list_piece(c, r, key.seq, length))
		return 1;
	bpf_map_delete_elem(&early, &key);
	return 0;
}

static __always_inline void hold(struct __sk_buff *skb, __u32 role, const struct segment *seg, __u32 listed)
{
	__u32 offset = seg->payload, seq = seg->seq;

	for (int i = 0; i < SEGMENT_PIECES; i++) {
		if (!hold_piece(skb, offset, seq, listed)) {
			note(role, SEGMENTS_EARLY_DROPPED, 1);
			return;
		}
		offset += PIECE;
		seq += PIECE;
		if (offset >= skb->len)
			break;
	}
	note(role, offset < skb->len ? SEGMENTS_EARLY_DROPPED : SEGMENTS_EARLY, 1);
}

/* The start of a listed piece that begins at or before a position, off the list. True if there was one. */
static __always_inline int unlist_piece(struct connection *c, struct reassembly *r, __u64 position_, __u32 *seq)
{
	struct stream *s = &c->stream[IN];
	int found = 0;

	take(&c->lock);
	for (__u32 i = 1; i <= PIECES; i++) {
		__u32 place = (r->taken + i) & (PIECES - 1);

		if (!r->length[place] || (__s64)(position(s, r->seq[place]) - position_) > 0)
			continue;
		*seq = r->seq[place];
		r->length[place] = 0;
		r->taken = place;
		c->early--;
		found = 1;
		break;
	}
	leave(&c->lock);
	return found;
}

#endif
