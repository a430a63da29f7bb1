/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * HPACK (RFC 7541): what a header block says of the few fields that matter here, and the dynamic table that later
 * blocks refer to. A block may be cut at any byte, by segments and by CONTINUATION frames.
 *
 * The table keeps what each entry means, not its text. An index counts back from the newest entry (2.3.3), so it means
 * the same whatever was evicted at the other end: neither sizes nor their updates need to be followed, and nothing has
 * to be decoded that does not matter. A table of 4,096 bytes, the default, holds at most 128 entries (4.1), and as many
 * are kept; what an index beyond them means is lost.
 *
 * Huffman code is not decoded either: a text has one coded form (5.2), which is compared.
 */
#ifndef MESHTAP_HPACK_H
#define MESHTAP_HPACK_H

#include "lib/stream.h"

#define ENTRIES 128 /* a power of two */
#define DYNAMIC 62  /* the first index of the dynamic table */
#define PATH_BYTES 126
#define TEXT 24 /* of names and values but paths so much is looked at */

/* The fields that matter. A meaning is one of these and twelve bits of value, which are 0 for no other field. */
enum field {
	FIELD_OTHER,
	FIELD_STATUS,	    /* :status; 1 = it makes no sense */
	FIELD_METHOD,	    /* :method; an enum method plus 1 */
	FIELD_PATH,	    /* :path; the id of a method of gRPC plus 1, or PATH_UNNAMED */
	FIELD_CONTENT_TYPE, /* an enum content */
	FIELD_GRPC_STATUS,  /* an enum grpc_status */
	FIELD_LOST,	    /* an entry of the dynamic table that was not seen, or not kept */
	FIELDS = 8,
};

enum content { CONTENT_OTHER = 1, CONTENT_GRPC };

#define MEANING(field, value) ((field) << 12 | (value))
#define NONSENSE 1
#define PATH_UNNAMED 1
#define PATH_ROOT 4 /* index of ":path: /" in the static table; 5 is "/index.html" */

/* RFC 7541 appendix A. */
const __u16 static_table[64] = {
	[2] = MEANING(FIELD_METHOD, METHOD_GET + 1),
	[3] = MEANING(FIELD_METHOD, METHOD_POST + 1),
	[4] = MEANING(FIELD_PATH, PATH_UNNAMED),
	[5] = MEANING(FIELD_PATH, PATH_UNNAMED),
	[8] = MEANING(FIELD_STATUS, 200),
	[9] = MEANING(FIELD_STATUS, 204),
	[10] = MEANING(FIELD_STATUS, 206),
	[11] = MEANING(FIELD_STATUS, 304),
	[12] = MEANING(FIELD_STATUS, 400),
	[13] = MEANING(FIELD_STATUS, 404),
	[14] = MEANING(FIELD_STATUS, 500),
	[31] = MEANING(FIELD_CONTENT_TYPE, CONTENT_OTHER),
};

/* Where in a field the decoder is. */
enum place {
	AT_FIELD,
	IN_INDEX, /* ... of which the first byte has passed */
	AT_NAME_LENGTH,
	IN_NAME_LENGTH,
	IN_NAME,
	AT_VALUE_LENGTH,
	IN_VALUE_LENGTH,
	IN_VALUE,
};

enum form { INDEXED, INSERTED, NOT_INSERTED, RESIZED };

/* One direction of a connection. */
struct hpack {
	__u32 inserted; /* entries, ever */
	__u32 number;	/* the integer that is being read */
	__u32 length;	/* of the string that is being read: what is still to come */
	__u8 shift;	/* of the next byte of the integer */
	__u8 place;
	__u8 form;
	__u8 field;
	__u8 huffman;
	__u8 size;	/* of the string, 255 = more than is looked at */
	__u8 taken;	/* bytes of the string that were copied */
	__u8 path_here; /* the block has a path as text */
	__u32 path_entry; /* where it went in the table, plus 1; 0 = nowhere */
	__u32 path_from;  /* ... or where it came from: an index of the static table, or 62 and the number of an entry; 0 = nowhere */
	__u16 found[FIELDS]; /* by this block */
	__u16 entry[ENTRIES];
	__u8 text[TEXT + 8];
	struct rpc_method_key path;
	__u8 slack[12]; /* copies are made eight bytes at a time */
};

/* A name of up to 12 bytes, as it is or coded; zeros behind its end. */
__attribute__((noinline)) int field_of(__u64 a, __u64 b, __u32 length, __u32 huffman)
{
	if (huffman) {
		if (length == 5 && a == EIGHT(0xb8, 0x84, 0x8d, 0x36, 0xa3, 0, 0, 0))
			return FIELD_STATUS;
		if (length == 8 && a == EIGHT(0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f))
			return FIELD_GRPC_STATUS;
		if (length == 5 && a == EIGHT(0xb9, 0x49, 0x53, 0x39, 0xe4, 0, 0, 0))
			return FIELD_METHOD;
		if (length == 4 && a == EIGHT(0xb9, 0x58, 0xd3, 0x3f, 0, 0, 0, 0))
			return FIELD_PATH;
		if (length == 9 && a == EIGHT(0x21, 0xea, 0x49, 0x6a, 0x4a, 0xc9, 0xf5, 0x59) && b == 0x7f)
			return FIELD_CONTENT_TYPE;
		return FIELD_OTHER;
	}
	if (length == 7 && a == EIGHT(':', 's', 't', 'a', 't', 'u', 's', 0))
		return FIELD_STATUS;
	if (length == 11 && a == EIGHT('g', 'r', 'p', 'c', '-', 's', 't', 'a') && b == EIGHT('t', 'u', 's', 0, 0, 0, 0, 0))
		return FIELD_GRPC_STATUS;
	if (length == 7 && a == EIGHT(':', 'm', 'e', 't', 'h', 'o', 'd', 0))
		return FIELD_METHOD;
	if (length == 5 && a == EIGHT(':', 'p', 'a', 't', 'h', 0, 0, 0))
		return FIELD_PATH;
	if (length == 12 && a == EIGHT('c', 'o', 'n', 't', 'e', 'n', 't', '-') && b == EIGHT('t', 'y', 'p', 'e', 0, 0, 0, 0))
		return FIELD_CONTENT_TYPE;
	return FIELD_OTHER;
}

#define NO_DIGITS (~0u)

/* One to four decimal digits and nothing else. Coded, 0 to 2 are five bits and 3 to 9 six, 011001 to 011111. */
__attribute__((noinline)) __u32 digits_of(__u64 text, __u32 length, __u32 huffman)
{
	__u64 bits = __builtin_bswap64(text);
	__u32 left = length * 8, value = 0, digits = 0;

	if (!length || length > 4)
		return NO_DIGITS;
	for (int i = 0; i < 4; i++) {
		__u32 digit, size = 8;

		if (!huffman) {
			digit = (bits >> 56) - '0';
		} else if (bits >> 59 < 3) {
			digit = bits >> 59;
			size = 5;
		} else {
			digit = (bits >> 58) - 22;
			size = 6;
		}
		if (digit > 9 || size > left)
			break;
		value = value * 10 + digit;
		bits <<= size;
		left -= size;
		digits++;
	}
	/* what is left of the last byte is filled with ones */
	if (!digits || left >= 8 || (left && bits >> (64 - (left & 7)) != (1u << (left & 7)) - 1))
		return NO_DIGITS;
	return value;
}

__attribute__((noinline)) int method_value(__u64 a, __u32 length, __u32 huffman)
{
	if (huffman) {
		if (length == 3 && a == EIGHT(0xc5, 0x83, 0x7f, 0, 0, 0, 0, 0))
			return METHOD_GET;
		if (length == 4 && a == EIGHT(0xc7, 0x82, 0x1b, 0xff, 0, 0, 0, 0))
			return METHOD_HEAD;
		if (length == 4 && a == EIGHT(0xd7, 0xab, 0x76, 0xff, 0, 0, 0, 0))
			return METHOD_POST;
		if (length == 3 && a == EIGHT(0xd7, 0xc3, 0x7f, 0, 0, 0, 0, 0))
			return METHOD_PUT;
		if (length == 6 && a == EIGHT(0xbf, 0x83, 0x3e, 0x0d, 0xf8, 0x3f, 0, 0))
			return METHOD_DELETE;
		if (length == 7 && a == EIGHT(0xbd, 0xab, 0x4e, 0x9c, 0x17, 0xb7, 0xff, 0))
			return METHOD_CONNECT;
		if (length == 7 && a == EIGHT(0xd5, 0xaf, 0x7e, 0x4d, 0x5a, 0x77, 0x7f, 0))
			return METHOD_OPTIONS;
		if (length == 5 && a == EIGHT(0xdf, 0xb6, 0x1b, 0xd8, 0x3f, 0, 0, 0))
			return METHOD_TRACE;
		if (length == 5 && a == EIGHT(0xd7, 0x0e, 0xfb, 0xd8, 0xff, 0, 0, 0))
			return METHOD_PATCH;
		return METHOD_OTHER;
	}
	if (length == 3 && a == EIGHT('G', 'E', 'T', 0, 0, 0, 0, 0))
		return METHOD_GET;
	if (length == 4 && a == EIGHT('H', 'E', 'A', 'D', 0, 0, 0, 0))
		return METHOD_HEAD;
	if (length == 4 && a == EIGHT('P', 'O', 'S', 'T', 0, 0, 0, 0))
		return METHOD_POST;
	if (length == 3 && a == EIGHT('P', 'U', 'T', 0, 0, 0, 0, 0))
		return METHOD_PUT;
	if (length == 6 && a == EIGHT('D', 'E', 'L', 'E', 'T', 'E', 0, 0))
		return METHOD_DELETE;
	if (length == 7 && a == EIGHT('C', 'O', 'N', 'N', 'E', 'C', 'T', 0))
		return METHOD_CONNECT;
	if (length == 7 && a == EIGHT('O', 'P', 'T', 'I', 'O', 'N', 'S', 0))
		return METHOD_OPTIONS;
	if (length == 5 && a == EIGHT('T', 'R', 'A', 'C', 'E', 0, 0, 0))
		return METHOD_TRACE;
	if (length == 5 && a == EIGHT('P', 'A', 'T', 'C', 'H', 0, 0, 0))
		return METHOD_PATCH;
	return METHOD_OTHER;
}

/* "application/grpc", perhaps followed by "+proto" or by parameters. gRPC-Web has its status elsewhere. */
__attribute__((noinline)) int content_value(__u64 a, __u64 b, __u64 c, __u32 length, __u32 huffman)
{
	__u32 next, after;

	if (huffman) {
		next = b >> 24 & 255;
		after = b >> 32 & 255;
		if (a != EIGHT(0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c) || (b & FIRST(3)) != EIGHT(0x4d, 0x65, 0x64, 0, 0, 0, 0, 0))
			return CONTENT_OTHER;
		/* ';' is 11111011, '+' is 11111111 011 */
		return length == 11 || next == 0xfb || (next == 0xff && after >> 5 == 3) ? CONTENT_GRPC : CONTENT_OTHER;
	}
	next = c & 255;
	if (a != EIGHT('a', 'p', 'p', 'l', 'i', 'c', 'a', 't') || b != EIGHT('i', 'o', 'n', '/', 'g', 'r', 'p', 'c'))
		return CONTENT_OTHER;
	return length == 16 || next == '+' || next == ';' ? CONTENT_GRPC : CONTENT_OTHER;
}

/* What a value means, of which the first 24 bytes are in the text; size is at most 255. */
static __always_inline __u32 value_of(const struct hpack *h, __u32 field)
{
	const __u64 *text = (const __u64 *)h->text;
	__u32 size = h->size, huffman = h->huffman, number;

	switch (field) {
	case FIELD_STATUS:
		number = digits_of(text[0], size, huffman);
		return number >= 100 && number <= 999 ? number : NONSENSE;
	case FIELD_GRPC_STATUS:
		number = digits_of(text[0], size, huffman);
		return number <= GRPC_UNAUTHENTICATED - GRPC_OK ? number + GRPC_OK : GRPC_OTHER;
	case FIELD_METHOD:
		return method_value(size > 8 ? 0 : text[0], size, huffman) + 1;
	case FIELD_CONTENT_TYPE:
		return content_value(text[0], text[1], text[2], size, huffman);
	}
	return field == FIELD_PATH ? PATH_UNNAMED : 0;
}

static __always_inline __u32 entry_at(__u64 number)
{
	number &= ENTRIES - 1;
	asm volatile("%0 &= 127" : "+r"(number));
	return number;
}

/* What an index means: RFC 7541 2.3.3. */
static __always_inline __u32 meaning_of(const struct hpack *h, __u32 index)
{
	__u64 i = index;

	if (index < DYNAMIC) {
		asm volatile("%0 &= 63" : "+r"(i));
		return static_table[i];
	}
	if (index - 61 > ENTRIES || index - 61 > h->inserted)
		return MEANING(FIELD_LOST, 1);
	return h->entry[entry_at(h->inserted - (index - 61))];
}

static __always_inline void find(struct hpack *h, __u32 meaning)
{
	__u64 field = meaning >> 12;

	asm volatile("%0 &= 7" : "+r"(field));
	h->found[field] = meaning & 0xfff;
}

/* A literal field is there as a whole. */
static __always_inline void end_literal(struct hpack *h)
{
	__u32 field = h->field, value = field == FIELD_LOST ? 1 : value_of(h, field);

	find(h, MEANING(field, value));
	if (field == FIELD_PATH) {
		__u64 size = h->size;

		h->path_here = size <= PATH_BYTES;
		h->path_entry = 0;
		h->path_from = 0;
		if (h->path_here) {
			asm volatile("%0 &= 127" : "+r"(size));
			*(__u64 *)(h->path.byte + size) = 0;
			h->path.length = size;
			h->path.huffman = h->huffman;
		}
	}
	if (h->form == INSERTED) {
		h->entry[entry_at(h->inserted)] = MEANING(field, value);
		h->inserted++;
		if (field == FIELD_PATH)
			h->path_entry = h->inserted;
	}
	h->place = AT_FIELD;
}

/* The integer of a field's first byte is known. */
static __always_inline void take_index(struct hpack *h)
{
	__u32 index = h->number, meaning;

	h->place = AT_FIELD;
	if (h->form == RESIZED)
		return;
	if (!index && h->form != INDEXED) {
		h->place = AT_NAME_LENGTH;
		return;
	}
	meaning = meaning_of(h, index);
	if (h->form == INDEXED) {
		find(h, meaning);
		if (meaning >> 12 == FIELD_PATH) {
			h->path_here = 0;
			h->path_from = index < DYNAMIC ? index : DYNAMIC + h->inserted - (index - 61);
		}
		return;
	}
	h->field = meaning >> 12;
	h->place = AT_VALUE_LENGTH;
}

/* The length of a string is known. */
static __always_inline void take_string_length(struct hpack *h)
{
	__u32 length = h->number;

	h->length = length;
	h->size = length < 255 ? length : 255;
	h->taken = 0;
	*(__u64 *)h->text = *(__u64 *)(h->text + 8) = *(__u64 *)(h->text + 16) = 0;
	if (h->place == IN_NAME_LENGTH) {
		h->place = IN_NAME;
		return;
	}
	h->place = IN_VALUE;
	if (h->field == FIELD_PATH)
		__builtin_memset(&h->path, 0, sizeof(h->path));
}

static __always_inline void end_string(struct hpack *h)
{
	const __u64 *text = (const __u64 *)h->text;

	if (h->place == IN_VALUE) {
		end_literal(h);
		return;
	}
	h->field = h->size > 12 ? FIELD_OTHER : field_of(text[0], text[1], h->size, h->huffman);
	h->place = AT_VALUE_LENGTH;
}

/* Copies n bytes of the window into a place of `room` bytes, from where the copy ended before. */
static __always_inline void copy_text(struct hpack *h, const struct stream *s, __u64 at, __u32 n)
{
	for (__u32 i = 0; i < TEXT; i += 8) {
		__u64 to = h->taken + i, from = at + i;

		if (i >= n || to >= TEXT)
			break;
		asm volatile("%0 &= 31" : "+r"(to));
		if (to > TEXT)
			break;
		from = bounded(from);
		*(__u64 *)(h->text + to) = eight(s, from);
	}
}

static __always_inline void copy_path(struct hpack *h, const struct stream *s, __u64 at, __u32 n)
{
	for (__u32 i = 0; i < PATH_BYTES; i += 8) {
		__u64 to = h->taken + i, from = at + i;

		if (i >= n)
			break;
		asm volatile("%0 &= 127" : "+r"(to));
		from = bounded(from);
		*(__u64 *)(h->path.byte + to) = eight(s, from);
	}
}

/* What was copied behind the end of a string was not meant. */
static __always_inline void end_text(struct hpack *h)
{
	__u64 size = h->size;

	if (size > TEXT)
		return;
	asm volatile("%0 &= 31" : "+r"(size));
	if (size <= TEXT)
		*(__u64 *)(h->text + size) = 0;
}

/* n bytes of a string are at hand; how many of them belong to it. */
static __always_inline __u32 take_string(struct hpack *h, const struct stream *s, __u64 at, __u32 n)
{
	__u32 path = h->place == IN_VALUE && h->field == FIELD_PATH;

	if (n > h->length)
		n = h->length;
	if (path) {
		if (h->size <= PATH_BYTES)
			copy_path(h, s, at, n);
	} else if (h->place == IN_NAME || (h->field != FIELD_OTHER && h->field != FIELD_LOST)) {
		copy_text(h, s, at, n);
	}
	h->taken = h->taken + n < 255 ? h->taken + n : 255;
	h->length -= n;
	if (!h->length) {
		if (!path)
			end_text(h);
		end_string(h);
	}
	return n;
}

/* The first byte of a field, of which the highest bits are its form: RFC 7541 6. Returns the integer's greatest value. */
static __always_inline __u32 take_form(struct hpack *h, __u32 byte)
{
	if (byte & 0x80) {
		h->form = INDEXED;
		return 127;
	}
	if (byte & 0x40) {
		h->form = INSERTED;
		return 63;
	}
	if (byte & 0x20) {
		h->form = RESIZED;
		return 31;
	}
	h->form = NOT_INSERTED;
	return 15;
}

/* An integer is complete. */
static __always_inline void take_number(struct hpack *h)
{
	if (h->place == IN_INDEX)
		take_index(h);
	else
		take_string_length(h);
	if ((h->place == IN_NAME || h->place == IN_VALUE) && !h->length)
		end_string(h);
}

/* One part of a field, of which n > 0 bytes are at hand; returns how many it took, or -1 if it makes no sense. */
static __always_inline int take_part(struct hpack *h, const struct stream *s, __u64 at, __u32 n)
{
	__u32 byte, most;

	if (h->place == IN_NAME || h->place == IN_VALUE)
		return take_string(h, s, at, n);
	byte = s->byte[bounded(at)];
	if (h->place == IN_INDEX || h->place == IN_NAME_LENGTH || h->place == IN_VALUE_LENGTH) {
		if (h->shift > 21)
			return -1;
		h->number += (byte & 127) << (h->shift & 31);
		h->shift += 7;
		if (!(byte & 128))
			take_number(h);
		return 1;
	}
	if (h->place == AT_FIELD) {
		most = take_form(h, byte);
	} else {
		h->huffman = byte >> 7;
		most = 127;
	}
	h->place++; /* from the beginning of an integer to the rest of it */
	h->number = byte & most;
	h->shift = 0;
	if (h->number < most)
		take_number(h);
	return 1;
}

static __always_inline void begin_block(struct hpack *h)
{
	__builtin_memset(h->found, 0, sizeof(h->found));
	h->path_here = 0;
	h->path_entry = 0;
	h->path_from = 0;
	h->place = AT_FIELD;
}

/* The dynamic table is not known any more, but for what will be inserted. */
static __always_inline void forget_table(struct hpack *h)
{
	h->inserted = 0;
}

#endif
