/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollover.h - room for records: the active segment and its successor.
 * All are called with the turn held.
 */
#ifndef ROLLOVER_H
#define ROLLOVER_H

#include "log.h"
#include "repair.h"

/*
 * Seal the active segment by the link of a new one that has room for need
 * bytes.  On failure the active segment is as it was.  new_range: all before
 * it is durable, and its commits are numbered anew (INV-4); its name is durable
 * before they are published.
 */
enum kvlog_status log_roll_over(struct log *log, uint64_t need,
    bool may_use_reserve, bool new_range, struct kvlog_error *err);

/* What the next segment is sized, if nothing longer is to be stored. */
uint64_t log_segment_size(const struct log *log);

/* The next segment as it should be made now. */
struct segment_plan log_plan_next(const struct log *log, const char *name);

/* Make sure that there is room for size bytes, with disk space, in the active
 * segment or else in a new one. */
enum kvlog_status log_make_room(struct log *log, uint64_t size,
    bool may_use_reserve, struct kvlog_error *err);

/* The same; unless only deletes are to be stored, the reserve must be whole,
 * too. */
enum kvlog_status log_find_room(
    struct log *log, uint64_t size, bool only_deletes, struct kvlog_error *err);
static inline bool
log_lacks_reserve(const struct log *log)
{
	return control_reserve_used(log->control) ||
	       log->dir->name_reserve_used;
}
static inline enum kvlog_status
log_reserve_room(
    struct log *log, uint64_t size, bool only_deletes, struct kvlog_error *err)
{
	const struct segment *seg = log_active(log);

	if (LIKELY(size <= log_room(seg) &&
		   segment_end(seg) + size <= seg->allocated &&
		   !log_lacks_reserve(log)))
		return KVLOG_OK;
	return log_find_room(log, size, only_deletes, err);
}

/* At close: give space behind the end back if it is worth it. */
void log_give_slack_back(struct log *log);

#endif
