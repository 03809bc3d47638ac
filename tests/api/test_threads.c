/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_threads.c - one handle, many threads.  ThreadSanitizer finds nothing
 * here.
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4
#define KEYS 200
#define ROUNDS 600

static struct kvlog *db;
static _Atomic unsigned wrong;
static _Atomic bool stop;

static void
start(pthread_t *threads, void *(*fn)(void *), unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, fn, (void *)(uintptr_t)i),
		    0);
}

static void
finish(pthread_t *threads, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

/* A value that tells who wrote it, for which key, and is whole. */
static size_t
make_value(char buf[128], unsigned key, unsigned who, unsigned round)
{
	int len = snprintf(buf, 128, "%u/%u/%u/", key, who, round);

	while (len < 100)
		buf[len++] = (char)('a' + round % 26);
	return 100;
}

static bool
is_whole(const char *buf, size_t len, unsigned key)
{
	unsigned k, who, round;
	char again[128];

	return len == 100 && sscanf(buf, "%u/%u/%u/", &k, &who, &round) == 3 &&
	       k == key && make_value(again, k, who, round) == len &&
	       memcmp(again, buf, len) == 0;
}

/* As a value in place, which nothing ends. */
static bool
is_whole_in_place(const struct kvlog_item *item, unsigned key)
{
	char copy[128];

	if (item->value_len >= sizeof copy)
		return false;
	memcpy(copy, item->value, item->value_len);
	copy[item->value_len] = '\0';
	return is_whole(copy, item->value_len, key);
}

/* Of some keys in one call: each value is whole, and stays so. */
static bool
read_some(struct rng *rng)
{
	struct kvlog_item items[40] = {0};
	struct kvlog_pin *pin = NULL;
	char keys[40][16];
	unsigned k[40], count = 1 + (unsigned)rng_below(rng, 40);
	bool ok = kvlog_pin_create(db, &pin) == KVLOG_OK;

	for (unsigned i = 0; i < count; i++) {
		k[i] = (unsigned)rng_below(rng, KEYS);
		items[i].key = keys[i];
		items[i].key_len =
		    (size_t)snprintf(keys[i], sizeof keys[i], "key%u", k[i]);
	}
	ok = ok && kvlog_pin_get_many(pin, items, count) == KVLOG_OK;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < count && ok; i++)
			ok = items[i].status == KVLOG_NOTFOUND ||
			     (items[i].status == KVLOG_OK &&
				 is_whole_in_place(&items[i], k[i]));
	kvlog_pin_destroy(pin);
	return ok;
}

static void *
mix(void *arg)
{
	unsigned who = (unsigned)(uintptr_t)arg;
	struct rng rng;

	rng_init(&rng, who);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned k = (unsigned)rng_below(&rng, KEYS);
		char key[16], value[128];
		size_t key_len = (size_t)snprintf(key, sizeof key, "key%u", k);
		size_t len = 0;
		enum kvlog_status st = KVLOG_OK;

		switch (rng_below(&rng, 6)) {
		case 0:
			st = kvlog_delete(db, key, key_len, NULL, NULL);
			break;
		case 1:
		case 2:
			len = make_value(value, k, who, i);
			st =
			    kvlog_put(db, key, key_len, value, len, NULL, NULL);
			if (st != KVLOG_OK)
				wrong++;
			break;
		case 3:
			if (!read_some(&rng))
				wrong++;
			break;
		default:
			st = kvlog_get(
			    db, key, key_len, value, sizeof value, &len);
			value[len] = '\0';
			if (st == KVLOG_OK && !is_whole(value, len, k))
				wrong++;
		}
		if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
			wrong++;
	}
	return NULL;
}

START_TEST(threads_share_a_handle)
{
	pthread_t threads[THREADS];

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	start(threads, mix, THREADS);
	finish(threads, THREADS);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(api_stats(db).segment_count, 10);
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	for (unsigned k = 0; k < KEYS; k++) {
		char key[16], value[128];
		size_t len = 0;
		enum kvlog_status st;

		(void)snprintf(key, sizeof key, "key%u", k);
		st = kvlog_get(db, key, strlen(key), value, sizeof value, &len);
		ck_assert(st == KVLOG_NOTFOUND ||
			  (st == KVLOG_OK && is_whole(value, len, k)));
	}
	api_close(db);
}
END_TEST

/* Group commit: everybody's commit is durable when the call returns. */
static void *
commit_some(void *arg)
{
	unsigned who = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 50; i++) {
		struct kvlog_write how = KVLOG_WRITE_INIT;
		struct kvlog_receipt r;
		char key[16];

		how.durability = KVLOG_DURABILITY_COMMIT;
		(void)snprintf(key, sizeof key, "%u-%u", who, i);
		if (kvlog_put(db, key, strlen(key), "x", 1, &how, &r) !=
			KVLOG_OK ||
		    kvlog_durable_seq(db) < r.seq ||
		    kvlog_durable_seq(db) > kvlog_last_seq(db))
			wrong++;
	}
	return NULL;
}

START_TEST(commits_share_syncs)
{
	pthread_t threads[THREADS];

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	start(threads, commit_some, THREADS);
	finish(threads, THREADS);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(api_count(db), THREADS * 50);
	ck_assert_uint_eq(kvlog_durable_seq(db), THREADS * 50);
	api_close(db);
}
END_TEST

/* Exactly one of those who want a key absent gets it. */
static _Atomic unsigned won[KEYS];

static void *
contend(void *arg)
{
	(void)arg;
	for (unsigned k = 0; k < KEYS; k++) {
		struct kvlog_write how = KVLOG_WRITE_INIT;
		char key[16];
		enum kvlog_status st;

		how.condition = KVLOG_IF_ABSENT;
		(void)snprintf(key, sizeof key, "%u", k);
		st = kvlog_put(db, key, strlen(key), "x", 1, &how, NULL);
		if (st == KVLOG_OK)
			won[k]++;
		else if (st != KVLOG_CONFLICT)
			wrong++;
	}
	return NULL;
}

START_TEST(conditions_are_decided_one_by_one)
{
	pthread_t threads[THREADS];

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	start(threads, contend, THREADS);
	finish(threads, THREADS);
	ck_assert_uint_eq(wrong, 0);
	for (unsigned k = 0; k < KEYS; k++)
		ck_assert_uint_eq(won[k], 1);
	api_close(db);
}
END_TEST

/*
 * A batch moves an amount between two keys; whoever reads the second after
 * the first never sees the second older than the first.
 */
static void *
read_pairs(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		unsigned one = 0, two = 0;
		size_t len;

		if (kvlog_get(db, "one", 3, &one, sizeof one, &len) !=
			KVLOG_OK ||
		    kvlog_get(db, "two", 3, &two, sizeof two, &len) !=
			KVLOG_OK ||
		    two < one)
			wrong++;
	}
	return NULL;
}

/* In one call either may be newer; but none goes back, or is a step of a
 * batch that the next one undoes. */
static void *
read_both(void *arg)
{
	struct kvlog_item items[2] = {
	    {.key = "one", .key_len = 3}, {.key = "two", .key_len = 3}};
	struct kvlog_pin *pin = NULL;
	unsigned last[2] = {0}, n;

	(void)arg;
	if (kvlog_pin_create(db, &pin) != KVLOG_OK)
		wrong++;
	while (!atomic_load(&stop)) {
		if (kvlog_pin_get_many(pin, items, 2) != KVLOG_OK)
			wrong++;
		for (unsigned i = 0; i < 2; i++) {
			if (items[i].status != KVLOG_OK) {
				wrong++;
				continue;
			}
			memcpy(&n, items[i].value, sizeof n);
			if (n < last[i] || n == UINT_MAX)
				wrong++;
			last[i] = n;
		}
	}
	kvlog_pin_destroy(pin);
	return NULL;
}

/* And a walk sees one moment: both alike. */
static void *
walk_pairs(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		struct kvlog_iter *iter = NULL;
		unsigned seen[2] = {0, 1}, i = 0;
		size_t len;

		if (kvlog_iter_create(db, "", 0, &iter) != KVLOG_OK) {
			wrong++;
			continue;
		}
		while (kvlog_iter_next(iter) == KVLOG_OK && i < 2)
			memcpy(&seen[i++], kvlog_iter_value(iter, &len),
			    sizeof seen[0]);
		if (i != 2 || seen[0] != seen[1])
			wrong++;
		kvlog_iter_destroy(iter);
	}
	return NULL;
}

static void
put_pair(unsigned n)
{
	const unsigned never = UINT_MAX;
	struct kvlog_op ops[3] = {{KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "one", 3,
				      &never, sizeof never, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "one", 3, &n, sizeof n, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "two", 3, &n, sizeof n, 0, NULL}};

	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, NULL, NULL), KVLOG_OK);
}

START_TEST(nobody_sees_half_a_batch)
{
	pthread_t readers[2], walker, other;

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	put_pair(0);
	start(readers, read_pairs, 2);
	start(&walker, walk_pairs, 1);
	start(&other, read_both, 1);
	for (unsigned n = 1; n < 3000; n++)
		put_pair(n);
	atomic_store(&stop, true);
	finish(readers, 2);
	finish(&walker, 1);
	finish(&other, 1);
	ck_assert_uint_eq(wrong, 0);
	api_close(db);
}
END_TEST

/* Everything at once, beside the background thread. */
static void *
look_around(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		struct kvlog_stats s = {.size = sizeof s};
		uint64_t count;
		bool more;

		if (kvlog_stats_get(db, &s) != KVLOG_OK ||
		    s.durable_seq > s.last_seq ||
		    kvlog_count(db, &count) != KVLOG_OK ||
		    kvlog_sync(db) != KVLOG_OK ||
		    kvlog_maintain(db, 1, &more) != KVLOG_OK)
			wrong++;
	}
	return NULL;
}

START_TEST(maintenance_and_numbers_beside_writers)
{
	pthread_t threads[THREADS], other;

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	start(&other, look_around, 1);
	start(threads, mix, THREADS);
	finish(threads, THREADS);
	atomic_store(&stop, true);
	finish(&other, 1);
	ck_assert_uint_eq(wrong, 0);
	api_close(db);
}
END_TEST

static void *
wait_for_one(void *arg)
{
	(void)arg;
	if (kvlog_wait_durable(db, 1, 60000) != KVLOG_OK)
		wrong++;
	return NULL;
}

START_TEST(who_waits_is_woken)
{
	pthread_t threads[THREADS];

	db = api_open(api_store, KVLOG_OPEN_CREATE);
	api_put(db, "a", "1");
	start(threads, wait_for_one, THREADS);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	finish(threads, THREADS);
	ck_assert_uint_eq(wrong, 0);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("threads");
	TCase *tc = api_case(suite, "threads");

	tcase_add_test(tc, threads_share_a_handle);
	tcase_add_test(tc, commits_share_syncs);
	tcase_add_test(tc, conditions_are_decided_one_by_one);
	tcase_add_test(tc, nobody_sees_half_a_batch);
	tcase_add_test(tc, maintenance_and_numbers_beside_writers);
	tcase_add_test(tc, who_waits_is_woken);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
