/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snapshot.c - looking at an earlier state.
 *
 * Numbers of commits grow, and records never change: if the newest record of a
 * key is of a commit that the snapshot shows, it is the snapshot's, too.  So
 * the present index answers for all keys that nobody has written since, unless
 * their bucket was dropped, and it keeps no history: writers do nothing for
 * snapshots.
 *
 * For the others the state of then is looked at.  When a snapshot is taken, the
 * hints of all segments are noted, and how far the log goes that no hint
 * covers; of that, images are made when a key is first asked for that needs
 * them, or a walk begins.  They are searched as the hints of a store without an
 * index in memory are: the newest first (INV-6).
 */
#include "config.h"

#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

/* Taking */

/* Of what is not mapped now, the file may be gone when it is wanted. */
static enum kvlog_status
map_all(const struct snapshot *snap, struct kvlog_error *err)
{
	const struct hint_cover *cover = &snap->cover;
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < cover->count; i++) {
		const struct hint *hint = cover->hints[i];
		const struct hint_source *sources =
		    hint != NULL ? hint->sources : &cover->gaps[i];
		size_t count = hint != NULL ? hint->source_count : 1;

		for (size_t k = 0; k < count && st == KVLOG_OK; k++)
			st = segment_map(sources[k].seg, err);
	}
	return st;
}

/* With the views' lock held: all that is applied, and nothing else. */
static enum kvlog_status
note_state(struct snapshot *snap, struct kvlog_error *err)
{
	struct view *view = snap->view;

	snap->seq = atomic_load(&view->last_seq);
	snap->now_ms = view_now_ms(view);
	return hintset_cover_all(&view->hints, &snap->cover, err);
}

static void
enlist(struct snapshot *snap)
{
	struct store *store = snap->store;

	snap->next = store->snapshots;
	snap->link = &store->snapshots;
	if (snap->next != NULL)
		snap->next->link = &snap->next;
	store->snapshots = snap;
}

/* *ret_again: segments were replaced before they could be mapped. */
static enum kvlog_status
take(struct store *store, struct snapshot **ret_snap, bool *ret_again,
    struct kvlog_error *err)
{
	struct snapshot *snap = os->calloc(1, sizeof *snap);
	struct views *views = &store->views;
	enum kvlog_status st;
	uint64_t stamp;

	*ret_again = false;
	if (snap == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "take a snapshot");
	snap->store = store;
	/* Before the view is looked at: what it has stays mapped. */
	snap->token = epoch_enter(views->pins);
	st = store_keep_view(store, &snap->view);
	if (st != KVLOG_OK) {
		epoch_leave(views->pins, snap->token);
		os->free(snap);
		return err_set(err, st, 0, "look at %s", store->dir.path);
	}
	stamp = view_stamp(snap->view);
	views_enter(views);
	view_adopt_hints(views, snap->view);
	st = note_state(snap, err);
	enlist(snap);
	pthread_mutex_unlock(&views->lock);
	if (st == KVLOG_OK)
		st = map_all(snap, err);
	*ret_again = store_may_try_again(store, st, snap->view, stamp);
	if (st != KVLOG_OK) {
		snapshot_release(snap);
		return st;
	}
	*ret_snap = snap;
	return KVLOG_OK;
}

enum kvlog_status
snapshot_take(
    struct store *store, struct snapshot **ret_snap, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st;
	bool again;

	do {
		st = take(store, ret_snap, &again, &failure);
	} while (again);
	if (st != KVLOG_OK && err != NULL)
		*err = failure;
	return st;
}

void
snapshot_release(struct snapshot *snap)
{
	struct views *views;

	if (snap == NULL)
		return;
	views = &snap->store->views;
	/* In a forked child, a thread that is not there may hold a lock. */
	if (store_is_forked(snap->store)) {
		os->free(snap);
		return;
	}
	views_enter(views);
	*snap->link = snap->next;
	if (snap->next != NULL)
		snap->next->link = snap->link;
	pthread_mutex_unlock(&views->lock);
	hint_cover_fini(&snap->cover);
	epoch_leave(views->pins, snap->token);
	views_reclaim(views);
	view_release(views, snap->view);
	os->free(snap);
}

/* Looking */

/* The images of what no hint covers. */
static enum kvlog_status
build(struct snapshot *snap)
{
	const struct hint_cover *cover = &snap->cover;
	uint64_t bytes = 0;
	enum kvlog_status st;

	if (snap->built)
		return KVLOG_OK;
	st = hint_cover_build(&snap->cover, true, NULL);
	if (st != KVLOG_OK)
		return st;
	for (size_t i = 0; i < cover->count; i++)
		if (cover->gaps[i].seg != NULL)
			bytes += cover->hints[i]->len;
	atomic_store(&snap->image_bytes, bytes);
	snap->built = true;
	return KVLOG_OK;
}

/* The newest record of key, if that is an old one already; false: it is not,
 * and the present index cannot tell.  Nor can it of a bucket that was dropped
 * since: compaction may have left an older record and taken the newest. */
static bool
find_unchanged(struct snapshot *snap, struct bucket_handle *bucket,
    uint64_t hash, const struct hint_key *key, struct index_ref *ret_ref)
{
	struct index *index = &snap->view->index;
	struct epoch_token token = epoch_enter(snap->store->views.epoch);
	enum kvlog_status st = index_find(index, hash, key, ret_ref, NULL);

	st = bucket_confirm(snap->view, bucket, st);
	epoch_leave(snap->store->views.epoch, token);
	return st == KVLOG_OK && ret_ref->rec.seq <= snap->seq;
}

/* An image in the place of a hint that turns out to be damaged. */
static enum kvlog_status
mend_hint(struct snapshot *snap, struct hint **hint)
{
	struct hint *damaged = *hint, *image;
	struct hint_damage hurt;
	enum kvlog_status st = hint_build_around(
	    damaged->sources, damaged->source_count, &image, &hurt, NULL);

	if (st != KVLOG_OK)
		return st;
	image->hurt = hurt;
	views_enter(&snap->store->views); /* costs may be counted */
	*hint = image;
	pthread_mutex_unlock(&snap->store->views.lock);
	hint_unref(damaged);
	return KVLOG_OK;
}

/* What the state of then has. */
static enum kvlog_status
find_then(struct snapshot *snap, uint64_t hash, const struct hint_key *key,
    struct index_ref *ret_ref)
{
	struct hint_cover *cover = &snap->cover;
	enum kvlog_status st = build(snap);

	if (st != KVLOG_OK)
		return st;
	st = KVLOG_NOTFOUND;
	for (size_t i = cover->count; i > 0 && st == KVLOG_NOTFOUND; i--) {
		struct hint **hint = &cover->hints[i - 1];
		bool unsound = false;

		st = index_find_in_hint(&snap->view->index, *hint, hash, key,
		    ret_ref, &unsound, NULL);
		if (!unsound)
			continue;
		st = mend_hint(snap, hint);
		if (st == KVLOG_OK)
			st = index_find_in_hint(&snap->view->index, *hint, hash,
			    key, ret_ref, &unsound, NULL);
	}
	if (st == KVLOG_OK && ret_ref->rec.type != RECORD_PUT)
		st = KVLOG_NOTFOUND;
	return st;
}

enum kvlog_status
snapshot_find(struct snapshot *snap, struct bucket_handle *bucket,
    const struct hint_key *key, bool with_value, struct index_ref *ret_ref)
{
	uint64_t hash = hint_key_hash(snap->store->views.secret, key);
	enum kvlog_status st = KVLOG_OK;

	if (!find_unchanged(snap, bucket, hash, key, ret_ref))
		st = find_then(snap, hash, key, ret_ref);
	if (st != KVLOG_OK)
		return st;
	return view_judge(snap->view, ret_ref,
	    record_has_expired(&ret_ref->rec, snap->now_ms), with_value);
}

enum kvlog_status
snapshot_has_bucket(struct snapshot *snap, const struct bucket_handle *bucket,
    struct index_ref *ret_ref)
{
	const struct hint_key key =
	    bucket_name_key(bucket->name, bucket->name_len);
	struct bucket_id id;
	enum kvlog_status st;

	if (snap->seen.seq == bucket->id.seq &&
	    snap->seen.ordinal == bucket->id.ordinal)
		return KVLOG_OK;
	st = snapshot_find(snap, NULL, &key, true, ret_ref);
	if (st == KVLOG_NOTFOUND)
		return KVLOG_NOBUCKET;
	if (st != KVLOG_OK)
		return st;
	if (!bucket_read_id(&ret_ref->rec, &id))
		return KVLOG_CORRUPT;
	if (id.seq != bucket->id.seq || id.ordinal != bucket->id.ordinal)
		return KVLOG_NOBUCKET;
	snap->seen = id;
	return KVLOG_OK;
}

enum kvlog_status
snapshot_cursor(struct snapshot *snap, const struct cursor_range *range,
    struct cursor **ret_cursor)
{
	struct cursor_range then = *range;
	enum kvlog_status st = build(snap);

	then.now_ms = snap->now_ms;
	return st == KVLOG_OK ? cursor_create(snap->cover.hints,
				    snap->cover.count, &then, ret_cursor)
			      : st;
}

/* Costs */

static int
compare_segments(const void *a, const void *b)
{
	const struct segment *const *x = a, *const *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Those of a cover that were replaced, at segs, if that is not NULL. */
static size_t
list_replaced(const struct hint_cover *cover, const struct segment **segs)
{
	size_t n = 0;

	for (size_t i = 0; i < cover->count; i++) {
		/* Images come while others look at this, gaps do not. */
		const struct hint_source *gap = &cover->gaps[i];
		const struct hint *hint =
		    gap->seg == NULL ? cover->hints[i] : NULL;
		const struct hint_source *sources =
		    hint != NULL ? hint->sources : gap;
		size_t count = hint != NULL ? hint->source_count : 1;

		for (size_t k = 0; k < count; k++) {
			if (!sources[k].seg->replaced)
				continue;
			if (segs != NULL)
				segs[n] = sources[k].seg;
			n++;
		}
	}
	return n;
}

/* Each once, as several may keep it. */
static uint64_t
add_sizes(const struct segment **segs, size_t count)
{
	uint64_t bytes = 0;

	qsort(segs, count, sizeof(*segs), compare_segments);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || segs[i] != segs[i - 1])
			bytes += segs[i]->file_len;
	return bytes;
}

enum kvlog_status
snapshot_count_costs(struct store *store, struct snapshot_costs *costs)
{
	const struct segment **segs = NULL;
	enum kvlog_status st = KVLOG_OK;
	size_t count = 0;

	memset(costs, 0, sizeof *costs);
	views_enter(&store->views);
	for (struct snapshot *s = store->snapshots; s != NULL; s = s->next) {
		costs->count++;
		costs->memory_bytes += atomic_load(&s->image_bytes);
		if (costs->oldest_seq == 0 || s->seq < costs->oldest_seq)
			costs->oldest_seq = s->seq;
		count += list_replaced(&s->cover, NULL);
	}
	if (count > 0) {
		segs = os->malloc(count * sizeof(*segs));
		if (segs == NULL)
			st = KVLOG_NOMEM;
	}
	count = 0;
	for (struct snapshot *s = store->snapshots; s != NULL && segs != NULL;
	     s = s->next)
		count += list_replaced(&s->cover, segs + count);
	/* Under the lock they are there. */
	if (segs != NULL)
		costs->file_bytes = add_sizes(segs, count);
	pthread_mutex_unlock(&store->views.lock);
	os->free(segs);
	return st;
}
