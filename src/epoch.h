/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoch.h - deferred freeing: what a writer takes out of a shared structure
 * is freed only when no reader can still be looking at it.
 *
 * Epoch-based reclamation (K. Fraser, "Practical lock-freedom", 2004), with
 * readers counted per epoch in a few cache lines instead of registered, so
 * that threads need not be known.
 */
#ifndef EPOCH_H
#define EPOCH_H

#include "base.h"

struct epoch;

/* What a reader holds between enter and leave. */
struct epoch_token {
	uint32_t epoch;
	uint32_t slot;
};

int epoch_create(struct epoch **ret_epoch); /* 0 or ENOMEM */

/* Frees everything that waits.  No reader may be inside.  NULL is fine. */
void epoch_destroy(struct epoch *epoch);

/* A reader's section.  Any thread, any nesting; never waits. */
struct epoch_token epoch_enter(struct epoch *epoch);
void epoch_leave(struct epoch *epoch, struct epoch_token token);

/*
 * Call fn(arg) once no reader that is inside now can be inside still.  Needs
 * no memory: node lies in the object to be freed.  Callers exclude each
 * other.
 */
struct epoch_node {
	struct epoch_node *next;
	void (*fn)(void *arg);
	void *arg;
	uint64_t epoch;
};
void epoch_retire(struct epoch *epoch, struct epoch_node *node,
    void (*fn)(void *arg), void *arg);

/* Whether nothing waits.  Callers as above. */
bool epoch_is_empty(const struct epoch *epoch);

/* Free what can be freed now; cheap when there is nothing.  Callers exclude
 * each other and epoch_retire(). */
void epoch_reclaim(struct epoch *epoch);

#endif
