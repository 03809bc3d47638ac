/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os.h - the one door to the system: every call that touches the disk, the
 * clock, random numbers, memory of unbounded size, locks or threads, and every
 * store into a mapping.
 *
 * The calls go through a table, so that tests can put a simulated disk in its
 * place, stop at any step, and fail or crash there (tests/lib/simos.h).
 *
 * Conventions: calls return 0 or a positive errno value, unless said
 * otherwise; EINTR is retried inside (but not by the syncs, which nobody
 * calls again).  Names are relative to a directory descriptor and hold no
 * slash.  All files are opened close-on-exec, on descriptors above 2.
 */
#ifndef OS_H
#define OS_H

#include "base.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define OS_NAME_MAX 255 /* bytes of a file name, without its NUL */

enum os_open {
	OS_OPEN_READ,   /* existing file, for reading */
	OS_OPEN_WRITE,  /* existing file, for reading and writing */
	OS_OPEN_CREATE, /* new file, EEXIST if there is one */
};

struct os_stat {
	uint64_t size;      /* bytes */
	uint64_t allocated; /* bytes of disk space in use */
	uint64_t dev, ino;  /* identity */
	uint64_t link_count;
	unsigned mode; /* permission bits */
	bool is_dir;
	bool is_regular;
};

/*
 * A mapped file: MAP_SHARED, from offset 0, never moved or resized.  The
 * caller owns it; addr is NULL when there is none.
 */
struct os_map {
	uint8_t *addr;
	uint64_t len; /* bytes */
	int fd;       /* for stores by pwrite; not owned */
	bool writable;
	bool by_pwrite; /* the file system does not keep the promise of
			   allocated space: stores go through pwrite */
};

enum os_lock { OS_LOCK_NONE, OS_LOCK_SHARED, OS_LOCK_EXCLUSIVE };

enum os_advice {
	OS_ADVICE_POPULATE,   /* fault pages in for writing */
	OS_ADVICE_HUGE,       /* to be written from end to end: in huge pages,
				 if the file system can have them */
	OS_ADVICE_FORGET,     /* many pages are to be synced: unmap them all at
				 once; what was stored stays in the cache */
	OS_ADVICE_RENEW,      /* the same, but map them again for reading, as
				 somebody may do that meanwhile */
	OS_ADVICE_WILLNEED,   /* read ahead */
	OS_ADVICE_SEQUENTIAL, /* about to be scanned */
	OS_ADVICE_RANDOM,     /* as it is normally used */
	OS_ADVICE_DENSE       /* to be read, and nobody stores there: holes
				 must not need disk space when they are */
};

enum os_fs {
	OS_FS_PLAIN,   /* allocated space stays writable: ext4, xfs, tmpfs */
	OS_FS_COW,     /* it does not: btrfs, zfs, bcachefs */
	OS_FS_NETWORK, /* locks and mappings are not to be trusted */
};

/* Whether locks belong to the open file, or else to the process. */
#define OS_LOCKS_OF_OPEN_FILE KVLOG_LINUX

/* Called with each name in a directory but "." and ".."; a result other than
 * 0 ends the listing and is returned by it. */
typedef int os_list_fn(void *arg, const char *name);

struct os_table {
	/* Directories.  path is as the user gave it. */
	int (*mkdir)(const char *path, unsigned mode);
	int (*open_dir)(const char *path, int *ret_fd);
	int (*list)(int dirfd, os_list_fn *fn, void *arg);
	int (*sync_dir)(int dirfd);           /* names are durable after it */
	int (*sync_parent)(const char *path); /* so is path's own name */
	int (*fs_type)(int fd, enum os_fs *ret_fs);

	/* Names. */
	int (*open)(int dirfd, const char *name, enum os_open how,
	    unsigned mode, int *ret_fd);
	int (*rename)(int dirfd, const char *from, const char *to);
	/* Two names trade places, in one step; EOPNOTSUPP where that cannot be
	 * done, ELOOP if one of them is a symbolic link. */
	int (*exchange)(int dirfd, const char *a, const char *b);
	/* Of a symbolic link, the file that it leads to gets the name. */
	int (*link)(
	    int from_dirfd, const char *from, int to_dirfd, const char *to);
	int (*unlink)(int dirfd, const char *name);
	int (*rmdir)(int dirfd, const char *name); /* of an empty directory */
	int (*stat_name)(int dirfd, const char *name, struct os_stat *ret);
	/* All others follow symbolic links. */
	bool (*is_symlink)(int dirfd, const char *name);

	/* Files. */
	int (*close)(int fd);
	int (*stat)(int fd, struct os_stat *ret);
	/* Read up to len bytes; *ret_len is less only at the file's end. */
	int (*pread)(
	    int fd, void *buf, size_t len, uint64_t off, size_t *ret_len);
	int (*pwrite)(int fd, const void *buf, size_t len, uint64_t off);
	/* Grow the file to size if it is shorter, and make sure that every
	 * block up to size has disk space; ENOSPC or EFBIG if not. */
	int (*allocate)(int fd, uint64_t size);
	/* Give the disk space of [off, end of file) back; the size stays and
	 * the bytes read as zero.  EOPNOTSUPP where that cannot be done. */
	int (*punch)(int fd, uint64_t off);
	int (*truncate)(int fd, uint64_t size);
	/* Make an empty file one of the same bytes, which share their disk
	 * space until one of them is written; EOPNOTSUPP where that cannot be
	 * done, EXDEV between file systems. */
	int (*clone)(int from_fd, int to_fd);
	/* Contents and size are durable after it, stores into mappings
	 * included.  Never retried by anybody after a failure. */
	int (*sync)(int fd);
	/* Begin to write what was stored there: sync() waits less then.  What
	 * fails, that tells. */
	void (*write_back)(int fd, uint64_t off, uint64_t len);

	/* Mappings. */
	int (*map)(int fd, uint64_t len, bool writable, bool by_pwrite,
	    struct os_map *ret_map);
	void (*unmap)(struct os_map *map);  /* sets addr to NULL */
	int (*protect)(struct os_map *map); /* becomes read-only */
	void (*advise)(const struct os_map *map, uint64_t off, uint64_t len,
	    enum os_advice advice);
	/* Copy len bytes to offset off of the mapping.  Nothing else in
	 * kvlog stores into a mapped file. */
	int (*store)(const struct os_map *map, uint64_t off, const void *src,
	    size_t len);
	/* Store one native 64-bit word, atomically and with release order. */
	int (*store_word)(
	    const struct os_map *map, uint64_t off, uint64_t word);

	/*
	 * Locks on single bytes of a file, owned by the open file.  try_lock
	 * never waits: EAGAIN if another open file holds a lock in the way.
	 */
	int (*try_lock)(int fd, uint64_t byte, enum os_lock kind);
	/* Whether another open file (without Linux: another process) has a
	 * lock there. */
	bool (*is_locked)(int fd, uint64_t byte);

	/*
	 * Mutexes that processes share, in a mapping that is not by_pwrite.
	 * mutex_init: when nobody else can be using it; EOPNOTSUPP where there
	 * are none.  mutex_lock waits until ticks_ns() (0: not at all): 0;
	 * EAGAIN if somebody has it still; EOWNERDEAD, with the mutex locked,
	 * if the thread that had it has ended; or what only a damaged mutex
	 * gives.
	 */
	int (*mutex_init)(const struct os_map *map, uint64_t off);
	int (*mutex_lock)(
	    const struct os_map *map, uint64_t off, uint64_t until);
	void (*mutex_unlock)(const struct os_map *map, uint64_t off);

	/* The world. */
	int (*random)(void *buf, size_t len);
	uint64_t (*clock_ms)(void); /* wall clock, since 1970 */
	uint64_t (*ticks_ns)(void); /* monotonic */
	/* The same, some milliseconds late at most, and cheap enough for every
	 * look-up. */
	uint64_t (*coarse_ns)(void);
	void (*sleep_ns)(uint64_t ns);
	/* 16 bytes that change at every boot; zeros if the system has none */
	void (*boot_id)(uint8_t ret_id[16]);
	uint32_t (*pid)(void);
	unsigned (*cpu_count)(void); /* processors to run on; at least 1 */

	/* Threads, with all signals blocked and a name of at most 15 bytes. */
	int (*thread_start)(pthread_t *ret_thread, const char *name,
	    void *(*fn)(void *arg), void *arg);
	void (*thread_join)(pthread_t thread);

	/* Memory; as the C library's, and aligned_alloc. */
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t count, size_t size);
	void *(*realloc)(void *p, size_t size);
	void *(*aligned)(size_t align, size_t size);
	void (*free)(void *p);
	/*
	 * Much memory: whole pages of zeros, which the system has back as soon
	 * as they are freed.  They are brought in at once, as each that is
	 * waited for later costs whoever needs it several microseconds; but
	 * sizes of OS_HUGE_PAGE and more take no memory before they are used,
	 * begin at a multiple of it, and are in huge pages if the system has
	 * such for the asking.
	 */
	void *(*pages)(size_t size);
	void (*free_pages)(void *p, size_t size);
};

/* The table in use: the real one, unless a test replaced it. */
extern const struct os_table *os;
extern const struct os_table os_real;

static inline bool
os_same_file(const struct os_stat *a, const struct os_stat *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/*
 * os->store() and os->store_word() of the table in use.  A commit stores its
 * records and six words, which as calls cost more than what they do: those of
 * the real table are made here.
 */
static inline int
os_store(const struct os_map *map, uint64_t off, const void *src, size_t len)
{
	if (UNLIKELY(os != &os_real || map->by_pwrite))
		return os->store(map, off, src, len);
	memcpy(map->addr + off, src, len);
	return 0;
}
static inline int
os_store_word(const struct os_map *map, uint64_t off, uint64_t word)
{
	if (UNLIKELY(os != &os_real || map->by_pwrite))
		return os->store_word(map, off, word);
	atomic_store_explicit((_Atomic uint64_t *)(void *)(map->addr + off),
	    word, memory_order_release);
	return 0;
}

/* What a huge page has on most machines. */
#define OS_HUGE_PAGE (2u << 20)

/* Bytes that a mutex has in a mapping, at most; a static assertion of os.c. */
#define OS_MUTEX_SIZE 128

/* A random number: of the same random bytes the same one on every machine, so
 * that what is written is. */
int os_draw(uint64_t *ret_number);

/*
 * What differs between systems, for os.c alone: os_linux.c, or os_posix.c
 * where config.h says KVLOG_LINUX 0.
 */
int os_sys_allocate(int fd, uint64_t size,
    uint64_t old_size); /* EOPNOTSUPP: os.c shall write zeros */
int os_sys_punch(int fd, uint64_t off, uint64_t len);
int os_sys_sync(int fd);
void os_sys_write_back(int fd, uint64_t off, uint64_t len);
int os_sys_exchange(int dirfd, const char *a, const char *b);
int os_sys_clone(int from_fd, int to_fd);
void os_sys_fetch(void *addr, size_t len); /* whole pages from addr */
void os_sys_populate(void *addr, size_t len);
void os_sys_huge(void *addr, size_t len);
void os_sys_forget(void *addr, size_t len);
void os_sys_renew(void *addr, size_t len);
void *os_sys_pages(size_t size);
void os_sys_free_pages(void *p, size_t size);
void os_sys_cover_holes(
    int fd, uint8_t *addr, size_t len); /* of a mapping of fd, read-only */
int os_sys_fs_type(int fd, enum os_fs *ret_fs);
int os_sys_random(void *buf, size_t len);
void os_sys_boot_id(uint8_t ret_id[16]);

#endif
