/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.h - the processes of a run: what each of them does, and the one that
 * starts, watches, kills and counts them.
 */
#ifndef STRESS_RUN_H
#define STRESS_RUN_H

#include "board.h"

#include <signal.h>

/* What became of the processes. */
struct outcome {
	uint64_t elapsed_ns; /* of the run, without the verification */
	uint64_t deadlocks;
	uint64_t kills;
	uint64_t freezes;
	uint64_t compactions;
	bool verified; /* the store was looked at to the end */
};

/* Number of a signal that asks for an early end, or 0. */
extern volatile sig_atomic_t run_caught;

/*
 * run - do what board->plan says on a store that exists, and verify it.
 * What was found is in *board.
 */
void run(struct board *board, struct outcome *outcome);

/* worker_run - be a worker, from its fork to its end; returns the status to
 * exit with, 0 also if something was wrong, since that is on the board. */
int worker_run(struct board *board, struct worker *worker);

/* worker_finished - whether it has done its operations. */
bool worker_finished(const struct board *board, const struct worker *worker);

/* Likewise the process that compacts, and the one that has the last word. */
int compactor_run(struct board *board, struct worker *worker);
int judge_run(struct board *board, struct worker *worker);

/* nap - sleep so many milliseconds. */
void nap(unsigned ms);

#endif /* STRESS_RUN_H */
