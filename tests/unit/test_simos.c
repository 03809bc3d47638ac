/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_simos.c - the simulated machine keeps what simos.h promises, and takes
 * away all that it may.  Crash tests are worth no more than this.
 */
#include "config.h"

#include "rng.h"
#include "simos.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 400 /* losses per test; rare outcomes need that many */

static int dir;

static void
setup(void)
{
	simos_init(1);
	ck_assert_int_eq(os->mkdir("store", 0777), 0);
	ck_assert_int_eq(os->sync_parent("store"), 0);
	ck_assert_int_eq(os->open_dir("store", &dir), 0);
}

static void
teardown(void)
{
	simos_fini();
	ck_assert_ptr_eq(os, &os_real);
}

/* A power loss ends the process that had dir open. */
static void
power_loss(enum simos_loss choice, uint64_t seed)
{
	simos_power_loss(choice, seed);
	ck_assert_uint_eq(simos_pending(), 0);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	ck_assert_int_eq(os->open_dir("store", &dir), 0);
}

static void
restore(const struct simos_state *state)
{
	simos_restore(state);
	ck_assert_int_eq(os->open_dir("store", &dir), 0);
}

static int
create(const char *name)
{
	int fd = -1;

	ck_assert_int_eq(os->open(dir, name, OS_OPEN_CREATE, 0666, &fd), 0);
	return fd;
}

/* A file of so many bytes with disk space, all of it durable. */
static int
create_durable(const char *name, uint64_t size)
{
	int fd = create(name);

	ck_assert_int_eq(os->allocate(fd, size), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	return fd;
}

static struct os_map
map(int fd, uint64_t len)
{
	struct os_map mapping;

	ck_assert_int_eq(os->map(fd, len, true, false, &mapping), 0);
	return mapping;
}

static bool
exists(const char *name)
{
	struct os_stat st;
	int error = os->stat_name(dir, name, &st);

	ck_assert(error == 0 || error == ENOENT);
	return error == 0;
}

static uint64_t
size_of(const char *name)
{
	struct os_stat st;

	ck_assert_int_eq(os->stat_name(dir, name, &st), 0);
	return st.size;
}

/* One byte of a file in the store; 0 where there is none. */
static uint8_t
byte_at(const char *name, uint64_t off)
{
	char path[64];
	const uint8_t *bytes;
	uint64_t size;

	(void)snprintf(path, sizeof path, "/store/%s", name);
	if (!simos_peek(path, &bytes, &size))
		ck_abort_msg("no file %s", name);
	return off < size ? bytes[off] : 0;
}

/* Whether all of [from, to) is this byte.  (Each ck_assert costs a system
 * call, so loops over bytes use none.) */
static bool
filled(const char *name, uint64_t from, uint64_t to, uint8_t byte)
{
	while (from < to && byte_at(name, from) == byte)
		from++;
	return from == to;
}

static void
put_byte(int fd, uint64_t off, uint8_t byte)
{
	ck_assert_int_eq(os->pwrite(fd, &byte, 1, off), 0);
}

/* Names and files. */

static int
count_name(void *arg, const char *name)
{
	unsigned *count = arg;

	ck_assert(strcmp(name, "a") == 0 || strcmp(name, "b") == 0);
	(*count)++;
	return 0;
}

static int
end_at_once(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
	return 42;
}

static uint64_t
inode_of(const char *path)
{
	struct os_stat st;
	int fd;

	ck_assert_int_eq(os->open_dir(path, &fd), 0);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_int_eq(os->close(fd), 0);
	return st.ino;
}

static bool
is_file(const char *at)
{
	const uint8_t *bytes;
	uint64_t size;

	return simos_peek(at, &bytes, &size);
}

START_TEST(directories_trade_places_and_go)
{
	int root, a, b, fd;

	ck_assert_int_eq(os->open_dir("/", &root), 0);
	ck_assert_int_eq(os->mkdir("a", 0777), 0);
	ck_assert_int_eq(os->mkdir("b", 0777), 0);
	ck_assert_int_eq(os->open_dir("a", &a), 0);
	ck_assert_int_eq(os->open_dir("b", &b), 0);
	ck_assert_int_eq(os->open(a, "x", OS_OPEN_CREATE, 0666, &fd), 0);
	ck_assert_int_eq(os->link(a, "x", b, "y"), 0); /* across */
	ck_assert_int_eq(os->sync_dir(a), 0);
	ck_assert_int_eq(os->sync_dir(b), 0);
	ck_assert_int_eq(os->sync_dir(root), 0);
	ck_assert_int_eq(os->exchange(root, "a", "none"), ENOENT);
	ck_assert_int_eq(os->exchange(root, "a", "b"), 0);
	ck_assert(is_file("a/y"));
	ck_assert(is_file("b/x"));
	ck_assert_int_eq(os->rename(root, "a", "b"), ENOTEMPTY);
	ck_assert_int_eq(os->rmdir(root, "b"), ENOTEMPTY);
	ck_assert_int_eq(os->rmdir(root, "none"), ENOENT);
	ck_assert_int_eq(os->rmdir(a, "x"), ENOTDIR);
	ck_assert_int_eq(os->unlink(a, "x"), 0);
	ck_assert_int_eq(os->rename(root, "a", "b"), 0); /* b is empty */
	ck_assert(is_file("b/y"));
	ck_assert_int_eq(os->unlink(b, "y"), 0);
	ck_assert_int_eq(os->rmdir(root, "b"), 0);
	ck_assert_int_eq(os->rmdir(root, "b"), ENOENT);
}
END_TEST

/* Both have the new names, or none has. */
START_TEST(an_exchange_is_one_step_for_a_power_loss)
{
	struct simos_state *state;
	unsigned seen[2] = {0, 0};
	int root, a, fd;

	ck_assert_int_eq(os->open_dir("/", &root), 0);
	ck_assert_int_eq(os->mkdir("a", 0777), 0);
	ck_assert_int_eq(os->mkdir("b", 0777), 0);
	ck_assert_int_eq(os->open_dir("a", &a), 0);
	ck_assert_int_eq(os->open(a, "x", OS_OPEN_CREATE, 0666, &fd), 0);
	ck_assert_int_eq(os->sync_dir(a), 0);
	ck_assert_int_eq(os->sync_dir(root), 0);
	ck_assert_int_eq(os->exchange(root, "a", "b"), 0);
	state = simos_save();
	ck_assert_uint_eq(simos_subsets(), 2);
	for (uint64_t i = 0; i < 2; i++) {
		bool x_in_a, x_in_b;

		simos_restore(state);
		simos_power_loss(SIMOS_LOSS_SUBSET, i);
		x_in_a = is_file("a/x");
		x_in_b = is_file("b/x");
		ck_assert(x_in_a != x_in_b);
		seen[x_in_b]++;
	}
	ck_assert(seen[0] == 1 && seen[1] == 1);
	simos_state_free(state);
}
END_TEST

START_TEST(names_behave_as_the_systems_do)
{
	struct os_stat st;
	unsigned count = 0;
	int fd = create("a"), other;

	ck_assert_int_eq(
	    os->open(dir, "a", OS_OPEN_CREATE, 0666, &other), EEXIST);
	ck_assert_int_eq(os->open(dir, "b", OS_OPEN_READ, 0, &other), ENOENT);
	ck_assert_int_eq(os->link(dir, "a", dir, "b"), 0);
	ck_assert_int_eq(os->link(dir, "a", dir, "b"), EEXIST);
	ck_assert_int_eq(os->link(dir, "x", dir, "y"), ENOENT);
	ck_assert_int_eq(os->stat_name(dir, "b", &st), 0);
	ck_assert_uint_eq(st.link_count, 2);
	ck_assert(st.is_regular && !st.is_dir);
	ck_assert_int_eq(os->list(dir, count_name, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(os->list(dir, end_at_once, &count), 42);
	ck_assert_uint_eq(count, 3);
	ck_assert_int_eq(os->rename(dir, "a", "b"), 0); /* the same file */
	ck_assert(exists("a") && exists("b"));
	ck_assert_int_eq(os->unlink(dir, "a"), 0);
	ck_assert_int_eq(os->unlink(dir, "a"), ENOENT);
	ck_assert_int_eq(os->rename(dir, "a", "c"), ENOENT);
	ck_assert_int_eq(os->rename(dir, "b", "c"), 0);
	ck_assert(!exists("b") && exists("c"));
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.link_count, 1);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(os->mkdir("store", 0777), EEXIST);
	ck_assert_int_eq(os->mkdir("none/store", 0777), ENOENT);
	ck_assert_int_eq(os->mkdir("/store/sub/", 0777), 0);
	ck_assert_int_eq(os->open_dir("./store//sub", &other), 0);
	ck_assert_int_eq(os->stat(other, &st), 0);
	ck_assert(st.is_dir && !st.is_regular);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_uint_eq(inode_of("/store/sub/.."), inode_of("/store"));
	ck_assert_uint_eq(inode_of("store/sub/../.."), inode_of("/"));
	ck_assert_uint_eq(inode_of("/.."), inode_of("/"));
	ck_assert_uint_eq(
	    inode_of("/store/../store/sub"), inode_of("store/sub"));
	ck_assert_int_eq(os->open_dir("/none/../store", &other), ENOENT);
	ck_assert_int_eq(os->rename(dir, "c", "sub"), EISDIR);
	ck_assert_int_eq(os->link(dir, "sub", dir, "x"), EPERM);
	ck_assert_int_eq(os->unlink(dir, "sub"), EISDIR);
	ck_assert_int_eq(
	    os->open(dir, "sub", OS_OPEN_WRITE, 0, &other), EISDIR);
	ck_assert_int_eq(os->open_dir("store/c", &other), ENOTDIR);
	ck_assert_int_eq(os->open_dir("store/c/d", &other), ENOTDIR);
}
END_TEST

START_TEST(files_behave_as_the_systems_do)
{
	struct os_stat st;
	char buf[16];
	size_t got;
	int fd = create("a"), reader;

	ck_assert_int_eq(os->pwrite(fd, "0123456789", 10, 4), 0);
	ck_assert_int_eq(os->pread(fd, buf, 16, 2, &got), 0);
	ck_assert_uint_eq(got, 12);
	ck_assert_mem_eq(buf,
	    "\0\0"
	    "0123456789",
	    12);
	ck_assert_int_eq(os->pread(fd, buf, 16, 14, &got), 0);
	ck_assert_uint_eq(got, 0);
	ck_assert_int_eq(os->truncate(fd, 6), 0);
	ck_assert_int_eq(os->truncate(fd, 8), 0);
	ck_assert_int_eq(os->pread(fd, buf, 16, 4, &got), 0);
	ck_assert_uint_eq(got, 4);
	ck_assert_mem_eq(buf, "01\0\0", 4);
	ck_assert_int_eq(os->allocate(fd, 10000), 0);
	ck_assert_int_eq(os->allocate(fd, 100), 0);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.size, 10000);
	ck_assert_uint_eq(st.allocated, 12288);
	ck_assert_int_eq(os->pwrite(fd, "tail", 4, 9000), 0);
	ck_assert_int_eq(os->punch(fd, 5), 0);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.size, 10000);
	ck_assert_uint_eq(st.allocated, 4096);
	ck_assert_uint_eq(byte_at("a", 4), '0');
	ck_assert_uint_eq(byte_at("a", 5), 0);
	ck_assert_uint_eq(byte_at("a", 9000), 0);
	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_READ, 0, &reader), 0);
	ck_assert_int_eq(os->close(reader), 0);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_uint_eq(simos_leaks(NULL), 1); /* dir */
}
END_TEST

START_TEST(mappings_of_a_file_are_one_buffer)
{
	struct os_map one, two;
	char buf[4];
	const uint64_t word = 0x1234;
	size_t got;
	int fd = create_durable("a", 8192);

	one = map(fd, 8192);
	ck_assert_int_eq(os->map(fd, 4096, false, false, &two), 0);
	ck_assert_int_eq(os->store(&one, 100, "abcd", 4), 0);
	ck_assert_mem_eq(two.addr + 100, "abcd", 4);
	ck_assert_int_eq(os->pread(fd, buf, 4, 100, &got), 0);
	ck_assert_mem_eq(buf, "abcd", 4);
	ck_assert_int_eq(os->pwrite(fd, "EF", 2, 101), 0);
	ck_assert_mem_eq(one.addr + 100, "aEFd", 4);
	ck_assert_int_eq(os->store_word(&one, 8, word), 0);
	ck_assert_mem_eq(one.addr + 8, &word, sizeof word);
	ck_assert_int_eq(os->protect(&one), 0);
	ck_assert(!one.writable);
	os->unmap(&one);
	ck_assert_ptr_null(one.addr);
	os->unmap(&two);
	os->unmap(&two);
}
END_TEST

START_TEST(locks_exclude_other_descriptors_by_the_byte)
{
	int one = create("lock"), two, reader;

	ck_assert_int_eq(os->open(dir, "lock", OS_OPEN_WRITE, 0, &two), 0);
	ck_assert_int_eq(os->open(dir, "lock", OS_OPEN_READ, 0, &reader), 0);
	ck_assert_int_eq(os->try_lock(one, 3, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(os->try_lock(two, 3, OS_LOCK_SHARED), 0);
	ck_assert_int_eq(os->try_lock(two, 3, OS_LOCK_EXCLUSIVE), EAGAIN);
	ck_assert_int_eq(os->try_lock(two, 4, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(one, 3, OS_LOCK_NONE), 0);
	ck_assert_int_eq(os->try_lock(two, 3, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(one, 3, OS_LOCK_SHARED), EAGAIN);
	ck_assert_int_eq(os->try_lock(reader, 9, OS_LOCK_EXCLUSIVE), EBADF);
	ck_assert_int_eq(os->close(two), 0);
	ck_assert_int_eq(os->try_lock(one, 3, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_int_eq(os->try_lock(one, 4, OS_LOCK_EXCLUSIVE), 0);
}
END_TEST

static struct os_map mutex_map;

static void
lock_a_mutex(void *arg)
{
	int fd = -1;

	(void)arg;
	ck_assert_int_eq(os->open(dir, "lock", OS_OPEN_WRITE, 0, &fd), 0);
	mutex_map = map(fd, 4096);
	ck_assert_int_eq(os->mutex_lock(&mutex_map, 64, 0), 0);
	os->mutex_unlock(&mutex_map, 64);
	ck_assert_int_eq(os->mutex_lock(&mutex_map, 64, 0), 0);
	(void)os->pid();
	ck_assert_int_eq(os->close(fd), 0); /* stopped here */
}

START_TEST(mutexes_outlive_their_owners)
{
	struct os_map m = map(create_durable("lock", 4096), 4096);
	uint64_t now;

	ck_assert_int_eq(os->mutex_init(&m, 64), 0);
	ck_assert_int_eq(os->mutex_init(&m, 256), 0);
	ck_assert_int_eq(os->mutex_lock(&m, 256, 0), 0);
	simos_stop_at(6, 0);
	ck_assert(simos_run(lock_a_mutex, NULL));
	ck_assert_int_eq(os->mutex_lock(&m, 64, 0), EOWNERDEAD);

	/* This process has both now. */
	ck_assert_int_eq(os->mutex_lock(&m, 256, 0), EAGAIN);
	now = os->ticks_ns();
	ck_assert_int_eq(os->mutex_lock(&m, 64, now + 1000000000), EAGAIN);
	ck_assert_uint_ge(os->ticks_ns(), now + 1000000000);
	os->mutex_unlock(&m, 64);
	ck_assert_int_eq(os->mutex_lock(&m, 64, 0), 0);
	os->mutex_unlock(&m, 64);
	simos_fail(SIMOS_MUTEX, 1, EINVAL, true);
	ck_assert_int_eq(os->mutex_lock(&m, 64, 0), EINVAL);
	ck_assert_int_eq(os->mutex_init(&m, 64), EINVAL);
	simos_fail_clear();

	/* All end; a new one is as good as a first. */
	simos_kill();
	ck_assert_int_eq(os->open_dir("store", &dir), 0);
	simos_stop_at(0, 0);
	int fd = -1;
	ck_assert_int_eq(os->open(dir, "lock", OS_OPEN_WRITE, 0, &fd), 0);
	m = map(fd, 4096);
	ck_assert_int_eq(os->mutex_lock(&m, 256, 0), EOWNERDEAD);
	ck_assert_int_eq(os->mutex_init(&m, 256), 0);
	ck_assert_int_eq(os->mutex_lock(&m, 256, 0), 0);
}
END_TEST

/* Stops and kills. */

static int victim_fd;

/* 8 steps, with calls between them that are none. */
static void
script(void *arg)
{
	struct os_map mapping;

	(void)arg;
	os->free(os->malloc(10));
	(void)os->clock_ms();
	victim_fd = create("a");                                         /* 1 */
	ck_assert_int_eq(os->allocate(victim_fd, 4096), 0);              /* 2 */
	mapping = map(victim_fd, 4096);                                  /* 3 */
	ck_assert_int_eq(os->store(&mapping, 0, "0123456789", 10), 0);   /* 4 */
	ck_assert_int_eq(os->store_word(&mapping, 16, ~UINT64_C(0)), 0); /* 5 */
	os->unmap(&mapping);                                             /* 6 */
	ck_assert_int_eq(os->rename(dir, "a", "b"), 0);                  /* 7 */
	ck_assert_int_eq(os->close(victim_fd), 0);                       /* 8 */
}

START_TEST(stop_at_hits_each_step)
{
	static const enum simos_kind kinds[] = {SIMOS_CREATE, SIMOS_ALLOCATE,
	    SIMOS_MAP, SIMOS_STORE, SIMOS_STORE_WORD, SIMOS_UNMAP, SIMOS_RENAME,
	    SIMOS_CLOSE};
	struct simos_state *base = simos_save();

	for (uint64_t step = 1; step <= 9; step++) {
		restore(base);
		simos_stop_at(step, 0);
		ck_assert_int_eq(simos_run(script, NULL), step < 9);
		ck_assert(!simos_stopped_inside());
		ck_assert_uint_eq(simos_steps(), step < 9 ? step : 8);
		for (uint64_t i = 1; i <= simos_steps(); i++)
			ck_assert_int_eq(simos_step_kind(i), kinds[i - 1]);
		ck_assert_uint_eq(simos_leaks(NULL), 1); /* dir */
		ck_assert_int_eq(exists("a"), step > 1 && step < 8);
		ck_assert_int_eq(exists("b"), step > 7);
		if (step > 1 && step < 8) {
			ck_assert_uint_eq(size_of("a"), step > 2 ? 4096 : 0);
			ck_assert_uint_eq(byte_at("a", 9), step > 4 ? '9' : 0);
			ck_assert_uint_eq(
			    byte_at("a", 16), step > 5 ? 0xff : 0);
		}
	}
	ck_assert_uint_eq(simos_count(SIMOS_STORE), 1);
	ck_assert_uint_eq(simos_count(SIMOS_MALLOC), 1);
	ck_assert_str_eq(simos_step_name(SIMOS_STORE_WORD), "store_word");
	ck_assert(simos_step_changes(SIMOS_STORE));
	ck_assert(!simos_step_changes(SIMOS_CLOSE));
	simos_state_free(base);
}
END_TEST

/* One store of 100 bytes, none of them zero. */
static void
store_script(void *by_pwrite)
{
	char buf[100];
	struct os_map mapping;
	int fd;

	memset(buf, 'x', sizeof buf);
	ck_assert_int_eq(os->open(dir, "a", OS_OPEN_WRITE, 0, &fd), 0);
	mapping = map(fd, 4096);
	if (by_pwrite != NULL)
		ck_assert_int_eq(os->pwrite(fd, buf, sizeof buf, 500), 0);
	else
		ck_assert_int_eq(os->store(&mapping, 500, buf, 100), 0);
}

/* _i: a store, or a pwrite. */
START_TEST(a_store_can_be_stopped_at_any_byte)
{
	unsigned words = 0, odd = 0, from_end = 0;
	struct simos_state *base;

	(void)create_durable("a", 4096);
	base = simos_save();
	for (unsigned inside = 1; inside <= 200; inside++) {
		unsigned done = 0, first = 100;

		restore(base);
		simos_stop_at(3, inside);
		ck_assert(simos_run(store_script, _i == 1 ? &dir : NULL));
		ck_assert(simos_stopped_inside());
		for (unsigned i = 0; i < 100; i++) {
			if (byte_at("a", 500 + i) == 0)
				continue;
			first = first == 100 ? i : first;
			done++;
		}
		ck_assert_uint_gt(done, 0);
		ck_assert_uint_lt(done, 100);
		ck_assert(first == 0 || first + done == 100);
		words += done % 8 == 0;
		odd += done % 8 != 0;
		from_end += first != 0;
	}
	ck_assert_uint_ge(words, 100);
	ck_assert_uint_ge(odd, 50);
	if (_i == 0)
		ck_assert_uint_ge(from_end, 25);
	else
		ck_assert_uint_eq(from_end, 0);
	simos_state_free(base);
}
END_TEST

START_TEST(restore_takes_stops_and_faults_away)
{
	struct simos_state *base = simos_save();

	simos_stop_at(1, 0);
	simos_fail(SIMOS_CREATE, 1, EIO, true);
	restore(base);
	ck_assert(!simos_run(script, NULL));
	simos_state_free(base);
}
END_TEST

START_TEST(what_has_no_middle_is_stopped_before)
{
	struct simos_state *base = simos_save();

	for (uint64_t step = 1; step <= 8; step++) {
		restore(base);
		simos_stop_at(step, 1);
		ck_assert(simos_run(script, NULL));
		ck_assert_uint_eq(simos_steps(), step);
		ck_assert_int_eq(simos_stopped_inside(), step == 4);
	}
	simos_state_free(base);
}
END_TEST

static void
hold_everything(void *arg)
{
	(void)arg;
	victim_fd = create("mine");
	ck_assert_int_eq(os->allocate(victim_fd, 4096), 0);
	(void)map(victim_fd, 4096);
	ck_assert_int_eq(os->try_lock(victim_fd, 1, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_ptr_nonnull(os->malloc(100));
	os->sleep_ns(1);
}

START_TEST(a_stop_ends_the_victim_and_nobody_else)
{
	void *memory = os->malloc(10);
	struct os_map mine;
	int fd = create_durable("theirs", 4096);

	mine = map(fd, 4096);
	ck_assert_int_eq(os->try_lock(fd, 1, OS_LOCK_EXCLUSIVE), 0);
	ck_assert_uint_eq(simos_leaks(NULL), 5);
	simos_stop_at(5, 0);
	ck_assert(simos_run(hold_everything, NULL));
	ck_assert_uint_eq(simos_leaks(NULL), 5);
	simos_stop_at(0, 0);
	ck_assert_int_eq(os->unlink(dir, "mine"), 0);
	ck_assert(!simos_run(hold_everything, NULL));
	ck_assert_uint_eq(simos_leaks(NULL), 9);
	simos_kill();
	ck_assert_uint_eq(simos_leaks(NULL), 1);
	os->free(memory);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	(void)mine;
}
END_TEST

START_TEST(a_kill_keeps_cache_and_journal)
{
	uint64_t pending;
	int fd = create("a");
	uint8_t boot[16], now[16];

	put_byte(fd, 10, 'x');
	pending = simos_pending();
	ck_assert_uint_ge(pending, 3);
	os->boot_id(boot);
	simos_kill();
	ck_assert_int_eq(os->open_dir("store", &dir), 0);
	ck_assert_uint_eq(byte_at("a", 10), 'x');
	ck_assert_uint_eq(simos_pending(), pending);
	os->boot_id(now);
	ck_assert_mem_eq(boot, now, sizeof boot);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(!exists("a"));
	os->boot_id(now);
	ck_assert_mem_ne(boot, now, sizeof boot);
}
END_TEST

/* Power loss. */

START_TEST(none_and_all_are_the_two_ends)
{
	struct simos_state *state;
	int fd = create_durable("a", 4096);

	put_byte(fd, 0, 1);
	ck_assert_int_eq(os->sync(fd), 0);
	put_byte(fd, 0, 2);
	put_byte(fd, 5000, 3);
	ck_assert_int_eq(os->rename(dir, "a", "b"), 0);
	ck_assert_int_eq(os->close(create("c")), 0);
	state = simos_save();

	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(exists("a") && !exists("b") && !exists("c"));
	ck_assert_uint_eq(size_of("a"), 4096);
	ck_assert_uint_eq(byte_at("a", 0), 1);

	restore(state);
	power_loss(SIMOS_LOSS_ALL, 0);
	ck_assert(!exists("a") && exists("b") && exists("c"));
	ck_assert_uint_eq(size_of("b"), 5001);
	ck_assert_uint_eq(byte_at("b", 0), 2);
	ck_assert_uint_eq(byte_at("b", 5000), 3);

	restore(state);
	power_loss(SIMOS_LOSS_ONLY_NAMES, 0);
	ck_assert(!exists("a") && exists("b") && exists("c"));
	ck_assert_uint_eq(size_of("b"), 4096);
	ck_assert_uint_eq(byte_at("b", 0), 1);

	restore(state);
	power_loss(SIMOS_LOSS_ONLY_DATA, 0);
	ck_assert(exists("a") && !exists("b") && !exists("c"));
	ck_assert_uint_eq(size_of("a"), 5001);
	ck_assert_uint_eq(byte_at("a", 0), 2);
	simos_state_free(state);
}
END_TEST

START_TEST(a_sync_of_the_file_is_not_one_of_its_name)
{
	int fd = create("a");

	put_byte(fd, 0, 1);
	ck_assert_int_eq(os->sync(fd), 0);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(!exists("a"));

	fd = create("b");
	put_byte(fd, 0, 1);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(exists("b"));
	ck_assert_uint_eq(size_of("b"), 0);

	ck_assert_int_eq(os->mkdir("store/sub", 0777), 0);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(!exists("sub"));
	ck_assert_int_eq(os->mkdir("store/sub", 0777), 0);
	ck_assert_int_eq(os->sync_parent("store/sub"), 0);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(exists("sub"));
}
END_TEST

START_TEST(prefix_keeps_what_came_first_of_everything)
{
	bool seen[8] = {false};
	struct simos_state *state;
	int one = create_durable("one", 8192);
	int two = create_durable("two", 8192);

	put_byte(one, 0, 1);                           /* 1 */
	put_byte(two, 4096, 1);                        /* 2 */
	(void)create("three");                         /* 3 */
	put_byte(one, 600, 1);                         /* 4 */
	put_byte(two, 0, 1);                           /* 5 */
	ck_assert_int_eq(os->unlink(dir, "three"), 0); /* 6 */
	put_byte(one, 0, 2);                           /* 7 */
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		unsigned done;

		restore(state);
		power_loss(SIMOS_LOSS_PREFIX, seed);
		if (byte_at("one", 0) == 2)
			done = 7;
		else if (byte_at("two", 0) == 1)
			done = exists("three") ? 5 : 6;
		else if (byte_at("one", 600) == 1)
			done = 4;
		else if (exists("three"))
			done = 3;
		else if (byte_at("two", 4096) == 1)
			done = 2;
		else
			done = byte_at("one", 0);
		ck_assert_int_eq(byte_at("one", 0) >= 1, done >= 1);
		ck_assert_int_eq(byte_at("two", 4096), done >= 2);
		ck_assert_int_eq(exists("three"), done >= 3 && done < 6);
		ck_assert_int_eq(byte_at("one", 600), done >= 4);
		seen[done] = true;
	}
	for (unsigned i = 0; i < 8; i++)
		ck_assert_msg(seen[i], "no loss after item %u", i);
	simos_state_free(state);
}
END_TEST

/* Every sector is one of its versions, any combination of two occurs. */
/* _i: how many files of one sector there are besides. */
START_TEST(subsets_are_all_ways_and_each_another)
{
	const unsigned ways = 3u * 2 * 2 << _i;
	struct simos_state *state;
	uint64_t hashes[SIMOS_SUBSETS_MAX];
	char name[16];
	int fd = create_durable("a", 8192);

	put_byte(fd, 0, 1);
	put_byte(fd, 1, 2); /* two versions of a sector */
	put_byte(fd, 4096, 3);
	for (int i = 0; i < _i; i++) {
		(void)snprintf(name, sizeof name, "b%d", i);
		put_byte(create_durable(name, 4096), 0, 4);
	}
	(void)create("new");
	state = simos_save();
	if (ways > 2 * SIMOS_SUBSETS_MAX) {
		ck_assert_uint_eq(simos_subsets(), 0);
		simos_state_free(state);
		return;
	}
	/* Coarser where the versions make too many. */
	ck_assert_uint_eq(
	    simos_subsets(), ways <= SIMOS_SUBSETS_MAX ? ways : ways / 3 * 2);
	for (uint64_t i = 0; i < simos_subsets(); i++) {
		restore(state);
		power_loss(SIMOS_LOSS_SUBSET, i);
		hashes[i] = simos_image_hash();
		for (uint64_t k = 0; k < i; k++)
			ck_assert_uint_ne(hashes[i], hashes[k]);
		restore(state);
	}
	simos_state_free(state);
}
END_TEST

START_TEST(sectors_are_reordered_but_their_versions_are_not)
{
	bool seen[5][5] = {{false}};
	struct simos_state *state;
	int fd = create_durable("a", 4096);

	for (uint8_t v = 1; v <= 4; v++) {
		put_byte(fd, 511, v);
		put_byte(fd, 512, v);
		put_byte(fd, 100, v);
	}
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS * 3; seed++) {
		uint8_t first, second, third;

		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		first = byte_at("a", 511);
		second = byte_at("a", 512);
		third = byte_at("a", 100); /* first's sector, written later */
		ck_assert(first <= 4 && second <= 4);
		ck_assert(third == first || third + 1 == first);
		seen[first][second] = true;
	}
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < 5; j++)
			ck_assert_msg(
			    seen[i][j], "never versions %u, %u", i, j);
	simos_state_free(state);
}
END_TEST

START_TEST(a_long_store_tears_between_sectors_only)
{
	unsigned masks = 0;
	uint8_t buf[1200];
	struct simos_state *state;
	int fd = create_durable("a", 4096);

	memset(buf, 'x', sizeof buf);
	ck_assert_int_eq(os->pwrite(fd, buf, sizeof buf, 300), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		unsigned mask = 0;

		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		for (unsigned s = 0; s < 3; s++)
			mask |= (byte_at("a", s * 512 + 400) != 0 ? 1u : 0u)
				<< s;
		for (unsigned i = 300; i < 1500; i++)
			ck_assert_uint_eq(
			    byte_at("a", i), mask >> i / 512 & 1 ? 'x' : 0);
		masks |= 1u << mask;
	}
	ck_assert_uint_eq(masks, 0xff);
	simos_state_free(state);
}
END_TEST

START_TEST(torn_leaves_one_store_half_done_and_no_word)
{
	unsigned from_begin = 0, from_end = 0;
	struct simos_state *state;
	struct os_map mapping;
	uint8_t buf[64];
	int fd = create_durable("a", 4096);

	mapping = map(fd, 4096);
	memset(buf, 1, sizeof buf);
	ck_assert_int_eq(os->store(&mapping, 0, buf, sizeof buf), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	memset(buf, 2, sizeof buf);
	ck_assert_int_eq(os->store(&mapping, 0, buf, sizeof buf), 0);
	ck_assert_int_eq(
	    os->store_word(&mapping, 1024, UINT64_C(0x0101010101010101)), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		unsigned done = 0;

		restore(state);
		power_loss(SIMOS_LOSS_TORN, seed);
		for (unsigned i = 0; i < 64; i++)
			done += byte_at("a", i) == 2;
		ck_assert(done > 0 && done < 64);
		if (byte_at("a", 0) == 2)
			ck_assert(filled("a", 0, done, 2) &&
				  filled("a", done, 64, 1));
		else
			ck_assert(filled("a", 0, 64 - done, 1) &&
				  filled("a", 64 - done, 64, 2));
		from_begin += byte_at("a", 0) == 2;
		from_end += byte_at("a", 0) == 1;
		ck_assert(filled("a", 1024, 1032, byte_at("a", 1024)));
	}
	ck_assert_uint_gt(from_begin, ROUNDS / 2);
	ck_assert_uint_gt(from_end, ROUNDS / 10);
	simos_state_free(state);
}
END_TEST

START_TEST(torn_keeps_the_order_of_versions)
{
	unsigned half[4] = {0};
	struct simos_state *state;
	uint8_t buf[64];
	int fd = create_durable("a", 4096);

	for (uint8_t v = 1; v <= 3; v++) {
		memset(buf, v, sizeof buf);
		ck_assert_int_eq(os->pwrite(fd, buf, sizeof buf, 64), 0);
	}
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		uint8_t begin, end;

		restore(state);
		power_loss(SIMOS_LOSS_TORN, seed);
		begin = byte_at("a", 64);
		end = byte_at("a", 127);
		ck_assert(begin == end + 1 || end == begin + 1);
		half[begin > end ? begin : end]++;
	}
	for (unsigned v = 1; v <= 3; v++)
		ck_assert_uint_gt(half[v], ROUNDS / 10);
	simos_state_free(state);
}
END_TEST

/* _i: spared is what was synced in the sector, or only other sectors. */
START_TEST(garbage_hits_one_unsynced_sector)
{
	enum simos_loss choice =
	    _i == 0 ? SIMOS_LOSS_GARBAGE : SIMOS_LOSS_GARBAGE_SECTOR;
	unsigned hits[3] = {0}, spoilt = 0, behind = 0, elsewhere = 0;
	struct simos_state *state;
	uint8_t buf[1536];
	int fd = create("a");

	memset(buf, 1, sizeof buf);
	ck_assert_int_eq(os->pwrite(fd, buf, sizeof buf, 0), 0);
	ck_assert_int_eq(os->allocate(fd, 4096), 0);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	memset(buf, 2, sizeof buf);
	ck_assert_int_eq(os->pwrite(fd, buf, 16, 512 + 100), 0);
	ck_assert_int_eq(os->pwrite(fd, buf, 16, 512 + 200), 0);
	ck_assert_int_eq(os->pwrite(fd, buf, 16, 1536), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		bool one = false, two = false;

		restore(state);
		power_loss(choice, seed);
		ck_assert_uint_eq(size_of("a"), 4096);
		for (unsigned i = 0; i < 4096; i++) {
			uint8_t byte = byte_at("a", i);
			bool written = (i >= 612 && i < 628) ||
				       (i >= 712 && i < 728) ||
				       (i >= 1536 && i < 1552);
			uint8_t old = i < 1536 ? 1 : 0;

			if (byte == old || (written && byte == 2))
				continue;
			one = one || i / 512 == 1;
			two = two || i / 512 == 3;
			elsewhere += i / 512 != 1 && i / 512 != 3;
			spoilt += i < 1536 && !written;
			behind += i >= 1552;
		}
		ck_assert(!(one && two));
		hits[one ? 1 : two ? 2 : 0]++;
	}
	ck_assert_uint_eq(hits[0], 0);
	ck_assert_uint_eq(elsewhere, 0);
	ck_assert_uint_gt(hits[1], ROUNDS / 10);
	ck_assert_uint_gt(hits[2], ROUNDS / 10);
	ck_assert_uint_gt(behind, 0);
	if (_i == 0)
		ck_assert_uint_eq(spoilt, 0);
	else
		ck_assert_uint_gt(spoilt, 0);
	simos_state_free(state);
}
END_TEST

START_TEST(a_file_never_synced_comes_back_empty_or_zero_or_written)
{
	unsigned empty = 0, zero = 0, written = 0;
	struct simos_state *state;
	int fd = create("a");

	ck_assert_int_eq(os->allocate(fd, 8192), 0);
	put_byte(fd, 5000, 'x');
	ck_assert_int_eq(os->sync_dir(dir), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		struct os_stat st;

		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		ck_assert_int_eq(os->stat_name(dir, "a", &st), 0);
		ck_assert(st.size == 0 || st.size == 8192);
		ck_assert_uint_eq(st.allocated, st.size);
		if (st.size == 0)
			empty++;
		else if (byte_at("a", 5000) == 0)
			zero++;
		else
			written++;
	}
	ck_assert_uint_gt(empty, ROUNDS / 10);
	ck_assert_uint_gt(zero, ROUNDS / 10);
	ck_assert_uint_gt(written, ROUNDS / 10);
	simos_state_free(state);
}
END_TEST

START_TEST(sizes_are_a_prefix_too)
{
	bool seen[4] = {false};
	struct simos_state *state;
	int fd = create_durable("a", 1000);

	ck_assert_int_eq(os->allocate(fd, 2000), 0);
	ck_assert_int_eq(os->truncate(fd, 500), 0);
	put_byte(fd, 2999, 'x');
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		uint64_t size;

		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		size = size_of("a");
		seen[0] = seen[0] || size == 1000;
		seen[1] = seen[1] || size == 2000;
		seen[2] = seen[2] || size == 500;
		seen[3] = seen[3] || size == 3000;
		ck_assert(size == 500 || size == 1000 || size == 2000 ||
			  size == 3000);
	}
	ck_assert(seen[0] && seen[1] && seen[2] && seen[3]);
	simos_state_free(state);
}
END_TEST

START_TEST(any_subset_of_names_is_kept)
{
	unsigned masks = 0;
	struct simos_state *state;

	(void)create("a");
	(void)create("b");
	(void)create("c");
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		masks |= 1u << ((exists("a") ? 1 : 0) | (exists("b") ? 2 : 0) |
				(exists("c") ? 4 : 0));
	}
	ck_assert_uint_eq(masks, 0xff);
	simos_state_free(state);
}
END_TEST

START_TEST(a_rename_not_synced_may_vanish_but_is_whole)
{
	unsigned vanished = 0, done = 0;
	struct simos_state *state;
	int fd = create_durable("old", 4096);

	put_byte(fd, 0, 1);
	ck_assert_int_eq(os->sync(fd), 0);
	fd = create_durable("new", 4096);
	put_byte(fd, 0, 2);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->rename(dir, "new", "old"), 0);
	ck_assert_int_eq(os->close(fd), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		ck_assert(exists("old"));
		if (exists("new")) {
			ck_assert_uint_eq(byte_at("old", 0), 1);
			ck_assert_uint_eq(byte_at("new", 0), 2);
			vanished++;
		} else {
			ck_assert_uint_eq(byte_at("old", 0), 2);
			done++;
		}
	}
	ck_assert_uint_gt(vanished, ROUNDS / 10);
	ck_assert_uint_gt(done, ROUNDS / 10);

	restore(state);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(!exists("new"));
	ck_assert_uint_eq(byte_at("old", 0), 2);
	simos_state_free(state);
}
END_TEST

/* What was dropped takes with it what was built on it. */
START_TEST(names_that_make_no_sense_are_dropped)
{
	unsigned seen[3] = {0};
	struct simos_state *state;

	(void)create("tmp");
	ck_assert_int_eq(os->rename(dir, "tmp", "a"), 0);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		restore(state);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		ck_assert(!(exists("tmp") && exists("a")));
		seen[exists("tmp") ? 1 : exists("a") ? 2 : 0]++;
	}
	ck_assert(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
	simos_state_free(state);
}
END_TEST

START_TEST(an_unlinked_file_may_come_back)
{
	unsigned back = 0;
	uint64_t used = simos_used();
	struct simos_state *state;
	int fd = create_durable("a", 65536);

	put_byte(fd, 9, 7);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->unlink(dir, "a"), 0);
	ck_assert_uint_eq(simos_used(), used + 65536);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_uint_eq(simos_used(), used);
	state = simos_save();
	for (uint64_t seed = 0; seed < ROUNDS; seed++) {
		restore(state);
		ck_assert_uint_eq(simos_used(), used);
		power_loss(SIMOS_LOSS_RANDOM, seed);
		if (!exists("a")) {
			ck_assert_uint_eq(simos_used(), used);
			continue;
		}
		ck_assert_uint_eq(simos_used(), used + 65536);
		ck_assert_uint_eq(byte_at("a", 9), 7);
		back++;
	}
	ck_assert_uint_gt(back, ROUNDS / 10);
	ck_assert_uint_lt(back, ROUNDS);
	restore(state);
	ck_assert_int_eq(os->sync_dir(dir), 0);
	ck_assert_uint_eq(simos_pending(), 0);
	power_loss(SIMOS_LOSS_ONLY_DATA, 0);
	ck_assert(!exists("a"));
	simos_state_free(state);
}
END_TEST

#define MODEL_SECTORS 16u
#define MODEL_VERSIONS 200u

/* What each sector has been since the last sync: version is the byte that it
 * is full of. */
struct model {
	uint8_t versions[MODEL_SECTORS][MODEL_VERSIONS];
	unsigned counts[MODEL_SECTORS];
};

static void
model_sync(struct model *model)
{
	for (unsigned s = 0; s < MODEL_SECTORS; s++) {
		model->versions[s][0] =
		    model->versions[s][model->counts[s] - 1];
		model->counts[s] = 1;
	}
}

static bool
model_has(const struct model *model, unsigned sector, uint8_t version)
{
	for (unsigned i = 0; i < model->counts[sector]; i++)
		if (model->versions[sector][i] == version)
			return true;
	return false;
}

static void
model_check(const struct model *model, enum simos_loss choice)
{
	for (unsigned s = 0; s < MODEL_SECTORS; s++) {
		uint8_t version = byte_at("a", s * 512);

		ck_assert(filled("a", s * 512, s * 512 + 512, version));
		ck_assert(model_has(model, s, version));
		if (choice == SIMOS_LOSS_NONE ||
		    choice == SIMOS_LOSS_ONLY_NAMES)
			ck_assert_uint_eq(version, model->versions[s][0]);
		if (choice == SIMOS_LOSS_ALL || choice == SIMOS_LOSS_ONLY_DATA)
			ck_assert_uint_eq(
			    version, model->versions[s][model->counts[s] - 1]);
	}
}

/* Random stores, syncs, kills and states between; the other file's items
 * stay in the journal, so that it is taken apart and put together often. */
START_TEST(synced_data_is_never_lost)
{
	static const enum simos_loss choices[] = {SIMOS_LOSS_ALL,
	    SIMOS_LOSS_NONE, SIMOS_LOSS_PREFIX, SIMOS_LOSS_RANDOM,
	    SIMOS_LOSS_ONLY_NAMES, SIMOS_LOSS_ONLY_DATA};
	uint64_t seed = rng_seed_from_env();
	struct model model = {.counts = {0}};
	struct rng rng;
	int fd, other;

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	rng_init(&rng, seed);
	fd = create_durable("a", MODEL_SECTORS * 512);
	other = create_durable("b", 4096);
	for (unsigned s = 0; s < MODEL_SECTORS; s++)
		model.counts[s] = 1;
	for (unsigned op = 0; op < 4000; op++) {
		unsigned s = (unsigned)rng_below(&rng, MODEL_SECTORS);
		unsigned n = 1 + (unsigned)rng_below(&rng, MODEL_SECTORS - s);
		uint8_t buf[MODEL_SECTORS * 512];

		if (op % 8 == 0)
			put_byte(other, op, (uint8_t)op);
		if (rng_below(&rng, 12) == 0 ||
		    model.counts[s] + n >= MODEL_VERSIONS) {
			ck_assert_int_eq(os->sync(fd), 0);
			model_sync(&model);
			continue;
		}
		memset(buf, (int)op, n * 512);
		ck_assert_int_eq(os->pwrite(fd, buf, n * 512, s * 512), 0);
		for (unsigned i = s; i < s + n; i++)
			model.versions[i][model.counts[i]++] = (uint8_t)op;
		if (op % 40 == 0) {
			enum simos_loss choice = choices[rng_below(&rng, 6)];
			struct simos_state *state = simos_save();

			power_loss(choice, rng_next(&rng));
			model_check(&model, choice);
			restore(state);
			simos_state_free(state);
			ck_assert_int_eq(
			    os->open(dir, "a", OS_OPEN_WRITE, 0, &fd), 0);
			ck_assert_int_eq(
			    os->open(dir, "b", OS_OPEN_WRITE, 0, &other), 0);
		}
	}
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->sync(other), 0);
	model_sync(&model);
	power_loss(SIMOS_LOSS_NONE, 0);
	model_check(&model, SIMOS_LOSS_NONE);
	for (unsigned i = 0; i < 4000; i += 8)
		if (byte_at("b", i) != (uint8_t)i)
			ck_abort_msg("byte %u of b", i);
}
END_TEST

START_TEST(a_failed_sync_forgets_but_the_cache_shows)
{
	unsigned lost = 0, kept = 0, found_again = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		bool again = round % 2 == 0;
		int fd;

		simos_fini();
		simos_init(round);
		ck_assert_int_eq(os->open_dir("/", &dir), 0);
		ck_assert_int_eq(os->mkdir("store", 0777), 0);
		ck_assert_int_eq(os->sync_dir(dir), 0);
		ck_assert_int_eq(os->open_dir("store", &dir), 0);
		fd = create_durable("a", 8192);
		put_byte(fd, 0, 1);
		put_byte(fd, 5000, 1);
		simos_fail(SIMOS_SYNC, 1, EIO, false);
		ck_assert_int_eq(os->sync(fd), EIO);
		ck_assert_uint_eq(byte_at("a", 0), 1);
		ck_assert_uint_eq(byte_at("a", 5000), 1);
		if (again)
			put_byte(fd, 1000, 9); /* page 0 is dirty again */
		if (round % 4 < 2)
			simos_kill();
		else
			ck_assert_int_eq(os->sync(fd), 0);
		power_loss(SIMOS_LOSS_ALL, 0);
		ck_assert(byte_at("a", 0) == 1 || !again);
		lost += byte_at("a", 5000) == 0;
		kept += byte_at("a", 5000) == 1;
		found_again += again && byte_at("a", 5000) == 0;
	}
	ck_assert_uint_gt(lost, ROUNDS / 10);
	ck_assert_uint_gt(kept, ROUNDS / 10);
	ck_assert_uint_gt(found_again, ROUNDS / 20);
}
END_TEST

/* States. */

START_TEST(a_state_is_the_machine_and_stays_as_it_is)
{
	struct simos_state *state, *later;
	struct os_map mapping;
	uint64_t hash, later_hash;
	uint8_t one[8], two[8];
	int fd = create_durable("a", 8192);

	mapping = map(fd, 8192);
	ck_assert_int_eq(os->store(&mapping, 0, "state", 5), 0);
	ck_assert_int_eq(os->try_lock(fd, 0, OS_LOCK_EXCLUSIVE), 0);
	hash = simos_image_hash();
	state = simos_save();
	ck_assert_int_eq(os->random(one, sizeof one), 0);

	/* The process goes on with its mapping, the state does not. */
	ck_assert_int_eq(os->store(&mapping, 0, "later", 5), 0);
	ck_assert_mem_eq(mapping.addr, "later", 5);
	ck_assert_int_eq(os->sync(fd), 0);
	ck_assert_int_eq(os->unlink(dir, "a"), 0);
	ck_assert_int_eq(os->close(create("b")), 0);
	later = simos_save();
	later_hash = simos_image_hash();
	ck_assert_uint_ne(hash, later_hash);

	for (int round = 0; round < 2; round++) {
		restore(state);
		ck_assert_uint_eq(simos_leaks(NULL), 1); /* dir */
		ck_assert_uint_eq(simos_image_hash(), hash);
		ck_assert(exists("a") && !exists("b"));
		ck_assert_uint_eq(byte_at("a", 0), 's');
		ck_assert_uint_eq(simos_pending(), 1);
		ck_assert_int_eq(os->random(two, sizeof two), 0);
		ck_assert_mem_eq(one, two, sizeof one);
		ck_assert_int_eq(os->open(dir, "a", OS_OPEN_WRITE, 0, &fd), 0);
		put_byte(fd, 0, 'X');
		power_loss(SIMOS_LOSS_NONE, 0);
		ck_assert_uint_eq(byte_at("a", 0), 0);

		restore(later);
		ck_assert_uint_eq(simos_image_hash(), later_hash);
		ck_assert(!exists("a") && exists("b"));
		power_loss(SIMOS_LOSS_NONE, 0);
		ck_assert(exists("a") && !exists("b"));
		ck_assert_uint_eq(byte_at("a", 0), 'l');
	}
	simos_state_free(state);
	restore(later);
	simos_state_free(later);
	ck_assert(exists("b"));
}
END_TEST

START_TEST(the_same_seed_takes_the_same_loss)
{
	unsigned different = 0;
	struct simos_state *state;
	int fd = create("a");

	for (unsigned i = 0; i < 40; i++)
		put_byte(fd, i * 300, (uint8_t)i);
	state = simos_save();
	for (unsigned choice = 0; choice < SIMOS_LOSS_COUNT; choice++) {
		uint64_t last = 0;

		for (uint64_t seed = 0; seed < 20; seed++) {
			uint64_t hash;

			restore(state);
			power_loss((enum simos_loss)choice, seed);
			hash = simos_image_hash();
			restore(state);
			power_loss((enum simos_loss)choice, seed);
			ck_assert_uint_eq(simos_image_hash(), hash);
			different += seed > 0 && hash != last;
			last = hash;
		}
	}
	ck_assert_uint_gt(different, 50);
	simos_state_free(state);
}
END_TEST

START_TEST(hash_is_of_the_tree_and_not_of_its_history)
{
	uint64_t hashes[5];
	int fd;

	fd = create("a");
	put_byte(fd, 0, 1);
	put_byte(create("b"), 100, 1);
	hashes[0] = simos_image_hash();
	simos_fini();
	setup();
	put_byte(create("x"), 100, 1);
	fd = create("a");
	put_byte(fd, 0, 9);
	put_byte(fd, 2000, 9);
	ck_assert_int_eq(os->truncate(fd, 1), 0);
	put_byte(fd, 0, 1);
	ck_assert_int_eq(os->rename(dir, "x", "b"), 0);
	ck_assert_uint_eq(simos_image_hash(), hashes[0]);

	put_byte(fd, 0, 2);
	hashes[1] = simos_image_hash();
	ck_assert_int_eq(os->truncate(fd, 2), 0);
	hashes[2] = simos_image_hash();
	ck_assert_int_eq(os->rename(dir, "a", "c"), 0);
	hashes[3] = simos_image_hash();
	ck_assert_int_eq(os->unlink(dir, "c"), 0);
	hashes[4] = simos_image_hash();
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_uint_ne(hashes[i], hashes[j]);
}
END_TEST

START_TEST(poke_rots_cache_and_disk_behind_everybody)
{
	int fd = create_durable("a", 4096);

	ck_assert_int_eq(os->close(fd), 0);
	simos_poke("store/a", 10, "x", 1);
	ck_assert_uint_eq(simos_pending(), 0);
	ck_assert_uint_eq(byte_at("a", 10), 'x');
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert_uint_eq(byte_at("a", 10), 'x');
	ck_assert_uint_eq(size_of("a"), 4096);
	ck_assert_uint_eq(simos_used(), 4096);
}
END_TEST

/* Space and faults. */

START_TEST(a_full_disk_is_full)
{
	struct os_stat st;
	char buf[8192] = {1};
	int fd = create_durable("a", 8192), other, error;

	simos_set_capacity(simos_used() + 8192);
	other = create("b");
	ck_assert_int_eq(os->allocate(fd, 8192), 0);
	ck_assert_int_eq(os->allocate(other, 12289), ENOSPC);
	ck_assert_int_eq(os->truncate(other, 0), 0);
	ck_assert_int_eq(os->allocate(other, 4096), 0);
	ck_assert_int_eq(os->pwrite(other, buf, 8192, 2000), ENOSPC);
	ck_assert_int_eq(os->stat(other, &st), 0);
	ck_assert_uint_eq(st.size, 8192); /* as much as there was room for */
	ck_assert_uint_eq(byte_at("b", 2000), 1);
	ck_assert_int_eq(
	    os->open(dir, "c", OS_OPEN_CREATE, 0666, &error), ENOSPC);
	ck_assert_int_eq(os->mkdir("store/d", 0777), ENOSPC);
	ck_assert_int_eq(os->pwrite(fd, buf, 8192, 0), 0); /* in place */
	ck_assert_int_eq(os->punch(fd, 4096), 0);
	ck_assert_int_eq(os->pwrite(other, buf, 4096, 8192), 0);
	ck_assert_int_eq(os->pwrite(fd, buf, 1, 4096), ENOSPC);
	ck_assert_int_eq(os->close(other), 0);
	ck_assert_int_eq(os->unlink(dir, "b"), 0);
	ck_assert_int_eq(os->allocate(fd, 8192), 0);

	simos_set_fs(OS_FS_COW);
	ck_assert_int_eq(os->pwrite(fd, buf, 8192, 0), 0);
	simos_set_capacity(simos_used());
	ck_assert_int_eq(os->pwrite(fd, buf, 8192, 0), ENOSPC);
}
END_TEST

START_TEST(a_failed_allocation_may_leave_a_part)
{
	unsigned whole = 0, part = 0;
	struct os_stat st;

	simos_set_capacity(20000);
	for (unsigned i = 0; i < 40; i++) {
		int fd = create("a");

		ck_assert_int_eq(os->allocate(fd, 65536), ENOSPC);
		ck_assert_int_eq(os->stat(fd, &st), 0);
		ck_assert(st.size == 0 || st.size == 16384);
		ck_assert_uint_eq(st.allocated, st.size);
		whole += st.size == 0;
		part += st.size != 0;
		ck_assert_int_eq(os->unlink(dir, "a"), 0);
		ck_assert_int_eq(os->close(fd), 0);
		ck_assert_uint_eq(simos_used(), 0);
	}
	ck_assert_uint_gt(whole, 5);
	ck_assert_uint_gt(part, 5);
}
END_TEST

START_TEST(the_nth_call_fails_once_or_for_good)
{
	struct os_stat st;
	int fd = create("a");

	simos_fail(SIMOS_STAT, 2, EIO, false);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_int_eq(os->stat(fd, &st), EIO);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	simos_fail(SIMOS_STAT, 2, EACCES, true);
	simos_fail(SIMOS_ALLOCATE, 1, EFBIG, false);
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_int_eq(os->stat(fd, &st), EACCES);
	ck_assert_int_eq(os->allocate(fd, 4096), EFBIG);
	ck_assert_int_eq(os->allocate(fd, 4096), 0);
	ck_assert_int_eq(os->stat(fd, &st), EACCES);
	simos_fail_clear();
	ck_assert_int_eq(os->stat(fd, &st), 0);
	ck_assert_uint_eq(st.size, 4096);

	simos_fail(SIMOS_MALLOC, 1, ENOMEM, true);
	ck_assert_ptr_null(os->malloc(1));
	ck_assert_ptr_null(os->calloc(1, 1));
	ck_assert_ptr_null(os->realloc(NULL, 1));
	ck_assert_ptr_null(os->aligned(64, 64));
	ck_assert_ptr_null(os->pages(64));
	simos_fail_clear();
}
END_TEST

/* Each kind in turn, with nothing changed by the call. */
START_TEST(every_call_with_a_result_can_fail)
{
	struct os_map mapping, by_pwrite;
	enum os_fs fs;
	struct os_stat st;
	uint64_t hash;
	uint8_t buf[4];
	size_t got;
	int fd = create_durable("a", 4096), other;

	ck_assert_int_eq(os->map(fd, 4096, true, true, &by_pwrite), 0);
	mapping = map(fd, 4096);
	hash = simos_image_hash();
#define FAILS(kind, call)                                                      \
	do {                                                                   \
		simos_fail(SIMOS_##kind, 1, EIO, false);                       \
		ck_assert_int_eq(call, EIO);                                   \
		simos_fail_clear();                                            \
	} while (0)
	FAILS(MKDIR, os->mkdir("x", 0777));
	FAILS(OPEN_DIR, os->open_dir("store", &other));
	FAILS(LIST, os->list(dir, end_at_once, NULL));
	FAILS(SYNC_DIR, os->sync_dir(dir));
	FAILS(SYNC_PARENT, os->sync_parent("store"));
	FAILS(FS_TYPE, os->fs_type(dir, &fs));
	FAILS(OPEN, os->open(dir, "a", OS_OPEN_READ, 0, &other));
	FAILS(CREATE, os->open(dir, "b", OS_OPEN_CREATE, 0, &other));
	FAILS(RENAME, os->rename(dir, "a", "b"));
	FAILS(EXCHANGE, os->exchange(dir, "a", "a"));
	FAILS(LINK, os->link(dir, "a", dir, "b"));
	FAILS(UNLINK, os->unlink(dir, "a"));
	FAILS(RMDIR, os->rmdir(dir, "a"));
	FAILS(STAT_NAME, os->stat_name(dir, "a", &st));
	FAILS(STAT, os->stat(fd, &st));
	FAILS(PREAD, os->pread(fd, buf, 4, 0, &got));
	FAILS(ALLOCATE, os->allocate(fd, 8192));
	FAILS(PUNCH, os->punch(fd, 0));
	FAILS(TRUNCATE, os->truncate(fd, 0));
	FAILS(CLONE, os->clone(fd, fd));
	FAILS(MAP, os->map(fd, 4096, false, false, &mapping));
	FAILS(PROTECT, os->protect(&mapping));
	FAILS(LOCK, os->try_lock(fd, 0, OS_LOCK_SHARED));
	FAILS(RANDOM, os->random(buf, sizeof buf));
	FAILS(STORE_WORD, os->store_word(&by_pwrite, 0, 0));
	FAILS(STORE, os->store(&by_pwrite, 0, "\0\0\0", 3));
	FAILS(PWRITE, os->pwrite(fd, "\0\0\0", 3, 0));
	FAILS(SYNC, os->sync(fd));
	ck_assert_uint_eq(simos_image_hash(), hash);
	FAILS(CLOSE, os->close(create("c")));
#undef FAILS
	os->unmap(&mapping);
	os->unmap(&by_pwrite);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_uint_eq(simos_leaks(NULL), 1); /* dir */
}
END_TEST

START_TEST(a_failed_directory_sync_makes_nothing_durable)
{
	(void)create("a");
	simos_fail(SIMOS_SYNC_DIR, 1, EIO, false);
	ck_assert_int_eq(os->sync_dir(dir), EIO);
	power_loss(SIMOS_LOSS_NONE, 0);
	ck_assert(!exists("a"));
}
END_TEST

/* The world. */

START_TEST(clock_random_and_boots_come_from_the_seed)
{
	uint8_t random[2][32], boot[2][16];
	uint64_t now;

	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(os->random(random[i], sizeof random[i]), 0);
		os->boot_id(boot[i]);
		simos_fini();
		setup();
	}
	ck_assert_mem_eq(random[0], random[1], sizeof random[0]);
	ck_assert_mem_eq(boot[0], boot[1], sizeof boot[0]);
	simos_fini();
	simos_init(2);
	ck_assert_int_eq(os->random(random[1], sizeof random[1]), 0);
	ck_assert_mem_ne(random[0], random[1], sizeof random[0]);
	os->boot_id(boot[1]);
	ck_assert_mem_ne(boot[0], boot[1], sizeof boot[0]);
	simos_set_boot_id(false);
	memset(boot[0], 0, sizeof boot[0]);
	os->boot_id(boot[1]);
	ck_assert_mem_eq(boot[0], boot[1], sizeof boot[0]);

	simos_set_clock_ms(1000);
	ck_assert_uint_eq(os->clock_ms(), 1000);
	now = os->ticks_ns();
	ck_assert_uint_gt(os->ticks_ns(), now);
	os->sleep_ns(UINT64_C(5000000000));
	ck_assert_uint_ge(os->ticks_ns(), now + UINT64_C(5000000000));
	ck_assert_uint_eq(os->clock_ms(), 6000);
	simos_set_pid(77);
	ck_assert_uint_eq(os->pid(), 77);
}
END_TEST

START_TEST(memory_is_what_was_asked_for)
{
	char *p = os->malloc(100);

	memset(p, 'x', 100);
	os->free(p);
	p = os->calloc(10, 10); /* most likely the same place */
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(p[i], 0);
	memset(p, 'x', 100);
	p = os->realloc(p, 1000);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(p[i], 'x');
	p = os->realloc(p, 10);
	ck_assert_int_eq(p[9], 'x');
	ck_assert_uint_eq(simos_leaks(NULL), 2);
	os->free(p);
	os->free(NULL);
	p = os->aligned(4096, 100);
	ck_assert_uint_eq((uintptr_t)p % 4096, 0);
	memset(p, 1, 100);
	os->free(p);
	ck_assert_ptr_null(os->malloc(SIZE_MAX));
	ck_assert_ptr_null(os->calloc(SIZE_MAX / 2, 3));
	ck_assert_uint_eq(simos_leaks(NULL), 1);
}
END_TEST

START_TEST(trace_prints_every_step)
{
	char line[200], last[200] = "";
	unsigned numbered = 0;
	FILE *stream = tmpfile();

	ck_assert_ptr_nonnull(stream);
	simos_trace(stream);
	simos_stop_at(4, 1);
	ck_assert(simos_run(script, NULL));
	simos_trace(NULL);
	(void)exists("a");
	rewind(stream);
	while (fgets(line, sizeof line, stream) != NULL) {
		numbered += (unsigned)strtoul(line, NULL, 10) == numbered + 1;
		(void)strcpy(last, line);
	}
	(void)fclose(stream);
	ck_assert_uint_eq(numbered, 4);
	ck_assert_str_eq(last, "       stopped within it\n");
}
END_TEST

/* Bugs. */

static struct os_map bug_map;
static int bug_fd;

static void
bug_store_read_only(void)
{
	struct os_map reader;

	(void)os->map(bug_fd, 4096, false, false, &reader);
	(void)os->store(&reader, 0, "x", 1);
}

static void
bug_store_protected(void)
{
	(void)os->protect(&bug_map);
	(void)os->store_word(&bug_map, 0, 1);
}

static void
bug_store_claims_rights(void)
{
	(void)os->protect(&bug_map);
	bug_map.writable = true;
	(void)os->store(&bug_map, 0, "x", 1);
}

static void
bug_store_behind_end(void)
{
	(void)os->store(&bug_map, 4095, "xx", 2);
}

static void
bug_store_unmapped(void)
{
	struct os_map copy = bug_map;

	os->unmap(&bug_map);
	(void)os->store(&copy, 0, "x", 1);
}

static void
bug_store_unlinked_and_closed(void)
{
	(void)os->unlink(dir, "a");
	(void)os->store(&bug_map, 0, "x", 1); /* still open: fine */
	(void)os->close(bug_fd);
	(void)os->store(&bug_map, 0, "x", 1);
}

static void
bug_store_without_space(void)
{
	(void)os->punch(bug_fd, 0);
	(void)os->store(&bug_map, 0, "x", 1);
}

static void
bug_word_at_odd_place(void)
{
	(void)os->store_word(&bug_map, 4, 1);
}

static void
bug_map_behind_end(void)
{
	struct os_map wide;

	(void)os->map(bug_fd, 4097, false, false, &wide);
}

static void
bug_grow_mapped(void)
{
	(void)os->allocate(bug_fd, 8192);
}

static void
bug_cut_mapped(void)
{
	(void)os->truncate(bug_fd, 100);
}

static void
bug_slash_in_name(void)
{
	(void)exists("../a");
}

static void
bug_closed_twice(void)
{
	(void)os->close(bug_fd);
	(void)os->close(bug_fd);
}

static void
bug_write_read_only(void)
{
	int fd;

	(void)os->open(dir, "a", OS_OPEN_READ, 0, &fd);
	(void)os->pwrite(fd, "x", 1, 0);
}

static void
bug_pwrite_closed(void)
{
	struct os_map by_pwrite;

	(void)os->map(bug_fd, 4096, true, true, &by_pwrite);
	(void)os->store(&by_pwrite, 0, "x", 1); /* still open: fine */
	(void)os->close(bug_fd);
	(void)os->store(&by_pwrite, 0, "x", 1);
}

static void
bug_free_twice(void)
{
	static uint64_t foreign[64];

	os->free(foreign + 32);
}

static void
bug_around_store_then_sync(void)
{
	bug_map.addr[77] = 1;
	(void)os->sync(bug_fd);
}

static void
bug_around_store_then_check(void)
{
	bug_map.addr[77] = 1;
	simos_check_shadow();
}

static void
bug_around_store_then_unmap(void)
{
	bug_map.addr[77] = 1;
	os->unmap(&bug_map);
}

static void
bug_lock_no_mutex(void)
{
	struct os_map m = map(create_durable("m", 4096), 4096);

	(void)os->mutex_lock(&m, 64, 0);
}

static void
bug_unlock_unlocked(void)
{
	struct os_map m = map(create_durable("m", 4096), 4096);

	(void)os->mutex_init(&m, 64);
	os->mutex_unlock(&m, 64);
}

static void
bug_mutex_read_only(void)
{
	int fd = create_durable("m", 4096);
	struct os_map m;

	ck_assert_int_eq(os->map(fd, 4096, false, false, &m), 0);
	(void)os->mutex_init(&m, 64);
}

static const struct {
	void (*fn)(void);
	const char *text; /* part of the message */
} bugs[] = {
    {bug_lock_no_mutex, "no mutex was made at 64"},
    {bug_unlock_unlocked, "the mutex at 64 is not this process's"},
    {bug_mutex_read_only, "no place for a mutex"},
    {bug_store_read_only, "read-only"},
    {bug_store_protected, "read-only"},
    {bug_store_claims_rights, "no such mapping"},
    {bug_store_behind_end, "behind the mapping's end"},
    {bug_store_unmapped, "no such mapping"},
    {bug_store_unlinked_and_closed, "unlinked and closed"},
    {bug_store_without_space, "no disk space"},
    {bug_word_at_odd_place, "odd place"},
    {bug_map_behind_end, "has 4096 bytes, mapped are 4097"},
    {bug_grow_mapped, "is mapped and grows"},
    {bug_cut_mapped, "is mapped to 4096 and cut to 100"},
    {bug_slash_in_name, "is no name"},
    {bug_closed_twice, "not open"},
    {bug_write_read_only, "for reading only"},
    {bug_pwrite_closed, "not open"},
    {bug_free_twice, "did not come from os->malloc"},
    {bug_around_store_then_sync, "a + 77 was stored into without"},
    {bug_around_store_then_check, "a + 77 was stored into without"},
    {bug_around_store_then_unmap, "a + 77 was stored into without"},
};

/* In a child of its own, whose message is read. */
START_TEST(bugs_are_fatal)
{
	char message[512];
	int ends[2], status = 0;
	size_t len = 0;
	ssize_t got;
	pid_t child;

	ck_assert_int_eq(pipe(ends), 0);
	child = fork();
	ck_assert_int_ne(child, -1);
	if (child == 0) {
		(void)dup2(ends[1], STDERR_FILENO);
		simos_set_shadow(true);
		bug_fd = create_durable("a", 4096);
		bug_map = map(bug_fd, 4096);
		(void)os->store(&bug_map, 100, "fine", 4);
		(void)os->pwrite(bug_fd, "fine", 4, 200);
		simos_check_shadow();
		bugs[_i].fn();
		_exit(0);
	}
	(void)close(ends[1]);
	while (len < sizeof message - 1 && (got = read(ends[0], message + len,
						sizeof message - 1 - len)) > 0)
		len += (size_t)got;
	(void)close(ends[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	message[len] = '\0';
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
	    "status %#x: %s", (unsigned)status, message);
	ck_assert_msg(strstr(message, bugs[_i].text) != NULL,
	    "\"%s\" is not in: %s", bugs[_i].text, message);
}
END_TEST

static Suite *
simos_suite(void)
{
	Suite *suite = suite_create("simos");
	TCase *tc = tcase_create("machine");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, directories_trade_places_and_go);
	tcase_add_test(tc, an_exchange_is_one_step_for_a_power_loss);
	tcase_add_test(tc, names_behave_as_the_systems_do);
	tcase_add_test(tc, files_behave_as_the_systems_do);
	tcase_add_test(tc, mappings_of_a_file_are_one_buffer);
	tcase_add_test(tc, locks_exclude_other_descriptors_by_the_byte);
	tcase_add_test(tc, mutexes_outlive_their_owners);
	tcase_add_test(tc, stop_at_hits_each_step);
	tcase_add_loop_test(tc, a_store_can_be_stopped_at_any_byte, 0, 2);
	tcase_add_test(tc, restore_takes_stops_and_faults_away);
	tcase_add_test(tc, what_has_no_middle_is_stopped_before);
	tcase_add_test(tc, a_stop_ends_the_victim_and_nobody_else);
	tcase_add_test(tc, a_kill_keeps_cache_and_journal);
	tcase_add_test(tc, none_and_all_are_the_two_ends);
	tcase_add_test(tc, a_sync_of_the_file_is_not_one_of_its_name);
	tcase_add_test(tc, prefix_keeps_what_came_first_of_everything);
	tcase_add_loop_test(tc, subsets_are_all_ways_and_each_another, 0, 6);
	tcase_add_test(tc, sectors_are_reordered_but_their_versions_are_not);
	tcase_add_test(tc, a_long_store_tears_between_sectors_only);
	tcase_add_test(tc, torn_leaves_one_store_half_done_and_no_word);
	tcase_add_test(tc, torn_keeps_the_order_of_versions);
	tcase_add_loop_test(tc, garbage_hits_one_unsynced_sector, 0, 2);
	tcase_add_test(
	    tc, a_file_never_synced_comes_back_empty_or_zero_or_written);
	tcase_add_test(tc, sizes_are_a_prefix_too);
	tcase_add_test(tc, any_subset_of_names_is_kept);
	tcase_add_test(tc, a_rename_not_synced_may_vanish_but_is_whole);
	tcase_add_test(tc, names_that_make_no_sense_are_dropped);
	tcase_add_test(tc, an_unlinked_file_may_come_back);
	tcase_add_test(tc, synced_data_is_never_lost);
	tcase_add_test(tc, a_failed_sync_forgets_but_the_cache_shows);
	tcase_add_test(tc, a_state_is_the_machine_and_stays_as_it_is);
	tcase_add_test(tc, the_same_seed_takes_the_same_loss);
	tcase_add_test(tc, hash_is_of_the_tree_and_not_of_its_history);
	tcase_add_test(tc, poke_rots_cache_and_disk_behind_everybody);
	tcase_add_test(tc, a_full_disk_is_full);
	tcase_add_test(tc, a_failed_allocation_may_leave_a_part);
	tcase_add_test(tc, the_nth_call_fails_once_or_for_good);
	tcase_add_test(tc, every_call_with_a_result_can_fail);
	tcase_add_test(tc, a_failed_directory_sync_makes_nothing_durable);
	tcase_add_test(tc, clock_random_and_boots_come_from_the_seed);
	tcase_add_test(tc, memory_is_what_was_asked_for);
	tcase_add_test(tc, trace_prints_every_step);
	tcase_add_loop_test(tc, bugs_are_fatal, 0, (int)ARRAY_LEN(bugs));
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(simos_suite());
}
