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

#include "base.h"
#include "epoch.h"

#define KEYDIR_HASH_BITS 40
#define KEYDIR_LOC_BITS 40
#define KEYDIR_LOC_MAX ((UINT64_C(1) << KEYDIR_LOC_BITS) - 2)
#define KEYDIR_NONE UINT64_MAX /* no location */

struct keydir;
struct leaf;
struct bucket;

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

/*
 * The locations stored under hash, one per call, in no order; KEYDIR_NONE
 * after the last.  What the caller's own thread inserted before is seen; of
 * what is changed meanwhile either state is seen.
 */
uint64_t keydir_first(
    const struct keydir *keydir, uint64_t hash, struct keydir_probe *probe);
uint64_t keydir_next(struct keydir_probe *probe);

/* Bring the cache line that keydir_first() will look at nearer. */
void keydir_prefetch(const struct keydir *keydir, uint64_t hash);

/*
 * Make sure that the next insert of each of these hashes needs no memory, as
 * long as nothing else is inserted before; removes and replaces may come in
 * between.  Call it before every commit, also of one key: it is here that
 * leaves with many removed entries are tidied up.  0, or ENOMEM with nothing
 * changed that a find could see.
 */
int keydir_reserve(
    struct keydir *keydir, const uint64_t *hashes, size_t hash_count);

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

uint64_t keydir_count(const struct keydir *keydir);
uint64_t keydir_bytes(const struct keydir *keydir); /* RAM in use */

/* Walk the whole structure and assert what it promises.  For tests. */
void keydir_check(const struct keydir *keydir);

#endif
