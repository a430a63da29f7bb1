/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Single requests and connections, for those who watch. Nothing here is done unless somebody does, and nothing that is
 * counted depends on it. What of a request will be shown when it is over (its path, its trace) is noted when it begins.
 */
#ifndef MESHTAP_FLOWS_H
#define MESHTAP_FLOWS_H

#include "lib/series.h"
#include "lib/stream.h"
#include "wire/flows.h"

static __always_inline int is_watched(void)
{
	__u32 zero = 0;
	struct watching *w = bpf_map_lookup_elem(&watching, &zero);

	return w && w->on;
}

/*
 * A note for a request, to be filled in, or 0. It begins as a copy of what lies at `like`, so that no stack is needed:
 * the size of a note can be read there.
 */
static __always_inline struct flow_note *new_note(struct connection *c, __u32 number, const void *like)
{
	struct flow_note_key key = { .connection = c->tuple, .number = number, .role = c->role };
	struct flow_note *note;

	if (bpf_map_update_elem(&flow_notes, &key, like, BPF_ANY))
		return 0;
	note = bpf_map_lookup_elem(&flow_notes, &key);
	if (!note)
		return 0;
	__builtin_memset(note->trace, 0, sizeof(note->trace));
	note->at = bpf_ktime_get_ns();
	return note;
}

/* Where the value of a header called traceparent begins, from a place in the window on; 0 = it is not there. */
static __always_inline __u64 find_trace(const struct stream *s, __u64 at)
{
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 marks, line;

		if (at >= s->end)
			return 0;
		marks = newlines(eight(s, bounded(at)));
		if (!marks) {
			at += 8;
			continue;
		}
		line = bounded(at + lowest(marks)) + 1;
		at = line;
		if ((eight(s, line) | LOWER) == EIGHT('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r') &&
		    ((eight(s, line + 8) | LOWER) & FIRST(4)) == EIGHT('e', 'n', 't', ':', 0, 0, 0, 0))
			return line + 13;
	}
	return 0;
}

/* A request of HTTP/1 begins at the parser's place. Of its head that much is looked at which is in the window. */
static __noinline int note_line(struct connection *c, struct stream *s)
{
	struct flow_note *note;
	__u64 at, trace;
	__u32 n;

	if (!c || !s)
		return 0;
	at = bounded(s->at);
	n = s->end - at;
	note = new_note(c, c->asked << 1, s->byte);
	if (!note)
		return 0;
#pragma unroll
	for (__u32 i = 0; i < FLOW_TEXT; i += 8)
		if (i < n)
			*(__u64 *)(note->text + i) = eight(s, bounded(at + i));
	note->text_form = TEXT_LINE;
	note->text_bytes = n < FLOW_TEXT ? n : FLOW_TEXT;
	trace = find_trace(s, at);
	/* "00-", and then it; the space before them may be missing */
	if (trace && s->byte[bounded(trace)] == ' ')
		trace++;
	if (!trace || trace + 3 + FLOW_TRACE > s->end)
		return 0;
	trace = bounded(trace);
#pragma unroll
	for (int i = 0; i < FLOW_TRACE; i += 8)
		*(__u64 *)(note->trace + i) = eight(s, trace + 3 + i);
	return 0;
}

/* Whether the rate lets one more pass. */
static __always_inline int admit(__u64 now)
{
	__u32 zero = 0;
	struct watching *w = bpf_map_lookup_elem(&watching, &zero);

	if (!w)
		return 0;
	if (w->window != now >> FLOW_WINDOW) { /* two CPUs at once begin it twice, and let a few more pass */
		w->window = now >> FLOW_WINDOW;
		w->taken = 0;
	}
	if (w->taken >= w->quota)
		return 0;
	add(&w->taken, 1);
	return 1;
}

static __always_inline void note_flow(enum flow_outcome outcome)
{
	__u32 stripe = bpf_get_smp_processor_id() & stripes_mask;
	struct flow_counts *counts = bpf_map_lookup_elem(&flow_counts, &stripe);

	if (counts)
		add(&counts->count[outcome], 1);
}

/* A place in the ring for one more event, or 0: then it is counted as one that nobody was shown. */
static __always_inline struct flow_event *new_event(struct connection *c, __u8 kind)
{
	__u64 now = bpf_ktime_get_ns();
	struct flow_event *e = 0;

	if (!admit(now)) {
		note_flow(FLOWS_LIMITED);
		return 0;
	}
	e = bpf_ringbuf_reserve(&flow_ring, sizeof(*e), 0);
	if (!e) {
		note_flow(FLOWS_FULL);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->at = now;
	e->kind = kind;
	e->connection = c->tuple;
	name_side(c, &e->pair);
	__builtin_memcpy(e->local_address, c->local_address, 16);
	__builtin_memcpy(e->remote_address, c->remote_address, 16);
	e->local_port = c->local_port;
	e->remote_port = c->remote_port;
	name_end(c->peer_cgroup, c->remote_address, &e->pair);
	if (e->pair.peer_kind == PEER_WORLD && c->role == ROLE_CLIENT)
		use_name(c, &e->pair); /* it was looked up for the pair that this is counted in */
	note_flow(FLOWS_SHOWN);
	return e;
}

/* What was noted of a request goes with its event, if there is one. */
static __always_inline void take_note(const struct connection *c, __u32 number, struct flow_event *e)
{
	struct flow_note_key key = { .connection = c->tuple, .number = number, .role = c->role };
	struct flow_note *note = e ? bpf_map_lookup_elem(&flow_notes, &key) : 0;

	if (note) {
		e->text_form = note->text_form;
		e->text_bytes = note->text_bytes;
		__builtin_memcpy(e->trace, note->trace, FLOW_TRACE);
		__builtin_memcpy(e->text, note->text, FLOW_TEXT);
	}
	bpf_map_delete_elem(&flow_notes, &key);
}

/* An exchange is over, and somebody watches. */
static __noinline int tell_request(struct connection *c, __u64 tag, __u64 duration_ns, __u64 first_byte_ns, __u32 number)
{
	struct flow_event *e;

	if (!c)
		return 0;
	e = new_event(c, FLOW_REQUEST);
	if (e) {
		e->duration = duration_ns;
		e->first_byte = first_byte_ns;
		e->number = number;
		describe(tag, &e->series);
	}
	take_note(c, number, e);
	if (e)
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); /* user space looks by itself */
	return 0;
}

static __always_inline void show_request(struct connection *c, __u64 tag, __u64 duration_ns, __u64 first_byte_ns,
					 __u32 number)
{
	if (is_watched())
		tell_request(c, tag, duration_ns, first_byte_ns, number);
}

static __noinline int tell_connection(struct connection *c, __u8 kind, __u8 how)
{
	struct flow_event *e;

	if (!c)
		return 0;
	e = new_event(c, kind);
	if (!e)
		return 0;
	e->how = how;
	e->duration = c->connect_ns;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline void show_connection(struct connection *c, enum flow_kind kind, __u8 how)
{
	if (is_watched())
		tell_connection(c, kind, how);
}

#endif
