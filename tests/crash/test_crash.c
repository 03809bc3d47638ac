/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_crash.c - what any crash at any step leaves is what was promised: the
 * state after some prefix of the commits, no shorter than the last one that
 * was reported durable (storecheck.h says what is looked at).
 *
 *   sequences  all of up to so many calls, from several beginnings
 *   scripts    longer ones, that together make every call of the interface
 *   random     scripts of random calls
 *   chains     a store that lives through many crashes, with failing calls
 *
 * Each is an item of work, in a process of its own.  "make check" runs a small
 * part; "make crashtest" all, and then random scripts and chains until
 * KVLOG_CRASH_STATES different disk images have been left behind.
 *
 * KVLOG_SEED repeats the random choices, KVLOG_CRASH_POINT with it one crash,
 * with a trace of the machine's calls; a failure prints both.
 */
#include "config.h"

#include "simos.h"
#include "storecheck.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Sanitizers make all of it many times slower. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SLOWER 16u
#else
#define SLOWER 1u
#endif

#define SEQUENCE_MAX 4 /* calls */

#define COMMIT KVLOG_DURABILITY_COMMIT
#define NONE KVLOG_DURABILITY_NONE

static const char *const calls[] = {
    [VICTIM_IN_CREATE] = "create",
    [VICTIM_IN_OPEN] = "open",
    [VICTIM_IN_RECOVER] = "recover",
    [VICTIM_IN_PUT] = "put",
    [VICTIM_IN_PUT_IF] = "put_if",
    [VICTIM_IN_DELETE] = "delete",
    [VICTIM_IN_APPLY] = "apply",
    [VICTIM_IN_COMMIT] = "commit",
    [VICTIM_IN_BUCKET] = "bucket",
    [VICTIM_IN_DROP] = "drop",
    [VICTIM_IN_EXPIRE] = "expire",
    [VICTIM_IN_ROLLOVER] = "rollover",
    [VICTIM_IN_SYNC] = "sync",
    [VICTIM_IN_MAINTAIN] = "maintain",
    [VICTIM_IN_CLOSE] = "close",
    [VICTIM_IN_COMPACT] = "compact",
    [VICTIM_IN_REWRITE] = NULL,
};

static const struct crashtest_never never[] = {
    {"*", "link truncate", "no file has two names, and none is ever cut"},
    {"*", "exchange rmdir", "only a backup makes these: test_backup.c"},
    {"create", "unlink punch", "there is nothing to remove or to give back"},
    {"open", "sync_dir sync_parent rename pwrite punch store",
	"what was closed is taken as it is"},
    {"recover", "punch", "space is given back at closing"},
    {"put", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"put_if", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"delete", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"apply", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"commit", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"bucket", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"drop", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"expire", "mkdir sync_parent create rename unlink pwrite punch",
	"a commit that has room makes no file"},
    {"rollover", "mkdir sync_parent punch",
	"the directory is there, and the segment before stays as it is"},
    {"sync",
	"mkdir sync_parent create rename unlink pwrite allocate punch store",
	"only words of the control page are stored"},
    {"maintain", "mkdir sync_parent punch store",
	"hints and the next segment are files of their own"},
    {"close", "mkdir sync_parent", "the directory is there"},
    {"compact", "mkdir sync_parent", "the directory is there"},
    {"compact", "punch",
	"needs an active segment that is too large to be copied so often; "
	"close has one"},
    {NULL, NULL, NULL},
};

static uint64_t seed;
static bool full;               /* not the small part */
static uint64_t sequence_calls; /* in a sequence, at most */

static struct survivor survivor;

static void
fail(const char *text)
{
	crashtest_fail("%s", text);
}

static void
on_call(enum victim_call call, bool was)
{
	if (was)
		crashtest_call_was(call);
	else
		crashtest_call(call);
}

static void
begin_victim(bool hints)
{
	victim_fini(&survivor.victim);
	victim_init(&survivor.victim, fail);
	survivor.victim.on_call = on_call;
	survivor.victim.hints = hints;
}

static const char *
name_of(const char *kind, uint64_t n)
{
	static char name[40];

	(void)snprintf(name, sizeof name, "%s/%" PRIu64, kind, n);
	return name;
}

/* What all tests of the store have in common. */
static struct crashtest
store_test(const char *name, void (*run)(void *arg))
{
	return (struct crashtest){
	    .name = name,
	    .seed = seed,
	    .run = run,
	    .recover = survivor_recover,
	    .check = survivor_check,
	    .wants = survivor_wants,
	    .arg = &survivor,
	    .ruin = true,
	};
}

/*
 * Sequences.  Values are chosen so that two or three of them go into a segment
 * of 8 KiB, of which 3.5 KiB are for records.
 */

enum beginning {
	NEW,    /* nothing; then a store is made */
	FULL,   /* segments and their hints, closed; opened */
	CLOSED, /* the same, not opened */
	KILLED, /* its writer was killed, with commits that are not durable */
	LOST,   /* and then the power was lost */
	BEGINNINGS
};
static const char *const beginnings[BEGINNINGS] = {
    "new", "full", "closed", "killed", "lost"};

static const char letters_open[] = "pndibtrshx", letters_closed[] = "oc";

struct sequence {
	enum beginning from;
	char letters[SEQUENCE_MAX + 1];
};
static struct sequence *sequences;
static size_t sequence_count;

/* Add this sequence and all that begin with it; max: how many letters. */
static void
add_sequences(struct sequence s, bool open, size_t max)
{
	const size_t len = strlen(s.letters);

	if (sequence_count % 1024 == 0)
		sequences = realloc(
		    sequences, (sequence_count + 1024) * sizeof *sequences);
	if (sequences == NULL)
		abort();
	sequences[sequence_count++] = s;
	for (const char *next = open ? letters_open : letters_closed;
	     len < max && *next != '\0'; next++) {
		s.letters[len] = *next;
		add_sequences(s, open ? *next != 'x' : *next == 'o', max);
	}
}

static void
make_sequences(void)
{
	const size_t max = (size_t)sequence_calls;

	add_sequences((struct sequence){NEW, ""}, true, max);
	add_sequences((struct sequence){FULL, ""}, true, max);
	/* An open of that is FULL. */
	add_sequences((struct sequence){CLOSED, "c"}, false, max);
	/* The opening is a call. */
	add_sequences((struct sequence){KILLED, ""}, true, max - 1);
	add_sequences((struct sequence){LOST, ""}, true, max - 1);
}

/* What is there before a sequence. */
static struct victim beginning;

static void
make_full(struct victim *v)
{
	static const struct victim_step first[] = {
	    {.value_len = VICTIM_CREATE, .bucket = "p"}, {"a", 400, "p", 2},
	    {"a", 500, NULL, 0}};

	victim_set_hour(0);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_transact(v, first, 3, NONE);
	(void)victim_put(v, "b", 1200, NONE);
	(void)victim_put(v, "c", 900, NONE);
	(void)victim_delete(v, "b", NONE);
	(void)victim_put(v, "r", 1500, NONE);
	(void)victim_put(v, "a", 1000, NONE);
	(void)victim_maintain(v);
	(void)victim_close(v);
}

static void
make_beginning(enum beginning from)
{
	struct victim *v = &beginning;

	victim_fini(v);
	victim_init(v, fail);
	if (from == NEW)
		return;
	make_full(v);
	if (from == FULL || from == CLOSED)
		return;
	(void)victim_open(v, 0);
	(void)victim_put(v, "b", 300, COMMIT);
	(void)victim_put(v, "r", 2500, NONE);
	(void)victim_delete(v, "c", NONE);
	simos_kill();
	simos_forget();
	if (from == LOST) {
		struct kvlog *db;
		size_t k;

		simos_power_loss(SIMOS_LOSS_NONE, 0);
		db = storecheck_open(KVLOG_OPEN_READONLY, "after a loss");
		k = storecheck_state(
		    db, &v->oracle, v->oracle.durable, v->oracle.count - 1);
		storecheck_close(db);
		oracle_cut(&v->oracle, k, 0);
	}
}

/* Create a bucket and fill it, or drop it and write into another one. */
static void
transact(struct victim *v, enum kvlog_durability durability)
{
	static const struct victim_step create[] = {
	    {.value_len = VICTIM_CREATE, .bucket = "p"}, {"a", 300, "p", 0},
	    {"f", 200, "p", 1}, {"f", 100, NULL, 2}};
	static const struct victim_step drop[] = {{"a", 350, "p", 0},
	    {.value_len = VICTIM_DROP, .bucket = "p"},
	    {"a", VICTIM_DELETE, NULL, 0}, {"f", 30, NULL, 0}};
	bool there = model_bucket(oracle_last(&v->oracle), "p") != NULL;

	(void)victim_transact(v, there ? drop : create, 4, durability);
}

/* By its place a call is durable or not, save those that are by their letter.
 */
static void
run_letter(struct victim *v, char letter, size_t place)
{
	static const struct victim_step batch[] = {{"d", 60, "p", 3},
	    {"a", VICTIM_DELETE, NULL, 0}, {"d", 500, NULL, 0},
	    {"b", 400, NULL, 1}, {"d", 60, NULL, 2}};
	static const struct victim_step long_batch[] = {{"b", 1300, NULL, 0},
	    {"a", VICTIM_DELETE, NULL, 0}, {"e", 1400, NULL, 0}};
	const struct model_entry *a;
	bool in_p;

	switch (letter) {
	case 'p':
		(void)victim_put(v, "a", 700, COMMIT);
		break;
	case 'n':
		(void)victim_put(v, "b", 900, NONE);
		break;
	case 'd':
		(void)victim_delete(v, "a", place % 2 == 0 ? NONE : COMMIT);
		break;
	case 'i':
		a = model_find(oracle_last(&v->oracle), "a", 1);
		(void)victim_put_if(
		    v, "a", 40, KVLOG_IF_SEQ, a != NULL ? a->seq : 0);
		break;
	case 'b':
		in_p = model_bucket(oracle_last(&v->oracle), "p") != NULL;
		(void)victim_batch(v, in_p ? batch : batch + 1, in_p ? 5 : 4,
		    place % 2 == 0 ? COMMIT : NONE);
		break;
	case 't':
		transact(v, place % 2 == 0 ? NONE : COMMIT);
		break;
	case 'r':
		(void)victim_batch(
		    v, long_batch, 3, place % 2 == 0 ? NONE : COMMIT);
		break;
	case 's':
		(void)victim_sync(v);
		break;
	case 'h':
		(void)victim_maintain(v);
		break;
	case 'x':
		(void)victim_close(v);
		break;
	case 'o':
		(void)victim_open(v, 0);
		break;
	case 'c': /* what expires next has expired */
		victim_set_hour((unsigned)place + 1);
		(void)victim_compact(v, KVLOG_COMPACT_ALL);
		break;
	default:
		abort();
	}
}

static const struct sequence *running;

static void
run_sequence(void *arg)
{
	struct victim *v = &survivor.victim;

	(void)arg;
	victim_fini(v);
	victim_copy(v, &beginning);
	v->on_call = on_call;
	victim_set_hour(0);
	if (running->from != CLOSED)
		(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (size_t i = 0; running->letters[i] != '\0'; i++)
		run_letter(v, running->letters[i], i);
	survivor_end(&survivor);
}

#define SEQUENCES_LEAVE UINT64_C(3000000) /* states, and less than that */

/* So many in a row are an item. */
#define SEQUENCES_AT_ONCE 16

static void
item_sequences(uint64_t n)
{
	struct simos_state *base = NULL;
	size_t end = (size_t)(n + 1) * SEQUENCES_AT_ONCE;
	char name[40];

	simos_init(seed);
	base = simos_save();
	for (size_t i = end - SEQUENCES_AT_ONCE; i < sequence_count && i < end;
	     i++) {
		struct crashtest test = store_test(name, run_sequence);

		running = &sequences[i];
		(void)snprintf(name, sizeof name, "%s/%s",
		    beginnings[running->from], running->letters);
		if (crashtest_skips(name))
			continue;
		test.last_call = true;
		test.nested = full ? 50 : 100;
		test.samples = full ? 2 : 1;
		simos_restore(base);
		crashtest_at(name, seed, "setting up");
		make_beginning(running->from);
		crashtest_stops(&test);
	}
	simos_restore(base);
	simos_state_free(base);
	simos_fini();
}

/* Scripts */

/* A machine as it is usually, with pwrite in place of stores into mappings as
 * on btrfs, or without a boot id. */
enum machine { USUAL, BY_PWRITE, NO_BOOT_ID, MACHINES };
static const char *const machines[MACHINES] = {"", "pwrite-", "bootless-"};

static void
begin_machine(enum machine machine)
{
	simos_init(seed);
	simos_set_shadow(true);
	if (machine == BY_PWRITE)
		simos_set_fs(OS_FS_COW);
	simos_set_boot_id(machine != NO_BOOT_ID);
}

/* The script that runs, and its seed if it is a random one. */
static struct {
	void (*fn)(void *victim);
	uint64_t seed;
} script;

static void
run_script(void *arg)
{
	(void)arg;
	begin_victim(script.seed % 2 == 0);
	rng_init(&survivor.victim.rng, script.seed);
	script.fn(&survivor.victim);
	survivor_end(&survivor);
}

static void
test_script(
    enum machine machine, const char *name, unsigned every, bool last_call)
{
	char full_name[60];
	struct crashtest test;

	(void)snprintf(
	    full_name, sizeof full_name, "%s%s", machines[machine], name);
	test = store_test(full_name, run_script);
	test.every = every;
	test.last_call = last_call;
	if (last_call)
		test.nested = 200;
	begin_machine(machine);
	crashtest_stops(&test);
	simos_fini();
}

/* n: script by script, machine by machine. */
static void
item_script(uint64_t n)
{
	enum machine machine = (enum machine)(n % MACHINES);
	const struct script *s = &scripts[n / MACHINES];
	bool is_small = n / MACHINES < small_script_count;
	unsigned every = 1;

	script.fn = s->fn;
	script.seed = rng_mix(seed ^ n);
	if (!full)
		every =
		    SLOWER * (machine != USUAL ? 16 : 4) * (is_small ? 1 : 2);
	test_script(machine, s->name, every, false);
}

/*
 * Scripts for steps that only large segments make, and that are too slow for
 * the small part.
 */

/* In a segment that is opened again there is space for 256 KiB; a small write
 * behind that, of the kind that place says, gets the rest. */
static enum victim_call space_call;

static void
script_space(void *arg)
{
	static const struct victim_step first[] = {{"k0", 10, NULL, 0},
	    {"k1", 10, NULL, 0}, {"k2", 10, NULL, 0}, {"k3", 10, NULL, 0}};
	static const struct victim_step buckets[] = {
	    {.value_len = VICTIM_CREATE, .bucket = "p"},
	    {.value_len = VICTIM_CREATE, .bucket = "q"},
	    {.value_len = VICTIM_CREATE, .bucket = "r"}};
	static const struct victim_step drops[] = {
	    {.value_len = VICTIM_DROP, .bucket = "p"},
	    {.value_len = VICTIM_DROP, .bucket = "q"},
	    {.value_len = VICTIM_DROP, .bucket = "r"}};
	struct victim *v = arg;

	v->segment_size = UINT64_C(512) << 10;
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_batch(v, first, 4, NONE);
	if (space_call == VICTIM_IN_DROP)
		(void)victim_transact(v, buckets, 3, NONE);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	(void)victim_put(v, "big", (256u << 10) - 100, NONE);
	for (unsigned i = 0; i < 3; i++) {
		const struct victim_step step = {first[i].key, 20, NULL, 0};

		if (space_call == VICTIM_IN_DELETE)
			(void)victim_delete(v, step.key, NONE);
		else if (space_call == VICTIM_IN_APPLY)
			(void)victim_batch(v, &step, 1, NONE);
		else if (space_call == VICTIM_IN_COMMIT)
			(void)victim_transact(v, &step, 1, NONE);
		else if (space_call == VICTIM_IN_BUCKET)
			(void)victim_do(v, &buckets[i], NONE);
		else if (space_call == VICTIM_IN_DROP)
			(void)victim_do(v, &drops[i], NONE);
		else if (space_call == VICTIM_IN_EXPIRE)
			(void)victim_expire(v, &step, NONE);
		else
			(void)victim_put_if(
			    v, step.key, step.value_len, KVLOG_IF_PRESENT, 0);
	}
	(void)victim_close(v);
}

/* Closing gives space back if more than 1 MiB of the active segment is free:
 * it is so large only where there is 16 times as much. */
static void
script_slack(void *arg)
{
	struct victim *v = arg;
	char key[8];

	v->segment_size = UINT64_C(4) << 20;
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 19; i++) {
		(void)snprintf(key, sizeof key, "k%u", i);
		(void)victim_put(v, key, 1000000, NONE);
	}
	(void)victim_put(v, "last", 60000, NONE);
	(void)victim_close(v);
}

static void
item_large(uint64_t n)
{
	static const enum victim_call space_calls[] = {VICTIM_IN_PUT_IF,
	    VICTIM_IN_DELETE, VICTIM_IN_APPLY, VICTIM_IN_COMMIT,
	    VICTIM_IN_BUCKET, VICTIM_IN_DROP, VICTIM_IN_EXPIRE};
	static const char *const names[] = {"space/put_if", "space/delete",
	    "space/apply", "space/commit", "space/bucket", "space/drop",
	    "space/expire", "slack"};
	const uint64_t space_count = sizeof space_calls / sizeof space_calls[0];

	script.seed = rng_mix(seed ^ n);
	if (n < space_count) {
		script.fn = script_space;
		space_call = space_calls[n];
		test_script(USUAL, names[n], 1, false);
	} else {
		script.fn = script_slack;
		test_script(USUAL, names[n], 1, true);
	}
}

static void
item_random(uint64_t n)
{
	script.fn = script_random;
	script.seed = rng_mix(seed + n);
	test_script((enum machine)(n % 8 < MACHINES ? n % 8 : USUAL),
	    name_of("random", n), full ? 2 : 8 * SLOWER, false);
}

/* Chains */

/*
 * Sometimes a call of the system fails before the crash: also a sync, of which
 * a process that is killed behind it tells nobody.
 */
static void
arm_fault(struct victim *v, struct rng *rng)
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

	v->faults = rng_below(rng, 4) == 0;
	if (!v->faults)
		return;
	simos_fail(faults[n].kind, 1 + rng_below(rng, 30), faults[n].error,
	    rng_below(rng, 2) == 0);
}

/* One round of a chain: run, crash, and go on with what is there. */
static void
run_round(struct victim *v, struct rng *rng)
{
	struct oracle *o = &v->oracle;
	struct kvlog *db;
	size_t k, min;
	bool lost = rng_below(rng, 3) != 0;

	simos_stop_at(1 + rng_below(rng, 400), (unsigned)rng_below(rng, 3));
	v->db = NULL;
	arm_fault(v, rng);
	(void)simos_run(script_random, v);
	simos_fail_clear();
	simos_kill();
	min = lost ? o->durable : o->count - 1 - o->in_flight;
	if (lost) {
		simos_power_loss(
		    (enum simos_loss)rng_below(rng, SIMOS_LOSS_GARBAGE_SECTOR),
		    rng_next(rng));
		oracle_lost_power(o);
	}
	crashtest_count_state();
	victim_set_hour(0);
	db = storecheck_open(KVLOG_OPEN_CREATE, "in a chain");
	o->created = true;
	k = storecheck_state(db, o, min, o->count - 1);
	storecheck_no_damage(db);
	oracle_cut(o, k, kvlog_last_seq(db));
	oracle_durable(o, kvlog_durable_seq(db));
	victim_set_hour((unsigned)rng_below(rng, VICTIM_HOURS + 1));
	v->unclean = rng_below(rng, 2) == 0;
	if (v->unclean) {
		simos_kill();
		simos_forget();
		return;
	}
	storecheck_close(db);
	oracle_durable(o, UINT64_MAX);
	if (simos_leaks(stderr) != 0)
		crashtest_fail("something leaks");
}

/* A store lives through eight crashes, with work in between, and the oracle
 * remembers all of it: what one recovery leaves meets the next.  Each other
 * one is on a system without a boot id. */
static void
run_chain(uint64_t n)
{
	static const char *const rounds[] = {"round 1", "round 2", "round 3",
	    "round 4", "round 5", "round 6", "round 7", "round 8"};
	const char *name = name_of("chain", n);
	struct rng rng;

	if (crashtest_skips(name))
		return;
	begin_machine(n % 2 == 0 ? USUAL : NO_BOOT_ID);
	if (getenv("KVLOG_CRASH_POINT") != NULL)
		simos_trace(stderr);
	rng_init(&rng, rng_mix(seed ^ n << 20));
	begin_victim(rng_below(&rng, 2) == 0);
	/* No stops of a table: steps that are not those of a first run. */
	survivor.victim.on_call = NULL;
	storecheck_index(rng_below(&rng, 2) == 0);
	rng_init(&survivor.victim.rng, rng_next(&rng));
	for (unsigned i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
		crashtest_at(name, seed, rounds[i]);
		run_round(&survivor.victim, &rng);
	}
	simos_fini();
}

#define CHAINS_AT_ONCE (200 / SLOWER)

static void
item_chains(uint64_t n)
{
	for (uint64_t i = 0; i < CHAINS_AT_ONCE; i++)
		run_chain(n * CHAINS_AT_ONCE + i);
}

/*
 * Power losses after which several segments have to be discarded, and
 * recoveries of those that are stopped: a name that should be gone must not
 * come back beside the new segment.
 */
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

/* How many there will be; which state it is goes to the survivor. */
static unsigned
count_kept(void)
{
	struct kvlog *db = storecheck_open(0, "to count what is kept");
	struct oracle *o = &survivor.victim.oracle;
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};

	if (kvlog_stats_get(db, &stats) != KVLOG_OK)
		crashtest_fail("stats");
	survivor.found = storecheck_state(db, o, 0, o->count - 1);
	storecheck_close(db);
	return (unsigned)stats.segment_count - 1; /* one is new */
}

static void
item_discarding(uint64_t n)
{
	struct crashtest_crash crash = {.power_lost = true, .again = true};
	struct crashtest test = store_test("discarding", run_script);
	struct simos_state *up;
	unsigned tried = 0;
	struct rng rng;

	(void)n;
	if (crashtest_skips(test.name))
		return;
	rng_init(&rng, seed);
	begin_machine(USUAL);
	for (size_t i = 0; i < script_count; i++)
		if (strcmp(scripts[i].name, "unsynced") == 0)
			script.fn = scripts[i].fn;
	crashtest_at(test.name, seed, "running");
	(void)simos_run(run_script, NULL);
	simos_kill();
	up = simos_save();
	for (unsigned i = 0; i < 4000 && tried < 60 / SLOWER; i++) {
		struct simos_state *lost;
		unsigned segments;

		simos_restore(up);
		simos_power_loss(SIMOS_LOSS_RANDOM, rng_next(&rng));
		segments = count_segments();
		lost = simos_save();
		if (segments >= count_kept() + 2) {
			simos_restore(lost);
			crash.seed = rng_next(&rng);
			crashtest_recoveries(&test, &crash);
			tried++;
		}
		simos_state_free(lost);
	}
	if (tried < 60 / SLOWER / 2)
		crashtest_fail("only %u losses discard two segments", tried);
	simos_restore(up);
	simos_state_free(up);
	simos_fini();
}

/* All of it */

static uint64_t
number_from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static void
run_items(const char *what, uint64_t first, uint64_t end, unsigned jobs,
    void (*item)(uint64_t n))
{
	struct crashtest_totals before = crashtest_totals(), after;
	time_t begin = time(NULL);

	crashtest_items(first, end, jobs, item);
	after = crashtest_totals();
	printf("%-10s %8" PRIu64 " stop points, %8" PRIu64
	       " distinct crash states, %5ld s\n",
	    what, after.stops - before.stops, after.distinct - before.distinct,
	    (long)(time(NULL) - begin));
	(void)fflush(stdout);
}

int
main(void)
{
	uint64_t states = number_from_env("KVLOG_CRASH_STATES", 0);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned jobs = (unsigned)number_from_env(
	    "KVLOG_CRASH_JOBS", cpus > 0 ? (uint64_t)cpus : 1);
	uint64_t randoms = 0, chains = 0, more;
	bool once = getenv("KVLOG_CRASH_POINT") != NULL;

	seed = rng_seed_from_env();
	full = states > 0 || once; /* the point may be of either */
	sequence_calls =
	    number_from_env("KVLOG_CRASH_CALLS", full         ? SEQUENCE_MAX
						 : SLOWER > 1 ? 1
							      : 2);
	if (sequence_calls < 1 || sequence_calls > SEQUENCE_MAX) {
		(void)fputs("KVLOG_CRASH_CALLS is 1 to 4\n", stderr);
		return EXIT_FAILURE;
	}
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	crashtest_begin(calls, full ? SEQUENCES_LEAVE + states : 0);
	make_sequences();
	run_items("sequences", 0,
	    (sequence_count + SEQUENCES_AT_ONCE - 1) / SEQUENCES_AT_ONCE, jobs,
	    item_sequences);
	run_items("scripts", 0, script_count * MACHINES, jobs, item_script);
	if (full)
		run_items("large", 0, 8, jobs, item_large);
	run_items("discarding", 0, 1, jobs, item_discarding);
	more = once ? 2000 : full ? 32 : 4;
	do {
		run_items(
		    "random", randoms, randoms + 2 * more, jobs, item_random);
		run_items("chains", chains, chains + more, jobs, item_chains);
		randoms += 2 * more;
		chains += more;
	} while (!once && crashtest_totals().distinct < states &&
		 crashtest_totals().violations == 0);
	free(sequences);
	survivor_fini(&survivor);
	victim_fini(&beginning);
	if (once && crashtest_totals().distinct == 0) {
		(void)fputs(
		    "KVLOG_CRASH_POINT names no crash of this seed\n", stderr);
		return EXIT_FAILURE;
	}
	return once || crashtest_report(stdout, seed, never, full)
		   ? EXIT_SUCCESS
		   : EXIT_FAILURE;
}
