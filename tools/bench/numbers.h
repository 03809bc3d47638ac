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

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "../mix.h"

/* The same with half the work: nothing shows in its upper bits. */
static inline uint64_t
mix_short(uint64_t x)
{
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return (x ^ x >> 32) * UINT64_C(0x9e3779b97f4a7c15);
}

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
#ifdef __SIZEOF_INT128__
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)((wide)h * range >> 64);
#else
	const uint64_t h_high = h >> 32, h_low = h & UINT32_MAX;
	const uint64_t r_high = range >> 32, r_low = range & UINT32_MAX;
	const uint64_t a = h_high * r_low, b = h_low * r_high;
	const uint64_t middle =
	    (h_low * r_low >> 32) + (a & UINT32_MAX) + (b & UINT32_MAX);

	return h_high * r_high + (a >> 32) + (b >> 32) + (middle >> 32);
#endif
}

#define HEX_DIGITS 16u

/* The hexadecimal digits of x: a key for each operation, so that this is a good
 * part of what the loop around an engine costs. */
#ifdef __SSE2__
static inline void
hex_digits(uint8_t *digits, uint64_t x)
{
	const __m128i bytes =
	    _mm_cvtsi64_si128((long long)__builtin_bswap64(x));
	const __m128i low = _mm_set1_epi8(0x0f);
	const __m128i d =
	    _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), low),
		_mm_and_si128(bytes, low));
	const __m128i letters = _mm_and_si128(
	    _mm_cmpgt_epi8(d, _mm_set1_epi8(9)), _mm_set1_epi8('a' - '0' - 10));

	_mm_storeu_si128((__m128i *)(void *)digits,
	    _mm_add_epi8(_mm_add_epi8(d, _mm_set1_epi8('0')), letters));
}
#else
static inline void
hex_digits(uint8_t *digits, uint64_t x)
{
	for (unsigned i = HEX_DIGITS; i-- > 0; x >>= 4)
		digits[i] = (uint8_t) "0123456789abcdef"[x & 15];
}
#endif

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
