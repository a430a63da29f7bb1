/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Segments that come before their turn are kept, in pieces, until it is there. */
#ifndef MESHTAP_EARLY_H
#define MESHTAP_EARLY_H

#include "lib/segments.h"

#define STRAYS 48 /* pieces of a connection that is not known yet: one segment, or the ten that TCP begins with */

#define CHAIN 64 /* pieces that one which is sent again may cover: Linux joins small segments then (tcp_retrans_try_collapse) */

/* Too large for the stack. Ingress only: it runs in softirq, which does not nest on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct early_value);
} early_scratch SEC(".maps");

/*
 * On the connection's list of pieces, once: whoever brings the same again may be ahead of who kept it, and TCP may take it
 * from him. 0 = the list is full. In its place there may be another one by now: then it is done with.
 */
static __always_inline int list_piece(struct connection *c, struct reassembly *r, struct early_value *value, __u32 seq)
{
	int listed = 0;

	take(&c->lock);
	if (value->listed || value->seq != seq)
		listed = 1;
	for (__u32 i = 1; i <= PIECES && !listed; i++) {
		__u32 place = (r->put + i) & (PIECES - 1);

		if (r->length[place])
			continue;
		r->seq[place] = seq;
		r->length[place] = value->length;
		r->put = place;
		c->early++;
		value->listed = listed = 1;
	}
	leave(&c->lock);
	return listed;
}

/* The bytes from an offset on, for as much as a piece has room; 0 = they can not be read. */
static __always_inline struct early_value *read_piece(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u32 zero = 0;
	struct early_value *value = bpf_map_lookup_elem(&early_scratch, &zero);

	length--;
	asm volatile("%0 &= 2047" : "+r"(length));
	if (!value || bpf_skb_load_bytes(skb, offset, value->byte, (length & 2047) + 1))
		return 0;
	value->length = length + 1;
	value->listed = 0;
	return value;
}

/*
 * Keep one piece of a segment. What is kept stays as it is: another CPU may have it under the parser, and will throw it
 * away. Of a segment that is sent again, and longer, the rest is kept behind it.
 */
__attribute__((noinline)) int hold_piece(struct __sk_buff *skb, __u32 offset, __u32 seq)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = { .seq = seq };
	struct early_value *value, *old;
	struct reassembly *r;
	__u32 length = skb->len - offset;

	if (!c || !sk || offset >= skb->len)
		return 0;
	if (length > PIECE)
		length = PIECE;
	/* what the parser passes over, such as most of a download, is not wanted back */
	if (position(&c->stream[IN], seq + length) <= c->stream[IN].next)
		return 1;
	r = MAKE_STORAGE(&reassembly, sk);
	if (!r)
		return 0;
	key.tuple = c->tuple;
	for (int i = 0; i < CHAIN; i++) {
		old = bpf_map_lookup_elem(&early, &key);
		if (!old)
			break;
		if (old->length >= length)
			return list_piece(c, r, old, key.seq);
		offset += old->length;
		key.seq += old->length;
		length -= old->length;
	}
	value = read_piece(skb, offset, length);
	if (!value)
		return 0;
	value->at = 0;
	value->seq = key.seq;
	bpf_map_update_elem(&early, &key, value, BPF_NOEXIST); /* another CPU may have kept the same meanwhile */
	old = bpf_map_lookup_elem(&early, &key);
	if (!old || old->length < length)
		return 0;
	if (list_piece(c, r, old, key.seq))
		return 1;
	bpf_map_delete_elem(&early, &key);
	return 0;
}

/* The same where the connection is not known yet, and so has no list. */
__attribute__((noinline)) int hold_stray(struct __sk_buff *skb, __u32 offset, __u32 seq)
{
	struct early_value *value, *old;
	struct early_key key = {};
	struct segment seg = {};
	struct ends ends;
	__u32 length = skb->len - offset;

	if (offset >= skb->len || !read_segment(skb, &seg) || !read_ends(skb, &seg, &ends))
		return 0;
	if (length > PIECE)
		length = PIECE;
	value = read_piece(skb, offset, length);
	if (!value)
		return 0;
	value->seq = seq;
	value->at = bpf_ktime_get_ns();
	key.tuple = hash_of(ends.source, ends.destination, ends.source_port, ends.destination_port);
	for (int i = 1; i <= STRAYS; i++) {
		key.stray = i;
		if (!bpf_map_update_elem(&early, &key, value, BPF_NOEXIST))
			return 1;
		old = bpf_map_lookup_elem(&early, &key);
		if (old && old->seq == seq && old->length >= length)
			return 1;
	}
	return 0;
}

/* A stray piece comes onto the list of its connection, which is known now. Called with the gate. */
__attribute__((noinline)) int adopt(struct __sk_buff *skb, __u32 stray)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_value *value, *old;
	struct early_key key = {};
	struct reassembly *r;
	__u32 length;

	if (!c || !sk)
		return 0;
	key.tuple = c->tuple;
	key.stray = stray;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value)
		return 0;
	length = value->length;
	key.seq = value->seq;
	key.stray = 0;
	r = MAKE_STORAGE(&reassembly, sk);
	old = bpf_map_lookup_elem(&early, &key);
	/* none from a connection that had the same addresses and ports before */
	if (r && position(&c->stream[IN], key.seq) - c->stream[IN].next + PIECE < STRAYS * 2 * PIECE &&
	    (!old || old->length < length)) {
		value->listed = old && old->listed;
		bpf_map_update_elem(&early, &key, value, BPF_ANY);
		old = bpf_map_lookup_elem(&early, &key);
		if (old)
			list_piece(c, r, old, key.seq);
	}
	key.seq = 0;
	key.stray = stray;
	bpf_map_delete_elem(&early, &key);
	return 1;
}

static __always_inline void hold(struct __sk_buff *skb, __u32 role, const struct segment *seg, int known)
{
	__u32 offset = seg->payload, seq = seg->seq;

	for (int i = 0; i < SEGMENT_PIECES; i++) {
		if (!(known ? hold_piece(skb, offset, seq) : hold_stray(skb, offset, seq))) {
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
