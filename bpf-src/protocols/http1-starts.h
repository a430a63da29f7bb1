/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* HTTP/1: the first line of a message. */
#ifndef MESHTAP_HTTP1_STARTS_H
#define MESHTAP_HTTP1_STARTS_H

#include "protocols/http1-exchanges.h"
#include "protocols/http1-words.h"
#include "protocols/http2-frames.h"

/* The connection turned out not to speak HTTP/1, or not to make sense. */
static __noinline int refuse_start(struct connection *c, struct stream *s, __u64 first)
{
	if (!c || !s)
		return STOP;
	if (!c->counted_http)
		return STRANGE;
	if (!c->synced) { /* tried, as on every segment; no news */
		s->phase = UNSYNCED;
		s->began = 0;
		return STOP;
	}
	return lose_sync(c, s);
}

/* The version stands at the end of the first line; only then is it sure to be a request. before: its last eight bytes. */
static __always_inline int accept_request(struct connection *c, struct stream *s, __u64 before)
{
	__u64 version;
	__u32 slot;

	if (!c || !s)
		return STOP;
	version = before >> 56 == '\r' ? before & FIRST(7) : before >> 8;
	if ((version & FIRST(6)) != EIGHT('T', 'T', 'P', '/', '1', '.', 0, 0))
		return refuse_start(c, s, version);
	s->version = version >> 48 == '0' ? HTTP_1_0 : HTTP_1_1;
	if (!c->counted_http) {
		c->counted_http = 1;
		count_protocol(c, CONNECTIONS_HTTP1);
	}
	c->protocol = HTTP1;
	if (!c->synced) {
		c->synced = 1;
		c->era++; /* the answering direction takes its next segment for the beginning of an answer */
		s->era = c->era;
	}
	note(c->role, REQUESTS_SEEN, 1);
	if (c->asked - c->answered >= OUTSTANDING || c->untracked != c->untracked_answered) {
		c->untracked++;
		return AGAIN;
	}
	if (c->asked != c->answered && c->asked != c->void_before)
		c->pipelined = 1;
	slot = c->asked & (OUTSTANDING - 1);
	c->outstanding[slot] = s->began << 8 | s->method << 1 | s->version;
	c->route[slot] = c->walk.place ? route_of(c, end_walk(c), s->method) : ROUTE_NONE;
	c->asked++;
	return AGAIN;
}

static __always_inline int start_request(struct connection *c, struct stream *s)
{
	__u64 at = bounded(s->at);
	__u32 n = s->end - at;
	__u64 word = word_at(s, at, n, 0);
	int method = method_of(word);

	if ((word & 255) == '\r' || (word & 255) == '\n') { /* RFC 9112 2.2: an empty line before is ignored */
		if (!c->synced)
			return refuse_start(c, s, word);
		s->at++;
		return AGAIN;
	}
	if (!s->began)
		s->began = s->now;
	if (n < PREFACE_BYTES && begins_like_preface(s, at, n))
		return WAIT;
	if (method < 0 || word == EIGHT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T')) {
		int other = is_token(word, word_at(s, at, n, 8), word_at(s, at, n, 16), n);

		if (!other)
			return WAIT;
		if (other < 0 || (word & FIRST(6)) == EIGHT('P', 'R', 'I', ' ', '*', ' ', 0, 0))
			return refuse_start(c, s, word);
		method = METHOD_OTHER;
	}
	s->method = method;
	s->has_length = s->chunked = 0;
	s->length = 0;
	s->phase = FIRST_LINE;
	begin_walk(c, IN_METHOD);
	c->walk.in_line = 1;
	if (is_watched())
		note_line(c, s);
	return AGAIN;
}

/* Only the target and the end of the line are of interest, and what may be its end stays in the window. */
static __always_inline int end_first_line(struct connection *c, struct stream *s)
{
	__u64 at = bounded(s->at), end;
	int found = find_newline(s, at);

	end = found ? bounded(s->newline) : s->end > at + LINE_END ? s->end - LINE_END : at;
	if (c->walk.place)
		walk_text(c, s, end - at);
	if (!found) {
		s->at = end;
		return WAIT;
	}
	s->at = end + 1;
	s->phase = LINE;
	return accept_request(c, s, end < at + 8 ? 0 : eight(s, bounded(end - 8)));
}

static __always_inline int start_response(struct connection *c, struct stream *s)
{
	__u64 at = bounded(s->at);
	__u32 n = s->end - at;
	__u64 w = word_at(s, at, n, 0), code = eight(s, at + 8);
	__u32 hundreds, tens, ones;

	/* "HTTP/1.1 200": compare what there is of it */
	if (n < 7 ? (w ^ EIGHT('H', 'T', 'T', 'P', '/', '1', '.', 0)) & FIRST(n) :
		    (w & FIRST(7)) != EIGHT('H', 'T', 'T', 'P', '/', '1', '.', 0))
		return refuse_start(c, s, w);
	if (!s->began)
		s->began = s->now;
	if (n < 12)
		return WAIT;
	hundreds = (code >> 8 & 255) - '0';
	tens = (code >> 16 & 255) - '0';
	ones = (code >> 24 & 255) - '0';
	if ((code & 255) != ' ' || hundreds - 1 > 8u || tens > 9 || ones > 9)
		return refuse_start(c, s, w);
	if (c->protocol == UNCLASSIFIED) /* an answer that nobody asked for */
		return give_up(c, CONNECTIONS_OTHER);
	s->status = hundreds * 100 + tens * 10 + ones;
	note(c->role, RESPONSES_SEEN, 1);
	s->has_length = s->chunked = 0;
	s->length = 0;
	s->phase = HEAD;
	s->at += 12;
	return AGAIN;
}

#endif
