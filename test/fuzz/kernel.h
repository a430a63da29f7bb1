/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The kernel as the programs meet it, in user space. Maps are memory of their own per entry, so that a step beyond a
 * value is seen; time, CPU and sockets are what the harness says.
 */
#ifndef FUZZ_KERNEL_H
#define FUZZ_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/bpf.h>

#define CHECK(condition, ...)                                                                                     \
	do {                                                                                                      \
		if (!(condition)) {                                                                               \
			fprintf(stderr, "\n%s:%d: " #condition ": ", __FILE__, __LINE__);                         \
			fprintf(stderr, __VA_ARGS__);                                                             \
			fprintf(stderr, "\n");                                                                    \
			abort();                                                                                  \
		}                                                                                                 \
	} while (0)

#define CPUS 2

struct entry {
	void *key, *value;
};

struct map {
	const void *definition;
	__u32 type, key_size, value_size, max_entries;
	struct entry *entries; /* an array's are at their index, and come when they are first looked at */
	__u32 count, room;
	__u32 used[1024]; /* indices of an array */
};

/* What programs see of a socket, and what is the kernel's own. */
struct socket {
	struct bpf_sock sk; /* first: programs hand it back as the socket */
	struct bpf_tcp_sock tcp;
	__u64 cgroup;
	struct storage {
		const void *map;
		void *value;
	} storage[5]; /* one more than there are */
};

struct packet {
	struct __sk_buff skb; /* first, as above */
	const __u8 *bytes;
	__u32 length;
};

#define MAPS 48
#define GARBAGE 1024 /* more than one run of a program deletes */

struct kernel {
	__u64 now; /* ns */
	__u32 cpu;
	__u32 calls;		 /* of helpers, since the harness cleared it */
	bool no_memory;		 /* nothing new can be allocated */
	__u32 most_entries;	 /* of a least-recently-used hash; 0 = as it says */
	bool locked;		 /* a spin lock is held */
	struct bpf_sock *(*find_socket)(const struct bpf_sock_tuple *tuple, __u32 size);

	__u32 *verdict; /* what the trie says of all addresses */
	struct map map[MAPS];
	__u32 maps;
	void *garbage[GARBAGE]; /* freed when no program runs */
	__u32 garbage_count;
};

extern struct kernel kernel;

/* Called by every helper. */
void called(void);

/* The map behind a definition of bpf-src; made when it is first asked for. */
struct map *map_of(const void *definition, __u32 type, __u32 key_size, __u32 value_size, __u32 max_entries);
void *map_lookup(struct map *map, const void *key);
long map_update(struct map *map, const void *key, const void *value, __u64 flags);
long map_delete(struct map *map, const void *key);
long queue_push(struct map *map, const void *value);
long queue_pop(struct map *map, void *value);
/* All maps as they are when they are created. */
void clear_maps(void);

void *storage_get(const void *map, __u32 size, struct bpf_sock *sk, __u64 flags);
void free_storage(struct socket *socket);
struct bpf_tcp_sock *tcp_of(struct bpf_sock *sk);
long load_bytes(const struct packet *packet, __u32 offset, void *to, __u32 length);
void lock(void);
void unlock(void);

/* To be called when no program runs: until then a program may use what is deleted. */
void collect_garbage(void);

#endif
