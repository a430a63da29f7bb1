/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What crosses to user space while somebody watches: one struct for each thing that happened (lib/flows.h). */
#ifndef MESHTAP_WIRE_FLOWS_H
#define MESHTAP_WIRE_FLOWS_H

#include "wire/counts.h"

enum flow_kind {
	FLOW_REQUEST, /* an exchange is over */
	FLOW_OPENED,  /* a connection is established */
	FLOW_CLOSED,  /* ... and has ended; how: an enum failure */
	FLOW_FAILED,  /* ... or never was; how: an enum flow_failed */
};

enum flow_failed { FAILED_REFUSED, FAILED_CANCELLED, FAILED_UNREACHABLE };

/* What the text of a flow is. */
enum flow_text {
	TEXT_NONE,
	TEXT_LINE,    /* HTTP/1: what there was of the request from its first byte on */
	TEXT_PATH,    /* HTTP/2: the path as it was sent */
	TEXT_HUFFMAN, /* ... in HPACK's Huffman code */
	TEXT_INDEX,   /* ... as an index of HPACK's static table, in place of its length */
};

enum flow_bound {
	FLOW_TEXT = 152,
	FLOW_TRACE = 32,
	FLOW_WINDOW = 27, /* the rate is limited in windows of 2^27 ns, an eighth of a second */
};

/* What is kept of a request until it is over. */
struct flow_note {
	__u8 text[FLOW_TEXT];
	__u8 trace[FLOW_TRACE]; /* trace-id of its traceparent (W3C Trace Context), as it was sent; zeros = none */
	__u8 text_form, text_bytes;
	__u8 reserved[6];
	__u64 at; /* ns */
};

struct flow_note_key {
	__u64 connection;
	__u32 number; /* of the request: HTTP/1, how many were before it, times 2; HTTP/2, its stream, which is odd */
	__u32 role; /* of the end: both may be here, and watched */
};

struct flow_event {
	__u64 at;	  /* ns, CLOCK_MONOTONIC: when it was over */
	__u64 duration;	  /* ns: of an exchange; of a client's connect */
	__u64 first_byte; /* ns, 0 = no answer began */
	__u64 connection; /* the same in all flows of a connection, at one end */
	struct pair_key pair;
	struct http_key series; /* of an exchange; its pair is not set */
	__u8 local_address[16], remote_address[16];
	__u16 local_port, remote_port; /* host byte order */
	__u32 number; /* of the exchange, as in flow_note_key */
	__u8 kind, how;
	__u8 text_form, text_bytes;
	__u8 reserved[4];
	__u8 trace[FLOW_TRACE];
	__u8 text[FLOW_TEXT];
};

/* Written by user space, but for the last two. */
struct watching {
	__u32 on;    /* 1: somebody watches */
	__u32 quota; /* events in one window */
	__u64 window, taken;
};

enum flow_outcome {
	FLOWS_SHOWN,
	FLOWS_LIMITED, /* beyond the quota */
	FLOWS_FULL,    /* no room in the ring */
	FLOW_OUTCOMES = 8, /* a cache line */
};

/* By stripe: what became of events while somebody watched. */
struct flow_counts {
	__u64 count[FLOW_OUTCOMES];
};

/* As wire_enums. */
struct wire_flows {
	enum flow_kind flow_kind;
	enum flow_failed flow_failed;
	enum flow_text flow_text;
	enum flow_bound flow_bound;
	enum flow_outcome flow_outcome;
	struct flow_event flow_event;
};
#ifdef __bpf__
const struct wire_flows *unused_wire_flows __attribute__((unused));
#endif

#endif
