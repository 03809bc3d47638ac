/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_compact.c - compacting processes, killed with SIGKILL at random
 * moments: whatever was there before is there after, and nothing else.
 *
 * Each round writes some records over others, deletes some, and kills one or
 * more compactions of what came about.
 *
 * KVLOG_KILL_ROUNDS=n   rounds, of one store (default 15)
 * KVLOG_SEED=n          repeats records and delays
 */
#include "kill.h"
#include "model.h"
#include "tmpdir.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS 2000
#define VALUE_MAX 900
#define KILLS 4 /* in a row */

static uint64_t seed;
static char path[4200];
static unsigned killed, ended;

static struct kvlog *
open_store(unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = 65536;
	o.index_mode = mode;
	if (kvlog_open(path, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg(
		    "KVLOG_SEED=%" PRIu64 ": open: %s", seed, err.text);
	return db;
}

static void
change(struct model *model, struct rng *rng)
{
	static uint8_t value[VALUE_MAX];
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	for (unsigned i = 0; i < KEYS; i++) {
		struct kvlog_receipt receipt;
		char key[20];
		size_t len = (size_t)rng_below(rng, VALUE_MAX);

		snprintf(key, sizeof key, "%u", (unsigned)rng_below(rng, KEYS));
		if (rng_below(rng, 3) == 0) {
			if (kvlog_delete(db, key, strlen(key), NULL, NULL) ==
			    KVLOG_OK)
				ck_assert(
				    model_delete(model, key, strlen(key)));
			continue;
		}
		rng_fill(rng, value, len);
		ck_assert_int_eq(
		    kvlog_put(db, key, strlen(key), value, len, NULL, &receipt),
		    KVLOG_OK);
		model_put(model, key, strlen(key), value, len, receipt.seq);
	}
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

static enum kvlog_status
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = KVLOG_COMPACT_ALL;
	return kvlog_compact_offline(path, &o, NULL, NULL);
}

static uint64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void
compact_and_kill(uint64_t after_us)
{
	struct timespec pause = {0, (long)after_us * 1000};
	int status = 0;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(compact() == KVLOG_OK ? 0 : 1);
	(void)nanosleep(&pause, NULL);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		killed++;
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		ended++;
	else
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": compaction failed: %#x",
		    seed, (unsigned)status);
}

static void
check(const struct model *model, unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog *db = open_store(flags, mode);
	struct kvlog_stats stats = {.size = sizeof stats};
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": %s", seed, why);
	if (!model_equal(model, &found)) {
		model_explain(model, &found, why);
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": %s", seed, why);
	}
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	if ((stats.recovery & KVLOG_RECOVERY_DAMAGE) != 0)
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": taken for damage: %s",
		    seed, stats.recovery_text);
	model_fini(&found);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

START_TEST(killed_compactions_change_nothing)
{
	uint64_t rounds = kill_rounds(15);
	char *dir = tmpdir_create();
	struct model model = {0};
	uint64_t usual_us;
	struct rng rng;

	rng_init(&rng, seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	change(&model, &rng);
	for (uint64_t round = 0; round < rounds; round++) {
		unsigned kills = 1 + (unsigned)rng_below(&rng, KILLS);

		change(&model, &rng);
		usual_us = now_us();
		ck_assert_int_eq(compact(), KVLOG_OK);
		usual_us = now_us() - usual_us;
		check(&model, KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
		change(&model, &rng);
		while (kills-- > 0) {
			compact_and_kill(rng_below(
			    &rng, usual_us < 400000 ? usual_us + 100 : 400000));
			check(&model, KVLOG_OPEN_READONLY,
			    rng_below(&rng, 2) == 0 ? KVLOG_INDEX_MEMORY
						    : KVLOG_INDEX_HINTS);
		}
		check(&model, 0, KVLOG_INDEX_HINTS);
		check(&model, 0, KVLOG_INDEX_MEMORY);
	}
	printf("%u compactions killed, %u were faster; %zu keys in the end\n",
	    killed, ended, model.count);
	(void)fflush(stdout);
	ck_assert_uint_gt(killed, 0);
	model_fini(&model);
	tmpdir_remove(dir);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("compact");
	TCase *tc = kill_case(suite, &seed);

	tcase_add_test(tc, killed_compactions_change_nothing);
	return test_main(suite);
}
