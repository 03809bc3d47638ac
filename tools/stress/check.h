/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.h - what may be read, judged by what was written.
 *
 * For each cell three numbers lie in memory that all processes share.  A
 * writer raises `issued` before it writes, and `acked` when the store has
 * said that it is done; whoever reads a write raises `seen`.  Hence what is
 * read lies between the `acked` and `seen` of before the read and the
 * `issued` of after it.  That is all that a register with one writer at a
 * time can be asked for: no acknowledged write is missed, nothing that
 * anybody has seen is taken back, nothing is read that was not written.
 *
 * Of a counter `issued` and `acked` count increments.  Two that were both
 * acknowledged for the same step leave its value below `acked`.
 */
#ifndef STRESS_CHECK_H
#define STRESS_CHECK_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scheme.h"

/* In shared memory; zero bytes are a cell that was never written. */
struct cell {
	_Atomic uint64_t issued;
	_Atomic uint64_t acked;
	_Atomic uint64_t seen;
};

#define VERDICT_COUNT_MAX 16
#define VERDICT_TEXT_MAX 400

/* What was found to be wrong; the first ones in words.  In shared memory;
 * zero bytes are none. */
struct verdicts {
	_Atomic uint64_t count;
	struct {
		_Atomic bool ready;
		char text[VERDICT_TEXT_MAX];
	} verdict[VERDICT_COUNT_MAX];
};

/* What a run is checked by. */
struct check {
	const struct scheme *scheme;
	struct cell *cells;
	struct verdicts *verdicts;
};

/* What a thread remembers of a key; zero bytes are nothing. */
struct memory {
	uint64_t seq; /* greatest one seen; 0: none */
	uint64_t number;
};

/* A key as it was read. */
struct sight {
	bool present;
	const void *value; /* the rest: if it is present */
	size_t len;
	uint64_t seq; /* of its commit; 0: not known */
};

/* verdict_add - note a line that says what is wrong. */
#if defined __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
void
verdict_add(struct verdicts *verdicts, const char *format, ...);

/* raise_to - make *word at least number. */
void raise_to(_Atomic uint64_t *word, uint64_t number);

/* cell_low - the least that a read which begins now must find. */
uint64_t cell_low(struct cell *cell);

/*
 * check_sight - judge what a side of a cell was read to be.
 *
 * low          Of before the read, by cell_low().
 * memory       Of this key and thread; brought up to date.  NULL: none.
 * ret_number   Set to the number of the write that was read; of an absent
 *              key the least that it can be.  May be NULL.
 *
 * False, with a verdict, if it is wrong.
 */
bool check_sight(const struct check *check, size_t cell, unsigned side,
    uint64_t low, const struct sight *sight, struct memory *memory,
    uint64_t *ret_number);

/* check_absence - whether a cell may have been absent when all that is known
 * is that its writes low to high may have been the last.  *ret_number is the
 * first of them that deletes. */
bool check_absence(const struct check *check, size_t cell, uint64_t low,
    uint64_t high, uint64_t *ret_number);

/*
 * check_pair - judge both sides of a pair, read at one state: both absent,
 * or both of the same write.
 */
bool check_pair(const struct check *check, size_t cell,
    const struct sight sights[2], const uint64_t numbers[2]);

/*
 * check_order - judge the sequence number of a commit by the greatest that
 * was acknowledged before it began, in *newest, which is brought up to date.
 */
bool check_order(const struct check *check, size_t cell, uint64_t before,
    uint64_t seq, _Atomic uint64_t *newest);

#endif /* STRESS_CHECK_H */
