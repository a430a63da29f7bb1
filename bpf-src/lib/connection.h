/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is known of one socket. It lives and dies with the socket. */
#ifndef MESHTAP_CONNECTION_H
#define MESHTAP_CONNECTION_H

#include "lib/maps.h"

/*
 * What the programs that look at a connection are handed, and what they find it by: a packet, or, inside TLS, where
 * there are no sockets and no locks, the place of its state. There an application's own order is what keeps two
 * threads from one connection: no TLS library lets them use it at once.
 */
#ifdef INSIDE_TLS
#define SOURCE __u32
#define LOCK __u32
#define take(lock) ((void)(lock))
#define leave(lock) ((void)(lock))
#else
#define SOURCE struct __sk_buff *
#define LOCK struct bpf_spin_lock
#define take bpf_spin_lock
#define leave bpf_spin_unlock
#endif

#define OUTSTANDING 32 /* requests kept per connection; a power of two */
#define ROOT_CGROUP 1  /* whoever has no cgroup of its own: its address says more */

enum direction { IN, OUT };

enum protocol {
	UNCLASSIFIED,
	HTTP1,
	HTTP2,
	DNS,
	OPAQUE, /* not HTTP, or no longer, or lost for good: bytes are counted, content is not looked at */
};

/* What the parser of one direction expects next. */
enum phase {
	UNSYNCED,   /* a segment that begins with a request */
	START,	    /* the first line of a message */
	FIRST_LINE, /* the end of a request's first line */
	HEAD,	    /* the end of the line it is in */
	LINE,	    /* a header line, from its first byte */
	BODY,	    /* the end of the body */
	CHUNK_SIZE,
	CHUNK_DATA, /* the end of the chunk and its line end */
	TRAILER,    /* a trailer line, from its first byte */
	TRAILER_REST,
	UNTIL_CLOSE,
};

/*
 * A parser reads consecutive bytes of its direction in a window: what it left of the segment before, then the
 * segment's. Where they come from, and in which pieces, it does not know.
 */
#define REST 64	   /* a parser leaves fewer bytes than this for later */
#define FRESH 448  /* so many of a segment are looked at at a time */
#define WINDOW 512 /* both; a power of two */
#define SLACK 64   /* may be read behind the window, and makes no sense */

/* One direction. Positions are sequence numbers widened to 64 bits. */
struct stream {
	__u64 top;    /* after the highest byte seen */
	__u64 whole;  /* incoming: up to here everything has passed, and no hole is left */
	__u64 next;   /* the byte that belongs behind those in the window, or the end of what is passed over */
	__u64 fin;    /* position of FIN, 0 = none yet */
	__u64 began;  /* ns: when the first byte of the message passed, 0 = between messages */
	__u64 length; /* Content-Length, if has_length */
	__u64 now;    /* ns: time of the bytes under the parser */
#ifdef INSIDE_TLS
	__u64 buffer; /* of the application: where the bytes lie */
#endif
	__u64 skip;   /* bytes, from `at` on, that the parser wants to be passed over */
	__u32 base, left; /* the segment's bytes that are not yet in the window: where, how many */
	__u32 era;	  /* of the connection, when this direction last looked */
	__u32 early_seq;  /* the piece under the parser, if from_early */
	__u16 at, end;	  /* the parser's place in the window; the end of what is in there */
	__u16 newline;	  /* the one that was found last */
	__u16 status;
	__u8 phase;
	__u8 method;
	__u8 version;
	__u8 has_length;
	__u8 chunked;
	__u8 passing; /* next is ahead: the parser is called again when it is reached, whether or not there is more */
	__u8 from_early;
	__u8 pad[1];
	__u8 byte[WINDOW + SLACK];
};

/* Where in the target of a request the walk to its route is. */
enum walk_place {
	NOWHERE, /* there are no routes */
	AWAITED, /* HTTP/2: a header block has begun */
	IN_METHOD,
	AT_TARGET,
	IN_AUTHORITY,
	IN_PATH,
	AT_FIRST_DIGIT, /* behind % */
	AT_SECOND_DIGIT,
	BEHIND_PATH,
	LOST_WAY, /* the patterns changed meanwhile */
};

struct walk {
	__u32 epoch; /* of the table */
	__u16 start, state;
	__u8 place;
	__u8 digit;   /* the first one behind % */
	__u8 node;    /* of Huffman code */
	__u8 in_line; /* a space ends the target */
};

enum claim { JOINING = 1, SETTLING = 2, COUNTING_TLS = 4 };

struct connection {
	LOCK lock; /* guards gate, claimed and the list of early pieces; no helper runs under it */
	__u32 gate;
	__u64 cgroup;
	__u8 local_address[16], remote_address[16];
	__u16 local_port, remote_port; /* host byte order */
	__u16 early;		       /* pieces kept */
	__u8 role, protocol;

	/* one byte each: both directions set them without a lock */
	__u8 claimed;	   /* enum claim, several */
	__u8 joined;	   /* was open before its first packet was seen: no sock_ops callback tells of its end */
	__u8 established;  /* set when all that its first segment needs is there */
	__u8 settled;	   /* the pair is known, what happened before is counted */
	__u8 counted_http; /* has spoken HTTP/1 */
	__u8 pipelined;	   /* more than one request was outstanding at some time */
	__u8 finished_in, finished_out, reset, released;
	__u8 ending, ended;
	__u8 synced;
	__u8 tls;	   /* carries it */
	__u8 recalled;	   /* name is looked up */
	__u64 tuple; /* hash of the four above */
	__u32 active_isn, passive_isn; /* first sequence number of each side's data: the same at both ends */
	__u64 connecting_at, connect_ns;

	/* indices of its series, valid for one epoch */
	__u32 epoch, pair, series;
	__u64 series_tag;
	__u64 peer_cgroup;
	__u64 name[2]; /* under which the remote address was asked for, 0 = none */

#ifdef INSIDE_TLS
	__u32 process; /* that used it last */
#endif
	__u64 tls_cookie; /* of the socket, if it carries TLS that may be read inside; 0 = it does not */

	__u64 sent_to, sampled_at; /* sent_to, received_to: bytes up to there are counted */
	__u32 received_to, retransmits;

	__u32 era, void_before;
	__u32 asked, answered;		   /* requests put into and taken out of the ring */
	__u32 untracked, untracked_answered; /* those that found it full */
	__u64 outstanding[OUTSTANDING];	   /* when each began, ns, above its method and version */
	__u16 route[OUTSTANDING];
	struct walk walk; /* of the direction that asks */
	__u16 scope;	  /* of the server's routes */
	__u16 unused;
	struct stream stream[2];
};

static __always_inline __u64 position(const struct stream *s, __u32 seq)
{
	return s->top + (__s32)(seq - (__u32)s->top);
}

#ifndef INSIDE_TLS

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

/*
 * The two ends of a connection on one machine find each other by the sequence numbers of their handshake, which
 * both know, which no one else has, and which survive address translation and network namespaces.
 */
struct handshake_key {
	__u32 active_isn, passive_isn;
};

struct handshake {
	__u64 active_cgroup, passive_cgroup; /* 0 = that end has not said */
	__u64 met;			     /* the client has read it */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handshake_key);
	__type(value, struct handshake);
} handshakes SEC(".maps");

/* True for the one who is first to begin something that is done once. */
static __always_inline int claim(struct connection *c, __u8 what)
{
	int first;

	take(&c->lock);
	first = !(c->claimed & what);
	c->claimed |= what;
	leave(&c->lock);
	return first;
}

/*
 * A socket's storage, made if it has none; 0 = no memory. Two CPUs that make it at once are both refused but one
 * (bpf_local_storage_update(): -EEXIST or -EAGAIN), and the others find what that one made.
 */
#define MAKE_STORAGE(map, sk)                                                                                     \
	({                                                                                                        \
		struct bpf_sock *owner_ = (sk);                                                                   \
		void *storage_ = bpf_sk_storage_get(map, owner_, 0, BPF_SK_STORAGE_GET_F_CREATE);                 \
                                                                                                                  \
		storage_ ? storage_ : bpf_sk_storage_get(map, owner_, 0, 0);                                      \
	})

/* Full sockets only: neither listeners' requests nor TIME_WAIT have any. */
static __always_inline struct connection *connection_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&connections, sk, 0, 0) : 0;
}

static __always_inline struct connection *connection_from(SOURCE skb)
{
	return connection_of(skb->sk);
}

#else

/* ... or, inside TLS, places that user space hands out. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct connection);
} tls_connections SEC(".maps");

static __always_inline struct connection *connection_from(SOURCE slot)
{
	return bpf_map_lookup_elem(&tls_connections, &slot);
}

#endif

#endif
