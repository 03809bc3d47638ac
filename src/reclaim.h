/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.h - automatic compaction: how much garbage there is, where, and when
 * it is worth a run.
 */
#ifndef RECLAIM_H
#define RECLAIM_H

#include "base.h"
#include "bucket_set.h"
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
	/* What was dropped or has expired: which buckets there were, by which
	 * view->catalogue; and the time of the last look, and of the next. */
	struct bucket_set buckets;
	uint64_t catalogue;
	uint64_t looked_ms;
	_Atomic uint64_t look_ms;
	/* Index in the hints.  After the last compaction: bytes of records, of
	 * garbage, and percent of what came before it that was some. */
	_Atomic uint64_t settled, settled_dead;
	uint64_t settled_waste; /* of the kind that no write has replaced */
	_Atomic uint32_t garbage_percent;
	_Atomic uint64_t runs, bytes_written, bytes_freed;

	/* How long to wait for each so many bytes, as compaction does not keep
	 * up; 0: it does.  And bytes since the last wait. */
	_Atomic uint32_t pressure_ms;
	_Atomic uint64_t unpaid;
	_Atomic bool running; /* a run, in which writers look for themselves */
	_Atomic bool told;    /* other processes, of the pressure */
	uint64_t told_ns;
};

/*
 * As the maintainer: a look at what there is, and at most one run; false if
 * nothing is to be done for now.  With an index in the hints, all runs that are
 * worth it.
 */
bool reclaim_step(struct reclaim *reclaim, struct log *log);

/* Around a compaction that somebody has called for: writers look meanwhile how
 * much garbage there is.  Counts what it has done. */
void reclaim_begin(struct reclaim *reclaim);
void reclaim_end(struct reclaim *reclaim, struct log *log,
    const struct kvlog_compact_report *report);

/* Whether there may be something to do. */
bool reclaim_wants(const struct reclaim *reclaim, struct log *log);

/* Milliseconds until that may be so without a commit, at most; UINT64_MAX:
 * never. */
uint64_t reclaim_rest_ms(const struct reclaim *reclaim);

/* All zeros is fine. */
void reclaim_fini(struct reclaim *reclaim);

/* As the maintainer, every few milliseconds: while a run is under way, tell
 * writers of other processes how far behind it is. */
void reclaim_tell(struct reclaim *reclaim, struct log *log);

/* Whether writers may have to wait. */
static inline bool
reclaim_presses(const struct reclaim *reclaim, const struct log *log)
{
	return atomic_load_explicit(
		   &reclaim->pressure_ms, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&reclaim->running, memory_order_relaxed) ||
	       control_load(log->control, CONTROL_PRESSURE) != 0;
}

/* If so, after a commit of so many bytes, without locks: wait.  by_thread:
 * whether what is done here about it is done meanwhile. */
void reclaim_wait(
    struct reclaim *reclaim, struct log *log, uint64_t bytes, bool by_thread);

#endif
