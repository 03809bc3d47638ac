/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c - a process of writers or of readers.
 *
 * It works in sessions: open the store, let the threads share the handle,
 * join them, close.  A session ends when the work is done, when the writers
 * are to pause, or after as many operations as --reopen says.
 */
#include "config.h"

#include "run.h"
#include "thread.h"

#include <stdlib.h>
#include <unistd.h>

#define LOOK_EVERY 64 /* operations between two looks at the parent */
#define OPEN_NS UINT64_C(2000000000) /* tries to open are made for so long */

static uint64_t
tally_total(const struct tally *tally)
{
	return atomic_load(&tally->done) + atomic_load(&tally->failed);
}

/* Whether a thread has done its share, with those that it replaces. */
static bool
share_done(const struct board *board, const struct worker *worker,
    const struct runner *runner)
{
	uint64_t ops = board->plan.ops;
	uint64_t number = (uint64_t)(runner - worker->runners);
	uint64_t share = ops / worker->runner_count +
			 (number < ops % worker->runner_count ? 1 : 0);

	return ops != 0 && tally_total(&runner->writes) +
				   tally_total(&runner->reads) +
				   tally_total(&runner->walks) >=
			       share;
}

bool
worker_finished(const struct board *board, const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->runner_count; i++)
		if (!share_done(board, worker, &worker->runners[i]))
			return false;
	return true;
}

/* Nobody is left to work for, if the parent is gone. */
static bool
is_orphan(const struct board *board)
{
	return getppid() != board->parent;
}

static bool
must_pause(struct board *board, const struct worker *worker)
{
	return worker->role == ROLE_WRITER && atomic_load(&board->pause);
}

static bool
goes_on(const struct thread *thread)
{
	struct board *board = thread->board;

	if (board_ends(board) || must_pause(board, thread->worker) ||
	    share_done(board, thread->worker, thread->runner))
		return false;
	if (board->plan.reopen != 0 && thread->op_count >= board->plan.reopen)
		return false;
	return thread->op_count % LOOK_EVERY != 0 || !is_orphan(board);
}

static void *
thread_main(void *arg)
{
	struct thread *thread = arg;

	while (goes_on(thread)) {
		if (thread->worker->role == ROLE_WRITER)
			thread_write(thread);
		else
			thread_read(thread);
		thread->op_count++;
	}
	/* Others may go on for long. */
	atomic_store(&thread->runner->activity, DOING_NOTHING);
	return NULL;
}

/* Every thread but the first is one of its own. */
static void
run_threads(struct thread *threads, uint32_t count)
{
	uint32_t started;
	int rc = 0;

	for (started = 1; started < count; started++) {
		rc = pthread_create(
		    &threads[started].id, NULL, thread_main, &threads[started]);
		if (rc != 0)
			break;
	}
	if (rc != 0)
		board_fail(threads->board, CLI_FAILED,
		    "cannot start %u threads", (unsigned)count);
	thread_main(&threads[0]);
	for (uint32_t i = 1; i < started; i++)
		pthread_join(threads[i].id, NULL);
}

static struct kvlog_options
worker_options(const struct board *board, const struct worker *worker)
{
	struct kvlog_options options = board->plan.options;

	if (board->plan.compact_bytes == 0) /* never, nor by itself */
		options.flags |= KVLOG_OPEN_NOCOMPACT;
	if (worker->role == ROLE_WRITER)
		return options;
	options.flags = KVLOG_OPEN_READONLY;
	options.segment_size = 0;
	if (options.index_mode == KVLOG_INDEX_DEFAULT)
		options.index_mode = worker->number % 2 == 0
					 ? KVLOG_INDEX_MEMORY
					 : KVLOG_INDEX_HINTS;
	return options;
}

/* Others that open, close or repair at this moment are in the way; not for
 * long.  NULL: there is no session, for a reason that is told. */
static struct kvlog *
open_store(struct board *board, struct worker *worker, struct thread *threads)
{
	struct kvlog_options options = worker_options(board, worker);
	uint64_t end = progress_clock() + OPEN_NS;
	struct kvlog_error err = {.status = KVLOG_OK};
	struct kvlog *db;

	for (;;) {
		enum kvlog_status st;

		runner_does(worker->runners, DOING_OPEN, BOARD_NO_CELL);
		st = kvlog_open(board->plan.store, &options, &db, &err);
		if (st == KVLOG_OK)
			return db;
		if (st != KVLOG_BUSY || progress_clock() > end) {
			thread_wrong(threads, st, &err);
			return NULL;
		}
		atomic_fetch_add(&worker->runners->contentions, 1);
		if (board_ends(board) || must_pause(board, worker))
			return NULL;
		nap(2);
	}
}

static void
session(struct board *board, struct worker *worker, struct thread *threads)
{
	struct kvlog_error err = {.status = KVLOG_OK};
	struct kvlog *db = open_store(board, worker, threads);
	enum kvlog_status st;

	if (db == NULL)
		return;
	for (uint32_t i = 0; i < worker->runner_count; i++) {
		threads[i].db = db;
		threads[i].op_count = 0;
		runner_does(&worker->runners[i], DOING_START, BOARD_NO_CELL);
	}
	run_threads(threads, worker->runner_count);
	runner_does(worker->runners, DOING_CLOSE, BOARD_NO_CELL);
	st = kvlog_close(db, &err);
	if (st != KVLOG_OK)
		thread_wrong(threads, st, &err);
}

static void
sessions(struct board *board, struct worker *worker, struct thread *threads)
{
	while (!board_ends(board) && !is_orphan(board) &&
	       !worker_finished(board, worker)) {
		atomic_store(&worker->state, WORKER_OPEN);
		/* Who pauses the writers looks at the state after that. */
		if (must_pause(board, worker)) {
			atomic_store(&worker->state, WORKER_CLOSED);
			runner_does(
			    worker->runners, DOING_PAUSE, BOARD_NO_CELL);
			nap(2);
			continue;
		}
		session(board, worker, threads);
	}
	atomic_store(&worker->state, WORKER_DONE);
	atomic_store(&worker->runners->activity, DOING_NOTHING);
}

int
worker_run(struct board *board, struct worker *worker)
{
	struct thread *threads = calloc(worker->runner_count, sizeof *threads);
	bool ready = threads != NULL;

	for (uint32_t i = 0; ready && i < worker->runner_count; i++)
		ready = thread_init(&threads[i], board, worker, i);
	if (ready)
		sessions(board, worker, threads);
	else
		board_fail(board, CLI_FAILED, "out of memory");
	for (uint32_t i = 0; threads != NULL && i < worker->runner_count; i++)
		thread_fini(&threads[i]);
	free(threads);
	return 0;
}
