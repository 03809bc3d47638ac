/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segset.c - the live set and its space of locations.
 */
#include "config.h"

#include "segset.h"

#include <inttypes.h>
#include <string.h>

#define CHUNK_BYTES (UINT64_C(8) << SEGSET_CHUNK_BITS)
#define CHUNKS (UINT64_C(1) << (SEGSET_LOC_BITS - SEGSET_CHUNK_BITS))
#define TABLE_MASK ((1u << SEGSET_TABLE_BITS) - 1)

struct segset *
segset_create(void)
{
	struct segset *set = os->calloc(1, sizeof *set);

	if (set != NULL)
		set->chunk_count = CHUNKS;
	return set;
}

struct segset *
segset_copy(const struct segset *set, size_t count)
{
	struct segset *copy = segset_create();

	if (copy == NULL)
		return NULL;
	copy->segments = os->calloc(count + 1, sizeof(*copy->segments));
	if (copy->segments == NULL) {
		segset_destroy(copy);
		return NULL;
	}
	copy->cap = count + 1;
	copy->now_ms = set->now_ms;
	while (copy->count < count) {
		struct segment *seg = set->segments[copy->count];

		copy->segments[copy->count++] = segment_ref(seg);
	}
	return copy;
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

	while (cap - set->count < more + set->promised)
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

/* What a chunk belongs to, or NULL. */
static struct segment *
chunk_at(const struct segset *set, uint64_t chunk)
{
	const struct segset_table *table =
	    atomic_load(&set->tables[chunk >> SEGSET_TABLE_BITS]);

	return table != NULL
		   ? atomic_load_explicit(&table->chunks[chunk & TABLE_MASK],
			 memory_order_relaxed)
		   : NULL;
}

static void
set_chunks(struct segset *set, const struct segment *at, uint64_t chunks,
    struct segment *seg)
{
	for (uint64_t c = 0; c < chunks; c++) {
		uint64_t chunk = (at->loc_base >> SEGSET_CHUNK_BITS) + c;

		atomic_store_explicit(
		    &table_of(set, chunk)->chunks[chunk & TABLE_MASK], seg,
		    memory_order_release);
	}
}

static uint64_t
chunks_of(const struct segment *seg)
{
	return (seg->header.size + CHUNK_BYTES - 1) / CHUNK_BYTES;
}

/* The first of so many free chunks in [from, to); to if there are none. */
static uint64_t
find_free(const struct segset *set, uint64_t from, uint64_t to, uint64_t chunks)
{
	uint64_t found = 0;

	for (uint64_t chunk = from; chunk < to; chunk++) {
		found = chunk_at(set, chunk) == NULL ? found + 1 : 0;
		if (found == chunks)
			return chunk + 1 - chunks;
	}
	return to;
}

/* Give a segment a run of chunks: behind those given last, or what segments
 * that are gone have left. */
static enum kvlog_status
place(struct segset *set, struct segment *seg, struct kvlog_error *err)
{
	const uint64_t chunks = chunks_of(seg), count = set->chunk_count;
	uint64_t at = find_free(set, set->next_chunk, count, chunks);

	if (at == count)
		at = find_free(set, 0, count, chunks);
	if (at == count)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "the index addresses 8 TiB of segments; no room is left "
		    "in it for one of %" PRIu64 " bytes",
		    seg->header.size);
	for (uint64_t c = 0; c < chunks; c++)
		if (table_of(set, at + c) == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "add a segment");

	seg->loc_base = at << SEGSET_CHUNK_BITS;
	set_chunks(set, seg, chunks, seg);
	set->next_chunk = at + chunks;
	return KVLOG_OK;
}

void
segset_forget(struct segset *set, const struct segment *seg)
{
	set_chunks(set, seg, chunks_of(seg), NULL);
}

enum kvlog_status
segset_place(struct segset *set, struct segment *const *segs, size_t count,
    struct kvlog_error *err)
{
	const uint64_t next_chunk = set->next_chunk;
	enum kvlog_status st = grow_list(set, count);
	size_t i;

	if (st != KVLOG_OK)
		return err_set(err, st, 0, "add a segment");
	for (i = 0; i < count; i++) {
		st = place(set, segs[i], err);
		if (st != KVLOG_OK)
			break;
	}
	if (i == count) {
		set->promised += count;
		return KVLOG_OK;
	}
	while (i > 0)
		segset_forget(set, segs[--i]);
	set->next_chunk = next_chunk;
	return st;
}

void
segset_unplace(struct segset *set, struct segment *const *segs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		segset_forget(set, segs[i]);
	set->promised -= count;
}

enum kvlog_status
segset_add(struct segset *set, struct segment *seg, struct kvlog_error *err)
{
	enum kvlog_status st = segset_place(set, &seg, 1, err);

	if (st == KVLOG_OK) {
		set->segments[set->count++] = seg;
		set->promised--;
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
	assert(set->promised >= count);
	assert(set->cap - set->count >= set->promised);
	set->promised -= count;
	memmove(at + count, at + old_count,
	    (set->count - first - old_count) * sizeof(*at));
	memcpy(at, segs, count * sizeof(*at));
	set->count = set->count - old_count + count;
	if (set->closed > first)
		set->closed = first;
	for (size_t i = 0; i < count; i++)
		note_now(set, segs[i]);
}

struct segment *
segset_take_last(struct segset *set)
{
	struct segment *seg;

	assert(set->count > 0);
	seg = set->segments[--set->count];
	segset_forget(set, seg);
	return seg;
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
