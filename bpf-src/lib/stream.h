/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The window on the bytes of one direction, and what a parser says of them. */
#ifndef MESHTAP_STREAM_H
#define MESHTAP_STREAM_H

#include "lib/connection.h"
#include "lib/maps.h"

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

#define LINE_END 15 /* bytes that hold the version of HTTP/1 at the end of a request's first line */

#define LOWER 0x2020202020202020ull

/* Marks the newlines among eight bytes by their highest bit; marks above the lowest may be wrong. */
static __always_inline __u64 newlines(__u64 w)
{
	w ^= 0x0a0a0a0a0a0a0a0aull;
	return (w - 0x0101010101010101ull) & ~w & 0x8080808080808080ull;
}

/* Which of the eight bytes has the lowest mark. */
static __always_inline __u32 lowest(__u64 marks)
{
	return ((marks & -marks) >> 7) * 0x0001020304050607ull >> 56;
}

static __always_inline void empty_window(struct stream *s)
{
	s->at = s->end = 0;
	s->skip = 0;
	s->passing = 0;
}

#endif
