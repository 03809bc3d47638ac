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
#include "crash.h"
#include "engine.h"
#include "records.h"

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
#define BENCH_MAX_SIZES 16
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
	uint64_t num; /* records in a loaded store: one of the sizes */
	uint64_t sizes[BENCH_MAX_SIZES];
	size_t size_count;
	uint64_t reads;        /* operations of a read benchmark */
	uint64_t reads_wanted; /* 0: as many as records */
	uint64_t sync_num;     /* operations of fillsync */
	uint64_t oneshot_num;  /* processes of a one-shot benchmark */
	uint64_t threads;      /* of the benchmarks with threads */
	uint64_t readers;      /* processes; 0: as the benchmark likes */
	uint64_t writers;      /* processes */
	uint64_t seed;
	size_t key_len;
	struct lengths lengths; /* of values */
	const char *value_size; /* the same as it was given */
	uint64_t large_num;     /* records with large values, of that length */
	uint64_t large_len;
	uint64_t churn;        /* how often churn puts all keys */
	unsigned compressible; /* per cent of a value */
	bool zipfian;          /* reads of a loaded store choose so */
	double theta;          /* of Zipf's distribution */
	bool compacted;        /* stores are, before they are scanned */
	uint64_t seconds;      /* that a benchmark takes at most; 0: any */
	unsigned rounds;
	const char *dir; /* where the working directory is made */
	enum { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_MARKDOWN } format;
	uint64_t ballast;       /* bytes of memory to lock */
	uint64_t memory;        /* that measured work may use; 0: any */
	const char *report_dir; /* of a page with plots; or NULL */
	char command[1024];     /* as it was given */
};

/* options_set_size - let it be the turn of one of the sizes. */
void options_set_size(struct options *options, size_t size);

/* Why an engine does not do a benchmark. */
enum omission {
	OMIT_NOTHING,
	OMIT_UNSHARED, /* another process cannot use an open store */
	OMIT_NO_SCAN,  /* it has no order of keys */
	OMIT_NO_VIEW,  /* it always copies values */
	OMIT_NO_COMPACT
};

/* What is to be known about a result. */
enum note {
	NOTE_SINGLE = 1, /* the engine has no such call: one by one */
	NOTE_CUT = 2     /* ended by options->seconds */
};

/* One benchmark of one engine in one round. */
struct measure {
	bool done; /* false at the end: the engine cannot do it */
	enum omission omitted;
	unsigned notes; /* of enum note */
	uint64_t ops;
	uint64_t ns;          /* of all operations, by the wall clock */
	uint64_t cpu_us;      /* of the process, all threads, user and system */
	uint64_t disk_open;   /* bytes allocated, right after the last
				 operation */
	uint64_t disk_closed; /* the same once the store was closed; 0 if a
				 later benchmark wrote to the store first */
	uint64_t close_ns;    /* what that closing took; 0 as above */
	uint64_t rss_peak;    /* bytes resident during it, mapped files too */
	uint64_t rss;         /* at the end */
	uint64_t rss_anon;    /* of those at the end, not of files */
	uint64_t written;     /* bytes given to the medium, as far as known: up
				 to closing, or to the end; 0: not known */
	uint64_t user_bytes;  /* keys and values that were put */
	uint64_t longest_ns;  /* see steps.c */
	uint64_t command_ns;  /* the engine's command doing the same, median;
				 0: there is none */
	uint64_t process_ns;  /* a process that does nothing, median; 0 in
				 benchmarks without processes */
	uint64_t writer_ops;  /* of processes that wrote meanwhile */
	uint64_t writer_ns;
	uint64_t private_bytes; /* that reading processes gained, together;
				   see machine_private() */
	uint64_t dirty_bytes;   /* the same */
	uint64_t disk_fresh;    /* of churn: allocated before it */
	uint64_t disk_most;     /* ... and at most meanwhile */
	uint64_t rewritten;     /* bytes that compact() has written ... */
	uint64_t rewriting_ns;
	uint64_t copied; /* ... and that were copied and synced beside it */
	uint64_t copying_ns;
	struct histogram latency;
};

/* What the machine itself can do: nanoseconds for one of each. */
enum limit {
	LIMIT_COPY,       /* storing 128 bytes into fresh mapped pages */
	LIMIT_SYNC,       /* the same into blocks already written, fdatasync */
	LIMIT_SYNC_FRESH, /* the same into blocks that are but allocated */
	LIMIT_MISS,       /* a load from anywhere, then the next */
	LIMIT_MISSES,     /* the same, with as many at once as will go */
	LIMIT_READ,       /* reading 128 bytes of mapped pages, in order */
	LIMIT_COUNT
};

struct limits {
	double ns[LIMIT_COUNT];
};

/* Where it all was measured. */
struct machine {
	char cpu[128];
	char kernel[128];
	char filesystem[64];
	unsigned cores;
	uint64_t memory;           /* bytes */
	uint64_t memory_available; /* to this process, at the start */
	bool uses_tsc;
};

/* About the most that an engine takes for its files, in bytes. */
static inline uint64_t
bench_footprint(uint64_t key_count, uint64_t key_len, uint64_t value_len)
{
	return key_count * (key_len + value_len + 64) / 2 * 3;
}

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

/* clock_ticks_after - what clock_ticks() will be when ns have passed. */
static inline uint64_t
clock_ticks_after(uint64_t ns)
{
	return clock_ticks() + (uint64_t)((double)ns / clock_ns_per_tick);
}

/* clock_init - choose the clock and measure its speed; takes 50 ms. */
void clock_init(void);

/* machine_describe - fill in what can be found out; the rest reads "?". */
void machine_describe(const char *dir, struct machine *machine);

/*
 * group_available - bytes that the process's control group may still use;
 * UINT64_MAX if there is no group, or no limit.
 */
uint64_t group_available(void);

/* group_limit - let it use so much from now on; 0: any.  False with errno. */
bool group_limit(uint64_t bytes);

/*
 * machine_warm - use and free want bytes of memory (less if there is not so
 * much) through a file of dir, so that what runs next does not pay for
 * memory that the machine's host has taken back.
 */
void machine_warm(const char *dir, uint64_t want);

/*
 * machine_measure - the machine's limits, in files of dir that are removed
 * again, about as large as those of a store of key_count records.  Returns
 * false with errno set.
 */
bool machine_measure(
    const char *dir, uint64_t key_count, struct limits *limits);

/* machine_rss_reset - let the peak of this process start anew. */
void machine_rss_reset(void);

/* machine_rss - resident bytes: the peak, now, and now but for files. */
void machine_rss(uint64_t *ret_peak, uint64_t *ret_now, uint64_t *ret_anon);

/*
 * machine_written - bytes that this process has made the kernel write to the
 * medium so far: a page counts when it becomes dirty.  UINT64_MAX where the
 * system does not tell.
 */
uint64_t machine_written(void);

/*
 * machine_private - bytes resident in this process and no other: all, and
 * without pages of files that are as the files are.  0 where the system does
 * not tell.
 */
void machine_private(uint64_t *ret_private, uint64_t *ret_dirty);

/* ---- disk.c ---- */

/* machine_disk - bytes allocated by the files under dir, as du counts. */
uint64_t machine_disk(const char *dir);

/*
 * machine_watch_disk - look at it every some milliseconds, in a thread, until
 * machine_watch_end() tells the most there was.  False if that cannot be.
 */
struct disk_watch;
struct disk_watch *machine_watch_disk(const char *dir);
uint64_t machine_watch_end(struct disk_watch *watch);

/* machine_evict - let no page of the files under dir be in memory: of those
 * that nobody has mapped. */
void machine_evict(const char *dir);

/*
 * machine_copy - copy the files under dir as cp does, sync each, and remove
 * the copies.  How many bytes, and how long that took; false with errno.
 */
bool machine_copy(const char *dir, uint64_t *ret_bytes, uint64_t *ret_ns);

/* machine_room - bytes that can still be written below dir. */
uint64_t machine_room(const char *dir);

/* machine_remove - remove dir with all below it; true if it is gone. */
bool machine_remove(const char *dir);

/* ---- summary.c ---- */

/*
 * Measures of a whole run: [size][round][engine][benchmark], each dimension
 * as large as the options say.
 */
struct results {
	const struct options *options;
	const struct machine *machine;
	const struct limits *limits; /* [round] */
	const struct measure *measures;
	const struct crash_result *crash;
	int64_t started; /* time() */
};

/* results_at - where a measure lies; also for those that fill it in. */
size_t results_at(const struct options *options, size_t size, unsigned round,
    size_t engine, size_t benchmark);

#endif /* BENCH_BENCH_H */
