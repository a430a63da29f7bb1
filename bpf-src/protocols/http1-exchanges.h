/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* HTTP/1: requests that are outstanding, their answers, and what becomes of both when the thread is lost. */
#ifndef MESHTAP_HTTP1_EXCHANGES_H
#define MESHTAP_HTTP1_EXCHANGES_H

#include "lib/flows.h"

/* An answer of which the rest will not be understood. Only the answering direction has a status. */
static __always_inline void drop_answer(const struct connection *c, struct stream *s)
{
	if (s->status)
		note(c->role, RESPONSES_DESYNCHRONISED, 1);
	s->status = 0;
}

/* Give up until a segment begins with a request. What is outstanding can not be matched any more. */
static __noinline int lose_sync(struct connection *c, struct stream *s)
{
	if (!c || !s)
		return STOP;
	drop_answer(c, s);
	note(c->role, LOST_SYNC, 1);
	c->void_before = c->asked;
	c->synced = 0;
	c->era++;
	s->era = c->era;
	s->phase = UNSYNCED;
	empty_window(s);
	s->began = 0;
	/* with pipelining, an answer still to come could be taken for that of a request sent since */
	if (c->pipelined)
		c->protocol = OPAQUE;
	return STOP;
}

static __always_inline int give_up(struct connection *c, enum ledger_entry what)
{
	if (!c->counted_http)
		count_protocol(c, what);
	c->protocol = OPAQUE;
	return STOP;
}

/* Requests whose answers can not be told apart any more leave the ring. Called by the side that answers. */
static __noinline int drop_void(struct connection *c)
{
	__u32 n;

	if (!c)
		return 0;
	n = c->void_before - c->answered;
	if (n && n <= OUTSTANDING) {
		note(c->role, REQUESTS_DESYNCHRONISED, n);
		c->answered = c->void_before;
	}
	return 0;
}

/* What the lowest byte of an outstanding request holds: its version, its method, and whether it asks for HTTP/2. */
#define METHOD_BITS(request) ((request) >> 1 & 31)
#define ASKS_HTTP2 64

/* From where a request began to a later moment, ns. Above the lowest byte is room for the time modulo 833 days. */
static __always_inline __u64 since(__u64 request, __u64 now)
{
	__s64 ns = (__s64)((now << 8) - (request & ~0xffull)) >> 8;

	return ns > 0 ? ns : 0; /* an answer may begin ahead of its request */
}

/* Its route, if its answer ends now. */
static __always_inline __u32 route_in_front(const struct connection *c, __u64 duration)
{
	__u32 slot = c->answered & (OUTSTANDING - 1);

	return route_after(c->route[slot], duration);
}

/* The request that this answer belongs to, or 0. */
static __always_inline __u64 front(struct connection *c)
{
	__u32 slot = c->answered & (OUTSTANDING - 1);

	return c->asked != c->answered ? c->outstanding[slot] : 0;
}

static __always_inline int end_message(struct stream *s)
{
	s->phase = START;
	s->began = 0;
	s->status = 0;
	return AGAIN;
}

static __noinline int end_response(struct connection *c, struct stream *s, __u8 failure)
{
	__u64 request;

	if (!c || !s)
		return 0;
	request = front(c);
	if (request) {
		__u64 tag = TAG(s->status, METHOD_BITS(request), request & 1, failure);

		note(c->role, RESPONSES_MATCHED, 1);
		tag |= ROUTE_TAG(route_in_front(c, since(request, s->now)));
		measure(c, tag, since(request, s->now), since(request, s->began) ?: 1);
		show_request(c, tag, since(request, s->now), since(request, s->began) ?: 1, c->answered << 1);
		c->answered++;
	} else if (c->untracked != c->untracked_answered) {
		note(c->role, REQUESTS_PIPELINE_FULL, 1);
		note(c->role, RESPONSES_PIPELINE_FULL, 1);
		c->untracked_answered++;
	}
	end_message(s);
	return 0;
}

#endif
