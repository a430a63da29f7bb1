/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What is counted of DNS, over UDP and TCP alike.
 *
 * A query waits in `dns_pending` for its answer; both are counted in series of their own. A query is its socket, its
 * id and its question: sent again before it was answered, to whomever, it is the same one, and its time runs from the
 * first. An answer is believed if this very socket waits for it, and no more than once. (Where it comes from proves
 * nothing, and with address translation is not where the query went.)
 */
#ifndef MESHTAP_DNS_COUNTS_H
#define MESHTAP_DNS_COUNTS_H

#include "lib/series.h"

#define DNS_PORT 53

/* One event in a series of a pair. */
static __noinline struct dns_value *dns_value_of(const struct pair_key *pair, struct dns_key *key)
{
	__u32 none, taken, slot;

	if (!pair || !key)
		return 0;
	none = overflow_of(pair->role);
	taken = none;
	key->pair = TAKE_INDEX(pairs, free_pairs, pair, none);
	if (key->pair < FIRST_INDEX)
		note(pair->role, PAIRS_OVERFLOWED, 1);
	else
		taken = TAKE_INDEX(dns_series, free_dns_series, key, none);
	if (taken < FIRST_INDEX)
		note(pair->role, LOOKUPS_OVERFLOWED, 1);
	slot = taken * (stripes_mask + 2) + (bpf_get_smp_processor_id() & stripes_mask);
	return bpf_map_lookup_elem(&dns_values, &slot);
}

static __noinline int count_query(struct dns_pending_key *key, struct dns_pending *query)
{
	struct dns_key series = {};
	struct dns_pending *before;
	struct dns_value *value;
	int unanswered;

	if (!key || !query)
		return 0;
	before = bpf_map_lookup_elem(&dns_pending, key);
	if (before && query->at < before->at + DNS_PATIENCE * NANOSECONDS) {
		note(key->role, QUERIES_REPEATED, 1);
		return 0;
	}
	unanswered = before != 0; /* and the same id came round */
	note(key->role, QUERIES_SEEN, 1);
	if (bpf_map_update_elem(&dns_pending, key, query, BPF_ANY))
		note(key->role, QUERIES_UNTRACKED, 1);
	series.type = key->type;
	series.outcome = DNS_ASKED;
	value = dns_value_of(&query->pair, &series);
	if (!value)
		return 0;
	add(&value->queries, 1);
	if (unanswered)
		add(&value->unanswered, 1);
	return 0;
}

/* Takes out the query that this answers and says when it was sent, or 0. What is too late is left to user space. */
static __noinline __u64 take_pending(struct dns_pending_key *key, __u64 now)
{
	struct dns_pending *pending;
	__u64 at;

	if (!key)
		return 0;
	pending = bpf_map_lookup_elem(&dns_pending, key);
	if (!pending)
		return 0;
	at = pending->at;
	if (now >= at + DNS_PATIENCE * NANOSECONDS || bpf_map_delete_elem(&dns_pending, key))
		return 0; /* of two answers at once the second finds nothing */
	return at;
}

static __noinline int count_answer(const struct pair_key *pair, struct dns_key *series, __u64 records, __u64 ns)
{
	struct dns_value *value;
	__u32 addresses;

	if (!pair || !series)
		return 0;
	addresses = (records >> 8 * RECORD_A & 255) + (records >> 8 * RECORD_AAAA & 255);
	series->addresses = addresses < DNS_ADDRESSES ? addresses : DNS_ADDRESSES;
	note(pair->role, QUERIES_ANSWERED, 1);
	value = dns_value_of(pair, series);
	if (!value)
		return 0;
	observe(&value->duration, ns);
#pragma unroll
	for (int i = 0; i < DNS_RECORDS; i++)
		if (records >> 8 * i & 255)
			add(&value->record[i], records >> 8 * i & 255);
	return 0;
}

#endif
