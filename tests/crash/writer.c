/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer.c - writes numbered records and says of each that it is in the store;
 * for the tests that watch a process from outside.
 *
 *     writer STORE commit|interval|none|batch COUNT LENGTH [PAUSE]
 *     writer STORE check COUNT LENGTH
 *     writer STORE hold
 *
 * Values are of LENGTH bytes; PAUSE is in milliseconds, after each put.  Prints
 * the number of each record whose call has returned, and "closing" before it
 * closes the store.  check looks for the records 0 to COUNT - 1.  hold has the
 * store for itself, says "held", and closes it at the end of standard input.
 * Exit status: 0, 1 (something failed, which standard error tells), 2 (usage).
 */
#include "config.h"

#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static size_t length;

static int
complain(const struct kvlog_error *err)
{
	fprintf(stderr, "status %d: %s\n", (int)err->status, err->text);
	return 1;
}

/* What belongs to a key: no two are alike, and none compresses. */
static void
make_value(unsigned long i, unsigned char *value)
{
	unsigned long long x = i * 2654435761u + 1;

	for (size_t k = 0; k < length; k++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		value[k] = (unsigned char)(x >> 56);
	}
}

static int
write_all(struct kvlog *db, unsigned long count, long pause_ms)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	unsigned char *value = malloc(length + 1);
	enum kvlog_status st = KVLOG_OK;

	how.err = &err;
	for (unsigned long i = 0; i < count && st == KVLOG_OK; i++) {
		make_value(i, value);
		st = kvlog_put(db, &i, sizeof i, value, length, &how, NULL);
		if (st == KVLOG_OK)
			printf("%lu\n", i);
		(void)fflush(stdout);
		if (pause_ms > 0)
			nanosleep(&(struct timespec){pause_ms / 1000,
				      pause_ms % 1000 * 1000000},
			    NULL);
	}
	free(value);
	return st == KVLOG_OK ? 0 : complain(&err);
}

static int
write_batch(struct kvlog *db, unsigned long count)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog_op *ops = calloc(count, sizeof *ops);
	unsigned long *keys = calloc(count, sizeof *keys);
	unsigned char *values = malloc(count * length + 1);
	enum kvlog_status st;

	for (unsigned long i = 0; i < count; i++) {
		keys[i] = i;
		make_value(i, values + i * length);
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = &keys[i];
		ops[i].key_len = sizeof keys[i];
		ops[i].value = values + i * length;
		ops[i].value_len = length;
	}
	how.err = &err;
	st = kvlog_apply(db, ops, count, &how, NULL, NULL);
	free(values);
	free(keys);
	free(ops);
	return st == KVLOG_OK ? 0 : complain(&err);
}

static int
check_all(struct kvlog *db, unsigned long count)
{
	unsigned char *value = malloc(length + 1), *got = malloc(length + 1);
	int result = 0;

	for (unsigned long i = 0; i < count; i++) {
		size_t len = 0;
		enum kvlog_status st =
		    kvlog_get(db, &i, sizeof i, got, length, &len);

		make_value(i, value);
		if (st == KVLOG_OK && len == length &&
		    memcmp(got, value, len) == 0)
			continue;
		fprintf(stderr, "record %lu: %s\n", i,
		    st != KVLOG_OK ? kvlog_status_text(st) : "a wrong value");
		result = 1;
	}
	free(value);
	free(got);
	return result;
}

static int
hold(void)
{
	puts("held");
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

int
main(int argc, char **argv)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db;
	bool holds = argc == 3 && strcmp(argv[2], "hold") == 0;
	unsigned long count = 0;
	int result;

	if (!holds && (argc < 5 || argc > 6)) {
		fputs(
		    "usage: writer STORE MODE COUNT LENGTH [PAUSE]\n", stderr);
		return 2;
	}
	if (!holds) {
		count = strtoul(argv[3], NULL, 10);
		length = strtoul(argv[4], NULL, 10);
	}
	o.flags = KVLOG_OPEN_CREATE;
	o.interval_ms = 50;
	if (strcmp(argv[2], "check") == 0)
		o.flags = KVLOG_OPEN_READONLY;
	else if (holds)
		o.flags |= KVLOG_OPEN_UNSHARED;
	else if (strcmp(argv[2], "interval") == 0)
		o.durability = KVLOG_DURABILITY_INTERVAL;
	else if (strcmp(argv[2], "none") == 0)
		o.durability = KVLOG_DURABILITY_NONE;
	if (kvlog_open(argv[1], &o, &db, &err) != KVLOG_OK)
		return complain(&err);
	if (strcmp(argv[2], "check") == 0)
		result = check_all(db, count);
	else if (strcmp(argv[2], "batch") == 0)
		result = write_batch(db, count);
	else if (holds)
		result = hold();
	else
		result = write_all(
		    db, count, argc > 5 ? strtol(argv[5], NULL, 10) : 0);
	puts("closing");
	(void)fflush(stdout);
	if (kvlog_close(db, &err) != KVLOG_OK)
		return complain(&err);
	return result;
}
