/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bucket.c - buckets where something goes wrong: the records of their
 * names are damaged, a process dies while another one's transaction creates
 * them, or memory ends while it is learned that one was dropped.
 */
#include "config.h"

#include "closing.h"
#include "makelog.h"
#include "record.h"
#include "store.h"

#include <errno.h>
#include <inttypes.h>

#define STORE MAKELOG_STORE
#define SAVED "/saved"
#define ONE "00000001.seg"

static struct kvlog *db;
static struct kvlog_error err;
static enum kvlog_index_mode mode;

static void
open_store(unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.durability = KVLOG_DURABILITY_NONE;
	o.index_mode = mode;
	o.timeout_ms = 0;
	ck_assert_msg(
	    kvlog_open(STORE, &o, &db, &err) == KVLOG_OK, "open: %s", err.text);
}

static void
close_store(void)
{
	MAKELOG_OK(kvlog_close(db, &err));
	ck_assert_uint_eq(simos_leaks(stderr), 0);
}

/* Damage to the catalogue */

static const char *const names[] = {"kept", "lost", "whole"};
#define NAMES (sizeof names / sizeof names[0])

/* Create a bucket with one key; where its record is. */
static uint64_t
create(const char *name)
{
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_txn *txn;
	struct kvlog *bucket;

	MAKELOG_OK(kvlog_txn_begin(db, NULL, &txn, &err));
	MAKELOG_OK(kvlog_txn_bucket_open(txn, name, strlen(name),
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &bucket, &err));
	MAKELOG_OK(kvlog_txn_commit(txn, NULL, &receipt));
	ck_assert_uint_eq(receipt.segment, 1);
	MAKELOG_OK(kvlog_put(bucket, "k", 1, name, strlen(name), NULL, NULL));
	MAKELOG_OK(kvlog_close(bucket, NULL));
	return receipt.offset;
}

/* So many segments that the first one is sealed and has a hint. */
static void
fill(void)
{
	static const uint8_t value[1500];
	bool more = true;

	for (unsigned i = 0; i < 8; i++)
		MAKELOG_OK(kvlog_put(
		    db, i % 2 == 0 ? "a" : "b", 1, value, 1500, NULL, NULL));
	while (more)
		MAKELOG_OK(kvlog_maintain(db, 0, &more));
}

/* Hit the value of one bucket's record, and another one's header: of that the
 * name, or what stands before it. */
static void
make_damaged(bool in_name)
{
	uint64_t kept, lost;

	open_store(KVLOG_OPEN_CREATE);
	kept = create("kept");
	lost = create("lost");
	(void)create("whole");
	fill();
	close_store();
	makelog_flip(ONE,
	    kept + RECORD_HEADER_SIZE + RECORD_BUCKET_LEN + strlen("kept") + 3);
	makelog_flip(
	    ONE, in_name ? lost + RECORD_HEADER_SIZE + RECORD_BUCKET_LEN + 1
			 : lost + 17);
}

/* What a bucket has, in whatever store. */
static void
expect_content(struct kvlog *handle, const char *name, const char *value)
{
	struct kvlog *bucket;
	char got[16];
	size_t len = 0;

	ck_assert_msg(kvlog_bucket_open(handle, name, strlen(name), 0, &bucket,
			  &err) == KVLOG_OK,
	    "%s: %s", name, err.text);
	MAKELOG_OK(kvlog_get(bucket, "k", 1, got, sizeof got, &len));
	ck_assert_uint_eq(len, strlen(value));
	ck_assert_mem_eq(got, value, len);
	MAKELOG_OK(kvlog_close(bucket, NULL));
}

static void
expect_reads(void)
{
	struct kvlog *bucket;
	struct kvlog_iter *iter;
	uint64_t last;
	unsigned shown = 0, corrupt = 0;
	enum kvlog_status st;

	open_store(0);
	last = kvlog_last_seq(db);
	expect_content(db, "whole", "whole");
	for (unsigned i = 0; i < 2; i++) {
		/* Nor is it made anew over what may be there. */
		for (unsigned create = 0; create < 2; create++) {
			memset(&err, 0, sizeof err);
			ck_assert_int_eq(
			    kvlog_bucket_open(db, names[i], strlen(names[i]),
				create * KVLOG_OPEN_CREATE, &bucket, &err),
			    KVLOG_CORRUPT);
			ck_assert_uint_eq(err.segment, 1);
			ck_assert_uint_ne(err.offset, 0);
		}
	}
	ck_assert_uint_eq(kvlog_last_seq(db), last);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "none", 4, 0, &bucket, &err), KVLOG_NOBUCKET);
	MAKELOG_OK(kvlog_bucket_list(db, &iter));
	while ((st = kvlog_iter_next(iter)) != KVLOG_NOTFOUND) {
		ck_assert(st == KVLOG_OK || st == KVLOG_CORRUPT);
		shown += st == KVLOG_OK;
		corrupt += st == KVLOG_CORRUPT;
	}
	kvlog_iter_destroy(iter);
	ck_assert_uint_ge(shown, 1);
	ck_assert_uint_ge(corrupt, 1);
	close_store();
}

/* Findings of damage in the first segment. */
static void
note_finding(void *arg, const struct kvlog_finding *finding)
{
	unsigned *found = arg;

	if (finding->damage && finding->segment == 1 &&
	    (finding->kind == KVLOG_FINDING_VALUE ||
		finding->kind == KVLOG_FINDING_RECORD))
		++*found;
}

static void
expect_verdict(void)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	unsigned found = 0;

	o.finding = note_finding;
	o.arg = &found;
	ck_assert_int_eq(kvlog_verify(STORE, &o, NULL, &err), KVLOG_CORRUPT);
	ck_assert_uint_ge(found, 2);
}

/* What is left is saved: where the id is damaged it is the commit's that
 * created the bucket, and where the name is, another one stands for it. */
static void
expect_salvage(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *saved;

	ck_assert_int_eq(
	    kvlog_salvage(STORE, SAVED, NULL, &report, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(report.saved_buckets, NAMES);
	ck_assert_uint_eq(report.lost_buckets, 1);
	o.flags = KVLOG_OPEN_READONLY;
	MAKELOG_OK(kvlog_open(SAVED, &o, &saved, &err));
	expect_content(saved, "kept", "kept");
	expect_content(saved, "lost-3-2", "lost");
	expect_content(saved, "whole", "whole");
	MAKELOG_OK(kvlog_close(saved, NULL));
}

/* _i: the index, where the header is hit, and how it is compacted. */
START_TEST(a_damaged_name_costs_no_contents)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};

	mode = _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	make_damaged(_i / 2 % 2 == 1);
	expect_reads();
	expect_verdict();
	o.flags = KVLOG_COMPACT_ALL;
	if (_i < 4) {
		MAKELOG_OK(kvlog_compact_offline(STORE, &o, &report, &err));
	} else {
		open_store(0);
		fill();
		MAKELOG_OK(kvlog_compact(db, &o, &report, &err));
		close_store();
	}
	ck_assert_uint_eq(report.damaged_segment, 1);
	expect_reads();
	expect_verdict();
	expect_salvage();
}
END_TEST

/* Two that one commit created: the sum of a damaged id tells whether it was the
 * one of a record. */
START_TEST(contents_of_damaged_ids_stay_apart)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog *one, *two, *saved;
	struct kvlog_txn *txn;
	uint64_t off;

	mode = KVLOG_INDEX_MEMORY;
	open_store(KVLOG_OPEN_CREATE);
	MAKELOG_OK(kvlog_txn_begin(db, NULL, &txn, &err));
	MAKELOG_OK(kvlog_txn_bucket_open(
	    txn, "one", 3, KVLOG_OPEN_CREATE, &one, &err));
	MAKELOG_OK(kvlog_txn_bucket_open(
	    txn, "two", 3, KVLOG_OPEN_CREATE, &two, &err));
	MAKELOG_OK(kvlog_txn_commit(txn, NULL, &receipt));
	MAKELOG_OK(kvlog_put(one, "k", 1, "first", 5, NULL, NULL));
	MAKELOG_OK(kvlog_put(two, "k", 1, "second", 6, NULL, NULL));
	MAKELOG_OK(kvlog_close(one, NULL));
	MAKELOG_OK(kvlog_close(two, NULL));
	close_store();
	off = receipt.offset + RECORD_HEADER_SIZE + RECORD_BUCKET_LEN + 3;
	makelog_flip(ONE, off + 5);
	makelog_flip(
	    ONE, off + 5 + record_size(RECORD_BUCKET, 3, RECORD_BUCKET_LEN));

	ck_assert_int_eq(
	    kvlog_salvage(STORE, SAVED, NULL, &report, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(report.saved_buckets, 2);
	ck_assert_uint_eq(report.lost_buckets, 0);
	ck_assert_uint_eq(report.saved_records, 2);
	o.flags = KVLOG_OPEN_READONLY;
	MAKELOG_OK(kvlog_open(SAVED, &o, &saved, &err));
	expect_content(saved, "one", "first");
	expect_content(saved, "two", "second");
	MAKELOG_OK(kvlog_close(saved, NULL));
}
END_TEST

static int
unlink_hint(void *arg, const char *name)
{
	const char *dot = strrchr(name, '.');

	if (dot != NULL && strcmp(dot, ".hint") == 0)
		ck_assert_int_eq(os->unlink(*(int *)arg, name), 0);
	return 0;
}

/* Nothing but the log tells then what it had, where it can be read. */
static void
remove_hints(void)
{
	int dir;

	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->list(dir, unlink_hint, &dir), 0);
	(void)os->close(dir);
}

/* Contents in other segments than the names, which are compacted.  _i: the
 * index; header or value, or the header with no hint that knows of it. */
START_TEST(compaction_drops_nothing_where_a_name_may_be_lost)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog *lost;
	const char *name;
	uint64_t off;

	mode = _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	open_store(KVLOG_OPEN_CREATE);
	off = create("lost");
	(void)create("kept");
	(void)create("whole");
	fill();
	MAKELOG_OK(kvlog_bucket_open(db, "lost", 4, 0, &lost, &err));
	MAKELOG_OK(kvlog_put(lost, "later", 5, "v", 1, NULL, NULL));
	MAKELOG_OK(kvlog_close(lost, NULL));
	fill();
	close_store();
	if (_i >= 4)
		remove_hints();
	makelog_flip(ONE, off + (_i / 2 != 1 ? 17
					     : RECORD_HEADER_SIZE +
						   RECORD_BUCKET_LEN + 4 + 3));
	o.flags = KVLOG_COMPACT_ALL;
	open_store(0);
	MAKELOG_OK(kvlog_compact(db, &o, &report, &err));
	ck_assert_uint_gt(report.run_count, 0);
	close_store();
	ck_assert_int_eq(
	    kvlog_salvage(STORE, SAVED, NULL, NULL, &err), KVLOG_CORRUPT);
	{
		struct kvlog_options open = KVLOG_OPTIONS_INIT;
		struct kvlog *saved;

		open.flags = KVLOG_OPEN_READONLY;
		MAKELOG_OK(kvlog_open(SAVED, &open, &saved, &err));
		name = _i / 2 != 1 ? "lost-1-1" : "lost";
		MAKELOG_OK(kvlog_bucket_open(
		    saved, name, strlen(name), 0, &lost, &err));
		MAKELOG_OK(kvlog_exists(lost, "later", 5));
		MAKELOG_OK(kvlog_exists(lost, "k", 1));
		MAKELOG_OK(kvlog_close(lost, NULL));
		MAKELOG_OK(kvlog_close(saved, NULL));
	}
}
END_TEST

/* Any byte of any file */

#define FILES_MAX 40
struct files {
	char names[FILES_MAX][DIR_NAME_LEN];
	unsigned count;
};

static int
note_file(void *arg, const char *name)
{
	struct files *files = arg;
	const char *dot = strrchr(name, '.');

	if (dot == NULL ||
	    (strcmp(dot, ".seg") != 0 && strcmp(dot, ".hint") != 0))
		return 0;
	ck_assert_uint_lt(files->count, FILES_MAX);
	(void)snprintf(files->names[files->count++], DIR_NAME_LEN, "%s", name);
	return 0;
}

static void
put(struct kvlog *handle, const char *value)
{
	MAKELOG_OK(kvlog_put(handle, "k", 1, value, strlen(value), NULL, NULL));
}

/* Two buckets whose key was put twice, and one that was dropped. */
static void
make_buckets(void)
{
	struct kvlog *buckets[3];

	open_store(KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 3; i++) {
		(void)create(names[i]);
		MAKELOG_OK(kvlog_bucket_open(
		    db, names[i], strlen(names[i]), 0, &buckets[i], &err));
	}
	fill();
	put(buckets[0], "newer");
	MAKELOG_OK(kvlog_bucket_drop(db, names[1], 4, NULL, NULL));
	put(buckets[2], "newer");
	for (unsigned i = 0; i < 3; i++)
		MAKELOG_OK(kvlog_close(buckets[i], NULL));
	fill();
	close_store();
}

/* Right, or said to be damaged; and what was there before only where opening
 * has said that this may be. */
static void
expect_no_wrong_value(const char *what)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	bool degraded;

	open_store(KVLOG_OPEN_READONLY);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	degraded = (stats.recovery & KVLOG_RECOVERY_DEGRADED) != 0;
	for (unsigned i = 0; i < 3; i++) {
		struct kvlog *bucket = NULL;
		char got[16];
		size_t len = 0;
		enum kvlog_status st = kvlog_bucket_open(
		    db, names[i], strlen(names[i]), 0, &bucket, &err);

		if (st == KVLOG_OK)
			st = kvlog_get(bucket, "k", 1, got, sizeof got, &len);
		(void)kvlog_close(bucket, NULL);
		if (st == KVLOG_CORRUPT)
			continue;
		if (i == 1 ? st == KVLOG_NOBUCKET
			   : st == KVLOG_OK && len == 5 &&
				 memcmp(got, "newer", 5) == 0)
			continue;
		ck_assert_msg(degraded, "%s: %s: %d", what, names[i], (int)st);
		ck_assert_msg(st == KVLOG_NOBUCKET || st == KVLOG_NOTFOUND ||
				  (st == KVLOG_OK && len == strlen(names[i]) &&
				      memcmp(got, names[i], len) == 0),
		    "%s: %s: never written (%d)", what, names[i], (int)st);
	}
	MAKELOG_OK(kvlog_close(db, &err));
}

START_TEST(a_flipped_byte_gives_no_wrong_value_of_a_bucket)
{
	struct files files = {.count = 0};
	struct simos_state *base;
	int dir;

	mode = _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	make_buckets();
	if (_i >= 2) /* another boot: the control page is not believed */
		simos_power_loss(SIMOS_LOSS_ALL, 1);
	base = simos_save();
	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->list(dir, note_file, &files), 0);
	ck_assert_uint_gt(files.count, 3);
	for (unsigned i = 0; i < files.count; i++) {
		char what[DIR_NAME_LEN + 60];
		const uint8_t *bytes;
		uint64_t size = 0;

		simos_restore(base);
		(void)snprintf(what, sizeof what, STORE "/%s", files.names[i]);
		ck_assert(simos_peek(what, &bytes, &size));
		for (uint64_t off = 0; off < size; off += 1 + off % 5) {
			simos_restore(base);
			simos_forget();
			makelog_flip(files.names[i], off);
			(void)snprintf(what, sizeof what, "%s + %" PRIu64,
			    files.names[i], off);
			expect_no_wrong_value(what);
		}
	}
	simos_restore(base);
	simos_forget();
	simos_state_free(base);
}
END_TEST

/* A process that dies while another one's transaction is open */

/* Stores a mark, which needs the turn and is no commit. */
static void
join(void *arg)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *other;

	(void)arg;
	o.flags = KVLOG_OPEN_NOTHREAD;
	o.timeout_ms = 0;
	MAKELOG_OK(kvlog_open(STORE, &o, &other, NULL));
	MAKELOG_OK(kvlog_sync(other));
	ck_assert(log_attest(&other->store->log));
	MAKELOG_OK(kvlog_close(other, NULL));
}

static struct kvlog_txn *
begin_to_create(struct kvlog **ret_bucket)
{
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn;

	o.idle_ms = 1000000;
	MAKELOG_OK(kvlog_txn_begin(db, &o, &txn, &err));
	MAKELOG_OK(kvlog_txn_bucket_open(
	    txn, "b", 1, KVLOG_OPEN_CREATE, ret_bucket, &err));
	MAKELOG_OK(kvlog_txn_put(txn, *ret_bucket, "k", 1, "v", 1, NULL));
	return txn;
}

/* Nothing is there of it, and it can be begun anew. */
static void
expect_refused(const struct kvlog_receipt *receipt, struct kvlog *made)
{
	struct kvlog *bucket;

	ck_assert_uint_eq(receipt->seq, 0);
	ck_assert_ptr_nonnull(strstr(err.text, "begin it anew"));
	ck_assert_int_eq(kvlog_exists(made, "k", 1), KVLOG_NOBUCKET);
	MAKELOG_OK(kvlog_close(made, NULL));
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, 0, &bucket, NULL), KVLOG_NOBUCKET);
	MAKELOG_OK(kvlog_txn_commit(begin_to_create(&made), NULL, NULL));
}

START_TEST(a_death_meanwhile_refuses_the_commit_that_creates_buckets)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	unsigned refused = 0;
	bool stopped = true;

	mode = _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	how.err = &err;
	for (uint64_t step = 1; stopped; step++) {
		struct kvlog_receipt receipt = {7, 7, 7};
		struct kvlog_txn *txn;
		struct kvlog *made;
		enum kvlog_status st;

		simos_fini();
		simos_init(1);
		open_store(KVLOG_OPEN_CREATE);
		MAKELOG_OK(kvlog_put(db, "a", 1, "x", 1, NULL, NULL));
		txn = begin_to_create(&made);
		simos_set_pid(5000);
		simos_stop_at(step, 1 + (unsigned)step % 3);
		stopped = simos_run(join, NULL);
		simos_stop_at(0, 0);
		simos_set_pid(4711);
		memset(&err, 0, sizeof err);
		st = kvlog_txn_commit(txn, &how, &receipt);
		if (st == KVLOG_CONFLICT) {
			refused++;
			expect_refused(&receipt, made);
		} else {
			ck_assert_msg(st == KVLOG_OK, "step %" PRIu64 ": %s",
			    step, err.text);
			MAKELOG_OK(kvlog_close(made, NULL));
		}
		expect_content(db, "b", "v");
		simos_kill(); /* what ran the other process knows us no more */
		simos_forget();
		open_store(0);
		expect_content(db, "b", "v");
		close_store();
	}
	ck_assert_uint_gt(refused, 0);
}
END_TEST

/* Another process drops the bucket, and compacts what has its newest record
 * but not what has an older one. */
static void
drop_and_compact(void *arg)
{
	struct kvlog_compact_options compact = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	static const uint8_t filler[1500];
	struct kvlog *other;

	(void)arg;
	o.flags = KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.timeout_ms = 0;
	MAKELOG_OK(kvlog_open(STORE, &o, &other, &err));
	MAKELOG_OK(kvlog_bucket_drop(other, "b", 1, NULL, NULL));
	for (unsigned i = 0; i < 8; i++)
		MAKELOG_OK(kvlog_put(other, "8", 1, filler, 1500, NULL, NULL));
	compact.threshold = 40;
	ck_assert_msg(kvlog_compact(other, &compact, &report, &err) == KVLOG_OK,
	    "compact: %s", err.text);
	ck_assert_uint_gt(report.run_count, 0);
	MAKELOG_OK(kvlog_close(other, NULL));
}

static struct kvlog_txn *
begin_to_read(struct kvlog **ret_bucket)
{
	static const uint8_t filler[1500];
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn;
	bool more = true;
	char key[8];

	MAKELOG_OK(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, ret_bucket, &err));
	MAKELOG_OK(kvlog_put(*ret_bucket, "k", 1, "old", 3, NULL, NULL));
	for (unsigned i = 0; i < 28; i++) {
		(void)snprintf(key, sizeof key, "%u", i < 8 ? i : 8);
		MAKELOG_OK(kvlog_put(db, key, 1, filler, 1500, NULL, NULL));
		if (i == 17)
			MAKELOG_OK(kvlog_put(
			    *ret_bucket, "k", 1, "new", 3, NULL, NULL));
	}
	while (more)
		MAKELOG_OK(kvlog_maintain(db, 0, &more));
	MAKELOG_OK(kvlog_close(*ret_bucket, NULL));
	close_store();
	open_store(0);
	MAKELOG_OK(kvlog_bucket_open(db, "b", 1, 0, ret_bucket, &err));
	o.flags = KVLOG_TXN_READ;
	MAKELOG_OK(kvlog_txn_begin(db, &o, &txn, &err));
	return txn;
}

/* The compaction is taken in, and then, or not for want of memory, what the
 * log has since. */
START_TEST(a_snapshot_does_not_believe_a_view_half_brought_up)
{
	bool failed = true;

	mode = _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	for (uint64_t n = 1; failed; n++) {
		struct kvlog_txn *txn;
		struct kvlog *bucket;
		const void *value = NULL;
		size_t len = 0;

		simos_fini();
		simos_init(1);
		open_store(KVLOG_OPEN_CREATE);
		txn = begin_to_read(&bucket);
		simos_set_pid(5000);
		ck_assert(!simos_run(drop_and_compact, NULL));
		simos_set_pid(4711);
		simos_fail(SIMOS_MALLOC, n, ENOMEM, true);
		failed = kvlog_exists(db, "0", 1) != KVLOG_OK;
		simos_fail_clear();
		MAKELOG_OK(kvlog_txn_get(txn, bucket, "k", 1, &value, &len));
		ck_assert_uint_eq(len, 3);
		ck_assert_msg(memcmp(value, "new", 3) == 0,
		    "allocation %" PRIu64 ": an older value", n);
		simos_kill(); /* what ran the other process knows us no more */
		simos_forget();
	}
}
END_TEST

static void
setup(void)
{
	simos_init(1);
}

static void
teardown(void)
{
	simos_fini();
}

int
main(void)
{
	Suite *suite = suite_create("bucket");
	TCase *tc = tcase_create("bucket");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_damaged_name_costs_no_contents, 0, 8);
	tcase_add_test(tc, contents_of_damaged_ids_stay_apart);
	tcase_add_loop_test(
	    tc, compaction_drops_nothing_where_a_name_may_be_lost, 0, 6);
	tcase_add_loop_test(
	    tc, a_flipped_byte_gives_no_wrong_value_of_a_bucket, 0, 4);
	tcase_add_loop_test(tc,
	    a_death_meanwhile_refuses_the_commit_that_creates_buckets, 0, 2);
	tcase_add_loop_test(
	    tc, a_snapshot_does_not_believe_a_view_half_brought_up, 0, 2);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
