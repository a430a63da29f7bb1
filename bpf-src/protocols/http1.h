/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HTTP/1.0 and 1.1 (RFC 9112), as far as it takes to know where each message starts and ends, its method and its
 * status. One step reads on in the window, to the next line that matters; what is between steps lies in the stream, so
 * a message may be cut at any byte.
 *
 * Limits: a method has at most 23 characters; a Content-Length, Transfer-Encoding or chunk-size line that the window's
 * end cuts has at most 63 bytes before the cut.
 */
#ifndef MESHTAP_HTTP1_H
#define MESHTAP_HTTP1_H

#include "lib/flows.h"
#include "protocols/http2.h"
#include "protocols/tls.h"

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

static __always_inline int method_of(__u64 w)
{
	if ((w & FIRST(4)) == EIGHT('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return METHOD_GET;
	if ((w & FIRST(5)) == EIGHT('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return METHOD_POST;
	if ((w & FIRST(4)) == EIGHT('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return METHOD_PUT;
	if ((w & FIRST(5)) == EIGHT('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return METHOD_HEAD;
	if ((w & FIRST(7)) == EIGHT('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return METHOD_DELETE;
	if ((w & FIRST(6)) == EIGHT('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return METHOD_PATCH;
	if (w == EIGHT('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return METHOD_OPTIONS;
	if (w == EIGHT('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return METHOD_CONNECT;
	if ((w & FIRST(6)) == EIGHT('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return METHOD_TRACE;
	return -1;
}

/*
 * Any other token followed by a space, among n bytes (RFC 9110 5.6.2; letters, digits, '-' and '_' only).
 * 1 = yes, -1 = no, 0 = not yet known. Like the next two a function of its own, so that it is verified only once.
 */
__attribute__((noinline)) int is_token(__u64 a, __u64 b, __u64 c, __u32 n)
{
#pragma unroll
	for (__u32 i = 0; i < 24; i++) {
		__u32 ch = (i < 8 ? a : i < 16 ? b : c) >> (i % 8 * 8) & 255;

		if (i >= n)
			return 0;
		if (ch == ' ')
			return i ? 1 : -1;
		if ((ch | 32) - 'a' > 25u && ch - '0' > 9u && ch != '-' && ch != '_')
			return -1;
	}
	return -1;
}

#define NO_NUMBER (~0ull)

/* Spaces, at least one digit, then the end of the line (RFC 9110 8.6), all in 24 bytes. */
__attribute__((noinline)) __u64 decimal(__u64 a, __u64 b, __u64 c)
{
	__u64 value = 0;
	__u32 digits = 0;

	for (__u32 i = 0; i < 24; i++) {
		__u32 ch = a & 255;

		a = a >> 8 | b << 56;
		b = b >> 8 | c << 56;
		c >>= 8;
		if (ch - '0' <= 9u) {
			value = value * 10 + (ch - '0');
			digits++;
		} else if (digits) {
			return digits < 19 && (ch == '\r' || ch == '\n' || ch == ' ' || ch == '\t') ? value : NO_NUMBER;
		} else if (ch != ' ' && ch != '\t') {
			return NO_NUMBER;
		}
	}
	return NO_NUMBER;
}

/* A chunk's size and the byte that ends it (RFC 9112 7.1), in 16 bytes. */
__attribute__((noinline)) __u64 hexadecimal(__u64 a, __u64 b)
{
	__u64 value = 0;

	for (__u32 i = 0; i < 16; i++) {
		__u32 ch = a & 255, letter = (ch | 32) - 'a';

		a = a >> 8 | b << 56;
		b >>= 8;
		if (ch - '0' <= 9u)
			value = value << 4 | (ch - '0');
		else if (letter <= 5)
			value = value << 4 | (letter + 10);
		else
			return i && (ch == '\r' || ch == '\n' || ch == ';' || ch == ' ' || ch == '\t') ? value : NO_NUMBER;
	}
	return NO_NUMBER;
}

/*
 * The next newline of the window, from a place on. Left in memory, not returned: the verifier would follow every place
 * where it can be.
 */
static __noinline int find_newline(struct stream *s, __u64 at)
{
	int found = 0;

	if (!s)
		return 0;
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 marks;

		if (at >= s->end)
			break;
		marks = newlines(eight(s, bounded(at)));
		if (marks) {
			at += lowest(marks);
			s->newline = at;
			found = 1;
			break;
		}
		at += 8;
	}
	return found && s->newline < s->end;
}

/* Of the eight bytes at an offset from the parser's place, those that are there. */
static __always_inline __u64 word_at(const struct stream *s, __u64 at, __u32 n, __u32 offset)
{
	__u64 word = eight(s, at + offset);

	if (n >= offset + 8)
		return word;
	return n <= offset ? 0 : word & FIRST(n - offset);
}

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
