/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_steps.c - writers killed between any two of their steps, beside others
 * that go on.
 *
 * A victim is a process of its own, in which every call that changes something
 * others can see is counted; before call number n, or in the midst of a store,
 * it kills itself.  The survivor has the store open for writing all the while
 * (but where the victim shall be alone).  After the death
 *
 *   - what was acknowledged is there, and at most the commit in flight beside
 *     it, whole or not at all, also for who looks before anybody writes;
 *   - the survivor's next write, batch and sync work, and soon;
 *   - nothing on the control page speaks of the dead one any more;
 *   - a third process sees the same, writes, and is seen;
 *   - when all have closed, kvlog_verify() finds nothing but files of work that
 *     did not end; the next opening shows the same and removes them.
 *
 * Some victims die of cleaning up after others.
 *
 * KVLOG_STEPS=all        every n, instead of some: what "make steptest" runs
 * KVLOG_STEPS=NAME:N[,N]  this case alone, with a number for each victim
 * KVLOG_SEED=n           picks those that make check runs
 */
#include "config.h"

#include <kvlog.h>

#include "control.h"
#include "files.h"
#include "model.h"
#include "os.h"
#include "rng.h"
#include "test.h"
#include "tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL 8192u
#define VICTIMS 3  /* of a case, at most */
#define COMMITS 32 /* of a victim, at most */
#define BATCH 8    /* steps of one, at most */
#define TIMEOUT_MS 5000
#define SOON_MS 4000 /* with a machine that others use */
#define STUCK_MS 30000
#define PICKS 24      /* deaths of each script in make check */
#define DEEP_PICKS 40 /* and of those that die one after another */
#define DEEP_ALL 3000 /* of three victims, when all others have all */

/* What all processes of a case see. */
struct report {
	_Atomic bool ready, go;
	_Atomic unsigned begun, acked; /* commits */
	_Atomic uint64_t seq;          /* of the last one acknowledged */
	_Atomic uint64_t durable;      /* acknowledged as durable */
	_Atomic uint64_t steps;        /* taken */
	char failure[400];
};
struct board {
	struct report victims[VICTIMS];
	_Atomic uint64_t digest; /* of what the third process saw */
	_Atomic uint64_t third_seq;
	char failure[400];
};

/* A script runs twice: in the victim, and to tell what states it makes. */
struct run {
	struct kvlog *db; /* NULL: to tell */
	struct report *report;
	struct model *states; /* [i]: after i commits */
	unsigned commits;     /* begun */
	char letter;          /* its keys begin with it */
	enum kvlog_durability durability;
	const char *path; /* for scripts that open */
	const struct kvlog_options *options;
};

struct script {
	const char *name;
	void (*fn)(struct run *run);
	enum kvlog_durability durability;
	uint64_t segment_size;
	unsigned victims; /* this many; the later ones only put */
	bool from_open;   /* the opening's and closing's steps count too */
	bool alone;       /* nobody else has the store open */
	bool makes;       /* the store */
	bool thread;      /* of the library's, in the background */
	bool busy;        /* the survivor writes meanwhile */
	bool fails;       /* the survivor cannot clean up at first */
	bool late; /* later victims open the store when the first is dead */
};

static struct board *board;

/* The victim's steps */

static struct os_table stepped;
static _Atomic uint64_t steps, fatal; /* 0: none is */
static _Atomic bool counting;
static _Atomic uint64_t *steps_shown;

static _Noreturn void
die(void)
{
	for (;;)
		(void)kill(getpid(), SIGKILL);
}

/* True if it is the next one's turn to die. */
static bool
count_step(void)
{
	uint64_t n;

	if (!atomic_load(&counting))
		return false;
	n = atomic_fetch_add(&steps, 1) + 1;
	atomic_store(steps_shown, n);
	return n == atomic_load(&fatal);
}

static void
step(void)
{
	if (count_step())
		die();
}

static int
step_mkdir(const char *path, unsigned mode)
{
	step();
	return os_real.mkdir(path, mode);
}

static int
step_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	if (how == OS_OPEN_CREATE)
		step();
	return os_real.open(dirfd, name, how, mode, ret_fd);
}

static int
step_rename(int dirfd, const char *from, const char *to)
{
	step();
	return os_real.rename(dirfd, from, to);
}

static int
step_link(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
	step();
	return os_real.link(from_dirfd, from, to_dirfd, to);
}

static int
step_exchange(int dirfd, const char *a, const char *b)
{
	step();
	return os_real.exchange(dirfd, a, b);
}

static int
step_clone(int from_fd, int to_fd)
{
	step();
	return os_real.clone(from_fd, to_fd);
}

static int
step_rmdir(int dirfd, const char *name)
{
	step();
	return os_real.rmdir(dirfd, name);
}

static int
step_unlink(int dirfd, const char *name)
{
	step();
	return os_real.unlink(dirfd, name);
}

static int
step_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	step();
	if (count_step()) {
		(void)os_real.pwrite(fd, buf, len / 2, off);
		die();
	}
	return os_real.pwrite(fd, buf, len, off);
}

static int
step_allocate(int fd, uint64_t size)
{
	step();
	return os_real.allocate(fd, size);
}

static int
step_punch(int fd, uint64_t off)
{
	step();
	return os_real.punch(fd, off);
}

static int
step_truncate(int fd, uint64_t size)
{
	step();
	return os_real.truncate(fd, size);
}

/* No power is lost here, so that a sync has nothing to do. */
static int
step_sync(int fd)
{
	(void)fd;
	step();
	return 0;
}

static int
step_sync_parent(const char *path)
{
	(void)path;
	step();
	return 0;
}

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

static int
step_store(const struct os_map *map, uint64_t off, const void *src, size_t len)
{
	step();
	if (count_step()) {
		(void)os_real.store(map, off, src, len / 2);
		die();
	}
	return os_real.store(map, off, src, len);
}

static int
step_store_word(const struct os_map *map, uint64_t off, uint64_t word)
{
	step();
	return os_real.store_word(map, off, word);
}

static int
step_try_lock(int fd, uint64_t byte, enum os_lock kind)
{
	step();
	return os_real.try_lock(fd, byte, kind);
}

static int
step_mutex_init(const struct os_map *map, uint64_t off)
{
	step();
	return os_real.mutex_init(map, off);
}

static int
step_mutex_lock(const struct os_map *map, uint64_t off, uint64_t until)
{
	step();
	return os_real.mutex_lock(map, off, until);
}

static void
step_mutex_unlock(const struct os_map *map, uint64_t off)
{
	step();
	os_real.mutex_unlock(map, off);
}

static void
count_steps(struct report *report, uint64_t at)
{
	stepped = os_real;
	stepped.mkdir = step_mkdir;
	stepped.open = step_open;
	stepped.rename = step_rename;
	stepped.link = step_link;
	stepped.exchange = step_exchange;
	stepped.clone = step_clone;
	stepped.unlink = step_unlink;
	stepped.rmdir = step_rmdir;
	stepped.pwrite = step_pwrite;
	stepped.allocate = step_allocate;
	stepped.punch = step_punch;
	stepped.truncate = step_truncate;
	stepped.sync = step_sync;
	stepped.sync_dir = step_sync;
	stepped.sync_parent = step_sync_parent;
	stepped.store = step_store;
	stepped.store_word = step_store_word;
	stepped.try_lock = step_try_lock;
	stepped.mutex_init = step_mutex_init;
	stepped.mutex_lock = step_mutex_lock;
	stepped.mutex_unlock = step_mutex_unlock;
	os = &stepped;
	steps_shown = &report->steps;
	atomic_store(&fatal, at);
}

/* Small things */

static void
nap(void)
{
	(void)nanosleep(&(struct timespec){0, 50000}, NULL);
}

static uint64_t
now_ms(void)
{
	struct timespec now = {0, 0};

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Of a process other than the test's: its last words. */
static _Noreturn void
give_up(char *failure, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(failure, 400, format, args);
	va_end(args);
	_exit(1);
}

static uint64_t
digest(const struct model *model)
{
	uint64_t word = model->count;

	for (size_t i = 0; i < model->count; i++) {
		const struct model_entry *e = &model->entries[i];

		for (size_t k = 0; k < e->key->len; k++)
			word = rng_mix(word ^ e->key->bytes[k]);
		for (size_t k = 0; k < e->value->len; k++)
			word = rng_mix(word + e->value->bytes[k]);
		word = rng_mix(word + e->seq);
	}
	return word;
}

/* Scripts */

struct part {
	unsigned key;
	size_t len; /* of the value; GONE: a delete */
};
#define GONE SIZE_MAX
#define LONGEST 20000

static void
make_key(const struct run *run, unsigned key, char text[8])
{
	(void)snprintf(text, 8, "%c%02u", run->letter, key % 100);
}

/* No two values are alike. */
static void
make_value(const struct run *run, unsigned part, uint8_t *value, size_t len)
{
	struct rng rng;

	rng_init(&rng, (uint64_t)run->letter << 32 | run->commits << 8 | part);
	rng_fill(&rng, value, len);
}

static void
tell(struct run *run, const struct part *parts, size_t count)
{
	static uint8_t value[LONGEST];
	struct model *state = &run->states[run->commits];

	model_copy(state, &run->states[run->commits - 1]);
	for (size_t i = 0; i < count; i++) {
		char key[8];

		make_key(run, parts[i].key, key);
		if (parts[i].len == GONE) {
			(void)model_delete(state, key, strlen(key));
			continue;
		}
		make_value(run, (unsigned)i, value, parts[i].len);
		model_put(state, key, strlen(key), value, parts[i].len,
		    MODEL_ANY_SEQ);
	}
}

static enum kvlog_status
apply(struct run *run, const struct part *parts, size_t count,
    struct kvlog_receipt *receipt, struct kvlog_error *err)
{
	static uint8_t values[BATCH][LONGEST];
	char keys[BATCH][8];
	struct kvlog_op ops[BATCH] = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.durability = run->durability;
	how.err = err;
	for (size_t i = 0; i < count; i++) {
		bool gone = parts[i].len == GONE;

		make_key(run, parts[i].key, keys[i]);
		ops[i].type = gone ? KVLOG_OP_DELETE : KVLOG_OP_PUT;
		ops[i].key = keys[i];
		ops[i].key_len = strlen(keys[i]);
		if (gone)
			continue;
		make_value(run, (unsigned)i, values[i], parts[i].len);
		ops[i].value = values[i];
		ops[i].value_len = parts[i].len;
	}
	if (count > 1)
		return kvlog_apply(run->db, ops, count, &how, receipt, NULL);
	if (parts[0].len == GONE)
		return kvlog_delete(
		    run->db, ops[0].key, ops[0].key_len, &how, receipt);
	return kvlog_put(run->db, ops[0].key, ops[0].key_len, ops[0].value,
	    ops[0].value_len, &how, receipt);
}

static void
commit(struct run *run, const struct part *parts, size_t count)
{
	struct report *report = run->report;
	struct kvlog_receipt receipt = {0};
	struct kvlog_error err = {0};
	enum kvlog_status st;

	run->commits++;
	if (run->commits >= COMMITS || count > BATCH)
		abort();
	if (run->states != NULL) {
		tell(run, parts, count);
		return;
	}
	atomic_store(&report->begun, run->commits);
	st = apply(run, parts, count, &receipt, &err);
	if (st != KVLOG_OK)
		give_up(report->failure, "commit %u: %s (%s)", run->commits,
		    kvlog_status_text(st), err.text);
	atomic_store(&report->seq, receipt.seq);
	if (run->durability == KVLOG_DURABILITY_COMMIT)
		atomic_store(&report->durable, receipt.seq);
	atomic_store(&report->acked, run->commits);
}

static void
put(struct run *run, unsigned key, size_t len)
{
	commit(run, &(struct part){key, len}, 1);
}

static void
gone(struct run *run, unsigned key)
{
	commit(run, &(struct part){key, GONE}, 1);
}

static void
maintain(struct run *run, uint32_t budget_ms)
{
	enum kvlog_status st;
	bool more = true;

	if (run->states != NULL)
		return;
	for (unsigned i = 0; i < 20 && more; i++) {
		st = kvlog_maintain(run->db, budget_ms, &more);
		if (st != KVLOG_OK)
			give_up(run->report->failure, "maintain: %s",
			    kvlog_status_text(st));
	}
}

static void
sync_all(struct run *run)
{
	enum kvlog_status st;

	if (run->states != NULL)
		return;
	st = kvlog_sync(run->db);
	if (st != KVLOG_OK)
		give_up(
		    run->report->failure, "sync: %s", kvlog_status_text(st));
	atomic_store(&run->report->durable, run->report->seq);
}

static void
open_it(struct run *run)
{
	struct kvlog_error err = {0};
	enum kvlog_status st;

	if (run->states != NULL)
		return;
	st = kvlog_open(run->path, run->options, &run->db, &err);
	if (st != KVLOG_OK)
		give_up(run->report->failure, "open: %s (%s)",
		    kvlog_status_text(st), err.text);
}

static void
close_it(struct run *run)
{
	struct kvlog_error err = {0};
	enum kvlog_status st;

	if (run->states != NULL)
		return;
	st = kvlog_close(run->db, &err);
	if (st != KVLOG_OK)
		give_up(run->report->failure, "close: %s (%s)",
		    kvlog_status_text(st), err.text);
	atomic_store(&run->report->durable, run->report->seq);
}

static void
small_puts(struct run *run)
{
	put(run, 0, 10);
	put(run, 1, 0);
	put(run, 0, 200);
}

static void
one_put(struct run *run)
{
	put(run, 0, 30);
}

static void
batches(struct run *run)
{
	const struct part first[] = {{0, 20}, {1, 300}, {2, 0}, {3, 40}};
	const struct part second[] = {
	    {4, 50}, {1, GONE}, {2, 10}, {2, 11}, {3, GONE}, {9, GONE}};

	commit(run, first, 4);
	commit(run, second, 6);
}

static void
deletes(struct run *run)
{
	put(run, 0, 5);
	put(run, 1, 5);
	gone(run, 0);
	gone(run, 1);
	put(run, 1, 6);
}

/* Larger than what is put together before it is stored. */
static void
large(struct run *run)
{
	const struct part both[] = {{0, 5000}, {1, 1100}, {2, 2000}};

	put(run, 0, 3000);
	commit(run, both, 3);
}

/* More of it in one than in a segment. */
static void
rollovers(struct run *run)
{
	const struct part both[] = {{5, 1500}, {6, 1700}};

	for (unsigned i = 0; i < 3; i++)
		put(run, i, 1500);
	commit(run, both, 2);
	put(run, 3, 9000);
	put(run, 4, 100);
}

static void
rollovers_with_spare(struct run *run)
{
	for (unsigned i = 0; i < 5; i++) {
		maintain(run, 0);
		put(run, i, 2000);
	}
}

static void
syncs(struct run *run)
{
	put(run, 0, 10);
	sync_all(run);
	put(run, 1, 2500);
	put(run, 2, 2500);
	put(run, 3, 2500);
	sync_all(run);
}

/* Hint files, and the mark that all is durable. */
static void
maintenance(struct run *run)
{
	for (unsigned i = 0; i < 6; i++)
		put(run, i % 2, 2500);
	sync_all(run);
	maintain(run, 20);
	put(run, 7, 10);
	maintain(run, 20);
}

static void
wait_a_little(struct run *run)
{
	if (run->states == NULL)
		for (unsigned i = 0; i < 40; i++)
			nap();
}

static void
in_the_background(struct run *run)
{
	for (unsigned i = 0; i < 6; i++) {
		put(run, i, 2500);
		wait_a_little(run);
	}
}

static void
opens_and_closes(struct run *run)
{
	put(run, 0, 10);
	close_it(run);
	open_it(run);
	put(run, 1, 2500);
	put(run, 2, 2500);
}

static void
compact(struct run *run, unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	if (run->states != NULL)
		return;
	o.flags = flags;
	st = kvlog_compact(run->db, &o, NULL, &err);
	if (st != KVLOG_OK)
		give_up(run->report->failure, "compact: %s (%s)",
		    kvlog_status_text(st), err.text);
}

/* Once what others have written as well, then what is worth it. */
static void
compactions(struct run *run)
{
	const struct part both[] = {{2, 2500}, {1, GONE}};

	for (unsigned i = 0; i < 5; i++)
		put(run, i % 2, 2500);
	commit(run, both, 2);
	compact(run, KVLOG_COMPACT_ALL);
	put(run, 3, 10);
	gone(run, 0);
	put(run, 2, 2400);
	put(run, 3, 2300);
	compact(run, 0);
	put(run, 4, 10);
}

static void
nothing(struct run *run)
{
	(void)run;
}

#define NONE KVLOG_DURABILITY_NONE
#define INTERVAL KVLOG_DURABILITY_INTERVAL
#define COMMIT KVLOG_DURABILITY_COMMIT

static const struct script scripts[] = {
    {.name = "puts", .fn = small_puts, .durability = NONE},
    {.name = "puts-busy", .fn = small_puts, .durability = NONE, .busy = true},
    {.name = "batches", .fn = batches, .durability = NONE},
    {.name = "batches-beside",
	.fn = batches,
	.durability = COMMIT,
	.segment_size = SMALL,
	.busy = true},
    {.name = "deletes", .fn = deletes, .durability = NONE},
    {.name = "large", .fn = large, .durability = NONE},
    {.name = "rollovers",
	.fn = rollovers,
	.durability = NONE,
	.segment_size = SMALL},
    {.name = "rollovers-busy",
	.fn = rollovers,
	.durability = NONE,
	.segment_size = SMALL,
	.busy = true},
    {.name = "rollovers-fail",
	.fn = rollovers,
	.durability = NONE,
	.segment_size = SMALL,
	.fails = true},
    {.name = "spare",
	.fn = rollovers_with_spare,
	.durability = NONE,
	.segment_size = SMALL},
    {.name = "durable",
	.fn = rollovers,
	.durability = COMMIT,
	.segment_size = SMALL},
    {.name = "syncs", .fn = syncs, .durability = NONE, .segment_size = SMALL},
    {.name = "interval",
	.fn = rollovers_with_spare,
	.durability = INTERVAL,
	.segment_size = SMALL},
    {.name = "maintenance",
	.fn = maintenance,
	.durability = NONE,
	.segment_size = SMALL},
    {.name = "thread",
	.fn = in_the_background,
	.durability = INTERVAL,
	.segment_size = SMALL,
	.thread = true},
    {.name = "compacts",
	.fn = compactions,
	.durability = NONE,
	.segment_size = SMALL},
    {.name = "compacts-busy",
	.fn = compactions,
	.durability = NONE,
	.segment_size = SMALL,
	.busy = true},
    {.name = "compacts-fail",
	.fn = compactions,
	.durability = NONE,
	.segment_size = SMALL,
	.fails = true},
    {.name = "joins",
	.fn = opens_and_closes,
	.durability = NONE,
	.segment_size = SMALL,
	.from_open = true},
    {.name = "joins-busy",
	.fn = opens_and_closes,
	.durability = NONE,
	.segment_size = SMALL,
	.from_open = true,
	.busy = true},
    {.name = "alone",
	.fn = opens_and_closes,
	.durability = NONE,
	.segment_size = SMALL,
	.from_open = true,
	.alone = true},
    {.name = "creates",
	.fn = one_put,
	.durability = NONE,
	.from_open = true,
	.alone = true,
	.makes = true},
    {.name = "only-opens",
	.fn = nothing,
	.durability = NONE,
	.from_open = true,
	.alone = true},
    {.name = "two", .fn = large, .durability = COMMIT, .victims = 2},
    {.name = "two-late",
	.fn = batches,
	.durability = NONE,
	.victims = 2,
	.late = true},
    {.name = "two-rollover",
	.fn = rollovers,
	.durability = COMMIT,
	.segment_size = SMALL,
	.victims = 2},
    {.name = "three", .fn = large, .durability = NONE, .victims = 3},
    {.name = "three-rollover",
	.fn = rollovers,
	.durability = COMMIT,
	.segment_size = SMALL,
	.victims = 3,
	.late = true},
};
#define SCRIPTS (sizeof scripts / sizeof scripts[0])

static unsigned
victims_of(const struct script *script)
{
	return script->victims > 1 ? script->victims : 1;
}

/* A case */

struct trial {
	const struct script *script;
	uint64_t at[VICTIMS]; /* where each one dies; 0: nowhere */
	bool hints;           /* how those that live find keys */
	char *base, *path;
	struct kvlog_options options, victim_options;
	pid_t pids[VICTIMS];
	struct kvlog *db; /* the survivor's */
	struct model states[VICTIMS][COMMITS];
	unsigned commits[VICTIMS];
	/* The survivor's own keys, and what it saw of the victims'. */
	struct model own;
	unsigned own_puts, seen[VICTIMS];
};

/* All that fails names the case. */
#define TRIAL_SAYS(trial, ok, ...)                                             \
	do {                                                                   \
		char text_[900];                                               \
		(void)snprintf(text_, sizeof text_, __VA_ARGS__);              \
		ck_assert_msg((ok),                                            \
		    "KVLOG_STEPS=%s:%" PRIu64 ",%" PRIu64 ",%" PRIu64 ": %s",  \
		    (trial)->script->name, (trial)->at[0], (trial)->at[1],     \
		    (trial)->at[2], text_);                                    \
	} while (0)

static struct run
run_of(const struct trial *t, unsigned who)
{
	return (struct run){
	    .report = &board->victims[who],
	    .letter = (char)('a' + who),
	    .durability = t->script->durability,
	    .path = t->path,
	    .options = &t->victim_options,
	};
}

static void (*script_of(const struct trial *t, unsigned who))(struct run *)
{
	return who == 0 ? t->script->fn : one_put;
}

/* The life of a victim. */
static _Noreturn void
live(const struct trial *t, unsigned who)
{
	struct run run = run_of(t, who);
	bool from_open = who == 0 && t->script->from_open;
	bool early = who > 0 && !t->script->late;

	count_steps(run.report, t->at[who]);
	atomic_store(&counting, from_open);
	if (early)
		open_it(&run);
	atomic_store(&run.report->ready, true);
	while (!atomic_load(&run.report->go))
		nap();
	if (!early)
		open_it(&run);
	atomic_store(&counting, true);
	script_of(t, who)(&run);
	atomic_store(&counting, from_open);
	close_it(&run);
	_exit(0);
}

static void
wait_for(const struct trial *t, _Atomic bool *flag)
{
	uint64_t end = now_ms() + STUCK_MS;

	while (!atomic_load(flag)) {
		TRIAL_SAYS(t, now_ms() < end, "a process does not come");
		nap();
	}
}

static void
start_victim(struct trial *t, unsigned who)
{
	(void)fflush(NULL);
	t->pids[who] = fork();
	ck_assert_int_ge(t->pids[who], 0);
	if (t->pids[who] == 0)
		live(t, who);
	wait_for(t, &board->victims[who].ready);
}

static struct kvlog *
open_store(const struct trial *t, unsigned flags)
{
	struct kvlog_options o = t->options;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	enum kvlog_status st;

	o.flags |= flags;
	st = kvlog_open(t->path, &o, &db, &err);
	TRIAL_SAYS(t, st == KVLOG_OK, "open: %s (%s)", kvlog_status_text(st),
	    err.text);
	return db;
}

static void
close_store(const struct trial *t, struct kvlog *db)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = kvlog_close(db, &err);

	TRIAL_SAYS(t, st == KVLOG_OK, "close: %s (%s)", kvlog_status_text(st),
	    err.text);
}

/* The survivor writes a key of its own. */
static uint64_t
survivor_puts(struct trial *t)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog_receipt receipt = {0};
	char key[8], value[40];
	enum kvlog_status st;

	(void)snprintf(key, sizeof key, "z%02u", t->own_puts % 10);
	(void)snprintf(value, sizeof value, "put %u", t->own_puts++);
	how.err = &err;
	st = kvlog_put(
	    t->db, key, strlen(key), value, strlen(value), &how, &receipt);
	TRIAL_SAYS(t, st == KVLOG_OK, "the survivor's put: %s (%s)",
	    kvlog_status_text(st), err.text);
	model_put(
	    &t->own, key, strlen(key), value, strlen(value), MODEL_ANY_SEQ);
	return receipt.seq;
}

/* Until it is dead, or has come to its end; which? */
static bool
outlive(struct trial *t, unsigned who)
{
	uint64_t end = now_ms() + STUCK_MS;
	struct report *report = &board->victims[who];
	int status = 0;
	pid_t pid;

	atomic_store(&report->go, true);
	while ((pid = waitpid(t->pids[who], &status, WNOHANG)) == 0) {
		if (now_ms() >= end) {
			(void)kill(t->pids[who], SIGKILL);
			(void)waitpid(t->pids[who], &status, 0);
			TRIAL_SAYS(t, false, "victim %u is stuck", who);
		}
		if (t->script->busy)
			(void)survivor_puts(t);
		nap();
	}
	ck_assert_int_eq(pid, t->pids[who]);
	t->pids[who] = 0;
	if (WIFEXITED(status)) {
		TRIAL_SAYS(t, WEXITSTATUS(status) == 0, "victim %u: %s", who,
		    report->failure);
		return false;
	}
	TRIAL_SAYS(t, WTERMSIG(status) == SIGKILL && t->at[who] != 0,
	    "victim %u ended with wait status %#x", who, (unsigned)status);
	return true;
}

/* Its own keys, of all that is in a store. */
static struct model
part_of(const struct model *all, char letter)
{
	struct model part = {0};

	for (size_t i = 0; i < all->count; i++) {
		const struct model_entry *e = &all->entries[i];

		if (e->key->bytes[0] == letter)
			model_put(&part, e->key->bytes, e->key->len,
			    e->value->bytes, e->value->len, MODEL_ANY_SEQ);
	}
	return part;
}

/* What is seen of a victim is what it had done, and then stays. */
static void
check_victim(
    struct trial *t, const struct model *all, unsigned who, const char *when)
{
	const struct report *report = &board->victims[who];
	unsigned acked = report->acked, begun = report->begun;
	struct model part = part_of(all, (char)('a' + who));
	unsigned min = acked > t->seen[who] ? acked : t->seen[who];
	char why[MODEL_WHY_LEN] = "";
	unsigned k = begun;

	while (k > min && !model_equal(&t->states[who][k], &part))
		k--;
	if (!model_equal(&t->states[who][k], &part))
		model_explain(&t->states[who][min], &part, why);
	TRIAL_SAYS(t, why[0] == '\0',
	    "%s: of victim %u, which began %u commits and was told of %u "
	    "(%u were seen): %s",
	    when, who, begun, acked, t->seen[who], why);
	t->seen[who] = k;
	model_fini(&part);
}

/* All that a handle shows; its digest. */
static uint64_t
check_contents(struct trial *t, struct kvlog *db, const char *when)
{
	struct model all = {0}, own;
	char why[MODEL_WHY_LEN] = "";
	uint64_t result;

	TRIAL_SAYS(t, model_read(&all, db, why), "%s: %s", when, why);
	for (unsigned i = 0; i < victims_of(t->script); i++)
		check_victim(t, &all, i, when);
	own = part_of(&all, 'z');
	if (!model_equal(&t->own, &own)) {
		model_explain(&t->own, &own, why);
		TRIAL_SAYS(t, false, "%s: of the survivor: %s", when, why);
	}
	result = digest(&all);
	model_fini(&own);
	model_fini(&all);
	return result;
}

static uint64_t
word_of(const uint8_t *page, enum control_word word)
{
	uint64_t value;

	memcpy(&value, page + 8 * (size_t)word, 8);
	return value;
}

/* With nobody in a call, nothing is under way. */
static void
check_page(const struct trial *t)
{
	char *path = files_path(t->path, DIR_LOCK_NAME);
	size_t len;
	uint8_t *page = files_read(path, &len);

	TRIAL_SAYS(t, word_of(page, CONTROL_INTENT) == 0, "an intent is left");
	TRIAL_SAYS(t, word_of(page, CONTROL_TURN_OF) == 0, "a turn is left");
	TRIAL_SAYS(t, word_of(page, CONTROL_SYNCING) == 0, "a doubt is left");
	TRIAL_SAYS(t, word_of(page, CONTROL_POISON) == 0, "poison is left");
	free(page);
	free(path);
}

static void
make_all_durable(struct trial *t)
{
	uint64_t acked = 0;
	enum kvlog_status st;

	for (unsigned i = 0; i < victims_of(t->script); i++)
		if (board->victims[i].durable > acked)
			acked = board->victims[i].durable;
	TRIAL_SAYS(t, kvlog_durable_seq(t->db) >= acked,
	    "%" PRIu64 " was durable, and is not any more", acked);
	st = kvlog_sync(t->db);
	TRIAL_SAYS(t, st == KVLOG_OK, "sync: %s", kvlog_status_text(st));
	TRIAL_SAYS(t, kvlog_durable_seq(t->db) == kvlog_last_seq(t->db),
	    "not all is durable after a sync");
}

/* The survivor's own calls. */
static struct os_table quick;

static int
no_stat_name(int dirfd, const char *name, struct os_stat *ret)
{
	(void)dirfd;
	(void)name;
	(void)ret;
	return EIO;
}

static int
no_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	return how == OS_OPEN_CREATE
		   ? ENOSPC
		   : os_real.open(dirfd, name, how, mode, ret_fd);
}

static int
no_rename(int dirfd, const char *from, const char *to)
{
	(void)dirfd;
	(void)from;
	(void)to;
	return EIO;
}

/* Who cannot clean up does not write either, and leaves it to the next turn. */
static void
work_in_vain(struct trial *t)
{
	for (unsigned i = 0; i < 3; i++) {
		enum kvlog_status st;

		if (i == 0)
			quick.stat_name = no_stat_name;
		else if (i == 1)
			quick.open = no_open;
		else
			quick.rename = no_rename;
		st = kvlog_put(t->db, "y9", 2, "vain", 4, NULL, NULL);
		TRIAL_SAYS(t,
		    st == KVLOG_OK || st == KVLOG_IO || st == KVLOG_NOSPACE,
		    "a put in vain: %s", kvlog_status_text(st));
		quick.stat_name = os_real.stat_name;
		quick.open = os_real.open;
		quick.rename = os_real.rename;
	}
}

static void
work_on(struct trial *t)
{
	const struct kvlog_op ops[] = {
	    {.type = KVLOG_OP_PUT,
		.key = "y1",
		.key_len = 2,
		.value = "1",
		.value_len = 1},
	    {.type = KVLOG_OP_DELETE, .key = "y2", .key_len = 2},
	};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	uint64_t start = now_ms(), seq = survivor_puts(t);
	enum kvlog_status st;
	bool more;

	for (unsigned i = 0; i < victims_of(t->script); i++)
		TRIAL_SAYS(t, seq > board->victims[i].seq,
		    "number %" PRIu64 " was given out before", seq);
	how.err = &err;
	st = kvlog_apply(t->db, ops, 2, &how, NULL, NULL);
	TRIAL_SAYS(t, st == KVLOG_OK, "the survivor's batch: %s (%s)",
	    kvlog_status_text(st), err.text);
	make_all_durable(t);
	TRIAL_SAYS(t, now_ms() - start < SOON_MS, "that took %" PRIu64 " ms",
	    now_ms() - start);
	st = kvlog_maintain(t->db, 0, &more);
	TRIAL_SAYS(t, st == KVLOG_OK, "maintain: %s", kvlog_status_text(st));
}

/* In a third process. */
static _Noreturn void
witness(const struct trial *t)
{
	struct kvlog_options o = t->options;
	struct kvlog_error err = {0};
	struct kvlog_receipt receipt;
	struct kvlog *db;
	struct model all = {0};
	char why[MODEL_WHY_LEN];

	o.flags |= KVLOG_OPEN_READONLY;
	if (kvlog_open(t->path, &o, &db, &err) != KVLOG_OK)
		give_up(board->failure, "open: %s", err.text);
	if (!model_read(&all, db, why))
		give_up(board->failure, "%s", why);
	board->digest = digest(&all);
	model_fini(&all);
	if (kvlog_close(db, &err) != KVLOG_OK)
		give_up(board->failure, "close: %s", err.text);
	o.flags &= ~KVLOG_OPEN_READONLY;
	if (kvlog_open(t->path, &o, &db, &err) != KVLOG_OK)
		give_up(board->failure, "open for writing: %s", err.text);
	if (kvlog_put(db, "y3", 2, "third", 5, NULL, &receipt) != KVLOG_OK)
		give_up(board->failure, "put failed");
	board->third_seq = receipt.seq;
	if (kvlog_close(db, &err) != KVLOG_OK)
		give_up(board->failure, "close: %s", err.text);
	_exit(0);
}

static void
ask_a_third(struct trial *t)
{
	uint64_t seen = check_contents(t, t->db, "after the next write");
	struct kvlog_info info;
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		witness(t);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	TRIAL_SAYS(t, WIFEXITED(status) && WEXITSTATUS(status) == 0,
	    "the third process: %s", board->failure);
	TRIAL_SAYS(t, board->digest == seen, "two see two things");
	TRIAL_SAYS(t,
	    kvlog_lookup(t->db, "y3", 2, &info) == KVLOG_OK &&
		info.seq == board->third_seq,
	    "the third one's put is not seen");
}

struct findings {
	bool may_be_left; /* unfinished work */
	char first[400];  /* that should not be */
};

static void
note_finding(void *arg, const struct kvlog_finding *finding)
{
	struct findings *f = arg;

	/* What is kept for later, on purpose. */
	if (finding->kind == KVLOG_FINDING_SPARE ||
	    (finding->kind == KVLOG_FINDING_LEFTOVER && f->may_be_left) ||
	    (finding->kind == KVLOG_FINDING_STALE_HINT && f->may_be_left) ||
	    f->first[0] != '\0')
		return;
	(void)snprintf(
	    f->first, sizeof f->first, "%s: %s", finding->file, finding->text);
}

static void
verify(const struct trial *t, bool may_be_left, const char *when)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	struct findings found = {.may_be_left = may_be_left};
	enum kvlog_status st;

	o.finding = note_finding;
	o.arg = &found;
	st = kvlog_verify(t->path, &o, &report, &err);
	TRIAL_SAYS(t, st == KVLOG_OK && !report.torn && found.first[0] == '\0',
	    "%s: verify: %s (%s) %s", when, kvlog_status_text(st), err.text,
	    found.first);
}

static void
prepare(struct trial *t)
{
	const struct script *s = t->script;

	t->base = tmpdir_create();
	t->path = files_path(t->base, "store");
	t->options = (struct kvlog_options)KVLOG_OPTIONS_INIT;
	t->options.flags = KVLOG_OPEN_NOTHREAD;
	t->options.durability = KVLOG_DURABILITY_NONE;
	t->options.timeout_ms = TIMEOUT_MS;
	t->options.segment_size =
	    s->segment_size != 0 ? s->segment_size : 64 * 1024;
	t->options.index_mode =
	    t->hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	t->victim_options = t->options;
	t->victim_options.interval_ms = 1;
	t->victim_options.durability = s->durability;
	if (s->thread)
		t->victim_options.flags &= ~KVLOG_OPEN_NOTHREAD;
	if (s->makes)
		t->victim_options.flags |= KVLOG_OPEN_CREATE;
	memset(board, 0, sizeof *board);
	for (unsigned i = 0; i < victims_of(s); i++) {
		struct run run = run_of(t, i);

		run.states = t->states[i];
		script_of(t, i)(&run);
		t->commits[i] = run.commits;
	}
	if (s->makes)
		return;
	t->db = open_store(t, KVLOG_OPEN_CREATE);
	(void)survivor_puts(t);
	(void)survivor_puts(t);
	if (s->alone) {
		close_store(t, t->db);
		t->db = NULL;
	}
}

static void
finish(struct trial *t)
{
	for (unsigned i = 0; i < VICTIMS; i++)
		for (unsigned k = 0; k < COMMITS; k++)
			model_fini(&t->states[i][k]);
	model_fini(&t->own);
	tmpdir_remove(t->base);
	free(t->path);
}

/* What those see who come before anybody has cleaned up. */
static void
look_before(struct trial *t)
{
	struct kvlog *reader;

	if (t->db == NULL)
		return;
	(void)check_contents(t, t->db, "before the next write");
	reader = open_store(t, KVLOG_OPEN_READONLY);
	(void)check_contents(t, reader, "read-only, before the next write");
	close_store(t, reader);
}

static void
close_and_come_back(struct trial *t)
{
	uint64_t seen = check_contents(t, t->db, "before the end");
	struct kvlog *db = t->db;

	t->db = NULL;
	close_store(t, db);
	verify(t, true, "in the end");
	t->db = open_store(t, 0);
	TRIAL_SAYS(t, check_contents(t, t->db, "opened again") == seen,
	    "opened again, it shows something else");
	(void)survivor_puts(t);
	(void)check_contents(t, t->db, "after another write");
	close_store(t, t->db);
	t->db = NULL;
	verify(t, false, "after another opening");
}

/* One case; true if the first victim died. */
static bool
run_trial(const struct script *script, const uint64_t at[VICTIMS],
    uint64_t ret_steps[VICTIMS])
{
	struct trial *t = calloc(1, sizeof *t);
	unsigned count = victims_of(script);
	bool died[VICTIMS] = {false}, result;

	t->script = script;
	memcpy(t->at, at, sizeof t->at);
	t->hints = (at[0] + at[1] + at[2]) % 2 == 1;
	prepare(t);
	for (unsigned i = 0; i < count; i++)
		start_victim(t, i);
	for (unsigned i = 0; i < count; i++) {
		died[i] = outlive(t, i);
		if (!died[i])
			TRIAL_SAYS(t, board->victims[i].acked == t->commits[i],
			    "victim %u has not done all", i);
		if (i == 0)
			look_before(t);
	}
	if (t->db == NULL)
		t->db = open_store(t, KVLOG_OPEN_CREATE);
	if (script->fails)
		work_in_vain(t);
	work_on(t);
	ask_a_third(t);
	check_page(t);
	close_and_come_back(t);
	for (unsigned i = 0; i < VICTIMS; i++)
		ret_steps[i] = board->victims[i].steps;
	result = died[0];
	finish(t);
	free(t);
	return result;
}

static bool
wants_all(void)
{
	const char *text = getenv("KVLOG_STEPS");

	return text != NULL && strcmp(text, "all") == 0;
}

/* The case that KVLOG_STEPS names, if it is of this script. */
static bool
wants_one(const struct script *script, uint64_t at[VICTIMS], bool *ret_other)
{
	const char *text = getenv("KVLOG_STEPS");
	size_t len = strlen(script->name);

	*ret_other = text != NULL && !wants_all();
	if (!*ret_other || strncmp(text, script->name, len) != 0 ||
	    text[len] != ':')
		return false;
	text += len;
	for (unsigned i = 0; i < VICTIMS && *text != '\0'; i++)
		at[i] = strtoull(text + 1, (char **)&text, 10);
	return true;
}

/* Deaths of victims after the first: in the midst of its cleaning up. */
static void
run_deep(const struct script *script, struct rng *rng, const uint64_t *limits,
    unsigned picks)
{
	uint64_t steps_taken[VICTIMS];

	for (unsigned i = 0; i < picks; i++) {
		uint64_t at[VICTIMS] = {0};

		/* How many steps a later one takes depends on what it finds. */
		at[0] = 1 + rng_below(rng, limits[0]);
		for (unsigned k = 1; k < script->victims; k++)
			at[k] = 1 + rng_below(rng, limits[k] + 40);
		(void)run_trial(script, at, steps_taken);
	}
}

static void
run_two(const struct script *script, uint64_t limit)
{
	uint64_t steps_taken[VICTIMS];

	for (uint64_t first = 1; first <= limit; first++) {
		uint64_t second = 1, taken = 1;

		for (; second <= taken; second++) {
			uint64_t at[VICTIMS] = {first, second};

			(void)run_trial(script, at, steps_taken);
			taken = steps_taken[1] + (steps_taken[1] == second);
		}
	}
}

START_TEST(a_killed_writer_is_cleaned_up_after)
{
	const struct script *script = &scripts[_i];
	uint64_t at[VICTIMS] = {0}, limits[VICTIMS], taken[VICTIMS];
	uint64_t seed = rng_seed_from_env();
	unsigned deaths = 0;
	bool other;
	struct rng rng;

	if (wants_one(script, at, &other))
		(void)run_trial(script, at, taken);
	if (other)
		return;
	ck_assert(!run_trial(script, at, limits));
	ck_assert_uint_gt(limits[0], 0);
	rng_init(&rng, seed);
	if (wants_all() && script->victims == 2) {
		run_two(script, limits[0]);
	} else if (script->victims > 1) {
		run_deep(
		    script, &rng, limits, wants_all() ? DEEP_ALL : DEEP_PICKS);
	} else if (wants_all()) {
		for (at[0] = 1; run_trial(script, at, taken); at[0]++)
			deaths++;
		ck_assert_uint_gt(deaths, 0);
	} else {
		for (unsigned i = 0; i < PICKS; i++) {
			at[0] = 1 + rng_below(&rng, limits[0]);
			deaths += run_trial(script, at, taken);
		}
	}
	printf("%s: %" PRIu64 " steps, KVLOG_SEED=%" PRIu64 "\n", script->name,
	    limits[0], seed);
}
END_TEST

static void
setup(void)
{
	quick = os_real;
	quick.sync = no_sync;
	quick.sync_dir = no_sync;
	os = &quick;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
}

static void
teardown(void)
{
	(void)munmap(board, sizeof *board);
}

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("steps");
	TCase *tc = tcase_create("steps");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, wants_all() ? 3600 : 300);
	tcase_add_loop_test(
	    tc, a_killed_writer_is_cleaned_up_after, 0, (int)SCRIPTS);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
