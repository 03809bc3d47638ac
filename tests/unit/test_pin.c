/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pin.c - look-ups through a pin while memory is short, and while the
 * files that they are about to map are replaced.
 */
#include "config.h"

#include "makelog.h"
#include "pin.h"

#include <errno.h>

#define KEYS 100u

static struct kvlog *reader;
static struct kvlog_pin *pin;
static struct kvlog_item items[KEYS];
static uint32_t keys[KEYS];
static const struct os_table *plain; /* the simulated machine */
static struct os_table hooked;

static struct kvlog *
open_store(unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.load_threads = 1;
	o.index_mode = KVLOG_INDEX_HINTS;
	MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, NULL));
	return db;
}

static void
write_all(uint32_t round)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);

	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t value[50] = {i, round};

		MAKELOG_OK(kvlog_put(
		    db, &i, sizeof i, value, sizeof value, NULL, NULL));
	}
	MAKELOG_OK(kvlog_close(db, NULL));
}

static void
replace_all(uint32_t round)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = KVLOG_COMPACT_ALL;
	write_all(round);
	MAKELOG_OK(kvlog_compact_offline(MAKELOG_STORE, &o, NULL, NULL));
}

/* A reader that has mapped nothing, and its pin. */
static void
begin(void)
{
	write_all(0);
	reader = open_store(KVLOG_OPEN_READONLY);
	MAKELOG_OK(kvlog_pin_create(reader, &pin));
	for (uint32_t i = 0; i < KEYS; i++) {
		keys[i] = i;
		items[i].key = &keys[i];
		items[i].key_len = sizeof keys[i];
	}
}

static void
finish(void)
{
	kvlog_pin_destroy(pin);
	MAKELOG_OK(kvlog_close(reader, NULL));
}

static void
expect_some(const struct kvlog_item *found, uint32_t count, uint32_t round)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t value[2];

		MAKELOG_OK(found[i].status);
		ck_assert_uint_eq(found[i].value_len, 200);
		memcpy(value, found[i].value, sizeof value);
		ck_assert_uint_eq(value[0], i);
		ck_assert_uint_eq(value[1], round);
	}
}

/* Whatever could not be had: what was not looked up says so, what was found
 * before stays, and later all is there.  _i: in one
 * group of keys, or in several. */
START_TEST(want_of_memory_is_told_of_each_key)
{
	static struct kvlog_item before[KEYS], then[KEYS];
	const uint32_t count = _i == 0 ? INDEX_TOGETHER : KEYS;
	unsigned failures = 0;

	begin();
	MAKELOG_OK(kvlog_pin_get_many(pin, items, count));
	memcpy(before, items, sizeof before);
	replace_all(1);
	for (uint64_t nth = 1;; nth++) {
		enum kvlog_status st;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, true);
		st = kvlog_pin_get_many(pin, items, count);
		simos_fail_clear();
		expect_some(before, count, 0);
		if (st == KVLOG_OK)
			break;
		ck_assert_int_eq(st, KVLOG_NOMEM);
		failures++;
		for (uint32_t i = 0; i < count; i++) {
			ck_assert_int_eq(items[i].status, KVLOG_NOMEM);
			ck_assert_ptr_null(items[i].value);
			ck_assert_uint_eq(items[i].value_len, 0);
		}
	}
	ck_assert_uint_gt(failures, 5);
	/* What is freed may look whole for a while. */
	ck_assert_ptr_eq(pin->view, atomic_load(&pin->store->views.view));
	ck_assert_uint_eq(pin->older_count, 1);
	memcpy(then, items, sizeof then);
	replace_all(2);
	MAKELOG_OK(kvlog_pin_get_many(pin, items, count));
	expect_some(before, count, 0);
	expect_some(then, count, 1);
	expect_some(items, count, 2);
	finish();
}
END_TEST

START_TEST(a_pin_needs_memory)
{
	begin();
	finish();
	reader = open_store(KVLOG_OPEN_READONLY);
	pin = NULL;
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_int_eq(kvlog_pin_create(reader, &pin), KVLOG_NOMEM);
	simos_fail_clear();
	ck_assert_ptr_null(pin);
	finish();
}
END_TEST

static int opens_left; /* until all is replaced */

static int
open_late(
    int dir_fd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	if (--opens_left == 0) {
		os = plain;
		replace_all(1);
	}
	return plain->open(dir_fd, name, how, mode, ret_fd);
}

/* _i: which of the segments cannot be mapped any more. */
START_TEST(what_is_replaced_meanwhile_is_looked_up_again)
{
	begin();
	plain = os;
	hooked = *os;
	hooked.open = open_late;
	os = &hooked;
	opens_left = _i;
	MAKELOG_OK(kvlog_pin_get_many(pin, items, KEYS));
	ck_assert_ptr_eq(os, plain);
	/* One group of keys after the other: those before that were found. */
	for (uint32_t i = 0; i < KEYS; i++)
		MAKELOG_OK(items[i].status);
	MAKELOG_OK(kvlog_pin_get_many(pin, items, KEYS));
	expect_some(items, KEYS, 1);
	finish();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pin");
	TCase *tc = makelog_case(suite, "pin");

	tcase_add_loop_test(tc, want_of_memory_is_told_of_each_key, 0, 2);
	tcase_add_test(tc, a_pin_needs_memory);
	tcase_add_loop_test(
	    tc, what_is_replaced_meanwhile_is_looked_up_again, 1, 4);
	return test_main(suite);
}
