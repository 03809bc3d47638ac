/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closing.c - what makes the next opening fast and sure: hint files, the mark
 * of a clean end, the end note.
 */
#include "config.h"

#include "closing.h"

#include "commit.h"
#include "rollover.h"
#include "sync.h"

#include <string.h>

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
		    !s->damaged && !s->hint_failed && s->last_seq <= evidence)
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

/* Now that all of it is durable, say so, durably: a mark that says that the
 * end is clean, and the end note. */
static enum kvlog_status
attest_end(struct log *log, struct kvlog_error *err)
{
	struct control_note note = {0};
	enum kvlog_status st = log_mark(log, true, err);

	if (st != KVLOG_OK)
		return st;
	st = log_sync_mark(log, err);
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
		return log_broken(err);
	st = log_sync(log, log->next_seq - 1, err);
	if (st == KVLOG_OK && log->dirty)
		st = attest_end(log, err);
	if (st != KVLOG_OK)
		return st;
	while (log_write_hint(log))
		;
	if (log->dirty)
		log_give_slack_back(log);
	(void)control_set_closed(log->control);
	return KVLOG_OK;
}
