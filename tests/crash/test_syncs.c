/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_syncs.c - what durability costs: how many syncs each mode makes.
 */
#include "config.h"

#include "simos.h"
#include "test.h"

#include <inttypes.h>
#include <kvlog.h>
#include <string.h>

static uint64_t syncs_before, dirs_before;

static void
setup(void)
{
	simos_init(1);
}

static void
teardown(void)
{
	simos_fini();
}

static struct kvlog *
open_segments(enum kvlog_durability mode, uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.durability = mode;
	o.interval_ms = 100;
	o.segment_size = segment_size;
	if (kvlog_open("/db", &o, &db, &err) != KVLOG_OK)
		ck_abort_msg("%s", err.text);
	return db;
}

static struct kvlog *
open_store(enum kvlog_durability mode)
{
	return open_segments(mode, KVLOG_SEGMENT_SIZE_MIN);
}

/* From now on. */
static void
count_anew(void)
{
	syncs_before = simos_count(SIMOS_SYNC);
	dirs_before = simos_count(SIMOS_SYNC_DIR);
}

static void
expect_syncs(uint64_t files, uint64_t dirs)
{
	ck_assert_uint_eq(simos_count(SIMOS_SYNC) - syncs_before, files);
	ck_assert_uint_eq(simos_count(SIMOS_SYNC_DIR) - dirs_before, dirs);
	count_anew();
}

static uint64_t
put(struct kvlog *db, size_t len, enum kvlog_durability mode)
{
	static const uint8_t value[4000];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0};

	how.durability = mode;
	ck_assert_int_eq(
	    kvlog_put(db, "key", 3, value, len, &how, &receipt), KVLOG_OK);
	return receipt.seq;
}

static void
close_store(struct kvlog *db)
{
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
}

START_TEST(a_commit_costs_one_sync)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_COMMIT);

	count_anew();
	for (int i = 0; i < 50; i++) {
		uint64_t seq = put(db, 20, KVLOG_DURABILITY_DEFAULT);

		ck_assert_uint_eq(kvlog_durable_seq(db), seq);
		expect_syncs(1, 0);
	}
	ck_assert_int_eq(kvlog_delete(db, "key", 3, NULL, NULL), KVLOG_OK);
	expect_syncs(1, 0);
	/* What is durable already costs nothing. */
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_delete(db, "key", 3, NULL, NULL), KVLOG_NOTFOUND);
	expect_syncs(0, 0);
	/* Closing notes a clean end, durably. */
	close_store(db);
	expect_syncs(1, 0);
}
END_TEST

/* Not even the first one after an opening costs more. */
START_TEST(a_commit_in_a_store_opened_again_costs_one_sync)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_COMMIT);

	(void)put(db, 20, KVLOG_DURABILITY_COMMIT);
	close_store(db);
	count_anew();
	db = open_store(KVLOG_DURABILITY_COMMIT);
	expect_syncs(0, 0);
	(void)put(db, 20, KVLOG_DURABILITY_COMMIT);
	expect_syncs(1, 0);
	close_store(db);
	expect_syncs(1, 0);
	close_store(open_store(KVLOG_DURABILITY_COMMIT));
	expect_syncs(0, 0);
}
END_TEST

START_TEST(a_batch_costs_one_sync)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_COMMIT);
	struct kvlog_op ops[30];

	for (int i = 0; i < 30; i++)
		ops[i] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .key = &"abcdefghijklmnopqrstuvwxyz0123"[i],
		    .key_len = 1,
		    .value = "value",
		    .value_len = 5};
	count_anew();
	ck_assert_int_eq(kvlog_apply(db, ops, 30, NULL, NULL, NULL), KVLOG_OK);
	expect_syncs(1, 0);
	close_store(db);
}
END_TEST

START_TEST(none_costs_no_sync_until_somebody_asks)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE);

	count_anew();
	for (int i = 0; i < 50; i++)
		(void)put(db, 20, KVLOG_DURABILITY_DEFAULT);
	expect_syncs(0, 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	expect_syncs(1, 0);
	for (int i = 0; i < 10; i++)
		(void)put(db, 20, KVLOG_DURABILITY_DEFAULT);
	(void)put(db, 20, KVLOG_DURABILITY_COMMIT); /* and all before it */
	expect_syncs(1, 0);
	(void)put(db, 20, KVLOG_DURABILITY_NONE);
	expect_syncs(0, 0);
	close_store(db); /* what is written, and the mark of a clean end */
	expect_syncs(2, 0);
}
END_TEST

/* A new segment: its header before it has its name; then the name and both
 * segments, once. */
START_TEST(a_rollover_costs_what_it_has_to)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_COMMIT);

	(void)put(db, 2000, KVLOG_DURABILITY_COMMIT);
	count_anew();
	/* The header of the new one, and what is in it; of the old one all is
	 * durable. */
	(void)put(db, 2000, KVLOG_DURABILITY_COMMIT);
	expect_syncs(2, 1);
	(void)put(db, 20, KVLOG_DURABILITY_NONE);
	(void)put(db, 2000, KVLOG_DURABILITY_COMMIT);
	expect_syncs(3, 1);
	(void)put(db, 20, KVLOG_DURABILITY_COMMIT);
	expect_syncs(1, 0);
	close_store(db);
}
END_TEST

/* However many commits come, at most one sync in half an interval. */
START_TEST(interval_costs_one_sync_in_half_the_time)
{
	struct kvlog *db = open_segments(KVLOG_DURABILITY_INTERVAL, 1u << 20);
	uint64_t seq = 0;

	count_anew();
	for (int i = 0; i < 2000; i++) { /* 2 seconds, and the first one */
		bool more = true;

		os->sleep_ns(1000000);
		seq = put(db, 0, KVLOG_DURABILITY_DEFAULT);
		while (more)
			ck_assert_int_eq(
			    kvlog_maintain(db, 0, &more), KVLOG_OK);
		/* Never more than the interval behind. */
		ck_assert_uint_le(seq - kvlog_durable_seq(db), 100);
		if (i == 0)
			count_anew();
	}
	ck_assert_uint_ge(simos_count(SIMOS_SYNC) - syncs_before, 20);
	ck_assert_uint_le(simos_count(SIMOS_SYNC) - syncs_before, 40);
	close_store(db);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("syncs");
	TCase *tc = tcase_create("syncs");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_commit_costs_one_sync);
	tcase_add_test(tc, a_commit_in_a_store_opened_again_costs_one_sync);
	tcase_add_test(tc, a_batch_costs_one_sync);
	tcase_add_test(tc, none_costs_no_sync_until_somebody_asks);
	tcase_add_test(tc, a_rollover_costs_what_it_has_to);
	tcase_add_test(tc, interval_costs_one_sync_in_half_the_time);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
