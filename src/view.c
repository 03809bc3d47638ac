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

#include "exchange.h"
#include "load.h"

#include <errno.h>
#include <string.h>

#define RENEW_TRIES 100   /* while segments are replaced all the time ... */
#define PATIENT_TRIES 900 /* ... and more of them, with a pause */
#define VALID_TRIES 200   /* until a page that is being written is valid */
#define TRY_PAUSE_NS UINT64_C(1000000)
/* A look at the directory is worth its time if so many bytes are not hinted,
 * and not too often. */
#define UNHINTED_MIN (UINT64_C(256) << 10)
#define HINTS_PAUSE_NS UINT64_C(50000000)
/* With so many, another process may have merged them, if they are not new. */
#define HINTS_MANY 4
#define MERGED_PAUSE_NS UINT64_C(1000000000)
#define OUTGROWN_BYTES (UINT64_C(1) << 20) /* of a table */
#define OUTGROWN_SHARE 4

int
views_init(struct views *views)
{
	if (epoch_create(&views->epoch) != 0)
		return ENOMEM;
	if (epoch_create(&views->pins) != 0) {
		epoch_destroy(views->epoch);
		views->epoch = NULL;
		return ENOMEM;
	}
	pthread_mutex_init(&views->lock, NULL);
	pthread_mutex_init(&views->gate, NULL);
	return 0;
}

void
views_fini(struct views *views)
{
	if (views->epoch == NULL)
		return;
	epoch_reclaim(views->epoch); /* what leaves a view, before it */
	view_unref(atomic_load(&views->view));
	epoch_destroy(views->epoch);
	epoch_destroy(views->pins);
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

/* Most commits are over before a thread sleeps and is woken.  Who yields the
 * processor instead, waits on a busy machine for all others that want it. */
#define LOCK_TRIES 64

void
views_lock(struct views *views)
{
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (pthread_mutex_trylock(&views->lock) == 0) {
			views_finish(views);
			return;
		}
		cpu_pause();
	}
	views_queue(views);
	views_enter(views);
	views_unqueue(views);
}

void
view_finish_now(struct view *view)
{
	enum kvlog_status st =
	    index_set_at(&view->index, &view->late, view->late_loc, false);

	assert(st == KVLOG_OK); /* reserved */
	(void)st;
	atomic_store_explicit(&view->applied,
	    atomic_load_explicit(&view->late_pos, memory_order_relaxed),
	    memory_order_release);
	atomic_store_explicit(&view->late_pos, 0, memory_order_release);
}

/* Making */

struct view *
view_create(struct views *views)
{
	struct view *view = os->calloc(1, sizeof *view);

	if (view == NULL)
		return NULL;
	atomic_init(&view->refs, 1);
	atomic_init(
	    &view->catalogue, (atomic_fetch_add(&views->made, 1) + 1) << 32);
	tail_init(&view->tail);
	atomic_init(&view->stamp, control_stamp(views->control));
	view->generation = control_generation(views->control);
	view->nonce = control_load(views->control, CONTROL_NONCE);
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

/* An exchange under way, or one that damage keeps from its end. */
struct takeover {
	struct takeover *next;
	struct exchange *exchange;
	bool unapplied; /* what the output adds to the end of the log */
	bool ended;     /* as far as can be */
};

void
view_forgo(struct takeover *t)
{
	exchange_destroy(t->exchange);
	os->free(t);
}

/* The set has what came, and what has gone goes with them. */
static void
drop_takeovers(struct view *view)
{
	while (view->takeovers != NULL) {
		struct takeover *t = view->takeovers;

		view->takeovers = t->next;
		view_forgo(t);
	}
}

void
view_unref(struct view *view)
{
	if (view == NULL ||
	    atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) > 1)
		return;
	index_fini(&view->index);
	tail_fini(&view->tail);
	hintset_fini(&view->hints);
	drop_takeovers(view);
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

	/* Threads hash with it before they look at a view, and segments come
	 * and go. */
	if (atomic_load(&views->view) == NULL)
		memcpy(views->secret, store->secret, sizeof views->secret);
	st = index_init(&view->index, views->epoch, view->set,
	    views->index_mode == KVLOG_INDEX_HINTS ? &view->hints : NULL,
	    views->secret, views->verify, err);
	if (st == KVLOG_OK)
		st = load_index(
		    &view->index, &view->hints, views->load_threads, err);
	if (st != KVLOG_OK)
		return st;
	views->load_ns = os->ticks_ns() - start;
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

void
views_reclaim(struct views *views)
{
	if (LIKELY(
		!atomic_load_explicit(&views->leaving, memory_order_relaxed)))
		return;
	views_enter(views);
	epoch_reclaim(views->epoch);
	epoch_reclaim(views->pins);
	if (epoch_is_empty(views->epoch) && epoch_is_empty(views->pins))
		atomic_store(&views->leaving, false);
	pthread_mutex_unlock(&views->lock);
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
	views_enter(views);
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

/* Whether a file that was listed is there no more: a compaction, or what one
 * has left is removed. */
static bool
is_gone(const struct kvlog_error *failure)
{
	return failure->sys_errno == ENOENT || failure->sys_errno == ESTALE;
}

/* Whether a segment that cannot be opened is not the one that was published.
 * Want of memory, descriptors or permission says nothing about the files. */
static bool
is_another(const struct kvlog_error *failure)
{
	return failure->status == KVLOG_CORRUPT ||
	       failure->status == KVLOG_VERSION || is_gone(failure);
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
	const struct hint_key key = hint_key_of(rec);
	uint64_t hash = hint_hash(seg, rec);
	struct epoch_token token;
	enum kvlog_status st;

	if (rec->type != RECORD_PUT && rec->type != RECORD_DELETE)
		return KVLOG_OK;
	st = index_reserve(index, &hash, 1, err);
	if (st != KVLOG_OK)
		return st;
	token = epoch_enter(index->epoch);
	st = index_set(index, hash, &key, segset_loc(seg, off),
	    rec->type == RECORD_DELETE);
	epoch_leave(index->epoch, token);
	view_note_odd(view, rec->flags, rec->bucket_seq, rec->bucket_ordinal);
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

/* An output that could not be applied for want of memory. */
static struct takeover *
find_unapplied(const struct view *view)
{
	struct takeover *t = view->takeovers;

	while (t != NULL && !t->unapplied)
		t = t->next;
	return t;
}

/* Apply what was published since, but for compactions. */
static enum kvlog_status
follow_log(struct views *views, struct view *view, bool *ret_stale,
    struct kvlog_error *err)
{
	uint64_t to = control_position(views->control);
	enum kvlog_status st = KVLOG_OK;

	*ret_stale = find_unapplied(view) != NULL;
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
	uint64_t now, pause_ns = HINTS_PAUSE_NS;

	if (!view->follows || (views->writable && !views->control->shared))
		return;
	if (!is_unhinted(view, UNHINTED_MIN)) {
		if (hintset_count(&view->hints) < HINTS_MANY)
			return;
		pause_ns = MERGED_PAUSE_NS;
	}
	now = os->ticks_ns();
	if (now - view->hints_ns < pause_ns)
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

/* Taking in what compactions have made */

enum kvlog_status
view_prepare_exchange(struct view *view, size_t first, size_t old_count,
    struct segment *const *segs, size_t count, bool expired,
    struct takeover **ret_takeover, struct kvlog_error *err)
{
	struct takeover *t = os->calloc(1, sizeof *t);
	enum kvlog_status st;

	if (t == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "take segments in");
	st = exchange_create(&t->exchange, view->set, first, old_count, segs,
	    count, expired, err);
	if (st == KVLOG_OK)
		*ret_takeover = t;
	else
		os->free(t);
	return st;
}

/* They are led over one after the other. */
static void
swap(struct view *view, struct takeover *t)
{
	struct takeover **end = &view->takeovers;

	exchange_swap(t->exchange);
	while (*end != NULL)
		end = &(*end)->next;
	*end = t;
}

/* A hint is a cache: failing harms nobody, but what look-ups need stays. */
static enum kvlog_status
exchange_hints(struct view *view, struct hint *const *hints, size_t count,
    bool searched, struct kvlog_error *err)
{
	enum kvlog_status st =
	    hintset_exchange(&view->hints, hints, count, searched, err);

	tail_trim(&view->tail);
	view->hints_late = st != KVLOG_OK && searched;
	return st;
}

void
view_exchange(struct view *view, struct takeover *t, struct hint *const *hints,
    size_t count, bool searched)
{
	swap(view, t);
	(void)exchange_hints(view, hints, count, searched, NULL);
}

bool
view_settle(struct views *views, struct view *view, size_t records)
{
	struct takeover **at = &view->takeovers;

	while (*at != NULL && (*at)->ended)
		at = &(*at)->next;
	if (*at == NULL)
		return false;
	/* The table must not forget what hints do not say yet. */
	if (view->hints_late &&
	    exchange_hints(view, NULL, 0, true, NULL) != KVLOG_OK)
		return false;
	if (exchange_move((*at)->exchange, &view->index, records) ||
	    exchange_sweep((*at)->exchange, &view->index, records))
		return true;
	if (exchange_end((*at)->exchange, views->epoch, views->pins)) {
		struct takeover *done = *at;

		atomic_store(&views->leaving, true);
		*at = done->next;
		os->free(done);
	} else {
		(*at)->ended = true;
	}
	return true;
}

void
view_note_page(struct views *views, struct view *view)
{
	view->generation = control_generation(views->control);
	view->nonce = control_load(views->control, CONTROL_NONCE);
	atomic_store(&view->stamp, control_stamp(views->control));
}

/* A stretch of the view's set and the files in its place. */
struct stretch {
	size_t first, old_count;
	const struct file *files;
	size_t count;
	bool is_end; /* nothing of the view lies behind it */
};

static enum kvlog_status
open_parts(struct views *views, const struct view *view,
    const struct stretch *s, struct segment **parts, bool *ret_stale,
    struct kvlog_error *err)
{
	const struct segment_store *store =
	    &view->set->segments[0]->header.store;

	for (size_t i = 0; i < s->count; i++) {
		struct kvlog_error failure = {0};
		enum kvlog_status st = segment_open_header(views->dir,
		    s->files[i].name, &s->files[i].id, &parts[i], &failure);

		if (st == KVLOG_OK)
			st = segment_map(parts[i], &failure);
		if (st == KVLOG_OK) {
			segment_close_fd(parts[i]);
			parts[i]->last_seq = parts[i]->header.last_seq;
			parts[i]->evidence = parts[i]->header.last_seq;
			*ret_stale |= memcmp(&parts[i]->header.store, store,
					  sizeof *store) != 0 ||
				      parts[i]->header.kind != SEGMENT_OUTPUT;
			continue;
		}
		*ret_stale |= is_another(&failure);
		if (*ret_stale)
			return KVLOG_OK;
		if (err != NULL)
			*err = failure;
		return st;
	}
	return KVLOG_OK;
}

/* The view ends with the output that was taken in last. */
static enum kvlog_status
apply_output(struct view *view, struct takeover *t, bool *ret_stale,
    struct kvlog_error *err)
{
	const struct segment *last = last_segment(view);
	enum kvlog_status st =
	    exchange_apply(t->exchange, &view->index, ret_stale, err);

	if (st != KVLOG_OK || *ret_stale)
		return st;
	/* Which of its records may be of the catalogue, nobody has noted. */
	view_note_odd(view, RECORD_BUCKET, 0, BUCKET_CATALOGUE_ORDINAL);
	t->unapplied = false;
	view->next_seq = max_u64(view->next_seq, last->last_seq + 1);
	view->evidence = max_u64(view->evidence, last->last_seq);
	if (last->last_seq > atomic_load(&view->last_seq))
		atomic_store_explicit(
		    &view->last_seq, last->last_seq, memory_order_release);
	atomic_store_explicit(
	    &view->applied, recovery_end_pos(last), memory_order_release);
	return KVLOG_OK;
}

/* The output begins behind the view's last segment: what is left of that comes
 * first. */
static enum kvlog_status
end_last(struct view *view, const struct segment *output, bool *ret_stale,
    struct kvlog_error *err)
{
	struct segment *last = last_segment(view);
	enum kvlog_status st = KVLOG_OK;

	*ret_stale = !output->link_ok ||
		     output->link.prev_salt != segment_last_salt(last);
	if (!*ret_stale && last->header.kind == SEGMENT_PLAIN)
		st = apply_records(view, output->link.prev_end, ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale)
		view_seal(view, last, &output->link);
	return st;
}

static enum kvlog_status
take_in(struct views *views, struct view *view, const struct stretch *s,
    bool *ret_stale, struct kvlog_error *err)
{
	struct segment **parts = os->calloc(s->count, sizeof(*parts));
	struct takeover *t = NULL;
	enum kvlog_status st;

	if (parts == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "take segments in");
	st = open_parts(views, view, s, parts, ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale && s->old_count == 0)
		st = end_last(view, parts[0], ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale)
		st = view_prepare_exchange(view, s->first, s->old_count, parts,
		    s->count, true, &t, err);
	if (st != KVLOG_OK || *ret_stale) {
		for (size_t i = 0; i < s->count; i++)
			segment_close(parts[i]);
		os->free(parts);
		return st;
	}
	swap(view, t);
	if (s->is_end) {
		t->unapplied = true;
		st = apply_output(view, t, ret_stale, err);
	} else {
		while (exchange_move(t->exchange, &view->index, SIZE_MAX))
			;
	}
	os->free(parts);
	return st;
}

/*
 * The first stretch in which the live files, from files[*at] on, are not those
 * of the set from number *i on; both are moved behind it.  False if there are
 * no more.
 */
static bool
next_stretch(const struct view *view, const struct file_list *list, size_t *at,
    size_t *i, struct stretch *s, bool *ret_stale)
{
	const struct segset *set = view->set;

	for (; *at < list->count && list->files[*at].kind == FILE_SEGMENT;
	     ++*at) {
		const struct file *f = &list->files[*at];

		if (!f->live)
			continue;
		if (*i < set->count &&
		    file_id_equal(&f->id, &set->segments[*i]->header.id)) {
			++*i;
			continue;
		}
		if (*i == set->count && f->id.round == 0)
			return false; /* the log goes on */
		*s = (struct stretch){
		    .first = *i, .files = f, .count = f->id.parts};
		while (*i < set->count &&
		       set->segments[*i]->header.id.last <= f->id.last)
			++*i;
		s->old_count = *i - s->first;
		s->is_end = *i == set->count;
		*ret_stale =
		    f->id.round == 0 ||
		    (s->first < set->count
			    ? set->segments[s->first]->header.id.first !=
				      f->id.first ||
				  set->segments[s->first]->header.id.part != 1
			    : segment_number(last_segment(view)) + 1 !=
				  f->id.first);
		*at += s->count;
		return !*ret_stale;
	}
	*ret_stale = *i < set->count;
	return false;
}

/* Hint files that the view does not have, sound and bound; *ret_hints is to be
 * freed with them. */
static size_t
open_hints(struct views *views, struct view *view,
    const struct file_list *files, struct hint **hints)
{
	size_t count = 0;

	for (size_t i = 0; i < files->count; i++) {
		struct hint *hint;

		if (files->files[i].kind != FILE_HINT)
			continue;
		hint = hintset_open(
		    &view->hints, views->dir, files->files[i].name);
		if (hint != NULL)
			hints[count++] = hint;
	}
	return count;
}

/* The set is another one now. */
static enum kvlog_status
take_in_hints(struct views *views, struct view *view,
    const struct file_list *files, struct kvlog_error *err)
{
	struct hint **hints = os->calloc(files->count, sizeof(*hints));
	enum kvlog_status st;
	size_t count;

	if (hints == NULL) {
		view->hints_late = view->index.hints != NULL;
		return err_set(err, KVLOG_NOMEM, 0, "take hints in");
	}
	count = open_hints(views, view, files, hints);
	st = exchange_hints(view, hints, count, view->index.hints != NULL, err);
	for (size_t i = 0; i < count; i++)
		hint_unref(hints[i]);
	os->free(hints);
	return st;
}

/* Take in what a listing has that the set has not; *ret_again: it was not of
 * one moment. */
static enum kvlog_status
take_in_files(struct views *views, struct view *view, bool *ret_stale,
    bool *ret_again, struct kvlog_error *err)
{
	uint64_t generation = control_generation(views->control);
	uint32_t last = 0, gap = 0, round = 0;
	struct file_list files = {0};
	struct stretch s;
	size_t at = 0, i = 0;
	bool changed = false;
	struct kvlog_error failure = {0};
	enum kvlog_status st =
	    recover_list(views->dir, &files, &last, &gap, &round, &failure);

	*ret_again = is_gone(&failure) ||
		     generation != control_generation(views->control);
	if (*ret_again)
		st = KVLOG_OK;
	else if (st != KVLOG_OK && err != NULL)
		*err = failure;
	while (st == KVLOG_OK && !*ret_again && !*ret_stale &&
	       next_stretch(view, &files, &at, &i, &s, ret_stale)) {
		size_t count = view->set->count;

		st = take_in(views, view, &s, ret_stale, err);
		/* What was replaced is fewer files now, or more. */
		i = i + view->set->count - count;
		changed = true;
	}
	if (changed || view->hints_late) {
		enum kvlog_status hints_st = take_in_hints(
		    views, view, &files, st == KVLOG_OK ? err : NULL);

		if (view->hints_late && st == KVLOG_OK)
			st = hints_st;
	}
	file_list_fini(&files);
	return st;
}

/* Whether what has changed is the work of a compaction, and to take it in is
 * worth more than a new view. */
static bool
may_take_in(const struct views *views, const struct view *view)
{
	return view->nonce == control_load(views->control, CONTROL_NONCE) &&
	       (views->writable || view->index.hints == NULL);
}

static enum kvlog_status
take_in_all(struct views *views, struct view *view, bool *ret_stale,
    struct kvlog_error *err)
{
	struct takeover *late = find_unapplied(view);
	enum kvlog_status st = KVLOG_OK;
	bool again = true;

	if (late != NULL)
		st = apply_output(view, late, ret_stale, err);
	for (unsigned n = 0; st == KVLOG_OK && again; n++) {
		uint64_t generation = control_generation(views->control);

		if (n == RENEW_TRIES)
			return err_set(err, KVLOG_IO, 0,
			    "segments of %s are replaced all the time",
			    views->dir->path);
		*ret_stale = again = false;
		if (view->generation != generation)
			st = take_in_files(views, view, ret_stale, &again, err);
		if (st == KVLOG_OK && !*ret_stale && !again) {
			size_t count = view->set->count;

			st = follow_log(views, view, ret_stale, err);
			/* An output may stand where the log has led to now. */
			if (st == KVLOG_OK && *ret_stale &&
			    view->generation != generation &&
			    view->set->count > count) {
				again = true;
				n = 0;
			}
			/* Before all is followed there may be more of it. */
			if (st == KVLOG_OK && !*ret_stale)
				view->generation = generation;
		}
		/* What comes next may have been replaced meanwhile. */
		again |= generation != control_generation(views->control);
	}
	return st;
}

/* Apply what is new.  A writer that closed or opened the store changes the
 * page, and nothing that is shown here. */
enum kvlog_status
view_catch_up(struct views *views, struct view *view, bool *ret_stale,
    struct kvlog_error *err)
{
	uint64_t stamp = control_stamp(views->control);
	enum kvlog_status st;

	*ret_stale = false;
	if (stamp != atomic_load(&view->stamp)) {
		*ret_stale = !view->follows || !settle(views->control);
		stamp = control_stamp(views->control);
		/* Behind the stamp, which is to be of this one. */
		*ret_stale =
		    *ret_stale ||
		    (control_generation(views->control) != view->generation &&
			!may_take_in(views, view));
		if (*ret_stale)
			return KVLOG_OK;
	}
	if (!view->follows) { /* its page is stale, and does not move */
		*ret_stale = atomic_load(&view->applied) !=
			     control_position(views->control);
		return KVLOG_OK;
	}
	st = take_in_all(views, view, ret_stale, err);
	if (st == KVLOG_OK && !*ret_stale) {
		while (!views->paced && view_settle(views, view, SIZE_MAX))
			;
		view->nonce = control_load(views->control, CONTROL_NONCE);
		atomic_store(&view->stamp, stamp);
	}
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
		moved = view->stamp != control_stamp(views->control) ||
			is_gone(&failure);
		view_unref(view);
		if (!moved || i == RENEW_TRIES + PATIENT_TRIES) {
			if (err != NULL)
				*err = failure;
			return st;
		}
		if (i >= RENEW_TRIES)
			os->sleep_ns(TRY_PAUSE_NS);
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

	views_enter(views);
	for (unsigned i = 0; st == KVLOG_OK && i < RENEW_TRIES; i++) {
		struct view *view = atomic_load(&views->view);
		bool stale = view == NULL;

		if (!stale && view_is_current(views, view))
			break;
		if (!stale)
			st = view_catch_up(views, view, &stale, err);
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
