/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.h - the one question: key -> newest record.
 *
 * In memory mode the keydir has an entry for every key that has a value.  In
 * hints mode it has entries only for what no hint covers, tombstones
 * included; the rest is looked up in the hints, the newest first.
 *
 * Finds run in any thread, inside the epoch, beside one thread that changes the
 * index.
 */
#ifndef INDEX_H
#define INDEX_H

#include "base.h"
#include "epoch.h"
#include "hintset.h"
#include "keydir.h"
#include "segset.h"

struct index {
	struct epoch *epoch; /* not owned */
	struct keydir *keydir;
	struct segset *segs;   /* not owned */
	struct hintset *hints; /* not owned; NULL in memory mode */
	const uint8_t *secret; /* SEGMENT_SECRET_LEN bytes, not owned */
	bool verify;           /* check header sums of what is found */
	/* Odd while the steps of a batch are applied, one by one. */
	_Atomic uint32_t batches;
	/* Memory mode: tombstones in the table, each before a damaged record
	 * that may be its key's. */
	_Atomic uint64_t tombstones;
	/* Some of the keys may be of other buckets than the default one, or
	 * expire. */
	_Atomic bool odd;
};

/* Where a key's newest record is. */
struct index_ref {
	const struct segment *seg;
	uint64_t off;
	uint64_t loc;
	struct record rec;
};

/* hints: NULL for memory mode. */
enum kvlog_status index_init(struct index *index, struct epoch *epoch,
    struct segset *segs, struct hintset *hints, const uint8_t *secret,
    bool verify, struct kvlog_error *err);
void index_fini(struct index *index); /* all zeros is fine */

static inline uint64_t
index_hash(const struct index *index, const struct hint_key *key)
{
	return hint_key_hash(index->secret, key);
}

/*
 * Find the newest record of key, whose hash is hash.
 *   KVLOG_OK        *ret_ref is it; its header sum is verified if
 *                   index->verify
 *   KVLOG_NOTFOUND  there is none, or it is a tombstone
 *   KVLOG_CORRUPT   a record that may be the key's is damaged; seg and off
 *                   of *ret_ref say where
 */
enum kvlog_status index_find(struct index *index, uint64_t hash,
    const struct hint_key *key, struct index_ref *ret_ref,
    struct kvlog_error *err);

/* index_find_plain() of the candidate at off. */
static inline bool
index_read_plain(const struct segment *seg, uint64_t off, const void *key,
    size_t key_len, struct record_plain *ret_plain)
{
	const uint64_t end = segment_end(seg);
	const uint8_t *p = seg->map.addr + off;

	if (UNLIKELY(off >= end) ||
	    UNLIKELY(!record_is_put_of(p, end - off, key, key_len)))
		return false;
	*ret_plain = (struct record_plain){
	    p, RECORD_HEADER_SIZE + key_len, segment_seed(seg, off)};
	return true;
}

/*
 * index_find() in a straight line, for what look-ups nearly always meet: the
 * first candidate is a put of the key, which is of the default bucket and does
 * not expire, or there is none and nothing else to search.  A get has two cache
 * misses, each of which takes as long as hundreds of instructions; with few
 * enough registers written from one to the next, the processor waits for those
 * of successive gets together. KVLOG_OK        *ret_plain is what was found;
 * its sums are still to be verified KVLOG_NOTFOUND  there is none KVLOG_CORRUPT
 * something else; index_find() tells what
 */
static inline enum kvlog_status
index_find_plain(const struct index *index, uint64_t hash, const void *key,
    size_t key_len, struct record_plain *ret_plain)
{
	uint64_t loc = keydir_find(index->keydir, hash), off;
	const struct segment *seg;

	if (loc == KEYDIR_NONE)
		return index->hints == NULL ? KVLOG_NOTFOUND : KVLOG_CORRUPT;
	seg = segset_at(index->segs, loc, &off);
	return LIKELY(index_read_plain(seg, off, key, key_len, ret_plain))
		   ? KVLOG_OK
		   : KVLOG_CORRUPT;
}

/* A key that is looked for together with others: the first line is the
 * caller's, the rest as index_find() has it. */
struct index_find {
	struct hint_key key;
	uint64_t hash;
	enum kvlog_status status;
	bool sound; /* its value is verified, too */
	struct index_ref ref;
};

/* Find at most INDEX_TOGETHER keys; the misses of all of them are waited for
 * together.  If sound, ref.rec has the sequence number, the expiry and the
 * value alone. */
#define INDEX_TOGETHER 32u
void index_find_many(
    struct index *index, struct index_find *finds, size_t count);

/* index_find() of what a commit has left, not one of its steps. */
enum kvlog_status index_find_committed(struct index *index, uint64_t hash,
    const struct hint_key *key, struct index_ref *ret_ref,
    struct kvlog_error *err);

/* The same in one hint, whatever the index has; tombstones are found, too.
 * *ret_unsound: the hint is damaged, and may have had it. */
enum kvlog_status index_find_in_hint(struct index *index,
    const struct hint *hint, uint64_t hash, const struct hint_key *key,
    struct index_ref *ret_ref, bool *ret_unsound, struct kvlog_error *err);

/* Make sure that index_set() of these hashes cannot fail; see
 * keydir_reserve(). */
enum kvlog_status index_reserve(struct index *index, const uint64_t *hashes,
    size_t count, struct kvlog_error *err);

static inline void
index_note_odd(struct index *index)
{
	if (!atomic_load_explicit(&index->odd, memory_order_relaxed))
		atomic_store_explicit(&index->odd, true, memory_order_relaxed);
}

/* Memory mode, unless it is odd: keys that have a value, and damaged records
 * that may be. */
static inline uint64_t
index_count(const struct index *index)
{
	return keydir_count(index->keydir) -
	       atomic_load_explicit(&index->tombstones, memory_order_relaxed);
}

/* Take loc, which is in the table under hash, out of it; false if it is not
 * there. */
bool index_remove(struct index *index, uint64_t hash, uint64_t loc);

/*
 * If the newest record of rec's key lies in a segment that was replaced, let
 * loc, where rec is, take its place: it says the same, or that the key has
 * expired.  Needs no memory.
 */
enum index_moved {
	INDEX_MOVED,
	INDEX_ELSEWHERE, /* it does not lie in such a one */
	INDEX_DAMAGED    /* a record there may be the key's; it stays */
};
enum index_moved index_move(
    struct index *index, uint64_t hash, const struct record *rec, uint64_t loc);

/*
 * Let loc be key's newest record: a put, or a tombstone.  Never fails after
 * index_reserve().
 */
enum kvlog_status index_set(struct index *index, uint64_t hash,
    const struct hint_key *key, uint64_t loc, bool tombstone);

/*
 * The same in steps, so that other work is done while the memory answers:
 * index_seek() begins to look for the place of a key, after index_reserve();
 * index_look() then has what index_find() finds in place->ref, if that is asked
 * for; and index_set_at() ends it.  In between, the index is not changed.
 */
struct index_place {
	uint64_t hash;
	struct hint_key key;
	struct keydir_probe probe;
	uint64_t loc; /* the first candidate, until it is looked at */
	bool looked;
	enum kvlog_status status; /* of the keydir alone */
	struct index_ref ref;
};
void index_seek(const struct index *index, uint64_t hash,
    const struct hint_key *key, struct index_place *ret_place);
enum kvlog_status index_look(
    struct index *index, struct index_place *place, struct kvlog_error *err);
enum kvlog_status index_set_at(struct index *index, struct index_place *place,
    uint64_t loc, bool tombstone);

/* Bring nearer what index_set() of these hashes will look at: the misses of all
 * of them are waited for together. */
void index_prefetch(
    const struct index *index, const uint64_t *hashes, size_t count);

/*
 * Around the index_set() calls of a batch, of which a later one may undo an
 * earlier one.  A find is of whole commits if the number of batches, read
 * before it and after it, is the same and even.
 */
static inline void
index_begin_batch(struct index *index)
{
	atomic_fetch_add_explicit(&index->batches, 1, memory_order_acq_rel);
}
static inline void
index_end_batch(struct index *index)
{
	atomic_fetch_add_explicit(&index->batches, 1, memory_order_release);
}
static inline uint32_t
index_batches(const struct index *index)
{
	return atomic_load_explicit(&index->batches, memory_order_acquire);
}

#endif
