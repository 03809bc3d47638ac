/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture.c - the state of an open store at one commit, as files.
 *
 * Sealed segments never change (INV-1), so their names are all that is to be
 * noted.  A handle that writes makes sure that there are no others: it ends
 * the active segment.  One that reads cannot, nor can one on a full disk;
 * what is not sealed, or not known to be durable, is then for the caller to
 * copy, record by record.
 */
#include "config.h"

#include "capture.h"

#include "rollover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void
capture_fini(struct capture *c)
{
	hint_cover_fini(&c->cover);
	if (c->view != NULL)
		view_release(&c->db->views, c->view);
	os->free(c->files);
	memset(c, 0, sizeof *c);
}

static enum kvlog_status
note_file(struct capture *c, const struct segment *seg, struct kvlog_error *err)
{
	struct captured *file;

	if (c->count + c->tail_count == c->cap) {
		size_t cap = c->cap > 0 ? 2 * c->cap : 16;

		file = os->realloc(c->files, cap * sizeof *file);
		if (file == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "list segments");
		c->files = file;
		c->cap = cap;
	}
	file = &c->files[c->count + c->tail_count];
	*file = (struct captured){
	    .id = seg->header.id,
	    .salt = seg->header.salt,
	    .set_id = seg->header.set_id,
	    .last_salt = segment_last_salt(seg),
	    .end = segment_end(seg),
	    .size = seg->file_len,
	    .first_seq = seg->link_ok ? seg->link.first_seq : 1,
	    .last_seq = seg->last_seq,
	};
	memcpy(file->name, seg->name, sizeof file->name);
	return KVLOG_OK;
}

static const struct segment *
last_of(const struct view *view)
{
	return view->set->segments[view->set->count - 1];
}

/* Whether no commit is in the last segment, so that its predecessors are all
 * there is; marks say nothing that is not known of those. */
static bool
is_bare(const struct view *view)
{
	const struct segment *last = last_of(view);

	return view->set->count > 1 && last->header.kind == SEGMENT_PLAIN &&
	       last->link_ok && last->bad_count == 0 &&
	       atomic_load(&view->last_seq) <= last->link.prev_last_seq;
}

/* *ret_cut: the number of the last segment that is wholly of the state; 0 if
 * there is no room to seal it. */
static enum kvlog_status
seal(struct log *log, uint32_t *ret_cut, uint64_t *ret_generation,
    struct kvlog_error *err)
{
	enum kvlog_status st = log_take_turn(log, err);

	if (st != KVLOG_OK)
		return st;
	if (!is_bare(log->view))
		st = log_roll_over(log, 0, false, false, err);
	*ret_cut = st == KVLOG_OK ? segment_number(log_active(log)) - 1 : 0;
	*ret_generation = log->view->generation;
	log_release_turn(log);
	return st == KVLOG_NOSPACE ? KVLOG_OK : st;
}

/* How many segments end with the one of this number; 0: it was replaced
 * together with others. */
static size_t
count_to(const struct segset *set, uint32_t number)
{
	size_t i = set->count;

	while (i > 0 && segment_number(set->segments[i - 1]) != number)
		i--;
	return i;
}

/* How many are sealed and known to be durable. */
static size_t
count_durable(const struct views *views, const struct view *view)
{
	const struct segset *set = view->set;
	size_t i = set->count;

	if (last_of(view)->header.kind != SEGMENT_PLAIN)
		return i;
	for (i--; i > 0; i--) {
		const struct segment *seg = set->segments[i - 1];

		if (seg->header.kind != SEGMENT_PLAIN ||
		    seg->last_seq <= view_durable(views, view))
			break;
	}
	return i;
}

/* Of the view's last segment the commits that it shows. */
static uint64_t
end_of_last(const struct view *view)
{
	const struct segment *last = last_of(view);
	uint64_t applied = atomic_load(&view->applied);

	return view->follows &&
		       control_pos_segment(applied) == segment_number(last)
		   ? control_pos_off(applied)
		   : segment_end(last);
}

/* Segments [from, ...) are to be copied. */
static enum kvlog_status
note_tail(struct capture *c, const struct view *view, size_t from,
    struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = from; i < view->set->count && st == KVLOG_OK; i++) {
		const struct segment *seg = view->set->segments[i];

		if (seg->bad_count > 0)
			return err_set_at(err, KVLOG_CORRUPT,
			    segment_number(seg), seg->bad[0].from,
			    "%s is damaged and not sealed yet; open the store "
			    "for writing, or use kvlog-verify --salvage",
			    seg->name);
		st = note_file(c, seg, err);
		c->tail_count += st == KVLOG_OK;
	}
	if (st == KVLOG_OK) {
		struct captured *last = &c->files[c->count + c->tail_count - 1];

		last->end = end_of_last(view);
		last->last_seq = atomic_load(&view->last_seq);
	}
	return st;
}

/* The link of a segment behind the last file; next is the one that the store
 * has there, or NULL. */
static void
make_link(
    struct capture *c, const struct view *view, const struct segment *next)
{
	const struct recovery *r = &view->recovery;
	const struct segment *last = last_of(view);
	uint64_t seen = max_u64(view->next_seq, r->seq_seen);

	if (next != NULL) {
		c->link = next->link;
		seen = max_u64(seen, next->link.first_seq);
	} else {
		c->link.prev_salt = segment_last_salt(last);
		c->link.prev_end = last->header.kind == SEGMENT_PLAIN
				       ? end_of_last(view)
				       : last->header.last_end;
		c->link.prev_last_seq =
		    max_u64(atomic_load(&view->last_seq), r->lost_seq);
	}
	c->last_seq = c->link.prev_last_seq;
	c->link.first_seq = record_next_range(max_u64(seen, c->last_seq));
	c->link.durable = true;
}

/* With the views' lock held. */
static enum kvlog_status
note_all(struct capture *c, struct store *db, struct view *view, uint32_t cut,
    uint64_t generation, bool *ret_moved, struct kvlog_error *err)
{
	const struct segset *set = view->set;
	size_t whole =
	    cut != 0 ? count_to(set, cut) : count_durable(&db->views, view);
	bool tail = cut == 0 && whole < set->count &&
		    !(whole + 1 == set->count && is_bare(view));
	enum kvlog_status st = KVLOG_OK;

	/* What was replaced since the cut may lack what is newer behind it. */
	*ret_moved = cut != 0 && (whole == 0 || view->generation != generation);
	if (*ret_moved)
		return KVLOG_OK;
	c->store = set->segments[0]->header.store;
	c->max_size = db->options.segment_size;
	for (; c->count < whole && st == KVLOG_OK; c->count++)
		st = note_file(c, set->segments[c->count], err);
	if (st == KVLOG_OK && tail)
		st = note_tail(c, view, whole, err);
	if (st != KVLOG_OK)
		return st;
	make_link(
	    c, view, tail || whole == set->count ? NULL : set->segments[whole]);
	return c->count == 0 ? KVLOG_OK
			     : hintset_cover(&view->hints, 0, c->count,
				   c->files[c->count - 1].end, &c->cover, err);
}

enum kvlog_status
capture_make(struct store *db, struct capture *ret, bool *ret_moved,
    struct kvlog_error *err)
{
	uint32_t cut = 0;
	uint64_t generation = 0;
	enum kvlog_status st = KVLOG_OK;

	memset(ret, 0, sizeof *ret);
	if (db->writable)
		st = seal(&db->log, &cut, &generation, err);
	if (st == KVLOG_OK && db->writable)
		st = log_sync_mark(&db->log, err);
	if (st != KVLOG_OK)
		return st;
	st = store_keep_view(db, &ret->view);
	if (st != KVLOG_OK) {
		ret->view = NULL;
		return err_set(err, st, 0, "look at %s", db->dir.path);
	}
	ret->db = db;
	views_enter(&db->views);
	st = note_all(ret, db, ret->view, cut, generation, ret_moved, err);
	pthread_mutex_unlock(&db->views.lock);
	/* Where one cannot be made the backup is read when it is opened. */
	if (st == KVLOG_OK)
		(void)hint_cover_build(&ret->cover, false, NULL);
	return st;
}

bool
capture_knows(const struct capture *c, const struct log_end *ends, size_t count,
    uint64_t seq)
{
	const uint32_t last = ends[count - 1].number;
	size_t k = 0;

	for (size_t i = 0; i < c->count + c->tail_count; i++) {
		const struct captured *f = &c->files[i];

		if (f->id.first > last)
			break;
		while (k < count && ends[k].number < f->id.last)
			k++;
		if (k < count && ends[k].number == f->id.last &&
		    ends[k].salt != f->last_salt)
			break;
		if (seq <= f->last_seq && f->first_seq <= seq)
			return true;
	}
	return seq == 0; /* all begin so */
}
