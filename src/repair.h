/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * repair.h - a writer's part of recovery, and the making of new segments.
 */
#ifndef REPAIR_H
#define REPAIR_H

#include "base.h"
#include "recover.h"

/*
 * As the only writer: remove what is not live, and if the end is unclean sync
 * what is kept and begin a new segment of at most segment_size bytes, in a
 * new range of sequence numbers, durable with its name.
 */
enum kvlog_status repair_log(struct dir *dir, struct control *control,
    struct hintset *hints, struct recovery *recovery, uint64_t segment_size,
    struct kvlog_error *err);

/* The size for the next plain segment of a store; small: as what is written to,
 * prepared and compacted is to hold back little space. */
uint64_t repair_segment_size(
    const struct segset *set, uint64_t max_size, bool small);

/* A plain segment to be made. */
struct segment_plan {
	const char *name; /* not one that is part of the store */
	const struct segment_store *store;
	uint32_t number;
	uint64_t max_size; /* upper bound in force, in bytes */
	uint64_t size;     /* wanted, in bytes */
	uint64_t need;     /* there must be room for these bytes of records */
	bool huge;         /* in huge pages, if that can be had */
	bool may_use_reserve; /* if the disk is full */
	bool opening;         /* may use also what is kept for openings */
};

/* Make it.  Sets *ret_reserve to whether the reserve was taken (may be NULL).
 * KVLOG_NOSPACE, _TOOBIG (no numbers are left), _NOMEM, _IO. */
enum kvlog_status repair_new_segment(struct dir *dir,
    const struct segment_plan *plan, struct segment **ret_segment,
    bool *ret_reserve, struct kvlog_error *err);

/*
 * Copy the records of set->segments[first ..], verbatim and in order, into a
 * segment file of this name, which is not one of the store's: it can stand for
 * all of them, if it is synced first.  Known bad ranges are left out.
 * KVLOG_CORRUPT: they have changed; _NOSPACE, _NOMEM, _IO.
 */
enum kvlog_status repair_copy_tail(struct dir *dir, const struct segset *set,
    size_t first, uint32_t round, uint64_t last_seq, const char *name,
    struct segment **ret_output, struct kvlog_error *err);

/*
 * Give a segment made so its link and its own name, both durable: then it is
 * part of the store.  On failure it may have the name already.
 */
int repair_publish(
    struct dir *dir, struct segment *seg, const struct segment_link *link);

/*
 * Store all of a segment that lies behind the position that is known durable
 * again, byte for byte, so that the next sync writes it: 0 or an errno value.
 */
int repair_store_again(
    struct dir *dir, const struct segment *seg, uint64_t synced);

/* Whether a file of the reserve can be a segment: if its maker was killed in
 * the midst, it may have any size; and if it has another name, another store
 * may use it. */
bool repair_reserve_fits(const struct os_stat *st);

/* Make sure that the reserve is there: 0 or an errno value. */
int repair_make_reserve(struct dir *dir, uint64_t segment_size);

#endif
