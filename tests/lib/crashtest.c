/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crashtest.c - each step of a run, each end of a crash, each step of the
 * recovery; what was seen, and counts of it.
 *
 * What processes share is one mapping: two sets of hashes, open tables that
 * nothing is ever taken out of, and counters.
 */
#include "config.h"

#include "crashtest.h"
#include "rng.h"
#include "simos.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS_MAX 24
#define SLOTS_DEFAULT (UINT64_C(1) << 20)
#define NAME_MAX_LEN 63
#define ITEM_SECONDS 1800 /* one that takes longer goes round in circles */

typedef _Atomic uint64_t counter;

struct shared {
	counter stops, distinct, checks, same, recoveries, violations;
	counter cells[CALLS_MAX][SIMOS_KIND_COUNT];
	uint64_t slot_count; /* of each set; a power of two */
	counter slots[];     /* images, then all that was checked */
};

static struct shared *shared;
static const char *const run_only[] = {"run", NULL};
static const char *const *call_names = run_only;

enum set { IMAGES, CHECKED };

/* Where we are. */
#define KILL (-1)
static struct {
	const char *name, *phase;
	uint64_t seed, step, loss_seed;
	unsigned inside, call;
	enum simos_kind kind; /* SIMOS_KIND_COUNT: behind the last step */
	int loss;             /* enum simos_loss, or KILL */
	bool crashed;
} at;

/* Which call each step of the last run belongs to. */
static struct {
	struct {
		uint64_t step; /* its first */
		unsigned call;
	} begun[1024];
	unsigned count;
} calls;

static const char *const loss_names[SIMOS_LOSS_COUNT] = {
    [SIMOS_LOSS_ALL] = "all unsynced was kept",
    [SIMOS_LOSS_NONE] = "nothing unsynced was kept",
    [SIMOS_LOSS_PREFIX] = "what was unsynced was kept up to some point",
    [SIMOS_LOSS_RANDOM] = "some of what was unsynced was kept",
    [SIMOS_LOSS_TORN] = "one store was torn",
    [SIMOS_LOSS_GARBAGE] = "one unsynced place is garbage",
    [SIMOS_LOSS_GARBAGE_SECTOR] = "one unsynced sector is garbage",
    [SIMOS_LOSS_ONLY_NAMES] = "all names were kept, and no contents",
    [SIMOS_LOSS_ONLY_DATA] = "all contents were kept, and no names",
    [SIMOS_LOSS_SUBSET] = "a subset of what was unsynced was kept",
};

/* Counts */

void
crashtest_begin(const char *const *names, uint64_t states)
{
	uint64_t slots = SLOTS_DEFAULT;
	size_t size;

	while (slots / 2 < states)
		slots *= 2;
	size = sizeof *shared + 2 * (size_t)slots * sizeof shared->slots[0];
	shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shared == MAP_FAILED) {
		perror("crashtest");
		exit(EXIT_FAILURE);
	}
	shared->slot_count = slots;
	call_names = names != NULL ? names : run_only;
}

static struct shared *
counts(void)
{
	if (shared == NULL)
		crashtest_begin(NULL, 0);
	return shared;
}

/* True if hash was not in the set. */
static bool
set_add(enum set set, uint64_t hash)
{
	const uint64_t mask = shared->slot_count - 1;
	counter *slots = &shared->slots[set * shared->slot_count];

	hash |= hash == 0;
	for (uint64_t i = rng_mix(hash), tries = 0;; i++, tries++) {
		uint64_t there = 0;

		if (tries == 1000) {
			(void)fputs(
			    "crashtest: more states than were said\n", stderr);
			exit(EXIT_FAILURE);
		}
		if (atomic_compare_exchange_strong(
			&slots[i & mask], &there, hash))
			return true;
		if (there == hash)
			return false;
	}
}

void
crashtest_count_state(void)
{
	counts()->distinct += set_add(IMAGES, simos_image_hash());
	if (at.kind != SIMOS_KIND_COUNT)
		shared->cells[at.call][at.kind]++;
}

struct crashtest_totals
crashtest_totals(void)
{
	const struct shared *s = counts();

	return (struct crashtest_totals){s->stops, s->distinct, s->checks,
	    s->same, s->recoveries, s->violations};
}

/* Where we are */

void
crashtest_at(const char *name, uint64_t seed, const char *phase)
{
	memset(&at, 0, sizeof at);
	at.name = name;
	at.seed = seed;
	at.phase = phase;
	at.kind = SIMOS_KIND_COUNT;
}

static void
print_place(void)
{
	(void)fprintf(stderr, "    %s: ", at.name);
	if (!at.crashed)
		(void)fprintf(stderr, "%s\n", at.phase);
	else
		(void)fprintf(stderr,
		    "stopped %s step %" PRIu64 " (%s) of \"%s\"; %s%s; %s\n",
		    at.inside > 0 ? "within" : "before", at.step,
		    at.kind != SIMOS_KIND_COUNT ? simos_step_name(at.kind)
						: "the end",
		    call_names[at.call],
		    at.loss == KILL ? "killed" : "power was lost, ",
		    at.loss == KILL ? "" : loss_names[at.loss], at.phase);
	(void)fprintf(stderr, "    repeat: KVLOG_SEED=%" PRIu64, at.seed);
	if (at.crashed)
		(void)fprintf(stderr,
		    " KVLOG_CRASH_POINT=%s:%" PRIu64 ":%u:%d:%" PRIu64, at.name,
		    at.step, at.inside, at.loss, at.loss_seed);
	else
		(void)fprintf(stderr, " KVLOG_CRASH_POINT=%s", at.name);
	(void)fputc('\n', stderr);
}

void
crashtest_fail(const char *format, ...)
{
	va_list args;

	(void)fflush(stdout);
	(void)fputs("VIOLATION: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	if (at.name != NULL)
		print_place();
	counts()->violations++;
	_exit(EXIT_FAILURE);
}

/* The point that is to be repeated: false if there is none. */
static bool
wanted_point(char name[NAME_MAX_LEN + 1], uint64_t *ret_step,
    unsigned *ret_inside, int *ret_loss, uint64_t *ret_loss_seed)
{
	const char *text = getenv("KVLOG_CRASH_POINT");

	*ret_step = 0; /* any */
	if (text == NULL)
		return false;
	(void)sscanf(text, "%63[^:]:%" SCNu64 ":%u:%d:%" SCNu64, name, ret_step,
	    ret_inside, ret_loss, ret_loss_seed);
	return true;
}

bool
crashtest_skips(const char *name)
{
	char wanted[NAME_MAX_LEN + 1] = "";
	uint64_t step, loss_seed;
	unsigned inside;
	int loss;

	return wanted_point(wanted, &step, &inside, &loss, &loss_seed) &&
	       strcmp(wanted, name) != 0;
}

/* Calls and steps */

void
crashtest_call(unsigned call)
{
	if (calls.count == sizeof calls.begun / sizeof calls.begun[0])
		crashtest_fail("more calls in one run than there is room for");
	calls.begun[calls.count].step = simos_steps() + 1;
	calls.begun[calls.count++].call = call;
}

void
crashtest_call_was(unsigned call)
{
	if (calls.count > 0)
		calls.begun[calls.count - 1].call = call;
}

/* The steps of a run that was not stopped. */
struct steps {
	uint64_t count;
	uint64_t last_call; /* its first step */
	struct step {
		uint8_t kind;
		uint8_t call;
	} * each; /* from 1 */
};

static void
steps_note(struct steps *ret_steps)
{
	uint64_t count = simos_steps();
	unsigned next = 0;
	uint8_t call = 0;

	ret_steps->count = count;
	ret_steps->each = calloc((size_t)count + 1, sizeof *ret_steps->each);
	if (ret_steps->each == NULL)
		abort();
	for (uint64_t step = 1; step <= count; step++) {
		for (; next < calls.count && calls.begun[next].step <= step;
		     next++)
			call = (uint8_t)calls.begun[next].call;
		ret_steps->each[step] =
		    (struct step){(uint8_t)simos_step_kind(step), call};
	}
	ret_steps->last_call =
	    calls.count > 0 ? calls.begun[calls.count - 1].step : 1;
}

static bool
changes(const struct steps *steps, uint64_t step)
{
	return simos_step_changes((enum simos_kind)steps->each[step].kind);
}

/* Recoveries */

static void
check(const struct crashtest *t, const struct crashtest_crash *crash)
{
	counts()->checks++;
	simos_stop_at(0, 0);
	t->check(t->arg, crash);
	if (simos_leaks(stderr) != 0)
		crashtest_fail("the check leaves this behind");
}

/* recover() as simos_run() wants it. */
struct recovery {
	const struct crashtest *test;
	const struct crashtest_crash *crash;
};

static void
run_recover(void *arg)
{
	const struct recovery *r = arg;

	calls.count = 0;
	r->test->recover(r->test->arg, r->crash);
}

/* Runs recover() up to a step; true if it was stopped. */
static bool
recover(const struct crashtest *t, const struct crashtest_crash *crash,
    uint64_t step, unsigned inside)
{
	struct recovery recovery = {t, crash};

	simos_stop_at(step, inside);
	return simos_run(run_recover, &recovery);
}

/* Up to three times in a row: lose power or not, and stop the recovery from
 * that anywhere. */
static void
crash_again(const struct crashtest *t, struct crashtest_crash *crash,
    uint64_t steps, struct rng *rng)
{
	unsigned rounds = 1 + (unsigned)rng_below(rng, 3);

	for (unsigned i = 0; i < rounds; i++) {
		if (rng_below(rng, 2) == 0) {
			simos_power_loss((enum simos_loss)rng_below(
					     rng, SIMOS_LOSS_GARBAGE_SECTOR),
			    rng_next(rng));
			crash->power_lost = true;
		}
		crash->seed = rng_next(rng);
		if (i + 1 < rounds &&
		    !recover(t, crash, 1 + rng_below(rng, steps), 0) &&
		    !crash->power_lost)
			crash->recovered = true;
		shared->recoveries++;
	}
	simos_kill();
}

void
crashtest_recoveries(
    const struct crashtest *t, const struct crashtest_crash *crash)
{
	struct simos_state *up = simos_save();
	const char *phase = at.phase;
	enum simos_kind kind = at.kind;
	unsigned call = at.call;
	struct steps steps;
	struct rng rng;

	(void)counts();
	at.phase = "in a recovery that was itself stopped";
	rng_init(&rng, crash->seed);
	if (recover(t, crash, 0, 0))
		abort();
	steps_note(&steps);
	for (uint64_t step = 1; step <= steps.count + 1; step++) {
		struct crashtest_crash now = *crash;

		if (step <= steps.count && !changes(&steps, step))
			continue;
		simos_restore(up);
		now.recovered |=
		    !recover(t, crash, step, (unsigned)rng_below(&rng, 3));
		crash_again(t, &now, steps.count, &rng);
		at.kind = SIMOS_KIND_COUNT;
		if (step <= steps.count) {
			at.kind = (enum simos_kind)steps.each[step].kind;
			at.call = steps.each[step].call;
		}
		crashtest_count_state();
		at.kind = kind;
		at.call = call;
		check(t, &now);
	}
	free(steps.each);
	simos_restore(up);
	simos_state_free(up);
	at.phase = phase;
}

/* All ends of one crash */

static uint64_t
hash_text(const char *text)
{
	uint64_t hash = 0;

	while (*text != '\0')
		hash = rng_mix(hash ^ (uint8_t)*text++);
	return hash;
}

/* Different at each stop. */
static uint64_t
stop_number(const struct crashtest *t)
{
	return rng_mix(t->seed ^ hash_text(t->name) ^ at.step << 8 ^ at.inside);
}

/* The machine is as the crash left it: whether that is new to us. */
static bool
is_new(const struct crashtest *t, const struct crashtest_crash *crash)
{
	uint64_t wants = t->wants != NULL ? t->wants(t->arg) : stop_number(t);
	uint64_t what =
	    rng_mix(wants << 2 ^ wants >> 62 ^
		    (uint64_t)crash->power_lost << 1 ^ (uint64_t)crash->ruined);

	crashtest_count_state();
	if (set_add(CHECKED, simos_image_hash() ^ what))
		return true;
	shared->same++;
	return false;
}

static void
try_crash(const struct crashtest *t, const struct simos_state *stopped,
    int loss, uint64_t loss_seed)
{
	struct crashtest_crash crash = {
	    .power_lost = loss != KILL,
	    .ruined = loss == SIMOS_LOSS_GARBAGE_SECTOR,
	    .seed = rng_mix(loss_seed ^ stop_number(t)),
	};
	bool nested = t->recover != NULL && !crash.ruined &&
		      crash.seed / 2 % (t->nested != 0 ? t->nested : 20) == 0;
	struct simos_state *up;

	at.crashed = true;
	at.phase = "crash";
	at.loss = loss;
	at.loss_seed = loss_seed;
	simos_restore(stopped);
	if (loss != KILL)
		simos_power_loss((enum simos_loss)loss, loss_seed);
	if (!is_new(t, &crash))
		return;
	if (!nested) {
		check(t, &crash);
		return;
	}
	up = simos_save();
	check(t, &crash);
	simos_restore(up);
	simos_state_free(up);
	/* What was found after a power loss is found always. */
	crash.again = crash.power_lost;
	crashtest_recoveries(t, &crash);
}

static void
try_all(const struct crashtest *t)
{
	struct simos_state *stopped = simos_save();
	unsigned samples = t->samples != 0 ? t->samples : 2;
	uint64_t most = t->subsets != 0 ? t->subsets : 16;
	uint64_t subsets = simos_subsets();
	struct rng rng;

	rng_init(&rng, stop_number(t));
	if (subsets > most)
		subsets = 0;
	try_crash(t, stopped, KILL, 0);
	for (uint64_t i = 0; i < subsets; i++)
		try_crash(t, stopped, SIMOS_LOSS_SUBSET, i);
	for (int loss = 0; subsets != 1 && loss < SIMOS_LOSS_SUBSET; loss++) {
		bool torn =
		    loss == SIMOS_LOSS_TORN || loss == SIMOS_LOSS_GARBAGE;
		bool random =
		    loss == SIMOS_LOSS_PREFIX || loss == SIMOS_LOSS_RANDOM;
		bool ruin = loss == SIMOS_LOSS_GARBAGE_SECTOR;

		if (ruin ? !t->ruin : subsets > 0 && !torn)
			continue;
		for (unsigned i = 0; i < (torn || random ? samples : 1); i++)
			try_crash(t, stopped, loss, rng_next(&rng));
	}
	simos_restore(stopped);
	simos_state_free(stopped);
}

/* All stops of one run */

static bool
run_to(const struct crashtest *t, const struct simos_state *base, uint64_t step,
    unsigned inside)
{
	simos_restore(base);
	at.phase = "running";
	at.crashed = false;
	at.step = step;
	at.inside = inside;
	calls.count = 0;
	simos_stop_at(step, inside);
	return simos_run(t->run, t->arg);
}

/* Stop there; false if there is no such place. */
static bool
stop(const struct crashtest *t, const struct simos_state *base,
    const struct steps *steps, uint64_t step, unsigned inside)
{
	bool end = step > steps->count;
	bool stopped = run_to(t, base, end ? 0 : step, inside);

	at.step = step;
	at.kind = SIMOS_KIND_COUNT;
	if (stopped == end ||
	    (stopped && simos_step_kind(step) != steps->each[step].kind))
		crashtest_fail("this run makes other steps than the first: "
			       "step %" PRIu64,
		    step);
	if (inside > 0 && !simos_stopped_inside())
		return false;
	if (!end) {
		at.kind = (enum simos_kind)steps->each[step].kind;
		at.call = steps->each[step].call;
	}
	simos_kill();
	shared->stops++;
	return true;
}

/* The one point that is asked for. */
static bool
stop_where_wanted(const struct crashtest *t, const struct simos_state *base,
    const struct steps *steps)
{
	char name[NAME_MAX_LEN + 1];
	uint64_t step, loss_seed = 0;
	unsigned inside = 0;
	int loss = KILL;
	struct simos_state *stopped;

	if (!wanted_point(name, &step, &inside, &loss, &loss_seed) || step == 0)
		return false;
	simos_trace(stderr);
	if (step <= steps->count + 1 && loss >= KILL &&
	    loss < SIMOS_LOSS_COUNT && stop(t, base, steps, step, inside)) {
		stopped = simos_save();
		try_crash(t, stopped, loss, loss_seed);
		simos_state_free(stopped);
	}
	simos_trace(NULL);
	return true;
}

static void
stop_everywhere(const struct crashtest *t, const struct simos_state *base,
    const struct steps *steps)
{
	uint64_t step = t->last_call ? steps->last_call : 1;
	struct rng rng;

	rng_init(&rng, t->seed ^ hash_text(t->name));
	for (; step <= steps->count; step++) {
		enum simos_kind kind = (enum simos_kind)steps->each[step].kind;
		bool long_one = kind == SIMOS_STORE || kind == SIMOS_PWRITE;

		if (!changes(steps, step) ||
		    (t->every > 1 && rng_below(&rng, t->every) != 0))
			continue;
		for (unsigned inside = 0; inside < (long_one ? 4 : 1); inside++)
			if (stop(t, base, steps, step, inside))
				try_all(t);
			else
				break;
	}
	if (stop(t, base, steps, steps->count + 1, 0))
		try_all(t);
}

void
crashtest_stops(const struct crashtest *t)
{
	struct simos_state *base;
	struct steps steps;

	if (crashtest_skips(t->name))
		return;
	(void)counts();
	crashtest_at(t->name, t->seed, "running");
	base = simos_save();
	if (run_to(t, base, 0, 0))
		abort();
	steps_note(&steps);
	simos_kill();
	if (!stop_where_wanted(t, base, &steps))
		stop_everywhere(t, base, &steps);
	simos_restore(base);
	simos_state_free(base);
	free(steps.each);
}

void
crashtest_run(const struct crashtest *t)
{
	crashtest_at(t->name, t->seed, "setting up");
	simos_init(t->seed);
	simos_set_shadow(true);
	if (t->setup != NULL)
		t->setup(t->arg);
	simos_kill();
	simos_forget();
	crashtest_stops(t);
	simos_fini();
}

/* Items */

static void
judge_item(uint64_t i, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	/* One that could say what is wrong has counted it. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE &&
	    shared->violations > 0)
		return;
	(void)fprintf(stderr, "VIOLATION: item %" PRIu64 " ended with %s %d\n",
	    i, WIFSIGNALED(status) ? "signal" : "status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	shared->violations++;
}

static void
run_item(uint64_t i, void (*item)(uint64_t i))
{
	(void)alarm(ITEM_SECONDS);
	item(i);
	exit(EXIT_SUCCESS);
}

/* A line a minute, for those who wait. */
static void
print_progress(uint64_t done, uint64_t end)
{
	static time_t last;
	time_t now = time(NULL);

	if (last == 0)
		last = now;
	if (now < last + 60)
		return;
	last = now;
	(void)fprintf(stderr,
	    "crashtest: item %" PRIu64 " of %" PRIu64 "; %" PRIu64
	    " distinct crash states so far\n",
	    done, end, shared->distinct);
}

void
crashtest_items(
    uint64_t first, uint64_t end, unsigned jobs, void (*item)(uint64_t i))
{
	struct {
		pid_t pid;
		uint64_t item;
	} running[64];
	unsigned busy = 0;
	uint64_t next = first;

	(void)counts();
	if (getenv("KVLOG_CRASH_POINT") != NULL)
		jobs = 0;
	if (jobs > sizeof running / sizeof running[0])
		jobs = sizeof running / sizeof running[0];
	while (jobs == 0 && next < end)
		item(next++);
	while (jobs > 0 && (next < end || busy > 0)) {
		int status = 0;
		pid_t pid;

		if (next < end && busy < jobs) {
			(void)fflush(NULL);
			pid = fork();
			if (pid == 0)
				run_item(next, item);
			if (pid < 0) {
				perror("crashtest: fork");
				exit(EXIT_FAILURE);
			}
			running[busy].pid = pid;
			running[busy++].item = next++;
			continue;
		}
		print_progress(next, end);
		pid = waitpid(-1, &status, 0);
		for (unsigned i = 0; i < busy; i++)
			if (running[i].pid == pid) {
				judge_item(running[i].item, status);
				running[i] = running[--busy];
				break;
			}
	}
}

/* The table */

static const char *
reason_never(
    const struct crashtest_never *never, const char *call, const char *step)
{
	size_t len = strlen(step);

	for (; never != NULL && never->call != NULL; never++) {
		const char *at_step = never->steps;

		if (strcmp(never->call, call) != 0 &&
		    strcmp(never->call, "*") != 0)
			continue;
		while ((at_step = strstr(at_step, step)) != NULL) {
			bool begins =
			    at_step == never->steps || at_step[-1] == ' ';

			at_step += len;
			if (begins && (*at_step == ' ' || *at_step == '\0'))
				return never->reason;
		}
	}
	return NULL;
}

/* Width of a column; 0 if it is left out. */
static int
column_width(enum simos_kind kind)
{
	int len = (int)strlen(simos_step_name(kind));

	return !simos_step_changes(kind) ? 0 : len > 7 ? len : 7;
}

/* One row; counts the cells that are not as they should be. */
static unsigned
print_row(
    FILE *stream, unsigned call, const struct crashtest_never *never, bool all)
{
	unsigned wrong = 0;

	(void)fprintf(stream, "%-12s", call_names[call]);
	for (int k = 0; k < SIMOS_KIND_COUNT; k++) {
		enum simos_kind kind = (enum simos_kind)k;
		bool none = reason_never(never, call_names[call],
				simos_step_name(kind)) != NULL;
		uint64_t count = shared->cells[call][kind];
		bool bad = count == 0 ? all && !none : none;
		char text[24];

		if (column_width(kind) == 0)
			continue;
		wrong += bad;
		(void)snprintf(
		    text, sizeof text, "%" PRIu64 "%s", count, bad ? "!" : "");
		(void)fprintf(stream, " %*s", column_width(kind),
		    count == 0 && !bad ? "-" : text);
	}
	(void)fputc('\n', stream);
	return wrong;
}

bool
crashtest_report(
    FILE *stream, uint64_t seed, const struct crashtest_never *never, bool all)
{
	struct crashtest_totals t = crashtest_totals();
	unsigned wrong = 0;

	(void)fprintf(stream,
	    "\nCrash states by the call that was under way and the step "
	    "that it was about to make:\n\n%-12s",
	    "");
	for (int kind = 0; kind < SIMOS_KIND_COUNT; kind++)
		if (column_width((enum simos_kind)kind) > 0)
			(void)fprintf(stream, " %*s",
			    column_width((enum simos_kind)kind),
			    simos_step_name((enum simos_kind)kind));
	(void)fputc('\n', stream);
	for (unsigned call = 0; call_names[call] != NULL; call++)
		wrong += print_row(stream, call, never, all);
	for (; never != NULL && never->call != NULL; never++)
		(void)fprintf(stream, "  - %s: no %s: %s\n", never->call,
		    never->steps, never->reason);
	if (wrong > 0)
		(void)fprintf(stream,
		    "\n%u cells (!) are empty and should not be, or should be "
		    "and are not\n",
		    wrong);
	(void)fprintf(stream,
	    "\n%" PRIu64 " stop points, %" PRIu64 " distinct crash states "
	    "(%" PRIu64 " checks; %" PRIu64 " equal ones left out), %" PRIu64
	    " stopped recoveries, %" PRIu64 " violations\n"
	    "KVLOG_SEED=%" PRIu64 "\n",
	    t.stops, t.distinct, t.checks, t.same, t.recoveries, t.violations,
	    seed);
	(void)fflush(stream);
	return wrong == 0 && t.violations == 0;
}
