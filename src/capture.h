/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture.h - what of an open store makes up its state at one commit: which
 * files as they are, and which records of files that others may still write.
 */
#ifndef CAPTURE_H
#define CAPTURE_H

#include "base.h"
#include "store.h"

/* A segment file.  What tells it from all others is salt and set id. */
struct captured {
	struct file_id id;
	char name[DIR_NAME_LEN];
	uint64_t salt, set_id;
	uint64_t last_salt; /* that a successor names */
	uint64_t end;       /* of its records */
	uint64_t size;      /* of the file */
	uint64_t first_seq, last_seq;
};

struct capture {
	struct segment_store store;
	uint64_t max_size; /* of segments, in force */
	uint64_t last_seq; /* of the last commit */
	/* In the order of the log: count files that are sealed and durable,
	 * then tail_count whose records are to be copied. */
	struct captured *files;
	size_t count, tail_count, cap;
	struct segment_link link; /* of a segment behind them */
	/* Hints of the count files, images where they have none yet, NULL
	 * where one cannot be made.  They are of the view, which is held. */
	struct hint_cover cover;
	struct store *db;
	struct view *view;
};

/*
 * Capture the state as it is now.  A handle that writes ends the active
 * segment, unless no commit is in it or the disk is full, and makes all
 * durable.  *ret_moved, and KVLOG_OK: files were replaced meanwhile; try
 * again.  Free with capture_fini(), whatever comes of it.
 */
enum kvlog_status capture_make(struct store *db, struct capture *ret,
    bool *ret_moved, struct kvlog_error *err);
void capture_fini(struct capture *c); /* all zeros is fine */

/* The number of the last segment that it is of. */
static inline uint32_t
capture_last(const struct capture *c)
{
	return c->files[c->count + c->tail_count - 1].id.last;
}

/* Where a file of an earlier state ends: the number and salt of its last
 * segment. */
struct log_end {
	uint32_t number;
	uint64_t salt;
};

/*
 * Whether a state, whose files end there in the order of the log and whose last
 * commit is seq, is one of the history that leads here.  Branches give the same
 * numbers to different commits, so that the salts have to agree up to the file
 * that holds the commit.  Those that a compaction has merged beyond the last of
 * the ends are gone; then only the numbers tell.
 */
bool capture_knows(const struct capture *c, const struct log_end *ends,
    size_t count, uint64_t seq);

#endif
