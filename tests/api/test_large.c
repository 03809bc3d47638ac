/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_large.c - a value that takes hundreds of megabytes, on disk and in a
 * segment of its own.  Needs about 700 MiB of disk and 1 GiB of memory;
 * KVLOG_LARGE=0 leaves it out.
 */
#include "config.h"

#include "api.h"

#include <sys/statvfs.h>

#define LARGE ((size_t)300 << 20)

static bool
room_for(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize > 3 * (uint64_t)LARGE;
}

static void
fill(uint8_t *p, size_t len)
{
	uint64_t word = 1;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		word = word * UINT64_C(6364136223846793005) + 1;
		memcpy(p + i, &word, 8);
	}
}

static void
check_large(struct kvlog *db, const uint8_t *value)
{
	struct kvlog_iter *iter = NULL;
	struct kvlog_info info;
	void *got = NULL;
	size_t len = 0;

	ck_assert_int_eq(kvlog_get_alloc(db, "large", 5, &got, &len), KVLOG_OK);
	ck_assert_uint_eq(len, LARGE);
	ck_assert(memcmp(got, value, LARGE) == 0);
	kvlog_free(got);
	ck_assert_int_eq(kvlog_lookup(db, "large", 5, &info), KVLOG_OK);
	ck_assert_uint_eq(info.value_len, LARGE);
	ck_assert_uint_eq(info.segment, 2);
	api_expect(db, "before", "1");
	api_expect(db, "after", "2");
	ck_assert_uint_eq(api_count(db), 3);
	ck_assert_int_eq(kvlog_iter_create(db, "l", 1, &iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert(memcmp(kvlog_iter_value(iter, &len), value, LARGE) == 0);
	kvlog_iter_destroy(iter);
}

START_TEST(a_value_of_300_mib)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	uint8_t *value = malloc(LARGE);
	struct kvlog *db;

	ck_assert_ptr_nonnull(value);
	fill(value, LARGE);
	o.flags = KVLOG_OPEN_CREATE;
	db = api_open_with(api_store, &o);
	api_put(db, "before", "1");
	ck_assert_int_eq(
	    kvlog_put(db, "large", 5, value, LARGE, NULL, NULL), KVLOG_OK);
	api_put(db, "after", "2");
	ck_assert_uint_ge(api_stats(db).file_bytes, LARGE);
	check_large(db, value);
	api_close(db);

	o.flags = 0;
	db = api_open_with(api_store, &o);
	check_large(db, value);
	api_close(db);

	/* Read anew, through windows. */
	ck_assert_uint_gt(files_remove_hints(api_store), 0);
	o.flags = KVLOG_OPEN_READONLY;
	db = api_open_with(api_store, &o);
	check_large(db, value);
	api_close(db);
	free(value);
}
END_TEST

int
main(void)
{
	const char *wanted = getenv("KVLOG_LARGE");
	Suite *suite = suite_create("large");
	TCase *tc = api_case(suite, "large");
	const char *tmp = getenv("TMPDIR");

	if (tmp == NULL)
		tmp = "/tmp";
	if (wanted != NULL && strcmp(wanted, "0") == 0) {
		puts("SKIP: KVLOG_LARGE=0");
		return 77;
	}
	if (!room_for(tmp)) {
		printf("SKIP: less than 900 MiB free in %s\n", tmp);
		return 77;
	}
	tcase_set_timeout(tc, 600);
	tcase_add_test(tc, a_value_of_300_mib);
	return test_main(suite);
}
