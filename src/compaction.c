/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compaction.c - reading for a compaction: walks over hints, and segments that
 * are to be left alone.
 */
#include "config.h"

#include "compaction.h"

#include "sync.h"

#include <string.h>

/* Waiting is done in pieces of this length. */
#define PAUSE_NS UINT64_C(2000000)
/* Entries of the index that are led over while others wait: 50 us or so. */
#define LEAD_RECORDS 256
/* What may be written at once, in parts of a second's. */
#define BURST 50

enum kvlog_status
compaction_look(struct compaction *c, struct kvlog_error *err)
{
	const struct segset *all;
	struct segset *set;
	size_t count;

	views_lock(c->views);
	all = c->view->set;
	count = c->settled != 0 ? compaction_find(all, c->settled + 1, 1)
				: all->count;
	set = segset_copy(all, count);
	c->end = c->settled != 0 ? c->settled_end
				 : segment_end(all->segments[count - 1]);
	pthread_mutex_unlock(&c->views->lock);
	if (set == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	segset_destroy(c->set);
	c->set = set;
	return KVLOG_OK;
}

enum kvlog_status
compaction_settle(struct compaction *c, struct kvlog_error *err)
{
	enum kvlog_status st;
	bool more = c->log != NULL;

	c->settled = 0;
	st = compaction_look(c, err);

	/* One by one, for a backlog may take long. */
	for (size_t i = 0; st == KVLOG_OK && more && i < c->set->count; i++) {
		st = compaction_ask(c, err);
		if (st == KVLOG_OK)
			st = log_sync_sealed(c->log, &more, err);
	}
	if (st == KVLOG_OK && c->log != NULL)
		st = log_sync_mark(c->log, err);
	if (st != KVLOG_OK)
		return st;
	c->settled = segment_number(c->set->segments[c->set->count - 1]);
	c->settled_end = c->end;
	return KVLOG_OK;
}

void
compaction_lead_over(struct compaction *c)
{
	bool more = true;

	while (more) {
		views_lock(c->views);
		more = view_settle(c->views, c->view, LEAD_RECORDS);
		pthread_mutex_unlock(&c->views->lock);
		if (more && c->go_on != NULL)
			(void)c->go_on(c->go_on_arg);
	}
}

uint64_t
compaction_end(const struct compaction *c, size_t i)
{
	return i + 1 < c->set->count ? segment_end(c->set->segments[i])
				     : c->end;
}

/* Where a file stands in the tiling, as a number. */
static uint64_t
order_of(const struct segment *seg)
{
	return (uint64_t)seg->header.id.first << 16 | seg->header.id.part;
}

size_t
compaction_find(const struct segset *set, uint32_t first, uint32_t part)
{
	const uint64_t order = (uint64_t)first << 16 | part;
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (order_of(set->segments[mid]) < order)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Nothing of it may be touched from now on, nor of other parts of its set. */
void
compaction_bar(struct compaction *c, const struct segment *seg)
{
	struct segment **all = c->set->segments;
	uint32_t first = seg->header.id.first;

	for (size_t i = compaction_find(c->set, first, 1);
	     i < c->set->count &&
	     all[i]->header.id.first == seg->header.id.first;
	     i++)
		all[i]->barred = true;
	c->barred_count++;
}

/* A place of a segment turned out to be damaged. */
enum kvlog_status
compaction_damage(struct compaction *c, const struct segment *seg, uint64_t off)
{
	size_t i =
	    compaction_find(c->set, seg->header.id.first, seg->header.id.part);

	if (c->report.damaged_segments == 0) {
		c->report.damaged_segment = segment_number(seg);
		c->report.damaged_offset = off;
	}
	c->report.damaged_segments++;
	c->set->segments[i]->damaged = true;
	compaction_bar(c, seg);
	return KVLOG_CORRUPT;
}

/* The first segment from i on that is barred; the set's count if none is. */
size_t
compaction_stretch(const struct compaction *c, size_t i)
{
	while (i < c->set->count && !c->set->segments[i]->barred)
		i++;
	return i;
}

/* Whether the caller wants more: KVLOG_OK, or KVLOG_CANCELLED. */
enum kvlog_status
compaction_ask(struct compaction *c, struct kvlog_error *err)
{
	if ((c->go_on == NULL || c->go_on(c->go_on_arg)) &&
	    (c->progress == NULL ||
		c->progress(c->arg, c->done_bytes, c->total_bytes)))
		return KVLOG_OK;
	return err_set(err, KVLOG_CANCELLED, 0,
	    "compaction of %s was ended; what was done stays", c->dir->path);
}

enum kvlog_status
compaction_pace(struct compaction *c, uint64_t bytes, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	if (c->rate == 0)
		return KVLOG_OK;
	c->paced_bytes += bytes;
	if (c->paced_ns == 0)
		c->paced_ns = os->ticks_ns();
	while (st == KVLOG_OK && c->paced_bytes > c->rate / BURST) {
		uint64_t now = os->ticks_ns(), since = now - c->paced_ns;
		/* In floating point, as no product must overflow. */
		uint64_t paid =
		    (uint64_t)((double)since * (double)c->rate / 1e9);

		c->paced_bytes -= min_u64(paid, c->paced_bytes);
		c->paced_ns = now;
		if (c->paced_bytes > c->rate / BURST) {
			os->sleep_ns(PAUSE_NS);
			st = compaction_ask(c, err);
		}
	}
	return st;
}

/* Whether the view has these segments where they were; with its lock held. */
static bool
is_in_place(const struct compaction *c, size_t first, size_t stop)
{
	const struct segset *now = c->view->set;

	return stop <= now->count &&
	       memcmp(&now->segments[first], &c->set->segments[first],
		   (stop - first) * sizeof *now->segments) == 0;
}

/* Hints that cover set->segments[first .. stop) and nothing else. */
enum kvlog_status
compaction_cover(struct compaction *c, size_t first, size_t stop,
    struct hint_cover *cover, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st;

	/* So they stay for the one that compacts; who only looks may do so
	 * while another process does. */
	views_lock(c->views);
	st = is_in_place(c, first, stop)
		 ? hintset_cover(c->hints, first, stop,
		       compaction_end(c, stop - 1), cover, err)
		 : err_set(err, KVLOG_BUSY, 0,
		       "segments of %s were replaced meanwhile; try again",
		       c->dir->path);
	pthread_mutex_unlock(&c->views->lock);
	if (st != KVLOG_OK)
		return st;
	st = hint_cover_build(cover, false, &failure);
	if (st == KVLOG_OK)
		return st;
	hint_cover_fini(cover);
	if (st != KVLOG_CORRUPT) {
		if (err != NULL)
			*err = failure;
		return st;
	}
	for (size_t i = first; i < stop; i++)
		if (segment_number(c->set->segments[i]) == failure.segment)
			return compaction_damage(
			    c, c->set->segments[i], failure.offset);
	return st;
}

enum kvlog_status
compaction_walk_cover(struct compaction *c, const struct hint_cover *cover,
    uint8_t *const *marks, compaction_fn *fn, void *arg,
    struct kvlog_error *err)
{
	struct merge *merge = NULL;
	enum kvlog_status st = merge_create(cover->hints, cover->count, &merge);

	if (st == KVLOG_OK && marks != NULL)
		merge_mark(merge, marks);
	for (uint64_t n = 1; st == KVLOG_OK; n++) {
		const struct merge_entry *e;

		if (n % COMPACTION_CHECK == 0)
			st = compaction_ask(c, err);
		if (st == KVLOG_OK)
			st = merge_next(merge);
		e = merge_entry(merge);
		if (st == KVLOG_CORRUPT && e->damaged)
			st = compaction_damage(c, e->seg, e->off);
		if (st == KVLOG_OK)
			st = fn(arg, e, err);
	}
	merge_destroy(merge);
	if (st == KVLOG_NOMEM)
		return err_set(err, st, 0, "compact segments");
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

/*
 * Call fn with the newest record of each key in set->segments[first .. stop).
 * KVLOG_CORRUPT: damage was met, and noted.
 */
enum kvlog_status
compaction_walk(struct compaction *c, size_t first, size_t stop,
    compaction_fn *fn, void *arg, struct kvlog_error *err)
{
	struct hint_cover cover;
	enum kvlog_status st = compaction_cover(c, first, stop, &cover, err);

	if (st != KVLOG_OK)
		return st;
	/* A merge would map them, too, but could not tell why not. */
	for (size_t i = first; i < stop && st == KVLOG_OK; i++)
		st = segment_map(c->set->segments[i], err);
	if (st == KVLOG_OK)
		st = compaction_walk_cover(c, &cover, NULL, fn, arg, err);
	hint_cover_fini(&cover);
	return st;
}

static enum kvlog_status
read_buckets(struct compaction *c, const struct hint_cover *cover)
{
	struct merge *merge;
	enum kvlog_status st = merge_create(cover->hints, cover->count, &merge);

	if (st != KVLOG_OK)
		return st;
	st = bucket_set_read(&c->buckets, merge, c->buckets.as_of);
	merge_destroy(merge);
	return st;
}

/* Whether the log has damage: the name of a bucket may be what it took. */
static bool
is_hurt(const struct view *view)
{
	for (size_t i = 0; i < view->set->count; i++) {
		const struct segment *seg = view->set->segments[i];

		if (seg->hurt || seg->damaged || seg->bad_count > 0)
			return true;
	}
	return false;
}

void
compaction_look_at_buckets(struct compaction *c)
{
	struct view *view = c->view;
	struct hint_cover cover = {0};
	enum kvlog_status st = KVLOG_OK;
	bool odd;

	views_lock(c->views);
	odd = view->index.hints != NULL || atomic_load(&view->index.odd);
	c->buckets.unsure =
	    is_hurt(view) || hintset_hurt(&view->hints).seg != NULL;
	c->buckets.as_of = atomic_load(&view->last_seq);
	if (odd)
		st = hintset_cover_all(&view->hints, &cover, NULL);
	pthread_mutex_unlock(&c->views->lock);
	if (!odd)
		return;
	if (st == KVLOG_OK)
		st = hint_cover_build(&cover, false, NULL);
	if (st == KVLOG_OK)
		st = read_buckets(c, &cover);
	hint_cover_fini(&cover);
	/* What is not known to be garbage stays. */
	if (st != KVLOG_OK)
		c->buckets.unsure = true;
}

bool
compaction_dropped(struct compaction *c, const struct record *rec)
{
	return !bucket_set_has(&c->buckets, rec);
}

bool
compaction_expired(const struct compaction *c, const struct record *rec)
{
	return record_has_expired(rec, c->now_ms);
}

/* Whether a record that counts says no more than that its key is gone. */
bool
compaction_tombstone(const struct compaction *c, const struct record *rec)
{
	return rec->type == RECORD_DELETE ||
	       (rec->type == RECORD_PUT && compaction_expired(c, rec));
}

/* The run behind us that a segment was or is in; NULL if there is none. */
const struct compact_run *
compaction_run_of(const struct compaction *c, const struct segment *seg)
{
	for (size_t i = 0; i < c->done_count; i++)
		if (c->runs[i].first <= seg->header.id.first &&
		    seg->header.id.last <= c->runs[i].last)
			return &c->runs[i];
	return NULL;
}
