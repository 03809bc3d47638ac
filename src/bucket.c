/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bucket.c - looking buckets up in the catalogue.
 */
#include "config.h"

#include "bucket.h"

#include <inttypes.h>
#include <string.h>

struct bucket_handle *
bucket_create(const void *name, size_t name_len, const struct bucket_id *id)
{
	struct bucket_handle *bucket = os->calloc(1, sizeof *bucket + name_len);

	if (bucket == NULL)
		return NULL;
	bucket->id = *id;
	/* No view has the number 0: look before the first use. */
	bucket->name_len = name_len;
	memcpy(bucket->name, name, name_len);
	return bucket;
}

void
bucket_destroy(struct bucket_handle *bucket)
{
	os->free(bucket);
}

enum kvlog_status
bucket_find(struct view *view, const void *name, size_t name_len,
    struct bucket_id *ret_id, struct kvlog_error *err)
{
	const struct hint_key key = bucket_name_key(name, name_len);
	struct index_ref ref;
	enum kvlog_status st = index_find_committed(
	    &view->index, index_hash(&view->index, &key), &key, &ref, err);

	if (st == KVLOG_NOTFOUND)
		return err_set(err, KVLOG_NOBUCKET, 0, "no bucket \"%.*s\"",
		    (int)min_u64(name_len, 64), (const char *)name);
	if (st == KVLOG_OK &&
	    (!record_value_ok(&ref.rec, segment_seed(ref.seg, ref.off)) ||
		!bucket_read_id(&ref.rec, ret_id)))
		st = KVLOG_CORRUPT;
	if (st == KVLOG_CORRUPT)
		return err_set_at(err, st, segment_number(ref.seg), ref.off,
		    "the record of bucket \"%.*s\" in segment %" PRIu32
		    " at offset %" PRIu64 " is damaged",
		    (int)min_u64(name_len, 64), (const char *)name,
		    segment_number(ref.seg), ref.off);
	return st;
}

enum kvlog_status
bucket_look(
    struct view *view, struct bucket_handle *bucket, struct kvlog_error *err)
{
	/* What changes it while it is looked up, changes the number behind. */
	const uint64_t count = atomic_load(&view->catalogue);
	struct bucket_id id = {0, 0};
	enum kvlog_status st =
	    bucket_find(view, bucket->name, bucket->name_len, &id, err);

	if (st == KVLOG_OK &&
	    (id.seq != bucket->id.seq || id.ordinal != bucket->id.ordinal))
		st = err_set(err, KVLOG_NOBUCKET, 0,
		    "bucket \"%.*s\" was dropped, and is another one now",
		    (int)min_u64(bucket->name_len, 64),
		    (const char *)bucket->name);
	if (st == KVLOG_OK)
		atomic_store(&bucket->seen, count);
	return st;
}
