/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_tkrzw.c - tkrzw's HashDBM through its C interface.
 *
 * Its manual asks for at least as many buckets as records, and names the
 * memory-mapped file class as the fastest; a store into that mapping
 * survives a killed process.  A durable put is a put and a hard
 * synchronisation, with the mapped class too: it calls msync().  The class
 * that writes by pwrite() is twice as fast at it, but only because it calls
 * sync_file_range(), which flushes neither the file's length nor the disk's
 * cache; so it promises less than the others and is not compared with them.
 *
 * A get goes through tkrzw_dbm_process(), which shows the value in place: a
 * plain tkrzw_dbm_get() would allocate a copy for each.  Many keys at once go
 * through tkrzw_dbm_process_multi(), which makes a batch one step for other
 * threads, though not for a crash.
 */
#include "config.h"

#ifdef HAVE_TKRZW

#include "engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tkrzw_langc.h>

struct tkrzw {
	TkrzwDBM *dbm;
	bool sync_each;
};

/* Where a get wants its value. */
struct wanted {
	void *buf;
	size_t cap;
	size_t len;
	bool found;
};

static enum engine_result
failed(const char *what)
{
	return engine_fail("%s: %s: %s", what,
	    tkrzw_status_code_name(tkrzw_get_last_status_code()),
	    tkrzw_get_last_status_message());
}

static const char *
version(void)
{
	return TKRZW_PACKAGE_VERSION;
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct tkrzw *db;
	char path[4096], params[256];

	(void)engine;
	db = calloc(1, sizeof *db);
	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	db->sync_each = config->mode == ENGINE_SYNC;
	snprintf(path, sizeof path, "%s/bench.tkh", dir);
	snprintf(params, sizeof params,
	    "truncate=%s,dbm=HashDBM,file=MemoryMapParallelFile,"
	    "num_buckets=%" PRIu64,
	    config->access == ENGINE_CREATE ? "true" : "false",
	    config->key_count * 2);
	db->dbm = tkrzw_dbm_open(path, config->access != ENGINE_READ, params);
	if (db->dbm == NULL) {
		failed("open");
		free(db);
		return NULL;
	}
	return db;
}

static enum engine_result
sync_store(void *opaque)
{
	struct tkrzw *db = opaque;

	if (!tkrzw_dbm_synchronize(db->dbm, true, NULL, NULL, ""))
		return failed("synchronize");
	return ENGINE_OK;
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct tkrzw *db = opaque;

	if (!tkrzw_dbm_set(db->dbm, key, (int32_t)key_len, value,
		(int32_t)value_len, true))
		return failed("set");
	return db->sync_each ? sync_store(db) : ENGINE_OK;
}

static const char *
copy_out(void *arg, const char *key, int32_t key_len, const char *value,
    int32_t value_len, int32_t *ret_len)
{
	struct wanted *wanted = arg;

	(void)key;
	(void)key_len;
	(void)ret_len;
	if (value != NULL) {
		wanted->found = true;
		wanted->len = (size_t)value_len;
		memcpy(wanted->buf, value,
		    wanted->len < wanted->cap ? wanted->len : wanted->cap);
	}
	return TKRZW_REC_PROC_NOOP;
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	struct tkrzw *db = opaque;
	struct wanted wanted = {buf, cap, 0, false};

	if (!tkrzw_dbm_process(
		db->dbm, key, (int32_t)key_len, copy_out, &wanted, false))
		return failed("process");
	if (!wanted.found)
		return ENGINE_ABSENT;
	*ret_len = wanted.len;
	return ENGINE_OK;
}

/* Whom a value is shown to, and under which key. */
struct viewer {
	engine_use *use;
	void *arg;
	const void *key;
	bool found;
};

static const char *
show(void *arg, const char *key, int32_t key_len, const char *value,
    int32_t value_len, int32_t *ret_len)
{
	struct viewer *viewer = arg;

	(void)key;
	(void)ret_len;
	if (value != NULL) {
		viewer->found = true;
		viewer->use(viewer->arg, viewer->key, (size_t)key_len, value,
		    (size_t)value_len);
	}
	return TKRZW_REC_PROC_NOOP;
}

static enum engine_result
get_view(
    void *opaque, const void *key, size_t key_len, engine_use *use, void *arg)
{
	struct tkrzw *db = opaque;
	struct viewer viewer = {use, arg, key, false};

	if (!tkrzw_dbm_process(
		db->dbm, key, (int32_t)key_len, show, &viewer, false))
		return failed("process");
	return viewer.found ? ENGINE_OK : ENGINE_ABSENT;
}

static enum engine_result
get_many(void *opaque, const void *const *keys, size_t key_len,
    size_t key_count, engine_use *use, void *arg)
{
	struct tkrzw *db = opaque;
	TkrzwKeyProcPair *procs = calloc(key_count, sizeof *procs);
	struct viewer *viewers = calloc(key_count, sizeof *viewers);
	enum engine_result result = ENGINE_OK;
	size_t i;

	if (procs == NULL || viewers == NULL) {
		result = engine_fail("out of memory");
		goto out;
	}
	for (i = 0; i < key_count; i++) {
		viewers[i] = (struct viewer){use, arg, keys[i], false};
		procs[i] = (TkrzwKeyProcPair){
		    keys[i], (int32_t)key_len, show, &viewers[i]};
	}
	if (!tkrzw_dbm_process_multi(db->dbm, procs, (int32_t)key_count, false))
		result = failed("process_multi");
out:
	free(viewers);
	free(procs);
	return result;
}

static const char *
replace(void *arg, const char *key, int32_t key_len, const char *value,
    int32_t value_len, int32_t *ret_len)
{
	const struct engine_pair *pair = arg;

	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	*ret_len = (int32_t)pair->value_len;
	return pair->value;
}

static enum engine_result
put_batch(void *opaque, const struct engine_pair *pairs, size_t pair_count)
{
	struct tkrzw *db = opaque;
	TkrzwKeyProcPair *procs = calloc(pair_count, sizeof *procs);
	bool done;
	size_t i;

	if (procs == NULL)
		return engine_fail("out of memory");
	for (i = 0; i < pair_count; i++)
		procs[i] =
		    (TkrzwKeyProcPair){pairs[i].key, (int32_t)pairs[i].key_len,
			replace, (void *)(uintptr_t)&pairs[i]};
	done =
	    tkrzw_dbm_process_multi(db->dbm, procs, (int32_t)pair_count, true);
	free(procs);
	if (!done)
		return failed("process_multi");
	return db->sync_each ? sync_store(db) : ENGINE_OK;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	struct tkrzw *db = opaque;

	if (!tkrzw_dbm_remove(db->dbm, key, (int32_t)key_len)) {
		if (tkrzw_get_last_status_code() ==
		    TKRZW_STATUS_NOT_FOUND_ERROR)
			return ENGINE_ABSENT;
		return failed("remove");
	}
	return db->sync_each ? sync_store(db) : ENGINE_OK;
}

static enum engine_result
count(void *opaque, uint64_t *ret_count)
{
	struct tkrzw *db = opaque;
	int64_t n;

	n = tkrzw_dbm_count(db->dbm);
	if (n < 0)
		return failed("count");
	*ret_count = (uint64_t)n;
	return ENGINE_OK;
}

static enum engine_result
close_store(void *opaque)
{
	struct tkrzw *db = opaque;
	bool closed;

	closed = tkrzw_dbm_close(db->dbm);
	free(db);
	return closed ? ENGINE_OK : failed("close");
}

const struct engine engine_tkrzw = {
    .name = "tkrzw",
    .kind = ENGINE_PEER,
    .by_default = true,
    .tuning =
	"HashDBM, MemoryMapParallelFile, num_buckets = 2 * keys; "
	"sync: a hard synchronize per put; batches by ProcessMulti, whole to "
	"threads, not to a crash",
    .helper = "oneshot-tkrzw",
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
typedef int engine_tkrzw_is_not_built;
#endif
