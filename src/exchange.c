/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.c - from replaced segments to those in their place.
 *
 * An entry is moved if it leads to a record of that key in a segment that was
 * replaced.  Where it leads elsewhere, the key was written since, and what the
 * compaction has kept is history; where there is none, it was deleted since.
 *
 * What is left then has no record in the output: it was expired, or a deletion
 * with nothing left to hide.  Rarely is there any, so that the old segments
 * are read for it only if there may be.
 */
#include "config.h"

#include "exchange.h"

#include <string.h>

/* Records whose misses are waited for together. */
#define AHEAD 16u

/* A replaced segment on its way out. */
struct leaver {
	struct epoch_node node;
	struct segset *set;
	struct epoch *pins;
	struct segment *seg;
};

/* Where a walk over several segments has got to. */
struct place {
	size_t at;
	uint64_t off;
};

struct exchange {
	struct segset *set;
	size_t first;
	struct segment **gone;
	struct leaver **leavers; /* of them */
	size_t gone_count;
	struct segment **come; /* kept */
	size_t come_count;
	struct place moved, swept;
	bool swapped;
	bool expired; /* records were dropped that have expired */
	bool damaged; /* not all could be read */
};

/* Making */

static bool
allocate(struct exchange *x, size_t gone_count, size_t come_count)
{
	x->gone = os->calloc(gone_count + 1, sizeof(*x->gone));
	x->leavers = os->calloc(gone_count + 1, sizeof(*x->leavers));
	x->come = os->calloc(come_count, sizeof(*x->come));
	if (x->gone == NULL || x->leavers == NULL || x->come == NULL)
		return false;
	for (size_t i = 0; i < gone_count; i++) {
		x->leavers[i] = os->calloc(1, sizeof **x->leavers);
		if (x->leavers[i] == NULL)
			return false;
		x->gone_count++;
	}
	return true;
}

enum kvlog_status
exchange_create(struct exchange **ret_exchange, struct segset *set,
    size_t first, size_t old_count, struct segment *const *segs, size_t count,
    bool expired, struct kvlog_error *err)
{
	struct exchange *x = os->calloc(1, sizeof *x);
	enum kvlog_status st = KVLOG_OK;

	if (x == NULL || !allocate(x, old_count, count))
		st = err_set(err, KVLOG_NOMEM, 0, "take segments in");
	if (st == KVLOG_OK)
		st = segset_place(set, segs, count, err);
	if (st != KVLOG_OK) {
		exchange_destroy(x);
		return st;
	}
	x->set = set;
	x->first = first;
	for (size_t i = 0; i < old_count; i++)
		x->gone[i] = set->segments[first + i];
	for (size_t i = 0; i < count; i++)
		x->come[i] = segment_ref(segs[i]);
	x->come_count = count;
	x->expired = expired;
	x->moved.off = x->swept.off = SEGMENT_DATA_OFF;
	*ret_exchange = x;
	return KVLOG_OK;
}

void
exchange_destroy(struct exchange *x)
{
	if (x == NULL)
		return;
	if (!x->swapped && x->come_count > 0)
		segset_unplace(x->set, x->come, x->come_count);
	for (size_t i = 0; i < x->come_count; i++)
		segment_close(x->come[i]);
	for (size_t i = 0; i < x->gone_count; i++) {
		if (x->swapped)
			segment_close(x->gone[i]);
		os->free(x->leavers[i]);
	}
	os->free(x->gone);
	os->free(x->leavers);
	os->free(x->come);
	os->free(x);
}

void
exchange_swap(struct exchange *x)
{
	for (size_t i = 0; i < x->gone_count; i++)
		x->gone[i]->replaced = true;
	segset_replace(x->set, x->first, x->gone_count, x->come, x->come_count);
	x->swapped = true;
}

/* Walking */

static bool
is_keyed(const struct record *rec)
{
	return rec->type == RECORD_PUT || rec->type == RECORD_DELETE;
}

/* The next record of the segments; false behind the last one.  Damage ends a
 * segment. */
static bool
next_record(struct segment *const *segs, size_t count, struct place *p,
    struct record *ret_rec, bool *ret_bad)
{
	for (; p->at < count; p->at++, p->off = SEGMENT_DATA_OFF) {
		const struct segment *seg = segs[p->at];
		bool bad;

		/* To one that was never mapped nothing leads. */
		if (atomic_load(&seg->mapped) != SEGMENT_MAPPED)
			continue;
		if (segment_walk(seg, &p->off, segment_end(seg), ret_rec, &bad))
			return true;
		*ret_bad |= bad;
	}
	return false;
}

/* Fetch what the index has of the records that follow. */
static void
look_ahead(const struct index *index, const struct segment *seg, uint64_t off)
{
	uint64_t hashes[AHEAD];
	struct record rec;
	size_t count = 0;

	while (count < AHEAD && segment_parse(seg, off, &rec)) {
		hashes[count++] = hint_hash(seg, &rec);
		off += rec.size;
	}
	index_prefetch(index, hashes, count);
}

/* Moving */

static void
move_record(struct exchange *x, struct index *index, struct segment *seg,
    uint64_t off, const struct record *rec)
{
	switch (
	    index_move(index, hint_hash(seg, rec), rec, segset_loc(seg, off))) {
	case INDEX_MOVED:
		break;
	case INDEX_ELSEWHERE: /* replaced meanwhile, if all are there */
		if (index->hints == NULL && rec->type == RECORD_PUT)
			atomic_fetch_add(&seg->dead, rec->size);
		break;
	case INDEX_DAMAGED:
		x->damaged = true;
		break;
	}
}

bool
exchange_move(struct exchange *x, struct index *index, size_t records)
{
	struct place *p = &x->moved;
	struct record rec;
	bool bad = false;

	/* Where hints are searched they lead to what has come, and the sweep
	 * takes out what leads to what has gone. */
	if (keydir_count(index->keydir) == 0 || index->hints != NULL)
		p->at = x->come_count;
	for (size_t n = 0; n < records; n++) {
		struct segment *seg;

		if (!next_record(x->come, x->come_count, p, &rec, &bad)) {
			x->damaged |= bad;
			return false;
		}
		x->damaged |= bad;
		seg = x->come[p->at];
		if (n % AHEAD == 0)
			look_ahead(index, seg, p->off);
		if (is_keyed(&rec))
			move_record(x, index, seg, p->off, &rec);
		p->off += rec.size;
	}
	return true;
}

enum kvlog_status
exchange_apply(struct exchange *x, struct index *index, bool *ret_bad,
    struct kvlog_error *err)
{
	struct place p = {0, SEGMENT_DATA_OFF};
	enum kvlog_status st = KVLOG_OK;
	struct record rec;

	*ret_bad = false;
	index_begin_batch(index);
	for (size_t n = 0;
	     st == KVLOG_OK &&
	     next_record(x->come, x->come_count, &p, &rec, ret_bad) &&
	     !*ret_bad;
	     n++) {
		const struct segment *seg = x->come[p.at];
		const struct hint_key key = hint_key_of(&rec);
		uint64_t hash = hint_hash(seg, &rec);

		if (n % AHEAD == 0)
			look_ahead(index, seg, p.off);
		if (is_keyed(&rec)) {
			st = index_reserve(index, &hash, 1, err);
			if (st == KVLOG_OK)
				st = index_set(index, hash, &key,
				    segset_loc(seg, p.off),
				    rec.type == RECORD_DELETE);
		}
		p.off += rec.size;
	}
	index_end_batch(index);
	if (st == KVLOG_OK && !*ret_bad)
		x->moved.at = x->come_count;
	return st;
}

bool
exchange_sweep(struct exchange *x, struct index *index, size_t records)
{
	struct place *p = &x->swept;
	struct record rec;
	bool bad = false;

	/* Tombstones have entries where hints are searched, too, or before a
	 * damaged record. */
	if (keydir_count(index->keydir) == 0 ||
	    (!x->expired && index->hints == NULL &&
		atomic_load(&index->tombstones) == 0))
		return false;
	for (size_t n = 0; n < records; n++) {
		const struct segment *seg;
		bool more = next_record(x->gone, x->gone_count, p, &rec, &bad);

		x->damaged |= bad;
		if (!more)
			return false;
		seg = x->gone[p->at];
		if (n % AHEAD == 0)
			look_ahead(index, seg, p->off);
		if (is_keyed(&rec))
			(void)index_remove(index, hint_hash(seg, &rec),
			    segset_loc(seg, p->off));
		p->off += rec.size;
	}
	return true;
}

/* Leaving */

static void
close_segment(void *arg)
{
	struct leaver *leaver = arg;

	segment_close(leaver->seg);
	os->free(leaver);
}

/* No look-up has a location of it any more; a pin may look at values. */
static void
leave_index(void *arg)
{
	struct leaver *leaver = arg;
	struct epoch *pins = leaver->pins;

	segset_forget(leaver->set, leaver->seg);
	epoch_retire(pins, &leaver->node, close_segment, leaver);
	epoch_reclaim(pins);
}

bool
exchange_end(struct exchange *x, struct epoch *epoch, struct epoch *pins)
{
	if (x->damaged)
		return false;
	for (size_t i = 0; i < x->gone_count; i++) {
		struct leaver *leaver = x->leavers[i];

		leaver->set = x->set;
		leaver->pins = pins;
		leaver->seg = x->gone[i];
		epoch_retire(epoch, &leaver->node, leave_index, leaver);
	}
	x->gone_count = 0;
	exchange_destroy(x);
	epoch_reclaim(epoch);
	return true;
}
