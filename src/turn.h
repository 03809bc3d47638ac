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

#endif
