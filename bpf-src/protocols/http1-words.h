/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* HTTP/1: words, numbers and line ends in the window. */
#ifndef MESHTAP_HTTP1_WORDS_H
#define MESHTAP_HTTP1_WORDS_H

#include "lib/stream.h"

static __always_inline int method_of(__u64 w)
{
	if ((w & FIRST(4)) == EIGHT('G', 'E', 'T', ' ', 0, 0, 0, 0))
		return METHOD_GET;
	if ((w & FIRST(5)) == EIGHT('P', 'O', 'S', 'T', ' ', 0, 0, 0))
		return METHOD_POST;
	if ((w & FIRST(4)) == EIGHT('P', 'U', 'T', ' ', 0, 0, 0, 0))
		return METHOD_PUT;
	if ((w & FIRST(5)) == EIGHT('H', 'E', 'A', 'D', ' ', 0, 0, 0))
		return METHOD_HEAD;
	if ((w & FIRST(7)) == EIGHT('D', 'E', 'L', 'E', 'T', 'E', ' ', 0))
		return METHOD_DELETE;
	if ((w & FIRST(6)) == EIGHT('P', 'A', 'T', 'C', 'H', ' ', 0, 0))
		return METHOD_PATCH;
	if (w == EIGHT('O', 'P', 'T', 'I', 'O', 'N', 'S', ' '))
		return METHOD_OPTIONS;
	if (w == EIGHT('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
		return METHOD_CONNECT;
	if ((w & FIRST(6)) == EIGHT('T', 'R', 'A', 'C', 'E', ' ', 0, 0))
		return METHOD_TRACE;
	return -1;
}

/*
 * Any other token followed by a space, among n bytes (RFC 9110 5.6.2; letters, digits, '-' and '_' only).
 * 1 = yes, -1 = no, 0 = not yet known. Like the next two a function of its own, so that it is verified only once.
 */
__attribute__((noinline)) int is_token(__u64 a, __u64 b, __u64 c, __u32 n)
{
#pragma unroll
	for (__u32 i = 0; i < 24; i++) {
		__u32 ch = (i < 8 ? a : i < 16 ? b : c) >> (i % 8 * 8) & 255;

		if (i >= n)
			return 0;
		if (ch == ' ')
			return i ? 1 : -1;
		if ((ch | 32) - 'a' > 25u && ch - '0' > 9u && ch != '-' && ch != '_')
			return -1;
	}
	return -1;
}

#define NO_NUMBER (~0ull)

/* Spaces, at least one digit, then the end of the line (RFC 9110 8.6), all in 24 bytes. */
__attribute__((noinline)) __u64 decimal(__u64 a, __u64 b, __u64 c)
{
	__u64 value = 0;
	__u32 digits = 0;

	for (__u32 i = 0; i < 24; i++) {
		__u32 ch = a & 255;

		a = a >> 8 | b << 56;
		b = b >> 8 | c << 56;
		c >>= 8;
		if (ch - '0' <= 9u) {
			value = value * 10 + (ch - '0');
			digits++;
		} else if (digits) {
			return digits < 19 && (ch == '\r' || ch == '\n' || ch == ' ' || ch == '\t') ? value : NO_NUMBER;
		} else if (ch != ' ' && ch != '\t') {
			return NO_NUMBER;
		}
	}
	return NO_NUMBER;
}

/* A chunk's size and the byte that ends it (RFC 9112 7.1), in 16 bytes. */
__attribute__((noinline)) __u64 hexadecimal(__u64 a, __u64 b)
{
	__u64 value = 0;

	for (__u32 i = 0; i < 16; i++) {
		__u32 ch = a & 255, letter = (ch | 32) - 'a';

		a = a >> 8 | b << 56;
		b >>= 8;
		if (ch - '0' <= 9u)
			value = value << 4 | (ch - '0');
		else if (letter <= 5)
			value = value << 4 | (letter + 10);
		else
			return i && (ch == '\r' || ch == '\n' || ch == ';' || ch == ' ' || ch == '\t') ? value : NO_NUMBER;
	}
	return NO_NUMBER;
}

/*
 * The next newline of the window, from a place on. Left in memory, not returned: the verifier would follow every place
 * where it can be.
 */
static __noinline int find_newline(struct stream *s, __u64 at)
{
	int found = 0;

	if (!s)
		return 0;
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 marks;

		if (at >= s->end)
			break;
		marks = newlines(eight(s, bounded(at)));
		if (marks) {
			at += lowest(marks);
			s->newline = at;
			found = 1;
			break;
		}
		at += 8;
	}
	return found && s->newline < s->end;
}

/* Of the eight bytes at an offset from the parser's place, those that are there. */
static __always_inline __u64 word_at(const struct stream *s, __u64 at, __u32 n, __u32 offset)
{
	__u64 word = eight(s, at + offset);

	if (n >= offset + 8)
		return word;
	return n <= offset ? 0 : word & FIRST(n - offset);
}

#endif
