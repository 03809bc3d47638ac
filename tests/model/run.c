/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.c - the store of a run and its clock, the handles on its buckets, and
 * what is chosen for an operation.
 */
#include "config.h"

#include "run.h"

#include "store.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

void *
room(size_t size)
{
	void *p = malloc(size);

	if (p == NULL)
		abort();
	return p;
}

void
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

void
expect(struct run *run, const char *what, enum kvlog_status got,
    enum kvlog_status wanted)
{
	if (got != wanted)
		note_wrong(run, "%s: \"%s\" instead of \"%s\"", what,
		    kvlog_status_text(got), kvlog_status_text(wanted));
}

/* The clock */

static _Atomic uint64_t clock_ms;

static uint64_t
read_clock(void)
{
	return clock_ms;
}

void
rule_clock(void)
{
	static struct os_table clocked;

	clock_ms = CLOCK_START;
	clocked = *os;
	clocked.clock_ms = read_clock;
	os = &clocked;
}

uint64_t
clock_now(void)
{
	return clock_ms;
}

void
set_clock(struct run *run, uint64_t ms)
{
	clock_ms = ms;
	run->latest_ms = ms > run->latest_ms ? ms : run->latest_ms;
}

void
step_clock(struct run *run, struct rng *rng, bool back)
{
	const struct model *model = here(run);
	uint64_t now = clock_ms, to = now + 1 + rng_below(rng, 20);

	switch (rng_below(rng, 8)) {
	case 0:
	case 1:
		to = now - rng_below(rng, 80);
		break;
	case 2:
		to = now + rng_below(rng, 300);
		break;
	case 3: /* just when something expires, or just before */
		if (model->count > 0)
			to = model->entries[rng_below(rng, model->count)]
				 .expires_ms -
			     rng_below(rng, 2);
		if (to < now - 1000 || to > now + 1000)
			to = now;
		break;
	default:
		break;
	}
	set_clock(run, to < now && !back ? now : to);
}

uint64_t
now_ms(const struct run *run)
{
	return clock_ms > run->judged_ms ? clock_ms : run->judged_ms;
}

/*
 * What compactions have noted in the files is found out, not foretold.  But it
 * never goes back, not by any opening either, and is no time that the clock has
 * not shown since; and without anything that expires there is nothing to judge.
 * A background thread may note at any time, but then the clock only goes
 * forward, so that it is of no importance before the next opening.
 */
void
learn_judged(struct run *run)
{
	uint64_t judged;

	if (run->db == NULL || (run->threaded && run->txn != NULL))
		return;
	judged = run->db->store->views.view->set->now_ms;
	if (judged < run->judged_ms)
		note_wrong(run, "judged by %" PRIu64 " after %" PRIu64, judged,
		    run->judged_ms);
	else if (judged > run->judged_ms &&
		 (judged > run->latest_ms || !run->gen->expiry))
		note_wrong(
		    run, "judged by %" PRIu64 ", which never was", judged);
	run->judged_ms = judged;
	if (!run->judging)
		run->latest_ms = clock_ms;
}

/* Opening and closing */

/* Either, but the same again if this operation is repeated. */
enum kvlog_index_mode
choose_mode(const struct run *run, uint64_t salt)
{
	return rng_mix(run->seed + salt) % 2 == 0 ? KVLOG_INDEX_MEMORY
						  : KVLOG_INDEX_HINTS;
}

void
open_run(struct run *run, unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	uint64_t dice = rng_mix(run->seed + 3);

	/* Half of the real handles have the background thread. */
	o.flags = flags;
	run->threaded = run->real && dice % 2 != 0;
	if (!run->threaded)
		o.flags |= KVLOG_OPEN_NOTHREAD;
	o.durability =
	    dice % 3 == 0 ? KVLOG_DURABILITY_NONE : KVLOG_DURABILITY_INTERVAL;
	o.interval_ms = 5;
	o.segment_size = run->gen->segment_size;
	o.index_mode = choose_mode(run, 0);
	/* Some compact by themselves. */
	if (dice % 5 < 2)
		o.compact_bytes = 3 * run->gen->segment_size;
	if (run->real) /* the simulated machine has one thread */
		o.load_threads = (uint32_t)(dice >> 32) % 4;
	if (kvlog_open(run->path, &o, &run->db, &err) != KVLOG_OK) {
		note_wrong(run, "open: %s", err.text);
		run->db = NULL;
	}
	learn_judged(run);
}

static void
let_go(struct run *run, struct held *held)
{
	if (held->db != NULL)
		expect(run, "close of a bucket", kvlog_close(held->db, NULL),
		    KVLOG_OK);
	*held = (struct held){0};
}

void
close_run(struct run *run, struct rng *rng)
{
	end_sights(run, rng, false);
	for (unsigned i = 0; i < HELD_COUNT; i++)
		let_go(run, &run->held[i]);
	if (run->db != NULL)
		expect(run, "close", kvlog_close(run->db, NULL), KVLOG_OK);
	run->db = NULL;
}

/* The bucket at hand */

void
choose_bucket(struct run *run, struct rng *rng)
{
	run->at = (unsigned)rng_below(rng, WORLD_BUCKETS);
	if (!run->world.buckets[run->at].there)
		run->at = 0;
}

struct model *
here(struct run *run)
{
	return &run->world.buckets[run->at].keys;
}

static bool
is_there(const struct run *run, uint64_t serial)
{
	for (unsigned i = 1; i < WORLD_BUCKETS; i++)
		if (run->world.buckets[i].there &&
		    run->world.buckets[i].serial == serial)
			return true;
	return false;
}

/* A free place, or that of one that was dropped. */
static struct held *
find_place(struct run *run)
{
	struct held *place = NULL;

	for (unsigned i = 0; i < HELD_COUNT; i++) {
		struct held *h = &run->held[i];

		if (h->db == NULL)
			return h;
		if (!is_there(run, h->serial))
			place = h;
	}
	let_go(run, place);
	return place;
}

struct kvlog *
hold(struct run *run, unsigned bucket)
{
	const struct world_name *name = &world_names[bucket];
	const struct world_bucket *b = &run->world.buckets[bucket];
	struct held *place;
	uint64_t seq;
	uint32_t ordinal;

	if (bucket == 0)
		return run->db;
	for (unsigned i = 0; i < HELD_COUNT; i++)
		if (run->held[i].db != NULL && run->held[i].serial == b->serial)
			return run->held[i].db;
	place = find_place(run);
	place->serial = b->serial;
	expect(run, "open a bucket",
	    run->txn != NULL ? kvlog_txn_bucket_open(run->txn, name->bytes,
				   name->len, 0, &place->db, NULL)
			     : kvlog_bucket_open(run->db, name->bytes,
				   name->len, 0, &place->db, NULL),
	    KVLOG_OK);
	if (place->db == NULL)
		return NULL; /* refused by all that is done with it */
	kvlog_bucket_id(place->db, &seq, &ordinal);
	if ((b->seq != MODEL_ANY_SEQ && seq != b->seq) || ordinal != b->ordinal)
		note_wrong(run, "bucket %u is %" PRIu64 ", %u", bucket, seq,
		    (unsigned)ordinal);
	return place->db;
}

struct kvlog *
hold_dropped(struct run *run, struct rng *rng)
{
	size_t from = (size_t)rng_below(rng, HELD_COUNT);

	for (unsigned i = 0; i < HELD_COUNT; i++) {
		struct held *h = &run->held[(from + i) % HELD_COUNT];

		if (h->db != NULL && !is_there(run, h->serial))
			return h->db;
	}
	return NULL;
}

bool
is_shown(const struct run *run, const struct model_entry *e)
{
	return e->expires_ms == 0 ||
	       e->expires_ms > (run->txn != NULL ? run->txn_now : now_ms(run));
}

const struct model_entry *
present(struct run *run)
{
	const struct model_entry *e =
	    model_find(here(run), run->key, run->key_len);

	return e != NULL && is_shown(run, e) ? e : NULL;
}

static void
take_out(struct run *run, struct model *model)
{
	for (size_t i = model->count; i-- > 0;) {
		const struct blob *key = model->entries[i].key;

		if (!is_shown(run, &model->entries[i]))
			(void)model_delete(model, key->bytes, key->len);
	}
}

void
shown_here(struct run *run, struct model *to)
{
	*to = (struct model){0};
	model_copy(to, here(run));
	take_out(run, to);
}

void
shown_world(struct run *run, struct world *to)
{
	world_copy(to, &run->world);
	for (unsigned i = 0; i < WORLD_BUCKETS; i++)
		take_out(run, &to->buckets[i].keys);
}

/* Keys, values, and how to write */

void
make_key(struct run *run, struct rng *rng)
{
	const struct model *model = here(run);

	/* Half of the time one that is there, if possible. */
	if (model->count > 0 && rng_below(rng, 2) == 0) {
		const struct blob *key =
		    model->entries[rng_below(rng, model->count)].key;

		run->key_len = key->len;
		memcpy(run->key, key->bytes, key->len);
		return;
	}
	run->key_len = run->gen->make(rng, run->key);
}

void
make_value(struct run *run, struct rng *rng)
{
	uint64_t dice = rng_below(rng, 10);
	char text[32];

	if (dice == 2) { /* a number */
		run->value_len = (size_t)snprintf(text, sizeof text, "%" PRId64,
		    (int64_t)rng_next(rng) >> 4 * rng_below(rng, 16));
		memcpy(run->value, text, run->value_len);
		return;
	}
	run->value_len = dice == 0   ? 0
			 : dice == 1 ? run->gen->value_max
				     : (size_t)rng_below(
					   rng, run->gen->value_max / dice + 1);
	rng_fill(rng, run->value, run->value_len);
}

uint64_t
choose_expiry(const struct run *run, struct rng *rng)
{
	uint64_t now = clock_ms;

	if (!run->gen->expiry)
		return 0;
	switch (rng_below(rng, 12)) {
	case 0:
	case 1:
		return now + 1 + rng_below(rng, 40);
	case 2:
		return now + 1 + rng_below(rng, 1000);
	case 3: /* about now: over already, or not */
		return now - 3 + rng_below(rng, 6);
	case 4:
		return rng_below(rng, 2) == 0 ? 1 : UINT64_MAX;
	default:
		return 0;
	}
}

enum kvlog_durability
choose_durability(struct rng *rng)
{
	uint64_t dice = rng_below(rng, 50);

	return dice == 0   ? KVLOG_DURABILITY_COMMIT
	       : dice < 20 ? KVLOG_DURABILITY_NONE
			   : KVLOG_DURABILITY_DEFAULT;
}

void
choose_condition(struct run *run, struct rng *rng,
    enum kvlog_condition *ret_condition, uint64_t *ret_seq)
{
	const struct model_entry *e = present(run);

	*ret_condition = (enum kvlog_condition)rng_below(rng, 4);
	*ret_seq = rng_below(rng, 2) == 0 ? (e != NULL ? e->seq : 0)
					  : rng_below(rng, run->max_seq + 2);
}

bool
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

void
check_receipt(struct run *run, const struct kvlog_receipt *receipt)
{
	if (receipt->seq <= run->max_seq)
		note_wrong(run, "number %" PRIu64 " after %" PRIu64,
		    receipt->seq, run->max_seq);
	run->max_seq = receipt->seq;
}
