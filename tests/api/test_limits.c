/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_limits.c - where the system sets limits: few descriptors, things that
 * are no files under the names of files, syncs that take their time.
 *
 * Syncs of this program do nothing but wait where a test tells them to; the
 * machine does not crash here.
 */
#include "config.h"

#include "api.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Syncs */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hold;       /* a sync shall wait */
	unsigned inside; /* so many do */
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

/* Long enough for a call that should not wait for a sync, and yet an end to
 * one that does. */
#define HOLD_SECONDS 10

int fdatasync(int fd); /* ours, instead of the C library's */
int fsync(int fd);

int
fdatasync(int fd)
{
	struct timespec until;
	int rc = 0;

	(void)fd;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HOLD_SECONDS;
	(void)pthread_mutex_lock(&gate.lock);
	gate.inside++;
	(void)pthread_cond_broadcast(&gate.changed);
	while (gate.hold && rc == 0)
		rc = pthread_cond_timedwait(&gate.changed, &gate.lock, &until);
	gate.inside--;
	(void)pthread_mutex_unlock(&gate.lock);
	return 0;
}

int
fsync(int fd)
{
	return fdatasync(fd);
}

static void
hold_syncs(bool hold)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.hold = hold;
	(void)pthread_cond_broadcast(&gate.changed);
	(void)pthread_mutex_unlock(&gate.lock);
}

static unsigned
held_syncs(void)
{
	unsigned inside;

	(void)pthread_mutex_lock(&gate.lock);
	inside = gate.inside;
	(void)pthread_mutex_unlock(&gate.lock);
	return inside;
}

static void
await_held_sync(void)
{
	(void)pthread_mutex_lock(&gate.lock);
	while (gate.inside == 0)
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	(void)pthread_mutex_unlock(&gate.lock);
}

static void *
run_sync(void *arg)
{
	return kvlog_sync(arg) == KVLOG_OK ? arg : NULL;
}

/*
 * Waiting took the lock that a sync holds while it runs, so that it ended
 * when the sync did and not when its time was over.
 */
START_TEST(waiting_ends_in_time_while_a_sync_runs)
{
	struct kvlog *db =
	    api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	const uint64_t seq = api_put(db, "a", "1").seq;
	enum kvlog_status st;
	pthread_t thread;
	void *synced;
	unsigned held;

	hold_syncs(true);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_sync, db), 0);
	await_held_sync();
	st = kvlog_wait_durable(db, seq, 50);
	held = held_syncs();
	hold_syncs(false);
	ck_assert_int_eq(st, KVLOG_TIMEOUT);
	ck_assert_uint_eq(held, 1); /* it ran all the while */
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 10000), KVLOG_OK);
	ck_assert_int_eq(pthread_join(thread, &synced), 0);
	ck_assert_ptr_nonnull(synced);
	api_close(db);
}
END_TEST

/* Descriptors */

#define SEGMENTS 300
#define SOME_SEGMENTS 100
#define DESCRIPTORS 64

static void
limit_descriptors(rlim_t count)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void
make_key(char key[16], unsigned n)
{
	(void)snprintf(key, 16, "key%u", n);
}

static enum kvlog_status
put_value(struct kvlog *db, unsigned n, struct kvlog_error *err)
{
	static const char value[1000];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	char key[16];

	how.err = err;
	make_key(key, n);
	return kvlog_put(db, key, strlen(key), value, sizeof value, &how, NULL);
}

static uint64_t
segment_count(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};

	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	return stats.segment_count;
}

/* Put until there are so many segments, doing what is due meanwhile; returns
 * the number of the next key. */
static unsigned
grow(struct kvlog *db, unsigned n, uint64_t segments)
{
	while (segment_count(db) < segments) {
		bool more = true;

		ck_assert_int_eq(put_value(db, n++, NULL), KVLOG_OK);
		while (more)
			ck_assert_int_eq(
			    kvlog_maintain(db, 0, &more), KVLOG_OK);
	}
	return n;
}

static void
check_keys(struct kvlog *db, unsigned count)
{
	ck_assert_uint_eq(api_count(db), count);
	for (unsigned i = 0; i < count; i++) {
		char key[16];

		make_key(key, i);
		if (kvlog_exists(db, key, strlen(key)) != KVLOG_OK)
			ck_abort_msg("%s", key);
	}
}

/*
 * Every segment kept its descriptor for as long as the store was open: with
 * the usual limit of 1024 a store of so many could not be opened.
 * _i: after a clean end, after a reboot, or without hints.
 */
START_TEST(many_segments_need_few_descriptors)
{
	const size_t before = files_fd_count();
	struct kvlog *db;
	unsigned n;

	limit_descriptors(DESCRIPTORS);
	db = api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	n = grow(db, 0, SEGMENTS);
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);
	if (_i == 1) {
		char *lock = files_path(api_store, "kvlog.lock");

		files_patch(lock, 16, "another boot id!", 16);
		free(lock);
	} else if (_i == 2) {
		ck_assert_uint_gt(files_remove_hints(api_store), 0);
	}

	db = api_open(api_store, KVLOG_OPEN_READONLY);
	check_keys(db, n);
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);

	db = api_open(api_store, KVLOG_OPEN_NOTHREAD);
	check_keys(db, n);
	n = grow(db, n, SEGMENTS + 20);
	check_keys(db, n);
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);
	ck_assert_uint_eq(files_fd_count(), before);
}
END_TEST

/* What a killed process has not synced takes no more of them. */
START_TEST(segments_of_a_killed_process_need_few_descriptors)
{
	const size_t before = files_fd_count();
	struct kvlog *db;
	unsigned n = 0;
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		db = api_open(
		    api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
		for (; segment_count(db) < SOME_SEGMENTS; n++)
			if (put_value(db, n, NULL) != KVLOG_OK)
				_exit(1);
		(void)raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));

	limit_descriptors(DESCRIPTORS);
	db = api_open(api_store, KVLOG_OPEN_NOTHREAD);
	n = (unsigned)api_count(db);
	ck_assert_uint_gt(n, SOME_SEGMENTS);
	check_keys(db, n);
	/* Without a boot id, opening after a kill makes all of it durable. */
	ck_assert_uint_eq(
	    kvlog_durable_seq(db), KVLOG_LINUX ? 0 : kvlog_last_seq(db));
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), kvlog_last_seq(db));
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);
}
END_TEST

/* What this process has not synced does; then puts wait for a sync. */
START_TEST(want_of_descriptors_refuses_a_put_until_a_sync)
{
	struct kvlog_error err = {0};
	struct kvlog *db;
	enum kvlog_status st;
	unsigned n = 0;

	limit_descriptors(DESCRIPTORS);
	db = api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	while ((st = put_value(db, n, &err)) == KVLOG_OK)
		ck_assert_uint_lt(n++, 10000);
	ck_assert_int_eq(st, KVLOG_IO);
	ck_assert_int_eq(err.status, KVLOG_IO);
	ck_assert_int_eq(err.sys_errno, EMFILE);
	ck_assert_uint_eq(kvlog_last_seq(db), n); /* nothing was written */
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	n = grow(db, n, SOME_SEGMENTS);
	check_keys(db, n);
	api_close(db);
}
END_TEST

/* Things that are no files */

/* A pipe or a directory where path says. */
static void
make_thing(const char *path, bool directory)
{
	if (directory)
		ck_assert_int_eq(mkdir(path, 0777), 0);
	else
		ck_assert_int_eq(mkfifo(path, 0666), 0);
}

static enum kvlog_status
open_status(unsigned flags, struct kvlog_error *err)
{
	struct kvlog_options o = api_options(flags | KVLOG_OPEN_NOTHREAD);
	struct kvlog *db = NULL;
	enum kvlog_status st;

	memset(err, 0, sizeof *err);
	st = kvlog_open(api_store, &o, &db, err);
	if (st == KVLOG_OK)
		api_close(db);
	return st;
}

/*
 * Opening a pipe waited for somebody at its other end, for ever; a directory
 * could be opened, and what was then said was of its contents.
 * _i: a pipe, or a directory.
 */
START_TEST(what_is_no_file_is_no_segment)
{
	static const char *const names[] = {"00000001.seg", "00000002.seg",
	    "00000003.seg", "00000002-00000002.r1.1of1.seg"};
	char *aside = files_path(api_base, "aside");
	struct kvlog_error err;
	struct kvlog *db =
	    api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	const unsigned n = grow(db, 0, 2);

	api_close(db);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = files_path(api_store, names[i]);
		bool there = files_exist(path);

		if (there)
			ck_assert_int_eq(rename(path, aside), 0);
		make_thing(path, _i == 1);
		for (unsigned k = 0; k < 2; k++) {
			ck_assert_int_eq(
			    open_status(k == 0 ? KVLOG_OPEN_READONLY : 0, &err),
			    KVLOG_CORRUPT);
			ck_assert_ptr_nonnull(strstr(err.text, names[i]));
		}
		ck_assert_int_eq(remove(path), 0);
		if (there)
			ck_assert_int_eq(rename(aside, path), 0);
		free(path);
	}
	db = api_open(api_store, 0);
	check_keys(db, n);
	api_close(db);
	free(aside);
}
END_TEST

/*
 * A directory with the name of something unfinished could not be removed like
 * that, and so the store not be opened for writing.
 */
START_TEST(what_is_no_file_and_no_segment_does_no_harm)
{
	static const char *const names[] = {"spare", "reserve", "first.tmp",
	    "segment.tmp", "rewrite.tmp", "next.tmp", "x.tmp", "00000001.hint",
	    "00000002.hint", "00000002.hint.tmp"};
	struct kvlog *db =
	    api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	unsigned n = grow(db, 0, 2);

	api_close(db);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = files_path(api_store, names[i]);
		/* These two are needed under just this name. */
		const bool needed =
		    _i == 1 && (strcmp(names[i], "reserve") == 0 ||
				   strcmp(names[i], "segment.tmp") == 0);
		struct kvlog_error err = {0};

		(void)remove(path);
		make_thing(path, _i == 1);
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		check_keys(db, n);
		api_close(db);

		db = api_open(api_store, KVLOG_OPEN_NOTHREAD);
		check_keys(db, n);
		api_delete(db, "key0");
		if (needed) {
			enum kvlog_status st = KVLOG_OK;

			for (unsigned k = 0; k < 20 && st == KVLOG_OK; k++)
				st = put_value(db, 1, &err);
			ck_assert_int_eq(st, KVLOG_IO);
			ck_assert_int_eq(remove(path), 0);
		}
		ck_assert_int_eq(put_value(db, 0, NULL), KVLOG_OK);
		n = grow(db, n, segment_count(db) + 2);
		check_keys(db, n);
		api_close(db);
		(void)remove(path);
		free(path);
	}
}
END_TEST

/* Once a writer whose lock file was removed went on beside another one, and
 * acknowledged what the other had cut off. */
START_TEST(a_removed_lock_file_ends_writing)
{
	char *lock = files_path(api_store, "kvlog.lock");
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_error err = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = &err;
	how.durability = KVLOG_DURABILITY_COMMIT;
	ck_assert_int_eq(kvlog_put(db, "a", 1, "1", 1, &how, NULL), KVLOG_OK);
	if (_i == 0)
		ck_assert_int_eq(unlink(lock), 0);
	else {
		char *aside = files_path(api_store, "aside");

		ck_assert_int_eq(rename(lock, aside), 0);
		files_write(lock, "another", 7);
		free(aside);
	}
	ck_assert_int_eq(
	    kvlog_put(db, "b", 1, "2", 1, &how, NULL), KVLOG_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.text, "kvlog.lock"));
	ck_assert_int_eq(
	    kvlog_put(db, "c", 1, "3", 1, &how, NULL), KVLOG_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.text, "was removed or replaced"));
	api_expect(db, "a", "1");
	err = (struct kvlog_error){0};
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.text, "was removed or replaced"));
	free(lock);
}
END_TEST

/* Once an opening tried for ever to make the file that the link names. */
START_TEST(a_dangling_link_for_a_lock_file_is_an_error)
{
	char *lock = files_path(api_store, "kvlog.lock");
	struct kvlog_options o = api_options(0);
	struct kvlog_error err = {0};
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	api_put(db, "a", "1");
	api_close(db);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(symlink("nowhere", lock), 0);
	ck_assert_int_eq(kvlog_open(api_store, &o, &db, &err), KVLOG_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "kvlog.lock"));
	/* Readers do without it. */
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "a", "1");
	api_close(db);
	free(lock);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("limits");
	TCase *wait = api_case(suite, "wait");
	TCase *descriptors = api_case(suite, "descriptors");
	TCase *things = api_case(suite, "things");

	tcase_add_test(wait, waiting_ends_in_time_while_a_sync_runs);
	tcase_add_loop_test(
	    descriptors, many_segments_need_few_descriptors, 0, 3);
	tcase_add_test(
	    descriptors, segments_of_a_killed_process_need_few_descriptors);
	tcase_add_test(
	    descriptors, want_of_descriptors_refuses_a_put_until_a_sync);
	tcase_set_timeout(things, 60);
	tcase_add_loop_test(things, what_is_no_file_is_no_segment, 0, 2);
	tcase_add_loop_test(things, a_removed_lock_file_ends_writing, 0, 2);
	tcase_add_test(things, a_dangling_link_for_a_lock_file_is_an_error);
	tcase_add_loop_test(
	    things, what_is_no_file_and_no_segment_does_no_harm, 0, 2);
	return test_main(suite);
}
