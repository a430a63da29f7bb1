/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The bytes that an application hands to its TLS library, or is handed: in their order, each once. */
#ifndef MESHTAP_PLAINTEXT_H
#define MESHTAP_PLAINTEXT_H

#include "lib/stream.h"

/* The next bytes, behind those that the window keeps. 0 = they are there. */
static __always_inline int fetch(SOURCE slot, struct connection *c, struct stream *s, __u64 rest, __u64 fresh)
{
	__u64 less = fresh - 1; /* as in segments.h */

	asm volatile("%0 &= 511" : "+r"(less));
	return less >= FRESH || bpf_probe_read_user(s->byte + rest, less + 1, (void *)(s->buffer + s->base));
}

#endif
