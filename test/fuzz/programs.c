/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "programs.h"

/*
 * BPF instructions in `asm volatile (...)` bound what is bounded already, for verifiers that have lost sight of it: here
 * they are left out, so that the sanitizers see if one was needed.
 */
#define asm
#define volatile(...)
#define const
#include "meshtap.bpf.c"
#undef const
#undef volatile
#undef asm

struct maps shared_maps(void)
{
	return (struct maps){
		.pairs = MAP(&pairs),
		.pair_values = MAP(&pair_values),
		.free_pairs = QUEUE(&free_pairs),
		.http_series = MAP(&http_series),
		.http_values = MAP(&http_values),
		.free_series = QUEUE(&free_series),
		.ledgers = MAP(&ledgers),
		.control = MAP(&control),
		.watching = MAP(&watching),
		.dns_pending = MAP(&dns_pending),
		.dns_series = MAP(&dns_series),
		.dns_values = MAP(&dns_values),
		.free_dns_series = QUEUE(&free_dns_series),
		.dns_names = MAP(&dns_names),
		.free_names = QUEUE(&free_names),
		.named = MAP(&named),
	};
}
