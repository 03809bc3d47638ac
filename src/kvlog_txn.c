/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog_txn.c - the public functions of transactions: argument checks and
 * defaults.  What they promise stands in kvlog.h; what they do, in txn.c.
 */
#include "config.h"

#include <kvlog.h>

#include "args.h"

#define IDLE_MS 5000u

enum kvlog_status
kvlog_txn_begin(struct kvlog *db, const struct kvlog_txn_options *options,
    struct kvlog_txn **ret_txn, struct kvlog_error *err)
{
	static const struct kvlog_txn_options defaults = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_error failure = {0};
	enum kvlog_status st;
	bool writes;

	if (options == NULL)
		options = &defaults;
	if (db == NULL || ret_txn == NULL)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_txn_begin needs a store and a place for the "
		    "transaction");
	st = args_forked(db->store, err);
	if (st != KVLOG_OK)
		return st;
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
	return args_tell(txn_begin(db, writes,
			     options->idle_ms != 0 ? options->idle_ms : IDLE_MS,
			     ret_txn, &failure),
	    &failure, err);
}

uint64_t
kvlog_txn_seq(const struct kvlog_txn *txn)
{
	return txn != NULL ? txn->seq : 0;
}

/* Reading */

static enum kvlog_status
find(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, bool with_value, struct txn_found *ret_found)
{
	struct bucket_handle *in;
	enum kvlog_status st = txn_check(txn, bucket, &in, NULL);

	/* As of kvlog_get(). */
	if (st == KVLOG_OK && !args_is_key(key, key_len))
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
check_write_in(const struct kvlog_write *how, bool put)
{
	enum kvlog_status st = args_write(how);

	if (st == KVLOG_OK && how->durability != KVLOG_DURABILITY_DEFAULT)
		st = err_set(how->err, KVLOG_INVAL, 0,
		    "the durability of a transaction is its commit's");
	return st == KVLOG_OK
		   ? args_step(put, how->condition, how->expires_ms, how->err)
		   : st;
}

/* op: its type and value. */
static enum kvlog_status
write_op(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, struct commit_op *op, const struct kvlog_write *how)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_write_in(how, op->type == RECORD_PUT);

	if (st == KVLOG_OK)
		st = args_key(key, key_len, how->err);
	if (st == KVLOG_OK)
		st = txn_check(txn, bucket, &op->bucket, how->err);
	if (st == KVLOG_OK)
		st = args_txn_writes(txn, how->err);
	if (st != KVLOG_OK)
		return st;
	op->key = key;
	op->key_len = (uint16_t)key_len;
	op->condition = how->condition;
	op->if_seq = how->if_seq;
	op->expiry_ms = how->expires_ms;
	return args_tell(txn_write(txn, op, &failure), &failure, how->err);
}

enum kvlog_status
kvlog_txn_put(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const void *value, size_t value_len,
    const struct kvlog_write *how)
{
	struct commit_op op = {.type = RECORD_PUT,
	    .value = value,
	    .value_len = (uint32_t)value_len};
	enum kvlog_status st;

	how = args_how(how);
	st = args_value(value, value_len, how->err);
	if (st != KVLOG_OK)
		return st;
	return write_op(txn, bucket, key, key_len, &op, how);
}

enum kvlog_status
kvlog_txn_delete(struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const struct kvlog_write *how)
{
	struct commit_op op = {.type = RECORD_DELETE};

	how = args_how(how);
	return write_op(txn, bucket, key, key_len, &op, how);
}

/* Savepoints */

static enum kvlog_status
check_savepoints(struct kvlog_txn *txn)
{
	struct bucket_handle *bucket;
	enum kvlog_status st = txn_check(txn, NULL, &bucket, NULL);

	return st == KVLOG_OK ? args_txn_writes(txn, NULL) : st;
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
	enum kvlog_status st = args_forked(txn->store, how->err);

	if (st == KVLOG_OK)
		st = args_write(how);
	if (st != KVLOG_OK)
		return st;
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

	how = args_how(how);
	if (txn == NULL)
		return err_set(how->err, KVLOG_INVAL, 0, "no transaction");
	st = check_commit(txn, how);
	if (st == KVLOG_OK)
		st = args_tell(
		    txn_commit(txn, how->durability, &receipt, &failure),
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
