/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact_run.c - which records of a run survive, and their way into an output.
 *
 * What counts is decided by a merge over hints, from the run's first segment
 * to the newest: the newest record of each key counts, and it survives if it
 * lies in the run.  What lies behind the run only hides (INV-6).  All that is
 * decided against is durable before (INV-7).
 *
 * A tombstone that counts goes only if nothing older can hold its key: the
 * hints of all segments before the run have no entry with its hash.  A record
 * that has expired is a tombstone.  Runs are done from the oldest to the
 * newest, so that a tombstone's key has gone from earlier ones before its turn
 * comes; those need not be asked again.
 *
 * Where an index in memory is at hand, it is asked instead: a record that it
 * leads to counts, and to look at one run costs no more than the run.  What
 * hides the others may have been written just now, and is made durable before
 * the output gets its names.  The entries that count are marked; the records of
 * the others are never read.
 *
 * A run is looked at twice, since files are made at their exact size: once to
 * add up what survives, which is also the forecast, once to copy it.  The order
 * of keys matters to the first look only if several files are made.
 */
#include "config.h"

#include "compact_run.h"

#include "merge.h"
#include "output.h"
#include "sync.h"

#include <inttypes.h>
#include <string.h>

/* Entries whose misses are waited for together. */
#define MARKED_TOGETHER 32
/* Of what must be garbage by estimate, such a part must go at last. */
#define WORTH_WEIGHED 2

struct job {
	struct compaction *c;
	const struct compact_run *run;
	size_t first, count; /* of its segments in the set */
	/* What may hold entries older than the run's. */
	bool older_unknown;
	struct hint_cover *older;
	size_t older_count;

	/* By the index: hints of the run, and a bit for each entry of each of
	 * them, whether it counts. */
	bool by_index;
	struct hint_cover cover;
	uint8_t **marks;
	bool weighed; /* each key came once, when they were marked */

	uint64_t input_count; /* records of the inputs, without marks */
	struct output_layout layout;
	uint64_t tombstones, expired; /* that are dropped */
	uint64_t dropped;             /* of dropped buckets */
	uint64_t changed;             /* expired ones that become tombstones */
	uint64_t latest_ms;           /* of the expiries that were judged */
	struct output *output;
	uint64_t copied;
	uint64_t bytes_before; /* done before it, of progress */
};

static bool
is_rewritten(const struct compaction *c, const struct segment *seg)
{
	const struct compact_run *run = compaction_run_of(c, seg);

	return run != NULL && run->rewritten && !c->sealed_late;
}

/*
 * The hints of what is older than the run, but for runs that were rewritten:
 * those hold nothing that something newer hides.
 */
static enum kvlog_status
find_older(struct job *j, struct kvlog_error *err)
{
	struct compaction *c = j->c;
	enum kvlog_status st = KVLOG_OK;
	size_t i = 0;

	j->older_unknown = compaction_stretch(c, 0) < j->first;
	if (j->older_unknown || j->first == 0)
		return KVLOG_OK;
	j->older = os->calloc(j->first, sizeof *j->older);
	if (j->older == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	while (i < j->first && st == KVLOG_OK) {
		size_t stop = i;

		while (
		    stop < j->first && !is_rewritten(c, c->set->segments[stop]))
			stop++;
		if (stop > i)
			st = compaction_cover(
			    c, i, stop, &j->older[j->older_count], err);
		if (stop > i && st == KVLOG_OK)
			j->older_count++;
		i = stop + 1;
	}
	return st;
}

/* Whether something older than the run may be hidden by a tombstone. */
static bool
may_hide(const struct job *j, const struct merge_entry *e)
{
	struct hint_key key = hint_key_of(&e->rec);

	if (j->older_unknown)
		return true;
	for (size_t i = 0; i < j->older_count; i++)
		for (size_t h = 0; h < j->older[i].count; h++) {
			struct hint_probe probe;
			struct hint_entry found;

			if (hint_find(j->older[i].hints[h], &key, e->hash,
				&probe, &found) ||
			    probe.damaged)
				return true;
		}
	return false;
}

static void
make_tombstone(struct record *rec)
{
	rec->type = RECORD_DELETE;
	rec->flags &= (uint8_t) ~(RECORD_EXPIRY | RECORD_CODEC);
	rec->value_len = 0;
	rec->size = record_size(rec->flags, rec->key_len, 0);
}

static bool
is_in_run(const struct job *j, const struct segment *seg)
{
	return seg->header.id.first >= j->run->first &&
	       seg->header.id.last <= j->run->last;
}

/* Whether something is left of a record that counts: *ret_rec. */
static bool
survives(
    const struct job *j, const struct merge_entry *e, struct record *ret_rec)
{
	*ret_rec = e->rec;
	/* What is older is of that bucket, too, and needs no tombstone. */
	if (compaction_dropped(j->c, &e->rec))
		return false;
	if (!compaction_tombstone(j->c, &e->rec))
		return true;
	if (!may_hide(j, e))
		return false;
	if (e->rec.type == RECORD_PUT)
		make_tombstone(ret_rec);
	return true;
}

bool
compact_may_ask_index(const struct compaction *c, const struct compact_run *run)
{
	bool may;

	static_assert(
	    COMPACT_ASKED_MAX / 8 / (RECORD_HEADER_SIZE + 1) < 10 << 20,
	    "one bit for each of the smallest records there are");
	if (run->bytes > COMPACT_ASKED_MAX)
		return false;

	views_lock(c->views);
	may = c->online && c->view->index.hints == NULL &&
	      c->view->takeovers == NULL && c->barred_count == 0;
	pthread_mutex_unlock(&c->views->lock);
	return may;
}

/* Whether no newer record of its key is known. */
static bool
is_newest(const struct job *j, const struct merge_entry *e)
{
	const struct hint_key key = hint_key_of(&e->rec);
	struct index *index = &j->c->view->index;
	struct epoch_token token = epoch_enter(index->epoch);
	struct index_ref ref;
	bool newest;

	/* A tombstone has no entry, but nothing has its key either. */
	if (e->rec.type == RECORD_DELETE)
		newest =
		    index_find(index, e->hash, &key, &ref, NULL) != KVLOG_OK;
	else
		newest = keydir_has(
		    index->keydir, e->hash, segset_loc(e->seg, e->off));
	epoch_leave(index->epoch, token);
	return newest;
}

/* The first look: what will the output be? */
static enum kvlog_status
weigh_entry(void *arg, const struct merge_entry *e, struct kvlog_error *err)
{
	struct job *j = arg;
	struct record rec;
	enum kvlog_status st;

	if (!is_in_run(j, e->seg))
		return KVLOG_OK;
	if (compaction_expired(j->c, &e->rec))
		j->latest_ms = max_u64(j->latest_ms, e->rec.expiry_ms);
	if (!survives(j, e, &rec)) {
		if (compaction_dropped(j->c, &e->rec))
			j->dropped++;
		else if (e->rec.type == RECORD_DELETE)
			j->tombstones++;
		else
			j->expired++;
		return KVLOG_OK;
	}
	j->changed += rec.type != e->rec.type;
	st = output_layout_add(&j->layout, rec.size, j->c->max_size);
	if (st != KVLOG_OK)
		return err_set(err, st, 0, "compact segments");
	return KVLOG_OK;
}

/* Marks */

/* Some entries of a hint that follow one another, and which of them count. */
struct marking {
	const struct hint *hint;
	size_t count;
	struct hint_entry entries[MARKED_TOGETHER];
	bool counts[MARKED_TOGETHER];
};

/* Of a put the index knows whether it counts. */
static void
ask_index(const struct job *j, struct marking *m)
{
	struct index *index = &j->c->view->index;
	struct epoch_token token = epoch_enter(index->epoch);
	uint64_t hashes[MARKED_TOGETHER];

	for (size_t i = 0; i < m->count; i++)
		hashes[i] = m->entries[i].hash;
	index_prefetch(index, hashes, m->count);
	for (size_t i = 0; i < m->count; i++) {
		const struct hint_entry *e = &m->entries[i];

		m->counts[i] =
		    e->type != RECORD_PUT || keydir_has(index->keydir, e->hash,
						 segset_loc(e->seg, e->off));
		if (m->counts[i])
			PREFETCH(e->seg->map.addr + e->off);
	}
	epoch_leave(index->epoch, token);
}

/* Of other records their keys tell; and all that count are weighed. */
static enum kvlog_status
read_marked(struct job *j, struct marking *m, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < m->count && st == KVLOG_OK; i++) {
		const struct hint_entry *h = &m->entries[i];
		struct merge_entry e = {
		    .seg = h->seg, .off = h->off, .hash = h->hash};

		if (!m->counts[i])
			continue;
		if (!hint_read(h, &e.rec))
			return compaction_damage(j->c, e.seg, e.off);
		if (h->type != RECORD_PUT) {
			/* Several tombstones of a key may. */
			j->weighed &= j->cover.count == 1;
			m->counts[i] = is_newest(j, &e);
		}
		if (m->counts[i])
			st = weigh_entry(j, &e, err);
	}
	return st;
}

static enum kvlog_status
mark_hint(struct job *j, const struct hint *hint, uint8_t *marks,
    struct kvlog_error *err)
{
	struct marking m = {.hint = hint};
	enum kvlog_status st = KVLOG_OK;

	for (uint64_t n = 0; n < hint->entry_count && st == KVLOG_OK;
	     n += m.count) {
		uint64_t left = hint->entry_count - n;

		m.count = (size_t)min_u64(MARKED_TOGETHER, left);
		for (size_t i = 0; i < m.count; i++)
			if (!hint_get(hint, n + i, &m.entries[i]))
				return err_set(err, KVLOG_IO, 0,
				    "hints of %s changed while they were read; "
				    "check the disk",
				    j->c->dir->path);
		ask_index(j, &m);
		st = read_marked(j, &m, err);
		for (size_t i = 0; i < m.count; i++)
			marks[(n + i) / 8] |=
			    (uint8_t)(m.counts[i] << (n + i) % 8);
		if (st == KVLOG_OK && n % COMPACTION_CHECK == 0)
			st = compaction_ask(j->c, err);
	}
	return st;
}

/* A damaged hint is replaced by an image. */
static enum kvlog_status
mend_hint(struct job *j, struct hint **hint, struct kvlog_error *err)
{
	struct hint *image;
	struct hint_damage damage;
	enum kvlog_status st;

	if (hint_verify(*hint))
		return KVLOG_OK;
	st = hint_build_around(
	    (*hint)->sources, (*hint)->source_count, &image, &damage, err);
	if (st != KVLOG_OK)
		return st;
	hint_unref(*hint);
	*hint = image;
	return damage.seg == NULL
		   ? KVLOG_OK
		   : compaction_damage(j->c, damage.seg, damage.off);
}

/* Which entries of the run count; weighs them on the way, in any order. */
static enum kvlog_status
mark_all(struct job *j, struct kvlog_error *err)
{
	struct hint_cover *cover = &j->cover;
	enum kvlog_status st =
	    compaction_cover(j->c, j->first, j->first + j->count, cover, err);

	if (st != KVLOG_OK)
		return st;
	j->marks = os->calloc(cover->count + 1, sizeof *j->marks);
	if (j->marks == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	j->weighed = true;
	for (size_t i = 0; i < cover->count && st == KVLOG_OK; i++) {
		st = mend_hint(j, &cover->hints[i], err);
		if (st != KVLOG_OK)
			break;
		j->marks[i] = os->calloc(
		    (size_t)(cover->hints[i]->entry_count / 8 + 1), 1);
		st = j->marks[i] != NULL
			 ? mark_hint(j, cover->hints[i], j->marks[i], err)
			 : err_set(err, KVLOG_NOMEM, 0, "compact segments");
	}
	return st;
}

static void
free_marks(struct job *j)
{
	for (size_t i = 0; j->marks != NULL && i < j->cover.count; i++)
		os->free(j->marks[i]);
	os->free(j->marks);
	hint_cover_fini(&j->cover);
}

/* Walk over what may count in the run, in order of keys. */
static enum kvlog_status
walk_run(struct job *j, size_t stop, compaction_fn *fn, struct kvlog_error *err)
{
	return j->by_index ? compaction_walk_cover(
				 j->c, &j->cover, j->marks, fn, j, err)
			   : compaction_walk(j->c, j->first, stop, fn, j, err);
}

/* The second look: make it.  Values are verified on the way. */
static enum kvlog_status
copy_entry(void *arg, const struct merge_entry *e, struct kvlog_error *err)
{
	struct job *j = arg;
	struct record rec;
	enum kvlog_status st;

	if (!is_in_run(j, e->seg))
		return KVLOG_OK;
	if (!survives(j, e, &rec))
		return KVLOG_OK;
	if (!record_value_ok(&e->rec, segment_seed(e->seg, e->off)))
		return compaction_damage(j->c, e->seg, e->off);
	j->copied++;
	j->c->done_bytes =
	    j->bytes_before +
	    (uint64_t)((double)j->run->bytes * (double)j->copied /
		       (double)j->layout.record_count);
	st = output_add(j->output, &rec, e->hash, err);
	return st == KVLOG_OK ? compaction_pace(j->c, rec.size, err) : st;
}

/*
 * Read the inputs from one end to the other: so that they are in memory when
 * they are copied, in another order; to count their records; and to see that
 * they can be understood.
 */
static enum kvlog_status
examine_inputs(struct job *j, struct kvlog_error *err)
{
	struct compaction *c = j->c;
	enum kvlog_status st;

	for (size_t i = j->first; i < j->first + j->count; i++) {
		struct segment *seg = c->set->segments[i];
		uint64_t off = SEGMENT_DATA_OFF, ahead = 0;
		struct record rec;
		bool bad;

		st = segment_map(seg, err);
		if (st != KVLOG_OK)
			return st;
		for (; segment_walk(seg, &off, segment_end(seg), &rec, &bad);
		     off += rec.size) {
			segment_fetch_ahead(seg, off, segment_end(seg), &ahead);
			if (rec.type == RECORD_MARK)
				continue;
			if (rec.type != RECORD_PUT &&
			    rec.type != RECORD_DELETE) {
				/* What is not known is not for us to judge. */
				compaction_bar(c, seg);
				return KVLOG_CORRUPT;
			}
			j->input_count++;
			if (j->input_count % COMPACTION_CHECK != 0)
				continue;
			st = compaction_ask(c, err);
			if (st != KVLOG_OK)
				return st;
		}
		if (bad)
			return compaction_damage(c, seg, off);
	}
	return KVLOG_OK;
}

/* Whether rewriting the run changes enough. */
static bool
is_worth_it(const struct job *j)
{
	const struct segment *seg = j->c->set->segments[j->first];
	uint64_t bytes = output_layout_bytes(&j->layout);

	if (j->c->only.last != 0 && !j->c->if_worth)
		return true;
	if (j->c->all)
		return seg->header.kind != SEGMENT_OUTPUT ||
		       j->count > seg->header.id.parts || j->changed > 0 ||
		       j->layout.record_count < j->input_count;
	return bytes < j->run->bytes &&
	       j->run->bytes - bytes >=
		   j->run->bytes * j->c->threshold / 100 / WORTH_WEIGHED;
}

static void
count_run(const struct job *j)
{
	const struct compaction *c = j->c;
	struct kvlog_compact_report *r = &j->c->report;
	uint64_t bytes = 0;

	if (c->log == NULL)
		bytes = output_layout_bytes(&j->layout);
	else
		for (size_t i = 0; i < j->layout.count; i++)
			bytes += c->set->segments[j->first + i]->file_len;

	r->run_count++;
	r->records_kept += j->layout.record_count;
	r->records_superseded += j->input_count - j->layout.record_count -
				 j->tombstones - j->expired;
	r->tombstones_dropped += j->tombstones;
	r->records_expired += j->expired;
	r->bytes_written += bytes;
	r->segments_after += j->layout.count;
	r->segments_after -= j->count;
	r->bytes_after += bytes;
	r->bytes_after -= j->run->bytes;
}

static enum kvlog_status
write_output(
    struct job *j, size_t stop, bool *ret_done, struct kvlog_error *err)
{
	struct compaction *c = j->c;
	struct output_plan plan = {
	    .set = c->set,
	    .expired = j->latest_ms > 0 || j->dropped > 0,
	    .online = c->online,
	    .first = j->first,
	    .count = j->count,
	    .round = c->round + 1,
	    .max_size = c->max_size,
	    .layout = &j->layout,
	};
	enum kvlog_status st, look_st;

	if (plan.round > DIR_SEGMENT_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "%s: no round is left for a compaction; dump the store "
		    "into a new one",
		    c->dir->path);
	c->round++;
	/* What has been judged by time stays judged. */
	for (size_t i = j->first; i < j->first + j->count; i++)
		plan.now_ms =
		    max_u64(plan.now_ms, c->set->segments[i]->header.now_ms);
	if (j->latest_ms > 0)
		plan.now_ms = c->now_ms;
	st = output_create(&j->output, c->log, &plan, err);
	if (st == KVLOG_OK)
		st = walk_run(j, stop, copy_entry, err);
	if (st == KVLOG_OK && j->by_index)
		st = log_sync_mark(c->log, err);
	/* From here on it cannot be ended. */
	if (st == KVLOG_OK)
		st = compaction_ask(c, err);
	if (st == KVLOG_OK)
		st = output_publish(j->output, ret_done, err);
	output_destroy(j->output);
	if (!*ret_done)
		return st;
	compaction_lead_over(c);
	look_st = compaction_look(c, st == KVLOG_OK ? err : NULL);
	if (look_st == KVLOG_OK)
		count_run(j);
	return st == KVLOG_OK ? look_st : st;
}

/* Disk space for an output and its hints, the latter about. */
static uint64_t
space_needed(const struct output_layout *l)
{
	return output_layout_bytes(l) + 12 * l->record_count +
	       2 * BLOCK_SIZE * (uint64_t)l->count;
}

static void
forget_weights(struct job *j)
{
	output_layout_fini(&j->layout);
	j->tombstones = j->expired = j->dropped = 0;
	j->changed = j->latest_ms = 0;
}

static enum kvlog_status
weigh(struct job *j, size_t stop, struct kvlog_error *err)
{
	enum kvlog_status st = examine_inputs(j, err);

	if (st == KVLOG_OK)
		st = find_older(j, err);
	if (st == KVLOG_OK && j->by_index)
		st = mark_all(j, err);
	/* Where a file ends, the order of keys decides. */
	if (st == KVLOG_OK &&
	    (!j->weighed || (j->layout.count > 1 && j->cover.count > 1))) {
		forget_weights(j);
		st = walk_run(j, stop, weigh_entry, err);
	}
	if (st == KVLOG_OK && output_layout_end(&j->layout) != KVLOG_OK)
		st = err_set(err, KVLOG_NOMEM, 0, "compact segments");
	return st;
}

enum kvlog_status
compact_rewrite(
    struct compaction *c, struct compact_run *run, struct kvlog_error *err)
{
	struct job j = {.c = c, .run = run, .bytes_before = c->done_bytes};
	enum kvlog_status st;
	size_t stop;

	j.first = compaction_find(c->set, run->first, 1);
	while (j.first + j.count < c->stop &&
	       is_in_run(&j, c->set->segments[j.first + j.count]))
		j.count++;
	j.by_index = compact_may_ask_index(c, run);
	stop = j.by_index ? j.first + j.count : compaction_stretch(c, j.first);
	st = weigh(&j, stop, err);
	if (st == KVLOG_OK && is_worth_it(&j)) {
		run->rewritten = c->log == NULL;
		if (c->log != NULL)
			st = write_output(&j, stop, &run->rewritten, err);
	}
	if (run->rewritten)
		c->report.temporary_bytes =
		    max_u64(c->report.temporary_bytes, space_needed(&j.layout));
	if (run->rewritten && c->log == NULL)
		count_run(&j);
	else if (run->rewritten)
		c->stop += j.layout.count - j.count;
	for (size_t i = 0; i < j.older_count; i++)
		hint_cover_fini(&j.older[i]);
	os->free(j.older);
	free_marks(&j);
	output_layout_fini(&j.layout);
	return st;
}
