/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.c - the process that starts, watches, kills and counts the others.
 *
 * It has no store open while they live and waits for nothing but time, so
 * nothing that happens to them can hold it up.
 */
#include "config.h"

#include "run.h"

#include "../mix.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 2 /* between two looks at the processes */
#define GAP_NS UINT64_C(1000000000)

volatile sig_atomic_t run_caught;

/* The process that a worker has at present. */
struct child {
	struct worker *worker;
	pid_t pid;      /* 0: none */
	bool killed;    /* by us */
	uint64_t since; /* not stopped by us, in nanoseconds */
};

struct crew {
	struct board *board;
	struct outcome *outcome;
	struct child *children; /* as board->workers */
	uint64_t random;
	uint64_t end_ns;   /* 0: none */
	uint64_t look_ns;  /* when the processes were last looked at */
	uint64_t awake_ns; /* since when that has gone on without a gap */
	uint64_t next_kill_ns;
	struct child *frozen; /* the one that is stopped, or NULL */
	uint64_t thaw_ns;
	uint64_t compacted_bytes; /* written before the last compaction */
	bool helper_killed;       /* once is enough, or it never ends */
};

void
nap(unsigned ms)
{
	struct timespec time = {
	    (time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	(void)nanosleep(&time, NULL);
}

static struct child *
helper(struct crew *crew)
{
	return &crew->children[crew->board->worker_count - 1];
}

static int
worker_main(struct board *board, struct worker *worker)
{
	/* A terminal's Ctrl-C is the parent's business. */
	(void)signal(SIGINT, SIG_IGN);
	switch (worker->role) {
	case ROLE_WRITER:
	case ROLE_READER:
		return worker_run(board, worker);
	case ROLE_COMPACTOR:
		return compactor_run(board, worker);
	case ROLE_JUDGE:
		return judge_run(board, worker);
	}
	return CLI_FAILED;
}

static void
start(struct crew *crew, struct child *child)
{
	struct worker *worker = child->worker;

	for (uint32_t i = 0; i < worker->runner_count; i++)
		runner_does(&worker->runners[i],
		    i == 0 ? DOING_START : DOING_NOTHING, BOARD_NO_CELL);
	child->killed = false;
	child->pid = fork();
	if (child->pid == 0)
		_exit(worker_main(crew->board, worker));
	if (child->pid == -1) {
		child->pid = 0;
		board_fail(crew->board, CLI_FAILED,
		    "cannot start a process: %s", strerror(errno));
	}
}

static void
kill_child(struct child *child)
{
	child->killed = true;
	(void)kill(child->pid, SIGKILL);
}

/* A process has ended; nobody's fault if it was killed or is done. */
static void
ended(struct crew *crew, struct child *child, int status)
{
	struct worker *worker = child->worker;
	const char *name = board_role_name(worker->role);

	child->pid = 0;
	for (uint32_t i = 0; i < worker->runner_count; i++)
		atomic_store(&worker->runners[i].activity, DOING_NOTHING);
	if (worker->role == ROLE_WRITER)
		atomic_store(&worker->state, WORKER_CLOSED);
	if (child->killed)
		return;
	if (WIFSIGNALED(status))
		verdict_add(&crew->board->verdicts,
		    "%s %" PRIu32 " was ended by signal %d (%s)", name,
		    worker->number, WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		verdict_add(&crew->board->verdicts,
		    "%s %" PRIu32 " ended with exit status %d", name,
		    worker->number, WEXITSTATUS(status));
}

static void
reap(struct crew *crew)
{
	for (uint32_t i = 0; i < crew->board->worker_count; i++) {
		struct child *child = &crew->children[i];
		int status;

		if (child->pid != 0 &&
		    waitpid(child->pid, &status, WNOHANG) == child->pid)
			ended(crew, child, status);
	}
}

/* Report what a process is stuck in, and end it. */
static void
report_stuck(struct crew *crew, struct child *child, struct runner *runner)
{
	struct board *board = crew->board;
	size_t cell = atomic_load(&runner->cell);
	uint64_t beat = atomic_load(&runner->beat);
	char key[SCHEME_KEY_MAX] = "";

	if (cell != BOARD_NO_CELL)
		scheme_key(&board->plan.scheme, cell, 0, key);
	verdict_add(&board->verdicts,
	    "%s %" PRIu32 " (process %ld, thread %ld) made no progress for "
	    "%.1f seconds: %s %s",
	    board_role_name(child->worker->role), child->worker->number,
	    (long)child->pid, (long)(runner - child->worker->runners),
	    (double)(progress_clock() - beat) / 1e9,
	    board_activity_name(runner_activity(runner)), key);
	crew->outcome->deadlocks++;
	kill_child(child);
}

static bool
is_stuck(
    const struct crew *crew, const struct child *child, struct runner *runner)
{
	uint64_t since = atomic_load(&runner->beat);
	uint64_t now = progress_clock();

	if (since < crew->awake_ns)
		since = crew->awake_ns;
	if (since < child->since)
		since = child->since;
	return atomic_load(&runner->activity) != DOING_NOTHING && now > since &&
	       now - since > crew->board->plan.stuck_ns;
}

static void
watch(struct crew *crew)
{
	uint64_t now = progress_clock();

	/* All were stopped together, or the machine has slept. */
	if (now - crew->look_ns > GAP_NS)
		crew->awake_ns = now;
	crew->look_ns = now;
	for (uint32_t i = 0; i < crew->board->worker_count; i++) {
		struct child *child = &crew->children[i];

		if (child->pid == 0 || child->killed || child == crew->frozen)
			continue;
		for (uint32_t k = 0; k < child->worker->runner_count; k++) {
			struct runner *runner = &child->worker->runners[k];

			if (is_stuck(crew, child, runner)) {
				report_stuck(crew, child, runner);
				break;
			}
		}
	}
}

/* Kill one at random, now and then. */
static void
kill_some(struct crew *crew)
{
	uint64_t mean = crew->board->plan.kill_ns;
	uint64_t now = progress_clock();
	struct child *child;

	if (mean == 0 || now < crew->next_kill_ns)
		return;
	crew->next_kill_ns = now + random_below(&crew->random, 2 * mean + 1);
	child = &crew->children[random_below(
	    &crew->random, crew->board->worker_count)];
	if (child->pid == 0 || child->killed)
		return;
	if (child == helper(crew)) {
		if (crew->helper_killed)
			return;
		crew->helper_killed = true;
	}
	kill_child(child);
	crew->outcome->kills++;
}

/* Let the one that is stopped go on, if it has not been killed. */
static void
thaw(struct crew *crew)
{
	if (crew->frozen != NULL && crew->frozen->pid != 0) {
		crew->frozen->since = progress_clock();
		(void)kill(crew->frozen->pid, SIGCONT);
	}
	crew->frozen = NULL;
}

/* Stop a reader for a while, one after the other, so that it sleeps through
 * much of what the writers do. */
static void
freeze_some(struct crew *crew)
{
	const struct plan *plan = &crew->board->plan;
	uint64_t now = progress_clock();
	struct child *child;

	if (plan->freeze_ns == 0 || plan->readers == 0 || now < crew->thaw_ns)
		return;
	thaw(crew);
	child = &crew->children[plan->writers +
				random_below(&crew->random, plan->readers)];
	if (child->pid == 0 || child->killed)
		return;
	crew->frozen = child;
	crew->thaw_ns =
	    now + random_below(&crew->random, 2 * plan->freeze_ns + 1);
	(void)kill(child->pid, SIGSTOP);
	crew->outcome->freezes++;
}

static bool
writers_closed(const struct board *board)
{
	for (uint32_t i = 0; i < board->plan.writers; i++)
		if (atomic_load(&board->workers[i].state) == WORKER_OPEN)
			return false;
	return true;
}

/* Between enough writes: have the writers close, compact, let them go on.
 * The readers stay. */
static void
compact_some(struct crew *crew)
{
	struct board *board = crew->board;
	uint64_t written = atomic_load(&board->written_bytes);
	struct child *child = helper(crew);

	if (board->plan.compact_bytes == 0)
		return;
	if (!atomic_load(&board->pause)) {
		if (written - crew->compacted_bytes < board->plan.compact_bytes)
			return;
		crew->compacted_bytes = written;
		crew->helper_killed = false;
		atomic_store(&board->pause, true);
		child->worker->role = ROLE_COMPACTOR;
		atomic_store(&child->worker->state, WORKER_OPEN);
	} else if (child->pid == 0 && writers_closed(board)) {
		if (atomic_load(&child->worker->state) == WORKER_DONE) {
			crew->outcome->compactions++;
			atomic_store(&board->pause, false);
		} else {
			start(crew, child);
		}
	}
}

static void
restart_some(struct crew *crew)
{
	struct board *board = crew->board;

	for (uint32_t i = 0; i < board->worker_count - 1; i++) {
		struct child *child = &crew->children[i];

		if (child->pid == 0 && !worker_finished(board, child->worker))
			start(crew, child);
	}
}

/* True while a process lives. */
static bool
any_alive(const struct crew *crew)
{
	for (uint32_t i = 0; i < crew->board->worker_count; i++)
		if (crew->children[i].pid != 0)
			return true;
	return false;
}

/* Writers and readers, until they are done or must not go on. */
static void
work(struct crew *crew)
{
	struct board *board = crew->board;

	for (;;) {
		reap(crew);
		watch(crew);
		if (run_caught != 0 ||
		    (crew->end_ns != 0 && progress_clock() >= crew->end_ns))
			atomic_store(&board->stop, true);
		if (!board_ends(board)) {
			restart_some(crew);
			compact_some(crew);
			kill_some(crew);
			freeze_some(crew);
		} else {
			thaw(crew);
		}
		if (!any_alive(crew))
			return;
		nap(STEP_MS);
	}
}

static void
judge(struct crew *crew)
{
	struct child *child = helper(crew);

	child->worker->role = ROLE_JUDGE;
	atomic_store(&child->worker->state, WORKER_OPEN);
	start(crew, child);
	while (child->pid != 0) {
		nap(STEP_MS);
		reap(crew);
		watch(crew);
	}
	crew->outcome->verified =
	    atomic_load(&child->worker->state) == WORKER_DONE;
}

void
run(struct board *board, struct outcome *outcome)
{
	struct crew crew = {.board = board, .outcome = outcome};
	uint64_t start_ns = progress_clock();

	crew.random = mix(board->plan.scheme.seed + 1);
	crew.children = calloc(board->worker_count, sizeof *crew.children);
	if (crew.children == NULL) {
		board_fail(board, CLI_FAILED, "out of memory");
		return;
	}
	for (uint32_t i = 0; i < board->worker_count; i++)
		crew.children[i].worker = &board->workers[i];
	if (board->plan.duration_ns != 0)
		crew.end_ns = start_ns + board->plan.duration_ns;
	crew.next_kill_ns = start_ns + board->plan.kill_ns;
	work(&crew);
	outcome->elapsed_ns = progress_clock() - start_ns;
	if (atomic_load(&board->failure) == 0)
		judge(&crew);
	free(crew.children);
}
