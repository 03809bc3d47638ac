/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reads.c - look-ups and walks, held against the model.
 */
#include "run.h"

#include <string.h>

bool
same_value(const struct model_entry *e, const void *value, size_t len)
{
	return len == e->value->len &&
	       (len == 0 || memcmp(value, e->value->bytes, len) == 0);
}

void
check_get(struct run *run)
{
	const struct model_entry *e = present(run);
	struct kvlog *db = hold(run, run->at);
	struct kvlog_info info = {0};
	size_t len = SIZE_MAX;
	void *value = NULL;
	enum kvlog_status st;

	st = kvlog_get_alloc(db, run->key, run->key_len, &value, &len);
	expect(run, "get", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL && !same_value(e, value, len))
		note_wrong(run, "get: another value");
	if (st == KVLOG_OK)
		kvlog_free(value);
	st = kvlog_lookup(db, run->key, run->key_len, &info);
	expect(run, "lookup", st, e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (st == KVLOG_OK && e != NULL &&
	    (info.seq != e->seq || info.value_len != e->value->len ||
		info.expires_ms != e->expires_ms))
		note_wrong(run,
		    "lookup: commit %" PRIu64 " instead of %" PRIu64
		    ", or until %" PRIu64 " instead of %" PRIu64,
		    info.seq, e->seq, info.expires_ms, e->expires_ms);
}

void
check_small_buffer(struct run *run)
{
	const struct model_entry *e = present(run);
	struct kvlog *db = hold(run, run->at);
	uint8_t byte = 0x5a;
	size_t len = SIZE_MAX;
	enum kvlog_status st;

	st = kvlog_get(db, run->key, run->key_len, &byte, 1, &len);
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
	expect(run, "exists", kvlog_exists(db, run->key, run->key_len),
	    e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
}

static void
check_item(struct run *run, const struct kvlog_item *item)
{
	const struct model_entry *e =
	    model_find(here(run), item->key, item->key_len);

	e = e != NULL && is_shown(run, e) ? e : NULL;
	expect(run, "get of many", item->status,
	    e != NULL ? KVLOG_OK : KVLOG_NOTFOUND);
	if (run->wrong)
		return;
	if (e == NULL
		? item->value != NULL
		: !same_value(e, item->value, item->value_len) ||
		      item->seq != e->seq || item->expires_ms != e->expires_ms)
		note_wrong(run, "get of many: another value, number or time");
}

/* Of many keys in one call, of which some are equal and some not there. */
void
check_many(struct run *run, struct rng *rng)
{
	struct kvlog_item items[40] = {{.key = NULL}};
	size_t count = (size_t)rng_below(rng, 41);
	struct kvlog_pin *pin = NULL;

	for (size_t i = 0; i < count; i++) {
		uint8_t *key;

		make_key(run, rng);
		key = room(run->key_len);
		memcpy(key, run->key, run->key_len);
		items[i].key = key;
		items[i].key_len = run->key_len;
	}
	expect(run, "pin_create", kvlog_pin_create(hold(run, run->at), &pin),
	    KVLOG_OK);
	expect(run, "get of many", kvlog_pin_get_many(pin, items, count),
	    KVLOG_OK);
	for (size_t i = 0; i < count; i++) {
		if (!run->wrong)
			check_item(run, &items[i]);
		free((void *)(uintptr_t)items[i].key);
	}
	kvlog_pin_destroy(pin);
}

void
check_count(struct run *run)
{
	uint64_t count = UINT64_MAX;
	struct model shown;

	shown_here(run, &shown);
	expect(run, "count", kvlog_count(hold(run, run->at), &count), KVLOG_OK);
	if (count != shown.count)
		note_wrong(run, "bucket %u: count: %" PRIu64 " instead of %zu",
		    run->at, count, shown.count);
	model_fini(&shown);
}

void
check_all(struct run *run, struct kvlog *db)
{
	struct world shown, found;
	char why[MODEL_WHY_LEN];

	shown_world(run, &shown);
	if (!world_read(&found, db, why)) {
		note_wrong(run, "%s", why);
	} else if (!world_equal(&shown, &found)) {
		world_explain(&shown, &found, why);
		note_wrong(run, "%s", why);
	}
	world_fini(&found);
	world_fini(&shown);
}

/* Walks */

/* One, and what it is to show. */
struct walk {
	struct run *run;
	const struct model *shown;
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
	const struct model *model = w->shown;
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
	struct kvlog_info info = {0};

	kvlog_iter_info(w->iter, &info);
	if (key == NULL || key_len != e->key->len ||
	    memcmp(key, e->key->bytes, key_len) != 0)
		note_wrong(w->run, "walk: another key");
	else if ((w->range.flags & KVLOG_ITER_KEYS_ONLY) != 0
		     ? value != NULL
		     : value == NULL || !same_value(e, value, value_len))
		note_wrong(w->run, "walk: another value");
	else if ((e->seq != MODEL_ANY_SEQ && info.seq != e->seq) ||
		 info.expires_ms != e->expires_ms ||
		 info.value_len != e->value->len)
		note_wrong(w->run, "walk: another number, length or time");
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
		check_present(w, &w->shown->entries[i]);
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
		i = model_lower(w->shown, w->key, len);
		i = i < w->first ? w->first : i > w->end ? w->end : i;
		w->place = 2 * i;
	}
}

/* Some steps from a place on, some of them back; some such stretches.  txn:
 * NULL, or the one that handle is used in. */
static void
walk(struct run *run, struct rng *rng, bool seek, bool prefix,
    struct kvlog_txn *txn, struct kvlog *handle, const struct model *shown)
{
	struct walk w = {.run = run, .shown = shown};
	uint8_t *keys = room(3 * KEY_ROOM);
	enum kvlog_status st;

	w.from = keys;
	w.to = keys + KEY_ROOM;
	w.key = keys + 2 * KEY_ROOM;
	choose_range(&w, rng, prefix);
	find_range(&w);
	w.place = 2 * w.first;
	w.left = w.range.limit > 0 ? w.range.limit : UINT64_MAX;
	st = txn != NULL ? kvlog_txn_iter_open(txn, handle, &w.range, &w.iter)
			 : kvlog_iter_open(handle, &w.range, &w.iter);
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
	free(keys);
}

void
check_walk(struct run *run, struct rng *rng, bool seek, bool prefix)
{
	struct model shown;

	shown_here(run, &shown);
	walk(run, rng, seek, prefix, run->txn, hold(run, run->at), &shown);
	model_fini(&shown);
}

void
check_walk_in(struct run *run, struct rng *rng, struct kvlog_txn *txn,
    struct kvlog *handle, const struct model *shown)
{
	walk(run, rng, true, rng_below(rng, 2) == 0, txn, handle, shown);
}
