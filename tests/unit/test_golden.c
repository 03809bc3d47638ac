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

#include "bytes.h"
#include "hint.h"
#include "segtest.h"
#include "simos.h"

#include <kvlog.h>

#define STORE "golden.kvlog"
#define SEED 20261120

static const char *const names[] = {
    "00000001-00000002.4608-8088.hint",
    "00000001.seg",
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
	    {KVLOG_OP_PUT, KVLOG_IF_ABSENT, 0, "\0\xff", 2, "binary", 6, 0,
		NULL},
	    {KVLOG_OP_DELETE, KVLOG_IF_ANY, 0, "key 5", 5, NULL, 0, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "key 6", 5, "", 0, 0, NULL},
	};
	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

/* bytes are those of a golden file, or become it. */
static void
compare(const char *name, const uint8_t *bytes, size_t len)
{
	const char *write_to = getenv("KVLOG_GOLDENS_WRITE");
	char *path =
	    files_path(write_to != NULL ? write_to : golden_dir(), name);
	size_t golden_len;
	uint8_t *golden;

	if (write_to != NULL)
		files_write(path, bytes, len);
	golden = files_read(path, &golden_len);
	ck_assert_uint_eq(golden_len, len);
	for (size_t at = 0; at < golden_len; at++)
		ck_assert_msg(golden[at] == bytes[at],
		    "%s differs at offset %zu", name, at);
	free(golden);
	free(path);
}

START_TEST(script_writes_the_golden_files)
{
	simos_init(SEED);
	ck_assert(!simos_run(write_store, NULL));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[64];
		const uint8_t *bytes;
		uint64_t size;

		snprintf(path, sizeof path, "%s/%s", STORE, names[i]);
		ck_assert_msg(simos_peek(path, &bytes, &size), "no %s", path);
		compare(names[i], bytes, (size_t)size);
	}
	simos_fini();
}
END_TEST

/*
 * What that script is too small for: a hint with fences, near and far, over
 * two segments, with buckets, tombstones and expiry.  Beside the store's files,
 * as it is not of that store.
 */
START_TEST(a_tree_is_the_golden_one)
{
	struct hint_source sources[2] = {{0}};
	struct segment *segs[2];
	struct hint *hint;
	uint8_t key[300];

	simos_init(SEED);
	ck_assert_int_eq(os->mkdir(STORE, 0755), 0);
	ck_assert_int_eq(dir_open(&segtest_dir, STORE, 0644, NULL), KVLOG_OK);
	memset(key, 'k', sizeof key);
	for (unsigned i = 0; i < 2; i++)
		segs[i] = segtest_create(i + 1, SEGTEST_SIZE);
	for (unsigned i = 0; i < 1500; i++) {
		struct record rec = {.type = RECORD_PUT,
		    .key_len = (uint16_t)(i < 900 ? 300 : 4),
		    .seq = i + 1,
		    .key = key};

		put_u32(key + rec.key_len - 4, i * 2654435761u);
		if (i % 7 == 0)
			rec.type = RECORD_DELETE;
		if (i % 5 == 0) {
			rec.flags |= RECORD_BUCKET;
			rec.bucket_seq = 1 + i % 3;
			rec.bucket_ordinal = i % 2;
		}
		if (i % 11 == 0) {
			rec.flags |= RECORD_EXPIRY;
			rec.expiry_ms = i;
		}
		(void)segtest_append(segs[i % 2], &rec);
	}
	for (unsigned i = 0; i < 2; i++)
		sources[i] = (struct hint_source){.seg = segs[i],
		    .from = SEGMENT_DATA_OFF,
		    .to = segment_end(segs[i])};
	ck_assert_int_eq(
	    hint_build(sources, 2, UINT64_MAX, &hint, NULL), KVLOG_OK);
	ck_assert_uint_gt(hint->block_count, hint->leaf_count);
	ck_assert_uint_gt(hint->far_len, 0);
	compare("../v0.hint", hint->data, (size_t)hint->len);
	hint_unref(hint);
	for (unsigned i = 0; i < 2; i++)
		segment_close(segs[i]);
	dir_close(&segtest_dir);
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
	tcase_add_test(tc, a_tree_is_the_golden_one);
	tcase_add_test(tc, golden_files_read_back);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
