/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_bdb.c - Berkeley DB: a B-tree in a transactional environment.
 *
 * Its manual advises the B-tree unless not even the tree's inner pages fit
 * into the cache, a cache for the working set, and a log buffer larger than
 * transactions are; bulk calls for batches and for scans; checkpoints now and
 * then, so that recovery is short and logs can be removed.
 *
 * Async: DB_TXN_WRITE_NOSYNC, with which a commit has written its log, but
 * not synced it.  Sync: the default, which syncs it.
 *
 * bdb keeps its cache and locks in memory of its own, as the manual advises
 * for an environment of one process, and runs recovery at each opening.
 * bdb-shared keeps them in files that processes share.
 */
#include "config.h"

#ifdef HAVE_BDB

#include "engine.h"

#include <db.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define CHECKPOINT_KIB 262144u     /* of log between checkpoints */
#define CHECKPOINT_WRITES 4096u    /* look that often whether one is due */
#define BULK_LEN (UINT64_C(16384)) /* of a buffer for a scan, at first */
#define KEY_LEN_MAX 65536u
#define LOCKS 200000u /* of the pages of a large batch */

struct bdb {
	DB_ENV *env;
	DB *db;
	bool writes;
	atomic_uint write_count;
};

static enum engine_result
failed(const char *what, int code)
{
	return engine_fail("%s: %s", what, db_strerror(code));
}

static const char *
version(void)
{
	static char text[32];
	int major, minor, patch;

	db_version(&major, &minor, &patch);
	snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
	return text;
}

/* Twice the data, as pages are half full, and up to a gigabyte. */
static uint64_t
cache_size(const struct engine_config *config)
{
	uint64_t data = engine_data_size(config, 16);

	if (config->one_shot)
		return MIB;
	return data > 512 * MIB ? 1024 * MIB : data * 2 + 8 * MIB;
}

static int
open_environment(DB_ENV *env, const char *dir, u_int32_t flags,
    const struct engine_config *config)
{
	int rc;

	rc = env->set_cachesize(env, 0, (u_int32_t)cache_size(config), 1);
	if (rc == 0)
		rc = env->set_lg_bsize(env, 4 * MIB);
	if (rc == 0)
		rc = env->set_lg_max(env, 64 * MIB);
	if (rc == 0)
		rc = env->log_set_config(env, DB_LOG_AUTO_REMOVE, 1);
	if (rc == 0)
		rc = env->set_lk_max_locks(env, LOCKS);
	if (rc == 0)
		rc = env->set_lk_max_objects(env, LOCKS);
	if (rc == 0)
		rc = env->set_lk_detect(env, DB_LOCK_DEFAULT);
	if (rc == 0 && config->mode == ENGINE_ASYNC)
		rc = env->set_flags(env, DB_TXN_WRITE_NOSYNC, 1);
	if (rc == 0)
		rc = env->open(env, dir,
		    flags | DB_CREATE | DB_RECOVER | DB_THREAD | DB_INIT_LOCK |
			DB_INIT_LOG | DB_INIT_MPOOL | DB_INIT_TXN,
		    0666);
	return rc;
}

static int
open_table(struct bdb *db, enum engine_access access)
{
	u_int32_t flags = DB_THREAD | DB_AUTO_COMMIT;
	int rc;

	if (access == ENGINE_CREATE)
		flags |= DB_CREATE;
	else if (access == ENGINE_READ)
		flags |= DB_RDONLY;
	rc = db_create(&db->db, db->env, 0);
	if (rc == 0)
		rc = db->db->open(
		    db->db, NULL, "bench.db", NULL, DB_BTREE, flags, 0666);
	return rc;
}

static enum engine_result
close_store(void *opaque)
{
	struct bdb *db = opaque;
	int rc = 0, env_rc = 0;

	if (db->db != NULL)
		rc = db->db->close(db->db, 0);
	if (rc == 0 && db->writes)
		rc = db->env->txn_checkpoint(db->env, 0, 0, 0);
	if (db->env != NULL)
		env_rc = db->env->close(db->env, 0);
	free(db);
	return rc == 0 && env_rc == 0 ? ENGINE_OK
				      : failed("close", rc != 0 ? rc : env_rc);
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct bdb *db = calloc(1, sizeof *db);
	int rc;

	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	rc = db_env_create(&db->env, 0);
	if (rc == 0)
		rc = open_environment(
		    db->env, dir, *(const u_int32_t *)engine->variant, config);
	if (rc == 0)
		rc = open_table(db, config->access);
	if (rc == 0) {
		db->writes = config->access != ENGINE_READ;
		return db;
	}
	close_store(db);
	failed("open", rc);
	return NULL;
}

/* Room for len bytes; they are read as far as somebody has filled it. */
static DBT
room_of(void *data, size_t len)
{
	DBT dbt;

	memset(&dbt, 0, sizeof dbt);
	dbt.data = data;
	dbt.size = (u_int32_t)len;
	dbt.ulen = (u_int32_t)len;
	dbt.flags = DB_DBT_USERMEM;
	return dbt;
}

static DBT
dbt_of(const void *data, size_t len)
{
	return room_of((void *)(uintptr_t)data, len);
}

/* After a write: its result, and perhaps a checkpoint. */
static enum engine_result
written(struct bdb *db, const char *what, int rc)
{
	if (rc == 0 && ++db->write_count % CHECKPOINT_WRITES == 0)
		rc = db->env->txn_checkpoint(db->env, CHECKPOINT_KIB, 0, 0);
	return rc == 0 ? ENGINE_OK : failed(what, rc);
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	DBT k = dbt_of(key, key_len), v = dbt_of(value, value_len);
	struct bdb *db = opaque;
	int rc;

	do
		rc = db->db->put(db->db, NULL, &k, &v, 0);
	while (rc == DB_LOCK_DEADLOCK);
	return written(db, "put", rc);
}

/* A buffer of all pairs, as the library wants it; its memory may be NULL. */
static DBT
bulk_of(const struct engine_pair *pairs, size_t count)
{
	size_t i, len = 64;
	void *place;
	DBT bulk;

	for (i = 0; i < count; i++)
		len += pairs[i].key_len + pairs[i].value_len +
		       4 * sizeof(u_int32_t);
	len = len / 1024 * 1024 + 1024;
	bulk = room_of(malloc(len), len);
	if (bulk.data == NULL)
		return bulk;
	DB_MULTIPLE_WRITE_INIT(place, &bulk);
	for (i = 0; i < count; i++)
		DB_MULTIPLE_KEY_WRITE_NEXT(place, &bulk, pairs[i].key,
		    (u_int32_t)pairs[i].key_len, pairs[i].value,
		    (u_int32_t)pairs[i].value_len);
	return bulk;
}

static int
put_bulk(struct bdb *db, DBT *bulk)
{
	DB_TXN *txn;
	DBT none;
	int rc;

	memset(&none, 0, sizeof none);
	rc = db->env->txn_begin(db->env, NULL, &txn, 0);
	if (rc != 0)
		return rc;
	rc = db->db->put(db->db, txn, bulk, &none, DB_MULTIPLE_KEY);
	if (rc == 0)
		return txn->commit(txn, 0);
	txn->abort(txn);
	return rc;
}

static enum engine_result
put_batch(void *opaque, const struct engine_pair *pairs, size_t count)
{
	DBT bulk = bulk_of(pairs, count);
	struct bdb *db = opaque;
	int rc;

	if (bulk.data == NULL)
		return engine_fail("out of memory");
	do
		rc = put_bulk(db, &bulk);
	while (rc == DB_LOCK_DEADLOCK);
	free(bulk.data);
	db->write_count += (unsigned)count;
	if (rc == 0)
		rc = db->env->txn_checkpoint(db->env, CHECKPOINT_KIB, 0, 0);
	return rc == 0 ? ENGINE_OK : failed("put_batch", rc);
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	DBT k = dbt_of(key, key_len), v = room_of(buf, cap);
	struct bdb *db = opaque;
	int rc;

	do
		rc = db->db->get(db->db, NULL, &k, &v, 0);
	while (rc == DB_LOCK_DEADLOCK);
	if (rc == DB_NOTFOUND)
		return ENGINE_ABSENT;
	if (rc != 0)
		return failed("get", rc);
	*ret_len = v.size;
	return ENGINE_OK;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	DBT k = dbt_of(key, key_len);
	struct bdb *db = opaque;
	int rc;

	do
		rc = db->db->del(db->db, NULL, &k, 0);
	while (rc == DB_LOCK_DEADLOCK);
	return rc == DB_NOTFOUND ? ENGINE_ABSENT : written(db, "del", rc);
}

/* Show what is in the buffer; whether more is wanted. */
static bool
show_bulk(DBT *bulk, engine_use *use, void *arg)
{
	u_int8_t *key, *value;
	size_t key_len, value_len;
	void *place;

	DB_MULTIPLE_INIT(place, bulk);
	for (;;) {
		DB_MULTIPLE_KEY_NEXT(
		    place, bulk, key, key_len, value, value_len);
		if (place == NULL)
			return true;
		if (!use(arg, key, key_len, value, value_len))
			return false;
	}
}

/* A record may be larger than the buffer: then it grows. */
static int
next_bulk(DBC *cursor, DBT *key, DBT *bulk, u_int32_t flags)
{
	void *mem;
	int rc;

	for (;;) {
		rc = cursor->get(cursor, key, bulk, flags | DB_MULTIPLE_KEY);
		if (rc != DB_BUFFER_SMALL)
			return rc;
		bulk->ulen =
		    (bulk->size > bulk->ulen ? bulk->size : bulk->ulen) / 1024 *
			2048 +
		    1024;
		mem = realloc(bulk->data, bulk->ulen);
		if (mem == NULL)
			return rc;
		bulk->data = mem;
	}
}

static int
scan_with(
    DBC *cursor, const void *from, size_t from_len, engine_use *use, void *arg)
{
	DBT bulk = room_of(malloc(BULK_LEN), BULK_LEN);
	u_int8_t mem[KEY_LEN_MAX];
	DBT key = room_of(mem, sizeof mem);
	int rc;

	if (bulk.data == NULL || from_len > sizeof mem) {
		free(bulk.data);
		return ENOMEM;
	}
	/* The library puts keys it passes by into the same place. */
	if (from_len > 0)
		memcpy(mem, from, from_len);
	key.size = (u_int32_t)from_len;
	rc = next_bulk(
	    cursor, &key, &bulk, from_len == 0 ? DB_FIRST : DB_SET_RANGE);
	while (rc == 0 && show_bulk(&bulk, use, arg))
		rc = next_bulk(cursor, &key, &bulk, DB_NEXT);
	free(bulk.data);
	return rc;
}

static enum engine_result
scan(
    void *opaque, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct bdb *db = opaque;
	DBC *cursor;
	int rc, close_rc;

	rc = db->db->cursor(db->db, NULL, &cursor, 0);
	if (rc != 0)
		return failed("cursor", rc);
	rc = scan_with(cursor, from, from_len, use, arg);
	close_rc = cursor->close(cursor);
	if (rc == 0 || rc == DB_NOTFOUND)
		rc = close_rc;
	return rc == 0 ? ENGINE_OK : failed("scan", rc);
}

static enum engine_result
sync_store(void *opaque)
{
	struct bdb *db = opaque;
	int rc;

	rc = db->env->log_flush(db->env, NULL);
	return rc == 0 ? ENGINE_OK : failed("log_flush", rc);
}

static enum engine_result
count(void *opaque, uint64_t *ret_count)
{
	struct bdb *db = opaque;
	DB_BTREE_STAT *stat;
	int rc;

	rc = db->db->stat(db->db, NULL, &stat, 0);
	if (rc != 0)
		return failed("stat", rc);
	*ret_count = stat->bt_nkeys;
	free(stat);
	return ENGINE_OK;
}

/* By name, whether it runs unasked, whether processes share it, how it is
 * opened; flags of the environment. */
#define ENGINE_BDB(engine_name, unasked, shared, text, flags)                  \
	{                                                                      \
		.name = engine_name, .kind = ENGINE_PEER,                      \
		.by_default = unasked, .shares = shared, .tuning = text,       \
		.helper = "oneshot-bdb", .variant = &(const u_int32_t){flags}, \
		.version = version, .open = open_store, .put = put,            \
		.get = get, .delete = remove_key, .put_batch = put_batch,      \
		.scan = scan, .sync = sync_store, .count = count,              \
		.close = close_store,                                          \
	}

const struct engine engine_bdb = ENGINE_BDB("bdb", true, false,
    "B-tree, transactions, cache for all data up to 1 GiB, checkpoint every "
    "256 MiB of log, private environment; async: TXN_WRITE_NOSYNC; sync: "
    "default",
    DB_PRIVATE);

const struct engine engine_bdb_shared = ENGINE_BDB("bdb-shared", false, true,
    "as bdb, but in an environment that processes share", DB_REGISTER);

#else
typedef int engine_bdb_is_not_built;
#endif
