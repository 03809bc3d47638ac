/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bucket_set.c - the buckets that the catalogue names.
 */
#include "config.h"

#include "bucket_set.h"

#include <stdlib.h>

int
bucket_set_compare(const void *a, const void *b)
{
	const struct bucket_id *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

static enum kvlog_status
add(struct bucket_set *set, struct bucket_id id)
{
	if (set->count == set->cap) {
		size_t cap = set->cap > 0 ? 2 * set->cap : 16;
		struct bucket_id *ids =
		    os->realloc(set->ids, cap * sizeof *ids);

		if (ids == NULL)
			return KVLOG_NOMEM;
		set->ids = ids;
		set->cap = cap;
	}
	set->ids[set->count++] = id;
	return KVLOG_OK;
}

static enum kvlog_status
add_entry(struct bucket_set *set, const struct merge_entry *e)
{
	struct bucket_id id;

	if (e->rec.type != RECORD_PUT)
		return KVLOG_OK;
	if (record_value_ok(&e->rec, segment_seed(e->seg, e->off)) &&
	    bucket_read_id(&e->rec, &id))
		return add(set, id);
	set->unsure = true;
	return KVLOG_OK;
}

enum kvlog_status
bucket_set_read(struct bucket_set *set, struct merge *merge, uint64_t as_of)
{
	const struct hint_key first = {
	    .bucket_ordinal = BUCKET_CATALOGUE_ORDINAL,
	    .bytes = (const uint8_t *)""};
	enum kvlog_status st = KVLOG_OK;

	merge_seek(merge, &first);
	set->as_of = as_of;
	while (st == KVLOG_OK) {
		const struct merge_entry *e;

		st = merge_next(merge);
		e = merge_entry(merge);
		if (st == KVLOG_CORRUPT) {
			set->unsure = true;
			st = KVLOG_OK;
			if (e->rec.key == NULL)
				continue;
		}
		if (st == KVLOG_OK && !bucket_is_catalogue(e->rec.bucket_seq,
					  e->rec.bucket_ordinal))
			break;
		if (st == KVLOG_OK && !e->damaged)
			st = add_entry(set, e);
	}
	if (set->count > 0)
		qsort(
		    set->ids, set->count, sizeof *set->ids, bucket_set_compare);
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

void
bucket_set_fini(struct bucket_set *set)
{
	os->free(set->ids);
}

bool
bucket_set_look(struct bucket_set *set, const struct record *rec)
{
	const struct bucket_id id = {rec->bucket_seq, rec->bucket_ordinal};

	if (set->unsure || id.seq > set->as_of ||
	    bucket_is_catalogue(id.seq, id.ordinal))
		return true;
	if (set->count == 0 ||
	    bsearch(&id, set->ids, set->count, sizeof *set->ids,
		bucket_set_compare) == NULL)
		return false;
	set->last = id;
	return true;
}
