/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover.c - the end of the log, and what is damaged before it.
 *
 * Three steps.  First the files: those that tile [1 .. n] are opened, in
 * order; each but the first names its predecessor's salt, end and last
 * sequence number in its link.  Then the survey: what no hint covers is read
 * record by record and cut into pieces (runs of whole commits, fragments of
 * commits, bad bytes).  Last the verdict, from the oldest piece to the newest.
 *
 * The verdict on bad bytes needs three numbers (INV-10):
 *
 *     s    last whole commit before them
 *     n    first valid commit after them (or, across the end of a segment,
 *          the link's last sequence number in place of n - 1)
 *     A    greatest number that anything valid attests as durable: lags of
 *          records and marks, links, hints, the end note
 *
 *     A <= s        torn end      the log ends here; nobody was promised more
 *     A >= n - 1    damage        go on at n
 *     otherwise     damage        of commits up to A; the log ends here
 *
 * If the control page is valid, all that was written in this boot is in the
 * page cache: everything up to its position counts as attested, and the log
 * ends there.
 *
 * INV-4: after an end that is not exactly known nothing is appended to the
 * same file: a new segment and a new range of sequence numbers begin.  That
 * also holds when the page is merely stale (another boot): commits that were
 * lost without a trace may have been seen, and their numbers must not come
 * again.
 */
#include "config.h"

#include "recover.h"

#include "survey.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIST_TRIES 200 /* until a listing beside a writer holds still */
#define TRY_PAUSE_NS UINT64_C(2000000)
#define SEQ_NONE UINT64_MAX

/*
 * Where the log can go on: the number n - 1 of what stands at piece p of
 * segment i or behind (p is the count of pieces: the link of the next
 * segment).
 */
struct next_valid {
	bool known;
	size_t from_i, from_p; /* nothing valid from here ... */
	size_t i, p;           /* ... up to here */
	uint64_t value;
};

struct recoverer {
	struct dir *dir;
	const struct control *control;
	struct hintset *hints;
	struct segset *set;
	struct recovery *r;
	struct survey *surveys; /* one for each segment of set */
	size_t survey_count;
	size_t tiled;      /* segments before the gap, if any */
	uint32_t last;     /* number of the last segment before it */
	uint32_t gap;      /* number of the first missing segment, or 0 */
	uint64_t attested; /* A */
	/* As it was before any file was read: what a writer says of a later
	 * end is not to be held against what was read before. */
	struct control_note note;
	bool has_note;
	struct next_valid next;
	struct kvlog_error *err;
};

/* Files */

/* An unreadable part makes its set incomplete; one that cannot be opened now
 * says nothing. */
static enum kvlog_status
fill_set_ids(struct dir *dir, struct file_list *files, uint32_t *ret_round,
    struct kvlog_error *err)
{
	for (size_t i = 0; i < files->count; i++) {
		struct file *f = &files->files[i];
		struct segment *seg;
		enum kvlog_status st;

		if (f->kind != FILE_SEGMENT)
			continue;
		if (f->id.round > *ret_round)
			*ret_round = f->id.round;
		if (f->id.parts == 1)
			continue;
		f->set_id = i;
		st = segment_open_header(dir, f->name, &f->id, &seg, err);
		if (st == KVLOG_OK) {
			f->set_id = seg->header.set_id;
			segment_close(seg);
		} else if (st != KVLOG_CORRUPT) {
			return st;
		}
	}
	return KVLOG_OK;
}

enum kvlog_status
recover_list(struct dir *dir, struct file_list *files, uint32_t *ret_last,
    uint32_t *ret_gap, uint32_t *ret_round, struct kvlog_error *err)
{
	enum kvlog_status st = dir_list(dir, files, err);

	if (st == KVLOG_OK)
		st = fill_set_ids(dir, files, ret_round, err);
	if (st == KVLOG_OK)
		dir_tile(files, ret_last, ret_gap);
	return st;
}

static enum kvlog_status
open_one(struct recoverer *rec, const struct file *file)
{
	struct segment *seg;
	const struct segment *first;
	enum kvlog_status st;

	st = segment_open_header(
	    rec->dir, file->name, &file->id, &seg, rec->err);
	if (st != KVLOG_OK)
		return st;
	first = rec->set->count > 0 ? rec->set->segments[0] : seg;
	if (memcmp(&first->header.store, &seg->header.store,
		sizeof seg->header.store) != 0) {
		segment_close(seg);
		return err_set_at(rec->err, KVLOG_CORRUPT, file->id.last, 0,
		    "%s/%s belongs to another store; move it out of the "
		    "directory and put the right file in its place",
		    rec->dir->path, file->name);
	}
	segment_close_fd(seg); /* there may be more of them than descriptors */
	st = segset_add(rec->set, seg, rec->err);
	if (st != KVLOG_OK)
		segment_close(seg);
	return st;
}

static enum kvlog_status
fail_missing(const struct recoverer *rec, uint32_t number)
{
	return err_set_at(rec->err, KVLOG_CORRUPT, number, 0,
	    "%s: segment %" PRIu32 " is missing; restore the file from a "
	    "backup, or save the others with kvlog-verify --salvage",
	    rec->dir->path, number);
}

static enum kvlog_status
open_files(struct recoverer *rec)
{
	struct file_list *files = &rec->r->files;
	bool any = false;
	enum kvlog_status st;

	st = recover_list(rec->dir, files, &rec->last, &rec->gap,
	    &rec->r->max_round, rec->err);
	for (size_t i = 0; i < files->count && st == KVLOG_OK; i++) {
		any |= files->files[i].kind == FILE_SEGMENT;
		if (files->files[i].live)
			st = open_one(rec, &files->files[i]);
	}
	if (st != KVLOG_OK)
		return st;
	rec->tiled = rec->set->count;
	if (rec->tiled == 0 && any)
		return fail_missing(rec, 1);
	if (rec->tiled == 0)
		return err_set(rec->err, KVLOG_NOSTORE, 0, "%s has no segments",
		    rec->dir->path);

	/* What stands behind a gap is opened too: it may attest that the
	 * missing segment was durable. */
	for (size_t i = 0; i < files->count && rec->gap != 0; i++) {
		struct file *f = &files->files[i];

		if (f->kind == FILE_SEGMENT && f->id.first >= rec->gap)
			st = open_one(rec, f);
		if (st != KVLOG_OK)
			return st; /* of another store, or format */
	}
	return KVLOG_OK;
}

/* Close what was opened, for another try. */
static void
close_files(struct recoverer *rec)
{
	while (rec->set->count > 0)
		segset_drop_last(rec->set);
	rec->set->next_chunk = 0;
	file_list_fini(&rec->r->files);
}

/* Whether a segment goes on with the output of the one before it in the set:
 * only whole outputs are there. */
static bool
is_further_part(const struct segment *seg)
{
	return seg->header.id.part > 1;
}

/* Whether the log went on behind a position: the page has no checksum, but
 * the end note has, and is a lower bound. */
static bool
note_is_behind(const struct recoverer *rec, const struct control_state *state)
{
	struct control_note note;

	return control_read_note(rec->control, &note) &&
	       note.salt == state->active_salt &&
	       control_pos(note.segment, note.end) > state->position;
}

/*
 * Whether the control page speaks of these files: its position lies in the
 * last segment, or in the one before a last one that was named but not yet
 * published.
 */
static bool
page_fits_files(struct recoverer *rec, struct control_state *state)
{
	const struct segset *set = rec->set;
	const struct segment *last = set->segments[rec->tiled - 1];
	uint32_t number = control_pos_segment(state->position);
	uint64_t off = control_pos_off(state->position);

	if (rec->gap != 0 || last->header.kind != SEGMENT_PLAIN ||
	    note_is_behind(rec, state))
		return false;
	if (number == segment_number(last))
		return state->active_salt == last->header.salt &&
		       off >= SEGMENT_DATA_OFF && off <= segment_limit(last);
	if (number + 1 == segment_number(last) && rec->tiled > 1) {
		const struct segment *prev = set->segments[rec->tiled - 2];

		if (!last->link_ok || prev->header.kind != SEGMENT_PLAIN ||
		    last->link.prev_salt != prev->header.salt ||
		    last->link.prev_end != off ||
		    (state->active_salt != prev->header.salt &&
			state->active_salt != last->header.salt))
			return false;
		state->intent = 0;
		/* Who lives will publish it, or is publishing it now. */
		if (!rec->control->exclusive &&
		    control_writer_lives(rec->control)) {
			segset_drop_last(rec->set);
			rec->tiled--;
			return true;
		}
		/* Adopt it: empty, and published from now on. */
		rec->r->adopted = true;
		state->position =
		    control_pos(segment_number(last), SEGMENT_DATA_OFF);
		state->active_salt = last->header.salt;
		return true;
	}
	return false;
}

/*
 * Whether something stands at the page's position, where the next commit's
 * first word would be stored last: then the page is older than the log, though
 * it is of this boot.  A file system that failed and was mounted again may have
 * kept what was synced, and the page was not; or the page is damaged.  (Or a
 * writer was killed between the first word and the position: that commit is
 * adopted.)  Who lives may be writing now.
 */
static bool
page_is_outrun(const struct recoverer *rec, const struct control_state *state)
{
	return (rec->control->exclusive ||
		   !control_writer_lives(rec->control)) &&
	       segment_is_used_at(rec->set->segments[rec->tiled - 1], rec->dir,
		   control_pos_off(state->position));
}

/* Whether the page speaks of a file behind the gap: then nothing before that
 * file was lost, but the missing one. */
static bool
page_is_behind_gap(
    const struct recoverer *rec, const struct control_state *state)
{
	for (size_t i = rec->tiled; i < rec->set->count; i++) {
		const struct segment *seg = rec->set->segments[i];

		if (segment_number(seg) ==
			control_pos_segment(state->position) &&
		    seg->header.salt == state->active_salt)
			return true;
	}
	return false;
}

/*
 * List and open, and take the page's word if it speaks of these files.
 * *ret_settled is false if page and files are of two moments: a reader that
 * meets a rollover looks again.
 */
static enum kvlog_status
find_files(struct recoverer *rec, bool page_valid,
    const struct control_state *before, bool *ret_settled)
{
	struct control_state after;
	enum kvlog_status st = open_files(rec);

	*ret_settled = true;
	if (st != KVLOG_OK || !page_valid)
		return st;
	if (page_is_behind_gap(rec, before))
		return fail_missing(rec, rec->gap);
	if (before->poison != 0) {
		rec->r->state = *before;
		rec->r->poisoned = true;
		return KVLOG_OK;
	}
	if (control_read(rec->control, &after) &&
	    before->generation == after.generation &&
	    page_fits_files(rec, &after) && !page_is_outrun(rec, &after)) {
		rec->r->state = after;
		rec->r->warm = true;
		rec->r->doubtful = after.syncing != 0;
		return KVLOG_OK;
	}
	*ret_settled = rec->control->exclusive; /* then it is stale */
	return KVLOG_OK;
}

/* How far a last segment's records may reach. */
static uint64_t
last_limit(const struct recoverer *rec, const struct segment *seg)
{
	return rec->r->warm ? control_pos_off(rec->r->state.position)
			    : segment_limit(seg);
}

/* Ends of sealed segments, the chain of salts, and hints. */
static enum kvlog_status
follow_links(struct recoverer *rec, bool *ret_gone)
{
	struct segset *set = rec->set;

	for (size_t i = 0; i < rec->tiled; i++) {
		struct segment *seg = set->segments[i];
		const struct segment *next =
		    i + 1 < rec->tiled ? set->segments[i + 1] : NULL;

		if (next != NULL && next->link_ok && !is_further_part(next)) {
			if (next->link.prev_salt != segment_last_salt(seg))
				return err_set_at(rec->err, KVLOG_CORRUPT,
				    segment_number(next), 0,
				    "%s/%s does not follow %s: it is of "
				    "another copy of the store; put the "
				    "right file in its place",
				    rec->dir->path, next->name, seg->name);
			if (seg->header.kind == SEGMENT_PLAIN) {
				seg->last_seq = next->link.prev_last_seq;
				atomic_store(
				    &seg->end, max_u64(SEGMENT_DATA_OFF,
						   min_u64(next->link.prev_end,
						       segment_limit(seg))));
			}
		}
		if (next == NULL && seg->header.kind == SEGMENT_PLAIN)
			atomic_store(&seg->end, last_limit(rec, seg));
	}
	return hintset_collect(
	    rec->hints, rec->dir, &rec->r->files, ret_gone, rec->err);
}

/* Survey */

/* Where reading segment i has to begin: what hints cover is known. */
static uint64_t
survey_from(const struct recoverer *rec, size_t i)
{
	const struct segment *seg = rec->set->segments[i];
	uint64_t hinted_to = atomic_load(&seg->hinted_to);

	/* Without its link, its first records tell where it stands.  After a
	 * failed sync records are copied, and hints go with what they are
	 * copied from: all damage must be known before. */
	if (i >= rec->tiled || hinted_to == 0 || (i > 0 && !seg->link_ok) ||
	    rec->r->poisoned)
		return SEGMENT_DATA_OFF;
	return hinted_to;
}

/* Whether the verdict can do without reading segment i. */
static bool
is_covered(const struct recoverer *rec, size_t i)
{
	const struct segment *seg = rec->set->segments[i];

	if (seg->header.kind == SEGMENT_PLAIN &&
	    (i + 1 >= rec->tiled || !rec->set->segments[i + 1]->link_ok))
		return false;
	if (seg->header.kind == SEGMENT_OUTPUT &&
	    seg->header.end == SEGMENT_DATA_OFF)
		return true; /* an empty one */
	return survey_from(rec, i) == segment_end(seg) &&
	       atomic_load(&seg->hinted_to) != 0;
}

static enum kvlog_status
survey_segment(struct recoverer *rec, size_t i)
{
	struct survey *sv = &rec->surveys[i];
	struct segment *seg = rec->set->segments[i];
	bool last = i + 1 == rec->set->count || i + 1 == rec->tiled;
	bool sealed =
	    !last && rec->set->segments[i + 1]->link_ok && i + 1 < rec->tiled;
	uint64_t limit = segment_limit(seg);
	bool at_page = rec->r->warm && last; /* where the page's log ends */

	if (!last && atomic_load(&seg->hinted_to) == 0)
		rec->r->scanned++;
	if (seg->header.kind != SEGMENT_PLAIN)
		return survey_output(sv, seg, rec->err);
	if (sealed)
		limit = rec->set->segments[i + 1]->link.prev_end;
	else if (at_page)
		limit = control_pos_off(rec->r->state.position);
	return survey_plain(
	    sv, seg, survey_from(rec, i), limit, sealed || at_page, rec->err);
}

/* As there may be more segments than descriptors, each has one in turn. */
static enum kvlog_status
open_and_survey(struct recoverer *rec, size_t i)
{
	struct segment *seg = rec->set->segments[i];
	enum kvlog_status st;
	bool opened;
	int rc = segment_open_fd(seg, rec->dir, &opened);

	if (rc != 0)
		return err_sys(
		    rec->err, rc, "open %s/%s", rec->dir->path, seg->name);
	st = survey_segment(rec, i);
	if (opened)
		segment_close_fd(seg);
	return st;
}

static enum kvlog_status
survey_all(struct recoverer *rec)
{
	const struct segset *set = rec->set;

	rec->surveys = os->calloc(set->count, sizeof *rec->surveys);
	if (rec->surveys == NULL)
		return err_set(rec->err, KVLOG_NOMEM, 0, "read the log");
	rec->survey_count = set->count;

	for (size_t i = 0; i < set->count; i++) {
		const struct segment *seg = set->segments[i];
		enum kvlog_status st = KVLOG_OK;

		if (seg->link_ok) {
			if (seg->link.durable)
				rec->attested = max_u64(
				    rec->attested, seg->link.prev_last_seq);
			rec->r->seq_seen = max_u64(
			    rec->r->seq_seen, max_u64(seg->link.prev_last_seq,
						  seg->link.first_seq));
		}
		if (seg->header.kind != SEGMENT_PLAIN)
			rec->attested =
			    max_u64(rec->attested, seg->header.last_seq);
		rec->r->seq_seen =
		    max_u64(rec->r->seq_seen, seg->header.last_seq);
		if (is_covered(rec, i)) {
			rec->attested = max_u64(rec->attested, seg->last_seq);
			rec->surveys[i].end = segment_end(seg);
		} else {
			st = open_and_survey(rec, i);
		}
		rec->attested = max_u64(rec->attested, seg->hinted_seq);
		rec->r->seq_seen = max_u64(rec->r->seq_seen, seg->hinted_seq);
		rec->attested =
		    max_u64(rec->attested, rec->surveys[i].attested);
		rec->r->seq_seen =
		    max_u64(rec->r->seq_seen, rec->surveys[i].seq_seen);
		if (st != KVLOG_OK)
			return st;
	}
	if (rec->has_note &&
	    memcmp(rec->note.uuid, set->segments[0]->header.store.uuid, 16) ==
		0) {
		rec->attested = max_u64(rec->attested, rec->note.last_seq);
		rec->r->seq_seen =
		    max_u64(rec->r->seq_seen, rec->note.last_seq);
	}
	return KVLOG_OK;
}

/* Verdict */

/* What is known of the end while pieces are judged in order. */
struct verdict {
	uint64_t s; /* last whole commit so far */
	/* Numbers up to here are before this place, or were never given out:
	 * a range begins above it. */
	uint64_t base;
	/* The number before the commit up to which the log went on, as all
	 * before that is attested: until it comes bad bytes are of one place.
	 */
	uint64_t bridged;
	bool ended; /* the log ends at (segment, off) */
	bool torn;  /* ... in a torn end, not in damage */
	size_t segment;
	uint64_t off;
};

/* The number that the place itself gives, or SEQ_NONE. */
static uint64_t
valid_at(const struct recoverer *rec, size_t i, size_t p)
{
	const struct survey *sv = &rec->surveys[i];

	if (p < sv->count)
		return sv->pieces[p].kind != PIECE_BAD &&
			       sv->pieces[p].first_seq != 0
			   ? sv->pieces[p].first_seq - 1
			   : SEQ_NONE;
	/* The link of the next one stands for what is missing here. */
	if (i + 1 < rec->set->count && rec->set->segments[i + 1]->link_ok)
		return rec->set->segments[i + 1]->link.prev_last_seq;
	return SEQ_NONE;
}

/*
 * The number n - 1 for bad bytes before piece p of segment i: one less than
 * the first commit found from there on.  SEQ_NONE if there is none.  What was
 * found is kept, as many bad places may lead to the same one.
 */
static uint64_t
next_valid(struct recoverer *rec, size_t i, size_t p)
{
	struct next_valid *next = &rec->next;

	if (next->known &&
	    (i > next->from_i || (i == next->from_i && p >= next->from_p)) &&
	    (i < next->i || (i == next->i && p <= next->p)))
		return next->value;
	next->known = true;
	next->from_i = i;
	next->from_p = p;
	for (; i < rec->set->count; i++, p = 0)
		for (; p <= rec->surveys[i].count; p++) {
			next->value = valid_at(rec, i, p);
			next->i = i;
			next->p = p;
			if (next->value != SEQ_NONE)
				return next->value;
		}
	next->value = SEQ_NONE;
	next->i = i;
	return SEQ_NONE;
}

/* bytes is 0 where something is missing rather than wrong. */
static void
note_damage(
    struct recoverer *rec, struct segment *seg, uint64_t off, uint64_t bytes)
{
	seg->hurt = true;
	if (rec->r->damaged_ranges == 0) {
		rec->r->damaged_segment = segment_number(seg);
		rec->r->damaged_off = off;
	}
	rec->r->flags |= KVLOG_RECOVERY_DAMAGE;
	rec->r->damaged_ranges++;
	rec->r->damaged_bytes += bytes;
}

/*
 * The same of commits whose keys are not known.  The segment is to be read at
 * every opening: its hint would have the number of a commit of which a part
 * is left, as if the rest were not missing.
 */
static void
note_loss(
    struct recoverer *rec, struct segment *seg, uint64_t off, uint64_t bytes)
{
	note_damage(rec, seg, off, bytes);
	seg->damaged = true;
	rec->r->flags |= KVLOG_RECOVERY_DEGRADED;
}

/* The last number before this place: of a commit, or of a range. */
static uint64_t
reached(const struct verdict *v)
{
	return max_u64(v->s, v->base);
}

/* Whether it is known that the log goes on up to the commit behind n. */
static bool
is_bridged(const struct verdict *v, uint64_t n)
{
	return n == v->bridged && n == reached(v);
}

/*
 * Judge bad bytes [from, to) of segment i (from == to: commits are missing
 * although no byte is bad).
 */
static enum kvlog_status
judge_bad(struct recoverer *rec, struct verdict *v, size_t i, uint64_t from,
    uint64_t to, uint64_t before_next)
{
	bool go_on = before_next != SEQ_NONE && rec->attested >= before_next;

	if (rec->attested <= reached(v) && !is_bridged(v, before_next)) {
		v->ended = v->torn = true;
		v->segment = i;
		v->off = from;
		return KVLOG_OK;
	}
	note_loss(rec, rec->set->segments[i], from, to - from);
	if (rec->r->warm && before_next == SEQ_NONE) {
		/* The page knows where the log ends, but not how many
		 * commits were in the damaged bytes. */
		rec->r->unclean = true;
		go_on = true;
		before_next = v->s;
	}
	if (!go_on) {
		v->ended = true;
		v->segment = i;
		v->off = from;
		return KVLOG_OK;
	}
	v->bridged = before_next;
	v->s = max_u64(v->s, before_next);
	if (from < to && segment_add_bad(rec->set->segments[i], from, to) != 0)
		return err_set(rec->err, KVLOG_NOMEM, 0, "read the log");
	return KVLOG_OK;
}

static enum kvlog_status
judge_piece(struct recoverer *rec, struct verdict *v, size_t i, size_t p)
{
	const struct piece *piece = &rec->surveys[i].pieces[p];
	uint64_t first = piece->first_seq;
	enum kvlog_status st = KVLOG_OK;

	switch (piece->kind) {
	case PIECE_RUN:
		if (first == 0)
			return KVLOG_OK; /* marks */
		if (first <= v->s)
			break; /* not of this place in the log */
		if (first != reached(v) + 1) {
			st = judge_bad(
			    rec, v, i, piece->from, piece->from, first - 1);
			if (st != KVLOG_OK || v->ended)
				return st;
		}
		v->s = piece->last_seq;
		return KVLOG_OK;
	case PIECE_SOFT:
		if (rec->attested < first)
			break;
		note_damage(rec, rec->set->segments[i], piece->from,
		    piece->to - piece->from);
		rec->set->segments[i]->damaged = true;
		v->s = max_u64(v->s, first);
		return KVLOG_OK;
	case PIECE_FRAGMENT:
		if (rec->attested < first)
			break;
		/* If its end is missing, the bad bytes behind it say so. */
		v->s = max_u64(v->s, piece->endless ? first - 1 : first);
		return KVLOG_OK;
	case PIECE_BAD:
		break;
	}
	return judge_bad(
	    rec, v, i, piece->from, piece->to, next_valid(rec, i, p + 1));
}

/* Whether what stands in segment i goes on behind commit s: the first commit
 * from there on does or, without one, the marks have its number. */
static bool
goes_on(struct recoverer *rec, size_t i, uint64_t s)
{
	const struct survey *sv = &rec->surveys[i];
	uint64_t next = next_valid(rec, i, 0);

	return next == s ||
	       (next == SEQ_NONE && sv->count == 1 && sv->seq_seen == s &&
		   sv->pieces[0].kind == PIECE_RUN);
}

/* The seam between segment i - 1 and segment i. */
static enum kvlog_status
judge_link(struct recoverer *rec, struct verdict *v, size_t i)
{
	struct segment *seg = rec->set->segments[i];
	struct segment *prev = rec->set->segments[i - 1];
	uint64_t expected;

	if (is_further_part(seg)) {
		if (!seg->link_ok) /* it says what the first part's does */
			note_damage(
			    rec, seg, SEGMENT_LINK_OFF, SEGMENT_LINK_LEN);
		return KVLOG_OK;
	}
	if (seg->link_ok) {
		expected = seg->link.prev_last_seq;
		if (expected <= reached(v))
			return KVLOG_OK;
		return judge_bad(rec, v, i - 1, rec->surveys[i - 1].end,
		    rec->surveys[i - 1].end, expected);
	}
	/* It alone may know that prev was cut, and where: a writer waits until
	 * it can be read. */
	if (seg->head_unreadable && rec->control->writable)
		return err_set_at(rec->err, KVLOG_IO, segment_number(seg),
		    SEGMENT_LINK_OFF,
		    "%s/%s cannot be read from offset %" PRIu64
		    " on; open the store read-only to save what can be read, "
		    "or copy it to a good disk",
		    rec->dir->path, seg->name, (uint64_t)SEGMENT_LINK_OFF);
	/* What the link would have said of prev. */
	if (prev->header.kind == SEGMENT_PLAIN) {
		atomic_store(&prev->end, rec->surveys[i - 1].end);
		prev->last_seq = v->s;
	}
	if (rec->attested > v->s && goes_on(rec, i, v->s)) {
		/* Nothing but the link itself is lost. */
		note_damage(rec, seg, SEGMENT_LINK_OFF, SEGMENT_LINK_LEN);
		return KVLOG_OK;
	}
	return judge_bad(rec, v, i - 1, rec->surveys[i - 1].end,
	    rec->surveys[i - 1].end, next_valid(rec, i, 0));
}

static enum kvlog_status
judge_segment(struct recoverer *rec, struct verdict *v, size_t i)
{
	struct segment *seg = rec->set->segments[i];
	const struct survey *sv = &rec->surveys[i];
	enum kvlog_status st = KVLOG_OK;

	if (i > 0)
		st = judge_link(rec, v, i);
	else if (!seg->link_ok)
		/* It names nobody. */
		note_damage(rec, seg, SEGMENT_LINK_OFF, SEGMENT_LINK_LEN);
	if (st != KVLOG_OK || v->ended)
		return st;
	if (seg->header_damaged)
		note_damage(rec, seg, 0, SEGMENT_FIXED_LEN);
	if (seg->link_ok && seg->link.first_seq > 0)
		v->base = max_u64(v->base, seg->link.first_seq - 1);
	if (survey_from(rec, i) != SEGMENT_DATA_OFF)
		v->s = max_u64(v->s, seg->hinted_seq);
	if (!sv->done) {
		/* An earlier opening found that commits were lost at its end,
		 * and its successor's link still says so.  In the output of a
		 * compaction the last commits may be superseded. */
		if (v->s < seg->last_seq &&
		    seg->header.kind != SEGMENT_OUTPUT) {
			note_damage(rec, seg, segment_end(seg), 0);
			rec->r->flags |= KVLOG_RECOVERY_DEGRADED;
		}
		v->s = max_u64(v->s, seg->last_seq);
		return KVLOG_OK;
	}
	if (seg->header.kind != SEGMENT_PLAIN) {
		for (size_t p = 0; p < sv->count && st == KVLOG_OK; p++) {
			note_damage(rec, seg, sv->pieces[p].from,
			    sv->pieces[p].to - sv->pieces[p].from);
			rec->r->flags |= KVLOG_RECOVERY_DEGRADED;
			if (segment_add_bad(
				seg, sv->pieces[p].from, sv->pieces[p].to) != 0)
				st = err_set(
				    rec->err, KVLOG_NOMEM, 0, "read the log");
		}
		v->s = max_u64(v->s, seg->header.last_seq);
		return st;
	}
	for (size_t p = 0; p < sv->count && st == KVLOG_OK && !v->ended; p++)
		st = judge_piece(rec, v, i, p);
	return st;
}

/* The first segment from i on of which bytes cannot be read, or NULL. */
static struct segment *
unreadable_from(const struct recoverer *rec, size_t i)
{
	for (; i < rec->set->count; i++)
		if (rec->surveys[i].unreadable ||
		    rec->set->segments[i]->head_unreadable)
			return rec->set->segments[i];
	return NULL;
}

/*
 * The log seems to end, and from there on there are bytes that cannot be read.
 * They may be commits, or attest some, and may be readable tomorrow: no writer
 * may cut them off.
 */
static enum kvlog_status
judge_unreadable_end(
    struct recoverer *rec, struct verdict *v, struct segment *unreadable)
{
	struct segment *seg = rec->set->segments[v->segment];
	uint64_t off = unreadable == seg ? v->off : 0;

	if (rec->control->writable)
		return err_set_at(rec->err, KVLOG_IO,
		    segment_number(unreadable), off,
		    "%s/%s cannot be read from offset %" PRIu64
		    " on; open the store read-only to save what can be read, "
		    "or copy it to a good disk",
		    rec->dir->path, unreadable->name, off);
	v->torn = false;
	note_damage(rec, seg, v->off, 0);
	rec->r->flags |= KVLOG_RECOVERY_DEGRADED;
	return KVLOG_OK;
}

/*
 * After a failed sync, records are copied and what they are copied from is
 * removed: not while some cannot be read.
 */
static enum kvlog_status
judge_unreadable_copy(struct recoverer *rec)
{
	struct segment *unreadable;
	size_t first = rec->tiled - 1;

	while (first > 0 &&
	       recovery_may_be_unsynced(rec->r, rec->set->segments[first - 1]))
		first--;
	unreadable = unreadable_from(rec, first);
	if (unreadable == NULL)
		return KVLOG_OK;
	return err_set_at(rec->err, KVLOG_IO, segment_number(unreadable), 0,
	    "%s/%s has to be copied, as a sync failed, and cannot be read; "
	    "open the store read-only to save what can be read, or copy it to "
	    "a good disk",
	    rec->dir->path, unreadable->name);
}

/*
 * The log ends too early, and the end note names a segment that is not there.
 * A writer would give its number to another file, so that it could never be
 * put back.
 */
static enum kvlog_status
judge_missing_end(struct recoverer *rec)
{
	const struct segset *set = rec->set;
	uint32_t last = set->segments[rec->tiled - 1]->header.id.last;
	struct control_note note;

	if (!control_read_note(rec->control, &note) || note.segment <= last ||
	    memcmp(note.uuid, set->segments[0]->header.store.uuid, 16) != 0)
		return KVLOG_OK;
	if (rec->control->writable)
		return fail_missing(rec, last + 1);
	rec->r->missing = last + 1;
	return KVLOG_OK;
}

/* All of the tiled segments, and the gap behind them if there is one. */
static enum kvlog_status
judge_all(struct recoverer *rec, struct verdict *v)
{
	struct recovery *r = rec->r;
	size_t last = rec->tiled - 1;

	memset(v, 0, sizeof *v);
	v->bridged = SEQ_NONE;
	r->attested = rec->attested;
	if (r->warm)
		rec->attested = SEQ_NONE;
	for (size_t i = 0; i < rec->tiled && !v->ended; i++) {
		enum kvlog_status st = judge_segment(rec, v, i);

		if (st != KVLOG_OK)
			return st;
	}
	if (r->poisoned && rec->control->writable) {
		enum kvlog_status st = judge_unreadable_copy(rec);

		if (st != KVLOG_OK)
			return st;
	}
	if (v->ended && unreadable_from(rec, v->segment) != NULL)
		return judge_unreadable_end(
		    rec, v, unreadable_from(rec, v->segment));
	if (!r->warm && rec->gap == 0 && rec->attested > reached(v)) {
		enum kvlog_status st = judge_missing_end(rec);

		if (st != KVLOG_OK)
			return st;
	}
	if (v->ended)
		return KVLOG_OK;
	v->segment = last;
	v->off = r->warm ? control_pos_off(r->state.position)
			 : rec->surveys[last].end;
	if (rec->gap != 0 && rec->attested > reached(v))
		return fail_missing(rec, rec->gap);
	if (!r->warm && rec->attested > reached(v)) {
		/* Zeros where commits were known to be durable. */
		note_loss(rec, rec->set->segments[last], v->off, 0);
	}
	return KVLOG_OK;
}

/* Whether the log reaches the place that the end note names. */
static bool
reaches_note(
    const struct recoverer *rec, const struct verdict *v, size_t *ret_i)
{
	const struct segset *set = rec->set;

	for (size_t i = 0; i <= v->segment; i++) {
		const struct segment *seg = set->segments[i];
		uint64_t end = i == v->segment ? v->off : segment_end(seg);

		*ret_i = i;
		if (seg->header.id.last < rec->note.segment)
			continue;
		return seg->header.kind != SEGMENT_PLAIN ||
		       (seg->header.salt == rec->note.salt &&
			   end >= rec->note.end);
	}
	return false;
}

/*
 * The end note is a lower bound in place as well as in number.  Where a file
 * of another copy of the store has taken the place of this one's, numbers may
 * be as high as they should be, while commits are missing.
 */
static void
judge_note(struct recoverer *rec, const struct verdict *v)
{
	const struct segset *set = rec->set;
	size_t i;

	if (rec->r->warm || !rec->has_note ||
	    (rec->r->flags & KVLOG_RECOVERY_DAMAGE) != 0 ||
	    memcmp(rec->note.uuid, set->segments[0]->header.store.uuid, 16) !=
		0 ||
	    reaches_note(rec, v, &i))
		return;
	note_damage(rec, set->segments[i],
	    i == v->segment ? v->off : segment_end(set->segments[i]), 0);
	rec->r->flags |= KVLOG_RECOVERY_DEGRADED;
}

/* Let the set end where the verdict says. */
static enum kvlog_status
apply_verdict(struct recoverer *rec, const struct verdict *v)
{
	struct recovery *r = rec->r;
	struct segset *set = rec->set;
	struct segment *active = set->segments[v->segment];
	const struct survey *sv = &rec->surveys[v->segment];
	/* Whoever lives has not crashed, whether or not its page can be
	 * believed. */
	bool beside_writer =
	    !rec->control->exclusive && control_writer_lives(rec->control);

	r->last_seq = v->s;
	r->lost_seq = r->attested <= reached(v) ? v->s : r->attested;
	r->first_seq = v->s + 1;
	if (active->link_ok && active->link.first_seq > r->first_seq)
		r->first_seq = active->link.first_seq;

	if (v->ended && v->torn) {
		r->flags |= KVLOG_RECOVERY_TORN;
		r->torn_bytes =
		    sv->count > 0 ? sv->pieces[sv->count - 1].to - v->off : 0;
	}
	if (!r->warm || v->ended || r->state.intent != 0)
		r->unclean = true;
	if (v->ended || !sv->done || !sv->clean_mark)
		if ((!r->warm || r->state.intent != 0) && !beside_writer)
			r->flags |= KVLOG_RECOVERY_CRASH;
	if (r->scanned > 0)
		r->flags |= KVLOG_RECOVERY_SCANNED;

	while (set->count > v->segment + 1) {
		segset_drop_last(set);
		r->discarded++;
	}
	if (r->discarded > 0)
		r->flags |= KVLOG_RECOVERY_DISCARDED;
	atomic_store(&active->end, v->off);
	if (active->header.kind != SEGMENT_PLAIN)
		r->unclean = true;
	if (r->discarded == 0 && atomic_load(&active->hinted_to) <= v->off)
		return KVLOG_OK;
	/* Some hint may cover what is gone. */
	return hintset_collect(rec->hints, rec->dir, &r->files, NULL, rec->err);
}

/* One look at the directory. */
static enum kvlog_status
look(struct recoverer *rec, bool page_valid, const struct control_state *before,
    bool last_try, bool *ret_settled)
{
	struct verdict verdict;
	enum kvlog_status st;
	bool gone = false;

	rec->has_note = control_read_note(rec->control, &rec->note);
	st = find_files(rec, page_valid, before, ret_settled);
	if (st != KVLOG_OK || (!*ret_settled && !last_try))
		return st;
	st = follow_links(rec, &gone);
	if (gone && !last_try) {
		/* A writer merges hints: without them much would be read. */
		*ret_settled = false;
		return st;
	}
	if (st == KVLOG_OK)
		st = survey_all(rec);
	if (st == KVLOG_OK)
		st = judge_all(rec, &verdict);
	if (st == KVLOG_OK) {
		judge_note(rec, &verdict);
		st = apply_verdict(rec, &verdict);
	}
	for (size_t i = 0; i < rec->survey_count; i++)
		survey_fini(&rec->surveys[i]);
	os->free(rec->surveys);
	return st;
}

/* Whether the page is as it was before the look. */
static bool
page_stands(const struct control *control, bool was_valid,
    const struct control_state *before)
{
	struct control_state now;
	bool valid = control_read(control, &now);

	return valid == was_valid &&
	       (!valid || now.generation == before->generation);
}

/*
 * One look is enough unless a writer lives, and for that writer itself.  A
 * reader beside one looks again if the writer recovered, repaired or rolled
 * over meanwhile, and also if something is wrong: it may be the repair.
 */
enum kvlog_status
recover_find(struct dir *dir, const struct control *control,
    struct hintset *hints, struct recovery *ret, struct kvlog_error *err)
{
	for (unsigned i = 0;; i++) {
		struct kvlog_error failure = {0};
		struct recoverer rec = {.dir = dir,
		    .control = control,
		    .hints = hints,
		    .set = hints->set,
		    .r = ret,
		    .err = &failure};
		struct control_state before;
		bool alone =
		    control->exclusive || !control_writer_lives(control);
		bool last_try = control->exclusive || i == LIST_TRIES;
		bool valid = control_read(control, &before), settled;
		enum kvlog_status st;

		memset(ret, 0, sizeof *ret);
		st = look(&rec, valid, &before, alone || last_try, &settled);
		alone = alone && !control_writer_lives(control);
		if (last_try || (page_stands(control, valid, &before) &&
				    (alone || (settled && st == KVLOG_OK)))) {
			if (st != KVLOG_OK && err != NULL)
				*err = failure;
			return st;
		}
		close_files(&rec);
		os->sleep_ns(TRY_PAUSE_NS);
	}
}

bool
recovery_may_be_unsynced(const struct recovery *r, const struct segment *seg)
{
	/* A mark, which has no number, may follow the last commit. */
	return seg->last_seq > r->state.durable ||
	       (r->state.synced != 0 &&
		   recovery_end_pos(seg) > r->state.synced);
}

void
recovery_fini(struct recovery *recovery)
{
	file_list_fini(&recovery->files);
}

void
recover_describe(const struct recovery *r, char *buf, size_t len)
{
	if (r->missing != 0)
		snprintf(buf, len,
		    "segment %" PRIu32
		    " is missing; restore the file from a backup",
		    r->missing);
	else if (r->flags & KVLOG_RECOVERY_DAMAGE)
		snprintf(buf, len,
		    "damage found in %" PRIu64
		    " place%s, first in segment %" PRIu32 " at offset %" PRIu64
		    "%s",
		    r->damaged_ranges, r->damaged_ranges == 1 ? "" : "s",
		    r->damaged_segment, r->damaged_off,
		    r->damaged_bytes == 0 ? ": what stood behind it is missing"
					  : "");
	else if (r->flags & KVLOG_RECOVERY_TORN)
		snprintf(buf, len, "cut off a torn end of %" PRIu64 " bytes%s",
		    r->torn_bytes,
		    r->discarded > 0 ? " and the segments behind it" : "");
	else if (r->flags & KVLOG_RECOVERY_CRASH)
		snprintf(buf, len,
		    "the last writer did not close the store; "
		    "nothing had to be cut off");
	else if (r->flags & KVLOG_RECOVERY_SCANNED)
		snprintf(buf, len,
		    "read %" PRIu32 " segment%s without a hint file",
		    r->scanned, r->scanned == 1 ? "" : "s");
	else
		snprintf(buf, len, "none needed");
}
