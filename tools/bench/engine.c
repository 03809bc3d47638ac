/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.c - the table of engines: the one place where a new one is entered.
 */
#include "config.h"

#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char failure_text[512];

const struct engine *const engine_table[] = {
#ifdef ENGINE_TABLE
    ENGINE_TABLE,
#else
    &engine_null,
    &engine_kvlog,
    &engine_kvlog_hints,
    &engine_kvlog_noverify,
    &engine_kvlog_unshared,
#ifdef HAVE_LMDB
    &engine_lmdb,
    &engine_lmdb_pwrite,
#endif
#ifdef HAVE_TKRZW
    &engine_tkrzw,
#endif
#ifdef HAVE_KYOTOCABINET
    &engine_kyotocabinet,
#endif
#endif
    NULL,
};

const struct engine *
engine_find(const char *name)
{
	size_t i;

	for (i = 0; engine_table[i] != NULL; i++) {
		if (strcmp(engine_table[i]->name, name) == 0)
			break;
	}
	return engine_table[i];
}

enum engine_result
engine_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure_text, sizeof failure_text, format, args);
	va_end(args);
	return ENGINE_FAILED;
}

const char *
engine_failure(void)
{
	return failure_text;
}
