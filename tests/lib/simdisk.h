/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simdisk.h - the half of the simulated machine that survives its processes:
 * files with cache and disk image, names, and the journal between them.
 * For simos.c alone (and simimage.c, simdisk.c, simloss.c, which are this);
 * the method is described in simos.h.
 */
#ifndef SIMDISK_H
#define SIMDISK_H

#include "rng.h"
#include "simos.h"

#define DISK_NONE UINT32_MAX
#define DISK_ROOT 0u
#define DISK_SECTOR 512u
#define PAGE 4096u /* and block of allocation */

#if defined __SANITIZE_ADDRESS__
#define HAVE_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifndef HAVE_ASAN
#define HAVE_ASAN 0
#endif

/* A file's bytes.  Shared by states and by cache and disk while refs > 1, and
 * then not changed. */
struct image {
	uint32_t refs;
	bool hash_known;
	uint64_t hash;
	uint64_t size;   /* bytes of the file */
	uint64_t cap;    /* bytes of room, whole blocks; zero behind size */
	uint64_t blocks; /* how many are allocated */
	uint8_t *alloc;  /* per block of room: it has disk space */
	uint8_t *bytes;
};

/* A directory's names; shared likewise. */
struct names {
	uint32_t refs, count, cap;
	struct {
		uint32_t name; /* disk_name() */
		uint32_t node;
	} entry[];
};

enum node_kind { NODE_FREE, NODE_FILE, NODE_DIR };

struct node {
	enum node_kind kind;
	bool gone;      /* no name, no user: its space is free again */
	uint64_t ino;   /* never used twice */
	uint32_t name;  /* the last one it had, for messages */
	uint32_t links; /* names that can be seen */
	uint32_t pins;  /* synced names, and journal items that bring one */
	uint32_t users; /* descriptors and mappings */
	uint32_t maps;  /* mappings */
	uint32_t first, last;       /* its journal items */
	struct image *cache, *disk; /* of a file */
	struct image *shadow;       /* what the cache should be; mostly NULL */
	uint8_t *lost;              /* per sector: a failed sync forgot it */
	uint64_t lost_count;        /* sectors in lost */
	struct names *seen, *durable; /* of a directory */
	bool names_clean;             /* a failed sync forgot them */
};

enum item_kind {
	ITEM_DEAD,
	ITEM_STORE,    /* bytes at off, within a sector */
	ITEM_WORD,     /* the same, never torn */
	ITEM_GROW,     /* to size off, without space */
	ITEM_ALLOCATE, /* up to off */
	ITEM_TRUNCATE, /* to off */
	ITEM_PUNCH,    /* from off */
	ITEM_ADD,      /* name for child */
	ITEM_REMOVE,   /* name of child */
	ITEM_RENAME,   /* name of child to name2 */
	ITEM_EXCHANGE  /* name of child for name2 */
};

enum item_fate { FATE_DROP, FATE_KEEP, FATE_TORN };

struct item {
	uint8_t kind, fate;
	uint16_t len;  /* of a store */
	uint32_t node; /* file or directory */
	uint32_t next; /* of the same node */
	uint32_t name, name2, child;
	uint64_t off;
	uint64_t data; /* place of a store's bytes in the arena */
};

static inline bool
item_is_store(const struct item *item)
{
	return item->kind == ITEM_STORE || item->kind == ITEM_WORD;
}

static inline bool
item_is_name(const struct item *item)
{
	return item->kind >= ITEM_ADD;
}

#define EACH_ITEM(disk, node, i)                                               \
	for ((i) = (disk)->nodes[node].first; (i) != DISK_NONE;                \
	     (i) = (disk)->items[i].next)

/* Everything that a state holds. */
struct disk {
	struct node *nodes;
	uint32_t node_count, node_cap;
	struct item *items;
	uint32_t item_count, item_cap, dead_count;
	uint8_t *arena;
	uint64_t arena_len, arena_cap;
	uint64_t next_ino;
	uint64_t used;     /* bytes of disk space */
	uint64_t capacity; /* bytes */
	bool cow;          /* overwriting needs space */
};

_Noreturn void disk_bug(const char *format, ...) ATTR_PRINTF(1, 2);

/* Memory of the simulator itself: aborts rather than fails. */
void *disk_alloc(void *old, uint64_t size);

/* array, with room for one more element. */
void *disk_grown(void *array, uint32_t count, uint32_t *cap, size_t element);

/* A name's number, the same for the same text as long as the program runs. */
uint32_t disk_name(const char *text);
const char *disk_name_text(uint32_t name);
void disk_names_forget(void);

void disk_init(struct disk *disk);
/* Copies keep what is on the disk and in the journal, not users. */
void disk_copy(const struct disk *from, struct disk *ret_to);
void disk_release(struct disk *disk);
/* Release the last one, and what all disks have in common. */
void disk_fini(struct disk *disk);

/* The names that can be seen now.  DISK_NONE if there is none. */
uint32_t disk_find(const struct disk *disk, uint32_t dir, uint32_t name);
uint32_t disk_create(
    struct disk *disk, uint32_t dir, uint32_t name, enum node_kind kind);
void disk_link(struct disk *disk, uint32_t dir, uint32_t name, uint32_t child);
void disk_unlink(struct disk *disk, uint32_t dir, uint32_t name);
void disk_rename(struct disk *disk, uint32_t dir, uint32_t from, uint32_t to);
void disk_exchange(struct disk *disk, uint32_t dir, uint32_t a, uint32_t b);

/* A descriptor or mapping of the node came or went. */
void disk_use(struct disk *disk, uint32_t node);
void disk_unuse(struct disk *disk, uint32_t node);

/* How many of len bytes at off there is disk space for. */
uint64_t disk_room(
    const struct disk *disk, uint32_t node, uint64_t off, uint64_t len);

/* Change the cache and note it in the journal.  The caller has looked at the
 * room. */
void disk_store(struct disk *disk, uint32_t node, uint64_t off, const void *src,
    size_t len, bool is_word);
/* 0 or ENOSPC; then a part may have been done. */
int disk_allocate(
    struct disk *disk, uint32_t node, uint64_t size, struct rng *rng);
void disk_truncate(struct disk *disk, uint32_t node, uint64_t size);
void disk_punch(struct disk *disk, uint32_t node, uint64_t off);

void disk_sync(struct disk *disk, uint32_t node);
void disk_sync_failed(struct disk *disk, uint32_t node, struct rng *rng);
void disk_sync_names(struct disk *disk, uint32_t dir);
void disk_sync_names_failed(struct disk *disk, uint32_t dir, struct rng *rng);

/* Before the first mapping of a file: a buffer of its own that ends with the
 * file's last block.  After the last one: a sanitizer sees who still looks. */
void disk_map_begin(struct disk *disk, uint32_t node);
void disk_map_end(struct disk *disk, uint32_t node);

/* Bring one item to the disk: of a store the bytes [from, to). */
void disk_apply_store(
    struct disk *disk, const struct item *item, uint64_t from, uint64_t to);
void disk_apply_content(struct disk *disk, const struct item *item);
void disk_apply_name(struct disk *disk, const struct item *item);
void node_release(struct node *node);

/* No node has users.  In simloss.c. */
void loss_scratch_free(void);
void disk_power_loss(struct disk *disk, enum simos_loss choice, uint64_t number,
    struct rng *rng);
uint64_t disk_subsets(struct disk *disk); /* as simos_subsets() */

uint64_t disk_pending(const struct disk *disk);
uint64_t disk_hash(struct disk *disk);

/* Images; *image is made the caller's own where that is needed. */
struct image *image_create(void);               /* of no bytes */
struct image *image_share(struct image *image); /* NULL is fine */
void image_drop(struct image *image);           /* NULL is fine */
struct image *image_clone(const struct image *image, uint64_t cap);
void image_write(
    struct image **image, uint64_t off, const void *src, size_t len);
void image_truncate(struct image **image, uint64_t size);
void image_allocate(struct image **image, uint64_t size);
void image_punch(struct image **image, uint64_t off);
uint64_t image_hash(struct image *image);
uint64_t image_hash_bytes(const uint8_t *bytes, uint64_t len, uint64_t hash);
void image_pool_free(void);

struct names *names_share(struct names *names); /* NULL is fine */
void names_drop(struct names *names);           /* NULL is fine */
uint32_t names_find(const struct names *names, uint32_t name);

#endif
