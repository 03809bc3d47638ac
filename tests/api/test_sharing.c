/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_sharing.c - processes that share a store: what one does and another one
 * sees at once, who waits for whom, who leaves what behind, and handles after
 * a fork.  All processes are real.
 */
#include "config.h"

#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/mount.h>
#endif

#define LONG_MS 30000 /* for what should not take long */

/* A process that runs a function of the test; both can say bytes. */
struct helper {
	pid_t pid;
	int fd;
};

static void
say(int fd, char byte)
{
	ck_assert_int_eq(write(fd, &byte, 1), 1);
}

/* 0: the other one says nothing any more. */
static char
hear(int fd)
{
	char byte = 0;

	ck_assert_int_ne(read(fd, &byte, 1), -1);
	return byte;
}

#if defined __SANITIZE_ADDRESS__
#define UNDER_ADDRESS_SANITIZER true
#elif defined __has_feature
#define UNDER_ADDRESS_SANITIZER __has_feature(address_sanitizer)
#else
#define UNDER_ADDRESS_SANITIZER false
#endif

/* What fails in it is shown by its exit status, and printed. */
static struct helper
start(void (*fn)(int fd))
{
	int fds[2];
	struct helper h;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	(void)fflush(NULL);
	/* Its allocator does not look after its locks in a fork, as the C
	 * library's does: one that another thread has just then would never
	 * be free in the child. */
	if (UNDER_ADDRESS_SANITIZER)
		files_await_sleep();
	h.pid = fork();
	ck_assert_int_ne(h.pid, -1);
	if (h.pid == 0) {
		(void)close(fds[0]);
		fn(fds[1]);
		(void)fflush(NULL);
		_exit(0);
	}
	(void)close(fds[1]);
	h.fd = fds[0];
	return h;
}

static void
finish(struct helper *h)
{
	int status;

	(void)close(h->fd);
	ck_assert_int_eq(waitpid(h->pid, &status, 0), h->pid);
	ck_assert_msg(status == 0, "a helper's wait status is %#x", status);
}

/* Both sides go on once they have met. */
static void
meet(struct helper *h)
{
	say(h->fd, 'm');
	ck_assert_int_eq(hear(h->fd), 'm');
}

static bool
is_asked(int fd)
{
	return hear(fd) == 'm';
}

static double
seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static struct kvlog *
open_patiently(unsigned flags)
{
	struct kvlog_options o = api_options(flags);

	o.timeout_ms = LONG_MS;
	return api_open_with(api_store, &o);
}

/* A store with "a" and "b" in several segments. */
static void
make_store(void)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	for (unsigned i = 0; i < 300; i++)
		api_put(db, i % 2 == 0 ? "a" : "b", "fill the segments");
	api_close(db);
}

static void
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_error err = {0};

	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_msg(
	    kvlog_compact_offline(api_store, &o, NULL, &err) == KVLOG_OK, "%s",
	    err.text);
}

/* Seeing */

#define ROUNDS 60

static void
name_round(char text[64], unsigned i)
{
	(void)snprintf(text, 64, "round %u, and some more of this value", i);
}

static void
put_round(struct kvlog *db, unsigned i)
{
	char value[64];

	name_round(value, i);
	for (unsigned k = 0; k < 20; k++) {
		char key[16];

		(void)snprintf(key, sizeof key, "k%u", k);
		api_put(db, key, value);
	}
}

/* Looks whenever it is asked to: it has seen it all by the same handle. */
static void
follow(int fd)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_READONLY);
	struct kvlog_iter *iter = NULL;
	unsigned count = 0;
	char value[64];

	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_OK);
	say(fd, 'm');
	for (unsigned i = 1; is_asked(fd); i++) {
		name_round(value, i);
		api_expect(db, "k0", value);
		api_expect(db, "k19", value);
		ck_assert_uint_eq(api_count(db), 20);
		ck_assert_uint_eq(kvlog_last_seq(db), 20 * (i + 1));
		say(fd, 'm');
	}
	/* A walk that began before is of then, whatever became of the files. */
	name_round(value, 0);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		size_t len = 0;
		const void *at = kvlog_iter_value(iter, &len);

		ck_assert_uint_eq(len, strlen(value));
		ck_assert_mem_eq(at, value, len);
		count++;
	}
	ck_assert_uint_eq(count, 20);
	kvlog_iter_destroy(iter);
	api_close(db);
}

/* Commits, rollovers, and what happens while nobody writes. */
START_TEST(a_process_that_reads_follows_those_that_write)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct helper reader;

	put_round(db, 0);
	reader = start(follow);
	ck_assert_int_eq(hear(reader.fd), 'm');
	for (unsigned i = 1; i < ROUNDS; i++) {
		put_round(db, i);
		meet(&reader);
		if (i % 10 == 9) {
			api_close(db);
			compact();
			db = api_open(api_store, 0);
		}
	}
	ck_assert_uint_gt(api_stats(db).active_segment, 10);
	api_close(db);
	finish(&reader);
}
END_TEST

static void
apply_pairs(int fd)
{
	struct kvlog *db = open_patiently(0);

	for (unsigned i = 0; i < 3000; i++) {
		char value[16];
		struct kvlog_op ops[2] = {
		    {.type = KVLOG_OP_PUT, .key = "x", .key_len = 1},
		    {.type = KVLOG_OP_PUT, .key = "y", .key_len = 1}};

		(void)snprintf(value, sizeof value, "%u", i);
		ops[0].value = ops[1].value = value;
		ops[0].value_len = ops[1].value_len = strlen(value);
		ck_assert_int_eq(
		    kvlog_apply(db, ops, 2, NULL, NULL, NULL), KVLOG_OK);
	}
	api_close(db);
	(void)fd;
}

/* Of a batch all or nothing is seen, by another process too. */
START_TEST(no_process_sees_half_a_batch)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader;
	struct helper h;
	unsigned walks = 0;
	uint64_t last = 0;

	api_put(db, "x", "-");
	api_put(db, "y", "-");
	api_close(db);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	h = start(apply_pairs);
	do {
		struct kvlog_iter *iter = NULL;
		struct kvlog_info info[2];

		last = kvlog_last_seq(reader);
		ck_assert_int_eq(
		    kvlog_iter_create(reader, "", 0, &iter), KVLOG_OK);
		for (unsigned i = 0; i < 2; i++) {
			ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
			kvlog_iter_info(iter, &info[i]);
		}
		if (info[0].seq > 2) /* from then on they come in pairs */
			ck_assert_uint_eq(info[0].seq, info[1].seq);
		ck_assert_uint_ge(info[1].seq, last);
		kvlog_iter_destroy(iter);
		walks++;
	} while (last < 2 + 3000);
	ck_assert_uint_gt(walks, 1);
	finish(&h);
	api_close(reader);
}
END_TEST

#define COUNTERS 3
#define COUNTS 200

/* Adds to a number by conditional puts. */
static void
count_up(int fd)
{
	struct kvlog *db = open_patiently(0);

	for (unsigned done = 0; done < COUNTS;) {
		struct kvlog_write how = KVLOG_WRITE_INIT;
		struct kvlog_info info = {0};
		char text[16] = "0";
		size_t len = 1;
		enum kvlog_status st = kvlog_lookup(db, "n", 1, &info);

		ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
		if (st == KVLOG_OK)
			ck_assert_int_eq(
			    kvlog_get(db, "n", 1, text, 15, &len), KVLOG_OK);
		text[len] = '\0';
		(void)snprintf(
		    text, sizeof text, "%lu", strtoul(text, NULL, 10) + 1);
		how.condition = KVLOG_IF_SEQ;
		how.if_seq = info.seq;
		st = kvlog_put(db, "n", 1, text, strlen(text), &how, NULL);
		ck_assert(st == KVLOG_OK || st == KVLOG_CONFLICT);
		done += st == KVLOG_OK;
	}
	api_close(db);
	(void)fd;
}

/* What a condition was judged on is what is there when it is written. */
START_TEST(conditions_hold_between_processes)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct helper h[COUNTERS];
	char sum[16];

	for (unsigned i = 0; i < COUNTERS; i++)
		h[i] = start(count_up);
	for (unsigned i = 0; i < COUNTERS; i++)
		finish(&h[i]);
	(void)snprintf(sum, sizeof sum, "%u", COUNTERS * COUNTS);
	api_expect(db, "n", sum);
	ck_assert_uint_eq(kvlog_last_seq(db), COUNTERS * COUNTS);
	api_close(db);
}
END_TEST

static void
put_and_close(int fd)
{
	struct kvlog *db = open_patiently(0);

	api_put(db, "mine", "1");
	say(fd, 'm');
	ck_assert(is_asked(fd));
	api_close(db);
}

/* Also if others have the store open still. */
START_TEST(who_closes_has_synced_what_is_its_own)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct helper h = start(put_and_close);
	uint64_t seq;

	ck_assert_int_eq(hear(h.fd), 'm');
	seq = kvlog_last_seq(db);
	api_expect(db, "mine", "1");
	ck_assert_uint_lt(kvlog_durable_seq(db), seq);
	say(h.fd, 'm');
	finish(&h);
	ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	api_close(db);
}
END_TEST

/* Leaving no trace */

/* Whether somebody has a lock on any byte of the lock file. */
static bool
is_locked(void)
{
	char *path = files_path(api_store, "kvlog.lock");
	int fd = open(path, O_RDWR);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	free(path);
	ck_assert_int_ne(fd, -1);
#ifdef F_OFD_GETLK
	ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
#else
	ck_assert_int_eq(fcntl(fd, F_GETLK, &lock), 0);
#endif
	(void)close(fd);
	return lock.l_type != F_UNLCK;
}

static uint64_t
change_time(void)
{
	struct stat st;

	ck_assert_int_eq(stat(api_store, &st), 0);
	return (uint64_t)st.st_mtim.tv_sec * 1000000000 +
	       (uint64_t)st.st_mtim.tv_nsec;
}

static void
expect_same(struct tree *before)
{
	struct tree after;

	tree_read(api_store, &after);
	ck_assert_uint_eq(before->count, after.count);
	for (size_t i = 0; i < before->count; i++) {
		ck_assert_str_eq(before->files[i].name, after.files[i].name);
		ck_assert_uint_eq(before->files[i].len, after.files[i].len);
		ck_assert_mem_eq(before->files[i].bytes, after.files[i].bytes,
		    after.files[i].len);
	}
	tree_fini(&after);
}

/* By somebody who may not write, for as long as it is asked. */
static void
read_only(int fd)
{
	struct kvlog_options o = api_options(0);
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	ck_assert_int_eq(kvlog_open(api_store, &o, &db, &err), KVLOG_IO);
	ck_assert_msg(
	    strstr(err.text, "opened read-only") != NULL, "%s", err.text);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "a", "fill the segments");
	ck_assert_uint_eq(api_count(db), 2);
	say(fd, 'm');
	for (unsigned i = 0; is_asked(fd); i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "new%u", i);
		api_expect(db, key, "value");
		say(fd, 'm');
	}
	api_close(db);
}

static void
read_as_nobody(int fd)
{
	if (geteuid() == 0)
		ck_assert(setgid(65534) == 0 && setuid(65534) == 0);
	read_only(fd);
}

static void
set_modes(unsigned of_files, unsigned of_directory)
{
	struct tree tree;

	tree_read(api_store, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);

		ck_assert_int_eq(chmod(path, of_files), 0);
		free(path);
	}
	tree_fini(&tree);
	ck_assert_int_eq(chmod(api_base, 0755), 0);
	ck_assert_int_eq(chmod(api_store, of_directory), 0);
}

START_TEST(who_may_not_write_reads_and_leaves_no_trace)
{
	struct helper h;
	struct tree before;
	uint64_t time;

	make_store();
	set_modes(0444, 0555);
	tree_read(api_store, &before);
	time = change_time();
	h = start(read_as_nobody);
	ck_assert_int_eq(hear(h.fd), 'm');
	if (geteuid() == 0) /* else this cannot be looked at, either */
		ck_assert(!is_locked());
	finish(&h);
	expect_same(&before);
	ck_assert_uint_eq(change_time(), time);
	tree_fini(&before);
	set_modes(0644, 0755);
}
END_TEST

/* The same beside somebody who may, and does. */
START_TEST(who_may_not_write_sees_others_do_it)
{
	struct helper h;
	struct kvlog *db;

	if (geteuid() != 0) {
		puts("skipped: takes two users, so root");
		return;
	}
	make_store();
	set_modes(0644, 0755);
	db = api_open(api_store, 0);
	h = start(read_as_nobody);
	ck_assert_int_eq(hear(h.fd), 'm');
	for (unsigned i = 0; i < 200; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "new%u", i);
		api_put(db, key, "value");
		meet(&h);
	}
	api_close(db);
	finish(&h);
}
END_TEST

/* Says 's' if there can be no such medium here. */
static void
read_a_medium(int fd)
{
#ifdef __linux__
	if (unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount(api_store, api_store, NULL, MS_BIND, NULL) == 0 &&
	    mount(NULL, api_store, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY,
		NULL) == 0) {
		read_only(fd);
		return;
	}
#endif
	say(fd, 's');
}

START_TEST(a_store_on_a_read_only_medium_opens)
{
	struct helper h;
	struct tree before;

	make_store();
	tree_read(api_store, &before);
	h = start(read_a_medium);
	if (hear(h.fd) == 's')
		puts("skipped: no bind mounts here (takes root)");
	else
		ck_assert(!is_locked());
	finish(&h);
	expect_same(&before);
	tree_fini(&before);
}
END_TEST

/* Not even of a store whose writer was killed: it is shown as it is, and
 * repaired by who writes next. */
static void
put_and_die(int fd)
{
	struct kvlog *db = open_patiently(0);

	api_put(db, "last words", "1");
	(void)fd;
	(void)db;
	_exit(0);
}

START_TEST(readers_repair_nothing)
{
	struct helper h;
	struct kvlog *db;
	struct tree before;

	make_store();
	h = start(put_and_die);
	finish(&h);
	tree_read(api_store, &before);
	for (unsigned i = 0; i < 2; i++) {
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		api_expect(db, "last words", "1");
		ck_assert(!is_locked());
		api_close(db);
	}
	expect_same(&before);
	tree_fini(&before);
}
END_TEST

/* Waiting */

#define BIG_OPS 1500u
#define BIG_LEN 20000u

/* Commits that take long, one after another. */
static void
commit_slowly(int fd)
{
	struct kvlog_options o = api_options(0);
	static uint8_t value[BIG_LEN];
	static char keys[BIG_OPS][8];
	static struct kvlog_op ops[BIG_OPS];
	struct kvlog *db;

	o.segment_size = 256u << 20;
	o.timeout_ms = LONG_MS;
	db = api_open_with(api_store, &o);
	for (unsigned i = 0; i < BIG_OPS; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "%u", i);
		ops[i] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .key = keys[i],
		    .key_len = strlen(keys[i]),
		    .value = value,
		    .value_len = BIG_LEN};
	}
	say(fd, 'm');
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 0; i < 20; i++) {
		char byte;

		ck_assert_int_eq(
		    kvlog_apply(db, ops, BIG_OPS, NULL, NULL, NULL), KVLOG_OK);
		if (read(fd, &byte, 1) >= 0)
			break;
	}
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
	while (hear(fd) != 0)
		;
	api_close(db);
}

static void
stop(pid_t pid)
{
	int status;

	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
}

static enum kvlog_status
put_with(struct kvlog *db, struct kvlog_error *err)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = err;
	return kvlog_put(db, "k", 1, "v", 1, &how, NULL);
}

/* Stopped in its turn; the status of a put that does not wait. */
static enum kvlog_status
stop_in_turn(struct helper *h, struct kvlog *db, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	for (unsigned i = 0; i < 300 && st == KVLOG_OK; i++) {
		ck_assert_int_eq(kill(h->pid, SIGCONT), 0);
		(void)usleep(1000 + 777 * i % 9000);
		stop(h->pid);
		st = put_with(db, err);
	}
	return st;
}

static void
expect_holder(const struct helper *h, const struct kvlog_error *err)
{
	char text[40];

	(void)snprintf(text, sizeof text, "process %d ", (int)h->pid);
	ck_assert_msg(strstr(err->text, text) != NULL, "%s", err->text);
}

/* A new store, and one who has stopped in its turn. */
static struct kvlog *
open_beside_stopped(struct helper *h, struct kvlog_error *err)
{
	struct kvlog *db;

	make_store();
	*h = start(commit_slowly);
	ck_assert_int_eq(hear(h->fd), 'm');
	db = api_open(api_store, 0);
	ck_assert_int_eq(stop_in_turn(h, db, err), KVLOG_BUSY);
	return db;
}

/* Somebody stands still in his turn: who does not wait is told so at once, who
 * waits, in time; those who read do not care, and after it all is well. */
START_TEST(nobody_waits_for_longer_than_told)
{
	struct kvlog_options o = api_options(0);
	struct kvlog_error err = {0};
	struct kvlog *db, *reader;
	struct helper h;
	double began;

	make_store();
	h = start(commit_slowly);
	ck_assert_int_eq(hear(h.fd), 'm');
	db = api_open(api_store, 0); /* timeout_ms is 0 */
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(stop_in_turn(&h, db, &err), KVLOG_BUSY);
	expect_holder(&h, &err);
	began = seconds();
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(put_with(db, &err), KVLOG_BUSY);
	ck_assert(seconds() - began < 10);

	api_expect(reader, "a", "fill the segments");
	api_expect(db, "b", "fill the segments");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	api_close(db);

	o.timeout_ms = 250;
	db = api_open_with(api_store, &o);
	began = seconds();
	ck_assert_int_eq(put_with(db, &err), KVLOG_BUSY);
	ck_assert(seconds() - began >= 0.24);
	ck_assert(seconds() - began < 20);
	expect_holder(&h, &err);
	api_expect(reader, "a", "fill the segments");
	api_close(db);

	ck_assert_int_eq(kill(h.pid, SIGCONT), 0);
	o.timeout_ms = LONG_MS;
	db = api_open_with(api_store, &o);
	ck_assert_msg(put_with(db, &err) == KVLOG_OK, "%s", err.text);
	api_expect(reader, "k", "v");
	finish(&h);
	api_expect(db, "k", "v");
	ck_assert_uint_eq(api_count(db), 2 + 1 + BIG_OPS);
	api_close(reader);
	api_close(db);
}
END_TEST

#define WAITING 3u

static void *
put_patiently(void *arg)
{
	struct kvlog *db = arg;
	static _Atomic unsigned count;
	char key[8];

	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(
		    key, sizeof key, "t%u", atomic_fetch_add(&count, 1));
		api_put(db, key, "1");
	}
	return NULL;
}

/* Threads of one process wait one behind the other, and others of it go on
 * reading: also what needs the lock that commits need. */
START_TEST(threads_that_wait_keep_nobody_from_reading)
{
	struct kvlog_options o = api_options(0);
	struct kvlog_error err = {0};
	struct kvlog_iter *iter;
	pthread_t threads[WAITING];
	struct kvlog *db;
	struct helper h;
	double began;

	db = open_beside_stopped(&h, &err);
	api_close(db);

	o.timeout_ms = LONG_MS;
	db = api_open_with(api_store, &o);
	for (unsigned i = 0; i < WAITING; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, put_patiently, db), 0);
	(void)usleep(50000);
	began = seconds();
	ck_assert_int_eq(kvlog_iter_create(db, "a", 1, &iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	kvlog_iter_destroy(iter);
	ck_assert(seconds() - began < 20);

	ck_assert_int_eq(kill(h.pid, SIGCONT), 0);
	for (unsigned i = 0; i < WAITING; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	finish(&h);
	api_expect(db, "t0", "1");
	api_expect(db, "t59", "1");
	api_close(db);
}
END_TEST

#define IMPATIENT 8u

static void *
put_impatiently(void *arg)
{
	struct kvlog_error err = {0};

	ck_assert_int_eq(put_with(arg, &err), KVLOG_BUSY);
	return NULL;
}

static double
give_up(struct kvlog *db)
{
	pthread_t threads[IMPATIENT];
	double began = seconds();

	for (unsigned i = 0; i < IMPATIENT; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, put_impatiently, db), 0);
	for (unsigned i = 0; i < IMPATIENT; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	return seconds() - began;
}

/* Their time runs from the call on, not from when those before them gave up. A
 * busy machine may take its time once or twice. */
START_TEST(threads_give_up_at_the_same_time)
{
	struct kvlog_options o = api_options(0);
	struct kvlog_error err = {0};
	struct kvlog *db;
	struct helper h;
	double took;

	db = open_beside_stopped(&h, &err);
	api_close(db);

	o.timeout_ms = 1000;
	db = api_open_with(api_store, &o);
	took = give_up(db);
	for (unsigned i = 0; i < 3 && took > IMPATIENT * 0.75; i++)
		took = give_up(db);
	ck_assert(took <= IMPATIENT * 0.75);

	ck_assert_int_eq(kill(h.pid, SIGCONT), 0);
	api_close(db);
	finish(&h);
}
END_TEST

/* Killed there instead, he is not waited for at all. */
START_TEST(nobody_waits_for_the_dead)
{
	struct kvlog_error err = {0};
	struct kvlog *db;
	struct helper h;
	int status;

	db = open_beside_stopped(&h, &err);
	ck_assert_int_eq(kill(h.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(h.pid, &status, 0), h.pid);
	(void)close(h.fd);
	ck_assert_msg(put_with(db, &err) == KVLOG_OK, "%s", err.text);
	api_expect(db, "k", "v");
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_UNSHARED);
	api_expect(db, "k", "v");
	ck_assert_uint_eq(api_stats(db).recovery, 0);
	api_close(db);
}
END_TEST

static void
hold_open(int fd)
{
	struct kvlog *db = open_patiently(0);

	api_put(db, "held", "1");
	say(fd, 'm');
	while (hear(fd) != 0)
		;
	api_close(db);
}

/* Compaction replaces files that writers know, so that nobody may be one.
 * _i: whether that is this process. */
START_TEST(compaction_waits_for_all_writers)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	struct helper h = {0};

	make_store();
	if (_i == 0) {
		h = start(hold_open);
		ck_assert_int_eq(hear(h.fd), 'm');
	} else {
		db = api_open(api_store, 0);
	}
	o.timeout_ms = 0;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, NULL, &err), KVLOG_BUSY);
	if (_i == 0)
		expect_holder(&h, &err);
	/* Looking takes no lock. */
	ck_assert_int_eq(kvlog_verify(api_store, NULL, NULL, NULL), KVLOG_OK);
	o.flags = KVLOG_COMPACT_DRY_RUN;
	ck_assert_int_eq(
	    kvlog_compact_offline(api_store, &o, NULL, &err), KVLOG_OK);
	if (_i == 0)
		finish(&h);
	else
		api_close(db);
	compact();
	ck_assert_int_eq(kvlog_verify(api_store, NULL, NULL, NULL), KVLOG_OK);
}
END_TEST

/* Handles of one process */

static void
try_alone(int fd)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_UNSHARED);
	struct kvlog *db = NULL;
	enum kvlog_status st = kvlog_open(api_store, &o, &db, NULL);

	ck_assert(st == KVLOG_OK || st == KVLOG_BUSY);
	say(fd, st == KVLOG_OK ? 'y' : 'n');
	if (st == KVLOG_OK)
		api_close(db);
}

/* Whether another process can write alone. */
static bool
is_free(void)
{
	struct helper h = start(try_alone);
	char answer = hear(h.fd);

	finish(&h);
	return answer == 'y';
}

/* Where locks belong to processes, closing any descriptor of the file ends
 * them. */
START_TEST(a_handle_that_is_closed_takes_no_lock_along)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *other;

	for (unsigned i = 0; i < 2; i++) {
		other = api_open(api_store, i == 0 ? KVLOG_OPEN_READONLY : 0);
		api_put(db, "a", "1");
		api_expect(other, "a", "1");
		ck_assert(!is_free());
		api_close(other);
		ck_assert(!is_free());
		api_put(db, "a", "2");
	}
	ck_assert_int_eq(kvlog_verify(api_store, NULL, NULL, NULL), KVLOG_OK);
	ck_assert(!is_free());
	api_close(db);
	ck_assert(is_free());
}
END_TEST

#define OPENERS 3
#define OPENINGS 15

static _Atomic unsigned failures;

/* In a thread or a process: ck_assert is for neither of the first. */
static void *
open_and_close(void *who)
{
	for (unsigned i = 0; i < OPENINGS; i++) {
		struct kvlog_options o = api_options(0);
		struct kvlog_error err = {0};
		struct kvlog *db = NULL;
		char key[24];
		int len = snprintf(key, sizeof key, "%s-%u", (char *)who, i);

		o.timeout_ms = LONG_MS;
		if (kvlog_open(api_store, &o, &db, &err) != KVLOG_OK ||
		    kvlog_put(db, key, (size_t)len, "", 0, NULL, NULL) !=
			KVLOG_OK ||
		    kvlog_exists(db, key, (size_t)len) != KVLOG_OK ||
		    kvlog_close(db, &err) != KVLOG_OK) {
			atomic_fetch_add(&failures, 1);
			printf("%s: %s\n", key, err.text);
		}
	}
	return NULL;
}

static void
open_and_close_beside(int fd)
{
	(void)fd;
	(void)open_and_close("child");
	ck_assert_uint_eq(failures, 0);
}

/* Who opens while another one closes, of this process or another, waits and
 * gets in. */
START_TEST(opening_and_closing_go_together)
{
	char *names[OPENERS] = {"one", "two", "three"};
	pthread_t threads[OPENERS];
	struct helper h;
	struct kvlog *db;

	make_store();
	failures = 0;
	h = start(open_and_close_beside);
	for (unsigned i = 0; i < OPENERS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, open_and_close, names[i]),
		    0);
	for (unsigned i = 0; i < OPENERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	finish(&h);
	ck_assert_uint_eq(failures, 0);
	db = api_open(api_store, KVLOG_OPEN_UNSHARED);
	ck_assert_uint_eq(api_count(db), 2 + (OPENERS + 1) * OPENINGS);
	ck_assert_uint_eq(api_stats(db).recovery, 0);
	api_close(db);
	ck_assert_int_eq(kvlog_verify(api_store, NULL, NULL, NULL), KVLOG_OK);
}
END_TEST

/* After a fork */

static struct kvlog *forked;
static struct kvlog_iter *forked_iter;
static struct kvlog_pin *forked_pin;
static const char *forked_value; /* of "a", in place */
static unsigned forked_flags;

/* Every function that takes a handle refuses one of the parent's. */
static void
use_the_parents(int fd)
{
	const struct kvlog_op op = {
	    .type = KVLOG_OP_PUT, .key = "k", .key_len = 1};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_info info;
	struct kvlog_iter *iter = NULL;
	struct kvlog_feed *feed = NULL;
	struct kvlog_pin *pin = NULL;
	struct kvlog_item item = {.key = "a", .key_len = 1};
	struct kvlog *db = forked, *own, *other;
	const void *place = NULL;
	uint64_t count = 77;
	size_t len = 77;
	void *value = NULL;
	bool more;
	char buf[8];

	how.err = &err;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "", 0, &how, NULL), KVLOG_FORKED);
	ck_assert_int_eq(err.status, KVLOG_FORKED);
	ck_assert_ptr_nonnull(strstr(err.text, api_store));
	ck_assert_ptr_nonnull(strstr(err.text, "open it anew"));
	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, NULL), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_apply(db, &op, 1, NULL, NULL, NULL), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_get(db, "a", 1, buf, sizeof buf, &len), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_get_alloc(db, "a", 1, &value, &len), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_exists(db, "a", 1), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_lookup(db, "a", 1, &info), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_feed_open(db, 0, "", 0, &feed, &err), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_iter_next(forked_iter), KVLOG_FORKED);
	ck_assert_ptr_null(kvlog_iter_key(forked_iter, NULL));
	ck_assert_int_eq(kvlog_iter_prev(forked_iter), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_iter_seek(forked_iter, "a", 1), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_iter_first(forked_iter), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_iter_last(forked_iter), KVLOG_FORKED);
	kvlog_iter_destroy(forked_iter);
	ck_assert_int_eq(kvlog_pin_create(db, &pin), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_pin_get(forked_pin, "a", 1, &place, &len), KVLOG_FORKED);
	ck_assert_int_eq(
	    kvlog_pin_get_many(forked_pin, &item, 1), KVLOG_FORKED);
	ck_assert_mem_eq(forked_value, "fill the segments", 17);
	kvlog_pin_destroy(forked_pin);
	ck_assert_mem_eq(forked_value, "fill the segments", 17);
	ck_assert_int_eq(kvlog_count(db, &count), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_FORKED);
	ck_assert_uint_eq(kvlog_last_seq(db), 0);
	ck_assert_uint_eq(kvlog_durable_seq(db), 0);
	ck_assert_int_eq(kvlog_wait_durable(db, 1, 0), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_FORKED);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_FORKED);
	ck_assert_uint_eq(len, 77);
	ck_assert_uint_eq(count, 77);
	ck_assert_ptr_null(value);
	ck_assert_ptr_null(iter);
	ck_assert_ptr_null(feed);
	ck_assert_ptr_null(pin);
	ck_assert_ptr_null(place);

	/* One of its own works beside it, before and after it is closed; so
	 * does another store, whose descriptors have the numbers of those that
	 * the fork has closed. */
	own = open_patiently(forked_flags);
	api_expect(own, "a", "fill the segments");
	if ((forked_flags & KVLOG_OPEN_READONLY) == 0)
		api_put(own, "of the child", "1");
	api_store = files_path(api_base, "another");
	other = api_open(api_store, KVLOG_OPEN_CREATE);
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_OK);
	ck_assert(!is_free());
	for (unsigned i = 0; i < 300; i++) /* takes new files */
		api_put(other, "a", "a value that fills segments");
	api_close(other);
	ck_assert(is_free());
	if ((forked_flags & KVLOG_OPEN_READONLY) == 0)
		for (unsigned i = 0; i < 300; i++)
			api_put(own, "of the child", "2");
	api_expect(own, "a", "fill the segments");
	api_close(own);
	say(fd, 'm');
}

#if defined __SANITIZE_THREAD__
#define UNDER_THREAD_SANITIZER true
#elif defined __has_feature
#define UNDER_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define UNDER_THREAD_SANITIZER false
#endif

/* _i: one that writes, that only reads, that has a thread. */
START_TEST(a_handle_is_of_one_process)
{
	struct helper h;
	size_t fds;
	int status;

	make_store();
	forked_flags = _i == 1 ? KVLOG_OPEN_READONLY : 0;
	forked = api_open(
	    api_store, forked_flags | (_i == 2 ? 0 : KVLOG_OPEN_NOTHREAD));
	if (_i == 2) /* starts it */
		for (unsigned i = 0; i < 300; i++)
			api_put(forked, "b", "a value that fills segments");
	ck_assert_int_eq(
	    kvlog_iter_create(forked, "", 0, &forked_iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(forked_iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_pin_create(forked, &forked_pin), KVLOG_OK);
	ck_assert_int_eq(kvlog_pin_get(forked_pin, "a", 1,
			     (const void **)&forked_value, NULL),
	    KVLOG_OK);
	fds = files_fd_count();
	h = start(use_the_parents);
	ck_assert_int_eq(hear(h.fd), 'm');
	ck_assert_int_eq(waitpid(h.pid, &status, 0), h.pid);
	ck_assert_int_eq(status, 0);
	(void)close(h.fd);

	/* The parent has lost nothing by it. */
	ck_assert_int_eq(kvlog_iter_next(forked_iter), KVLOG_OK);
	kvlog_iter_destroy(forked_iter);
	ck_assert_mem_eq(forked_value, "fill the segments", 17);
	kvlog_pin_destroy(forked_pin);
	if (_i != 2) /* its thread opens some, too */
		ck_assert_uint_eq(files_fd_count(), fds);
	api_expect(forked, "a", "fill the segments");
	if (_i != 1) {
		ck_assert(!is_free());
		api_expect(forked, "of the child", "2");
		for (unsigned i = 0; i < 300; i++)
			api_put(forked, "more", "a value that fills segments");
	}
	api_close(forked);
	ck_assert(is_free());
	ck_assert_int_eq(kvlog_verify(api_store, NULL, NULL, NULL), KVLOG_OK);
}
END_TEST

/* It forks a child that says its number, and both stay. */
static void
leave_a_child(int fd)
{
	struct kvlog *db = open_patiently(0);
	pid_t pid;

	api_put(db, "parent", "1");
	ck_assert_int_ne(fork(), -1);
	pid = getpid();
	ck_assert_int_eq(write(fd, &pid, sizeof pid), sizeof pid);
	for (;;)
		(void)pause();
}

/* Else daemons that were started would keep a store locked for ever. */
START_TEST(a_child_keeps_no_lock_of_a_dead_parent)
{
	struct kvlog *db;
	struct helper h;
	pid_t child = 0;
	int status;

	make_store();
	h = start(leave_a_child);
	while (child == 0 || child == h.pid)
		ck_assert_int_eq(
		    read(h.fd, &child, sizeof child), sizeof child);
	ck_assert_int_eq(kill(h.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(h.pid, &status, 0), h.pid);
	db = api_open(api_store, KVLOG_OPEN_UNSHARED);
	api_expect(db, "parent", "1");
	api_close(db);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	(void)close(h.fd);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("sharing");
	TCase *see = api_case(suite, "see");
	TCase *trace = api_case(suite, "trace");
	TCase *wait = api_case(suite, "wait");
	TCase *process = api_case(suite, "process");

	tcase_add_test(see, a_process_that_reads_follows_those_that_write);
	tcase_add_test(see, no_process_sees_half_a_batch);
	tcase_add_test(see, conditions_hold_between_processes);
	tcase_add_test(see, who_closes_has_synced_what_is_its_own);
	tcase_add_test(trace, who_may_not_write_reads_and_leaves_no_trace);
	tcase_add_test(trace, who_may_not_write_sees_others_do_it);
	tcase_add_test(trace, a_store_on_a_read_only_medium_opens);
	tcase_add_test(trace, readers_repair_nothing);
	tcase_add_test(wait, nobody_waits_for_longer_than_told);
	tcase_add_test(wait, threads_that_wait_keep_nobody_from_reading);
	tcase_add_test(wait, threads_give_up_at_the_same_time);
	tcase_add_test(wait, nobody_waits_for_the_dead);
	tcase_add_loop_test(wait, compaction_waits_for_all_writers, 0, 2);
	tcase_add_test(process, a_handle_that_is_closed_takes_no_lock_along);
	tcase_add_test(process, opening_and_closing_go_together);
	/* ThreadSanitizer allows no thread in the child of a process that has
	 * one. */
	tcase_add_loop_test(process, a_handle_is_of_one_process, 0,
	    UNDER_THREAD_SANITIZER ? 2 : 3);
	tcase_add_test(process, a_child_keeps_no_lock_of_a_dead_parent);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
