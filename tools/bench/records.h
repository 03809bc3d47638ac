/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * records.h - the records of a benchmark: key and value of each, computed
 * from its number in a few nanoseconds.
 *
 * A value is a window of a pool of bytes; where it begins and how long it is
 * depends on the record and on the value's generation.  A share of the pool's
 * bytes is blank, so that as much of every value can be compressed away.
 */
#ifndef BENCH_RECORDS_H
#define BENCH_RECORDS_H

#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define RECORDS_KEY_LEN_MAX 511u /* LMDB's limit, the lowest of all */

#define RECORDS_SLOT_BITS 12u
#define RECORDS_SLOT_LEN 16u
#define RECORDS_POOL_LEN ((size_t)RECORDS_SLOT_LEN << RECORDS_SLOT_BITS)

#define LENGTHS_BITS 8u
#define LENGTHS_COUNT (1u << LENGTHS_BITS)

/* How long values are: each of these is as frequent as the others. */
struct lengths {
	uint32_t at[LENGTHS_COUNT];
	uint32_t max;
	uint32_t mean; /* rounded up */
};

struct records {
	struct lengths lengths;
	size_t key_len;
	uint64_t seed;
	uint8_t *pool; /* RECORDS_POOL_LEN + lengths.max bytes */
};

struct value {
	const uint8_t *bytes;
	size_t len;
};

/* lengths_fixed - all values have len bytes. */
void lengths_fixed(struct lengths *lengths, uint32_t len);

/*
 * lengths_parse - read "N", "MIN-MAX" (evenly, in 256 steps) or
 * "N:SHARE,N:SHARE..." (some of each); k and M are understood.  False if the
 * text is none of these, or a value would be longer than max.
 */
bool lengths_parse(struct lengths *lengths, const char *text, uint32_t max);

/*
 * records_init - compressible is the percentage of blank bytes.  False if out
 * of memory.
 */
bool records_init(struct records *records, const struct lengths *lengths,
    size_t key_len, unsigned compressible, uint64_t seed);

/* records_fini - also after a failed init, or of zero bytes. */
void records_fini(struct records *records);

/*
 * record_key - write the key of that number: sixteen hexadecimal digits and
 * then dots, which key must hold already; of a shorter key the last digits.
 * Order of numbers is order of keys.
 */
static inline void
record_key(uint8_t *key, size_t key_len, uint64_t number)
{
	uint8_t digits[HEX_DIGITS];

	if (key_len >= HEX_DIGITS) {
		hex_digits(key, number);
		return;
	}
	hex_digits(digits, number);
	memcpy(key, digits + HEX_DIGITS - key_len, key_len);
}

static inline struct value
record_value(
    const struct records *records, uint64_t record, uint64_t generation)
{
	uint64_t h = mix_short(records->seed ^ record ^ generation << 48);
	uint64_t slot = h >> (64 - RECORDS_SLOT_BITS);

	return (struct value){
	    records->pool + (size_t)slot * RECORDS_SLOT_LEN,
	    records->lengths.at[h & (LENGTHS_COUNT - 1)],
	};
}

#endif /* BENCH_RECORDS_H */
