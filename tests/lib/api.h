/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api.h - shorthands for tests of the public interface: keys and values as
 * C strings, results asserted.
 */
#ifndef API_H
#define API_H

#include <kvlog.h>

#include "files.h"
#include "test.h"
#include "tmpdir.h"

#include <string.h>

#define API_SMALL 8192u /* bytes in a segment: the smallest there are */

/* How keys are found, where a test says nothing else. */
static enum kvlog_index_mode api_index = KVLOG_INDEX_MEMORY;

/* A checked fixture: a directory, and the path of a store to be in it. */
static char *api_base, *api_store;

static inline void
api_setup(void)
{
	api_base = tmpdir_create();
	api_store = files_path(api_base, "store");
}

static inline void
api_teardown(void)
{
	free(api_store);
	tmpdir_remove(api_base);
}

static inline TCase *
api_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, api_setup, api_teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(suite, tc);
	return tc;
}

/* Options that make many small segments fast. */
static inline struct kvlog_options
api_options(unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = flags;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = API_SMALL;
	o.timeout_ms = 0;
	o.index_mode = api_index;
	return o;
}

/* The main() of tests that must come out the same in both index modes
 * (INV-11). */
static inline int
api_main(Suite *(*make_suite)(void))
{
	int rc = EXIT_SUCCESS;

	for (unsigned hints = 0; hints < 2; hints++) {
		api_index = hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
		printf("index in %s:\n", hints ? "hints" : "memory");
		(void)fflush(stdout);
		if (test_main(make_suite()) != EXIT_SUCCESS)
			rc = EXIT_FAILURE;
	}
	return rc;
}

static inline struct kvlog *
api_open_with(const char *path, const struct kvlog_options *o)
{
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	enum kvlog_status st = kvlog_open(path, o, &db, &err);

	ck_assert_msg(
	    st == KVLOG_OK, "open %s: %d %s", path, (int)st, err.text);
	ck_assert_ptr_nonnull(db);
	return db;
}

/* With small segments, for writing unless flags say otherwise. */
static inline struct kvlog *
api_open(const char *path, unsigned flags)
{
	struct kvlog_options o = api_options(flags);

	return api_open_with(path, &o);
}

static inline void
api_close(struct kvlog *db)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = kvlog_close(db, &err);

	ck_assert_msg(st == KVLOG_OK, "close: %d %s", (int)st, err.text);
}

static inline struct kvlog_receipt
api_put(struct kvlog *db, const char *key, const char *value)
{
	struct kvlog_error err = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0};
	enum kvlog_status st;

	how.err = &err;
	st = kvlog_put(
	    db, key, strlen(key), value, strlen(value), &how, &receipt);
	ck_assert_msg(st == KVLOG_OK, "put %s: %d %s", key, (int)st, err.text);
	return receipt;
}

static inline void
api_delete(struct kvlog *db, const char *key)
{
	ck_assert_int_eq(
	    kvlog_delete(db, key, strlen(key), NULL, NULL), KVLOG_OK);
}

/* A text of all keys and values, in the order of keys; free it. */
static inline char *
api_text(struct kvlog *db)
{
	struct kvlog_iter *iter;
	char *text;
	size_t size = 0, len;
	FILE *stream = open_memstream(&text, &size);

	ck_assert_int_eq(kvlog_iter_create(db, NULL, 0, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		const void *p = kvlog_iter_key(iter, &len);

		(void)fwrite(p, 1, len, stream);
		p = kvlog_iter_value(iter, &len);
		(void)fwrite(p, 1, len, stream);
	}
	kvlog_iter_destroy(iter);
	(void)fclose(stream);
	return text;
}

/* value NULL: there is none. */
static inline void
api_expect(struct kvlog *db, const char *key, const char *value)
{
	void *got = NULL;
	size_t len = 0;
	enum kvlog_status st =
	    kvlog_get_alloc(db, key, strlen(key), &got, &len);

	if (value == NULL) {
		ck_assert_msg(st == KVLOG_NOTFOUND, "get %s: %d", key, (int)st);
		ck_assert_int_eq(
		    kvlog_exists(db, key, strlen(key)), KVLOG_NOTFOUND);
		return;
	}
	ck_assert_msg(st == KVLOG_OK, "get %s: %d", key, (int)st);
	ck_assert_uint_eq(len, strlen(value));
	ck_assert_mem_eq(got, value, len);
	kvlog_free(got);
	ck_assert_int_eq(kvlog_exists(db, key, strlen(key)), KVLOG_OK);
}

static inline uint64_t
api_count(struct kvlog *db)
{
	uint64_t count = UINT64_MAX;

	ck_assert_int_eq(kvlog_count(db, &count), KVLOG_OK);
	return count;
}

static inline struct kvlog_stats
api_stats(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
	return stats;
}

/* Bytes of a record in its file. */
static inline uint64_t
api_record_size(size_t key_len, size_t value_len)
{
	return (28 + (uint64_t)key_len + value_len + 7) / 8 * 8;
}

/* The keys of the rest of a walk, which is ended then, each followed by a
 * space; for short ones. */
static inline void
api_walk(struct kvlog_iter *iter, bool back, char *buf, size_t size)
{
	size_t used = 0;
	enum kvlog_status st;

	while ((st = back ? kvlog_iter_prev(iter) : kvlog_iter_next(iter)) ==
	       KVLOG_OK) {
		size_t len = 0;
		const char *key = kvlog_iter_key(iter, &len);

		ck_assert_uint_lt(used + len + 1, size);
		memcpy(buf + used, key, len);
		used += len;
		buf[used++] = ' ';
	}
	ck_assert_int_eq(st, KVLOG_NOTFOUND);
	buf[used] = '\0';
	kvlog_iter_destroy(iter);
}

static inline void
api_expect_walk(struct kvlog_iter *iter, bool back, const char *keys)
{
	char got[256];

	api_walk(iter, back, got, sizeof got);
	ck_assert_str_eq(got, keys);
}

/* All keys in order. */
static inline void
api_keys(struct kvlog *db, const char *prefix, char *buf, size_t size)
{
	struct kvlog_iter *iter = NULL;

	ck_assert_int_eq(
	    kvlog_iter_create(db, prefix, strlen(prefix), &iter), KVLOG_OK);
	api_walk(iter, false, buf, size);
}

#endif
