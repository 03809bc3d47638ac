/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_kyotocabinet.c - Kyoto Cabinet's HashDB through its C interface.
 *
 * Its manual asks for twice as many buckets as records, a mapping at least
 * as large as the file, and linear collision chains where buckets are
 * plenty.  A store into the mapping survives a killed process.  Durable
 * puts: KCOAUTOSYNC, a physical synchronisation after each update.
 */
#include "config.h"

#ifdef HAVE_KYOTOCABINET

#include "engine.h"

#include <inttypes.h>
#include <kclangc.h>
#include <stdio.h>

static enum engine_result
failed(const char *what, KCDB *db)
{
	return engine_fail(
	    "%s: %s: %s", what, kcecodename(kcdbecode(db)), kcdbemsg(db));
}

static const char *
version(void)
{
	return KCVERSION;
}

/* Room for the buckets and for records with 32 bytes of overhead, doubled. */
static uint64_t
map_size(const struct engine_config *config, uint64_t bucket_count)
{
	uint64_t data;

	data = config->key_count * (config->key_len + config->value_len + 32);
	return bucket_count * 6 + data * 2 + (UINT64_C(64) << 20);
}

static const uint32_t access_modes[] = {
    [ENGINE_CREATE] = KCOWRITER | KCOCREATE | KCOTRUNCATE,
    [ENGINE_WRITE] = KCOWRITER,
    [ENGINE_READ] = KCOREADER,
};

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	uint64_t bucket_count = config->key_count * 2;
	uint32_t mode = access_modes[config->access];
	char path[4096];
	KCDB *db;

	(void)engine;
	snprintf(path, sizeof path,
	    "%s/bench.kch#bnum=%" PRIu64 "#msiz=%" PRIu64 "#opts=l", dir,
	    bucket_count, map_size(config, bucket_count));
	if (config->mode == ENGINE_SYNC)
		mode |= KCOAUTOSYNC;
	db = kcdbnew();
	if (!kcdbopen(db, path, mode)) {
		failed("open", db);
		kcdbdel(db);
		return NULL;
	}
	return db;
}

static enum engine_result
put(void *db, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	if (!kcdbset(db, key, key_len, value, value_len))
		return failed("set", db);
	return ENGINE_OK;
}

static enum engine_result
get(void *db, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	int32_t len;

	len = kcdbgetbuf(db, key, key_len, buf, cap);
	if (len < 0) {
		if (kcdbecode(db) == KCENOREC)
			return ENGINE_ABSENT;
		return failed("getbuf", db);
	}
	*ret_len = (size_t)len;
	return ENGINE_OK;
}

static enum engine_result
remove_key(void *db, const void *key, size_t key_len)
{
	if (!kcdbremove(db, key, key_len)) {
		if (kcdbecode(db) == KCENOREC)
			return ENGINE_ABSENT;
		return failed("remove", db);
	}
	return ENGINE_OK;
}

static enum engine_result
sync_store(void *db)
{
	if (!kcdbsync(db, 1, NULL, NULL))
		return failed("sync", db);
	return ENGINE_OK;
}

static enum engine_result
count(void *db, uint64_t *ret_count)
{
	int64_t n;

	n = kcdbcount(db);
	if (n < 0)
		return failed("count", db);
	*ret_count = (uint64_t)n;
	return ENGINE_OK;
}

static enum engine_result
close_store(void *db)
{
	enum engine_result result = ENGINE_OK;

	if (!kcdbclose(db))
		result = failed("close", db);
	kcdbdel(db);
	return result;
}

const struct engine engine_kyotocabinet = {
    .name = "kyotocabinet",
    .kind = ENGINE_PEER,
    .by_default = true,
    .tuning = "HashDB, bnum = 2 * keys, all of it mapped, linear chains; "
	      "sync: OAUTOSYNC",
    .helper = "oneshot-kyotocabinet",
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
typedef int engine_kyotocabinet_is_not_built;
#endif
