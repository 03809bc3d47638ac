/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * numbers.h - what keys, values and orders are computed from: numbers without
 * a pattern, numbers in a range, permutations, and hexadecimal digits, each
 * from its argument alone in a few nanoseconds.  And the median.
 */
#ifndef BENCH_NUMBERS_H
#define BENCH_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "../mix.h"

/*
 * A permutation of 0 .. count-1, computed: three rounds, each a bijection of
 * the next power of two, repeated until the result is in range.
 */
struct shuffle {
	uint64_t count;
	uint64_t mask;
	uint64_t mul[3]; /* odd */
	uint64_t add;
	unsigned shift;
	bool identity;
};

static inline void
shuffle_init(struct shuffle *shuffle, uint64_t count, uint64_t seed)
{
	unsigned bits = 1;

	while (bits < 63 && (UINT64_C(1) << bits) < count)
		bits++;
	shuffle->count = count;
	shuffle->mask = (UINT64_C(1) << bits) - 1;
	shuffle->shift = (bits + 1) / 2;
	shuffle->mul[0] = mix(seed) | 1;
	shuffle->mul[1] = mix(seed + 1) | 1;
	shuffle->mul[2] = mix(seed + 2) | 1;
	shuffle->add = mix(seed + 3);
	shuffle->identity = false;
}

static inline uint64_t
shuffle_at(const struct shuffle *shuffle, uint64_t i)
{
	if (shuffle->identity)
		return i;
	do {
		i = (i * shuffle->mul[0] + shuffle->add) & shuffle->mask;
		i ^= i >> shuffle->shift;
		i = (i * shuffle->mul[1]) & shuffle->mask;
		i ^= i >> shuffle->shift;
		i = (i * shuffle->mul[2]) & shuffle->mask;
		i ^= i >> shuffle->shift;
	} while (i >= shuffle->count);
	return i;
}

/* The high half of the product, 0 .. range-1: evenly, if h is any number. */
static inline uint64_t
scale(uint64_t h, uint64_t range)
{
	const uint64_t h_high = h >> 32, h_low = h & UINT32_MAX;
	const uint64_t r_high = range >> 32, r_low = range & UINT32_MAX;
	const uint64_t a = h_high * r_low, b = h_low * r_high;
	const uint64_t middle =
	    (h_low * r_low >> 32) + (a & UINT32_MAX) + (b & UINT32_MAX);

	return h_high * r_high + (a >> 32) + (b >> 32) + (middle >> 32);
}

/* The eight hexadecimal digits of x, as they lie in memory. */
static inline uint64_t
hex_digits(uint32_t x)
{
	uint64_t d = x, letters;

	d = (d | d << 16) & UINT64_C(0x0000ffff0000ffff);
	d = (d | d << 8) & UINT64_C(0x00ff00ff00ff00ff);
	d = (d | d << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	letters = (d + UINT64_C(0x0606060606060606)) >> 4 &
		  UINT64_C(0x0101010101010101);
	d += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	d = __builtin_bswap64(d);
#endif
	return d;
}

static inline int
compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median of count times; sorts them. */
static inline uint64_t
median_ns(uint64_t *times, uint64_t count)
{
	qsort(times, (size_t)count, sizeof *times, compare_ns);
	return times[(count - 1) / 2] / 2 + times[count / 2] / 2;
}

#endif /* BENCH_NUMBERS_H */
