/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_engines.c - every engine of kvlog-bench that is built does what
 * engine.h says, and its durable writes sync.
 *
 * A peer whose adapter leaves something out would look faster than it is.
 */
#include "config.h"

#include "../../tools/bench/engine.h"
#include "test.h"
#include "tmpdir.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>

#define COUNT 300
#define KEY_LEN 16
#define VALUE_LEN 100
#define THREADS 2

static const struct engine *engine;
static char *dir;
static void *db;

#ifdef __linux__
/* Calls of the libraries come here. */
static atomic_int sync_count;

int
fsync(int fd)
{
	sync_count++;
	return (int)syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
	sync_count++;
	return (int)syscall(SYS_fdatasync, fd);
}

int
msync(void *mem, size_t len, int flags)
{
	if ((flags & MS_SYNC) != 0)
		sync_count++;
	return (int)syscall(SYS_msync, mem, len, flags);
}
#endif

/* Records have even numbers, so that there are absent keys between them. */
static const char *
key_of(unsigned number)
{
	static _Thread_local char keys[64][KEY_LEN + 1];
	static _Thread_local unsigned next;
	char *key = keys[next++ % 64];

	snprintf(key, KEY_LEN + 1, "key%013u", number);
	return key;
}

static const char *
value_of(unsigned number, unsigned generation)
{
	static _Thread_local char value[VALUE_LEN + 1];

	snprintf(value, sizeof value, "%050u%050u", number, generation);
	return value;
}

static void
open_db(enum engine_access access, enum engine_mode mode)
{
	const struct engine_config config = {
	    .mode = mode,
	    .access = access,
	    .key_count = COUNT,
	    .key_len = KEY_LEN,
	    .value_len = VALUE_LEN,
	};

	db = engine->open(engine, dir, &config);
	ck_assert_msg(
	    db != NULL, "%s: open: %s", engine->name, engine_failure());
}

static void
is(enum engine_result got, enum engine_result want, const char *what)
{
	ck_assert_msg(got == want, "%s: %s: %d, not %d (%s)", engine->name,
	    what, got, want, got == ENGINE_FAILED ? engine_failure() : "");
}

static void
close_db(void)
{
	is(engine->close(db), ENGINE_OK, "close");
	db = NULL;
}

static void
put(unsigned number, unsigned generation)
{
	is(engine->put(db, key_of(number), KEY_LEN,
	       value_of(number, generation), VALUE_LEN),
	    ENGINE_OK, "put");
}

static void
fill(unsigned first, unsigned end, unsigned step, unsigned generation)
{
	for (unsigned i = first; i < end; i += step)
		put(2 * i, generation);
}

static void
has(unsigned number, unsigned generation)
{
	char buf[VALUE_LEN];
	size_t len = 0;

	is(engine->get(db, key_of(number), KEY_LEN, buf, sizeof buf, &len),
	    ENGINE_OK, "get");
	ck_assert_uint_eq(len, VALUE_LEN);
	ck_assert_mem_eq(buf, value_of(number, generation), VALUE_LEN);
}

static void
lacks(unsigned number)
{
	size_t len = 12345;
	char buf[VALUE_LEN];

	is(engine->get(db, key_of(number), KEY_LEN, buf, sizeof buf, &len),
	    ENGINE_ABSENT, "get of an absent key");
	ck_assert_uint_eq(len, 12345);
}

static void
holds_all(unsigned generation)
{
	uint64_t count = COUNT;

	for (unsigned i = 0; i < COUNT; i++) {
		has(2 * i, generation);
		lacks(2 * i + 1);
	}
	if (engine->count != NULL)
		is(engine->count(db, &count), ENGINE_OK, "count");
	ck_assert_uint_eq(count, COUNT);
}

static void
setup(void)
{
	dir = tmpdir_create();
}

static void
teardown(void)
{
	tmpdir_remove(dir);
}

/* What use() is to be given, and how much of it has come. */
struct expectation {
	const char *const *keys; /* of get_many: in any order */
	unsigned number;         /* of the first record */
	unsigned count;
	unsigned most; /* then false */
};

static bool
expect_record(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct expectation *expect = arg;
	unsigned number = expect->number + 2 * expect->count++;

	ck_assert_uint_eq(key_len, KEY_LEN);
	ck_assert_mem_eq(key, key_of(number), KEY_LEN);
	ck_assert_uint_eq(value_len, VALUE_LEN);
	ck_assert_mem_eq(value, value_of(number, 0), VALUE_LEN);
	return expect->count < expect->most;
}

/* Every other key is there. */
static bool
expect_one_of(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct expectation *expect = arg;
	unsigned i;

	for (i = 0; i < COUNT && expect->keys[i] != key; i++)
		;
	ck_assert_msg(i < COUNT, "%s: a key of another place", engine->name);
	ck_assert_uint_eq(i % 2, 0);
	ck_assert_uint_eq(key_len, KEY_LEN);
	ck_assert_uint_eq(value_len, VALUE_LEN);
	ck_assert_mem_eq(value, value_of(2 * i, 0), VALUE_LEN);
	expect->count++;
	return true;
}

START_TEST(puts_gets_and_deletes)
{
	enum engine_result result;
	uint64_t count = 0;

	engine = engine_table[_i];
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	lacks(0);
	fill(0, COUNT, 1, 0);
	holds_all(0);
	fill(0, COUNT, 1, 1);
	holds_all(1);
	for (unsigned i = 0; i < COUNT; i++)
		is(engine->delete (db, key_of(2 * i), KEY_LEN), ENGINE_OK,
		    "delete");
	for (unsigned i = 0; i < COUNT; i++)
		lacks(2 * i);
	if (engine->count != NULL)
		is(engine->count(db, &count), ENGINE_OK, "count");
	ck_assert_uint_eq(count, 0);
	result = engine->delete (db, key_of(0), KEY_LEN);
	is(result, engine->blind_deletes ? ENGINE_OK : ENGINE_ABSENT,
	    "delete of an absent key");
	is(engine->sync(db), ENGINE_OK, "sync");
	close_db();
}
END_TEST

START_TEST(batches_are_stored)
{
	static struct engine_pair pairs[COUNT + 1];
	static char keys[COUNT + 1][KEY_LEN], values[COUNT + 1][VALUE_LEN];

	engine = engine_table[_i];
	if (engine->put_batch == NULL)
		return;
	/* Of two puts of a key the last one counts. */
	for (unsigned i = 0; i <= COUNT; i++) {
		unsigned number = i == 0 ? 0 : 2 * (i - 1);

		memcpy(keys[i], key_of(number), KEY_LEN);
		memcpy(values[i], value_of(number, i > 0), VALUE_LEN);
		pairs[i] = (struct engine_pair){
		    keys[i], values[i], KEY_LEN, VALUE_LEN};
	}
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	fill(0, COUNT, 3, 5);
	is(engine->put_batch(db, pairs, COUNT + 1), ENGINE_OK, "put_batch");
	holds_all(1);
	close_db();
	open_db(ENGINE_READ, ENGINE_ASYNC);
	holds_all(1);
	close_db();
}
END_TEST

START_TEST(many_keys_are_looked_up_at_once)
{
	static char space[COUNT][KEY_LEN];
	const char *keys[COUNT];
	struct expectation expect = {.keys = keys};

	engine = engine_table[_i];
	if (engine->get_many == NULL)
		return;
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	fill(0, COUNT, 2, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		memcpy(space[i], key_of(2 * i), KEY_LEN);
		keys[i] = space[i];
	}
	is(engine->get_many(db, (const void *const *)keys, KEY_LEN, COUNT,
	       expect_one_of, &expect),
	    ENGINE_OK, "get_many");
	ck_assert_uint_eq(expect.count, COUNT / 2);
	close_db();
}
END_TEST

START_TEST(values_are_seen_in_place)
{
	engine = engine_table[_i];
	if (engine->get_view == NULL)
		return;
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	fill(0, COUNT, 1, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		struct expectation expect = {.number = 2 * i};

		is(engine->get_view(
		       db, key_of(2 * i), KEY_LEN, expect_record, &expect),
		    ENGINE_OK, "get_view");
		ck_assert_uint_eq(expect.count, 1);
		is(engine->get_view(
		       db, key_of(2 * i + 1), KEY_LEN, expect_record, &expect),
		    ENGINE_ABSENT, "get_view of an absent key");
		ck_assert_uint_eq(expect.count, 1);
	}
	close_db();
}
END_TEST

static void
scan(const char *from, struct expectation expect, unsigned want)
{
	is(engine->scan(
	       db, from, from == NULL ? 0 : KEY_LEN, expect_record, &expect),
	    ENGINE_OK, "scan");
	ck_assert_uint_eq(expect.count, want);
}

START_TEST(scans_are_in_order)
{
	engine = engine_table[_i];
	if (engine->scan == NULL)
		return;
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	scan(NULL, (struct expectation){.most = COUNT + 1}, 0);
	/* In an order of their own. */
	for (unsigned i = 0; i < COUNT; i++)
		put(2 * (i * 7 % COUNT), 0);
	scan(NULL, (struct expectation){.most = COUNT + 1}, COUNT);
	scan(NULL, (struct expectation){.most = 3}, 3);
	scan(key_of(200), (struct expectation){.number = 200, .most = COUNT},
	    COUNT - 100);
	scan(key_of(201), (struct expectation){.number = 202, .most = 5}, 5);
	scan(key_of(2 * COUNT - 1), (struct expectation){.most = 5}, 0);
	/* What was written since the last one is seen. */
	put(2 * COUNT, 0);
	scan(key_of(2 * COUNT - 1),
	    (struct expectation){.number = 2 * COUNT, .most = 5}, 1);
	close_db();
}
END_TEST

START_TEST(records_outlive_the_handle)
{
	engine = engine_table[_i];
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	fill(0, COUNT, 1, 0);
	close_db();
	open_db(ENGINE_READ, ENGINE_ASYNC);
	holds_all(0);
	close_db();
	open_db(ENGINE_WRITE, ENGINE_ASYNC);
	fill(0, COUNT, 1, 1);
	close_db();
	open_db(ENGINE_WRITE, ENGINE_SYNC);
	holds_all(1);
	put(0, 1);
	holds_all(1);
	close_db();
}
END_TEST

START_TEST(puts_outlive_a_killed_process)
{
	int status;
	pid_t pid;

	engine = engine_table[_i];
	pid = fork();
	if (pid == 0) {
		open_db(ENGINE_CREATE, ENGINE_ASYNC);
		fill(0, COUNT, 1, 0);
		raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	open_db(ENGINE_WRITE, ENGINE_ASYNC);
	holds_all(0);
	close_db();
}
END_TEST

static void *
fill_and_read(void *arg)
{
	unsigned number = *(unsigned *)arg;

	fill(number, COUNT, THREADS, 0);
	for (unsigned i = number; i < COUNT; i += THREADS)
		has(2 * i, 0);
	if (engine->leave != NULL)
		engine->leave(db);
	return NULL;
}

START_TEST(threads_share_a_handle)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];

	engine = engine_table[_i];
	open_db(ENGINE_CREATE, ENGINE_ASYNC);
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     fill_and_read, &numbers[i]),
		    0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	holds_all(0);
	close_db();
}
END_TEST

START_TEST(durable_writes_sync)
{
#ifdef __linux__
	engine = engine_table[_i];
	open_db(ENGINE_CREATE, ENGINE_SYNC);
	for (unsigned i = 0; i < 4; i++) {
		const struct engine_pair pair = {
		    key_of(i), value_of(i, 0), KEY_LEN, VALUE_LEN};

		sync_count = 0;
		put(i, 0);
		ck_assert_msg(sync_count > 0, "%s: put", engine->name);
		sync_count = 0;
		is(engine->delete (db, key_of(i), KEY_LEN), ENGINE_OK,
		    "delete");
		ck_assert_msg(sync_count > 0, "%s: delete", engine->name);
		if (engine->put_batch == NULL)
			continue;
		sync_count = 0;
		is(engine->put_batch(db, &pair, 1), ENGINE_OK, "put_batch");
		ck_assert_msg(sync_count > 0, "%s: put_batch", engine->name);
	}
	close_db();
	open_db(ENGINE_WRITE, ENGINE_ASYNC);
	put(0, 0);
	sync_count = 0;
	is(engine->sync(db), ENGINE_OK, "sync");
	ck_assert_msg(sync_count > 0, "%s: sync", engine->name);
	close_db();
#endif
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("engines");
	TCase *tcase = tcase_create("each");
	int first, end;

	/* The first one does nothing. */
	for (first = 0; engine_table[first]->kind == ENGINE_NULL; first++)
		;
	for (end = first; engine_table[end] != NULL; end++)
		;
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, puts_gets_and_deletes, first, end);
	tcase_add_loop_test(tcase, batches_are_stored, first, end);
	tcase_add_loop_test(tcase, many_keys_are_looked_up_at_once, first, end);
	tcase_add_loop_test(tcase, values_are_seen_in_place, first, end);
	tcase_add_loop_test(tcase, scans_are_in_order, first, end);
	tcase_add_loop_test(tcase, records_outlive_the_handle, first, end);
	tcase_add_loop_test(tcase, puts_outlive_a_killed_process, first, end);
	tcase_add_loop_test(tcase, threads_share_a_handle, first, end);
	tcase_add_loop_test(tcase, durable_writes_sync, first, end);
	suite_add_tcase(suite, tcase);
	return test_main(suite);
}
