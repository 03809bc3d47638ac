/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine_sqlite.c - SQLite as a table of keys and values.
 *
 * WITHOUT ROWID, which its manual advises for such a table if rows are below
 * a twentieth of a page; prepared statements; WAL mode; memory-mapped reads; a
 * page cache and a checkpoint interval that suit the data.
 *
 * Async: synchronous=OFF, with which a commit is written to the WAL and
 * survives a killed process, says its manual, but not a crash of the machine.
 * Sync: synchronous=FULL, which syncs the WAL at each commit; NORMAL does so
 * at checkpoints only.
 *
 * sqlite has the file to itself (locking_mode=EXCLUSIVE), which its manual
 * names as the way to do without locks and shared memory, and one connection,
 * which threads use in turns.  sqlite-shared lets other connections in.  There
 * all threads write through one, in turns, as two would do anyway, but by
 * sleeping; and read each through its own.
 */
#include "config.h"

#ifdef HAVE_SQLITE

#include "engine.h"

#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_LEN 4096u
#define BUSY_MS 60000
#define CHECKPOINT_PAGES 50000 /* of the WAL */

enum statement { WRITE, READ, COMMIT, PUT, GET, DELETE, SCAN, STATEMENTS };

static const char *const statement_texts[STATEMENTS] = {
    [WRITE] = "BEGIN IMMEDIATE",
    [READ] = "BEGIN",
    [COMMIT] = "COMMIT",
    [PUT] = "REPLACE INTO records VALUES (?, ?)",
    [GET] = "SELECT value FROM records WHERE key = ?",
    [DELETE] = "DELETE FROM records WHERE key = ?",
    [SCAN] = "SELECT key, value FROM records WHERE key >= ? ORDER BY key",
};

struct connection {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

struct sqlite {
	char path[4096];
	struct engine_config config;
	bool shared;
	pthread_t opener;
	pthread_mutex_t lock; /* of main */
	struct connection main;
};

/* Of a thread that did not open a shared store, once it has read. */
static _Thread_local struct connection own;

static enum engine_result
failed(const char *what, struct connection *con)
{
	return engine_fail("%s: %s", what, sqlite3_errmsg(con->db));
}

static const char *
version(void)
{
	return sqlite3_libversion();
}

static enum engine_result
execute(struct connection *con, const char *text)
{
	if (sqlite3_exec(con->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return failed(text, con);
	return ENGINE_OK;
}

static enum engine_result
connection_close(struct connection *con)
{
	size_t i;

	for (i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(con->statements[i]);
	if (sqlite3_close(con->db) != SQLITE_OK)
		return failed("close", con);
	memset(con, 0, sizeof *con);
	return ENGINE_OK;
}

/* Bytes of the table, roughly. */
static uint64_t
data_size(const struct engine_config *config)
{
	return engine_data_size(config, 16) * 3 / 2;
}

static enum engine_result
configure(struct connection *con, const struct sqlite *db)
{
	const struct engine_config *config = &db->config;
	uint64_t mapped = data_size(config) * 2 + (UINT64_C(64) << 20);
	uint64_t cached = data_size(config) / 1024 + 16384;
	char text[512];

	/* In KiB, of memory that is taken when it is used. */
	if (cached > UINT64_C(1) << 20)
		cached = UINT64_C(1) << 20;
	snprintf(text, sizeof text,
	    "PRAGMA page_size=%u;"
	    "PRAGMA locking_mode=%s;"
	    "PRAGMA journal_mode=WAL;"
	    "PRAGMA synchronous=%s;"
	    "PRAGMA mmap_size=%" PRIu64 ";"
	    "PRAGMA cache_size=-%" PRIu64 ";"
	    "PRAGMA wal_autocheckpoint=%d",
	    PAGE_LEN, db->shared ? "NORMAL" : "EXCLUSIVE",
	    config->mode == ENGINE_SYNC ? "FULL" : "OFF", mapped, cached,
	    CHECKPOINT_PAGES);
	return execute(con, text);
}

static enum engine_result
make_table(struct connection *con, const struct engine_config *config)
{
	bool small = config->key_len + config->value_len <= PAGE_LEN / 20;
	char text[128];

	snprintf(text, sizeof text,
	    "CREATE TABLE records (key BLOB PRIMARY KEY, value BLOB)%s",
	    small ? " WITHOUT ROWID" : "");
	return execute(con, text);
}

static enum engine_result
prepare(struct connection *con)
{
	size_t i;

	for (i = 0; i < STATEMENTS; i++) {
		if (sqlite3_prepare_v3(con->db, statement_texts[i], -1,
			SQLITE_PREPARE_PERSISTENT, &con->statements[i],
			NULL) != SQLITE_OK)
			return failed(statement_texts[i], con);
	}
	return ENGINE_OK;
}

static enum engine_result
connection_open(
    struct connection *con, const struct sqlite *db, enum engine_access access)
{
	int flags = SQLITE_OPEN_NOMUTEX;

	/* Who has the file to himself makes its WAL, too. */
	flags |= access == ENGINE_READ && db->shared ? SQLITE_OPEN_READONLY
						     : SQLITE_OPEN_READWRITE;
	if (access == ENGINE_CREATE)
		flags |= SQLITE_OPEN_CREATE;
	if (sqlite3_open_v2(db->path, &con->db, flags, NULL) != SQLITE_OK)
		return failed("open", con);
	sqlite3_busy_timeout(con->db, BUSY_MS);
	if (configure(con, db) != ENGINE_OK)
		return ENGINE_FAILED;
	if (access == ENGINE_CREATE &&
	    make_table(con, &db->config) != ENGINE_OK)
		return ENGINE_FAILED;
	return prepare(con);
}

static void *
open_store(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct sqlite *db = calloc(1, sizeof *db);

	if (db == NULL) {
		engine_fail("out of memory");
		return NULL;
	}
	db->shared = engine->shares;
	snprintf(db->path, sizeof db->path, "%s/bench.sqlite", dir);
	db->config = *config;
	db->opener = pthread_self();
	pthread_mutex_init(&db->lock, NULL);
	if (connection_open(&db->main, db, config->access) == ENGINE_OK)
		return db;
	connection_close(&db->main);
	free(db);
	return NULL;
}

/* The connection that this thread reads through, until it is let go; NULL
 * after engine_fail(). */
static struct connection *
reader(struct sqlite *db)
{
	if (!db->shared || pthread_equal(pthread_self(), db->opener)) {
		pthread_mutex_lock(&db->lock);
		return &db->main;
	}
	if (own.db == NULL &&
	    connection_open(&own, db, ENGINE_READ) != ENGINE_OK) {
		connection_close(&own);
		return NULL;
	}
	return &own;
}

static void
let_go(struct sqlite *db, struct connection *con)
{
	if (con == &db->main)
		pthread_mutex_unlock(&db->lock);
}

static struct connection *
writer(struct sqlite *db)
{
	pthread_mutex_lock(&db->lock);
	return &db->main;
}

/* SQLITE_DONE, SQLITE_ROW or a failure. */
static int
step_with(sqlite3_stmt *statement, const void *key, size_t key_len)
{
	/* NULL would be no key at all. */
	sqlite3_bind_blob64(
	    statement, 1, key_len == 0 ? "" : key, key_len, SQLITE_STATIC);
	return sqlite3_step(statement);
}

static enum engine_result
run(struct connection *con, enum statement which)
{
	sqlite3_stmt *statement = con->statements[which];

	sqlite3_step(statement);
	if (sqlite3_reset(statement) != SQLITE_OK)
		return failed(statement_texts[which], con);
	return ENGINE_OK;
}

static enum engine_result
put_with(struct connection *con, const void *key, size_t key_len,
    const void *value, size_t value_len)
{
	sqlite3_stmt *statement = con->statements[PUT];

	sqlite3_bind_blob64(statement, 2, value_len == 0 ? "" : value,
	    value_len, SQLITE_STATIC);
	step_with(statement, key, key_len);
	if (sqlite3_reset(statement) != SQLITE_OK)
		return failed("put", con);
	return ENGINE_OK;
}

static enum engine_result
put(void *opaque, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct connection *con = writer(opaque);
	enum engine_result result;

	result = put_with(con, key, key_len, value, value_len);
	let_go(opaque, con);
	return result;
}

static enum engine_result
put_batch(void *opaque, const struct engine_pair *pairs, size_t pair_count)
{
	struct connection *con = writer(opaque);
	enum engine_result result;
	size_t i;

	result = run(con, WRITE);
	for (i = 0; i < pair_count && result == ENGINE_OK; i++)
		result = put_with(con, pairs[i].key, pairs[i].key_len,
		    pairs[i].value, pairs[i].value_len);
	if (result == ENGINE_OK)
		result = run(con, COMMIT);
	if (result != ENGINE_OK && !sqlite3_get_autocommit(con->db))
		sqlite3_exec(con->db, "ROLLBACK", NULL, NULL, NULL);
	let_go(opaque, con);
	return result;
}

/* Have use() called for key's value, where it lies. */
static enum engine_result
show(struct connection *con, const void *key, size_t key_len, engine_use *use,
    void *arg)
{
	sqlite3_stmt *statement = con->statements[GET];
	int code;

	code = step_with(statement, key, key_len);
	if (code == SQLITE_ROW)
		use(arg, key, key_len, sqlite3_column_blob(statement, 0),
		    (size_t)sqlite3_column_bytes(statement, 0));
	if (sqlite3_reset(statement) != SQLITE_OK)
		return failed("get", con);
	return code == SQLITE_ROW ? ENGINE_OK : ENGINE_ABSENT;
}

static enum engine_result
get_view(
    void *opaque, const void *key, size_t key_len, engine_use *use, void *arg)
{
	struct connection *con = reader(opaque);
	enum engine_result result;

	if (con == NULL)
		return ENGINE_FAILED;
	result = show(con, key, key_len, use, arg);
	let_go(opaque, con);
	return result;
}

/* Where a get wants its value. */
struct wanted {
	void *buf;
	size_t cap, len;
};

static bool
copy_out(void *arg, const void *key, size_t key_len, const void *value,
    size_t value_len)
{
	struct wanted *wanted = arg;

	(void)key;
	(void)key_len;
	wanted->len = value_len;
	if (value_len > 0)
		memcpy(wanted->buf, value,
		    value_len < wanted->cap ? value_len : wanted->cap);
	return true;
}

static enum engine_result
get(void *opaque, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	struct wanted wanted = {buf, cap, 0};
	enum engine_result result;

	result = get_view(opaque, key, key_len, copy_out, &wanted);
	if (result == ENGINE_OK)
		*ret_len = wanted.len;
	return result;
}

static enum engine_result
get_many(void *opaque, const void *const *keys, size_t key_len,
    size_t key_count, engine_use *use, void *arg)
{
	struct connection *con = reader(opaque);
	enum engine_result result;
	size_t i;

	if (con == NULL)
		return ENGINE_FAILED;
	result = run(con, READ);
	for (i = 0; i < key_count && result != ENGINE_FAILED; i++)
		result = show(con, keys[i], key_len, use, arg);
	if (result != ENGINE_FAILED)
		result = run(con, COMMIT);
	let_go(opaque, con);
	return result;
}

static enum engine_result
remove_key(void *opaque, const void *key, size_t key_len)
{
	struct connection *con = writer(opaque);
	sqlite3_stmt *statement = con->statements[DELETE];
	enum engine_result result = ENGINE_OK;

	step_with(statement, key, key_len);
	if (sqlite3_reset(statement) != SQLITE_OK)
		result = failed("delete", con);
	else if (sqlite3_changes(con->db) == 0)
		result = ENGINE_ABSENT;
	let_go(opaque, con);
	return result;
}

static enum engine_result
scan(
    void *opaque, const void *from, size_t from_len, engine_use *use, void *arg)
{
	struct connection *con = reader(opaque);
	enum engine_result result = ENGINE_OK;
	sqlite3_stmt *statement;
	int code;

	if (con == NULL)
		return ENGINE_FAILED;
	statement = con->statements[SCAN];
	code = step_with(statement, from, from_len);
	while (code == SQLITE_ROW &&
	       use(arg, sqlite3_column_blob(statement, 0),
		   (size_t)sqlite3_column_bytes(statement, 0),
		   sqlite3_column_blob(statement, 1),
		   (size_t)sqlite3_column_bytes(statement, 1)))
		code = sqlite3_step(statement);
	if (sqlite3_reset(statement) != SQLITE_OK)
		result = failed("scan", con);
	let_go(opaque, con);
	return result;
}

/* A durable commit, and a durable checkpoint of it and all before. */
static enum engine_result
sync_store(void *opaque)
{
	struct connection *con = writer(opaque);
	enum engine_result result;

	result = execute(con, "PRAGMA synchronous=FULL;"
			      "PRAGMA user_version=1;"
			      "PRAGMA wal_checkpoint(TRUNCATE)");
	if (result == ENGINE_OK &&
	    ((struct sqlite *)opaque)->config.mode == ENGINE_ASYNC)
		result = execute(con, "PRAGMA synchronous=OFF");
	let_go(opaque, con);
	return result;
}

static enum engine_result
count(void *opaque, uint64_t *ret_count)
{
	struct connection *con = reader(opaque);
	enum engine_result result = ENGINE_OK;
	sqlite3_stmt *statement;

	if (con == NULL)
		return ENGINE_FAILED;
	sqlite3_prepare_v2(
	    con->db, "SELECT count(*) FROM records", -1, &statement, NULL);
	if (sqlite3_step(statement) == SQLITE_ROW)
		*ret_count = (uint64_t)sqlite3_column_int64(statement, 0);
	if (sqlite3_finalize(statement) != SQLITE_OK)
		result = failed("count", con);
	let_go(opaque, con);
	return result;
}

static void
leave(void *opaque)
{
	(void)opaque;
	connection_close(&own);
}

static enum engine_result
close_store(void *opaque)
{
	struct sqlite *db = opaque;
	enum engine_result result;

	leave(db);
	result = connection_close(&db->main);
	pthread_mutex_destroy(&db->lock);
	free(db);
	return result;
}

/* By name, whether it runs unasked, whether others are let in, how it is
 * opened. */
#define ENGINE_SQLITE(engine_name, unasked, is_shared, text)                   \
	{                                                                      \
		.name = engine_name, .kind = ENGINE_PEER,                      \
		.by_default = unasked, .shares = is_shared, .tuning = text,    \
		.helper = "oneshot-sqlite", .version = version,                \
		.open = open_store, .put = put, .get = get,                    \
		.delete = remove_key, .put_batch = put_batch,                  \
		.get_many = get_many, .get_view = get_view, .scan = scan,      \
		.sync = sync_store, .leave = leave, .count = count,            \
		.close = close_store,                                          \
	}

const struct engine engine_sqlite = ENGINE_SQLITE("sqlite", true, false,
    "table without rowid, prepared statements, WAL, checkpoint every 50000 "
    "pages, mapped, cache for all data up to 1 GiB, exclusive locking, threads "
    "take turns; async: synchronous=OFF; sync: FULL");

const struct engine engine_sqlite_shared =
    ENGINE_SQLITE("sqlite-shared", false, true,
	"as sqlite, but others are let in, and threads read by connections of "
	"their own");

#else
typedef int engine_sqlite_is_not_built;
#endif
