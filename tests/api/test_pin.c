/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pin.c - values in place: what a pin keeps, and for how long; look-ups of
 * many keys in one call.
 */
#include "config.h"

#include "api_db.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 700

static struct kvlog_pin *pin;

/* A value in place, and what it was when it was found. */
struct kept {
	const void *value;
	size_t len;
	char copy[300];
};

static void
begin(void)
{
	ck_assert_int_eq(kvlog_pin_create(db, &pin), KVLOG_OK);
}

static void
finish(void)
{
	kvlog_pin_destroy(pin);
}

static struct kept
look(const char *key)
{
	struct kept kept = {0};

	ck_assert_int_eq(
	    kvlog_pin_get(pin, key, strlen(key), &kept.value, &kept.len),
	    KVLOG_OK);
	ck_assert_ptr_nonnull(kept.value);
	ck_assert_uint_le(kept.len, sizeof kept.copy);
	memcpy(kept.copy, kept.value, kept.len);
	return kept;
}

static struct kept
look_for(const char *key, const char *value)
{
	struct kept kept = look(key);

	ck_assert_uint_eq(kept.len, strlen(value));
	ck_assert_mem_eq(kept.copy, value, kept.len);
	return kept;
}

static void
expect_kept(const struct kept *kept)
{
	ck_assert_mem_eq(kept->value, kept->copy, kept->len);
}

static const char *
key_of(unsigned i)
{
	static char key[16];

	(void)snprintf(key, sizeof key, "key%05u", i);
	return key;
}

/* 100 bytes, so that some tens of them fill a segment. */
static const char *
value_of(unsigned i, unsigned round)
{
	static char value[101];
	int len = snprintf(value, sizeof value, "%u in round %u", i, round);

	memset(value + len, 'a' + (int)(round % 26), 100 - (size_t)len);
	return value;
}

static void
put_many(unsigned round)
{
	for (unsigned i = 0; i < MANY; i++)
		api_put(db, key_of(i), value_of(i, round));
}

/* Another process writes everything anew, and compacts the store. */
static void
replace_all(unsigned round)
{
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

		o.flags = KVLOG_COMPACT_ALL;
		db = api_open(api_store, 0);
		put_many(round);
		api_close(db);
		_exit(
		    kvlog_compact_offline(api_store, &o, NULL, NULL) == KVLOG_OK
			? 0
			: 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

START_TEST(values_are_where_the_store_has_them)
{
	struct kept one, again;
	const void *value = NULL;
	size_t len = 77;

	begin();
	api_put(db, "a", "one");
	api_put(db, "empty", "");
	one = look_for("a", "one");
	again = look_for("a", "one");
	ck_assert_ptr_eq(one.value, again.value);
	(void)look_for("empty", "");
	ck_assert_int_eq(kvlog_pin_get(pin, "a", 1, &value, NULL), KVLOG_OK);
	ck_assert_ptr_eq(value, one.value);
	value = NULL;
	ck_assert_int_eq(
	    kvlog_pin_get(pin, "absent", 6, &value, &len), KVLOG_NOTFOUND);
	ck_assert_ptr_null(value);
	ck_assert_uint_eq(len, 77);
	finish();
}
END_TEST

START_TEST(a_pin_shows_what_is_newest)
{
	struct kept one, two;
	const void *value;
	size_t len;

	begin();
	api_put(db, "a", "one");
	one = look_for("a", "one");
	api_put(db, "a", "two");
	two = look_for("a", "two");
	api_delete(db, "a");
	ck_assert_int_eq(
	    kvlog_pin_get(pin, "a", 1, &value, &len), KVLOG_NOTFOUND);
	expect_kept(&one);
	expect_kept(&two);
	finish();
}
END_TEST

START_TEST(values_stay_over_rollovers)
{
	static struct kept kept[MANY];
	bool more = true;

	put_many(0);
	begin();
	for (unsigned i = 0; i < MANY; i++)
		kept[i] = look_for(key_of(i), value_of(i, 0));
	for (unsigned round = 1; round < 4; round++)
		put_many(round);
	for (unsigned i = 0; i < MANY; i += 3)
		api_delete(db, key_of(i));
	while (more) /* hints are written and merged */
		ck_assert_int_eq(kvlog_maintain(db, 100, &more), KVLOG_OK);
	for (unsigned i = 0; i < MANY; i++)
		expect_kept(&kept[i]);
	(void)look_for(key_of(1), value_of(1, 3));
	finish();
}
END_TEST

/* The segments that they lie in are replaced, and unlinked. */
START_TEST(values_stay_over_compactions)
{
	static struct kept kept[3][MANY];

	api_close(db);
	replace_all(0);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	begin();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < MANY; i++)
			kept[round][i] =
			    look_for(key_of(i), value_of(i, round));
		replace_all(round + 1);
	}
	(void)look_for(key_of(1), value_of(1, 3));
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < MANY; i++)
			expect_kept(&kept[round][i]);
	finish();
	api_expect(db, key_of(1), value_of(1, 3));
}
END_TEST

/* One that saw nothing of it before finds all of it after. */
START_TEST(a_reader_sees_what_another_writes)
{
	struct kvlog *writer = db;
	struct kept kept[8];

	db = api_open(api_store, KVLOG_OPEN_READONLY);
	begin();
	for (unsigned round = 0; round < 8; round++) {
		char value[101];

		for (unsigned i = 0; i < 200; i++)
			api_put(writer, key_of(i), value_of(i, round));
		(void)snprintf(value, sizeof value, "%s", value_of(7, round));
		kept[round] = look_for(key_of(7), value);
	}
	api_close(writer);
	for (unsigned round = 0; round < 8; round++)
		expect_kept(&kept[round]);
	finish();
}
END_TEST

START_TEST(pins_do_not_know_each_other)
{
	struct kvlog_pin *other = NULL;
	struct kept a, b;

	api_put(db, "a", "one");
	begin();
	a = look_for("a", "one");
	other = pin;
	begin();
	b = look_for("a", "one");
	ck_assert_ptr_eq(a.value, b.value);
	kvlog_pin_destroy(other);
	expect_kept(&b);
	(void)look_for("a", "one");
	finish();
	kvlog_pin_destroy(NULL);
	/* One that has seen nothing. */
	begin();
	finish();
}
END_TEST

/* Any number of keys, there and not, some more than once. */
START_TEST(many_keys_in_one_call)
{
	static const size_t counts[] = {
	    1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 1000, 2 * MANY + 1};
	static char keys[2 * MANY + 1][16];
	static struct kvlog_item items[2 * MANY + 1];
	struct kvlog_receipt receipt;

	put_many(0);
	receipt = api_put(db, key_of(3), "three");
	api_delete(db, key_of(5));
	begin();
	for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
		for (unsigned i = 0; i < counts[c]; i++) {
			strcpy(keys[i], key_of(i * 7 % (MANY + 100)));
			items[i].key = keys[i];
			items[i].key_len = strlen(keys[i]);
			items[i].status = KVLOG_IO;
		}
		ck_assert_int_eq(
		    kvlog_pin_get_many(pin, items, counts[c]), KVLOG_OK);
		for (unsigned i = 0; i < counts[c]; i++) {
			unsigned k = i * 7 % (MANY + 100);
			const char *value = k == 3 ? "three" : value_of(k, 0);

			if (k >= MANY || k == 5) {
				ck_assert_int_eq(
				    items[i].status, KVLOG_NOTFOUND);
				ck_assert_ptr_null(items[i].value);
				continue;
			}
			ck_assert_int_eq(items[i].status, KVLOG_OK);
			ck_assert_uint_eq(items[i].value_len, strlen(value));
			ck_assert_mem_eq(items[i].value, value, strlen(value));
			ck_assert_uint_eq(
			    items[i].seq, k == 3 ? receipt.seq : k + 1);
		}
	}
	finish();
}
END_TEST

START_TEST(a_wrong_key_concerns_no_other)
{
	static char longest[KVLOG_KEY_MAX + 1];
	struct kvlog_item items[6] = {
	    {.key = "a", .key_len = 1},
	    {.key = NULL, .key_len = 1, .value = "x", .value_len = 1, .seq = 1},
	    {.key = "a", .key_len = 0},
	    {.key = longest, .key_len = KVLOG_KEY_MAX + 1},
	    {.key = longest, .key_len = KVLOG_KEY_MAX},
	    {.key = "a", .key_len = 1},
	};

	api_put(db, "a", "one");
	begin();
	ck_assert_int_eq(kvlog_pin_get_many(pin, items, 6), KVLOG_OK);
	ck_assert_int_eq(items[0].status, KVLOG_OK);
	for (unsigned i = 1; i < 4; i++)
		ck_assert_int_eq(items[i].status, KVLOG_INVAL);
	ck_assert_ptr_null(items[1].value);
	ck_assert_uint_eq(items[1].value_len, 0);
	ck_assert_uint_eq(items[1].seq, 0);
	ck_assert_int_eq(items[4].status, KVLOG_NOTFOUND);
	ck_assert_int_eq(items[5].status, KVLOG_OK);
	ck_assert_ptr_eq(items[5].value, items[0].value);
	ck_assert_int_eq(kvlog_pin_get_many(pin, items + 1, 3), KVLOG_OK);
	finish();
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog_item item = {.key = "a", .key_len = 1};
	const void *value;
	size_t len;

	ck_assert_int_eq(kvlog_pin_create(NULL, &pin), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_pin_create(db, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_pin_get_many(NULL, &item, 1), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_pin_get(NULL, "a", 1, &value, &len), KVLOG_INVAL);
	begin();
	ck_assert_int_eq(kvlog_pin_get_many(pin, NULL, 1), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_pin_get_many(pin, NULL, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_pin_get(pin, "a", 1, NULL, &len), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_pin_get(pin, "", 0, &value, &len), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_pin_get(pin, NULL, 1, &value, &len), KVLOG_INVAL);
	finish();
}
END_TEST

/* Bytes of one record, of its header and of its value, are wrong: the others
 * are there.  _i: whether checksums are verified. */
START_TEST(damage_concerns_its_own_key_alone)
{
	struct kvlog_options o = api_options(_i == 0 ? 0 : KVLOG_OPEN_NOVERIFY);
	struct kvlog_receipt receipt = {0};
	struct kvlog_item items[20];
	char keys[20][16], name[32], *path;
	uint64_t at[2] = {0};

	for (unsigned i = 0; i < 20; i++) {
		receipt = api_put(db, key_of(i), value_of(i, 0));
		if (i == 10) /* in the lag; in the value */
			at[0] = receipt.offset + 24;
		if (i == 15)
			at[1] = receipt.offset + 28 + 8 + 50;
	}
	api_close(db);
	db = NULL;
	(void)snprintf(name, sizeof name, "%08u.seg", receipt.segment);
	path = files_path(api_store, name);
	o.flags |= KVLOG_OPEN_READONLY;
	db = api_open_with(api_store, &o);
	begin();
	for (unsigned i = 0; i < 20; i++) {
		strcpy(keys[i], key_of(i));
		items[i].key = keys[i];
		items[i].key_len = strlen(keys[i]);
	}
	files_flip(path, at[0], 3);
	files_flip(path, at[1], 3);
	ck_assert_int_eq(kvlog_pin_get_many(pin, items, 20), KVLOG_OK);
	for (unsigned i = 0; i < 20; i++) {
		bool hit = i == 10 || i == 15;

		ck_assert_int_eq(
		    items[i].status, hit && _i == 0 ? KVLOG_CORRUPT : KVLOG_OK);
		if (hit && _i == 0)
			ck_assert_ptr_null(items[i].value);
		else if (!hit)
			ck_assert_mem_eq(items[i].value, value_of(i, 0), 100);
	}
	finish();
	free(path);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("pin");
	TCase *tc = tcase_create("pin");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, values_are_where_the_store_has_them);
	tcase_add_test(tc, a_pin_shows_what_is_newest);
	tcase_add_test(tc, values_stay_over_rollovers);
	tcase_add_test(tc, values_stay_over_compactions);
	tcase_add_test(tc, a_reader_sees_what_another_writes);
	tcase_add_test(tc, pins_do_not_know_each_other);
	tcase_add_test(tc, many_keys_in_one_call);
	tcase_add_test(tc, a_wrong_key_concerns_no_other);
	tcase_add_test(tc, wrong_arguments_are_refused);
	tcase_add_loop_test(tc, damage_concerns_its_own_key_alone, 0, 2);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
