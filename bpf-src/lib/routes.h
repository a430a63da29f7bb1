/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From the target of a request to its route: a walk through the automaton that user space compiled (docs/routes.md;
 * src/routes/walk.ts is the same in TypeScript, and the reference). Which of its patterns apply is decided by the server.
 *
 * There are two tables. The lowest bit of the epoch says which one is in force; the other one is written anew only when
 * no program can be in it any more. A walk that is under way when the epoch changes has no result.
 */
#ifndef MESHTAP_ROUTES_H
#define MESHTAP_ROUTES_H

#include "lib/stream.h"

#define NO_CHOICE 0xffff /* nothing is known of the path */
#define DEAD 0		 /* the state in which nothing matches any more */
#define ESCAPED 256	 /* symbol of %00 */

static __noinline int find_pair(struct connection *c);
static __always_inline __u32 current_epoch(void);

static __always_inline const struct routing *routing_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&routing, &zero);
}

/* Which patterns apply to the server of a pair. */
static __always_inline void find_scope(struct connection *c, const struct pair_key *pair)
{
	const struct routing *now = routing_now();
	struct server_key key = {};
	__u32 *scope;

	c->scope = 0;
	if (!now || !now->epoch)
		return;
	if (c->role == ROLE_SERVER) {
		key.peer_kind = PEER_CGROUP;
		*(__u64 *)key.peer = c->cgroup;
	} else {
		key.peer_kind = pair->peer_kind;
		__builtin_memcpy(key.peer, pair->peer, 16);
	}
	key.port = pair->port;
	scope = bpf_map_lookup_elem(&route_scopes, &key);
	c->scope = scope ? *scope : now->untold;
}

/* The table of an epoch, as long as that lasts. */
static __always_inline const struct route_table *table_of(__u32 epoch)
{
	const struct routing *now = routing_now();
	__u32 which = epoch & 1;

	return now && now->epoch == epoch ? bpf_map_lookup_elem(&route_tables, &which) : 0;
}

/* A word of a table, wherever it lies. */
static __always_inline __u32 route_word(const struct route_table *t, __u32 at)
{
	__u32 number = t->first_page + (at >> 12);
	struct route_page *page = bpf_map_lookup_elem(&route_pages, &number);
	__u64 in_page = at;

	asm volatile("%0 &= 4095" : "+r"(in_page));
	return page ? page->word[in_page] : 0;
}

static __always_inline __u32 next_state(const struct route_table *t, __u32 state, __u64 symbol)
{
	asm volatile("%0 &= 511" : "+r"(symbol));
	return route_word(t, state * t->classes + t->class_of[symbol]);
}

static __always_inline __u32 choice_of(const struct route_table *t, __u32 state)
{
	return route_word(t, t->choice_of + state);
}

/* What a hexadecimal digit stands for, or more than 15. */
static __always_inline __u32 digit_of(__u32 ch)
{
	__u32 letter = (ch | 32) - 'a';

	return ch - '0' <= 9u ? ch - '0' : letter <= 5 ? letter + 10 : 16;
}

/* A walk in one number, without its epoch. */
static __always_inline __u64 packed(const struct walk *w)
{
	return (__u64)w->start | (__u64)w->state << 16 | (__u64)w->place << 32 | (__u64)w->digit << 40 |
	       (__u64)w->node << 48 | (__u64)w->in_line << 56;
}

static __always_inline struct walk unpacked(__u64 from)
{
	struct walk w = { 0, from, from >> 16, from >> 32, from >> 40, from >> 48, from >> 56 };

	return w;
}

/* One byte of a target. */
static __always_inline void walk_on(const struct route_table *t, struct walk *w, __u32 byte)
{
	__u32 symbol = byte, digit;

	switch (w->place) {
	case IN_PATH:
		if (byte == '%' || byte == '?') {
			w->place = byte == '%' ? AT_FIRST_DIGIT : BEHIND_PATH;
			return;
		}
		break;
	case AT_FIRST_DIGIT:
	case AT_SECOND_DIGIT:
		digit = digit_of(byte);
		if (digit > 15) {
			w->place = BEHIND_PATH;
			w->state = DEAD;
			return;
		}
		if (w->place == AT_FIRST_DIGIT) {
			w->digit = digit;
			w->place = AT_SECOND_DIGIT;
			return;
		}
		symbol = ESCAPED + w->digit * 16 + digit;
		w->place = IN_PATH;
		break;
	case AT_TARGET:
		w->place = byte == '/' ? IN_PATH : IN_AUTHORITY;
		if (byte != '/')
			w->state = t->absolute;
		break;
	case IN_AUTHORITY:
		if ((byte == '/' || byte == '?') && choice_of(t, w->state)) {
			w->state = w->start;
			w->place = byte == '/' ? IN_PATH : BEHIND_PATH;
			symbol = '/'; /* an empty path is that of the root (RFC 3986 6.2.3) */
		}
		break;
	default:
		return;
	}
	w->state = next_state(t, w->state, symbol);
}

/* A target is about to come. at: the first byte of it, or of the line it is in. */
static __noinline int begin_walk(struct connection *c, __u32 at)
{
	const struct routing *now = routing_now();
	const struct route_table *t;
	__u32 scope;

	if (!c)
		return 0;
	c->walk.place = NOWHERE;
	if (!now || !now->epoch)
		return 0;
	if (c->epoch != current_epoch())
		find_pair(c);
	c->walk.epoch = now->epoch;
	t = table_of(c->walk.epoch);
	scope = c->scope;
	if (!t || scope >= t->scopes)
		return 0;
	c->walk.start = c->walk.state = route_word(t, t->scope + scope * ROUTE_SCOPE_WORDS);
	c->walk.node = 0;
	if (c->walk.start)
		c->walk.place = at;
	return 0;
}

/*
 * Up to eight bytes of a target, or of the line it is in. A function of scalars, which is verified once by itself: in a loop
 * over a whole path the verifier would lose count.
 */
__attribute__((noinline)) __u64 walk_eight(__u64 from, __u64 bytes, __u32 n, __u32 epoch)
{
	const struct route_table *t;
	struct walk w = unpacked(from);
	__u32 which = epoch & 1;

	t = bpf_map_lookup_elem(&route_tables, &which);
	if (!t)
		return from;
	for (__u32 i = 0; i < 8; i++) {
		__u32 byte = bytes & 255;

		if (i >= n)
			break;
		bytes >>= 8;
		if (byte == ' ' && w.in_line)
			byte = '?';
		if (w.place == IN_METHOD)
			w.place = byte == '?' ? AT_TARGET : IN_METHOD;
		else
			walk_on(t, &w, byte);
	}
	return packed(&w);
}

/* The same of up to four bytes of HPACK's Huffman code, four bits at a time: no symbol takes fewer. */
__attribute__((noinline)) __u64 walk_coded(__u64 from, __u32 bytes, __u32 n, __u32 epoch)
{
	__u32 which = epoch & 1, zero = 0;
	struct walk w = unpacked(from);
	const struct route_table *t;
	struct huffman_code *code;

	t = bpf_map_lookup_elem(&route_tables, &which);
	code = bpf_map_lookup_elem(&huffman_code, &zero);
	if (!t || !code)
		return from;
	bytes = __builtin_bswap32(bytes);
	for (__u32 i = 0; i < 8; i++) {
		__u64 four = bytes >> 28;
		__u32 step;

		if (i >= 2 * n)
			break;
		bytes <<= 4;
		four |= w.node << 4;
		asm volatile("%0 &= 4095" : "+r"(four));
		step = code->step[four];
		w.node = step;
		if (step & HUFFMAN_SYMBOL)
			walk_on(t, &w, step >> 8 & 255);
	}
	return packed(&w);
}

/* n bytes of a target, or of the line it is in, from the parser's place on, as they are or coded. */
static __always_inline void walk_bytes(struct connection *c, const struct stream *s, __u32 n, int coded)
{
	__u32 epoch = c->walk.epoch, stride = coded ? 4 : 8;
	__u64 at = s->at, now;

	if (!table_of(epoch)) {
		c->walk.place = LOST_WAY;
		return;
	}
	now = packed(&c->walk);
	asm volatile("%0 &= 511" : "+r"(n)); /* or the verifier goes on once for each number that it may be */
	for (__u32 i = 0; i < WINDOW; i += stride) {
		__u64 bytes;

		if (i >= n)
			break;
		bytes = eight(s, bounded(at + i));
		now = coded ? walk_coded(now, bytes, n - i, epoch) : walk_eight(now, bytes, n - i, epoch);
	}
	c->walk = unpacked(now);
	c->walk.epoch = epoch;
}

static __noinline int walk_text(struct connection *c, const struct stream *s, __u32 n)
{
	if (c && s && c->walk.place)
		walk_bytes(c, s, n, 0);
	return 0;
}

/* The target has ended: which choice among routes there is, NO_CHOICE = nobody can tell. */
static __noinline __u32 end_walk(struct connection *c)
{
	const struct route_table *t;
	__u32 state;

	if (!c)
		return NO_CHOICE;
	t = table_of(c->walk.epoch);
	if (!t || c->walk.place == NOWHERE || c->walk.place == LOST_WAY)
		return NO_CHOICE;
	state = c->walk.state;
	if (c->walk.place == IN_AUTHORITY)
		state = choice_of(t, state) ? next_state(t, c->walk.start, '/') : DEAD;
	else if (c->walk.place != IN_PATH && c->walk.place != BEHIND_PATH)
		state = DEAD;
	return choice_of(t, state);
}

/* The route that a method and a choice made by this walk's table lead to. */
static __always_inline __u32 route_of(const struct connection *c, __u32 choice, __u32 method)
{
	const struct route_table *t = table_of(c->walk.epoch);

	if (!t || choice == NO_CHOICE || method >= ROUTE_METHODS)
		return ROUTE_NONE;
	return route_word(t, t->route + choice * ROUTE_METHODS + method);
}

/*
 * The id of a route is given to another one when the first has been gone for a day (ROUTE_LIVES): what took longer may
 * say no route.
 */
static __always_inline __u32 route_after(__u32 route, __u64 ns)
{
	return ns < ROUTE_LIVES * 1000000000ull ? route : ROUTE_NONE;
}

#endif
