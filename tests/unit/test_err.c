/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test.h"

static struct kvlog_error err;

static void
dirty(void)
{
	memset(&err, 0x5a, sizeof err);
}

START_TEST(every_status_has_its_own_text)
{
	for (int a = KVLOG_OK; a <= KVLOG_TOOOLD; a++) {
		const char *text = err_text((enum kvlog_status)a);

		ck_assert_str_ne(text, "");
		ck_assert_str_ne(text, "unknown status");
		ck_assert_ptr_null(strchr(text, '\n'));
		for (int b = KVLOG_OK; b < a; b++)
			ck_assert_str_ne(text, err_text((enum kvlog_status)b));
	}
}
END_TEST

START_TEST(unknown_status_has_a_text)
{
	/* A library and a program may be of different versions. */
	ck_assert_str_eq(err_text((enum kvlog_status)99), "unknown status");
	ck_assert_str_eq(err_text((enum kvlog_status) - 1), "unknown status");
}
END_TEST

START_TEST(set_fills_all_and_returns_the_status)
{
	ck_assert_int_eq(err_set(&err, KVLOG_CORRUPT, 0, "file %d: %s", 7, "x"),
	    KVLOG_CORRUPT);
	ck_assert_int_eq(err.status, KVLOG_CORRUPT);
	ck_assert_int_eq(err.sys_errno, 0);
	ck_assert_uint_eq(err.segment, 0);
	ck_assert_uint_eq(err.offset, 0);
	ck_assert_str_eq(err.text, "file 7: x");
}
END_TEST

START_TEST(set_appends_the_reason)
{
	ck_assert_int_eq(err_set(&err, KVLOG_IO, ENOENT, "open a"), KVLOG_IO);
	ck_assert_int_eq(err.sys_errno, ENOENT);
	ck_assert_str_eq(err.text, "open a: No such file or directory");
}
END_TEST

START_TEST(set_copes_with_unknown_errno)
{
	err_set(&err, KVLOG_IO, 99999, "open a");
	ck_assert_int_eq(strncmp(err.text, "open a: ", 8), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "99999"));
}
END_TEST

START_TEST(set_at_notes_the_place)
{
	ck_assert_int_eq(err_set_at(&err, KVLOG_CORRUPT, 12,
			     UINT64_C(0x123456789a), "bad %s", "sum"),
	    KVLOG_CORRUPT);
	ck_assert_int_eq(err.status, KVLOG_CORRUPT);
	ck_assert_int_eq(err.sys_errno, 0);
	ck_assert_uint_eq(err.segment, 12);
	ck_assert_uint_eq(err.offset, UINT64_C(0x123456789a));
	ck_assert_str_eq(err.text, "bad sum");
}
END_TEST

START_TEST(sys_chooses_the_status)
{
	ck_assert_int_eq(err_sys(&err, ENOSPC, "a"), KVLOG_NOSPACE);
	ck_assert_int_eq(err.status, KVLOG_NOSPACE);
	ck_assert_int_eq(err.sys_errno, ENOSPC);
	ck_assert_str_eq(
	    err.text, "a: No space left on device; make room on the disk");
	ck_assert_int_eq(err_sys(&err, EDQUOT, "a"), KVLOG_NOSPACE);
	ck_assert_ptr_nonnull(strstr(err.text, "; make room within the quota"));
	ck_assert_int_eq(err_sys(&err, EFBIG, "a"), KVLOG_NOSPACE);
	ck_assert_ptr_nonnull(strstr(err.text, "(ulimit -f)"));
	ck_assert_int_eq(err_sys(&err, ENOMEM, "a"), KVLOG_NOMEM);
	ck_assert_int_eq(err_sys(&err, EIO, "a"), KVLOG_IO);
	ck_assert_int_eq(err_sys(&err, EACCES, "a"), KVLOG_IO);
}
END_TEST

START_TEST(null_detail_is_fine)
{
	ck_assert_int_eq(err_set(NULL, KVLOG_IO, EIO, "a"), KVLOG_IO);
	ck_assert_int_eq(
	    err_set_at(NULL, KVLOG_CORRUPT, 1, 2, "a"), KVLOG_CORRUPT);
	ck_assert_int_eq(err_sys(NULL, ENOMEM, "a"), KVLOG_NOMEM);
}
END_TEST

/* A path of _i bytes: what stands behind it, and its own end, stay. */
START_TEST(a_long_path_loses_its_middle)
{
	static const char rest[] = "/end of it is wrong; do this and that";
	static const char why[] = ": No such file or directory";
	const size_t len = (size_t)_i;
	char path[600], whole[700];

	memset(path, 'a', len);
	path[len] = '\0';
	snprintf(whole, sizeof whole, "open %s%s%s", path, rest, why);
	err_set(&err, KVLOG_IO, ENOENT, "open %s%s", path, rest);
	if (strlen(whole) < sizeof err.text) {
		ck_assert_str_eq(err.text, whole);
		return;
	}
	ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
	ck_assert_mem_eq(err.text, whole, 40);
	ck_assert_mem_eq(err.text + 40, "...", 3);
	ck_assert_str_eq(
	    err.text + 43, whole + strlen(whole) - (sizeof err.text - 1 - 43));
}
END_TEST

/* Longer than any path can be. */
START_TEST(an_endless_text_keeps_the_reason)
{
	static char text[20000];

	memset(text, 'a', sizeof text - 1);
	err_set(&err, KVLOG_IO, ENAMETOOLONG, "open %s", text);
	ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
	ck_assert_ptr_nonnull(strstr(err.text, "a: File name too long"));
}
END_TEST

/* _i bytes and then characters of three bytes: none may be cut in two. */
START_TEST(cut_spares_characters)
{
	char text[600];
	const char *cut;

	memset(text, 'a', (size_t)_i);
	for (size_t at = (size_t)_i; at < 480; at += 3)
		memcpy(text + at, "\xe2\x82\xac", 4);
	err_set(&err, KVLOG_IO, 0, "%s", text);
	cut = strstr(err.text, "...");
	ck_assert_ptr_nonnull(cut);
	ck_assert_uint_ge(strlen(err.text), sizeof err.text - 1 - 2 - 2);
	ck_assert_mem_eq(err.text, text, (size_t)(cut - err.text));
	ck_assert_uint_eq(((size_t)(cut - err.text) - (size_t)_i) % 3, 0);
	ck_assert_uint_eq(strlen(cut + 3) % 3, 0);
	ck_assert_mem_eq(cut + 3, "\xe2", 1);
}
END_TEST

START_TEST(text_is_one_line)
{
	err_set(&err, KVLOG_IO, 0, "open %s", "a\nb\tc\x7f\x1b[0m");
	ck_assert_str_eq(err.text, "open a?b?c??[0m");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("err");
	TCase *tc = tcase_create("err");

	tcase_add_checked_fixture(tc, dirty, NULL);
	tcase_add_test(tc, every_status_has_its_own_text);
	tcase_add_test(tc, unknown_status_has_a_text);
	tcase_add_test(tc, set_fills_all_and_returns_the_status);
	tcase_add_test(tc, set_appends_the_reason);
	tcase_add_test(tc, set_copes_with_unknown_errno);
	tcase_add_test(tc, set_at_notes_the_place);
	tcase_add_test(tc, sys_chooses_the_status);
	tcase_add_test(tc, null_detail_is_fine);
	tcase_add_loop_test(tc, a_long_path_loses_its_middle, 180, 230);
	tcase_add_test(tc, an_endless_text_keeps_the_reason);
	tcase_add_loop_test(tc, cut_spares_characters, 0, 4);
	tcase_add_test(tc, text_is_one_line);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
