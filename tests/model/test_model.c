/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_model.c - random operations, done to a store and to the model, which
 * must agree after each of them.
 *
 * Segments are of 8 KiB (or of 64 KiB, for long values), so that they roll
 * over all the time.  Each opening has its index in memory or in the hints, as
 * it comes (INV-11).  Each list runs on the simulated machine, and a shorter
 * one on the real system, in a directory of its own, with the background
 * thread.  The list of operations follows from the seed alone.  When they
 * disagree, the list is shrunk: parts of it are left out, halves first, as long
 * as what is left still fails; then seed and operations are printed.
 *
 * KVLOG_SEED=n        repeats a run
 * KVLOG_MODEL_OPS=n   operations per key generator (a twentieth of them on the
 *                     real system, where they wait for the disk)
 */
#include "model.h"
#include "rng.h"
#include "simos.h"
#include "test.h"
#include "tmpdir.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPS_DEFAULT 8000
#define CHECK_ALL_EVERY 97 /* operations between two whole comparisons */
#define BATCH_MAX 8
#define SHRINK_TRIES 300

enum op_type {
	OP_PUT,
	OP_DELETE,
	OP_GET,
	OP_LOOKUP,
	OP_PUT_IF,
	OP_DELETE_IF,
	OP_BATCH,
	OP_WALK,
	OP_SEEK,
	OP_PREFIX,
	OP_SYNC,
	OP_MAINTAIN,
	OP_REOPEN,
	OP_COMPACT,
	OP_BACKUP,
	OP_SWITCH,
	OP_KILL,
	OP_READER,
	OP_STATS,
	OP_WRONG,
	OP_TYPES
};

static const struct {
	const char *name;
	unsigned weight;
} op_types[OP_TYPES] = {
    [OP_PUT] = {"put", 300},
    [OP_DELETE] = {"delete", 100},
    [OP_GET] = {"get", 200},
    [OP_LOOKUP] = {"lookup", 50},
    [OP_PUT_IF] = {"conditional put", 60},
    [OP_DELETE_IF] = {"conditional delete", 30},
    [OP_BATCH] = {"batch", 60},
    [OP_WALK] = {"walk", 8},
    [OP_SEEK] = {"seek", 20},
    [OP_PREFIX] = {"prefix", 20},
    [OP_SYNC] = {"sync", 10},
    [OP_MAINTAIN] = {"maintain", 30},
    [OP_REOPEN] = {"reopen", 6},
    [OP_COMPACT] = {"compact", 6},
    [OP_BACKUP] = {"backup", 6},
    [OP_SWITCH] = {"go on in a backup", 2},
    [OP_KILL] = {"kill", 6},
    [OP_READER] = {"reader", 6},
    [OP_STATS] = {"stats", 10},
    [OP_WRONG] = {"wrong arguments", 5},
};

/* One operation: everything else follows from its own seed and from the
 * state, so that any part of a list can be run. */
struct op {
	enum op_type type;
	uint64_t seed;
};

/* Keys: how they are made decides what collides, sorts, and fills leaves. */
#define KEY_ROOM KVLOG_KEY_MAX

static size_t
key_few(struct rng *rng, uint8_t *key)
{
	return (size_t)snprintf(
	    (char *)key, 20, "key-%02u", (unsigned)rng_below(rng, 20));
}

/* More than a block of a hint holds, parted by longer strings than fit. */
static size_t
key_shared_prefix(struct rng *rng, uint8_t *key)
{
	size_t len = 100 + (size_t)rng_below(rng, 3) * 100;

	memset(key, 'p', len);
	return len + (size_t)snprintf((char *)key + len, 20, "%u",
			 (unsigned)rng_below(rng, 200));
}

static size_t
key_one_byte(struct rng *rng, uint8_t *key)
{
	key[0] = (uint8_t)rng_next(rng);
	return 1;
}

static size_t
key_binary(struct rng *rng, uint8_t *key)
{
	size_t len = 1 + (size_t)rng_below(rng, 5);

	for (size_t i = 0; i < len; i++)
		key[i] = (uint8_t)("\x00\x01\x7f\x80\xff"[rng_below(rng, 5)]);
	return len;
}

/* Also the longest possible; alike up to the last bytes. */
static size_t
key_long(struct rng *rng, uint8_t *key)
{
	static const size_t lens[] = {
	    KVLOG_KEY_MAX, KVLOG_KEY_MAX - 1, 4096, 996, 995, 512, 1};
	size_t len = lens[rng_below(rng, sizeof lens / sizeof lens[0])];

	memset(key, 'L', len);
	key[len - 1] = (uint8_t)('0' + rng_below(rng, 6));
	return len;
}

static size_t
key_many(struct rng *rng, uint8_t *key)
{
	return (size_t)snprintf(
	    (char *)key, 30, "%u", (unsigned)rng_below(rng, 100000));
}

static const struct generator {
	const char *name;
	size_t (*make)(struct rng *rng, uint8_t *key);
	uint64_t segment_size;
	size_t value_max;
	unsigned share; /* percent of the operations */
} generators[] = {
    {"few keys", key_few, 8192, 600, 100},
    {"shared prefix", key_shared_prefix, 8192, 300, 100},
    {"one byte", key_one_byte, 8192, 100, 100},
    {"binary", key_binary, 8192, 5000, 100},
    {"long", key_long, 65536, 3000, 20},
    {"many", key_many, 16384, 50, 100},
    {"large values", key_few, 65536, 300000, 10},
};
#define GENERATORS ((int)(sizeof generators / sizeof generators[0]))

/* A backup, and what it holds. */
struct saved {
	bool made;
	unsigned name; /* each has one of its own */
	struct model model;
	uint64_t max_seq;
};
#define SAVED_COUNT 2u

/* A run. */
struct run {
	const struct generator *gen;
	bool real; /* not the simulated machine */
	char *dir; /* there */
	char path[4200];
	struct kvlog *db;
	struct model model;
	uint64_t max_seq;
	struct saved saved[SAVED_COUNT];
	unsigned last_name;
	uint8_t key[KEY_ROOM];
	size_t key_len;
	uint8_t *value; /* gen->value_max bytes */
	size_t value_len;
	size_t op;  /* number of the present one */
	bool wrong; /* they disagree */
	char why[MODEL_WHY_LEN + 100];
};

static void ATTR_PRINTF(2, 3)
    note_wrong(struct run *run, const char *format, ...)
{
	va_list args;

	if (run->wrong)
		return;
	run->wrong = true;
	va_start(args, format);
	(void)vsnprintf(run->why, sizeof run->why, format, args);
	va_end(args);
}

static void
expect(struct run *run, const char *what, enum kvlog_status got,
    enum kvlog_status wanted)
{
	if (got != wanted)
		note_wrong(run, "%s: \"%s\" instead of \"%s\"", what,
		    kvlog_status_text(got), kvlog_status_text(wanted));
}

/* Either, but the same again if this operation is repeated. */
static enum kvlog_index_mode
choose_mode(const struct run *run, uint64_t salt)
{
	return rng_mix(run->op ^ salt << 32) % 2 == 0 ? KVLOG_INDEX_MEMORY
						      : KVLOG_INDEX_HINTS;
}

static void
open_run(struct run *run, unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};

	/* Half of the real handles have the background thread. */
	o.flags = flags;
	if (!run->real || run->op % 2 == 0)
		o.flags |= KVLOG_OPEN_NOTHREAD;
	o.durability = run->op % 3 == 0 ? KVLOG_DURABILITY_NONE
					: KVLOG_DURABILITY_INTERVAL;
	o.interval_ms = 5;
	o.segment_size = run->gen->segment_size;
	o.index_mode = choose_mode(run, 0);
	if (run->real) /* the simulated machine has one thread */
		o.load_threads = (uint32_t)(run->op % 4);
	if (kvlog_open(run->path, &o, &run->db, &err) != KVLOG_OK) {
		note_wrong(run, "open: %s", err.text);
		run->db = NULL;
	}
}

static void
close_run(struct run *run)
{
	if (run->db != NULL)
		expect(run, "close", kvlog_close(run->db, NULL), KVLOG_OK);
	run->db = NULL;
}

static void
make_key(struct run *run, struct rng *rng)
{
	/* Half of the time one that is there, if possible. */
	if (run->model.count > 0 && rng_below(rng, 2) == 0) {
		const struct blob *key =
		    run->model.entries[rng_below(rng, run->model.count)].key;

		run->key_len = key->len;
		memcpy(run->key, key->bytes, key->len);
		return;
	}
	run->key_len = run->gen->make(rng, run->key);
}

static void
make_value(struct run *run, struct rng *rng)
{
	uint64_t dice = rng_below(rng, 10);

	run->value_len = dice == 0   ? 0
			 : dice == 1 ? run->gen->value_max
				     : (size_t)rng_below(
					   rng, run->gen->value_max / dice + 1);
	rng_fill(rng, run->value, run->value_len);
}

static const struct model_entry *
present(const struct run *run)
{
	return model_find(&run->model, run->key, run->key_len);
}

static void
check_receipt(struct run *run, const struct kvlog_receipt *receipt)
{
	if (receipt->seq <= run->max_seq)
		note_wrong(run, "number %" PRIu64 " after %" PRIu64,
		    receipt->seq, run->max_seq);
	run->max_seq = receipt->seq;
}

static void
check_get(struct run *run)
{
	const struct model_entry *e = present(run);
	struct kvlog_info info = {0};
	size_t len = SIZE_MAX;
	void *value = NULL;
	enum kvlog_status st;

	st = kvlog_get_alloc(run->db, run->key, run->key_len, &value, &len);
	expect(run, "get", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL &&
	    (len != e->value->len || memcmp(value, e->value->bytes, len) != 0))
		note_wrong(run, "get: another value");
	if (st == KVLOG_OK)
		kvlog_free(value);
	st = kvlog_lookup(run->db, run->key, run->key_len, &info);
	expect(run, "lookup", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL &&
	    (info.seq != e->seq || info.value_len != e->value->len))
		note_wrong(run,
		    "lookup: commit %" PRIu64 " instead of %" PRIu64, info.seq,
		    e->seq);
}

static void
check_small_buffer(struct run *run)
{
	const struct model_entry *e = present(run);
	uint8_t byte = 0x5a;
	size_t len = SIZE_MAX;
	enum kvlog_status st;

	st = kvlog_get(run->db, run->key, run->key_len, &byte, 1, &len);
	expect(run, "get into one byte", st,
	    e == NULL           ? KVLOG_NOTFOUND
	    : e->value->len > 1 ? KVLOG_TOOSMALL
				: KVLOG_OK);
	if (e != NULL && len != e->value->len)
		note_wrong(run, "get into one byte: length %zu", len);
	if (e == NULL && len != SIZE_MAX)
		note_wrong(run, "get: a length for an absent key");
	if ((e == NULL || e->value->len != 1) && byte != 0x5a)
		note_wrong(run, "get: the buffer was touched");
	expect(run, "exists", kvlog_exists(run->db, run->key, run->key_len),
	    e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
}

static void
check_all(struct run *run, struct kvlog *db)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why)) {
		note_wrong(run, "%s", why);
	} else if (!model_equal(&run->model, &found)) {
		model_explain(&run->model, &found, why);
		note_wrong(run, "%s", why);
	}
	model_fini(&found);
}

/* A walk against the model. */
struct walk {
	struct run *run;
	struct kvlog_iter *iter;
	struct kvlog_range range;
	uint8_t *from, *to, *key;
	size_t first, end; /* of the range, in the model */
	size_t place;      /* at entry i: 2 i + 1; before it: 2 i */
	uint64_t left;     /* of the limit */
};

/* Bounds, some of them none; the prefix is of the run's key. */
static void
choose_range(struct walk *w, struct rng *rng, bool prefix)
{
	struct kvlog_range *range = &w->range;
	const struct run *run = w->run;

	*range = (struct kvlog_range)KVLOG_RANGE_INIT;
	if (prefix) {
		range->prefix = run->key;
		range->prefix_len = 1 + (size_t)rng_below(rng, run->key_len);
	}
	if (rng_below(rng, 4) == 0) {
		range->from = w->from;
		range->from_len = run->gen->make(rng, w->from);
	}
	if (rng_below(rng, 4) == 0) {
		range->to = w->to;
		range->to_len = run->gen->make(rng, w->to);
	}
	if (rng_below(rng, 8) == 0)
		range->limit = 1 + rng_below(rng, 8);
	if (rng_below(rng, 8) == 0)
		range->flags = KVLOG_ITER_KEYS_ONLY;
}

static bool
has_prefix(const struct model_entry *e, const struct kvlog_range *range)
{
	return range->prefix_len == 0 ||
	       (e->key->len >= range->prefix_len &&
		   memcmp(e->key->bytes, range->prefix, range->prefix_len) ==
		       0);
}

/* The entries that are in the range. */
static void
find_range(struct walk *w)
{
	const struct model *model = &w->run->model;
	const struct kvlog_range *range = &w->range;
	size_t from = model_lower(model, range->from, range->from_len);
	size_t to = range->to != NULL
			? model_lower(model, range->to, range->to_len)
			: model->count;

	w->first = model_lower(model, range->prefix, range->prefix_len);
	w->end = w->first;
	while (
	    w->end < model->count && has_prefix(&model->entries[w->end], range))
		w->end++;
	w->first = from > w->first ? from : w->first;
	w->end = to < w->end ? to : w->end;
	w->end = w->end < w->first ? w->first : w->end;
}

static void
check_present(struct walk *w, const struct model_entry *e)
{
	size_t key_len = 0, value_len = 0;
	const void *key = kvlog_iter_key(w->iter, &key_len);
	const void *value = kvlog_iter_value(w->iter, &value_len);

	if (key == NULL || key_len != e->key->len ||
	    memcmp(key, e->key->bytes, key_len) != 0)
		note_wrong(w->run, "walk: another key");
	else if ((w->range.flags & KVLOG_ITER_KEYS_ONLY) != 0
		     ? value != NULL
		     : value == NULL || value_len != e->value->len ||
			   memcmp(value, e->value->bytes, value_len) != 0)
		note_wrong(w->run, "walk: another value");
}

static void
check_step(struct walk *w, bool back)
{
	size_t i = back ? w->place / 2 : (w->place + 1) / 2; /* beyond it */
	bool more = (back ? i > w->first : i < w->end) && w->left > 0;
	enum kvlog_status st =
	    back ? kvlog_iter_prev(w->iter) : kvlog_iter_next(w->iter);

	expect(w->run, back ? "iter_prev" : "iter_next", st,
	    more ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && more) {
		i -= back;
		check_present(w, &w->run->model.entries[i]);
		w->place = 2 * i + 1;
		w->left--;
	} else if (w->left > 0) {
		w->place = 2 * (back ? w->first : w->end);
	}
}

static void
check_move(struct walk *w, struct rng *rng)
{
	size_t len, i;

	w->left = w->range.limit > 0 ? w->range.limit : UINT64_MAX;
	switch (rng_below(rng, 4)) {
	case 0:
		expect(
		    w->run, "iter_first", kvlog_iter_first(w->iter), KVLOG_OK);
		w->place = 2 * w->first;
		break;
	case 1:
		expect(w->run, "iter_last", kvlog_iter_last(w->iter), KVLOG_OK);
		w->place = 2 * w->end;
		break;
	default:
		len = w->run->gen->make(rng, w->key);
		expect(w->run, "iter_seek",
		    kvlog_iter_seek(w->iter, w->key, len), KVLOG_OK);
		i = model_lower(&w->run->model, w->key, len);
		i = i < w->first ? w->first : i > w->end ? w->end : i;
		w->place = 2 * i;
	}
}

/* Some steps from a place on, some of them back; some such stretches. */
static void
check_walk(struct run *run, struct rng *rng, bool seek, bool prefix)
{
	struct walk w = {.run = run};
	uint8_t *room = malloc(3 * KEY_ROOM);
	enum kvlog_status st;

	w.from = room;
	w.to = room + KEY_ROOM;
	w.key = room + 2 * KEY_ROOM;
	choose_range(&w, rng, prefix);
	find_range(&w);
	w.place = 2 * w.first;
	w.left = w.range.limit > 0 ? w.range.limit : UINT64_MAX;
	st = kvlog_iter_open(run->db, &w.range, &w.iter);
	expect(run, "iter_open", st, KVLOG_OK);
	for (unsigned i = 0; i < 4 && !run->wrong; i++) {
		unsigned steps = (unsigned)rng_below(rng, 20);
		bool back = rng_below(rng, 3) == 0;

		if (seek && rng_below(rng, 2) == 0)
			check_move(&w, rng);
		while (steps-- > 0 && !run->wrong)
			check_step(&w, back);
	}
	if (st == KVLOG_OK)
		kvlog_iter_destroy(w.iter);
	free(room);
}

/* Whether a condition holds. */
static bool
holds(const struct model_entry *e, enum kvlog_condition condition, uint64_t seq)
{
	switch (condition) {
	case KVLOG_IF_ANY:
		break;
	case KVLOG_IF_ABSENT:
		return e == NULL;
	case KVLOG_IF_PRESENT:
		return e != NULL;
	case KVLOG_IF_SEQ:
		return (e != NULL ? e->seq : 0) == seq;
	}
	return true;
}

static void
choose_condition(struct run *run, struct rng *rng,
    enum kvlog_condition *ret_condition, uint64_t *ret_seq)
{
	const struct model_entry *e = present(run);

	*ret_condition = (enum kvlog_condition)rng_below(rng, 4);
	*ret_seq = rng_below(rng, 2) == 0 ? (e != NULL ? e->seq : 0)
					  : rng_below(rng, run->max_seq + 2);
}

static enum kvlog_durability
choose_durability(struct rng *rng)
{
	uint64_t dice = rng_below(rng, 50);

	return dice == 0   ? KVLOG_DURABILITY_COMMIT
	       : dice < 20 ? KVLOG_DURABILITY_NONE
			   : KVLOG_DURABILITY_DEFAULT;
}

static void
do_put(struct run *run, struct rng *rng, bool conditional)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	enum kvlog_status st;
	bool held;

	make_value(run, rng);
	how.durability = choose_durability(rng);
	if (conditional)
		choose_condition(run, rng, &how.condition, &how.if_seq);
	held = holds(present(run), how.condition, how.if_seq);
	st = kvlog_put(run->db, run->key, run->key_len, run->value,
	    run->value_len, &how, &receipt);
	expect(run, "put", st, held ? KVLOG_OK : KVLOG_CONFLICT);
	if (st != KVLOG_OK)
		return;
	check_receipt(run, &receipt);
	model_put(&run->model, run->key, run->key_len, run->value,
	    run->value_len, receipt.seq);
}

static void
do_delete(struct run *run, struct rng *rng, bool conditional)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	const struct model_entry *e = present(run);
	enum kvlog_status st;
	bool held;

	how.durability = choose_durability(rng);
	if (conditional)
		choose_condition(run, rng, &how.condition, &how.if_seq);
	held = holds(e, how.condition, how.if_seq);
	st = kvlog_delete(run->db, run->key, run->key_len, &how, &receipt);
	expect(run, "delete", st,
	    !held       ? KVLOG_CONFLICT
	    : e == NULL ? KVLOG_NOTFOUND
			: KVLOG_OK);
	if (st != KVLOG_OK)
		return;
	check_receipt(run, &receipt);
	(void)model_delete(&run->model, run->key, run->key_len);
}

static void
do_batch(struct run *run, struct rng *rng)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_op ops[BATCH_MAX];
	struct model after = {0};
	size_t count = 1 + (size_t)rng_below(rng, BATCH_MAX);
	size_t failed = SIZE_MAX, expected = SIZE_MAX;
	bool conditional = rng_below(rng, 3) == 0;
	enum kvlog_status st;

	model_copy(&after, &run->model);
	how.durability = choose_durability(rng);
	memset(ops, 0, sizeof ops);
	for (size_t i = 0; i < count; i++) {
		struct kvlog_op *op = &ops[i];
		uint8_t *key = malloc(KEY_ROOM), *value = NULL;

		make_key(run, rng);
		if (conditional)
			choose_condition(run, rng, &op->condition, &op->if_seq);
		if (expected == SIZE_MAX &&
		    !holds(present(run), op->condition, op->if_seq))
			expected = i;
		ck_assert_ptr_nonnull(key);
		memcpy(key, run->key, run->key_len);
		op->key = key;
		op->key_len = run->key_len;
		op->type = KVLOG_OP_DELETE;
		if (rng_below(rng, 3) > 0) {
			make_value(run, rng);
			value = malloc(run->value_len + 1);
			ck_assert_ptr_nonnull(value);
			memcpy(value, run->value, run->value_len);
			op->type = KVLOG_OP_PUT;
			op->value = value;
			op->value_len = run->value_len;
			model_put(&after, key, op->key_len, value,
			    op->value_len, MODEL_ANY_SEQ);
		} else {
			(void)model_delete(&after, key, op->key_len);
		}
	}
	st = kvlog_apply(run->db, ops, count, &how, &receipt, &failed);
	expect(
	    run, "apply", st, expected == SIZE_MAX ? KVLOG_OK : KVLOG_CONFLICT);
	if (failed != expected)
		note_wrong(run, "apply: step %zu does not hold, not %zu",
		    failed, expected);
	if (st == KVLOG_OK) {
		check_receipt(run, &receipt);
		model_set_seq(&after, receipt.seq);
		model_fini(&run->model);
		run->model = after;
	} else {
		model_fini(&after);
	}
	for (size_t i = 0; i < count; i++) {
		free((void *)(uintptr_t)ops[i].key);
		free((void *)(uintptr_t)ops[i].value);
	}
}

/* What may never be: refused, and without effect. */
static void
do_wrong(struct run *run)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	size_t failed = SIZE_MAX;
	struct kvlog_op op = {
	    KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "k", 0, "v", 1, 0, NULL};

	expect(run, "put of an empty key",
	    kvlog_put(run->db, "k", 0, "v", 1, NULL, NULL), KVLOG_INVAL);
	expect(run, "put of too long a key",
	    kvlog_put(run->db, run->key, KVLOG_KEY_MAX + 1, "v", 1, NULL, NULL),
	    KVLOG_TOOBIG);
	expect(run, "get of an empty key",
	    kvlog_get(run->db, "k", 0, NULL, 0, NULL), KVLOG_INVAL);
	expect(run, "batch with an empty key",
	    kvlog_apply(run->db, &op, 1, NULL, NULL, &failed), KVLOG_INVAL);
	if (failed != 0)
		note_wrong(run, "apply: step %zu is wrong", failed);
	how.size--;
	expect(run, "put with another struct",
	    kvlog_put(run->db, "k", 1, "v", 1, &how, NULL), KVLOG_INVAL);
	if (run->max_seq != 0 && kvlog_last_seq(run->db) < run->max_seq)
		note_wrong(run, "last_seq went back");
}

/* Kill the process, which is all of it there is on the simulated machine. */
static void
do_simulated_kill(struct run *run)
{
	simos_kill();
	simos_forget();
	open_run(run, 0);
	if (run->db != NULL)
		check_all(run, run->db);
}

/* A process that writes two records and dies; then open what it left. */
static void
do_kill(struct run *run, struct rng *rng)
{
	struct kvlog_receipt receipts[2];
	int fds[2], status = 0;
	pid_t pid;
	ssize_t n;

	if (!run->real) {
		do_simulated_kill(run);
		return;
	}
	close_run(run);
	make_key(run, rng);
	make_value(run, rng);
	if (pipe(fds) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		bool ok = true;

		memset(receipts, 0, sizeof receipts);
		open_run(run, 0);
		ok = run->db != NULL &&
		     kvlog_put(run->db, run->key, run->key_len, run->value,
			 run->value_len, NULL, &receipts[0]) == KVLOG_OK &&
		     kvlog_put(run->db, "second", 6, run->value,
			 run->value_len / 2, NULL, &receipts[1]) == KVLOG_OK;
		if (write(fds[1], receipts, sizeof receipts) !=
		    (ssize_t)sizeof receipts)
			_exit(2);
		_exit(ok ? 0 : 1); /* the handle is just left */
	}
	(void)close(fds[1]);
	n = read(fds[0], receipts, sizeof receipts);
	(void)close(fds[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 ||
	    n != (ssize_t)sizeof receipts) {
		note_wrong(
		    run, "the child could not write: status %#x", status);
		return;
	}
	check_receipt(run, &receipts[0]);
	check_receipt(run, &receipts[1]);
	model_put(&run->model, run->key, run->key_len, run->value,
	    run->value_len, receipts[0].seq);
	model_put(&run->model, "second", 6, run->value, run->value_len / 2,
	    receipts[1].seq);
	open_run(run, 0);
	if (run->db != NULL)
		check_all(run, run->db);
}

static void
do_reader(struct run *run)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *reader = NULL;

	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode = choose_mode(run, 1);
	if (kvlog_open(run->path, &o, &reader, &err) != KVLOG_OK) {
		note_wrong(run, "open for reading: %s", err.text);
		return;
	}
	check_all(run, reader);
	expect(run, "put by a reader",
	    kvlog_put(reader, "k", 1, "v", 1, NULL, NULL), KVLOG_READONLY);
	expect(run, "close of a reader", kvlog_close(reader, NULL), KVLOG_OK);
}

static void
check_stats(struct run *run)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_stats quick = {.size = sizeof quick, .quick = true};
	bool hints;

	expect(run, "stats", kvlog_stats_get(run->db, &stats), KVLOG_OK);
	expect(run, "quick stats", kvlog_stats_get(run->db, &quick), KVLOG_OK);
	if (run->wrong)
		return;
	hints = stats.index_mode == KVLOG_INDEX_HINTS;
	if (stats.record_count != run->model.count)
		note_wrong(run, "stats: %" PRIu64 " records instead of %zu",
		    stats.record_count, run->model.count);
	if (quick.record_count != (hints ? 0 : run->model.count))
		note_wrong(run, "quick stats: %" PRIu64 " records",
		    quick.record_count);
	if (stats.last_seq < run->max_seq)
		note_wrong(run, "stats: last_seq went back");
}

static void
do_sync(struct run *run)
{
	uint64_t last = kvlog_last_seq(run->db);

	expect(run, "sync", kvlog_sync(run->db), KVLOG_OK);
	if (kvlog_durable_seq(run->db) < last)
		note_wrong(run, "sync: durable_seq is less than last_seq");
	expect(run, "wait_durable", kvlog_wait_durable(run->db, last, 0),
	    KVLOG_OK);
}

static void
do_maintain(struct run *run, struct rng *rng)
{
	unsigned steps = (unsigned)rng_below(rng, 6);
	bool more = true;

	while (steps-- > 0 && more)
		expect(run, "maintain", kvlog_maintain(run->db, 0, &more),
		    KVLOG_OK);
}

static void
do_compact(struct run *run, struct rng *rng)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report forecast = {.size = sizeof forecast};
	struct kvlog_compact_report report = {.size = sizeof report};
	enum kvlog_status st;

	o.flags = rng_below(rng, 2) == 0 ? KVLOG_COMPACT_ALL : 0;
	close_run(run);
	o.flags |= KVLOG_COMPACT_DRY_RUN;
	st = kvlog_compact_offline(run->path, &o, &forecast, NULL);
	expect(run, "forecast", st, KVLOG_OK);
	o.flags &= ~KVLOG_COMPACT_DRY_RUN;
	st = kvlog_compact_offline(run->path, &o, &report, NULL);
	expect(run, "compact", st, KVLOG_OK);
	if (report.run_count != forecast.run_count ||
	    report.bytes_after != forecast.bytes_after ||
	    report.records_kept != forecast.records_kept)
		note_wrong(run, "compact: not as it was forecast");
	if (report.bytes_after > report.bytes_before &&
	    (o.flags & KVLOG_COMPACT_ALL) == 0)
		note_wrong(run,
		    "compact: from %" PRIu64 " to %" PRIu64 " bytes",
		    report.bytes_before, report.bytes_after);
	open_run(run, 0);
}

static void
forget_saved(struct run *run)
{
	for (unsigned i = 0; i < SAVED_COUNT; i++) {
		model_fini(&run->saved[i].model);
		run->saved[i] = (struct saved){.name = ++run->last_name};
	}
}

static void
saved_path(const struct run *run, const struct saved *saved, char *path)
{
	(void)snprintf(path, sizeof run->path, "%s/backup%u",
	    run->real ? run->dir : "", saved->name);
}

/* By a handle that reads or the one that writes, onto nothing or an earlier
 * one. */
static void
do_backup(struct run *run, struct rng *rng)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_backup_options how = KVLOG_BACKUP_OPTIONS_INIT;
	struct saved *saved = &run->saved[rng_below(rng, SAVED_COUNT)];
	struct kvlog_error err = {0};
	struct kvlog *reader = NULL, *copy = NULL;
	char path[sizeof run->path];
	bool by_reader = rng_below(rng, 3) == 0;

	how.flags = (unsigned)rng_below(rng, 2) * KVLOG_BACKUP_COPY;
	saved_path(run, saved, path);
	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode = choose_mode(run, 2);
	if (by_reader)
		expect(run, "open for reading",
		    kvlog_open(run->path, &o, &reader, NULL), KVLOG_OK);
	if (run->wrong)
		return;
	if (kvlog_backup(by_reader ? reader : run->db, path, &how, NULL,
		&err) != KVLOG_OK)
		note_wrong(run, "backup: %s", err.text);
	if (by_reader)
		expect(run, "close", kvlog_close(reader, NULL), KVLOG_OK);
	if (run->wrong || kvlog_open(path, &o, &copy, &err) != KVLOG_OK) {
		note_wrong(run, "open a backup: %s", err.text);
		return;
	}
	check_all(run, copy);
	expect(run, "close", kvlog_close(copy, NULL), KVLOG_OK);
	model_fini(&saved->model);
	saved->model = (struct model){0};
	model_copy(&saved->model, &run->model);
	saved->max_seq = run->max_seq;
	saved->made = true;
}

/* A backup is a store: here the store that it is of is left for it. */
static void
do_switch(struct run *run, struct rng *rng)
{
	struct saved *saved = &run->saved[rng_below(rng, SAVED_COUNT)];

	if (!saved->made)
		return;
	close_run(run);
	saved_path(run, saved, run->path);
	model_fini(&run->model);
	run->model = saved->model;
	run->max_seq = saved->max_seq;
	saved->model = (struct model){0};
	forget_saved(run);
	open_run(run, 0);
}

static void
do_op(struct run *run, const struct op *op)
{
	struct rng rng;
	uint64_t count = UINT64_MAX;

	rng_init(&rng, op->seed);
	make_key(run, &rng);
	switch (op->type) {
	case OP_PUT:
	case OP_PUT_IF:
		do_put(run, &rng, op->type == OP_PUT_IF);
		break;
	case OP_DELETE:
	case OP_DELETE_IF:
		do_delete(run, &rng, op->type == OP_DELETE_IF);
		break;
	case OP_GET:
		check_get(run);
		break;
	case OP_LOOKUP:
		check_small_buffer(run);
		break;
	case OP_BATCH:
		do_batch(run, &rng);
		break;
	case OP_WALK:
		check_walk(run, &rng, false, false);
		break;
	case OP_SEEK:
		check_walk(run, &rng, true, false);
		break;
	case OP_PREFIX:
		check_walk(run, &rng, rng_below(&rng, 2) == 0, true);
		break;
	case OP_SYNC:
		do_sync(run);
		break;
	case OP_MAINTAIN:
		do_maintain(run, &rng);
		break;
	case OP_REOPEN:
		close_run(run);
		open_run(run, 0);
		break;
	case OP_COMPACT:
		do_compact(run, &rng);
		break;
	case OP_BACKUP:
		do_backup(run, &rng);
		break;
	case OP_SWITCH:
		do_switch(run, &rng);
		break;
	case OP_KILL:
		do_kill(run, &rng);
		break;
	case OP_READER:
		do_reader(run);
		break;
	case OP_STATS:
		check_stats(run);
		break;
	case OP_WRONG:
		do_wrong(run);
		break;
	case OP_TYPES:
		break;
	}
	if (run->db == NULL || run->wrong)
		return;
	expect(run, "count", kvlog_count(run->db, &count), KVLOG_OK);
	if (count != run->model.count)
		note_wrong(run, "count: %" PRIu64 " instead of %zu", count,
		    run->model.count);
	if (!run->wrong &&
	    (op->type == OP_REOPEN || op->type == OP_COMPACT ||
		op->type == OP_SWITCH || run->op % CHECK_ALL_EVERY == 0))
		check_all(run, run->db);
}

static void
make_ops(struct op *ops, size_t count, uint64_t seed)
{
	unsigned total = 0;
	struct rng rng;

	for (unsigned t = 0; t < OP_TYPES; t++)
		total += op_types[t].weight;
	rng_init(&rng, seed);
	for (size_t i = 0; i < count; i++) {
		uint64_t dice = rng_below(&rng, total);
		unsigned t = 0;

		for (; dice >= op_types[t].weight; t++)
			dice -= op_types[t].weight;
		ops[i].type = (enum op_type)t;
		ops[i].seed = rng_next(&rng);
	}
}

/* Run a list on a store of its own; true if store and model agree.  Else
 * *ret_op is the operation, and why says what is wrong. */
static bool
run_ops(const struct generator *gen, bool real, const struct op *ops,
    size_t count, size_t *ret_op, char *why)
{
	struct run *run = calloc(1, sizeof *run);
	bool ok;

	ck_assert_ptr_nonnull(run);
	run->gen = gen;
	run->real = real;
	run->dir = real ? tmpdir_create() : NULL;
	if (!real)
		simos_init(ops[0].seed);
	run->value = malloc(gen->value_max + 1);
	ck_assert_ptr_nonnull(run->value);
	(void)snprintf(
	    run->path, sizeof run->path, "%s/db", real ? run->dir : "");
	forget_saved(run);
	open_run(run, KVLOG_OPEN_CREATE);
	for (; run->op < count && !run->wrong; run->op++)
		do_op(run, &ops[run->op]);
	if (!run->wrong) {
		check_all(run, run->db);
		close_run(run);
		open_run(run, KVLOG_OPEN_READONLY);
		if (!run->wrong)
			check_all(run, run->db);
	}
	close_run(run);
	if (!real && simos_leaks(stderr) != 0)
		note_wrong(run, "something leaks");
	ok = !run->wrong;
	*ret_op = run->op;
	(void)snprintf(why, sizeof run->why, "%s", run->why);
	forget_saved(run);
	model_fini(&run->model);
	tmpdir_remove(run->dir);
	if (!real)
		simos_fini();
	free(run->value);
	free(run);
	return ok;
}

/* Leave out what is not needed for the failure, in ever smaller parts. */
static size_t
shrink(const struct generator *gen, bool real, struct op *ops, size_t count,
    char *why)
{
	struct op *fewer = malloc(count * sizeof *ops);
	unsigned tries = 0;
	size_t failed;

	ck_assert_ptr_nonnull(fewer);
	for (size_t part = count / 2; part > 0; part /= 2) {
		size_t from = 0;

		while (from + part <= count && tries++ < SHRINK_TRIES) {
			memcpy(fewer, ops, from * sizeof *ops);
			memcpy(fewer + from, ops + from + part,
			    (count - from - part) * sizeof *ops);
			if (run_ops(
				gen, real, fewer, count - part, &failed, why)) {
				from += part;
				continue;
			}
			count = failed < count - part ? failed : count - part;
			memcpy(ops, fewer, count * sizeof *ops);
		}
	}
	free(fewer);
	return count;
}

static uint64_t seed;

static void
compare(const struct generator *gen, bool real)
{
	const char *text = getenv("KVLOG_MODEL_OPS");
	size_t count = text != NULL ? strtoul(text, NULL, 0) : OPS_DEFAULT;
	uint64_t run_seed = rng_mix(seed + (uint64_t)(gen - generators));
	char why[MODEL_WHY_LEN + 100], first_why[MODEL_WHY_LEN + 100];
	struct op *ops;
	size_t failed, left;

	count = count * gen->share / 100 / (real ? 20 : 1);
	ops = malloc((count + 1) * sizeof *ops);
	ck_assert_ptr_nonnull(ops);
	make_ops(ops, count, run_seed);
	if (run_ops(gen, real, ops, count, &failed, why)) {
		free(ops);
		return;
	}
	memcpy(first_why, why, sizeof why);
	printf("KVLOG_SEED=%" PRIu64 ": %s, operation %zu: %s\n", seed,
	    gen->name, failed, why);
	left = shrink(gen, real, ops, failed < count ? failed : count, why);
	printf("%zu operations are enough:\n", left);
	for (size_t i = 0; i < left; i++)
		printf("%4zu %s (%" PRIu64 ")\n", i, op_types[ops[i].type].name,
		    ops[i].seed);
	(void)run_ops(gen, real, ops, left, &failed, why);
	printf("then: %s\n", why);
	free(ops);
	ck_abort_msg("KVLOG_SEED=%" PRIu64 ", %s, operation %zu: %s", seed,
	    gen->name, failed, first_why);
}

START_TEST(store_agrees_with_model)
{
	compare(&generators[_i], false);
}
END_TEST

START_TEST(store_agrees_with_model_on_the_real_system)
{
	compare(&generators[_i], true);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("model");
	TCase *tc = tcase_create("model");

	seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	tcase_set_timeout(tc, getenv("KVLOG_MODEL_OPS") != NULL ? 36000 : 300);
	tcase_add_loop_test(tc, store_agrees_with_model, 0, GENERATORS);
	tcase_add_loop_test(
	    tc, store_agrees_with_model_on_the_real_system, 0, GENERATORS);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
