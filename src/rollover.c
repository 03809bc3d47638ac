/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollover.c - from a full segment to the next one.
 *
 * The next segment is made beforehand (the spare) or, if that was too late or
 * it is too small, by the commit that needs it.  Its link seals the old one;
 * then it gets its name, and then it is published.  Whatever fails, fails
 * before the old segment is anything but what it was.
 */
#include "config.h"

#include "rollover.h"

#include "repair.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The active segment's successor as it should be now. */
static struct segment_plan
plan_next(const struct log *log, const char *name)
{
	return (struct segment_plan){
	    .name = name,
	    .store = &log->active->header.store,
	    .number = segment_number(log->active) + 1,
	    .max_size = log->segment_size,
	    .size = repair_segment_size(log->set, log->segment_size),
	};
}

/* The spare, if it can hold need bytes, or a segment made now. */
static enum kvlog_status
take_spare(struct log *log, uint64_t need, bool may_use_reserve,
    struct segment **ret_seg, struct kvlog_error *err)
{
	struct segment_plan plan;
	enum kvlog_status st;
	bool reserve = false;

	if (log->spare != NULL && log_room(log->spare) >= need) {
		*ret_seg = log->spare;
		log->spare = NULL;
		return KVLOG_OK;
	}
	log_drop_spare(log); /* too small */
	plan = plan_next(log, DIR_SPARE_NAME);
	plan.need = need;
	plan.may_use_reserve = may_use_reserve;
	st = repair_new_segment(log->dir, &plan, ret_seg, &reserve, err);
	if (reserve)
		log->reserve_used = true;
	return st;
}

enum kvlog_status
log_roll_over(struct log *log, uint64_t need, bool may_use_reserve,
    struct kvlog_error *err)
{
	struct segment *old = log->active, *seg;
	struct kvlog_error cause;
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
		err_sys(&cause, rc,
		    "publish %s/%s failed; close the store, see to the disk, "
		    "and open it again",
		    log->dir->path, seg->name);
		return log_break(log, &cause, err);
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
	struct segment_plan plan;
	bool wanted;

	pthread_mutex_lock(&log->turn);
	wanted = log->spare_wanted && log->spare == NULL &&
		 !atomic_load(&log->broken);
	log->spare_wanted = false;
	plan = plan_next(log, "next.tmp");
	store = *plan.store; /* what follows is done without the turn */
	plan.store = &store;
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

enum kvlog_status
log_make_room(struct log *log, uint64_t size, bool may_use_reserve,
    struct kvlog_error *err)
{
	struct segment *seg = log->active;

	if (LIKELY(size <= log_room(seg) &&
		   (segment_end(seg) + size <= seg->allocated ||
		       segment_allocate(seg, segment_end(seg) + size) == 0)))
		return KVLOG_OK;
	return log_roll_over(log, size, may_use_reserve, err);
}

enum kvlog_status
log_reserve_room(
    struct log *log, uint64_t size, bool only_deletes, struct kvlog_error *err)
{
	if ((log->reserve_used || log->dir->name_reserve_used) &&
	    !only_deletes) {
		int rc = repair_make_reserve(log->dir, log->segment_size);

		if (rc != 0)
			return err_sys(err, rc,
			    "%s/%s cannot be made; until it can, only deletes "
			    "are possible",
			    log->dir->path, DIR_RESERVE_NAME);
		log->reserve_used = false;
	}
	return log_make_room(log, size, only_deletes, err);
}

/* Space behind the end that is worth giving back while nobody writes; it is
 * allocated again when the store is next opened for writing. */
#define SLACK_MIN (UINT64_C(1) << 20)

void
log_give_slack_back(struct log *log)
{
	uint64_t end = round_up(segment_end(log->active), BLOCK_SIZE);
	uint64_t slack =
	    log->active->allocated - min_u64(end, log->active->allocated);

	if (slack > max_u64(SLACK_MIN, segset_bytes(log->set) / 64))
		(void)os->punch(log->active->fd, end);
}
