/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "test.h"
#include "tmpdir.h"

#define WORDS 20 /* stores of control_format() */

static char *path, *lock_path;
static struct dir dir;
static struct os_table table; /* the real one, changed in places */

static void
setup(void)
{
	path = tmpdir_create();
	lock_path = files_path(path, DIR_LOCK_NAME);
	ck_assert_int_eq(dir_open(&dir, path, 0600, NULL), KVLOG_OK);
	table = *os;
	os = &table;
}

static void
teardown(void)
{
	dir_close(&dir);
	free(lock_path);
	tmpdir_remove(path);
}

static struct control
open_control(bool writable)
{
	struct control c;

	ck_assert_int_eq(control_open(&c, &dir, writable, NULL), KVLOG_OK);
	return c;
}

/* Whether it recovers or joins. */
static bool sole;

static enum kvlog_status
lock(struct control *c, bool shared, uint32_t timeout_ms,
    struct kvlog_error *err)
{
	return control_lock_writer(c, &dir, shared, timeout_ms, &sole, err);
}

static const struct control_state sample = {.active_salt = 0x1111,
    .position = 0x2222,
    .durable = 0x3333,
    .generation = 0x4444,
    .intent = 0x5555,
    .poison = 0x6666,
    .synced = 0x7777,
    .syncing = 0x8888};

static void
check_state(const struct control_state *a, const struct control_state *b)
{
	ck_assert_uint_eq(a->active_salt, b->active_salt);
	ck_assert_uint_eq(a->position, b->position);
	ck_assert_uint_eq(a->durable, b->durable);
	ck_assert_uint_eq(a->generation, b->generation);
	ck_assert_uint_eq(a->intent, b->intent);
	ck_assert_uint_eq(a->poison, b->poison);
	ck_assert_uint_eq(a->synced, b->synced);
	ck_assert_uint_eq(a->syncing, b->syncing);
}

/* The lock file as a writer leaves it, with sample on its page. */
static void
make_page(void)
{
	struct control c;

	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	c = open_control(true);
	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
	control_opened(&c);
	control_close(&c);
}

static bool
page_is_valid(void)
{
	struct control c = open_control(false);
	struct control_state state;
	bool valid = control_read(&c, &state);

	if (valid)
		check_state(&state, &sample);
	control_close(&c);
	return valid;
}

START_TEST(a_new_lock_file_is_blank)
{
	struct control c;
	struct control_state state;
	struct control_note note;
	struct kvlog_error err;

	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	ck_assert_int_eq(control_create(&dir, &err), KVLOG_CONFLICT);
	ck_assert_uint_eq(files_len(lock_path), 8192);
	c = open_control(false);
	ck_assert(control_is_blank(&c));
	ck_assert(!control_read(&c, &state));
	ck_assert(!control_read_note(&c, &note));
	control_close(&c);
	/* Position, durable number and end note say that there was a store;
	 * who tried to use it, or that a sync failed then, does not. */
	static const struct {
		size_t off;
		bool blank;
	} cases[] = {{56, false}, {63, false}, {80, false}, {87, false},
	    {4096, false}, {5000, false}, {0, true}, {96, true}, {104, true},
	    {112, true}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		files_flip(lock_path, cases[i].off, 7);
		c = open_control(false);
		ck_assert_msg(control_is_blank(&c) == cases[i].blank,
		    "byte %zu", cases[i].off);
		control_close(&c);
		files_flip(lock_path, cases[i].off, 7);
	}
	files_flip(lock_path, 8191, 0);
	c = open_control(false);
	ck_assert(!control_is_blank(&c));
	control_close(&c);
}
END_TEST

START_TEST(the_page_tells_what_was_written)
{
	struct control writer, reader;
	struct control_state state, want = sample;

	make_page();
	ck_assert(page_is_valid());
	writer = open_control(true);
	ck_assert_int_eq(lock(&writer, false, 0, NULL), KVLOG_OK);
	reader = open_control(false);
	ck_assert_int_eq(control_set_position(&writer, 1), 0);
	ck_assert_int_eq(control_set_active_salt(&writer, 2), 0);
	ck_assert_int_eq(control_set_durable(&writer, UINT64_MAX), 0);
	ck_assert_int_eq(control_set_intent(&writer, 0), 0);
	ck_assert_int_eq(control_set_poison(&writer), 0);
	ck_assert_int_eq(control_set_synced(&writer, 5), 0);
	ck_assert_int_eq(control_set_syncing(&writer, true), 0);
	want.position = 1;
	want.active_salt = 2;
	want.durable = UINT64_MAX;
	want.intent = 0;
	want.poison = 1;
	want.synced = 5;
	want.syncing = CONTROL_HANDLE;
	ck_assert(control_read(&reader, &state));
	check_state(&state, &want);
	control_close(&reader);
	control_close(&writer);
}
END_TEST

/* F4: stale with another boot, lock file, layout; never damage. */
START_TEST(the_page_is_stale_where_its_head_differs)
{
	make_page();
	for (size_t off = 0; off < 10 * 8; off++) {
		if (off < 3 || (off >= 4 * 8 && off < 8 * 8))
			continue; /* what mutexes are like; words */
		files_flip(lock_path, off, (unsigned)off % 8);
		ck_assert_msg(!page_is_valid(), "byte %zu", off);
		files_flip(lock_path, off, (unsigned)off % 8);
	}
	ck_assert(page_is_valid());
}
END_TEST

static uint8_t boot_byte;

static void
other_boot(uint8_t ret_id[16])
{
	memset(ret_id, boot_byte, 16);
}

START_TEST(the_page_is_stale_in_another_boot)
{
	make_page();
	boot_byte = 1;
	table.boot_id = other_boot;
	ck_assert(!page_is_valid());
	ck_assert_int_eq(unlink(lock_path), 0);
	boot_byte = 7;
	make_page();
	ck_assert(page_is_valid());
}
END_TEST

static struct control
lock_writer(void)
{
	struct control c = open_control(true);

	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	return c;
}

static bool
writer_believes(void)
{
	struct control c = lock_writer();
	struct control_state state;
	bool valid = control_read(&c, &state);

	control_close(&c);
	return valid;
}

static void
forget_the_boot_id(void)
{
	boot_byte = 0;
	table.boot_id = other_boot;
}

/* Where the system has no boot id, a page is believed by the handle that wrote
 * it; of those of others, in that a sync has failed, or may have: copying too
 * much does no harm.  Where the log ended then is forgotten.  _i: which of the
 * two words says so, or none. */
START_TEST(without_a_boot_id_a_failed_sync_is_believed)
{
	struct control_state state, written = sample, told = sample;
	struct control c;

	forget_the_boot_id();
	make_page();
	written.poison = _i == 0;
	written.syncing = _i == 1;
	told = written;
	told.active_salt = told.position = told.intent = 0;
	told.poison = 1;
	c = lock_writer();
	ck_assert_int_eq(control_format(&c, &written, NULL), KVLOG_OK);
	ck_assert(control_read(&c, &state));
	check_state(&state, &written);
	control_close(&c);
	for (unsigned i = 0; i < 2; i++) { /* that takes nothing back */
		c = lock_writer();
		ck_assert_int_eq(control_read(&c, &state), _i < 2);
		if (_i < 2)
			check_state(&state, &told);
		control_close(&c);
	}

	c = lock_writer();
	ck_assert_int_eq(control_format_poisoned(&c, 77), KVLOG_OK);
	ck_assert(control_read(&c, &state));
	ck_assert_uint_eq(state.poison, 1);
	ck_assert_uint_eq(state.durable, 77);
	control_close(&c);
	ck_assert(writer_believes());
}
END_TEST

/* Leaves a page that says "closed", if it can be stored. */
static int
make_closed_page(void)
{
	struct control_state state = sample;
	struct control c;
	int rc;

	c = lock_writer();
	state.poison = state.syncing = 0;
	ck_assert_int_eq(control_format(&c, &state, NULL), KVLOG_OK);
	rc = control_set_closed(&c);
	control_close(&c);
	return rc;
}

static bool
nobody_locks(int fd, uint64_t byte)
{
	(void)fd;
	(void)byte;
	return false;
}

static bool
child_believes(void)
{
	struct control_state state;
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct control c = open_control(false);

		_exit(control_read(&c, &state) ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status) == 1;
}

/* And for as long as its writer lives, in whatever process. */
START_TEST(without_a_boot_id_a_living_writers_page_is_believed)
{
	struct control_state state, want = sample;
	struct control writer, reader;

	want.poison = want.syncing = 0;
	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	forget_the_boot_id();
	writer = lock_writer();
	reader = open_control(false);
	ck_assert(!control_read(&reader, &state));
	for (unsigned i = 0; i < 2; i++) { /* each with a nonce of its own */
		ck_assert_int_eq(
		    control_format(&writer, &want, NULL), KVLOG_OK);
		ck_assert(control_read(&reader, &state));
		check_state(&state, &want);
		ck_assert(child_believes());
	}
	table.is_locked = nobody_locks; /* as classic locks tell this process */
	ck_assert(control_read(&reader, &state));
	table.is_locked = os_real.is_locked;
	control_close(&writer);
	ck_assert(!control_read(&reader, &state));
	ck_assert(!child_believes());

	/* Another writer that has not formatted it is not its writer. */
	writer = lock_writer();
	ck_assert(!control_read(&reader, &state));
	ck_assert(!child_believes());
	control_close(&writer);
	control_close(&reader);
}
END_TEST

/* And that it was closed, until somebody opens it for writing. */
START_TEST(without_a_boot_id_a_closed_page_is_believed_once)
{
	struct control reader;
	struct control_state state, want = sample;

	want.poison = want.syncing = 0;
	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	forget_the_boot_id();
	ck_assert_int_eq(make_closed_page(), 0);
	reader = open_control(false);
	ck_assert(control_read(&reader, &state));
	check_state(&state, &want);
	ck_assert(writer_believes());
	ck_assert(!control_read(&reader, &state));
	ck_assert(!writer_believes());
	control_close(&reader);

	/* Others do not know this word. */
	ck_assert_int_eq(make_closed_page(), 0);
	table.boot_id = os_real.boot_id;
	if (KVLOG_LINUX)
		ck_assert(!writer_believes());
}
END_TEST

static unsigned syncs_left;

static int
failing_sync(int fd)
{
	if (syncs_left == 0)
		return EIO;
	syncs_left--;
	return os_real.sync(fd);
}

/* What it says must be durable before it says so; that it is taken back, too,
 * and again if that failed. */
START_TEST(without_a_boot_id_closing_and_opening_sync_the_page)
{
	struct kvlog_error err;
	struct control c;

	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	forget_the_boot_id();
	table.sync = failing_sync;
	syncs_left = 1; /* for opening */
	ck_assert_int_eq(make_closed_page(), EIO);
	syncs_left = 1;
	ck_assert(!writer_believes());
	syncs_left = 2;
	ck_assert_int_eq(make_closed_page(), 0);
	for (unsigned i = 0; i < 2; i++) {
		c = open_control(true);
		ck_assert_int_eq(lock(&c, false, 0, &err), KVLOG_IO);
		ck_assert_ptr_nonnull(strstr(err.text, lock_path));
		control_close(&c);
	}
	syncs_left = 1;
	ck_assert(!writer_believes());
}
END_TEST

/* A boot id makes all that unnecessary. */
START_TEST(with_a_boot_id_the_page_is_never_synced)
{
	struct control c;

	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	boot_byte = 7;
	table.boot_id = other_boot;
	table.sync = failing_sync;
	syncs_left = 0;
	ck_assert_int_eq(make_closed_page(), 0);
	ck_assert(writer_believes());
	c = open_control(false);
	ck_assert(!control_writer_lives(&c));
	control_close(&c);
}
END_TEST

/* Classic locks do not tell a process that it has them itself. */
START_TEST(a_writer_of_this_process_is_seen_to_live)
{
	struct control writer, reader;

	table.is_locked = nobody_locks;
	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	writer = lock_writer();
	reader = open_control(false);
	ck_assert(control_writer_lives(&reader));
	control_close(&writer);
	ck_assert(!control_writer_lives(&reader));
	control_close(&reader);
}
END_TEST

START_TEST(a_copy_of_the_lock_file_is_stale)
{
	char *aside = files_path(path, "aside");
	uint8_t *bytes;
	size_t len;

	make_page();
	bytes = files_read(lock_path, &len);
	ck_assert_int_eq(rename(lock_path, aside), 0);
	files_write(lock_path, bytes, len);
	ck_assert(!page_is_valid());
	ck_assert_int_eq(rename(aside, lock_path), 0);
	ck_assert(page_is_valid());
	free(bytes);
	free(aside);
}
END_TEST

/* A page half written is not valid: the word that says so is cleared first
 * and set last. */
static unsigned stores_left;

static int
failing_store(const struct os_map *map, uint64_t off, uint64_t word)
{
	if (stores_left == 0)
		return EIO;
	stores_left--;
	return os_real.store_word(map, off, word);
}

START_TEST(a_page_half_formatted_is_stale)
{
	struct control_state other = {1, 2, 3, 4, 5, 6, 7, 8};
	unsigned failed = 0;

	for (unsigned n = 0;; n++) {
		struct control c;
		enum kvlog_status st;
		struct control_state state;

		(void)unlink(lock_path);
		make_page();
		c = open_control(true);
		ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
		stores_left = n;
		table.store_word = failing_store;
		st = control_format(&c, &other, NULL);
		table.store_word = os_real.store_word;
		if (st == KVLOG_OK) {
			ck_assert(control_read(&c, &state));
			check_state(&state, &other);
			control_close(&c);
			break;
		}
		ck_assert_int_eq(st, KVLOG_IO);
		ck_assert(control_read(&c, &state) == (n == 0));
		control_close(&c);
		failed++;
	}
	ck_assert_uint_ge(failed, WORDS);
}
END_TEST

START_TEST(readers_do_without_a_lock_file)
{
	struct control c = open_control(false);
	struct control_state state;
	struct control_note note;

	ck_assert_ptr_null(c.map.addr);
	ck_assert(control_is_blank(&c));
	ck_assert(!control_read(&c, &state));
	ck_assert(!control_read_note(&c, &note));
	control_close(&c);
	ck_assert(!files_exist(lock_path));

	make_page();
	ck_assert_int_eq(truncate(lock_path, 8191), 0);
	c = open_control(false);
	ck_assert(!control_read(&c, &state));
	ck_assert(!control_read_note(&c, &note));
	control_close(&c);
	ck_assert_uint_eq(files_len(lock_path), 8191);
}
END_TEST

START_TEST(writers_make_the_lock_file_whole)
{
	struct control c = open_control(true); /* a copy without it */

	ck_assert(control_is_blank(&c));
	ck_assert_uint_eq(files_len(lock_path), 8192);
	control_close(&c);
	ck_assert_int_eq(truncate(lock_path, 100), 0);
	c = open_control(true);
	ck_assert_uint_eq(files_len(lock_path), 8192);
	control_close(&c);
}
END_TEST

/* Locks */

START_TEST(one_writer_in_a_process)
{
	struct control one, two;
	struct kvlog_error err = {0};

	make_page();
	one = open_control(true);
	two = open_control(true);
	ck_assert(!one.writer);
	ck_assert_int_eq(lock(&one, false, 0, NULL), KVLOG_OK);
	ck_assert(one.writer);
	ck_assert_int_eq(lock(&two, false, 0, &err), KVLOG_BUSY);
	ck_assert(!two.writer);
	ck_assert_ptr_nonnull(strstr(err.text, "this process"));
	ck_assert_ptr_nonnull(strstr(err.text, path));
	control_close(&one);
	ck_assert_int_eq(lock(&two, false, 0, NULL), KVLOG_OK);
	control_close(&two);
}
END_TEST

/* In a child: what locking comes to. */
static enum kvlog_status
lock_elsewhere(uint32_t timeout_ms)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct control c;

		if (control_open(&c, &dir, true, NULL) != KVLOG_OK)
			_exit(99);
		_exit((int)lock(&c, false, timeout_ms, NULL));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return (enum kvlog_status)WEXITSTATUS(status);
}

START_TEST(one_writer_of_all_processes)
{
	struct control c, reader;
	uint64_t start;

	make_page();
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_OK); /* gone with its child */
	c = open_control(true);
	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_BUSY);
	start = os->ticks_ns();
	ck_assert_int_eq(lock_elsewhere(200), KVLOG_BUSY);
	ck_assert_uint_ge(os->ticks_ns() - start, 200000000);
	control_opened(&c);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_BUSY);
	/* Closing another descriptor of the file releases nothing. */
	reader = open_control(false);
	control_close(&reader);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_BUSY);
	control_close(&c);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_OK);
}
END_TEST

/* A byte that somebody else has. */
static uint64_t taken;

static int
try_lock_but_taken(int fd, uint64_t off, enum os_lock kind)
{
	if (off == taken && kind != OS_LOCK_NONE)
		return EAGAIN;
	return os_real.try_lock(fd, off, kind);
}

/* Who does not become the writer keeps nobody from it: neither this process's
 * other handles nor other processes. */
START_TEST(who_cannot_lock_holds_nothing)
{
	struct control c, other;

	make_page();
	c = open_control(true);
	taken = (UINT64_C(1) << 30) + (_i == 0 ? CONTROL_WRITER : CONTROL_OPEN);
	table.try_lock = try_lock_but_taken;
	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_BUSY);
	table.try_lock = os_real.try_lock;
	ck_assert(!c.writer);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_OK);
	other = open_control(true);
	ck_assert_int_eq(lock(&other, false, 0, NULL), KVLOG_OK);
	control_close(&other);
	control_close(&c);
}
END_TEST

START_TEST(no_writer_gets_in_while_another_process_opens)
{
	int fd;

	make_page();
	ck_assert_int_eq(
	    os->open(dir.fd, DIR_LOCK_NAME, OS_OPEN_WRITE, 0, &fd), 0);
	/* Somebody recovers, holding the byte of opening alone. */
	ck_assert_int_eq(os->try_lock(fd, (UINT64_C(1) << 30) + CONTROL_OPEN,
			     OS_LOCK_EXCLUSIVE),
	    0);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_BUSY);
	ck_assert_int_eq(os->close(fd), 0);
	ck_assert_int_eq(lock_elsewhere(0), KVLOG_OK);
}
END_TEST

/* End note */

START_TEST(the_note_is_kept_and_checked)
{
	const struct control_note want = {
	    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	    .segment = 0x01020304,
	    .salt = UINT64_C(0x1122334455667788),
	    .end = UINT64_C(0x99aabbccddeeff00),
	    .last_seq = UINT64_C(0x0123456789abcdef)};
	struct control_note note;
	struct control c;
	uint8_t *bytes;
	size_t len;

	make_page();
	c = open_control(true);
	ck_assert(!control_read_note(&c, &note));
	ck_assert_int_eq(control_write_note(&c, &want, NULL), KVLOG_OK);
	ck_assert(control_read_note(&c, &note));
	ck_assert_mem_eq(note.uuid, want.uuid, 16);
	ck_assert_uint_eq(note.segment, want.segment);
	ck_assert_uint_eq(note.salt, want.salt);
	ck_assert_uint_eq(note.end, want.end);
	ck_assert_uint_eq(note.last_seq, want.last_seq);
	control_close(&c);

	/* Where the format says. */
	bytes = files_read(lock_path, &len);
	ck_assert_mem_eq(bytes + 4096, "kvlogend", 8);
	ck_assert_mem_eq(bytes + 4096 + 16, want.uuid, 16);
	ck_assert_mem_eq(bytes + 4096 + 32, "\x04\x03\x02\x01", 4);
	ck_assert_mem_eq(
	    bytes + 4096 + 40, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
	free(bytes);
	for (size_t off = 0; off < 64; off++) {
		files_flip(lock_path, 4096 + off, (unsigned)off % 8);
		c = open_control(false);
		ck_assert_msg(!control_read_note(&c, &note), "byte %zu", off);
		control_close(&c);
		files_flip(lock_path, 4096 + off, (unsigned)off % 8);
	}
	/* The page beside it is not touched. */
	ck_assert(page_is_valid());
}
END_TEST

START_TEST(positions_are_packed)
{
	static const uint64_t offs[] = {
	    4608, 8192, UINT64_C(1) << 38, (UINT64_C(1) << 39) - 8};
	static const uint32_t segments[] = {1, 2, DIR_SEGMENT_MAX};

	for (size_t i = 0; i < ARRAY_LEN(segments); i++)
		for (size_t k = 0; k < ARRAY_LEN(offs); k++) {
			uint64_t pos = control_pos(segments[i], offs[k]);

			ck_assert_uint_eq(
			    control_pos_segment(pos), segments[i]);
			ck_assert_uint_eq(control_pos_off(pos), offs[k]);
		}
	ck_assert_uint_gt(control_pos(2, 4608), control_pos(1, offs[3]));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("control");
	TCase *tc = tcase_create("control");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_new_lock_file_is_blank);
	tcase_add_test(tc, the_page_tells_what_was_written);
	tcase_add_test(tc, the_page_is_stale_where_its_head_differs);
	tcase_add_test(tc, the_page_is_stale_in_another_boot);
	tcase_add_loop_test(
	    tc, without_a_boot_id_a_failed_sync_is_believed, 0, 3);
	tcase_add_test(tc, without_a_boot_id_a_living_writers_page_is_believed);
	tcase_add_test(tc, without_a_boot_id_a_closed_page_is_believed_once);
	tcase_add_test(tc, without_a_boot_id_closing_and_opening_sync_the_page);
	tcase_add_test(tc, with_a_boot_id_the_page_is_never_synced);
	tcase_add_test(tc, a_writer_of_this_process_is_seen_to_live);
	tcase_add_test(tc, a_copy_of_the_lock_file_is_stale);
	tcase_add_test(tc, a_page_half_formatted_is_stale);
	tcase_add_test(tc, readers_do_without_a_lock_file);
	tcase_add_test(tc, writers_make_the_lock_file_whole);
	tcase_add_test(tc, one_writer_in_a_process);
	tcase_add_test(tc, one_writer_of_all_processes);
	tcase_add_test(tc, no_writer_gets_in_while_another_process_opens);
	tcase_add_loop_test(tc, who_cannot_lock_holds_nothing, 0, 2);
	tcase_add_test(tc, the_note_is_kept_and_checked);
	tcase_add_test(tc, positions_are_packed);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
