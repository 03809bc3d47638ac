/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view.h - what a handle sees of the store: the live segments, their hints,
 * and the index over both, up to one position of the log.
 *
 * A view is made by reading the directory, and then follows the log: what this
 * process or another one publishes is applied to it.  What cannot be followed
 * (segments were replaced, the end was cut) makes a reader begin a new view;
 * the old one lasts for as long as somebody holds it.
 *
 * Threads: look-ups run inside the epoch, at any time.  Who changes a view or
 * puts another one in its place holds the lock.
 */
#ifndef VIEW_H
#define VIEW_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "epoch.h"
#include "hintset.h"
#include "index.h"
#include "recover.h"
#include "segset.h"
#include "tail.h"

#include <pthread.h>

struct takeover; /* of view.c */

struct view {
	_Atomic uint32_t refs;
	struct epoch_node node;
	struct segset *set;
	struct hintset hints;
	struct tail tail; /* what they do not cover, for walks */
	struct index index;
	struct recovery recovery; /* what making it found; no file list */

	struct takeover *takeovers; /* exchanges that are not at their end */
	bool follows; /* the page is valid, and speaks of what is shown */
	_Atomic uint64_t stamp; /* control_stamp(), when that was judged */
	/* Likewise; while only the generation moves, a compaction has replaced
	 * segments, and the view can take in what stands in their place. */
	uint64_t nonce, generation;
	_Atomic uint64_t applied;  /* the position it shows; if the page is
				      stale, what stands there */
	_Atomic uint64_t last_seq; /* of the last commit in it */
	/* Another number after each change of the catalogue of buckets, and in
	 * each view. */
	_Atomic uint64_t catalogue;
	/* The commit that ends here (0: none) is shown to all but those who
	 * look for a key of this hash. */
	_Atomic uint64_t late_pos, late_hash;
	/* Under the lock: */
	uint64_t next_seq;       /* of the next commit */
	uint64_t evidence;       /* what the newest record or link attests */
	uint64_t loaded_bytes;   /* of the index, when the view was made */
	uint64_t hints_ns;       /* when hints of others were looked for last */
	struct index_place late; /* see view_put_off() */
	uint64_t late_loc;
	bool hints_late; /* they are searched, and not those of the set yet */
};

struct views {
	/* Set at the start, not owned. */
	struct dir *dir;
	struct control *control;
	struct epoch *epoch; /* owned */
	struct epoch *pins; /* owned: pins are inside for as long as they are */
	enum kvlog_index_mode index_mode;
	bool verify;   /* checksums, on look-ups */
	bool writable; /* the active segment is mapped for writing */
	unsigned load_threads;
	/* Called while hints are merged; see hintset.h. */
	bool (*go_on)(void *arg);
	void *go_on_arg;

	pthread_mutex_t lock;
	/* For those who have to sleep until they get it; see views_lock(). */
	pthread_mutex_t gate;
	_Atomic unsigned waiting;
	_Atomic bool leaving; /* something may wait for look-ups or pins */
	bool paced; /* a compaction here leads the index over, in small steps */
	struct view *_Atomic view;  /* the one in use; NULL before the first */
	uint64_t load_ns;           /* it took to fill the last one's index */
	_Atomic uint64_t made;      /* views, until now */
	_Atomic uint64_t looked_ns; /* when the lock file was looked at last */
	_Atomic bool superseded;    /* there is another one now */
	uint8_t secret[SEGMENT_SECRET_LEN]; /* of the store's hashes */
};

int views_init(struct views *views);  /* 0 or ENOMEM */
void views_fini(struct views *views); /* all zeros is fine */

/*
 * Take the lock, as the maintenance thread does it: a mutex goes to whoever is
 * awake, which is one who commits again at once, and never a thread that has
 * to be woken first.  So this one queues: between views_queue() and
 * views_unqueue() nobody passes by views_give_way().
 */
void views_lock(struct views *views);
void views_queue(struct views *views);
void views_unqueue(struct views *views);
static inline void
views_give_way(struct views *views)
{
	if (LIKELY(atomic_load_explicit(
		       &views->waiting, memory_order_relaxed) == 0))
		return;
	pthread_mutex_lock(&views->gate);
	pthread_mutex_unlock(&views->gate);
}

/*
 * An overwrite has to look at the record that it replaces, and for this cache
 * miss a commit would wait longer than for all else it does.  So its last step,
 * the entry of its key, may be put off: whoever takes the lock next takes it,
 * when the record is there.  Until then a look-up finds all other keys as they
 * are; one of this key, and whoever looks at the whole, takes the lock.
 *
 * With the lock held: view->late is the place of a key that has an entry, and
 * loc that of the record which the commit has stored for it up to pos; late.key
 * is the key in there.
 */
static inline void
view_put_off(struct view *view, uint64_t loc, uint64_t pos)
{
	view->late_loc = loc;
	/* Who sees the hash of a later commit sees the entry of this one. */
	atomic_store_explicit(
	    &view->late_hash, view->late.hash, memory_order_release);
	atomic_store_explicit(&view->late_pos, pos, memory_order_release);
}
void view_finish_now(struct view *view);
static inline void
view_finish(struct view *view)
{
	if (atomic_load_explicit(&view->late_pos, memory_order_relaxed) != 0)
		view_finish_now(view);
}

static inline void
views_finish(struct views *views)
{
	struct view *view =
	    atomic_load_explicit(&views->view, memory_order_relaxed);

	if (LIKELY(view != NULL))
		view_finish(view);
}

/* Take the lock: whoever has it has finished what was put off. */
static inline void
views_enter(struct views *views)
{
	pthread_mutex_lock(&views->lock);
	views_finish(views);
}

/*
 * Making one: view_create() an empty one, recover_find() into its hints and
 * recovery, then view_load() the index and view_use() it.
 */
struct view *view_create(struct views *views); /* NULL: out of memory */
enum kvlog_status view_load(
    struct views *views, struct view *view, struct kvlog_error *err);
/* With the lock held, unless nobody else knows of the views yet.  Takes the
 * caller's reference. */
void view_use(struct views *views, struct view *view);

/*
 * The time, in ms since 1970: a clock that was set back does not revive what a
 * compaction has judged.
 */
static inline uint64_t
view_now_ms(const struct view *view)
{
	return max_u64(os->clock_ms(),
	    atomic_load_explicit(&view->set->now_ms, memory_order_relaxed));
}

/* *now_ms: the time of an operation, set when it is first asked for; 0: it was
 * not yet. */
static inline bool
view_has_expired(
    const struct view *view, const struct record *rec, uint64_t *now_ms)
{
	if (LIKELY((rec->flags & RECORD_EXPIRY) == 0))
		return false;
	if (*now_ms == 0)
		*now_ms = view_now_ms(view);
	return record_has_expired(rec, *now_ms);
}

/* Whether a record that was found, and has expired or not, has a value to hand
 * out: KVLOG_OK, _NOTFOUND, and with_value _VERSION or _CORRUPT. */
static inline enum kvlog_status
view_judge(const struct view *view, const struct index_ref *ref, bool expired,
    bool with_value)
{
	const struct record *rec = &ref->rec;

	if (expired)
		return KVLOG_NOTFOUND;
	if ((rec->flags & RECORD_CODEC) != 0 && with_value)
		return KVLOG_VERSION;
	if (with_value && view->index.verify &&
	    !record_value_ok(rec, segment_seed(ref->seg, ref->off)))
		return KVLOG_CORRUPT;
	return KVLOG_OK;
}

/* With the lock held, when a record of these flags and bucket is in the index,
 * and before it is shown. */
static inline void
view_note_odd(struct view *view, unsigned flags, uint64_t bucket_seq,
    uint32_t bucket_ordinal)
{
	if ((flags & (RECORD_BUCKET | RECORD_EXPIRY)) == 0)
		return;
	index_note_odd(&view->index);
	if (bucket_is_catalogue(bucket_seq, bucket_ordinal))
		atomic_fetch_add(&view->catalogue, 1);
}

/* Keep a view that was found inside the epoch or under the lock. */
static inline struct view *
view_ref(struct view *view)
{
	atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
	return view;
}
/* With the lock held, unless nobody else knows of the views; NULL is fine. */
void view_unref(struct view *view);

/* Let go what waited for look-ups and pins that have ended. */
void views_reclaim(struct views *views);

/* The view in use, kept until view_release(). */
struct view *view_hold(struct views *views);
void view_release(struct views *views, struct view *view);

static inline bool
view_is_current(const struct views *views, const struct view *view)
{
	const _Atomic uint64_t *words = control_words(views->control);

	return atomic_load_explicit(&view->applied, memory_order_acquire) ==
		   control_word(words, CONTROL_POSITION) &&
	       atomic_load_explicit(&view->stamp, memory_order_relaxed) ==
		   control_stamp_of(words);
}

/* The same as far as a key of this hash is concerned. */
static inline bool
view_shows(const struct views *views, const struct view *view, uint64_t hash)
{
	const _Atomic uint64_t *words = control_words(views->control);
	const uint64_t pos = control_word(words, CONTROL_POSITION);

	if (UNLIKELY(atomic_load_explicit(&view->stamp, memory_order_relaxed) !=
		     control_stamp_of(words)))
		return false;
	if (atomic_load_explicit(&view->applied, memory_order_acquire) == pos)
		return true;
	if (atomic_load_explicit(&view->late_pos, memory_order_acquire) != pos)
		return false;
	return atomic_load_explicit(&view->late_hash, memory_order_acquire) !=
	       hash;
}

static inline uint64_t
view_stamp(const struct view *view)
{
	return atomic_load_explicit(&view->stamp, memory_order_acquire);
}

/* The number up to which all that the view shows is known to be durable; may
 * be beyond its last commit. */
static inline uint64_t
view_durable(const struct views *views, const struct view *view)
{
	const struct recovery *r = &view->recovery;

	if (view->follows)
		return control_durable(views->control);
	return r->poisoned ? r->state.durable : r->attested;
}

/* With the lock held: the link of the next segment ends this one, which was the
 * last; the view goes on behind it. */
void view_seal(
    struct view *view, struct segment *seg, const struct segment_link *link);

/* With the lock held, before all that no hint covers is read: take in what
 * other processes have hinted, if that is worth a look. */
void view_adopt_hints(struct views *views, struct view *view);

/*
 * With the lock held: make ready that segs, which are opened, mapped and
 * durable, take the place of set->segments[first .. first + old_count).
 * expired: see exchange_create().  Then either view_exchange() lets them, in
 * the set, among the hints (searched: see "whole" of hintset_exchange()), and
 * step by step in the index; or view_forgo() leaves all as it is, and the
 * segments to the caller.
 */
enum kvlog_status view_prepare_exchange(struct view *view, size_t first,
    size_t old_count, struct segment *const *segs, size_t count, bool expired,
    struct takeover **ret_takeover, struct kvlog_error *err);
void view_exchange(struct view *view, struct takeover *takeover,
    struct hint *const *hints, size_t count, bool searched);
void view_forgo(struct takeover *takeover);

/* With the lock held, in a view that is up to date: another step, of about so
 * many records, of leading the index over and letting what was replaced go;
 * false if nothing is left to do. */
bool view_settle(struct views *views, struct view *view, size_t records);

/* With the lock held: note what the page says, now that the view shows it. */
void view_note_page(struct views *views, struct view *view);

/*
 * With the lock held: apply what was published since, and take in what
 * compactions have put in the place of segments.  On success *ret_stale says
 * whether that is impossible, so that a new view is needed.
 */
enum kvlog_status view_catch_up(struct views *views, struct view *view,
    bool *ret_stale, struct kvlog_error *err);

/*
 * A reader's page never changes again once somebody has put another lock file
 * in the place of the one it is on.  So its name is looked at now and then:
 * KVLOG_BROKEN if that has happened.
 */
enum kvlog_status views_look(struct views *views);
#define VIEWS_LOOK_NS UINT64_C(1000000000)

/*
 * Bring the view up to what is published when this is called.  A reader's view
 * is replaced by a new one if need be; the first one is made so, too.
 */
enum kvlog_status views_refresh(struct views *views, struct kvlog_error *err);

#endif
