/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_stress.c - what kvlog-stress judges by: everything that a store may
 * answer passes, and each kind of wrong answer is found and told.
 */
#include "config.h"

#include "../../tools/stress/board.h"
#include "../../tools/stress/report.h"

#include <string.h>

#include "test.h"

static const struct scheme scheme = {
    .seed = 7,
    .counters = 2,
    .owners = 3,
    .singles = 5,
    .pairs = 2,
    .filler_max = 40,
};

#define CELLS (2 + 3 * (5 + 2))
#define COUNTER 1 /* a cell */
#define SINGLE 11 /* a cell of owner 1 */
#define PAIR 14   /* likewise */
#define OWNER 1

static struct cell cells[CELLS];
static struct verdicts verdicts;
static struct memory memory;
static struct check check;
static char value[SCHEME_HEAD_MAX + 40];

static void
setup(void)
{
	memset(cells, 0, sizeof cells);
	memset(&verdicts, 0, sizeof verdicts);
	memset(&memory, 0, sizeof memory);
	check = (struct check){&scheme, cells, &verdicts};
}

/* The writes of a cell as far as they have come. */
static void
written(size_t cell, uint64_t issued, uint64_t acked, uint64_t seen)
{
	atomic_store(&cells[cell].issued, issued);
	atomic_store(&cells[cell].acked, acked);
	atomic_store(&cells[cell].seen, seen);
}

/* The next write behind number that puts, or deletes. */
static uint64_t
next(size_t cell, uint64_t number, bool deletes)
{
	do {
		number++;
	} while (scheme_deletes(&scheme, cell, number) != deletes);
	return number;
}

/* A put that is followed by another put, and by a delete. */
static uint64_t
put_before(size_t cell, bool deletes)
{
	uint64_t number = next(cell, 0, false);

	while (scheme_deletes(&scheme, cell, number + 1) != deletes)
		number = next(cell, number, false);
	return number;
}

static struct sight
sight_of(size_t cell, uint32_t writer, uint64_t number, uint64_t seq)
{
	size_t len = scheme_value(&scheme, cell, 0, writer, number, value);

	return (struct sight){true, value, len, seq};
}

static const struct sight nothing = {.present = false};

static bool
read_now(size_t cell, struct sight sight)
{
	return check_sight(
	    &check, cell, 0, cell_low(&cells[cell]), &sight, &memory, NULL);
}

/* One verdict, which says so. */
static void
told(const char *text)
{
	ck_assert_uint_eq(atomic_load(&verdicts.count), 1);
	ck_assert(atomic_load(&verdicts.verdict[0].ready));
	ck_assert_msg(strstr(verdicts.verdict[0].text, text) != NULL,
	    "\"%s\" is not in: %s", text, verdicts.verdict[0].text);
}

START_TEST(keys_are_distinct_and_in_the_order_of_cells)
{
	char key[SCHEME_KEY_MAX], prefix[SCHEME_KEY_MAX];
	char last[SCHEME_KEY_MAX] = "";
	size_t len;

	ck_assert_uint_eq(scheme_cell_count(&scheme), CELLS);
	for (size_t cell = 0; cell < CELLS; cell++) {
		struct place place = scheme_place(&scheme, cell);
		size_t first = scheme_first(&scheme, place.owner);

		ck_assert_uint_ge(cell, first);
		ck_assert_uint_lt(
		    cell, first + scheme_count(&scheme, place.owner));
		len = scheme_prefix(place.owner, prefix);
		for (unsigned side = 0; side < place.sides; side++) {
			ck_assert_uint_eq(
			    scheme_key(&scheme, cell, side, key), strlen(key));
			ck_assert_int_eq(strncmp(key, prefix, len), 0);
			ck_assert_int_gt(strcmp(key, last), 0);
			strcpy(last, key);
		}
	}
	ck_assert_int_eq(scheme_place(&scheme, COUNTER).kind, CELL_COUNTER);
	ck_assert_int_eq(scheme_place(&scheme, SINGLE).kind, CELL_SINGLE);
	ck_assert_int_eq(scheme_place(&scheme, PAIR).kind, CELL_PAIR);
	ck_assert_uint_eq(scheme_place(&scheme, PAIR).owner, OWNER);
}
END_TEST

START_TEST(cells_of_owners_are_put_and_deleted_and_counters_are_put)
{
	unsigned deletes = 0;

	for (uint64_t number = 1; number <= 600; number++) {
		ck_assert(!scheme_deletes(&scheme, COUNTER, number));
		deletes += scheme_deletes(&scheme, SINGLE, number);
	}
	ck_assert_uint_gt(deletes, 50);
	ck_assert_uint_lt(deletes, 200);
	ck_assert(scheme_deletes(&scheme, COUNTER, 0));
	ck_assert(scheme_deletes(&scheme, SINGLE, 0));
}
END_TEST

START_TEST(values_say_who_wrote_them_and_when)
{
	uint32_t writer;
	uint64_t number;
	size_t len, shortest = sizeof value, longest = 0;

	for (size_t cell = 0; cell < CELLS; cell++) {
		for (unsigned side = 0;
		     side < scheme_place(&scheme, cell).sides; side++) {
			len = scheme_value(
			    &scheme, cell, side, 2, 1000 + cell, value);
			ck_assert_uint_le(len, scheme_value_max(&scheme));
			ck_assert(scheme_value_read(
			    &scheme, cell, side, value, len, &writer, &number));
			ck_assert_uint_eq(writer, 2);
			ck_assert_uint_eq(number, 1000 + cell);
			shortest = len < shortest ? len : shortest;
			longest = len > longest ? len : longest;
		}
	}
	ck_assert_uint_gt(longest, shortest + 20);
}
END_TEST

START_TEST(a_value_with_any_byte_changed_is_nobodys)
{
	uint32_t writer;
	uint64_t number;
	size_t len = scheme_value(&scheme, SINGLE, 0, OWNER, 123456, value);

	for (size_t i = 0; i < len; i++) {
		value[i] ^= 1;
		ck_assert_msg(!scheme_value_read(&scheme, SINGLE, 0, value, len,
				  &writer, &number),
		    "byte %zu", i);
		value[i] ^= 1;
	}
	for (size_t i = 0; i < len; i++)
		ck_assert(!scheme_value_read(
		    &scheme, SINGLE, 0, value, i, &writer, &number));
	value[len] = '0';
	ck_assert(!scheme_value_read(
	    &scheme, SINGLE, 0, value, len + 1, &writer, &number));
}
END_TEST

START_TEST(a_value_belongs_to_its_key_alone)
{
	uint32_t writer;
	uint64_t number;
	size_t len = scheme_value(&scheme, PAIR, 0, OWNER, 5, value);
	struct scheme other = scheme;

	ck_assert(
	    !scheme_value_read(&scheme, PAIR, 1, value, len, &writer, &number));
	ck_assert(!scheme_value_read(
	    &scheme, PAIR + 1, 0, value, len, &writer, &number));
	other.seed++;
	ck_assert(
	    !scheme_value_read(&other, PAIR, 0, value, len, &writer, &number));
}
END_TEST

START_TEST(what_was_acknowledged_or_is_under_way_may_be_read)
{
	uint64_t number = put_before(SINGLE, false);

	ck_assert(read_now(SINGLE, nothing));
	written(SINGLE, number + 1, number, 0);
	ck_assert(read_now(SINGLE, sight_of(SINGLE, OWNER, number, 10)));
	ck_assert(read_now(SINGLE, sight_of(SINGLE, OWNER, number, 10)));
	ck_assert(read_now(SINGLE, sight_of(SINGLE, OWNER, number + 1, 12)));
	ck_assert_uint_eq(atomic_load(&verdicts.count), 0);
	ck_assert_uint_eq(cell_low(&cells[SINGLE]), number + 1);
}
END_TEST

START_TEST(a_lost_acknowledged_write_is_found)
{
	uint64_t number = put_before(SINGLE, false);

	written(SINGLE, number + 1, number + 1, 0);
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER, number, 0)));
	told("w00001/k00002 (acknowledged");
}
END_TEST

START_TEST(a_value_that_goes_back_behind_what_was_seen_is_found)
{
	uint64_t number = put_before(SINGLE, false);

	written(SINGLE, number + 1, number - 1, 0);
	ck_assert(read_now(SINGLE, sight_of(SINGLE, OWNER, number + 1, 0)));
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER, number, 0)));
	told("read number ");
}
END_TEST

START_TEST(a_value_that_was_not_issued_yet_is_found)
{
	uint64_t number = put_before(SINGLE, false);

	written(SINGLE, number, number, number);
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER, number + 1, 0)));
	told("read number ");
}
END_TEST

START_TEST(a_missing_key_is_found)
{
	uint64_t number = put_before(SINGLE, false);

	written(SINGLE, number + 1, number, 0);
	ck_assert(!read_now(SINGLE, nothing));
	told("read nothing");
}
END_TEST

START_TEST(a_key_may_be_absent_where_a_delete_is_under_way)
{
	uint64_t number = put_before(SINGLE, true);
	uint64_t seen;

	written(SINGLE, number + 1, number, 0);
	ck_assert(
	    check_sight(&check, SINGLE, 0, number, &nothing, NULL, &seen));
	ck_assert_uint_eq(seen, number + 1);
	/* Now it has been seen to be deleted. */
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER, number, 0)));
	told("read number ");
}
END_TEST

START_TEST(an_absence_is_no_later_than_it_must_be)
{
	uint64_t first = next(SINGLE, 0, true), number;

	ck_assert(check_absence(&check, SINGLE, 0, 1000, &number));
	ck_assert_uint_eq(number, 0);
	ck_assert(check_absence(&check, SINGLE, 1, 1000, &number));
	ck_assert_uint_eq(number, first);
	ck_assert(!check_absence(&check, SINGLE, 1, first - 1, &number));
}
END_TEST

START_TEST(a_value_of_a_write_that_deletes_is_found)
{
	uint64_t number = next(SINGLE, 0, true);

	written(SINGLE, number, 0, 0);
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER, number, 0)));
	told("it deletes");
}
END_TEST

START_TEST(a_value_of_another_writer_is_found)
{
	uint64_t number = next(SINGLE, 0, false);

	written(SINGLE, number, 0, 0);
	ck_assert(!read_now(SINGLE, sight_of(SINGLE, OWNER + 1, number, 0)));
	told("another writer");
}
END_TEST

START_TEST(a_counter_is_everybodys)
{
	written(COUNTER, 3, 2, 0);
	ck_assert(read_now(COUNTER, sight_of(COUNTER, 0, 2, 0)));
	ck_assert(read_now(COUNTER, sight_of(COUNTER, 2, 3, 0)));
	ck_assert(!read_now(COUNTER, sight_of(COUNTER, 3, 3, 0)));
	told("another writer");
}
END_TEST

START_TEST(two_increments_that_made_the_same_step_are_found)
{
	written(COUNTER, 2, 2, 1);
	ck_assert(!read_now(COUNTER, sight_of(COUNTER, 0, 1, 0)));
	told("count/00001 (acknowledged 2");
}
END_TEST

START_TEST(a_torn_value_is_found)
{
	uint64_t number = next(SINGLE, 0, false);
	struct sight sight;

	written(SINGLE, number, 0, 0);
	sight = sight_of(SINGLE, OWNER, number, 0);
	value[sight.len - 1] ^= 2;
	ck_assert(!read_now(SINGLE, sight));
	told("nobody has written");
}
END_TEST

START_TEST(commits_that_do_not_rise_with_the_writes_are_found)
{
	static const struct {
		uint64_t seq, more;
		bool right;
	} after[] = {{20, 0, true}, {21, 1, true}, {20, 1, false},
	    {19, 1, false}, {21, 0, false}};
	uint64_t number = put_before(SINGLE, false);

	for (size_t i = 0; i < sizeof after / sizeof after[0]; i++) {
		setup();
		written(SINGLE, number + 1, 0, 0);
		ck_assert(
		    read_now(SINGLE, sight_of(SINGLE, OWNER, number, 20)));
		ck_assert(read_now(SINGLE,
			      sight_of(SINGLE, OWNER, number + after[i].more,
				  after[i].seq)) == after[i].right);
		if (!after[i].right)
			told("in commit ");
	}
}
END_TEST

START_TEST(a_batch_seen_in_part_is_found)
{
	static const struct {
		bool present[2];
		uint64_t numbers[2], seqs[2];
		bool right;
	} states[] = {
	    {{true, true}, {4, 4}, {9, 9}, true},
	    {{false, false}, {3, 3}, {0, 0}, true},
	    {{true, true}, {4, 5}, {9, 9}, false},
	    {{true, true}, {4, 4}, {9, 10}, false},
	    {{true, false}, {4, 4}, {9, 0}, false},
	    {{false, true}, {4, 4}, {0, 9}, false},
	};

	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
		struct sight sights[2] = {
		    {.present = states[i].present[0], .seq = states[i].seqs[0]},
		    {.present = states[i].present[1],
			.seq = states[i].seqs[1]}};

		setup();
		ck_assert(check_pair(&check, PAIR, sights, states[i].numbers) ==
			  states[i].right);
		if (!states[i].right)
			told("the other of the pair");
	}
}
END_TEST

START_TEST(commits_out_of_order_are_found)
{
	_Atomic uint64_t newest = 5;

	ck_assert(check_order(&check, SINGLE, 5, 8, &newest));
	ck_assert_uint_eq(atomic_load(&newest), 8);
	/* One that began before 8 was acknowledged. */
	ck_assert(check_order(&check, SINGLE, 5, 7, &newest));
	ck_assert_uint_eq(atomic_load(&newest), 8);
	ck_assert(!check_order(&check, SINGLE, 8, 8, &newest));
	told("commit 8, expected one behind 8");
}
END_TEST

START_TEST(more_verdicts_than_there_is_room_for_are_counted)
{
	for (unsigned i = 0; i < VERDICT_COUNT_MAX + 3; i++)
		verdict_add(&verdicts, "number %u", i);
	ck_assert_uint_eq(atomic_load(&verdicts.count), VERDICT_COUNT_MAX + 3);
	ck_assert_str_eq(
	    verdicts.verdict[VERDICT_COUNT_MAX - 1].text, "number 15");
}
END_TEST

START_TEST(a_run_passes_only_if_nothing_is_against_it)
{
	struct plan plan = {
	    .scheme = scheme, .writers = 3, .readers = 2, .threads = 1};
	struct board *board = board_create(&plan);
	struct outcome outcome = {.verified = true};

	ck_assert_ptr_nonnull(board);
	ck_assert(report_passed(board, &outcome));
	ck_assert(!board_ends(board));
	outcome.deadlocks = 1;
	ck_assert(!report_passed(board, &outcome));
	outcome = (struct outcome){.verified = false};
	ck_assert(!report_passed(board, &outcome));
	outcome.verified = true;
	verdict_add(&board->verdicts, "wrong");
	ck_assert(!report_passed(board, &outcome));
	ck_assert(board_ends(board));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stress");
	TCase *tcase = tcase_create("judging");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, keys_are_distinct_and_in_the_order_of_cells);
	tcase_add_test(
	    tcase, cells_of_owners_are_put_and_deleted_and_counters_are_put);
	tcase_add_test(tcase, values_say_who_wrote_them_and_when);
	tcase_add_test(tcase, a_value_with_any_byte_changed_is_nobodys);
	tcase_add_test(tcase, a_value_belongs_to_its_key_alone);
	tcase_add_test(
	    tcase, what_was_acknowledged_or_is_under_way_may_be_read);
	tcase_add_test(tcase, a_lost_acknowledged_write_is_found);
	tcase_add_test(
	    tcase, a_value_that_goes_back_behind_what_was_seen_is_found);
	tcase_add_test(tcase, a_value_that_was_not_issued_yet_is_found);
	tcase_add_test(tcase, a_missing_key_is_found);
	tcase_add_test(tcase, a_key_may_be_absent_where_a_delete_is_under_way);
	tcase_add_test(tcase, an_absence_is_no_later_than_it_must_be);
	tcase_add_test(tcase, a_value_of_a_write_that_deletes_is_found);
	tcase_add_test(tcase, a_value_of_another_writer_is_found);
	tcase_add_test(tcase, a_counter_is_everybodys);
	tcase_add_test(tcase, two_increments_that_made_the_same_step_are_found);
	tcase_add_test(tcase, a_torn_value_is_found);
	tcase_add_test(
	    tcase, commits_that_do_not_rise_with_the_writes_are_found);
	tcase_add_test(tcase, a_batch_seen_in_part_is_found);
	tcase_add_test(tcase, commits_out_of_order_are_found);
	tcase_add_test(tcase, more_verdicts_than_there_is_room_for_are_counted);
	tcase_add_test(tcase, a_run_passes_only_if_nothing_is_against_it);
	suite_add_tcase(suite, tcase);
	return test_main(suite);
}
