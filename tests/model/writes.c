/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writes.c - single writes, batches, those that depend on what is there, and
 * buckets.
 */
#include "run.h"

#include <errno.h>
#include <string.h>

/* Where the keys of a bucket are written, and how. */
static struct kvlog_write
choose_how(struct rng *rng)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.durability = choose_durability(rng);
	return how;
}

/* A write that was to be done if st is wanted; whether it was. */
static bool
is_done(struct run *run, const char *what, enum kvlog_status st,
    enum kvlog_status wanted, const struct kvlog_receipt *receipt)
{
	expect(run, what, st, wanted);
	if (st != KVLOG_OK)
		return false;
	check_receipt(run, receipt);
	return true;
}

static void
note_put(struct run *run, uint64_t expires_ms, uint64_t seq)
{
	model_put(
	    here(run), run->key, run->key_len, run->value, run->value_len, seq)
	    ->expires_ms = expires_ms;
}

void
do_put(struct run *run, struct rng *rng, bool conditional)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	enum kvlog_status st;
	bool held;

	make_value(run, rng);
	how.expires_ms = choose_expiry(run, rng);
	if (conditional)
		choose_condition(run, rng, &how.condition, &how.if_seq);
	held = holds(present(run), how.condition, how.if_seq);
	st = kvlog_put(hold(run, run->at), run->key, run->key_len, run->value,
	    run->value_len, &how, &receipt);
	if (is_done(run, "put", st, held ? KVLOG_OK : KVLOG_CONFLICT, &receipt))
		note_put(run, how.expires_ms, receipt.seq);
}

void
do_delete(struct run *run, struct rng *rng, bool conditional)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run);
	enum kvlog_status st, wanted;

	if (conditional)
		choose_condition(run, rng, &how.condition, &how.if_seq);
	wanted = !holds(e, how.condition, how.if_seq) ? KVLOG_CONFLICT
		 : e == NULL                          ? KVLOG_NOTFOUND
						      : KVLOG_OK;
	st = kvlog_delete(
	    hold(run, run->at), run->key, run->key_len, &how, &receipt);
	if (is_done(run, "delete", st, wanted, &receipt))
		(void)model_delete(here(run), run->key, run->key_len);
}

/* Batches */

struct batch {
	struct run *run;
	struct kvlog_op ops[BATCH_MAX];
	size_t count;
	struct world after;
	/* The first step that is refused, and why. */
	size_t refused;
	enum kvlog_status status;
};

static void
refuse(struct batch *b, size_t step, enum kvlog_status status)
{
	if (b->status != KVLOG_OK)
		return;
	b->refused = step;
	b->status = status;
}

static void *
copy(const void *bytes, size_t len)
{
	void *to = room(len + 1);

	memcpy(to, bytes, len);
	return to;
}

/* One more step, on a bucket that is there; NULL: the one of the call. */
static void
add_step(
    struct batch *b, struct rng *rng, struct kvlog *bucket, bool conditional)
{
	struct run *run = b->run;
	struct kvlog_op *op = &b->ops[b->count];
	struct model *after = &b->after.buckets[run->at].keys;

	make_key(run, rng);
	op->bucket = bucket;
	op->key = copy(run->key, run->key_len);
	op->key_len = run->key_len;
	if (conditional)
		choose_condition(run, rng, &op->condition, &op->if_seq);
	if (!holds(present(run), op->condition, op->if_seq))
		refuse(b, b->count, KVLOG_CONFLICT);
	b->count++;
	op->type = KVLOG_OP_DELETE;
	if (rng_below(rng, 3) == 0) {
		(void)model_delete(after, op->key, op->key_len);
		return;
	}
	make_value(run, rng);
	op->type = KVLOG_OP_PUT;
	op->value = copy(run->value, run->value_len);
	op->value_len = run->value_len;
	op->expires_ms = choose_expiry(run, rng);
	model_put(after, op->key, op->key_len, op->value, op->value_len,
	    MODEL_ANY_SEQ)
	    ->expires_ms = op->expires_ms;
}

static void
make_batch(struct batch *b, struct rng *rng)
{
	struct run *run = b->run;
	size_t count = 1 + (size_t)rng_below(rng, BATCH_MAX);
	unsigned at = run->at;
	bool conditional = rng_below(rng, 3) == 0;
	bool spans = rng_below(rng, 2) == 0;
	struct kvlog *dropped =
	    rng_below(rng, 20) == 0 ? hold_dropped(run, rng) : NULL;

	while (b->count < count) {
		if (spans)
			choose_bucket(run, rng);
		if (dropped != NULL && b->count + 1 == count) {
			refuse(b, b->count, KVLOG_NOBUCKET);
			add_step(b, rng, dropped, false);
			break;
		}
		add_step(
		    b, rng, spans ? hold(run, run->at) : NULL, conditional);
	}
	run->at = at;
}

void
do_batch(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	struct batch b = {.run = run, .refused = SIZE_MAX};
	size_t failed = SIZE_MAX;
	enum kvlog_status st;

	world_copy(&b.after, &run->world);
	make_batch(&b, rng);
	st = kvlog_apply(
	    hold(run, run->at), b.ops, b.count, &how, &receipt, &failed);
	if (failed != b.refused)
		note_wrong(run, "apply: step %zu does not hold, not %zu",
		    failed, b.refused);
	if (is_done(run, "apply", st, b.status, &receipt)) {
		world_set_seq(&b.after, receipt.seq);
		world_fini(&run->world);
		run->world = b.after;
	} else {
		world_fini(&b.after);
	}
	for (size_t i = 0; i < b.count; i++) {
		free((void *)(uintptr_t)b.ops[i].key);
		free((void *)(uintptr_t)b.ops[i].value);
	}
}

/* What depends on what is there */

/* A key that has a value keeps its time, another one gets the one given. */
static uint64_t
kept(const struct model_entry *e, const struct kvlog_write *how)
{
	return e != NULL ? e->expires_ms : how->expires_ms;
}

/* Digits, with a sign or without, and within the bounds of an int64_t. */
static bool
is_number(const struct blob *value, int64_t *ret_number)
{
	char text[64];
	size_t digits = 0, len = value->len;

	if (len >= sizeof text)
		return false; /* none is written with so many zeros here */
	memcpy(text, value->bytes, len);
	text[len] = '\0';
	while (digits < len && text[len - digits - 1] >= '0' &&
	       text[len - digits - 1] <= '9')
		digits++;
	if (digits == 0 || (digits < len && (digits + 1 < len || *text != '-')))
		return false;
	errno = 0;
	*ret_number = strtoll(text, NULL, 10);
	return errno == 0;
}

void
do_increment(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run);
	int64_t by = (int64_t)rng_next(rng) >> 6 * rng_below(rng, 11);
	int64_t old = 0, sum = 0, number = 0;
	enum kvlog_status st, wanted = KVLOG_OK;
	uint64_t expires_ms;
	char text[32];

	how.expires_ms = choose_expiry(run, rng);
	expires_ms = kept(e, &how);
	if (e != NULL && !is_number(e->value, &old))
		wanted = KVLOG_CONFLICT;
	else if (by > 0 ? old > INT64_MAX - by : old < INT64_MIN - by)
		wanted = KVLOG_CONFLICT;
	else
		sum = old + by;
	st = kvlog_increment(hold(run, run->at), run->key, run->key_len, by,
	    &how, &number, &receipt);
	if (!is_done(run, "increment", st, wanted, &receipt))
		return;
	if (number != sum)
		note_wrong(run,
		    "increment: %" PRId64 " and %" PRId64 " are %" PRId64, old,
		    by, number);
	run->value_len = (size_t)snprintf(text, sizeof text, "%" PRId64, sum);
	memcpy(run->value, text, run->value_len);
	note_put(run, expires_ms, receipt.seq);
}

void
do_append(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run);
	size_t old_len = e != NULL ? e->value->len : 0, len = 0;
	size_t more = (size_t)rng_below(rng, run->gen->value_max / 4 + 1);
	uint64_t expires_ms;
	enum kvlog_status st;

	if (old_len > run->gen->value_max)
		more = 0;
	how.expires_ms = choose_expiry(run, rng);
	expires_ms = kept(e, &how);
	if (old_len > 0)
		memcpy(run->value, e->value->bytes, old_len);
	rng_fill(rng, run->value + old_len, more);
	st = kvlog_append(hold(run, run->at), run->key, run->key_len,
	    run->value + old_len, more, &how, &len, &receipt);
	if (!is_done(run, "append", st, KVLOG_OK, &receipt))
		return;
	run->value_len = old_len + more;
	if (len != run->value_len)
		note_wrong(run, "append: a length of %zu", len);
	note_put(run, expires_ms, receipt.seq);
}

/* What a call has given of the value that was there. */
static void
check_given(struct run *run, const char *what, const struct model_entry *e,
    void *value, size_t len)
{
	if (e == NULL ? value != NULL || len != SIZE_MAX
		      : value == NULL || !same_value(e, value, len))
		note_wrong(run, "%s: another value was there", what);
	kvlog_free(value);
}

static void
note_exchange(struct run *run, const struct kvlog_bytes *value,
    const struct kvlog_write *how, uint64_t seq)
{
	if (value == NULL)
		(void)model_delete(here(run), run->key, run->key_len);
	else
		note_put(run, how->expires_ms, seq);
}

/* A new value, or (NULL) none any more. */
static const struct kvlog_bytes *
choose_value(struct run *run, struct rng *rng, struct kvlog_bytes *value,
    struct kvlog_write *how)
{
	if (rng_below(rng, 4) == 0)
		return NULL;
	make_value(run, rng);
	how->expires_ms = choose_expiry(run, rng);
	*value = (struct kvlog_bytes){run->value, run->value_len};
	return value;
}

void
do_exchange(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_bytes bytes;
	const struct kvlog_bytes *value = choose_value(run, rng, &bytes, &how);
	const struct model_entry *e = present(run);
	size_t len = SIZE_MAX;
	void *old = NULL;
	enum kvlog_status st = kvlog_exchange(hold(run, run->at), run->key,
	    run->key_len, value, &how, &old, &len, &receipt);

	if (!is_done(run, "exchange", st,
		e == NULL && value == NULL ? KVLOG_NOTFOUND : KVLOG_OK,
		&receipt))
		return;
	check_given(run, "exchange", e, old, len);
	note_exchange(run, value, &how, receipt.seq);
}

void
do_compare_exchange(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_bytes bytes, expected = {"nothing like it", 15};
	const struct kvlog_bytes *value = choose_value(run, rng, &bytes, &how);
	const struct model_entry *e = present(run);
	uint64_t dice = rng_below(rng, 6);
	bool none = dice == 0 || (e == NULL && dice < 4 && value != NULL);
	bool same = e != NULL && !none && dice < 4;
	size_t len = SIZE_MAX;
	void *found = NULL;
	enum kvlog_status st, wanted;

	if (same)
		expected = (struct kvlog_bytes){e->value->bytes, e->value->len};
	wanted = none && value == NULL ? KVLOG_INVAL
		 : none                ? e == NULL ? KVLOG_OK : KVLOG_CONFLICT
		 : e != NULL && same_value(e, expected.data, expected.len)
		     ? KVLOG_OK
		     : KVLOG_CONFLICT;
	st = kvlog_compare_exchange(hold(run, run->at), run->key, run->key_len,
	    none ? NULL : &expected, value, &how, &found, &len, &receipt);
	if (st == KVLOG_CONFLICT)
		check_given(run, "compare_exchange", e, found, len);
	if (is_done(run, "compare_exchange", st, wanted, &receipt))
		note_exchange(run, value, &how, receipt.seq);
}

void
do_rename(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run), *there;
	size_t from_len = run->key_len;
	uint64_t expires_ms = 0;
	enum kvlog_status st, wanted = KVLOG_OK;

	if (rng_below(rng, 3) == 0)
		how.condition = KVLOG_IF_ABSENT;
	memcpy(run->other_key, run->key, from_len);
	make_key(run, rng);
	there = present(run);
	if (e == NULL) {
		wanted = KVLOG_NOTFOUND;
	} else {
		run->value_len = e->value->len;
		memcpy(run->value, e->value->bytes, run->value_len);
		expires_ms = e->expires_ms;
		if (how.condition == KVLOG_IF_ABSENT && there != NULL)
			wanted = KVLOG_CONFLICT;
	}
	st = kvlog_rename(hold(run, run->at), run->other_key, from_len,
	    run->key, run->key_len, &how, &receipt);
	if (!is_done(run, "rename", st, wanted, &receipt))
		return;
	(void)model_delete(here(run), run->other_key, from_len);
	note_put(run, expires_ms, receipt.seq);
}

void
do_expire(struct run *run, struct rng *rng)
{
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run);
	uint64_t expires_ms = choose_expiry(run, rng);
	enum kvlog_status st = kvlog_expire(hold(run, run->at), run->key,
	    run->key_len, expires_ms, &how, &receipt);

	if (!is_done(run, "expire", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND,
		&receipt))
		return;
	run->value_len = e->value->len;
	memcpy(run->value, e->value->bytes, run->value_len);
	note_put(run, expires_ms, receipt.seq);
}

/* Buckets */

static void
open_bucket(struct run *run, unsigned bucket, unsigned flags)
{
	const struct world_name *name = &world_names[bucket];
	struct world_bucket *b = &run->world.buckets[bucket];
	bool was = b->there, makes = (flags & KVLOG_OPEN_CREATE) != 0;
	struct kvlog *handle = NULL;
	enum kvlog_status st = kvlog_bucket_open(
	    run->db, name->bytes, name->len, flags, &handle, NULL);

	expect(run, "bucket_open", st,
	    was     ? (flags & KVLOG_OPEN_EXCLUSIVE) != 0 ? KVLOG_CONFLICT
							  : KVLOG_OK
	    : makes ? KVLOG_OK
		    : KVLOG_NOBUCKET);
	if (st != KVLOG_OK)
		return;
	if (!was) {
		struct kvlog_receipt receipt = {0};

		world_create(&run->world, bucket, ++run->serials);
		kvlog_bucket_id(handle, &b->seq, &b->ordinal);
		receipt.seq = b->seq;
		check_receipt(run, &receipt);
		if (b->seq != kvlog_last_seq(run->db))
			note_wrong(run, "a bucket of another commit's number");
	}
	expect(run, "close of a bucket", kvlog_close(handle, NULL), KVLOG_OK);
}

static void
drop_bucket(struct run *run, struct rng *rng, unsigned bucket)
{
	const struct world_name *name = &world_names[bucket];
	struct kvlog_write how = choose_how(rng);
	struct kvlog_receipt receipt = {0, 0, 0};
	bool was = run->world.buckets[bucket].there;
	enum kvlog_status st =
	    kvlog_bucket_drop(run->db, name->bytes, name->len, &how, &receipt);

	if (is_done(run, "bucket_drop", st, was ? KVLOG_OK : KVLOG_NOBUCKET,
		&receipt))
		world_drop(&run->world, bucket);
}

void
do_bucket(struct run *run, struct rng *rng)
{
	unsigned bucket = 1 + (unsigned)rng_below(rng, WORLD_BUCKETS - 1);
	bool there = run->world.buckets[bucket].there;

	if (!run->gen->buckets)
		return;
	switch (rng_below(rng, 8)) {
	case 0:
		open_bucket(run, bucket, 0);
		break;
	case 1:
		open_bucket(
		    run, bucket, KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE);
		break;
	case 2: /* one that something was done with, so that a handle stays */
		if (there)
			(void)hold(run, bucket);
		drop_bucket(run, rng, bucket);
		break;
	case 3: /* another one in its place */
		drop_bucket(run, rng, bucket);
		open_bucket(run, bucket, KVLOG_OPEN_CREATE);
		break;
	default:
		open_bucket(run, bucket, KVLOG_OPEN_CREATE);
		break;
	}
	run->at = 0;
}

/* A handle on a bucket that was dropped is of no use, whatever is there under
 * its name now. */
void
do_dropped(struct run *run, struct rng *rng)
{
	struct kvlog *db = hold_dropped(run, rng);
	struct kvlog_item item = {.key = run->key, .key_len = run->key_len};
	struct kvlog_iter *iter = NULL;
	struct kvlog_pin *pin = NULL;
	struct kvlog_txn *txn = NULL;
	struct kvlog_info info;
	const void *value;
	uint64_t count;
	size_t len;

	if (db == NULL)
		return;
	make_key(run, rng);
	expect(run, "get of a dropped bucket",
	    kvlog_get(db, run->key, run->key_len, NULL, 0, &len),
	    KVLOG_NOBUCKET);
	expect(run, "exists in a dropped bucket",
	    kvlog_exists(db, run->key, run->key_len), KVLOG_NOBUCKET);
	expect(run, "lookup in a dropped bucket",
	    kvlog_lookup(db, run->key, run->key_len, &info), KVLOG_NOBUCKET);
	expect(run, "count of a dropped bucket", kvlog_count(db, &count),
	    KVLOG_NOBUCKET);
	expect(run, "walk over a dropped bucket",
	    kvlog_iter_open(db, NULL, &iter), KVLOG_NOBUCKET);
	expect(run, "put into a dropped bucket",
	    kvlog_put(db, run->key, run->key_len, "x", 1, NULL, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "delete in a dropped bucket",
	    kvlog_delete(db, run->key, run->key_len, NULL, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "increment in a dropped bucket",
	    kvlog_increment(db, run->key, run->key_len, 1, NULL, NULL, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "rename in a dropped bucket",
	    kvlog_rename(db, run->key, run->key_len, "x", 1, NULL, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "pin_create", kvlog_pin_create(db, &pin), KVLOG_OK);
	item.key = run->key;
	item.key_len = run->key_len;
	expect(run, "get of many in a dropped bucket",
	    kvlog_pin_get_many(pin, &item, 1), KVLOG_NOBUCKET);
	kvlog_pin_destroy(pin);
	expect(run, "begin a transaction",
	    kvlog_txn_begin(run->db, NULL, &txn, NULL), KVLOG_OK);
	expect(run, "get of a dropped bucket in a transaction",
	    kvlog_txn_get(txn, db, run->key, run->key_len, &value, &len),
	    KVLOG_NOBUCKET);
	expect(run, "put into a dropped bucket in a transaction",
	    kvlog_txn_put(txn, db, run->key, run->key_len, "x", 1, NULL),
	    KVLOG_NOBUCKET);
	expect(run, "walk over a dropped bucket in a transaction",
	    kvlog_txn_iter_open(txn, db, NULL, &iter), KVLOG_NOBUCKET);
	kvlog_txn_rollback(txn);
}

/* What may never be: refused, and without effect. */
void
do_wrong(struct run *run)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog *db = hold(run, run->at);
	size_t failed = SIZE_MAX;
	struct kvlog_op op = {
	    KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "k", 0, "v", 1, 0, NULL};

	expect(run, "put of an empty key",
	    kvlog_put(db, "k", 0, "v", 1, NULL, NULL), KVLOG_INVAL);
	expect(run, "put of too long a key",
	    kvlog_put(db, run->key, KVLOG_KEY_MAX + 1, "v", 1, NULL, NULL),
	    KVLOG_TOOBIG);
	expect(run, "get of an empty key", kvlog_get(db, "k", 0, NULL, 0, NULL),
	    KVLOG_INVAL);
	expect(run, "batch with an empty key",
	    kvlog_apply(db, &op, 1, NULL, NULL, &failed), KVLOG_INVAL);
	if (failed != 0)
		note_wrong(run, "apply: step %zu is wrong", failed);
	how.size--;
	expect(run, "put with another struct",
	    kvlog_put(db, "k", 1, "v", 1, &how, NULL), KVLOG_INVAL);
	how.size++;
	how.expires_ms = 1;
	expect(run, "delete that expires", kvlog_delete(db, "k", 1, &how, NULL),
	    KVLOG_INVAL);
	if (run->max_seq != 0 && kvlog_last_seq(run->db) < run->max_seq)
		note_wrong(run, "last_seq went back");
}
