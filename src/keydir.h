/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keydir.h - the in-memory table from a key's hash to where its newest
 * record lies.  It holds no keys: equal hashes never mean equal keys
 * (INV-12), so a find yields candidates and the caller compares the key in
 * the record.
 *
 * Hashes are 40 bits (KEYDIR_HASH_BITS), as hint files keep them; locations
 * are numbers up to KEYDIR_LOC_MAX, meaningful to the caller alone.
 *
 * Threads: finds may run at any time in any number of threads, inside an
 * epoch (epoch.h), beside one thread that changes the table.
 */
#ifndef KEYDIR_H
#define KEYDIR_H

#include "arena.h"
#include "base.h"
#include "epoch.h"
#include "leaf.h"

#define KEYDIR_HASH_BITS 40
#define KEYDIR_LOC_BITS 40
#define KEYDIR_LOC_MAX ((UINT64_C(1) << KEYDIR_LOC_BITS) - 2)
#define KEYDIR_NONE UINT64_MAX /* no location */

struct keydir_directory {
	struct keydir *keydir;
	struct epoch_node node; /* once it is retired */
	uint32_t depth;
	uint32_t shift;                /* of a hash, to its entry */
	_Atomic(struct leaf *) leaf[]; /* 2^depth */
};

/* The fields are keydir.c's, and of what is inline here. */
struct keydir {
	_Atomic(struct keydir_directory *) directory;
	struct epoch *epoch;
	_Atomic uint64_t count;

	/* The writer's. */
	struct arena arena;
	unsigned part_bits; /* of a part: the directory has holes */
	uint64_t leaf_count;
	uint64_t retired_count; /* units in leaves that wait for their epoch */
	struct epoch_node node; /* once it is destroyed */
};

/* Where a find has got to.  No resources; may be dropped at any time.  The
 * fields are keydir.c's. */
struct keydir_probe {
	struct leaf *leaf;
	struct bucket *bucket; /* the one that is looked at */
	uint64_t hash;
	uint64_t matches; /* its slots that are still to be looked at */
	uint32_t index;   /* its number in the leaf */
	uint32_t passed;  /* buckets before it that were looked at */
	unsigned slot;    /* of the location returned last */
	bool more;        /* the find goes on behind it */
};

/* 0, or ENOMEM.  Memory that finds may still look at is freed by way of
 * epoch, which must outlive the table. */
int keydir_create(struct keydir **ret_keydir, struct epoch *epoch);

/*
 * A table for the hashes whose top bits are part only, so that several
 * threads may fill one each; keydir_join() then makes them one.  bits <= 8.
 * least, most: how many entries there will be, so that they may come in any
 * order without a leaf having to split.
 */
int keydir_create_part(struct keydir **ret_keydir, struct epoch *epoch,
    unsigned bits, unsigned part, uint64_t least, uint64_t most);

/* Make the tables of all 2^bits parts one, which from then on uses epoch;
 * nothing waits for the epochs of the parts.  NULL: out of memory, and the
 * parts are as before. */
struct keydir *keydir_join(
    struct keydir *const *parts, unsigned bits, struct epoch *epoch);

/* No find in this table may be going on.  NULL is fine.  Where readers of
 * something else hold the epoch up, the memory is freed after them. */
void keydir_destroy(struct keydir *keydir);

static inline struct leaf *
keydir_leaf_of(const struct keydir *keydir, uint64_t hash)
{
	const struct keydir_directory *directory =
	    atomic_load_explicit(&keydir->directory, memory_order_acquire);
	size_t index = (size_t)(hash >> directory->shift);

	return atomic_load_explicit(
	    &directory->leaf[index], memory_order_acquire);
}

/* Read marks and tags of the bucket that is next. */
static inline void
keydir_look_at(struct keydir_probe *probe)
{
	struct bucket *bucket = leaf_bucket(probe->leaf, probe->index);
	uint64_t tail =
	    atomic_load_explicit(&bucket->tail, memory_order_relaxed);

	probe->bucket = bucket;
	probe->matches = leaf_matches(bucket, tail, probe->hash);
	probe->more = (tail & leaf_mark_of(probe->hash)) != 0;
}

/* Go on where the bucket that is looked at has nothing more. */
uint64_t keydir_next_bucket(struct keydir_probe *probe);

/*
 * The locations stored under hash, one per call, in no order; KEYDIR_NONE
 * after the last.  What the caller's own thread inserted before is seen; of
 * what is changed meanwhile either state is seen.
 */
static inline uint64_t
keydir_next(struct keydir_probe *probe)
{
	while (probe->matches != 0) {
		unsigned slot = leaf_slot_of(leaf_lowest_bit(probe->matches));
		uint64_t loc =
		    leaf_loc_of(atomic_load_explicit(&probe->bucket->word[slot],
				    memory_order_acquire),
			probe->hash);

		probe->matches = leaf_next_matches(probe->matches);
		probe->slot = slot;
		if (LIKELY(loc != KEYDIR_NONE))
			return loc;
	}
	if (LIKELY(!probe->more))
		return KEYDIR_NONE;
	return keydir_next_bucket(probe);
}

static inline uint64_t
keydir_first(
    const struct keydir *keydir, uint64_t hash, struct keydir_probe *probe)
{
	struct leaf *leaf = keydir_leaf_of(keydir, hash);

	assert(hash >> KEYDIR_HASH_BITS == 0);
	probe->leaf = leaf;
	probe->hash = hash;
	probe->index = leaf_home(leaf, hash);
	probe->passed = 0;
	keydir_look_at(probe);
	return keydir_next(probe);
}

/* keydir_first(), where nothing else is wanted of the probe. */
static inline uint64_t
keydir_find(const struct keydir *keydir, uint64_t hash)
{
	const struct leaf *leaf = keydir_leaf_of(keydir, hash);
	uint32_t index = leaf_home(leaf, hash);

	uint32_t left = leaf->bucket_count;

	do {
		const struct bucket *bucket = leaf_bucket(leaf, index);
		uint64_t tail =
		    atomic_load_explicit(&bucket->tail, memory_order_relaxed);
		uint64_t matches = leaf_matches(bucket, tail, hash);

		for (; matches != 0; matches = leaf_next_matches(matches)) {
			unsigned slot = leaf_slot_of(leaf_lowest_bit(matches));
			uint64_t loc = leaf_loc_of(
			    atomic_load_explicit(
				&bucket->word[slot], memory_order_acquire),
			    hash);

			if (LIKELY(loc != KEYDIR_NONE))
				return loc;
		}
		if (LIKELY((tail & leaf_mark_of(hash)) == 0))
			break;
		index = leaf_next_index(leaf, index);
	} while (--left > 0);
	return KEYDIR_NONE;
}

/* Bring the cache line that keydir_first() will look at nearer. */
static inline void
keydir_prefetch(const struct keydir *keydir, uint64_t hash)
{
	const struct leaf *leaf = keydir_leaf_of(keydir, hash);

	PREFETCH(leaf_bucket(leaf, leaf_home(leaf, hash)));
}

/*
 * Make sure that the next insert of each of these hashes needs no memory, as
 * long as nothing else is inserted before; removes and replaces may come in
 * between.  Call it before every commit, also of one key: it is here that
 * leaves with many removed entries are tidied up.  0, or ENOMEM with nothing
 * changed that a find could see.
 */
int keydir_make_room(
    struct keydir *keydir, const uint64_t *hashes, size_t hash_count);
static inline int
keydir_reserve(struct keydir *keydir, const uint64_t *hashes, size_t hash_count)
{
	struct leaf *leaf = keydir_leaf_of(keydir, hashes[0]);

	leaf->pending = 1;
	if (LIKELY(hash_count == 1 && leaf_has_room(leaf) &&
		   !leaf_is_untidy(leaf)))
		return 0;
	return keydir_make_room(keydir, hashes, hash_count);
}

/* Add an entry; the caller knows that its key has none.  0 or ENOMEM (never
 * after a reserve). */
int keydir_insert(struct keydir *keydir, uint64_t hash, uint64_t loc);

/* Put new_loc in place of old_loc, atomically for finds; false if there is
 * no such entry. */
bool keydir_replace(
    struct keydir *keydir, uint64_t hash, uint64_t old_loc, uint64_t new_loc);

/* Remove an entry; false if there is no such entry. */
bool keydir_remove(struct keydir *keydir, uint64_t hash, uint64_t loc);

/* The same of the entry whose location probe returned last; nothing was
 * reserved since it began, and the entry is there still. */
void keydir_replace_at(const struct keydir_probe *probe, uint64_t new_loc);
void keydir_remove_at(struct keydir *keydir, const struct keydir_probe *probe);

/* Whether there is such an entry.  Inside the epoch. */
bool keydir_has(const struct keydir *keydir, uint64_t hash, uint64_t loc);

/*
 * Call fn with the locations of some neighbouring entries, from *at on, which
 * begins at 0 and is moved behind them; false at the end.  By the thread that
 * changes the table.  Where the table grows between two calls, some come twice
 * or not at all.
 */
bool keydir_walk(const struct keydir *keydir, uint64_t *at,
    void (*fn)(void *arg, uint64_t loc), void *arg);

uint64_t keydir_count(const struct keydir *keydir);
uint64_t keydir_bytes(const struct keydir *keydir); /* RAM in use */

/* Walk the whole structure and assert what it promises.  For tests. */
void keydir_check(const struct keydir *keydir);

#endif
