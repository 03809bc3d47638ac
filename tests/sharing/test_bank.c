/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bank.c - processes move money between accounts in transactions, and are
 * killed at random moments.
 *
 * The accounts lie in two buckets.  At every moment that any reader sees their
 * sum is what it was, and no transfer is there by half: each writer counts its
 * own in the same transaction, and the count of a new one is what was
 * acknowledged of the old one, or one more.  The store is compacted all the
 * while.
 *
 * KVLOG_SEED=n            repeats the choices (not the times)
 * KVLOG_BANK_SECONDS=n    goes on for so long: part of "make soak"
 */
#include "config.h"

#include "api.h"
#include "kill.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITERS 4
#define READERS 2
#define ACCOUNTS 40u /* every second one in the bucket */
#define BALANCE 1000u
#define WAIT_MS 60000u /* others may have the machine for long */

/* What all processes see. */
struct board {
	_Atomic bool stop;
	_Atomic uint64_t acknowledged[WRITERS]; /* transfers */
	_Atomic uint64_t sums;                  /* that readers have added up */
	_Atomic unsigned failures;
	char failure[300]; /* the first one */
};

static struct board *board;
static uint64_t seed;

/* In the processes, where no test may fail: it is told, and ends. */
#define DEMAND(what, ...)                                                      \
	do {                                                                   \
		if (!(what))                                                   \
			complain(__VA_ARGS__);                                 \
	} while (0)

static void
complain(const char *about, unsigned long long a, unsigned long long b)
{
	if (atomic_fetch_add(&board->failures, 1) == 0)
		(void)snprintf(board->failure, sizeof board->failure,
		    "%s: %llu, %llu", about, a, b);
	_exit(1);
}

static struct kvlog *
open_bank(unsigned flags)
{
	struct kvlog_options o = api_options(flags);
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	enum kvlog_status st;

	o.timeout_ms = WAIT_MS;
	o.segment_size = 64 << 10;
	o.compact_bytes = 100 << 10;
	st = kvlog_open(api_store, &o, &db, &err);
	DEMAND(st == KVLOG_OK, err.text, (unsigned)st, 0);
	return db;
}

static void
name_account(char text[16], unsigned n)
{
	(void)snprintf(text, 16, "account%02u", n);
}

static uint64_t
number_of(const void *value, size_t len)
{
	char text[24] = "";

	DEMAND(len < sizeof text, "a value of so many bytes", len, 0);
	memcpy(text, value, len);
	return strtoull(text, NULL, 10);
}

static uint64_t
get(struct kvlog_txn *txn, struct kvlog *bucket, const char *key)
{
	const void *value;
	size_t len = 0;
	enum kvlog_status st =
	    kvlog_txn_get(txn, bucket, key, strlen(key), &value, &len);

	DEMAND(st == KVLOG_OK || st == KVLOG_NOTFOUND, "get", (unsigned)st, 0);
	return st == KVLOG_OK ? number_of(value, len) : 0;
}

static void
set(struct kvlog_txn *txn, struct kvlog *bucket, const char *key,
    uint64_t number)
{
	char text[24];
	enum kvlog_status st;

	(void)snprintf(text, sizeof text, "%" PRIu64, number);
	st = kvlog_txn_put(
	    txn, bucket, key, strlen(key), text, strlen(text), NULL);
	DEMAND(st == KVLOG_OK, "put", (unsigned)st, 0);
}

static struct kvlog_txn *
begin(struct kvlog *db)
{
	struct kvlog_txn_options o = KVLOG_TXN_OPTIONS_INIT;
	struct kvlog_txn *txn = NULL;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	o.idle_ms = WAIT_MS;
	st = kvlog_txn_begin(db, &o, &txn, &err);
	DEMAND(st == KVLOG_OK, err.text, (unsigned)st, 0);
	return txn;
}

/* Take as much from one account as it has, or less. */
static void
move(struct kvlog_txn *txn, struct kvlog *const buckets[2], struct rng *rng)
{
	unsigned from = (unsigned)rng_below(rng, ACCOUNTS), to = from;
	char from_key[16], to_key[16];
	uint64_t have, amount;

	while (to == from)
		to = (unsigned)rng_below(rng, ACCOUNTS);
	name_account(from_key, from);
	name_account(to_key, to);
	have = get(txn, buckets[from % 2], from_key);
	amount = rng_below(rng, have + 1);
	set(txn, buckets[from % 2], from_key, have - amount);
	set(txn, buckets[to % 2], to_key,
	    get(txn, buckets[to % 2], to_key) + amount);
}

static uint64_t
add_up(struct kvlog_txn *txn, struct kvlog *const buckets[2])
{
	uint64_t sum = 0;

	for (unsigned n = 0; n < ACCOUNTS; n++) {
		char key[16];

		name_account(key, n);
		sum += get(txn, buckets[n % 2], key);
	}
	return sum;
}

static void
transfer(struct kvlog *db, struct kvlog *const buckets[2], struct rng *rng,
    unsigned writer, const char *counter)
{
	struct kvlog_txn *txn = begin(db);
	const uint64_t count = get(txn, NULL, counter) + 1;
	uint64_t savepoint;
	enum kvlog_status st;

	set(txn, NULL, counter, count);
	move(txn, buckets, rng);
	if (rng_below(rng, 4) == 0) { /* somebody changes his mind */
		st = kvlog_txn_savepoint(txn, &savepoint);
		DEMAND(st == KVLOG_OK, "savepoint", (unsigned)st, 0);
		move(txn, buckets, rng);
		st = kvlog_txn_rollback_to(txn, savepoint);
		DEMAND(st == KVLOG_OK, "roll back", (unsigned)st, 0);
	}
	if (rng_below(rng, 4) == 0)
		move(txn, buckets, rng);
	if (rng_below(rng, 8) == 0) {
		kvlog_txn_rollback(txn);
		return;
	}
	if (rng_below(rng, 16) == 0) {
		uint64_t sum = add_up(txn, buckets);

		DEMAND(sum == ACCOUNTS * BALANCE, "the sum of a writer", sum,
		    count);
	}
	st = kvlog_txn_commit(txn, NULL, NULL);
	DEMAND(st == KVLOG_OK, "commit", (unsigned)st, 0);
	atomic_store(&board->acknowledged[writer], count);
}

static void
open_buckets(struct kvlog *db, struct kvlog *buckets[2])
{
	struct kvlog_error err = {0};
	enum kvlog_status st =
	    kvlog_bucket_open(db, "odd", 3, 0, &buckets[1], &err);

	DEMAND(st == KVLOG_OK, err.text, (unsigned)st, 0);
	buckets[0] = db;
}

/* Its number of transfers is in the transactions, so that a kill between commit
 * and acknowledgement, and nothing else, makes a difference of one. */
static void
write_until_told(unsigned writer, uint64_t life)
{
	struct kvlog *db = open_bank(0), *buckets[2];
	struct kvlog_compact_options all = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_error err = {0};
	enum kvlog_status st;
	char counter[16];
	struct rng rng;
	struct kvlog_txn *txn;
	uint64_t known = atomic_load(&board->acknowledged[writer]), count;

	all.flags = KVLOG_COMPACT_ALL;
	rng_init(&rng, seed + life);
	(void)snprintf(counter, sizeof counter, "writer%u", writer);
	open_buckets(db, buckets);
	txn = begin(db);
	count = get(txn, NULL, counter);
	kvlog_txn_rollback(txn);
	DEMAND(count == known || count == known + 1,
	    "transfers that are there, and known", count, known);
	while (!atomic_load(&board->stop)) {
		transfer(db, buckets, &rng, writer, counter);
		if (rng_below(&rng, 500) > 0)
			continue;
		st = kvlog_compact(db, &all, NULL, &err);
		DEMAND(st == KVLOG_OK || st == KVLOG_BUSY, err.text,
		    (unsigned)st, 0);
	}
	api_close(buckets[1]);
	api_close(db);
}

/* A walk is of one moment; so are two buckets if nothing was committed between
 * the walks. */
static uint64_t
sum_of(struct kvlog *bucket)
{
	struct kvlog_iter *iter = NULL;
	uint64_t sum = 0;
	size_t len = 0;
	enum kvlog_status st = kvlog_iter_create(bucket, "account", 7, &iter);

	DEMAND(st == KVLOG_OK, "begin a walk", (unsigned)st, 0);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		const void *value = kvlog_iter_value(iter, &len);

		sum += number_of(value, len);
	}
	DEMAND(st == KVLOG_NOTFOUND, "walk", (unsigned)st, 0);
	kvlog_iter_destroy(iter);
	return sum;
}

static void
read_until_told(void)
{
	struct kvlog *db = open_bank(KVLOG_OPEN_READONLY), *buckets[2];

	open_buckets(db, buckets);
	while (!atomic_load(&board->stop)) {
		uint64_t seq = kvlog_last_seq(db);
		uint64_t sum = sum_of(buckets[0]) + sum_of(buckets[1]);

		if (kvlog_last_seq(db) != seq)
			continue;
		DEMAND(
		    sum == ACCOUNTS * BALANCE, "the sum of a reader", sum, seq);
		atomic_fetch_add(&board->sums, 1);
	}
	api_close(buckets[1]);
	api_close(db);
}

static void
found_bank(void)
{
	struct kvlog *db = open_bank(KVLOG_OPEN_CREATE), *buckets[2];
	struct kvlog_txn *txn;

	ck_assert_int_eq(kvlog_bucket_open(db, "odd", 3, KVLOG_OPEN_CREATE,
			     &buckets[1], NULL),
	    KVLOG_OK);
	buckets[0] = db;
	txn = begin(db);
	for (unsigned n = 0; n < ACCOUNTS; n++) {
		char key[16];

		name_account(key, n);
		set(txn, buckets[n % 2], key, BALANCE);
	}
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	api_close(buckets[1]);
	api_close(db);
}

/* writer < WRITERS: one that writes; else one that reads. */
static pid_t
start(unsigned member, uint64_t life)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		if (member < WRITERS)
			write_until_told(member, life);
		else
			read_until_told();
		_exit(0);
	}
	return pid;
}

static void
reap(pid_t pid, bool killed)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(killed ? WIFSIGNALED(status) || status == 0 : status == 0,
	    "%s (status %#x)", board->failure, status);
}

static double
seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void
expect_sound(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog *db = open_bank(0), *buckets[2];
	struct kvlog_txn *txn;

	open_buckets(db, buckets);
	txn = begin(db);
	ck_assert_uint_eq(add_up(txn, buckets), ACCOUNTS * BALANCE);
	kvlog_txn_rollback(txn);
	api_close(buckets[1]);
	api_close(db);
	ck_assert_int_eq(
	    kvlog_verify(api_store, NULL, &report, NULL), KVLOG_OK);
}

START_TEST(no_money_is_made_or_lost)
{
	const double end =
	    seconds() + (double)kill_number("KVLOG_BANK_SECONDS", 3);
	pid_t crew[WRITERS + READERS];
	unsigned kills = 0;
	uint64_t total = 0;
	struct rng rng;

	rng_init(&rng, seed);
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	found_bank();
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		crew[i] = start(i, i);
	while (seconds() < end && atomic_load(&board->failures) == 0) {
		unsigned victim = (unsigned)rng_below(&rng, WRITERS);

		(void)usleep((useconds_t)rng_below(&rng, 60000));
		ck_assert_int_eq(kill(crew[victim], SIGKILL), 0);
		reap(crew[victim], true);
		crew[victim] = start(victim, 100 + kills++);
	}
	atomic_store(&board->stop, true);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		reap(crew[i], false);
	ck_assert_msg(atomic_load(&board->failures) == 0, "%s", board->failure);
	for (unsigned i = 0; i < WRITERS; i++) {
		total += board->acknowledged[i];
		ck_assert_uint_gt(board->acknowledged[i], 0);
	}
	ck_assert_uint_gt(board->sums, 0);
	ck_assert_uint_gt(kills, 0);
	printf("%" PRIu64 " transfers, %u kills, %" PRIu64 " sums\n", total,
	    kills, (uint64_t)board->sums);
	expect_sound();
	(void)munmap(board, sizeof *board);
}
END_TEST

static Suite *
bank_suite(void)
{
	Suite *suite = suite_create("bank");
	TCase *tc = kill_case(suite, &seed);

	tcase_add_checked_fixture(tc, api_setup, api_teardown);
	tcase_set_timeout(
	    tc, (double)(300 + kill_number("KVLOG_BANK_SECONDS", 3)));
	tcase_add_test(tc, no_money_is_made_or_lost);
	return suite;
}

int
main(void)
{
	return test_main(bank_suite());
}
