/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_durability.c - receipts, syncs, waiting, and background work.
 */
#include "config.h"

#include "api.h"

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
	ck_assert_int_eq(kvlog_maintain(db, 50, &more), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	ck_assert_int_eq(kvlog_maintain(db, 50, &more), KVLOG_OK);
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
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
