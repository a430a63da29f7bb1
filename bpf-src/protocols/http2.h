/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HTTP/2 (RFC 9113) and gRPC over it (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): frames, header
 * blocks, streams. One step takes a frame's header, or a part of a header block; what is between steps lies in the
 * socket's `http2`, so that a frame may be cut at any byte. Payloads are passed over.
 *
 * An exchange is a stream that the client opened: from the first byte of its HEADERS to the last byte of the frame
 * with which the server ends it. Both directions touch it, on two CPUs: the requesting one makes it, whoever ends it
 * takes it out under the lock, so it is counted once.
 */
#ifndef MESHTAP_HTTP2_H
#define MESHTAP_HTTP2_H

#include "lib/flows.h"
#include "protocols/http2-routes.h"

#define PREFACE_BYTES 24
#define STREAMS 256 /* open at a time on one connection; a power of two */

enum frame_type { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };

enum frame_flag { END_STREAM = 0x1, END_HEADERS = 0x4, PADDED = 0x8, HAS_PRIORITY = 0x20 };

#define FRAME_HEADER 9
#define BORING_FRAMES 8       /* ... that are passed over in one step */

/* What one direction expects next. */
enum frame_phase {
	PREFACE,     /* requests: the first bytes of the connection; answers: a frame */
	FRAME,
	BLOCK,	     /* more of a header block */
	DATA_END,    /* the end of the last frame of an answer */
	REFUSED,     /* streams that the server will not answer, one after the other */
	FRAME_LOST,  /* a segment that begins with a frame */
};

/* What is known of an exchange's content, above its method and above its grpc-status. */
enum request_content { REQUEST_GRPC = 0x40, REQUEST_LOST = 0x80 /* it may be gRPC: the table knew */ };
enum answer_content { ANSWER_GRPC = 0x20, ANSWER_LOST = 0x40, STATUS_LOST = 0x80 /* there may be a grpc-status, as above */ };
#define METHOD_OF(request) ((request) & 0x3f)
#define GRPC_STATUS_OF(answer) ((answer) & 0x1f)

/*
 * As small as it can be: on Linux 7.3 a socket's storage ends at 8 kB, because kmalloc_nolock gives no more. (No finer
 * fields: a map value's BTF may have none that begin within a byte.)
 */
struct exchange {
	__u64 began;		/* ns */
	__u64 first_byte : 48;	/* of the answer: ns since then, 0 = none yet */
	__u64 status : 16;
	__u32 id;		/* of the stream, 0 = free */
	__u16 path;   /* id of the method, if the request is gRPC, or of the route */
	__u8 request; /* enum method and request_content; each direction writes its own */
	__u8 answer;  /* enum grpc_status and answer_content */
};

#define LONGEST ((1ull << 48) - 1)

/* One direction. */
struct frames {
	__u64 began;	   /* ns: the first byte of the frame under the parser, 0 = between frames */
	__u64 block_began; /* ... of the frame that began the header block */
	__u32 left;	   /* bytes of the block in this frame that are still to come */
	__u32 stream;	   /* of the frame */
	__u32 opened;	   /* requests: the highest stream seen */
	__u8 phase;
	__u8 flags;
	__u8 padding; /* behind the block */
	__u8 in_block;
	__u8 pushed; /* the block is that of a PUSH_PROMISE */
	/* what is to be ended, if the step said so */
	__u8 slot;
	__u8 failure;
	__u8 fresh; /* nothing of the block was read yet */
	__u32 ending;
	struct hpack hpack;
};

struct http2 {
	LOCK lock; /* guards the end of exchanges; no helper runs under it */
	__u32 reach;		   /* no stream was put farther than this from its place */
	__u32 from;		   /* the first stream that was opened since all of them are known */
	__u32 refused_above;	   /* the server will answer no stream above this one; ~0 = it has not said so */
	__u32 untracked, untracked_answered; /* streams for which there was no room */
	__u32 cursor;
	__u32 void_requests, void_answers;
	struct routed_paths routed;
	struct frames frames[2];
	struct exchange stream[STREAMS];
};

#include "lib/http2-state.h"

/* By arithmetic, as in stream_of. */
static __always_inline struct frames *frames_of(struct http2 *h, __u32 direction)
{
	__u64 which = direction == OUT;

	asm volatile("%0 &= 1" : "+r"(which));
	return &h->frames[which];
}

static __always_inline struct exchange *exchange_at(struct http2 *h, __u64 slot)
{
	slot &= STREAMS - 1;
	asm volatile("%0 &= 255" : "+r"(slot));
	return &h->stream[slot];
}

/* Where a stream is looked for first: clients number theirs 1, 3, 5, ... */
static __always_inline __u32 place_of(__u32 id)
{
	return id >> 1 & (STREAMS - 1);
}

/* The slot of a stream, or -1. With id 0, a free one for stream `near`. */
__attribute__((noinline)) int find_stream(SOURCE source, __u32 id, __u32 near)
{
	struct http2 *h = http2_from(source);
	__u32 farthest, place = place_of(near);

	if (!h)
		return -1;
	farthest = id ? h->reach : STREAMS - 1;
	for (__u32 i = 0; i < STREAMS; i++) {
		if (i > farthest)
			break;
		if (exchange_at(h, place + i)->id != id)
			continue;
		if (i > h->reach)
			h->reach = i;
		return (place + i) & (STREAMS - 1);
	}
	return -1;
}

/* Any stream above `above`; the slot, or -1. */
static __always_inline int find_above(struct http2 *h, __u32 above)
{
	for (__u32 i = 0; i < STREAMS; i++) {
		__u32 slot = (h->cursor + i) & (STREAMS - 1);

		if (exchange_at(h, slot)->id <= above)
			continue;
		h->cursor = slot;
		return slot;
	}
	return -1;
}

/*
 * What an exchange came to in gRPC's terms. It is gRPC if either side says so. If what they say is lost, it may be,
 * but only where gRPC could be: a POST that was answered with 200.
 */
static __always_inline __u8 grpc_outcome(const struct exchange *e)
{
	__u8 method = METHOD_OF(e->request);

	if (GRPC_STATUS_OF(e->answer))
		return GRPC_STATUS_OF(e->answer);
	if (e->request & REQUEST_GRPC || e->answer & ANSWER_GRPC)
		return e->answer & STATUS_LOST ? GRPC_LOST : GRPC_MISSING;
	if (!(e->request & REQUEST_LOST) || !(e->answer & ANSWER_LOST))
		return GRPC_NONE;
	if ((method != METHOD_POST && method != METHOD_UNKNOWN) || (e->status != 200 && e->status != STATUS_UNKNOWN))
		return GRPC_NONE;
	return GRPC_LOST;
}

/*
 * The exchange in this slot is over, unless somebody else has ended it. what: the slot, and above it the failure; own:
 * whether the caller owns the answering direction.
 */
static __noinline int end_exchange(struct connection *c, struct http2 *h, __u32 what, __u32 id, __u64 now)
{
	struct exchange e = {}, *at;
	__u64 tag, duration;
	__u8 grpc;

	if (!c || !h)
		return 0;
	at = exchange_at(h, what & 255);
	take(&h->lock);
	if (at->id == id) {
		e = *at;
		at->id = 0;
	}
	leave(&h->lock);
	if (!e.id)
		return 0;
	if (!e.status && !(what >> 8)) { /* the answer began where nobody looked */
		note(c->role, RESPONSES_SEEN, 1);
		e.status = STATUS_UNKNOWN;
		e.answer = ANSWER_LOST | STATUS_LOST;
	}
	grpc = grpc_outcome(&e);
	duration = now > e.began ? now - e.began : 1;
	tag = TAG(e.status, METHOD_OF(e.request), HTTP_2, what >> 8 & 63);
	if (grpc == GRPC_NONE)
		tag |= ROUTE_TAG(route_after(e.path, duration));
	else
		tag |= GRPC_TAG(grpc, e.request & REQUEST_GRPC ? e.path : RPC_METHOD_NONE);
	if (e.status)
		note(c->role, RESPONSES_MATCHED, 1);
	if (METHOD_OF(e.request) == METHOD_UNKNOWN || e.status == STATUS_UNKNOWN || grpc == GRPC_LOST)
		note(c->role, EXCHANGES_UNKNOWN, 1);
	/* both directions come here, so the index of the series is not kept on the connection */
	if (c->epoch != current_epoch())
		find_pair(c);
	count_in(c, series_of(c, tag), tag, duration, e.first_byte);
	show_request(c, tag, duration, e.first_byte, e.id);
	return 1;
}

/* A step said that an exchange is over. */
static __always_inline int http2_end(struct connection *c, struct http2 *h, struct stream *s, __u32 direction)
{
	struct frames *f = frames_of(h, direction);

	end_exchange(c, h, f->slot | f->failure << 8, f->ending, s->now);
	return AGAIN;
}

/* The connection is over, and with it one of its streams; 0 = there are no more. */
static __noinline int fail_stream(struct connection *c, struct http2 *h, __u8 failure, __u64 now)
{
	__u32 id;
	int slot;

	if (!c || !h)
		return 0;
	slot = find_above(h, 0);
	if (slot < 0)
		return 0;
	id = exchange_at(h, slot)->id;
	end_exchange(c, h, slot | (id > h->refused_above ? FAILURE_GOAWAY : failure) << 8, id, now);
	return 1;
}

/*
 * All open streams are given up: what became of them can not be told any more. The sums lie in memory, because the
 * verifier would follow each value they can have.
 */
static __always_inline int void_streams(struct connection *c, struct http2 *h)
{
	if (!c || !h)
		return 0;
	take(&h->lock);
	h->void_requests = h->void_answers = 0;
	for (__u32 i = 0; i < STREAMS; i++) {
		struct exchange *e = exchange_at(h, i);

		if (!e->id)
			continue;
		e->id = 0;
		h->void_requests++;
		if (e->status)
			h->void_answers++;
	}
	leave(&h->lock);
	h->reach = 0;
	h->from = 0;
	h->untracked_answered = h->untracked;
	note(c->role, REQUESTS_DESYNCHRONISED, h->void_requests);
	note(c->role, RESPONSES_DESYNCHRONISED, h->void_answers);
	return 0;
}

/*
 * Bytes of this direction were missed, or make no sense. Where a frame begins can not be told any more, nor what its
 * part of the dynamic table holds, nor whether a stream has ended meanwhile. The other direction goes on.
 */
__attribute__((noinline)) int http2_lose_sync(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	struct frames *f;
	struct stream *s;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	s = stream_of(c, direction);
	note(c->role, LOST_SYNC, 1);
	void_streams(c, h);
	f->phase = FRAME_LOST;
	f->began = 0;
	f->in_block = 0;
	forget_table(&f->hpack);
	if (is_request(c, direction))
		h->routed.epoch = 0;
	s->phase = UNSYNCED;
	empty_window(s);
	return STOP;
}

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

/*
 * The id that stands for a call's path. A path of the static table is no method, and of one that was put into the table
 * by a request that was no gRPC the text is gone.
 */
static __noinline int rpc_method_of(struct connection *c, struct hpack *p)
{
	__u32 id;

	if (!c || !p)
		return 0;
	if (!p->path_here)
		return p->found[FIELD_PATH] == PATH_UNNAMED ? RPC_METHOD_OVERFLOW :
		       p->found[FIELD_PATH]		    ? p->found[FIELD_PATH] - 1 :
							      RPC_METHOD_NONE;
	id = TAKE_INDEX(rpc_methods, free_methods, &p->path, RPC_METHOD_OVERFLOW);
	if (id == RPC_METHOD_OVERFLOW)
		note(c->role, METHODS_OVERFLOWED, 1);
	if (p->path_entry)
		p->entry[entry_at(p->path_entry - 1)] = MEANING(FIELD_PATH, id + 1);
	return id;
}

/* For those who watch. A path that was put into the table by an earlier request is gone. */
static __noinline int note_path(struct connection *c, struct hpack *p, __u32 id)
{
	struct flow_note *note;

	if (!c || !p || (!p->path_here && (!p->path_from || p->path_from >= DYNAMIC)))
		return 0;
	note = new_note(c, id, p->path.byte);
	if (!note)
		return 0;
	note->text_form = !p->path_here ? TEXT_INDEX : p->path.huffman ? TEXT_HUFFMAN : TEXT_PATH;
	note->text_bytes = p->path_here ? p->path.length : p->path_from;
	return 0;
}

/* A header block of the requesting direction is complete: a request, or the trailers of one. */
__attribute__((noinline)) int http2_request(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	struct exchange *e;
	struct frames *f;
	struct hpack *p;
	__u32 id, lost, choice;
	int slot;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	p = &f->hpack;
	id = f->stream;
	lost = p->found[FIELD_LOST];
	if (!(id & 1) || id <= f->opened)
		return AGAIN;
	if (!p->found[FIELD_METHOD] && !p->found[FIELD_PATH] && !lost) /* trailers of one that was not seen */
		return AGAIN;
	f->opened = id;
	note(c->role, REQUESTS_SEEN, 1);
	slot = find_stream(source, 0, id);
	if (slot < 0) {
		note(c->role, REQUESTS_PIPELINE_FULL, 1);
		h->untracked++;
		return AGAIN;
	}
	if (!h->from)
		h->from = id;
	e = exchange_at(h, slot);
	e->began = f->block_began;
	e->first_byte = 0;
	e->status = 0;
	choice = path_choice(c, &h->routed, p);
	e->request = p->found[FIELD_METHOD] ? p->found[FIELD_METHOD] - 1 : lost ? METHOD_UNKNOWN : METHOD_OTHER;
	e->path = route_of(c, choice, e->request);
	e->answer = GRPC_NONE;
	if (p->found[FIELD_CONTENT_TYPE] == CONTENT_GRPC) {
		e->request |= REQUEST_GRPC;
		e->path = rpc_method_of(c, p);
	} else if (!p->found[FIELD_CONTENT_TYPE] && lost) {
		e->request |= REQUEST_LOST;
	}
	if (is_watched())
		note_path(c, p, id);
	barrier(); /* who sees the id, on another CPU, must see the rest */
	e->id = id;
	return AGAIN;
}

/* An answer to a stream that is not known. */
static __always_inline int note_unknown_stream(struct connection *c, struct http2 *h, __u32 id, __u32 opened)
{
	note(c->role, RESPONSES_SEEN, 1);
	if (h->untracked != h->untracked_answered) {
		h->untracked_answered++;
		note(c->role, RESPONSES_PIPELINE_FULL, 1);
	} else if (h->from && id >= h->from && id <= opened) {
		note(c->role, RESPONSES_ABANDONED, 1);
	} else {
		note(c->role, RESPONSES_JOINED_MIDWAY, 1);
	}
	return AGAIN;
}

/* A header block of the answering direction is complete: the head of an answer, its trailers, or both. */
__attribute__((noinline)) int http2_answer(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	__u32 id, status, lost, ends;
	struct exchange *e;
	struct frames *f;
	struct hpack *p;
	__u64 since;
	int slot;

	if (!c || !h)
		return STOP;
	f = frames_of(h, direction);
	p = &f->hpack;
	id = f->stream;
	if (f->pushed || !(id & 1))
		return AGAIN;
	ends = f->flags & END_STREAM;
	status = p->found[FIELD_STATUS];
	lost = p->found[FIELD_LOST];
	if (status >= 100 && status < 200) {
		note(c->role, RESPONSES_SEEN, 1);
		note(c->role, RESPONSES_INTERIM, 1);
		return AGAIN;
	}
	slot = find_stream(source, id, id);
	if (slot < 0)
		return status || (lost && !ends) ? note_unknown_stream(c, h, id, frames_of(h, !direction)->opened) : AGAIN;
	e = exchange_at(h, slot);
	if (!e->status || status > NONSENSE) {
		if (!e->status) {
			note(c->role, RESPONSES_SEEN, 1);
			since = f->block_began - e->began;
			e->first_byte = f->block_began <= e->began ? 1 : since > LONGEST ? LONGEST : since;
		}
		e->status = status ? status : STATUS_UNKNOWN;
		if (p->found[FIELD_CONTENT_TYPE] == CONTENT_GRPC)
			e->answer |= ANSWER_GRPC;
		else if (!p->found[FIELD_CONTENT_TYPE] && lost)
			e->answer |= ANSWER_LOST;
	}
	if (p->found[FIELD_GRPC_STATUS])
		e->answer = (e->answer & ~0x1f) | p->found[FIELD_GRPC_STATUS];
	else if (lost && ends)
		e->answer |= STATUS_LOST;
	if (!ends)
		return AGAIN;
	f->slot = slot;
	f->ending = id;
	f->failure = FAILURE_NONE;
	return ANSWERED;
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
