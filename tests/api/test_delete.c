/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_delete.c - removing keys, for good.
 */
#include "config.h"

#include "api_db.h"

START_TEST(a_deleted_key_is_gone)
{
	struct kvlog_receipt r = {7, 7, 7};
	uint64_t seq;

	seq = api_put(db, "a", "1").seq;
	api_put(db, "b", "2");
	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, &r), KVLOG_OK);
	ck_assert_uint_eq(r.seq, seq + 2);
	ck_assert_uint_eq(r.segment, 1);
	ck_assert_uint_eq(kvlog_last_seq(db), seq + 2);
	for (int turn = 0; turn < 2; turn++) {
		api_expect(db, "a", NULL);
		api_expect(db, "b", "2");
		ck_assert_uint_eq(api_count(db), 1);
		api_db_reopen();
	}
	api_put(db, "a", "again");
	api_db_reopen();
	api_expect(db, "a", "again");
	ck_assert_uint_eq(api_count(db), 2);
}
END_TEST

START_TEST(deleting_what_is_absent_writes_nothing)
{
	struct kvlog_receipt r = {7, 7, 7};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_stats before;

	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, &r), KVLOG_NOTFOUND);
	api_put(db, "a", "1");
	api_delete(db, "a");
	before = api_stats(db);
	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, &r), KVLOG_NOTFOUND);
	how.condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(kvlog_delete(db, "a", 1, &how, &r), KVLOG_NOTFOUND);
	ck_assert_uint_eq(r.seq, 7); /* untouched */
	ck_assert_uint_eq(kvlog_last_seq(db), before.last_seq);
	ck_assert_uint_eq(api_stats(db).dead_bytes, before.dead_bytes);
}
END_TEST

START_TEST(refuses_what_put_refuses)
{
	static uint8_t key[KVLOG_KEY_MAX + 1];
	struct kvlog_write how = KVLOG_WRITE_INIT;

	ck_assert_int_eq(kvlog_delete(db, "a", 0, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_delete(db, NULL, 1, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_delete(db, key, sizeof key, NULL, NULL), KVLOG_TOOBIG);
	how.size = 1;
	ck_assert_int_eq(kvlog_delete(db, "a", 1, &how, NULL), KVLOG_INVAL);
}
END_TEST

/* The tombstone lies many segments behind the value, or in the same one; the
 * index comes from hints, or from records. */
START_TEST(deleted_keys_do_not_come_back)
{
	char key[32];

	for (unsigned i = 0; i < 400; i++) {
		(void)snprintf(key, sizeof key, "key-%u", i);
		api_put(db, key, "a value of forty bytes, about, or less");
	}
	for (unsigned i = 0; i < 400; i += 3) {
		(void)snprintf(key, sizeof key, "key-%u", i);
		api_delete(db, key);
	}
	for (unsigned i = 0; i < 400; i += 6) {
		(void)snprintf(key, sizeof key, "key-%u", i);
		api_put(db, key, "back");
		if (i % 4 == 0)
			api_delete(db, key);
	}
	for (int turn = 0; turn < 3; turn++) {
		unsigned count = 0;

		for (unsigned i = 0; i < 400; i++) {
			const char *value =
			    "a value of forty bytes, about, or less";

			if (i % 3 == 0)
				value =
				    i % 6 == 0 && i % 4 != 0 ? "back" : NULL;
			(void)snprintf(key, sizeof key, "key-%u", i);
			api_expect(db, key, value);
			count += value != NULL;
		}
		ck_assert_uint_eq(api_count(db), count);
		api_db_reopen();
		if (turn == 0) {
			/* Without hints. */
			struct tree tree;

			ck_assert_uint_gt(api_stats(db).hint_count, 0);
			api_close(db);
			tree_read(api_store, &tree);
			for (size_t i = 0; i < tree.count; i++) {
				char *path =
				    files_path(api_store, tree.files[i].name);

				if (strstr(path, ".hint") != NULL)
					(void)remove(path);
				free(path);
			}
			tree_fini(&tree);
			db = api_open(api_store, 0);
			ck_assert_uint_eq(api_stats(db).hint_count, 0);
			ck_assert_uint_ne(
			    api_stats(db).recovery & KVLOG_RECOVERY_SCANNED, 0);
		}
	}
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("delete");
	TCase *tc = tcase_create("delete");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, a_deleted_key_is_gone);
	tcase_add_test(tc, deleting_what_is_absent_writes_nothing);
	tcase_add_test(tc, refuses_what_put_refuses);
	tcase_add_test(tc, deleted_keys_do_not_come_back);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
