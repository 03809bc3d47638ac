/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history_search.c - is each key's history linearisable in any order?
 *
 * J. Wing and C. Gong's search ("Testing and verifying concurrent objects",
 * 1993) as G. Lowe made it fast ("Testing for linearizability", 2017): time is
 * walked through once with the set of all configurations, each a state of the
 * key and which of the running operations have taken effect.  Nothing takes
 * effect before it must: only when an operation ends are, in configurations
 * where it has not yet, running writes tried in all orders up to it.  Equal
 * configurations are one.  What only reads takes effect as soon as the state
 * suits it, which cannot hurt, as it changes nothing.
 *
 * An operation of unknown outcome may end without having taken effect.  Of two
 * writes whose sequence numbers are known the smaller one comes first.
 *
 * Where no configuration is left, the shortest time that shows it is looked
 * for: a window at whose begin the key may be in any state that was ever
 * written, and what began before may have taken effect or not.
 */
#include "config.h"

#include "history.h"
#include "rng.h"

#include <inttypes.h>

#define RUNNING_MAX 64 /* bits of a configuration */

/* A state is the last write that took effect; NULL: none. */
struct config {
	const struct history_op *state;
	uint64_t done; /* bit i: running[i] has taken effect */
};

struct configs {
	struct config *items;
	size_t count, cap;
	uint32_t *table; /* of item + 1, 2 * cap places, a power of two */
	uint64_t open;   /* bits of operations that need not take effect */
};

struct event {
	uint64_t at_ns;
	bool is_end;
	uint32_t op;
};

struct search {
	const struct history_op *running[RUNNING_MAX];
	unsigned width; /* slots that were ever in use */
	struct configs now, next;
	bool crowded;  /* too many operations ran at once */
	bool too_many; /* ways in which they may have happened */
};

/* Kills can leave more ways open than can be followed; the order of commit
 * numbers (history_order.c) judges such a key alone. */
#define CONFIGS_MAX 20000

/* Sets of configurations */

/* A table that was needed once, for many open operations, would have to be
 * cleared at each operation that follows. */
static void
configs_clear(struct configs *set)
{
	if (set->cap > 256 && set->count < set->cap / 8) {
		free(set->items);
		free(set->table);
		set->items = NULL;
		set->table = NULL;
		set->cap = 0;
	}
	set->count = 0;
	if (set->table != NULL)
		memset(set->table, 0, 2 * set->cap * sizeof *set->table);
}

/*
 * The place of c in the table, or the free one where it belongs.  One of the
 * same state that has used up fewer operations of unknown outcome does for c
 * as well: all that can follow c can follow it.  So those that many kills
 * left open do not multiply.
 */
static size_t
configs_place(const struct configs *set, struct config c)
{
	uint64_t hash = rng_mix(
	    (uint64_t)(uintptr_t)c.state ^ rng_mix(c.done & ~set->open));
	size_t mask = 2 * set->cap - 1, at = (size_t)hash & mask;

	while (set->table[at] != 0) {
		const struct config *item = &set->items[set->table[at] - 1];

		if (item->state == c.state &&
		    ((item->done ^ c.done) & ~set->open) == 0 &&
		    (item->done & ~c.done) == 0)
			break;
		at = (at + 1) & mask;
	}
	return at;
}

static void
configs_grow(struct configs *set)
{
	size_t cap = set->cap == 0 ? 16 : 2 * set->cap;
	struct config *items = history_allocate(cap, sizeof *items);

	if (set->count > 0)
		memcpy(items, set->items, set->count * sizeof *items);
	free(set->items);
	free(set->table);
	set->items = items;
	set->table = history_allocate(2 * cap, sizeof *set->table);
	set->cap = cap;
	for (size_t i = 0; i < set->count; i++)
		set->table[configs_place(set, items[i])] = (uint32_t)(i + 1);
}

static void
configs_add(struct configs *set, struct config c)
{
	size_t at;

	if (set->count == set->cap)
		configs_grow(set);
	at = configs_place(set, c);
	if (set->table[at] != 0)
		return;
	set->items[set->count++] = c;
	set->table[at] = (uint32_t)set->count;
}

static void
configs_free(struct configs *set)
{
	free(set->items);
	free(set->table);
}

/* Steps */

static bool
can_follow(const struct history_op *op, const struct history_op *state)
{
	return history_fits(op, state) &&
	       !(state != NULL && state->seq != 0 && op->seq != 0 &&
		   op->seq <= state->seq);
}

/* All running reads that suit the state take effect. */
static struct config
with_reads(const struct search *s, struct config c)
{
	for (unsigned i = 0; i < s->width; i++) {
		const struct history_op *op = s->running[i];

		if (op != NULL && !op->writes && history_fits(op, c.state))
			c.done |= UINT64_C(1) << i;
	}
	return c;
}

/* What was found is where to go on from. */
static void
turn(struct search *s)
{
	struct configs swap = s->now;

	s->now = s->next;
	s->next = swap;
}

static bool
begin_op(struct search *s, const struct history_op *op)
{
	unsigned slot = 0;

	while (slot < RUNNING_MAX && s->running[slot] != NULL)
		slot++;
	s->crowded = slot == RUNNING_MAX;
	if (s->crowded)
		return false;
	s->running[slot] = op;
	if (s->width == slot)
		s->width++;
	if (op->outcome == HISTORY_OPEN) {
		s->now.open |= UINT64_C(1) << slot;
		s->next.open = s->now.open;
	}
	if (op->writes)
		return true;
	configs_clear(&s->next);
	for (size_t i = 0; i < s->now.count; i++)
		configs_add(&s->next, with_reads(s, s->now.items[i]));
	turn(s);
	return true;
}

/* Each running write takes effect in c: more configurations. */
static void
expand(struct search *s, struct config c)
{
	for (unsigned i = 0; i < s->width; i++) {
		const struct history_op *op = s->running[i];
		uint64_t bit = UINT64_C(1) << i;

		if (op == NULL || !op->writes || (c.done & bit) != 0 ||
		    !can_follow(op, c.state))
			continue;
		configs_add(
		    &s->now, with_reads(s, (struct config){op, c.done | bit}));
	}
}

/* False: in no configuration can op have taken effect; s->now has those from
 * before then, and what can follow. */
static bool
end_op(struct search *s, const struct history_op *op)
{
	size_t before = s->now.count;
	unsigned slot = 0;
	uint64_t bit;

	while (s->running[slot] != op)
		slot++;
	bit = UINT64_C(1) << slot;
	configs_clear(&s->next);
	for (size_t i = 0; i < s->now.count; i++) {
		struct config c = s->now.items[i];

		s->too_many = s->now.count > CONFIGS_MAX;
		if (s->too_many)
			return true;
		if ((c.done & bit) == 0)
			expand(s, c);
		else
			configs_add(
			    &s->next, (struct config){c.state, c.done & ~bit});
		if ((c.done & bit) == 0 && i < before &&
		    op->outcome == HISTORY_OPEN)
			configs_add(&s->next, c);
	}
	if (s->next.count == 0)
		return false;
	s->too_many = s->next.count > CONFIGS_MAX;
	s->running[slot] = NULL;
	s->now.open &= ~bit;
	s->next.open = s->now.open;
	turn(s);
	return true;
}

static int
by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	if (x->is_end != y->is_end)
		return x->is_end ? 1 : -1;
	return (x->op > y->op) - (x->op < y->op);
}

/*
 * Search the operations ops, of one key, from the states starts on.  Returns
 * the operation that cannot be, or NULL.
 */
static const struct history_op *
search(const struct history_op *const *ops, size_t count,
    const struct history_op *const *starts, size_t start_count,
    bool *ret_crowded, bool *ret_too_many)
{
	struct search s = {.crowded = false};
	struct event *events = history_allocate(2 * count, sizeof *events);
	size_t event_count = 0;
	const struct history_op *culprit = NULL;

	for (size_t i = 0; i < count; i++) {
		events[event_count++] =
		    (struct event){ops[i]->begin_ns, false, (uint32_t)i};
		if (ops[i]->end_ns != HISTORY_NEVER)
			events[event_count++] =
			    (struct event){ops[i]->end_ns, true, (uint32_t)i};
	}
	qsort(events, event_count, sizeof *events, by_time);
	for (size_t i = 0; i < start_count; i++)
		configs_add(&s.now, (struct config){starts[i], 0});
	for (size_t i = 0; i < event_count && culprit == NULL && !s.too_many;
	     i++) {
		const struct history_op *op = ops[events[i].op];

		if (!(events[i].is_end ? end_op(&s, op) : begin_op(&s, op)))
			culprit = op;
	}
	*ret_crowded = s.crowded;
	*ret_too_many = s.too_many;
	configs_free(&s.now);
	configs_free(&s.next);
	free(events);
	return culprit;
}

/* Telling why */

struct window {
	uint64_t begin_ns;
	struct history_op *copies;
	const struct history_op **originals; /* of the copies */
	const struct history_op **ops, **starts;
	size_t count, start_count;
};

static void
window_free(struct window *w)
{
	free(w->copies);
	free(w->originals);
	free(w->ops);
	free(w->starts);
}

/* What is left of the operations that began before end_ns if nothing is known
 * of the time before begin_ns. */
static struct window
window_make(const struct history_op *const *ops, size_t count,
    uint64_t begin_ns, uint64_t end_ns)
{
	struct window w = {.begin_ns = begin_ns, .start_count = 1};

	w.copies = history_allocate(count, sizeof *w.copies);
	w.originals = history_allocate(count, sizeof *w.originals);
	w.ops = history_allocate(count, sizeof *w.ops);
	w.starts =
	    history_allocate(count, sizeof *w.starts); /* one is absence */
	for (size_t i = 0; i < count && ops[i]->begin_ns <= end_ns; i++) {
		struct history_op *copy = &w.copies[w.count];
		bool before = ops[i]->begin_ns < begin_ns;

		if (before && ops[i]->writes)
			w.starts[w.start_count++] = ops[i];
		if (before && (ops[i]->end_ns < begin_ns || !ops[i]->writes))
			continue;
		*copy = *ops[i];
		if (before)
			copy->outcome = HISTORY_OPEN;
		w.originals[w.count] = ops[i];
		w.ops[w.count++] = copy;
	}
	return w;
}

static bool
window_shows(const struct window *w)
{
	bool crowded, too_many;

	return search(w->ops, w->count, w->starts, w->start_count, &crowded,
		   &too_many) != NULL;
}

/* Leave out reads without which it is still impossible. */
static void
window_thin(struct window *w)
{
	for (size_t i = w->count; i-- > 0;) {
		const struct history_op *left_out = w->ops[i];
		size_t behind = w->count - i - 1;

		if (left_out->writes)
			continue;
		memmove(&w->ops[i], &w->ops[i + 1], behind * sizeof *w->ops);
		w->count--;
		if (window_shows(w))
			continue;
		memmove(&w->ops[i + 1], &w->ops[i], behind * sizeof *w->ops);
		w->ops[i] = left_out;
		w->count++;
	}
}

/* The latest window that shows it: twice as long until it does, and then
 * what lies between. */
static struct window
window_find(const struct history_op *const *ops, size_t count,
    const struct history_op *culprit)
{
	size_t last = 0, high = 1, low = 0;
	struct window w;

	while (last + 1 < count && ops[last + 1]->begin_ns <= culprit->end_ns)
		last++;
	for (;; high *= 2) {
		if (high > last + 1)
			high = last + 1;
		w = window_make(ops, count, ops[last + 1 - high]->begin_ns,
		    culprit->end_ns);
		if (high == last + 1 || window_shows(&w))
			break;
		window_free(&w);
		low = high;
	}
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		struct window shorter = window_make(
		    ops, count, ops[last + 1 - mid]->begin_ns, culprit->end_ns);

		if (window_shows(&shorter)) {
			window_free(&w);
			w = shorter;
			high = mid;
		} else {
			window_free(&shorter);
			low = mid;
		}
	}
	return w;
}

static bool
is_seen(const struct window *w, const struct history_op *write)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->ops[i]->guard == HISTORY_VALUE &&
		    w->ops[i]->saw == write->value)
			return true;
	return false;
}

static void
explain(const struct history_op *const *ops, size_t count,
    const struct history_op *culprit, FILE *out)
{
	struct window w = window_find(ops, count, culprit);
	uint64_t origin;

	window_thin(&w);
	origin = w.count > 0 ? w.ops[0]->begin_ns : 0;
	fprintf(out, "key %" PRIu32 ": no order explains these operations\n",
	    culprit->key);
	for (size_t i = 1; i < w.start_count; i++)
		if (w.starts[i]->end_ns < w.begin_ns &&
		    is_seen(&w, w.starts[i]))
			history_print(out, w.starts[i], origin, "before");
	for (size_t i = 0; i < w.count; i++)
		history_print(out, w.originals[w.ops[i] - w.copies], origin,
		    w.originals[w.ops[i] - w.copies] == culprit ? "impossible"
								: NULL);
	window_free(&w);
}

/* The judge */

static int
by_key_and_begin(const void *a, const void *b)
{
	const struct history_op *x = *(const struct history_op *const *)a;
	const struct history_op *y = *(const struct history_op *const *)b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->begin_ns > y->begin_ns) - (x->begin_ns < y->begin_ns);
}

static bool
judge_key(const struct history_op *const *ops, size_t count, FILE *out)
{
	const struct history_op *absent = NULL, *culprit;
	bool crowded, too_many;

	culprit = search(ops, count, &absent, 1, &crowded, &too_many);
	if (too_many)
		fprintf(out,
		    "key %" PRIu32
		    ": so much was left open that only the order of commits "
		    "was judged\n",
		    ops[0]->key);
	if (crowded)
		fprintf(out,
		    "key %" PRIu32
		    ": cannot judge more than %d operations at once\n",
		    culprit->key, RUNNING_MAX);
	else if (culprit != NULL)
		explain(ops, count, culprit, out);
	return culprit == NULL;
}

bool
history_search(const struct history *history, FILE *out)
{
	const struct history_op **ops =
	    history_allocate(history->count, sizeof *ops);
	bool ok = true;

	for (size_t i = 0; i < history->count; i++)
		ops[i] = &history->ops[i];
	qsort(ops, history->count, sizeof *ops, by_key_and_begin);
	for (size_t from = 0, to; from < history->count && ok; from = to) {
		for (to = from;
		     to < history->count && ops[to]->key == ops[from]->key;)
			to++;
		ok = judge_key(ops + from, to - from, out);
	}
	free(ops);
	return ok;
}
