/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog_txn.c - the public functions of transactions: argument checks and
 * defaults.  What they promise stands in kvlog.h; what they do, in txn.c.
 */
#include "config.h"

#include <kvlog.h>

#include "txn.h"

#include <string.h>

#define IDLE_MS 5000u

static const struct kvlog_write write_defaults = KVLOG_WRITE_INIT;

/* As in kvlog.c. */
static enum kvlog_status
tell(enum kvlog_status st, const struct kvlog_error *failure,
    struct kvlog_error *err)
{
	if (st != KVLOG_OK && failure->status != KVLOG_OK && err != NULL)
		*err = *failure;
	return st;
}

static enum kvlog_status
tell_forked(const struct store *store, struct kvlog_error *err)
{
	return err_set(err, KVLOG_FORKED, 0,
	    "%s was opened before this process was forked; open it anew in "
	    "this one",
	    store->dir.path);
}

enum kvlog_status
kvlog_txn_begin(struct kvlog *db, const struct kvlog_txn_options *options,
    struct kvlog_txn **ret_txn, struct kvlog_error *err)
{
	static const struct kvlog_txn_options defaults = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_error failure = {0};
	bool writes;

	if (options == NULL)
		options = &defaults;
	if (db == NULL || ret_txn == NULL)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_txn_begin needs a store and a place for the "
		    "transaction");
	if (store_is_forked(db->store))
		return tell_forked(db->store, err);
	if (options->size != sizeof *options)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.size is not sizeof(struct kvlog_txn_options)");
	if ((options->flags & ~KVLOG_TXN_READ) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "unknown bits in options.flags: 0x%x",
		    options->flags & ~KVLOG_TXN_READ);
	writes = (options->flags & KVLOG_TXN_READ) == 0;
	if (writes && !db->store->writable)
		return err_set(err, KVLOG_READONLY, 0,
		    "%s was opened read-only; begin a transaction with "
		    "KVLOG_TXN_READ",
		    db->store->dir.path);
	return tell(txn_begin(db, writes,
			options->idle_ms != 0 ? options->idle_ms : IDLE_MS,
			ret_txn, &failure),
	    &failure, err);
}

static enum kvlog_status
check_key(const void *key, size_t key_len, struct kvlog_error *err)
{
	if (key == NULL || key_len == 0)
		return err_set(err, KVLOG_INVAL, 0, "the key is empty");
	if (key_len > KVLOG_KEY_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a key of %zu bytes; at most %u are possible", key_len,
		    KVLOG_KEY_MAX);
	return KVLOG_OK;
}

/* Reading */

static enum kvlog_status
find(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, bool with_value, struct txn_found *ret_found)
{
	struct bucket_handle *in;
	enum kvlog_status st = txn_check(txn, bucket, &in, NULL);

	/* As of kvlog_get(). */
	if (st == KVLOG_OK && check_key(key, key_len, NULL) != KVLOG_OK)
		st = KVLOG_INVAL;
	return st == KVLOG_OK
		   ? txn_find(txn, in, key, key_len, with_value, ret_found)
		   : st;
}

enum kvlog_status
kvlog_txn_get(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const void **ret_value, size_t *ret_len)
{
	struct txn_found found;
	enum kvlog_status st = KVLOG_INVAL;

	if (ret_value != NULL)
		st = find(txn, bucket, key, key_len, true, &found);
	if (st != KVLOG_OK)
		return st;
	*ret_value = found.value;
	if (ret_len != NULL)
		*ret_len = found.info.value_len;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_txn_lookup(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, struct kvlog_info *ret_info)
{
	struct txn_found found;
	enum kvlog_status st = KVLOG_INVAL;

	if (ret_info != NULL)
		st = find(txn, bucket, key, key_len, false, &found);
	if (st == KVLOG_OK || st == KVLOG_CORRUPT)
		*ret_info = found.info;
	return st;
}

/* Writing */

static enum kvlog_status
check_writes(const struct kvlog_txn *txn, struct kvlog_error *err)
{
	return txn->writes
		   ? KVLOG_OK
		   : err_set(err, KVLOG_READONLY, 0,
			 "the transaction was begun with KVLOG_TXN_READ");
}

static enum kvlog_status
check_how(const struct kvlog_write *how, bool put)
{
	if (how->size != sizeof *how)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.size is not sizeof(struct kvlog_write)");
	if (how->durability != KVLOG_DURABILITY_DEFAULT)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "the durability of a transaction is its commit's");
	if (how->condition > KVLOG_IF_SEQ)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "unknown condition: %d", (int)how->condition);
	if (!put && how->expires_ms != 0)
		return err_set(
		    how->err, KVLOG_INVAL, 0, "a delete cannot expire");
	return KVLOG_OK;
}

/* op: its type and value. */
static enum kvlog_status
write_op(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, struct commit_op *op, const struct kvlog_write *how)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_how(how, op->type == RECORD_PUT);

	if (st == KVLOG_OK)
		st = check_key(key, key_len, how->err);
	if (st == KVLOG_OK)
		st = txn_check(txn, bucket, &op->bucket, how->err);
	if (st == KVLOG_OK)
		st = check_writes(txn, how->err);
	if (st != KVLOG_OK)
		return st;
	op->key = key;
	op->key_len = (uint16_t)key_len;
	op->condition = how->condition;
	op->if_seq = how->if_seq;
	op->expiry_ms = how->expires_ms;
	return tell(txn_write(txn, op, &failure), &failure, how->err);
}

enum kvlog_status
kvlog_txn_put(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const void *value, size_t value_len,
    const struct kvlog_write *how)
{
	struct commit_op op = {.type = RECORD_PUT,
	    .value = value,
	    .value_len = (uint32_t)value_len};

	if (how == NULL)
		how = &write_defaults;
	if (value == NULL && value_len > 0)
		return err_set(how->err, KVLOG_INVAL, 0, "no value");
	if (value_len > KVLOG_VALUE_MAX)
		return err_set(how->err, KVLOG_TOOBIG, 0,
		    "a value of %zu bytes; at most %u are possible", value_len,
		    KVLOG_VALUE_MAX);
	return write_op(txn, bucket, key, key_len, &op, how);
}

enum kvlog_status
kvlog_txn_delete(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const struct kvlog_write *how)
{
	struct commit_op op = {.type = RECORD_DELETE};

	if (how == NULL)
		how = &write_defaults;
	return write_op(txn, bucket, key, key_len, &op, how);
}

/* Savepoints */

static enum kvlog_status
check_savepoints(struct kvlog_txn *txn)
{
	struct bucket_handle *bucket;
	enum kvlog_status st = txn_check(txn, NULL, &bucket, NULL);

	return st == KVLOG_OK ? check_writes(txn, NULL) : st;
}

enum kvlog_status
kvlog_txn_savepoint(struct kvlog_txn *txn, uint64_t *ret_savepoint)
{
	enum kvlog_status st = check_savepoints(txn);

	if (st == KVLOG_OK && ret_savepoint == NULL)
		st = KVLOG_INVAL;
	return st == KVLOG_OK ? staged_save(&txn->staged, ret_savepoint) : st;
}

enum kvlog_status
kvlog_txn_rollback_to(struct kvlog_txn *txn, uint64_t savepoint)
{
	enum kvlog_status st = check_savepoints(txn);

	if (st != KVLOG_OK)
		return st;
	return txn_undo(txn, savepoint) ? KVLOG_OK : KVLOG_INVAL;
}

/* The end */

static enum kvlog_status
check_commit(const struct kvlog_txn *txn, const struct kvlog_write *how)
{
	if (store_is_forked(txn->store))
		return tell_forked(txn->store, how->err);
	if (how->size != sizeof *how)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.size is not sizeof(struct kvlog_write)");
	if (how->durability > KVLOG_DURABILITY_NONE)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.durability is unknown: %d",
		    (int)how->durability);
	if (how->condition != KVLOG_IF_ANY || how->expires_ms != 0)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "the conditions and times of a transaction are its "
		    "writes'");
	return KVLOG_OK;
}

enum kvlog_status
kvlog_txn_commit(struct kvlog_txn *txn, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct kvlog_receipt receipt = {0};
	struct kvlog_error failure = {0};
	enum kvlog_status st;

	if (how == NULL)
		how = &write_defaults;
	if (txn == NULL)
		return err_set(how->err, KVLOG_INVAL, 0, "no transaction");
	st = check_commit(txn, how);
	if (st == KVLOG_OK)
		st = tell(txn_commit(txn, how->durability, &receipt, &failure),
		    &failure, how->err);
	txn_abandon(txn);
	if (ret_receipt != NULL)
		*ret_receipt = receipt;
	return st;
}

void
kvlog_txn_rollback(struct kvlog_txn *txn)
{
	if (txn != NULL)
		txn_abandon(txn);
}
