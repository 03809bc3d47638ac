/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_model.c - random operations, done to a store and to the model, which
 * must agree after each of them.
 *
 * All that the interface has for keys is done in the default bucket and in
 * some with names, which come and go, and to keys that expire, by a clock that
 * steps forward and back; transactions, and snapshots that are held over all
 * the rest, are among it.  Segments are of 8 KiB (or of 64 KiB, for long
 * values), so that they roll over all the time.  Each opening has its index in
 * memory or in the hints, as it comes (INV-11).  Each list runs on the
 * simulated machine, and a shorter one on the real system, in a directory of
 * its own, half of the time with the background thread.  The list of operations
 * follows from the seed alone.  When they disagree, the list is shrunk: parts
 * of it are left out, halves first, as long as what is left still fails; then
 * seed and operations are printed.
 *
 * KVLOG_SEED=n        repeats a run
 * KVLOG_MODEL_OPS=n   operations per key generator (a twentieth of them on the
 *                     real system, where they wait for the disk)
 */
#include "config.h"

#include "ops.h"
#include "test.h"

#include <string.h>
#include <time.h>

#define OPS_DEFAULT 8000
#define SHRINK_SECONDS 60

/* Leave out what is not needed for the failure, in ever smaller parts. */
static size_t
shrink(const struct generator *gen, bool real, struct op *ops, size_t count,
    char *why)
{
	struct op *fewer = malloc(count * sizeof *ops);
	time_t start = time(NULL);
	size_t failed;

	ck_assert_ptr_nonnull(fewer);
	for (size_t part = count / 2; part > 0; part /= 2) {
		size_t from = 0;

		while (from + part <= count &&
		       time(NULL) - start < SHRINK_SECONDS) {
			memcpy(fewer, ops, from * sizeof *ops);
			memcpy(fewer + from, ops + from + part,
			    (count - from - part) * sizeof *ops);
			if (run_ops(
				gen, real, fewer, count - part, &failed, why)) {
				from += part;
				continue;
			}
			count = failed < count - part ? failed : count - part;
			memcpy(ops, fewer, count * sizeof *ops);
		}
	}
	free(fewer);
	return count;
}

static uint64_t seed;

static void
compare(const struct generator *gen, bool real)
{
	const char *text = getenv("KVLOG_MODEL_OPS");
	size_t count = text != NULL ? strtoul(text, NULL, 0) : OPS_DEFAULT;
	uint64_t run_seed = rng_mix(seed + (uint64_t)(gen - generators));
	char why[OPS_WHY_LEN], first_why[OPS_WHY_LEN];
	struct op *ops;
	size_t failed, left;

	count = count * gen->share / 100 / (real ? 20 : 1);
	ops = malloc((count + 1) * sizeof *ops);
	ck_assert_ptr_nonnull(ops);
	make_ops(ops, count, run_seed);
	if (run_ops(gen, real, ops, count, &failed, why)) {
		free(ops);
		return;
	}
	memcpy(first_why, why, sizeof why);
	printf("KVLOG_SEED=%" PRIu64 ": %s, operation %zu: %s\n", seed,
	    gen->name, failed, why);
	left = shrink(gen, real, ops, failed < count ? failed : count, why);
	printf("%zu operations are enough:\n", left);
	for (size_t i = 0; i < left; i++)
		printf("%4zu %s (%" PRIu64 ")\n", i, op_name(ops[i].type),
		    ops[i].seed);
	(void)run_ops(gen, real, ops, left, &failed, why);
	printf("then: %s\n", why);
	(void)fflush(stdout);
	free(ops);
	ck_abort_msg("KVLOG_SEED=%" PRIu64 ", %s, operation %zu: %s", seed,
	    gen->name, failed, first_why);
}

START_TEST(store_agrees_with_model)
{
	compare(&generators[_i], false);
}
END_TEST

START_TEST(store_agrees_with_model_on_the_real_system)
{
	compare(&generators[_i], true);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("model");
	TCase *tc = tcase_create("model");

	seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	tcase_set_timeout(tc, getenv("KVLOG_MODEL_OPS") != NULL ? 36000 : 300);
	tcase_add_loop_test(
	    tc, store_agrees_with_model, 0, (int)generator_count);
	tcase_add_loop_test(tc, store_agrees_with_model_on_the_real_system, 0,
	    (int)generator_count);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
