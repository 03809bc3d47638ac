/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kill.h - for tests that kill processes at random moments: how often, and
 * where the moments come from.
 */
#ifndef KILL_H
#define KILL_H

#include "rng.h"
#include "test.h"

static inline uint64_t
kill_number(const char *variable, uint64_t usual)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoull(text, NULL, 0) : usual;
}

static inline uint64_t
kill_rounds(uint64_t usual)
{
	return kill_number("KVLOG_KILL_ROUNDS", usual);
}

/* A test case that may take as long as the rounds that were asked for; tells
 * the seed. */
static inline TCase *
kill_case(Suite *suite, uint64_t *ret_seed)
{
	TCase *tc = tcase_create("kill");

	*ret_seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", *ret_seed);
	(void)fflush(stdout);
	tcase_set_timeout(tc, kill_rounds(0) > 0 ? 36000 : 300);
	suite_add_tcase(suite, tc);
	return tc;
}

#endif
