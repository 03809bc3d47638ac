/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - the writing side of an open store: what commits (commit.h),
 * rollovers (rollover.h) and syncs (sync.h) share.
 *
 * The turn is what a commit holds: of all processes that write to the store,
 * and of all threads of this one.  Syncs hold another lock of both kinds, so
 * that commits go on beside them.  Lock order: sync_lock, the processes' sync
 * lock, turn_lock, the processes' turn, the views' lock, wait_lock.  Who has
 * the views' lock may try to get the turn, but not wait for it.
 */
#ifndef LOG_H
#define LOG_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "view.h"

#include <pthread.h>

struct sync_waiter; /* of sync.c */

struct log {
	/* Set at the start, not owned. */
	struct dir *dir;
	struct control *control;
	struct views *views;
	struct view *view;           /* a writer has but one */
	uint64_t segment_size;       /* upper bound, bytes */
	_Atomic bool small_segments; /* see repair_segment_size() */
	uint32_t timeout_ms;         /* longest wait for other processes */
	/* Called when background work may have come up, perhaps with the turn
	 * held; may be NULL. */
	void (*wake)(void *arg);
	void *wake_arg;

	/* Which of all threads takes the turn: the one that has the views'
	 * lock, if nobody is queued; else the one that has this lock. */
	pthread_mutex_t turn_lock;
	unsigned queued; /* under the views' lock; who has the turn included */
	/* Under the turn: */
	bool by_queue;
	struct segment *spare; /* ready to be the next one, or NULL */
	bool spare_wanted;
	uint64_t last_need; /* bytes of the commit that rolled over last */
	/* What one thread prepares, and whether to close it when that is done,
	 * as the rest of the log has no use for it (prepare.c). */
	struct segment *preparing;
	bool forsaken;
	bool synced_closely; /* so that the spare's blocks shall be written */
	bool was_dirty;     /* at the start there were commits without a mark */
	uint64_t start_pos; /* where the log ended then */

	/* Who of this process owns the turn from call to call (turn.h), if the
	 * page says that this handle does: a number, 0: nobody; and the thread
	 * that used it last. */
	_Atomic uint64_t owner;
	_Atomic uintptr_t owner_thread;
	uint64_t owner_count; /* of them so far; under the turn */
	_Atomic bool
	    owned_last; /* and nobody of this process has begun since */

	_Atomic uint64_t own_seq; /* of this handle's last commit */
	_Atomic bool broken;      /* a sync or a store failed: no more writes */
	/* A sync has made commits durable, and nothing may say so yet. */
	_Atomic bool unattested;

	pthread_mutex_t sync_lock; /* one sync at a time */
	pthread_mutex_t wait_lock; /* held for no time: guards what follows */
	/* Group commit: see log_sync(). */
	bool led; /* a thread syncs for all */
	struct sync_waiter *waiters;
	unsigned crowd;           /* how many needed the last sync, or came
				     during it; of the one that leads */
	_Atomic unsigned waiting; /* how many waiters there are */
	uint64_t span; /* of positions, that was published likewise, if other
			  processes took part; of the one that leads */
	struct kvlog_error cause; /* of broken: the first one */
	pthread_cond_t synced;    /* durable moved, or broken */
	uint64_t evidence_synced; /* under sync_lock: durable evidence */
};

/*
 * Begin to write: with a view of all that is published.  If recovery is not
 * NULL, nobody else writes: the control page is laid out anew, as it says.
 */
enum kvlog_status log_init(struct log *log, struct dir *dir,
    struct control *control, struct views *views, uint64_t segment_size,
    uint32_t timeout_ms, const struct recovery *recovery,
    struct kvlog_error *err);

/* Free what log_init() made. */
void log_fini(struct log *log);

/* Under the turn: forget the spare if it is not the next segment any more;
 * remove it. */
void log_check_spare(struct log *log);
void log_drop_spare(struct log *log);

/* Close a segment that is not part of the log; NULL is fine. */
void log_close_segment(struct log *log, struct segment *seg);

/* This handle writes nothing any more: cause says why, and what to do.  Those
 * who wait for durability are woken.  Fills *err, which may be NULL, with the
 * cause and returns its status. */
enum kvlog_status log_refuse(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err);

/* The same when what is on disk is in doubt: the control page tells other
 * processes. */
enum kvlog_status log_break(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err);

/* log_break() after a sync that ended with this errno value. */
enum kvlog_status log_sync_failed(
    struct log *log, int rc, struct kvlog_error *err);

/* What writes get from then on: KVLOG_BROKEN, and the first cause, which the
 * one that met it may not have been able to tell. */
enum kvlog_status log_broken(struct log *log, struct kvlog_error *err);

/* KVLOG_BROKEN if a sync has failed, here or in another process. */
enum kvlog_status log_tell_health(struct log *log, struct kvlog_error *err);
static inline enum kvlog_status
log_check_health(struct log *log, struct kvlog_error *err)
{
	if (LIKELY(!atomic_load_explicit(&log->broken, memory_order_relaxed) &&
		   (!log->control->shared || !control_poisoned(log->control))))
		return KVLOG_OK;
	return log_tell_health(log, err);
}

/* Wake those who wait in log_wait(). */
void log_wake_waiters(struct log *log);

/* The segment that is written to; under the turn or the views' lock. */
static inline struct segment *
log_active(const struct log *log)
{
	const struct segset *set = log->view->set;

	return set->segments[set->count - 1];
}

static inline uint64_t
log_last_seq(const struct log *log)
{
	return atomic_load_explicit(&log->view->last_seq, memory_order_acquire);
}

/* All commits up to this number, and the names of their files, are durable. */
static inline uint64_t
log_durable(const struct log *log)
{
	return control_durable(log->control);
}

/* When to give up waiting for another process. */
static inline uint64_t
log_deadline(const struct log *log)
{
	return os->ticks_ns() + log->timeout_ms * UINT64_C(1000000);
}

/* Whether there may be commits that no mark attests. */
static inline bool
log_is_dirty(const struct log *log)
{
	return log->was_dirty ||
	       control_position(log->control) != log->start_pos;
}

/* Bytes left for records in a segment that is written to. */
static inline uint64_t
log_room(const struct segment *seg)
{
	return seg->header.size - segment_end(seg);
}

#endif
