/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.c - from published to durable.
 *
 * A sync covers all segments that are not synced yet, the oldest first, after
 * the directory (INV-3), and `durable` moves only over a prefix that has been
 * covered.  Whoever waits for the sync lock finds, more often than not, that
 * the sync before has covered its commit too: that is group commit.  A sync
 * that fails is never tried again, for the kernel may have dropped the pages it
 * could not write.
 */
#include "config.h"

#include "sync.h"

#include "repair.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <time.h>

/* While other processes sync too, how often to look at what they did. */
#define WAIT_SLICE_MS 5

/* A sync takes its time, whoever does it: this long one has patience, also if
 * it does not want to wait for a turn. */
#define SYNC_WAIT_MS UINT64_C(5000)

/* For how long to wait for those who may share a sync: some part of what one
 * takes. */
#define GATHER_NS UINT64_C(30000)
#define GATHER_TURNS 100

/* What one sync has to cover; its segments are kept until drop_plan(). */
struct sync_plan {
	struct segment *sealed[64]; /* oldest first */
	size_t sealed_count;
	struct segment *active; /* NULL: more sealed ones than fit come first */
	struct os_map map;      /* its own, as it may be sealed meanwhile */
	uint64_t from, to;      /* what may be dirty in it */
	bool names;             /* some segment's name may not be durable */
	uint64_t seq;           /* durable when it has succeeded */
	uint64_t evidence;      /* ... and what is attested durably then */
	uint64_t position;      /* ... and where it ends */
};

/* The first segment of which not all is synced.  Those before it need no
 * descriptor any more, whoever has synced them. */
static size_t
first_unsynced(struct log *log, uint64_t synced)
{
	struct segset *set = log->view->set;
	size_t first = set->count - 1;

	while (first > 0 && recovery_end_pos(set->segments[first - 1]) > synced)
		first--;
	for (size_t i = min_u64(set->closed, first); i < first; i++)
		segment_close_fd(set->segments[i]);
	set->closed = first;
	return first;
}

/* Sealed segments that may wait for their sync, each with a descriptor, while
 * something is prepared for those to come. */
#define BEHIND_MAX 16

bool
log_is_behind(struct log *log)
{
	uint64_t synced = control_synced(log->control);
	const struct segset *set;
	size_t i;

	views_lock(log->views);
	set = log->view->set;
	for (i = set->count - 1; i > 0; i--)
		if (recovery_end_pos(set->segments[i - 1]) <= synced ||
		    set->count - 1 - i > BEHIND_MAX)
			break;
	i = set->count - 1 - i;
	pthread_mutex_unlock(&log->views->lock);
	return i > BEHIND_MAX;
}

/* Descriptors that one handle may keep of segments that others have synced. */
#define CLOSE_EVERY 8

void
log_close_synced(struct log *log)
{
	if (pthread_mutex_trylock(&log->sync_lock) != 0)
		return;
	views_lock(log->views);
	if (log->view->set->count > log->view->set->closed + CLOSE_EVERY)
		(void)first_unsynced(log, control_synced(log->control));
	pthread_mutex_unlock(&log->views->lock);
	pthread_mutex_unlock(&log->sync_lock);
}

static void
plan_sync(struct log *log, struct sync_plan *plan, size_t max_sealed,
    bool with_active)
{
	const struct segset *set = log->view->set;
	uint64_t synced = control_synced(log->control);
	size_t first;
	bool stale;

	memset(plan, 0, sizeof *plan);
	views_lock(log->views);
	/* What others have published is synced along, if it can be seen. */
	if (log->control->shared)
		(void)view_catch_up(log->views, log->view, &stale, NULL);
	first = first_unsynced(log, synced);
	for (size_t i = first; i + 1 < set->count; i++) {
		if (plan->sealed_count == max_sealed)
			break;
		plan->sealed[plan->sealed_count++] =
		    segment_ref(set->segments[i]);
		plan->seq = set->segments[i]->last_seq;
		plan->evidence = set->segments[i]->evidence;
		plan->position = recovery_end_pos(set->segments[i]);
	}
	/* Else there are more behind it, which cannot be seen now. */
	if (with_active && first + plan->sealed_count + 1 == set->count &&
	    log_active(log)->map.writable) {
		plan->active = segment_ref(log_active(log));
		plan->seq = log->view->next_seq - 1;
		plan->evidence = log->view->evidence;
		plan->position = recovery_end_pos(plan->active);
	}
	/* A sync that reached into a segment has covered its name. */
	plan->names =
	    control_pos_segment(plan->position) > control_pos_segment(synced);
	if (plan->active != NULL) {
		plan->from = plan->names ? 0 : control_pos_off(synced);
		plan->to =
		    max_u64(segment_end(plan->active), plan->active->prepared);
		plan->map = plan->active->map;
	}
	pthread_mutex_unlock(&log->views->lock);
}

/* Those that have been replaced meanwhile go now. */
static void
drop_plan(struct sync_plan *plan)
{
	for (size_t i = 0; i < plan->sealed_count; i++)
		segment_close(plan->sealed[i]);
	segment_close(plan->active);
}

/* Fewer bytes than this are not worth a call. */
#define RENEW_MIN (UINT64_C(64) << 10)

/* What is mapped for reading only needs no protection. */
static void
renew_pages(const struct os_map *map, uint64_t from, uint64_t to)
{
	if (to >= from + RENEW_MIN)
		os->advise(map, from, to - from, OS_ADVICE_RENEW);
}

/* One that was found at opening, or made by another process, may have no
 * descriptor. */
static int
sync_segment(struct log *log, struct segment *seg)
{
	bool opened;
	int rc = segment_open_fd(seg, log->dir, &opened);

	if (rc == 0) {
		if (atomic_load_explicit(&seg->mapped, memory_order_acquire) ==
		    SEGMENT_MAPPED)
			renew_pages(&seg->map, 0, segment_end(seg));
		rc = os->sync(seg->fd);
	}
	if (opened)
		segment_close_fd(seg);
	return rc;
}

/* Somebody died in a sync, which may have failed: what it was about is stored
 * again, so that it is not taken for durable as it is in the cache. */
static int
store_again(struct log *log, const struct sync_plan *plan)
{
	uint64_t synced = control_synced(log->control);
	int rc = os->sync_dir(log->dir->fd);

	for (size_t i = 0; i < plan->sealed_count && rc == 0; i++)
		rc = repair_store_again(log->dir, plan->sealed[i], synced);
	if (rc == 0 && plan->active != NULL)
		rc = repair_store_again(log->dir, plan->active, synced);
	return rc;
}

static int
sync_plan(struct log *log, const struct sync_plan *plan)
{
	int rc = plan->names ? os->sync_dir(log->dir->fd) : 0;

	for (size_t i = 0; i < plan->sealed_count && rc == 0; i++)
		rc = sync_segment(log, plan->sealed[i]);
	if (rc == 0 && plan->active != NULL) {
		renew_pages(&plan->map, plan->from, plan->to);
		rc = os->sync(plan->active->fd);
	}
	return rc;
}

/* Tell all processes what is durable now. */
static int
say_synced(struct log *log, const struct sync_plan *plan, bool *doubtful)
{
	bool further = plan->seq > log_durable(log);
	int rc = 0;

	if (plan->position > control_synced(log->control))
		rc = control_set_synced(log->control, plan->position);
	if (rc == 0 && further)
		rc = control_set_durable(log->control, plan->seq);
	/* As long as not all of it was stored again, there is doubt. */
	if (rc == 0 && (!*doubtful || plan->active != NULL)) {
		*doubtful = false;
		rc = control_set_syncing(log->control, false);
	}
	if (rc != 0 || !further)
		return rc;
	log_wake_waiters(log);
	if (!atomic_exchange(&log->unattested, true) && log->wake != NULL)
		log->wake(log->wake_arg);
	return 0;
}

/* With both locks held.  A failure breaks the log for good. */
static enum kvlog_status
run_sync(struct log *log, const struct sync_plan *plan, bool *doubtful,
    struct kvlog_error *err)
{
	struct kvlog_error cause;
	int rc;

	if (!control_is_named(log->control, log->dir)) {
		err_set(&cause, KVLOG_BROKEN, 0,
		    "%s/%s was removed or replaced while the store was open, "
		    "so another process may write to it; commits after number "
		    "%" PRIu64 " may be lost",
		    log->dir->path, DIR_LOCK_NAME, log_durable(log));
		return log_break(log, &cause, err);
	}
	rc = control_set_syncing(log->control, true);
	if (rc == 0 && *doubtful)
		rc = store_again(log, plan);
	if (rc == 0)
		rc = sync_plan(log, plan);
	if (rc != 0)
		return log_sync_failed(log, rc, err);
	for (size_t i = 0; i < plan->sealed_count; i++)
		segment_close_fd(plan->sealed[i]);
	log->evidence_synced = max_u64(log->evidence_synced, plan->evidence);
	rc = say_synced(log, plan, doubtful);
	if (rc != 0) {
		err_set(&cause, KVLOG_BROKEN, rc,
		    "write to %s/%s failed; close the store, see to the disk, "
		    "and open it again",
		    log->dir->path, DIR_LOCK_NAME);
		return log_break(log, &cause, err);
	}
	return KVLOG_OK;
}

/* What was published last is not known here, for want of memory: nothing can be
 * synced now. */
static bool
is_blind(const struct sync_plan *plan)
{
	return plan->active == NULL && plan->sealed_count == 0;
}

static enum kvlog_status
fail_blind(const struct log *log, struct kvlog_error *err)
{
	return err_set(err, KVLOG_TIMEOUT, 0,
	    "what other processes wrote to %s cannot be seen now, and so not "
	    "be synced; try again",
	    log->dir->path);
}

/* Both locks; KVLOG_TIMEOUT if another process has been syncing for too long.
 * *ret_doubtful: see control_take_sync(). */
static enum kvlog_status
begin_syncs(struct log *log, bool *ret_doubtful, struct kvlog_error *err)
{
	struct kvlog_error cause;
	enum kvlog_status st;

	pthread_mutex_lock(&log->sync_lock);
	st = control_take_sync(log->control,
	    os->ticks_ns() + max_u64(log->timeout_ms, SYNC_WAIT_MS) * 1000000,
	    ret_doubtful, &cause);
	if (st == KVLOG_OK)
		return KVLOG_OK;
	pthread_mutex_unlock(&log->sync_lock);
	/* What is to be synced is published: it has not just failed. */
	if (st != KVLOG_BUSY) {
		cause.status = KVLOG_BROKEN;
		return log_refuse(log, &cause, err);
	}
	cause.status = KVLOG_TIMEOUT;
	if (err != NULL)
		*err = cause;
	return KVLOG_TIMEOUT;
}

static void
end_syncs(struct log *log)
{
	control_release_sync(log->control);
	pthread_mutex_unlock(&log->sync_lock);
}

int
log_sync_ahead(struct log *log, int fd)
{
	bool doubtful;
	int rc = 0;

	if (begin_syncs(log, &doubtful, NULL) != KVLOG_OK)
		return 0;
	/* What is in doubt is for a sync of all that is published. */
	if (!doubtful) {
		rc = control_set_syncing(log->control, true);
		if (rc == 0)
			rc = os->sync(fd);
		if (rc == 0)
			rc = control_set_syncing(log->control, false);
	}
	end_syncs(log);
	return rc;
}

/* Sync until seq is durable. */
static enum kvlog_status
sync_up_to(struct log *log, uint64_t seq, struct kvlog_error *err)
{
	bool doubtful = false, alone;
	uint64_t from, to;
	enum kvlog_status st = begin_syncs(log, &doubtful, err);

	if (st != KVLOG_OK)
		return st;
	while (st == KVLOG_OK && log_durable(log) < seq) {
		struct sync_plan plan;

		st = log_check_health(log, err);
		if (st != KVLOG_OK)
			break;
		plan_sync(log, &plan, ARRAY_LEN(plan.sealed), true);
		if (is_blind(&plan)) {
			st = fail_blind(log, err);
			break;
		}
		from = control_synced(log->control);
		alone = plan.seq == log_durable(log) + 1;
		st = run_sync(log, &plan, &doubtful, err);
		drop_plan(&plan);
		to = control_position(log->control);
		alone = alone && to == plan.position;
		log->span = log->control->shared && !alone ? to - from : 0;
	}
	end_syncs(log);
	return st;
}

/* Group commit */

/* A thread that waits for another one's sync.  Each has a lock of its own, so
 * that those who are woken at once do not meet at one. */
struct sync_waiter {
	struct sync_waiter *next;
	uint64_t seq;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t woken;
	bool is_woken, leads;
};

static void
wake(struct sync_waiter *waiter, bool leads)
{
	pthread_mutex_lock(&waiter->lock);
	waiter->is_woken = true;
	waiter->leads = leads;
	pthread_cond_signal(&waiter->woken);
	pthread_mutex_unlock(&waiter->lock);
}

/*
 * Threads that the last sync let go on come again soon, if they do what they
 * did before: to wait for them for a part of the time that a sync takes costs
 * less than another sync.  Whoever was alone waits for nobody.
 */
static bool
is_gathered(const struct log *log)
{
	return atomic_load(&log->waiting) + 1 >= log->crowd &&
	       control_position(log->control) - control_synced(log->control) >=
		   log->span;
}

static void
gather(struct log *log)
{
	uint64_t until;

	if (is_gathered(log))
		return;
	until = os->ticks_ns() + GATHER_NS;
	for (unsigned i = 0; i < GATHER_TURNS; i++) {
		sched_yield();
		if (is_gathered(log) || os->ticks_ns() >= until)
			break;
	}
}

/* Wait until seq is durable; true: the caller has to sync, for all. */
static bool
wait_for_sync(struct log *log, uint64_t seq)
{
	struct sync_waiter me = {.seq = seq}, **end;

	pthread_mutex_lock(&log->wait_lock);
	if (!log->led || log_durable(log) >= seq) {
		bool leads = log_durable(log) < seq;

		log->led |= leads;
		pthread_mutex_unlock(&log->wait_lock);
		return leads;
	}
	pthread_mutex_init(&me.lock, NULL);
	pthread_cond_init(&me.woken, NULL);
	for (end = &log->waiters; *end != NULL; end = &(*end)->next)
		;
	*end = &me; /* the oldest leads next */
	atomic_fetch_add(&log->waiting, 1);
	pthread_mutex_unlock(&log->wait_lock);

	pthread_mutex_lock(&me.lock);
	while (!me.is_woken)
		pthread_cond_wait(&me.woken, &me.lock);
	pthread_mutex_unlock(&me.lock);
	pthread_cond_destroy(&me.woken);
	pthread_mutex_destroy(&me.lock);
	return me.leads;
}

/* Those whose commits are durable now go on; of the others one leads, also if
 * this sync failed: it will be told why. */
static void
end_lead(struct log *log)
{
	struct sync_waiter *waiters, *done = NULL, **end = &log->waiters, *next;
	struct sync_waiter *leader = NULL;
	uint64_t durable;

	pthread_mutex_lock(&log->wait_lock);
	durable = log_durable(log);
	log->crowd = atomic_load(&log->waiting) + 1;
	for (waiters = log->waiters; waiters != NULL; waiters = next) {
		next = waiters->next;
		if (waiters->seq <= durable) {
			waiters->next = done;
			done = waiters;
		} else if (leader == NULL) {
			leader = waiters;
		} else {
			*end = waiters;
			end = &waiters->next;
			continue;
		}
		atomic_fetch_sub(&log->waiting, 1);
	}
	*end = NULL;
	log->led = leader != NULL;
	pthread_mutex_unlock(&log->wait_lock);
	if (leader != NULL)
		wake(leader, true);
	for (; done != NULL; done = next) {
		next = done->next;
		wake(done, false);
	}
}

/*
 * One thread at a time leads: it syncs for all that have published by then.
 * Those who come meanwhile need the next sync, and get it together.
 */
enum kvlog_status
log_sync(struct log *log, uint64_t seq, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (log_durable(log) >= seq || !wait_for_sync(log, seq))
		return KVLOG_OK;
	gather(log);
	st = sync_up_to(log, seq, err);
	end_lead(log);
	return st;
}

enum kvlog_status
log_sync_sealed(struct log *log, bool *ret_more, struct kvlog_error *err)
{
	struct sync_plan plan;
	bool doubtful = false;
	enum kvlog_status st = begin_syncs(log, &doubtful, err);

	*ret_more = false;
	if (st != KVLOG_OK)
		return st;
	/* What is in doubt is for a sync of all that is published. */
	if (log_check_health(log, NULL) == KVLOG_OK && !doubtful) {
		plan_sync(log, &plan, 1, false);
		if (plan.sealed_count > 0) {
			st = run_sync(log, &plan, &doubtful, err);
			*ret_more = st == KVLOG_OK;
		}
		drop_plan(&plan);
	}
	end_syncs(log);
	return st;
}

enum kvlog_status
log_wait(struct log *log, uint64_t seq, uint32_t timeout_ms)
{
	uint64_t end = os->ticks_ns() + timeout_ms * UINT64_C(1000000);
	enum kvlog_status st = KVLOG_OK;

	pthread_mutex_lock(&log->wait_lock);
	while (log_durable(log) < seq && st == KVLOG_OK) {
		uint64_t now = os->ticks_ns(), left = end - min_u64(now, end);
		struct timespec until;

		if (atomic_load(&log->broken) ||
		    control_poisoned(log->control)) {
			st = KVLOG_BROKEN;
			break;
		}
		if (left == 0) {
			st = KVLOG_TIMEOUT;
			break;
		}
		/* Nobody tells what another process has synced. */
		if (log->control->shared)
			left = min_u64(left, WAIT_SLICE_MS * 1000000);
		clock_gettime(CLOCK_MONOTONIC, &until);
		left += (uint64_t)until.tv_nsec;
		until.tv_sec += (time_t)(left / 1000000000);
		until.tv_nsec = (long)(left % 1000000000);
		(void)pthread_cond_timedwait(
		    &log->synced, &log->wait_lock, &until);
	}
	if (log_durable(log) >= seq)
		st = KVLOG_OK;
	pthread_mutex_unlock(&log->wait_lock);
	return st;
}

enum kvlog_status
log_sync_mark(struct log *log, struct kvlog_error *err)
{
	struct sync_plan plan;
	bool doubtful = false, whole = false;
	enum kvlog_status st = begin_syncs(log, &doubtful, err);

	if (st != KVLOG_OK)
		return st;
	while (st == KVLOG_OK && !whole) {
		st = log_check_health(log, err);
		if (st != KVLOG_OK)
			break;
		plan_sync(log, &plan, ARRAY_LEN(plan.sealed), true);
		whole = plan.active != NULL;
		if (is_blind(&plan)) {
			st = fail_blind(log, err);
			break;
		}
		st = run_sync(log, &plan, &doubtful, err);
		drop_plan(&plan);
	}
	end_syncs(log);
	return st;
}
