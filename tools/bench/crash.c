/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crash.c - kill a writer, open the store again, look for what it was told.
 *
 * Put i is of record i modulo SPAN, with a value of generation i / SPAN: new
 * keys first, then ever newer values of all of them.  The child counts in
 * shared memory the puts that have returned; so after the kill the newest
 * value of each record is known, but for the one put that was under way,
 * which may have happened or not.
 */
#include "config.h"

#include "crash.h"

#include "bench.h"
#include "records.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAN UINT64_C(20000)
#define KEY_LEN 16u
#define VALUE_LENS "0-400"
#define WAIT_NS UINT64_C(20000000000) /* for a writer to come so far */

struct crash {
	const struct engine *engine;
	const char *dir;
	struct records records;
	uint8_t *buf;
	_Atomic uint64_t *acknowledged; /* shared with the child */
	struct crash_result *result;
};

static bool
end_test(struct crash *crash, enum crash_outcome outcome, const char *what,
    const char *why)
{
	crash->result->outcome = outcome;
	snprintf(crash->result->text, sizeof crash->result->text, "%s%s%s",
	    what, why[0] != '\0' ? ": " : "", why);
	return false;
}

static void *
open_store(struct crash *crash, enum engine_access access, bool durable)
{
	struct engine_config config = {
	    .mode = durable ? ENGINE_SYNC : ENGINE_ASYNC,
	    .access = access,
	    .key_count = SPAN,
	    .key_len = KEY_LEN,
	    .value_len = crash->records.lengths.mean,
	};

	return crash->engine->open(crash->engine, crash->dir, &config);
}

static struct value
value_of_put(const struct crash *crash, uint64_t put)
{
	return record_value(&crash->records, put % SPAN, put / SPAN);
}

/* The child's life: it ends only by being killed, or when a put fails. */
static void
write_until_killed(struct crash *crash, bool first, bool durable)
{
	uint8_t key[KEY_LEN];
	struct value value;
	uint64_t put;
	void *db;

#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
	db = open_store(crash, first ? ENGINE_CREATE : ENGINE_WRITE, durable);
	if (db == NULL)
		return;
	for (put = atomic_load(crash->acknowledged);; put++) {
		record_key(key, KEY_LEN, put % SPAN);
		value = value_of_put(crash, put);
		if (crash->engine->put(
			db, key, KEY_LEN, value.bytes, value.len) != ENGINE_OK)
			return;
		atomic_store_explicit(
		    crash->acknowledged, put + 1, memory_order_release);
	}
}

/* Let a writer do so many puts, then kill it; false if it ended itself. */
static bool
kill_writer(struct crash *crash, bool first, bool durable, uint64_t puts)
{
	uint64_t until = atomic_load(crash->acknowledged) + puts;
	uint64_t give_up_ns = clock_ns() + WAIT_NS;
	const struct timespec nap = {.tv_nsec = 20000};
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		write_until_killed(crash, first, durable);
		fprintf(stderr, "kvlog-bench: %s: crash test: %s\n",
		    crash->engine->name, engine_failure());
		_exit(1);
	}
	if (pid == -1)
		return end_test(crash, CRASH_ERROR, "fork", strerror(errno));
	while (atomic_load(crash->acknowledged) < until &&
	       clock_ns() < give_up_ns && waitpid(pid, &status, WNOHANG) == 0)
		nanosleep(&nap, NULL);
	if (kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid &&
	    WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	return end_test(
	    crash, CRASH_ERROR, "the writer ended before it was killed", "");
}

/* Whether the store gives back what the put stored. */
static bool
has_put(struct crash *crash, void *db, uint64_t put)
{
	struct value want = value_of_put(crash, put);
	uint8_t key[KEY_LEN];
	size_t len = 0;

	record_key(key, KEY_LEN, put % SPAN);
	return crash->engine->get(db, key, KEY_LEN, crash->buf,
		   crash->records.lengths.max, &len) == ENGINE_OK &&
	       len == want.len && memcmp(crash->buf, want.bytes, len) == 0;
}

static bool
check_records(struct crash *crash, void *db, uint64_t puts)
{
	uint64_t put = puts > SPAN ? puts - SPAN : 0;
	char text[80];

	for (; put < puts; put++) {
		if (has_put(crash, db, put) ||
		    (put + SPAN == puts && has_put(crash, db, puts)))
			continue;
		snprintf(text, sizeof text,
		    "acknowledged put %" PRIu64 " of %" PRIu64 " is not there",
		    put, puts);
		return end_test(crash, CRASH_FAILED, text, "");
	}
	crash->result->acknowledged = puts;
	return true;
}

/* One more record than acknowledged ones may be there. */
static bool
check_count(struct crash *crash, void *db, uint64_t puts)
{
	uint64_t count, least = puts < SPAN ? puts : SPAN;

	if (crash->engine->count == NULL)
		return true;
	if (crash->engine->count(db, &count) != ENGINE_OK)
		return end_test(
		    crash, CRASH_FAILED, "counting", engine_failure());
	return count == least || (count == puts + 1 && puts < SPAN) ||
	       end_test(crash, CRASH_FAILED,
		   "the store counts other records than were put", "");
}

static bool
check_store(struct crash *crash)
{
	uint64_t puts = atomic_load(crash->acknowledged);
	void *db = open_store(crash, ENGINE_WRITE, false);
	bool ok;

	if (db == NULL)
		return end_test(crash, CRASH_FAILED,
		    "the store cannot be opened again", engine_failure());
	ok = check_records(crash, db, puts) && check_count(crash, db, puts);
	if (crash->engine->close(db) == ENGINE_OK || !ok)
		return ok;
	return end_test(crash, CRASH_FAILED, "closing", engine_failure());
}

static void
run(struct crash *crash, uint64_t kills, uint64_t seed)
{
	uint64_t k, puts;
	bool durable;

	for (k = 0; k < kills; k++) {
		durable = k % 2 == 1;
		puts = 1 + mix(seed + k) % (durable ? 200 : SPAN);
		if (!kill_writer(crash, k == 0, durable, puts) ||
		    !check_store(crash))
			return;
		crash->result->kills = k + 1;
	}
	crash->result->outcome = CRASH_PASSED;
}

void
crash_test(const struct engine *engine, const char *dir, uint64_t kills,
    uint64_t seed, struct crash_result *result)
{
	struct crash crash = {.engine = engine, .dir = dir, .result = result};
	struct lengths lengths;

	memset(result, 0, sizeof *result);
	crash.acknowledged = mmap(NULL, sizeof *crash.acknowledged,
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crash.acknowledged == MAP_FAILED) {
		end_test(&crash, CRASH_ERROR, "mmap", strerror(errno));
		return;
	}
	if (lengths_parse(&lengths, VALUE_LENS, UINT32_MAX) &&
	    records_init(&crash.records, &lengths, KEY_LEN, 50, seed))
		crash.buf = malloc(lengths.max);
	if (crash.buf == NULL)
		end_test(&crash, CRASH_ERROR, "out of memory", "");
	else if (!machine_remove(dir) || mkdir(dir, 0777) != 0)
		end_test(&crash, CRASH_ERROR, dir, strerror(errno));
	else
		run(&crash, kills, seed);
	free(crash.buf);
	records_fini(&crash.records);
	munmap(crash.acknowledged, sizeof *crash.acknowledged);
}
