/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reads.c - what a thread reads, and how it is judged.
 */
#include "config.h"

#include "thread.h"

#include <inttypes.h>
#include <string.h>

static enum kvlog_status
lookup_seq(
    struct thread *thread, const char *key, size_t key_len, uint64_t *ret_seq)
{
	struct kvlog_info info;
	enum kvlog_status st;

	*ret_seq = 0;
	st = kvlog_lookup(thread->db, key, key_len, &info);
	if (st == KVLOG_OK)
		*ret_seq = info.seq;
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

/*
 * With the commit if with_seq: a value belongs to the commit that was the
 * key's before and behind it.  (A commit has one value for a key, and comes
 * once.)
 */
static enum kvlog_status
get(struct thread *thread, size_t cell, unsigned side, bool with_seq,
    struct sight *ret_sight)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	uint64_t before = 0, after = 0;
	char key[SCHEME_KEY_MAX];
	size_t key_len = scheme_key(scheme, cell, side, key);
	enum kvlog_status st = KVLOG_OK;

	*ret_sight = (struct sight){.value = thread->values[0]};
	if (with_seq)
		st = lookup_seq(thread, key, key_len, &before);
	if (st != KVLOG_OK)
		return st;
	st = kvlog_get(thread->db, key, key_len, thread->values[0],
	    scheme_value_max(scheme), &ret_sight->len);
	ret_sight->present = st == KVLOG_OK;
	if (st == KVLOG_NOTFOUND)
		return KVLOG_OK;
	if (st == KVLOG_OK && with_seq)
		st = lookup_seq(thread, key, key_len, &after);
	if (before == after)
		ret_sight->seq = after;
	return st;
}

bool
thread_get(struct thread *thread, size_t cell, unsigned side, bool with_seq)
{
	const struct check *check = &thread->board->check;
	uint64_t low = cell_low(&check->cells[cell]);
	uint64_t start = progress_clock();
	struct sight sight;
	enum kvlog_status st;

	runner_does(thread->runner, with_seq ? DOING_LOOKUP : DOING_GET, cell);
	st = get(thread, cell, side, with_seq, &sight);
	tally_add(&thread->runner->reads, st == KVLOG_OK, start);
	if (st != KVLOG_OK)
		return thread_wrong(thread, st, NULL);
	return check_sight(check, cell, side, low, &sight,
	    &thread->memory[cell * 2 + side], NULL);
}

bool
thread_ask(
    struct thread *thread, size_t cell, unsigned side, struct sight *ret_sight)
{
	enum kvlog_status st = get(thread, cell, side, false, ret_sight);

	return st == KVLOG_OK || thread_wrong(thread, st, NULL);
}

/* A walk, and the key that it stands on. */
struct walk {
	struct kvlog_iter *iter;
	const char *key; /* NULL: at its end */
	size_t key_len;
};

static enum kvlog_status
walk_next(struct walk *walk)
{
	enum kvlog_status st = kvlog_iter_next(walk->iter);

	walk->key = NULL;
	if (st == KVLOG_OK)
		walk->key = kvlog_iter_key(walk->iter, &walk->key_len);
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

/* How the key that the walk stands on compares to another, as memcmp(); its
 * end is behind all. */
static int
walk_compare(const struct walk *walk, const char *key)
{
	size_t len = strlen(key);
	size_t least = walk->key_len < len ? walk->key_len : len;
	int order;

	if (walk->key == NULL)
		return 1;
	order = memcmp(walk->key, key, least);
	return order != 0 ? order
			  : (walk->key_len > len) - (walk->key_len < len);
}

/* The walk has come to a key that is nobody's, or again. */
static bool
walk_strays(struct thread *thread, const struct walk *walk)
{
	verdict_add(&thread->board->verdicts,
	    "a walk came to %.*s where no such key is expected",
	    (int)walk->key_len, walk->key);
	return false;
}

/* What the walk says of a key, given that it has passed all before it. */
static void
walk_sight(const struct walk *walk, const char *key, struct sight *ret_sight)
{
	struct kvlog_info info;

	*ret_sight = (struct sight){.present = false};
	if (walk_compare(walk, key) != 0)
		return;
	kvlog_iter_info(walk->iter, &info);
	ret_sight->present = true;
	ret_sight->seq = info.seq;
	ret_sight->value = kvlog_iter_value(walk->iter, &ret_sight->len);
}

/* Judge the cell that comes next. */
static bool
walk_cell(struct thread *thread, struct walk *walk, size_t cell, uint64_t low,
    uint64_t *ret_present)
{
	const struct check *check = &thread->board->check;
	unsigned sides = scheme_place(check->scheme, cell).sides;
	struct sight sights[2];
	uint64_t numbers[2];
	char key[SCHEME_KEY_MAX];

	runner_does(thread->runner, DOING_WALK, cell);
	for (unsigned side = 0; side < sides; side++) {
		enum kvlog_status st = KVLOG_OK;

		scheme_key(check->scheme, cell, side, key);
		if (walk_compare(walk, key) < 0)
			return walk_strays(thread, walk);
		walk_sight(walk, key, &sights[side]);
		if (!check_sight(check, cell, side, low, &sights[side],
			&thread->memory[cell * 2 + side], &numbers[side]))
			return false;
		if (sights[side].present) {
			++*ret_present;
			st = walk_next(walk);
		}
		if (st != KVLOG_OK)
			return thread_wrong(thread, st, NULL);
	}
	return sides == 1 || check_pair(check, cell, sights, numbers);
}

static bool
walk_all(struct thread *thread, struct walk *walk, uint32_t owner,
    uint64_t *ret_present)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	size_t first = scheme_first(scheme, owner);
	size_t count = scheme_count(scheme, owner);

	for (size_t i = 0; i < count; i++)
		if (!walk_cell(
			thread, walk, first + i, thread->lows[i], ret_present))
			return false;
	return walk->key == NULL || walk_strays(thread, walk);
}

bool
thread_walk(struct thread *thread, uint32_t owner, uint64_t *ret_present)
{
	const struct check *check = &thread->board->check;
	size_t first = scheme_first(check->scheme, owner);
	size_t count = scheme_count(check->scheme, owner);
	uint64_t start = progress_clock();
	char prefix[SCHEME_KEY_MAX];
	struct walk walk = {.iter = NULL};
	enum kvlog_status st;
	bool right;

	runner_does(thread->runner, DOING_WALK, first);
	for (size_t i = 0; i < count; i++)
		thread->lows[i] = cell_low(&check->cells[first + i]);
	st = kvlog_iter_create(
	    thread->db, prefix, scheme_prefix(owner, prefix), &walk.iter);
	if (st == KVLOG_OK)
		st = walk_next(&walk);
	if (st == KVLOG_OK)
		right = walk_all(thread, &walk, owner, ret_present);
	else
		right = thread_wrong(thread, st, NULL);
	tally_add(&thread->runner->walks, st == KVLOG_OK, start);
	kvlog_iter_destroy(walk.iter);
	return right;
}

/* Any cell, one in four times a counter. */
static size_t
any_cell(struct thread *thread)
{
	const struct scheme *scheme = &thread->board->plan.scheme;

	if (thread_pick(thread, 4) == 0)
		return thread_pick(thread, scheme->counters);
	return thread_pick(thread, scheme_cell_count(scheme));
}

static uint32_t
any_owner(struct thread *thread)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	size_t owner = thread_pick(thread, scheme->owners + 1);

	return owner == scheme->owners ? SCHEME_NOBODY : (uint32_t)owner;
}

bool
thread_read(struct thread *thread)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	size_t dice = thread_pick(thread, 100);
	uint64_t present = 0;
	size_t cell = thread->half_read;

	/* Of a pair one after the other: the second is no older. */
	thread->half_read = 0;
	if (cell != 0)
		return thread_get(thread, cell, 1, dice < 33);
	if (dice < 3)
		return thread_walk(thread, any_owner(thread), &present);
	cell = any_cell(thread);
	if (scheme_place(scheme, cell).kind == CELL_PAIR)
		thread->half_read = cell;
	return thread_get(thread, cell, 0, dice < 33);
}
