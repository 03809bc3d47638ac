/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_online.c - what a user may rely on of kvlog_compact(), and of the space
 * that comes back by itself.
 */
#include "config.h"

#include "api.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS 4000u
#define VALUE_LEN 180u

static struct kvlog_compact_report report;
static struct kvlog_error err;

static enum kvlog_status
compact(struct kvlog *db, const struct kvlog_compact_options *o)
{
	memset(&err, 0, sizeof err);
	memset(&report, 0, sizeof report);
	report.size = sizeof report;
	return kvlog_compact(db, o, &report, &err);
}

/* Bytes on disk of all files of the store. */
static uint64_t
disk_space(void)
{
	DIR *dir = opendir(api_store);
	const struct dirent *entry;
	uint64_t bytes = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
		    S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * 512;
	}
	(void)closedir(dir);
	return bytes;
}

static size_t
make_value(char value[VALUE_LEN + 1], unsigned key, unsigned round)
{
	int len = snprintf(value, VALUE_LEN + 1, "%u of %u ", key, round);

	memset(value + len, 'v', VALUE_LEN - (size_t)len);
	value[VALUE_LEN] = '\0';
	return VALUE_LEN;
}

/* Every key once, in an order that is another one in each round. */
static void
overwrite(struct kvlog *db, unsigned round, bool maintain)
{
	char key[16], value[VALUE_LEN + 1];

	for (unsigned i = 0; i < KEYS; i++) {
		unsigned k = (i * 1237 + round * 991) % KEYS;
		bool more = maintain && i % 100 == 0;

		snprintf(key, sizeof key, "key%04u", k);
		(void)make_value(value, k, round);
		(void)api_put(db, key, value);
		while (more)
			ck_assert_int_eq(
			    kvlog_maintain(db, 0, &more), KVLOG_OK);
	}
}

static void
expect_round(struct kvlog *db, unsigned round)
{
	char key[16], value[VALUE_LEN + 1];

	ck_assert_uint_eq(api_count(db), KEYS);
	for (unsigned k = 0; k < KEYS; k++) {
		snprintf(key, sizeof key, "key%04u", k);
		(void)make_value(value, k, round);
		api_expect(db, key, value);
	}
}

static struct kvlog_options
steady_options(unsigned flags)
{
	struct kvlog_options o =
	    api_options(KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD | flags);

	o.segment_size = 65536;
	o.compact_bytes = 65536;
	return o;
}

#define LIVE ((uint64_t)KEYS * (VALUE_LEN + 40))

/* Twenty times the live bytes are written; the reserve is half a megabyte. */
#define BOUND (2 * LIVE + (1 << 20))

static uint64_t
max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* _i: by the thread, or by kvlog_maintain(), then in hints, too. */
START_TEST(a_store_that_is_overwritten_stays_small)
{
	struct kvlog_options o = steady_options(0);
	struct kvlog *db;
	uint64_t most = 0;

	if (_i == 0)
		o.flags &= ~KVLOG_OPEN_NOTHREAD;
	if (_i == 2)
		o.index_mode = KVLOG_INDEX_HINTS;
	db = api_open_with(api_store, &o);
	for (unsigned round = 0; round < 20; round++) {
		overwrite(db, round, _i != 0);
		most = max_of(most, disk_space());
	}
	expect_round(db, 19);
	/* A thread that gets little time comes to it later. */
	for (unsigned i = 0; _i == 0 && i < 1000 && disk_space() > BOUND; i++)
		(void)nanosleep(&(struct timespec){0, 10000000}, NULL);
	if (_i == 0)
		most = disk_space();
	api_close(db);
	ck_assert_uint_lt(most, BOUND);
	o.flags = KVLOG_OPEN_READONLY;
	db = api_open_with(api_store, &o);
	expect_round(db, 19);
	api_close(db);
}
END_TEST

/* _i: not wanted, or not enough, with an index in the hints likewise. */
START_TEST(nothing_is_compacted_that_is_not_to_be)
{
	unsigned why = (unsigned)_i % 3;
	struct kvlog_options o =
	    steady_options(why == 0 ? KVLOG_OPEN_NOCOMPACT : 0);
	struct kvlog *db;

	if (_i >= 3)
		o.index_mode = KVLOG_INDEX_HINTS;
	if (why == 1)
		o.compact_bytes = 1 << 30;
	if (why == 2)
		o.compact_percent = 99;
	db = api_open_with(api_store, &o);
	for (unsigned round = 0; round < 8; round++)
		overwrite(db, round, true);
	ck_assert_uint_gt(disk_space(), 7 * LIVE);
	expect_round(db, 7);
	api_close(db);
}
END_TEST

/* What an earlier opening has left is found, too. */
START_TEST(garbage_of_before_is_known)
{
	struct kvlog_options o = steady_options(KVLOG_OPEN_NOCOMPACT);
	struct kvlog *db = api_open_with(api_store, &o);
	bool more = true;

	for (unsigned round = 0; round < 8; round++)
		overwrite(db, round, false);
	api_close(db);
	ck_assert_uint_gt(disk_space(), 7 * LIVE);
	o = steady_options(0);
	db = api_open_with(api_store, &o);
	while (more)
		ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
	ck_assert_uint_lt(disk_space(), 2 * LIVE + (1 << 20));
	expect_round(db, 7);
	api_close(db);
}
END_TEST

/* All the garbage is in the segment that is written to. */
START_TEST(the_active_segment_is_ended)
{
	struct kvlog_options o = steady_options(0);
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct kvlog *db;
	uint32_t number;

	o.segment_size = UINT64_C(64) << 20;
	o.compact_percent = 15; /* a fifth is */
	db = api_open_with(api_store, &o);
	for (unsigned round = 0; round < 5; round++)
		overwrite(db, round, false);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	number = stats.active_segment;
	overwrite(db, 5, true);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	ck_assert_uint_gt(stats.active_segment, number);
	expect_round(db, 5);
	api_close(db);
}
END_TEST

START_TEST(compaction_in_use_gives_space_back)
{
	struct kvlog_options o = steady_options(KVLOG_OPEN_NOCOMPACT);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct kvlog *db, *reader;

	o.index_mode = _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	db = api_open_with(api_store, &o);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	for (unsigned round = 0; round < 5; round++)
		overwrite(db, round, false);
	expect_round(reader, 4);
	how.flags = KVLOG_COMPACT_DRY_RUN;
	ck_assert_int_eq(compact(reader, &how), KVLOG_OK);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_uint_gt(disk_space(), 4 * LIVE);
	how.flags = 0;
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	ck_assert_uint_eq(stats.compact_runs, 0);
	ck_assert_int_eq(compact(db, &how), KVLOG_OK);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	ck_assert_uint_eq(stats.compact_runs, report.run_count);
	ck_assert_uint_eq(stats.compact_bytes_written, report.bytes_written);
	ck_assert_uint_eq(stats.compact_bytes_freed,
	    report.bytes_before - report.bytes_after);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_uint_gt(report.records_superseded, 3 * KEYS);
	ck_assert_uint_lt(report.bytes_after, report.bytes_before / 2);
	expect_round(db, 4);
	expect_round(reader, 4);
	ck_assert_uint_lt(disk_space(), 2 * LIVE + (1 << 20));
	overwrite(db, 5, false);
	ck_assert_int_eq(kvlog_compact(db, NULL, NULL, NULL), KVLOG_OK);
	expect_round(reader, 5);
	api_close(db);
	expect_round(reader, 5);
	api_close(reader);
}
END_TEST

static bool
say_stop(void *arg, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	return --*(unsigned *)arg > 0;
}

/* After any number of runs, and within one. */
START_TEST(it_can_be_ended_at_any_time)
{
	struct kvlog_options o = steady_options(KVLOG_OPEN_NOCOMPACT);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db = api_open_with(api_store, &o);
	unsigned ended = 0;

	how.progress = say_stop;
	how.flags = KVLOG_COMPACT_ALL;
	how.run_bytes = 65536;
	for (unsigned n = 1; n < 12; n++) {
		unsigned calls = n;
		enum kvlog_status st;

		overwrite(db, n, false);
		how.arg = &calls;
		st = compact(db, &how);
		ck_assert(st == KVLOG_OK || st == KVLOG_CANCELLED);
		ended += st == KVLOG_CANCELLED;
		expect_round(db, n);
	}
	ck_assert_uint_gt(ended, 8);
	api_close(db);
}
END_TEST

/* Before the first run all is synced: a backlog segment by segment. */
START_TEST(it_can_be_ended_before_all_is_synced)
{
	struct kvlog_options o = steady_options(KVLOG_OPEN_NOCOMPACT);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db;
	unsigned calls = 3;

	o.durability = KVLOG_DURABILITY_NONE;
	db = api_open_with(api_store, &o);
	for (unsigned round = 0; round < 5; round++)
		overwrite(db, round, false);
	how.progress = say_stop;
	how.arg = &calls;
	ck_assert_int_eq(compact(db, &how), KVLOG_CANCELLED);
	ck_assert_uint_gt(kvlog_durable_seq(db), 0);
	ck_assert_uint_lt(kvlog_durable_seq(db), kvlog_last_seq(db) / 2);
	expect_round(db, 4);
	api_close(db);
}
END_TEST

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Another process that has compacted, and lives on without a thread, is in
 * nobody's way. */
START_TEST(who_has_compacted_lets_others_compact)
{
	struct kvlog_options o = steady_options(0);
	struct kvlog_compact_options now = KVLOG_COMPACT_OPTIONS_INIT;
	int done[2], end[2], status;
	char byte = 0;
	pid_t pid;
	struct kvlog *db;

	now.flags = KVLOG_COMPACT_ALL;
	now.timeout_ms = 0;
	ck_assert_int_eq(pipe(done), 0);
	ck_assert_int_eq(pipe(end), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(end[1]);
		db = api_open_with(api_store, &o);
		overwrite(db, 0, false);
		overwrite(db, 1, false);
		if (compact(db, &now) != KVLOG_OK || write(done[1], "", 1) != 1)
			_exit(1);
		(void)!read(end[0], &byte, 1);
		api_close(db);
		_exit(0);
	}
	(void)close(done[1]);
	ck_assert_int_eq(read(done[0], &byte, 1), 1);
	db = api_open_with(api_store, &o);
	ck_assert_int_eq(compact(db, &now), KVLOG_OK);
	(void)close(end[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	expect_round(db, 1);
	api_close(db);
	(void)close(done[0]);
	(void)close(end[0]);
}
END_TEST

/* It writes as fast as it is allowed to, and begins no run too late. */
START_TEST(rate_and_time_are_limited)
{
	struct kvlog_options o = steady_options(KVLOG_OPEN_NOCOMPACT);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db = api_open_with(api_store, &o);
	uint64_t start, written;

	overwrite(db, 0, false);
	overwrite(db, 1, false);
	how.flags = KVLOG_COMPACT_ALL;
	how.rate = LIVE;
	start = now_ms();
	ck_assert_int_eq(compact(db, &how), KVLOG_OK);
	written = report.bytes_written;
	ck_assert_uint_gt(written, LIVE / 2);
	ck_assert_uint_ge(now_ms() - start, 800 * written / LIVE);
	overwrite(db, 2, false);
	how.max_ms = 1;
	how.run_bytes = 65536;
	ck_assert_int_eq(compact(db, &how), KVLOG_OK);
	ck_assert_uint_lt(report.bytes_written, written / 2);
	expect_round(db, 2);
	api_close(db);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_options o = steady_options(0);
	struct kvlog *db = api_open_with(api_store, &o), *reader, *other;

	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(compact(NULL, &how), KVLOG_INVAL);
	ck_assert_int_eq(compact(reader, &how), KVLOG_READONLY);
	ck_assert_ptr_nonnull(strstr(err.text, "reading only"));
	how.threshold = 100;
	ck_assert_int_eq(compact(db, &how), KVLOG_INVAL);
	how.threshold = 99;
	ck_assert_int_eq(compact(db, &how), KVLOG_OK);
	how.flags = 0x4;
	ck_assert_int_eq(compact(db, &how), KVLOG_INVAL);
	how.flags = 0;
	how.size--;
	ck_assert_int_eq(compact(db, &how), KVLOG_INVAL);
	how.size++;
	report.size = 1;
	ck_assert_int_eq(kvlog_compact(db, &how, &report, &err), KVLOG_INVAL);
	o.compact_percent = 100;
	ck_assert_int_eq(kvlog_open(api_store, &o, &other, &err), KVLOG_INVAL);
	api_close(reader);
	api_close(db);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("online");
	TCase *tc = api_case(suite, "online");

	tcase_add_loop_test(tc, a_store_that_is_overwritten_stays_small, 0, 3);
	tcase_add_loop_test(tc, nothing_is_compacted_that_is_not_to_be, 0, 5);
	tcase_add_test(tc, garbage_of_before_is_known);
	tcase_add_test(tc, the_active_segment_is_ended);
	tcase_add_loop_test(tc, compaction_in_use_gives_space_back, 0, 2);
	tcase_add_test(tc, it_can_be_ended_at_any_time);
	tcase_add_test(tc, it_can_be_ended_before_all_is_synced);
	tcase_add_test(tc, who_has_compacted_lets_others_compact);
	tcase_add_test(tc, rate_and_time_are_limited);
	tcase_add_test(tc, wrong_arguments_are_refused);
	return test_main(suite);
}
