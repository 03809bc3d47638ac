/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_crash.c - stop short scripts at every step, end the process or the
 * machine there, and hold what is found against the oracle.
 *
 * After a kill (page cache intact, same boot) every commit whose call
 * returned is there.  After a power loss the store equals the state after
 * some prefix of the commits, no shorter than the last one reported durable.
 * In both cases:
 *
 *   - opening read-only, for writing, and again, shows the same (INV-11):
 *     the index is in memory and in the hints by turns, in the script too;
 *   - nothing is called damage that is merely torn (INV-10);
 *   - no sequence number given out before is given out again (INV-4);
 *   - the store works: what is written then survives the next crash;
 *   - a recovery that is stopped itself, at any step, changes nothing.
 *
 * KVLOG_SEED repeats the random choices.  KVLOG_CRASH_SECONDS=n goes on with
 * random scripts for n seconds.  A failure prints the crash point; with
 * KVLOG_CRASH_POINT set to it, only that script is run and only that point
 * tried, with a trace of the machine's calls.
 */
#include "config.h"

#include "simos.h"
#include "test.h"
#include "victim.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* What the tests, which fork, count together. */
static struct {
	uint64_t points; /* places where a script was stopped */
	uint64_t states; /* crash states checked */
	uint64_t same;   /* crash states left out: seen before */
	uint64_t nested; /* recoveries stopped */
	uint64_t chains;
} * total;

static uint64_t seed;

/* Where we are. */
static struct {
	const char *script;
	uint64_t script_seed, step, loss_seed;
	unsigned inside;
	int loss; /* enum simos_loss, or KILL */
	const char *phase;
} at;

#define KILL (-1)

/* Sanitizers make all of it many times slower. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define LOSS_SEEDS 1
#define CHAINS 40
#define STEPS_LEFT_OUT 4
#else
#define LOSS_SEEDS 2
#define CHAINS 300
#define STEPS_LEFT_OUT 1
#endif
#define NESTED_ONE_IN 50 /* of the crash states: recoveries are stopped too */

static const char *const loss_names[SIMOS_LOSS_COUNT] = {
    [SIMOS_LOSS_ALL] = "all",
    [SIMOS_LOSS_NONE] = "none",
    [SIMOS_LOSS_PREFIX] = "prefix",
    [SIMOS_LOSS_RANDOM] = "random",
    [SIMOS_LOSS_TORN] = "torn",
    [SIMOS_LOSS_GARBAGE] = "garbage",
    [SIMOS_LOSS_GARBAGE_SECTOR] = "garbage_sector",
    [SIMOS_LOSS_ONLY_NAMES] = "only_names",
    [SIMOS_LOSS_ONLY_DATA] = "only_data",
};

static void
die(const char *text)
{
	ck_abort_msg("%s\n    script %s, %s\n    KVLOG_SEED=%" PRIu64
		     " KVLOG_CRASH_POINT=%s:%" PRIu64 ":%" PRIu64 ":%u:%d:"
		     "%" PRIu64 " (%s)",
	    text, at.script, at.phase, seed, at.script, at.script_seed, at.step,
	    at.inside, at.loss, at.loss_seed,
	    at.loss == KILL ? "kill" : loss_names[at.loss]);
}

static void ATTR_PRINTF(1, 2) die_because(const char *format, ...)
{
	char text[MODEL_WHY_LEN + 200];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	die(text);
}

/* States that were seen: a set of hashes. */
static struct {
	uint64_t *hashes;
	size_t count, cap; /* cap: a power of two */
} seen;

static bool
seen_before(uint64_t hash)
{
	size_t i;

	if (2 * seen.count >= seen.cap) {
		uint64_t *old = seen.hashes;
		size_t old_cap = seen.cap;

		seen.cap = old_cap > 0 ? 2 * old_cap : 1024;
		seen.hashes = calloc(seen.cap, sizeof *seen.hashes);
		seen.count = 0;
		for (i = 0; i < old_cap; i++)
			if (old[i] != 0)
				(void)seen_before(old[i]);
		free(old);
	}
	hash |= hash == 0;
	for (i = (size_t)rng_mix(hash); seen.hashes[i & (seen.cap - 1)] != 0;
	     i++)
		if (seen.hashes[i & (seen.cap - 1)] == hash)
			return true;
	seen.hashes[i & (seen.cap - 1)] = hash;
	seen.count++;
	return false;
}

static void
forget_seen(void)
{
	free(seen.hashes);
	memset(&seen, 0, sizeof seen);
}

/* Opening and reading */

static bool hints; /* where the next opening has its index */

static enum kvlog_status
open_store(unsigned flags, struct kvlog **ret_db, struct kvlog_error *err)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size = VICTIM_SEGMENT;
	o.timeout_ms = 0;
	o.index_mode = hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	hints = !hints;
	return kvlog_open(VICTIM_STORE, &o, ret_db, err);
}

static void
close_store(struct kvlog *db)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = kvlog_close(db, &err);

	if (st != KVLOG_OK)
		die_because("close: %s", err.text);
}

static void
check_leaks(void)
{
	if (simos_leaks(stderr) != 0)
		die("something leaks");
}

/* A crash is no damage. */
static void
check_no_damage(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	enum kvlog_status st = kvlog_stats_get(db, &stats);

	if (st != KVLOG_OK)
		die_because("stats: %s", kvlog_status_text(st));
	if ((stats.recovery &
		(KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) != 0)
		die_because(
		    "a crash is taken for damage: %s", stats.recovery_text);
}

/* The store as the handle shows it, which must be one of the states min to
 * max: returns which. */
static size_t
read_state(struct kvlog *db, const struct oracle *o, size_t min, size_t max)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];
	size_t k;

	if (!model_read(&found, db, why))
		die_because("read: %s", why);
	k = oracle_find(o, &found, min, max, why);
	if (k == SIZE_MAX)
		die_because("found %s", why);
	model_fini(&found);
	return k;
}

/* What a handle shows is exactly this. */
static void
expect(struct kvlog *db, const struct model *wanted, const char *when)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		die_because("%s: %s", when, why);
	if (!model_equal(wanted, &found)) {
		model_explain(wanted, &found, why);
		die_because("%s: %s", when, why);
	}
	model_fini(&found);
}

static struct kvlog *
must_open(unsigned flags, const char *when)
{
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	if (open_store(flags, &db, &err) != KVLOG_OK)
		die_because("open %s: %s", when, err.text);
	return db;
}

/* Write something into a recovered store, end it in one of three ways, and
 * see that it is there. */
static void
check_works(struct kvlog *db, const struct oracle *o, const struct model *state,
    struct rng *rng)
{
	static const uint8_t value[1500] = "after";
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct model wanted = {0};
	enum kvlog_status st;
	unsigned end = (unsigned)rng_below(rng, 3);
	size_t len = (size_t)rng_below(rng, sizeof value);
	uint64_t max_seq = o->max_seq;

	model_copy(&wanted, state);
	for (unsigned i = 0; i < 2; i++) {
		const char *key = i == 0 ? "new" : "newer";

		how.durability =
		    i == 0 ? KVLOG_DURABILITY_NONE : KVLOG_DURABILITY_COMMIT;
		st =
		    kvlog_put(db, key, strlen(key), value, len, &how, &receipt);
		if (st != KVLOG_OK)
			die_because(
			    "put after recovery: %s", kvlog_status_text(st));
		if (receipt.seq <= max_seq)
			die_because("number %" PRIu64
				    " is given out again (%" PRIu64 " was)",
			    receipt.seq, max_seq);
		max_seq = receipt.seq;
		model_put(&wanted, key, strlen(key), value, len, receipt.seq);
	}
	expect(db, &wanted, "after writing to the recovered store");
	switch (end) {
	case 0:
		close_store(db);
		break;
	case 1:
		simos_kill();
		break;
	default:
		simos_power_loss(SIMOS_LOSS_RANDOM, rng_next(rng));
		break;
	}
	simos_forget();
	db = must_open(KVLOG_OPEN_READONLY, "to read what was written");
	expect(db, &wanted, "reopened after writing, for reading");
	close_store(db);
	db = must_open(0, "again");
	expect(db, &wanted, "reopened after writing");
	if (end != 1)
		check_no_damage(db);
	close_store(db);
	check_leaks();
	model_fini(&wanted);
}

/*
 * The machine is up, no process runs: check what the store holds, which must
 * be one of the states min to max.  Returns which it is.
 */
static size_t
check_recovery(const struct oracle *o, size_t min, size_t max, struct rng *rng)
{
	struct kvlog *reader = NULL, *db;
	struct kvlog_error err = {0};
	enum kvlog_status st;
	size_t k = SIZE_MAX, again;

	total->states++;
	st = open_store(KVLOG_OPEN_READONLY, &reader, &err);
	if (st == KVLOG_OK)
		k = read_state(reader, o, min, max);
	else if (o->created)
		die_because("open for reading: %s", err.text);
	else if (st != KVLOG_NOSTORE && st != KVLOG_CORRUPT)
		die_because("open of half a store: %s", err.text);
	else
		max = min; /* there is nothing yet */
	if (reader != NULL)
		close_store(reader);

	db = must_open(KVLOG_OPEN_CREATE, "for recovery");
	if (k != SIZE_MAX)
		min = max = k;
	again = read_state(db, o, min, max);
	k = again;
	check_no_damage(db);
	reader = must_open(KVLOG_OPEN_READONLY, "beside the writer");
	(void)read_state(reader, o, k, k);
	close_store(reader);
	if (rng_below(rng, 2) == 0) {
		close_store(db);
		db = must_open(0, "once more");
		(void)read_state(db, o, k, k);
	}
	check_works(db, o, &o->states[k], rng);
	return k;
}

/* The same where a whole sector may be garbage: no wrong value, no crash. */
static void
check_survival(const struct oracle *o)
{
	struct kvlog *db = NULL;
	struct kvlog_iter *iter;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	total->states++;
	st = open_store(0, &db, &err);
	if (st != KVLOG_OK) {
		if (err.text[0] == '\0')
			die("open failed without a word");
		check_leaks();
		return;
	}
	st = kvlog_iter_create(db, NULL, 0, &iter);
	while (
	    st == KVLOG_OK && (st = kvlog_iter_next(iter)) != KVLOG_NOTFOUND) {
		struct model one = {0};
		struct kvlog_info info;
		size_t key_len = 0, value_len = 0;
		const void *key = kvlog_iter_key(iter, &key_len);
		const void *value = kvlog_iter_value(iter, &value_len);

		if (st == KVLOG_CORRUPT) {
			st = KVLOG_OK;
			continue;
		}
		kvlog_iter_info(iter, &info);
		model_put(&one, key, key_len, value, value_len, info.seq);
		if (!oracle_knows(o, &one.entries[0]))
			die_because("key %.*s, commit %" PRIu64
				    ", %zu bytes: nobody wrote this",
			    (int)key_len, (const char *)key, info.seq,
			    value_len);
		model_fini(&one);
	}
	if (st == KVLOG_NOTFOUND)
		kvlog_iter_destroy(iter);
	close_store(db);
	check_leaks();
}

/* Recovery that is stopped */

struct opener {
	const struct oracle *oracle;
	bool done;
};

static void
open_and_close(void *arg)
{
	struct opener *opener = arg;
	struct kvlog *db = must_open(KVLOG_OPEN_CREATE, "to be stopped");

	close_store(db);
	opener->done = true;
}

static bool
matters(uint64_t step)
{
	return simos_step_changes(simos_step_kind(step));
}

/*
 * Stop the recovery of a crash state at every step, by kill or power loss,
 * some of them once more while that is recovered.  The content stays what it
 * is.  After a kill, power may be lost for the first time in recovery: then
 * commits from min on may go, or, once an opening has returned, from min_done.
 */
static void
stop_recoveries(const struct oracle *o, size_t min, size_t min_done, size_t max,
    struct rng *rng)
{
	struct simos_state *crash = simos_save();

	at.phase = "in a recovery that was itself stopped";
	for (uint64_t step = 1;; step++) {
		struct opener opener = {o, false};
		unsigned rounds = 1 + (unsigned)rng_below(rng, 3);
		bool stopped;

		simos_restore(crash);
		simos_stop_at(step, (unsigned)rng_below(rng, 3));
		stopped = simos_run(open_and_close, &opener);
		if (stopped && !matters(step))
			continue;
		for (unsigned i = 0; i < rounds; i++) {
			if (rng_below(rng, 2) == 0)
				simos_power_loss((enum simos_loss)rng_below(rng,
						     SIMOS_LOSS_GARBAGE_SECTOR),
				    rng_next(rng));
			simos_stop_at(1 + rng_below(rng, 60), 0);
			if (i + 1 < rounds)
				(void)simos_run(open_and_close, &opener);
			total->nested++;
		}
		simos_stop_at(0, 0);
		simos_kill();
		(void)check_recovery(o, opener.done ? min_done : min, max, rng);
		if (!stopped)
			break;
	}
	simos_restore(crash);
	simos_state_free(crash);
	at.phase = "crash";
}

/* All ends of one crash */

static uint64_t
state_hash(const struct oracle *o, size_t min, size_t max)
{
	return simos_image_hash() ^ rng_mix(min) ^ rng_mix(~(uint64_t)max) ^
	       rng_mix(o->max_seq << 1);
}

static void
try_loss(const struct oracle *o, const struct simos_state *crash,
    enum simos_loss loss, uint64_t loss_seed, unsigned nested_one_in)
{
	struct rng rng;
	size_t max = o->count - 1;

	at.loss = (int)loss;
	at.loss_seed = loss_seed;
	hints = loss_seed % 2 == 0;
	rng_init(&rng, loss_seed);
	simos_restore(crash);
	simos_power_loss(loss, loss_seed);
	if (seen_before(state_hash(o, o->durable, max))) {
		total->same++;
		return;
	}
	if (loss == SIMOS_LOSS_GARBAGE_SECTOR) {
		check_survival(o);
		return;
	}
	if (rng_below(&rng, nested_one_in) == 0) {
		struct simos_state *up = simos_save();
		size_t k = check_recovery(o, o->durable, max, &rng);

		/* What was found once is found always. */
		simos_restore(up);
		stop_recoveries(o, k, k, k, &rng);
		simos_state_free(up);
		return;
	}
	(void)check_recovery(o, o->durable, max, &rng);
}

/* After a kill, what a reader calls durable outlives the machine. */
static void
check_reader_claim(const struct oracle *o, const struct simos_state *crash)
{
	struct kvlog *reader = NULL;
	struct rng rng;
	uint64_t durable;
	size_t min = o->durable, max = o->count - 1;

	simos_restore(crash);
	if (open_store(KVLOG_OPEN_READONLY, &reader, NULL) != KVLOG_OK)
		return;
	durable = kvlog_durable_seq(reader);
	close_store(reader);
	while (min < max - o->in_flight && o->seqs[min + 1] <= durable)
		min++;
	rng_init(&rng, at.step);
	at.phase = "what a reader called durable";
	simos_power_loss(SIMOS_LOSS_NONE, at.step);
	(void)check_recovery(o, min, max, &rng);
	at.phase = "crash";
}

static void
try_kill(const struct oracle *o, const struct simos_state *crash,
    unsigned nested_one_in)
{
	size_t max = o->count - 1;
	struct rng rng;

	at.loss = KILL;
	at.loss_seed = at.step;
	hints = at.step % 2 == 0;
	rng_init(&rng, at.step);
	simos_restore(crash);
	if (rng_below(&rng, nested_one_in) == 0)
		stop_recoveries(o, o->durable, max - o->in_flight, max, &rng);
	(void)check_recovery(o, max - o->in_flight, max, &rng);
	check_reader_claim(o, crash);
}

static void
try_all(const struct oracle *o, struct rng *rng, unsigned nested_one_in)
{
	struct simos_state *crash = simos_save();

	at.phase = "crash";
	try_kill(o, crash, nested_one_in);
	for (int loss = 0; loss < SIMOS_LOSS_COUNT; loss++) {
		bool fixed = loss == SIMOS_LOSS_ALL ||
			     loss == SIMOS_LOSS_NONE ||
			     loss == SIMOS_LOSS_ONLY_NAMES ||
			     loss == SIMOS_LOSS_ONLY_DATA;

		for (unsigned i = 0; i < (fixed ? 1 : LOSS_SEEDS); i++)
			try_loss(o, crash, (enum simos_loss)loss, rng_next(rng),
			    nested_one_in);
	}
	simos_restore(crash);
	simos_state_free(crash);
}

/* Scripts */

static struct victim victim;

/* Run a script up to a step; true if it was stopped. */
static bool
run_script(void (*script)(void *), uint64_t script_seed, uint64_t step,
    unsigned inside)
{
	victim_fini(&victim);
	victim_init(&victim, die);
	victim.hints = (seed ^ script_seed) % 2 == 0;
	rng_init(&victim.rng, script_seed);
	at.script_seed = script_seed;
	at.step = step;
	at.inside = inside;
	at.phase = "running";
	simos_stop_at(step, inside);
	return simos_run(script, &victim);
}

/* The one point that was asked for, if it is of this script. */
static bool
try_point(
    const char *name, void (*script)(void *), const struct simos_state *base)
{
	const char *point = getenv("KVLOG_CRASH_POINT");
	char script_name[40];
	uint64_t script_seed, step, loss_seed;
	unsigned inside;
	int loss;
	struct simos_state *crash;

	if (point == NULL)
		return false;
	if (sscanf(point, "%39[^:]:%" SCNu64 ":%" SCNu64 ":%u:%d:%" SCNu64,
		script_name, &script_seed, &step, &inside, &loss,
		&loss_seed) != 6 ||
	    strcmp(script_name, name) != 0)
		return true;
	simos_restore(base);
	simos_trace(stderr);
	(void)run_script(script, script_seed, step, inside);
	simos_kill();
	crash = simos_save();
	at.phase = "crash";
	if (loss == KILL)
		try_kill(&victim.oracle, crash, UINT32_MAX);
	else
		try_loss(&victim.oracle, crash, (enum simos_loss)loss,
		    loss_seed, UINT32_MAX);
	simos_state_free(crash);
	return true;
}

/* Every step of a script.  every: look at one in so many. */
static void
enumerate(const char *name, void (*script)(void *), uint64_t script_seed,
    const struct simos_state *base, unsigned every)
{
	struct rng rng;
	uint64_t step, points = total->points, states = total->states;
	uint64_t nested = total->nested;

	at.script = name;
	if (try_point(name, script, base))
		return;
	rng_init(&rng, seed ^ script_seed);
	for (step = 1;; step++) {
		unsigned insides = 1;
		bool stopped = true;

		if (every > 1 && step > 1 && rng_below(&rng, every) != 0) {
			/* Only to see whether it ends here. */
			simos_restore(base);
			if (run_script(script, script_seed, step, 0))
				continue;
			break;
		}
		for (unsigned inside = 0; inside < insides; inside++) {
			simos_restore(base);
			stopped = run_script(script, script_seed, step, inside);
			if (!stopped)
				break;
			if (inside > 0 && !simos_stopped_inside())
				break;
			if (inside == 0 &&
			    (simos_step_kind(step) == SIMOS_STORE ||
				simos_step_kind(step) == SIMOS_PWRITE))
				insides = 4;
			if (!matters(step))
				break;
			total->points++;
			try_all(&victim.oracle, &rng, NESTED_ONE_IN);
		}
		if (!stopped)
			break;
	}
	if (step == 1)
		die("the first step did not stop the script");
	/* The end itself. */
	simos_kill();
	try_all(&victim.oracle, &rng, 1);
	printf("%-12s %5" PRIu64 " steps, %6" PRIu64 " stop points, %7" PRIu64
	       " crash states, %6" PRIu64 " stopped recoveries\n",
	    name, step - 1, total->points - points, total->states - states,
	    total->nested - nested);
	(void)fflush(stdout);
}

static void
setup(void)
{
	simos_init(seed);
	simos_set_shadow(true);
}

static void
teardown(void)
{
	victim_fini(&victim);
	forget_seen();
	simos_fini();
}

START_TEST(every_step_of_every_call)
{
	const struct script *s = &scripts[_i];
	struct simos_state *base = simos_save();

	enumerate(s->name, s->fn, (uint64_t)_i, base,
	    (size_t)_i < small_script_count ? STEPS_LEFT_OUT
					    : 2 * STEPS_LEFT_OUT);
	simos_state_free(base);
}
END_TEST

START_TEST(every_step_of_random_scripts)
{
	struct simos_state *base = simos_save();

	enumerate("random", script_random, rng_mix(seed + (uint64_t)_i), base,
	    4 * STEPS_LEFT_OUT);
	simos_state_free(base);
}
END_TEST

/* The control page and segments through pwrite, as on btrfs. */
START_TEST(every_step_by_pwrite)
{
	struct simos_state *base;

	simos_set_fs(OS_FS_COW);
	base = simos_save();
	enumerate("rollover", scripts[_i].fn, 0, base, 3);
	simos_state_free(base);
}
END_TEST

/* On a system without a boot id; _i beyond the small scripts: a random one. */
START_TEST(every_step_without_a_boot_id)
{
	const bool random = (size_t)_i >= small_script_count;
	struct simos_state *base;

	simos_set_boot_id(false);
	base = simos_save();
	if (random)
		enumerate("random", script_random, rng_mix(seed + (uint64_t)_i),
		    base, 4 * STEPS_LEFT_OUT);
	else
		enumerate(scripts[_i].name, scripts[_i].fn, 0, base,
		    3 * STEPS_LEFT_OUT);
	simos_state_free(base);
}
END_TEST

static unsigned
count_segments(void)
{
	const uint8_t *bytes;
	uint64_t size;
	char path[40];
	unsigned n = 0;

	for (unsigned i = 1; i < 20; i++) {
		(void)snprintf(path, sizeof path, VICTIM_STORE "/%08u.seg", i);
		n += simos_peek(path, &bytes, &size);
	}
	return n;
}

/*
 * Power losses after which several segments have to be discarded, and
 * recoveries of those that are stopped: a name that should be gone must not
 * come back beside the new segment.
 */
START_TEST(stopped_discarding)
{
	struct simos_state *base = simos_save(), *crash;
	unsigned tried = 0;
	struct rng rng;

	at.script = "unsynced";
	if (getenv("KVLOG_CRASH_POINT") != NULL) {
		simos_state_free(base);
		return;
	}
	rng_init(&rng, seed);
	(void)run_script(scripts[_i].fn, 0, 0, 0);
	simos_kill();
	simos_forget();
	crash = simos_save();
	for (unsigned i = 0; i < 4000 && tried < 60 / STEPS_LEFT_OUT; i++) {
		struct kvlog_stats stats = {.size = sizeof stats};
		struct simos_state *up;
		unsigned segments;
		struct kvlog *db;
		size_t k;

		at.loss = SIMOS_LOSS_RANDOM;
		at.loss_seed = rng_next(&rng);
		simos_restore(crash);
		simos_power_loss(SIMOS_LOSS_RANDOM, at.loss_seed);
		segments = count_segments();
		up = simos_save();
		db = must_open(0, "to count what is kept");
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		k = read_state(db, &victim.oracle, 0, victim.oracle.count - 1);
		close_store(db);
		simos_restore(up);
		/* One is new. */
		if (segments >= stats.segment_count - 1 + 2) {
			for (unsigned times = 0; times < 8; times++)
				stop_recoveries(&victim.oracle, k, k, k, &rng);
			tried++;
		}
		simos_state_free(up);
	}
	ck_assert_uint_ge(tried, 10);
	simos_state_free(crash);
	simos_state_free(base);
}
END_TEST

/*
 * Sometimes a call of the system fails before the crash: also a sync, of which
 * a process that is killed behind it tells nobody.
 */
static void
arm_fault(struct rng *rng)
{
	static const struct {
		enum simos_kind kind;
		int error;
	} faults[] = {
	    {SIMOS_SYNC, EIO},
	    {SIMOS_SYNC_DIR, EIO},
	    {SIMOS_RENAME, EIO},
	    {SIMOS_CREATE, ENOSPC},
	    {SIMOS_ALLOCATE, ENOSPC},
	    {SIMOS_UNLINK, EIO},
	    {SIMOS_MAP, ENOMEM},
	    {SIMOS_MALLOC, ENOMEM},
	};
	size_t n = (size_t)rng_below(rng, sizeof faults / sizeof faults[0]);

	victim.faults = rng_below(rng, 4) == 0;
	if (!victim.faults)
		return;
	simos_fail(faults[n].kind, 1 + rng_below(rng, 30), faults[n].error,
	    rng_below(rng, 2) == 0);
}

/*
 * Chains: a store lives through many crashes, with work in between, and the
 * oracle remembers all of it: what one recovery leaves meets the next.
 */
static void
run_chain(uint64_t chain_seed)
{
	struct oracle *o = &victim.oracle;
	struct rng rng;

	victim_fini(&victim);
	victim_init(&victim, die);
	victim.hints = hints = chain_seed % 2 == 0;
	rng_init(&rng, chain_seed);
	rng_init(&victim.rng, chain_seed);
	at.script = "chain";
	at.script_seed = chain_seed;
	for (at.step = 1; at.step <= 8; at.step++) {
		struct model found = {0};
		struct kvlog *db = NULL;
		struct kvlog_error err = {0};
		char why[MODEL_WHY_LEN];
		size_t k, min = o->durable, max;
		bool lost = rng_below(&rng, 3) != 0;

		simos_stop_at(
		    1 + rng_below(&rng, 400), (unsigned)rng_below(&rng, 3));
		at.phase = "running";
		victim.db = NULL;
		arm_fault(&rng);
		(void)simos_run(script_random, &victim);
		simos_fail_clear();
		simos_kill();
		max = o->count - 1;
		min = lost ? o->durable : max - o->in_flight;
		at.loss = KILL;
		if (lost) {
			at.loss =
			    (int)rng_below(&rng, SIMOS_LOSS_GARBAGE_SECTOR);
			at.loss_seed = rng_next(&rng);
			simos_power_loss(
			    (enum simos_loss)at.loss, at.loss_seed);
		}
		at.phase = "in a chain of crashes; the step is the round";
		if (open_store(KVLOG_OPEN_CREATE, &db, &err) != KVLOG_OK)
			die_because("open: %s", err.text);
		o->created = true;
		if (!model_read(&found, db, why))
			die_because("read: %s", why);
		k = oracle_find(o, &found, min, max, why);
		if (k == SIZE_MAX)
			die_because("found %s", why);
		check_no_damage(db);
		oracle_cut(o, k, kvlog_last_seq(db));
		oracle_durable(o, kvlog_durable_seq(db));
		model_fini(&found);
		if (rng_below(&rng, 2) == 0) {
			close_store(db);
			oracle_durable(o, UINT64_MAX);
			check_leaks();
		} else {
			simos_kill();
			simos_forget();
		}
		total->states++;
	}
	total->chains++;
}

/* _i odd: on a system without a boot id. */
START_TEST(chains_of_crashes)
{
	const char *point = getenv("KVLOG_CRASH_POINT");
	struct simos_state *base;

	simos_set_boot_id(_i % 2 == 0);
	base = simos_save();
	if (point != NULL && strncmp(point, "chain:", 6) != 0) {
		simos_state_free(base);
		return;
	}
	if (point != NULL) {
		simos_trace(stderr);
		run_chain(strtoull(point + 6, NULL, 10));
	} else {
		for (unsigned i = 0; i < CHAINS; i++) {
			simos_restore(base);
			run_chain(rng_mix(seed + (uint64_t)_i * 1000 + i));
		}
	}
	simos_state_free(base);
}
END_TEST

/* For as long as KVLOG_CRASH_SECONDS says. */
START_TEST(campaign)
{
	const char *text = getenv("KVLOG_CRASH_SECONDS");
	time_t end = time(NULL) + (text != NULL ? atol(text) : 0);
	struct simos_state *base = simos_save();

	if (getenv("KVLOG_CRASH_POINT") != NULL)
		end = 0;
	for (uint64_t i = 1; time(NULL) < end; i++) {
		uint64_t script_seed = rng_mix(seed ^ i << 32);

		if (i % 8 != 0) {
			for (unsigned n = 0; n < 100; n++) {
				simos_restore(base);
				run_chain(script_seed + n);
			}
			continue;
		}
		enumerate("random", script_random, script_seed, base, 1);
		forget_seen();
	}
	simos_state_free(base);
}
END_TEST

int
main(void)
{
	const char *seconds = getenv("KVLOG_CRASH_SECONDS");
	Suite *suite = suite_create("crash");
	TCase *tc = tcase_create("crash");
	int rc;

	seed = rng_seed_from_env();
	total = mmap(NULL, sizeof *total, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (total == MAP_FAILED)
		return EXIT_FAILURE;
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 600 + (seconds != NULL ? atof(seconds) : 0));
	tcase_add_loop_test(tc, every_step_of_every_call, 0, (int)script_count);
	tcase_add_loop_test(tc, every_step_of_random_scripts, 0, 4);
	tcase_add_loop_test(tc, every_step_by_pwrite, 5, 6);
	tcase_add_loop_test(
	    tc, every_step_without_a_boot_id, 0, (int)small_script_count + 1);
	tcase_add_loop_test(tc, stopped_discarding, 6, 7);
	tcase_add_loop_test(tc, chains_of_crashes, 0, 4);
	if (seconds != NULL)
		tcase_add_test(tc, campaign);
	suite_add_tcase(suite, tc);
	rc = test_main(suite);
	printf("%" PRIu64 " stop points, %" PRIu64 " distinct crash states "
	       "checked (%" PRIu64 " more were equal to one of them), %" PRIu64
	       " stopped recoveries, %" PRIu64 " chains of 8 crashes\n",
	    total->points, total->states, total->same, total->nested,
	    total->chains);
	return rc;
}
