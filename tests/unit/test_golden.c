/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_golden.c - the format does not change: fixed scripts on the simulated
 * machine, where clock, UUID, salts and secret are always the same, write the
 * stores in tests/data/v1 byte for byte, and those stores read back as what
 * the scripts put in.
 *
 *     log         commits of all kinds of records, in three buckets, over
 *                 several segments, closed cleanly
 *     crash       a torn end cut off, and a new range of numbers behind it
 *     compacted   an output in parts and one before it; a bucket swept, a
 *                 tombstone kept, a record that became one as it had expired
 *     copied      what a failed sync left in doubt, copied in commit order,
 *                 and a new range of numbers behind that
 *     tree.hint   a hint over two segments with fences near and far, which
 *                 the stores are too small for
 *     *.txt       the contents of the store of that name, see list()
 *
 * Of kvlog.lock only the end note is kept; the rest is no part of the format.
 *
 * The format is frozen: nothing in tests/data is ever edited.  "make goldens"
 * writes what is missing there, for a new script, and nothing else.  Should
 * the library come to choose otherwise where the format leaves a choice, the
 * script that does not write its store any more is to go, and the store stays.
 */
#include "config.h"

#include "bytes.h"
#include "dir.h"
#include "hint.h"
#include "segtest.h"
#include "simos.h"
#include "sum.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <kvlog.h>

#define STORE "golden.kvlog"
#define SEED 20261121
#define NOW_MS UINT64_C(1795219200000)   /* 2026-11-21 */
#define LATER_MS UINT64_C(4102444800000) /* 2100-01-01 */
#define NOTE_OFF 4096u

static struct kvlog *db, *red;

/* Where the files are, and whether missing ones are to be written. */
static const char *
golden_dir(bool *ret_write)
{
	static char path[1024];
	const char *to = getenv("KVLOG_GOLDENS_WRITE");
	const char *src = getenv("top_srcdir");

	*ret_write = to != NULL;
	if (to != NULL)
		return to;
	snprintf(
	    path, sizeof path, "%s/tests/data/v1", src != NULL ? src : ".");
	return path;
}

/* bytes are those of a golden file, or become it. */
static void
compare(const char *name, const uint8_t *bytes, size_t len)
{
	bool write;
	char *path = files_path(golden_dir(&write), name);
	size_t golden_len;
	uint8_t *golden;

	if (write && !files_exist(path))
		files_write(path, bytes, len);
	golden = files_read(path, &golden_len);
	for (size_t at = 0; at < len && at < golden_len; at++)
		ck_assert_msg(golden[at] == bytes[at],
		    "%s differs at offset %zu", name, at);
	ck_assert_uint_eq(golden_len, len);
	free(golden);
	free(path);
}

/* Scripts. */

static void
open_store(void)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	ck_assert_msg(
	    kvlog_open(STORE, &o, &db, &err) == KVLOG_OK, "%s", err.text);
}

/* The store, and in it a bucket. */
static void
open_db(void)
{
	open_store();
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "red", 3, KVLOG_OPEN_CREATE, &red, NULL),
	    KVLOG_OK);
}

static void
close_db(void)
{
	ck_assert_int_eq(kvlog_close(red, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

static void
put(struct kvlog *to, const char *key, const void *value, size_t len,
    uint64_t expires_ms)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_error err;

	how.expires_ms = expires_ms;
	how.err = &err;
	ck_assert_msg(
	    kvlog_put(to, key, strlen(key), value, len, &how, NULL) == KVLOG_OK,
	    "%s: %s", key, err.text);
}

/* Values of 0, 35, 70, ... bytes. */
static void
put_many(struct kvlog *to, unsigned from, unsigned end)
{
	uint8_t value[700];

	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (uint8_t)(i * 7);
	for (unsigned i = from; i < end; i++) {
		char key[16];

		snprintf(key, sizeof key, "key %u", i);
		put(to, key, value, 35 * (size_t)i, 0);
	}
}

static void
write_log(void)
{
	const struct kvlog_op ops[] = {
	    {.type = KVLOG_OP_PUT,
		.condition = KVLOG_IF_ABSENT,
		.key = "\0\xff",
		.key_len = 2,
		.value = "binary",
		.value_len = 6},
	    {.type = KVLOG_OP_DELETE, .key = "key 5", .key_len = 5},
	    {.type = KVLOG_OP_PUT, .key = "key 6", .key_len = 5, .value = ""},
	    {.type = KVLOG_OP_PUT,
		.key = "key 6",
		.key_len = 5,
		.value = "in red",
		.value_len = 6,
		.expires_ms = LATER_MS,
		.bucket = red},
	};
	struct kvlog_txn *txn;
	struct kvlog *blue;

	put_many(db, 0, 20);
	ck_assert_int_eq(kvlog_delete(db, "key 3", 5, NULL, NULL), KVLOG_OK);
	put(db, "key 4", "new", 3, 0);
	put(red, "key 4", "of red", 6, 0);
	put(red, "session", "soon over", 9, NOW_MS + 1000);
	put(red, "token", "for long", 8, LATER_MS);
	ck_assert_int_eq(kvlog_apply(db, ops, 4, NULL, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_bucket_open(
			     txn, "blue", 4, KVLOG_OPEN_CREATE, &blue, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, blue, "a", 1, "1", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", 1, "2", 1, NULL), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_delete(txn, NULL, "key 7", 5, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(blue, NULL), KVLOG_OK);
}

static void
script_log(void *arg)
{
	(void)arg;
	open_db();
	write_log();
	close_db();
}

/* After the loss of power: what was not synced is cut off. */
static void
script_crash(void *arg)
{
	(void)arg;
	open_db();
	put(db, "after", "the crash", 9, 0);
	close_db();
}

static void
script_unsynced(void *arg)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	(void)arg;
	open_db();
	write_log();
	how.durability = KVLOG_DURABILITY_NONE;
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(
		    kvlog_put(db, "lost", 4, "gone", 4, &how, NULL), KVLOG_OK);
}

static void
script_compacted(void *arg)
{
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog *gone;

	(void)arg;
	open_db();
	/* What stays where it is, some of it hidden by what comes. */
	ck_assert_int_eq(
	    kvlog_bucket_open(db, "gone", 4, KVLOG_OPEN_CREATE, &gone, NULL),
	    KVLOG_OK);
	put(red, "old", "was here before", 15, 0);
	put_many(db, 0, 20);
	/* What goes, or part of it. */
	put_many(gone, 10, 20);
	put_many(gone, 10, 20);
	put(red, "old", "expires", 7, NOW_MS + 1000);
	put(red, "new", "expires", 7, NOW_MS + 1000);
	put(red, "token", "for long", 8, LATER_MS);
	ck_assert_int_eq(kvlog_delete(db, "key 3", 5, NULL, NULL), KVLOG_OK);
	put_many(red, 0, 18);
	ck_assert_int_eq(
	    kvlog_bucket_drop(db, "gone", 4, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(gone, NULL), KVLOG_OK);
	for (unsigned i = 0; i < 6; i++)
		put_many(db, 19, 21);
	simos_set_clock_ms(NOW_MS + 2000);
	ck_assert_int_eq(kvlog_compact(db, NULL, &report, NULL), KVLOG_OK);
	ck_assert_uint_eq(report.run_count, 1);
	ck_assert_uint_gt(report.records_expired, 0);
	put(db, "after", "compaction", 10, 0);
	close_db();
}

static void
script_copied(void *arg)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	(void)arg;
	open_db();
	how.durability = KVLOG_DURABILITY_NONE;
	put_many(db, 0, 5);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(
		    kvlog_put(red, "doubt", 5, "no", i, &how, NULL), KVLOG_OK);
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
	simos_fail_clear();
	(void)kvlog_close(red, NULL);
	(void)kvlog_close(db, NULL);
	open_db();
	put(db, "after", "the copy", 8, 0);
	close_db();
}

/* Contents: bucket, key, when it expires, number of the commit, length and
 * CRC-32C of the value, a line for each. */

static void
print_name(FILE *to, const void *name, size_t len)
{
	for (const uint8_t *p = name, *end = p + len; p < end; p++)
		fprintf(to, isalnum(*p) ? "%c" : "%%%02x", *p);
}

static void
list_bucket(FILE *to, struct kvlog *from, const void *name, size_t name_len)
{
	struct kvlog_iter *iter;

	ck_assert_int_eq(kvlog_iter_create(from, NULL, 0, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		struct kvlog_info info;
		size_t len;
		const void *key = kvlog_iter_key(iter, &len);

		print_name(to, name, name_len);
		putc(' ', to);
		print_name(to, key, len);
		kvlog_iter_info(iter, &info);
		key = kvlog_iter_value(iter, &len);
		fprintf(to, " %" PRIu64 " %" PRIu64 " %zu %08" PRIx32 "\n",
		    info.expires_ms, info.seq, len, sum_crc(key, len));
	}
	kvlog_iter_destroy(iter);
}

static char *
list(struct kvlog *from)
{
	struct kvlog_iter *names;
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(to);
	list_bucket(to, from, "", 0);
	ck_assert_int_eq(kvlog_bucket_list(from, &names), KVLOG_OK);
	while (kvlog_iter_next(names) == KVLOG_OK) {
		size_t len;
		const void *name = kvlog_iter_key(names, &len);
		struct kvlog *bucket;

		ck_assert_int_eq(
		    kvlog_bucket_open(from, name, len, 0, &bucket, NULL),
		    KVLOG_OK);
		list_bucket(to, bucket, name, len);
		ck_assert_int_eq(kvlog_close(bucket, NULL), KVLOG_OK);
	}
	kvlog_iter_destroy(names);
	ck_assert_int_eq(fclose(to), 0);
	return text;
}

/* Tests. */

static const struct script {
	const char *name;
	void (*first)(void *arg); /* before a loss of power, or NULL */
	void (*run)(void *arg);
} scripts[] = {
    {"log", NULL, script_log},
    {"crash", script_unsynced, script_crash},
    {"compacted", NULL, script_compacted},
    {"copied", NULL, script_copied},
};
#define SCRIPTS (sizeof scripts / sizeof scripts[0])

/* The files of the store that was written, in order. */
static void
compare_files(const char *name)
{
	struct file_list files = {0};
	struct dir dir;

	ck_assert_int_eq(dir_open(&dir, STORE, 0644, NULL), KVLOG_OK);
	ck_assert_int_eq(dir_list(&dir, &files, NULL), KVLOG_OK);
	for (size_t i = 0; i < files.count; i++) {
		const struct file *f = &files.files[i];
		char path[128], golden[128];
		const uint8_t *bytes;
		uint64_t size;
		uint8_t *copy;

		if (f->kind != FILE_SEGMENT && f->kind != FILE_HINT &&
		    f->kind != FILE_LOCK)
			continue;
		snprintf(path, sizeof path, "%s/%s", STORE, f->name);
		snprintf(golden, sizeof golden, "%s/%s", name, f->name);
		ck_assert(simos_peek(path, &bytes, &size));
		copy = malloc((size_t)size);
		ck_assert_ptr_nonnull(copy);
		memcpy(copy, bytes, (size_t)size);
		if (f->kind == FILE_LOCK)
			memset(copy, 0, NOTE_OFF);
		compare(golden, copy, (size_t)size);
		free(copy);
	}
	file_list_fini(&files);
	dir_close(&dir);
}

START_TEST(scripts_write_the_golden_stores)
{
	const struct script *script = &scripts[_i];

	simos_init(SEED + (uint64_t)_i);
	simos_set_clock_ms(NOW_MS);
	if (script->first != NULL) {
		ck_assert(!simos_run(script->first, NULL));
		simos_power_loss(SIMOS_LOSS_PREFIX, 1);
	}
	ck_assert(!simos_run(script->run, NULL));
	compare_files(script->name);
	simos_fini();
}
END_TEST

/*
 * A hint with fences, near and far, over two segments, with buckets, tombstones
 * and expiry.
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
	compare("tree.hint", hint->data, (size_t)hint->len);
	hint_unref(hint);
	for (unsigned i = 0; i < 2; i++)
		segment_close(segs[i]);
	dir_close(&segtest_dir);
	simos_fini();
}
END_TEST

/* Once as it is, once in the other index mode, once more after a writer has
 * been at it, and once after all was compacted. */
START_TEST(golden_stores_read_back)
{
	const char *name = scripts[_i].name;
	struct kvlog_compact_options compact = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	bool write;
	char *from = files_path(golden_dir(&write), name);
	char *dir = tmpdir_create(), txt[64];
	struct tree tree;

	snprintf(txt, sizeof txt, "%s.txt", name);
	tree_read(from, &tree);
	ck_assert_uint_ge(tree.count, 3);
	tree_write(dir, &tree);
	tree_fini(&tree);
	for (unsigned round = 0; round < 4; round++) {
		struct kvlog_stats stats = {.size = sizeof stats};
		struct kvlog_error err;
		char *text;

		o.flags = round < 2 ? KVLOG_OPEN_READONLY : 0;
		o.index_mode =
		    round == 1 ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
		ck_assert_msg(
		    kvlog_open(dir, &o, &db, &err) == KVLOG_OK, "%s", err.text);
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		ck_assert_uint_eq(stats.damaged_ranges, 0);
		text = list(db);
		compare(txt, (const uint8_t *)text, strlen(text));
		free(text);
		compact.flags = KVLOG_COMPACT_ALL;
		if (round == 2)
			ck_assert_int_eq(
			    kvlog_compact(db, &compact, NULL, NULL), KVLOG_OK);
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	}
	free(from);
	tmpdir_remove(dir);
}
END_TEST

/* The example of kvlog-format(5). */

#define EXAMPLE_SIZE 8192u

static struct os_table readable;

static int
readable_random(void *buf, size_t len)
{
	static const char uuid[] = "kvlog-format-501";
	static uint64_t salts = UINT64_C(0x5a17c0de5eed0000);

	if (len == sizeof uuid - 1) {
		memcpy(buf, uuid, len);
	} else if (len == sizeof salts) {
		salts++;
		put_u64(buf, salts);
	} else {
		for (size_t i = 0; i < len; i++)
			((uint8_t *)buf)[i] = (uint8_t)i;
	}
	return 0;
}

/* Let bytes be those that a line "OFFSET  XX XX ..." of the page shows, or
 * that ".It OFFSET Ta XX XX ..." explains. */
static bool
read_line(const char *line, unsigned *ret_off, uint8_t *bytes, size_t *ret_len)
{
	unsigned byte;
	int used = 0;

	*ret_len = 0;
	if (sscanf(line, ".It %4x Ta%n", ret_off, &used) != 1)
		(void)sscanf(line, "%4x%n", ret_off, &used);
	for (const char *p = line + used;
	     *ret_len < 16 && sscanf(p, " %2x%n", &byte, &used) == 1 &&
	     (p[used] == ' ' || p[used] == '\n');
	     p += used)
		bytes[(*ret_len)++] = (uint8_t)byte;
	return *ret_len > 0;
}

START_TEST(the_page_shows_what_is_written)
{
	const char *src = getenv("top_srcdir");
	char *path = files_path(src != NULL ? src : ".", "man/kvlog-format.5");
	uint8_t shown[EXAMPLE_SIZE] = {0}, line_bytes[16], again[16] = {0};
	unsigned off, last = 0, lines = 0, explained = 0;
	bool repeat = false, in_dump = false;
	const uint8_t *bytes;
	char line[512];
	uint64_t size;
	size_t len;
	FILE *page;

	simos_init(SEED);
	readable = *os;
	readable.random = readable_random;
	os = &readable;
	open_store();
	ck_assert_int_eq(
	    kvlog_put(db, "apple", 5, "red", 3, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert(simos_peek(STORE "/00000001.seg", &bytes, &size));
	ck_assert_uint_eq(size, EXAMPLE_SIZE);

	page = fopen(path, "r");
	ck_assert_ptr_nonnull(page);
	do
		ck_assert_ptr_nonnull(fgets(line, sizeof line, page));
	while (strcmp(line, ".Sh EXAMPLES\n") != 0);
	while (fgets(line, sizeof line, page) != NULL) {
		if (strncmp(line, ".Bd", 3) == 0 ||
		    strncmp(line, ".Ed", 3) == 0)
			in_dump = line[1] == 'B';
		if (in_dump && strcmp(line, "*\n") == 0)
			repeat = true;
		if (!read_line(line, &off, line_bytes, &len))
			continue;
		ck_assert_uint_le(off + len, EXAMPLE_SIZE);
		if (!in_dump) {
			ck_assert_msg(memcmp(bytes + off, line_bytes, len) == 0,
			    "not so: %s", line);
			explained++;
			continue;
		}
		for (; repeat && last < off; last += 16)
			memcpy(shown + last, again, 16);
		repeat = false;
		memcpy(shown + off, line_bytes, len);
		memcpy(again, line_bytes, 16);
		last = off + 16;
		lines++;
	}
	(void)fclose(page);
	memcpy(shown + 4096, shown, 512); /* as the page says */
	ck_assert_uint_gt(lines, 20);
	ck_assert_uint_gt(explained, 20);
	for (size_t at = 0; at < EXAMPLE_SIZE; at++)
		ck_assert_msg(shown[at] == bytes[at], "not so at %04zx", at);
	free(path);
	simos_fini();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("golden");
	TCase *tc = tcase_create("golden");

	tcase_add_loop_test(tc, scripts_write_the_golden_stores, 0, SCRIPTS);
	tcase_add_test(tc, a_tree_is_the_golden_one);
	tcase_add_loop_test(tc, golden_stores_read_back, 0, SCRIPTS);
	tcase_add_test(tc, the_page_shows_what_is_written);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
