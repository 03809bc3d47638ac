/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_txn.c - what a transaction holds, seen from inside.
 */
#include "config.h"

#include "api.h"
#include "txn.h"

static struct kvlog_error err;

static enum kvlog_status
put(struct kvlog_txn *txn, const char *key, size_t value_len)
{
	static char value[1000];
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = &err;
	return kvlog_txn_put(
	    txn, NULL, key, strlen(key), value, value_len, &how);
}

/* Of the real limit nobody has the memory. */
START_TEST(what_does_not_fit_into_a_commit_is_refused_at_once)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *bucket;
	struct kvlog_txn *txn;
	struct kvlog_receipt receipt;
	uint64_t save;

	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, &err), KVLOG_OK);
	ck_assert_uint_eq(txn->staged.commit_max, COMMIT_SIZE_MAX);
	txn->staged.commit_max = record_size(0, 1, 400) +
				 record_size(0, 1, 500) + record_size(0, 1, 0);
	ck_assert_int_eq(put(txn, "a", 400), KVLOG_OK);
	ck_assert_int_eq(put(txn, "b", 400), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_savepoint(txn, &save), KVLOG_OK);
	ck_assert_int_eq(put(txn, "c", 400), KVLOG_TOOBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "fit into a commit"));
	ck_assert_int_eq(put(txn, "b", 1000), KVLOG_TOOBIG);
	ck_assert_int_eq(kvlog_txn_bucket_open(txn,
			     "long name of a bucket, which is so "
			     "long that it takes more than is left: "
			     "100 bytes and some more of which "
			     "nobody has told the exact number",
			     136, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_TOOBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "fit into a commit"));
	/* It goes on, and its own keys can be written again. */
	ck_assert_int_eq(put(txn, "b", 500), KVLOG_OK);
	ck_assert_int_eq(put(txn, "c", 0), KVLOG_OK);
	ck_assert_int_eq(put(txn, "d", 0), KVLOG_TOOBIG);
	/* What is deleted that was never in the store takes nothing. */
	ck_assert_int_eq(kvlog_txn_delete(txn, NULL, "b", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(put(txn, "d", 500), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	ck_assert_int_eq(put(txn, "d", 500), KVLOG_TOOBIG);
	ck_assert_int_eq(put(txn, "a", 500), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, &receipt), KVLOG_OK);
	ck_assert_uint_eq(receipt.seq, 1);
	ck_assert_uint_eq(api_count(db), 2);
	api_close(db);
}
END_TEST

static Suite *
txn_suite(void)
{
	Suite *suite = suite_create("txn");
	TCase *tc = api_case(suite, "size");

	tcase_add_test(tc, what_does_not_fit_into_a_commit_is_refused_at_once);
	return suite;
}

int
main(void)
{
	return api_main(txn_suite);
}
