/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Messages of DNS that are a datagram each. They are read where they lie, a few bytes at a time, each time with the
 * bounds checked: they may be anybody's.
 */
#ifndef MESHTAP_DNS_MESSAGE_H
#define MESHTAP_DNS_MESSAGE_H

#include "lib/names.h"
#include "lib/packet.h"
#include "protocols/dns-words.h"

/* One message, as far as it is read. */
struct message {
	__u32 name, end; /* where the question's name begins and ends */
	__u16 id, flags, answers, type;
};

/* Behind a name, or 0 if it makes no sense. Compression has no place in a question. */
__attribute__((noinline)) int skip_name(struct __sk_buff *skb, __u32 at)
{
	__u32 start = at;

	for (int i = 0; i <= MAX_LABELS; i++) {
		__u8 length;

		if (bpf_skb_load_bytes(skb, at, &length, 1) || length > 63)
			return 0;
		at += 1 + length;
		if (!length)
			return at - start > MAX_NAME ? 0 : at;
	}
	return 0;
}

/* A query or an answer with one question; of other operations (RFC 6895 2.2) nothing is told. */
static __always_inline int read_message(struct __sk_buff *skb, __u32 payload, struct message *m)
{
	__u16 header[6];

	if (bpf_skb_load_bytes(skb, payload, header, DNS_HEADER))
		return 0;
	m->id = header[0];
	m->flags = bpf_ntohs(header[1]);
	m->answers = bpf_ntohs(header[3]);
	if (m->flags & DNS_OPCODE || header[2] != bpf_htons(1))
		return 0;
	m->name = payload + DNS_HEADER;
	m->end = skip_name(skb, m->name);
	if (!m->end || bpf_skb_load_bytes(skb, m->end, header, QUESTION))
		return 0;
	m->type = known_type(bpf_ntohs(header[0]));
	return 1;
}

#define NO_MORE 14   /* the records end here, or make no sense */
#define NO_RECORD 15 /* a label of a record's name */

/*
 * A label of a record's name, or what comes behind the name (RFC 1035 4.1.3). Gives the offset of what comes next, and
 * from bit 32 on the kind of the record. A function of its own, so that the verifier knows nothing of its result.
 */
__attribute__((noinline)) __u64 read_record(struct __sk_buff *skb, __u32 at, __u32 named)
{
	__u16 record[5], type, length; /* type, class, TTL, length of the data */
	__u8 label;

	if (bpf_skb_load_bytes(skb, at, &label, 1) || (label > 63 && label < 192))
		return (__u64)NO_MORE << 32;
	if (label && label < 64)
		return (__u64)NO_RECORD << 32 | (at + 1 + label);
	at += label ? 2 : 1;
	if (bpf_skb_load_bytes(skb, at, record, 10))
		return (__u64)NO_MORE << 32;
	at += 10;
	type = bpf_ntohs(record[0]);
	length = bpf_ntohs(record[4]);
	if (named && record[1] == bpf_htons(CLASS_IN) &&
	    ((type == TYPE_A && length == 4) || (type == TYPE_AAAA && length == 16)))
		remember(skb, at, type == TYPE_AAAA, (__u32)bpf_ntohs(record[2]) << 16 | bpf_ntohs(record[3]));
	return kind_of(type) << 32 | (at + length);
}

/*
 * Counts the records of an answer by kind, eight bits each. `named`: its addresses get the name under way.
 */
__attribute__((noinline)) __u64 read_answer(struct __sk_buff *skb, __u32 at, __u32 left, __u32 named)
{
	__u64 records = 0;

	for (int i = 0; i < RECORD_STEPS && left; i++) {
		__u64 next = read_record(skb, at, named), kind = next >> 32 & 15;

		at = next;
		if (kind == NO_RECORD)
			continue;
		if (kind == NO_MORE)
			break;
		left--;
		records += 1ull << 8 * (kind & 7);
		if (records & 0x8080808080808080ull)
			break;
	}
	return records;
}

#endif
