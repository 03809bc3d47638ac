/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c - the way of a commit.
 *
 *     take the turn
 *     decide          conditions, against the newest records
 *     reserve         index slots, and room in the active segment (a rollover
 *                     if there is too little)
 *     intent          the control page says where the commit will end
 *     store           the records, the first word of the first one last
 *     publish         one 64-bit store of the position
 *     index           entries point at the new records; that of an overwrite
 *                     does so when the lock is taken next (view_put_off())
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

#include <inttypes.h>
#include <string.h>

/* What is put together on the stack, to be stored at once; keys and values of
 * records larger than this are stored as they are, without another copy. */
#define STAGE_LEN 4096u
#define COPY_MAX 1024u
/* Every so many bytes the background thread looks whether the end of the log
 * is worth a hint. */
#define LOOK_EVERY (UINT64_C(256) << 10)

/* Storing */

/* What all records of a commit have in common. */
struct stamp {
	uint64_t seq;
	uint32_t lag;
	unsigned flags;
};

/* A commit on its way into a segment. */
struct stage {
	const struct segment *seg;
	uint64_t start; /* of the commit */
	uint64_t off;   /* where bytes[0] will stand */
	size_t len;     /* bytes that are not stored yet */
	uint64_t first; /* word of the commit, to be stored last */
	uint8_t bytes[STAGE_LEN + RECORD_ALIGN];
};

/* Store what waits, but for the first word. */
static inline int
store_staged(struct stage *stage)
{
	size_t skip = 0;
	int rc;

	if (UNLIKELY(stage->len == 0))
		return 0;
	if (LIKELY(stage->off == stage->start)) {
		skip = sizeof stage->first;
		memcpy(&stage->first, stage->bytes, skip);
	}
	rc = os_store(&stage->seg->map, stage->off + skip, stage->bytes + skip,
	    stage->len - skip);
	stage->off += stage->len;
	stage->len = 0;
	return rc;
}

/* The rest of a record that ends at end and whose head waits. */
static int
store_large(struct stage *stage, const struct commit_op *op, uint64_t end)
{
	const struct os_map *map = &stage->seg->map;
	int rc = store_staged(stage);

	if (rc == 0)
		rc = os->store(map, stage->off, op->key, op->key_len);
	if (rc == 0 && op->value_len > 0)
		rc = os->store(
		    map, stage->off + op->key_len, op->value, op->value_len);
	stage->off = end;
	return rc;
}

static inline int
add_record(struct stage *stage, const struct commit_op *op,
    const struct stamp *stamp, unsigned flags)
{
	const unsigned own = commit_flags(op);
	const struct record rec = {
	    .type = op->type,
	    .flags = (uint8_t)(stamp->flags | flags | own),
	    .key_len = op->key_len,
	    .value_len = op->value_len,
	    .seq = stamp->seq,
	    .lag = stamp->lag,
	    .bucket_seq = op->bucket_seq,
	    .bucket_ordinal = op->bucket_ordinal,
	    .expiry_ms = op->expiry_ms,
	    .key = op->key,
	    .value = op->value,
	};
	const uint64_t size = commit_op_size(op);
	uint64_t off;
	uint32_t seed;
	uint8_t *p;

	if (UNLIKELY(stage->len > STAGE_LEN - COPY_MAX)) {
		int rc = store_staged(stage);

		if (rc != 0)
			return rc;
	}
	off = stage->off + stage->len;
	seed = segment_seed(stage->seg, off);
	p = stage->bytes + stage->len;
	if (UNLIKELY(size > COPY_MAX)) {
		stage->len += record_encode(p, &rec, seed);
		return store_large(stage, op, off + size);
	}
	if (LIKELY(own == 0))
		record_write(p, &rec, seed);
	else
		record_write_any(p, &rec, seed);
	stage->len += size;
	return 0;
}

static int
store_records(struct stage *stage, const struct commit_op *ops, size_t count,
    const struct stamp *stamp)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = add_record(stage, &ops[i], stamp,
		    (i > 0 ? RECORD_CONT : 0) |
			(i + 1 < count ? RECORD_MORE : 0));
	if (rc == 0)
		rc = store_staged(stage);
	if (rc == 0)
		rc =
		    os_store_word(&stage->seg->map, stage->start, stage->first);
	return rc;
}

static enum kvlog_status
store_failed(
    struct log *log, const struct segment *seg, int rc, struct kvlog_error *err)
{
	struct kvlog_error cause;

	err_sys(&cause, rc,
	    "write to %s/%s failed; close the store, see to the disk, "
	    "and open it again",
	    log->dir->path, seg->name);
	return log_break(log, &cause, err);
}

/* Store the records of a commit from the end of seg, the active segment, on,
 * where there is space, and publish them. */
static enum kvlog_status
store_commit(struct log *log, struct segment *seg, const struct commit_op *ops,
    size_t count, uint64_t size, const struct stamp *stamp,
    struct kvlog_error *err)
{
	const uint64_t start = segment_end(seg), end = start + size;
	struct stage stage;
	int rc;

	assert(size <= log_room(seg));
	rc = control_set_intent(log->control, end);
	if (UNLIKELY(rc != 0)) /* nothing is stored yet */
		return err_sys(
		    err, rc, "write to %s/%s", log->dir->path, DIR_LOCK_NAME);
	stage.seg = seg;
	stage.start = stage.off = start;
	stage.len = 0;
	rc = store_records(&stage, ops, count, stamp);
	if (rc == 0)
		rc = control_set_position(
		    log->control, control_pos(segment_number(seg), end));
	if (UNLIKELY(rc != 0))
		return store_failed(log, seg, rc, err);
	assert(stage.off == end);
	atomic_store_explicit(&seg->end, end, memory_order_release);
	return KVLOG_OK;
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
	const struct commit_op mark = {.type = RECORD_MARK};
	const struct stamp stamp = {
	    .seq = log_last_seq(log),
	    .lag = record_lag(log_last_seq(log), durable),
	    .flags = clean ? RECORD_CLEAN : 0,
	};
	const uint64_t size = record_size(stamp.flags, 0, 0);
	enum kvlog_status st = log_make_room(log, size, clean, err);
	int rc;

	if (st == KVLOG_OK)
		st = store_commit(
		    log, log_active(log), &mark, 1, size, &stamp, err);
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

/* place: the key's, that is looked for. */
static enum kvlog_status
decide(struct log *log, const struct commit_op *op, bool strict,
    uint64_t *now_ms, struct index_place *place, struct kvlog_error *err)
{
	const struct index_ref *ref = &place->ref;
	enum kvlog_status found;

	if (LIKELY(op->condition == KVLOG_IF_ANY && !strict))
		return KVLOG_OK;
	found = index_look(&log->view->index, place, err);
	if (found == KVLOG_CORRUPT)
		return err_set_at(err, found, segment_number(ref->seg),
		    ref->off,
		    "the present record of this key in segment %" PRIu32
		    " at offset %" PRIu64 " is damaged",
		    segment_number(ref->seg), ref->off);
	if (found == KVLOG_NOMEM)
		return err_set(err, found, 0, "look up the present record");
	if (found == KVLOG_OK && view_has_expired(log->view, &ref->rec, now_ms))
		found = KVLOG_NOTFOUND;
	if (found != KVLOG_OK && found != KVLOG_NOTFOUND)
		return found;
	if (!holds(op, found, ref))
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
seek(const struct log *log, const struct commit_op *op,
    struct index_place *ret_place)
{
	const struct hint_key key = commit_key(op);

	index_seek(&log->view->index, op->hash, &key, ret_place);
}

/* *ret_place is the first key's if there is but one. */
static enum kvlog_status
decide_all(struct log *log, const struct commit_op *ops, size_t count,
    bool strict, struct index_place *ret_place, size_t *ret_failed,
    struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;
	uint64_t now_ms = 0;

	for (size_t i = 0; i < count && st == KVLOG_OK; i++) {
		if (count == 1 || ops[i].condition != KVLOG_IF_ANY)
			seek(log, &ops[i], ret_place);
		if (UNLIKELY(ops[i].bucket != NULL))
			st = bucket_check(log->view, ops[i].bucket, err);
		if (st == KVLOG_OK)
			st = decide(
			    log, &ops[i], strict, &now_ms, ret_place, err);
		if (st != KVLOG_OK)
			*ret_failed = i;
	}
	return st;
}

static enum kvlog_status
measure(const struct commit_op *ops, size_t count, uint64_t *ret_size,
    bool *ret_only_deletes, struct kvlog_error *err)
{
	uint64_t size = 0;
	bool only_deletes = true;

	for (size_t i = 0; i < count; i++) {
		size += commit_op_size(&ops[i]);
		only_deletes &= ops[i].type == RECORD_DELETE;
	}
	*ret_size = size;
	*ret_only_deletes = only_deletes;
	if (size > COMMIT_SIZE_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "a batch of %" PRIu64 " bytes; at most %" PRIu64 " fit",
		    size, (uint64_t)COMMIT_SIZE_MAX);
	return KVLOG_OK;
}

/* Steps of a batch whose misses are waited for together. */
#define GROUP 16u

static void
apply_batch(struct log *log, const struct segment *seg,
    const struct commit_op *ops, const uint64_t *hashes, size_t count,
    uint64_t off)
{
	struct index *index = &log->view->index;

	index_begin_batch(index);
	for (size_t i = 0; i < count; i++) {
		const struct hint_key key = commit_key(&ops[i]);
		enum kvlog_status st;

		if (i % GROUP == 0)
			index_prefetch(index, hashes + i,
			    (size_t)min_u64(GROUP, count - i));
		st = index_set(index, hashes[i], &key, segset_loc(seg, off),
		    ops[i].type == RECORD_DELETE);
		assert(st == KVLOG_OK); /* reserved */
		(void)st;
		off += commit_op_size(&ops[i]);
	}
	index_end_batch(index);
}

/* place: the one key's. */
static void
apply(struct log *log, const struct segment *seg, const struct commit_op *op,
    struct index_place *place, uint64_t off)
{
	enum kvlog_status st = index_set_at(&log->view->index, place,
	    segset_loc(seg, off), op->type == RECORD_DELETE);

	assert(st == KVLOG_OK); /* reserved */
	(void)st;
}

/* Of an entry that is replaced the old record has to be looked at, which can
 * wait; see view_put_off(). */
static bool
may_put_off(const struct commit_op *op, const struct index_place *place)
{
	/* Handles on buckets are looked at when the catalogue has changed, and
	 * then the change has to be there. */
	return op->type != RECORD_DELETE && !place->looked &&
	       place->loc != KEYDIR_NONE &&
	       !bucket_is_catalogue(op->bucket_seq, op->bucket_ordinal);
}

/* The key that the caller gave is not there later, that in the record is. */
static void
put_off(struct view *view, const struct segment *seg,
    const struct commit_op *op, uint64_t start, uint64_t size)
{
	view->late.key.bytes = seg->map.addr + start + RECORD_HEADER_SIZE +
			       record_ext_len(commit_flags(op));
	view_put_off(view, segset_loc(seg, start),
	    control_pos(segment_number(seg), start + size));
}

/* The id of a bucket is the number of the commit that creates it. */
static void
note_new_ids(const struct commit_op *ops, size_t count, uint64_t seq)
{
	for (size_t i = 0; i < count; i++)
		if (UNLIKELY(ops[i].new_id != NULL))
			put_u64(ops[i].new_id, seq);
}

/* Before the commit is shown: what others have to know of its records. */
static void
note_odd(struct log *log, const struct commit_op *ops, size_t count)
{
	for (size_t i = 0; i < count; i++)
		view_note_odd(log->view, commit_flags(&ops[i]),
		    ops[i].bucket_seq, ops[i].bucket_ordinal);
}

/* Under the turn nobody else changes the index, nor frees what it names: so
 * there is no need for the epoch. */
static enum kvlog_status
commit_turn(struct log *log, const struct commit_op *ops,
    const uint64_t *hashes, size_t count, bool strict,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	struct view *view = log->view;
	struct index_place *place = &view->late;
	struct segment *seg;
	struct stamp stamp;
	uint64_t size, start;
	bool only_deletes, late;
	enum kvlog_status st;

	st = index_reserve(&view->index, hashes, count, err);
	if (st == KVLOG_OK)
		st =
		    decide_all(log, ops, count, strict, place, ret_failed, err);
	if (st == KVLOG_OK)
		st = measure(ops, count, &size, &only_deletes, err);
	if (st == KVLOG_OK)
		st = log_reserve_room(log, size, only_deletes, err);
	if (st != KVLOG_OK)
		return st;
	seg = log_active(log);
	start = segment_end(seg);
	stamp.seq = view->next_seq;
	note_new_ids(ops, count, stamp.seq);
	stamp.lag = record_lag(stamp.seq, log_durable(log));
	stamp.flags = 0;
	st = store_commit(log, seg, ops, count, size, &stamp, err);
	if (st != KVLOG_OK)
		return st;
	late = count == 1 && may_put_off(ops, place);
	if (late)
		put_off(view, seg, ops, start, size);
	else if (count == 1)
		apply(log, seg, ops, place, start);
	else
		apply_batch(log, seg, ops, hashes, count, start);
	note_odd(log, ops, count);
	view->evidence =
	    max_u64(view->evidence, record_attests(stamp.seq, stamp.lag));
	view->next_seq++;
	ret_receipt->seq = stamp.seq;
	ret_receipt->segment = segment_number(seg);
	ret_receipt->offset = start;
	atomic_store_explicit(&view->last_seq, stamp.seq, memory_order_release);
	atomic_store_explicit(&log->own_seq, stamp.seq, memory_order_relaxed);
	if (!late)
		show(view, seg);
	(void)control_set_intent(log->control, 0);
	if (start / LOOK_EVERY != (start + size) / LOOK_EVERY &&
	    log->wake != NULL)
		log->wake(log->wake_arg);
	return KVLOG_OK;
}

/* The hashes of a batch, for those who look at nothing else. */
static uint64_t *
collect_hashes(const struct commit_op *ops, size_t count)
{
	uint64_t *hashes = count <= SIZE_MAX / sizeof *hashes
			       ? os->malloc(count * sizeof *hashes)
			       : NULL;

	for (size_t i = 0; i < count && hashes != NULL; i++)
		hashes[i] = ops[i].hash;
	return hashes;
}

/* A writer that died has cost a range of them. */
static enum kvlog_status
check_number(
    const struct log *log, const struct ownership *own, struct kvlog_error *err)
{
	if (!own->numbered || log->view->next_seq == own->next_seq)
		return KVLOG_OK;
	return err_set(err, KVLOG_CONFLICT, 0,
	    "another process died while it wrote to %s, and buckets that the "
	    "transaction creates would have other numbers; begin it anew",
	    log->dir->path);
}

/* own: NULL, or the owner of the turn. */
static inline enum kvlog_status
commit_as(struct log *log, const struct ownership *own,
    const struct commit_op *ops, size_t op_count, bool strict,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	uint64_t *batch = NULL;
	enum kvlog_status st;

	assert(op_count > 0);
	if (op_count > 1) {
		batch = collect_hashes(ops, op_count);
		if (batch == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "write a batch");
	}
	log_enter(log);
	/* What is fetched now is needed when other work is done. */
	keydir_prefetch(log->view->index.keydir, ops->hash);
	st = log_take_turn_to_write(log, own, err);
	if (st == KVLOG_OK) {
		if (UNLIKELY(own != NULL))
			st = check_number(log, own, err);
		if (st == KVLOG_OK)
			st = commit_turn(log, ops,
			    batch != NULL ? batch : &ops->hash, op_count,
			    strict, ret_receipt, ret_failed, err);
		epoch_reclaim(log->view->index.epoch);
		if (own != NULL)
			(void)log_end_ownership(log);
		log_release_turn(log);
	}
	if (batch != NULL)
		os->free(batch);
	return st;
}

enum kvlog_status
log_commit(struct log *log, const struct commit_op *ops, size_t op_count,
    bool strict, struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	return commit_as(
	    log, NULL, ops, op_count, strict, ret_receipt, ret_failed, err);
}

enum kvlog_status
log_commit_owned(struct log *log, const struct ownership *own,
    const struct commit_op *ops, size_t op_count,
    struct kvlog_receipt *ret_receipt, struct kvlog_error *err)
{
	size_t failed;
	enum kvlog_status st = commit_as(
	    log, own, ops, op_count, false, ret_receipt, &failed, err);

	if (st != KVLOG_OK)
		log_disown(log, own);
	return st;
}
