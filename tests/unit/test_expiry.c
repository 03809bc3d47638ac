/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_expiry.c - keys that have a value up to a time only: gone for everybody
 * at once, whatever has become of their records, and for good once a
 * compaction has judged them, wherever the clock goes.
 */
#include "config.h"

#include "api_db.h"
#include "os.h"

#include <stdatomic.h>

#define NOW UINT64_C(2000000000000) /* ms since 1970 */
#define LATER (NOW + 1000)

static struct kvlog_error err;
static _Atomic uint64_t clock_ms;
static uint64_t pace_ms; /* that pass with each look at the clock */

static uint64_t
read_clock(void)
{
	return atomic_fetch_add(&clock_ms, pace_ms);
}

/* The fixture: a store on a machine whose clock stands where a test says. */
static void
setup(void)
{
	static struct os_table clocked;

	clock_ms = NOW;
	pace_ms = 0;
	clocked = *os;
	clocked.clock_ms = read_clock;
	os = &clocked;
	api_db_setup();
}

static struct kvlog_receipt
put_until(
    struct kvlog *handle, const char *key, const char *value, uint64_t expires)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0};

	how.expires_ms = expires;
	how.err = &err;
	ck_assert_msg(kvlog_put(handle, key, strlen(key), value, strlen(value),
			  &how, &receipt) == KVLOG_OK,
	    "put %s: %s", key, err.text);
	return receipt;
}

static enum kvlog_status
put_if(struct kvlog *handle, const char *key, enum kvlog_condition condition,
    uint64_t seq)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.condition = condition;
	how.if_seq = seq;
	return kvlog_put(handle, key, strlen(key), "new", 3, &how, NULL);
}

static struct kvlog_compact_report
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};

	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_msg(kvlog_compact(db, &o, &report, &err) == KVLOG_OK,
	    "compact: %s", err.text);
	return report;
}

/* So much that everything before lies in sealed segments. */
static void
seal(void)
{
	static char value[3000];

	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(
		    kvlog_put(db, "~", 1, value, sizeof value, NULL, NULL),
		    KVLOG_OK);
	api_delete(db, "~");
}

/* 0: as it was written; 1: reopened; 2: compacted; 3: both. */
#define FORMS 4
static void
change_form(int form)
{
	if (form >= 2) {
		seal();
		(void)compact();
	}
	if (form % 2 == 1)
		api_db_reopen();
}

/* The keys of a walk, or of one backwards. */
static void
expect_walk(struct kvlog *handle, bool back, const char *keys)
{
	struct kvlog_iter *iter;

	ck_assert_int_eq(kvlog_iter_open(handle, NULL, &iter), KVLOG_OK);
	if (back)
		ck_assert_int_eq(kvlog_iter_last(iter), KVLOG_OK);
	api_expect_walk(iter, back, keys);
}

/* All that can be asked of k, which lies between a and z. */
static void
expect_there(struct kvlog *handle)
{
	struct kvlog_info info;

	api_expect(handle, "a", "first");
	api_expect(handle, "k", "new");
	api_expect(handle, "z", "last");
	ck_assert_int_eq(kvlog_lookup(handle, "k", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, LATER);
	ck_assert_int_eq(kvlog_lookup(handle, "a", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, 0);
	expect_walk(handle, false, "a k z ");
	expect_walk(handle, true, "z k a ");
	ck_assert_uint_eq(api_count(handle), 3);
	ck_assert_int_eq(
	    put_if(handle, "k", KVLOG_IF_ABSENT, 0), KVLOG_CONFLICT);
}

static void
expect_gone(struct kvlog *handle)
{
	struct kvlog_item items[] = {{.key = "z", .key_len = 1},
	    {.key = "k", .key_len = 1}, {.key = "a", .key_len = 1}};
	struct kvlog_info info;
	struct kvlog_pin *pin;
	const void *value;
	size_t len;

	api_expect(handle, "a", "first");
	api_expect(handle, "k", NULL);
	api_expect(handle, "z", "last");
	ck_assert_int_eq(kvlog_lookup(handle, "k", 1, &info), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_pin_create(handle, &pin), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_pin_get(pin, "k", 1, &value, &len), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_pin_get_many(pin, items, 3), KVLOG_OK);
	ck_assert_int_eq(items[0].status, KVLOG_OK);
	ck_assert_int_eq(items[1].status, KVLOG_NOTFOUND);
	ck_assert_int_eq(items[2].status, KVLOG_OK);
	kvlog_pin_destroy(pin);
	expect_walk(handle, false, "a z ");
	expect_walk(handle, true, "z a ");
	ck_assert_uint_eq(api_count(handle), 2);
}

/* What a write says that asks whether k has a value; seq wrote what it had. */
static void
expect_no_value_to_writes(struct kvlog *handle, uint64_t seq)
{
	struct kvlog_op ops[] = {
	    {.type = KVLOG_OP_PUT,
		.key = "other",
		.key_len = 5,
		.value = "x",
		.value_len = 1},
	    {.type = KVLOG_OP_PUT,
		.condition = KVLOG_IF_PRESENT,
		.key = "k",
		.key_len = 1},
	};
	size_t failed = 9;

	ck_assert_int_eq(
	    kvlog_delete(handle, "k", 1, NULL, NULL), KVLOG_NOTFOUND);
	ck_assert_int_eq(
	    put_if(handle, "k", KVLOG_IF_PRESENT, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_if(handle, "k", KVLOG_IF_SEQ, seq), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    kvlog_apply(handle, ops, 2, NULL, NULL, &failed), KVLOG_CONFLICT);
	ck_assert_uint_eq(failed, 1);
	api_expect(handle, "other", NULL);
	ops[1].condition = KVLOG_IF_ABSENT;
	ops[1].value = "2";
	ops[1].value_len = 1;
	ops[1].expires_ms = clock_ms; /* again at once */
	ck_assert_int_eq(
	    kvlog_apply(handle, ops, 2, NULL, NULL, NULL), KVLOG_OK);
	api_expect(handle, "k", NULL);
	ck_assert_int_eq(put_if(handle, "k", KVLOG_IF_SEQ, 0), KVLOG_OK);
	api_expect(handle, "k", "new");
}

static struct kvlog *
open_bucket(void)
{
	struct kvlog *bucket;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, &err),
	    KVLOG_OK);
	return bucket;
}

/* _i: the form at which it expires; and likewise in a bucket. */
START_TEST(what_expires_is_gone_for_all_at_once)
{
	bool in_bucket = _i >= FORMS;
	struct kvlog *handle = in_bucket ? open_bucket() : db;
	uint64_t seq;

	api_put(handle, "a", "first");
	api_put(handle, "k", "old");
	seal();
	seq = put_until(handle, "k", "new", LATER).seq;
	api_put(handle, "z", "last");
	if (in_bucket)
		kvlog_close(handle, NULL);
	change_form(_i % FORMS);
	handle = in_bucket ? open_bucket() : db;
	expect_there(handle);
	clock_ms = LATER - 1;
	expect_there(handle);
	clock_ms = LATER;
	expect_gone(handle);
	if (in_bucket)
		kvlog_close(handle, NULL);
	change_form(_i % FORMS);
	handle = in_bucket ? open_bucket() : db;
	expect_gone(handle);
	expect_no_value_to_writes(handle, seq);
	if (in_bucket)
		kvlog_close(handle, NULL);
}
END_TEST

START_TEST(another_put_ends_an_expiry)
{
	put_until(db, "ended", "1", LATER);
	api_put(db, "ended", "2");
	put_until(db, "put off", "1", LATER);
	put_until(db, "put off", "2", LATER + 1000);
	put_until(db, "deleted", "1", LATER);
	api_delete(db, "deleted");
	api_put(db, "begun", "1");
	put_until(db, "begun", "2", LATER);
	change_form(_i);
	clock_ms = LATER;
	api_expect(db, "ended", "2");
	api_expect(db, "put off", "2");
	api_expect(db, "deleted", NULL);
	api_expect(db, "begun", NULL);
	change_form(_i);
	clock_ms = NOW + 2000;
	api_expect(db, "ended", "2");
	api_expect(db, "put off", NULL);
	ck_assert_uint_eq(api_count(db), 1);
}
END_TEST

/* A walk is of one moment, also where the clock steps back. */
START_TEST(a_walk_shows_what_was_there_when_it_began)
{
	struct kvlog_iter *iter;
	size_t len;

	put_until(db, "k", "value", LATER);
	change_form(_i);
	ck_assert_int_eq(kvlog_iter_open(db, NULL, &iter), KVLOG_OK);
	clock_ms = LATER;
	api_expect(db, "k", NULL);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert_mem_eq(kvlog_iter_value(iter, &len), "value", 5);
	kvlog_iter_destroy(iter);
	ck_assert_int_eq(kvlog_iter_open(db, NULL, &iter), KVLOG_OK);
	clock_ms = NOW;
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_NOTFOUND);
	kvlog_iter_destroy(iter);
}
END_TEST

static enum kvlog_status
get_in(struct kvlog_txn *txn, const char *key)
{
	const void *value;
	size_t len;

	return kvlog_txn_get(txn, NULL, key, strlen(key), &value, &len);
}

static enum kvlog_status
put_in(struct kvlog_txn *txn, const char *key, enum kvlog_condition condition,
    uint64_t seq, uint64_t expires)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.condition = condition;
	how.if_seq = seq;
	how.expires_ms = expires;
	return kvlog_txn_put(txn, NULL, key, strlen(key), "new", 3, &how);
}

static void
expect_walk_in(struct kvlog_txn *txn, const char *keys)
{
	struct kvlog_iter *iter;

	ck_assert_int_eq(kvlog_txn_iter_open(txn, NULL, NULL, &iter), KVLOG_OK);
	api_expect_walk(iter, false, keys);
}

/* What a transaction that began before LATER sees of it: "gone" expired before,
 * the others would now. */
static void
expect_time_of_beginning(struct kvlog_txn *txn, uint64_t seq)
{
	struct kvlog_info info;

	ck_assert_int_eq(get_in(txn, "k"), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_lookup(txn, NULL, "k", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, LATER);
	ck_assert_int_eq(get_in(txn, "own"), KVLOG_OK);
	ck_assert_int_eq(get_in(txn, "gone"), KVLOG_NOTFOUND);
	ck_assert_int_eq(
	    put_in(txn, "k", KVLOG_IF_ABSENT, 0, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_in(txn, "k", KVLOG_IF_SEQ, seq + 100, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    put_in(txn, "gone", KVLOG_IF_PRESENT, 0, 0), KVLOG_CONFLICT);
	expect_walk_in(txn, "del k own ");
}

/* Whatever the clock does, and a compaction that would judge by it. */
START_TEST(a_transaction_keeps_the_time_of_its_beginning)
{
	struct kvlog_txn *txn;
	uint64_t seq, save;

	put_until(db, "gone", "1", NOW);
	seq = put_until(db, "k", "1", LATER).seq;
	put_until(db, "del", "1", LATER);
	change_form(_i);
	seal();
	clock_ms = LATER - 1;
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, &err), KVLOG_OK);
	ck_assert_int_eq(put_in(txn, "own", KVLOG_IF_ANY, 0, LATER), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_savepoint(txn, &save), KVLOG_OK);
	clock_ms = NOW - 1;
	expect_time_of_beginning(txn, seq);
	clock_ms = LATER;
	expect_time_of_beginning(txn, seq);
	api_expect(db, "k", NULL); /* to others it has expired */
	ck_assert_uint_eq(compact().records_expired, _i >= 2 ? 0 : 1);
	expect_time_of_beginning(txn, seq);
	ck_assert_int_eq(put_in(txn, "k", KVLOG_IF_SEQ, seq, 0), KVLOG_OK);
	ck_assert_int_eq(get_in(txn, "k"), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_delete(txn, NULL, "k", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_rollback_to(txn, save), KVLOG_OK);
	ck_assert_int_eq(put_in(txn, "k", KVLOG_IF_PRESENT, 0, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_delete(txn, NULL, "del", 3, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	api_expect(db, "k", "new");
	api_expect(db, "own", NULL);
	/* And nobody else is bound to it. */
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, &err), KVLOG_OK);
	expect_walk_in(txn, "k ");
	kvlog_txn_rollback(txn);
	seal();
	ck_assert_uint_eq(compact().records_expired, 1);
}
END_TEST

/* The clock goes on while they are judged. */
START_TEST(all_steps_of_an_operation_are_at_one_time)
{
	struct kvlog_op ops[] = {
	    {.type = KVLOG_OP_PUT,
		.condition = KVLOG_IF_PRESENT,
		.key = "k",
		.key_len = 1,
		.expires_ms = LATER},
	    {.type = KVLOG_OP_PUT,
		.condition = KVLOG_IF_PRESENT,
		.key = "l",
		.key_len = 1,
		.expires_ms = LATER},
	};
	struct kvlog_item items[] = {
	    {.key = "k", .key_len = 1}, {.key = "l", .key_len = 1}};
	struct kvlog_pin *pin;

	put_until(db, "k", "1", LATER);
	put_until(db, "l", "1", LATER);
	clock_ms = LATER - 1;
	pace_ms = 1;
	ck_assert_int_eq(kvlog_apply(db, ops, 2, NULL, NULL, NULL), KVLOG_OK);
	clock_ms = LATER - 1;
	ck_assert_int_eq(kvlog_pin_create(db, &pin), KVLOG_OK);
	ck_assert_int_eq(kvlog_pin_get_many(pin, items, 2), KVLOG_OK);
	ck_assert_int_eq(items[0].status, KVLOG_OK);
	ck_assert_int_eq(items[1].status, KVLOG_OK);
	kvlog_pin_destroy(pin);
}
END_TEST

/* A reader sees it by its own clock, without a word of the writer. */
START_TEST(readers_see_it_without_a_commit)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
	struct kvlog *reader;

	api_put(db, "a", "first");
	put_until(db, "k", "new", LATER);
	api_put(db, "z", "last");
	change_form(_i);
	reader = api_open_with(api_store, &o);
	api_expect(reader, "k", "new");
	ck_assert_uint_eq(api_count(reader), 3);
	clock_ms = LATER;
	expect_gone(reader);
	api_close(reader);
}
END_TEST

/* What is in older segments, which the compaction does not rewrite. */
START_TEST(compaction_never_revives_an_older_value)
{
	struct kvlog_compact_report report;

	api_put(db, "k", "old");
	api_put(db, "only", "old");
	seal();
	/* The segment of the old values has its place as the first. */
	put_until(db, "k", "new", LATER);
	put_until(db, "alone", "x", LATER);
	seal();
	clock_ms = LATER;
	report = compact();
	ck_assert_uint_ge(report.records_expired, 1);
	api_expect(db, "k", NULL);
	api_expect(db, "alone", NULL);
	api_expect(db, "only", "old");
	/* Not even where the clock goes back, nor by anybody else. */
	clock_ms = NOW;
	for (int form = 0; form < FORMS; form++) {
		change_form(form);
		api_expect(db, "k", NULL);
		api_expect(db, "alone", NULL);
		ck_assert_uint_eq(api_count(db), 1);
	}
}
END_TEST

/* Only the newer segments are rewritten, most of which is garbage: there the
 * record stays as a tombstone. */
START_TEST(an_expired_record_hides_what_is_older_elsewhere)
{
	static char value[1500];
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	char name[8];

	api_put(db, "k", "old");
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof name, "s%u", i);
		ck_assert_int_eq(
		    kvlog_put(db, name, 2, value, sizeof value, NULL, NULL),
		    KVLOG_OK);
	}
	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(
		    kvlog_put(db, "g", 1, value, sizeof value, NULL, NULL),
		    KVLOG_OK);
		if (i == 9)
			put_until(db, "k", "new", LATER);
	}
	clock_ms = LATER;
	o.threshold = 40;
	ck_assert_int_eq(kvlog_compact(db, &o, &report, &err), KVLOG_OK);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_uint_eq(report.records_expired, 0);
	clock_ms = NOW;
	api_expect(db, "k", NULL);
	api_db_reopen();
	api_expect(db, "k", NULL);
	ck_assert_uint_eq(api_count(db), 9);
}
END_TEST

/* What a compaction has judged stays judged, for all that expires up to then,
 * also for what it did not rewrite. */
START_TEST(the_clock_stepping_back_brings_nothing_back_that_was_judged)
{
	put_until(db, "judged", "x", NOW + 10);
	seal();
	clock_ms = LATER;
	ck_assert_uint_ge(compact().records_expired, 1);
	clock_ms = NOW;
	put_until(db, "before", "x", NOW + 20);
	put_until(db, "at", "x", LATER);
	put_until(db, "after", "x", LATER + 1);
	change_form(_i);
	api_expect(db, "judged", NULL);
	api_expect(db, "before", NULL);
	api_expect(db, "at", NULL);
	api_expect(db, "after", "x");
	expect_walk(db, false, "after ");
	ck_assert_uint_eq(api_count(db), 1);
	ck_assert_int_eq(put_if(db, "before", KVLOG_IF_ABSENT, 0), KVLOG_OK);
	clock_ms = LATER + 1;
	api_expect(db, "after", NULL);
	api_expect(db, "before", "new");
}
END_TEST

/* Where nothing was judged it is the clock alone. */
START_TEST(without_a_compaction_the_clock_decides)
{
	put_until(db, "k", "new", LATER);
	if (_i == 1)
		api_db_reopen();
	clock_ms = LATER;
	api_expect(db, "k", NULL);
	clock_ms = NOW;
	api_expect(db, "k", "new");
}
END_TEST

/* It is needless only where there is nothing that could come back. */
START_TEST(a_delete_in_a_transaction_outlasts_the_clock)
{
	struct kvlog_txn *txn;

	put_until(db, "k", "old", LATER);
	change_form(_i);
	clock_ms = LATER;
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, &err), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "k", 1, "new", 3, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_delete(txn, NULL, "k", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	clock_ms = NOW;
	api_expect(db, "k", NULL);
	api_db_reopen();
	api_expect(db, "k", NULL);
}
END_TEST

START_TEST(a_backup_keeps_when_keys_expire)
{
	char *path = files_path(api_base, "backup");
	struct kvlog *copy;
	struct kvlog_info info;

	put_until(db, "judged", "x", NOW + 10);
	seal();
	clock_ms = NOW + 500;
	change_form(_i);
	put_until(db, "k", "new", LATER);
	api_put(db, "a", "first");
	ck_assert_int_eq(kvlog_backup(db, path, NULL, NULL, &err), KVLOG_OK);
	clock_ms = _i >= 2 ? NOW : clock_ms;
	copy = api_open(path, 0);
	ck_assert_int_eq(kvlog_lookup(copy, "k", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, LATER);
	api_expect(copy, "judged", NULL);
	ck_assert_uint_eq(api_count(copy), 2);
	clock_ms = LATER;
	api_expect(copy, "k", NULL);
	ck_assert_uint_eq(api_count(copy), 1);
	api_close(copy);
	free(path);
}
END_TEST

static struct kvlog *
open_maintained(void)
{
	struct kvlog_options o =
	    api_options(KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);

	o.segment_size = 65536;
	o.compact_bytes = 65536;
	return api_open_with(api_store, &o);
}

static void
maintain(void)
{
	bool more = true;

	for (unsigned i = 0; more; i++) {
		ck_assert_uint_lt(i, 10000);
		ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
	}
}

static uint64_t
bytes_in_segments(void)
{
	struct kvlog_stats stats = api_stats(db);

	return stats.live_bytes + stats.dead_bytes;
}

/* 300 of 500 keys go, without another write but for the drop itself: dropped
 * or expired; written by this handle or by an earlier one. */
START_TEST(what_goes_without_a_write_is_reclaimed)
{
	static char value[1000];
	bool expires = _i % 2 == 1, reopened = _i >= 2;
	struct kvlog *bucket;
	uint64_t before;

	api_close(db);
	db = open_maintained();
	bucket = open_bucket();
	for (unsigned i = 0; i < 500; i++) {
		struct kvlog_write how = KVLOG_WRITE_INIT;
		bool goes = i % 5 < 3;
		char key[16];
		int len = snprintf(key, sizeof key, "key %u", i);

		how.expires_ms = expires && goes ? LATER : 0;
		ck_assert_int_eq(
		    kvlog_put(goes && !expires ? bucket : db, key, (size_t)len,
			value, sizeof value, &how, NULL),
		    KVLOG_OK);
		maintain();
	}
	kvlog_close(bucket, NULL);
	if (reopened) {
		api_close(db);
		db = open_maintained();
	}
	maintain();
	before = bytes_in_segments();
	ck_assert_uint_gt(before, 500000);
	clock_ms = LATER - 1;
	maintain();
	ck_assert_uint_eq(bytes_in_segments(), before);
	if (!expires)
		ck_assert_int_eq(
		    kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
	clock_ms = LATER + 1000;
	maintain();
	ck_assert_uint_lt(bytes_in_segments(), before * 2 / 3);
	ck_assert_uint_eq(api_count(db), 200);
	/* And that is that. */
	before = api_stats(db).compact_runs;
	for (unsigned i = 0; i < 3; i++) {
		clock_ms += 5000;
		maintain();
	}
	ck_assert_uint_eq(api_stats(db).compact_runs, before);
}
END_TEST

/* Compaction offline is the same one. */
START_TEST(compaction_offline_drops_it)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};

	put_until(db, "k", "new", LATER);
	api_put(db, "a", "first");
	seal();
	api_close(db);
	clock_ms = LATER;
	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, &report, &err), KVLOG_OK);
	ck_assert_uint_eq(report.records_expired, 1);
	clock_ms = NOW;
	db = api_open(api_store, 0);
	api_expect(db, "k", NULL);
	ck_assert_uint_eq(api_count(db), 1);
}
END_TEST

START_TEST(a_delete_cannot_expire)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_op op = {.type = KVLOG_OP_DELETE,
	    .key = "k",
	    .key_len = 1,
	    .expires_ms = LATER};

	api_put(db, "k", "x");
	how.expires_ms = LATER;
	ck_assert_int_eq(kvlog_delete(db, "k", 1, &how, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_apply(db, &op, 1, NULL, NULL, NULL), KVLOG_INVAL);
	api_expect(db, "k", "x");
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *s = suite_create("expiry");
	TCase *tc = tcase_create("expiry");

	tcase_add_checked_fixture(tc, setup, api_db_teardown);
	tcase_add_loop_test(
	    tc, what_expires_is_gone_for_all_at_once, 0, 2 * FORMS);
	tcase_add_loop_test(tc, another_put_ends_an_expiry, 0, FORMS);
	tcase_add_loop_test(
	    tc, a_walk_shows_what_was_there_when_it_began, 0, FORMS);
	tcase_add_loop_test(
	    tc, a_transaction_keeps_the_time_of_its_beginning, 0, FORMS);
	tcase_add_test(tc, all_steps_of_an_operation_are_at_one_time);
	tcase_add_loop_test(tc, readers_see_it_without_a_commit, 0, FORMS);
	tcase_add_test(tc, compaction_never_revives_an_older_value);
	tcase_add_test(tc, an_expired_record_hides_what_is_older_elsewhere);
	tcase_add_loop_test(tc,
	    the_clock_stepping_back_brings_nothing_back_that_was_judged, 0,
	    FORMS);
	tcase_add_loop_test(tc, without_a_compaction_the_clock_decides, 0, 2);
	tcase_add_loop_test(
	    tc, a_delete_in_a_transaction_outlasts_the_clock, 0, FORMS);
	tcase_add_loop_test(tc, a_backup_keeps_when_keys_expire, 0, FORMS);
	tcase_add_loop_test(tc, what_goes_without_a_write_is_reclaimed, 0, 4);
	tcase_add_test(tc, compaction_offline_drops_it);
	tcase_add_test(tc, a_delete_cannot_expire);
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	return api_main(make_suite);
}
