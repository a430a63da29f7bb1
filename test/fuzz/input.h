/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The fuzzer's bytes as a supply of choices. What is exhausted gives zeros, so that every prefix of an input means
 * something. Two supplies, one from each end, so that a byte more in one does not change what the other means.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *front, *back; /* back: behind the last byte */
};

static uint32_t take_front(struct input *input)
{
	return input->front < input->back ? *input->front++ : 0;
}

static uint32_t take_back(struct input *input)
{
	return input->front < input->back ? *--input->back : 0;
}

static bool is_empty(const struct input *input)
{
	return input->front >= input->back;
}

#endif
