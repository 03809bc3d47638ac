/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact.c - which runs are worth rewriting, and what is done about those that
 * cannot be.
 *
 * Runs are done from the oldest to the newest; what is left is planned anew
 * when damage was met on the way (compaction.h).  So it is when a run does not
 * fit on the disk: in smaller ones, which grow again with the room that they
 * make.
 */
#include "config.h"

#include "compact.h"

#include "compact_run.h"
#include "merge.h"
#include "output.h"
#include "repair.h"
#include "rollover.h"
#include "sync.h"
#include "turn.h"

#include <string.h>

/* A run becomes at most so many whole segments, or such a share of all, if that
 * is more: for each run all hints behind it may be read. */
#define RUN_PARTS 8
#define RUN_SHARE 16
#define RUN_SCALE 4      /* smaller on a full disk, and larger again */
#define WORTH 25         /* percent of a run that must be garbage */
#define ACTIVE_MIN 65536 /* bytes of a new active segment, at least */

/* Behind the last part of the set of parts that begins at i. */
static size_t
unit_end(const struct compaction *c, size_t i)
{
	return i + c->set->segments[i]->header.id.parts;
}

static bool
is_damaged(const struct segment *seg)
{
	return seg->hurt || seg->damaged || !seg->link_ok;
}

/* What the opening has found. */
static void
bar_damaged(struct compaction *c)
{
	for (size_t i = 0; i < c->set->count; i++) {
		const struct segment *seg = c->set->segments[i];

		if (!is_damaged(seg) || seg->barred)
			continue;
		(void)compaction_damage(
		    c, seg, seg->bad_count > 0 ? seg->bad[0].from : 0);
	}
}

/* Whether a hint has entries of records that are lost.  All of its segments
 * are mapped. */
static bool
names_lost(const struct hint *hint)
{
	for (uint64_t n = 0; n < hint->entry_count; n++) {
		struct hint_entry e;
		struct record rec;

		if (hint_get(hint, n, &e) && !hint_read(&e, &rec))
			return true;
	}
	return false;
}

/* The first of the hints without which this one does not serve: each of them
 * ends where the next one begins, within a segment. */
static size_t
first_needed(const struct hint_list *list, size_t h)
{
	while (h > 0 && list->hints[h]->sources[0].from != SEGMENT_DATA_OFF)
		h--;
	return h;
}

static bool
has_source(const struct hint *hint, bool barred)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (hint->sources[i].seg->barred == barred)
			return true;
	return false;
}

/* Whether one of a barred segment serves only as long as others do. */
static bool
ties_to_barred(const struct hint_list *list, size_t first, size_t h)
{
	const struct hint *hint = list->hints[h];
	bool others = false;

	for (size_t i = first; i <= h && !others; i++)
		others = has_source(list->hints[i], false);
	return others && has_source(hint, true) && hint->name[0] != '\0';
}

static void
bar_sources(struct compaction *c, const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++) {
		if (hint->sources[i].seg->barred)
			continue;
		c->report.damaged_segments++;
		compaction_bar(c, hint->sources[i].seg);
	}
}

/*
 * A hint is all that names a lost record: without it that key would show an
 * older value.  It serves only as long as all of its segments are there, and
 * those of the hints before it up to the beginning of one, so that these have
 * to stay.
 */
static enum kvlog_status
bar_named(struct compaction *c, struct kvlog_error *err)
{
	struct hint_list *list = hint_list_get(c->hints);
	enum kvlog_status st = KVLOG_OK;

	for (size_t h = 0; h < list->count && st == KVLOG_OK; h++) {
		const struct hint *hint = list->hints[h];
		size_t first = first_needed(list, h);

		if (!ties_to_barred(list, first, h))
			continue;
		for (size_t i = 0; i < hint->source_count && st == KVLOG_OK;
		     i++)
			st = segment_map(hint->sources[i].seg, err);
		if (st != KVLOG_OK || !names_lost(hint))
			continue;
		for (size_t i = first; i <= h; i++)
			bar_sources(c, list->hints[i]);
	}
	hint_list_put(list);
	return st;
}

/* What records are worth */

/* Bytes of each segment's records that will count after all is done, as far
 * as can be told in advance. */
struct tally {
	struct compaction *c;
	uint64_t *live; /* by number in the set */
	bool oldest;    /* tombstones hide nothing in front of the stretch */
};

static enum kvlog_status
tally_entry(void *arg, const struct merge_entry *e, struct kvlog_error *err)
{
	struct tally *t = arg;

	(void)err;
	if (compaction_dropped(t->c, &e->rec) ||
	    (t->oldest && compaction_tombstone(t->c, &e->rec)))
		return KVLOG_OK;
	t->live[compaction_find(t->c->set, e->seg->header.id.first,
	    e->seg->header.id.part)] += e->rec.size;
	t->c->live_bytes += e->rec.size;
	return KVLOG_OK;
}

static enum kvlog_status
tally_all(struct compaction *c, uint64_t *live, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;
	size_t i = 0;

	memset(live, 0, c->set->count * sizeof *live);
	c->live_bytes = 0;
	while (i < c->set->count && st == KVLOG_OK) {
		struct tally t = {c, live, i == 0};
		size_t stop = compaction_stretch(c, i);

		if (stop > i)
			st = compaction_walk(c, i, stop, tally_entry, &t, err);
		i = stop + 1;
	}
	return st;
}

/* What is left of live bytes of records, in files. */
static uint64_t
bytes_left(uint64_t live, size_t unit_count)
{
	return live + unit_count * (uint64_t)SEGMENT_DATA_OFF;
}

/* Whether so many bytes of files are worth rewriting. */
static bool
is_worth(const struct compaction *c, uint64_t bytes, uint64_t left)
{
	return c->all || left <= bytes - bytes * c->threshold / 100;
}

/* Whether the set of parts that begins at i may be an input. */
static bool
is_input(const struct compaction *c, size_t i)
{
	return i < c->stop && !c->set->segments[i]->barred &&
	       compaction_run_of(c, c->set->segments[i]) == NULL;
}

/*
 * The run that begins at i: sets that are worth it, and those between them as
 * long as all together are.  Returns where to look for the next one; without
 * a run ret_run->last is 0.
 */
static size_t
grow_run(const struct compaction *c, const uint64_t *live, size_t i,
    struct compact_run *ret_run)
{
	uint64_t run_bytes = 0, run_live = 0;
	size_t next = unit_end(c, i), units = 0;

	memset(ret_run, 0, sizeof *ret_run);
	for (size_t end; is_input(c, i); i = end) {
		uint64_t bytes = 0, unit_live = 0;
		const struct segment *seg = c->set->segments[i];
		bool worth;

		end = unit_end(c, i);
		for (size_t k = i; k < end; k++) {
			bytes += c->set->segments[k]->file_len;
			unit_live += live[k];
		}
		if (units > 0 && run_live + unit_live > c->run_limit)
			break;
		worth = is_worth(c, bytes, bytes_left(unit_live, 1));
		run_bytes += bytes;
		run_live += unit_live;
		units++;
		if (!is_worth(c, run_bytes, bytes_left(run_live, units)))
			break;
		if (!worth)
			continue;
		if (ret_run->last == 0)
			ret_run->first = seg->header.id.first;
		ret_run->last = seg->header.id.last;
		ret_run->bytes = run_bytes;
		ret_run->live = units > 1 ? run_live : 0;
		next = end;
	}
	return next;
}

static enum kvlog_status
add_run(struct compaction *c, const struct compact_run *run)
{
	if (c->run_count == c->run_cap) {
		size_t cap = c->run_cap > 0 ? 2 * c->run_cap : 16;
		struct compact_run *runs =
		    os->realloc(c->runs, cap * sizeof *runs);

		if (runs == NULL)
			return KVLOG_NOMEM;
		c->runs = runs;
		c->run_cap = cap;
	}
	c->runs[c->run_count++] = *run;
	return KVLOG_OK;
}

/* The run that was asked for, if all of it may be rewritten. */
static enum kvlog_status
choose_only(struct compaction *c)
{
	struct compact_run run = c->only;
	size_t i = compaction_find(c->set, run.first, 1);
	uint32_t last = 0;

	for (; last < run.last && is_input(c, i); i = unit_end(c, i)) {
		for (size_t k = i; k < unit_end(c, i); k++)
			run.bytes += c->set->segments[k]->file_len;
		last = c->set->segments[i]->header.id.last;
	}
	c->total_bytes = run.bytes;
	return last == run.last ? add_run(c, &run) : KVLOG_OK;
}

/* Behind the runs that are done. */
static enum kvlog_status
choose_runs(struct compaction *c, const uint64_t *live)
{
	enum kvlog_status st = KVLOG_OK;

	c->run_count = c->done_count;
	c->total_bytes = c->done_bytes;
	if (c->only.last != 0)
		return choose_only(c);
	if (c->run_limit == 0)
		c->run_limit =
		    max_u64(RUN_PARTS * c->max_size, c->live_bytes / RUN_SHARE);
	if (c->online && c->view->index.hints == NULL)
		c->run_limit = min_u64(c->run_limit, COMPACT_ASKED_MAX / 4);
	if (c->run_wanted == 0)
		c->run_wanted = c->run_limit;
	for (size_t i = 0; i < c->stop && st == KVLOG_OK;) {
		struct compact_run run;

		i = grow_run(c, live, i, &run);
		if (run.last == 0)
			continue;
		st = add_run(c, &run);
		c->total_bytes += run.bytes;
	}
	return st;
}

/* Bytes of records in it that stand for keys. */
static uint64_t
keyed_bytes(const struct segment *seg, uint64_t end)
{
	uint64_t off = SEGMENT_DATA_OFF, bytes = 0;
	struct record rec;
	bool bad;

	for (; segment_walk(seg, &off, end, &rec, &bad); off += rec.size)
		if (rec.type != RECORD_MARK)
			bytes += rec.size;
	return bytes;
}

/* Of an active segment that is made while so many bytes are live. */
static uint64_t
active_size(const struct compaction *c)
{
	uint64_t size = max_u64(ACTIVE_MIN, c->live_bytes / 8);

	return round_up(min_u64(size, c->max_size), BLOCK_SIZE);
}

/* Whether the active segment is to be sealed, so that it can be an input. */
static bool
wants_sealing(const struct compaction *c, const uint64_t *live)
{
	size_t last = c->set->count - 1;
	const struct segment *active = c->set->segments[last];
	uint64_t bytes = keyed_bytes(active, c->end), dead;

	if (active->barred || bytes == 0 ||
	    (c->upto != 0 && segment_number(active) > c->upto))
		return false;
	dead = bytes > live[last] ? bytes - live[last] : 0;
	return c->all || (dead >= bytes * c->threshold / 100 &&
			     dead > active_size(c) + KVLOG_SEGMENT_SIZE_MIN);
}

/*
 * Seal it by an empty one, whose size is that of a compacted store.  All that
 * was written is durable, so the link can say so; then it is durable too,
 * with its name.
 */
static enum kvlog_status
seal_active(struct compaction *c, struct kvlog_error *err)
{
	struct log *log = c->log;
	const struct segment *active = c->set->segments[c->set->count - 1];
	struct segment_plan plan = {
	    .name = DIR_SPARE_NAME,
	    .store = &active->header.store,
	    .number = segment_number(active) + 1,
	    .max_size = log->segment_size,
	    .size = active_size(c),
	    .may_use_reserve = true,
	};
	enum kvlog_status st;
	bool reserve = false;

	st = log_await_turn(log, err);
	if (st != KVLOG_OK)
		return st;
	if (c->online) { /* by the spare: nobody shall wait for long */
		if (log_active(log) == c->set->segments[c->set->count - 1])
			st = log_roll_over(log, 0, true, false, err);
		log_release_turn(log);
		return st;
	}
	log_drop_spare(log);
	st = repair_new_segment(log->dir, &plan, &log->spare, &reserve, err);
	if (reserve)
		control_set_reserve_used(log->control, true);
	if (st == KVLOG_OK)
		st = log_roll_over(log, 0, false, false, err);
	log_release_turn(log);
	return st;
}

/* Disk space of a segment; free space of the active one does not count. */
static uint64_t
space_of(const struct compaction *c, size_t i)
{
	const struct segment *seg = c->set->segments[i];

	return i + 1 < c->set->count ? seg->file_len
				     : round_up(c->end, BLOCK_SIZE);
}

static void
measure(struct compaction *c)
{
	struct kvlog_compact_report *r = &c->report;

	r->segments_before = c->set->count;
	for (size_t i = 0; i < c->set->count; i++)
		r->bytes_before += space_of(c, i);
	r->segments_after = r->segments_before;
	r->bytes_after = r->bytes_before;
}

/* Seal the active segment if that is worth it; live as tally_all() has it. */
static enum kvlog_status
settle_active(struct compaction *c, const uint64_t *live, bool *ret_settled,
    struct kvlog_error *err)
{
	const struct segment *active = c->set->segments[c->set->count - 1];
	const uint64_t space = space_of(c, c->set->count - 1);
	enum kvlog_status st = segment_map(active, err);
	bool seal;

	if (st != KVLOG_OK)
		return st;
	seal = wants_sealing(c, live);
	if (seal && c->log != NULL)
		st = seal_active(c, &c->refusal);
	if (seal && c->log != NULL && st == KVLOG_OK)
		st = compaction_settle(c, &c->refusal);
	if (st == KVLOG_NOSPACE) {
		c->refused_count++;
		return KVLOG_OK; /* perhaps later */
	}
	if (st != KVLOG_OK) {
		if (err != NULL)
			*err = c->refusal;
		return st;
	}
	*ret_settled = true;
	if (!seal)
		return KVLOG_OK;
	c->sealed_late = c->online && c->done_count > 0;
	c->report.temporary_bytes = active_size(c);
	c->report.bytes_after += active->file_len - space;
	c->report.bytes_after += KVLOG_SEGMENT_SIZE_MIN; /* an empty one */
	c->report.segments_after++;
	c->stop++;
	return KVLOG_OK;
}

static enum kvlog_status
plan(struct compaction *c, bool *active_settled, struct kvlog_error *err)
{
	uint64_t *live = os->calloc(c->set->count, sizeof *live);
	enum kvlog_status st;

	if (live == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	st = bar_named(c, err);
	if (st == KVLOG_OK && c->only.last == 0)
		st = tally_all(c, live, err);
	if (st == KVLOG_OK && c->only.last == 0 && !*active_settled)
		st = settle_active(c, live, active_settled, err);
	if (st == KVLOG_OK && choose_runs(c, live) != KVLOG_OK)
		st = err_set(err, KVLOG_NOMEM, 0, "compact segments");
	os->free(live);
	return st;
}

static bool
is_late(const struct compaction *c)
{
	return c->deadline_ns != 0 && os->ticks_ns() >= c->deadline_ns;
}

/*
 * Whether what is left is to be planned anew after this run: in smaller ones,
 * as it was refused, or in larger ones, as it has made room.
 */
static bool
resize_runs(struct compaction *c, const struct compact_run *run, bool refused)
{
	if (refused && run->live > 0) {
		c->run_limit = max_u64(run->live / RUN_SCALE, 1);
		return true;
	}
	if (!run->rewritten || c->run_limit >= c->run_wanted / RUN_SCALE)
		return false;
	c->run_limit *= RUN_SCALE;
	return true;
}

static enum kvlog_status
do_runs(struct compaction *c, bool *ret_resized, struct kvlog_error *err)
{
	*ret_resized = false;
	while (c->done_count < c->run_count && !*ret_resized) {
		struct compact_run *run = &c->runs[c->done_count];
		uint64_t done_bytes = c->done_bytes + run->bytes;
		struct kvlog_error failure = {0};
		enum kvlog_status st = compaction_ask(c, &failure);
		bool refused;

		if (is_late(c))
			return KVLOG_OK;
		if (st == KVLOG_OK && c->online)
			st = c->settled != 0 || compact_may_ask_index(c, run)
				 ? compaction_look(c, &failure)
				 : compaction_settle(c, &failure);
		if (st == KVLOG_OK)
			st = compact_rewrite(c, run, &failure);
		refused = st == KVLOG_NOSPACE && !run->rewritten;
		if (refused) {
			c->refused_count++;
			c->refusal = failure;
		} else if (st != KVLOG_OK) {
			if (err != NULL)
				*err = failure;
			return st;
		}
		c->done_bytes = done_bytes;
		c->done_count++;
		*ret_resized = resize_runs(c, run, refused);
	}
	return KVLOG_OK;
}

/* What was refused is to be tried again. */
static void
forget_refused(struct compaction *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->done_count; i++)
		if (c->runs[i].rewritten)
			c->runs[kept++] = c->runs[i];
	c->run_count = c->done_count = kept;
	c->refused_count = 0;
}

void
compact_init(struct compaction *c, struct views *views, struct view *view,
    struct log *log, uint64_t max_size)
{
	memset(c, 0, sizeof *c);
	c->report.size = sizeof c->report;
	c->dir = views->dir;
	c->views = views;
	c->view = view;
	c->hints = &c->view->hints;
	c->log = log;
	c->round = c->view->recovery.max_round;
	c->max_size = max_size;
	c->threshold = WORTH;
}

void
compact_take_options(
    struct compaction *c, const struct kvlog_compact_options *options)
{
	c->all = (options->flags & KVLOG_COMPACT_ALL) != 0;
	if (options->threshold > 0)
		c->threshold = options->threshold;
	if (options->max_ms > 0)
		c->deadline_ns =
		    os->ticks_ns() + options->max_ms * UINT64_C(1000000);
	c->rate = options->rate;
	c->run_limit = options->run_bytes;
	c->progress = options->progress;
	c->arg = options->arg;
}

static void
set_paced(struct compaction *c, bool paced)
{
	views_lock(c->views);
	c->views->paced = paced;
	pthread_mutex_unlock(&c->views->lock);
}

/* A transaction that is open goes on to find what it would have found when it
 * began. */
static enum kvlog_status
set_time(struct compaction *c, struct kvlog_error *err)
{
	uint64_t latest_ms = UINT64_MAX;
	enum kvlog_status st = KVLOG_OK;

	if (c->log != NULL) {
		st = log_await_turn(c->log, err);
		if (st != KVLOG_OK)
			return st;
		latest_ms = control_owner_now(c->log->control);
	}
	c->now_ms = max_u64(min_u64(os->clock_ms(), latest_ms), c->set->now_ms);
	if (c->log != NULL)
		log_release_turn(c->log);
	return st;
}

/* What one that was stopped at any point has left, if it was beside writers
 * that went on: else the next opening has seen to it. */
static enum kvlog_status
begin(struct compaction *c, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	if (c->online)
		st = output_clean(c->log, &c->round, err);
	compaction_look_at_buckets(c);
	/* What is decided against must be durable before any output is, and
	 * what attests it before hints are written. */
	if (st == KVLOG_OK) /* each run is, too */
		st = c->online && c->only.last != 0 ? compaction_look(c, err)
						    : compaction_settle(c, err);
	if (st == KVLOG_OK)
		st = set_time(c, err);
	if (st != KVLOG_OK)
		return st;
	/* Who only looks does not lead the index over. */
	if (c->log != NULL)
		set_paced(c, true);
	for (size_t i = 0; i < c->set->count; i++)
		c->set->segments[i]->barred = false;
	c->stop = c->set->count - 1;
	if (c->upto != 0)
		c->stop = (size_t)min_u64(
		    c->stop, compaction_find(c->set, c->upto + 1, 1));
	measure(c);
	bar_damaged(c);
	return KVLOG_OK;
}

static void
end(struct compaction *c)
{
	if (c->log != NULL)
		set_paced(c, false);
	segset_destroy(c->set);
	c->set = NULL;
	bucket_set_fini(&c->buckets);
	memset(&c->buckets, 0, sizeof c->buckets);
	os->free(c->runs);
	c->runs = NULL;
}

enum kvlog_status
compact_store(struct compaction *c, struct kvlog_error *err)
{
	enum kvlog_status st = begin(c, err);
	bool active_settled = false, again, resized;

	if (st != KVLOG_OK) {
		end(c);
		return st;
	}
	do {
		unsigned barred = c->barred_count;
		uint32_t runs = c->report.run_count;

		resized = false;
		st = plan(c, &active_settled, err);
		if (st == KVLOG_OK)
			st = do_runs(c, &resized, err);
		/* Damage that was met: plan anew without it. */
		again = st == KVLOG_CORRUPT && c->barred_count > barred;
		if (resized || (st == KVLOG_OK && c->refused_count > 0 &&
				   c->report.run_count > runs)) {
			forget_refused(c);
			again = true;
		}
	} while (again);
	if (st == KVLOG_OK && c->refused_count > 0) {
		st = KVLOG_NOSPACE;
		if (err != NULL)
			*err = c->refusal;
	}
	end(c);
	return st;
}
