/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_lmdb.c - LMDB: one write transaction per put or batch, one read
 * transaction per thread that is reset after each read and renewed for the
 * next, and its cursor too.
 *
 * Async: MDB_WRITEMAP | MDB_NOSYNC, so that a commit is a store into the
 * mapping, which survives a killed process; or, as lmdb-pwrite, MDB_NOSYNC
 * alone, so that it is a write, which does so too.  Sync: the default, which
 * writes pages and calls fdatasync before a commit returns.
 */
#include "config.h"

#ifdef HAVE_LMDB

#include "engine.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lmdb {
	MDB_env *env;
	MDB_dbi dbi;
};

/* Of this thread: reset between reads, NULL before the first. */
static _Thread_local MDB_txn *reader;
static _Thread_local MDB_cursor *cursor;

static enum engine_result
failed(const char *what, int code)
{
	return engine_fail("%s: %s", what, mdb_strerror(code));
}

static const char *
lmdb_version(void)
{
	static char text[32];
	int major, minor, patch;

	mdb_version(&major, &minor, &patch);
	snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
	return text;
}

/*
 * Pages are split half full by random inserts and copied before they are
 * changed; four times the data plus a gigabyte never fills up.  The file is
 * sparse, so room that is not used costs nothing.
 */
static size_t
map_size(const struct engine_config *config)
{
	uint64_t data = engine_data_size(config, 32);

	return (size_t)(data * 4 + (UINT64_C(1) << 30)) & ~(size_t)4095;
}

static int
open_table(MDB_env *env, bool is_new, MDB_dbi *ret_dbi)
{
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(env, NULL, is_new ? 0 : MDB_RDONLY, &txn);
	if (rc != 0)
		return rc;
	rc = mdb_dbi_open(txn, NULL, 0, ret_dbi);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static void *
lmdb_open(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct lmdb *db;
	unsigned flags;
	int rc;

	db = calloc(1, sizeof *db);
	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	/* A reader lives beside write transactions of the same thread. */
	flags = MDB_NOTLS;
	if (config->access == ENGINE_READ)
		flags |= MDB_RDONLY;
	else if (config->mode == ENGINE_ASYNC)
		flags |= *(const unsigned *)engine->variant;

	rc = mdb_env_create(&db->env);
	if (rc != 0)
		goto fail;
	rc = mdb_env_set_mapsize(db->env, map_size(config));
	if (rc != 0)
		goto fail;
	rc = mdb_env_open(db->env, dir, flags, 0666);
	if (rc != 0)
		goto fail;
	rc = open_table(db->env, config->access == ENGINE_CREATE, &db->dbi);
	if (rc != 0)
		goto fail;
	return db;
fail:
	failed("open", rc);
	mdb_env_close(db->env);
	free(db);
	return NULL;
}

static enum engine_result
lmdb_put_batch(void *opaque, const struct engine_pair *pairs, size_t count)
{
	struct lmdb *db = opaque;
	MDB_txn *txn;
	size_t i;
	int rc;

	rc = mdb_txn_begin(db->env, NULL, 0, &txn);
	if (rc != 0)
		return failed("begin", rc);
	for (i = 0; i < count; i++) {
		MDB_val k = {pairs[i].key_len, (void *)(uintptr_t)pairs[i].key};
		MDB_val v = {
		    pairs[i].value_len, (void *)(uintptr_t)pairs[i].value};

		rc = mdb_put(txn, db->dbi, &k, &v, 0);
		if (rc != 0) {
			mdb_txn_abort(txn);
			return failed("put", rc);
		}
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? ENGINE_OK : failed("commit", rc);
}

static enum engine_result
lmdb_put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	const struct engine_pair pair = {key, value, key_len, value_len};

	return lmdb_put_batch(opaque, &pair, 1);
}

/* Begin to read; mdb_txn_reset() ends it. */
static enum engine_result
begin_reading(struct lmdb *db)
{
	int rc;

	if (reader == NULL)
		rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &reader);
	else
		rc = mdb_txn_renew(reader);
	return rc == 0 ? ENGINE_OK : failed("begin reading", rc);
}

/* The value stays where it is until the reader is reset. */
static inline enum engine_result
look_up(struct lmdb *db, const void *key, size_t key_len, MDB_val *ret_value)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int rc;

	rc = mdb_get(reader, db->dbi, &k, ret_value);
	if (rc == MDB_NOTFOUND)
		return ENGINE_ABSENT;
	return rc == 0 ? ENGINE_OK : failed("get", rc);
}

static enum engine_result
lmdb_get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	enum engine_result result;
	MDB_val v;

	if (begin_reading(opaque) != ENGINE_OK)
		return ENGINE_FAILED;
	result = look_up(opaque, key, key_len, &v);
	if (result == ENGINE_OK) {
		memcpy(buf, v.mv_data, v.mv_size < cap ? v.mv_size : cap);
		*ret_len = v.mv_size;
	}
	mdb_txn_reset(reader);
	return result;
}

static enum engine_result
lmdb_get_view(
    void *opaque, const void *key, size_t key_len, engine_use *use, void *arg)
{
	enum engine_result result;
	MDB_val v;

	if (begin_reading(opaque) != ENGINE_OK)
		return ENGINE_FAILED;
	result = look_up(opaque, key, key_len, &v);
	if (result == ENGINE_OK)
		use(arg, key, key_len, v.mv_data, v.mv_size);
	mdb_txn_reset(reader);
	return result;
}

static enum engine_result
lmdb_get_many(void *opaque, const void *const *keys, size_t key_len,
    size_t count, engine_use *use, void *arg)
{
	enum engine_result result = ENGINE_OK;
	MDB_val v;
	size_t i;

	if (begin_reading(opaque) != ENGINE_OK)
		return ENGINE_FAILED;
	for (i = 0; i < count && result != ENGINE_FAILED; i++) {
		result = look_up(opaque, keys[i], key_len, &v);
		if (result == ENGINE_OK &&
		    !use(arg, keys[i], key_len, v.mv_data, v.mv_size))
			break;
	}
	mdb_txn_reset(reader);
	return result == ENGINE_FAILED ? ENGINE_FAILED : ENGINE_OK;
}

static enum engine_result
lmdb_scan(
    void *opaque, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct lmdb *db = opaque;
	MDB_val k = {from_len, (void *)(uintptr_t)from};
	MDB_val v;
	int rc;

	if (begin_reading(db) != ENGINE_OK)
		return ENGINE_FAILED;
	rc = cursor == NULL ? mdb_cursor_open(reader, db->dbi, &cursor)
			    : mdb_cursor_renew(reader, cursor);
	if (rc == 0)
		rc = mdb_cursor_get(
		    cursor, &k, &v, from_len == 0 ? MDB_FIRST : MDB_SET_RANGE);
	while (rc == 0 && use(arg, k.mv_data, k.mv_size, v.mv_data, v.mv_size))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	mdb_txn_reset(reader);
	return rc == 0 || rc == MDB_NOTFOUND ? ENGINE_OK : failed("scan", rc);
}

static enum engine_result
lmdb_delete(void *opaque, const void *key, size_t key_len)
{
	struct lmdb *db = opaque;
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(db->env, NULL, 0, &txn);
	if (rc != 0)
		return failed("begin", rc);
	rc = mdb_del(txn, db->dbi, &k, NULL);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc == MDB_NOTFOUND ? ENGINE_ABSENT : failed("del", rc);
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? ENGINE_OK : failed("commit", rc);
}

static enum engine_result
lmdb_sync(void *opaque)
{
	struct lmdb *db = opaque;
	int rc;

	rc = mdb_env_sync(db->env, 1);
	return rc == 0 ? ENGINE_OK : failed("sync", rc);
}

static enum engine_result
lmdb_count(void *opaque, uint64_t *ret_count)
{
	struct lmdb *db = opaque;
	MDB_stat stat;
	int rc;

	rc = mdb_env_stat(db->env, &stat);
	if (rc != 0)
		return failed("stat", rc);
	*ret_count = stat.ms_entries;
	return ENGINE_OK;
}

static void
lmdb_leave(void *opaque)
{
	(void)opaque;
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	cursor = NULL;
	if (reader != NULL)
		mdb_txn_abort(reader);
	reader = NULL;
}

static enum engine_result
lmdb_close(void *opaque)
{
	struct lmdb *db = opaque;

	lmdb_leave(db);
	mdb_env_close(db->env);
	free(db);
	return ENGINE_OK;
}

/* By name, whether it runs unasked, how it is opened; flags if async. */
#define ENGINE_LMDB(engine_name, unasked, text, flags)                         \
	{                                                                      \
		.name = engine_name, .kind = ENGINE_PEER,                      \
		.by_default = unasked, .tuning = text,                         \
		.helper = "oneshot-lmdb", .variant = &(const unsigned){flags}, \
		.shares = true, .version = lmdb_version, .open = lmdb_open,    \
		.put = lmdb_put, .get = lmdb_get, .delete = lmdb_delete,       \
		.put_batch = lmdb_put_batch, .get_many = lmdb_get_many,        \
		.get_view = lmdb_get_view, .scan = lmdb_scan,                  \
		.sync = lmdb_sync, .leave = lmdb_leave, .count = lmdb_count,   \
		.close = lmdb_close,                                           \
	}

const struct engine engine_lmdb = ENGINE_LMDB("lmdb", true,
    "one transaction per put or batch, reader reset and renewed; async: "
    "WRITEMAP|NOSYNC; sync: default",
    MDB_WRITEMAP | MDB_NOSYNC);

const struct engine engine_lmdb_pwrite =
    ENGINE_LMDB("lmdb-pwrite", false, "as lmdb, but async: NOSYNC", MDB_NOSYNC);

#else
typedef int engine_lmdb_is_not_built;
#endif
