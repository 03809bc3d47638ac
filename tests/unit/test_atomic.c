/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_atomic.c - writes that depend on what is there, where memory is short:
 * each allocation of a call fails in turn, and the call then says so, and has
 * changed nothing.
 */
#include "config.h"

#include "makelog.h"

#include <errno.h>
#include <inttypes.h>

static struct kvlog *db;
static struct kvlog_error err;

/* Long, so that room for it cannot be on the stack. */
#define OLD_LEN 900
static uint8_t old[OLD_LEN];

/* What a call gives back; none of it may be touched when it fails. */
static struct {
	struct kvlog_receipt receipt;
	int64_t number;
	size_t len;
	void *value;
} got, untouched = {{7, 7, 7}, -7, 77, &got};

static const struct kvlog_bytes old_bytes = {old, OLD_LEN},
				new_bytes = {"new", 3};

static enum kvlog_status
increment(const struct kvlog_write *how)
{
	return kvlog_increment(db, "n", 1, 5, how, &got.number, &got.receipt);
}

static enum kvlog_status
append(const struct kvlog_write *how)
{
	return kvlog_append(db, "k", 1, "more", 4, how, &got.len, &got.receipt);
}

static enum kvlog_status
exchange(const struct kvlog_write *how)
{
	return kvlog_exchange(
	    db, "k", 1, &new_bytes, how, &got.value, &got.len, &got.receipt);
}

static enum kvlog_status
take(const struct kvlog_write *how)
{
	return kvlog_exchange(
	    db, "k", 1, NULL, how, &got.value, &got.len, &got.receipt);
}

static enum kvlog_status
compare(const struct kvlog_write *how)
{
	return kvlog_compare_exchange(db, "k", 1, &old_bytes, &new_bytes, how,
	    &got.value, &got.len, &got.receipt);
}

static enum kvlog_status
compare_in_vain(const struct kvlog_write *how)
{
	return kvlog_compare_exchange(db, "k", 1, &new_bytes, &old_bytes, how,
	    &got.value, &got.len, &got.receipt);
}

static enum kvlog_status
move(const struct kvlog_write *how)
{
	return kvlog_rename(db, "k", 1, "to", 2, how, &got.receipt);
}

static enum kvlog_status
expire(const struct kvlog_write *how)
{
	return kvlog_expire(
	    db, "k", 1, UINT64_C(4000000000000), how, &got.receipt);
}

static const struct call {
	const char *name;
	enum kvlog_status (*fn)(const struct kvlog_write *how);
	enum kvlog_status status; /* where nothing fails */
} calls[] = {
    {"increment", increment, KVLOG_OK},
    {"append", append, KVLOG_OK},
    {"exchange", exchange, KVLOG_OK},
    {"take", take, KVLOG_OK},
    {"compare", compare, KVLOG_OK},
    {"compare in vain", compare_in_vain, KVLOG_CONFLICT},
    {"rename", move, KVLOG_OK},
    {"expire", expire, KVLOG_OK},
};
#define CALLS ((int)(sizeof calls / sizeof calls[0]))

static void
expect_old(void)
{
	uint8_t value[OLD_LEN];
	struct kvlog_info info;
	size_t len = 0;

	MAKELOG_OK(kvlog_get(db, "k", 1, value, sizeof value, &len));
	ck_assert_uint_eq(len, OLD_LEN);
	ck_assert_mem_eq(value, old, OLD_LEN);
	MAKELOG_OK(kvlog_lookup(db, "k", 1, &info));
	ck_assert_uint_eq(info.expires_ms, 0);
	MAKELOG_OK(kvlog_get(db, "n", 1, value, sizeof value, &len));
	ck_assert_uint_eq(len, 2);
	ck_assert_mem_eq(value, "37", 2);
	ck_assert_int_eq(kvlog_exists(db, "to", 2), KVLOG_NOTFOUND);
}

START_TEST(want_of_memory_leaves_the_old_value)
{
	const struct call *call = &calls[_i % CALLS];
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	enum kvlog_status st = KVLOG_NOMEM;
	uint64_t said = 0;

	simos_init(1);
	memset(old, 'o', sizeof old);
	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.index_mode = _i < CALLS ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, &err));
	MAKELOG_OK(kvlog_put(db, "k", 1, old, OLD_LEN, NULL, NULL));
	MAKELOG_OK(kvlog_put(db, "n", 1, "37", 2, NULL, NULL));
	how.err = &err;
	for (uint64_t nth = 1; st == KVLOG_NOMEM; nth++) {
		uint64_t last = kvlog_last_seq(db);

		memset(&err, 0, sizeof err);
		got = untouched;
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = call->fn(&how);
		simos_fail_clear();
		if (st != KVLOG_NOMEM)
			break;
		said++;
		ck_assert_int_eq(err.status, KVLOG_NOMEM);
		ck_assert_uint_gt(strlen(err.text), 10);
		ck_assert_mem_eq(&got, &untouched, sizeof got);
		ck_assert_uint_eq(kvlog_last_seq(db), last);
		expect_old();
	}
	/* The pin, at least; and room for what it has found, or has made. */
	ck_assert_msg(said > 0, "%s", call->name);
	ck_assert_int_eq(st, call->status);
	if (got.value != untouched.value) {
		ck_assert_uint_eq(got.len, OLD_LEN);
		ck_assert_mem_eq(got.value, old, OLD_LEN);
		kvlog_free(got.value);
	}
	MAKELOG_OK(kvlog_close(db, &err));
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	simos_fini();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("atomic");
	TCase *tc = tcase_create("atomic");

	tcase_add_loop_test(
	    tc, want_of_memory_leaves_the_old_value, 0, 2 * CALLS);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
