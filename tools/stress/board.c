/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * board.c - the memory that all processes of a run share.
 */
#include "config.h"

#include "board.h"

#include "../mix.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Zero bytes that all processes share, or NULL. */
static void *
shared(size_t size)
{
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return start == MAP_FAILED ? NULL : start;
}

static void
worker_init(struct worker *worker, const struct plan *plan, uint32_t at,
    struct runner *runners)
{
	worker->runners = runners;
	worker->runner_count = plan->threads;
	if (at < plan->writers) {
		worker->role = ROLE_WRITER;
		worker->number = at;
		worker->first_owner = at * plan->threads;
	} else if (at < plan->writers + plan->readers) {
		worker->role = ROLE_READER;
		worker->number = at - plan->writers;
	} else {
		worker->role = ROLE_JUDGE;
		worker->runner_count = 1;
	}
}

struct board *
board_create(const struct plan *plan)
{
	struct board *board = shared(sizeof *board);
	uint32_t count = plan->writers + plan->readers + 1;
	struct runner *runners =
	    shared((size_t)count * plan->threads * sizeof *runners);

	if (board == NULL || runners == NULL)
		return NULL;
	board->plan = *plan;
	board->parent = getpid();
	board->worker_count = count;
	board->workers = shared(count * sizeof *board->workers);
	board->check.scheme = &board->plan.scheme;
	board->check.verdicts = &board->verdicts;
	board->check.cells = shared(
	    scheme_cell_count(&plan->scheme) * sizeof *board->check.cells);
	if (board->workers == NULL || board->check.cells == NULL)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		worker_init(&board->workers[i], plan, i,
		    runners + (size_t)i * plan->threads);
	return board;
}

bool
board_ends(const struct board *board)
{
	return atomic_load(&board->stop) ||
	       atomic_load(&board->verdicts.count) > 0;
}

void
board_fail(struct board *board, enum cli_exit status, const char *format, ...)
{
	int none = 0;
	va_list args;

	if (atomic_compare_exchange_strong(
		&board->failure, &none, (int)status)) {
		va_start(args, format);
		vsnprintf(board->failure_text, sizeof board->failure_text,
		    format, args);
		va_end(args);
		atomic_store(&board->failure_ready, true);
	}
	atomic_store(&board->stop, true);
}

void
runner_does(struct runner *runner, enum activity activity, size_t cell)
{
	atomic_store_explicit(
	    &runner->activity, (int)activity, memory_order_relaxed);
	atomic_store_explicit(&runner->cell, cell, memory_order_relaxed);
	atomic_store_explicit(
	    &runner->beat, progress_clock(), memory_order_relaxed);
}

enum activity
runner_activity(struct runner *runner)
{
	return (enum activity)atomic_load(&runner->activity);
}

const char *
board_role_name(enum role role)
{
	switch (role) {
	case ROLE_WRITER:
		return "writer";
	case ROLE_READER:
		return "reader";
	case ROLE_COMPACTOR:
		return "compaction";
	case ROLE_JUDGE:
		return "verification";
	}
	return "";
}

const char *
board_activity_name(enum activity activity)
{
	static const char *const names[] = {
	    [DOING_NOTHING] = "nothing",
	    [DOING_START] = "starting",
	    [DOING_OPEN] = "opening the store",
	    [DOING_CLOSE] = "closing the store",
	    [DOING_PAUSE] = "waiting for a compaction",
	    [DOING_GET] = "reading",
	    [DOING_LOOKUP] = "looking up",
	    [DOING_WALK] = "walking from",
	    [DOING_PUT] = "putting",
	    [DOING_DELETE] = "deleting",
	    [DOING_BATCH] = "applying a batch to",
	    [DOING_INCREMENT] = "incrementing",
	    [DOING_COUNT] = "counting keys",
	    [DOING_COMPACT] = "compacting",
	    [DOING_VERIFY] = "checking all files",
	};

	return names[activity];
}

uint64_t
random_below(uint64_t *state, uint64_t bound)
{
	*state = mix(*state);
	return *state % bound;
}
