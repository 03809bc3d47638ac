/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segset.c - the live set and its space of locations.
 */
#include "config.h"

#include "segset.h"

#include <string.h>

#define CHUNK_BYTES (UINT64_C(8) << SEGSET_CHUNK_BITS)
#define CHUNKS (UINT64_C(1) << (SEGSET_LOC_BITS - SEGSET_CHUNK_BITS))
#define TABLE_MASK ((1u << SEGSET_TABLE_BITS) - 1)

struct segset *
segset_create(void)
{
	return os->calloc(1, sizeof(struct segset));
}

void
segset_destroy(struct segset *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->count; i++)
		segment_close(set->segments[i]);
	for (size_t i = 0; i < SEGSET_TABLES; i++)
		os->free(atomic_load(&set->tables[i]));
	os->free(set->segments);
	os->free(set);
}

/* The table that chunk is in; NULL: out of memory. */
static struct segset_table *
table_of(struct segset *set, uint64_t chunk)
{
	struct segset_table *_Atomic *slot =
	    &set->tables[chunk >> SEGSET_TABLE_BITS];
	struct segset_table *table = atomic_load(slot);

	if (table == NULL) {
		table = os->calloc(1, sizeof *table);
		atomic_store_explicit(slot, table, memory_order_release);
	}
	return table;
}

static void
note_now(struct segset *set, const struct segment *seg)
{
	set->now_ms = max_u64(set->now_ms, seg->header.now_ms);
}

/* Room in the list for so many more. */
static enum kvlog_status
grow_list(struct segset *set, size_t more)
{
	size_t cap = set->cap > 0 ? set->cap : 16;
	struct segment **grown;

	while (cap - set->count < more)
		cap *= 2;
	if (cap == set->cap)
		return KVLOG_OK;
	grown = os->realloc(set->segments, cap * sizeof(*grown));
	if (grown == NULL)
		return KVLOG_NOMEM;
	set->segments = grown;
	set->cap = cap;
	return KVLOG_OK;
}

/* Give a segment the next run of chunks. */
static enum kvlog_status
place(struct segset *set, struct segment *seg, struct kvlog_error *err)
{
	uint64_t chunks = (seg->header.size + CHUNK_BYTES - 1) / CHUNK_BYTES;

	if (chunks > CHUNKS - set->next_chunk)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "the index addresses 8 TiB of segments; reopen the store "
		    "to number them anew");
	for (uint64_t c = 0; c < chunks; c++)
		if (table_of(set, set->next_chunk + c) == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "add a segment");

	seg->loc_base = set->next_chunk << SEGSET_CHUNK_BITS;
	for (uint64_t c = 0; c < chunks; c++) {
		uint64_t chunk = set->next_chunk + c;

		atomic_store_explicit(
		    &table_of(set, chunk)->chunks[chunk & TABLE_MASK], seg,
		    memory_order_release);
	}
	set->next_chunk += chunks;
	return KVLOG_OK;
}

enum kvlog_status
segset_place(struct segset *set, struct segment *const *segs, size_t count,
    struct kvlog_error *err)
{
	const uint64_t next_chunk = set->next_chunk;
	enum kvlog_status st = grow_list(set, count);

	if (st != KVLOG_OK)
		return err_set(err, st, 0, "add a segment");
	for (size_t i = 0; i < count && st == KVLOG_OK; i++)
		st = place(set, segs[i], err);
	if (st != KVLOG_OK)
		set->next_chunk = next_chunk;
	return st;
}

enum kvlog_status
segset_add(struct segset *set, struct segment *seg, struct kvlog_error *err)
{
	enum kvlog_status st = segset_place(set, &seg, 1, err);

	if (st == KVLOG_OK) {
		set->segments[set->count++] = seg;
		note_now(set, seg);
	}
	return st;
}

void
segset_replace(struct segset *set, size_t first, size_t old_count,
    struct segment *const *segs, size_t count)
{
	struct segment **at = set->segments + first;

	assert(old_count <= set->count - first);
	assert(set->cap - set->count >= count);
	memmove(at + count, at + old_count,
	    (set->count - first - old_count) * sizeof(*at));
	memcpy(at, segs, count * sizeof(*at));
	set->count = set->count - old_count + count;
	for (size_t i = 0; i < count; i++)
		note_now(set, segs[i]);
}

struct segment *
segset_take_last(struct segset *set)
{
	assert(set->count > 0);
	return set->segments[--set->count];
}

void
segset_drop_last(struct segset *set)
{
	segment_close(segset_take_last(set));
}

uint64_t
segset_bytes(const struct segset *set)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->count; i++)
		bytes += segment_end(set->segments[i]);
	return bytes;
}
