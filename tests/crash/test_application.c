/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_application.c - an application tests its own use of kvlog against
 * crashes: the example of kvlog-crashtest(7).
 *
 * It keeps accounts.  What it promises its users: money neither appears nor
 * vanishes, and a transfer that was acknowledged has happened, whatever
 * happens to the machine.  The careful way to make a transfer keeps that at
 * every step; two careless ones are found out.
 */
#include "crashtest.h"

#include <inttypes.h>
#include <kvlog.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACCOUNTS 4
#define MONEY 100 /* in each, at first */
#define TRANSFERS 6

struct bank {
	enum { CAREFUL, TWO_COMMITS, NOT_DURABLE } way;
	uint64_t acknowledged; /* transfers that a user was told of */
};

static struct kvlog *
bank_open(void)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	options.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	options.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	if (kvlog_open("/bank.kvlog", &options, &db, &err) != KVLOG_OK)
		crashtest_fail("%s", err.text);
	return db;
}

static void
bank_close(struct kvlog *db)
{
	if (kvlog_close(db, NULL) != KVLOG_OK)
		crashtest_fail("the bank cannot be closed");
}

/* A number under a key; 0 if there is none. */
static uint64_t
read_number(struct kvlog *db, const char *key)
{
	uint64_t number = 0;
	size_t len;
	enum kvlog_status st =
	    kvlog_get(db, key, strlen(key), &number, sizeof number, &len);

	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		crashtest_fail("%s: %s", key, kvlog_status_text(st));
	return number;
}

/* Write count numbers in one commit. */
static void
write_numbers(struct kvlog *db, const char *const *keys,
    const uint64_t *numbers, size_t count, enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_op ops[3];
	enum kvlog_status st;

	memset(ops, 0, sizeof ops);
	for (size_t i = 0; i < count; i++) {
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = keys[i];
		ops[i].key_len = strlen(keys[i]);
		ops[i].value = &numbers[i];
		ops[i].value_len = sizeof numbers[i];
	}
	how.durability = durability;
	st = kvlog_apply(db, ops, count, &how, NULL, NULL);
	if (st != KVLOG_OK)
		crashtest_fail("a transfer: %s", kvlog_status_text(st));
}

static void
account_name(char name[16], unsigned account)
{
	(void)snprintf(name, 16, "account %u", account % ACCOUNTS);
}

/* Move amount between two accounts, and count the transfer. */
static void
transfer(struct bank *bank, struct kvlog *db, unsigned from, unsigned to,
    uint64_t amount)
{
	char giver[16], taker[16];
	const char *keys[] = {giver, taker, "transfers"};
	uint64_t numbers[3];

	account_name(giver, from);
	account_name(taker, to);
	numbers[0] = read_number(db, giver) - amount;
	numbers[1] = read_number(db, taker) + amount;
	numbers[2] = read_number(db, "transfers") + 1;
	switch (bank->way) {
	case CAREFUL:
		write_numbers(db, keys, numbers, 3, KVLOG_DURABILITY_COMMIT);
		break;
	case TWO_COMMITS:
		write_numbers(db, keys, numbers, 1, KVLOG_DURABILITY_NONE);
		write_numbers(
		    db, keys + 1, numbers + 1, 2, KVLOG_DURABILITY_COMMIT);
		break;
	case NOT_DURABLE:
		write_numbers(db, keys, numbers, 3, KVLOG_DURABILITY_NONE);
		break;
	}
	bank->acknowledged = numbers[2];
}

/* Before the test: accounts. */
static void
setup(void *arg)
{
	struct kvlog *db = bank_open();
	const uint64_t money = MONEY;
	char name[16];
	const char *key = name;

	(void)arg;
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		account_name(name, i);
		write_numbers(db, &key, &money, 1, KVLOG_DURABILITY_COMMIT);
	}
	bank_close(db);
}

/* What is stopped anywhere: a day at the bank. */
static void
run(void *arg)
{
	struct bank *bank = arg;
	struct kvlog *db;

	bank->acknowledged = 0; /* notes of an earlier run */
	db = bank_open();
	for (unsigned i = 0; i < TRANSFERS; i++)
		transfer(bank, db, i, i + 1 + i % 2, 10 + i);
	bank_close(db);
}

/* What the application does when it starts. */
static void
recover(void *arg, const struct crashtest_crash *crash)
{
	(void)arg;
	(void)crash;
	bank_close(bank_open());
}

/* What must hold whatever has happened. */
static void
check(void *arg, const struct crashtest_crash *crash)
{
	const struct bank *bank = arg;
	struct kvlog *db = bank_open();
	uint64_t total = 0, transfers = read_number(db, "transfers");
	char name[16];

	(void)crash;
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		account_name(name, i);
		total += read_number(db, name);
	}
	if (total != (uint64_t)ACCOUNTS * MONEY)
		crashtest_fail("there are %" PRIu64 " in all accounts", total);
	if (transfers < bank->acknowledged)
		crashtest_fail("of %" PRIu64 " transfers %" PRIu64 " are left",
		    bank->acknowledged, transfers);
	bank_close(db);
}

static void
test_bank(struct bank *bank)
{
	struct crashtest test = {
	    .name = "bank",
	    .seed = 1,
	    .setup = setup,
	    .run = run,
	    .recover = recover,
	    .check = check,
	    .arg = bank,
	};

	crashtest_run(&test);
}

/* Whether a careless bank is caught, which ends its process. */
static bool
is_caught(struct bank bank)
{
	int status = 0;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		test_bank(&bank);
		_exit(EXIT_SUCCESS);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == EXIT_FAILURE;
}

int
main(void)
{
	struct bank bank = {.way = CAREFUL};
	bool caught;

	test_bank(&bank);
	if (!crashtest_report(stdout, 1, NULL, false))
		return EXIT_FAILURE;
	if (getenv("KVLOG_CRASH_POINT") != NULL)
		return EXIT_SUCCESS;

	printf("\nTwo careless banks, which must be caught:\n");
	caught = is_caught((struct bank){.way = TWO_COMMITS});
	caught = is_caught((struct bank){.way = NOT_DURABLE}) && caught;
	return caught ? EXIT_SUCCESS : EXIT_FAILURE;
}
