/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The routes of requests of HTTP/2. A path that comes as text is walked as it comes, in the Huffman code too. One that
 * refers to HPACK's table has the choice that was made when it was put there, under the same patterns: its text is gone.
 */
#ifndef MESHTAP_HTTP2_ROUTES_H
#define MESHTAP_HTTP2_ROUTES_H

#include "lib/routes.h"
#include "protocols/hpack.h"

/* The choices of paths in the dynamic table. */
struct routed_paths {
	__u32 epoch; /* under which they were made, 0 = never */
	__u32 from;  /* the first entry since then */
	__u16 start; /* the state that the walks began in */
	__u16 unused;
	__u16 choice[ENTRIES];
};

/* Whether the next bytes of a header block are those of a path to be walked. Only for the direction that asks. */
static __always_inline int walks(const struct connection *c, const struct hpack *p)
{
	return c->walk.place && p->place == IN_VALUE && p->field == FIELD_PATH;
}

/* The bytes of a path that are at hand; how many there were. */
static __always_inline __u32 walk_path(struct connection *c, struct hpack *p, const struct stream *s, __u32 n)
{
	if (n > p->length)
		n = p->length;
	if (c->walk.place == AWAITED)
		c->walk.place = AT_TARGET;
	if (p->huffman)
		walk_bytes(c, s, n, 1);
	else
		walk_bytes(c, s, n, 0);
	return n;
}

/* The choice that the path in the static table was given. */
static __always_inline __u32 static_choice(const struct connection *c, __u32 index)
{
	const struct route_table *t = table_of(c->walk.epoch);
	__u32 scope = c->scope;

	if (!t || scope >= t->scopes)
		return NO_CHOICE;
	return route_word(t, t->scope + scope * ROUTE_SCOPE_WORDS + (index == PATH_ROOT ? 1 : 2));
}

/* The choice for the path of a header block that is complete. */
static __always_inline __u32 path_choice(struct connection *c, struct routed_paths *r, const struct hpack *p)
{
	__u32 choice = NO_CHOICE, from = p->path_from;

	if (!c->walk.place) {
		if (p->path_entry)
			r->epoch = 0;
		return NO_CHOICE;
	}
	if (r->epoch != c->walk.epoch || r->start != c->walk.start) {
		r->epoch = c->walk.epoch;
		r->start = c->walk.start;
		r->from = p->path_entry ? p->path_entry - 1 : p->inserted;
	}
	if (from)
		return from < DYNAMIC		      ? static_choice(c, from) :
		       from - DYNAMIC >= r->from ? r->choice[entry_at(from - DYNAMIC)] :
						      NO_CHOICE;
	if (c->walk.place != AWAITED)
		choice = end_walk(c);
	if (p->path_entry)
		r->choice[entry_at(p->path_entry - 1)] = choice;
	return choice;
}

#endif
