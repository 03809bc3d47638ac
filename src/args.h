/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * args.h - what all public functions ask of their arguments, and how they tell
 * why they refuse them.
 *
 * Each check is KVLOG_OK, or fills err, which may be NULL.
 */
#ifndef ARGS_H
#define ARGS_H

#include "base.h"
#include "txn.h"

/* What *failure says is the caller's only if the call has failed: a step that
 * was got over may have filled it, too. */
static inline enum kvlog_status
args_tell(enum kvlog_status st, const struct kvlog_error *failure,
    struct kvlog_error *err)
{
	if (st != KVLOG_OK && failure->status != KVLOG_OK && err != NULL)
		*err = *failure;
	return st;
}

/* A handle is of use in the process that opened it alone. */
enum kvlog_status args_forked(
    const struct store *store, struct kvlog_error *err);
enum kvlog_status args_handle(const struct kvlog *db, struct kvlog_error *err);

/* Keys and values.  Where a look-up has no err, KVLOG_INVAL stands for all. */
static inline bool
args_is_key(const void *key, size_t key_len)
{
	return key != NULL && key_len - 1 < KVLOG_KEY_MAX;
}
enum kvlog_status args_key(
    const void *key, size_t key_len, struct kvlog_error *err);
enum kvlog_status args_value(
    const void *value, size_t value_len, struct kvlog_error *err);
static inline enum kvlog_status
args_data(const void *key, size_t key_len, const void *value, size_t value_len,
    struct kvlog_error *err)
{
	if (UNLIKELY(!args_is_key(key, key_len)))
		return args_key(key, key_len, err);
	if (LIKELY((value != NULL || value_len == 0) &&
		   value_len <= KVLOG_VALUE_MAX))
		return KVLOG_OK;
	return args_value(value, value_len, err);
}

/* How to write: NULL stands for the defaults. */
static inline const struct kvlog_write *
args_how(const struct kvlog_write *how)
{
	static const struct kvlog_write defaults = KVLOG_WRITE_INIT;

	return how != NULL ? how : &defaults;
}
/* Its size, and its durability; and whether db is there to be written to. */
enum kvlog_status args_write(const struct kvlog_write *how);
enum kvlog_status args_refuse_write(
    const struct kvlog *db, const struct kvlog_write *how);
static inline enum kvlog_status
args_write_to(const struct kvlog *db, const struct kvlog_write *how)
{
	if (LIKELY(db != NULL && !store_is_forked(db->store) &&
		   db->store->writable && how->size == sizeof *how &&
		   how->durability <= KVLOG_DURABILITY_NONE))
		return KVLOG_OK;
	return args_refuse_write(db, how);
}
/* What is asked of a key that is put, or deleted. */
enum kvlog_status args_refuse_step(
    enum kvlog_condition condition, struct kvlog_error *err);
static inline enum kvlog_status
args_step(bool put, enum kvlog_condition condition, uint64_t expires_ms,
    struct kvlog_error *err)
{
	if (LIKELY(condition <= KVLOG_IF_SEQ && (put || expires_ms == 0)))
		return KVLOG_OK;
	return args_refuse_step(condition, err);
}

/* Opening a bucket; its name. */
enum kvlog_status args_bucket_open(
    struct kvlog **ret_bucket, unsigned flags, struct kvlog_error *err);
enum kvlog_status args_name(
    const void *name, size_t name_len, struct kvlog_error *err);

enum kvlog_status args_txn_writes(
    const struct kvlog_txn *txn, struct kvlog_error *err);

#endif
