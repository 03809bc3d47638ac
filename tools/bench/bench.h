/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - what the files of kvlog-bench share: options, the clock, what is
 * measured, and the report.
 *
 * Everything that a round measures lies in memory that the program and the
 * process of that round share, so these structs hold no pointers.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "../histogram.h"
#include "engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#if defined __x86_64__ && defined __GNUC__
#include <x86intrin.h>
#endif

#define BENCH_MAX_ENGINES 32
#define BENCH_MAX_BENCHMARKS 32
#define BENCH_MAX_ROUNDS 99
#define BENCH_MAX_THREADS 64

/* Exit statuses: those of the project's other programs. */
enum bench_exit {
	BENCH_EXIT_DONE = 0,
	BENCH_EXIT_USAGE = 2,  /* or a store or directory cannot be opened */
	BENCH_EXIT_WRONG = 3,  /* an engine gave a wrong answer */
	BENCH_EXIT_FAILED = 5, /* an engine or a system call failed */
	BENCH_EXIT_RUNNING = -1
};

struct workload;

struct options {
	const struct engine *engines[BENCH_MAX_ENGINES];
	size_t engine_count;
	const struct workload *benchmarks[BENCH_MAX_BENCHMARKS];
	size_t benchmark_count;
	uint64_t num;         /* records in a loaded store */
	uint64_t reads;       /* operations of a read benchmark */
	uint64_t sync_num;    /* operations of fillsync */
	uint64_t oneshot_num; /* processes of a one-shot benchmark */
	uint64_t threads;     /* of the benchmarks with threads */
	uint64_t readers;     /* processes; 0: as the benchmark likes */
	uint64_t writers;     /* processes */
	uint64_t seed;
	size_t key_len;
	size_t value_len;
	unsigned rounds;
	const char *dir; /* where the working directory is made */
	bool json;
};

/* One benchmark of one engine in one round. */
struct measure {
	bool done; /* false at the end: the engine cannot do it */
	uint64_t ops;
	uint64_t ns;          /* of all operations, by the wall clock */
	uint64_t cpu_us;      /* of the process, all threads, user and system */
	uint64_t disk_open;   /* bytes allocated, right after the last
				 operation */
	uint64_t disk_closed; /* the same once the store was closed; 0 if a
				 later benchmark wrote to the store first */
	uint64_t close_ns;    /* what that closing took; 0 as above */
	uint64_t rss_peak;    /* bytes resident during it, mapped files too */
	uint64_t rss_anon;    /* of those resident at the end, not of files */
	uint64_t longest_ns;  /* see LATENCY_STRIDE in workload.c */
	uint64_t command_ns;  /* the engine's command doing the same, median;
				 0: there is none */
	uint64_t process_ns;  /* a process that does nothing, median; 0 in
				 benchmarks without processes */
	uint64_t writer_ops;  /* of processes that wrote meanwhile */
	uint64_t writer_ns;
	uint64_t private_bytes; /* that reading processes gained, together;
				   see machine_private() */
	uint64_t dirty_bytes;   /* the same */
	struct histogram latency;
};

/* What the machine itself can do, in one round. */
struct limits {
	bool done;
	double copy_ns; /* storing a 128-byte record into fresh mapped pages */
	double sync_ns; /* the same into blocks already written, + fdatasync */
};

/* Where it all was measured. */
struct machine {
	char cpu[128];
	char kernel[128];
	char filesystem[64];
	unsigned cores;
	uint64_t memory; /* bytes */
	bool uses_tsc;
};

/* ---- machine.c ---- */

/*
 * The clock of single operations: the processor's counter where it runs at
 * one speed for ever (10 ns a reading), clock_gettime elsewhere (20 to 40).
 */
extern bool clock_uses_tsc;
extern double clock_ns_per_tick;

static inline uint64_t
clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)ts.tv_nsec;
}

static inline uint64_t
clock_ticks(void)
{
#if defined __x86_64__ && defined __GNUC__
	if (clock_uses_tsc)
		return __rdtsc();
#endif
	return clock_ns();
}

static inline uint64_t
clock_ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)((double)ticks * clock_ns_per_tick);
}

/* clock_init - choose the clock and measure its speed; takes 50 ms. */
void clock_init(void);

/* machine_describe - fill in what can be found out; the rest reads "?". */
void machine_describe(const char *dir, struct machine *machine);

/*
 * machine_warm - use and free want bytes of memory (less if there is not so
 * much) through a file of dir, so that what runs next does not pay for
 * memory that the machine's host has taken back.
 */
void machine_warm(const char *dir, uint64_t want);

/*
 * machine_measure - the machine's limits, in a file of dir that is removed
 * again.  key_count sizes the copying.  Returns false with errno set.
 */
bool machine_measure(
    const char *dir, uint64_t key_count, struct limits *limits);

/* machine_rss_reset - let the peak of this process start anew. */
void machine_rss_reset(void);

/* machine_rss - resident bytes: the peak, and now without files' pages. */
void machine_rss(uint64_t *ret_peak, uint64_t *ret_anon);

/*
 * machine_private - bytes resident in this process and no other: all, and
 * without pages of files that are as the files are.  0 where the system does
 * not tell.
 */
void machine_private(uint64_t *ret_private, uint64_t *ret_dirty);

/* machine_disk - bytes allocated by the files under dir, as du counts. */
uint64_t machine_disk(const char *dir);

/* machine_remove - remove dir with all below it; true if it is gone. */
bool machine_remove(const char *dir);

/* ---- report.c ---- */

/*
 * Measures of a whole run: [round][engine][benchmark], each dimension as
 * large as the options say.
 */
struct results {
	const struct options *options;
	const struct machine *machine;
	const struct limits *limits; /* [round] */
	const struct measure *measures;
};

/* results_at - where a measure lies; also for those that fill it in. */
size_t results_at(const struct options *options, unsigned round, size_t engine,
    size_t benchmark);

/* report_table, report_json - print everything; false if out of memory. */
bool report_table(const struct results *results);
bool report_json(const struct results *results);

#endif /* BENCH_BENCH_H */
