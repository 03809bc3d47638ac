/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.c - the processes that have the store without writers: the one that
 * compacts it, and the one that verifies it at the end.
 *
 * The judge looks before anybody has repaired what killed writers have left,
 * with readers of both kinds, as the next writer, and once more behind it.
 */
#include "config.h"

#include "run.h"
#include "thread.h"

#include <inttypes.h>

static bool
show_alive(void *arg, uint64_t done, uint64_t total)
{
	struct thread *thread = arg;
	enum activity activity = runner_activity(thread->runner);

	(void)done;
	(void)total;
	runner_does(thread->runner, activity, BOARD_NO_CELL);
	return activity == DOING_VERIFY || !board_ends(thread->board);
}

int
compactor_run(struct board *board, struct worker *worker)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err = {.status = KVLOG_OK};
	struct thread thread;
	enum kvlog_status st;

	if (!thread_init(&thread, board, worker, 0)) {
		board_fail(board, CLI_FAILED, "out of memory");
		return 0;
	}
	how.timeout_ms = board->plan.options.timeout_ms;
	how.progress = show_alive;
	how.arg = &thread;
	runner_does(thread.runner, DOING_COMPACT, BOARD_NO_CELL);
	st = kvlog_compact_offline(board->plan.store, &how, &report, &err);
	if (st != KVLOG_OK && st != KVLOG_CANCELLED)
		thread_wrong(&thread, st, &err);
	atomic_store(&worker->state, WORKER_DONE);
	thread_fini(&thread);
	return 0;
}

/* Every byte of the files. */
static bool
judge_files(struct thread *thread)
{
	struct kvlog_verify_options how = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {.status = KVLOG_OK};
	enum kvlog_status st;

	how.progress = show_alive;
	how.arg = thread;
	runner_does(thread->runner, DOING_VERIFY, BOARD_NO_CELL);
	st = kvlog_verify(thread->board->plan.store, &how, &report, &err);
	return st == KVLOG_OK || thread_wrong(thread, st, &err);
}

static bool
judge_count(struct thread *thread, uint64_t present)
{
	uint64_t count = 0;
	enum kvlog_status st;

	runner_does(thread->runner, DOING_COUNT, BOARD_NO_CELL);
	st = kvlog_count(thread->db, &count);
	if (st != KVLOG_OK)
		return thread_wrong(thread, st, NULL);
	if (count == present)
		return true;
	verdict_add(&thread->board->verdicts,
	    "the store counts %" PRIu64 " keys, expected %" PRIu64
	    ", as walks have found",
	    count, present);
	return false;
}

/* Every key, in two ways. */
static bool
judge_keys(struct thread *thread)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	size_t count = scheme_cell_count(scheme);
	uint64_t present = 0;

	if (!thread_walk(thread, SCHEME_NOBODY, &present))
		return false;
	for (uint32_t owner = 0; owner < scheme->owners; owner++)
		if (!thread_walk(thread, owner, &present))
			return false;
	for (size_t cell = 0; cell < count; cell++)
		for (unsigned side = 0; side < scheme_place(scheme, cell).sides;
		     side++)
			if (!thread_get(thread, cell, side, true))
				return false;
	return judge_count(thread, present);
}

static bool
judge_store(
    struct thread *thread, unsigned flags, enum kvlog_index_mode index_mode)
{
	struct kvlog_options options = thread->board->plan.options;
	struct kvlog_error err = {.status = KVLOG_OK};
	enum kvlog_status st;
	bool right;

	options.flags = flags;
	options.index_mode = index_mode;
	options.segment_size = 0;
	runner_does(thread->runner, DOING_OPEN, BOARD_NO_CELL);
	st = kvlog_open(thread->board->plan.store, &options, &thread->db, &err);
	if (st != KVLOG_OK)
		return thread_wrong(thread, st, &err);
	right = judge_keys(thread);
	runner_does(thread->runner, DOING_CLOSE, BOARD_NO_CELL);
	st = kvlog_close(thread->db, &err);
	return st == KVLOG_OK ? right : thread_wrong(thread, st, &err);
}

int
judge_run(struct board *board, struct worker *worker)
{
	struct thread thread;

	if (!thread_init(&thread, board, worker, 0)) {
		board_fail(board, CLI_FAILED, "out of memory");
		return 0;
	}
	/* All of them, so that a fault is seen from every side. */
	judge_files(&thread);
	judge_store(&thread, KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	judge_store(&thread, KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	if (judge_store(&thread, 0, KVLOG_INDEX_DEFAULT))
		judge_files(&thread);
	atomic_store(&worker->state, WORKER_DONE);
	thread_fini(&thread);
	return 0;
}
