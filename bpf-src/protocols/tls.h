/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * TLS, from the outside: whether a connection carries it, by its records (RFC 8446 5.1: type, version, length). All
 * versions from SSL 3.0 to 1.3 look the same here.
 */
#ifndef MESHTAP_TLS_H
#define MESHTAP_TLS_H

#include "lib/series.h"

enum record_type { ALERT = 21, HANDSHAKE, APPLICATION_DATA };
enum handshake_type { CLIENT_HELLO = 1, SERVER_HELLO };

#define RECORD_HEADER 5
#define LONGEST_RECORD (16384 + 2048) /* RFC 5246 6.2.3 */
#define SHORTEST_DATA 17	      /* with what protects its integrity, and at least one byte of what it protects */

/* The parts of a record's first eight bytes, in network byte order. */
#define RECORD_TYPE(header) ((__u32)((header) >> 56))
#define RECORD_VERSION(header) ((__u32)((header) >> 40 & 0xffff))
#define RECORD_LENGTH(header) ((__u32)((header) >> 24 & 0xffff))
#define RECORD_FIRST(header) ((__u32)((header) >> 16 & 255))

enum tls_sign { TLS_NO, TLS_YES, TLS_PERHAPS };

/* Either side's first record: the client's is a ClientHello, the server's a ServerHello, or an alert that says no. */
static __always_inline int begins_tls(__u64 header, __u32 n)
{
	__u32 type = RECORD_TYPE(header), length = RECORD_LENGTH(header), first = RECORD_FIRST(header);

	if ((type != HANDSHAKE && type != ALERT) || (n > 1 && RECORD_VERSION(header) >> 8 != 3))
		return TLS_NO;
	if (n <= RECORD_HEADER)
		return TLS_PERHAPS;
	if (type == ALERT)
		return length == 2 ? TLS_YES : TLS_NO;
	return length && length <= LONGEST_RECORD && (first == CLIENT_HELLO || first == SERVER_HELLO) ? TLS_YES : TLS_NO;
}

static __always_inline int is_application_data(__u64 header)
{
	__u32 length = RECORD_LENGTH(header);

	return RECORD_TYPE(header) == APPLICATION_DATA && RECORD_VERSION(header) - 0x301 <= 2u &&
	       length >= SHORTEST_DATA && length <= LONGEST_RECORD;
}

/*
 * The middle of a connection: the segment begins with application data, and where that ends, so far as the window
 * shows it, more of it begins.
 */
static __always_inline int goes_on_as_tls(const struct stream *s, __u64 at, __u64 header, __u32 n)
{
	__u32 length = RECORD_HEADER + RECORD_LENGTH(header);

	if (n < 8 || !is_application_data(header))
		return TLS_NO;
	if (length + 8 > n) /* the next one is not in the window */
		return TLS_YES;
	return is_application_data(__builtin_bswap64(eight(s, bounded(at + length)))) ? TLS_YES : TLS_NO;
}

/* Whether what the window of a connection that is nothing else holds is TLS. */
static __noinline int carries_tls(const struct connection *c, const struct stream *s)
{
	__u64 at, header;
	__u32 n;

	if (!c || !s)
		return TLS_NO;
	at = bounded(s->at);
	n = s->end - at;
	if (!n)
		return TLS_NO;
	header = __builtin_bswap64(n < 8 ? eight(s, at) & FIRST(n) : eight(s, at));
	return c->synced ? begins_tls(header, n) : goes_on_as_tls(s, at, header, n);
}

/* Counted once, by whoever sees last that it carries TLS and between whom. */
static __noinline int tell_tls(struct connection *c)
{
	struct pair_value *value;

	if (!c || !c->tls || !c->settled || !claim(c, COUNTING_TLS))
		return 0;
	value = pair_value_of(c);
	if (value)
		add(&value->tls, 1);
	return 0;
}

/* The connection carries TLS. */
static __always_inline int count_tls(struct connection *c)
{
	if (!c)
		return 0;
	note(c->role, CONNECTIONS_TLS, 1);
	c->protocol = OPAQUE;
	c->tls = 1;
	tell_tls(c);
	return 0;
}

#endif
