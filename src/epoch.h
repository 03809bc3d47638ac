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

#define EPOCH_SLOTS 64u

/* A cache line of counters: readers that are inside, by parity of their
 * epoch. */
struct epoch_slot {
	_Alignas(CACHE_LINE) _Atomic uint32_t inside[2];
};

/* The fields are epoch.c's, and of what is inline here. */
struct epoch {
	_Alignas(CACHE_LINE) _Atomic uint64_t now;

	/* What waits, in the order of retiring: epochs do not fall. */
	_Alignas(CACHE_LINE) struct epoch_node *head;
	struct epoch_node **tail;

	struct epoch_slot slots[EPOCH_SLOTS];
};

/* What a reader holds between enter and leave: where it is counted. */
struct epoch_token {
	uint32_t slot;
	uint32_t parity;
};

int epoch_create(struct epoch **ret_epoch); /* 0 or ENOMEM */

/* Frees everything that waits.  No reader may be inside.  NULL is fine. */
void epoch_destroy(struct epoch *epoch);

/* Threads get numbers in turn when they first read, from 1 on; 0: none yet.
 * A number is a matter of speed alone, so that all epochs of a process share
 * them. */
extern _Thread_local uint32_t epoch_thread_number ATTR_LOCAL_TLS;
uint32_t epoch_number_thread(void);

static inline _Atomic uint32_t *
epoch_inside(struct epoch *epoch, struct epoch_token token)
{
	return &epoch->slots[token.slot].inside[token.parity];
}

/* A reader's section.  Any thread, any nesting; never waits. */
static inline struct epoch_token
epoch_enter(struct epoch *epoch)
{
	uint32_t number = epoch_thread_number;
	uint64_t now = atomic_load(&epoch->now);

	if (UNLIKELY(number == 0))
		number = epoch_number_thread();
	for (;;) {
		const struct epoch_token token = {
		    number % EPOCH_SLOTS, now & 1};
		uint64_t again;

		atomic_fetch_add(epoch_inside(epoch, token), 1);
		again = atomic_load(&epoch->now);
		if (LIKELY(again == now))
			return token; /* EPOCH-1 */
		atomic_fetch_sub(epoch_inside(epoch, token), 1);
		now = again;
	}
}

static inline void
epoch_leave(struct epoch *epoch, struct epoch_token token)
{
	atomic_fetch_sub_explicit(
	    epoch_inside(epoch, token), 1, memory_order_release);
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
