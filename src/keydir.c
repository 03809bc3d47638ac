/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keydir.c - the table from hash to location: extendible hashing.
 *
 *   directory           leaf (1 to 7 units of 1 KiB)
 *   +--------+          +--------+
 *   | 00.... |--------->| line 0 |  what finds need: size, depth, units
 *   | 01.... |--.       | line 1 |  what only the writer needs: counts
 *   | 10.... |--+-----. | bucket |  6 entries in one cache line
 *   | 11.... |  |     | |  ...   |
 *   +--------+  v     v +--------+
 *
 *   bucket   6 words      24 bits of hash, 40 bits of location + 1; 0: empty
 *            tags         4 x 16 bits: the rest of the hash of entries 0-3
 *            tail         2 x 16 bits: of entries 4 and 5; 26 overflow marks;
 *                         6 bits: which slots hold an entry (the writer's)
 *
 * The top bits of a hash choose the directory's entry, the bits below them
 * the bucket within the leaf, by multiplication, so that any number of
 * buckets will do.  What does not fit into its bucket goes to the first later
 * one (around the end) with room, and sets one of the 26 marks, by its hash,
 * in every bucket it passes: a find goes on only where its own mark is set,
 * so that nearly every miss ends in its first cache line.
 *
 * An entry holds its whole hash.  A leaf that is full is copied into a new
 * one of one unit more or, from 7 units, into two of about 4, from the leaf
 * alone and without a look at any record.  Steps by one unit, and units of
 * one size, keep the bytes per key nearly the same at all times: memory
 * grows by the leaf, freed units serve for any leaf, and nothing is ever
 * doubled but the directory (8 bytes for some hundreds of keys).
 *
 * Promises.  Asserts and tests quote these names.
 *   KEYDIR-1  A leaf that the directory names holds exactly the hashes with
 *             its prefix; all directory entries of that prefix name it.
 *   KEYDIR-2  From the home bucket of an entry to the one it is in, every
 *             bucket but the last has the entry's mark.
 *   KEYDIR-3  A leaf is never full: it grows at `cap` entries.
 *   KEYDIR-4  Every unit is in a live leaf, in a retired leaf, or free.
 *
 * Finds beside the writer.  Everything in a bucket is atomic.  What a find
 * may meet:
 *   - an insert half done: first marks, then the tag, then the word (release).
 *     Without the word there is no entry: the find came before the insert.
 *   - a replace: one store of the word; the hash bits in it do not change.
 *   - a remove: the word becomes 0.
 *   - tag and word of different times, since a slot was emptied and used
 *     again in between: either they do not match the hash looked for, or a
 *     location comes out whose record has another key.  That is no different
 *     from two keys with equal hashes: the caller compares keys (INV-12).
 *   - a leaf or directory that has just been replaced: these are never
 *     changed again, and stay until the find's epoch has ended, so the find
 *     sees the table as it was when it began.
 * An entry that is there all the time never moves within a leaf, and marks
 * are never taken away, so it is always found.
 *
 * Removing leaves the marks.  When many entries that marks were set for are
 * gone, or when few entries are left, the leaf is copied, at the next reserve
 * that concerns it: not at a remove, which thus cannot take away room that a
 * reserve has made sure of.  Leaves are never merged, and units that become
 * free are kept for other leaves.
 *
 * Leaves beyond 7 units exist only where splitting does not help, because
 * the hashes are equal or nearly: their units are larger.
 */
#include "config.h"

#include "keydir.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "os.h"

#define SLOTS 6u
#define LOC_MASK ((UINT64_C(1) << KEYDIR_LOC_BITS) - 1)
#define TAG_BITS 16
#define MARKS 26u
#define USED_SHIFT 58u /* of the tail's bits for used slots */

#ifndef UNIT_SHIFT
#define UNIT_SHIFT 4u
#endif
/* an ordinary unit has 16 lines */
#define UNIT_LINES (1u << UNIT_SHIFT)
#define UNIT_BYTES (UNIT_LINES * CACHE_LINE)
#define UNITS_MAX 7u   /* in a leaf; pointers that fit into line 0 */
#define UNITS_SPLIT 4u /* the smallest number with larger units */
#define HEAD_LINES 2u  /* of a leaf's first unit */
#define FIRST_SHIFT 2u /* the smallest leaf has 4 lines */
#define DEPTH_MAX 32u  /* leaves 8 bits at least to choose a bucket by */
#ifndef LOAD_PERCENT
#define LOAD_PERCENT 88u
#endif

/* Memory for units is asked for in chunks: a part of what there is already,
 * within these bounds, so that little of it waits unused. */
#define CHUNK_BYTES_MIN (UINT64_C(8) << 10)
#define CHUNK_BYTES_MAX (UINT64_C(2) << 20)
#define CHUNK_PART 32u

struct bucket {
	_Atomic uint64_t word[SLOTS];
	_Atomic uint64_t tags;
	_Atomic uint64_t tail;
};

struct leaf {
	/* Line 0: never changed once the directory names the leaf. */
	uint32_t bucket_count;
	uint8_t unit_shift; /* binary logarithm of lines per unit */
	uint8_t unit_count;
	uint8_t depth;                  /* bits of hash in the prefix */
	struct bucket *unit[UNITS_MAX]; /* unit[0] begins with the leaf */

	/* Line 1: the writer's. */
	_Alignas(CACHE_LINE) uint32_t count; /* entries */
	uint32_t cap;                        /* most entries (KEYDIR-3) */
	uint32_t low;     /* with fewer entries, a smaller leaf will do */
	uint32_t stale;   /* removed entries whose marks are left */
	uint64_t pending; /* of the reserve that is going on */
	struct keydir *keydir;
	struct epoch_node node; /* once it is retired */
};

struct directory {
	struct keydir *keydir;
	struct epoch_node node;
	uint32_t depth;
	_Atomic(struct leaf *) leaf[]; /* 2^depth */
};

/* A unit that is in no leaf. */
struct free_unit {
	struct free_unit *next;
};

/* Memory that units are cut from; they begin one line behind this. */
struct chunk {
	struct chunk *next;
	uint32_t unit_count;
	uint32_t used; /* units that have been cut from it */
};

struct keydir {
	_Atomic(struct directory *) directory;
	struct epoch *epoch;
	_Atomic uint64_t count;
	_Atomic uint64_t bytes; /* of all memory asked for */

	/* The writer's. */
	uint64_t leaf_count;
	struct chunk *chunks;   /* newest first; the only one to cut from */
	struct free_unit *free; /* last freed first */
	uint64_t unit_count;    /* cut from chunks */
	uint64_t free_count;
	uint64_t retired_count; /* in leaves that wait for their epoch */
	struct epoch_node node; /* once it is destroyed */
};

static_assert(sizeof(struct bucket) == CACHE_LINE, "a bucket is a line");
static_assert(offsetof(struct leaf, count) == CACHE_LINE, "finds need line 0");
static_assert(sizeof(struct leaf) == HEAD_LINES * CACHE_LINE, "two lines");
static_assert(KEYDIR_HASH_BITS + KEYDIR_LOC_BITS == 64 + TAG_BITS,
    "a hash is a tag and what a location leaves of a word");

/* ---- hashes, words, places ---- */

static unsigned
lowest_bit(uint64_t v)
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

static uint64_t
word_of(uint64_t hash, uint64_t loc)
{
	return hash >> TAG_BITS << KEYDIR_LOC_BITS | (loc + 1);
}

/* Whether word holds an entry with this hash, as far as the word tells. */
static bool
word_matches(uint64_t word, uint64_t hash)
{
	return word >> KEYDIR_LOC_BITS == hash >> TAG_BITS &&
	       (word & LOC_MASK) != 0;
}

static uint64_t
mark_of(uint64_t hash)
{
	return UINT64_C(1) << (32 + ((hash & 0xffff) * MARKS >> 16));
}

/* The home bucket: the bits behind the prefix, as a fraction of the leaf. */
static uint32_t
home_of(const struct leaf *leaf, uint64_t hash)
{
	uint64_t top = hash << (64 - KEYDIR_HASH_BITS) << leaf->depth;

	return (uint32_t)((top >> 32) * leaf->bucket_count >> 32);
}

static struct bucket *
bucket_at(const struct leaf *leaf, uint32_t index)
{
	uint32_t line = index + HEAD_LINES;

	return &leaf->unit[line >> leaf->unit_shift]
			  [line & ((1u << leaf->unit_shift) - 1)];
}

static uint32_t
bucket_after(const struct leaf *leaf, uint32_t index)
{
	return index + 1 < leaf->bucket_count ? index + 1 : 0;
}

static size_t
directory_index(const struct directory *directory, uint64_t hash)
{
	return (size_t)(hash >> (KEYDIR_HASH_BITS - directory->depth));
}

static struct leaf *
leaf_of(const struct keydir *keydir, uint64_t hash)
{
	struct directory *directory =
	    atomic_load_explicit(&keydir->directory, memory_order_acquire);

	return atomic_load_explicit(
	    &directory->leaf[directory_index(directory, hash)],
	    memory_order_acquire);
}

/* Bit 15 of every 16 bits of v that equal tag. */
static uint64_t
equal_lanes(uint64_t v, uint64_t tag)
{
	const uint64_t ones = UINT64_C(0x0001000100010001);
	const uint64_t low = UINT64_C(0x7fff7fff7fff7fff);
	uint64_t x = v ^ tag * ones;

	return ~(((x & low) + low) | x | low);
}

/*
 * The slots of a bucket whose tags match, as a set of bits: slots 0-3 at 15,
 * 31, 47, 63 and slots 4, 5 at 14, 30.
 */
static uint64_t
tag_matches(const struct bucket *bucket, uint64_t tail, uint64_t hash)
{
	uint64_t tag = hash & 0xffff;
	uint64_t tags =
	    atomic_load_explicit(&bucket->tags, memory_order_relaxed);

	return equal_lanes(tags, tag) |
	       (equal_lanes(tail, tag) & 0xffffffff) >> 1;
}

static unsigned
slot_of(unsigned bit)
{
	return (bit >> 4) + 4 * (~bit & 1);
}

static uint64_t
tag_at(const struct bucket *bucket, unsigned slot)
{
	uint64_t tags = atomic_load_explicit(
	    slot < 4 ? &bucket->tags : &bucket->tail, memory_order_relaxed);

	return tags >> 16 * (slot & 3) & 0xffff;
}

/* The set of slots that hold an entry, bit n for slot n. */
static unsigned
used_slots(const struct bucket *bucket)
{
	return (unsigned)(atomic_load_explicit(
			      &bucket->tail, memory_order_relaxed) >>
			  USED_SHIFT);
}

/* ---- sizes of leaves ---- */

struct size {
	uint32_t shift, units;
};

static const struct size size_first = {FIRST_SHIFT, 1};

static uint64_t
size_lines(struct size size)
{
	return (uint64_t)size.units << size.shift;
}

static uint64_t
size_cap(struct size size)
{
	return (size_lines(size) - HEAD_LINES) * SLOTS * LOAD_PERCENT / 100;
}

/* 1 unit of 4, 8, 16 lines; 2 to 7 units of 16; 4 to 7 of 32, of 64, ... */
static struct size
size_after(struct size size)
{
	if (size.shift < UNIT_SHIFT)
		return (struct size){size.shift + 1, 1};
	if (size.units < UNITS_MAX)
		return (struct size){size.shift, size.units + 1};
	return (struct size){size.shift + 1, UNITS_SPLIT};
}

static struct size
size_for(uint64_t entries)
{
	struct size size = size_first;

	while (size_cap(size) < entries)
		size = size_after(size);
	return size;
}

/* The most entries that a leaf of ordinary units takes. */
static uint64_t
cap_max(void)
{
	return size_cap((struct size){UNIT_SHIFT, UNITS_MAX});
}

/* ---- memory ---- */

static void
count_bytes(struct keydir *keydir, uint64_t more)
{
	uint64_t bytes =
	    atomic_load_explicit(&keydir->bytes, memory_order_relaxed);

	atomic_store_explicit(
	    &keydir->bytes, bytes + more, memory_order_relaxed);
}

static void *
get_memory(struct keydir *keydir, uint64_t bytes)
{
	void *p =
	    bytes <= SIZE_MAX ? os->aligned(CACHE_LINE, (size_t)bytes) : NULL;

	if (p != NULL)
		count_bytes(keydir, bytes);
	return p;
}

static void
put_memory(struct keydir *keydir, void *p, uint64_t bytes)
{
	count_bytes(keydir, (uint64_t)0 - bytes);
	os->free(p);
}

static uint64_t
chunk_bytes(const struct chunk *chunk)
{
	return CACHE_LINE + (uint64_t)chunk->unit_count * UNIT_BYTES;
}

static bool
add_chunk(struct keydir *keydir)
{
	uint64_t bytes = max_u64(
	    CHUNK_BYTES_MIN, min_u64(CHUNK_BYTES_MAX,
				 keydir->unit_count * UNIT_BYTES / CHUNK_PART));
	uint32_t unit_count = (uint32_t)(bytes / UNIT_BYTES);
	struct chunk *chunk =
	    get_memory(keydir, CACHE_LINE + (uint64_t)unit_count * UNIT_BYTES);

	if (chunk == NULL)
		return false;
	chunk->unit_count = unit_count;
	chunk->used = 0;
	chunk->next = keydir->chunks;
	keydir->chunks = chunk;
	return true;
}

/* An ordinary unit, not cleared; NULL if there is no memory. */
static void *
get_unit(struct keydir *keydir)
{
	struct free_unit *unit = keydir->free;
	struct chunk *chunk = keydir->chunks;

	if (unit != NULL) {
		keydir->free = unit->next;
		keydir->free_count--;
		return unit;
	}
	if (chunk == NULL || chunk->used == chunk->unit_count) {
		if (!add_chunk(keydir))
			return NULL;
		chunk = keydir->chunks;
	}
	keydir->unit_count++;
	return (char *)chunk + CACHE_LINE + (size_t)chunk->used++ * UNIT_BYTES;
}

static void
put_unit(struct keydir *keydir, void *p)
{
	struct free_unit *unit = p;

	unit->next = keydir->free;
	keydir->free = unit;
	keydir->free_count++;
}

/* Units of an unusual size are asked for one by one. */
static void *
get_unit_of(struct keydir *keydir, uint32_t shift)
{
	if (shift == UNIT_SHIFT)
		return get_unit(keydir);
	return get_memory(keydir, (uint64_t)CACHE_LINE << shift);
}

static void
put_unit_of(struct keydir *keydir, void *p, uint32_t shift)
{
	if (shift == UNIT_SHIFT)
		put_unit(keydir, p);
	else
		put_memory(keydir, p, (uint64_t)CACHE_LINE << shift);
}

/* Give a leaf's units back; the first one holds the leaf itself. */
static void
free_leaf(struct leaf *leaf)
{
	struct keydir *keydir = leaf->keydir;
	uint32_t shift = leaf->unit_shift;

	for (uint32_t u = leaf->unit_count; u-- > 0;)
		put_unit_of(keydir, leaf->unit[u], shift);
}

static void
free_retired_leaf(void *arg)
{
	struct leaf *leaf = arg;

	if (leaf->unit_shift == UNIT_SHIFT)
		leaf->keydir->retired_count -= leaf->unit_count;
	free_leaf(leaf);
}

static void
retire_leaf(struct leaf *leaf)
{
	if (leaf->unit_shift == UNIT_SHIFT)
		leaf->keydir->retired_count += leaf->unit_count;
	epoch_retire(leaf->keydir->epoch, &leaf->node, free_retired_leaf, leaf);
}

/* With fewer entries than this, an eighth more included, a smaller leaf
 * would do, and much of this one is unused. */
static uint64_t
low_of(struct size size)
{
	struct size smaller = size_first;

	if (size_lines(size) == size_lines(smaller))
		return 0;
	while (size_lines(size_after(smaller)) < size_lines(size))
		smaller = size_after(smaller);
	return min_u64(size_cap(size) * 5 / 8, size_cap(smaller) * 8 / 9);
}

/* An empty leaf that nobody knows yet; NULL if there is no memory. */
static struct leaf *
new_leaf(struct keydir *keydir, uint32_t depth, struct size size)
{
	void *unit[UNITS_MAX] = {NULL};
	size_t unit_bytes = (size_t)CACHE_LINE << size.shift;
	struct leaf *leaf;

	if (size_lines(size) * SLOTS > UINT32_MAX)
		return NULL; /* hundreds of GiB of equal hashes */
	for (uint32_t u = 0; u < size.units; u++) {
		unit[u] = get_unit_of(keydir, size.shift);
		if (unit[u] == NULL) {
			while (u-- > 0)
				put_unit_of(keydir, unit[u], size.shift);
			return NULL;
		}
	}
	/* Zeros are empty buckets. */
	for (uint32_t u = 0; u < size.units; u++)
		memset(unit[u], 0, unit_bytes);

	leaf = unit[0];
	leaf->bucket_count = (uint32_t)size_lines(size) - HEAD_LINES;
	leaf->unit_shift = (uint8_t)size.shift;
	leaf->unit_count = (uint8_t)size.units;
	leaf->depth = (uint8_t)depth;
	for (uint32_t u = 0; u < size.units; u++)
		leaf->unit[u] = unit[u];
	leaf->cap = (uint32_t)size_cap(size);
	leaf->low = (uint32_t)low_of(size);
	leaf->keydir = keydir;
	return leaf;
}

static uint64_t
directory_bytes(uint32_t depth)
{
	return round_up(
	    sizeof(struct directory) + (sizeof(struct leaf *) << depth),
	    CACHE_LINE);
}

static struct directory *
new_directory(struct keydir *keydir, uint32_t depth)
{
	struct directory *directory =
	    get_memory(keydir, directory_bytes(depth));

	if (directory == NULL)
		return NULL;
	directory->keydir = keydir;
	directory->depth = depth;
	return directory;
}

static void
free_directory(void *arg)
{
	struct directory *directory = arg;

	put_memory(
	    directory->keydir, directory, directory_bytes(directory->depth));
}

static struct directory *
directory_of(const struct keydir *keydir)
{
	return atomic_load_explicit(&keydir->directory, memory_order_relaxed);
}

int
keydir_create(struct keydir **ret_keydir, struct epoch *epoch)
{
	struct keydir *keydir = os->calloc(1, sizeof *keydir);
	struct directory *directory = NULL;
	struct leaf *leaf = NULL;

	if (keydir == NULL)
		return ENOMEM;
	keydir->epoch = epoch;
	count_bytes(keydir, sizeof *keydir);
	directory = new_directory(keydir, 0);
	if (directory != NULL)
		leaf = new_leaf(keydir, 0, size_first);
	if (leaf == NULL) {
		os->free(directory);
		os->free(keydir);
		return ENOMEM;
	}
	keydir->leaf_count = 1;
	atomic_init(&directory->leaf[0], leaf);
	atomic_store_explicit(
	    &keydir->directory, directory, memory_order_release);
	*ret_keydir = keydir;
	return 0;
}

/* The number of directory entries that name leaf. */
static size_t
span_of(const struct directory *directory, const struct leaf *leaf)
{
	return (size_t)1 << (directory->depth - leaf->depth);
}

static void
free_keydir(void *arg)
{
	struct keydir *keydir = arg;
	struct directory *directory = directory_of(keydir);
	size_t span;

	for (size_t i = 0; i < (size_t)1 << directory->depth; i += span) {
		struct leaf *leaf = atomic_load_explicit(
		    &directory->leaf[i], memory_order_relaxed);

		span = span_of(directory, leaf);
		free_leaf(leaf);
	}
	free_directory(directory);
	while (keydir->chunks != NULL) {
		struct chunk *chunk = keydir->chunks;

		keydir->chunks = chunk->next;
		put_memory(keydir, chunk, chunk_bytes(chunk));
	}
	assert(keydir_bytes(keydir) == sizeof *keydir);
	os->free(keydir);
}

void
keydir_destroy(struct keydir *keydir)
{
	if (keydir == NULL)
		return;

	/* Retired leaves name the table.  The epoch frees in the order of
	 * retiring, so the table comes after them, also where readers of
	 * something else hold the epoch up. */
	epoch_retire(keydir->epoch, &keydir->node, free_keydir, keydir);
	epoch_reclaim(keydir->epoch);
}

/* ---- finds ---- */

static void
look_at(struct keydir_probe *probe)
{
	const struct bucket *bucket = bucket_at(probe->leaf, probe->index);
	uint64_t tail =
	    atomic_load_explicit(&bucket->tail, memory_order_relaxed);

	probe->bucket = bucket;
	probe->matches = tag_matches(bucket, tail, probe->hash);
	probe->more = (tail & mark_of(probe->hash)) != 0;
}

uint64_t
keydir_next(struct keydir_probe *probe)
{
	for (;;) {
		const struct bucket *bucket = probe->bucket;

		while (probe->matches != 0) {
			unsigned slot = slot_of(lowest_bit(probe->matches));
			uint64_t word = atomic_load_explicit(
			    &bucket->word[slot], memory_order_acquire);

			probe->matches &= probe->matches - 1;
			probe->slot = slot;
			if (LIKELY(word_matches(word, probe->hash)))
				return (word & LOC_MASK) - 1;
		}
		if (LIKELY(!probe->more) || --probe->left == 0) {
			probe->more = false;
			return KEYDIR_NONE;
		}
		probe->index = bucket_after(probe->leaf, probe->index);
		look_at(probe);
	}
}

uint64_t
keydir_first(
    const struct keydir *keydir, uint64_t hash, struct keydir_probe *probe)
{
	const struct leaf *leaf = leaf_of(keydir, hash);

	assert(hash >> KEYDIR_HASH_BITS == 0);
	probe->leaf = leaf;
	probe->hash = hash;
	probe->index = home_of(leaf, hash);
	probe->left = leaf->bucket_count;
	look_at(probe);
	return keydir_next(probe);
}

void
keydir_prefetch(const struct keydir *keydir, uint64_t hash)
{
	const struct leaf *leaf = leaf_of(keydir, hash);

	PREFETCH(bucket_at(leaf, home_of(leaf, hash)));
}

/* ---- growth ---- */

/* Store an entry in a free slot: the word last, since it makes the entry. */
static void
fill_slot(struct bucket *bucket, uint64_t tail, unsigned slot, uint64_t tag,
    uint64_t word)
{
	const unsigned shift = 16 * (slot & 3);
	const uint64_t clear = ~(UINT64_C(0xffff) << shift);
	uint64_t tags;

	tail |= UINT64_C(1) << (USED_SHIFT + slot);
	if (slot < 4) {
		tags =
		    atomic_load_explicit(&bucket->tags, memory_order_relaxed);
		atomic_store_explicit(&bucket->tags,
		    (tags & clear) | tag << shift, memory_order_relaxed);
	} else
		tail = (tail & clear) | tag << shift;
	atomic_store_explicit(&bucket->tail, tail, memory_order_relaxed);
	atomic_store_explicit(&bucket->word[slot], word, memory_order_release);
}

/* Put an entry into a leaf that has room for it (KEYDIR-3). */
static void
put_entry(struct leaf *leaf, uint64_t hash, uint64_t word)
{
	const uint64_t all = (1u << SLOTS) - 1;
	uint32_t index = home_of(leaf, hash);

	for (;;) {
		struct bucket *bucket = bucket_at(leaf, index);
		uint64_t tail =
		    atomic_load_explicit(&bucket->tail, memory_order_relaxed);
		uint64_t unused = ~(tail >> USED_SHIFT) & all;

		if (LIKELY(unused != 0)) {
			fill_slot(bucket, tail, lowest_bit(unused),
			    hash & 0xffff, word);
			break;
		}
		atomic_store_explicit(&bucket->tail, tail | mark_of(hash),
		    memory_order_relaxed); /* KEYDIR-2 */
		index = bucket_after(leaf, index);
	}
	leaf->count++;
}

/* Call fn for all entries of a leaf. */
typedef void entry_fn(void *arg, uint64_t hash, uint64_t word);

static inline void
each_entry(const struct leaf *leaf, entry_fn *fn, void *arg)
{
	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		const struct bucket *bucket = bucket_at(leaf, i);

		for (unsigned used = used_slots(bucket); used != 0;
		     used &= used - 1) {
			unsigned slot = lowest_bit(used);
			uint64_t word = atomic_load_explicit(
			    &bucket->word[slot], memory_order_relaxed);

			fn(arg,
			    word >> KEYDIR_LOC_BITS << TAG_BITS |
				tag_at(bucket, slot),
			    word);
		}
	}
}

/*
 * Tags, marks and slots in use of a leaf that is being filled and that nobody
 * knows yet, so that an entry costs a few plain stores: entries come in about
 * the order of their buckets, and with read-modify-write of the buckets' own
 * words each would wait for the one before.
 */
#define STAGE_BUCKETS (UNITS_MAX * UNIT_LINES - HEAD_LINES)

struct stage {
	uint16_t tag[STAGE_BUCKETS][8];
	uint32_t marks[STAGE_BUCKETS];
	uint8_t used[STAGE_BUCKETS]; /* the first this many slots */
};

struct copy {
	struct leaf *half[2];
	uint32_t shift;
	struct stage stage[2];
};

static bool
is_staged(const struct leaf *leaf)
{
	return leaf->bucket_count <= STAGE_BUCKETS;
}

static inline void
stage_entry(
    struct leaf *leaf, struct stage *stage, uint64_t hash, uint64_t word)
{
	uint32_t index = home_of(leaf, hash);
	unsigned slot;

	while (UNLIKELY(stage->used[index] == SLOTS)) {
		stage->marks[index] |= (uint32_t)(mark_of(hash) >> 32);
		index = bucket_after(leaf, index); /* KEYDIR-2 */
	}
	slot = stage->used[index]++;
	stage->tag[index][slot] = (uint16_t)hash;
	atomic_store_explicit(
	    &bucket_at(leaf, index)->word[slot], word, memory_order_relaxed);
}

static uint64_t
tags_of(const uint16_t tag[4])
{
	return (uint64_t)tag[0] | (uint64_t)tag[1] << 16 |
	       (uint64_t)tag[2] << 32 | (uint64_t)tag[3] << 48;
}

static void
finish_stage(struct leaf *leaf, struct stage *stage)
{
	for (uint32_t i = 0; i < leaf->bucket_count; i++) {
		struct bucket *bucket = bucket_at(leaf, i);
		uint64_t used = (1u << stage->used[i]) - 1;
		uint64_t tail = tags_of(&stage->tag[i][4]) |
				(uint64_t)stage->marks[i] << 32 |
				used << USED_SHIFT;

		atomic_store_explicit(&bucket->tags, tags_of(stage->tag[i]),
		    memory_order_relaxed);
		atomic_store_explicit(
		    &bucket->tail, tail, memory_order_relaxed);
		leaf->count += stage->used[i];
	}
}

static inline void
copy_entry(void *arg, uint64_t hash, uint64_t word)
{
	struct copy *copy = arg;
	unsigned half = hash >> copy->shift & 1;

	if (LIKELY(is_staged(copy->half[half])))
		stage_entry(copy->half[half], &copy->stage[half], hash, word);
	else
		put_entry(copy->half[half], hash, word);
}

/* Copy all entries of a leaf into new and empty ones: those whose hash has a
 * 1 at shift into half1, the others into half0. */
static void
copy_leaf(const struct leaf *old, struct leaf *half0, struct leaf *half1,
    uint32_t shift)
{
	struct copy copy;

	copy.half[0] = half0;
	copy.half[1] = half1;
	copy.shift = shift;
	for (int i = 0; i < 2; i++)
		if (copy.half[i] != NULL && is_staged(copy.half[i]))
			memset(&copy.stage[i], 0, sizeof copy.stage[i]);
	each_entry(old, copy_entry, &copy);
	for (int i = 0; i < 2; i++)
		if (copy.half[i] != NULL && is_staged(copy.half[i]))
			finish_stage(copy.half[i], &copy.stage[i]);
}

static inline void
count_entry(void *arg, uint64_t hash, uint64_t word)
{
	uint64_t *count = arg;

	(void)word;
	count[1] += hash >> count[0] & 1;
}

/* Let the directory's entries of this hash's prefix name leaf (KEYDIR-1). */
static void
publish(struct keydir *keydir, uint64_t hash, struct leaf *leaf)
{
	struct directory *directory = directory_of(keydir);
	size_t span = span_of(directory, leaf);
	size_t first = directory_index(directory, hash) & ~(span - 1);

	for (size_t i = first; i < first + span; i++)
		atomic_store_explicit(
		    &directory->leaf[i], leaf, memory_order_release);
}

/* Put a copy of another size in the leaf's place. */
static bool
resize(struct keydir *keydir, struct leaf *old, uint64_t hash, struct size size)
{
	struct leaf *leaf = new_leaf(keydir, old->depth, size);

	if (leaf == NULL)
		return false;
	copy_leaf(old, leaf, NULL, KEYDIR_HASH_BITS); /* no hash is so long */
	assert(leaf->count == old->count && leaf->count <= leaf->cap);
	leaf->pending = old->pending;
	publish(keydir, hash, leaf);
	retire_leaf(old);
	return true;
}

static bool
double_directory(struct keydir *keydir)
{
	struct directory *old = directory_of(keydir);
	struct directory *directory = new_directory(keydir, old->depth + 1);

	if (directory == NULL)
		return false;
	for (size_t i = 0; i < (size_t)1 << old->depth; i++) {
		struct leaf *leaf =
		    atomic_load_explicit(&old->leaf[i], memory_order_relaxed);

		atomic_init(&directory->leaf[2 * i], leaf);
		atomic_init(&directory->leaf[2 * i + 1], leaf);
	}
	atomic_store_explicit(
	    &keydir->directory, directory, memory_order_release);
	epoch_retire(keydir->epoch, &old->node, free_directory, old);
	return true;
}

/* Whether a leaf may be split: not if that needs a directory which is large
 * for the number of leaves, as when hashes are equal. */
static bool
may_split(const struct keydir *keydir, const struct leaf *leaf)
{
	uint32_t depth = directory_of(keydir)->depth;

	if (leaf->depth < depth)
		return true;
	return depth < DEPTH_MAX &&
	       UINT64_C(2) << depth <= 4 * keydir->leaf_count + 8;
}

/*
 * Put two leaves in the place of one, each with room for its entries and, up
 * to the ordinary size, half of what is pending.
 */
static bool
split(struct keydir *keydir, struct leaf *old, uint64_t hash)
{
	uint32_t depth = old->depth + 1u;
	uint32_t shift = KEYDIR_HASH_BITS - depth;
	uint64_t half_pending = (old->pending + 1) / 2;
	uint64_t count[2] = {shift, 0};
	struct leaf *half[2] = {NULL, NULL};

	if (depth > directory_of(keydir)->depth && !double_directory(keydir))
		return false;
	each_entry(old, count_entry, count);
	count[0] = old->count - count[1];
	for (int i = 0; i < 2; i++) {
		uint64_t want = min_u64(count[i] + half_pending, cap_max());

		half[i] =
		    new_leaf(keydir, depth, size_for(max_u64(count[i], want)));
		if (half[i] == NULL) {
			if (i == 1)
				free_leaf(half[0]);
			return false;
		}
		half[i]->pending = half_pending;
	}
	copy_leaf(old, half[0], half[1], shift);
	assert(half[0]->count == count[0]);
	assert(half[1]->count == count[1]);
	publish(keydir, hash & ~(UINT64_C(1) << shift), half[0]);
	publish(keydir, hash | UINT64_C(1) << shift, half[1]);
	keydir->leaf_count++;
	retire_leaf(old);
	return true;
}

/* Whether the leaf takes what is pending. */
static bool
has_room(const struct leaf *leaf)
{
	return leaf->count + leaf->pending <= leaf->cap;
}

/* Make room for what is pending, or go one step towards it.  Where splitting
 * is called for and may not be done, nothing is, unless forced. */
static bool
grow(struct keydir *keydir, struct leaf *leaf, uint64_t hash, bool forced)
{
	uint64_t want = leaf->count + leaf->pending;
	bool grown = true;

	if (want <= cap_max())
		grown = resize(keydir, leaf, hash, size_for(want));
	else if (may_split(keydir, leaf))
		grown = split(keydir, leaf, hash);
	else if (forced)
		grown = resize(keydir, leaf, hash, size_for(want));
	epoch_reclaim(keydir->epoch);
	return grown;
}

/*
 * Copy a leaf whose marks are mostly stale, or which is mostly empty, unless
 * it is about to be copied anyway.  If there is no memory for that, it stays
 * as it is.
 */
static void
tidy(struct keydir *keydir, struct leaf *leaf, uint64_t hash)
{
	uint64_t want = leaf->count + leaf->pending;
	uint64_t roomy = want + want / 8;

	if (leaf->stale <= 2 * leaf->bucket_count && want >= leaf->low)
		return;
	if (!has_room(leaf))
		return;
	if (want <= cap_max())
		roomy = min_u64(roomy, cap_max());
	resize(keydir, leaf, hash, size_for(roomy));
	epoch_reclaim(keydir->epoch);
}

static int
reserve_one(struct keydir *keydir, uint64_t hash)
{
	struct leaf *leaf = leaf_of(keydir, hash);

	leaf->pending = 1;
	tidy(keydir, leaf, hash);
	leaf = leaf_of(keydir, hash);
	while (UNLIKELY(!has_room(leaf))) {
		if (!grow(keydir, leaf, hash, true))
			return ENOMEM;
		leaf = leaf_of(keydir, hash);
		leaf->pending = 1;
	}
	return 0;
}

/* Note in every leaf how many of the hashes are its. */
static void
count_pending(struct keydir *keydir, const uint64_t *hashes, size_t hash_count)
{
	for (size_t i = 0; i < hash_count; i++)
		leaf_of(keydir, hashes[i])->pending = 0;
	for (size_t i = 0; i < hash_count; i++)
		leaf_of(keydir, hashes[i])->pending++;
}

int
keydir_reserve(struct keydir *keydir, const uint64_t *hashes, size_t hash_count)
{
	bool forced = false, lacking;

	if (hash_count == 1)
		return reserve_one(keydir, hashes[0]);

	count_pending(keydir, hashes, hash_count);
	for (size_t i = 0; i < hash_count; i++)
		tidy(keydir, leaf_of(keydir, hashes[i]), hashes[i]);
	/* A split leaves a guess in each half, so count again after it.
	 * Forced is what no split in a whole round has helped. */
	do {
		bool changed = false;

		lacking = false;
		for (size_t i = 0; i < hash_count; i++) {
			struct leaf *leaf = leaf_of(keydir, hashes[i]);

			if (LIKELY(has_room(leaf)))
				continue;
			lacking = true;
			if (!grow(keydir, leaf, hashes[i], forced))
				return ENOMEM;
			if (leaf_of(keydir, hashes[i]) != leaf)
				changed = true;
		}
		forced = !changed;
		if (lacking)
			count_pending(keydir, hashes, hash_count);
	} while (lacking);
	return 0;
}

/* ---- changes ---- */

static void
add_count(struct keydir *keydir, uint64_t n)
{
	uint64_t count =
	    atomic_load_explicit(&keydir->count, memory_order_relaxed);

	atomic_store_explicit(&keydir->count, count + n, memory_order_relaxed);
}

int
keydir_insert(struct keydir *keydir, uint64_t hash, uint64_t loc)
{
	struct leaf *leaf = leaf_of(keydir, hash);

	assert(hash >> KEYDIR_HASH_BITS == 0);
	assert(loc <= KEYDIR_LOC_MAX);
	while (UNLIKELY(leaf->count >= leaf->cap)) {
		leaf->pending = 1;
		if (!grow(keydir, leaf, hash, true))
			return ENOMEM;
		leaf = leaf_of(keydir, hash);
	}
	put_entry(leaf, hash, word_of(hash, loc));
	add_count(keydir, 1);
	return 0;
}

/* Let probe stand at an entry; false if there is no such. */
static bool
find_entry(const struct keydir *keydir, uint64_t hash, uint64_t loc,
    struct keydir_probe *probe)
{
	uint64_t found = keydir_first(keydir, hash, probe);

	while (found != loc) {
		if (found == KEYDIR_NONE)
			return false;
		found = keydir_next(probe);
	}
	return true;
}

bool
keydir_replace(
    struct keydir *keydir, uint64_t hash, uint64_t old_loc, uint64_t new_loc)
{
	struct keydir_probe probe;

	assert(old_loc <= KEYDIR_LOC_MAX && new_loc <= KEYDIR_LOC_MAX);
	if (!find_entry(keydir, hash, old_loc, &probe))
		return false;
	atomic_store_explicit(
	    &bucket_at(probe.leaf, probe.index)->word[probe.slot],
	    word_of(hash, new_loc), memory_order_release);
	return true;
}

bool
keydir_remove(struct keydir *keydir, uint64_t hash, uint64_t loc)
{
	struct leaf *leaf = leaf_of(keydir, hash);
	struct keydir_probe probe;
	struct bucket *bucket;
	uint64_t tail;

	assert(loc <= KEYDIR_LOC_MAX);
	if (!find_entry(keydir, hash, loc, &probe))
		return false;
	bucket = bucket_at(leaf, probe.index);
	atomic_store_explicit(
	    &bucket->word[probe.slot], 0, memory_order_release);
	tail = atomic_load_explicit(&bucket->tail, memory_order_relaxed);
	tail &= ~(UINT64_C(1) << (USED_SHIFT + probe.slot));
	atomic_store_explicit(&bucket->tail, tail, memory_order_relaxed);
	if (probe.index != home_of(leaf, hash))
		leaf->stale++;
	leaf->count--;
	add_count(keydir, UINT64_MAX); /* one less */
	return true;
}

uint64_t
keydir_count(const struct keydir *keydir)
{
	return atomic_load_explicit(&keydir->count, memory_order_relaxed);
}

uint64_t
keydir_bytes(const struct keydir *keydir)
{
	return atomic_load_explicit(&keydir->bytes, memory_order_relaxed);
}

/* ---- check ---- */

struct check {
	const struct leaf *leaf;
	uint64_t prefix; /* of the leaf */
	uint64_t count;
};

static void
check_entry(void *arg, uint64_t hash, uint64_t word)
{
	struct check *check = arg;
	const struct leaf *leaf = check->leaf;
	uint32_t index = home_of(leaf, hash);

	assert((word & LOC_MASK) != 0);
	assert(hash >> (KEYDIR_HASH_BITS - leaf->depth) ==
	       check->prefix); /* KEYDIR-1 */

	/* It is where a find comes by (KEYDIR-2). */
	for (uint32_t left = leaf->bucket_count;; left--) {
		const struct bucket *bucket = bucket_at(leaf, index);
		uint64_t tail =
		    atomic_load_explicit(&bucket->tail, memory_order_relaxed);

		for (unsigned slot = 0; slot < SLOTS; slot++)
			if (atomic_load_explicit(&bucket->word[slot],
				memory_order_relaxed) == word &&
			    tag_at(bucket, slot) == (hash & 0xffff)) {
				check->count++;
				return;
			}
		assert(left > 1 && (tail & mark_of(hash)) != 0);
		index = bucket_after(leaf, index);
	}
}

static uint64_t
check_leaf(const struct leaf *leaf, uint64_t prefix)
{
	struct check check = {leaf, prefix, 0};
	struct size size = {leaf->unit_shift, leaf->unit_count};

	assert(leaf->unit[0] == (const void *)leaf);
	assert(leaf->bucket_count + HEAD_LINES == size_lines(size));
	assert(leaf->cap == size_cap(size));
	assert(leaf->count <= leaf->cap); /* KEYDIR-3 */
	assert(leaf->cap < leaf->bucket_count * SLOTS);
	each_entry(leaf, check_entry, &check);
	assert(check.count == leaf->count);
	return check.count;
}

static void
check_memory(const struct keydir *keydir, uint64_t live_count)
{
	uint64_t free_count = 0;

	for (const struct free_unit *unit = keydir->free; unit != NULL;
	     unit = unit->next)
		free_count++;
	assert(free_count == keydir->free_count);
	assert(live_count + keydir->retired_count + free_count ==
	       keydir->unit_count); /* KEYDIR-4 */
}

void
keydir_check(const struct keydir *keydir)
{
	const struct directory *directory = directory_of(keydir);
	uint64_t count = 0, leaf_count = 0, units = 0;
	size_t span;

	for (size_t i = 0; i < (size_t)1 << directory->depth; i += span) {
		const struct leaf *leaf = atomic_load_explicit(
		    &directory->leaf[i], memory_order_relaxed);

		assert(leaf->keydir == keydir);
		assert(leaf->depth <= directory->depth);
		span = span_of(directory, leaf);
		assert((i & (span - 1)) == 0);
		for (size_t j = 1; j < span; j++)
			assert(
			    atomic_load_explicit(&directory->leaf[i + j],
				memory_order_relaxed) == leaf); /* KEYDIR-1 */
		count +=
		    check_leaf(leaf, i >> (directory->depth - leaf->depth));
		if (leaf->unit_shift == UNIT_SHIFT)
			units += leaf->unit_count;
		leaf_count++;
	}
	assert(count == keydir_count(keydir));
	assert(leaf_count == keydir->leaf_count);
	check_memory(keydir, units);
}
