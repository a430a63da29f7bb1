/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Makes a valid HTTP/1 conversation out of the fuzzer's bytes, as odd as RFC 9110 and 9112 allow, and knows by
 * construction what was asked and answered.
 */
#ifndef FUZZ_CONVERSATION_H
#define FUZZ_CONVERSATION_H

#include "input.h"
#include "network.h"
#include <stdarg.h>

#define MOST_EXCHANGES 40
#define ROOM 9000 /* an exchange is begun only where so much room is left */
#define NARROW 2500 /* ... and where less is left it makes no more chunks */

/* Offsets in the flows of requests and answers. */
struct exchange {
	__u8 method, version;
	__u16 status;
	__u32 request_from, line_to, request_to; /* line_to: behind the first line */
	__u32 answer_from, head_to, answer_to;	 /* of the final answer */
	__u32 answers_from;			 /* interim answers come before it */
	bool until_close;
};

struct conversation {
	struct exchange exchange[MOST_EXCHANGES];
	__u32 count;
	__u32 tunnel; /* requests' bytes from here on come after the last answer; their length if there are none */
};

static void put(struct flow *flow, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct flow *flow, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	flow->length += vsnprintf((char *)flow->bytes + flow->length, MOST - flow->length, format, values);
	va_end(values);
	CHECK(flow->length < MOST, "the conversation is too long");
}

static void put_bytes(struct flow *flow, const __u8 *bytes, __u32 length)
{
	CHECK(flow->length + length < MOST, "the conversation is too long");
	memcpy(flow->bytes + flow->length, bytes, length);
	flow->length += length;
}

#define PICK(input, array) array[take_front(input) % (sizeof(array) / sizeof(*array))]

static const char *const SNIPPETS[] = {
	"", "x", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 500 Oops\r\n\r\n", "\r\n", "\n", "\r\n\r\n", "0\r\n\r\n",
	"Content-Length: 7\r\n", "transfer-encoding: chunked\r\n\r\n", "POST /x HTTP/1.0\nContent-Length: 9\n\n",
	"HTTP/1.1 100 Continue\r\n\r\n", "\r", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02", "ffff\r\n",
};

/* Up to 1200 bytes of a body. */
static __u32 make_body(struct input *input, __u8 *to)
{
	__u32 kind = take_front(input), length = 0;

	if (kind < 128) { /* what looks like something else */
		for (__u32 n = kind % 8; n; n--) {
			const char *snippet = PICK(input, SNIPPETS);

			memcpy(to + length, snippet, strlen(snippet));
			length += strlen(snippet);
		}
		return length;
	}
	length = take_front(input) * (kind % 5);
	for (__u32 i = 0; i < length; i++)
		to[i] = kind + i * 37;
	return length;
}

/* The line breaks of a message are all of one kind. */
static const char *end_of_line(struct input *input)
{
	return take_front(input) % 8 == 7 ? "\n" : "\r\n"; /* RFC 9112 2.2: a lone LF may be taken for one */
}

static void put_header(struct input *input, struct flow *flow, const char *eol)
{
	static const char *const LINES[] = {
		"Host: example.com", "Accept:*/*", "X: ", "A:", "Content-Type: text/plain", "Content-Lengths: 5",
		"X-Content-Length: 8", "Content-Length-Of: 3", "X-Transfer-Encoding: chunked", "Transfer-Encodings: chunked",
		"Transfer: chunked", "Content-Encoding: gzip", "TE: trailers, chunked", "Expect: 100-continue",
		"X-Answer: HTTP/1.1 200 OK", "X-Request: GET / HTTP/1.1", "Connection: keep-alive", "Content-: 1",
		"Trailer: X-Sum", "Content-MD5: \tQ2hlY2sgSW50ZWdyaXR5IQ==  ",
	};
	static const __u32 LENGTHS[] = { 1, 3, 17, 60, 100, 119, 120, 121, 127, 128, 129, 300 };
	__u32 choice = take_front(input), length;

	if (choice < 200) {
		put(flow, "%s%s", LINES[choice % (sizeof(LINES) / sizeof(*LINES))], eol);
		return;
	}
	length = PICK(input, LENGTHS) + choice % 8;
	put(flow, "X-Long: %0*d%s", (int)length, 0, eol);
}

static void put_headers(struct input *input, struct flow *flow, const char *eol)
{
	for (__u32 n = take_front(input) % 5; n; n--)
		put_header(input, flow, eol);
}

enum framing { NO_LENGTH, LENGTH, CHUNKED };

static void put_framing(struct input *input, struct flow *flow, enum framing framing, __u32 length, const char *eol)
{
	static const char *const NAMES[] = { "Content-Length:", "content-length: ", "CONTENT-LENGTH:   ", "Content-length:\t" };
	static const char *const CODINGS[] = {
		"Transfer-Encoding: chunked", "transfer-encoding:chunked", "TRANSFER-ENCODING: CHUNKED",
		"Transfer-Encoding: gzip, chunked", "Transfer-Encoding:\tgzip ,chunked",
	};
	static const char *const ENDS[] = { "", "", "", " ", "\t", "  " };

	if (framing == LENGTH) {
		const char *name = PICK(input, NAMES);

		for (__u32 n = take_front(input) % 16 == 15 ? 2 : 1; n; n--)
			put(flow, "%s%0*u%s%s", name, (int)(take_front(input) % 4), length, PICK(input, ENDS), eol);
	} else if (framing == CHUNKED) {
		put(flow, "%s%s%s", PICK(input, CODINGS), PICK(input, ENDS), eol);
	}
}

/* Chunks of any size, and perhaps trailers. Their lines end in CRLF: RFC 9112 allows a lone LF only in heads. */
static void put_chunked(struct input *input, struct flow *flow, const __u8 *body, __u32 length)
{
	static const char *const EXTENSIONS[] = { "", "", "", "", ";a", ";a=b", " ;name=\"quoted; value\"", " " };
	static const char *const FORMATS[] = { "%x%s\r\n", "%X%s\r\n", "%04x%s\r\n" };

	while (length) {
		__u32 size = 1 + take_front(input) % 200 * (1 + take_front(input) % 8);

		if (size > length || flow->length > MOST - NARROW)
			size = length;
		put(flow, PICK(input, FORMATS), size, PICK(input, EXTENSIONS));
		put_bytes(flow, body, size);
		put(flow, "\r\n");
		body += size;
		length -= size;
	}
	put(flow, "%s%s\r\n", take_front(input) % 4 ? "0" : "000", PICK(input, EXTENSIONS));
	for (__u32 n = take_front(input) % 8; n > 5; n--)
		put_header(input, flow, "\r\n");
	put(flow, "\r\n");
}

/* Ends the head, and puts the body that it speaks of behind it unless the message has none whatever it says. */
static void put_rest(struct input *input, struct flow *flow, enum framing framing, bool has_body, const char *eol,
		     __u32 *head_to)
{
	__u8 body[2048];
	__u32 length = framing == NO_LENGTH && !has_body ? 0 : make_body(input, body);

	put_headers(input, flow, eol);
	put_framing(input, flow, framing, length, eol);
	put_headers(input, flow, eol);
	put(flow, "%s", eol);
	*head_to = flow->length;
	if (!has_body)
		return;
	if (framing == CHUNKED)
		put_chunked(input, flow, body, length);
	else
		put_bytes(flow, body, length);
}

static const struct {
	const char *name;
	__u8 method;
} METHODS[] = {
	{ "GET", METHOD_GET }, { "HEAD", METHOD_HEAD }, { "POST", METHOD_POST }, { "PUT", METHOD_PUT },
	{ "DELETE", METHOD_DELETE }, { "OPTIONS", METHOD_OPTIONS }, { "TRACE", METHOD_TRACE },
	{ "PATCH", METHOD_PATCH }, { "CONNECT", METHOD_CONNECT }, { "PURGE", METHOD_OTHER },
	{ "M-SEARCH", METHOD_OTHER }, { "PROPFIND", METHOD_OTHER }, { "G", METHOD_OTHER }, { "GETS", METHOD_OTHER },
	{ "PRIVATE", METHOD_OTHER }, { "get", METHOD_OTHER }, { "CONNECTS", METHOD_OTHER }, { "OPTION", METHOD_OTHER },
	{ "ABCDEFGHIJKLMNOPQRSTUVW", METHOD_OTHER }, { "HTTP", METHOD_OTHER },
};

static void make_request(struct input *input, struct flow *flow, struct exchange *exchange)
{
	static const __u32 LENGTHS[] = { 0, 1, 5, 20, 90, 100, 105, 110, 118, 120, 250 };
	static const char *const TARGETS[] = { "/", "*", "http://example.com/", "/a?b=HTTP/1.0", "/HTTP/1.1", "example.com:443" };
	__u32 choice = take_front(input), target, unused;
	enum framing framing = NO_LENGTH;
	const char *eol;

	if (choice >= 250) /* RFC 9112 2.2: to be ignored */
		put(flow, "\r\n");
	exchange->request_from = flow->length;
	exchange->method = METHODS[choice % (sizeof(METHODS) / sizeof(*METHODS))].method;
	exchange->version = take_front(input) % 8 ? HTTP_1_1 : HTTP_1_0;
	eol = end_of_line(input);
	put(flow, "%s %s", METHODS[choice % (sizeof(METHODS) / sizeof(*METHODS))].name, PICK(input, TARGETS));
	target = PICK(input, LENGTHS);
	for (__u32 i = 0; i < target; i++)
		put(flow, "%c", 'a' + i % 26);
	put(flow, " HTTP/1.%u%s", exchange->version == HTTP_1_1, eol);
	exchange->line_to = flow->length;
	if (exchange->method != METHOD_CONNECT)
		framing = take_front(input) % 3;
	put_rest(input, flow, framing, framing != NO_LENGTH, eol, &unused);
	exchange->request_to = flow->length;
}

/* Returns whether the connection goes on with HTTP. */
static bool make_answer(struct input *input, struct flow *flow, struct exchange *exchange)
{
	static const __u16 INTERIM[] = { 100, 102, 103, 199 };
	static const __u16 STATUSES[] = { 200, 201, 204, 206, 301, 304, 400, 404, 418, 499, 500, 502, 503, 599, 700, 999, 200, 200, 204, 304, 101 };
	static const char *const REASONS[] = { " OK", " ", "", " Not what you think HTTP/1.1 200 OK" };
	__u32 choice = take_front(input), minor = take_front(input) % 16 != 15;
	const char *eol = end_of_line(input);
	enum framing framing;
	bool has_body;

	exchange->answers_from = flow->length;
	for (__u32 n = choice % 8; n > 5; n--) {
		put(flow, "HTTP/1.1 %u%s%s", PICK(input, INTERIM), PICK(input, REASONS), eol);
		put_headers(input, flow, eol);
		put(flow, "%s", eol);
	}
	exchange->answer_from = flow->length;
	exchange->status = PICK(input, STATUSES);
	put(flow, "HTTP/1.%u %u%s%s", minor, exchange->status, PICK(input, REASONS), eol);

	framing = take_front(input) % 8;
	if (framing > CHUNKED)
		framing = LENGTH;
	has_body = exchange->method != METHOD_HEAD && exchange->status != 204 && exchange->status != 304;
	if (exchange->status == 101 || (exchange->method == METHOD_CONNECT && exchange->status < 300)) {
		put_rest(input, flow, NO_LENGTH, false, eol, &exchange->head_to);
		exchange->answer_to = flow->length;
		return false;
	}
	put_rest(input, flow, framing, has_body, eol, &exchange->head_to);
	exchange->answer_to = flow->length;
	exchange->until_close = has_body && framing == NO_LENGTH;
	return !exchange->until_close;
}

static void converse(struct input *input, struct conversation *c)
{
	struct flow *requests = &network.flow[0], *answers = &network.flow[1];
	__u32 count = 1 + take_front(input) % MOST_EXCHANGES;
	bool goes_on = true;

	c->count = 0;
	requests->length = answers->length = 0;
	while (goes_on && c->count < count && requests->length < MOST - ROOM && answers->length < MOST - ROOM) {
		struct exchange *exchange = &c->exchange[c->count++];

		memset(exchange, 0, sizeof(*exchange));
		make_request(input, requests, exchange);
		goes_on = make_answer(input, answers, exchange);
	}
	c->tunnel = requests->length;
	if (goes_on || c->exchange[c->count - 1].until_close)
		return;
	requests->length += make_body(input, requests->bytes + requests->length);
	answers->length += make_body(input, answers->bytes + answers->length);
}

#endif
