/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_limits.c - where the system sets limits: few descriptors, things that
 * are no files under the names of files, syncs that take their time.
 *
 * Syncs of this program do nothing but wait where a test tells them to; the
 * machine does not crash here.
 */
#include "api.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
	static const enum kvlog_status ok = KVLOG_OK;
	struct kvlog *db = arg;

	return kvlog_sync(db) == KVLOG_OK ? (void *)(uintptr_t)&ok : NULL;
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

/* Put until there are so many segments; returns the number of the next key. */
static unsigned
grow(struct kvlog *db, unsigned n, uint32_t segments)
{
	static const char value[1001] = {[0 ... 999] = 'v'};

	for (;; n++) {
		struct kvlog_stats stats = {
		    .size = sizeof stats, .quick = true};
		char key[16];
		bool more;

		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		if (stats.segment_count >= segments)
			return n;
		make_key(key, n);
		api_put(db, key, value);
		do
			ck_assert_int_eq(
			    kvlog_maintain(db, 0, &more), KVLOG_OK);
		while (more);
	}
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
 * _i: after a clean end, after a kill, or without hints.
 */
START_TEST(many_segments_need_few_descriptors)
{
	const size_t before = files_fd_count();
	struct kvlog *db;
	unsigned n;

	limit_descriptors(DESCRIPTORS);
	db = api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	n = grow(db, 0, SEGMENTS);
	ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);
	if (_i == 1) {
		/* As after a reboot: what is known of the end is stale. */
		char *lock = files_path(api_store, "kvlog.lock");

		files_patch(lock, 16, "another boot id!", 16);
		free(lock);
	} else if (_i == 2) {
		for (unsigned i = 1; i < SEGMENTS; i++) {
			char name[32], *path;

			(void)snprintf(name, sizeof name, "%08u.hint", i);
			path = files_path(api_store, name);
			ck_assert_int_eq(unlink(path), 0);
			free(path);
		}
	}

	db = api_open(api_store, KVLOG_OPEN_READONLY);
	check_keys(db, n);
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);

	db = api_open(api_store, KVLOG_OPEN_NOTHREAD);
	check_keys(db, n);
	n = grow(db, n, SEGMENTS + 100);
	check_keys(db, n);
	if (before > 0)
		ck_assert_uint_lt(files_fd_count(), before + 10);
	api_close(db);
	ck_assert_uint_eq(files_fd_count(), before);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("limits");
	TCase *wait = api_case(suite, "wait");
	TCase *descriptors = api_case(suite, "descriptors");

	tcase_add_test(wait, waiting_ends_in_time_while_a_sync_runs);
	tcase_add_loop_test(
	    descriptors, many_segments_need_few_descriptors, 0, 3);
	return test_main(suite);
}
