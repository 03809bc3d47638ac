/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_batch.c - several steps in one commit.
 */
#include "config.h"

#include "api_db.h"

#include <unistd.h>

static struct kvlog_op
put_op(const char *key, const char *value)
{
	return (struct kvlog_op){KVLOG_OP_PUT, KVLOG_IF_ANY, 0, key,
	    strlen(key), value, strlen(value), 0, NULL};
}

static struct kvlog_op
delete_op(const char *key)
{
	return (struct kvlog_op){KVLOG_OP_DELETE, KVLOG_IF_ANY, 0, key,
	    strlen(key), NULL, 0, 0, NULL};
}

#define COUNT(ops) (sizeof(ops) / sizeof((ops)[0]))

START_TEST(steps_share_one_number)
{
	struct kvlog_op ops[] = {
	    put_op("a", "1"), put_op("b", "2"), delete_op("c")};
	struct kvlog_receipt r = {0, 0, 0};
	struct kvlog_info info;
	uint64_t last;

	api_put(db, "c", "3");
	last = kvlog_last_seq(db);
	ck_assert_int_eq(
	    kvlog_apply(db, ops, COUNT(ops), NULL, &r, NULL), KVLOG_OK);
	ck_assert_uint_eq(r.seq, last + 1);
	ck_assert_uint_eq(kvlog_last_seq(db), last + 1);
	for (int turn = 0; turn < 2; turn++) {
		api_expect(db, "a", "1");
		api_expect(db, "b", "2");
		api_expect(db, "c", NULL);
		ck_assert_uint_eq(api_count(db), 2);
		ck_assert_int_eq(kvlog_lookup(db, "a", 1, &info), KVLOG_OK);
		ck_assert_uint_eq(info.seq, r.seq);
		ck_assert_uint_eq(info.offset, r.offset);
		ck_assert_int_eq(kvlog_lookup(db, "b", 1, &info), KVLOG_OK);
		ck_assert_uint_eq(info.seq, r.seq);
		ck_assert_uint_eq(
		    info.offset, r.offset + api_record_size(1, 1));
		api_db_reopen();
	}
}
END_TEST

START_TEST(later_steps_on_a_key_win)
{
	struct kvlog_op ops[] = {put_op("a", "1"), put_op("b", "1"),
	    put_op("a", "2"), delete_op("b"), delete_op("c"),
	    put_op("c", "kept"), put_op("d", "1"), delete_op("d"),
	    put_op("d", "2"), put_op("a", "3")};

	ck_assert_int_eq(
	    kvlog_apply(db, ops, COUNT(ops), NULL, NULL, NULL), KVLOG_OK);
	for (int turn = 0; turn < 3; turn++) {
		api_expect(db, "a", "3");
		api_expect(db, "b", NULL);
		api_expect(db, "c", "kept");
		api_expect(db, "d", "2");
		ck_assert_uint_eq(api_count(db), 3);
		if (turn == 0) {
			/* Into another segment, so that it gets a hint. */
			for (int i = 0; i < 200; i++)
				api_put(db, "filler", "of forty bytes or so");
			api_delete(db, "filler");
		}
		api_db_reopen();
	}
}
END_TEST

START_TEST(deleting_an_absent_key_is_no_error)
{
	struct kvlog_op ops[] = {delete_op("x"), put_op("a", "1")};
	struct kvlog_receipt r;

	ck_assert_int_eq(
	    kvlog_apply(db, ops, COUNT(ops), NULL, &r, NULL), KVLOG_OK);
	api_expect(db, "a", "1");
	ck_assert_int_eq(kvlog_apply(db, ops, 1, NULL, &r, NULL), KVLOG_OK);
	ops[0].condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(kvlog_apply(db, ops, 1, NULL, &r, NULL), KVLOG_OK);
	api_db_reopen();
	api_expect(db, "a", "1");
	api_expect(db, "x", NULL);
}
END_TEST

/* Conditions are judged on the state before the batch, also where a step
 * before changes the key. */
START_TEST(conditions_are_those_before_the_batch)
{
	struct kvlog_op ops[] = {
	    put_op("a", "1"), put_op("a", "2"), delete_op("a")};
	size_t failed = 77;

	ops[0].condition = KVLOG_IF_ABSENT;
	ops[1].condition = KVLOG_IF_ABSENT;
	ops[2].condition = KVLOG_IF_PRESENT;
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 3, NULL, NULL, &failed), KVLOG_CONFLICT);
	ck_assert_uint_eq(failed, 2);
	api_expect(db, "a", NULL);
	failed = 77;
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 2, NULL, NULL, &failed), KVLOG_OK);
	ck_assert_uint_eq(failed, 77);
	api_expect(db, "a", "2");
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 3, NULL, NULL, &failed), KVLOG_CONFLICT);
	ck_assert_uint_eq(failed, 0);
}
END_TEST

START_TEST(a_step_that_does_not_hold_stops_all)
{
	struct kvlog_op ops[] = {put_op("a", "new"), delete_op("b"),
	    put_op("c", "new"), put_op("d", "new")};
	uint64_t seq, last;
	size_t failed = 77;

	api_put(db, "a", "1");
	api_put(db, "b", "2");
	seq = api_put(db, "c", "3").seq;
	last = kvlog_last_seq(db);
	ops[2].condition = KVLOG_IF_SEQ;
	ops[2].if_seq = seq + 1;
	ck_assert_int_eq(kvlog_apply(db, ops, COUNT(ops), NULL, NULL, &failed),
	    KVLOG_CONFLICT);
	ck_assert_uint_eq(failed, 2);
	ck_assert_uint_eq(kvlog_last_seq(db), last);
	for (int turn = 0; turn < 2; turn++) {
		api_expect(db, "a", "1");
		api_expect(db, "b", "2");
		api_expect(db, "c", "3");
		api_expect(db, "d", NULL);
		api_db_reopen();
	}
	ops[2].if_seq = seq;
	ck_assert_int_eq(
	    kvlog_apply(db, ops, COUNT(ops), NULL, NULL, NULL), KVLOG_OK);
	api_expect(db, "b", NULL);
	api_expect(db, "c", "new");
}
END_TEST

START_TEST(wrong_steps_are_named)
{
	static char key[KVLOG_KEY_MAX + 1];
	struct kvlog_op ops[3];
	struct kvlog_error err;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	size_t failed;

	how.err = &err;
#define TRY(n, change, result)                                                 \
	do {                                                                   \
		ops[0] = put_op("a", "1");                                     \
		ops[1] = delete_op("b");                                       \
		ops[2] = put_op("c", "1");                                     \
		change;                                                        \
		failed = 77;                                                   \
		memset(&err, 0, sizeof err);                                   \
		ck_assert_int_eq(                                              \
		    kvlog_apply(db, ops, 3, &how, NULL, &failed), result);     \
		ck_assert_uint_eq(failed, n);                                  \
		ck_assert_int_eq(err.status, result);                          \
	} while (0)
	TRY(0, ops[0].key_len = 0, KVLOG_INVAL);
	TRY(1, ops[1].key = NULL, KVLOG_INVAL);
	TRY(2, ops[2].value = NULL, KVLOG_INVAL);
	TRY(1, ops[1].type = (enum kvlog_op_type)0, KVLOG_INVAL);
	TRY(1, ops[1].type = (enum kvlog_op_type)3, KVLOG_INVAL);
	TRY(0, ops[0].condition = (enum kvlog_condition)4, KVLOG_INVAL);
	TRY(1, ops[1].key = key; ops[1].key_len = sizeof key, KVLOG_TOOBIG);
	if (SIZE_MAX > KVLOG_VALUE_MAX)
		TRY(2, ops[2].value_len = (size_t)KVLOG_VALUE_MAX + 1,
		    KVLOG_TOOBIG);
#undef TRY
	ops[0].key_len = 0;
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 3, NULL, NULL, NULL), KVLOG_INVAL);
	ck_assert_uint_eq(api_count(db), 0);
	ck_assert_uint_eq(kvlog_last_seq(db), 0);
}
END_TEST

START_TEST(refuses_nothing_to_do_and_a_condition_of_its_own)
{
	struct kvlog_op op = put_op("a", "1");
	struct kvlog_write how = KVLOG_WRITE_INIT;
	size_t failed = 77;

	ck_assert_int_eq(
	    kvlog_apply(db, &op, 0, NULL, NULL, &failed), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_apply(db, NULL, 1, NULL, NULL, &failed), KVLOG_INVAL);
	/* More than fit into memory: none is looked at. */
	ck_assert_int_eq(
	    kvlog_apply(db, &op, SIZE_MAX, NULL, NULL, &failed), KVLOG_NOMEM);
	how.condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(
	    kvlog_apply(db, &op, 1, &how, NULL, &failed), KVLOG_INVAL);
	ck_assert_uint_eq(failed, 77);
	api_expect(db, "a", NULL);
}
END_TEST

START_TEST(a_damaged_record_stops_a_batch_that_asks_for_it)
{
	struct kvlog_receipt r = api_put(db, "b", "value");
	char *path = files_path(api_store, "00000001.seg");
	struct kvlog_op ops[] = {put_op("a", "1"), put_op("b", "2")};
	size_t failed = 77;

	files_flip(path, (size_t)r.offset, 0);
	ops[1].condition = KVLOG_IF_PRESENT;
	ck_assert_int_eq(
	    kvlog_apply(db, ops, 2, NULL, NULL, &failed), KVLOG_CORRUPT);
	ck_assert_uint_eq(failed, 1);
	api_expect(db, "a", NULL);
	ops[1].condition = KVLOG_IF_ANY;
	ck_assert_int_eq(kvlog_apply(db, ops, 2, NULL, NULL, NULL), KVLOG_OK);
	api_expect(db, "b", "2");
	free(path);
}
END_TEST

/* A batch never spans segments: it gets one of its own size. */
START_TEST(a_batch_may_be_larger_than_a_segment)
{
	enum { OPS = 5000 };
	static char keys[OPS][16];
	static struct kvlog_op ops[OPS];
	static char value[100];
	struct kvlog_receipt r;

	memset(value, 'v', sizeof value);
	api_put(db, "before", "1");
	for (unsigned i = 0; i < OPS; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "key%u", i);
		ops[i] = put_op(keys[i], "");
		ops[i].value = value;
		ops[i].value_len = sizeof value;
	}
	ck_assert_int_eq(kvlog_apply(db, ops, OPS, NULL, &r, NULL), KVLOG_OK);
	ck_assert_uint_eq(r.segment, 2);
	ck_assert_uint_eq(kvlog_last_seq(db), 2);
	api_put(db, "after", "1");
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_uint_eq(api_count(db), OPS + 2);
		for (unsigned i = 0; i < OPS; i += 7) {
			struct kvlog_info info;

			ck_assert_int_eq(
			    kvlog_lookup(db, keys[i], strlen(keys[i]), &info),
			    KVLOG_OK);
			ck_assert_uint_eq(info.segment, r.segment);
			ck_assert_uint_eq(info.value_len, sizeof value);
		}
		api_db_reopen();
	}
}
END_TEST

/* Of a batch whose last record is torn off nothing is seen. */
START_TEST(a_torn_batch_is_gone_as_a_whole)
{
	struct kvlog_op ops[] = {
	    put_op("a", "new"), delete_op("b"), put_op("c", "new")};
	static const uint8_t zeros[4096];
	char *segment = files_path(api_store, "00000001.seg");
	char *lock = files_path(api_store, "kvlog.lock");
	struct kvlog_receipt r;
	struct tree tree;

	api_put(db, "a", "1");
	api_put(db, "b", "2");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_apply(db, ops, COUNT(ops), NULL, &r, NULL), KVLOG_OK);
	tree_read(api_store, &tree); /* as a crash may leave it */
	api_close(db);

	for (unsigned last = 0; last < 3; last++) {
		size_t off = (size_t)r.offset;

		tree_write(api_store, &tree);
		(void)unlink(lock); /* with the page gone: another boot */
		if (last >= 1)
			off += (size_t)api_record_size(1, 3);
		if (last >= 2)
			off += (size_t)api_record_size(1, 0);
		files_patch(segment, off, zeros, 256);
		db = api_open(api_store, 0);
		ck_assert_uint_eq(
		    api_stats(db).recovery & KVLOG_RECOVERY_DAMAGE, 0);
		api_expect(db, "a", "1");
		api_expect(db, "b", "2");
		api_expect(db, "c", NULL);
		ck_assert_uint_gt(api_put(db, "d", "4").seq, r.seq);
		api_close(db);
	}
	tree_write(api_store, &tree);
	db = api_open(api_store, 0);
	api_expect(db, "a", "new");
	api_expect(db, "b", NULL);
	api_expect(db, "c", "new");
	tree_fini(&tree);
	free(segment);
	free(lock);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("batch");
	TCase *tc = tcase_create("batch");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, steps_share_one_number);
	tcase_add_test(tc, later_steps_on_a_key_win);
	tcase_add_test(tc, deleting_an_absent_key_is_no_error);
	tcase_add_test(tc, conditions_are_those_before_the_batch);
	tcase_add_test(tc, a_step_that_does_not_hold_stops_all);
	tcase_add_test(tc, wrong_steps_are_named);
	tcase_add_test(tc, refuses_nothing_to_do_and_a_condition_of_its_own);
	tcase_add_test(tc, a_damaged_record_stops_a_batch_that_asks_for_it);
	tcase_add_test(tc, a_batch_may_be_larger_than_a_segment);
	tcase_add_test(tc, a_torn_batch_is_gone_as_a_whole);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
