/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog_bucket.c - the public functions of buckets, in a transaction or not.
 */
#include "config.h"

#include <kvlog.h>

#include "args.h"

/* Write to the catalogue; id: of a new bucket, else it is dropped. */
static enum kvlog_status
write_name(struct kvlog *db, const void *name, size_t name_len, uint8_t *id,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	struct kvlog_receipt receipt;
	struct kvlog_error failure = {0};
	struct commit_op op = {
	    .type = id != NULL ? RECORD_PUT : RECORD_DELETE,
	    .condition = id != NULL ? KVLOG_IF_ABSENT : KVLOG_IF_ANY,
	    .key = name,
	    .key_len = (uint16_t)name_len,
	    .value = id,
	    .value_len = id != NULL ? RECORD_BUCKET_LEN : 0,
	    .bucket_ordinal = BUCKET_CATALOGUE_ORDINAL,
	    .new_id = id,
	};
	const struct hint_key key = bucket_name_key(name, name_len);
	size_t failed;
	enum kvlog_status st;

	op.hash = hint_key_hash(db->store->views.secret, &key);
	st = store_write(db, &op, 1, id == NULL, how->durability, &receipt,
	    &failed, &failure);
	if (st == KVLOG_OK && ret_receipt != NULL)
		*ret_receipt = receipt;
	return args_tell(st, &failure, how->err);
}

static enum kvlog_status
make_handle(struct kvlog *db, const void *name, size_t name_len,
    const struct bucket_id *id, struct kvlog **ret_bucket,
    struct kvlog_error *err)
{
	struct kvlog *handle = os->calloc(1, sizeof *handle);

	if (handle == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "open a bucket");
	handle->store = db->store;
	handle->durability = db->durability;
	handle->bucket = bucket_create(name, name_len, id);
	if (handle->bucket == NULL) {
		os->free(handle);
		return err_set(err, KVLOG_NOMEM, 0, "open a bucket");
	}
	*ret_bucket = handle;
	return KVLOG_OK;
}

/* One that comes to nothing, by this status. */
static enum kvlog_status
end_handle(struct kvlog *handle, enum kvlog_status st)
{
	bucket_destroy(handle->bucket);
	os->free(handle);
	return st;
}

enum kvlog_status
kvlog_bucket_open(struct kvlog *db, const void *name, size_t name_len,
    unsigned flags, struct kvlog **ret_bucket, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	const struct kvlog_write how = {.size = sizeof how, .err = &failure};
	struct kvlog *handle;
	const bool create = (flags & KVLOG_OPEN_CREATE) != 0,
		   fresh = (flags & KVLOG_OPEN_EXCLUSIVE) != 0;
	uint8_t bytes[RECORD_BUCKET_LEN] = {0};
	struct bucket_id id = {0, 0};
	enum kvlog_status st = args_handle(db, err);

	if (st == KVLOG_OK)
		st = args_name(name, name_len, err);
	if (st == KVLOG_OK)
		st = args_bucket_open(ret_bucket, flags, err);
	if (st == KVLOG_OK && create)
		st = args_write_to(db, &how);
	if (st != KVLOG_OK)
		return args_tell(st, &failure, err);
	/* Before anything is written. */
	st = make_handle(db, name, name_len, &id, &handle, err);
	if (st != KVLOG_OK)
		return st;
	do {
		st =
		    store_find_bucket(db->store, name, name_len, &id, &failure);
		if (st == KVLOG_OK && fresh)
			return end_handle(
			    handle, err_set(err, KVLOG_CONFLICT, 0,
					"there is a bucket of this name"));
		if (st == KVLOG_NOBUCKET && create) {
			st = write_name(db, name, name_len, bytes, &how, NULL);
			id.seq = get_u64(bytes);
		}
		/* Somebody else was first. */
	} while (st == KVLOG_CONFLICT);
	if (st != KVLOG_OK)
		return args_tell(end_handle(handle, st), &failure, err);
	handle->bucket->id = id;
	*ret_bucket = handle;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_txn_bucket_open(struct kvlog_txn *txn, const void *name, size_t name_len,
    unsigned flags, struct kvlog **ret_bucket, struct kvlog_error *err)
{
	const bool create = (flags & KVLOG_OPEN_CREATE) != 0,
		   fresh = (flags & KVLOG_OPEN_EXCLUSIVE) != 0;
	struct kvlog_error failure = {0};
	struct kvlog *handle;
	struct bucket_handle *own;
	struct bucket_id id = {0, 0};
	enum kvlog_status st = txn_check(txn, NULL, &own, err);

	if (st == KVLOG_OK)
		st = args_name(name, name_len, err);
	if (st == KVLOG_OK)
		st = args_bucket_open(ret_bucket, flags, err);
	if (st == KVLOG_OK && create)
		st = args_txn_writes(txn, err);
	if (st != KVLOG_OK)
		return st;
	st = make_handle(txn->handle, name, name_len, &id, &handle, err);
	if (st != KVLOG_OK)
		return st;
	st = txn_find_bucket(txn, name, name_len, &id, &failure);
	if (st == KVLOG_OK && fresh)
		st = err_set(&failure, KVLOG_CONFLICT, 0,
		    "there is a bucket of this name");
	else if (st == KVLOG_NOBUCKET && create)
		st = txn_create_bucket(txn, name, name_len, &id, &failure);
	if (st != KVLOG_OK)
		return args_tell(end_handle(handle, st), &failure, err);
	handle->bucket->id = id;
	*ret_bucket = handle;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_txn_bucket_drop(struct kvlog_txn *txn, const void *name, size_t name_len,
    struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	struct bucket_handle *own;
	enum kvlog_status st = txn_check(txn, NULL, &own, err);

	if (st == KVLOG_OK)
		st = args_name(name, name_len, err);
	if (st == KVLOG_OK)
		st = args_txn_writes(txn, err);
	if (st != KVLOG_OK)
		return st;
	return args_tell(
	    txn_drop_bucket(txn, name, name_len, &failure), &failure, err);
}

enum kvlog_status
kvlog_bucket_drop(struct kvlog *db, const void *name, size_t name_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	enum kvlog_status st;

	how = args_how(how);
	st = args_write_to(db, how);
	if (st == KVLOG_OK)
		st = args_name(name, name_len, how->err);
	if (st == KVLOG_OK &&
	    (how->condition != KVLOG_IF_ANY || how->expires_ms != 0))
		st = err_set(how->err, KVLOG_INVAL, 0,
		    "a bucket is dropped without conditions");
	if (st != KVLOG_OK)
		return st;
	st = write_name(db, name, name_len, NULL, how, ret_receipt);
	return st == KVLOG_NOTFOUND ? err_set(how->err, KVLOG_NOBUCKET, 0,
					  "there is no bucket of this name")
				    : st;
}

void
kvlog_bucket_id(struct kvlog *db, uint64_t *ret_seq, uint32_t *ret_ordinal)
{
	struct bucket_id id = {0, 0};

	if (db != NULL && db->bucket != NULL)
		id = db->bucket->id;
	*ret_seq = id.seq;
	*ret_ordinal = id.ordinal;
}
