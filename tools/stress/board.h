/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * board.h - the memory that all processes of a run share: what was asked for,
 * what each thread does and has done, and what was found.
 *
 * Made before the first process is forked, so that it lies at the same
 * addresses everywhere.  A process may be killed between any two of its
 * stores: what others read are single words, and counts may be one short.
 */
#ifndef STRESS_BOARD_H
#define STRESS_BOARD_H

#include "../cli.h"
#include "../histogram.h"
#include "check.h"
#include "scheme.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What was asked for.  Times are in nanoseconds. */
struct plan {
	const char *store;
	struct scheme scheme;
	uint32_t writers; /* processes */
	uint32_t readers;
	uint32_t threads;     /* of each process */
	uint64_t ops;         /* of each process; 0: no end */
	uint64_t duration_ns; /* 0: no end */
	uint64_t kill_ns;     /* mean time between two kills; 0: none */
	uint64_t freeze_ns;   /* mean time that a reader is stopped; 0: none */
	uint64_t stuck_ns;    /* without progress for so long: a deadlock */
	uint64_t compact_bytes; /* written between two compactions; 0: none */
	uint64_t reopen;        /* operations between two openings; 0: no end */
	struct kvlog_options options; /* of a writer */
};

/* What a thread is doing. */
enum activity {
	DOING_NOTHING,
	DOING_START,
	DOING_OPEN,
	DOING_CLOSE,
	DOING_PAUSE,
	DOING_GET,
	DOING_LOOKUP,
	DOING_WALK,
	DOING_PUT,
	DOING_DELETE,
	DOING_BATCH,
	DOING_INCREMENT,
	DOING_COUNT,
	DOING_COMPACT,
	DOING_VERIFY
};

#define BOARD_NO_CELL SIZE_MAX

/* Operations of one kind. */
struct tally {
	_Atomic uint64_t done; /* with success */
	_Atomic uint64_t failed;
	struct histogram latency; /* of both */
};

/* One thread of a worker, and of those that take its place when it is
 * killed. */
struct runner {
	_Atomic uint64_t beat; /* when it last began something */
	_Atomic int activity;  /* enum activity */
	_Atomic size_t cell;   /* that it is about, or BOARD_NO_CELL */
	struct tally writes, reads, walks;
	_Atomic uint64_t commits;
	_Atomic uint64_t contentions;
};

/* Of a worker's handle, as the pause of the writers wants to know. */
enum worker_state { WORKER_CLOSED, WORKER_OPEN, WORKER_DONE };

enum role { ROLE_WRITER, ROLE_READER, ROLE_COMPACTOR, ROLE_JUDGE };

/* A process to be had, and those that are started for it. */
struct worker {
	enum role role;
	uint32_t number;        /* among those of its role */
	struct runner *runners; /* of its threads */
	uint32_t runner_count;
	uint32_t first_owner; /* of a writer's first thread */
	_Atomic int state;    /* enum worker_state */
};

struct board {
	struct plan plan;
	struct check check;
	struct worker *workers; /* writers, readers, and one for the
				   compactor and the judge */
	uint32_t worker_count;
	pid_t parent;
	_Atomic bool stop;
	_Atomic bool pause;             /* writers close, and wait */
	_Atomic uint64_t newest_seq;    /* that was acknowledged */
	_Atomic uint64_t written_bytes; /* keys and values */
	/* A failure that is nobody's fault, of the first who met one. */
	_Atomic int failure; /* enum cli_exit */
	_Atomic bool failure_ready;
	char failure_text[VERDICT_TEXT_MAX];
	struct verdicts verdicts;
};

/* The worker that compacts or judges. */
#define BOARD_HELPER(board) (&(board)->workers[(board)->worker_count - 1])

/* board_create - NULL without memory.  It is never freed. */
struct board *board_create(const struct plan *plan);

/* board_ends - whether everybody is to come to an end. */
bool board_ends(const struct board *board);

/* board_fail - note a failure of the system or the usage, and end the run. */
void board_fail(struct board *board, enum cli_exit status, const char *format,
    ...) CLI_PRINTF(3, 4);

/* runner_does - note what a thread begins to do, and that it is alive. */
void runner_does(struct runner *runner, enum activity activity, size_t cell);

enum activity runner_activity(struct runner *runner);

/* What a worker and its activity are called. */
const char *board_role_name(enum role role);
const char *board_activity_name(enum activity activity);

/* random_below - 0 to bound - 1. */
uint64_t random_below(uint64_t *state, uint64_t bound);

#endif /* STRESS_BOARD_H */
