/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simloss.c - power loss on the simulated machine: which items of the journal
 * reached the disk, and the machine that comes up with them.
 */
#include "config.h"

#include "simdisk.h"

#include <string.h>

/* Per sector of the file that a power loss looks at: how many versions are
 * left, or left to keep; all zero in between. */
struct sector {
	uint32_t left;
	bool chosen;
};
static struct {
	struct sector *sectors;
	uint64_t count;
} scratch;

void
loss_scratch_free(void)
{
	free(scratch.sectors);
	memset(&scratch, 0, sizeof scratch);
}

/* Who decides what reached the disk: random numbers, or the digits of one
 * number, so that all ways can be gone through. */
struct chooser {
	struct rng *rng; /* NULL: the number */
	unsigned leaning;
	bool whole;      /* all versions or none, to have fewer ways */
	uint64_t number; /* digits that are left */
	uint64_t ways;   /* to choose so far; UINT64_MAX: more than that */
};

/* A loss leans to all, to none, to either, or nowhere, so that states near
 * both ends are met too. */
static uint32_t
choose_leaning(struct rng *rng, uint32_t n, unsigned leaning)
{
	uint64_t dice = rng_below(rng, 8);

	if (leaning == 1 && dice > 0)
		return n;
	if (leaning == 2 && dice > 0)
		return 0;
	if (leaning == 3)
		return dice < 4 ? n : 0;
	return (uint32_t)rng_below(rng, n + 1u);
}

/* How many of n versions in a row reached the disk. */
static uint32_t
choose(struct chooser *c, uint32_t n)
{
	uint64_t radix = c->whole ? 2 : n + UINT64_C(1), digit;

	if (c->rng != NULL)
		return choose_leaning(c->rng, n, c->leaning);
	c->ways = c->ways > UINT64_MAX / radix ? UINT64_MAX : c->ways * radix;
	digit = c->number % radix;
	c->number /= radix;
	return c->whole ? n * (uint32_t)digit : (uint32_t)digit;
}

static struct sector *
scratch_sector(uint64_t off)
{
	uint64_t at = off / DISK_SECTOR;

	if (at >= scratch.count) {
		uint64_t count = max_u64(at + 1, scratch.count * 2);

		scratch.sectors = disk_alloc(
		    scratch.sectors, count * sizeof *scratch.sectors);
		memset(scratch.sectors + scratch.count, 0,
		    (size_t)(count - scratch.count) * sizeof *scratch.sectors);
		scratch.count = count;
	}
	return &scratch.sectors[at];
}

/* A prefix of the versions of each sector, and of the sizes. */
static void
choose_contents(struct disk *disk, uint32_t node, struct chooser *chooser)
{
	struct sector sizes = {0, false};
	uint32_t i;

	EACH_ITEM(disk, node, i)
	{
		struct item *item = &disk->items[i];
		struct sector *s =
		    item_is_store(item) ? scratch_sector(item->off) : &sizes;

		s->left++;
	}
	EACH_ITEM(disk, node, i)
	{
		struct item *item = &disk->items[i];
		struct sector *s =
		    item_is_store(item) ? scratch_sector(item->off) : &sizes;

		if (!s->chosen)
			s->left = choose(chooser, s->left);
		s->chosen = true;
		item->fate = s->left > 0 ? FATE_KEEP : FATE_DROP;
		s->left -= s->left > 0;
	}
	EACH_ITEM(disk, node, i)
	{
		if (item_is_store(&disk->items[i]))
			*scratch_sector(disk->items[i].off) =
			    (struct sector){0, false};
	}
}

static void
choose_names(struct disk *disk, uint32_t dir, struct chooser *chooser)
{
	uint32_t i;

	EACH_ITEM(disk, dir, i)
	disk->items[i].fate = choose(chooser, 1) ? FATE_KEEP : FATE_DROP;
}

static void
choose_each(struct disk *disk, struct chooser *chooser, unsigned contents,
    unsigned names)
{
	for (uint32_t i = 0; i < disk->node_count; i++) {
		if (disk->nodes[i].kind == NODE_FILE) {
			chooser->leaning = contents;
			choose_contents(disk, i, chooser);
		} else if (disk->nodes[i].kind == NODE_DIR) {
			chooser->leaning = names;
			choose_names(disk, i, chooser);
		}
	}
}

static void
choose_random(struct disk *disk, struct rng *rng)
{
	unsigned contents = (unsigned)rng_below(rng, 5);
	unsigned names = (unsigned)rng_below(rng, 5);
	struct chooser chooser = {.rng = rng};

	choose_each(disk, &chooser, contents, names);
}

/* The fates by number.  Returns how many numbers there are. */
static uint64_t
choose_subset(struct disk *disk, uint64_t number)
{
	struct chooser fine = {.number = number, .ways = 1};
	struct chooser coarse = {.number = number, .ways = 1, .whole = true};

	choose_each(disk, &fine, 0, 0);
	if (fine.ways <= SIMOS_SUBSETS_MAX)
		return fine.ways;
	choose_each(disk, &coarse, 0, 0);
	return coarse.ways;
}

uint64_t
disk_subsets(struct disk *disk)
{
	uint64_t ways = choose_subset(disk, 0);

	return ways <= SIMOS_SUBSETS_MAX ? ways : 0;
}

/* Any one store of at least min_len bytes; DISK_NONE if there is none. */
static uint32_t
choose_store(const struct disk *disk, struct rng *rng, uint32_t min_len)
{
	uint32_t count = 0, chosen = DISK_NONE;

	for (uint32_t i = 0; i < disk->item_count; i++)
		if (disk->items[i].kind == ITEM_STORE &&
		    disk->items[i].len >= min_len &&
		    rng_below(rng, ++count) == 0)
			chosen = i;
	return chosen;
}

/* The store at is not done or half done; so what came before it into its
 * sector is there, and what came later is not.  Its place exists. */
static void
choose_around(struct disk *disk, uint32_t at)
{
	const struct item *store = &disk->items[at];
	uint64_t sector = store->off / DISK_SECTOR;
	uint32_t i;

	EACH_ITEM(disk, store->node, i)
	{
		struct item *item = &disk->items[i];

		if (!item_is_store(item))
			item->fate = FATE_KEEP;
		else if (item->off / DISK_SECTOR == sector)
			item->fate = i < at ? FATE_KEEP : FATE_DROP;
	}
	disk->items[at].fate = FATE_TORN;
}

/* The bytes of one sector that a loss turns into garbage. */
struct garbage {
	uint32_t node; /* DISK_NONE: no garbage */
	uint64_t off;  /* of the sector */
	bool hit[DISK_SECTOR];
};

/* All that was stored there since the last sync, and sometimes all behind it
 * if nothing ever was: the log's end. */
static void
choose_hit(
    struct disk *disk, uint32_t at, struct rng *rng, struct garbage *garbage)
{
	const struct image *image = disk->nodes[garbage->node].disk;
	uint64_t end = 0;
	uint32_t i;

	EACH_ITEM(disk, disk->items[at].node, i)
	{
		const struct item *item = &disk->items[i];
		uint64_t begin = item->off - garbage->off;

		if (!item_is_store(item) || item->off < garbage->off ||
		    begin >= DISK_SECTOR)
			continue;
		memset(garbage->hit + begin, true, item->len);
		end = max_u64(end, begin + item->len);
	}
	for (uint64_t b = end; b < DISK_SECTOR; b++)
		if (garbage->off + b < image->cap &&
		    image->bytes[garbage->off + b] != 0)
			return;
	if (rng_below(rng, 2) == 0)
		memset(garbage->hit + end, true, (size_t)(DISK_SECTOR - end));
}

static void
choose_garbage(
    struct disk *disk, bool whole, struct rng *rng, struct garbage *ret_garbage)
{
	uint32_t at = choose_store(disk, rng, 1);

	if (at == DISK_NONE)
		return;
	choose_around(disk, at);
	disk->items[at].fate = FATE_KEEP;
	ret_garbage->node = disk->items[at].node;
	ret_garbage->off = disk->items[at].off / DISK_SECTOR * DISK_SECTOR;
	if (whole)
		memset(ret_garbage->hit, true, DISK_SECTOR);
	else
		choose_hit(disk, at, rng, ret_garbage);
}

static void
apply_garbage(struct disk *disk, const struct garbage *garbage, struct rng *rng)
{
	struct image **image = &disk->nodes[garbage->node].disk;
	uint8_t sector[DISK_SECTOR];
	uint64_t len;

	if (garbage->off >= (*image)->size)
		return;
	len = min_u64(DISK_SECTOR, (*image)->size - garbage->off);
	memcpy(sector, (*image)->bytes + garbage->off, (size_t)len);
	for (uint64_t i = 0; i < len; i++)
		if (garbage->hit[i])
			sector[i] = (uint8_t)rng_next(rng);
	image_write(image, garbage->off, sector, (size_t)len);
}

static void
choose_fates(struct disk *disk, enum simos_loss choice, uint64_t number,
    struct rng *rng, struct garbage *ret_garbage)
{
	uint64_t cut = 0;
	uint32_t at;

	switch (choice) {
	case SIMOS_LOSS_ALL:
		cut = disk->item_count;
		break;
	case SIMOS_LOSS_PREFIX:
		cut = rng_below(rng, disk->item_count + 1u);
		break;
	case SIMOS_LOSS_RANDOM:
		choose_random(disk, rng);
		return;
	case SIMOS_LOSS_TORN:
		choose_random(disk, rng);
		at = choose_store(disk, rng, 2);
		if (at != DISK_NONE)
			choose_around(disk, at);
		return;
	case SIMOS_LOSS_GARBAGE:
	case SIMOS_LOSS_GARBAGE_SECTOR:
		choose_random(disk, rng);
		choose_garbage(disk, choice == SIMOS_LOSS_GARBAGE_SECTOR, rng,
		    ret_garbage);
		return;
	case SIMOS_LOSS_SUBSET:
		(void)choose_subset(disk, number);
		return;
	case SIMOS_LOSS_NONE:
	case SIMOS_LOSS_ONLY_NAMES:
	case SIMOS_LOSS_ONLY_DATA:
	case SIMOS_LOSS_COUNT:
		break;
	}
	for (uint32_t i = 0; i < disk->item_count; i++) {
		struct item *item = &disk->items[i];
		bool is_name = item_is_name(item);
		bool keep = i < cut ||
			    (choice == SIMOS_LOSS_ONLY_NAMES && is_name) ||
			    (choice == SIMOS_LOSS_ONLY_DATA && !is_name);

		item->fate = keep ? FATE_KEEP : FATE_DROP;
	}
}

/* Half of a store, from its begin or, as memcpy may run backwards, its end. */
static void
apply_torn(struct disk *disk, const struct item *item, struct rng *rng)
{
	uint64_t at = 1 + rng_below(rng, item->len - 1u);

	if (rng_below(rng, 4) == 0)
		disk_apply_store(disk, item, at, item->len);
	else
		disk_apply_store(disk, item, 0, at);
}

static void
apply_fates(struct disk *disk, struct rng *rng)
{
	for (uint32_t i = 0; i < disk->item_count; i++) {
		const struct item *item = &disk->items[i];

		if (item->kind == ITEM_DEAD || item->fate == FATE_DROP)
			continue;
		if (item->fate == FATE_TORN)
			apply_torn(disk, item, rng);
		else if (item_is_name(item))
			disk_apply_name(disk, item);
		else
			disk_apply_content(disk, item);
	}
}

/* Count the names that lead from dir to anything, at any depth. */
static void
count_links(struct disk *disk, uint32_t dir)
{
	const struct names *names = disk->nodes[dir].seen;

	for (uint32_t i = 0; i < names->count; i++) {
		struct node *child = &disk->nodes[names->entry[i].node];

		child->links++;
		child->pins++;
		child->name = names->entry[i].name;
		if (child->kind == NODE_DIR)
			count_links(disk, names->entry[i].node);
	}
}

/* What is on the disk is what is seen. */
static void
node_come_up(struct node *node)
{
	node->links = node->pins = node->users = node->maps = 0;
	node->first = node->last = DISK_NONE;
	node->gone = false;
	free(node->lost);
	node->lost = NULL;
	node->lost_count = 0;
	image_drop(node->shadow);
	node->shadow = NULL;
	if (node->kind == NODE_FILE) {
		image_drop(node->cache);
		node->cache = image_share(node->disk);
	} else if (node->kind == NODE_DIR) {
		names_drop(node->seen);
		node->seen = names_share(node->durable);
	}
}

void
disk_power_loss(
    struct disk *disk, enum simos_loss choice, uint64_t number, struct rng *rng)
{
	struct garbage garbage = {.node = DISK_NONE};

	choose_fates(disk, choice, number, rng, &garbage);
	apply_fates(disk, rng);
	if (garbage.node != DISK_NONE)
		apply_garbage(disk, &garbage, rng);

	disk->item_count = disk->dead_count = 0;
	disk->arena_len = 0;
	for (uint32_t i = 0; i < disk->node_count; i++)
		node_come_up(&disk->nodes[i]);
	disk->nodes[DISK_ROOT].links = disk->nodes[DISK_ROOT].pins = 1;
	count_links(disk, DISK_ROOT);
	disk->used = 0;
	for (uint32_t i = 0; i < disk->node_count; i++) {
		struct node *node = &disk->nodes[i];

		if (node->kind != NODE_FREE && node->links == 0)
			node_release(node);
		else if (node->kind == NODE_FILE)
			disk->used += node->cache->blocks * PAGE;
	}
}
