/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a connection and an outcome to the counters they belong to. */
#ifndef MESHTAP_SERIES_H
#define MESHTAP_SERIES_H

#include "lib/connection.h"
#include "lib/names.h"
#include "lib/routes.h"

static __always_inline __u32 current_epoch(void)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c ? c->epoch : 0;
}

static __always_inline __u32 overflow_of(__u8 role)
{
	return role == ROLE_CLIENT ? OVERFLOW_CLIENT : OVERFLOW_SERVER;
}

/* What stands for the remote end in the key: its cgroup, a prefix known to user space, or its address. */
static __always_inline void name_end(__u64 cgroup, const __u8 *remote, struct pair_key *key)
{
	struct prefix_key address = { .bits = 128 };
	__u32 *verdict;

	if (cgroup) {
		key->peer_kind = PEER_CGROUP;
		*(__u64 *)key->peer = cgroup;
		return;
	}
	__builtin_memcpy(address.address, remote, 16);
	verdict = bpf_map_lookup_elem(&prefixes, &address);
	if (verdict && *verdict == PREFIX_WORLD) {
		key->peer_kind = PEER_WORLD;
	} else if (verdict && *verdict >= FIRST_PREFIX) {
		key->peer_kind = PEER_PREFIX;
		*(__u32 *)key->peer = *verdict;
	} else {
		key->peer_kind = PEER_ADDRESS;
		__builtin_memcpy(key->peer, remote, 16);
	}
}

static __always_inline void use_name(const struct connection *c, struct pair_key *key)
{
	if (!c->name[0])
		return;
	key->peer_kind = PEER_NAME;
	__builtin_memcpy(key->peer, c->name, 16);
}

/* Names are looked up once: the address may get another one while the connection lasts. */
static __always_inline void name_peer(struct connection *c, struct pair_key *key)
{
	name_end(c->peer_cgroup, c->remote_address, key);
	if (key->peer_kind != PEER_WORLD || c->role != ROLE_CLIENT)
		return;
	if (!c->recalled)
		recall(c->cgroup, c->remote_address, c->name);
	c->recalled = 1;
	use_name(c, key);
}

/* Whose side of which port it is, without the other end. */
static __always_inline void name_side(const struct connection *c, struct pair_key *key)
{
	key->cgroup = c->cgroup;
	key->role = c->role;
	key->port = c->role == ROLE_CLIENT ? c->remote_port : c->local_port;
}

static __noinline int find_pair(struct connection *c)
{
	__u32 epoch = current_epoch();
	struct pair_key key = {};

	if (!c)
		return 0;
	name_side(c, &key);
	name_peer(c, &key);
	find_scope(c, &key);
	c->series_tag = ~0ull;
	c->pair = TAKE_INDEX(pairs, free_pairs, &key, overflow_of(c->role));
	barrier(); /* who sees the epoch, on another CPU, must see the pair */
	c->epoch = epoch;
	if (c->pair < FIRST_INDEX)
		note(c->role, PAIRS_OVERFLOWED, 1);
	return 0;
}

static __always_inline struct pair_value *pair_value_of(struct connection *c)
{
	__u32 slot;

	if (c->epoch != current_epoch())
		find_pair(c);
	slot = stripe_of(c->pair);
	return bpf_map_lookup_elem(&pair_values, &slot);
}

/* It has become clear what the connection speaks; inside TLS, where it was counted as such before, that it is read. */
static __noinline int count_protocol(struct connection *c, enum ledger_entry protocol)
{
	if (!c)
		return 0;
#ifdef INSIDE_TLS
	if (protocol != CONNECTIONS_OTHER) {
		struct pair_value *value = pair_value_of(c);

		note(c->role, CONNECTIONS_TLS_DECODED, 1);
		if (value)
			add(&value->tls_decoded, 1);
	}
#else
	note(c->role, protocol, 1);
#endif
	return 0;
}

/*
 * What is known of an exchange, in one number: status, method, version, failure, gRPC status, the route or, if it is gRPC,
 * its method, and above them the epoch, without which it is no use.
 */
#define TAG(status, method, version, failure) \
	((__u64)(status) | (__u64)(method) << 10 | (__u64)(version) << 14 | (__u64)(failure) << 16)
#define GRPC_TAG(status, rpc_method) ((__u64)(status) << 22 | (__u64)(rpc_method) << 27)
#define ROUTE_TAG(route) ((__u64)(route) << 27)
#define EPOCH_TAG(epoch) ((__u64)(epoch) << 43)

/* What a tag says, but for its epoch. */
static __always_inline void describe(__u64 tag, struct http_key *key)
{
	key->status = tag & 1023;
	key->method = tag >> 10 & 15;
	key->version = tag >> 14 & 3;
	key->failure = tag >> 16 & 63;
	key->grpc_status = tag >> 22 & 31;
	if (key->grpc_status)
		key->rpc_method = tag >> 27;
	else
		key->route = tag >> 27;
#ifdef INSIDE_TLS
	key->tls = 1;
#endif
}

static __noinline int series_of(struct connection *c, __u64 tag)
{
	struct http_key key = {};

	if (!c || c->pair < FIRST_INDEX)
		return c ? overflow_of(c->role) : 0;
	key.pair = c->pair;
	describe(tag, &key);
	return TAKE_INDEX(http_series, free_series, &key, overflow_of(c->role));
}

/* One exchange came to its end in this series. */
static __always_inline void count_in(struct connection *c, __u32 series, __u64 tag, __u64 duration_ns,
				     __u64 first_byte_ns)
{
	__u32 slot = stripe_of(series);
	struct http_value *value = bpf_map_lookup_elem(&http_values, &slot);

	if (series < FIRST_INDEX)
		note(c->role, SERIES_OVERFLOWED, 1);
	if (!value)
		return;
	observe(&value->duration, duration_ns);
	if (first_byte_ns)
		observe(&value->first_byte, first_byte_ns);
	note(c->role, tag & 1023 ? REQUESTS_ANSWERED : REQUESTS_FAILED, 1);
}

/*
 * One exchange is over: first_byte_ns is 0 where no answer began. The same comes again and again on a connection, so
 * its index is kept, for one epoch. Only for whoever owns the answering direction.
 */
static __always_inline void measure(struct connection *c, __u64 tag, __u64 duration_ns, __u64 first_byte_ns)
{
	__u32 epoch = current_epoch();
	__u64 kept_tag = tag | EPOCH_TAG(epoch);

	if (c->epoch != epoch)
		find_pair(c);
	if (c->series_tag != kept_tag) {
		c->series = series_of(c, tag);
		c->series_tag = kept_tag;
	}
	count_in(c, c->series, tag, duration_ns, first_byte_ns);
}

#endif
