/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c - the stores that benchmarks need, and what is measured around
 * them: one run of calls, openings, processes.
 *
 * Where an operation is a whole process, or the opening of a store, one
 * delay by others would outweigh many operations: there the median counts.
 */
#include "config.h"

#include "session.h"

#include "compactions.h"
#include "crowd.h"
#include "oneshots.h"
#include "steps.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_COUNT 1000u /* records looked at after a writing benchmark */

#define REST_NS 300000000L

#define OPEN_COUNT 5u /* openings of a store that was closed */

static uint64_t
cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
		   UINT64_C(1000000) +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

#define REST_LOOK_US 20000u
#define REST_BUSY_US                                                           \
	1000u           /* a thread that wakes up now and then is at rest      \
			 */
#define REST_LOOKS 500u /* at most: 10 s */
#define REST_IDLE 5u    /* as many one after the other: it is no sync */

/*
 * Some engines have threads that go on for a while with what was written, in
 * the memory and on the processors that a benchmark uses.  That work is not of
 * the calls that are measured next: let it end.
 */
static void
wait_for_rest(void)
{
	unsigned idle = 0;

	for (unsigned i = 0; i < REST_LOOKS && idle < REST_IDLE; i++) {
		uint64_t before = cpu_us();

		usleep(REST_LOOK_US);
		idle = cpu_us() - before < REST_BUSY_US ? idle + 1 : 0;
	}
}

/* Bytes that this process has given to the medium since; 0: not known. */
static uint64_t
written_since(uint64_t before)
{
	uint64_t now = machine_written();

	return now == UINT64_MAX || before == UINT64_MAX ? 0 : now - before;
}

/*
 * After a benchmark that made `done` calls: the engine's own count, which is
 * to be `count`, and some records all over the store must be as the benchmark
 * leaves them.
 */
static bool
check_store(
    struct session *session, uint64_t count, uint64_t done, bool deleted)
{
	uint64_t counted, i, record;

	if (session->engine->count != NULL) {
		if (session->engine->count(session->db, &counted) != ENGINE_OK)
			return step_failed(session, ENGINE_FAILED, "");
		if (counted != count) {
			fprintf(stderr,
			    "kvlog-bench: %s: %s: the store counts %" PRIu64
			    " records, not %" PRIu64 "\n",
			    session->engine->name, session->doing, counted,
			    count);
			session->error = BENCH_EXIT_WRONG;
			return false;
		}
	}
	for (i = 0; i < CHECK_COUNT && done > 0; i++) {
		record = shuffle_at(
		    &session->order, scale(mix(session->seed + i), done));
		if (deleted ? !step_check_absent(session, record)
			    : !step_check_record(session, record))
			return false;
	}
	return true;
}

bool
session_check_store(struct session *session, uint64_t count)
{
	return check_store(session, count, count, false);
}

bool
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
		measure->written = written_since(session->last_written);
		session->last_write = NULL;
	}
	return true;
}

bool
session_open(struct session *session, enum engine_access access)
{
	struct engine_config config = {
	    .mode = session->mode,
	    .access = access,
	    .hoard = session->hoard,
	    .key_count = session->key_range,
	    .key_len = session->records->key_len,
	    .value_len = session->records->lengths.mean,
	};

	session->closed = false;
	if (access == ENGINE_CREATE && session->engine->kind != ENGINE_NULL)
		machine_warm(
		    session->dir, bench_footprint(config.key_count,
				      config.key_len, config.value_len));
	session->written = machine_written();
	session->db =
	    session->engine->open(session->engine, session->dir, &config);
	if (session->db != NULL)
		return true;
	step_failed(session, ENGINE_FAILED, "");
	session->error = BENCH_EXIT_USAGE;
	return false;
}

/* What the next store will be like, of key_count records. */
static void
session_describe(struct session *session, enum engine_mode mode, bool large,
    uint64_t key_count)
{
	session->mode = mode;
	session->large = large;
	session->records =
	    large ? &session->large_records : &session->small_records;
	session->record_count = 0;
	session->generation = 0;
	session->changes = false;
	session->spoiled = false;
	session->in_order = false;
	session->key_base = 2 * key_count;
	session->key_range = key_count;
}

bool
session_open_store(struct session *session, enum engine_mode mode, bool large,
    uint64_t key_count)
{
	if (!session_close_store(session))
		return false;
	if (!machine_remove(session->dir) || mkdir(session->dir, 0777) != 0) {
		perror(session->dir);
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	session_describe(session, mode, large, key_count);
	return session_open(session, ENGINE_CREATE);
}

/* As fast as the engine can; in random order, or in that of the keys. */
static bool
session_fill_in(struct session *session, bool in_order)
{
	uint64_t i, num = session->key_range;
	bool batches = session->engine->put_batch != NULL && !session->large;
	uint64_t unit = batches ? BATCH_LEN : 1;

	shuffle_init(&session->order, num, session->options->seed);
	session->order.identity = in_order;
	for (i = 0; i * unit < num; i++) {
		if (!(batches ? step_put_batch : step_put)(session, i))
			return false;
	}
	session->record_count = num;
	return true;
}

static bool
session_fill_store(struct session *session)
{
	return session_fill_in(session, false);
}

/* Whether the records are what a benchmark finds that does not begin anew. */
static bool
session_is_loaded(
    const struct session *session, const struct workload *workload)
{
	return session->mode == ENGINE_ASYNC &&
	       session->large == workload->large &&
	       session->record_count ==
		   workload_num(workload, session->options) &&
	       (!session->spoiled || workload->op == WORKLOAD_DELETE);
}

/* Leave a store that holds all records, if there is none yet. */
static bool
session_load_store(struct session *session, const struct workload *workload)
{
	if (session_is_loaded(session, workload)) {
		if (session->db != NULL)
			return true;
		if (session->closed)
			return session_open(session, ENGINE_WRITE);
	}
	return session_open_store(session, ENGINE_ASYNC, workload->large,
		   workload_num(workload, session->options)) &&
	       session_fill_store(session);
}

/*
 * The same in such order as the engine gets it into: what compacts is
 * compacted, a tree is densest when it is loaded in the order of its keys, as
 * from a dump.  Then all of it is read once.
 */
static bool
session_order_store(struct session *session, const struct workload *workload)
{
	const struct engine *engine = session->engine;
	struct measure ignored = {.ops = 0};
	uint64_t n;

	if (session->in_order && session_is_loaded(session, workload))
		return session_load_store(session, workload);
	if (engine->compact != NULL) {
		if (!session_load_store(session, workload))
			return false;
		if (engine->compact(session->db, &n) != ENGINE_OK)
			return step_failed(session, ENGINE_FAILED, "");
	} else if (!session_open_store(session, ENGINE_ASYNC, false,
		       workload_num(workload, session->options)) ||
		   !session_fill_in(session, true)) {
		return false;
	}
	session->in_order = true;
	session->deadline = UINT64_MAX;
	return run_scan(session, 1, &ignored, &n);
}

/* The same, but closed, and on the disk. */
static bool
session_settle_store(struct session *session, const struct workload *workload)
{
	if (session->closed && session_is_loaded(session, workload))
		return true;
	if (!session_load_store(session, workload))
		return false;
	if (session->engine->sync(session->db) != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	return session_close_store(session);
}

/* A child of the nursery: fills a store, and is killed. */
static int
fill_and_die(void *arg)
{
	struct session *session = arg;

	session->doing = "openkilled";
	if (session_open_store(
		session, ENGINE_ASYNC, false, session->options->num) &&
	    session_fill_store(session))
		raise(SIGKILL);
	return (int)session->error;
}

/*
 * Leave a store with all records whose writer was killed when it had put the
 * last one.
 */
static bool
session_kill_store(struct session *session)
{
	int status;

	if (!nursery_run(&session->nursery, &status)) {
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
	session_describe(session, ENGINE_ASYNC, false, session->options->num);
	session->record_count = session->options->num;
	return true;
}

/* Nothing has been replaced in it, and what the engine does in the background
 * after a load has had its time. */
static bool
session_load_anew(struct session *session, const struct workload *workload)
{
	const struct timespec pause = {.tv_nsec = REST_NS};

	if (!session_open_store(session, ENGINE_ASYNC, workload->large,
		workload_num(workload, session->options)) ||
	    !session_fill_store(session))
		return false;
	if (session->engine->sync(session->db) != ENGINE_OK)
		return step_failed(session, ENGINE_FAILED, "");
	nanosleep(&pause, NULL);
	session->written = machine_written();
	return true;
}

static bool
session_prepare_store(struct session *session, const struct workload *workload)
{
	if (workload->op == WORKLOAD_OPEN_KILLED) {
		if (!session_close_store(session))
			return false;
		session->closed = false;
		return session_kill_store(session);
	}
	if (workload_compacts(workload))
		return compactions_prepare(session, workload);
	if (!workload_loops(workload))
		return session_settle_store(session, workload);
	if (workload->op == WORKLOAD_CHURN)
		return session_load_anew(session, workload);
	if (workload->fresh)
		return session_open_store(session, workload->mode,
		    workload->large, workload_num(workload, session->options));
	if (session->options->compacted && workload_is_ordered(workload)
		? !session_order_store(session, workload)
		: !session_load_store(session, workload))
		return false;
	session->written = machine_written();
	if (workload->op == WORKLOAD_PUT_SHUFFLED) {
		/* One that none of the values has. */
		session->ahead = session->changes ? 2 : 1;
		session->generation += session->ahead;
		session->changes = session->in_order = false;
	} else if (workload->op == WORKLOAD_MIXED ||
		   workload->op == WORKLOAD_SCAN_WRITE) {
		session->changes = true;
		session->in_order = false;
	}
	return true;
}

static bool
session_prepare(struct session *session, const struct workload *workload)
{
	const struct options *options = session->options;

	if (!session_prepare_store(session, workload))
		return false;
	/* Orders of different benchmarks have nothing in common. */
	session->seed =
	    mix(options->seed + (uint64_t)(workload - workload_table));
	shuffle_init(&session->order, session->key_range, session->seed);
	session->order.identity = workload->op == WORKLOAD_PUT_IN_ORDER;
	session->unit = workload_unit(workload, options);
	session->get_share = workload->get_share;
	session->skewed = workload_skewed(workload, options);
	if (session->skewed) {
		zipf_init(&session->zipf, session->key_range, options->theta);
		shuffle_init(&session->hot, session->key_range, options->seed);
	}
	return true;
}

/* ---- calls ---- */

/* Every call where it is long, or where each of them counts. */
static uint64_t
stride_of(const struct workload *workload, uint64_t unit)
{
	return workload->mode == ENGINE_SYNC || unit > 1 || workload->large
		   ? 1
		   : LATENCY_STRIDE;
}

static bool
run_calls(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	uint64_t ops = workload_ops(workload, session->options);
	uint64_t unit = session->unit, calls = (ops + unit - 1) / unit;
	uint64_t stride = stride_of(workload, unit), done = 0;
	step_fn step = step_of(session, workload->op);
	bool ok;

	if (workload->op == WORKLOAD_SCAN_ALL)
		ok =
		    run_scan(session, ops / session->key_range, measure, &done);
	else if (workload->threads)
		ok = run_threads(session, step, calls, stride, measure, &done);
	else
		ok = run_steps(session, step, &done, calls, stride, measure);
	measure->ops = done * unit < ops ? done * unit : ops;
	if (measure->ops < ops)
		measure->notes |= NOTE_CUT;
	return ok;
}

/* What a benchmark's writes have brought to the store, keys and values. */
static uint64_t
user_bytes(const struct session *session, const struct workload *workload,
    uint64_t ops)
{
	uint64_t bytes =
	    session->records->key_len + session->records->lengths.mean;

	if (workload->op == WORKLOAD_MIXED)
		return ops * (100 - workload->get_share) / 100 * bytes;
	if (workload->op == WORKLOAD_SCAN_WRITE)
		return ops / session->unit * bytes;
	return (workload_writes(workload) && workload->op != WORKLOAD_DELETE) ||
		       workload->op == WORKLOAD_CHURN
		   ? ops * bytes
		   : 0;
}

static bool
measure_calls(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	uint64_t start_ns, start_cpu_us;
	bool ok;

	machine_rss_reset();
	start_cpu_us = cpu_us();
	start_ns = clock_ns();
	ok = run_calls(session, workload, measure);
	measure->ns = clock_ns() - start_ns;
	measure->cpu_us = cpu_us() - start_cpu_us;
	machine_rss(&measure->rss_peak, &measure->rss, &measure->rss_anon);
	measure->disk_open = machine_disk(session->dir);
	measure->user_bytes = user_bytes(session, workload, measure->ops);
	measure->written = written_since(session->written);
	return ok;
}

/*
 * A store that was not written to the end is checked as far as it was, if
 * that can be told.  If records are missing, or have values of more than two
 * generations, it is no benchmark's any more.
 */
static bool
after_writing(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	bool deletes = workload->op == WORKLOAD_DELETE;
	uint64_t done = measure->ops, range = session->key_range;
	bool cut = done < range;

	if (!check_store(session,
		deletes           ? range - done
		: workload->fresh ? done
				  : range,
		cut && workload->threads ? 0 : done, deletes))
		return false;
	session->record_count = range;
	if (deletes || (cut && (workload->fresh || session->ahead > 1))) {
		session->record_count = 0;
	} else if (cut) {
		session->generation--; /* it is that of the others */
		session->changes = true;
	}
	session->last_write = measure;
	session->last_written = session->written;
	return true;
}

/* ---- all keys again and again ---- */

/* What is cut has some values of the last generation, and some of the one
 * before. */
static bool
after_churn(struct session *session, uint64_t done)
{
	uint64_t range = session->key_range, rest = done % range;

	if (rest > 0) {
		session->generation--;
		session->changes = true;
	}
	return check_store(session, range,
	    rest > 0   ? rest
	    : done > 0 ? range
		       : 0,
	    false);
}

static bool
measure_churn(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	uint64_t disk_fresh = machine_disk(session->dir);
	struct disk_watch *watch = machine_watch_disk(session->dir);
	bool ok;

	if (watch == NULL) {
		perror("kvlog-bench: thread");
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	ok = measure_calls(session, workload, measure);
	measure->disk_most = machine_watch_end(watch);
	measure->disk_fresh = disk_fresh;
	session->last_write = measure;
	session->last_written = session->written;
	return ok && after_churn(session, measure->ops);
}

/* ---- openings ---- */

static bool
measure_open(struct session *session, uint64_t count, struct measure *measure)
{
	uint64_t i, times[OPEN_COUNT];

	machine_rss_reset();
	for (i = 0; i < count && (i == 0 || clock_ticks() < session->deadline);
	     i++) {
		uint64_t start_ns = clock_ns();

		if (!session_open(session, ENGINE_WRITE))
			return false;
		times[i] = clock_ns() - start_ns;
		histogram_add(&measure->latency, times[i]);
		if (times[i] > measure->longest_ns)
			measure->longest_ns = times[i];
		if (i == 0) {
			machine_rss(&measure->rss_peak, &measure->rss,
			    &measure->rss_anon);
			measure->disk_open = machine_disk(session->dir);
		}
		if (!check_store(session, session->record_count,
			session->record_count, false) ||
		    !session_close_store(session))
			return false;
	}
	measure->ns = median_ns(times, i);
	measure->ops = session->record_count;
	return true;
}

/* ---- processes ---- */

/* What a put may write is an argument, so not of any length. */
static size_t
oneshot_len(const struct session *session, uint64_t record, bool puts)
{
	size_t len =
	    record_value(session->records, record, session->generation).len;

	return puts && len > ONESHOTS_VALUE_MAX ? ONESHOTS_VALUE_MAX : len;
}

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
	for (i = 0; i < count && session->error == BENCH_EXIT_DONE &&
		    (i == 0 || clock_ticks() < session->deadline);
	     i++) {
		record = mix(session->seed + i) % session->record_count;
		session_key(session, key_number(session, record) + misses);
		session->error = oneshots_run(oneshots, session->key,
		    oneshot_len(session, record, puts), session->doing,
		    &measure->latency);
	}
	if (session->error == BENCH_EXIT_DONE) {
		oneshots_result(oneshots, measure);
		if (i < count)
			measure->notes |= NOTE_CUT;
		measure->disk_closed = machine_disk(session->dir);
	}
	if (puts)
		session->spoiled = true;
	oneshots_destroy(oneshots);
	return session->error == BENCH_EXIT_DONE;
}

/* From now on it takes so many seconds at most. */
static void
start_clock(struct session *session)
{
	session->deadline = UINT64_MAX;
	if (session->options->seconds > 0)
		session->deadline = clock_ticks_after(
		    session->options->seconds * UINT64_C(1000000000));
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
	uint64_t first = part->number * reads, i = first;

	if (!run_steps(
		session, step_get, &i, i + reads, LATENCY_STRIDE, &measure))
		return false;
	part->ops = i - first;
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

	start_clock(session); /* to open it took a while */
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

	session->changes |= writers > 0;
	session->in_order &= writers == 0;
	session->error = crowd_run(&work, readers, writers, measure);
	if (measure->ops < task.reads * readers)
		measure->notes |= NOTE_CUT;
	return session->error == BENCH_EXIT_DONE;
}

static bool
measure_workload(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	if (!workload->fresh)
		wait_for_rest();
	start_clock(session);
	if (workload_is_oneshot(workload))
		return measure_oneshots(session, workload, measure);
	if (workload_readers(workload, session->options) > 0)
		return measure_crowd(session, workload, measure);
	if (workload_compacts(workload))
		return compactions_measure(session, workload, measure);
	if (workload->op == WORKLOAD_CHURN)
		return measure_churn(session, workload, measure);
	if (workload->op == WORKLOAD_OPEN)
		return measure_open(session, OPEN_COUNT, measure);
	if (workload->op == WORKLOAD_OPEN_KILLED)
		return measure_open(session, 1, measure);
	if (!measure_calls(session, workload, measure))
		return false;
	return !workload_writes(workload) ||
	       after_writing(session, workload, measure);
}

/* Why the engine cannot do it at all, or OMIT_NOTHING. */
static enum omission
omission_of(const struct session *session, const struct workload *workload)
{
	const struct engine *engine = session->engine;

	if (workload_readers(workload, session->options) > 0 && !engine->shares)
		return OMIT_UNSHARED;
	if (workload_is_ordered(workload) && engine->scan == NULL)
		return OMIT_NO_SCAN;
	if (workload->op == WORKLOAD_GET_VIEW && engine->get_view == NULL)
		return OMIT_NO_VIEW;
	if (workload_compacts(workload) && engine->compact == NULL)
		return OMIT_NO_COMPACT;
	return OMIT_NOTHING;
}

/* Stores are loaded with all the memory there is. */
static bool
limit_memory(struct session *session, uint64_t memory)
{
	if (session->options->memory == 0 || group_limit(memory))
		return true;
	perror("kvlog-bench: --memory");
	session->error = BENCH_EXIT_FAILED;
	return false;
}

enum bench_exit
session_run(struct session *session, const struct workload *workload,
    struct measure *measure)
{
	session->doing = workload->name;
	measure->omitted = omission_of(session, workload);
	if (measure->omitted != OMIT_NOTHING)
		return BENCH_EXIT_DONE;
	if ((workload->op == WORKLOAD_PUT_BATCH &&
		session->engine->put_batch == NULL) ||
	    (workload->op == WORKLOAD_GET_MANY &&
		session->engine->get_many == NULL))
		measure->notes |= NOTE_SINGLE;
	if (!session_prepare(session, workload) ||
	    !limit_memory(session, session->options->memory) ||
	    !measure_workload(session, workload, measure) ||
	    !limit_memory(session, 0))
		return session->error;
	measure->done = true;
	return BENCH_EXIT_DONE;
}

/* Before the engine is used, if it is wanted. */
static bool
session_open_nursery(struct session *session)
{
	const struct options *options = session->options;
	size_t b;

	for (b = 0; b < options->benchmark_count; b++) {
		if (options->benchmarks[b]->op == WORKLOAD_OPEN_KILLED)
			return nursery_open(
			    &session->nursery, fill_and_die, session);
	}
	return true;
}

static bool
session_init(struct session *session)
{
	const struct options *options = session->options;
	uint32_t most = options->lengths.max;
	struct lengths large;

	lengths_fixed(&large, (uint32_t)options->large_len);
	if (!records_init(&session->small_records, &options->lengths,
		options->key_len, options->compressible, options->seed) ||
	    !records_init(&session->large_records, &large, options->key_len,
		options->compressible, options->seed))
		return false;
	session->records = &session->small_records;
	if (large.max > most)
		most = large.max;
	session->line_sums = line_sums_create(&session->large_records);
	session->buf = calloc(1, (size_t)most + 1);
	session->keys = malloc((size_t)BATCH_LEN * options->key_len);
	session->pairs = calloc(BATCH_LEN, sizeof *session->pairs);
	if (session->line_sums == NULL || session->buf == NULL ||
	    session->keys == NULL || session->pairs == NULL)
		return false;
	memset(session->keys, '.', (size_t)BATCH_LEN * options->key_len);
	memset(session->key, '.', sizeof session->key);
	session->deadline = UINT64_MAX;
	return session_open_nursery(session);
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
	if (session_init(session))
		return session;
	session_end(session);
	return NULL;
}

enum bench_exit
session_end(struct session *session)
{
	enum bench_exit status = BENCH_EXIT_DONE;

	if (session == NULL)
		return BENCH_EXIT_DONE;
	if (!session_close_store(session))
		status = session->error;
	nursery_close(&session->nursery);
	records_fini(&session->small_records);
	records_fini(&session->large_records);
	free(session->line_sums);
	free(session->buf);
	free(session->keys);
	free(session->pairs);
	free(session);
	return status;
}
