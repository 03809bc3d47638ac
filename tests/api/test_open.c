/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_open.c - making, opening and closing stores; writers that share one, and
 * those that wait for others.
 */
#include "config.h"

#include "api.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static enum kvlog_status
open_status(
    const char *path, const struct kvlog_options *o, struct kvlog_error *err)
{
	struct kvlog *const before = (struct kvlog *)(void *)&errno;
	struct kvlog *db = before;
	enum kvlog_status st;

	memset(err, 0, sizeof *err);
	st = kvlog_open(path, o, &db, err);
	if (st == KVLOG_OK) {
		api_close(db);
		return st;
	}
	/* The handle is untouched; the detail says what, in one line. */
	ck_assert_ptr_eq(db, before);
	ck_assert_int_eq(err->status, st);
	ck_assert_uint_gt(strlen(err->text), 10);
	ck_assert_ptr_null(strchr(err->text, '\n'));
	ck_assert_int_eq(kvlog_open(path, o, &db, NULL), st);
	return st;
}

static enum kvlog_status
open_with(unsigned flags)
{
	struct kvlog_options o = api_options(flags);
	struct kvlog_error err;

	return open_status(api_store, &o, &err);
}

START_TEST(creates_only_when_told)
{
	ck_assert_int_eq(open_with(0), KVLOG_NOSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_NOSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_EXCLUSIVE), KVLOG_INVAL);
	ck_assert(!files_exist(api_store));
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	ck_assert_int_eq(open_with(0), KVLOG_OK);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_OK);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE),
	    KVLOG_CONFLICT);
}
END_TEST

START_TEST(the_defaults_are_those_of_the_macro)
{
	const struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db;

	ck_assert_uint_eq(o.size, sizeof o);
	ck_assert_uint_eq(o.flags, 0);
	ck_assert_int_eq(o.durability, KVLOG_DURABILITY_COMMIT);
	ck_assert_uint_eq(o.interval_ms, 100);
	ck_assert_uint_eq(o.timeout_ms, 5000);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	ck_assert_int_eq(kvlog_open(api_store, NULL, &db, NULL), KVLOG_OK);
	/* Durable when the call returns. */
	ck_assert_uint_eq(api_put(db, "a", "1").seq, kvlog_durable_seq(db));
	api_close(db);
}
END_TEST

START_TEST(fills_an_empty_directory)
{
	ck_assert_int_eq(mkdir(api_store, 0777), 0);
	ck_assert_int_eq(open_with(0), KVLOG_NOSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_NOSTORE);
	ck_assert_int_eq(
	    open_with(KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE), KVLOG_OK);
	ck_assert_int_eq(open_with(0), KVLOG_OK);
}
END_TEST

/* A4: nothing that is not a store is ever made into one. */
START_TEST(leaves_other_things_alone)
{
	char *inside;

	files_write(api_store, "hello", 5);
	ck_assert_int_eq(open_with(0), KVLOG_NOTSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_NOTSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_NOTSTORE);
	ck_assert_uint_eq(files_len(api_store), 5);

	ck_assert_int_eq(unlink(api_store), 0);
	ck_assert_int_eq(mkdir(api_store, 0777), 0);
	inside = files_path(api_store, "letter.txt");
	files_write(inside, "hello", 5);
	ck_assert_int_eq(open_with(0), KVLOG_NOTSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_NOTSTORE);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_NOTSTORE);
	ck_assert_uint_eq(files_len(inside), 5);
	free(inside);
	inside = files_path(api_store, "kvlog.lock");
	ck_assert(!files_exist(inside));
	free(inside);
}
END_TEST

START_TEST(does_not_start_anew_where_segments_were)
{
	struct kvlog_error err;
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	char *segment, *note;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	api_put(db, "a", "1");
	api_close(db);
	segment = files_path(api_store, "00000001.seg");
	ck_assert_int_eq(unlink(segment), 0);
	free(segment);
	note = files_path(api_store, "reserve");
	(void)unlink(note);
	free(note);
	ck_assert_int_eq(open_status(api_store, &o, &err), KVLOG_CORRUPT);
	ck_assert_int_eq(open_with(0), KVLOG_CORRUPT);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_CORRUPT);
}
END_TEST

/* A creation that was cut off leaves a blank lock file and perhaps a file
 * that does not count. */
START_TEST(finishes_a_creation_that_was_cut_off)
{
	static const uint8_t zeros[8192];
	char *path;

	ck_assert_int_eq(mkdir(api_store, 0777), 0);
	path = files_path(api_store, "kvlog.lock");
	files_write(path, zeros, sizeof zeros);
	free(path);
	path = files_path(api_store, "segment.tmp");
	files_write(path, "half", 4);
	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	ck_assert_int_eq(open_with(0), KVLOG_OK);
	ck_assert(!files_exist(path));
	free(path);
}
END_TEST

START_TEST(the_parent_must_exist)
{
	char *path = files_path(api_store, "child");
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog_error err;

	ck_assert_int_eq(open_status(path, &o, &err), KVLOG_IO);
	ck_assert_int_eq(err.sys_errno, ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	free(path);
}
END_TEST

START_TEST(refuses_options_out_of_range)
{
	const struct kvlog_options good = api_options(KVLOG_OPEN_CREATE);
	struct kvlog_options o;
	struct kvlog_error err;

#define TRY(change)                                                            \
	do {                                                                   \
		o = good;                                                      \
		change;                                                        \
		ck_assert_int_eq(                                              \
		    open_status(api_store, &o, &err), KVLOG_INVAL);            \
	} while (0)
	TRY(o.size--);
	TRY(o.size = 0);
	TRY(o.flags |= 0x100);
	TRY(o.flags |= 0x80000000u);
	TRY(o.flags |= KVLOG_OPEN_READONLY);
	TRY(o.durability = KVLOG_DURABILITY_DEFAULT);
	TRY(o.durability = (enum kvlog_durability)4);
	TRY(o.durability = KVLOG_DURABILITY_INTERVAL; o.interval_ms = 0);
	TRY(o.segment_size = KVLOG_SEGMENT_SIZE_MIN - 1);
	TRY(o.segment_size = 1);
	TRY(o.index_mode = (enum kvlog_index_mode)77);
	TRY(o.segment_size = KVLOG_SEGMENT_SIZE_MAX + 1);
#undef TRY
	ck_assert_int_eq(open_status("", &good, &err), KVLOG_INVAL);
	ck_assert_int_eq(open_status(NULL, &good, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_open(api_store, &good, NULL, NULL), KVLOG_INVAL);
	ck_assert(!files_exist(api_store));
	ck_assert_int_eq(open_status(api_store, &good, &err), KVLOG_OK);
}
END_TEST

START_TEST(files_get_the_mode_less_the_umask)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	mode_t saved = umask(022);
	struct tree tree;
	struct stat st;

	o.mode = 0640;
	api_close(api_open_with(api_store, &o));
	tree_read(api_store, &tree);
	ck_assert_uint_gt(tree.count, 1);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);

		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 0777, 0640);
		free(path);
	}
	tree_fini(&tree);
	/* Who may read the files may enter the directory. */
	ck_assert_int_eq(stat(api_store, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0750);
	(void)umask(saved);
}
END_TEST

START_TEST(the_mode_is_0666_less_the_umask_by_default)
{
	mode_t saved = umask(027);
	char *path = files_path(api_store, "00000001.seg");
	struct stat st;

	api_close(api_open(api_store, KVLOG_OPEN_CREATE));
	(void)umask(saved);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	ck_assert_int_eq(stat(api_store, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0750);
	free(path);
}
END_TEST

START_TEST(the_segment_size_is_kept_with_the_store)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog *db;

	o.segment_size = 65536 + 77;
	db = api_open_with(api_store, &o);
	ck_assert_uint_eq(api_stats(db).segment_size, 65536);
	api_close(db);
	o.segment_size = 0;
	o.flags = 0;
	db = api_open_with(api_store, &o);
	ck_assert_uint_eq(api_stats(db).segment_size, 65536);
	api_close(db);
	o.flags = KVLOG_OPEN_READONLY;
	db = api_open_with(api_store, &o);
	ck_assert_uint_eq(api_stats(db).segment_size, 65536);
	api_close(db);
	/* Unless another is asked for. */
	o.flags = 0;
	o.segment_size = 32768;
	db = api_open_with(api_store, &o);
	ck_assert_uint_eq(api_stats(db).segment_size, 32768);
	api_close(db);
}
END_TEST

START_TEST(every_store_has_a_uuid_of_its_own_and_keeps_it)
{
	struct kvlog_stats one, again, other;
	char *path = files_path(api_base, "other");
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	one = api_stats(db);
	api_close(db);
	db = api_open(api_store, 0);
	again = api_stats(db);
	api_close(db);
	db = api_open(path, KVLOG_OPEN_CREATE);
	other = api_stats(db);
	api_close(db);
	ck_assert_mem_eq(one.uuid, again.uuid, 16);
	ck_assert_mem_ne(one.uuid, other.uuid, 16);
	free(path);
}
END_TEST

/* Neither descriptors nor files are left behind, whatever the result. */
START_TEST(nothing_leaks)
{
	size_t before;

	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	before = files_fd_count();
	for (int i = 0; i < 20; i++) {
		struct kvlog *db = api_open(api_store, 0);
		char key[32];

		for (int k = 0; k < 100; k++) {
			(void)snprintf(key, sizeof key, "%d-%d", i, k);
			api_put(db, key, "some value of some length, not long");
		}
		ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_OK);
		ck_assert_int_eq(open_with(0), KVLOG_OK);
		ck_assert_int_eq(open_with(KVLOG_OPEN_UNSHARED), KVLOG_BUSY);
		ck_assert_int_eq(
		    open_with(KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE),
		    KVLOG_CONFLICT);
		api_close(db);
	}
	ck_assert_uint_eq(files_fd_count(), before);
}
END_TEST

START_TEST(close_takes_null)
{
	struct kvlog_error err = {.status = KVLOG_IO};

	ck_assert_int_eq(kvlog_close(NULL, &err), KVLOG_OK);
	ck_assert_int_eq(err.status, KVLOG_IO); /* untouched */
}
END_TEST

START_TEST(err_is_untouched_on_success)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog_error err, copy;
	struct kvlog *db;

	memset(&err, 0x5a, sizeof err);
	copy = err;
	ck_assert_int_eq(kvlog_open(api_store, &o, &db, &err), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_OK);
	ck_assert_mem_eq(&err, &copy, sizeof err);
}
END_TEST

/* Writers that share, and those that do not */

/* A child that holds the store for writing until its pipe is closed, and
 * reports when it has it. */
struct holder {
	pid_t pid;
	int from, to;
};

static struct holder
hold(unsigned flags)
{
	struct holder h;
	int up[2], down[2];
	char byte;

	ck_assert_int_eq(pipe(up), 0);
	ck_assert_int_eq(pipe(down), 0);
	h.pid = fork();
	ck_assert_int_ne(h.pid, -1);
	if (h.pid == 0) {
		struct kvlog_options o = api_options(flags);
		struct kvlog *db = NULL;

		(void)close(up[0]);
		(void)close(down[1]);
		if (kvlog_open(api_store, &o, &db, NULL) != KVLOG_OK)
			_exit(1);
		if (write(up[1], "x", 1) != 1 || read(down[0], &byte, 1) == -1)
			_exit(1);
		_exit(kvlog_close(db, NULL) == KVLOG_OK ? 0 : 1);
	}
	(void)close(up[1]);
	(void)close(down[0]);
	h.from = up[0];
	h.to = down[1];
	ck_assert_int_eq(read(h.from, &byte, 1), 1);
	return h;
}

static void
release(struct holder *h)
{
	int status;

	(void)close(h->to);
	ck_assert_int_eq(waitpid(h->pid, &status, 0), h->pid);
	ck_assert_int_eq(status, 0);
	(void)close(h->from);
}

static double
seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One that does not share, and one who wants to write beside it; or the other
 * way round: _i. */
START_TEST(who_cannot_share_is_told_who_holds_it)
{
	struct kvlog_options o = api_options(_i == 0 ? 0 : KVLOG_OPEN_UNSHARED);
	struct kvlog_error err;
	struct holder h;
	char pid[32];
	double start;

	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	h = hold(_i == 0 ? KVLOG_OPEN_UNSHARED : 0);
	start = seconds();
	ck_assert_int_eq(open_status(api_store, &o, &err), KVLOG_BUSY);
	ck_assert(seconds() - start < 4.5); /* 0: does not wait */
	(void)snprintf(pid, sizeof pid, "process %d ", (int)h.pid);
	ck_assert_msg(strstr(err.text, pid) != NULL, "%s", err.text);

	o.timeout_ms = 300;
	start = seconds();
	ck_assert_int_eq(open_status(api_store, &o, &err), KVLOG_BUSY);
	ck_assert(seconds() - start >= 0.59); /* it tries twice */

	/* Readers do not care. */
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_OK);
	release(&h);
	ck_assert_int_eq(open_with(0), KVLOG_OK);
	ck_assert_int_eq(open_with(KVLOG_OPEN_UNSHARED), KVLOG_OK);
}
END_TEST

/* _i: who of the two does not share, the one that has it or the other. */
START_TEST(who_cannot_share_waits)
{
	struct kvlog_options o = api_options(_i == 0 ? 0 : KVLOG_OPEN_UNSHARED);
	struct kvlog *db = api_open(
	    api_store, KVLOG_OPEN_CREATE | (_i == 0 ? KVLOG_OPEN_UNSHARED : 0));
	pid_t pid = fork();
	double start;
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		/* The parent's handle is of no use here: convention 5. */
		struct kvlog *mine = NULL;
		uint64_t count = 0;

		o.timeout_ms = 30000;
		_exit(kvlog_open(api_store, &o, &mine, NULL) == KVLOG_OK &&
			      kvlog_count(mine, &count) == KVLOG_OK &&
			      count == 1 && /* not before the end */
			      kvlog_close(mine, NULL) == KVLOG_OK
			  ? 0
			  : 1);
	}
	start = seconds();
	(void)usleep(200 * 1000);
	api_put(db, "late", "1");
	api_close(db);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(seconds() - start < 20);
}
END_TEST

/* Within one process it is the same. */
START_TEST(a_process_does_not_share_with_itself_if_told)
{
	struct kvlog *db =
	    api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_UNSHARED);

	ck_assert_int_eq(open_with(0), KVLOG_BUSY);
	ck_assert_int_eq(open_with(KVLOG_OPEN_UNSHARED), KVLOG_BUSY);
	ck_assert_int_eq(open_with(KVLOG_OPEN_READONLY), KVLOG_OK);
	api_put(db, "a", "1");
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_int_eq(open_with(KVLOG_OPEN_UNSHARED), KVLOG_BUSY);
	api_expect(db, "a", "1");
	api_close(db);
	ck_assert_int_eq(open_with(KVLOG_OPEN_UNSHARED), KVLOG_OK);
}
END_TEST

/* All see at once what one of them did, and conditions hold between them; the
 * first and the last to be closed are any of them. */
START_TEST(handles_of_a_process_share_a_store)
{
	struct kvlog *db[3];
	char key[16];
	uint64_t seq = 0;

	for (unsigned i = 0; i < 3; i++)
		db[i] = api_open(api_store, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 600; i++) { /* several segments */
		struct kvlog_receipt r;

		(void)snprintf(key, sizeof key, "key%u", i);
		r = api_put(db[i % 3], key, "some value of some length");
		ck_assert_uint_eq(r.seq, ++seq);
		ck_assert_uint_eq(kvlog_last_seq(db[(i + 1) % 3]), seq);
		api_expect(db[(i + 2) % 3], key, "some value of some length");
	}
	for (unsigned i = 0; i < 3; i++) {
		struct kvlog_write how = KVLOG_WRITE_INIT;

		how.condition = KVLOG_IF_ABSENT;
		ck_assert_int_eq(kvlog_put(db[i], "once", 4, "", 0, &how, NULL),
		    i == 0 ? KVLOG_OK : KVLOG_CONFLICT);
		ck_assert_uint_eq(api_count(db[i]), 601);
	}
	for (unsigned i = 0; i < 3; i++) {
		unsigned n = ((unsigned)_i + i) % 3;

		(void)snprintf(key, sizeof key, "end%u", n);
		api_put(db[n], key, "1");
		api_close(db[n]);
	}
	db[0] = api_open(api_store, KVLOG_OPEN_UNSHARED);
	ck_assert_uint_eq(api_count(db[0]), 604);
	ck_assert_uint_eq(api_stats(db[0]).recovery, 0);
	api_close(db[0]);
}
END_TEST

/* How a commit is made durable is each handle's own affair. */
START_TEST(handles_of_a_process_keep_their_durability)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog *none = api_open_with(api_store, &o), *commit;

	o.durability = KVLOG_DURABILITY_COMMIT;
	commit = api_open_with(api_store, &o);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t seq = api_put(none, "a", "1").seq;

		ck_assert_uint_lt(kvlog_durable_seq(none), seq);
		ck_assert_uint_lt(kvlog_durable_seq(commit), seq);
		seq = api_put(commit, "a", "1").seq;
		ck_assert_uint_eq(kvlog_durable_seq(none), seq);
		ck_assert_uint_eq(kvlog_durable_seq(commit), seq);
	}
	/* Who closes syncs what is its own, though the other one goes on. */
	(void)api_put(none, "a", "1");
	api_close(none);
	ck_assert_uint_eq(kvlog_durable_seq(commit), kvlog_last_seq(commit));
	api_close(commit);
}
END_TEST

/* Answers each byte by a put, until the pipe is closed. */
static struct holder
partner(void)
{
	struct holder h;
	int up[2], down[2];
	char key[16], byte;

	ck_assert_int_eq(pipe(up), 0);
	ck_assert_int_eq(pipe(down), 0);
	h.pid = fork();
	ck_assert_int_ne(h.pid, -1);
	if (h.pid == 0) {
		struct kvlog_options o = api_options(0);
		struct kvlog *db = NULL;

		o.timeout_ms = 5000; /* the other one's thread has turns, too */
		(void)close(up[0]);
		(void)close(down[1]);
		if (kvlog_open(api_store, &o, &db, NULL) != KVLOG_OK)
			_exit(1);
		for (unsigned i = 0; read(down[0], &byte, 1) == 1; i++) {
			/* What the parent has just put is there. */
			int len = snprintf(key, sizeof key, "parent%u", i);

			if (kvlog_exists(db, key, (size_t)len) != KVLOG_OK)
				_exit(2);
			len = snprintf(key, sizeof key, "child%u", i);
			if (kvlog_put(db, key, (size_t)len, "of the child", 12,
				NULL, NULL) != KVLOG_OK ||
			    write(up[1], "x", 1) != 1)
				_exit(3);
		}
		_exit(kvlog_close(db, NULL) == KVLOG_OK ? 0 : 4);
	}
	(void)close(up[1]);
	(void)close(down[0]);
	h.from = up[0];
	h.to = down[1];
	return h;
}

/* _i: whether the parent is the last to close. */
START_TEST(processes_share_a_store)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog *db;
	struct holder h;
	char key[16], byte;
	uint64_t seq = 0;

	o.timeout_ms = 5000;
	db = api_open_with(api_store, &o);
	h = partner();
	for (unsigned i = 0; i < 300; i++) { /* several segments */
		(void)snprintf(key, sizeof key, "parent%u", i);
		ck_assert_uint_eq(api_put(db, key, "of the parent").seq, ++seq);
		ck_assert_int_eq(write(h.to, "x", 1), 1);
		ck_assert_int_eq(read(h.from, &byte, 1), 1);
		(void)snprintf(key, sizeof key, "child%u", i);
		api_expect(db, key, "of the child");
		ck_assert_uint_eq(kvlog_last_seq(db), ++seq);
	}
	ck_assert_uint_eq(api_count(db), 600);
	if (_i == 1)
		release(&h);
	api_put(db, "last", "");
	api_close(db);
	if (_i == 0)
		release(&h);
	db = api_open(api_store, KVLOG_OPEN_UNSHARED);
	ck_assert_uint_eq(api_count(db), 601);
	ck_assert_uint_eq(api_stats(db).recovery, 0); /* a clean end */
	api_close(db);
}
END_TEST

START_TEST(a_killed_writer_holds_nothing)
{
	struct holder h;
	struct kvlog *db;
	int status;

	ck_assert_int_eq(open_with(KVLOG_OPEN_CREATE), KVLOG_OK);
	h = hold(_i == 0 ? 0 : KVLOG_OPEN_UNSHARED);
	ck_assert_int_eq(kill(h.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(h.pid, &status, 0), h.pid);
	db = api_open(api_store, KVLOG_OPEN_UNSHARED);
	api_put(db, "a", "1");
	api_close(db);
	(void)close(h.from);
	(void)close(h.to);
}
END_TEST

/* After a process was killed in the midst of things, nothing committed is
 * missing. */
START_TEST(a_killed_process_loses_nothing)
{
	struct kvlog_stats stats;
	struct kvlog *db;
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		db = api_open(api_store, KVLOG_OPEN_CREATE);
		for (int i = 0; i < 300; i++) {
			char key[16];

			(void)snprintf(key, sizeof key, "key%d", i);
			api_put(db, key, "a value that fills segments");
		}
		(void)raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	db = api_open(api_store, 0);
	stats = api_stats(db);
	ck_assert_uint_eq(stats.record_count, 300);
	ck_assert_uint_eq(
	    stats.recovery & (KVLOG_RECOVERY_TORN | KVLOG_RECOVERY_DAMAGE |
				 KVLOG_RECOVERY_DEGRADED),
	    0);
	for (int i = 0; i < 300; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key%d", i);
		api_expect(db, key, "a value that fills segments");
	}
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("open");
	TCase *make = api_case(suite, "make");
	TCase *wait = api_case(suite, "wait");
	TCase *share = api_case(suite, "share");

	tcase_add_test(make, creates_only_when_told);
	tcase_add_test(make, the_defaults_are_those_of_the_macro);
	tcase_add_test(make, fills_an_empty_directory);
	tcase_add_test(make, leaves_other_things_alone);
	tcase_add_test(make, does_not_start_anew_where_segments_were);
	tcase_add_test(make, finishes_a_creation_that_was_cut_off);
	tcase_add_test(make, the_parent_must_exist);
	tcase_add_test(make, refuses_options_out_of_range);
	tcase_add_test(make, files_get_the_mode_less_the_umask);
	tcase_add_test(make, the_mode_is_0666_less_the_umask_by_default);
	tcase_add_test(make, the_segment_size_is_kept_with_the_store);
	tcase_add_test(make, every_store_has_a_uuid_of_its_own_and_keeps_it);
	tcase_add_test(make, nothing_leaks);
	tcase_add_test(make, close_takes_null);
	tcase_add_test(make, err_is_untouched_on_success);
	tcase_add_loop_test(wait, who_cannot_share_is_told_who_holds_it, 0, 2);
	tcase_add_loop_test(wait, who_cannot_share_waits, 0, 2);
	tcase_add_test(wait, a_process_does_not_share_with_itself_if_told);
	tcase_add_loop_test(wait, a_killed_writer_holds_nothing, 0, 2);
	tcase_add_test(wait, a_killed_process_loses_nothing);
	tcase_add_loop_test(share, handles_of_a_process_share_a_store, 0, 3);
	tcase_add_test(share, handles_of_a_process_keep_their_durability);
	tcase_add_loop_test(share, processes_share_a_store, 0, 2);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
