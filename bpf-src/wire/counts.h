/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What crosses from the kernel to user space. The TypeScript side of every struct here is generated from the
 * object's BTF (src/bpf/generated/), so this is the only place where a field is written down.
 *
 * A pair is one local service (its cgroup), one remote end and one server port, seen from one side. A request
 * series is a pair and what is known of the exchange. Both are keys of a hash that gives an index; the counts lie
 * in an array at that index, once per stripe (a stripe is shared by a few CPUs and written atomically).
 */
#ifndef MESHTAP_WIRE_COUNTS_H
#define MESHTAP_WIRE_COUNTS_H

#define BUCKETS 24 /* a histogram has at most 23 boundaries; the last bucket used is +Inf */

/* Indices 0 and 1 of both arrays are the overflow series of each side: what exceeds the budget is counted there. */
enum slot { OVERFLOW_CLIENT, OVERFLOW_SERVER, FIRST_INDEX };

enum role { ROLE_UNKNOWN, ROLE_CLIENT, ROLE_SERVER, ROLES };

enum peer_kind {
	PEER_ADDRESS, /* peer holds an IPv6 address, or an IPv4-mapped one */
	PEER_CGROUP,  /* peer starts with the cgroup id of the other socket, which is on this machine */
	PEER_PREFIX,  /* peer starts with the id (u32) that user space gave to a prefix */
	PEER_WORLD,   /* an address that user space declared not to be worth a series of its own */
	PEER_NAME,    /* the same, but peer holds one or two ids (u64) of DNS names it was asked for by */
};

enum method {
	METHOD_OTHER, /* "_OTHER" in the semantic conventions */
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_CONNECT,
	METHOD_OPTIONS,
	METHOD_TRACE,
	METHOD_PATCH,
	METHOD_UNKNOWN, /* only a part of the HPACK table that was not seen could tell */
};

enum http_version { HTTP_1_0, HTTP_1_1, HTTP_2 };

/* The status of an answer of which only a part of the HPACK table that was not seen could tell it. */
#define STATUS_UNKNOWN 1

/* What a gRPC call came to: a code (https://grpc.io/docs/guides/status-codes/) plus 1, or why there is none. */
enum grpc_status {
	GRPC_NONE, /* no gRPC */
	GRPC_OK,
	GRPC_CANCELLED,
	GRPC_UNKNOWN,
	GRPC_INVALID_ARGUMENT,
	GRPC_DEADLINE_EXCEEDED,
	GRPC_NOT_FOUND,
	GRPC_ALREADY_EXISTS,
	GRPC_PERMISSION_DENIED,
	GRPC_RESOURCE_EXHAUSTED,
	GRPC_FAILED_PRECONDITION,
	GRPC_ABORTED,
	GRPC_OUT_OF_RANGE,
	GRPC_UNIMPLEMENTED,
	GRPC_INTERNAL,
	GRPC_UNAVAILABLE,
	GRPC_DATA_LOSS,
	GRPC_UNAUTHENTICATED,
	GRPC_OTHER,   /* none of these */
	GRPC_MISSING, /* the answer has none */
	GRPC_LOST,    /* only a part of the HPACK table that was not seen could tell, or whether it is gRPC at all */
};

/* Why an exchange has no complete answer. With a status: the head came, the body did not end as it should. */
enum failure {
	FAILURE_NONE,
	FAILURE_RESET,	 /* RST, from either side */
	FAILURE_CLOSED,	 /* orderly close before the answer was complete */
	FAILURE_TIMEOUT, /* the kernel gave the connection up */
	FAILURE_GOAWAY,	 /* HTTP/2: the server said that it will not answer it on this connection */
	/* HTTP/2: RST_STREAM, from either side, by its error code (RFC 9113 7) */
	FAILURE_STREAM_NO_ERROR,
	FAILURE_STREAM_PROTOCOL_ERROR,
	FAILURE_STREAM_INTERNAL_ERROR,
	FAILURE_STREAM_FLOW_CONTROL_ERROR,
	FAILURE_STREAM_SETTINGS_TIMEOUT,
	FAILURE_STREAM_STREAM_CLOSED,
	FAILURE_STREAM_FRAME_SIZE_ERROR,
	FAILURE_STREAM_REFUSED_STREAM,
	FAILURE_STREAM_CANCEL,
	FAILURE_STREAM_COMPRESSION_ERROR,
	FAILURE_STREAM_CONNECT_ERROR,
	FAILURE_STREAM_ENHANCE_YOUR_CALM,
	FAILURE_STREAM_INADEQUATE_SECURITY,
	FAILURE_STREAM_HTTP_1_1_REQUIRED,
	FAILURE_STREAM_OTHER,
};

struct histogram {
	__u64 sum; /* ns */
	__u64 bucket[BUCKETS];
};

struct pair_key {
	__u64 cgroup; /* of the local socket, 0 = not known */
	__u8 peer[16];
	__u16 port; /* of the server, host byte order */
	__u8 role;
	__u8 peer_kind;
	__u32 reserved; /* zero */
};

struct pair_value {
	__u64 opened;	      /* connections established */
	__u64 closed;	      /* ... that ended in order */
	__u64 reset;	      /* ... that ended by RST */
	__u64 timed_out;      /* ... that the kernel gave up */
	__u64 refused;	      /* connects answered by RST */
	__u64 unreachable;    /* connects that timed out or that the network refused */
	__u64 cancelled;      /* connects that the application gave up */
	__u64 bytes_sent;     /* payload, without retransmissions */
	__u64 bytes_received; /* payload, in order, acknowledged */
	__u64 retransmits;    /* segments */
	__u64 tls;	      /* connections found to carry TLS */
	__u64 tls_decoded;    /* ... of which the inside is read */
	struct histogram connect; /* client: from SYN to established */
	struct histogram rtt;	  /* smoothed, sampled at most once a second and at the end */
};

struct http_key {
	__u32 pair; /* index of the pair */
	__u16 status;
	__u8 method;
	__u8 version;
	__u8 failure;
	__u8 tls; /* 1: the bytes were read inside TLS */
	__u16 route;
	__u16 rpc_method; /* id of a gRPC call's path, or an enum rpc_method */
	__u8 grpc_status;
	__u8 reserved; /* zero */
};

/* Ids of methods that are none. */
enum rpc_method {
	RPC_METHOD_NONE,     /* no gRPC, or not known */
	RPC_METHOD_OVERFLOW, /* too long, or there were too many others */
	FIRST_RPC_METHOD,
};

/* A gRPC call's path, "/package.Service/Method", as it was sent: as it is, or in HPACK's Huffman code. */
struct rpc_method_key {
	__u8 length;
	__u8 huffman;
	__u8 byte[126]; /* zeros behind its end */
};

struct http_value {
	struct histogram duration; /* first byte of the request to last byte of the answer */
	struct histogram first_byte; /* first byte of the request to first byte of the answer */
};

/* DNS: a pair, a type of query, and what came of it. */
struct dns_key {
	__u32 pair;    /* index of the pair */
	__u16 type;    /* of RFC 1035 3.2.2 and its successors, 0 = none that is told apart */
	__u8 outcome;  /* the RCODE of the answer, or DNS_ASKED */
	__u8 addresses; /* in the answer, at most DNS_ADDRESSES */
};

enum dns_outcome { DNS_ASKED = 16 };

enum dns_bound {
	DNS_ADDRESSES = 16,
	DNS_PATIENCE = 10,	    /* seconds that an answer may take */
	NAME_LIVES = 60,	    /* seconds that a name holds for an address: its TTL, but at least so long */
	NAME_LIVES_AT_MOST = 86400, /* ... and at most */
	NAME_GRACE = 600,	    /* ... and so long after it: people go on with what they were told */
};

enum dns_record {
	RECORD_OTHER,
	RECORD_A,
	RECORD_AAAA,
	RECORD_CNAME,
	RECORD_PTR,
	RECORD_SRV,
	RECORD_TXT,
	RECORD_MX,
	DNS_RECORDS,
};

struct dns_value {
	__u64 queries;		   /* DNS_ASKED: begun */
	__u64 unanswered;	   /* ... and given up */
	__u64 record[DNS_RECORDS]; /* answers: records in them */
	struct histogram duration; /* answers: query to answer */
};

/* A query on its way. The cookie stands for the socket, and so for its network namespace too. */
struct dns_pending_key {
	__u64 cookie;
	__u64 name; /* hash of it */
	__u8 client[16]; /* of a server's socket, which has many; or zero */
	__u16 client_port, id, type;
	__u16 role;
};

struct dns_pending {
	__u64 at; /* ns: when it was sent */
	struct pair_key pair;
};

/* As on the wire (RFC 1035 3.1), in lower case: labels behind their lengths. Zeros behind its end. */
struct dns_name {
	__u8 byte[256];
};

/* In place of the second name: there are more, ... */
#define NAME_MANY (~0ull)
/* ... all below the same domain as the first. */
#define NAME_SIBLINGS (~1ull)

struct named_key {
	__u64 cgroup; /* of whoever asked */
	__u8 address[16];
};

/* Ids of names, which are never given twice. */
struct named {
	__u64 name, other;	  /* the one it was told last, and one before that, which still lives; 0 = none */
	__u64 until, other_until; /* ns, CLOCK_MONOTONIC: end of their TTL */
	__u64 domain;		  /* hash of the domain that all of them are below, 0 = there are several */
};

/*
 * The ledger. Each request seen ends in exactly one of answered, failed or a reason why not; what is missing from
 * the sum is in flight. Each response seen is matched (it answered a request), interim, or a reason.
 */
enum ledger_entry {
	REQUESTS_SEEN,
	REQUESTS_ANSWERED,	 /* counted in a series with a status */
	REQUESTS_FAILED,	 /* counted in a series with an error only */
	REQUESTS_DESYNCHRONISED, /* bytes were missed, the answer can not be told apart */
	REQUESTS_PIPELINE_FULL,	 /* more requests outstanding on one connection than are kept */
	RESPONSES_SEEN,
	RESPONSES_MATCHED,
	RESPONSES_INTERIM,	 /* 100 to 199 but 101 */
	RESPONSES_JOINED_MIDWAY, /* the request passed before this agent or before it synchronised */
	RESPONSES_PIPELINE_FULL,
	RESPONSES_DESYNCHRONISED, /* begun, and then bytes were missed or made no sense */
	RESPONSES_ABANDONED,	 /* HTTP/2: of a stream that was reset before */
	CONNECTIONS_HTTP1,
	CONNECTIONS_HTTP2,
	CONNECTIONS_TLS,	 /* recognised by its records */
	CONNECTIONS_OTHER,	 /* no protocol that is known here */
	CONNECTIONS_UNTRACKED,	 /* no memory for the socket's state */
	LOST_SYNC,		 /* times a connection missed bytes or made no sense, whatever it cost */
	SEGMENTS_EARLY,		 /* segments that came before their turn and were kept */
	SEGMENTS_EARLY_DROPPED,	 /* ... and found no room */
	EXCHANGES_UNKNOWN,	 /* answered or failed too; a part of HPACK's table that was not seen left something unknown */
	METHODS_OVERFLOWED,	 /* gRPC calls whose method is not told apart */
	QUERIES_SEEN,		 /* DNS; what is neither of the next two nor in flight is unanswered */
	QUERIES_ANSWERED,	 /* counted in a series with a code */
	QUERIES_UNTRACKED,	 /* ... and found no room to wait for its answer */
	QUERIES_REPEATED,	 /* sent again before it was answered: the same query */
	ANSWERS_SEEN,		 /* DNS */
	ANSWERS_UNMATCHED,	 /* nobody waits for it: late, sent twice, or nobody ever asked */
	MESSAGES_MALFORMED,	 /* at the port of DNS, but no query nor an answer to one */
	LOOKUPS_OVERFLOWED,	 /* queries and answers counted in an overflow series */
	NAMES_OVERFLOWED,	 /* DNS answers whose name found no room: their addresses have none */
	SERIES_OVERFLOWED,	 /* exchanges counted in an overflow series (they are in answered or failed too) */
	PAIRS_OVERFLOWED,	 /* connections counted in an overflow pair */
	CONNECTIONS_TLS_DECODED, /* (they are in CONNECTIONS_TLS too) HTTP is read inside */
	CONNECTIONS_DNS,
	LEDGER_ENTRIES,
	LEDGER_ROOM = 64, /* and LEDGER_ROLES, powers of two: a place is found by shifts and masks, which any verifier follows */
	LEDGER_ROLES = 4,
};

struct ledger {
	__u64 count[LEDGER_ROLES][LEDGER_ROOM];
};

/* Value ids of the prefix trie below FIRST_PREFIX are verdicts, not names. */
enum prefix_verdict { PREFIX_ADDRESS, PREFIX_WORLD, FIRST_PREFIX = 16 };

struct prefix_key {
	__u32 bits; /* 96 + the IPv4 prefix length for IPv4 */
	__u8 address[16];
};

/* Ids of routes that are none. */
enum route {
	ROUTE_NONE,  /* nobody asked for routes of this service, or it can not be told */
	ROUTE_OTHER, /* of those there are, none matches */
	FIRST_ROUTE,
};

enum route_bound {
	ROUTE_PAGE = 4096,	/* words */
	ROUTE_METHODS = 16,	/* words of a choice, by enum method */
	ROUTE_SCOPE_WORDS = 4,
	ROUTE_LIVES = 86400,	/* seconds that an exchange may take and still say its route */
};

/* Which of the two tables is in force (epoch & 1), 0 = none. */
struct routing {
	__u32 epoch;
	__u32 untold; /* scope of servers that are not in route_scopes; 0 = none */
};

/*
 * An automaton, and what its ends mean, in 16-bit words: transitions by state and class; from choice_of on, by state, the
 * choice among routes that there is if a path ends there (0 = none; of authorities, 0 = it is none); from route on, by
 * choice and method, the route; from scope on, by scope, the state it begins in (0 = it has no patterns) and the choices
 * of "/" and "/index.html".
 */
struct route_table {
	__u32 first_page;
	__u32 classes;
	__u32 choice_of, route, scope;
	__u32 scopes;
	__u32 absolute; /* state in which "http://authority" begins */
	__u32 reserved;
	__u8 class_of[512]; /* by byte, or 256 and the byte that %XX stands for */
};

struct route_page {
	__u16 word[ROUTE_PAGE];
};

/* A server as a pair knows it: its end and its port. */
struct server_key {
	__u8 peer[16];
	__u16 port;
	__u8 peer_kind;
	__u8 reserved[5]; /* zero */
};

/* HPACK's Huffman code (RFC 7541 appendix B): by node of its tree and the next four bits, the node they lead to. */
struct huffman_code {
	__u32 step[256 * 16]; /* node; above it the symbol that was completed, if HUFFMAN_SYMBOL is set */
};

enum huffman_flag { HUFFMAN_SYMBOL = 0x10000 };

/* Written by user space only. */
struct control {
	__u32 epoch; /* a new value makes every socket look its indices up again */
	__u32 decode_tls; /* 1: programs that read inside TLS want to know which connections carry it */
};

/* Every enum above: the variable brings them into the object's BTF. */
struct wire_enums {
	enum slot slot;
	enum role role;
	enum peer_kind peer_kind;
	enum method method;
	enum http_version http_version;
	enum failure failure;
	enum grpc_status grpc_status;
	enum rpc_method rpc_method;
	enum ledger_entry ledger_entry;
	enum prefix_verdict prefix_verdict;
	enum dns_outcome dns_outcome;
	enum dns_bound dns_bound;
	enum dns_record dns_record;
	enum route route;
	enum route_bound route_bound;
	enum huffman_flag huffman_flag;
};
#ifdef __bpf__
const struct wire_enums *unused_wire_enums __attribute__((unused));
#endif

#endif
