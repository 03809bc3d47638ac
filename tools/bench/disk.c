/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk.c - the files of a store from outside: how much they take, now or at
 * most; whether they are in memory; copies of them.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WATCH_NS 5000000L
#define COPY_LEN ((size_t)256 << 10) /* bytes at once, as cp does */

/* Of the walk in progress, one of each thread. */
static _Thread_local uint64_t disk_total;
static char copy_path[4096];

static int
disk_visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)path;
	(void)where;
	if (type == FTW_F)
		disk_total += (uint64_t)st->st_blocks * 512;
	return 0;
}

uint64_t
machine_disk(const char *dir)
{
	disk_total = 0;
	nftw(dir, disk_visit, 16, FTW_PHYS);
	return disk_total;
}

struct disk_watch {
	const char *dir;
	uint64_t most;
	atomic_bool over;
	pthread_t thread;
};

static void *
watch_run(void *arg)
{
	const struct timespec pause = {.tv_nsec = WATCH_NS};
	struct disk_watch *watch = arg;
	uint64_t now;
	bool over;

	do {
		over = atomic_load(&watch->over);
		now = machine_disk(watch->dir);
		if (now > watch->most)
			watch->most = now;
		if (!over)
			nanosleep(&pause, NULL);
	} while (!over);
	return NULL;
}

struct disk_watch *
machine_watch_disk(const char *dir)
{
	struct disk_watch *watch = calloc(1, sizeof *watch);

	if (watch == NULL)
		return NULL;
	watch->dir = dir;
	if (pthread_create(&watch->thread, NULL, watch_run, watch) == 0)
		return watch;
	free(watch);
	return NULL;
}

uint64_t
machine_watch_end(struct disk_watch *watch)
{
	uint64_t most;

	atomic_store(&watch->over, true);
	pthread_join(watch->thread, NULL);
	most = watch->most;
	free(watch);
	return most;
}

static int
evict_visit(
    const char *path, const struct stat *st, int type, struct FTW *where)
{
	int fd;

	(void)st;
	(void)where;
	fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd == -1)
		return 0;
	fsync(fd); /* what is dirty would stay */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return 0;
}

void
machine_evict(const char *dir)
{
	nftw(dir, evict_visit, 16, FTW_PHYS);
}

static bool
copy_bytes(int from, int to)
{
	uint8_t *buf = malloc(COPY_LEN);
	ssize_t got = -1, put, at;

	while (buf != NULL && (got = read(from, buf, COPY_LEN)) > 0) {
		disk_total += (uint64_t)got;
		for (at = 0; at < got; at += put) {
			put = write(to, buf + at, (size_t)(got - at));
			if (put < 0) {
				free(buf);
				return false;
			}
		}
	}
	free(buf);
	return got == 0;
}

/* One copy at a time has a name, and none when this returns. */
static int
copy_visit(const char *path, const struct stat *st, int type, struct FTW *where)
{
	int from, to, failure = 0;

	(void)st;
	(void)where;
	if (type != FTW_F)
		return 0;
	from = open(path, O_RDONLY | O_CLOEXEC);
	if (from == -1)
		return errno;
	to = open(copy_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to == -1 || !copy_bytes(from, to) || fsync(to) != 0)
		failure = errno;
	close(from);
	if (to != -1) {
		close(to);
		unlink(copy_path);
	}
	return failure;
}

bool
machine_copy(const char *dir, uint64_t *ret_bytes, uint64_t *ret_ns)
{
	uint64_t start_ns = clock_ns();
	int failure;

	/* Beside it, or it would be found there. */
	snprintf(copy_path, sizeof copy_path, "%s.copy", dir);
	disk_total = 0;
	failure = nftw(dir, copy_visit, 16, FTW_PHYS);
	*ret_ns = clock_ns() - start_ns;
	*ret_bytes = disk_total;
	errno = failure > 0 ? failure : errno;
	return failure == 0;
}

uint64_t
machine_room(const char *dir)
{
	struct statvfs fs;

	if (statvfs(dir, &fs) != 0 || fs.f_blocks == 0)
		return UINT64_MAX; /* then we shall see */
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static int
remove_visit(
    const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

bool
machine_remove(const char *dir)
{
	struct stat st;

	if (lstat(dir, &st) != 0)
		return errno == ENOENT;
	return nftw(dir, remove_visit, 16, FTW_DEPTH | FTW_PHYS) == 0;
}
