/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simdisk.c - files, names and the journal of the simulated machine.
 *
 *   SIM-3  cache = disk + the file's live items in order, but for sectors
 *          that a failed sync has lost.
 *   SIM-4  Items stand in order of time, also after dead ones were taken out.
 */
#include "config.h"

#include "simdisk.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Directories. */

static struct names *
names_make(const struct names *from, uint32_t cap)
{
	struct names *names =
	    disk_alloc(NULL, sizeof *names + cap * sizeof names->entry[0]);

	names->refs = 1;
	names->cap = cap;
	names->count = 0;
	if (from != NULL) {
		names->count = from->count;
		memcpy(names->entry, from->entry,
		    from->count * sizeof names->entry[0]);
	}
	return names;
}

void
names_drop(struct names *names)
{
	if (names != NULL && --names->refs == 0)
		free(names);
}

struct names *
names_share(struct names *names)
{
	if (names != NULL)
		names->refs++;
	return names;
}

uint32_t
names_find(const struct names *names, uint32_t name)
{
	for (uint32_t i = 0; i < names->count; i++)
		if (names->entry[i].name == name)
			return names->entry[i].node;
	return DISK_NONE;
}

/* Make *names the caller's own, with room for one more. */
static void
names_own(struct names **names)
{
	struct names *old = *names;
	uint32_t cap = old->count < old->cap ? old->cap : old->cap * 2 + 8;

	if (old->refs > 1 || cap != old->cap) {
		*names = names_make(old, cap);
		names_drop(old);
	}
}

static void
names_add(struct names **names, uint32_t name, uint32_t node)
{
	names_own(names);
	(*names)->entry[(*names)->count].name = name;
	(*names)->entry[(*names)->count++].node = node;
}

static void
names_remove(struct names **names, uint32_t name)
{
	struct names *n;

	names_own(names);
	n = *names;
	for (uint32_t i = 0; i < n->count; i++)
		if (n->entry[i].name == name) {
			n->entry[i] = n->entry[--n->count];
			return;
		}
}

/* Nodes. */

void
node_release(struct node *node)
{
	image_drop(node->cache);
	image_drop(node->disk);
	image_drop(node->shadow);
	names_drop(node->seen);
	names_drop(node->durable);
	free(node->lost);
	memset(node, 0, sizeof *node);
}

static uint32_t
node_make(struct disk *disk, enum node_kind kind)
{
	uint32_t i;
	struct node *node;

	for (i = 0; i < disk->node_count; i++)
		if (disk->nodes[i].kind == NODE_FREE)
			break;
	if (i == disk->node_count) {
		disk->nodes = disk_grown(disk->nodes, disk->node_count,
		    &disk->node_cap, sizeof *disk->nodes);
		disk->node_count++;
	}
	node = &disk->nodes[i];
	memset(node, 0, sizeof *node);
	node->kind = kind;
	node->ino = disk->next_ino++;
	node->first = node->last = DISK_NONE;
	if (kind == NODE_FILE) {
		node->cache = image_create();
		node->disk = image_share(node->cache);
	} else {
		node->seen = names_make(NULL, 8);
		node->durable = names_share(node->seen);
	}
	return i;
}

/* The journal. */

static void
item_chain(struct disk *disk, uint32_t at)
{
	struct item *item = &disk->items[at];
	struct node *node = &disk->nodes[item->node];

	item->next = DISK_NONE;
	if (node->first == DISK_NONE)
		node->first = at;
	else
		disk->items[node->last].next = at;
	node->last = at;
}

/* Take dead items, and their bytes, out (SIM-4). */
static void
journal_compact(struct disk *disk)
{
	uint32_t kept = 0;
	uint64_t arena_len = 0;

	for (uint32_t i = 0; i < disk->node_count; i++)
		disk->nodes[i].first = disk->nodes[i].last = DISK_NONE;
	for (uint32_t i = 0; i < disk->item_count; i++) {
		struct item item = disk->items[i];

		if (item.kind == ITEM_DEAD)
			continue;
		if (item_is_store(&item)) {
			memmove(disk->arena + arena_len,
			    disk->arena + item.data, item.len);
			item.data = arena_len;
			arena_len += item.len;
		}
		disk->items[kept] = item;
		item_chain(disk, kept++);
	}
	disk->item_count = kept;
	disk->dead_count = 0;
	disk->arena_len = arena_len;
}

static struct item *
journal_add(struct disk *disk, enum item_kind kind, uint32_t node)
{
	struct item *item;

	if (disk->dead_count == disk->item_count ||
	    (disk->dead_count > 64 && disk->dead_count > disk->item_count / 2))
		journal_compact(disk);
	disk->items = disk_grown(disk->items, disk->item_count, &disk->item_cap,
	    sizeof *disk->items);
	item = &disk->items[disk->item_count];
	memset(item, 0, sizeof *item);
	item->kind = (uint8_t)kind;
	item->node = node;
	item->child = DISK_NONE;
	item_chain(disk, disk->item_count++);
	return item;
}

static void
journal_add_size(
    struct disk *disk, enum item_kind kind, uint32_t node, uint64_t off)
{
	journal_add(disk, kind, node)->off = off;
}

static void
journal_add_name(struct disk *disk, enum item_kind kind, uint32_t dir,
    uint32_t name, uint32_t child)
{
	struct item *item = journal_add(disk, kind, dir);

	item->name = name;
	item->child = child;
	disk->nodes[child].pins++;
	disk->nodes[dir].names_clean = false;
}

static void
journal_add_store(struct disk *disk, enum item_kind kind, uint32_t node,
    uint64_t off, const void *src, size_t len)
{
	struct item *item;

	if (disk->arena_cap - disk->arena_len < len) {
		disk->arena_cap = disk->arena_cap * 2 + max_u64(len, PAGE);
		disk->arena = disk_alloc(disk->arena, disk->arena_cap);
	}
	item = journal_add(disk, kind, node); /* may compact the arena */
	item->off = off;
	item->len = (uint16_t)len;
	item->data = disk->arena_len;
	memcpy(disk->arena + item->data, src, len);
	disk->arena_len += len;
}

static void node_forget(struct disk *disk, uint32_t at);

static void
item_kill(struct disk *disk, struct item *item)
{
	uint32_t child = item->child;

	item->kind = ITEM_DEAD;
	disk->dead_count++;
	if (child != DISK_NONE) {
		disk->nodes[child].pins--;
		node_forget(disk, child);
	}
}

/* All items of a node are done with. */
static void
node_kill_items(struct disk *disk, uint32_t at)
{
	uint32_t i = disk->nodes[at].first;

	disk->nodes[at].first = disk->nodes[at].last = DISK_NONE;
	while (i != DISK_NONE) {
		uint32_t next = disk->items[i].next;

		item_kill(disk, &disk->items[i]);
		i = next;
	}
}

/* Give back what nobody can reach any more: the space of a file without
 * name and user, and its node once a power loss cannot bring it back. */
static void
node_forget(struct disk *disk, uint32_t at)
{
	struct node *node = &disk->nodes[at];

	if (node->kind != NODE_FILE || node->links > 0 || node->users > 0)
		return;
	if (!node->gone) {
		node->gone = true;
		disk->used -= node->cache->blocks * PAGE;
	}
	if (node->pins > 0)
		return;
	node_kill_items(disk, at);
	node_release(node);
}

void
disk_init(struct disk *disk)
{
	uint32_t root;

	memset(disk, 0, sizeof *disk);
	disk->next_ino = 2;
	disk->capacity = UINT64_MAX;
	root = node_make(disk, NODE_DIR);
	assert(root == DISK_ROOT);
	disk->nodes[root].links = disk->nodes[root].pins = 1;
	disk->nodes[root].name = disk_name("/");
}

void
disk_release(struct disk *disk)
{
	for (uint32_t i = 0; i < disk->node_count; i++)
		node_release(&disk->nodes[i]);
	free(disk->nodes);
	free(disk->items);
	free(disk->arena);
	memset(disk, 0, sizeof *disk);
}

void
disk_fini(struct disk *disk)
{
	disk_release(disk);
	image_pool_free();
	disk_names_forget();
	loss_scratch_free();
}

static void *
copy_of(const void *from, uint64_t size)
{
	return size == 0 ? NULL
			 : memcpy(disk_alloc(NULL, size), from, (size_t)size);
}

/* node is a copy by bytes: give it references of its own, and no users. */
static void
node_copy(struct node *node)
{
	if (node->maps > 0) /* somebody may go on storing into it */
		node->cache = image_clone(node->cache, node->cache->cap);
	else
		(void)image_share(node->cache);
	(void)image_share(node->disk);
	names_share(node->seen);
	names_share(node->durable);
	node->shadow = NULL;
	node->lost = copy_of(node->lost, node->lost_count);
	node->users = node->maps = 0;
}

void
disk_copy(const struct disk *from, struct disk *ret_to)
{
	struct disk *to = ret_to;

	*to = *from;
	to->nodes = copy_of(from->nodes, from->node_count * sizeof *to->nodes);
	to->node_cap = from->node_count;
	to->items = copy_of(from->items, from->item_count * sizeof *to->items);
	to->item_cap = from->item_count;
	to->arena = copy_of(from->arena, from->arena_len);
	to->arena_cap = from->arena_len;
	for (uint32_t i = 0; i < to->node_count; i++)
		node_copy(&to->nodes[i]);
	for (uint32_t i = 0; i < to->node_count; i++)
		node_forget(to, i);
}

/* Names that can be seen. */

uint32_t
disk_find(const struct disk *disk, uint32_t dir, uint32_t name)
{
	return names_find(disk->nodes[dir].seen, name);
}

void
disk_link(struct disk *disk, uint32_t dir, uint32_t name, uint32_t child)
{
	names_add(&disk->nodes[dir].seen, name, child);
	disk->nodes[child].links++;
	disk->nodes[child].name = name;
	journal_add_name(disk, ITEM_ADD, dir, name, child);
}

uint32_t
disk_create(struct disk *disk, uint32_t dir, uint32_t name, enum node_kind kind)
{
	uint32_t child = node_make(disk, kind);

	disk_link(disk, dir, name, child);
	return child;
}

void
disk_unlink(struct disk *disk, uint32_t dir, uint32_t name)
{
	uint32_t child = disk_find(disk, dir, name);

	names_remove(&disk->nodes[dir].seen, name);
	journal_add_name(disk, ITEM_REMOVE, dir, name, child);
	disk->nodes[child].links--;
	node_forget(disk, child);
}

void
disk_rename(struct disk *disk, uint32_t dir, uint32_t from, uint32_t to)
{
	uint32_t child = disk_find(disk, dir, from);
	uint32_t old = disk_find(disk, dir, to);

	if (old == child)
		return; /* two names of one file: nothing happens, by POSIX */
	journal_add_name(disk, ITEM_RENAME, dir, from, child);
	disk->items[disk->item_count - 1].name2 = to;
	names_remove(&disk->nodes[dir].seen, from);
	disk->nodes[child].name = to;
	if (old != DISK_NONE) {
		names_remove(&disk->nodes[dir].seen, to);
		disk->nodes[old].links--;
		node_forget(disk, old);
	}
	names_add(&disk->nodes[dir].seen, to, child);
}

void
disk_exchange(struct disk *disk, uint32_t dir, uint32_t a, uint32_t b)
{
	struct names **seen = &disk->nodes[dir].seen;
	uint32_t child_a = disk_find(disk, dir, a);
	uint32_t child_b = disk_find(disk, dir, b);

	journal_add_name(disk, ITEM_EXCHANGE, dir, a, child_a);
	disk->items[disk->item_count - 1].name2 = b;
	names_remove(seen, a);
	names_remove(seen, b);
	names_add(seen, a, child_b);
	names_add(seen, b, child_a);
	disk->nodes[child_a].name = b;
	disk->nodes[child_b].name = a;
}

void
disk_use(struct disk *disk, uint32_t node)
{
	disk->nodes[node].users++;
}

void
disk_unuse(struct disk *disk, uint32_t node)
{
	assert(disk->nodes[node].users > 0);
	disk->nodes[node].users--;
	node_forget(disk, node);
}

/* Contents that can be seen. */

static uint64_t
free_blocks(const struct disk *disk)
{
	return disk->used < disk->capacity
		   ? (disk->capacity - disk->used) / PAGE
		   : 0;
}

/* The cache of a file that is about to reach at least to end. */
static struct image **
cache_of(struct disk *disk, uint32_t at, uint64_t end)
{
	struct node *node = &disk->nodes[at];

	if (node->maps > 0 && end > node->cache->cap)
		disk_bug("%s is mapped and grows to %" PRIu64 " bytes",
		    disk_name_text(node->name), end);
	return &node->cache;
}

/* The cache had so many blocks before it was changed. */
static void
count_blocks(struct disk *disk, uint32_t node, uint64_t before)
{
	disk->used += disk->nodes[node].cache->blocks * PAGE;
	disk->used -= before * PAGE;
}

uint64_t
disk_room(const struct disk *disk, uint32_t node, uint64_t off, uint64_t len)
{
	const struct image *cache = disk->nodes[node].cache;
	uint64_t left = free_blocks(disk), at = off;

	while (at < off + len) {
		uint64_t block = at / PAGE;
		bool has = at < cache->cap && cache->alloc[block];

		if (!has || disk->cow) {
			if (left == 0)
				break;
			left--;
		}
		at = (block + 1) * PAGE;
	}
	return min_u64(at, off + len) - off;
}

/* Put [off, off + len) into the journal, sector by sector. */
static void
journal_bytes(struct disk *disk, uint32_t node, uint64_t off,
    const uint8_t *src, size_t len, enum item_kind kind)
{
	while (len > 0) {
		size_t part =
		    (size_t)min_u64(len, DISK_SECTOR - off % DISK_SECTOR);

		journal_add_store(disk, kind, node, off, src, part);
		off += part;
		src += part;
		len -= part;
	}
}

/* A page that is stored into is dirty as a whole: what a failed sync forgot
 * in it will be written after all. */
static void
find_lost(struct disk *disk, uint32_t at, uint64_t off, uint64_t len)
{
	struct node *node = &disk->nodes[at];
	uint64_t from = off / PAGE * PAGE / DISK_SECTOR;
	uint64_t to =
	    min_u64(round_up(off + len, PAGE) / DISK_SECTOR, node->lost_count);

	for (uint64_t s = from; s < to; s++) {
		uint64_t begin = s * DISK_SECTOR;

		if (!node->lost[s])
			continue;
		node->lost[s] = false;
		if (begin < node->cache->size)
			journal_bytes(disk, at, begin,
			    node->cache->bytes + begin,
			    (size_t)min_u64(
				DISK_SECTOR, node->cache->size - begin),
			    ITEM_STORE);
	}
}

void
disk_store(struct disk *disk, uint32_t node, uint64_t off, const void *src,
    size_t len, bool is_word)
{
	struct image **cache = cache_of(disk, node, off + len);
	uint64_t before = (*cache)->blocks;

	if (len == 0)
		return;
	if (disk->nodes[node].lost != NULL)
		find_lost(disk, node, off, len);
	if (off + len > (*cache)->size)
		journal_add_size(disk, ITEM_GROW, node, off + len);
	journal_bytes(
	    disk, node, off, src, len, is_word ? ITEM_WORD : ITEM_STORE);
	image_write(cache, off, src, len);
	count_blocks(disk, node, before);
}

/* The greatest size, at most size, that there is space for. */
static uint64_t
size_with_room(const struct disk *disk, uint32_t node, uint64_t size)
{
	const struct image *cache = disk->nodes[node].cache;
	uint64_t left = free_blocks(disk), at = 0;

	for (; at < size; at += PAGE) {
		if (at < cache->cap && cache->alloc[at / PAGE])
			continue;
		if (left-- == 0)
			return at;
	}
	return size;
}

int
disk_allocate(struct disk *disk, uint32_t node, uint64_t size, struct rng *rng)
{
	uint64_t room = size_with_room(disk, node, size);
	struct image **cache = cache_of(disk, node, room);
	uint64_t before = (*cache)->blocks;

	/* A full disk may leave a part of what was asked for, or nothing. */
	if (room == size || (room > 0 && rng_below(rng, 2) == 0)) {
		journal_add_size(disk, ITEM_ALLOCATE, node, room);
		image_allocate(cache, room);
		count_blocks(disk, node, before);
	}
	return room == size ? 0 : ENOSPC;
}

void
disk_truncate(struct disk *disk, uint32_t node, uint64_t size)
{
	struct image **cache = cache_of(disk, node, size);
	uint64_t before = (*cache)->blocks;

	if (size == (*cache)->size)
		return;
	journal_add_size(disk, ITEM_TRUNCATE, node, size);
	image_truncate(cache, size);
	count_blocks(disk, node, before);
}

void
disk_punch(struct disk *disk, uint32_t node, uint64_t off)
{
	struct image **cache = cache_of(disk, node, 0);
	uint64_t before = (*cache)->blocks;

	journal_add_size(disk, ITEM_PUNCH, node, off);
	image_punch(cache, off);
	count_blocks(disk, node, before);
}

/* Reaching the disk. */

void
disk_apply_store(
    struct disk *disk, const struct item *item, uint64_t from, uint64_t to)
{
	struct image **image = &disk->nodes[item->node].disk;
	uint64_t size = (*image)->size;

	/* Behind a size that was not kept there is nothing. */
	if (item->off >= size)
		return;
	to = min_u64(to, size - item->off);
	if (from < to)
		image_write(image, item->off + from,
		    disk->arena + item->data + from, (size_t)(to - from));
}

void
disk_apply_content(struct disk *disk, const struct item *item)
{
	struct image **image = &disk->nodes[item->node].disk;

	switch ((enum item_kind)item->kind) {
	case ITEM_STORE:
	case ITEM_WORD:
		disk_apply_store(disk, item, 0, item->len);
		break;
	case ITEM_GROW:
	case ITEM_TRUNCATE:
		image_truncate(image, item->off);
		break;
	case ITEM_ALLOCATE:
		image_allocate(image, item->off);
		break;
	case ITEM_PUNCH:
		image_punch(image, item->off);
		break;
	case ITEM_DEAD:
	case ITEM_ADD:
	case ITEM_REMOVE:
	case ITEM_RENAME:
	case ITEM_EXCHANGE:
		disk_bug("a name has no contents");
	}
}

static void
durable_remove(struct disk *disk, uint32_t dir, uint32_t name)
{
	uint32_t child = names_find(disk->nodes[dir].durable, name);

	names_remove(&disk->nodes[dir].durable, name);
	disk->nodes[child].pins--;
	node_forget(disk, child);
}

static void
durable_add(struct disk *disk, uint32_t dir, uint32_t name, uint32_t child)
{
	names_add(&disk->nodes[dir].durable, name, child);
	disk->nodes[child].pins++;
}

/* An item that makes no sense on what is there is left out. */
void
disk_apply_name(struct disk *disk, const struct item *item)
{
	const struct names *names = disk->nodes[item->node].durable;
	uint32_t there = names_find(names, item->name);

	if (item->kind == ITEM_ADD) {
		if (there == DISK_NONE)
			durable_add(disk, item->node, item->name, item->child);
		return;
	}
	if (there != item->child)
		return;
	if (item->kind == ITEM_EXCHANGE) {
		uint32_t other = names_find(names, item->name2);

		if (other == DISK_NONE)
			return;
		disk->nodes[there].pins++; /* nameless in between */
		disk->nodes[other].pins++;
		durable_remove(disk, item->node, item->name);
		durable_remove(disk, item->node, item->name2);
		durable_add(disk, item->node, item->name, other);
		durable_add(disk, item->node, item->name2, there);
		disk->nodes[there].pins--;
		disk->nodes[other].pins--;
		return;
	}
	if (item->kind == ITEM_RENAME) {
		if (names_find(names, item->name2) == item->child)
			return;
		if (names_find(names, item->name2) != DISK_NONE)
			durable_remove(disk, item->node, item->name2);
		durable_add(disk, item->node, item->name2, item->child);
	}
	durable_remove(disk, item->node, item->name);
}

void
disk_sync(struct disk *disk, uint32_t node)
{
	uint32_t i;

	EACH_ITEM(disk, node, i)
	disk_apply_content(disk, &disk->items[i]);
	node_kill_items(disk, node);
}

void
disk_sync_names(struct disk *disk, uint32_t dir)
{
	uint32_t i;

	if (disk->nodes[dir].names_clean)
		return;
	EACH_ITEM(disk, dir, i)
	disk_apply_name(disk, &disk->items[i]);
	node_kill_items(disk, dir);
	assert(disk->nodes[dir].durable->count == disk->nodes[dir].seen->count);
}

void
disk_sync_names_failed(struct disk *disk, uint32_t dir, struct rng *rng)
{
	disk->nodes[dir].names_clean = rng_below(rng, 2) == 0;
}

static void
lose_sector(struct node *node, uint64_t sector)
{
	uint64_t count = node->cache->cap / DISK_SECTOR;

	if (node->lost_count < count) {
		node->lost = disk_alloc(node->lost, count);
		memset(node->lost + node->lost_count, 0,
		    (size_t)(count - node->lost_count));
		node->lost_count = count;
	}
	if (sector < node->lost_count)
		node->lost[sector] = true;
}

void
disk_sync_failed(struct disk *disk, uint32_t at, struct rng *rng)
{
	struct node *node = &disk->nodes[at];
	uint64_t salt = rng_next(rng), quarters = 1 + rng_below(rng, 4);
	uint32_t i = node->first;

	node->first = node->last = DISK_NONE;
	while (i != DISK_NONE) {
		struct item *item = &disk->items[i];
		uint64_t sector = item->off / DISK_SECTOR;
		uint32_t next = item->next;

		if (item_is_store(item) &&
		    rng_mix(salt ^ sector) % 4 < quarters) {
			lose_sector(node, sector);
			item_kill(disk, item);
		} else {
			item_chain(disk, i);
		}
		i = next;
	}
}

void
disk_map_begin(struct disk *disk, uint32_t at)
{
	struct node *node = &disk->nodes[at];
	uint64_t cap = round_up(node->cache->size, PAGE);

	if (node->maps++ == 0 &&
	    (node->cache->refs > 1 || node->cache->cap != cap)) {
		struct image *own = image_clone(node->cache, cap);

		image_drop(node->cache);
		node->cache = own;
	}
	disk_use(disk, at);
}

void
disk_map_end(struct disk *disk, uint32_t at)
{
	struct node *node = &disk->nodes[at];

	assert(node->maps > 0);
	if (--node->maps == 0 && HAVE_ASAN) {
		struct image *moved =
		    image_clone(node->cache, node->cache->cap);

		image_drop(node->cache);
		node->cache = moved;
	}
	disk_unuse(disk, at);
}

uint64_t
disk_pending(const struct disk *disk)
{
	return disk->item_count - disk->dead_count;
}

static uint64_t
dir_hash(struct disk *disk, uint32_t dir)
{
	const struct names *names = disk->nodes[dir].seen;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < names->count; i++) {
		const char *text = disk_name_text(names->entry[i].name);
		struct node *child = &disk->nodes[names->entry[i].node];
		uint64_t content = child->kind == NODE_DIR
				       ? dir_hash(disk, names->entry[i].node)
				       : image_hash(child->cache);

		sum += rng_mix(image_hash_bytes((const uint8_t *)text,
				   strlen(text), child->kind) ^
			       rng_mix(content));
	}
	return sum;
}

uint64_t
disk_hash(struct disk *disk)
{
	return dir_hash(disk, DISK_ROOT);
}
