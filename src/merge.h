/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * merge.h - several hints as one: their keys in order, each once, with its
 * newest record.
 *
 * What walks (cursor.c), compacts (compact.c) or puts hints together
 * (hintset.c) reads through a merge.
 */
#ifndef MERGE_H
#define MERGE_H

#include "base.h"
#include "hint.h"

struct merge;

/* The hash of a damaged entry that no hint names: of whatever key it is, an
 * older record may show. */
#define MERGE_NO_HASH UINT64_MAX

/*
 * Begin before the first key of the hints, which are in the order of the log,
 * the newest last; each is held by a reference until the merge is destroyed.
 * A hint that turns out to be damaged is replaced by an image in memory,
 * unnoticed but for the time it takes; if records are damaged too, one damaged
 * entry tells so, and the image is without them.  So it does where an image is
 * hurt.
 */
enum kvlog_status merge_create(
    struct hint *const *hints, size_t count, struct merge **ret_merge);
void merge_destroy(struct merge *merge); /* NULL is fine */

/* From its beginning on, yield only what is marked by a bit: of each hint, in
 * the order of its entries.  What is not marked is passed over unread. */
void merge_mark(struct merge *merge, uint8_t *const *marks);

/* To just before the first key >= key, whose bytes stay where they are until
 * the merge is sent elsewhere or destroyed. */
void merge_seek(struct merge *merge, const struct hint_key *key);

/*
 * The next key, or the one before, tombstones and bucket records included.
 *   KVLOG_OK        the entry is as it was written, but for its value, which
 *                   is not looked at
 *   KVLOG_CORRUPT   the entry's record is damaged; the merge can go on
 *   KVLOG_NOTFOUND  there are no more in this direction
 *   KVLOG_NOMEM     as it says; the next call tries again
 * A key is followed by the one behind it or preceded by the one before it,
 * however the merge has come to it; behind the last key, the last one is the
 * one before.  A damaged entry of no known key may come again where the merge
 * turns.
 */
enum kvlog_status merge_next(struct merge *merge);
enum kvlog_status merge_prev(struct merge *merge);

/* What the merge has come to; valid until the merge moves, and the caller's to
 * change. */
struct merge_entry {
	const struct segment *seg; /* NULL before the first */
	uint64_t off;
	uint64_t hash;
	size_t age; /* number of the hint in the order of the log */
	/* The record.  If it is damaged: key is NULL, unless another record
	 * tells the key, and rec is that one. */
	struct record rec;
	bool damaged;
};
struct merge_entry *merge_entry(const struct merge *merge);

/*
 * Entries that come next and take no thought: puts that do not expire, verified
 * already.  Whoever wants them asks merge_run_on(), if there are none
 * merge_find_run(), and if that finds none either merge_next() or, back,
 * merge_prev().
 */
struct merge_run {
	struct merge_entry *next, *end;
	bool back;
};
struct merge_run *merge_run_of(struct merge *merge);

static inline struct merge_entry *
merge_run_on(struct merge_run *run, bool back)
{
	return run->next != run->end && run->back == back ? run->next++ : NULL;
}

/* From now on runs are found, of what is before high and not before low; these
 * stay the caller's.  NULL: none are. */
void merge_run_within(struct merge *merge, const struct hint_key *low,
    const struct hint_key *high);
/* False: what comes next is for a step.  with_value: values are verified. */
bool merge_find_run(struct merge *merge, bool back, bool with_value);

#endif
