/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_kvlog.c - this project's own store, through its public interface
 * and with its default options, durability apart.
 */
#include "config.h"

#include "engine.h"

#include <kvlog.h>
#include <stdio.h>
#include <stdlib.h>

#define STORE_NAME "bench.kvlog"

/* What the engines of this file differ in. */
struct variant {
	unsigned flags;
	enum kvlog_index_mode index_mode;
};

static const unsigned access_flags[] = {
    [ENGINE_CREATE] = KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE,
    [ENGINE_WRITE] = 0,
    [ENGINE_READ] = KVLOG_OPEN_READONLY,
};

static void *
ours_open(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	const struct variant *variant = engine->variant;
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	char path[4096];
	enum kvlog_status st;

	snprintf(path, sizeof path, "%s/" STORE_NAME, dir);
	options.flags = access_flags[config->access] | variant->flags |
			(config->hoard ? KVLOG_OPEN_NOCOMPACT : 0);
	options.index_mode =
	    config->one_shot ? KVLOG_INDEX_HINTS : variant->index_mode;
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

/* A program that reads this way has a pin for each request. */
#define AT_ONCE 64u

static enum kvlog_status
use_items(const struct kvlog_item *items, size_t count, engine_use *use,
    void *arg, bool *ret_more)
{
	for (size_t i = 0; i < count && *ret_more; i++) {
		const struct kvlog_item *item = &items[i];

		if (item->status == KVLOG_OK)
			*ret_more = use(arg, item->key, item->key_len,
			    item->value, item->value_len);
		else if (item->status != KVLOG_NOTFOUND)
			return item->status;
	}
	return KVLOG_OK;
}

static enum engine_result
ours_get_many(void *db, const void *const *keys, size_t key_len, size_t count,
    engine_use *use, void *arg)
{
	struct kvlog_item items[AT_ONCE];
	struct kvlog_pin *pin = NULL;
	enum kvlog_status st = kvlog_pin_create(db, &pin);
	bool more = true;
	size_t n;

	for (; count > 0 && st == KVLOG_OK && more; keys += n, count -= n) {
		n = count < AT_ONCE ? count : AT_ONCE;
		for (size_t i = 0; i < n; i++) {
			items[i].key = keys[i];
			items[i].key_len = key_len;
		}
		st = kvlog_pin_get_many(pin, items, n);
		if (st == KVLOG_OK)
			st = use_items(items, n, use, arg, &more);
	}
	kvlog_pin_destroy(pin);
	return result_of(st);
}

static enum engine_result
ours_get_view(
    void *db, const void *key, size_t key_len, engine_use *use, void *arg)
{
	struct kvlog_pin *pin = NULL;
	enum kvlog_status st = kvlog_pin_create(db, &pin);
	const void *value;
	size_t value_len;

	if (st == KVLOG_OK)
		st = kvlog_pin_get(pin, key, key_len, &value, &value_len);
	if (st == KVLOG_OK)
		(void)use(arg, key, key_len, value, value_len);
	kvlog_pin_destroy(pin);
	return result_of(st);
}

static enum engine_result
ours_put_batch(void *db, const struct engine_pair *pairs, size_t count)
{
	struct kvlog_op *ops = calloc(count, sizeof *ops);
	enum engine_result result;
	size_t i;

	if (ops == NULL)
		return engine_fail("out of memory");
	for (i = 0; i < count; i++) {
		ops[i].type = KVLOG_OP_PUT;
		ops[i].key = pairs[i].key;
		ops[i].key_len = pairs[i].key_len;
		ops[i].value = pairs[i].value;
		ops[i].value_len = pairs[i].value_len;
	}
	result = result_of(kvlog_apply(db, ops, count, NULL, NULL, NULL));
	free(ops);
	return result;
}

static enum kvlog_status
walk(struct kvlog_iter *iter, engine_use *use, void *arg)
{
	const void *key, *value;
	size_t key_len, value_len;
	enum kvlog_status st;

	do {
		st = kvlog_iter_next(iter);
		if (st != KVLOG_OK)
			return st;
		key = kvlog_iter_key(iter, &key_len);
		value = kvlog_iter_value(iter, &value_len);
	} while (use(arg, key, key_len, value, value_len));
	return KVLOG_OK;
}

static enum engine_result
ours_scan(
    void *db, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct kvlog_iter *iter;
	enum kvlog_status st;

	st = kvlog_iter_create(db, NULL, 0, &iter);
	if (st != KVLOG_OK)
		return result_of(st);
	if (from_len > 0)
		st = kvlog_iter_seek(iter, from, from_len);
	if (st == KVLOG_OK)
		st = walk(iter, use, arg);
	kvlog_iter_destroy(iter);
	return st == KVLOG_NOTFOUND ? ENGINE_OK : result_of(st);
}

static enum engine_result
ours_compact(void *db, uint64_t *ret_bytes)
{
	struct kvlog_compact_options options = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err;
	enum kvlog_status st;

	options.flags = KVLOG_COMPACT_ALL;
	st = kvlog_compact(db, &options, &report, &err);
	if (st != KVLOG_OK)
		return engine_fail("%s: %s", kvlog_status_text(st), err.text);
	*ret_bytes = report.bytes_written;
	return ENGINE_OK;
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

/* By name, whether it runs unasked, what it is compared with, how it is
 * opened; then the variant. */
#define ENGINE_KVLOG(engine_name, unasked, other, text, ...)                   \
	{                                                                      \
		.name = engine_name, .kind = ENGINE_OURS,                      \
		.by_default = unasked, .tuning = text,                         \
		.helper = "oneshot-kvlog", .command = "kvlog",                 \
		.store = STORE_NAME, .base = other, .shares = true,            \
		.variant = &(const struct variant){__VA_ARGS__},               \
		.version = kvlog_version, .open = ours_open, .put = ours_put,  \
		.get = ours_get, .delete = ours_delete,                        \
		.put_batch = ours_put_batch, .get_many = ours_get_many,        \
		.get_view = ours_get_view, .scan = ours_scan,                  \
		.compact = ours_compact, .sync = ours_sync,                    \
		.count = ours_count, .close = ours_close,                      \
	}

const struct engine engine_kvlog =
    ENGINE_KVLOG("kvlog", true, &engine_kvlog_unshared,
	"defaults, checksums verified; async: durability none; sync: commit; "
	"one-shot: index in hints",
	0, KVLOG_INDEX_MEMORY);

const struct engine engine_kvlog_hints = ENGINE_KVLOG("kvlog-hints", false,
    NULL, "as kvlog, but with the index in hint files", 0, KVLOG_INDEX_HINTS);

const struct engine engine_kvlog_noverify = ENGINE_KVLOG("kvlog-noverify",
    false, NULL, "as kvlog, but reads do not verify checksums",
    KVLOG_OPEN_NOVERIFY, KVLOG_INDEX_MEMORY);

const struct engine engine_kvlog_nocompact = ENGINE_KVLOG("kvlog-nocompact",
    false, &engine_kvlog, "as kvlog, but what is replaced stays where it is",
    KVLOG_OPEN_NOCOMPACT, KVLOG_INDEX_MEMORY);

const struct engine engine_kvlog_unshared = ENGINE_KVLOG("kvlog-unshared",
    false, NULL, "as kvlog, but nobody else may write meanwhile",
    KVLOG_OPEN_UNSHARED, KVLOG_INDEX_MEMORY);
