/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "keydir.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "os.h"
#include "rng.h"
#include "test.h"

#define HASH_MASK ((UINT64_C(1) << KEYDIR_HASH_BITS) - 1)

/* ---- memory that counts, and fails on demand ---- */

static const struct os_table *os_before;
static struct os_table os_counting;
static long live_blocks;
static long fail_after; /* let so many requests pass, then fail one; < 0: off */
static bool deny;       /* fail all */
static long failures;

static bool
fails(void)
{
	if (deny || (fail_after >= 0 && fail_after-- == 0)) {
		failures++;
		return true;
	}
	return false;
}

static void *
counting_calloc(size_t count, size_t size)
{
	void *p = fails() ? NULL : os_before->calloc(count, size);

	live_blocks += p != NULL;
	return p;
}

static void *
counting_aligned(size_t align, size_t size)
{
	void *p = fails() ? NULL : os_before->aligned(align, size);

	live_blocks += p != NULL;
	return p;
}

static void *
counting_pages(size_t size)
{
	void *p = fails() ? NULL : os_before->pages(size);

	live_blocks += p != NULL;
	return p;
}

static void
counting_free_pages(void *p, size_t size)
{
	live_blocks--;
	os_before->free_pages(p, size);
}

static void
counting_free(void *p)
{
	live_blocks -= p != NULL;
	os_before->free(p);
}

static struct epoch *epoch;
static struct keydir *keydir;

static void
setup(void)
{
	os_before = os;
	os_counting = *os;
	os_counting.calloc = counting_calloc;
	os_counting.aligned = counting_aligned;
	os_counting.pages = counting_pages;
	os_counting.free_pages = counting_free_pages;
	os_counting.free = counting_free;
	os = &os_counting;
	live_blocks = 0;
	fail_after = -1;
	deny = false;
	failures = 0;
	ck_assert_int_eq(epoch_create(&epoch), 0);
	ck_assert_int_eq(keydir_create(&keydir, epoch), 0);
}

static void
teardown(void)
{
	keydir_destroy(keydir);
	epoch_destroy(epoch);
	ck_assert_int_eq(live_blocks, 0);
	os = os_before;
}

/* ---- helpers ---- */

/* How often loc is found under hash. */
static unsigned
times_found(uint64_t hash, uint64_t loc)
{
	struct keydir_probe probe;
	unsigned times = 0;

	for (uint64_t at = keydir_first(keydir, hash, &probe);
	     at != KEYDIR_NONE; at = keydir_next(&probe))
		times += at == loc;
	return times;
}

static unsigned
count_under(uint64_t hash)
{
	struct keydir_probe probe;
	uint64_t first = keydir_first(keydir, hash, &probe);
	unsigned count = 0;

	for (uint64_t at = first; at != KEYDIR_NONE; at = keydir_next(&probe))
		count++;
	if (keydir_find(keydir, hash) != first)
		ck_abort_msg("find differs from first");
	return count;
}

/* What must succeed, without the pipe that every ck_assert writes to: there
 * are millions of these. */
static void
insert(uint64_t hash, uint64_t loc)
{
	if (keydir_insert(keydir, hash, loc) != 0)
		ck_abort_msg("cannot insert %" PRIu64, loc);
}

static void
reserve(uint64_t hash)
{
	if (keydir_reserve(keydir, &hash, 1) != 0)
		ck_abort_msg("cannot reserve for %" PRIx64, hash);
}

static void
replace(uint64_t hash, uint64_t old_loc, uint64_t new_loc)
{
	if (!keydir_replace(keydir, hash, old_loc, new_loc))
		ck_abort_msg("cannot replace %" PRIu64, old_loc);
}

static void
take_out(uint64_t hash, uint64_t loc)
{
	if (!keydir_remove(keydir, hash, loc))
		ck_abort_msg("cannot remove %" PRIu64, loc);
}

static void
expect_times(uint64_t hash, uint64_t loc, unsigned times)
{
	unsigned found_times = times_found(hash, loc);

	if (found_times != times)
		ck_abort_msg("%" PRIu64 " is found %u times, not %u", loc,
		    found_times, times);
}

/* The hash of key number n: as good as random. */
static uint64_t
hash_of(uint64_t n)
{
	return rng_mix(n) & HASH_MASK;
}

/* Kinds of hashes that a table may meet; n is any number. */
enum kind {
	KIND_RANDOM,
	KIND_FEW,         /* of 40 hashes: long runs of equal ones */
	KIND_SAME_TOP,    /* no directory tells them apart */
	KIND_SAME_BOTTOM, /* all tags and marks alike */
	KIND_ENDS,        /* the smallest and the greatest */
	KIND_COUNT
};

static uint64_t
hash_of_kind(enum kind kind, uint64_t n)
{
	uint64_t hash = hash_of(n);

	switch (kind) {
	case KIND_FEW:
		return hash_of(n % 40);
	case KIND_SAME_TOP:
		return (UINT64_C(0xabcdef01) << 8 | (hash & 0xff)) & HASH_MASK;
	case KIND_SAME_BOTTOM:
		return (hash & ~UINT64_C(0xffff)) | 0x1234;
	case KIND_ENDS:
		return n & 1 ? hash & 0xfff : HASH_MASK - (hash & 0xfff);
	case KIND_RANDOM:
	case KIND_COUNT:
		break;
	}
	return hash;
}

/* ---- single operations ---- */

START_TEST(empty_table_is_small_and_finds_nothing)
{
	struct keydir_probe probe;

	ck_assert_uint_eq(keydir_count(keydir), 0);
	ck_assert_uint_le(keydir_bytes(keydir), 1024);
	ck_assert_uint_eq(keydir_first(keydir, 0, &probe), KEYDIR_NONE);
	ck_assert_uint_eq(keydir_next(&probe), KEYDIR_NONE);
	ck_assert_uint_eq(keydir_first(keydir, HASH_MASK, &probe), KEYDIR_NONE);
	ck_assert(!keydir_replace(keydir, 1, 2, 3));
	ck_assert(!keydir_remove(keydir, 1, 2));
	keydir_prefetch(keydir, 1);
	keydir_check(keydir);
}
END_TEST

START_TEST(destroy_accepts_null)
{
	keydir_destroy(NULL);
}
END_TEST

START_TEST(every_hash_and_location_can_be_stored)
{
	const uint64_t hashes[] = {0, 1, 0xffff, 0x10000, HASH_MASK - 1,
	    HASH_MASK, UINT64_C(0xffff000000)};
	const uint64_t locs[] = {0, 1, KEYDIR_LOC_MAX - 1, KEYDIR_LOC_MAX};

	for (size_t i = 0; i < ARRAY_LEN(hashes); i++)
		for (size_t j = 0; j < ARRAY_LEN(locs); j++)
			insert(hashes[i], locs[j]);
	keydir_check(keydir);
	for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
		ck_assert_uint_eq(count_under(hashes[i]), ARRAY_LEN(locs));
		for (size_t j = 0; j < ARRAY_LEN(locs); j++)
			expect_times(hashes[i], locs[j], 1);
	}
	ck_assert_uint_eq(count_under(2), 0);
}
END_TEST

START_TEST(replace_and_remove_touch_only_their_entry)
{
	insert(7, 100);
	insert(7, 200);
	insert(8, 100);

	ck_assert(!keydir_replace(keydir, 7, 300, 400));
	ck_assert(!keydir_replace(keydir, 9, 100, 400));
	replace(7, 100, 400);
	expect_times(7, 100, 0);
	expect_times(7, 400, 1);
	expect_times(7, 200, 1);
	expect_times(8, 100, 1);
	ck_assert_uint_eq(keydir_count(keydir), 3);

	ck_assert(!keydir_remove(keydir, 7, 100));
	ck_assert(!keydir_remove(keydir, 8, 200));
	take_out(7, 200);
	ck_assert_uint_eq(count_under(7), 1);
	expect_times(7, 400, 1);
	expect_times(8, 100, 1);
	ck_assert_uint_eq(keydir_count(keydir), 2);
	keydir_check(keydir);
}
END_TEST

/* _i is the bit in which two hashes differ. */
START_TEST(hashes_that_differ_in_one_bit_are_told_apart)
{
	for (uint64_t n = 0; n < 100; n++) {
		uint64_t hash = hash_of(n), other = hash ^ UINT64_C(1) << _i;

		insert(hash, n);
		expect_times(hash, n, 1);
		ck_assert_uint_eq(count_under(other), 0);
		insert(other, n + 1000);
		ck_assert_uint_eq(count_under(other), 1);
		ck_assert_uint_eq(count_under(hash), 1);
	}
}
END_TEST

/* In a table of two buckets, with marks all alike. */
START_TEST(a_find_ends_where_all_buckets_have_its_mark)
{
	const uint64_t upper = UINT64_C(1) << (KEYDIR_HASH_BITS - 1);

	for (uint64_t n = 0; n < 7; n++)
		insert(n << 16, n);
	for (uint64_t n = 0; n < 7; n++)
		take_out(n << 16, n);
	for (uint64_t n = 0; n < 7; n++)
		insert(upper | n << 16, n);
	for (uint64_t n = 0; n < 7; n++) {
		ck_assert_uint_eq(count_under(n << 16), 0);
		ck_assert_uint_eq(count_under(upper | n << 16), 1);
		ck_assert_uint_eq(count_under(upper | (n + 7) << 16), 0);
	}
	keydir_check(keydir);
}
END_TEST

/* Its leaf is replaced and its memory would be used again, were it not for
 * the epoch (KEYDIR-2). */
START_TEST(a_find_goes_on_in_what_it_began_in)
{
	const uint64_t hash = hash_of(0);
	struct epoch_token token;
	struct keydir_probe probe;
	uint64_t seen = 0, loc;

	for (uint64_t n = 0; n < 20; n++)
		insert(hash, n);
	for (uint64_t n = 20; n < 400; n++)
		insert(hash_of(n), n);
	token = epoch_enter(epoch);
	loc = keydir_first(keydir, hash, &probe);
	for (uint64_t n = 400; n < 20000; n++)
		insert(hash_of(n), n);
	for (; loc != KEYDIR_NONE; loc = keydir_next(&probe)) {
		ck_assert_uint_lt(loc, 20);
		seen |= UINT64_C(1) << loc;
	}
	ck_assert_uint_eq(seen, (1u << 20) - 1);
	epoch_leave(epoch, token);
	keydir_check(keydir);
}
END_TEST

/* ---- against a model ---- */

/*
 * The model: groups of entries with one hash each, every group an array of
 * locations.  No two groups have the same hash.
 */
#define GROUP_MAX 96

struct group {
	uint64_t hash;
	unsigned count;
	uint64_t locs[GROUP_MAX];
};

static struct group *
make_groups(enum kind kind, size_t *group_count)
{
	struct group *groups = calloc(*group_count, sizeof *groups);
	size_t made = 0;

	ck_assert_ptr_nonnull(groups);
	for (uint64_t n = 0; made < *group_count && n < 20 * *group_count;
	     n++) {
		uint64_t hash = hash_of_kind(kind, n);
		size_t i = 0;

		while (i < made && groups[i].hash != hash)
			i++;
		if (i == made)
			groups[made++].hash = hash;
	}
	*group_count = made;
	return groups;
}

static void
compare_group(const struct group *group)
{
	if (count_under(group->hash) != group->count)
		ck_abort_msg("%u entries, not %u, under %" PRIx64,
		    count_under(group->hash), group->count, group->hash);
	for (unsigned i = 0; i < group->count; i++)
		expect_times(group->hash, group->locs[i], 1);
}

static void
compare_all(const struct group *groups, size_t group_count)
{
	uint64_t count = 0;

	for (size_t i = 0; i < group_count; i++) {
		compare_group(&groups[i]);
		count += groups[i].count;
	}
	ck_assert_uint_eq(keydir_count(keydir), count);
	keydir_check(keydir);
}

static void
random_step(struct rng *rng, struct group *group, unsigned inserts_of_8,
    uint64_t *next_loc)
{
	unsigned i = group->count;
	uint64_t loc;

	if (rng_below(rng, 2) == 0)
		reserve(group->hash);
	if (i > 0 && rng_below(rng, 4) == 0) {
		i = (unsigned)rng_below(rng, i);
		loc = (*next_loc)++;
		replace(group->hash, group->locs[i], loc);
		group->locs[i] = loc;
	} else if (rng_below(rng, 8) < inserts_of_8 && i < GROUP_MAX) {
		loc = (*next_loc)++;
		insert(group->hash, loc);
		group->locs[group->count++] = loc;
	} else if (i > 0) {
		i = (unsigned)rng_below(rng, i);
		take_out(group->hash, group->locs[i]);
		group->locs[i] = group->locs[--group->count];
	}
	compare_group(group);
}

/* _i is the kind of hashes. */
START_TEST(random_operations_agree_with_a_model)
{
	size_t group_count = 1500;
	struct group *groups = make_groups((enum kind)_i, &group_count);
	uint64_t seed = rng_seed_from_env(), next_loc = 0;
	unsigned inserts_of_8 = 7;
	struct rng rng;

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	rng_init(&rng, seed);
	for (unsigned step = 0; step < 24000; step++) {
		/* Mostly growing, then mostly shrinking, in turns. */
		if (step % 6000 == 0)
			inserts_of_8 = inserts_of_8 == 7 ? 1 : 7;
		random_step(&rng, &groups[rng_below(&rng, group_count)],
		    inserts_of_8, &next_loc);
		if (step < 500 || step % 500 == 0)
			compare_all(groups, group_count);
	}
	compare_all(groups, group_count);
	free(groups);
}
END_TEST

/* ---- sizes ---- */

START_TEST(memory_is_at_most_16_bytes_per_key_at_every_size)
{
	const uint64_t count = TEST_IS_SANITIZED ? 100000 : 2100000;

	for (uint64_t n = 0; n < count; n++) {
		insert(hash_of(n), n);
		if (n >= 50000 && n % 5000 == 0)
			ck_assert_uint_le(keydir_bytes(keydir), 16 * n);
	}
	keydir_check(keydir);
	ck_assert_uint_eq(keydir_count(keydir), count);
	for (uint64_t n = 0; n < count; n++)
		expect_times(hash_of(n), n, 1);
}
END_TEST

START_TEST(small_tables_are_small)
{
	uint64_t n = 0;

	for (; n < 10; n++)
		insert(hash_of(n), n);
	ck_assert_uint_le(keydir_bytes(keydir), 1024);
	for (; n < 100; n++)
		insert(hash_of(n), n);
	ck_assert_uint_le(keydir_bytes(keydir), 16384);
	for (; n < 2000; n++)
		insert(hash_of(n), n);
	ck_assert_uint_le(keydir_bytes(keydir), 48 * 1024);
}
END_TEST

/* The cache lines that a miss looks at, on average over many, in 1/1000. */
static uint64_t
lines_per_miss(uint64_t first, uint64_t count)
{
	struct keydir_probe probe;
	uint64_t lines = 0;

	for (uint64_t n = first; n < first + count; n++) {
		ck_assert_uint_eq(
		    keydir_first(keydir, hash_of(n), &probe), KEYDIR_NONE);
		lines += 1 + probe.passed;
	}
	return lines * 1000 / count;
}

START_TEST(churn_costs_neither_memory_nor_speed)
{
	const uint64_t count = TEST_IS_SANITIZED ? 20000 : 200000, turns = 15;
	uint64_t bytes, n = 0;

	for (; n < count; n++)
		insert(hash_of(n), n);
	bytes = keydir_bytes(keydir);
	ck_assert_uint_le(lines_per_miss(UINT64_C(1) << 40, count), 1150);
	for (; n < turns * count; n++) {
		uint64_t hash = hash_of(n), old = n - count;

		take_out(hash_of(old), old);
		reserve(hash);
		insert(hash, n);
	}
	keydir_check(keydir);
	ck_assert_uint_le(keydir_bytes(keydir), bytes + bytes / 5);
	ck_assert_uint_le(lines_per_miss(UINT64_C(1) << 40, count), 1250);
}
END_TEST

START_TEST(room_of_removed_entries_is_used_again)
{
	const uint64_t count = TEST_IS_SANITIZED ? 20000 : 200000;
	uint64_t bytes;

	for (uint64_t n = 0; n < count; n++)
		insert(hash_of(n), n);
	bytes = keydir_bytes(keydir);
	for (uint64_t n = 0; n < count; n++)
		take_out(hash_of(n), n);
	ck_assert_uint_eq(keydir_count(keydir), 0);

	/* Leaves give up their units when a reserve comes by. */
	for (uint64_t n = 0; n < count; n++)
		reserve(hash_of(n));
	for (uint64_t n = 0; n < count; n++)
		insert(hash_of(count + n), n);
	keydir_check(keydir);
	ck_assert_uint_le(keydir_bytes(keydir), bytes + bytes / 8);
}
END_TEST

START_TEST(thousands_of_equal_hashes_work)
{
	const uint64_t hash = UINT64_C(0x123456789a), count = 5000;

	for (uint64_t n = 0; n < count; n++)
		insert(hash, n);
	keydir_check(keydir);
	ck_assert_uint_eq(count_under(hash), count);
	ck_assert_uint_eq(count_under(hash + 1), 0);
	ck_assert_uint_eq(count_under(hash ^ 1 << 20), 0);

	/* They do not make others pay: no directory as long as the hashes. */
	ck_assert_uint_le(keydir_bytes(keydir), count * 32);
	for (uint64_t n = 0; n < count; n++)
		insert(hash_of(n), n);
	keydir_check(keydir);
	for (uint64_t n = 0; n < count; n++) {
		expect_times(hash_of(n), n, 1);
		take_out(hash, n);
	}
	ck_assert_uint_eq(count_under(hash), 0);
	keydir_check(keydir);
}
END_TEST

/* ---- running out of memory ---- */

/* _i is the kind of hashes. */
START_TEST(inserts_need_no_memory_after_a_reserve)
{
	static uint64_t hashes[20000];
	const size_t sizes[] = {1, 2, 7, 1, 300, 1, 1000, 3, 20000, 1, 5000};
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		/* Removed before, or in between: neither takes away room. */
		size_t size = _i == KIND_FEW ? sizes[i] / 16 + 1 : sizes[i];
		uint64_t first = n;

		for (size_t k = 0; k < size; k++)
			hashes[k] = hash_of_kind((enum kind)_i, first + k);
		ck_assert_int_eq(keydir_reserve(keydir, hashes, size), 0);
		keydir_check(keydir);
		deny = true;
		for (size_t k = 0; k < size; k++, n++) {
			insert(hashes[k], n);
			if (k % 3 == 0)
				take_out(hashes[k], n);
		}
		ck_assert_int_eq(failures, 0);
		deny = false;
		keydir_check(keydir);
		for (size_t k = 0; k < size; k++)
			expect_times(hashes[k], first + k, k % 3 == 0 ? 0 : 1);
	}
}
END_TEST

START_TEST(removes_do_not_take_reserved_room_away)
{
	uint64_t hashes[600];

	for (uint64_t n = 0; n < 4000; n++)
		insert(hash_of(n), n);
	for (uint64_t n = 0; n < 600; n++)
		hashes[n] = hash_of(10000 + n);
	ck_assert_int_eq(keydir_reserve(keydir, hashes, 600), 0);
	deny = true;
	for (uint64_t n = 0; n < 4000; n++)
		take_out(hash_of(n), n);
	for (uint64_t n = 0; n < 600; n++)
		insert(hashes[n], n);
	keydir_check(keydir);
}
END_TEST

/* A leaf that would be copied to tidy it may stay as it is. */
START_TEST(tidying_is_left_out_without_memory)
{
	for (uint64_t n = 0; n < 20000; n++)
		insert(hash_of(n), n);
	for (uint64_t n = 100; n < 20000; n++)
		take_out(hash_of(n), n);
	deny = true;
	for (uint64_t n = 0; n < 20000; n++) {
		reserve(hash_of(n));
	}
	ck_assert_int_gt(failures, 0);
	keydir_check(keydir);
	for (uint64_t n = 0; n < 100; n++)
		expect_times(hash_of(n), n, 1);
}
END_TEST

/* Fail request k of all that follow, for k = 0, 1, 2, ... until none does. */
START_TEST(failed_inserts_change_nothing)
{
	const uint64_t count = 4000;

	for (long k = 0;; k++) {
		struct keydir *first = keydir;
		long failures_before = failures;
		uint64_t n = 0;

		ck_assert_int_lt(k, 1000);
		fail_after = k;
		if (keydir_create(&keydir, epoch) != 0) {
			ck_assert_ptr_eq(keydir, first);
			continue;
		}
		while (n < count) {
			int result = keydir_insert(keydir, hash_of(n), n);

			if (result == 0) {
				n++;
				continue;
			}
			ck_assert_int_eq(result, ENOMEM);
			ck_assert_int_eq(failures, failures_before + 1);
			keydir_check(keydir);
			ck_assert_uint_eq(keydir_count(keydir), n);
			expect_times(hash_of(n), n, 0);
			for (uint64_t i = 0; i < n; i++)
				expect_times(hash_of(i), i, 1);
		}
		keydir_check(keydir);
		keydir_destroy(keydir);
		keydir = first;
		if (failures == failures_before) {
			ck_assert_int_gt(k, 10);
			break;
		}
	}
}
END_TEST

/* _i is the kind of hashes. */
START_TEST(failed_reserves_change_nothing)
{
	static uint64_t hashes[3000];

	for (size_t i = 0; i < ARRAY_LEN(hashes); i++)
		hashes[i] = hash_of_kind((enum kind)_i, i);
	for (long k = 0;; k++) {
		struct keydir *first = keydir;
		long failures_before = failures;
		int result;

		ck_assert_int_lt(k, 10000);
		ck_assert_int_eq(keydir_create(&keydir, epoch), 0);
		for (size_t n = 0; n < 200; n++)
			insert(hashes[n], n);
		fail_after = k;
		result = keydir_reserve(keydir, hashes + 200, 2800);
		fail_after = -1;
		ck_assert_int_eq(
		    result, failures == failures_before ? 0 : ENOMEM);
		keydir_check(keydir);
		ck_assert_uint_eq(keydir_count(keydir), 200);
		for (size_t n = 0; n < 200; n++)
			expect_times(hashes[n], n, 1);

		/* A second time it may do, and then it holds. */
		ck_assert_int_eq(keydir_reserve(keydir, hashes + 200, 2800), 0);
		deny = true;
		for (size_t n = 200; n < 3000; n++)
			insert(hashes[n], n);
		deny = false;
		keydir_check(keydir);
		keydir_destroy(keydir);
		keydir = first;
		if (failures == failures_before) {
			ck_assert_int_gt(k, 3);
			break;
		}
	}
}
END_TEST

START_TEST(destroy_waits_for_readers_of_other_tables)
{
	struct epoch_token token = epoch_enter(epoch);
	struct keydir *other;

	ck_assert_int_eq(keydir_create(&other, epoch), 0);
	for (uint64_t n = 0; n < 5000; n++)
		ck_assert_int_eq(keydir_insert(other, hash_of(n), n), 0);
	keydir_destroy(other);
	epoch_reclaim(epoch);
	epoch_leave(epoch, token);
	epoch_reclaim(epoch);
}
END_TEST

/* ---- finds beside a writer ---- */

/*
 * Keys 0 to STABLE - 1 are in the table all the time: their locations change
 * between four values.  The writer inserts and removes others around them.
 */
#define READERS 2
#define STABLE 1000u

static _Atomic bool stop;
static _Atomic uint64_t missed, foreign, found;

static void *
find_all_the_time(void *arg)
{
	struct rng rng;
	uint64_t misses = 0, foreigners = 0, finds = 0;

	rng_init(&rng, (uintptr_t)arg);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t key = rng_below(&rng, STABLE);
		struct epoch_token token = epoch_enter(epoch);
		struct keydir_probe probe;
		uint64_t loc = keydir_first(keydir, hash_of(key), &probe);
		unsigned hits = 0;

		for (; loc != KEYDIR_NONE; loc = keydir_next(&probe)) {
			hits += loc / 4 == key;
			foreigners += loc / 4 != key;
		}
		misses += hits == 0;
		finds++;
		epoch_leave(epoch, token);
	}
	atomic_fetch_add(&missed, misses);
	atomic_fetch_add(&foreign, foreigners);
	atomic_fetch_add(&found, finds);
	return NULL;
}

/* ---- parts ---- */

#define PARTS_MAX 8u
#define PART_KEYS 20000u

static struct epoch *part_epochs[PARTS_MAX];
static struct keydir *parts[PARTS_MAX];

static uint64_t
part_hash(uint64_t n)
{
	return n * UINT64_C(0x9e3779b97f4a7c15) >> (64 - KEYDIR_HASH_BITS);
}

/* Tables of 2^bits parts that expect so many entries; 0 or ENOMEM. */
static int
make_parts(unsigned bits, uint64_t least, uint64_t most)
{
	memset(parts, 0, sizeof parts);
	memset(part_epochs, 0, sizeof part_epochs);
	for (unsigned p = 0; p < 1u << bits; p++) {
		int rc = epoch_create(&part_epochs[p]);

		if (rc == 0)
			rc = keydir_create_part(&parts[p], part_epochs[p], bits,
			    p, least >> bits, most >> bits);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
fill_parts(unsigned bits, uint64_t count)
{
	for (uint64_t n = 0; n < count; n++) {
		uint64_t hash = part_hash(n);
		struct keydir *part = parts[hash >> (KEYDIR_HASH_BITS - bits)];

		if (keydir_insert(part, hash, n) != 0)
			return ENOMEM;
	}
	return 0;
}

static void
end_parts(unsigned bits)
{
	for (unsigned p = 0; p < 1u << bits; p++) {
		if (parts[p] != NULL)
			keydir_destroy(parts[p]);
		if (part_epochs[p] != NULL)
			epoch_destroy(part_epochs[p]);
	}
}

/* Let the parts be the fixture's table. */
static bool
join_parts(unsigned bits)
{
	struct keydir *whole;

	for (unsigned p = 0; p < 1u << bits; p++) {
		epoch_reclaim(part_epochs[p]);
		keydir_check(parts[p]);
	}
	whole = keydir_join(parts, bits, epoch);
	if (whole == NULL)
		return false;
	memset(parts, 0, sizeof parts);
	keydir_destroy(keydir);
	keydir = whole;
	return true;
}

/* _i: bits, and whether what was expected is right, too little or too much. */
START_TEST(parts_become_one_table)
{
	unsigned bits = (unsigned)_i % 4;
	static const uint64_t expected[3][2] = {
	    {PART_KEYS, PART_KEYS}, {0, 10}, {PART_KEYS / 2, 10 * PART_KEYS}};
	const uint64_t *e = expected[_i / 4];

	ck_assert_int_eq(make_parts(bits, e[0], e[1]), 0);
	ck_assert_int_eq(fill_parts(bits, PART_KEYS), 0);
	ck_assert(join_parts(bits));
	end_parts(bits);
	keydir_check(keydir);
	ck_assert_uint_eq(keydir_count(keydir), PART_KEYS);
	for (uint64_t n = 0; n < PART_KEYS; n++)
		ck_assert_uint_eq(times_found(part_hash(n), n), 1);

	/* It goes on like any other. */
	for (uint64_t n = 0; n < PART_KEYS; n += 2)
		ck_assert(keydir_remove(keydir, part_hash(n), n));
	for (uint64_t n = PART_KEYS; n < 3 * PART_KEYS; n++) {
		uint64_t hash = part_hash(n);

		ck_assert_int_eq(keydir_reserve(keydir, &hash, 1), 0);
		ck_assert_int_eq(keydir_insert(keydir, hash, n), 0);
	}
	keydir_check(keydir);
	for (uint64_t n = 0; n < 3 * PART_KEYS; n++)
		ck_assert_uint_eq(
		    times_found(part_hash(n), n), n >= PART_KEYS || n % 2 == 1);
	if (_i / 4 == 0)
		ck_assert_uint_le(
		    keydir_bytes(keydir), 16 * keydir_count(keydir) + 65536);
}
END_TEST

START_TEST(parts_without_memory_leave_nothing)
{
	bool done = false;

	for (long nth = 0; !done; nth++) {
		fail_after = nth;
		done = make_parts(1, 500, 2000) == 0 &&
		       fill_parts(1, 2000) == 0 && join_parts(1);
		fail_after = -1;
		end_parts(1);
		ck_assert_int_lt(nth, 10000);
	}
	keydir_check(keydir);
	ck_assert_uint_eq(keydir_count(keydir), 2000);
}
END_TEST

START_TEST(finds_beside_a_writer_never_miss)
{
	const uint64_t others = TEST_IS_SANITIZED ? 20000 : 150000;
	uint64_t loc[STABLE];
	pthread_t threads[READERS];
	struct rng rng;

	rng_init(&rng, 5);
	for (uint64_t key = 0; key < STABLE; key++) {
		loc[key] = 4 * key;
		insert(hash_of(key), loc[key]);
	}
	for (uintptr_t i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     find_all_the_time, (void *)(i + 1)),
		    0);
	for (int turn = 0; turn < 3; turn++) {
		for (uint64_t key = STABLE; key < others; key++) {
			uint64_t stable = rng_below(&rng, STABLE);
			uint64_t to = 4 * stable + rng_below(&rng, 4);
			uint64_t hash = hash_of(key);

			replace(hash_of(stable), loc[stable], to);
			loc[stable] = to;
			reserve(hash);
			insert(hash, 4 * key);
		}
		for (uint64_t key = STABLE; key < others; key++)
			take_out(hash_of(key), 4 * key);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	keydir_check(keydir);
	ck_assert_uint_eq(atomic_load(&missed), 0);
	ck_assert_uint_gt(atomic_load(&found), 0);

	/* Not forbidden, but one in 2^24 at most. */
	ck_assert_uint_le(atomic_load(&foreign), 2);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("keydir");
	TCase *tc = tcase_create("keydir");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, empty_table_is_small_and_finds_nothing);
	tcase_add_test(tc, destroy_accepts_null);
	tcase_add_test(tc, every_hash_and_location_can_be_stored);
	tcase_add_test(tc, replace_and_remove_touch_only_their_entry);
	tcase_add_loop_test(tc, hashes_that_differ_in_one_bit_are_told_apart, 0,
	    KEYDIR_HASH_BITS);
	tcase_add_test(tc, a_find_ends_where_all_buckets_have_its_mark);
	tcase_add_test(tc, a_find_goes_on_in_what_it_began_in);
	tcase_add_loop_test(
	    tc, random_operations_agree_with_a_model, 0, KIND_COUNT);
	tcase_add_test(tc, memory_is_at_most_16_bytes_per_key_at_every_size);
	tcase_add_test(tc, small_tables_are_small);
	tcase_add_test(tc, churn_costs_neither_memory_nor_speed);
	tcase_add_test(tc, room_of_removed_entries_is_used_again);
	tcase_add_test(tc, thousands_of_equal_hashes_work);
	tcase_add_loop_test(
	    tc, inserts_need_no_memory_after_a_reserve, 0, KIND_COUNT);
	tcase_add_test(tc, removes_do_not_take_reserved_room_away);
	tcase_add_test(tc, tidying_is_left_out_without_memory);
	tcase_add_test(tc, failed_inserts_change_nothing);
	tcase_add_loop_test(tc, failed_reserves_change_nothing, 0, KIND_COUNT);
	tcase_add_test(tc, destroy_waits_for_readers_of_other_tables);
	tcase_add_loop_test(tc, parts_become_one_table, 0, 12);
	tcase_add_test(tc, parts_without_memory_leave_nothing);
	tcase_add_test(tc, finds_beside_a_writer_never_miss);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
