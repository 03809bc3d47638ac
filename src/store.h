/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h - an open store: the rooms below put together.
 *
 * Lock order: maintain_lock, then the log's sync_lock, then its turn.
 */
#ifndef STORE_H
#define STORE_H

#include "base.h"
#include "closing.h"
#include "commit.h"
#include "control.h"
#include "cursor.h"
#include "dir.h"
#include "hintset.h"
#include "index.h"
#include "recover.h"
#include "rollover.h"
#include "sync.h"

#include <pthread.h>

struct kvlog {
	struct kvlog_options options;
	struct dir dir;
	struct control control;
	struct segset *set;
	struct hintset hints;
	struct index index;
	struct log log; /* unused by a read-only handle */
	bool writable;

	/* What opening found; the file list is not kept. */
	struct recovery recovery;
	char recovery_text[160];
	uint64_t recovery_ns; /* all of opening */
	uint64_t load_ns;     /* filling the index */

	/* The background thread, started when it is first needed. */
	pthread_mutex_t maintain_lock; /* one step at a time */
	pthread_mutex_t thread_lock;   /* guards what follows */
	pthread_cond_t thread_wake;
	pthread_t thread;
	_Atomic bool thread_runs;
	bool thread_stop;
	bool thread_work; /* something may be due */
	/* The newest commit that must be durable within the interval. */
	_Atomic uint64_t interval_seq;
	uint64_t last_tick_ns;  /* under maintain_lock, as what follows */
	uint64_t idle_seq;      /* no commit has followed this one ... */
	uint64_t idle_since_ns; /* ... from then on */
};

struct kvlog_iter {
	struct cursor *cursor;
	enum kvlog_status state; /* of the last kvlog_iter_next() */
};

enum kvlog_status store_open(const char *path,
    const struct kvlog_options *options, struct kvlog **ret_db,
    struct kvlog_error *err);
enum kvlog_status store_close(struct kvlog *db, struct kvlog_error *err);

/* Commit, and wait as durability says. */
enum kvlog_status store_write(struct kvlog *db, const struct commit_op *ops,
    size_t op_count, bool strict, enum kvlog_durability durability,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err);

/*
 * Find key and call fn on its record, inside the epoch.  with_value: verify
 * the value too.  On KVLOG_CORRUPT *ret_info says where.
 */
typedef enum kvlog_status store_read_fn(void *arg, const struct index_ref *ref);
enum kvlog_status store_read(struct kvlog *db, const void *key, size_t key_len,
    bool with_value, store_read_fn *fn, void *arg, struct kvlog_info *ret_info);

enum kvlog_status store_cursor(struct kvlog *db, const void *prefix,
    size_t prefix_len, bool keys_only, struct cursor **ret_cursor);

/* Keys that have a value: in hints mode, a walk. */
enum kvlog_status store_count(struct kvlog *db, uint64_t *ret_count);

uint64_t store_last_seq(struct kvlog *db);
uint64_t store_durable_seq(struct kvlog *db);

enum kvlog_status store_stats(struct kvlog *db, struct kvlog_stats *stats);

/* One step of background work; false if nothing was due. */
bool store_maintain_step(struct kvlog *db);

#endif
