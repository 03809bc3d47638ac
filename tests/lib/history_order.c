/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history_order.c - is a history linearisable in the order of its commits'
 * sequence numbers?
 *
 * Nothing is searched for.  Let p be the number of the last commit that has
 * taken effect; p only grows.  Time is walked through once, and p is kept as
 * small as what has ended by then allows:
 *
 *     a write ends     p is its number at least
 *     a read ends      p is at least the first number, from p at its begin
 *                      on, after which its key was as the read found it
 *
 * The second is a monotone function of p, so there is a least p at any time,
 * and the history is linearisable in this order if and only if the least one
 * breaks none of the upper bounds:
 *
 *     a write begins   p is still smaller than its number
 *     a read begins    there is a number from p on that suits it
 *
 * A walk over several keys wants one number that suits all.  Since p is one
 * for all keys, this also finds commits of different keys that real time puts
 * in another order than their numbers.
 *
 * Writes of unknown outcome whose number nobody saw may stand anywhere: of
 * their keys only reads of a known value are judged here (whatever the others
 * do, it came after its commit and before the next known one).
 */
#include "config.h"

#include "history.h"

#include <inttypes.h>
#include <stdlib.h>

struct event {
	uint64_t at_ns;
	bool is_end;
	size_t op;
};

/* The writes of a key in the order of their numbers. */
struct line {
	struct history_op **writes;
	size_t count;
	bool floating; /* there are more, somewhere */
};

struct order {
	const struct history *history;
	struct history_op **writes; /* of all keys: by key, number */
	size_t write_count;
	struct line *lines; /* [key] */
	struct event *events;
	size_t event_count;
	uint64_t *suits; /* [op]: what p must be at its end */
	uint64_t p;
	const struct history_op *witness; /* why p is not smaller */
	FILE *out;
};

static int
by_key_and_number(const void *a, const void *b)
{
	const struct history_op *x = *(const struct history_op *const *)a;
	const struct history_op *y = *(const struct history_op *const *)b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

static int
by_number(const void *a, const void *b)
{
	const struct history_op *x = *(const struct history_op *const *)a;
	const struct history_op *y = *(const struct history_op *const *)b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

/* What begins and ends at the same time overlaps: begins come first. */
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

static void
make_lines(struct order *o)
{
	uint32_t key_count = 1;

	for (size_t i = 0; i < o->history->count; i++)
		if (o->history->ops[i].key >= key_count)
			key_count = o->history->ops[i].key + 1;
	o->lines = history_allocate(key_count, sizeof *o->lines);
	o->writes = history_allocate(o->history->count, sizeof *o->writes);
	for (size_t i = 0; i < o->history->count; i++) {
		struct history_op *op = &o->history->ops[i];

		if (op->writes && op->seq != 0)
			o->writes[o->write_count++] = op;
		else if (op->writes)
			o->lines[op->key].floating = true;
	}
	qsort(o->writes, o->write_count, sizeof *o->writes, by_key_and_number);
	for (size_t i = o->write_count; i-- > 0;) {
		struct line *line = &o->lines[o->writes[i]->key];

		line->writes = &o->writes[i];
		line->count++;
	}
}

static void
make_events(struct order *o)
{
	o->events = history_allocate(2 * o->history->count, sizeof *o->events);
	o->suits = history_allocate(o->history->count, sizeof *o->suits);
	for (size_t i = 0; i < o->history->count; i++) {
		const struct history_op *op = &o->history->ops[i];

		if (op->outcome == HISTORY_OPEN)
			continue; /* nothing is known of it */
		o->events[o->event_count++] =
		    (struct event){op->begin_ns, false, i};
		if (op->end_ns != HISTORY_NEVER)
			o->events[o->event_count++] =
			    (struct event){op->end_ns, true, i};
	}
	qsort(o->events, o->event_count, sizeof *o->events, by_time);
}

/* How many of the key's writes had taken effect at p. */
static size_t
line_at(const struct line *line, uint64_t p)
{
	size_t low = 0, high = line->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (line->writes[mid]->seq <= p)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct history_op *
line_state(const struct line *line, size_t count)
{
	return count == 0 ? NULL : line->writes[count - 1];
}

/* The first number from p on that suits op, or UINT64_MAX. */
static uint64_t
first_suiting(const struct line *line, const struct history_op *op, uint64_t p)
{
	for (size_t i = line_at(line, p); i <= line->count; i++) {
		const struct history_op *state = line_state(line, i);

		if (history_fits(op, state))
			return state == NULL || state->seq < p ? p : state->seq;
	}
	return UINT64_MAX;
}

/* The same, or p where a write of unknown place may have left what op found. */
static uint64_t
first_possible(const struct line *line, const struct history_op *op, uint64_t p)
{
	uint64_t first;

	if (line->floating && op->guard != HISTORY_VALUE)
		return p;
	first = first_suiting(line, op, p);
	if (first != UINT64_MAX || !line->floating)
		return first;
	for (size_t i = 0; i < line->count; i++)
		if (line->writes[i]->value == op->saw)
			return UINT64_MAX; /* its place is known */
	return p;
}

/* The same for all reads of op's moment; *ret_op is one that finds none. */
static uint64_t
first_suiting_all(const struct order *o, size_t first, uint64_t p,
    const struct history_op **ret_op)
{
	const struct history_op *ops = o->history->ops;
	uint64_t before;

	do {
		before = p;
		for (size_t i = first;
		     i < o->history->count &&
		     (i == first || history_same_moment(&ops[first], &ops[i]));
		     i++) {
			*ret_op = &ops[i];
			p = first_possible(&o->lines[ops[i].key], &ops[i], p);
			if (p == UINT64_MAX)
				return p;
		}
	} while (p != before);
	return p;
}

/* Reports */

static bool
refuse_write(const struct order *o, const struct history_op *op)
{
	fprintf(o->out,
	    "key %" PRIu32 ": commit %" PRIu64
	    " began when a later one had taken effect\n",
	    op->key, op->seq);
	history_print(o->out, o->witness, o->witness->begin_ns,
	    "so commits had gone further");
	history_print(o->out, op, o->witness->begin_ns, "began after that");
	return false;
}

static bool
refuse_read(const struct order *o, const struct history_op *op, uint64_t p)
{
	const struct line *line = &o->lines[op->key];
	size_t at = line_at(line, p);
	uint64_t origin = op->begin_ns;

	fprintf(o->out,
	    "key %" PRIu32 ": what was found was no more, or never, so in "
	    "the order of the commits\n",
	    op->key);
	for (size_t i = 0; i < line->count; i++)
		if (op->guard == HISTORY_VALUE &&
		    line->writes[i]->value == op->saw && i + 1 != at)
			history_print(o->out, line->writes[i], origin, NULL);
	if (at > 0)
		history_print(
		    o->out, line->writes[at - 1], origin, "the newest then");
	if (o->witness != NULL &&
	    (at == 0 || o->witness != line->writes[at - 1]))
		history_print(
		    o->out, o->witness, origin, "ended before, and so had it");
	history_print(o->out, op, origin, "impossible");
	return false;
}

/* The judge */

/* One number, one commit. */
static bool
numbers_are_unique(const struct order *o)
{
	struct history_op **all = history_allocate(o->write_count, sizeof *all);
	bool ok = true;

	for (size_t i = 0; i < o->write_count; i++)
		all[i] = o->writes[i];
	qsort(all, o->write_count, sizeof *all, by_number);
	for (size_t i = 1; i < o->write_count && ok; i++) {
		const struct history_op *one = all[i - 1], *two = all[i];

		ok = one->seq != two->seq || history_same_moment(one, two);
		if (ok)
			continue;
		fprintf(o->out, "two commits have the number %" PRIu64 "\n",
		    one->seq);
		history_print(o->out, one, one->begin_ns, NULL);
		history_print(o->out, two, one->begin_ns, NULL);
	}
	free(all);
	return ok;
}

/* What a write found is what the one before has left. */
static bool
guards_hold(const struct order *o)
{
	for (size_t i = 0; i < o->write_count; i++) {
		const struct history_op *op = o->writes[i], *state = NULL;

		if (i > 0 && o->writes[i - 1]->key == op->key)
			state = o->writes[i - 1];
		if (o->lines[op->key].floating || history_fits(op, state))
			continue;
		fprintf(o->out,
		    "key %" PRIu32 ": a write found what the one before it "
		    "has not left\n",
		    op->key);
		if (state != NULL)
			history_print(o->out, state, state->begin_ns, NULL);
		history_print(o->out, op,
		    state != NULL ? state->begin_ns : op->begin_ns,
		    "impossible");
		return false;
	}
	return true;
}

static bool
begin_op(struct order *o, size_t i)
{
	const struct history_op *op = &o->history->ops[i], *culprit = op;

	if (op->writes && op->seq != 0)
		return o->p < op->seq || refuse_write(o, op);
	if (op->writes)
		return true;
	if (i > 0 && history_same_moment(op, op - 1)) {
		o->suits[i] = o->suits[i - 1]; /* events of one time come in
						  the order of operations */
		return true;
	}
	o->suits[i] = first_suiting_all(o, i, o->p, &culprit);
	return o->suits[i] != UINT64_MAX || refuse_read(o, culprit, o->p);
}

static void
end_op(struct order *o, size_t i)
{
	const struct history_op *op = &o->history->ops[i];
	uint64_t least = op->writes ? op->seq : o->suits[i];

	if (o->p < least) {
		o->p = least;
		o->witness = op;
	}
}

static bool
sweep(struct order *o)
{
	for (size_t i = 0; i < o->event_count; i++) {
		const struct event *event = &o->events[i];

		if (event->is_end)
			end_op(o, event->op);
		else if (!begin_op(o, event->op))
			return false;
	}
	return true;
}

bool
history_order(const struct history *history, FILE *out)
{
	struct order o = {.history = history, .out = out};
	bool ok;

	make_lines(&o);
	make_events(&o);
	ok = numbers_are_unique(&o) && guards_hold(&o) && sweep(&o);
	free(o.lines);
	free(o.writes);
	free(o.events);
	free(o.suits);
	return ok;
}
