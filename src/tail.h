/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail.h - the keys that no hint covers yet, sorted for walks.
 *
 * The images that a walk has had made are kept for the next one, which has
 * only what came since to be sorted.
 *
 * Threads: tail_trim() and tail_rest() at any time; the rest between
 * tail_enter() and tail_leave().
 */
#ifndef TAIL_H
#define TAIL_H

#include "base.h"
#include "hintset.h"

#include <pthread.h>

struct tail {
	pthread_mutex_t lock;
	struct hint **images; /* of each segment in the order of the log */
	size_t count, cap;
	uint64_t walked_ns; /* when they were of use last */
};

void tail_init(struct tail *tail);
void tail_fini(struct tail *tail); /* all zeros is fine */

/*
 * From before the cover of a walk is noted, until it is built: so no image
 * knows of what is behind the end of the walk.  To be entered before a view's
 * lock.
 */
void tail_enter(struct tail *tail);
void tail_leave(struct tail *tail);

/* Put images in the place of the gaps of a cover, for walks alone. KVLOG_NOMEM,
 * or KVLOG_CORRUPT as hint_build(). */
enum kvlog_status tail_build(
    struct tail *tail, struct hint_cover *cover, struct kvlog_error *err);

/* Segments were replaced, with the view's lock held: let go of theirs. */
void tail_trim(struct tail *tail);

/* Let go of all if nobody has walked for some time. */
void tail_rest(struct tail *tail);

#endif
