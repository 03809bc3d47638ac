/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arena.c - memory in units of one size, cut from chunks.
 *
 * Chunks that are not small are of pages of their own, so that the system has
 * them back when a table goes.  From the C library's heap it would not, if
 * the table that takes its place lies above.
 *
 * Large ones are whole huge pages, where the system has such: a table of
 * many entries is looked up at random, and with pages of the usual size the
 * processor would wait for their addresses as long as for what they hold.  A
 * huge page is there in one piece, used or not; hence chunks are of them only
 * when one is a small part of all there is.
 */
#include "config.h"

#include "arena.h"

#include "os.h"

/* A chunk is this part of what there is already, within bounds, so that
 * little of it lies unused, and there are few of them. */
#define CHUNK_PART 16u
#define CHUNK_UNITS_MIN 8u
#define CHUNK_UNITS_MAX (OS_HUGE_PAGE / ARENA_UNIT_BYTES)
#define PAGES_UNITS 64u /* from here on a chunk is of pages of its own */

/* In the place of a chunk's first unit. */
struct arena_chunk {
	struct arena_chunk *next;
	uint32_t unit_count;
	uint32_t cut_count;
};

/* What a free unit begins with. */
struct arena_free {
	struct arena_free *next;
};

static_assert(sizeof(struct arena_chunk) <= ARENA_UNIT_BYTES, "fits");
static_assert(OS_HUGE_PAGE % ARENA_UNIT_BYTES == 0, "nothing is left");

/* One thread adds, others read: no need for an atomic addition. */
static void
add_bytes(struct arena *arena, uint64_t more)
{
	uint64_t bytes =
	    atomic_load_explicit(&arena->bytes, memory_order_relaxed);

	atomic_store_explicit(
	    &arena->bytes, bytes + more, memory_order_relaxed);
}

uint64_t
arena_bytes(const struct arena *arena)
{
	return atomic_load_explicit(&arena->bytes, memory_order_relaxed);
}

void
arena_init(struct arena *arena)
{
	arena->chunks = NULL;
	arena->free = NULL;
	arena->unit_count = 0;
	arena->free_count = 0;
	arena->expected = 0;
	atomic_init(&arena->bytes, 0);
}

void *
arena_get_bytes(struct arena *arena, uint64_t bytes)
{
	void *p;

	if (bytes > SIZE_MAX - CACHE_LINE)
		return NULL;
	bytes = round_up(bytes, CACHE_LINE);
	p = os->aligned(CACHE_LINE, (size_t)bytes);
	if (p != NULL)
		add_bytes(arena, bytes);
	return p;
}

void
arena_put_bytes(struct arena *arena, void *p, uint64_t bytes)
{
	add_bytes(arena, 0 - round_up(bytes, CACHE_LINE));
	os->free(p);
}

void
arena_expect(struct arena *arena, uint64_t units)
{
	arena->expected = units;
}

static struct arena_chunk *
new_chunk(struct arena *arena, uint32_t unit_count)
{
	size_t bytes = (size_t)unit_count * ARENA_UNIT_BYTES;
	struct arena_chunk *chunk = unit_count >= PAGES_UNITS
					? os->pages(bytes)
					: os->aligned(ARENA_UNIT_BYTES, bytes);

	if (chunk == NULL)
		return NULL;
	add_bytes(arena, bytes);
	chunk->unit_count = unit_count;
	chunk->cut_count = 1; /* this */
	return chunk;
}

static void
free_chunk(struct arena *arena, struct arena_chunk *chunk)
{
	size_t bytes = (size_t)chunk->unit_count * ARENA_UNIT_BYTES;

	add_bytes(arena, 0 - (uint64_t)bytes);
	if (chunk->unit_count >= PAGES_UNITS)
		os->free_pages(chunk, bytes);
	else
		os->free(chunk);
}

static bool
add_chunk(struct arena *arena)
{
	uint64_t all = max_u64(arena->unit_count, arena->expected);
	uint64_t part = min_u64(all / CHUNK_PART, CHUNK_UNITS_MAX);
	struct arena_chunk *chunk =
	    new_chunk(arena, (uint32_t)max_u64(part, CHUNK_UNITS_MIN));

	if (chunk == NULL)
		return false;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return true;
}

static void *
cut_unit(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunks;

	if (chunk == NULL || chunk->cut_count == chunk->unit_count) {
		if (!add_chunk(arena))
			return NULL;
		chunk = arena->chunks;
	}
	arena->unit_count++;
	return (char *)chunk + (size_t)chunk->cut_count++ * ARENA_UNIT_BYTES;
}

void *
arena_get(struct arena *arena)
{
	struct arena_free *unit = arena->free;

	if (unit == NULL)
		return cut_unit(arena);
	arena->free = unit->next;
	arena->free_count--;
	return unit;
}

void
arena_put(struct arena *arena, void *unit)
{
	struct arena_free *head = unit;

	head->next = arena->free;
	arena->free = head;
	arena->free_count++;
}

void
arena_join(struct arena *arena, struct arena *other)
{
	struct arena_chunk *head = other->chunks, **chunk = &arena->chunks;
	struct arena_free **unit = &other->free;

	/* Only the arena's own newest chunk is cut from later. */
	while (head != NULL && head->cut_count < head->unit_count)
		arena_put(other, cut_unit(other));
	while (*chunk != NULL)
		chunk = &(*chunk)->next;
	*chunk = other->chunks;
	while (*unit != NULL)
		unit = &(*unit)->next;
	*unit = arena->free;
	arena->free = other->free;
	arena->unit_count += other->unit_count;
	arena->free_count += other->free_count;
	add_bytes(arena, arena_bytes(other));
	arena_init(other);
}

void
arena_fini(struct arena *arena)
{
	assert(arena->free_count == arena->unit_count);
	while (arena->chunks != NULL) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free_chunk(arena, chunk);
	}
	assert(arena_bytes(arena) == 0);
}

void
arena_check(const struct arena *arena, uint64_t used)
{
	uint64_t count = 0;

	for (const struct arena_free *unit = arena->free; unit != NULL;
	     unit = unit->next)
		count++;
	assert(count == arena->free_count);
	assert(count + used == arena->unit_count);
	(void)used;
}
