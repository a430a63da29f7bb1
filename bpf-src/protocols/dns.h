/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* DNS over UDP (RFC 1035 4.2.1): one datagram is one message, so nothing is put together. */
#ifndef MESHTAP_DNS_H
#define MESHTAP_DNS_H

#include "protocols/dns-counts.h"
#include "protocols/dns-message.h"
#include <linux/udp.h>

/* Whether it is a datagram from or to the port of DNS. Both headers are in the linear part, as TCP's are. */
static __always_inline int is_dns(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;
		__u32 offset;

		if (data + sizeof(*ip) + sizeof(*udp) > end || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(0x1fff))
			return 0;
		offset = ip->ihl * 4 & 60;
		udp = data + offset;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;

		if (data + sizeof(*ip) + sizeof(*udp) > end || ip->nexthdr != IPPROTO_UDP)
			return 0;
		udp = data + sizeof(*ip);
	} else {
		return 0;
	}
	if ((void *)(udp + 1) > end)
		return 0;
	return udp->source == bpf_htons(DNS_PORT) || udp->dest == bpf_htons(DNS_PORT);
}

/* The socket of the other end, where it is in this network namespace. */
static __noinline __u64 peer_cgroup_of(struct __sk_buff *skb, const struct ends *ends, __u32 direction)
{
	const __u8 *remote, *local;
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv4);
	struct bpf_sock *other;
	__u64 cgroup = 0;

	if (!ends)
		return 0;
	remote = direction == OUT ? ends->destination : ends->source;
	local = direction == OUT ? ends->source : ends->destination;
	/* a server that takes packets to any address is found for all: it is the other end only of what is local */
	if ((*(__u64 *)remote != *(__u64 *)local || *(__u64 *)(remote + 8) != *(__u64 *)(local + 8)) &&
	    !(remote[10] == 0xff && remote[12] == 127))
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.daddr, remote, 16);
		__builtin_memcpy(tuple.ipv6.saddr, local, 16);
		tuple.ipv6.dport = bpf_htons(direction == OUT ? ends->destination_port : ends->source_port);
		tuple.ipv6.sport = bpf_htons(direction == OUT ? ends->source_port : ends->destination_port);
	} else {
		__builtin_memcpy(&tuple.ipv4.daddr, remote + 12, 4);
		__builtin_memcpy(&tuple.ipv4.saddr, local + 12, 4);
		tuple.ipv4.dport = bpf_htons(direction == OUT ? ends->destination_port : ends->source_port);
		tuple.ipv4.sport = bpf_htons(direction == OUT ? ends->source_port : ends->destination_port);
	}
	other = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!other)
		return 0;
	cgroup = bpf_sk_cgroup_id(other);
	bpf_sk_release(other);
	return cgroup == ROOT_CGROUP ? 0 : cgroup;
}

/* All four bytes of a field of a socket: 5.10 knows no other way. */
static __always_inline __u32 whole(const void *field)
{
	return *(const volatile __u32 *)field;
}

/*
 * Who the two ends are. A connected socket knows whom it dialled; its packets may have been addressed anew by then
 * (Docker's and Kubernetes' address translation on the way out).
 */
static __noinline __u32 find_ends(struct __sk_buff *skb, struct ends *ends, __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	struct segment seg = {};
	__u32 dialled, ipv4, address[4];
	__u8 ihl = 0;

	if (!sk || !ends)
		return 0;
	seg.ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	if (!read_ends(skb, &seg, ends) || bpf_skb_load_bytes(skb, 0, &ihl, 1))
		return 0;
	/* before any branch: the compiler would join two of these loads into one at an address it adds up */
	ipv4 = whole(&sk->dst_ip4);
	for (int i = 0; i < 4; i++)
		address[i] = whole(&sk->dst_ip6[i]);
	dialled = whole(&sk->dst_port);
	if (dialled & 0xffff) {
		__u32 *remote = (__u32 *)(direction == OUT ? ends->destination : ends->source);
		__u16 port = bpf_ntohs(dialled);

		if (seg.ipv6) {
			for (int i = 0; i < 4; i++)
				remote[i] = address[i];
		} else {
			remote[3] = ipv4;
		}
		if (direction == OUT)
			ends->destination_port = port;
		else
			ends->source_port = port;
	}
	return (seg.ipv6 ? sizeof(struct ipv6hdr) : (ihl & 15) * 4) + sizeof(struct udphdr);
}

/* Called for what comes from or goes to the port of DNS. */
__attribute__((noinline)) int see_dns(struct __sk_buff *skb, __u32 direction)
{
	struct dns_pending_key key = {};
	struct dns_pending query = {};
	struct dns_key series = {};
	struct bpf_sock *sk = skb->sk;
	struct message m = {};
	struct ends ends;
	const __u8 *remote;
	__u64 since = 0, records;
	__u32 payload, names;
	int response;

	payload = find_ends(skb, &ends, direction);
	if (!payload || !sk)
		return 0;
	if (!read_message(skb, payload, &m)) {
		note(ROLE_UNKNOWN, MESSAGES_MALFORMED, 1);
		return 0;
	}
	response = m.flags & DNS_RESPONSE;
	if ((response ? ends.source_port : ends.destination_port) != DNS_PORT) {
		note(ROLE_UNKNOWN, MESSAGES_MALFORMED, 1);
		return 0;
	}
	key.role = (direction == OUT) == !response ? ROLE_CLIENT : ROLE_SERVER;
	remote = direction == OUT ? ends.destination : ends.source;
	if (key.role == ROLE_SERVER) {
		__builtin_memcpy(key.client, remote, 16);
		key.client_port = response ? ends.destination_port : ends.source_port;
	}
	key.cookie = bpf_get_socket_cookie(skb);
	key.name = hash_name(skb, m.name, m.end - m.name);
	key.id = m.id;
	key.type = m.type;
	query.at = bpf_ktime_get_ns();
	if (response) {
		note(key.role, ANSWERS_SEEN, 1);
		since = take_pending(&key, query.at);
		if (!since) {
			note(key.role, ANSWERS_UNMATCHED, 1);
			return 0;
		}
	}
	query.pair.cgroup = bpf_sk_cgroup_id(sk);
	query.pair.role = key.role;
	query.pair.port = DNS_PORT;
	name_end(peer_cgroup_of(skb, &ends, direction), remote, &query.pair);
	if (!response)
		return count_query(&key, &query);
	series.type = key.type;
	series.outcome = m.flags & DNS_RCODE;
	names = key.role == ROLE_CLIENT && !series.outcome && (key.type == TYPE_A || key.type == TYPE_AAAA);
	if (names) {
		struct naming *n = naming_here();

		if (n)
			begin_naming(n, query.pair.cgroup);
		load_name(skb, m.name, m.end - m.name);
	}
	records = read_answer(skb, m.end + QUESTION, m.answers, names);
	return count_answer(&query.pair, &series, records, query.at - since);
}

#endif
