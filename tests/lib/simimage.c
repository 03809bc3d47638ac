/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simimage.c - the bytes of simulated files, shared until somebody writes,
 * and the texts of names.
 *
 *   SIM-1  Bytes of an image at and behind its size are zero.
 *   SIM-2  An image with more than one reference does not change.
 */
#include "config.h"

#include "simdisk.h"

#include <stdarg.h>
#include <string.h>

#define IMAGE_ALIGN 64u

void
disk_bug(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fflush(stdout);
	(void)fputs("simos: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	abort();
}

void *
disk_alloc(void *old, uint64_t size)
{
	void *p = size <= SIZE_MAX ? realloc(old, (size_t)size) : NULL;

	if (p == NULL)
		disk_bug("out of memory");
	return p;
}

void *
disk_grown(void *array, uint32_t count, uint32_t *cap, size_t element)
{
	if (count < *cap)
		return array;
	*cap = *cap == 0 ? 64 : *cap * 2;
	return disk_alloc(array, *cap * element);
}

/* Texts of names, found by an open hash table of number + 1. */
static struct {
	char **texts;
	uint32_t count, cap;
	uint32_t *slots;
	uint32_t slot_count; /* a power of two */
} names_known;

static uint32_t *
name_slot(const char *text)
{
	uint64_t hash = 0;
	uint32_t mask = names_known.slot_count - 1, at;

	for (const char *c = text; *c != '\0'; c++)
		hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	for (at = (uint32_t)rng_mix(hash) & mask;; at = (at + 1) & mask) {
		uint32_t *slot = &names_known.slots[at];

		if (*slot == 0 ||
		    strcmp(names_known.texts[*slot - 1], text) == 0)
			return slot;
	}
}

static void
names_rehash(void)
{
	names_known.slot_count =
	    names_known.slot_count == 0 ? 256 : names_known.slot_count * 2;
	free(names_known.slots);
	names_known.slots = calloc(names_known.slot_count, sizeof(uint32_t));
	if (names_known.slots == NULL)
		disk_bug("out of memory");
	for (uint32_t i = 0; i < names_known.count; i++)
		*name_slot(names_known.texts[i]) = i + 1;
}

uint32_t
disk_name(const char *text)
{
	uint32_t *slot;
	size_t size = strlen(text) + 1;

	if (names_known.count * 2 >= names_known.slot_count)
		names_rehash();
	slot = name_slot(text);
	if (*slot == 0) {
		names_known.texts = disk_grown(names_known.texts,
		    names_known.count, &names_known.cap, sizeof(char *));
		names_known.texts[names_known.count] =
		    memcpy(disk_alloc(NULL, size), text, size);
		*slot = ++names_known.count;
	}
	return *slot - 1;
}

const char *
disk_name_text(uint32_t name)
{
	return names_known.texts[name];
}

void
disk_names_forget(void)
{
	for (uint32_t i = 0; i < names_known.count; i++)
		free(names_known.texts[i]);
	free(names_known.texts);
	free(names_known.slots);
	memset(&names_known, 0, sizeof names_known);
}

/*
 * Images.  Small ones are kept for the next use: their coming and going is
 * most of the cost of a state.  Not under a sanitizer, which shall see every
 * use after the end.
 */
#define POOL_BLOCKS 64u
#define POOL_DEPTH 32u
static struct {
	struct image *image[POOL_DEPTH];
	uint32_t count;
} pool[POOL_BLOCKS + 1];

static uint64_t
alloc_size(uint64_t cap)
{
	return round_up(cap / PAGE, IMAGE_ALIGN);
}

/* Room for cap bytes; contents undefined. */
static struct image *
image_raw(uint64_t cap)
{
	uint64_t head = round_up(sizeof(struct image), IMAGE_ALIGN);
	uint64_t blocks = cap / PAGE;
	struct image *image;

	assert(cap % PAGE == 0);
	if (!HAVE_ASAN && blocks <= POOL_BLOCKS && pool[blocks].count > 0) {
		image = pool[blocks].image[--pool[blocks].count];
	} else {
		/* The bytes come last, so that a sanitizer sees reads behind
		 * a mapping's last page. */
		image = aligned_alloc(
		    IMAGE_ALIGN, (size_t)(head + alloc_size(cap) + cap));
		if (image == NULL)
			disk_bug("out of memory");
		image->alloc = (uint8_t *)image + head;
		image->bytes = image->alloc + alloc_size(cap);
		image->cap = cap;
	}
	image->refs = 1;
	image->hash_known = false;
	return image;
}

struct image *
image_create(void)
{
	struct image *image = image_raw(0);

	image->size = 0;
	image->blocks = 0;
	return image;
}

struct image *
image_share(struct image *image)
{
	if (image != NULL)
		image->refs++;
	return image;
}

void
image_drop(struct image *image)
{
	uint64_t blocks;

	if (image == NULL || --image->refs > 0)
		return;
	blocks = image->cap / PAGE;
	if (!HAVE_ASAN && blocks <= POOL_BLOCKS &&
	    pool[blocks].count < POOL_DEPTH)
		pool[blocks].image[pool[blocks].count++] = image;
	else
		free(image);
}

void
image_pool_free(void)
{
	for (unsigned i = 0; i <= POOL_BLOCKS; i++)
		while (pool[i].count > 0)
			free(pool[i].image[--pool[i].count]);
}

struct image *
image_clone(const struct image *image, uint64_t cap)
{
	struct image *copy = image_raw(cap);
	uint64_t used = min_u64(round_up(image->size, PAGE), image->cap);

	assert(image->size <= cap);
	memcpy(copy->bytes, image->bytes, (size_t)used);
	memset(copy->bytes + used, 0, (size_t)(cap - used)); /* SIM-1 */
	memcpy(
	    copy->alloc, image->alloc, (size_t)min_u64(cap, image->cap) / PAGE);
	if (cap > image->cap)
		memset(copy->alloc + image->cap / PAGE, 0,
		    (size_t)(cap - image->cap) / PAGE);
	copy->size = image->size;
	copy->blocks = image->blocks;
	copy->hash = image->hash;
	copy->hash_known = image->hash_known;
	return copy;
}

/* Make *image the caller's own, with room for size bytes (SIM-2). */
static void
image_own(struct image **image, uint64_t size)
{
	struct image *old = *image;
	uint64_t cap = old->cap;

	if (size > cap)
		cap = round_up(max_u64(size, cap + cap / 2), PAGE);
	if (cap != old->cap || old->refs > 1) {
		*image = image_clone(old, cap);
		image_drop(old);
	}
	(*image)->hash_known = false;
}

/* The blocks of [off, off + len) have space, or not. */
static void
image_mark(struct image *image, uint64_t off, uint64_t len, bool allocated)
{
	if (len == 0)
		return;
	for (uint64_t i = off / PAGE; i <= (off + len - 1) / PAGE; i++) {
		if (image->alloc[i] == allocated)
			continue;
		image->alloc[i] = allocated;
		if (allocated)
			image->blocks++;
		else
			image->blocks--;
	}
}

void
image_write(struct image **image, uint64_t off, const void *src, size_t len)
{
	image_own(image, off + len);
	memcpy((*image)->bytes + off, src, len);
	image_mark(*image, off, len, true);
	(*image)->size = max_u64((*image)->size, off + len);
}

/* Take the space of all whole blocks from off on, and zero the bytes. */
static void
image_clear(struct image *image, uint64_t off)
{
	uint64_t block = round_up(off, PAGE);

	if (off < image->size)
		memset(image->bytes + off, 0, (size_t)(image->size - off));
	if (block < image->cap)
		image_mark(image, block, image->cap - block, false);
}

void
image_truncate(struct image **image, uint64_t size)
{
	image_own(image, size);
	image_clear(*image, size); /* SIM-1 */
	(*image)->size = size;
}

void
image_allocate(struct image **image, uint64_t size)
{
	image_own(image, size);
	image_mark(*image, 0, size, true);
	(*image)->size = max_u64((*image)->size, size);
}

void
image_punch(struct image **image, uint64_t off)
{
	image_own(image, 0);
	image_clear(*image, off);
}

uint64_t
image_hash_bytes(const uint8_t *bytes, uint64_t len, uint64_t hash)
{
	uint64_t lane[4] = {hash, hash + 1, hash + 2, hash + 3};
	uint64_t word[4], i = 0;

	for (; len - i >= sizeof word; i += sizeof word) {
		memcpy(word, bytes + i, sizeof word);
		for (unsigned j = 0; j < 4; j++)
			lane[j] = rng_rotate(
			    (lane[j] ^ word[j]) * UINT64_C(0x9e3779b97f4a7c15),
			    29);
	}
	for (; i < len; i++)
		lane[0] = (lane[0] ^ bytes[i]) * UINT64_C(0x100000001b3);
	for (unsigned j = 0; j < 4; j++)
		hash = rng_mix(hash ^ lane[j]);
	return hash;
}

uint64_t
image_hash(struct image *image)
{
	if (!image->hash_known) {
		image->hash =
		    image_hash_bytes(image->bytes, image->size, image->size);
		image->hash = image_hash_bytes(image->alloc,
		    round_up(image->size, PAGE) / PAGE, image->hash);
		image->hash_known = true;
	}
	return image->hash;
}
