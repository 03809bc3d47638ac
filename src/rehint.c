/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rehint.c - rebuild hint files.
 *
 * Verify has found out which are wrong or of no use, and that nothing else is
 * damaged.  Under the writer lock these are removed, and what no hint covers
 * then gets one for each segment.  Then they are put together as a writer does,
 * so that there are few.
 *
 * A hint covers only what durable evidence attests, or its presence would
 * decide what recovery takes for damage: so all segments are synced first,
 * and nothing beyond A is covered.
 */
#include "config.h"

#include "rehint.h"

#include "verify.h"

#include "hint.h"
#include "hintset.h"
#include "segset.h"

#include <errno.h>

#define TAIL (UINT64_C(64) << 10)

static bool
is_useless(const struct place *p)
{
	return p->kind == KVLOG_FINDING_HINT ||
	       p->kind == KVLOG_FINDING_STALE_HINT;
}

static bool
is_damaged_elsewhere(const struct verify *v)
{
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];

		if (p->damage && !p->dropped && p->kind != 0 && !is_useless(p))
			return true;
	}
	return false;
}

/* As verify has told; what is no file is the user's. */
static enum kvlog_status
fail_removal(struct verify *v, const char *name, int rc)
{
	struct os_stat st;

	if (os->stat_name(v->dir.fd, name, &st) == 0 && st.is_dir)
		return err_set(v->err, KVLOG_IO, EISDIR,
		    "%s/%s is a directory and should be a hint file; remove "
		    "it, then rebuild the hints",
		    v->dir.path, name);
	return err_sys(v->err, rc, "remove %s/%s", v->dir.path, name);
}

static enum kvlog_status
remove_useless(struct verify *v)
{
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];
		int rc;

		if (!is_useless(p))
			continue;
		rc = os->unlink(v->dir.fd, p->name);
		if (rc != 0 && rc != ENOENT)
			return fail_removal(v, p->name, rc);
		v->report->removed_hints++;
	}
	return KVLOG_OK;
}

static enum kvlog_status
sync_all(struct verify *v, struct control *control)
{
	for (size_t i = 0; i < v->live_count; i++) {
		struct segment *seg = v->live[i]->seg;
		bool opened;
		enum kvlog_status st = verify_open_fd(v, i, &opened);
		int rc = st == KVLOG_OK ? os->sync(seg->fd) : 0;

		if (opened && st == KVLOG_OK)
			segment_close_fd(seg);
		if (rc != 0) {
			/* What the next opening must know. */
			(void)control_set_poison(control);
			st = err_sys(
			    v->err, rc, "sync %s/%s", v->dir.path, seg->name);
		}
		if (st != KVLOG_OK)
			return st;
	}
	return dir_sync(&v->dir, v->err);
}

/* Up to where sound hints cover live file i, without a gap. */
static uint64_t
covered_to(const struct verify *v, size_t i)
{
	uint64_t to = SEGMENT_DATA_OFF;
	bool grown = true;

	while (grown) {
		grown = false;
		for (size_t k = 0; k < v->hint_count; k++) {
			const struct verify_hint *h = &v->hints[k];

			for (size_t n = 0; h->hint != NULL && !h->wrong &&
					   n < h->hint->source_count;
			     n++) {
				const struct hint_source *s =
				    &h->hint->sources[n];

				if (h->lives[n] != i || s->from > to ||
				    s->to <= to)
					continue;
				to = s->to;
				grown = true;
			}
		}
	}
	return to;
}

static enum kvlog_status
make_hint(struct verify *v, size_t i, uint64_t from, uint64_t to)
{
	const struct verify_file *f = v->live[i];
	const struct segment_link *seal = verify_seal(v, i);
	struct hint_source source = {.from = from, .to = to};
	uint64_t max_seq = v->attested;
	struct hint *hint = NULL;
	struct segment *seg;
	enum kvlog_status st =
	    segment_open(&v->dir, f->file.name, &f->id, &seg, v->err);

	if (st != KVLOG_OK)
		return st;
	atomic_store(&seg->end, f->end);
	source.seg = seg;
	if (seg->header.kind != SEGMENT_PLAIN ||
	    (seal != NULL && seal->prev_last_seq <= v->attested))
		max_seq = UINT64_MAX; /* all of it, with marks at the end */
	st = hint_build(&source, 1, max_seq, &hint, v->err);
	if (st == KVLOG_OK && hint->sources[0].to > from)
		st = hint_write(hint, &v->dir, v->err);
	hint_unref(hint);
	segment_close(seg);
	return st;
}

/* Where the records of live file i end that count: a hint of what stands
 * behind a torn end would bring it back. */
static uint64_t
log_end(const struct verify *v, size_t i)
{
	const struct verify_file *f = v->live[i];

	if (!v->report->torn || f->id.last < v->report->end_segment)
		return f->end;
	if (f->id.last > v->report->end_segment)
		return 0;
	return min_u64(f->end, v->report->end_offset);
}

static enum kvlog_status
make_missing(struct verify *v)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < v->live_count && st == KVLOG_OK; i++) {
		uint64_t from = covered_to(v, i), end = log_end(v, i);
		bool last = i + 1 == v->live_count;

		/* The end of the active one is read faster than its hint.  It
		 * may be nearer than hints reach, where records are lost. */
		if (from < end && end - from > (last ? TAIL : 0))
			st = make_hint(v, i, from, end);
	}
	return st;
}

/* All live segments, as an open store has them. */
static enum kvlog_status
fill_set(struct verify *v, struct segset *set)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < v->live_count && st == KVLOG_OK; i++) {
		const struct verify_file *f = v->live[i];
		struct segment *seg;

		st = segment_open(&v->dir, f->file.name, &f->id, &seg, v->err);
		if (st != KVLOG_OK)
			break;
		segment_close_fd(seg);
		atomic_store(&seg->end, f->end);
		st = segset_add(set, seg, v->err);
		if (st != KVLOG_OK)
			segment_close(seg);
	}
	return st;
}

static enum kvlog_status
merge_hints(struct verify *v)
{
	struct segset *set = segset_create();
	struct hintset hints = {0};
	struct file_list files = {0};
	enum kvlog_status st;

	if (set == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "check %s", v->dir.path);
	st = fill_set(v, set);
	if (st == KVLOG_OK)
		st = hintset_init(&hints, set, v->err);
	if (st == KVLOG_OK)
		st = dir_list(&v->dir, &files, v->err);
	if (st == KVLOG_OK)
		st = hintset_collect(&hints, &v->dir, &files, NULL, v->err);
	while (
	    st == KVLOG_OK && hintset_merge_step(&hints, &v->dir, UINT64_MAX))
		;
	file_list_fini(&files);
	hintset_fini(&hints);
	segset_destroy(set);
	return st;
}

static enum kvlog_status
rebuild(struct verify *v)
{
	struct control control;
	bool sole;
	enum kvlog_status st = control_open(&control, &v->dir, true, v->err);

	if (st != KVLOG_OK)
		return st;
	st = control_lock_writer(
	    &control, &v->dir, false, v->options->timeout_ms, &sole, v->err);
	if (st == KVLOG_OK)
		st = remove_useless(v);
	if (st == KVLOG_OK)
		st = sync_all(v, &control);
	if (st == KVLOG_OK)
		st = make_missing(v);
	if (st == KVLOG_OK)
		st = merge_hints(v);
	control_close(&control);
	if (st == KVLOG_BUSY && v->err->status != KVLOG_BUSY)
		st = err_set(
		    v->err, st, 0, "%s has changed; try again", v->dir.path);
	return st;
}

enum kvlog_status
rehint_store(const char *path, const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err)
{
	struct verify v;
	enum kvlog_status st = verify_init(&v, path, options, report, err);

	if (st == KVLOG_OK)
		st = verify_tell(&v);
	if ((st == KVLOG_OK || st == KVLOG_CORRUPT) &&
	    !is_damaged_elsewhere(&v))
		st = rebuild(&v);
	verify_fini(&v);
	return st;
}
