/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acknowledged.c - write records for ever, or COUNT of them, and say of each
 * that it is in the store once its commit has returned.
 *
 *     acknowledged STORE [COUNT]
 *
 * Whatever is printed must be found again, also if this process is killed
 * the moment after: that is what run_demo.sh does to it.
 */
#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>

static int
complain(const struct kvlog_error *err)
{
	fprintf(stderr, "acknowledged: %s\n", err->text);
	return 1;
}

int
main(int argc, char **argv)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	unsigned long count;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: acknowledged STORE [COUNT]\n");
		return 2;
	}
	count = argc > 2 ? strtoul(argv[2], NULL, 10) : ~0ul;

	/* What survives the process need not be synced for it. */
	options.flags = KVLOG_OPEN_CREATE;
	options.durability = KVLOG_DURABILITY_NONE;
	how.err = &err;
	if (kvlog_open(argv[1], &options, &db, &err) != KVLOG_OK)
		return complain(&err);

	for (unsigned long i = 0; i < count; i++) {
		char key[32], value[64];
		int key_len = snprintf(key, sizeof key, "ack:%010lu", i);
		int value_len = snprintf(
		    value, sizeof value, "this is record number %lu", i);

		if (kvlog_put(db, key, (size_t)key_len, value,
			(size_t)value_len, &how, NULL) != KVLOG_OK) {
			kvlog_close(db, NULL);
			return complain(&err);
		}
		puts(key);
		if (fflush(stdout) != 0)
			break; /* nobody listens any more */
	}
	return kvlog_close(db, &err) == KVLOG_OK ? 0 : complain(&err);
}
