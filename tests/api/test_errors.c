/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_errors.c - results that come from the files or from the system:
 * damage to headers, newer formats, files of other stores, full disks.
 */
#include "config.h"

#include "api.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

/* CRC-32C bit by bit: what a file is sealed with after a field is changed. */
static uint32_t
crc32c(const uint8_t *p, size_t len)
{
	uint32_t reg = UINT32_MAX;

	while (len-- > 0) {
		reg ^= *p++;
		for (int i = 0; i < 8; i++)
			reg = reg >> 1 ^ (reg & 1 ? 0x82f63b78u : 0);
	}
	return ~reg;
}

static enum kvlog_status
open_status(unsigned flags, struct kvlog_error *err)
{
	struct kvlog_options o = api_options(flags);
	struct kvlog *db;
	enum kvlog_status st;

	memset(err, 0, sizeof *err);
	st = kvlog_open(api_store, &o, &db, err);
	if (st == KVLOG_OK)
		api_close(db);
	else
		ck_assert_int_eq(err->status, st);
	return st;
}

/* A store of some segments; returns how many. */
static uint64_t
make_store(const char *path)
{
	struct kvlog *db = api_open(path, KVLOG_OPEN_CREATE);
	uint64_t count;

	for (int i = 0; i < 300; i++)
		api_put(db, i % 2 ? "a" : "b", "values that fill segments");
	count = api_stats(db).segment_count;
	api_close(db);
	return count;
}

/* Change one byte of the fixed part, in the first, the copy, or both, with
 * the right sum. */
static void
change_header(const char *path, size_t at, uint8_t value, bool first, bool copy)
{
	size_t len;
	uint8_t *bytes = files_read(path, &len), sum[4];

	bytes[at] = value;
	for (unsigned i = 0; i < 4; i++)
		sum[i] = (uint8_t)(crc32c(bytes + 12, 500) >> 8 * i);
	memcpy(bytes + 8, sum, 4);
	if (first)
		files_patch(path, 0, bytes, 512);
	if (copy)
		files_patch(path, 4096, bytes, 512);
	free(bytes);
}

START_TEST(newer_formats_are_refused)
{
	char *path = files_path(api_store, "00000002.seg");
	struct kvlog_error err;
	enum kvlog_status st;
	struct tree tree;

	(void)make_store(api_store);
	tree_read(api_store, &tree);
	for (int turn = 0; turn < 4; turn++) {
		static const struct {
			size_t at;
			uint8_t value;
			enum kvlog_status result;
		} tries[] = {
		    {12, 1, KVLOG_VERSION}, /* format */
		    {13, 1, KVLOG_VERSION}, /* format 256 */
		    {14, 1, KVLOG_OK},      /* minor */
		    {16, 1, KVLOG_VERSION}, /* feature to refuse */
		    {17, 0x80, KVLOG_VERSION},
		    {18, 1, KVLOG_OK}, /* feature to ignore */
		    {19, 0x80, KVLOG_OK}, {20, 3, KVLOG_VERSION}, /* kind */
		};

		for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
			tree_write(api_store, &tree);
			change_header(path, tries[i].at, tries[i].value,
			    (turn & 2) == 0, true);
			if (turn & 2)
				files_flip(path, 200, 0); /* use the copy */
			st = open_status(
			    turn & 1 ? 0 : KVLOG_OPEN_READONLY, &err);
			ck_assert_msg(st == tries[i].result,
			    "turn %d, byte %zu: %d %s", turn, tries[i].at,
			    (int)st, err.text);
			if (tries[i].result != KVLOG_OK)
				ck_assert_uint_eq(err.segment, 2);
		}
	}
	tree_fini(&tree);
	free(path);
}
END_TEST

START_TEST(both_copies_of_a_header_damaged)
{
	char *path = files_path(api_store, "00000002.seg");
	struct kvlog_error err;

	(void)make_store(api_store);
	files_flip(path, 100, 0);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_OK);
	files_flip(path, 4096 + 70, 0);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_CORRUPT);
	ck_assert_int_eq(open_status(0, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 2);
	ck_assert_ptr_nonnull(strstr(err.text, "00000002.seg"));
	files_flip(path, 100, 0);
	ck_assert_int_eq(open_status(0, &err), KVLOG_OK);
	free(path);
}
END_TEST

START_TEST(one_damaged_copy_is_told)
{
	char *path = files_path(api_store, "00000002.seg");
	struct kvlog_stats s;
	struct kvlog *db;

	(void)make_store(api_store);
	files_flip(path, 100, 0);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	s = api_stats(db);
	ck_assert_uint_ne(s.recovery & KVLOG_RECOVERY_DAMAGE, 0);
	ck_assert_uint_eq(s.recovery & KVLOG_RECOVERY_DEGRADED, 0);
	ck_assert_uint_eq(s.damaged_ranges, 1);
	ck_assert_ptr_nonnull(strstr(s.recovery_text, "damage found in 1"));
	api_expect(db, "a", "values that fill segments");
	api_close(db);
	free(path);
}
END_TEST

/* What a lost link said can be told from what stands around it, with hints
 * and without: nothing is missing. */
START_TEST(a_lost_link_costs_nothing)
{
	uint64_t count = make_store(api_store);

	ck_assert_uint_gt(count, 3);
	for (uint64_t n = 1; n <= count; n++) {
		char name[32], *path;
		struct kvlog_stats s;
		struct kvlog *db;

		(void)snprintf(name, sizeof name, "%08u.seg", (unsigned)n);
		path = files_path(api_store, name);
		files_flip(path, 530, 1);
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		s = api_stats(db);
		ck_assert_uint_ne(s.recovery & KVLOG_RECOVERY_DAMAGE, 0);
		ck_assert_msg((s.recovery & KVLOG_RECOVERY_DEGRADED) == 0,
		    "segment %u: %s", (unsigned)n, s.recovery_text);
		ck_assert_uint_eq(s.last_seq, 300);
		ck_assert_uint_eq(s.segment_count, count);
		api_expect(db, "a", "values that fill segments");
		api_expect(db, "b", "values that fill segments");
		api_close(db);
		files_flip(path, 530, 1);
		free(path);
	}
}
END_TEST

START_TEST(a_segment_of_another_store_is_refused)
{
	char *other = files_path(api_base, "other");
	char *from = files_path(other, "00000002.seg");
	char *to = files_path(api_store, "00000002.seg");
	struct kvlog_error err;
	uint8_t *bytes;
	size_t len;

	(void)make_store(api_store);
	(void)make_store(other);
	bytes = files_read(from, &len);
	files_write(to, bytes, len);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_CORRUPT);
	ck_assert_int_eq(open_status(0, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 2);
	ck_assert_ptr_nonnull(strstr(err.text, "another store"));
	free(bytes);
	free(other);
	free(from);
	free(to);
}
END_TEST

/* Of another copy of the same store that went its own way. */
START_TEST(a_segment_of_another_history_is_refused)
{
	char *to = files_path(api_store, "00000002.seg");
	struct kvlog_error err;
	struct tree begin, mine;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	const struct tree_file *f;

	api_put(db, "a", "common past");
	api_close(db);
	tree_read(api_store, &begin);
	(void)make_store(api_store);
	tree_read(api_store, &mine);
	tree_write(api_store, &begin);
	(void)make_store(api_store);
	f = tree_find(&mine, "00000002.seg");
	ck_assert_ptr_nonnull(f);
	files_write(to, f->bytes, f->len);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_CORRUPT);
	ck_assert_int_eq(open_status(0, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 3); /* it does not follow this 2 */
	tree_fini(&begin);
	tree_fini(&mine);
	free(to);
}
END_TEST

START_TEST(a_renamed_segment_is_refused)
{
	char *from = files_path(api_store, "00000002.seg");
	char *to = files_path(api_store, "00000003.seg");
	struct kvlog_error err;

	ck_assert_uint_gt(make_store(api_store), 3);
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_CORRUPT);
	ck_assert_int_eq(open_status(0, &err), KVLOG_CORRUPT);
	free(from);
	free(to);
}
END_TEST

/* A limit of file size stands for a full disk: no segment of the usual size
 * can be made, while Check can still write its own files. */
#define LIMIT ((rlim_t)512 << 10)

static void
limit_files(rlim_t size)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static struct kvlog *
open_large_segments(void)
{
	struct kvlog_options o =
	    api_options(KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);

	o.segment_size = 0;
	return api_open_with(api_store, &o);
}

static struct kvlog_error last_error;

static enum kvlog_status
put_number(struct kvlog *db, unsigned n, size_t len)
{
	static const char value[20000];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	char key[16];

	how.err = &last_error;
	(void)snprintf(key, sizeof key, "%u", n);
	return kvlog_put(db, key, strlen(key), value, len, &how, NULL);
}

static enum kvlog_status
delete_number(struct kvlog *db, unsigned n, struct kvlog_receipt *ret_receipt)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	char key[16];

	how.err = &last_error;
	(void)snprintf(key, sizeof key, "%u", n);
	return kvlog_delete(db, key, strlen(key), &how, ret_receipt);
}

START_TEST(a_full_disk_is_an_error_code)
{
	struct kvlog *db = open_large_segments();
	struct kvlog_stats before, after;
	enum kvlog_status st;
	unsigned count = 0;

	limit_files(LIMIT);
	do {
		before = api_stats(db);
		st = put_number(db, count, 20000);
		count += st == KVLOG_OK;
	} while (st == KVLOG_OK && count < 1000);
	ck_assert_int_eq(st, KVLOG_NOSPACE);
	ck_assert_int_eq(last_error.status, KVLOG_NOSPACE);
	ck_assert_int_eq(last_error.sys_errno, EFBIG);
	ck_assert_uint_gt(count, 10);
	/* Nothing was written, nothing is broken. */
	after = api_stats(db);
	ck_assert_uint_eq(after.last_seq, before.last_seq);
	ck_assert_uint_eq(after.free_bytes, before.free_bytes);
	ck_assert_uint_eq(after.record_count, count);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	/* What still fits, fits. */
	ck_assert_int_eq(put_number(db, 0, 10), KVLOG_OK);
	ck_assert_int_eq(delete_number(db, 1, NULL), KVLOG_OK);
	api_expect(db, "1", NULL);

	/* And with space again, everything. */
	limit_files(RLIM_INFINITY);
	for (unsigned i = 0; i < 300; i++)
		ck_assert_int_eq(put_number(db, i, 20000), KVLOG_OK);
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_uint_eq(api_count(db), 300);
	api_close(db);
}
END_TEST

/* Deletes work within the reserve: one more segment. */
START_TEST(deletes_alone_may_use_the_reserve)
{
	const unsigned count = 100000;
	char *reserve = files_path(api_store, "reserve");
	struct kvlog *db = open_large_segments();
	enum kvlog_status st = KVLOG_OK;
	struct kvlog_receipt r = {0, 0, 0};
	unsigned deleted = 0;
	uint32_t active;

	for (unsigned i = 0; i < count; i++)
		if (put_number(db, i, 0) != KVLOG_OK)
			ck_abort_msg("put %u", i);
	active = api_stats(db).active_segment;
	limit_files(LIMIT);
	while (deleted < count) {
		st = delete_number(db, deleted, &r);
		if (st != KVLOG_OK)
			break;
		deleted++;
		if (r.segment != active)
			break;
	}
	ck_assert_int_eq(st, KVLOG_OK);
	ck_assert_uint_eq(r.segment, active + 1);
	ck_assert(!files_exist(reserve));
	/* No puts until there is a new reserve. */
	ck_assert_int_eq(put_number(db, 0, 10), KVLOG_NOSPACE);
	ck_assert_int_eq(last_error.status, KVLOG_NOSPACE);
	while (deleted < count) {
		st = delete_number(db, deleted, NULL);
		if (st != KVLOG_OK)
			break;
		deleted++;
	}
	ck_assert_int_eq(st, KVLOG_NOSPACE);
	ck_assert_uint_gt(deleted, 30000); /* 1 MiB by 32 bytes */
	ck_assert_uint_eq(api_count(db), count - deleted);

	limit_files(RLIM_INFINITY);
	ck_assert_int_eq(put_number(db, count, 10), KVLOG_OK);
	ck_assert(files_exist(reserve));
	api_close(db);
	db = api_open(api_store, 0);
	ck_assert_uint_eq(api_count(db), count + 1 - deleted);
	api_close(db);
	free(reserve);
}
END_TEST

START_TEST(creating_on_a_full_disk_leaves_nothing_that_looks_right)
{
	struct kvlog_error err;

	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);
	struct kvlog *db = NULL;

	o.segment_size = 0;
	limit_files(LIMIT);
	ck_assert_int_eq(kvlog_open(api_store, &o, &db, &err), KVLOG_NOSPACE);
	ck_assert_int_ne(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_OK);
	ck_assert_int_ne(open_status(0, &err), KVLOG_OK);
	limit_files(RLIM_INFINITY);
	ck_assert_int_eq(open_status(KVLOG_OPEN_CREATE, &err), KVLOG_OK);
	ck_assert_int_eq(open_status(0, &err), KVLOG_OK);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("errors");
	TCase *tc = api_case(suite, "errors");

	tcase_add_test(tc, newer_formats_are_refused);
	tcase_add_test(tc, both_copies_of_a_header_damaged);
	tcase_add_test(tc, one_damaged_copy_is_told);
	tcase_add_test(tc, a_lost_link_costs_nothing);
	tcase_add_test(tc, a_segment_of_another_store_is_refused);
	tcase_add_test(tc, a_segment_of_another_history_is_refused);
	tcase_add_test(tc, a_renamed_segment_is_refused);
	tcase_add_test(tc, a_full_disk_is_an_error_code);
	tcase_add_test(tc, deletes_alone_may_use_the_reserve);
	tcase_add_test(
	    tc, creating_on_a_full_disk_leaves_nothing_that_looks_right);
	return test_main(suite);
}
