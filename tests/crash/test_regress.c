/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_regress.c - what went wrong once, whole stores on the simulated
 * machine: repairs stopped or refused by the disk, full disks, files that
 * somebody made to harm us, readers that meet a writer at a bad moment.
 *
 * Each test says in its name what holds, and in its comment what did not.
 */
#include "config.h"

#include "bytes.h"
#include "commit.h"
#include "makelog.h"
#include "prepare.h"
#include "store.h"
#include "sum.h"
#include "sync.h"

#include <errno.h>
#include <sys/mman.h>

#define STORE MAKELOG_STORE
#define ONE "00000001.seg"
#define VALUE_LEN 900
#define BAD_BITS (KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)

static struct kvlog *db;
static struct kvlog_error err;

/* Open as the process's only handle; a success leaves the detail alone. */
static enum kvlog_status
try_open(unsigned flags, uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error clean;
	enum kvlog_status st;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size = segment_size;
	o.timeout_ms = 0;
	memset(&clean, 0, sizeof clean);
	memset(&err, 0, sizeof err);
	db = NULL;
	st = kvlog_open(STORE, &o, &db, &err);
	if (st == KVLOG_OK)
		ck_assert_msg(memcmp(&err, &clean, sizeof err) == 0,
		    "said on success: %s", err.text);
	else
		ck_assert_int_eq(err.status, st);
	return st;
}

static void
must_open(unsigned flags)
{
	enum kvlog_status st = try_open(flags, KVLOG_SEGMENT_SIZE_MIN);

	ck_assert_msg(st == KVLOG_OK, "open: %d %s", (int)st, err.text);
}

static void
close_store(void)
{
	if (db != NULL)
		MAKELOG_OK(kvlog_close(db, &err));
	db = NULL;
}

/* The process is killed, the machine goes on. */
static void
kill_process(void)
{
	simos_kill();
	simos_forget();
	db = NULL;
}

static enum kvlog_status
put_as(const char *key, size_t len, enum kvlog_durability durability)
{
	static const uint8_t value[1000000];
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.durability = durability;
	return kvlog_put(db, key, strlen(key), value, len, &how, NULL);
}

static enum kvlog_status
put_number(unsigned n, enum kvlog_durability durability)
{
	char key[16];

	(void)snprintf(key, sizeof key, "key%u", n);
	return put_as(key, VALUE_LEN, durability);
}

/* How many of key0, key1, ... are there, with all of their values. */
static unsigned
count_numbers(unsigned count)
{
	static uint8_t value[VALUE_LEN];
	unsigned there = 0;

	for (unsigned i = 0; i < count; i++) {
		char key[16];
		size_t len = 0;

		(void)snprintf(key, sizeof key, "key%u", i);
		there += kvlog_get(db, key, strlen(key), value, sizeof value,
			     &len) == KVLOG_OK &&
			 len == VALUE_LEN;
	}
	return there;
}

static struct kvlog_stats
get_stats(void)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	MAKELOG_OK(kvlog_stats_get(db, &stats));
	return stats;
}

/* All of them were durable. */
static void
lose_power_and_nothing_else(uint64_t seed, unsigned count)
{
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	must_open(0);
	ck_assert_msg(count_numbers(count) == count, "seed %" PRIu64 ": %s",
	    seed, get_stats().recovery_text);
	close_store();
}

static void
maintain_all(void)
{
	bool more;

	MAKELOG_OK(kvlog_maintain(db, 1000, &more));
}

static void
open_script(void *arg)
{
	(void)arg;
	(void)try_open(0, KVLOG_SEGMENT_SIZE_MIN);
}

static void
create_script(void *arg)
{
	(void)arg;
	(void)try_open(KVLOG_OPEN_CREATE, KVLOG_SEGMENT_SIZE_MIN);
}

/* Repairs */

/*
 * A rewrite after a failed sync was killed behind the rename that names its
 * output and before that name was durable.  The next opening took the output
 * for the whole truth and removed its inputs; if the removals reached the
 * disk and the name did not, commits reported durable were gone.
 */
START_TEST(a_rewrite_killed_behind_its_rename_loses_nothing)
{
	const unsigned durable = 6;
	struct simos_state *poisoned, *renamed;
	uint64_t step = 1;
	bool stopped = true;

	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < durable; i++)
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	ck_assert_int_eq(
	    put_as("x", 100, KVLOG_DURABILITY_COMMIT), KVLOG_BROKEN);
	simos_fail_clear();
	kill_process();

	poisoned = simos_save();
	ck_assert(!simos_run(open_script, NULL));
	while (simos_step_kind(step) != SIMOS_RENAME)
		ck_assert_uint_lt(step++, simos_steps());
	simos_restore(poisoned);
	simos_stop_at(step + 1, 0);
	ck_assert(simos_run(open_script, NULL));
	kill_process();
	ck_assert(makelog_exists("00000002-00000002.r1.1of1.seg"));

	renamed = simos_save();
	for (step = 1; stopped; step++) {
		struct simos_state *crash;

		simos_restore(renamed);
		simos_stop_at(step, 0);
		stopped = simos_run(open_script, NULL);
		kill_process();
		crash = simos_save();
		for (uint64_t seed = 0; seed < 20; seed++) {
			unsigned there;

			simos_restore(crash);
			simos_power_loss(SIMOS_LOSS_RANDOM, seed);
			must_open(0);
			there = count_numbers(durable);
			ck_assert_msg(there == durable,
			    "step %" PRIu64 ", seed %" PRIu64 ": %u of %u",
			    step, seed, there, durable);
			close_store();
		}
		simos_state_free(crash);
	}
	ck_assert_uint_gt(step, 20);
	simos_state_free(renamed);
	simos_state_free(poisoned);
}
END_TEST

/* A machine with a store of so many commits, whose writer was killed in the
 * midst of one more. */
static void
make_killed_store(uint64_t seed, unsigned count)
{
	simos_fini();
	simos_init(seed);
	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < count; i++)
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_NONE));
	ck_assert_int_eq(control_set_intent(&db->store->control, 7000), 0);
	kill_process();
}

/*
 * A repair synced what it kept, and that sync failed.  The next opening
 * synced the same pages again, which the kernel by then took for clean, and
 * called them durable; a power loss then took them.
 */
START_TEST(a_sync_that_failed_in_a_repair_is_not_tried_again)
{
	const unsigned count = 3;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		make_killed_store(seed, count);

		simos_fail(SIMOS_SYNC, 1, EIO, false);
		ck_assert_int_eq(try_open(0, KVLOG_SEGMENT_SIZE_MIN), KVLOG_IO);
		simos_fail_clear();
		must_open(0);
		ck_assert_uint_ge(kvlog_durable_seq(db), count);
		ck_assert_uint_eq(count_numbers(count), count);
		close_store();
		kill_process();

		lose_power_and_nothing_else(seed, count);
	}
}
END_TEST

static unsigned failed_sync_puts, failed_sync_nth;
static enum simos_kind failed_sync_kind;

static void
failing_sync_script(void *arg)
{
	(void)arg;
	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < failed_sync_puts; i++)
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_NONE));
	simos_fail(failed_sync_kind, failed_sync_nth, EIO, false);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
}

/*
 * A writer was killed between a sync that failed and the word that tells
 * others: nobody knew.  The next opening synced the same pages, which the
 * kernel by then took for clean, and called them durable; a power loss then
 * took them.  _i: with one segment, or several of which the first or the second
 * is not synced; with a boot id or without, where the next opening recovers as
 * after a crash; last, of the directory, whose names were forgotten likewise.
 */
START_TEST(a_writer_killed_behind_a_failed_sync_leaves_a_doubt)
{
	const bool boot_id = _i / 3 != 1;

	failed_sync_puts = _i % 3 == 0 && _i < 6 ? 3 : 20;
	failed_sync_nth = _i % 3 == 2 ? 2 : 1;
	failed_sync_kind = _i < 6 ? SIMOS_SYNC : SIMOS_SYNC_DIR;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		uint64_t step;

		simos_fini();
		simos_init(seed);
		simos_set_boot_id(boot_id);

		struct simos_state *base = simos_save();
		ck_assert(!simos_run(failing_sync_script, NULL));
		for (step = simos_steps();
		     simos_step_kind(step) != failed_sync_kind;)
			ck_assert_uint_gt(step--, 1);
		simos_restore(base);
		simos_stop_at(step + 1, 0);
		ck_assert(simos_run(failing_sync_script, NULL));
		simos_fail_clear();
		kill_process();

		must_open(0);
		ck_assert_uint_eq(
		    count_numbers(failed_sync_puts), failed_sync_puts);
		MAKELOG_OK(kvlog_sync(db));
		ck_assert_uint_ge(kvlog_durable_seq(db), failed_sync_puts);
		kill_process();
		lose_power_and_nothing_else(seed, failed_sync_puts);
		simos_state_free(base);
	}
}
END_TEST

static const struct os_table *plain;
static unsigned spare_puts;

/* The spare becomes a segment, and gets commits, before its sync fails. */
static int
use_the_spare_and_fail(int fd)
{
	os = plain;
	while (segment_number(log_active(&db->store->log)) < 3)
		MAKELOG_OK(put_number(spare_puts++, KVLOG_DURABILITY_NONE));
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	return os->sync(fd);
}

static void
failing_spare_script(void *arg)
{
	struct os_table hooked;

	(void)arg;
	spare_puts = 0;
	must_open(KVLOG_OPEN_CREATE);
	while (segment_number(log_active(&db->store->log)) < 2)
		MAKELOG_OK(put_number(spare_puts++, KVLOG_DURABILITY_NONE));
	MAKELOG_OK(kvlog_sync(db));
	ck_assert(log_prepare_spare(&db->store->log));
	plain = os;
	hooked = *os;
	hooked.sync = use_the_spare_and_fail;
	os = &hooked;
	ck_assert(log_prepare_pages(&db->store->log, true));
	ck_assert_ptr_eq(os, plain);
}

/* The same with a sync of the spare's blocks, which had got commits by then. */
START_TEST(a_failed_sync_of_the_spare_leaves_a_doubt)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct simos_state *base;
		uint64_t step;

		simos_fini();
		simos_init(seed);
		base = simos_save();
		ck_assert(!simos_run(failing_spare_script, NULL));
		for (step = simos_steps(); simos_step_kind(step) != SIMOS_SYNC;)
			ck_assert_uint_gt(step--, 1);
		simos_restore(base);
		simos_stop_at(step + 1, 0);
		ck_assert(simos_run(failing_spare_script, NULL));
		simos_fail_clear();
		kill_process();

		must_open(0);
		MAKELOG_OK(kvlog_sync(db));
		ck_assert_uint_ge(kvlog_durable_seq(db), spare_puts);
		kill_process();
		lose_power_and_nothing_else(seed, spare_puts);
		simos_state_free(base);
	}
}
END_TEST

static void
open_failing_script(void *arg)
{
	(void)arg;
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	(void)try_open(0, KVLOG_SEGMENT_SIZE_MIN);
}

/*
 * A sync failed in a repair, and the process was killed while it made the page
 * anew to say so: for a while the page said nothing.
 */
START_TEST(a_repair_killed_while_it_tells_leaves_a_doubt)
{
	const unsigned count = 3;
	uint64_t step, last, tried = 0;

	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct simos_state *base;

		make_killed_store(seed, count);
		base = simos_save();
		ck_assert(!simos_run(open_failing_script, NULL));
		last = simos_steps();
		for (step = 1; simos_step_kind(step) != SIMOS_SYNC; step++)
			ck_assert_uint_lt(step, last);
		for (; step <= last; step++, tried++) {
			simos_restore(base);
			simos_stop_at(step, 0);
			ck_assert(simos_run(open_failing_script, NULL));
			simos_fail_clear();
			kill_process();
			must_open(0);
			close_store();
			kill_process();
			simos_power_loss(SIMOS_LOSS_NONE, 1);
			must_open(0);
			ck_assert_msg(count_numbers(count) == count,
			    "seed %" PRIu64 ", step %" PRIu64 ": %s", seed,
			    step, get_stats().recovery_text);
			close_store();
			kill_process();
		}
		simos_state_free(base);
	}
	ck_assert_uint_gt(tried, 30);
}
END_TEST

/*
 * The last thing in a sealed segment was a mark, which has no number, and its
 * sync failed: the segment counted as durable and was not copied, so that a
 * power loss took the mark, and the store was called damaged.
 */
START_TEST(a_mark_whose_sync_failed_is_copied_too)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		simos_fini();
		simos_init(seed);
		must_open(KVLOG_OPEN_CREATE);
		for (unsigned i = 0; i < 2; i++)
			MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
		MAKELOG_OK(log_take_turn(&db->store->log, NULL));
		MAKELOG_OK(log_mark(&db->store->log, false, NULL));
		log_release_turn(&db->store->log);
		for (unsigned i = 2; i < 6; i++)
			MAKELOG_OK(put_number(i, KVLOG_DURABILITY_NONE));
		simos_fail(SIMOS_SYNC, 1, EIO, false);
		ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
		simos_fail_clear();
		kill_process();
		must_open(0);
		ck_assert_uint_eq(count_numbers(6), 6);
		MAKELOG_OK(put_number(6, KVLOG_DURABILITY_COMMIT));
		kill_process();
		simos_power_loss(SIMOS_LOSS_NONE, 1);
		must_open(0);
		ck_assert_uint_eq(count_numbers(7), 7);
		ck_assert_msg((get_stats().recovery & BAD_BITS) == 0,
		    "seed %" PRIu64 ": %s", seed, get_stats().recovery_text);
		close_store();
	}
}
END_TEST

/* The same where it is a repair whose sync failed. */
START_TEST(a_repair_killed_behind_a_failed_sync_leaves_a_doubt)
{
	const unsigned count = 3;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct simos_state *base;
		uint64_t step = 1;

		make_killed_store(seed, count);
		base = simos_save();
		simos_fail(SIMOS_SYNC, 1, EIO, false);
		ck_assert(!simos_run(open_script, NULL));
		ck_assert_ptr_null(db);
		while (simos_step_kind(step) != SIMOS_SYNC)
			ck_assert_uint_lt(step++, simos_steps());
		simos_restore(base);
		simos_fail(SIMOS_SYNC, 1, EIO, false);
		simos_stop_at(step + 1, 0);
		ck_assert(simos_run(open_script, NULL));
		simos_fail_clear();
		kill_process();

		must_open(0);
		ck_assert_uint_ge(kvlog_durable_seq(db), count);
		close_store();
		kill_process();
		lose_power_and_nothing_else(seed, count);
		simos_state_free(base);
	}
}
END_TEST

/*
 * A close was killed between the store of its mark and the sync of it; the
 * segment was sealed, and the process killed again.  The next opening took
 * the segment for synced, as all its commits were: but the mark was not.  If
 * a power loss then took it, the log ended there, and what stood behind it was
 * lost, though durable; or it was called damaged.
 */
static void
close_script(void *arg)
{
	(void)arg;
	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	(void)kvlog_close(db, NULL);
}

START_TEST(a_mark_without_a_sync_ends_nothing_later)
{
	struct simos_state *base = simos_save();
	bool stopped = true;

	for (uint64_t step = 1; stopped; step++) {
		struct simos_state *crash;

		simos_restore(base);
		simos_stop_at(step, 0);
		stopped = simos_run(close_script, NULL);
		kill_process();
		must_open(KVLOG_OPEN_CREATE);
		/* Too much for the rest of the segment. */
		MAKELOG_OK(put_as("long", 3000, KVLOG_DURABILITY_NONE));
		kill_process();
		must_open(0);
		MAKELOG_OK(put_as("last", 10, KVLOG_DURABILITY_COMMIT));
		kill_process();
		crash = simos_save();
		for (uint64_t seed = 0; seed < 4; seed++) {
			simos_restore(crash);
			simos_power_loss(
			    seed == 0 ? SIMOS_LOSS_NONE : SIMOS_LOSS_RANDOM,
			    seed);
			must_open(0);
			ck_assert_msg(kvlog_exists(db, "last", 4) == KVLOG_OK,
			    "step %" PRIu64 ", seed %" PRIu64 ": lost", step,
			    seed);
			ck_assert_msg((get_stats().recovery & BAD_BITS) == 0,
			    "step %" PRIu64 ", seed %" PRIu64 ": %s", step,
			    seed, get_stats().recovery_text);
			close_store();
		}
		simos_state_free(crash);
	}
	simos_state_free(base);
}
END_TEST

/* Full disks */

/*
 * Closing gives the unused space of the active segment back.  When others had
 * taken it meanwhile, the store could not be opened for writing, and so not
 * one key be deleted.
 */
START_TEST(a_full_disk_does_not_keep_a_closed_store_from_opening)
{
	uint64_t used, count;
	unsigned n = 0;

	simos_set_shadow(false); /* it would copy all of it at each sync */
	MAKELOG_OK(try_open(KVLOG_OPEN_CREATE, UINT64_C(64) << 20));
	do {
		char key[16];

		ck_assert_uint_lt(n, 100);
		(void)snprintf(key, sizeof key, "big%u", n++);
		MAKELOG_OK(put_as(key, 1000000, KVLOG_DURABILITY_NONE));
	} while (get_stats().free_bytes < UINT64_C(5) << 18);
	used = simos_used();
	close_store();
	ck_assert_uint_lt(simos_used(), used);

	simos_set_capacity(simos_used());
	MAKELOG_OK(try_open(0, 0));
	MAKELOG_OK(kvlog_count(db, &count));
	ck_assert_uint_eq(count, n);
	ck_assert_int_eq(
	    put_as("y", 1000, KVLOG_DURABILITY_COMMIT), KVLOG_NOSPACE);
	MAKELOG_OK(kvlog_delete(db, "big0", 4, NULL, NULL));
	close_store();

	simos_set_capacity(UINT64_MAX);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	MAKELOG_OK(try_open(0, 0));
	MAKELOG_OK(kvlog_count(db, &count));
	ck_assert_uint_eq(count, n - 1);
	MAKELOG_OK(put_as("y", 1000, KVLOG_DURABILITY_COMMIT));
	close_store();
}
END_TEST

/*
 * On a full disk a reserve that had been cut to less than the smallest segment,
 * but more than a segment's header, was to become a segment, and an assert fell
 * over it.
 */
START_TEST(a_reserve_that_was_cut_is_not_used)
{
	static const uint64_t sizes[] = {
	    0, 4096, 4607, 4608, 4616, 5000, 8191, 8192};
	const uint64_t size = sizes[_i];
	const bool usable = size >= KVLOG_SEGMENT_SIZE_MIN;
	int dir, fd;

	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	kill_process();
	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->unlink(dir, "reserve.open"), 0);
	ck_assert_int_eq(os->open(dir, "reserve", OS_OPEN_WRITE, 0, &fd), 0);
	ck_assert_int_eq(os->truncate(fd, size), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->close(dir), 0);
	/* Stale, so that a new segment is wanted. */
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	simos_set_capacity(simos_used());
	ck_assert_int_eq(try_open(0, KVLOG_SEGMENT_SIZE_MIN),
	    usable ? KVLOG_OK : KVLOG_NOSPACE);
	close_store();
	must_open(KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(count_numbers(1), 1);
	close_store();
	simos_set_capacity(UINT64_MAX);
	must_open(0);
	ck_assert_uint_eq(count_numbers(1), 1);
	MAKELOG_OK(put_number(1, KVLOG_DURABILITY_COMMIT));
	close_store();
}
END_TEST

/* Damage */

/* Segments with hints; the header of key0's record, in the first, is damaged.
 * Returns where. */
static uint64_t
make_damaged_key(void)
{
	struct kvlog_receipt receipt = {0, 0, 0};

	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(kvlog_put(db, "key0", 4, "v", 1, NULL, &receipt));
	for (unsigned i = 1; i < 30; i++) {
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
		maintain_all();
	}
	close_store();
	ck_assert_ptr_nonnull(makelog_hint());
	ck_assert_uint_eq(receipt.segment, 1);
	makelog_flip(ONE, receipt.offset + RECORD_HEADER_SIZE + 1);
	return receipt.offset;
}

/*
 * A walk took every failure for a damaged entry that it can go on behind.
 * When it was memory that was wanting, to unfold the damaged one, it came
 * back to the same entry for ever.
 */
START_TEST(want_of_memory_ends_a_walk_over_damage)
{
	unsigned said = 0;

	(void)make_damaged_key();
	must_open(KVLOG_OPEN_READONLY);
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct kvlog_stats stats = {.size = sizeof stats};
		enum kvlog_status st;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, true);
		st = kvlog_stats_get(db, &stats);
		simos_fail_clear();
		ck_assert_msg(st == KVLOG_OK || st == KVLOG_NOMEM,
		    "allocation %" PRIu64 ": %d", nth, (int)st);
		said += st == KVLOG_NOMEM;
	}
	ck_assert_uint_gt(said, 3);
	ck_assert_uint_eq(get_stats().record_count, 30);
	close_store();
}
END_TEST

/*
 * Of the last batch a part was left, behind which the log ended in damage.
 * The hint that the next writer made of the segment had the number of that
 * batch, as if all of it were there, and no later opening said that the store
 * is degraded.
 */
START_TEST(a_store_stays_degraded_when_its_damaged_end_gets_a_hint)
{
	static const uint8_t zeros[1000];
	struct kvlog_receipt receipt;
	struct kvlog_op ops[2];

	memset(ops, 0, sizeof ops);
	for (unsigned i = 0; i < 2; i++) {
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = i == 0 ? "a" : "b";
		ops[i].key_len = 1;
	}
	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	MAKELOG_OK(kvlog_apply(db, ops, 2, NULL, &receipt, NULL));
	close_store();
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	makelog_poke(ONE, receipt.offset + (RECORD_HEADER_SIZE + 1 + 7) / 8 * 8,
	    zeros, sizeof zeros);
	for (unsigned i = 0; i < 3; i++) {
		must_open(0);
		ck_assert_uint_eq(get_stats().recovery & BAD_BITS, BAD_BITS);
		maintain_all();
		close_store();
	}
}
END_TEST

/*
 * Where the header of a key's record is damaged it may be another key's: the
 * interface said that only writes with a condition fail for that, and deletes
 * did too.
 */
START_TEST(a_key_whose_header_is_damaged_can_be_put_but_not_deleted)
{
	const uint64_t off = make_damaged_key();
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_info info = {0};
	uint64_t last;

	must_open(0);
	last = kvlog_last_seq(db);
	how.err = &err;
	ck_assert_int_eq(
	    kvlog_delete(db, "key0", 4, &how, NULL), KVLOG_CORRUPT);
	ck_assert_int_eq(err.status, KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(err.offset, off);
	ck_assert_uint_eq(kvlog_last_seq(db), last); /* nothing was written */

	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	ck_assert_uint_eq(count_numbers(30), 30);
	MAKELOG_OK(kvlog_delete(db, "key0", 4, NULL, NULL));

	/* The newest record is whole, and says so, also when it is found
	 * again; whatever the damaged one was. */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    kvlog_lookup(db, "key0", 4, &info), KVLOG_NOTFOUND);
		ck_assert_uint_eq(count_numbers(30), 29);
		close_store();
		must_open(0);
	}
	close_store();
}
END_TEST

/*
 * Two loops looked at all bad places for each record: a file of many of them
 * took hours to open.  This one would take longer than Check waits.
 * _i: between records, or between marks, which give no number to go on from.
 */
START_TEST(many_bad_places_cost_their_number_only)
{
	static const uint8_t bad[8] = {9, 9, 9, 9, 9, 9, 9, 9};
	const uint64_t count = 200000;
	struct makelog m;
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};

	makelog_init(&m);
	m.size = round_up(count * 80 + 65536, BLOCK_SIZE);
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "a", 1);
	for (uint64_t i = 0; i < count; i++) {
		m.durable = m.seq;
		if (_i == 0)
			(void)makelog_put(&m, "k", 1);
		else
			(void)makelog_mark(&m, false);
		ck_assert_int_eq(
		    os->store(&m.seg->map, m.off, bad, sizeof bad), 0);
		m.off += sizeof bad;
	}
	m.durable = m.seq;
	(void)makelog_put(&m, "z", 1);
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_fini(&m);

	must_open(KVLOG_OPEN_READONLY);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_eq(stats.damaged_ranges, count);
	ck_assert_uint_eq(stats.damaged_bytes, count * sizeof bad);
	MAKELOG_OK(kvlog_exists(db, "a", 1));
	MAKELOG_OK(kvlog_exists(db, "z", 1));
	close_store();
}
END_TEST

/* Hostile files: all sums are right */

/* Copy a file of the store; free() it. */
static uint8_t *
read_whole(const char *name, uint64_t *ret_size)
{
	const uint8_t *bytes;
	uint8_t *copy;

	ck_assert(simos_peek(makelog_path(name), &bytes, ret_size));
	copy = malloc((size_t)*ret_size);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, (size_t)*ret_size);
	return copy;
}

static void
replace_whole(const char *name, const uint8_t *bytes, uint64_t size)
{
	int dir, fd;

	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->unlink(dir, name), 0);
	ck_assert_int_eq(os->open(dir, name, OS_OPEN_CREATE, 0644, &fd), 0);
	ck_assert_int_eq(os->pwrite(fd, bytes, (size_t)size, 0), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	ck_assert_int_eq(os->close(dir), 0);
}

static void
make_hinted(void)
{
	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 30; i++) {
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
		maintain_all();
	}
	close_store();
	ck_assert_ptr_nonnull(makelog_hint());
}

/* Files of GUARDED_LEN bytes are mapped with nothing behind them, so that a
 * read there is a signal. */
#define GUARDED_LEN 8192u
static const struct os_table *unguarded;
static uint8_t *guarded; /* at most one at a time */

static int
guarded_map(
    int fd, uint64_t len, bool writable, bool by_pwrite, struct os_map *ret_map)
{
	size_t got = 0;
	uint8_t *p;

	if (writable || len != GUARDED_LEN || guarded != NULL)
		return unguarded->map(fd, len, writable, by_pwrite, ret_map);
	p = mmap(NULL, 2 * GUARDED_LEN, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(p != MAP_FAILED);
	ck_assert_int_eq(unguarded->pread(fd, p, GUARDED_LEN, 0, &got), 0);
	ck_assert_uint_eq(got, GUARDED_LEN);
	if (memcmp(p, "kvloghnt", 8) != 0) {
		ck_assert_int_eq(munmap(p, 2 * GUARDED_LEN), 0);
		return unguarded->map(fd, len, writable, by_pwrite, ret_map);
	}
	ck_assert_int_eq(mprotect(p + GUARDED_LEN, GUARDED_LEN, PROT_NONE), 0);
	guarded = p;
	*ret_map = (struct os_map){.addr = p, .len = len, .fd = fd};
	return 0;
}

static void
guarded_advise(
    const struct os_map *map, uint64_t off, uint64_t len, enum os_advice advice)
{
	if (map->addr != guarded)
		unguarded->advise(map, off, len, advice);
}

static void
guarded_unmap(struct os_map *map)
{
	if (map->addr == NULL || map->addr != guarded) {
		unguarded->unmap(map);
		return;
	}
	ck_assert_int_eq(munmap(guarded, 2 * GUARDED_LEN), 0);
	guarded = NULL;
	map->addr = NULL;
}

/*
 * The number of blocks was computed from the number of entries by a sum that
 * wrapped around: with 2^64 - 1 entries in no blocks at all, entries were
 * read from behind the end of the file.
 */
START_TEST(a_hint_of_2_to_the_64_entries_is_left_alone)
{
	enum { LEN = GUARDED_LEN };
	struct os_table table = *os;
	uint64_t size;
	uint8_t *hint, *evil;
	struct kvlog_stats stats;
	const char *name;
	uint32_t usable;

	make_hinted();
	must_open(KVLOG_OPEN_READONLY);
	usable = get_stats().hint_count;
	close_store();

	/* A good block, and the numbers of more than there can be. */
	name = makelog_hint();
	hint = read_whole(name, &size);
	evil = calloc(1, LEN);
	ck_assert_ptr_nonnull(evil);
	ck_assert_uint_ge(size, LEN);
	memcpy(evil, hint, LEN);
	put_u64(evil + 48, UINT64_MAX);
	put_u32(evil + 56, 0);
	put_u64(evil + 72, 4096);
	put_u64(evil + 80, LEN - 4096);
	put_u32(evil + 88, 0);
	put_u64(evil + 96, LEN);
	put_u32(evil + 8, sum_crc(evil + 12, get_u32(evil + 20) - 12));
	replace_whole(name, evil, LEN);

	unguarded = os;
	table.map = guarded_map;
	table.unmap = guarded_unmap;
	table.advise = guarded_advise;
	os = &table;
	must_open(KVLOG_OPEN_READONLY);
	stats = get_stats();
	ck_assert_uint_eq(stats.hint_count, usable - 1);
	ck_assert_uint_eq(stats.recovery & BAD_BITS, 0);
	ck_assert_uint_eq(count_numbers(30), 30);
	close_store();
	os = unguarded;
	free(evil);
	free(hint);
}
END_TEST

/* Where a hostile number stands. */
enum number_place {
	IN_RECORD,
	IN_MARK,
	IN_FIRST_SEQ,
	IN_PREV_LAST_SEQ,
	IN_NOTE,
	IN_HINT,
	NUMBER_PLACES
};

/* A segment, and a second one whose link can be chosen. */
static void
make_numbered(enum number_place place, uint64_t number)
{
	struct makelog m;

	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "a", 1);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	if (place == IN_FIRST_SEQ)
		m.link.first_seq = number;
	if (place == IN_PREV_LAST_SEQ)
		m.link.prev_last_seq = number;
	ck_assert_int_eq(segment_store_link(m.seg, &m.link), 0);
	if (place == IN_RECORD)
		m.durable = m.seq = number - 1;
	(void)makelog_put(&m, "b", 1);
	if (place == IN_MARK)
		m.durable = m.seq = number;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_fini(&m);
}

static void
change_note(uint64_t number)
{
	struct control_note note = {0};
	struct control control;
	struct dir dir;

	MAKELOG_OK(dir_open(&dir, STORE, 0644, NULL));
	MAKELOG_OK(control_open(&control, &dir, true, NULL));
	ck_assert(control_read_note(&control, &note));
	note.last_seq = number;
	MAKELOG_OK(control_write_note(&control, &note, NULL));
	ck_assert_int_eq(os->sync(control.fd), 0);
	control_close(&control);
	dir_close(&dir);
}

static void
change_hint(uint64_t number)
{
	uint64_t size;
	const char *name = makelog_hint();
	uint8_t *hint = read_whole(name, &size);

	put_u64(hint + 128 + 40, number);
	put_u32(hint + 8, sum_crc(hint + 12, get_u32(hint + 20) - 12));
	replace_whole(name, hint, size);
	free(hint);
}

/*
 * Sequence numbers near their end wrapped around: commits behind them got
 * small numbers, which were "durable" already, so that puts returned without
 * a sync and the next crash took them.  Now such numbers are not believed,
 * or the store says that it has none left.
 */
START_TEST(a_hostile_number_never_makes_a_put_undurable)
{
	static const uint64_t numbers[] = {
	    RECORD_SEQ_MAX - 2 * RECORD_RANGE,
	    RECORD_SEQ_MAX - RECORD_RANGE,
	    RECORD_SEQ_MAX - RECORD_RANGE + 1,
	    RECORD_SEQ_MAX - 1,
	    RECORD_SEQ_MAX,
	    RECORD_SEQ_MAX + 1,
	    RECORD_SEQ_MAX + 2,
	    UINT64_MAX - RECORD_RANGE,
	    UINT64_MAX - RECORD_RANGE + 1,
	    UINT64_MAX - 5,
	    UINT64_MAX,
	};
	const uint64_t number = numbers[(unsigned)_i / NUMBER_PLACES];
	const enum number_place place =
	    (enum number_place)((unsigned)_i % NUMBER_PLACES);
	enum kvlog_status st;
	uint64_t last, syncs;
	struct kvlog_receipt receipt = {0, 0, 0};

	if (place == IN_NOTE || place == IN_HINT) {
		make_hinted();
		if (place == IN_NOTE)
			change_note(number);
		else
			change_hint(number);
		simos_power_loss(SIMOS_LOSS_ALL, 1); /* no page to go by */
	} else {
		make_numbered(place, number);
	}

	/* Readers see what there is. */
	must_open(KVLOG_OPEN_READONLY);
	ck_assert_uint_le(kvlog_last_seq(db), RECORD_SEQ_MAX);
	MAKELOG_OK(kvlog_exists(
	    db, place < IN_NOTE ? "a" : "key0", place < IN_NOTE ? 1 : 4));
	close_store();

	st = try_open(0, KVLOG_SEGMENT_SIZE_MIN);
	if (number > RECORD_SEQ_MAX - RECORD_RANGE &&
	    number <= RECORD_SEQ_MAX) {
		/* Believed, and the last range. */
		ck_assert_int_eq(st, KVLOG_TOOBIG);
		return;
	}
	ck_assert_msg(st == KVLOG_OK, "open: %d %s", (int)st, err.text);
	last = kvlog_last_seq(db);
	ck_assert_uint_le(last, RECORD_SEQ_MAX);
	syncs = simos_count(SIMOS_SYNC);
	MAKELOG_OK(kvlog_put(db, "c", 1, "v", 1, NULL, &receipt));
	ck_assert_uint_gt(receipt.seq, last);
	ck_assert_uint_le(receipt.seq, RECORD_SEQ_MAX);
	ck_assert_uint_gt(simos_count(SIMOS_SYNC), syncs);
	kill_process();
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	must_open(KVLOG_OPEN_READONLY);
	MAKELOG_OK(kvlog_exists(db, "c", 1));
	close_store();
}
END_TEST

/* Readers beside a writer */

/* A writer, another process, that comes in while the victim lists the
 * directory for the nth time: recovers, puts, and perhaps closes. */
static struct {
	const struct os_table *sim;
	struct os_table hooked;
	unsigned nth; /* 0: never, or done */
	unsigned puts;
	bool closes;
	struct kvlog *db;
} guest;

static void
guest_comes(void)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error why = {0};
	static const uint8_t value[VALUE_LEN];

	os = guest.sim;
	o.flags = KVLOG_OPEN_NOTHREAD;
	o.timeout_ms = 0;
	if (kvlog_open(STORE, &o, &guest.db, &why) != KVLOG_OK)
		ck_abort_msg("the writer: %s", why.text);
	for (unsigned i = 0; i < guest.puts; i++)
		MAKELOG_OK(kvlog_put(
		    guest.db, "guest", 5, value, sizeof value, NULL, NULL));
	if (guest.closes) {
		MAKELOG_OK(kvlog_close(guest.db, NULL));
		guest.db = NULL;
	}
	os = &guest.hooked;
}

static int
hooked_list(int fd, os_list_fn *fn, void *arg)
{
	int rc = guest.sim->list(fd, fn, arg);

	if (guest.nth > 0 && --guest.nth == 0)
		guest_comes();
	return rc;
}

static int
hooked_open(
    int fd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	if (guest.nth > 0 && --guest.nth == 0)
		guest_comes();
	return guest.sim->open(fd, name, how, mode, ret_fd);
}

/* The guest comes when the directory is listed (nth 0), or before the nth
 * file is opened. */
static enum kvlog_status
open_beside_guest(unsigned nth, unsigned puts, bool closes)
{
	enum kvlog_status st;

	guest.sim = os;
	guest.hooked = *os;
	if (nth == 0)
		guest.hooked.list = hooked_list;
	else
		guest.hooked.open = hooked_open;
	guest.nth = nth == 0 ? 1 : nth;
	guest.puts = puts;
	guest.closes = closes;
	guest.db = NULL;
	os = &guest.hooked;
	st = try_open(KVLOG_OPEN_READONLY, 0);
	os = guest.sim;
	ck_assert_uint_eq(guest.nth, 0); /* it came */
	return st;
}

/*
 * A reader that found a stale page listed the files while a writer recovered
 * and went on: it took what the writer had just cut off or begun for damage,
 * or found files missing, and said so or failed; or succeeded at last, with
 * the detail of its failures left in err.
 */
START_TEST(a_reader_never_sees_half_of_a_recovery)
{
	struct simos_state *crash;

	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 20; i++)
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_NONE));
	kill_process();
	crash = simos_save();
	for (uint64_t seed = 1; seed < 40; seed++)
		for (unsigned how = 0; how < 8; how++) {
			struct kvlog_stats alone, beside;
			enum kvlog_status st;

			simos_restore(crash);
			simos_power_loss(SIMOS_LOSS_RANDOM, seed);
			must_open(KVLOG_OPEN_READONLY);
			alone = get_stats();
			close_store();

			st = open_beside_guest(
			    how % 2 * (1 + (unsigned)seed % 2), how & 2 ? 4 : 0,
			    (how & 4) != 0);
			ck_assert_msg(st == KVLOG_OK,
			    "seed %" PRIu64 ", %u: %s", seed, how, err.text);
			beside = get_stats();
			ck_assert_msg(
			    (beside.recovery & BAD_BITS) == 0 &&
				beside.record_count >= alone.record_count,
			    "seed %" PRIu64 ", %u: %u records of %u; %s", seed,
			    how, (unsigned)beside.record_count,
			    (unsigned)alone.record_count, beside.recovery_text);
			close_store();
			db = guest.db;
			close_store();
			ck_assert_uint_eq(simos_leaks(stderr), 0);
		}
	simos_state_free(crash);
}
END_TEST

/* A second opening comes in while a writer, pid 222, holds the lock and lists
 * the directory. */
static int
busy_list(int fd, os_list_fn *fn, void *arg)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error why = {0};
	struct kvlog *second = NULL;
	const uint8_t *page;
	uint64_t size, pid;

	if (guest.nth > 0 && --guest.nth == 0) {
		os = guest.sim;
		ck_assert(simos_peek(makelog_path("kvlog.lock"), &page, &size));
		memcpy(&pid, page + 8 * 13, sizeof pid);
		ck_assert_uint_eq(pid, 222);
		o.flags = KVLOG_OPEN_NOTHREAD;
		o.timeout_ms = 0;
		ck_assert_int_eq(
		    kvlog_open(STORE, &o, &second, &why), KVLOG_BUSY);
		ck_assert_msg(strstr(why.text, "in this process") != NULL, "%s",
		    why.text);
		os = &guest.hooked;
	}
	return guest.sim->list(fd, fn, arg);
}

/*
 * The pid was written when an opening was done, so that somebody who was
 * turned away while a writer recovered was told of the one before it.
 */
START_TEST(who_recovers_is_the_one_that_is_named)
{
	simos_set_pid(111);
	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	kill_process();
	if (_i == 1)
		simos_power_loss(SIMOS_LOSS_ALL, 1);
	simos_set_pid(222);
	guest.sim = os;
	guest.hooked = *os;
	guest.hooked.list = busy_list;
	guest.nth = 2; /* the first is made without the lock */
	os = &guest.hooked;
	must_open(0);
	os = guest.sim;
	ck_assert_uint_eq(guest.nth, 0);
	close_store();
}
END_TEST

/*
 * A reader that came while the store was being made took the lock file
 * without segments for a store that had lost them, and said "corrupt".
 */
START_TEST(a_store_being_made_is_no_store_yet)
{
	struct simos_state *base = simos_save();
	unsigned none = 0, made = 0;
	bool stopped = true;

	for (uint64_t step = 1; stopped; step++) {
		struct simos_state *crash;

		simos_restore(base);
		simos_stop_at(step, 0);
		stopped = simos_run(create_script, NULL);
		kill_process();
		crash = simos_save();
		for (uint64_t seed = 0; seed < 10; seed++) {
			enum kvlog_status st;

			simos_restore(crash);
			if (seed > 0)
				simos_power_loss(SIMOS_LOSS_RANDOM, seed);
			st = try_open(KVLOG_OPEN_READONLY, 0);
			ck_assert_msg(st == KVLOG_OK || st == KVLOG_NOSTORE,
			    "step %" PRIu64 ", seed %" PRIu64 ": %d %s", step,
			    seed, (int)st, err.text);
			none += st == KVLOG_NOSTORE;
			made += st == KVLOG_OK;
			close_store();
			must_open(KVLOG_OPEN_CREATE);
			MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
			close_store();
		}
		simos_state_free(crash);
	}
	ck_assert_uint_gt(none, 20);
	ck_assert_uint_gt(made, 20);
	simos_state_free(base);
}
END_TEST

/*
 * The last commits of a process that then did nothing for hours were attested
 * by nothing: when they were damaged, they counted as torn and were cut off.
 * _i 0: there is time for a mark; 1: there is none, and they count as torn
 * indeed.
 */
START_TEST(damage_after_a_pause_is_no_torn_end)
{
	static const uint8_t rot[64] = {1, 2, 3};
	struct kvlog_info info;
	struct kvlog_stats stats;
	uint64_t syncs;

	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 3; i++)
		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
	MAKELOG_OK(kvlog_lookup(db, "key2", 4, &info));
	maintain_all();
	if (_i == 0) {
		os->sleep_ns(UINT64_C(1100000000));
		syncs = simos_count(SIMOS_SYNC);
		maintain_all();
		ck_assert_uint_eq(simos_count(SIMOS_SYNC), syncs + 1);
		os->sleep_ns(UINT64_C(1100000000));
		maintain_all();
		ck_assert_uint_eq(simos_count(SIMOS_SYNC), syncs + 1);
	}
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	simos_forget();
	simos_poke(STORE "/" ONE, info.offset, rot, sizeof rot);
	must_open(0);
	stats = get_stats();
	ck_assert_uint_eq(stats.recovery & (BAD_BITS | KVLOG_RECOVERY_TORN),
	    _i == 0 ? BAD_BITS : KVLOG_RECOVERY_TORN);
	ck_assert_uint_eq(count_numbers(3), 2);
	close_store();
}
END_TEST

/*
 * What a reader calls durable outlives the machine, also where it has read a
 * log that a killed writer left, and cannot tell whether the page is of this
 * boot (_i: whether there is a boot id).
 */
START_TEST(a_reader_calls_durable_what_a_power_loss_leaves)
{
	simos_set_boot_id(_i != 0);
	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	MAKELOG_OK(put_number(1, KVLOG_DURABILITY_NONE));
	kill_process();
	must_open(KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(count_numbers(2), 2);
	ck_assert_uint_eq(kvlog_durable_seq(db), 1);
	close_store();
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	must_open(KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(count_numbers(2), 1);
	close_store();
}
END_TEST

/*
 * A file system failed, and was mounted again in the same boot: it had kept
 * what was synced, but not the last stores into the control page, which is
 * never synced.  The page was believed, and what lay behind its position was
 * lost, though reported durable.  _i: how many commits it is behind.
 */
START_TEST(an_old_page_of_this_boot_is_not_believed)
{
	const unsigned count = 10;
	uint8_t page[4096] = {0};

	must_open(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *bytes = NULL;
		uint64_t size = 0;

		MAKELOG_OK(put_number(i, KVLOG_DURABILITY_COMMIT));
		if (i + 1 + (unsigned)_i != count)
			continue;
		ck_assert(simos_peek(STORE "/kvlog.lock", &bytes, &size));
		memcpy(page, bytes, sizeof page);
	}
	kill_process();
	simos_poke(STORE "/kvlog.lock", 0, page, sizeof page);
	must_open(KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(count_numbers(count), count);
	close_store();
	ck_assert_int_eq(kvlog_verify(STORE, NULL, NULL, &err), KVLOG_OK);
	must_open(0);
	ck_assert_uint_eq(count_numbers(count), count);
	ck_assert_uint_eq(get_stats().recovery & BAD_BITS, 0);
	close_store();
}
END_TEST

/*
 * Where a store can fail, as each needs new space (btrfs, ZFS), a full disk
 * that refused the first word of a commit broke the handle, though nothing had
 * been stored.
 */
START_TEST(a_commit_that_is_refused_before_it_begins_breaks_nothing)
{
	simos_set_fs(OS_FS_COW);
	must_open(KVLOG_OPEN_CREATE);
	MAKELOG_OK(put_number(0, KVLOG_DURABILITY_COMMIT));
	simos_fail(SIMOS_STORE_WORD, 1, ENOSPC, false);
	ck_assert_int_eq(put_number(1, KVLOG_DURABILITY_COMMIT), KVLOG_NOSPACE);
	ck_assert_uint_eq(count_numbers(2), 1);
	MAKELOG_OK(put_number(1, KVLOG_DURABILITY_COMMIT));
	ck_assert_uint_eq(count_numbers(2), 2);
	close_store();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("regress");
	TCase *repair = makelog_case(suite, "repair");
	TCase *full = makelog_case(suite, "full");
	TCase *damage = makelog_case(suite, "damage");
	TCase *many = makelog_case(suite, "many");
	TCase *hostile = makelog_case(suite, "hostile");
	TCase *readers = makelog_case(suite, "readers");

	tcase_add_test(
	    repair, a_rewrite_killed_behind_its_rename_loses_nothing);
	tcase_add_test(
	    repair, a_sync_that_failed_in_a_repair_is_not_tried_again);
	tcase_add_loop_test(
	    repair, a_writer_killed_behind_a_failed_sync_leaves_a_doubt, 0, 7);
	tcase_add_test(repair, a_failed_sync_of_the_spare_leaves_a_doubt);
	tcase_add_test(repair, a_repair_killed_while_it_tells_leaves_a_doubt);
	tcase_add_test(repair, a_mark_whose_sync_failed_is_copied_too);
	tcase_add_test(
	    repair, a_repair_killed_behind_a_failed_sync_leaves_a_doubt);
	tcase_add_test(repair, a_mark_without_a_sync_ends_nothing_later);
	tcase_add_test(
	    full, a_full_disk_does_not_keep_a_closed_store_from_opening);
	tcase_add_loop_test(full, a_reserve_that_was_cut_is_not_used, 0, 8);
	tcase_add_loop_test(
	    repair, an_old_page_of_this_boot_is_not_believed, 0, 10);
	tcase_add_test(
	    full, a_commit_that_is_refused_before_it_begins_breaks_nothing);
	tcase_add_test(damage, want_of_memory_ends_a_walk_over_damage);
	tcase_add_test(
	    damage, a_key_whose_header_is_damaged_can_be_put_but_not_deleted);
	tcase_add_loop_test(damage, damage_after_a_pause_is_no_torn_end, 0, 2);
	tcase_add_test(
	    damage, a_store_stays_degraded_when_its_damaged_end_gets_a_hint);
	tcase_set_timeout(many, 300);
	tcase_add_loop_test(many, many_bad_places_cost_their_number_only, 0, 2);
	tcase_add_test(hostile, a_hint_of_2_to_the_64_entries_is_left_alone);
	tcase_add_loop_test(hostile,
	    a_hostile_number_never_makes_a_put_undurable, 0,
	    11 * NUMBER_PLACES);
	tcase_add_test(readers, a_reader_never_sees_half_of_a_recovery);
	tcase_add_loop_test(
	    readers, who_recovers_is_the_one_that_is_named, 0, 2);
	tcase_add_test(readers, a_store_being_made_is_no_store_yet);
	tcase_add_loop_test(
	    readers, a_reader_calls_durable_what_a_power_loss_leaves, 0, 2);
	return test_main(suite);
}
