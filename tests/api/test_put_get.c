/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_put_get.c - storing values and reading them back.
 */
#include "config.h"

#include "api_db.h"
#include "rng.h"

START_TEST(what_was_put_can_be_got)
{
	api_expect(db, "apple", NULL);
	api_put(db, "apple", "red");
	api_put(db, "pear", "green");
	api_expect(db, "apple", "red");
	api_put(db, "apple", "yellow");
	api_expect(db, "apple", "yellow");
	ck_assert_uint_eq(api_count(db), 2);
	api_db_reopen();
	api_expect(db, "apple", "yellow");
	api_expect(db, "pear", "green");
	api_expect(db, "app", NULL);
	api_expect(db, "apples", NULL);
	ck_assert_uint_eq(api_count(db), 2);
}
END_TEST

START_TEST(get_says_how_much_room_it_needs)
{
	char buf[8] = "1234567";
	size_t len = 99;

	api_put(db, "k", "abcdef");
	ck_assert_int_eq(kvlog_get(db, "k", 1, buf, 5, &len), KVLOG_TOOSMALL);
	ck_assert_uint_eq(len, 6);
	ck_assert_str_eq(buf, "1234567"); /* untouched */
	len = 99;
	ck_assert_int_eq(kvlog_get(db, "k", 1, NULL, 0, &len), KVLOG_TOOSMALL);
	ck_assert_uint_eq(len, 6);
	ck_assert_int_eq(kvlog_get(db, "k", 1, buf, 6, &len), KVLOG_OK);
	ck_assert_mem_eq(buf, "abcdef7", 7);
	ck_assert_int_eq(kvlog_get(db, "k", 1, buf, 8, NULL), KVLOG_OK);
	len = 99;
	ck_assert_int_eq(
	    kvlog_get(db, "none", 4, buf, 8, &len), KVLOG_NOTFOUND);
	ck_assert_uint_eq(len, 99); /* untouched */
}
END_TEST

START_TEST(an_empty_value_is_a_value)
{
	void *value = NULL;
	size_t len = 99;

	ck_assert_int_eq(kvlog_put(db, "k", 1, NULL, 0, NULL, NULL), KVLOG_OK);
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_int_eq(
		    kvlog_get(db, "k", 1, NULL, 0, &len), KVLOG_OK);
		ck_assert_uint_eq(len, 0);
		ck_assert_int_eq(
		    kvlog_get_alloc(db, "k", 1, &value, &len), KVLOG_OK);
		ck_assert_ptr_nonnull(value);
		ck_assert_uint_eq(len, 0);
		kvlog_free(value);
		api_expect(db, "k", "");
		ck_assert_uint_eq(api_count(db), 1);
		api_db_reopen();
	}
}
END_TEST

START_TEST(free_takes_null)
{
	kvlog_free(NULL);
}
END_TEST

/* Zeros, 0xff, and every other byte; not a string anywhere. */
START_TEST(keys_and_values_hold_any_bytes)
{
	for (int turn = 0; turn < 2; turn++) {
		for (unsigned b = 0; b < 256; b++) {
			uint8_t key[3] = {0, (uint8_t)b, 0};
			uint8_t value[4] = {(uint8_t)b, 0, 0xff, 0}, buf[8];
			size_t len = 0;

			if (turn == 0)
				ck_assert_int_eq(
				    kvlog_put(db, key, 3, value, 4, NULL, NULL),
				    KVLOG_OK);
			ck_assert_int_eq(
			    kvlog_get(db, key, 3, buf, 8, &len), KVLOG_OK);
			ck_assert_uint_eq(len, 4);
			ck_assert_mem_eq(buf, value, 4);
			ck_assert_int_eq(
			    kvlog_exists(db, key, 2), KVLOG_NOTFOUND);
		}
		api_db_reopen();
	}
}
END_TEST

static void
put_len(size_t key_len, size_t value_len, unsigned salt)
{
	uint8_t *key = malloc(key_len), *value = malloc(value_len + 1);

	ck_assert(key != NULL && value != NULL);
	memset(key, (int)(salt & 0xff), key_len);
	memset(value, (int)(key_len + value_len), value_len + 1);
	ck_assert_int_eq(
	    kvlog_put(db, key, key_len, value, value_len, NULL, NULL),
	    KVLOG_OK);
	free(key);
	free(value);
}

static void
check_len(size_t key_len, size_t value_len, unsigned salt)
{
	uint8_t *key = malloc(key_len), *value = malloc(value_len + 1);
	void *got = NULL;
	size_t len = 0;

	ck_assert(key != NULL && value != NULL);
	memset(key, (int)(salt & 0xff), key_len);
	memset(value, (int)(key_len + value_len), value_len + 1);
	ck_assert_int_eq(
	    kvlog_get_alloc(db, key, key_len, &got, &len), KVLOG_OK);
	ck_assert_uint_eq(len, value_len);
	ck_assert_mem_eq(got, value, value_len);
	kvlog_free(got);
	free(key);
	free(value);
}

/* Lengths around what the library treats differently: the staging buffer of
 * 1 KiB, the room of a segment, the greatest key. */
static const size_t lens[][2] = {{1, 0}, {1, 1}, {2, 7}, {7, 8}, {8, 985},
    {9, 986}, {9, 987}, {9, 988}, {9, 989}, {10, 1023}, {10, 1024}, {10, 1025},
    {995, 0}, {996, 0}, {997, 0}, {1024, 1}, {1025, 2}, {11, 3544}, {11, 3545},
    {11, 3546}, {12, 3584}, {12, 4095}, {12, 4096}, {13, 4097}, {14, 8192},
    {15, 100000}, {65534, 0}, {65535, 0}, {65535, 1}, {65535, 70000}, {3555, 0},
    {3556, 0}, {3557, 1}};

START_TEST(all_lengths_are_kept)
{
	const size_t count = sizeof lens / sizeof lens[0];

	for (unsigned i = 0; i < count; i++)
		put_len(lens[i][0], lens[i][1], i);
	for (int turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < count; i++)
			check_len(lens[i][0], lens[i][1], i);
		ck_assert_uint_eq(api_count(db), count);
		api_db_reopen();
	}
}
END_TEST

/* Every place of a record's end relative to the staging buffer. */
START_TEST(lengths_around_the_staging_buffer)
{
	for (size_t len = 960; len < 1040; len++)
		put_len(len / 7, len, (unsigned)len);
	for (size_t len = 960; len < 1040; len++)
		check_len(len / 7, len, (unsigned)len);
	api_db_reopen();
	for (size_t len = 960; len < 1040; len++)
		check_len(len / 7, len, (unsigned)len);
}
END_TEST

START_TEST(keys_and_values_have_limits)
{
	const size_t huge = SIZE_MAX - 1;
	struct kvlog_error err;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	static uint8_t key[KVLOG_KEY_MAX + 1];
	/* Not to be read: the length alone says that it is too big. */
	const void *nothing = (const void *)(uintptr_t)16;
	uint64_t last = kvlog_last_seq(db);
	uint8_t buf[1];
	size_t len;

	how.err = &err;
	memset(&err, 0, sizeof err);
	ck_assert_int_eq(
	    kvlog_put(db, key, sizeof key, "x", 1, &how, NULL), KVLOG_TOOBIG);
	ck_assert_int_eq(err.status, KVLOG_TOOBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "65536"));
	if (SIZE_MAX > KVLOG_VALUE_MAX) {
		ck_assert_int_eq(
		    kvlog_put(db, "k", 1, nothing, huge, &how, NULL),
		    KVLOG_TOOBIG);
		ck_assert_int_eq(kvlog_put(db, "k", 1, nothing,
				     (size_t)KVLOG_VALUE_MAX + 1, &how, NULL),
		    KVLOG_TOOBIG);
	}
	ck_assert_int_eq(
	    kvlog_put(db, nothing, huge, "x", 1, &how, NULL), KVLOG_TOOBIG);
	ck_assert_int_eq(
	    kvlog_put(db, "k", 0, "x", 1, &how, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_put(db, NULL, 1, "x", 1, &how, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, NULL, 1, &how, NULL), KVLOG_INVAL);
	ck_assert_uint_eq(kvlog_last_seq(db), last);
	ck_assert_uint_eq(api_count(db), 0);

	ck_assert_int_eq(kvlog_get(db, "k", 0, buf, 1, &len), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_get(db, key, sizeof key, buf, 1, &len), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_get(db, "k", 1, NULL, 1, &len), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_exists(db, "k", 0), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_exists(db, key, sizeof key), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_exists(db, key, sizeof key - 1), KVLOG_NOTFOUND);
}
END_TEST

START_TEST(refuses_unknown_ways_to_write)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	ck_assert_uint_eq(how.size, sizeof how);
	how.size--;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "x", 1, &how, NULL), KVLOG_INVAL);
	how.size++;
	how.durability = (enum kvlog_durability)9;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "x", 1, &how, NULL), KVLOG_INVAL);
	how.durability = KVLOG_DURABILITY_NONE;
	how.condition = (enum kvlog_condition)9;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "x", 1, &how, NULL), KVLOG_INVAL);
	api_expect(db, "k", NULL);
}
END_TEST

START_TEST(receipts_tell_number_and_place)
{
	uint64_t seq = kvlog_last_seq(db);
	struct kvlog_receipt r = {7, 7, 7};

	ck_assert_uint_eq(seq, 0);
	for (int i = 0; i < 500; i++) {
		struct kvlog_info info;
		char key[16];

		(void)snprintf(key, sizeof key, "%d", i % 50);
		r = api_put(db, key, "thirty-two bytes and a little more");
		ck_assert_uint_eq(r.seq, ++seq);
		ck_assert_uint_eq(kvlog_last_seq(db), seq);
		ck_assert_int_eq(
		    kvlog_lookup(db, key, strlen(key), &info), KVLOG_OK);
		ck_assert_uint_eq(info.seq, r.seq);
		ck_assert_uint_eq(info.segment, r.segment);
		ck_assert_uint_eq(info.offset, r.offset);
		ck_assert_uint_eq(info.value_len, 34);
	}
	ck_assert_uint_gt(r.segment, 3);
	api_db_reopen();
	ck_assert_uint_eq(kvlog_last_seq(db), seq);
	ck_assert_uint_gt(api_put(db, "next", "x").seq, seq);
}
END_TEST

START_TEST(lookup_leaves_its_answer_alone_if_there_is_none)
{
	struct kvlog_info info = {1, 2, 3, 4, 5};

	ck_assert_int_eq(kvlog_lookup(db, "k", 1, &info), KVLOG_NOTFOUND);
	ck_assert_uint_eq(info.seq, 1);
	ck_assert_uint_eq(info.segment, 4);
	ck_assert_int_eq(kvlog_lookup(db, "k", 0, &info), KVLOG_INVAL);
}
END_TEST

START_TEST(the_callers_memory_is_not_kept)
{
	char key[4] = "abc", value[4] = "xyz";

	ck_assert_int_eq(kvlog_put(db, key, 3, value, 3, NULL, NULL), KVLOG_OK);
	memset(key, '-', 3);
	memset(value, '-', 3);
	api_expect(db, "abc", "xyz");
}
END_TEST

/* Many keys over many small segments, in an order of their own. */
START_TEST(many_keys)
{
	const unsigned count = 5000;
	struct rng rng;

	rng_init(&rng, 1);
	for (int turn = 0; turn < 3; turn++) {
		char key[24], value[64];

		for (unsigned i = 0; i < count; i++) {
			unsigned k = (unsigned)rng_below(&rng, count);

			(void)snprintf(key, sizeof key, "key-%08u", k);
			(void)snprintf(value, sizeof value, "value-%u", k);
			api_put(db, key, value);
		}
		api_db_reopen();
		for (unsigned k = 0; k < count; k++) {
			char buf[64];
			size_t len;
			enum kvlog_status st;

			(void)snprintf(key, sizeof key, "key-%08u", k);
			(void)snprintf(value, sizeof value, "value-%u", k);
			st = kvlog_get(
			    db, key, strlen(key), buf, sizeof buf, &len);
			if (st != KVLOG_NOTFOUND &&
			    (st != KVLOG_OK || len != strlen(value) ||
				memcmp(buf, value, len) != 0))
				ck_abort_msg("%s: %d", key, (int)st);
		}
	}
	ck_assert_uint_gt(api_count(db), count / 2);
}
END_TEST

START_TEST(texts_and_versions)
{
	char version[32];

	(void)snprintf(version, sizeof version, "%d.%d.%d", KVLOG_VERSION_MAJOR,
	    KVLOG_VERSION_MINOR, KVLOG_VERSION_PATCH);
	ck_assert_str_eq(kvlog_version(), version);
	for (int st = -1; st < 40; st++) {
		const char *text = kvlog_status_text((enum kvlog_status)st);

		ck_assert_ptr_nonnull(text);
		ck_assert_uint_gt(strlen(text), 0);
		if (st > 0 && st <= KVLOG_CANCELLED)
			ck_assert_str_ne(text, kvlog_status_text(KVLOG_OK));
	}
}
END_TEST

/* Handles of NULL are refused, not followed. */
START_TEST(null_handles_are_refused)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_iter *iter;
	struct kvlog_info info;
	uint64_t count;
	void *value;
	size_t len;

	ck_assert_int_eq(
	    kvlog_put(NULL, "k", 1, "x", 1, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_delete(NULL, "k", 1, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_get(NULL, "k", 1, NULL, 0, &len), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_get_alloc(NULL, "k", 1, &value, &len), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_get_alloc(db, "k", 1, NULL, &len), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_exists(NULL, "k", 1), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_lookup(NULL, "k", 1, &info), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_lookup(db, "k", 1, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_create(NULL, "", 0, &iter), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_create(db, NULL, 1, &iter), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_next(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_seek(NULL, "", 0), KVLOG_INVAL);
	ck_assert_ptr_null(kvlog_iter_key(NULL, &len));
	ck_assert_ptr_null(kvlog_iter_value(NULL, &len));
	kvlog_iter_destroy(NULL);
	ck_assert_int_eq(kvlog_count(NULL, &count), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_count(db, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_sync(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_maintain(NULL, 0, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_wait_durable(NULL, 0, 0), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_stats_get(NULL, &stats), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_stats_get(db, NULL), KVLOG_INVAL);
	stats.size--;
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_INVAL);
	ck_assert_uint_eq(kvlog_last_seq(NULL), 0);
	ck_assert_uint_eq(kvlog_durable_seq(NULL), 0);
	memset(&info, 1, sizeof info);
	kvlog_iter_info(NULL, &info);
	ck_assert_uint_eq(info.seq, 0);
	ck_assert_uint_eq(info.segment, 0);
	ck_assert_int_eq(kvlog_exists(db, NULL, 1), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_salvage(api_store, NULL, NULL, NULL, NULL), KVLOG_INVAL);
}
END_TEST

/* Lengths that nobody wants to know. */
START_TEST(lengths_need_not_be_asked_for)
{
	struct kvlog_iter *iter;
	void *value;

	api_put(db, "key", "value");
	ck_assert_int_eq(kvlog_get_alloc(db, "key", 3, &value, NULL), KVLOG_OK);
	ck_assert_mem_eq(value, "value", 5);
	kvlog_free(value);
	ck_assert_int_eq(kvlog_iter_create(db, NULL, 0, &iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(iter, NULL), "key", 3);
	ck_assert_mem_eq(kvlog_iter_value(iter, NULL), "value", 5);
	ck_assert_int_eq(kvlog_iter_seek(iter, NULL, 0), KVLOG_OK);
	ck_assert_ptr_null(kvlog_iter_key(iter, NULL));
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_key(iter, NULL), "key", 3);
	kvlog_iter_destroy(iter);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("put_get");
	TCase *tc = tcase_create("put_get");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, what_was_put_can_be_got);
	tcase_add_test(tc, get_says_how_much_room_it_needs);
	tcase_add_test(tc, an_empty_value_is_a_value);
	tcase_add_test(tc, free_takes_null);
	tcase_add_test(tc, keys_and_values_hold_any_bytes);
	tcase_add_test(tc, all_lengths_are_kept);
	tcase_add_test(tc, lengths_around_the_staging_buffer);
	tcase_add_test(tc, keys_and_values_have_limits);
	tcase_add_test(tc, refuses_unknown_ways_to_write);
	tcase_add_test(tc, receipts_tell_number_and_place);
	tcase_add_test(tc, lookup_leaves_its_answer_alone_if_there_is_none);
	tcase_add_test(tc, the_callers_memory_is_not_kept);
	tcase_add_test(tc, many_keys);
	tcase_add_test(tc, texts_and_versions);
	tcase_add_test(tc, null_handles_are_refused);
	tcase_add_test(tc, lengths_need_not_be_asked_for);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
