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

enum kvlog_status
segset_add(struct segset *set, struct segment *seg, struct kvlog_error *err)
{
	uint64_t chunks = (seg->header.size + CHUNK_BYTES - 1) / CHUNK_BYTES;

	if (chunks > CHUNKS - set->next_chunk)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "the index addresses 8 TiB of segments; reopen the store "
		    "to number them anew");
	if (set->count == set->cap) {
		size_t cap = set->cap > 0 ? 2 * set->cap : 16;
		struct segment **grown;

		grown = os->realloc(set->segments, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(err, KVLOG_NOMEM, 0, "add a segment");
		set->segments = grown;
		set->cap = cap;
	}
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
	set->segments[set->count++] = seg;
	return KVLOG_OK;
}

void
segset_drop_last(struct segset *set)
{
	assert(set->count > 0);
	segment_close(set->segments[--set->count]);
}

uint64_t
segset_bytes(const struct segset *set)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < set->count; i++)
		bytes += segment_end(set->segments[i]);
	return bytes;
}
