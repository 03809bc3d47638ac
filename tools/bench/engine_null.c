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

#include <stdlib.h>

static size_t null_value_len;

static const char *
null_version(void)
{
	return "";
}

static void *
null_open(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	void *value;

	(void)engine;
	(void)dir;
	null_value_len = config->value_len;
	value = calloc(1, config->value_len + 1);
	if (value == NULL)
		engine_fail("out of memory");
	return value;
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
	*ret_len = null_value_len;
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
	size_t i;

	for (i = 0; i < count; i++)
		use(arg, keys[i], key_len, db, null_value_len);
	return ENGINE_OK;
}

static enum engine_result
null_get_view(
    void *db, const void *key, size_t key_len, engine_use *use, void *arg)
{
	use(arg, key, key_len, db, null_value_len);
	return ENGINE_OK;
}

static enum engine_result
null_sync(void *db)
{
	(void)db;
	return ENGINE_OK;
}

static enum engine_result
null_close(void *db)
{
	free(db);
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
    .sync = null_sync,
    .close = null_close,
};
