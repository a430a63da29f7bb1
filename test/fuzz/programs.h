/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The programs of bpf-src in user space, and the maps that they share with user space. */
#ifndef FUZZ_PROGRAMS_H
#define FUZZ_PROGRAMS_H

#include "kernel.h"
#include "wire/counts.h"
#include "wire/flows.h"

int ingress(struct __sk_buff *skb);
int egress(struct __sk_buff *skb);
int dns_ingress(struct __sk_buff *skb);
int dns_egress(struct __sk_buff *skb);
int sock_ops(struct bpf_sock_ops *context);
int release(struct bpf_sock *sk);

/* Constant only to the programs. */
extern volatile __u64 boundaries[32];
extern volatile __u32 stripes_mask;

struct maps {
	struct map *pairs, *pair_values, *free_pairs, *http_series, *http_values, *free_series, *ledgers, *control, *watching;
	struct map *dns_pending, *dns_series, *dns_values, *free_dns_series, *dns_names, *free_names, *named;
};

struct maps shared_maps(void);

#endif
