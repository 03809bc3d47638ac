/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closing.c - what makes the next opening fast and sure: hint files, the mark
 * of a clean end, the end note.
 */
#include "config.h"

#include "closing.h"

#include "commit.h"
#include "repair.h"
#include "rollover.h"
#include "sync.h"
#include "turn.h"

#include <string.h>

/* A tail this long is worth a hint: at close, because reading it takes longer
 * than a one-shot command may; before, if it is also long beside what is
 * hinted already, so that the hints of a growing segment are few. */
#define CLOSING_TAIL (UINT64_C(64) << 10)
#define GROWING_TAIL (UINT64_C(256) << 10)
#define GROWING_PART 4
/* Records that are sorted in one step: some 50 ms, within which no commit is
 * synced by interval. */
#define STEP_RECORDS 65536
/* Closing merges no more entries than this, and for no longer than that: where
 * records are not in memory, each that is compared takes a read of the disk. */
#define CLOSING_MERGE 1000000
#define CLOSING_MERGE_NS UINT64_C(1000000000)
/* With so many, they are merged before so many others are made. */
#define HINTS_MANY 64
/* ... into none that has more than this part of all entries. */
#define HINTS_LARGE 16

/* What to make a hint of. */
struct hint_plan {
	struct segment *seg; /* NULL: nothing is due */
	struct hint_source source;
	uint64_t max_seq;
};

static uint64_t
unhinted_from(const struct segment *seg)
{
	return max_u64(SEGMENT_DATA_OFF, atomic_load(&seg->hinted_to));
}

static uint64_t
tail_min(uint64_t hinted_to, bool closing)
{
	return closing ? CLOSING_TAIL
		       : max_u64(GROWING_TAIL,
			     (hinted_to - SEGMENT_DATA_OFF) / GROWING_PART);
}

static void
plan_hint(struct log *log, bool closing, struct hint_plan *plan,
    uint64_t *ret_evidence)
{
	uint64_t evidence, from, end;

	memset(plan, 0, sizeof *plan);
	pthread_mutex_lock(&log->sync_lock);
	*ret_evidence = evidence = log->evidence_synced;
	views_lock(log->views);
	for (size_t i = 0; i < log->view->set->count; i++) {
		struct segment *s = log->view->set->segments[i];
		bool sealed = i + 1 < log->view->set->count ||
			      s->header.kind != SEGMENT_PLAIN;

		from = unhinted_from(s);
		end = segment_end(s);
		/* An empty segment gets a hint, so that those before it and
		 * behind it are neighbours and can be merged. */
		if (!segment_may_be_hinted(s) ||
		    (from >= end &&
			(!sealed || atomic_load(&s->hinted_to) != 0)) ||
		    (sealed && s->last_seq > evidence))
			continue;
		if (!sealed && end - from < tail_min(from, closing))
			continue;
		plan->seg = s;
		plan->source =
		    (struct hint_source){.seg = s, .from = from, .to = end};
		plan->max_seq = sealed ? UINT64_MAX : evidence;
		break;
	}
	pthread_mutex_unlock(&log->views->lock);
	pthread_mutex_unlock(&log->sync_lock);
}

/* Where a step from source.from on ends: before a commit, or at source.to. */
static uint64_t
step_end(const struct hint_source *source)
{
	uint64_t off = source->from, ahead = 0;
	struct record rec;
	bool bad;

	if (segment_map(source->seg, NULL) != KVLOG_OK)
		return source->to;
	for (unsigned n = 0;
	     segment_walk(source->seg, &off, source->to, &rec, &bad);
	     off += rec.size) {
		segment_fetch_ahead(source->seg, off, source->to, &ahead);
		if (++n > STEP_RECORDS && (rec.flags & RECORD_CONT) == 0)
			return off;
	}
	return source->to;
}

/* An image of what is due, to become a file.  True unless there is nothing to
 * do. */
static bool
add_image(struct log *log, const struct hint_plan *plan)
{
	struct hint *image;
	enum kvlog_status st =
	    hint_build(&plan->source, 1, plan->max_seq, &image, NULL);

	if (st == KVLOG_OK && plan->max_seq != UINT64_MAX &&
	    image->sources[0].to == plan->source.from) {
		hint_unref(image);
		return false;
	}
	if (st == KVLOG_OK)
		st = hintset_add(&log->view->hints, image);
	/* A hint is a cache: failing to make one harms nobody. */
	plan->seg->hint_failed = st != KVLOG_OK;
	return true;
}

/* Entries of a hint that many become.  Large ones are left alone until the
 * store is some times as large, or all would be merged with every 64 more. */
static uint64_t
merge_max(struct hintset *hints, bool closing)
{
	return closing ? CLOSING_MERGE
		       : max_u64(HINTS_MANY * STEP_RECORDS,
			     hintset_entries(hints) / HINTS_LARGE);
}

bool
log_write_hint(struct log *log, bool closing)
{
	struct hintset *hints = &log->view->hints;
	struct hint_plan plan;
	size_t count = hintset_count(hints);
	uint64_t evidence;

	/* Each step takes a time that grows with the number of hints.  A merge
	 * may be put off, and is not to be tried every time then. */
	if (count > 0 && count % HINTS_MANY == 0 &&
	    hintset_merge_step(hints, log->dir, merge_max(hints, closing)))
		return true;
	plan_hint(log, closing, &plan, &evidence);
	if (hintset_store_image(hints, log->dir, evidence))
		return true;
	if (plan.seg != NULL && !closing)
		plan.source.to = step_end(&plan.source);
	return plan.seg != NULL && add_image(log, &plan);
}

bool
log_lacks_hint(struct log *log, uint32_t upto)
{
	struct hint_plan plan;
	uint64_t evidence;

	plan_hint(log, false, &plan, &evidence);
	return plan.seg != NULL && segment_number(plan.seg) <= upto;
}

/* Write a mark, if it is (still) due when the turn comes. */
static enum kvlog_status
write_mark(struct log *log, bool clean, bool *ret_done, struct kvlog_error *err)
{
	uint64_t last_seq;
	enum kvlog_status st = log_await_turn(log, err);

	if (st != KVLOG_OK)
		return st;
	last_seq = log_last_seq(log);
	/* A segment that is full will be attested by the next one's link. */
	*ret_done =
	    clean ||
	    (log->view->evidence < last_seq && log_durable(log) >= last_seq &&
		log_room(log_active(log)) >= record_size(0, 0, 0));
	if (*ret_done)
		st = log_mark(log, clean, err);
	log_release_turn(log);
	return st;
}

/* Now that all of it is durable, say so, durably: a mark that says that the
 * end is clean, and the end note. */
static enum kvlog_status
attest_end(struct log *log, struct kvlog_error *err)
{
	const struct segment *active;
	struct control_note note = {0};
	bool done;
	enum kvlog_status st = write_mark(log, true, &done, err);

	if (st == KVLOG_OK)
		st = log_sync_mark(log, err);
	if (st != KVLOG_OK)
		return st;
	active = log_active(log);
	memcpy(note.uuid, active->header.store.uuid, 16);
	note.segment = segment_number(active);
	note.salt = active->header.salt;
	note.end = segment_end(active);
	note.last_seq = log_last_seq(log);
	return control_write_note(log->control, &note, err);
}

bool
log_attest(struct log *log)
{
	bool done;

	atomic_store(&log->unattested, false);
	return write_mark(log, false, &done, NULL) == KVLOG_OK && done &&
	       log_sync_mark(log, NULL) == KVLOG_OK;
}

static bool
is_before(void *arg)
{
	const uint64_t *until_ns = arg;

	return os->ticks_ns() < *until_ns;
}

/* Hints make the next opening fast; but first the reserve gets its space back,
 * without which nothing can make room on a full disk. */
static void
tidy(struct log *log)
{
	struct hintset *hints = &log->view->hints;
	uint64_t until_ns = os->ticks_ns() + CLOSING_MERGE_NS;

	if (control_reserve_used(log->control) &&
	    repair_make_reserve(log->dir, log->segment_size) != 0)
		return;
	control_set_reserve_used(log->control, false);
	hints->go_on = is_before;
	hints->go_on_arg = &until_ns;
	while (log_write_hint(log, true))
		;
	while (hintset_merge_step(hints, log->dir, CLOSING_MERGE))
		;
	hints->go_on = NULL;
}

/* The spare is of no use to those that go on. */
static enum kvlog_status
leave(struct log *log, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (log->spare == NULL)
		return KVLOG_OK;
	st = log_take_turn(log, err);
	if (st != KVLOG_OK)
		return st;
	log_drop_spare(log);
	log_release_turn(log);
	return KVLOG_OK;
}

/* As the last one: all that is published, also by those that died. */
static enum kvlog_status
take_over(struct log *log, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (log->control->shared) {
		st = log_take_turn(log, err);
		if (st != KVLOG_OK)
			return st;
		log_release_turn(log);
		hintset_adopt(&log->view->hints, log->dir);
	}
	return log_sync(log, log->view->next_seq - 1, err);
}

enum kvlog_status
log_close(struct log *log, struct kvlog_error *err)
{
	enum kvlog_status st;
	bool dirty;

	if (atomic_load(&log->broken))
		return log_broken(log, err);
	st = leave(log, err);
	if (st != KVLOG_OK ||
	    !control_last_writer(log->control, log->timeout_ms))
		return st;
	st = take_over(log, err);
	dirty = log_is_dirty(log);
	if (st == KVLOG_OK && dirty)
		st = attest_end(log, err);
	if (st != KVLOG_OK)
		return st;
	tidy(log);
	if (dirty)
		log_give_slack_back(log);
	(void)control_set_closed(log->control);
	return KVLOG_OK;
}
