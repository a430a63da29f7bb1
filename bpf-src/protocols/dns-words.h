/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Words and limits of messages of DNS (RFC 1035 4). */
#ifndef MESHTAP_DNS_WORDS_H
#define MESHTAP_DNS_WORDS_H

#include "lib/maps.h"

#define DNS_HEADER 12
#define QUESTION 4 /* behind its name: type and class */
#define MAX_NAME 255	/* RFC 1035 2.3.4 */
#define MAX_LABELS 127	/* ... of one byte each, at most */
#define RECORD_STEPS 96 /* labels and records of an answer that are looked at */
#define CLASS_IN 1

#define DNS_RESPONSE 0x8000
#define DNS_OPCODE 0x7800
#define DNS_RCODE 0x000f

enum dns_type {
	TYPE_A = 1, TYPE_NS = 2, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_PTR = 12, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28,
	TYPE_SRV = 33, TYPE_NAPTR = 35, TYPE_DS = 43, TYPE_DNSKEY = 48, TYPE_SVCB = 64, TYPE_HTTPS = 65, TYPE_ANY = 255,
	TYPE_CAA = 257,
};

/* Types that are told apart; all others are 0. */
static __always_inline __u16 known_type(__u16 type)
{
	switch (type) {
	case TYPE_A: case TYPE_NS: case TYPE_CNAME: case TYPE_SOA: case TYPE_PTR: case TYPE_MX: case TYPE_TXT: case TYPE_AAAA:
	case TYPE_SRV: case TYPE_NAPTR: case TYPE_DS: case TYPE_DNSKEY: case TYPE_SVCB: case TYPE_HTTPS: case TYPE_ANY: case TYPE_CAA:
		return type;
	}
	return 0;
}

static __always_inline __u64 kind_of(__u16 type)
{
	switch (type) {
	case TYPE_A:
		return RECORD_A;
	case TYPE_AAAA:
		return RECORD_AAAA;
	case TYPE_CNAME:
		return RECORD_CNAME;
	case TYPE_PTR:
		return RECORD_PTR;
	case TYPE_SRV:
		return RECORD_SRV;
	case TYPE_TXT:
		return RECORD_TXT;
	case TYPE_MX:
		return RECORD_MX;
	}
	return RECORD_OTHER;
}

#endif
