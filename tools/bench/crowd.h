/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crowd.h - processes that use one store at the same time: readers, which
 * have so much to do, and writers, which write as long as a reader reads.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include "bench.h"

#include <stdatomic.h>

#define CROWD_MAX 64u /* readers, and writers */

/* One process, in memory shared by all. */
struct crowd_part {
	bool writes;
	unsigned number;       /* among the readers, or the writers: 0 and up */
	enum bench_exit error; /* why its work failed */
	uint64_t ops, ns;
	uint64_t private_bytes, dirty_bytes; /* see machine_private() */
	struct histogram latency;
};

/* What the processes tell each other. */
struct crowd {
	unsigned readers, writers;
	atomic_uint arrived;   /* at all meeting points so far */
	atomic_uint done;      /* readers */
	atomic_bool abandoned; /* one has failed: nobody is to wait for it */
	struct crowd_part parts[];
};

/* What the processes do; false after a message, with part->error set. */
struct crowd_work {
	void *arg;
	bool (*open)(void *arg, struct crowd_part *part);
	/* A writer ends when crowd_is_over() says so. */
	bool (*work)(void *arg, struct crowd_part *part, struct crowd *crowd);
	bool (*close)(void *arg, struct crowd_part *part);
};

static inline bool
crowd_is_over(struct crowd *crowd)
{
	return atomic_load_explicit(&crowd->done, memory_order_relaxed) ==
		   crowd->readers ||
	       atomic_load_explicit(&crowd->abandoned, memory_order_relaxed);
}

/*
 * crowd_run - let each process open the store, all together work, and all
 * close it when each has measured its memory.  Adds up what they measured:
 * readers' operations, memory and latencies, and writers' operations; their
 * time is that of the slowest of its kind.  Returns BENCH_EXIT_DONE, or
 * another status after a message.
 */
enum bench_exit crowd_run(const struct crowd_work *work, unsigned readers,
    unsigned writers, struct measure *measure);

#endif /* BENCH_CROWD_H */
