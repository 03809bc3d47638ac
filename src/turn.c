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
 *
 * OWNERS.  Who commits takes a turn in which nobody owns the right to, or only
 * he.  The word of the owner is changed under the turn; so an owner that finds
 * it to be his knows that nobody else has committed until then, and one that
 * finds it so in his turn, that nobody will before its end.
 *
 * To an owner the time stands still.  So what expires meanwhile stays in its
 * place until he has gone: a compaction that begins does not judge by a later
 * time than his, which it reads in a turn, as he has set it.
 *
 * Those who wait look every now and then, and get the turn as others do once
 * the owner has gone.  A process that would begin one transaction after the
 * other lets those who wait look first.
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

/* Owners */

/* How long those who wait for an owner sleep between two looks, and how long
 * who has been one gives them for a look. */
#define LOOK_MIN_NS (20 * 1000)
#define LOOK_MAX_NS (500 * 1000)
#define LET_LOOK_NS (2 * 1000 * 1000)
#define LET_LOOK_MS 3

/* A name for the calling thread: no other one has it at the same time. */
static uintptr_t
this_thread(void)
{
	static _Thread_local char self;

	return (uintptr_t)&self;
}

enum kvlog_status
log_lost(const struct log *log, struct kvlog_error *err)
{
	return err_set(err, KVLOG_TIMEOUT, 0,
	    "the transaction on %s did nothing for too long, and was ended "
	    "because others had to write; nothing of it was written",
	    log->dir->path);
}

/* Why the owner is not waited for any longer. */
static enum kvlog_status
tell_owner(const struct log *log, bool own_thread, struct kvlog_error *err)
{
	const char *path = log->dir->path;
	uint64_t pid = control_owner_pid(log->control);

	if (own_thread)
		return err_set(err, KVLOG_BUSY, 0,
		    "this thread has a transaction open on %s: write in it, or "
		    "end it first",
		    path);
	if (control_is_owner(log->control))
		return err_set(err, KVLOG_BUSY, 0,
		    "another transaction of this process is open on %s and was "
		    "not ended in time",
		    path);
	if (pid == 0)
		return err_set(err, KVLOG_BUSY, 0,
		    "a transaction is open on %s and was not ended in time",
		    path);
	return err_set(err, KVLOG_BUSY, 0,
	    "process %" PRIu64
	    " has a transaction open on %s and did not end it in time",
	    pid, path);
}

/* Whether what the word of the owner says is over.  It may be this handle's,
 * of an ownership that was given up without the turn. */
static bool
owner_has_ended(const struct log *log)
{
	return (control_is_owner(log->control) &&
		   atomic_load(&log->owner) == 0) ||
	       control_owner_ended(log->control);
}

/* Without the turn: until there may be no owner any more, or until the
 * deadline; false: then, or it is of no use. */
static bool
wait_for_owner(struct log *log, uint64_t deadline, bool *ret_own_thread)
{
	struct control *control = log->control;
	uint64_t pause = LOOK_MIN_NS, now;

	while (control_is_owned(control) && !owner_has_ended(log)) {
		*ret_own_thread =
		    control_is_owner(control) &&
		    atomic_load(&log->owner_thread) == this_thread();
		now = os->ticks_ns();
		if (*ret_own_thread || now >= deadline)
			return false;
		control_say_awaited(control);
		os->sleep_ns(min_u64(pause, deadline - now));
		pause = min_u64(2 * pause, LOOK_MAX_NS);
	}
	return true;
}

/* With the turn, which is kept if the result is KVLOG_OK. */
static enum kvlog_status
outlast_owner(struct log *log, struct kvlog_error *err)
{
	const uint64_t deadline = log_deadline(log);
	bool own_thread = false;
	enum kvlog_status st;

	while (control_is_owned(log->control)) {
		if (owner_has_ended(log)) {
			int rc = log_end_ownership(log);

			if (rc == 0)
				continue;
			log_release_turn(log);
			return err_sys(err, rc, "write the control page of %s",
			    log->dir->path);
		}
		log_release_turn(log);
		if (!wait_for_owner(log, deadline, &own_thread))
			return tell_owner(log, own_thread, err);
		st = log_take_turn(log, err);
		if (st != KVLOG_OK)
			return st;
	}
	return KVLOG_OK;
}

int
log_end_ownership(struct log *log)
{
	if (control_is_owner(log->control)) {
		atomic_store(&log->owner, 0);
		atomic_store(&log->owned_last, true);
	}
	return control_set_owner(log->control, 0, 0);
}

enum kvlog_status
log_pass_owner(
    struct log *log, const struct ownership *own, struct kvlog_error *err)
{
	if (own == NULL)
		return outlast_owner(log, err);
	if (log_still_owns(log, own))
		return KVLOG_OK;
	log_release_turn(log);
	return log_lost(log, err);
}

/* If this process had the turn last, and somebody waited for it: until he has
 * it, or has looked and did not want it any more. */
static void
let_others_look(struct log *log)
{
	uint64_t end;

	if (!atomic_exchange(&log->owned_last, false) || log->timeout_ms == 0 ||
	    !control_is_awaited(log->control, LET_LOOK_MS))
		return;
	end = os->ticks_ns() + LET_LOOK_NS;
	while (!control_is_owned(log->control) && os->ticks_ns() < end)
		os->sleep_ns(LOOK_MIN_NS);
}

/* How far off the end still is when it is put off. */
static uint64_t
renewal(uint32_t idle_ms)
{
	return os->ticks_ns() + idle_ms * UINT64_C(1000000) / 8;
}

enum kvlog_status
log_own(struct log *log, uint32_t idle_ms, struct ownership *ret_own,
    struct kvlog_error *err)
{
	enum kvlog_status st;
	uint64_t now_ms;
	int rc;

	let_others_look(log);
	log_enter(log);
	st = log_take_turn_to_write(log, NULL, err);
	if (st != KVLOG_OK)
		return st;
	/* The word comes last: a former ownership ends before it. */
	atomic_store(&log->owner, ++log->owner_count);
	atomic_store(&log->owner_thread, this_thread());
	now_ms = view_now_ms(log->view);
	rc = control_set_owner(log->control, idle_ms, now_ms);
	if (rc != 0)
		st = err_sys(
		    err, rc, "write the control page of %s", log->dir->path);
	else
		*ret_own = (struct ownership){.number = log->owner_count,
		    .idle_ms = idle_ms,
		    .now_ms = now_ms,
		    .renew_ns = renewal(idle_ms),
		    .next_seq = log->view->next_seq};
	log_release_turn(log);
	return st;
}

enum kvlog_status
log_keep(struct log *log, struct ownership *own, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (!log_still_owns(log, own))
		return log_lost(log, err);
	if (atomic_load_explicit(&log->owner_thread, memory_order_relaxed) !=
	    this_thread())
		atomic_store(&log->owner_thread, this_thread());
	if (LIKELY(os->ticks_ns() < own->renew_ns))
		return KVLOG_OK;
	log_enter(log);
	st = log_take_turn_to_write(log, own, err);
	if (st == KVLOG_OK) {
		(void)control_set_owner(
		    log->control, own->idle_ms, own->now_ms);
		own->renew_ns = renewal(own->idle_ms);
		log_release_turn(log);
	}
	/* What cannot be put off now can be later. */
	return st == KVLOG_TIMEOUT ? st : KVLOG_OK;
}

void
log_disown(struct log *log, const struct ownership *own)
{
	uint64_t number = own->number;

	if (!log_still_owns(log, own))
		return;
	log_enter(log);
	if (log_take_turn_to_write(log, own, NULL) == KVLOG_OK) {
		(void)log_end_ownership(log);
		log_release_turn(log);
		return;
	}
	/* The next one of this process clears the word, or anybody at its
	 * time. */
	atomic_compare_exchange_strong(&log->owner, &number, 0);
}
