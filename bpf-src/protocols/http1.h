/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HTTP/1.0 and 1.1 (RFC 9112), as far as it takes to know where each message starts and ends, its method and its
 * status. One step reads one block or one line; what is between steps lies in the stream, so a message may be cut
 * at any byte.
 *
 * Limits: a method has at most 23 characters; a Content-Length, Transfer-Encoding or chunk-size line that a
 * segment's end cuts has at most 63 bytes before the cut.
 */
#ifndef MESHTAP_HTTP1_H
#define MESHTAP_HTTP1_H

#include "lib/series.h"
#include "lib/stream.h"

enum step {
	AGAIN,
	WAIT, /* for bytes of segments to come */
	STOP,
	ANSWERED, /* an answer is complete: whoever called counts it by end_response() and goes on */
};

#define EIGHT(a, b, c, d, e, f, g, h)                                                                             \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |                  \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST(n) (~0ull >> (64 - 8 * (n)))
#define LOWER 0x2020202020202020ull

/* Requests travel in on a server and out on a client. */
static __always_inline int is_request(const struct connection *c, __u32 direction)
{
	return c->role == ROLE_SERVER ? direction == IN : direction == OUT;
}

/* An answer of which the rest will not be understood. Only the answering direction has a status. */
static __always_inline void drop_answer(const struct connection *c, struct stream *s)
{
	if (s->status)
		note(c->role, RESPONSES_DESYNCHRONISED, 1);
	s->status = 0;
}

/* Give up until a segment begins with a request. What is outstanding can not be matched any more. */
static __always_inline int lose_sync(struct connection *c, struct stream *s)
{
	drop_answer(c, s);
	note(c->role, LOST_SYNC, 1);
	c->void_before = c->asked;
	c->synced = 0;
	c->era++;
	s->era = c->era;
	s->phase = UNSYNCED;
	s->carried = 0;
	s->began = 0;
	/* with pipelining, an answer still to come could be taken for that of a request sent since */
	if (c->pipelined)
		c->protocol = OPAQUE;
	return STOP;
}

static __always_inline int give_up(struct connection *c, enum ledger_entry what)
{
	if (!c->counted_http)
		note(c->role, what, 1);
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

/* Where the line ends in the block, behind its newline; 0 = not there. before: the eight bytes ahead of the newline. */
static __always_inline __u32 line_end(const __u64 word[WORDS], __u64 *before)
{
	__u64 last = 0;

#pragma unroll
	for (__u32 i = 0; i < WORDS - 1; i++) {
		__u64 marks = newlines(word[i]);

		if (marks) {
			__u32 byte = lowest(marks);

			*before = byte ? word[i] << (64 - 8 * byte) | last >> 8 * byte : last;
			return i * 8 + byte + 1;
		}
		last = word[i];
	}
	return 0;
}

/* The connection turned out not to speak HTTP/1, or not to make sense. */
static __noinline int refuse_start(struct connection *c, struct stream *s, __u64 first)
{
	if (!c || !s)
		return STOP;
	/* the first byte of a TLS record is its type, 20 to 23; the second the major version (RFC 8446 5.1) */
	if (!c->counted_http && (first & 255) - 20 <= 3u && (first >> 8 & 255) == 3)
		return give_up(c, CONNECTIONS_TLS);
	if (!c->synced) { /* tried, as on every segment; no news */
		s->phase = UNSYNCED;
		s->began = 0;
		return STOP;
	}
	if (c->counted_http)
		return lose_sync(c, s);
	if (first == EIGHT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T'))
		return give_up(c, CONNECTIONS_HTTP2);
	return give_up(c, CONNECTIONS_OTHER);
}

/* The version stands at the end of the first line; only then is it sure to be a request. */
static __noinline int accept_request(struct connection *c, struct stream *s, __u64 before)
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
		note(c->role, CONNECTIONS_HTTP1, 1);
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
	if (c->asked != c->answered)
		c->pipelined = 1;
	slot = c->asked & (OUTSTANDING - 1);
	c->outstanding[slot] = (s->began & ~0xffull) | s->method << 1 | s->version;
	c->asked++;
	return AGAIN;
}

static __always_inline int start_request(struct connection *c, struct stream *s, const __u64 word[WORDS], __u32 n)
{
	int method = method_of(word[0]);
	__u64 ahead = 0;
	__u32 end;

	if ((word[0] & 255) == '\r' || (word[0] & 255) == '\n') { /* RFC 9112 2.2: an empty line before is ignored */
		if (!c->synced)
			return refuse_start(c, s, word[0]);
		s->at++;
		return AGAIN;
	}
	if (!s->began)
		s->began = s->now;
	if (method < 0 || word[0] == EIGHT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T')) {
		int other = is_token(word[0], word[1], word[2], n);

		if (!other)
			return WAIT;
		if (other < 0 || (word[0] & FIRST(6)) == EIGHT('P', 'R', 'I', ' ', '*', ' ', 0, 0))
			return refuse_start(c, s, word[0]);
		method = METHOD_OTHER;
	}
	s->method = method;
	s->has_length = s->chunked = 0;
	s->length = 0;
	s->phase = HEAD;
	/* most often the line is here whole; what is in between when it is not, scan_head keeps */
	end = line_end(word, &ahead);
	s->first_line = !end;
	if (!end) {
		s->last = 0;
		return AGAIN;
	}
	s->phase = LINE;
	s->at += end;
	return accept_request(c, s, ahead);
}

static __always_inline int start_response(struct connection *c, struct stream *s, const __u64 word[WORDS], __u32 n)
{
	__u64 w = word[0], code = word[1];
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
	return AGAIN;
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
		__u64 asked_at = request & ~0xffull;
		__u64 first_byte = s->began > asked_at ? s->began - asked_at : 1; /* an answer may begin ahead of its request */

		note(c->role, RESPONSES_MATCHED, 1);
		measure(c, request >> 1 & 127, request & 1, s->status, failure, s->now - asked_at, first_byte);
		c->answered++;
	} else if (c->untracked != c->untracked_answered) {
		note(c->role, REQUESTS_PIPELINE_FULL, 1);
		note(c->role, RESPONSES_PIPELINE_FULL, 1);
		c->untracked_answered++;
	}
	end_message(s);
	return 0;
}

static __noinline int end_request_head(struct connection *c, struct stream *s)
{
	if (!c || !s)
		return STOP;
	s->phase = s->chunked ? CHUNK_SIZE : s->has_length && s->length ? BODY : START;
	s->began = 0;
	return AGAIN;
}

/* Where the body of an answer ends: RFC 9112 6.3. */
static __noinline int end_response_head(struct connection *c, struct stream *s)
{
	__u64 request;
	__u8 method;

	if (!c || !s)
		return STOP;
	request = front(c);
	method = request >> 1 & 127;
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
	else if (s->length)
		s->phase = BODY;
	else
		return ANSWERED;
	return AGAIN;
}

/* A body is not read: the parser's place moves behind it, if need be into segments to come. */
static __always_inline int skip_body(struct stream *s)
{
	__u64 here = s->end - s->at, length = s->length;

	s->length = 0;
	if (length <= here) {
		s->at += length;
		return 1;
	}
	s->next += length - here; /* while a run lasts, next is the position of its end */
	s->at = s->end;
	return 0;
}

/*
 * Look for line ends, eight bytes at a time, and at what follows them: the end of the head, or a header that says
 * how long the body is. All others are passed over.
 */
static __always_inline int scan_head(struct connection *c, struct stream *s, __u32 direction,
				     const __u64 word[WORDS], __u32 n)
{
	__u64 before = s->last, ahead = 0, after = 0;
	__u32 first_line = s->first_line, found = 0;
	int request = is_request(c, direction);

#pragma unroll
	for (__u32 i = 0; i < WORDS - 1; i++) {
		__u64 marks = newlines(word[i]), ninth;
		__u32 byte;

		if (!marks) {
			if (i * 8 + 8 <= n)
				before = word[i];
			continue;
		}
		byte = lowest(marks);
		found = i * 8 + byte + 1;
		ahead = byte ? word[i] << (64 - 8 * byte) | before >> 8 * byte : before;
		after = byte == 7 ? word[i + 1] : word[i] >> (8 * byte + 8) | word[i + 1] << (56 - 8 * byte);
		if (first_line || found + 9 > n || (after & 255) <= '\r' || marks & (marks - 1))
			break;
		if ((after | LOWER) == EIGHT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r'))
			break;
		ninth = byte < 7 ? word[i + 1] >> (8 * byte + 8) : i + 2 < WORDS ? word[i + 2] : 'l';
		if ((after | LOWER) == EIGHT('c', 'o', 'n', 't', 'e', 'n', 't', '-') && ((ninth | 32) & 255) == 'l')
			break; /* Content-Length, not -Type */
		found = 0;
		before = word[i];
	}
	if (found) {
		s->at += found;
		s->phase = LINE;
		if (first_line) {
			s->first_line = 0;
			return request ? accept_request(c, s, ahead) : AGAIN;
		}
		if ((after & FIRST(2)) != EIGHT('\r', '\n', 0, 0, 0, 0, 0, 0))
			return AGAIN;
		s->at += 2;
		return request ? end_request_head(c, s) : end_response_head(c, s);
	}
	/* none: these bytes are of no interest, but that a first line's end may be cut */
	if (n > BLOCK - 8)
		n = BLOCK - 8;
	if (first_line) {
		if (n < 8)
			return WAIT;
		n &= ~7u;
		s->last = before;
	}
	s->at += n;
	return AGAIN;
}

/* A line that says something of the framing must be there whole: wait for the rest, or see that it is absurd. */
static __always_inline int wait_for_line(struct connection *c, struct stream *s, __u32 n)
{
	s->phase = s->phase == HEAD ? LINE : s->phase;
	return n >= CARRY ? lose_sync(c, s) : WAIT;
}

static __always_inline int take_length(struct connection *c, struct stream *s, const __u64 word[WORDS])
{
	__u64 length = decimal(word[1] >> 56 | word[2] << 8, word[2] >> 56 | word[3] << 8, word[3] >> 56 | word[4] << 8);

	if (length == NO_NUMBER || (s->has_length && s->length != length))
		return lose_sync(c, s); /* RFC 9112 6.3: unrecoverable */
	s->has_length = 1;
	s->length = length;
	return AGAIN;
}

static __always_inline int scan_line(struct connection *c, struct stream *s, __u32 direction,
				     const __u64 word[WORDS], __u32 n)
{
	__u64 low = word[0] | LOWER, second = word[1] | LOWER, before;
	__u32 first = word[0] & 255, end;

	if (first == '\n' || (word[0] & FIRST(2)) == EIGHT('\r', '\n', 0, 0, 0, 0, 0, 0)) {
		s->at += first == '\n' ? 1 : 2;
		return is_request(c, direction) ? end_request_head(c, s) : end_response_head(c, s);
	}
	s->phase = HEAD;
	if (n < 20 && !newlines(word[0]) && !newlines(word[1]) && !newlines(word[2]))
		return wait_for_line(c, s, n);
	if (low == EIGHT('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
	    (second & FIRST(7)) == EIGHT('l', 'e', 'n', 'g', 't', 'h', ':', 0)) {
		if (!line_end(word, &before))
			return wait_for_line(c, s, n);
		return take_length(c, s, word);
	}
	if (low == EIGHT('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
	    second == EIGHT('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n') &&
	    ((word[2] | 0x20) & FIRST(2)) == EIGHT('g', ':', 0, 0, 0, 0, 0, 0)) {
		end = line_end(word, &before);
		if (!end)
			return wait_for_line(c, s, n);
		before = before >> 56 == '\r' ? before & FIRST(7) : before >> 8;
		s->chunked = (before | LOWER) == (EIGHT('c', 'h', 'u', 'n', 'k', 'e', 'd', 0) | LOWER);
	}
	return AGAIN;
}

/* RFC 9112 7.1: a size, then perhaps extensions that mean nothing to us. */
static __always_inline int scan_chunk_size(struct connection *c, struct stream *s, const __u64 word[WORDS], __u32 n)
{
	__u64 before, size;
	__u32 end = line_end(word, &before);

	if (!end)
		return wait_for_line(c, s, n);
	size = hexadecimal(word[0], word[1]);
	if (size == NO_NUMBER)
		return lose_sync(c, s);
	s->at += end;
	s->length = size + 2;
	s->phase = size ? CHUNK_DATA : TRAILER;
	return AGAIN;
}

static __always_inline int end_body(struct connection *c, struct stream *s, __u32 direction)
{
	if (is_request(c, direction))
		return end_message(s);
	return ANSWERED;
}

static __always_inline int scan_trailer(struct connection *c, struct stream *s, __u32 direction,
					const __u64 word[WORDS], __u32 n)
{
	__u32 first = word[0] & 255;

	if (first == '\n' || (n >= 2 && (word[0] & FIRST(2)) == EIGHT('\r', '\n', 0, 0, 0, 0, 0, 0))) {
		s->at += first == '\n' ? 1 : 2;
		return end_body(c, s, direction);
	}
	if (n < 2)
		return WAIT;
	s->phase = TRAILER_REST;
	return AGAIN;
}

static __always_inline int scan_trailer_rest(struct stream *s, const __u64 word[WORDS], __u32 n)
{
	__u64 marks = newlines(word[0]);

	s->at += marks ? lowest(marks) + 1 : n < 8 ? n : 8;
	if (marks)
		s->phase = TRAILER;
	return AGAIN;
}

/* An answer whose request passed before anyone looked. */
static __always_inline int note_joined(struct connection *c, __u64 first)
{
	if ((first & FIRST(7)) == EIGHT('H', 'T', 'T', 'P', '/', '1', '.', 0)) {
		note(c->role, RESPONSES_SEEN, 1);
		note(c->role, RESPONSES_JOINED_MIDWAY, 1);
	}
	return STOP;
}

/* One step of the parser over what lies between at and end. */
static __always_inline int http1_step(struct __sk_buff *skb, struct connection *c, struct stream *s, __u32 direction)
{
	__u64 word[WORDS];
	__u32 n;

	if (s->phase == BODY || s->phase == CHUNK_DATA) {
		if (!skip_body(s))
			return STOP;
		if (s->phase == BODY)
			return end_body(c, s, direction);
		s->phase = CHUNK_SIZE; /* often there in the same segment */
	}
	if (s->at >= s->end)
		return STOP;
	if (s->phase == UNTIL_CLOSE) {
		s->at = s->end;
		return STOP;
	}
	n = read_block(skb, c, s, direction, word);
	if (!n)
		return lose_sync(c, s);
	if (s->phase == UNSYNCED) {
		if (!is_request(c, direction))
			return note_joined(c, word[0]);
		s->phase = START;
	}
	/* a start and a line lead on into the head, most often with the same block */
	if (s->phase == START) {
		int result = is_request(c, direction) ? start_request(c, s, word, n) : start_response(c, s, word, n);

		if (result != AGAIN || s->phase != HEAD)
			return result;
	} else if (s->phase == LINE) {
		int result = scan_line(c, s, direction, word, n);

		if (result != AGAIN || s->phase != HEAD)
			return result;
	}
	switch (s->phase) {
	case HEAD:
		return scan_head(c, s, direction, word, n);
	case CHUNK_SIZE:
		return scan_chunk_size(c, s, word, n);
	case TRAILER:
		return scan_trailer(c, s, direction, word, n);
	case TRAILER_REST:
		return scan_trailer_rest(s, word, n);
	}
	return STOP;
}

#endif
