/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Everything that outlives a packet, but for the state of single sockets (connection.h). */
#ifndef MESHTAP_MAPS_H
#define MESHTAP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "wire/counts.h"
#include "wire/flows.h"

/* Set by user space before load. */
const volatile __u64 boundaries[32] = {}; /* ns, ascending, inclusive, padded with the largest value */
const volatile __u32 stripes_mask = 0;	  /* stripes - 1, a power of two less one */

/*
 * Array values lie once per stripe at index * stripes + stripe. Plain arrays and atomic adds, because a per-CPU
 * value is no protection here: a softirq may run these programs in the middle of a run for a sending process, and
 * on a preemptible kernel so may another process. Sixteen bytes of stripes cost less than per-CPU copies, too.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct pair_key);
	__type(value, __u32);
} pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct pair_value);
} pair_values SEC(".maps");

/* Indices that are free to take. A queue, because 5.10 has no atomic operation that returns a value. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2048);
	__type(value, __u32);
} free_pairs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct http_key);
	__type(value, __u32);
} http_series SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct http_value);
} http_values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8192);
	__type(value, __u32);
} free_series SEC(".maps");

/* The paths of gRPC calls, and the ids that stand for them in series. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct rpc_method_key);
	__type(value, __u32);
} rpc_methods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__type(value, __u32);
} free_methods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct ledger);
} ledgers SEC(".maps");

/* What user space makes of an address: a prefix_verdict or the id of an identity. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");

/*
 * Queries of DNS without an answer. Not an LRU map: what it forgets would be neither answered nor unanswered. User
 * space takes out what is old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dns_pending_key);
	__type(value, struct dns_pending);
} dns_pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct dns_key);
	__type(value, __u32);
} dns_series SEC(".maps");

/* One stripe more than others have: the last one is user space's, which counts what was never answered. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct dns_value);
} dns_values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2048);
	__type(value, __u32);
} free_dns_series SEC(".maps");

/* DNS names, and the ids that stand for them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct dns_name);
	__type(value, __u64);
} dns_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 512);
	__type(value, __u64);
} free_names SEC(".maps");

/* Addresses by the names for which services were told them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct named_key);
	__type(value, struct named);
} named SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

/* The automaton of routes (routes.h), written by user space: which table is in force, and the two tables. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct routing);
} routing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct route_table);
} route_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct route_page);
} route_pages SEC(".maps");

/* The scopes of servers: which patterns apply to them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct server_key);
	__type(value, __u32);
} route_scopes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct huffman_code);
} huffman_code SEC(".maps");

/* The connections that carry TLS, for the programs that read inside (tls.bpf.c): by the socket's cookie. */
struct tls_socket {
	__u64 since;	/* ns: when it became clear; 0 = it was open before */
	__u64 ended_at; /* ns; 0 = it is open */
	__u64 cgroup, peer_cgroup;
	__u8 local_address[16], remote_address[16];
	__u64 name[2]; /* of the remote address, as in struct connection */
	__u16 local_port, remote_port; /* host byte order */
	__u8 role;
	__u8 failure; /* how it ended */
	__u8 orderly; /* ... and whether the side that answers had closed */
	__u8 missed;  /* something passed inside that was not read */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct tls_socket);
} tls_sockets SEC(".maps");

/* ... and which socket it is that a ClientHello passed: its 32 random bytes, on either side of it. */
struct tls_hello {
	__u64 random[4];
	__u64 cgroup; /* of the socket */
	__u64 server; /* it came in here */
};

#define AMBIGUOUS_HELLO (~0ull) /* instead of a cookie */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tls_hello);
	__type(value, __u64);
} tls_hellos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct watching);
} watching SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} flow_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct flow_counts);
} flow_counts SEC(".maps");

/*
 * Not an LRU map: notes are written where they lie, which must not become another request's meanwhile. What is left
 * behind by requests that nobody saw end is taken out by user space.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct flow_note_key);
	__type(value, struct flow_note);
} flow_notes SEC(".maps");

/* An index or an id for a new key, or that of whoever was faster; what `overflow` says if none is left. */
#define TAKE_INDEX(map, free, key, overflow)                                                                      \
	({                                                                                                        \
		__typeof__(overflow) *found = bpf_map_lookup_elem(&map, key), fresh = 0, index = overflow;        \
		if (found) {                                                                                      \
			index = *found;                                                                           \
		} else if (!bpf_map_pop_elem(&free, &fresh)) {                                                    \
			if (!bpf_map_update_elem(&map, key, &fresh, BPF_NOEXIST)) {                               \
				index = fresh;                                                                    \
			} else {                                                                                  \
				bpf_map_push_elem(&free, &fresh, 0);                                              \
				found = bpf_map_lookup_elem(&map, key);                                           \
				if (found)                                                                        \
					index = *found;                                                           \
			}                                                                                         \
		}                                                                                                 \
		index;                                                                                            \
	})

static __always_inline __u32 stripe_of(__u32 index)
{
	return index * (stripes_mask + 1) + (bpf_get_smp_processor_id() & stripes_mask);
}

static __always_inline void add(__u64 *counter, __u64 n)
{
	__sync_fetch_and_add(counter, n);
}

/* Say in the ledger what became of something. */
static __always_inline void note(__u32 role, enum ledger_entry entry, __u64 n)
{
	__u32 stripe = bpf_get_smp_processor_id() & stripes_mask;
	struct ledger *ledger = bpf_map_lookup_elem(&ledgers, &stripe);

	if (ledger)
		add(&ledger->count[role & (LEDGER_ROLES - 1)][entry], n);
}

/*
 * The bucket whose boundary is the first not below ns. Five halvings of 32; the padding stops the search. A function
 * of its own: the verifier knows the boundaries, and would follow each place in them wherever this is inlined.
 */
__attribute__((noinline)) int bucket_of(__u64 ns)
{
	__u32 i = 0;

#pragma unroll
	for (__u32 half = 16; half; half >>= 1)
		if (boundaries[(i + half - 1) & 31] < ns)
			i += half;
	return i;
}

static __always_inline void observe(struct histogram *histogram, __u64 ns)
{
	__u32 bucket = bucket_of(ns);

	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	asm volatile("" : "+r"(bucket));
	if (bucket >= BUCKETS) /* again, for the verifier: the compiler may have kept the bound in another register */
		return;
	add(&histogram->sum, ns);
	add(&histogram->bucket[bucket], 1);
}

#endif
