/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which connection an object of a TLS library is: by the 32 random bytes of its ClientHello, which went over the wire in
 * plain text and which every library keeps.
 *
 * They lie where the library's struct has them, and that differs by version. All places are tried: what a socket's peer
 * was sent at random is nowhere else by accident. So a layout that is not known means no answer, never a wrong one.
 */
#ifndef MESHTAP_HELLO_H
#define MESHTAP_HELLO_H

#include "lib/maps.h"

struct layout {
	__u32 state;  /* where a pointer to what holds the random bytes is, 0 = the object itself holds them */
	__u32 random; /* where they are */
	__u32 side;   /* where a word is in the object that is 1 for a server, and for a client something else */
};

/*
 * OpenSSL: ssl/ssl_local.h, struct ssl_st, since 3.2 struct ssl_connection_st.
 * GnuTLS: lib/gnutls_int.h, security_parameters_st, with which a session begins.
 */
static const struct layout layouts[] = {
	{ .random = 0x160, .side = 0x38 },		  /* OpenSSL 3.0, 3.1 */
	{ .random = 0x188, .side = 0x78 },		  /* from 3.2.4 and 3.3.3 on */
	{ .random = 0x180, .side = 0x70 },		  /* 3.2 and 3.3 before */
	{ .state = 0xa8, .random = 0xb8, .side = 0x38 }, /* 1.1.1 */
	{ .random = 0x50, .side = 0 },			  /* GnuTLS, seen in 3.7 */
};

/* The cookie of the socket whose ClientHello is this object's, or 0. */
static __noinline __u64 cookie_by_hello(__u64 object)
{
	struct tls_hello hello = {};
	__u64 *cookie, holder;
	__u32 side = 0;

	hello.cgroup = bpf_get_current_cgroup_id();
#pragma unroll
	for (__u32 i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		const struct layout *layout = &layouts[i];

		holder = object;
		if ((layout->state && bpf_probe_read_user(&holder, sizeof(holder), (void *)(object + layout->state))) ||
		    bpf_probe_read_user(hello.random, sizeof(hello.random), (void *)(holder + layout->random)) ||
		    bpf_probe_read_user(&side, sizeof(side), (void *)(object + layout->side)))
			continue;
		hello.server = side == 1;
		cookie = bpf_map_lookup_elem(&tls_hellos, &hello);
		if (cookie)
			return *cookie == AMBIGUOUS_HELLO ? 0 : *cookie;
	}
	return 0;
}

#endif
