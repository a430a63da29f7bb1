/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Anything: bytes that are no HTTP, sequence numbers that make no sense, segments at any place in any order, packets
 * that are cut or mangled, budgets of a few series, no memory. Whatever it is, the traffic passes, no byte outside of a
 * value is touched, the work is bounded, and the ledger adds up.
 */
#include "input.h"
#include "ledger.h"

static struct input *input;

/* The way in which most conversations go on; the fuzzer breaks it. */
#define MESSAGE(text)                                                                                             \
	{                                                                                                         \
		text, sizeof(text) - 1                                                                            \
	}

static const struct {
	const char *bytes;
	__u32 length;
} MESSAGES[] = {
	MESSAGE("GET / HTTP/1.1\r\n\r\n"),
	MESSAGE("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"),
	MESSAGE("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
	MESSAGE("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
	MESSAGE("CONNECT x:1 HTTP/1.1\r\n\r\n"),
	MESSAGE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	MESSAGE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
	MESSAGE("HTTP/1.1 204 No Content\r\n\r\n"),
	MESSAGE("HTTP/1.1 100 Continue\r\n\r\n"),
	MESSAGE("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
	MESSAGE("HTTP/1.0 200 OK\r\n\r\nuntil the close"),
	MESSAGE("Content-Length: "),
	MESSAGE("Transfer-Encoding: "),
	MESSAGE("\r\n\r\n"),
	MESSAGE("18446744073709551615\r\n"),
	MESSAGE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	/* HTTP/2: settings, requests, answers and trailers of streams 1 and 3, RST_STREAM, GOAWAY, PING */
	MESSAGE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
	MESSAGE("\0\0\0\4\0\0\0\0\0"),
	MESSAGE("\0\0\3\1\5\0\0\0\1\x82\x84\x86"),
	MESSAGE("\0\0\3\1\5\0\0\0\3\x83\x84\x86"),
	MESSAGE("\0\0\26\1\4\0\0\0\5\x83\x84\x5f\x10" "application/grpc\xbe\xbe"),
	MESSAGE("\0\0\1\1\4\0\0\0\1\x88"),
	MESSAGE("\0\0\1\1\5\0\0\0\3\x8e"),
	MESSAGE("\0\0\5\0\1\0\0\0\1hello"),
	MESSAGE("\0\0\17\1\5\0\0\0\5\x40\xbgrpc-status\0010"),
	MESSAGE("\0\0\1\1\1\0\0\0\1\x88\0\0\0\x9\4\0\0\0\1"),
	MESSAGE("\0\0\4\3\0\0\0\0\1\0\0\0\x8"),
	MESSAGE("\0\0\10\7\0\0\0\0\0\0\0\0\1\0\0\0\0"),
	MESSAGE("\0\0\10\6\0\0\0\0\0\0\0\0\0\0\0\0\0"),
	MESSAGE("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"),
	/* DNS: a query for the address of a.b, answers with one, with another's, without one, the query's beginning, a nonsense */
	MESSAGE("\0\25\0\1\1\0\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1"),
	MESSAGE("\0\45\0\1\x81\x80\0\1\0\1\0\0\0\0\1A\1b\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\7\0\4\x9\x9\x9\x9"),
	MESSAGE("\0\46\0\1\x81\x80\0\1\0\1\0\0\0\0\1a\1b\0\0\1\0\1\1c\0\0\1\0\1\0\0\0\7\0\4\x9\x9\x9\x8"),
	MESSAGE("\0\25\0\1\x81\x83\0\1\0\0\0\0\0\0\1a\1b\0\0\1\0\1"),
	MESSAGE("\0\25\0\2\1\0\0\1\0\0\0\0\0\0\1a"),
	MESSAGE("\0\25\0\1\1\0\0\1\0\0\0\0\0\0\77a\1b\0\0\1\0\1"),
};

/* Bytes to send: the fuzzer's own, one of the messages, or many of it. */
static __u32 make_payload(__u8 *to)
{
	__u32 kind = take_front(input), length = 0;
	__u32 which = kind % (sizeof(MESSAGES) / sizeof(*MESSAGES));

	if (kind < 96) {
		for (; length < kind && !is_empty(input); length++)
			to[length] = take_front(input);
		return length;
	}
	for (__u32 times = kind < 240 ? 1 : 1 + take_front(input); times; times--) {
		if (length + MESSAGES[which].length > MOST)
			break;
		memcpy(to + length, MESSAGES[which].bytes, MESSAGES[which].length);
		length += MESSAGES[which].length;
	}
	return length;
}

/* A segment that leaves one end and reaches the other, which has taken all before it. */
static void pass(struct end *from, __u32 offset, __u32 length)
{
	struct end *to = peer_of(from);
	struct range range = { offset, offset + length };

	if (from->locked || !from->exists)
		return;
	transmit(from, range);
	if (!to->locked || to->backlogged < 16)
		if (arrive(to, range) && !to->locked)
			acknowledge(to);
}

/* A segment from nowhere: its place, length and flags are anything. */
static void spoof(struct end *end, bool inwards)
{
	__u32 offset = take_front(input) << 8 | take_front(input), bits = take_front(input), length;
	/* what a socket sends of these is true: it is over then */
	struct flags flags = { .syn = bits % 16 == 1, .fin = inwards && bits % 16 == 2, .rst = inwards && bits % 16 == 3 };
	__u32 base = inwards ? seq_of(end->in, end->in->received) : seq_of(end->out, end->out->sent);
	__u8 payload[MOST];

	if (!inwards && end->locked)
		return;
	length = make_payload(payload);
	show_segment(inwards ? ingress : egress, end->exists ? &end->socket : &network.listener, is_server(end) == inwards,
		     base + (bits & 128 ? offset << 16 : offset - 32768), 0, flags, payload, length);
}

/* Not even a segment. */
static void mangle(struct end *end, bool inwards)
{
	static const __u16 PROTOCOLS[] = { ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, 0 };
	__u16 protocol = PROTOCOLS[take_front(input) % 4];
	__u8 bytes[HEADERS];
	__u32 length = take_front(input) % sizeof(bytes), i;

	if (!inwards && end->locked)
		return;
	memset(bytes, 0, sizeof(bytes));
	for (i = 0; i < length && i < 60; i++)
		bytes[i] = take_front(input) & (i < 20 ? 255 : 250); /* neither FIN nor RST: they end the connection */
	bytes[protocol == ETH_P_IP ? 9 : 6] = IPPROTO_TCP;
	if (is_traced())
		fprintf(stderr, "%s %s %u mangled bytes\n", is_server(end) ? "server" : "client", inwards ? "<-" : "->", length);
	show(inwards ? ingress : egress, end->exists ? &end->socket : &network.listener, bytes, length, 0, protocol);
}

static void do_something(void)
{
	__u32 choice = take_front(input), zero = 0;
	struct end *end = choice & 128 ? &network.server : &network.client;
	struct flow *out = end->out;
	__u32 length;

	kernel.now += 256;
	switch (choice & 15) {
	default:
		if (out->length > MOST / 2) { /* room for more of the same stream */
			out->isn += out->sent;
			out->length = out->sent = out->received = 0;
			memset(out->arrived, 0, sizeof(out->arrived));
		}
		length = 0;
		if (out->sent == out->length) {
			__u8 payload[MOST];

			length = make_payload(payload);
			if (length > MOST - out->length)
				length = MOST - out->length;
			memcpy(out->bytes + out->length, payload, length);
			memset(out->arrived + out->length, 0, length + 1);
			out->length += length;
		}
		pass(end, out->sent, length);
		break;
	case 8:
		spoof(end, true);
		break;
	case 9:
		spoof(end, false);
		break;
	case 10:
		mangle(end, choice & 64);
		break;
	case 11:
		kernel.no_memory = !kernel.no_memory;
		break;
	case 12:
		((struct control *)map_lookup(maps.control, &zero))->epoch++;
		break;
	case 13: {
		struct watching *watching = map_lookup(maps.watching, &zero);

		watching->on = !watching->on;
		watching->quota = take_front(input);
		break;
	}
	case 14:
		kernel.now += 1000000ull * take_front(input);
		kernel.most_entries = choice & 64 ? 2 : 0;
		break;
	case 15:
		network.linear = take_front(input) * 64;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static __u32 world = PREFIX_WORLD;
	struct input supply = { data, data + size };
	__u32 shape = take_front(&supply), budget = take_front(&supply), ending;

	input = &supply;
	network.ipv6 = shape & 1;
	network.dns = shape & 64;
	network.ip_options = shape & 2 ? 10 : 0;
	network.tcp_options = shape & 4 ? 10 : 0;
	network.flow[0].isn = shape & 8 ? ~0u - 20 : 0;
	network.flow[1].isn = shape & 8 ? 0x7fffffff - 20 : 0;
	network.flow[0].length = network.flow[1].length = 0;
	start_network();
	if (network.dns)
		kernel.verdict = &world;
	for (__u32 i = FIRST_INDEX; i < FIRST_INDEX + budget % 4; i++)
		queue_push(maps.free_pairs, &i);
	for (__u32 i = FIRST_INDEX; i < FIRST_INDEX + budget / 4 % 16; i++)
		queue_push(maps.free_series, &i);
	for (__u32 i = FIRST_INDEX; i < FIRST_INDEX + budget / 4 % 16; i++)
		queue_push(maps.free_dns_series, &i);
	for (__u64 i = 1; i <= budget % 4; i++)
		queue_push(maps.free_names, &i);

	if (shape & 16) {
		network.client.exists = network.server.exists = true; /* open before anyone looked */
	} else {
		connect_client();
		kernel.no_memory = shape & 32;
		arrive(&network.server, (struct range){});
	}
	while (!is_empty(&supply))
		do_something();
	ending = budget >> 6;
	if (ending & 1)
		reset(&network.client);
	if (ending & 2)
		reset_arrives(&network.server);
	for (__u32 i = 0; i < 2; i++) {
		struct end *end = i ? &network.server : &network.client;

		if (shape & 16) {
			end->socket.sk.state = BPF_TCP_CLOSE;
			release_by_application(end);
			free_storage(&end->socket);
		} else {
			bury(end);
		}
	}
	reconcile();
	reconcile_dns();
	CHECK(kernel.calls < 2000 + 2000 * network.runs + 16 * network.bytes, "%u calls in %u runs over %u bytes",
	      kernel.calls, network.runs, network.bytes);
	return 0;
}
