/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Stands in for libbpf's header of this name: the programs of bpf-src compile as they are and run in user space, where
 * a fuzzer and sanitizers can watch them.
 */
#ifndef FUZZ_BPF_HELPERS_H
#define FUZZ_BPF_HELPERS_H

#include "kernel.h"

#define SEC(name)
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")

#define LENGTH_OF(array) (sizeof(*(array)) / sizeof(**(array)))
#define MAP_OF(map, key_size)                                                                                       \
	map_of(map, LENGTH_OF((map)->type), key_size, sizeof(*(map)->value), LENGTH_OF((map)->max_entries))
#define MAP(map) MAP_OF(map, sizeof(*(map)->key))
#define QUEUE(map) MAP_OF(map, 0)

#define bpf_map_lookup_elem(map, key_) (called(), map_lookup(MAP(map), key_))
#define bpf_map_update_elem(map, key_, value_, flags) (called(), map_update(MAP(map), key_, value_, flags))
#define bpf_map_delete_elem(map, key_) (called(), map_delete(MAP(map), key_))
#define bpf_map_push_elem(map, value_, flags) (called(), queue_push(QUEUE(map), value_))
#define bpf_map_pop_elem(map, value_) (called(), queue_pop(QUEUE(map), value_))
#define bpf_sk_storage_get(map, sk, value_, flags) (called(), storage_get(map, sizeof(*(map)->value), sk, flags))
#define bpf_skb_load_bytes(skb, offset, to, length_) \
	(called(), load_bytes((const struct packet *)(skb), offset, to, length_))
#define bpf_ktime_get_ns() (called(), kernel.now)
#define bpf_get_smp_processor_id() (kernel.cpu)
#define bpf_spin_lock(l) ((void)(l), lock())
#define bpf_spin_unlock(l) ((void)(l), unlock())
#define bpf_sk_cgroup_id(sk) (called(), ((struct socket *)(sk))->cgroup)
#define bpf_tcp_sock(sk) (called(), tcp_of(sk))
#define bpf_sk_lookup_tcp(skb, tuple, size, netns, flags) (called(), kernel.find_socket(tuple, size))
#define bpf_sk_lookup_udp(skb, tuple, size, netns, flags) (called(), kernel.find_socket(tuple, size))
#define bpf_get_socket_cookie(skb_) (called(), (__u64)(unsigned long)(skb_)->sk)
#define bpf_sk_release(sk) ((void)(sk))
/* Nobody reads the ring: what was written is only held to its size. */
#define bpf_ringbuf_reserve(ring, size, flags) (called(), kernel.no_memory ? 0 : malloc(size))
#define bpf_ringbuf_submit(event, flags) (called(), free(event))
#define bpf_sock_ops_cb_flags_set(ctx, flags) ((void)(ctx))

#endif
