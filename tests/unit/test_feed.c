/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_feed.c - a feed over logs that the engine would not write, over the
 * verbatim copies of a repair, and when calls fail.
 */
#include "config.h"

#include "feed.h"
#include "makelog.h"

#include <errno.h>
#include <stdio.h>

#define ONE "00000001.seg"
#define RANGE RECORD_RANGE

static struct makelog m;
static struct kvlog *db, *reader;
static struct kvlog_feed *feed;
static struct kvlog_change change;
static struct kvlog_error err;
static enum kvlog_index_mode index_mode = KVLOG_INDEX_MEMORY;

static struct kvlog *
open_store(unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *opened = NULL;
	enum kvlog_status st;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.load_threads = 1;
	o.index_mode = index_mode;
	st = kvlog_open(MAKELOG_STORE, &o, &opened, &err);
	ck_assert_msg(st == KVLOG_OK, "%s", err.text);
	return opened;
}

static void
begin(uint64_t from)
{
	reader = open_store(KVLOG_OPEN_READONLY);
	MAKELOG_OK(kvlog_feed_open(reader, from, NULL, 0, &feed, &err));
}

static void
finish(void)
{
	kvlog_feed_close(feed);
	MAKELOG_OK(kvlog_close(reader, NULL));
}

static enum kvlog_status
next(void)
{
	memset(&change, 0, sizeof change);
	memset(&err, 0, sizeof err);
	change.size = sizeof change;
	return kvlog_feed_next(feed, 0, &change, &err);
}

static void
expect(uint64_t seq, const char *key)
{
	enum kvlog_status st = next();

	ck_assert_msg(st == KVLOG_OK, "%d %s", (int)st, err.text);
	ck_assert_uint_eq(change.seq, seq);
	ck_assert_uint_eq(change.key_len, strlen(key));
	ck_assert_mem_eq(change.key, key, change.key_len);
}

static void
expect_missing(uint64_t first, uint64_t last)
{
	ck_assert_int_eq(next(), KVLOG_CORRUPT);
	ck_assert_uint_eq(change.seq, first);
	ck_assert_uint_eq(change.last_seq, last);
	ck_assert_ptr_null(change.key);
	ck_assert_int_eq(err.status, KVLOG_CORRUPT);
}

static void
expect_end(void)
{
	ck_assert_int_eq(next(), KVLOG_TIMEOUT);
}

/* Logs made by hand */

/* End the log so that all of it is attested. */
static void
end_log(void)
{
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_fini(&m);
}

START_TEST(numbers_that_are_missing_are_told)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "1", 5);
	m.seq = 4;
	(void)makelog_put(&m, "5", 5);
	(void)makelog_put(&m, "6", 5);
	m.seq = 9; /* the link will say that these were there */
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "10", 5);
	end_log();
	begin(0);
	expect(1, "1");
	expect_missing(2, 4);
	expect(5, "5");
	expect(6, "6");
	expect_missing(7, 9);
	expect(10, "10");
	expect_end();
	finish();
	begin(3); /* what nobody asks for is not missed */
	expect_missing(3, 4);
	expect(5, "5");
	finish();
	begin(6);
	expect(6, "6");
	expect_missing(7, 9);
	finish();
	begin(10);
	expect(10, "10");
	finish();
}
END_TEST

START_TEST(a_range_begins_without_a_gap)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "1", 5);
	makelog_begin_range(&m, 2, RANGE);
	makelog_begin_range(&m, 3, 3 * RANGE);
	(void)makelog_put(&m, "2", 5);
	(void)makelog_put(&m, "3", 5);
	end_log();
	for (uint64_t from = 0; from < 3 * RANGE; from += RANGE / 2) {
		begin(from);
		if (from < 2)
			expect(1, "1");
		expect(3 * RANGE, "2");
		expect(3 * RANGE + 1, "3");
		expect_end();
		finish();
	}
	/* Even if nothing but the number says so. */
	makelog_flip("00000003.seg", SEGMENT_LINK_OFF + 8);
	begin(0);
	expect(1, "1");
	expect(3 * RANGE, "2");
	expect(3 * RANGE + 1, "3");
	expect_end();
	finish();
}
END_TEST

static void
add(unsigned type, unsigned flags, const char *key)
{
	struct record rec;

	m.seq += (flags & RECORD_CONT) == 0;
	rec = makelog_record(&m, type, key, 8, flags);
	rec.expiry_ms = 1;
	rec.bucket_seq = 1;
	(void)makelog_add(&m, &rec);
}

/* Records to be ignored and marks are not told; encoded values cannot be. */
START_TEST(records_of_other_kinds)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	add(RECORD_PUT, RECORD_MORE, "a");
	add(RECORD_PUT, RECORD_CONT | RECORD_MORE | RECORD_BUCKET, "a");
	add(RECORD_TYPE_IGNORE + 1, RECORD_CONT, "b");
	(void)makelog_mark(&m, false);
	add(RECORD_PUT, RECORD_EXPIRY, "c");
	add(RECORD_TYPE_IGNORE + 1, 0, "d");
	add(RECORD_PUT, RECORD_CODEC, "e");
	add(RECORD_PUT, 0, "f");
	end_log();
	begin(0);
	expect(1, "a");
	ck_assert(change.more);
	ck_assert_uint_eq(change.bucket_seq, 0);
	expect(1, "a");
	ck_assert(!change.more);
	ck_assert_uint_eq(change.bucket_seq, 1);
	expect(2, "c");
	ck_assert_uint_eq(change.expires_ms, 1);
	ck_assert_int_eq(next(), KVLOG_VERSION);
	ck_assert_uint_eq(change.seq, 4);
	ck_assert_mem_eq(change.key, "e", 1);
	ck_assert_ptr_null(change.value);
	expect(5, "f");
	expect_end();
	finish();
}
END_TEST

/* Parts of batches: each is told, and that it is one. */
START_TEST(batches_without_some_of_their_records)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	m.durable = 4;
	(void)makelog_put(&m, "1", 5);
	m.seq++;
	add(RECORD_PUT, RECORD_CONT | RECORD_MORE, "2b");
	add(RECORD_PUT, RECORD_CONT, "2c");
	add(RECORD_PUT, RECORD_MORE, "3a");
	(void)makelog_put(&m, "4", 5);
	add(RECORD_PUT, RECORD_MORE, "5a");
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "6", 5);
	end_log();
	begin(0);
	expect(1, "1");
	expect_missing(2, 2);
	expect(2, "2b");
	ck_assert(change.more);
	expect(2, "2c");
	expect(3, "3a");
	expect_missing(3, 3);
	expect(4, "4");
	expect(5, "5a");
	expect_missing(5, 5);
	expect(6, "6");
	expect_end();
	finish();
}
END_TEST

/* Copies of a repair */

static void
put_batch(struct kvlog *to, const char *stem)
{
	struct kvlog_op ops[4];
	char key[4][16];

	memset(ops, 0, sizeof ops);
	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(key[i], sizeof key[i], "%s%u", stem, i);
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = key[i];
		ops[i].key_len = strlen(key[i]);
	}
	MAKELOG_OK(kvlog_apply(to, ops, 4, NULL, NULL, NULL));
}

static void
expect_batch(uint64_t seq, const char *stem, unsigned from)
{
	for (unsigned i = from; i < 4; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "%s%u", stem, i);
		expect(seq, key);
		ck_assert_int_eq(change.more, i < 3);
	}
}

/* A feed stands within a commit, when a repair copies the segment. */
START_TEST(a_feed_goes_on_in_a_verbatim_copy)
{
	for (unsigned told = 0; told <= 8; told++) {
		db = open_store(KVLOG_OPEN_CREATE);
		put_batch(db, "a");
		put_batch(db, "b");
		MAKELOG_OK(kvlog_sync(db));
		begin(0);
		for (unsigned i = 0; i < told; i++)
			ck_assert_int_eq(next(), KVLOG_OK);
		put_batch(db, "c");
		simos_fail(SIMOS_SYNC, 1, EIO, false);
		ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
		simos_fail_clear();
		(void)!kvlog_close(db, NULL);

		db = open_store(0);
		ck_assert(makelog_exists("00000001-00000001.r1.1of1.seg"));
		if (told < 4)
			expect_batch(1, "a", told);
		expect_batch(2, "b", told < 4 ? 0 : told - 4);
		expect_batch(3, "c", 0); /* saved by the copy */
		put_batch(db, "d");
		expect_end();
		MAKELOG_OK(kvlog_sync(db));
		expect_batch(RANGE, "d", 0);
		expect_end();
		finish();
		MAKELOG_OK(kvlog_close(db, NULL));
		makelog_teardown();
		makelog_setup();
	}
}
END_TEST

/* Failures */

/* Whatever is not to be had, the feed is where it was, and goes on. */
static void
fail_each(enum simos_kind kind, int error, enum kvlog_status expected)
{
	unsigned failures = 0;

	db = open_store(KVLOG_OPEN_CREATE);
	put_batch(db, "a");
	put_batch(db, "b");
	for (unsigned i = 0; i < 40; i++)
		put_batch(db, "filling");
	put_batch(db, "c");
	MAKELOG_OK(kvlog_close(db, NULL));
	makelog_flip(ONE, SEGMENT_DATA_OFF + 4 * 32 + 20); /* commit 2 */
	for (uint64_t nth = 1; nth < 400; nth++) {
		uint64_t seq = 0, records = 0, missing = 0;
		enum kvlog_status st;

		reader = open_store(KVLOG_OPEN_READONLY);
		simos_fail(kind, nth, error, false);
		st = kvlog_feed_open(reader, 0, "", 0, &feed, &err);
		if (st != KVLOG_OK) {
			ck_assert_int_eq(st, expected);
			failures++;
			MAKELOG_OK(
			    kvlog_feed_open(reader, 0, "", 0, &feed, &err));
		}
		while ((st = next()) != KVLOG_TIMEOUT) {
			if (st == KVLOG_CORRUPT) {
				ck_assert_uint_eq(change.seq, 2);
				missing++;
				continue;
			}
			if (st != KVLOG_OK) {
				ck_assert_int_eq(st, expected);
				ck_assert_int_eq(err.status, expected);
				failures++;
				continue;
			}
			ck_assert_uint_ge(change.seq, seq);
			seq = change.seq;
			records++;
		}
		ck_assert_uint_eq(seq, 43);
		ck_assert_uint_eq(records, 4 * 43 - 1);
		ck_assert_uint_eq(missing, 1);
		finish();
		simos_fail_clear();
	}
	ck_assert_uint_gt(failures, 0);
}

START_TEST(want_of_memory_costs_no_record)
{
	fail_each(SIMOS_MALLOC, ENOMEM, KVLOG_NOMEM);
}
END_TEST

START_TEST(a_segment_that_cannot_be_mapped_costs_no_record)
{
	index_mode = KVLOG_INDEX_HINTS; /* maps what it reads alone */
	fail_each(SIMOS_MAP, EIO, KVLOG_IO);
	index_mode = KVLOG_INDEX_MEMORY;
}
END_TEST

/* A compaction takes the segment just as it is to be mapped. */
static void
compact_meanwhile(enum simos_kind kind)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	(void)kind;
	simos_on_fault(NULL);
	o.flags = KVLOG_COMPACT_ALL;
	o.timeout_ms = 0;
	MAKELOG_OK(kvlog_compact_offline(MAKELOG_STORE, &o, NULL, NULL));
}

START_TEST(a_segment_that_goes_while_it_is_looked_for)
{
	index_mode = KVLOG_INDEX_HINTS;
	db = open_store(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 200; i++)
		put_batch(db, "filling");
	MAKELOG_OK(kvlog_close(db, NULL));
	begin(0);
	simos_on_fault(compact_meanwhile);
	simos_fail(SIMOS_MAP, 1, ESTALE, false);
	ck_assert_int_eq(next(), KVLOG_TOOOLD);
	ck_assert_uint_eq(change.seq, 201);
	finish();
	index_mode = KVLOG_INDEX_MEMORY;
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("feed");
	TCase *made = makelog_case(suite, "made by hand");
	TCase *copies = makelog_case(suite, "copies");
	TCase *failures = makelog_case(suite, "failures");

	tcase_add_test(made, numbers_that_are_missing_are_told);
	tcase_add_test(made, a_range_begins_without_a_gap);
	tcase_add_test(made, records_of_other_kinds);
	tcase_add_test(made, batches_without_some_of_their_records);
	tcase_add_test(copies, a_feed_goes_on_in_a_verbatim_copy);
	tcase_add_test(failures, want_of_memory_costs_no_record);
	tcase_add_test(
	    failures, a_segment_that_cannot_be_mapped_costs_no_record);
	tcase_add_test(failures, a_segment_that_goes_while_it_is_looked_for);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
