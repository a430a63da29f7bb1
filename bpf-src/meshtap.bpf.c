// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts HTTP/1 and TCP between services, where the segments pass. UAPI hooks only; 5.10 and later.
 *
 *   sock_ops  connections: connect latency, establishment, end
 *   egress    what this socket sends: in order, but for retransmissions
 *   ingress   what arrives for it: before TCP puts it in order, and once more if it was lost or doubled
 *   release   the end of sockets that were open before this program was
 *
 * Every program lets its packet pass, always.
 */
#include "lib/ending.h"

char LICENSE[] SEC("license") = "GPL"; /* the kernel has no word for the other choice */

/* Only so that the types of map keys and values stay in the object's BTF by name. */
const struct ledger *unused_ledger __attribute__((unused));
const enum ledger_entry *unused_ledger_entry __attribute__((unused));
const enum prefix_verdict *unused_prefix_verdict __attribute__((unused));
const enum peer_kind *unused_peer_kind __attribute__((unused));
const enum role *unused_role __attribute__((unused));
const enum method *unused_method __attribute__((unused));
const enum http_version *unused_http_version __attribute__((unused));
const enum failure *unused_failure __attribute__((unused));

#define PASS 1
#define BURST 64   /* steps; at most BURST * BURSTS lines, blocks or chunks of one segment are looked at */
#define BURSTS 128
#define SECOND 1000000000ull

static __always_inline int waits_for_end(const struct stream *s)
{
	return s->phase == BODY || s->phase == CHUNK_DATA;
}

/* Whether there is more to do after a step. */
static __always_inline int more(const struct stream *s)
{
	return s->at < s->end || waits_for_end(s) ? AGAIN : STOP;
}

/* One step, verified once by itself; what it knows lies in the connection. */
__attribute__((noinline)) int step(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;
	int result;

	if (!c || c->protocol == OPAQUE)
		return STOP;
	s = stream_of(c, direction);
	result = http1_step(skb, c, s, direction);
	return result == AGAIN ? more(s) : result;
}

/* Not called from within a step: both need much of the 512 bytes of stack that all frames share. */
__attribute__((noinline)) int answer(struct __sk_buff *skb, __u32 direction)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;

	if (!c)
		return STOP;
	s = stream_of(c, direction);
	end_response(c, s, FAILURE_NONE);
	return more(s);
}

/* Two loops instead of a long one: the verifier walks 64 and 128 turns, not their product. */
__attribute__((noinline)) int burst(struct __sk_buff *skb, __u32 direction)
{
	for (int i = 0; i < BURST; i++) {
		int result = step(skb, direction);

		if (result == ANSWERED)
			result = answer(skb, direction);
		if (result != AGAIN)
			return STOP;
	}
	return AGAIN;
}

/* Parse length bytes at offset of the packet (or of an early piece); next is where they begin. */
__attribute__((noinline)) int parse(struct __sk_buff *skb, __u32 direction, __u32 offset, __u32 length)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;

	if (!c)
		return 0;
	s = stream_of(c, direction);
	s->next += length;
	s->base = offset;
	if (s->carried && length && !join_carried(skb, direction, length))
		return lose_sync(c, s);
	s->at = 0;
	s->end = s->carried + length;
	for (int i = 0; i < BURSTS; i++)
		if (burst(skb, direction) != AGAIN)
			break;

	if (c->protocol == OPAQUE || s->phase == UNSYNCED || s->at >= s->end)
		s->carried = 0;
	else if (!carry_rest(skb, direction))
		return lose_sync(c, s);
	return 0;
}

/* Somebody lost or regained the thread since this direction last looked. */
static __always_inline void follow_era(struct connection *c, struct stream *s, __u32 direction, __u64 here)
{
	if (s->era == c->era)
		return;
	s->era = c->era;
	s->carried = 0;
	s->began = 0;
	drop_answer(c, s);
	s->next = here;
	s->phase = c->synced ? START : UNSYNCED;
	if (!is_request(c, direction))
		drop_void(c);
}

/* Keep one piece of a segment that came before its turn. */
__attribute__((noinline)) int hold_piece(struct __sk_buff *skb, __u32 offset, __u32 seq, __u32 listed)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = { .seq = seq };
	struct early_value *value, *old;
	struct reassembly *r = 0;
	__u32 zero = 0, length = skb->len - offset;
	int kept = 0;

	value = bpf_map_lookup_elem(&early_scratch, &zero);
	if (!value || !sk || offset >= skb->len)
		return 0;
	if (length > PIECE)
		length = PIECE;
	length--;
	asm volatile("%0 &= 2047" : "+r"(length));
	if (bpf_skb_load_bytes(skb, offset, value->byte, (length & 2047) + 1))
		return 0;
#pragma unroll
	for (int i = 0; i < WORDS; i++) /* a block that is read at the end must be clear behind it */
		*(__u64 *)(value->byte + (length & 2047) + 1 + 8 * i) = 0;
	length++;
	value->length = length;
	value->at = bpf_ktime_get_ns();

	if (listed) {
		if (!c)
			return 0;
		r = bpf_sk_storage_get(&reassembly, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!r)
			return 0;
		key.tuple = c->tuple;
	} else {
		struct segment seg = {};
		struct ends ends;

		if (!read_segment(skb, &seg) || !read_ends(skb, &seg, &ends))
			return 0;
		key.tuple = hash_of(ends.source, ends.destination, ends.source_port, ends.destination_port);
	}
	/* sent again in shorter segments, it must not take the place of the longer piece */
	old = bpf_map_lookup_elem(&early, &key);
	if (old && old->length >= length)
		return 1;
	if (bpf_map_update_elem(&early, &key, value, BPF_ANY))
		return 0;
	if (!listed || !c || !r)
		return 1;

	bpf_spin_lock(&c->lock);
	for (int i = 0; i < PIECES; i++) {
		if (r->piece[i].length)
			continue;
		r->piece[i].seq = seq;
		r->piece[i].length = length;
		c->early++;
		kept = 1;
		break;
	}
	bpf_spin_unlock(&c->lock);
	if (!kept)
		bpf_map_delete_elem(&early, &key);
	return kept;
}

static __always_inline void hold(struct __sk_buff *skb, __u32 role, const struct segment *seg, __u32 listed)
{
	__u32 offset = seg->payload, seq = seg->seq;

	for (int i = 0; i < SEGMENT_PIECES; i++) {
		if (!hold_piece(skb, offset, seq, listed)) {
			note(role, SEGMENTS_EARLY_DROPPED, 1);
			return;
		}
		offset += PIECE;
		seq += PIECE;
		if (offset >= skb->len)
			break;
	}
	note(role, SEGMENTS_EARLY, 1);
}

/* Take up one early piece whose turn has come, or that is of no use any more. */
__attribute__((noinline)) int take_piece(struct __sk_buff *skb, __u32 received)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);
	struct early_key key = {};
	struct early_value *value;
	struct reassembly *r;
	struct stream *s;
	__u32 found = 0, length;
	__u64 from;

	if (!c || !sk)
		return 0;
	s = &c->stream[IN];
	r = bpf_sk_storage_get(&reassembly, sk, 0, 0);
	key.tuple = c->tuple;
	key.seq = s->next;
	if (r) {
		bpf_spin_lock(&c->lock);
		for (int i = 0; i < PIECES; i++) {
			if (!r->piece[i].length || (__s64)(position(s, r->piece[i].seq) - s->next) > 0)
				continue;
			key.seq = r->piece[i].seq;
			r->piece[i].length = 0;
			c->early--;
			found = 1;
			break;
		}
		bpf_spin_unlock(&c->lock);
	}
	/* what came before the socket was there is on no list: it is looked for where it should begin */
	if (!found && (__s32)(received - key.seq) <= 0)
		return 0;
	value = bpf_map_lookup_elem(&early, &key);
	if (!value)
		return found;
	from = position(s, key.seq);
	length = value->length;
	if (from + length > s->next && c->protocol != OPAQUE && s->phase != UNSYNCED) {
		__u32 skip = s->next - from;

		s->now = found ? bpf_ktime_get_ns() : value->at;
		s->early_seq = key.seq;
		s->from_early = 1;
		parse(skb, IN, skip, length - skip);
		s->from_early = 0;
	}
	bpf_map_delete_elem(&early, &key);
	return 1;
}

/* Called with the gate. received: what TCP has in order; what the parser lacks of it has passed unseen. */
__attribute__((noinline)) int catch_up(struct __sk_buff *skb, __u32 received)
{
	struct connection *c = connection_of(skb->sk);
	struct stream *s;

	if (!c)
		return 0;
	s = &c->stream[IN];
	for (int i = 0; i < 2 * PIECES; i++)
		if (!take_piece(skb, received))
			break;
	if (c->protocol == OPAQUE || s->phase == UNSYNCED)
		return 0;
	if (waits_for_end(s) && s->next == position(s, received)) {
		s->now = bpf_ktime_get_ns();
		parse(skb, IN, 0, 0);
	}
	if (s->phase == UNTIL_CLOSE) {
		if (c->finished_in && s->fin == position(s, received)) {
			s->now = bpf_ktime_get_ns();
			end_response(c, s, FAILURE_NONE);
		}
		return 0;
	}
	if ((__s64)(position(s, received) - s->next) > 0)
		lose_sync(c, s);
	return 0;
}

/* Called with the gate. */
__attribute__((noinline)) int take_in(struct __sk_buff *skb, __u32 rcv_nxt)
{
	struct connection *c = connection_of(skb->sk);
	struct segment segment = {}, *seg = &segment;
	__u64 from, to, in_order;
	struct stream *s;

	if (!c || !read_segment(skb, seg))
		return 0;
	s = &c->stream[IN];
	from = position(s, seg->seq);
	to = from + seg->length;
	in_order = position(s, rcv_nxt);
	if (to > s->top)
		s->top = to;
	if (seg->fin && !c->finished_in) {
		s->fin = to;
		c->finished_in = 1;
	}
	follow_era(c, s, IN, from);
	if (c->protocol == OPAQUE)
		return 0;
	s->now = bpf_ktime_get_ns();
	if (s->phase == UNSYNCED) {
		if (from < in_order || !seg->length)
			return 0;
		s->next = from;
	}
	if (s->phase == UNTIL_CLOSE) {
		if (to > s->next)
			s->next = to;
		if (seg->fin && from <= in_order)
			end_response(c, s, FAILURE_NONE);
		return 0;
	}
	if (from > s->next) {
		if (seg->length)
			hold(skb, c->role, seg, 1);
		return 0;
	}
	/* a body's last byte counts when there is no hole before it: if there is, an acknowledgement will tell */
	if (to > s->next || (to == s->next && waits_for_end(s) && from <= in_order))
		parse(skb, IN, seg->payload + (s->next - from), to - s->next);
	/* an answer that runs until the close may have come with it */
	if (s->phase == UNTIL_CLOSE && seg->fin)
		end_response(c, s, FAILURE_NONE);
	return 0;
}

/* Sees the connection for the first time in a packet: who it is. */
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
	c->epoch = ~0u;
	if (c->established && !c->joined)
		settle(c);
	barrier(); /* who sees the tuple, on another CPU, takes all the rest for known */
	c->tuple = hash_of(c->remote_address, c->local_address, c->remote_port, c->local_port);
	return 1;
}

/*
 * A connection that was open before: the server is the end whose port has a listener, and the other end is looked
 * for in this network namespace.
 */
__attribute__((noinline)) int join(struct __sk_buff *skb, __u32 direction)
{
	struct bpf_sock *sk = skb->sk, *other;
	struct connection *c = connection_of(sk);
	struct segment segment = {}, *seg = &segment;
	struct bpf_sock_tuple tuple = {};
	struct bpf_tcp_sock *tcp;
	__u32 size;

	if (!c || !sk || !read_segment(skb, seg))
		return 0;
	c->joined = c->established = 1;
	c->epoch = ~0u;
	c->role = ROLE_CLIENT;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return 0;
	c->received_to = tcp->rcv_nxt;
	c->retransmits = tcp->total_retrans;
	c->stream[IN].top = c->stream[IN].next = 1ull << 32 | tcp->rcv_nxt;
	c->stream[OUT].top = c->stream[OUT].next = 1ull << 32 | (direction == OUT ? seg->seq : tcp->snd_nxt);
	if (!meet(skb, direction))
		return 0;

	if (seg->ipv6) {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.daddr, c->local_address, 16);
		__builtin_memcpy(tuple.ipv6.saddr, c->remote_address, 16);
		tuple.ipv6.dport = bpf_htons(c->local_port);
	} else {
		size = sizeof(tuple.ipv4);
		__builtin_memcpy(&tuple.ipv4.daddr, c->local_address + 12, 4);
		__builtin_memcpy(&tuple.ipv4.saddr, c->remote_address + 12, 4);
		tuple.ipv4.dport = bpf_htons(c->local_port);
	}
	other = bpf_sk_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (other) {
		if (other->state == BPF_TCP_LISTEN)
			c->role = ROLE_SERVER;
		bpf_sk_release(other);
	}
	if (seg->ipv6) {
		__builtin_memcpy(tuple.ipv6.daddr, c->remote_address, 16);
		__builtin_memcpy(tuple.ipv6.saddr, c->local_address, 16);
		tuple.ipv6.dport = bpf_htons(c->remote_port);
		tuple.ipv6.sport = bpf_htons(c->local_port);
	} else {
		__builtin_memcpy(&tuple.ipv4.daddr, c->remote_address + 12, 4);
		__builtin_memcpy(&tuple.ipv4.saddr, c->local_address + 12, 4);
		tuple.ipv4.dport = bpf_htons(c->remote_port);
		tuple.ipv4.sport = bpf_htons(c->local_port);
	}
	other = bpf_sk_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (other) {
		if (other->state != BPF_TCP_LISTEN)
			c->peer_cgroup = bpf_sk_cgroup_id(other);
		bpf_sk_release(other);
	}
	settle(c);
	return 1;
}

/* The state of this packet's socket, made on its first packet if need be. */
static __always_inline struct connection *connection_for(struct __sk_buff *skb, const struct segment *seg,
							  __u32 direction)
{
	struct bpf_sock *sk = skb->sk;
	struct connection *c = connection_of(sk);

	if (c) {
		if (!c->tuple)
			meet(skb, direction);
		return c;
	}
	if (!sk || seg->rst)
		return 0;
	c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		note(ROLE_UNKNOWN, CONNECTIONS_UNTRACKED, 1);
		return 0;
	}
	join(skb, direction);
	return c;
}

/* One by one and each a function of its own: in the loop, every request would be verified after every other. */
__attribute__((noinline)) int fail_in_packet(struct __sk_buff *skb)
{
	return fail_front(connection_of(skb->sk));
}

__attribute__((noinline)) int fail_in_sock_ops(struct bpf_sock_ops *ctx)
{
	return fail_front(connection_of(ctx->sk));
}

#define FAIL_OUTSTANDING(fail, ctx)                                                                                \
	for (int i = 0; i < OUTSTANDING; i++)                                                                     \
		if (!fail(ctx))                                                                                   \
			break

__attribute__((noinline)) int finish(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);

	if (end_connection(c))
		FAIL_OUTSTANDING(fail_in_packet, skb);
	return 0;
}

/* For a connection whose end no callback tells. */
static __always_inline void notice_end(struct __sk_buff *skb, struct connection *c)
{
	if (c->joined && !c->ended && (c->reset || (c->finished_in && c->finished_out)))
		finish(skb);
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct segment seg = {};
	struct bpf_tcp_sock *tcp;
	struct connection *c;
	__u32 received;

	if (!sk || !read_segment(skb, &seg) || seg.syn || !(seg.length || seg.fin || seg.rst))
		return PASS;
	/* the segment that completes a handshake comes before its socket does */
	if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_NEW_SYN_RECV) {
		if (seg.length)
			hold(skb, ROLE_SERVER, &seg, 0);
		return PASS;
	}
	c = connection_for(skb, &seg, IN);
	tcp = c ? bpf_tcp_sock(sk) : 0;
	if (!c || !tcp)
		return PASS;
	received = tcp->rcv_nxt;
	/* a reset from before what has arrived is an old or a forged one (RFC 5961 3.2) */
	if (seg.rst && (sk->state == BPF_TCP_SYN_SENT || (__s32)(seg.seq - received) >= 0))
		c->reset = 1;

	if (!enter(c)) {
		if (seg.length && c->protocol != OPAQUE)
			hold(skb, c->role, &seg, 1);
		if (seg.fin)
			c->finished_in = 1; /* its place is learned when it is sent again, or not needed */
		if (!enter(c))
			return PASS;
		catch_up(skb, received);
	} else {
		if (seg.length || seg.fin)
			take_in(skb, received);
		if (c->early)
			catch_up(skb, received);
	}
	for (int i = 0; i < 4; i++) {
		if (c->ending)
			finish(skb);
		if (!leave_or_look(c))
			break;
		catch_up(skb, received);
	}
	notice_end(skb, c);
	return PASS;
}

__attribute__((noinline)) int send_out(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);
	struct segment segment = {}, *seg = &segment;
	__u64 from, to, sent = 0;
	struct stream *s;

	if (!c || !read_segment(skb, seg))
		return 0;
	s = &c->stream[OUT];
	from = position(s, seg->seq);
	to = from + seg->length;
	if (seg->fin) {
		s->fin = to;
		c->finished_out = 1;
	}
	if (to <= s->top && !seg->fin) /* sent again */
		return 0;
	s->now = bpf_ktime_get_ns();
	if (from > s->top && s->phase != UNSYNCED && c->protocol != OPAQUE)
		lose_sync(c, s);
	if (to > s->top) {
		sent = to - (from > s->top ? from : s->top);
		s->top = to;
	}
	if (sent)
		account(c, sent, 0);
	follow_era(c, s, OUT, from);
	if (c->protocol == OPAQUE)
		return 0;
	if (s->phase == UNSYNCED)
		s->next = from;
	if (s->phase == UNTIL_CLOSE)
		s->next = to;
	else if (from <= s->next && (to > s->next || (to == s->next && sent && waits_for_end(s))))
		parse(skb, OUT, seg->payload + (s->next - from), to - s->next);
	if (s->phase == UNTIL_CLOSE && seg->fin)
		end_response(c, s, FAILURE_NONE);
	return 0;
}

/* A listener answers SYN: the socket to come will be in its cgroup, and the other end, if it is here, wants to know. */
static __noinline int announce(struct bpf_sock *sk, __u32 ack, __u32 seq)
{
	struct handshake_key key = { .active_isn = ack, .passive_isn = seq + 1 };
	struct handshake ends = {};

	if (!sk)
		return 0;
	ends.passive_cgroup = bpf_sk_cgroup_id(sk);
	bpf_map_update_elem(&handshakes, &key, &ends, BPF_NOEXIST); /* SYN-ACK may be sent again */
	return 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct segment seg = {};
	struct bpf_tcp_sock *tcp;
	struct connection *c;
	struct stream *in;
	__u64 received;

	if (!sk || !read_segment(skb, &seg))
		return PASS;
	if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_NEW_SYN_RECV) {
		if (seg.syn)
			announce(sk, seg.ack, seg.seq);
		return PASS;
	}
	c = connection_for(skb, &seg, OUT);
	tcp = c ? bpf_tcp_sock(sk) : 0;
	if (!c || !tcp || seg.syn)
		return PASS;
	if (seg.rst)
		c->reset = 1;

	/* the acknowledgement that this packet carries tells what has arrived in order */
	in = &c->stream[IN];
	received = newly_received(c, tcp->rcv_nxt);
	if (received)
		account(c, 0, received);
	received = position(in, c->received_to);
	if (c->protocol != OPAQUE && in->phase != UNSYNCED &&
	    (in->phase == UNTIL_CLOSE ? in->fin == received : (__s64)(received - in->next) > 0 ||
	     (received == in->next && waits_for_end(in)))) {
		if (enter(c)) {
			for (int i = 0; i < 4; i++) {
				catch_up(skb, received);
				if (!leave_or_look(c))
					break;
			}
		}
	}
	if (seg.length || seg.fin) {
		send_out(skb);
		if (c->sampled_at + SECOND < c->stream[OUT].now) {
			c->sampled_at = c->stream[OUT].now;
			sample(c, tcp->srtt_us, tcp->total_retrans);
		}
	}
	notice_end(skb, c);
	return PASS;
}

/* A connection that sock_ops sees from its beginning. */
static __always_inline struct connection *begin(struct bpf_sock_ops *ctx, __u8 role)
{
	struct connection *c;

	if (!ctx->sk)
		return 0;
	c = bpf_sk_storage_get(&connections, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c) {
		note(role, CONNECTIONS_UNTRACKED, 1);
		return 0;
	}
	c->role = role;
	c->epoch = ~0u;
	c->synced = 1;
	c->stream[IN].phase = c->stream[OUT].phase = START;
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	return c;
}

static __always_inline void establish(struct bpf_sock_ops *ctx, struct connection *c)
{
	__u32 sent = ctx->snd_nxt, received = ctx->rcv_nxt;

	c->established = 1;
	c->received_to = received;
	c->stream[IN].top = c->stream[IN].next = 1ull << 32 | received;
	c->stream[OUT].top = c->stream[OUT].next = 1ull << 32 | sent;
	c->active_isn = c->role == ROLE_CLIENT ? sent : received;
	c->passive_isn = c->role == ROLE_CLIENT ? received : sent;
}

static __always_inline void connected(struct bpf_sock_ops *ctx)
{
	struct connection *c = connection_of(ctx->sk);

	if (!c || c->joined)
		return;
	establish(ctx, c);
	c->connect_ns = bpf_ktime_get_ns() - c->connecting_at;
	if (c->tuple)
		settle(c);
}

static __always_inline void connect_failed(struct connection *c)
{
	struct pair_value *value;

	if (c->ended || !c->tuple)
		return;
	c->ended = 1;
	settle(c);
	value = pair_value_of(c);
	if (value)
		add(c->reset ? &value->refused : c->released ? &value->cancelled : &value->unreachable, 1);
}

static __always_inline void closed(struct bpf_sock_ops *ctx)
{
	struct connection *c = connection_of(ctx->sk);

	if (!c)
		return;
	if (!c->established) {
		connect_failed(c);
		return;
	}
	/*
	 * An application that aborts (SO_LINGER 0, or close with data unread) leaves these states for CLOSE before its
	 * RST passes egress (net/ipv4/tcp.c, __tcp_close and tcp_disconnect).
	 */
	if (c->released && (ctx->args[0] == BPF_TCP_ESTABLISHED || ctx->args[0] == BPF_TCP_CLOSE_WAIT))
		c->reset = 1;
	settle(c);
	account(c, 0, newly_received(c, ctx->rcv_nxt));
	sample(c, ctx->srtt_us, ctx->total_retrans);
	/* an ingress segment may be under way on another CPU: then whoever holds the gate ends the connection */
	c->ending = 1;
	if (!enter(c))
		return;
	if (end_connection(c))
		FAIL_OUTSTANDING(fail_in_sock_ops, ctx);
	leave_or_look(c);
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	struct connection *c;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		c = begin(ctx, ROLE_CLIENT);
		if (c)
			c->connecting_at = bpf_ktime_get_ns();
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		connected(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		c = begin(ctx, ROLE_SERVER);
		if (c)
			establish(ctx, c);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			closed(ctx);
		break;
	}
	return 1;
}

SEC("cgroup/sock_release")
int release(struct bpf_sock *sk)
{
	struct connection *c = bpf_sk_storage_get(&connections, sk, 0, 0);

	if (!c)
		return 1;
	c->released = 1;
	if (!c->joined || sk->state != BPF_TCP_CLOSE || !end_connection(c))
		return 1;
	/* no function of its own here (a program of this type passes no context to one), so only a few */
	for (int i = 0; i < 4; i++)
		if (!fail_front(c))
			return 1;
	c->void_before = c->asked;
	drop_void(c);
	return 1;
}
