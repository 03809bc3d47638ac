/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * txn.c - transactions.
 *
 * Nothing that a transaction writes is in the log before its commit, which is
 * a batch like any other: so it is whole or not there after every crash, and a
 * transaction that ends in another way leaves nothing to undo.  What it reads
 * is the newest state, in which nobody has committed since it began: that is
 * looked at behind each read, since an owner that did nothing for long may have
 * been ended by those who wait.
 *
 * Each key is committed as it was written last.  Conditions were judged when
 * they were given: in the commit they cannot fail.
 */
#include "config.h"

#include "txn.h"

#include "blend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Of an ordinal, those that count; above them is whose it is. */
#define ORDINAL_BITS 20

/* Beginning and end */

static void
enlist(struct kvlog_txn *txn)
{
	pthread_mutex_lock(&txn->store->thread_lock);
	txn->link = &txn->handle->txns;
	txn->next = *txn->link;
	if (txn->next != NULL)
		txn->next->link = &txn->next;
	*txn->link = txn;
	pthread_mutex_unlock(&txn->store->thread_lock);
}

static void
delist(struct kvlog_txn *txn)
{
	pthread_mutex_lock(&txn->store->thread_lock);
	if (txn->next != NULL)
		txn->next->link = txn->link;
	*txn->link = txn->next;
	pthread_mutex_unlock(&txn->store->thread_lock);
}

static enum kvlog_status
begin_writing(struct kvlog_txn *txn, uint32_t idle_ms, struct kvlog_error *err)
{
	struct store *db = txn->store;
	enum kvlog_status st = log_own(&db->log, idle_ms, &txn->own, err);

	if (st != KVLOG_OK)
		return st;
	txn->token = epoch_enter(db->views.pins);
	return KVLOG_OK;
}

static void
end_writing(struct kvlog_txn *txn)
{
	struct store *db = txn->store;

	log_disown(&db->log, &txn->own);
	epoch_leave(db->views.pins, txn->token);
	views_reclaim(&db->views);
}

enum kvlog_status
txn_begin(struct kvlog *handle, bool writes, uint32_t idle_ms,
    struct kvlog_txn **ret_txn, struct kvlog_error *err)
{
	struct kvlog_txn *txn = os->calloc(1, sizeof *txn);
	enum kvlog_status st;

	if (txn == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "begin a transaction");
	txn->handle = handle;
	txn->store = handle->store;
	txn->writes = writes;
	txn->staged.commit_max = COMMIT_SIZE_MAX;
	st = writes ? begin_writing(txn, idle_ms, err)
		    : snapshot_take(txn->store, &txn->snap, err);
	if (st != KVLOG_OK) {
		os->free(txn);
		return st;
	}
	txn->seq =
	    writes ? store_last_seq(txn->store) : snapshot_seq(txn->snap);
	enlist(txn);
	*ret_txn = txn;
	return KVLOG_OK;
}

/* It may last longer than what it shows. */
static void
end_walk(struct kvlog_iter *iter)
{
	iter->state = KVLOG_INVAL;
	txn_end_walk(iter);
}

/* Those that show writes of greater numbers show nothing any more. */
static void
end_walks(struct kvlog_txn *txn, uint64_t number)
{
	struct kvlog_iter *iter, *next;

	for (iter = txn->iters; iter != NULL; iter = next) {
		next = iter->next;
		if (blend_number(iter->blend) > number)
			end_walk(iter);
	}
}

void
txn_abandon(struct kvlog_txn *txn)
{
	while (txn->iters != NULL)
		end_walk(txn->iters);
	/* In a forked child, a thread that is not there may hold a lock, and
	 * what is owned is the parent's. */
	if (!store_is_forked(txn->store)) {
		delist(txn);
		if (txn->writes)
			end_writing(txn);
		snapshot_release(txn->snap);
	}
	staged_fini(&txn->staged);
	os->free(txn->drops);
	os->free(txn);
}

void
txn_abandon_all(struct kvlog *handle)
{
	struct kvlog_txn *txn = handle->txns, *next;

	/* In a forked child they are there until each of them is ended. */
	for (; txn != NULL && !store_is_forked(handle->store); txn = next) {
		next = txn->next;
		txn_abandon(txn);
	}
}

enum kvlog_status
txn_check(struct kvlog_txn *txn, const struct kvlog *bucket,
    struct bucket_handle **ret_bucket, struct kvlog_error *err)
{
	if (txn == NULL)
		return err_set(err, KVLOG_INVAL, 0, "no transaction");
	if (store_is_forked(txn->store))
		return err_set(err, KVLOG_FORKED, 0,
		    "the transaction on %s was begun before this process was "
		    "forked; open the store anew in this one",
		    txn->store->dir.path);
	if (bucket != NULL && bucket->store != txn->store)
		return err_set(err, KVLOG_INVAL, 0,
		    "the bucket is of another store than the transaction");
	*ret_bucket = bucket != NULL ? bucket->bucket : txn->handle->bucket;
	return txn->writes ? log_keep(&txn->store->log, &txn->own, err)
			   : KVLOG_OK;
}

/* Reading */

static enum kvlog_status
note_found(void *arg, const struct index_ref *ref)
{
	struct txn_found *found = arg;

	found->value = ref->rec.value;
	found->info = (struct kvlog_info){
	    .seq = ref->rec.seq,
	    .value_len = ref->rec.value_len,
	    .segment = segment_number(ref->seg),
	    .offset = ref->off,
	    .expires_ms = ref->rec.expiry_ms,
	};
	return KVLOG_OK;
}

static enum kvlog_status
find_in_snapshot(struct kvlog_txn *txn, struct bucket_handle *bucket,
    const struct hint_key *key, bool with_value, struct txn_found *ret_found)
{
	struct index_ref ref;
	enum kvlog_status st = KVLOG_OK;

	if (bucket != NULL)
		st = snapshot_has_bucket(txn->snap, bucket, &ref);
	if (st == KVLOG_OK)
		st = snapshot_find(txn->snap, bucket, key, with_value, &ref);
	if (st == KVLOG_OK)
		return note_found(ret_found, &ref);
	if (st == KVLOG_CORRUPT)
		ret_found->info = (struct kvlog_info){
		    .segment = segment_number(ref.seg), .offset = ref.off};
	return st;
}

/* What the transaction has itself done to a bucket of this name: KVLOG_OK, it
 * has created the one that is told; _NOBUCKET, dropped it; _NOTFOUND, nothing.
 */
static enum kvlog_status
find_own_bucket(const struct kvlog_txn *txn, const void *name, size_t name_len,
    struct bucket_id *ret_id)
{
	const struct hint_key key = bucket_name_key(name, name_len);
	const struct staged_write *w = NULL;

	if (txn->names > 0)
		w = staged_find(&txn->staged, &key,
		    hint_key_hash(txn->store->views.secret, &key));
	if (w == NULL)
		return KVLOG_NOTFOUND;
	if (w->type == RECORD_DELETE)
		return KVLOG_NOBUCKET;
	ret_id->seq = get_u64(w->value);
	ret_id->ordinal = get_u32(w->value + 8);
	return KVLOG_OK;
}

/* Of this transaction, if it is not of one that was rolled back. */
static bool
is_fresh(const struct kvlog_txn *txn, const struct bucket_handle *bucket)
{
	return bucket != NULL && txn->writes && txn->names > 0 &&
	       bucket->id.seq == txn->own.next_seq;
}

/* Whether the transaction has dropped it, or undone its creation. */
static enum kvlog_status
look_at_own_bucket(
    const struct kvlog_txn *txn, const struct bucket_handle *bucket)
{
	struct bucket_id id;
	enum kvlog_status st;

	if (bucket == NULL || txn->names == 0)
		return KVLOG_OK;
	st = find_own_bucket(txn, bucket->name, bucket->name_len, &id);
	if (st == KVLOG_NOTFOUND)
		return is_fresh(txn, bucket) ? KVLOG_NOBUCKET : KVLOG_OK;
	if (st == KVLOG_OK &&
	    (id.seq != bucket->id.seq || id.ordinal != bucket->id.ordinal))
		st = KVLOG_NOBUCKET;
	return st;
}

/* What the store has. */
static enum kvlog_status
find_committed(struct kvlog_txn *txn, struct bucket_handle *bucket,
    const struct hint_key *key, bool with_value, struct txn_found *ret_found)
{
	enum kvlog_status st;

	ret_found->own = false;
	if (!txn->writes)
		return find_in_snapshot(
		    txn, bucket, key, with_value, ret_found);
	if (UNLIKELY(is_fresh(txn, bucket)))
		return KVLOG_NOTFOUND;
	st = store_read(txn->store, bucket, key->bytes, key->len, with_value,
	    txn->own.now_ms, note_found, ret_found, &ret_found->info);
	return log_still_owns(&txn->store->log, &txn->own) ? st : KVLOG_TIMEOUT;
}

static enum kvlog_status
tell_own(const struct kvlog_txn *txn, const struct staged_write *w,
    struct txn_found *ret_found)
{
	if (w->type == RECORD_DELETE ||
	    (w->expiry_ms != 0 && w->expiry_ms <= txn->own.now_ms))
		return KVLOG_NOTFOUND;
	*ret_found = (struct txn_found){
	    .value = w->value,
	    .info = {.seq = txn->own.next_seq,
		.value_len = w->value_len,
		.expires_ms = w->expiry_ms},
	    .own = true,
	};
	return KVLOG_OK;
}

enum kvlog_status
txn_find(struct kvlog_txn *txn, struct bucket_handle *bucket, const void *key,
    size_t key_len, bool with_value, struct txn_found *ret_found)
{
	const struct hint_key whole = bucket_key(bucket, key, key_len);
	const struct staged_write *w = NULL;
	enum kvlog_status st = look_at_own_bucket(txn, bucket);

	if (st != KVLOG_OK)
		return st;
	if (txn->writes)
		w = staged_find(&txn->staged, &whole,
		    hint_key_hash(txn->store->views.secret, &whole));
	return w != NULL
		   ? tell_own(txn, w, ret_found)
		   : find_committed(txn, bucket, &whole, with_value, ret_found);
}

/* Writing */

static enum kvlog_status
tell_unknown(enum kvlog_status st, const struct txn_found *found,
    struct kvlog_error *err)
{
	if (st == KVLOG_CORRUPT)
		return err_set_at(err, st, found->info.segment,
		    found->info.offset,
		    "the present record of this key in segment %" PRIu32
		    " at offset %" PRIu64 " is damaged",
		    found->info.segment, found->info.offset);
	return err_set(err, st, 0, "look up the present record");
}

static enum kvlog_status
decide(const struct commit_op *op, enum kvlog_status found, uint64_t seq,
    struct kvlog_error *err)
{
	const bool there = found == KVLOG_OK;

	switch (op->condition) {
	case KVLOG_IF_ANY:
		break;
	case KVLOG_IF_ABSENT:
		if (there)
			return err_set(
			    err, KVLOG_CONFLICT, 0, "the key has a value");
		break;
	case KVLOG_IF_PRESENT:
		if (!there)
			return err_set(
			    err, KVLOG_CONFLICT, 0, "the key has no value");
		break;
	case KVLOG_IF_SEQ:
		if ((there ? seq : 0) != op->if_seq)
			return err_set(err, KVLOG_CONFLICT, 0,
			    "the key's value is of another commit");
		break;
	}
	return !there && op->type == RECORD_DELETE ? KVLOG_NOTFOUND : KVLOG_OK;
}

/* Whether the store has a record of key, though it has expired: the clock may
 * be set back. */
static enum kvlog_status
find_record(struct kvlog_txn *txn, const struct bucket_handle *bucket,
    const struct hint_key *key)
{
	uint64_t hash = hint_key_hash(txn->store->views.secret, key);
	struct epoch_token token;
	struct index_ref ref;
	struct view *view;
	enum kvlog_status st;

	if (is_fresh(txn, bucket))
		return KVLOG_NOTFOUND;
	st = store_enter(txn->store, &token, &view);
	if (st == KVLOG_OK) {
		st = index_find_committed(&view->index, hash, key, &ref, NULL);
		epoch_leave(txn->store->views.epoch, token);
	}
	return log_still_owns(&txn->store->log, &txn->own) ? st : KVLOG_TIMEOUT;
}

/* Judge op, if there is something to judge; *ret_needless: it deletes what is
 * not in the store. */
static enum kvlog_status
judge(struct kvlog_txn *txn, const struct commit_op *op,
    const struct hint_key *key, bool *ret_needless, struct kvlog_error *err)
{
	struct txn_found found = {0};
	enum kvlog_status st;

	*ret_needless = false;
	if (op->condition == KVLOG_IF_ANY && op->type != RECORD_DELETE)
		return KVLOG_OK;
	st = txn_find(txn, op->bucket, op->key, op->key_len, false, &found);
	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		return tell_unknown(st, &found, err);
	st = decide(op, st, found.info.seq, err);
	if (st != KVLOG_OK || op->type != RECORD_DELETE || !found.own)
		return st;
	st = find_record(txn, op->bucket, key);
	*ret_needless = st == KVLOG_NOTFOUND;
	return st == KVLOG_TIMEOUT ? tell_unknown(st, &found, err) : KVLOG_OK;
}

/* What is put without a look at the key needs one at its bucket. */
static enum kvlog_status
check_bucket(struct kvlog_txn *txn, struct bucket_handle *bucket,
    struct kvlog_error *err)
{
	struct epoch_token token;
	struct view *view;
	enum kvlog_status st;

	if (bucket == NULL)
		return KVLOG_OK;
	st = look_at_own_bucket(txn, bucket);
	if (st != KVLOG_OK)
		return err_set(err, st, 0, "the bucket was dropped");
	if (is_fresh(txn, bucket))
		return KVLOG_OK;
	st = store_enter(txn->store, &token, &view);
	if (st != KVLOG_OK)
		return err_set(err, st, 0, "look at %s", txn->store->dir.path);
	st = bucket_check(view, bucket, err);
	epoch_leave(txn->store->views.epoch, token);
	return st;
}

static enum kvlog_status
stage(struct kvlog_txn *txn, const struct hint_key *key,
    const struct staged_write *how, const void *value, struct kvlog_error *err)
{
	enum kvlog_status st = staged_add(&txn->staged, key,
	    hint_key_hash(txn->store->views.secret, key), how, value);

	if (st == KVLOG_TOOBIG)
		return err_set(err, st, 0,
		    "with this one the records of the transaction would be "
		    "more than the %" PRIu64
		    " bytes that fit into a commit; it has %" PRIu64,
		    txn->staged.commit_max, txn->staged.commit_size);
	return st == KVLOG_OK
		   ? st
		   : err_set(err, st, 0,
			 "keep a value of %" PRIu32 " bytes until the commit",
			 how->value_len);
}

enum kvlog_status
txn_write(struct kvlog_txn *txn, struct commit_op *op, struct kvlog_error *err)
{
	const struct hint_key key =
	    bucket_key(op->bucket, op->key, op->key_len);
	struct staged_write how = {.type = op->type,
	    .expiry_ms = op->expiry_ms,
	    .value_len = op->value_len};
	enum kvlog_status st = check_bucket(txn, op->bucket, err);

	if (st == KVLOG_OK)
		st = judge(txn, op, &key, &how.needless, err);
	return st == KVLOG_OK ? stage(txn, &key, &how, op->value, err) : st;
}

/* Buckets */

static enum kvlog_status
find_bucket_in_snapshot(struct kvlog_txn *txn, const void *name,
    size_t name_len, struct bucket_id *ret_id)
{
	const struct hint_key key = bucket_name_key(name, name_len);
	struct index_ref ref;
	enum kvlog_status st = snapshot_find(txn->snap, NULL, &key, true, &ref);

	if (st == KVLOG_OK && !bucket_read_id(&ref.rec, ret_id))
		st = KVLOG_CORRUPT;
	return st == KVLOG_NOTFOUND ? KVLOG_NOBUCKET : st;
}

enum kvlog_status
txn_find_bucket(struct kvlog_txn *txn, const void *name, size_t name_len,
    struct bucket_id *ret_id, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (!txn->writes) {
		st = find_bucket_in_snapshot(txn, name, name_len, ret_id);
	} else {
		st = find_own_bucket(txn, name, name_len, ret_id);
		if (st == KVLOG_NOTFOUND)
			return store_find_bucket(
			    txn->store, name, name_len, ret_id, err);
	}
	return st == KVLOG_OK
		   ? st
		   : err_set(err, st, 0, "there is no bucket of this name");
}

static enum kvlog_status
write_name(struct kvlog_txn *txn, const struct hint_key *key,
    const struct staged_write *how, const uint8_t *id, struct kvlog_error *err)
{
	enum kvlog_status st = stage(txn, key, how, id, err);

	if (st == KVLOG_OK)
		txn->names++;
	return st;
}

/* Another one each time, also after a rollback, when the number of the commit
 * comes again: a handle on a bucket that never was must not become one on
 * another.  Nor by what another process does, which counts from elsewhere; nor
 * by one that was ended meanwhile, and does not know it yet. */
static uint32_t
next_ordinal(struct store *store)
{
	const uint64_t handle = store->control.byte - CONTROL_HANDLE;

	static_assert(CONTROL_HANDLES_MAX <= 1u << (32 - ORDINAL_BITS),
	    "each handle has ordinals of its own");
	return (uint32_t)(handle << ORDINAL_BITS) + 1 +
	       atomic_fetch_add(&store->ordinals, 1);
}

/* The number of the commit is known before it, or it is refused. */
enum kvlog_status
txn_create_bucket(struct kvlog_txn *txn, const void *name, size_t name_len,
    struct bucket_id *ret_id, struct kvlog_error *err)
{
	const struct hint_key key = bucket_name_key(name, name_len);
	const struct staged_write how = {
	    .type = RECORD_PUT, .value_len = RECORD_BUCKET_LEN};
	const struct bucket_id id = {
	    txn->own.next_seq, next_ordinal(txn->store)};
	uint8_t bytes[RECORD_BUCKET_LEN];

	put_u64(bytes, id.seq);
	put_u32(bytes + 8, id.ordinal);
	txn->own.numbered = true;
	*ret_id = id;
	return write_name(txn, &key, &how, bytes, err);
}

static enum kvlog_status
make_room_for_drop(struct kvlog_txn *txn, struct kvlog_error *err)
{
	const size_t cap = max_u64(8, 2 * txn->drop_cap);
	struct txn_drop *more;

	if (txn->drop_count < txn->drop_cap)
		return KVLOG_OK;
	more = os->realloc(txn->drops, cap * sizeof *more);
	if (more == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "drop a bucket");
	txn->drops = more;
	txn->drop_cap = cap;
	return KVLOG_OK;
}

enum kvlog_status
txn_drop_bucket(struct kvlog_txn *txn, const void *name, size_t name_len,
    struct kvlog_error *err)
{
	const struct hint_key key = bucket_name_key(name, name_len);
	struct staged_write how = {.type = RECORD_DELETE};
	struct bucket_id id, committed;
	enum kvlog_status st = txn_find_bucket(txn, name, name_len, &id, err);

	if (st == KVLOG_OK)
		st = make_room_for_drop(txn, err);
	if (st != KVLOG_OK)
		return st;
	if (id.seq == txn->own.next_seq)
		how.needless = store_find_bucket(txn->store, name, name_len,
				   &committed, NULL) == KVLOG_NOBUCKET;
	st = write_name(txn, &key, &how, NULL, err);
	if (st == KVLOG_OK)
		txn->drops[txn->drop_count++] =
		    (struct txn_drop){id, txn->staged.number};
	return st;
}

/* Walking */

static enum kvlog_status
walk_snapshot(struct kvlog_txn *txn, const struct bucket_handle *bucket,
    const struct cursor_range *range, struct kvlog_iter *iter)
{
	struct index_ref ref;
	enum kvlog_status st = KVLOG_OK;

	if (bucket != NULL)
		st = snapshot_has_bucket(txn->snap, bucket, &ref);
	return st == KVLOG_OK ? snapshot_cursor(txn->snap, range, &iter->cursor)
			      : st;
}

enum kvlog_status
txn_walk(struct kvlog_txn *txn, struct bucket_handle *bucket,
    const struct cursor_range *range, struct kvlog_iter *iter)
{
	struct store *db = txn->store;
	struct cursor_range then = *range;
	enum kvlog_status st;

	if (!txn->writes)
		return walk_snapshot(txn, bucket, range, iter);
	then.now_ms = txn->own.now_ms;
	st = look_at_own_bucket(txn, bucket);
	if (st == KVLOG_OK)
		st = store_cursor(db, is_fresh(txn, bucket) ? NULL : bucket,
		    &then, &iter->view, &iter->cursor);
	if (st != KVLOG_OK)
		return st;
	st = KVLOG_TIMEOUT;
	if (log_still_owns(&db->log, &txn->own))
		st = blend_create(iter->cursor, &txn->staged, txn->own.next_seq,
		    then.now_ms, &iter->blend);
	if (st != KVLOG_OK) {
		cursor_destroy(iter->cursor);
		view_release(&db->views, iter->view);
		return st;
	}
	iter->txn = txn;
	iter->link = &txn->iters;
	iter->next = txn->iters;
	if (iter->next != NULL)
		iter->next->link = &iter->next;
	txn->iters = iter;
	return KVLOG_OK;
}

void
txn_end_walk(struct kvlog_iter *iter)
{
	if (iter->txn == NULL)
		return;
	*iter->link = iter->next;
	if (iter->next != NULL)
		iter->next->link = iter->link;
	iter->txn = NULL;
}

bool
txn_undo(struct kvlog_txn *txn, uint64_t savepoint)
{
	uint64_t number;

	if (!staged_undo(&txn->staged, savepoint, &number))
		return false;
	while (txn->drop_count > 0 &&
	       txn->drops[txn->drop_count - 1].number > number)
		txn->drop_count--;
	end_walks(txn, number);
	return true;
}

/* Committing */

static bool
is_dropped(const struct kvlog_txn *txn, const struct hint_key *key)
{
	const struct bucket_id id = {key->bucket_seq, key->bucket_ordinal};

	return txn->drop_count > 0 &&
	       bsearch(&id, txn->drops, txn->drop_count, sizeof *txn->drops,
		   bucket_set_compare) != NULL;
}

static bool
counts(const struct kvlog_txn *txn, const struct staged_write *w)
{
	return w == w->of->newest && !w->needless &&
	       !is_dropped(txn, &w->of->key);
}

static struct commit_op
op_of(const struct staged_write *w)
{
	const struct staged_key *of = w->of;

	return (struct commit_op){
	    .type = w->type,
	    .key = of->key.bytes,
	    .key_len = (uint16_t)of->key.len,
	    .value = w->type == RECORD_PUT ? w->value : NULL,
	    .value_len = w->value_len,
	    .hash = of->hash,
	    .bucket_seq = of->key.bucket_seq,
	    .bucket_ordinal = of->key.bucket_ordinal,
	    .expiry_ms = w->expiry_ms,
	};
}

/* The net state of each key, in the order in which they were written last, from
 * *ret_first on; NULL: out of memory. */
static struct commit_op *
collect(struct kvlog_txn *txn, size_t *ret_first)
{
	size_t count = txn->staged.commit_count;
	struct commit_op *ops = count <= SIZE_MAX / sizeof *ops
				    ? os->malloc(count * sizeof *ops)
				    : NULL;

	if (txn->drop_count > 0)
		qsort(txn->drops, txn->drop_count, sizeof *txn->drops,
		    bucket_set_compare);
	for (const struct staged_write *w = txn->staged.last;
	     w != NULL && ops != NULL; w = w->before)
		if (counts(txn, w))
			ops[--count] = op_of(w);
	assert(ops == NULL || count == 0 || txn->drop_count > 0);
	*ret_first = count;
	return ops;
}

static enum kvlog_status
commit_nothing(struct kvlog_txn *txn, struct kvlog_receipt *ret_receipt,
    struct kvlog_error *err)
{
	if (txn->writes && !log_still_owns(&txn->store->log, &txn->own))
		return log_lost(&txn->store->log, err);
	ret_receipt->seq = txn->seq;
	return KVLOG_OK;
}

enum kvlog_status
txn_commit(struct kvlog_txn *txn, enum kvlog_durability durability,
    struct kvlog_receipt *ret_receipt, struct kvlog_error *err)
{
	const size_t count = txn->staged.commit_count;
	struct commit_op *ops;
	size_t first;
	enum kvlog_status st;

	memset(ret_receipt, 0, sizeof *ret_receipt);
	if (count == 0)
		return commit_nothing(txn, ret_receipt, err);
	ops = collect(txn, &first);
	if (ops == NULL)
		return err_set(err, KVLOG_NOMEM, 0,
		    "commit %zu records of a transaction", count);
	st = first == count
		 ? commit_nothing(txn, ret_receipt, err)
		 : store_write_owned(txn->handle, &txn->own, ops + first,
		       count - first, durability, ret_receipt, err);
	os->free(ops);
	return st;
}
