/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_kill.c - real processes, killed with SIGKILL at random moments.
 *
 * A child loads numbered records, each third of them into a bucket, alone, in
 * batches and in transactions, some of which expire one day, and writes the
 * number of each that was acknowledged to a pipe.  The parent kills it, opens
 * the store, and finds every acknowledged record, with its value; of those
 * behind, only the few whose calls may have been running, and nothing else.
 *
 * KVLOG_KILL_ROUNDS=n    kills in a row, of one store (default 20)
 * KVLOG_KILL_RECORDS=n   records that are in the store before
 * KVLOG_SEED=n           repeats lengths and delays
 */
#include "kill.h"
#include "tmpdir.h"

#include <errno.h>
#include <kvlog.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEY_LEN 16
#define VALUE_MAX 400
#define BATCH 7
#define FAR_MS UINT64_C(4102444800000) /* in the year 2100 */

static uint64_t seed;

static void
make_key(char key[KEY_LEN + 1], uint64_t n)
{
	(void)snprintf(key, KEY_LEN + 1, "%016" PRIx64, rng_mix(n));
}

/* The value of record n as it was written the given time. */
static size_t
make_value(uint8_t *value, uint64_t n, uint64_t version)
{
	struct rng rng;
	size_t len;

	rng_init(&rng, n ^ version << 40);
	len = 8 + (size_t)rng_below(&rng, n % 50 == 0 ? VALUE_MAX - 8 : 100);
	rng_fill(&rng, value, len);
	return len;
}

static void
sleep_us(uint64_t us)
{
	struct timespec pause = {0, (long)us * 1000};

	(void)nanosleep(&pause, NULL);
}

/* Of the one handle that a process has. */
static struct kvlog *bucket;

/* Where record n is: the bucket, or the default one. */
static struct kvlog *
place_of(struct kvlog *db, uint64_t n)
{
	return n % 3 == 0 ? bucket : db;
}

static uint64_t
expiry_of(uint64_t n)
{
	return n % 5 == 0 ? FAR_MS + n : 0;
}

/* By turns with its index in memory and in the hints. */
static struct kvlog *
open_store(const char *path, bool thread)
{
	static bool hints;
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_CREATE | (thread ? 0 : KVLOG_OPEN_NOTHREAD);
	o.segment_size = UINT64_C(4) << 20;
	o.index_mode = hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	hints = !hints;
	if (kvlog_open(path, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg(
		    "KVLOG_SEED=%" PRIu64 ": open: %s", seed, err.text);
	if (kvlog_bucket_open(
		db, "third", 5, KVLOG_OPEN_CREATE, &bucket, &err) != KVLOG_OK)
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": open the bucket: %s",
		    seed, err.text);
	return db;
}

static enum kvlog_status
close_store(struct kvlog *db)
{
	(void)kvlog_close(bucket, NULL);
	return kvlog_close(db, NULL);
}

static enum kvlog_durability
durability_of(uint64_t n)
{
	return n % 500 == 0 ? KVLOG_DURABILITY_COMMIT
	       : n % 3 == 0 ? KVLOG_DURABILITY_INTERVAL
			    : KVLOG_DURABILITY_NONE;
}

static enum kvlog_status
transact(struct kvlog *db, const struct kvlog_op *ops, size_t count,
    const struct kvlog_write *how)
{
	struct kvlog_txn *txn = NULL;
	enum kvlog_status st = kvlog_txn_begin(db, NULL, &txn, NULL);

	for (size_t i = 0; i < count && st == KVLOG_OK; i++) {
		struct kvlog_write put = KVLOG_WRITE_INIT;

		put.expires_ms = ops[i].expires_ms;
		st = kvlog_txn_put(txn, ops[i].bucket, ops[i].key,
		    ops[i].key_len, ops[i].value, ops[i].value_len, &put);
	}
	if (st == KVLOG_OK)
		return kvlog_txn_commit(txn, how, NULL);
	kvlog_txn_rollback(txn);
	return st;
}

/* Records from n on: BATCH at a time in one commit, or one alone. */
static enum kvlog_status
put_records(struct kvlog *db, uint64_t n, size_t count, uint64_t version)
{
	static uint8_t values[BATCH][VALUE_MAX];
	static char keys[BATCH][KEY_LEN + 1];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_op ops[BATCH];

	memset(ops, 0, sizeof ops);
	how.durability = durability_of(n);
	for (size_t i = 0; i < count; i++) {
		make_key(keys[i], n + i);
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = keys[i];
		ops[i].key_len = KEY_LEN;
		ops[i].value = values[i];
		ops[i].value_len = make_value(values[i], n + i, version);
		ops[i].expires_ms = expiry_of(n + i);
		ops[i].bucket = place_of(db, n + i);
	}
	if (count > 1 && n / 8 % 2 == 0)
		return transact(db, ops, count, &how);
	if (count == 1) {
		how.expires_ms = ops[0].expires_ms;
		return kvlog_put(ops[0].bucket, keys[0], KEY_LEN, values[0],
		    ops[0].value_len, &how, NULL);
	}
	return kvlog_apply(db, ops, count, &how, NULL, NULL);
}

/* The child: acknowledges by writing what the next number would be. */
static void
load(const char *path, uint64_t from, uint64_t version, int fd)
{
	struct kvlog *db = open_store(path, version % 2 == 0);
	uint64_t n = from;

	for (;;) {
		size_t count = n % 4 == 0 ? BATCH : 1;

		if (put_records(db, n, count, version) != KVLOG_OK)
			_exit(1);
		n += count;
		if (write(fd, &n, sizeof n) != (ssize_t)sizeof n)
			_exit(2);
	}
}

/* Start a loader, kill it after some acknowledgements; the last of them. */
static uint64_t
load_and_kill(
    const char *path, uint64_t from, uint64_t version, struct rng *rng)
{
	uint64_t wanted = 1 + rng_below(rng, 6000), n = from, seen = 0;
	int fds[2], status = 0;
	pid_t pid;
	ssize_t got;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)close(fds[0]);
		load(path, from, version, fds[1]);
	}
	(void)close(fds[1]);
	while (seen < wanted) {
		got = read(fds[0], &n, sizeof n);
		if (got != (ssize_t)sizeof n)
			break;
		seen++;
	}
	sleep_us(rng_below(rng, 300));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	/* What it could still say before it died. */
	while ((got = read(fds[0], &n, sizeof n)) == (ssize_t)sizeof n)
		seen++;
	(void)close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		ck_abort_msg("KVLOG_SEED=%" PRIu64
			     ": the loader ended by itself: %#x",
		    seed, (unsigned)status);
	return n;
}

static bool
is_there(struct kvlog *db, uint64_t n, uint64_t version)
{
	uint8_t wanted[VALUE_MAX], found[VALUE_MAX];
	char key[KEY_LEN + 1];
	size_t len = 0, wanted_len;
	struct kvlog_info info = {0};
	struct kvlog *place = place_of(db, n);
	enum kvlog_status st;

	make_key(key, n);
	wanted_len = make_value(wanted, n, version);
	st = kvlog_get(place, key, KEY_LEN, found, sizeof found, &len);
	if (st == KVLOG_NOTFOUND)
		return false;
	if (st == KVLOG_OK)
		st = kvlog_lookup(place, key, KEY_LEN, &info);
	if (st != KVLOG_OK || len != wanted_len ||
	    info.expires_ms != expiry_of(n) || memcmp(found, wanted, len) != 0)
		ck_abort_msg("KVLOG_SEED=%" PRIu64 ": record %" PRIu64
			     " is wrong: %s",
		    seed, n, kvlog_status_text(st));
	return true;
}

/* A keyed range that one loader wrote. */
struct range {
	uint64_t from, to, version;
};

START_TEST(acknowledged_records_survive_sigkill)
{
	uint64_t rounds = kill_rounds(20);
	uint64_t records = kill_number("KVLOG_KILL_RECORDS", 20000);
	char *dir = tmpdir_create(), path[4200];
	struct range *ranges = calloc((size_t)rounds + 1, sizeof *ranges);
	uint64_t next = 1, total = 0, extra = 0, count = 0, in_bucket = 0;
	struct rng rng;
	struct kvlog *db;

	ck_assert_ptr_nonnull(ranges);
	rng_init(&rng, seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	db = open_store(path, true);
	for (; next <= records; next++)
		ck_assert_int_eq(put_records(db, next, 1, 0), KVLOG_OK);
	ck_assert_int_eq(close_store(db), KVLOG_OK);
	ranges[0] = (struct range){1, next, 0};

	for (uint64_t round = 1; round <= rounds; round++) {
		uint64_t n = load_and_kill(path, next, round, &rng);
		uint64_t to = n;
		struct kvlog_stats stats = {.size = sizeof stats};

		db = open_store(path, false);
		/* The commit that was running may be there, as a whole. */
		while (is_there(db, to, round))
			to++;
		if (to != n && to != n + 1 && to != n + BATCH)
			ck_abort_msg("KVLOG_SEED=%" PRIu64 ": %" PRIu64
				     " records more than one commit",
			    seed, to - n);
		extra += to - n;
		ranges[round] = (struct range){next, to, round};
		next = to;
		/* All of the last range, and samples of all others. */
		for (uint64_t r = 0; r <= round; r++) {
			const struct range *range = &ranges[r];
			uint64_t step =
			    r == round || round == rounds
				? 1
				: 1 + (range->to - range->from) / 100;

			for (uint64_t i = range->from; i < range->to;
			     i += step, total++)
				if (!is_there(db, i, range->version))
					ck_abort_msg("KVLOG_SEED=%" PRIu64
						     ": round %" PRIu64
						     ": record %" PRIu64
						     " is missing",
					    seed, round, i);
		}
		ck_assert_int_eq(kvlog_count(db, &count), KVLOG_OK);
		ck_assert_int_eq(kvlog_count(bucket, &in_bucket), KVLOG_OK);
		ck_assert_uint_eq(in_bucket, (next - 1) / 3);
		count += in_bucket;
		ck_assert_uint_eq(count, next - 1);
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		if ((stats.recovery & KVLOG_RECOVERY_DAMAGE) != 0)
			ck_abort_msg("KVLOG_SEED=%" PRIu64
				     ": taken for damage: %s",
			    seed, stats.recovery_text);
		ck_assert_int_eq(close_store(db), KVLOG_OK);
	}
	printf("%" PRIu64 " kills, %" PRIu64 " records in the end, %" PRIu64
	       " looked up, %" PRIu64 " unacknowledged ones were there too\n",
	    rounds, count, total, extra);
	(void)fflush(stdout);
	free(ranges);
	tmpdir_remove(dir);
}
END_TEST

/* Killed while the store is being made, opened and closed, again and again:
 * it can always be opened, and holds what was acknowledged. */
START_TEST(opening_and_closing_survive_sigkill)
{
	char *dir = tmpdir_create(), path[4200];
	struct rng rng;
	uint64_t acknowledged = 0;
	const unsigned rounds = 60;

	rng_init(&rng, ~seed);
	(void)snprintf(path, sizeof path, "%s/db", dir);
	for (unsigned round = 0; round < rounds; round++) {
		int fds[2], status;
		uint64_t n;
		pid_t pid;

		ck_assert_int_eq(pipe(fds), 0);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			for (n = acknowledged + 1;; n++) {
				struct kvlog *db = open_store(path, true);

				if (put_records(db, n, 1, 0) != KVLOG_OK ||
				    write(fds[1], &n, sizeof n) !=
					(ssize_t)sizeof n ||
				    close_store(db) != KVLOG_OK)
					_exit(1);
			}
		}
		(void)close(fds[1]);
		sleep_us(rng_below(&rng, 20000));
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		while (read(fds[0], &n, sizeof n) == (ssize_t)sizeof n)
			acknowledged = n;
		(void)close(fds[0]);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		if (round % 4 == 3) {
			struct kvlog *db = open_store(path, false);

			for (uint64_t i = 1; i <= acknowledged; i++)
				ck_assert(is_there(db, i, 0));
			ck_assert_int_eq(close_store(db), KVLOG_OK);
		}
	}
	printf("%u kills around opening and closing, %" PRIu64 " records\n",
	    rounds, acknowledged);
	(void)fflush(stdout);
	tmpdir_remove(dir);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("kill");
	TCase *tc = kill_case(suite, &seed);

	tcase_add_test(tc, acknowledged_records_survive_sigkill);
	tcase_add_test(tc, opening_and_closing_survive_sigkill);
	return test_main(suite);
}
