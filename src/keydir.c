/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keydir.c - the table from hash to location: extendible hashing.
 *
 *   directory        leaves (leaf.h)
 *   +--------+       +-----------+
 *   | 00.... |------>| 0.....    |
 *   | 01.... |--^    +-----------+
 *   | 10.... |------>| 10....    |
 *   | 11.... |--.    +-----------+
 *   +--------+  '--->| 11....    |
 *
 * The top bits of a hash choose the directory's entry, the bits behind them a
 * place in the leaf.  A full leaf is copied into one of a unit more, or from
 * 7 units into two of about 4.  Entries hold their whole hash, so that this
 * takes a look at no record.  Small steps and units of one size keep the
 * bytes per key nearly the same at all times: nothing is ever doubled but the
 * directory, which has 8 bytes for some hundreds of keys.
 *
 * Promises.  Asserts and tests quote these names.
 *   KEYDIR-1  A leaf has the hashes of one prefix, and the directory's entries
 *             of that prefix all name it.
 *   KEYDIR-2  What the directory no longer names is never changed, and freed
 *             by way of the epoch.  A find that began before a leaf or the
 *             directory was replaced thus sees the table as it was then.
 *   KEYDIR-3  Every unit is in a leaf of the directory, in one that waits for
 *             its epoch, or free.
 *
 * Removed entries leave marks in their leaf, and few entries waste one.  Such a
 * leaf is copied at the next reserve that concerns it; not at a remove, which
 * so never takes away room that a reserve has made sure of.  Leaves are not
 * merged.
 *
 * Leaves beyond 7 units exist only where splitting does not help, because
 * hashes are equal or nearly.
 */
#include "config.h"

#include "keydir.h"

#include <errno.h>
#include <stdatomic.h>

#include "arena.h"
#include "leaf.h"
#include "os.h"

#define DEPTH_MAX 32u /* leaves a leaf 8 bits to choose a bucket by */

static_assert(KEYDIR_HASH_BITS == LEAF_HASH_BITS, "hashes are leaves'");
static_assert(KEYDIR_LOC_BITS == LEAF_LOC_BITS, "locations are leaves'");
static_assert(CACHE_LINE << LEAF_UNIT_SHIFT == ARENA_UNIT_BYTES, "one unit");

/* ---- the directory ---- */

static size_t
index_of(const struct keydir_directory *directory, uint64_t hash)
{
	return (size_t)(hash >> directory->shift);
}

static struct keydir_directory *
directory_of(const struct keydir *keydir)
{
	return atomic_load_explicit(&keydir->directory, memory_order_acquire);
}

static struct leaf *
leaf_at(const struct keydir_directory *directory, size_t index)
{
	return atomic_load_explicit(
	    &directory->leaf[index], memory_order_acquire);
}

/* The number of directory entries that name leaf. */
static size_t
span_of(const struct keydir_directory *directory, const struct leaf *leaf)
{
	return (size_t)1 << (directory->depth - leaf->depth);
}

static uint64_t
directory_bytes(uint32_t depth)
{
	return sizeof(struct keydir_directory) +
	       ((uint64_t)sizeof(struct leaf *) << depth);
}

static struct keydir_directory *
new_directory(struct keydir *keydir, uint32_t depth)
{
	struct keydir_directory *directory =
	    arena_get_bytes(&keydir->arena, directory_bytes(depth));

	if (directory == NULL)
		return NULL;
	directory->keydir = keydir;
	directory->depth = depth;
	directory->shift = KEYDIR_HASH_BITS - depth;
	return directory;
}

static void
free_directory(void *arg)
{
	struct keydir_directory *directory = arg;

	arena_put_bytes(&directory->keydir->arena, directory,
	    directory_bytes(directory->depth));
}

/* Let the entries of this hash's prefix name leaf (KEYDIR-1). */
static void
publish(struct keydir *keydir, uint64_t hash, struct leaf *leaf)
{
	struct keydir_directory *directory = directory_of(keydir);
	size_t span = span_of(directory, leaf);
	size_t first = index_of(directory, hash) & ~(span - 1);

	for (size_t i = first; i < first + span; i++)
		atomic_store_explicit(
		    &directory->leaf[i], leaf, memory_order_release);
}

static bool
double_directory(struct keydir *keydir)
{
	struct keydir_directory *old = directory_of(keydir);
	struct keydir_directory *directory =
	    new_directory(keydir, old->depth + 1);

	if (directory == NULL)
		return false;
	for (size_t i = 0; i < (size_t)1 << old->depth; i++) {
		atomic_init(&directory->leaf[2 * i], leaf_at(old, i));
		atomic_init(&directory->leaf[2 * i + 1], leaf_at(old, i));
	}
	atomic_store_explicit(
	    &keydir->directory, directory, memory_order_release);
	epoch_retire(
	    keydir->epoch, &old->node, free_directory, old); /* KEYDIR-2 */
	return true;
}

/* ---- memory of leaves ---- */

/* Units of an unusual size are memory of their own. */
static void *
get_unit(struct keydir *keydir, uint32_t shift)
{
	if (shift == LEAF_UNIT_SHIFT)
		return arena_get(&keydir->arena);
	return arena_get_bytes(&keydir->arena, (uint64_t)CACHE_LINE << shift);
}

static void
put_unit(struct keydir *keydir, void *unit, uint32_t shift)
{
	if (shift == LEAF_UNIT_SHIFT)
		arena_put(&keydir->arena, unit);
	else
		arena_put_bytes(
		    &keydir->arena, unit, (uint64_t)CACHE_LINE << shift);
}

/* An empty leaf that no find knows; NULL if there is no memory. */
static struct leaf *
new_leaf(struct keydir *keydir, uint32_t depth, struct leaf_size size)
{
	void *units[LEAF_UNITS_MAX] = {NULL};
	struct leaf *leaf;

	for (uint32_t u = 0; u < size.units; u++) {
		units[u] = get_unit(keydir, size.shift);
		if (units[u] == NULL) {
			while (u-- > 0)
				put_unit(keydir, units[u], size.shift);
			return NULL;
		}
	}
	leaf = leaf_init(units, size, depth);
	leaf->owner = keydir;
	return leaf;
}

/* The first unit goes last, for the leaf is in it. */
static void
free_leaf(struct keydir *keydir, struct leaf *leaf)
{
	uint32_t shift = leaf->unit_shift;

	for (uint32_t u = leaf->unit_count; u-- > 0;)
		put_unit(keydir, leaf_unit(leaf, u), shift);
}

static uint64_t
arena_units_of(const struct leaf *leaf)
{
	return leaf->unit_shift == LEAF_UNIT_SHIFT ? leaf->unit_count : 0;
}

static void
free_retired_leaf(void *arg)
{
	struct leaf *leaf = arg;
	struct keydir *keydir = leaf->owner;

	keydir->retired_count -= arena_units_of(leaf);
	free_leaf(keydir, leaf);
}

static void
retire_leaf(struct keydir *keydir, struct leaf *leaf)
{
	keydir->retired_count += arena_units_of(leaf);
	epoch_retire(keydir->epoch, &leaf->node, free_retired_leaf, leaf);
}

/* ---- life ---- */

static void
free_keydir(void *arg)
{
	struct keydir *keydir = arg;
	struct keydir_directory *directory = directory_of(keydir);
	size_t span;

	for (size_t i = 0; i < (size_t)1 << directory->depth; i += span) {
		struct leaf *leaf = leaf_at(directory, i);

		span = 1;
		if (leaf == NULL)
			continue; /* of another part */
		span = span_of(directory, leaf);
		free_leaf(keydir, leaf);
	}
	free_directory(directory);
	arena_fini(&keydir->arena);
	os->free(keydir);
}

int
keydir_create(struct keydir **ret_keydir, struct epoch *epoch)
{
	return keydir_create_part(ret_keydir, epoch, 0, 0, 0, 0);
}

/* The depth at which leaves of the usual size hold so many entries. */
static uint32_t
depth_for(uint64_t entries, unsigned bits)
{
	uint32_t depth = bits;

	while (entries >> (depth - bits) > leaf_cap_max() * 9 / 10 &&
	       depth < DEPTH_MAX)
		depth++;
	return depth;
}

/* Fill the part's entries of the directory with leaves. */
static bool
fill_directory(struct keydir *keydir, struct keydir_directory *directory,
    unsigned part, uint64_t least)
{
	size_t count = (size_t)1 << (directory->depth - keydir->part_bits);
	size_t first = part * count;
	struct leaf_size size = leaf_size_for(max_u64(1, least / count));

	for (size_t i = 0; i < (size_t)1 << directory->depth; i++)
		atomic_init(&directory->leaf[i], NULL);
	arena_expect(&keydir->arena, (uint64_t)count * size.units);
	for (size_t i = first; i < first + count; i++) {
		struct leaf *leaf = new_leaf(keydir, directory->depth, size);

		if (leaf == NULL)
			return false;
		atomic_init(&directory->leaf[i], leaf);
	}
	keydir->leaf_count = count;
	return true;
}

int
keydir_create_part(struct keydir **ret_keydir, struct epoch *epoch,
    unsigned bits, unsigned part, uint64_t least, uint64_t most)
{
	struct keydir *keydir = os->calloc(1, sizeof *keydir);
	struct keydir_directory *directory;

	if (keydir == NULL)
		return ENOMEM;
	keydir->epoch = epoch;
	keydir->part_bits = bits;
	arena_init(&keydir->arena);
	directory = new_directory(keydir, depth_for(most, bits));
	if (directory == NULL) {
		os->free(keydir);
		return ENOMEM;
	}
	atomic_init(&keydir->directory, directory);
	if (!fill_directory(keydir, directory, part, least)) {
		free_keydir(keydir);
		return ENOMEM;
	}
	*ret_keydir = keydir;
	return 0;
}

void
keydir_destroy(struct keydir *keydir)
{
	if (keydir == NULL)
		return;

	/* Retired leaves name the table.  The epoch frees in the order of
	 * retiring, so that the table comes after them, also where readers of
	 * something else hold the epoch up. */
	epoch_retire(keydir->epoch, &keydir->node, free_keydir, keydir);
	epoch_reclaim(keydir->epoch);
}

uint64_t
keydir_count(const struct keydir *keydir)
{
	return atomic_load_explicit(&keydir->count, memory_order_relaxed);
}

uint64_t
keydir_bytes(const struct keydir *keydir)
{
	return sizeof *keydir + arena_bytes(&keydir->arena);
}

/* ---- parts ---- */

/* Let a part's leaves be whole's, in their places in its directory. */
static void
adopt(struct keydir *whole, struct keydir_directory *directory,
    struct keydir *part, unsigned number)
{
	const struct keydir_directory *from = directory_of(part);
	unsigned shift = directory->depth - from->depth;
	size_t count = (size_t)1 << (directory->depth - part->part_bits);

	for (size_t i = number * count; i < (number + 1) * count; i++) {
		struct leaf *leaf = leaf_at(from, i >> shift);

		leaf->owner = whole;
		atomic_init(&directory->leaf[i], leaf);
	}
}

struct keydir *
keydir_join(struct keydir *const *parts, unsigned bits, struct epoch *epoch)
{
	struct keydir *whole = parts[0];
	struct keydir_directory *directory;
	uint32_t depth = 0;

	for (unsigned p = 0; p < 1u << bits; p++)
		if (directory_of(parts[p])->depth > depth)
			depth = directory_of(parts[p])->depth;
	directory = new_directory(whole, depth);
	if (directory == NULL)
		return NULL;
	for (unsigned p = 0; p < 1u << bits; p++) {
		struct keydir *part = parts[p];

		assert(part->retired_count == 0 && part->part_bits == bits);
		adopt(whole, directory, part, p);
		free_directory(directory_of(part));
		if (p == 0)
			continue;
		arena_join(&whole->arena, &part->arena);
		whole->leaf_count += part->leaf_count;
		atomic_store(
		    &whole->count, keydir_count(whole) + keydir_count(part));
		os->free(part);
	}
	whole->part_bits = 0;
	whole->epoch = epoch;
	atomic_store_explicit(
	    &whole->directory, directory, memory_order_release);
	return whole;
}

/* ---- finds ---- */

uint64_t
keydir_next_bucket(struct keydir_probe *probe)
{
	probe->passed++;
	if (probe->passed == probe->leaf->bucket_count) {
		probe->more = false; /* all around */
		return KEYDIR_NONE;
	}
	probe->index = leaf_next_index(probe->leaf, probe->index);
	keydir_look_at(probe);
	return keydir_next(probe);
}

/* ---- room ---- */

/* Put a copy of another size in the leaf's place. */
static bool
resize(struct keydir *keydir, struct leaf *old, uint64_t hash,
    struct leaf_size size)
{
	struct leaf *leaf = new_leaf(keydir, old->depth, size);

	if (leaf == NULL)
		return false;
	leaf_copy(old, leaf, NULL, LEAF_TAG_BITS);
	assert(leaf->count == old->count);
	leaf->pending = old->pending;
	publish(keydir, hash, leaf);
	retire_leaf(keydir, old);
	return true;
}

/* Whether a leaf may be split: not if that needs a directory which is large
 * for the number of leaves, as where hashes are equal. */
static bool
may_split(const struct keydir *keydir, const struct leaf *leaf)
{
	uint32_t depth = directory_of(keydir)->depth;

	if (leaf->depth < depth)
		return true;
	return depth < DEPTH_MAX &&
	       UINT64_C(2) << depth <= (4 * keydir->leaf_count + 8)
					   << keydir->part_bits;
}

/* A leaf for count entries and, up to the ordinary size, those pending. */
static struct leaf *
new_half(
    struct keydir *keydir, uint32_t depth, uint64_t count, uint64_t pending)
{
	uint64_t want = min_u64(count + pending, leaf_cap_max());
	struct leaf *leaf =
	    new_leaf(keydir, depth, leaf_size_for(max_u64(count, want)));

	if (leaf != NULL)
		leaf->pending = pending;
	return leaf;
}

/* Put two leaves in the place of one.  How many of the pending entries go to
 * each is not known: half, for now. */
static bool
split(struct keydir *keydir, struct leaf *old, uint64_t hash)
{
	uint32_t depth = old->depth + 1u;
	uint32_t bit = KEYDIR_HASH_BITS - depth;
	uint64_t pending = (old->pending + 1) / 2;
	uint64_t ones;
	struct leaf *half[2];

	if (depth > directory_of(keydir)->depth && !double_directory(keydir))
		return false;
	ones = leaf_count_ones(old, bit);
	half[0] = new_half(keydir, depth, old->count - ones, pending);
	if (half[0] == NULL)
		return false;
	half[1] = new_half(keydir, depth, ones, pending);
	if (half[1] == NULL) {
		free_leaf(keydir, half[0]);
		return false;
	}
	leaf_copy(old, half[0], half[1], bit);
	assert(half[1]->count == ones);
	assert(half[0]->count == old->count - ones);
	publish(keydir, hash & ~(UINT64_C(1) << bit), half[0]);
	publish(keydir, hash | UINT64_C(1) << bit, half[1]);
	keydir->leaf_count++;
	retire_leaf(keydir, old);
	return true;
}

/*
 * Make room for what is pending, or go one step towards it; false if there is
 * no memory.  Where the leaf should be split and may not be, it is left as it
 * is, unless forced.
 */
static bool
grow(struct keydir *keydir, struct leaf *leaf, uint64_t hash, bool forced)
{
	uint64_t want = leaf->count + leaf->pending;
	bool done = true;

	if (want <= leaf_cap_max())
		done = resize(keydir, leaf, hash, leaf_size_for(want));
	else if (may_split(keydir, leaf))
		done = split(keydir, leaf, hash);
	else if (forced)
		done = resize(keydir, leaf, hash, leaf_size_for(want));
	epoch_reclaim(keydir->epoch);
	return done;
}

/* Copy such a leaf, unless it is about to be copied anyway.  Where there is no
 * memory, it stays. */
static void
tidy(struct keydir *keydir, struct leaf *leaf, uint64_t hash)
{
	uint64_t want = leaf->count + leaf->pending;
	uint64_t roomy = want + want / 8;

	if (!leaf_has_room(leaf))
		return;
	if (want <= leaf_cap_max())
		roomy = min_u64(roomy, leaf_cap_max());
	resize(keydir, leaf, hash, leaf_size_for(roomy));
	epoch_reclaim(keydir->epoch);
}

/* Make room for one entry. */
static int
make_room_for_one(struct keydir *keydir, uint64_t hash)
{
	struct leaf *leaf = keydir_leaf_of(keydir, hash);

	leaf->pending = 1;
	while (UNLIKELY(!leaf_has_room(leaf))) {
		if (!grow(keydir, leaf, hash, true))
			return ENOMEM;
		leaf = keydir_leaf_of(keydir, hash);
		leaf->pending = 1;
	}
	return 0;
}

/* Note in every leaf how many of the hashes are its. */
static void
count_pending(struct keydir *keydir, const uint64_t *hashes, size_t hash_count)
{
	for (size_t i = 0; i < hash_count; i++) {
		struct leaf *leaf = keydir_leaf_of(keydir, hashes[i]);

		leaf->pending = 0;
		PREFETCH(leaf_bucket(leaf, leaf_home(leaf, hashes[i])));
	}
	for (size_t i = 0; i < hash_count; i++)
		keydir_leaf_of(keydir, hashes[i])->pending++;
}

/* Let each leaf that lacks room grow by a step.  *ret_lacking: some did;
 * *ret_grown: and some have grown. */
static bool
grow_all(struct keydir *keydir, const uint64_t *hashes, size_t hash_count,
    bool forced, bool *ret_lacking, bool *ret_grown)
{
	*ret_lacking = false;
	*ret_grown = false;
	for (size_t i = 0; i < hash_count; i++) {
		struct leaf *leaf = keydir_leaf_of(keydir, hashes[i]);

		if (LIKELY(leaf_has_room(leaf)))
			continue;
		*ret_lacking = true;
		if (!grow(keydir, leaf, hashes[i], forced))
			return false;
		if (keydir_leaf_of(keydir, hashes[i]) != leaf)
			*ret_grown = true;
	}
	return true;
}

int
keydir_make_room(
    struct keydir *keydir, const uint64_t *hashes, size_t hash_count)
{
	bool lacking = true, grown = true;

	count_pending(keydir, hashes, hash_count);
	for (size_t i = 0; i < hash_count; i++) {
		struct leaf *leaf = keydir_leaf_of(keydir, hashes[i]);

		if (UNLIKELY(leaf_is_untidy(leaf)))
			tidy(keydir, leaf, hashes[i]);
	}

	/* A split leaves a guess in either half, so count again after a round
	 * in which leaves grew.  One in which all that lack room may not be
	 * split is followed by one that makes them larger. */
	while (lacking) {
		if (!grow_all(
			keydir, hashes, hash_count, !grown, &lacking, &grown))
			return ENOMEM;
		if (lacking)
			count_pending(keydir, hashes, hash_count);
	}
	return 0;
}

/* ---- changes ---- */

static void
set_count(struct keydir *keydir, uint64_t count)
{
	atomic_store_explicit(&keydir->count, count, memory_order_relaxed);
}

int
keydir_insert(struct keydir *keydir, uint64_t hash, uint64_t loc)
{
	struct leaf *leaf = keydir_leaf_of(keydir, hash);

	assert(hash >> KEYDIR_HASH_BITS == 0);
	assert(loc <= KEYDIR_LOC_MAX);
	if (UNLIKELY(leaf->count >= leaf->cap)) {
		int result = make_room_for_one(keydir, hash);

		if (result != 0)
			return result;
		leaf = keydir_leaf_of(keydir, hash);
	}
	leaf_put(leaf, hash, leaf_word_of(hash, loc));
	set_count(keydir, keydir_count(keydir) + 1);
	return 0;
}

/* Let probe stand at an entry; false if there is no such. */
static bool
find_entry(const struct keydir *keydir, uint64_t hash, uint64_t loc,
    struct keydir_probe *probe)
{
	uint64_t found = keydir_first(keydir, hash, probe);

	assert(loc <= KEYDIR_LOC_MAX);
	while (found != loc && found != KEYDIR_NONE)
		found = keydir_next(probe);
	return found == loc;
}

void
keydir_replace_at(const struct keydir_probe *probe, uint64_t new_loc)
{
	assert(new_loc <= KEYDIR_LOC_MAX);
	leaf_set(
	    probe->bucket, probe->slot, leaf_word_of(probe->hash, new_loc));
}

void
keydir_remove_at(struct keydir *keydir, const struct keydir_probe *probe)
{
	leaf_remove(probe->leaf, probe->index, probe->slot, probe->hash);
	set_count(keydir, keydir_count(keydir) - 1);
}

bool
keydir_has(const struct keydir *keydir, uint64_t hash, uint64_t loc)
{
	struct keydir_probe probe;

	return find_entry(keydir, hash, loc, &probe);
}

/* *at is a prefix of hashes, in the upper bits. */
bool
keydir_walk(const struct keydir *keydir, uint64_t *at,
    void (*fn)(void *arg, uint64_t loc), void *arg)
{
	const struct leaf *leaf;

	if (*at >> KEYDIR_HASH_BITS != 0)
		return false;
	leaf = keydir_leaf_of(keydir, *at);
	for (uint32_t b = 0; b < leaf->bucket_count; b++)
		for (unsigned slot = 0; slot < LEAF_SLOTS; slot++) {
			uint64_t word = atomic_load_explicit(
			    &leaf_bucket(leaf, b)->word[slot],
			    memory_order_relaxed);

			if ((word & LEAF_LOC_MASK) != 0)
				fn(arg, (word & LEAF_LOC_MASK) - 1);
		}
	*at = ((*at >> (KEYDIR_HASH_BITS - leaf->depth)) + 1)
	      << (KEYDIR_HASH_BITS - leaf->depth);
	return true;
}

bool
keydir_replace(
    struct keydir *keydir, uint64_t hash, uint64_t old_loc, uint64_t new_loc)
{
	struct keydir_probe probe;

	if (!find_entry(keydir, hash, old_loc, &probe))
		return false;
	keydir_replace_at(&probe, new_loc);
	return true;
}

bool
keydir_remove(struct keydir *keydir, uint64_t hash, uint64_t loc)
{
	struct keydir_probe probe;

	if (!find_entry(keydir, hash, loc, &probe))
		return false;
	keydir_remove_at(keydir, &probe);
	return true;
}

/* ---- check ---- */

void
keydir_check(const struct keydir *keydir)
{
	const struct keydir_directory *directory = directory_of(keydir);
	uint64_t count = 0, leaf_count = 0, units = 0;
	size_t span;

	for (size_t i = 0; i < (size_t)1 << directory->depth; i += span) {
		const struct leaf *leaf = leaf_at(directory, i);

		span = 1;
		if (leaf == NULL)
			continue; /* of another part */
		assert(leaf->owner == keydir);
		assert(leaf->depth <= directory->depth);
		span = span_of(directory, leaf);
		assert((i & (span - 1)) == 0);
		for (size_t j = 1; j < span; j++)
			assert(leaf_at(directory, i + j) == leaf);
		leaf_check(leaf, i >> (directory->depth - leaf->depth));
		count += leaf->count;
		units += arena_units_of(leaf);
		leaf_count++;
	}
	assert(leaf_count == keydir->leaf_count); /* KEYDIR-1 */
	assert(count == keydir_count(keydir));
	arena_check(
	    &keydir->arena, units + keydir->retired_count); /* KEYDIR-3 */
	(void)leaf_count;
	(void)count;
}
