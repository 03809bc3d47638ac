/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.c - automatic compaction.
 *
 * Each segment counts the bytes of its records that were replaced since the
 * opening (index.c).  What was garbage before is estimated once, by a walk over
 * the index: a segment's live records are counted, and the size of some of them
 * is looked at.  So garbage is known where it is, without reading records.
 *
 * When there is enough of it, the segment with the greatest share is rewritten,
 * together with neighbours that are small or have much of it too: one run at a
 * time, so that other work goes on in between.  It is a steady process: while
 * a store is overwritten again and again, about as many segments are rewritten
 * as fill up.  If the garbage is in the active segment, that one is ended.
 *
 * Who writes faster than that waits now and then for a moment, the longer the
 * more garbage there is: space would run out otherwise, and at that moment all
 * would have to wait for long.
 */
#include "config.h"

#include "reclaim.h"

#include "compact.h"
#include "rollover.h"
#include "turn.h"

#include <string.h>

#define PERCENT 15                /* of all, to begin */
#define BYTES (UINT64_C(4) << 20) /* likewise */
#define SLACK 1 /* percent of garbage more, before anybody waits */
#define WAIT_MAX_MS 30
#define WAIT_EVERY (UINT64_C(256) << 10) /* bytes written between waits */
#define SHARE_MIN 10                     /* percent of what is rewritten */
#define SAMPLE_EVERY 64 /* live records, of which one is looked at */
#define SAMPLES 256     /* of a segment, at most */

/* The survey */

static void
note_entry(void *arg, uint64_t loc)
{
	struct log *log = arg;
	uint64_t off;
	struct segment *seg = segset_at(log->view->set, loc, &off);
	struct record rec;

	if (seg->entries++ % SAMPLE_EVERY != 0 || seg->sampled == SAMPLES ||
	    !segment_parse(seg, off, &rec))
		return;
	seg->sampled++;
	seg->sampled_bytes += rec.size;
}

static uint64_t
record_bytes(const struct segment *seg)
{
	return segment_end(seg) - SEGMENT_DATA_OFF;
}

/* What is garbage, by what was counted; what has died meanwhile comes on top,
 * as it was counted as live or not. */
static void
estimate(struct segment *seg)
{
	uint64_t bytes = record_bytes(seg), live = 0;

	if (seg->sampled > 0)
		live = seg->entries * (seg->sampled_bytes / seg->sampled);
	atomic_store(&seg->dead,
	    min_u64(bytes, atomic_load(&seg->dead) - seg->dead_before + bytes -
			       min_u64(live, bytes)));
}

/* False if there is no time for it now. */
static bool
survey(struct reclaim *r, struct log *log)
{
	const struct segset *set = log->view->set;
	uint64_t at = 0;
	bool more = true, whole = true;
	size_t count;

	views_lock(log->views);
	count = set->count;
	for (size_t i = 0; i < count; i++) {
		struct segment *seg = set->segments[i];

		seg->entries = seg->sampled = 0;
		seg->sampled_bytes = 0;
		seg->dead_before = atomic_load(&seg->dead);
	}
	pthread_mutex_unlock(&log->views->lock);
	while (more && whole) {
		views_lock(log->views);
		more =
		    keydir_walk(log->view->index.keydir, &at, note_entry, log);
		pthread_mutex_unlock(&log->views->lock);
		whole = r->go_on(r->go_on_arg);
	}
	views_lock(log->views);
	for (size_t i = 0; i < count && whole; i++)
		estimate(set->segments[i]);
	pthread_mutex_unlock(&log->views->lock);
	return whole;
}

/* The choice */

/* A set of parts, or a segment. */
struct unit {
	size_t first, end; /* in the set */
	uint64_t bytes, dead;
	bool may; /* be an input */
};

/* With the views' lock held. */
static struct unit
unit_at(const struct segset *set, size_t i)
{
	struct unit u = {i, i + set->segments[i]->header.id.parts, 0, 0, true};

	for (size_t k = i; k < u.end; k++) {
		const struct segment *seg = set->segments[k];

		u.bytes += record_bytes(seg);
		u.dead += min_u64(record_bytes(seg), atomic_load(&seg->dead));
		u.may = u.may && !seg->hurt && !seg->damaged && seg->link_ok &&
			k + 1 < set->count;
	}
	return u;
}

/* The unit before the one that begins at i, which is not the first. */
static struct unit
unit_before(const struct segset *set, size_t i)
{
	return unit_at(set, i - set->segments[i - 1]->header.id.parts);
}

static bool
has_greater_share(const struct unit *a, const struct unit *b)
{
	return (double)a->dead * (double)b->bytes >
	       (double)b->dead * (double)a->bytes;
}

static void
join(struct unit *run, const struct unit *u)
{
	run->first = u->first < run->first ? u->first : run->first;
	run->end = u->end > run->end ? u->end : run->end;
	run->bytes += u->bytes;
	run->dead += u->dead;
}

/* Whether a neighbour is to be rewritten along: it has much garbage too, or is
 * so small that there would be ever more files. */
static bool
may_join(const struct unit *run, const struct unit *u, uint64_t limit)
{
	uint64_t live = run->bytes - run->dead + u->bytes - u->dead;
	bool dense = 2 * (double)u->dead * (double)run->bytes <
		     (double)run->dead * (double)u->bytes;

	return u->may && live <= limit && (!dense || u->bytes < limit / 4);
}

/* What all segments have; of the sealed ones the unit with the greatest share
 * of garbage. */
struct look {
	uint64_t bytes, dead, active_dead;
	struct unit best;
};

static void
look_at_all(const struct segset *set, struct look *look)
{
	memset(look, 0, sizeof *look);
	for (size_t i = 0; i < set->count;) {
		struct unit u = unit_at(set, i);

		look->bytes += u.bytes;
		look->dead += u.dead;
		if (u.end == set->count)
			look->active_dead = u.dead;
		if (u.may && u.dead * 100 >= u.bytes * SHARE_MIN &&
		    u.dead > 0 &&
		    (look->best.dead == 0 ||
			has_greater_share(&u, &look->best)))
			look->best = u;
		i = u.end;
	}
}

static uint64_t
least_bytes(const struct reclaim *r)
{
	return r->policy.bytes != 0 ? r->policy.bytes : BYTES;
}

static bool
is_due(const struct reclaim *r, const struct look *look)
{
	uint64_t percent = r->policy.percent != 0 ? r->policy.percent : PERCENT;

	return look->dead >= least_bytes(r) &&
	       look->dead * 100 >= look->bytes * percent;
}

/* Two milliseconds for each percent there is too much. */
static void
set_pressure(struct reclaim *r, const struct look *look)
{
	uint64_t least = r->policy.percent != 0 ? r->policy.percent : PERCENT;
	uint64_t share = look->bytes > 0 ? look->dead * 100 / look->bytes : 0;
	uint32_t ms = 0;

	if (is_due(r, look) && share > least + SLACK)
		ms =
		    (uint32_t)min_u64(2 * (share - least - SLACK), WAIT_MAX_MS);
	atomic_store(&r->pressure_ms, ms);
}

void
reclaim_wait(struct reclaim *r, struct log *log, uint64_t bytes)
{
	uint64_t unpaid = atomic_fetch_add(&r->unpaid, bytes) + bytes;
	struct look look;

	if (unpaid < WAIT_EVERY ||
	    !atomic_compare_exchange_strong(&r->unpaid, &unpaid, 0))
		return;
	/* A run may take seconds, where the disk is slow to sync it. */
	if (atomic_load(&r->running)) {
		views_enter(log->views);
		look_at_all(log->view->set, &look);
		set_pressure(r, &look);
		pthread_mutex_unlock(&log->views->lock);
	}
	os->sleep_ns(atomic_load(&r->pressure_ms) * UINT64_C(1000000));
}

static void
extend(const struct segset *set, struct unit *run, uint64_t limit)
{
	struct unit u;

	while (run->end < set->count &&
	       (u = unit_at(set, run->end), may_join(run, &u, limit)))
		join(run, &u);
	while (run->first > 0 &&
	       (u = unit_before(set, run->first), may_join(run, &u, limit)))
		join(run, &u);
}

enum choice { CHOICE_NONE, CHOICE_RUN, CHOICE_SEAL };

static enum choice
choose(struct reclaim *r, struct log *log, struct compact_run *ret_run)
{
	const struct segset *set = log->view->set;
	enum choice choice = CHOICE_NONE;
	struct look look;

	views_lock(log->views);
	look_at_all(set, &look);
	set_pressure(r, &look);
	if (!is_due(r, &look)) {
		choice = CHOICE_NONE;
	} else if (look.active_dead >= look.dead / 2) {
		choice = CHOICE_SEAL;
	} else if (look.best.dead > 0) {
		extend(set, &look.best,
		    repair_segment_size(set, log->segment_size));
		*ret_run = (struct compact_run){
		    .first = set->segments[look.best.first]->header.id.first,
		    .last = set->segments[look.best.end - 1]->header.id.last};
		choice = CHOICE_RUN;
	}
	pthread_mutex_unlock(&log->views->lock);
	return choice;
}

/* Doing it */

/* It was not worth it: what is known of the garbage was wrong, or it is
 * tombstones that still hide something. */
static void
forget_garbage(struct log *log, const struct compact_run *run)
{
	const struct segset *set = log->view->set;

	views_lock(log->views);
	for (size_t i = 0; i < set->count; i++)
		if (set->segments[i]->header.id.first >= run->first &&
		    set->segments[i]->header.id.last <= run->last)
			atomic_store(&set->segments[i]->dead, 0);
	pthread_mutex_unlock(&log->views->lock);
}

void
reclaim_count(struct reclaim *r, const struct kvlog_compact_report *report)
{
	atomic_fetch_add(&r->runs, report->run_count);
	atomic_fetch_add(&r->bytes_written, report->bytes_written);
	if (report->bytes_before > report->bytes_after)
		atomic_fetch_add(&r->bytes_freed,
		    report->bytes_before - report->bytes_after);
}

static bool
do_run(struct reclaim *r, struct log *log, const struct compact_run *run)
{
	struct compaction c;
	enum kvlog_status st;

	compact_init(&c, log->views, log->view, log, log->segment_size);
	c.online = true;
	c.only = *run;
	c.if_worth = true;
	c.threshold = SHARE_MIN;
	c.rate = r->policy.rate;
	c.go_on = r->go_on;
	c.go_on_arg = r->go_on_arg;
	st = compact_store(&c, NULL);
	reclaim_count(r, &c.report);
	if (st == KVLOG_OK && c.report.run_count == 0)
		forget_garbage(log, run);
	return st == KVLOG_OK;
}

static bool
seal(struct log *log)
{
	enum kvlog_status st = log_await_turn(log, NULL);

	if (st != KVLOG_OK)
		return false;
	st = log_roll_over(log, 0, false, false, NULL);
	log_release_turn(log);
	return st == KVLOG_OK;
}

/* Whether so much was written since the last look that it is worth another. */
bool
reclaim_wants(const struct reclaim *r, struct log *log)
{
	uint64_t pos = control_position(log->control);
	uint64_t grown = control_pos_off(pos) - control_pos_off(r->looked_at);

	return !r->policy.off && log->view->index.hints == NULL &&
	       (control_pos_segment(pos) != control_pos_segment(r->looked_at) ||
		   grown >= least_bytes(r));
}

bool
reclaim_step(struct reclaim *r, struct log *log)
{
	uint64_t pos = control_position(log->control);
	struct compact_run run;
	bool did = false;

	if (!reclaim_wants(r, log) || atomic_load(&log->broken) ||
	    control_reserve_used(log->control)) {
		atomic_store(&r->pressure_ms, 0);
		return false;
	}
	if (!r->surveyed)
		r->surveyed = survey(r, log);
	if (r->surveyed)
		switch (choose(r, log, &run)) {
		case CHOICE_NONE:
			break;
		case CHOICE_RUN:
			atomic_store(&r->running, true);
			did = do_run(r, log, &run);
			atomic_store(&r->running, false);
			break;
		case CHOICE_SEAL:
			did = seal(log);
			break;
		}
	/* What fails now is tried again when more has been written. */
	if (!did) {
		r->looked_at = pos;
		atomic_store(&r->pressure_ms, 0);
	}
	return did;
}
