/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_gdbm.c - GNU dbm.
 *
 * Its manual has little to tune for a file that fits into memory: the whole
 * of it is mapped, which is the default, and the cache of buckets has room for
 * them all.
 *
 * Async: when a call returns, its changes have been stored into the mapping
 * or written, and a killed process loses none.  One that is killed within a
 * call may leave a file that has to be repaired; the library's answer to that,
 * snapshots, needs a file system that shares blocks.  Sync: gdbm_sync() after
 * each change, as GDBM_SYNC is without effect on a mapped file (1.23).
 *
 * The library is for one thread at a time, so threads take turns.  There are
 * no batches, no order and no values in place.
 */
#include "config.h"

#ifdef HAVE_GDBM

#include "engine.h"

#include <gdbm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gdbm {
	GDBM_FILE file;
	pthread_mutex_t lock;
	bool sync_each;
};

static enum engine_result
failed(const char *what, struct gdbm *db)
{
	return engine_fail("%s: %s", what,
	    db->file != NULL ? gdbm_db_strerror(db->file)
			     : gdbm_strerror(gdbm_errno));
}

static const char *
version(void)
{
	static char text[32];

	snprintf(text, sizeof text, "%d.%d", gdbm_version_number[0],
	    gdbm_version_number[1]);
	return text;
}

static const int access_modes[] = {
    [ENGINE_CREATE] = GDBM_NEWDB,
    [ENGINE_WRITE] = GDBM_WRITER,
    [ENGINE_READ] = GDBM_READER,
};

static enum engine_result
close_store(void *opaque)
{
	enum engine_result result = ENGINE_OK;
	struct gdbm *db = opaque;

	if (db->file != NULL && gdbm_close(db->file) != 0) {
		db->file = NULL;
		result = failed("close", db);
	}
	pthread_mutex_destroy(&db->lock);
	free(db);
	return result;
}

/* A bucket of 4096 bytes is split at 168 records, and half full then. */
static bool
cache_all(struct gdbm *db, const struct engine_config *config)
{
	size_t bucket_count = (size_t)(config->key_count / 64) + 100;

	return gdbm_setopt(db->file, GDBM_SETCACHESIZE, &bucket_count,
		   sizeof bucket_count) == 0;
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct gdbm *db = calloc(1, sizeof *db);
	char path[4096];

	(void)engine;
	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	pthread_mutex_init(&db->lock, NULL);
	snprintf(path, sizeof path, "%s/bench.gdbm", dir);
	db->sync_each = config->mode == ENGINE_SYNC;
	db->file = gdbm_open(path, 0, access_modes[config->access], 0666, NULL);
	if (db->file != NULL && (config->one_shot || cache_all(db, config)))
		return db;
	failed("open", db);
	close_store(db);
	return NULL;
}

static datum
datum_of(const void *data, size_t len)
{
	return (datum){(char *)(uintptr_t)data, (int)len};
}

/* With the lock held, after a write. */
static enum engine_result
written(struct gdbm *db)
{
	if (db->sync_each && gdbm_sync(db->file) != 0)
		return failed("sync", db);
	return ENGINE_OK;
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	enum engine_result result;
	struct gdbm *db = opaque;

	pthread_mutex_lock(&db->lock);
	if (gdbm_store(db->file, datum_of(key, key_len),
		datum_of(value, value_len), GDBM_REPLACE) != 0)
		result = failed("store", db);
	else
		result = written(db);
	pthread_mutex_unlock(&db->lock);
	return result;
}

/* What a call means that has found nothing. */
static enum engine_result
absent_or_failed(const char *what, struct gdbm *db)
{
	return gdbm_errno == GDBM_ITEM_NOT_FOUND ? ENGINE_ABSENT
						 : failed(what, db);
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	enum engine_result result = ENGINE_OK;
	struct gdbm *db = opaque;
	datum value;

	pthread_mutex_lock(&db->lock);
	value = gdbm_fetch(db->file, datum_of(key, key_len));
	if (value.dptr == NULL)
		result = absent_or_failed("fetch", db);
	pthread_mutex_unlock(&db->lock);
	if (result == ENGINE_OK) {
		*ret_len = (size_t)value.dsize;
		memcpy(buf, value.dptr, *ret_len < cap ? *ret_len : cap);
		free(value.dptr);
	}
	return result;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	enum engine_result result;
	struct gdbm *db = opaque;

	pthread_mutex_lock(&db->lock);
	if (gdbm_delete(db->file, datum_of(key, key_len)) != 0)
		result = absent_or_failed("delete", db);
	else
		result = written(db);
	pthread_mutex_unlock(&db->lock);
	return result;
}

static enum engine_result
sync_store(void *opaque)
{
	enum engine_result result = ENGINE_OK;
	struct gdbm *db = opaque;

	pthread_mutex_lock(&db->lock);
	if (gdbm_sync(db->file) != 0)
		result = failed("sync", db);
	pthread_mutex_unlock(&db->lock);
	return result;
}

static enum engine_result
count(void *opaque, uint64_t *ret_count)
{
	enum engine_result result = ENGINE_OK;
	struct gdbm *db = opaque;
	gdbm_count_t n;

	pthread_mutex_lock(&db->lock);
	if (gdbm_count(db->file, &n) != 0)
		result = failed("count", db);
	else
		*ret_count = n;
	pthread_mutex_unlock(&db->lock);
	return result;
}

const struct engine engine_gdbm = {
    .name = "gdbm",
    .kind = ENGINE_PEER,
    .by_default = true,
    .tuning = "all mapped, cache for all buckets, threads take turns; sync: "
	      "gdbm_sync per put",
    .helper = "oneshot-gdbm",
    .version = version,
    .open = open_store,
    .put = put,
    .get = get,
    .delete = remove_key,
    .sync = sync_store,
    .count = count,
    .close = close_store,
};

#else
typedef int engine_gdbm_is_not_built;
#endif
