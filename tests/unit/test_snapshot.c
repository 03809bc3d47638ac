/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_snapshot.c - snapshots show what was, whatever is written and compacted
 * meanwhile: a random history, against copies of a table.
 */
#include "config.h"

#include "api.h"
#include "files.h"
#include "hint_format.h"
#include "rng.h"

#include "snapshot.h"

#define KEYS 60
#define HELD 5
#define STEPS 1500

/* What a key has: the number of the put, in its value; 0: nothing. */
struct table {
	unsigned number[2][KEYS]; /* of the default bucket, and of another */
	bool bucket;              /* that one is there */
};

static struct kvlog *db, *reader, *bucket;
static struct table now;
static struct held {
	struct snapshot *snap;
	struct table was;
	struct bucket_handle *bucket; /* its id then */
	uint64_t expected_seq;
} held[HELD];

static size_t
value_of(unsigned number, char *buf)
{
	size_t len = 1 + number * 37 % 300;

	memset(buf, (int)('a' + number % 26), len);
	return len + (size_t)sprintf(buf + len, ".%u", number);
}

static struct hint_key
key_of(const struct bucket_handle *b, unsigned k, char *buf)
{
	size_t len = (size_t)sprintf(buf, "key %u", k);

	return bucket_key(b, buf, len);
}

static void
expect_get(
    const struct held *h, struct bucket_handle *b, unsigned k, unsigned number)
{
	char key_buf[16], value[320];
	const struct hint_key key = key_of(b, k, key_buf);
	struct index_ref ref;
	enum kvlog_status st = snapshot_find(h->snap, b, &key, true, &ref);

	if (number == 0) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		return;
	}
	ck_assert_int_eq(st, KVLOG_OK);
	ck_assert_uint_eq(ref.rec.value_len, value_of(number, value));
	ck_assert(memcmp(ref.rec.value, value, ref.rec.value_len) == 0);
}

static unsigned
count(const unsigned *numbers)
{
	unsigned n = 0;

	for (unsigned k = 0; k < KEYS; k++)
		n += numbers[k] != 0;
	return n;
}

static void
expect_walk(const struct held *h, const struct bucket_handle *b,
    const unsigned *numbers, bool back)
{
	struct cursor_range range = {0};
	struct cursor *cursor;
	unsigned n = 0;

	if (b != NULL) {
		range.bucket_seq = b->id.seq;
		range.bucket_ordinal = b->id.ordinal;
	}
	ck_assert_int_eq(snapshot_cursor(h->snap, &range, &cursor), KVLOG_OK);
	if (back)
		cursor_last(cursor);
	while ((back ? cursor_prev(cursor) : cursor_next(cursor)) == KVLOG_OK) {
		const struct record *rec = &cursor_entry(cursor)->rec;
		char value[320];
		unsigned k;

		ck_assert_int_eq(
		    sscanf((const char *)rec->key, "key %u", &k), 1);
		ck_assert_uint_lt(k, KEYS);
		ck_assert_uint_eq(rec->value_len, value_of(numbers[k], value));
		ck_assert(memcmp(rec->value, value, rec->value_len) == 0);
		n++;
	}
	cursor_destroy(cursor);
	ck_assert_uint_eq(n, count(numbers));
}

static void
expect_held(const struct held *h, struct rng *rng)
{
	unsigned k = (unsigned)rng_below(rng, KEYS);
	struct index_ref ref;

	ck_assert_uint_eq(snapshot_seq(h->snap), h->expected_seq);
	for (unsigned i = 0; i < 8; i++, k = (k + 7) % KEYS) {
		expect_get(h, NULL, k, h->was.number[0][k]);
		if (h->was.bucket)
			expect_get(h, h->bucket, k, h->was.number[1][k]);
	}
	if (h->bucket != NULL)
		ck_assert_int_eq(snapshot_has_bucket(h->snap, h->bucket, &ref),
		    h->was.bucket ? KVLOG_OK : KVLOG_NOBUCKET);
	if (rng_below(rng, 4) > 0)
		return;
	expect_walk(h, NULL, h->was.number[0], rng_below(rng, 2) == 0);
	if (h->was.bucket)
		expect_walk(h, h->bucket, h->was.number[1], false);
}

static void
take(struct held *h, struct rng *rng)
{
	struct kvlog *of = rng_below(rng, 2) == 0 ? db : reader;

	ck_assert_int_eq(snapshot_take(of->store, &h->snap, NULL), KVLOG_OK);
	h->was = now;
	h->expected_seq = kvlog_last_seq(db);
	h->bucket = NULL;
	if (bucket != NULL)
		h->bucket = bucket_create(bucket->bucket->name,
		    bucket->bucket->name_len, &bucket->bucket->id);
}

static void
release(struct held *h)
{
	snapshot_release(h->snap);
	bucket_destroy(h->bucket);
	memset(h, 0, sizeof *h);
}

static void
write_one(struct rng *rng, unsigned number)
{
	unsigned b = now.bucket && rng_below(rng, 2) == 0;
	unsigned k = (unsigned)rng_below(rng, KEYS);
	struct kvlog *to = b ? bucket : db;
	char key[16], value[320];
	size_t len = (size_t)sprintf(key, "key %u", k);

	if (rng_below(rng, 4) > 0) {
		ck_assert_int_eq(kvlog_put(to, key, len, value,
				     value_of(number, value), NULL, NULL),
		    KVLOG_OK);
		now.number[b][k] = number;
	} else {
		ck_assert_int_eq(kvlog_delete(to, key, len, NULL, NULL),
		    now.number[b][k] != 0 ? KVLOG_OK : KVLOG_NOTFOUND);
		now.number[b][k] = 0;
	}
}

static void
change_bucket(void)
{
	if (now.bucket) {
		ck_assert_int_eq(
		    kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
		ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
		bucket = NULL;
	} else {
		ck_assert_int_eq(kvlog_bucket_open(db, "b", 1,
				     KVLOG_OPEN_CREATE, &bucket, NULL),
		    KVLOG_OK);
	}
	now.bucket = !now.bucket;
	memset(now.number[1], 0, sizeof now.number[1]);
}

static void
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &o, NULL, NULL), KVLOG_OK);
}

static void
open_both(unsigned seed)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE),
			     ro = api_options(KVLOG_OPEN_READONLY);

	o.index_mode = seed % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	ro.index_mode =
	    seed / 2 % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	db = api_open_with(api_store, &o);
	reader = api_open_with(api_store, &ro);
}

START_TEST(snapshots_show_what_was)
{
	struct snapshot_costs costs;
	struct rng rng;

	rng_init(&rng, (uint64_t)_i);
	memset(&now, 0, sizeof now);
	bucket = NULL;
	open_both((unsigned)_i);
	for (unsigned step = 1; step <= STEPS; step++) {
		struct held *h = &held[rng_below(&rng, HELD)];

		write_one(&rng, step);
		if (rng_below(&rng, 40) == 0)
			change_bucket();
		if (rng_below(&rng, 100) == 0)
			compact();
		if (rng_below(&rng, 10) != 0)
			continue;
		if (h->snap == NULL)
			take(h, &rng);
		else if (rng_below(&rng, 4) == 0)
			release(h);
		else
			expect_held(h, &rng);
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].snap != NULL) {
			expect_held(&held[i], &rng);
			release(&held[i]);
		}
	ck_assert_int_eq(snapshot_count_costs(db->store, &costs), KVLOG_OK);
	ck_assert_uint_eq(costs.count, 0);
	if (bucket != NULL)
		(void)kvlog_close(bucket, NULL);
	api_close(reader);
	api_close(db);
}
END_TEST

/* What is kept is told, and given back. */
START_TEST(costs_are_told)
{
	struct snapshot_costs costs;
	struct snapshot *one, *two;
	struct cursor *cursor;
	const struct cursor_range all = {0};

	open_both(0);
	for (unsigned i = 0; i < 300; i++)
		api_put(db,
		    i % 3 == 0   ? "a"
		    : i % 3 == 1 ? "b"
				 : "c",
		    "a value that is long enough to fill segments soon");
	ck_assert_int_eq(snapshot_take(db->store, &one, NULL), KVLOG_OK);
	api_put(db, "a", "new");
	ck_assert_int_eq(snapshot_take(db->store, &two, NULL), KVLOG_OK);
	ck_assert_int_eq(snapshot_cursor(two, &all, &cursor), KVLOG_OK);
	ck_assert_int_eq(snapshot_count_costs(db->store, &costs), KVLOG_OK);
	ck_assert_uint_eq(costs.count, 2);
	ck_assert_uint_eq(costs.oldest_seq, 300);
	ck_assert_uint_eq(costs.file_bytes, 0);
	ck_assert_uint_gt(costs.memory_bytes, 0);
	cursor_destroy(cursor);
	compact();
	ck_assert_int_eq(snapshot_count_costs(db->store, &costs), KVLOG_OK);
	ck_assert_uint_gt(costs.file_bytes, API_SMALL);
	snapshot_release(one);
	ck_assert_int_eq(snapshot_count_costs(db->store, &costs), KVLOG_OK);
	ck_assert_uint_eq(costs.count, 1);
	ck_assert_uint_eq(costs.oldest_seq, 301);
	snapshot_release(two);
	ck_assert_int_eq(snapshot_count_costs(db->store, &costs), KVLOG_OK);
	ck_assert_uint_eq(costs.file_bytes, 0);
	api_close(reader);
	api_close(db);
}
END_TEST

/* What was replaced since is looked for in the hints of then; in the place of a
 * damaged one there are the records.  With the index in memory all of a hint
 * was read, and found sound, at the opening. */
START_TEST(a_damaged_hint_hides_nothing_of_then)
{
	struct held h = {0};
	char key[16], value[320];

	open_both(1);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned k = 0; k < KEYS; k++) {
			(void)key_of(NULL, k, key);
			ck_assert_int_eq(
			    kvlog_put(db, key, strlen(key), value,
				value_of(round * KEYS + k, value), NULL, NULL),
			    KVLOG_OK);
		}
		if (round > 0)
			break;
		api_close(reader);
		api_close(db);
		ck_assert_uint_gt(
		    files_damage_hints(api_store, BLOCK_SIZE + 100), 0);
		open_both(1);
		ck_assert_int_eq(
		    snapshot_take(db->store, &h.snap, NULL), KVLOG_OK);
	}
	for (unsigned k = 1; k < KEYS; k++)
		expect_get(&h, NULL, k, k);
	snapshot_release(h.snap);
	api_close(reader);
	api_close(db);
}
END_TEST

/*
 * A bucket that was dropped and created in one commit is another one for all at
 * once: its entry was put off, while handles took the catalogue for looked at,
 * so that writes to the old one went on and were lost.
 */
START_TEST(a_change_of_the_catalogue_is_not_put_off)
{
	struct kvlog *again;
	struct kvlog_txn *txn;

	open_both(0);
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_drop(txn, "b", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_bucket_open(txn, "b", 1, KVLOG_OPEN_CREATE, &again, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	ck_assert_uint_eq(
	    atomic_load(&atomic_load(&db->store->views.view)->late_pos), 0);
	ck_assert_int_eq(
	    kvlog_put(bucket, "k", 1, "v", 1, NULL, NULL), KVLOG_NOBUCKET);
	api_put(again, "k", "v");
	ck_assert_int_eq(kvlog_close(again, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
	api_close(reader);
	api_close(db);
}
END_TEST

static const struct os_table *real;
static unsigned left; /* calls until memory is out */

static void *
some_calloc(size_t count, size_t size)
{
	return left > 0 && left-- > 0 ? real->calloc(count, size) : NULL;
}

/* For want of memory nothing comes to be: 1: in a transaction. */
START_TEST(a_bucket_without_a_handle_is_not_created)
{
	static struct os_table poor;
	enum kvlog_status st = KVLOG_NOMEM;

	open_both(0);
	poor = *os;
	poor.calloc = some_calloc;
	for (unsigned n = 0; st == KVLOG_NOMEM; n++) {
		struct kvlog_txn *txn = NULL;
		struct kvlog *none;

		ck_assert_uint_lt(n, 100);
		if (_i == 1)
			ck_assert_int_eq(
			    kvlog_txn_begin(db, NULL, &txn, NULL), KVLOG_OK);
		left = n;
		real = os;
		os = &poor;
		st = txn != NULL ? kvlog_txn_bucket_open(txn, "b", 1,
				       KVLOG_OPEN_CREATE, &bucket, NULL)
				 : kvlog_bucket_open(db, "b", 1,
				       KVLOG_OPEN_CREATE, &bucket, NULL);
		os = real;
		if (txn != NULL)
			ck_assert_int_eq(
			    kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
		if (st == KVLOG_NOMEM)
			ck_assert_int_eq(
			    kvlog_bucket_open(db, "b", 1, 0, &none, NULL),
			    KVLOG_NOBUCKET);
	}
	ck_assert_int_eq(st, KVLOG_OK);
	api_put(bucket, "k", "v");
	ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
	api_close(reader);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("snapshot");
	TCase *tc = api_case(suite, "snapshot");

	tcase_add_loop_test(tc, snapshots_show_what_was, 0, 8);
	tcase_add_test(tc, costs_are_told);
	tcase_add_test(tc, a_damaged_hint_hides_nothing_of_then);
	tcase_add_test(tc, a_change_of_the_catalogue_is_not_put_off);
	tcase_add_loop_test(tc, a_bucket_without_a_handle_is_not_created, 0, 2);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
