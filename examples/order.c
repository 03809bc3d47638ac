/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order.c DIRECTORY - a stock of articles, and an order that takes one piece of
 * each of several, or none at all.
 *
 * Shows how to read many keys in one call, in place, and to write only if
 * nobody else has changed any of them meanwhile.  May be run again until
 * something is sold out; several may run at once.
 */
#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARTICLES 3

static const char *const articles[ARTICLES] = {"bread", "butter", "jam"};
static const char *const stock[ARTICLES] = {"5", "3", "4"};

static void
check(enum kvlog_status st, const char *what)
{
	if (st == KVLOG_OK)
		return;
	fprintf(stderr, "order: %s: %s\n", what, kvlog_status_text(st));
	exit(1);
}

/* The first time: what nobody has put there yet. */
static void
fill(struct kvlog *db)
{
	struct kvlog_write if_absent = KVLOG_WRITE_INIT;

	if_absent.condition = KVLOG_IF_ABSENT;
	for (int i = 0; i < ARTICLES; i++) {
		enum kvlog_status st =
		    kvlog_put(db, articles[i], strlen(articles[i]), stock[i],
			strlen(stock[i]), &if_absent, NULL);

		if (st != KVLOG_CONFLICT)
			check(st, "put");
	}
}

/* Values have no NUL at their end. */
static long
number(const struct kvlog_item *item)
{
	char text[24];

	if (item->value_len >= sizeof text)
		return 0;
	memcpy(text, item->value, item->value_len);
	text[item->value_len] = '\0';
	return atol(text);
}

/* One try; KVLOG_CONFLICT: somebody else was faster. */
static enum kvlog_status
take_one_of_each(struct kvlog *db)
{
	struct kvlog_item items[ARTICLES] = {{0}};
	struct kvlog_op ops[ARTICLES];
	struct kvlog_pin *pin;
	char left[ARTICLES][24];
	enum kvlog_status st = KVLOG_OK;

	for (int i = 0; i < ARTICLES; i++) {
		items[i].key = articles[i];
		items[i].key_len = strlen(articles[i]);
	}
	check(kvlog_pin_create(db, &pin), "pin");
	check(kvlog_pin_get_many(pin, items, ARTICLES), "get");
	for (int i = 0; i < ARTICLES && st == KVLOG_OK; i++) {
		check(items[i].status, articles[i]);
		if (number(&items[i]) == 0) {
			printf("%s is sold out\n", articles[i]);
			st = KVLOG_NOTFOUND;
			break;
		}
		snprintf(left[i], sizeof left[i], "%ld", number(&items[i]) - 1);
		/* Only if it is still the value that was read. */
		ops[i] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .condition = KVLOG_IF_SEQ,
		    .if_seq = items[i].seq,
		    .key = items[i].key,
		    .key_len = items[i].key_len,
		    .value = left[i],
		    .value_len = strlen(left[i])};
	}
	kvlog_pin_destroy(pin); /* the values must not be used any more */
	return st == KVLOG_OK ? kvlog_apply(db, ops, ARTICLES, NULL, NULL, NULL)
			      : st;
}

int
main(int argc, char **argv)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	enum kvlog_status st;

	if (argc != 2) {
		fprintf(stderr, "usage: order DIRECTORY\n");
		return 2;
	}
	options.flags = KVLOG_OPEN_CREATE;
	if (kvlog_open(argv[1], &options, &db, &err) != KVLOG_OK) {
		fprintf(stderr, "order: %s\n", err.text);
		return 1;
	}
	fill(db);
	do {
		st = take_one_of_each(db);
	} while (st == KVLOG_CONFLICT);
	if (st != KVLOG_NOTFOUND) {
		check(st, "apply");
		printf("one of each\n");
	}
	return kvlog_close(db, &err) == KVLOG_OK ? 0 : 1;
}
