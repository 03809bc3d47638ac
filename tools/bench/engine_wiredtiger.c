/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_wiredtiger.c - WiredTiger: a B-tree with a log.
 *
 * Its manual advises a session and cursors for each thread, kept open, a
 * cache that holds the working set, and checkpoints after so much of the log.
 *
 * Async: transaction_sync with method=none, with which a commit has written
 * its log, but not synced it.  Without it a commit leaves the log in memory
 * of the process.  Sync: method=fsync.
 *
 * Opening a store takes it a third of a second, however small, so that the
 * one-shot processes would make a run without --engines take hours: it has to
 * be asked for.
 */
#include "config.h"

#ifdef HAVE_WIREDTIGER

#include "engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wiredtiger.h>

#define TABLE "table:records"
#define MIB (UINT64_C(1) << 20)

/* Of this thread; NULL before its first call. */
static _Thread_local WT_SESSION *session;
static _Thread_local WT_CURSOR *cursor; /* puts replace */
static _Thread_local WT_CURSOR *exact;  /* deletes tell what was there */

static enum engine_result
failed(const char *what, int code)
{
	return engine_fail("%s: %s", what, wiredtiger_strerror(code));
}

static const char *
version(void)
{
	static char text[32];
	int major, minor, patch;

	wiredtiger_version(&major, &minor, &patch);
	snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
	return text;
}

/* Twice the data, and up to a gigabyte. */
static uint64_t
cache_mib(const struct engine_config *config)
{
	uint64_t data = engine_data_size(config, 64);

	if (config->one_shot)
		return 16;
	return data > 512 * MIB ? 1024 : data * 2 / MIB + 64;
}

static int
open_session(WT_CONNECTION *connection)
{
	int rc;

	rc = connection->open_session(connection, NULL, NULL, &session);
	if (rc == 0)
		rc = session->create(
		    session, TABLE, "key_format=u,value_format=u");
	if (rc == 0)
		rc = session->open_cursor(session, TABLE, NULL, NULL, &cursor);
	if (rc == 0)
		rc = session->open_cursor(
		    session, TABLE, NULL, "overwrite=false", &exact);
	return rc;
}

static void
leave(void *db)
{
	(void)db;
	if (session != NULL)
		session->close(session, NULL);
	session = NULL;
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	WT_CONNECTION *connection;
	char text[256];
	int rc;

	(void)engine;
	snprintf(text, sizeof text,
	    "%scache_size=%" PRIu64 "MB,log=(enabled=true),session_max=200,"
	    "transaction_sync=(enabled=true,method=%s),"
	    "checkpoint=(log_size=256MB)",
	    config->access == ENGINE_CREATE ? "create," : "", cache_mib(config),
	    config->mode == ENGINE_SYNC ? "fsync" : "none");
	rc = wiredtiger_open(dir, NULL, text, &connection);
	if (rc != 0) {
		failed("open", rc);
		return NULL;
	}
	rc = open_session(connection);
	if (rc == 0)
		return connection;
	failed("open", rc);
	leave(connection);
	connection->close(connection, NULL);
	return NULL;
}

/* See that this thread has a session. */
static inline enum engine_result
enter(void *db)
{
	int rc;

	if (session != NULL)
		return ENGINE_OK;
	rc = open_session(db);
	if (rc == 0)
		return ENGINE_OK;
	leave(db);
	return failed("open_session", rc);
}

static inline void
set_key(WT_CURSOR *at, const void *key, size_t key_len)
{
	WT_ITEM item = {.data = key, .size = key_len};

	at->set_key(at, &item);
}

static inline int
insert(const void *key, size_t key_len, const void *value, size_t value_len)
{
	WT_ITEM item = {.data = value, .size = value_len};

	set_key(cursor, key, key_len);
	cursor->set_value(cursor, &item);
	return cursor->insert(cursor);
}

static enum engine_result
put(void *db, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	do
		rc = insert(key, key_len, value, value_len);
	while (rc == WT_ROLLBACK);
	return rc == 0 ? ENGINE_OK : failed("insert", rc);
}

static int
insert_all(const struct engine_pair *pairs, size_t count)
{
	size_t i;
	int rc;

	rc = session->begin_transaction(session, NULL);
	if (rc != 0)
		return rc;
	for (i = 0; i < count && rc == 0; i++)
		rc = insert(pairs[i].key, pairs[i].key_len, pairs[i].value,
		    pairs[i].value_len);
	if (rc == 0)
		return session->commit_transaction(session, NULL);
	session->rollback_transaction(session, NULL);
	return rc;
}

static enum engine_result
put_batch(void *db, const struct engine_pair *pairs, size_t count)
{
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	do
		rc = insert_all(pairs, count);
	while (rc == WT_ROLLBACK);
	return rc == 0 ? ENGINE_OK : failed("put_batch", rc);
}

/* A value stays where it is until the cursor is reset. */
static inline enum engine_result
look_up(void *db, const void *key, size_t key_len, WT_ITEM *ret_value)
{
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	set_key(cursor, key, key_len);
	rc = cursor->search(cursor);
	if (rc == 0)
		rc = cursor->get_value(cursor, ret_value);
	if (rc == WT_NOTFOUND)
		return ENGINE_ABSENT;
	return rc == 0 ? ENGINE_OK : failed("search", rc);
}

static enum engine_result
get(void *db, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	enum engine_result result;
	WT_ITEM value;

	result = look_up(db, key, key_len, &value);
	if (result != ENGINE_OK)
		return result;
	memcpy(buf, value.data, value.size < cap ? value.size : cap);
	*ret_len = value.size;
	cursor->reset(cursor);
	return ENGINE_OK;
}

static enum engine_result
get_view(void *db, const void *key, size_t key_len, engine_use *use, void *arg)
{
	enum engine_result result;
	WT_ITEM value;

	result = look_up(db, key, key_len, &value);
	if (result != ENGINE_OK)
		return result;
	use(arg, key, key_len, value.data, value.size);
	cursor->reset(cursor);
	return ENGINE_OK;
}

static enum engine_result
remove_key(void *db, const void *key, size_t key_len)
{
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	do {
		set_key(exact, key, key_len);
		rc = exact->remove(exact);
	} while (rc == WT_ROLLBACK);
	exact->reset(exact);
	if (rc == WT_NOTFOUND)
		return ENGINE_ABSENT;
	return rc == 0 ? ENGINE_OK : failed("remove", rc);
}

/* Go to the first record that is not below from. */
static int
seek(const void *from, size_t from_len)
{
	int rc, order;

	if (from_len == 0)
		return cursor->next(cursor);
	set_key(cursor, from, from_len);
	rc = cursor->search_near(cursor, &order);
	return rc == 0 && order < 0 ? cursor->next(cursor) : rc;
}

static enum engine_result
scan(void *db, const void *from, size_t from_len, engine_use *use, void *arg)
{
	WT_ITEM key, value;
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	rc = seek(from, from_len);
	while (rc == 0) {
		rc = cursor->get_key(cursor, &key);
		if (rc == 0)
			rc = cursor->get_value(cursor, &value);
		if (rc != 0 ||
		    !use(arg, key.data, key.size, value.data, value.size))
			break;
		rc = cursor->next(cursor);
	}
	cursor->reset(cursor);
	return rc == 0 || rc == WT_NOTFOUND ? ENGINE_OK : failed("scan", rc);
}

static enum engine_result
sync_store(void *db)
{
	int rc;

	if (enter(db) != ENGINE_OK)
		return ENGINE_FAILED;
	rc = session->log_flush(session, "sync=on");
	return rc == 0 ? ENGINE_OK : failed("log_flush", rc);
}

static enum engine_result
close_store(void *db)
{
	WT_CONNECTION *connection = db;
	int rc;

	leave(db);
	rc = connection->close(connection, NULL);
	return rc == 0 ? ENGINE_OK : failed("close", rc);
}

const struct engine engine_wiredtiger = {
    .name = "wiredtiger",
    .kind = ENGINE_PEER,
    .tuning = "B-tree, log, cache for all data up to 1 GiB, checkpoint every "
	      "256 MiB of log, a session and cursors for each thread; async: "
	      "transaction_sync method=none; sync: method=fsync",
    .helper = "oneshot-wiredtiger",
    .version = version,
    .open = open_store,
    .put = put,
    .get = get,
    .delete = remove_key,
    .put_batch = put_batch,
    .get_view = get_view,
    .scan = scan,
    .sync = sync_store,
    .leave = leave,
    .close = close_store,
};

#else
typedef int engine_wiredtiger_is_not_built;
#endif
