/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * survey.h - what stands in a segment file, whatever happened to it: runs of
 * whole commits, fragments of commits, bad bytes.  Only reads, by pread, and
 * judges nothing: what the pieces mean is for recover.c to say.
 */
#ifndef SURVEY_H
#define SURVEY_H

#include "base.h"
#include "segment.h"

enum piece_kind {
	PIECE_RUN,      /* whole commits, numbered without a gap; or marks */
	PIECE_SOFT,     /* a whole commit, a value of which is damaged */
	PIECE_FRAGMENT, /* part of a commit */
	PIECE_BAD,      /* no records */
};

struct piece {
	enum piece_kind kind;
	bool headless; /* of a fragment: its beginning is missing */
	bool endless;  /* of a fragment: its end is missing */
	uint64_t from, to;
	uint64_t first_seq, last_seq; /* 0: a run of marks only */
};

struct survey {
	bool done; /* false: covered by a hint, not read */
	struct piece *pieces;
	size_t count, cap;
	uint64_t end;      /* of the last valid record */
	bool clean_mark;   /* the last record is a clean mark */
	bool unreadable;   /* some of its bad bytes are read errors */
	uint64_t attested; /* greatest number its records attest as durable */
	uint64_t seq_seen; /* greatest number in it */
};

/*
 * Read a plain segment from the record at from up to limit.  exact: the log
 * is known to reach the limit; else zeros up to it are its end.  KVLOG_NOMEM,
 * or KVLOG_VERSION for a record of a newer format; free with survey_fini() in
 * any case.
 */
enum kvlog_status survey_plain(struct survey *sv, const struct segment *seg,
    uint64_t from, uint64_t limit, bool exact, struct kvlog_error *err);

/* Read a compaction output: only its bad bytes are pieces. */
enum kvlog_status survey_output(
    struct survey *sv, const struct segment *seg, struct kvlog_error *err);

void survey_fini(struct survey *sv);

#endif
