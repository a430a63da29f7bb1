/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who the two ends of a connection are. */
#ifndef MESHTAP_MEETING_H
#define MESHTAP_MEETING_H

#include "lib/ending.h"
#include "lib/packet.h"

/* Both ends of a connection that began before these programs' eyes have met in its handshake. */
static __noinline int find_by_handshake(struct connection *c)
{
	struct handshake_key key = {};
	struct handshake *both;

	if (!c || c->joined || !c->established)
		return 0;
	key.active_isn = c->active_isn;
	key.passive_isn = c->passive_isn;
	both = bpf_map_lookup_elem(&handshakes, &key);
	if (!both)
		return 0;
	if (c->role == ROLE_CLIENT) {
		both->active_cgroup = c->cgroup;
		c->peer_cgroup = both->passive_cgroup;
		both->met = 1;
	} else {
		c->peer_cgroup = both->active_cgroup;
		if (both->met || !both->active_cgroup) /* nobody else wants to know */
			bpf_map_delete_elem(&handshakes, &key);
	}
	return 1;
}

/* Sees the connection for the first time in a packet: its addresses, and the cgroup of this end. */
__attribute__((noinline)) int meet(struct __sk_buff *skb, __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct segment seg = {};
	struct ends ends;

	if (!c || !sk || !read_segment(skb, &seg) || !read_ends(skb, &seg, &ends))
		return 0;
	if (direction == IN) {
		__builtin_memcpy(c->remote_address, ends.source, 16);
		__builtin_memcpy(c->local_address, ends.destination, 16);
		c->remote_port = ends.source_port;
		c->local_port = ends.destination_port;
	} else {
		__builtin_memcpy(c->remote_address, ends.destination, 16);
		__builtin_memcpy(c->local_address, ends.source, 16);
		c->remote_port = ends.destination_port;
		c->local_port = ends.source_port;
	}
	c->cgroup = bpf_sk_cgroup_id(sk);
	barrier(); /* who sees the tuple, on another CPU, takes all the rest for known */
	c->tuple = hash_of(c->remote_address, c->local_address, c->remote_port, c->local_port);
	return 1;
}

/* The end of a connection, or the listener of a port, in this network namespace. */
static __always_inline struct bpf_sock *look_up(struct __sk_buff *skb, const __u8 *to, const __u8 *from, __u16 to_port,
						__u16 from_port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv4);

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.daddr, to, 16);
		__builtin_memcpy(tuple.ipv6.saddr, from, 16);
		tuple.ipv6.dport = bpf_htons(to_port);
		tuple.ipv6.sport = bpf_htons(from_port);
	} else {
		__builtin_memcpy(&tuple.ipv4.daddr, to + 12, 4);
		__builtin_memcpy(&tuple.ipv4.saddr, from + 12, 4);
		tuple.ipv4.dport = bpf_htons(to_port);
		tuple.ipv4.sport = bpf_htons(from_port);
	}
	return bpf_sk_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
}

/* A connection that was open before: the server is the end whose port has a listener. */
__attribute__((noinline)) int has_listener(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);
	struct bpf_sock *other;
	int listens;

	if (!c)
		return 0;
	other = look_up(skb, c->local_address, c->remote_address, c->local_port, 0);
	if (!other)
		return 0;
	listens = other->state == BPF_TCP_LISTEN;
	bpf_sk_release(other);
	return listens;
}

/*
 * The other end, where it is on this machine: in this network namespace its socket is found, be it watched or not (of
 * a handshake that goes on there is only the listener, which is as good).
 */
__attribute__((noinline)) int find_peer(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);
	struct bpf_sock *other;
	__u64 cgroup = 0;

	if (!c)
		return 0;
	other = look_up(skb, c->remote_address, c->local_address, c->remote_port, c->local_port);
	if (!other)
		return 0;
	/* a listener of that port is none of a connection that was open before */
	if (!c->joined || other->state != BPF_TCP_LISTEN)
		cgroup = bpf_sk_cgroup_id(other);
	bpf_sk_release(other);
	if (cgroup != ROOT_CGROUP)
		c->peer_cgroup = cgroup;
	return 1;
}

/*
 * Whether a client can not know yet who the other end is. An IPv6 listener's SYN-ACK passes no program on some kernels
 * (5.10: ip6_xmit() has the listener, skb->sk is the request, and BPF_CGROUP_RUN_PROG_INET_EGRESS wants them the same).
 * Then the other end tells who it is when the handshake is complete: certainly before anything comes from there.
 */
static __noinline int waits_for_peer(struct __sk_buff *skb, struct connection *c)
{
	struct handshake_key key = {};
	struct handshake ends = {}, *both;

	if (!c || c->joined || c->role != ROLE_CLIENT || skb->protocol != bpf_htons(ETH_P_IPV6))
		return 0;
	key.active_isn = c->active_isn;
	key.passive_isn = c->passive_isn;
	both = bpf_map_lookup_elem(&handshakes, &key);
	if (both)
		return !both->passive_cgroup;
	ends.active_cgroup = c->cgroup;
	bpf_map_update_elem(&handshakes, &key, &ends, BPF_NOEXIST);
	return 1;
}

/* The first packet after its establishment: now both ends can be known. */
__attribute__((noinline)) int acquaint(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);

	if (!c || (direction == OUT && waits_for_peer(skb, c)) || !claim(c, SETTLING))
		return 0;
	find_by_handshake(c);
	if (!c->peer_cgroup)
		find_peer(skb);
	settle(c);
	return 1;
}

/* A connection that was open before this program was. */
__attribute__((noinline)) int join(struct __sk_buff *skb, __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct segment seg = {};
	struct bpf_tcp_sock *tcp;

	if (!c || !sk || !claim(c, JOINING) || !read_segment(skb, &seg))
		return 0;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return 0;
	c->joined = 1;
	c->epoch = ~0u;
	c->received_to = tcp->rcv_nxt;
	c->retransmits = tcp->total_retrans;
	c->stream[IN].top = c->stream[IN].next = c->stream[IN].whole = 1ull << 32 | tcp->rcv_nxt;
	c->stream[OUT].top = c->stream[OUT].next = 1ull << 32 | (direction == OUT ? seg.seq : tcp->snd_nxt);
	c->sent_to = c->stream[OUT].top;
	if (!meet(skb, direction))
		return 0;
	c->role = has_listener(skb) ? ROLE_SERVER : ROLE_CLIENT;
	barrier(); /* who sees it established, on another CPU, takes all the rest for known */
	c->established = 1;
	return 1;
}

/* The state of this packet's socket, made on its first packet if need be. */
static __always_inline struct connection *connection_for(struct __sk_buff *skb, __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	__u32 state = sk ? sk->state : 0; /* as it was before: sock_ops may make the connection on another CPU meanwhile */
	struct connection *c = connection_of(sk);

	if (!c) {
		/* in its handshake sock_ops will make it, or, if that had begun before this program, the next packet */
		if (!sk || state == BPF_TCP_SYN_SENT || state == BPF_TCP_SYN_RECV)
			return 0;
		c = MAKE_STORAGE(&connections, sk);
		if (!c) {
			note(ROLE_UNKNOWN, CONNECTIONS_UNTRACKED, 1);
			return 0;
		}
		join(skb, direction);
	} else if (!c->tuple) {
		meet(skb, direction);
	}
	if (c->established && !c->settled)
		acquaint(skb, direction);
	return c;
}

/* A listener shakes hands: the socket to come will be in its cgroup, and the other end, if it is here, wants to know. */
static __noinline int announce(struct bpf_sock *sk, __u32 active_isn, __u32 passive_isn)
{
	struct handshake_key key = { .active_isn = active_isn, .passive_isn = passive_isn };
	struct handshake ends = {}, *both;

	if (!sk)
		return 0;
	ends.passive_cgroup = bpf_sk_cgroup_id(sk);
	both = bpf_map_lookup_elem(&handshakes, &key);
	if (both)
		both->passive_cgroup = ends.passive_cgroup;
	else
		bpf_map_update_elem(&handshakes, &key, &ends, BPF_NOEXIST);
	return 1;
}

/* The client's last word in a handshake: where the SYN-ACK was not seen (waits_for_peer), this tells as much. */
static __always_inline void confirm(struct __sk_buff *skb, const struct segment *seg)
{
	if (seg->ipv6)
		announce(skb->sk, seg->seq, seg->ack);
}

#endif
