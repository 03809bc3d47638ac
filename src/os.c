/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os.c - the real system behind the table of os.h.
 *
 * Everything here is POSIX; what differs between systems is in os_linux.c or
 * os_posix.c.
 *
 *   OS-1  No descriptor of ours is 0, 1 or 2, so that what a program prints
 *         after closing its standard streams never lands in a store.
 *   OS-2  No call raises SIGXFSZ: the limit is looked at before the file.
 *   OS-3  A sync is never called again after a failure, EINTR included: a
 *         call that was interrupted may have taken the only report of a
 *         failed write-back with it.
 */
#include "config.h"

#include "os.h"

#include "bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* One read or write is at most this long; some systems refuse 2 GiB. */
#define IO_MAX ((size_t)1 << 30)

/* Longest path that sync_parent() takes; the kernel takes no longer one. */
#define PATH_LEN_MAX 4096

static_assert(sizeof(off_t) == 8, "build with large file support");

/* Descriptors. */

/* fd, moved above the standard streams (OS-1); -1 with errno if it cannot
 * be. */
static int
above_stdio(int fd)
{
	int high, error;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = errno;
	(void)close(fd);
	errno = error;
	return high;
}

static int
open_at(int dirfd, const char *name, int flags, mode_t mode, int *ret_fd)
{
	int fd;

	do
		/* A pipe of this name must not make us wait for its end. */
		fd = openat(dirfd, name,
		    flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
	while (fd == -1 && errno == EINTR);
	fd = above_stdio(fd);
	if (fd == -1)
		return errno;
	*ret_fd = fd;
	return 0;
}

static int
real_close(int fd)
{
	/* The descriptor is gone also after EINTR; closing it again could hit
	 * somebody else's. */
	if (close(fd) != 0 && errno != EINTR && errno != EINPROGRESS)
		return errno;
	return 0;
}

/* Directories. */

static int
real_mkdir(const char *path, unsigned mode)
{
	return mkdir(path, (mode_t)mode) == 0 ? 0 : errno;
}

static int
real_open_dir(const char *path, int *ret_fd)
{
	return open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, ret_fd);
}

static int
list_stream(DIR *stream, os_list_fn *fn, void *arg)
{
	for (;;) {
		const struct dirent *entry;
		int result;

		errno = 0;
		entry = readdir(stream);
		if (entry == NULL)
			return errno;
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		result = fn(arg, entry->d_name);
		if (result != 0)
			return result;
	}
}

static int
real_list(int dirfd, os_list_fn *fn, void *arg)
{
	DIR *stream;
	int fd = -1, result;

	/* A descriptor of its own, for a position of its own. */
	result = open_at(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, &fd);
	if (result != 0)
		return result;
	stream = fdopendir(fd);
	if (stream == NULL) {
		result = errno;
		(void)close(fd);
		return result;
	}
	result = list_stream(stream, fn, arg);
	(void)closedir(stream);
	return result;
}

static int
real_sync_dir(int dirfd)
{
	return fsync(dirfd) == 0 ? 0 : errno; /* OS-3 */
}

/* The directory in which path's own name stands: "a" for "a/b//", "." for
 * "b", "b/../.." for "b/..". */
static int
parent_of(const char *path, char ret_parent[PATH_LEN_MAX])
{
	size_t len = strlen(path), start;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (start = len; start > 0 && path[start - 1] != '/'; start--)
		continue;
	if (len + sizeof "/.." > PATH_LEN_MAX)
		return ENAMETOOLONG;

	memcpy(ret_parent, path, len);
	ret_parent[len] = '\0';
	if (strcmp(ret_parent + start, ".") == 0 ||
	    strcmp(ret_parent + start, "..") == 0) {
		memcpy(ret_parent + len, "/..", sizeof "/..");
		return 0;
	}
	if (start == 0) {
		memcpy(ret_parent, ".", sizeof ".");
		return 0;
	}
	ret_parent[start] = '\0'; /* with its slash: "/" stays "/" */
	return 0;
}

static int
real_sync_parent(const char *path)
{
	char parent[PATH_LEN_MAX];
	int fd = -1, error;

	error = parent_of(path, parent);
	if (error == 0)
		error = real_open_dir(parent, &fd);
	if (error != 0)
		return error;
	error = real_sync_dir(fd);
	(void)real_close(fd);
	return error;
}

/* Names. */

static int
real_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	int flags = O_RDONLY;

	switch (how) {
	case OS_OPEN_READ:
		break;
	case OS_OPEN_WRITE:
		flags = O_RDWR;
		break;
	case OS_OPEN_CREATE:
		flags = O_RDWR | O_CREAT | O_EXCL;
		break;
	}
	return open_at(dirfd, name, flags, (mode_t)mode, ret_fd);
}

static int
real_rename(int dirfd, const char *from, const char *to)
{
	return renameat(dirfd, from, dirfd, to) == 0 ? 0 : errno;
}

static bool
real_is_symlink(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISLNK(st.st_mode);
}

static int
real_exchange(int dirfd, const char *a, const char *b)
{
	if (real_is_symlink(dirfd, a) || real_is_symlink(dirfd, b))
		return ELOOP;
	return os_sys_exchange(dirfd, a, b);
}

static int
real_link(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
	return linkat(from_dirfd, from, to_dirfd, to, AT_SYMLINK_FOLLOW) == 0
		   ? 0
		   : errno;
}

static int
real_unlink(int dirfd, const char *name)
{
	return unlinkat(dirfd, name, 0) == 0 ? 0 : errno;
}

static int
real_rmdir(int dirfd, const char *name)
{
	return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

static void
stat_copy(const struct stat *st, struct os_stat *ret)
{
	ret->size = (uint64_t)st->st_size;
	ret->allocated = (uint64_t)st->st_blocks * 512;
	ret->dev = (uint64_t)st->st_dev;
	ret->ino = (uint64_t)st->st_ino;
	ret->link_count = (uint64_t)st->st_nlink;
	ret->mode = (unsigned)st->st_mode & 0777u;
	ret->is_dir = S_ISDIR(st->st_mode);
	ret->is_regular = S_ISREG(st->st_mode);
}

static int
real_stat_name(int dirfd, const char *name, struct os_stat *ret)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, 0) != 0)
		return errno;
	stat_copy(&st, ret);
	return 0;
}

/* Files. */

static int
real_stat(int fd, struct os_stat *ret)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return errno;
	stat_copy(&st, ret);
	return 0;
}

static int
real_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	size_t done = 0;

	if (off > INT64_MAX || len > INT64_MAX - off)
		return EINVAL;
	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done,
		    (size_t)min_u64(len - done, IO_MAX), (off_t)(off + done));

		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return errno;
	}
	*ret_len = done;
	return 0;
}

/* Whether a file may reach up to end; false where the kernel would raise
 * SIGXFSZ (OS-2). */
static bool
end_is_allowed(uint64_t end)
{
	struct rlimit limit;

	if (end > INT64_MAX)
		return false;
	if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
		return true;
	return limit.rlim_cur == RLIM_INFINITY || end <= limit.rlim_cur;
}

static int
pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done,
		    (size_t)min_u64(len - done, IO_MAX), (off_t)(off + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return EIO; /* no progress and no reason */
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

static int
real_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	if (len > UINT64_MAX - off || !end_is_allowed(off + len))
		return EFBIG;
	return pwrite_all(fd, buf, len, off);
}

static const uint8_t zeros[BLOCK_SIZE * 4];

static int
write_zeros(int fd, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t len = (size_t)min_u64(to - from, sizeof zeros);
		int error = pwrite_all(fd, zeros, len, from);

		if (error != 0)
			return error;
		from += len;
	}
	return 0;
}

/*
 * Write zeros where [0, end) of the file may be a hole: into every block that
 * reads as zeros.  The caller owns the file, so nobody stores into such a
 * block between the read and the write.
 */
static int
fill_holes(int fd, uint64_t end)
{
	uint8_t block[BLOCK_SIZE];

	for (uint64_t off = 0; off < end; off += sizeof block) {
		size_t len = (size_t)min_u64(end - off, sizeof block), got = 0;
		int error = real_pread(fd, block, len, off, &got);

		if (error == 0 && memcmp(block, zeros, got) == 0)
			error = real_pwrite(fd, block, got, off);
		if (error != 0)
			return error;
	}
	return 0;
}

/* Allocation by writing, where the file system knows no better way. */
static int
allocate_by_writing(int fd, const struct stat *st, uint64_t size)
{
	uint64_t old_size = (uint64_t)st->st_size;
	uint64_t inside = min_u64(old_size, size);

	if ((uint64_t)st->st_blocks * 512 < inside) {
		int error = fill_holes(fd, inside);

		if (error != 0)
			return error;
	}
	return write_zeros(fd, old_size, size);
}

static int
real_allocate(int fd, uint64_t size)
{
	struct stat st;
	int error;

	if (size == 0)
		return 0;
	if (fstat(fd, &st) != 0)
		return errno;
	if (size > (uint64_t)st.st_size && !end_is_allowed(size))
		return EFBIG;
	error = os_sys_allocate(fd, size, (uint64_t)st.st_size);
	if (error == EOPNOTSUPP)
		error = allocate_by_writing(fd, &st, size);
	return error;
}

static int
real_punch(int fd, uint64_t off)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return errno;
	if (off >= (uint64_t)st.st_size)
		return 0;
	return os_sys_punch(fd, off, (uint64_t)st.st_size - off);
}

static int
real_truncate(int fd, uint64_t size)
{
	struct stat st;
	int result;

	if (fstat(fd, &st) != 0)
		return errno;
	if (size > (uint64_t)st.st_size && !end_is_allowed(size))
		return EFBIG;
	do
		result = ftruncate(fd, (off_t)size);
	while (result != 0 && errno == EINTR);
	return result == 0 ? 0 : errno;
}

static int
real_sync(int fd)
{
	return os_sys_sync(fd); /* OS-3 */
}

/* Mappings. */

static int
real_map(
    int fd, uint64_t len, bool writable, bool by_pwrite, struct os_map *ret_map)
{
	int prot = PROT_READ;
	void *addr;

	if (len > SIZE_MAX)
		return ENOMEM;
	if (writable && !by_pwrite)
		prot |= PROT_WRITE;
	addr = mmap(NULL, (size_t)len, prot, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return errno;
	*ret_map = (struct os_map){.addr = addr,
	    .len = len,
	    .fd = fd,
	    .writable = writable,
	    .by_pwrite = by_pwrite};
	return 0;
}

static void
real_unmap(struct os_map *map)
{
	if (map->addr != NULL)
		(void)munmap(map->addr, (size_t)map->len);
	map->addr = NULL;
}

static int
real_protect(struct os_map *map)
{
	if (mprotect(map->addr, (size_t)map->len, PROT_READ) != 0)
		return errno;
	map->writable = false;
	return 0;
}

/* Advice is only that: failures are not looked at. */
static void
real_advise(
    const struct os_map *map, uint64_t off, uint64_t len, enum os_advice advice)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint8_t *addr;
	size_t size;

	if (off >= map->len)
		return;
	len = min_u64(len, map->len - off) + off % page;
	off -= off % page;
	addr = map->addr + off;
	size = (size_t)len;

	switch (advice) {
	case OS_ADVICE_POPULATE:
		if (map->writable && !map->by_pwrite)
			os_sys_populate(addr, size);
		break;
	case OS_ADVICE_HUGE:
		os_sys_huge(addr, size);
		break;
	case OS_ADVICE_FORGET:
		os_sys_forget(addr, size);
		break;
	case OS_ADVICE_RENEW:
		os_sys_renew(addr, size);
		break;
	case OS_ADVICE_WILLNEED:
		os_sys_fetch(addr, size);
		break;
	case OS_ADVICE_SEQUENTIAL:
		(void)posix_madvise(addr, size, POSIX_MADV_SEQUENTIAL);
		break;
	case OS_ADVICE_RANDOM:
		(void)posix_madvise(addr, size, POSIX_MADV_RANDOM);
		break;
	case OS_ADVICE_DENSE:
		assert(off == 0 && !map->writable);
		os_sys_cover_holes(map->fd, addr, size);
		break;
	}
}

static int
real_store(const struct os_map *map, uint64_t off, const void *src, size_t len)
{
	assert(map->writable);
	assert(off <= map->len && len <= map->len - off);

	if (map->by_pwrite)
		return real_pwrite(map->fd, src, len, off);
	if (len > 0)
		memcpy(map->addr + off, src, len);
	return 0;
}

static int
real_store_word(const struct os_map *map, uint64_t off, uint64_t word)
{
	_Atomic uint64_t *place;

	assert(map->writable);
	assert(off % sizeof word == 0);
	assert(off <= map->len && sizeof word <= map->len - off);

	if (map->by_pwrite)
		return real_pwrite(map->fd, &word, sizeof word, off);
	place = (_Atomic uint64_t *)(void *)(map->addr + off);
	atomic_store_explicit(place, word, memory_order_release);
	return 0;
}

/* The world. */

static uint64_t
clock_read_ns(clockid_t clock)
{
	struct timespec now = {0, 0};

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t
real_clock_ms(void)
{
	return clock_read_ns(CLOCK_REALTIME) / 1000000u;
}

static uint64_t
real_ticks_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

static uint64_t
real_coarse_ns(void)
{
#if defined CLOCK_MONOTONIC_COARSE
	return clock_read_ns(CLOCK_MONOTONIC_COARSE);
#else
	return clock_read_ns(CLOCK_MONOTONIC);
#endif
}

static void
real_sleep_ns(uint64_t ns)
{
	struct timespec left = {.tv_sec = (time_t)(ns / 1000000000u),
	    .tv_nsec = (long)(ns % 1000000000u)};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		continue;
}

static uint32_t
real_pid(void)
{
	return (uint32_t)getpid();
}

/* aligned_alloc() of C11 wants a multiple of the alignment. */
static void *
real_aligned(size_t align, size_t size)
{
	if (size > SIZE_MAX - align)
		return NULL;
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

/* Locks.  Those of Linux belong to the open file; classic ones belong to the
 * process, and all of them go when it closes any descriptor of the file, which
 * is what registry.c is for. */
#if KVLOG_LINUX
#define SET_LOCK F_OFD_SETLK
#define GET_LOCK F_OFD_GETLK
#else
#define SET_LOCK F_SETLK
#define GET_LOCK F_GETLK
#endif

static struct flock
lock_of(uint64_t byte, enum os_lock kind)
{
	static const short types[] = {
	    [OS_LOCK_NONE] = F_UNLCK,
	    [OS_LOCK_SHARED] = F_RDLCK,
	    [OS_LOCK_EXCLUSIVE] = F_WRLCK,
	};

	return (struct flock){.l_type = types[kind],
	    .l_whence = SEEK_SET,
	    .l_start = (off_t)byte,
	    .l_len = 1};
}

static int
try_lock(int fd, uint64_t byte, enum os_lock kind)
{
	struct flock lock = lock_of(byte, kind);
	int result;

	do
		result = fcntl(fd, SET_LOCK, &lock);
	while (result != 0 && errno == EINTR);
	if (result == 0)
		return 0;
	return errno == EACCES ? EAGAIN : errno;
}

static bool
is_locked(int fd, uint64_t byte)
{
	struct flock lock = lock_of(byte, OS_LOCK_EXCLUSIVE);

	return fcntl(fd, GET_LOCK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Mutexes that processes share. */
#if KVLOG_ROBUST_MUTEX
static_assert(sizeof(pthread_mutex_t) <= OS_MUTEX_SIZE, "needs more room");

static inline pthread_mutex_t *
mutex_at(const struct os_map *map, uint64_t off)
{
	assert(map->writable && !map->by_pwrite);
	assert(off <= map->len && sizeof(pthread_mutex_t) <= map->len - off);
	return (pthread_mutex_t *)(void *)(map->addr + off);
}

static int
real_mutex_init(const struct os_map *map, uint64_t off)
{
	pthread_mutexattr_t attr;
	int rc = pthread_mutexattr_init(&attr);

	if (rc != 0)
		return rc;
	rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (rc == 0)
		rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (rc == 0)
		rc = pthread_mutex_init(mutex_at(map, off), &attr);
	(void)pthread_mutexattr_destroy(&attr);
	return rc;
}

/* ThreadSanitizer of GCC 12 and clang 14 does not know that call. */
#if defined __SANITIZE_THREAD__
#undef HAVE_PTHREAD_MUTEX_CLOCKLOCK
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#undef HAVE_PTHREAD_MUTEX_CLOCKLOCK
#endif
#endif

/* Until the monotonic clock, not the wall clock, says so. */
static int
wait_for_mutex(pthread_mutex_t *mutex, uint64_t until)
{
#if HAVE_PTHREAD_MUTEX_CLOCKLOCK
	const struct timespec end = {.tv_sec = (time_t)(until / 1000000000u),
	    .tv_nsec = (long)(until % 1000000000u)};

	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &end);
#else
	uint64_t pause = 50 * 1000;

	for (;;) {
		uint64_t now = real_ticks_ns();
		int rc;

		if (now >= until)
			return ETIMEDOUT;
		real_sleep_ns(min_u64(pause, until - now));
		pause = min_u64(2 * pause, 1000 * 1000);
		rc = pthread_mutex_trylock(mutex);
		if (rc != EBUSY)
			return rc;
	}
#endif
}

static int
real_mutex_lock(const struct os_map *map, uint64_t off, uint64_t until)
{
	pthread_mutex_t *mutex = mutex_at(map, off);
	int rc = pthread_mutex_trylock(mutex);

	if (rc == EBUSY && until != 0)
		rc = wait_for_mutex(mutex, until);
	if (rc == EOWNERDEAD)
		(void)pthread_mutex_consistent(mutex);
	return rc == EBUSY || rc == ETIMEDOUT ? EAGAIN : rc;
}

static void
real_mutex_unlock(const struct os_map *map, uint64_t off)
{
	(void)pthread_mutex_unlock(mutex_at(map, off));
}

#else /* !KVLOG_ROBUST_MUTEX */

static int
real_mutex_init(const struct os_map *map, uint64_t off)
{
	(void)map;
	(void)off;
	return EOPNOTSUPP;
}

static int
real_mutex_lock(const struct os_map *map, uint64_t off, uint64_t until)
{
	(void)map;
	(void)off;
	(void)until;
	return EOPNOTSUPP;
}

static void
real_mutex_unlock(const struct os_map *map, uint64_t off)
{
	(void)map;
	(void)off;
}
#endif

static unsigned
real_cpu_count(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count > 1 ? (unsigned)count : 1;
}

/* A program's signals are for its own threads. */
static int
real_thread_start(
    pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, saved;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &saved);
	rc = pthread_create(ret_thread, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
#if KVLOG_LINUX
	if (rc == 0)
		(void)pthread_setname_np(*ret_thread, name);
#else
	(void)name;
#endif
	return rc;
}

static void
real_thread_join(pthread_t thread)
{
	(void)pthread_join(thread, NULL);
}

const struct os_table os_real = {
    .mkdir = real_mkdir,
    .open_dir = real_open_dir,
    .list = real_list,
    .sync_dir = real_sync_dir,
    .sync_parent = real_sync_parent,
    .fs_type = os_sys_fs_type,

    .open = real_open,
    .rename = real_rename,
    .exchange = real_exchange,
    .link = real_link,
    .unlink = real_unlink,
    .rmdir = real_rmdir,
    .stat_name = real_stat_name,
    .is_symlink = real_is_symlink,

    .close = real_close,
    .stat = real_stat,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .allocate = real_allocate,
    .punch = real_punch,
    .truncate = real_truncate,
    .clone = os_sys_clone,
    .sync = real_sync,

    .map = real_map,
    .unmap = real_unmap,
    .protect = real_protect,
    .write_back = os_sys_write_back,
    .advise = real_advise,
    .store = real_store,
    .store_word = real_store_word,

    .try_lock = try_lock,
    .is_locked = is_locked,

    .mutex_init = real_mutex_init,
    .mutex_lock = real_mutex_lock,
    .mutex_unlock = real_mutex_unlock,

    .random = os_sys_random,
    .clock_ms = real_clock_ms,
    .ticks_ns = real_ticks_ns,
    .coarse_ns = real_coarse_ns,
    .sleep_ns = real_sleep_ns,
    .boot_id = os_sys_boot_id,
    .pid = real_pid,
    .cpu_count = real_cpu_count,

    .thread_start = real_thread_start,
    .thread_join = real_thread_join,

    .malloc = malloc,
    .calloc = calloc,
    .realloc = realloc,
    .aligned = real_aligned,
    .free = free,
    .pages = os_sys_pages,
    .free_pages = os_sys_free_pages,
};

const struct os_table *os = &os_real;

int
os_draw(uint64_t *ret_number)
{
	uint8_t bytes[8];
	int rc = os->random(bytes, sizeof bytes);

	if (rc == 0)
		*ret_number = get_u64(bytes);
	return rc;
}
