/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where the state of HTTP/2 lies: with the socket, or, inside TLS, beside that of the connection. */
#ifndef MESHTAP_HTTP2_STATE_H
#define MESHTAP_HTTP2_STATE_H

#ifdef INSIDE_TLS

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct http2);
} tls_http2 SEC(".maps");

static __always_inline struct http2 *http2_from(SOURCE slot)
{
	return bpf_map_lookup_elem(&tls_http2, &slot);
}

#define new_http2 http2_from /* it was made empty when the slot was taken */

#else

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct http2);
} http2_streams SEC(".maps");

static __always_inline struct http2 *http2_of(struct bpf_sock *sk)
{
	return sk ? bpf_sk_storage_get(&http2_streams, sk, 0, 0) : 0;
}

static __always_inline struct http2 *http2_from(SOURCE skb)
{
	return http2_of(skb->sk);
}

static __always_inline struct http2 *new_http2(SOURCE skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? MAKE_STORAGE(&http2_streams, sk) : 0;
}

#endif

#endif
