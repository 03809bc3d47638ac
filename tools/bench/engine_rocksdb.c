/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_rocksdb.c - RocksDB through its C interface.
 *
 * OptimizeForPointLookup, which its wiki names for work without ranges: a
 * hash index in the blocks, a bloom filter of 10 bits, a block cache, and a
 * filter before the memtable.  Beside it what the wiki's basic tuning names: as
 * many background threads as processors, levels sized from the bottom up,
 * bytes_per_sync.  Measured, a write buffer of 16 MiB is faster than the
 * default of 64, which no processor's cache holds, and no compression faster
 * than the default.
 *
 * Async: the write-ahead log is written, by write(), when a write returns.
 * Sync: it is synced as well.
 *
 * Gets are of pinned values, which are not copied out of the block.  Deletes
 * are blind.  Processes cannot read what another one is writing: a second
 * instance sees what was there when it last looked.
 */
#include "config.h"

#ifdef HAVE_ROCKSDB

#include "engine.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct rocksdb {
	rocksdb_t *db;
	rocksdb_column_family_handle_t *family;
	rocksdb_options_t *options;
	rocksdb_readoptions_t *reading;
	rocksdb_writeoptions_t *writing;
};

/* Takes the text of a failed call; ENGINE_OK if there is none. */
static enum engine_result
result_of(const char *what, char *text)
{
	if (text == NULL)
		return ENGINE_OK;
	engine_fail("%s: %s", what, text);
	rocksdb_free(text);
	return ENGINE_FAILED;
}

static const char *
version(void)
{
	return ROCKSDB_VERSION;
}

static enum engine_result
close_store(void *opaque)
{
	struct rocksdb *db = opaque;

	if (db->family != NULL)
		rocksdb_column_family_handle_destroy(db->family);
	if (db->db != NULL)
		rocksdb_close(db->db);
	rocksdb_writeoptions_destroy(db->writing);
	rocksdb_readoptions_destroy(db->reading);
	rocksdb_options_destroy(db->options);
	free(db);
	return ENGINE_OK;
}

/* Room in the cache for all blocks, up to a gigabyte. */
static uint64_t
cache_mib(const struct engine_config *config)
{
	uint64_t data = engine_data_size(config, 32);

	return data > 1024 * MIB ? 1024 : data / MIB + 8;
}

static rocksdb_options_t *
options_create(const struct engine_config *config)
{
	rocksdb_options_t *options = rocksdb_options_create();
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	rocksdb_options_set_create_if_missing(
	    options, config->access == ENGINE_CREATE);
	rocksdb_options_optimize_for_point_lookup(options, cache_mib(config));
	rocksdb_options_increase_parallelism(
	    options, processors > 1 ? (int)processors : 1);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
	rocksdb_options_set_bytes_per_sync(options, MIB);
	/* As many bytes of them as the default of 64 has. */
	rocksdb_options_set_write_buffer_size(options, 16 * MIB);
	rocksdb_options_set_max_write_buffer_number(options, 8);
	rocksdb_options_set_compression(options, rocksdb_no_compression);
	/* Statistics of no use here, for which opening reads every table. */
	rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
	if (config->one_shot)
		rocksdb_options_set_max_open_files(options, 100);
	return options;
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	static const char *const names[] = {"default"};
	struct rocksdb *db = calloc(1, sizeof *db);
	const rocksdb_options_t *options;
	char *text = NULL;

	(void)engine;
	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	db->options = options_create(config);
	db->reading = rocksdb_readoptions_create();
	db->writing = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(db->writing, config->mode == ENGINE_SYNC);

	options = db->options;
	if (config->access == ENGINE_READ)
		db->db = rocksdb_open_for_read_only_column_families(db->options,
		    dir, 1, names, &options, &db->family, 0, &text);
	else
		db->db = rocksdb_open_column_families(
		    db->options, dir, 1, names, &options, &db->family, &text);
	if (result_of("open", text) == ENGINE_OK)
		return db;
	close_store(db);
	return NULL;
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct rocksdb *db = opaque;
	char *text = NULL;

	rocksdb_put(db->db, db->writing, key, key_len, value, value_len, &text);
	return result_of("put", text);
}

static enum engine_result
put_batch(void *opaque, const struct engine_pair *pairs, size_t count)
{
	struct rocksdb *db = opaque;
	rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
	char *text = NULL;
	size_t i;

	for (i = 0; i < count; i++)
		rocksdb_writebatch_put(batch, pairs[i].key, pairs[i].key_len,
		    pairs[i].value, pairs[i].value_len);
	rocksdb_write(db->db, db->writing, batch, &text);
	rocksdb_writebatch_destroy(batch);
	return result_of("write", text);
}

static inline enum engine_result
pin(struct rocksdb *db, const void *key, size_t key_len,
    rocksdb_pinnableslice_t **ret_pin)
{
	char *text = NULL;

	*ret_pin = rocksdb_get_pinned(db->db, db->reading, key, key_len, &text);
	if (*ret_pin != NULL)
		return ENGINE_OK;
	return text == NULL ? ENGINE_ABSENT : result_of("get", text);
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	rocksdb_pinnableslice_t *slice;
	enum engine_result result;
	const char *value;
	size_t len;

	result = pin(opaque, key, key_len, &slice);
	if (result != ENGINE_OK)
		return result;
	value = rocksdb_pinnableslice_value(slice, &len);
	memcpy(buf, value, len < cap ? len : cap);
	rocksdb_pinnableslice_destroy(slice);
	*ret_len = len;
	return ENGINE_OK;
}

static enum engine_result
get_view(
    void *opaque, const void *key, size_t key_len, engine_use *use, void *arg)
{
	rocksdb_pinnableslice_t *slice;
	enum engine_result result;
	const char *value;
	size_t len;

	result = pin(opaque, key, key_len, &slice);
	if (result != ENGINE_OK)
		return result;
	value = rocksdb_pinnableslice_value(slice, &len);
	use(arg, key, key_len, value, len);
	rocksdb_pinnableslice_destroy(slice);
	return ENGINE_OK;
}

static enum engine_result
get_many(void *opaque, const void *const *keys, size_t key_len, size_t count,
    engine_use *use, void *arg)
{
	struct rocksdb *db = opaque;
	size_t *lens = calloc(count, sizeof *lens);
	rocksdb_pinnableslice_t **slices = calloc(count, sizeof *slices);
	char **texts = calloc(count, sizeof *texts);
	enum engine_result result = ENGINE_OK;
	const char *value;
	size_t i, len;

	if (lens == NULL || slices == NULL || texts == NULL) {
		result = engine_fail("out of memory");
		goto out;
	}
	for (i = 0; i < count; i++)
		lens[i] = key_len;
	rocksdb_batched_multi_get_cf(db->db, db->reading, db->family, count,
	    (const char *const *)keys, lens, slices, texts, false);
	for (i = 0; i < count; i++) {
		if (slices[i] != NULL) {
			value = rocksdb_pinnableslice_value(slices[i], &len);
			use(arg, keys[i], key_len, value, len);
			rocksdb_pinnableslice_destroy(slices[i]);
		} else if (texts[i] != NULL) {
			result = result_of("multi_get", texts[i]);
		}
	}
out:
	free(texts);
	free(slices);
	free(lens);
	return result;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	struct rocksdb *db = opaque;
	char *text = NULL;

	rocksdb_delete(db->db, db->writing, key, key_len, &text);
	return result_of("delete", text);
}

static enum engine_result
scan(
    void *opaque, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct rocksdb *db = opaque;
	rocksdb_iterator_t *iter;
	const char *key, *value;
	size_t key_len, value_len;
	char *text = NULL;

	iter = rocksdb_create_iterator(db->db, db->reading);
	if (from_len == 0)
		rocksdb_iter_seek_to_first(iter);
	else
		rocksdb_iter_seek(iter, from, from_len);
	while (rocksdb_iter_valid(iter)) {
		key = rocksdb_iter_key(iter, &key_len);
		value = rocksdb_iter_value(iter, &value_len);
		if (!use(arg, key, key_len, value, value_len))
			break;
		rocksdb_iter_next(iter);
	}
	rocksdb_iter_get_error(iter, &text);
	rocksdb_iter_destroy(iter);
	return result_of("scan", text);
}

static enum engine_result
sync_store(void *opaque)
{
	struct rocksdb *db = opaque;
	char *text = NULL;

	rocksdb_flush_wal(db->db, 1, &text);
	return result_of("flush_wal", text);
}

const struct engine engine_rocksdb = {
    .name = "rocksdb",
    .kind = ENGINE_PEER,
    .by_default = true,
    .blind_deletes = true,
    .tuning = "OptimizeForPointLookup (hash index, bloom filter of 10 bits, "
	      "cache for all data up to 1 GiB), background threads as "
	      "processors, write buffer 16 MiB, no compression, blind deletes; "
	      "async: WAL written; "
	      "sync: WAL synced",
    .helper = "oneshot-rocksdb",
    .version = version,
    .open = open_store,
    .put = put,
    .get = get,
    .delete = remove_key,
    .put_batch = put_batch,
    .get_many = get_many,
    .get_view = get_view,
    .scan = scan,
    .sync = sync_store,
    .close = close_store,
};

#else
typedef int engine_rocksdb_is_not_built;
#endif
