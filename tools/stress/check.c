/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - what may be read, judged by what was written.
 */
#include "config.h"

#include "check.h"

#include <inttypes.h>
#include <stdio.h>

void
verdict_add(struct verdicts *verdicts, const char *format, ...)
{
	uint64_t at = atomic_fetch_add(&verdicts->count, 1);
	va_list args;

	if (at >= VERDICT_COUNT_MAX)
		return;
	va_start(args, format);
	vsnprintf(verdicts->verdict[at].text, VERDICT_TEXT_MAX, format, args);
	va_end(args);
	atomic_store(&verdicts->verdict[at].ready, true);
}

void
raise_to(_Atomic uint64_t *word, uint64_t number)
{
	uint64_t old = atomic_load(word);

	while (
	    old < number && !atomic_compare_exchange_weak(word, &old, number))
		;
}

uint64_t
cell_low(struct cell *cell)
{
	uint64_t acked = atomic_load(&cell->acked);
	uint64_t seen = atomic_load(&cell->seen);

	return acked > seen ? acked : seen;
}

/* "KEY (acknowledged 3, seen 4, issued 4): read ..., expected ..." */
static bool
wrong(const struct check *check, size_t at, unsigned side, const char *read,
    const char *expected)
{
	struct cell *cell = &check->cells[at];
	char key[SCHEME_KEY_MAX];

	scheme_key(check->scheme, at, side, key);
	verdict_add(check->verdicts,
	    "%s (acknowledged %" PRIu64 ", seen %" PRIu64 ", issued %" PRIu64
	    "): read %s, expected %s",
	    key, atomic_load(&cell->acked), atomic_load(&cell->seen),
	    atomic_load(&cell->issued), read, expected);
	return false;
}

bool
check_absence(const struct check *check, size_t cell, uint64_t low,
    uint64_t high, uint64_t *ret_number)
{
	for (uint64_t number = low; number <= high; number++) {
		if (scheme_deletes(check->scheme, cell, number)) {
			*ret_number = number;
			return true;
		}
	}
	return false;
}

/* What the value is, if it is one that could have been written. */
static bool
check_value(const struct check *check, size_t cell, unsigned side, uint64_t low,
    uint64_t high, const struct sight *sight, uint64_t *ret_number)
{
	struct place place = scheme_place(check->scheme, cell);
	char read[96], expected[96];
	uint32_t writer;
	uint64_t number;

	snprintf(expected, sizeof expected, "number %" PRIu64 " to %" PRIu64,
	    low, high);
	if (!scheme_value_read(check->scheme, cell, side, sight->value,
		sight->len, &writer, &number)) {
		snprintf(read, sizeof read,
		    "%zu bytes that nobody has written under this key",
		    sight->len);
		return wrong(check, cell, side, read, expected);
	}
	snprintf(read, sizeof read, "number %" PRIu64 " of writer %" PRIu32,
	    number, writer);
	if (number < low || number > high)
		return wrong(check, cell, side, read, expected);
	if (scheme_deletes(check->scheme, cell, number))
		return wrong(check, cell, side, read, "nothing: it deletes");
	if (place.owner == SCHEME_NOBODY ? writer >= check->scheme->owners
					 : writer != place.owner)
		return wrong(check, cell, side, read, "another writer");
	*ret_number = number;
	return true;
}

/* A key's sequence numbers and its writes rise together. */
static bool
check_memory(const struct check *check, size_t cell, unsigned side,
    const struct memory *memory, uint64_t seq, uint64_t number)
{
	char read[96], expected[96];

	if (memory->seq == 0 ||
	    (seq == memory->seq && number == memory->number) ||
	    (seq > memory->seq && number > memory->number))
		return true;
	snprintf(read, sizeof read, "number %" PRIu64 " in commit %" PRIu64,
	    number, seq);
	snprintf(expected, sizeof expected,
	    "number %" PRIu64 " in commit %" PRIu64
	    ", as before, or both later",
	    memory->number, memory->seq);
	return wrong(check, cell, side, read, expected);
}

bool
check_sight(const struct check *check, size_t cell, unsigned side, uint64_t low,
    const struct sight *sight, struct memory *memory, uint64_t *ret_number)
{
	uint64_t high = atomic_load(&check->cells[cell].issued);
	uint64_t number = 0;
	char expected[96];

	if (sight->present) {
		if (!check_value(check, cell, side, low, high, sight, &number))
			return false;
		if (memory != NULL && sight->seq != 0) {
			if (!check_memory(
				check, cell, side, memory, sight->seq, number))
				return false;
			*memory = (struct memory){sight->seq, number};
		}
	} else if (!check_absence(check, cell, low, high, &number)) {
		snprintf(expected, sizeof expected,
		    "number %" PRIu64 " to %" PRIu64, low, high);
		return wrong(check, cell, side, "nothing", expected);
	}
	raise_to(&check->cells[cell].seen, number);
	if (ret_number != NULL)
		*ret_number = number;
	return true;
}

bool
check_pair(const struct check *check, size_t cell, const struct sight sights[2],
    const uint64_t numbers[2])
{
	char read[96], expected[96];

	if (sights[0].present == sights[1].present &&
	    (!sights[0].present ||
		(numbers[0] == numbers[1] && sights[0].seq == sights[1].seq)))
		return true;
	snprintf(read, sizeof read, "%s %" PRIu64 " in commit %" PRIu64,
	    sights[1].present ? "number" : "nothing, about", numbers[1],
	    sights[1].seq);
	snprintf(expected, sizeof expected,
	    "as the other of the pair at the same state: %s %" PRIu64
	    " in commit %" PRIu64,
	    sights[0].present ? "number" : "nothing, about", numbers[0],
	    sights[0].seq);
	return wrong(check, cell, 1, read, expected);
}

bool
check_order(const struct check *check, size_t cell, uint64_t before,
    uint64_t seq, _Atomic uint64_t *newest)
{
	char key[SCHEME_KEY_MAX];

	raise_to(newest, seq);
	if (seq > before)
		return true;
	scheme_key(check->scheme, cell, 0, key);
	verdict_add(check->verdicts,
	    "%s: written by commit %" PRIu64 ", expected one behind %" PRIu64
	    ", which was acknowledged before",
	    key, seq, before);
	return false;
}
