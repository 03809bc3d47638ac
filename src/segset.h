/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segset.h - the live segments of an open store, and the locations that the
 * index keeps of their records.
 *
 * A location is a number of 40 bits: each segment is given a run of chunks of
 * 1 MiB in an imaginary space of 8 TiB, and a location counts the 8-byte
 * units of that space.  One table look-up thus leads from a location to its
 * segment, whatever the sizes of segments are.
 *
 * Threads: one thread at a time changes the set; segset_at() may run beside
 * it for locations that were given out before.
 */
#ifndef SEGSET_H
#define SEGSET_H

#include "base.h"
#include "segment.h"

#define SEGSET_LOC_BITS 40
#define SEGSET_CHUNK_BITS 17 /* units of 8 bytes in a chunk: 1 MiB */
#define SEGSET_TABLE_BITS 11 /* chunks in a table */
#define SEGSET_TABLES                                                          \
	(1u << (SEGSET_LOC_BITS - SEGSET_CHUNK_BITS - SEGSET_TABLE_BITS))

struct segset_table {
	struct segment *_Atomic chunks[1u << SEGSET_TABLE_BITS];
};

struct segset {
	struct segment **segments; /* in order of the tiling; owned */
	size_t count, cap;
	size_t promised;      /* room for those that have places only */
	size_t closed;        /* so many need no descriptor; kept by sync.c */
	uint64_t next_chunk;  /* where to look for free ones */
	uint64_t chunk_count; /* all there are */
	/* Latest time against which any of them was judged. */
	_Atomic uint64_t now_ms;
	struct segset_table *_Atomic tables[SEGSET_TABLES];
};

struct segset *segset_create(void);      /* NULL: out of memory */
void segset_destroy(struct segset *set); /* closes all; NULL is fine */

/*
 * Add a segment behind the others; the set owns it from then on.
 * KVLOG_NOMEM, or KVLOG_TOOBIG when the 8 TiB are used up; then the caller
 * keeps the segment.
 */
enum kvlog_status segset_add(
    struct segset *set, struct segment *seg, struct kvlog_error *err);

/*
 * Give segments that are to replace others their locations, so that
 * segset_replace() cannot fail.  On failure the set is as it was.
 */
enum kvlog_status segset_place(struct segset *set, struct segment *const *segs,
    size_t count, struct kvlog_error *err);

/* Take the places back from segments that are to replace nothing after all. */
void segset_unplace(
    struct segset *set, struct segment *const *segs, size_t count);

/*
 * Put segs, which were given their places, into the place of
 * set->segments[first .. first + old_count).  Those are the caller's then, and
 * keep their locations until segset_forget().
 */
void segset_replace(struct segset *set, size_t first, size_t old_count,
    struct segment *const *segs, size_t count);

/* Nobody has a location of this segment any more, which is no part of the set:
 * others may be given them. */
void segset_forget(struct segset *set, const struct segment *seg);

/* The list as it is now, of the first so many segments, which are kept until
 * segset_destroy(); no locations.  NULL: out of memory. */
struct segset *segset_copy(const struct segset *set, size_t count);

/* Take the last one out again (and close it, or leave that to the caller). */
void segset_drop_last(struct segset *set);
struct segment *segset_take_last(struct segset *set);

static inline struct segment *
segset_at(const struct segset *set, uint64_t loc, uint64_t *ret_off)
{
	uint64_t chunk = loc >> SEGSET_CHUNK_BITS;
	const struct segset_table *table;
	struct segment *seg;

	table = atomic_load_explicit(
	    &set->tables[chunk >> SEGSET_TABLE_BITS], memory_order_acquire);
	seg = atomic_load_explicit(
	    &table->chunks[chunk & ((1u << SEGSET_TABLE_BITS) - 1)],
	    memory_order_acquire);
	*ret_off = (loc - seg->loc_base) * 8;
	return seg;
}

static inline uint64_t
segset_loc(const struct segment *seg, uint64_t off)
{
	return seg->loc_base + off / 8;
}

/* Bytes in use in all segment files. */
uint64_t segset_bytes(const struct segset *set);

#endif
