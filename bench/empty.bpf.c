// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Programs of the same kinds and names as meshtap's that do nothing: what the kernel's own statistics say of them is
 * what measuring costs.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	return 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return 1;
}

SEC("cgroup_skb/ingress")
int dns_ingress(struct __sk_buff *skb)
{
	return 1;
}

SEC("cgroup_skb/egress")
int dns_egress(struct __sk_buff *skb)
{
	return 1;
}

SEC("sockops")
int sock_ops(struct bpf_sock_ops *ctx)
{
	return 1;
}

SEC("cgroup/sock_release")
int release(struct bpf_sock *sk)
{
	return 1;
}
