/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * records.c - lengths of values, and the bytes they are made of.
 */
#include "config.h"

#include "records.h"

#include <errno.h>
#include <stdlib.h>

#define BLANK 0x20

void
lengths_fixed(struct lengths *lengths, uint32_t len)
{
	for (unsigned i = 0; i < LENGTHS_COUNT; i++)
		lengths->at[i] = len;
	lengths->max = lengths->mean = len;
}

static void
lengths_sum_up(struct lengths *lengths)
{
	uint64_t sum = 0;

	lengths->max = 0;
	for (unsigned i = 0; i < LENGTHS_COUNT; i++) {
		sum += lengths->at[i];
		if (lengths->at[i] > lengths->max)
			lengths->max = lengths->at[i];
	}
	lengths->mean = (uint32_t)((sum + LENGTHS_COUNT - 1) / LENGTHS_COUNT);
}

/* A number up to max at *text, which then is what follows it. */
static bool
take_number(const char **text, uint32_t max, uint32_t *ret_number)
{
	uint64_t number, unit = 1;
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	number = strtoull(*text, &end, 10);
	if (*end == 'k' || *end == 'K')
		unit = 1000;
	else if (*end == 'm' || *end == 'M')
		unit = 1000000;
	if (errno != 0 || number > max / unit)
		return false;
	*text = unit > 1 ? end + 1 : end;
	*ret_number = (uint32_t)(number * unit);
	return true;
}

/* Behind the first number of "N:SHARE,N:SHARE...". */
static bool
parse_shares(
    struct lengths *lengths, const char *text, uint32_t len, uint32_t max)
{
	uint32_t lens[LENGTHS_COUNT], share;
	uint64_t ends[LENGTHS_COUNT], sum = 0;
	unsigned i, at = 0, count = 0;

	for (;;) {
		if (*text++ != ':' || count == LENGTHS_COUNT ||
		    !take_number(&text, UINT32_MAX, &share))
			return false;
		lens[count] = len;
		ends[count++] = sum += share;
		if (*text == '\0')
			break;
		if (*text++ != ',' || !take_number(&text, max, &len))
			return false;
	}
	if (sum == 0)
		return false;
	for (i = 0; i < LENGTHS_COUNT; i++) {
		while ((2 * i + 1) * sum >= 2 * LENGTHS_COUNT * ends[at])
			at++;
		lengths->at[i] = lens[at];
	}
	return true;
}

bool
lengths_parse(struct lengths *lengths, const char *text, uint32_t max)
{
	uint32_t first, last;

	if (!take_number(&text, max, &first))
		return false;
	lengths_fixed(lengths, first);
	if (*text == ':') {
		if (!parse_shares(lengths, text, first, max))
			return false;
	} else if (*text == '-') {
		text++;
		if (!take_number(&text, max, &last) || *text != '\0' ||
		    last < first)
			return false;
		for (uint64_t i = 0; i < LENGTHS_COUNT; i++)
			lengths->at[i] =
			    first + (uint32_t)((last - first) * i /
					       (LENGTHS_COUNT - 1));
	} else if (*text != '\0') {
		return false;
	}
	lengths_sum_up(lengths);
	return true;
}

/* In each slot random bytes come first, so many that the share is kept. */
static void
pool_fill(uint8_t *pool, size_t len, unsigned compressible, uint64_t seed)
{
	uint64_t words[2], owed = 0;
	size_t at, n, full;

	memset(pool, BLANK, len);
	for (at = 0; at < len; at += RECORDS_SLOT_LEN) {
		words[0] = mix(seed + at);
		words[1] = mix(words[0]);
		owed += (uint64_t)RECORDS_SLOT_LEN * (100 - compressible);
		full = (size_t)(owed / 100);
		owed %= 100;
		n = len - at < full ? len - at : full;
		memcpy(pool + at, words, n);
	}
}

bool
records_init(struct records *records, const struct lengths *lengths,
    size_t key_len, unsigned compressible, uint64_t seed)
{
	size_t len = RECORDS_POOL_LEN + lengths->max;

	records->lengths = *lengths;
	records->key_len = key_len;
	records->seed = seed;
	records->pool = malloc(len);
	if (records->pool == NULL)
		return false;
	pool_fill(records->pool, len, compressible, seed);
	return true;
}

void
records_fini(struct records *records)
{
	free(records->pool);
	records->pool = NULL;
}
