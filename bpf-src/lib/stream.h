/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bytes of one direction in their order, whatever order the segments came in.
 *
 * Egress runs under the socket's lock, so its stream has one writer. Ingress does not: two CPUs may hold segments of
 * one socket at once. The gate lets one of them through; the other leaves its segment among the early ones and a
 * mark that makes the one inside look again.
 */
#ifndef MESHTAP_STREAM_H
#define MESHTAP_STREAM_H

#include "lib/connection.h"
#include "lib/packet.h"

#define CARRY 64       /* an unfinished line start is at most this long */
#define WORDS 12       /* a block: 11 words under examination and one to look ahead */
#define BLOCK (WORDS * 8)
#define PIECE 2048     /* an early segment is kept in pieces of this size */
#define PIECES 128     /* ... at most so many per connection */
#define SEGMENT_PIECES 33 /* 64 KiB and a bit */

enum gate { BUSY = 1, LOOK_AGAIN = 2 };

struct reassembly {
	__u8 carry[2][2 * CARRY + BLOCK]; /* carried bytes, then up to CARRY of the segment, then slack for a block */
	struct early_piece {
		__u32 seq, length; /* length 0 = free */
	} piece[PIECES];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct reassembly);
} reassembly SEC(".maps");

struct early_key {
	__u64 tuple;
	__u32 seq, reserved;
};

struct early_value {
	__u64 at; /* ns */
	__u32 length, reserved;
	__u8 byte[PIECE + BLOCK + CARRY];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct early_key);
	__type(value, struct early_value);
} early SEC(".maps");

/* Too large for the stack. Ingress only: it runs in softirq, which does not nest on one CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct early_value);
} early_scratch SEC(".maps");

static __always_inline int enter(struct connection *c)
{
	int mine;

	bpf_spin_lock(&c->lock);
	mine = !(c->gate & BUSY);
	c->gate = mine ? BUSY : BUSY | LOOK_AGAIN;
	bpf_spin_unlock(&c->lock);
	return mine;
}

/* True if somebody left something: then the gate stays with the caller, who looks again. */
static __always_inline int leave_or_look(struct connection *c)
{
	int again;

	bpf_spin_lock(&c->lock);
	again = c->gate & LOOK_AGAIN;
	c->gate = again ? BUSY : 0;
	bpf_spin_unlock(&c->lock);
	return again;
}

/* By arithmetic, not by choice: a choice between two pointers would have everything after it verified twice. */
static __always_inline struct stream *stream_of(struct connection *c, __u32 direction)
{
	__u64 which = direction == OUT;

	asm volatile("%0 &= 1" : "+r"(which));
	return &c->stream[which];
}

/* A block from map memory, which is clear behind what is kept there. */
static __always_inline void copy_block(const __u8 *from, __u64 word[WORDS])
{
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		word[i] = *(__u64 *)(from + 8 * i);
}

static __noinline int read_carried(struct bpf_sock *sk, __u32 direction, __u32 v, __u32 n, __u64 word[WORDS])
{
	struct reassembly *r;

	if (!word || !sk || !(r = bpf_sk_storage_get(&reassembly, sk, 0, 0)))
		return 0;
	asm volatile("%0 &= 127" : "+r"(v));
	copy_block((direction == OUT ? r->carry[OUT] : r->carry[IN]) + (v & 127), word);
	return n;
}

static __noinline int read_early(struct connection *c, __u32 seq, __u32 offset, __u32 n, __u64 word[WORDS])
{
	struct early_key key = { .seq = seq };
	struct early_value *value;

	if (!c || !word)
		return 0;
	key.tuple = c->tuple;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value)
		return 0;
	asm volatile("%0 &= 2047" : "+r"(offset));
	copy_block(value->byte + (offset & 2047), word);
	return n;
}

/*
 * Up to one block at v, cleared behind its end; returns how many bytes are real. A block that starts among the
 * carried bytes ends where the copy of the segment's first bytes behind them ends.
 */
static __always_inline __u32 read_block(struct __sk_buff *skb, struct connection *c, struct stream *s,
					__u32 direction, __u64 word[WORDS])
{
	__u32 v = s->at, n = s->end - v;

	if (v < s->carried) {
		__u32 copied = s->carried + CARRY - v;

		return read_carried(skb->sk, direction, v, n < copied ? n : copied, word);
	}
	if (n > BLOCK)
		n = BLOCK;
	v = s->base + v - s->carried;
	if (s->from_early)
		return read_early(c, s->early_seq, v, n, word);
	if (n == BLOCK)
		return bpf_skb_load_bytes(skb, v, word, BLOCK) ? 0 : n;

	__builtin_memset(word, 0, BLOCK);
	if (!n)
		return 0;
	/* 5.10 and 6.1 lose a lower bound written as n != 0: n - 1, masked where the compiler can not undo it, plus 1 */
	__u64 less = n - 1;
	asm volatile("%0 &= 127" : "+r"(less));
	if (less >= BLOCK)
		return 0;
	return bpf_skb_load_bytes(skb, v, word, less + 1) ? 0 : n;
}

static __always_inline __u8 *carry_of(struct reassembly *r, __u32 direction)
{
	return direction == OUT ? r->carry[OUT] : r->carry[IN];
}

/* Keep what is left under the parser for the next segment. */
__attribute__((noinline)) int carry_rest(struct __sk_buff *skb, __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	__u64 word[WORDS];
	struct reassembly *r;
	struct stream *s;
	__u32 n;

	if (!c || !sk)
		return 0;
	s = stream_of(c, direction);
	n = read_block(skb, c, s, direction, word);
	if (n != s->end - s->at || n >= CARRY)
		return 0;
	r = bpf_sk_storage_get(&reassembly, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!r)
		return 0;
	__u8 *to = carry_of(r, direction);
#pragma unroll
	for (int i = 0; i < CARRY / 8; i++)
		*(__u64 *)(to + 8 * i) = word[i];
	s->carried = n;
	return 1;
}

/*
 * Put the first bytes of this segment behind those carried over, so that a line that is cut can be read whole, and
 * clear what an earlier time may have left behind them.
 */
__attribute__((noinline)) int join_carried(struct __sk_buff *skb, __u32 direction, __u32 length)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	__u64 word[WORDS];
	struct reassembly *r;
	struct stream *s;
	__u32 carried;

	if (!c || !sk || !(r = bpf_sk_storage_get(&reassembly, sk, 0, 0)))
		return 0;
	s = stream_of(c, direction);
	carried = s->carried;
	s->carried = 0; /* read the segment alone */
	s->at = 0;
	s->end = length;
	length = read_block(skb, c, s, direction, word);
	s->carried = carried;
	if (!length)
		return 0;
	__u8 *to = carry_of(r, direction);
	asm volatile("%0 &= 63" : "+r"(carried));
	to += carried & 63;
#pragma unroll
	for (int i = 0; i < CARRY / 8; i++)
		*(__u64 *)(to + 8 * i) = word[i];
#pragma unroll
	for (int i = 0; i < CARRY / 8; i++)
		*(__u64 *)(to + CARRY + 8 * i) = 0;
	return 1;
}

#endif
