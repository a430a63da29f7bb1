/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * DNS over TCP (RFC 7766): messages, each behind its length, as many at a time and answered in such order as either
 * side likes. Each is read field by field, so it may be cut anywhere. What is of no interest, or makes no sense, is passed
 * over: the length tells where the next one begins.
 */
#ifndef MESHTAP_DNS_STREAM_H
#define MESHTAP_DNS_STREAM_H

#include "lib/stream.h"
#include "protocols/dns-counts.h"
#include "protocols/dns-words.h"

#define DNS_LENGTH 2
#define SHORTEST_MESSAGE (DNS_HEADER + 1 + QUESTION)
#define RECORD_FIXED 10	   /* type, class, TTL, length of the data */
#define LONGEST_LABEL 63
#define KNOWN_OPCODE 6	   /* the highest (RFC 8490) */

/* What one direction expects next. */
enum dns_phase {
	AT_LENGTH,
	AT_HEADER,
	AT_LABEL,    /* of the question's name */
	AT_QUESTION, /* its type and class */
	AT_RECORD,   /* a label of a record's name, or what comes behind it */
	AT_END,	     /* nothing but the end of the message */
};

/* The message under way in one direction. */
struct dns_message {
	__u64 end;     /* position in the stream */
	__u64 began;   /* ns */
	__u64 records; /* by kind, eight bits each */
	struct dns_pending_key key;
	__u16 flags, answers;
	__u8 phase;
	__u8 steps;    /* labels and records that are still looked at */
	__u8 answer;   /* it is one, and to what was asked is known */
	__u8 awaited;  /* ... a query of this very socket */
	__u8 naming_it; /* its addresses get the name that was asked for */
	__u8 reserved[7];
	struct naming naming;
};

struct dns_stream {
	struct dns_message message[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_stream);
} dns_streams SEC(".maps");

static __always_inline struct dns_stream *dns_stream_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&dns_streams, sk, 0, 0) : 0;
}

static __always_inline struct dns_message *message_of(struct dns_stream *d, __u32 direction)
{
	__u64 which = direction == OUT;

	asm volatile("%0 &= 1" : "+r"(which));
	return &d->message[which];
}

enum dns_sign { DNS_NO, DNS_YES, DNS_PERHAPS };

/*
 * Whether what the window holds begins like a message of DNS of this direction: a length that has room for one, the
 * header of a query or of an answer, one question. strict: in the middle of a connection, where it may be anything.
 */
static __always_inline int begins_dns(const struct connection *c, const struct stream *s, __u32 direction, int strict)
{
	__u16 port = c->role == ROLE_CLIENT ? c->remote_port : c->local_port;
	__u64 at = bounded(s->at), first = __builtin_bswap64(eight(s, at)), second = __builtin_bswap64(eight(s, at + 8));
	__u32 length = first >> 48, flags = first >> 16 & 0xffff, questions = first & 0xffff, answers = second >> 48;
	int request = is_request(c, direction);

	if (port != DNS_PORT || (!strict && !request))
		return DNS_NO;
	if (s->end - at < DNS_LENGTH + DNS_HEADER)
		return strict ? DNS_NO : DNS_PERHAPS;
	if ((flags & DNS_RESPONSE) == (request ? DNS_RESPONSE : 0) || length < DNS_HEADER)
		return DNS_NO;
	if (!(flags & DNS_OPCODE))
		return questions == 1 && length >= SHORTEST_MESSAGE && (!request || !answers) ? DNS_YES : DNS_NO;
	return !strict && (flags & DNS_OPCODE) >> 11 <= KNOWN_OPCODE && questions <= 1 ? DNS_YES : DNS_NO;
}

/* From here on the connection speaks DNS. Both directions may find out. STOP: there is no memory for it. */
static __always_inline int become_dns(SOURCE source, struct connection *c, struct stream *s)
{
	struct bpf_sock *sk = source->sk;
	int first;

	if (!sk)
		return STOP;
	if (!MAKE_STORAGE(&dns_streams, sk)) {
		note(c->role, CONNECTIONS_UNTRACKED, 1);
		c->protocol = OPAQUE;
		return STOP;
	}
	take(&c->lock);
	first = c->protocol == UNCLASSIFIED;
	if (first)
		c->protocol = DNS;
	leave(&c->lock);
	if (first)
		count_protocol(c, CONNECTIONS_DNS);
	if (c->protocol != DNS)
		return STOP;
	s->phase = START;
	return AGAIN;
}

/* Bytes of this direction were missed. What is under way in the other one does not depend on them. */
static __always_inline int lose_dns(struct connection *c, struct stream *s)
{
	note(c->role, LOST_SYNC, 1);
	s->phase = UNSYNCED;
	empty_window(s);
	return STOP;
}

/* The parser's place in the stream. */
static __always_inline __u64 here(const struct stream *s)
{
	return s->next - (s->end - s->at);
}

/* What comes is not looked at. */
static __always_inline int pass_message(struct dns_message *m, struct stream *s)
{
	m->phase = AT_END;
	s->skip = m->end - here(s);
	return s->skip ? WAIT : AGAIN;
}

static __always_inline int refuse_message(struct connection *c, struct dns_message *m, struct stream *s)
{
	note(c->role, MESSAGES_MALFORMED, 1);
	return pass_message(m, s);
}

static __always_inline int begin_message(struct dns_message *m, struct stream *s, __u64 at, __u32 n)
{
	if (n < DNS_LENGTH)
		return WAIT;
	s->at = at + DNS_LENGTH;
	m->end = here(s) + (__builtin_bswap64(eight(s, at)) >> 48);
	m->began = s->now;
	m->records = 0;
	m->answer = m->awaited = m->naming_it = 0;
	m->phase = AT_HEADER;
	return AGAIN;
}

static __always_inline int take_header(struct connection *c, struct dns_message *m, struct stream *s, __u32 direction,
				       __u64 at, __u32 n)
{
	__u64 first = __builtin_bswap64(eight(s, at));
	__u64 *word = (__u64 *)m->naming.name.byte;

	if (m->end - here(s) < SHORTEST_MESSAGE)
		return refuse_message(c, m, s);
	if (n < DNS_HEADER)
		return WAIT;
	m->key.id = *(__u16 *)(s->byte + at);
	m->flags = first >> 32;
	m->answers = first;
	if (m->flags & DNS_OPCODE || (first >> 16 & 0xffff) != 1 ||
	    (m->flags & DNS_RESPONSE) == (is_request(c, direction) ? DNS_RESPONSE : 0))
		return refuse_message(c, m, s);
	for (int i = 0; i < 32; i++)
		word[i] = 0;
	m->naming.length = 0;
	s->at = at + DNS_HEADER;
	m->phase = AT_LABEL;
	return AGAIN;
}

/* In lower case, as whoever answers may have changed that (RFC 4343). What is copied with it is overwritten by the next. */
static __always_inline int take_label(struct connection *c, struct dns_message *m, struct stream *s, __u64 at, __u32 n)
{
	__u32 length = s->byte[at], place = m->naming.length;
	__u64 to = place, keep = length ? ~0ull : 0;

	if (!n)
		return WAIT;
	if (length > LONGEST_LABEL || place + 1 + length > MAX_NAME || m->end - here(s) < 1 + length + QUESTION)
		return refuse_message(c, m, s);
	if (n < 1 + length)
		return WAIT;
	asm volatile("%0 &= 255" : "+r"(to));
#pragma unroll
	for (int i = 0; i <= LONGEST_LABEL; i += 8)
		*(__u64 *)((__u8 *)&m->naming.name + to + i) = lower(eight(s, at + i)) & keep;
	s->at = at + 1 + length;
	m->naming.length = place + 1 + length;
	if (!length)
		m->phase = AT_QUESTION;
	return AGAIN;
}

/* Whom the connection is with: the pair of a datagram between the same two. */
static __always_inline void dns_pair_of(struct connection *c, struct pair_key *pair)
{
	__builtin_memset(pair, 0, sizeof(*pair));
	pair->cgroup = c->cgroup;
	pair->role = c->role;
	pair->port = DNS_PORT;
	name_peer(c, pair);
}

/* The question is known, so it is known which query this is, or answers. */
static __always_inline int take_question(SOURCE source, struct connection *c, struct dns_message *m, struct stream *s,
					 __u64 at, __u32 n)
{
	struct dns_pending query = {}, *before;

	if (n < QUESTION)
		return WAIT;
	s->at = at + QUESTION;
	m->key.cookie = bpf_get_socket_cookie(source);
	m->key.name = hash_labels(&m->naming, 0, m->naming.length);
	m->key.type = known_type(__builtin_bswap64(eight(s, at)) >> 48);
	m->key.role = c->role;
	if (!(m->flags & DNS_RESPONSE)) {
		query.at = m->began;
		dns_pair_of(c, &query.pair);
		count_query(&m->key, &query);
		return pass_message(m, s);
	}
	m->answer = 1;
	before = bpf_map_lookup_elem(&dns_pending, &m->key);
	m->awaited = before && m->began < before->at + DNS_PATIENCE * NANOSECONDS;
	m->naming_it = m->awaited && c->role == ROLE_CLIENT && !(m->flags & DNS_RCODE) &&
		       (m->key.type == TYPE_A || m->key.type == TYPE_AAAA);
	begin_naming(&m->naming, c->cgroup);
	m->steps = RECORD_STEPS;
	m->phase = AT_RECORD;
	return AGAIN;
}

/* A label of a record's name, or what comes behind the name (RFC 1035 4.1.3). */
static __always_inline int take_record(struct dns_message *m, struct stream *s, __u64 at, __u32 n)
{
	__u32 label = s->byte[at], ttl, fixed = label ? 2 : 1;
	__u64 left = m->end - here(s), record;
	__u16 type, class, length;

	if (!m->awaited || !m->answers || !m->steps || !left || m->records & 0x8080808080808080ull)
		return pass_message(m, s);
	if (!n)
		return WAIT;
	if (label > LONGEST_LABEL && label < 192)
		return pass_message(m, s);
	if (label && label <= LONGEST_LABEL) {
		if (left <= 1 + label)
			return pass_message(m, s);
		m->steps--;
		s->skip = 1 + label;
		return WAIT;
	}
	if (left < fixed + RECORD_FIXED)
		return pass_message(m, s);
	if (n < fixed + RECORD_FIXED)
		return WAIT;
	at += fixed;
	record = __builtin_bswap64(eight(s, at));
	type = record >> 48;
	class = record >> 32;
	ttl = record;
	length = __builtin_bswap64(eight(s, at + 8)) >> 48;
	if (left < fixed + RECORD_FIXED + length)
		return pass_message(m, s);
	if (m->naming_it && class == CLASS_IN &&
	    ((type == TYPE_A && length == 4) || (type == TYPE_AAAA && length == 16))) {
		__u64 *address = (__u64 *)m->naming.told.address;

		if (n < fixed + RECORD_FIXED + length)
			return WAIT;
		at += RECORD_FIXED;
		address[0] = type == TYPE_A ? 0 : eight(s, at);
		address[1] = type == TYPE_A ? eight(s, at) << 32 | 0xffff0000 : eight(s, at + 8);
		give_name(&m->naming, ttl);
	}
	m->records += 1ull << 8 * (kind_of(type) & 7);
	m->answers--;
	m->steps--;
	s->skip = fixed + RECORD_FIXED + length;
	return WAIT;
}

/* The last byte of a message has passed. */
static __always_inline int end_dns_message(struct connection *c, struct dns_message *m, struct stream *s)
{
	struct dns_key series = {};
	struct pair_key pair;
	__u64 since;

	m->phase = AT_LENGTH;
	if (!m->answer)
		return AGAIN;
	note(c->role, ANSWERS_SEEN, 1);
	since = m->awaited ? take_pending(&m->key, s->now) : 0;
	if (!since) {
		note(c->role, ANSWERS_UNMATCHED, 1);
		return AGAIN;
	}
	dns_pair_of(c, &pair);
	series.type = m->key.type;
	series.outcome = m->flags & DNS_RCODE;
	count_answer(&pair, &series, m->records, s->now > since ? s->now - since : 0);
	return AGAIN;
}

/* One step of the parser. */
static __always_inline int dns_step(SOURCE source, struct connection *c, struct dns_message *m, struct stream *s,
				    __u32 direction)
{
	__u64 at = bounded(s->at);
	__u32 n = s->end - at;

	if (s->phase == UNSYNCED) {
		if (begins_dns(c, s, direction, 1) != DNS_YES)
			return STOP;
		s->phase = START;
		m->phase = AT_LENGTH;
	}
	switch (m->phase) {
	case AT_LENGTH:
		return begin_message(m, s, at, n);
	case AT_HEADER:
		return take_header(c, m, s, direction, at, n);
	case AT_LABEL:
		return take_label(c, m, s, at, n);
	case AT_QUESTION:
		return take_question(source, c, m, s, at, n);
	case AT_RECORD:
		return take_record(m, s, at, n);
	}
	return end_dns_message(c, m, s);
}

#endif
