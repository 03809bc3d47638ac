/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os_linux.c - the half of the door that only Linux has.  os_posix.c is what
 * takes its place elsewhere, and under configure --disable-linux.
 */
#include "config.h"

#include "os.h"

#if KVLOG_LINUX

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Younger than some C library headers. */
#ifndef FALLOC_FL_KEEP_SIZE
#define FALLOC_FL_KEEP_SIZE 0x01
#endif
#ifndef FALLOC_FL_PUNCH_HOLE
#define FALLOC_FL_PUNCH_HOLE 0x02
#endif
#ifndef FALLOC_FL_UNSHARE_RANGE
#define FALLOC_FL_UNSHARE_RANGE 0x40
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 0x02
#endif
#ifndef FICLONE
#define FICLONE _IOW(0x94, 9, int)
#endif

/* fallocate(2) with its error as result; old kernels and sandboxes that do
 * not know the call are the same to us as a file system that does not. */
static int
try_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	if (fallocate(fd, mode, (off_t)off, (off_t)len) == 0)
		return 0;
	return errno == ENOSYS ? EOPNOTSUPP : errno;
}

static int
fallocate_whole(int fd, int mode, uint64_t off, uint64_t len)
{
	sigset_t all, saved;
	int error;

	error = try_fallocate(fd, mode, off, len);
	if (error != EINTR)
		return error;

	/* tmpfs takes everything back when a signal comes, and a program with
	 * an interval timer would never get through. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &saved);
	do
		error = try_fallocate(fd, mode, off, len);
	while (error == EINTR);
	(void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return error;
}

/* FIEMAP, as the kernel has it; its headers are not everywhere. */
struct fiemap_extent {
	uint64_t logical, physical, len; /* bytes */
	uint64_t reserved[2];
	uint32_t flags;
	uint32_t reserved2[3];
};
struct fiemap {
	uint64_t start, len;
	uint32_t flags, mapped_extents, extent_count, reserved;
	struct fiemap_extent extents[32];
};
#define FIEMAP_HEADER 32 /* bytes before the extents */
#define FIEMAP_IOCTL _IOWR('f', 11, uint8_t[FIEMAP_HEADER])
#define FIEMAP_FLAG_SYNC 0x1u
/* An extent that is only written to where it is: not UNKNOWN, DELALLOC,
 * ENCODED, ENCRYPTED, INLINE, TAIL, SHARED. */
#define FIEMAP_NOT_IN_PLACE                                                    \
	(0x2u | 0x4u | 0x8u | 0x80u | 0x200u | 0x400u | 0x2000u)
static_assert(offsetof(struct fiemap, extents) == FIEMAP_HEADER, "fiemap");
static_assert(sizeof(struct fiemap_extent) == 56, "fiemap");

/* Whether all of [0, size) has blocks of its own.  False if the file system
 * does not tell. */
static bool
has_blocks(int fd, uint64_t size)
{
	uint64_t off = 0;

	while (off < size) {
		struct fiemap map = {.start = off,
		    .len = size - off,
		    .flags = FIEMAP_FLAG_SYNC,
		    .extent_count = ARRAY_LEN(map.extents)};

		if (ioctl(fd, FIEMAP_IOCTL, &map) != 0 ||
		    map.mapped_extents == 0 ||
		    map.mapped_extents > ARRAY_LEN(map.extents))
			return false;
		for (uint32_t i = 0; i < map.mapped_extents; i++) {
			const struct fiemap_extent *e = &map.extents[i];

			if (e->logical > off || e->len == 0 ||
			    (e->flags & FIEMAP_NOT_IN_PLACE) != 0)
				return false;
			off = max_u64(off, e->logical + e->len);
		}
	}
	return true;
}

int
os_sys_allocate(int fd, uint64_t size, uint64_t old_size)
{
	int error;

	error = fallocate_whole(fd, 0, 0, size);

	/* What was there may share its blocks with a copy (cp does so on XFS);
	 * a store into such a block needs a new one, which a full disk does
	 * not have.  File systems that share nothing refuse this call. */
	if (error == 0 && old_size > 0) {
		error = fallocate_whole(
		    fd, FALLOC_FL_UNSHARE_RANGE, 0, min_u64(size, old_size));
		if (error != ENOSPC && error != EDQUOT && error != EIO)
			error = 0;
	}
	/* On a full disk XFS refuses also what is there already. */
	if ((error == ENOSPC || error == EDQUOT) && size <= old_size &&
	    has_blocks(fd, size))
		error = 0;
	return error;
}

int
os_sys_punch(int fd, uint64_t off, uint64_t len)
{
	return fallocate_whole(
	    fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

int
os_sys_sync(int fd)
{
	return fdatasync(fd) == 0 ? 0 : errno;
}

/* Only what is wrong with the range is told here. */
void
os_sys_write_back(int fd, uint64_t off, uint64_t len)
{
	(void)sync_file_range(
	    fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

/* What a kernel or a file system does not know it refuses as invalid. */
static int
not_supported(int error)
{
	return error == ENOSYS || error == EINVAL || error == ENOTTY
		   ? EOPNOTSUPP
		   : error;
}

int
os_sys_exchange(int dirfd, const char *a, const char *b)
{
	if (syscall(SYS_renameat2, dirfd, a, dirfd, b, RENAME_EXCHANGE) == 0)
		return 0;
	return not_supported(errno);
}

int
os_sys_clone(int from_fd, int to_fd)
{
	return ioctl(to_fd, FICLONE, from_fd) == 0 ? 0 : not_supported(errno);
}

/* Of one call the system fetches no more than it would read ahead. */
void
os_sys_fetch(void *addr, size_t len)
{
	const size_t piece = 128u << 10;

	for (size_t at = 0; at < len; at += piece)
		(void)madvise((char *)addr + at,
		    len - at < piece ? len - at : piece, MADV_WILLNEED);
}

/* Nothing is stored to the same end where the system does not know this (before
 * Linux 5.14): a segment may be sealed and write-protected meanwhile. */
void
os_sys_populate(void *addr, size_t len)
{
	(void)madvise(addr, len, MADV_POPULATE_WRITE);
}

/* A fault then brings 2 MiB and not 4 KiB; but a store dirties as much. */
void
os_sys_huge(void *addr, size_t len)
{
	(void)madvise(addr, len, MADV_HUGEPAGE);
}

/*
 * A sync write-protects each page that is mapped for writing, and interrupts
 * all processors that the program runs on for each of them.  Of a file's shared
 * mapping MADV_DONTNEED loses nothing.
 */
void
os_sys_forget(void *addr, size_t len)
{
	(void)madvise(addr, len, MADV_DONTNEED);
}

/* What is unmapped at once, and mapped again: a tenth of a millisecond. */
#define RENEW_LEN ((size_t)1 << 20)
#define PAGE_LEAST 4096u

/* Whether all of it, RENEW_LEN at most, can be mapped without reading. */
static bool
is_cached(void *addr, size_t len)
{
	unsigned char resident[RENEW_LEN / PAGE_LEAST] = {0};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (page < PAGE_LEAST || mincore(addr, len, resident) != 0)
		return false;
	for (size_t i = 0; i < (len + page - 1) / page; i++)
		if ((resident[i] & 1) == 0)
			return false;
	return true;
}

/*
 * Pages that are not mapped are locked while they are given to the disk, so
 * that a reader waits; and some systems take the memory of such pages first.
 * What has gone from memory already is not read for this.
 */
void
os_sys_renew(void *addr, size_t len)
{
	for (size_t at = 0; at < len; at += RENEW_LEN) {
		char *p = (char *)addr + at;
		size_t n = len - at < RENEW_LEN ? len - at : RENEW_LEN;

		(void)madvise(p, n, MADV_DONTNEED);
		if (is_cached(p, n))
			(void)madvise(p, n, MADV_POPULATE_READ);
	}
}

static void *
map_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED ? p : NULL;
}

void *
os_sys_pages(size_t size)
{
	size_t before;
	char *p;

	if (size < OS_HUGE_PAGE) {
		p = map_memory(size);
		if (p != NULL)
			os_sys_populate(p, size);
		return p;
	}
	if (size > SIZE_MAX - 2 * OS_HUGE_PAGE)
		return NULL;
	size = (size_t)round_up(size, OS_HUGE_PAGE);
	p = map_memory(size + OS_HUGE_PAGE);
	if (p == NULL)
		return NULL;
	/* Give back what is before the first multiple, and behind. */
	before = (OS_HUGE_PAGE - (uintptr_t)p % OS_HUGE_PAGE) % OS_HUGE_PAGE;
	if (before > 0)
		(void)munmap(p, before);
	(void)munmap(p + before + size, OS_HUGE_PAGE - before);
	(void)madvise(p + before, size, MADV_HUGEPAGE);
	return p + before;
}

void
os_sys_free_pages(void *p, size_t size)
{
	if (size >= OS_HUGE_PAGE)
		size = (size_t)round_up(size, OS_HUGE_PAGE);
	(void)munmap(p, size);
}

/*
 * tmpfs gives a hole a page as soon as a mapping of it is read, and raises
 * SIGBUS if it has none left.  Pages of zeros that belong to no file take the
 * place of holes there.
 */
void
os_sys_cover_holes(int fd, uint8_t *addr, size_t len)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;
	struct stat st;
	off_t off = 0, end = (off_t)len;

	if (fstat(fd, &st) != 0 || st.st_blocks * 512 >= st.st_size ||
	    fstatfs(fd, &fs) != 0 || (uint32_t)fs.f_type != 0x01021994)
		return;
	while (off < end) {
		off_t hole = lseek(fd, off, SEEK_HOLE);
		size_t size;

		if (hole < 0 || hole >= end)
			return;
		off = lseek(fd, hole, SEEK_DATA);
		if (off < 0 || off > end)
			off = end;
		size = ((size_t)(off - hole) + page - 1) / page * page;
		if (mmap(addr + hole, size, PROT_READ,
			MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0) == MAP_FAILED)
			return;
	}
}

/*
 * File systems on which the promise "an allocated block can be overwritten
 * on a full disk" does not hold, or on which locks or mappings of several
 * machines do not see each other.  Everything else counts as plain: f2fs too,
 * which writes elsewhere but counts only new blocks against its space;
 * FUSE and overlays, which may stand for anything.
 */
static const struct {
	uint32_t magic; /* f_type of statfs(2) */
	enum os_fs fs;
} fs_kinds[] = {
    {0x9123683e, OS_FS_COW},     /* btrfs */
    {0x2fc12fc1, OS_FS_COW},     /* ZFS */
    {0xca451a4e, OS_FS_COW},     /* bcachefs */
    {0x00003434, OS_FS_COW},     /* NILFS2 */
    {0x24051905, OS_FS_COW},     /* UBIFS */
    {0x000072b6, OS_FS_COW},     /* JFFS2: no writable mappings either */
    {0x00006969, OS_FS_NETWORK}, /* NFS */
    {0x0000517b, OS_FS_NETWORK}, /* SMB */
    {0xff534d42, OS_FS_NETWORK}, /* CIFS */
    {0xfe534d42, OS_FS_NETWORK}, /* SMB2 */
    {0x0000564c, OS_FS_NETWORK}, /* NCP */
    {0x01021997, OS_FS_NETWORK}, /* 9P */
    {0x00c36400, OS_FS_NETWORK}, /* Ceph */
    {0x5346414f, OS_FS_NETWORK}, /* AFS */
    {0x6b414653, OS_FS_NETWORK}, /* AFS, the kernel's own */
    {0x73757245, OS_FS_NETWORK}, /* Coda */
    {0x0bd00bd0, OS_FS_NETWORK}, /* Lustre */
    {0x20030528, OS_FS_NETWORK}, /* OrangeFS */
    {0x01161970, OS_FS_NETWORK}, /* GFS2 */
    {0x7461636f, OS_FS_NETWORK}, /* OCFS2 */
    {0x786f4256, OS_FS_NETWORK}, /* VirtualBox shared folder */
};

int
os_sys_fs_type(int fd, enum os_fs *ret_fs)
{
	struct statfs info;
	int result;

	do
		result = fstatfs(fd, &info);
	while (result != 0 && errno == EINTR);
	if (result != 0)
		return errno;

	*ret_fs = OS_FS_PLAIN;
	for (size_t i = 0; i < ARRAY_LEN(fs_kinds); i++)
		if ((uint32_t)info.f_type == fs_kinds[i].magic)
			*ret_fs = fs_kinds[i].fs;
	return 0;
}

int
os_sys_random(void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom((char *)buf + done, len - done, 0);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

/* 16 bytes from the 32 hexadecimal digits of a UUID; false if it is none. */
static bool
uuid_parse(const char *text, uint8_t ret_id[16])
{
	static const char digits[] = "0123456789abcdef";
	unsigned count = 0;

	memset(ret_id, 0, 16);
	for (; *text != '\0' && *text != '\n' && count < 32; text++) {
		const char *digit = strchr(digits, *text);

		if (*text == '-')
			continue;
		if (digit == NULL)
			return false;
		ret_id[count / 2] =
		    (uint8_t)(ret_id[count / 2] << 4 | (digit - digits));
		count++;
	}
	return count == 32;
}

static void
boot_id_read(uint8_t ret_id[16])
{
	char text[64];
	size_t len = 0;
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (file != NULL) {
		len = fread(text, 1, sizeof text - 1, file);
		(void)fclose(file);
	}
	text[len] = '\0';
	if (!uuid_parse(text, ret_id))
		memset(ret_id, 0, 16);
}

void
os_sys_boot_id(uint8_t ret_id[16])
{
	/* Threads that come here at once read and keep the same bytes. */
	static _Atomic uint64_t halves[2];
	static atomic_bool known;
	uint64_t id[2];

	if (!atomic_load_explicit(&known, memory_order_acquire)) {
		boot_id_read(ret_id);
		memcpy(id, ret_id, sizeof id);
		atomic_store(&halves[0], id[0]);
		atomic_store(&halves[1], id[1]);
		atomic_store_explicit(&known, true, memory_order_release);
	}
	id[0] = atomic_load(&halves[0]);
	id[1] = atomic_load(&halves[1]);
	memcpy(ret_id, id, sizeof id);
}

#endif /* KVLOG_LINUX */
