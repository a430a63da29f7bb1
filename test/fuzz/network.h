/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A TCP connection on one machine, as the programs meet it: two sockets, packets with real headers, and of TCP itself
 * what decides when a program runs and what it sees of the socket then.
 *
 *   egress  runs under the socket's lock, before snd_nxt moves
 *   ingress runs before TCP takes the segment, so before rcv_nxt moves, and beside whatever holds the lock; what
 *           arrives while it is held waits in the backlog, as in the kernel
 */
#ifndef FUZZ_NETWORK_H
#define FUZZ_NETWORK_H

#include "programs.h"
#include "trace.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#define MOST 16384 /* bytes of one direction */
#define HEADERS 120
#define SERVER_PORT (network.dns ? 53 : 80)
#define CLIENT_PORT 40000

/* One direction. FIN counts as one byte behind the last one. */
struct flow {
	__u8 bytes[MOST];
	__u32 length;
	__u32 isn;
	__u32 sent, received; /* bytes that have left for the first time, that have arrived without a hole */
	bool arrived[MOST + 1];
	__u64 sent_at[MOST + 1], arrived_at[MOST + 1], received_at[MOST + 1];
};

struct range {
	__u32 from, to; /* to may be length + 1: with FIN */
};

struct end {
	struct socket socket;
	struct flow *out, *in;
	bool exists; /* a server's socket comes when the handshake is complete */
	bool locked;
	bool released; /* by its application */
	struct range backlog[16];
	__u32 backlogged;
};

static struct maps maps;

static struct {
	struct flow flow[2]; /* requests, answers */
	struct end client, server;
	struct socket listener;
	bool ipv6, dns;
	__u32 ip_options, tcp_options; /* words */
	__u32 linear;		       /* bytes of payload that are in the linear part of a packet */
	__u32 runs, bytes;	       /* of programs, of payload they were shown */
} network;

struct flags {
	bool syn, fin, rst;
};

static __u32 depth; /* programs that run now */

/* Where __sk_buff's 32 bits can point to; one for each CPU. */
static __u8 *arena(void)
{
	static __u8 *memory;
	__u32 size = 2 * (HEADERS + MOST);

	if (!memory)
		memory = mmap((void *)0x10000000, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(memory != MAP_FAILED && (unsigned long)memory + size < 1ul << 32, "no memory below 4 GiB");
	return memory + (depth ? HEADERS + MOST : 0);
}

/* Shows a packet to a program. */
static void show(int (*program)(struct __sk_buff *), struct socket *socket, __u8 *bytes, __u32 headers, __u32 length,
		 __u16 protocol)
{
	struct packet packet = { .length = headers + length };
	__u32 linear = headers + (length < network.linear ? length : network.linear);
	__u8 *data = arena();
	int verdict;

	ASAN_UNPOISON_MEMORY_REGION(data, HEADERS + MOST);
	memcpy(data, bytes, linear);
	ASAN_POISON_MEMORY_REGION(data + linear, HEADERS + MOST - linear);
	packet.bytes = bytes;
	packet.skb.len = packet.length;
	packet.skb.protocol = htons(protocol);
	packet.skb.data = (__u32)(unsigned long)data;
	packet.skb.data_end = packet.skb.data + linear;
	packet.skb.sk = &socket->sk;
	if (program == egress) /* TCP's time, or of a packet that is not from there, none */
		packet.skb.tstamp = network.linear & 64 ? 0 : kernel.now;

	network.runs++;
	network.bytes += length;
	depth++;
	verdict = program(&packet.skb);
	depth--;
	CHECK(!kernel.locked, "a spin lock is held for ever");
	CHECK(verdict == 1, "traffic was touched");
	if (!depth)
		collect_garbage();
	if (is_traced())
		trace_ledger(maps.ledgers);
}

/* A segment between the two ends. */
static void show_segment(int (*program)(struct __sk_buff *), struct socket *socket, bool to_server, __u32 seq,
			 __u32 ack, struct flags flags, const __u8 *payload, __u32 length)
{
	__u8 bytes[HEADERS + MOST] = {};
	__u32 network_header = network.ipv6 ? 40 : 20 + 4 * network.ip_options;
	__u32 headers = network_header + 20 + 4 * network.tcp_options;
	struct tcphdr *tcp = (void *)(bytes + network_header);

	if (network.ipv6) {
		struct ipv6hdr *ip = (void *)bytes;

		ip->version = 6;
		ip->nexthdr = IPPROTO_TCP;
		ip->saddr.s6_addr[15] = ip->daddr.s6_addr[15] = 1;
	} else {
		struct iphdr *ip = (void *)bytes;

		ip->version = 4;
		ip->ihl = network_header / 4;
		ip->protocol = IPPROTO_TCP;
		ip->saddr = ip->daddr = htonl(0x7f000001);
	}
	tcp->source = htons(to_server ? CLIENT_PORT : SERVER_PORT);
	tcp->dest = htons(to_server ? SERVER_PORT : CLIENT_PORT);
	tcp->seq = htonl(seq);
	tcp->ack_seq = htonl(ack);
	tcp->doff = 5 + network.tcp_options;
	tcp->ack = 1;
	tcp->syn = flags.syn;
	tcp->fin = flags.fin;
	tcp->rst = flags.rst;
	memcpy(bytes + headers, payload, length);
	if (is_traced()) {
		fprintf(stderr, "%*s%s %s %u+%u%s%s%s", 4 * depth, "", socket == &network.client.socket ? "client" :
			socket == &network.server.socket ? "server" : "listener",
			program == ingress ? "<-" : "->", seq - network.flow[!to_server].isn - 1, length,
			flags.syn ? " SYN" : "", flags.fin ? " FIN" : "", flags.rst ? " RST" : "");
		trace_bytes(payload, length);
	}
	show(program, socket, bytes, headers, length, network.ipv6 ? ETH_P_IPV6 : ETH_P_IP);
}

static bool is_server(const struct end *end)
{
	return end == &network.server;
}

static struct end *peer_of(struct end *end)
{
	return is_server(end) ? &network.client : &network.server;
}

static __u32 seq_of(const struct flow *flow, __u32 offset)
{
	return flow->isn + 1 + offset;
}

static bool has_fin(const struct flow *flow, struct range range)
{
	return range.from < range.to && range.to > flow->length;
}

static void update_socket(struct end *end)
{
	end->socket.tcp.snd_nxt = seq_of(end->out, end->out->sent);
	end->socket.tcp.rcv_nxt = seq_of(end->in, end->in->received);
}

static void tell(struct end *end, __u32 op, __u32 old_state, __u32 new_state)
{
	struct bpf_sock_ops context = {};

	context.op = op;
	context.args[0] = old_state;
	context.args[1] = new_state;
	context.sk = &end->socket.sk;
	context.snd_nxt = end->socket.tcp.snd_nxt;
	context.rcv_nxt = end->socket.tcp.rcv_nxt;
	context.srtt_us = 8 * 100;
	if (is_traced())
		fprintf(stderr, "%*s%s: sock_ops %u %u -> %u\n", 4 * depth, "", is_server(end) ? "server" : "client", op, old_state, new_state);
	depth++;
	sock_ops(&context);
	depth--;
	if (!depth)
		collect_garbage();
	if (is_traced())
		trace_ledger(maps.ledgers);
}

static void take(struct end *end, struct range range)
{
	struct flow *in = end->in;

	for (__u32 i = range.from; i < range.to; i++) {
		if (!in->arrived[i])
			in->arrived_at[i] = kernel.now;
		in->arrived[i] = true;
	}
	while (in->received <= in->length && in->arrived[in->received])
		in->received_at[in->received++] = kernel.now;
	update_socket(end);
}

static void transmit(struct end *end, struct range range);

/* Time passes between what happens one after the other. */
static void tick(void)
{
	if (!depth)
		kernel.now += 256;
}

/* An acknowledgement and nothing else. */
static void acknowledge(struct end *end)
{
	transmit(end, (struct range){ end->out->sent, end->out->sent });
}

static void unlock_socket(struct end *end)
{
	end->locked = false;
	if (!end->backlogged)
		return;
	for (__u32 i = 0; i < end->backlogged; i++)
		take(end, end->backlog[i]);
	end->backlogged = 0;
	acknowledge(end);
}

/* For the first time or again. */
static void transmit(struct end *end, struct range range)
{
	struct flow *out = end->out;
	bool fin = has_fin(out, range);

	CHECK(!end->locked, "the harness sends under the lock");
	end->locked = true;
	show_segment(egress, &end->socket, !is_server(end), seq_of(out, range.from), end->socket.tcp.rcv_nxt,
		     (struct flags){ .fin = fin }, out->bytes + range.from, range.to - fin - range.from);
	while (out->sent < range.to)
		out->sent_at[out->sent++] = kernel.now;
	update_socket(end);
	unlock_socket(end);
}

static void establish_server(void)
{
	struct end *server = &network.server;

	server->locked = true;
	tell(server, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, 0, 0);
	server->exists = true;
	unlock_socket(server);
}

/* Returns whether TCP acknowledges at once: the connection is new (quick acks), there is a hole, or there was one. */
static bool arrive(struct end *end, struct range range)
{
	struct flow *in = end->in;
	bool fin = has_fin(in, range), expected = range.from <= in->received, quick = !end->exists;
	__u32 before;

	show_segment(ingress, end->exists ? &end->socket : &network.listener, is_server(end),
		     seq_of(in, range.from), seq_of(end->out, end->out->sent), (struct flags){ .fin = fin },
		     in->bytes + range.from, range.to - fin - range.from);
	if (!end->exists)
		establish_server();
	if (end->locked) {
		CHECK(end->backlogged < 16, "the harness fills the backlog");
		end->backlog[end->backlogged++] = range;
		return false;
	}
	before = in->received;
	take(end, range);
	return quick || !expected || in->received > range.to || in->received == before;
}

static void reset(struct end *end)
{
	tick();
	end->locked = true;
	show_segment(egress, &end->socket, !is_server(end), seq_of(end->out, end->out->sent), 0,
		     (struct flags){ .rst = true }, (const __u8 *)"", 0);
	end->locked = false;
}

static void reset_arrives(struct end *end)
{
	tick();
	show_segment(ingress, end->exists ? &end->socket : &network.listener, is_server(end),
		     seq_of(end->in, end->in->received), 0, (struct flags){ .rst = true }, (const __u8 *)"", 0);
}

static void release_by_application(struct end *end)
{
	if (end->released)
		return;
	end->released = true;
	release(&end->socket.sk);
	collect_garbage();
}

/* The socket is over, and its application has let go of it. */
static void bury(struct end *end)
{
	if (!end->exists)
		return;
	end->socket.sk.state = BPF_TCP_CLOSE;
	end->locked = true;
	tell(end, BPF_SOCK_OPS_STATE_CB, end->released ? BPF_TCP_LAST_ACK : BPF_TCP_ESTABLISHED, BPF_TCP_CLOSE);
	end->locked = false;
	release_by_application(end);
	free_storage(&end->socket);
}

static struct bpf_sock *find_socket(const struct bpf_sock_tuple *tuple, __u32 size)
{
	bool ipv6 = size == sizeof(tuple->ipv6);
	__u16 local = ntohs(ipv6 ? tuple->ipv6.dport : tuple->ipv4.dport);
	__u16 remote = ntohs(ipv6 ? tuple->ipv6.sport : tuple->ipv4.sport);

	if (local == SERVER_PORT)
		return remote == CLIENT_PORT ? &network.server.socket.sk : &network.listener.sk;
	return local == CLIENT_PORT && remote == SERVER_PORT ? &network.client.socket.sk : 0;
}

static void place(struct end *end, struct flow *out, struct flow *in, __u64 cgroup)
{
	memset(end, 0, sizeof(*end));
	end->out = out;
	end->in = in;
	end->socket.cgroup = cgroup;
	end->socket.sk.state = BPF_TCP_ESTABLISHED;
	end->socket.sk.protocol = IPPROTO_TCP;
	end->socket.tcp.srtt_us = 8 * 100;
	update_socket(end);
}

/* A machine without traffic. The flows keep their bytes. */
static void start_network(void)
{
	static const __u64 SECOND_STEPS[] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000 };
	__u32 i;

	for (i = 0; i < 32; i++)
		boundaries[i] = i < 14 ? SECOND_STEPS[i] * 100000 : ~0ull;
	stripes_mask = CPUS - 1;
	maps = shared_maps();
	clear_maps();
	kernel.cpu = kernel.calls = depth = 0;
	kernel.now = 1ull << 40;
	kernel.no_memory = false;
	kernel.most_entries = 0;
	kernel.find_socket = find_socket;
	network.runs = network.bytes = 0;
	for (struct flow *flow = network.flow; flow < network.flow + 2; flow++) {
		flow->sent = flow->received = 0;
		memset(flow->arrived, 0, flow->length + 1);
	}
	place(&network.client, &network.flow[0], &network.flow[1], 101);
	place(&network.server, &network.flow[1], &network.flow[0], 102);
	network.listener.cgroup = 102;
	network.listener.sk.state = BPF_TCP_LISTEN;
	network.listener.sk.protocol = IPPROTO_TCP;
}

/* The handshake, up to where the client may send. The server's socket comes with the next segment from the client. */
static void connect_client(void)
{
	struct end *client = &network.client;

	client->exists = true;
	client->socket.sk.state = BPF_TCP_SYN_SENT;
	tell(client, BPF_SOCK_OPS_TCP_CONNECT_CB, 0, 0);
	show_segment(egress, &client->socket, true, client->out->isn, 0, (struct flags){ .syn = true }, (const __u8 *)"", 0);
	show_segment(ingress, &network.listener, true, client->out->isn, 0, (struct flags){ .syn = true }, (const __u8 *)"", 0);
	show_segment(egress, &network.listener, false, client->in->isn, client->out->isn + 1,
		     (struct flags){ .syn = true }, (const __u8 *)"", 0);
	show_segment(ingress, &client->socket, false, client->in->isn, client->out->isn + 1,
		     (struct flags){ .syn = true }, (const __u8 *)"", 0);
	client->socket.sk.state = BPF_TCP_ESTABLISHED;
	tell(client, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, 0, 0);
}

#endif
