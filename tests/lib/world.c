/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world.c - the model of a store with buckets.
 */
#include "world.h"
#include "rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LONG_NAME                                                              \
	"a name that is longer than a block of a hint has room for, as are "   \
	"some that people give: /srv/www/htdocs/users/0000000000000000000000"  \
	"0000000000000000000000000000000000000000000000000000000000000000000"  \
	"0000000000000000000000000000000000000000000000000000000000000000000"

const struct world_name world_names[WORLD_BUCKETS] = {
    {NULL, 0},
    {LONG_NAME, sizeof LONG_NAME - 1},
    {"b", 1},
    {"b", 2}, /* with its final 0 */
    {"ba", 2},
    {"\xff", 1},
};

void
world_init(struct world *world)
{
	memset(world, 0, sizeof *world);
	world->buckets[0].there = true;
}

void
world_fini(struct world *world)
{
	for (unsigned i = 0; i < WORLD_BUCKETS; i++)
		model_fini(&world->buckets[i].keys);
	world_init(world);
}

void
world_copy(struct world *to, const struct world *from)
{
	*to = *from;
	for (unsigned i = 0; i < WORLD_BUCKETS; i++) {
		to->buckets[i].keys = (struct model){0};
		model_copy(&to->buckets[i].keys, &from->buckets[i].keys);
	}
}

void
world_create(struct world *world, unsigned bucket, uint64_t serial)
{
	world->buckets[bucket] =
	    (struct world_bucket){.there = true, .serial = serial};
}

void
world_drop(struct world *world, unsigned bucket)
{
	model_fini(&world->buckets[bucket].keys);
	world->buckets[bucket] = (struct world_bucket){0};
}

void
world_set_seq(struct world *world, uint64_t seq)
{
	for (unsigned i = 0; i < WORLD_BUCKETS; i++) {
		struct world_bucket *b = &world->buckets[i];

		model_set_seq(&b->keys, seq);
		if (i > 0 && b->there && b->seq == MODEL_ANY_SEQ)
			b->seq = seq;
	}
}

static uint64_t
digest_blob(const struct blob *blob, uint64_t digest)
{
	digest = rng_mix(digest ^ blob->len);
	for (size_t i = 0; i < blob->len; i += 8) {
		uint64_t word = 0;

		memcpy(&word, blob->bytes + i,
		    blob->len - i < 8 ? blob->len - i : 8);
		digest = rng_mix(digest ^ word);
	}
	return digest;
}

static uint64_t
digest_keys(const struct model *model, uint64_t digest)
{
	digest = rng_mix(digest ^ model->count);
	for (size_t i = 0; i < model->count; i++) {
		const struct model_entry *e = &model->entries[i];

		digest = digest_blob(e->key, digest);
		digest = digest_blob(e->value, digest);
		digest = rng_mix(digest ^ e->seq);
		digest = rng_mix(digest ^ e->expires_ms);
	}
	return digest;
}

uint64_t
world_digest(const struct world *world)
{
	uint64_t digest = 0;

	for (unsigned i = 0; i < WORLD_BUCKETS; i++) {
		const struct world_bucket *b = &world->buckets[i];

		digest = rng_mix(digest ^ i ^ (uint64_t)b->there << 32);
		digest = rng_mix(digest ^ b->seq);
		digest = digest_keys(&b->keys, digest ^ b->ordinal);
	}
	return digest;
}

static bool
same_bucket(const struct world_bucket *a, const struct world_bucket *b)
{
	return a->there == b->there &&
	       (a->seq == MODEL_ANY_SEQ || b->seq == MODEL_ANY_SEQ ||
		   (a->seq == b->seq && a->ordinal == b->ordinal));
}

bool
world_equal(const struct world *a, const struct world *b)
{
	for (unsigned i = 0; i < WORLD_BUCKETS; i++)
		if (!same_bucket(&a->buckets[i], &b->buckets[i]) ||
		    !model_equal(&a->buckets[i].keys, &b->buckets[i].keys))
			return false;
	return true;
}

void
world_explain(const struct world *wanted, const struct world *found, char *why)
{
	for (unsigned i = 0; i < WORLD_BUCKETS; i++) {
		const struct world_bucket *a = &wanted->buckets[i],
					  *b = &found->buckets[i];
		char detail[MODEL_WHY_LEN];

		if (!same_bucket(a, b)) {
			(void)snprintf(why, MODEL_WHY_LEN,
			    "bucket %u: %s, of commit %" PRIu64
			    ", %u, wanted; %s, of commit %" PRIu64
			    ", %u, found",
			    i, a->there ? "there" : "none", a->seq,
			    (unsigned)a->ordinal, b->there ? "there" : "none",
			    b->seq, (unsigned)b->ordinal);
			return;
		}
		if (model_equal(&a->keys, &b->keys))
			continue;
		model_explain(&a->keys, &b->keys, detail);
		(void)snprintf(
		    why, MODEL_WHY_LEN, "bucket %u: %.350s", i, detail);
		return;
	}
	(void)snprintf(why, MODEL_WHY_LEN, "no difference");
}

static bool
say(char *why, unsigned bucket, const char *what, enum kvlog_status st)
{
	(void)snprintf(why, MODEL_WHY_LEN, "bucket %u: %s: %s", bucket, what,
	    kvlog_status_text(st));
	return false;
}

bool
world_read_walk(struct model *keys, struct kvlog_iter *iter, char *why)
{
	enum kvlog_status st;

	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		size_t key_len = 0, value_len = 0, count = keys->count;
		const void *key = kvlog_iter_key(iter, &key_len);
		const void *value = kvlog_iter_value(iter, &value_len);
		struct kvlog_info info;

		kvlog_iter_info(iter, &info);
		model_put(keys, key, key_len, value, value_len, info.seq)
		    ->expires_ms = info.expires_ms;
		/* Each behind the one before. */
		if (model_lower(keys, key, key_len) != count)
			return say(why, 0, "walk out of order", KVLOG_INVAL);
	}
	return st == KVLOG_NOTFOUND || say(why, 0, "walk", st);
}

/* Whether a transaction that has shown an entry in a walk finds it. */
static bool
find_in_txn(const struct model_entry *e, struct kvlog_txn *txn,
    struct kvlog *bucket, char *why)
{
	const struct blob *key = e->key;
	struct kvlog_info info = {0};
	const void *value = NULL;
	size_t len = 0;
	enum kvlog_status st =
	    kvlog_txn_get(txn, bucket, key->bytes, key->len, &value, &len);

	if (st == KVLOG_OK)
		st = kvlog_txn_lookup(txn, bucket, key->bytes, key->len, &info);
	if (st == KVLOG_OK && len == e->value->len &&
	    memcmp(value, e->value->bytes, len) == 0 && info.seq == e->seq &&
	    info.value_len == len && info.expires_ms == e->expires_ms)
		return true;
	(void)snprintf(why, MODEL_WHY_LEN,
	    "in the transaction a key differs from the walk: %s, %zu bytes, "
	    "commit %" PRIu64 ", not %" PRIu64,
	    kvlog_status_text(st), len, info.seq, e->seq);
	return false;
}

/* What a transaction sees of a bucket (NULL: its own one). */
static bool
read_in_txn(
    struct model *keys, struct kvlog_txn *txn, struct kvlog *bucket, char *why)
{
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st = kvlog_txn_iter_open(txn, bucket, NULL, &iter);
	uint64_t count = UINT64_MAX;
	bool ok;

	if (st != KVLOG_OK)
		return say(why, 0, "walk in a transaction", st);
	ok = world_read_walk(keys, iter, why);
	kvlog_iter_destroy(iter);
	for (size_t i = 0; i < keys->count && ok; i++)
		ok = find_in_txn(&keys->entries[i], txn, bucket, why);
	if (!ok)
		return false;
	st = kvlog_txn_count(txn, bucket, &count);
	if (st == KVLOG_OK && count != keys->count)
		st = KVLOG_CORRUPT;
	return st == KVLOG_OK || say(why, 0, "count in a transaction", st);
}

static void
note_id(struct world_bucket *b, struct kvlog *handle)
{
	b->there = true;
	kvlog_bucket_id(handle, &b->seq, &b->ordinal);
}

static bool
read_bucket(struct world *world, struct kvlog *db, unsigned i, char *why)
{
	struct world_bucket *b = &world->buckets[i];
	struct kvlog *handle = NULL;
	char detail[MODEL_WHY_LEN];
	enum kvlog_status st = kvlog_bucket_open(
	    db, world_names[i].bytes, world_names[i].len, 0, &handle, NULL);
	bool ok;

	if (st != KVLOG_OK)
		return say(why, i, "open", st);
	note_id(b, handle);
	ok = model_read(&b->keys, handle, detail);
	if (!ok)
		(void)snprintf(
		    why, MODEL_WHY_LEN, "bucket %u: %.350s", i, detail);
	st = kvlog_close(handle, NULL);
	return st == KVLOG_OK || !ok ? ok : say(why, i, "close", st);
}

/* The one that iter is at; WORLD_BUCKETS: none. */
static unsigned
name_of(const struct kvlog_iter *iter)
{
	size_t len = 0;
	const void *name = kvlog_iter_key(iter, &len);
	unsigned i = 1;

	while (i < WORLD_BUCKETS &&
	       (name == NULL || len != world_names[i].len ||
		   memcmp(name, world_names[i].bytes, len) != 0))
		i++;
	return i;
}

/* The names, by a walk that was begun with st and ends here: they come in
 * order, and the other way. */
static bool
list(enum kvlog_status st, struct kvlog_iter *iter, bool *listed, char *why)
{
	unsigned last = 0;

	if (st != KVLOG_OK)
		return say(why, 0, "list", st);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		unsigned i = name_of(iter);

		if (i == WORLD_BUCKETS || i <= last)
			break;
		listed[i] = true;
		last = i;
	}
	for (unsigned i = WORLD_BUCKETS; i-- > 1 && st == KVLOG_NOTFOUND;)
		if (listed[i] &&
		    (kvlog_iter_prev(iter) != KVLOG_OK || name_of(iter) != i))
			st = KVLOG_INVAL;
	if (st == KVLOG_NOTFOUND && kvlog_iter_prev(iter) != KVLOG_NOTFOUND)
		st = KVLOG_INVAL;
	kvlog_iter_destroy(iter);
	return st == KVLOG_NOTFOUND || say(why, last, "list behind it", st);
}

bool
world_read(struct world *world, struct kvlog *db, char *why)
{
	bool listed[WORLD_BUCKETS] = {false};
	struct kvlog_iter *iter = NULL;
	struct model all = {0};
	bool ok = model_read(&all, db, why);

	world_init(world);
	/* The keys of the default bucket. */
	world->buckets[0].keys = (struct model){
	    .entries = all.entries, .count = all.count, .cap = all.cap};
	all.entries = NULL;
	all.count = all.cap = 0;
	model_fini(&all);
	if (ok) {
		enum kvlog_status st = kvlog_bucket_list(db, &iter);

		ok = list(st, iter, listed, why);
	}
	if (!ok)
		return false;
	for (unsigned i = 1; i < WORLD_BUCKETS; i++)
		if (listed[i] && !read_bucket(world, db, i, why))
			return false;
	return true;
}

bool
world_read_txn(struct world *world, struct kvlog_txn *txn, char *why)
{
	bool listed[WORLD_BUCKETS] = {false};
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st;

	world_init(world);
	if (!read_in_txn(&world->buckets[0].keys, txn, NULL, why))
		return false;
	st = kvlog_txn_bucket_list(txn, &iter);
	if (!list(st, iter, listed, why))
		return false;
	for (unsigned i = 1; i < WORLD_BUCKETS; i++) {
		struct kvlog *handle = NULL;
		bool ok;

		st = kvlog_txn_bucket_open(txn, world_names[i].bytes,
		    world_names[i].len, 0, &handle, NULL);
		if (st != (listed[i] ? KVLOG_OK : KVLOG_NOBUCKET))
			return say(why, i, "open in a transaction", st);
		if (st != KVLOG_OK)
			continue;
		note_id(&world->buckets[i], handle);
		ok = read_in_txn(&world->buckets[i].keys, txn, handle, why);
		st = kvlog_close(handle, NULL);
		if (!ok || st != KVLOG_OK)
			return ok ? say(why, i, "close", st) : false;
	}
	return true;
}
