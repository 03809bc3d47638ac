/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_golden.c - the format does not change by accident: a fixed script on
 * the simulated machine, where UUID, salts and secret are always the same,
 * writes the files in tests/data/v0 byte for byte; and those files read back
 * as what the script put in.
 *
 * "make goldens" writes them anew, which is right only as long as the format
 * is number 0, and never by the way.
 */
#include "config.h"

#include "files.h"
#include "os.h"
#include "simos.h"
#include "test.h"
#include "tmpdir.h"

#include <kvlog.h>
#include <string.h>

#define STORE "golden.kvlog"
#define SEED 20261120

static const char *const names[] = {
    "00000001.hint",
    "00000001.seg",
    "00000002.hint",
    "00000002.seg",
    "00000003.seg",
};

static const char *
golden_dir(void)
{
	static char path[1024];
	const char *src = getenv("top_srcdir");

	snprintf(
	    path, sizeof path, "%s/tests/data/v0", src != NULL ? src : ".");
	return path;
}

/* Two rollovers, all kinds of records that can be written today, values and
 * keys of odd lengths. */
static void
write_store(void *arg)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	uint8_t value[700];

	(void)arg;
	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	ck_assert_msg(
	    kvlog_open(STORE, &o, &db, &err) == KVLOG_OK, "%s", err.text);
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 20; i++) {
		char key[16];
		int len = snprintf(key, sizeof key, "key %u", i);

		ck_assert_int_eq(kvlog_put(db, key, (size_t)len, value,
				     35 * (size_t)i, NULL, NULL),
		    KVLOG_OK);
	}
	ck_assert_int_eq(kvlog_delete(db, "key 3", 5, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_put(db, "key 4", 5, "new", 3, NULL, NULL), KVLOG_OK);

	const struct kvlog_op ops[] = {
	    {KVLOG_OP_PUT, KVLOG_IF_ABSENT, 0, "\0\xff", 2, "binary", 6},
	    {KVLOG_OP_DELETE, KVLOG_IF_ANY, 0, "key 5", 5, NULL, 0},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "key 6", 5, "", 0},
	};
	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

START_TEST(script_writes_the_golden_files)
{
	const char *write_to = getenv("KVLOG_GOLDENS_WRITE");

	simos_init(SEED);
	ck_assert(!simos_run(write_store, NULL));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[64];
		const uint8_t *bytes;
		uint64_t size;
		size_t golden_len;
		uint8_t *golden;
		char *golden_path = files_path(
		    write_to != NULL ? write_to : golden_dir(), names[i]);

		snprintf(path, sizeof path, "%s/%s", STORE, names[i]);
		ck_assert_msg(simos_peek(path, &bytes, &size), "no %s", path);
		if (write_to != NULL)
			files_write(golden_path, bytes, (size_t)size);
		golden = files_read(golden_path, &golden_len);
		ck_assert_uint_eq(golden_len, size);
		for (size_t at = 0; at < golden_len; at++)
			ck_assert_msg(golden[at] == bytes[at],
			    "%s differs at offset %zu", names[i], at);
		free(golden);
		free(golden_path);
	}
	simos_fini();
}
END_TEST

START_TEST(golden_files_read_back)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;
	struct kvlog *db;
	char *dir = tmpdir_create(), value[700];
	uint64_t count;
	size_t len;
	struct tree tree;

	tree_read(golden_dir(), &tree);
	tree_write(dir, &tree);
	tree_fini(&tree);
	/* Once as it is, once more after a writer has been at it. */
	for (unsigned round = 0; round < 2; round++) {
		o.flags = round == 0 ? KVLOG_OPEN_READONLY : 0;
		ck_assert_msg(
		    kvlog_open(dir, &o, &db, &err) == KVLOG_OK, "%s", err.text);
		ck_assert_int_eq(kvlog_count(db, &count), KVLOG_OK);
		ck_assert_uint_eq(count, 19);
		ck_assert_int_eq(kvlog_exists(db, "key 3", 5), KVLOG_NOTFOUND);
		ck_assert_int_eq(kvlog_exists(db, "key 5", 5), KVLOG_NOTFOUND);
		ck_assert_int_eq(
		    kvlog_get(db, "key 4", 5, value, sizeof value, &len),
		    KVLOG_OK);
		ck_assert_uint_eq(len, 3);
		ck_assert_int_eq(memcmp(value, "new", 3), 0);
		ck_assert_int_eq(
		    kvlog_get(db, "\0\xff", 2, value, sizeof value, &len),
		    KVLOG_OK);
		ck_assert_uint_eq(len, 6);
		ck_assert_int_eq(
		    kvlog_get(db, "key 6", 5, value, sizeof value, &len),
		    KVLOG_OK);
		ck_assert_uint_eq(len, 0);
		ck_assert_int_eq(
		    kvlog_get(db, "key 19", 6, value, sizeof value, &len),
		    KVLOG_OK);
		ck_assert_uint_eq(len, 35 * 19);
		for (size_t i = 0; i < len; i++)
			ck_assert_uint_eq((uint8_t)value[i], (uint8_t)(i * 7));
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	}
	tmpdir_remove(dir);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("golden");
	TCase *tc = tcase_create("golden");

	tcase_add_test(tc, script_writes_the_golden_files);
	tcase_add_test(tc, golden_files_read_back);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
