/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.c - the way of a commit.
 *
 *     take the turn
 *     decide          conditions, against the newest records
 *     reserve         index slots, room in the active segment (a rollover if
 *                     there is too little)
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
 *
 * Durability is a matter of its own: a sync covers all segments that are not
 * synced yet, the oldest first, after the directory (INV-3), and `durable`
 * moves only over a prefix that has been covered.  Whoever waits for the
 * sync lock finds, more often than not, that the sync before has covered its
 * commit too: that is group commit.  A sync that fails is never tried again,
 * for the kernel may have dropped the pages it could not write.
 */
#include "config.h"

#include "commit.h"

#include "repair.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Records up to this size are put together on the stack and stored at once;
 * larger ones piece by piece, without another copy. */
#define STAGE_LEN 1024u
#define BATCH_SPAN_MAX (KVLOG_SEGMENT_SIZE_MAX - 2 * BLOCK_SIZE)

/* Sealed segments that are durable need no sync, and so no descriptor. */
static void
mark_synced(struct log *log)
{
	uint64_t durable = atomic_load(&log->durable);

	for (size_t i = 0; i + 1 < log->set->count; i++) {
		struct segment *seg = log->set->segments[i];

		if (seg->header.kind == SEGMENT_PLAIN &&
		    seg->last_seq > durable)
			break; /* nor are those behind it */
		seg->synced = true;
		segment_close_fd(seg);
	}
}

enum kvlog_status
log_init(struct log *log, struct dir *dir, struct control *control,
    struct segset *set, struct index *index, uint64_t segment_size,
    const struct recovery *recovery, struct kvlog_error *err)
{
	pthread_condattr_t attr;
	struct control_state state = {0};

	memset(log, 0, sizeof *log);
	log->dir = dir;
	log->control = control;
	log->set = set;
	log->index = index;
	log->segment_size = segment_size;
	log->active = set->segments[set->count - 1];
	log->next_seq = recovery->first_seq;
	atomic_init(&log->last_seq, recovery->last_seq);

	/* After a repair everything before the new range is durable; what was
	 * never written is not, whatever the page says. */
	atomic_init(&log->durable,
	    recovery->unclean
		? recovery->first_seq - 1
		: min_u64(recovery->state.durable, recovery->first_seq - 1));
	log->evidence = recovery->unclean ? recovery->first_seq - 1 : 0;
	log->evidence_synced = log->evidence;
	log->dirty = !recovery->unclean &&
		     atomic_load(&log->durable) < recovery->last_seq;
	/* The last writer may have been killed between a rollover and the
	 * sync of its name; not if a commit behind that name is durable, nor
	 * after a repair. */
	log->names_unsynced =
	    !recovery->unclean &&
	    (!log->active->link_ok ||
		recovery->state.durable < log->active->link.first_seq);

	mark_synced(log);

	pthread_mutex_init(&log->turn, NULL);
	pthread_mutex_init(&log->wait_lock, NULL);
	pthread_mutex_init(&log->sync_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&log->synced, &attr);
	pthread_condattr_destroy(&attr);

	state.active_salt = log->active->header.salt;
	state.position =
	    control_pos(segment_number(log->active), segment_end(log->active));
	state.durable = atomic_load(&log->durable);
	state.generation = recovery->state.generation + 1;
	return control_format(control, &state, err);
}

void
log_fini(struct log *log)
{
	if (log->dir == NULL)
		return;
	if (log->spare != NULL) {
		os->unlink(log->dir->fd, DIR_SPARE_NAME);
		segment_close(log->spare);
		log->spare = NULL;
	}
	pthread_cond_destroy(&log->synced);
	pthread_mutex_destroy(&log->wait_lock);
	pthread_mutex_destroy(&log->sync_lock);
	pthread_mutex_destroy(&log->turn);
	log->dir = NULL;
}

static enum kvlog_status
broken(struct kvlog_error *err)
{
	return err_set(err, KVLOG_BROKEN, 0,
	    "an earlier write or sync failed; close the store, see to the "
	    "disk, and open it again");
}

static void
wake_waiters(struct log *log)
{
	pthread_mutex_lock(&log->wait_lock);
	pthread_cond_broadcast(&log->synced);
	pthread_mutex_unlock(&log->wait_lock);
}

/* Nothing is written any more, by nobody.  The page tells other processes. */
static void
break_log(struct log *log)
{
	atomic_store(&log->broken, true);
	(void)control_set_poison(log->control);
	wake_waiters(log);
}

/* Room */

static uint64_t
room(const struct segment *seg)
{
	return seg->header.size - segment_end(seg);
}

/* The spare, if it can hold need bytes, or a segment made now. */
static enum kvlog_status
take_spare(struct log *log, uint64_t need, bool may_use_reserve,
    struct segment **ret_seg, struct kvlog_error *err)
{
	enum kvlog_status st;
	bool reserve = false;

	if (log->spare != NULL && room(log->spare) >= need) {
		*ret_seg = log->spare;
		log->spare = NULL;
		return KVLOG_OK;
	}
	if (log->spare != NULL) {
		os->unlink(log->dir->fd, DIR_SPARE_NAME);
		segment_close(log->spare);
		log->spare = NULL;
	}
	st = repair_new_segment(log->dir,
	    &(struct segment_plan){
		.name = DIR_SPARE_NAME,
		.store = &log->active->header.store,
		.number = segment_number(log->active) + 1,
		.max_size = log->segment_size,
		.size = repair_segment_size(log->set, log->segment_size),
		.need = need,
		.may_use_reserve = may_use_reserve,
	    },
	    ret_seg, &reserve, err);
	if (reserve)
		log->reserve_used = true;
	return st;
}

/*
 * Seal the active segment by the link of a new one that has room for need
 * bytes.  On failure the active segment is as it was.
 */
static enum kvlog_status
roll_over(struct log *log, uint64_t need, bool may_use_reserve,
    struct kvlog_error *err)
{
	struct segment *old = log->active, *seg;
	uint64_t last_seq = atomic_load(&log->last_seq);
	uint64_t durable = atomic_load(&log->durable);
	struct segment_link link = {
	    .prev_salt = old->header.salt,
	    .prev_end = segment_end(old),
	    .prev_last_seq = last_seq,
	    .first_seq = log->next_seq,
	    .durable = durable >= last_seq,
	};
	enum kvlog_status st;
	int rc;

	st = take_spare(log, need, may_use_reserve, &seg, err);
	if (st != KVLOG_OK)
		return st;
	rc = segment_store_link(seg, &link);
	if (rc != 0) {
		st = err_sys(
		    err, rc, "write to %s/%s", log->dir->path, seg->name);
		goto fail;
	}
	st = segset_add(log->set, seg, err);
	if (st != KVLOG_OK)
		goto fail;
	rc = segment_take_name(seg, log->dir);
	if (rc != 0) {
		st = err_sys(err, rc, "name segment %" PRIu32 " of %s",
		    segment_number(seg), log->dir->path);
		segset_drop_last(log->set);
		os->unlink(log->dir->fd, DIR_SPARE_NAME);
		return st;
	}

	/* The old one is sealed: INV-1. */
	old->last_seq = last_seq;
	old->evidence = log->evidence;
	(void)os->protect(&old->map);
	if (link.durable)
		log->evidence = max_u64(log->evidence, last_seq);
	log->names_unsynced = true;
	log->active = seg;
	log->spare_wanted = true;
	rc = control_set_active_salt(log->control, seg->header.salt);
	if (rc == 0)
		rc = control_set_position(log->control,
		    control_pos(segment_number(seg), SEGMENT_DATA_OFF));
	if (rc != 0) {
		break_log(log);
		return err_sys(err, rc, "publish %s", seg->name);
	}
	if (log->wake != NULL)
		log->wake(log->wake_arg);
	return KVLOG_OK;
fail:
	os->unlink(log->dir->fd, DIR_SPARE_NAME);
	segment_close(seg);
	return st;
}

bool
log_prepare_spare(struct log *log)
{
	struct segment *seg = NULL;
	struct segment_store store;
	struct segment_plan plan = {.name = "next.tmp", .store = &store};
	bool wanted;

	pthread_mutex_lock(&log->turn);
	wanted = log->spare_wanted && log->spare == NULL &&
		 !atomic_load(&log->broken);
	log->spare_wanted = false;
	plan.number = segment_number(log->active) + 1;
	plan.max_size = log->segment_size;
	plan.size = repair_segment_size(log->set, log->segment_size);
	store = log->active->header.store;
	pthread_mutex_unlock(&log->turn);
	if (!wanted)
		return false;

	/* Made under a name of its own, so that a commit that cannot wait
	 * makes one beside it. */
	if (repair_new_segment(log->dir, &plan, &seg, NULL, NULL) != KVLOG_OK)
		return false;
	os->advise(&seg->map, 0, seg->map.len, OS_ADVICE_POPULATE);

	pthread_mutex_lock(&log->turn);
	if (log->spare == NULL &&
	    plan.number == segment_number(log->active) + 1 &&
	    os->rename(log->dir->fd, plan.name, DIR_SPARE_NAME) == 0) {
		memcpy(seg->name, DIR_SPARE_NAME, sizeof DIR_SPARE_NAME);
		log->spare = seg;
		seg = NULL;
	}
	pthread_mutex_unlock(&log->turn);
	if (seg != NULL) {
		os->unlink(log->dir->fd, plan.name);
		segment_close(seg);
	}
	return true;
}

/* Room for size bytes in the active segment; puts also need the reserve to
 * be whole. */
static enum kvlog_status
reserve_room(
    struct log *log, uint64_t size, bool only_deletes, struct kvlog_error *err)
{
	if (log->reserve_used && !only_deletes) {
		int rc = repair_make_reserve(log->dir, log->segment_size);

		if (rc != 0)
			return err_sys(err, rc,
			    "%s: only deletes are possible until the reserve "
			    "can be made again",
			    log->dir->path);
		log->reserve_used = false;
	}
	if (size <= room(log->active))
		return KVLOG_OK;
	return roll_over(log, size, only_deletes, err);
}

/* Storing */

/*
 * Store the record at off, but for its first 8 bytes if first_word is not
 * NULL: those are left to be stored last.
 */
static int
store_record(const struct segment *seg, uint64_t off, const struct record *rec,
    uint8_t first_word[8])
{
	uint8_t stage[STAGE_LEN];
	unsigned head;
	size_t skip = first_word != NULL ? 8 : 0;
	uint64_t len;
	int rc;

	head = record_encode(stage, rec, segment_seed(seg, off));
	if (first_word != NULL)
		memcpy(first_word, stage, 8);
	len = (uint64_t)head + rec->key_len + rec->value_len;
	if (len <= STAGE_LEN) {
		if (rec->key_len > 0) /* a mark has none */
			memcpy(stage + head, rec->key, rec->key_len);
		if (rec->value_len > 0)
			memcpy(stage + head + rec->key_len, rec->value,
			    rec->value_len);
		return os->store(
		    &seg->map, off + skip, stage + skip, (size_t)len - skip);
	}
	rc = os->store(&seg->map, off + skip, stage + skip, head - skip);
	if (rc == 0)
		rc = os->store(&seg->map, off + head, rec->key, rec->key_len);
	if (rc == 0 && rec->value_len > 0)
		rc = os->store(&seg->map, off + head + rec->key_len, rec->value,
		    rec->value_len);
	return rc;
}

/*
 * Store the records of a commit from the active segment's end on, publish
 * them, and return where they end.  The space is there.
 */
static int
store_commit(
    struct log *log, const struct record *recs, size_t count, uint64_t size)
{
	struct segment *seg = log->active;
	uint64_t start = segment_end(seg), off = start;
	uint8_t first_word[8];
	int rc;

	assert(size <= room(seg));
	rc = control_set_intent(log->control, start + size);
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = store_record(
		    seg, off, &recs[i], i == 0 ? first_word : NULL);
		off += recs[i].size;
	}
	if (rc == 0)
		rc = os->store(&seg->map, start, first_word, 8);
	if (rc == 0)
		rc = control_set_position(
		    log->control, control_pos(segment_number(seg), off));
	if (rc != 0) {
		break_log(log);
		return rc;
	}
	assert(off == start + size);
	atomic_store_explicit(&seg->end, off, memory_order_release);
	return 0;
}

enum kvlog_status
log_mark(struct log *log, bool clean, struct kvlog_error *err)
{
	struct record rec = {.type = RECORD_MARK};
	uint64_t durable;
	enum kvlog_status st = KVLOG_OK;
	int rc;

	pthread_mutex_lock(&log->turn);
	durable = atomic_load(&log->durable);
	rec.flags = clean ? RECORD_CLEAN : 0;
	rec.seq = atomic_load(&log->last_seq);
	rec.lag = record_lag(rec.seq, durable);
	rec.size = record_size(rec.flags, 0, 0);
	if (atomic_load(&log->broken))
		st = broken(err);
	else if (rec.size > room(log->active))
		st = roll_over(log, rec.size, true, err);
	if (st == KVLOG_OK) {
		rc = store_commit(log, &rec, 1, rec.size);
		if (rc == 0)
			rc = control_set_intent(log->control, 0);
		if (rc != 0)
			st = err_sys(err, rc, "write to %s", log->dir->path);
		else
			log->evidence = max_u64(log->evidence, durable);
	}
	pthread_mutex_unlock(&log->turn);
	return st;
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
	struct index_ref ref;
	struct epoch_token token;
	enum kvlog_status found;
	bool ok;

	if (op->condition == KVLOG_IF_ANY && !strict)
		return KVLOG_OK;
	token = index_enter(log->index);
	found = index_find(log->index, op->hash, op->key, op->key_len, &ref);
	if (found == KVLOG_CORRUPT)
		err_set_at(err, KVLOG_CORRUPT, segment_number(ref.seg), ref.off,
		    "the present record of this key in segment %" PRIu32
		    " at offset %" PRIu64 " is damaged",
		    segment_number(ref.seg), ref.off);
	ok = found != KVLOG_CORRUPT && holds(op, found, &ref);
	index_leave(log->index, token);

	if (found == KVLOG_CORRUPT)
		return KVLOG_CORRUPT;
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

/* Everything that may fail for want of memory, before the first store. */
static enum kvlog_status
prepare(struct log *log, const struct commit_op *ops, size_t count,
    struct record *recs, uint64_t *ret_size, bool *ret_only_deletes,
    struct kvlog_error *err)
{
	uint64_t one[1], *hashes = one, seq = log->next_seq, size = 0;
	uint64_t durable = atomic_load(&log->durable);
	uint32_t lag = record_lag(seq, durable);
	bool only_deletes = true;
	enum kvlog_status st;

	if (count > 1)
		hashes = os->malloc(count * sizeof *hashes);
	if (hashes == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "write a batch");
	for (size_t i = 0; i < count; i++) {
		unsigned flags = (i > 0 ? RECORD_CONT : 0) |
				 (i + 1 < count ? RECORD_MORE : 0);

		fill_record(&recs[i], &ops[i], seq, lag, flags);
		hashes[i] = ops[i].hash;
		size += recs[i].size;
		only_deletes &= ops[i].type == RECORD_DELETE;
	}
	st = index_reserve(log->index, hashes, count, err);
	if (hashes != one)
		os->free(hashes);
	if (st == KVLOG_OK && size > BATCH_SPAN_MAX)
		st = err_set(err, KVLOG_TOOBIG, 0,
		    "a batch of %" PRIu64 " bytes; at most %" PRIu64 " fit",
		    size, (uint64_t)BATCH_SPAN_MAX);
	*ret_size = size;
	*ret_only_deletes = only_deletes;
	return st;
}

static void
apply(struct log *log, const struct commit_op *ops, size_t count,
    const struct record *recs, uint64_t off)
{
	struct epoch_token token = epoch_enter(log->index->epoch);

	if (count > 1)
		index_begin_batch(log->index);
	for (size_t i = 0; i < count; i++) {
		enum kvlog_status st = index_set(log->index, ops[i].hash,
		    ops[i].key, ops[i].key_len,
		    ops[i].type == RECORD_PUT ? segset_loc(log->active, off)
					      : KEYDIR_NONE);

		assert(st == KVLOG_OK); /* reserved */
		(void)st;
		off += recs[i].size;
	}
	if (count > 1)
		index_end_batch(log->index);
	epoch_leave(log->index->epoch, token);
}

static enum kvlog_status
commit_turn(struct log *log, const struct commit_op *ops, size_t count,
    struct record *recs, bool strict, struct kvlog_receipt *ret_receipt,
    size_t *ret_failed, struct kvlog_error *err)
{
	uint64_t size = 0, start;
	bool only_deletes = false;
	enum kvlog_status st;
	int rc;

	if (atomic_load_explicit(&log->broken, memory_order_relaxed))
		return broken(err);
	for (size_t i = 0; i < count; i++) {
		st = decide(log, &ops[i], strict, err);
		if (st != KVLOG_OK) {
			*ret_failed = i;
			return st;
		}
	}
	st = prepare(log, ops, count, recs, &size, &only_deletes, err);
	if (st == KVLOG_OK)
		st = reserve_room(log, size, only_deletes, err);
	if (st != KVLOG_OK)
		return st;

	start = segment_end(log->active);
	rc = store_commit(log, recs, count, size);
	if (rc != 0)
		return err_sys(err, rc, "write to %s/%s", log->dir->path,
		    log->active->name);
	apply(log, ops, count, recs, start);
	log->evidence =
	    max_u64(log->evidence, record_attests(recs[0].seq, recs[0].lag));
	log->dirty = true;
	ret_receipt->seq = log->next_seq++;
	ret_receipt->segment = segment_number(log->active);
	ret_receipt->offset = start;
	atomic_store_explicit(
	    &log->last_seq, ret_receipt->seq, memory_order_release);
	(void)control_set_intent(log->control, 0);
	return KVLOG_OK;
}

enum kvlog_status
log_commit(struct log *log, const struct commit_op *ops, size_t op_count,
    bool strict, struct kvlog_receipt *ret_receipt, size_t *ret_failed,
    struct kvlog_error *err)
{
	struct record one, *recs = &one;
	enum kvlog_status st;

	assert(op_count > 0);
	if (op_count > 1)
		recs = os->malloc(op_count * sizeof *recs);
	if (recs == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "write a batch");
	pthread_mutex_lock(&log->turn);
	st = commit_turn(
	    log, ops, op_count, recs, strict, ret_receipt, ret_failed, err);
	epoch_reclaim(log->index->epoch);
	pthread_mutex_unlock(&log->turn);
	if (recs != &one)
		os->free(recs);
	return st;
}

/* Syncing */

/* What one sync has to cover. */
struct sync_plan {
	struct segment *sealed[64]; /* oldest first */
	size_t sealed_count;
	struct segment *active; /* NULL: more sealed ones than fit come first */
	bool names;
	uint64_t seq;      /* durable when it has succeeded */
	uint64_t evidence; /* ... and what is attested durably then */
};

static void
plan_sync(struct log *log, struct sync_plan *plan, size_t max_sealed,
    bool with_active)
{
	const struct segset *set = log->set;
	size_t first;

	memset(plan, 0, sizeof *plan);
	pthread_mutex_lock(&log->turn);
	first = set->count - 1;
	while (first > 0 && !set->segments[first - 1]->synced)
		first--;
	for (size_t i = first; i + 1 < set->count; i++) {
		if (plan->sealed_count == max_sealed)
			break;
		plan->sealed[plan->sealed_count++] = set->segments[i];
		plan->seq = set->segments[i]->last_seq;
		plan->evidence = set->segments[i]->evidence;
	}
	if (with_active && first + plan->sealed_count + 1 == set->count) {
		plan->active = log->active;
		plan->seq = log->next_seq - 1;
		plan->evidence = log->evidence;
	}
	plan->names = log->names_unsynced;
	log->names_unsynced = false;
	pthread_mutex_unlock(&log->turn);
}

/* With sync_lock held.  A failure breaks the log for good. */
static enum kvlog_status
run_sync(struct log *log, const struct sync_plan *plan, struct kvlog_error *err)
{
	int rc = 0;

	if (plan->names)
		rc = os->sync_dir(log->dir->fd);
	for (size_t i = 0; i < plan->sealed_count && rc == 0; i++)
		rc = os->sync(plan->sealed[i]->fd);
	if (rc == 0 && plan->active != NULL)
		rc = os->sync(plan->active->fd);
	if (rc != 0) {
		break_log(log);
		return err_set(err, KVLOG_BROKEN, rc,
		    "sync of %s failed; commits after number %" PRIu64
		    " may not survive a crash.  Close the store, see to the "
		    "disk, and open it again",
		    log->dir->path, atomic_load(&log->durable));
	}
	for (size_t i = 0; i < plan->sealed_count; i++) {
		plan->sealed[i]->synced = true;
		segment_close_fd(plan->sealed[i]);
	}
	log->evidence_synced = max_u64(log->evidence_synced, plan->evidence);
	if (plan->seq > atomic_load(&log->durable)) {
		atomic_store(&log->durable, plan->seq);
		(void)control_set_durable(log->control, plan->seq);
		wake_waiters(log);
	}
	return KVLOG_OK;
}

enum kvlog_status
log_sync(struct log *log, uint64_t seq, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	if (atomic_load(&log->durable) >= seq)
		return KVLOG_OK;
	pthread_mutex_lock(&log->sync_lock);
	while (st == KVLOG_OK && atomic_load(&log->durable) < seq) {
		struct sync_plan plan;

		if (atomic_load(&log->broken)) {
			st = broken(err);
			break;
		}
		plan_sync(log, &plan, ARRAY_LEN(plan.sealed), true);
		st = run_sync(log, &plan, err);
	}
	pthread_mutex_unlock(&log->sync_lock);
	return st;
}

enum kvlog_status
log_sync_sealed(struct log *log, bool *ret_more, struct kvlog_error *err)
{
	struct sync_plan plan;
	enum kvlog_status st = KVLOG_OK;

	*ret_more = false;
	pthread_mutex_lock(&log->sync_lock);
	if (!atomic_load(&log->broken)) {
		plan_sync(log, &plan, 1, false);
		if (plan.sealed_count > 0) {
			st = run_sync(log, &plan, err);
			*ret_more = st == KVLOG_OK;
		} else if (plan.names) {
			/* Nothing was synced: the name still waits. */
			pthread_mutex_lock(&log->turn);
			log->names_unsynced = true;
			pthread_mutex_unlock(&log->turn);
		}
	}
	pthread_mutex_unlock(&log->sync_lock);
	return st;
}

enum kvlog_status
log_wait(struct log *log, uint64_t seq, uint32_t timeout_ms)
{
	struct timespec until;
	enum kvlog_status st = KVLOG_OK;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&log->wait_lock);
	while (atomic_load(&log->durable) < seq && st == KVLOG_OK) {
		if (atomic_load(&log->broken))
			st = KVLOG_BROKEN;
		else if (pthread_cond_timedwait(
			     &log->synced, &log->wait_lock, &until) != 0)
			st = KVLOG_TIMEOUT;
	}
	if (atomic_load(&log->durable) >= seq)
		st = KVLOG_OK;
	pthread_mutex_unlock(&log->wait_lock);
	return st;
}

/* Hints */

bool
log_write_hint(struct log *log)
{
	struct segment *seg = NULL;
	struct hint *hint = NULL;
	uint64_t evidence;

	pthread_mutex_lock(&log->sync_lock);
	evidence = log->evidence_synced;
	pthread_mutex_lock(&log->turn);
	for (size_t i = 0; i + 1 < log->set->count && seg == NULL; i++) {
		struct segment *s = log->set->segments[i];

		/* A damaged segment is read anew at every opening. */
		if (atomic_load(&s->hint) == NULL && s->bad_count == 0 &&
		    !s->hint_failed && s->last_seq <= evidence)
			seg = s;
	}
	pthread_mutex_unlock(&log->turn);
	pthread_mutex_unlock(&log->sync_lock);
	if (seg == NULL)
		return false;

	/* A hint is a cache: failing to write one harms nobody. */
	if (hint_build(seg, SEGMENT_DATA_OFF, segment_end(seg), &hint, NULL) !=
		KVLOG_OK ||
	    hint_write(hint, seg, log->dir, NULL) != KVLOG_OK) {
		hint_close(hint);
		seg->hint_failed = true;
		return true;
	}
	/* From here on the file serves, which shares its pages. */
	atomic_store(&seg->hint, hint_open(seg, log->dir));
	seg->hint_failed = atomic_load(&seg->hint) == NULL;
	hint_close(hint);
	return true;
}

/* Space behind the end that is worth giving back while nobody writes; it is
 * allocated again when the store is next opened for writing. */
#define SLACK_MIN (UINT64_C(1) << 20)

static void
give_slack_back(struct log *log)
{
	uint64_t end = round_up(segment_end(log->active), BLOCK_SIZE);
	uint64_t slack = log->active->header.size - end;

	if (slack > max_u64(SLACK_MIN, segset_bytes(log->set) / 64))
		(void)os->punch(log->active->fd, end);
}

/* Now that all of it is durable, say so, durably: a mark that says that the
 * end is clean, and the end note. */
static enum kvlog_status
attest_end(struct log *log, struct kvlog_error *err)
{
	struct control_note note = {0};
	struct sync_plan plan;
	enum kvlog_status st = log_mark(log, true, err);

	if (st != KVLOG_OK)
		return st;
	pthread_mutex_lock(&log->sync_lock);
	plan_sync(log, &plan, ARRAY_LEN(plan.sealed), true);
	st = run_sync(log, &plan, err);
	pthread_mutex_unlock(&log->sync_lock);
	if (st != KVLOG_OK)
		return st;
	memcpy(note.uuid, log->active->header.store.uuid, 16);
	note.segment = segment_number(log->active);
	note.salt = log->active->header.salt;
	note.end = segment_end(log->active);
	note.last_seq = atomic_load(&log->last_seq);
	return control_write_note(log->control, &note, err);
}

enum kvlog_status
log_close(struct log *log, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (atomic_load(&log->broken))
		return broken(err);
	st = log_sync(log, log->next_seq - 1, err);
	if (st == KVLOG_OK && log->dirty)
		st = attest_end(log, err);
	if (st != KVLOG_OK)
		return st;
	while (log_write_hint(log))
		;
	if (log->dirty)
		give_slack_back(log);
	return KVLOG_OK;
}
