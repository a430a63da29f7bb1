/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Brings the bytes of one direction under the parser, window by window, from wherever they are. */
#ifndef MESHTAP_REFILL_H
#define MESHTAP_REFILL_H

#ifdef INSIDE_TLS
#include "lib/plaintext.h"
#else
#include "lib/segments.h"
#endif

/*
 * Moves the window on: over what is to be passed over, then to the bytes behind those that it holds. AGAIN: there is
 * something for the parser. WAIT: it left more than it may.
 */
static __noinline int refill(SOURCE source, struct connection *c, struct stream *s)
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
	if (fetch(source, c, s, rest, fresh))
		return WAIT;
	s->base += fresh;
	s->left -= fresh;
	s->next += fresh;
	s->at = 0;
	s->end = rest + fresh;
	return AGAIN;
}

#endif
