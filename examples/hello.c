/* SPDX-License-Identifier: BSD-2-Clause */
/* hello.c DIRECTORY - the smallest useful program: put a value, get it back. */
#include <kvlog.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	char value[64];
	size_t len;

	if (argc != 2)
		return 2;
	options.flags = KVLOG_OPEN_CREATE;
	if (kvlog_open(argv[1], &options, &db, &err) != KVLOG_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	if (kvlog_put(db, "hello", 5, "world", 5, NULL, NULL) != KVLOG_OK ||
	    kvlog_get(db, "hello", 5, value, sizeof value, &len) != KVLOG_OK)
		return 1;
	printf("hello %.*s\n", (int)len, value);
	return kvlog_close(db, NULL) == KVLOG_OK ? 0 : 1;
}
