/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bucket.h - named key spaces: what a handle knows of one, and whether it is
 * still there.
 *
 * The names are the keys of a bucket of their own, the catalogue (record.h):
 * to create a bucket is to put its name there, to drop it is to delete it, and
 * all that holds for keys holds for names.  A key whose bucket has no name is
 * not there any more, and compaction takes it away.
 */
#ifndef BUCKET_H
#define BUCKET_H

#include "base.h"
#include "bucket_set.h"
#include "view.h"

struct bucket_handle {
	struct bucket_id id;
	_Atomic uint64_t seen; /* view->catalogue when it was there */
	size_t name_len;
	uint8_t name[];
};

/* What a handle on it knows; NULL: out of memory. */
struct bucket_handle *bucket_create(
    const void *name, size_t name_len, const struct bucket_id *id);
void bucket_destroy(struct bucket_handle *bucket); /* NULL is fine */

/* The key under which the catalogue has a name. */
static inline struct hint_key
bucket_name_key(const void *name, size_t name_len)
{
	return (struct hint_key){
	    0, BUCKET_CATALOGUE_ORDINAL, (uint32_t)name_len, name};
}

/* A key in it; NULL: in the default bucket. */
static inline struct hint_key
bucket_key(const struct bucket_handle *bucket, const void *key, size_t key_len)
{
	if (LIKELY(bucket == NULL))
		return hint_plain_key(key, key_len);
	return (struct hint_key){
	    bucket->id.seq, bucket->id.ordinal, (uint32_t)key_len, key};
}

/*
 * Look a name up.  Inside the epoch, in a view that shows all that is
 * published; or with the turn.  KVLOG_OK, _NOBUCKET, _CORRUPT, _NOMEM, _IO.
 */
enum kvlog_status bucket_find(struct view *view, const void *name,
    size_t name_len, struct bucket_id *ret_id, struct kvlog_error *err);

/* Likewise: whether the bucket has not been dropped. */
enum kvlog_status bucket_look(
    struct view *view, struct bucket_handle *bucket, struct kvlog_error *err);
static inline enum kvlog_status
bucket_check(
    struct view *view, struct bucket_handle *bucket, struct kvlog_error *err)
{
	if (LIKELY(
		atomic_load(&bucket->seen) ==
		atomic_load_explicit(&view->catalogue, memory_order_acquire)))
		return KVLOG_OK;
	return bucket_look(view, bucket, err);
}

/*
 * What a look at a key of it came to, st, if it is still there: only then was
 * it so all the time.  Of one that was dropped meanwhile compaction may have
 * taken newer records and left older ones.
 */
static inline enum kvlog_status
bucket_confirm(
    struct view *view, struct bucket_handle *bucket, enum kvlog_status st)
{
	const enum kvlog_status there =
	    bucket == NULL ? KVLOG_OK : bucket_check(view, bucket, NULL);

	return there == KVLOG_OK ? st : there;
}

#endif
