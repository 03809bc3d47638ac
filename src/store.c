/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c - opening and closing, and the background thread.
 *
 * Opening for writing, if nobody else writes: lock, find the log's end
 * (recover.c), repair it (repair.c), map the active segment for writing, load
 * the index, declare the control page valid.  Beside other writers, and for
 * reading, a view is made of what is published (view.c), and nothing changed.
 *
 * A new store gets its parts in an order that never leaves something that
 * looks like a store and is none: lock file (all zeros), first segment under
 * a name that does not count, all synced, then the segment's name.
 */
#include "config.h"

#include "store.h"

#include "load.h"
#include "repair.h"
#include "sum_inline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEFAULT_FILE_MODE 0666u
#define OPEN_TRIES 20 /* each needs one more backup made meanwhile */
#define REST_MS UINT64_C(3600000) /* of the thread, if something is to come */
#define IDLE_NS UINT64_C(1000000000) /* without a commit */
/* Merging hints while nobody writes takes no longer than this.  By the other
 * number, some times what it is with all in memory, they are chosen. */
#define IDLE_MERGE_NS UINT64_C(4000000000)
#define IDLE_MERGE_ENTRY_NS 1000
#define FIRST_NAME "first.tmp"

/* What a directory looks like before it is opened. */
enum place {
	PLACE_EMPTY,   /* nothing in it */
	PLACE_STORE,   /* segments */
	PLACE_BARE,    /* a lock file, and nothing but leftovers beside it */
	PLACE_FOREIGN, /* other things */
};

static enum kvlog_status
look_at_place(struct dir *dir, enum place *ret_place, struct kvlog_error *err)
{
	struct file_list list;
	bool segment = false, lock = false, foreign = false;
	enum kvlog_status st = dir_list(dir, &list, err);

	if (st != KVLOG_OK)
		return st;
	for (size_t i = 0; i < list.count; i++) {
		segment |= list.files[i].kind == FILE_SEGMENT;
		lock |= list.files[i].kind == FILE_LOCK;
		foreign |= list.files[i].kind == FILE_FOREIGN;
	}
	if (segment)
		*ret_place = PLACE_STORE;
	else if (lock && !foreign)
		*ret_place = PLACE_BARE;
	else if (list.count == 0)
		*ret_place = PLACE_EMPTY;
	else
		*ret_place = PLACE_FOREIGN;
	file_list_fini(&list);
	return KVLOG_OK;
}

static bool
wants(const struct store *db, unsigned flag)
{
	return (db->options.flags & flag) != 0;
}

/* Open the directory, made now if it is to be created. */
static enum kvlog_status
open_directory(struct store *db, const char *path, struct kvlog_error *err)
{
	enum os_fs fs = OS_FS_PLAIN;
	enum kvlog_status st;
	unsigned mode =
	    db->options.mode != 0 ? db->options.mode : DEFAULT_FILE_MODE;
	int rc;

	if (wants(db, KVLOG_OPEN_CREATE)) {
		/* Who may read a file may look into its directory. */
		rc = os->mkdir(path, mode | (mode & 0444u) >> 2);
		if (rc != 0 && rc != EEXIST)
			return err_sys(err, rc, "create directory %s", path);
	}
	st = dir_open(&db->dir, path, mode, err);
	if (st == KVLOG_NOSTORE && wants(db, KVLOG_OPEN_CREATE))
		return err_set(err, KVLOG_NOTSTORE, 0,
		    "%s is a symbolic link to nothing; a store is a directory",
		    path);
	if (st != KVLOG_OK)
		return st;
	rc = os->fs_type(db->dir.fd, &fs);
	if (rc != 0)
		return err_sys(err, rc, "look at the file system of %s", path);
	if (fs == OS_FS_NETWORK)
		return err_set(err, KVLOG_UNSUPPORTED, 0,
		    "%s is on a network file system, where locks and shared "
		    "mappings cannot be trusted; use a local disk",
		    path);
	return KVLOG_OK;
}

static bool
lock_file_is_blank(struct store *db)
{
	struct control control;
	bool blank =
	    control_open(&control, &db->dir, false, NULL) == KVLOG_OK &&
	    control_is_blank(&control);

	control_close(&control);
	return blank;
}

static enum kvlog_status
fail_without_segments(const struct store *db, struct kvlog_error *err)
{
	return err_set(err, KVLOG_CORRUPT, 0,
	    "%s has the lock file of a store but no segments: they were "
	    "removed; restore them, or remove %s to start anew",
	    db->dir.path, DIR_LOCK_NAME);
}

static enum kvlog_status
check_place(struct store *db, enum place *ret_place, struct kvlog_error *err)
{
	enum place place;
	enum kvlog_status st = look_at_place(&db->dir, &place, err);
	bool create = wants(db, KVLOG_OPEN_CREATE);

	/* Creation names the segment before it uses the lock file: if that is
	 * in use now, another look finds the segment. */
	if (st == KVLOG_OK && place == PLACE_BARE && !lock_file_is_blank(db))
		st = look_at_place(&db->dir, &place, err);
	if (st != KVLOG_OK)
		return st;
	*ret_place = place;
	switch (place) {
	case PLACE_STORE:
		if (create && wants(db, KVLOG_OPEN_EXCLUSIVE))
			return err_set(err, KVLOG_CONFLICT, 0,
			    "%s is a store already", db->dir.path);
		return KVLOG_OK;
	case PLACE_EMPTY:
		if (create)
			return KVLOG_OK;
		return err_set(err, KVLOG_NOSTORE, 0,
		    "%s is an empty directory, not a store", db->dir.path);
	case PLACE_BARE:
		if (create)
			return KVLOG_OK; /* if the lock file is blank */
		if (lock_file_is_blank(db))
			return err_set(err, KVLOG_NOSTORE, 0,
			    "%s is a store whose creation is not completed; "
			    "create it again",
			    db->dir.path);
		return fail_without_segments(db, err);
	case PLACE_FOREIGN:
		break;
	}
	return err_set(err, KVLOG_NOTSTORE, 0,
	    "%s holds other files and no segments: it is not a store, and is "
	    "not made into one",
	    db->dir.path);
}

static int
draw_identity(struct segment_store *store)
{
	int rc = os->random(store->uuid, sizeof store->uuid);

	if (rc == 0)
		rc = os->random(store->secret, sizeof store->secret);
	/* Version 4, variant 1: RFC 4122. */
	store->uuid[6] = (uint8_t)((store->uuid[6] & 0x0f) | 0x40);
	store->uuid[8] = (uint8_t)((store->uuid[8] & 0x3f) | 0x80);
	return rc;
}

/* The first segment; the store exists when its name is durable. */
static enum kvlog_status
create_first_segment(struct store *db, struct kvlog_error *err)
{
	const struct segment_link link = {.first_seq = 1, .durable = true};
	struct control_state state = {.generation = 1};
	struct segment_store store;
	struct segment *seg = NULL;
	uint64_t max_size = db->options.segment_size;
	enum kvlog_status st;
	int rc;

	if (max_size == 0)
		max_size = KVLOG_SEGMENT_SIZE_DEFAULT;
	rc = draw_identity(&store);
	if (rc != 0)
		return err_sys(
		    err, rc, "draw random numbers for %s", db->dir.path);
	/* Here and not after mkdir(): whoever made the directory may have been
	 * stopped before this.  A parent that may not be read is left alone. */
	rc = os->sync_parent(db->dir.path);
	if (rc != 0 && rc != EACCES)
		return err_sys(
		    err, rc, "sync the directory of %s", db->dir.path);
	/* The lock file's name comes before all others: a directory in which
	 * a creation was cut off is empty or PLACE_BARE. */
	st = dir_sync(&db->dir, err);
	if (st != KVLOG_OK)
		return st;
	st = repair_new_segment(&db->dir,
	    &(struct segment_plan){
		.name = FIRST_NAME,
		.store = &store,
		.number = 1,
		.max_size = max_size,
		.size = min_u64(UINT64_C(1) << 20, max_size),
	    },
	    &seg, NULL, err);
	if (st != KVLOG_OK)
		return st;
	/* Its blocks are written by the sync of its link then. */
	if (db->options.durability == KVLOG_DURABILITY_COMMIT)
		os->advise(&seg->map, 0, seg->header.size, OS_ADVICE_POPULATE);
	rc = repair_publish(&db->dir, seg, &link);
	if (rc != 0) {
		st = err_sys(
		    err, rc, "create the first segment of %s", db->dir.path);
	} else {
		state.active_salt = seg->header.salt;
		state.position = control_pos(1, SEGMENT_DATA_OFF);
		state.synced = state.position;
		st = control_format(&db->control, &state, err);
	}
	segment_close(seg);
	return st;
}

/* With the lock held: make the store if there was none before. */
static enum kvlog_status
create_if_absent(struct store *db, enum place place, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	if (place == PLACE_STORE)
		return KVLOG_OK;
	st = look_at_place(&db->dir, &place, err);
	if (st != KVLOG_OK)
		return st;
	if (place == PLACE_STORE) {
		/* Perhaps made by another process just now. */
		if (wants(db, KVLOG_OPEN_CREATE) &&
		    wants(db, KVLOG_OPEN_EXCLUSIVE))
			return err_set(err, KVLOG_CONFLICT, 0,
			    "%s is a store already", db->dir.path);
		return KVLOG_OK;
	}
	if (!control_is_blank(&db->control) || dir_is_replaced(&db->dir))
		return fail_without_segments(db, err);
	return create_first_segment(db, err);
}

/* The background thread */

/* With maintain_lock held: sync by interval; false if nothing is due. */
static bool
sync_by_interval(struct store *db)
{
	uint64_t seq = atomic_load(&db->interval_seq);
	uint64_t now = os->ticks_ns();
	uint64_t tick = db->interval_ms * UINT64_C(500000); /* half */

	if (log_durable(&db->log) >= seq || now - db->last_tick_ns < tick)
		return false;
	db->last_tick_ns = now;
	return log_sync(&db->log, seq, NULL) == KVLOG_OK;
}

/* With maintain_lock held: what a commit would have to do itself if it came
 * before this.  The spare is made for all. */
static bool
prepare(struct store *db, bool maintainer)
{
	return (maintainer && log_prepare_spare(&db->log)) ||
	       log_prepare_pages(&db->log, maintainer);
}

/* While hints are merged, with maintain_lock held. */
bool
store_go_on(void *arg)
{
	struct store *db = arg;
	bool stop, more;

	(void)sync_by_interval(db);
	if (log_is_behind(&db->log))
		(void)log_sync_sealed(&db->log, &more, NULL);
	(void)prepare(db, db->control.maintainer);
	reclaim_tell(&db->reclaim, &db->log);
	pthread_mutex_lock(&db->thread_lock);
	stop = db->thread_stop;
	pthread_mutex_unlock(&db->thread_lock);
	if (db->merge_until_ns != 0) {
		stop = stop || reclaim_wants(&db->reclaim, &db->log);
		db->merge_failed = !stop; /* unless it is done in time */
		stop = stop || os->ticks_ns() >= db->merge_until_ns;
	}
	return !stop;
}

/* With maintain_lock held: whether nobody has committed for a while. */
static bool
is_idle(struct store *db)
{
	uint64_t last = log_last_seq(&db->log), now = os->ticks_ns();

	if (last != db->idle_seq || db->idle_since_ns == 0) {
		db->idle_seq = last;
		db->idle_since_ns = now;
	}
	return now - db->idle_since_ns >= IDLE_NS;
}

/* That a commit is durable is attested by the next one; if none follows soon,
 * by a mark (INV-10). */
static bool
attest(struct store *db)
{
	return atomic_load(&db->log.unattested) && log_attest(&db->log);
}

#define MERGE_LEAST 8192
#define MERGE_PART 64

/* A hint serves until one of its segments is replaced.  Where this happens all
 * the time, hints over many segments would be made in vain, and more of them
 * for each run that needs the hints of some of these segments alone. */
static uint64_t
merge_limit(const struct store *db)
{
	struct view *view = atomic_load(&db->views.view);
	uint64_t entries = keydir_count(view->index.keydir);

	if (db->reclaim.policy.off)
		return UINT64_MAX;
	if (view->index.hints != NULL)
		entries = hintset_entries(&view->hints);
	return max_u64(MERGE_LEAST, entries / MERGE_PART);
}

/* With maintain_lock held: what one process does for all. */
static bool
maintain_files(struct store *db)
{
	struct view *view = atomic_load(&db->views.view);

	return log_write_hint(&db->log, false) ||
	       hintset_merge_step(&view->hints, &db->dir, merge_limit(db));
}

/* Hints that merge_limit() leaves apart, which every scan searches.  Where the
 * records that are compared have to be read from the disk one by one, it takes
 * too long, and where that is full or fails, it comes to nothing: then it is
 * not tried again.  Where compaction is near it would need parts of them again,
 * and with the index in the hints it makes up for lost ones in memory. */
static bool
merge_when_idle(struct store *db, uint64_t merge_ns)
{
	struct view *view = atomic_load(&db->views.view);
	bool did;

	if (db->merge_failed || view->index.hints != NULL ||
	    atomic_load(&db->log.small_segments))
		return false;
	merge_ns = min_u64(merge_ns, IDLE_MERGE_NS);
	db->merge_until_ns = os->ticks_ns() + merge_ns;
	did = hintset_merge_step(
	    &view->hints, &db->dir, merge_ns / IDLE_MERGE_ENTRY_NS);
	db->merge_until_ns = 0;
	if (did)
		db->merge_failed = false;
	return did;
}

/* One process does it for all; what the one before has done is known first. */
bool
store_become_maintainer(struct store *db)
{
	bool was = db->control.maintainer;

	if (!control_try_maintainer(&db->control))
		return false;
	if (!was && db->control.shared) {
		views_lock(&db->views);
		hintset_adopt(&atomic_load(&db->views.view)->hints, &db->dir);
		pthread_mutex_unlock(&db->views.lock);
	}
	return true;
}

/* A sealed segment is synced, and then hinted: a fast writer always wants
 * something prepared, but the log must not run away from either. */
static bool
follow_log(struct store *db, bool maintainer)
{
	bool more = false;
	bool did = log_sync_sealed(&db->log, &more, NULL) == KVLOG_OK && more;

	if (maintainer)
		did |= maintain_files(db);
	return did;
}

bool
store_maintain_step(struct store *db, uint64_t merge_ns)
{
	bool did, wants, maintainer = false;

	pthread_mutex_lock(&db->maintain_lock);
	did = sync_by_interval(db);
	if (!did) {
		maintainer = store_become_maintainer(db);
		did = maintainer && log_prepare_spare(&db->log);
		did |= log_is_behind(&db->log) && follow_log(db, maintainer);
		did |= prepare(db, maintainer);
	}
	/* A fast writer always wants something prepared: compaction does not
	 * wait for that to end, nor do the hints that it needs. */
	wants = maintainer && reclaim_wants(&db->reclaim, &db->log);
	if (!did || wants)
		did |= follow_log(db, maintainer);
	if (wants)
		did |= reclaim_step(&db->reclaim, &db->log);
	if (!did && is_idle(db))
		did = attest(db) ||
		      (maintainer && !wants && merge_when_idle(db, merge_ns));
	tail_rest(&atomic_load(&db->views.view)->tail);
	/* Those who go on writing see to it meanwhile. */
	if (!did && db->control.shared)
		control_drop_maintainer(&db->control);
	pthread_mutex_unlock(&db->maintain_lock);
	return did;
}

void
store_rest(struct store *db)
{
	pthread_mutex_lock(&db->maintain_lock);
	if (db->control.shared)
		control_drop_maintainer(&db->control);
	pthread_mutex_unlock(&db->maintain_lock);
}

static void
wait_for_work(struct store *db)
{
	struct timespec until;
	uint64_t ns = db->interval_ms * UINT64_C(500000);
	const uint64_t rest_ms = reclaim_rest_ms(&db->reclaim);

	if (atomic_load(&db->interval_seq) > log_durable(&db->log)) {
		/* a sync by interval is due */
	} else if (atomic_load(&db->log.unattested)) {
		ns = IDLE_NS;
	} else if (rest_ms != UINT64_MAX) {
		ns = min_u64(rest_ms, REST_MS) * UINT64_C(1000000);
	} else {
		while (!db->thread_work && !db->thread_stop)
			pthread_cond_wait(&db->thread_wake, &db->thread_lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec = (long)(ns % 1000000000);
	while (!db->thread_work && !db->thread_stop)
		if (pthread_cond_timedwait(
			&db->thread_wake, &db->thread_lock, &until) != 0)
			return;
}

static void *
run_thread(void *arg)
{
	struct store *db = arg;

	pthread_mutex_lock(&db->thread_lock);
	while (!db->thread_stop) {
		db->thread_work = false;
		pthread_mutex_unlock(&db->thread_lock);
		while (store_maintain_step(db, IDLE_MERGE_NS))
			;
		pthread_mutex_lock(&db->thread_lock);
		wait_for_work(db);
	}
	pthread_mutex_unlock(&db->thread_lock);
	return NULL;
}

/* Wake the thread, started now if it does not run yet; false if it cannot be
 * started, so that what cannot wait is done where it is needed. */
static bool
wake_thread(struct store *db)
{
	bool runs;

	pthread_mutex_lock(&db->thread_lock);
	db->thread_work = true;
	if (!db->thread_unwanted && !db->thread_runs && !db->thread_stop)
		db->thread_runs =
		    os->thread_start(&db->thread, "kvlog", run_thread, db) == 0;
	/* Where none is wanted, kvlog_maintain() will see to it. */
	runs = db->thread_runs || db->thread_unwanted;
	pthread_cond_signal(&db->thread_wake);
	pthread_mutex_unlock(&db->thread_lock);
	return runs;
}

static void
wake_for_work(void *arg)
{
	(void)wake_thread(arg);
}

static void
stop_thread(struct store *db)
{
	bool runs;

	pthread_mutex_lock(&db->thread_lock);
	db->thread_stop = true;
	runs = db->thread_runs;
	pthread_cond_signal(&db->thread_wake);
	pthread_mutex_unlock(&db->thread_lock);
	if (runs)
		os->thread_join(db->thread);
	db->thread_runs = false;
	atomic_load(&db->views.view)->hints.go_on = NULL;
}

/* Opening */

/* The bound that was asked for, or else the one kept with the store. */
static void
settle_segment_size(struct store *db, const struct segset *set)
{
	const struct segment *last = set->segments[set->count - 1];
	uint64_t kept = last->header.max_size;

	if (db->options.segment_size != 0)
		return;
	/* Whatever stands there passed a checksum, but may be hostile. */
	if (kept < KVLOG_SEGMENT_SIZE_MIN || kept > KVLOG_SEGMENT_SIZE_MAX)
		kept = KVLOG_SEGMENT_SIZE_DEFAULT;
	db->options.segment_size = kept & ~(uint64_t)(BLOCK_SIZE - 1);
}

static enum kvlog_status
repair(struct store *db, struct view *view, struct kvlog_error *err)
{
	const struct recovery *r = &view->recovery;
	enum kvlog_status st = repair_log(&db->dir, &db->control, &view->hints,
	    &view->recovery, db->options.segment_size, err);

	/* A sync that failed here must not be tried again on the same pages
	 * by the next opening. */
	if (r->sync_failed && r->warm) /* in one word, as a kill may come */
		(void)control_set_poison(&db->control);
	else if (r->sync_failed)
		(void)control_format_poisoned(
		    &db->control, r->poisoned ? r->state.durable : r->attested);
	return st;
}

/*
 * Closing gave unused space of the active segment back.  If the disk has
 * filled up meanwhile, the segment ends where it is and the reserve becomes
 * the next one, so that deletes are possible.  So does one that is shared.
 */
static enum kvlog_status
make_active_writable(
    struct store *db, struct view *view, struct kvlog_error *err)
{
	struct segment *active = view->set->segments[view->set->count - 1];
	struct os_stat file;
	enum kvlog_status st;

	if (active->map.writable)
		return KVLOG_OK;
	/* A file with another name may be another store's, too. */
	if (os->stat_name(db->dir.fd, active->name, &file) != 0 ||
	    file.link_count <= 1) {
		st = segment_make_writable(active, &db->dir, err);
		if (st != KVLOG_NOSPACE)
			return st;
	}
	view->recovery.unclean = true;
	return repair(db, view, err);
}

/* A spare of an earlier opening may have been copied with the store: its salt
 * must not be used twice. */
static void
drop_old_spare(struct store *db, const struct file_list *files)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->files[i].kind == FILE_SPARE)
			os->unlink(db->dir.fd, files->files[i].name);
}

/* As the only writer: put in order what the last one left. */
static enum kvlog_status
take_over(struct store *db, struct view *view, struct kvlog_error *err)
{
	enum kvlog_status st = recover_find(
	    &db->dir, &db->control, &view->hints, &view->recovery, err);

	if (st != KVLOG_OK)
		return st;
	settle_segment_size(db, view->set);
	drop_old_spare(db, &view->recovery.files);
	st = repair(db, view, err);
	if (st == KVLOG_OK)
		st = make_active_writable(db, view, err);
	if (st == KVLOG_OK)
		st = view_load(&db->views, view, err);
	if (st != KVLOG_OK)
		return st;
	view_use(&db->views, view_ref(view));
	st = log_init(&db->log, &db->dir, &db->control, &db->views,
	    db->options.segment_size, db->options.timeout_ms, &view->recovery,
	    err);
	/* Without a reserve puts are refused, not the opening. */
	if (st == KVLOG_OK &&
	    repair_make_reserve(&db->dir, db->options.segment_size) != 0)
		(void)control_set_reserve_used(&db->control, true);
	return st;
}

/* Beside other writers: see what they have published, as a reader does. */
static enum kvlog_status
join_writers(struct store *db, struct kvlog_error *err)
{
	struct view *view;
	struct segment *active;
	enum kvlog_status st;

	/* The others may write meanwhile, and close. */
	control_opened(&db->control);
	st = views_refresh(&db->views, err);
	if (st != KVLOG_OK)
		return st;
	view = atomic_load(&db->views.view);
	settle_segment_size(db, view->set);
	active = view->set->segments[view->set->count - 1];
	/* Nobody looks anything up yet. */
	if (!active->map.writable)
		st = segment_make_writable(active, &db->dir, err);
	if (st == KVLOG_NOSPACE) { /* the next commit goes to a new one */
		st = segment_share_writing(active, &db->dir, err);
		active->allocated = segment_end(active);
	}
	if (st != KVLOG_OK)
		return st;
	return log_init(&db->log, &db->dir, &db->control, &db->views,
	    db->options.segment_size, db->options.timeout_ms, NULL, err);
}

/* *ret_other: a store that this process has open, to be used instead. */
static enum kvlog_status
open_for_writing(
    struct store *db, struct store **ret_other, struct kvlog_error *err)
{
	enum place place = PLACE_EMPTY;
	struct view *view;
	bool sole = false, blank;
	enum kvlog_status st = check_place(db, &place, err);

	if (st == KVLOG_OK)
		st = control_open(&db->control, &db->dir, true, err);
	if (st == KVLOG_OK)
		st = control_lock_writer(&db->control, &db->dir,
		    !wants(db, KVLOG_OPEN_UNSHARED), db->options.timeout_ms,
		    &sole, err);
	*ret_other = db->control.other;
	if (*ret_other != NULL)
		return KVLOG_OK;
	if (st != KVLOG_OK)
		return st;
	db->views.writable = true;
	if (!sole) {
		st = join_writers(db, err);
	} else {
		st = create_if_absent(db, place, err);
		if (st != KVLOG_OK)
			return st;
		blank = control_is_blank(&db->control);
		view = view_create(&db->views);
		if (view == NULL)
			return err_set(
			    err, KVLOG_NOMEM, 0, "open %s", db->dir.path);
		st = take_over(db, view, err);
		/* A backup that is written to is one no more (backup.c). */
		if (st == KVLOG_OK && blank)
			st = control_sync(&db->control, err);
		view_unref(view);
		if (st == KVLOG_OK)
			control_opened(&db->control);
	}
	if (st != KVLOG_OK)
		return st;
	db->log.wake = wake_for_work;
	db->log.wake_arg = db;
	registry_offer_writer(
	    db->control.registered, wants(db, KVLOG_OPEN_UNSHARED) ? NULL : db);
	return KVLOG_OK;
}

static enum kvlog_status
open_for_reading(struct store *db, struct kvlog_error *err)
{
	enum kvlog_status st;

	st = control_open(&db->control, &db->dir, false, err);
	if (st == KVLOG_OK)
		st = views_refresh(&db->views, err);
	if (st == KVLOG_NOSTORE) {
		enum place place;
		enum kvlog_status why = check_place(db, &place, err);

		return why != KVLOG_OK ? why : st;
	}
	if (st != KVLOG_OK)
		return st;
	atomic_store(&db->views.looked_ns, os->coarse_ns());
	settle_segment_size(db, atomic_load(&db->views.view)->set);
	return KVLOG_OK;
}

static void
destroy(struct store *db)
{
	reclaim_fini(&db->reclaim);
	log_fini(&db->log);
	views_fini(&db->views);
	control_close(&db->control);
	dir_close(&db->dir);
	pthread_cond_destroy(&db->thread_wake);
	pthread_mutex_destroy(&db->thread_lock);
	pthread_mutex_destroy(&db->maintain_lock);
	os->free(db);
}

static struct store *
allocate(const struct kvlog_options *options)
{
	struct store *db = os->calloc(1, sizeof *db);
	pthread_condattr_t attr;

	if (db == NULL)
		return NULL;
	db->options = *options;
	if (db->options.index_mode == KVLOG_INDEX_DEFAULT)
		db->options.index_mode = KVLOG_INDEX_MEMORY;
	db->thread_unwanted = wants(db, KVLOG_OPEN_NOTHREAD);
	db->interval_ms = options->interval_ms;
	db->reclaim.policy = (struct reclaim_policy){
	    .off = wants(db, KVLOG_OPEN_NOCOMPACT),
	    .percent = options->compact_percent,
	    .bytes = options->compact_bytes,
	    .rate = options->compact_rate,
	};
	db->reclaim.go_on = store_go_on;
	db->reclaim.go_on_arg = db;
	db->dir.fd = -1;
	db->control.fd = -1;
	db->writable = !wants(db, KVLOG_OPEN_READONLY);
	pthread_mutex_init(&db->maintain_lock, NULL);
	pthread_mutex_init(&db->thread_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&db->thread_wake, &attr);
	pthread_condattr_destroy(&attr);
	db->views.dir = &db->dir;
	db->views.control = &db->control;
	db->views.index_mode = db->options.index_mode;
	db->views.verify = !wants(db, KVLOG_OPEN_NOVERIFY);
	db->views.load_threads = db->options.load_threads;
	db->views.go_on = store_go_on;
	db->views.go_on_arg = db;
	if (views_init(&db->views) == 0)
		return db;
	destroy(db);
	return NULL;
}

/* One more handle on a store: no promise to it is broken. */
static void
take_part(struct store *db, const struct kvlog_options *options)
{
	uint32_t before = atomic_load(&db->interval_ms);

	while (options->interval_ms < before &&
	       !atomic_compare_exchange_weak(
		   &db->interval_ms, &before, options->interval_ms))
		;
	pthread_mutex_lock(&db->thread_lock);
	db->thread_unwanted =
	    db->thread_unwanted && (options->flags & KVLOG_OPEN_NOTHREAD) != 0;
	db->thread_work = true; /* it may wait for the longer interval */
	pthread_cond_signal(&db->thread_wake);
	pthread_mutex_unlock(&db->thread_lock);
}

/*
 * Whether the path may lead to another directory by now: a backup has taken
 * the place of an earlier one, whose files go.  A writer that has the store has
 * kept the backup from that.
 */
static bool
is_replaced(const struct store *db, enum kvlog_status st)
{
	return db->dir.path != NULL && (st != KVLOG_OK || !db->writable) &&
	       dir_is_replaced(&db->dir);
}

/* *ret_db is a new store, or one that this process has open for writing;
 * *ret_replaced: neither, and it may be tried again. */
static enum kvlog_status
open_store(const char *path, const struct kvlog_options *options,
    struct store **ret_db, bool *ret_replaced, struct kvlog_error *err)
{
	uint64_t start = os->ticks_ns();
	struct store *db = allocate(options), *other = NULL;
	enum kvlog_status st;

	*ret_replaced = false;
	if (db == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "open %s", path);
	st = open_directory(db, path, err);
	if (st == KVLOG_OK)
		st = db->writable ? open_for_writing(db, &other, err)
				  : open_for_reading(db, err);
	if (other != NULL)
		take_part(other, options);
	*ret_replaced = other == NULL && is_replaced(db, st);
	if (st != KVLOG_OK || other != NULL || *ret_replaced) {
		destroy(db);
		*ret_db = other;
		return st;
	}
	db->open_ns = os->ticks_ns() - start;
	*ret_db = db;
	return KVLOG_OK;
}

enum kvlog_status
store_open(const char *path, const struct kvlog_options *options,
    struct kvlog **ret_db, struct kvlog_error *err)
{
	struct kvlog *handle = os->calloc(1, sizeof *handle);
	struct kvlog_error failure = {0}; /* may be got over */
	enum kvlog_status st = KVLOG_OK;
	bool replaced = true;

	if (handle == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "open %s", path);
	handle->durability = options->durability;
	for (unsigned i = 0; i < OPEN_TRIES && replaced; i++)
		st = open_store(
		    path, options, &handle->store, &replaced, &failure);
	if (replaced)
		st = err_set(&failure, KVLOG_BUSY, 0,
		    "%s became another directory each time it was opened; "
		    "try again",
		    path);
	if (st == KVLOG_OK) {
		*ret_db = handle;
		return KVLOG_OK;
	}
	os->free(handle);
	if (err != NULL)
		*err = failure;
	return st;
}

enum kvlog_status
store_close(struct kvlog *handle, struct kvlog_error *err)
{
	struct store *db = handle->store;
	enum kvlog_status st = KVLOG_OK;

	os->free(handle);
	/* What other threads of the parent were doing with it at the fork will
	 * never end here. */
	if (store_is_forked(db))
		return KVLOG_OK;
	/* What this process wrote; the rest is for others to sync.  While the
	 * store is sure to be there: another thread may end the last part in
	 * it. */
	if (db->writable)
		st = log_sync(&db->log, atomic_load(&db->log.own_seq), err);
	if (db->writable && !registry_withdraw_writer(db->control.registered))
		return st;
	stop_thread(db);
	if (db->writable && st == KVLOG_OK)
		st = log_close(&db->log, err);
	destroy(db);
	return st;
}

/* Reading and writing */

/* Without the thread, to wait for what is done here would help nobody.  Deletes
 * do not wait: when most of a store goes, garbage is most of it, and nothing
 * grows. */
static void
pay(struct store *db, const struct commit_op *ops, size_t op_count)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < op_count; i++)
		if (ops[i].type == RECORD_PUT)
			bytes += (uint64_t)ops[i].key_len + ops[i].value_len;
	reclaim_wait(
	    &db->reclaim, &db->log, bytes, atomic_load(&db->thread_runs));
}

/* As was promised: now, or by the thread when it is due. */
static enum kvlog_status
make_durable(struct store *db, enum kvlog_durability durability, uint64_t seq,
    struct kvlog_error *err)
{
	uint64_t before;

	if (durability == KVLOG_DURABILITY_COMMIT)
		return log_sync(&db->log, seq, err);
	if (durability != KVLOG_DURABILITY_INTERVAL)
		return KVLOG_OK;
	before = atomic_load(&db->interval_seq);
	while (before < seq &&
	       !atomic_compare_exchange_weak(&db->interval_seq, &before, seq))
		;
	/* If something was due before this, the thread knows; who found no
	 * thread then syncs up to his own commit. */
	if ((before <= log_durable(&db->log) ||
		!atomic_load(&db->thread_runs)) &&
	    !wake_thread(db))
		return log_sync(&db->log, seq, err);
	return KVLOG_OK;
}

/* After a commit: what its caller waits for. */
static enum kvlog_status
end_write(struct kvlog *handle, const struct commit_op *ops, size_t op_count,
    enum kvlog_durability durability, uint64_t seq, struct kvlog_error *err)
{
	struct store *db = handle->store;
	enum kvlog_status st;

	if (durability == KVLOG_DURABILITY_DEFAULT)
		durability = handle->durability;
	st = make_durable(db, durability, seq, err);
	if (UNLIKELY(reclaim_presses(&db->reclaim, &db->log)))
		pay(db, ops, op_count);
	return st;
}

enum kvlog_status
store_write(struct kvlog *handle, const struct commit_op *ops, size_t op_count,
    bool strict, enum kvlog_durability durability,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	enum kvlog_status st = log_commit(&handle->store->log, ops, op_count,
	    strict, ret_receipt, ret_failed, err);

	return st == KVLOG_OK ? end_write(handle, ops, op_count, durability,
				    ret_receipt->seq, err)
			      : st;
}

enum kvlog_status
store_write_owned(struct kvlog *handle, const struct ownership *own,
    const struct commit_op *ops, size_t op_count,
    enum kvlog_durability durability, struct kvlog_receipt *ret_receipt,
    struct kvlog_error *err)
{
	enum kvlog_status st = log_commit_owned(
	    &handle->store->log, own, ops, op_count, ret_receipt, err);

	return st == KVLOG_OK ? end_write(handle, ops, op_count, durability,
				    ret_receipt->seq, err)
			      : st;
}

static void
set_place(struct kvlog_info *info, uint32_t segment, uint64_t off)
{
	if (info != NULL)
		*info = (struct kvlog_info){.segment = segment, .offset = off};
}

/* Once it is found, it is at each operation. */
static bool
is_look_due(const struct views *views)
{
	uint64_t looked =
	    atomic_load_explicit(&views->looked_ns, memory_order_relaxed);

	return os->coarse_ns() - looked >= VIEWS_LOOK_NS ||
	       atomic_load_explicit(&views->superseded, memory_order_relaxed);
}

/*
 * Enter the epoch with a view that shows all that was published before this
 * call: the look at the position comes first, and what this process publishes
 * itself is applied within moments.
 */
#define SPINS 1000

enum kvlog_status
store_enter(
    struct store *db, struct epoch_token *ret_token, struct view **ret_view)
{
	struct views *views = &db->views;
	struct epoch_token token;
	struct view *view;
	enum kvlog_status st;

	if (!db->writable && UNLIKELY(is_look_due(views))) {
		st = views_look(views);
		if (st != KVLOG_OK)
			return st;
	}
	token = epoch_enter(views->epoch);
	view = atomic_load_explicit(&views->view, memory_order_acquire);
	if (UNLIKELY(!view_is_current(views, view))) {
		uint64_t goal = control_position(&db->control);
		/* Commits are applied within moments; what a compaction of
		 * another process has replaced is not. */
		unsigned spins =
		    db->writable &&
			    view_stamp(view) == control_stamp(&db->control) &&
			    atomic_load(&view->late_pos) != goal
			? SPINS
			: 0;

		while (spins > 0 && atomic_load(&view->applied) < goal)
			spins--;
		if (spins == 0) {
			epoch_leave(views->epoch, token);
			st = views_refresh(views, NULL);
			if (st != KVLOG_OK)
				return st;
			if (db->writable)
				log_close_synced(&db->log);
			token = epoch_enter(views->epoch);
			view = atomic_load(&views->view);
		}
	}
	*ret_token = token;
	*ret_view = view;
	return KVLOG_OK;
}

static enum kvlog_status
judge(const struct view *view, const struct index_ref *ref, bool with_value,
    uint64_t *now_ms)
{
	return view_judge(
	    view, ref, view_has_expired(view, &ref->rec, now_ms), with_value);
}

/* What is handed out is of a bucket that is there. */
static enum kvlog_status
read_in_view(struct view *view, struct bucket_handle *bucket, uint64_t hash,
    const struct hint_key *key, bool with_value, uint64_t now_ms,
    store_read_fn *fn, void *arg, struct kvlog_info *ret_info)
{
	struct index_ref ref;
	struct kvlog_error damage;
	enum kvlog_status there = KVLOG_OK,
			  st = index_find_committed(
			      &view->index, hash, key, &ref, NULL);

	if (st == KVLOG_OK)
		st = judge(view, &ref, with_value, &now_ms);
	if (bucket != NULL)
		there = bucket_check(view, bucket, &damage);
	if (there == KVLOG_CORRUPT)
		set_place(ret_info, damage.segment, damage.offset);
	else if (st == KVLOG_CORRUPT)
		set_place(ret_info, segment_number(ref.seg), ref.off);
	if (there != KVLOG_OK)
		return there;
	if (st == KVLOG_OK)
		st = fn(arg, &ref);
	return st;
}

void
store_find_many(
    struct view *view, struct index_find *finds, size_t count, uint64_t *now_ms)
{
	struct index *index = &view->index;
	uint32_t batches = index_batches(index);
	bool whole;

	index_find_many(index, finds, count);
	whole = (batches & 1) == 0 && index_batches(index) == batches;
	for (size_t i = 0; i < count; i++) {
		struct index_find *f = &finds[i];

		/* Beside a writer of batches, one by one is soon done. */
		if (UNLIKELY(!whole)) {
			f->status = index_find_committed(
			    index, f->hash, &f->key, &f->ref, NULL);
			f->sound = false;
		}
		if (f->status == KVLOG_OK && !f->sound)
			f->status = judge(view, &f->ref, true, now_ms);
	}
}

bool
store_may_try_again(const struct store *db, enum kvlog_status st,
    const struct view *view, uint64_t stamp)
{
	return st == KVLOG_IO && (atomic_load(&view->stamp) != stamp ||
				     control_stamp(&db->control) != stamp);
}

enum kvlog_status
store_read(struct store *db, struct bucket_handle *bucket, const void *key,
    size_t key_len, bool with_value, uint64_t now_ms, store_read_fn *fn,
    void *arg, struct kvlog_info *ret_info)
{
	const struct hint_key whole = bucket_key(bucket, key, key_len);
	uint64_t hash = hint_key_hash(db->views.secret, &whole);
	struct epoch_token token;
	struct view *view;
	uint64_t stamp;
	enum kvlog_status st;
	bool again;

	do {
		st = store_enter(db, &token, &view);
		if (st != KVLOG_OK)
			return st;
		stamp = view_stamp(view);
		st = read_in_view(view, bucket, hash, &whole, with_value,
		    now_ms, fn, arg, ret_info);
		again = UNLIKELY(store_may_try_again(db, st, view, stamp));
		epoch_leave(db->views.epoch, token);
	} while (again);
	return st;
}

static inline enum kvlog_status
copy(void *buf, size_t cap, const uint8_t *value, size_t len)
{
	if (len > cap)
		return KVLOG_TOOSMALL;
	if (len > 0)
		memcpy(buf, value, len);
	return KVLOG_OK;
}

/* In the epoch, in a view that shows all that is published; KVLOG_CORRUPT if it
 * is not so plain. */
SUM_TARGET static inline enum kvlog_status
copy_plain(const struct view *view, uint64_t hash, const void *key,
    size_t key_len, void *buf, size_t cap, size_t *ret_len)
{
	const struct index *index = &view->index;
	uint32_t batches = index_batches(index), len;
	struct record_plain plain = {NULL, 0, 0};
	const uint8_t *value;
	enum kvlog_status st =
	    index_find_plain(index, hash, key, key_len, &plain);

	/* As in index_find_committed(). */
	if (UNLIKELY((batches & 1) != 0 || index_batches(index) != batches))
		return KVLOG_CORRUPT;
	if (UNLIKELY(st != KVLOG_OK))
		return st;
	value = record_plain_value(&plain, &len);
	if (index->verify && UNLIKELY(!sum_pair_ok_instruction(
				 plain.p, plain.head_len, len, plain.seed)))
		return KVLOG_CORRUPT;
	if (ret_len != NULL)
		*ret_len = len;
	return copy(buf, cap, value, len);
}

struct copy_to {
	void *buf;
	size_t cap;
	size_t *ret_len;
};

static enum kvlog_status
copy_value(void *arg, const struct index_ref *ref)
{
	const struct copy_to *to = arg;
	size_t len = ref->rec.value_len;

	if (to->ret_len != NULL)
		*to->ret_len = len;
	return copy(to->buf, to->cap, ref->rec.value, len);
}

/* The whole way. */
ATTR_NOINLINE static enum kvlog_status
read_copy(struct store *db, struct bucket_handle *bucket, const void *key,
    size_t key_len, void *buf, size_t cap, size_t *ret_len)
{
	struct copy_to to = {buf, cap, ret_len};

	return store_read(
	    db, bucket, key, key_len, true, 0, copy_value, &to, NULL);
}

/* store_read_copy() where checksums are inlined. */
SUM_TARGET static enum kvlog_status
read_copy_inline(struct store *db, const void *key, size_t key_len, void *buf,
    size_t cap, size_t *ret_len)
{
	struct views *views = &db->views;
	uint64_t hash = sum_hash_inline(views->secret, key, key_len);
	struct epoch_token token = epoch_enter(views->epoch);
	const struct view *view =
	    atomic_load_explicit(&views->view, memory_order_acquire);
	enum kvlog_status st = KVLOG_CORRUPT;

	if (LIKELY((db->writable || !is_look_due(views)) &&
		   view_shows(views, view, hash)))
		st = copy_plain(view, hash, key, key_len, buf, cap, ret_len);
	epoch_leave(views->epoch, token);
	return LIKELY(st != KVLOG_CORRUPT)
		   ? st
		   : read_copy(db, NULL, key, key_len, buf, cap, ret_len);
}

enum kvlog_status
store_read_copy(struct store *db, struct bucket_handle *bucket, const void *key,
    size_t key_len, void *buf, size_t cap, size_t *ret_len)
{
	return LIKELY(bucket == NULL && sum_may_inline())
		   ? read_copy_inline(db, key, key_len, buf, cap, ret_len)
		   : read_copy(db, bucket, key, key_len, buf, cap, ret_len);
}

enum kvlog_status
store_find_bucket(struct store *db, const void *name, size_t name_len,
    struct bucket_id *ret_id, struct kvlog_error *err)
{
	struct epoch_token token;
	struct view *view;
	uint64_t stamp;
	enum kvlog_status st;
	bool again;

	do {
		st = store_enter(db, &token, &view);
		if (st != KVLOG_OK)
			return err_set(err, st, 0, "look at %s", db->dir.path);
		stamp = view_stamp(view);
		st = bucket_find(view, name, name_len, ret_id, err);
		again = store_may_try_again(db, st, view, stamp);
		epoch_leave(db->views.epoch, token);
	} while (again);
	return st;
}

enum kvlog_status
store_keep_view(struct store *db, struct view **ret_view)
{
	struct epoch_token token;
	enum kvlog_status st = store_enter(db, &token, ret_view);

	if (st != KVLOG_OK)
		return st;
	view_ref(*ret_view);
	epoch_leave(db->views.epoch, token);
	return KVLOG_OK;
}

/* Make the images of a cover.  A damaged record there keeps nobody from all
 * others; the walk tells of it, and the store. */
static enum kvlog_status
build_around(struct view *view, struct hint_cover *cover)
{
	enum kvlog_status st = hint_cover_build(cover, true, NULL);

	for (size_t i = 0; i < cover->count && st == KVLOG_OK; i++) {
		const struct hint_damage *hurt = &cover->hints[i]->hurt;

		if (hurt->seg != NULL)
			hintset_note_hurt(&view->hints, hurt->seg, hurt->off);
	}
	return st;
}

static enum kvlog_status
walk_view(struct store *db, struct view *view, const struct cursor_range *range,
    struct cursor **ret_cursor)
{
	struct cursor_range now = *range;
	struct hint_cover cover;
	enum kvlog_status st;

	tail_enter(&view->tail);
	views_enter(&db->views);
	view_adopt_hints(&db->views, view);
	st = hintset_cover_all(&view->hints, &cover, NULL);
	pthread_mutex_unlock(&db->views.lock);
	if (st == KVLOG_OK)
		st = tail_build(&view->tail, &cover, NULL);
	tail_leave(&view->tail);
	if (st == KVLOG_CORRUPT)
		st = build_around(view, &cover);
	if (now.now_ms == 0)
		now.now_ms = view_now_ms(view);
	if (st == KVLOG_OK)
		st = cursor_create(cover.hints, cover.count, &now, ret_cursor);
	hint_cover_fini(&cover);
	return st;
}

static enum kvlog_status
look_at_bucket(
    struct store *db, struct view *view, struct bucket_handle *bucket)
{
	struct epoch_token token = epoch_enter(db->views.epoch);
	enum kvlog_status st = bucket_check(view, bucket, NULL);

	epoch_leave(db->views.epoch, token);
	return st;
}

enum kvlog_status
store_cursor(struct store *db, struct bucket_handle *bucket,
    const struct cursor_range *range, struct view **ret_view,
    struct cursor **ret_cursor)
{
	struct view *view;
	uint64_t stamp;
	enum kvlog_status st;
	bool again;

	do {
		st = store_keep_view(db, &view);
		if (st != KVLOG_OK)
			return st;
		stamp = view_stamp(view);
		st = walk_view(db, view, range, ret_cursor);
		/* What is there afterwards was there at the walk's moment. */
		if (st == KVLOG_OK && bucket != NULL) {
			st = look_at_bucket(db, view, bucket);
			if (st != KVLOG_OK)
				cursor_destroy(*ret_cursor);
		}
		again = store_may_try_again(db, st, view, stamp);
		if (st == KVLOG_OK)
			*ret_view = view;
		else
			view_release(&db->views, view);
	} while (again);
	return st;
}

bool
store_counts(const struct merge_entry *e, enum kvlog_status st)
{
	return st == KVLOG_OK ||
	       (e->hash != MERGE_NO_HASH && e->rec.key == NULL);
}

static enum kvlog_status
count_by_walk(
    struct store *db, struct bucket_handle *bucket, uint64_t *ret_count)
{
	struct cursor_range all = {.keys_only = true};
	struct cursor *cursor;
	struct view *view;
	uint64_t count = 0;
	enum kvlog_status st;

	if (bucket != NULL) {
		all.bucket_seq = bucket->id.seq;
		all.bucket_ordinal = bucket->id.ordinal;
	}
	st = store_cursor(db, bucket, &all, &view, &cursor);
	if (st != KVLOG_OK)
		return st;
	while ((st = cursor_next(cursor)) == KVLOG_OK || st == KVLOG_CORRUPT) {
		const struct merge_entry *e = cursor_entry(cursor);

		if (e->hash == MERGE_NO_HASH)
			hintset_note_hurt(&view->hints, e->seg, e->off);
		else
			count += store_counts(e, st);
	}
	cursor_destroy(cursor);
	view_release(&db->views, view);
	if (st != KVLOG_NOTFOUND)
		return st;
	*ret_count = count;
	return KVLOG_OK;
}

enum kvlog_status
store_count(struct store *db, struct bucket_handle *bucket, uint64_t *ret_count)
{
	struct epoch_token token;
	struct view *view;
	enum kvlog_status st;
	bool odd;

	if (bucket != NULL || db->options.index_mode == KVLOG_INDEX_HINTS)
		return count_by_walk(db, bucket, ret_count);
	st = store_enter(db, &token, &view);
	if (st != KVLOG_OK)
		return st;
	odd = atomic_load(&view->index.odd);
	*ret_count = index_count(&view->index);
	epoch_leave(db->views.epoch, token);
	return odd ? count_by_walk(db, NULL, ret_count) : KVLOG_OK;
}

uint64_t
store_last_seq(struct store *db)
{
	struct epoch_token token;
	struct view *view;
	uint64_t last_seq;

	/* If the newest cannot be had, what was seen last is true as well. */
	if (store_enter(db, &token, &view) != KVLOG_OK) {
		token = epoch_enter(db->views.epoch);
		view = atomic_load(&db->views.view);
	}
	last_seq = atomic_load_explicit(&view->last_seq, memory_order_acquire);
	epoch_leave(db->views.epoch, token);
	return last_seq;
}

uint64_t
store_durable_seq(struct store *db)
{
	uint64_t last = store_last_seq(db), durable;
	struct view *view = view_hold(&db->views);

	durable = view_durable(&db->views, view);
	view_release(&db->views, view);
	return min_u64(durable, last); /* ranges begin beyond the last */
}

#define POLL_NS UINT64_C(2000000)

enum kvlog_status
store_wait_durable(struct store *db, uint64_t seq, uint32_t timeout_ms)
{
	uint64_t end = os->ticks_ns() + timeout_ms * UINT64_C(1000000);

	if (db->writable)
		return log_wait(&db->log, seq, timeout_ms);
	/* Nobody tells a reader. */
	while (store_durable_seq(db) < seq) {
		if (os->ticks_ns() >= end)
			return KVLOG_TIMEOUT;
		os->sleep_ns(POLL_NS);
	}
	return KVLOG_OK;
}

static enum kvlog_status
walk_all(struct store *db, uint64_t *ret_bytes, uint64_t *ret_records)
{
	const struct cursor_range all = {
	    .all_buckets = true, .keys_only = true};
	struct cursor *cursor;
	struct view *view;
	enum kvlog_status st = store_cursor(db, NULL, &all, &view, &cursor);

	*ret_bytes = *ret_records = 0;
	if (st != KVLOG_OK)
		return st;
	while ((st = cursor_next(cursor)) == KVLOG_OK || st == KVLOG_CORRUPT) {
		const struct merge_entry *e = cursor_entry(cursor);
		const struct record *rec = &e->rec;

		if (st == KVLOG_OK)
			*ret_bytes += rec->size;
		if (store_counts(e, st) &&
		    !bucket_is_catalogue(rec->bucket_seq, rec->bucket_ordinal))
			++*ret_records;
	}
	cursor_destroy(cursor);
	view_release(&db->views, view);
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

static enum kvlog_status
file_bytes(struct store *db, uint64_t *ret_bytes)
{
	struct file_list list;
	enum kvlog_status st = dir_list(&db->dir, &list, NULL);

	*ret_bytes = 0;
	if (st != KVLOG_OK)
		return st;
	for (size_t i = 0; i < list.count; i++) {
		struct os_stat os_st;

		if (os->stat_name(db->dir.fd, list.files[i].name, &os_st) == 0)
			*ret_bytes += os_st.allocated;
	}
	file_list_fini(&list);
	return KVLOG_OK;
}

/* What a view and opening it tell; bytes of records in *ret_records. */
static void
fill_stats(struct view *view, struct kvlog_stats *s, uint64_t *ret_records)
{
	const struct recovery *r = &view->recovery;
	struct hint_list *list;
	struct hint_damage hurt;

	*ret_records = 0;
	for (size_t i = 0; i < view->set->count; i++) {
		const struct segment *seg = view->set->segments[i];

		*ret_records += segment_end(seg) - SEGMENT_DATA_OFF;
		s->free_bytes = segment_limit(seg) - segment_end(seg);
		s->active_segment = segment_number(seg);
	}
	s->segment_count = view->set->count;
	list = hint_list_get(&view->hints);
	for (size_t i = 0; i < list->count; i++)
		s->hint_count += list->hints[i]->name[0] != '\0';
	hint_list_put(list);
	s->index_bytes = keydir_bytes(view->index.keydir);
	s->recovery = r->flags;
	s->damaged_bytes = r->damaged_bytes;
	s->damaged_ranges = r->damaged_ranges;
	recover_describe(r, s->recovery_text, sizeof s->recovery_text);
	hurt = hintset_hurt(&view->hints);
	if (hurt.seg != NULL) {
		s->recovery |= KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED;
		s->damaged_ranges++;
		if ((r->flags & KVLOG_RECOVERY_DAMAGE) == 0)
			snprintf(s->recovery_text, sizeof s->recovery_text,
			    "damage found in a record and a hint file, first "
			    "in segment %" PRIu32 " at offset %" PRIu64,
			    segment_number(hurt.seg), hurt.off);
	}
	memcpy(s->uuid, view->set->segments[0]->header.store.uuid, 16);
}

enum kvlog_status
store_stats(struct store *db, struct kvlog_stats *s)
{
	struct view *view;
	uint64_t records = 0;
	bool quick = s->quick;
	enum kvlog_status st = KVLOG_OK;

	memset(s, 0, sizeof *s);
	s->size = sizeof *s;
	s->quick = quick;
	if (!quick)
		st = walk_all(db, &s->live_bytes, &s->record_count);
	if (st == KVLOG_OK && !quick)
		st = file_bytes(db, &s->file_bytes);
	if (st == KVLOG_OK)
		st = store_keep_view(db, &view);
	if (st != KVLOG_OK)
		return st;
	/* Where all keys are of one kind, the index knows without a walk. */
	if (!atomic_load(&view->index.odd) &&
	    db->options.index_mode != KVLOG_INDEX_HINTS)
		st = store_count(db, NULL, &s->record_count);
	if (st != KVLOG_OK) {
		view_release(&db->views, view);
		return st;
	}
	views_enter(&db->views);
	fill_stats(view, s, &records);
	view_unref(view);
	pthread_mutex_unlock(&db->views.lock);
	if (!quick && records > s->live_bytes)
		s->dead_bytes = records - s->live_bytes;
	s->compact_runs = atomic_load(&db->reclaim.runs);
	s->compact_bytes_written = atomic_load(&db->reclaim.bytes_written);
	s->compact_bytes_freed = atomic_load(&db->reclaim.bytes_freed);
	s->segment_size = db->options.segment_size;
	s->last_seq = store_last_seq(db);
	s->durable_seq = store_durable_seq(db);
	s->index_mode = db->options.index_mode;
	s->load_ns = db->views.load_ns;
	s->recovery_ns = db->open_ns;
	s->format = SEGMENT_FORMAT;
	return KVLOG_OK;
}
