/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog.c - the public functions: argument checks and defaults.  What they
 * promise stands in kvlog.h; what they do, in store.c and below.  Others of
 * them are in kvlog_*.c and atomic.c.
 */
#include "config.h"

#include <kvlog.h>

#include "args.h"
#include "backup.h"
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
	return args_tell(store_close(db, &failure), &failure, err);
}

/* Writing */

/* Where a key is, and until when; of a delete expires_ms is 0. */
static inline void
set_place(
    struct commit_op *op, struct bucket_handle *bucket, uint64_t expires_ms)
{
	op->expiry_ms = expires_ms;
	op->bucket = bucket;
	if (bucket != NULL) {
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
	if (op->bucket != NULL && op->bucket->store != db->store)
		return err_set(err, KVLOG_INVAL, 0,
		    "the bucket of a step is of another store");
	st = args_step(put, op->condition, op->expires_ms, err);
	if (st == KVLOG_OK)
		st = args_data(
		    op->key, op->key_len, op->value, op->value_len, err);
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

	st = args_step(
	    op->type == RECORD_PUT, how->condition, how->expires_ms, how->err);
	if (UNLIKELY(st != KVLOG_OK))
		return st;
	op->condition = how->condition;
	op->if_seq = how->if_seq;
	set_place(op, db->bucket, how->expires_ms);
	set_hash(op, db->store);
	failure.status = KVLOG_OK;
	st = store_write(db, op, 1, op->type == RECORD_DELETE, how->durability,
	    &receipt, &failed, how->err != NULL ? &failure : NULL);
	if (st == KVLOG_OK && ret_receipt != NULL)
		*ret_receipt = receipt;
	return args_tell(st, &failure, how->err);
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

	how = args_how(how);
	st = args_write_to(db, how);
	if (st == KVLOG_OK)
		st = args_data(key, key_len, value, value_len, how->err);
	return st == KVLOG_OK ? write_one(db, &op, how, ret_receipt) : st;
}

enum kvlog_status
kvlog_delete(struct kvlog *db, const void *key, size_t key_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	struct commit_op op = {
	    .type = RECORD_DELETE, .key = key, .key_len = (uint16_t)key_len};
	enum kvlog_status st;

	how = args_how(how);
	st = args_write_to(db, how);
	if (st == KVLOG_OK)
		st = args_data(key, key_len, NULL, 0, how->err);
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

	how = args_how(how);
	st = args_write_to(db, how);
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
	return args_tell(st, &failure, how->err);
}

/* Reading */

static inline bool
may_read(const struct kvlog *db, const void *key, size_t key_len)
{
	return LIKELY(db != NULL && args_is_key(key, key_len) &&
		      !store_is_forked(db->store));
}

/* Why not, if so. */
static enum kvlog_status
check_read(const struct kvlog *db, const void *key, size_t key_len)
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
		return check_read(db, key, key_len);
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
	enum kvlog_status st = check_read(db, key, key_len);

	if (st == KVLOG_OK && ret_value == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	st = store_read(db->store, db->bucket, key, key_len, true, 0,
	    alloc_value, &to, NULL);
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
	enum kvlog_status st = check_read(db, key, key_len);

	if (st == KVLOG_OK && ret_info == NULL)
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	return store_read(db->store, db->bucket, key, key_len, false, 0,
	    tell_info, ret_info, ret_info);
}

/* Reading in place */

enum kvlog_status
kvlog_pin_create(struct kvlog *db, struct kvlog_pin **ret_pin)
{
	struct kvlog_pin *pin;
	enum kvlog_status st = args_handle(db, NULL);

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

enum kvlog_status
kvlog_count(struct kvlog *db, uint64_t *ret_count)
{
	enum kvlog_status st = args_handle(db, NULL);

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
	enum kvlog_status st = args_handle(db, err);

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
	st = args_forked(feed->store, err);
	if (st != KVLOG_OK)
		return st;
	st = feed_next(feed, timeout_ms, ret_change, &failure);
	return st == KVLOG_TIMEOUT ? st : args_tell(st, &failure, err);
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
	return args_handle(db, NULL) == KVLOG_OK ? store_last_seq(db->store)
						 : 0;
}

uint64_t
kvlog_durable_seq(struct kvlog *db)
{
	return args_handle(db, NULL) == KVLOG_OK ? store_durable_seq(db->store)
						 : 0;
}

enum kvlog_status
kvlog_sync(struct kvlog *db)
{
	enum kvlog_status st = args_handle(db, NULL);

	if (st != KVLOG_OK)
		return st;
	if (!db->store->writable)
		return KVLOG_READONLY;
	return log_sync(&db->store->log, store_last_seq(db->store), NULL);
}

enum kvlog_status
kvlog_wait_durable(struct kvlog *db, uint64_t seq, uint32_t timeout_ms)
{
	enum kvlog_status st = args_handle(db, NULL);

	if (st == KVLOG_OK && seq > store_last_seq(db->store))
		st = KVLOG_INVAL;
	if (st != KVLOG_OK)
		return st;
	return store_wait_durable(db->store, seq, timeout_ms);
}

enum kvlog_status
kvlog_maintain(struct kvlog *db, uint32_t budget_ms, bool *ret_more)
{
	enum kvlog_status st = args_handle(db, NULL);
	const uint64_t budget_ns = budget_ms * UINT64_C(1000000);
	uint64_t end;
	bool more;

	if (st != KVLOG_OK)
		return st;
	if (ret_more != NULL)
		*ret_more = false;
	if (!db->store->writable)
		return KVLOG_READONLY;
	end = os->ticks_ns() + budget_ns;
	do {
		more = store_maintain_step(db->store, budget_ns);
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
	st = args_handle(db, NULL);
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
	return args_tell(st, &failure, err);
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
	return args_tell(st, &failure, err);
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
	enum kvlog_status st = args_handle(db, err);

	if (st == KVLOG_OK)
		st = check_compaction(&options, &ret_report, &own, err);
	if (st != KVLOG_OK)
		return st;
	st = online_compact(db->store, options, ret_report, &failure);
	return args_tell(st, &failure, err);
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
	return args_tell(st, &failure, err);
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
	enum kvlog_status st = args_handle(db, err);

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
	return args_tell(st, &failure, err);
}

enum kvlog_status
kvlog_segments(
    struct kvlog *db, kvlog_segment_fn *fn, void *arg, struct kvlog_error *err)
{
	struct kvlog_error failure = {0};
	enum kvlog_status st = args_handle(db, err);

	if (st != KVLOG_OK)
		return st;
	if (fn == NULL)
		return err_set(err, KVLOG_INVAL, 0,
		    "kvlog_segments needs a function to call");
	st = segments_tell(db->store, fn, arg, &failure);
	return args_tell(st, &failure, err);
}
