// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Reads inside TLS: what an application hands to its library for writing, and what it is handed by it. The protocols are
 * those of meshtap.bpf.c, and so are the maps that they count in.
 *
 *   enter_...                  a call begins: on which of the library's objects, and where do the bytes lie?
 *   leave_...                  it is over: so many bytes have passed, and on this connection
 *   unseen                     a call that sends bytes which no memory of the application holds
 *   over                       called by user space: a connection has ended
 *
 * The connection is that of the socket which the object's ClientHello passed, or, if it was open before anybody watched, of
 * the socket whose file descriptor the library itself reads from. It is looked up at each call, so nothing has to be
 * remembered of the library's objects, which come, go and are used again.
 */
#define INSIDE_TLS
#include "lib/steps.h"
#include "lib/descriptor.h"
#include "lib/hello.h"
#include "lib/openssl.h"
#include "lib/registers.h"

char LICENSE[] SEC("license") = "GPL"; /* the kernel has no word for the other choice */

/* The connections that are read: cookie of the socket to the place of its state. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} tls_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u32);
} free_slots SEC(".maps");

/* What an empty place looks like. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection);
} no_connection SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct http2);
} no_http2 SEC(".maps");

/*
 * Since when all calls of a process are seen, ns: written by user space when the last of its probes is there. Key 0 is for
 * processes that it has not met yet, whose file may be probed; 0 = no such time, and nothing new is read.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} tls_processes SEC(".maps");

/* The cgroup that is watched. A probe at a file is met by every process that has it mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

/* How many calls of a process were not read, because it is not certain on which socket they are. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} tls_uncertain SEC(".maps");

/*
 * No program is ever in here, and the call of one always fails. But a program that has such a call gets no stack of its
 * own for each CPU: those came with Linux 6.13, which takes it that probes are not preempted. Programs at functions of
 * applications are, and then two threads would run on one stack.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} no_programs SEC(".maps");

/* A program at functions of applications, as any of them has to begin. */
#define PROBE(section, name)                                        \
	static __always_inline int at_##name(struct registers *regs); \
	SEC(section) int name(struct registers *regs)               \
	{                                                           \
		bpf_tail_call(regs, &no_programs, 0);               \
		if (bpf_current_task_under_cgroup(&watched, 0) != 1) \
			return 0;                                   \
		return at_##name(regs);                             \
	}                                                           \
	static __always_inline int at_##name(struct registers *regs)

/* A call that has begun, by its thread. */
struct call {
	__u64 buffer;
	__u64 count_at; /* where the library writes how many bytes it were; 0 = it returns that */
	__u64 at;	/* ns */
	__u64 object;	/* the library's, for the connection */
	__u64 direction;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

/* Bytes of a connection have passed that were not read. */
__attribute__((noinline)) int miss(__u32 slot, __u32 direction)
{
	struct connection *c = connection_from(slot);

	if (!c || c->protocol == OPAQUE || stream_of(c, direction)->phase == UNSYNCED)
		return 0;
	lose(slot, direction);
	return 0;
}

/* Since when all calls of the running process are seen, 0 = not yet. */
static __always_inline __u64 probed_since(void)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32, any = 0;
	__u64 *since = bpf_map_lookup_elem(&tls_processes, &process);

	if (!since)
		since = bpf_map_lookup_elem(&tls_processes, &any);
	return since ? *since : 0;
}

/* Makes a place for a connection; -1 = there is none left. */
static __noinline int open_slot(__u64 cookie, struct tls_socket *socket)
{
	__u32 slot = 0, zero = 0;
	struct connection *c, *blank;
	struct http2 *blank_http2;
	__u64 probed = probed_since();

	if (!socket || !probed)
		return -1;
	blank = bpf_map_lookup_elem(&no_connection, &zero);
	blank_http2 = bpf_map_lookup_elem(&no_http2, &zero);
	if (!blank || !blank_http2 || bpf_map_pop_elem(&free_slots, &slot))
		return -1;
	bpf_map_update_elem(&tls_connections, &slot, blank, BPF_ANY);
	bpf_map_update_elem(&tls_http2, &slot, blank_http2, BPF_ANY);
	c = connection_from(slot);
	if (!c)
		return -1;
	c->tuple = cookie; /* which is as good to tell connections apart */
	c->cgroup = socket->cgroup;
	c->peer_cgroup = socket->peer_cgroup;
	__builtin_memcpy(c->local_address, socket->local_address, 16);
	__builtin_memcpy(c->remote_address, socket->remote_address, 16);
	__builtin_memcpy(c->name, socket->name, 16);
	c->local_port = socket->local_port;
	c->remote_port = socket->remote_port;
	c->role = socket->role;
	c->process = bpf_get_current_pid_tgid() >> 32;
	c->established = c->settled = 1;
	c->epoch = ~0u;
	if (socket->since > probed && !socket->missed) { /* all that ever passed in it was seen, but for what passes now */
		c->synced = 1;
		c->stream[IN].phase = c->stream[OUT].phase = START;
	} else {
		c->joined = 1;
	}
	if (bpf_map_update_elem(&tls_slots, &cookie, &slot, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_slots, &slot, 0);
		return -1;
	}
	return slot;
}

/* The place of a connection's state; -1 = it is not read. */
static __noinline int slot_of(__u64 cookie)
{
	/* asked for each time, so that those in use are not the ones that make room */
	struct tls_socket *socket = bpf_map_lookup_elem(&tls_sockets, &cookie);
	__u32 *found;
	int slot;

	if (!socket)
		return -1;
	found = bpf_map_lookup_elem(&tls_slots, &cookie);
	if (found)
		return *found;
	if (socket->ended_at)
		return -1;
	slot = open_slot(cookie, socket);
	if (slot < 0)
		socket->missed = 1;
	return slot;
}

static __noinline int note_uncertain(void)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32;
	__u64 first = 1, *calls_before = bpf_map_lookup_elem(&tls_uncertain, &process);

	if (calls_before)
		add(calls_before, 1);
	else
		bpf_map_update_elem(&tls_uncertain, &process, &first, BPF_NOEXIST);
	return -1;
}

/* The connection that an SSL object belongs to, or -1. */
static __noinline int slot_of_ssl(__u64 ssl)
{
	__u64 cookie = cookie_by_hello(ssl);
	int fd;

	if (!cookie) {
		fd = fd_of_ssl(ssl);
		if (fd < 0)
			return note_uncertain();
		cookie = cookie_of_fd(fd);
	}
	return cookie ? slot_of(cookie) : -1;
}

/* The end of a call was not seen, or it could not be kept: of a connection that is read, bytes may have passed. */
static __noinline int give_up_call(__u64 object, __u32 direction)
{
	__u64 cookie = cookie_by_hello(object);
	__u32 *slot;

	if (!cookie)
		cookie = cookie_of_fd(fd_of_ssl(object));
	slot = cookie ? bpf_map_lookup_elem(&tls_slots, &cookie) : 0;
	if (slot)
		miss(*slot, direction);
	return 0;
}

/* A call begins. count_at: as in struct call. */
static __always_inline int begin_call(struct registers *regs, __u32 direction, __u64 count_at)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct call call = {}, *before = bpf_map_lookup_elem(&calls, &thread);

	if (before)
		give_up_call(before->object, before->direction);
	call.buffer = ARGUMENT_2(regs);
	call.count_at = count_at;
	call.at = direction == OUT ? bpf_ktime_get_ns() : 0;
	call.object = ARGUMENT_1(regs);
	call.direction = direction;
	if (bpf_map_update_elem(&calls, &thread, &call, BPF_ANY))
		give_up_call(call.object, direction);
	return 0;
}

/* So many bytes have passed. */
static __noinline int take_bytes(const struct call *call, __u32 slot, __u32 count)
{
	struct connection *c;
	struct stream *s;
	__u64 from, to;

	if (!call)
		return 0;
	c = connection_from(slot);
	if (!c)
		return 0;
	s = stream_of(c, call->direction);
	s->buffer = call->buffer;
	s->now = call->direction == OUT ? call->at : bpf_ktime_get_ns();
	from = s->top;
	to = from + count;
	s->top = to;
	follow_era(c, s, call->direction, from);
	if (c->protocol == OPAQUE)
		return 0;
	if (s->phase == UNSYNCED)
		s->next = from;
	if (s->phase == UNTIL_CLOSE)
		s->next = to;
	else if (to > s->next || (to == s->next && s->passing))
		parse(slot, c, call->direction, s->next - from, to - s->next);
	return 0;
}

/*
 * A call is over. Only now is it asked which connection it was on: most calls that read do so in vain, and the handshake
 * may have been part of it.
 */
static __always_inline int end_call(struct registers *regs, __u32 direction)
{
	__u64 thread = bpf_get_current_pid_tgid(), count = 0;
	struct call call, *begun = bpf_map_lookup_elem(&calls, &thread);
	__s32 result = RESULT(regs);
	struct connection *c;
	int slot;

	if (!begun)
		return 0;
	call = *begun;
	bpf_map_delete_elem(&calls, &thread);
	if (result <= 0)
		return 0;
	slot = slot_of_ssl(call.object);
	if (slot < 0)
		return 0;
	c = connection_from(slot);
	if (!c || c->protocol == OPAQUE)
		return 0;
	if (c->process != thread >> 32) { /* handed on, and what passed before the probes were here was not seen */
		c->process = thread >> 32;
		miss(slot, IN);
		miss(slot, OUT);
	}
	if (call.direction != direction ||
	    (call.count_at && bpf_probe_read_user(&count, sizeof(count), (void *)call.count_at))) {
		miss(slot, call.direction);
		return 0;
	}
	return take_bytes(&call, slot, call.count_at ? count : result);
}

PROBE("uprobe", enter_read)
{
	return begin_call(regs, IN, 0);
}

PROBE("uprobe", enter_write)
{
	return begin_call(regs, OUT, 0);
}

PROBE("uprobe", enter_read_ex)
{
	return begin_call(regs, IN, ARGUMENT_4(regs));
}

PROBE("uprobe", enter_write_ex)
{
	return begin_call(regs, OUT, ARGUMENT_4(regs));
}

PROBE("uretprobe", leave_read)
{
	return end_call(regs, IN);
}

PROBE("uretprobe", leave_write)
{
	return end_call(regs, OUT);
}

PROBE("uprobe", unseen)
{
	int slot = slot_of_ssl(ARGUMENT_1(regs));

	if (slot >= 0)
		miss(slot, OUT);
	return 0;
}

/* One by one, as in meshtap.bpf.c. */
__attribute__((noinline)) int fail_inside(__u32 slot, __u32 failure)
{
	struct connection *c = connection_from(slot);

	if (!c)
		return 0;
	return (c->protocol == HTTP2 && fail_stream(c, http2_from(slot), failure, c->sampled_at)) ||
	       fail_front_at(c, failure, c->sampled_at);
}

__attribute__((noinline)) int void_inside(__u32 slot)
{
	struct connection *c = connection_from(slot);

	if (!c)
		return 0;
	if (c->protocol == HTTP2)
		void_streams(c, http2_from(slot));
	c->void_before = c->asked;
	drop_void(c);
	drop_answer(c, answer_of(c));
	return 0;
}

/*
 * A connection that nobody finds any more has ended. Arguments: its place; the time, ns; how, an enum failure and above
 * it whether the answering side had closed, or VOID where that is not known.
 */
#define ORDERLY 256
#define VOID 512

SEC("raw_tp/meshtap_over")
int over(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 slot = ctx->args[0], how = ctx->args[2];
	struct connection *c = connection_from(slot);

	if (!c)
		return 0;
	if (how & VOID) {
		void_inside(slot);
		return 0;
	}
	c->sampled_at = ctx->args[1];
	end_answers(c, how & ORDERLY, c->sampled_at);
	for (int i = 0; i < STREAMS; i++)
		if (!fail_inside(slot, how & 63))
			break;
	return 0;
}
