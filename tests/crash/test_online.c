/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_online.c - compactions beside writers and readers of other processes,
 * killed with SIGKILL at random moments: nobody ever sees a key lost, reverted
 * or come back, and what was replaced is let go.
 *
 * Two writers, with their index in memory and in the hints, change keys, each
 * its own; the number of a change says what it does.  Before and after each it
 * notes in shared memory that it has begun it and done it: so whoever looks at
 * a key knows between which changes what he finds must lie.
 *
 * KVLOG_KILL_ROUNDS=n   compactors that are killed (default 25)
 * KVLOG_SEED=n          repeats changes and delays
 */
#include "config.h"

#include "kill.h"
#include "tmpdir.h"

#include <kvlog.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS 600u
#define WRITERS 2u
#define READERS 2u
#define VALUE_MAX 700u
#define SEGMENT_SIZE 65536u
#define LIFE_MIN_US 80000u /* of compactors that are killed */
#define LIFE_MAX_US 5000000u
#define LIFE_ROUNDS 3u /* without a run that was ended: they live longer */

/* What all processes share. */
struct board {
	_Atomic uint32_t begun[KEYS], done[KEYS];
	_Atomic bool stop;
	_Atomic uint64_t changes, looks, compactions, runs;
};

static uint64_t seed;
static char path[4200];
static struct board *board;
static pid_t parent;

/* Of the process that fails, before it ends. */
static void
give_up(const char *what, unsigned key, const char *detail)
{
	fprintf(stderr, "KVLOG_SEED=%" PRIu64 ": %s: key %u: %s\n", seed, what,
	    key, detail);
	_exit(1);
}

/* Nobody outlives the test. */
static bool
goes_on(void)
{
	return !atomic_load(&board->stop) && getppid() == parent;
}

static struct kvlog *
open_store(unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = flags;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = SEGMENT_SIZE;
	o.index_mode = mode;
	o.timeout_ms = 20000;
	if (kvlog_open(path, &o, &db, &err) != KVLOG_OK)
		give_up("open", 0, err.text);
	return db;
}

static enum kvlog_index_mode
mode_of(unsigned n)
{
	return n % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
}

/* What a change does follows from its number; number 0: never written. */
static bool
is_delete(unsigned key, uint32_t change)
{
	return change == 0 || rng_mix(key * 7919u + change) % 4 == 0;
}

static size_t
make_value(uint8_t value[VALUE_MAX], unsigned key, uint32_t change)
{
	struct rng rng;
	size_t len;

	rng_init(&rng, (uint64_t)key << 32 | change);
	len = 8 + (size_t)rng_below(&rng, VALUE_MAX - 8);
	rng_fill(&rng, value, len);
	memcpy(value, &change, sizeof change);
	return len;
}

static size_t
make_key(char text[16], unsigned key)
{
	return (size_t)snprintf(text, 16, "key %u", key);
}

/* What was found must be what one of the changes from first to last left. */
static void
judge(const char *who, unsigned key, uint32_t first, uint32_t last,
    enum kvlog_status st, const uint8_t *value, size_t len)
{
	uint8_t wanted[VALUE_MAX];
	char text[100];
	uint32_t change = 0;

	if (st == KVLOG_OK && len >= sizeof change) {
		memcpy(&change, value, sizeof change);
		if (change >= first && change <= last &&
		    !is_delete(key, change) &&
		    make_value(wanted, key, change) == len &&
		    memcmp(wanted, value, len) == 0)
			return;
	}
	for (uint32_t n = first; st == KVLOG_NOTFOUND && n <= last; n++)
		if (is_delete(key, n))
			return;
	snprintf(text, sizeof text, "%s, change %u; wanted one of %u to %u",
	    kvlog_status_text(st), (unsigned)change, (unsigned)first,
	    (unsigned)last);
	give_up(who, key, text);
}

static void
look(struct kvlog *db, const char *who, unsigned key)
{
	uint8_t value[VALUE_MAX];
	char text[16];
	size_t len = 0, key_len = make_key(text, key);
	uint32_t first = atomic_load(&board->done[key]);
	enum kvlog_status st =
	    kvlog_get(db, text, key_len, value, sizeof value, &len);

	judge(who, key, first, atomic_load(&board->begun[key]), st, value, len);
	atomic_fetch_add(&board->looks, 1);
}

/* A walk shows each key as it was when the walk began. */
static void
walk(struct kvlog *db, const char *who)
{
	static uint32_t first[KEYS], last[KEYS];
	static bool seen[KEYS];
	struct kvlog_iter *iter;
	enum kvlog_status st;

	memset(seen, 0, sizeof seen);
	for (unsigned k = 0; k < KEYS; k++)
		first[k] = atomic_load(&board->done[k]);
	st = kvlog_iter_create(db, NULL, 0, &iter);
	if (st != KVLOG_OK)
		give_up(who, 0, kvlog_status_text(st));
	for (unsigned k = 0; k < KEYS; k++)
		last[k] = atomic_load(&board->begun[k]);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		size_t len, value_len;
		const char *text = kvlog_iter_key(iter, &len);
		const uint8_t *value = kvlog_iter_value(iter, &value_len);
		unsigned k = 0;

		for (size_t i = 4; i < len; i++)
			k = k * 10 + (unsigned)(text[i] - '0');
		if (k >= KEYS || seen[k])
			give_up(who, k, "seen twice, or unknown");
		seen[k] = true;
		judge(who, k, first[k], last[k], KVLOG_OK, value, value_len);
	}
	if (st != KVLOG_NOTFOUND)
		give_up(who, 0, kvlog_status_text(st));
	kvlog_iter_destroy(iter);
	for (unsigned k = 0; k < KEYS; k++)
		if (!seen[k])
			judge(
			    who, k, first[k], last[k], KVLOG_NOTFOUND, NULL, 0);
}

/* Change a key; every so often several at once. */
static void
change(struct kvlog *db, struct rng *rng, unsigned writer)
{
	static uint8_t values[3][VALUE_MAX];
	char keys[3][16];
	struct kvlog_op ops[3];
	unsigned numbers[3];
	size_t count = rng_below(rng, 5) == 0 ? 3 : 1;
	enum kvlog_status st;

	memset(ops, 0, sizeof ops);
	for (size_t i = 0; i < count; i++) {
		unsigned k =
		    (unsigned)(rng_below(rng, KEYS / WRITERS / 3) * 3 + i) *
			WRITERS +
		    writer;
		uint32_t n = atomic_load(&board->done[k]) + 1;

		numbers[i] = k;
		ops[i].key = keys[i];
		ops[i].key_len = make_key(keys[i], k);
		ops[i].type = is_delete(k, n) ? KVLOG_OP_DELETE : KVLOG_OP_PUT;
		if (ops[i].type == KVLOG_OP_PUT) {
			ops[i].value = values[i];
			ops[i].value_len = make_value(values[i], k, n);
		}
		atomic_store(&board->begun[k], n);
	}
	st = kvlog_apply(db, ops, count, NULL, NULL, NULL);
	if (st != KVLOG_OK)
		give_up("writer", numbers[0], kvlog_status_text(st));
	for (size_t i = 0; i < count; i++)
		atomic_fetch_add(&board->done[numbers[i]], 1);
	atomic_fetch_add(&board->changes, 1);
}

static void
run_writer(unsigned n)
{
	struct kvlog *db = open_store(0, mode_of(n));
	struct rng rng;

	rng_init(&rng, seed * 31 + n);
	while (goes_on()) {
		struct timespec pause = {0, 200000};

		for (unsigned i = 0; i < 20; i++)
			change(db, &rng, n);
		look(db, "writer", (unsigned)rng_below(&rng, KEYS));
		if (rng_below(&rng, 100) == 0)
			walk(db, "walk of a writer");
		/* One that is often idle has more to take in at once. */
		pause.tv_nsec = rng_below(&rng, 50) == 0 ? 30000000 : 200000;
		(void)nanosleep(&pause, NULL);
	}
	if (kvlog_close(db, NULL) != KVLOG_OK)
		give_up("close", 0, "writer");
}

static void
run_reader(unsigned n)
{
	struct kvlog *db = open_store(KVLOG_OPEN_READONLY, mode_of(n));
	struct rng rng;

	rng_init(&rng, seed * 37 + n);
	while (goes_on()) {
		struct timespec pause = {0, 500000};

		for (unsigned i = 0; i < 50; i++)
			look(db,
			    n == 0 ? "reader in memory" : "reader in hints",
			    (unsigned)rng_below(&rng, KEYS));
		if (rng_below(&rng, 20) == 0)
			walk(db, "walk of a reader");
		(void)nanosleep(&pause, NULL);
	}
	(void)kvlog_close(db, NULL);
}

static void
run_compactor(unsigned n)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db = open_store(0, mode_of(n));

	o.timeout_ms = 20000;
	o.flags = n % 3 == 0 ? KVLOG_COMPACT_ALL : 0;
	o.threshold = 1;
	while (goes_on()) {
		struct kvlog_compact_report report = {.size = sizeof report};
		struct kvlog_error err = {0};
		enum kvlog_status st = kvlog_compact(db, &o, &report, &err);

		if (st != KVLOG_OK)
			give_up("compact", 0, err.text);
		atomic_fetch_add(&board->compactions, 1);
		atomic_fetch_add(&board->runs, report.run_count);
	}
}

static pid_t
start(void (*run)(unsigned n), unsigned n)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		run(n);
		_exit(0);
	}
	return pid;
}

static void
expect_good_end(pid_t pid)
{
	int status = 0;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	    "KVLOG_SEED=%" PRIu64 ": a process ended with %#x", seed,
	    (unsigned)status);
}

static void
kill_compactor(pid_t pid)
{
	int status = 0;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status),
	    "KVLOG_SEED=%" PRIu64 ": the compactor ended with %#x", seed,
	    (unsigned)status);
	ck_assert_msg(waitpid(-1, &status, WNOHANG) == 0,
	    "KVLOG_SEED=%" PRIu64 ": a process ended with %#x", seed,
	    (unsigned)status);
}

/* How long a compactor is to live at most, in us: by how long one takes that
 * is left alone until it has ended a run. */
static uint64_t
measure_life(void)
{
	const struct timespec pause = {0, 1000000};
	struct timespec begin, end;
	pid_t pid = start(run_compactor, 0);
	uint64_t us;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (atomic_load(&board->runs) == 0) {
		(void)nanosleep(&pause, NULL);
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	kill_compactor(pid);
	us = (uint64_t)(end.tv_sec - begin.tv_sec) * 1000000 +
	     (uint64_t)end.tv_nsec / 1000 - (uint64_t)begin.tv_nsec / 1000;
	us = 2 * us > LIFE_MIN_US ? 2 * us : LIFE_MIN_US;
	return us < LIFE_MAX_US ? us : LIFE_MAX_US;
}

/* A compactor lives for some time, and is killed; the others must live. */
static void
compact_and_kill(struct rng *rng, unsigned round, uint64_t life_us)
{
	struct timespec pause = {0, 0};
	uint64_t us = 1000 + rng_below(rng, life_us);
	pid_t pid = start(run_compactor, round);

	pause.tv_sec = (time_t)(us / 1000000);
	pause.tv_nsec = (long)(us % 1000000) * 1000;
	(void)nanosleep(&pause, NULL);
	kill_compactor(pid);
}

static void
check_end(unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog *db = open_store(flags, mode);

	for (unsigned k = 0; k < KEYS; k++) {
		ck_assert_uint_eq(atomic_load(&board->begun[k]),
		    atomic_load(&board->done[k]));
		look(db, "at the end", k);
	}
	walk(db, "walk at the end");
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

static void
verify(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	enum kvlog_status st = kvlog_verify(path, NULL, &report, &err);

	ck_assert_msg(st == KVLOG_OK, "KVLOG_SEED=%" PRIu64 ": verify: %s",
	    seed, err.text);
}

START_TEST(killed_compactions_change_nothing)
{
	unsigned rounds = (unsigned)kill_rounds(25);
	char *dir = tmpdir_create();
	pid_t pids[WRITERS + READERS];
	uint64_t life_us;
	unsigned vain = 0;
	struct rng rng;

	parent = getpid();
	rng_init(&rng, seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	ck_assert_int_eq(
	    kvlog_close(
		open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY), NULL),
	    KVLOG_OK);
	for (unsigned i = 0; i < WRITERS; i++)
		pids[i] = start(run_writer, i);
	for (unsigned i = 0; i < READERS; i++)
		pids[WRITERS + i] = start(run_reader, i);
	life_us = measure_life();
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t before = atomic_load(&board->runs);

		compact_and_kill(&rng, i, life_us);
		if (atomic_load(&board->runs) > before)
			vain = 0;
		else if (++vain % LIFE_ROUNDS == 0 && life_us < LIFE_MAX_US)
			life_us *= 2;
	}
	atomic_store(&board->stop, true);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		expect_good_end(pids[i]);
	check_end(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	check_end(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	check_end(0, KVLOG_INDEX_MEMORY);
	verify();
	printf("%u compactors killed; %" PRIu64 " compactions ended, %" PRIu64
	       " runs, %" PRIu64 " changes, %" PRIu64 " looks\n",
	    rounds, atomic_load(&board->compactions), atomic_load(&board->runs),
	    atomic_load(&board->changes), atomic_load(&board->looks));
	(void)fflush(stdout);
	ck_assert_uint_gt(atomic_load(&board->runs), 0);
	ck_assert_uint_gt(atomic_load(&board->changes), 0);
	(void)munmap(board, sizeof *board);
	tmpdir_remove(dir);
}
END_TEST

/* What is held of files that have no name any more */

/* Lines of /proc/self/maps that speak of segments that are deleted. */
static unsigned
count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[9000];
	unsigned count = 0;

	if (maps == NULL)
		give_up("maps", 0, "cannot be read");
	while (fgets(line, sizeof line, maps) != NULL)
		count += strstr(line, path) != NULL &&
			 strstr(line, ".seg (deleted)") != NULL;
	(void)fclose(maps);
	return count;
}

static unsigned
count_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		char name[40], target[4400];
		ssize_t len;

		(void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		len = readlink(name, target, sizeof target - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		count += strstr(target, path) != NULL &&
			 strstr(target, ".seg (deleted)") != NULL;
	}
	return count;
}

enum { HANDLES = 4 };

static void
open_handles(struct kvlog *dbs[HANDLES], bool write_hints)
{
	dbs[0] =
	    open_store(0, write_hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY);
	dbs[1] = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	dbs[2] = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	dbs[3] = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
}

/* A process with handles of all kinds, which calls each of them once when it
 * is asked to, and tells what it still holds. */
static void
run_holder(bool write_hints, int in, int out)
{
	struct kvlog *dbs[HANDLES];
	char how;

	open_handles(dbs, write_hints);
	how = 0;
	if (write(out, &how, 1) != 1)
		return;
	while (read(in, &how, 1) == 1 && how != 'q') {
		unsigned held[3] = {0};

		held[0] = count_maps();
		if (how == 'w') /* a commit is a call, too */
			change(dbs[0], &(struct rng){.state = {1, 2, 3, 4}}, 1);
		for (size_t i = how == 'w'; i < HANDLES; i++)
			look(dbs[i], "holder", 5);
		held[1] = count_maps();
		held[2] = count_fds();
		if (write(out, held, sizeof held) != sizeof held)
			return;
	}
	for (size_t i = 0; i < HANDLES; i++)
		(void)kvlog_close(dbs[i], NULL);
}

static void
compact_all(struct kvlog *db)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err = {0};

	o.flags = KVLOG_COMPACT_ALL;
	o.timeout_ms = 20000;
	if (kvlog_compact(db, &o, &report, &err) != KVLOG_OK)
		give_up("compact", 0, err.text);
	ck_assert_uint_gt(report.run_count, 0);
}

/* _i: what index the other process writes with. */
START_TEST(what_was_replaced_is_let_go_at_the_next_call)
{
	char *dir = tmpdir_create();
	struct kvlog *dbs[HANDLES];
	int to[2], from[2];
	struct rng rng;
	char ready;
	pid_t pid;

	rng_init(&rng, seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	dbs[0] = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	for (unsigned i = 0; i < 3000; i++)
		change(dbs[0], &rng, 0);
	ck_assert_int_eq(kvlog_close(dbs[0], NULL), KVLOG_OK);
	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)close(to[1]);
		run_holder(_i != 0, to[0], from[1]);
		_exit(0);
	}
	(void)close(to[0]);
	ck_assert_int_eq(read(from[0], &ready, 1), 1);
	open_handles(dbs, _i != 0);
	for (unsigned round = 0; round < 6; round++) {
		char how = round % 2 == 0 ? 'r' : 'w';
		unsigned held[3];

		for (unsigned i = 0; i < 1000; i++)
			change(dbs[0], &rng, 0);
		for (size_t i = 0; i < HANDLES; i++)
			look(dbs[i], "before", 3);
		compact_all(dbs[0]);
		for (size_t i = 0; i < HANDLES; i++)
			look(dbs[i], "after", 3);
		ck_assert_uint_eq(count_maps(), 0);
		ck_assert_uint_eq(count_fds(), 0);
		ck_assert_int_eq(write(to[1], &how, 1), 1);
		ck_assert_int_eq(
		    read(from[0], held, sizeof held), (ssize_t)sizeof held);
		ck_assert_uint_gt(held[0], 0);
		ck_assert_uint_eq(held[1], 0);
		ck_assert_uint_eq(held[2], 0);
	}
	ck_assert_int_eq(write(to[1], "q", 1), 1);
	expect_good_end(pid);
	for (size_t i = 0; i < HANDLES; i++)
		ck_assert_int_eq(kvlog_close(dbs[i], NULL), KVLOG_OK);
	check_end(0, KVLOG_INDEX_MEMORY);
	(void)munmap(board, sizeof *board);
	tmpdir_remove(dir);
}
END_TEST

/* A pin keeps its values, and a walk what it shows, until they end. */
START_TEST(pins_and_walks_keep_what_they_show)
{
	char *dir = tmpdir_create();
	struct kvlog *dbs[HANDLES];
	struct kvlog_pin *pins[HANDLES];
	struct kvlog_iter *iters[HANDLES];
	const void *values[HANDLES][KEYS];
	size_t lens[HANDLES][KEYS];
	uint32_t changes[KEYS];
	char text[16];
	struct rng rng;

	rng_init(&rng, seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	dbs[0] = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	for (unsigned i = 0; i < 3000; i++)
		change(dbs[0], &rng, i % WRITERS);
	ck_assert_int_eq(kvlog_close(dbs[0], NULL), KVLOG_OK);
	open_handles(dbs, _i != 0);
	for (size_t i = 0; i < HANDLES; i++) {
		ck_assert_int_eq(kvlog_pin_create(dbs[i], &pins[i]), KVLOG_OK);
		ck_assert_int_eq(
		    kvlog_iter_create(dbs[i], NULL, 0, &iters[i]), KVLOG_OK);
		for (unsigned k = 0; k < KEYS; k++) {
			changes[k] = atomic_load(&board->done[k]);
			if (kvlog_pin_get(pins[i], text, make_key(text, k),
				&values[i][k], &lens[i][k]) != KVLOG_OK)
				values[i][k] = NULL;
		}
	}
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 1500; i++)
			change(dbs[0], &rng, i % WRITERS);
		compact_all(dbs[0]);
		for (size_t i = 0; i < HANDLES; i++)
			look(dbs[i], "beside pins", round);
	}
	/* Walks first: they keep segments, too. */
	for (size_t i = 0; i < HANDLES; i++) {
		unsigned count = 0;

		while (kvlog_iter_next(iters[i]) == KVLOG_OK)
			count++;
		for (unsigned k = 0; k < KEYS; k++)
			count -= values[i][k] != NULL;
		ck_assert_uint_eq(count, 0);
		kvlog_iter_destroy(iters[i]);
	}
	for (size_t i = 0; i < HANDLES; i++) {
		for (unsigned k = 0; k < KEYS; k++)
			judge("pin", k, changes[k], changes[k],
			    values[i][k] != NULL ? KVLOG_OK : KVLOG_NOTFOUND,
			    values[i][k], lens[i][k]);
		ck_assert_uint_gt(count_maps(), 0);
		kvlog_pin_destroy(pins[i]);
	}
	for (size_t i = 0; i < HANDLES; i++)
		look(dbs[i], "after pins", 3);
	ck_assert_uint_eq(count_maps(), 0);
	for (size_t i = 0; i < HANDLES; i++)
		ck_assert_int_eq(kvlog_close(dbs[i], NULL), KVLOG_OK);
	(void)munmap(board, sizeof *board);
	tmpdir_remove(dir);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("online");
	TCase *tc = kill_case(suite, &seed);

	tcase_add_test(tc, killed_compactions_change_nothing);
	tc = tcase_create("space");
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(
	    tc, what_was_replaced_is_let_go_at_the_next_call, 0, 2);
	tcase_add_loop_test(tc, pins_and_walks_keep_what_they_show, 0, 2);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
