/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload.h - the benchmarks: what each of them does, and how often.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "bench.h"
#include "engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_LEN 1000u /* puts of a batch */
#define MANY_LEN 16u    /* gets of a call */
#define SCAN_LEN 100u   /* records of a scan */

enum workload_op {
	WORKLOAD_PUT_IN_ORDER,
	WORKLOAD_PUT_SHUFFLED,
	WORKLOAD_PUT_BATCH,
	WORKLOAD_GET,
	WORKLOAD_GET_MANY,
	WORKLOAD_GET_ABSENT,
	WORKLOAD_GET_VIEW,
	WORKLOAD_MIXED,
	WORKLOAD_SCAN_ALL,
	WORKLOAD_SCAN_SOME,
	WORKLOAD_SCAN_WRITE,
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
	WORKLOAD_READ_MEMORY,
	WORKLOAD_CHURN,
	/* A store half of which was replaced; see compactions.h. */
	WORKLOAD_COMPACT,
	WORKLOAD_COMPACT_PUTS
};

struct workload {
	const char *name;
	const char *text; /* what it does, for the report */
	enum workload_op op;
	enum engine_mode mode;
	bool fresh;         /* begins with an empty store, else a loaded one */
	bool threads;       /* options->threads of them */
	bool large;         /* values of options->large_len */
	bool skewed;        /* always by Zipf's distribution */
	unsigned get_share; /* per cent, of WORKLOAD_MIXED */
	const char *group;  /* another name, for it and others */
	bool cold;          /* what it reads is not in memory */
	bool by_name;       /* takes long: runs only if it is asked for */
};

/* All benchmarks, ended by one without a name. */
extern const struct workload workload_table[];

/*
 * workload_is - whether name is that of the benchmark or its group.
 */
bool workload_is(const struct workload *workload, const char *name);

/* workload_num - how many records its store has. */
uint64_t workload_num(
    const struct workload *workload, const struct options *options);

/* workload_unit - how many operations a call does. */
uint64_t workload_unit(
    const struct workload *workload, const struct options *options);

/* workload_ops - how many operations it takes. */
uint64_t workload_ops(
    const struct workload *workload, const struct options *options);

/* workload_scans - whether it reads records in order, SCAN_LEN at a time. */
bool workload_scans(const struct workload *workload);

/* workload_is_ordered - the same of any number at a time. */
bool workload_is_ordered(const struct workload *workload);

/*
 * workload_writes - whether it leaves a store with other records or values,
 * one operation for each.
 */
bool workload_writes(const struct workload *workload);

/* workload_is_oneshot - whether its operations are processes. */
bool workload_is_oneshot(const struct workload *workload);

/* workload_readers - how many processes read at once; else 0. */
unsigned workload_readers(
    const struct workload *workload, const struct options *options);

/* workload_compacts - whether its store is one that is to be compacted. */
bool workload_compacts(const struct workload *workload);

/* workload_loops - whether it is a loop of calls in one process. */
bool workload_loops(const struct workload *workload);

/* workload_skewed - whether its keys are chosen by Zipf's distribution. */
bool workload_skewed(
    const struct workload *workload, const struct options *options);

#endif /* BENCH_WORKLOAD_H */
