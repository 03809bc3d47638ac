/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_store.c - the background thread, and what becomes of its work where no
 * thread can be had; readers and writers beside what others leave.
 */
#include "config.h"

#include "store.h"
#include "test.h"
#include "tmpdir.h"

#include <errno.h>
#include <kvlog.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *tmp;
static char path[200];
static struct os_table table; /* the real one, changed in places */
static _Atomic int refusals;  /* threads that were not to be had */

static int
no_thread(
    pthread_t *ret_thread, const char *name, void *(*fn)(void *arg), void *arg)
{
	(void)ret_thread;
	(void)name;
	(void)fn;
	(void)arg;
	refusals++;
	return EAGAIN;
}

static void
setup(void)
{
	tmp = tmpdir_create();
	(void)snprintf(path, sizeof path, "%s/db", tmp);
	table = os_real;
	table.thread_start = no_thread;
	refusals = 0;
	os = &table;
}

static void
teardown(void)
{
	os = &os_real;
	tmpdir_remove(tmp);
}

static struct kvlog *
open_with(
    enum kvlog_durability mode, uint32_t load_threads, uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_CREATE;
	o.segment_size = segment_size;
	o.durability = mode;
	o.interval_ms = 1000000;
	o.load_threads = load_threads;
	if (kvlog_open(path, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg("%s", err.text);
	return db;
}

static struct kvlog *
open_store(enum kvlog_durability mode, uint32_t load_threads)
{
	return open_with(mode, load_threads, KVLOG_SEGMENT_SIZE_MIN);
}

static uint64_t
put(struct kvlog *db, unsigned i)
{
	static const uint8_t value[500];
	struct kvlog_receipt receipt = {0};

	ck_assert_int_eq(
	    kvlog_put(db, &i, sizeof i, value, sizeof value, NULL, &receipt),
	    KVLOG_OK);
	return receipt.seq;
}

START_TEST(without_a_thread_the_caller_keeps_the_interval)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_INTERVAL, 0);

	for (unsigned i = 0; i < 40; i++) {
		uint64_t seq = put(db, i);

		ck_assert_uint_eq(kvlog_durable_seq(db), seq);
	}
	ck_assert_int_ge(refusals, 40);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

START_TEST(without_a_thread_the_caller_makes_segments_and_hints)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	struct kvlog_stats stats = {.size = sizeof stats};

	for (unsigned i = 0; i < 200; i++)
		(void)put(db, i);
	ck_assert_int_gt(refusals, 0);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	db = open_store(KVLOG_DURABILITY_NONE, 0);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	ck_assert_uint_eq(stats.record_count, 200);
	ck_assert_uint_gt(stats.hint_count, 0);
	ck_assert_uint_eq(stats.recovery, 0);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

static void
sync_all(struct kvlog *db)
{
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	(void)put(db, 0); /* says so */
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
}

/* Also of many segments: each step would take a time that grows with them. */
START_TEST(hints_are_merged_before_there_are_many)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	struct kvlog_stats stats = {.size = sizeof stats};
	uint64_t most = 0;
	bool more = true;

	for (unsigned i = 0; i < 1200; i++)
		(void)put(db, i);
	sync_all(db);
	while (more) {
		ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		if (stats.hint_count > most)
			most = stats.hint_count;
	}
	ck_assert_uint_gt(stats.segment_count, 150);
	ck_assert_uint_ge(most, 32);
	ck_assert_uint_le(most, 65);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

static void
maintain(struct kvlog *db)
{
	bool more = true;

	while (more)
		ck_assert_int_eq(kvlog_maintain(db, 1000, &more), KVLOG_OK);
}

#define SCATTERED 30000

static uint64_t
hint_count(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	return stats.hint_count;
}

/* With everything done that is due. */
static uint64_t
hints_after_maintaining(struct kvlog *db)
{
	maintain(db);
	return hint_count(db);
}

/* Of so many entries no hints are merged of which compaction may need parts. */
static struct kvlog *
load_some_hints(void)
{
	struct kvlog *db = open_with(KVLOG_DURABILITY_NONE, 0, 1u << 20);

	for (unsigned i = 0; i < SCATTERED; i++)
		(void)put(db, i);
	sync_all(db);
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	return db;
}

static uint64_t ticks_ns, tick_ns; /* the time, and what each look at it adds */

static uint64_t
tick(void)
{
	return ticks_ns += tick_ns;
}

static void
stop_clock(uint64_t ahead_ns)
{
	ticks_ns = os->ticks_ns() + ahead_ns;
	tick_ns = 0;
	table.ticks_ns = tick;
}

START_TEST(hints_are_merged_while_nobody_writes)
{
	struct kvlog *db = load_some_hints();
	uint64_t left;

	stop_clock(0);
	(void)put(db, 0);
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ticks_ns += 900000000;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	/* A commit begins the time anew. */
	(void)put(db, 0);
	ticks_ns += 900000000;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ticks_ns += 1000000000;
	ck_assert_uint_le(hints_after_maintaining(db), 2);
	/* And again. */
	for (unsigned i = SCATTERED; i < 2 * SCATTERED; i++)
		(void)put(db, i);
	sync_all(db);
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ticks_ns += 1000000000;
	ck_assert_uint_le(hints_after_maintaining(db), 2);
	/* Not where compaction may soon need parts of them. */
	for (unsigned i = 0; i < SCATTERED / 2; i++)
		(void)put(db, i);
	sync_all(db);
	left = hints_after_maintaining(db);
	ck_assert(atomic_load(&db->store->log.small_segments));
	ticks_ns += 1000000000;
	ck_assert_uint_eq(hints_after_maintaining(db), left);
	for (unsigned i = 0; i < 2 * SCATTERED; i++)
		ck_assert_int_eq(kvlog_exists(db, &i, sizeof i), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* Where records are read one by one: tried once only. */
START_TEST(a_merge_that_takes_too_long_is_given_up)
{
	struct kvlog *db = load_some_hints();

	stop_clock(2000000000);
	tick_ns = 1000000000;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	tick_ns = 0;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

static unsigned refused_writes;

static int
write_no_room(int fd, const void *data, size_t len, uint64_t off)
{
	(void)fd;
	(void)data;
	(void)len;
	(void)off;
	refused_writes++;
	return ENOSPC;
}

/* It would be read for and sorted in vain, at each step. */
START_TEST(a_merge_for_which_there_is_no_room_is_given_up)
{
	struct kvlog *db = load_some_hints();
	unsigned once;

	stop_clock(2000000000);
	table.pwrite = write_no_room;
	refused_writes = 0;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	once = refused_writes;
	ck_assert_uint_gt(once, 0);
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ck_assert_uint_eq(refused_writes, once);
	table.pwrite = os_real.pwrite;
	ck_assert_uint_ge(hints_after_maintaining(db), 4);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* Who calls kvlog_maintain() has no more time than he says. */
START_TEST(a_merge_is_no_longer_than_there_is_time_for_it)
{
	struct kvlog *db = load_some_hints();
	bool more = true;

	stop_clock(2000000000);
	while (more)
		ck_assert_int_eq(kvlog_maintain(db, 5, &more), KVLOG_OK);
	ck_assert_uint_ge(hint_count(db), 4);
	ck_assert_uint_le(hints_after_maintaining(db), 2);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

START_TEST(the_thread_wakes_to_merge_hints)
{
	struct kvlog *db = load_some_hints();

	table.thread_start = os_real.thread_start;
	atomic_store(&db->store->log.unattested, false);
	(void)put(db, 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK); /* starts it */
	while (hint_count(db) > 3)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* With small segments there is always something to prepare. */
START_TEST(a_fast_writer_does_not_leave_its_segments_behind)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	struct kvlog_stats stats = {.size = sizeof stats};
	uint64_t seq = 0;
	bool more;

	for (unsigned i = 0; i < 600; i++) {
		seq = put(db, i);
		if (i % 3 == 0)
			ck_assert_int_eq(
			    kvlog_maintain(db, 0, &more), KVLOG_OK);
		/* Seven a segment, of which some may wait. */
		ck_assert_uint_le(seq - kvlog_durable_seq(db), 20 * 7);
	}
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	ck_assert_uint_gt(stats.hint_count, 2);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

START_TEST(without_threads_the_caller_fills_the_index)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 1);
	uint64_t count = 0;

	for (unsigned i = 0; i < 300; i++)
		(void)put(db, i);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	refusals = 0;
	db = open_store(KVLOG_DURABILITY_NONE, 8);
	ck_assert_int_eq(refusals, 7);
	ck_assert_int_eq(kvlog_count(db, &count), KVLOG_OK);
	ck_assert_uint_eq(count, 300);
	for (unsigned i = 0; i < 300; i++)
		ck_assert_int_eq(kvlog_exists(db, &i, sizeof i), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* One put in the midst of another one's sync, which does not cover it. */
static struct kvlog *shared;
static pthread_t second;

static void *
put_second(void *arg)
{
	(void)arg;
	(void)put(shared, 2);
	return NULL;
}

static int
sync_slowly(int fd)
{
	static bool begun;

	if (!begun) {
		begun = true;
		ck_assert_int_eq(
		    pthread_create(&second, NULL, put_second, NULL), 0);
		while (kvlog_last_seq(shared) < 2)
			nanosleep(&(struct timespec){0, 100000}, NULL);
	}
	return os_real.sync(fd);
}

START_TEST(without_a_thread_each_caller_syncs_his_own_commit)
{
	shared = open_store(KVLOG_DURABILITY_INTERVAL, 0);
	table.sync = sync_slowly;
	ck_assert_uint_eq(put(shared, 1), 1);
	pthread_join(second, NULL);
	ck_assert_uint_eq(kvlog_last_seq(shared), 2);
	ck_assert_uint_eq(kvlog_durable_seq(shared), 2);
	ck_assert_int_eq(kvlog_close(shared, NULL), KVLOG_OK);
}
END_TEST

/* Commits that come while one syncs share the next sync. */
#define COMMITTERS 16

static _Atomic unsigned syncs;

static int
sync_when_all_are_there(int fd)
{
	if (syncs++ == 0)
		while (kvlog_last_seq(shared) < COMMITTERS)
			nanosleep(&(struct timespec){0, 100000}, NULL);
	return os_real.sync(fd);
}

static void *
put_and_check(void *arg)
{
	unsigned i = *(unsigned *)arg;
	uint64_t seq = put(shared, i);

	ck_assert_uint_ge(kvlog_durable_seq(shared), seq);
	return NULL;
}

START_TEST(commits_share_a_sync)
{
	pthread_t threads[COMMITTERS];
	unsigned numbers[COMMITTERS];

	table.thread_start = os_real.thread_start;
	shared = open_with(KVLOG_DURABILITY_COMMIT, 0, 1u << 20);
	table.sync = sync_when_all_are_there;
	for (unsigned i = 0; i < COMMITTERS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     put_and_check, &numbers[i]),
		    0);
	}
	for (unsigned i = 0; i < COMMITTERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(kvlog_durable_seq(shared), COMMITTERS);
	ck_assert_uint_eq(syncs, 2);
	table.sync = os_real.sync;
	ck_assert_int_eq(kvlog_close(shared, NULL), KVLOG_OK);
}
END_TEST

static void
wait_for_waiters(unsigned count)
{
	while (atomic_load(&shared->store->log.waiting) < count)
		nanosleep(&(struct timespec){0, 100000}, NULL);
}

static int
fail_when_all_wait(int fd)
{
	(void)fd;
	syncs++;
	wait_for_waiters(COMMITTERS - 1);
	return EIO;
}

static void *
put_in_vain(void *arg)
{
	ck_assert_int_eq(
	    kvlog_put(shared, arg, sizeof(unsigned), "", 0, NULL, NULL),
	    KVLOG_BROKEN);
	return NULL;
}

START_TEST(all_who_share_a_sync_hear_that_it_failed)
{
	pthread_t threads[COMMITTERS];
	unsigned number = 0;

	shared = open_with(KVLOG_DURABILITY_COMMIT, 0, 1u << 20);
	table.sync = fail_when_all_wait;
	for (unsigned i = 0; i < COMMITTERS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, put_in_vain, &number), 0);
	for (unsigned i = 0; i < COMMITTERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(syncs, 1);
	table.sync = os_real.sync;
	ck_assert_int_eq(kvlog_close(shared, NULL), KVLOG_BROKEN);
}
END_TEST

static _Atomic unsigned gone_on;

/* The first sync is for one, the second for two who came meanwhile; the third,
 * of one more, ends when these have gone on. */
static int
sync_in_order(int fd)
{
	unsigned sync = ++syncs;

	if (sync <= 2)
		wait_for_waiters(2);
	while (sync == 3 && gone_on < 3)
		nanosleep(&(struct timespec){0, 100000}, NULL);
	return os_real.sync(fd);
}

static void *
put_and_go_on(void *arg)
{
	(void)put_and_check(arg);
	gone_on++;
	return NULL;
}

static void
start_when_synced(pthread_t *thread, unsigned *number, unsigned so_often)
{
	while (syncs < so_often)
		nanosleep(&(struct timespec){0, 100000}, NULL);
	ck_assert_int_eq(
	    pthread_create(thread, NULL, put_and_go_on, number), 0);
}

START_TEST(whoever_is_synced_does_not_wait_for_the_next_sync)
{
	pthread_t threads[4];
	unsigned numbers[4] = {0, 1, 2, 3};

	shared = open_with(KVLOG_DURABILITY_COMMIT, 0, 1u << 20);
	table.sync = sync_in_order;
	start_when_synced(&threads[0], &numbers[0], 0);
	start_when_synced(&threads[1], &numbers[1], 1);
	start_when_synced(&threads[2], &numbers[2], 1);
	start_when_synced(&threads[3], &numbers[3], 2);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(syncs, 3);
	table.sync = os_real.sync;
	ck_assert_int_eq(kvlog_close(shared, NULL), KVLOG_OK);
}
END_TEST

/* What was refused once is tried again. */
START_TEST(a_thread_that_can_be_had_later_takes_over)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_INTERVAL, 0);
	uint64_t seq;

	db->store->interval_ms = 2;
	ck_assert_uint_eq(put(db, 1), kvlog_durable_seq(db));
	ck_assert(!db->store->thread_runs);
	table.thread_start = os_real.thread_start;
	seq = put(db, 2);
	ck_assert(db->store->thread_runs);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 20000), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* What is due already is done within it. */
START_TEST(a_shorter_interval_of_another_handle_holds_at_once)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db, *other;
	uint64_t seq;

	table.thread_start = os_real.thread_start;
	db = open_store(KVLOG_DURABILITY_INTERVAL, 0);
	ck_assert_int_eq(kvlog_wait_durable(db, put(db, 1), 20000), KVLOG_OK);
	seq = put(db, 2);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 50), KVLOG_TIMEOUT);
	o.interval_ms = 2;
	ck_assert_int_eq(kvlog_open(path, &o, &other, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, seq, 20000), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(other, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* Readers */

static int
end_at_generation(const struct os_map *map, uint64_t off, uint64_t word)
{
	if (off == 8 * CONTROL_GENERATION &&
	    memcmp(map->addr + off, &word, sizeof word) != 0)
		(void)kill(getpid(), SIGKILL);
	return os_real.store_word(map, off, word);
}

static struct kvlog *
open_reader(void)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode = KVLOG_INDEX_HINTS;
	ck_assert_int_eq(kvlog_open(path, &o, &db, NULL), KVLOG_OK);
	return db;
}

static void
walk(struct kvlog *db, unsigned expected)
{
	struct kvlog_iter *iter = NULL;
	unsigned count = 0;

	ck_assert_int_eq(kvlog_iter_create(db, NULL, 0, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK)
		count++;
	kvlog_iter_destroy(iter);
	ck_assert_uint_eq(count, expected);
}

/* It would search all of what was merged, and hold its space. */
START_TEST(a_reader_takes_in_what_the_writer_has_merged)
{
	struct kvlog *db = load_some_hints(), *reader;
	uint64_t many;

	stop_clock(0);
	(void)put(db, 0);
	many = hints_after_maintaining(db);
	ck_assert_uint_ge(many, 4);
	reader = open_reader();
	walk(reader, SCATTERED);
	ck_assert_uint_ge(hint_count(reader), many);
	ticks_ns += 1000000000;
	ck_assert_uint_le(hints_after_maintaining(db), 2);
	walk(reader, SCATTERED);
	ck_assert_uint_le(hint_count(reader), 3);
	for (unsigned i = 0; i < SCATTERED; i++)
		ck_assert_int_eq(kvlog_exists(reader, &i, sizeof i), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(reader, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* A compaction that is killed when its outputs have their names, and before it
 * says so: whoever opens the store next takes the inputs away. */
START_TEST(a_reader_sees_that_another_one_ended_a_compaction)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0), *reader;
	struct kvlog_info info;
	pid_t pid;
	int status;

	for (unsigned i = 0; i < 400; i++)
		(void)put(db, i % 200);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	reader = open_reader();

	pid = fork();
	if (pid == 0) {
		table.store_word = end_at_generation;
		o.flags = KVLOG_COMPACT_ALL;
		_exit((int)kvlog_compact_offline(path, &o, NULL, NULL));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	db = open_store(KVLOG_DURABILITY_NONE, 0);
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(
		    kvlog_lookup(reader, &i, sizeof i, &info), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(reader, NULL), KVLOG_OK);
}
END_TEST

/* Writers */

static uint32_t last_segment; /* published by this process */

/* The third rollover is not published. */
static int
end_at_rollover(const struct os_map *map, uint64_t off, uint64_t word)
{
	if (off == 8 * CONTROL_POSITION &&
	    control_pos_segment(word) == last_segment + 3)
		(void)kill(getpid(), SIGKILL);
	return os_real.store_word(map, off, word);
}

static void *
no_memory(size_t count, size_t size)
{
	(void)count;
	(void)size;
	return NULL;
}

/* A writer that is killed with a segment named, and the one that is told of it
 * has no memory to put it in order. */
START_TEST(a_death_is_not_forgotten_for_want_of_memory)
{
	static const uint8_t value[500];
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	pid_t pid;
	int status;

	(void)put(db, 0);
	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	pid = fork();
	if (pid == 0) {
		last_segment = stats.active_segment;
		table.store_word = end_at_rollover;
		db = open_store(KVLOG_DURABILITY_NONE, 0);
		for (unsigned i = 1; i < 100; i++)
			(void)put(db, i);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	table.calloc = no_memory;
	ck_assert_int_eq(kvlog_put(db, "x", 1, value, sizeof value, NULL, NULL),
	    KVLOG_NOMEM);
	table.calloc = os_real.calloc;
	for (unsigned i = 100; i < 200; i++)
		(void)put(db, i);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/* One with nothing to do leaves the work for all to the others; and what it
 * has prepared is not used when another one has put his in its place. */
START_TEST(an_idle_writer_lets_another_one_maintain)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	pid_t pid;
	int status;

	for (unsigned i = 0; i < 50; i++)
		(void)put(db, i);
	maintain(db);
	ck_assert_ptr_nonnull(db->store->log.spare);
	pid = fork();
	if (pid == 0) {
		db = open_store(KVLOG_DURABILITY_NONE, 0);
		db->store->log.spare_wanted = true;
		maintain(db);
		_exit(db->store->log.spare != NULL ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	for (unsigned i = 50; i < 100; i++)
		(void)put(db, i);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	db = open_reader();
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(kvlog_exists(db, &i, sizeof i), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_verify(path, NULL, NULL, NULL), KVLOG_OK);
}
END_TEST

/* Commits that another writer is syncing are not this handle's to wait for:
 * closing waited five seconds for one that was stopped, and failed. */
START_TEST(closing_leaves_to_others_what_they_wrote)
{
	struct kvlog *db = open_store(KVLOG_DURABILITY_NONE, 0);
	const unsigned key = 1;
	bool doubtful;
	int ready[2], status;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct kvlog *other = open_store(KVLOG_DURABILITY_NONE, 0);

		(void)put(other, key);
		if (control_take_sync(&other->store->control,
			os->ticks_ns() + 1000000000, &doubtful,
			NULL) != KVLOG_OK ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	ck_assert_int_eq(kvlog_exists(db, &key, sizeof key), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *tc = tcase_create("store");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, without_a_thread_the_caller_keeps_the_interval);
	tcase_add_test(
	    tc, without_a_thread_the_caller_makes_segments_and_hints);
	tcase_add_test(tc, hints_are_merged_before_there_are_many);
	tcase_add_test(tc, hints_are_merged_while_nobody_writes);
	tcase_add_test(tc, a_merge_that_takes_too_long_is_given_up);
	tcase_add_test(tc, a_merge_for_which_there_is_no_room_is_given_up);
	tcase_add_test(tc, a_merge_is_no_longer_than_there_is_time_for_it);
	tcase_add_test(tc, the_thread_wakes_to_merge_hints);
	tcase_add_test(tc, a_fast_writer_does_not_leave_its_segments_behind);
	tcase_add_test(tc, without_threads_the_caller_fills_the_index);
	tcase_add_test(tc, without_a_thread_each_caller_syncs_his_own_commit);
	tcase_add_test(tc, a_thread_that_can_be_had_later_takes_over);
	tcase_add_test(tc, commits_share_a_sync);
	tcase_add_test(tc, all_who_share_a_sync_hear_that_it_failed);
	tcase_add_test(tc, whoever_is_synced_does_not_wait_for_the_next_sync);
	tcase_add_test(tc, a_shorter_interval_of_another_handle_holds_at_once);
	suite_add_tcase(suite, tc);

	tc = tcase_create("readers");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_reader_sees_that_another_one_ended_a_compaction);
	tcase_add_test(tc, a_reader_takes_in_what_the_writer_has_merged);
	suite_add_tcase(suite, tc);

	tc = tcase_create("writers");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_death_is_not_forgotten_for_want_of_memory);
	tcase_add_test(tc, an_idle_writer_lets_another_one_maintain);
	tcase_add_test(tc, closing_leaves_to_others_what_they_wrote);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
