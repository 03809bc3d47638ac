/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recover.h - from the files of a directory to the state of the log: which
 * segments are live, where each ends, what was torn off and what is damaged.
 *
 * Only reads; what a writer does about it is in repair.h.
 */
#ifndef RECOVER_H
#define RECOVER_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "hintset.h"
#include "segset.h"

struct recovery {
	uint32_t flags; /* KVLOG_RECOVERY_* */
	uint64_t damaged_bytes;
	uint64_t damaged_ranges;
	uint32_t damaged_segment; /* where the first one is */
	uint64_t damaged_off;
	uint64_t torn_bytes; /* cut off at the end */
	uint32_t discarded;  /* segments behind the end */
	uint32_t scanned;    /* segments read for want of a hint */
	uint32_t missing;    /* number of a segment that is missing, or 0 */

	bool warm;     /* the control page is valid: nothing was lost since */
	bool poisoned; /* a sync has failed since the machine was started */
	bool doubtful; /* one may have: the last writer ended in a sync */
	bool adopted;  /* the last segment has its name, but the page does not
			  speak of it yet */
	struct control_state state; /* of the page, if warm or poisoned */

	uint64_t last_seq;  /* of the last commit kept */
	uint64_t attested;  /* greatest number that files say is durable */
	uint64_t seq_seen;  /* greatest number in any file, kept or not */
	uint64_t lost_seq;  /* last_seq, or what damage has cut off behind it */
	uint64_t first_seq; /* the next commit's number, if not unclean */
	bool unclean;       /* writing must go on in a new segment and range */

	bool sync_failed; /* of what was to be kept, while it was repaired */

	struct file_list files; /* as listed */
	uint32_t max_round;     /* of any file seen */
};

/*
 * List, open, judge.  Fills hints->set with the live segments, their ends
 * set; the last one is where the log ends.  Of what hints cover, only the
 * headers of the files are read.
 *
 * KVLOG_NOSTORE: there are no segments.  KVLOG_CORRUPT: one is missing, is
 * not of this store's history, or its header is unreadable.
 */
enum kvlog_status recover_find(struct dir *dir, const struct control *control,
    struct hintset *hints, struct recovery *ret, struct kvlog_error *err);

/*
 * List the directory and mark what is live; *ret_last and *ret_gap as
 * dir_tile(), *ret_round the greatest one seen.  Free with file_list_fini(), in
 * any case.
 */
enum kvlog_status recover_list(struct dir *dir, struct file_list *ret_files,
    uint32_t *ret_last, uint32_t *ret_gap, uint32_t *ret_round,
    struct kvlog_error *err);

/* The position where a segment's records end. */
static inline uint64_t
recovery_end_pos(const struct segment *seg)
{
	return control_pos(segment_number(seg), segment_end(seg));
}

/* Whether there may be bytes in a segment that no sync has covered, as the page
 * knows it. */
bool recovery_may_be_unsynced(
    const struct recovery *recovery, const struct segment *seg);

void recovery_fini(struct recovery *recovery);

/* A line for people about what was found. */
void recover_describe(const struct recovery *recovery, char *buf, size_t len);

#endif
