/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a header block that is complete to a request or an answer, of gRPC too. */
#ifndef MESHTAP_HTTP2_MESSAGES_H
#define MESHTAP_HTTP2_MESSAGES_H

#include "protocols/http2-frames.h"

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

#endif
