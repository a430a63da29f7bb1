/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a frame looks like (RFC 9113 4.1, 6), and how a connection is known to speak HTTP/2. */
#ifndef MESHTAP_HTTP2_FRAMES_H
#define MESHTAP_HTTP2_FRAMES_H

#include "protocols/http2-streams.h"

#define PREFACE_BYTES 24
#define FRAME_HEADER 9

enum frame_type { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };

enum frame_flag { END_STREAM = 0x1, END_HEADERS = 0x4, PADDED = 0x8, HAS_PRIORITY = 0x20 };

/* The parts of a frame header's first eight bytes, in network byte order. */
#define FRAME_LENGTH(header) ((__u32)((header) >> 40))
#define FRAME_TYPE(header) ((__u32)((header) >> 32 & 255))
#define FRAME_FLAGS(header) ((__u32)((header) >> 24 & 255))
#define FRAME_STREAM(header, ninth) ((__u32)((header) & 0x7fffff) << 8 | (__u32)((ninth) & 255))

/* Whether a frame may look like this: RFC 9113 6. Types that are not known are ignored (5.5). */
static __always_inline int may_be_frame(__u64 header, __u32 ninth)
{
	__u32 length = FRAME_LENGTH(header), stream = FRAME_STREAM(header, ninth);

	switch (FRAME_TYPE(header)) {
	case DATA:
	case HEADERS:
	case CONTINUATION:
		return stream != 0;
	case PRIORITY:
		return stream && length == 5;
	case RST_STREAM:
		return stream && length == 4;
	case SETTINGS:
		return !stream && length % 6 == 0;
	case PUSH_PROMISE:
		return stream && length >= 4;
	case PING:
		return !stream && length == 8;
	case GOAWAY:
		return !stream && length >= 8;
	case WINDOW_UPDATE:
		return length == 4;
	}
	return 1;
}

__attribute__((noinline)) int is_frame(__u64 header, __u32 ninth)
{
	return may_be_frame(header, ninth);
}

/* The same of a frame that nothing before it explains: nothing unusual is believed. */
__attribute__((noinline)) int is_likely_frame(__u64 header, __u32 ninth)
{
	__u32 type = FRAME_TYPE(header), flags = FRAME_FLAGS(header), stream = FRAME_STREAM(header, ninth), known = 0;

	if (type == DATA)
		known = END_STREAM | PADDED;
	else if (type == HEADERS)
		known = END_STREAM | END_HEADERS | PADDED | HAS_PRIORITY;
	else if (type == SETTINGS || type == PING)
		known = 1; /* ACK */
	else if (type > CONTINUATION || type == PUSH_PROMISE)
		return 0;
	else if (type == CONTINUATION)
		known = END_HEADERS;
	if (flags & ~known || FRAME_LENGTH(header) > 16384 || header >> 23 & 1)
		return 0;
	if (stream && !(stream & 1))
		return 0;
	return may_be_frame(header, ninth);
}

/*
 * A segment of a direction that is out of step: does it begin with a frame, and does each frame in it lead to another
 * one, as far as the window shows? 1 = yes.
 */
__attribute__((noinline)) int begins_with_frame(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	__u64 at, header, ninth;
	struct stream *s;
	__u32 n, length;

	if (!c)
		return 0;
	s = stream_of(c, direction);
	at = bounded(s->at);
	n = s->end - at;
	for (int i = 0; i < 24; i++) {
		if (n < FRAME_HEADER) /* the beginning of one more */
			return i > 0;
		at = bounded(at);
		header = __builtin_bswap64(eight(s, at));
		ninth = eight(s, at + 8) & 255;
		if (!is_likely_frame(header, ninth) || (!i && FRAME_TYPE(header) == CONTINUATION))
			return 0;
		length = FRAME_HEADER + FRAME_LENGTH(header);
		if (length >= n)
			return length == n || s->left >= length - n || i > 0 || FRAME_TYPE(header) == HEADERS;
		at += length;
		n -= length;
	}
	return 1;
}

/* As far as it is there: the first eight bytes at least. */
static __always_inline int begins_like_preface(const struct stream *s, __u64 at, __u32 n)
{
	__u64 different = eight(s, at) ^ EIGHT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T');

	return !(n < 8 ? different & FIRST(n) : different);
}

static __always_inline int is_preface(const struct stream *s, __u64 at)
{
	return eight(s, at) == EIGHT('P', 'R', 'I', ' ', '*', ' ', 'H', 'T') &&
	       eight(s, at + 8) == EIGHT('T', 'P', '/', '2', '.', '0', '\r', '\n') &&
	       eight(s, at + 16) == EIGHT('\r', '\n', 'S', 'M', '\r', '\n', '\r', '\n');
}

/*
 * A server may speak before it is asked, and what it says first are its settings (RFC 9113 3.4): "00 LL LL 04 00", and
 * four zeros. As far as they are there; n > 0.
 */
static __always_inline int begins_like_settings(const struct stream *s, __u64 at, __u32 n)
{
	__u64 different = (eight(s, at) ^ EIGHT(0, 0, 0, SETTINGS, 0, 0, 0, 0)) & EIGHT(255, 0, 0, 255, 255, 255, 255, 255);

	return !(n < 8 ? different & FIRST(n) : different);
}

/* Whether a connection that does not speak HTTP/1 begins like HTTP/2, or, if it was open before, goes on like it. */
static __always_inline int is_http2(SOURCE source, struct connection *c, __u32 direction)
{
	struct stream *s = stream_of(c, direction);
	__u64 at = bounded(s->at), header;
	__u32 n = s->end - at;

	if (n >= PREFACE_BYTES && is_preface(s, at))
		return 1;
	if (c->joined)
		return begins_with_frame(source, direction);
	header = __builtin_bswap64(eight(s, at));
	return n >= FRAME_HEADER && begins_like_settings(s, at, n) && FRAME_LENGTH(header) <= 16384 &&
	       is_frame(header, eight(s, at + 8) & 255);
}

/* From here on the connection speaks HTTP/2: its state, or 0 where there is no memory. Both directions may find out. */
static __always_inline struct http2 *become_http2(SOURCE source, struct connection *c)
{
	struct http2 *h = new_http2(source);
	int first;

	if (!h) {
		note(c->role, CONNECTIONS_UNTRACKED, 1);
		c->protocol = OPAQUE;
		return 0;
	}
	take(&c->lock);
	first = c->protocol == UNCLASSIFIED || c->protocol == HTTP1;
	if (first) {
		h->refused_above = ~0u;
		if (c->joined && c->protocol == UNCLASSIFIED)
			h->frames[0].phase = h->frames[1].phase = FRAME_LOST;
		c->protocol = HTTP2;
	}
	leave(&c->lock);
	if (first)
		count_protocol(c, CONNECTIONS_HTTP2);
	return h;
}

/* True if it turns out that the connection speaks HTTP/2 from the parser's place on. */
static __always_inline int http2_begin(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);

	return c && is_http2(source, c, direction) && become_http2(source, c) && c->protocol == HTTP2;
}

/* A request of HTTP/1 becomes stream 1. */
static __always_inline int http2_upgrade(SOURCE source, struct connection *c, __u64 began, __u8 method, __u16 route)
{
	struct http2 *h = become_http2(source, c);
	struct exchange *e;

	if (!h)
		return 0;
	h->frames[0].opened = h->frames[1].opened = h->from = 1;
	e = exchange_at(h, place_of(1));
	e->began = began;
	e->request = method;
	e->path = route;
	barrier();
	e->id = 1;
	return 1;
}

#endif
