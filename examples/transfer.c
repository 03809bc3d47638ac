/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.c DIRECTORY - three accounts, and money that moves between them.
 *
 * Shows transactions: a transfer reads two accounts, changes both, and counts
 * itself, and all of that is there or nothing is, whatever becomes of the
 * program.  Part of one is undone by a savepoint.  May be run again and again,
 * and several may run at once: the sum stays.
 */
#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNTS 3
#define START 100 /* on each account */

static const char *const accounts[ACCOUNTS] = {"alice", "bob", "carol"};

static void
check(enum kvlog_status st, const char *what)
{
	if (st == KVLOG_OK)
		return;
	fprintf(stderr, "transfer: %s: %s\n", what, kvlog_status_text(st));
	exit(1);
}

/* What is kept under name, or what it is to begin with. */
static long
get(struct kvlog_txn *txn, const char *name, long begin)
{
	char text[24];
	const void *value;
	size_t len;
	enum kvlog_status st =
	    kvlog_txn_get(txn, NULL, name, strlen(name), &value, &len);

	if (st == KVLOG_NOTFOUND)
		return begin;
	check(st, "get");
	if (len >= sizeof text)
		return 0;
	memcpy(text, value, len); /* values have no NUL at their end */
	text[len] = '\0';
	return atol(text);
}

static void
set(struct kvlog_txn *txn, const char *name, long number)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%ld", number);
	check(kvlog_txn_put(
		  txn, NULL, name, strlen(name), text, strlen(text), NULL),
	    "put");
}

static void
move(struct kvlog_txn *txn, const char *from, const char *to, long amount)
{
	uint64_t before;

	check(kvlog_txn_savepoint(txn, &before), "savepoint");
	set(txn, from, get(txn, from, START) - amount);
	set(txn, to, get(txn, to, START) + amount);
	/* Nobody may owe: what was written since the savepoint is undone, and
	 * what was written before it stays. */
	if (get(txn, from, START) < 0)
		check(kvlog_txn_rollback_to(txn, before), "roll back");
}

/* All of it, or nothing. */
static void
transfer(struct kvlog *db, const char *from, const char *to, long amount)
{
	struct kvlog_txn *txn;
	struct kvlog_error err;

	/* Waits for a transaction of another program, if there is one. */
	if (kvlog_txn_begin(db, NULL, &txn, &err) != KVLOG_OK) {
		fprintf(stderr, "transfer: %s\n", err.text);
		exit(1);
	}
	set(txn, "transfers", get(txn, "transfers", 0) + 1);
	move(txn, from, to, amount);
	check(kvlog_txn_commit(txn, NULL, NULL), "commit");
}

static void
show(struct kvlog *db)
{
	struct kvlog_txn *txn;
	long sum = 0;

	check(kvlog_txn_begin(db, NULL, &txn, NULL), "begin");
	for (int i = 0; i < ACCOUNTS; i++) {
		long number = get(txn, accounts[i], START);

		printf("%s: %ld\n", accounts[i], number);
		sum += number;
	}
	printf(
	    "%ld transfers; the sum is %ld\n", get(txn, "transfers", 0), sum);
	kvlog_txn_rollback(txn); /* it has only read */
}

int
main(int argc, char **argv)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog *db;

	if (argc != 2) {
		fprintf(stderr, "usage: transfer DIRECTORY\n");
		return 2;
	}
	options.flags = KVLOG_OPEN_CREATE;
	check(kvlog_open(argv[1], &options, &db, NULL), "open");
	transfer(db, "alice", "bob", 30);
	transfer(db, "bob", "carol", 60);
	transfer(db, "carol", "alice", 1000); /* more than there is */
	show(db);
	check(kvlog_close(db, NULL), "close");
	return 0;
}
