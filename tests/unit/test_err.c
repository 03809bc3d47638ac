/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "err.h"

#include <errno.h>
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
	for (int a = KVLOG_OK; a <= KVLOG_CANCELLED; a++) {
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
	ck_assert_str_eq(err.text, "a: No space left on device");
	ck_assert_int_eq(err_sys(&err, EDQUOT, "a"), KVLOG_NOSPACE);
	ck_assert_int_eq(err_sys(&err, EFBIG, "a"), KVLOG_NOSPACE);
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

/* _i bytes of text before a reason. */
START_TEST(overlong_text_keeps_the_reason)
{
	static const char why[] = ": No such file or directory";
	const size_t why_len = sizeof why - 1;
	const size_t len = (size_t)_i, room = sizeof err.text - 1 - why_len;
	char text[600];
	size_t kept;

	memset(text, 'a', len);
	text[len] = '\0';
	err_set(&err, KVLOG_IO, ENOENT, "%s", text);
	ck_assert_ptr_nonnull(memchr(err.text, '\0', sizeof err.text));
	kept = strlen(err.text) - why_len;
	ck_assert_str_eq(err.text + kept, why);
	if (len <= room) {
		ck_assert_uint_eq(kept, len);
		ck_assert_mem_eq(err.text, text, len);
	} else {
		ck_assert_uint_eq(kept, room);
		ck_assert_mem_eq(err.text, text, kept - 3);
		ck_assert_mem_eq(err.text + kept - 3, "...", 3);
	}
}
END_TEST

/* _i bytes and then characters of three bytes: none may be cut in two. */
START_TEST(cut_spares_characters)
{
	char text[600];
	size_t kept;

	memset(text, 'a', (size_t)_i);
	for (size_t at = (size_t)_i; at < 480; at += 3)
		memcpy(text + at, "\xe2\x82\xac", 4);
	err_set(&err, KVLOG_IO, 0, "%s", text);
	kept = strlen(err.text) - 3;
	ck_assert_str_eq(err.text + kept, "...");
	ck_assert_uint_ge(kept, sizeof err.text - 1 - 3 - 2);
	ck_assert_uint_eq((kept - (size_t)_i) % 3, 0);
	ck_assert_mem_eq(err.text, text, kept);
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
	tcase_add_loop_test(tc, overlong_text_keeps_the_reason, 220, 262);
	tcase_add_loop_test(tc, cut_spares_characters, 0, 4);
	tcase_add_test(tc, text_is_one_line);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
