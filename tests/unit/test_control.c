/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "test.h"
#include "tmpdir.h"

#define WORDS 20 /* stores of control_format() */

static char *path, *lock_path;
static struct dir dir;
static enum control_turns kind = CONTROL_BY_BYTE; /* of new handles */
static struct os_table table; /* the real one, changed in places */

static uint8_t boot_byte;

static void
other_boot(uint8_t ret_id[16])
{
	memset(ret_id, boot_byte, 16);
}

static void
setup(void)
{
	path = tmpdir_create();
	lock_path = files_path(path, DIR_LOCK_NAME);
	ck_assert_int_eq(dir_open(&dir, path, 0600, NULL), KVLOG_OK);
	table = *os;
	os = &table;
	boot_byte = 5;
	if (!KVLOG_LINUX) /* which has none, as some tests want it */
		table.boot_id = other_boot;
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
	c.turns = kind;
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

/* Bytes of the tag that only those who write together look at. */
static bool
is_of_mutexes(size_t off)
{
	const uint64_t mask = 0xffffff;

	return off < 8 && ((const uint8_t *)&mask)[off] != 0;
}

/* F4: stale with another boot, lock file, layout; never damage. */
START_TEST(the_page_is_stale_where_its_head_differs)
{
	make_page();
	for (size_t off = 0; off < 10 * 8; off++) {
		if (is_of_mutexes(off) || (off >= 4 * 8 && off < 8 * 8))
			continue;
		files_flip(lock_path, off, (unsigned)off % 8);
		ck_assert_msg(!page_is_valid(), "byte %zu", off);
		files_flip(lock_path, off, (unsigned)off % 8);
	}
	ck_assert(page_is_valid());
}
END_TEST

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
try_lock_but_taken(int fd, uint64_t off, enum os_lock how)
{
	if (off == taken && how != OS_LOCK_NONE)
		return EAGAIN;
	return os_real.try_lock(fd, off, how);
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

/* Sharing: other processes are real ones. */

/* What they tell each other; in memory that they share. */
struct talk {
	_Atomic int told, heard; /* steps that one and the other has made */
	_Atomic uint64_t count[8];
	_Atomic int status;
	_Atomic bool flag;
	char text[256];
};
static struct talk *talk;

static void
setup_sharing(void)
{
	setup();
	talk = mmap(NULL, sizeof *talk, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(talk, MAP_FAILED);
	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
}

static void
setup_mutex(void)
{
	kind = CONTROL_BY_MUTEX;
	setup_sharing();
}

static void
setup_byte(void)
{
	kind = CONTROL_BY_BYTE;
	setup_sharing();
}

static void
teardown_sharing(void)
{
	(void)munmap(talk, sizeof *talk);
	teardown();
}

static void
nap(void)
{
	os_real.sleep_ns(200 * 1000);
}

static void
tell(void)
{
	atomic_fetch_add(&talk->told, 1);
}

static void
hear(int step)
{
	while (atomic_load(&talk->told) < step)
		nap();
}

/* Runs in another process until it is killed or returns. */
static pid_t
start(void (*fn)(void))
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		fn();
		_exit(0);
	}
	return pid;
}

static void
await(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}

static void
kill_now(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void
sleep_for_ever(void)
{
	for (;;)
		(void)pause();
}

static uint64_t
in_ms(unsigned ms)
{
	return os->ticks_ns() + ms * UINT64_C(1000000);
}

/* A handle that shares, open: with sample on its page if it is the first. */
static struct control
open_shared(void)
{
	struct control c = open_control(true);

	ck_assert_int_eq(lock(&c, true, 5000, NULL), KVLOG_OK);
	if (sole)
		ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
	control_opened(&c);
	return c;
}

/* What becomes of an opening in another process; its text is in talk. */
static enum kvlog_status
open_elsewhere(enum control_turns turns, bool shared, uint32_t timeout_ms)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		struct kvlog_error err = {0};
		struct control c = open_control(true);

		c.turns = turns;
		status = (int)lock(&c, shared, timeout_ms, &err);
		memcpy(talk->text, err.text, sizeof talk->text);
		atomic_store(&talk->flag, sole);
		_exit(status);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return (enum kvlog_status)WEXITSTATUS(status);
}

static bool
told(const char *format, ...)
{
	char want[sizeof talk->text];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(want, sizeof want, format, args);
	va_end(args);
	return strstr(talk->text, want) != NULL;
}

static bool
take_turn(struct control *c, uint64_t deadline)
{
	bool died;

	ck_assert_int_eq(control_take_turn(c, deadline, &died, NULL), KVLOG_OK);
	return died;
}

/* The first one recovers, alone until it has done so; then others join. */
START_TEST(writers_join)
{
	struct control c = open_control(true);

	ck_assert_int_eq(lock(&c, true, 0, NULL), KVLOG_OK);
	ck_assert(sole);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_BUSY);
	ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_BUSY);
	control_opened(&c);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
		ck_assert(!atomic_load(&talk->flag));
	}
	control_close(&c);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
	ck_assert(atomic_load(&talk->flag));
}
END_TEST

/* Whose handles let others write, and whose do not. */
START_TEST(sharing_is_mutual)
{
	struct control c = open_control(true);

	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
	control_opened(&c);
	for (int shared = 0; shared < 2; shared++) {
		ck_assert_int_eq(
		    open_elsewhere(kind, shared == 1, 0), KVLOG_BUSY);
		ck_assert(told("%s is open for writing by process %ld (waited",
		    path, (long)getpid()));
	}
	control_close(&c);

	c = open_shared();
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	ck_assert(told(
	    "by process %ld and perhaps others (waited 0 ms)", (long)getpid()));
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
	control_close(&c);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_OK);
}
END_TEST

static void
share_for_a_while(void)
{
	struct control c = open_shared();

	tell();
	os->sleep_ns(200 * 1000 * 1000);
	control_close(&c);
}

static void
have_a_turn(void)
{
	struct control c = open_shared();

	(void)take_turn(&c, 0);
	control_release_turn(&c);
	tell();
	os->sleep_ns(200 * 1000 * 1000);
	control_close(&c);
}

/* Who wrote last is named as long as he writes, and not those who come into his
 * place by what he was. */
START_TEST(the_dead_are_not_named)
{
	struct control c = open_shared();
	pid_t pid = start(have_a_turn);

	hear(1);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	ck_assert(told("%s is open for writing by process %ld and perhaps",
	    path, (long)pid));
	await(pid);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	ck_assert(told("%s is open for writing in another process", path));

	pid = start(share_for_a_while);
	hear(2);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	ck_assert(told("%s is open for writing by process %ld and perhaps",
	    path, (long)pid));
	await(pid);
	control_close(&c);
}
END_TEST

START_TEST(who_wants_to_be_alone_waits)
{
	pid_t pid = start(share_for_a_while);
	struct control c = open_control(true);

	hear(1);
	ck_assert_int_eq(lock(&c, false, 20, NULL), KVLOG_BUSY);
	ck_assert_int_eq(lock(&c, false, 5000, NULL), KVLOG_OK);
	ck_assert(sole);
	control_close(&c);
	await(pid);
}
END_TEST

/* Not by another descriptor, since closing that would drop classic locks. */
static void
flip_byte(const struct control *c, size_t off)
{
	uint8_t byte = c->map.addr[off] ^ 8;

	ck_assert_int_eq(os->store(&c->map, off, &byte, 1), 0);
}

/* F2 */
START_TEST(another_tag_cannot_join)
{
	enum control_turns other =
	    kind == CONTROL_BY_BYTE ? CONTROL_BY_MUTEX : CONTROL_BY_BYTE;
	struct control c = open_shared(), reader;
	struct control_state state;

	ck_assert_int_eq(open_elsewhere(other, true, 0), KVLOG_UNSUPPORTED);
	ck_assert(told("another version or build"));
	ck_assert(told("%s", path));
	for (size_t off = 0; off < 8; off++) {
		flip_byte(&c, off);
		ck_assert_int_eq(
		    open_elsewhere(kind, true, 0), KVLOG_UNSUPPORTED);
		flip_byte(&c, off);
	}
	/* It holds nothing, and who only reads is not concerned. */
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
	kind = other;
	reader = open_control(false);
	ck_assert(control_read(&reader, &state));
	check_state(&state, &sample);
	control_close(&reader);

	/* Once it is alone it reads the page and makes it its own. */
	control_close(&c);
	c = open_control(true);
	ck_assert_int_eq(lock(&c, true, 0, NULL), KVLOG_OK);
	ck_assert(sole);
	ck_assert(control_read(&c, &state));
	if (KVLOG_ROBUST_MUTEX || other == CONTROL_BY_BYTE) {
		ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
		control_opened(&c);
		ck_assert_int_eq(open_elsewhere(other, true, 0), KVLOG_OK);
	}
	control_close(&c);
}
END_TEST

START_TEST(a_page_damaged_meanwhile_cannot_be_joined)
{
	struct control c = open_shared();

	flip_byte(&c, 8 * CONTROL_BOOT);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_BUSY);
	ck_assert(told("kvlog.lock was damaged"));
	flip_byte(&c, 8 * CONTROL_BOOT);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
	control_close(&c);
}
END_TEST

static bool
is_handle(uint64_t off)
{
	uint64_t byte = off - (UINT64_C(1) << 30);

	return byte >= CONTROL_HANDLE &&
	       byte < CONTROL_HANDLE + CONTROL_HANDLES_MAX;
}

static int
try_lock_no_handle(int fd, uint64_t off, enum os_lock how)
{
	if (is_handle(off))
		return EAGAIN;
	return os_real.try_lock(fd, off, how);
}

START_TEST(there_is_a_limit)
{
	struct control c = open_control(true);
	struct kvlog_error err;

	table.try_lock = try_lock_no_handle;
	ck_assert_int_eq(lock(&c, true, 0, &err), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "4096 times"));
	table.try_lock = os_real.try_lock;
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_OK);
	control_close(&c);
}
END_TEST

/* A mutex cannot lie where stores go through pwrite. */
static int
cow_fs(int fd, enum os_fs *ret_fs)
{
	(void)fd;
	*ret_fs = OS_FS_COW;
	return 0;
}

static unsigned words_stored, mutexes_used;

static int
counting_store(const struct os_map *map, uint64_t off, uint64_t word)
{
	words_stored++;
	return os_real.store_word(map, off, word);
}

static int
counting_lock(const struct os_map *map, uint64_t off, uint64_t until)
{
	mutexes_used++;
	return os_real.mutex_lock(map, off, until);
}

START_TEST(on_file_systems_written_by_pwrite_nobody_shares)
{
	struct control c;

	table.fs_type = cow_fs;
	table.mutex_lock = counting_lock;
	c = open_shared();
	ck_assert(c.map.by_pwrite);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_BUSY);
	ck_assert(!take_turn(&c, 0));
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), c.byte);
	control_release_turn(&c);
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), 0);
	ck_assert_uint_eq(mutexes_used, 0);
	control_close(&c);
}
END_TEST

/* Closing */

static void
join_and_close_last(void)
{
	struct control c = open_shared();

	tell();
	while (atomic_load(&talk->heard) < 1)
		nap();
	atomic_store(&talk->flag, control_last_writer(&c, 0));
	tell();
	while (atomic_load(&talk->heard) < 2)
		nap();
	control_close(&c);
	tell();
	sleep_for_ever();
}

START_TEST(the_last_writer_knows)
{
	struct control c = open_shared();
	pid_t pid = start(join_and_close_last);

	hear(1);
	/* Not this one; and as soon as it knows that, the other one is. */
	ck_assert(!control_last_writer(&c, 0));
	atomic_store(&talk->heard, 1);
	hear(2);
	ck_assert(atomic_load(&talk->flag));
	control_close(&c);

	/* Nobody comes in until that one has closed. */
	c = open_control(true);
	ck_assert_int_eq(lock(&c, true, 20, NULL), KVLOG_BUSY);
	atomic_store(&talk->heard, 2);
	hear(3);
	ck_assert_int_eq(lock(&c, true, 0, NULL), KVLOG_OK);
	ck_assert(sole);
	control_close(&c);
	kill_now(pid);
}
END_TEST

START_TEST(who_writes_alone_is_the_last)
{
	struct control c = open_control(true);

	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	ck_assert_int_eq(control_format(&c, &sample, NULL), KVLOG_OK);
	control_opened(&c);
	ck_assert(control_last_writer(&c, 0));
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	control_close(&c);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_OK);

	/* Also one that would let others write, if there are none. */
	c = open_shared();
	ck_assert(control_last_writer(&c, 0));
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_BUSY);
	control_close(&c);
	ck_assert_int_eq(open_elsewhere(kind, true, 0), KVLOG_OK);
}
END_TEST

START_TEST(closing_waits_no_longer_than_told)
{
	struct control c = open_shared();
	uint64_t begin = os->ticks_ns();

	taken = (UINT64_C(1) << 30) + CONTROL_OPEN;
	table.try_lock = try_lock_but_taken;
	ck_assert(!control_last_writer(&c, 60));
	ck_assert_uint_ge(os->ticks_ns() - begin, 60000000);
	table.try_lock = os_real.try_lock;
	/* It has given up its part. */
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_OK);
	control_close(&c);
}
END_TEST

/* Turns */

static void
hold_turn(void)
{
	struct control c = open_shared();

	atomic_store(&talk->flag, take_turn(&c, in_ms(5000)));
	atomic_store(&talk->count[0], c.byte);
	tell();
	while (atomic_load(&talk->heard) < 1)
		nap();
	control_release_turn(&c);
	tell();
	sleep_for_ever();
}

START_TEST(one_turn_at_a_time)
{
	struct control c = open_shared();
	struct kvlog_error err;
	pid_t pid = start(hold_turn);
	uint64_t begin;
	char who[80];
	bool died = true;

	hear(1);
	(void)snprintf(
	    who, sizeof who, "process %ld has the turn to write to", (long)pid);
	ck_assert_int_eq(control_take_turn(&c, 0, &died, &err), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, who));
	ck_assert_ptr_nonnull(strstr(err.text, path));
	begin = os->ticks_ns();
	ck_assert_int_eq(
	    control_take_turn(&c, begin + 50000000, &died, &err), KVLOG_BUSY);
	ck_assert_uint_ge(os->ticks_ns() - begin, 50000000);
	ck_assert_uint_lt(os->ticks_ns() - begin, UINT64_C(30000000000));
	ck_assert_uint_eq(
	    control_load(&c, CONTROL_TURN_OF), atomic_load(&talk->count[0]));
	ck_assert(died); /* untouched */

	/* The sync is another matter. */
	ck_assert_int_eq(control_take_sync(&c, 0, &died, NULL), KVLOG_OK);
	control_release_sync(&c);

	atomic_store(&talk->heard, 1);
	ck_assert(!take_turn(&c, in_ms(5000)));
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), c.byte);
	ck_assert_uint_eq(control_load(&c, CONTROL_PID), (uint64_t)getpid());
	control_release_turn(&c);
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), 0);
	kill_now(pid); /* outside of its turn */
	ck_assert(!take_turn(&c, 0));
	control_release_turn(&c);
	control_close(&c);
}
END_TEST

static pid_t victim;

static void
kill_soon(void)
{
	os->sleep_ns(30 * 1000 * 1000);
	if (kill(victim, SIGKILL) != 0)
		_exit(1);
}

/* F5; and who dies of cleaning up is told of too. */
START_TEST(a_death_in_a_turn_is_told_to_the_next)
{
	struct control c = open_shared();
	pid_t killer;

	for (int i = 0; i < 3; i++) {
		pid_t pid = start(hold_turn);

		hear(i + 1);
		ck_assert(atomic_load(&talk->flag) == (i > 0));
		kill_now(pid);
	}
	ck_assert(take_turn(&c, 0));
	control_release_turn(&c);
	ck_assert(!take_turn(&c, 0));
	control_release_turn(&c);

	/* Also to one that waits. */
	victim = start(hold_turn);
	hear(4);
	killer = start(kill_soon);
	ck_assert(take_turn(&c, in_ms(5000)));
	control_release_turn(&c);
	ck_assert_int_eq(waitpid(victim, NULL, 0), victim);
	await(killer);
	control_close(&c);
}
END_TEST

/* Its byte would hold those up who look whether it is dead. */
START_TEST(nobody_takes_the_byte_of_one_who_died_in_its_turn)
{
	struct control c = open_shared();
	uint64_t dead;
	pid_t one = start(hold_turn), two;

	hear(1);
	dead = atomic_load(&talk->count[0]);
	kill_now(one);
	two = start(share_for_a_while);
	hear(2);
	ck_assert(!os->is_locked(c.fd, (UINT64_C(1) << 30) + dead));
	ck_assert(take_turn(&c, 0));
	control_release_turn(&c);
	await(two);
	/* Then it is as good as any. */
	one = start(hold_turn);
	hear(3);
	ck_assert_uint_eq(atomic_load(&talk->count[0]), dead);
	kill_now(one);
	control_close(&c);
}
END_TEST

static void *
turn_of_a_thread(void *arg)
{
	(void)take_turn(arg, in_ms(5000));
	return NULL;
}

static void
end_a_thread_in_its_turn(void)
{
	struct control c = open_shared();
	pthread_t thread;

	if (pthread_create(&thread, NULL, turn_of_a_thread, &c) != 0 ||
	    pthread_join(thread, NULL) != 0)
		_exit(1);
	tell();
	sleep_for_ever();
}

/* A process that lives may be storing still. */
START_TEST(a_turn_is_taken_over_from_the_dead_only)
{
	struct control c = open_shared();
	struct kvlog_error err;
	pid_t pid = start(end_a_thread_in_its_turn);
	uint64_t begin = os->ticks_ns();
	bool died;

	hear(1);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    control_take_turn(&c, in_ms(20), &died, &err), KVLOG_BUSY);
		ck_assert_uint_ge(os->ticks_ns() - begin, 20000000);
		(void)snprintf(
		    talk->text, sizeof talk->text, "process %ld", (long)pid);
		ck_assert_ptr_nonnull(strstr(err.text, talk->text));
	}
	kill_now(pid);
	ck_assert(take_turn(&c, 0));
	control_release_turn(&c);
	control_close(&c);
}
END_TEST

START_TEST(closing_within_a_turn_is_like_dying)
{
	struct control c = open_shared();
	pid_t pid = start(share_for_a_while);

	hear(1);
	ck_assert(!take_turn(&c, 0));
	control_close(&c);
	c = open_shared();
	ck_assert(!sole);
	ck_assert(take_turn(&c, 0));
	control_release_turn(&c);
	control_close(&c);
	await(pid);
}
END_TEST

/* A turn costs two stores as long as the same handle has them all. */
START_TEST(turns_are_cheap)
{
	struct control c = open_shared();

	(void)take_turn(&c, 0);
	control_release_turn(&c);
	table.store_word = counting_store;
	words_stored = 0;
	for (int i = 0; i < 100; i++) {
		(void)take_turn(&c, 0);
		control_release_turn(&c);
	}
	ck_assert_uint_eq(words_stored, 200);
	control_close(&c);

	/* Alone, without a mutex. */
	c = open_control(true);
	ck_assert_int_eq(lock(&c, false, 0, NULL), KVLOG_OK);
	table.mutex_lock = counting_lock;
	ck_assert(!take_turn(&c, 0));
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), c.byte);
	control_release_turn(&c);
	ck_assert_uint_eq(control_load(&c, CONTROL_TURN_OF), 0);
	ck_assert_uint_eq(mutexes_used, 0);
	control_close(&c);
}
END_TEST

static int
broken_mutex(const struct os_map *map, uint64_t off, uint64_t until)
{
	(void)map;
	(void)off;
	(void)until;
	return EINVAL;
}

START_TEST(a_turn_that_fails_holds_nothing)
{
	struct control c = open_shared();
	bool died;

	if (kind == CONTROL_BY_MUTEX) {
		table.mutex_lock = broken_mutex;
		ck_assert_int_eq(
		    control_take_turn(&c, 0, &died, NULL), KVLOG_IO);
		ck_assert_int_eq(
		    control_take_sync(&c, 0, &died, NULL), KVLOG_IO);
		table.mutex_lock = os_real.mutex_lock;
	}
	table.store_word = failing_store;
	stores_left = 0;
	ck_assert_int_eq(control_take_turn(&c, 0, &died, NULL), KVLOG_IO);
	table.store_word = os_real.store_word;
	pid_t pid = start(hold_turn);
	hear(1);
	kill_now(pid);
	control_close(&c);
}
END_TEST

static void
run_in_circles(void)
{
	unsigned me = (unsigned)atomic_fetch_add(&talk->heard, 1);
	struct control c = open_shared();
	uint64_t end;

	while (atomic_load(&talk->heard) < 4) /* all are there */
		nap();
	end = in_ms(1000);
	while (os->ticks_ns() < end) {
		(void)take_turn(&c, UINT64_MAX);
		atomic_fetch_add(&talk->count[me], 1);
		nap(); /* so that no end of a time slice lets others in */
		control_release_turn(&c);
	}
	control_close(&c);
}

/* The smallest of four shares, in percent. */
static uint64_t
smallest_share(void)
{
	uint64_t sum = 0, least = UINT64_MAX;
	pid_t pids[4];

	memset(talk, 0, sizeof *talk);
	for (int i = 0; i < 4; i++)
		pids[i] = start(run_in_circles);
	for (int i = 0; i < 4; i++)
		await(pids[i]);
	for (int i = 0; i < 4; i++) {
		sum += talk->count[i];
		least = min_u64(least, talk->count[i]);
	}
	ck_assert_uint_gt(sum, 100);
	return least * 100 / sum;
}

/* F3: a releaser with waiters hands over.  What else the machine does may
 * upset it, but not always. */
START_TEST(turns_are_shared_out)
{
	struct control c = open_shared(); /* so that nobody recovers */
	uint64_t share = 0;

	for (int i = 0; i < 4 && share < 15; i++)
		share = max_u64(share, smallest_share());
	ck_assert_uint_ge(share, 15);
	control_close(&c);
}
END_TEST

static uint64_t slept_ns;

static void
counting_sleep(uint64_t ns)
{
	slept_ns += ns;
	os_real.sleep_ns(ns);
}

static struct control *giver;
static unsigned sleeps;

/* Another one takes its chance. */
static void
sleep_while_another_has_a_turn(uint64_t ns)
{
	(void)ns;
	sleeps++;
	ck_assert_int_eq(os_real.store_word(&giver->map,
			     8 * CONTROL_LAST_TURN_OF, giver->byte + 7),
	    0);
}

START_TEST(who_has_had_its_turns_waits_for_another)
{
	struct control c;
	unsigned turns = 0;

	if (getenv("KVLOG_VALGRIND") != NULL)
		return; /* so many turns take too long for a row */
	c = open_shared();
	giver = &c;
	table.sleep_ns = sleep_while_another_has_a_turn;
	(void)take_turn(&c, 0);
	control_release_turn(&c);
	ck_assert_int_eq(
	    os->store_word(&c.map, 8 * CONTROL_WANTED, c.byte + 7), 0);
	for (; sleeps == 0 && turns < 1000; turns++) {
		(void)take_turn(&c, UINT64_MAX);
		control_release_turn(&c);
	}
	ck_assert_uint_eq(sleeps, 1);
	ck_assert_uint_le(turns, 65);
	/* There may be more of them. */
	ck_assert_uint_eq(control_load(&c, CONTROL_WANTED), c.byte + 7);
	control_close(&c);
}
END_TEST

/* Who said that he waits, and was killed, costs one wait of 2 ms, or less where
 * that time passes anyway. */
START_TEST(a_killed_waiter_slows_nobody)
{
	struct control c = open_shared();

	table.sleep_ns = counting_sleep;
	(void)take_turn(&c, 0);
	control_release_turn(&c);
	ck_assert_int_eq(
	    os->store_word(&c.map, 8 * CONTROL_WANTED, c.byte + 7), 0);
	for (int i = 0; i < 10000; i++) {
		(void)take_turn(&c, UINT64_MAX);
		control_release_turn(&c);
	}
	ck_assert_uint_eq(control_load(&c, CONTROL_WANTED), 0);
	ck_assert_uint_lt(slept_ns, 4000000);
	control_close(&c);
}
END_TEST

/* Syncs */

static void
sync_for_ever(void)
{
	struct control c = open_shared();
	bool doubtful;

	if (control_take_sync(&c, in_ms(5000), &doubtful, NULL) != KVLOG_OK ||
	    doubtful)
		_exit(1);
	if (atomic_load(&talk->flag) && control_set_syncing(&c, true) != 0)
		_exit(1);
	atomic_store(&talk->count[0], c.byte);
	tell();
	sleep_for_ever();
}

START_TEST(a_death_in_a_sync_leaves_doubt)
{
	struct control c = open_shared();
	struct kvlog_error err;
	bool doubtful;
	uint64_t begin;
	pid_t pid;

	ck_assert_int_eq(control_set_syncing(&c, false), 0);
	pid = start(sync_for_ever); /* not begun */
	hear(1);
	kill_now(pid);
	ck_assert_int_eq(control_take_sync(&c, 0, &doubtful, NULL), KVLOG_OK);
	ck_assert(!doubtful);
	control_release_sync(&c);

	atomic_store(&talk->flag, true);
	pid = start(sync_for_ever);
	hear(2);
	begin = os->ticks_ns();
	ck_assert_int_eq(
	    control_take_sync(&c, begin + 30000000, &doubtful, &err),
	    KVLOG_BUSY);
	ck_assert_uint_ge(os->ticks_ns() - begin, 30000000);
	ck_assert_ptr_nonnull(strstr(err.text, "syncs"));
	ck_assert_ptr_nonnull(strstr(err.text, path));
	kill_now(pid);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    control_take_sync(&c, 0, &doubtful, NULL), KVLOG_OK);
		ck_assert(doubtful);
		ck_assert_uint_eq(control_load(&c, CONTROL_SYNCING),
		    atomic_load(&talk->count[0]));
		if (i == 1)
			ck_assert_int_eq(control_set_syncing(&c, false), 0);
		control_release_sync(&c);
	}
	ck_assert_int_eq(control_take_sync(&c, 0, &doubtful, NULL), KVLOG_OK);
	ck_assert(!doubtful);
	ck_assert_int_eq(control_set_syncing(&c, true), 0);
	ck_assert_uint_eq(control_load(&c, CONTROL_SYNCING), c.byte);
	control_release_sync(&c);
	control_close(&c);
}
END_TEST

/* Fork */

static void
tell_and_sleep(void)
{
	tell(); /* it has closed what it inherited */
	sleep_for_ever();
}

static void
fork_and_sleep(void)
{
	struct control c = open_shared();
	bool died;

	if (control_take_turn(&c, 0, &died, NULL) != KVLOG_OK)
		_exit(1);
	atomic_store(&talk->count[1], (uint64_t)start(tell_and_sleep));
	tell_and_sleep();
}

/* A child must not keep the locks of its parent alive. */
START_TEST(locks_end_with_the_process_not_with_its_children)
{
	struct control c = open_shared(), second = open_control(true);
	pid_t pid = start(fork_and_sleep);
	uint32_t forks = registry_forks();

	hear(2);
	ck_assert_uint_eq(registry_forks(), forks); /* only the child counts */
	kill_now(pid);
	ck_assert(take_turn(&c, 0));
	control_release_turn(&c);
	control_close(&c);
	ck_assert_int_eq(lock(&second, false, 0, NULL), KVLOG_OK);
	control_close(&second);
	ck_assert_int_eq(kill((pid_t)atomic_load(&talk->count[1]), SIGKILL), 0);
}
END_TEST

static struct control inherited;

static void
close_in_a_child(void)
{
	struct control own;

	if (inherited.forks == registry_forks())
		_exit(1);
	if (fcntl(inherited.fd, F_GETFD) != -1)
		_exit(2);
	own = open_control(false); /* on the same descriptor, perhaps */
	control_close(&inherited);
	if (inherited.map.addr != NULL || inherited.fd != -1 ||
	    fcntl(own.fd, F_GETFD) == -1)
		_exit(3);
	if (!control_writer_lives(&own))
		_exit(4);
}

START_TEST(a_child_that_closes_leaves_all_to_its_parent)
{
	inherited = open_shared();
	(void)take_turn(&inherited, 0);
	await(start(close_in_a_child));
	ck_assert_uint_eq(
	    control_load(&inherited, CONTROL_TURN_OF), inherited.byte);
	ck_assert_int_eq(open_elsewhere(kind, false, 0), KVLOG_BUSY);
	control_release_turn(&inherited);
	control_close(&inherited);
}
END_TEST

/* Shared words */

static void
close_when_told(void)
{
	struct control c = open_shared();

	tell();
	while (atomic_load(&talk->heard) < 1)
		nap();
	control_close(&c);
}

/* Without a boot id: as long as one of those lives that write to it. */
START_TEST(without_a_boot_id_a_page_lives_as_long_as_one_of_its_writers)
{
	struct control c, reader;
	struct control_state state;
	pid_t pid;

	forget_the_boot_id();
	c = open_shared();
	ck_assert_int_eq(control_set_syncing(&c, false), 0);
	ck_assert_int_eq(os->store_word(&c.map, 8 * CONTROL_POISON, 0), 0);
	pid = start(close_when_told);
	hear(1);
	reader = open_control(false);
	ck_assert(control_read(&reader, &state));
	control_close(&c);
	ck_assert(control_read(&reader, &state));
	ck_assert_uint_eq(state.position, sample.position);
	ck_assert(control_writer_lives(&reader));
	atomic_store(&talk->heard, 1);
	await(pid);
	ck_assert(!control_read(&reader, &state));
	control_close(&reader);
}
END_TEST

START_TEST(words_are_shared)
{
	struct control c = open_shared(), reader = open_control(false);
	uint64_t seen, generation;

	ck_assert_uint_eq(control_position(&reader), sample.position);
	ck_assert_uint_eq(control_generation(&reader), sample.generation);
	ck_assert_uint_eq(control_durable(&reader), sample.durable);
	ck_assert_uint_eq(control_synced(&reader), sample.synced);
	ck_assert(control_poisoned(&reader));
	ck_assert(!control_reserve_used(&reader));
	ck_assert_int_eq(control_set_reserve_used(&c, true), 0);
	ck_assert(control_reserve_used(&reader));
	ck_assert_int_eq(control_set_reserve_used(&c, false), 0);
	ck_assert(!control_reserve_used(&reader));

	seen = control_stamp(&reader);
	ck_assert_int_eq(control_set_position(&c, 1), 0);
	ck_assert_int_eq(control_set_durable(&c, 1), 0);
	(void)take_turn(&c, 0);
	control_release_turn(&c);
	ck_assert_uint_eq(control_stamp(&reader), seen);
	ck_assert_int_eq(control_next_generation(&c), 0);
	ck_assert_uint_ne(control_stamp(&reader), seen);
	seen = control_stamp(&reader);
	ck_assert_uint_eq(control_stamp(&reader), seen);
	generation = control_generation(&reader);
	control_close(&c);
	ck_assert_uint_eq(control_stamp(&reader), seen);
	c = open_shared(); /* another nonce, the same generation */
	ck_assert_int_eq(control_next_generation(&c), 0);
	ck_assert_uint_eq(control_generation(&reader), generation);
	ck_assert_uint_ne(control_stamp(&reader), seen);
	seen = control_stamp(&reader);
	ck_assert_int_eq(os->store_word(&c.map, 8 * CONTROL_VALID, 0), 0);
	ck_assert_uint_ne(control_stamp(&reader), seen);
	control_close(&c);
	control_close(&reader);

	ck_assert_int_eq(unlink(lock_path), 0);
	reader = open_control(false);
	ck_assert_uint_eq(control_position(&reader), 0);
	ck_assert(!control_poisoned(&reader));
	seen = control_stamp(&reader);
	ck_assert_uint_eq(control_stamp(&reader), seen);
	control_close(&reader);
}
END_TEST

static void
be_maintainer(void)
{
	struct control c = open_shared();

	atomic_store(&talk->flag,
	    control_try_maintainer(&c) && control_try_maintainer(&c));
	tell();
	sleep_for_ever();
}

START_TEST(one_maintainer_at_a_time)
{
	struct control c = open_shared(), reader;
	pid_t pid = start(be_maintainer);

	hear(1);
	ck_assert(atomic_load(&talk->flag));
	ck_assert(!control_try_maintainer(&c));
	kill_now(pid);
	ck_assert(control_try_maintainer(&c));
	pid = start(be_maintainer);
	hear(2);
	ck_assert(!atomic_load(&talk->flag));
	kill_now(pid);
	control_drop_maintainer(&c);
	pid = start(be_maintainer);
	hear(3);
	ck_assert(atomic_load(&talk->flag));
	kill_now(pid);
	/* Closing ends it also if the descriptor must stay open a while. */
	ck_assert(control_try_maintainer(&c));
	reader = open_control(false);
	control_close(&c);
	pid = start(be_maintainer);
	hear(4);
	ck_assert(atomic_load(&talk->flag));
	kill_now(pid);
	control_close(&reader);
}
END_TEST

static int stat_result;

static int
failing_stat(int fd, struct os_stat *ret)
{
	(void)fd;
	(void)ret;
	return stat_result;
}

static int
failing_stat_name(int dirfd, const char *name, struct os_stat *ret)
{
	(void)dirfd;
	(void)name;
	(void)ret;
	return stat_result;
}

/* Somebody else's directory or lock file is in the place of what was opened. */
START_TEST(what_has_lost_its_name_is_noticed)
{
	struct control c;
	char *other = files_path(path, "other");

	make_page();
	c = open_control(false);
	ck_assert(control_is_named(&c, &dir));
	ck_assert(!control_is_superseded(&c, &dir));
	/* What cannot be looked at may be there still. */
	stat_result = EIO;
	table.stat = failing_stat;
	table.stat_name = failing_stat_name;
	ck_assert(control_is_named(&c, &dir));
	ck_assert(!control_is_superseded(&c, &dir));
	table.stat = os_real.stat;
	table.stat_name = os_real.stat_name;

	ck_assert_int_eq(rename(lock_path, other), 0);
	ck_assert(!control_is_named(&c, &dir));
	ck_assert(!control_is_superseded(&c, &dir)); /* a copy without it */
	ck_assert_int_eq(mkdir(lock_path, 0700), 0);
	ck_assert(!control_is_named(&c, &dir));
	ck_assert(!control_is_superseded(&c, &dir)); /* nobody's lock file */
	ck_assert_int_eq(rmdir(lock_path), 0);
	ck_assert_int_eq(control_create(&dir, NULL), KVLOG_OK);
	ck_assert(!control_is_named(&c, &dir));
	ck_assert(control_is_superseded(&c, &dir));
	c.barred = true; /* it could not read the first one */
	ck_assert(!control_is_superseded(&c, &dir));
	c.barred = false;

	ck_assert_int_eq(unlink(lock_path), 0);
	ck_assert_int_eq(rename(other, lock_path), 0);
	ck_assert(!control_is_superseded(&c, &dir));
	ck_assert_int_eq(unlink(lock_path), 0);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert(control_is_superseded(&c, &dir));
	ck_assert_int_eq(mkdir(path, 0700), 0); /* for teardown() */
	control_close(&c);
	free(other);
}
END_TEST

/* While the first writer of a process opens, there is nothing to share. */
START_TEST(who_opens_is_not_shared)
{
	struct control first, second;
	struct kvlog_error err = {0};

	make_page();
	first = open_control(true);
	ck_assert_int_eq(lock(&first, true, 0, NULL), KVLOG_OK);
	for (unsigned shared = 0; shared < 2; shared++) {
		second = open_control(true);
		ck_assert_int_eq(lock(&second, shared, 0, &err), KVLOG_BUSY);
		ck_assert_ptr_null(second.other);
		ck_assert_ptr_nonnull(strstr(err.text, "in this process"));
		control_close(&second);
	}
	control_opened(&first);
	control_close(&first);
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
	tcase_set_timeout(tc, 300);
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
	tcase_add_test(tc, what_has_lost_its_name_is_noticed);
	tcase_add_test(tc, who_opens_is_not_shared);
	tcase_add_test(tc, the_note_is_kept_and_checked);
	tcase_add_test(tc, positions_are_packed);
	suite_add_tcase(suite, tc);

	/* By mutexes, and by lock bytes. */
	for (int i = KVLOG_ROBUST_MUTEX ? 0 : 1; i < 2; i++) {
		tc = tcase_create(i == 0 ? "mutex" : "byte");
		if (i == 0)
			tcase_add_checked_fixture(
			    tc, setup_mutex, teardown_sharing);
		else
			tcase_add_checked_fixture(
			    tc, setup_byte, teardown_sharing);
		tcase_set_timeout(tc, 300);
		tcase_add_test(tc, writers_join);
		tcase_add_test(tc, sharing_is_mutual);
		tcase_add_test(tc, the_dead_are_not_named);
		tcase_add_test(tc, who_wants_to_be_alone_waits);
		tcase_add_test(tc, another_tag_cannot_join);
		tcase_add_test(tc, a_page_damaged_meanwhile_cannot_be_joined);
		tcase_add_test(tc, there_is_a_limit);
		tcase_add_test(
		    tc, on_file_systems_written_by_pwrite_nobody_shares);
		tcase_add_test(tc, the_last_writer_knows);
		tcase_add_test(tc, who_writes_alone_is_the_last);
		tcase_add_test(tc, closing_waits_no_longer_than_told);
		tcase_add_test(tc, one_turn_at_a_time);
		tcase_add_test(tc, a_death_in_a_turn_is_told_to_the_next);
		tcase_add_test(
		    tc, nobody_takes_the_byte_of_one_who_died_in_its_turn);
		tcase_add_test(tc, a_turn_is_taken_over_from_the_dead_only);
		tcase_add_test(tc, closing_within_a_turn_is_like_dying);
		tcase_add_test(tc, turns_are_cheap);
		tcase_add_test(tc, a_turn_that_fails_holds_nothing);
		tcase_add_test(tc, turns_are_shared_out);
		tcase_add_test(tc, who_has_had_its_turns_waits_for_another);
		tcase_add_test(tc, a_killed_waiter_slows_nobody);
		tcase_add_test(tc, a_death_in_a_sync_leaves_doubt);
		tcase_add_test(
		    tc, locks_end_with_the_process_not_with_its_children);
		tcase_add_test(
		    tc, a_child_that_closes_leaves_all_to_its_parent);
		tcase_add_test(tc,
		    without_a_boot_id_a_page_lives_as_long_as_one_of_its_writers);
		tcase_add_test(tc, words_are_shared);
		tcase_add_test(tc, one_maintainer_at_a_time);
		suite_add_tcase(suite, tc);
	}
	return test_main(suite);
}
