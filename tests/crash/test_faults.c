/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_faults.c - calls of the system that fail: each kind, the first time,
 * the second, and so on, once or from then on; and a disk that is full.
 *
 * Whatever fails: a clear status, nothing leaks, what the handle shows is
 * what its statuses said, nothing that was reported durable is lost by the
 * next crash, and the store works after it is opened again.
 */
#include "config.h"

#include "simos.h"
#include "test.h"
#include "victim.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t seed;
static struct victim victim;

/* How often a fault struck a call of the interface: shared with the processes
 * that Check makes of the tests. */
static uint64_t (*hits)[VICTIM_CALL_COUNT];

/* "make check-faults": all combinations, and more kinds of errors. */
static bool full;

/* With sanitizers one in so many calls fails, others in each run of the
 * program; the first ones always do. */
#define SLOWER (TEST_IS_SANITIZED ? 12u : 1u)

static struct {
	const char *script, *phase;
	enum simos_kind kind;
	uint64_t nth;
	bool sticky;
	bool hints; /* the script begins with its index there */
} at;

static void
die(const char *text)
{
	ck_abort_msg("%s\n    KVLOG_SEED=%" PRIu64 ": script %s, call %" PRIu64
		     " of %s fails%s; index in %s; %s",
	    text, seed, at.script, at.nth, simos_step_name(at.kind),
	    at.sticky ? " and all after it" : "", at.hints ? "hints" : "memory",
	    at.phase);
}

static void ATTR_PRINTF(1, 2) die_because(const char *format, ...)
{
	char text[MODEL_WHY_LEN + 200];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	die(text);
}

static void
check_leaks(void)
{
	if (simos_leaks(stderr) != 0)
		die("something leaks");
}

/* By turns with its index in memory and in the hints. */
static struct kvlog_options
make_options(void)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	static bool hints;

	options.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	options.segment_size = VICTIM_SEGMENT;
	options.index_mode = hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	hints = !hints;
	return options;
}

static void
note_hit(enum simos_kind kind)
{
	hits[kind][victim.call]++;
}

static void
open_and_close(void *arg)
{
	struct kvlog_options options = make_options();
	struct kvlog *db;

	(void)arg;
	if (kvlog_open(VICTIM_STORE, &options, &db, NULL) == KVLOG_OK)
		(void)kvlog_close(db, NULL);
}

/* Open without faults and find a state from min to max; then write. */
static void
check_reopen(size_t min, size_t max)
{
	struct oracle *o = &victim.oracle;
	struct kvlog_options options = make_options();
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	/* The machine will be in other states. */
	const uint64_t judged_ms = o->judged_ms, judging_ms = o->judging_ms;
	struct model found = {0};
	struct kvlog *db;
	char why[MODEL_WHY_LEN];
	size_t k, reach;

	/* If the machine forgot names that it was to sync, what is left of a
	 * creation may be anything, and is not to be touched. */
	if (kvlog_open(VICTIM_STORE, &options, &db, &err) != KVLOG_OK) {
		if (err.status == KVLOG_NOTSTORE && !o->created &&
		    at.kind == SIMOS_SYNC_DIR)
			return;
		die_because("open: %s", err.text);
	}
	if (!model_read(&found, db, why))
		die_because("read: %s", why);
	reach = oracle_reach(o, max, kvlog_last_seq(db));
	k = oracle_find(o, &found, min, reach > min ? reach : min, why);
	if (k == SIZE_MAX)
		die_because("found %s", why);
	o->judged_ms = judged_ms;
	o->judging_ms = judging_ms;
	if (kvlog_stats_get(db, &stats) != KVLOG_OK ||
	    (stats.recovery & KVLOG_RECOVERY_DAMAGE) != 0)
		die_because("taken for damage: %s", stats.recovery_text);
	if (kvlog_put(db, "after", 5, "x", 1, NULL, &receipt) != KVLOG_OK ||
	    receipt.seq <= o->max_seq)
		die_because("put after it: number %" PRIu64 ", %" PRIu64
			    " was given out",
		    receipt.seq, o->max_seq);
	model_put(&found, "after", 5, "x", 1, receipt.seq);
	if (kvlog_close(db, &err) != KVLOG_OK)
		die_because("close: %s", err.text);
	check_leaks();

	/* What was written then is there, whatever failed before. */
	simos_power_loss(SIMOS_LOSS_NONE, seed);
	options = make_options();
	if (kvlog_open(VICTIM_STORE, &options, &db, &err) != KVLOG_OK)
		die_because("open after power loss: %s", err.text);
	{
		struct model again = {0};

		if (!model_read(&again, db, why))
			die_because("read after power loss: %s", why);
		if (!model_equal(&found, &again)) {
			model_explain(&found, &again, why);
			die_because("power loss after reopening: %s", why);
		}
		model_fini(&again);
	}
	(void)kvlog_close(db, NULL);
	model_fini(&found);
	check_leaks();
}

/* Recoveries in the boot in which a sync failed, stopped themselves, and then
 * the machine stops too. */
static void
stop_recoveries(const struct simos_state *now, size_t max)
{
	struct oracle *o = &victim.oracle;
	struct rng rng;

	at.phase = "after a stopped recovery and a power loss";
	rng_init(&rng, at.nth ^ seed);
	for (unsigned i = 0; i < 12; i++) {
		unsigned times = 1 + (unsigned)rng_below(&rng, 2);

		simos_restore(now);
		while (times-- > 0) {
			simos_stop_at(1 + rng_below(&rng, 80), 0);
			(void)simos_run(open_and_close, NULL);
			simos_kill();
		}
		simos_stop_at(0, 0);
		simos_power_loss(SIMOS_LOSS_RANDOM, rng_next(&rng));
		oracle_lost_power(o);
		check_reopen(o->durable, max);
	}
}

/*
 * One run with one fault.  False if the fault never struck, for want of so
 * many calls.
 */
static bool
run_with_fault(const struct script *s, const struct simos_state *base,
    int error, bool crash)
{
	struct oracle *o = &victim.oracle;
	size_t min, max;
	bool struck;

	simos_restore(base);
	victim_fini(&victim);
	victim_init(&victim, die);
	victim.hints = at.hints;
	rng_init(&victim.rng, seed);
	if (s->prepare != NULL) {
		at.phase = "before it";
		s->prepare(&victim);
	}
	victim.faults = true;
	victim.error = error;
	victim.read_faults =
	    at.kind == SIMOS_PREAD || (at.kind == SIMOS_STAT && error == EIO);
	victim.store_faults =
	    at.kind == SIMOS_STORE || at.kind == SIMOS_STORE_WORD;
	at.phase = "running";
	simos_fail(at.kind, at.nth, error, at.sticky);
	simos_on_fault(note_hit);
	(void)simos_run(s->fn, &victim);
	struck = simos_count(at.kind) >= at.nth;
	victim_check(&victim);
	simos_fail_clear();
	victim_check(&victim);
	victim_check_saved(&victim);
	max = o->count - 1;
	min = max - o->in_flight;
	if (crash) {
		struct simos_state *now;

		/* The same boot, then another one. */
		simos_kill();
		simos_forget();
		now = simos_save();
		if (at.kind == SIMOS_SYNC || at.kind == SIMOS_SYNC_DIR)
			stop_recoveries(now, max);
		simos_restore(now);
		at.phase = "opened again in the same boot";
		check_reopen(min, max);
		simos_restore(now);
		simos_state_free(now);
		at.phase = "after a power loss";
		simos_power_loss(SIMOS_LOSS_RANDOM, at.nth);
		oracle_lost_power(o);
		check_reopen(o->durable, max);
	} else {
		/* What can be closed is closed, and leaks nothing. */
		victim.faults = true;
		(void)victim_close(&victim);
		check_leaks();
		at.phase = "opened again";
		check_reopen(min, max);
	}
	return struck;
}

static const struct {
	enum simos_kind kind;
	int error;
	bool full; /* only with "make check-faults" */
} faults[] = {
    {SIMOS_MKDIR, EACCES, false},
    {SIMOS_OPEN_DIR, EMFILE, false},
    {SIMOS_LIST, EIO, false},
    {SIMOS_SYNC_DIR, EIO, false},
    {SIMOS_SYNC_PARENT, EIO, false},
    {SIMOS_FS_TYPE, EIO, false},
    {SIMOS_OPEN, EMFILE, false},
    {SIMOS_CREATE, ENOSPC, false},
    {SIMOS_RENAME, EIO, false},
    {SIMOS_UNLINK, EIO, false},
    {SIMOS_STAT_NAME, EIO, false},
    {SIMOS_STAT, EIO, false},
    {SIMOS_STAT, ENOMEM, false},
    {SIMOS_PREAD, EIO, false},
    {SIMOS_PWRITE, EIO, false},
    {SIMOS_PWRITE, ENOSPC, false},
    {SIMOS_ALLOCATE, ENOSPC, false},
    {SIMOS_ALLOCATE, EFBIG, false},
    {SIMOS_SYNC, EIO, false},
    {SIMOS_SYNC, ENOSPC, false},
    {SIMOS_MAP, ENOMEM, false},
    {SIMOS_PROTECT, ENOMEM, false},
    {SIMOS_LOCK, ENOLCK, false},
    {SIMOS_MUTEX, ENOTRECOVERABLE, false},
    {SIMOS_RANDOM, EIO, false},
    {SIMOS_MALLOC, ENOMEM, false},
    {SIMOS_THREAD, EAGAIN, false},
    {SIMOS_CLOSE, EIO, false},
    {SIMOS_MKDIR, EROFS, true},
    {SIMOS_OPEN_DIR, ENFILE, true},
    {SIMOS_LIST, ENOMEM, true},
    {SIMOS_SYNC_DIR, EDQUOT, true},
    {SIMOS_OPEN, ENFILE, true},
    {SIMOS_CREATE, EROFS, true},
    {SIMOS_CREATE, EDQUOT, true},
    {SIMOS_CREATE, EACCES, true},
    {SIMOS_RENAME, ENOSPC, true},
    {SIMOS_UNLINK, EROFS, true},
    {SIMOS_PWRITE, EDQUOT, true},
    {SIMOS_ALLOCATE, EDQUOT, true},
    {SIMOS_ALLOCATE, EIO, true},
    {SIMOS_SYNC, EDQUOT, true},
    {SIMOS_SYNC, EINTR, true},
    {SIMOS_MAP, EACCES, true},
    {SIMOS_LOCK, EINTR, true},
};
#define FAULT_COUNT ((int)(sizeof faults / sizeof faults[0]))

/* Each call that a script makes, once and for ever, then a close or a crash. */
static uint64_t
try_script(const struct script *s, const struct simos_state *base, int error,
    unsigned variant)
{
	const unsigned steps = full ? 1 : 2 * SLOWER - 1; /* SLOWER of mean */
	uint64_t runs = 0;

	at.script = s->name;
	for (unsigned how = 0; how < 4; how++) {
		at.sticky = how % 2 == 1;
		at.hints = (how / 2 + how + variant) % 2 == 1;
		if (!full && s->prepare != NULL && (how == 1 || how == 2))
			continue;
		for (at.nth = 1; run_with_fault(s, base, error, how >= 2);
		     runs++)
			at.nth +=
			    at.nth < 4 ? 1 : 1 + rng_mix(seed + at.nth) % steps;
	}
	return runs;
}

static void
try_faults(enum simos_kind kind, int error, bool pwrite)
{
	struct simos_state *base;
	uint64_t runs = 0;

	if (pwrite)
		simos_set_fs(OS_FS_COW);
	base = simos_save();
	at.kind = kind;
	for (size_t i = 0; i < small_script_count; i++)
		runs += try_script(&scripts[i], base, error, (unsigned)i);
	for (size_t i = 0; i < sweep_count; i++)
		runs += try_script(&sweeps[i], base, error, (unsigned)i);
	simos_state_free(base);
	printf("%-12s %-24s %6" PRIu64 " runs%s\n", simos_step_name(at.kind),
	    strerror(error), runs, pwrite ? ", by pwrite" : "");
	(void)fflush(stdout);
}

START_TEST(each_call_fails)
{
	if (faults[_i].full && !full)
		return;
	try_faults(faults[_i].kind, faults[_i].error, false);
}
END_TEST

/* Only what is worth it is given back: for that a store must be larger than
 * the other scripts'. */
static void
script_slack(void *arg)
{
	struct victim *v = arg;

	v->segment_size = 4u << 20;
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 6; i++)
		(void)victim_put(v, "a", (4u << 20) + i, KVLOG_DURABILITY_NONE);
	(void)victim_put(v, "b", 5000, KVLOG_DURABILITY_NONE);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	(void)victim_put(v, "b", 20, KVLOG_DURABILITY_COMMIT);
	(void)victim_close(v);
}

START_TEST(giving_space_back_fails)
{
	static const struct script slack = {"slack", script_slack, NULL};
	struct simos_state *base = simos_save();

	at.kind = SIMOS_PUNCH;
	ck_assert_uint_gt(try_script(&slack, base, EIO, 0), 0);
	ck_assert_uint_gt(try_script(&slack, base, EOPNOTSUPP, 1), 0);
	simos_state_free(base);
}
END_TEST

/* Where stores go through pwrite they can fail too. */
START_TEST(each_store_fails)
{
	try_faults(_i % 2 == 0 ? SIMOS_STORE : SIMOS_STORE_WORD,
	    _i < 2 ? EIO : ENOSPC, true);
}
END_TEST

/* A repair that fails, too */

/* A store in which a sync has failed, all processes ended. */
static const struct script *
failed_sync(const struct simos_state *base, bool hints)
{
	static const char name[] = "failed sync, repair";
	const struct script *s = sweeps;

	while (strcmp(s->name, name) != 0)
		s++;
	simos_restore(base);
	victim_fini(&victim);
	victim_init(&victim, die);
	victim.hints = hints;
	rng_init(&victim.rng, seed);
	at.script = s->name;
	at.phase = "before it";
	s->prepare(&victim);
	return s;
}

/* Opening with one fault; false if it did not strike.  All processes are ended
 * then. */
static bool
open_with_fault(enum simos_kind kind, uint64_t nth)
{
	bool struck;

	simos_fail(kind, nth, EIO, false);
	(void)simos_run(open_and_close, NULL);
	struck = simos_count(kind) >= nth;
	simos_fail_clear();
	simos_kill();
	simos_forget();
	return struck;
}

/* The next opening is stopped at each of its steps, and the machine too. */
static void
stop_everywhere(const struct simos_state *now)
{
	static const enum simos_loss losses[] = {SIMOS_LOSS_NONE,
	    SIMOS_LOSS_RANDOM, SIMOS_LOSS_RANDOM, SIMOS_LOSS_PREFIX};
	const struct oracle *o = &victim.oracle;
	bool stopped = true;

	for (uint64_t step = 1; stopped; step++) {
		struct simos_state *then;

		simos_restore(now);
		simos_stop_at(step, 0);
		stopped = simos_run(open_and_close, NULL);
		simos_stop_at(0, 0);
		simos_kill();
		simos_forget();
		if (stopped && !simos_step_changes(simos_step_kind(step)))
			continue;
		then = simos_save();
		for (unsigned i = 0; i < 4; i++) {
			simos_restore(then);
			simos_power_loss(losses[i], step + i);
			check_reopen(o->durable, o->count - 1);
		}
		simos_state_free(then);
	}
}

START_TEST(a_repair_may_fail_again_and_again)
{
	static const enum simos_kind kinds[] = {SIMOS_SYNC, SIMOS_SYNC_DIR};
	struct simos_state *base = simos_save();
	const struct oracle *o = &victim.oracle;

	at.kind = kinds[_i % 2];
	at.hints = _i % 4 < 2;
	for (at.nth = 1;; at.nth++) {
		enum simos_kind second = kinds[_i / 4];
		struct simos_state *now;
		bool struck = true;

		(void)failed_sync(base, at.hints);
		at.phase = "after a repair that failed";
		if (!open_with_fault(at.kind, at.nth))
			break;
		now = simos_save();
		stop_everywhere(now);
		at.phase = "after a second repair that failed";
		for (uint64_t nth = 1; struck; nth++) {
			simos_restore(now);
			struck = open_with_fault(second, nth);
			simos_power_loss(SIMOS_LOSS_RANDOM, nth);
			check_reopen(o->durable, o->count - 1);
		}
		simos_state_free(now);
	}
	simos_state_free(base);
}
END_TEST

/* A reader that another process has open sees what it saw, whatever becomes
 * of the files that it was opened with. */
START_TEST(a_reader_outlives_the_repair)
{
	struct simos_state *base = simos_save();
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct model found = {0};
	struct kvlog *reader;
	char why[MODEL_WHY_LEN];

	(void)failed_sync(base, false);
	at.phase = "beside a reader";
	options.flags = KVLOG_OPEN_READONLY;
	options.index_mode = _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	if (kvlog_open(VICTIM_STORE, &options, &reader, &err) != KVLOG_OK)
		die(err.text);
	/* Nothing is durable that was not when the sync failed. */
	ck_assert_uint_lt(kvlog_durable_seq(reader), kvlog_last_seq(reader));
	(void)simos_run(open_and_close, NULL);
	if (!model_read(&found, reader, why))
		die(why);
	if (!model_equal(oracle_last(&victim.oracle), &found))
		die("the reader sees something else");
	model_fini(&found);
	simos_kill();
	simos_forget();
	check_reopen(victim.oracle.count - 1, victim.oracle.count - 1);
	simos_state_free(base);
}
END_TEST

/* Kinds that no fault can strike, and why. */
static const struct {
	enum simos_kind kind;
	const char *why;
} spared[] = {
    {SIMOS_LINK, "only a backup calls it: test_backup.c"},
    {SIMOS_TRUNCATE, "only a backup calls it: test_backup.c"},
    {SIMOS_EXCHANGE, "only a backup calls it: test_backup.c"},
    {SIMOS_RMDIR, "only a backup calls it: test_backup.c"},
    {SIMOS_CLONE, "only a backup calls it: test_backup.c"},
    {SIMOS_UNMAP, "has no result"},
    {SIMOS_ADVISE, "has no result"},
    {SIMOS_SLEEP, "has no result"},
    {SIMOS_CLOCK, "cannot fail"},
    {SIMOS_TICKS, "cannot fail"},
    {SIMOS_BOOT_ID, "cannot fail: zeros stand for none"},
    {SIMOS_PID, "cannot fail"},
};

static const char *
why_spared(enum simos_kind kind)
{
	for (size_t i = 0; i < sizeof spared / sizeof spared[0]; i++)
		if (spared[i].kind == kind)
			return spared[i].why;
	return NULL;
}

/* After all others: every kind has struck, and every call was struck. */
START_TEST(table_is_complete)
{
	static const char *const names[] = {
#define NAME(name, text) text,
	    VICTIM_CALLS(NAME)
#undef NAME
	};
	uint64_t columns[VICTIM_CALL_COUNT] = {0};

	printf("%-12s", "faults");
	for (unsigned c = 0; c < VICTIM_CALL_COUNT; c++)
		printf(" %.7s%*s", names[c], 7 - (int)strnlen(names[c], 7), "");
	printf("\n");
	for (unsigned k = 0; k < SIMOS_KIND_COUNT; k++) {
		uint64_t row = 0;

		printf("%-12s", simos_step_name(k));
		for (unsigned c = 0; c < VICTIM_CALL_COUNT; c++) {
			row += hits[k][c];
			columns[c] += hits[k][c];
			if (row > 0 || why_spared(k) == NULL)
				printf(" %-7" PRIu64, hits[k][c]);
		}
		printf("%s\n",
		    row == 0 && why_spared(k) != NULL ? why_spared(k) : "");
		(void)fflush(stdout);
		ck_assert_msg((row == 0) == (why_spared(k) != NULL),
		    "%s has struck %" PRIu64 " times", simos_step_name(k), row);
	}
	/* A rollover is within other calls. */
	columns[VICTIM_IN_ROLLOVER] += columns[VICTIM_IN_PUT];
	for (unsigned c = 0; c < VICTIM_CALL_COUNT; c++)
		ck_assert_msg(
		    columns[c] > 0, "nothing has struck %s", names[c]);
}
END_TEST

/* A full disk */

static struct kvlog *
open_plain(void)
{
	struct kvlog_options options = make_options();
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	if (kvlog_open(VICTIM_STORE, &options, &db, &err) != KVLOG_OK)
		ck_abort_msg("open: %s", err.text);
	return db;
}

static enum kvlog_status
put_number(struct kvlog *db, unsigned i)
{
	static const uint8_t value[1000];
	char key[20];
	int len = snprintf(key, sizeof key, "key%u", i);

	return kvlog_put(db, key, (size_t)len, value, sizeof value, NULL, NULL);
}

static enum kvlog_status
delete_number(struct kvlog *db, unsigned i)
{
	char key[20];
	int len = snprintf(key, sizeof key, "key%u", i);

	return kvlog_delete(db, key, (size_t)len, NULL, NULL);
}

static unsigned
fill(struct kvlog *db)
{
	unsigned n = 0;
	enum kvlog_status st;

	while ((st = put_number(db, n)) == KVLOG_OK)
		n++;
	ck_assert_int_eq(st, KVLOG_NOSPACE);
	return n;
}

static void
check_count(struct kvlog *db, unsigned wanted)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		ck_abort_msg("%s", why);
	ck_assert_uint_eq(found.count, wanted);
	model_fini(&found);
}

START_TEST(full_disk_refuses_puts_and_keeps_the_rest)
{
	struct kvlog *db;
	unsigned n;

	simos_set_capacity(100 * 1024);
	db = open_plain();
	n = fill(db);
	ck_assert_uint_ge(n, 10);
	ck_assert_int_eq(kvlog_put(db, "x", 1, NULL, 0, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_delete(db, "x", 1, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(put_number(db, n), KVLOG_NOSPACE);
	check_count(db, n);

	/* Deletes go on within the reserve, beyond the active segment. */
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(delete_number(db, i), KVLOG_OK);
	check_count(db, 0);

	/* Space comes back: puts work without reopening. */
	simos_set_capacity(UINT64_MAX);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(put_number(db, i), KVLOG_OK);
	check_count(db, n);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	db = open_plain();
	check_count(db, n);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* However much space there is, down to nothing beyond the store's own:
 * opening after a crash works within the reserve, and loses nothing. */
START_TEST(full_disk_can_be_opened)
{
	for (unsigned i = 0; i < 3; i++) {
		struct kvlog *db;
		unsigned n;

		simos_fini();
		simos_init(seed + i);
		simos_set_capacity(120 * 1024);
		db = open_plain();
		n = fill(db);
		if (i == 0) {
			ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
		} else if (i == 1) {
			simos_kill();
		} else {
			simos_power_loss(SIMOS_LOSS_RANDOM, seed);
		}
		simos_forget();
		simos_set_capacity(simos_used());
		db = open_plain();
		check_count(db, n);
		ck_assert_int_eq(delete_number(db, 0), KVLOG_OK);
		check_count(db, n - 1);
		simos_set_capacity(UINT64_MAX);
		ck_assert_int_eq(put_number(db, 0), KVLOG_OK);
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	}
}
END_TEST

/* Every limit from an empty disk to one that has room for a small script:
 * statuses are honest, and what was durable stays. */
START_TEST(every_capacity)
{
	struct simos_state *base = simos_save();

	at.kind = SIMOS_ALLOCATE;
	at.script = "rollover";
	for (uint64_t blocks = 0; blocks < 60; blocks++) {
		struct oracle *o = &victim.oracle;

		for (unsigned fs = 0; fs < 2; fs++) {
			simos_restore(base);
			simos_set_fs(fs == 0 ? OS_FS_PLAIN : OS_FS_COW);
			simos_set_capacity(blocks * 4096);
			at.nth = blocks;
			at.phase = "with so many blocks on the disk";
			victim_fini(&victim);
			victim_init(&victim, die);
			victim.faults = true;
			(void)simos_run(scripts[_i].fn, &victim);
			victim_check(&victim);
			(void)victim_close(&victim);
			check_leaks();
			simos_power_loss(SIMOS_LOSS_RANDOM, blocks);
			oracle_lost_power(o);
			simos_set_capacity(UINT64_MAX);
			check_reopen(o->durable, o->count - 1);
		}
	}
	simos_state_free(base);
}
END_TEST

static void
setup(void)
{
	simos_init(seed);
}

static void
teardown(void)
{
	victim_fini(&victim);
	simos_fini();
}

int
main(void)
{
	Suite *suite = suite_create("faults");
	TCase *tc = tcase_create("faults");

	hits = mmap(NULL, SIMOS_KIND_COUNT * sizeof *hits,
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (hits == MAP_FAILED)
		return EXIT_FAILURE;
	full = getenv("KVLOG_FULL") != NULL;
	seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, each_call_fails, 0, FAULT_COUNT);
	tcase_add_loop_test(tc, each_store_fails, 0, 4);
	tcase_add_test(tc, giving_space_back_fails);
	tcase_add_loop_test(tc, a_repair_may_fail_again_and_again, 0, 8);
	tcase_add_loop_test(tc, a_reader_outlives_the_repair, 0, 2);
	tcase_add_test(tc, table_is_complete);
	tcase_add_test(tc, full_disk_refuses_puts_and_keeps_the_rest);
	tcase_add_test(tc, full_disk_can_be_opened);
	tcase_add_loop_test(tc, every_capacity, 0, (int)small_script_count);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
