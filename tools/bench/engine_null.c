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
	(void)engine;
	(void)dir;
	null_value_len = config->value_len;
	return &null_value_len;
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
    .sync = null_sync,
    .count = NULL,
    .close = null_sync,
};
