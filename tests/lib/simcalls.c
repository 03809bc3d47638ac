/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simcalls.c - the table of the simulated machine: names, descriptors,
 * mappings and locks, checked for what only a bug would do.
 */
#include "config.h"

#include "simproc.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define FD_BASE 1000 /* so that a real descriptor is noticed */

/* Descriptors. */

static struct desc *
desc_of(int fd)
{
	uint32_t at = (uint32_t)(fd - FD_BASE);

	if (fd < FD_BASE || at >= sim.desc_count || !sim.descs[at].is_open)
		disk_bug("descriptor %d is not open", fd);
	return &sim.descs[at];
}

static uint32_t
file_of(int fd)
{
	uint32_t node = desc_of(fd)->node;

	if (node_at(node)->kind != NODE_FILE)
		disk_bug("descriptor %d is of a directory", fd);
	return node;
}

static uint32_t
dir_of(int fd)
{
	uint32_t node = desc_of(fd)->node;

	if (node_at(node)->kind != NODE_DIR)
		disk_bug("descriptor %d is of a file", fd);
	return node;
}

static const char *
fd_name(int fd)
{
	return node_name(desc_of(fd)->node);
}

static int
desc_open(uint32_t node, bool writable)
{
	uint32_t at;

	for (at = 0; at < sim.desc_count; at++)
		if (!sim.descs[at].is_open)
			break;
	if (at == sim.desc_count) {
		sim.descs = disk_grown(sim.descs, sim.desc_count, &sim.desc_cap,
		    sizeof *sim.descs);
		sim.desc_count++;
	}
	sim.descs[at] = (struct desc){true, writable, sim.running, node};
	disk_use(&sim.disk, node);
	return FD_BASE + (int)at;
}

void
desc_close(uint32_t at)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < sim.lock_count; i++)
		if (sim.locks[i].desc != at)
			sim.locks[kept++] = sim.locks[i];
	sim.lock_count = kept;
	sim.descs[at].is_open = false;
	disk_unuse(&sim.disk, sim.descs[at].node);
}

/* Paths lead from "/"; there is no other working directory. */

/* The node of path's directory, and its last name (DISK_NONE for "/", and
 * where the path ends in ".."). */
static int
walk(const char *path, uint32_t *ret_dir, uint32_t *ret_name)
{
	char name[OS_NAME_MAX + 1];
	uint32_t dir = DISK_ROOT, next = DISK_NONE;
	uint32_t above[16], depth = 0;

	while (*path != '\0') {
		size_t len = strcspn(path, "/");

		if (len > OS_NAME_MAX)
			return ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		path += len + strspn(path + len, "/");
		if (len == 0 || strcmp(name, ".") == 0)
			continue;
		if (next != DISK_NONE) {
			if (depth == sizeof above / sizeof above[0])
				return ENAMETOOLONG;
			above[depth++] = dir;
			dir = disk_find(&sim.disk, dir, next);
		}
		if (dir == DISK_NONE)
			return ENOENT;
		if (node_at(dir)->kind != NODE_DIR)
			return ENOTDIR;
		next = DISK_NONE;
		if (strcmp(name, "..") != 0)
			next = disk_name(name);
		else if (depth > 0)
			dir = above[--depth];
	}
	*ret_dir = dir;
	*ret_name = next;
	return 0;
}

int
sim_resolve(const char *path, uint32_t *ret_node)
{
	uint32_t dir, name;
	int error = walk(path, &dir, &name);

	if (error != 0)
		return error;
	*ret_node = name == DISK_NONE ? dir : disk_find(&sim.disk, dir, name);
	return *ret_node == DISK_NONE ? ENOENT : 0;
}

/* A name within a directory. */
static uint32_t
plain_name(const char *name)
{
	if (*name == '\0' || strchr(name, '/') != NULL)
		disk_bug("\"%s\" is no name", name);
	return disk_name(name);
}

static bool
disk_is_full(void)
{
	return sim.disk.used >= sim.disk.capacity;
}

static int
sim_mkdir(const char *path, unsigned mode)
{
	int error = ENTER(SIMOS_MKDIR, "%s", path);
	uint32_t dir, name;

	(void)mode;
	if (error == 0)
		error = walk(path, &dir, &name);
	if (error != 0)
		return error;
	if (name == DISK_NONE || disk_find(&sim.disk, dir, name) != DISK_NONE)
		return EEXIST;
	if (disk_is_full())
		return ENOSPC;
	(void)disk_create(&sim.disk, dir, name, NODE_DIR);
	return 0;
}

static int
sim_open_dir(const char *path, int *ret_fd)
{
	int error = ENTER(SIMOS_OPEN_DIR, "%s", path);
	uint32_t node;

	if (error == 0)
		error = sim_resolve(path, &node);
	if (error != 0)
		return error;
	if (node_at(node)->kind != NODE_DIR)
		return ENOTDIR;
	*ret_fd = desc_open(node, false);
	return 0;
}

static int
sim_list(int dirfd, os_list_fn *fn, void *arg)
{
	int result = ENTER(SIMOS_LIST, "%s", fd_name(dirfd));
	struct names *names;

	if (result != 0)
		return result;
	/* The names as they are now, whatever fn does to them; newest first,
	 * since no caller may expect an order. */
	names = names_share(node_at(dir_of(dirfd))->seen);
	for (uint32_t i = names->count; i-- > 0 && result == 0;)
		result = fn(arg, disk_name_text(names->entry[i].name));
	names_drop(names);
	return result;
}

static int
sim_sync_dir(int dirfd)
{
	int error = ENTER(SIMOS_SYNC_DIR, "%s", fd_name(dirfd));

	if (error == 0)
		disk_sync_names(&sim.disk, dir_of(dirfd));
	else
		disk_sync_names_failed(
		    &sim.disk, dir_of(dirfd), &sim.world.dice);
	return error;
}

static int
sim_sync_parent(const char *path)
{
	int error = ENTER(SIMOS_SYNC_PARENT, "%s", path);
	uint32_t dir, name;

	if (error == 0)
		error = walk(path, &dir, &name);
	if (error == 0)
		disk_sync_names(&sim.disk, dir);
	return error;
}

static int
sim_fs_type(int fd, enum os_fs *ret_fs)
{
	int error = ENTER(SIMOS_FS_TYPE, "%s", fd_name(fd));

	if (error == 0)
		*ret_fs = sim.world.fs;
	return error;
}

static int
open_existing(uint32_t dir, const char *name, bool writable, int *ret_fd)
{
	int error = ENTER(
	    SIMOS_OPEN, "%s for %s", name, writable ? "writing" : "reading");
	uint32_t node = disk_find(&sim.disk, dir, plain_name(name));

	if (error != 0)
		return error;
	if (node == DISK_NONE)
		return ENOENT;
	if (node_at(node)->kind == NODE_DIR && writable)
		return EISDIR;
	*ret_fd = desc_open(node, writable);
	return 0;
}

static int
open_new(uint32_t dir, const char *name, int *ret_fd)
{
	int error = ENTER(SIMOS_CREATE, "%s", name);
	uint32_t id = plain_name(name);

	if (error != 0)
		return error;
	if (disk_find(&sim.disk, dir, id) != DISK_NONE)
		return EEXIST;
	if (disk_is_full())
		return ENOSPC;
	*ret_fd = desc_open(disk_create(&sim.disk, dir, id, NODE_FILE), true);
	return 0;
}

static int
sim_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	(void)mode;
	if (how == OS_OPEN_CREATE)
		return open_new(dir_of(dirfd), name, ret_fd);
	return open_existing(dir_of(dirfd), name, how == OS_OPEN_WRITE, ret_fd);
}

static int
sim_rename(int dirfd, const char *from, const char *to)
{
	int error = ENTER(SIMOS_RENAME, "%s to %s", from, to);
	uint32_t dir = dir_of(dirfd), old, child;

	if (error != 0)
		return error;
	child = disk_find(&sim.disk, dir, plain_name(from));
	old = disk_find(&sim.disk, dir, plain_name(to));
	if (child == DISK_NONE)
		return ENOENT;
	if (old != DISK_NONE && node_at(old)->kind == NODE_DIR) {
		if (node_at(child)->kind != NODE_DIR)
			return EISDIR;
		if (node_at(old)->seen->count > 0)
			return ENOTEMPTY;
	}
	disk_rename(&sim.disk, dir, disk_name(from), disk_name(to));
	return 0;
}

static int
sim_exchange(int dirfd, const char *a, const char *b)
{
	int error = ENTER(SIMOS_EXCHANGE, "%s and %s", a, b);
	uint32_t dir = dir_of(dirfd);

	if (error != 0)
		return error;
	if (disk_find(&sim.disk, dir, plain_name(a)) == DISK_NONE ||
	    disk_find(&sim.disk, dir, plain_name(b)) == DISK_NONE)
		return ENOENT;
	disk_exchange(&sim.disk, dir, disk_name(a), disk_name(b));
	return 0;
}

static int
sim_link(int from_dirfd, const char *from, int dirfd, const char *to)
{
	int error = ENTER(SIMOS_LINK, "%s as %s", from, to);
	uint32_t dir = dir_of(dirfd), child;

	if (error != 0)
		return error;
	child = disk_find(&sim.disk, dir_of(from_dirfd), plain_name(from));
	if (child == DISK_NONE)
		return ENOENT;
	if (disk_find(&sim.disk, dir, plain_name(to)) != DISK_NONE)
		return EEXIST;
	if (node_at(child)->kind == NODE_DIR)
		return EPERM;
	disk_link(&sim.disk, dir, disk_name(to), child);
	return 0;
}

static int
sim_unlink(int dirfd, const char *name)
{
	int error = ENTER(SIMOS_UNLINK, "%s", name);
	uint32_t dir = dir_of(dirfd), child;

	if (error != 0)
		return error;
	child = disk_find(&sim.disk, dir, plain_name(name));
	if (child == DISK_NONE)
		return ENOENT;
	if (node_at(child)->kind == NODE_DIR)
		return EISDIR;
	disk_unlink(&sim.disk, dir, disk_name(name));
	return 0;
}

static int
sim_rmdir(int dirfd, const char *name)
{
	int error = ENTER(SIMOS_RMDIR, "%s", name);
	uint32_t dir = dir_of(dirfd), child;

	if (error != 0)
		return error;
	child = disk_find(&sim.disk, dir, plain_name(name));
	if (child == DISK_NONE)
		return ENOENT;
	if (node_at(child)->kind != NODE_DIR)
		return ENOTDIR;
	if (node_at(child)->seen->count > 0)
		return ENOTEMPTY;
	disk_unlink(&sim.disk, dir, disk_name(name));
	return 0;
}

static void
stat_node(const struct node *node, struct os_stat *ret)
{
	*ret = (struct os_stat){.dev = 1,
	    .ino = node->ino,
	    .link_count = node->links,
	    .mode = 0777,
	    .is_dir = node->kind == NODE_DIR,
	    .is_regular = node->kind == NODE_FILE};
	if (node->kind == NODE_FILE) {
		ret->size = node->cache->size;
		ret->allocated = node->cache->blocks * PAGE;
	}
}

static int
sim_stat_name(int dirfd, const char *name, struct os_stat *ret)
{
	int error = ENTER(SIMOS_STAT_NAME, "%s", name);
	uint32_t child;

	if (error != 0)
		return error;
	child = disk_find(&sim.disk, dir_of(dirfd), plain_name(name));
	if (child == DISK_NONE)
		return ENOENT;
	stat_node(node_at(child), ret);
	return 0;
}

/* There are none. */
static bool
sim_is_symlink(int dirfd, const char *name)
{
	if (ENTER(SIMOS_STAT_NAME, "%s", name) == 0) {
		(void)dir_of(dirfd);
		(void)plain_name(name);
	}
	return false;
}

/* Files. */

static int
sim_close(int fd)
{
	int error = ENTER(SIMOS_CLOSE, "%s", fd_name(fd));

	desc_close((uint32_t)(desc_of(fd) - sim.descs));
	return error; /* closed all the same */
}

static int
sim_stat(int fd, struct os_stat *ret)
{
	int error = ENTER(SIMOS_STAT, "%s", fd_name(fd));

	if (error == 0)
		stat_node(node_at(desc_of(fd)->node), ret);
	return error;
}

static int
sim_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	int error = ENTER(
	    SIMOS_PREAD, "%s + %" PRIu64 ", %zu bytes", fd_name(fd), off, len);
	const struct image *cache = node_at(file_of(fd))->cache;

	if (error != 0)
		return error;
	*ret_len =
	    off < cache->size ? (size_t)min_u64(len, cache->size - off) : 0;
	if (*ret_len > 0)
		memcpy(buf, cache->bytes + off, *ret_len);
	return 0;
}

static uint32_t
writable_file_of(int fd)
{
	if (!desc_of(fd)->writable)
		disk_bug("%s is open for reading only", fd_name(fd));
	return file_of(fd);
}

/* Bytes go to the cache, the journal, and the image that is compared. */
static void
write_node(
    uint32_t node, uint64_t off, const void *src, size_t len, bool is_word)
{
	disk_store(&sim.disk, node, off, src, len, is_word);
	if (node_at(node)->shadow != NULL && len > 0)
		image_write(&node_at(node)->shadow, off, src, len);
}

/* How much of a store of len bytes is done when the victim stops in it, from
 * the begin or from the end of the store. */
static size_t
choose_inside(size_t len, bool *ret_from_end)
{
	struct rng rng;
	size_t done;

	rng_init(&rng, sim.seed ^ sim.steps << 20 ^ sim.stop_inside);
	done = 1 + (size_t)rng_below(&rng, len - 1);
	*ret_from_end = sim.stop_inside % 4 == 0;
	if (sim.stop_inside % 2 == 1 && len > 8)
		done = 8 * (1 + (size_t)rng_below(&rng, (len - 1) / 8));
	return done;
}

static _Noreturn void
stop_inside(uint32_t node, uint64_t off, const uint8_t *src, size_t len,
    bool may_run_back)
{
	bool from_end;
	size_t done = choose_inside(len, &from_end);

	if (from_end && may_run_back)
		write_node(
		    node, off + len - done, src + len - done, done, false);
	else
		write_node(node, off, src, done, false);
	sim.stopped_inside = true;
	stop_victim();
}

/* pwrite, also on behalf of a store. */
static int
write_file(enum simos_kind kind, uint32_t node, const void *src, size_t len,
    uint64_t off)
{
	size_t room = (size_t)disk_room(&sim.disk, node, off, len);
	int error;

	if (stops_inside(len) && room > 1)
		stop_inside(node, off, src, room, false);
	if (stops_inside(len))
		stop_victim();
	error = strike(kind);
	if (error != 0)
		room = (size_t)rng_below(&sim.world.dice, room + 1);
	/* No kernel leaves half of an aligned word. */
	if (kind == SIMOS_STORE_WORD && room < len)
		room = 0;
	write_node(node, off, src, room,
	    kind == SIMOS_STORE_WORD && room == sizeof(uint64_t));
	if (error != 0)
		return error;
	return room < len ? ENOSPC : 0;
}

static int
sim_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	ENTER_LEN(SIMOS_PWRITE, len, "%s + %" PRIu64 ", %zu bytes", fd_name(fd),
	    off, len);
	return write_file(SIMOS_PWRITE, writable_file_of(fd), buf, len, off);
}

static void
shadow_resize(
    uint32_t node, void (*resize)(struct image **, uint64_t), uint64_t to)
{
	if (node_at(node)->shadow != NULL)
		resize(&node_at(node)->shadow, to);
}

static int
sim_allocate(int fd, uint64_t size)
{
	int error =
	    ENTER(SIMOS_ALLOCATE, "%s to %" PRIu64 " bytes", fd_name(fd), size);
	uint32_t node = writable_file_of(fd);

	if (error != 0 || size == 0)
		return error;
	error = disk_allocate(&sim.disk, node, size, &sim.world.dice);
	shadow_resize(node, image_allocate, node_at(node)->cache->size);
	return error;
}

static int
sim_punch(int fd, uint64_t off)
{
	int error = ENTER(SIMOS_PUNCH, "%s from %" PRIu64, fd_name(fd), off);
	uint32_t node = writable_file_of(fd);

	if (error != 0 || off >= node_at(node)->cache->size)
		return error;
	disk_punch(&sim.disk, node, off);
	shadow_resize(node, image_punch, off);
	return 0;
}

static int
sim_truncate(int fd, uint64_t size)
{
	int error =
	    ENTER(SIMOS_TRUNCATE, "%s to %" PRIu64 " bytes", fd_name(fd), size);
	uint32_t node = writable_file_of(fd);

	if (error != 0)
		return error;
	for (uint32_t i = 0; i < sim.map_count; i++)
		if (sim.maps[i].node == node && sim.maps[i].len > size)
			disk_bug("%s is mapped to %" PRIu64
				 " and cut to %" PRIu64 " bytes",
			    fd_name(fd), sim.maps[i].len, size);
	disk_truncate(&sim.disk, node, size);
	shadow_resize(node, image_truncate, size);
	return 0;
}

void
check_shadow(uint32_t at)
{
	const struct node *node = node_at(at);
	uint64_t size = node->cache->size;

	if (node->shadow == NULL)
		return;
	for (uint64_t i = 0; i < size; i++) {
		if (memcmp(node->cache->bytes + i, node->shadow->bytes + i,
			(size_t)(size - i)) == 0)
			return;
		while (node->cache->bytes[i] == node->shadow->bytes[i])
			i++;
		disk_bug("%s + %" PRIu64 " was stored into without os->store",
		    node_name(at), i);
	}
}

/* No blocks are shared here. */
static int
sim_clone(int from_fd, int to_fd)
{
	int error = ENTER(SIMOS_CLONE, "%s", fd_name(from_fd));

	(void)to_fd;
	return error != 0 ? error : EOPNOTSUPP;
}

static int
sim_sync(int fd)
{
	int error = ENTER(SIMOS_SYNC, "%s", fd_name(fd));
	uint32_t node = file_of(fd);

	check_shadow(node);
	if (error == 0)
		disk_sync(&sim.disk, node);
	else
		disk_sync_failed(&sim.disk, node, &sim.world.dice);
	return error;
}

/* Mappings. */

/* The mapping that map stands for.  Two of one file differ only in their
 * rights. */
static struct mapping *
mapping_of(const struct os_map *map)
{
	for (uint32_t i = sim.map_count; i-- > 0;) {
		struct mapping *m = &sim.maps[i];

		if (m->addr == map->addr && m->len == map->len &&
		    m->writable == map->writable &&
		    m->by_pwrite == map->by_pwrite)
			return m;
	}
	disk_bug("no such mapping: %p, %" PRIu64 " bytes, %s",
	    (void *)map->addr, map->len,
	    map->writable ? "writable" : "read-only");
}

static int
sim_map(
    int fd, uint64_t len, bool writable, bool by_pwrite, struct os_map *ret_map)
{
	int error = ENTER(SIMOS_MAP, "%s, %" PRIu64 " bytes, %s%s", fd_name(fd),
	    len, writable ? "writable" : "read-only",
	    by_pwrite ? " by pwrite" : "");
	uint32_t node = writable ? writable_file_of(fd) : file_of(fd);

	if (error != 0)
		return error;
	if (len == 0)
		return EINVAL;
	if (len > node_at(node)->cache->size)
		disk_bug("%s has %" PRIu64 " bytes, mapped are %" PRIu64,
		    fd_name(fd), node_at(node)->cache->size, len);
	disk_map_begin(&sim.disk, node);
	if (sim.shadow && node_at(node)->shadow == NULL)
		node_at(node)->shadow = image_clone(
		    node_at(node)->cache, node_at(node)->cache->cap);
	sim.maps =
	    disk_grown(sim.maps, sim.map_count, &sim.map_cap, sizeof *sim.maps);
	sim.maps[sim.map_count++] = (struct mapping){
	    .addr = node_at(node)->cache->bytes,
	    .len = len,
	    .writable = writable,
	    .by_pwrite = by_pwrite,
	    .is_victim = sim.running,
	    .node = node,
	};
	*ret_map = (struct os_map){.addr = node_at(node)->cache->bytes,
	    .len = len,
	    .fd = fd,
	    .writable = writable,
	    .by_pwrite = by_pwrite};
	return 0;
}

void
mapping_end(struct mapping *m)
{
	uint32_t node = m->node;

	*m = sim.maps[--sim.map_count];
	if (node_at(node)->maps == 1 && node_at(node)->shadow != NULL) {
		check_shadow(node);
		image_drop(node_at(node)->shadow);
		node_at(node)->shadow = NULL;
	}
	disk_map_end(&sim.disk, node);
}

static void
sim_unmap(struct os_map *map)
{
	struct mapping *m;

	if (map->addr == NULL)
		return;
	m = mapping_of(map);
	(void)ENTER(SIMOS_UNMAP, "%s", node_name(m->node));
	mapping_end(m);
	map->addr = NULL;
}

static int
sim_protect(struct os_map *map)
{
	struct mapping *m = mapping_of(map);
	int error = ENTER(SIMOS_PROTECT, "%s", node_name(m->node));

	if (error == 0)
		m->writable = map->writable = false;
	return error;
}

static void
sim_write_back(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	(void)off;
	(void)len;
}

static void
sim_advise(
    const struct os_map *map, uint64_t off, uint64_t len, enum os_advice advice)
{
	const struct mapping *m = mapping_of(map);

	(void)ENTER(SIMOS_ADVISE, "%s + %" PRIu64 ", %" PRIu64 " bytes: %u",
	    node_name(m->node), off, len, (unsigned)advice);
}

/* Check what the processor would check, and more. */
static void
check_store(
    const struct os_map *map, const struct mapping *m, uint64_t off, size_t len)
{
	const struct node *node = node_at(m->node);
	const char *name = node_name(m->node);

	if (!m->writable)
		disk_bug("store into %s, which is mapped read-only", name);
	if (off > m->len || len > m->len - off)
		disk_bug("store into %s behind the mapping's end: %" PRIu64
			 ", %zu bytes",
		    name, off, len);
	if (node->links == 0 && node->users == node->maps)
		disk_bug("store into %s, which is unlinked and closed", name);
	if (map->by_pwrite) {
		if (desc_of(map->fd)->node != m->node)
			disk_bug("store into %s by a descriptor of %s", name,
			    fd_name(map->fd));
		return;
	}
	for (uint64_t at = off; at < off + len; at = (at / PAGE + 1) * PAGE)
		if (!node->cache->alloc[at / PAGE])
			disk_bug("store into %s + %" PRIu64
				 ", which has no disk space",
			    name, at);
}

static int
sim_store(const struct os_map *map, uint64_t off, const void *src, size_t len)
{
	const struct mapping *m = mapping_of(map);

	ENTER_LEN(SIMOS_STORE, len, "%s + %" PRIu64 ", %zu bytes",
	    node_name(m->node), off, len);
	check_store(map, m, off, len);
	if (map->by_pwrite)
		return write_file(SIMOS_STORE, m->node, src, len, off);
	if (stops_inside(len))
		stop_inside(m->node, off, src, len, true);
	write_node(m->node, off, src, len, false);
	return 0;
}

static int
sim_store_word(const struct os_map *map, uint64_t off, uint64_t word)
{
	const struct mapping *m = mapping_of(map);

	(void)ENTER_LEN(SIMOS_STORE_WORD, 0, "%s + %" PRIu64 ": %#" PRIx64,
	    node_name(m->node), off, word);
	check_store(map, m, off, sizeof word);
	if (off % sizeof word != 0)
		disk_bug("word in %s at odd place %" PRIu64, node_name(m->node),
		    off);
	if (map->by_pwrite)
		return write_file(
		    SIMOS_STORE_WORD, m->node, &word, sizeof word, off);
	write_node(m->node, off, &word, sizeof word, true);
	return 0;
}

/* Locks. */

static int
sim_try_lock(int fd, uint64_t byte, enum os_lock kind)
{
	int error =
	    ENTER(SIMOS_LOCK, "%s byte %" PRIu64 ": %s", fd_name(fd), byte,
		kind == OS_LOCK_NONE     ? "none"
		: kind == OS_LOCK_SHARED ? "shared"
					 : "exclusive");
	uint32_t mine = (uint32_t)(desc_of(fd) - sim.descs);
	uint32_t node = file_of(fd), kept = 0;

	if (error != 0)
		return error;
	if (kind == OS_LOCK_EXCLUSIVE && !desc_of(fd)->writable)
		return EBADF;
	for (uint32_t i = 0; i < sim.lock_count; i++) {
		const struct lock *lock = &sim.locks[i];

		if (lock->byte == byte && lock->desc != mine &&
		    sim.descs[lock->desc].node == node &&
		    kind != OS_LOCK_NONE &&
		    (kind == OS_LOCK_EXCLUSIVE ||
			lock->kind == OS_LOCK_EXCLUSIVE))
			return EAGAIN;
	}
	for (uint32_t i = 0; i < sim.lock_count; i++)
		if (sim.locks[i].byte != byte || sim.locks[i].desc != mine)
			sim.locks[kept++] = sim.locks[i];
	sim.lock_count = kept;
	if (kind == OS_LOCK_NONE)
		return 0;
	sim.locks = disk_grown(
	    sim.locks, sim.lock_count, &sim.lock_cap, sizeof *sim.locks);
	sim.locks[sim.lock_count++] = (struct lock){mine, byte, kind};
	return 0;
}

static bool
sim_is_locked(int fd, uint64_t byte)
{
	uint32_t mine = (uint32_t)(desc_of(fd) - sim.descs);
	uint32_t node = file_of(fd);

	for (uint32_t i = 0; i < sim.lock_count; i++)
		if (sim.locks[i].byte == byte && sim.locks[i].desc != mine &&
		    sim.descs[sim.locks[i].desc].node == node)
			return true;
	return false;
}

/* Mutexes. */

static struct mutex *
mutex_find(const struct os_map *map, uint64_t off)
{
	const struct mapping *m = mapping_of(map);

	if (!m->writable || m->by_pwrite || off >= m->len)
		disk_bug("no place for a mutex: %s + %" PRIu64,
		    node_name(m->node), off);
	for (uint32_t i = 0; i < sim.mutex_count; i++)
		if (sim.mutexes[i].node == m->node && sim.mutexes[i].off == off)
			return &sim.mutexes[i];
	return NULL;
}

static struct mutex *
mutex_of(const struct os_map *map, uint64_t off)
{
	struct mutex *mutex = mutex_find(map, off);

	if (mutex == NULL)
		disk_bug("no mutex was made at %" PRIu64, off);
	return mutex;
}

static int
sim_mutex_init(const struct os_map *map, uint64_t off)
{
	int error = ENTER(SIMOS_MUTEX, "%" PRIu64 ": made", off);
	struct mutex *mutex = mutex_find(map, off);

	if (error != 0)
		return error;
	if (mutex == NULL) {
		sim.mutexes = disk_grown(sim.mutexes, sim.mutex_count,
		    &sim.mutex_cap, sizeof *sim.mutexes);
		mutex = &sim.mutexes[sim.mutex_count++];
	}
	*mutex = (struct mutex){mapping_of(map)->node, off, MUTEX_FREE, false};
	return 0;
}

/* Nobody else runs meanwhile, so waiting is only a matter of time. */
static int
sim_mutex_lock(const struct os_map *map, uint64_t off, uint64_t until)
{
	int error = ENTER(SIMOS_MUTEX, "%" PRIu64 ": lock", off);
	struct mutex *mutex = mutex_of(map, off);
	uint64_t now = sim.world.clock_ns - CLOCK_START_NS / 2;
	bool was_dead = mutex->state == MUTEX_DEAD;

	if (error != 0)
		return error;
	if (mutex->state == MUTEX_LOCKED) {
		if (now < until)
			sim.world.clock_ns += until - now;
		return EAGAIN;
	}
	mutex->state = MUTEX_LOCKED;
	mutex->is_victims = sim.running;
	return was_dead ? EOWNERDEAD : 0;
}

static void
sim_mutex_unlock(const struct os_map *map, uint64_t off)
{
	struct mutex *mutex = mutex_of(map, off);

	(void)ENTER(SIMOS_MUTEX, "%" PRIu64 ": unlock", off);
	if (mutex->state != MUTEX_LOCKED || mutex->is_victims != sim.running)
		disk_bug("the mutex at %" PRIu64 " is not this process's", off);
	mutex->state = MUTEX_FREE;
}

/* The world. */

static int
sim_random(void *buf, size_t len)
{
	int error = ENTER(SIMOS_RANDOM, "%zu bytes", len);

	if (error == 0)
		rng_fill(&sim.world.random, buf, len);
	return error;
}

static uint64_t
sim_clock_ms(void)
{
	count_call(SIMOS_CLOCK);
	return (sim.world.clock_ns + sim.world.wall_ns) / 1000000u;
}

static uint64_t
sim_ticks_ns(void)
{
	count_call(SIMOS_TICKS);
	return sim.world.clock_ns - CLOCK_START_NS / 2;
}

static void
sim_sleep_ns(uint64_t ns)
{
	(void)ENTER(SIMOS_SLEEP, "%" PRIu64 " ns", ns);
	sim.world.clock_ns += ns;
}

static void
sim_boot_id(uint8_t ret_id[16])
{
	struct rng rng;

	count_call(SIMOS_BOOT_ID);
	rng_init(&rng, rng_mix(sim.seed) ^ sim.world.boots);
	rng_fill(&rng, ret_id, 16);
	if (sim.world.no_boot_id)
		memset(ret_id, 0, 16);
}

/* Threads that share a simulated disk would make its steps come in any
 * order. */
static unsigned
sim_cpu_count(void)
{
	return 1;
}

static uint32_t
sim_pid(void)
{
	count_call(SIMOS_PID);
	return sim.world.pid;
}

/* A thread has one turn, from its start to its end; so one that waits for
 * work is not to be had. */
static int
sim_thread_start(
    pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg)
{
	int error = ENTER(SIMOS_THREAD, "%s", name);

	if (error != 0)
		return error;
	if (strcmp(name, "kvlog") == 0)
		return EAGAIN;
	*ret_thread = pthread_self();
	(void)fn(arg);
	return 0;
}

static void
sim_thread_join(pthread_t thread)
{
	(void)thread;
}

const struct os_table os_sim = {
    .mkdir = sim_mkdir,
    .open_dir = sim_open_dir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .sync_parent = sim_sync_parent,
    .fs_type = sim_fs_type,

    .open = sim_open,
    .rename = sim_rename,
    .exchange = sim_exchange,
    .link = sim_link,
    .unlink = sim_unlink,
    .rmdir = sim_rmdir,
    .stat_name = sim_stat_name,
    .is_symlink = sim_is_symlink,

    .close = sim_close,
    .stat = sim_stat,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .allocate = sim_allocate,
    .punch = sim_punch,
    .truncate = sim_truncate,
    .clone = sim_clone,
    .sync = sim_sync,

    .map = sim_map,
    .unmap = sim_unmap,
    .protect = sim_protect,
    .write_back = sim_write_back,
    .advise = sim_advise,
    .store = sim_store,
    .store_word = sim_store_word,

    .try_lock = sim_try_lock,
    .is_locked = sim_is_locked,

    .mutex_init = sim_mutex_init,
    .mutex_lock = sim_mutex_lock,
    .mutex_unlock = sim_mutex_unlock,

    .random = sim_random,
    .clock_ms = sim_clock_ms,
    .ticks_ns = sim_ticks_ns,
    .coarse_ns = sim_ticks_ns,
    .sleep_ns = sim_sleep_ns,
    .boot_id = sim_boot_id,
    .pid = sim_pid,
    .cpu_count = sim_cpu_count,

    .thread_start = sim_thread_start,
    .thread_join = sim_thread_join,

    .malloc = sim_malloc,
    .calloc = sim_calloc,
    .realloc = sim_realloc,
    .aligned = sim_aligned,
    .free = sim_free,
    .pages = sim_pages,
    .free_pages = sim_free_pages,
};
