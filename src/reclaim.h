/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.h - automatic compaction: how much garbage there is, where, and when
 * it is worth a run.
 */
#ifndef RECLAIM_H
#define RECLAIM_H

#include "base.h"
#include "log.h"

/* When to begin: all of these, each with a default for 0. */
struct reclaim_policy {
	bool off;
	uint32_t percent; /* of the bytes of records are garbage ... */
	uint64_t bytes;   /* ... and so many */
	uint64_t rate;    /* of writing, bytes in a second; 0: any */
};

struct reclaim {
	/* Set at the start. */
	struct reclaim_policy policy;
	bool (*go_on)(void *arg); /* see struct compaction */
	void *go_on_arg;

	/* Under the store's maintain_lock. */
	bool surveyed;      /* what was garbage at the opening is known */
	uint64_t looked_at; /* position of the log at the last look */
	_Atomic uint64_t runs, bytes_written, bytes_freed;

	/* How long to wait for each so many bytes, as compaction does not keep
	 * up; 0: it does.  And bytes since the last wait. */
	_Atomic uint32_t pressure_ms;
	_Atomic uint64_t unpaid;
	_Atomic bool running; /* a run, in which writers look for themselves */
};

/*
 * As the maintainer: a look at what there is, and at most one run; false if
 * nothing is to be done for now.  Of an index in the hints it knows nothing,
 * and does nothing.
 */
bool reclaim_step(struct reclaim *reclaim, struct log *log);

/* Count what a compaction has done. */
void reclaim_count(
    struct reclaim *reclaim, const struct kvlog_compact_report *report);

/* Whether there may be something to do. */
bool reclaim_wants(const struct reclaim *reclaim, struct log *log);

/* Whether writers are to wait, or a run goes on, in which they may have to. */
static inline bool
reclaim_asks(const struct reclaim *reclaim)
{
	return atomic_load_explicit(
		   &reclaim->pressure_ms, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&reclaim->running, memory_order_relaxed);
}

/* If it is so, after a record of so many bytes, without locks: wait, if there
 * have been enough. */
void reclaim_wait(struct reclaim *reclaim, struct log *log, uint64_t bytes);

#endif
