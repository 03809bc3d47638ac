/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_history.c - threads and processes work on few keys of one store, and
 * the history of what they did and saw is linearisable.
 *
 * A round has writing processes, each with threads on one handle, and reading
 * processes.  Some are killed and started again, all the while; some readers
 * are stopped for a time.  Between the phases of a round no writer runs, and
 * the store is compacted under the readers.  In the end everything that was
 * acknowledged is there, and kvlog_verify() finds nothing.
 *
 * KVLOG_SEED=n               repeats a round's choices (not its times)
 * KVLOG_HISTORY_SECONDS=n    random rounds for so long, instead of the tests:
 *                            what "make soak" runs
 * KVLOG_HISTORY_KIND=NAME    only rounds of this kind: threads, openers,
 *                            followers, writers
 */
#include "config.h"

#include "actor.h"
#include "files.h"
#include "test.h"
#include "tmpdir.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CREW_MAX 8     /* processes */
#define THREADS_MAX 4  /* of a process */
#define OPS_MAX 40000u /* recorded by a thread */
#define STUCK_S 60     /* for processes to end */

/* Whom a round has beside one writer with threads. */
enum kind {
	KIND_THREADS,   /* nobody */
	KIND_OPENERS,   /* processes that open the store for each read */
	KIND_FOLLOWERS, /* processes that read by one handle */
	KIND_WRITERS,   /* those, and more writers */
	KIND_COUNT
};

static const char *const kind_names[KIND_COUNT] = {
    "threads", "openers", "followers", "writers"};

/* Kinds that the store can do today. */
static const bool kind_works[KIND_COUNT] = {true, true, true, true};

struct plan {
	enum kind kind;
	uint64_t seed;
	bool hints, thread, kills;
	bool handles; /* each thread opens its own */
	unsigned writers, readers, threads, keys, phases, phase_ms, ops;
	unsigned pace; /* steps between two naps */
	uint64_t segment_size;
};

/* What all processes of a round see. */
struct board {
	_Atomic bool stop_writers, stop_readers;
	_Atomic unsigned
	    timeouts; /* of writes, which may happen beside kills */
	_Atomic unsigned failures;
	char failure[400]; /* the first one */
};

struct member {
	pid_t pid; /* 0: not running */
	bool writes;
	bool frozen;
	struct history_log *logs[THREADS_MAX];
};

struct round {
	const struct plan *plan;
	struct board *board;
	char *base, *path;
	struct rng rng;
	struct member crew[CREW_MAX];
	unsigned crew_count, kills, freezes, compactions;
};

/* A thread of a member, in its process. */
struct hand {
	const struct round *round;
	const struct member *member;
	struct actor actor;
	bool opens; /* the store for each read */
	pthread_t thread;
};

static void
nap_us(uint64_t us)
{
	struct timespec pause = {
	    (time_t)(us / 1000000), (long)(us % 1000000) * 1000};

	(void)nanosleep(&pause, NULL);
}

static uint64_t
now_ms(void)
{
	struct timespec now = {0, 0};

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
complain(struct board *board, const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&board->failures, 1) > 0)
		return;
	va_start(args, format);
	(void)vsnprintf(board->failure, sizeof board->failure, format, args);
	va_end(args);
}

/* In the processes */

static struct kvlog_options
options_of(const struct plan *plan, bool writes)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = writes ? KVLOG_OPEN_CREATE : KVLOG_OPEN_READONLY;
	if (!plan->thread)
		o.flags |= KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = plan->segment_size;
	o.interval_ms = 20;
	o.timeout_ms = 20000;
	o.index_mode = plan->hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	return o;
}

/* What a step's failure means: true if the thread may go on. */
static bool
go_on(struct hand *hand)
{
	struct actor *a = &hand->actor;
	struct board *board = hand->round->board;

	if (a->full)
		return false;
	if (hand->member->writes && hand->round->plan->kills &&
	    (a->status == KVLOG_BUSY || a->status == KVLOG_TIMEOUT)) {
		atomic_fetch_add(&board->timeouts, 1);
		return true;
	}
	complain(board, "%s: status %d (%s) %s",
	    hand->member->writes ? "writer" : "reader", (int)a->status,
	    kvlog_status_text(a->status), a->err.text);
	return false;
}

static void *
run_hand(void *arg)
{
	struct hand *hand = arg;
	const struct plan *plan = hand->round->plan;
	struct board *board = hand->round->board;
	_Atomic bool *stop =
	    hand->member->writes ? &board->stop_writers : &board->stop_readers;
	struct kvlog_options o = options_of(plan, false);
	struct actor *a = &hand->actor;

	/* Naps make room for others, and the log last for all phases. */
	while (!atomic_load(stop) && board->failures == 0) {
		bool ok, more;

		if (rng_below(&a->rng, plan->pace) == 0)
			nap_us(rng_below(&a->rng, 300));
		if (hand->opens)
			ok = actor_look_anew(a, &o);
		else if (!hand->member->writes)
			ok = actor_look(a);
		else
			ok = actor_work(a);
		if (!ok && !go_on(hand))
			break;
		if (hand->member->writes && !plan->thread &&
		    rng_below(&a->rng, 100) == 0 &&
		    kvlog_maintain(a->db, 1, &more) != KVLOG_OK)
			complain(board, "maintenance failed");
	}
	return NULL;
}

/* The life of a member's process. */
static void
live(const struct round *round, const struct member *member, uint64_t seed)
{
	const struct plan *plan = round->plan;
	struct kvlog_options o = options_of(plan, member->writes);
	struct hand hands[THREADS_MAX];
	bool opens = !member->writes && plan->kind == KIND_OPENERS;
	struct kvlog *dbs[THREADS_MAX] = {NULL};
	unsigned db_count = opens ? 0 : plan->handles ? plan->threads : 1;

	for (unsigned i = 0; i < db_count; i++) {
		struct kvlog_error err = {0};
		enum kvlog_status st =
		    kvlog_open(round->path, &o, &dbs[i], &err);

		if (st == KVLOG_OK)
			continue;
		complain(round->board, "open: status %d %s", (int)st, err.text);
		_exit(0);
	}
	memset(hands, 0, sizeof hands);
	for (unsigned i = 0; i < plan->threads; i++) {
		struct hand *hand = &hands[i];

		hand->round = round;
		hand->member = member;
		hand->opens = opens;
		hand->actor.db = dbs[plan->handles ? i : 0];
		hand->actor.path = round->path;
		hand->actor.log = member->logs[i];
		hand->actor.keys = plan->keys;
		rng_init(&hand->actor.rng, seed + i);
		if (pthread_create(&hand->thread, NULL, run_hand, hand) != 0)
			_exit(9);
	}
	for (unsigned i = 0; i < plan->threads; i++)
		(void)pthread_join(hands[i].thread, NULL);
	for (unsigned i = 0; i < db_count; i++) {
		struct kvlog_error err = {0};
		enum kvlog_status st = kvlog_close(dbs[i], &err);

		if (st != KVLOG_OK)
			complain(round->board, "close: status %d %s", (int)st,
			    err.text);
	}
	_exit(0);
}

/* Outside of them */

static void
start_member(struct round *round, struct member *member)
{
	uint64_t seed = rng_next(&round->rng);

	(void)fflush(stdout);
	member->frozen = false;
	member->pid = fork();
	if (member->pid < 0) {
		perror("fork");
		exit(2);
	}
	if (member->pid == 0)
		live(round, member, seed);
}

/* Whether the member has ended; by itself means with status 0. */
static bool
has_ended(struct round *round, struct member *member, bool wait)
{
	int status = 0;
	pid_t pid = waitpid(member->pid, &status, wait ? 0 : WNOHANG);

	if (pid != member->pid)
		return false;
	member->pid = 0;
	if (!wait && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		complain(round->board, "a process ended with wait status %#x",
		    (unsigned)status);
	return true;
}

static void
kill_member(struct round *round, struct member *member)
{
	if (member->pid == 0 || has_ended(round, member, false))
		return;
	(void)kill(member->pid, SIGKILL);
	(void)has_ended(round, member, true);
}

static void
start_all(struct round *round, bool writers)
{
	for (unsigned i = 0; i < round->crew_count; i++)
		if (round->crew[i].writes == writers)
			start_member(round, &round->crew[i]);
}

static bool
is_any_running(struct round *round, bool writers)
{
	bool any = false;

	for (unsigned i = 0; i < round->crew_count; i++) {
		struct member *member = &round->crew[i];

		if (member->writes == writers && member->pid != 0)
			any |= !has_ended(round, member, false);
	}
	return any;
}

/* A reader stands still for a while, perhaps for a whole phase, or goes on. */
static void
freeze_some(struct round *round)
{
	struct member *member =
	    &round->crew[rng_below(&round->rng, round->crew_count)];

	if (member->writes || member->pid == 0)
		return;
	(void)kill(member->pid, member->frozen ? SIGCONT : SIGSTOP);
	member->frozen = !member->frozen;
	round->freezes += member->frozen;
}

static void
thaw_all(struct round *round)
{
	for (unsigned i = 0; i < round->crew_count; i++)
		if (round->crew[i].frozen && round->crew[i].pid != 0)
			(void)kill(round->crew[i].pid, SIGCONT);
}

/* Wait until they have ended, as they were told to. */
static void
join_all(struct round *round, bool writers)
{
	uint64_t end = now_ms() + 1000 * STUCK_S;

	atomic_store(
	    writers ? &round->board->stop_writers : &round->board->stop_readers,
	    true);
	if (!writers)
		thaw_all(round);
	while (is_any_running(round, writers) && now_ms() < end)
		nap_us(500);
	for (unsigned i = 0; i < round->crew_count; i++) {
		struct member *member = &round->crew[i];

		if (member->writes != writers || member->pid == 0)
			continue;
		complain(
		    round->board, "process %ld is stuck", (long)member->pid);
		kill_member(round, member);
	}
}

/* Some member dies, and another takes its place. */
static void
kill_some(struct round *round)
{
	struct member *member =
	    &round->crew[rng_below(&round->rng, round->crew_count)];

	if (member->pid == 0 || has_ended(round, member, false))
		return;
	kill_member(round, member);
	round->kills++;
	if (rng_below(&round->rng, 3) == 0) /* for longer */
		nap_us(rng_below(&round->rng, 5000));
	start_member(round, member);
}

static void
run_phase(struct round *round)
{
	const struct plan *plan = round->plan;
	uint64_t end = now_ms() + plan->phase_ms;

	atomic_store(&round->board->stop_writers, false);
	start_all(round, true);
	while (now_ms() < end && round->board->failures == 0 &&
	       is_any_running(round, true)) {
		nap_us(1000 + rng_below(&round->rng, 10000));
		if (plan->kills && rng_below(&round->rng, 3) == 0)
			kill_some(round);
		if (plan->kills && rng_below(&round->rng, 3) == 0)
			freeze_some(round);
	}
	join_all(round, true);
}

static void
make_store(struct round *round)
{
	struct kvlog_options o = options_of(round->plan, true);
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	enum kvlog_status st = kvlog_open(round->path, &o, &db, &err);

	if (st == KVLOG_OK)
		st = kvlog_close(db, &err);
	if (st != KVLOG_OK)
		complain(round->board, "make %s: status %d %s", round->path,
		    (int)st, err.text);
}

/* With nobody writing. */
static void
compact(struct round *round)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	if (rng_below(&round->rng, 2) == 0)
		o.flags = KVLOG_COMPACT_ALL;
	st = kvlog_compact_offline(round->path, &o, NULL, &err);
	if (st != KVLOG_OK)
		complain(
		    round->board, "compact: status %d %s", (int)st, err.text);
	round->compactions++;
}

/* What is left, seen by a process of its own: that is the last operation. */
static void
look_at_the_end(struct round *round, struct history_log *log)
{
	struct kvlog_options o = options_of(round->plan, false);
	struct actor actor = {
	    .path = round->path, .log = log, .keys = round->plan->keys};
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	enum kvlog_status st = kvlog_open(round->path, &o, &actor.db, &err);

	if (st == KVLOG_OK && !actor_walk(&actor)) {
		st = actor.status;
		err = actor.err;
	}
	if (st == KVLOG_OK)
		st = kvlog_close(actor.db, &err);
	if (st == KVLOG_OK)
		st = kvlog_verify(round->path, NULL, &report, &err);
	if (st != KVLOG_OK)
		complain(round->board, "in the end: status %d %s", (int)st,
		    err.text);
}

static void
hire(struct round *round)
{
	const struct plan *plan = round->plan;
	uint16_t worker = 0;

	round->crew_count = plan->writers + plan->readers;
	for (unsigned i = 0; i < round->crew_count; i++) {
		round->crew[i].writes = i < plan->writers;
		for (unsigned k = 0; k < plan->threads; k++)
			round->crew[i].logs[k] =
			    history_log_create(worker++, plan->ops);
	}
}

static void
describe(const struct round *round, size_t op_count, size_t open_count)
{
	const struct plan *p = round->plan;

	printf("KVLOG_SEED=%" PRIu64 " KVLOG_HISTORY_KIND=%s: %s, %u writers, "
	       "%u readers of %u threads%s, %u keys, segments of %" PRIu64
	       ": %zu operations, %zu of them open, %u kills, %u freezes, "
	       "%u compactions, %u timeouts\n",
	    p->seed, kind_names[p->kind], p->hints ? "hints" : "memory",
	    p->writers, p->readers, p->threads,
	    p->handles ? " and handles" : "", p->keys, p->segment_size,
	    op_count, open_count, round->kills, round->freezes,
	    round->compactions, round->board->timeouts);
}

/* Gather what was recorded, and judge. */
static bool
judge(struct round *round, const struct history_log *last, size_t *ret_count)
{
	struct history history = {0};
	size_t open_count = 0;
	bool ok = round->board->failures == 0;

	for (unsigned i = 0; i < round->crew_count; i++)
		for (unsigned k = 0; k < round->plan->threads; k++)
			history_collect(&history, round->crew[i].logs[k]);
	history_collect(&history, last);
	for (size_t i = 0; i < history.count; i++)
		open_count += history.ops[i].outcome == HISTORY_OPEN;
	describe(round, history.count, open_count);
	if (!ok)
		printf("%u failures, the first one: %s\n",
		    round->board->failures, round->board->failure);
	if (!history_check(&history, stdout))
		ok = false;
	*ret_count = history.count;
	history_fini(&history);
	return ok;
}

/* A whole round; the store stays if it was not as it should be. */
static bool
play(const struct plan *plan, uint64_t *op_count, uint64_t *kill_count)
{
	struct round round = {.plan = plan};
	struct history_log *last =
	    history_log_create(UINT16_MAX, ACTOR_KEYS_MAX);
	size_t count = 0;
	bool ok;

	round.board = mmap(NULL, sizeof *round.board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (round.board == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	rng_init(&round.rng, plan->seed);
	round.base = tmpdir_create();
	round.path = files_path(round.base, "store");
	make_store(&round);
	hire(&round);
	start_all(&round, false);
	for (unsigned i = 0; i < plan->phases; i++) {
		if (i > 0)
			compact(&round);
		run_phase(&round);
	}
	join_all(&round, false);
	look_at_the_end(&round, last);
	ok = judge(&round, last, &count);
	*op_count += count;
	*kill_count += round.kills;

	for (unsigned i = 0; i < round.crew_count; i++)
		for (unsigned k = 0; k < plan->threads; k++)
			history_log_destroy(round.crew[i].logs[k]);
	history_log_destroy(last);
	(void)munmap(round.board, sizeof *round.board);
	free(round.path);
	if (ok)
		tmpdir_remove(round.base);
	else
		printf("the store is kept in %s\n", round.base);
	(void)fflush(stdout);
	return ok;
}

/* Chosen by chance; soak: larger ones, of any size. */
static struct plan
make_plan(enum kind kind, uint64_t seed, bool soak)
{
	struct plan p = {.kind = kind, .seed = seed};
	struct rng rng;

	rng_init(&rng, ~seed);
	p.hints = rng_below(&rng, 2) == 0;
	p.thread = rng_below(&rng, 4) > 0;
	p.kills = rng_below(&rng, 4) > 0;
	p.writers = kind == KIND_WRITERS
			? 2 + (unsigned)rng_below(&rng, soak ? 3 : 2)
			: 1;
	p.readers = kind == KIND_THREADS
			? 0
			: 1 + (unsigned)rng_below(&rng, soak ? 4 : 2);
	p.threads = 1 + (unsigned)rng_below(&rng, THREADS_MAX);
	if (kind == KIND_THREADS && p.threads == 1)
		p.threads = THREADS_MAX;
	/* A commit is published before its process's other threads see it:
	 * until those wait for it, what they see is too old for who has
	 * heard of it from another process. */
	if (kind == KIND_OPENERS && !kind_works[KIND_FOLLOWERS])
		p.threads = 1;
	p.keys = 1 + (unsigned)rng_below(&rng, 6);
	if (rng_below(&rng, 4) == 0)
		p.keys = ACTOR_KEYS_MAX;
	p.phases = 1 + (unsigned)rng_below(&rng, 3);
	p.phase_ms =
	    soak ? 200 + (unsigned)rng_below(&rng, 3000) : 400 / p.phases;
	p.ops = soak ? OPS_MAX : OPS_MAX / 2;
	p.handles = kind == KIND_WRITERS && rng_below(&rng, 3) == 0;
	p.pace = 4 + (unsigned)rng_below(&rng, 60);
	p.segment_size = KVLOG_SEGMENT_SIZE_MIN << rng_below(&rng, 6);
	return p;
}

/* Tests */

static bool
is_wanted(enum kind kind)
{
	const char *wanted = getenv("KVLOG_HISTORY_KIND");

	return wanted == NULL ? kind_works[kind]
			      : strcmp(wanted, kind_names[kind]) == 0;
}

START_TEST(histories_are_linearisable)
{
	enum kind kind = (enum kind)_i;
	uint64_t seed = rng_seed_from_env(), ops = 0, kills = 0;
	bool ok = true;

	/* Four seeds in a row: both index modes, with and without a background
	 * thread, with kills and without. */
	for (uint64_t end = seed + 4; seed < end && ok && is_wanted(kind);
	     seed++) {
		struct plan plan = make_plan(kind, seed, false);

		plan.hints = seed % 2 == 0;
		plan.kills = seed % 4 != 1;
		plan.thread = seed % 4 != 2;
		ok = play(&plan, &ops, &kills);
	}
	ck_assert(ok);
	ck_assert(!is_wanted(kind) || (ops > 1000 && kills > 0));
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("history");
	TCase *tc = tcase_create("sharing");

	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, histories_are_linearisable, 0, KIND_COUNT);
	suite_add_tcase(suite, tc);
	return suite;
}

/* Rounds until the time is over or one is not as it should be. */
static int
soak(uint64_t seconds)
{
	uint64_t end = now_ms() + 1000 * seconds;
	uint64_t seed = rng_seed_from_env(), ops = 0, kills = 0;
	unsigned rounds = 0;
	bool ok = true;

	while (ok && (rounds == 0 || now_ms() < end)) {
		enum kind kind = (enum kind)(seed % KIND_COUNT);
		struct plan plan;

		if (is_wanted(kind)) {
			plan = make_plan(kind, seed, true);
			ok = play(&plan, &ops, &kills);
			rounds++;
		}
		seed++;
	}
	printf("histories: %u rounds, %" PRIu64 " operations, %" PRIu64
	       " kills: %s\n",
	    rounds, ops, kills, ok ? "PASSED" : "FAILED");
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(void)
{
	const char *seconds = getenv("KVLOG_HISTORY_SECONDS");

	if (seconds != NULL)
		return soak(strtoull(seconds, NULL, 10));
	return test_main(make_suite());
}
