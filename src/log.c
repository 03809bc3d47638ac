/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c - the state that commits, rollovers and syncs of an open store share:
 * how it begins, and how it breaks.
 */
#include "config.h"

#include "log.h"

#include <inttypes.h>
#include <string.h>

/* What the log attests durably: after a repair all before the new range;
 * otherwise what the last close noted, its mark being durable. */
static uint64_t
known_evidence(const struct log *log, const struct recovery *recovery)
{
	const struct segment_store *store = &log_active(log)->header.store;
	struct control_note note;

	if (recovery->unclean)
		return recovery->first_seq - 1;
	if (!control_read_note(log->control, &note) ||
	    memcmp(note.uuid, store->uuid, sizeof store->uuid) != 0)
		return 0;
	return min_u64(note.last_seq, recovery->last_seq);
}

/* Lay the control page out: after a repair everything before the new range is
 * durable; what was never written is not, whatever the page said. */
static enum kvlog_status
format_page(struct log *log, const struct recovery *r, struct kvlog_error *err)
{
	struct control_state state = {
	    .active_salt = log_active(log)->header.salt,
	    .position = recovery_end_pos(log_active(log)),
	    .durable = r->unclean ? r->first_seq - 1
				  : min_u64(r->state.durable, r->first_seq - 1),
	    .generation = control_generation(log->control),
	};

	state.synced = r->unclean ? state.position : r->state.synced;
	/* Whoever follows a log that was closed and is opened again need not
	 * look at its files anew. */
	if (!r->warm || r->unclean)
		state.generation++;
	log->evidence_synced = log->view->evidence = known_evidence(log, r);
	log->was_dirty = !r->unclean && state.durable < r->last_seq;
	return control_format(log->control, &state, err);
}

enum kvlog_status
log_init(struct log *log, struct dir *dir, struct control *control,
    struct views *views, uint64_t segment_size, uint32_t timeout_ms,
    const struct recovery *recovery, struct kvlog_error *err)
{
	pthread_condattr_t attr;
	enum kvlog_status st = KVLOG_OK;

	memset(log, 0, sizeof *log);
	log->dir = dir;
	log->control = control;
	log->views = views;
	log->view = atomic_load(&views->view);
	log->segment_size = segment_size;
	log->timeout_ms = timeout_ms;

	pthread_mutex_init(&log->turn_lock, NULL);
	pthread_mutex_init(&log->wait_lock, NULL);
	pthread_mutex_init(&log->sync_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&log->synced, &attr);
	pthread_condattr_destroy(&attr);

	if (recovery == NULL) { /* others write: what they did is not known */
		log->was_dirty = true;
	} else {
		st = format_page(log, recovery, err);
		atomic_store(&log->view->applied, control_position(control));
		view_note_page(views, log->view);
		log->view->follows = true;
	}
	log->start_pos = atomic_load(&log->view->applied);
	return st;
}

/* Whether the file of that name is this one still. */
static bool
is_spare(const struct log *log)
{
	struct os_stat st;

	return os->stat_name(log->dir->fd, DIR_SPARE_NAME, &st) == 0 &&
	       st.dev == log->spare->dev && st.ino == log->spare->ino;
}

void
log_close_segment(struct log *log, struct segment *seg)
{
	if (seg != NULL && seg == log->preparing)
		log->forsaken = true;
	else
		segment_close(seg);
}

/* Another process may have taken it, rolled over without it, or put another
 * one in its place. */
void
log_check_spare(struct log *log)
{
	if (log->spare == NULL || (segment_number(log->spare) ==
					  segment_number(log_active(log)) + 1 &&
				      (!log->control->shared || is_spare(log))))
		return;
	log_close_segment(log, log->spare);
	log->spare = NULL;
}

void
log_drop_spare(struct log *log)
{
	log_check_spare(log);
	if (log->spare == NULL)
		return;
	os->unlink(log->dir->fd, DIR_SPARE_NAME);
	log_close_segment(log, log->spare);
	log->spare = NULL;
}

void
log_fini(struct log *log)
{
	if (log->dir == NULL)
		return;
	if (!log->control->shared) /* else the file may be another's by now */
		log_drop_spare(log);
	segment_close(log->spare);
	pthread_cond_destroy(&log->synced);
	pthread_mutex_destroy(&log->turn_lock);
	pthread_mutex_destroy(&log->wait_lock);
	pthread_mutex_destroy(&log->sync_lock);
	log->dir = NULL;
}

enum kvlog_status
log_broken(struct log *log, struct kvlog_error *err)
{
	if (err == NULL)
		return KVLOG_BROKEN;
	pthread_mutex_lock(&log->wait_lock);
	*err = log->cause;
	pthread_mutex_unlock(&log->wait_lock);
	err->status = KVLOG_BROKEN;
	return KVLOG_BROKEN;
}

void
log_wake_waiters(struct log *log)
{
	pthread_mutex_lock(&log->wait_lock);
	pthread_cond_broadcast(&log->synced);
	pthread_mutex_unlock(&log->wait_lock);
}

enum kvlog_status
log_refuse(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err)
{
	pthread_mutex_lock(&log->wait_lock);
	if (!atomic_load(&log->broken))
		log->cause = *cause;
	atomic_store(&log->broken, true);
	pthread_cond_broadcast(&log->synced);
	pthread_mutex_unlock(&log->wait_lock);
	if (err != NULL)
		*err = *cause;
	return cause->status;
}

enum kvlog_status
log_break(
    struct log *log, const struct kvlog_error *cause, struct kvlog_error *err)
{
	(void)control_set_poison(log->control);
	return log_refuse(log, cause, err);
}

enum kvlog_status
log_sync_failed(struct log *log, int rc, struct kvlog_error *err)
{
	struct kvlog_error cause;

	err_set(&cause, KVLOG_BROKEN, rc,
	    "sync of %s failed; commits after number %" PRIu64
	    " may not survive a crash.  Close the store, see to the disk, and "
	    "open it again",
	    log->dir->path, log_durable(log));
	return log_break(log, &cause, err);
}

enum kvlog_status
log_tell_health(struct log *log, struct kvlog_error *err)
{
	struct kvlog_error cause;

	if (atomic_load_explicit(&log->broken, memory_order_relaxed))
		return log_broken(log, err);
	err_set(&cause, KVLOG_BROKEN, 0,
	    "a sync of %s failed in another process; commits after number "
	    "%" PRIu64 " may not survive a crash.  Close the store in all "
	    "processes, see to the disk, and open it again",
	    log->dir->path, log_durable(log));
	return log_refuse(log, &cause, err);
}
