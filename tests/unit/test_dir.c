/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "dir.h"

#include "os.h"

#include <stdarg.h>
#include <string.h>

#include "files.h"
#include "test.h"
#include "tmpdir.h"

static const struct file_id ids[] = {
    {1, 1, 0, 1, 1},
    {7, 7, 0, 1, 1},
    {99999999, 99999999, 0, 1, 1},
    {100000000, 100000000, 0, 1, 1},
    {DIR_SEGMENT_MAX, DIR_SEGMENT_MAX, 0, 1, 1},
    {1, 6, 1, 1, 2},
    {1, 6, 1, 2, 2},
    {3, 3, 1, 1, 1},
    {1, DIR_SEGMENT_MAX, DIR_SEGMENT_MAX, 65535, 65535},
    {123456789, 200000000, 12, 10, 100},
};

START_TEST(names_round_trip)
{
	static const char *exts[] = {"seg", "hint"};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		for (size_t k = 0; k < 2; k++) {
			char name[DIR_NAME_LEN];
			struct file f;

			dir_make_name(name, &ids[i], exts[k]);
			dir_parse_name(name, &f);
			ck_assert_str_eq(f.name, name);
			ck_assert_int_eq(
			    f.kind, k == 0 ? FILE_SEGMENT : FILE_HINT);
			ck_assert(file_id_equal(&f.id, &ids[i]));
		}
}
END_TEST

START_TEST(names_are_those_of_the_format)
{
	char name[DIR_NAME_LEN];

	dir_make_name(name, &ids[1], "seg");
	ck_assert_str_eq(name, "00000007.seg");
	dir_make_name(name, &ids[5], "seg");
	ck_assert_str_eq(name, "00000001-00000006.r1.1of2.seg");
	dir_make_name(name, &ids[7], "hint");
	ck_assert_str_eq(name, "00000003-00000003.r1.1of1.hint");
}
END_TEST

START_TEST(names_of_other_kinds)
{
	static const struct {
		const char *name;
		enum file_kind kind;
	} names[] = {
	    {"kvlog.lock", FILE_LOCK},
	    {"spare", FILE_SPARE},
	    {"reserve", FILE_RESERVE},
	    {"x.tmp", FILE_TMP},
	    {"00000001.seg.tmp", FILE_TMP},
	    {"00000001.4608-9000.hint", FILE_FOREIGN},
	    {"00000001-00000004.hint", FILE_FOREIGN},
	    {"00000001-00000004.4608-9000.hint", FILE_HINT},
	    {"00000001-00000004.4608-274877906944.hint", FILE_HINT},
	    {"00000001-00000004.4608-.hint", FILE_FOREIGN},
	    {"letter.hint", FILE_FOREIGN},
	    {".tmp", FILE_FOREIGN},
	    {".hint", FILE_FOREIGN},
	    {"kvlog.lock2", FILE_FOREIGN},
	    {"spares", FILE_FOREIGN},
	    {"letter.txt", FILE_FOREIGN},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct file f;

		dir_parse_name(names[i].name, &f);
		ck_assert_msg(f.kind == names[i].kind, "%s: %d", names[i].name,
		    (int)f.kind);
	}
}
END_TEST

START_TEST(hostile_names_are_foreign)
{
	static const char *names[] = {"", ".seg", "0.seg", "1.seg",
	    "0000001.seg", "000000001.seg", "00000000.seg", "268435456.seg",
	    "99999999999999999999.seg", "18446744073709551617.seg",
	    "-0000001.seg", "+0000001.seg", " 0000001.seg", "00000001 .seg",
	    "00000001.seg ", "00000001.SEG", "00000001.seg.", "00000001.segx",
	    "00000001", "00000001.", "0000000a.seg", "0x000001.seg",
	    "00000002-00000001.r1.1of1.seg", "00000001-00000002.seg",
	    "00000001-00000002.r0.1of1.seg", "00000001-00000002.r01.1of1.seg",
	    "00000001-00000002.r1.0of1.seg", "00000001-00000002.r1.2of1.seg",
	    "00000001-00000002.r1.1of0.seg",
	    "00000001-00000002.r1.1of65536.seg",
	    "00000001-00000002.r1.01of2.seg", "00000001-00000002.r1.1of02.seg",
	    "00000001-00000002.r1.1of2", "00000001-00000002.r1.1.seg",
	    "00000001-00000002.r.1of2.seg", "00000001-2.r1.1of2.seg",
	    "00000001-.r1.1of2.seg", "00000001-00000002.r1.1of2.seg.seg",
	    "00000001.r1.1of1.seg", "00000000-00000002.r1.1of1.seg",
	    "00000001-268435456.r1.1of1.seg",
	    "00000001-00000002.r268435456.1of1.seg"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct file f;

		dir_parse_name(names[i], &f);
		ck_assert_msg(
		    f.kind == FILE_FOREIGN, "%s: %d", names[i], (int)f.kind);
		ck_assert_str_eq(f.name, names[i]);
	}
}
END_TEST

START_TEST(a_long_name_is_kept_in_part)
{
	char name[256];

	for (size_t len = 60; len < sizeof name; len++) {
		struct file f;

		memset(name, '0', len);
		memcpy(name + len - 4, ".seg", 5);
		dir_parse_name(name, &f);
		ck_assert_int_eq(f.kind, FILE_FOREIGN);
		ck_assert_uint_lt(strlen(f.name), sizeof f.name);
		ck_assert_mem_eq(f.name, name, strlen(f.name));
	}
}
END_TEST

/* Whatever is taken for a segment is named as it would be named again: no
 * two names stand for one file. */
START_TEST(only_canonical_names_are_segments)
{
	static const char letters[] = "0129-.rofsegRx \xff";

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		char name[DIR_NAME_LEN];
		size_t len;

		dir_make_name(name, &ids[i], "seg");
		len = strlen(name);
		for (size_t at = 0; at <= len; at++)
			for (size_t c = 0; c < sizeof letters; c++)
				for (int how = 0; how < 3; how++) {
					char changed[DIR_NAME_LEN + 2];
					char again[DIR_NAME_LEN];
					struct file f;

					memcpy(changed, name, at);
					if (how < 2)
						changed[at] = letters[c];
					(void)snprintf(changed + at + (how < 2),
					    sizeof changed - at - (how < 2),
					    "%s",
					    name + at + (how > 0 && at < len));
					dir_parse_name(changed, &f);
					if (f.kind != FILE_SEGMENT)
						continue;
					dir_make_name(again, &f.id, "seg");
					if (strcmp(changed, again) != 0)
						ck_abort_msg(
						    "%s is %s", changed, again);
				}
	}
}
END_TEST

START_TEST(ids_are_equal_in_all_parts)
{
	const struct file_id a = {1, 2, 3, 4, 5};
	struct file_id b = a;

	ck_assert(file_id_equal(&a, &b));
	b.first++;
	ck_assert(!file_id_equal(&a, &b));
	b = a;
	b.last++;
	ck_assert(!file_id_equal(&a, &b));
	b = a;
	b.round++;
	ck_assert(!file_id_equal(&a, &b));
	b = a;
	b.part++;
	ck_assert(!file_id_equal(&a, &b));
	b = a;
	b.parts++;
	ck_assert(!file_id_equal(&a, &b));
}
END_TEST

/* Directories */

static char *path;
static struct dir dir;

static void
setup(void)
{
	path = tmpdir_create();
	ck_assert_int_eq(dir_open(&dir, path, 0600, NULL), KVLOG_OK);
}

static void
teardown(void)
{
	dir_close(&dir);
	tmpdir_remove(path);
}

static void
touch(const char *name)
{
	char *p = files_path(path, name);

	files_write(p, "", 0);
	free(p);
}

START_TEST(opening_says_what_is_there)
{
	struct kvlog_error err;
	struct dir other;
	char *p = files_path(path, "file");

	ck_assert_int_eq(dir_open(&other, p, 0600, &err), KVLOG_NOSTORE);
	ck_assert_ptr_nonnull(strstr(err.text, p));
	dir_close(&other); /* harmless */
	touch("file");
	ck_assert_int_eq(dir_open(&other, p, 0600, &err), KVLOG_NOTSTORE);
	ck_assert_ptr_nonnull(strstr(err.text, p));
	ck_assert_int_eq(dir_sync(&dir, &err), KVLOG_OK);
	ck_assert_str_eq(dir.path, path);
	free(p);
}
END_TEST

START_TEST(a_listing_is_sorted)
{
	static const char *names[] = {"00000001.seg",
	    "00000001-00000002.r2.1of1.seg", "00000001-00000002.r10.1of2.seg",
	    "00000001-00000002.r10.2of2.seg", "00000001-00000010.r1.1of1.seg",
	    "00000002.seg", "00000010.seg", "100000000.seg"};
	struct file_list list;

	for (size_t i = ARRAY_LEN(names); i-- > 0;)
		touch(names[i]);
	touch("00000001.hint");
	touch("kvlog.lock");
	touch("a file of somebody's");
	ck_assert_int_eq(dir_list(&dir, &list, NULL), KVLOG_OK);
	ck_assert_uint_eq(list.count, ARRAY_LEN(names) + 3);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		ck_assert_str_eq(list.files[i].name, names[i]);
	file_list_fini(&list);
	ck_assert_uint_eq(list.count, 0);
	file_list_fini(&list);
}
END_TEST

START_TEST(an_empty_directory_lists_as_empty)
{
	struct file_list list;
	uint32_t last = 9, gap = 9;

	ck_assert_int_eq(dir_list(&dir, &list, NULL), KVLOG_OK);
	ck_assert_uint_eq(list.count, 0);
	dir_tile(&list, &last, &gap);
	ck_assert_uint_eq(last, 0);
	ck_assert_uint_eq(gap, 0);
	file_list_fini(&list);
}
END_TEST

/* Tiling */

/*
 * Tile files of these names (NULL ends them; "name=7" gives it set id 7) and
 * compare: live ones, the last number, the gap.
 */
static void
tile(const char *live, uint32_t want_last, uint32_t want_gap, ...)
{
	struct file_list list;
	char buf[1024] = "";
	uint32_t last, gap;
	const char *text;
	va_list names;

	va_start(names, want_gap);
	while ((text = va_arg(names, const char *)) != NULL) {
		char name[DIR_NAME_LEN];

		(void)snprintf(
		    name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
		touch(name);
	}
	va_end(names);
	ck_assert_int_eq(dir_list(&dir, &list, NULL), KVLOG_OK);
	va_start(names, want_gap);
	while ((text = va_arg(names, const char *)) != NULL)
		for (size_t i = 0; i < list.count; i++)
			if (strncmp(list.files[i].name, text,
				strcspn(text, "=")) == 0 &&
			    strchr(text, '=') != NULL)
				list.files[i].set_id =
				    strtoull(strchr(text, '=') + 1, NULL, 10);
	va_end(names);

	dir_tile(&list, &last, &gap);
	for (size_t i = 0; i < list.count; i++) {
		const char *name = list.files[i].name;

		if (list.files[i].live)
			(void)snprintf(buf + strlen(buf),
			    sizeof buf - strlen(buf), "%.*s ",
			    (int)(strlen(name) - 4), name);
		(void)os->unlink(dir.fd, name);
	}
	ck_assert_str_eq(buf, live);
	ck_assert_uint_eq(last, want_last);
	ck_assert_uint_eq(gap, want_gap);
	file_list_fini(&list);
}

#define S1 "00000001.seg"
#define S2 "00000002.seg"
#define S3 "00000003.seg"
#define S4 "00000004.seg"

START_TEST(plain_segments_tile)
{
	tile("00000001 ", 1, 0, S1, NULL);
	tile("00000001 00000002 00000003 ", 3, 0, S3, S1, S2, NULL);
	tile("00000001 ", 1, 0, S1, "00000001.hint", "kvlog.lock", NULL);
}
END_TEST

START_TEST(a_gap_is_told)
{
	tile("", 0, 1, S2, NULL);
	tile("00000001 ", 1, 2, S1, S3, NULL);
	tile("00000001 ", 1, 2, S1, S3, S4, NULL);
	tile("00000001 00000002 ", 2, 3, S1, S2, "00000010.seg", NULL);
	/* Not told: where nothing stands behind it. */
	tile("", 0, 0, NULL);
	tile("", 0, 0, "spare", "00000001.seg.tmp", NULL);
}
END_TEST

START_TEST(a_wider_complete_set_wins)
{
	tile("00000001-00000003.r1.1of1 00000004 ", 4, 0, S1, S2, S3, S4,
	    "00000001-00000003.r1.1of1.seg", NULL);
	tile("00000001 00000002-00000003.r1.1of1 00000004 ", 4, 0, S1, S2, S3,
	    S4, "00000002-00000003.r1.1of1.seg", NULL);
	/* Inputs gone, all or some. */
	tile("00000001-00000003.r1.1of1 00000004 ", 4, 0, S4,
	    "00000001-00000003.r1.1of1.seg", NULL);
	tile("00000001-00000003.r1.1of1 00000004 ", 4, 0, S2, S4,
	    "00000001-00000003.r1.1of1.seg", NULL);
	/* Wider even of a lower round. */
	tile("00000001-00000003.r1.1of1 ", 3, 0, S1, S2, S3,
	    "00000001-00000002.r2.1of1.seg", "00000001-00000003.r1.1of1.seg",
	    NULL);
	/* And one within another. */
	tile("00000001-00000004.r3.1of1 ", 4, 0,
	    "00000002-00000003.r2.1of1.seg", "00000001-00000004.r3.1of1.seg",
	    S1, S4, NULL);
}
END_TEST

START_TEST(at_equal_range_the_higher_round_wins)
{
	tile("00000001-00000002.r10.1of1 ", 2, 0,
	    "00000001-00000002.r2.1of1.seg", "00000001-00000002.r10.1of1.seg",
	    NULL);
	/* A plain one has round 0. */
	tile("00000001 00000002-00000002.r1.1of1 00000003 ", 3, 0, S1, S2, S3,
	    "00000002-00000002.r1.1of1.seg", NULL);
}
END_TEST

START_TEST(parts_count_together_or_not_at_all)
{
	tile("00000001-00000002.r1.1of2 00000001-00000002.r1.2of2 00000003 ", 3,
	    0, S1, S2, S3, "00000001-00000002.r1.1of2.seg=5",
	    "00000001-00000002.r1.2of2.seg=5", NULL);
	/* One missing. */
	tile("00000001 00000002 00000003 ", 3, 0, S1, S2, S3,
	    "00000001-00000002.r1.1of2.seg=5", NULL);
	tile("00000001 00000002 00000003 ", 3, 0, S1, S2, S3,
	    "00000001-00000002.r1.2of2.seg=5", NULL);
	tile("00000001 00000002 ", 2, 0, S1, S2,
	    "00000001-00000002.r1.1of3.seg=5",
	    "00000001-00000002.r1.3of3.seg=5", NULL);
	/* Of two sets. */
	tile("00000001 00000002 ", 2, 0, S1, S2,
	    "00000001-00000002.r1.1of2.seg=5",
	    "00000001-00000002.r1.2of2.seg=6", NULL);
	/* Of two rounds, or numbers of parts. */
	tile("00000001 00000002 ", 2, 0, S1, S2,
	    "00000001-00000002.r1.1of2.seg=5",
	    "00000001-00000002.r2.2of2.seg=5", NULL);
	tile("00000001 00000002 ", 2, 0, S1, S2,
	    "00000001-00000002.r1.1of2.seg=5",
	    "00000001-00000002.r1.2of3.seg=5", NULL);
	/* An unfinished higher round does not hide a lower one. */
	tile("00000001-00000002.r1.1of1 ", 2, 0,
	    "00000001-00000002.r1.1of1.seg", "00000001-00000002.r2.1of2.seg=5",
	    NULL);
	/* Nothing but an unfinished set. */
	tile("", 0, 1, "00000001-00000002.r1.1of2.seg=5", S3, NULL);
	tile("", 0, 0, "00000001-00000002.r1.1of2.seg=5", NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("dir");
	TCase *names = tcase_create("names");
	TCase *tc = tcase_create("dir");

	tcase_add_test(names, names_round_trip);
	tcase_add_test(names, names_are_those_of_the_format);
	tcase_add_test(names, names_of_other_kinds);
	tcase_add_test(names, hostile_names_are_foreign);
	tcase_add_test(names, a_long_name_is_kept_in_part);
	tcase_add_test(names, only_canonical_names_are_segments);
	tcase_add_test(names, ids_are_equal_in_all_parts);
	suite_add_tcase(suite, names);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, opening_says_what_is_there);
	tcase_add_test(tc, a_listing_is_sorted);
	tcase_add_test(tc, an_empty_directory_lists_as_empty);
	tcase_add_test(tc, plain_segments_tile);
	tcase_add_test(tc, a_gap_is_told);
	tcase_add_test(tc, a_wider_complete_set_wins);
	tcase_add_test(tc, at_equal_range_the_higher_round_wins);
	tcase_add_test(tc, parts_count_together_or_not_at_all);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
