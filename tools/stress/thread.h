/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.h - one thread at work on a store: what it reads is judged, what it
 * writes is accounted for.
 */
#ifndef STRESS_THREAD_H
#define STRESS_THREAD_H

#include "board.h"

#include <kvlog.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Private to its process. */
struct thread {
	struct board *board;
	struct worker *worker;
	struct runner *runner;
	pthread_t id;     /* unless it is the first of its process */
	struct kvlog *db; /* shared by the threads of the process */
	uint32_t owner;   /* of a writer: which cells it owns */
	uint64_t random;
	uint64_t op_count;     /* since the store was opened */
	char *values[2];       /* of scheme_value_max() bytes */
	struct memory *memory; /* of both sides of every cell */
	size_t half_read;      /* pair whose first side was read last, or 0 */
	uint64_t *lows;        /* of the cells that a walk is about */
};

/* thread_init - false without memory. */
bool thread_init(struct thread *thread, struct board *board,
    struct worker *worker, uint32_t number);
void thread_fini(struct thread *thread);

/*
 * All that follow give false if something was wrong, after noting it.
 */

/* thread_wrong - note that the store answered what it must not: a failure of
 * the system ends the run, all else is a verdict. */
bool thread_wrong(struct thread *thread, enum kvlog_status status,
    const struct kvlog_error *err);

/* thread_read - read something at random. */
bool thread_read(struct thread *thread);
/* thread_write - write something at random, or read. */
bool thread_write(struct thread *thread);

/* thread_get - read and judge one key; with_seq: and its commit. */
bool thread_get(
    struct thread *thread, size_t cell, unsigned side, bool with_seq);

/*
 * thread_walk - walk over all keys of an owner and judge them.
 *
 * *ret_present   Raised by the number of keys that were there.
 */
bool thread_walk(struct thread *thread, uint32_t owner, uint64_t *ret_present);

/* thread_ask - get a key for a writer's own use; sight->value is in
 * thread->values[0]. */
bool thread_ask(
    struct thread *thread, size_t cell, unsigned side, struct sight *ret_sight);

/* thread_pick - 0 to count - 1. */
size_t thread_pick(struct thread *thread, size_t count);

/* tally_add - count an operation that began at start. */
void tally_add(struct tally *tally, bool succeeded, uint64_t start);

#endif /* STRESS_THREAD_H */
