/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segments.c - how full each segment file is, and of what.
 *
 * A walk over the newest records of all keys adds up, for each segment, what
 * counts; the other records there do not.  Segments are told apart by their
 * places in the imaginary space of locations, which is nobody else's for as
 * long as the view is held.
 */
#include "config.h"

#include "segments.h"

#include <stdlib.h>
#include <string.h>

#define TRIES 8 /* while segments are replaced */

/* Of a segment when the walk began. */
struct share {
	uint64_t loc_base;
	size_t order; /* in the log */
	char name[DIR_NAME_LEN];
	struct kvlog_segment told;
};

struct shares {
	struct share *list;
	size_t count;
	bool missed; /* a record lies in none of them */
};

static int
compare_places(const void *va, const void *vb)
{
	const struct share *a = va, *b = vb;

	return a->loc_base < b->loc_base ? -1 : a->loc_base > b->loc_base;
}

static int
compare_order(const void *va, const void *vb)
{
	const struct share *a = va, *b = vb;

	return a->order < b->order ? -1 : a->order > b->order;
}

static void
fill_share(struct share *share, const struct segment *seg, bool active)
{
	const uint64_t end = segment_end(seg);

	share->loc_base = seg->loc_base;
	memcpy(share->name, seg->name, sizeof share->name);
	share->told = (struct kvlog_segment){
	    .size = sizeof share->told,
	    .first = seg->header.id.first,
	    .last = seg->header.id.last,
	    .active = active,
	    .damaged = seg->hurt || seg->damaged || seg->bad_count > 0,
	    .file_bytes = seg->file_len,
	    .dead_bytes = end - SEGMENT_DATA_OFF, /* until they count */
	    .free_bytes = seg->file_len - min_u64(end, seg->file_len),
	};
}

/* With the views' lock held. */
static enum kvlog_status
list_shares(struct shares *shares, const struct segset *set)
{
	memset(shares, 0, sizeof *shares);
	shares->list = os->calloc(set->count, sizeof *shares->list);
	if (shares->list == NULL)
		return KVLOG_NOMEM;
	for (size_t i = 0; i < set->count; i++) {
		shares->list[i].order = i;
		fill_share(
		    &shares->list[i], set->segments[i], i + 1 == set->count);
	}
	shares->count = set->count;
	qsort(
	    shares->list, shares->count, sizeof *shares->list, compare_places);
	return KVLOG_OK;
}

static void
count_record(struct shares *shares, const struct merge_entry *e)
{
	const struct share key = {.loc_base = e->seg->loc_base};
	struct share *share = bsearch(&key, shares->list, shares->count,
	    sizeof *shares->list, compare_places);

	/* What was committed since the list was made is in no share, either. */
	if (share == NULL || share->told.dead_bytes < e->rec.size) {
		shares->missed = true;
		return;
	}
	share->told.live_bytes += e->rec.size;
	share->told.dead_bytes -= e->rec.size;
}

/* All that a walk over the store's keys comes upon. */
static enum kvlog_status
count_all(struct store *db, struct shares *shares)
{
	const struct cursor_range all = {
	    .all_buckets = true, .keys_only = true};
	struct cursor *cursor;
	struct view *view;
	enum kvlog_status st = store_cursor(db, NULL, &all, &view, &cursor);

	if (st != KVLOG_OK)
		return st;
	views_enter(&db->views);
	st = list_shares(shares, view->set);
	pthread_mutex_unlock(&db->views.lock);
	while (st == KVLOG_OK || st == KVLOG_CORRUPT) {
		st = cursor_next(cursor);
		if (st == KVLOG_OK)
			count_record(shares, cursor_entry(cursor));
	}
	cursor_destroy(cursor);
	view_release(&db->views, view);
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

enum kvlog_status
segments_tell(
    struct store *db, kvlog_segment_fn *fn, void *arg, struct kvlog_error *err)
{
	struct shares shares = {0};
	enum kvlog_status st = KVLOG_OK;

	for (unsigned i = 0; i < TRIES; i++) {
		os->free(shares.list);
		shares.list = NULL;
		st = count_all(db, &shares);
		if (st != KVLOG_OK || !shares.missed)
			break;
	}
	if (st != KVLOG_OK) {
		os->free(shares.list);
		return err_set(err, st, 0, "look through %s", db->dir.path);
	}
	qsort(shares.list, shares.count, sizeof *shares.list, compare_order);
	for (size_t i = 0; i < shares.count; i++) {
		shares.list[i].told.file = shares.list[i].name;
		if (!fn(arg, &shares.list[i].told))
			break;
	}
	os->free(shares.list);
	return KVLOG_OK;
}
