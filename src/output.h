/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output.h - the output of a compaction: one or more files that take the
 * place of a run of neighbouring segments.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "hintset.h"
#include "log.h"

/* How records are shared out to parts.  All zeros to begin with. */
struct output_layout {
	uint64_t *ends; /* of the records of each part; owned */
	size_t count, cap;
	uint64_t record_count;
};

/* The next record has this size; no part but one of a single record becomes
 * longer than max_size.  KVLOG_NOMEM, KVLOG_TOOBIG. */
enum kvlog_status output_layout_add(
    struct output_layout *layout, uint64_t size, uint64_t max_size);
/* After the last record: without any there is a part all the same. */
enum kvlog_status output_layout_end(struct output_layout *layout);
void output_layout_fini(struct output_layout *layout);

/* Disk space that the parts take. */
uint64_t output_layout_bytes(const struct output_layout *layout);

/* What is to be made. */
struct output_plan {
	/* The inputs: set->segments[first .. first + count), whole sets, which
	 * have these numbers in the live set too. */
	const struct segset *set;
	size_t first, count;
	bool expired;   /* records were dropped that have expired */
	bool online;    /* others go on meanwhile */
	uint32_t round; /* greater than any seen */
	uint64_t now_ms;
	uint64_t max_size; /* upper bound of later segments, in bytes */
	const struct output_layout *layout; /* for as long as the output is */
};

struct output;

/* Begin.  KVLOG_NOMEM, _IO. */
enum kvlog_status output_create(struct output **ret_output, struct log *log,
    const struct output_plan *plan, struct kvlog_error *err);

/*
 * Add a record, in order of keys; its seq, lag, flags and extensions are kept,
 * but for MORE and CONT, which mean nothing in an output.
 * KVLOG_NOSPACE, _IO, _NOMEM.
 */
enum kvlog_status output_add(struct output *output, const struct record *rec,
    uint64_t hash, struct kvlog_error *err);

/*
 * When all records of the layout were added: let the parts take the place of
 * the inputs, on disk, in the set and among the hints; of the index
 * view_settle() is left to do.
 *
 * On failure either all is as it was, or the parts are in place and *ret_done
 * is set; KVLOG_BROKEN if a sync failed.  If the turn cannot be had, only the
 * directory has them, which says the same, until output_clean().
 */
enum kvlog_status output_publish(
    struct output *output, bool *ret_done, struct kvlog_error *err);

/*
 * As the maintainer: finish or remove what one that was stopped has left;
 * *ret_round becomes the greatest round there is.
 */
enum kvlog_status output_clean(
    struct log *log, uint32_t *ret_round, struct kvlog_error *err);

/* Also removes what was not published; NULL is fine. */
void output_destroy(struct output *output);

#endif
