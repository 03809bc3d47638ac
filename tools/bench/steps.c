/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steps.c - the measured calls and loops.
 *
 * The loop must cost little beside an engine, and must not keep the
 * processor from overlapping one operation with the next, as it does in a
 * program that uses the store.  So everything an operation needs is computed
 * from its number alone, without a table that would fill the caches and
 * without a chain from one operation to the next.
 *
 * Time is taken around the whole loop for the throughput, and around every
 * LATENCY_STRIDE-th operation for the distribution: two readings of the
 * clock in 17 operations, 1 to 2 ns each.  Between the samples no time is
 * lost sight of: the longest stretch from one sample's end to the next one's
 * is kept too, so that a rare stall shows even if it hits no sample.  A
 * stretch of 17 operations is what `longest_ns` speaks of; where every call is
 * timed (durable writes, batches, scans), it is one.
 */
#include "config.h"

#include "steps.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_LEN 64u
#define SLOTS_PER_LINE (LINE_LEN / RECORDS_SLOT_LEN)

/* Values up to here are compared whole, longer ones by both ends. */
#define COMPARE_LEN 128u

bool
step_failed(
    struct session *session, enum engine_result result, const char *wrong)
{
	fprintf(stderr, "kvlog-bench: %s: %s: ", session->engine->name,
	    session->doing);
	if (result == ENGINE_FAILED) {
		fprintf(stderr, "%s\n", engine_failure());
		session->error = BENCH_EXIT_FAILED;
	} else {
		fprintf(stderr, "wrong answer for key %.*s: %s\n",
		    (int)session->records->key_len, (char *)session->key,
		    wrong);
		session->error = BENCH_EXIT_WRONG;
	}
	return false;
}

static inline bool
same_value(const uint8_t *bytes, size_t len, struct value want)
{
	if (len != want.len)
		return false;
	if (len <= COMPARE_LEN)
		return memcmp(bytes, want.bytes, len) == 0;
	return memcmp(bytes, want.bytes, 8) == 0 &&
	       memcmp(bytes + len - 8, want.bytes + len - 8, 8) == 0;
}

/* If it is not the one of the session's generation: whether others may have put
 * the next one.  An engine of nothing may say all. */
static bool
other_value_fits(const struct session *session, uint64_t record,
    const uint8_t *bytes, size_t len)
{
	return (session->changes && same_value(bytes, len,
					record_value(session->records, record,
					    session->generation + 1))) ||
	       session->engine->kind == ENGINE_NULL;
}

/* Whether the record may have that value. */
static inline bool
value_fits(const struct session *session, uint64_t record, const uint8_t *bytes,
    size_t len)
{
	return same_value(bytes, len,
		   record_value(
		       session->records, record, session->generation)) ||
	       other_value_fits(session, record, bytes, len);
}

/* ---- which record ---- */

static inline uint64_t
choose(const struct session *session, uint64_t i)
{
	uint64_t n = session->seed + i;

	if (session->skewed)
		return shuffle_at(
		    &session->hot, zipf_rank(&session->zipf, mix(n)));
	return scale(mix_short(n), session->key_range);
}

/* ---- writes ---- */

static inline bool
put_record(struct session *session, uint64_t record, uint64_t generation)
{
	struct value value = record_value(session->records, record, generation);
	enum engine_result result;

	result = session->engine->put(session->db,
	    session_key(session, key_number(session, record)),
	    session->records->key_len, value.bytes, value.len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "not stored");
	return true;
}

bool
step_put(struct session *session, uint64_t i)
{
	return put_record(
	    session, shuffle_at(&session->order, i), session->generation);
}

/* Each time all of them in another order. */
static bool
step_churn(struct session *session, uint64_t i)
{
	uint64_t range = session->key_range;

	if (i % range == 0) {
		shuffle_init(
		    &session->order, range, mix(session->seed + i / range));
		session->generation++;
	}
	return put_record(session, shuffle_at(&session->order, i % range),
	    session->generation);
}

bool
step_put_batch(struct session *session, uint64_t i)
{
	size_t key_len = session->records->key_len;
	uint64_t at = i * BATCH_LEN, left = session->key_range - at;
	uint64_t record, n = left < BATCH_LEN ? left : BATCH_LEN;
	enum engine_result result;
	struct value value;

	for (uint64_t j = 0; j < n; j++) {
		struct engine_pair *pair = &session->pairs[j];
		uint8_t *key = session->keys + j * key_len;

		record = shuffle_at(&session->order, at + j);
		value =
		    record_value(session->records, record, session->generation);
		record_key(key, key_len, key_number(session, record));
		*pair =
		    (struct engine_pair){key, value.bytes, key_len, value.len};
	}
	result =
	    session->engine->put_batch(session->db, session->pairs, (size_t)n);
	if (result == ENGINE_OK)
		return true;
	memcpy(session->key, session->keys, key_len);
	return step_failed(session, result, "not stored, with its batch");
}

/* Where an engine has no batches. */
static bool
step_put_each(struct session *session, uint64_t i)
{
	uint64_t at = i * BATCH_LEN, end = at + BATCH_LEN;

	for (; at < end && at < session->key_range; at++) {
		if (!step_put(session, at))
			return false;
	}
	return true;
}

static bool
step_delete(struct session *session, uint64_t i)
{
	uint64_t record = shuffle_at(&session->order, i);
	enum engine_result result;

	result = session->engine->delete (session->db,
	    session_key(session, key_number(session, record)),
	    session->records->key_len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "absent, but was stored");
	return true;
}

/* ---- reads ---- */

/* What is rarely called stays apart: a get then needs fewer registers. */
#ifdef __GNUC__
#define RARE __attribute__((cold, noinline))
#else
#define RARE
#endif

/* A get that has not brought what was put last. */
RARE static bool
judge_get(struct session *session, uint64_t record, enum engine_result result,
    size_t len)
{
	if (result != ENGINE_OK)
		return step_failed(session, result, "absent, but was stored");
	if (!other_value_fits(session, record, session->buf, len))
		return step_failed(session, result, "another value");
	return true;
}

static inline bool
get_record(struct session *session, uint64_t record)
{
	const uint8_t *key = session_key(session, key_number(session, record));
	enum engine_result result;
	size_t len = 0;

	result =
	    session->engine->get(session->db, key, session->records->key_len,
		session->buf, session->records->lengths.max, &len);
	if (result == ENGINE_OK &&
	    same_value(session->buf, len,
		record_value(session->records, record, session->generation)))
		return true;
	return judge_get(session, record, result, len);
}

bool
step_check_record(struct session *session, uint64_t record)
{
	return get_record(session, record);
}

bool
step_get(struct session *session, uint64_t i)
{
	return get_record(session, choose(session, i));
}

static inline bool
get_absent(struct session *session, uint64_t number)
{
	enum engine_result result;
	size_t len;

	result = session->engine->get(session->db, session_key(session, number),
	    session->records->key_len, session->buf,
	    session->records->lengths.max, &len);
	if (result != ENGINE_ABSENT && session->engine->kind != ENGINE_NULL)
		return step_failed(session, result, "found, but never stored");
	return true;
}

bool
step_check_absent(struct session *session, uint64_t record)
{
	return get_absent(session, key_number(session, record));
}

/*
 * Keys of records are the even numbers from key_base = 2 * range up to
 * 4 * range.  Odd ones lie between them, others below and above.
 */
static bool
step_get_absent(struct session *session, uint64_t i)
{
	uint64_t h = mix(session->seed + i), range = session->key_range;
	uint64_t n;

	n = scale(h, range);
	if ((i & 1) == 0)
		return get_absent(session, key_number(session, n) + 1);
	n = 2 * n + (h & 1);
	if ((i & 2) != 0)
		n += 2 * session->key_base;
	return get_absent(session, n);
}

static bool
step_mixed(struct session *session, uint64_t i)
{
	uint64_t record = choose(session, i);

	if (scale(mix(~session->seed - i), 100) < session->get_share)
		return get_record(session, record);
	return put_record(session, record, session->generation + 1);
}

/* What came of the keys of one call. */
struct many {
	struct session *session;
	uint64_t records[MANY_LEN];
	unsigned seen;
	bool ok;
};

static bool
use_many(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct many *many = arg;
	const uint8_t *keys = many->session->keys;
	size_t at = (size_t)((const uint8_t *)key - keys) / key_len;

	if (!value_fits(many->session, many->records[at], value, value_len)) {
		memcpy(many->session->key, key, key_len);
		many->ok =
		    step_failed(many->session, ENGINE_OK, "another value");
	}
	many->seen++;
	return many->ok;
}

static bool
step_get_many(struct session *session, uint64_t i)
{
	struct many many = {.session = session, .ok = true};
	size_t key_len = session->records->key_len;
	enum engine_result result;

	for (uint64_t j = 0; j < MANY_LEN; j++) {
		many.records[j] = choose(session, i * MANY_LEN + j);
		record_key(session->keys + j * key_len, key_len,
		    key_number(session, many.records[j]));
		session->many[j] = session->keys + j * key_len;
	}
	result = session->engine->get_many(
	    session->db, session->many, key_len, MANY_LEN, use_many, &many);
	if (!many.ok)
		return false;
	memcpy(session->key, session->keys, key_len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "not found, or another");
	if (many.seen != MANY_LEN && session->engine->kind != ENGINE_NULL)
		return step_failed(session, ENGINE_OK, "fewer than were asked");
	return true;
}

/* Where an engine has no such call. */
static bool
step_get_each(struct session *session, uint64_t i)
{
	for (uint64_t j = 0; j < MANY_LEN; j++) {
		if (!step_get(session, i * MANY_LEN + j))
			return false;
	}
	return true;
}

/* ---- views of large values ---- */

/*
 * The sum of the first words of a value's lines reads every line.  What it
 * must be is known without reading as much again: from each slot of the pool
 * on, the sum to the end of the pool is kept.
 */
uint64_t *
line_sums_create(const struct records *records)
{
	size_t slots, slot;
	uint64_t *sums, word;

	slots = (RECORDS_POOL_LEN + records->lengths.max) / RECORDS_SLOT_LEN;
	sums = calloc(slots + SLOTS_PER_LINE, sizeof *sums);
	if (sums == NULL)
		return NULL;
	for (slot = slots; slot-- > 0;) {
		memcpy(&word, records->pool + slot * RECORDS_SLOT_LEN,
		    sizeof word);
		sums[slot] = word + sums[slot + SLOTS_PER_LINE];
	}
	return sums;
}

static uint64_t
sum_of_pool(const struct session *session, struct value value)
{
	size_t slot =
	    (size_t)(value.bytes - session->records->pool) / RECORDS_SLOT_LEN;
	size_t lines = value.len / LINE_LEN;

	return session->line_sums[slot] -
	       session->line_sums[slot + lines * SLOTS_PER_LINE];
}

static uint64_t
sum_of_lines(const uint8_t *bytes, size_t len)
{
	uint64_t word[4], sum[4] = {0, 0, 0, 0};
	size_t at, i;

	for (at = 0; len - at >= 4 * LINE_LEN; at += 4 * LINE_LEN) {
		for (i = 0; i < 4; i++) {
			memcpy(&word[i], bytes + at + i * LINE_LEN, 8);
			sum[i] += word[i];
		}
	}
	for (; len - at >= LINE_LEN; at += LINE_LEN) {
		memcpy(&word[0], bytes + at, 8);
		sum[0] += word[0];
	}
	return sum[0] + sum[1] + sum[2] + sum[3];
}

/* A value that is looked at where the store has it. */
struct sight {
	struct session *session;
	uint64_t record;
	bool ok;
};

static bool
use_view(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct sight *sight = arg;
	struct session *session = sight->session;

	(void)key;
	(void)key_len;
	sight->ok = value_fits(session, sight->record, value, value_len) &&
		    (session->engine->kind == ENGINE_NULL ||
			sum_of_lines(value, value_len) ==
			    sum_of_pool(session,
				record_value(session->records, sight->record,
				    session->generation)));
	return false;
}

static bool
step_view(struct session *session, uint64_t i)
{
	struct sight sight = {session, choose(session, i), false};
	enum engine_result result;

	result = session->engine->get_view(session->db,
	    session_key(session, key_number(session, sight.record)),
	    session->records->key_len, use_view, &sight);
	if (result != ENGINE_OK)
		return step_failed(session, result, "absent, but was stored");
	if (!sight.ok)
		return step_failed(session, result, "another value");
	return true;
}

/* ---- scans ---- */

/* Records that are to come, and, of a whole scan, the time between them. */
struct scan {
	struct session *session;
	uint64_t record, left;
	bool ok, timed;
	uint64_t stretch, before; /* 0: this record is not timed */
	struct measure *measure;
};

/* When the record before was given back, until now. */
static void
scan_sample(struct scan *scan)
{
	uint64_t now = clock_ticks();

	histogram_add(
	    &scan->measure->latency, clock_ticks_to_ns(now - scan->before));
	if (now - scan->stretch > scan->measure->longest_ns)
		scan->measure->longest_ns = now - scan->stretch;
	scan->stretch = now;
	scan->before = 0;
	if (now >= scan->session->deadline)
		scan->timed = false;
}

static bool
use_record(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct scan *scan = arg;
	struct session *session = scan->session;
	uint64_t record = scan->record++;

	if (scan->before != 0) {
		scan_sample(scan);
		if (!scan->timed)
			return false;
	}
	session_key(session, key_number(session, record));
	if ((key_len != session->records->key_len ||
		memcmp(key, session->key, key_len) != 0 ||
		!value_fits(session, record, value, value_len)) &&
	    session->engine->kind != ENGINE_NULL) {
		scan->ok = step_failed(
		    session, ENGINE_OK, "not the next record of the scan");
		return false;
	}
	if (--scan->left == 0)
		return false;
	if (scan->timed && scan->left % LATENCY_STRIDE == 0)
		scan->before = clock_ticks();
	return true;
}

static bool
scan_end(struct scan *scan, enum engine_result result)
{
	if (!scan->ok)
		return false;
	if (result != ENGINE_OK)
		return step_failed(scan->session, result, "nothing to scan");
	if (scan->left > 0)
		return step_failed(scan->session, ENGINE_OK,
		    "the last record of the scan, too early");
	return true;
}

/* Half of the scans begin at a key, half before one. */
static bool
step_scan(struct session *session, uint64_t i)
{
	uint64_t h = mix(session->seed + i), unit = session->unit;
	uint64_t last = session->key_range - unit;
	struct scan scan = {.session = session, .left = unit, .ok = true};
	const uint8_t *key;

	scan.record = choose(session, i);
	if (scan.record > last)
		scan.record = scale(h, last + 1);
	key = session_key(session, key_number(session, scan.record) - (h & 1));
	/* The engine may not have the memory that use_record() writes to. */
	memcpy(session->keys, key, session->records->key_len);
	return scan_end(
	    &scan, session->engine->scan(session->db, session->keys,
		       session->records->key_len, use_record, &scan));
}

static bool
step_scan_write(struct session *session, uint64_t i)
{
	uint64_t record = scale(mix(~session->seed - i), session->key_range);

	return put_record(session, record, session->generation + 1) &&
	       step_scan(session, i);
}

bool
run_scan(struct session *session, uint64_t times, struct measure *measure,
    uint64_t *ret_done)
{
	struct scan scan = {.session = session, .measure = measure};
	enum engine_result result;
	uint64_t t;

	*ret_done = 0;
	scan.ok = scan.timed = true;
	scan.stretch = clock_ticks();
	for (t = 0; t < times && scan.timed; t++) {
		scan.record = 0;
		scan.before = 0;
		scan.left = session->key_range;
		result = session->engine->scan(
		    session->db, NULL, 0, use_record, &scan);
		*ret_done += session->key_range - scan.left;
		if (!scan.timed)
			scan.left = 0; /* not the engine's fault */
		if (!scan_end(&scan, result))
			return false;
	}
	measure->longest_ns = clock_ticks_to_ns(measure->longest_ns);
	return true;
}

step_fn
step_of(const struct session *session, enum workload_op op)
{
	switch (op) {
	case WORKLOAD_PUT_IN_ORDER:
	case WORKLOAD_PUT_SHUFFLED:
		return step_put;
	case WORKLOAD_PUT_BATCH:
		return session->engine->put_batch != NULL ? step_put_batch
							  : step_put_each;
	case WORKLOAD_GET:
		return step_get;
	case WORKLOAD_GET_MANY:
		return session->engine->get_many != NULL ? step_get_many
							 : step_get_each;
	case WORKLOAD_GET_ABSENT:
		return step_get_absent;
	case WORKLOAD_GET_VIEW:
		return step_view;
	case WORKLOAD_MIXED:
		return step_mixed;
	case WORKLOAD_SCAN_SOME:
		return step_scan;
	case WORKLOAD_SCAN_WRITE:
		return step_scan_write;
	case WORKLOAD_DELETE:
		return step_delete;
	case WORKLOAD_CHURN:
		return step_churn;
	case WORKLOAD_SCAN_ALL:
	case WORKLOAD_ONESHOT_GET:
	case WORKLOAD_ONESHOT_GET_ABSENT:
	case WORKLOAD_ONESHOT_PUT:
	case WORKLOAD_OPEN:
	case WORKLOAD_OPEN_KILLED:
	case WORKLOAD_READ_WRITE:
	case WORKLOAD_READ_MEMORY:
	case WORKLOAD_COMPACT:
	case WORKLOAD_COMPACT_PUTS:
		break; /* not measured in steps */
	}
	return NULL;
}

/* ---- loops ---- */

bool
run_steps(struct session *session, step_fn step, uint64_t *i, uint64_t end,
    uint64_t stride, struct measure *measure)
{
	uint64_t stretch, before, after, sample_at, at = *i, longest = 0;

	after = stretch = clock_ticks();
	while (at < end && after < session->deadline) {
		sample_at = stride <= end - at ? at + stride - 1 : end - 1;
		for (; at < sample_at; at++) {
			if (!step(session, at))
				return false;
		}
		before = clock_ticks();
		if (!step(session, at++))
			return false;
		after = clock_ticks();
		histogram_add(
		    &measure->latency, clock_ticks_to_ns(after - before));
		if (after - stretch > longest)
			longest = after - stretch;
		stretch = after;
	}
	measure->longest_ns = clock_ticks_to_ns(longest);
	*i = at;
	return true;
}

/* A thread with its own key and buffer, and its share of the operations. */
struct worker {
	struct session session;
	step_fn step;
	uint64_t first, at, end, stride;
	struct measure measure;
	pthread_t thread;
	bool ok;
};

static void *
worker_run(void *arg)
{
	struct worker *worker = arg;
	struct session *session = &worker->session;

	worker->ok = run_steps(session, worker->step, &worker->at, worker->end,
	    worker->stride, &worker->measure);
	if (session->engine->leave != NULL)
		session->engine->leave(session->db);
	return NULL;
}

static bool
worker_start(struct worker *worker, const struct session *session)
{
	worker->session = *session;
	worker->session.buf = calloc(1, session->records->lengths.max + 1);
	if (worker->session.buf != NULL &&
	    pthread_create(&worker->thread, NULL, worker_run, worker) == 0)
		return true;
	free(worker->session.buf);
	return false;
}

/* Wait for it and add up; whether all went well. */
static bool
worker_join(
    struct worker *worker, struct session *session, struct measure *measure)
{
	pthread_join(worker->thread, NULL);
	histogram_merge(&measure->latency, &worker->measure.latency);
	if (worker->measure.longest_ns > measure->longest_ns)
		measure->longest_ns = worker->measure.longest_ns;
	if (!worker->ok)
		session->error = worker->session.error;
	free(worker->session.buf);
	return worker->ok;
}

bool
run_threads(struct session *session, step_fn step, uint64_t count,
    uint64_t stride, struct measure *measure, uint64_t *ret_done)
{
	uint64_t i, started, threads = session->options->threads;
	struct worker *workers = calloc((size_t)threads, sizeof *workers);
	bool ok = workers != NULL;

	for (started = 0; ok && started < threads; started += ok) {
		struct worker *worker = &workers[started];

		worker->step = step;
		worker->first = worker->at = count * started / threads;
		worker->end = count * (started + 1) / threads;
		worker->stride = stride;
		ok = worker_start(worker, session);
	}
	if (!ok) {
		fprintf(stderr, "kvlog-bench: no memory for threads\n");
		session->error = BENCH_EXIT_FAILED;
	}
	*ret_done = 0;
	for (i = 0; i < started; i++) {
		ok &= worker_join(&workers[i], session, measure);
		*ret_done += workers[i].at - workers[i].first;
	}
	free(workers);
	return ok;
}
