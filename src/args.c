/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * args.c - why arguments are refused.
 */
#include "config.h"

#include "args.h"

enum kvlog_status
args_forked(const struct store *store, struct kvlog_error *err)
{
	if (LIKELY(!store_is_forked(store)))
		return KVLOG_OK;
	return err_set(err, KVLOG_FORKED, 0,
	    "%s was opened before this process was forked; open it anew in "
	    "this one",
	    store->dir.path);
}

enum kvlog_status
args_handle(const struct kvlog *db, struct kvlog_error *err)
{
	if (UNLIKELY(db == NULL))
		return err_set(err, KVLOG_INVAL, 0, "no store");
	return args_forked(db->store, err);
}

enum kvlog_status
args_key(const void *key, size_t key_len, struct kvlog_error *err)
{
	if (key == NULL || key_len == 0)
		return err_set(err, KVLOG_INVAL, 0, "the key is empty");
	if (key_len > KVLOG_KEY_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a key of %zu bytes; at most %u are possible", key_len,
		    KVLOG_KEY_MAX);
	return KVLOG_OK;
}

enum kvlog_status
args_value(const void *value, size_t value_len, struct kvlog_error *err)
{
	if (value == NULL && value_len > 0)
		return err_set(err, KVLOG_INVAL, 0, "no value");
	if (value_len > KVLOG_VALUE_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a value of %zu bytes; at most %u are possible", value_len,
		    KVLOG_VALUE_MAX);
	return KVLOG_OK;
}

enum kvlog_status
args_write(const struct kvlog_write *how)
{
	if (how->size != sizeof *how)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.size is not sizeof(struct kvlog_write)");
	if (how->durability > KVLOG_DURABILITY_NONE)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.durability is unknown: %d",
		    (int)how->durability);
	return KVLOG_OK;
}

enum kvlog_status
args_refuse_write(const struct kvlog *db, const struct kvlog_write *how)
{
	enum kvlog_status st = args_handle(db, how->err);

	if (st == KVLOG_OK && !db->store->writable)
		st = err_set(how->err, KVLOG_READONLY, 0,
		    "%s was opened read-only", db->store->dir.path);
	return st == KVLOG_OK ? args_write(how) : st;
}

enum kvlog_status
args_refuse_step(enum kvlog_condition condition, struct kvlog_error *err)
{
	if (condition > KVLOG_IF_SEQ)
		return err_set(err, KVLOG_INVAL, 0, "unknown condition: %d",
		    (int)condition);
	return err_set(err, KVLOG_INVAL, 0, "a delete cannot expire");
}

enum kvlog_status
args_bucket_open(
    struct kvlog **ret_bucket, unsigned flags, struct kvlog_error *err)
{
	const unsigned create = KVLOG_OPEN_CREATE,
		       fresh = KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE;

	if (ret_bucket != NULL &&
	    (flags == 0 || flags == create || flags == fresh))
		return KVLOG_OK;
	return err_set(err, KVLOG_INVAL, 0,
	    "kvlog_bucket_open needs a place for the handle, and flags 0, "
	    "KVLOG_OPEN_CREATE, or that and KVLOG_OPEN_EXCLUSIVE");
}

enum kvlog_status
args_name(const void *name, size_t name_len, struct kvlog_error *err)
{
	if (name == NULL || name_len == 0)
		return err_set(
		    err, KVLOG_INVAL, 0, "the name of a bucket is empty");
	if (name_len > KVLOG_KEY_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a bucket's name of %zu bytes; at most %u are possible",
		    name_len, KVLOG_KEY_MAX);
	return KVLOG_OK;
}

enum kvlog_status
args_txn_writes(const struct kvlog_txn *txn, struct kvlog_error *err)
{
	return txn->writes
		   ? KVLOG_OK
		   : err_set(err, KVLOG_READONLY, 0,
			 "the transaction was begun with KVLOG_TXN_READ");
}
