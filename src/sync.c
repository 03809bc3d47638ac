/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.c - from published to durable.
 *
 * A sync covers all segments that are not synced yet, the oldest first, after
 * the directory (INV-3), and `durable` moves only over a prefix that has been
 * covered.  Whoever waits for the
 * sync lock finds, more often than not, that the sync before has covered its
 * commit too: that is group commit.  A sync that fails is never tried again,
 * for the kernel may have dropped the pages it could not write.
 */
#include "config.h"

#include "sync.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* What one sync has to cover. */
struct sync_plan {
	struct segment *sealed[64]; /* oldest first */
	size_t sealed_count;
	struct segment *active; /* NULL: more sealed ones than fit come first */
	bool names;
	uint64_t seq;      /* durable when it has succeeded */
	uint64_t evidence; /* ... and what is attested durably then */
	uint64_t position; /* ... and where it ends */
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
		plan->position = recovery_end_pos(set->segments[i]);
	}
	if (with_active && first + plan->sealed_count + 1 == set->count) {
		plan->active = log->active;
		plan->seq = log->next_seq - 1;
		plan->evidence = log->evidence;
		plan->position = recovery_end_pos(log->active);
	}
	plan->names = log->names_unsynced;
	log->names_unsynced = false;
	pthread_mutex_unlock(&log->turn);
}

/* One that was found at opening has no descriptor. */
static int
sync_sealed(struct log *log, struct segment *seg)
{
	bool opened;
	int rc = segment_open_fd(seg, log->dir, &opened);

	if (rc == 0)
		rc = os->sync(seg->fd);
	if (opened)
		segment_close_fd(seg);
	return rc;
}

/* With sync_lock held.  A failure breaks the log for good. */
static enum kvlog_status
run_sync(struct log *log, const struct sync_plan *plan, struct kvlog_error *err)
{
	struct kvlog_error cause;
	int rc;

	if (!control_is_named(log->control, log->dir)) {
		err_set(&cause, KVLOG_BROKEN, 0,
		    "%s/%s was removed or replaced while the store was open, "
		    "so another process may write to it; commits after number "
		    "%" PRIu64 " may be lost",
		    log->dir->path, DIR_LOCK_NAME, atomic_load(&log->durable));
		return log_break(log, &cause, err);
	}
	rc = control_set_syncing(log->control, true);
	if (rc == 0 && plan->names)
		rc = os->sync_dir(log->dir->fd);
	for (size_t i = 0; i < plan->sealed_count && rc == 0; i++)
		rc = sync_sealed(log, plan->sealed[i]);
	if (rc == 0 && plan->active != NULL)
		rc = os->sync(plan->active->fd);
	if (rc != 0) {
		err_set(&cause, KVLOG_BROKEN, rc,
		    "sync of %s failed; commits after number %" PRIu64
		    " may not survive a crash.  Close the store, see to the "
		    "disk, and open it again",
		    log->dir->path, atomic_load(&log->durable));
		return log_break(log, &cause, err);
	}
	for (size_t i = 0; i < plan->sealed_count; i++) {
		plan->sealed[i]->synced = true;
		segment_close_fd(plan->sealed[i]);
	}
	log->evidence_synced = max_u64(log->evidence_synced, plan->evidence);
	if (plan->position > log->synced_pos) {
		log->synced_pos = plan->position;
		(void)control_set_synced(log->control, plan->position);
	}
	if (plan->seq > atomic_load(&log->durable)) {
		atomic_store(&log->durable, plan->seq);
		(void)control_set_durable(log->control, plan->seq);
		log_wake_waiters(log);
		if (!atomic_exchange(&log->unattested, true) &&
		    log->wake != NULL)
			log->wake(log->wake_arg);
	}
	(void)control_set_syncing(log->control, false);
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
			st = log_broken(log, err);
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
	until.tv_sec += (time_t)(timeout_ms / 1000);
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

enum kvlog_status
log_sync_mark(struct log *log, struct kvlog_error *err)
{
	struct sync_plan plan;
	enum kvlog_status st;

	pthread_mutex_lock(&log->sync_lock);
	if (atomic_load(&log->broken)) {
		st = log_broken(log, err);
	} else {
		plan_sync(log, &plan, ARRAY_LEN(plan.sealed), true);
		st = run_sync(log, &plan, err);
	}
	pthread_mutex_unlock(&log->sync_lock);
	return st;
}
