/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * txns.c - transactions that write: what they see, what others see meanwhile,
 * what is undone, and what their commit leaves.
 */
#include "run.h"

#include <string.h>

#define STEPS_MAX 16
#define SAVEPOINTS_MAX 4

/* One under way, and what it was at its savepoints. */
struct txn {
	struct run *run;
	struct world before; /* the store */
	struct {
		uint64_t id;
		struct world world;
	} saved[SAVEPOINTS_MAX];
	unsigned saved_count;
	unsigned changes;
};

static void
check_txn_get(struct txn *t)
{
	struct run *run = t->run;
	const struct model_entry *e = present(run);
	struct kvlog *bucket = hold(run, run->at);
	struct kvlog_info info = {0};
	const void *value = NULL;
	size_t len = SIZE_MAX;
	enum kvlog_status st = kvlog_txn_get(
	    run->txn, bucket, run->key, run->key_len, &value, &len);

	expect(run, "get in a transaction", st,
	    e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL && !same_value(e, value, len))
		note_wrong(run, "get in a transaction: another value");
	st = kvlog_txn_lookup(run->txn, bucket, run->key, run->key_len, &info);
	expect(run, "lookup in a transaction", st,
	    e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL &&
	    (info.seq != e->seq || info.expires_ms != e->expires_ms))
		note_wrong(run,
		    "lookup in a transaction: commit %" PRIu64
		    " instead of %" PRIu64 ", or another time",
		    info.seq, e->seq);
}

/* What is written tells the number of the commit to come, which all else that
 * is written has. */
static void
note_txn_seq(struct txn *t, uint64_t seq)
{
	struct run *run = t->run;

	if (run->txn_seq == MODEL_ANY_SEQ && seq <= run->max_seq)
		note_wrong(run, "number %" PRIu64 " to come after %" PRIu64,
		    seq, run->max_seq);
	if (run->txn_seq != MODEL_ANY_SEQ && seq != run->txn_seq)
		note_wrong(run, "number %" PRIu64 " instead of %" PRIu64, seq,
		    run->txn_seq);
	run->txn_seq = seq;
	world_set_seq(&run->world, seq);
}

static void
do_txn_write(struct txn *t, struct rng *rng, bool put)
{
	struct run *run = t->run;
	struct kvlog *bucket = hold(run, run->at);
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_info info = {0};
	const struct model_entry *e = present(run);
	enum kvlog_status st, wanted = KVLOG_OK;

	if (rng_below(rng, 3) == 0)
		choose_condition(run, rng, &how.condition, &how.if_seq);
	if (!holds(e, how.condition, how.if_seq))
		wanted = KVLOG_CONFLICT;
	else if (!put && e == NULL)
		wanted = KVLOG_NOTFOUND;
	if (put) {
		make_value(run, rng);
		how.expires_ms = choose_expiry(run, rng);
		st = kvlog_txn_put(run->txn, bucket, run->key, run->key_len,
		    run->value, run->value_len, &how);
	} else {
		st = kvlog_txn_delete(
		    run->txn, bucket, run->key, run->key_len, &how);
	}
	expect(run, put ? "put in a transaction" : "delete in a transaction",
	    st, wanted);
	if (st != KVLOG_OK)
		return;
	t->changes++;
	if (!put) {
		(void)model_delete(here(run), run->key, run->key_len);
		return;
	}
	model_put(here(run), run->key, run->key_len, run->value, run->value_len,
	    run->txn_seq)
	    ->expires_ms = how.expires_ms;
	if (kvlog_txn_lookup(run->txn, bucket, run->key, run->key_len, &info) ==
	    KVLOG_OK)
		note_txn_seq(t, info.seq);
}

/* Create, drop, or look for one. */
static void
do_txn_bucket(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	unsigned bucket = 1 + (unsigned)rng_below(rng, WORLD_BUCKETS - 1);
	const struct world_name *name = &world_names[bucket];
	struct world_bucket *b = &run->world.buckets[bucket];
	unsigned flags = (unsigned)rng_below(rng, 4) * KVLOG_OPEN_CREATE;
	bool was = b->there;
	struct kvlog *handle = NULL;
	enum kvlog_status st;

	if (!run->gen->buckets)
		return;
	if (rng_below(rng, 4) == 0) {
		st = kvlog_txn_bucket_drop(
		    run->txn, name->bytes, name->len, NULL);
		expect(run, "drop in a transaction", st,
		    was ? KVLOG_OK : KVLOG_NOBUCKET);
		if (st == KVLOG_OK)
			world_drop(&run->world, bucket);
		t->changes += st == KVLOG_OK;
		run->at = run->at == bucket ? 0 : run->at;
		return;
	}
	flags = flags > 0 ? KVLOG_OPEN_CREATE : 0;
	if (flags > 0 && rng_below(rng, 4) == 0)
		flags |= KVLOG_OPEN_EXCLUSIVE;
	st = kvlog_txn_bucket_open(
	    run->txn, name->bytes, name->len, flags, &handle, NULL);
	expect(run, "open a bucket in a transaction", st,
	    was         ? (flags & KVLOG_OPEN_EXCLUSIVE) != 0 ? KVLOG_CONFLICT
							      : KVLOG_OK
	    : flags > 0 ? KVLOG_OK
			: KVLOG_NOBUCKET);
	if (st != KVLOG_OK)
		return;
	if (!was) {
		world_create(&run->world, bucket, ++run->serials);
		kvlog_bucket_id(handle, &b->seq, &b->ordinal);
		note_txn_seq(t, b->seq);
		t->changes++;
	}
	expect(run, "close of a bucket", kvlog_close(handle, NULL), KVLOG_OK);
	(void)hold(run, bucket);
}

/* In the transaction; outside of it the world is another one. */
static void
check_dropped_inside(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	struct kvlog *db = hold_dropped(run, rng);
	struct kvlog_iter *iter = NULL;
	const void *value;
	size_t len;

	if (db == NULL)
		return;
	expect(run, "get of what is dropped in a transaction",
	    kvlog_txn_get(run->txn, db, run->key, run->key_len, &value, &len),
	    KVLOG_NOBUCKET);
	expect(run, "put into what is dropped in a transaction",
	    kvlog_txn_put(run->txn, db, run->key, run->key_len, "x", 1, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "delete in what is dropped in a transaction",
	    kvlog_txn_delete(run->txn, db, run->key, run->key_len, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "walk over what is dropped in a transaction",
	    kvlog_txn_iter_open(run->txn, db, NULL, &iter), KVLOG_NOBUCKET);
}

static void
do_savepoint(struct txn *t)
{
	if (t->saved_count == SAVEPOINTS_MAX)
		return;
	expect(t->run, "savepoint",
	    kvlog_txn_savepoint(t->run->txn, &t->saved[t->saved_count].id),
	    KVLOG_OK);
	world_copy(&t->saved[t->saved_count++].world, &t->run->world);
}

static void
do_rollback_to(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	unsigned i;

	if (t->saved_count == 0)
		return;
	i = (unsigned)rng_below(rng, t->saved_count);
	expect(run, "roll back to a savepoint",
	    kvlog_txn_rollback_to(run->txn, t->saved[i].id), KVLOG_OK);
	if (i + 1 < t->saved_count)
		expect(run, "roll back to what is undone",
		    kvlog_txn_rollback_to(run->txn, t->saved[i + 1].id),
		    KVLOG_INVAL);
	while (t->saved_count > i + 1)
		world_fini(&t->saved[--t->saved_count].world);
	world_fini(&run->world);
	world_copy(&run->world, &t->saved[i].world);
	if (run->txn_seq != MODEL_ANY_SEQ)
		world_set_seq(&run->world, run->txn_seq);
	run->at = 0;
}

/* All that the transaction sees. */
static void
check_inside(struct run *run)
{
	struct world shown, found;
	char why[MODEL_WHY_LEN];

	shown_world(run, &shown);
	if (!world_read_txn(&found, run->txn, why)) {
		note_wrong(run, "%s", why);
	} else if (!world_equal(&shown, &found)) {
		world_explain(&shown, &found, why);
		note_wrong(run, "in a transaction: %.350s", why);
	}
	world_fini(&found);
	world_fini(&shown);
}

/* Others see the store as it was before. */
static void
check_beside(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	struct kvlog_txn *txn = run->txn;
	struct world inside = run->world;

	run->txn = NULL;
	run->world = t->before;
	choose_bucket(run, rng);
	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
		check_walk(run, rng, true, false);
		break;
	case 2:
		check_all(run, run->db);
		break;
	default:
		check_get(run);
	}
	t->before = run->world;
	run->txn = txn;
	run->world = inside;
	run->at = 0;
	if (rng_below(rng, 4) == 0) {
		expect(run, "maintain beside a transaction",
		    kvlog_maintain(run->db, 0, NULL), KVLOG_OK);
		learn_judged(run);
	}
}

static void
do_txn_step(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	unsigned what = (unsigned)rng_below(rng, 38);

	if (rng_below(rng, 2) == 0)
		choose_bucket(run, rng);
	make_key(run, rng);
	if (what < 14)
		do_txn_write(t, rng, what < 10);
	else if (what < 20)
		check_txn_get(t);
	else if (what < 23)
		check_beside(t, rng);
	else if (what < 25)
		check_walk(run, rng, true, what == 23);
	else if (what < 29)
		do_savepoint(t);
	else if (what < 32)
		do_rollback_to(t, rng);
	else if (what < 35)
		do_txn_bucket(t, rng);
	else if (what < 36)
		check_dropped_inside(t, rng);
	else if (what < 37)
		check_inside(run);
	else if (run->gen->expiry)
		step_clock(run, rng, !run->threaded);
}

static void
end_txn(struct txn *t, struct rng *rng)
{
	struct run *run = t->run;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct world inside = run->world;
	bool commit = rng_below(rng, 4) > 0;

	how.durability = choose_durability(rng);
	if (commit)
		expect(run, "commit",
		    kvlog_txn_commit(run->txn, &how, &receipt), KVLOG_OK);
	else
		kvlog_txn_rollback(run->txn);
	run->txn = NULL;
	run->at = 0;
	run->world = commit ? inside : t->before;
	world_fini(commit ? &t->before : &inside);
	while (t->saved_count > 0)
		world_fini(&t->saved[--t->saved_count].world);
	if (!commit || receipt.seq <= run->max_seq)
		return;
	if (t->changes == 0)
		note_wrong(run, "a commit of nothing");
	if (run->txn_seq != MODEL_ANY_SEQ && receipt.seq != run->txn_seq)
		note_wrong(run, "commit %" PRIu64 " instead of %" PRIu64,
		    receipt.seq, run->txn_seq);
	run->max_seq = receipt.seq;
	world_set_seq(&run->world, receipt.seq);
}

static bool
begin(struct run *run, struct kvlog *db)
{
	struct kvlog_error err = {0};

	run->txn_seq = MODEL_ANY_SEQ;
	run->txn_now = now_ms(run);
	if (kvlog_txn_begin(db, NULL, &run->txn, &err) == KVLOG_OK)
		return true;
	note_wrong(run, "begin a transaction: %s", err.text);
	run->txn = NULL;
	return false;
}

void
do_txn(struct run *run, struct rng *rng)
{
	struct txn t = {.run = run};
	unsigned steps = (unsigned)rng_below(rng, STEPS_MAX);

	if (!begin(run, run->db))
		return;
	world_copy(&t.before, &run->world);
	while (steps-- > 0 && !run->wrong)
		do_txn_step(&t, rng);
	end_txn(&t, rng);
}

void
leave_txn(struct run *run, struct rng *rng, struct kvlog *db)
{
	struct kvlog_txn *txn = NULL;
	struct kvlog *bucket = NULL;

	make_value(run, rng);
	expect(run, "begin a transaction",
	    kvlog_txn_begin(db, NULL, &txn, NULL), KVLOG_OK);
	expect(run, "put in a transaction",
	    kvlog_txn_put(
		txn, NULL, "left", 4, run->value, run->value_len, NULL),
	    KVLOG_OK);
	if (run->gen->buckets)
		expect(run, "open a bucket in a transaction",
		    kvlog_txn_bucket_open(
			txn, "b", 1, KVLOG_OPEN_CREATE, &bucket, NULL),
		    KVLOG_OK);
}
