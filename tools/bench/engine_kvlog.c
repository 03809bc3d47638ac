/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_kvlog.c - this project's own store, through its public interface
 * and with its default options, durability apart.
 */
#include "config.h"

#include "engine.h"

#include <kvlog.h>
#include <stdio.h>

static struct kvlog *
store_open(
    const char *dir, const struct engine_config *config, unsigned more_flags)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	char path[4096];
	enum kvlog_status st;

	snprintf(path, sizeof path, "%s/bench.kvlog", dir);
	options.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE | more_flags;
	options.durability = config->mode == ENGINE_SYNC
				 ? KVLOG_DURABILITY_COMMIT
				 : KVLOG_DURABILITY_NONE;

	st = kvlog_open(path, &options, &db, &err);
	if (st != KVLOG_OK) {
		engine_fail("%s: %s", kvlog_status_text(st), err.text);
		return NULL;
	}
	return db;
}

static void *
ours_open(const char *dir, const struct engine_config *config)
{
	return store_open(dir, config, 0);
}

static void *
ours_open_noverify(const char *dir, const struct engine_config *config)
{
	return store_open(dir, config, KVLOG_OPEN_NOVERIFY);
}

static enum engine_result
result_of(enum kvlog_status st)
{
	if (st == KVLOG_OK)
		return ENGINE_OK;
	if (st == KVLOG_NOTFOUND)
		return ENGINE_ABSENT;
	return engine_fail("%s", kvlog_status_text(st));
}

static enum engine_result
ours_put(void *db, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	return result_of(
	    kvlog_put(db, key, key_len, value, value_len, NULL, NULL));
}

static enum engine_result
ours_get(void *db, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	return result_of(kvlog_get(db, key, key_len, buf, cap, ret_len));
}

static enum engine_result
ours_delete(void *db, const void *key, size_t key_len)
{
	return result_of(kvlog_delete(db, key, key_len, NULL, NULL));
}

static enum engine_result
ours_sync(void *db)
{
	return result_of(kvlog_sync(db));
}

static enum engine_result
ours_count(void *db, uint64_t *ret_count)
{
	return result_of(kvlog_count(db, ret_count));
}

static enum engine_result
ours_close(void *db)
{
	struct kvlog_error err;
	enum kvlog_status st;

	st = kvlog_close(db, &err);
	if (st != KVLOG_OK)
		return engine_fail("%s: %s", kvlog_status_text(st), err.text);
	return ENGINE_OK;
}

const struct engine engine_kvlog = {
    .name = "kvlog",
    .kind = ENGINE_OURS,
    .by_default = true,
    .tuning = "defaults, checksums verified; async: durability none; "
	      "sync: commit",
    .version = kvlog_version,
    .open = ours_open,
    .put = ours_put,
    .get = ours_get,
    .delete = ours_delete,
    .sync = ours_sync,
    .count = ours_count,
    .close = ours_close,
};

const struct engine engine_kvlog_noverify = {
    .name = "kvlog-noverify",
    .kind = ENGINE_OURS,
    .by_default = false,
    .tuning = "as kvlog, but reads do not verify checksums",
    .version = kvlog_version,
    .open = ours_open_noverify,
    .put = ours_put,
    .get = ours_get,
    .delete = ours_delete,
    .sync = ours_sync,
    .count = ours_count,
    .close = ours_close,
};
