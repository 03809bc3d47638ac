/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "epoch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "test.h"

static struct epoch *epoch;
static unsigned freed;

static void
setup(void)
{
	ck_assert_int_eq(epoch_create(&epoch), 0);
	freed = 0;
}

static void
teardown(void)
{
	epoch_destroy(epoch);
	epoch = NULL;
}

static void
count_free(void *arg)
{
	(void)arg;
	freed++;
}

START_TEST(reclaim_frees_at_once_without_readers)
{
	struct epoch_node node;

	epoch_reclaim(epoch);
	epoch_retire(epoch, &node, count_free, NULL);
	ck_assert_uint_eq(freed, 0);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 1);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

START_TEST(reclaim_waits_for_a_reader_from_before)
{
	struct epoch_node node;
	struct epoch_token token = epoch_enter(epoch);

	epoch_retire(epoch, &node, count_free, NULL);
	for (int i = 0; i < 10; i++)
		epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 0);
	epoch_leave(epoch, token);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

/* Readers come and go all the time, yet each stays only for a while. */
START_TEST(readers_in_turn_do_not_hold_it_up)
{
	struct epoch_node node;
	struct epoch_token one = epoch_enter(epoch), two;
	unsigned turns = 0;

	epoch_retire(epoch, &node, count_free, NULL);
	while (freed == 0 && turns < 10) {
		epoch_reclaim(epoch);
		two = epoch_enter(epoch);
		epoch_leave(epoch, one);
		one = two;
		turns++;
	}
	ck_assert_uint_eq(freed, 1);
	ck_assert_uint_gt(turns, 1);
	epoch_leave(epoch, one);
}
END_TEST

START_TEST(the_outer_section_counts)
{
	struct epoch_node node;
	struct epoch_token outer = epoch_enter(epoch);
	struct epoch_token inner = epoch_enter(epoch);

	epoch_retire(epoch, &node, count_free, NULL);
	epoch_leave(epoch, inner);
	epoch_reclaim(epoch);
	epoch_reclaim(epoch);
	inner = epoch_enter(epoch); /* of a later epoch */
	epoch_leave(epoch, inner);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 0);
	epoch_leave(epoch, outer);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

/* A node lies in the object, which is gone once its function was called. */
struct thing {
	struct epoch_node node;
	unsigned number;
};

static void
free_thing(void *arg)
{
	struct thing *thing = arg;

	ck_assert_uint_eq(thing->number, freed); /* in the order of retiring */
	freed++;
	free(thing);
}

static void
retire_thing(unsigned number)
{
	struct thing *thing = malloc(sizeof *thing);

	ck_assert_ptr_nonnull(thing);
	thing->number = number;
	epoch_retire(epoch, &thing->node, free_thing, thing);
}

START_TEST(destroy_frees_what_waits_in_order)
{
	struct epoch_token token = epoch_enter(epoch);

	for (unsigned i = 0; i < 100; i++) {
		retire_thing(i);
		if (i % 10 == 0)
			epoch_reclaim(epoch);
	}
	epoch_leave(epoch, token);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed, 100);
	for (unsigned i = 100; i < 200; i++)
		retire_thing(i);
	epoch_destroy(epoch);
	epoch = NULL;
	ck_assert_uint_eq(freed, 200);
}
END_TEST

/*
 * One writer swaps a shared pointer and retires what was there; readers
 * follow the pointer for a while.  What is freed is poisoned first, so a
 * reader that still looks at it sees that even without a sanitizer.
 */
#define READERS 3
#define ALIVE UINT64_C(0x600d600d600d600d)

struct object {
	_Atomic uint64_t words[8];
	struct epoch_node node;
};

static _Atomic(struct object *) shared;
static _Atomic bool stop;
static _Atomic uint64_t dead_seen, reads;
static unsigned freed_objects;

static void
free_object(void *arg)
{
	struct object *object = arg;

	for (int i = 0; i < 8; i++)
		atomic_store_explicit(
		    &object->words[i], 0, memory_order_relaxed);
	freed_objects++;
	free(object);
}

static struct object *
new_object(void)
{
	struct object *object = malloc(sizeof *object);

	ck_assert_ptr_nonnull(object);
	for (int i = 0; i < 8; i++)
		atomic_init(&object->words[i], ALIVE);
	return object;
}

static void *
read_shared(void *arg)
{
	uint64_t dead = 0, count = 0;

	(void)arg;
	while (!atomic_load(&stop)) {
		struct epoch_token token = epoch_enter(epoch);
		struct object *object =
		    atomic_load_explicit(&shared, memory_order_acquire);

		for (int i = 0; i < 64; i++)
			dead += atomic_load_explicit(&object->words[i % 8],
				    memory_order_relaxed) != ALIVE;
		epoch_leave(epoch, token);
		count++;
	}
	atomic_fetch_add(&dead_seen, dead);
	atomic_fetch_add(&reads, count);
	return NULL;
}

START_TEST(readers_never_see_what_is_freed)
{
	const unsigned rounds = 200000;
	pthread_t threads[READERS];

	atomic_store(&shared, new_object());
	for (int i = 0; i < READERS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, read_shared, NULL), 0);
	for (unsigned i = 0; i < rounds; i++) {
		struct object *old = atomic_exchange(&shared, new_object());

		epoch_retire(epoch, &old->node, free_object, old);
		epoch_reclaim(epoch);
	}
	/* Not all at the end: readers do not keep the epoch from going on. */
	ck_assert_uint_gt(freed_objects, rounds / 2);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	epoch_reclaim(epoch);
	ck_assert_uint_eq(freed_objects, rounds);
	ck_assert_uint_eq(atomic_load(&dead_seen), 0);
	ck_assert_uint_gt(atomic_load(&reads), 0);
	free(atomic_load(&shared));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("epoch");
	TCase *tc = tcase_create("epoch");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, reclaim_frees_at_once_without_readers);
	tcase_add_test(tc, reclaim_waits_for_a_reader_from_before);
	tcase_add_test(tc, readers_in_turn_do_not_hold_it_up);
	tcase_add_test(tc, the_outer_section_counts);
	tcase_add_test(tc, destroy_frees_what_waits_in_order);
	tcase_add_test(tc, readers_never_see_what_is_freed);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
