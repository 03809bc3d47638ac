/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_durability.c - receipts, syncs, waiting, and background work.
 */
#include "config.h"

#include "api.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

static struct kvlog *
open_mode(enum kvlog_durability mode, unsigned flags)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE | flags);

	o.durability = mode;
	o.interval_ms = 20;
	return api_open_with(api_store, &o);
}

static uint64_t
put_mode(struct kvlog *db, enum kvlog_durability mode)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt r;

	how.durability = mode;
	ck_assert_int_eq(
	    kvlog_put(db, "key", 3, "a value", 7, &how, &r), KVLOG_OK);
	ck_assert_uint_eq(kvlog_last_seq(db), r.seq);
	ck_assert_uint_le(kvlog_durable_seq(db), r.seq);
	return r.seq;
}

START_TEST(commit_mode_returns_when_durable)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_COMMIT, 0);

	ck_assert_uint_eq(kvlog_last_seq(db), 0);
	ck_assert_uint_eq(kvlog_durable_seq(db), 0);
	for (int i = 0; i < 10; i++) {
		uint64_t seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);

		ck_assert_uint_eq(kvlog_durable_seq(db), seq);
		ck_assert_int_eq(kvlog_wait_durable(db, seq, 0), KVLOG_OK);
	}
	ck_assert_int_eq(kvlog_delete(db, "key", 3, NULL, NULL), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), kvlog_last_seq(db));
	api_close(db);
}
END_TEST

START_TEST(none_waits_for_a_sync)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	uint64_t seq = 0;

	for (int i = 0; i < 10; i++)
		seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);
	ck_assert_uint_eq(kvlog_durable_seq(db), 0);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 0), KVLOG_TIMEOUT);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 30), KVLOG_TIMEOUT);
	ck_assert_int_eq(kvlog_wait_durable(db, 0, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, seq + 1, 0), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	api_close(db);
}
END_TEST

/* The write's own mode counts, not the store's; a durable one takes all
 * before it along. */
START_TEST(each_write_may_choose)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	uint64_t seq;

	(void)put_mode(db, KVLOG_DURABILITY_NONE);
	seq = put_mode(db, KVLOG_DURABILITY_COMMIT);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	api_close(db);

	db = open_mode(KVLOG_DURABILITY_COMMIT, 0);
	seq = put_mode(db, KVLOG_DURABILITY_NONE);
	ck_assert_uint_lt(kvlog_durable_seq(db), seq);
	api_close(db);
}
END_TEST

START_TEST(interval_becomes_durable_by_itself)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_INTERVAL, 0);

	for (int i = 0; i < 5; i++) {
		uint64_t seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);

		ck_assert_int_eq(kvlog_wait_durable(db, seq, 20000), KVLOG_OK);
		ck_assert_uint_ge(kvlog_durable_seq(db), seq);
		(void)usleep((unsigned)i * 15 * 1000);
	}
	api_close(db);
}
END_TEST

/* Also where the store has no thread yet, and many commits come. */
START_TEST(interval_holds_under_load)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_INTERVAL, 0);
	uint64_t seq = 0;

	for (int i = 0; i < 2000; i++)
		seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 20000), KVLOG_OK);
	api_close(db);
}
END_TEST

START_TEST(without_a_thread_maintain_keeps_the_interval)
{
	struct kvlog *db =
	    open_mode(KVLOG_DURABILITY_INTERVAL, KVLOG_OPEN_NOTHREAD);
	uint64_t seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);
	bool more = true;

	(void)usleep(50 * 1000);
	ck_assert_uint_eq(kvlog_durable_seq(db), 0);
	ck_assert_int_eq(kvlog_maintain(db, 20000, &more), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	ck_assert_int_eq(kvlog_maintain(db, 20000, &more), KVLOG_OK);
	ck_assert(!more);
	ck_assert_int_eq(kvlog_maintain(db, 0, NULL), KVLOG_OK);
	api_close(db);
}
END_TEST

START_TEST(maintain_prepares_the_next_segment_and_writes_hints)
{
	struct kvlog *db =
	    open_mode(KVLOG_DURABILITY_COMMIT, KVLOG_OPEN_NOTHREAD);
	char *spare = files_path(api_store, "spare");
	bool more = true;

	for (int i = 0; i < 300; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	ck_assert_uint_eq(api_stats(db).hint_count, 0);
	ck_assert(!files_exist(spare));
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	(void)put_mode(db, KVLOG_DURABILITY_COMMIT);
	/* One step at a time. */
	ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
	ck_assert(more);
	for (int i = 0; i < 1000 && more; i++)
		ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
	ck_assert(!more);
	ck_assert(files_exist(spare));
	ck_assert_uint_ge(api_stats(db).hint_count, 1);

	/* The spare is taken, then thrown away at close. */
	for (int i = 0; i < 150; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	ck_assert(!files_exist(spare));
	ck_assert_int_eq(kvlog_maintain(db, 1000, &more), KVLOG_OK);
	ck_assert(files_exist(spare));
	api_close(db);
	ck_assert(!files_exist(spare));
	free(spare);
}
END_TEST

START_TEST(close_makes_all_durable_and_clean)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	struct kvlog_stats stats;
	uint64_t seq = 0;

	for (int i = 0; i < 300; i++)
		seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);
	api_close(db);
	db = open_mode(KVLOG_DURABILITY_NONE, 0);
	ck_assert_uint_eq(kvlog_last_seq(db), seq);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	stats = api_stats(db);
	ck_assert_uint_eq(stats.recovery, 0);
	ck_assert_str_eq(stats.recovery_text, "none needed");
	api_close(db);
	db = open_mode(KVLOG_DURABILITY_NONE, 0);
	ck_assert_uint_eq(put_mode(db, KVLOG_DURABILITY_DEFAULT), seq + 1);
	api_close(db);
}
END_TEST

/* Opening and closing for nothing leaves nothing behind. */
START_TEST(closing_without_a_write_changes_no_segment)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_COMMIT, 0);
	struct tree before, after;

	for (int i = 0; i < 100; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	api_close(db);
	tree_read(api_store, &before);
	for (int i = 0; i < 3; i++)
		api_close(open_mode(KVLOG_DURABILITY_COMMIT, 0));
	tree_read(api_store, &after);
	ck_assert_uint_eq(before.count, after.count);
	for (size_t i = 0; i < before.count; i++) {
		ck_assert_str_eq(before.files[i].name, after.files[i].name);
		ck_assert_uint_eq(before.files[i].len, after.files[i].len);
		if (strcmp(before.files[i].name, "kvlog.lock") != 0)
			ck_assert_mem_eq(before.files[i].bytes,
			    after.files[i].bytes, before.files[i].len);
	}
	tree_fini(&before);
	tree_fini(&after);
}
END_TEST

/* In another boot the page is stale: a new range of numbers begins, and
 * durable stays behind last. */
START_TEST(numbers_never_come_again_in_another_boot)
{
	char *lock = files_path(api_store, "kvlog.lock");
	uint64_t seq = 0;

	for (int i = 0; i < 5; i++) {
		struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
		uint64_t next;

		ck_assert_uint_eq(kvlog_last_seq(db), seq);
		ck_assert_uint_eq(kvlog_durable_seq(db), seq);
		next = put_mode(db, KVLOG_DURABILITY_DEFAULT);
		ck_assert_uint_gt(next, seq);
		if (i > 0)
			ck_assert_uint_eq(next % (UINT64_C(1) << 40), 0);
		ck_assert_uint_le(kvlog_durable_seq(db), next);
		ck_assert_int_eq(
		    kvlog_wait_durable(db, next, 0), KVLOG_TIMEOUT);
		ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		ck_assert_uint_eq(kvlog_durable_seq(db), next);
		seq = put_mode(db, KVLOG_DURABILITY_DEFAULT);
		ck_assert_uint_eq(seq, next + 1);
		api_close(db);
		ck_assert_int_eq(unlink(lock), 0);
	}
	free(lock);
}
END_TEST

/* Waiting */

struct waiter {
	pthread_t thread;
	struct kvlog *db;
	uint64_t seq;
	enum kvlog_status status;
};

static void *
wait_for_seq(void *arg)
{
	struct waiter *w = arg;

	w->status = kvlog_wait_durable(w->db, w->seq, 60000);
	return NULL;
}

#define WAITERS 8

/* Threads that wait for the last commits, and have begun to. */
static void
start_waiters(struct waiter *w, struct kvlog *db)
{
	for (unsigned i = 0; i < WAITERS; i++) {
		w[i].db = db;
		w[i].seq = kvlog_last_seq(db) - i % 3;
		w[i].status = KVLOG_OK;
		ck_assert_int_eq(
		    pthread_create(&w[i].thread, NULL, wait_for_seq, &w[i]), 0);
	}
	(void)usleep(20 * 1000);
}

static void
join_waiters(struct waiter *w, enum kvlog_status status)
{
	for (unsigned i = 0; i < WAITERS; i++) {
		ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
		ck_assert_int_eq(w[i].status, status);
	}
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* By a sync, by another commit, and by the thread, one after the other. */
START_TEST(waiters_are_woken_by_whoever_syncs)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	struct waiter w[WAITERS];
	double start = seconds();

	for (int i = 0; i < 3; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	start_waiters(w, db);
	ck_assert_uint_eq(kvlog_durable_seq(db), 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	join_waiters(w, KVLOG_OK);

	for (int i = 0; i < 3; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	start_waiters(w, db);
	(void)put_mode(db, KVLOG_DURABILITY_COMMIT);
	join_waiters(w, KVLOG_OK);

	for (int i = 0; i < 3; i++)
		(void)put_mode(db, KVLOG_DURABILITY_NONE);
	start_waiters(w, db);
	(void)put_mode(db, KVLOG_DURABILITY_INTERVAL);
	join_waiters(w, KVLOG_OK);
	ck_assert(seconds() - start < 50);
	api_close(db);
}
END_TEST

/* Nobody can sync any more once the lock file is gone; see kvlog(3). */
START_TEST(waiters_are_told_of_a_failed_sync)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	char *lock = files_path(api_store, "kvlog.lock");
	uint64_t durable = put_mode(db, KVLOG_DURABILITY_COMMIT), last = 0;
	struct waiter w[WAITERS];
	struct kvlog_error err = {0};
	double start = seconds();

	for (int i = 0; i < 3; i++)
		last = put_mode(db, KVLOG_DURABILITY_NONE);
	start_waiters(w, db);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
	join_waiters(w, KVLOG_BROKEN);
	ck_assert(seconds() - start < 50);

	/* What was durable stays so. */
	ck_assert_uint_eq(kvlog_durable_seq(db), durable);
	ck_assert_int_eq(kvlog_wait_durable(db, durable, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, last, 0), KVLOG_BROKEN);
	ck_assert_int_eq(kvlog_wait_durable(db, last, 60000), KVLOG_BROKEN);
	ck_assert_int_eq(kvlog_wait_durable(db, last + 1, 0), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_put(db, "x", 1, "", 0, NULL, NULL), KVLOG_BROKEN);
	ck_assert_int_eq(kvlog_maintain(db, 0, NULL), KVLOG_BROKEN);
	api_expect(db, "key", "a value");
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
	ck_assert_int_eq(err.status, KVLOG_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.text, "kvlog.lock"));
	free(lock);
}
END_TEST

START_TEST(waiting_ends_in_time)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	uint64_t seq = put_mode(db, KVLOG_DURABILITY_NONE);
	double start = seconds();

	ck_assert_int_eq(kvlog_wait_durable(db, seq, 0), KVLOG_TIMEOUT);
	ck_assert(seconds() - start < 10);
	start = seconds();
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 1100), KVLOG_TIMEOUT);
	ck_assert(seconds() - start >= 1.1);
	ck_assert(seconds() - start < 20);
	ck_assert_int_eq(
	    kvlog_wait_durable(db, UINT64_MAX, UINT32_MAX), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_wait_durable(NULL, 0, 0), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_sync(NULL), KVLOG_INVAL);
	ck_assert_uint_eq(kvlog_durable_seq(NULL), 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, UINT32_MAX), KVLOG_OK);
	api_close(db);
}
END_TEST

static void *
sync_later(void *arg)
{
	(void)usleep(100 * 1000);
	return kvlog_sync(arg) == KVLOG_OK ? arg : NULL;
}

/* Not one that would never come, and until the writer has synced. */
START_TEST(read_only_handles_wait_for_the_writer)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0), *reader;
	uint64_t durable = put_mode(db, KVLOG_DURABILITY_COMMIT);
	uint64_t last = put_mode(db, KVLOG_DURABILITY_NONE);
	double start = seconds();
	pthread_t thread;
	void *done;

	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(kvlog_last_seq(reader), last);
	ck_assert_uint_eq(kvlog_durable_seq(reader), durable);
	ck_assert_int_eq(kvlog_wait_durable(reader, durable, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(reader, last, 0), KVLOG_TIMEOUT);
	ck_assert(seconds() - start < 50);
	start = seconds();
	ck_assert_int_eq(kvlog_wait_durable(reader, last, 300), KVLOG_TIMEOUT);
	ck_assert(seconds() - start >= 0.29);
	ck_assert_int_eq(
	    kvlog_wait_durable(reader, last + 1, 60000), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_sync(reader), KVLOG_READONLY);

	start = seconds();
	ck_assert_int_eq(pthread_create(&thread, NULL, sync_later, db), 0);
	ck_assert_int_eq(kvlog_wait_durable(reader, last, 60000), KVLOG_OK);
	ck_assert(seconds() - start >= 0.09);
	ck_assert(seconds() - start < 50);
	ck_assert_int_eq(pthread_join(thread, &done), 0);
	ck_assert_ptr_eq(done, db);
	ck_assert_uint_eq(kvlog_durable_seq(reader), last);
	api_close(reader);
	api_close(db);
}
END_TEST

/* Numbers grow by the commit, also where it is a batch; the place is that of
 * its first record; a write that is refused leaves the receipt alone. */
START_TEST(receipts_name_the_commit_and_its_place)
{
	struct kvlog *db = open_mode(KVLOG_DURABILITY_NONE, 0);
	struct kvlog_op ops[3] = {
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "a", 1, "x", 1, 0, NULL},
	    {KVLOG_OP_DELETE, KVLOG_IF_ANY, 0, "key", 3, NULL, 0, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "b", 1, "y", 1, 0, NULL},
	};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt r = {0}, before;
	struct kvlog_info info;
	uint64_t last = 0;

	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(
		    kvlog_put(db, "key", 3, "value", 5, NULL, &r), KVLOG_OK);
		ck_assert_uint_eq(r.seq, last + 1);
		last = r.seq;
		ck_assert_int_eq(kvlog_lookup(db, "key", 3, &info), KVLOG_OK);
		ck_assert_uint_eq(info.seq, r.seq);
		ck_assert_uint_eq(info.segment, r.segment);
		ck_assert_uint_eq(info.offset, r.offset);
	}
	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, &r, NULL), KVLOG_OK);
	ck_assert_uint_eq(r.seq, last + 1);
	ck_assert_int_eq(kvlog_lookup(db, "a", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.offset, r.offset);
	ck_assert_int_eq(kvlog_lookup(db, "b", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.seq, r.seq);
	ck_assert_uint_gt(info.offset, r.offset);

	before = r;
	how.condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(
	    kvlog_put(db, "a", 1, "z", 1, &how, &r), KVLOG_CONFLICT);
	ck_assert_int_eq(kvlog_delete(db, "no", 2, NULL, &r), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_put(db, "", 0, "z", 1, NULL, &r), KVLOG_INVAL);
	how.condition = KVLOG_IF_ANY;
	how.durability = KVLOG_DURABILITY_NONE + 1;
	ck_assert_int_eq(kvlog_put(db, "a", 1, "z", 1, &how, &r), KVLOG_INVAL);
	ck_assert_uint_eq(r.seq, before.seq);
	ck_assert_uint_eq(r.segment, before.segment);
	ck_assert_uint_eq(r.offset, before.offset);
	ck_assert_uint_eq(kvlog_last_seq(db), r.seq);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("durability");
	TCase *tc = api_case(suite, "durability");

	tcase_add_test(tc, commit_mode_returns_when_durable);
	tcase_add_test(tc, none_waits_for_a_sync);
	tcase_add_test(tc, each_write_may_choose);
	tcase_add_test(tc, interval_becomes_durable_by_itself);
	tcase_add_test(tc, interval_holds_under_load);
	tcase_add_test(tc, without_a_thread_maintain_keeps_the_interval);
	tcase_add_test(tc, maintain_prepares_the_next_segment_and_writes_hints);
	tcase_add_test(tc, close_makes_all_durable_and_clean);
	tcase_add_test(tc, closing_without_a_write_changes_no_segment);
	tcase_add_test(tc, numbers_never_come_again_in_another_boot);
	tcase_add_test(tc, waiters_are_woken_by_whoever_syncs);
	tcase_add_test(tc, waiters_are_told_of_a_failed_sync);
	tcase_add_test(tc, waiting_ends_in_time);
	tcase_add_test(tc, read_only_handles_wait_for_the_writer);
	tcase_add_test(tc, receipts_name_the_commit_and_its_place);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
