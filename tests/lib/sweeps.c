/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sweeps.c - what the scripts of victim.c leave out: looking, checking and
 * saving; and opening what a crash has left, with something before that no
 * fault disturbs.
 */
#include "simos.h"
#include "victim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT KVLOG_DURABILITY_COMMIT
#define NONE KVLOG_DURABILITY_NONE

/* Calls that need no script */

/* One key: there or not as it should be, or a failure that says so. */
static void
look_up(struct victim *v, const char *key, const struct model_entry *wanted)
{
	void *value = NULL;
	size_t len = 0;
	enum kvlog_status st;

	v->call = VICTIM_IN_GET;
	st = kvlog_get_alloc(v->db, key, strlen(key), &value, &len);
	if (st == KVLOG_NOTFOUND || st == KVLOG_OK) {
		if ((st == KVLOG_OK) != (wanted != NULL) && !v->read_faults)
			v->fail("get: a key is there that should not, or not");
		if (st == KVLOG_OK && wanted != NULL && !v->read_faults &&
		    (len != wanted->value->len ||
			memcmp(value, wanted->value->bytes, len) != 0))
			v->fail("get: a wrong value");
	} else {
		(void)victim_judge(v, "get", st, NULL);
	}
	kvlog_free(value);
	st = kvlog_exists(v->db, key, strlen(key));
	if (st == KVLOG_NOTFOUND || st == KVLOG_OK) {
		if ((st == KVLOG_OK) != (wanted != NULL) && !v->read_faults)
			v->fail("exists: a key is there, or it is not");
	} else {
		(void)victim_judge(v, "exists", st, NULL);
	}
}

/* Each key by itself, some that are not there; a walk; a count. */
static void
look(struct victim *v)
{
	static const char *const keys[] = {
	    "a", "b", "c", "d", "e", "k0", "k1", "k2", "k3", "k4", "nowhere"};
	const struct model *wanted = oracle_last(&v->oracle);
	struct kvlog_iter *iter;
	uint64_t count = 0, walked = 0;
	enum kvlog_status st;

	if (v->db == NULL || v->oracle.in_flight)
		return;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		look_up(
		    v, keys[i], model_find(wanted, keys[i], strlen(keys[i])));
	v->call = VICTIM_IN_WALK;
	st = kvlog_iter_create(v->db, NULL, 0, &iter);
	if (victim_judge(v, "iter_create", st, NULL)) {
		(void)victim_judge(
		    v, "seek", kvlog_iter_seek(iter, "", 0), NULL);
		while ((st = kvlog_iter_next(iter)) == KVLOG_OK)
			walked++;
		kvlog_iter_destroy(iter);
		if (st != KVLOG_NOTFOUND)
			(void)victim_judge(v, "next", st, NULL);
		else if (walked != wanted->count && !v->read_faults)
			v->fail("a walk ends early, as if it were complete");
	}
	st = kvlog_count(v->db, &count);
	if (victim_judge(v, "count", st, NULL) && count != wanted->count &&
	    !v->read_faults)
		v->fail("a wrong count");
}

static void
get_stats(struct victim *v)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	enum kvlog_status st;

	if (v->db == NULL || v->oracle.in_flight)
		return;
	v->call = VICTIM_IN_STATS;
	st = kvlog_stats_get(v->db, &stats);
	if (victim_judge(v, "stats", st, NULL) && !v->read_faults &&
	    stats.record_count != model_total(oracle_last(&v->oracle), 0))
		v->fail("stats: a wrong count");
}

static void
verify(struct victim *v, unsigned flags)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	enum kvlog_status st;

	o.flags = flags;
	o.timeout_ms = 0;
	v->call = (flags & KVLOG_VERIFY_REBUILD_HINTS) != 0 ? VICTIM_IN_REHINT
							    : VICTIM_IN_VERIFY;
	st = kvlog_verify(VICTIM_STORE, &o, &report, &err);
	(void)victim_judge(v, "verify", st, &err);
	if (st == KVLOG_OK && report.damage_count > 0)
		v->fail("verify: damage, and yet all is well");
}

/* A store whose numbers are its own. */
static void
compare_saved(struct victim *v, const char *path)
{
	struct model *wanted = oracle_last(&v->oracle);
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct model found = {0};
	char why[MODEL_WHY_LEN];
	struct kvlog *db;

	o.flags = KVLOG_OPEN_READONLY;
	if (kvlog_open(path, &o, &db, &err) != KVLOG_OK)
		v->fail(err.text);
	if (!model_read(&found, db, why))
		v->fail(why);
	(void)kvlog_close(db, NULL);
	model_forget_seqs(&found);
	if (!model_equal(wanted, &found)) {
		model_explain(wanted, &found, why);
		v->fail(why);
	}
	model_fini(&found);
}

/* Into a store of its own, which is looked at later. */
static void
salvage(struct victim *v, unsigned flags)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	enum kvlog_status st;

	o.flags = flags;
	v->call = VICTIM_IN_SALVAGE;
	v->saved = false;
	st = kvlog_salvage(VICTIM_STORE, "/db.saved", &o, &report, &err);
	v->saved = victim_judge(v, "salvage", st, &err);
}

void
victim_check_saved(struct victim *v)
{
	if (v->saved)
		compare_saved(v, "/db.saved");
	v->saved = false;
}

/* What comes before */

static void
fill(struct victim *v)
{
	static const struct victim_step steps[] = {{"a", 300, NULL, 0},
	    {"b", VICTIM_DELETE, NULL, 0}, {"c", 200, "q", 0}};
	static const struct victim_step buckets[] = {
	    {.value_len = VICTIM_CREATE, .bucket = "p"},
	    {.value_len = VICTIM_CREATE, .bucket = "q"}, {"k0", 100, "p", 0},
	    {"k1", 70, "q", 0}};
	static const struct victim_step drop = {
	    .value_len = VICTIM_DROP, .bucket = "p"};
	char key[8];

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 9; i++) {
		(void)snprintf(key, sizeof key, "k%u", i * 3 % 5);
		/* In the middle of a segment: some of it is durable. */
		(void)victim_put(v, key, 900 + i, i == 4 ? COMMIT : NONE);
	}
	(void)victim_put(v, "b", 400, NONE);
	(void)victim_transact(v, buckets, 4, NONE);
	(void)victim_delete(v, "k1", NONE);
	(void)victim_batch(v, steps, 3, NONE);
	(void)victim_do(v, &drop, NONE);
}

static void
prepare_closed(struct victim *v)
{
	fill(v);
	(void)victim_close(v);
}

/* All processes end; the machine goes on. */
static void
kill_all(struct victim *v)
{
	simos_kill();
	simos_forget();
	v->db = NULL;
	v->unclean = true;
}

static void
prepare_killed(struct victim *v)
{
	fill(v);
	kill_all(v);
}

/* The machine ends; some prefix of the commits is left. */
static void
lose_power(struct victim *v, enum simos_loss loss)
{
	struct oracle *o = &v->oracle;
	struct model found = {0};
	char why[MODEL_WHY_LEN];
	uint64_t last;
	size_t k;

	kill_all(v);
	simos_power_loss(loss, v->rng.state[0]);
	(void)victim_open(v, KVLOG_OPEN_READONLY);
	if (v->db == NULL || !model_read(&found, v->db, why)) {
		v->fail("nothing can be read after a power loss");
		return;
	}
	k = oracle_find(o, &found, o->durable, o->count - 1, why);
	if (k == SIZE_MAX)
		v->fail(why);
	last = kvlog_last_seq(v->db);
	oracle_cut(o, k, last);
	model_fini(&found);
	(void)victim_close(v);
}

static void
prepare_lost(struct victim *v)
{
	fill(v);
	lose_power(v, SIMOS_LOSS_RANDOM);
}

/* All reached the disk, and nothing says so. */
static void
prepare_lost_nothing(struct victim *v)
{
	fill(v);
	lose_power(v, SIMOS_LOSS_ALL);
}

static void
prepare_poisoned(struct victim *v)
{
	fill(v);
	simos_fail(SIMOS_SYNC, 1, v->error != 0 ? v->error : 5, false);
	v->faults = true;
	if (victim_sync(v))
		v->fail("a sync did not fail");
	v->faults = false;
	simos_fail_clear();
	kill_all(v);
	v->poisoned = true;
}

/* As above, but closed by the one that met it. */
static void
prepare_broken(struct victim *v)
{
	fill(v);
	simos_fail(SIMOS_SYNC, 2, v->error != 0 ? v->error : 5, false);
	v->faults = true;
	(void)victim_sync(v);
	(void)victim_close(v);
	v->faults = false;
	simos_fail_clear();
	v->poisoned = true;
}

static int
unlink_hint(void *arg, const char *name)
{
	size_t len = strlen(name);

	if (len > 5 && strcmp(name + len - 5, ".hint") == 0)
		(void)os->unlink(*(int *)arg, name);
	return 0;
}

static void
prepare_unhinted(struct victim *v)
{
	int dir;

	fill(v);
	(void)victim_close(v);
	if (os->open_dir(VICTIM_STORE, &dir) != 0)
		v->fail("no directory");
	(void)os->list(dir, unlink_hint, &dir);
	(void)os->close(dir);
}

/* The scripts */

static void
sweep_look(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_READONLY);
	look(v);
	get_stats(v);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	look(v);
	get_stats(v);
	(void)victim_put_if(v, "a", 30, KVLOG_IF_ABSENT, 0);
	(void)victim_put(v, "a", 500, NONE);
	(void)victim_delete(v, "k2", NONE);
	look(v);
	get_stats(v);
	(void)victim_close(v);
}

static void
sweep_open(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_READONLY);
	look(v);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	look(v);
	(void)victim_put(v, "a", 500, NONE);
	(void)victim_put(v, "d", 2500, COMMIT);
	(void)victim_close(v);
}

/* At once, so that the fault meets the opening that repairs. */
static void
sweep_repair(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, 0);
	victim_check(v);
	(void)victim_put(v, "d", 2500, COMMIT);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	victim_check(v);
	(void)victim_put(v, "e", 10, COMMIT);
	(void)victim_close(v);
}

static void
sweep_threads(void *arg)
{
	struct victim *v = arg;

	v->load_threads = 4;
	(void)victim_open(v, 0);
	look(v);
	(void)victim_close(v);
	(void)victim_open(v, KVLOG_OPEN_READONLY);
	look(v);
	(void)victim_close(v);
}

static void
sweep_verify(void *arg)
{
	struct victim *v = arg;

	verify(v, 0);
	verify(v, KVLOG_VERIFY_QUICK);
}

static void
sweep_rehint(void *arg)
{
	struct victim *v = arg;

	verify(v, KVLOG_VERIFY_REBUILD_HINTS);
	(void)victim_open(v, 0);
	look(v);
	(void)victim_close(v);
}

static void
sweep_salvage(void *arg)
{
	salvage(arg, 0);
}

/* What lies behind a torn end is not to be saved. */
static void
sweep_salvage_strictly(void *arg)
{
	salvage(arg, KVLOG_SALVAGE_STRICT);
}

static void
sweep_compact(void *arg)
{
	struct victim *v = arg;

	(void)victim_compact(v, KVLOG_COMPACT_ALL | KVLOG_COMPACT_DRY_RUN);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_open(v, 0);
	look(v);
	(void)victim_close(v);
}

const struct script sweeps[] = {
    {"look", sweep_look, prepare_closed},
    {"look, no hints", sweep_look, prepare_unhinted},
    {"threads", sweep_threads, prepare_unhinted},
    {"killed", sweep_open, prepare_killed},
    {"killed, repair", sweep_repair, prepare_killed},
    {"power loss", sweep_open, prepare_lost},
    {"power loss, repair", sweep_repair, prepare_lost},
    {"nothing lost", sweep_repair, prepare_lost_nothing},
    {"failed sync", sweep_open, prepare_poisoned},
    {"failed sync, repair", sweep_repair, prepare_poisoned},
    {"failed sync, closed", sweep_repair, prepare_broken},
    {"verify", sweep_verify, prepare_closed},
    {"verify, power loss", sweep_verify, prepare_lost},
    {"verify, failed sync", sweep_verify, prepare_poisoned},
    {"rehint", sweep_rehint, prepare_unhinted},
    {"salvage", sweep_salvage, prepare_closed},
    {"salvage, power loss", sweep_salvage_strictly, prepare_lost},
    {"compact all", sweep_compact, prepare_closed},
    {"compact, power loss", sweep_compact, prepare_lost},
    {"compact, failed sync", sweep_compact, prepare_poisoned},
};
const size_t sweep_count = sizeof sweeps / sizeof sweeps[0];
