/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h - an open store: the rooms below put together.
 *
 * Lock order: maintain_lock, then those of the log (log.h).
 */
#ifndef STORE_H
#define STORE_H

#include "base.h"
#include "closing.h"
#include "commit.h"
#include "control.h"
#include "cursor.h"
#include "dir.h"
#include "prepare.h"
#include "reclaim.h"
#include "sync.h"
#include "turn.h"
#include "view.h"

#include <pthread.h>

struct snapshot;

/* What all handles of a process on one store share. */
struct store {
	struct kvlog_options options;
	struct dir dir;
	struct control control;
	struct views views;
	struct log log;             /* unused by a read-only handle */
	struct snapshot *snapshots; /* held ones; under the views' lock */
	bool writable;
	_Atomic uint32_t ordinals; /* given to buckets by transactions */
	uint64_t open_ns;          /* that opening took */

	/* The background thread, started when it is first needed. */
	pthread_mutex_t maintain_lock; /* one step at a time */
	pthread_mutex_t thread_lock;   /* guards what follows */
	pthread_cond_t thread_wake;
	pthread_t thread;
	_Atomic bool thread_runs;
	bool thread_stop;
	bool thread_unwanted;         /* by all handles: KVLOG_OPEN_NOTHREAD */
	bool thread_work;             /* something may be due */
	_Atomic uint32_t interval_ms; /* the shortest of all handles */
	/* The newest commit that must be durable within the interval. */
	_Atomic uint64_t interval_seq;
	struct reclaim reclaim;
	uint64_t last_tick_ns;   /* under maintain_lock, as what follows */
	uint64_t idle_seq;       /* no commit has followed this one ... */
	uint64_t idle_since_ns;  /* ... from then on */
	uint64_t merge_until_ns; /* of what is merged when idle, or 0 */
	bool merge_failed;       /* so idle merges are given up */
};

/* What an open gives: a part in the store; or what kvlog_bucket_open() gives, a
 * bucket in such a part. */
struct kvlog {
	struct store *store;
	enum kvlog_durability durability;
	struct bucket_handle *bucket; /* NULL: the default one */
	struct kvlog_txn *txns;       /* begun on it; under thread_lock */
};

struct kvlog_iter {
	struct store *store;
	struct view *view; /* what it walks over */
	struct cursor *cursor;
	/* In a transaction that writes, in place of the cursor; and among the
	 * iterators of that, until it ends. */
	struct blend *blend;
	struct kvlog_txn *txn;
	struct kvlog_iter *next, **link;
	bool keys_only;
	uint64_t limit, left;  /* entries that it may come to */
	struct merge_run *run; /* of the cursor, if there is no blend */
	const struct merge_entry *entry; /* to which the last step came, */
	enum kvlog_status state;         /* if it says so */
};

enum kvlog_status store_open(const char *path,
    const struct kvlog_options *options, struct kvlog **ret_db,
    struct kvlog_error *err);
enum kvlog_status store_close(struct kvlog *handle, struct kvlog_error *err);

/* Commit, and wait as durability says; DEFAULT: as the handle says. */
enum kvlog_status store_write(struct kvlog *handle, const struct commit_op *ops,
    size_t op_count, bool strict, enum kvlog_durability durability,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err);

/* The same by the owner of the turn, who is none any more; ops are in order.
 * The receipt is set if there is a commit, whatever the result. */
enum kvlog_status store_write_owned(struct kvlog *handle,
    const struct ownership *own, const struct commit_op *ops, size_t op_count,
    enum kvlog_durability durability, struct kvlog_receipt *ret_receipt,
    struct kvlog_error *err);

/*
 * Find key in a bucket (NULL: the default one) and call fn on its record,
 * inside the epoch.  with_value: verify the value too.  now_ms: against which
 * expiry is judged; 0: now.  On KVLOG_CORRUPT *ret_info says where.
 * KVLOG_NOBUCKET.
 */
typedef enum kvlog_status store_read_fn(void *arg, const struct index_ref *ref);
enum kvlog_status store_read(struct store *db, struct bucket_handle *bucket,
    const void *key, size_t key_len, bool with_value, uint64_t now_ms,
    store_read_fn *fn, void *arg, struct kvlog_info *ret_info);

/*
 * store_read() of the value, copied into buf of cap bytes: the usual case in a
 * straight line.  ret_len may be NULL; on KVLOG_TOOSMALL it says how many bytes
 * are needed.
 */
enum kvlog_status store_read_copy(struct store *db,
    struct bucket_handle *bucket, const void *key, size_t key_len, void *buf,
    size_t cap, size_t *ret_len);

/* Look a bucket's name up: KVLOG_OK, _NOBUCKET, _CORRUPT, ... */
enum kvlog_status store_find_bucket(struct store *db, const void *name,
    size_t name_len, struct bucket_id *ret_id, struct kvlog_error *err);

/* Enter the epoch with a view that shows all that is published. */
enum kvlog_status store_enter(
    struct store *db, struct epoch_token *ret_token, struct view **ret_view);

/* Look at most INDEX_TOGETHER keys up in it, and verify what they have; now_ms
 * as of view_has_expired(). */
void store_find_many(struct view *view, struct index_find *finds, size_t count,
    uint64_t *now_ms);

/* A view that shows all that is published, until view_release(). */
enum kvlog_status store_keep_view(struct store *db, struct view **ret_view);

/* Whether a file may have been missed because segments were replaced since the
 * view had this stamp, so that it is to be tried again. */
bool store_may_try_again(const struct store *db, enum kvlog_status st,
    const struct view *view, uint64_t stamp);

/* A walk over what the store holds now, in range, of which now_ms may be 0:
 * now; it is in bucket, if that is not NULL, which has to be there still.
 * *ret_view is what the cursor is of, to be released after it is destroyed. */
enum kvlog_status store_cursor(struct store *db, struct bucket_handle *bucket,
    const struct cursor_range *range, struct view **ret_view,
    struct cursor **ret_cursor);

/* Keys that have a value in a bucket (NULL: the default one): in hints mode, or
 * if there are other buckets or keys that expire, a walk. */
enum kvlog_status store_count(
    struct store *db, struct bucket_handle *bucket, uint64_t *ret_count);

/* Whether what a walk has come to is a key.  A damaged record that a hint names
 * is one, as it is to an index in memory; older ones that may be of that key
 * are not. */
bool store_counts(const struct merge_entry *e, enum kvlog_status st);

/* Whether it was opened before this process was forked. */
static inline bool
store_is_forked(const struct store *db)
{
	return db->control.forks != registry_forks();
}

uint64_t store_last_seq(struct store *db);
uint64_t store_durable_seq(struct store *db);

/* Wait until seq is durable; KVLOG_TIMEOUT, KVLOG_BROKEN. */
enum kvlog_status store_wait_durable(
    struct store *db, uint64_t seq, uint32_t timeout_ms);

enum kvlog_status store_stats(struct store *db, struct kvlog_stats *stats);

/* With maintain_lock held: be the one process that maintains the store for all;
 * false if another one is. */
bool store_become_maintainer(struct store *db);

/* With maintain_lock held, every few milliseconds of what takes long: do what
 * cannot wait.  arg is the store; false: it is being closed. */
bool store_go_on(void *arg);

/* One step of background work; false if nothing was due.  While nobody writes,
 * hints are merged for merge_ns at most. */
bool store_maintain_step(struct store *db, uint64_t merge_ns);
/* Between steps, if the next one may be long in coming: let another process
 * maintain the store. */
void store_rest(struct store *db);

#endif
