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
    &engine_kvlog_nocompact,
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
#ifdef HAVE_LEVELDB
    &engine_leveldb,
#endif
#ifdef HAVE_ROCKSDB
    &engine_rocksdb,
#endif
#ifdef HAVE_SQLITE
    &engine_sqlite,
    &engine_sqlite_shared,
#endif
#ifdef HAVE_BDB
    &engine_bdb,
    &engine_bdb_shared,
#endif
#ifdef HAVE_GDBM
    &engine_gdbm,
#endif
#ifdef HAVE_WIREDTIGER
    &engine_wiredtiger,
#endif
#endif
    NULL,
};

/* Engines that a build may lack, and Debian's package for each. */
static const char *const packages[][2] = {
    {"lmdb", "liblmdb-dev"},
    {"lmdb-pwrite", "liblmdb-dev"},
    {"tkrzw", "libtkrzw-dev"},
    {"kyotocabinet", "libkyotocabinet-dev"},
    {"leveldb", "libleveldb-dev"},
    {"rocksdb", "librocksdb-dev"},
    {"sqlite", "libsqlite3-dev"},
    {"sqlite-shared", "libsqlite3-dev"},
    {"bdb", "libdb5.3-dev"},
    {"bdb-shared", "libdb5.3-dev"},
    {"gdbm", "libgdbm-dev"},
    {"wiredtiger", "libwiredtiger-dev"},
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

const char *
engine_lack(const char *name)
{
	static char text[160];
	size_t i;

	for (i = 0; i < sizeof packages / sizeof packages[0]; i++) {
		if (strcmp(packages[i][0], name) != 0)
			continue;
		snprintf(text, sizeof text,
		    "not in this build: install its library (Debian: %s), "
		    "then configure and make again",
		    packages[i][1]);
		return text;
	}
	return "no such engine";
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
