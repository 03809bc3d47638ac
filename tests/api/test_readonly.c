/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_readonly.c - handles that only read: what they refuse, what they see
 * beside writers, and that they change nothing.
 */
#include "config.h"

#include "api.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(a_reader_refuses_to_write)
{
	struct kvlog_op op = {
	    KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "k", 1, "v", 1, 0, NULL};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	api_put(db, "a", "1");
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	how.err = &err;
	ck_assert_int_eq(
	    kvlog_put(db, "k", 1, "v", 1, &how, NULL), KVLOG_READONLY);
	ck_assert_int_eq(err.status, KVLOG_READONLY);
	ck_assert_int_eq(kvlog_delete(db, "a", 1, NULL, NULL), KVLOG_READONLY);
	ck_assert_int_eq(
	    kvlog_apply(db, &op, 1, NULL, NULL, NULL), KVLOG_READONLY);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_READONLY);
	ck_assert_int_eq(kvlog_maintain(db, 0, NULL), KVLOG_READONLY);
	api_expect(db, "a", "1");
	api_expect(db, "k", NULL);
	ck_assert_uint_eq(kvlog_last_seq(db), 1);
	ck_assert_uint_eq(kvlog_durable_seq(db), 1);
	ck_assert_int_eq(kvlog_wait_durable(db, 1, 0), KVLOG_OK);
	ck_assert_int_eq(kvlog_wait_durable(db, 2, 0), KVLOG_INVAL);
	api_close(db);
}
END_TEST

/* What round i of the writer leaves behind: it puts the same keys anew, and one
 * more, and deletes that of the round before the last. */
static void
write_round(struct kvlog *writer, unsigned i)
{
	char key[16], value[64];

	for (unsigned k = 0; k < 30; k++) {
		(void)snprintf(key, sizeof key, "k%u", k);
		(void)snprintf(value, sizeof value,
		    "round %u of a value with some length", i);
		api_put(writer, key, value);
	}
	(void)snprintf(key, sizeof key, "only%u", i);
	api_put(writer, key, "");
	if (i >= 2) {
		(void)snprintf(key, sizeof key, "only%u", i - 2);
		api_delete(writer, key);
	}
}

static void
expect_round(struct kvlog *reader, unsigned i)
{
	char key[16], value[64];

	(void)snprintf(
	    value, sizeof value, "round %u of a value with some length", i);
	api_expect(reader, "k7", value);
	(void)snprintf(key, sizeof key, "only%u", i);
	api_expect(reader, key, "");
	(void)snprintf(key, sizeof key, "only%u", i + 1);
	api_expect(reader, key, NULL);
	if (i >= 2) {
		(void)snprintf(key, sizeof key, "only%u", i - 2);
		api_expect(reader, key, NULL);
		ck_assert_uint_eq(api_count(reader), 32);
		ck_assert_uint_eq(kvlog_last_seq(reader), 62 + 32 * (i - 1));
	}
	api_keys(reader, "k29", value, sizeof value);
	ck_assert_str_eq(value, "k29 ");
}

#define READERS 40u

/* Read-only handles show what is published, whenever they were opened and
 * however long they were not used. */
START_TEST(readers_follow_a_writer)
{
	struct kvlog *readers[READERS];
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_stats stats;

	for (unsigned i = 0; i < READERS; i++) {
		write_round(writer, i);
		readers[i] = api_open(api_store, KVLOG_OPEN_READONLY);
		expect_round(readers[i], i);
		expect_round(readers[0], i);     /* in each round */
		expect_round(readers[i / 2], i); /* after i / 2 rounds */
	}
	for (unsigned i = 0; i < READERS; i++) {
		expect_round(readers[i], READERS - 1);
		stats = api_stats(readers[i]);
		ck_assert_uint_eq(
		    stats.recovery & ~(unsigned)KVLOG_RECOVERY_SCANNED, 0);
		ck_assert_uint_eq(
		    stats.active_segment, api_stats(writer).active_segment);
	}
	ck_assert_uint_gt(stats.active_segment, 5);
	api_close(writer);
	for (unsigned i = 0; i < READERS; i++) {
		expect_round(readers[i], READERS - 1);
		api_close(readers[i]);
	}
}
END_TEST

/* Also the next writer, and the one after it that could not close. */
START_TEST(readers_follow_one_writer_after_the_other)
{
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE), *reader;

	write_round(writer, 0);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	api_close(writer);
	for (unsigned i = 1; i < 9; i++) {
		if (i % 3 == 1) {
			pid_t pid = fork();
			int status;

			ck_assert_int_ne(pid, -1);
			if (pid == 0) {
				write_round(api_open(api_store, 0), i);
				_exit(0); /* without a close */
			}
			ck_assert_int_eq(waitpid(pid, &status, 0), pid);
			ck_assert_int_eq(status, 0);
		} else {
			writer = api_open(api_store, 0);
			write_round(writer, i);
			api_close(writer);
		}
		if (i % 2 == 0) /* else when the next one has been at it */
			expect_round(reader, i);
	}
	api_close(reader);
}
END_TEST

static void
compact(void)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err;

	o.flags = KVLOG_COMPACT_ALL;
	o.timeout_ms = 0;
	ck_assert_msg(
	    kvlog_compact_offline(api_store, &o, &report, &err) == KVLOG_OK,
	    "%s", err.text);
	ck_assert_uint_gt(report.run_count, 0);
}

/* Of files that are gone nothing is missed, by those that had them mapped and
 * by those that had not; nor if several compactions were slept through. */
START_TEST(readers_follow_compaction)
{
	struct kvlog *readers[4], *writer;
	unsigned round = 0;

	writer = api_open(api_store, KVLOG_OPEN_CREATE);
	write_round(writer, round);
	for (unsigned i = 0; i < 4; i++)
		readers[i] = api_open(api_store, KVLOG_OPEN_READONLY);
	api_close(writer);
	for (unsigned i = 0; i < 12; i++) {
		writer = api_open(api_store, 0);
		for (unsigned n = 0; n < 5; n++)
			write_round(writer, ++round);
		if (i % 2 == 0) /* it has seen the segments to be compacted */
			expect_round(readers[0], round);
		api_close(writer);
		compact();
		expect_round(readers[0], round);
		if (i % 4 == 3)
			expect_round(readers[1], round);
		/* Another one reads when more has been written since. */
		writer = api_open(api_store, 0);
		write_round(writer, ++round);
		expect_round(readers[2], round);
		api_close(writer);
	}
	expect_round(readers[3], round); /* has never looked */
	for (unsigned i = 0; i < 4; i++)
		api_close(readers[i]);
}
END_TEST

/* A walk shows what was there when it began, whatever becomes of the files. */
START_TEST(a_walk_of_a_reader_stays_as_it_began)
{
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE), *reader;
	struct kvlog_iter *iter = NULL;
	unsigned count = 0;

	write_round(writer, 0);
	write_round(writer, 1);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(kvlog_iter_create(reader, "", 0, &iter), KVLOG_OK);
	for (unsigned i = 2; i < 30; i++)
		write_round(writer, i);
	api_close(writer);
	expect_round(reader, 29);
	compact();
	expect_round(reader, 29);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		size_t len;
		const char *at = kvlog_iter_key(iter, &len);

		if (len == 5 && memcmp(at, "only", 4) == 0) {
			ck_assert(at[4] == '0' || at[4] == '1');
		} else {
			at = kvlog_iter_value(iter, &len);
			ck_assert_mem_eq(at, "round 1 of", 10);
		}
		count++;
	}
	ck_assert_uint_eq(count, 32);
	kvlog_iter_destroy(iter);
	api_close(reader);
}
END_TEST

/* A process that only reads is not waited for, and may sleep for as long as it
 * likes: stopped while the segments it knows are replaced, it wakes up to what
 * is there now. */
START_TEST(a_stopped_reader_keeps_nobody_waiting)
{
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE);
	int up[2], down[2], status;
	unsigned round = 0;
	char byte;
	pid_t pid;

	write_round(writer, 0);
	ck_assert_int_eq(pipe(up), 0);
	ck_assert_int_eq(pipe(down), 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct kvlog *reader = api_open(api_store, KVLOG_OPEN_READONLY);

		(void)close(down[1]);
		expect_round(reader, 0);
		if (write(up[1], "x", 1) != 1)
			_exit(1);
		/* Reads all the time, and is stopped at some point of it. */
		while (poll(&(struct pollfd){.fd = down[0], .events = POLLIN},
			   1, 0) == 0)
			ck_assert_int_eq(
			    kvlog_exists(reader, "k7", 2), KVLOG_OK);
		expect_round(reader, 60);
		api_close(reader);
		_exit(0);
	}
	(void)close(down[0]);
	ck_assert_int_eq(read(up[0], &byte, 1), 1);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	while (round < 60) {
		for (unsigned i = 0; i < 20; i++)
			write_round(writer, ++round);
		api_close(writer);
		compact();
		writer = api_open(api_store, 0);
	}
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	(void)close(down[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	api_close(writer);
	(void)close(up[0]);
	(void)close(up[1]);
}
END_TEST

START_TEST(a_reader_sees_what_is_not_durable)
{
	struct kvlog *writer = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader;
	uint64_t seq = api_put(writer, "a", "1").seq;

	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(reader, "a", "1");
	ck_assert_uint_eq(kvlog_last_seq(reader), seq);
	ck_assert_uint_lt(kvlog_durable_seq(reader), seq);
	ck_assert_int_eq(kvlog_wait_durable(reader, seq, 0), KVLOG_TIMEOUT);
	ck_assert_int_eq(kvlog_sync(writer), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(reader), seq);
	ck_assert_int_eq(kvlog_wait_durable(reader, seq, 0), KVLOG_OK);
	api_close(reader);
	api_close(writer);
}
END_TEST

/* Neither bytes nor names nor times: not even of the lock file. */
START_TEST(a_reader_changes_nothing)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct tree before, after;

	for (int i = 0; i < 300; i++)
		api_put(db, i % 2 ? "a" : "b", "fill the segments with this");
	api_close(db);
	for (int turn = 0; turn < 3; turn++) {
		tree_read(api_store, &before);
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		api_expect(db, "a", "fill the segments with this");
		api_close(db);
		tree_read(api_store, &after);
		ck_assert_uint_eq(before.count, after.count);
		for (size_t i = 0; i < before.count; i++) {
			ck_assert_str_eq(
			    before.files[i].name, after.files[i].name);
			ck_assert_uint_eq(
			    before.files[i].len, after.files[i].len);
			ck_assert_mem_eq(before.files[i].bytes,
			    after.files[i].bytes, before.files[i].len);
		}
		tree_fini(&before);
		tree_fini(&after);
		/* Next without hints, then without the lock file. */
		if (turn == 0) {
			ck_assert_uint_gt(files_remove_hints(api_store), 0);
		} else if (turn == 1) {
			char *path = files_path(api_store, "kvlog.lock");

			(void)unlink(path);
			free(path);
		}
	}
}
END_TEST

START_TEST(a_reader_may_leave_checksums_out)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_receipt r = api_put(db, "key", "value");
	char *path = files_path(api_store, "00000001.seg");
	char buf[8];
	size_t len;

	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY | KVLOG_OPEN_NOVERIFY);
	files_flip(path, (size_t)r.offset + 28 + 3, 0);
	ck_assert_int_eq(kvlog_get(db, "key", 3, buf, 8, &len), KVLOG_OK);
	ck_assert_mem_eq(buf, "walue", 5);
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(kvlog_get(db, "key", 3, buf, 8, &len), KVLOG_CORRUPT);
	api_close(db);
	free(path);
}
END_TEST

/* In files that nobody may write to.  (The superuser may; then this tells
 * little.) */
START_TEST(a_reader_needs_no_permission_to_write)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct tree tree;

	api_put(db, "a", "1");
	api_close(db);
	tree_read(api_store, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);

		ck_assert_int_eq(chmod(path, 0444), 0);
		free(path);
	}
	ck_assert_int_eq(chmod(api_store, 0555), 0);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "a", "1");
	api_close(db);
	ck_assert_int_eq(chmod(api_store, 0777), 0);
	tree_fini(&tree);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("readonly");
	TCase *tc = api_case(suite, "readonly");

	tcase_add_test(tc, a_reader_refuses_to_write);
	tcase_add_test(tc, readers_follow_a_writer);
	tcase_add_test(tc, readers_follow_one_writer_after_the_other);
	tcase_add_test(tc, readers_follow_compaction);
	tcase_add_test(tc, a_walk_of_a_reader_stays_as_it_began);
	tcase_add_test(tc, a_stopped_reader_keeps_nobody_waiting);
	tcase_add_test(tc, a_reader_sees_what_is_not_durable);
	tcase_add_test(tc, a_reader_changes_nothing);
	tcase_add_test(tc, a_reader_may_leave_checksums_out);
	tcase_add_test(tc, a_reader_needs_no_permission_to_write);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
