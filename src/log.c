/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c - the state that commits, rollovers and syncs of an open store share:
 * how it begins, and how it breaks.
 */
#include "config.h"

#include "log.h"

#include <string.h>

/* Sealed segments that are durable need no sync, and so no descriptor.  One
 * whose last commit is the last durable one may end in a mark that is not:
 * only the sync of a commit behind it has covered that. */
static void
mark_synced(struct log *log)
{
	uint64_t durable = atomic_load(&log->durable);

	for (size_t i = 0; i + 1 < log->set->count; i++) {
		struct segment *seg = log->set->segments[i];

		if (seg->header.kind == SEGMENT_PLAIN &&
		    seg->last_seq >= durable)
			break; /* nor are those behind it */
		seg->synced = true;
		segment_close_fd(seg);
	}
}

/* What the log attests durably: after a repair all before the new range;
 * otherwise what the last close noted, its mark being durable. */
static uint64_t
known_evidence(const struct log *log, const struct recovery *recovery)
{
	const struct segment_store *store = &log->active->header.store;
	struct control_note note;

	if (recovery->unclean)
		return recovery->first_seq - 1;
	if (!control_read_note(log->control, &note) ||
	    memcmp(note.uuid, store->uuid, sizeof store->uuid) != 0)
		return 0;
	return min_u64(note.last_seq, recovery->last_seq);
}

enum kvlog_status
log_init(struct log *log, struct dir *dir, struct control *control,
    struct hintset *hints, struct index *index, uint64_t segment_size,
    const struct recovery *recovery, struct kvlog_error *err)
{
	struct segset *set = hints->set;
	pthread_condattr_t attr;
	struct control_state state = {0};

	memset(log, 0, sizeof *log);
	log->dir = dir;
	log->control = control;
	log->set = set;
	log->hints = hints;
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
	log->evidence = known_evidence(log, recovery);
	log->evidence_synced = log->evidence;
	log->dirty = !recovery->unclean &&
		     atomic_load(&log->durable) < recovery->last_seq;
	/* The last writer may have been killed between a rollover and the
	 * sync of its name; not if a commit behind that name is durable, nor
	 * after a repair, nor as long as there is but the first segment, whose
	 * name is durable before the page is valid. */
	log->names_unsynced =
	    !recovery->unclean && segment_number(log->active) > 1 &&
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
	state.position = recovery_end_pos(log->active);
	state.durable = atomic_load(&log->durable);
	log->synced_pos =
	    recovery->unclean ? state.position : recovery->state.synced;
	state.synced = log->synced_pos;
	state.generation = recovery->state.generation + 1;
	return control_format(control, &state, err);
}

void
log_drop_spare(struct log *log)
{
	if (log->spare == NULL)
		return;
	os->unlink(log->dir->fd, DIR_SPARE_NAME);
	segment_close(log->spare);
	log->spare = NULL;
}

void
log_fini(struct log *log)
{
	if (log->dir == NULL)
		return;
	log_drop_spare(log);
	pthread_cond_destroy(&log->synced);
	pthread_mutex_destroy(&log->wait_lock);
	pthread_mutex_destroy(&log->sync_lock);
	pthread_mutex_destroy(&log->turn);
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
