/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload.h - the benchmarks: which keys and values, in which order, and
 * the loop that measures them.
 *
 * Record i of num has a key of its own and, for each generation, a value of
 * its own, both computed from i in a few nanoseconds.  Keys are hexadecimal
 * numbers that leave gaps: below the first, above the last, and between any
 * two, so that absent keys of all three kinds exist.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "bench.h"
#include "engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKLOAD_KEY_LEN_MAX 511u /* LMDB's limit, the lowest of all */

enum workload_op {
	WORKLOAD_PUT_IN_ORDER,
	WORKLOAD_PUT_SHUFFLED,
	WORKLOAD_GET,
	WORKLOAD_GET_ABSENT,
	WORKLOAD_DELETE,
	/* An operation is a process. */
	WORKLOAD_ONESHOT_GET,
	WORKLOAD_ONESHOT_GET_ABSENT,
	WORKLOAD_ONESHOT_PUT,
	/* An operation is a key of the store that is opened. */
	WORKLOAD_OPEN,
	WORKLOAD_OPEN_KILLED,
	/* Processes use one store at once. */
	WORKLOAD_READ_WRITE,
	WORKLOAD_READ_MEMORY
};

struct workload {
	const char *name;
	const char *text; /* what it does, for the report */
	enum workload_op op;
	enum engine_mode mode;
	bool fresh;   /* begins with an empty store; else with a loaded one */
	bool threads; /* options->threads of them */
};

/* All benchmarks, ended by one without a name. */
extern const struct workload workload_table[];

/* workload_find - the benchmark of that name, or NULL. */
const struct workload *workload_find(const char *name);

/* workload_ops - how many operations it takes. */
uint64_t workload_ops(
    const struct workload *workload, const struct options *options);

/* workload_writes - whether its operations change the store. */
bool workload_writes(const struct workload *workload);

/* workload_is_oneshot - whether its operations are processes. */
bool workload_is_oneshot(const struct workload *workload);

/* workload_readers - how many processes read at once; else 0. */
unsigned workload_readers(
    const struct workload *workload, const struct options *options);

/* workload_loops - whether it is a loop of calls in one process. */
bool workload_loops(const struct workload *workload);

/*
 * One engine's process in one round: the options, the buffers of the loop,
 * and the store that benchmarks leave to the next one.
 */
struct session;

/*
 * session_create - ready to run benchmarks of engine in the empty directory
 * dir, whose name must outlive the session.  NULL if out of memory.
 */
struct session *session_create(const struct engine *engine,
    const struct options *options, const char *dir);

/*
 * session_run - run one benchmark, its preparation not measured, and fill
 * measure (not, if the engine cannot do it), whose place must stay until the
 * session ends: closing the store completes it.
 *
 * Returns BENCH_EXIT_DONE, or another status after saying on standard error
 * what went wrong.
 */
enum bench_exit session_run(struct session *session,
    const struct workload *workload, struct measure *measure);

/* session_end - close what is open and free the session. */
enum bench_exit session_end(struct session *session);

#endif /* BENCH_WORKLOAD_H */
