/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_kyotocabinet.c - Kyoto Cabinet's HashDB through its C interface.
 *
 * Its manual asks for twice as many buckets as records, a mapping at least
 * as large as the file, and linear collision chains where buckets are
 * plenty.  A store into the mapping survives a killed process.  Durable
 * puts: KCOAUTOSYNC, a physical synchronisation after each update.
 *
 * Many keys at once go through kcdbacceptbulk(), which visits them in their
 * order: kcdbsetbulk() and kcdbgetbulk() do so too, but copy all of it into
 * maps first.  It makes a batch one step for other threads, though not for a
 * crash.
 */
#include "config.h"

#ifdef HAVE_KYOTOCABINET

#include "engine.h"

#include <inttypes.h>
#include <kclangc.h>
#include <stdio.h>
#include <stdlib.h>

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
	uint64_t data = engine_data_size(config, 32);

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

/* Whom a value is shown to, and the keys that are still to come. */
struct viewer {
	engine_use *use;
	void *arg;
	const void *const *keys;
	bool found;
};

static const char *
show(const char *key, size_t key_len, const char *value, size_t value_len,
    size_t *ret_len, void *arg)
{
	struct viewer *viewer = arg;

	(void)key;
	(void)ret_len;
	viewer->found = true;
	viewer->use(viewer->arg, *viewer->keys++, key_len, value, value_len);
	return KCVISNOP;
}

static const char *
skip(const char *key, size_t key_len, size_t *ret_len, void *arg)
{
	struct viewer *viewer = arg;

	(void)key;
	(void)key_len;
	(void)ret_len;
	viewer->keys++;
	return KCVISNOP;
}

static enum engine_result
get_view(void *db, const void *key, size_t key_len, engine_use *use, void *arg)
{
	struct viewer viewer = {use, arg, &key, false};

	if (!kcdbaccept(db, key, key_len, show, skip, &viewer, 0))
		return failed("accept", db);
	return viewer.found ? ENGINE_OK : ENGINE_ABSENT;
}

static KCSTR
string_of(const void *data, size_t len)
{
	return (KCSTR){(char *)(uintptr_t)data, len};
}

/* Records are visited in the order of the keys. */
static enum engine_result
get_many(void *db, const void *const *keys, size_t key_len, size_t key_count,
    engine_use *use, void *arg)
{
	struct viewer viewer = {use, arg, keys, false};
	KCSTR *strings = calloc(key_count, sizeof *strings);
	bool done;
	size_t i;

	if (strings == NULL)
		return engine_fail("out of memory");
	for (i = 0; i < key_count; i++)
		strings[i] = string_of(keys[i], key_len);
	done = kcdbacceptbulk(db, strings, key_count, show, skip, &viewer, 0);
	free(strings);
	return done ? ENGINE_OK : failed("acceptbulk", db);
}

static const char *
replace(const char *key, size_t key_len, const char *value, size_t value_len,
    size_t *ret_len, void *arg)
{
	const struct engine_pair **next = arg, *pair = (*next)++;

	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	*ret_len = pair->value_len;
	return pair->value;
}

static const char *
insert(const char *key, size_t key_len, size_t *ret_len, void *arg)
{
	return replace(key, key_len, NULL, 0, ret_len, arg);
}

static enum engine_result
put_batch(void *db, const struct engine_pair *pairs, size_t pair_count)
{
	const struct engine_pair *next = pairs;
	KCSTR *strings = calloc(pair_count, sizeof *strings);
	bool done;
	size_t i;

	if (strings == NULL)
		return engine_fail("out of memory");
	for (i = 0; i < pair_count; i++)
		strings[i] = string_of(pairs[i].key, pairs[i].key_len);
	done =
	    kcdbacceptbulk(db, strings, pair_count, replace, insert, &next, 1);
	free(strings);
	return done ? ENGINE_OK : failed("acceptbulk", db);
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
	      "sync: OAUTOSYNC; batches by accept_bulk, whole to threads, not "
	      "to a crash",
    .helper = "oneshot-kyotocabinet",
    .version = version,
    .open = open_store,
    .put = put,
    .get = get,
    .delete = remove_key,
    .put_batch = put_batch,
    .get_many = get_many,
    .get_view = get_view,
    .sync = sync_store,
    .count = count,
    .close = close_store,
};

#else
typedef int engine_kyotocabinet_is_not_built;
#endif
