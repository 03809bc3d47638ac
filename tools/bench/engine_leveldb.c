/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_leveldb.c - LevelDB through its C interface.
 *
 * Its manual (doc/index.md, section Performance) names a block cache, a
 * filter of 10 bits a key, which makes a false positive of 1 in 100, and
 * compression, which it advises to leave on; and options.h a larger write
 * buffer for bulk loads.  Measured, 16 MiB are faster than the default of 4 and
 * than 64, which no processor's cache holds.
 *
 * Async: a write is in the log file, by write(), when it returns.  Sync: the
 * log is synced as well.  The library syncs the present log only, and not one
 * that it has just replaced by another, so sync_store() lets the system do it.
 *
 * Deletes are blind.  The interface has no values in place, and no call for
 * many keys.
 */
#include "config.h"

#ifdef HAVE_LEVELDB

#include "engine.h"

#include <fcntl.h>
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

struct leveldb {
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
	leveldb_readoptions_t *reading;
	leveldb_writeoptions_t *writing;
};

/* Takes the text of a failed call; ENGINE_OK if there is none. */
static enum engine_result
result_of(const char *what, char *text)
{
	if (text == NULL)
		return ENGINE_OK;
	engine_fail("%s: %s", what, text);
	leveldb_free(text);
	return ENGINE_FAILED;
}

static const char *
version(void)
{
	static char text[32];

	snprintf(text, sizeof text, "%d.%d", leveldb_major_version(),
	    leveldb_minor_version());
	return text;
}

static enum engine_result
close_store(void *opaque)
{
	struct leveldb *db = opaque;

	if (db->db != NULL)
		leveldb_close(db->db);
	leveldb_writeoptions_destroy(db->writing);
	leveldb_readoptions_destroy(db->reading);
	leveldb_options_destroy(db->options);
	leveldb_filterpolicy_destroy(db->filter);
	leveldb_cache_destroy(db->cache);
	free(db);
	return ENGINE_OK;
}

/* Room in the cache for all blocks, up to a gigabyte. */
static size_t
cache_size(const struct engine_config *config)
{
	uint64_t data = engine_data_size(config, 32);

	return data > 1024 * MIB ? 1024 * MIB : (size_t)data + 8 * MIB;
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct leveldb *db = calloc(1, sizeof *db);
	char *text = NULL;

	(void)engine;
	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	db->cache = leveldb_cache_create_lru(cache_size(config));
	db->filter = leveldb_filterpolicy_create_bloom(10);
	db->options = leveldb_options_create();
	leveldb_options_set_create_if_missing(
	    db->options, config->access == ENGINE_CREATE);
	leveldb_options_set_cache(db->options, db->cache);
	leveldb_options_set_filter_policy(db->options, db->filter);
	leveldb_options_set_write_buffer_size(db->options, 16 * MIB);
	leveldb_options_set_max_file_size(db->options, 8 * MIB);
	db->reading = leveldb_readoptions_create();
	db->writing = leveldb_writeoptions_create();
	leveldb_writeoptions_set_sync(db->writing, config->mode == ENGINE_SYNC);

	db->db = leveldb_open(db->options, dir, &text);
	if (result_of("open", text) == ENGINE_OK)
		return db;
	close_store(db);
	return NULL;
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct leveldb *db = opaque;
	char *text = NULL;

	leveldb_put(db->db, db->writing, key, key_len, value, value_len, &text);
	return result_of("put", text);
}

static enum engine_result
put_batch(void *opaque, const struct engine_pair *pairs, size_t count)
{
	struct leveldb *db = opaque;
	leveldb_writebatch_t *batch = leveldb_writebatch_create();
	char *text = NULL;
	size_t i;

	for (i = 0; i < count; i++)
		leveldb_writebatch_put(batch, pairs[i].key, pairs[i].key_len,
		    pairs[i].value, pairs[i].value_len);
	leveldb_write(db->db, db->writing, batch, &text);
	leveldb_writebatch_destroy(batch);
	return result_of("write", text);
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	struct leveldb *db = opaque;
	char *text = NULL, *value;
	size_t len = 0;

	value = leveldb_get(db->db, db->reading, key, key_len, &len, &text);
	if (value == NULL)
		return text == NULL ? ENGINE_ABSENT : result_of("get", text);
	memcpy(buf, value, len < cap ? len : cap);
	leveldb_free(value);
	*ret_len = len;
	return ENGINE_OK;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	struct leveldb *db = opaque;
	char *text = NULL;

	leveldb_delete(db->db, db->writing, key, key_len, &text);
	return result_of("delete", text);
}

static enum engine_result
scan(
    void *opaque, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct leveldb *db = opaque;
	leveldb_iterator_t *iter;
	const char *key, *value;
	size_t key_len, value_len;
	char *text = NULL;

	iter = leveldb_create_iterator(db->db, db->reading);
	if (from_len == 0)
		leveldb_iter_seek_to_first(iter);
	else
		leveldb_iter_seek(iter, from, from_len);
	while (leveldb_iter_valid(iter)) {
		key = leveldb_iter_key(iter, &key_len);
		value = leveldb_iter_value(iter, &value_len);
		if (!use(arg, key, key_len, value, value_len))
			break;
		leveldb_iter_next(iter);
	}
	leveldb_iter_get_error(iter, &text);
	leveldb_iter_destroy(iter);
	return result_of("scan", text);
}

static enum engine_result
sync_store(void *opaque)
{
	struct leveldb *db = opaque;
	leveldb_writeoptions_t *writing = leveldb_writeoptions_create();
	leveldb_writebatch_t *batch = leveldb_writebatch_create();
	char *text = NULL;

	sync();
	leveldb_writeoptions_set_sync(writing, 1);
	leveldb_write(db->db, writing, batch, &text);
	leveldb_writebatch_destroy(batch);
	leveldb_writeoptions_destroy(writing);
	return result_of("sync", text);
}

const struct engine engine_leveldb = {
    .name = "leveldb",
    .kind = ENGINE_PEER,
    .by_default = true,
    .blind_deletes = true,
    .tuning = "bloom filter of 10 bits, block cache for all data up to 1 GiB, "
	      "write buffer 16 MiB, snappy, blind deletes; async: log written; "
	      "sync: log synced",
    .helper = "oneshot-leveldb",
    .version = version,
    .open = open_store,
    .put = put,
    .get = get,
    .delete = remove_key,
    .put_batch = put_batch,
    .scan = scan,
    .sync = sync_store,
    .close = close_store,
};

#else
typedef int engine_leveldb_is_not_built;
#endif
