/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.h - what concurrent operations on a store did and saw, and whether
 * it could have come about one by one.
 *
 * An operation takes effect in one moment between its begin and its end.  It
 * tells what held of its key in that moment (its guard), and may write.  So a
 * put if the key is absent is guard ABSENT and a write; if it was refused, it
 * is guard PRESENT and no write; a get is guard VALUE or ABSENT.  A history is
 * linearisable if such moments can be found for all (M. Herlihy, J. Wing).
 *
 * Workers record into logs in shared memory, so that of a killed process it is
 * known what it was at: such an operation may have happened or not.  If it
 * has, then before the next commit of the same worker: a dead writer's work
 * is adopted, or ended, by who writes next.
 *
 * Two judges, and each must be content:
 *   by search   (history_search.c) any order of a key's operations that
 *               explains them, with those of unknown outcome or without.
 *   by numbers  (history_order.c) the commits' sequence numbers are the order,
 *               over all keys, batches and walks included.
 */
#ifndef HISTORY_H
#define HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_NEVER UINT64_MAX

enum history_guard {
	HISTORY_ANY = 0, /* nothing is known */
	HISTORY_ABSENT,
	HISTORY_PRESENT,
	HISTORY_VALUE, /* saw, of commit saw_seq unless that is 0 */
	HISTORY_SEQ,   /* a value of commit saw_seq */
	HISTORY_OTHER  /* none, or one of another commit than saw_seq */
};

enum history_outcome {
	HISTORY_OPEN = 0, /* not known */
	HISTORY_DONE,
	HISTORY_VOID /* did and saw nothing */
};

struct history_op {
	const char *call;  /* for people */
	uint64_t begin_ns; /* CLOCK_MONOTONIC, the same for all processes */
	uint64_t end_ns;   /* HISTORY_NEVER: not before the history's end */
	uint64_t value;    /* that it writes, unlike all others; 0: a delete */
	uint64_t seq;      /* of the commit, for a write; 0: not known */
	uint64_t saw, saw_seq;
	uint32_t key;   /* small numbers */
	uint32_t group; /* not 0: neighbours of one worker with the same number
			   took effect in one moment */
	uint16_t worker;
	bool writes;
	uint8_t guard;   /* enum history_guard */
	uint8_t outcome; /* enum history_outcome */
};

/* What one worker records. */
struct history_log {
	size_t cap;
	uint32_t group_count;
	uint16_t worker;
	_Atomic size_t count;
	struct history_op ops[];
};

/* Exits with a message if there is no memory. */
struct history_log *history_log_create(uint16_t worker, size_t cap);
void history_log_destroy(struct history_log *log);

/*
 * Recording.  history_new() gives room for count operations of one moment, to
 * be filled, or NULL if the log is full; history_begin() comes right before
 * the call and history_end() right behind it; then guards and numbers are
 * filled in, and history_settle() says that they are.
 */
struct history_op *history_new(
    struct history_log *log, size_t count, const char *call);
void history_begin(
    struct history_log *log, struct history_op *ops, size_t count);
void history_end(struct history_op *ops, size_t count);
void history_settle(
    struct history_op *ops, size_t count, enum history_outcome outcome);

/* A value nobody else writes, for an operation of this log. */
uint64_t history_value(
    const struct history_log *log, const struct history_op *op);

struct history {
	struct history_op *ops;
	size_t count;
};

/* Add what a worker has recorded, when it is dead or done; all zero at
 * first. */
void history_collect(struct history *history, const struct history_log *log);
void history_fini(struct history *history);

/* Whether it is linearisable; if not, out gets the operations of a key that
 * show it. */
bool history_check(const struct history *history, FILE *out);

/* The two judges.  Operations of unknown outcome are told their commit first,
 * if somebody saw it: that is history_prepare(). */
bool history_prepare(struct history *history, FILE *out);
bool history_search(const struct history *history, FILE *out);
bool history_order(const struct history *history, FILE *out);

/* What they share. */
void *history_allocate(size_t count, size_t size); /* zeros; or exits */
bool history_fits(const struct history_op *op, const struct history_op *state);
bool history_same_moment(
    const struct history_op *one, const struct history_op *other);
void history_print(FILE *out, const struct history_op *op, uint64_t origin_ns,
    const char *remark);

#endif
