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
 *
 * What is garbage though nothing has replaced it, by a drop or as it has
 * expired, is estimated by samples (waste.c), and estimated anew when the
 * catalogue has changed or the next sample expires.
 *
 * With an index in the hints nobody knows what is replaced.  There all segments
 * are looked at, by a merge of all hints, each time that the log has grown by
 * as much as may be garbage, and all are rewritten that are worth it.
 */
#include "config.h"

#include "reclaim.h"

#include "compact.h"
#include "rollover.h"
#include "turn.h"
#include "waste.h"

#include <string.h>

#define PERCENT 25                /* of all, to begin */
#define BYTES (UINT64_C(4) << 20) /* likewise */
#define SLACK 1 /* percent of garbage more, before anybody waits */
#define WAIT_MAX_MS CONTROL_PRESSURE_MAX
#define TELL_NS UINT64_C(20000000)
#define WAIT_EVERY (UINT64_C(256) << 10) /* bytes written between waits */
#define SHARE_MIN 10                     /* percent of what is rewritten */
/* With an index in the hints: segments' sizes of live bytes in a run, and
 * percent of what is new that is taken for garbage, at least. */
#define RUN_SEGMENTS 4
#define GUESS_PERCENT 50
#define LOOK_MS 1000u   /* between looks at what is dropped or expired */
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
		u.dead += min_u64(record_bytes(seg),
		    atomic_load(&seg->dead) + atomic_load(&seg->wasted));
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

/* The same; with an index in the hints by what the last compaction has met. */
static void
look_at_log(const struct reclaim *r, const struct log *log, struct look *look)
{
	uint64_t settled = atomic_load(&r->settled), grown;

	look_at_all(log->view->set, look);
	if (log->view->index.hints == NULL)
		return;
	grown = look->bytes - min_u64(settled, look->bytes);
	look->dead =
	    atomic_load(&r->settled_dead) +
	    grown / 100 *
		max_u64(GUESS_PERCENT, atomic_load(&r->garbage_percent));
}

static uint64_t
least_bytes(const struct reclaim *r)
{
	return r->policy.bytes != 0 ? r->policy.bytes : BYTES;
}

static uint64_t
least_percent(const struct reclaim *r)
{
	return r->policy.percent != 0 ? r->policy.percent : PERCENT;
}

static bool
is_due(const struct reclaim *r, const struct look *look)
{
	return look->dead >= least_bytes(r) &&
	       look->dead * 100 >= look->bytes * least_percent(r);
}

static void
set_wait(struct reclaim *r, struct log *log, uint32_t ms)
{
	atomic_store(&r->pressure_ms, ms);
	/* It holds for a while only, and is to be said again. */
	if (log->control->shared && (ms > 0 || atomic_load(&r->told)) &&
	    control_set_pressure(log->control, ms) == 0)
		atomic_store(&r->told, ms > 0);
}

/* Whether half as much of it is garbage. */
static bool
is_near(const struct reclaim *r, const struct look *look)
{
	struct look twice = *look;

	twice.dead *= 2;
	return is_due(r, &twice);
}

/* Two milliseconds for one percent too much, and for more the square: a disk
 * that is slow for a while is to cost time, not space. */
static void
set_pressure(struct reclaim *r, struct log *log, const struct look *look)
{
	double least = (double)least_percent(r);
	double over = 0, ms;

	if (is_due(r, look))
		over = (double)look->dead * 100 / (double)look->bytes - least -
		       SLACK;
	ms = over > 0 ? 2 * over * over : 0;
	set_wait(r, log, (uint32_t)(ms < WAIT_MAX_MS ? ms : WAIT_MAX_MS));
}

static void
press(struct reclaim *r, struct log *log)
{
	struct look look;

	views_enter(log->views);
	look_at_log(r, log, &look);
	set_pressure(r, log, &look);
	pthread_mutex_unlock(&log->views->lock);
}

void
reclaim_tell(struct reclaim *r, struct log *log)
{
	uint64_t now;

	if (!atomic_load(&r->running) || !log->control->shared)
		return;
	now = os->ticks_ns();
	if (now - r->told_ns < TELL_NS)
		return;
	r->told_ns = now;
	press(r, log);
}

void
reclaim_wait(struct reclaim *r, struct log *log, uint64_t bytes, bool by_thread)
{
	uint64_t unpaid = atomic_fetch_add(&r->unpaid, bytes) + bytes;

	if (unpaid < WAIT_EVERY || !atomic_compare_exchange_strong(&r->unpaid,
				       &unpaid, unpaid % WAIT_EVERY))
		return;
	for (; unpaid >= WAIT_EVERY; unpaid -= WAIT_EVERY) {
		uint64_t ms = control_pressure(log->control);

		/* A run may take seconds, where the disk is slow to sync it. */
		if (by_thread && atomic_load(&r->running))
			press(r, log);
		if (by_thread)
			ms = max_u64(ms, atomic_load(&r->pressure_ms));
		if (ms > 0)
			os->sleep_ns(ms * UINT64_C(1000000));
	}
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
	set_pressure(r, log, &look);
	/* What is written to, prepared or in the making holds space back. */
	atomic_store(&log->small_segments, is_near(r, &look));
	if (!is_due(r, &look)) {
		choice = CHOICE_NONE;
	} else if (look.active_dead >= look.dead / 2) {
		choice = CHOICE_SEAL;
	} else if (look.best.dead > 0) {
		extend(set, &look.best, log_segment_size(log));
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
		    set->segments[i]->header.id.last <= run->last) {
			atomic_store(&set->segments[i]->dead, 0);
			waste_forget(set->segments[i]);
		}
	pthread_mutex_unlock(&log->views->lock);
}

static void
count(struct reclaim *r, const struct kvlog_compact_report *report)
{
	atomic_fetch_add(&r->runs, report->run_count);
	atomic_fetch_add(&r->bytes_written, report->bytes_written);
	if (report->bytes_before > report->bytes_after)
		atomic_fetch_add(&r->bytes_freed,
		    report->bytes_before - report->bytes_after);
}

void
reclaim_begin(struct reclaim *r)
{
	if (!r->policy.off)
		atomic_store(&r->running, true);
}

void
reclaim_end(struct reclaim *r, struct log *log,
    const struct kvlog_compact_report *report)
{
	atomic_store(&r->running, false);
	set_wait(r, log, 0);
	count(r, report);
}

static void
init_compaction(struct reclaim *r, struct log *log, struct compaction *c)
{
	compact_init(c, log->views, log->view, log, log->segment_size);
	c->online = true;
	c->rate = r->policy.rate;
	c->go_on = r->go_on;
	c->go_on_arg = r->go_on_arg;
}

static enum kvlog_status
run_compaction(struct reclaim *r, struct compaction *c)
{
	enum kvlog_status st;

	atomic_store(&r->running, true);
	st = compact_store(c, NULL);
	atomic_store(&r->running, false);
	count(r, &c->report);
	return st;
}

/* On a full disk: wherever it is, in runs as small as must be. */
static bool
do_what_fits(struct reclaim *r, struct log *log)
{
	struct compaction c;
	enum kvlog_status st;

	init_compaction(r, log, &c);
	st = run_compaction(r, &c);
	return (st == KVLOG_OK || st == KVLOG_NOSPACE) &&
	       c.report.run_count > 0;
}

static bool
do_run(struct reclaim *r, struct log *log, const struct compact_run *run)
{
	struct compaction c;
	enum kvlog_status st;

	init_compaction(r, log, &c);
	c.only = *run;
	c.if_worth = true;
	c.threshold = SHARE_MIN;
	st = run_compaction(r, &c);
	if (st == KVLOG_OK && c.report.run_count == 0)
		forget_garbage(log, run);
	if (st == KVLOG_NOSPACE)
		return do_what_fits(r, log);
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

/* Bytes of all records, but for those behind a position that are where they
 * were written. */
static uint64_t
bytes_up_to(struct log *log, uint64_t pos)
{
	uint64_t bytes = 0;
	const struct segset *set;

	views_lock(log->views);
	set = log->view->set;
	for (size_t i = 0; i < set->count; i++) {
		const struct segment *seg = set->segments[i];
		uint64_t off = SEGMENT_DATA_OFF;

		bytes += record_bytes(seg);
		if (seg->header.kind != SEGMENT_PLAIN ||
		    segment_number(seg) < control_pos_segment(pos))
			continue;
		if (segment_number(seg) == control_pos_segment(pos))
			off = min_u64(control_pos_off(pos), segment_end(seg));
		bytes -= segment_end(seg) - off;
	}
	pthread_mutex_unlock(&log->views->lock);
	return bytes;
}

/* What has come of a compaction of all that there was at a position.  What was
 * written meanwhile is for the next one. */
static void
note_outcome(struct reclaim *r, struct log *log, const struct compaction *c,
    uint64_t pos, uint64_t before, uint64_t grown)
{
	uint64_t dead = before - min_u64(c->live_bytes, before);
	uint64_t bytes = bytes_up_to(log, pos);

	dead -= min_u64(atomic_load(&r->settled_dead), dead);
	if (grown >= least_bytes(r))
		atomic_store(&r->garbage_percent,
		    (uint32_t)min_u64(100, dead / (grown / 100 + 1)));
	atomic_store(&r->settled_dead, bytes - min_u64(c->live_bytes, bytes));
	atomic_store(&r->settled, bytes);
}

static uint64_t
wasted_bytes(struct log *log)
{
	uint64_t bytes = 0;

	views_lock(log->views);
	for (size_t i = 0; i < log->view->set->count; i++)
		bytes += atomic_load(&log->view->set->segments[i]->wasted);
	pthread_mutex_unlock(&log->views->lock);
	return bytes;
}

/* Whether so much was dropped or has expired since the last compaction. */
static bool
is_wasted(struct reclaim *r, struct log *log, uint64_t bytes)
{
	uint64_t wasted = wasted_bytes(log);

	r->settled_waste = min_u64(r->settled_waste, wasted);
	wasted -= r->settled_waste;
	return wasted >= least_bytes(r) &&
	       wasted >= bytes / 100 * least_percent(r);
}

/* Whether the log has grown by as much as may be garbage, or as much is wasted;
 * then all that is worth it is rewritten.  What was garbage at the opening
 * comes along. */
static bool
compact_by_hints(struct reclaim *r, struct log *log)
{
	uint64_t pos = control_position(log->control);
	uint64_t bytes = bytes_up_to(log, pos);
	uint64_t settled = atomic_load(&r->settled), grown = bytes - settled;
	bool wasted = is_wasted(r, log, bytes);
	struct compaction c;
	enum kvlog_status st;

	if (settled == 0 || settled > bytes) {
		atomic_store(&r->settled, bytes);
		settled = bytes;
		grown = 0;
	}
	if (!wasted && (grown < least_bytes(r) ||
			   grown < settled / 100 * least_percent(r)))
		return false;
	init_compaction(r, log, &c);
	views_lock(log->views);
	c.run_limit = RUN_SEGMENTS * repair_segment_size(log->view->set,
					 log->segment_size, false);
	pthread_mutex_unlock(&log->views->lock);
	st = run_compaction(r, &c);
	if (st == KVLOG_OK)
		note_outcome(r, log, &c, pos, bytes, grown);
	else
		atomic_store(&r->settled, bytes);
	r->settled_waste = wasted_bytes(log);
	return st == KVLOG_OK && c.report.run_count > 0;
}

/* What was dropped, or has expired */

/* Which buckets there are, if that may be another matter than at the last
 * look. */
static void
look_at_buckets(struct reclaim *r, struct log *log)
{
	struct compaction c;
	uint64_t catalogue = atomic_load(&log->view->catalogue);
	bool any;

	views_lock(log->views);
	any = waste_has_buckets(log->view->set);
	pthread_mutex_unlock(&log->views->lock);
	if (!any || catalogue == r->catalogue)
		return;
	init_compaction(r, log, &c);
	compaction_look_at_buckets(&c);
	bucket_set_fini(&r->buckets);
	r->buckets = c.buckets;
	r->catalogue = catalogue;
}

static void
look_at_waste(struct reclaim *r, struct log *log)
{
	const uint64_t now = view_now_ms(log->view);
	uint64_t next;

	r->looked_ms = os->clock_ms();
	if (!waste_sample(log->views, log->view, r->go_on, r->go_on_arg)) {
		atomic_store(&r->look_ms, 0);
		return;
	}
	look_at_buckets(r, log);
	views_lock(log->views);
	next = waste_estimate(log->view->set, &r->buckets, now);
	pthread_mutex_unlock(&log->views->lock);
	atomic_store(&r->look_ms, next);
}

/* Not too often, and also where the clock has stepped back. */
static bool
is_time_to_look(const struct reclaim *r, struct log *log)
{
	const uint64_t now = os->clock_ms();

	if (now >= r->looked_ms && now - r->looked_ms < LOOK_MS)
		return false;
	return now >= atomic_load(&r->look_ms) ||
	       (r->catalogue != 0 &&
		   r->catalogue != atomic_load(&log->view->catalogue));
}

uint64_t
reclaim_rest_ms(const struct reclaim *r)
{
	const uint64_t now = os->clock_ms(), next = atomic_load(&r->look_ms);

	if (r->policy.off || next == UINT64_MAX)
		return UINT64_MAX;
	return max_u64(LOOK_MS, next - min_u64(now, next));
}

void
reclaim_fini(struct reclaim *r)
{
	bucket_set_fini(&r->buckets);
}

/* Whether so much was written since the last look that it is worth another, or
 * something else has become garbage. */
bool
reclaim_wants(const struct reclaim *r, struct log *log)
{
	uint64_t pos = control_position(log->control);
	uint64_t grown = control_pos_off(pos) - control_pos_off(r->looked_at);

	return !r->policy.off &&
	       (control_pos_segment(pos) != control_pos_segment(r->looked_at) ||
		   grown >= least_bytes(r) || is_time_to_look(r, log));
}

bool
reclaim_step(struct reclaim *r, struct log *log)
{
	uint64_t pos = control_position(log->control);
	struct compact_run run;
	bool did = false;

	if (!reclaim_wants(r, log) || atomic_load(&log->broken)) {
		set_wait(r, log, 0);
		return false;
	}
	if (log->view->index.hints != NULL ||
	    atomic_load(&log->view->index.odd))
		look_at_waste(r, log);
	else
		atomic_store(&r->look_ms, UINT64_MAX);
	if (log->view->index.hints != NULL)
		did = compact_by_hints(r, log);
	else if (!r->surveyed)
		r->surveyed = survey(r, log);
	if (r->surveyed)
		switch (choose(r, log, &run)) {
		case CHOICE_NONE:
			break;
		case CHOICE_RUN:
			did = do_run(r, log, &run);
			break;
		case CHOICE_SEAL:
			did = seal(log);
			break;
		}
	/* What fails now is tried again when more has been written. */
	r->looked_at = did ? 0 : pos;
	if (!did)
		set_wait(r, log, 0);
	return did;
}
