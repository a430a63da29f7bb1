/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The headers of one segment. */
#ifndef MESHTAP_PACKET_H
#define MESHTAP_PACKET_H

#include "lib/maps.h"
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/in.h>

struct segment {
	__u32 seq, ack;
	__u32 payload; /* offset in the packet */
	__u32 length;  /* of the payload */
	__u8 syn, fin, rst, ipv6;
};

static __always_inline int take_tcp(struct __sk_buff *skb, const struct tcphdr *tcp, __u32 offset, struct segment *seg)
{
	seg->seq = bpf_ntohl(tcp->seq);
	seg->ack = bpf_ntohl(tcp->ack_seq);
	seg->payload = offset + tcp->doff * 4;
	seg->length = skb->len > seg->payload ? skb->len - seg->payload : 0;
	seg->syn = tcp->syn;
	seg->fin = tcp->fin;
	seg->rst = tcp->rst;
	return 1;
}

/* Packets start at their network header here. The kernel has made sure that both headers are in the linear part. */
static __always_inline int read_segment(struct __sk_buff *skb, struct segment *seg)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;
		struct tcphdr *tcp;
		__u32 offset;

		if (data + sizeof(*ip) + sizeof(*tcp) > end || ip->protocol != IPPROTO_TCP)
			return 0;
		offset = ip->ihl * 4 & 60;
		tcp = data + offset;
		if (offset < sizeof(*ip) || (void *)(tcp + 1) > end)
			return 0;
		seg->ipv6 = 0;
		return take_tcp(skb, tcp, offset, seg);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;

		/* TCP behind extension headers is not followed: such a socket's packets are simply not seen */
		if (data + sizeof(*ip) + sizeof(struct tcphdr) > end || ip->nexthdr != IPPROTO_TCP)
			return 0;
		seg->ipv6 = 1;
		return take_tcp(skb, data + sizeof(*ip), sizeof(*ip), seg);
	}
	return 0;
}

struct ends {
	__u8 source[16], destination[16];
	__u16 source_port, destination_port; /* host byte order */
};

/* Addresses and ports, IPv4 in its mapped form. Called once per connection. */
static __always_inline int read_ends(struct __sk_buff *skb, const struct segment *seg, struct ends *ends)
{
	__u16 ports[2];

	__builtin_memset(ends, 0, sizeof(*ends));
	if (seg->ipv6) {
		if (bpf_skb_load_bytes(skb, 8, ends->source, 32) || bpf_skb_load_bytes(skb, 40, ports, 4))
			return 0;
	} else {
		__u8 ihl;

		ends->source[10] = ends->source[11] = ends->destination[10] = ends->destination[11] = 0xff;
		if (bpf_skb_load_bytes(skb, 0, &ihl, 1) || bpf_skb_load_bytes(skb, 12, ends->source + 12, 4) ||
		    bpf_skb_load_bytes(skb, 16, ends->destination + 12, 4) ||
		    bpf_skb_load_bytes(skb, (ihl & 15) * 4, ports, 4))
			return 0;
	}
	ends->source_port = bpf_ntohs(ports[0]);
	ends->destination_port = bpf_ntohs(ports[1]);
	return 1;
}

static __always_inline __u64 mix(__u64 hash, __u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ hash >> 29;
}

/* The same for a connection's packets in one direction, before and after its socket exists. */
static __always_inline __u64 hash_of(const __u8 remote[16], const __u8 local[16], __u16 remote_port, __u16 local_port)
{
	__u64 hash = mix(remote_port, local_port);

	hash = mix(hash, *(__u64 *)remote);
	hash = mix(hash, *(__u64 *)(remote + 8));
	hash = mix(hash, *(__u64 *)local);
	return mix(hash, *(__u64 *)(local + 8));
}

#endif
