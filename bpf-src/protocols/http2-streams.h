/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The state of a connection that speaks HTTP/2, and the end of its exchanges. An exchange is a stream that the client
 * opened: from the first byte of its HEADERS to the last byte of the frame with which the server ends it. Both directions
 * touch it, on two CPUs: the requesting one makes it, whoever ends it takes it out under the lock, so it is counted once.
 */
#ifndef MESHTAP_HTTP2_STREAMS_H
#define MESHTAP_HTTP2_STREAMS_H

#include "lib/flows.h"
#include "protocols/http2-routes.h"

#define STREAMS 256 /* open at a time on one connection; a power of two */

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

#endif
