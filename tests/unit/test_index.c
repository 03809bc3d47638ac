/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "index.h"
#include "load.h"

#include "rng.h"

#include "segtest.h"

static struct segset *set;
static struct hintset hints;
static struct epoch *epoch;
static struct index idx;
static bool by_hints; /* the mode of the index */
static uint8_t secret[SEGMENT_SECRET_LEN];

static void
start_index(bool verify)
{
	ck_assert_int_eq(index_init(&idx, epoch, set, by_hints ? &hints : NULL,
			     secret, verify, NULL),
	    KVLOG_OK);
}

static void
setup(void)
{
	const struct segment_header h = segtest_header(1, 8192);

	segtest_setup();
	memcpy(secret, h.store.secret, sizeof secret);
	set = segset_create();
	ck_assert_ptr_nonnull(set);
	ck_assert_int_eq(hintset_init(&hints, set, NULL), KVLOG_OK);
	ck_assert_int_eq(epoch_create(&epoch), 0);
	start_index(true);
}

static void
teardown(void)
{
	keydir_check(idx.keydir);
	index_fini(&idx);
	epoch_destroy(epoch);
	hintset_fini(&hints);
	segset_destroy(set);
	segtest_teardown();
}

static struct segment *
add_segment(void)
{
	struct segment *seg =
	    segtest_create((uint32_t)set->count + 1, SEGTEST_SIZE);

	ck_assert_int_eq(segset_add(set, seg, NULL), KVLOG_OK);
	return seg;
}

static uint64_t
hash_of(const char *key)
{
	const struct hint_key plain = hint_plain_key(key, strlen(key));

	return index_hash(&idx, &plain);
}

/* By hash: for keys that are made to collide. */
static enum kvlog_status
find_as(uint64_t hash, const char *key, struct index_ref *ref)
{
	const struct hint_key plain = hint_plain_key(key, strlen(key));
	struct epoch_token token = epoch_enter(epoch);
	enum kvlog_status st = index_find(&idx, hash, &plain, ref, NULL);

	epoch_leave(epoch, token);
	return st;
}

static enum kvlog_status
find(const char *key, struct index_ref *ref)
{
	return find_as(hash_of(key), key, ref);
}

/* By a tombstone at a place. */
static void
delete_at(const char *key, const struct segment *seg, uint64_t off)
{
	const struct hint_key plain = hint_plain_key(key, strlen(key));

	ck_assert_int_eq(
	    index_set(&idx, hash_of(key), &plain, segset_loc(seg, off), true),
	    KVLOG_OK);
}

static void
set_as(uint64_t hash, const char *key, const struct segment *seg, uint64_t off)
{
	const struct hint_key plain = hint_plain_key(key, strlen(key));

	ck_assert_int_eq(index_reserve(&idx, &hash, 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    index_set(&idx, hash, &plain,
		seg != NULL ? segset_loc(seg, off) : 0, seg == NULL),
	    KVLOG_OK);
}

static void
expect(const char *key, const struct segment *seg, uint64_t off)
{
	struct index_ref ref;

	ck_assert_int_eq(find(key, &ref), KVLOG_OK);
	ck_assert_ptr_eq(ref.seg, seg);
	ck_assert_uint_eq(ref.off, off);
	ck_assert_mem_eq(ref.rec.key, key, strlen(key));
}

START_TEST(finds_what_was_set)
{
	struct segment *one = add_segment(), *two = add_segment();
	struct index_ref ref;
	uint64_t a = segtest_put(one, 1, "a", "1");
	uint64_t b = segtest_put(two, 2, "b", "2");
	uint64_t a2 = segtest_put(two, 3, "a", "3");

	ck_assert_int_eq(find("a", &ref), KVLOG_NOTFOUND);
	set_as(hash_of("a"), "a", one, a);
	set_as(hash_of("b"), "b", two, b);
	expect("a", one, a);
	expect("b", two, b);
	set_as(hash_of("a"), "a", two, a2);
	expect("a", two, a2);
	ck_assert_uint_eq(keydir_count(idx.keydir), 2);
	set_as(hash_of("a"), "a", NULL, 0);
	ck_assert_int_eq(find("a", &ref), KVLOG_NOTFOUND);
	set_as(hash_of("a"), "a", NULL, 0); /* again: nothing */
	expect("b", two, b);
	ck_assert_uint_eq(keydir_count(idx.keydir), 1);
}
END_TEST

/* INV-12 */
START_TEST(equal_hashes_are_not_equal_keys)
{
	struct segment *seg = add_segment();
	char keys[100][8];
	uint64_t offs[100];
	struct index_ref ref;

	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "k%u", i);
		offs[i] = segtest_put(seg, i + 1, keys[i], "x");
		set_as(77, keys[i], seg, offs[i]);
	}
	ck_assert_uint_eq(keydir_count(idx.keydir), 100);
	for (unsigned i = 0; i < 100; i += 2)
		set_as(77, keys[i], NULL, 0);
	for (unsigned i = 0; i < 100; i++) {
		enum kvlog_status st = find_as(77, keys[i], &ref);

		ck_assert_int_eq(st, i % 2 ? KVLOG_OK : KVLOG_NOTFOUND);
		if (st == KVLOG_OK)
			ck_assert_uint_eq(ref.off, offs[i]);
	}
	ck_assert_int_eq(find_as(77, "other", &ref), KVLOG_NOTFOUND);
	ck_assert_int_eq(find_as(78, "k1", &ref), KVLOG_NOTFOUND);
}
END_TEST

START_TEST(a_damaged_candidate_is_corrupt_unless_another_matches)
{
	struct segment *seg = add_segment();
	uint64_t one = segtest_put(seg, 1, "one", "x");
	uint64_t two = segtest_put(seg, 2, "two", "x");
	struct index_ref ref;

	set_as(5, "one", seg, one);
	set_as(5, "two", seg, two);
	for (uint64_t at = 0; at < 28 + 3; at++) {
		segtest_flip(seg, one + at);
		ck_assert_int_eq(find_as(5, "one", &ref), KVLOG_CORRUPT);
		ck_assert_ptr_eq(ref.seg, seg);
		ck_assert_uint_eq(ref.off, one);
		ck_assert_int_eq(find_as(5, "two", &ref), KVLOG_OK);
		ck_assert_uint_eq(ref.off, two);
		/* Absent or damaged? Not known. */
		ck_assert_int_eq(find_as(5, "three", &ref), KVLOG_CORRUPT);
		segtest_flip(seg, one + at);
	}
	ck_assert_int_eq(find_as(5, "one", &ref), KVLOG_OK);
	ck_assert_int_eq(find_as(5, "three", &ref), KVLOG_NOTFOUND);
}
END_TEST

START_TEST(without_verifying_the_key_alone_counts)
{
	struct segment *seg = add_segment();
	uint64_t one = segtest_put(seg, 1, "one", "x");
	struct index_ref ref;

	index_fini(&idx);
	start_index(false);
	set_as(5, "one", seg, one);
	segtest_flip(seg, one); /* a sum */
	ck_assert_int_eq(find_as(5, "one", &ref), KVLOG_OK);
	segtest_flip(seg, one);
	segtest_flip(seg, one + 28); /* the key */
	ck_assert_int_eq(find_as(5, "one", &ref), KVLOG_CORRUPT);
}
END_TEST

/* A key in a bucket is another key. */
START_TEST(buckets_are_not_met)
{
	struct segment *seg = add_segment();
	struct record rec = {.type = RECORD_PUT,
	    .flags = RECORD_BUCKET,
	    .bucket_seq = 1,
	    .seq = 1,
	    .key_len = 1,
	    .key = (const uint8_t *)"k"};
	uint64_t off = segtest_append(seg, &rec);
	struct index_ref ref;

	ck_assert_int_eq(keydir_insert(idx.keydir, 5, segset_loc(seg, off)), 0);
	ck_assert_int_eq(find_as(5, "k", &ref), KVLOG_NOTFOUND);
}
END_TEST

/* Many at a time come out as one by one: also those that collide, are damaged,
 * absent, deleted, or in hints. */
START_TEST(many_are_found_as_one_by_one)
{
	static char keys[INDEX_TOGETHER][8];
	struct segment *seg = add_segment();
	struct index_find finds[INDEX_TOGETHER] = {0};
	uint64_t damaged = 0;

	for (unsigned i = 0; i < INDEX_TOGETHER; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "k%u", i);
		finds[i].key = hint_plain_key(keys[i], strlen(keys[i]));
		finds[i].hash = i % 3 == 0 ? 77 : hash_of(keys[i]);
		if (i % 5 == 4)
			continue;
		damaged = segtest_put(seg, i + 1, keys[i], "x");
		set_as(finds[i].hash, keys[i], seg, damaged);
		if (i % 7 == 1)
			set_as(finds[i].hash, keys[i], NULL, 0);
	}
	segtest_flip(seg, damaged + 20);
	for (size_t count = 0; count <= INDEX_TOGETHER; count++) {
		struct epoch_token token = epoch_enter(epoch);

		for (size_t i = 0; i < count; i++)
			finds[i].status = KVLOG_IO;
		index_find_many(&idx, finds, count);
		epoch_leave(epoch, token);
		for (size_t i = 0; i < count; i++) {
			struct index_ref ref = {0};
			enum kvlog_status st =
			    find_as(finds[i].hash, keys[i], &ref);

			ck_assert_int_eq(finds[i].status, st);
			if (st == KVLOG_NOTFOUND)
				continue;
			ck_assert_ptr_eq(finds[i].ref.seg, ref.seg);
			ck_assert_uint_eq(finds[i].ref.off, ref.off);
		}
	}
	ck_assert_int_eq(finds[0].status, KVLOG_OK);
	ck_assert_int_eq(finds[1].status, KVLOG_NOTFOUND);
	ck_assert_int_eq(finds[INDEX_TOGETHER - 1].status, KVLOG_CORRUPT);
	segtest_flip(seg, damaged + 20);
}
END_TEST

/* Loading: records of some segments, many versions, tombstones. */
#define KEYS 300

struct last {
	const struct segment *seg;
	uint64_t off;
	bool there;
};

static struct last last[KEYS];

static void
fill(unsigned segments, unsigned seed)
{
	struct rng rng;
	uint64_t seq = 0;

	rng_init(&rng, seed);
	memset(last, 0, sizeof last);
	for (unsigned s = 0; s < segments; s++) {
		struct segment *seg = add_segment();

		for (unsigned i = 0; i < 400; i++) {
			unsigned k = (unsigned)rng_below(&rng, KEYS);
			char key[16];

			(void)snprintf(key, sizeof key, "key-%u", k);
			last[k].seg = seg;
			last[k].there = rng_below(&rng, 3) != 0;
			last[k].off = last[k].there
					  ? segtest_put(seg, ++seq, key, "x")
					  : segtest_delete(seg, ++seq, key);
			if (i % 50 == 0)
				segtest_record(
				    seg, RECORD_MARK, seq, NULL, 0, NULL, 0);
		}
	}
}

static unsigned threads; /* that load */

static void
load_all(void)
{
	ck_assert_int_eq(load_index(&idx, &hints, threads, NULL), KVLOG_OK);
}

/* Forget all hints, and the index. */
static void
start_anew(bool mode)
{
	index_fini(&idx);
	hintset_fini(&hints);
	for (size_t i = 0; i < set->count; i++)
		atomic_store(&set->segments[i]->hinted_to, 0);
	ck_assert_int_eq(hintset_init(&hints, set, NULL), KVLOG_OK);
	by_hints = mode;
	start_index(true);
}

static void
check_loaded(void)
{
	unsigned count = 0;

	for (unsigned k = 0; k < KEYS; k++) {
		struct index_ref ref;
		char key[16];

		(void)snprintf(key, sizeof key, "key-%u", k);
		if (last[k].there)
			expect(key, last[k].seg, last[k].off);
		else
			ck_assert_int_eq(find(key, &ref), KVLOG_NOTFOUND);
		count += last[k].there;
	}
	if (!by_hints)
		ck_assert_uint_eq(keydir_count(idx.keydir), count);
	keydir_check(idx.keydir);
}

static void
make_hint(struct segment *seg)
{
	struct hint *hint = NULL;

	const struct hint_source source = {
	    .seg = seg, .from = SEGMENT_DATA_OFF, .to = segment_end(seg)};

	ck_assert_int_eq(
	    hint_build(&source, 1, UINT64_MAX, &hint, NULL), KVLOG_OK);
	ck_assert_int_eq(hintset_add(&hints, hint), KVLOG_OK);
}

/* INV-11: whichever segments have a hint, and in both modes, the result is
 * the same. */
START_TEST(hints_and_records_load_the_same)
{
	fill(5, 1);
	load_all();
	check_loaded();
	for (unsigned mask = 0; mask < 256; mask++) {
		start_anew((mask & 32) != 0);
		threads = 1u << (mask >> 6);
		for (unsigned i = 0; i < 5; i++)
			if (mask & 1u << i)
				make_hint(set->segments[i]);
		load_all();
		check_loaded();
	}
}
END_TEST

/*
 * A hint names a record that is damaged since: the key reads as corrupt and
 * never shows what the record replaced, be it a value or an absence.
 */
START_TEST(an_older_record_does_not_show_through_damage)
{
	struct segment *one = add_segment(), *two = add_segment();
	struct segment *three = add_segment();
	struct index_ref ref;
	uint64_t a, b, c, d;

	segtest_put(one, 1, "a", "old");
	segtest_put(one, 2, "b", "old");
	segtest_put(one, 3, "d", "old");
	a = segtest_put(two, 4, "a", "new");
	b = segtest_delete(two, 5, "b");
	c = segtest_put(two, 6, "c", "new");
	segtest_put(two, 7, "d", "new");
	d = segtest_put(three, 8, "d", "newest");
	make_hint(two);
	for (uint64_t at = 4; at < 29; at++) {
		start_anew(at % 2 != 0);
		make_hint(two);
		segtest_flip(two, a + at);
		segtest_flip(two, b + at);
		segtest_flip(two, c + at);
		load_all();
		ck_assert_int_eq(find("a", &ref), KVLOG_CORRUPT);
		ck_assert_ptr_eq(ref.seg, two);
		ck_assert_uint_eq(ref.off, a);
		ck_assert_int_eq(find("b", &ref), KVLOG_CORRUPT);
		ck_assert_uint_eq(ref.off, b);
		ck_assert_int_eq(find("c", &ref), KVLOG_CORRUPT);
		ck_assert_uint_eq(ref.off, c);
		expect("d", three, d);
		segtest_flip(two, a + at);
		segtest_flip(two, b + at);
		segtest_flip(two, c + at);
	}
}
END_TEST

START_TEST(a_newer_record_mends_damage)
{
	struct segment *one = add_segment(), *two = add_segment();
	uint64_t a = segtest_put(one, 1, "a", "old");
	uint64_t a2 = segtest_put(two, 2, "a", "new");

	for (int mode = 0; mode < 2; mode++) {
		start_anew(mode == 1);
		make_hint(one);
		segtest_flip(one, a + 28);
		load_all();
		expect("a", two, a2);
		segtest_flip(one, a + 28);
	}
}
END_TEST

/*
 * So does a newer tombstone; and what it deleted is not counted.  A damaged
 * record that may be its key's was left alone in the table, so that a key that
 * was put and deleted again read as corrupt.
 */
START_TEST(a_newer_tombstone_mends_damage)
{
	struct segment *one = add_segment(), *two = add_segment();
	uint64_t a = segtest_put(one, 1, "a", "old");
	uint64_t b = segtest_put(one, 2, "b", "old"), a2;
	struct index_ref ref;

	segtest_delete(two, 3, "a");
	start_anew(_i == 1);
	make_hint(one);
	segtest_flip(one, a + 28);
	load_all();
	ck_assert_int_eq(find("a", &ref), KVLOG_NOTFOUND);
	expect("b", one, b);
	/* The damaged one counts, as it may be any key's. */
	if (_i == 0)
		ck_assert_uint_eq(index_count(&idx), 2);
	a2 = segtest_put(two, 4, "a", "new");
	set_as(hash_of("a"), "a", two, a2);
	expect("a", two, a2);
	if (_i == 0)
		ck_assert_uint_eq(index_count(&idx), 3);
	a2 = segtest_delete(two, 5, "a");
	delete_at("a", two, a2);
	ck_assert_int_eq(find("a", &ref), KVLOG_NOTFOUND);
	if (_i == 0)
		ck_assert_uint_eq(index_count(&idx), 2);
	segtest_flip(one, a + 28);
}
END_TEST

/* What is written after the index was loaded hides the hints, tombstones
 * too. */
START_TEST(what_is_written_later_hides_hints)
{
	struct segment *one = add_segment(), *two = add_segment();
	struct index_ref ref;
	uint64_t b, a2;

	segtest_put(one, 1, "a", "old");
	b = segtest_put(one, 2, "b", "old");
	segtest_put(one, 3, "c", "old");
	for (int mode = 0; mode < 2; mode++) {
		start_anew(mode == 1);
		make_hint(one);
		load_all();
		a2 = segtest_put(two, 4, "a", "new");
		set_as(hash_of("a"), "a", two, a2);
		expect("a", two, a2);
		expect("b", one, b);
		delete_at("c", two, segtest_delete(two, 5, "c"));
		ck_assert_int_eq(find("c", &ref), KVLOG_NOTFOUND);
	}
}
END_TEST

START_TEST(damage_while_loading_records_is_told)
{
	struct segment *one = add_segment();
	struct kvlog_error err = {0};
	uint64_t off;

	segtest_put(one, 1, "a", "1");
	off = segtest_put(one, 2, "b", "1");
	segtest_put(one, 3, "c", "1");
	segtest_flip(one, off + 9);
	ck_assert_int_eq(load_index(&idx, &hints, 1, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(err.offset, off);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("index");
	TCase *tc = tcase_create("index");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, finds_what_was_set);
	tcase_add_test(tc, equal_hashes_are_not_equal_keys);
	tcase_add_test(
	    tc, a_damaged_candidate_is_corrupt_unless_another_matches);
	tcase_add_test(tc, without_verifying_the_key_alone_counts);
	tcase_add_test(tc, buckets_are_not_met);
	tcase_add_test(tc, many_are_found_as_one_by_one);
	tcase_add_test(tc, hints_and_records_load_the_same);
	tcase_add_test(tc, an_older_record_does_not_show_through_damage);
	tcase_add_test(tc, a_newer_record_mends_damage);
	tcase_add_loop_test(tc, a_newer_tombstone_mends_damage, 0, 2);
	tcase_add_test(tc, what_is_written_later_hides_hints);
	tcase_add_test(tc, damage_while_loading_records_is_told);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
