/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash.h - a child that writes is killed, the store is opened again, and
 * every record whose put had returned must be there.
 */
#ifndef BENCH_CRASH_H
#define BENCH_CRASH_H

#include "engine.h"

#include <stdbool.h>
#include <stdint.h>

enum crash_outcome { CRASH_NOT_RUN, CRASH_PASSED, CRASH_FAILED, CRASH_ERROR };

struct crash_result {
	enum crash_outcome outcome;
	uint64_t kills;
	uint64_t acknowledged; /* puts that had returned, checked each time */
	char text[160];        /* what was wrong; "" if passed */
};

/*
 * crash_test - kill a writer of a store in the directory dir, which this makes
 * and does not remove, kills times, each time at a random moment, half of them
 * with durable puts.  CRASH_ERROR if the test itself cannot be done.
 */
void crash_test(const struct engine *engine, const char *dir, uint64_t kills,
    uint64_t seed, struct crash_result *result);

#endif /* BENCH_CRASH_H */
