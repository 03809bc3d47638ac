/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "leaf.h"

#include <string.h>

#include "rng.h"
#include "test.h"

#define HASH_MASK ((UINT64_C(1) << LEAF_HASH_BITS) - 1)
#define ENTRIES_MAX 2000u

/* A leaf in memory of its own, with rubbish where it is not cleared. */
static struct leaf *
new_leaf(struct leaf_size size, uint32_t depth)
{
	const size_t unit_bytes = (size_t)CACHE_LINE << size.shift;
	void *units[LEAF_UNITS_MAX] = {NULL};

	for (uint32_t u = 0; u < size.units; u++) {
		units[u] = aligned_alloc(CACHE_LINE, unit_bytes);
		ck_assert_ptr_nonnull(units[u]);
		memset(units[u], 0xa5, unit_bytes);
	}
	return leaf_init(units, size, depth);
}

static void
free_leaf(struct leaf *leaf)
{
	for (uint32_t u = leaf->unit_count; u-- > 0;)
		free(leaf_unit(leaf, u));
}

/* Entry n of a leaf for a prefix of zeros, depth bits long. */
static uint64_t
hash_of(uint64_t n, uint32_t depth)
{
	return rng_mix(n) & (HASH_MASK >> depth);
}

static void
put_all(struct leaf *leaf, uint64_t count)
{
	for (uint64_t n = 0; n < count; n++) {
		uint64_t hash = hash_of(n, leaf->depth);

		leaf_put(leaf, hash, leaf_word_of(hash, n));
	}
}

/* How often an entry is found on the way from its home. */
static unsigned
times_found(const struct leaf *leaf, uint64_t hash, uint64_t loc)
{
	uint32_t index = leaf_home(leaf, hash);
	unsigned times = 0;

	for (uint32_t left = leaf->bucket_count; left > 0; left--) {
		const struct bucket *bucket = leaf_bucket(leaf, index);
		uint64_t tail = atomic_load(&bucket->tail);
		uint64_t matches = leaf_matches(bucket, tail, hash);

		for (; matches != 0; matches = leaf_next_matches(matches)) {
			unsigned slot = leaf_slot_of(leaf_lowest_bit(matches));
			uint64_t word = atomic_load(&bucket->word[slot]);

			times += leaf_loc_of(word, hash) == loc;
		}
		if ((tail & leaf_mark_of(hash)) == 0)
			break;
		index = leaf_next_index(leaf, index);
	}
	return times;
}

START_TEST(sizes_grow_by_a_third_at_most_once_there_are_several_units)
{
	uint64_t before = 0;

	for (uint64_t n = 1; n < 20000; n++) {
		struct leaf_size size = leaf_size_for(n);
		uint64_t lines = (uint64_t)size.units << size.shift;

		ck_assert_uint_ge(size.units, 1);
		ck_assert_uint_le(size.units, LEAF_UNITS_MAX);
		ck_assert_uint_ge(lines, before);
		if (before >= 3u << LEAF_UNIT_SHIFT)
			ck_assert_uint_le(3 * lines, 4 * before);
		ck_assert(n > leaf_cap_max() || size.shift <= LEAF_UNIT_SHIFT);
		ck_assert(n <= leaf_cap_max() || size.shift > LEAF_UNIT_SHIFT);
		before = lines;
	}
}
END_TEST

START_TEST(a_leaf_takes_what_its_size_is_for)
{
	for (uint64_t count = 1; count <= ENTRIES_MAX; count += count / 7 + 1) {
		struct leaf *leaf = new_leaf(leaf_size_for(count), 3);

		ck_assert_uint_ge(leaf->cap, count);
		leaf_check(leaf, 0);
		put_all(leaf, leaf->cap);
		ck_assert_uint_eq(leaf->count, leaf->cap);
		leaf_check(leaf, 0);
		for (uint64_t n = 0; n < leaf->cap; n++)
			ck_assert_uint_eq(
			    times_found(leaf, hash_of(n, 3), n), 1);
		free_leaf(leaf);
	}
}
END_TEST

START_TEST(homes_are_spread_over_all_buckets)
{
	struct leaf *leaf = new_leaf(leaf_size_for(leaf_cap_max()), 7);
	unsigned hits[128] = {0};

	ck_assert_uint_le(leaf->bucket_count, ARRAY_LEN(hits));
	for (uint64_t n = 0; n < 100 * leaf->bucket_count; n++)
		hits[leaf_home(leaf, hash_of(n, 7))]++;
	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		ck_assert_uint_gt(hits[i], 50);
		ck_assert_uint_lt(hits[i], 150);
	}
	free_leaf(leaf);
}
END_TEST

START_TEST(a_removed_slot_is_used_again)
{
	struct leaf *leaf = new_leaf(leaf_size_for(1), 0);
	uint32_t home = leaf_home(leaf, 0);

	for (uint64_t n = 0; n < LEAF_SLOTS; n++)
		leaf_put(leaf, n, leaf_word_of(n, n));
	for (unsigned slot = 0; slot < LEAF_SLOTS; slot++) {
		leaf_remove(leaf, home, slot, slot);
		ck_assert_uint_eq(times_found(leaf, slot, slot), 0);
		leaf_put(leaf, slot, leaf_word_of(slot, slot + 100));
		ck_assert_uint_eq(times_found(leaf, slot, slot + 100), 1);
		leaf_check(leaf, 0);
	}
	for (uint32_t i = 0; i < leaf->bucket_count; i++)
		ck_assert_uint_eq(
		    atomic_load(&leaf_bucket(leaf, i)->tail) & leaf_mark_of(0),
		    0);
	ck_assert_uint_eq(leaf->stale, 0);
	free_leaf(leaf);
}
END_TEST

START_TEST(only_removed_guests_are_stale)
{
	struct leaf *leaf = new_leaf(leaf_size_for(1), 0);
	uint32_t next = leaf_next_index(leaf, leaf_home(leaf, 0));

	for (uint64_t n = 0; n <= LEAF_SLOTS; n++)
		leaf_put(leaf, n, leaf_word_of(n, n));
	ck_assert_uint_eq(times_found(leaf, LEAF_SLOTS, LEAF_SLOTS), 1);
	leaf_remove(leaf, leaf_home(leaf, 0), 0, 0);
	ck_assert_uint_eq(leaf->stale, 0);
	leaf_remove(leaf, next, 0, LEAF_SLOTS);
	ck_assert_uint_eq(leaf->stale, 1);
	ck_assert_uint_eq(leaf->count, LEAF_SLOTS - 1);
	leaf_check(leaf, 0);
	free_leaf(leaf);
}
END_TEST

/* _i entries, to sizes that are staged and to larger ones. */
START_TEST(a_copy_has_all_entries)
{
	const uint64_t count = (uint64_t)_i;
	struct leaf *old = new_leaf(leaf_size_for(count), 5);
	struct leaf *copy = new_leaf(leaf_size_for(count + count / 5), 5);

	put_all(old, count);
	leaf_copy(old, copy, NULL, LEAF_TAG_BITS);
	ck_assert_uint_eq(copy->count, count);
	leaf_check(copy, 0);
	for (uint64_t n = 0; n < count; n++)
		ck_assert_uint_eq(times_found(copy, hash_of(n, 5), n), 1);
	free_leaf(old);
	free_leaf(copy);
}
END_TEST

START_TEST(halves_have_all_entries)
{
	const uint64_t count = (uint64_t)_i;
	const uint32_t bit = LEAF_HASH_BITS - 6;
	struct leaf *old = new_leaf(leaf_size_for(count), 5);
	struct leaf *half[2];
	uint64_t ones;

	put_all(old, count);
	ones = leaf_count_ones(old, bit);
	half[0] = new_leaf(leaf_size_for(count - ones), 6);
	half[1] = new_leaf(leaf_size_for(ones), 6);
	leaf_copy(old, half[0], half[1], bit);
	ck_assert_uint_eq(half[0]->count, count - ones);
	ck_assert_uint_eq(half[1]->count, ones);
	leaf_check(half[0], 0);
	leaf_check(half[1], 1);
	for (uint64_t n = 0; n < count; n++) {
		uint64_t hash = hash_of(n, 5), one = hash >> bit & 1;

		ck_assert_uint_eq(times_found(half[one], hash, n), 1);
	}
	free_leaf(old);
	free_leaf(half[0]);
	free_leaf(half[1]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("leaf");
	TCase *tc = tcase_create("leaf");
	const int counts[] = {0, 1, 9, 60, 500, 580, 700, 1300, 1900};

	tcase_add_test(
	    tc, sizes_grow_by_a_third_at_most_once_there_are_several_units);
	tcase_add_test(tc, a_leaf_takes_what_its_size_is_for);
	tcase_add_test(tc, homes_are_spread_over_all_buckets);
	tcase_add_test(tc, a_removed_slot_is_used_again);
	tcase_add_test(tc, only_removed_guests_are_stale);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		tcase_add_loop_test(
		    tc, a_copy_has_all_entries, counts[i], counts[i] + 1);
		tcase_add_loop_test(
		    tc, halves_have_all_entries, counts[i], counts[i] + 1);
	}
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
