/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leaf.h - one leaf of the index table (keydir.h): the entries of the hashes
 * that begin with one prefix.  A leaf knows neither its prefix nor where its
 * memory comes from.
 *
 *   a leaf of 3 units: unit[0]      unit[1]      unit[2]
 *                      +--------+   +--------+   +--------+
 *   what finds need    | line 0 |   | bucket |   | bucket |
 *   the writer's       | line 1 |   | bucket |   | bucket |
 *   6 entries a line   | bucket |   |  ...   |   |  ...   |
 *                      |  ...   |   |        |   |        |
 *                      +--------+   +--------+   +--------+
 *
 *   a bucket: 6 words  24 bits of hash, 40 bits of location + 1; 0: empty
 *             tags     4 x 16 bits: the rest of the hash of entries 0-3
 *             tail     2 x 16 bits: of entries 4 and 5; 26 overflow marks;
 *                      6 bits: slots in use (only the writer looks at these)
 *
 * What hash bits behind the prefix say, as a fraction of the leaf, is an
 * entry's home bucket, so that any number of buckets will do.  An entry that
 * finds no room there goes to the next bucket with room, around the end, and
 * sets one of the 26 marks, chosen by its hash, in every bucket it passes.  A
 * find goes on only where its own mark is set, so that nearly every miss ends
 * in the first cache line.
 *
 * Promises.  Asserts and tests quote these names.
 *   LEAF-1  Line 0 does not change once finds know the leaf.
 *   LEAF-2  Every bucket from an entry's home to the one before it is in has
 *           the entry's mark.  Marks are never taken away.
 *   LEAF-3  A leaf is never full: it holds at most `cap` entries.
 *
 * Finds beside the writer.  All of a bucket is atomic.  A find may meet:
 *   - an insert half done.  First come marks, then the tag, then the word
 *     (release); without the word there is no entry: the find was earlier.
 *   - a replace: one store of the word.  The hash in it does not change.
 *   - a remove: one store of 0.
 *   - tag and word of different times, because the slot was emptied and used
 *     again in between.  Either they do not match the hash looked for, or a
 *     location comes out whose record has another key; that is no different
 *     from two keys of equal hash, and the caller compares keys (INV-12).
 * An entry that is there all the time never moves, and by LEAF-2 is found.
 */
#ifndef LEAF_H
#define LEAF_H

#include "base.h"
#include "epoch.h"
#include <stdatomic.h>

#ifdef __SSE2__
#include <emmintrin.h>
#define LEAF_HAVE_SSE2 1
#else
#define LEAF_HAVE_SSE2 0
#endif

#define LEAF_SLOTS 6u /* entries per bucket */
#define LEAF_HASH_BITS 40
#define LEAF_LOC_BITS 40
#define LEAF_TAG_BITS 16
#define LEAF_LOC_MASK ((UINT64_C(1) << LEAF_LOC_BITS) - 1)
#define LEAF_MARKS 26u

#define LEAF_UNIT_SHIFT 4u /* an ordinary unit has 16 lines: 1 KiB */
#define LEAF_UNITS_MAX 7u  /* pointers that fit into line 0 */
#define LEAF_HEAD_LINES 2u
#define LEAF_LOAD_PERCENT 88u /* of the slots, at most (LEAF-3) */

struct bucket {
	_Atomic uint64_t word[LEAF_SLOTS];
	_Atomic uint64_t tags;
	_Atomic uint64_t tail;
};

struct leaf {
	/* Line 0 (LEAF-1). */
	uint32_t bucket_count;
	uint8_t unit_shift; /* lines per unit, binary logarithm */
	uint8_t unit_count;
	uint8_t depth;      /* bits of hash in the prefix */
	uint8_t home_shift; /* of a hash, so that they are gone */
	/* Line n of the leaf is n lines behind unit[n >> unit_shift]. */
	uintptr_t unit[LEAF_UNITS_MAX];

	/* Line 1: the writer's. */
	_Alignas(CACHE_LINE) uint32_t count; /* entries */
	uint32_t cap;
	uint32_t low;     /* with fewer entries, a smaller leaf is better */
	uint32_t stale;   /* removed entries that have left marks */
	uint64_t pending; /* entries that a reserve wants room for */
	void *owner;
	struct epoch_node node; /* once it is retired */
};

static_assert(sizeof(struct bucket) == CACHE_LINE, "a bucket is a line");
static_assert(offsetof(struct leaf, count) == CACHE_LINE, "finds need line 0");
static_assert(sizeof(struct leaf) == LEAF_HEAD_LINES * CACHE_LINE, "two lines");
static_assert(LEAF_HASH_BITS + LEAF_LOC_BITS == 64 + LEAF_TAG_BITS,
    "a hash is a tag and what a location leaves of a word");

/* ---- sizes: a leaf grows by small steps ---- */

struct leaf_size {
	uint32_t shift; /* as unit_shift */
	uint32_t units;
};

/* The least size for this many entries, with regard to cap.  Sizes are 1 unit
 * of 4, 8 or 16 lines; 2 to 7 units of 16; 4 to 7 of 32, of 64, ... */
struct leaf_size leaf_size_for(uint64_t entries);

/* The most entries that a leaf of ordinary units takes. */
uint64_t leaf_cap_max(void);

/* Make an empty leaf of units that the caller gives it, and owns. */
struct leaf *leaf_init(
    void *const units[LEAF_UNITS_MAX], struct leaf_size size, uint32_t depth);

/* ---- finds ---- */

static inline uint64_t
leaf_word_of(uint64_t hash, uint64_t loc)
{
	return hash >> LEAF_TAG_BITS << LEAF_LOC_BITS | (loc + 1);
}

/* A word's location, if the word is of an entry that may have this hash;
 * otherwise UINT64_MAX. */
static inline uint64_t
leaf_loc_of(uint64_t word, uint64_t hash)
{
	if (LIKELY(word >> LEAF_LOC_BITS == hash >> LEAF_TAG_BITS &&
		   (word & LEAF_LOC_MASK) != 0))
		return (word & LEAF_LOC_MASK) - 1;
	return UINT64_MAX;
}

static inline uint64_t
leaf_mark_of(uint64_t hash)
{
	return UINT64_C(1) << (32 + ((hash & 0xffff) * LEAF_MARKS >> 16));
}

/* The home bucket of a hash. */
static inline uint32_t
leaf_home(const struct leaf *leaf, uint64_t hash)
{
	uint64_t top = hash << leaf->home_shift;

	return (uint32_t)((top >> 32) * leaf->bucket_count >> 32);
}

static inline struct bucket *
leaf_bucket(const struct leaf *leaf, uint32_t index)
{
	uint64_t line = (uint64_t)index + LEAF_HEAD_LINES;

	return (struct bucket *)(leaf->unit[line >> leaf->unit_shift] +
				 line * CACHE_LINE);
}

/* The memory of a unit. */
static inline void *
leaf_unit(const struct leaf *leaf, uint32_t unit)
{
	uint64_t line = (uint64_t)unit << leaf->unit_shift;

	return (void *)(leaf->unit[unit] + line * CACHE_LINE);
}

static inline uint32_t
leaf_next_index(const struct leaf *leaf, uint32_t index)
{
	return index + 1 < leaf->bucket_count ? index + 1 : 0;
}

/*
 * leaf_matches(): the slots whose tags match, as a set of bits.  Of the lowest
 * bit, leaf_slot_of() tells the slot; leaf_next_matches() are the others.
 */
#if LEAF_HAVE_SSE2
/* Two bits for each slot, from the lowest on. */
static inline uint64_t
leaf_matches(const struct bucket *bucket, uint64_t tail, uint64_t hash)
{
	uint64_t tags =
	    atomic_load_explicit(&bucket->tags, memory_order_relaxed);
	__m128i lanes = _mm_set_epi64x((long long)tail, (long long)tags);
	__m128i equal = _mm_cmpeq_epi16(lanes, _mm_set1_epi16((short)hash));

	return (uint64_t)_mm_movemask_epi8(equal) &
	       ((1u << 2 * LEAF_SLOTS) - 1);
}

static inline unsigned
leaf_slot_of(unsigned bit)
{
	return bit >> 1;
}

static inline uint64_t
leaf_next_matches(uint64_t matches)
{
	matches &= matches - 1;
	return matches & (matches - 1);
}
#else
/* The top bit of every 16 bits of v that equal tag. */
static inline uint64_t
leaf_equal_lanes(uint64_t v, uint64_t tag)
{
	const uint64_t ones = UINT64_C(0x0001000100010001);
	const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
	uint64_t x = v ^ tag * ones;

	return ~(((x & low) + low) | x | low);
}

/* Slots 0 to 3 at bits 15, 31, 47 and 63, slots 4 and 5 at bits 14 and 30. */
static inline uint64_t
leaf_matches(const struct bucket *bucket, uint64_t tail, uint64_t hash)
{
	uint64_t tag = hash & 0xffff;
	uint64_t tags =
	    atomic_load_explicit(&bucket->tags, memory_order_relaxed);

	return leaf_equal_lanes(tags, tag) |
	       (leaf_equal_lanes(tail, tag) & UINT32_MAX) >> 1;
}

static inline unsigned
leaf_slot_of(unsigned bit)
{
	return (bit >> 4) + 4 * (~bit & 1);
}

static inline uint64_t
leaf_next_matches(uint64_t matches)
{
	return matches & (matches - 1);
}
#endif

static inline unsigned
leaf_lowest_bit(uint64_t v)
{
#if defined __GNUC__
	return (unsigned)__builtin_ctzll(v);
#else
	unsigned n = 0;

	for (; (v & 1) == 0; v >>= 1)
		n++;
	return n;
#endif
}

/* ---- changes, by one writer ---- */

/* Whether there is room for what is pending. */
static inline bool
leaf_has_room(const struct leaf *leaf)
{
	return leaf->count + leaf->pending <= leaf->cap;
}

/* Whether a leaf's marks are mostly stale, or it is mostly empty. */
static inline bool
leaf_is_untidy(const struct leaf *leaf)
{
	return leaf->stale > 2 * leaf->bucket_count ||
	       leaf->count + leaf->pending < leaf->low;
}

/* Put in an entry; count < cap. */
void leaf_put(struct leaf *leaf, uint64_t hash, uint64_t word);

/* Change the location of the entry in a slot. */
static inline void
leaf_set(struct bucket *bucket, unsigned slot, uint64_t word)
{
	atomic_store_explicit(&bucket->word[slot], word, memory_order_release);
}

/* Remove the entry in a slot. */
void leaf_remove(
    struct leaf *leaf, uint32_t index, unsigned slot, uint64_t hash);

/* How many entries have a 1 at this bit, 16 or above, of their hash. */
uint64_t leaf_count_ones(const struct leaf *leaf, uint32_t bit);

/*
 * Copy all entries into leaves that are new and empty and have room: those
 * with a 1 at this bit of their hash into half1, the others into half0.  half1
 * may be NULL: then all go to half0.
 */
void leaf_copy(const struct leaf *old, struct leaf *half0, struct leaf *half1,
    uint32_t bit);

/* Assert all that a leaf promises, prefix being that of all its hashes. */
void leaf_check(const struct leaf *leaf, uint64_t prefix);

#endif
