/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HTTP/1.0 and 1.1 (RFC 9112), as far as it takes to know where each message starts and ends, its method and its
 * status. One step reads on in the window, to the next line that matters; what is between steps lies in the stream, so
 * a message may be cut at any byte.
 *
 * In parts: words (http1-words.h), first lines (http1-starts.h), header lines (http1-heads.h), what is outstanding
 * (http1-exchanges.h), and here bodies and the parser.
 *
 * Limits: a method has at most 23 characters; a Content-Length, Transfer-Encoding or chunk-size line that the window's
 * end cuts has at most 63 bytes before the cut.
 */
#ifndef MESHTAP_HTTP1_H
#define MESHTAP_HTTP1_H

#include "protocols/http1-heads.h"
#include "protocols/http1-starts.h"
#include "protocols/http2.h"
#include "protocols/tls.h"

/* RFC 9112 7.1: a size, then perhaps extensions that mean nothing to us. */
static __always_inline int scan_chunk_size(struct connection *c, struct stream *s)
{
	__u64 at = bounded(s->at), size;
	__u32 n = s->end - at;

	if (!find_newline(s, at))
		return wait_for_line(c, s, n);
	size = hexadecimal(eight(s, at), eight(s, at + 8));
	if (size == NO_NUMBER)
		return lose_sync(c, s);
	s->at = s->newline + 1;
	s->phase = size ? CHUNK_DATA : TRAILER;
	return size ? pass_over(s, size + 2) : AGAIN;
}

static __always_inline int end_body(struct connection *c, struct stream *s, __u32 direction)
{
	if (is_request(c, direction))
		return end_message(s);
	return ANSWERED;
}

static __always_inline int scan_trailer(struct connection *c, struct stream *s, __u32 direction)
{
	__u64 at = bounded(s->at);
	__u32 n = s->end - at;
	__u32 first = s->byte[at];

	if (first == '\n' || (n >= 2 && first == '\r' && s->byte[at + 1] == '\n')) {
		s->at += first == '\n' ? 1 : 2;
		return end_body(c, s, direction);
	}
	if (n < 2)
		return WAIT;
	s->phase = TRAILER_REST;
	return AGAIN;
}

static __always_inline int scan_trailer_rest(struct stream *s)
{
	if (!find_newline(s, bounded(s->at))) {
		s->at = s->end;
		return WAIT;
	}
	s->at = s->newline + 1;
	s->phase = TRAILER;
	return AGAIN;
}

/* An answer whose request passed before anyone looked. */
static __always_inline int note_joined(struct connection *c, const struct stream *s)
{
	__u64 at = bounded(s->at), first = word_at(s, at, s->end - at, 0);

	if ((first & FIRST(7)) == EIGHT('H', 'T', 'T', 'P', '/', '1', '.', 0)) {
		note(c->role, RESPONSES_SEEN, 1);
		note(c->role, RESPONSES_JOINED_MIDWAY, 1);
		return STOP;
	}
	return c->counted_http ? STOP : STRANGE;
}

/* One step of the parser. It is called when there are bytes, and where what it wanted passed over ends. */
static __always_inline int http1_step(struct connection *c, struct stream *s, __u32 direction)
{
	int result;

	if (s->phase == BODY)
		return end_body(c, s, direction);
	if (s->phase == CHUNK_DATA)
		s->phase = CHUNK_SIZE; /* often there in the same segment */
	if (s->at >= s->end)
		return WAIT;
	if (s->phase == UNSYNCED) {
		if (!is_request(c, direction))
			return note_joined(c, s);
		s->phase = START;
	}
	/* each of these leads on to the next, most often within the same bytes */
	if (s->phase == START) {
		result = is_request(c, direction) ? start_request(c, s) : start_response(c, s);
		if (result != AGAIN)
			return result;
	}
	if (s->phase == FIRST_LINE) {
		result = end_first_line(c, s);
		if (result != AGAIN)
			return result;
	}
	if (s->phase == LINE) {
		if (s->at >= s->end)
			return WAIT;
		result = scan_line(c, s, direction);
		if (result != AGAIN)
			return result;
	}
	switch (s->phase) {
	case HEAD:
		return scan_head(c, s, direction);
	case CHUNK_SIZE:
		return scan_chunk_size(c, s);
	case TRAILER:
		return scan_trailer(c, s, direction);
	case TRAILER_REST:
		return scan_trailer_rest(s);
	case UNTIL_CLOSE: /* nothing of it is of interest, not even its length */
		s->at = s->end;
		s->next += s->left;
		s->left = 0;
		return STOP;
	}
	return AGAIN;
}

#endif
