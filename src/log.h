/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - the writing side of an open store: what commits (commit.h),
 * rollovers (rollover.h) and syncs (sync.h) share.
 *
 * Lock order: sync_lock before turn before wait_lock.  A commit holds only the
 * turn; a sync holds sync_lock, and the turn just long enough to see what is to
 * be synced.
 */
#ifndef LOG_H
#define LOG_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "hintset.h"
#include "index.h"
#include "recover.h"
#include "segset.h"

#include <pthread.h>

struct log {
	/* Set at the start, not owned. */
	struct dir *dir;
	struct control *control;
	struct segset *set;
	struct hintset *hints;
	struct index *index;
	uint64_t segment_size; /* upper bound, bytes */
	/* Called when background work may have come up, perhaps with the turn
	 * held; may be NULL. */
	void (*wake)(void *arg);
	void *wake_arg;

	pthread_mutex_t turn; /* one commit at a time */
	/* Under the turn: */
	struct segment *active;
	struct segment *spare; /* ready to be the next one, or NULL */
	bool spare_wanted;
	bool dirty;          /* there are commits that no mark attests yet */
	bool reserve_used;   /* must be made anew before a put */
	bool names_unsynced; /* a segment's name may not be durable */
	uint64_t next_seq;
	uint64_t evidence; /* what the newest record or link attests */

	_Atomic uint64_t last_seq;
	_Atomic uint64_t durable; /* all up to it, and its names, are */
	_Atomic bool broken;      /* a sync or a store failed: no more writes */
	/* A sync has made commits durable, and nothing may say so yet. */
	_Atomic bool unattested;

	pthread_mutex_t sync_lock; /* one sync at a time */
	pthread_mutex_t wait_lock; /* held for no time: guards the next two */
	struct kvlog_error cause;  /* of broken: the first one */
	pthread_cond_t synced;     /* durable moved, or broken */
	uint64_t evidence_synced;  /* under sync_lock: durable evidence */
	uint64_t synced_pos;       /* likewise: all before it is durable */
};

enum kvlog_status log_init(struct log *log, struct dir *dir,
    struct control *control, struct hintset *hints, struct index *index,
    uint64_t segment_size, const struct recovery *recovery,
    struct kvlog_error *err);

/* Free what log_init() made; the segments are the set's. */
void log_fini(struct log *log);

/* Remove the spare, if there is one. */
void log_drop_spare(struct log *log);

/* This handle writes nothing any more: cause says why, and what to do.  Those
 * who wait for durability are woken.  Fills *err, which may be NULL, with the
 * cause and returns its status. */
enum kvlog_status log_refuse(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err);

/* The same when what is on disk is in doubt: the control page tells other
 * processes. */
enum kvlog_status log_break(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err);

/* What writes get from then on: KVLOG_BROKEN, and the first cause, which the
 * one that met it may not have been able to tell. */
enum kvlog_status log_broken(struct log *log, struct kvlog_error *err);

/* Wake those who wait in log_wait(). */
void log_wake_waiters(struct log *log);

/* Bytes left for records in a segment that is written to. */
static inline uint64_t
log_room(const struct segment *seg)
{
	return seg->header.size - segment_end(seg);
}

#endif
