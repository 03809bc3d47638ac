/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.h - what kvlog-bench asks of a store, so that every store is driven
 * by the same loop.
 *
 * A handle is used by any number of threads of one process, one operation per
 * call.  A failing call describes itself with engine_fail(); the text is of
 * the thread, like errno.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum engine_result { ENGINE_OK = 0, ENGINE_ABSENT = 1, ENGINE_FAILED = 2 };

enum engine_kind {
	ENGINE_NULL, /* does nothing: what the loop itself costs */
	ENGINE_OURS, /* compared with the best peer */
	ENGINE_PEER
};

/* What a write that returned survives. */
enum engine_mode {
	ENGINE_ASYNC, /* a killed process */
	ENGINE_SYNC   /* a crash of the machine */
};

/* What a store is opened for. */
enum engine_access {
	ENGINE_CREATE, /* there is none yet */
	ENGINE_WRITE,
	ENGINE_READ
};

/* A key and its value. */
struct engine_pair {
	const void *key, *value;
	size_t key_len, value_len;
};

/* Given a record or a value, which is good until it returns; false: no more. */
typedef bool engine_use(void *arg, const void *key, size_t key_len,
    const void *value, size_t value_len);

/* What an engine is told about the work, to tune itself as its manual says. */
struct engine_config {
	enum engine_mode mode;
	enum engine_access access;
	bool one_shot;      /* for one operation: opening is what counts */
	bool hoard;         /* what is replaced stays until compact() */
	uint64_t key_count; /* records the store will hold */
	size_t key_len;     /* bytes in every key */
	size_t value_len;   /* bytes in every value */
};

/* engine_data_size - bytes of all records, each with so many more. */
static inline uint64_t
engine_data_size(const struct engine_config *config, size_t overhead)
{
	return config->key_count *
	       (config->key_len + config->value_len + overhead);
}

struct engine {
	const char *name;
	enum engine_kind kind;
	bool by_default;     /* runs without being asked for by name */
	const char *tuning;  /* how it is opened, for the report */
	const char *helper;  /* program made of oneshot.c and this engine; NULL:
				nothing but a process */
	const char *command; /* program for users that knows "--quiet get
				STORE KEY" and "--quiet put STORE KEY VALUE";
				or NULL */
	const char *store;   /* name of the store that command finds in dir */
	const void *variant; /* which of its adapter's engines this is */
	bool shares;         /* processes read while others write */
	bool blind_deletes;  /* a delete does not tell whether the key had a
				value, as to look would cost a read */
	const struct engine *base; /* what else it is compared with; or NULL */

	/* version - of the library in use. */
	const char *(*version)(void);

	/*
	 * open - open the store in the existing directory dir, or make one
	 * there; engine is this struct.  Returns a handle, or NULL after
	 * engine_fail().
	 */
	void *(*open)(const struct engine *engine, const char *dir,
	    const struct engine_config *config);

	/* put - store a value, durable on return if opened ENGINE_SYNC. */
	enum engine_result (*put)(void *db, const void *key, size_t key_len,
	    const void *value, size_t value_len);

	/*
	 * get - copy the value into buf, whose cap bytes are enough.
	 * ENGINE_ABSENT if the key has none; then *ret_len is untouched.
	 */
	enum engine_result (*get)(void *db, const void *key, size_t key_len,
	    void *buf, size_t cap, size_t *ret_len);

	/* delete - ENGINE_ABSENT if the key had no value and the engine tells.
	 */
	enum engine_result (*delete)(void *db, const void *key, size_t key_len);

	/*
	 * The rest may be NULL: the engine has nothing of the kind.
	 *
	 * put_batch - store all of them, all or nothing.
	 */
	enum engine_result (*put_batch)(
	    void *db, const struct engine_pair *pairs, size_t count);

	/*
	 * get_many - look the keys up in one call and have use() called for
	 * each one that has a value, in any order, with the key's own place.
	 */
	enum engine_result (*get_many)(void *db, const void *const *keys,
	    size_t key_len, size_t count, engine_use *use, void *arg);

	/* get_view - as get, but use() sees the value where the store has it.
	 */
	enum engine_result (*get_view)(void *db, const void *key,
	    size_t key_len, engine_use *use, void *arg);

	/*
	 * scan - have use() called for the records from the first key that is
	 * not below from on (from_len 0: from the first of all), in order of
	 * keys, until it says false or there are no more.
	 */
	enum engine_result (*scan)(void *db, const void *from, size_t from_len,
	    engine_use *use, void *arg);

	/* compact - give back the space of what was replaced; how many bytes
	 * were written for that. */
	enum engine_result (*compact)(void *db, uint64_t *ret_bytes);

	/* sync - make everything written durable. */
	enum engine_result (*sync)(void *db);

	/* leave - this thread will not use db again; NULL: nothing to do. */
	void (*leave)(void *db);

	/* count - the number of keys; NULL if the engine does not know it. */
	enum engine_result (*count)(void *db, uint64_t *ret_count);

	/* close - the handle is gone whatever the result. */
	enum engine_result (*close)(void *db);
};

/*
 * The engines of this program, ended by NULL, in the order of the report:
 * all, or those that ENGINE_TABLE names.
 */
extern const struct engine *const engine_table[];

extern const struct engine engine_null;
extern const struct engine engine_kvlog;
extern const struct engine engine_kvlog_hints;
extern const struct engine engine_kvlog_nocompact;
extern const struct engine engine_kvlog_noverify;
extern const struct engine engine_kvlog_unshared;
extern const struct engine engine_lmdb;
extern const struct engine engine_lmdb_pwrite;
extern const struct engine engine_tkrzw;
extern const struct engine engine_kyotocabinet;
extern const struct engine engine_leveldb;
extern const struct engine engine_rocksdb;
extern const struct engine engine_sqlite;
extern const struct engine engine_sqlite_shared;
extern const struct engine engine_bdb;
extern const struct engine engine_bdb_shared;
extern const struct engine engine_gdbm;
extern const struct engine engine_wiredtiger;

/* engine_find - the engine of that name, or NULL. */
const struct engine *engine_find(const char *name);

/* engine_lack - why there is no engine of that name, and what to do. */
const char *engine_lack(const char *name);

/* engine_fail - note why a call fails; always returns ENGINE_FAILED. */
enum engine_result engine_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* engine_failure - the last text given to engine_fail(). */
const char *engine_failure(void);

#endif /* BENCH_ENGINE_H */
