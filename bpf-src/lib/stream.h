/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bytes of one direction, in their order, brought under the parser window by window.
 *
 * Egress runs under the socket's lock, so its stream has one writer. Ingress does not: two CPUs may hold segments of
 * one socket at once. The gate lets one of them through; the other leaves its segment among the early ones (early.h)
 * and a mark that makes the one inside look again.
 */
#ifndef MESHTAP_STREAM_H
#define MESHTAP_STREAM_H

#include "lib/connection.h"
#include "lib/packet.h"

/* What a parser's step, and whatever calls it, says of what comes next. */
enum step {
	AGAIN,	  /* there may be more to do with what is in the window */
	WAIT,	  /* more bytes are needed, or some are to be passed over */
	STOP,
	ANSWERED, /* an answer is complete: whoever called counts it by answer() and goes on */
	STRANGE,  /* not what the parser understands, nor has it understood anything before */
	LOST,	  /* the parser is out of step */
	UPGRADED, /* from HTTP/1 to HTTP/2 */
};

#define EIGHT(a, b, c, d, e, f, g, h)                                                                             \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |                  \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST(n) (~0ull >> (64 - 8 * (n)))

/* Requests travel in on a server and out on a client. */
static __always_inline int is_request(const struct connection *c, __u32 direction)
{
	return c->role == ROLE_SERVER ? direction == IN : direction == OUT;
}

#define PIECE 2048	  /* an early segment is kept in pieces of this size */
#define PIECES 128	  /* ... at most so many per connection */
#define SEGMENT_PIECES 33 /* 64 KiB and a bit */

/* The segments of a connection that came before their turn. */
struct reassembly {
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
	__u8 byte[PIECE + FRESH];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct early_key);
	__type(value, struct early_value);
} early SEC(".maps");

enum gate { BUSY = 1, LOOK_AGAIN = 2 };

static __always_inline int enter(struct connection *c)
{
	int mine;

	bpf_spin_lock(&c->lock);
	mine = !(c->gate & BUSY);
	c->gate = mine ? BUSY : BUSY | LOOK_AGAIN;
	bpf_spin_unlock(&c->lock);
	return mine;
}

#define LOOKS 4 /* ... in a row: then the rest waits for the next packet */

/* True if somebody left something: then the gate stays with the caller, who looks again, unless it was for the last time. */
static __always_inline int leave_or_look(struct connection *c, int last)
{
	int again;

	bpf_spin_lock(&c->lock);
	again = !last && c->gate & LOOK_AGAIN;
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

/* A place in the window, for verifiers that have lost sight of its bound. */
static __always_inline __u64 bounded(__u64 place)
{
	asm volatile("%0 &= 511" : "+r"(place));
	return place;
}

/* Eight bytes of the window; place is bounded, and up to SLACK - 8 more. */
static __always_inline __u64 eight(const struct stream *s, __u64 place)
{
	return *(__u64 *)(s->byte + place);
}

static __always_inline void empty_window(struct stream *s)
{
	s->at = s->end = 0;
	s->skip = 0;
	s->passing = 0;
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

/*
 * Moves the window on: over what is to be passed over, then to the bytes behind those that it holds. AGAIN: there is
 * something for the parser. WAIT: it left more than it may.
 */
static __noinline int refill(struct __sk_buff *skb, struct connection *c, struct stream *s)
{
	__u64 at, rest, fresh, skip;

	if (!c || !s)
		return STOP;
	at = bounded(s->at);
	rest = s->end - at;
	skip = s->skip;
	if (skip) {
		s->skip = 0;
		if (skip < rest) {
			s->at = at + skip;
			return AGAIN;
		}
		skip -= rest;
		s->at = s->end = 0;
		s->next += skip;
		if (skip > s->left) {
			s->left = 0;
			s->passing = 1;
			return STOP;
		}
		s->base += skip;
		s->left -= skip;
		return AGAIN; /* the end of what was passed over, perhaps with nothing behind it */
	}
	if (!s->left)
		return STOP;
	if (rest >= REST)
		return WAIT;
	asm volatile("%0 &= 63" : "+r"(rest));
	if (rest) {
#pragma unroll
		for (int i = 0; i < REST; i += 8)
			*(__u64 *)(s->byte + i) = eight(s, at + i);
	}
	fresh = s->left < FRESH ? s->left : FRESH;
	if (s->from_early) {
		if (load_early(c, s, rest))
			return WAIT;
	} else {
		/* 5.10 and 6.1 lose a lower bound written as n != 0: n - 1, masked where it can not be undone, plus 1 */
		__u64 less = fresh - 1;

		asm volatile("%0 &= 511" : "+r"(less));
		if (less >= FRESH || bpf_skb_load_bytes(skb, s->base, s->byte + rest, less + 1))
			return WAIT;
	}
	s->base += fresh;
	s->left -= fresh;
	s->next += fresh;
	s->at = 0;
	s->end = rest + fresh;
	return AGAIN;
}

#endif
