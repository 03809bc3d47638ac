/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_history.c - the judges of histories: known good and bad ones, what a
 * model brings about and what it cannot, and small ones against a third judge
 * that tries everything.
 */
#include "config.h"

#include "history.h"
#include "rng.h"
#include "test.h"

#include <string.h>

#define WORKERS 5
#define KEYS 3
#define OPS_MAX 2000

static struct history_op ops[OPS_MAX];
static struct history h;

static void
setup(void)
{
	memset(ops, 0, sizeof ops);
	h = (struct history){ops, 0};
}

/* Times are small numbers; end 0: has not returned. */
static struct history_op *
add(const char *call, unsigned worker, uint64_t begin, uint64_t end)
{
	struct history_op *op = &ops[h.count++];

	ck_assert_uint_le(h.count, OPS_MAX);
	memset(op, 0, sizeof *op);
	op->call = call;
	op->worker = (uint16_t)worker;
	op->begin_ns = begin;
	op->end_ns = end == 0 ? HISTORY_NEVER : end;
	op->outcome = end == 0 ? HISTORY_OPEN : HISTORY_DONE;
	return op;
}

static struct history_op *
put(unsigned worker, uint64_t begin, uint64_t end, uint64_t value, uint64_t seq)
{
	struct history_op *op = add("put", worker, begin, end);

	op->writes = true;
	op->value = value;
	op->seq = seq;
	return op;
}

static struct history_op *
removed(unsigned worker, uint64_t begin, uint64_t end, uint64_t seq)
{
	struct history_op *op = put(worker, begin, end, 0, seq);

	op->call = "delete";
	op->guard = HISTORY_PRESENT;
	return op;
}

static struct history_op *
find(struct history_op *op, enum history_guard guard, uint64_t saw_seq)
{
	op->guard = (uint8_t)guard;
	op->saw_seq = saw_seq;
	return op;
}

/* A get; saw 0: nothing. */
static struct history_op *
get(unsigned worker, uint64_t begin, uint64_t end, uint64_t saw)
{
	struct history_op *op = add("get", worker, begin, end);

	op->guard = saw == 0 ? HISTORY_ABSENT : HISTORY_VALUE;
	op->saw = saw;
	return op;
}

/* The first ones' verdicts, and what is said. */
static char text[1 << 16];

static bool
judge(bool (*judge_fn)(const struct history *, FILE *))
{
	FILE *out = fmemopen(text, sizeof text, "w");
	bool ok;

	ck_assert_ptr_nonnull(out);
	memset(text, 0, sizeof text);
	ok = judge_fn(&h, out);
	(void)fclose(out);
	ck_assert_msg(ok == (text[0] == '\0'), "verdict %d: %s", ok, text);
	return ok;
}

static void
expect(bool ok)
{
	ck_assert_msg(judge(history_check) == ok, "%s", text);
}

/* Without numbers, so that it is for the search to judge; then with. */
static void
expect_both(bool ok)
{
	uint64_t seqs[OPS_MAX], saw_seqs[OPS_MAX];

	expect(ok);
	for (size_t i = 0; i < h.count; i++) {
		seqs[i] = ops[i].seq;
		saw_seqs[i] = ops[i].saw_seq;
		ops[i].seq = 0;
		if (ops[i].guard == HISTORY_VALUE)
			ops[i].saw_seq = 0;
	}
	ck_assert_msg(judge(history_search) == ok, "%s", text);
	for (size_t i = 0; i < h.count; i++) {
		ops[i].seq = seqs[i];
		ops[i].saw_seq = saw_seqs[i];
	}
}

static unsigned
lines_of(const char *s)
{
	unsigned lines = 0;

	for (; *s != '\0'; s++)
		lines += *s == '\n';
	return lines;
}

/* Known ones */

START_TEST(an_empty_history_is_fine)
{
	expect_both(true);
	get(0, 1, 2, 0);
	expect_both(true);
}
END_TEST

START_TEST(a_read_during_a_write_sees_either)
{
	put(0, 1, 2, 1, 1);
	put(0, 10, 20, 2, 2);
	get(1, 12, 14, 2);
	get(2, 15, 16, 2);
	get(1, 21, 22, 2);
	expect_both(true);
	ops[2].saw = 1;
	expect_both(true);
	ops[3].saw = 1;
	expect_both(true);
}
END_TEST

START_TEST(a_stale_read_is_found)
{
	put(0, 1, 2, 1, 1);
	put(0, 3, 4, 2, 2);
	get(1, 5, 6, 1);
	expect_both(false);
	ops[2].begin_ns = 4; /* the same time is at the same time */
	expect_both(true);
}
END_TEST

START_TEST(a_read_from_the_future_is_found)
{
	get(1, 1, 2, 1);
	put(0, 3, 4, 1, 1);
	expect_both(false);
}
END_TEST

START_TEST(readers_agree_on_the_order)
{
	put(0, 1, 100, 1, 1);
	put(1, 1, 100, 2, 2);
	get(2, 10, 11, 1);
	get(3, 12, 13, 2);
	expect_both(true);
	get(2, 14, 15, 1);
	expect_both(false);
	h.count = 2;
	get(2, 10, 11, 2);
	get(3, 12, 13, 1);
	/* Possible, but not in the order of the numbers. */
	expect(false);
	ops[0].seq = ops[1].seq = 0;
	expect(true);
}
END_TEST

START_TEST(a_value_nobody_wrote_is_found)
{
	put(0, 1, 2, 1, 1);
	get(1, 3, 4, 7);
	expect_both(false);
	put(0, 1, 2, 7, 2)->key = 1;
	expect(false);
	ck_assert_ptr_nonnull(strstr(text, "another key"));
}
END_TEST

START_TEST(a_lost_update_is_found)
{
	put(0, 1, 2, 1, 1);
	find(put(1, 3, 10, 2, 2), HISTORY_SEQ, 1);
	find(put(2, 3, 10, 3, 3), HISTORY_SEQ, 1);
	expect(false);
	find(&ops[2], HISTORY_SEQ, 2);
	expect(true);
	/* Both found nothing. */
	h.count = 0;
	find(put(0, 1, 9, 1, 1), HISTORY_ABSENT, 0);
	find(put(1, 1, 9, 2, 2), HISTORY_ABSENT, 0);
	expect_both(false);
}
END_TEST

START_TEST(refusals_are_reads)
{
	find(put(0, 1, 2, 1, 1), HISTORY_ABSENT, 0);
	find(add("put", 1, 3, 4), HISTORY_PRESENT, 0);
	find(add("put", 1, 5, 6), HISTORY_OTHER, 2);
	expect_both(true);
	find(&ops[2], HISTORY_OTHER, 1);
	expect(false);
	find(&ops[2], HISTORY_ABSENT, 0);
	expect_both(false);
}
END_TEST

START_TEST(deleted_is_deleted)
{
	put(0, 1, 2, 1, 1);
	removed(0, 3, 4, 2);
	get(1, 5, 6, 0);
	find(put(0, 7, 8, 2, 3), HISTORY_ABSENT, 0);
	removed(1, 9, 20, 4);
	get(2, 10, 11, 2);
	get(3, 12, 13, 0);
	expect_both(true);
	ops[2] = ops[5];
	ops[2].begin_ns = 5;
	ops[2].end_ns = 6;
	ops[2].saw = 1;
	expect_both(false);
	h.count = 2;
	removed(1, 5, 6, 3); /* what is not there */
	expect_both(false);
}
END_TEST

START_TEST(an_unknown_outcome_may_be_either)
{
	put(0, 1, 2, 1, 1);
	put(1, 3, 0, 2, 0);
	get(2, 10, 11, 1);
	expect_both(true);
	get(2, 12, 13, 2);
	expect_both(true);
	get(2, 14, 15, 1); /* it has happened */
	expect_both(false);
	h.count = 4;
	get(2, 14, 15, 2);
	expect_both(true);
	/* The order of the others stays known. */
	get(3, 14, 15, 1)->begin_ns = 11;
	ck_assert(judge(history_order));
	put(0, 16, 17, 3, 3);
	get(3, 18, 19, 1);
	ck_assert(!judge(history_order));
	h.count = 5;
	/* But not before it began. */
	ops[1].begin_ns = 14;
	expect_both(false);
	/* Nor after its bound, if it has one. */
	ops[1].begin_ns = 3;
	ops[1].end_ns = 9;
	expect_both(false);
	ops[2].saw = 2;
	expect_both(true);
}
END_TEST

START_TEST(an_unknown_delete_explains_what_is_gone)
{
	put(0, 1, 2, 1, 1);
	get(2, 10, 11, 0);
	expect_both(false);
	removed(1, 3, 0, 0);
	expect_both(true);
	find(put(2, 12, 13, 5, 2), HISTORY_ABSENT, 0);
	find(put(2, 14, 15, 6, 3), HISTORY_ABSENT, 0); /* only once */
	expect_both(false);
}
END_TEST

START_TEST(an_unknown_outcome_that_was_seen_has_its_number)
{
	put(0, 1, 2, 1, 1);
	put(1, 3, 0, 2, 0);
	put(0, 4, 5, 3, 3);
	find(get(2, 4, 20, 2), HISTORY_VALUE, 2);
	expect(true);
	get(2, 21, 22, 2);
	expect(false);
	h.count--;
	find(get(2, 21, 22, 3), HISTORY_VALUE, 2);
	expect(false);
	ck_assert_ptr_nonnull(strstr(text, "another commit's number"));
	/* A batch has happened as a whole. */
	h.count = 4;
	ops[4] = ops[3];
	ops[3] = ops[2];
	ops[2] = ops[1];
	h.count = 5;
	ops[2].value = 4;
	ops[2].key = 1;
	ops[1].group = ops[2].group = 9;
	expect(true);
	find(get(3, 21, 22, 0), HISTORY_ABSENT, 0)->key = 1;
	expect(false);
}
END_TEST

START_TEST(numbers_follow_real_time)
{
	put(0, 1, 2, 1, 2);
	put(1, 3, 4, 2, 1);
	expect(false);
	ops[1].key = 1; /* over all keys */
	expect(false);
	ops[1].begin_ns = 2;
	expect(true);
	ops[1].seq = 2;
	expect(false);
	ck_assert_ptr_nonnull(strstr(text, "two commits have the number 2"));
	ops[0].group = ops[1].group = 1;
	expect(false);
	ops[1].worker = 0; /* one batch */
	expect(true);
	/* A read of one key tells that a commit of another has happened. */
	h.count = 0;
	put(0, 1, 9, 1, 1);
	put(1, 1, 9, 2, 2)->key = 1;
	get(2, 3, 4, 2)->key = 1;
	get(3, 5, 6, 1);
	expect(true);
	ops[3] = *get(3, 5, 6, 0);
	h.count--;
	expect(false);
}
END_TEST

START_TEST(a_walk_shows_one_moment)
{
	put(0, 1, 2, 1, 1);
	put(0, 3, 4, 2, 2)->key = 1;
	put(0, 5, 9, 3, 3);
	put(0, 10, 19, 4, 4)->key = 1;
	get(1, 3, 20, 3)->group = 1;
	get(1, 3, 20, 2)->group = 1;
	ops[5].key = 1;
	expect(true);
	ops[4].saw = 1;
	expect(true);
	ops[5].saw = 4;
	expect(false);
	ops[4].group = 0;
	expect(true);
}
END_TEST

START_TEST(too_many_at_once_are_no_verdict)
{
	for (unsigned i = 0; i < 65; i++)
		put(i, 1, 0, i + 1, 0);
	expect(false);
	ck_assert_ptr_nonnull(strstr(text, "cannot judge"));
}
END_TEST

START_TEST(many_of_unknown_outcome_are_judged)
{
	put(0, 1, 2, 100, 0);
	for (unsigned i = 0; i < 50; i++)
		put(i + 1, 3, 0, i + 1, 0);
	get(60, 10, 11, 7);
	get(60, 12, 13, 8);
	expect(true);
	get(60, 14, 15, 7);
	expect(false);
}
END_TEST

START_TEST(a_report_is_short)
{
	for (unsigned i = 0; i < 300; i++) {
		put(0, 10 * i + 1, 10 * i + 5, i + 1, i + 1);
		get(1, 10 * i + 2, 10 * i + 6, i + 1);
		find(add("exists", 3, 10 * i + 3, 10 * i + 6), HISTORY_PRESENT,
		    0);
		get(2, 10 * i + 7, 10 * i + 8, i == 250 ? 100 : i + 1);
	}
	expect(false);
	ck_assert_uint_le(lines_of(text), 5);
	ck_assert_ptr_nonnull(strstr(text, "0.100")); /* who wrote it */
	ck_assert(!judge(history_search));
	ck_assert_uint_le(lines_of(text), 5);
	ck_assert_ptr_nonnull(strstr(text, "0.100"));
	ck_assert_ptr_nonnull(strstr(text, "0.251"));
}
END_TEST

/* Recording */

START_TEST(what_is_recorded_is_collected)
{
	struct history_log *log = history_log_create(3, 5);
	struct history all = {0};
	struct history_op *op = history_new(log, 2, "batch");

	ck_assert_ptr_nonnull(op);
	history_begin(log, op, 2);
	op[0].writes = op[1].writes = true;
	op[0].value = history_value(log, &op[0]);
	op[1].value = history_value(log, &op[1]);
	ck_assert_uint_ne(op[0].value, op[1].value);
	op[0].seq = 4; /* killed here: not to be believed */
	op = history_new(log, 1, "get");
	history_begin(log, op, 1);
	history_collect(&all, log);
	ck_assert_uint_eq(all.count, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(all.ops[i].outcome, HISTORY_OPEN);
		ck_assert_uint_eq(all.ops[i].end_ns, HISTORY_NEVER);
		ck_assert_uint_eq(all.ops[i].seq, 0);
		ck_assert_uint_eq(all.ops[i].worker, 3);
		ck_assert_uint_eq(all.ops[i].group, 1);
	}
	/* The next commit bounds them. */
	op = history_new(log, 1, "put");
	op->writes = true;
	history_begin(log, op, 1);
	history_end(op, 1);
	history_settle(op, 1, HISTORY_DONE);
	ck_assert_uint_ge(op->end_ns, op->begin_ns);
	ck_assert_ptr_null(history_new(log, 2, "batch")); /* full */
	history_fini(&all);
	history_collect(&all, log);
	ck_assert_uint_eq(all.count, 3);
	ck_assert_uint_eq(all.ops[0].end_ns, all.ops[2].end_ns);
	ck_assert_int_eq(all.ops[2].outcome, HISTORY_DONE);
	history_fini(&all);
	history_log_destroy(log);
}
END_TEST

/* Histories of a model */

struct maker {
	struct rng rng;
	const struct history_op *state[KEYS];
	uint64_t free_ns[WORKERS]; /* when each worker is free */
	uint64_t seq, value;
	unsigned keys;
	uint64_t spread_ns; /* longest time on either side of the moment */
	unsigned group;
};

/* What op may truly say of its key. */
static void
find_truth(struct maker *m, struct history_op *op)
{
	const struct history_op *state = m->state[op->key];
	bool present = state != NULL && state->value != 0;

	op->saw_seq = 0;
	switch (rng_below(&m->rng, op->writes ? 4 : 3)) {
	case 0:
		op->guard = present ? HISTORY_PRESENT : HISTORY_ABSENT;
		break;
	case 1:
		op->guard = present ? HISTORY_SEQ : HISTORY_OTHER;
		op->saw_seq = present ? state->seq : 1 + m->seq / 2;
		break;
	case 2:
		op->guard = present ? HISTORY_VALUE : HISTORY_ABSENT;
		op->saw = present ? state->value : 0;
		op->saw_seq = present && m->rng.state[0] % 2 ? state->seq : 0;
		break;
	default:
		op->guard = HISTORY_ANY;
	}
}

/* One operation that takes effect at moment, if a worker is free. */
static void
make_op(struct maker *m, uint64_t moment)
{
	uint64_t begin = moment - rng_below(&m->rng, m->spread_ns);
	uint64_t end = moment + rng_below(&m->rng, m->spread_ns);
	unsigned worker = 0;
	size_t first = h.count, steps;
	bool writes, open, happens;

	while (worker < WORKERS && m->free_ns[worker] >= begin)
		worker++;
	if (worker == WORKERS)
		return;
	m->free_ns[worker] = end;
	m->group++;
	writes = rng_below(&m->rng, 2) == 0;
	open = writes && rng_below(&m->rng, 12) == 0;
	happens = !open || rng_below(&m->rng, 2) == 0;
	steps = m->keys > 1 && rng_below(&m->rng, 4) == 0 ? 2 : 1;
	for (size_t i = 0; i < steps; i++) {
		struct history_op *op = add("op", worker, begin, end);

		op->key = steps == 2 ? (uint32_t)i
				     : (uint32_t)rng_below(&m->rng, m->keys);
		op->group = steps == 2 ? m->group : 0;
		op->writes = writes;
		find_truth(m, op);
		if (writes && rng_below(&m->rng, 4) > 0)
			op->value = ++m->value;
		if (writes)
			op->seq = m->seq + 1;
		if (open) {
			op->outcome = HISTORY_OPEN;
			op->guard = HISTORY_ANY;
			op->end_ns = end + m->spread_ns;
		}
	}
	m->seq += writes && happens;
	for (size_t i = first; i < h.count && happens; i++)
		if (writes)
			m->state[ops[i].key] = &ops[i];
}

static void
make_history(struct maker *m, size_t moments)
{
	memset(m->state, 0, sizeof m->state);
	memset(m->free_ns, 0, sizeof m->free_ns);
	m->seq = m->value = m->group = 0;
	h.count = 0;
	for (size_t i = 0; i < moments; i++)
		make_op(m, 1000 + 10 * i);
	for (size_t i = 0; i < h.count; i++)
		if (ops[i].outcome == HISTORY_OPEN)
			ops[i].seq = 0; /* nobody told */
}

/* A write of the key that had ended before op began, before another one that
 * had too. */
static const struct history_op *
find_replaced(const struct history_op *op)
{
	for (size_t i = 0; i < h.count; i++)
		for (size_t k = 0; k < h.count && ops[i].value != 0; k++)
			if (ops[i].writes && ops[k].writes &&
			    ops[i].key == op->key && ops[k].key == op->key &&
			    ops[i].outcome == HISTORY_DONE &&
			    ops[k].outcome == HISTORY_DONE &&
			    ops[i].end_ns < ops[k].begin_ns &&
			    ops[k].end_ns < op->begin_ns)
				return &ops[i];
	return NULL;
}

static bool
is_open(uint32_t key)
{
	for (size_t i = 0; i < h.count; i++)
		if (ops[i].key == key && ops[i].outcome == HISTORY_OPEN)
			return true;
	return false;
}

/* Make one operation say what cannot be; false if this one cannot. */
static bool
spoil(struct history_op *op, unsigned kind)
{
	const struct history_op *replaced = find_replaced(op);

	if (replaced == NULL || op->outcome == HISTORY_OPEN)
		return false;
	op->saw_seq = 0;
	op->saw = replaced->value;
	switch (kind) {
	case 0:
		op->guard = HISTORY_VALUE;
		return true;
	case 1:
		op->guard = HISTORY_SEQ;
		op->saw_seq = replaced->seq;
		return !is_open(op->key); /* whose number may be any */
	case 2:
		op->guard = HISTORY_VALUE;
		op->saw = 1u << 30; /* nobody's */
		return true;
	default:
		/* A commit that is younger in time has a smaller number. */
		op->seq = replaced->seq;
		op->guard = HISTORY_ANY;
		return op->writes && op->group == 0 && op->seq-- > 1;
	}
}

START_TEST(what_a_model_does_is_accepted_and_no_more)
{
	uint64_t seed = rng_seed_from_env();
	unsigned spoilt = 0;
	struct maker m = {.keys = KEYS};

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	rng_init(&m.rng, seed);
	for (unsigned round = 0; round < 200; round++) {
		struct history_op saved, *op;

		m.keys = 1 + round % KEYS;
		m.spread_ns = 2 + rng_below(&m.rng, 60);
		make_history(&m, 20 + rng_below(&m.rng, 200));
		ck_assert_msg(
		    judge(history_check), "round %u: %s", round, text);
		if (h.count == 0)
			continue;
		for (unsigned kind = 0; kind < 4; kind++) {
			op = &ops[rng_below(&m.rng, h.count)];
			saved = *op;
			if (spoil(op, kind)) {
				spoilt++;
				ck_assert_msg(!judge(history_check),
				    "round %u, kind %u, op %td", round, kind,
				    op - ops);
			}
			*op = saved;
		}
	}
	ck_assert_uint_gt(spoilt, 200);
}
END_TEST

/* The third judge: every order, one operation after the other. */

static bool
comes_first(const struct history_op *op, const bool *placed, bool by_number)
{
	for (size_t i = 0; i < h.count; i++) {
		if (placed[i] || &ops[i] == op)
			continue;
		if (ops[i].end_ns < op->begin_ns &&
		    ops[i].outcome != HISTORY_OPEN)
			return false;
		if (by_number && ops[i].writes && op->writes &&
		    ops[i].outcome != HISTORY_OPEN && ops[i].seq < op->seq)
			return false;
	}
	return true;
}

/* The place of an open one among those that were placed. */
static bool
is_over(const struct history_op *op, const bool *placed)
{
	for (size_t i = 0; i < h.count; i++)
		if (placed[i] && ops[i].begin_ns > op->end_ns)
			return true;
	return false;
}

static bool
try_all(bool *placed, const struct history_op **state, bool by_number)
{
	bool all = true;

	for (size_t i = 0, end; i < h.count; i = end) {
		const struct history_op *before[KEYS];
		bool fits = !placed[i];

		for (end = i + 1;
		     end < h.count && history_same_moment(&ops[i], &ops[end]);)
			end++;
		all &= placed[i] || ops[i].outcome == HISTORY_OPEN;
		for (size_t k = i; k < end && fits; k++)
			fits = history_fits(&ops[k], state[ops[k].key]);
		if (!fits || is_over(&ops[i], placed))
			continue;
		memset(placed + i, 1, end - i);
		if (comes_first(&ops[i], placed, by_number)) {
			memcpy(before, state, sizeof before);
			for (size_t k = i; k < end; k++)
				if (ops[k].writes)
					state[ops[k].key] = &ops[k];
			if (try_all(placed, state, by_number))
				return true;
			memcpy(state, before, sizeof before);
		}
		memset(placed + i, 0, end - i);
	}
	return all;
}

static bool
third_judge(bool by_number)
{
	bool placed[OPS_MAX] = {false};
	const struct history_op *state[KEYS] = {NULL};

	return try_all(placed, state, by_number);
}

/* Change what an operation says, for better or worse. */
static void
disturb(struct maker *m)
{
	struct history_op *op = &ops[rng_below(&m->rng, h.count)];
	struct history_op *other = &ops[rng_below(&m->rng, h.count)];

	if (op->outcome == HISTORY_OPEN)
		return;
	switch (rng_below(&m->rng, 4)) {
	case 0:
		op->guard = (uint8_t)(1 + rng_below(&m->rng, 2));
		break;
	case 1:
		if (other->value != 0 && other->key == op->key) {
			op->guard = HISTORY_VALUE;
			op->saw = other->value;
			op->saw_seq = 0;
		}
		break;
	case 2:
		if (op->guard != HISTORY_VALUE) {
			op->guard =
			    (uint8_t)(HISTORY_SEQ + rng_below(&m->rng, 2));
			op->saw_seq = 1 + rng_below(&m->rng, m->seq + 1);
		}
		break;
	default:
		if (op->group == 0 && op->begin_ns + 30 < op->end_ns)
			op->begin_ns += 30;
	}
}

START_TEST(small_ones_are_judged_as_by_trying_everything)
{
	uint64_t seed = rng_seed_from_env();
	unsigned good = 0, bad = 0;
	struct maker m = {.keys = 1};

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	rng_init(&m.rng, seed);
	for (unsigned round = 0; round < 20000; round++) {
		bool ok;

		m.keys = 1;
		m.spread_ns = 10 + rng_below(&m.rng, 60);
		make_history(&m, 4 + rng_below(&m.rng, 5));
		/* The search by itself knows no numbers but of what is
		 * found. */
		if (h.count == 0)
			continue;
		for (uint64_t i = rng_below(&m.rng, 3); i > 0; i--)
			disturb(&m);
		for (size_t i = 0; i < h.count && round % 2 == 0; i++)
			ops[i].seq = ops[i].saw_seq = 0;
		for (size_t i = 0; i < h.count && round % 2 == 0; i++)
			if (ops[i].guard >= HISTORY_SEQ)
				ops[i].guard = HISTORY_ANY;
		ok = third_judge(false);
		if (round % 2 == 0)
			ck_assert_msg(judge(history_search) == ok,
			    "round %u: %d %s", round, ok, text);
		else if (!ok)
			ck_assert_msg(
			    !judge(history_search), "round %u", round);
		good += ok;
		bad += !ok;
	}
	ck_assert_uint_gt(good, 2000);
	ck_assert_uint_gt(bad, 1500);
}
END_TEST

START_TEST(the_order_of_numbers_is_judged_as_by_trying_everything)
{
	uint64_t seed = rng_seed_from_env();
	unsigned good = 0, bad = 0;
	struct maker m = {.keys = 1};

	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	rng_init(&m.rng, seed);
	for (unsigned round = 0; round < 20000; round++) {
		bool ok, open = false;

		m.keys = 1 + round % KEYS;
		m.spread_ns = 10 + rng_below(&m.rng, 60);
		make_history(&m, 4 + rng_below(&m.rng, 5));
		for (size_t i = 0; i < h.count; i++)
			open |= ops[i].outcome == HISTORY_OPEN;
		if (h.count == 0 || open)
			continue; /* no numbers */
		for (uint64_t i = rng_below(&m.rng, 3); i > 0; i--)
			disturb(&m);
		ok = third_judge(true);
		ck_assert_msg(judge(history_order) == ok, "round %u: %d %s",
		    round, ok, text);
		if (m.keys == 1)
			ck_assert_msg(judge(history_search) == ok,
			    "round %u: %d %s", round, ok, text);
		good += ok;
		bad += !ok;
	}
	ck_assert_uint_gt(good, 2000);
	ck_assert_uint_gt(bad, 1500);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("history");
	TCase *tc = tcase_create("known");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, an_empty_history_is_fine);
	tcase_add_test(tc, a_read_during_a_write_sees_either);
	tcase_add_test(tc, a_stale_read_is_found);
	tcase_add_test(tc, a_read_from_the_future_is_found);
	tcase_add_test(tc, readers_agree_on_the_order);
	tcase_add_test(tc, a_value_nobody_wrote_is_found);
	tcase_add_test(tc, a_lost_update_is_found);
	tcase_add_test(tc, refusals_are_reads);
	tcase_add_test(tc, deleted_is_deleted);
	tcase_add_test(tc, an_unknown_outcome_may_be_either);
	tcase_add_test(tc, an_unknown_delete_explains_what_is_gone);
	tcase_add_test(tc, an_unknown_outcome_that_was_seen_has_its_number);
	tcase_add_test(tc, numbers_follow_real_time);
	tcase_add_test(tc, a_walk_shows_one_moment);
	tcase_add_test(tc, too_many_at_once_are_no_verdict);
	tcase_add_test(tc, many_of_unknown_outcome_are_judged);
	tcase_add_test(tc, a_report_is_short);
	tcase_add_test(tc, what_is_recorded_is_collected);
	suite_add_tcase(suite, tc);

	tc = tcase_create("random");
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, what_a_model_does_is_accepted_and_no_more);
	tcase_add_test(tc, small_ones_are_judged_as_by_trying_everything);
	tcase_add_test(
	    tc, the_order_of_numbers_is_judged_as_by_trying_everything);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
