/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steps.h - the calls of a benchmark, each with all it needs computed from
 * its number, and the loops that measure them.
 */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H

#include "session.h"

/*
 * A prime, so as not to keep step with pages or buckets, which hold numbers
 * of records near a power of two.
 */
#define LATENCY_STRIDE 17u

/* Call i; false after a message, with session->error set. */
typedef bool (*step_fn)(struct session *session, uint64_t i);

/* step_of - the step of an operation that is measured in a loop. */
step_fn step_of(const struct session *session, enum workload_op op);

bool step_put(struct session *session, uint64_t i);
bool step_put_batch(struct session *session, uint64_t i);
bool step_get(struct session *session, uint64_t i);

/* step_failed - say what went wrong with the present key; always false. */
bool step_failed(
    struct session *session, enum engine_result result, const char *wrong);

/* step_check_record - whether the store has it, step_check_absent: has not. */
bool step_check_record(struct session *session, uint64_t record);
bool step_check_absent(struct session *session, uint64_t record);

/* key_number - of the record; the numbers before and after are absent. */
static inline uint64_t
key_number(const struct session *session, uint64_t record)
{
	return session->key_base + 2 * record;
}

/* session_key - make it the present key. */
static inline const uint8_t *
session_key(struct session *session, uint64_t number)
{
	record_key(session->key, session->records->key_len, number);
	return session->key;
}

/*
 * run_steps - do calls *i to end, and time every stride-th by itself.  Ends
 * before, with *i less than end, when session->deadline is past.
 */
bool run_steps(struct session *session, step_fn step, uint64_t *i, uint64_t end,
    uint64_t stride, struct measure *measure);

/*
 * run_threads - the same by options->threads threads; *ret_done calls have
 * been made.
 */
bool run_threads(struct session *session, step_fn step, uint64_t count,
    uint64_t stride, struct measure *measure, uint64_t *ret_done);

/* run_scan - the whole store, times times; *ret_done records have come. */
bool run_scan(struct session *session, uint64_t times, struct measure *measure,
    uint64_t *ret_done);

/* line_sums_create - for session->line_sums; NULL if out of memory. */
uint64_t *line_sums_create(const struct records *records);

#endif /* BENCH_STEPS_H */
