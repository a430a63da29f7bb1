/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Datagrams at the port of DNS: messages as they should be, cut, mangled, or nothing of the kind. Whatever it is, it
 * passes, no byte outside of a value is touched, the work is bounded, every query and every answer is accounted for,
 * and addresses have no names but those that are known.
 */
#include "input.h"
#include "ledger.h"
#include <linux/udp.h>

static struct input *input;
static struct socket sockets[2] = { { .cgroup = 7 }, { .cgroup = 8 } };

static struct bpf_sock *nobody(const struct bpf_sock_tuple *tuple, __u32 size)
{
	return 0;
}

static __u32 put(__u8 *to, __u32 at, const void *bytes, __u32 length)
{
	memcpy(to + at, bytes, length);
	return at + length;
}

static __u32 put_name(__u8 *to, __u32 at, __u32 which)
{
	static const char *const NAMES[] = { "\3api\7example\3com", "\3API\7Example\3COM", "\3www\7example\3com", "\1a", "" };
	const char *name = NAMES[which % 5];

	return put(to, at, name, strlen(name) + 1);
}

/* A message that makes sense, as far as the fuzzer lets it. */
static __u32 make_message(__u8 *to)
{
	static const __u16 TYPES[] = { 1, 28, 5, 16, 33, 12, 15, 6 };
	__u32 id = take_front(input) & 3, flags = take_front(input), records = take_front(input) % 20, at;
	__u16 header[6] = { id, htons((flags & 1) << 15 | (flags >> 4)), htons(1), htons(records) };
	__u16 question[2] = { htons(TYPES[flags >> 1 & 1]), htons(1) };

	at = put(to, 0, header, sizeof(header));
	at = put_name(to, at, take_front(input));
	at = put(to, at, question, sizeof(question));
	for (; records && !is_empty(input); records--) {
		__u32 kind = take_front(input), length = kind & 16 ? take_front(input) : kind & 1 ? 16 : 4;
		__u16 record[5] = { htons(TYPES[kind & 7]), htons(1), 0, htons(take_front(input)), htons(length) };

		if (kind & 32)
			at = put_name(to, at, kind >> 6);
		else
			at = put(to, at, "\xc0\x0c", 2);
		at = put(to, at, record, sizeof(record));
		for (; length; length--)
			to[at++] = length < 3 ? take_front(input) : 3;
	}
	return at;
}

static void send_datagram(void)
{
	__u8 bytes[HEADERS + 8192] = {}, message[8192];
	__u32 choice = take_front(input), kind = take_front(input), ihl, length = 0;
	bool inwards = choice & 1, ipv6 = choice & 2;
	struct udphdr udp = {
		.source = htons(choice & 4 ? 53 : 4000 + (choice >> 6)),
		.dest = htons(choice & 8 ? 53 : 4000 + (choice >> 6)),
	};

	if (kind < 64)
		for (; length < kind; length++)
			message[length] = take_front(input);
	else
		length = make_message(message);
	if (kind & 1 && length)
		message[take_front(input) % length] = take_front(input);
	if (kind & 2 && length)
		length = take_front(input) % length;
	if (length > MOST)
		length = MOST;
	ihl = ipv6 ? 40 : 20 + (choice & 32 ? 8 : 0);
	if (ipv6) {
		struct ipv6hdr *ip = (void *)bytes;

		ip->version = 6;
		ip->nexthdr = IPPROTO_UDP;
		ip->saddr.s6_addr[15] = ip->daddr.s6_addr[15] = 9;
	} else {
		struct iphdr *ip = (void *)bytes;

		ip->version = 4;
		ip->ihl = ihl / 4;
		ip->protocol = IPPROTO_UDP;
		ip->saddr = ip->daddr = htonl(0x0a000009);
	}
	put(bytes, ihl, &udp, sizeof(udp));
	put(bytes, ihl + sizeof(udp), message, length);
	if (is_traced()) {
		fprintf(stderr, "%s %u bytes, %u -> %u ", inwards ? "<-" : "->", length, ntohs(udp.source), ntohs(udp.dest));
		trace_bytes(message, length);
	}
	show(inwards ? dns_ingress : dns_egress, &sockets[choice >> 4 & 1], bytes, ihl + sizeof(udp), length,
	     ipv6 ? ETH_P_IPV6 : ETH_P_IP);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static __u32 world = PREFIX_WORLD;
	struct input supply = { data, data + size };
	__u32 budget = take_front(&supply);

	input = &supply;
	start_network();
	kernel.verdict = &world;
	kernel.find_socket = nobody;
	for (__u32 i = FIRST_INDEX; i < FIRST_INDEX + budget % 4; i++)
		queue_push(maps.free_pairs, &i);
	for (__u32 i = FIRST_INDEX; i < FIRST_INDEX + budget / 4 % 16; i++)
		queue_push(maps.free_dns_series, &i);
	for (__u64 i = 1; i <= budget / 64; i++)
		queue_push(maps.free_names, &i);
	while (!is_empty(&supply)) {
		kernel.now += take_front(&supply) & 1 ? 1 : 3000000000ull;
		send_datagram();
	}
	reconcile_dns();
	CHECK(kernel.calls < 2000 + 2000 * network.runs, "%u calls in %u runs", kernel.calls, network.runs);
	return 0;
}
