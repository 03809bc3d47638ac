/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_tail.c - the unhinted end of the log sorted for walks, compared with a
 * table of what each key's newest record was at every moment.
 */
#include "config.h"

#include "makelog.h"
#include "merge.h"
#include "rng.h"
#include "tail.h"

#include <errno.h>

#include "segtest.h"

#define SEGS 3u
#define KEYS 300u
#define RECORDS 4000u

static struct segment *segs[SEGS];
static struct tail tail;
static uint64_t seq;

/* All records of each segment, in the order of the log. */
static struct entry {
	unsigned key;
	uint64_t off, end;
} entries[SEGS][RECORDS];
static unsigned counts[SEGS];

static void
setup(void)
{
	makelog_setup();
	MAKELOG_OK(dir_open(&segtest_dir, MAKELOG_STORE, 0644, NULL));
	seq = 0;
	for (unsigned i = 0; i < SEGS; i++) {
		segs[i] = segtest_create(i + 1, UINT64_C(1) << 18);
		counts[i] = 0;
	}
	tail_init(&tail);
}

static void
teardown(void)
{
	tail_fini(&tail);
	for (unsigned i = 0; i < SEGS; i++)
		segment_close(segs[i]);
	dir_close(&segtest_dir);
	makelog_teardown();
}

static void
add(unsigned s, unsigned key, bool put)
{
	struct entry *e = &entries[s][counts[s]++];
	char text[16];

	ck_assert_uint_le(counts[s], RECORDS);
	snprintf(text, sizeof text, "key%05u", key % KEYS);
	e->key = key;
	e->off = put ? segtest_put(segs[s], ++seq, text, "")
		     : segtest_delete(segs[s], ++seq, text);
	e->end = segment_end(segs[s]);
}

static void
add_some(struct rng *rng, unsigned s, unsigned count)
{
	while (count-- > 0)
		add(s, (unsigned)rng_below(rng, KEYS), rng_below(rng, 4) > 0);
}

/* A cover: of each segment a hint up to from[], and a gap up to to[]. */
static void
make_cover(const uint64_t *from, const uint64_t *to, struct hint_cover *cover)
{
	memset(cover, 0, sizeof *cover);
	cover->hints = os->calloc(2 * SEGS, sizeof(*cover->hints));
	cover->gaps = os->calloc(2 * SEGS, sizeof *cover->gaps);
	for (unsigned s = 0; s < SEGS; s++) {
		const struct hint_source hinted = {
		    .seg = segs[s], .from = SEGMENT_DATA_OFF, .to = from[s]};

		if (hinted.from < hinted.to)
			MAKELOG_OK(hint_build(&hinted, 1, UINT64_MAX,
			    &cover->hints[cover->count++], NULL));
		if (from[s] < to[s])
			cover->gaps[cover->count++] =
			    (struct hint_source){.seg = segment_ref(segs[s]),
				.from = from[s],
				.to = to[s]};
	}
}

/* Each key once, in order, with its newest record. */
static void
check_cover(const struct hint_cover *cover, const uint64_t *to)
{
	const struct entry *newest[KEYS] = {NULL};
	unsigned at[KEYS], k = 0;
	struct merge *merge;

	for (unsigned s = 0; s < SEGS; s++)
		for (unsigned i = 0; i < counts[s]; i++)
			if (entries[s][i].end <= to[s]) {
				newest[entries[s][i].key] = &entries[s][i];
				at[entries[s][i].key] = s;
			}
	MAKELOG_OK(merge_create(cover->hints, cover->count, &merge));
	for (; k < KEYS; k++) {
		const struct merge_entry *e;

		if (newest[k] == NULL)
			continue;
		MAKELOG_OK(merge_next(merge));
		e = merge_entry(merge);
		ck_assert_ptr_eq(e->seg, segs[at[k]]);
		ck_assert_uint_eq(e->off, newest[k]->off);
		ck_assert_uint_eq(e->hash, hint_hash(e->seg, &e->rec));
	}
	ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
	merge_destroy(merge);
}

static void
walk(const uint64_t *from, const uint64_t *to)
{
	struct hint_cover cover;

	make_cover(from, to, &cover);
	tail_enter(&tail);
	MAKELOG_OK(tail_build(&tail, &cover, NULL));
	tail_leave(&tail);
	check_cover(&cover, to);
	hint_cover_fini(&cover);
}

static void
ends(uint64_t *to)
{
	for (unsigned s = 0; s < SEGS; s++)
		to[s] = segment_end(segs[s]);
}

/* Walks while records come and hints cover what was before; some of them of an
 * earlier moment. */
START_TEST(a_walk_has_all_up_to_its_end)
{
	uint64_t from[SEGS], to[SEGS], old[SEGS] = {0};
	struct rng rng;
	size_t most = 0;

	rng_init(&rng, (uint64_t)_i);
	for (unsigned s = 0; s < SEGS; s++)
		from[s] = SEGMENT_DATA_OFF;
	for (unsigned s = 0; s < SEGS; s++)
		for (unsigned round = 0; round < 60; round++) {
			unsigned i;

			add_some(&rng, s, 1 + (unsigned)rng_below(&rng, 50));
			ends(to);
			if (rng_below(&rng, 10) == 0)
				memcpy(old, to, sizeof old);
			walk(from, to);
			most = tail.count > most ? tail.count : most;
			if (rng_below(&rng, 8) == 0 && old[0] != 0)
				walk(from, old);
			if (rng_below(&rng, 8) > 0)
				continue;
			/* Hints up to some record. */
			i = (unsigned)rng_below(&rng, counts[s]);
			from[s] = max_u64(from[s], entries[s][i].off);
			/* No walk goes on before that. */
			old[0] = 0;
		}
	ck_assert_uint_gt(most, 2);
	ck_assert_uint_lt(most, SEGS * 8);
}
END_TEST

/* What was sorted is not sorted again, and images are few. */
START_TEST(what_was_sorted_is_kept)
{
	const uint64_t from[SEGS] = {
	    SEGMENT_DATA_OFF, SEGMENT_DATA_OFF, SEGMENT_DATA_OFF};
	uint64_t to[SEGS], kept = 0;
	struct rng rng;

	rng_init(&rng, 3);
	for (unsigned round = 0; round < RECORDS / 4; round++) {
		add_some(&rng, 0, 4);
		ends(to);
		walk(from, to);
		ck_assert_uint_le(tail.count, 6);
		kept = tail.count == 0
			   ? SEGMENT_DATA_OFF
			   : tail.images[tail.count - 1]->sources[0].to;
		/* Few are left over. */
		ck_assert_uint_le(to[0] - kept, 40 * 48);
	}
	/* The same images serve again. */
	for (unsigned i = 0; i < 2; i++) {
		struct hint *first = tail.images[0];
		const size_t count = tail.count;

		walk(from, to);
		ck_assert_uint_eq(tail.count, count);
		ck_assert_ptr_eq(tail.images[0], first);
	}
}
END_TEST

/* What one put has added is added to an image of few; where there is nothing
 * but marks is known, too. */
START_TEST(few_grow_by_what_is_added)
{
	const uint64_t from[SEGS] = {
	    SEGMENT_DATA_OFF, SEGMENT_DATA_OFF, SEGMENT_DATA_OFF};
	uint64_t to[SEGS];
	struct hint *image;

	for (unsigned i = 0; i < 3; i++) {
		(void)segtest_record(
		    segs[0], RECORD_MARK, ++seq, NULL, 0, NULL, 0);
		ends(to);
		walk(from, to);
		ck_assert_uint_eq(tail.count, 1);
		ck_assert_uint_eq(tail.images[0]->entry_count, 0);
		ck_assert_uint_eq(tail.images[0]->sources[0].to, to[0]);
	}
	image = tail.images[0];
	walk(from, to);
	ck_assert_ptr_eq(tail.images[0], image);
	for (unsigned i = 0; i < 60; i++) {
		add(0, i * 7 % 50, i % 5 > 0);
		ends(to);
		walk(from, to);
		ck_assert_uint_eq(tail.count, 1);
		ck_assert_uint_eq(
		    tail.images[0]->entry_count, i < 50 ? i + 1 : 50);
	}
	/* Of many those that are few become a part; of nothing too. */
	for (unsigned i = 0; i < 100; i++)
		add(0, i, true);
	ends(to);
	walk(from, to);
	ck_assert_uint_eq(tail.count, 1);
	(void)segtest_record(segs[1], RECORD_MARK, ++seq, NULL, 0, NULL, 0);
	ends(to);
	walk(from, to);
	ck_assert_uint_eq(tail.count, 2);
	for (unsigned i = 0; i < 100; i++)
		add(1, i, true);
	ends(to);
	walk(from, to);
	ck_assert_uint_eq(tail.count, 2);
}
END_TEST

/* Neither what hints cover now nor what was replaced is held. */
START_TEST(what_is_of_no_use_is_let_go)
{
	uint64_t from[SEGS] = {
	    SEGMENT_DATA_OFF, SEGMENT_DATA_OFF, SEGMENT_DATA_OFF};
	uint64_t to[SEGS];
	struct rng rng;

	rng_init(&rng, 4);
	for (unsigned s = 0; s < SEGS; s++)
		add_some(&rng, s, 200);
	ends(to);
	walk(from, to);
	ck_assert_uint_eq(tail.count, 3);
	segs[1]->replaced = true;
	tail_trim(&tail);
	ck_assert_uint_eq(tail.count, 2);
	segs[1]->replaced = false;
	from[0] = to[0]; /* hinted */
	walk(from, to);
	ck_assert_uint_eq(tail.count, 2);
	for (size_t i = 0; i < 2; i++)
		ck_assert_ptr_ne(tail.images[i]->sources[0].seg, segs[0]);
	from[0] = SEGMENT_DATA_OFF;
	walk(from, to);
	ck_assert_uint_eq(tail.count, 3);
	/* A walk forbids it, and is no end of things to do. */
	tail_enter(&tail);
	segs[1]->replaced = true;
	tail_trim(&tail);
	ck_assert_uint_eq(tail.count, 3);
	tail_leave(&tail);
	segs[1]->replaced = false;
	/* Nobody walks. */
	os->sleep_ns(UINT64_C(9000000000));
	tail_rest(&tail);
	ck_assert_uint_eq(tail.count, 3);
	walk(from, to);
	os->sleep_ns(UINT64_C(9000000000));
	tail_rest(&tail);
	ck_assert_uint_eq(tail.count, 3);
	os->sleep_ns(UINT64_C(2000000000));
	tail_rest(&tail);
	ck_assert_uint_eq(tail.count, 0);
	walk(from, to);
}
END_TEST

/* What was covered may be in no hint again. */
START_TEST(hints_may_cover_less_than_before)
{
	uint64_t from[SEGS], to[SEGS];
	struct rng rng;

	rng_init(&rng, 7);
	for (unsigned s = 0; s < SEGS; s++) {
		add_some(&rng, s, 200);
		from[s] = entries[s][100].off;
	}
	ends(to);
	walk(from, to);
	from[1] = SEGMENT_DATA_OFF;
	walk(from, to);
	ck_assert_uint_eq(tail.count, 3);
}
END_TEST

/* A record is damaged when images are put together, which is no answer, and
 * when all is read anew, which is one. */
START_TEST(damage_is_told_by_the_next_reading)
{
	const uint64_t from[SEGS] = {
	    SEGMENT_DATA_OFF, SEGMENT_DATA_OFF, SEGMENT_DATA_OFF};
	uint64_t to[SEGS];
	struct hint_cover cover;
	struct kvlog_error err = {0};
	struct rng rng;
	uint8_t byte;

	rng_init(&rng, 5);
	add_some(&rng, 0, 100);
	ends(to);
	walk(from, to);
	ck_assert_uint_eq(tail.count, 1);
	byte = (uint8_t)~segs[0]->map.addr[entries[0][99].off + 16];
	ck_assert_int_eq(
	    os->store(&segs[0]->map, entries[0][99].off + 16, &byte, 1), 0);
	add_some(&rng, 0, 100);
	ends(to);
	make_cover(from, to, &cover);
	tail_enter(&tail);
	(void)tail_build(&tail, &cover, &err);
	ck_assert_uint_eq(tail.count, 0);
	hint_cover_fini(&cover);
	make_cover(from, to, &cover);
	ck_assert_int_eq(tail_build(&tail, &cover, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(err.offset, entries[0][99].off);
	tail_leave(&tail);
	/* The cover is as it was. */
	ck_assert_ptr_null(cover.hints[0]);
	hint_cover_fini(&cover);
}
END_TEST

/* What is kept is given up first; then it is said, and nothing is lost. */
START_TEST(want_of_memory_is_said)
{
	const uint64_t from[SEGS] = {
	    SEGMENT_DATA_OFF, SEGMENT_DATA_OFF, SEGMENT_DATA_OFF};
	uint64_t to[SEGS];
	struct rng rng;
	unsigned failed = 0, done = 0;

	rng_init(&rng, 6);
	for (uint64_t nth = 1; nth < 60; nth++)
		for (unsigned all = 0; all < 2; all++) {
			struct hint_cover cover;
			enum kvlog_status st;
			bool had = tail.count > 0;

			for (unsigned s = 0; s < SEGS; s++)
				add_some(&rng, s, nth % 2 == 0 ? 11 : 1);
			ends(to);
			make_cover(from, to, &cover);
			tail_enter(&tail);
			simos_fail(SIMOS_MALLOC, nth, ENOMEM, all == 1);
			st = tail_build(&tail, &cover, NULL);
			simos_fail_clear();
			tail_leave(&tail);
			if (st == KVLOG_OK) {
				done++;
				check_cover(&cover, to);
			} else {
				failed++;
				ck_assert(all == 1 || !had);
				ck_assert_int_eq(st, KVLOG_NOMEM);
				ck_assert_uint_eq(cover.count, SEGS);
			}
			hint_cover_fini(&cover);
			walk(from, to);
		}
	ck_assert_uint_gt(failed, 10);
	ck_assert_uint_gt(done, 10);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("tail");
	TCase *tc = tcase_create("tail");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(tc, a_walk_has_all_up_to_its_end, 0, 8);
	tcase_add_test(tc, what_was_sorted_is_kept);
	tcase_add_test(tc, few_grow_by_what_is_added);
	tcase_add_test(tc, what_is_of_no_use_is_let_go);
	tcase_add_test(tc, hints_may_cover_less_than_before);
	tcase_add_test(tc, damage_is_told_by_the_next_reading);
	tcase_add_test(tc, want_of_memory_is_said);
	return test_main(suite);
}
