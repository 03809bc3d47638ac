/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oneshot.c - a program that opens a store, does one thing and ends.
 *
 *     oneshot-ADAPTER ENGINE get|put DIR KEY KEY_COUNT VALUE_LEN
 *
 * kvlog-bench runs it for the benchmarks whose operations are processes.  It
 * is built once for each adapter and linked with that store's library alone,
 * as a program that uses the store would be: to load the libraries of all of
 * them takes longer than what is to be measured.
 *
 * Exit status: 0 done, 1 no such key, 5 anything else.
 */
#include "config.h"

#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_OTHER 5
#define ARG_COUNT 7

static enum engine_result
work(const struct engine *engine, void *db, bool puts, const char *key,
    char *value, size_t value_len)
{
	enum engine_result result;
	size_t len = 0;

	if (puts) {
		memset(value, 'x', value_len);
		return engine->put(db, key, strlen(key), value, value_len);
	}
	result = engine->get(db, key, strlen(key), value, value_len, &len);
	if (result == ENGINE_OK && len != value_len)
		return engine_fail(
		    "a value of %zu bytes, not %zu", len, value_len);
	return result;
}

static enum engine_result
run(char **argv)
{
	const struct engine *engine = engine_find(argv[1]);
	bool puts = strcmp(argv[2], "put") == 0;
	struct engine_config config = {
	    .mode = puts ? ENGINE_SYNC : ENGINE_ASYNC,
	    .access = puts ? ENGINE_WRITE : ENGINE_READ,
	    .one_shot = true,
	    .key_count = strtoull(argv[5], NULL, 10),
	    .key_len = strlen(argv[4]),
	    .value_len = (size_t)strtoull(argv[6], NULL, 10),
	};
	enum engine_result result, close_result;
	char *value;
	void *db;

	if (engine == NULL)
		return engine_fail("no such engine: %s", argv[1]);
	value = malloc(config.value_len + 1);
	if (value == NULL)
		return engine_fail("out of memory");
	db = engine->open(engine, argv[3], &config);
	if (db == NULL) {
		free(value);
		return ENGINE_FAILED;
	}
	result = work(engine, db, puts, argv[4], value, config.value_len);
	close_result = engine->close(db);
	free(value);
	return close_result == ENGINE_OK ? result : close_result;
}

int
main(int argc, char **argv)
{
	enum engine_result result;

	if (argc != ARG_COUNT) {
		fprintf(stderr, "%s: kvlog-bench runs this program\n",
		    argc > 0 ? argv[0] : "oneshot");
		return EXIT_OTHER;
	}
	result = run(argv);
	if (result != ENGINE_FAILED)
		return (int)result;
	fprintf(stderr, "%s: %s\n", argv[0], engine_failure());
	return EXIT_OTHER;
}
