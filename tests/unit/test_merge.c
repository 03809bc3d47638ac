/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_merge.c - several hints as one, compared with a table of what is the
 * newest record of each key; with blocks of hints damaged, records damaged,
 * and memory refused.
 */
#include "config.h"

#include "makelog.h"
#include "merge.h"
#include "rng.h"

#include <errno.h>
#include <limits.h>

#include "segtest.h"

#define HINTS 4
#define KEYS 1400u
#define BLOCKS_OFF 4096u

static struct segment *segs[HINTS];
static struct hint *hints[HINTS];
static uint64_t seq;

/* The newest record of each key. */
static struct newest {
	struct hint_key key;
	uint8_t bytes[8];
	bool there;    /* in any hint */
	unsigned ages; /* a bit for each that has it */
	size_t age;    /* the rest is of its newest record */
	uint64_t off;
	uint8_t type;
} model[KEYS];

static void
setup(void)
{
	makelog_setup();
	MAKELOG_OK(dir_open(&segtest_dir, MAKELOG_STORE, 0644, NULL));
	seq = 0;
	for (unsigned i = 0; i < HINTS; i++)
		segs[i] = segtest_create(i + 1, UINT64_C(1) << 18);
	memset(model, 0, sizeof model);
	/* In order: even numbers are keys, odd ones lie between; the last
	 * third is in buckets. */
	for (unsigned k = 0; k < KEYS; k++) {
		struct newest *n = &model[k];

		memcpy(n->bytes, "prefix", 6);
		n->bytes[6] = (uint8_t)(k >> 7);
		n->bytes[7] = (uint8_t)(2 * k);
		n->key = (struct hint_key){.bytes = n->bytes, .len = 8};
		if (k >= KEYS / 3 * 2) {
			n->key.bucket_seq = 1 + k % 2;
			n->key.bucket_ordinal = 7;
		}
	}
	/* By bucket, then key. */
	for (unsigned k = 0, at = KEYS / 3 * 2; k < 2; k++)
		for (unsigned i = 0; at < KEYS && i < (KEYS + 5) / 6; i++)
			model[at++].key.bucket_seq = 1 + k;
}

static void
drop_hints(void)
{
	for (unsigned i = 0; i < HINTS; i++) {
		hint_unref(hints[i]);
		hints[i] = NULL;
	}
}

static void
teardown(void)
{
	drop_hints();
	for (unsigned i = 0; i < HINTS; i++)
		segment_close(segs[i]);
	dir_close(&segtest_dir);
	makelog_teardown();
}

static uint64_t
add(unsigned age, unsigned k, unsigned type)
{
	const struct hint_key *key = &model[k].key;
	struct record rec = {.type = (uint8_t)type,
	    .flags = key->bucket_seq != 0 ? RECORD_BUCKET : 0,
	    .key_len = (uint16_t)key->len,
	    .seq = ++seq,
	    .lag = 1,
	    .bucket_seq = key->bucket_seq,
	    .bucket_ordinal = key->bucket_ordinal,
	    .key = key->bytes};
	uint64_t off = segtest_append(segs[age], &rec);

	model[k].there = true;
	model[k].ages |= 1u << age;
	model[k].age = age;
	model[k].off = off;
	model[k].type = (uint8_t)type;
	return off;
}

/* Damage a record: in its sequence number. */
static void
spoil(unsigned age, uint64_t off)
{
	uint8_t byte = (uint8_t)~segs[age]->map.addr[off + 16];

	ck_assert_int_eq(os->store(&segs[age]->map, off + 16, &byte, 1), 0);
}

/* A hint of all of a segment, whose bytes may be changed. */
static struct hint *
make_hint(unsigned age)
{
	const struct hint_source source = {.seg = segs[age],
	    .from = SEGMENT_DATA_OFF,
	    .to = segment_end(segs[age])};
	struct hint *hint;

	MAKELOG_OK(hint_build(&source, 1, UINT64_MAX, &hint, NULL));
	return hint;
}

static void
make_hints(void)
{
	for (unsigned i = 0; i < HINTS; i++)
		hints[i] = make_hint(i);
}

/* A log of random puts and deletes; many keys in the oldest segment, and of
 * odd seeds little that replaces them. */
static void
make_log(uint64_t seed)
{
	static const unsigned counts[HINTS] = {2000, 1500, 700, 60};
	struct rng rng;

	rng_init(&rng, seed);
	for (unsigned age = 0; age < HINTS; age++)
		for (unsigned i = age > 0 && seed % 2 ? counts[age] / 8 * 7 : 0;
		     i < counts[age]; i++)
			(void)add(age, (unsigned)rng_below(&rng, KEYS),
			    rng_below(&rng, 3) ? RECORD_PUT : RECORD_DELETE);
}

/* What comes next is the newest record of a key at or behind k; returns the
 * number of the key after it. */
static unsigned
expect_next(struct merge *merge, unsigned k)
{
	const struct merge_entry *e;
	enum kvlog_status st = merge_next(merge);

	e = merge_entry(merge);

	while (k < KEYS && !model[k].there)
		k++;
	if (k == KEYS) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		ck_assert_ptr_null(e->seg);
		return k;
	}
	ck_assert_int_eq(st, KVLOG_OK);
	if (e->damaged || e->seg != segs[model[k].age] ||
	    e->off != model[k].off || e->age != model[k].age ||
	    e->rec.type != model[k].type ||
	    e->hash != hint_hash(e->seg, &e->rec) ||
	    memcmp(e->rec.key, model[k].bytes, 8) != 0)
		ck_abort_msg("key %u: segment %u, offset %" PRIu64, k,
		    segment_number(e->seg), e->off);
	return k + 1;
}

static void
expect_walk(struct merge *merge, unsigned k)
{
	while (k < KEYS)
		k = expect_next(merge, k);
	(void)expect_next(merge, k);
	(void)expect_next(merge, k);
}

static struct merge *
begin(void)
{
	struct merge *merge;

	MAKELOG_OK(merge_create(hints, HINTS, &merge));
	ck_assert_ptr_null(merge_entry(merge)->seg);
	return merge;
}

START_TEST(nothing_comes_of_nothing)
{
	const struct hint_key key = {.bytes = (const uint8_t *)"k", .len = 1};
	struct merge *merge;

	for (unsigned round = 0; round < 2; round++) {
		if (round == 1)
			make_hints();
		MAKELOG_OK(merge_create(hints, round == 0 ? 0 : HINTS, &merge));
		ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
		merge_seek(merge, &key);
		ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
		merge_destroy(merge);
	}
	merge_destroy(NULL);
}
END_TEST

/* INV-6: of each key the newest record, tombstones and buckets included. */
START_TEST(the_newest_of_each_key_in_order)
{
	struct merge *merge;

	make_log((uint64_t)_i);
	make_hints();
	merge = begin();
	drop_hints(); /* the merge holds them */
	expect_walk(merge, 0);
	merge_destroy(merge);
}
END_TEST

START_TEST(one_hint_of_many_segments_counts_as_one)
{
	struct hint_source sources[3] = {{0}};
	struct hint *two[2];
	struct merge *merge;

	make_log(9);
	for (unsigned i = 0; i < 3; i++)
		sources[i] = (struct hint_source){.seg = segs[i],
		    .from = SEGMENT_DATA_OFF,
		    .to = segment_end(segs[i])};
	MAKELOG_OK(hint_build(sources, 3, UINT64_MAX, &two[0], NULL));
	two[1] = make_hint(3);
	MAKELOG_OK(merge_create(two, 2, &merge));
	for (unsigned k = 0; k < KEYS; k++)
		model[k].age = model[k].age == 3 ? 1 : 0;
	for (unsigned k = 0; k < KEYS; k++) {
		const struct merge_entry *e;

		if (!model[k].there)
			continue;
		MAKELOG_OK(merge_next(merge));
		e = merge_entry(merge);
		ck_assert_uint_eq(e->off, model[k].off);
		ck_assert_uint_eq(e->age, model[k].age);
	}
	ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
	merge_destroy(merge);
	hint_unref(two[0]);
	hint_unref(two[1]);
}
END_TEST

/* To every key, to what lies before and behind it, in any order. */
static void
check_seeks(struct merge *merge, unsigned stride)
{
	for (unsigned i = 0; i < KEYS; i += stride) {
		unsigned k = i * 11 % KEYS, at = k;
		uint8_t bytes[9];
		struct hint_key key = model[k].key;

		merge_seek(merge, &key);
		ck_assert_ptr_null(merge_entry(merge)->seg);
		for (unsigned n = 0; n < 3; n++)
			at = expect_next(merge, at);
		memcpy(bytes, model[k].bytes, 8);
		key.bytes = bytes;
		bytes[7]++; /* between */
		merge_seek(merge, &key);
		(void)expect_next(merge, k + 1);
		bytes[7]--;
		bytes[8] = 0;
		key.len = 9;
		merge_seek(merge, &key);
		(void)expect_next(merge, k + 1);
	}
}

START_TEST(seeks_lead_everywhere)
{
	const struct hint_key none = {.bytes = NULL};
	struct hint_key end = {
	    .bucket_seq = 99, .bytes = (const uint8_t *)"x", .len = 1};
	struct merge *merge;

	make_log(5);
	make_hints();
	merge = begin();
	check_seeks(merge, 1);
	merge_seek(merge, &end);
	ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
	merge_seek(merge, &none);
	expect_walk(merge, 0);
	merge_destroy(merge);
}
END_TEST

/* Damaged hints */

static void
damage_block(struct hint *hint, uint32_t block)
{
	hint->memory[BLOCKS_OFF + block * 4096u + 100] ^= 1;
}

/* Each block of each hint in turn: nobody notices. */
START_TEST(a_damaged_block_changes_nothing)
{
	struct merge *merge;

	make_log(2);
	for (unsigned age = 0; age < HINTS; age++) {
		struct hint *probe = make_hint(age);
		uint32_t blocks = probe->block_count;

		hint_unref(probe);
		ck_assert_uint_ge(blocks, age < 1 ? 3 : 1);
		for (uint32_t b = 0; b < blocks; b++) {
			make_hints();
			damage_block(hints[age], b);
			merge = begin();
			expect_walk(merge, 0);
			merge_destroy(merge);
			drop_hints();

			make_hints();
			damage_block(hints[age], b);
			merge = begin();
			check_seeks(merge, 13);
			merge_seek(merge, &model[3].key);
			expect_walk(merge, 3);
			merge_destroy(merge);
			drop_hints();
		}
	}
}
END_TEST

/* While the walk goes on, in blocks that it has not looked at yet: whatever
 * has come does not come again. */
START_TEST(damage_in_the_midst_of_a_walk_changes_nothing)
{
	make_log(3);
	for (unsigned at = 0; at < KEYS; at += 61) {
		struct merge *merge;
		unsigned k = 0;

		make_hints();
		merge = begin();
		while (k < at)
			k = expect_next(merge, k);
		for (unsigned age = 0; age < HINTS; age++)
			for (uint32_t b = 0; b < hints[age]->block_count; b++)
				if (atomic_load(&hints[age]->verdicts[b]) == 0)
					damage_block(hints[age], b);
		expect_walk(merge, k);
		merge_seek(merge, &model[at].key);
		expect_walk(merge, at);
		merge_destroy(merge);
		drop_hints();
	}
}
END_TEST

/* Damaged records */

static void
expect_damage(
    struct merge *merge, unsigned age, uint64_t off, const uint8_t *key)
{
	const struct merge_entry *e;

	ck_assert_int_eq(merge_next(merge), KVLOG_CORRUPT);
	e = merge_entry(merge);
	ck_assert(e->damaged);
	ck_assert_ptr_eq(e->seg, segs[age]);
	ck_assert_uint_eq(e->off, off);
	if (key == NULL)
		ck_assert_ptr_null(e->rec.key);
	else
		ck_assert_mem_eq(e->rec.key, key, 8);
}

/* Where its key would stand nothing older shows. */
START_TEST(a_damaged_record_hides_what_is_older)
{
	struct merge *merge;
	uint64_t hit;

	for (unsigned k = 0; k < 10; k++) {
		(void)add(0, k, RECORD_PUT);
		(void)add(1, k, RECORD_PUT);
	}
	hit = add(2, 4, RECORD_DELETE);
	(void)add(3, 5, RECORD_PUT);
	make_hints();
	spoil(2, hit);
	for (unsigned round = 0; round < 2; round++) {
		unsigned k = 0;

		merge = begin();
		if (round == 1) {
			k = 3;
			merge_seek(merge, &model[3].key);
		}
		/* As soon as it is met, once. */
		expect_damage(merge, 2, hit, NULL);
		while (k < 4)
			k = expect_next(merge, k);
		expect_damage(merge, 2, hit, model[4].bytes);
		ck_assert_uint_eq(merge_entry(merge)->rec.type, RECORD_PUT);
		k++;
		while (k < 10)
			k = expect_next(merge, k);
		expect_walk(merge, k);
		/* Once more. */
		merge_seek(merge, &model[0].key);
		expect_damage(merge, 2, hit, NULL);
		merge_destroy(merge);
	}
}
END_TEST

START_TEST(what_is_newer_is_not_hidden)
{
	struct merge *merge;
	uint64_t hit;

	for (unsigned k = 0; k < 10; k++)
		(void)add(0, k, RECORD_PUT);
	hit = model[4].off;
	(void)add(1, 4, RECORD_PUT);
	make_hints();
	spoil(0, hit);
	merge = begin();
	for (unsigned k = 0; k < 4;)
		k = expect_next(merge, k);
	expect_damage(merge, 0, hit, NULL);
	expect_walk(merge, 4);
	merge_destroy(merge);
}
END_TEST

/* Many, one behind the other, at the ends too. */
START_TEST(damaged_records_in_a_row)
{
	uint64_t offs[KEYS] = {0};
	struct merge *merge;
	unsigned k = 0, damaged = 0, ok = 0;
	enum kvlog_status st;

	for (unsigned i = 0; i < 40; i++)
		(void)add(0, i, RECORD_PUT);
	for (unsigned i = 0; i < 40; i += 2)
		offs[i] = add(1, i, RECORD_PUT);
	make_hints();
	for (unsigned i = 0; i < 40; i += 2)
		if (i != 20)
			spoil(1, offs[i]);
	merge = begin();
	while ((st = merge_next(merge)) != KVLOG_NOTFOUND) {
		const struct merge_entry *e = merge_entry(merge);

		if (e->rec.key == NULL) {
			damaged++;
			continue;
		}
		ck_assert_mem_eq(e->rec.key, model[k].bytes, 8);
		ck_assert_int_eq(
		    st, k % 2 == 1 || k == 20 ? KVLOG_OK : KVLOG_CORRUPT);
		ok += st == KVLOG_OK;
		k++;
	}
	ck_assert_uint_eq(k, 40);
	ck_assert_uint_eq(damaged, 19);
	ck_assert_uint_eq(ok, 21);
	merge_destroy(merge);
}
END_TEST

/* Whether the record that should come for a key is damaged. */
static bool
is_spoilt(unsigned k)
{
	const struct segment *seg = segs[model[k].age];
	struct record rec;

	return !segment_parse(seg, model[k].off, &rec) ||
	       !record_header_ok(seg->map.addr + model[k].off, &rec,
		   segment_seed(seg, model[k].off));
}

/*
 * A hint and a record under it: that is said once, and all but that record's
 * key comes as it should.  _i: the block that is damaged.
 */
START_TEST(damage_of_a_hint_and_of_a_record_is_told)
{
	struct merge *merge;
	enum kvlog_status st;

	make_log(4);
	make_hints();
	damage_block(hints[1], (uint32_t)_i);
	spoil(1, SEGMENT_DATA_OFF + 40);
	merge = begin();
	for (unsigned from = 0; from < KEYS; from += KEYS / 4) {
		unsigned k = from, told = 0;

		merge_seek(merge, &model[from].key);
		while ((st = merge_next(merge)) != KVLOG_NOTFOUND) {
			const struct merge_entry *e = merge_entry(merge);

			ck_assert_int_eq(e->damaged, st == KVLOG_CORRUPT);
			ck_assert_ptr_nonnull(e->seg);
			if (st == KVLOG_CORRUPT) {
				told += e->hash == MERGE_NO_HASH;
				/* Once, though the walk turns there. */
				if (e->hash == MERGE_NO_HASH && from == 0) {
					st = merge_prev(merge);
					e = merge_entry(merge);
					ck_assert_int_ne(st, KVLOG_NOMEM);
					ck_assert(e->hash != MERGE_NO_HASH);
				}
				continue;
			}
			while (memcmp(e->rec.key, model[k].bytes, 8) != 0) {
				ck_assert(!model[k].there || is_spoilt(k));
				k++;
			}
			if (e->age != model[k].age || e->off != model[k].off)
				ck_assert(is_spoilt(k));
			k++;
		}
		for (; k < KEYS; k++)
			ck_assert(!model[k].there || is_spoilt(k));
		ck_assert_uint_le(told, 1);
		if (from == 0)
			ck_assert_uint_eq(told, 1);
	}
	merge_destroy(merge);
}
END_TEST

/* Memory */

/* What fails for want of it is done by the next call: the same comes. */
START_TEST(want_of_memory_loses_nothing)
{
	uint64_t leaks, nth, hit;
	unsigned failed = 0, idle = 0;

	make_log((uint64_t)_i);
	(void)add(0, 700, RECORD_PUT);
	hit = add(3, 700, RECORD_PUT);
	leaks = simos_leaks(NULL);
	for (nth = 1;; nth++) {
		struct merge *merge;
		enum kvlog_status st;
		unsigned k = 0, damaged = 0, before = failed;

		make_hints();
		damage_block(hints[0], 1);
		damage_block(hints[1], 0);
		spoil(3, hit);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		while ((st = merge_create(hints, HINTS, &merge)) != KVLOG_OK) {
			ck_assert_int_eq(st, KVLOG_NOMEM);
			failed++;
		}
		merge_seek(merge, &model[2].key);
		for (k = 2; k < KEYS;) {
			const struct merge_entry *e;

			st = merge_next(merge);
			e = merge_entry(merge);
			if (st == KVLOG_NOMEM) {
				failed++;
				continue;
			}
			if (st == KVLOG_NOTFOUND)
				break;
			if (e->rec.key == NULL) {
				damaged++;
				continue;
			}
			while (!model[k].there)
				k++;
			if (k == 700) {
				ck_assert_int_eq(st, KVLOG_CORRUPT);
			} else {
				ck_assert_int_eq(st, KVLOG_OK);
				ck_assert_uint_eq(e->off, model[k].off);
				ck_assert_uint_eq(e->age, model[k].age);
			}
			k++;
		}
		for (; k < KEYS; k++)
			ck_assert(!model[k].there);
		ck_assert_uint_eq(damaged, 1);
		simos_fail_clear();
		merge_destroy(merge);
		drop_hints();
		spoil(3, hit);
		ck_assert_uint_eq(simos_leaks(NULL), leaks);
		/* A search does without what would help the next one: in each
		 * hint, and in two images. */
		idle = failed == before ? idle + 1 : 0;
		if (idle > HINTS + 2)
			break;
	}
	/* The merge itself, two images and the note of damage. */
	ck_assert_uint_gt(nth - idle, 20);
}
END_TEST

/* Both ways */

/* Where a walk is: at key k, 2 k + 1; before it, 2 k. */
static unsigned place;

static bool
is_visible(unsigned k)
{
	unsigned others = model[k].ages & ~(1u << model[k].age);

	return model[k].there && (others != 0 || !is_spoilt(k));
}

/* Runs are wanted between two keys, and do not lead beyond them. */
static struct hint_key run_low, run_high;
static unsigned ran; /* steps of runs */

static void
want_runs(struct merge *merge, struct rng *rng)
{
	static const struct hint_key end = {.bucket_seq = UINT64_MAX};
	unsigned from = (unsigned)rng_below(rng, KEYS);
	unsigned to = from + 1 + (unsigned)rng_below(rng, KEYS - from);

	if (rng_below(rng, 2) == 0) {
		from = 0;
		to = KEYS;
	}
	run_low = model[from].key;
	run_high = to < KEYS ? model[to].key : end;
	merge_run_within(merge, &run_low, &run_high);
}

static enum kvlog_status
run_or_step(struct merge *merge, bool back)
{
	const struct merge_entry *e = merge_run_on(merge_run_of(merge), back);

	if (e == NULL && merge_find_run(merge, back, true))
		e = merge_run_on(merge_run_of(merge), back);
	if (e != NULL) {
		struct hint_key key = hint_key_of(&e->rec);

		ck_assert_ptr_eq(e, merge_entry(merge));
		if (back)
			ck_assert_int_ge(hint_key_compare(&key, &run_low), 0);
		else
			ck_assert_int_lt(hint_key_compare(&key, &run_high), 0);
		ran++;
		return KVLOG_OK;
	}
	return back ? merge_prev(merge) : merge_next(merge);
}

/* A step in one direction comes upon the right key, or is told of damage whose
 * key is not known; then false. */
static bool
expect_step(struct merge *merge, bool back)
{
	const struct merge_entry *e;
	enum kvlog_status st;
	unsigned k = back ? place / 2 : (place + 1) / 2; /* beyond it */

	do {
		st = run_or_step(merge, back);
		e = merge_entry(merge);
		if (st == KVLOG_NOMEM)
			ck_assert_ptr_null(e->seg);
	} while (st == KVLOG_NOMEM);
	if (st == KVLOG_CORRUPT && e->rec.key == NULL) {
		ck_assert(e->damaged);
		place += place % 2 == 1 ? (back ? UINT_MAX : 1) : 0;
		return false;
	}
	if (back)
		while (k > 0 && !is_visible(k - 1))
			k--;
	else
		while (k < KEYS && !is_visible(k))
			k++;
	if (k == (back ? 0 : KEYS)) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		ck_assert_ptr_null(e->seg);
		place = 2 * k;
		return true;
	}
	k -= back;
	place = 2 * k + 1;
	ck_assert_ptr_nonnull(e->rec.key);
	ck_assert_mem_eq(e->rec.key, model[k].bytes, 8);
	ck_assert_uint_eq(e->rec.bucket_seq, model[k].key.bucket_seq);
	ck_assert_int_eq(st, is_spoilt(k) ? KVLOG_CORRUPT : KVLOG_OK);
	ck_assert_int_eq(e->damaged, st == KVLOG_CORRUPT);
	ck_assert_ptr_eq(e->seg, segs[model[k].age]);
	ck_assert_uint_eq(e->off, model[k].off);
	if (st == KVLOG_OK) {
		ck_assert_uint_eq(e->age, model[k].age);
		ck_assert_uint_eq(e->rec.type, model[k].type);
		ck_assert_uint_eq(e->hash, hint_hash(e->seg, &e->rec));
	}
	return true;
}

/* To and fro, in stretches of a few steps or many, with seeks between. */
static void
wander(struct merge *merge, struct rng *rng, unsigned stretches)
{
	for (unsigned i = 0; i < stretches; i++) {
		static const unsigned lengths[] = {1, 1, 2, 5, 30, 3 * KEYS};
		unsigned n = lengths[rng_below(rng, ARRAY_LEN(lengths))];
		bool back = rng_below(rng, 2) == 0;

		if (rng_below(rng, 4) == 0)
			want_runs(merge, rng);
		if (rng_below(rng, 3) == 0) {
			unsigned k = (unsigned)rng_below(rng, KEYS);

			merge_seek(merge, &model[k].key);
			ck_assert_ptr_null(merge_entry(merge)->seg);
			place = 2 * k;
		}
		/* The end comes again and again. */
		while (n-- > 0)
			if (expect_step(merge, back) && n > 2 &&
			    place == (back ? 0 : 2 * KEYS))
				n = 2;
	}
}

START_TEST(steps_in_both_directions)
{
	struct rng rng;
	struct merge *merge;

	rng_init(&rng, (uint64_t)_i);
	make_log((uint64_t)_i);
	make_hints();
	merge = begin();
	place = 0;
	ran = 0;
	wander(merge, &rng, 300);
	ck_assert_uint_ge(ran, _i % 2 ? 100 : 0);
	merge_destroy(merge);
}
END_TEST

START_TEST(nothing_lies_before_nothing)
{
	const struct hint_key key = {.bytes = (const uint8_t *)"k", .len = 1};
	struct merge *merge;

	make_hints();
	merge = begin();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(merge_prev(merge), KVLOG_NOTFOUND);
		ck_assert_int_eq(merge_prev(merge), KVLOG_NOTFOUND);
		ck_assert_int_eq(merge_next(merge), KVLOG_NOTFOUND);
		if (i == 1)
			merge_seek(merge, &key);
	}
	merge_destroy(merge);
}
END_TEST

/* Blocks, in the midst of it: nobody notices, whichever way it goes. */
START_TEST(damaged_blocks_change_nothing_either_way)
{
	struct rng rng;

	rng_init(&rng, (uint64_t)_i);
	make_log((uint64_t)_i);
	for (unsigned round = 0; round < 40; round++) {
		struct merge *merge;

		make_hints();
		merge = begin();
		place = 0;
		wander(merge, &rng, (unsigned)rng_below(&rng, 3));
		for (unsigned i = 0; i < 3; i++) {
			struct hint *hint = hints[rng_below(&rng, HINTS)];
			uint32_t b =
			    (uint32_t)rng_below(&rng, hint->block_count);

			if (atomic_load(&hint->verdicts[b]) == 0)
				damage_block(hint, b);
		}
		wander(merge, &rng, 12);
		merge_destroy(merge);
		drop_hints();
	}
}
END_TEST

/* What is newest and damaged hides what is older, from either side; memory is
 * refused now and then. */
START_TEST(damaged_records_hide_what_is_older_either_way)
{
	struct rng rng;
	unsigned spoilt = 0;

	rng_init(&rng, (uint64_t)_i);
	make_log((uint64_t)_i);
	make_hints();
	for (unsigned k = 0; k < KEYS; k++)
		if (model[k].there && rng_below(&rng, 12) == 0) {
			spoil((unsigned)model[k].age, model[k].off);
			spoilt += (model[k].ages & (model[k].ages - 1)) != 0;
		}
	ck_assert_uint_gt(spoilt, 10);
	for (unsigned round = 0; round < 60; round++) {
		struct merge *merge = begin();

		place = 0;
		simos_fail(SIMOS_MALLOC, 1 + rng_below(&rng, 4), ENOMEM, false);
		wander(merge, &rng, 12);
		simos_fail_clear();
		merge_destroy(merge);
	}
}
END_TEST

/* Turning where an image cannot be had loses nothing. */
START_TEST(want_of_memory_loses_nothing_either_way)
{
	struct rng rng;

	rng_init(&rng, (uint64_t)_i);
	make_log((uint64_t)_i);
	for (uint64_t nth = 1; nth < 60; nth++) {
		struct merge *merge;

		make_hints();
		merge = begin();
		place = 0;
		wander(merge, &rng, 1);
		for (unsigned age = 0; age < HINTS; age++)
			for (uint32_t b = 0; b < hints[age]->block_count; b++)
				if (atomic_load(&hints[age]->verdicts[b]) == 0)
					damage_block(hints[age], b);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		wander(merge, &rng, 6);
		simos_fail_clear();
		merge_destroy(merge);
		drop_hints();
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("merge");
	TCase *tc = tcase_create("merge");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, nothing_comes_of_nothing);
	tcase_add_loop_test(tc, the_newest_of_each_key_in_order, 0, 5);
	tcase_add_test(tc, one_hint_of_many_segments_counts_as_one);
	tcase_add_test(tc, seeks_lead_everywhere);
	tcase_add_test(tc, a_damaged_block_changes_nothing);
	tcase_add_test(tc, damage_in_the_midst_of_a_walk_changes_nothing);
	tcase_add_test(tc, a_damaged_record_hides_what_is_older);
	tcase_add_test(tc, what_is_newer_is_not_hidden);
	tcase_add_test(tc, damaged_records_in_a_row);
	tcase_add_loop_test(tc, damage_of_a_hint_and_of_a_record_is_told, 0, 2);
	tcase_add_loop_test(tc, want_of_memory_loses_nothing, 0, 6);
	tcase_add_loop_test(tc, steps_in_both_directions, 0, 5);
	tcase_add_test(tc, nothing_lies_before_nothing);
	tcase_add_loop_test(tc, damaged_blocks_change_nothing_either_way, 0, 5);
	tcase_add_loop_test(
	    tc, damaged_records_hide_what_is_older_either_way, 0, 5);
	tcase_add_loop_test(tc, want_of_memory_loses_nothing_either_way, 0, 3);
	return test_main(suite);
}
