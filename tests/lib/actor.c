/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * actor.c - operations on a store, recorded.
 *
 * What a call's result says of the key is written down as a guard.  A result
 * that leaves open whether the write has happened (BUSY, TIMEOUT, BROKEN, IO)
 * leaves the operation open in the history too.
 */
#include "config.h"

#include "actor.h"

#include <string.h>

#define VALUE_MAX 300
#define BATCH_MAX 3

/* Values: the number of the writing operation, and bytes that follow from it,
 * so that no torn or mixed one goes unnoticed. */

static size_t
make_value(uint8_t value[VALUE_MAX], uint64_t id)
{
	struct rng rng;
	size_t len;

	rng_init(&rng, id);
	len = sizeof id + (size_t)rng_below(&rng, VALUE_MAX - sizeof id);
	memcpy(value, &id, sizeof id);
	rng_fill(&rng, value + sizeof id, len - sizeof id);
	return len;
}

/* 0: it is none. */
static uint64_t
value_id(const void *value, size_t len)
{
	uint8_t again[VALUE_MAX];
	uint64_t id;

	if (len < sizeof id)
		return 0;
	memcpy(&id, value, sizeof id);
	return make_value(again, id) == len && memcmp(again, value, len) == 0
		   ? id
		   : 0;
}

/* Keys are one byte. */
static uint8_t
key_byte(uint32_t key)
{
	return (uint8_t)('a' + key);
}

/* Results as guards */

static void
guard(struct history_op *op, enum history_guard what, uint64_t seq)
{
	op->guard = (uint8_t)what;
	op->saw_seq = seq;
}

static void
guard_condition(struct history_op *op, enum kvlog_condition condition,
    uint64_t if_seq, bool held)
{
	switch (condition) {
	case KVLOG_IF_ANY:
		guard(op, HISTORY_ANY, 0);
		break;
	case KVLOG_IF_ABSENT:
		guard(op, held ? HISTORY_ABSENT : HISTORY_PRESENT, 0);
		break;
	case KVLOG_IF_PRESENT:
		guard(op, held ? HISTORY_PRESENT : HISTORY_ABSENT, 0);
		break;
	case KVLOG_IF_SEQ:
		if (if_seq == 0)
			guard(op, held ? HISTORY_ABSENT : HISTORY_PRESENT, 0);
		else
			guard(op, held ? HISTORY_SEQ : HISTORY_OTHER, if_seq);
		break;
	}
}

/* False if this was no value. */
static bool
guard_value(struct actor *a, struct history_op *op, const void *value,
    size_t len, uint64_t seq)
{
	guard(op, HISTORY_VALUE, seq);
	op->saw = value_id(value, len);
	if (seq != 0)
		a->seqs[op->key] = seq;
	if (op->saw != 0)
		return true;
	a->status = KVLOG_CORRUPT;
	(void)snprintf(a->err.text, sizeof a->err.text,
	    "key %u: %zu bytes that nobody wrote", op->key, len);
	return false;
}

static struct history_op *
begin(struct actor *a, size_t count, const char *call)
{
	struct history_op *ops = history_new(a->log, count, call);

	a->full = ops == NULL;
	memset(&a->err, 0, sizeof a->err);
	return ops;
}

/* A read's result other than its value. */
static bool
settle_read(struct actor *a, struct history_op *op, bool ok)
{
	if (a->status == KVLOG_NOTFOUND)
		guard(op, HISTORY_ABSENT, 0);
	else if (a->status != KVLOG_OK)
		ok = false;
	history_settle(op, 1, ok ? HISTORY_DONE : HISTORY_VOID);
	return ok;
}

/* Reads */

/* Of some key. */
static struct history_op *
begin_read(struct actor *a, const char *call, uint8_t *ret_key)
{
	struct history_op *op = begin(a, 1, call);

	if (op == NULL)
		return NULL;
	op->key = (uint32_t)rng_below(&a->rng, a->keys);
	*ret_key = key_byte(op->key);
	history_begin(a->log, op, 1);
	return op;
}

static bool
get(struct actor *a)
{
	uint8_t key, value[VALUE_MAX];
	struct history_op *op = begin_read(a, "get", &key);
	size_t len = 0;
	bool ok = true;

	if (op == NULL)
		return false;
	a->status = kvlog_get(a->db, &key, 1, value, sizeof value, &len);
	history_end(op, 1);
	if (a->status == KVLOG_OK)
		ok = guard_value(a, op, value, len, 0);
	return settle_read(a, op, ok);
}

/* Some keys in one call, each in a moment of its own. */
static bool
get_many(struct actor *a)
{
	struct kvlog_item items[ACTOR_KEYS_MAX] = {0};
	struct history_op *ops[ACTOR_KEYS_MAX];
	uint8_t keys[ACTOR_KEYS_MAX];
	struct kvlog_pin *pin = NULL;
	size_t wanted = 1 + (size_t)rng_below(&a->rng, a->keys), n;
	enum kvlog_status st, failed = KVLOG_OK;

	for (n = 0; n < wanted; n++) {
		ops[n] = begin_read(a, "get of many", &keys[n]);
		if (ops[n] == NULL)
			break;
		items[n].key = &keys[n];
		items[n].key_len = 1;
	}
	st = kvlog_pin_create(a->db, &pin);
	if (st == KVLOG_OK)
		st = kvlog_pin_get_many(pin, items, n);
	for (size_t i = 0; i < n; i++)
		history_end(ops[i], 1);
	for (size_t i = 0; i < n; i++) {
		bool ok = true;

		a->status = st != KVLOG_OK ? st : items[i].status;
		if (a->status == KVLOG_OK)
			ok = guard_value(a, ops[i], items[i].value,
			    items[i].value_len, items[i].seq);
		if (!settle_read(a, ops[i], ok))
			failed = a->status;
	}
	kvlog_pin_destroy(pin);
	if (failed != KVLOG_OK)
		a->status = failed;
	return failed == KVLOG_OK && n == wanted;
}

static bool
look_up(struct actor *a)
{
	uint8_t key;
	struct history_op *op = begin_read(a, "lookup", &key);
	struct kvlog_info info = {0};

	if (op == NULL)
		return false;
	a->status = kvlog_lookup(a->db, &key, 1, &info);
	history_end(op, 1);
	if (a->status == KVLOG_OK) {
		guard(op, HISTORY_SEQ, info.seq);
		a->seqs[op->key] = info.seq;
	}
	return settle_read(a, op, true);
}

static bool
exists(struct actor *a)
{
	uint8_t key;
	struct history_op *op = begin_read(a, "exists", &key);

	if (op == NULL)
		return false;
	a->status = kvlog_exists(a->db, &key, 1);
	history_end(op, 1);
	guard(op, HISTORY_PRESENT, 0);
	return settle_read(a, op, true);
}

bool
actor_look_anew(struct actor *a, const struct kvlog_options *options)
{
	uint8_t key, value[VALUE_MAX];
	struct history_op *op = begin_read(a, "open and get", &key);
	struct kvlog *db = NULL;
	size_t len = 0;
	bool ok = true;

	if (op == NULL)
		return false;
	a->status = kvlog_open(a->path, options, &db, &a->err);
	if (a->status == KVLOG_OK)
		a->status = kvlog_get(db, &key, 1, value, sizeof value, &len);
	history_end(op, 1);
	if (a->status == KVLOG_OK)
		ok = guard_value(a, op, value, len, 0);
	ok = settle_read(a, op, ok);
	(void)kvlog_close(db, NULL);
	return ok;
}

/* The present entry of a walk, whose key must be one of ours. */
static bool
note_entry(struct actor *a, struct history_op *ops, struct kvlog_iter *iter)
{
	struct kvlog_info info;
	size_t key_len = 0, len = 0;
	const uint8_t *key = kvlog_iter_key(iter, &key_len);
	const void *value = kvlog_iter_value(iter, &len);

	if (key_len != 1 || key[0] < key_byte(0) ||
	    key[0] >= key_byte(a->keys)) {
		a->status = KVLOG_CORRUPT;
		(void)snprintf(a->err.text, sizeof a->err.text,
		    "a key of %zu bytes that nobody wrote", key_len);
		return false;
	}
	kvlog_iter_info(iter, &info);
	return guard_value(a, &ops[key[0] - key_byte(0)], value, len, info.seq);
}

/* A walk shows the moment of its creation, however long it takes. */
bool
actor_walk(struct actor *a)
{
	struct history_op *ops = begin(a, a->keys, "walk");
	struct kvlog_iter *iter = NULL;
	bool ok = true;

	if (ops == NULL)
		return false;
	for (unsigned i = 0; i < a->keys; i++) {
		ops[i].key = i;
		guard(&ops[i], HISTORY_ABSENT, 0);
	}
	history_begin(a->log, ops, a->keys);
	a->status = kvlog_iter_create(a->db, "", 0, &iter);
	history_end(ops, a->keys);
	while (a->status == KVLOG_OK && ok) {
		a->status = kvlog_iter_next(iter);
		if (a->status == KVLOG_OK)
			ok = note_entry(a, ops, iter);
	}
	ok = ok && a->status == KVLOG_NOTFOUND;
	kvlog_iter_destroy(iter);
	history_settle(ops, a->keys, ok ? HISTORY_DONE : HISTORY_VOID);
	return ok;
}

bool
actor_look(struct actor *a)
{
	switch (rng_below(&a->rng, 10)) {
	case 0:
		return look_up(a);
	case 1:
		return exists(a);
	case 2:
		return actor_walk(a);
	case 3:
	case 4:
		return get_many(a);
	default:
		return get(a);
	}
}

/* Writes */

static struct kvlog_write
how_to_write(struct actor *a)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = &a->err;
	switch (rng_below(&a->rng, 64)) {
	case 0:
		how.durability = KVLOG_DURABILITY_COMMIT;
		break;
	case 1:
	case 2:
		how.durability = KVLOG_DURABILITY_INTERVAL;
		break;
	default:
		how.durability = KVLOG_DURABILITY_NONE;
	}
	return how;
}

static void
choose_condition(struct actor *a, uint32_t key, enum kvlog_condition *condition,
    uint64_t *if_seq)
{
	*condition = KVLOG_IF_ANY;
	*if_seq = 0;
	if (rng_below(&a->rng, 2) == 0)
		return;
	*condition = (enum kvlog_condition)rng_below(&a->rng, 4);
	if (*condition == KVLOG_IF_SEQ && rng_below(&a->rng, 8) > 0)
		*if_seq = a->seqs[key];
}

/* What became of a write, but for its guard. */
static bool
settle_write(struct actor *a, struct history_op *ops, size_t count,
    const struct kvlog_receipt *receipt)
{
	bool unknown = a->status == KVLOG_BUSY || a->status == KVLOG_TIMEOUT ||
		       a->status == KVLOG_BROKEN || a->status == KVLOG_IO;

	for (size_t i = 0; i < count && a->status == KVLOG_OK; i++)
		a->seqs[ops[i].key] = ops[i].seq = receipt->seq;
	if (a->status == KVLOG_OK || a->status == KVLOG_CONFLICT ||
	    a->status == KVLOG_NOTFOUND) {
		history_settle(ops, count, HISTORY_DONE);
		return true;
	}
	if (!unknown)
		history_settle(ops, count, HISTORY_VOID);
	return false;
}

static bool
put(struct actor *a, bool plain)
{
	struct history_op *op = begin(a, 1, "put");
	struct kvlog_write how = how_to_write(a);
	struct kvlog_receipt receipt = {0};
	uint8_t key, value[VALUE_MAX];
	size_t len;

	if (op == NULL)
		return false;
	op->key = (uint32_t)rng_below(&a->rng, a->keys);
	key = key_byte(op->key);
	if (!plain)
		choose_condition(a, op->key, &how.condition, &how.if_seq);
	op->writes = true;
	op->value = history_value(a->log, op);
	len = make_value(value, op->value);
	history_begin(a->log, op, 1);
	a->status = kvlog_put(a->db, &key, 1, value, len, &how, &receipt);
	history_end(op, 1);
	op->writes = a->status != KVLOG_CONFLICT;
	guard_condition(op, how.condition, how.if_seq, op->writes);
	return settle_write(a, op, 1, &receipt);
}

static bool
take(struct actor *a)
{
	struct history_op *op = begin(a, 1, "delete");
	struct kvlog_write how = how_to_write(a);
	struct kvlog_receipt receipt = {0};
	uint8_t key;

	if (op == NULL)
		return false;
	op->key = (uint32_t)rng_below(&a->rng, a->keys);
	key = key_byte(op->key);
	if (a->seqs[op->key] != 0 && rng_below(&a->rng, 3) == 0) {
		how.condition = KVLOG_IF_SEQ;
		how.if_seq = a->seqs[op->key];
	}
	op->writes = true;
	history_begin(a->log, op, 1);
	a->status = kvlog_delete(a->db, &key, 1, &how, &receipt);
	history_end(op, 1);
	op->writes = a->status != KVLOG_CONFLICT && a->status != KVLOG_NOTFOUND;
	if (a->status == KVLOG_NOTFOUND)
		guard(op, HISTORY_ABSENT, 0);
	else if (how.condition == KVLOG_IF_ANY)
		guard(op, HISTORY_PRESENT, 0);
	else
		guard_condition(op, how.condition, how.if_seq, op->writes);
	return settle_write(a, op, 1, &receipt);
}

/* A refused batch tells of one key only. */
static bool
settle_batch(struct actor *a, const struct kvlog_op *steps,
    struct history_op *ops, size_t count, size_t failed,
    const struct kvlog_receipt *receipt)
{
	if (a->status == KVLOG_CONFLICT) {
		ops[failed].writes = false;
		guard_condition(&ops[failed], steps[failed].condition,
		    steps[failed].if_seq, false);
		for (size_t i = 0; i < count; i++)
			if (i != failed)
				history_settle(&ops[i], 1, HISTORY_VOID);
		history_settle(&ops[failed], 1, HISTORY_DONE);
		return true;
	}
	for (size_t i = 0; i < count; i++)
		guard_condition(
		    &ops[i], steps[i].condition, steps[i].if_seq, true);
	return settle_write(a, ops, count, receipt);
}

static bool
batch(struct actor *a)
{
	size_t count = 2 + (size_t)rng_below(&a->rng, BATCH_MAX - 1),
	       failed = 0;
	struct history_op *ops;
	struct kvlog_op steps[BATCH_MAX] = {{0}};
	struct kvlog_write how = how_to_write(a);
	struct kvlog_receipt receipt = {0};
	uint8_t keys[BATCH_MAX], values[BATCH_MAX][VALUE_MAX];
	uint64_t first = rng_below(&a->rng, a->keys);

	if (count > a->keys)
		count = a->keys;
	ops = begin(a, count, "batch");
	if (ops == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		ops[i].key = (uint32_t)((first + i) % a->keys);
		ops[i].writes = true;
		keys[i] = key_byte(ops[i].key);
		steps[i].key = &keys[i];
		steps[i].key_len = 1;
		steps[i].type = KVLOG_OP_DELETE;
		if (rng_below(&a->rng, 5) < 3 || i == 0) {
			steps[i].type = KVLOG_OP_PUT;
			ops[i].value = history_value(a->log, &ops[i]);
			steps[i].value = values[i];
			steps[i].value_len =
			    make_value(values[i], ops[i].value);
		}
		if (rng_below(&a->rng, 3) == 0)
			choose_condition(a, ops[i].key, &steps[i].condition,
			    &steps[i].if_seq);
	}
	history_begin(a->log, ops, count);
	a->status = kvlog_apply(a->db, steps, count, &how, &receipt, &failed);
	history_end(ops, count);
	return settle_batch(a, steps, ops, count, failed, &receipt);
}

bool
actor_work(struct actor *a)
{
	if (!a->greeted) {
		a->greeted = put(a, true);
		return a->greeted;
	}
	switch (rng_below(&a->rng, 10)) {
	case 0:
	case 1:
	case 2:
		return put(a, false);
	case 3:
		return take(a);
	case 4:
		return batch(a);
	default:
		return actor_look(a);
	}
}
