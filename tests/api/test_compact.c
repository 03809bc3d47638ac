/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_compact.c - what a user may rely on when a store is compacted.
 */
#include "config.h"

#include "api.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct kvlog_compact_report report;
static struct kvlog_error err;

static enum kvlog_status
compact(unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = flags;
	o.timeout_ms = 0;
	memset(&err, 0, sizeof err);
	report.size = sizeof report;
	return kvlog_compact_offline(api_store, &o, &report, &err);
}

static void
must_compact(unsigned flags)
{
	enum kvlog_status st = compact(flags);

	ck_assert_msg(st == KVLOG_OK, "compact: %d %s", (int)st, err.text);
}

/* Disk space of all files of the store, in bytes. */
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
			bytes += (uint64_t)st.st_size;
	}
	(void)closedir(dir);
	return bytes;
}

/* 300 keys, most of them deleted, the others written twice. */
static void
fill(void)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char key[16], value[200];

	memset(value, 'v', sizeof value);
	value[sizeof value - 1] = '\0';
	for (unsigned i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "key%03u", i);
		(void)api_put(db, key, value);
	}
	for (unsigned i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "key%03u", i);
		if (i % 10 != 0)
			api_delete(db, key);
		else
			(void)api_put(db, key, key);
	}
	api_close(db);
}

static void
check_filled(void)
{
	static const enum kvlog_index_mode modes[] = {
	    KVLOG_INDEX_MEMORY, KVLOG_INDEX_HINTS};

	for (unsigned m = 0; m < 2; m++) {
		struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
		struct kvlog *db;
		char key[16];

		o.index_mode = modes[m];
		db = api_open_with(api_store, &o);
		ck_assert_uint_eq(api_count(db), 30);
		for (unsigned i = 0; i < 300; i++) {
			snprintf(key, sizeof key, "key%03u", i);
			api_expect(db, key, i % 10 == 0 ? key : NULL);
		}
		api_close(db);
	}
}

START_TEST(space_comes_back)
{
	uint64_t before, after;
	struct kvlog *db;
	struct kvlog_receipt receipt;

	fill();
	before = disk_space();
	must_compact(_i == 0 ? 0 : KVLOG_COMPACT_ALL);
	after = disk_space();
	check_filled();
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_uint_lt(after, before / 3);
	ck_assert_uint_ge(
	    before - after, report.bytes_before - report.bytes_after - 8192);
	ck_assert_uint_gt(report.segments_before, report.segments_after);
	ck_assert_uint_gt(report.records_superseded, 250);
	ck_assert_uint_gt(report.tombstones_dropped, 200);
	ck_assert_uint_ge(report.temporary_bytes, report.bytes_written);
	ck_assert_uint_eq(report.damaged_segments, 0);

	/* It is a store as before. */
	db = api_open(api_store, 0);
	receipt = api_put(db, "new", "value");
	ck_assert_uint_gt(receipt.seq, 600);
	api_expect(db, "new", "value");
	api_close(db);
}
END_TEST

START_TEST(commits_keep_their_numbers)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_info info;
	struct kvlog_receipt receipt;

	(void)api_put(db, "a", "1");
	receipt = api_put(db, "a", "2");
	(void)api_put(db, "b", "3");
	api_close(db);
	must_compact(KVLOG_COMPACT_ALL);
	db = api_open(api_store, 0);
	ck_assert_int_eq(kvlog_lookup(db, "a", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.seq, receipt.seq);
	ck_assert_uint_eq(kvlog_last_seq(db), receipt.seq + 1);
	ck_assert_uint_eq(kvlog_durable_seq(db), receipt.seq + 1);
	api_close(db);
}
END_TEST

START_TEST(a_dry_run_takes_no_lock_and_changes_nothing)
{
	struct kvlog *db;
	uint64_t space;

	fill();
	db = api_open(api_store, 0);
	space = disk_space();
	must_compact(KVLOG_COMPACT_DRY_RUN);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_uint_lt(report.bytes_after, report.bytes_before);
	ck_assert_uint_eq(disk_space(), space);
	(void)api_put(db, "goes", "on");
	api_close(db);
}
END_TEST

START_TEST(a_writer_is_not_disturbed)
{
	struct kvlog *db;
	int fds[2], status;
	char byte;
	pid_t pid;

	fill();
	db = api_open(api_store, 0);
	ck_assert_int_eq(compact(0), KVLOG_BUSY);
	ck_assert_uint_ne(strlen(err.text), 0);
	ck_assert_uint_eq(report.run_count, 0);
	api_close(db);

	/* Nor one of another process. */
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		db = api_open(api_store, 0);
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		sleep(60);
		_exit(0);
	}
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(compact(0), KVLOG_BUSY);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	must_compact(0);
	check_filled();
}
END_TEST

/* A thread reads while it happens. */
static atomic_bool stop;

static void *
read_on(void *arg)
{
	struct kvlog *db = arg;
	unsigned rounds = 0;

	while (!atomic_load(&stop)) {
		char key[16];

		snprintf(key, sizeof key, "key%03u", rounds++ % 30 * 10);
		api_expect(db, key, key);
	}
	return NULL;
}

/* And another one, in place: what it has found lasts. */
static void *
read_on_in_place(void *arg)
{
	struct kvlog *db = arg;

	while (!atomic_load(&stop)) {
		struct kvlog_item items[60] = {0};
		struct kvlog_pin *pin = NULL;
		char keys[30][16];

		ck_assert_int_eq(kvlog_pin_create(db, &pin), KVLOG_OK);
		for (unsigned i = 0; i < 60; i++) {
			unsigned k = i % 30;

			items[i].key = keys[k];
			items[i].key_len = (size_t)snprintf(
			    keys[k], sizeof keys[k], "key%03u", k * 10);
		}
		for (unsigned i = 0; i < 60; i += 30)
			ck_assert_int_eq(
			    kvlog_pin_get_many(pin, items + i, 30), KVLOG_OK);
		for (unsigned i = 0; i < 60; i++) {
			ck_assert_int_eq(items[i].status, KVLOG_OK);
			ck_assert_uint_eq(items[i].value_len, 6);
			ck_assert_mem_eq(items[i].value, keys[i % 30], 6);
		}
		kvlog_pin_destroy(pin);
	}
	return NULL;
}

START_TEST(readers_are_not_disturbed)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
	pthread_t thread, other;
	struct kvlog *db;

	fill();
	o.index_mode = _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	/* Some of the files are kept open, the rest is mapped. */
	db = api_open_with(api_store, &o);
	ck_assert_uint_gt(api_stats(db).segment_count, 8);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(api_count(db), 30);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_on, db), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, read_on_in_place, db), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct kvlog *writer = api_open(api_store, 0);

		for (unsigned k = 0; k < 300; k++)
			api_put(writer, "another", "to be replaced");
		api_delete(writer, "another");
		api_close(writer);
		must_compact(KVLOG_COMPACT_ALL);
	}
	atomic_store(&stop, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(pthread_join(other, NULL), 0);
	ck_assert_uint_eq(api_count(db), 30);
	api_close(db);
	check_filled();
}
END_TEST

static bool
say_stop(void *arg, uint64_t done, uint64_t total)
{
	(void)done;
	(void)total;
	++*(unsigned *)arg;
	return false;
}

START_TEST(the_caller_can_end_it)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	unsigned calls = 0;

	report.size = sizeof report;
	fill();
	o.progress = say_stop;
	o.arg = &calls;
	ck_assert_int_eq(kvlog_compact_offline(api_store, &o, &report, &err),
	    KVLOG_CANCELLED);
	ck_assert_uint_eq(calls, 1);
	ck_assert_uint_eq(report.run_count, 0);
	check_filled();
}
END_TEST

START_TEST(damage_is_left_and_counted)
{
	char *path = files_path(api_store, "00000002.seg");

	fill();
	files_flip(path, 4608 + 16, 3); /* a record's header */
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.damaged_segments, 1);
	ck_assert_uint_eq(report.damaged_segment, 2);
	ck_assert_uint_gt(report.run_count, 1);
	ck_assert(files_exist(path));
	free(path);
}
END_TEST

START_TEST(want_of_space_is_told)
{
	struct rlimit old, small = {.rlim_cur = 8192};
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	static char value[50000];

	memset(value, 'v', sizeof value - 1);
	(void)api_put(db, "a", value);
	(void)api_put(db, "b", "2");
	api_close(db);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(compact(KVLOG_COMPACT_ALL), KVLOG_NOSPACE);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "ulimit -f"));
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "a", value);
	api_expect(db, "b", "2");
	api_close(db);
	must_compact(KVLOG_COMPACT_ALL);
}
END_TEST

START_TEST(what_is_no_store_is_refused)
{
	char *path;

	ck_assert_int_eq(compact(0), KVLOG_NOSTORE);
	ck_assert_uint_eq(report.run_count, 0);
	files_write(api_store, "text", 4);
	ck_assert_int_eq(compact(0), KVLOG_NOTSTORE);
	ck_assert_int_eq(compact(KVLOG_COMPACT_DRY_RUN), KVLOG_NOTSTORE);
	ck_assert_int_eq(unlink(api_store), 0);
	fill();
	path = files_path(api_store, "00000002.seg");
	ck_assert_int_eq(unlink(path), 0);
	free(path);
	ck_assert_int_eq(compact(0), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 2);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	report.size = sizeof report;
	fill();
	ck_assert_int_eq(
	    kvlog_compact_offline(NULL, &o, &report, &err), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_compact_offline("", &o, &report, &err), KVLOG_INVAL);
	o.flags = 0x4;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, &report, &err), KVLOG_INVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "0x4"));
	o.flags = 0;
	o.size--;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, &report, &err), KVLOG_INVAL);
	o.size++;
	report.size--;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, &report, &err), KVLOG_INVAL);
	/* What may be left out. */
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, NULL, NULL, NULL), KVLOG_OK);
	check_filled();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("compact");
	TCase *tc = api_case(suite, "compact");

	tcase_add_loop_test(tc, space_comes_back, 0, 2);
	tcase_add_test(tc, commits_keep_their_numbers);
	tcase_add_test(tc, a_dry_run_takes_no_lock_and_changes_nothing);
	tcase_add_test(tc, a_writer_is_not_disturbed);
	tcase_add_loop_test(tc, readers_are_not_disturbed, 0, 2);
	tcase_add_test(tc, the_caller_can_end_it);
	tcase_add_test(tc, damage_is_left_and_counted);
	tcase_add_test(tc, want_of_space_is_told);
	tcase_add_test(tc, what_is_no_store_is_refused);
	tcase_add_test(tc, wrong_arguments_are_refused);
	return test_main(suite);
}
