/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_os.c - the real system, through the table, in a temporary directory.
 */
#include "config.h"

#include "os.h"
#include "rng.h"
#include "test.h"
#include "tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char *path;
static int dir;

static void
setup(void)
{
	path = tmpdir_create();
	ck_assert_int_eq(os->open_dir(path, &dir), 0);
}

static void
teardown(void)
{
	ck_assert_int_eq(os->close(dir), 0);
	tmpdir_remove(path);
}

static int
create(const char *name)
{
	int fd = -1;

	ck_assert_int_eq(os->open(dir, name, OS_OPEN_CREATE, 0600, &fd), 0);
	return fd;
}

static uint64_t
size_of(int fd)
{
	struct os_stat st;

	ck_assert_int_eq(os->stat(fd, &st), 0);
	return st.size;
}

static uint64_t
allocated_of(int fd)
{
	struct os_stat st;

	ck_assert_int_eq(os->stat(fd, &st), 0);
	return st.allocated;
}

START_TEST(open_says_what_is_there)
{
	int fd, other;

	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_READ, 0, &fd), ENOENT);
	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_WRITE, 0, &fd), ENOENT);
	fd = create("a");
	ck_assert_int_eq(
	    os->open(dir, "a", OS_OPEN_CREATE, 0600, &other), EEXIST);
	ck_assert_int_eq(os->pwrite(fd, "x", 1, 0), 0);
	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_READ, 0, &other), 0);
	ck_assert_int_eq(os->pwrite(other, "y", 1, 0), EBADF);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_WRITE, 0, &other), 0);
	ck_assert_int_eq(os->pwrite(other, "y", 1, 0), 0);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->close(fd), EBADF);
}
END_TEST

START_TEST(open_gives_the_permission_bits_less_the_umask)
{
	struct stat st;
	mode_t saved = umask(027);
	int fd;

	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_CREATE, 0666, &fd), 0);
	(void)umask(saved);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

/* OS-1, and no descriptor survives exec. */
START_TEST(descriptors_are_above_stdio_and_close_on_exec)
{
	int fd, sub;
	int kept = dup(STDIN_FILENO);

	(void)close(STDIN_FILENO);
	fd = create("a");
	ck_assert_int_eq(os->open_dir(path, &sub), 0);
	ck_assert_int_gt(fd, STDERR_FILENO);
	ck_assert_int_gt(sub, STDERR_FILENO);
	ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD), -1);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_ne(fcntl(sub, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->close(sub), 0);
	if (kept != -1) {
		(void)dup2(kept, STDIN_FILENO);
		(void)close(kept);
	}
	fd = create("b");
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(names_are_renamed_linked_and_unlinked)
{
	struct os_stat st;
	uint64_t ino;
	int fd = create("a");

	ck_assert_int_eq(os->stat(fd, &st), 0);
	ino = st.ino;
	ck_assert_int_eq(os->close(create("b")), 0);
	ck_assert_int_eq(os->link(dir, "a", dir, "b"), EEXIST);
	ck_assert_int_eq(os->link(dir, "a", dir, "c"), 0);
	ck_assert_int_eq(os->stat_name(dir, "c", &st), 0);
	ck_assert_uint_eq(st.ino, ino);
	ck_assert_uint_eq(st.link_count, 2);
	ck_assert(st.is_regular && !st.is_dir);
	ck_assert_int_eq(os->rename(dir, "a", "b"), 0);
	ck_assert_int_eq(os->stat_name(dir, "a", &st), ENOENT);
	ck_assert_int_eq(os->stat_name(dir, "b", &st), 0);
	ck_assert_uint_eq(st.ino, ino);
	ck_assert_int_eq(os->rename(dir, "a", "d"), ENOENT);
	ck_assert_int_eq(os->unlink(dir, "b"), 0);
	ck_assert_int_eq(os->unlink(dir, "b"), ENOENT);
	ck_assert_int_eq(os->unlink(dir, "c"), 0);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.link_count, 0);
	ck_assert_int_eq(os->stat(dir, &st), 0);
	ck_assert(st.is_dir && !st.is_regular);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(directories_trade_places_and_go)
{
	struct os_stat st;
	char sub[2][300];
	int fd;

	for (int i = 0; i < 2; i++) {
		snprintf(sub[i], sizeof sub[i], "%s/%d", path, i);
		ck_assert_int_eq(os->mkdir(sub[i], 0750), 0);
	}
	ck_assert_int_eq(os->open_dir(sub[0], &fd), 0);
	ck_assert_int_eq(os->close(create("x")), 0);
	ck_assert_int_eq(os->link(dir, "x", fd, "y"), 0); /* across */
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.mode & 0700u, 0700);
	ck_assert_int_eq(symlinkat("1", dir, "to1"), 0);
	ck_assert(os->is_symlink(dir, "to1"));
	ck_assert(!os->is_symlink(dir, "1"));
	ck_assert(!os->is_symlink(dir, "none"));
	ck_assert_int_eq(os->exchange(dir, "0", "to1"), ELOOP);
	ck_assert_int_eq(os->exchange(dir, "to1", "0"), ELOOP);
	ck_assert_int_eq(symlinkat("x", dir, "tox"), 0);
	ck_assert_int_eq(os->link(dir, "tox", dir, "z"), 0);
	ck_assert(!os->is_symlink(dir, "z"));
	ck_assert_int_eq(os->unlink(dir, "z"), 0);
	ck_assert_int_eq(os->unlink(dir, "tox"), 0);
	ck_assert_int_eq(os->rmdir(dir, "0"), ENOTEMPTY);
	if (KVLOG_LINUX) {
		ck_assert_int_eq(os->exchange(dir, "0", "1"), 0);
		ck_assert_int_eq(os->rmdir(dir, "0"), 0);
		ck_assert_int_eq(os->stat_name(fd, "../1/y", &st), 0);
		ck_assert_int_eq(os->exchange(dir, "0", "1"), ENOENT);
	} else {
		ck_assert_int_eq(os->exchange(dir, "0", "1"), EOPNOTSUPP);
	}
	ck_assert_int_eq(os->unlink(fd, "y"), 0);
	ck_assert_int_eq(os->unlink(dir, "to1"), 0);
	ck_assert_int_eq(os->rmdir(dir, "1"), 0);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

/* The same bytes, or a refusal: it depends on the file system. */
START_TEST(a_clone_has_the_same_bytes)
{
	int from = create("a"), to = create("b"), rc;
	char text[4] = "";
	size_t len;

	ck_assert_int_eq(os->pwrite(from, "abc", 4, 0), 0);
	rc = os->clone(from, to);
	ck_assert(rc == 0 || rc == EOPNOTSUPP);
	ck_assert_int_eq(os->pread(to, text, 4, 0, &len), 0);
	ck_assert_str_eq(text, rc == 0 ? "abc" : "");
	ck_assert_int_eq(os->close(from), 0);
	ck_assert_int_eq(os->close(to), 0);
}
END_TEST

struct listing {
	unsigned count;
	char names[8][16];
	int result;
};

static int
list_one(void *arg, const char *name)
{
	struct listing *listing = arg;

	ck_assert_uint_lt(listing->count, 8);
	(void)snprintf(listing->names[listing->count++], 16, "%s", name);
	return listing->result;
}

static bool
listed(const struct listing *listing, const char *name)
{
	for (unsigned i = 0; i < listing->count; i++)
		if (strcmp(listing->names[i], name) == 0)
			return true;
	return false;
}

START_TEST(list_gives_each_name_once_and_again)
{
	for (int round = 0; round < 2; round++) {
		struct listing all = {0};

		if (round == 0) {
			ck_assert_int_eq(os->close(create("a")), 0);
			ck_assert_int_eq(os->close(create("bb")), 0);
			ck_assert_int_eq(os->close(create(".c")), 0);
		}
		ck_assert_int_eq(os->list(dir, list_one, &all), 0);
		ck_assert_uint_eq(all.count, 3);
		ck_assert(listed(&all, "a"));
		ck_assert(listed(&all, "bb"));
		ck_assert(listed(&all, ".c"));
	}
}
END_TEST

START_TEST(list_ends_with_the_callers_result)
{
	struct listing all = {.result = -7};

	ck_assert_int_eq(os->close(create("a")), 0);
	ck_assert_int_eq(os->close(create("b")), 0);
	ck_assert_int_eq(os->list(dir, list_one, &all), -7);
	ck_assert_uint_eq(all.count, 1);
}
END_TEST

START_TEST(pread_is_short_only_at_the_end)
{
	char buf[16];
	size_t got = 99;
	int fd = create("a");

	ck_assert_int_eq(os->pwrite(fd, "0123456789", 10, 4), 0);
	ck_assert_uint_eq(size_of(fd), 14);
	ck_assert_int_eq(os->pread(fd, buf, 4, 6, &got), 0);
	ck_assert_uint_eq(got, 4);
	ck_assert_mem_eq(buf, "2345", 4);
	ck_assert_int_eq(os->pread(fd, buf, 16, 0, &got), 0);
	ck_assert_uint_eq(got, 14);
	ck_assert_mem_eq(buf,
	    "\0\0\0\0"
	    "0123456789",
	    14);
	ck_assert_int_eq(os->pread(fd, buf, 16, 14, &got), 0);
	ck_assert_uint_eq(got, 0);
	ck_assert_int_eq(os->pread(fd, buf, 16, UINT64_MAX, &got), EINVAL);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(allocate_gives_every_block_space_and_never_shrinks)
{
	char buf[4];
	size_t got;
	int fd = create("a");

	ck_assert_int_eq(os->allocate(fd, 0), 0);
	ck_assert_int_eq(os->pwrite(fd, "head", 4, 0), 0);
	ck_assert_int_eq(os->allocate(fd, 100000), 0);
	ck_assert_uint_eq(size_of(fd), 100000);
	ck_assert_uint_ge(allocated_of(fd), 100000);
	ck_assert_int_eq(os->allocate(fd, 5000), 0);
	ck_assert_uint_eq(size_of(fd), 100000);
	ck_assert_int_eq(os->pread(fd, buf, 4, 0, &got), 0);
	ck_assert_mem_eq(buf, "head", 4);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(allocate_fills_the_holes_of_a_sparse_file)
{
	char buf[4];
	size_t got;
	int fd = create("a");

	ck_assert_int_eq(os->truncate(fd, 1 << 20), 0);
	ck_assert_int_eq(os->pwrite(fd, "tail", 4, (1 << 20) - 4), 0);
	if (allocated_of(fd) >= 1 << 20) { /* knows no holes */
		ck_assert_int_eq(os->close(fd), 0);
		return;
	}
	ck_assert_int_eq(os->allocate(fd, 1 << 20), 0);
	ck_assert_uint_ge(allocated_of(fd), 1 << 20);
	ck_assert_uint_eq(size_of(fd), 1 << 20);
	ck_assert_int_eq(os->pread(fd, buf, 4, (1 << 20) - 4, &got), 0);
	ck_assert_mem_eq(buf, "tail", 4);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

/* OS-2; the limit would kill this process by SIGXFSZ. */
START_TEST(the_file_size_limit_is_an_error_code)
{
	struct rlimit limit;
	int error, fd = create("a");

	ck_assert_int_eq(os->allocate(fd, 8192), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = 16384;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	(void)signal(SIGXFSZ, SIG_DFL);

	ck_assert_int_eq(os->allocate(fd, 16385), EFBIG);
	ck_assert_int_eq(os->truncate(fd, 16385), EFBIG);
	ck_assert_int_eq(os->pwrite(fd, "xy", 2, 16383), EFBIG);
	ck_assert_int_eq(os->pwrite(fd, "xy", 2, UINT64_MAX), EFBIG);
	ck_assert_uint_eq(size_of(fd), 8192);
	ck_assert_int_eq(os->allocate(fd, 16384), 0);
	ck_assert_int_eq(os->pwrite(fd, "x", 1, 16383), 0);
	ck_assert_uint_eq(size_of(fd), 16384);

	/* What is there already may stay and be allocated. */
	limit.rlim_cur = 4096;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(os->allocate(fd, 16384), 0);
	ck_assert_int_eq(os->truncate(fd, 8192), 0);
	ck_assert_int_eq(os->close(fd), 0);

	/* Holes behind the limit, which some systems fill by writing. */
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fd = create("b");
	ck_assert_int_eq(os->truncate(fd, 1 << 20), 0);
	limit.rlim_cur = 4096;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	error = os->allocate(fd, 1 << 20);
	ck_assert(error == 0 || error == EFBIG);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(os->allocate(fd, UINT64_MAX), EFBIG);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(punch_zeroes_and_keeps_the_size)
{
	char buf[8192];
	uint64_t before;
	size_t got;
	int error, fd = create("a");

	memset(buf, 'x', sizeof buf);
	for (uint64_t off = 0; off < 65536; off += sizeof buf)
		ck_assert_int_eq(os->pwrite(fd, buf, sizeof buf, off), 0);
	before = allocated_of(fd);
	error = os->punch(fd, 5000);
#if KVLOG_LINUX
	ck_assert(error == 0 || error == EOPNOTSUPP);
#else
	ck_assert_int_eq(error, EOPNOTSUPP);
#endif
	if (error == 0) {
		ck_assert_uint_eq(size_of(fd), 65536);
		ck_assert_uint_lt(allocated_of(fd), before);
		ck_assert_int_eq(os->pread(fd, buf, 8192, 0, &got), 0);
		for (size_t i = 0; i < got; i++)
			ck_assert_int_eq(buf[i], i < 5000 ? 'x' : 0);
		ck_assert_int_eq(os->punch(fd, 65536), 0);
		ck_assert_int_eq(os->punch(fd, 65537), 0);
		ck_assert_uint_eq(size_of(fd), 65536);
	}
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(truncate_cuts_and_grows)
{
	char buf[8];
	size_t got;
	int fd = create("a");

	ck_assert_int_eq(os->pwrite(fd, "abcdef", 6, 0), 0);
	ck_assert_int_eq(os->truncate(fd, 3), 0);
	ck_assert_uint_eq(size_of(fd), 3);
	ck_assert_int_eq(os->truncate(fd, 8), 0);
	ck_assert_int_eq(os->pread(fd, buf, 8, 0, &got), 0);
	ck_assert_uint_eq(got, 8);
	ck_assert_mem_eq(buf, "abc\0\0\0\0\0", 8);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

START_TEST(syncs_succeed_and_fail_as_the_system_says)
{
	char *sub = malloc(strlen(path) + 32);
	int fd = create("a"), pipe_fds[2];

	ck_assert_int_eq(os->pwrite(fd, "x", 1, 0), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->sync(fd), EBADF);
	ck_assert_int_eq(os->sync_dir(fd), EBADF);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	ck_assert_int_eq(os->sync(pipe_fds[1]), EINVAL);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);

	ck_assert_int_eq(os->sync_parent(path), 0);
	(void)sprintf(sub, "%s/new//", path);
	ck_assert_int_eq(os->mkdir(sub, 0700), 0);
	ck_assert_int_eq(os->mkdir(sub, 0700), EEXIST);
	ck_assert_int_eq(os->sync_parent(sub), 0);
	(void)sprintf(sub, "%s/none/new", path);
	ck_assert_int_eq(os->mkdir(sub, 0700), ENOENT);
	ck_assert_int_eq(os->sync_parent(sub), ENOENT);
	(void)sprintf(sub, "%s/none//", path);
	ck_assert_int_eq(os->sync_parent(sub), 0);
	(void)sprintf(sub, "%s/none/..", path);
	ck_assert_int_eq(os->sync_parent(sub), ENOENT);
	ck_assert_int_eq(os->sync_parent("relative"), 0);
	ck_assert_int_eq(os->sync_parent("/"), 0);
	ck_assert_int_eq(os->sync_parent(".."), 0);
	free(sub);
}
END_TEST

/* Each call says that there is no such file, and hangs on nothing. */
START_TEST(every_call_says_that_a_descriptor_is_none)
{
	struct os_map map = {.addr = (uint8_t *)(uintptr_t)BLOCK_SIZE,
	    .len = BLOCK_SIZE,
	    .writable = true};
	struct os_stat st;
	const int fd = 999; /* nobody has opened it */
	uint8_t byte;
	size_t len = 7;

	ck_assert_int_eq(os->stat(fd, &st), EBADF);
	ck_assert_int_eq(os->pread(fd, &byte, 1, 0, &len), EBADF);
	ck_assert_uint_eq(len, 7);
	ck_assert_int_eq(os->pread(fd, &byte, 1, UINT64_MAX, &len), EINVAL);
	ck_assert_int_eq(os->allocate(fd, 1), EBADF);
	ck_assert_int_eq(os->punch(fd, 0), EBADF);
	ck_assert_int_eq(os->truncate(fd, 0), EBADF);
	ck_assert_int_eq(os->try_lock(fd, 1, OS_LOCK_SHARED), EBADF);
	ck_assert(!os->is_locked(fd, 1));
	/* Nor is there anything at this address. */
	ck_assert_int_eq(os->protect(&map), ENOMEM);
	ck_assert(map.writable);
}
END_TEST

START_TEST(names_too_long_for_a_parent_are_refused)
{
	char *name = malloc(PATH_MAX + 10);

	ck_assert_ptr_nonnull(name);
	memset(name, 'a', PATH_MAX + 9);
	name[PATH_MAX + 9] = '\0';
	ck_assert_int_eq(os->sync_parent(name), ENAMETOOLONG);
	ck_assert_int_eq(os->sync_parent("."), 0);
	free(name);
}
END_TEST

START_TEST(space_behind_the_end_is_none_to_give_back)
{
	int fd = create("f");

	ck_assert_int_eq(os->pwrite(fd, "hello", 5, 0), 0);
	ck_assert_int_eq(os->punch(fd, 5), 0);
	ck_assert_int_eq(os->punch(fd, UINT64_MAX), 0);
	ck_assert_uint_eq(size_of(fd), 5);
	os->close(fd);
	/* Of a file that is only read, nothing is cut off. */
	ck_assert_int_eq(os->open(dir, "f", OS_OPEN_READ, 0, &fd), 0);
	ck_assert_int_ne(os->truncate(fd, 0), 0);
	ck_assert_uint_eq(size_of(fd), 5);
	os->close(fd);
}
END_TEST

static void
ignore(int number)
{
	(void)number;
}

START_TEST(a_signal_does_not_shorten_a_sleep)
{
	struct sigaction action = {.sa_handler = ignore};
	const struct itimerval often = {{0, 3000}, {0, 3000}};
	const struct itimerval never = {{0, 0}, {0, 0}};
	uint64_t begin;

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	begin = os->ticks_ns();
	os->sleep_ns(20000000);
	ck_assert_uint_ge(os->ticks_ns() - begin, 20000000);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
}
END_TEST

START_TEST(open_dir_refuses_files)
{
	char *name = malloc(strlen(path) + 8);
	int fd;

	ck_assert_int_eq(os->close(create("a")), 0);
	(void)sprintf(name, "%s/a", path);
	ck_assert_int_eq(os->open_dir(name, &fd), ENOTDIR);
	(void)sprintf(name, "%s/b", path);
	ck_assert_int_eq(os->open_dir(name, &fd), ENOENT);
	free(name);
}
END_TEST

START_TEST(fs_type_knows_the_temporary_directory)
{
	enum os_fs fs = OS_FS_NETWORK;

	ck_assert_int_eq(os->fs_type(dir, &fs), 0);
	ck_assert(fs == OS_FS_PLAIN || fs == OS_FS_COW);
#if KVLOG_LINUX
	ck_assert_int_eq(os->fs_type(-1, &fs), EBADF);
#endif
}
END_TEST

/* _i: through the mapping, or by pwrite. */
START_TEST(stores_are_seen_by_pread_and_by_other_mappings)
{
	struct os_map map, reader, same;
	uint64_t word;
	char buf[32];
	size_t got;
	int fd = create("a");

	ck_assert_int_eq(os->allocate(fd, 8192), 0);
	ck_assert_int_eq(os->map(fd, 8192, true, _i == 1, &map), 0);
	ck_assert_int_eq(os->map(fd, 8192, false, false, &reader), 0);
	ck_assert_int_eq(os->store(&map, 4090, "0123456789", 10), 0);
	ck_assert_int_eq(os->store(&map, 8192, "", 0), 0);
	ck_assert_int_eq(os->store_word(&map, 8184, 0x1122334455667788), 0);
	ck_assert_int_eq(os->pread(fd, buf, 12, 4089, &got), 0);
	ck_assert_mem_eq(buf,
	    "\0"
	    "0123456789\0",
	    12);
	ck_assert_mem_eq(reader.addr + 4090, "0123456789", 10);
	memcpy(&word, reader.addr + 8184, sizeof word);
	ck_assert_uint_eq(word, 0x1122334455667788);
	ck_assert_uint_eq(size_of(fd), 8192);
	os->advise(&map, 0, 8192, OS_ADVICE_POPULATE);
	os->advise(&map, 100, UINT64_MAX, OS_ADVICE_POPULATE);
	os->advise(&map, 9000, 1, OS_ADVICE_POPULATE);
	os->advise(&map, 0, 8192, OS_ADVICE_FORGET); /* nothing is lost */
	ck_assert_mem_eq(map.addr + 4090, "0123456789", 10);
	os->advise(&map, 0, 8192, OS_ADVICE_RENEW);
	ck_assert_mem_eq(map.addr + 4090, "0123456789", 10);
	ck_assert_int_eq(os->store(&map, 4090, "0123456789", 10), 0);
	os->advise(&reader, 0, 8192, OS_ADVICE_FORGET);
	os->advise(&reader, 0, 8192, OS_ADVICE_RENEW);
	os->advise(&reader, 0, 8192, OS_ADVICE_POPULATE);
	os->advise(&reader, 5000, 8192, OS_ADVICE_WILLNEED);
	os->advise(&reader, 0, 8192, OS_ADVICE_SEQUENTIAL);
	os->advise(&reader, 0, 8192, OS_ADVICE_RANDOM);
	ck_assert_mem_eq(map.addr + 4090, "0123456789", 10);
	ck_assert_int_eq(os->sync(fd), 0);
	/* Advice may come when it is too late. */
	same = map;
	ck_assert_int_eq(os->protect(&map), 0);
	os->advise(&same, 0, 8192, OS_ADVICE_POPULATE);
	os->advise(&same, 0, 8192, OS_ADVICE_FORGET);
	ck_assert_mem_eq(map.addr + 4090, "0123456789", 10);
	os->unmap(&map);
	ck_assert_ptr_null(map.addr);
	os->unmap(&map);
	os->unmap(&reader);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

#if KVLOG_LINUX
/* Whether a page can be read without a fault. */
static bool
is_mapped(const uint8_t *place)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &entry, sizeof entry,
			     (off_t)((uintptr_t)place / page * sizeof entry)),
	    sizeof entry);
	ck_assert_int_eq(close(fd), 0);
	return entry >> 63 != 0;
}

static bool
is_in_memory(const uint8_t *place)
{
	unsigned char resident = 0;

	ck_assert_int_eq(mincore((void *)(uintptr_t)place, 1, &resident), 0);
	return (resident & 1) != 0;
}

START_TEST(what_is_to_be_synced_is_mapped_for_reading)
{
	const uint64_t len = (3 << 20) + 8192, page = 4096;
	struct os_map map;
	int fd = create("a");

	ck_assert_int_eq(os->allocate(fd, len), 0);
	ck_assert_int_eq(os->map(fd, len, true, false, &map), 0);
	os->advise(&map, 0, len, OS_ADVICE_POPULATE);
	ck_assert(is_mapped(map.addr) && is_mapped(map.addr + len - 1));
	os->advise(&map, 0, len, OS_ADVICE_FORGET);
	ck_assert(!is_mapped(map.addr) && !is_mapped(map.addr + len - 1));
	ck_assert_int_eq(os->protect(&map), 0);
	os->advise(&map, page + 1, len - 2 * page, OS_ADVICE_RENEW);
	for (uint64_t at = page; at < len - page; at += page)
		ck_assert(is_mapped(map.addr + at));
	/* Nothing is brought for it that is not in memory. */
	os->advise(&map, 0, len, OS_ADVICE_FORGET);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	if (!is_in_memory(map.addr)) {
		os->advise(&map, 0, len, OS_ADVICE_RENEW);
		ck_assert(!is_in_memory(map.addr));
	}
	os->unmap(&map);
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST
#endif

static bool
child_is_killed_by_writing(volatile uint8_t *place)
{
	int status = 0;
	pid_t child = fork();

	ck_assert_int_ne(child, -1);
	if (child == 0) {
		(void)signal(SIGSEGV, SIG_DFL); /* sanitizers catch it */
		(void)signal(SIGBUS, SIG_DFL);
		*place = 1;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status);
}

START_TEST(read_only_mappings_fault_when_stored_into)
{
	struct os_map map, reader, by_pwrite;
	int fd = create("a");

	ck_assert_int_eq(os->allocate(fd, 4096), 0);
	ck_assert_int_eq(os->map(fd, 4096, true, false, &map), 0);
	ck_assert_int_eq(os->map(fd, 4096, false, false, &reader), 0);
	ck_assert_int_eq(os->map(fd, 4096, true, true, &by_pwrite), 0);
	ck_assert(!child_is_killed_by_writing(map.addr));
	ck_assert(child_is_killed_by_writing(reader.addr));
	ck_assert(child_is_killed_by_writing(by_pwrite.addr));
	ck_assert_int_eq(os->protect(&map), 0);
	ck_assert(!map.writable);
	ck_assert(child_is_killed_by_writing(map.addr));
	os->unmap(&map);
	os->unmap(&reader);
	os->unmap(&by_pwrite);
	ck_assert_int_eq(os->map(fd, 0, false, false, &map), EINVAL);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->map(fd, 4096, false, false, &map), EBADF);
}
END_TEST

/* In another process, so that it holds for locks of either kind; the child
 * opens the file itself. */
static int
lock_of_child(uint64_t byte, enum os_lock kind)
{
	int status = 0;
	pid_t child = fork();

	ck_assert_int_ne(child, -1);
	if (child == 0) {
		int fd;

		if (os->open(dir, "lock", OS_OPEN_WRITE, 0, &fd) != 0)
			_exit(255);
		_exit(os->try_lock(fd, byte, kind));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(locks_exclude_other_processes_by_the_byte)
{
	int fd = create("lock");

	ck_assert_int_eq(lock_of_child(5, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(fd, 5, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_EXCLUSIVE), EAGAIN);
	ck_assert_int_eq(os->try_lock(fd, 5, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_SHARED), EAGAIN);
	ck_assert_int_eq(lock_of_child(6, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(fd, 5, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(os->try_lock(fd, 5, OS_LOCK_NONE), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(fd, 5, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(lock_of_child(5, OS_LOCK_EXCLUSIVE), 0);
}
END_TEST

START_TEST(locks_belong_to_the_open_file_or_the_process)
{
	int fd = create("lock"), other;

	ck_assert_int_eq(os->open(dir, "lock", OS_OPEN_WRITE, 0, &other), 0);
	ck_assert_int_eq(os->try_lock(fd, 0, OS_LOCK_EXCLUSIVE), 0);
#if KVLOG_LINUX
	ck_assert_int_eq(os->try_lock(other, 0, OS_LOCK_SHARED), EAGAIN);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_int_eq(lock_of_child(0, OS_LOCK_SHARED), EAGAIN);
#else
	ck_assert_int_eq(os->try_lock(other, 0, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_int_eq(lock_of_child(0, OS_LOCK_SHARED), 0);
#endif
	ck_assert_int_eq(os->close(fd), 0);
}
END_TEST

/* Mutexes */

static struct os_map
map_two_pages(int fd)
{
	struct os_map map;

	ck_assert_int_eq(os->allocate(fd, 8192), 0);
	ck_assert_int_eq(os->map(fd, 8192, true, false, &map), 0);
	return map;
}

/* In another process, with a mapping of its own: lock both; then unlock the
 * first and end.  Returns what the first lock came to. */
static int
lock_both_and_end(uint64_t until)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct os_map map;
		int fd, rc;

		if (os->open(dir, "a", OS_OPEN_WRITE, 0, &fd) != 0)
			_exit(255);
		map = map_two_pages(fd);
		rc = os->mutex_lock(&map, 1024, until);
		if (rc == 0 || rc == EOWNERDEAD)
			os->mutex_unlock(&map, 1024);
		(void)os->mutex_lock(&map, 4096, 0);
		_exit(rc);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(mutexes_are_shared_and_outlive_their_owners)
{
	struct os_map map = map_two_pages(create("a"));
	uint64_t begin;

	ck_assert_int_eq(
	    os->mutex_init(&map, 1024), KVLOG_ROBUST_MUTEX ? 0 : EOPNOTSUPP);
	if (!KVLOG_ROBUST_MUTEX)
		return;
	ck_assert_int_eq(os->mutex_init(&map, 4096), 0);
	ck_assert_int_eq(os->mutex_lock(&map, 1024, 0), 0);
	ck_assert_int_eq(lock_both_and_end(0), EAGAIN);
	begin = os->ticks_ns();
	ck_assert_int_eq(lock_both_and_end(begin + 50000000), EAGAIN);
	ck_assert_uint_ge(os->ticks_ns() - begin, 50000000);
	os->mutex_unlock(&map, 1024);
	ck_assert_int_eq(lock_both_and_end(0), 0);
	ck_assert_int_eq(os->mutex_lock(&map, 1024, 0), 0);
	os->mutex_unlock(&map, 1024);

	/* It is told once, and then it is a mutex like others. */
	ck_assert_int_eq(os->mutex_lock(&map, 4096, 0), EOWNERDEAD);
	os->mutex_unlock(&map, 4096);
	ck_assert_int_eq(os->mutex_lock(&map, 4096, 0), 0);
	ck_assert_int_eq(os->mutex_init(&map, 4096), 0);
	ck_assert_int_eq(os->mutex_lock(&map, 4096, 0), 0);
	os->mutex_unlock(&map, 4096);
	os->unmap(&map);
}
END_TEST

START_TEST(random_is_never_twice_the_same)
{
	uint8_t a[600] = {0}, b[600] = {0}, zero[16] = {0};

	ck_assert_int_eq(os->random(a, sizeof a), 0);
	ck_assert_int_eq(os->random(b, sizeof b), 0);
	ck_assert_mem_ne(a, b, sizeof a);
	for (size_t i = 0; i + 16 <= sizeof a; i += 16)
		ck_assert_mem_ne(a + i, zero, 16);
	ck_assert_int_eq(os->random(a, 0), 0);
}
END_TEST

static int
count_up(void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(i + 1);
	return len == 8 ? 0 : EINVAL;
}

static int
no_random(void *buf, size_t len)
{
	(void)buf;
	(void)len;
	return EIO;
}

START_TEST(numbers_are_drawn_alike_on_all_machines)
{
	struct os_table table = os_real;
	uint64_t number = 7;

	os = &table;
	table.random = count_up;
	ck_assert_int_eq(os_draw(&number), 0);
	ck_assert_uint_eq(number, UINT64_C(0x0807060504030201));
	table.random = no_random;
	ck_assert_int_eq(os_draw(&number), EIO);
	ck_assert_uint_eq(number, UINT64_C(0x0807060504030201));
	os = &os_real;
}
END_TEST

START_TEST(boot_id_stays)
{
	uint8_t a[16], b[16], zero[16] = {0};

	memset(a, 1, sizeof a);
	os->boot_id(a);
	os->boot_id(b);
	ck_assert_mem_eq(a, b, sizeof a);
#if KVLOG_LINUX
	if (access("/proc/sys/kernel/random/boot_id", R_OK) == 0) {
		FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
		unsigned first = 0, second = 0;

		ck_assert_int_eq(fscanf(file, "%2x%2x", &first, &second), 2);
		(void)fclose(file);
		ck_assert_uint_eq(a[0], first);
		ck_assert_uint_eq(a[1], second);
		ck_assert_mem_ne(a, zero, sizeof a);
	}
#else
	ck_assert_mem_eq(a, zero, sizeof a);
#endif
}
END_TEST

START_TEST(clocks_go_on)
{
	uint64_t ticks = os->ticks_ns(), now = os->clock_ms(), slept;

	ck_assert_uint_gt(now, UINT64_C(1600000000000));
	os->sleep_ns(3000000);
	slept = os->ticks_ns() - ticks;
	ck_assert_uint_ge(slept, 3000000);
	ck_assert_uint_lt(slept, UINT64_C(60000000000));
	ck_assert_uint_eq(os->pid(), (uint32_t)getpid());
}
END_TEST

START_TEST(memory_is_aligned_as_asked)
{
	for (size_t align = 8; align <= 65536; align *= 2) {
		char *p = os->aligned(align, align + 1);

		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % align, 0);
		p[align] = 1;
		os->free(p);
	}
	ck_assert_ptr_null(os->aligned(4096, SIZE_MAX));
}
END_TEST

/* Whether huge ones are had is the system's matter. */
START_TEST(pages_are_zeros_and_aligned)
{
	static const size_t sizes[] = {1, 4096, OS_HUGE_PAGE - 1, OS_HUGE_PAGE,
	    OS_HUGE_PAGE + 1, 3 * OS_HUGE_PAGE};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t align = sizes[i] < OS_HUGE_PAGE ? 4096 : OS_HUGE_PAGE;
		unsigned char *p = os->pages(sizes[i]);
		unsigned sum = 0;

		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % align, 0);
		for (size_t at = 0; at < sizes[i]; at += 512)
			sum += p[at];
		ck_assert_uint_eq(sum + p[sizes[i] - 1], 0);
		memset(p, 1, sizes[i]);
		os->free_pages(p, sizes[i]);
	}
	ck_assert_ptr_null(os->pages(SIZE_MAX));
	ck_assert_ptr_null(os->pages(SIZE_MAX / 2));
}
END_TEST

static void *
note_signals(void *arg)
{
	(void)pthread_sigmask(SIG_SETMASK, NULL, arg);
	return arg;
}

/* A handler of the program's runs in the program's own threads. */
START_TEST(threads_block_all_signals)
{
	sigset_t theirs, before, after;
	pthread_t thread;

	(void)sigemptyset(&theirs);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &before);
	ck_assert_int_eq(
	    os->thread_start(&thread, "kvlog test", note_signals, &theirs), 0);
	os->thread_join(thread);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int sig = 1; sig < 32; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP)
			ck_assert_int_eq(sigismember(&theirs, sig), 1);
		ck_assert_int_eq(
		    sigismember(&after, sig), sigismember(&before, sig));
	}
}
END_TEST

static Suite *
os_suite(void)
{
	Suite *suite = suite_create("os");
	TCase *tc = tcase_create("real");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, open_says_what_is_there);
	tcase_add_test(tc, open_gives_the_permission_bits_less_the_umask);
	tcase_add_test(tc, descriptors_are_above_stdio_and_close_on_exec);
	tcase_add_test(tc, names_are_renamed_linked_and_unlinked);
	tcase_add_test(tc, directories_trade_places_and_go);
	tcase_add_test(tc, a_clone_has_the_same_bytes);
	tcase_add_test(tc, list_gives_each_name_once_and_again);
	tcase_add_test(tc, list_ends_with_the_callers_result);
	tcase_add_test(tc, pread_is_short_only_at_the_end);
	tcase_add_test(tc, allocate_gives_every_block_space_and_never_shrinks);
	tcase_add_test(tc, allocate_fills_the_holes_of_a_sparse_file);
	tcase_add_test(tc, the_file_size_limit_is_an_error_code);
	tcase_add_test(tc, punch_zeroes_and_keeps_the_size);
	tcase_add_test(tc, truncate_cuts_and_grows);
	tcase_add_test(tc, syncs_succeed_and_fail_as_the_system_says);
	tcase_add_test(tc, open_dir_refuses_files);
	tcase_add_test(tc, fs_type_knows_the_temporary_directory);
	tcase_add_loop_test(
	    tc, stores_are_seen_by_pread_and_by_other_mappings, 0, 2);
#if KVLOG_LINUX
	tcase_add_test(tc, what_is_to_be_synced_is_mapped_for_reading);
#endif
	tcase_add_test(tc, read_only_mappings_fault_when_stored_into);
	tcase_add_test(tc, locks_exclude_other_processes_by_the_byte);
	tcase_add_test(tc, locks_belong_to_the_open_file_or_the_process);
	tcase_add_test(tc, mutexes_are_shared_and_outlive_their_owners);
	tcase_add_test(tc, random_is_never_twice_the_same);
	tcase_add_test(tc, numbers_are_drawn_alike_on_all_machines);
	tcase_add_test(tc, boot_id_stays);
	tcase_add_test(tc, clocks_go_on);
	tcase_add_test(tc, every_call_says_that_a_descriptor_is_none);
	tcase_add_test(tc, names_too_long_for_a_parent_are_refused);
	tcase_add_test(tc, space_behind_the_end_is_none_to_give_back);
	tcase_add_test(tc, a_signal_does_not_shorten_a_sleep);
	tcase_add_test(tc, memory_is_aligned_as_asked);
	tcase_add_test(tc, pages_are_zeros_and_aligned);
	tcase_add_test(tc, threads_block_all_signals);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(os_suite());
}
