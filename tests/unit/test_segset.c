/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_segset.c - the live set, and locations that lead to its segments.
 * Segments are made up: the set looks at nothing but their sizes.
 */
#include "config.h"

#include "segset.h"
#include "simos.h"
#include "test.h"

#include <errno.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define CHUNKS (UINT64_C(1) << (SEGSET_LOC_BITS - SEGSET_CHUNK_BITS))

static struct segset *set;

static void
setup(void)
{
	simos_init(1);
	set = segset_create();
	ck_assert_ptr_nonnull(set);
}

/* The set owns its segments, and closes them. */
static void
teardown(void)
{
	segset_destroy(set);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	simos_fini();
}

static struct segment *
segment_of(uint64_t size)
{
	struct segment *seg = os->calloc(1, sizeof *seg);

	ck_assert_ptr_nonnull(seg);
	seg->fd = -1;
	seg->header.size = seg->file_len = size;
	atomic_init(&seg->end, size - 8);
	return seg;
}

static struct segment *
add(uint64_t size)
{
	struct segment *seg = segment_of(size);

	ck_assert_int_eq(segset_add(set, seg, NULL), KVLOG_OK);
	return seg;
}

/* A location of seg leads back to it. */
static void
expect_at(const struct segment *seg, uint64_t off)
{
	uint64_t loc = segset_loc(seg, off), found;

	ck_assert_uint_lt(loc, UINT64_C(1) << SEGSET_LOC_BITS);
	ck_assert_ptr_eq(segset_at(set, loc, &found), seg);
	ck_assert_uint_eq(found, off);
}

START_TEST(locations_lead_back_whatever_the_sizes)
{
	static const uint64_t sizes[] = {8192, MIB, MIB + 4096, 5 * MIB, 8192,
	    MIB - 4096, 3000 * MIB, 12288};
	struct segment *segs[sizeof sizes / sizeof sizes[0]];
	const size_t count = sizeof sizes / sizeof sizes[0];
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		segs[i] = add(sizes[i]);
		bytes += sizes[i] - 8;
	}
	ck_assert_uint_eq(set->count, count);
	ck_assert_uint_eq(segset_bytes(set), bytes);
	for (size_t i = 0; i < count; i++) {
		ck_assert_ptr_eq(set->segments[i], segs[i]);
		expect_at(segs[i], 0);
		expect_at(segs[i], SEGMENT_DATA_OFF);
		expect_at(segs[i], sizes[i] / 2 / 8 * 8);
		expect_at(segs[i], sizes[i] - 8);
	}
}
END_TEST

START_TEST(no_two_places_share_a_location)
{
	struct segment *a = add(MIB), *b = add(8192), *c = add(2 * MIB);

	ck_assert_uint_lt(segset_loc(a, MIB - 8), segset_loc(b, 0));
	ck_assert_uint_lt(segset_loc(b, 8192 - 8), segset_loc(c, 0));
}
END_TEST

/* Earlier locations go on being good while the set grows. */
START_TEST(the_set_grows)
{
	struct segment *first = add(8192);

	for (unsigned i = 0; i < 5000; i++)
		(void)add(8192);
	ck_assert_uint_eq(set->count, 5001);
	expect_at(first, SEGMENT_DATA_OFF);
	for (size_t i = 0; i < set->count; i++)
		expect_at(set->segments[i], 4616);
}
END_TEST

START_TEST(the_last_one_can_be_taken_out)
{
	struct segment *a = add(8192), *c;

	(void)add(3 * MIB);
	segset_drop_last(set);
	ck_assert_uint_eq(set->count, 1);
	ck_assert_uint_eq(segset_bytes(set), 8192 - 8);
	c = add(4096 * 3);
	ck_assert_uint_eq(set->count, 2);
	expect_at(a, 4608);
	expect_at(c, 4608);
}
END_TEST

START_TEST(eight_tebibytes_are_the_limit)
{
	struct segment *a, *b = segment_of(2 * MIB);
	struct kvlog_error err;

	ck_assert_uint_eq(set->chunk_count, CHUNKS);
	set->chunk_count = 2; /* as if the others were in use */
	a = add(MIB);
	ck_assert_int_eq(segset_add(set, b, &err), KVLOG_TOOBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "8 TiB"));
	ck_assert_uint_eq(set->count, 1);
	b->header.size = MIB;
	ck_assert_int_eq(segset_add(set, b, &err), KVLOG_OK);
	expect_at(a, MIB - 8);
	expect_at(b, MIB - 8);
	b = segment_of(8192);
	ck_assert_int_eq(segset_add(set, b, &err), KVLOG_TOOBIG);
	segment_close(b);
}
END_TEST

/* The last ones there are, and then those of segments that are gone: the first
 * that have room. */
START_TEST(locations_are_given_again)
{
	struct segment *a = add(2 * MIB), *b = add(MIB), *c, *d, *e;

	set->next_chunk = CHUNKS - 1;
	c = add(MIB);
	ck_assert_uint_eq(
	    segset_loc(c, MIB - 8), (UINT64_C(1) << SEGSET_LOC_BITS) - 1);
	d = segment_of(MIB);
	ck_assert_int_eq(segset_place(set, &d, 1, NULL), KVLOG_OK);
	ck_assert_uint_eq(segset_loc(d, 0), 3 * MIB / 8);
	segset_replace(set, 0, 1, &d, 1);
	expect_at(a, 4608);
	segset_forget(set, a);
	segment_close(a);
	set->next_chunk = CHUNKS;
	e = add(MIB);
	ck_assert_uint_eq(segset_loc(e, 0), 0);
	expect_at(b, 4608);
	expect_at(c, 4608);
	expect_at(d, 4608);
	expect_at(e, 4608);
}
END_TEST

/* A list that lasts, whatever becomes of the set. */
START_TEST(a_copy_keeps_its_segments)
{
	struct segment *a = add(8192), *b = add(8192);
	struct segset *copy = segset_copy(set, set->count);

	ck_assert_uint_eq(copy->count, 2);
	segset_drop_last(set);
	ck_assert_ptr_eq(copy->segments[0], a);
	ck_assert_ptr_eq(copy->segments[1], b);
	ck_assert_uint_eq(b->header.size, 8192);
	ck_assert_uint_eq(atomic_load(&a->refs), 1);
	ck_assert_uint_eq(atomic_load(&b->refs), 0);
	segset_destroy(copy);
	ck_assert_uint_eq(atomic_load(&a->refs), 0);
}
END_TEST

/* _i: the allocation that fails.  The caller keeps the segment. */
START_TEST(want_of_memory_changes_nothing)
{
	struct segment *seg = segment_of(2049 * MIB); /* two tables */
	struct kvlog_error err;

	simos_fail(SIMOS_MALLOC, (uint64_t)_i, ENOMEM, false);
	ck_assert_int_eq(segset_add(set, seg, &err), KVLOG_NOMEM);
	simos_fail_clear();
	ck_assert_int_eq(err.status, KVLOG_NOMEM);
	ck_assert_uint_eq(set->count, 0);
	ck_assert_uint_eq(segset_bytes(set), 0);
	ck_assert_int_eq(segset_add(set, seg, &err), KVLOG_OK);
	expect_at(seg, 2048 * MIB);
}
END_TEST

/* More, as many, fewer: what is around them stays, and so do locations. */
START_TEST(some_take_the_place_of_others)
{
	static const size_t counts[][2] = {{1, 3}, {2, 2}, {3, 1}, {3, 20}};
	const size_t old_count = counts[_i][0], count = counts[_i][1];
	struct segment *before = add(8192), *old[3], *new[20], *behind;
	uint64_t locs[3];

	for (size_t i = 0; i < old_count; i++) {
		old[i] = add(MIB);
		locs[i] = segset_loc(old[i], 4608);
	}
	behind = add(8192);
	for (size_t i = 0; i < count; i++)
		new[i] = segment_of(2 * MIB);
	ck_assert_int_eq(segset_place(set, new, count, NULL), KVLOG_OK);
	ck_assert_uint_eq(set->count, old_count + 2);
	segset_replace(set, 1, old_count, new, count);

	ck_assert_uint_eq(set->count, count + 2);
	ck_assert_ptr_eq(set->segments[0], before);
	ck_assert_ptr_eq(set->segments[count + 1], behind);
	for (size_t i = 0; i < count; i++) {
		ck_assert_ptr_eq(set->segments[i + 1], new[i]);
		expect_at(new[i], 2 * MIB - 8);
	}
	expect_at(before, 4608);
	expect_at(behind, 4608);
	for (size_t i = 0; i < old_count; i++) {
		ck_assert_uint_eq(segset_loc(old[i], 4608), locs[i]);
		expect_at(old[i], 4608);
		segment_close(old[i]);
	}
}
END_TEST

START_TEST(the_latest_time_of_all_is_kept)
{
	struct segment *a = segment_of(8192), *b = segment_of(8192);

	a->header.now_ms = 7;
	ck_assert_int_eq(segset_add(set, a, NULL), KVLOG_OK);
	ck_assert_uint_eq(set->now_ms, 7);
	ck_assert_int_eq(segset_place(set, &b, 1, NULL), KVLOG_OK);
	b->header.now_ms = 9;
	segset_replace(set, 0, 1, &b, 1);
	ck_assert_uint_eq(set->now_ms, 9);
	segment_close(a);
}
END_TEST

/* Either all get a place or none. */
START_TEST(want_of_places_changes_nothing)
{
	struct segment *segs[2] = {segment_of(MIB), segment_of(2 * MIB)};
	struct kvlog_error err;

	simos_fail(SIMOS_MALLOC, (uint64_t)_i, ENOMEM, false);
	ck_assert_int_eq(segset_place(set, segs, 2, &err), KVLOG_NOMEM);
	simos_fail_clear();
	ck_assert_uint_eq(set->next_chunk, 0);
	ck_assert_uint_eq(set->count, 0);
	set->chunk_count = 2;
	ck_assert_int_eq(segset_place(set, segs, 2, &err), KVLOG_TOOBIG);
	ck_assert_uint_eq(set->next_chunk, 0);
	set->chunk_count = CHUNKS;
	ck_assert_uint_eq(set->count, 0);
	segment_close(segs[0]);
	segment_close(segs[1]);
}
END_TEST

START_TEST(a_set_that_cannot_be_made_is_null)
{
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_ptr_null(segset_create());
	simos_fail_clear();
	segset_destroy(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("segset");
	TCase *tc = tcase_create("segset");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, locations_lead_back_whatever_the_sizes);
	tcase_add_test(tc, no_two_places_share_a_location);
	tcase_add_test(tc, the_set_grows);
	tcase_add_test(tc, the_last_one_can_be_taken_out);
	tcase_add_test(tc, eight_tebibytes_are_the_limit);
	tcase_add_test(tc, locations_are_given_again);
	tcase_add_test(tc, a_copy_keeps_its_segments);
	tcase_add_loop_test(tc, want_of_memory_changes_nothing, 1, 4);
	tcase_add_loop_test(tc, some_take_the_place_of_others, 0, 4);
	tcase_add_test(tc, the_latest_time_of_all_is_kept);
	tcase_add_loop_test(tc, want_of_places_changes_nothing, 1, 3);
	tcase_add_test(tc, a_set_that_cannot_be_made_is_null);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
