/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#include "kernel.h"
#include <errno.h>

struct kernel kernel;

void called(void)
{
	CHECK(!kernel.locked, "a helper is called under a spin lock");
	kernel.calls++;
}

static void free_later(void *memory)
{
	CHECK(kernel.garbage_count < GARBAGE, "too much is deleted at once");
	kernel.garbage[kernel.garbage_count++] = memory;
}

void collect_garbage(void)
{
	while (kernel.garbage_count)
		free(kernel.garbage[--kernel.garbage_count]);
}

struct map *map_of(const void *definition, __u32 type, __u32 key_size, __u32 value_size, __u32 max_entries)
{
	struct map *map;

	for (map = kernel.map; map < kernel.map + kernel.maps; map++)
		if (map->definition == definition)
			return map;
	CHECK(kernel.maps < sizeof(kernel.map) / sizeof(*kernel.map), "more maps than the harness has room for");
	kernel.maps++;
	*map = (struct map){ definition, type, key_size, value_size, max_entries };
	if (type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY)
		map->entries = calloc(max_entries * CPUS, sizeof(*map->entries));
	return map;
}

static void forget_entry(struct map *map, __u32 index)
{
	free_later(map->entries[index].key);
	free_later(map->entries[index].value);
	memmove(map->entries + index, map->entries + index + 1, (--map->count - index) * sizeof(*map->entries));
}

static struct entry *append_entry(struct map *map)
{
	if (map->count == map->room)
		map->entries = realloc(map->entries, (map->room = map->room * 2 + 8) * sizeof(*map->entries));
	return &map->entries[map->count++];
}

static struct entry *find_entry(struct map *map, const void *key)
{
	for (__u32 i = 0; i < map->count; i++)
		if (!memcmp(map->entries[i].key, key, map->key_size))
			return &map->entries[i];
	return 0;
}

void *map_lookup(struct map *map, const void *key)
{
	struct entry *entry;
	__u32 index;

	switch (map->type) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		index = *(__u32 *)key;
		if (index >= map->max_entries)
			return 0;
		if (map->type == BPF_MAP_TYPE_PERCPU_ARRAY)
			index = index * CPUS + kernel.cpu;
		entry = &map->entries[index];
		if (!entry->value) {
			CHECK(map->count < sizeof(map->used) / sizeof(*map->used), "an array is used more than expected");
			map->used[map->count++] = index;
			entry->value = calloc(1, map->value_size);
		}
		return entry->value;
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
		entry = find_entry(map, key);
		return entry ? entry->value : 0;
	case BPF_MAP_TYPE_LPM_TRIE:
		return kernel.verdict;
	}
	CHECK(0, "no lookup in a map of type %u", map->type);
	return 0;
}

long map_update(struct map *map, const void *key, const void *value, __u64 flags)
{
	bool lru = map->type == BPF_MAP_TYPE_LRU_HASH;
	__u32 most = lru && kernel.most_entries ? kernel.most_entries : map->max_entries;
	struct entry *entry;

	CHECK(lru || map->type == BPF_MAP_TYPE_HASH, "no update of a map of type %u", map->type);
	entry = find_entry(map, key);
	if (entry && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!entry && map->count >= most) {
		if (!lru)
			return -E2BIG;
		forget_entry(map, 0);
	}
	if (entry) { /* an update is a new element, too */
		free_later(entry->value);
	} else {
		entry = append_entry(map);
		entry->key = memcpy(malloc(map->key_size), key, map->key_size);
	}
	entry->value = memcpy(malloc(map->value_size), value, map->value_size);
	return 0;
}

long map_delete(struct map *map, const void *key)
{
	struct entry *entry = find_entry(map, key);

	if (!entry)
		return -ENOENT;
	forget_entry(map, entry - map->entries);
	return 0;
}

long queue_push(struct map *map, const void *value)
{
	if (map->count >= map->max_entries)
		return -E2BIG;
	*append_entry(map) = (struct entry){ .value = memcpy(malloc(map->value_size), value, map->value_size) };
	return 0;
}

long queue_pop(struct map *map, void *value)
{
	if (!map->count) {
		memset(value, 0, map->value_size);
		return -ENOENT;
	}
	memcpy(value, map->entries[0].value, map->value_size);
	forget_entry(map, 0);
	return 0;
}

void clear_maps(void)
{
	for (struct map *map = kernel.map; map < kernel.map + kernel.maps; map++) {
		bool array = map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY;

		while (map->count) {
			if (!array) {
				forget_entry(map, map->count - 1);
				collect_garbage();
				continue;
			}
			free(map->entries[map->used[--map->count]].value);
			map->entries[map->used[map->count]].value = 0;
		}
	}
}

void *storage_get(const void *map, __u32 size, struct bpf_sock *sk, __u64 flags)
{
	struct storage *storage = ((struct socket *)sk)->storage;

	for (; storage->map && storage->map != map; storage++)
		;
	if (!storage->map) {
		if (!(flags & BPF_SK_STORAGE_GET_F_CREATE) || kernel.no_memory)
			return 0;
		*storage = (struct storage){ map, calloc(1, size) };
	}
	return storage->value;
}

void free_storage(struct socket *socket)
{
	for (struct storage *storage = socket->storage; storage->map; storage++)
		free(storage->value);
	memset(socket->storage, 0, sizeof(socket->storage));
}

/* Listeners have none. */
struct bpf_tcp_sock *tcp_of(struct bpf_sock *sk)
{
	return sk->state == BPF_TCP_LISTEN ? 0 : &((struct socket *)sk)->tcp;
}

long load_bytes(const struct packet *packet, __u32 offset, void *to, __u32 length)
{
	CHECK(length, "the verifier refuses an empty read");
	if (offset > packet->length || length > packet->length - offset) {
		memset(to, 0, length);
		return -EFAULT;
	}
	memcpy(to, packet->bytes + offset, length);
	return 0;
}

void lock(void)
{
	CHECK(!kernel.locked, "a spin lock is taken twice");
	kernel.locked = true;
}

void unlock(void)
{
	CHECK(kernel.locked, "a spin lock is released that nobody holds");
	kernel.locked = false;
}
