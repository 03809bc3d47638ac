/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * os_posix.c - what takes the place of os_linux.c where there is no Linux, or
 * where configure was told --disable-linux.  Plain POSIX, with these
 * differences for users:
 *
 *   space   is allocated by writing zeros, and is not given back.
 *   locks   belong to the process, not to the open file: two handles of one
 *           process never get in each other's way, and closing any
 *           descriptor of the lock file drops the locks of all.  So a store
 *           must not be opened twice in one process by ways that the library
 *           cannot see.
 *   boot id is unknown: what a crash of the machine left cannot be told from
 *           what a killed process left, and is treated as the former: writing
 *           goes on in a new segment.  A store that was closed needs no boot
 *           id (control.c).
 *   file systems all count as plain.
 *   backups are copied or linked, never cloned, and take the place of an
 *           earlier one in two steps.
 *
 * A boot id may be missing but never be that of an earlier boot, for then
 * commits would be cut off or called damaged that are only unknown to an old
 * control page.  No clock gives such a thing: the time of boot, whether from
 * utmpx, from kern.boottime or as the difference of two clocks, is what a
 * machine without a battery says at every boot, or what a stale file in a
 * container says; and it moves whenever the clock is set.  What POSIX says of
 * shared memory leaves open whether it outlives a boot.  Only a number that
 * the kernel draws serves (kern.bootsessionuuid of Darwin is one); a port to
 * such a system may return it here.
 */
#include "config.h"

#include "os.h"

#if !KVLOG_LINUX

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int
os_sys_allocate(int fd, uint64_t size, uint64_t old_size)
{
	/* Not posix_fallocate(): where the file system cannot do it, the C
	 * library writes into the file itself, over what others may be
	 * storing there. */
	(void)fd;
	(void)size;
	(void)old_size;
	return EOPNOTSUPP;
}

void
os_sys_cover_holes(int fd, uint8_t *addr, size_t len)
{
	(void)fd;
	(void)addr;
	(void)len;
}

int
os_sys_punch(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	(void)off;
	(void)len;
	return EOPNOTSUPP;
}

int
os_sys_exchange(int dirfd, const char *a, const char *b)
{
	(void)dirfd;
	(void)a;
	(void)b;
	return EOPNOTSUPP;
}

int
os_sys_clone(int from_fd, int to_fd)
{
	(void)from_fd;
	(void)to_fd;
	return EOPNOTSUPP;
}

int
os_sys_sync(int fd)
{
#ifdef F_FULLFSYNC
	/* On Darwin fsync() leaves the data in the drive's cache.  File
	 * systems that do not know F_FULLFSYNC get the plain call. */
	if (fcntl(fd, F_FULLFSYNC) == 0)
		return 0;
	if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY)
		return errno;
#endif
	return fsync(fd) == 0 ? 0 : errno;
}

void
os_sys_write_back(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	(void)off;
	(void)len;
}

void
os_sys_fetch(void *addr, size_t len)
{
	(void)posix_madvise(addr, len, POSIX_MADV_WILLNEED);
}

void
os_sys_populate(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

void *
os_sys_pages(size_t size)
{
	void *p;

	if (posix_memalign(&p, OS_HUGE_PAGE, size) != 0)
		return NULL;
	return memset(p, 0, size);
}

void
os_sys_free_pages(void *p, size_t size)
{
	(void)size;
	free(p);
}

void
os_sys_huge(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

void
os_sys_forget(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

void
os_sys_renew(void *addr, size_t len)
{
	(void)addr;
	(void)len;
}

int
os_sys_fs_type(int fd, enum os_fs *ret_fs)
{
	(void)fd;
	*ret_fs = OS_FS_PLAIN;
	return 0;
}

int
os_sys_random(void *buf, size_t len)
{
	size_t done = 0;
	int fd, error = 0;

	do
		fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	while (fd == -1 && errno == EINTR);
	if (fd == -1)
		return errno;
	while (done < len && error == 0) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			error = EIO;
		else if (errno != EINTR)
			error = errno;
	}
	(void)close(fd);
	return error;
}

void
os_sys_boot_id(uint8_t ret_id[16])
{
	memset(ret_id, 0, 16);
}

#endif /* !KVLOG_LINUX */
