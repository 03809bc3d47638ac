/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compactions.c - making garbage, and compacting it.
 */
#include "config.h"

#include "compactions.h"

#include "steps.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define APART 16        /* part of all, between the two puts of a record */
#define CHUNK_LEN 1700u /* puts between two looks whether it is over */

/* Of the first put of a record to the second one of another, in turns. */
static bool
make_garbage(struct session *session)
{
	uint64_t i, num = session->key_range, apart = num / APART;

	shuffle_init(&session->order, num, session->options->seed);
	for (i = 0; i < num + apart; i++) {
		session->generation = 0;
		if (i < num && !step_put(session, i))
			return false;
		session->generation = 1;
		if (i >= apart && !step_put(session, i - apart))
			return false;
	}
	session->record_count = num;
	return true;
}

/* Closed and opened once more: what is mapped stays in memory. */
static bool
open_again(struct session *session, bool cold)
{
	if (session->engine->sync(session->db) != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	if (!session_close_store(session))
		return false;
	if (cold)
		machine_evict(session->dir);
	return session_open(session, ENGINE_WRITE);
}

bool
compactions_prepare(struct session *session, const struct workload *workload)
{
	bool ok;

	if (!session_close_store(session))
		return false;
	session->hoard = true;
	ok = session_open_store(session, ENGINE_ASYNC, false,
		 workload_num(workload, session->options)) &&
	     make_garbage(session) && open_again(session, workload->cold);
	session->hoard = false;
	return ok;
}

/* What it has become, as it lies on the disk. */
static bool
copy_store(struct session *session, bool cold, struct measure *measure)
{
	if (cold)
		machine_evict(session->dir);
	if (machine_copy(session->dir, &measure->copied, &measure->copying_ns))
		return true;
	perror("kvlog-bench: copy of the store");
	session->error = BENCH_EXIT_FAILED;
	return false;
}

static enum engine_result
compact(struct session *session, struct measure *measure)
{
	uint64_t start_ns = clock_ns();
	enum engine_result result;

	result = session->engine->compact(session->db, &measure->rewritten);
	measure->rewriting_ns = clock_ns() - start_ns;
	return result;
}

static bool
compact_alone(struct session *session, struct measure *measure)
{
	if (compact(session, measure) != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	measure->ns = measure->longest_ns = measure->rewriting_ns;
	measure->ops = session->key_range;
	histogram_add(&measure->latency, measure->ns);
	return true;
}

/* The call in a thread of its own, and what came of it. */
struct call {
	struct session *session;
	struct measure *measure;
	atomic_bool over;
	enum engine_result result;
	char failure[256];
};

static void *
call_run(void *arg)
{
	struct call *call = arg;

	call->result = compact(call->session, call->measure);
	if (call->result != ENGINE_OK)
		snprintf(call->failure, sizeof call->failure, "%s",
		    engine_failure());
	if (call->session->engine->leave != NULL)
		call->session->engine->leave(call->session->db);
	atomic_store(&call->over, true);
	return NULL;
}

/* Puts of the next generation, in the same order once more if there is time. */
static bool
put_meanwhile(
    struct session *session, struct call *call, struct measure *measure)
{
	uint64_t i = 0, range = session->key_range, end, longest = 0;
	bool ok = true;

	session->generation++;
	do {
		end = range - i < CHUNK_LEN ? range : i + CHUNK_LEN;
		measure->ops += end - i;
		ok = run_steps(
		    session, step_put, &i, end, LATENCY_STRIDE, measure);
		if (measure->longest_ns > longest)
			longest = measure->longest_ns;
		i = i == range ? 0 : i;
	} while (ok && !atomic_load(&call->over));
	measure->longest_ns = longest;
	/* Of the others nobody knows how many. */
	session->generation--;
	session->changes = true;
	return ok;
}

static bool
compact_beside_puts(struct session *session, struct measure *measure)
{
	struct call call = {.session = session, .measure = measure};
	uint64_t start_ns = clock_ns();
	pthread_t thread;
	bool ok;

	session->deadline = UINT64_MAX; /* it ends with the call */
	if (pthread_create(&thread, NULL, call_run, &call) != 0) {
		perror("kvlog-bench: thread");
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	ok = put_meanwhile(session, &call, measure);
	measure->ns = clock_ns() - start_ns;
	pthread_join(thread, NULL);
	if (call.result != ENGINE_OK) {
		engine_fail("%s", call.failure);
		return step_failed(session, ENGINE_FAILED, "");
	}
	return ok;
}

bool
compactions_measure(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	bool alone = workload->op == WORKLOAD_COMPACT;

	bool ok = alone ? compact_alone(session, measure)
			: compact_beside_puts(session, measure);

	measure->disk_open = machine_disk(session->dir);
	/* The next benchmark opens it in its own way. */
	ok = ok && session_check_store(session, session->key_range) &&
	     session_close_store(session);
	measure->disk_closed = machine_disk(session->dir);
	return ok && (!alone || copy_store(session, workload->cold, measure));
}
