/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bytes of segments: of the one that passes, and of those that came early and were kept.
 *
 * Egress runs under the socket's lock, so its stream has one writer. Ingress does not: two CPUs may hold segments of
 * one socket at once. The gate lets one of them through; the other leaves its segment among the early ones (early.h)
 * and a mark that makes the one inside look again.
 */
#ifndef MESHTAP_SEGMENTS_H
#define MESHTAP_SEGMENTS_H

#include "lib/packet.h"
#include "lib/stream.h"

#define PIECE 2048	  /* an early segment is kept in pieces of this size */
#define PIECES 512	  /* ... at most so many per connection; a power of two */
#define SEGMENT_PIECES 33 /* 64 KiB and a bit */

/* The segments of a connection that came before their turn. */
struct reassembly {
	__u32 put, taken; /* where the last one was: they mostly come and go in order */
	__u32 seq[PIECES];
	__u16 length[PIECES]; /* 0 = free */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct reassembly);
} reassembly SEC(".maps");

/* A piece; or a stray one, of a connection that is not known yet. */
struct early_key {
	__u64 tuple;
	__u32 seq, stray; /* the one or, from 1 on, the other: nobody knows which bytes of it come first */
};

struct early_value {
	__u64 at; /* ns: of a stray one */
	__u32 seq;
	__u16 length, listed;
	__u8 byte[PIECE + FRESH];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct early_key);
	__type(value, struct early_value);
} early SEC(".maps");

enum gate { BUSY = 1, LOOK_AGAIN = 2 };

static __always_inline int enter(struct connection *c)
{
	int mine;

	take(&c->lock);
	mine = !(c->gate & BUSY);
	c->gate = mine ? BUSY : BUSY | LOOK_AGAIN;
	leave(&c->lock);
	return mine;
}

#define PATIENCE 64 /* twice: so many times so many tries, some 200 us */

__attribute__((noinline)) int try_to_enter(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);

	if (!c)
		return 0;
	for (int i = 0; i < PATIENCE; i++)
		if (enter(c))
			return 1;
	return 0;
}

/*
 * What is sent may be the answer to what another CPU is only about to read, because the same arrived twice and TCP has
 * taken the other one. Whoever is inside is in softirq and soon done. True if the gate is the caller's.
 */
static __always_inline int wait_to_enter(struct __sk_buff *skb)
{
	for (int i = 0; i < PATIENCE; i++)
		if (try_to_enter(skb))
			return 1;
	return 0;
}

#define LOOKS 4 /* ... in a row: then the rest waits for the next packet */

/* True if somebody left something: then the gate stays with the caller, who looks again, unless it was for the last time. */
static __always_inline int leave_or_look(struct connection *c, int last)
{
	int again;

	take(&c->lock);
	again = !last && c->gate & LOOK_AGAIN;
	c->gate = again ? BUSY : 0;
	leave(&c->lock);
	return again;
}

/* Bytes of an early piece. It has room for a whole window behind its last byte. */
static __noinline int load_early(struct connection *c, struct stream *s, __u64 rest)
{
	struct early_key key = { .seq = s->early_seq };
	struct early_value *value;
	__u64 from = s->base;

	key.tuple = c->tuple;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value)
		return -1;
	asm volatile("%0 &= 2047" : "+r"(from));
	asm volatile("%0 &= 63" : "+r"(rest));
	for (__u64 i = 0; i < FRESH; i += 8)
		*(__u64 *)(s->byte + rest + i) = *(__u64 *)(value->byte + from + i);
	return 0;
}

/* The next bytes, behind those that the window keeps. 0 = they are there. */
static __always_inline int fetch(SOURCE skb, struct connection *c, struct stream *s, __u64 rest, __u64 fresh)
{
	/* 5.10 and 6.1 lose a lower bound written as n != 0: n - 1, masked where it can not be undone, plus 1 */
	__u64 less = fresh - 1;

	if (s->from_early)
		return load_early(c, s, rest);
	asm volatile("%0 &= 511" : "+r"(less));
	return less >= FRESH || bpf_skb_load_bytes(skb, s->base, s->byte + rest, less + 1);
}

#endif
