/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oneshots.c - run and time one-shot processes.
 */
#include "config.h"

#include "oneshots.h"

#include "numbers.h"
#include "process.h"
#include "records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum runner { RUN_NOTHING, RUN_COMMAND, RUN_HELPER, RUNNER_COUNT };

struct oneshots {
	const struct engine *engine;
	size_t key_len;
	uint64_t count; /* turns taken */
	uint64_t *times[RUNNER_COUNT];
	int status; /* wanted of helper and command */

	/* Programs, and NULL for what the engine does not have. */
	char *argv[RUNNER_COUNT][8];
	char paths[RUNNER_COUNT][PROCESS_PATH_MAX];
	char store[PROCESS_PATH_MAX + 256];
	char name[64], verb[8], quiet[16];
	char key[RECORDS_KEY_LEN_MAX + 1];
	char key_count[24], value_len[24];
	bool puts;
	size_t value_end; /* where value's zero byte is */
	char value[ONESHOTS_VALUE_MAX + 1];
};

/* Where the programs are; false after a message. */
static bool
find_programs(struct oneshots *o)
{
	const struct engine *engine = o->engine;

	snprintf(o->paths[RUN_NOTHING], PROCESS_PATH_MAX, "/bin/true");
	o->argv[RUN_NOTHING][0] = o->paths[RUN_NOTHING];
	if (engine->command != NULL &&
	    process_find(engine->command, o->paths[RUN_COMMAND]))
		o->argv[RUN_COMMAND][0] = o->paths[RUN_COMMAND];
	if (engine->helper == NULL)
		return true;
	if (!process_find(engine->helper, o->paths[RUN_HELPER])) {
		fprintf(stderr,
		    "kvlog-bench: the program %s is missing: it belongs into "
		    "%s\n",
		    engine->helper, BENCH_LIBEXECDIR);
		return false;
	}
	o->argv[RUN_HELPER][0] = o->paths[RUN_HELPER];
	return true;
}

static void
make_arguments(struct oneshots *o, const struct options *options,
    const char *dir, const char *verb)
{
	char **helper = o->argv[RUN_HELPER], **command = o->argv[RUN_COMMAND];

	snprintf(o->name, sizeof o->name, "%s", o->engine->name);
	snprintf(o->verb, sizeof o->verb, "%s", verb);
	snprintf(o->quiet, sizeof o->quiet, "--quiet");
	snprintf(o->key_count, sizeof o->key_count, "%" PRIu64, options->num);
	memset(o->value, 'x', ONESHOTS_VALUE_MAX);
	o->value_end = ONESHOTS_VALUE_MAX;
	o->puts = strcmp(verb, "put") == 0;
	if (helper[0] != NULL) {
		helper[1] = o->name;
		helper[2] = o->verb;
		helper[3] = (char *)(uintptr_t)dir;
		helper[4] = o->key;
		helper[5] = o->key_count;
		helper[6] = o->value_len;
	}
	if (command[0] != NULL) {
		snprintf(
		    o->store, sizeof o->store, "%s/%s", dir, o->engine->store);
		command[1] = o->quiet;
		command[2] = o->verb;
		command[3] = o->store;
		command[4] = o->key;
		command[5] = o->puts ? o->value : NULL;
	}
}

struct oneshots *
oneshots_create(const struct engine *engine, const struct options *options,
    const char *dir, const char *verb, int status)
{
	struct oneshots *o;
	size_t i;

	o = calloc(1, sizeof *o);
	if (o == NULL)
		goto no_memory;
	o->engine = engine;
	o->key_len = options->key_len;
	o->status = status;
	for (i = 0; i < RUNNER_COUNT; i++) {
		o->times[i] =
		    calloc((size_t)options->oneshot_num, sizeof(uint64_t));
		if (o->times[i] == NULL)
			goto no_memory;
	}
	if (!find_programs(o)) {
		oneshots_destroy(o);
		return NULL;
	}
	make_arguments(o, options, dir, verb);
	return o;
no_memory:
	fprintf(stderr, "kvlog-bench: out of memory\n");
	oneshots_destroy(o);
	return NULL;
}

static enum bench_exit
run_one(struct oneshots *o, enum runner runner, const char *doing)
{
	int status, wanted = runner == RUN_NOTHING ? 0 : o->status;

	status = process_time(o->argv[runner], &o->times[runner][o->count]);
	if (status == wanted)
		return BENCH_EXIT_DONE;
	fprintf(stderr,
	    "kvlog-bench: %s: %s: %s ended with status %d, not %d, for key "
	    "%s\n",
	    o->engine->name, doing, o->argv[runner][0], status, wanted, o->key);
	return status == 0 || status == 1 ? BENCH_EXIT_WRONG
					  : BENCH_EXIT_FAILED;
}

enum bench_exit
oneshots_run(struct oneshots *o, const uint8_t *key, size_t value_len,
    const char *doing, struct histogram *latency)
{
	enum bench_exit result = BENCH_EXIT_DONE;
	unsigned r;

	memcpy(o->key, key, o->key_len);
	snprintf(o->value_len, sizeof o->value_len, "%zu", value_len);
	if (o->puts) {
		o->value[o->value_end] = 'x';
		o->value_end = value_len;
		o->value[value_len] = '\0';
	}
	for (r = 0; r < RUNNER_COUNT && result == BENCH_EXIT_DONE; r++) {
		if (o->argv[r][0] != NULL)
			result = run_one(o, r, doing);
	}
	/* An engine that does nothing is a process that does nothing. */
	if (o->argv[RUN_HELPER][0] == NULL)
		o->times[RUN_HELPER][o->count] =
		    o->times[RUN_NOTHING][o->count];
	histogram_add(latency, o->times[RUN_HELPER][o->count]);
	o->count++;
	return result;
}

void
oneshots_result(struct oneshots *o, struct measure *measure)
{
	measure->ops = o->count;
	measure->ns = o->count * median_ns(o->times[RUN_HELPER], o->count);
	measure->longest_ns = measure->latency.max;
	measure->process_ns = median_ns(o->times[RUN_NOTHING], o->count);
	if (o->argv[RUN_COMMAND][0] != NULL)
		measure->command_ns =
		    median_ns(o->times[RUN_COMMAND], o->count);
}

void
oneshots_destroy(struct oneshots *o)
{
	size_t i;

	if (o == NULL)
		return;
	for (i = 0; i < RUNNER_COUNT; i++)
		free(o->times[i]);
	free(o);
}
