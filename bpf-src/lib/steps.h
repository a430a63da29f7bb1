/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From bytes of one direction, in their order, to the steps of a parser: the same for packets and inside TLS. */
#ifndef MESHTAP_STEPS_H
#define MESHTAP_STEPS_H

#include "lib/refill.h"
#include "lib/unanswered.h"
#ifndef INSIDE_TLS
#include "protocols/dns-stream.h"
#endif

#define BURST 64 /* steps; at most BURST * BURSTS lines, windows or chunks of one segment are looked at */
#define BURSTS 128
#define DNS_BURST 256 /* a message takes several */

/*
 * One step of the parser and what it asks for, verified once by itself: what it knows lies in the connection. That is
 * looked up only here and where a segment comes in, not by every function.
 */
__attribute__((noinline)) int turn(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct stream *s;
	int result;

	if (!c || c->protocol == OPAQUE)
		return STOP;
	s = stream_of(c, direction);
	result = http1_step(c, s, direction);
	if (result == ANSWERED) {
		end_response(c, s, FAILURE_NONE);
		result = AGAIN;
	}
	if (result == AGAIN && s->at >= s->end)
		result = WAIT;
	return result == WAIT ? refill(source, c, s) : result;
}

/* Bytes were missed, or make no sense. */
__attribute__((noinline)) int lose(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);

	if (!c)
		return STOP;
	if (c->protocol == HTTP2)
		return http2_lose_sync(source, direction);
#ifndef INSIDE_TLS
	if (c->protocol == DNS)
		return lose_dns(c, stream_of(c, direction));
#endif
	return lose_sync(c, stream_of(c, direction));
}

/* It is another protocol, or none that is known here, or, of a connection that was open before, the middle of one. */
__attribute__((noinline)) int classify(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct stream *s;

	if (!c)
		return STOP;
	if (http2_begin(source, direction))
		return AGAIN;
	if (c->protocol == OPAQUE) /* no memory for it */
		return STOP;
	s = stream_of(c, direction);
	switch (carries_tls(c, s)) {
	case TLS_YES:
		count_tls(source, c, direction);
		return STOP;
	case TLS_PERHAPS: /* too little to tell: the rest comes with the next segment */
		return STOP;
	}
#ifndef INSIDE_TLS
	switch (begins_dns(c, s, direction, !c->synced)) {
	case DNS_YES:
		return become_dns(source, c, s);
	case DNS_PERHAPS:
		return STOP;
	}
#endif
	if (c->synced) {
		__u64 at = bounded(s->at);
		__u32 n = s->end - at;

		/* too little to tell: the rest comes with the next segment */
		if (!is_request(c, direction) && n && n < FRAME_HEADER && begins_like_settings(s, at, n))
			return STOP;
		return give_up(c, CONNECTIONS_OTHER);
	}
	s->phase = UNSYNCED;
	s->began = 0;
	return STOP;
}

/* The server grants what a request asked for: HTTP/2, in which the request is stream 1 (RFC 7540 3.2). */
__attribute__((noinline)) int upgrade(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct stream *s;
	__u64 request;

	if (!c)
		return STOP;
	s = stream_of(c, direction);
	request = front(c);
	if (!http2_upgrade(source, c, s->now - since(request, s->now), METHOD_BITS(request),
			   c->route[c->answered & (OUTSTANDING - 1)])) {
		c->protocol = OPAQUE;
		end_response(c, s, FAILURE_NONE);
		return STOP;
	}
	note(c->role, RESPONSES_INTERIM, 1);
	c->answered++;
	end_message(s);
	return AGAIN;
}

/* As turn(), for a connection that speaks HTTP/2. */
__attribute__((noinline)) int http2_turn(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct http2 *h = http2_from(source);
	struct stream *s;
	int result;

	if (!c || !h)
		return STOP;
	s = stream_of(c, direction);
	result = http2_step(source, c, h, s, direction);
	if (result == ANSWERED)
		return http2_end(c, h, s, direction);
	if (result == LOST)
		return http2_lose_sync(source, direction);
	return result == WAIT ? refill(source, c, s) : result;
}

/* Two loops instead of a long one: the verifier walks 64 and 128 turns, not their product. */
__attribute__((noinline)) int burst(SOURCE source, __u32 direction)
{
	for (int i = 0; i < BURST; i++) {
		int result = turn(source, direction);

		if (result == STRANGE)
			return classify(source, direction);
		if (result == UPGRADED)
			return upgrade(source, direction);
		if (result != AGAIN)
			return result;
	}
	return AGAIN;
}

__attribute__((noinline)) int http2_burst(SOURCE source, __u32 direction)
{
	for (int i = 0; i < BURST; i++) {
		int result = http2_turn(source, direction);

		if (result != AGAIN)
			return result;
	}
	return AGAIN;
}

#ifndef INSIDE_TLS

/* As turn(), for a connection that speaks DNS. */
__attribute__((noinline)) int dns_turn(SOURCE source, __u32 direction)
{
	struct connection *c = connection_from(source);
	struct dns_stream *d = dns_stream_of(source->sk);
	struct stream *s;
	int result;

	if (!c || !d)
		return STOP;
	s = stream_of(c, direction);
	result = dns_step(source, c, message_of(d, direction), s, direction);
	return result == WAIT ? refill(source, c, s) : result;
}

__attribute__((noinline)) int dns_burst(SOURCE source, __u32 direction)
{
	for (int i = 0; i < DNS_BURST; i++) {
		int result = dns_turn(source, direction);

		if (result != AGAIN)
			return result;
	}
	return AGAIN;
}

#else
#define dns_burst burst /* it is not looked for */
#endif

static __always_inline int next_burst(SOURCE source, const struct connection *c, __u32 direction)
{
	switch (c->protocol) {
	case HTTP2:
		return http2_burst(source, direction);
	case DNS:
		return dns_burst(source, direction);
	}
	return burst(source, direction);
}

/* Parse length bytes at offset of the packet (or of an early piece); next is where they begin. */
static __noinline int parse(SOURCE source, struct connection *c, __u32 direction, __u32 offset, __u32 length)
{
	int result = AGAIN;
	struct stream *s;

	if (!c)
		return 0;
	s = stream_of(c, direction);
	s->base = offset;
	s->left = length;
	if (!s->passing)
		result = refill(source, c, s);
	s->passing = 0;
	for (int i = 0; i < BURSTS && result == AGAIN; i++)
		result = next_burst(source, c, direction);

	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		empty_window(s);
	else if (result != STOP)
		lose(source, direction);
	return 0;
}

/* Somebody lost or regained the thread since this direction last looked. */
static __always_inline void follow_era(struct connection *c, struct stream *s, __u32 direction, __u64 here)
{
	if (s->era == c->era)
		return;
	s->era = c->era;
	empty_window(s);
	s->began = 0;
	drop_answer(c, s);
	s->next = here;
	s->phase = c->synced ? START : UNSYNCED;
	if (!is_request(c, direction))
		drop_void(c);
}

#endif
