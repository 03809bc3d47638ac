/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bucket.c - named key spaces: each with its own keys, dropped at once and
 * swept by compaction.
 */
#include "config.h"

#include "api_db.h"

#include <fcntl.h>
#include <unistd.h>

static struct kvlog_error err;

static struct kvlog *
open_bucket(const char *name, unsigned flags)
{
	struct kvlog *bucket = NULL;

	memset(&err, 0, sizeof err);
	ck_assert_msg(kvlog_bucket_open(db, name, strlen(name), flags, &bucket,
			  &err) == KVLOG_OK,
	    "bucket %s: %s", name, err.text);
	ck_assert_int_eq(err.status, KVLOG_OK);
	ck_assert_str_eq(err.text, "");
	return bucket;
}

static void
drop(const char *name)
{
	ck_assert_int_eq(
	    kvlog_bucket_drop(db, name, strlen(name), NULL, NULL), KVLOG_OK);
}

static void
expect_names(const char *names)
{
	struct kvlog_iter *iter;

	ck_assert_int_eq(kvlog_bucket_list(db, &iter), KVLOG_OK);
	api_expect_walk(iter, false, names);
}

/* How many keys a walk shows, and a count. */
static void
expect_count(struct kvlog *handle, uint64_t count)
{
	struct kvlog_iter *iter;
	uint64_t walked = 0, told = 0;

	ck_assert_int_eq(kvlog_iter_create(handle, NULL, 0, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK)
		walked++;
	kvlog_iter_destroy(iter);
	ck_assert_int_eq(kvlog_count(handle, &told), KVLOG_OK);
	ck_assert_uint_eq(walked, count);
	ck_assert_uint_eq(told, count);
}

static void
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &o, NULL, &err), KVLOG_OK);
}

/* 0: as they were written; 1: reopened; 2: compacted; 3: both. */
static void
change_form(int form)
{
	if (form >= 2)
		compact();
	if (form % 2 == 1)
		api_db_reopen();
}

START_TEST(equal_keys_of_several_buckets_are_several)
{
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE),
		     *b = open_bucket("b", KVLOG_OPEN_CREATE);

	api_put(db, "k", "default");
	api_put(a, "k", "of a");
	api_put(b, "k", "of b");
	api_put(b, "a", "named as a bucket");
	api_put(a, "only", "x");
	api_delete(a, "only");
	kvlog_close(a, NULL);
	kvlog_close(b, NULL);
	change_form(_i);
	a = open_bucket("a", 0);
	b = open_bucket("b", KVLOG_OPEN_CREATE);
	api_expect(db, "k", "default");
	api_expect(a, "k", "of a");
	api_expect(b, "k", "of b");
	api_expect(b, "a", "named as a bucket");
	ck_assert_int_eq(kvlog_exists(db, "a", 1), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_exists(a, "only", 4), KVLOG_NOTFOUND);
	expect_count(db, 1);
	expect_count(a, 1);
	expect_count(b, 2);
	expect_names("a b ");
	kvlog_close(a, NULL);
	kvlog_close(b, NULL);
}
END_TEST

/* Its records are there still, but nothing of them gets out. */
static void
expect_nothing_given(struct kvlog *dropped)
{
	struct kvlog_info info = {.seq = 77};
	void *value = NULL;
	char buf[8] = "as it is";
	size_t len = 77;

	ck_assert_int_eq(kvlog_get(dropped, "key 7", 5, buf, sizeof buf, &len),
	    KVLOG_NOBUCKET);
	ck_assert_mem_eq(buf, "as it is", sizeof buf);
	ck_assert_int_eq(kvlog_get_alloc(dropped, "key 7", 5, &value, &len),
	    KVLOG_NOBUCKET); /* a sanitizer sees what this would leak */
	ck_assert_ptr_null(value);
	ck_assert_int_eq(
	    kvlog_lookup(dropped, "key 7", 5, &info), KVLOG_NOBUCKET);
	ck_assert_uint_eq(info.seq, 77);
	ck_assert_uint_eq(len, 77);
}

START_TEST(a_dropped_bucket_is_gone_at_once_and_for_good)
{
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE), *again;
	struct kvlog_pin *pin;
	struct kvlog_iter *iter;
	const void *value;
	char buf[8];
	size_t len;

	for (unsigned i = 0; i < 500; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key %u", i);
		api_put(a, key, "value");
	}
	api_put(db, "k", "stays");
	ck_assert_int_eq(kvlog_pin_create(a, &pin), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_pin_get(pin, "key 7", 5, &value, &len), KVLOG_OK);
	drop("a");
	expect_nothing_given(a);
	ck_assert_int_eq(
	    kvlog_put(a, "key 7", 5, "x", 1, NULL, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_delete(a, "key 7", 5, NULL, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_pin_get(pin, "key 7", 5, &value, &len), KVLOG_NOBUCKET);
	ck_assert_int_eq(kvlog_iter_create(a, NULL, 0, &iter), KVLOG_NOBUCKET);
	ck_assert_int_eq(kvlog_count(a, &(uint64_t){0}), KVLOG_NOBUCKET);
	kvlog_pin_destroy(pin);
	ck_assert_int_eq(
	    kvlog_bucket_drop(db, "a", 1, NULL, NULL), KVLOG_NOBUCKET);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "a", 1, 0, &again, &err), KVLOG_NOBUCKET);
	expect_names("");
	/* Another one of that name is another one. */
	again = open_bucket("a", KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE);
	expect_count(again, 0);
	api_put(again, "key 7", "new");
	ck_assert_int_eq(
	    kvlog_get(a, "key 7", 5, buf, sizeof buf, &len), KVLOG_NOBUCKET);
	kvlog_close(a, NULL);
	kvlog_close(again, NULL);
	change_form(_i);
	a = open_bucket("a", 0);
	expect_count(a, 1);
	expect_count(db, 1);
	api_expect(a, "key 7", "new");
	kvlog_close(a, NULL);
}
END_TEST

/* All the keys of 0 to 499 from where a walk is, or back from there. */
static unsigned
walk_on(struct kvlog_iter *iter, bool back)
{
	unsigned count = 0;
	size_t key_len = 0, len = 0;

	while ((back ? kvlog_iter_prev(iter) : kvlog_iter_next(iter)) ==
	       KVLOG_OK) {
		const char *key = kvlog_iter_key(iter, &key_len);
		const char *value = kvlog_iter_value(iter, &len);

		ck_assert_ptr_nonnull(value);
		ck_assert_uint_eq(key_len, 7);
		ck_assert_uint_eq(len, 7);
		ck_assert_mem_eq(key, value, 7);
		count++;
	}
	return count;
}

/* Also where another bucket gets the name, and compaction takes the keys away;
 * nobody else sees them. */
START_TEST(a_walk_goes_on_when_its_bucket_is_dropped)
{
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE), *again;
	struct kvlog_iter *iters[3], *names, *late;
	char key[16];
	size_t len;

	for (unsigned i = 0; i < 500; i++) {
		(void)snprintf(key, sizeof key, "key %03u", i);
		api_put(a, key, key);
	}
	if (_i == 1)
		compact();
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(
		    kvlog_iter_create(a, NULL, 0, &iters[i]), KVLOG_OK);
	ck_assert_int_eq(kvlog_bucket_list(db, &names), KVLOG_OK);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(kvlog_iter_next(iters[0]), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_seek(iters[2], "key 300", 7), KVLOG_OK);
	drop("a");
	again = open_bucket("a", KVLOG_OPEN_CREATE);
	api_put(again, "key 000", "another");
	ck_assert_uint_eq(walk_on(iters[0], false), 400);
	compact();
	compact();
	ck_assert_uint_eq(walk_on(iters[0], true), 500);
	ck_assert_uint_eq(walk_on(iters[1], false), 500);
	ck_assert_uint_eq(walk_on(iters[2], false), 200);
	ck_assert_int_eq(kvlog_iter_seek(iters[1], "key 123", 7), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iters[1]), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(iters[1], &len), "key 123", 7);
	ck_assert_int_eq(kvlog_iter_create(a, NULL, 0, &late), KVLOG_NOBUCKET);
	expect_count(again, 1);
	ck_assert_int_eq(kvlog_iter_next(names), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(names, &len), "a", 1);
	ck_assert_int_eq(kvlog_iter_next(names), KVLOG_NOTFOUND);
	for (unsigned i = 0; i < 3; i++)
		kvlog_iter_destroy(iters[i]);
	kvlog_iter_destroy(names);
	kvlog_close(a, NULL);
	kvlog_close(again, NULL);
}
END_TEST

static uint64_t
live_bytes(void)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	return stats.live_bytes;
}

static uint64_t
dead_bytes(void)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	return stats.dead_bytes;
}

START_TEST(compaction_sweeps_what_was_dropped)
{
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE),
		     *b = open_bucket("b", KVLOG_OPEN_CREATE);
	static char value[1000];
	uint64_t before;

	for (unsigned i = 0; i < 200; i++) {
		char key[16];
		int len = snprintf(key, sizeof key, "key %u", i);

		ck_assert_int_eq(kvlog_put(i % 4 == 0 ? b : a, key, (size_t)len,
				     value, sizeof value, NULL, NULL),
		    KVLOG_OK);
	}
	before = live_bytes();
	ck_assert_uint_gt(live_bytes(), 200000);
	drop("a");
	ck_assert_uint_lt(live_bytes(), 60000);
	compact();
	ck_assert_uint_lt(dead_bytes(), before / 10);
	expect_count(b, 50);
	kvlog_close(a, NULL);
	kvlog_close(b, NULL);
	api_db_reopen();
	b = open_bucket("b", 0);
	expect_count(b, 50);
	kvlog_close(b, NULL);
}
END_TEST

/* A batch concerns several, or nothing. */
START_TEST(a_batch_spans_buckets)
{
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE),
		     *b = open_bucket("b", KVLOG_OPEN_CREATE);
	struct kvlog_op ops[3] = {
	    {.type = KVLOG_OP_PUT,
		.key = "k",
		.key_len = 1,
		.value = "1",
		.value_len = 1,
		.bucket = a},
	    {.type = KVLOG_OP_PUT,
		.key = "k",
		.key_len = 1,
		.value = "2",
		.value_len = 1,
		.bucket = b},
	    {.type = KVLOG_OP_PUT,
		.key = "k",
		.key_len = 1,
		.value = "3",
		.value_len = 1},
	};
	size_t failed = 9;

	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, NULL, NULL), KVLOG_OK);
	api_expect(a, "k", "1");
	api_expect(b, "k", "2");
	api_expect(db, "k", "3");
	drop("b");
	ops[0].value = ops[2].value = "4";
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 3, NULL, NULL, &failed), KVLOG_NOBUCKET);
	ck_assert_uint_eq(failed, 1);
	api_expect(a, "k", "1");
	api_expect(db, "k", "3");
	kvlog_close(a, NULL);
	kvlog_close(b, NULL);
}
END_TEST

START_TEST(wrong_names_are_refused)
{
	static char name[KVLOG_KEY_MAX + 1];
	struct kvlog *bucket;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "", 0, 0, &bucket, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_bucket_open(db, name, sizeof name,
			     KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_TOOBIG);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "a", 1, KVLOG_OPEN_READONLY, &bucket, &err),
	    KVLOG_INVAL);
	ck_assert_int_eq(kvlog_bucket_open(db, name, sizeof name - 1,
			     KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	api_put(bucket, "k", "v");
	kvlog_close(bucket, NULL);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, name, sizeof name - 1,
		KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &bucket, &err),
	    KVLOG_CONFLICT);
}
END_TEST

/* A reader sees what a writer does to buckets, without delay. */
START_TEST(readers_see_what_becomes_of_buckets)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
	struct kvlog *a = open_bucket("a", KVLOG_OPEN_CREATE), *reader, *seen;

	api_put(a, "k", "v");
	reader = api_open_with(api_store, &o);
	ck_assert_int_eq(
	    kvlog_bucket_open(reader, "a", 1, 0, &seen, &err), KVLOG_OK);
	api_expect(seen, "k", "v");
	ck_assert_int_eq(
	    kvlog_bucket_open(reader, "b", 1, KVLOG_OPEN_CREATE, &seen, &err),
	    KVLOG_READONLY);
	api_put(a, "k", "w");
	api_expect(seen, "k", "w");
	drop("a");
	ck_assert_int_eq(kvlog_exists(seen, "k", 1), KVLOG_NOBUCKET);
	kvlog_close(seen, NULL);
	kvlog_close(a, NULL);
	a = open_bucket("a", KVLOG_OPEN_CREATE);
	api_put(a, "l", "x");
	compact();
	ck_assert_int_eq(
	    kvlog_bucket_open(reader, "a", 1, 0, &seen, &err), KVLOG_OK);
	ck_assert_int_eq(kvlog_exists(seen, "k", 1), KVLOG_NOTFOUND);
	api_expect(seen, "l", "x");
	kvlog_close(seen, NULL);
	kvlog_close(a, NULL);
	kvlog_close(reader, NULL);
}
END_TEST

/* A byte of the id that stands behind the name in the first segment. */
static void
damage_id(const char *name)
{
	static char bytes[16384];
	char *path = files_path(api_store, "00000001.seg");
	const int fd = open(path, O_RDWR);
	const ssize_t len = pread(fd, bytes, sizeof bytes, 0);
	const char *at;

	ck_assert_int_gt(len, 0);
	at = memmem(bytes, (size_t)len, name, strlen(name));
	ck_assert_ptr_nonnull(at);
	at += strlen(name);
	ck_assert_int_eq(pwrite(fd, at[0] ? "" : "x", 1, at - bytes), 1);
	ck_assert_int_eq(close(fd), 0);
	free(path);
}

static void
expect_place(enum kvlog_status st, struct kvlog_info *info, uint64_t off)
{
	ck_assert_int_eq(st, KVLOG_CORRUPT);
	ck_assert_uint_eq(info->segment, 1);
	ck_assert_uint_eq(info->offset, off);
	ck_assert_uint_eq(info->seq, 0);
	memset(info, 0xff, sizeof *info);
}

/* While it is in use; and of a key that is nowhere, too. */
START_TEST(a_lookup_tells_where_the_name_is_damaged)
{
	struct kvlog *bucket = open_bucket("a-long-name", KVLOG_OPEN_CREATE);
	struct kvlog *other;
	struct kvlog_txn_options reading = KVLOG_TXN_OPTIONS_INIT;
	const char *const keys[] = {"k", "none"};
	struct kvlog_txn *writes, *reads;
	struct kvlog_info info;

	reading.flags = KVLOG_TXN_READ;
	ck_assert_int_eq(
	    kvlog_put(bucket, "k", 1, "v", 1, NULL, NULL), KVLOG_OK);
	damage_id("a-long-name");
	/* After which all names are looked up again. */
	api_close(open_bucket("other", KVLOG_OPEN_CREATE));
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "a-long-name", 11, 0, &other, &err),
	    KVLOG_CORRUPT);
	ck_assert_int_eq(kvlog_txn_begin(db, &reading, &reads, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &writes, NULL), KVLOG_OK);
	for (unsigned k = 0; k < 2; k++) {
		const char *key = keys[k];
		const size_t len = strlen(key);

		expect_place(
		    kvlog_lookup(bucket, key, len, &info), &info, err.offset);
		ck_assert_int_eq(kvlog_exists(bucket, key, len), KVLOG_CORRUPT);
		expect_place(kvlog_txn_lookup(reads, bucket, key, len, &info),
		    &info, err.offset);
		expect_place(kvlog_txn_lookup(writes, bucket, key, len, &info),
		    &info, err.offset);
	}
	kvlog_txn_rollback(writes);
	kvlog_txn_rollback(reads);
	api_close(bucket);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *s = suite_create("bucket");
	TCase *tc = tcase_create("bucket");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_add_loop_test(
	    tc, equal_keys_of_several_buckets_are_several, 0, 4);
	tcase_add_loop_test(
	    tc, a_dropped_bucket_is_gone_at_once_and_for_good, 0, 4);
	tcase_add_loop_test(
	    tc, a_walk_goes_on_when_its_bucket_is_dropped, 0, 2);
	tcase_add_test(tc, compaction_sweeps_what_was_dropped);
	tcase_add_test(tc, a_batch_spans_buckets);
	tcase_add_test(tc, wrong_names_are_refused);
	tcase_add_test(tc, readers_see_what_becomes_of_buckets);
	tcase_add_test(tc, a_lookup_tells_where_the_name_is_damaged);
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	return api_main(make_suite);
}
