/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What addresses are called: the DNS names for which a service was told them. A name holds for whoever asked for it and
 * for nobody else, who may mean another one by the same address. Only addresses that are one peer otherwise, the
 * world, get names.
 */
#ifndef MESHTAP_NAMES_H
#define MESHTAP_NAMES_H

#include "lib/packet.h"
#include "lib/stream.h"

#define NANOSECONDS 1000000000ull

/* The answer under way: addresses in it are called so. */
struct naming {
	__u64 id, now;
	__u64 domain;  /* hash of all labels but the first */
	__u32 length;  /* of the name that was asked for, 0 = it gives none */
	__u32 reserved;
	struct dns_name name; /* in lower case */
	__u8 slack[SLACK];    /* zero: may be read behind the name, and written with it */
	struct named_key told;
};

/*
 * Of datagrams; not on the stack, of which there is too little. Only incoming ones give names, and no two of them are
 * under way on one CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct naming);
} naming SEC(".maps");

static __always_inline struct naming *naming_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&naming, &zero);
}

/* A in upper case has the bit 0x20 less. Lengths of labels are below all letters. */
static __always_inline __u64 lower(__u64 w)
{
	__u64 high = 0x8080808080808080ull, low7 = w & ~high;
	__u64 from_a = low7 + 0x3f3f3f3f3f3f3f3full, beyond_z = low7 + 0x2525252525252525ull;

	return w | ((from_a & ~beyond_z & ~w & high) >> 2);
}

/* Of a name, in lower case: whoever answers may have changed that (RFC 4343). */
__attribute__((noinline)) __u64 hash_name(struct __sk_buff *skb, __u32 at, __u32 length)
{
	__u64 hash = length;

	for (int i = 0; i < 32; i++) {
		__u64 word = 0, less = length - 1;

		if (length >= 8) {
			if (bpf_skb_load_bytes(skb, at, &word, 8))
				break;
			at += 8;
			length -= 8;
		} else {
			asm volatile("%0 &= 7" : "+r"(less));
			if (!length || bpf_skb_load_bytes(skb, at, &word, less + 1))
				break;
			length = 0;
		}
		hash = mix(hash, lower(word));
	}
	return hash;
}

/* Of labels of the name under way: as hash_name() has it. */
static __always_inline __u64 hash_labels(const struct naming *n, __u32 at, __u32 length)
{
	__u64 hash = length;

	for (int i = 0; i < 32 && length; i++) {
		__u64 place = at, word;

		asm volatile("%0 &= 255" : "+r"(place));
		word = *(__u64 *)(n->name.byte + place);
		if (length < 8) {
			word &= FIRST(length);
			length = 8;
		}
		hash = mix(hash, word);
		at += 8;
		length -= 8;
	}
	return hash;
}

static __always_inline void begin_naming(struct naming *n, __u64 cgroup)
{
	n->told.cgroup = cgroup;
	n->id = 0;
	n->now = bpf_ktime_get_ns();
}

/* Addresses of this datagram are called so: a name in this place of it. */
__attribute__((noinline)) int load_name(struct __sk_buff *skb, __u32 at, __u32 length)
{
	struct naming *n = naming_here();
	__u64 *word, less = length - 1;

	if (!n)
		return 0;
	n->length = 0;
	word = (__u64 *)n->name.byte;
	for (int i = 0; i < 32; i++)
		word[i] = 0;
	asm volatile("%0 &= 255" : "+r"(less));
	if (!length || bpf_skb_load_bytes(skb, at, n->name.byte, less + 1))
		return 0;
	for (int i = 0; i < 32; i++)
		word[i] = lower(word[i]);
	n->length = length;
	return 0;
}

/* Finds the id of the name under way. Not before there is an address to it: other names take no room. */
static __always_inline void find_name(struct naming *n)
{
	__u32 first = 1 + n->name.byte[0];

	if (!n->length || n->id)
		return;
	n->domain = hash_labels(n, first, n->length - first);
	n->id = TAKE_INDEX(dns_names, free_names, &n->name, 0ull);
	if (!n->id) {
		note(ROLE_CLIENT, NAMES_OVERFLOWED, 1);
		n->length = 0;
	}
}

/* The service was told one more name for an address, or one of those again. A name without an id is unknown for good. */
static __always_inline void tell(const struct naming *n, __u64 until)
{
	struct named next = {}, *last = bpf_map_lookup_elem(&named, &n->told);

	if (!n->id && !last)
		return;
	next.name = n->id;
	next.until = until;
	next.domain = n->domain;
	if (last && last->other != n->id && n->now < last->other_until) {
		next.other = last->other;
		next.other_until = last->other_until;
	}
	if (last && last->name != n->id && n->now < last->until) {
		next.other = next.other || !last->name ? NAME_MANY : last->name;
		if (next.other_until < last->until)
			next.other_until = last->until;
	}
	if (next.other && last && last->domain != next.domain)
		next.domain = 0;
	bpf_map_update_elem(&named, &n->told, &next, BPF_ANY);
}

/* The address in `told` has the name under way. */
static __noinline int give_name(struct naming *n, __u32 ttl)
{
	struct prefix_key address = { .bits = 128 };
	__u32 *verdict;

	if (!n)
		return 0;
	__builtin_memcpy(address.address, n->told.address, 16);
	verdict = bpf_map_lookup_elem(&prefixes, &address);
	if (!verdict || *verdict != PREFIX_WORLD)
		return 0;
	find_name(n);
	if (ttl < NAME_LIVES)
		ttl = NAME_LIVES;
	if (ttl > NAME_LIVES_AT_MOST)
		ttl = NAME_LIVES_AT_MOST;
	tell(n, n->now + ttl * NANOSECONDS);
	return 0;
}

/* The name under way is that of the address in this place of a datagram. */
__attribute__((noinline)) int remember(struct __sk_buff *skb, __u32 at, __u32 ipv6, __u32 ttl)
{
	struct naming *n = naming_here();
	__u8 address[16] = { [10] = 0xff, [11] = 0xff };

	if (!n || (ipv6 ? bpf_skb_load_bytes(skb, at, address, 16) : bpf_skb_load_bytes(skb, at, address + 12, 4)))
		return 0;
	__builtin_memcpy(n->told.address, address, 16);
	return give_name(n, ttl);
}

/* The name for which this service was told the address last, and another one if that lives as well. */
static __always_inline int recall(__u64 cgroup, const __u8 *address, __u64 *name)
{
	struct named_key key = { .cgroup = cgroup };
	__u64 now = bpf_ktime_get_ns();
	struct named *found;

	if (!address || !name)
		return 0;
	__builtin_memcpy(key.address, address, 16);
	found = bpf_map_lookup_elem(&named, &key);
	if (!found || now > found->until + NAME_GRACE * NANOSECONDS)
		return 0;
	name[1] = now < found->other_until ? found->other : 0;
	if (name[1] == NAME_MANY && found->domain)
		name[1] = NAME_SIBLINGS;
	name[0] = found->name;
	return 1;
}

#endif
