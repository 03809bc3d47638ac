/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c - the way of a commit.
 *
 *     take the turn
 *     decide          conditions, against the newest records
 *     reserve         room in the active segment (a rollover if there is too
 *                     little)
 *     encode          the first record, with its sums
 *     reserve         index slots
 *     intent          the control page says where the commit will end
 *     store           the records, the first word of the first one last
 *     publish         one 64-bit store of the position
 *     index           entries point at the new records
 *     clear intent, release the turn
 *
 * INV-9: everything that can fail comes before the first store; from there
 * on only the copy into allocated, mapped space is left.  (Where a file
 * system does not keep that promise, stores go through pwrite and can fail:
 * then nothing was published, the log is broken, and the next opening ends
 * the segment there.)
 */
#include "config.h"

#include "commit.h"

#include "rollover.h"
#include "turn.h"

#include <inttypes.h>
#include <string.h>

/* Records up to this size are put together on the stack and stored at once;
 * larger ones piece by piece, without another copy. */
#define STAGE_LEN 1024u
/* Every so many bytes the background thread looks whether the end of the log
 * is worth a hint. */
#define LOOK_EVERY (UINT64_C(256) << 10)
#define BATCH_SPAN_MAX (KVLOG_SEGMENT_SIZE_MAX - 2 * BLOCK_SIZE)

/* Storing */

/* A record's header, and the whole record if it is small, as it will stand at
 * its place. */
struct stage {
	unsigned head; /* bytes of header and extensions */
	bool whole;
	uint8_t bytes[STAGE_LEN];
};

static void
encode(struct stage *stage, const struct record *rec, uint32_t seed)
{
	uint8_t *p = stage->bytes;

	stage->head = record_encode(p, rec, seed);
	stage->whole =
	    stage->head + (uint64_t)rec->key_len + rec->value_len <= STAGE_LEN;
	if (!stage->whole)
		return;
	p += stage->head;
	if (rec->key_len > 0) /* a mark has none */
		memcpy(p, rec->key, rec->key_len);
	if (rec->value_len > 0)
		memcpy(p + rec->key_len, rec->value, rec->value_len);
}

/* Store the record at off, but for its first skip bytes. */
static int
store_record(const struct segment *seg, uint64_t off, const struct record *rec,
    const struct stage *stage, size_t skip)
{
	size_t head = stage->head;
	int rc;

	if (stage->whole)
		return os->store(&seg->map, off + skip, stage->bytes + skip,
		    head + rec->key_len + rec->value_len - skip);
	rc = os->store(&seg->map, off + skip, stage->bytes + skip, head - skip);
	if (rc == 0)
		rc = os->store(&seg->map, off + head, rec->key, rec->key_len);
	if (rc == 0 && rec->value_len > 0)
		rc = os->store(&seg->map, off + head + rec->key_len, rec->value,
		    rec->value_len);
	return rc;
}

/*
 * Store the records of a commit from the active segment's end on, the first
 * word of the first one last, and publish them.  The space is there; the first
 * record is encoded.
 */
static enum kvlog_status
store_commit(struct log *log, const struct record *recs, size_t count,
    uint64_t size, const struct stage *first, struct kvlog_error *err)
{
	struct kvlog_error cause;
	struct segment *seg = log_active(log);
	uint64_t start = segment_end(seg), off = start;
	int rc;

	assert(size <= log_room(seg));
	rc = control_set_intent(log->control, start + size);
	if (rc != 0) /* nothing is stored yet */
		return err_sys(
		    err, rc, "write to %s/%s", log->dir->path, DIR_LOCK_NAME);
	rc = store_record(seg, off, &recs[0], first, 8);
	off += recs[0].size;
	for (size_t i = 1; i < count && rc == 0; i++) {
		struct stage stage;

		encode(&stage, &recs[i], segment_seed(seg, off));
		rc = store_record(seg, off, &recs[i], &stage, 0);
		off += recs[i].size;
	}
	if (rc == 0)
		rc = os->store(&seg->map, start, first->bytes, 8);
	if (rc == 0)
		rc = control_set_position(
		    log->control, control_pos(segment_number(seg), off));
	if (rc != 0) {
		err_sys(&cause, rc,
		    "write to %s/%s failed; close the store, see to the disk, "
		    "and open it again",
		    log->dir->path, seg->name);
		return log_break(log, &cause, err);
	}
	assert(off == start + size);
	atomic_store_explicit(&seg->end, off, memory_order_release);
	return KVLOG_OK;
}

static void
encode_at_end(
    const struct log *log, struct stage *stage, const struct record *rec)
{
	const struct segment *seg = log_active(log);

	encode(stage, rec, segment_seed(seg, segment_end(seg)));
}

/* All that the view's index knows is published, up to here. */
static void
show(struct view *view, const struct segment *active)
{
	atomic_store_explicit(
	    &view->applied, recovery_end_pos(active), memory_order_release);
}

enum kvlog_status
log_mark(struct log *log, bool clean, struct kvlog_error *err)
{
	struct view *view = log->view;
	uint64_t durable = log_durable(log);
	struct record rec = {
	    .type = RECORD_MARK,
	    .flags = clean ? RECORD_CLEAN : 0,
	    .seq = log_last_seq(log),
	    .lag = record_lag(log_last_seq(log), durable),
	    .size = record_size(clean ? RECORD_CLEAN : 0, 0, 0),
	};
	enum kvlog_status st = log_make_room(log, rec.size, clean, err);
	struct stage stage;
	int rc;

	if (st != KVLOG_OK)
		return st;
	encode_at_end(log, &stage, &rec);
	st = store_commit(log, &rec, 1, rec.size, &stage, err);
	if (st != KVLOG_OK)
		return st;
	show(view, log_active(log));
	rc = control_set_intent(log->control, 0);
	if (rc != 0)
		return err_sys(err, rc, "write to %s", log->dir->path);
	view->evidence = max_u64(view->evidence, durable);
	return KVLOG_OK;
}

/* Deciding */

static bool
holds(const struct commit_op *op, enum kvlog_status found,
    const struct index_ref *ref)
{
	switch (op->condition) {
	case KVLOG_IF_ANY:
		return true;
	case KVLOG_IF_ABSENT:
		return found == KVLOG_NOTFOUND;
	case KVLOG_IF_PRESENT:
		return found == KVLOG_OK;
	case KVLOG_IF_SEQ:
		return found == KVLOG_OK ? ref->rec.seq == op->if_seq
					 : op->if_seq == 0;
	}
	return false;
}

static enum kvlog_status
decide(struct log *log, const struct commit_op *op, bool strict,
    struct kvlog_error *err)
{
	struct index *index = &log->view->index;
	struct index_ref ref;
	struct epoch_token token;
	enum kvlog_status found;
	bool ok;

	if (op->condition == KVLOG_IF_ANY && !strict)
		return KVLOG_OK;
	token = epoch_enter(index->epoch);
	found = index_find(index, op->hash, op->key, op->key_len, &ref, err);
	if (found == KVLOG_CORRUPT)
		err_set_at(err, KVLOG_CORRUPT, segment_number(ref.seg), ref.off,
		    "the present record of this key in segment %" PRIu32
		    " at offset %" PRIu64 " is damaged",
		    segment_number(ref.seg), ref.off);
	else if (found == KVLOG_NOMEM)
		err_set(err, found, 0, "look up the present record");
	ok = holds(op, found, &ref);
	epoch_leave(index->epoch, token);

	if (found != KVLOG_OK && found != KVLOG_NOTFOUND)
		return found;
	if (!ok)
		return err_set(err, KVLOG_CONFLICT, 0,
		    op->condition == KVLOG_IF_ABSENT ? "the key has a value"
		    : op->condition == KVLOG_IF_SEQ
			? "the key's value is of another commit"
			: "the key has no value");
	if (strict && op->type == RECORD_DELETE && found == KVLOG_NOTFOUND)
		return KVLOG_NOTFOUND;
	return KVLOG_OK;
}

static void
fill_record(struct record *rec, const struct commit_op *op, uint64_t seq,
    uint32_t lag, unsigned flags)
{
	memset(rec, 0, sizeof *rec);
	rec->type = op->type;
	rec->flags = (uint8_t)flags;
	rec->key_len = op->key_len;
	rec->value_len = op->value_len;
	rec->seq = seq;
	rec->lag = lag;
	rec->key = op->key;
	rec->value = op->value;
	rec->size = record_size(flags, op->key_len, op->value_len);
}

static enum kvlog_status
make_records(struct log *log, const struct commit_op *ops, size_t count,
    struct record *recs, uint64_t *ret_size, bool *ret_only_deletes,
    struct kvlog_error *err)
{
	uint64_t seq = log->view->next_seq, size = 0;
	uint32_t lag = record_lag(seq, log_durable(log));
	bool only_deletes = true;

	for (size_t i = 0; i < count; i++) {
		unsigned flags = (i > 0 ? RECORD_CONT : 0) |
				 (i + 1 < count ? RECORD_MORE : 0);

		fill_record(&recs[i], &ops[i], seq, lag, flags);
		size += recs[i].size;
		only_deletes &= ops[i].type == RECORD_DELETE;
	}
	*ret_size = size;
	*ret_only_deletes = only_deletes;
	if (size > BATCH_SPAN_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a batch of %" PRIu64 " bytes; at most %" PRIu64 " fit",
		    size, (uint64_t)BATCH_SPAN_MAX);
	return KVLOG_OK;
}

/* Steps of a batch whose misses are waited for together. */
#define GROUP 16u

static void
apply(struct log *log, const struct commit_op *ops, const uint64_t *hashes,
    size_t count, const struct record *recs, uint64_t off)
{
	struct index *index = &log->view->index;
	struct epoch_token token = epoch_enter(index->epoch);

	if (count > 1)
		index_begin_batch(index);
	for (size_t i = 0; i < count; i++) {
		enum kvlog_status st;

		if (i > 0 && i % GROUP == 0)
			index_prefetch(index, hashes + i,
			    (size_t)min_u64(GROUP, count - i));
		st = index_set(index, hashes[i], ops[i].key, ops[i].key_len,
		    segset_loc(log_active(log), off),
		    ops[i].type == RECORD_DELETE);
		assert(st == KVLOG_OK); /* reserved */
		(void)st;
		off += recs[i].size;
	}
	if (count > 1)
		index_end_batch(index);
	epoch_leave(index->epoch, token);
}

static enum kvlog_status
commit_turn(struct log *log, const struct commit_op *ops,
    const uint64_t *hashes, size_t count, struct record *recs, bool strict,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	struct view *view = log->view;
	uint64_t size = 0, start;
	bool only_deletes = false;
	struct stage first;
	enum kvlog_status st;

	/* What is fetched now is needed when other work is done. */
	keydir_prefetch(view->index.keydir, hashes[0]);
	for (size_t i = 0; i < count; i++) {
		st = decide(log, &ops[i], strict, err);
		if (st != KVLOG_OK) {
			*ret_failed = i;
			return st;
		}
	}
	st = make_records(log, ops, count, recs, &size, &only_deletes, err);
	if (st == KVLOG_OK)
		st = log_reserve_room(log, size, only_deletes, err);
	if (st != KVLOG_OK)
		return st;
	encode_at_end(log, &first, &recs[0]);
	st = index_reserve(&view->index, hashes, count, err);
	if (st != KVLOG_OK)
		return st;
	index_prefetch(&view->index, hashes, (size_t)min_u64(GROUP, count));

	start = segment_end(log_active(log));
	st = store_commit(log, recs, count, size, &first, err);
	if (st != KVLOG_OK)
		return st;
	apply(log, ops, hashes, count, recs, start);
	view->evidence =
	    max_u64(view->evidence, record_attests(recs[0].seq, recs[0].lag));
	ret_receipt->seq = view->next_seq++;
	ret_receipt->segment = segment_number(log_active(log));
	ret_receipt->offset = start;
	atomic_store_explicit(
	    &view->last_seq, ret_receipt->seq, memory_order_release);
	atomic_store_explicit(
	    &log->own_seq, ret_receipt->seq, memory_order_relaxed);
	show(view, log_active(log));
	(void)control_set_intent(log->control, 0);
	if (start / LOOK_EVERY != (start + size) / LOOK_EVERY &&
	    log->wake != NULL)
		log->wake(log->wake_arg);
	return KVLOG_OK;
}

enum kvlog_status
log_commit(struct log *log, const struct commit_op *ops, size_t op_count,
    bool strict, struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	struct record one, *recs = &one;
	uint64_t one_hash, *hashes = &one_hash;
	enum kvlog_status st;

	assert(op_count > 0);
	if (op_count > 1) {
		recs =
		    op_count <= SIZE_MAX / sizeof *recs / 2
			? os->malloc(op_count * (sizeof *recs + sizeof *hashes))
			: NULL;
		if (recs == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "write a batch");
		hashes = (uint64_t *)(void *)(recs + op_count);
	}
	for (size_t i = 0; i < op_count; i++)
		hashes[i] = ops[i].hash;
	st = log_take_turn(log, err);
	if (st == KVLOG_OK) {
		st = commit_turn(log, ops, hashes, op_count, recs, strict,
		    ret_receipt, ret_failed, err);
		epoch_reclaim(log->view->index.epoch);
		log_release_turn(log);
	}
	if (recs != &one)
		os->free(recs);
	return st;
}
