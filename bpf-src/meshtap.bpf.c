// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts HTTP/1, HTTP/2, gRPC, DNS and TCP between services, where the segments pass. UAPI hooks only; 5.10 and later.
 *
 *   sock_ops  connections: connect latency, establishment, end
 *   egress    what this socket sends: in order, but for retransmissions
 *   ingress   what arrives for it: before TCP puts it in order, and once more if it was lost or doubled
 *   release   the end of sockets that were open before this program was
 *   dns_egress, dns_ingress  queries and answers; programs of their own, so that the verifier has less to do for each
 *
 * Every program lets its packet pass, always.
 */
#include "lib/meeting.h"
#include "lib/reading.h"
#include "protocols/dns.h"

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
#define SECOND 1000000000ull

/* One by one and each a function of its own: in the loop, every request would be verified after every other. */
__attribute__((noinline)) int fail_in_packet(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);

	if (!c)
		return 0;
	return (c->protocol == HTTP2 && fail_stream(c, http2_of(skb->sk), failure_of(c), bpf_ktime_get_ns())) || fail_front(c);
}

__attribute__((noinline)) int fail_in_sock_ops(struct bpf_sock_ops *ctx)
{
	struct connection *c = connection_of(ctx->sk);

	if (!c)
		return 0;
	return (c->protocol == HTTP2 && fail_stream(c, http2_of(ctx->sk), failure_of(c), bpf_ktime_get_ns())) || fail_front(c);
}

#define FAIL_OUTSTANDING(fail, ctx)                                                                                \
	for (int i = 0; i < STREAMS; i++)                                                                     \
		if (!fail(ctx))                                                                                   \
			break

__attribute__((noinline)) int finish(struct __sk_buff *skb)
{
	struct connection *c = connection_of(skb->sk);

	if (end_connection(c))
		FAIL_OUTSTANDING(fail_in_packet, skb);
	return 0;
}

/* A FIN is believed where TCP will take it: behind all that has arrived, or once what is missing has come. */
static __always_inline void see_fin(struct connection *c, const struct segment *seg, __u32 received)
{
	struct stream *s = &c->stream[IN];
	__u64 from = position(s, seg->seq), to = from + seg->length;

	if (c->finished_in || to < position(s, received))
		return;
	s->fin = to;
	if (from <= in_order(s, received))
		c->finished_in = 1;
}

/* A reset: whether it ends the connection for sure. */
static __always_inline int see_reset(struct connection *c, const struct segment *seg, __u32 received)
{
	struct stream *s = &c->stream[IN];

	/* from before what has arrived it is an old or a forged one, from behind it in doubt (RFC 5961 3.2) */
	if ((__s32)(seg->seq - received) < 0)
		return 0;
	c->reset = 1;
	/* TCP may still not believe it: while the application has the socket, what becomes of that is awaited */
	return c->released && position(s, seg->seq) <= in_order(s, received);
}

/* For a connection whose end no callback tells. reset: by this packet, and for sure. */
static __always_inline void notice_end(struct __sk_buff *skb, struct connection *c, int reset)
{
	if (c->joined && !c->ended && (reset || (c->finished_in && c->finished_out)))
		finish(skb);
}

/*
 * What others left meanwhile is the caller's. They may go on leaving for as long as it looks, and a gate that nobody
 * opens any more would be worse than to look too seldom.
 */
static __always_inline void open_gate(struct __sk_buff *skb, struct connection *c, __u32 received)
{
	/* unrolled: 5.10 and 6.1 want a loop to go back by a jump ("back-edge"), and the compiler may place it otherwise */
#pragma unroll
	for (int i = 1; i <= LOOKS; i++) {
		if (c->ending)
			finish(skb);
		if (!leave_or_look(c, i == LOOKS))
			break;
		catch_up(skb, received);
	}
	if (c->ending && !c->ended && enter(c)) {
		finish(skb);
		leave_or_look(c, 1);
	}
}

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct segment seg = {};
	struct bpf_tcp_sock *tcp;
	struct connection *c;
	__u32 received;

	if (!sk || !read_segment(skb, &seg) || seg.syn)
		return PASS;
	if (!(seg.length || seg.fin || seg.rst)) {
		if (sk->state == BPF_TCP_LISTEN)
			confirm(skb, &seg);
		return PASS;
	}
	/* the segment that completes a handshake comes before its socket does */
	if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_NEW_SYN_RECV) {
		confirm(skb, &seg);
		if (seg.length)
			hold(skb, ROLE_SERVER, &seg, 0);
		return PASS;
	}
	c = connection_for(skb, IN);
	/* ... or while another CPU is about to establish it */
	if (!c || !c->established) {
		if (c && seg.rst)
			c->reset = 1;
		else if (seg.length && (c || sk->state == BPF_TCP_SYN_RECV))
			hold(skb, ROLE_UNKNOWN, &seg, 0);
		return PASS;
	}
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return PASS;
	received = received_of(c, tcp->rcv_nxt);
	if (seg.rst)
		seg.rst = see_reset(c, &seg, received);
	if (seg.fin)
		see_fin(c, &seg, received);

	if (!enter(c)) {
		if (seg.length && c->protocol != OPAQUE)
			hold(skb, c->role, &seg, 1);
		if (!enter(c))
			return PASS;
		catch_up(skb, received);
	} else {
		if (seg.length || seg.fin)
			take_in(skb, c, &seg, received);
		if (c->early || is_behind(c, position(&c->stream[IN], received)))
			catch_up(skb, received);
	}
	open_gate(skb, c, received);
	notice_end(skb, c, seg.rst);
	return PASS;
}

/* Whether what is sent begins an answer to nothing that is known. */
static __always_inline int is_unasked(const struct connection *c)
{
	return c->role == ROLE_SERVER && c->protocol == HTTP1 && c->asked == c->answered && c->stream[OUT].phase == START;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	int unasked;
	struct bpf_sock *sk = skb->sk;
	struct segment seg = {};
	struct bpf_tcp_sock *tcp;
	struct connection *c;
	__u32 received;

	if (!sk || !read_segment(skb, &seg))
		return PASS;
	if (sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_NEW_SYN_RECV) {
		if (seg.syn)
			announce(sk, seg.ack, seg.seq + 1);
		return PASS;
	}
	c = connection_for(skb, OUT);
	tcp = c ? bpf_tcp_sock(sk) : 0;
	if (!tcp)
		return PASS;
	if (seg.rst)
		c->reset = 1;
	if (!c->established)
		return PASS;

	/* the acknowledgement that this packet carries tells what has arrived in order */
	received = received_of(c, tcp->rcv_nxt);
	unasked = seg.length && is_unasked(c);
	if (is_behind(c, position(&c->stream[IN], received)) || (unasked && c->gate)) {
		if (seg.length ? wait_to_enter(skb) : enter(c)) {
			catch_up(skb, received);
			open_gate(skb, c, received);
		} else if (unasked) { /* rather none than another's */
			lose(skb, OUT);
		}
	}
	if (seg.length || seg.fin)
		send_out(skb, c, &seg);
	account(c, received);
	if (c->sampled_at + SECOND < c->stream[OUT].now) {
		c->sampled_at = c->stream[OUT].now;
		sample(c, tcp->srtt_us, tcp->total_retrans);
	}
	notice_end(skb, c, seg.rst);
	return PASS;
}

/* A connection that sock_ops sees from its beginning. */
static __always_inline struct connection *begin(struct bpf_sock_ops *ctx, __u8 role)
{
	struct connection *c;

	if (!ctx->sk)
		return 0;
	c = MAKE_STORAGE(&connections, ctx->sk);
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

	c->received_to = received;
	c->stream[IN].top = c->stream[IN].next = c->stream[IN].whole = 1ull << 32 | received;
	c->stream[OUT].top = c->stream[OUT].next = c->sent_to = 1ull << 32 | sent;
	c->active_isn = c->role == ROLE_CLIENT ? sent : received;
	c->passive_isn = c->role == ROLE_CLIENT ? received : sent;
	barrier(); /* who sees it established, on another CPU, takes all the rest for known */
	c->established = 1;
}

static __always_inline void connected(struct bpf_sock_ops *ctx)
{
	struct connection *c = connection_of(ctx->sk);

	if (!c || c->joined)
		return;
	c->connect_ns = bpf_ktime_get_ns() - c->connecting_at;
	establish(ctx, c);
}

static __always_inline void connect_failed(struct connection *c)
{
	struct pair_value *value;

	if (c->ended || !c->tuple)
		return;
	c->ended = 1;
	if (claim(c, SETTLING))
		settle(c);
	value = pair_value_of(c);
	if (value)
		add(c->reset ? &value->refused : c->released ? &value->cancelled : &value->unreachable, 1);
	show_connection(c, FLOW_FAILED, c->reset ? FAILED_REFUSED : c->released ? FAILED_CANCELLED : FAILED_UNREACHABLE);
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
	if (claim(c, SETTLING)) { /* established, and no packet since */
		find_by_handshake(c);
		settle(c);
	}
	account(c, received_of(c, ctx->rcv_nxt));
	sample(c, ctx->srtt_us, ctx->total_retrans);
	/* an ingress segment may be under way on another CPU: then whoever holds the gate ends the connection */
	c->ending = 1;
	if (!enter(c))
		return;
	if (end_connection(c))
		FAIL_OUTSTANDING(fail_in_sock_ops, ctx);
	leave_or_look(c, 1);
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
	if (c->protocol == HTTP2)
		void_streams(c, bpf_sk_storage_get(&http2_streams, sk, 0, 0));
	/* no function of its own here (a program of this type passes no context to one), so only a few */
	for (int i = 0; i < 4; i++)
		if (!fail_front(c))
			return 1;
	c->void_before = c->asked;
	drop_void(c);
	return 1;
}

SEC("cgroup_skb/ingress")
int dns_ingress(struct __sk_buff *skb)
{
	if (is_dns(skb))
		see_dns(skb, IN);
	return PASS;
}

SEC("cgroup_skb/egress")
int dns_egress(struct __sk_buff *skb)
{
	if (is_dns(skb))
		see_dns(skb, OUT);
	return PASS;
}
