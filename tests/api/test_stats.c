/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_stats.c - the numbers add up.
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#if defined __GLIBC__
#include <malloc.h>
#endif

#define ROUNDS 12u

/* What the test keeps count of. */
struct sums {
	uint64_t live, all; /* bytes of records */
	unsigned count;
};

static uint64_t sizes[64]; /* of the newest record of each key; 0: none */

static void
check(struct kvlog *db, const struct sums *sums, uint64_t marks)
{
	struct kvlog_stats s = api_stats(db);
	struct tree tree;
	uint64_t bytes = 0;

	ck_assert_uint_eq(s.size, sizeof s);
	ck_assert_uint_eq(s.record_count, sums->count);
	ck_assert_uint_eq(s.record_count, api_count(db));
	ck_assert_uint_eq(s.live_bytes, sums->live);
	ck_assert_uint_eq(s.live_bytes + s.dead_bytes, sums->all + marks);
	ck_assert_uint_eq(s.last_seq, kvlog_last_seq(db));
	ck_assert_uint_eq(s.durable_seq, kvlog_durable_seq(db));
	ck_assert_uint_le(s.durable_seq, s.last_seq);
	ck_assert_int_eq(s.index_mode, api_index);
	ck_assert_uint_gt(s.index_bytes, 0);
	ck_assert_uint_lt(s.free_bytes, API_SMALL);
	ck_assert_uint_eq(s.active_segment, s.segment_count);
	ck_assert_uint_eq(s.segment_size, API_SMALL);
	ck_assert_uint_le(s.hint_count, s.segment_count);
	ck_assert_uint_eq(s.damaged_bytes, 0);
	ck_assert_uint_eq(s.damaged_ranges, 0);
	ck_assert_uint_gt(s.recovery_ns, 0);
	ck_assert_uint_gt(strlen(s.recovery_text), 0);

	tree_read(api_store, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);
		struct stat st;

		ck_assert_int_eq(stat(path, &st), 0);
		bytes += (uint64_t)st.st_blocks * 512;
		free(path);
	}
	tree_fini(&tree);
	ck_assert_uint_eq(s.file_bytes, bytes);
}

START_TEST(live_and_dead_bytes_add_up)
{
	struct kvlog *db =
	    api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	struct sums sums = {0, 0, 0};
	static char value[512];
	struct rng rng;

	memset(value, 'v', sizeof value);
	rng_init(&rng, 3);
	check(db, &sums, 0);
	for (int turn = 0; turn < 4; turn++) {
		for (int i = 0; i < 200; i++) {
			unsigned k = (unsigned)rng_below(&rng, 64);
			size_t len = (size_t)rng_below(&rng, sizeof value);
			char key[8];
			size_t key_len =
			    (size_t)snprintf(key, sizeof key, "%u", k);

			sums.live -= sizes[k];
			if (sizes[k] > 0 && rng_below(&rng, 5) == 0) {
				api_delete(db, key);
				sizes[k] = 0;
				sums.count--;
				sums.all += api_record_size(key_len, 0);
				continue;
			}
			ck_assert_int_eq(
			    kvlog_put(db, key, key_len, value, len, NULL, NULL),
			    KVLOG_OK);
			sums.count += sizes[k] == 0;
			sizes[k] = api_record_size(key_len, len);
			sums.live += sizes[k];
			sums.all += sizes[k];
			if (i % 50 == 0)
				check(db, &sums, (uint64_t)turn * 32);
		}
		check(db, &sums, (uint64_t)turn * 32);
		api_close(db); /* which leaves one mark of 32 bytes */
		db = api_open(api_store, KVLOG_OPEN_NOTHREAD);
		check(db, &sums, (uint64_t)(turn + 1) * 32);
	}
	api_close(db);
}
END_TEST

START_TEST(free_bytes_shrink_by_what_is_written)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	uint64_t before = api_stats(db).free_bytes;

	ck_assert_uint_eq(before, API_SMALL - 4608);
	api_put(db, "0123456789abcdef", "0123456789");
	ck_assert_uint_eq(
	    api_stats(db).free_bytes, before - api_record_size(16, 10));
	api_close(db);
}
END_TEST

/* Keys of all buckets are counted, and what snapshots keep is told. */
START_TEST(buckets_and_snapshots_are_told)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *bucket;
	struct kvlog_compact_options all = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn;
	struct kvlog_stats s;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, NULL),
	    KVLOG_OK);
	api_put(db, "one", "1");
	api_put(bucket, "two", "2");
	api_put(bucket, "three", "3");
	s = api_stats(db);
	ck_assert_uint_eq(s.record_count, 3);
	ck_assert_uint_eq(s.snapshot_count, 0);
	/* Also where hints cover all. */
	ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
	all.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &all, NULL, NULL), KVLOG_OK);
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_uint_eq(api_stats(db).record_count, 3);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, 0, &bucket, NULL), KVLOG_OK);
	o.flags = KVLOG_TXN_READ;
	ck_assert_int_eq(kvlog_txn_begin(db, &o, &txn, NULL), KVLOG_OK);
	api_put(db, "one", "more");
	s = api_stats(db);
	ck_assert_uint_eq(s.snapshot_count, 1);
	ck_assert_uint_eq(s.snapshot_oldest_seq, 4);
	kvlog_txn_rollback(txn);
	ck_assert_int_eq(kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
	s = api_stats(db);
	ck_assert_uint_eq(s.record_count, 1);
	ck_assert_uint_eq(s.snapshot_count, 0);
	ck_assert_uint_eq(s.snapshot_oldest_seq, 0);
	ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
	api_close(db);
}
END_TEST

START_TEST(what_recovery_did_is_told)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_stats s;

	for (int i = 0; i < 200; i++)
		api_put(db, "key", "a value of a length that fills");
	s = api_stats(db);
	ck_assert_uint_eq(s.recovery, 0);
	ck_assert_str_eq(s.recovery_text, "none needed");
	api_close(db);
	ck_assert_uint_eq(files_remove_hints(api_store), 1);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	s = api_stats(db);
	ck_assert_uint_eq(s.recovery, KVLOG_RECOVERY_SCANNED);
	ck_assert_ptr_nonnull(strstr(s.recovery_text, " segment"));
	api_close(db);
}
END_TEST

/* What is freed is garbage at once, so that who looks at it is found out. */
static void
spoil_freed_memory(void)
{
#if defined __GLIBC__
	(void)mallopt(M_PERTURB, 0x5a);
#endif
}

#define ASKERS 2
static _Atomic bool asked_enough;

/* What snapshots cost, again and again: not more than all that was written. */
static void *
ask(void *arg)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	uint64_t times = 0;

	while (!atomic_load(&asked_enough)) {
		ck_assert_int_eq(kvlog_stats_get(arg, &stats), KVLOG_OK);
		ck_assert_uint_le(stats.snapshot_count, 1);
		ck_assert_uint_le(stats.snapshot_file_bytes, UINT64_C(1) << 32);
		times += stats.snapshot_file_bytes > 0;
	}
	return times > 0 ? arg : NULL;
}

/* Each keeps segments that are replaced, and that go with it. */
START_TEST(snapshots_end_beside_those_who_ask_for_their_cost)
{
	static const char value[2000];
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_txn_options read = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog *db;
	pthread_t threads[ASKERS];
	bool seen = false;

	spoil_freed_memory();
	db = api_open(api_store, KVLOG_OPEN_CREATE);
	how.flags = KVLOG_COMPACT_ALL;
	read.flags = KVLOG_TXN_READ;
	for (unsigned i = 0; i < ASKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, db), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct kvlog_write none = KVLOG_WRITE_INIT;
		struct kvlog_txn *txn;
		char key[8];

		none.durability = KVLOG_DURABILITY_NONE;
		for (unsigned i = 0; i < 40; i++) {
			int len = snprintf(key, sizeof key, "%u", i);

			ck_assert_int_eq(kvlog_put(db, key, (size_t)len, value,
					     sizeof value, &none, NULL),
			    KVLOG_OK);
		}
		ck_assert_int_eq(
		    kvlog_txn_begin(db, &read, &txn, NULL), KVLOG_OK);
		ck_assert_int_eq(kvlog_compact(db, &how, NULL, NULL), KVLOG_OK);
		kvlog_txn_rollback(txn);
	}
	atomic_store(&asked_enough, true);
	for (unsigned i = 0; i < ASKERS; i++) {
		void *result = NULL;

		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		seen |= result != NULL;
	}
	ck_assert(seen);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("stats");
	TCase *tc = api_case(suite, "stats");

	tcase_add_test(tc, live_and_dead_bytes_add_up);
	tcase_add_test(tc, free_bytes_shrink_by_what_is_written);
	tcase_add_test(tc, buckets_and_snapshots_are_told);
	tcase_add_test(tc, snapshots_end_beside_those_who_ask_for_their_cost);
	tcase_add_test(tc, what_recovery_did_is_told);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
