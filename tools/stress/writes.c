/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writes.c - what a thread writes, and how it is accounted for.
 *
 * `issued` is raised before the call and `acked` behind it.  Where a call
 * says that nothing was written, `issued` is taken back, so that it would be
 * noticed if that were not true.  A thread that is killed between the two
 * leaves a write of which nobody knows; the one that takes its place goes on
 * with the next number.
 */
#include "config.h"

#include "thread.h"

#include <inttypes.h>
#include <sched.h>

#define TRIES_MAX 100 /* of a write that finds the store busy */

/* A write under way. */
struct attempt {
	size_t cell;
	uint64_t start;
	unsigned tries;
	uint64_t newest; /* commit that was acknowledged before */
	struct kvlog_write how;
	struct kvlog_error err;
	struct kvlog_receipt receipt;
};

static void
attempt_begin(struct attempt *attempt, size_t cell)
{
	*attempt = (struct attempt){
	    .cell = cell, .start = progress_clock(), .how = KVLOG_WRITE_INIT};
}

static void
attempt_try(
    struct thread *thread, struct attempt *attempt, enum activity activity)
{
	attempt->how.err = &attempt->err;
	attempt->newest = atomic_load(&thread->board->newest_seq);
	runner_does(thread->runner, activity, attempt->cell);
}

/* Note a try that others have foiled; true if there is to be another one. */
static bool
attempt_again(struct thread *thread, struct attempt *attempt)
{
	atomic_fetch_add_explicit(
	    &thread->runner->contentions, 1, memory_order_relaxed);
	if (board_ends(thread->board))
		return false;
	if (++attempt->tries < TRIES_MAX) {
		sched_yield();
		return true;
	}
	tally_add(&thread->runner->writes, false, attempt->start);
	return false;
}

static bool
attempt_fail(struct thread *thread, const struct attempt *attempt,
    enum kvlog_status status)
{
	tally_add(&thread->runner->writes, false, attempt->start);
	return thread_wrong(thread, status, &attempt->err);
}

/* The write is done: number is what the cell has come to. */
static bool
attempt_done(struct thread *thread, const struct attempt *attempt,
    uint64_t number, size_t len)
{
	struct board *board = thread->board;
	unsigned sides = scheme_place(&board->plan.scheme, attempt->cell).sides;

	tally_add(&thread->runner->writes, true, attempt->start);
	atomic_fetch_add_explicit(
	    &thread->runner->commits, 1, memory_order_relaxed);
	atomic_fetch_add(&board->written_bytes, len);
	raise_to(&board->check.cells[attempt->cell].seen, number);
	for (unsigned side = 0; side < sides; side++)
		thread->memory[attempt->cell * 2 + side] =
		    (struct memory){attempt->receipt.seq, number};
	return check_order(&board->check, attempt->cell, attempt->newest,
	    attempt->receipt.seq, &board->newest_seq);
}

/* Put or delete all sides of a cell in one commit. */
static enum kvlog_status
commit(struct thread *thread, struct attempt *attempt, uint64_t number,
    size_t *ret_len)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	bool deletes = scheme_deletes(scheme, attempt->cell, number);
	unsigned sides = scheme_place(scheme, attempt->cell).sides;
	struct kvlog_op ops[2] = {
	    {.type = KVLOG_OP_DELETE}, {.type = KVLOG_OP_DELETE}};
	char keys[2][SCHEME_KEY_MAX];

	*ret_len = 0;
	for (unsigned side = 0; side < sides; side++) {
		ops[side].key = keys[side];
		ops[side].key_len =
		    scheme_key(scheme, attempt->cell, side, keys[side]);
		if (!deletes) {
			ops[side].type = KVLOG_OP_PUT;
			ops[side].value = thread->values[side];
			ops[side].value_len =
			    scheme_value(scheme, attempt->cell, side,
				thread->owner, number, thread->values[side]);
		}
		*ret_len += ops[side].key_len + ops[side].value_len;
	}
	attempt_try(thread, attempt,
	    sides == 2 ? DOING_BATCH
	    : deletes  ? DOING_DELETE
		       : DOING_PUT);
	if (sides == 2)
		return kvlog_apply(
		    thread->db, ops, 2, &attempt->how, &attempt->receipt, NULL);
	if (deletes)
		return kvlog_delete(thread->db, ops[0].key, ops[0].key_len,
		    &attempt->how, &attempt->receipt);
	return kvlog_put(thread->db, ops[0].key, ops[0].key_len, ops[0].value,
	    ops[0].value_len, &attempt->how, &attempt->receipt);
}

/* A delete has found nothing to delete: right only if that can have been so
 * without it.  Its number is used up, or the next write would be it again. */
static bool
nothing_deleted(
    struct thread *thread, const struct attempt *attempt, uint64_t low)
{
	const struct check *check = &thread->board->check;
	struct sight nothing = {.present = false};
	bool right;

	tally_add(&thread->runner->writes, true, attempt->start);
	right = check_sight(check, attempt->cell, 0, low, &nothing, NULL, NULL);
	atomic_fetch_add(&check->cells[attempt->cell].issued, 1);
	return right;
}

/* Write the next number of a cell of its own. */
static bool
write_own(struct thread *thread, size_t at)
{
	struct cell *cell = &thread->board->check.cells[at];
	struct attempt attempt;
	enum kvlog_status st;
	uint64_t low = cell_low(cell), number;
	size_t len;

	attempt_begin(&attempt, at);
	do {
		number = atomic_fetch_add(&cell->issued, 1) + 1;
		st = commit(thread, &attempt, number, &len);
		if (st == KVLOG_OK) {
			atomic_store(&cell->acked, number);
			return attempt_done(thread, &attempt, number, len);
		}
		/* A late commit may come to be found; others were not made. */
		if (st != KVLOG_TIMEOUT)
			atomic_fetch_sub(&cell->issued, 1);
		if (st == KVLOG_NOTFOUND)
			return nothing_deleted(thread, &attempt, low);
		if (st != KVLOG_BUSY && st != KVLOG_TIMEOUT)
			return attempt_fail(thread, &attempt, st);
	} while (attempt_again(thread, &attempt));
	return true;
}

/* Put one more than a counter is, on condition that it is still that. */
static enum kvlog_status
put_counter(struct thread *thread, struct attempt *attempt, uint64_t number,
    size_t *ret_len)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	char key[SCHEME_KEY_MAX];
	size_t key_len = scheme_key(scheme, attempt->cell, 0, key);
	size_t value_len = scheme_value(
	    scheme, attempt->cell, 0, thread->owner, number, thread->values[0]);

	*ret_len = key_len + value_len;
	attempt->how.condition = KVLOG_IF_SEQ;
	attempt_try(thread, attempt, DOING_INCREMENT);
	return kvlog_put(thread->db, key, key_len, thread->values[0], value_len,
	    &attempt->how, &attempt->receipt);
}

/* The value of a counter, and a commit number that makes a put on condition
 * of it fail if it has changed since. */
static bool
ask_counter(
    struct thread *thread, struct attempt *attempt, uint64_t *ret_number)
{
	const struct check *check = &thread->board->check;
	uint64_t low = cell_low(&check->cells[attempt->cell]);
	struct kvlog_info info = {.seq = 0};
	struct sight sight;
	char key[SCHEME_KEY_MAX];
	enum kvlog_status st;

	runner_does(thread->runner, DOING_INCREMENT, attempt->cell);
	st = kvlog_lookup(thread->db, key,
	    scheme_key(check->scheme, attempt->cell, 0, key), &info);
	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		return thread_wrong(thread, st, NULL);
	attempt->how.if_seq = info.seq;
	return thread_ask(thread, attempt->cell, 0, &sight) &&
	       check_sight(
		   check, attempt->cell, 0, low, &sight, NULL, ret_number);
}

static bool
increment(struct thread *thread, size_t at)
{
	struct cell *cell = &thread->board->check.cells[at];
	struct attempt attempt;
	enum kvlog_status st;
	uint64_t number;
	size_t len;

	attempt_begin(&attempt, at);
	do {
		if (!ask_counter(thread, &attempt, &number))
			return false;
		atomic_fetch_add(&cell->issued, 1);
		st = put_counter(thread, &attempt, number + 1, &len);
		if (st == KVLOG_OK) {
			atomic_fetch_add(&cell->acked, 1);
			return attempt_done(thread, &attempt, number + 1, len);
		}
		if (st != KVLOG_TIMEOUT)
			atomic_fetch_sub(&cell->issued, 1);
		if (st == KVLOG_CONFLICT)
			attempt.tries = 0; /* another one has come further */
		else if (st != KVLOG_BUSY && st != KVLOG_TIMEOUT)
			return attempt_fail(thread, &attempt, st);
	} while (attempt_again(thread, &attempt));
	return true;
}

bool
thread_write(struct thread *thread)
{
	const struct scheme *scheme = &thread->board->plan.scheme;
	size_t first = scheme_first(scheme, thread->owner);
	size_t pairs = first + scheme->singles;
	size_t dice = thread_pick(thread, 100);

	if (dice < 45)
		return write_own(
		    thread, first + thread_pick(thread, scheme->singles));
	if (dice < 65)
		return write_own(
		    thread, pairs + thread_pick(thread, scheme->pairs));
	if (dice < 90)
		return increment(thread, thread_pick(thread, scheme->counters));
	return thread_read(thread);
}
