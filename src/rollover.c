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

/* A segment in the making: another process may use a spare, which is therefore
 * whole for as long as it has its name. */
#define NEW_NAME "segment.tmp"

/* A new segment costs some milliseconds: it has room for some commits like the
 * last one, if it is large ... */
#define COMMITS_MIN 16
#define COMMITS_LEN (UINT64_C(16) << 20) /* but for no more than this */
/* ... which are stored in huge pages from this size on.  Where each commit is
 * synced, all of a huge page would be written with it. */
#define HUGE_NEED (UINT64_C(256) << 10)

uint64_t
log_segment_size(const struct log *log)
{
	return repair_segment_size(log->view->set, log->segment_size,
	    atomic_load(&log->small_segments));
}

static uint64_t
next_size(const struct log *log)
{
	uint64_t need = log->last_need;

	need = SEGMENT_DATA_OFF +
	       min_u64(COMMITS_MIN * need, max_u64(need, COMMITS_LEN));
	return max_u64(log_segment_size(log),
	    round_up(min_u64(need, log->segment_size), BLOCK_SIZE));
}

/* The active segment's successor as it should be now. */
struct segment_plan
log_plan_next(const struct log *log, const char *name)
{
	const struct segment *active = log_active(log);

	return (struct segment_plan){
	    .name = name,
	    .store = &active->header.store,
	    .number = segment_number(active) + 1,
	    .max_size = log->segment_size,
	    .size = next_size(log),
	    .huge = log->last_need >= HUGE_NEED && !log->synced_closely,
	};
}

/* A spare that another process has made; NULL: there is none that fits. */
static struct segment *
open_spare(struct log *log, uint64_t need)
{
	const struct file_id id =
	    file_id_plain(segment_number(log_active(log)) + 1);
	struct segment *seg;
	struct os_stat st;

	if (segment_open_header(log->dir, DIR_SPARE_NAME, &id, &seg, NULL) !=
	    KVLOG_OK)
		return NULL;
	if (os->stat(seg->fd, &st) == 0 && st.link_count <= 1 &&
	    seg->header.kind == SEGMENT_PLAIN && !seg->link_ok &&
	    memcmp(&seg->header.store, &log_active(log)->header.store,
		sizeof seg->header.store) == 0 &&
	    log_room(seg) >= need &&
	    segment_share_writing(seg, log->dir, NULL) == KVLOG_OK)
		return seg;
	segment_close(seg);
	return NULL;
}

/* The spare, if it can hold need bytes, or a segment made now. */
static enum kvlog_status
take_spare(struct log *log, uint64_t need, bool may_use_reserve,
    struct segment **ret_seg, struct kvlog_error *err)
{
	struct segment_plan plan = log_plan_next(log, NEW_NAME);
	enum kvlog_status st;
	bool reserve = false;

	log_check_spare(log);
	*ret_seg = log->spare;
	log->spare = NULL;
	if (*ret_seg != NULL && log_room(*ret_seg) >= need)
		return KVLOG_OK;
	log_close_segment(log, *ret_seg);
	if (log->control->shared) {
		*ret_seg = open_spare(log, need);
		if (*ret_seg != NULL)
			return KVLOG_OK;
	}
	os->unlink(log->dir->fd, DIR_SPARE_NAME); /* unfit */
	plan.need = need;
	plan.may_use_reserve = may_use_reserve;
	st = repair_new_segment(log->dir, &plan, ret_seg, &reserve, err);
	if (reserve)
		control_set_reserve_used(log->control, true);
	return st;
}

/* The link that seals the active segment. */
static struct segment_link
make_link(const struct log *log, bool new_range)
{
	const struct segment *active = log_active(log);
	uint64_t last_seq = log_last_seq(log);
	struct segment_link link = {
	    .prev_salt = active->header.salt,
	    .prev_end = segment_end(active),
	    .prev_last_seq = last_seq,
	    .first_seq = log->view->next_seq,
	    .durable = new_range || log_durable(log) >= last_seq,
	};

	if (new_range)
		link.first_seq = record_next_range(link.first_seq);
	return link;
}

/* Of a segment that has its name: the old one is sealed (INV-1), and this one
 * is published. */
static enum kvlog_status
publish(struct log *log, struct segment *old, struct segment *seg,
    struct kvlog_error *err)
{
	struct kvlog_error cause;
	uint64_t position = control_pos(segment_number(seg), SEGMENT_DATA_OFF);
	int rc;

	view_seal(log->view, old, &seg->link);
	log->spare_wanted = true;
	rc = control_set_active_salt(log->control, seg->header.salt);
	if (rc == 0)
		rc = control_set_position(log->control, position);
	if (rc != 0) {
		err_sys(&cause, rc,
		    "publish %s/%s failed; close the store, see to the disk, "
		    "and open it again",
		    log->dir->path, seg->name);
		return log_break(log, &cause, err);
	}
	atomic_store_explicit(
	    &log->view->applied, position, memory_order_release);
	if (log->wake != NULL)
		log->wake(log->wake_arg);
	return KVLOG_OK;
}

/* The next segment begins a new range of numbers: all before it is durable,
 * and so is its name before it is used. */
enum kvlog_status
log_roll_over(struct log *log, uint64_t need, bool may_use_reserve,
    bool new_range, struct kvlog_error *err)
{
	const struct segment_link link = make_link(log, new_range);
	struct segment *old = log_active(log), *seg;
	enum kvlog_status st;
	int rc;

	log->last_need = need;
	if (link.first_seq > RECORD_SEQ_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "%s: no sequence numbers are left; dump the store into a "
		    "new one",
		    log->dir->path);
	st = take_spare(log, need, may_use_reserve, &seg, err);
	if (st != KVLOG_OK)
		return st;
	rc = segment_store_link(seg, &link);
	if (rc == 0 && new_range)
		rc = os->sync(seg->fd);
	if (rc != 0) {
		st = err_sys(
		    err, rc, "write to %s/%s", log->dir->path, seg->name);
		goto fail;
	}
	st = segset_add(log->view->set, seg, err);
	if (st != KVLOG_OK)
		goto fail;
	rc = segment_take_name(seg, log->dir);
	if (rc == 0 && new_range)
		rc = os->sync_dir(log->dir->fd);
	if (rc != 0) {
		st = err_sys(err, rc, "name segment %" PRIu32 " of %s",
		    segment_number(seg), log->dir->path);
		os->unlink(log->dir->fd, seg->name);
		log_close_segment(log, segset_take_last(log->view->set));
		return st;
	}
	return publish(log, old, seg, err);
fail:
	os->unlink(log->dir->fd, seg->name);
	log_close_segment(log, seg);
	return st;
}

enum kvlog_status
log_make_room(struct log *log, uint64_t size, bool may_use_reserve,
    struct kvlog_error *err)
{
	struct segment *seg = log_active(log);

	if (LIKELY(size <= log_room(seg) &&
		   (segment_end(seg) + size <= seg->allocated ||
		       segment_allocate(seg, segment_end(seg) + size) == 0)))
		return KVLOG_OK;
	return log_roll_over(log, size, may_use_reserve, false, err);
}

enum kvlog_status
log_find_room(
    struct log *log, uint64_t size, bool only_deletes, struct kvlog_error *err)
{
	if (log_lacks_reserve(log) && !only_deletes) {
		int rc = repair_make_reserve(log->dir, log->segment_size);

		if (rc != 0)
			return err_sys(err, rc,
			    "%s/%s cannot be made; until it can, only deletes "
			    "are possible",
			    log->dir->path, DIR_RESERVE_NAME);
		control_set_reserve_used(log->control, false);
	}
	return log_make_room(log, size, only_deletes, err);
}

/* Space behind the end that is worth giving back while nobody writes; it is
 * allocated again when the store is next opened for writing. */
#define SLACK_MIN (UINT64_C(1) << 20)

void
log_give_slack_back(struct log *log)
{
	const struct segment *active = log_active(log);
	uint64_t end = round_up(segment_end(active), BLOCK_SIZE);
	uint64_t slack = active->allocated - min_u64(end, active->allocated);

	if (slack > max_u64(SLACK_MIN, segset_bytes(log->view->set) / 64))
		(void)os->punch(active->fd, end);
}
