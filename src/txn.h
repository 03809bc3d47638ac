/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * txn.h - transactions: reads of one moment, and writes that are kept in memory
 * until all of them are one commit.
 *
 * A write transaction owns the turn (turn.h) from its beginning to its end, so
 * that what is newest stays so.  What is written goes into a struct staged.
 */
#ifndef TXN_H
#define TXN_H

#include "base.h"
#include "snapshot.h"
#include "staged.h"
#include "store.h"

/* A bucket that the transaction drops: what it has written there is not to be
 * committed. */
struct txn_drop {
	struct bucket_id id; /* first: bucket_set_compare() */
	uint64_t number;     /* of the last write until then */
};

struct kvlog_txn {
	struct kvlog *handle;           /* not owned */
	struct kvlog_txn *next, **link; /* of those begun on it */
	struct store *store;
	bool writes;
	uint64_t seq;          /* of the last commit before it */
	struct snapshot *snap; /* if it does not */
	/* If it does: */
	struct ownership own;
	struct staged staged;
	struct kvlog_iter *iters; /* that show it */
	uint32_t names; /* times that it has created or dropped a bucket */
	struct txn_drop *drops;
	size_t drop_count, drop_cap;
	struct epoch_token token; /* inside views.pins */
};

/* What a transaction sees of a key. */
struct txn_found {
	const void *value;
	struct kvlog_info info;
	bool own; /* the transaction has written it */
};

enum kvlog_status txn_begin(struct kvlog *handle, bool writes, uint32_t idle_ms,
    struct kvlog_txn **ret_txn, struct kvlog_error *err);
/* Free it without a commit; in a forked child, too. */
void txn_abandon(struct kvlog_txn *txn);
/* All that were begun on a handle, which is closed. */
void txn_abandon_all(struct kvlog *handle);

/* At the beginning of each call: whether it makes sense, and the transaction
 * goes on.  *ret_bucket is the one that is meant by a handle, which may be
 * NULL. KVLOG_INVAL, _FORKED, _TIMEOUT. */
enum kvlog_status txn_check(struct kvlog_txn *txn, const struct kvlog *bucket,
    struct bucket_handle **ret_bucket, struct kvlog_error *err);

/* bucket: NULL for the default one.  with_value: verify the value too.  On
 * KVLOG_CORRUPT ret_found->info says where. */
enum kvlog_status txn_find(struct kvlog_txn *txn, struct bucket_handle *bucket,
    const void *key, size_t key_len, bool with_value,
    struct txn_found *ret_found);

/* Write op, of which all but hash is set. */
enum kvlog_status txn_write(
    struct kvlog_txn *txn, struct commit_op *op, struct kvlog_error *err);

/* Look a bucket's name up; write that there is a new one, whose id is told, or
 * none any more.  KVLOG_NOBUCKET, _NOMEM, ... */
enum kvlog_status txn_find_bucket(struct kvlog_txn *txn, const void *name,
    size_t name_len, struct bucket_id *ret_id, struct kvlog_error *err);
enum kvlog_status txn_create_bucket(struct kvlog_txn *txn, const void *name,
    size_t name_len, struct bucket_id *ret_id, struct kvlog_error *err);
enum kvlog_status txn_drop_bucket(struct kvlog_txn *txn, const void *name,
    size_t name_len, struct kvlog_error *err);

/* Let iter, which has no cursor yet, walk over what the transaction sees. */
enum kvlog_status txn_walk(struct kvlog_txn *txn, struct bucket_handle *bucket,
    const struct cursor_range *range, struct kvlog_iter *iter);
void txn_end_walk(struct kvlog_iter *iter); /* before it is freed */

/* False: there is no such savepoint. */
bool txn_undo(struct kvlog_txn *txn, uint64_t savepoint);

/* Commit what is staged, if anything is, and wait as durability says; the
 * transaction owns nothing any more.  *ret_receipt is set in any case. */
enum kvlog_status txn_commit(struct kvlog_txn *txn,
    enum kvlog_durability durability, struct kvlog_receipt *ret_receipt,
    struct kvlog_error *err);

#endif
