/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the programs have counted, read as user space reads it, and what must hold of it whatever happened. */
#ifndef FUZZ_LEDGER_H
#define FUZZ_LEDGER_H

#include "network.h"

/* All stripes together. */
static __u64 ledger_of(__u32 role, enum ledger_entry entry)
{
	__u64 sum = 0;

	for (__u32 stripe = 0; stripe <= stripes_mask; stripe++)
		sum += ((struct ledger *)map_lookup(maps.ledgers, &stripe))->count[role][entry];
	return sum;
}

static void add_histogram(struct histogram *to, const struct histogram *from)
{
	to->sum += from->sum;
	for (__u32 i = 0; i < BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

static __u64 count_of(const struct histogram *histogram)
{
	__u64 count = 0;

	for (__u32 i = 0; i < BUCKETS; i++)
		count += histogram->bucket[i];
	return count;
}

static struct http_value http_value_of(__u32 index)
{
	struct http_value sum = {};

	for (__u32 stripe = 0; stripe <= stripes_mask; stripe++) {
		__u32 slot = index * (stripes_mask + 1) + stripe;
		const struct http_value *value = map_lookup(maps.http_values, &slot);

		add_histogram(&sum.duration, &value->duration);
		add_histogram(&sum.first_byte, &value->first_byte);
	}
	return sum;
}

static void add_pair(struct pair_value *to, const struct pair_value *from)
{
	to->opened += from->opened;
	to->closed += from->closed;
	to->reset += from->reset;
	to->timed_out += from->timed_out;
	to->bytes_sent += from->bytes_sent;
	to->bytes_received += from->bytes_received;
}

static struct pair_value pair_value_at(__u32 index)
{
	struct pair_value sum = {};

	for (__u32 stripe = 0; stripe <= stripes_mask; stripe++) {
		__u32 slot = index * (stripes_mask + 1) + stripe;

		add_pair(&sum, map_lookup(maps.pair_values, &slot));
	}
	return sum;
}

static __u8 role_of_pair(__u32 index)
{
	const struct map *map = maps.pairs;

	for (__u32 i = 0; i < map->count; i++)
		if (*(__u32 *)map->entries[i].value == index)
			return ((struct pair_key *)map->entries[i].key)->role;
	return ROLE_UNKNOWN;
}

/* Calls back for each series, overflow series included, whose keys are all zero but for the role. */
static void each_series(void (*visit)(__u8 role, const struct http_key *key, const struct http_value *value))
{
	static const struct http_key OVERFLOW = {};
	const struct map *map = maps.http_series;
	struct http_value value;

	for (__u32 i = 0; i < map->count; i++) {
		const struct http_key *key = map->entries[i].key;

		value = http_value_of(*(__u32 *)map->entries[i].value);
		visit(role_of_pair(key->pair), key, &value);
	}
	for (__u32 role = ROLE_CLIENT; role <= ROLE_SERVER; role++) {
		value = http_value_of(role == ROLE_CLIENT ? OVERFLOW_CLIENT : OVERFLOW_SERVER);
		if (count_of(&value.duration))
			visit(role, &OVERFLOW, &value);
	}
}

static __u64 measured[ROLES];

static void check_series(__u8 role, const struct http_key *key, const struct http_value *value)
{
	CHECK(role == ROLE_CLIENT || role == ROLE_SERVER, "a series of nobody");
	measured[role] += count_of(&value->duration);
	if (!key->pair)
		return;
	CHECK(key->method <= METHOD_UNKNOWN && key->version <= HTTP_2 && key->failure <= FAILURE_STREAM_OTHER,
	      "method %u, version %u, failure %u", key->method, key->version, key->failure);
	CHECK(key->status == 0 || key->status == 101 || (key->status >= 200 && key->status <= 999) ||
		      (key->version == HTTP_2 && key->status == STATUS_UNKNOWN),
	      "status %u", key->status);
	CHECK(key->status || key->failure, "neither a status nor a failure");
	CHECK(!key->tls && !key->route && !key->reserved, "bytes that should be zero");
	CHECK(count_of(&value->first_byte) <= count_of(&value->duration), "%llu first bytes, %llu answers",
	      count_of(&value->first_byte), count_of(&value->duration));
}

/* To be called when all connections have ended: nothing is outstanding then. */
static void reconcile(void)
{
	measured[ROLE_CLIENT] = measured[ROLE_SERVER] = 0;
	each_series(check_series);
	for (__u32 role = ROLE_CLIENT; role <= ROLE_SERVER; role++) {
		__u64 answered = ledger_of(role, REQUESTS_ANSWERED), failed = ledger_of(role, REQUESTS_FAILED);
		__u64 requests = ledger_of(role, REQUESTS_SEEN), responses = ledger_of(role, RESPONSES_SEEN);
		__u64 lost = ledger_of(role, REQUESTS_DESYNCHRONISED) + ledger_of(role, REQUESTS_PIPELINE_FULL);
		__u64 explained = ledger_of(role, RESPONSES_MATCHED) + ledger_of(role, RESPONSES_INTERIM) +
				  ledger_of(role, RESPONSES_JOINED_MIDWAY) + ledger_of(role, RESPONSES_PIPELINE_FULL) +
				  ledger_of(role, RESPONSES_DESYNCHRONISED) + ledger_of(role, RESPONSES_ABANDONED);

		CHECK(answered + failed == measured[role], "role %u: ledger %llu + %llu, series %llu", role, answered,
		      failed, measured[role]);
		CHECK(requests == answered + failed + lost, "role %u: %llu requests, %llu answered, %llu failed, %llu lost",
		      role, requests, answered, failed, lost);
		CHECK(responses == explained, "role %u: %llu responses, %llu explained", role, responses, explained);
	}
}

static bool is_known(__u64 name)
{
	for (__u32 i = 0; i < maps.dns_names->count; i++)
		if (*(__u64 *)maps.dns_names->entries[i].value == name)
			return true;
	return !name || name == NAME_MANY;
}

/* Each query and each answer is where it belongs, and addresses have no names but those that are known. */
static void reconcile_dns(void)
{
	__u64 queries = 0, answers = 0, unanswered = 0, seen = 0, answered = 0, matched = 0;

	for (__u32 i = 0; i < maps.dns_values->count; i++) {
		const struct dns_value *value = map_lookup(maps.dns_values, &maps.dns_values->used[i]);

		queries += value->queries;
		unanswered += value->unanswered;
		answers += count_of(&value->duration);
	}
	for (__u32 role = 0; role < ROLES; role++) {
		seen += ledger_of(role, QUERIES_SEEN);
		answered += ledger_of(role, QUERIES_ANSWERED);
		matched += ledger_of(role, ANSWERS_SEEN) - ledger_of(role, ANSWERS_UNMATCHED);
	}
	CHECK(queries == seen, "%llu queries are counted, %llu were seen", queries, seen);
	CHECK(answers == answered && answered == matched, "%llu answers of %llu, %llu", answers, answered, matched);
	CHECK(seen == answered + unanswered + maps.dns_pending->count, "%llu = %llu + %llu + %u", seen, answered, unanswered,
	      maps.dns_pending->count);
	for (__u32 i = 0; i < maps.named->count; i++) {
		const struct named *it = maps.named->entries[i].value;

		CHECK(is_known(it->name) && is_known(it->other), "an address has a name that nobody knows");
	}
}

#endif
