/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which connection an SSL object of OpenSSL is: by the random bytes of its ClientHello, which it keeps, or by the file
 * descriptor that it reads from.
 *
 * The random bytes lie where struct ssl_st has them (ssl/ssl_local.h; since 3.2 struct ssl_connection_st), which differs
 * by version. All places are tried: 32 random bytes that a socket's peer was sent are nowhere else by accident.
 *
 * The file descriptor that an SSL object of OpenSSL 3.0 and 3.1 reads from (ssl/ssl_local.h: struct ssl_st;
 * crypto/bio/bio_local.h: struct bio_st). A BIO of the library's own kind for sockets says so itself: by the type in its
 * table of methods (include/openssl/bio.h: BIO_TYPE_SOCKET). Where anything differs, another version or a BIO that
 * somebody wrote, the answer is -1: nothing is guessed.
 */
#ifndef MESHTAP_OPENSSL_H
#define MESHTAP_OPENSSL_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "lib/maps.h"

#define SSL_RBIO 0x10
#define BIO_TYPE_SOCKET (5 | 0x0400 | 0x0100)

struct openssl_bio {
	__u64 context, method;
	__u64 callback, callback_ex, callback_argument;
	__s32 init, shutdown, flags, retry_reason;
	__s32 fd;
};

static __noinline int fd_of_ssl(__u64 ssl)
{
	struct openssl_bio bio;
	__u64 rbio = 0;
	__s32 type = 0;

	if (bpf_probe_read_user(&rbio, sizeof(rbio), (void *)(ssl + SSL_RBIO)) ||
	    bpf_probe_read_user(&bio, sizeof(bio), (void *)rbio) ||
	    bpf_probe_read_user(&type, sizeof(type), (void *)bio.method))
		return -1;
	return type == BIO_TYPE_SOCKET && bio.init == 1 ? bio.fd : -1;
}

struct openssl_layout {
	__u32 state;  /* where a pointer to what holds the random bytes is, 0 = the object itself holds them */
	__u32 random; /* where they are */
	__u32 server; /* where a word tells which side this is: 0 or 1 */
};

static const struct openssl_layout openssl_layouts[] = {
	{ .random = 0x160, .server = 0x38 },		    /* 3.0, 3.1 */
	{ .random = 0x188, .server = 0x78 },		    /* from 3.2.4 and 3.3.3 on */
	{ .random = 0x180, .server = 0x70 },		    /* 3.2 and 3.3 before */
	{ .state = 0xa8, .random = 0xb8, .server = 0x38 }, /* 1.1.1 */
};

/* The cookie of the socket whose ClientHello is this object's, or 0. */
static __noinline __u64 cookie_by_hello(__u64 ssl)
{
	struct tls_hello hello = {};
	__u64 *cookie, holder;
	__u32 server = 0;

	hello.cgroup = bpf_get_current_cgroup_id();
#pragma unroll
	for (__u32 i = 0; i < sizeof(openssl_layouts) / sizeof(openssl_layouts[0]); i++) {
		const struct openssl_layout *layout = &openssl_layouts[i];

		holder = ssl;
		if ((layout->state && bpf_probe_read_user(&holder, sizeof(holder), (void *)(ssl + layout->state))) ||
		    bpf_probe_read_user(hello.random, sizeof(hello.random), (void *)(holder + layout->random)) ||
		    bpf_probe_read_user(&server, sizeof(server), (void *)(ssl + layout->server)))
			continue;
		hello.server = server;
		cookie = bpf_map_lookup_elem(&tls_hellos, &hello);
		if (cookie)
			return *cookie == AMBIGUOUS_HELLO ? 0 : *cookie;
	}
	return 0;
}

#endif
