/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waste.c - estimating what is garbage by drop and expiry.
 *
 * A sealed segment's samples are entries of its hints at equal distances; of
 * the active one every n-th record is taken as it is passed, and when there is
 * no room half of them go and n doubles.
 */
#include "config.h"

#include "waste.h"

#define SAMPLES 64u

struct waste {
	/* Where records were passed one by one: up to here, and how many. */
	uint64_t off;
	uint64_t passed, stride;
	bool by_hint;
	bool forgotten;
	unsigned count;
	struct sample {
		uint64_t bucket_seq;
		uint32_t bucket_ordinal;
		uint64_t expiry_ms; /* 0: never */
		uint64_t size;
	} samples[]; /* room for SAMPLES; none if it has none of the kind */
};

static void
add_sample(struct waste *w, const struct record *rec)
{
	const bool expires =
	    rec->type == RECORD_PUT && (rec->flags & RECORD_EXPIRY) != 0;

	if (w->count == SAMPLES)
		return;
	w->samples[w->count++] = (struct sample){
	    .bucket_seq = rec->bucket_seq,
	    .bucket_ordinal = rec->bucket_ordinal,
	    .expiry_ms = expires ? rec->expiry_ms : 0,
	    .size = rec->size,
	};
}

/* The records behind those that were passed before. */
static void
pass_records(struct segment *seg, struct waste *w)
{
	const uint64_t to = segment_end(seg);
	struct record rec;
	bool bad;

	while (segment_walk(seg, &w->off, to, &rec, &bad)) {
		w->off += rec.size;
		if (rec.type == RECORD_MARK || w->passed++ % w->stride != 0)
			continue;
		if (w->count == SAMPLES) {
			for (unsigned i = 0; i < SAMPLES / 2; i++)
				w->samples[i] = w->samples[2 * i];
			w->count = SAMPLES / 2;
			w->stride *= 2;
			if ((w->passed - 1) % w->stride != 0)
				continue;
		}
		add_sample(w, &rec);
	}
}

static bool
is_wanted(const struct segset *set, size_t i)
{
	const struct segment *seg = set->segments[i];

	if (i + 1 == set->count)
		return true;
	if (seg->waste != NULL)
		return !seg->waste->by_hint;
	return atomic_load(&seg->hinted_to) >= segment_end(seg);
}

/* Segments that are to be looked at, held; NULL: out of memory. */
static struct segment **
take_wanted(struct views *views, const struct view *view, size_t *ret_count)
{
	const struct segset *set = view->set;
	struct segment **segs;
	size_t count = 0;

	views_lock(views);
	segs = os->malloc((set->count + 1) * sizeof(struct segment *));
	for (size_t i = 0; i < set->count && segs != NULL; i++)
		if (is_wanted(set, i))
			segs[count++] = segment_ref(set->segments[i]);
	pthread_mutex_unlock(&views->lock);
	*ret_count = count;
	return segs;
}

/* A hint that has entries of the kind gives each of its segments that has no
 * samples yet as many as there is room for. */
static void
sample_hint(const struct hint *hint)
{
	uint64_t count = SAMPLES * (uint64_t)hint->source_count;
	uint64_t stride = hint->entry_count / count + 1;
	struct hint_entry e;
	struct record rec;

	for (uint64_t n = 0; n < hint->entry_count; n += stride) {
		struct waste *w;

		if (!hint_get(hint, n, &e))
			continue;
		w = e.seg->waste;
		if (w != NULL && w->by_hint && w->passed == 0 &&
		    segment_map(e.seg, NULL) == KVLOG_OK && hint_read(&e, &rec))
			add_sample(w, &rec);
	}
}

static bool
is_odd(const struct hint *hint)
{
	return hint->bucket_count > 0 || hint->expiry_count > 0;
}

/* Once is enough. */
static void
end_sampling(struct segment *seg)
{
	struct waste *w = seg->waste;

	if (w == NULL || !w->by_hint)
		return;
	w->passed = 1;
	if (w->count > 0)
		return;
	w = os->realloc(w, sizeof *w);
	if (w != NULL)
		seg->waste = w;
}

bool
waste_sample(struct views *views, struct view *view, bool (*go_on)(void *arg),
    void *go_on_arg)
{
	size_t count;
	struct segment **segs = take_wanted(views, view, &count);
	struct hint_list *list;
	bool more = segs != NULL, fresh = false;

	for (size_t i = 0; i < count && more; i++) {
		struct segment *seg = segs[i];

		if (seg->waste == NULL) {
			seg->waste =
			    os->calloc(1, sizeof *seg->waste +
					      SAMPLES * sizeof(struct sample));
			if (seg->waste == NULL)
				break;
			seg->waste->off = SEGMENT_DATA_OFF;
			seg->waste->stride = 1;
			/* The last one is the active one. */
			seg->waste->by_hint = i + 1 < count;
			fresh |= seg->waste->by_hint;
		}
		if (!seg->waste->by_hint && segment_map(seg, NULL) == KVLOG_OK)
			pass_records(seg, seg->waste);
		more = go_on(go_on_arg);
	}
	if (fresh) {
		list = hint_list_get(&view->hints);
		for (size_t i = 0; i < list->count; i++)
			if (is_odd(list->hints[i]))
				sample_hint(list->hints[i]);
		hint_list_put(list);
	}
	for (size_t i = 0; i < count; i++) {
		end_sampling(segs[i]);
		segment_close(segs[i]);
	}
	os->free(segs);
	return more;
}

bool
waste_has_buckets(const struct segset *set)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct waste *w = set->segments[i]->waste;

		for (unsigned k = 0; w != NULL && k < w->count; k++)
			if (w->samples[k].bucket_seq != 0)
				return true;
	}
	return false;
}

static uint64_t
estimate(struct segment *seg, struct bucket_set *buckets, uint64_t now_ms)
{
	const struct waste *w = seg->waste;
	uint64_t next = UINT64_MAX;
	double all = 0, gone = 0;

	for (unsigned i = 0; i < w->count; i++) {
		const struct sample *s = &w->samples[i];
		const struct record rec = {.bucket_seq = s->bucket_seq,
		    .bucket_ordinal = s->bucket_ordinal};

		all += (double)s->size;
		if (!bucket_set_has(buckets, &rec) ||
		    (s->expiry_ms != 0 && s->expiry_ms <= now_ms))
			gone += (double)s->size;
		else if (s->expiry_ms != 0)
			next = min_u64(next, s->expiry_ms);
	}
	/* Of what counts still, so much does not. */
	if (gone > 0) {
		uint64_t bytes = segment_end(seg) - SEGMENT_DATA_OFF;

		bytes -= min_u64(bytes, atomic_load(&seg->dead));
		atomic_store(
		    &seg->wasted, (uint64_t)((double)bytes * gone / all));
	} else {
		atomic_store(&seg->wasted, 0);
	}
	return next;
}

uint64_t
waste_estimate(
    const struct segset *set, struct bucket_set *buckets, uint64_t now_ms)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < set->count; i++)
		if (set->segments[i]->waste != NULL &&
		    !set->segments[i]->waste->forgotten)
			next = min_u64(
			    next, estimate(set->segments[i], buckets, now_ms));
	return next;
}

void
waste_forget(struct segment *seg)
{
	atomic_store(&seg->wasted, 0);
	if (seg->waste != NULL)
		seg->waste->forgotten = true;
}
