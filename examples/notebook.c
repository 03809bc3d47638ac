/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notebook.c DIRECTORY - notes under numbered keys, and a counter beside them.
 *
 * Shows a conditional put, a batch that keeps two keys in step, receipts, a
 * walk in key order, and where the details of a failure come from.  May be run
 * again on the store it left: each run adds a note.
 */
#include <inttypes.h>
#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
check(enum kvlog_status st, const char *what, const struct kvlog_error *err)
{
	if (st == KVLOG_OK)
		return;
	fprintf(stderr, "notebook: %s: %s\n", what,
	    err != NULL ? err->text : kvlog_status_text(st));
	exit(1);
}

/*
 * Store text under the next free number.  Note and counter change together or
 * not at all; if somebody else took the number meanwhile, the condition fails
 * and the next round sees the new counter.
 */
static void
add_note(struct kvlog *db, const char *text)
{
	struct kvlog_error err = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt;
	enum kvlog_status st;

	how.err = &err;
	do {
		char count[24] = "0", key[32];
		struct kvlog_info info;
		size_t len;
		int count_len, key_len;

		/* Read the counter only after its number, so that the
		 * condition can only be too strict. */
		check(kvlog_lookup(db, "count", 5, &info), "lookup", NULL);
		check(kvlog_get(db, "count", 5, count, sizeof count - 1, &len),
		    "get", NULL);
		count[len] = '\0';
		count_len =
		    snprintf(count, sizeof count, "%ld", atol(count) + 1);
		key_len = snprintf(key, sizeof key, "note/%06ld", atol(count));

		struct kvlog_op ops[] = {
		    {.type = KVLOG_OP_PUT,
			.condition = KVLOG_IF_SEQ,
			.if_seq = info.seq,
			.key = "count",
			.key_len = 5,
			.value = count,
			.value_len = (size_t)count_len},
		    {.type = KVLOG_OP_PUT,
			.condition = KVLOG_IF_ABSENT,
			.key = key,
			.key_len = (size_t)key_len,
			.value = text,
			.value_len = strlen(text)},
		};
		st = kvlog_apply(db, ops, 2, &how, &receipt, NULL);
	} while (st == KVLOG_CONFLICT);
	check(st, "apply", &err);
	printf("commit %" PRIu64 ", durable up to %" PRIu64 "\n", receipt.seq,
	    kvlog_durable_seq(db));
}

int
main(int argc, char **argv)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_write if_absent = KVLOG_WRITE_INIT;
	struct kvlog_error err = {0};
	struct kvlog_iter *iter;
	struct kvlog *db;
	enum kvlog_status st;

	if (argc != 2) {
		fprintf(stderr, "usage: notebook DIRECTORY\n");
		return 2;
	}
	options.flags = KVLOG_OPEN_CREATE;
	check(kvlog_open(argv[1], &options, &db, &err), "open", &err);

	/* The first run makes the counter; later ones find it. */
	if_absent.condition = KVLOG_IF_ABSENT;
	if_absent.err = &err;
	st = kvlog_put(db, "count", 5, "0", 1, &if_absent, NULL);
	if (st != KVLOG_CONFLICT)
		check(st, "put", &err);
	add_note(db, "buy milk");

	check(kvlog_iter_create(db, "note/", 5, &iter), "iterate", NULL);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		size_t key_len, text_len;
		const char *key = kvlog_iter_key(iter, &key_len);
		const char *text = kvlog_iter_value(iter, &text_len);

		printf("%.*s: %.*s\n", (int)key_len, key, (int)text_len, text);
	}
	kvlog_iter_destroy(iter);
	if (st != KVLOG_NOTFOUND) /* NOTFOUND: no more notes */
		check(st, "next", NULL);
	check(kvlog_close(db, &err), "close", &err);
	return 0;
}
