/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.h - the writing side of an open store: commits, rollover, syncs.
 *
 * Lock order: sync_lock before turn before wait_lock.  A commit holds only the
 * turn; a sync holds sync_lock, and the turn just long enough to see what is to
 * be synced.
 */
#ifndef COMMIT_H
#define COMMIT_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "index.h"
#include "recover.h"
#include "segset.h"

#include <pthread.h>

struct log {
	/* Set at the start, not owned. */
	struct dir *dir;
	struct control *control;
	struct segset *set;
	struct index *index;
	uint64_t segment_size; /* upper bound, bytes */
	/* Called with the turn held when background work may have come up;
	 * may be NULL. */
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

	pthread_mutex_t sync_lock; /* one sync at a time */
	pthread_mutex_t wait_lock; /* held for no time: guards synced alone */
	pthread_cond_t synced;     /* durable moved, or broken */
	uint64_t evidence_synced;  /* under sync_lock: durable evidence */
};

/* One record to write. */
struct commit_op {
	uint8_t type; /* RECORD_PUT or RECORD_DELETE */
	enum kvlog_condition condition;
	uint64_t if_seq;
	const void *key;
	const void *value;
	uint16_t key_len;
	uint32_t value_len;
	uint64_t hash; /* of the key; index_hash() */
};

enum kvlog_status log_init(struct log *log, struct dir *dir,
    struct control *control, struct segset *set, struct index *index,
    uint64_t segment_size, const struct recovery *recovery,
    struct kvlog_error *err);

/* Free what log_init() made; the segments are the set's. */
void log_fini(struct log *log);

/*
 * Write ops as one commit and publish it.  Visible on KVLOG_OK, not yet
 * durable.  strict: a delete of an absent key is KVLOG_NOTFOUND instead of
 * nothing to do.  On KVLOG_CONFLICT, _NOTFOUND and _CORRUPT *ret_failed is
 * the op.  Nothing is written unless the result is KVLOG_OK.
 */
enum kvlog_status log_commit(struct log *log, const struct commit_op *ops,
    size_t op_count, bool strict, struct kvlog_receipt *ret_receipt,
    size_t *ret_failed, struct kvlog_error *err);

/* Make everything up to seq durable, sharing a sync with whoever else waits
 * for one.  KVLOG_BROKEN if a sync fails or has failed. */
enum kvlog_status log_sync(
    struct log *log, uint64_t seq, struct kvlog_error *err);

/* Sync sealed segments only, the oldest first, at most one; sets *ret_more
 * to whether there are others. */
enum kvlog_status log_sync_sealed(
    struct log *log, bool *ret_more, struct kvlog_error *err);

/* Wait until seq is durable; KVLOG_TIMEOUT, KVLOG_BROKEN. */
enum kvlog_status log_wait(struct log *log, uint64_t seq, uint32_t timeout_ms);

/* Append a mark; clean: the store is being closed.  */
enum kvlog_status log_mark(
    struct log *log, bool clean, struct kvlog_error *err);

/* Make the next segment if it is wanted; true if it was made. */
bool log_prepare_spare(struct log *log);

/*
 * Write the hint file of the oldest sealed segment that lacks one and that
 * durable records attest; true if one was written.
 */
bool log_write_hint(struct log *log);

/* Sync, mark the end as clean, write hints and the end note. */
enum kvlog_status log_close(struct log *log, struct kvlog_error *err);

#endif
