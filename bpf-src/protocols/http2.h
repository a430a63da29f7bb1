/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HTTP/2 (RFC 9113) and gRPC over it (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): frames, header
 * blocks, streams. One step takes a frame's header, or a part of a header block; what is between steps lies in the
 * socket's `http2`, so that a frame may be cut at any byte. Payloads are passed over.
 */
#ifndef MESHTAP_HTTP2_H
#define MESHTAP_HTTP2_H

#include "protocols/http2-messages.h"

#define BORING_FRAMES 8 /* ... that are passed over in one step */

/* Frames of which nothing is to be known. */
static __always_inline int is_boring(__u64 header, int request)
{
	switch (FRAME_TYPE(header)) {
	case DATA:
		return request || !(FRAME_FLAGS(header) & END_STREAM);
	case GOAWAY:
		return request;
	case HEADERS:
	case RST_STREAM:
	case PUSH_PROMISE:
	case CONTINUATION:
		return 0;
	}
	return 1;
}

/* The beginning of a header block: what comes before it in the frame, of which `first` is the first eight bytes. */
static __always_inline int begin_headers(struct frames *f, struct stream *s, __u64 header, __u64 first)
{
	__u32 type = FRAME_TYPE(header), length = FRAME_LENGTH(header), before = 0;

	f->padding = 0;
	if (FRAME_FLAGS(header) & PADDED) {
		f->padding = first & 255;
		before = 1;
	}
	if (type == PUSH_PROMISE)
		before += 4;
	else if (FRAME_FLAGS(header) & HAS_PRIORITY)
		before += 5;
	if (s->end - s->at < FRAME_HEADER + before)
		return WAIT;
	if (length < before + f->padding)
		return STOP;
	f->left = length - before - f->padding;
	f->flags = FRAME_FLAGS(header);
	f->pushed = type == PUSH_PROMISE;
	f->block_began = f->began;
	f->in_block = 1;
	f->phase = BLOCK;
	f->fresh = 1;
	begin_block(&f->hpack);
	s->at += FRAME_HEADER + before;
	return AGAIN;
}

/* A frame is left behind; its payload, as far as it was not looked at, is passed over. */
static __always_inline int pass_frame(struct frames *f, struct stream *s, __u32 looked_at, __u32 rest)
{
	f->began = 0;
	f->phase = FRAME;
	s->at += looked_at;
	s->skip = rest;
	return rest ? WAIT : AGAIN;
}

/* A frame that ends a stream, or several. */
static __always_inline int end_by_frame(SOURCE source, struct http2 *h, struct frames *f, struct stream *s,
					__u64 header)
{
	__u64 at = bounded(s->at);
	/* bytes 9 to 16 */
	__u64 first = __builtin_bswap64(eight(s, at + 8) >> 8 | eight(s, at + 16) << 56);
	__u32 length = FRAME_LENGTH(header), code;
	int slot;

	switch (FRAME_TYPE(header)) {
	case DATA:
		f->began = 0;
		f->phase = DATA_END;
		s->at += FRAME_HEADER;
		s->skip = length;
		return length ? WAIT : AGAIN;
	case RST_STREAM:
		if (s->end - s->at < FRAME_HEADER + 4)
			return WAIT;
		code = first >> 32;
		pass_frame(f, s, FRAME_HEADER + 4, 0);
		slot = find_stream(source, f->stream, f->stream);
		if (slot < 0)
			return AGAIN;
		f->slot = slot;
		f->ending = f->stream;
		f->failure = FAILURE_STREAM_NO_ERROR + (code < 14 ? code : 14);
		return ANSWERED;
	default: /* GOAWAY */
		if (s->end - s->at < FRAME_HEADER + 8)
			return WAIT;
		h->refused_above = first >> 32 & 0x7fffffff;
		pass_frame(f, s, FRAME_HEADER + 8, length - 8);
		f->phase = REFUSED;
		return s->skip ? WAIT : AGAIN;
	}
}

/* A frame, from its first byte; before it, any number of those that say nothing. */
__attribute__((noinline)) int http2_frame(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	__u64 at, header = 0, ninth = 0;
	struct frames *f;
	struct stream *s;
	__u32 n, length;
	int request, result;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	s = stream_of(c, direction);
	request = is_request(c, direction);
	for (int i = 0; i < BORING_FRAMES; i++) {
		at = bounded(s->at);
		n = s->end - at;
		if (n && !f->began)
			f->began = s->now;
		if (n < FRAME_HEADER)
			return WAIT;
		header = __builtin_bswap64(eight(s, at));
		ninth = eight(s, at + 8) & 255;
		length = FRAME_LENGTH(header);
		if (!is_frame(header, ninth) || (f->in_block && FRAME_TYPE(header) != CONTINUATION))
			return LOST;
		if (!is_boring(header, request))
			break;
		if (length > n - FRAME_HEADER)
			return pass_frame(f, s, FRAME_HEADER, length);
		f->began = 0;
		s->at = at + FRAME_HEADER + length;
	}
	if (is_boring(header, request))
		return AGAIN;

	switch (FRAME_TYPE(header)) {
	case CONTINUATION:
		if (!f->in_block || f->stream != FRAME_STREAM(header, ninth))
			return LOST;
		f->left = FRAME_LENGTH(header);
		f->flags |= FRAME_FLAGS(header) & END_HEADERS;
		f->padding = 0;
		f->phase = BLOCK;
		s->at += FRAME_HEADER;
		return AGAIN;
	case HEADERS:
	case PUSH_PROMISE:
		at = bounded(s->at);
		if (FRAME_FLAGS(header) & PADDED && s->end - s->at < FRAME_HEADER + 1)
			return WAIT;
		result = begin_headers(f, s, header, eight(s, at + 8) >> 8);
		if (result == STOP)
			return LOST;
		f->stream = FRAME_STREAM(header, ninth);
		return result;
	}
	f->stream = FRAME_STREAM(header, ninth);
	return end_by_frame(source, h, f, s, header);
}

/* Some bytes of a path, on the way to its route. */
__attribute__((noinline)) int http2_path(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	struct frames *f;
	struct stream *s;
	__u32 n;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	s = stream_of(c, direction);
	n = s->end - s->at;
	if (n > f->left)
		n = f->left;
	if (!n)
		return WAIT;
	n = walk_path(c, &f->hpack, s, n);
	asm volatile("" : "+r"(n)); /* the compiler would leave out bounds that the verifier needs */
	n = take_string(&f->hpack, s, s->at, n);
	s->at += n;
	f->left -= n;
	return AGAIN;
}

#define PARTS 4

/* Some parts of a header block. */
__attribute__((noinline)) int http2_block(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	struct frames *f;
	struct stream *s;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	s = stream_of(c, direction);
	for (int i = 0; i < PARTS; i++) {
		__u32 n = s->end - s->at;
		int taken;

		if (i && is_request(c, direction) && walks(c, &f->hpack))
			return AGAIN;
		if (n > f->left)
			n = f->left;
		if (!n)
			return f->left ? WAIT : AGAIN;
		taken = take_part(&f->hpack, s, s->at, n);
		if (taken < 0)
			return LOST;
		s->at += taken;
		f->left -= taken;
	}
	return AGAIN;
}

/* The block, or this frame's part of it, has passed. */
static __always_inline int end_part(SOURCE source, struct connection *c, struct frames *f, struct stream *s,
				    __u32 direction)
{
	int result = AGAIN;

	s->skip = f->padding;
	f->began = 0;
	f->phase = FRAME;
	if (!(f->flags & END_HEADERS))
		return s->skip ? WAIT : AGAIN;
	f->in_block = 0;
	if (f->hpack.place != AT_FIELD)
		return LOST;
	if (is_request(c, direction))
		http2_request(source, direction);
	else
		result = http2_answer(source, direction);
	return result == AGAIN && s->skip ? WAIT : result;
}

/* A stream that the server will not answer; its slot, or -1. */
__attribute__((noinline)) int find_refused(SOURCE source)
{
	struct http2 *h = http2_from(source);

	return h ? find_above(h, h->refused_above) : -1;
}

/* One step of the parser. */
static __always_inline int http2_step(SOURCE source, struct connection *c, struct http2 *h, struct stream *s,
				      __u32 direction)
{
	struct frames *f = frames_of(h, direction);
	__u64 at;
	int slot;

	if (s->skip) /* an exchange was ended in between */
		return WAIT;
	switch (f->phase) {
	case BLOCK:
		if (!f->left)
			return end_part(source, c, f, s, direction);
		if (is_request(c, direction) && f->hpack.place == AT_FIELD && f->fresh) {
			f->fresh = 0;
			begin_walk(c, AWAITED);
			c->walk.in_line = 0;
		}
		return is_request(c, direction) && walks(c, &f->hpack) ? http2_path(source, direction) :
									 http2_block(source, direction);
	case DATA_END:
		f->phase = FRAME;
		slot = find_stream(source, f->stream, f->stream);
		if (slot < 0)
			return AGAIN;
		f->slot = slot;
		f->ending = f->stream;
		f->failure = FAILURE_NONE;
		return ANSWERED;
	case REFUSED:
		slot = find_refused(source);
		if (slot < 0) {
			f->phase = FRAME;
			return AGAIN;
		}
		f->slot = slot;
		f->ending = exchange_at(h, slot)->id;
		f->failure = FAILURE_GOAWAY;
		return ANSWERED;
	case PREFACE:
		if (is_request(c, direction)) {
			at = bounded(s->at);
			if (s->end - at < PREFACE_BYTES)
				return WAIT;
			if (!is_preface(s, at))
				return LOST;
			s->at = at + PREFACE_BYTES;
		}
		f->phase = FRAME;
		break;
	case FRAME_LOST:
		at = bounded(s->at);
		if (is_request(c, direction) && s->end - at >= PREFACE_BYTES && is_preface(s, at)) {
			s->at = at + PREFACE_BYTES;
		} else if (!begins_with_frame(source, direction)) {
			s->phase = UNSYNCED;
			return STOP;
		}
		f->phase = FRAME;
		s->phase = START;
		break;
	}
	return http2_frame(source, direction);
}

#endif
