/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog.c - the public functions: argument checks and defaults.  What they
 * promise stands in kvlog.h; what they do, in store.c and below.
 */
#include "config.h"

#include <kvlog.h>

#include "backup.h"
#include "blend.h"
#include "feed.h"
#include "offline.h"
#include "online.h"
#include "pin.h"
#include "rehint.h"
#include "salvage.h"
#include "segments.h"
#include "snapshot.h"
#include "store.h"
#include "txn.h"
#include "verify.h"

#include <string.h>

#define STRING(x) #x
#define VERSION_TEXT(major, minor, patch)                                      \
	STRING(major) "." STRING(minor) "." STRING(patch)

#define PERCENT_MAX 99

#define OPEN_FLAGS                                                             \
	(KVLOG_OPEN_READONLY | KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE |      \
	    KVLOG_OPEN_NOTHREAD | KVLOG_OPEN_NOVERIFY | KVLOG_OPEN_UNSHARED |  \
	    KVLOG_OPEN_NOCOMPACT)

/* A detail is the caller's only if the call has failed: a step that was got
 * over may have filled it, too. */
static enum kvlog_status
tell(enum kvlog_status st, const struct kvlog_error *failure,
    struct kvlog_error *err)
{
	if (st != KVLOG_OK && failure->status != KVLOG_OK && err != NULL)
		*err = *failure;
	return st;
}

const char *
kvlog_version(void)
{
	return VERSION_TEXT(
	    KVLOG_VERSION_MAJOR, KVLOG_VERSION_MINOR, KVLOG_VERSION_PATCH);
}

const char *
kvlog_status_text(enum kvlog_status status)
{
	return err_text(status);
}

/* Opening */

static bool
is_durability(enum kvlog_durability d)
{
	return d >= KVLOG_DURABILITY_COMMIT && d <= KVLOG_DURABILITY_NONE;
}

static enum kvlog_status
check_options(const struct kvlog_options *o, struct kvlog_error *err)
{
	if (o->size != sizeof *o)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.size is not sizeof(struct kvlog_options)");
	if ((o->flags & ~OPEN_FLAGS) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "unknown bits in options.flags: 0x%x",
		    o->flags & ~OPEN_FLAGS);
	if ((o->flags & KVLOG_OPEN_READONLY) != 0 &&
	    (o->flags & KVLOG_OPEN_CREATE) != 0)
		return err_set(
		    err, KVLOG_INVAL, 0, "a store cannot be created read-only");
	if ((o->flags & KVLOG_OPEN_EXCLUSIVE) != 0 &&
	    (o->flags & KVLOG_OPEN_CREATE) == 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "KVLOG_OPEN_EXCLUSIVE goes with KVLOG_OPEN_CREATE");
	if (!is_durability(o->durability))
		return err_set(err, KVLOG_INVAL, 0,
		    "options.durability is unknown: %d", (int)o->durability);
	if (o->durability == KVLOG_DURABILITY_INTERVAL && o->interval_ms == 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.interval_ms must be at least 1");
	if (o->compact_percent > PERCENT_MAX)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.compact_percent is %u; at most %u make sense",
		    (unsigned)o->compact_percent, PERCENT_MAX);
	if ((unsigned)o->index_mode > KVLOG_INDEX_HINTS)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.index_mode is unknown: %d", (int)o->index_mode);
	if (o->segment_size != 0 &&
	    (o->segment_size < KVLOG_SEGMENT_SIZE_MIN ||
		o->segment_size > KVLOG_SEGMENT_SIZE_MAX))
		return err_set(err, KVLOG_INVAL, 0,
		    "a segment size of %llu bytes; at least %u and at most "
		    "%llu are possible",
		    (unsigned long long)o->segment_size, KVLOG_SEGMENT_SIZE_MIN,
		    (unsigned long long)KVLOG_SEGMENT_SIZE_MAX);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_open(const char *path, const struct kvlog_options *options,
    struct kvlog **ret_db, struct kvlog_error *err)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	enum kvlog_status st;

	if (path == NULL || path[0] == '\0' || ret_db == NULL)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_open needs a path and a place for the handle");
	if (options != NULL) {
		st = check_options(options, err);
		if (st != KVLOG_OK)
			return st;
		o = *options;
	}
	o.segment_size &= ~(uint64_t)(BLOCK_SIZE - 1);
	return store_open(path, &o, ret_db, err);
}

enum kvlog_status
kvlog_close(struct kvlog *db, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};

	if (db == NULL)
		return KVLOG_OK;
	txn_abandon_all(db);
	if (db->bucket != NULL) {
		bucket_destroy(db->bucket);
		os->free(db);
		return KVLOG_OK;
	}
	return tell(store_close(db, &failure), &failure, err);
}

/* Writing */

static enum kvlog_status
tell_forked(const struct store *store, struct kvlog_error *err)
{
	return err_set(err, KVLOG_FORKED, 0,
	    "%s was opened before this process was forked; open it anew in "
	    "this one",
	    store->dir.path);
}

/* A handle is of use in the process that opened it alone. */
static enum kvlog_status
check_handle(const struct kvlog *db, struct kvlog_error *err)
{
	if (UNLIKELY(db == NULL))
		return err_set(err, KVLOG_INVAL, 0, "no store");
	if (UNLIKELY(store_is_forked(db->store)))
		return tell_forked(db->store, err);
	return KVLOG_OK;
}

static const struct kvlog_write write_defaults = KVLOG_WRITE_INIT;

static enum kvlog_status
refuse_write(const struct kvlog *db, const struct kvlog_write *how)
{
	enum kvlog_status st = check_handle(db, how->err);

	if (st != KVLOG_OK)
		return st;
	if (!db->store->writable)
		return err_set(how->err, KVLOG_READONLY, 0,
		    "%s was opened read-only", db->store->dir.path);
	if (how->size != sizeof *how)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.size is not sizeof(struct kvlog_write)");
	return err_set(how->err, KVLOG_INVAL, 0,
	    "kvlog_write.durability is unknown: %d", (int)how->durability);
}

static inline enum kvlog_status
check_write(const struct kvlog *db, const struct kvlog_write *how)
{
	if (LIKELY(db != NULL && !store_is_forked(db->store) &&
		   db->store->writable && how->size == sizeof *how &&
		   (how->durability == KVLOG_DURABILITY_DEFAULT ||
		       is_durability(how->durability))))
		return KVLOG_OK;
	return refuse_write(db, how);
}

static enum kvlog_status
refuse_data(const void *key, size_t key_len, const void *value,
    size_t value_len, struct kvlog_error *err)
{
	if (key == NULL || key_len == 0)
		return err_set(err, KVLOG_INVAL, 0, "the key is empty");
	if (key_len > KVLOG_KEY_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a key of %zu bytes; at most %u are possible", key_len,
		    KVLOG_KEY_MAX);
	if (value == NULL)
		return err_set(err, KVLOG_INVAL, 0, "no value");
	return err_set(err, KVLOG_TOOBIG, 0,
	    "a value of %zu bytes; at most %u are possible", value_len,
	    KVLOG_VALUE_MAX);
}

static inline enum kvlog_status
check_data(const void *key, size_t key_len, const void *value, size_t value_len,
    struct kvlog_error *err)
{
	if (LIKELY(key != NULL && key_len > 0 && key_len <= KVLOG_KEY_MAX &&
		   (value != NULL || value_len == 0) &&
		   value_len <= KVLOG_VALUE_MAX))
		return KVLOG_OK;
	return refuse_data(key, key_len, value, value_len, err);
}

/* Where a key is, and until when; of a delete expires_ms is 0. */
static inline void
set_place(
    struct commit_op *op, struct bucket_handle *bucket, uint64_t expires_ms)
{
	op->flags = expires_ms != 0 ? RECORD_EXPIRY : 0;
	op->expiry_ms = expires_ms;
	op->bucket = bucket;
	if (bucket != NULL) {
		op->flags |= RECORD_BUCKET;
		op->bucket_seq = bucket->id.seq;
		op->bucket_ordinal = bucket->id.ordinal;
	}
}

static inline void
set_hash(struct commit_op *op, const struct store *store)
{
	const struct hint_key key = commit_key(op);

	op->hash = hint_key_hash(store->views.secret, &key);
}

/* From the public form to the internal one; everything is in range then. */
static enum kvlog_status
make_op(struct kvlog *db, const struct kvlog_op *op, struct commit_op *ret,
    struct kvlog_error *err)
{
	bool put = op->type == KVLOG_OP_PUT;
	enum kvlog_status st;

	if (!put && op->type != KVLOG_OP_DELETE)
		return err_set(err, KVLOG_INVAL, 0, "unknown type of step: %d",
		    (int)op->type);
	if (op->condition > KVLOG_IF_SEQ)
		return err_set(err, KVLOG_INVAL, 0, "unknown condition: %d",
		    (int)op->condition);
	if (op->bucket != NULL && op->bucket->store != db->store)
		return err_set(err, KVLOG_INVAL, 0,
		    "the bucket of a step is of another store");
	if (!put && op->expires_ms != 0)
		return err_set(err, KVLOG_INVAL, 0, "a delete cannot expire");
	st = check_data(op->key, op->key_len, op->value, op->value_len, err);
	if (st != KVLOG_OK)
		return st;
	*ret = (struct commit_op){
	    .type = put ? RECORD_PUT : RECORD_DELETE,
	    .condition = op->condition,
	    .if_seq = op->if_seq,
	    .key = op->key,
	    .key_len = (uint16_t)op->key_len,
	    .value = put ? op->value : NULL,
	    .value_len = put ? (uint32_t)op->value_len : 0,
	};
	set_place(ret, op->bucket != NULL ? op->bucket->bucket : db->bucket,
	    op->expires_ms);
	set_hash(ret, db->store);
	return KVLOG_OK;
}

/* op: its type, key and value. */
static inline enum kvlog_status
write_one(struct kvlog *db, struct commit_op *op, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct kvlog_receipt receipt;
	struct kvlog_error failure;
	size_t failed;
	enum kvlog_status st;

	if (UNLIKELY(how->condition > KVLOG_IF_SEQ))
		return err_set(how->err, KVLOG_INVAL, 0,
		    "unknown condition: %d", (int)how->condition);
	if (UNLIKELY(op->type == RECORD_DELETE && how->expires_ms != 0))
		return err_set(
		    how->err, KVLOG_INVAL, 0, "a delete cannot expire");
	op->condition = how->condition;
	op->if_seq = how->if_seq;
	set_place(op, db->bucket, how->expires_ms);
	set_hash(op, db->store);
	failure.status = KVLOG_OK;
	st = store_write(db, op, 1, op->type == RECORD_DELETE, how->durability,
	    &receipt, &failed, how->err != NULL ? &failure : NULL);
	if (st == KVLOG_OK && ret_receipt != NULL)
		*ret_receipt = receipt;
	return tell(st, &failure, how->err);
}

enum kvlog_status
kvlog_put(struct kvlog *db, const void *key, size_t key_len, const void *value,
    size_t value_len, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct commit_op op = {.type = RECORD_PUT,
	    .key = key,
	    .key_len = (uint16_t)key_len,
	    .value = value,
	    .value_len = (uint32_t)value_len};
	enum kvlog_status st;

	if (how == NULL)
		how = &write_defaults;
	st = check_write(db, how);
	if (st == KVLOG_OK)
		st = check_data(key, key_len, value, value_len, how->err);
	return st == KVLOG_OK ? write_one(db, &op, how, ret_receipt) : st;
}

enum kvlog_status
kvlog_delete(struct kvlog *db, const void *key, size_t key_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	struct commit_op op = {
	    .type = RECORD_DELETE, .key = key, .key_len = (uint16_t)key_len};
	enum kvlog_status st;

	if (how == NULL)
		how = &write_defaults;
	st = check_write(db, how);
	if (st == KVLOG_OK)
		st = check_data(key, key_len, NULL, 0, how->err);
	return st == KVLOG_OK ? write_one(db, &op, how, ret_receipt) : st;
}

enum kvlog_status
kvlog_apply(struct kvlog *db, const struct kvlog_op *ops, size_t op_count,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt,
    size_t *ret_failed)
{
	struct kvlog_receipt receipt;
	struct kvlog_error failure;
	struct commit_op *commits;
	enum kvlog_status st;
	size_t failed = SIZE_MAX;

	if (how == NULL)
		how = &write_defaults;
	st = check_write(db, how);
	if (st != KVLOG_OK)
		return st;
	if (ops == NULL || op_count == 0)
		return err_set(how->err, KVLOG_INVAL, 0, "an empty batch");
	if (how->condition != KVLOG_IF_ANY)
		return err_set(how->err, KVLOG_INVAL, 0,
		    "the conditions of a batch stand in its steps");
	commits = op_count <= SIZE_MAX / sizeof *commits
		      ? os->malloc(op_count * sizeof *commits)
		      : NULL;
	if (commits == NULL)
		return err_set(how->err, KVLOG_NOMEM, 0, "write a batch");
	failure.status = KVLOG_OK;
	for (size_t i = 0; i < op_count && st == KVLOG_OK; i++) {
		st = make_op(db, &ops[i], &commits[i], &failure);
		if (st != KVLOG_OK)
			failed = i;
	}
	if (st == KVLOG_OK)
		st = store_write(db, commits, op_count, false, how->durability,
		    &receipt, &failed, how->err != NULL ? &failure : NULL);
	os->free(commits);
	if (st == KVLOG_OK && ret_receipt != NULL)
		*ret_receipt = receipt;
	if (st != KVLOG_OK && failed != SIZE_MAX && ret_failed != NULL)
		*ret_failed = failed;
	return tell(st, &failure, how->err);
}

/* Buckets */

static enum kvlog_status
check_name(const void *name, size_t name_len, struct kvlog_error *err)
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

/* Write to the catalogue; id: of a new bucket, else it is dropped. */
static enum kvlog_status
write_name(struct kvlog *db, const void *name, size_t name_len, uint8_t *id,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	struct kvlog_receipt receipt;
	struct kvlog_error failure = {0};
	struct commit_op op = {
	    .type = id != NULL ? RECORD_PUT : RECORD_DELETE,
	    .flags = RECORD_BUCKET,
	    .condition = id != NULL ? KVLOG_IF_ABSENT : KVLOG_IF_ANY,
	    .key = name,
	    .key_len = (uint16_t)name_len,
	    .value = id,
	    .value_len = id != NULL ? RECORD_BUCKET_LEN : 0,
	    .bucket_ordinal = BUCKET_CATALOGUE_ORDINAL,
	    .new_id = id,
	};
	size_t failed;
	enum kvlog_status st;

	set_hash(&op, db->store);
	st = store_write(db, &op, 1, id == NULL, how->durability, &receipt,
	    &failed, &failure);
	if (st == KVLOG_OK && ret_receipt != NULL)
		*ret_receipt = receipt;
	return tell(st, &failure, how->err);
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
	enum kvlog_status st = check_handle(db, err);

	if (st == KVLOG_OK)
		st = check_name(name, name_len, err);
	if (st != KVLOG_OK)
		return st;
	if (ret_bucket == NULL || (fresh && !create) ||
	    (flags & ~(KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE)) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_bucket_open needs a place for the handle, and flags "
		    "0, KVLOG_OPEN_CREATE, or that and KVLOG_OPEN_EXCLUSIVE");
	if (create) {
		st = check_write(db, &how);
		if (st != KVLOG_OK)
			return tell(st, &failure, err);
	}
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
		return tell(end_handle(handle, st), &failure, err);
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
		st = check_name(name, name_len, err);
	if (st != KVLOG_OK)
		return st;
	if (ret_bucket == NULL || (fresh && !create) ||
	    (flags & ~(KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE)) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_bucket_open needs a place for the handle, and flags "
		    "0, KVLOG_OPEN_CREATE, or that and KVLOG_OPEN_EXCLUSIVE");
	if (create && !txn->writes)
		return err_set(err, KVLOG_READONLY, 0,
		    "the transaction was begun with KVLOG_TXN_READ");
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
		return tell(end_handle(handle, st), &failure, err);
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
		st = check_name(name, name_len, err);
	if (st == KVLOG_OK && !txn->writes)
		st = err_set(err, KVLOG_READONLY, 0,
		    "the transaction was begun with KVLOG_TXN_READ");
	if (st != KVLOG_OK)
		return st;
	return tell(
	    txn_drop_bucket(txn, name, name_len, &failure), &failure, err);
}

enum kvlog_status
kvlog_bucket_drop(struct kvlog *db, const void *name, size_t name_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	enum kvlog_status st;

	if (how == NULL)
		how = &write_defaults;
	st = check_write(db, how);
	if (st == KVLOG_OK)
		st = check_name(name, name_len, how->err);
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

/* Reading */

static inline bool
may_read(const struct kvlog *db, const void *key, size_t key_len)
{
	return LIKELY(db != NULL && key != NULL &&
		      key_len - 1 < KVLOG_KEY_MAX &&
		      !store_is_forked(db->store));
}

/* Why not, if so. */
static enum kvlog_status
check_key(const struct kvlog *db, const void *key, size_t key_len)
{
	if (may_read(db, key, key_len))
		return KVLOG_OK;
	if (db != NULL && store_is_forked(db->store))
		return KVLOG_FORKED;
	return KVLOG_INVAL;
}

enum kvlog_status
kvlog_get(struct kvlog *db, const void *key, size_t key_len, void *buf,
    size_t buf_cap, size_t *ret_len)
{
	if (UNLIKELY(!may_read(db, key, key_len)))
		return check_key(db, key, key_len);
	if (buf == NULL && buf_cap > 0)
		return KVLOG_INVAL;
	return store_read_copy(
	    db->store, db->bucket, key, key_len, buf, buf_cap, ret_len);
}

struct alloc_to {
	void *value;
	size_t len;
};

static enum kvlog_status
alloc_value(void *arg, const struct index_ref *ref)
{
	struct alloc_to *to = arg;

	to->len = ref->rec.value_len;
	to->value = os->malloc(to->len > 0 ? to->len : 1);
	if (to->value == NULL)
		return KVLOG_NOMEM;
	if (to->len > 0)
		memcpy(to->value, ref->rec.value, to->len);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_get_alloc(struct kvlog *db, const void *key, size_t key_len,
    void **ret_value, size_t *ret_len)
{
	struct alloc_to to = {NULL, 0};
	enum kvlog_status st = check_key(db, key, key_len);

	if (st == KVLOG_OK && ret_value == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	st = store_read(
	    db->store, db->bucket, key, key_len, true, alloc_value, &to, NULL);
	if (st != KVLOG_OK)
		return st;
	*ret_value = to.value;
	if (ret_len != NULL)
		*ret_len = to.len;
	return KVLOG_OK;
}

void
kvlog_free(void *value)
{
	os->free(value);
}

static enum kvlog_status
tell_info(void *arg, const struct index_ref *ref)
{
	struct kvlog_info *info = arg;

	info->seq = ref->rec.seq;
	info->value_len = ref->rec.value_len;
	info->segment = segment_number(ref->seg);
	info->offset = ref->off;
	info->expires_ms = ref->rec.expiry_ms;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_exists(struct kvlog *db, const void *key, size_t key_len)
{
	struct kvlog_info info;

	return kvlog_lookup(db, key, key_len, &info);
}

enum kvlog_status
kvlog_lookup(struct kvlog *db, const void *key, size_t key_len,
    struct kvlog_info *ret_info)
{
	enum kvlog_status st = check_key(db, key, key_len);

	if (st == KVLOG_OK && ret_info == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	return store_read(db->store, db->bucket, key, key_len, false, tell_info,
	    ret_info, ret_info);
}

/* Reading in place */

enum kvlog_status
kvlog_pin_create(struct kvlog *db, struct kvlog_pin **ret_pin)
{
	struct kvlog_pin *pin;
	enum kvlog_status st = check_handle(db, NULL);

	if (st == KVLOG_OK && ret_pin == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	pin = pin_create(db);
	if (pin == NULL)
		return KVLOG_NOMEM;
	*ret_pin = pin;
	return KVLOG_OK;
}

void
kvlog_pin_destroy(struct kvlog_pin *pin)
{
	if (pin != NULL)
		pin_destroy(pin);
}

enum kvlog_status
kvlog_pin_get_many(
    struct kvlog_pin *pin, struct kvlog_item *items, size_t item_count)
{
	if (pin == NULL || (items == NULL && item_count > 0))
		return KVLOG_INVAL;
	if (store_is_forked(pin->store))
		return KVLOG_FORKED;
	return pin_get_many(pin, items, item_count);
}

enum kvlog_status
kvlog_pin_get(struct kvlog_pin *pin, const void *key, size_t key_len,
    const void **ret_value, size_t *ret_len)
{
	struct kvlog_item item = {.key = key, .key_len = key_len};
	enum kvlog_status st;

	if (ret_value == NULL)
		return KVLOG_INVAL;
	st = kvlog_pin_get_many(pin, &item, 1);
	if (st == KVLOG_OK)
		st = item.status;
	if (st != KVLOG_OK)
		return st;
	*ret_value = item.value;
	if (ret_len != NULL)
		*ret_len = item.value_len;
	return KVLOG_OK;
}

/* Walking */

static bool
is_bound(const void *bytes, size_t len)
{
	return len <= KVLOG_KEY_MAX && (bytes != NULL || len == 0);
}

static bool
is_range(const struct kvlog_range *r)
{
	return r->size == sizeof *r &&
	       (r->flags & ~KVLOG_ITER_KEYS_ONLY) == 0 &&
	       is_bound(r->prefix, r->prefix_len) &&
	       is_bound(r->from, r->from_len) && is_bound(r->to, r->to_len);
}

static struct cursor_range
cursor_range_of(const struct kvlog_range *r, const struct bucket_handle *bucket)
{
	const struct bucket_id none = {0, 0};
	const struct bucket_id id = bucket != NULL ? bucket->id : none;

	return (struct cursor_range){
	    .bucket_seq = id.seq,
	    .bucket_ordinal = id.ordinal,
	    .prefix = r->prefix,
	    .prefix_len = r->prefix_len,
	    .from = r->from,
	    .from_len = r->from_len,
	    .to = r->to,
	    .to_len = r->to_len,
	    .keys_only = (r->flags & KVLOG_ITER_KEYS_ONLY) != 0,
	};
}

/* It has come to nothing, and may come to as much as the limit says. */
static void
restart(struct kvlog_iter *iter)
{
	iter->left = iter->limit;
	iter->state = KVLOG_NOTFOUND;
}

/* bucket: of the range, to be there; or NULL.  txn: in it, or NULL. */
static enum kvlog_status
open_iter_in(struct store *store, struct kvlog_txn *txn,
    struct bucket_handle *bucket, const struct cursor_range *within,
    uint64_t limit, struct kvlog_iter **ret_iter)
{
	struct kvlog_iter *iter = os->calloc(1, sizeof *iter);
	enum kvlog_status st;

	if (iter == NULL)
		return KVLOG_NOMEM;
	iter->store = store;
	iter->keys_only = within->keys_only;
	iter->limit = limit > 0 ? limit : UINT64_MAX;
	restart(iter);
	st = txn != NULL ? txn_walk(txn, bucket, within, iter)
			 : store_cursor(store, bucket, within, &iter->view,
			       &iter->cursor);
	if (st != KVLOG_OK) {
		os->free(iter);
		return st;
	}
	*ret_iter = iter;
	return KVLOG_OK;
}

static enum kvlog_status
open_iter(struct kvlog *db, struct bucket_handle *bucket,
    const struct cursor_range *within, uint64_t limit,
    struct kvlog_iter **ret_iter)
{
	enum kvlog_status st = check_handle(db, NULL);

	return st == KVLOG_OK ? open_iter_in(db->store, NULL, bucket, within,
				    limit, ret_iter)
			      : st;
}

enum kvlog_status
kvlog_txn_iter_open(struct kvlog_txn *txn, struct kvlog *bucket,
    const struct kvlog_range *range, struct kvlog_iter **ret_iter)
{
	static const struct kvlog_range all = KVLOG_RANGE_INIT;
	struct cursor_range within;
	struct bucket_handle *in;
	enum kvlog_status st = KVLOG_INVAL;

	if (range == NULL)
		range = &all;
	if (ret_iter != NULL && is_range(range))
		st = txn_check(txn, bucket, &in, NULL);
	if (st != KVLOG_OK)
		return st;
	within = cursor_range_of(range, in);
	return open_iter_in(
	    txn->store, txn, in, &within, range->limit, ret_iter);
}

enum kvlog_status
kvlog_iter_open(struct kvlog *db, const struct kvlog_range *range,
    struct kvlog_iter **ret_iter)
{
	static const struct kvlog_range all = KVLOG_RANGE_INIT;
	struct cursor_range within;

	if (range == NULL)
		range = &all;
	if (db == NULL || ret_iter == NULL || !is_range(range))
		return KVLOG_INVAL;
	within = cursor_range_of(range, db->bucket);
	return open_iter(db, db->bucket, &within, range->limit, ret_iter);
}

enum kvlog_status
kvlog_iter_create(struct kvlog *db, const void *prefix, size_t prefix_len,
    struct kvlog_iter **ret_iter)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;

	range.prefix = prefix;
	range.prefix_len = prefix_len;
	return kvlog_iter_open(db, &range, ret_iter);
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

enum kvlog_status
kvlog_bucket_list(struct kvlog *db, struct kvlog_iter **ret_iter)
{
	const struct cursor_range names = {
	    .bucket_ordinal = BUCKET_CATALOGUE_ORDINAL};

	return ret_iter != NULL ? open_iter(db, NULL, &names, 0, ret_iter)
				: KVLOG_INVAL;
}

enum kvlog_status
kvlog_iter_create_since(struct kvlog *db, uint64_t seq, const void *prefix,
    size_t prefix_len, struct kvlog_iter **ret_iter)
{
	enum kvlog_status st =
	    kvlog_iter_create(db, prefix, prefix_len, ret_iter);

	if (st == KVLOG_OK)
		cursor_since((*ret_iter)->cursor, seq);
	return st;
}

void
kvlog_iter_destroy(struct kvlog_iter *iter)
{
	if (iter == NULL)
		return;
	/* In a forked child, a thread that is not there may hold a lock. */
	if (!store_is_forked(iter->store)) {
		txn_end_walk(iter);
		if (iter->blend != NULL)
			blend_destroy(iter->blend);
		else
			cursor_destroy(iter->cursor);
		if (iter->view != NULL)
			view_release(&iter->store->views, iter->view);
	}
	os->free(iter);
}

static enum kvlog_status
move(struct kvlog_iter *iter, bool forward)
{
	if (iter->blend != NULL)
		return forward ? blend_next(iter->blend)
			       : blend_prev(iter->blend);
	return forward ? cursor_next(iter->cursor) : cursor_prev(iter->cursor);
}

static enum kvlog_status
step(struct kvlog_iter *iter, bool forward)
{
	if (iter == NULL)
		return KVLOG_INVAL;
	iter->state = KVLOG_FORKED;
	if (store_is_forked(iter->store))
		return iter->state;
	iter->state = iter->left > 0 ? move(iter, forward) : KVLOG_NOTFOUND;
	if (iter->state == KVLOG_OK || iter->state == KVLOG_CORRUPT)
		iter->left--;
	return iter->state;
}

enum kvlog_status
kvlog_iter_next(struct kvlog_iter *iter)
{
	return step(iter, true);
}

enum kvlog_status
kvlog_iter_prev(struct kvlog_iter *iter)
{
	return step(iter, false);
}

static enum kvlog_status
check_iter(const struct kvlog_iter *iter)
{
	if (iter == NULL)
		return KVLOG_INVAL;
	return store_is_forked(iter->store) ? KVLOG_FORKED : KVLOG_OK;
}

enum kvlog_status
kvlog_iter_seek(struct kvlog_iter *iter, const void *key, size_t key_len)
{
	enum kvlog_status st = check_iter(iter);

	if (st == KVLOG_OK && !is_bound(key, key_len))
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	if (iter->blend != NULL)
		blend_seek(iter->blend, key, key_len);
	else
		st = cursor_seek(iter->cursor, key, key_len);
	if (st == KVLOG_OK)
		restart(iter);
	return st;
}

enum kvlog_status
kvlog_iter_first(struct kvlog_iter *iter)
{
	enum kvlog_status st = check_iter(iter);

	if (st != KVLOG_OK)
		return st;
	restart(iter);
	if (iter->blend != NULL)
		blend_first(iter->blend);
	else
		cursor_first(iter->cursor);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_iter_last(struct kvlog_iter *iter)
{
	enum kvlog_status st = check_iter(iter);

	if (st != KVLOG_OK)
		return st;
	restart(iter);
	if (iter->blend != NULL)
		blend_last(iter->blend);
	else
		cursor_last(iter->cursor);
	return KVLOG_OK;
}

static const struct merge_entry *
entry_of(const struct kvlog_iter *iter)
{
	return iter->blend != NULL ? blend_entry(iter->blend)
				   : cursor_entry(iter->cursor);
}

const void *
kvlog_iter_key(const struct kvlog_iter *iter, size_t *ret_len)
{
	const struct record *rec;

	if (iter == NULL ||
	    (iter->state != KVLOG_OK && iter->state != KVLOG_CORRUPT))
		return NULL;
	rec = &entry_of(iter)->rec;
	if (rec->key != NULL && ret_len != NULL)
		*ret_len = rec->key_len;
	return rec->key;
}

const void *
kvlog_iter_value(const struct kvlog_iter *iter, size_t *ret_len)
{
	const struct record *rec;

	if (iter == NULL || iter->state != KVLOG_OK || iter->keys_only)
		return NULL;
	rec = &entry_of(iter)->rec;
	if (rec->type != RECORD_PUT)
		return NULL;
	if (ret_len != NULL)
		*ret_len = rec->value_len;
	return rec->value;
}

void
kvlog_iter_info(const struct kvlog_iter *iter, struct kvlog_info *ret_info)
{
	const struct merge_entry *e;

	memset(ret_info, 0, sizeof *ret_info);
	if (iter == NULL ||
	    (iter->state != KVLOG_OK && iter->state != KVLOG_CORRUPT))
		return;
	e = entry_of(iter);
	if (e->seg != NULL)
		ret_info->segment = segment_number(e->seg);
	ret_info->offset = e->off;
	if (iter->state == KVLOG_OK) {
		ret_info->seq = e->rec.seq;
		ret_info->value_len = e->rec.value_len;
		ret_info->expires_ms = e->rec.expiry_ms;
	}
}

enum kvlog_status
kvlog_count(struct kvlog *db, uint64_t *ret_count)
{
	enum kvlog_status st = check_handle(db, NULL);

	if (st == KVLOG_OK && ret_count == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	return store_count(db->store, db->bucket, ret_count);
}

/* Following */

enum kvlog_status
kvlog_feed_open(struct kvlog *db, uint64_t from_seq, const void *prefix,
    size_t prefix_len, struct kvlog_feed **ret_feed, struct kvlog_error *err)
{
	enum kvlog_status st = check_handle(db, err);

	if (st != KVLOG_OK)
		return st;
	if (ret_feed == NULL || prefix_len > KVLOG_KEY_MAX ||
	    (prefix == NULL && prefix_len > 0))
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_feed_open needs a place for the feed, and a prefix "
		    "of at most %u bytes",
		    KVLOG_KEY_MAX);
	return feed_open(
	    db->store, db->bucket, from_seq, prefix, prefix_len, ret_feed, err);
}

enum kvlog_status
kvlog_feed_next(struct kvlog_feed *feed, uint32_t timeout_ms,
    struct kvlog_change *ret_change, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st;

	if (feed == NULL || ret_change == NULL ||
	    ret_change->size != sizeof *ret_change)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_feed_next needs a feed and a change, whose size is "
		    "sizeof(struct kvlog_change)");
	if (store_is_forked(feed->store))
		return tell_forked(feed->store, err);
	st = feed_next(feed, timeout_ms, ret_change, &failure);
	return st == KVLOG_TIMEOUT ? st : tell(st, &failure, err);
}

void
kvlog_feed_close(struct kvlog_feed *feed)
{
	feed_close(feed);
}

/* Durability and the rest */

uint64_t
kvlog_last_seq(struct kvlog *db)
{
	return check_handle(db, NULL) == KVLOG_OK ? store_last_seq(db->store)
						  : 0;
}

uint64_t
kvlog_durable_seq(struct kvlog *db)
{
	return check_handle(db, NULL) == KVLOG_OK ? store_durable_seq(db->store)
						  : 0;
}

enum kvlog_status
kvlog_sync(struct kvlog *db)
{
	enum kvlog_status st = check_handle(db, NULL);

	if (st != KVLOG_OK)
		return st;
	if (!db->store->writable)
		return KVLOG_READONLY;
	return log_sync(&db->store->log, store_last_seq(db->store), NULL);
}

enum kvlog_status
kvlog_wait_durable(struct kvlog *db, uint64_t seq, uint32_t timeout_ms)
{
	enum kvlog_status st = check_handle(db, NULL);

	if (st == KVLOG_OK && seq > store_last_seq(db->store))
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	return store_wait_durable(db->store, seq, timeout_ms);
}

enum kvlog_status
kvlog_maintain(struct kvlog *db, uint32_t budget_ms, bool *ret_more)
{
	enum kvlog_status st = check_handle(db, NULL);
	uint64_t end;
	bool more;

	if (st != KVLOG_OK)
		return st;
	if (ret_more != NULL)
		*ret_more = false;
	if (!db->store->writable)
		return KVLOG_READONLY;
	end = os->ticks_ns() + budget_ms * UINT64_C(1000000);
	do {
		more = store_maintain_step(db->store);
	} while (more && os->ticks_ns() < end);
	if (more)
		store_rest(db->store);
	if (ret_more != NULL)
		*ret_more = more;
	return log_check_health(&db->store->log, NULL);
}

static enum kvlog_status
add_snapshots(struct store *store, struct kvlog_stats *stats)
{
	struct snapshot_costs costs;
	enum kvlog_status st = snapshot_count_costs(store, &costs);

	if (st != KVLOG_OK)
		return st;
	stats->snapshot_count = costs.count;
	stats->snapshot_oldest_seq = costs.oldest_seq;
	stats->snapshot_file_bytes = costs.file_bytes;
	stats->snapshot_memory_bytes = costs.memory_bytes;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_stats_get(struct kvlog *db, struct kvlog_stats *stats)
{
	enum kvlog_status st;

	if (db == NULL || stats == NULL || stats->size != sizeof *stats)
		return KVLOG_INVAL;
	st = check_handle(db, NULL);
	if (st == KVLOG_OK)
		st = store_stats(db->store, stats);
	return st == KVLOG_OK ? add_snapshots(db->store, stats) : st;
}

/* Checking and saving */

const char *
kvlog_finding_name(enum kvlog_finding_kind kind)
{
	return verify_kind_name(kind);
}

/* Options with their defaults, and a report that can be filled in. */
static enum kvlog_status
check_verify(const char *path, const struct kvlog_verify_options **options,
    unsigned flags, struct kvlog_verify_report **report,
    struct kvlog_verify_report *own, struct kvlog_error *err)
{
	static const struct kvlog_verify_options defaults =
	    KVLOG_VERIFY_OPTIONS_INIT;

	if (*options == NULL)
		*options = &defaults;
	if (path == NULL)
		return err_set(err, KVLOG_INVAL, 0, "path is NULL");
	if ((*options)->size != sizeof **options)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.size is not sizeof(struct kvlog_verify_options)");
	if (((*options)->flags & ~flags) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "unknown bits in options.flags: 0x%x",
		    (*options)->flags & ~flags);
	if (*report == NULL) {
		*report = own;
	} else if ((*report)->size != sizeof **report) {
		return err_set(err, KVLOG_INVAL, 0,
		    "report.size is not sizeof(struct kvlog_verify_report)");
	}
	memset(*report, 0, sizeof **report);
	(*report)->size = sizeof **report;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_verify(const char *path, const struct kvlog_verify_options *options,
    struct kvlog_verify_report *ret_report, struct kvlog_error *err)
{
	struct kvlog_verify_report own;
	struct kvlog_error failure = {0};
	const unsigned quick = KVLOG_VERIFY_QUICK,
		       rehint = KVLOG_VERIFY_REBUILD_HINTS;
	enum kvlog_status st = check_verify(
	    path, &options, quick | rehint, &ret_report, &own, err);

	if (st != KVLOG_OK)
		return st;
	if ((options->flags & rehint) == 0)
		st = verify_store(path, options, ret_report, &failure);
	else if ((options->flags & quick) != 0)
		st = err_set(&failure, KVLOG_INVAL, 0,
		    "hints cannot be rebuilt after a quick look");
	else
		st = rehint_store(path, options, ret_report, &failure);
	return tell(st, &failure, err);
}

enum kvlog_status
kvlog_salvage(const char *path, const char *new_path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *ret_report, struct kvlog_error *err)
{
	struct kvlog_verify_report own;
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_verify(
	    path, &options, KVLOG_SALVAGE_STRICT, &ret_report, &own, err);

	if (st == KVLOG_OK && new_path == NULL)
		st = err_set(err, KVLOG_INVAL, 0, "new_path is NULL");
	if (st != KVLOG_OK)
		return st;
	st = salvage_store(path, new_path, options, ret_report, &failure);
	return tell(st, &failure, err);
}

/* Compaction */

#define COMPACT_FLAGS (KVLOG_COMPACT_ALL | KVLOG_COMPACT_DRY_RUN)

/* What is NULL becomes a default, the report own. */
static enum kvlog_status
check_compaction(const struct kvlog_compact_options **options,
    struct kvlog_compact_report **report, struct kvlog_compact_report *own,
    struct kvlog_error *err)
{
	static const struct kvlog_compact_options defaults =
	    KVLOG_COMPACT_OPTIONS_INIT;
	const struct kvlog_compact_options *o =
	    *options != NULL ? *options : &defaults;

	own->size = sizeof *own;
	*options = o;
	if (*report == NULL)
		*report = own;
	if (o->size != sizeof *o || (*report)->size != sizeof **report)
		return err_set(err, KVLOG_INVAL, 0,
		    "the size of options or report is not that of its struct");
	if ((o->flags & ~COMPACT_FLAGS) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "unknown bits in options.flags: 0x%x",
		    o->flags & ~COMPACT_FLAGS);
	if (o->threshold > PERCENT_MAX)
		return err_set(err, KVLOG_INVAL, 0,
		    "options.threshold is %u percent; at most %u make sense",
		    (unsigned)o->threshold, PERCENT_MAX);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_compact(struct kvlog *db, const struct kvlog_compact_options *options,
    struct kvlog_compact_report *ret_report, struct kvlog_error *err)
{
	struct kvlog_compact_report own;
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_handle(db, err);

	if (st == KVLOG_OK)
		st = check_compaction(&options, &ret_report, &own, err);
	if (st != KVLOG_OK)
		return st;
	st = online_compact(db->store, options, ret_report, &failure);
	return tell(st, &failure, err);
}

enum kvlog_status
kvlog_compact_offline(const char *path,
    const struct kvlog_compact_options *options,
    struct kvlog_compact_report *ret_report, struct kvlog_error *err)
{
	struct kvlog_compact_report own;
	struct kvlog_error failure = {0};
	enum kvlog_status st;

	if (path == NULL || path[0] == '\0')
		return err_set(
		    err, KVLOG_INVAL, 0, "kvlog_compact_offline needs a path");
	st = check_compaction(&options, &ret_report, &own, err);
	if (st != KVLOG_OK)
		return st;
	st = offline_compact(path, options, ret_report, &failure);
	return tell(st, &failure, err);
}

/* Backup */

#define BACKUP_FLAGS                                                           \
	(KVLOG_BACKUP_COPY | KVLOG_BACKUP_NOVERIFY | KVLOG_BACKUP_NEW)

enum kvlog_status
kvlog_backup(struct kvlog *db, const char *path,
    const struct kvlog_backup_options *options,
    struct kvlog_backup_report *ret_report, struct kvlog_error *err)
{
	static const struct kvlog_backup_options defaults =
	    KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog_backup_report report = {.size = sizeof report};
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_handle(db, err);

	if (st != KVLOG_OK)
		return st;
	if (options == NULL)
		options = &defaults;
	if (path == NULL || path[0] == '\0')
		return err_set(
		    err, KVLOG_INVAL, 0, "kvlog_backup needs a path");
	if (options->size != sizeof *options ||
	    (ret_report != NULL && ret_report->size != sizeof *ret_report))
		return err_set(err, KVLOG_INVAL, 0,
		    "the size of options or report is not that of its struct");
	if ((options->flags & ~BACKUP_FLAGS) != 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "unknown bits in options.flags: 0x%x",
		    options->flags & ~BACKUP_FLAGS);
	st = backup_store(db->store, path, options, &report, &failure);
	if (ret_report != NULL && report.segment_count > 0) /* it is made */
		*ret_report = report;
	return tell(st, &failure, err);
}

enum kvlog_status
kvlog_segments(
    struct kvlog *db, kvlog_segment_fn *fn, void *arg, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st = check_handle(db, err);

	if (st != KVLOG_OK)
		return st;
	if (fn == NULL)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_segments needs a function to call");
	st = segments_tell(db->store, fn, arg, &failure);
	return tell(st, &failure, err);
}
