/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arena.h - memory in units of one size, which never breaks into pieces: a
 * unit given back serves for anything.  Also counts all it has asked for.
 *
 * Units given back are kept until arena_fini().  Callers exclude each other;
 * arena_bytes() may be called at any time.
 */
#ifndef ARENA_H
#define ARENA_H

#include "base.h"
#include <stdatomic.h>

#define ARENA_UNIT_BYTES 1024u

struct arena {
	struct arena_chunk *chunks; /* newest first: the one to cut from */
	struct arena_free *free;    /* last given back first */
	uint64_t unit_count;        /* cut from chunks so far */
	uint64_t free_count;
	uint64_t expected; /* units in all, sooner or later */
	_Atomic uint64_t bytes;
};

void arena_init(struct arena *arena);
void arena_fini(struct arena *arena); /* nothing may be in use */

/* So many units will be wanted; it is a matter of speed alone. */
void arena_expect(struct arena *arena, uint64_t units);

/* A unit, aligned to CACHE_LINE, not cleared; NULL if there is no memory. */
void *arena_get(struct arena *arena);
void arena_put(struct arena *arena, void *unit);

/* Take all of another arena's memory, in use or not; that one is then empty. */
void arena_join(struct arena *arena, struct arena *other);

/* The same for any size: memory of its own, which is given back at once. */
void *arena_get_bytes(struct arena *arena, uint64_t bytes);
void arena_put_bytes(struct arena *arena, void *p, uint64_t bytes);

/* Bytes in use or kept, less what the C library adds. */
uint64_t arena_bytes(const struct arena *arena);

/* Assert that so many units are in use. */
void arena_check(const struct arena *arena, uint64_t used);

#endif
