/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leaf.c - one leaf of the index table: sizes, changes, copies.  Layout and
 * promises are in leaf.h.
 */
#include "config.h"

#include "leaf.h"

#include <string.h>

#define FIRST_SHIFT 2u /* the smallest leaf has 4 lines */
#define LARGE_UNITS 4u /* the least number of units larger than ordinary */
#define USED_SHIFT 58u /* where in the tail the slots in use are */
#define MARKS_SHIFT 32u

static_assert(MARKS_SHIFT + LEAF_MARKS == USED_SHIFT, "tail is in use");

/* What the writer reads needs no order: it wrote it.  What it writes needs
 * none where a word, stored later with release, is what counts. */
static inline uint64_t
peek(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static inline void
poke(_Atomic uint64_t *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

/* ---- sizes ---- */

static const struct leaf_size size_first = {FIRST_SHIFT, 1};

static uint64_t
size_lines(struct leaf_size size)
{
	return (uint64_t)size.units << size.shift;
}

static uint64_t
size_cap(struct leaf_size size)
{
	return (size_lines(size) - LEAF_HEAD_LINES) * LEAF_SLOTS *
	       LEAF_LOAD_PERCENT / 100;
}

static struct leaf_size
size_after(struct leaf_size size)
{
	if (size.shift < LEAF_UNIT_SHIFT)
		return (struct leaf_size){size.shift + 1, 1};
	if (size.units < LEAF_UNITS_MAX)
		return (struct leaf_size){size.shift, size.units + 1};
	return (struct leaf_size){size.shift + 1, LARGE_UNITS};
}

struct leaf_size
leaf_size_for(uint64_t entries)
{
	struct leaf_size size = size_first;

	while (size_cap(size) < entries)
		size = size_after(size);
	return size;
}

uint64_t
leaf_cap_max(void)
{
	return size_cap((struct leaf_size){LEAF_UNIT_SHIFT, LEAF_UNITS_MAX});
}

/* The least size would do for fewer entries than this and an eighth more,
 * and less than 5/8 of this size would be used. */
static uint64_t
size_low(struct leaf_size size)
{
	struct leaf_size smaller = size_first;

	if (size_lines(size) == size_lines(smaller))
		return 0;
	while (size_lines(size_after(smaller)) < size_lines(size))
		smaller = size_after(smaller);
	return min_u64(size_cap(size) * 5 / 8, size_cap(smaller) * 8 / 9);
}

struct leaf *
leaf_init(
    void *const units[LEAF_UNITS_MAX], struct leaf_size size, uint32_t depth)
{
	struct leaf *leaf = units[0];

	assert(size_lines(size) * LEAF_SLOTS <= UINT32_MAX);

	/* Zeros are empty buckets. */
	for (uint32_t u = 0; u < size.units; u++)
		memset(units[u], 0, (size_t)CACHE_LINE << size.shift);

	leaf->bucket_count = (uint32_t)size_lines(size) - LEAF_HEAD_LINES;
	leaf->unit_shift = (uint8_t)size.shift;
	leaf->unit_count = (uint8_t)size.units;
	leaf->depth = (uint8_t)depth;
	leaf->home_shift = (uint8_t)(64 - LEAF_HASH_BITS + depth);
	for (uint32_t u = 0; u < size.units; u++)
		leaf->unit[u] = (uintptr_t)units[u] -
				((uintptr_t)u << size.shift) * CACHE_LINE;
	leaf->cap = (uint32_t)size_cap(size);
	leaf->low = (uint32_t)size_low(size);
	return leaf;
}

/* ---- changes ---- */

static uint64_t
tag_at(const struct bucket *bucket, unsigned slot)
{
	uint64_t tags = peek(slot < 4 ? &bucket->tags : &bucket->tail);

	return tags >> 16 * (slot & 3) & 0xffff;
}

/* Store an entry in a slot not in use: the word last, since it makes the
 * entry. */
static void
fill_slot(struct bucket *bucket, uint64_t tail, unsigned slot, uint64_t tag,
    uint64_t word)
{
	const unsigned shift = 16 * (slot & 3);
	const uint64_t others = ~(UINT64_C(0xffff) << shift);

	tail |= UINT64_C(1) << (USED_SHIFT + slot);
	if (slot < 4)
		poke(&bucket->tags,
		    (peek(&bucket->tags) & others) | tag << shift);
	else
		tail = (tail & others) | tag << shift;
	poke(&bucket->tail, tail);
	leaf_set(bucket, slot, word);
}

void
leaf_put(struct leaf *leaf, uint64_t hash, uint64_t word)
{
	const uint64_t all = (1u << LEAF_SLOTS) - 1;
	uint32_t index = leaf_home(leaf, hash);

	assert(leaf->count < leaf->cap); /* LEAF-3: so there is room */
	for (;;) {
		struct bucket *bucket = leaf_bucket(leaf, index);
		uint64_t tail = peek(&bucket->tail);
		uint64_t unused = ~(tail >> USED_SHIFT) & all;

		if (LIKELY(unused != 0)) {
			fill_slot(bucket, tail, leaf_lowest_bit(unused),
			    hash & 0xffff, word);
			break;
		}
		poke(&bucket->tail, tail | leaf_mark_of(hash)); /* LEAF-2 */
		index = leaf_next_index(leaf, index);
	}
	leaf->count++;
}

void
leaf_remove(struct leaf *leaf, uint32_t index, unsigned slot, uint64_t hash)
{
	struct bucket *bucket = leaf_bucket(leaf, index);
	uint64_t used = UINT64_C(1) << (USED_SHIFT + slot);

	leaf_set(bucket, slot, 0);
	poke(&bucket->tail, peek(&bucket->tail) & ~used);
	if (index != leaf_home(leaf, hash))
		leaf->stale++;
	leaf->count--;
}

/* ---- copies ---- */

/*
 * What goes into tags and tails of a new leaf is collected here first.
 * Entries come in about the order of their buckets; with read-modify-write of
 * the bucket each would wait for the one before.
 */
#define STAGE_BUCKETS ((LEAF_UNITS_MAX << LEAF_UNIT_SHIFT) - LEAF_HEAD_LINES)

struct stage {
	uint16_t tag[STAGE_BUCKETS][8];
	uint32_t state[STAGE_BUCKETS]; /* marks; above them, slots in use */
};

static bool
is_staged(const struct leaf *leaf)
{
	return leaf != NULL && leaf->bucket_count <= STAGE_BUCKETS;
}

/* As leaf_put(), into a leaf that no find knows. */
static inline void
stage_entry(
    struct leaf *leaf, struct stage *stage, uint64_t hash, uint64_t word)
{
	uint32_t index = leaf_home(leaf, hash);
	uint32_t state = stage->state[index];
	uint32_t slot;

	while (UNLIKELY(state >> LEAF_MARKS == LEAF_SLOTS)) {
		stage->state[index] |=
		    (uint32_t)(leaf_mark_of(hash) >> MARKS_SHIFT);
		index = leaf_next_index(leaf, index);
		state = stage->state[index];
	}
	slot = state >> LEAF_MARKS;
	stage->state[index] = state + (1u << LEAF_MARKS);
	stage->tag[index][slot] = (uint16_t)hash;
	poke(&leaf_bucket(leaf, index)->word[slot], word);
}

static uint64_t
join_tags(const uint16_t tag[4])
{
	return (uint64_t)tag[0] | (uint64_t)tag[1] << 16 |
	       (uint64_t)tag[2] << 32 | (uint64_t)tag[3] << 48;
}

static void
finish_stage(struct leaf *leaf, const struct stage *stage)
{
	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		struct bucket *bucket = leaf_bucket(leaf, i);
		uint32_t slots = stage->state[i] >> LEAF_MARKS;
		uint64_t marks = stage->state[i] & ((1u << LEAF_MARKS) - 1);
		uint64_t used = (1u << slots) - 1;

		poke(&bucket->tags, join_tags(stage->tag[i]));
		poke(&bucket->tail, join_tags(&stage->tag[i][4]) |
					marks << MARKS_SHIFT |
					used << USED_SHIFT);
		leaf->count += slots;
	}
}

void
leaf_copy(const struct leaf *old, struct leaf *half0, struct leaf *half1,
    uint32_t bit)
{
	struct leaf *const half[2] = {half0, half1};
	const uint64_t two = half1 != NULL;
	struct stage stage[2];

	for (int i = 0; i < 2; i++)
		if (is_staged(half[i]))
			memset(&stage[i], 0, sizeof stage[i]);

	for (uint32_t i = 0; i < old->bucket_count; i++) {
		const struct bucket *bucket = leaf_bucket(old, i);
		uint64_t used = peek(&bucket->tail) >> USED_SHIFT;

		for (; used != 0; used &= used - 1) {
			unsigned slot = leaf_lowest_bit(used);
			uint64_t word = peek(&bucket->word[slot]);
			uint64_t hash = word >> LEAF_LOC_BITS << LEAF_TAG_BITS |
					tag_at(bucket, slot);
			unsigned to = (unsigned)(hash >> bit & two);

			if (LIKELY(is_staged(half[to])))
				stage_entry(half[to], &stage[to], hash, word);
			else
				leaf_put(half[to], hash, word);
		}
	}

	for (int i = 0; i < 2; i++)
		if (is_staged(half[i]))
			finish_stage(half[i], &stage[i]);
}

uint64_t
leaf_count_ones(const struct leaf *leaf, uint32_t bit)
{
	const uint32_t shift = bit - LEAF_TAG_BITS + LEAF_LOC_BITS;
	uint64_t count = 0;

	/* Empty words are 0. */
	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		const struct bucket *bucket = leaf_bucket(leaf, i);

		for (unsigned slot = 0; slot < LEAF_SLOTS; slot++)
			count += peek(&bucket->word[slot]) >> shift & 1;
	}
	return count;
}

/* ---- check ---- */

/* Walk as a find does, from home to this bucket (LEAF-2). */
static void
check_way(const struct leaf *leaf, uint64_t hash, uint32_t to)
{
	uint32_t index = leaf_home(leaf, hash);

	for (; index != to; index = leaf_next_index(leaf, index))
		assert((peek(&leaf_bucket(leaf, index)->tail) &
			   leaf_mark_of(hash)) != 0);
}

void
leaf_check(const struct leaf *leaf, uint64_t prefix)
{
	struct leaf_size size = {leaf->unit_shift, leaf->unit_count};
	uint64_t count = 0;

	assert(leaf_unit(leaf, 0) == (const void *)leaf);
	assert(leaf->bucket_count + LEAF_HEAD_LINES == size_lines(size));
	assert(leaf->cap == size_cap(size));
	assert(leaf->cap < leaf->bucket_count * LEAF_SLOTS);
	assert(leaf->count <= leaf->cap); /* LEAF-3 */

	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		const struct bucket *bucket = leaf_bucket(leaf, i);
		uint64_t used = peek(&bucket->tail) >> USED_SHIFT;

		for (unsigned slot = 0; slot < LEAF_SLOTS; slot++) {
			uint64_t word = peek(&bucket->word[slot]);
			uint64_t hash = word >> LEAF_LOC_BITS << LEAF_TAG_BITS |
					tag_at(bucket, slot);

			assert((used >> slot & 1) == (word != 0));
			(void)used;
			if (word == 0)
				continue;
			assert((word & LEAF_LOC_MASK) != 0);
			assert(
			    hash >> (LEAF_HASH_BITS - leaf->depth) == prefix);
			check_way(leaf, hash, i);
			count++;
		}
	}
	assert(count == leaf->count);
	(void)size;
	(void)prefix;
}
