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
 */
#include "config.h"

#include "workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

/*
 * A prime, so as not to keep step with pages or buckets, which hold numbers
 * of records near a power of two.
 */
#define LATENCY_STRIDE 17u

#define SLOT_BITS 12u
#define SLOT_LEN 16u
#define POOL_LEN ((size_t)SLOT_LEN << SLOT_BITS)

#define CHECK_COUNT 1000u /* records looked at after a writing benchmark */

const struct workload workload_table[] = {
    {"fillseq", "async puts of new keys, in order", WORKLOAD_PUT_IN_ORDER,
	ENGINE_ASYNC, true},
    {"fillrandom", "async puts of new keys, each once, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_ASYNC, true},
    {"readrandom", "gets of present keys, uniform", WORKLOAD_GET, ENGINE_ASYNC,
	false},
    {"readmissing",
	"gets of absent keys, half between present ones, half outside",
	WORKLOAD_GET_ABSENT, ENGINE_ASYNC, false},
    {"overwrite", "async puts of present keys, each once, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_ASYNC, false},
    {"deleterandom", "async deletes, each key once, in random order",
	WORKLOAD_DELETE, ENGINE_ASYNC, false},
    {"fillsync", "durable puts of new keys, in random order",
	WORKLOAD_PUT_SHUFFLED, ENGINE_SYNC, true},
    {NULL, NULL, WORKLOAD_GET, ENGINE_ASYNC, false},
};

/*
 * A permutation of 0 .. count-1, computed: three rounds, each a bijection of
 * the next power of two, repeated until the result is in range.
 */
struct shuffle {
	uint64_t count;
	uint64_t mask;
	uint64_t mul[3]; /* odd */
	uint64_t add;
	unsigned shift;
	bool identity;
};

struct session {
	const struct engine *engine;
	const struct options *options;
	const char *dir;
	const char *doing; /* the benchmark's name, for messages */

	void *db; /* NULL: no store is open */
	enum engine_mode mode;
	uint64_t record_count; /* records in the open store: the first ones */
	uint64_t generation;   /* of all its values */
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

/* A bijection of 64 bits without pattern (the finaliser of splitmix64). */
static inline uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static void
shuffle_init(struct shuffle *shuffle, uint64_t count, uint64_t seed)
{
	unsigned bits = 1;

	while (bits < 63 && (UINT64_C(1) << bits) < count)
		bits++;
	shuffle->count = count;
	shuffle->mask = (UINT64_C(1) << bits) - 1;
	shuffle->shift = (bits + 1) / 2;
	shuffle->mul[0] = mix(seed) | 1;
	shuffle->mul[1] = mix(seed + 1) | 1;
	shuffle->mul[2] = mix(seed + 2) | 1;
	shuffle->add = mix(seed + 3);
	shuffle->identity = false;
}

static inline uint64_t
shuffle_at(const struct shuffle *shuffle, uint64_t i)
{
	if (shuffle->identity)
		return i;
	do {
		i = (i * shuffle->mul[0] + shuffle->add) & shuffle->mask;
		i ^= i >> shuffle->shift;
		i = (i * shuffle->mul[1]) & shuffle->mask;
		i ^= i >> shuffle->shift;
		i = (i * shuffle->mul[2]) & shuffle->mask;
		i ^= i >> shuffle->shift;
	} while (i >= shuffle->count);
	return i;
}

/* The eight hexadecimal digits of x, as they lie in memory. */
static inline uint64_t
hex_digits(uint32_t x)
{
	uint64_t d = x, letters;

	d = (d | d << 16) & UINT64_C(0x0000ffff0000ffff);
	d = (d | d << 8) & UINT64_C(0x00ff00ff00ff00ff);
	d = (d | d << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	letters = (d + UINT64_C(0x0606060606060606)) >> 4 &
		  UINT64_C(0x0101010101010101);
	d += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	d = __builtin_bswap64(d);
#endif
	return d;
}

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
	}
	return NULL;
}

/* Every stride-th operation is timed by itself, and the last one. */
static bool
run_steps(struct session *session, step_fn step, uint64_t count,
    uint64_t stride, struct measure *measure)
{
	uint64_t stretch, before, after, sample_at, i = 0, longest = 0;

	stretch = clock_ticks();
	while (i < count) {
		sample_at = stride <= count - i ? i + stride - 1 : count - 1;
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
	uint64_t start_ns, start_cpu_us;
	bool ok;

	machine_rss_reset();
	start_cpu_us = cpu_us();
	start_ns = clock_ns();
	ok = run_steps(session, step_of(workload->op), ops,
	    workload->mode == ENGINE_SYNC ? 1 : LATENCY_STRIDE, measure);
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

static bool
session_open_store(
    struct session *session, enum engine_mode mode, uint64_t key_count)
{
	struct engine_config config = {mode, key_count,
	    session->options->key_len, session->options->value_len};

	if (!session_close_store(session))
		return false;
	if (!machine_remove(session->dir) || mkdir(session->dir, 0777) != 0) {
		perror(session->dir);
		session->error = BENCH_EXIT_FAILED;
		return false;
	}
	if (session->engine->kind != ENGINE_NULL)
		machine_warm(session->dir, footprint(&config));
	session->db = session->engine->open(session->dir, &config);
	if (session->db == NULL) {
		step_failed(session, ENGINE_FAILED, "");
		session->error = BENCH_EXIT_USAGE;
		return false;
	}
	session->mode = mode;
	session->record_count = 0;
	session->generation = 0;
	session->key_base = 2 * key_count;
	session->key_range = key_count;
	return true;
}

/* Leave a store that holds all records, if there is none yet. */
static bool
session_load_store(struct session *session)
{
	uint64_t i, num = session->options->num;

	if (session->db != NULL && session->mode == ENGINE_ASYNC &&
	    session->record_count == num)
		return true;
	if (!session_open_store(session, ENGINE_ASYNC, num))
		return false;
	shuffle_init(&session->order, num, session->options->seed);
	for (i = 0; i < num; i++) {
		if (!step_put(session, i))
			return false;
	}
	session->record_count = num;
	return true;
}

static bool
session_prepare(struct session *session, const struct workload *workload)
{
	uint64_t count = workload_ops(workload, session->options);

	if (workload->fresh) {
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
	if (workload->mode == ENGINE_SYNC)
		return options->sync_num;
	return workload_writes(workload) ? options->num : options->reads;
}

bool
workload_writes(const struct workload *workload)
{
	return workload->op != WORKLOAD_GET &&
	       workload->op != WORKLOAD_GET_ABSENT;
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
	if (!session_prepare(session, workload) ||
	    !measure_steps(session, workload, measure))
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
