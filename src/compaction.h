/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compaction.h - the state of a compaction, and how it reads: by walks over
 * hints that note the damage they meet.
 *
 * Damage parts the log into stretches.  A damaged segment is left alone, as
 * are the keys it may hold: it hides nothing, and behind it tombstones stay.
 * Each stretch is compacted as if the log ended with it.  Damage that is met
 * on the way is noted, and what is left is planned anew.  Sound segments are
 * left alone as well where a hint names lost records and covers them too.
 */
#ifndef COMPACTION_H
#define COMPACTION_H

#include "base.h"
#include "bucket_set.h"
#include "hintset.h"
#include "log.h"
#include "merge.h"

#define COMPACTION_CHECK 1024 /* records between two looks at the caller */

/* A run that was or is to be compacted: numbers of segments. */
struct compact_run {
	uint32_t first, last;
	uint64_t bytes; /* of its files */
	uint64_t live;  /* of its records, about; 0: it cannot be parted */
	bool rewritten; /* it was worth it */
};

struct compaction {
	/* Set by compact_init(), the rest being zero. */
	struct dir *dir;
	struct views *views;
	struct view *view;
	struct hintset *hints;
	struct log *log;   /* NULL: look, but change nothing */
	uint32_t round;    /* greatest one seen */
	uint64_t max_size; /* upper bound of a segment, in bytes */

	/* Set by the caller. */
	bool online;        /* others write meanwhile, here or elsewhere */
	bool all;           /* whatever it is worth */
	unsigned threshold; /* percent of a run that must be garbage */
	/* If only.last is not 0: this run and no other, whatever it is worth;
	 * its bytes need not be set. */
	struct compact_run only;
	bool if_worth;               /* but only if it turns out to be */
	kvlog_progress_fn *progress; /* or NULL */
	void *arg;
	uint64_t rate; /* bytes written in a second, at most; 0: any */
	/* Called every some milliseconds, to do what cannot wait; false: give
	 * up.  May be NULL. */
	bool (*go_on)(void *arg);
	void *go_on_arg;
	uint32_t upto; /* segments of greater numbers are not inputs; 0: what
			  there is when it begins, may be */
	uint64_t deadline_ns; /* of os->ticks_ns(): no run is begun behind it;
				 0: none */

	/* Filled in; complete also after a failure. */
	struct kvlog_compact_report report;

	/* In between. */
	/* The live set when it was last looked at, and where the records of
	 * the last one ended.  All decisions are of that moment; or, so that
	 * who writes ever so fast beside it does not keep it going, of the one
	 * when all was settled: up to this segment, if not 0, and place. */
	struct segset *set;
	uint64_t end;
	uint32_t settled;
	uint64_t settled_end;
	uint64_t paced_bytes, paced_ns; /* written since then */
	uint64_t now_ms;
	struct bucket_set buckets; /* as they were when it began */
	uint64_t live_bytes;       /* of all records that count */
	size_t stop;               /* segments from here on are not inputs */
	struct compact_run *runs;  /* chosen, in the order of the log */
	size_t run_count, run_cap;
	size_t done_count; /* of the runs: behind us */
	bool sealed_late;  /* runs were done before the last input was sealed:
			      it may delete what they have kept */
	/* Live bytes of a run, at most, and what it was before the disk was
	 * full; 0: not set. */
	uint64_t run_limit, run_wanted;
	unsigned barred_count; /* segments found to be none to touch */
	/* Since the last plan: for want of space, and why. */
	unsigned refused_count;
	struct kvlog_error refusal;
	uint64_t total_bytes, done_bytes; /* of progress */
};

/* Look at the live set anew, as far as it is settled.  KVLOG_NOMEM. */
enum kvlog_status compaction_look(
    struct compaction *c, struct kvlog_error *err);

/* Look at all of it, and let all that is seen be durable. */
enum kvlog_status compaction_settle(
    struct compaction *c, struct kvlog_error *err);

/* Lead the index over to what was put in the place of segments, in steps beside
 * which others go on. */
void compaction_lead_over(struct compaction *c);

/* Where records that are decided on end in set->segments[i]. */
uint64_t compaction_end(const struct compaction *c, size_t i);

/* The number in the set of the first file whose range does not begin before
 * this one, and part. */
size_t compaction_find(const struct segset *set, uint32_t first, uint32_t part);

/* Let nothing touch the set of parts that seg is of, from now on. */
void compaction_bar(struct compaction *c, const struct segment *seg);

/* A place in seg turned out to be damaged: bar it.  Returns KVLOG_CORRUPT. */
enum kvlog_status compaction_damage(
    struct compaction *c, const struct segment *seg, uint64_t off);

/* The first segment from i on that is barred; the set's count if none is. */
size_t compaction_stretch(const struct compaction *c, size_t i);

/* Whether the caller wants more: KVLOG_OK, or KVLOG_CANCELLED. */
enum kvlog_status compaction_ask(struct compaction *c, struct kvlog_error *err);

/* So many bytes were written: wait if that was too fast.  As above. */
enum kvlog_status compaction_pace(
    struct compaction *c, uint64_t bytes, struct kvlog_error *err);

/* Hints that cover set->segments[first .. stop) and nothing else; free with
 * hint_cover_fini().  KVLOG_CORRUPT: damage was met, and noted. */
enum kvlog_status compaction_cover(struct compaction *c, size_t first,
    size_t stop, struct hint_cover *cover, struct kvlog_error *err);

typedef enum kvlog_status compaction_fn(
    void *arg, const struct merge_entry *e, struct kvlog_error *err);

/* Call fn with the newest record of each key in set->segments[first .. stop).
 * KVLOG_CORRUPT: damage was met, and noted. */
enum kvlog_status compaction_walk(struct compaction *c, size_t first,
    size_t stop, compaction_fn *fn, void *arg, struct kvlog_error *err);

/* The same of a cover that is at hand, and of entries marked in it alone, if
 * marks is not NULL. */
enum kvlog_status compaction_walk_cover(struct compaction *c,
    const struct hint_cover *cover, uint8_t *const *marks, compaction_fn *fn,
    void *arg, struct kvlog_error *err);

/* Look which buckets there are: keys of others are garbage, once what was
 * committed until now is durable. */
void compaction_look_at_buckets(struct compaction *c);

/* Whether a record is of a bucket that was dropped. */
bool compaction_dropped(struct compaction *c, const struct record *rec);

bool compaction_expired(const struct compaction *c, const struct record *rec);

/* Whether a record that counts says no more than that its key is gone. */
bool compaction_tombstone(const struct compaction *c, const struct record *rec);

/* The run behind us that a segment was or is in; NULL if there is none. */
const struct compact_run *compaction_run_of(
    const struct compaction *c, const struct segment *seg);

#endif
