/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "arena.h"

#include <string.h>

#include "os.h"
#include "test.h"

#define COUNT 3000u
#define HUGE_UNITS (OS_HUGE_PAGE / ARENA_UNIT_BYTES)

static const struct os_table *os_before;
static struct os_table os_failing;
static bool deny;
static unsigned pages_count, huge_count; /* chunks of pages, of huge ones */
static uintptr_t huge_last;
static struct arena arena;
static void *units[COUNT];

static void *
failing_aligned(size_t align, size_t size)
{
	return deny ? NULL : os_before->aligned(align, size);
}

static void *
failing_pages(size_t size)
{
	void *p = deny ? NULL : os_before->pages(size);

	pages_count += p != NULL;
	if (p != NULL && size >= OS_HUGE_PAGE) {
		ck_assert_uint_eq(size, OS_HUGE_PAGE);
		huge_count++;
		huge_last = (uintptr_t)p;
	}
	return p;
}

static void
counting_free_pages(void *p, size_t size)
{
	ck_assert_uint_gt(pages_count, 0);
	pages_count--;
	os_before->free_pages(p, size);
}

static void
setup(void)
{
	os_before = os;
	os_failing = *os;
	os_failing.aligned = failing_aligned;
	os_failing.pages = failing_pages;
	os_failing.free_pages = counting_free_pages;
	os = &os_failing;
	deny = false;
	pages_count = 0;
	huge_count = 0;
	arena_init(&arena);
}

static void
teardown(void)
{
	arena_fini(&arena);
	ck_assert_uint_eq(arena_bytes(&arena), 0);
	ck_assert_uint_eq(pages_count, 0);
	os = os_before;
}

static void
get_all(void)
{
	for (unsigned i = 0; i < COUNT; i++) {
		units[i] = arena_get(&arena);
		ck_assert_ptr_nonnull(units[i]);
		memset(units[i], (int)(i % 251), ARENA_UNIT_BYTES);
	}
}

START_TEST(units_are_apart_and_aligned)
{
	get_all();
	arena_check(&arena, COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		const uint8_t *unit = units[i];
		unsigned wrong = 0;

		ck_assert_uint_eq((uintptr_t)unit % CACHE_LINE, 0);
		for (unsigned k = 0; k < ARENA_UNIT_BYTES; k++)
			wrong += unit[k] != i % 251;
		ck_assert_uint_eq(wrong, 0);
		arena_put(&arena, units[i]);
	}
	arena_check(&arena, 0);
}
END_TEST

START_TEST(bytes_are_little_more_than_the_units)
{
	ck_assert_uint_eq(arena_bytes(&arena), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		units[i] = arena_get(&arena);
		ck_assert_uint_ge(
		    arena_bytes(&arena), (i + 1) * ARENA_UNIT_BYTES);
		ck_assert_uint_le(arena_bytes(&arena),
		    (i + 1 + i / 8 + 16) * ARENA_UNIT_BYTES);
	}
	for (unsigned i = 0; i < COUNT; i++)
		arena_put(&arena, units[i]);
}
END_TEST

START_TEST(units_given_back_serve_again)
{
	uint64_t bytes;

	get_all();
	bytes = arena_bytes(&arena);
	for (unsigned i = 0; i < COUNT; i++)
		arena_put(&arena, units[i]);
	deny = true;
	get_all();
	ck_assert_uint_eq(arena_bytes(&arena), bytes);
	for (unsigned i = 0; i < COUNT; i++)
		arena_put(&arena, units[i]);
}
END_TEST

/* A huge page is in memory as a whole: only where that is little more. */
START_TEST(much_memory_is_in_huge_pages)
{
	const unsigned few = 16 * HUGE_UNITS;
	unsigned outside = 0;

	for (unsigned i = 0; i < few - HUGE_UNITS; i++)
		(void)arena_get(&arena);
	ck_assert_uint_gt(pages_count, 0);
	ck_assert_uint_eq(huge_count, 0);
	for (unsigned i = 0; i < 3 * HUGE_UNITS; i++) {
		uintptr_t unit = (uintptr_t)arena_get(&arena);

		outside += huge_count > 0 && unit - huge_last >= OS_HUGE_PAGE;
	}
	ck_assert_uint_ge(huge_count, 2);
	ck_assert_uint_eq(outside, 0);
	arena.unit_count = 0; /* forget them */
}
END_TEST

START_TEST(expected_memory_is_in_huge_pages_from_the_start)
{
	arena_expect(&arena, 16 * HUGE_UNITS - 1);
	arena_put(&arena, arena_get(&arena));
	ck_assert_uint_eq(huge_count, 0);
	arena_fini(&arena);
	arena_init(&arena);
	arena_expect(&arena, 16 * HUGE_UNITS);
	for (unsigned i = 0; i < HUGE_UNITS; i++)
		units[i] = arena_get(&arena);
	ck_assert_uint_eq(huge_count, 2); /* each has less than its size */
	for (unsigned i = 0; i < HUGE_UNITS; i++)
		arena_put(&arena, units[i]);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
	void *unit = arena_get(&arena);
	uint64_t bytes = arena_bytes(&arena);
	unsigned count = 0;

	deny = true;
	ck_assert_ptr_null(arena_get_bytes(&arena, 100));
	ck_assert_uint_eq(arena_bytes(&arena), bytes);

	/* What is left of the chunk can still be had. */
	while ((units[count] = arena_get(&arena)) != NULL)
		count++;
	ck_assert_uint_lt(count, 16);
	ck_assert_uint_eq(arena_bytes(&arena), bytes);
	arena_check(&arena, 1 + count);
	deny = false;
	units[count] = arena_get(&arena);
	ck_assert_ptr_nonnull(units[count]);
	arena_put(&arena, unit);
	for (unsigned i = 0; i <= count; i++)
		arena_put(&arena, units[i]);
	arena_check(&arena, 0);
}
END_TEST

START_TEST(other_sizes_are_counted)
{
	char *p = arena_get_bytes(&arena, 65);

	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq((uintptr_t)p % CACHE_LINE, 0);
	memset(p, 1, 65);
	ck_assert_uint_eq(arena_bytes(&arena), 128);
	arena_put_bytes(&arena, p, 65);
	ck_assert_uint_eq(arena_bytes(&arena), 0);
	ck_assert_ptr_null(arena_get_bytes(&arena, UINT64_MAX));
	ck_assert_ptr_null(arena_get_bytes(&arena, UINT64_MAX - 63));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("arena");
	TCase *tc = tcase_create("arena");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, units_are_apart_and_aligned);
	tcase_add_test(tc, bytes_are_little_more_than_the_units);
	tcase_add_test(tc, units_given_back_serve_again);
	tcase_add_test(tc, much_memory_is_in_huge_pages);
	tcase_add_test(tc, expected_memory_is_in_huge_pages_from_the_start);
	tcase_add_test(tc, without_memory_nothing_changes);
	tcase_add_test(tc, other_sizes_are_counted);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
