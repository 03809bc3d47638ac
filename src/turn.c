/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn.c - taking turns, and what a writer leaves that is killed in its turn.
 *
 * Whoever has the turn first applies what others have published.  If the one
 * before died with it, one of these is found:
 *
 *     a segment that has its name, but is not   its link is whole: it is
 *     published                                 published now
 *     a commit that is stored, but not          its first word was stored last:
 *     published                                 it is whole, and published now
 *     bytes of a commit                         the segment ends before them
 *                                               (INV-4); a new one begins, in a
 *                                               new range of numbers
 *
 * Nobody was told that any of these commits was done, so that each of them may
 * be there or not.  The intent word stays set until all is in order: who dies
 * at this, or cannot do it now, leaves it to the next one.
 */
#include "config.h"

#include "turn.h"

#include "hint.h"
#include "repair.h"
#include "rollover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Apply what others have published. */
static enum kvlog_status
follow(struct log *log, struct kvlog_error *err)
{
	struct kvlog_error cause;
	bool stale;
	enum kvlog_status st =
	    view_catch_up(log->views, log->view, &stale, err);

	if (st != KVLOG_OK || !stale)
		return st;
	err_set(&cause, KVLOG_BROKEN, 0,
	    "what another process wrote to %s cannot be read in segment "
	    "%" PRIu32 " at offset %" PRIu64
	    "; close the store in all processes and run kvlog-verify",
	    log->dir->path, segment_number(log_active(log)),
	    control_pos_off(atomic_load(&log->view->applied)));
	return log_refuse(log, &cause, err);
}

/* Publish a segment that a dead writer has named. */
static enum kvlog_status
adopt_segment(struct log *log, struct kvlog_error *err)
{
	struct segment *active = log_active(log), *seg;
	const struct file_id id = file_id_plain(segment_number(active) + 1);
	char name[DIR_NAME_LEN];
	struct os_stat st_file;
	enum kvlog_status st;
	uint64_t salt;
	bool fits;
	int rc;

	dir_make_name(name, &id, "seg");
	rc = os->stat_name(log->dir->fd, name, &st_file);
	if (rc == ENOENT)
		return KVLOG_OK;
	if (rc != 0)
		return err_sys(err, rc, "look at %s/%s", log->dir->path, name);
	st = segment_open_header(log->dir, name, &id, &seg, err);
	if (st != KVLOG_OK)
		return st;
	fits = seg->link_ok && seg->link.prev_salt == active->header.salt &&
	       seg->link.prev_end == segment_end(active);
	salt = seg->header.salt;
	segment_close(seg);
	if (!fits)
		return err_set_at(err, KVLOG_CORRUPT, id.last, 0,
		    "%s/%s does not follow %s; close the store in all "
		    "processes and run kvlog-verify",
		    log->dir->path, name, active->name);
	/* It may begin a new range: then its name has to be durable. */
	rc = os->sync_dir(log->dir->fd);
	if (rc == 0)
		rc = control_set_active_salt(log->control, salt);
	if (rc == 0)
		rc = control_set_position(
		    log->control, control_pos(id.last, SEGMENT_DATA_OFF));
	if (rc != 0)
		return err_sys(err, rc, "write to %s/%s", log->dir->path, name);
	return follow(log, err);
}

/* Whether [from, to) of the active segment is one whole commit. */
static bool
is_commit(const struct log *log, uint64_t from, uint64_t to)
{
	const struct segment *seg = log_active(log);
	bool more = true;

	for (uint64_t off = from; off < to;) {
		const uint8_t *p = seg->map.addr + off;
		uint32_t seed = segment_seed(seg, off);
		bool first = off == from;
		struct record rec;

		if (!more || !record_parse(p, to - off, &rec) ||
		    !record_header_ok(p, &rec, seed) ||
		    !record_value_ok(&rec, seed) ||
		    first != ((rec.flags & RECORD_CONT) == 0))
			return false;
		if (rec.type != RECORD_MARK && rec.seq != log->view->next_seq)
			return false;
		more = (rec.flags & RECORD_MORE) != 0;
		off += rec.size;
	}
	return !more;
}

static bool
is_zero(const struct segment *seg, uint64_t from, uint64_t to)
{
	for (uint64_t off = from; off < to; off++)
		if (seg->map.addr[off] != 0)
			return false;
	return true;
}

/* By a descriptor of its own: the segment's is for syncs, which run beside the
 * turn. */
static int
sync_file(struct dir *dir, const struct segment *seg)
{
	int fd, rc = os->open(dir->fd, seg->name, OS_OPEN_READ, 0, &fd);

	if (rc != 0)
		return rc;
	rc = os->sync(fd);
	os->close(fd);
	return rc;
}

/* Sync all that is not known to be durable.  Whether a sync that another one
 * died in has failed, nobody knows: so it is stored again. */
static enum kvlog_status
sync_unsynced(struct log *log, struct kvlog_error *err)
{
	const struct segset *set = log->view->set;
	uint64_t synced = control_synced(log->control);
	int rc = os->sync_dir(log->dir->fd);

	for (size_t i = set->count; i > 0 && rc == 0; i--) {
		const struct segment *seg = set->segments[i - 1];

		if (recovery_end_pos(seg) <= synced)
			break;
		rc = repair_store_again(log->dir, seg, synced);
		if (rc == 0)
			rc = sync_file(log->dir, seg);
	}
	return rc == 0 ? KVLOG_OK : log_sync_failed(log, rc, err);
}

static enum kvlog_status
clean_up(struct log *log, struct kvlog_error *err)
{
	uint64_t intent = control_load(log->control, CONTROL_INTENT), end;
	enum kvlog_status st = adopt_segment(log, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	end = segment_end(log_active(log));
	if (intent > log_active(log)->header.size)
		intent = 0; /* was of the segment before */
	if (intent > end && is_commit(log, end, intent)) {
		rc = control_set_position(log->control,
		    control_pos(segment_number(log_active(log)), intent));
		st = rc == 0 ? follow(log, err)
			     : err_sys(err, rc, "write to %s", log->dir->path);
	} else if (intent > end && !is_zero(log_active(log), end, intent)) {
		st = sync_unsynced(log, err);
		if (st == KVLOG_OK)
			st = log_roll_over(log, 0, true, true, err);
	}
	if (st == KVLOG_OK)
		(void)control_set_intent(log->control, 0);
	return st;
}

/* Whoever is told of a death may fail before anything is in order, or die as
 * well: so that the next one sees it, an intent is set that stores nothing. */
static enum kvlog_status
note_death(struct log *log, struct kvlog_error *err)
{
	uint64_t end = control_pos_off(control_position(log->control));
	int rc = 0;

	if (control_load(log->control, CONTROL_INTENT) == 0)
		rc = control_set_intent(log->control, end);
	return rc == 0 ? KVLOG_OK
		       : err_sys(err, rc, "write to %s", log->dir->path);
}

/* Behind all others of this process that wait for others.  Nobody has the
 * views' lock meanwhile, which readers need. */
static enum kvlog_status
queue_for_turn(struct log *log, bool *ret_died, struct kvlog_error *err)
{
	const uint64_t deadline = log_deadline(log);
	enum kvlog_status st;

	log->queued++;
	pthread_mutex_unlock(&log->views->lock);
	pthread_mutex_lock(&log->turn_lock);
	st = control_take_turn(log->control, deadline, ret_died, err);
	if (st != KVLOG_OK)
		pthread_mutex_unlock(&log->turn_lock);
	views_enter(log->views);
	if (st == KVLOG_OK)
		log->by_queue = true;
	else
		log->queued--;
	return st;
}

/* The views' lock keeps other threads away.  To look at the clock costs as much
 * as the turn, so it is left for when there is somebody to wait for. */
static enum kvlog_status
pass(struct log *log, bool *ret_died, struct kvlog_error *err)
{
	struct control *control = log->control;
	enum kvlog_status st = KVLOG_BUSY;

	if (LIKELY(
		log->queued == 0 && control_load(control, CONTROL_WANTED) == 0))
		st = control_take_turn(control, 0, ret_died, err);
	if (LIKELY(st != KVLOG_BUSY))
		return st;
	return queue_for_turn(log, ret_died, err);
}

/* Whether segments were replaced by another process. */
static bool
is_outdated(const struct log *log)
{
	return log->view->generation != control_generation(log->control);
}

static bool
is_behind(const struct log *log)
{
	return atomic_load(&log->view->applied) !=
		   control_position(log->control) ||
	       is_outdated(log);
}

enum kvlog_status
log_take_turn_inside(struct log *log, struct kvlog_error *err)
{
	struct control *control = log->control;
	bool died = false, stale;
	enum kvlog_status st;

	/* To take in what a compaction has made takes longer than a commit:
	 * most of it is done before others have to wait.  What fails here
	 * fails in the turn. */
	if (UNLIKELY(is_outdated(log)))
		(void)view_catch_up(log->views, log->view, &stale, NULL);
	st = pass(log, &died, err);
	if (UNLIKELY(st != KVLOG_OK)) {
		pthread_mutex_unlock(&log->views->lock);
		return st;
	}
	if (UNLIKELY(died))
		st = note_death(log, err);
	if (st == KVLOG_OK)
		st = log_check_health(log, err);
	if (st == KVLOG_OK && UNLIKELY(is_behind(log)))
		st = follow(log, err);
	if (st == KVLOG_OK &&
	    UNLIKELY(control_load(control, CONTROL_INTENT) != 0))
		st = clean_up(log, err);
	if (UNLIKELY(st != KVLOG_OK))
		log_release_turn(log);
	return st;
}

enum kvlog_status
log_take_turn(struct log *log, struct kvlog_error *err)
{
	log_enter(log);
	return log_take_turn_inside(log, err);
}

enum kvlog_status
log_await_turn(struct log *log, struct kvlog_error *err)
{
	views_lock(log->views);
	return log_take_turn_inside(log, err);
}

void
log_release_turn(struct log *log)
{
	bool by_queue = log->by_queue;

	control_release_turn(log->control);
	if (UNLIKELY(by_queue)) {
		log->by_queue = false;
		log->queued--;
	}
	pthread_mutex_unlock(&log->views->lock);
	if (UNLIKELY(by_queue))
		pthread_mutex_unlock(&log->turn_lock);
}
