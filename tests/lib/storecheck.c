/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storecheck.c - opening, reading and using what a crash has left.
 */
#include "config.h"

#include "simos.h"
#include "storecheck.h"

#include <inttypes.h>
#include <string.h>

static bool hints; /* where the next opening has its index */

void
storecheck_index(bool in_hints)
{
	hints = in_hints;
}

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

struct kvlog *
storecheck_open(unsigned flags, const char *when)
{
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	if (open_store(flags, &db, &err) != KVLOG_OK)
		crashtest_fail("open %s: %s", when, err.text);
	return db;
}

void
storecheck_close(struct kvlog *db)
{
	struct kvlog_error err = {0};

	if (kvlog_close(db, &err) != KVLOG_OK)
		crashtest_fail("close: %s", err.text);
}

void
storecheck_no_damage(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	enum kvlog_status st = kvlog_stats_get(db, &stats);

	if (st != KVLOG_OK)
		crashtest_fail("stats: %s", kvlog_status_text(st));
	if ((stats.recovery &
		(KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) != 0)
		crashtest_fail(
		    "a crash is taken for damage: %s", stats.recovery_text);
}

size_t
storecheck_state(struct kvlog *db, struct oracle *o, size_t min, size_t max)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];
	size_t k, reach = oracle_reach(o, max, kvlog_last_seq(db));

	if (!model_read(&found, db, why))
		crashtest_fail("read: %s", why);
	/* States may look alike; what comes out when the clock goes back tells
	 * them apart. */
	max = reach > min ? reach : min;
	k = oracle_find(o, &found, min, max, why);
	if (k == SIZE_MAX)
		crashtest_fail("found %s", why);
	model_fini(&found);
	return k;
}

/* What a handle shows is exactly this. */
static void
expect(struct kvlog *db, struct oracle *o, const struct model *wanted,
    const char *when)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		crashtest_fail("%s: %s", when, why);
	if (!oracle_shows(o, wanted, &found)) {
		oracle_explain(o, wanted, &found, why);
		crashtest_fail("%s: %s", when, why);
	}
	model_fini(&found);
}

/* Two commits, whose numbers are above all that were given out: the second one
 * of several buckets, one of them new, and of a key that expires. */
static void
write_more(struct kvlog *db, struct model *state, uint64_t max_seq, size_t len)
{
	static const uint8_t value[1500] = "after";
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipts[2] = {{0, 0, 0}, {0, 0, 0}};
	struct kvlog_txn *txn = NULL;
	struct kvlog *bucket = NULL;
	enum kvlog_status st;

	how.durability = KVLOG_DURABILITY_NONE;
	st = kvlog_put(
	    db, "new", 3, value, len % sizeof value, &how, &receipts[0]);
	if (st == KVLOG_OK)
		st = kvlog_txn_begin(db, NULL, &txn, NULL);
	if (st == KVLOG_OK)
		st = kvlog_txn_bucket_open(
		    txn, "late", 4, KVLOG_OPEN_CREATE, &bucket, NULL);
	if (st == KVLOG_OK)
		st = kvlog_txn_put(txn, bucket, "new", 3, value, 1, NULL);
	how = (struct kvlog_write)KVLOG_WRITE_INIT;
	how.expires_ms = UINT64_MAX;
	if (st == KVLOG_OK)
		st = kvlog_txn_put(
		    txn, NULL, "newer", 5, value, len % sizeof value, &how);
	how.expires_ms = 0;
	how.durability = KVLOG_DURABILITY_COMMIT;
	if (st == KVLOG_OK)
		st = kvlog_txn_commit(txn, &how, &receipts[1]);
	(void)kvlog_close(bucket, NULL);
	if (st != KVLOG_OK)
		crashtest_fail(
		    "write after recovery: %s", kvlog_status_text(st));
	for (unsigned i = 0; i < 2; i++) {
		if (receipts[i].seq <= max_seq)
			crashtest_fail("number %" PRIu64
				       " is given out again (%" PRIu64 " was)",
			    receipts[i].seq, max_seq);
		max_seq = receipts[i].seq;
	}
	model_put(state, "new", 3, value, len % sizeof value, receipts[0].seq);
	model_put(state, "newer", 5, value, len % sizeof value, max_seq)
	    ->expires_ms = UINT64_MAX;
	model_create_bucket(state, "late", max_seq);
	model_put(model_bucket(state, "late"), "new", 3, value, 1, max_seq);
}

/* Write something into a recovered store, end it in one of three ways, and
 * see that it is there. */
static void
check_works(struct kvlog *db, struct oracle *o, const struct model *state,
    uint64_t max_seq, struct rng *rng)
{
	struct model wanted = {0};
	unsigned end = (unsigned)rng_below(rng, 3);

	model_copy(&wanted, state);
	write_more(db, &wanted, max_seq, (size_t)(rng_next(rng) >> 33));
	expect(db, o, &wanted, "after writing to the recovered store");
	switch (end) {
	case 0:
		storecheck_close(db);
		break;
	case 1:
		simos_kill();
		break;
	default:
		simos_power_loss(SIMOS_LOSS_RANDOM, rng_next(rng));
		oracle_lost_power(o);
		break;
	}
	simos_forget();
	db = storecheck_open(KVLOG_OPEN_READONLY, "to read what was written");
	expect(db, o, &wanted, "reopened after writing, for reading");
	storecheck_close(db);
	victim_set_hour(0);
	db = storecheck_open(0, "again");
	expect(db, o, &wanted, "reopened after writing");
	if (end != 1)
		storecheck_no_damage(db);
	storecheck_close(db);
	model_fini(&wanted);
}

/* What a reader sees who comes first: one of the states min to max, which it
 * returns; SIZE_MAX if there is no store yet. */
static size_t
check_reader(struct oracle *o, size_t min, size_t max)
{
	struct kvlog *reader = NULL;
	struct kvlog_error err = {0};
	enum kvlog_status st = open_store(KVLOG_OPEN_READONLY, &reader, &err);
	size_t k = SIZE_MAX;

	if (st == KVLOG_OK) {
		k = storecheck_state(reader, o, min, max);
		storecheck_close(reader);
	} else if (o->created) {
		crashtest_fail("open for reading: %s", err.text);
	} else if (st != KVLOG_NOSTORE && st != KVLOG_CORRUPT) {
		crashtest_fail("open of half a store: %s", err.text);
	}
	return k;
}

/* The store is in one of the states min to max: returns which.  Numbers up to
 * max_seq must not be given out, if another state than the last is there. */
static size_t
check_recovery(
    struct oracle *o, size_t min, size_t max, uint64_t max_seq, struct rng *rng)
{
	struct kvlog *db, *reader;
	size_t k;

	/* The clock has gone back; afterwards it is somewhere. */
	victim_set_hour(0);
	k = check_reader(o, min, max);
	victim_set_hour((unsigned)rng_below(rng, VICTIM_HOURS + 1));

	if (k != SIZE_MAX)
		min = max = k;
	else
		max = min; /* there is nothing yet */
	db = storecheck_open(KVLOG_OPEN_CREATE, "for recovery");
	k = storecheck_state(db, o, min, max);
	storecheck_no_damage(db);
	reader = storecheck_open(KVLOG_OPEN_READONLY, "beside the writer");
	(void)storecheck_state(reader, o, k, k);
	storecheck_close(reader);
	if (rng_below(rng, 2) == 0) {
		storecheck_close(db);
		db = storecheck_open(0, "once more");
		(void)storecheck_state(db, o, k, k);
	}
	if (k == o->count - 1)
		max_seq = o->max_seq;
	check_works(db, o, &o->states[k], max_seq, rng);
	return k;
}

/* After a kill, what a reader calls durable outlives the machine. */
static void
check_claim(struct oracle *o, uint64_t max_seq, struct rng *rng)
{
	size_t min = o->durable, max = o->count - 1;
	struct kvlog *reader = NULL;
	uint64_t durable;

	if (open_store(KVLOG_OPEN_READONLY, &reader, NULL) != KVLOG_OK)
		return;
	durable = kvlog_durable_seq(reader);
	storecheck_close(reader);
	while (min < max - o->in_flight && o->seqs[min + 1] <= durable)
		min++;
	simos_power_loss(SIMOS_LOSS_NONE, 0);
	oracle_lost_power(o);
	(void)check_recovery(o, min, max, max_seq, rng);
}

/* Whether all that a walk shows is what somebody wrote; bucket is of db. */
static void
check_walk(struct kvlog *db, const char *bucket, const struct oracle *o)
{
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st = kvlog_iter_create(db, NULL, 0, &iter);

	while (iter != NULL && (st == KVLOG_OK || st == KVLOG_CORRUPT)) {
		struct model one = {0};
		struct kvlog_info info;
		size_t key_len = 0, value_len = 0;
		const void *key, *value;

		st = kvlog_iter_next(iter);
		if (st != KVLOG_OK)
			continue;
		key = kvlog_iter_key(iter, &key_len);
		value = kvlog_iter_value(iter, &value_len);
		kvlog_iter_info(iter, &info);
		model_put(&one, key, key_len, value, value_len, info.seq)
		    ->expires_ms = info.expires_ms;
		if (!oracle_knows(o, bucket, &one.entries[0]))
			crashtest_fail("key %.*s, commit %" PRIu64
				       ", %zu bytes, bucket %s: nobody wrote "
				       "this",
			    (int)key_len, (const char *)key, info.seq,
			    value_len, bucket != NULL ? bucket : "none");
		model_fini(&one);
	}
	kvlog_iter_destroy(iter);
}

/* A whole sector may be garbage: no wrong value, no crash. */
static void
check_ruin(const struct oracle *o)
{
	static const char *const names[] = {"p", "q", "r"};
	struct kvlog *db = NULL, *bucket;
	struct kvlog_error err = {0};

	if (open_store(0, &db, &err) != KVLOG_OK) {
		if (err.text[0] == '\0')
			crashtest_fail("open failed without a word");
		return;
	}
	check_walk(db, NULL, o);
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (kvlog_bucket_open(db, names[i], 1, 0, &bucket, NULL) ==
		    KVLOG_OK) {
			check_walk(bucket, names[i], o);
			(void)kvlog_close(bucket, NULL);
		}
	storecheck_close(db);
}

void
survivor_end(struct survivor *s)
{
	const struct oracle *o = &s->victim.oracle;

	s->seq_count = o->count;
	s->seqs = realloc(s->seqs, o->count * sizeof *s->seqs);
	if (s->seqs == NULL)
		abort();
	memcpy(s->seqs, o->seqs, o->count * sizeof *s->seqs);
}

void
survivor_fini(struct survivor *s)
{
	victim_fini(&s->victim);
	free(s->seqs);
	memset(s, 0, sizeof *s);
}

/* The greatest number that was given out, or was about to be. */
static uint64_t
max_stopped(const struct survivor *s)
{
	const struct oracle *o = &s->victim.oracle;

	return o->in_flight && o->count <= s->seq_count ? s->seqs[o->count - 1]
							: o->max_seq;
}

void
survivor_check(void *arg, const struct crashtest_crash *crash)
{
	struct survivor *s = arg;
	struct oracle *o = &s->victim.oracle;
	/* Of the run; what is seen later may be undone. */
	const uint64_t judged_ms = o->judged_ms, judging_ms = o->judging_ms;
	size_t max = o->count - 1;
	bool kept = !crash->power_lost || crash->recovered;
	size_t min = kept ? max - o->in_flight : o->durable;
	uint64_t stopped_seq = max_stopped(s);
	struct simos_state *killed;
	struct rng rng;

	rng_init(&rng, crash->seed);
	storecheck_index(crash->seed % 2 == 0);
	if (crash->ruined) {
		check_ruin(o);
		return;
	}
	if (crash->again)
		min = max = s->found;
	killed = crash->power_lost ? NULL : simos_save();
	if (crash->power_lost)
		oracle_lost_power(o);
	s->found = check_recovery(
	    o, min, max, crash->power_lost ? stopped_seq : o->max_seq, &rng);
	if (killed != NULL) {
		simos_restore(killed);
		simos_state_free(killed);
		o->judged_ms = judged_ms;
		o->judging_ms = judging_ms;
		check_claim(o, stopped_seq, &rng);
	}
	o->judged_ms = judged_ms;
	o->judging_ms = judging_ms;
}

void
survivor_recover(void *arg, const struct crashtest_crash *crash)
{
	struct kvlog *db;

	(void)arg;
	storecheck_index(crash->seed % 2 == 0);
	crashtest_call(VICTIM_IN_RECOVER);
	db = storecheck_open(KVLOG_OPEN_CREATE, "to be stopped");
	crashtest_call(VICTIM_IN_CLOSE);
	storecheck_close(db);
}

uint64_t
survivor_wants(void *arg)
{
	const struct survivor *s = arg;

	return rng_mix(oracle_hash(&s->victim.oracle) ^ max_stopped(s) << 1);
}
