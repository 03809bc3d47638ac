/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_conditional.c - writes that hold only in a certain state.
 */
#include "config.h"

#include "api_db.h"

static struct kvlog_error err;

static enum kvlog_status
put_if(enum kvlog_condition condition, uint64_t if_seq, const char *value)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt r = {7, 7, 7};
	uint64_t last = kvlog_last_seq(db);
	enum kvlog_status st;

	memset(&err, 0, sizeof err);
	how.condition = condition;
	how.if_seq = if_seq;
	how.err = &err;
	st = kvlog_put(db, "k", 1, value, strlen(value), &how, &r);
	if (st == KVLOG_OK) {
		ck_assert_uint_eq(r.seq, last + 1);
		api_expect(db, "k", value);
	} else {
		ck_assert_uint_eq(r.seq, 7);
		ck_assert_uint_eq(kvlog_last_seq(db), last);
		ck_assert_int_eq(err.status, st);
	}
	return st;
}

static enum kvlog_status
delete_if(enum kvlog_condition condition, uint64_t if_seq)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.condition = condition;
	how.if_seq = if_seq;
	return kvlog_delete(db, "k", 1, &how, NULL);
}

static uint64_t
seq_of_k(void)
{
	struct kvlog_info info;

	ck_assert_int_eq(kvlog_lookup(db, "k", 1, &info), KVLOG_OK);
	return info.seq;
}

START_TEST(if_absent)
{
	ck_assert_int_eq(put_if(KVLOG_IF_ABSENT, 0, "1"), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_ABSENT, 0, "2"), KVLOG_CONFLICT);
	api_expect(db, "k", "1");
	ck_assert_int_eq(delete_if(KVLOG_IF_ABSENT, 0), KVLOG_CONFLICT);
	api_delete(db, "k");
	ck_assert_int_eq(put_if(KVLOG_IF_ABSENT, 0, "3"), KVLOG_OK);
}
END_TEST

START_TEST(if_present)
{
	ck_assert_int_eq(put_if(KVLOG_IF_PRESENT, 0, "1"), KVLOG_CONFLICT);
	api_expect(db, "k", NULL);
	ck_assert_int_eq(delete_if(KVLOG_IF_PRESENT, 0), KVLOG_CONFLICT);
	api_put(db, "k", "0");
	ck_assert_int_eq(put_if(KVLOG_IF_PRESENT, 0, "1"), KVLOG_OK);
	ck_assert_int_eq(delete_if(KVLOG_IF_PRESENT, 0), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_PRESENT, 0, "1"), KVLOG_CONFLICT);
}
END_TEST

START_TEST(if_seq)
{
	uint64_t seq;

	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, 1, "1"), KVLOG_CONFLICT);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, 0, "1"), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, 0, "2"), KVLOG_CONFLICT);
	seq = seq_of_k();
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, seq + 1, "2"), KVLOG_CONFLICT);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, seq, "2"), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, seq, "3"), KVLOG_CONFLICT);
	ck_assert_uint_gt(seq_of_k(), seq);
	seq = seq_of_k();

	/* Numbers outlive the handle. */
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_uint_eq(seq_of_k(), seq);
	ck_assert_int_eq(delete_if(KVLOG_IF_SEQ, seq - 1), KVLOG_CONFLICT);
	ck_assert_int_eq(delete_if(KVLOG_IF_SEQ, seq), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, seq, "3"), KVLOG_CONFLICT);
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, 0, "3"), KVLOG_OK);
}
END_TEST

START_TEST(texts_say_which_condition)
{
	api_put(db, "k", "0");
	ck_assert_int_eq(put_if(KVLOG_IF_ABSENT, 0, "1"), KVLOG_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "has a value"));
	ck_assert_int_eq(put_if(KVLOG_IF_SEQ, 99, "1"), KVLOG_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "another commit"));
	api_delete(db, "k");
	ck_assert_int_eq(put_if(KVLOG_IF_PRESENT, 0, "1"), KVLOG_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "has no value"));
}
END_TEST

/* A condition on a record that cannot be read cannot be judged. */
START_TEST(a_damaged_record_is_no_ground_for_a_decision)
{
	struct kvlog_receipt r = api_put(db, "k", "value");
	struct kvlog_options o = api_options(0);
	char *path = files_path(api_store, "00000001.seg");

	/* A header sum, under the mapping. */
	files_flip(path, (size_t)r.offset, 3);
	for (int turn = 0; turn < 2; turn++) {
		void *value = NULL;
		size_t len;

		ck_assert_int_eq(
		    kvlog_get_alloc(db, "k", 1, &value, &len), KVLOG_CORRUPT);
		ck_assert_int_eq(
		    put_if(KVLOG_IF_ABSENT, 0, "1"), KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, r.segment);
		ck_assert_uint_eq(err.offset, r.offset);
		ck_assert_int_eq(
		    put_if(KVLOG_IF_PRESENT, 0, "1"), KVLOG_CORRUPT);
		ck_assert_int_eq(
		    put_if(KVLOG_IF_SEQ, r.seq, "1"), KVLOG_CORRUPT);
		ck_assert_int_eq(
		    kvlog_delete(db, "k", 1, NULL, NULL), KVLOG_CORRUPT);
	}
	/* Without one, a new value takes its place. */
	ck_assert_int_eq(put_if(KVLOG_IF_ANY, 0, "new"), KVLOG_OK);
	ck_assert_int_eq(put_if(KVLOG_IF_PRESENT, 0, "newer"), KVLOG_OK);
	api_close(db);
	db = api_open_with(api_store, &o);
	api_expect(db, "k", "newer");
	free(path);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("conditional");
	TCase *tc = tcase_create("conditional");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_add_test(tc, if_absent);
	tcase_add_test(tc, if_present);
	tcase_add_test(tc, if_seq);
	tcase_add_test(tc, texts_say_which_condition);
	tcase_add_test(tc, a_damaged_record_is_no_ground_for_a_decision);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
