/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view.c - making views of a store, and keeping them up to date.
 *
 * Following the log needs nothing but the control page's position and the
 * files: the records up to it are applied to the index in their order, and
 * where a segment ends the next one's link says so.  The position is one word,
 * stored after the records it covers, so that a view is always that of a whole
 * commit, and a look-up that finds the position as applied has seen everything
 * published before it began.  Nobody waits for a reader, or knows of it.
 */
#include "config.h"

#include "view.h"

#include "load.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define RENEW_TRIES 100 /* while segments are replaced all the time */
#define VALID_TRIES 200 /* until a page that is being written is valid */
#define TRY_PAUSE_NS UINT64_C(1000000)
/* A look at the directory is worth its time if so many bytes are not hinted,
 * and not too often. */
#define UNHINTED_MIN (UINT64_C(256) << 10)
#define HINTS_PAUSE_NS UINT64_C(50000000)
#define OUTGROWN_BYTES (UINT64_C(1) << 20) /* of a table */
#define OUTGROWN_SHARE 4

int
views_init(struct views *views)
{
	if (epoch_create(&views->epoch) != 0)
		return ENOMEM;
	pthread_mutex_init(&views->lock, NULL);
	pthread_mutex_init(&views->gate, NULL);
	return 0;
}

void
views_fini(struct views *views)
{
	if (views->epoch == NULL)
		return;
	view_unref(atomic_load(&views->view));
	epoch_destroy(views->epoch);
	pthread_mutex_destroy(&views->lock);
	pthread_mutex_destroy(&views->gate);
	views->epoch = NULL;
}

void
views_queue(struct views *views)
{
	atomic_fetch_add(&views->waiting, 1);
	pthread_mutex_lock(&views->gate);
}

void
views_unqueue(struct views *views)
{
	pthread_mutex_unlock(&views->gate);
	atomic_fetch_sub(&views->waiting, 1);
}

/* Most commits are over before a thread sleeps and is woken. */
#define LOCK_TRIES 32

void
views_lock(struct views *views)
{
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (pthread_mutex_trylock(&views->lock) == 0)
			return;
		sched_yield();
	}
	views_queue(views);
	pthread_mutex_lock(&views->lock);
	views_unqueue(views);
}

/* Making */

struct view *
view_create(struct views *views)
{
	struct view *view = os->calloc(1, sizeof *view);

	if (view == NULL)
		return NULL;
	atomic_init(&view->refs, 1);
	atomic_init(&view->stamp, control_stamp(views->control));
	view->generation = control_generation(views->control);
	view->set = segset_create();
	if (view->set == NULL ||
	    hintset_init(&view->hints, view->set, NULL) != KVLOG_OK) {
		view_unref(view);
		return NULL;
	}
	view->hints.verify = views->index_mode != KVLOG_INDEX_HINTS;
	view->hints.go_on = views->go_on;
	view->hints.go_on_arg = views->go_on_arg;
	return view;
}

void
view_unref(struct view *view)
{
	if (view == NULL ||
	    atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) > 1)
		return;
	index_fini(&view->index);
	hintset_fini(&view->hints);
	segset_destroy(view->set);
	recovery_fini(&view->recovery);
	os->free(view);
}

static void
unref_retired(void *arg)
{
	view_unref(arg);
}

enum kvlog_status
view_load(struct views *views, struct view *view, struct kvlog_error *err)
{
	const struct recovery *r = &view->recovery;
	const struct segment_store *store =
	    &view->set->segments[0]->header.store;
	uint64_t start = os->ticks_ns();
	enum kvlog_status st;

	st = index_init(&view->index, views->epoch, view->set,
	    views->index_mode == KVLOG_INDEX_HINTS ? &view->hints : NULL,
	    store->secret, views->verify, err);
	if (st == KVLOG_OK)
		st = load_index(
		    &view->index, &view->hints, views->load_threads, err);
	if (st != KVLOG_OK)
		return st;
	views->load_ns = os->ticks_ns() - start;
	/* Threads hash with it before they look at a view. */
	if (atomic_load(&views->view) == NULL)
		memcpy(views->secret, store->secret, sizeof views->secret);
	atomic_store(&view->last_seq, r->last_seq);
	view->next_seq = r->first_seq;
	view->loaded_bytes = keydir_bytes(view->index.keydir);
	/* One that is ahead of the page cannot follow it. */
	view->follows = r->warm && !r->adopted;
	atomic_store(&view->applied, view->follows
					 ? r->state.position
					 : control_position(views->control));
	return KVLOG_OK;
}

void
view_use(struct views *views, struct view *view)
{
	struct view *old = atomic_exchange(&views->view, view);

	if (old != NULL)
		epoch_retire(views->epoch, &old->node, unref_retired, old);
	epoch_reclaim(views->epoch);
}

struct view *
view_hold(struct views *views)
{
	struct epoch_token token = epoch_enter(views->epoch);
	struct view *view = view_ref(atomic_load(&views->view));

	epoch_leave(views->epoch, token);
	return view;
}

/* Give a reference back that is not the last one. */
static bool
unref_shared(struct view *view)
{
	uint32_t refs = atomic_load(&view->refs);

	while (refs > 1)
		if (atomic_compare_exchange_weak_explicit(&view->refs, &refs,
			refs - 1, memory_order_release, memory_order_relaxed))
			return true;
	return false;
}

void
view_release(struct views *views, struct view *view)
{
	/* The one in use has the reference of the views: nothing is freed. */
	if (view == atomic_load(&views->view) && unref_shared(view))
		return;
	pthread_mutex_lock(&views->lock);
	view_unref(view);
	epoch_reclaim(views->epoch);
	pthread_mutex_unlock(&views->lock);
}

/* Following */

static struct segment *
last_segment(const struct view *view)
{
	return view->set->segments[view->set->count - 1];
}

/* Whether a segment that cannot be opened is not the one that was published.
 * Want of memory, descriptors or permission says nothing about the files. */
static bool
is_another(const struct kvlog_error *failure)
{
	return failure->status == KVLOG_CORRUPT ||
	       failure->status == KVLOG_VERSION || failure->sys_errno == ENOENT;
}

/* Open the segment behind the last one, if it is what it should be. */
static enum kvlog_status
open_next(struct views *views, const struct view *view, bool is_last,
    struct segment **ret_seg, bool *ret_stale, struct kvlog_error *err)
{
	const struct segment *last = last_segment(view);
	const struct file_id id = file_id_plain(segment_number(last) + 1);
	struct kvlog_error failure = {0};
	char name[DIR_NAME_LEN];
	struct segment *seg = NULL;
	enum kvlog_status st;

	dir_make_name(name, &id, "seg");
	st = segment_open_header(views->dir, name, &id, &seg, &failure);
	if (st == KVLOG_OK) {
		*ret_stale = !seg->link_ok ||
			     seg->link.prev_salt != segment_last_salt(last);
		if (!*ret_stale && is_last && views->writable)
			st = segment_share_writing(seg, views->dir, &failure);
		else if (!*ret_stale)
			st = segment_map(seg, &failure);
	} else {
		*ret_stale = is_another(&failure);
	}
	if (st == KVLOG_OK && !*ret_stale) {
		*ret_seg = seg;
		return KVLOG_OK;
	}
	segment_close(seg);
	if (*ret_stale)
		return KVLOG_OK;
	if (err != NULL)
		*err = failure;
	return st;
}

static enum kvlog_status
apply_record(struct view *view, const struct segment *seg, uint64_t off,
    const struct record *rec, struct kvlog_error *err)
{
	struct index *index = &view->index;
	uint64_t hash = hint_hash(seg, rec);
	struct epoch_token token;
	enum kvlog_status st;

	if ((rec->type != RECORD_PUT && rec->type != RECORD_DELETE) ||
	    (rec->flags & RECORD_BUCKET) != 0)
		return KVLOG_OK;
	st = index_reserve(index, &hash, 1, err);
	if (st != KVLOG_OK)
		return st;
	token = epoch_enter(index->epoch);
	st = index_set(index, hash, rec->key, rec->key_len,
	    segset_loc(seg, off), rec->type == RECORD_DELETE);
	epoch_leave(index->epoch, token);
	return st;
}

/* Of so many records what the index has is fetched together. */
#define AHEAD 16u

/* Do so for those at off, which are not verified yet; where this ends. */
static uint64_t
look_ahead(const struct view *view, const struct segment *seg, uint64_t off,
    uint64_t to)
{
	uint64_t hashes[AHEAD];
	struct record rec;
	size_t count = 0;

	while (count < AHEAD && off < to &&
	       record_parse(seg->map.addr + off, to - off, &rec)) {
		hashes[count++] = hint_hash(seg, &rec);
		off += rec.size;
	}
	index_prefetch(&view->index, hashes, count);
	return off;
}

/* Apply the records of the last segment up to an offset. */
static enum kvlog_status
apply_records(
    struct view *view, uint64_t to, bool *ret_stale, struct kvlog_error *err)
{
	struct segment *seg = last_segment(view);
	uint64_t off = control_pos_off(atomic_load(&view->applied));
	enum kvlog_status st = segment_map(seg, err);
	uint64_t commit_off = off, ahead = off;
	struct record rec;
	bool bad = false, in_batch = false;

	if (st != KVLOG_OK)
		return st;
	if (to < off || to > segment_limit(seg)) {
		*ret_stale = true;
		return KVLOG_OK;
	}
	atomic_store_explicit(&seg->end, to, memory_order_release);
	while (segment_walk(seg, &off, to, &rec, &bad)) {
		bool more = (rec.flags & RECORD_MORE) != 0;

		if (off >= ahead)
			ahead = look_ahead(view, seg, off, to);
		if ((rec.flags & RECORD_CONT) == 0)
			commit_off = off;
		if (more && !in_batch)
			index_begin_batch(&view->index);
		in_batch = in_batch || more;
		st = apply_record(view, seg, off, &rec, err);
		if (st != KVLOG_OK)
			break;
		if (in_batch && !more) {
			index_end_batch(&view->index);
			in_batch = false;
		}
		off += rec.size;
		view->evidence =
		    max_u64(view->evidence, record_attests(rec.seq, rec.lag));
		if (rec.type == RECORD_MARK)
			continue;
		view->next_seq = rec.seq + 1;
		atomic_store_explicit(
		    &view->last_seq, rec.seq, memory_order_release);
	}
	if (in_batch) { /* all of it again, the next time */
		index_end_batch(&view->index);
		off = commit_off;
	}
	epoch_reclaim(view->index.epoch);
	*ret_stale = bad;
	atomic_store_explicit(&view->applied,
	    control_pos(segment_number(seg), off), memory_order_release);
	return st;
}

void
view_seal(
    struct view *view, struct segment *seg, const struct segment_link *link)
{
	if (seg->header.kind == SEGMENT_PLAIN)
		seg->last_seq = link->prev_last_seq;
	seg->evidence = view->evidence;
	if (seg->map.writable) /* INV-1 */
		(void)os->protect(&seg->map);
	/* Of a store that does not fit into memory a look-up wants a page, and
	 * not thirty-two; of large records it wants all. */
	if (atomic_load(&seg->mapped) == SEGMENT_MAPPED && !seg->huge)
		os->advise(&seg->map, 0, seg->map.len, OS_ADVICE_RANDOM);
	if (link->durable)
		view->evidence = max_u64(view->evidence, link->first_seq - 1);
	view->next_seq = max_u64(view->next_seq, link->first_seq);
}

/* The next segment is the last one from now on. */
static enum kvlog_status
add_next(struct view *view, struct segment *next, struct kvlog_error *err)
{
	struct segment *old = last_segment(view);
	enum kvlog_status st = segset_add(view->set, next, err);

	if (st != KVLOG_OK)
		return st;
	view_seal(view, old, &next->link);
	if (!next->map.writable)
		segment_close_fd(next);
	atomic_store_explicit(&view->applied,
	    control_pos(segment_number(next), SEGMENT_DATA_OFF),
	    memory_order_release);
	return KVLOG_OK;
}

/* Go over to the segment behind the last one. */
static enum kvlog_status
follow_over(struct views *views, struct view *view, bool is_last,
    bool *ret_stale, struct kvlog_error *err)
{
	struct segment *next = NULL;
	enum kvlog_status st =
	    open_next(views, view, is_last, &next, ret_stale, err);

	if (st == KVLOG_OK && !*ret_stale &&
	    last_segment(view)->header.kind == SEGMENT_PLAIN)
		st = apply_records(view, next->link.prev_end, ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale)
		st = add_next(view, next, err);
	if (st != KVLOG_OK || *ret_stale)
		segment_close(next);
	return st;
}

enum kvlog_status
view_follow(struct views *views, struct view *view, bool *ret_stale,
    struct kvlog_error *err)
{
	uint64_t to = control_position(views->control);
	enum kvlog_status st = KVLOG_OK;

	*ret_stale = false;
	while (st == KVLOG_OK && !*ret_stale &&
	       atomic_load(&view->applied) != to) {
		uint32_t number = segment_number(last_segment(view));
		uint32_t goal = control_pos_segment(to);

		if (goal == number)
			st = apply_records(
			    view, control_pos_off(to), ret_stale, err);
		else if (goal > number)
			st = follow_over(
			    views, view, goal == number + 1, ret_stale, err);
		else
			*ret_stale = true;
	}
	return st;
}

/* Hints of others */

/* Whether so many bytes are in no hint. */
static bool
is_unhinted(const struct view *view, uint64_t least)
{
	uint64_t bytes = 0;

	for (size_t i = view->set->count; i > 0 && bytes < least; i--) {
		const struct segment *seg = view->set->segments[i - 1];
		uint64_t from =
		    max_u64(SEGMENT_DATA_OFF, atomic_load(&seg->hinted_to));

		if (from == segment_end(seg))
			return false; /* nor are there more before it */
		bytes += segment_end(seg) - min_u64(from, segment_end(seg));
	}
	return bytes >= least;
}

void
view_adopt_hints(struct views *views, struct view *view)
{
	uint64_t now;

	if (!is_unhinted(view, UNHINTED_MIN) || !view->follows ||
	    (views->writable && !views->control->shared))
		return;
	now = os->ticks_ns();
	if (now - view->hints_ns < HINTS_PAUSE_NS)
		return;
	view->hints_ns = now;
	hintset_adopt(&view->hints, views->dir);
}

/* Refreshing */

/* Wait until nobody is writing the page anew; false: it is stale. */
static bool
settle(const struct control *control)
{
	struct control_state state;

	for (unsigned i = 0; i < VALID_TRIES; i++) {
		if (control_read(control, &state))
			return true;
		if (!control_writer_lives(control))
			break;
		os->sleep_ns(TRY_PAUSE_NS);
	}
	return control_read(control, &state);
}

/* Apply what is new.  A writer that closed or opened the store changes the
 * page, and nothing that is shown here. */
static enum kvlog_status
catch_up(struct views *views, struct view *view, bool *ret_stale,
    struct kvlog_error *err)
{
	uint64_t stamp = control_stamp(views->control);
	enum kvlog_status st;

	if (stamp != atomic_load(&view->stamp)) {
		*ret_stale = !view->follows || !settle(views->control);
		stamp = control_stamp(views->control);
		/* Behind the stamp, which is to be of this one. */
		*ret_stale = *ret_stale || control_generation(views->control) !=
					       view->generation;
		if (*ret_stale)
			return KVLOG_OK;
	}
	if (!view->follows) { /* its page is stale, and does not move */
		*ret_stale = atomic_load(&view->applied) !=
			     control_position(views->control);
		return KVLOG_OK;
	}
	st = view_follow(views, view, ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale)
		atomic_store(&view->stamp, stamp);
	return st;
}

/* In hints mode a reader that follows for long has entries in its table for
 * all that was written since.  When hints cover that, a new view needs none. */
static bool
is_outgrown(struct views *views, struct view *view)
{
	uint64_t bytes = keydir_bytes(view->index.keydir);

	if (views->writable || view->index.hints == NULL || !view->follows ||
	    bytes < view->loaded_bytes + OUTGROWN_BYTES)
		return false;
	view_adopt_hints(views, view);
	/* Records take many times the bytes of their entries. */
	return !is_unhinted(
	    view, OUTGROWN_SHARE * (bytes - view->loaded_bytes));
}

/* Begin a new view.  While segments are being replaced, files that were just
 * listed may be gone. */
static enum kvlog_status
renew(struct views *views, struct kvlog_error *err)
{
	for (unsigned i = 0;; i++) {
		struct kvlog_error failure = {0};
		struct view *view = view_create(views);
		enum kvlog_status st;
		bool moved;

		if (view == NULL)
			return err_set(
			    err, KVLOG_NOMEM, 0, "open %s", views->dir->path);
		st = recover_find(views->dir, views->control, &view->hints,
		    &view->recovery, &failure);
		if (st == KVLOG_OK)
			st = view_load(views, view, &failure);
		if (st == KVLOG_OK) {
			file_list_fini(&view->recovery.files);
			view_use(views, view);
			return KVLOG_OK;
		}
		moved = view->stamp != control_stamp(views->control);
		view_unref(view);
		if (!moved || i == RENEW_TRIES) {
			if (err != NULL)
				*err = failure;
			return st;
		}
	}
}

enum kvlog_status
views_look(struct views *views)
{
	atomic_store_explicit(
	    &views->looked_ns, os->coarse_ns(), memory_order_relaxed);
	if (control_is_superseded(views->control, views->dir))
		atomic_store(&views->superseded, true);
	return atomic_load(&views->superseded) ? KVLOG_BROKEN : KVLOG_OK;
}

enum kvlog_status
views_refresh(struct views *views, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	pthread_mutex_lock(&views->lock);
	for (unsigned i = 0; st == KVLOG_OK && i < RENEW_TRIES; i++) {
		struct view *view = atomic_load(&views->view);
		bool stale = view == NULL;

		if (!stale && view_is_current(views, view))
			break;
		if (!stale)
			st = catch_up(views, view, &stale, err);
		if (st == KVLOG_OK && !stale)
			stale = is_outgrown(views, view);
		if (st != KVLOG_OK || !stale)
			break;
		/* A writer's view is its log. */
		if (views->writable && view != NULL)
			st = err_set(err, KVLOG_BROKEN, 0,
			    "the segments of %s were replaced while it was "
			    "open for writing; close it and run kvlog-verify",
			    views->dir->path);
		else
			st = renew(views, err);
	}
	pthread_mutex_unlock(&views->lock);
	return st;
}
