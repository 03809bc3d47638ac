/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_loss.c - power is lost while several processes have a store open.
 *
 * On the simulated machine a keeper has the store open all the while.  A first
 * victim joins, writes, and is killed at some step; a second one joins, cleans
 * up after it, writes, and is killed too; perhaps the keeper writes then.  Then
 * the power goes, and takes any part of what was not durable.
 *
 * What the next opening finds is the state after some prefix of all their
 * commits, in the order of the log, no shorter than the last one that any of
 * them was told is durable (INV-3); no number is given out twice (INV-4), and
 * nothing is called damaged that is merely torn (INV-10).
 *
 * KVLOG_SEED=n          repeats what was chosen
 * KVLOG_LOSSES=n        so many losses of each script, instead of a few
 */
#include "config.h"

#include <kvlog.h>

#include "model.h"
#include "rng.h"
#include "simos.h"
#include "test.h"

#include <stdarg.h>
#include <string.h>

#define STORE "/db"
#define LOSSES 400 /* of each script */
#define COMMITS 40
#define PARTS 4
#define LONGEST 3000

struct part {
	char letter;
	unsigned key;
	size_t len; /* GONE: a delete */
};
#define GONE SIZE_MAX

/* All commits of a trial, in the order of the log. */
struct entry {
	struct part parts[PARTS];
	size_t count;
	uint64_t seq; /* 0: its call has not returned */
	char letter;  /* of whose it is */
};
static struct entry entries[COMMITS];
static unsigned entry_count;
static unsigned durable; /* so many of them were told to be */
static uint64_t max_seq;

/* Where we are. */
static struct {
	const char *script;
	uint64_t seed, step[2];
	unsigned inside[2];
	enum simos_loss loss;
} at;

static struct kvlog *keeper;

static _Noreturn void
wrong(const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	os = &os_real;
	ck_abort_msg("KVLOG_SEED=%" PRIu64 " %s, stopped at %" PRIu64
		     "/%u and %" PRIu64 "/%u, loss %d: %s",
	    at.seed, at.script, at.step[0], at.inside[0], at.step[1],
	    at.inside[1], (int)at.loss, text);
	abort();
}

static void
must(enum kvlog_status st, const struct kvlog_error *err, const char *what)
{
	if (st != KVLOG_OK)
		wrong("%s: %s (%s)", what, kvlog_status_text(st),
		    err != NULL ? err->text : "");
}

/* Writing */

static size_t
make_key(const struct part *part, char key[8])
{
	return (size_t)snprintf(key, 8, "%c%02u", part->letter, part->key);
}

/* No two values of a trial are alike. */
static void
make_value(unsigned entry, size_t part, uint8_t *value, size_t len)
{
	struct rng rng;

	rng_init(&rng, (uint64_t)entry << 8 | part);
	rng_fill(&rng, value, len);
}

static void
commit(struct kvlog *db, char letter, const struct part *parts, size_t count,
    enum kvlog_durability durability)
{
	static uint8_t values[PARTS][LONGEST];
	static char keys[PARTS][8];
	struct kvlog_op ops[PARTS] = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0};
	struct kvlog_error err = {0};
	unsigned n = entry_count;
	struct entry *e = &entries[n];

	if (n == COMMITS || count > PARTS)
		abort();
	memset(e, 0, sizeof *e);
	e->count = count;
	e->letter = letter;
	for (size_t i = 0; i < count; i++) {
		struct kvlog_op *op = &ops[i];

		e->parts[i] = parts[i];
		e->parts[i].letter = letter;
		op->key_len = make_key(&e->parts[i], keys[i]);
		op->key = keys[i];
		op->type = KVLOG_OP_DELETE;
		if (parts[i].len == GONE)
			continue;
		make_value(n, i, values[i], parts[i].len);
		op->type = KVLOG_OP_PUT;
		op->value = values[i];
		op->value_len = parts[i].len;
	}
	how.durability = durability;
	how.err = &err;
	entry_count++; /* in flight from now on */
	must(kvlog_apply(db, ops, count, &how, &receipt, NULL), &err, "commit");
	if (receipt.seq <= max_seq)
		wrong("number %" PRIu64 " was given out twice", receipt.seq);
	e->seq = max_seq = receipt.seq;
	if (durability == KVLOG_DURABILITY_COMMIT)
		durable = entry_count;
}

static void
put(struct kvlog *db, char letter, unsigned key, size_t len,
    enum kvlog_durability durability)
{
	commit(
	    db, letter, &(struct part){.key = key, .len = len}, 1, durability);
}

static void
sync_all(struct kvlog *db)
{
	must(kvlog_sync(db), NULL, "sync");
	durable = entry_count;
}

#define NONE KVLOG_DURABILITY_NONE
#define COMMIT KVLOG_DURABILITY_COMMIT

static void
small_puts(struct kvlog *db)
{
	put(db, 'a', 0, 100, NONE);
	put(db, 'a', 1, 600, NONE);
	put(db, 'a', 0, 10, NONE);
}

static void
batches(struct kvlog *db)
{
	static const struct part parts[] = {
	    {.key = 0, .len = 700}, {.key = 1, .len = 1200}, {.key = 2}};
	static const struct part more[] = {
	    {.key = 0, .len = GONE}, {.key = 2, .len = 90}};

	commit(db, 'a', parts, 3, NONE);
	commit(db, 'a', more, 2, NONE);
}

static void
rollovers(struct kvlog *db)
{
	for (unsigned i = 0; i < 6; i++)
		put(db, 'a', i % 4, 1500, NONE);
}

static void
durable_puts(struct kvlog *db)
{
	for (unsigned i = 0; i < 4; i++)
		put(db, 'a', i, 1800, i % 2 == 0 ? COMMIT : NONE);
}

static void
syncs(struct kvlog *db)
{
	put(db, 'a', 0, 2000, NONE);
	put(db, 'a', 1, 2000, NONE);
	sync_all(db);
	put(db, 'a', 2, 2000, NONE);
}

static void
spares(struct kvlog *db)
{
	bool more;

	for (unsigned i = 0; i < 4; i++) {
		put(db, 'a', i, 1800, NONE);
		must(kvlog_maintain(db, 0, &more), NULL, "maintain");
		must(kvlog_maintain(db, 0, &more), NULL, "maintain");
	}
}

static const struct script {
	const char *name;
	void (*fn)(struct kvlog *db);
} scripts[] = {
    {"small puts", small_puts},
    {"batches", batches},
    {"rollovers", rollovers},
    {"durable puts", durable_puts},
    {"syncs", syncs},
    {"spares", spares},
};
#define SCRIPTS (sizeof scripts / sizeof scripts[0])

static struct kvlog *
open_store(bool hints)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.durability = NONE;
	o.load_threads = 1;
	o.index_mode = hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	must(kvlog_open(STORE, &o, &db, &err), &err, "open");
	return db;
}

static void
first_victim(void *arg)
{
	const struct script *script = arg;
	struct kvlog *db = open_store(false);

	script->fn(db);
	must(kvlog_close(db, NULL), NULL, "close");
	durable = entry_count;
}

/* Cleans up by its first commit, and has all made durable. */
static void
second_victim(void *arg)
{
	struct kvlog *db = open_store(true);

	(void)arg;
	put(db, 'b', 0, 50, NONE);
	put(db, 'b', 1, 2500, COMMIT);
	put(db, 'b', 0, 60, NONE);
	sync_all(db);
	put(db, 'b', 2, 2500, NONE);
	must(kvlog_close(db, NULL), NULL, "close");
	durable = entry_count;
}

/* Judging */

static void
apply(struct model *model, unsigned n)
{
	static uint8_t value[LONGEST];
	const struct entry *e = &entries[n];

	for (size_t i = 0; i < e->count; i++) {
		char key[8];
		size_t len = make_key(&e->parts[i], key);

		if (e->parts[i].len == GONE) {
			(void)model_delete(model, key, len);
			continue;
		}
		make_value(n, i, value, e->parts[i].len);
		model_put(
		    model, key, len, value, e->parts[i].len, MODEL_ANY_SEQ);
	}
}

/* Whether it is the state after some prefix of the commits, of min or more,
 * if those that were in flight are there or, but for the last, are not. */
static bool
is_prefix(const struct model *found, unsigned min, unsigned with)
{
	struct model state = {0};
	unsigned bit = 0;
	bool is = false;

	for (unsigned n = 0; n <= entry_count && !is; n++) {
		is = n >= min && model_equal(&state, found);
		if (n == entry_count)
			break;
		if (entries[n].seq != 0 || (with & 1u << bit++) != 0)
			apply(&state, n);
	}
	model_fini(&state);
	return is;
}

/* Which of the commits in flight are there is the same for all who look: with,
 * a set, is narrowed down to what is possible. */
static void
check(struct kvlog *db, unsigned min, bool possible[4], const char *when)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];
	bool any = false;

	if (!model_read(&found, db, why))
		wrong("%s: %s", when, why);
	for (unsigned with = 0; with < 4; with++) {
		possible[with] = possible[with] && is_prefix(&found, min, with);
		any |= possible[with];
	}
	if (!any)
		wrong("%s: that is no state after %u to %u commits (%zu keys)",
		    when, min, entry_count, found.count);
	model_fini(&found);
}

static void
look_at_what_is_left(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_error err = {0};
	bool possible[4] = {true, true, true, true};
	struct kvlog *db = open_store(at.seed % 2 == 0);

	check(db, durable, possible, "after the loss");
	must(kvlog_stats_get(db, &stats), NULL, "stats");
	if ((stats.recovery &
		(KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) != 0)
		wrong("damage: %s", stats.recovery_text);
	put(db, 'c', 0, 10, NONE); /* looks at its number, too */
	must(kvlog_close(db, &err), &err, "close");
	must(kvlog_verify(STORE, NULL, &report, &err), &err, "verify");
}

static void
run_victim(unsigned which, void (*fn)(void *arg), void *arg, bool *ret_stopped)
{
	simos_set_pid(5000 + which);
	simos_stop_at(at.step[which], at.inside[which]);
	*ret_stopped = simos_run(fn, arg);
	simos_stop_at(0, 0);
	simos_set_pid(4711);
}

/* steps: how many the victims took. */
static void
run_trial(const struct script *script, const struct simos_state *base,
    unsigned keeper_puts, uint64_t steps[2])
{
	bool possible[4] = {true, true, true, true};
	bool stopped[2];

	simos_restore(base);
	simos_forget();
	entry_count = durable = 0;
	max_seq = 0;
	keeper = open_store(false);
	put(keeper, 'k', 0, 10, COMMIT);
	put(keeper, 'k', 1, 10, NONE);
	run_victim(0, first_victim, (void *)(uintptr_t)script, &stopped[0]);
	steps[0] = simos_steps();
	check(keeper,
	    entries[entry_count - 1].seq == 0 ? entry_count - 1 : entry_count,
	    possible, "after the first death");
	memset(possible, true, sizeof possible);
	run_victim(1, second_victim, NULL, &stopped[1]);
	steps[1] = simos_steps();
	for (unsigned i = 0; i < keeper_puts; i++) {
		put(keeper, 'k', 2 + i, 300, i % 2 == 1 ? COMMIT : NONE);
		check(keeper, entry_count, possible, "the keeper");
	}
	simos_power_loss(at.loss, at.seed);
	simos_forget();
	look_at_what_is_left();
}

static struct simos_state *
make_base(void)
{
	struct kvlog *db;

	simos_init(1);
	entry_count = durable = 0;
	max_seq = 0;
	db = open_store(false);
	must(kvlog_close(db, NULL), NULL, "close");
	return simos_save();
}

START_TEST(what_is_durable_survives_the_machine)
{
	const struct script *script = &scripts[_i];
	const char *text = getenv("KVLOG_LOSSES");
	unsigned long losses = text != NULL ? strtoul(text, NULL, 10) : LOSSES;
	uint64_t seed = rng_seed_from_env(), steps[2], ignored[2];
	struct simos_state *base;
	struct rng rng;

	at.script = script->name;
	at.seed = seed;
	base = make_base();
	run_trial(script, base, 3, steps);
	for (unsigned long i = 0; i < losses; i++) {
		at.seed = seed + i;
		rng_init(&rng, at.seed);
		for (unsigned k = 0; k < 2; k++) {
			/* One in some goes on to its end. */
			at.step[k] = rng_below(&rng, 9) == 0
					 ? 0
					 : 1 + rng_below(&rng, steps[k]);
			at.inside[k] = (unsigned)rng_below(&rng, 5);
		}
		at.loss = (enum simos_loss)rng_below(&rng, SIMOS_LOSS_GARBAGE);
		run_trial(script, base, (unsigned)rng_below(&rng, 4), ignored);
	}
	printf("%s: %" PRIu64 " and %" PRIu64 " steps, KVLOG_SEED=%" PRIu64
	       "\n",
	    script->name, steps[0], steps[1], seed);
	simos_state_free(base);
	simos_fini();
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("loss");
	TCase *tc = tcase_create("loss");

	tcase_set_timeout(tc, 3600);
	tcase_add_loop_test(
	    tc, what_is_durable_survives_the_machine, 0, (int)SCRIPTS);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
