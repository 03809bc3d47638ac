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

#include <stdatomic.h>

/* Readers that are inside are counted in so many cache lines.  The first two
 * counters of each are in use, one for either parity of a reader's epoch. */
#define EPOCH_LINES 64u
#define EPOCH_LINE_COUNTERS (CACHE_LINE / 4u)
#define EPOCH_COUNTERS (EPOCH_LINES * EPOCH_LINE_COUNTERS)

/* The fields are epoch.c's, and of what is inline here. */
struct epoch {
	_Alignas(CACHE_LINE) _Atomic uint64_t now;

	/* What waits, in the order of retiring: epochs do not fall. */
	_Alignas(CACHE_LINE) struct epoch_node *head;
	struct epoch_node **tail;

	_Alignas(CACHE_LINE) _Atomic uint32_t inside[EPOCH_COUNTERS];
};

/* What a reader holds between enter and leave: where in the epoch the counter
 * is that counts it. */
struct epoch_token {
	size_t counter;
};

int epoch_create(struct epoch **ret_epoch); /* 0 or ENOMEM */

/* Frees everything that waits.  No reader may be inside.  NULL is fine. */
void epoch_destroy(struct epoch *epoch);

/* Threads are given lines in turn when they first read: where in an epoch the
 * line begins; 0: none yet.  Which one it is, is a matter of speed alone, so
 * that all epochs of a process share this. */
extern _Thread_local uint32_t epoch_thread_line ATTR_LOCAL_TLS;
uint32_t epoch_choose_line(void);

static inline _Atomic uint32_t *
epoch_counter(struct epoch *epoch, struct epoch_token token)
{
	return (_Atomic uint32_t *)(void *)((char *)epoch + token.counter);
}

/* A reader's section.  Any thread, any nesting; never waits. */
static inline struct epoch_token
epoch_enter(struct epoch *epoch)
{
	uint32_t line = epoch_thread_line;
	uint64_t now = atomic_load(&epoch->now);

	if (UNLIKELY(line == 0))
		line = epoch_choose_line();
	for (;;) {
		const struct epoch_token token = {
		    line + (now & 1) * sizeof epoch->inside[0]};
		uint64_t again;

		atomic_fetch_add(epoch_counter(epoch, token), 1);
		again = atomic_load(&epoch->now);
		if (LIKELY(again == now))
			return token; /* EPOCH-1 */
		atomic_fetch_sub(epoch_counter(epoch, token), 1);
		now = again;
	}
}

static inline void
epoch_leave(struct epoch *epoch, struct epoch_token token)
{
	atomic_fetch_sub_explicit(
	    epoch_counter(epoch, token), 1, memory_order_release);
}

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
void epoch_free(struct epoch *epoch);
static inline void
epoch_reclaim(struct epoch *epoch)
{
	if (UNLIKELY(epoch->head != NULL))
		epoch_free(epoch);
}

#endif
