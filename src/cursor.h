/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.h - a walk over a store's keys in order, at one moment.
 */
#ifndef CURSOR_H
#define CURSOR_H

#include "base.h"
#include "bucket_set.h"
#include "merge.h"

struct cursor;

/* The keys that a walk is about; all zeros: those of the default bucket. */
struct cursor_range {
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	/* Instead of that one all that there are, with the catalogue, in the
	 * order of their ids; the bounds do not count. */
	bool all_buckets;
	const void *prefix; /* with which they begin; may be NULL, as from */
	size_t prefix_len;
	const void *from; /* the first, if it is there */
	size_t from_len;
	const void *to; /* the first behind them; NULL: no bound */
	size_t to_len;
	uint64_t now_ms; /* against which expiry is judged */
	bool keys_only;  /* the sums of values are not verified */
};

/*
 * Begin a walk over the keys in range that the hints tell, which are in the
 * order of the log; their segments stay open until the cursor is destroyed.
 * What the range points to is copied; no bound is longer than a key may be.
 */
enum kvlog_status cursor_create(struct hint *const *hints, size_t count,
    const struct cursor_range *range, struct cursor **ret_cursor);
void cursor_destroy(struct cursor *cursor); /* NULL is fine */

/* Show only what commits after seq have written, and deletes too. */
void cursor_since(struct cursor *cursor, uint64_t seq);

/* The next key that has a value, or the one before it: KVLOG_OK, _NOTFOUND if
 * there are no more in this direction, _CORRUPT for an entry whose record is
 * damaged (the walk can go on), _NOMEM (the next call tries again).  Both as
 * merge_next() and merge_prev(). */
enum kvlog_status cursor_next(struct cursor *cursor);
enum kvlog_status cursor_prev(struct cursor *cursor);

/* Its entries may be taken before cursor_next() or cursor_prev() is asked,
 * which is the same; but cursor_entry() does not tell of them. */
struct merge_run *cursor_run(struct cursor *cursor);

/* To just before the first key >= key of the bucket, within the range; after
 * KVLOG_NOMEM it is where it was. */
enum kvlog_status cursor_seek(
    struct cursor *cursor, const void *key, size_t key_len);

/* To before the first key, or behind the last one. */
void cursor_first(struct cursor *cursor);
void cursor_last(struct cursor *cursor);

/* The range: what is not before low, and before high; of the cursor. */
void cursor_bounds(const struct cursor *cursor, struct hint_key *ret_low,
    struct hint_key *ret_high);

/* What the walk has come to: valid until the cursor moves.  seg is NULL where
 * it is at no entry; rec.key is NULL where a damaged header hides the key. */
const struct merge_entry *cursor_entry(const struct cursor *cursor);

#endif
