/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_readonly.c - handles that only read: what they refuse, what they see
 * beside a writer, and that they change nothing.
 */
#include "config.h"

#include "api.h"

#include <sys/stat.h>
#include <unistd.h>

START_TEST(a_reader_refuses_to_write)
{
	struct kvlog_op op = {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "k", 1, "v", 1};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	api_put(db, "a", "1");
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	how.err = &err;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "v", 1, &how, NULL), KVLOG_READONLY);
	ck_assert_int_eq(err.status, KVLOG_READONLY);
	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, NULL), KVLOG_READONLY);
	ck_assert_int_eq(
	    kvlog_apply(db, &op, 1, NULL, NULL, NULL), KVLOG_READONLY);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_READONLY);
	ck_assert_int_eq(kvlog_maintain(db, 0, NULL), KVLOG_READONLY);
	api_expect(db, "a", "1");
	api_expect(db, "k", NULL);
	ck_assert_uint_eq(kvlog_last_seq(db), 1);
	ck_assert_uint_eq(kvlog_durable_seq(db), 1);
	ck_assert_int_eq(kvlog_wait_durable(db, 1, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, 2, 0), KVLOG_INVAL);
	api_close(db);
}
END_TEST

/* A read-only handle shows the store as it was when it was opened. */
START_TEST(readers_open_beside_a_writer)
{
	struct kvlog *readers[40];
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE);
	char key[16], value[64];

	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < 30; k++) {
			(void)snprintf(key, sizeof key, "k%u", k);
			(void)snprintf(value, sizeof value,
			    "round %u of a value with some length", i);
			api_put(writer, key, value);
		}
		(void)snprintf(key, sizeof key, "only%u", i);
		api_put(writer, key, "");
		readers[i] = api_open(api_store, KVLOG_OPEN_READONLY);
		ck_assert_uint_eq(api_stats(readers[i]).recovery &
				      ~(unsigned)KVLOG_RECOVERY_SCANNED,
		    0);
	}
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_uint_eq(kvlog_last_seq(readers[i]), 31 * (i + 1));
		ck_assert_uint_eq(api_count(readers[i]), 31 + i);
		(void)snprintf(value, sizeof value,
		    "round %u of a value with some length", i);
		api_expect(readers[i], "k7", value);
		(void)snprintf(key, sizeof key, "only%u", i + 1);
		api_expect(readers[i], key, NULL);
		api_keys(readers[i], "k29", value, sizeof value);
		ck_assert_str_eq(value, "k29 ");
	}
	api_close(writer);
	for (unsigned i = 0; i < 40; i++) {
		api_expect(readers[i], "only0", "");
		api_close(readers[i]);
	}
}
END_TEST

START_TEST(a_reader_sees_what_is_not_durable)
{
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader;
	uint64_t seq = api_put(writer, "a", "1").seq;

	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(reader, "a", "1");
	ck_assert_uint_eq(kvlog_last_seq(reader), seq);
	ck_assert_uint_lt(kvlog_durable_seq(reader), seq);
	ck_assert_int_eq(kvlog_wait_durable(reader, seq, 0), KVLOG_TIMEOUT);
	api_close(reader);
	api_close(writer);
}
END_TEST

/* Neither bytes nor names nor times: not even of the lock file. */
START_TEST(a_reader_changes_nothing)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct tree before, after;

	for (int i = 0; i < 300; i++)
		api_put(db, i % 2 ? "a" : "b", "fill the segments with this");
	api_close(db);
	for (int turn = 0; turn < 3; turn++) {
		tree_read(api_store, &before);
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		api_expect(db, "a", "fill the segments with this");
		api_close(db);
		tree_read(api_store, &after);
		ck_assert_uint_eq(before.count, after.count);
		for (size_t i = 0; i < before.count; i++) {
			ck_assert_str_eq(
			    before.files[i].name, after.files[i].name);
			ck_assert_uint_eq(
			    before.files[i].len, after.files[i].len);
			ck_assert_mem_eq(before.files[i].bytes,
			    after.files[i].bytes, before.files[i].len);
		}
		tree_fini(&before);
		tree_fini(&after);
		/* Next without hints, then without the lock file. */
		if (turn == 0) {
			ck_assert_uint_gt(files_remove_hints(api_store), 0);
		} else if (turn == 1) {
			char *path = files_path(api_store, "kvlog.lock");

			(void)unlink(path);
			free(path);
		}
	}
}
END_TEST

START_TEST(a_reader_may_leave_checksums_out)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_receipt r = api_put(db, "key", "value");
	char *path = files_path(api_store, "00000001.seg");
	char buf[8];
	size_t len;

	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY | KVLOG_OPEN_NOVERIFY);
	files_flip(path, (size_t)r.offset + 28 + 3, 0);
	ck_assert_int_eq(kvlog_get(db, "key", 3, buf, 8, &len), KVLOG_OK);
	ck_assert_mem_eq(buf, "walue", 5);
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(kvlog_get(db, "key", 3, buf, 8, &len), KVLOG_CORRUPT);
	api_close(db);
	free(path);
}
END_TEST

/* In files that nobody may write to.  (The superuser may; then this tells
 * little.) */
START_TEST(a_reader_needs_no_permission_to_write)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct tree tree;

	api_put(db, "a", "1");
	api_close(db);
	tree_read(api_store, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);

		ck_assert_int_eq(chmod(path, 0444), 0);
		free(path);
	}
	ck_assert_int_eq(chmod(api_store, 0555), 0);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "a", "1");
	api_close(db);
	ck_assert_int_eq(chmod(api_store, 0777), 0);
	tree_fini(&tree);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("readonly");
	TCase *tc = api_case(suite, "readonly");

	tcase_add_test(tc, a_reader_refuses_to_write);
	tcase_add_test(tc, readers_open_beside_a_writer);
	tcase_add_test(tc, a_reader_sees_what_is_not_durable);
	tcase_add_test(tc, a_reader_changes_nothing);
	tcase_add_test(tc, a_reader_may_leave_checksums_out);
	tcase_add_test(tc, a_reader_needs_no_permission_to_write);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
