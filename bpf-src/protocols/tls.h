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
#define RANDOM 11	 /* of a ClientHello that begins a record (RFC 8446 4, 4.1.2): where it is */
#define RANDOM_LENGTH 32
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

#ifdef INSIDE_TLS

/* TLS inside TLS is not looked into. */
static __always_inline void count_tls(SOURCE slot, struct connection *c, __u32 direction)
{
	c->protocol = OPAQUE;
}

#else

/* For the programs that read what is inside: which connection this socket is. */
static __noinline int publish_tls(struct connection *c)
{
	struct tls_socket socket = {};

	if (!c)
		return 0;
	socket.since = c->joined ? 0 : bpf_ktime_get_ns();
	socket.cgroup = c->cgroup;
	socket.peer_cgroup = c->peer_cgroup;
	__builtin_memcpy(socket.local_address, c->local_address, 16);
	__builtin_memcpy(socket.remote_address, c->remote_address, 16);
	__builtin_memcpy(socket.name, c->name, 16);
	socket.local_port = c->local_port;
	socket.remote_port = c->remote_port;
	socket.role = c->role;
	return bpf_map_update_elem(&tls_sockets, &c->tls_cookie, &socket, BPF_ANY);
}

/* Told once, by whoever sees last that it carries TLS and between whom. */
static __noinline int tell_tls(struct connection *c)
{
	struct pair_value *value;

	if (!c || !c->tls || !c->settled || !claim(c, COUNTING_TLS))
		return 0;
	value = pair_value_of(c);
	if (value)
		add(&value->tls, 1);
	if (c->tls_cookie)
		publish_tls(c);
	return 0;
}

/*
 * By the random bytes of its ClientHello, which the library keeps, too. The same ones on two sockets of one cgroup (who
 * hands TLS on unread has them) stand for neither.
 */
static __noinline int publish_hello(struct connection *c, __u32 direction)
{
	struct tls_hello hello = {};
	__u64 at, header, *other;
	struct stream *s;

	if (!c)
		return 0;
	s = stream_of(c, direction);
	at = bounded(s->at);
	header = __builtin_bswap64(eight(s, at));
	if (!c->synced || s->end < at + RANDOM + RANDOM_LENGTH || RECORD_TYPE(header) != HANDSHAKE ||
	    RECORD_FIRST(header) != CLIENT_HELLO)
		return 0;
	for (int i = 0; i < RANDOM_LENGTH / 8; i++)
		hello.random[i] = eight(s, at + RANDOM + 8 * i);
	hello.cgroup = c->cgroup;
	hello.server = direction == IN;
	if (!bpf_map_update_elem(&tls_hellos, &hello, &c->tls_cookie, BPF_NOEXIST))
		return 0;
	other = bpf_map_lookup_elem(&tls_hellos, &hello);
	if (other && *other != c->tls_cookie)
		*other = AMBIGUOUS_HELLO;
	return 0;
}

/* The connection carries TLS. */
static __always_inline void count_tls(SOURCE skb, struct connection *c, __u32 direction)
{
	struct control *wanted;
	__u32 zero = 0;

	note(c->role, CONNECTIONS_TLS, 1);
	c->protocol = OPAQUE;
	wanted = bpf_map_lookup_elem(&control, &zero);
	if (wanted && wanted->decode_tls) {
		c->tls_cookie = bpf_get_socket_cookie(skb);
		publish_hello(c, direction);
	}
	barrier(); /* who sees that it does, on another CPU, must see the cookie */
	c->tls = 1;
	tell_tls(c);
}

#endif

#endif
