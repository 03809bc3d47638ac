/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload.c - keys, values, orders, and the measured loop.
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
 * stretch of 17 operations is what `longest_ns` speaks of; of a benchmark
 * with durable writes every operation is timed, and it is one.
 *
 * Where an operation is a whole process, or the opening of a store, one
 * delay by others would outweigh many operations: there the median counts.
 */
#include "config.h"

#include "crowd.h"
#include "numbers.h"
#include "oneshots.h"
#include "workload.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A prime, so as not to keep step with pages or buckets, which hold numbers
 * of records near a power of two.
 */
#define LATENCY_STRIDE 17u

#define SLOT_BITS 12u
#define SLOT_LEN 16u
#define POOL_LEN ((size_t)SLOT_LEN << SLOT_BITS)

#define CHECK_COUNT 1000u /* records looked at after a writing benchmark */

#define MEMORY_READS 5000u /* look-ups of a process, then memory is taken */

#define OPEN_COUNT 5u /* openings of a store that was closed */

const struct workload workload_table[] = {
    {"fillseq", "async puts of new keys, in order", WORKLOAD_PUT_IN_ORDER,
	ENGINE_ASYNC, true, false},
    {"fillrandom", "async puts of new keys, each once, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_ASYNC, true, false},
    {"readrandom", "gets of present keys, uniform", WORKLOAD_GET, ENGINE_ASYNC,
	false, false},
    {"readmissing",
	"gets of absent keys, half between present ones, half outside",
	WORKLOAD_GET_ABSENT, ENGINE_ASYNC, false, false},
    {"overwrite", "async puts of present keys, each once, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_ASYNC, false, false},
    {"deleterandom", "async deletes, each key once, in random order",
	WORKLOAD_DELETE, ENGINE_ASYNC, false, false},
    {"fillsync", "durable puts of new keys, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_SYNC, true, false},
    {"readthreads", "gets of present keys by threads with one handle",
	WORKLOAD_GET, ENGINE_ASYNC, false, true},
    {"fillthreads", "async puts of new keys by threads with one handle",
	WORKLOAD_PUT_SHUFFLED, ENGINE_ASYNC, true, true},
    {"syncthreads", "durable puts of new keys by threads with one handle",
	WORKLOAD_PUT_SHUFFLED, ENGINE_SYNC, true, true},
    {"readwrite", "gets by processes while others put present keys, async",
	WORKLOAD_READ_WRITE, ENGINE_ASYNC, false, false},
    {"readmemory", "gets by processes whose private memory counts",
	WORKLOAD_READ_MEMORY, ENGINE_ASYNC, false, false},
    {"oneshotget", "processes that open the store, get a key and end",
	WORKLOAD_ONESHOT_GET, ENGINE_ASYNC, false, false},
    {"oneshotmiss", "processes that open the store, miss a key and end",
	WORKLOAD_ONESHOT_GET_ABSENT, ENGINE_ASYNC, false, false},
    {"oneshotput", "processes that open the store, put a key durably and end",
	WORKLOAD_ONESHOT_PUT, ENGINE_SYNC, false, false},
    {"open", "keys of a closed store that is opened for writing", WORKLOAD_OPEN,
	ENGINE_ASYNC, false, false},
    {"openkilled", "keys of a store opened after its writer was killed",
	WORKLOAD_OPEN_KILLED, ENGINE_ASYNC, true, false},
    {NULL, NULL, WORKLOAD_GET, ENGINE_ASYNC, false, false},
};

struct session {
	const struct engine *engine;
	const struct options *options;
	const char *dir;
	const char *doing; /* the benchmark's name, for messages */

	void *db;    /* NULL: no store is open */
	bool closed; /* a closed store lies in dir, with its records */
	enum engine_mode mode;
	uint64_t record_count; /* records in the open store: the first ones */
	uint64_t generation;   /* of all its values */
	bool changes; /* others make values those of the next generation */
	struct measure *last_write; /* completed when the store is closed */

	/* Of the running benchmark. */
	struct shuffle order;
	uint64_t seed;
	uint64_t key_base;     /* number of record 0's key */
	uint64_t key_range;    /* records that a read chooses from */
	enum bench_exit error; /* why a step failed */

	uint8_t *pool; /* POOL_LEN + value_len bytes */
	uint8_t *buf;  /* of a get */
	uint8_t key[WORKLOAD_KEY_LEN_MAX + 1];
};

typedef bool (*step_fn)(struct session *session, uint64_t i);

/*
 * Sixteen digits and then dots; of a shorter key the last digits.  Order of
 * numbers is order of keys.
 */
static inline const uint8_t *
make_key(struct session *session, uint64_t number)
{
	size_t key_len = session->options->key_len;
	uint64_t digits[2];

	digits[0] = hex_digits((uint32_t)(number >> 32));
	digits[1] = hex_digits((uint32_t)number);
	if (key_len >= sizeof digits)
		memcpy(session->key, digits, sizeof digits);
	else
		memcpy(session->key,
		    (const uint8_t *)digits + sizeof digits - key_len, key_len);
	return session->key;
}

/*
 * The value of a record: a window of the pool.  Each window begins with
 * eight random bytes of its own, followed by eight equal ones and so on, so
 * that half of any value can be compressed away.
 */
static inline const uint8_t *
value_of(const struct session *session, uint64_t record, uint64_t generation)
{
	uint64_t h;

	h = mix(session->options->seed ^ record ^ generation << 48);
	return session->pool + (size_t)(h >> (64 - SLOT_BITS)) * SLOT_LEN;
}

static void
pool_fill(uint8_t *pool, size_t len, uint64_t seed)
{
	uint64_t words[2] = {0, UINT64_C(0x2020202020202020)};
	size_t i, n;

	for (i = 0; i < len; i += n) {
		words[0] = mix(seed + i);
		n = len - i < sizeof words ? len - i : sizeof words;
		memcpy(pool + i, words, n);
	}
}

/* Say what went wrong with the present key; always returns false. */
static bool
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
		    (int)session->options->key_len, (char *)session->key,
		    wrong);
		session->error = BENCH_EXIT_WRONG;
	}
	return false;
}

static inline uint64_t
key_number(const struct session *session, uint64_t record)
{
	return session->key_base + 2 * record;
}

/* The first bytes tell, since they differ from window to window. */
static inline bool
value_is(const struct session *session, size_t len, const uint8_t *want)
{
	size_t check_len = len < sizeof(uint64_t) ? len : sizeof(uint64_t);

	return len == session->options->value_len &&
	       memcmp(session->buf, want, check_len) == 0;
}

static bool
step_put(struct session *session, uint64_t i)
{
	const struct options *options = session->options;
	uint64_t record = shuffle_at(&session->order, i);
	enum engine_result result;

	result = session->engine->put(session->db,
	    make_key(session, key_number(session, record)), options->key_len,
	    value_of(session, record, session->generation), options->value_len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "not stored");
	return true;
}

static inline bool
get_record(struct session *session, uint64_t record)
{
	const struct options *options = session->options;
	enum engine_result result;
	const uint8_t *want;
	size_t len = 0;

	want = value_of(session, record, session->generation);
	result = session->engine->get(session->db,
	    make_key(session, key_number(session, record)), options->key_len,
	    session->buf, options->value_len, &len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "absent, but was stored");
	if (!value_is(session, len, want) &&
	    !(session->changes &&
		value_is(session, len,
		    value_of(session, record, session->generation + 1))) &&
	    session->engine->kind != ENGINE_NULL)
		return step_failed(session, result, "another value");
	return true;
}

/* The high half of the product, 0 .. range-1: evenly, if h is any number. */
static inline uint64_t
scale(uint64_t h, uint64_t range)
{
	const uint64_t h_high = h >> 32, h_low = h & UINT32_MAX;
	const uint64_t r_high = range >> 32, r_low = range & UINT32_MAX;
	const uint64_t a = h_high * r_low, b = h_low * r_high;
	const uint64_t middle =
	    (h_low * r_low >> 32) + (a & UINT32_MAX) + (b & UINT32_MAX);

	return h_high * r_high + (a >> 32) + (b >> 32) + (middle >> 32);
}

static bool
step_get(struct session *session, uint64_t i)
{
	uint64_t h = mix(session->seed + i);

	return get_record(session, scale(h, session->key_range));
}

static inline bool
get_absent(struct session *session, uint64_t number)
{
	const struct options *options = session->options;
	enum engine_result result;
	size_t len;

	result = session->engine->get(session->db, make_key(session, number),
	    options->key_len, session->buf, options->value_len, &len);
	if (result != ENGINE_ABSENT && session->engine->kind != ENGINE_NULL)
		return step_failed(session, result, "found, but never stored");
	return true;
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
step_delete(struct session *session, uint64_t i)
{
	uint64_t record = shuffle_at(&session->order, i);
	enum engine_result result;

	result = session->engine->delete (session->db,
	    make_key(session, key_number(session, record)),
	    session->options->key_len);
	if (result != ENGINE_OK)
		return step_failed(session, result, "absent, but was stored");
	return true;
}

static step_fn
step_of(enum workload_op op)
{
	switch (op) {
	case WORKLOAD_PUT_IN_ORDER:
	case WORKLOAD_PUT_SHUFFLED:
		return step_put;
	case WORKLOAD_GET:
		return step_get;
	case WORKLOAD_GET_ABSENT:
		return step_get_absent;
	case WORKLOAD_DELETE:
		return step_delete;
	case WORKLOAD_ONESHOT_GET:
	case WORKLOAD_ONESHOT_GET_ABSENT:
	case WORKLOAD_ONESHOT_PUT:
	case WORKLOAD_OPEN:
	case WORKLOAD_OPEN_KILLED:
	case WORKLOAD_READ_WRITE:
	case WORKLOAD_READ_MEMORY:
		break; /* not measured in a loop */
	}
	return NULL;
}

/*
 * Operations i to end, this one left out.  Every stride-th is timed by itself,
 * and the last one.
 */
static bool
run_steps(struct session *session, step_fn step, uint64_t i, uint64_t end,
    uint64_t stride, struct measure *measure)
{
	uint64_t stretch, before, after, sample_at, longest = 0;

	stretch = clock_ticks();
	while (i < end) {
		sample_at = stride <= end - i ? i + stride - 1 : end - 1;
		for (; i < sample_at; i++) {
			if (!step(session, i))
				return false;
		}
		before = clock_ticks();
		if (!step(session, i++))
			return false;
		after = clock_ticks();
		histogram_add(
		    &measure->latency, clock_ticks_to_ns(after - before));
		if (after - stretch > longest)
			longest = after - stretch;
		stretch = after;
	}
	measure->longest_ns = clock_ticks_to_ns(longest);
	return true;
}

/* A thread with its own key and buffer, and its share of the operations. */
struct worker {
	struct session session;
	step_fn step;
	uint64_t first, end, stride;
	struct measure measure;
	pthread_t thread;
	bool ok;
};

static void *
worker_run(void *arg)
{
	struct worker *worker = arg;
	struct session *session = &worker->session;

	worker->ok = run_steps(session, worker->step, worker->first,
	    worker->end, worker->stride, &worker->measure);
	if (session->engine->leave != NULL)
		session->engine->leave(session->db);
	return NULL;
}

static bool
worker_start(struct worker *worker, const struct session *session)
{
	worker->session = *session;
	worker->session.buf = calloc(1, session->options->value_len + 1);
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

static bool
run_threads(struct session *session, step_fn step, uint64_t count,
    uint64_t stride, struct measure *measure)
{
	uint64_t i, started, threads = session->options->threads;
	struct worker *workers = calloc((size_t)threads, sizeof *workers);
	bool ok = workers != NULL;

	for (started = 0; ok && started < threads; started += ok) {
		struct worker *worker = &workers[started];

		worker->step = step;
		worker->first = count * started / threads;
		worker->end = count * (started + 1) / threads;
		worker->stride = stride;
		ok = worker_start(worker, session);
	}
	if (!ok) {
		fprintf(stderr, "kvlog-bench: no memory for threads\n");
		session->error = BENCH_EXIT_FAILED;
	}
	for (i = 0; i < started; i++)
		ok &= worker_join(&workers[i], session, measure);
	free(workers);
	return ok;
}

static uint64_t
cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
		   UINT64_C(1000000) +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static bool
measure_steps(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	uint64_t ops = workload_ops(workload, session->options);
	uint64_t stride = workload->mode == ENGINE_SYNC ? 1 : LATENCY_STRIDE;
	step_fn step = step_of(workload->op);
	uint64_t start_ns, start_cpu_us;
	bool ok;

	machine_rss_reset();
	start_cpu_us = cpu_us();
	start_ns = clock_ns();
	ok = workload->threads
		 ? run_threads(session, step, ops, stride, measure)
		 : run_steps(session, step, 0, ops, stride, measure);
	measure->ns = clock_ns() - start_ns;
	measure->cpu_us = cpu_us() - start_cpu_us;
	measure->ops = ops;
	machine_rss(&measure->rss_peak, &measure->rss_anon);
	measure->disk_open = machine_disk(session->dir);
	return ok;
}

/*
 * After a benchmark that writes: the engine's own count, and some records
 * all over the store, must be as the benchmark leaves them.
 */
static bool
check_store(struct session *session, bool deleted)
{
	uint64_t counted, i, record, count = session->record_count;

	if (session->engine->count != NULL) {
		if (session->engine->count(session->db, &counted) != ENGINE_OK)
			return step_failed(session, ENGINE_FAILED, "");
		if (counted != (deleted ? 0 : count)) {
			fprintf(stderr,
			    "kvlog-bench: %s: %s: the store counts %" PRIu64
			    " records, not %" PRIu64 "\n",
			    session->engine->name, session->doing, counted,
			    deleted ? 0 : count);
			session->error = BENCH_EXIT_WRONG;
			return false;
		}
	}
	for (i = 0; i < CHECK_COUNT; i++) {
		record = mix(session->seed + i) % count;
		if (deleted) {
			if (!get_absent(session, key_number(session, record)))
				return false;
		} else if (!get_record(session, record)) {
			return false;
		}
	}
	return true;
}

static bool
session_close_store(struct session *session)
{
	struct measure *measure = session->last_write;
	uint64_t start_ns = clock_ns();
	enum engine_result result;

	if (session->db == NULL)
		return true;
	result = session->engine->close(session->db);
	session->db = NULL;
	session->closed = result == ENGINE_OK;
	if (result != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	if (measure != NULL) {
		measure->close_ns = clock_ns() - start_ns;
		measure->disk_closed = machine_disk(session->dir);
		session->last_write = NULL;
	}
	return true;
}

/* About the most that an engine takes for its files, in bytes. */
static uint64_t
footprint(const struct engine_config *config)
{
	return config->key_count * (config->key_len + config->value_len + 64) /
	       2 * 3;
}

/* Open what is in the directory, or make it; false after a message. */
static bool
session_open(struct session *session, enum engine_access access)
{
	struct engine_config config = {
	    .mode = session->mode,
	    .access = access,
	    .key_count = session->key_range,
	    .key_len = session->options->key_len,
	    .value_len = session->options->value_len,
	};

	session->closed = false;
	if (access == ENGINE_CREATE && session->engine->kind != ENGINE_NULL)
		machine_warm(session->dir, footprint(&config));
	session->db =
	    session->engine->open(session->engine, session->dir, &config);
	if (session->db != NULL)
		return true;
	step_failed(session, ENGINE_FAILED, "");
	session->error = BENCH_EXIT_USAGE;
	return false;
}

/* What the next store will be like. */
static void
session_describe(
    struct session *session, enum engine_mode mode, uint64_t key_count)
{
	session->mode = mode;
	session->record_count = 0;
	session->generation = 0;
	session->key_base = 2 * key_count;
	session->key_range = key_count;
}

static bool
session_open_store(
    struct session *session, enum engine_mode mode, uint64_t key_count)
{
	if (!session_close_store(session))
		return false;
	if (!machine_remove(session->dir) || mkdir(session->dir, 0777) != 0) {
		perror(session->dir);
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	session_describe(session, mode, key_count);
	return session_open(session, ENGINE_CREATE);
}

static bool
session_fill_store(struct session *session)
{
	uint64_t i, num = session->options->num;

	shuffle_init(&session->order, num, session->options->seed);
	for (i = 0; i < num; i++) {
		if (!step_put(session, i))
			return false;
	}
	session->record_count = num;
	return true;
}

/* Leave a store that holds all records, if there is none yet. */
static bool
session_load_store(struct session *session)
{
	uint64_t num = session->options->num;

	if (session->mode == ENGINE_ASYNC && session->record_count == num) {
		if (session->db != NULL)
			return true;
		if (session->closed)
			return session_open(session, ENGINE_WRITE);
	}
	return session_open_store(session, ENGINE_ASYNC, num) &&
	       session_fill_store(session);
}

/* The same, but closed, and on the disk. */
static bool
session_settle_store(struct session *session)
{
	if (session->closed && session->mode == ENGINE_ASYNC &&
	    session->record_count == session->options->num)
		return true;
	if (!session_load_store(session))
		return false;
	if (session->engine->sync(session->db) != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	return session_close_store(session);
}

/*
 * Leave a store with all records whose writer was killed when it had put the
 * last one.
 */
static bool
session_kill_store(struct session *session)
{
	bool filled;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
#ifdef __linux__
		prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
		filled = session_open_store(
			     session, ENGINE_ASYNC, session->options->num) &&
			 session_fill_store(session);
		if (filled)
			raise(SIGKILL);
		_exit((int)session->error);
	}
	if (pid == -1 || waitpid(pid, &status, 0) != pid) {
		perror("kvlog-bench: fork");
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	if (WIFEXITED(status)) {
		session->error = (enum bench_exit)WEXITSTATUS(status);
		return false;
	}
	if (WTERMSIG(status) != SIGKILL) {
		fprintf(stderr, "kvlog-bench: %s: %s: killed by signal %d\n",
		    session->engine->name, session->doing, WTERMSIG(status));
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	session_describe(session, ENGINE_ASYNC, session->options->num);
	session->record_count = session->options->num;
	return true;
}

static bool
session_prepare(struct session *session, const struct workload *workload)
{
	uint64_t count = workload_ops(workload, session->options);

	if (workload->op == WORKLOAD_OPEN_KILLED) {
		if (!session_close_store(session))
			return false;
		session->closed = false;
		if (!session_kill_store(session))
			return false;
	} else if (!workload_loops(workload)) {
		if (!session_settle_store(session))
			return false;
	} else if (workload->fresh) {
		if (!session_open_store(session, workload->mode, count))
			return false;
	} else {
		if (!session_load_store(session))
			return false;
		if (workload->op == WORKLOAD_PUT_SHUFFLED)
			session->generation++;
	}
	/* Orders of different benchmarks have nothing in common. */
	session->seed =
	    mix(session->options->seed + (uint64_t)(workload - workload_table));
	shuffle_init(&session->order, session->key_range, session->seed);
	session->order.identity = workload->op == WORKLOAD_PUT_IN_ORDER;
	return true;
}

/* ---- openings ---- */

static bool
measure_open(struct session *session, uint64_t count, struct measure *measure)
{
	uint64_t i, times[OPEN_COUNT];

	machine_rss_reset();
	for (i = 0; i < count; i++) {
		uint64_t start_ns = clock_ns();

		if (!session_open(session, ENGINE_WRITE))
			return false;
		times[i] = clock_ns() - start_ns;
		histogram_add(&measure->latency, times[i]);
		if (times[i] > measure->longest_ns)
			measure->longest_ns = times[i];
		if (i == 0) {
			machine_rss(&measure->rss_peak, &measure->rss_anon);
			measure->disk_open = machine_disk(session->dir);
		}
		if (!check_store(session, false) ||
		    !session_close_store(session))
			return false;
	}
	measure->ns = median_ns(times, count);
	measure->ops = session->record_count;
	return true;
}

/* ---- processes ---- */

static bool
measure_oneshots(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	bool misses = workload->op == WORKLOAD_ONESHOT_GET_ABSENT;
	bool puts = workload->op == WORKLOAD_ONESHOT_PUT;
	const struct options *options = session->options;
	uint64_t i, record, count = options->oneshot_num;
	struct oneshots *oneshots;

	oneshots = oneshots_create(session->engine, options, session->dir,
	    puts ? "put" : "get", misses ? 1 : 0);
	session->error = oneshots != NULL ? BENCH_EXIT_DONE : BENCH_EXIT_FAILED;
	for (i = 0; i < count && session->error == BENCH_EXIT_DONE; i++) {
		record = mix(session->seed + i) % session->record_count;
		make_key(session, key_number(session, record) + misses);
		session->error = oneshots_run(
		    oneshots, session->key, session->doing, &measure->latency);
	}
	if (session->error == BENCH_EXIT_DONE) {
		oneshots_result(oneshots, measure);
		measure->disk_closed = machine_disk(session->dir);
	}
	if (puts)
		session->closed = false; /* its values are others now */
	oneshots_destroy(oneshots);
	return session->error == BENCH_EXIT_DONE;
}

/* What measure_crowd() tells its processes. */
struct crowd_task {
	struct session *session;
	uint64_t reads; /* of each reader */
};

static bool
crowd_open(void *arg, struct crowd_part *part)
{
	struct crowd_task *task = arg;
	struct session *session = task->session;
	bool ok =
	    session_open(session, part->writes ? ENGINE_WRITE : ENGINE_READ);

	part->error = session->error;
	return ok;
}

/* Writers share the records out among them, and begin anew at the end.  Each
 * writes something, however late it comes. */
static bool
crowd_write(
    struct session *session, struct crowd_part *part, struct crowd *crowd)
{
	uint64_t i = part->number;

	session->generation++;
	do {
		if (!step_put(session, i % session->key_range))
			return false;
		i += crowd->writers;
		part->ops++;
	} while (!crowd_is_over(crowd));
	return true;
}

static bool
crowd_read(struct session *session, uint64_t reads, struct crowd_part *part)
{
	struct measure measure = {.ops = 0};
	uint64_t first = part->number * reads;

	if (!run_steps(session, step_get, first, first + reads, LATENCY_STRIDE,
		&measure))
		return false;
	part->ops = reads;
	part->latency = measure.latency;
	return true;
}

static bool
crowd_do(void *arg, struct crowd_part *part, struct crowd *crowd)
{
	struct crowd_task *task = arg;
	struct session *session = task->session;
	uint64_t start_ns = clock_ns();
	bool ok;

	session->changes = crowd->writers > 0;
	ok = part->writes ? crowd_write(session, part, crowd)
			  : crowd_read(session, task->reads, part);
	part->ns = clock_ns() - start_ns;
	part->error = session->error;
	return ok;
}

static bool
crowd_close(void *arg, struct crowd_part *part)
{
	struct crowd_task *task = arg;
	struct session *session = task->session;
	bool ok = session_close_store(session);

	part->error = session->error;
	return ok;
}

static bool
measure_crowd(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	unsigned readers = workload_readers(workload, session->options);
	unsigned writers = workload->op == WORKLOAD_READ_WRITE
			       ? (unsigned)session->options->writers
			       : 0;
	struct crowd_task task = {
	    session, workload_ops(workload, session->options) / readers};
	const struct crowd_work work = {
	    &task, crowd_open, crowd_do, crowd_close};

	session->error = crowd_run(&work, readers, writers, measure);
	if (writers > 0)
		session->closed = false; /* its values are others now */
	return session->error == BENCH_EXIT_DONE;
}

static bool
measure_workload(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	if (workload_is_oneshot(workload))
		return measure_oneshots(session, workload, measure);
	if (workload_readers(workload, session->options) > 0)
		return measure_crowd(session, workload, measure);
	if (workload->op == WORKLOAD_OPEN)
		return measure_open(session, OPEN_COUNT, measure);
	if (workload->op == WORKLOAD_OPEN_KILLED)
		return measure_open(session, 1, measure);
	return measure_steps(session, workload, measure);
}

const struct workload *
workload_find(const char *name)
{
	const struct workload *workload;

	for (workload = workload_table; workload->name != NULL; workload++) {
		if (strcmp(workload->name, name) == 0)
			return workload;
	}
	return NULL;
}

uint64_t
workload_ops(const struct workload *workload, const struct options *options)
{
	uint64_t readers, reads;

	switch (workload->op) {
	case WORKLOAD_PUT_IN_ORDER:
	case WORKLOAD_PUT_SHUFFLED:
	case WORKLOAD_DELETE:
		return workload->mode == ENGINE_SYNC ? options->sync_num
						     : options->num;
	case WORKLOAD_GET:
	case WORKLOAD_GET_ABSENT:
		return options->reads;
	case WORKLOAD_ONESHOT_GET:
	case WORKLOAD_ONESHOT_GET_ABSENT:
	case WORKLOAD_ONESHOT_PUT:
		return options->oneshot_num;
	case WORKLOAD_OPEN:
	case WORKLOAD_OPEN_KILLED:
		return options->num;
	case WORKLOAD_READ_WRITE:
	case WORKLOAD_READ_MEMORY:
		readers = workload_readers(workload, options);
		reads = options->reads / readers + 1;
		if (workload->op == WORKLOAD_READ_MEMORY &&
		    reads > MEMORY_READS)
			reads = MEMORY_READS;
		return reads * readers;
	}
	return 0;
}

bool
workload_writes(const struct workload *workload)
{
	return workload->op == WORKLOAD_PUT_IN_ORDER ||
	       workload->op == WORKLOAD_PUT_SHUFFLED ||
	       workload->op == WORKLOAD_DELETE;
}

bool
workload_is_oneshot(const struct workload *workload)
{
	return workload->op == WORKLOAD_ONESHOT_GET ||
	       workload->op == WORKLOAD_ONESHOT_GET_ABSENT ||
	       workload->op == WORKLOAD_ONESHOT_PUT;
}

unsigned
workload_readers(const struct workload *workload, const struct options *options)
{
	if (workload->op != WORKLOAD_READ_WRITE &&
	    workload->op != WORKLOAD_READ_MEMORY)
		return 0;
	if (options->readers > 0)
		return (unsigned)options->readers;
	return workload->op == WORKLOAD_READ_WRITE ? 2 : 4;
}

bool
workload_loops(const struct workload *workload)
{
	return !workload_is_oneshot(workload) &&
	       workload->op != WORKLOAD_OPEN &&
	       workload->op != WORKLOAD_OPEN_KILLED &&
	       workload->op != WORKLOAD_READ_WRITE &&
	       workload->op != WORKLOAD_READ_MEMORY;
}

struct session *
session_create(
    const struct engine *engine, const struct options *options, const char *dir)
{
	struct session *session;

	session = calloc(1, sizeof *session);
	if (session == NULL)
		return NULL;
	session->engine = engine;
	session->options = options;
	session->dir = dir;
	memset(session->key, '.', sizeof session->key);
	session->pool = malloc(POOL_LEN + options->value_len);
	session->buf = calloc(1, options->value_len + 1);
	if (session->pool == NULL || session->buf == NULL) {
		session_end(session);
		return NULL;
	}
	pool_fill(session->pool, POOL_LEN + options->value_len, options->seed);
	return session;
}

enum bench_exit
session_run(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	bool deletes = workload->op == WORKLOAD_DELETE;

	session->doing = workload->name;
	if (workload_readers(workload, session->options) > 0 &&
	    !session->engine->shares)
		return BENCH_EXIT_DONE;
	if (!session_prepare(session, workload) ||
	    !measure_workload(session, workload, measure))
		return session->error;

	if (workload_writes(workload)) {
		session->record_count = session->key_range;
		if (!check_store(session, deletes))
			return session->error;
		if (deletes)
			session->record_count = 0;
		session->last_write = measure;
	}
	measure->done = true;
	return BENCH_EXIT_DONE;
}

enum bench_exit
session_end(struct session *session)
{
	enum bench_exit status = BENCH_EXIT_DONE;

	if (!session_close_store(session))
		status = session->error;
	free(session->pool);
	free(session->buf);
	free(session);
	return status;
}
