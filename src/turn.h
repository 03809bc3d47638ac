/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn.h - the turn to write: one commit at a time, of all processes and
 * threads.
 */
#ifndef TURN_H
#define TURN_H

#include "base.h"
#include "log.h"

/*
 * Take the turn: the view then shows all that is published, and what a writer
 * left that died in its turn is in order.  KVLOG_BUSY: another process has had
 * it for too long.  KVLOG_BROKEN: a sync failed, here or elsewhere.
 * KVLOG_NOMEM, _IO, _NOSPACE: the view could not be brought up to date, or what
 * was left not be put in order.
 */
enum kvlog_status log_take_turn(struct log *log, struct kvlog_error *err);
/* The same for the maintenance thread, which would never get it from those who
 * commit without a pause: they let it pass. */
enum kvlog_status log_await_turn(struct log *log, struct kvlog_error *err);

/* The same in two steps, the first of which keeps other threads out and never
 * fails; after a failure of the second, nothing is held. */
static inline void
log_enter(struct log *log)
{
	views_give_way(log->views);
	views_enter(log->views);
}
enum kvlog_status log_take_turn_inside(
    struct log *log, struct kvlog_error *err);

void log_release_turn(struct log *log);

/*
 * The right to change the content, kept from one turn to another; a
 * transaction's.  Marks, rollovers and what compaction does go on meanwhile.
 */
struct ownership {
	uint64_t number; /* of all of this handle; 0: of nobody */
	uint32_t idle_ms;
	uint64_t now_ms;   /* the time of its beginning, as view_now_ms() */
	uint64_t renew_ns; /* when the next log_keep() puts the end off */
	uint64_t next_seq; /* of the commit that was to come next */
	bool numbered;     /* and the owner's has to be that one */
};

/*
 * Wait until nobody else has it, and have it: KVLOG_OK, or as log_take_turn();
 * KVLOG_BUSY also of an owner that did not end in time.  It lasts until
 * log_disown(), which does nothing if it has ended; but whoever waits may end
 * it when the last log_keep() was idle_ms ago.
 */
enum kvlog_status log_own(struct log *log, uint32_t idle_ms,
    struct ownership *ret_own, struct kvlog_error *err);
/* Before each use: KVLOG_TIMEOUT if somebody has ended it. */
enum kvlog_status log_keep(
    struct log *log, struct ownership *own, struct kvlog_error *err);
void log_disown(struct log *log, const struct ownership *own);
/* After a look at the content: it was that which the owner left, for until now
 * nobody else has committed. */
static inline bool
log_still_owns(const struct log *log, const struct ownership *own)
{
	return atomic_load_explicit(&log->owner, memory_order_acquire) ==
		   own->number &&
	       control_is_owner(log->control);
}
/* KVLOG_TIMEOUT: it does not any more. */
enum kvlog_status log_lost(const struct log *log, struct kvlog_error *err);

/*
 * With the turn, before the content is changed by this owner, or if it is NULL
 * by nobody: let it be he who owns the turn, or wait until nobody does.  After
 * a failure the turn is not held: KVLOG_TIMEOUT if it is not he any more.
 */
enum kvlog_status log_pass_owner(
    struct log *log, const struct ownership *own, struct kvlog_error *err);
/* With the turn, which nobody owns from here on; or an errno value: then it is
 * to be tried again, by this process or by anybody at its time. */
int log_end_ownership(struct log *log);

/* Take the turn for a change of the content, after log_enter(). */
static inline enum kvlog_status
log_take_turn_to_write(
    struct log *log, const struct ownership *own, struct kvlog_error *err)
{
	enum kvlog_status st = log_take_turn_inside(log, err);

	if (LIKELY(st == KVLOG_OK && own == NULL &&
		   !control_is_owned(log->control)))
		return st;
	return st == KVLOG_OK ? log_pass_owner(log, own, err) : st;
}

#endif
