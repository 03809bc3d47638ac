/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.c - what a thread needs, and what it does about wrong answers.
 */
#include "config.h"

#include "thread.h"

#include "../mix.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
thread_init(struct thread *thread, struct board *board, struct worker *worker,
    uint32_t number)
{
	const struct scheme *scheme = &board->plan.scheme;
	size_t count = scheme_cell_count(scheme);

	memset(thread, 0, sizeof *thread);
	thread->board = board;
	thread->worker = worker;
	thread->runner = &worker->runners[number];
	thread->owner = worker->first_owner + number;
	thread->random =
	    mix(scheme->seed ^
		mix((uint64_t)getpid() << 20 ^ progress_clock()) ^ number);
	thread->values[0] = malloc(scheme_value_max(scheme));
	thread->values[1] = malloc(scheme_value_max(scheme));
	thread->memory = calloc(count * 2, sizeof *thread->memory);
	thread->lows = calloc(count, sizeof *thread->lows);
	return thread->values[0] != NULL && thread->values[1] != NULL &&
	       thread->memory != NULL && thread->lows != NULL;
}

void
thread_fini(struct thread *thread)
{
	free(thread->values[0]);
	free(thread->values[1]);
	free(thread->memory);
	free(thread->lows);
}

size_t
thread_pick(struct thread *thread, size_t count)
{
	return (size_t)random_below(&thread->random, count);
}

void
tally_add(struct tally *tally, bool succeeded, uint64_t start)
{
	histogram_add(&tally->latency, progress_clock() - start);
	atomic_fetch_add_explicit(
	    succeeded ? &tally->done : &tally->failed, 1, memory_order_relaxed);
}

/* What the system or the machine lacks is no fault of the store. */
static enum cli_exit
exit_of(enum kvlog_status status)
{
	switch (status) {
	case KVLOG_NOMEM:
	case KVLOG_IO:
	case KVLOG_NOSPACE:
		return CLI_FAILED;
	case KVLOG_BUSY:
		return CLI_BUSY;
	default:
		return CLI_DAMAGE;
	}
}

bool
thread_wrong(struct thread *thread, enum kvlog_status status,
    const struct kvlog_error *err)
{
	struct board *board = thread->board;
	enum activity activity = runner_activity(thread->runner);
	size_t cell = atomic_load(&thread->runner->cell);
	const char *text = kvlog_status_text(status);
	char key[SCHEME_KEY_MAX] = "";

	if (err != NULL && err->status == status && err->text[0] != '\0')
		text = err->text;
	if (cell != BOARD_NO_CELL)
		scheme_key(&board->plan.scheme, cell, 0, key);
	if (exit_of(status) != CLI_DAMAGE)
		board_fail(board, exit_of(status), "%s %" PRIu32 ", %s%s%s: %s",
		    board_role_name(thread->worker->role),
		    thread->worker->number, board_activity_name(activity),
		    key[0] != '\0' ? " " : "", key, text);
	else
		verdict_add(&board->verdicts, "%s %" PRIu32 ", %s%s%s: %s",
		    board_role_name(thread->worker->role),
		    thread->worker->number, board_activity_name(activity),
		    key[0] != '\0' ? " " : "", key, text);
	return false;
}
