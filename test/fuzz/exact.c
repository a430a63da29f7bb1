/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A valid conversation over a network that reorders, doubles, loses and cuts as it likes, and ends in one of the ways
 * connections end. Both sides must have measured exactly what was asked and answered, and when.
 */
#include "conversation.h"
#include "ledger.h"

#define IN_FLIGHT 16
#define MOST_EARLY 24 /* segments; the programs keep 32 pieces of early segments for a connection */
#define STEPS 400

enum ending { COMPLETE, RESET_BY_CLIENT, RESET_BY_SERVER, TIMED_OUT, CLOSED_EARLY, ENDINGS };

static struct conversation conversation;

static struct {
	struct input *input;
	struct {
		struct end *to;
		struct range range;
	} flight[IN_FLIGHT];
	__u32 flights;
	__u32 early[2];	 /* at client and server: segments that came before their turn, since there was no hole */
	__u32 pipelined; /* requests that may be outstanding */
} run;

static void launch(struct end *to, struct range range)
{
	if (run.flights < IN_FLIGHT) {
		run.flight[run.flights].to = to;
		run.flight[run.flights++].range = range;
	}
}

/* How far an end's application would write now, were its pipe wide enough. */
static __u32 may_send(struct end *end)
{
	__u32 received = end->in->received, heard = 0;

	if (is_server(end)) { /* an answer comes when the request's head is there */
		for (; heard < conversation.count; heard++)
			if (received < conversation.exchange[heard].line_to)
				return conversation.exchange[heard].answers_from;
		return end->out->length + conversation.exchange[conversation.count - 1].until_close;
	}
	for (; heard < conversation.count && received >= conversation.exchange[heard].answer_to; heard++)
		;
	if (heard + run.pipelined < conversation.count)
		return conversation.exchange[heard + run.pipelined].request_from;
	return heard == conversation.count ? end->out->length : conversation.tunnel;
}

static void write_some(struct end *end, __u32 length)
{
	struct range range = { end->out->sent, end->out->sent + length };
	__u32 limit = may_send(end);

	if (!end->exists || end->locked || range.from >= limit || run.flights == IN_FLIGHT)
		return;
	if (range.to > limit)
		range.to = limit;
	tick();
	transmit(end, range);
	launch(peer_of(end), range);
}

static void send_again(struct end *end, __u32 from, __u32 length)
{
	struct range range = { .from = from };

	if (!end->exists || end->locked || !end->out->sent || run.flights == IN_FLIGHT)
		return;
	range.from %= end->out->sent;
	range.to = range.from + length;
	if (range.to > end->out->sent)
		range.to = end->out->sent;
	tick();
	transmit(end, range);
	launch(peer_of(end), range);
}

static void deliver(struct end *to, struct range range)
{
	struct flow *in = to->in;
	__u32 *early = &run.early[is_server(to)], highest = in->received;

	if (to->locked && to->backlogged == 16)
		return;
	/* lost: what completes a handshake is a first segment, or bare, and nothing comes while it does */
	if (!to->exists && (range.from || to->locked))
		return;
	if (range.from > in->received) {
		if (*early + (range.to - range.from) / 2048 >= MOST_EARLY)
			return;
		*early += 1 + (range.to - range.from) / 2048;
	}
	tick();
	if (arrive(to, range) && !to->locked)
		acknowledge(to);
	while (highest <= in->length && in->arrived[highest])
		highest++;
	for (__u32 i = highest; i <= in->length; i++)
		if (in->arrived[i])
			return;
	*early = 0;
}

static void land(__u32 index, bool again)
{
	struct end *to;
	struct range range;

	if (!run.flights)
		return;
	index %= run.flights;
	to = run.flight[index].to;
	range = run.flight[index].range;
	if (!again)
		memmove(run.flight + index, run.flight + index + 1, (--run.flights - index) * sizeof(*run.flight));
	deliver(to, range);
}

static __u32 pick_length(void)
{
	__u32 kind = take_back(run.input);

	return kind < 64 ? 1 + kind % 8 : kind < 128 ? kind : kind < 192 ? 8 * kind : 6000;
}

static void step_of_network(void)
{
	static const __u64 PAUSES[] = { 1, 25601, 256001, 2560001, 256000001 };
	__u32 choice = take_back(run.input);
	struct end *end = choice & 128 ? &network.server : &network.client;

	switch (choice & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
		write_some(end, pick_length());
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		land(0, false);
		break;
	case 8:
		land(take_back(run.input), false);
		break;
	case 9:
		land(take_back(run.input), true);
		break;
	case 10:
		if (run.flights) /* lost */
			memmove(run.flight, run.flight + 1, --run.flights * sizeof(*run.flight));
		break;
	case 11:
		send_again(end, take_back(run.input) << 8 | take_back(run.input), pick_length());
		break;
	case 12:
		if (end->exists && !end->locked)
			acknowledge(end);
		break;
	case 13:
		kernel.now += PAUSES[take_back(run.input) % 5];
		break;
	case 15:
		network.linear = take_back(run.input) * 64;
		break;
	}
}

/* What is missing at an end arrives, in order; returns whether anything was. */
static bool complete(struct end *to)
{
	struct end *from = peer_of(to);
	struct range range = { to->in->received, to->in->sent };
	__u32 limit = may_send(from);

	if (range.from < range.to) {
		tick();
		transmit(from, range);
		deliver(to, range);
		return true;
	}
	if (from->exists && range.to < limit) {
		write_some(from, 3000);
		run.flights = 0;
		return true;
	}
	return false;
}

static void finish(struct end *end)
{
	if (end->out->sent <= end->out->length) {
		end->out->length = end->out->sent;
		tick();
		transmit(end, (struct range){ end->out->sent, end->out->sent + 1 });
	}
}

/* FIN from both, whatever the applications still had to say. */
static void close_both(struct end *first)
{
	struct end *second = peer_of(first);

	release_by_application(first);
	finish(first);
	deliver(second, (struct range){ second->in->received, second->in->sent });
	release_by_application(second);
	finish(second);
	deliver(first, (struct range){ first->in->received, first->in->sent });
}

/* What came early finds what belongs before it. */
static void fill_holes(struct end *to)
{
	const struct flow *in = to->in;

	for (__u32 i = in->received; i <= in->length; i++) {
		if (!in->arrived[i])
			continue;
		deliver(to, (struct range){ in->received, i });
		i = in->received;
	}
}

static void end_connection_by(enum ending ending, bool by_server)
{
	struct end *client = &network.client, *server = &network.server;

	if (!server->exists)
		deliver(server, (struct range){ server->in->received, server->in->received });
	fill_holes(client);
	fill_holes(server);
	switch (ending) {
	case COMPLETE:
		while (complete(server) || complete(client))
			;
		close_both(by_server ? server : client);
		break;
	case CLOSED_EARLY:
		/* what is under way still arrives */
		for (__u32 i = 0; i < 2; i++)
			while (network.flow[i].received < network.flow[i].sent)
				complete(i ? client : server);
		close_both(by_server ? server : client);
		break;
	case RESET_BY_CLIENT:
		reset(client);
		reset_arrives(server);
		break;
	case RESET_BY_SERVER:
		reset(server);
		reset_arrives(client);
		break;
	default:
		break;
	}
	bury(client);
	bury(server);
}

/* What arrives early has two times: when it came, and when it was in order. Elsewhere both are the same. */
struct span {
	__u64 least, most; /* ns */
};

/* What one side should have measured of one kind of exchange. */
struct expectation {
	__u8 role;
	struct http_key key;
	__u64 count;
	struct span duration, first_byte; /* sums */
	__u64 bucket[BUCKETS];
	bool seen, sure; /* of the buckets */
};

static struct {
	struct expectation of[2 * MOST_EXCHANGES];
	__u32 count;
	__u64 answered[ROLES], failed[ROLES];
} expected;

static bool same_kind(const struct http_key *a, const struct http_key *b)
{
	return a->status == b->status && a->method == b->method && a->version == b->version && a->failure == b->failure;
}

static struct expectation *expectation_of(__u8 role, const struct http_key *key)
{
	for (__u32 i = 0; i < expected.count; i++)
		if (expected.of[i].role == role && same_kind(&expected.of[i].key, key))
			return &expected.of[i];
	return 0;
}

static struct span from_to(struct span from, struct span to)
{
	return (struct span){ to.least - from.most, to.most - from.least };
}

static void expect(__u8 role, struct http_key key, struct span duration, struct span first_byte)
{
	struct expectation *expectation = expectation_of(role, &key);
	__u32 bucket = 0;

	if (!expectation) {
		expectation = &expected.of[expected.count++];
		*expectation = (struct expectation){ .role = role, .key = key, .sure = true };
	}
	expectation->count++;
	expectation->duration.least += duration.least;
	expectation->duration.most += duration.most;
	while (boundaries[bucket] < duration.most)
		bucket++;
	expectation->bucket[bucket]++;
	expectation->sure &= duration.least == duration.most;
	if (key.status) {
		expectation->first_byte.least += first_byte.least;
		expectation->first_byte.most += first_byte.most;
	}
	(key.status ? expected.answered : expected.failed)[role]++;
}

/* When an end saw a byte that it sent or that came to it. */
static struct span seen_at(const struct end *end, const struct flow *flow, __u32 offset)
{
	if (flow == end->out)
		return (struct span){ flow->sent_at[offset], flow->sent_at[offset] };
	return (struct span){ flow->arrived_at[offset], flow->received_at[offset] };
}

static __u32 without_fin(const struct flow *flow, __u32 offset)
{
	return offset < flow->length ? offset : flow->length;
}

static void expect_all(struct end *end, __u8 failure)
{
	__u8 role = is_server(end) ? ROLE_SERVER : ROLE_CLIENT;
	const struct flow *requests = &network.flow[0], *answers = &network.flow[1];
	__u32 asked = without_fin(requests, is_server(end) ? requests->received : requests->sent);
	__u32 answered = without_fin(answers, is_server(end) ? answers->sent : answers->received);
	bool closed = (is_server(end) ? answers->sent : answers->received) > answers->length;

	for (__u32 i = 0; i < conversation.count; i++) {
		const struct exchange *exchange = &conversation.exchange[i];
		struct http_key key = { .method = exchange->method, .version = exchange->version };
		struct span to = { kernel.now, kernel.now }, from;
		bool ended_by_close = exchange->until_close && answered >= exchange->head_to && closed;

		if (asked < exchange->line_to)
			return;
		from = seen_at(end, requests, exchange->request_from);
		if (answered >= exchange->answer_from + 12 && (exchange->status >= 200 || answered >= exchange->answer_to))
			key.status = exchange->status;
		if (ended_by_close)
			to = seen_at(end, answers, answers->length);
		else if (!exchange->until_close && answered >= exchange->answer_to)
			to = seen_at(end, answers, exchange->answer_to - 1);
		else
			key.failure = failure;
		expect(role, key, from_to(from, to), from_to(from, seen_at(end, answers, exchange->answer_from)));
	}
}

#define KIND "role %u, method %u, version %u, status %u, failure %u: "
#define KIND_VALUES role, key->method, key->version, key->status, key->failure

static void check_sum(const char *what, __u8 role, const struct http_key *key, __u64 sum, struct span right)
{
	CHECK(sum >= right.least && sum <= right.most, KIND "%s %llu ns, not %llu to %llu", KIND_VALUES, what, sum,
	      right.least, right.most);
}

static void compare(__u8 role, const struct http_key *key, const struct http_value *value)
{
	struct expectation *expectation = expectation_of(role, key);

	CHECK(expectation, KIND "%llu that were not there", KIND_VALUES, count_of(&value->duration));
	expectation->seen = true;
	CHECK(count_of(&value->duration) == expectation->count, KIND "%llu, but there were %llu", KIND_VALUES,
	      count_of(&value->duration), expectation->count);
	check_sum("took", role, key, value->duration.sum, expectation->duration);
	check_sum("first byte after", role, key, value->first_byte.sum, expectation->first_byte);
	CHECK(!expectation->sure || !memcmp(value->duration.bucket, expectation->bucket, sizeof(expectation->bucket)),
	      KIND "wrong bucket", KIND_VALUES);
}

static void check_pair(const struct end *end, __u8 role, __u8 failure)
{
	const struct map *map = maps.pairs;
	__u32 found = 0;

	for (__u32 i = 0; i < map->count; i++) {
		const struct pair_key *key = map->entries[i].key;
		struct pair_value value = pair_value_at(*(__u32 *)map->entries[i].value);

		if (key->role != role)
			continue;
		found++;
		CHECK(key->cgroup == end->socket.cgroup && key->port == SERVER_PORT, "role %u: cgroup %llu, port %u", role,
		      key->cgroup, key->port);
		CHECK(value.opened == 1, "role %u: opened %llu times", role, value.opened);
		CHECK(value.closed == (failure == FAILURE_CLOSED) && value.reset == (failure == FAILURE_RESET) &&
			      value.timed_out == (failure == FAILURE_TIMEOUT),
		      "role %u: closed %llu, reset %llu, timed out %llu", role, value.closed, value.reset,
		      value.timed_out);
		CHECK(value.bytes_sent == without_fin(end->out, end->out->sent), "role %u: %llu bytes sent, not %u",
		      role, value.bytes_sent, end->out->sent);
		CHECK(value.bytes_received == without_fin(end->in, end->in->received),
		      "role %u: %llu bytes received, not %u", role, value.bytes_received, end->in->received);
	}
	CHECK(found == 1, "role %u: %u pairs", role, found);
}

static void check(enum ending ending)
{
	static const __u8 FAILURES[] = { FAILURE_CLOSED, FAILURE_RESET, FAILURE_RESET, FAILURE_TIMEOUT, FAILURE_CLOSED };
	struct end *ends[] = { &network.client, &network.server };

	memset(&expected, 0, sizeof(expected));
	for (__u32 i = 0; i < 2; i++) {
		__u8 role = is_server(ends[i]) ? ROLE_SERVER : ROLE_CLIENT;

		expect_all(ends[i], FAILURES[ending]);
		CHECK(!ledger_of(role, LOST_SYNC), "role %u lost the thread", role);
		CHECK(ledger_of(role, REQUESTS_ANSWERED) == expected.answered[role] &&
			      ledger_of(role, REQUESTS_FAILED) == expected.failed[role],
		      "role %u: answered %llu of %llu, failed %llu of %llu", role,
		      ledger_of(role, REQUESTS_ANSWERED), expected.answered[role], ledger_of(role, REQUESTS_FAILED),
		      expected.failed[role]);
		check_pair(ends[i], role, FAILURES[ending]);
	}
	reconcile();
	each_series(compare);
	for (__u32 i = 0; i < expected.count; i++) {
		const struct http_key *key = &expected.of[i].key;

		CHECK(expected.of[i].seen, KIND "not measured", expected.of[i].role, key->method, key->version, key->status,
		      key->failure);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	__u32 shape = take_back(&input), ending = take_back(&input);
	bool by_server;

	network.ipv6 = shape & 1;
	network.ip_options = shape >> 1 & 1;
	network.tcp_options = shape & 4 ? 3 : 0;
	network.linear = shape & 8 ? MOST : 0;
	network.flow[0].isn = shape & 16 ? 0u - take_back(&input) : 1000;
	network.flow[1].isn = shape & 32 ? 0u - take_back(&input) : 0x7ffffff0;
	memset(&run, 0, sizeof(run));
	run.input = &input;
	run.pipelined = shape & 64 ? 1 + take_back(&input) % 32 : 1;
	converse(&input, &conversation);

	start_network();
	for (__u32 i = FIRST_INDEX; i < 128; i++) {
		queue_push(maps.free_pairs, &i);
		queue_push(maps.free_series, &i);
	}
	connect_client();
	for (__u32 i = 0; i < STEPS && !is_empty(&input); i++)
		step_of_network();
	by_server = ending & 128;
	ending %= ENDINGS;
	if (ending == TIMED_OUT && network.server.out->sent > network.server.out->length)
		ending = RESET_BY_SERVER; /* it has said that it closes */
	end_connection_by(ending, by_server);
	check(ending);
	CHECK(kernel.calls < 1000 + 200 * network.runs + 4 * network.bytes, "%u calls in %u runs over %u bytes",
	      kernel.calls, network.runs, network.bytes);
	return 0;
}
