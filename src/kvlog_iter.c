/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog_iter.c - the public functions of walks, over keys and over the names of
 * buckets, in a transaction or not.
 */
#include "config.h"

#include <kvlog.h>

#include "args.h"
#include "blend.h"

#include <string.h>

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
	if (iter->blend == NULL)
		iter->run = cursor_run(iter->cursor);
	*ret_iter = iter;
	return KVLOG_OK;
}

static enum kvlog_status
open_iter(struct kvlog *db, struct bucket_handle *bucket,
    const struct cursor_range *within, uint64_t limit,
    struct kvlog_iter **ret_iter)
{
	enum kvlog_status st = args_handle(db, NULL);

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

static const struct cursor_range names = {
    .bucket_ordinal = BUCKET_CATALOGUE_ORDINAL};

enum kvlog_status
kvlog_bucket_list(struct kvlog *db, struct kvlog_iter **ret_iter)
{
	return ret_iter != NULL ? open_iter(db, NULL, &names, 0, ret_iter)
				: KVLOG_INVAL;
}

enum kvlog_status
kvlog_txn_bucket_list(struct kvlog_txn *txn, struct kvlog_iter **ret_iter)
{
	struct bucket_handle *own;
	enum kvlog_status st = KVLOG_INVAL;

	if (ret_iter != NULL)
		st = txn_check(txn, NULL, &own, NULL);
	return st == KVLOG_OK
		   ? open_iter_in(txn->store, txn, NULL, &names, 0, ret_iter)
		   : st;
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
	txn_end_walk(iter);
	/* In a forked child, a thread that is not there may hold a lock. */
	if (!store_is_forked(iter->store)) {
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

static const struct merge_entry *
entry_of(const struct kvlog_iter *iter)
{
	return iter->blend != NULL ? blend_entry(iter->blend)
				   : cursor_entry(iter->cursor);
}

static inline enum kvlog_status
check_iter(const struct kvlog_iter *iter)
{
	if (iter == NULL)
		return KVLOG_INVAL;
	if (UNLIKELY(store_is_forked(iter->store)))
		return KVLOG_FORKED;
	/* In a transaction that has ended, or of what was undone in it. */
	return iter->blend != NULL && iter->txn == NULL ? KVLOG_INVAL
							: KVLOG_OK;
}

static inline enum kvlog_status
step(struct kvlog_iter *iter, bool forward)
{
	const struct merge_entry *e = NULL;
	enum kvlog_status st = check_iter(iter);

	if (UNLIKELY(iter == NULL))
		return st;
	if (UNLIKELY(st != KVLOG_OK))
		return iter->state = st;
	/* A transaction that walks does not idle.  What the walk shows stays
	 * the same if it was ended before. */
	if (iter->txn != NULL)
		(void)log_keep(&iter->store->log, &iter->txn->own, NULL);
	if (iter->left == 0)
		return iter->state = KVLOG_NOTFOUND;
	if (LIKELY(iter->run != NULL))
		e = merge_run_on(iter->run, !forward);
	if (UNLIKELY(e == NULL)) {
		st = move(iter, forward);
		e = entry_of(iter);
	}
	iter->left -= st == KVLOG_OK || st == KVLOG_CORRUPT;
	iter->entry = e;
	return iter->state = st;
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

/* Before all keys, or behind them. */
static enum kvlog_status
go_out(struct kvlog_iter *iter, bool first)
{
	enum kvlog_status st = check_iter(iter);

	if (st != KVLOG_OK)
		return st;
	restart(iter);
	if (iter->blend != NULL)
		(first ? blend_first : blend_last)(iter->blend);
	else
		(first ? cursor_first : cursor_last)(iter->cursor);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_iter_first(struct kvlog_iter *iter)
{
	return go_out(iter, true);
}

enum kvlog_status
kvlog_iter_last(struct kvlog_iter *iter)
{
	return go_out(iter, false);
}

const void *
kvlog_iter_key(const struct kvlog_iter *iter, size_t *ret_len)
{
	const struct record *rec;

	if (iter == NULL ||
	    (iter->state != KVLOG_OK && iter->state != KVLOG_CORRUPT))
		return NULL;
	rec = &iter->entry->rec;
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
	rec = &iter->entry->rec;
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
	e = iter->entry;
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
kvlog_txn_count(
    struct kvlog_txn *txn, struct kvlog *bucket, uint64_t *ret_count)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_iter *iter;
	uint64_t count = 0;
	enum kvlog_status st = KVLOG_INVAL;

	range.flags = KVLOG_ITER_KEYS_ONLY;
	if (ret_count != NULL)
		st = kvlog_txn_iter_open(txn, bucket, &range, &iter);
	if (st != KVLOG_OK)
		return st;
	while ((st = step(iter, true)) == KVLOG_OK || st == KVLOG_CORRUPT)
		count += store_counts(iter->entry, st);
	kvlog_iter_destroy(iter);
	if (st != KVLOG_NOTFOUND)
		return st;
	*ret_count = count;
	return KVLOG_OK;
}
