/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_null.c - an engine that does nothing: what it costs is what the
 * loop, the making of keys and the calls through the table cost.
 *
 * Its answers are of the right kind but empty, so the driver does not check
 * what it reads.
 */
#include "config.h"

#include "engine.h"

static struct {
	size_t key_len, value_len;
	uint64_t key_count;
} null_db;

static const char *
null_version(void)
{
	return "";
}

static void *
null_open(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	(void)engine;
	(void)dir;
	null_db.key_len = config->key_len;
	null_db.value_len = config->value_len;
	null_db.key_count = config->key_count;
	return &null_db;
}

static enum engine_result
null_put(void *db, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	(void)db;
	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	return ENGINE_OK;
}

static enum engine_result
null_get(void *db, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	(void)db;
	(void)key;
	(void)key_len;
	(void)buf;
	(void)cap;
	*ret_len = null_db.value_len;
	return ENGINE_OK;
}

static enum engine_result
null_delete(void *db, const void *key, size_t key_len)
{
	(void)db;
	(void)key;
	(void)key_len;
	return ENGINE_OK;
}

static enum engine_result
null_put_batch(void *db, const struct engine_pair *pairs, size_t count)
{
	(void)db;
	(void)pairs;
	(void)count;
	return ENGINE_OK;
}

static enum engine_result
null_get_many(void *db, const void *const *keys, size_t key_len, size_t count,
    engine_use *use, void *arg)
{
	(void)db;
	for (size_t i = 0; i < count; i++) {
		if (!use(arg, keys[i], key_len, "", 0))
			break;
	}
	return ENGINE_OK;
}

static enum engine_result
null_get_view(
    void *db, const void *key, size_t key_len, engine_use *use, void *arg)
{
	(void)db;
	use(arg, key, key_len, "", 0);
	return ENGINE_OK;
}

static enum engine_result
null_scan(
    void *db, const void *from, size_t from_len, engine_use *use, void *arg)
{
	(void)db;
	(void)from;
	(void)from_len;
	for (uint64_t i = 0; i < null_db.key_count; i++) {
		if (!use(arg, "", 0, "", 0))
			break;
	}
	return ENGINE_OK;
}

static enum engine_result
null_sync(void *db)
{
	(void)db;
	return ENGINE_OK;
}

const struct engine engine_null = {
    .name = "null",
    .kind = ENGINE_NULL,
    .by_default = true,
    .shares = true,
    .tuning = "does nothing: the cost of the loop itself",
    .version = null_version,
    .open = null_open,
    .put = null_put,
    .get = null_get,
    .delete = null_delete,
    .put_batch = null_put_batch,
    .get_many = null_get_many,
    .get_view = null_get_view,
    .scan = null_scan,
    .sync = null_sync,
    .count = NULL,
    .close = null_sync,
};
