/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The file descriptor that an SSL object of OpenSSL 3.0 and 3.1 reads from (ssl/ssl_local.h: struct ssl_st;
 * crypto/bio/bio_local.h: struct bio_st). A BIO of the library's own kind for sockets says so itself: by the type in its
 * table of methods (include/openssl/bio.h: BIO_TYPE_SOCKET). Where anything differs, another version or a BIO that
 * somebody wrote, the answer is -1: nothing is guessed.
 */
#ifndef MESHTAP_OPENSSL_H
#define MESHTAP_OPENSSL_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

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

#endif
