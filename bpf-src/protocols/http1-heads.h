/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* HTTP/1: header lines, and where the body ends that follows. */
#ifndef MESHTAP_HTTP1_HEADS_H
#define MESHTAP_HTTP1_HEADS_H

#include "protocols/http1-exchanges.h"
#include "protocols/http1-words.h"

/* A body is not read: the parser is called again when its end is reached. */
static __always_inline int pass_over(struct stream *s, __u64 length)
{
	s->skip = length;
	return WAIT;
}

static __noinline int end_request_head(struct connection *c, struct stream *s)
{
	if (!c || !s)
		return STOP;
	s->began = 0;
	s->phase = s->chunked ? CHUNK_SIZE : s->has_length && s->length ? BODY : START;
	return s->phase == BODY ? pass_over(s, s->length) : AGAIN;
}

/* Where the body of an answer ends: RFC 9112 6.3. */
static __noinline int end_response_head(struct connection *c, struct stream *s)
{
	__u64 request;
	__u8 method;

	if (!c || !s)
		return STOP;
	request = front(c);
	method = METHOD_BITS(request);
	if (s->status < 200 && s->status != 101) {
		note(c->role, RESPONSES_INTERIM, 1);
		return end_message(s);
	}
	if (!request && c->untracked == c->untracked_answered) {
		/* without the request's method the end of this answer is not known */
		note(c->role, RESPONSES_JOINED_MIDWAY, 1);
		s->status = 0;
		return lose_sync(c, s);
	}
	if (s->status == 101 && request & ASKS_HTTP2)
		return UPGRADED;
	if (s->status == 101 || (method == METHOD_CONNECT && s->status < 300 && request)) {
		c->protocol = OPAQUE;
		return ANSWERED;
	}
	if ((method == METHOD_HEAD && request) || s->status == 204 || s->status == 304)
		return ANSWERED;
	if (s->chunked)
		s->phase = CHUNK_SIZE;
	else if (!s->has_length)
		s->phase = UNTIL_CLOSE;
	else if (s->length <= s->end - s->at) {
		s->at += s->length;
		return ANSWERED;
	} else {
		s->phase = BODY;
		return pass_over(s, s->length);
	}
	return AGAIN;
}

static __always_inline int end_head(struct connection *c, struct stream *s, __u32 direction)
{
	return is_request(c, direction) ? end_request_head(c, s) : end_response_head(c, s);
}

/*
 * Looks for line ends, eight bytes at a time, and at what follows them: the end of the head, or a header that says how
 * long the body is. All others are passed over.
 */
static __always_inline int scan_head(struct connection *c, struct stream *s, __u32 direction)
{
	__u64 at = bounded(s->at), end = s->end, after = 0;

	s->at = end;
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 marks, line;

		if (at >= end)
			break;
		marks = newlines(eight(s, bounded(at)));
		at += 8;
		if (!marks)
			continue;
		line = bounded(at - 8 + lowest(marks)) + 1;
		if (line > end) /* the newline is none of ours */
			break;
		after = eight(s, line);
		if (line + 9 <= end && !(marks & (marks - 1)) && (after & 255) > '\r') {
			if ((after | LOWER) != EIGHT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
			    (after | LOWER) != (EIGHT('u', 'p', 'g', 'r', 'a', 'd', 'e', ':') | LOWER) &&
			    /* Content-Length, not -Type */
			    ((after | LOWER) != EIGHT('c', 'o', 'n', 't', 'e', 'n', 't', '-') ||
			     (eight(s, line + 8) & 0xdf) != 'L'))
				continue;
		}
		s->at = line;
		s->phase = LINE;
		break;
	}
	if (s->phase == HEAD)
		return WAIT;
	if (s->at + 2 > s->end || (after & FIRST(2)) != EIGHT('\r', '\n', 0, 0, 0, 0, 0, 0))
		return AGAIN;
	s->at += 2;
	return end_head(c, s, direction);
}

/* A line that says something of the framing must be there whole: wait for the rest, or see that it is absurd. */
static __always_inline int wait_for_line(struct connection *c, struct stream *s, __u32 n)
{
	return n >= REST ? lose_sync(c, s) : WAIT;
}

static __noinline int take_length(struct connection *c, struct stream *s, __u64 at)
{
	__u64 length;

	if (!c || !s)
		return STOP;
	at = bounded(at);
	length = decimal(eight(s, at + 15), eight(s, at + 23), eight(s, at + 31));
	if (length == NO_NUMBER || (s->has_length && s->length != length))
		return lose_sync(c, s); /* RFC 9112 6.3: unrecoverable */
	s->has_length = 1;
	s->length = length;
	return AGAIN;
}

/* Whether the last coding of the line that ends at the newline found is "chunked" (RFC 9112 6.1). */
static __noinline int ends_in_chunked(struct stream *s)
{
	__u32 ahead;
	__u64 end;

	if (!s)
		return 0;
	for (int i = 0; i < REST; i++) {
		__u32 ch = s->byte[bounded(s->newline - 1)];

		if (ch != ' ' && ch != '\t' && ch != '\r')
			break;
		s->newline--;
	}
	end = s->newline;
	ahead = s->byte[bounded(end - 8)];
	return ((eight(s, bounded(end - 7)) | LOWER) & FIRST(7)) == EIGHT('c', 'h', 'u', 'n', 'k', 'e', 'd', 0) &&
	       (ahead == ' ' || ahead == '\t' || ahead == ',' || ahead == ':');
}

/* The request that is being read asks for an upgrade to HTTP/2. */
static __always_inline void ask_for_http2(struct connection *c, __u32 direction)
{
	__u32 slot = (c->asked - 1) & (OUTSTANDING - 1);

	if (is_request(c, direction) && c->asked != c->answered)
		c->outstanding[slot] |= ASKS_HTTP2;
}

static __always_inline int scan_line(struct connection *c, struct stream *s, __u32 direction)
{
	__u64 at = bounded(s->at);
	__u32 n = s->end - at;
	__u64 low = eight(s, at) | LOWER, second = eight(s, at + 8) | LOWER;
	__u32 first = s->byte[at];

	if (first == '\n' || (n >= 2 && first == '\r' && s->byte[at + 1] == '\n')) {
		s->at += first == '\n' ? 1 : 2;
		return end_head(c, s, direction);
	}
	if (n < 20 && !find_newline(s, at))
		return WAIT;
	s->phase = HEAD;
	if (low == EIGHT('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
	    (second & FIRST(7)) == EIGHT('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
		if (find_newline(s, at))
			return take_length(c, s, at);
		s->phase = LINE;
		return wait_for_line(c, s, n);
	}
	if (low == (EIGHT('u', 'p', 'g', 'r', 'a', 'd', 'e', ':') | LOWER) &&
	    (second & FIRST(4)) == EIGHT(' ', 'h', '2', 'c' , 0, 0, 0, 0)) { /* RFC 7540 3.2 */
		ask_for_http2(c, direction);
		return AGAIN;
	}
	if (low == EIGHT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
	    second == EIGHT('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
	    ((eight(s, at + 16) | 0x20) & FIRST(2)) == EIGHT('g', ':', 0, 0, 0, 0, 0, 0)) {
		if (find_newline(s, at)) {
			s->chunked = ends_in_chunked(s);
			return AGAIN;
		}
		s->phase = LINE;
		return wait_for_line(c, s, n);
	}
	return AGAIN;
}

#endif
