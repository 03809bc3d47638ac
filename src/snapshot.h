/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snapshot.h - the store as it was after one commit, whatever is written and
 * compacted meanwhile, in either index mode and by any process.
 *
 * A snapshot belongs to one thread at a time.  While it lasts, the segments of
 * its moment stay mapped, and those that a compaction replaces on the disk;
 * nobody waits for it.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "base.h"
#include "bucket.h"
#include "store.h"

struct snapshot {
	struct store *store;
	struct snapshot *next, **link; /* of those of the store */
	struct view *view;             /* held */
	struct epoch_token token;      /* inside views.pins */
	uint64_t seq;                  /* of the last commit in it */
	uint64_t now_ms;
	struct hint_cover cover;      /* of all that it shows */
	bool built;                   /* the images of that are made */
	_Atomic uint64_t image_bytes; /* memory they take */
	struct bucket_id seen;        /* a bucket that is there; 0, 0: none */
};

/* Take one of now, or of a later commit.  KVLOG_NOMEM, _IO, _BROKEN. */
enum kvlog_status snapshot_take(
    struct store *store, struct snapshot **ret_snap, struct kvlog_error *err);
void snapshot_release(struct snapshot *snap); /* NULL is fine */

static inline uint64_t
snapshot_seq(const struct snapshot *snap)
{
	return snap->seq;
}

static inline uint64_t
snapshot_now(const struct snapshot *snap)
{
	return snap->now_ms;
}

/*
 * Find the record that key had (bucket: the key's, NULL for the default one and
 * the catalogue); its value is in place until
 * snapshot_release(), and verified if with_value.  KVLOG_OK, _NOTFOUND (also if
 * it had expired), _CORRUPT (seg and off of *ret_ref say where), _VERSION,
 * _NOMEM, _IO.
 */
enum kvlog_status snapshot_find(struct snapshot *snap,
    struct bucket_handle *bucket, const struct hint_key *key, bool with_value,
    struct index_ref *ret_ref);

/* Whether a bucket was there: KVLOG_OK, _NOBUCKET, or as snapshot_find() of its
 * name. */
enum kvlog_status snapshot_has_bucket(struct snapshot *snap,
    const struct bucket_handle *bucket, struct index_ref *ret_ref);

/* A walk over what it shows, in range but for now_ms; to be destroyed before
 * it is released. */
enum kvlog_status snapshot_cursor(struct snapshot *snap,
    const struct cursor_range *range, struct cursor **ret_cursor);

/* What the snapshots of a store keep from being given back. */
struct snapshot_costs {
	uint64_t count;
	uint64_t oldest_seq;   /* 0: none */
	uint64_t file_bytes;   /* of segments that were replaced since */
	uint64_t memory_bytes; /* of what they have sorted */
};
enum kvlog_status snapshot_count_costs(
    struct store *store, struct snapshot_costs *ret_costs);

#endif
