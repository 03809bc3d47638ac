/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_txn.c - transactions: what one sees of itself and others of it,
 * conditions, savepoints, how it ends, and who waits for it.
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LONG_MS 60000u /* for what should not take long */

static struct kvlog_error err;

static struct kvlog *
open_store(unsigned flags)
{
	struct kvlog_options o = api_options(flags);

	o.timeout_ms = LONG_MS;
	return api_open_with(api_store, &o);
}

static struct kvlog_txn *
begin_with(struct kvlog *db, unsigned flags)
{
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn = NULL;
	enum kvlog_status st;

	o.flags = flags;
	o.idle_ms = LONG_MS;
	st = kvlog_txn_begin(db, &o, &txn, &err);
	ck_assert_msg(st == KVLOG_OK, "%d %s", (int)st, err.text);
	return txn;
}

static struct kvlog_txn *
begin(struct kvlog *db)
{
	return begin_with(db, 0);
}

static struct kvlog_txn *
begin_reading(struct kvlog *db)
{
	return begin_with(db, KVLOG_TXN_READ);
}

static enum kvlog_status
put_how(struct kvlog_txn *txn, const char *key, const char *value,
    enum kvlog_condition condition, uint64_t seq)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.condition = condition;
	how.if_seq = seq;
	how.err = &err;
	return kvlog_txn_put(
	    txn, NULL, key, strlen(key), value, strlen(value), &how);
}

static void
put(struct kvlog_txn *txn, const char *key, const char *value)
{
	enum kvlog_status st = put_how(txn, key, value, KVLOG_IF_ANY, 0);

	ck_assert_msg(st == KVLOG_OK, "put %s: %d %s", key, (int)st, err.text);
}

static enum kvlog_status delete (struct kvlog_txn *txn, const char *key) {
	return kvlog_txn_delete(txn, NULL, key, strlen(key), NULL);
}

/* value is NULL if there is to be none. */
static void
expect(struct kvlog_txn *txn, const char *key, const char *value)
{
	const void *p = NULL;
	size_t len = 0;
	enum kvlog_status st =
	    kvlog_txn_get(txn, NULL, key, strlen(key), &p, &len);

	if (value == NULL) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		return;
	}
	ck_assert_msg(st == KVLOG_OK, "%s: %d", key, (int)st);
	ck_assert_uint_eq(len, strlen(value));
	ck_assert_mem_eq(p, value, len);
}

static struct kvlog_receipt
commit(struct kvlog_txn *txn)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0};
	enum kvlog_status st;

	how.err = &err;
	st = kvlog_txn_commit(txn, &how, &receipt);
	ck_assert_msg(st == KVLOG_OK, "commit: %d %s", (int)st, err.text);
	return receipt;
}

static uint64_t
savepoint(struct kvlog_txn *txn)
{
	uint64_t savepoint = 0;

	ck_assert_int_eq(kvlog_txn_savepoint(txn, &savepoint), KVLOG_OK);
	return savepoint;
}

static void
expect_text(struct kvlog *db, const char *want)
{
	char *text = api_text(db);

	ck_assert_str_eq(text, want);
	free(text);
}

/* Seeing */

START_TEST(a_transaction_sees_its_writes_and_others_see_them_at_its_commit)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog *reader;
	struct kvlog_receipt receipt;
	struct kvlog_txn *txn;

	api_put(db, "a", "1");
	api_put(db, "b", "2");
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	txn = begin(db);
	expect(txn, "a", "1");
	put(txn, "a", "one");
	put(txn, "c", "");
	ck_assert_int_eq(delete (txn, "b"), KVLOG_OK);
	expect(txn, "a", "one");
	expect(txn, "b", NULL);
	expect(txn, "c", "");
	ck_assert_int_eq(delete (txn, "b"), KVLOG_NOTFOUND);
	ck_assert_int_eq(delete (txn, "never"), KVLOG_NOTFOUND);
	expect_text(db, "a1b2");
	expect_text(reader, "a1b2");
	ck_assert_uint_eq(kvlog_last_seq(reader), 2);
	receipt = commit(txn);
	ck_assert_uint_eq(receipt.seq, 3);
	ck_assert_uint_gt(receipt.segment, 0);
	expect_text(db, "aonec");
	expect_text(reader, "aonec");
	api_close(reader);
	api_close(db);
	db = open_store(0);
	expect_text(db, "aonec");
	api_close(db);
}
END_TEST

static void
expect_count(struct kvlog_txn *txn, struct kvlog *bucket, uint64_t count)
{
	uint64_t told = 77;

	ck_assert_int_eq(kvlog_txn_count(txn, bucket, &told), KVLOG_OK);
	ck_assert_uint_eq(told, count);
}

START_TEST(a_transaction_counts_what_it_sees)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *bucket;
	struct kvlog_txn *txn, *old;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	ck_assert_uint_eq(kvlog_txn_seq(NULL), 0);
	api_put(db, "a", "1");
	api_put(db, "b", "2");
	api_put(bucket, "c", "3");
	old = begin_reading(db);
	ck_assert_uint_eq(kvlog_txn_seq(old), 4);
	txn = begin(db);
	ck_assert_uint_eq(kvlog_txn_seq(txn), 4);
	put(txn, "d", "4");
	put(txn, "a", "4");
	ck_assert_int_eq(delete (txn, "b"), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, bucket, "d", 1, "4", 1, NULL), KVLOG_OK);
	expect_count(txn, NULL, 2);
	expect_count(txn, bucket, 2);
	ck_assert_uint_eq(kvlog_txn_seq(txn), 4);
	(void)commit(txn);
	expect_count(old, NULL, 2);
	expect_count(old, bucket, 1);
	ck_assert_int_eq(kvlog_txn_count(old, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_count(NULL, NULL, &(uint64_t){0}), KVLOG_INVAL);
	ck_assert_uint_eq(kvlog_txn_seq(old), 4);
	ck_assert_uint_eq(commit(old).seq, 4);
	api_put(db, "a", "5");
	txn = begin(db);
	ck_assert_uint_eq(kvlog_txn_seq(txn), 6);
	expect_count(txn, NULL, 2);
	kvlog_txn_rollback(txn);
	api_close(bucket);
	api_close(db);
}
END_TEST

START_TEST(a_rollback_leaves_nothing)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn *txn;

	api_put(db, "a", "1");
	txn = begin(db);
	put(txn, "a", "2");
	put(txn, "b", "2");
	kvlog_txn_rollback(txn);
	kvlog_txn_rollback(NULL);
	expect_text(db, "a1");
	ck_assert_uint_eq(kvlog_last_seq(db), 1);
	api_put(db, "b", "3"); /* and keeps nobody waiting */
	expect_text(db, "a1b3");
	api_close(db);
}
END_TEST

/* What was net nothing is no commit. */
START_TEST(what_has_written_nothing_commits_nothing)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn *txn;

	ck_assert_uint_eq(commit(begin(db)).seq, 0);
	api_put(db, "a", "1");
	txn = begin(db);
	expect(txn, "a", "1");
	ck_assert_uint_eq(commit(txn).seq, 1);
	txn = begin(db);
	put(txn, "scratch", "1");
	ck_assert_int_eq(delete (txn, "scratch"), KVLOG_OK);
	expect(txn, "scratch", NULL);
	ck_assert_uint_eq(commit(txn).seq, 1);
	txn = begin(db);
	put(txn, "a", "2");
	ck_assert_int_eq(delete (txn, "a"), KVLOG_OK);
	ck_assert_uint_eq(commit(txn).seq, 2); /* of what was there */
	expect_text(db, "");
	ck_assert_uint_eq(kvlog_last_seq(db), 2);
	api_close(db);
}
END_TEST

START_TEST(values_stay_in_their_places_until_the_end)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_compact_options all = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_txn *txn;
	const void *old, *own;
	char value[2000], key[16];
	size_t len;

	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	api_put(db, "a", value);
	for (unsigned i = 0; i < 30; i++)
		api_put(db, "fill", value);
	txn = begin(db);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, NULL, "a", 1, &old, &len), KVLOG_OK);
	put(txn, "b", "own");
	ck_assert_int_eq(
	    kvlog_txn_get(txn, NULL, "b", 1, &own, &len), KVLOG_OK);
	put(txn, "a", "new");
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(key, sizeof key, "key%u", i);
		put(txn, key, value);
	}
	all.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &all, NULL, &err), KVLOG_OK);
	ck_assert_mem_eq(old, value, sizeof value - 1);
	ck_assert_mem_eq(own, "own", 3);
	expect(txn, "fill", value);
	(void)commit(txn);
	ck_assert_uint_eq(api_count(db), 1003);
	api_expect(db, "a", "new");
	api_close(db);
}
END_TEST

START_TEST(a_lookup_tells_the_commit_to_come)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_info info = {0};
	struct kvlog_txn *txn;

	api_put(db, "a", "12345");
	txn = begin(db);
	ck_assert_int_eq(kvlog_txn_lookup(txn, NULL, "a", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.seq, 1);
	ck_assert_uint_eq(info.value_len, 5);
	ck_assert_uint_gt(info.segment, 0);
	put(txn, "a", "123");
	ck_assert_int_eq(kvlog_txn_lookup(txn, NULL, "a", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.seq, 2);
	ck_assert_uint_eq(info.value_len, 3);
	ck_assert_uint_eq(info.segment, 0);
	ck_assert_int_eq(
	    kvlog_txn_lookup(txn, NULL, "b", 1, &info), KVLOG_NOTFOUND);
	ck_assert_uint_eq(commit(txn).seq, 2);
	api_close(db);
}
END_TEST

START_TEST(conditions_are_answered_at_once)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn *txn;

	api_put(db, "a", "1");
	api_put(db, "b", "2");
	txn = begin(db);
	ck_assert_int_eq(
	    put_how(txn, "a", "x", KVLOG_IF_ABSENT, 0), KVLOG_CONFLICT);
	ck_assert_str_eq(err.text, "the key has a value");
	ck_assert_int_eq(
	    put_how(txn, "new", "x", KVLOG_IF_PRESENT, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_how(txn, "a", "x", KVLOG_IF_SEQ, 2), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_how(txn, "new", "x", KVLOG_IF_SEQ, 2), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_how(txn, "a", "x", KVLOG_IF_SEQ, 0), KVLOG_CONFLICT);
	expect(txn, "a", "1");
	ck_assert_int_eq(put_how(txn, "a", "x", KVLOG_IF_SEQ, 1), KVLOG_OK);
	ck_assert_int_eq(put_how(txn, "b", "x", KVLOG_IF_PRESENT, 0), KVLOG_OK);
	ck_assert_int_eq(put_how(txn, "c", "x", KVLOG_IF_ABSENT, 0), KVLOG_OK);
	ck_assert_int_eq(put_how(txn, "d", "x", KVLOG_IF_SEQ, 0), KVLOG_OK);
	/* Own writes count. */
	ck_assert_int_eq(
	    put_how(txn, "c", "y", KVLOG_IF_ABSENT, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_how(txn, "a", "y", KVLOG_IF_SEQ, 1), KVLOG_CONFLICT);
	ck_assert_int_eq(put_how(txn, "a", "y", KVLOG_IF_SEQ, 3), KVLOG_OK);
	ck_assert_int_eq(delete (txn, "a"), KVLOG_OK);
	ck_assert_int_eq(
	    put_how(txn, "a", "z", KVLOG_IF_PRESENT, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(put_how(txn, "a", "z", KVLOG_IF_ABSENT, 0), KVLOG_OK);
	ck_assert_uint_eq(commit(txn).seq, 3);
	expect_text(db, "azbxcxdx");
	api_close(db);
}
END_TEST

START_TEST(savepoints_undo_what_came_after)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn *txn;
	uint64_t one, two, three;

	api_put(db, "a", "1");
	txn = begin(db);
	one = savepoint(txn);
	put(txn, "a", "2");
	put(txn, "b", "2");
	two = savepoint(txn);
	put(txn, "a", "3");
	ck_assert_int_eq(delete (txn, "b"), KVLOG_OK);
	put(txn, "c", "3");
	three = savepoint(txn);
	put(txn, "c", "4");

	ck_assert_int_eq(kvlog_txn_rollback_to(txn, three), KVLOG_OK);
	expect(txn, "c", "3");
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, two), KVLOG_OK);
	expect(txn, "a", "2");
	expect(txn, "b", "2");
	expect(txn, "c", NULL);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, three), KVLOG_INVAL);
	put(txn, "c", "5");
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, two), KVLOG_OK);
	expect(txn, "c", NULL);
	put(txn, "c", "6");
	three = savepoint(txn);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, one), KVLOG_OK);
	expect(txn, "a", "1");
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, two), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, three), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, 0), KVLOG_INVAL);
	put(txn, "d", "7");
	(void)commit(txn);
	expect_text(db, "a1d7");
	api_close(db);
}
END_TEST

START_TEST(expiry_holds_in_a_transaction)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_info info = {0};
	struct kvlog_txn *txn = begin(db);

	how.expires_ms = 1; /* long ago */
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "old", 3, "x", 1, &how), KVLOG_OK);
	expect(txn, "old", NULL);
	ck_assert_int_eq(delete (txn, "old"), KVLOG_NOTFOUND);
	how.expires_ms = UINT64_C(1) << 45; /* in a thousand years */
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "new", 3, "x", 1, &how), KVLOG_OK);
	expect(txn, "new", "x");
	ck_assert_int_eq(
	    kvlog_txn_lookup(txn, NULL, "new", 3, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, UINT64_C(1) << 45);
	(void)commit(txn);
	expect_text(db, "newx");
	ck_assert_int_eq(kvlog_lookup(db, "new", 3, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, UINT64_C(1) << 45);
	api_close(db);
}
END_TEST

START_TEST(a_transaction_is_about_all_buckets)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *one, *two;
	struct kvlog_txn *txn;
	const void *value;
	size_t len;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "one", 3, KVLOG_OPEN_CREATE, &one, &err),
	    KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "two", 3, KVLOG_OPEN_CREATE, &two, &err),
	    KVLOG_OK);
	api_put(one, "k", "of one");
	txn = begin(one);
	expect(txn, "k", "of one");
	put(txn, "k", "of one, new");
	ck_assert_int_eq(
	    kvlog_txn_get(txn, two, "k", 1, &value, &len), KVLOG_NOTFOUND);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, two, "k", 1, "of two", 6, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, db, "k", 1, "plain", 5, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, two, "k", 1, &value, &len), KVLOG_OK);
	ck_assert_mem_eq(value, "of two", 6);
	expect(txn, "k", "of one, new");
	(void)commit(txn);
	expect_text(one, "kof one, new");
	expect_text(two, "kof two");
	expect_text(db, "kplain");

	ck_assert_int_eq(kvlog_bucket_drop(db, "two", 3, NULL, NULL), KVLOG_OK);
	txn = begin(db);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, two, "k", 1, "late", 4, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, two, "k", 1, &value, &len), KVLOG_NOBUCKET);
	kvlog_txn_rollback(txn);
	api_close(one);
	api_close(two);
	api_close(db);
}
END_TEST

/* Each with a blank behind it. */
static void
expect_buckets(struct kvlog_txn *txn, const char *names)
{
	struct kvlog_iter *iter;

	ck_assert_int_eq(kvlog_txn_bucket_list(txn, &iter), KVLOG_OK);
	api_expect_walk(iter, false, names);
}

/* Compaction may take a newer record of a dropped bucket and leave an older
 * one, in a segment that it is not worth to rewrite. */
START_TEST(a_snapshot_keeps_the_newest_values_of_a_dropped_bucket)
{
	static char filler[1500];
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *bucket;
	struct kvlog_txn *txn;
	const void *value;
	char key[8];
	size_t len;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	api_put(bucket, "k", "old");
	for (unsigned i = 0; i < 28; i++) {
		(void)snprintf(key, sizeof key, "%u", i < 8 ? i : 8);
		ck_assert_int_eq(
		    kvlog_put(db, key, 1, filler, sizeof filler, NULL, NULL),
		    KVLOG_OK);
		if (i == 17)
			api_put(bucket, "k", "new");
	}
	api_close(bucket);
	api_close(db);
	db = open_store(0);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, 0, &bucket, &err), KVLOG_OK);
	txn = begin_reading(db);
	ck_assert_int_eq(kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
	o.threshold = 40;
	ck_assert_int_eq(kvlog_compact(db, &o, &report, &err), KVLOG_OK);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, bucket, "k", 1, &value, &len), KVLOG_OK);
	ck_assert_uint_eq(len, 3);
	ck_assert_mem_eq(value, "new", 3);
	kvlog_txn_rollback(txn);
	api_close(bucket);
	api_close(db);
}
END_TEST

START_TEST(buckets_are_created_and_dropped_by_the_commit)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *old, *made, *again;
	struct kvlog_txn *txn;
	struct kvlog_iter *iter = NULL;
	const void *value;
	size_t len;
	uint64_t save;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "old", 3, KVLOG_OPEN_CREATE, &old, &err),
	    KVLOG_OK);
	api_put(old, "k", "old");
	txn = begin(db);
	expect_buckets(txn, "old ");
	ck_assert_int_eq(kvlog_txn_bucket_open(txn, "new", 3, 0, &made, &err),
	    KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_bucket_open(txn, "old", 3,
		KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &made, &err),
	    KVLOG_CONFLICT);
	save = savepoint(txn);
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "new", 3, KVLOG_OPEN_CREATE, &made, &err),
	    KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, made, "k", 1, &value, &len), KVLOG_NOTFOUND);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "new", 3, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, made, "k", 1, &value, &len), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_delete(txn, made, "k", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_put(made, "k", 1, "beside", 6, NULL, NULL), KVLOG_BUSY);
	ck_assert_int_eq(kvlog_exists(made, "k", 1), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "new", 3, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_iter_open(txn, made, NULL, &iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_NOTFOUND);
	kvlog_iter_destroy(iter);
	expect_buckets(txn, "new old ");
	/* Undone, and done again. */
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "new", 3, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, made, "k", 1, &value, &len), KVLOG_NOBUCKET);
	expect_buckets(txn, "old ");
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "new", 3, KVLOG_OPEN_CREATE, &again, &err),
	    KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "new", 3, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, again, "k", 1, "new", 3, NULL), KVLOG_OK);
	api_close(made);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "old", 3, &err), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_bucket_drop(txn, "old", 3, &err), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, old, "k", 1, &value, &len), KVLOG_NOBUCKET);
	expect_buckets(txn, "new ");
	/* For others all is as it was. */
	api_expect(old, "k", "old");
	(void)commit(txn);
	ck_assert_int_eq(kvlog_exists(old, "k", 1), KVLOG_NOBUCKET);
	api_expect(again, "k", "new");
	api_put(again, "l", "later");
	expect_text(again, "knewllater");
	api_close(again);
	txn = begin_reading(db);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "later", 5, KVLOG_OPEN_CREATE, &made, &err),
	    KVLOG_OK);
	api_close(made);
	expect_buckets(txn, "new ");
	ck_assert_int_eq(
	    kvlog_bucket_drop(db, "later", 5, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "other", 5, KVLOG_OPEN_CREATE, &again, &err),
	    KVLOG_READONLY);
	ck_assert_int_eq(
	    kvlog_txn_bucket_drop(txn, "new", 3, &err), KVLOG_READONLY);
	ck_assert_int_eq(kvlog_txn_bucket_open(txn, "old", 3, 0, &again, &err),
	    KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_txn_bucket_open(txn, "new", 3, 0, &again, &err), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, again, "l", 1, &value, &len), KVLOG_OK);
	kvlog_txn_rollback(txn);
	api_close(again);
	api_close(old);
	api_close(db);
	db = open_store(0);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "new", 3, 0, &again, &err), KVLOG_OK);
	expect_text(again, "knewllater");
	/* Created and dropped is nothing. */
	txn = begin(db);
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "none", 4, KVLOG_OPEN_CREATE, &made, &err),
	    KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "none", 4, &err), KVLOG_OK);
	ck_assert_uint_eq(commit(txn).seq, kvlog_last_seq(db));
	api_close(made);
	api_close(again);
	api_close(db);
}
END_TEST

static struct kvlog *
create_in(struct kvlog_txn *txn, const char *name)
{
	struct kvlog *bucket = NULL;

	ck_assert_msg(kvlog_txn_bucket_open(txn, name, strlen(name),
			  KVLOG_OPEN_CREATE, &bucket, &err) == KVLOG_OK,
	    "bucket %s: %s", name, err.text);
	return bucket;
}

/* What was committed from a number on, as "put k; drop b; ". */
static void
expect_told(struct kvlog *db, uint64_t from_seq, const char *want)
{
	struct kvlog_change change = {.size = sizeof change};
	struct kvlog_feed *feed;
	enum kvlog_status st;
	char told[256] = "";
	size_t len = 0;

	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_feed_open(db, from_seq, NULL, 0, &feed, &err), KVLOG_OK);
	while ((st = kvlog_feed_next(feed, 0, &change, &err)) == KVLOG_OK)
		len +=
		    (size_t)snprintf(told + len, sizeof told - len, "%s %.*s; ",
			change.type == KVLOG_CHANGE_PUT           ? "put"
			: change.type == KVLOG_CHANGE_BUCKET_DROP ? "drop"
								  : "other",
			(int)change.key_len, (const char *)change.key);
	ck_assert_int_eq(st, KVLOG_TIMEOUT);
	ck_assert_str_eq(told, want);
	kvlog_feed_close(feed);
}

/* Of a bucket that the transaction made (_i = 1), or that was there. */
START_TEST(what_a_dropped_bucket_had_is_not_committed)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *b = NULL;
	const void *value;
	struct kvlog_txn *txn;
	uint64_t save, seq;
	size_t len;

	if (_i == 0) {
		ck_assert_int_eq(
		    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &b, &err),
		    KVLOG_OK);
		api_put(b, "1", "before");
	}
	seq = kvlog_last_seq(db);
	txn = begin(db);
	if (_i == 1)
		b = create_in(txn, "b");
	for (char key = '1'; key < '9'; key++)
		ck_assert_int_eq(
		    kvlog_txn_put(txn, b, &key, 1, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, db, "x", 1, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_delete(txn, b, "8", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_savepoint(txn, &save), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "b", 1, &err), KVLOG_OK);
	/* Undone, all is there. */
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_count(txn, b, &save), KVLOG_OK);
	ck_assert_uint_eq(save, 7);
	ck_assert_int_eq(kvlog_txn_get(txn, b, "7", 1, &value, &len), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_put(txn, b, "9", 1, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "b", 1, &err), KVLOG_OK);
	/* One of the same name is another. */
	api_close(b);
	b = create_in(txn, "b");
	ck_assert_int_eq(
	    kvlog_txn_put(txn, b, "new", 3, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_count(txn, b, &save), KVLOG_OK);
	ck_assert_uint_eq(save, 1);
	(void)commit(txn);
	expect_told(db, seq + 1, "put x; other b; put new; ");
	expect_text(b, "newv");

	txn = begin(db);
	ck_assert_int_eq(kvlog_txn_put(txn, b, "2", 1, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "b", 1, &err), KVLOG_OK);
	seq = commit(txn).seq;
	expect_told(db, seq, "drop b; ");
	api_close(b);
	api_close(db);
}
END_TEST

/* In another process. */
static void
create_elsewhere(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct kvlog *db = open_store(0);
		struct kvlog_txn *txn = begin(db);
		struct kvlog *bucket = create_in(txn, "b");

		_exit(kvlog_txn_put(txn, bucket, "k", 1, "v", 1, NULL) !=
			  KVLOG_OK ||
		      kvlog_txn_commit(txn, NULL, NULL) != KVLOG_OK);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* To all others it was never there, nor what was put into it. */
START_TEST(a_bucket_that_is_dropped_again_leaves_nothing)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *made, *again;
	struct kvlog_txn *txn;
	struct kvlog_change change = {.size = sizeof change};
	struct kvlog_receipt receipt;
	struct kvlog_feed *feed;
	uint64_t seq, told;
	uint32_t ordinal;

	api_put(db, "a", "1");
	txn = begin(db);
	made = create_in(txn, "new");
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "1", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "new", 3, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, &receipt), KVLOG_OK);
	ck_assert_uint_eq(receipt.seq, 1);
	ck_assert_uint_eq(kvlog_last_seq(db), 1);
	api_close(made);

	txn = begin(db);
	made = create_in(txn, "new");
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "1", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "new", 3, NULL), KVLOG_OK);
	again = create_in(txn, "new");
	ck_assert_int_eq(
	    kvlog_txn_put(txn, again, "k", 1, "2", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, &receipt), KVLOG_OK);
	kvlog_bucket_id(again, &seq, &ordinal);
	ck_assert_uint_eq(seq, receipt.seq);

	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_feed_open(db, receipt.seq, NULL, 0, &feed, NULL), KVLOG_OK);
	for (told = 0; kvlog_feed_next(feed, 0, &change, NULL) == KVLOG_OK;
	     told++) {
		ck_assert_int_eq(change.type,
		    told == 0 ? KVLOG_CHANGE_BUCKET_CREATE : KVLOG_CHANGE_PUT);
		ck_assert_uint_eq(change.bucket_seq, seq);
		ck_assert_uint_eq(change.bucket_ordinal, ordinal);
	}
	ck_assert_uint_eq(told, 2);
	kvlog_feed_close(feed);
	api_close(made);
	api_close(again);
	api_close(db);
}
END_TEST

/* Not even where the next commit creates one of the same name: of this process
 * or (_i = 1) of another. */
START_TEST(a_bucket_that_was_rolled_back_never_is_another)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *undone, *made;
	struct kvlog_txn *txn = begin(db);
	const void *value;
	size_t len;

	undone = create_in(txn, "b");
	kvlog_txn_rollback(txn);
	if (_i == 1)
		create_elsewhere();
	txn = begin(db);
	made = create_in(txn, "b");
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "k", 1, "v", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, undone, "k", 1, &value, &len), KVLOG_NOBUCKET);
	ck_assert_uint_gt(commit(txn).seq, 0);
	ck_assert_int_eq(kvlog_exists(made, "k", 1), KVLOG_OK);
	ck_assert_int_eq(kvlog_exists(undone, "k", 1), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_put(undone, "k", 1, "w", 1, NULL, NULL), KVLOG_NOBUCKET);
	api_close(undone);
	api_close(made);
	api_close(db);
}
END_TEST

/* Walking */

#define KEYS 40u

/* What a walk is to show: of key n "kn", or nothing if it is 0. */
struct picture {
	unsigned values[KEYS];
	unsigned from, to; /* the range: from <= n < to */
};

static void
name_key(char text[8], unsigned n)
{
	(void)snprintf(text, 8, "k%02u", n % 100);
}

static struct kvlog_iter *
walk(struct kvlog_txn *txn, const struct picture *picture)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_iter *iter = NULL;
	char from[8], to[8];

	name_key(from, picture->from);
	name_key(to, picture->to);
	range.prefix = "k";
	range.prefix_len = 1;
	range.from = from;
	range.from_len = strlen(from);
	range.to = to;
	range.to_len = strlen(to);
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, NULL, &range, &iter), KVLOG_OK);
	return iter;
}

/* at: the number of the key, or KEYS: none. */
static void
expect_at(struct kvlog_iter *iter, enum kvlog_status st,
    const struct picture *picture, unsigned at)
{
	char want[16];
	struct kvlog_info info;
	const void *p;
	size_t len = 0;

	if (at == KEYS) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		ck_assert_ptr_null(kvlog_iter_key(iter, &len));
		return;
	}
	ck_assert_int_eq(st, KVLOG_OK);
	name_key(want, at);
	p = kvlog_iter_key(iter, &len);
	ck_assert_uint_eq(len, strlen(want));
	ck_assert_mem_eq(p, want, len);
	(void)snprintf(want, sizeof want, "%u", picture->values[at]);
	p = kvlog_iter_value(iter, &len);
	ck_assert_uint_eq(len, strlen(want));
	ck_assert_mem_eq(p, want, len);
	kvlog_iter_info(iter, &info);
	ck_assert_uint_eq(info.value_len, len);
	ck_assert_uint_gt(info.seq, 0);
}

/* Twice the place of a walk: of key n 2n + 1, before it 2n. */
static unsigned
next_of(const struct picture *p, unsigned place)
{
	unsigned n = (place + 1) / 2;

	n = n < p->from ? p->from : n;
	while (n < p->to && p->values[n] == 0)
		n++;
	return n < p->to ? n : KEYS;
}

static unsigned
prev_of(const struct picture *p, unsigned place)
{
	unsigned n = place / 2;

	n = n > p->to ? p->to : n;
	while (n > p->from && p->values[n - 1] == 0)
		n--;
	return n > p->from ? n - 1 : KEYS;
}

static void
expect_picture(
    struct kvlog_iter *iter, const struct picture *picture, struct rng *rng)
{
	unsigned place = 0, n;
	char key[8];

	ck_assert_int_eq(kvlog_iter_first(iter), KVLOG_OK);
	for (unsigned i = 0; i < 60; i++) {
		unsigned what = (unsigned)rng_below(rng, 20);

		if (what < 9) {
			n = next_of(picture, place);
			expect_at(iter, kvlog_iter_next(iter), picture, n);
			place = n < KEYS ? 2 * n + 1 : 2 * KEYS;
		} else if (what < 17) {
			n = prev_of(picture, place);
			expect_at(iter, kvlog_iter_prev(iter), picture, n);
			place = n < KEYS ? 2 * n + 1 : 0;
		} else if (what == 17) {
			n = (unsigned)rng_below(rng, KEYS);
			name_key(key, n);
			ck_assert_int_eq(
			    kvlog_iter_seek(iter, key, strlen(key)), KVLOG_OK);
			place = 2 * n;
		} else if (what == 18) {
			ck_assert_int_eq(kvlog_iter_first(iter), KVLOG_OK);
			place = 0;
		} else {
			ck_assert_int_eq(kvlog_iter_last(iter), KVLOG_OK);
			place = 2 * KEYS;
		}
	}
}

/* Each shows the moment at which it was opened, whatever comes later. */
START_TEST(walks_show_the_transaction_as_it_was)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct picture now = {.values = {0}}, pictures[4];
	struct kvlog_iter *iters[4] = {NULL};
	uint64_t seed = rng_seed_from_env();
	struct rng rng;
	char key[8], value[16];

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	rng_init(&rng, seed);
	for (unsigned round = 0; round < 12; round++) {
		struct kvlog_txn *txn = begin(db);

		for (unsigned i = 0; i < 60; i++) {
			unsigned n = (unsigned)rng_below(&rng, KEYS);
			unsigned at = (unsigned)rng_below(&rng, 4);

			name_key(key, n);
			if (rng_below(&rng, 3) > 0) {
				now.values[n] = 1 + round * 100 + i;
				(void)snprintf(
				    value, sizeof value, "%u", now.values[n]);
				put(txn, key, value);
			} else {
				ck_assert_int_eq(delete (txn, key),
				    now.values[n] != 0 ? KVLOG_OK
						       : KVLOG_NOTFOUND);
				now.values[n] = 0;
			}
			if (i % 5 == 0) {
				kvlog_iter_destroy(iters[at]);
				pictures[at] = now;
				pictures[at].from =
				    (unsigned)rng_below(&rng, KEYS / 2);
				pictures[at].to =
				    KEYS - (unsigned)rng_below(&rng, KEYS / 2);
				iters[at] = walk(txn, &pictures[at]);
			}
			for (at = 0; at < 4 && i % 7 == 0; at++)
				if (iters[at] != NULL)
					expect_picture(
					    iters[at], &pictures[at], &rng);
		}
		(void)commit(txn);
		for (unsigned at = 0; at < 4; at++)
			if (iters[at] != NULL) {
				ck_assert_int_eq(
				    kvlog_iter_next(iters[at]), KVLOG_INVAL);
				kvlog_iter_destroy(iters[at]);
				iters[at] = NULL;
			}
	}
	api_close(db);
}
END_TEST

START_TEST(a_walk_ends_when_what_it_shows_is_undone)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_range one = KVLOG_RANGE_INIT;
	struct kvlog_txn *txn;
	struct kvlog_iter *before, *since, *limited;
	size_t len;
	uint64_t save;

	one.limit = 1;
	api_put(db, "a", "1");
	txn = begin(db);
	put(txn, "b", "2");
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, NULL, NULL, &before), KVLOG_OK);
	save = savepoint(txn);
	put(txn, "c", "3");
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, NULL, NULL, &since), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(since), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(since), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(since), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(since, &len), "c", 1);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	ck_assert_ptr_null(kvlog_iter_key(since, &len));
	ck_assert_ptr_null(kvlog_iter_value(since, &len));
	ck_assert_int_eq(kvlog_iter_next(since), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_seek(since, "a", 1), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_first(since), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_last(since), KVLOG_INVAL);
	ck_assert_ptr_null(kvlog_iter_key(since, &len));
	ck_assert_int_eq(kvlog_iter_next(before), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(before), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(before, &len), "b", 1);
	ck_assert_int_eq(kvlog_iter_next(before), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_iter_prev(before), KVLOG_OK);
	kvlog_iter_destroy(since);
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, NULL, &one, &limited), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(limited), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(limited), KVLOG_NOTFOUND);
	kvlog_txn_rollback(txn);
	ck_assert_ptr_null(kvlog_iter_key(before, &len));
	ck_assert_int_eq(kvlog_iter_prev(before), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_next(limited), KVLOG_INVAL);
	kvlog_iter_destroy(limited);
	kvlog_iter_destroy(before);
	api_close(db);
}
END_TEST

/* Reading only */

static void
expect_walk(struct kvlog_txn *txn, const char *want)
{
	struct kvlog_iter *iter = NULL;
	char text[200] = "";

	ck_assert_int_eq(kvlog_txn_iter_open(txn, NULL, NULL, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		size_t len = 0;
		const void *p = kvlog_iter_key(iter, &len);

		(void)strncat(text, p, len);
		p = kvlog_iter_value(iter, &len);
		(void)strncat(text, p, len);
	}
	kvlog_iter_destroy(iter);
	ck_assert_str_eq(text, want);
}

/* Of its moment, whatever comes, and nobody waits for it. */
START_TEST(a_read_transaction_is_a_moment)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *reader, *bucket;
	struct kvlog_compact_options all = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_txn *txns[2], *last;
	struct kvlog_info info = {0};
	uint64_t save;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	api_put(bucket, "x", "in the bucket");
	api_put(db, "a", "1");
	api_put(db, "b", "2");
	api_put(db, "c", "3");
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	txns[0] = begin_reading(db);
	txns[1] = begin_reading(reader);
	for (unsigned i = 0; i < 500; i++)
		api_put(db, "a", i % 2 == 0 ? "new" : "newer");
	api_delete(db, "b");
	api_put(db, "d", "4");
	all.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &all, NULL, &err), KVLOG_OK);
	api_expect(reader, "a", "newer");
	for (unsigned i = 0; i < 2; i++) {
		struct kvlog_txn *txn = txns[i];

		expect(txn, "a", "1");
		expect(txn, "b", "2");
		expect(txn, "c", "3");
		expect(txn, "d", NULL);
		expect_walk(txn, "a1b2c3");
		ck_assert_int_eq(
		    kvlog_txn_lookup(txn, NULL, "a", 1, &info), KVLOG_OK);
		ck_assert_uint_eq(info.seq, 3);
		ck_assert_int_eq(kvlog_txn_put(txn, NULL, "a", 1, "", 0, NULL),
		    KVLOG_READONLY);
		ck_assert_int_eq(
		    kvlog_txn_delete(txn, NULL, "a", 1, NULL), KVLOG_READONLY);
		ck_assert_int_eq(
		    kvlog_txn_savepoint(txn, &save), KVLOG_READONLY);
		ck_assert_int_eq(kvlog_txn_rollback_to(txn, 1), KVLOG_READONLY);
	}
	last = begin_reading(bucket);
	expect(last, "x", "in the bucket");
	ck_assert_int_eq(kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
	expect(last, "x", "in the bucket");
	expect_walk(last, "xin the bucket");
	ck_assert_uint_eq(commit(last).seq, 507);
	last = begin_reading(db);
	expect_walk(last, "anewerc3d4");
	ck_assert_int_eq(kvlog_txn_iter_open(
			     last, bucket, NULL, &(struct kvlog_iter *){NULL}),
	    KVLOG_NOBUCKET);
	kvlog_txn_rollback(last);
	ck_assert_uint_eq(commit(txns[0]).seq, 5);
	kvlog_txn_rollback(txns[1]);
	api_close(reader);
	api_close(bucket);
	api_close(db);
}
END_TEST

/* Refusing */

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *reader, *other;
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_txn *txn = NULL;
	struct kvlog_receipt receipt = {.seq = 7};
	char *path = files_path(api_base, "other");
	struct kvlog_iter *iter;
	const void *value;
	uint64_t save;

	ck_assert_int_eq(kvlog_txn_begin(NULL, NULL, &txn, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, NULL, &err), KVLOG_INVAL);
	o.flags = 0x80;
	ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, &err), KVLOG_INVAL);
	o.flags = 0;
	o.size--;
	ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, &err), KVLOG_INVAL);
	ck_assert_ptr_null(txn);
	api_put(db, "a", "1");
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(
	    kvlog_txn_begin(reader, NULL, &txn, &err), KVLOG_READONLY);
	ck_assert_ptr_nonnull(strstr(err.text, "KVLOG_TXN_READ"));
	api_close(reader);

	txn = begin(db);
	other = api_open(path, KVLOG_OPEN_CREATE);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, other, "a", 1, &value, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, other, "a", 1, "", 0, NULL), KVLOG_INVAL);
	api_close(other);
	free(path);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, NULL, "a", 1, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_get(txn, NULL, "", 0, &value, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_lookup(txn, NULL, "a", 1, NULL), KVLOG_INVAL);
	how.err = &err;
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, NULL, 1, "", 0, &how), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", 1, NULL, 1, &how), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", KVLOG_KEY_MAX + 1, "", 0, &how),
	    KVLOG_TOOBIG);
	ck_assert_int_eq(kvlog_txn_put(txn, NULL, "a", 1, "",
			     (size_t)KVLOG_VALUE_MAX + 1, &how),
	    KVLOG_TOOBIG);
	how.expires_ms = 1;
	ck_assert_int_eq(
	    kvlog_txn_delete(txn, NULL, "a", 1, &how), KVLOG_INVAL);
	how.expires_ms = 0;
	how.durability = KVLOG_DURABILITY_COMMIT;
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", 1, "", 0, &how), KVLOG_INVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "durability"));
	how.durability = KVLOG_DURABILITY_DEFAULT;
	how.condition = (enum kvlog_condition)9;
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", 1, "", 0, &how), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_bucket_list(txn, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_bucket_list(NULL, &iter), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_savepoint(txn, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_savepoint(NULL, &save), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, 1), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_txn_commit(NULL, NULL, NULL), KVLOG_INVAL);
	put(txn, "a", "2");
	how.condition = KVLOG_IF_PRESENT; /* it ends all the same */
	ck_assert_int_eq(kvlog_txn_commit(txn, &how, &receipt), KVLOG_INVAL);
	ck_assert_uint_eq(receipt.seq, 0);
	expect_text(db, "a1");
	api_put(db, "b", "2");
	api_close(db);
}
END_TEST

/* Waiting */

START_TEST(a_thread_is_told_that_it_would_wait_for_itself)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_txn *txn = begin(db), *second = NULL;

	put(txn, "a", "1");
	how.err = &err;
	ck_assert_int_eq(kvlog_put(db, "b", 1, "2", 1, &how, NULL), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "this thread"));
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &second, &err), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "this thread"));
	ck_assert_ptr_null(second);
	put(txn, "b", "2");
	(void)commit(txn);
	expect_text(db, "a1b2");
	api_close(db);
}
END_TEST

static void *
put_beside(void *arg)
{
	api_put(arg, "a", "beside");
	return NULL;
}

/* An idle transaction is ended by who waits, and says so from then on. */
START_TEST(what_idles_too_long_is_ended)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {.seq = 7};
	struct kvlog_txn *txn = NULL;
	struct kvlog_info info;
	const void *value;
	pthread_t thread;
	uint64_t save = 0;

	o.idle_ms = 50;
	how.err = &err;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, &err), KVLOG_OK);
		save = savepoint(txn);
		if (i < 2)
			put(txn, "a", "mine");
		ck_assert_int_eq(
		    pthread_create(&thread, NULL, put_beside, db), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		if (i > 0)
			goto end;
		ck_assert_int_eq(kvlog_txn_get(txn, NULL, "a", 1, &value, NULL),
		    KVLOG_TIMEOUT);
		ck_assert_int_eq(
		    kvlog_txn_lookup(txn, NULL, "a", 1, &info), KVLOG_TIMEOUT);
		ck_assert_int_eq(kvlog_txn_put(txn, NULL, "a", 1, "", 0, &how),
		    KVLOG_TIMEOUT);
		ck_assert_ptr_nonnull(strstr(err.text, "nothing for too long"));
		ck_assert_int_eq(
		    kvlog_txn_delete(txn, NULL, "a", 1, &how), KVLOG_TIMEOUT);
		ck_assert_int_eq(
		    kvlog_txn_savepoint(txn, &save), KVLOG_TIMEOUT);
		ck_assert_int_eq(
		    kvlog_txn_rollback_to(txn, save), KVLOG_TIMEOUT);
	end:
		memset(&err, 0, sizeof err);
		receipt.seq = 7;
		ck_assert_int_eq(
		    kvlog_txn_commit(txn, &how, &receipt), KVLOG_TIMEOUT);
		ck_assert_uint_eq(receipt.seq, 0);
		ck_assert_ptr_nonnull(strstr(err.text, "nothing for too long"));
		expect_text(db, "abeside");
	}
	api_close(db);
}
END_TEST

#define WALK_IDLE_MS 3000
#define WALK_STEPS 20u

/* Who steps through a long walk does not idle: twice its idle_ms, and
 * another one waits all the while. */
START_TEST(a_walk_is_a_use)
{
	const struct timespec pause = {0, WALK_IDLE_MS * 1000000L / 10};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn = NULL;
	struct kvlog_iter *iter;
	pthread_t thread;

	o.idle_ms = WALK_IDLE_MS;
	ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, &err), KVLOG_OK);
	put(txn, "b", "mine");
	ck_assert_int_eq(kvlog_txn_iter_open(txn, NULL, NULL, &iter), KVLOG_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, put_beside, db), 0);
	for (unsigned i = 0; i < WALK_STEPS; i++) {
		(void)nanosleep(&pause, NULL);
		ck_assert_int_eq(
		    i % 2 == 0 ? kvlog_iter_next(iter) : kvlog_iter_prev(iter),
		    i % 2 == 0 ? KVLOG_OK : KVLOG_NOTFOUND);
	}
	kvlog_iter_destroy(iter);
	ck_assert_uint_gt(commit(txn).seq, 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	expect_text(db, "abesidebmine");
	api_close(db);
}
END_TEST

/* A transaction that creates a bucket, and writes into it. */
static struct kvlog_txn *
begin_to_create(struct kvlog *db, uint32_t idle_ms, struct kvlog **ret_bucket)
{
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn = NULL;

	o.idle_ms = idle_ms;
	ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, &err), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_bucket_open(txn, "made", 4,
		KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, ret_bucket, &err),
	    KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, *ret_bucket, "k", 1, "lost", 4, NULL), KVLOG_OK);
	return txn;
}

/* Nothing is left of it, and it can be created. */
static void
expect_not_made(struct kvlog *db)
{
	struct kvlog *bucket;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "made", 4, 0, &bucket, &err), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "made", 4, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	ck_assert_int_eq(kvlog_exists(bucket, "k", 1), KVLOG_NOTFOUND);
	api_put(bucket, "k", "new");
	api_close(bucket);
}

START_TEST(buckets_of_a_transaction_that_is_ended_are_not_made)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *made, *other = NULL;
	struct kvlog_txn *txn = begin_to_create(db, 50, &made);
	struct kvlog_receipt receipt = {.seq = 7};
	struct kvlog_iter *iter;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, put_beside, db), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, made, "l", 1, "x", 1, NULL), KVLOG_TIMEOUT);
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, made, NULL, &iter), KVLOG_TIMEOUT);
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "other", 5, KVLOG_OPEN_CREATE, &other, &err),
	    KVLOG_TIMEOUT);
	ck_assert_int_eq(
	    kvlog_txn_bucket_drop(txn, "made", 4, &err), KVLOG_TIMEOUT);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, &receipt), KVLOG_TIMEOUT);
	ck_assert_uint_eq(receipt.seq, 0);
	ck_assert_int_eq(kvlog_exists(made, "k", 1), KVLOG_NOBUCKET);
	expect_not_made(db);
	ck_assert_int_eq(kvlog_exists(made, "k", 1), KVLOG_NOBUCKET);
	api_close(made);
	api_close(db);
}
END_TEST

/* The process that has created them in a transaction dies. */
START_TEST(buckets_of_an_owner_that_died_are_not_made)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE), *made;
	int fds[2], status = 0;
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct kvlog *own = open_store(0);

		(void)begin_to_create(own, LONG_MS, &made);
		(void)!write(fds[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	ck_assert_int_eq((int)read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	(void)close(fds[0]);
	(void)close(fds[1]);
	expect_not_made(db);
	api_close(db);
	db = open_store(0);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "made", 4, 0, &made, &err), KVLOG_OK);
	api_expect(made, "k", "new");
	api_close(made);
	api_close(db);
}
END_TEST

/* What is forgotten at the end of a handle keeps nobody waiting. */
START_TEST(closing_a_handle_ends_its_transaction)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE),
		     *second = open_store(0);
	struct kvlog_txn *txn = begin(second);

	put(txn, "a", "1");
	api_close(second);
	api_put(db, "b", "2");
	expect_text(db, "b2");
	api_close(db);
}
END_TEST

START_TEST(after_a_fork_a_transaction_is_the_parent_s)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_txn *txn = begin(db), *other;
	struct kvlog_iter *first, *last;
	int status;
	pid_t pid;

	put(txn, "a", "1");
	ck_assert_int_eq(
	    kvlog_txn_iter_open(txn, NULL, NULL, &first), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_iter_open(txn, NULL, NULL, &last), KVLOG_OK);
	other = begin_reading(db);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		const void *value;
		uint64_t save;
		bool ok = kvlog_txn_get(txn, NULL, "a", 1, &value, NULL) ==
			      KVLOG_FORKED &&
			  kvlog_txn_put(txn, NULL, "a", 1, "2", 1, NULL) ==
			      KVLOG_FORKED &&
			  kvlog_txn_savepoint(txn, &save) == KVLOG_FORKED &&
			  kvlog_iter_next(first) == KVLOG_FORKED;

		/* One before the transaction, one after it. */
		kvlog_iter_destroy(first);
		ok = ok && kvlog_txn_commit(txn, NULL, NULL) == KVLOG_FORKED;
		kvlog_iter_destroy(last);
		kvlog_txn_rollback(other);
		(void)kvlog_close(db, NULL);
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(kvlog_iter_next(first), KVLOG_OK);
	kvlog_iter_destroy(first);
	kvlog_iter_destroy(last);
	kvlog_txn_rollback(other);
	put(txn, "b", "2");
	(void)commit(txn);
	expect_text(db, "a1b2");
	api_close(db);
}
END_TEST

/* Size */

/* Once is enough of what takes seconds. */
#define MANY                                                                   \
	(TEST_IS_SANITIZED || api_index == KVLOG_INDEX_HINTS ? 100000u         \
							     : 1000000u)

START_TEST(a_million_writes_are_one_commit)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db;
	struct kvlog_txn *txn;
	char key[32];
	uint64_t save;

	o.flags = KVLOG_OPEN_CREATE;
	o.durability = KVLOG_DURABILITY_NONE;
	o.index_mode = api_index;
	db = api_open_with(api_store, &o);
	txn = begin(db);
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof key, "key%u",
		    (unsigned)(i * UINT64_C(7919) % MANY));
		put(txn, key, key);
	}
	save = savepoint(txn);
	for (unsigned i = 0; i < MANY / 10; i++) {
		(void)snprintf(key, sizeof key, "key%u", i);
		ck_assert_int_eq(delete (txn, key), KVLOG_OK);
	}
	expect(txn, "key1", NULL);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	expect(txn, "key1", "key1");
	ck_assert_uint_eq(commit(txn).seq, 1);
	ck_assert_uint_eq(api_count(db), MANY);
	api_expect(db, "key77", "key77");
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_uint_eq(api_count(db), MANY);
	api_close(db);
}
END_TEST

static Suite *
txn_suite(void)
{
	Suite *suite = suite_create("txn");
	TCase *tc = api_case(suite, "seeing");

	tcase_add_test(tc,
	    a_transaction_sees_its_writes_and_others_see_them_at_its_commit);
	tcase_add_test(tc, a_transaction_counts_what_it_sees);
	tcase_add_test(tc, a_rollback_leaves_nothing);
	tcase_add_test(tc, what_has_written_nothing_commits_nothing);
	tcase_add_test(tc, values_stay_in_their_places_until_the_end);
	tcase_add_test(tc, a_lookup_tells_the_commit_to_come);
	tcase_add_test(tc, conditions_are_answered_at_once);
	tcase_add_test(tc, savepoints_undo_what_came_after);
	tcase_add_test(tc, expiry_holds_in_a_transaction);
	tcase_add_test(tc, a_transaction_is_about_all_buckets);
	tcase_add_test(tc, buckets_are_created_and_dropped_by_the_commit);
	tcase_add_test(tc, a_bucket_that_is_dropped_again_leaves_nothing);
	tcase_add_loop_test(
	    tc, what_a_dropped_bucket_had_is_not_committed, 0, 2);
	tcase_add_loop_test(
	    tc, a_bucket_that_was_rolled_back_never_is_another, 0, 2);
	tc = api_case(suite, "walking");
	tcase_add_test(tc, walks_show_the_transaction_as_it_was);
	tcase_add_test(tc, a_walk_ends_when_what_it_shows_is_undone);
	tc = api_case(suite, "reading");
	tcase_add_test(
	    tc, a_snapshot_keeps_the_newest_values_of_a_dropped_bucket);
	tcase_add_test(tc, a_read_transaction_is_a_moment);
	tc = api_case(suite, "refusing");
	tcase_add_test(tc, wrong_arguments_are_refused);
	tc = api_case(suite, "waiting");
	tcase_add_test(tc, a_thread_is_told_that_it_would_wait_for_itself);
	tcase_add_test(tc, what_idles_too_long_is_ended);
	tcase_add_test(tc, a_walk_is_a_use);
	tcase_add_test(tc, buckets_of_a_transaction_that_is_ended_are_not_made);
	tcase_add_test(tc, buckets_of_an_owner_that_died_are_not_made);
	tcase_add_test(tc, closing_a_handle_ends_its_transaction);
	tcase_add_test(tc, after_a_fork_a_transaction_is_the_parent_s);
	tc = api_case(suite, "size");
	tcase_add_test(tc, a_million_writes_are_one_commit);
	return suite;
}

int
main(void)
{
	return api_main(txn_suite);
}
