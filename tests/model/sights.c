/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sights.c - read transactions and walks that are held, some at once, over any
 * number of operations: whatever is written, dropped, rewritten or expires
 * meanwhile, and how often the store is opened anew if they are of a reader,
 * the digest of all that they show stays as it was.
 */
#include "run.h"

#include <string.h>

/* All, as it is shown now. */
static void
check_digest(struct run *run, struct sight *s)
{
	struct world found;
	char why[MODEL_WHY_LEN];
	bool ok;

	world_init(&found);
	if (s->txn != NULL) {
		ok = world_read_txn(&found, s->txn, why);
	} else {
		expect(run, "iter_first", kvlog_iter_first(s->iter), KVLOG_OK);
		ok = world_read_walk(&found.buckets[0].keys, s->iter, why);
	}
	if (!ok) {
		note_wrong(run, "since operation %zu: %s", s->since, why);
	} else if (world_digest(&found) != s->digest) {
		world_explain(&s->shown, &found, why);
		note_wrong(run, "since operation %zu: %s", s->since, why);
	}
	world_fini(&found);
}

static void
open_reader(struct run *run, struct rng *rng, struct sight *s)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};

	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode =
	    rng_below(rng, 2) == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	if (kvlog_open(run->path, &o, &s->reader, &err) != KVLOG_OK)
		note_wrong(run, "open for reading: %s", err.text);
}

static void
begin_txn(struct run *run, struct kvlog *db, struct sight *s)
{
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;

	o.flags = KVLOG_TXN_READ;
	expect(run, "begin a transaction that reads",
	    kvlog_txn_begin(db, &o, &s->txn, NULL), KVLOG_OK);
	shown_world(run, &s->shown);
}

/* Over one bucket; the model knows it as the default one. */
static void
begin_walk(struct run *run, struct kvlog *db, struct sight *s)
{
	const struct world_name *name = &world_names[run->at];

	if (run->at > 0)
		expect(run, "open a bucket",
		    kvlog_bucket_open(
			db, name->bytes, name->len, 0, &s->handle, NULL),
		    KVLOG_OK);
	expect(run, "iter_open",
	    kvlog_iter_open(s->handle != NULL ? s->handle : db, NULL, &s->iter),
	    KVLOG_OK);
	world_init(&s->shown);
	shown_here(run, &s->shown.buckets[0].keys);
}

static void
begin(struct run *run, struct rng *rng, struct sight *s)
{
	struct kvlog *db = run->db;

	s->since = run->op;
	if (rng_below(rng, 2) == 0) {
		open_reader(run, rng, s);
		db = s->reader;
	}
	if (run->wrong)
		return;
	if (rng_below(rng, 3) == 0)
		begin_walk(run, db, s);
	else
		begin_txn(run, db, s);
	s->digest = world_digest(&s->shown);
	if (!run->wrong && rng_below(rng, 2) == 0)
		check_digest(run, s);
}

/* left: what was begun on it ends with the run's handle. */
static void
end(struct run *run, struct sight *s, bool left)
{
	kvlog_iter_destroy(s->iter);
	if (s->handle != NULL)
		expect(run, "close of a bucket", kvlog_close(s->handle, NULL),
		    KVLOG_OK);
	if (s->txn != NULL && s->reader == NULL && !left)
		kvlog_txn_rollback(s->txn);
	/* A reader's is left to it, too. */
	if (s->reader != NULL)
		expect(run, "close of a reader", kvlog_close(s->reader, NULL),
		    KVLOG_OK);
	world_fini(&s->shown);
	*s = (struct sight){0};
}

/* One key, or a walk over some. */
static void
look(struct run *run, struct rng *rng, struct sight *s)
{
	unsigned at = (unsigned)rng_below(rng, WORLD_BUCKETS);
	const struct world_bucket *b = &s->shown.buckets[at];
	const struct world_name *name = &world_names[at];
	const struct model_entry *e =
	    model_find(&b->keys, run->key, run->key_len);
	struct kvlog *handle = NULL;
	const void *value = NULL;
	size_t len = 0;
	enum kvlog_status st = KVLOG_OK;

	if (at > 0)
		st = kvlog_txn_bucket_open(
		    s->txn, name->bytes, name->len, 0, &handle, NULL);
	expect(run, "open a bucket of before", st,
	    b->there ? KVLOG_OK : KVLOG_NOBUCKET);
	if (st != KVLOG_OK || run->wrong)
		return;
	st =
	    kvlog_txn_get(s->txn, handle, run->key, run->key_len, &value, &len);
	expect(run, "get of before", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL && !same_value(e, value, len))
		note_wrong(run, "get of before: another value");
	expect(run, "put into what is read",
	    kvlog_txn_put(s->txn, handle, run->key, run->key_len, "x", 1, NULL),
	    KVLOG_READONLY);
	if (rng_below(rng, 2) == 0)
		check_walk_in(run, rng, s->txn, handle, &b->keys);
	if (at > 0)
		expect(run, "close of a bucket", kvlog_close(handle, NULL),
		    KVLOG_OK);
}

void
do_sight(struct run *run, struct rng *rng)
{
	struct sight *s = &run->sights[rng_below(rng, SIGHT_COUNT)];

	if (s->txn == NULL && s->iter == NULL) {
		begin(run, rng, s);
		return;
	}
	if (s->txn != NULL && rng_below(rng, 2) == 0) {
		look(run, rng, s);
		return;
	}
	check_digest(run, s);
	if (rng_below(rng, 3) == 0)
		end(run, s, false);
}

void
end_sights(struct run *run, struct rng *rng, bool readers)
{
	for (unsigned i = 0; i < SIGHT_COUNT; i++) {
		struct sight *s = &run->sights[i];

		if (s->since == 0 && s->txn == NULL && s->iter == NULL)
			continue;
		if (!readers && s->reader != NULL)
			continue;
		if (!run->wrong)
			check_digest(run, s);
		end(run, s, rng_below(rng, 2) == 0);
	}
}

void
forget_sights(struct run *run)
{
	for (unsigned i = 0; i < SIGHT_COUNT; i++) {
		world_fini(&run->sights[i].shown);
		run->sights[i] = (struct sight){0};
	}
}
