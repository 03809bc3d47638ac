/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simmem.c - memory of the simulated processes: a ring of all blocks, each
 * with its header right before it, so that a victim's can be freed when it
 * has been stopped.
 */
#include "config.h"

#include "simproc.h"

#include <string.h>

/* In front of every block of memory that was given out. */
#define BLOCK_MAGIC 0x51b10c4bu
struct block {
	struct block *next, *prev;
	void *base; /* to be freed */
	size_t size;
	uint32_t magic;
	bool is_victim;
};

static struct block blocks; /* head of the ring */

void
memory_init(void)
{
	blocks.next = blocks.prev = &blocks;
}

static void *
block_give(size_t align, size_t size)
{
	size_t head = (size_t)round_up(sizeof(struct block), align);
	struct block *block;
	void *base;
	uint8_t *p;

	if (size > SIZE_MAX / 2)
		return NULL;
	/* Not a byte more, so that a sanitizer sees one too many. */
	if (posix_memalign(&base, align, head + size) != 0)
		disk_bug("out of memory");
	p = (uint8_t *)base + head;
	block = (struct block *)(void *)p - 1;
	*block = (struct block){.next = blocks.next,
	    .prev = &blocks,
	    .base = base,
	    .size = size,
	    .magic = BLOCK_MAGIC,
	    .is_victim = sim.running};
	block->next->prev = block->prev->next = block;
	return p;
}

static struct block *
block_of(void *p)
{
	struct block *block = (struct block *)p - 1;

	if (block->magic != BLOCK_MAGIC)
		disk_bug("%p did not come from os->malloc", p);
	return block;
}

static void
block_free(struct block *block)
{
	block->next->prev = block->prev;
	block->prev->next = block->next;
	block->magic = 0;
	free(block->base);
}

static bool
malloc_fails(void)
{
	count_call(SIMOS_MALLOC);
	return strike(SIMOS_MALLOC) != 0;
}

/* Nobody may expect anything of them; where there are many, of those in the
 * midst neither, but to touch so many pages takes its time. */
#define SPOIL_LEN 8192u

static void
spoil(uint8_t *p, size_t size)
{
	size_t len = (size_t)min_u64(size, SPOIL_LEN);

	memset(p, 0xa5, len);
	memset(p + size - len, 0xa5, len);
}

void *
sim_malloc(size_t size)
{
	void *p;

	if (malloc_fails())
		return NULL;
	p = block_give(_Alignof(max_align_t), size);
	if (p != NULL)
		spoil(p, size);
	return p;
}

void *
sim_calloc(size_t count, size_t size)
{
	void *p;

	if (malloc_fails() || (size != 0 && count > SIZE_MAX / 2 / size))
		return NULL;
	p = block_give(_Alignof(max_align_t), count * size);
	if (p != NULL)
		memset(p, 0, count * size);
	return p;
}

void *
sim_aligned(size_t align, size_t size)
{
	if (malloc_fails())
		return NULL;
	return block_give(
	    align < _Alignof(max_align_t) ? _Alignof(max_align_t) : align,
	    size);
}

void *
sim_pages(size_t size)
{
	void *p;

	if (malloc_fails())
		return NULL;
	p = block_give(size < OS_HUGE_PAGE ? BLOCK_SIZE : OS_HUGE_PAGE, size);
	return p != NULL ? memset(p, 0, size) : NULL;
}

void
sim_free_pages(void *p, size_t size)
{
	struct block *block = block_of(p);

	if (block->size != size)
		disk_bug("%zu bytes freed of %zu", size, block->size);
	block_free(block);
}

void
sim_free(void *p)
{
	if (p != NULL)
		block_free(block_of(p));
}

/* Always moves, so that nobody gets used to staying. */
void *
sim_realloc(void *p, size_t size)
{
	void *moved = sim_malloc(size);

	if (moved != NULL && p != NULL) {
		memcpy(moved, p, (size_t)min_u64(size, block_of(p)->size));
		sim_free(p);
	}
	return moved;
}

void
memory_free_all(bool victims_only)
{
	struct block *block = blocks.next;

	while (block != &blocks) {
		struct block *next = block->next;

		if (block->is_victim || !victims_only)
			block_free(block);
		block = next;
	}
}

uint64_t
memory_report(FILE *stream)
{
	uint64_t count = 0;

	for (const struct block *block = blocks.next; block != &blocks;
	     block = block->next, count++)
		sim_report(stream, "allocated: %p, %zu bytes",
		    (const void *)(block + 1), block->size);
	return count;
}
