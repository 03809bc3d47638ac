/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_transfer.c - a file arrives in another directory as what it was, in
 * whichever way the file system allows; or not at all.
 */
#include "config.h"

#include "files.h"
#include "segment.h"
#include "test.h"
#include "tmpdir.h"
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "00000001.seg"
#define LEN 700000u
#define READS 33u    /* of pieces, to copy and to compare */
#define HOLE 300000u /* zeros from here on, for 300000 bytes */

static char *base, *from_path, *to_path, *to_file;
static struct dir from, to;
static struct transfer how;
static struct kvlog_error err;
static struct os_table table;
static uint8_t *bytes;
static uint64_t told, allowed;

/* What is refused is left to the next way; with other errors that ends. */
static int link_result, clone_result;
static const int refusals[] = {
    EXDEV, EPERM, EACCES, EMLINK, EOPNOTSUPP, ENOSYS, EINVAL};
#define REFUSALS ((int)(sizeof refusals / sizeof refusals[0]))

static bool
go_on(void *arg, uint64_t len)
{
	(void)arg;
	told += len;
	return told <= allowed;
}

static void
setup(void)
{
	char *file;

	base = tmpdir_create();
	from_path = files_path(base, "from");
	to_path = files_path(base, "to");
	to_file = files_path(to_path, NAME);
	ck_assert_int_eq(os->mkdir(from_path, 0777), 0);
	ck_assert_int_eq(os->mkdir(to_path, 0777), 0);
	ck_assert_int_eq(dir_open(&from, from_path, 0666, &err), KVLOG_OK);
	ck_assert_int_eq(dir_open(&to, to_path, 0666, &err), KVLOG_OK);
	bytes = calloc(1, LEN);
	for (size_t i = 0; i < LEN; i++)
		if (i < HOLE || i >= HOLE + HOLE)
			bytes[i] = (uint8_t)(i * 7 + i / 256);
	file = files_path(from_path, NAME);
	files_write(file, bytes, LEN);
	ck_assert_int_eq(chmod(file, 0640), 0);
	free(file);
	how = (struct transfer){.from = &from, .to = &to, .go_on = go_on};
	told = 0;
	allowed = UINT64_MAX;
	table = os_real;
	os = &table;
	link_result = clone_result = EXDEV;
}

static void
teardown(void)
{
	os = &os_real;
	dir_close(&from);
	dir_close(&to);
	free(bytes);
	free(to_file);
	free(to_path);
	free(from_path);
	tmpdir_remove(base);
}

static int
refuse_link(int from_fd, const char *a, int to_fd, const char *b)
{
	(void)from_fd;
	(void)a;
	(void)to_fd;
	(void)b;
	return link_result;
}

static int
refuse_clone(int a, int b)
{
	(void)a;
	(void)b;
	return clone_result;
}

static int
refuse_sync(int fd)
{
	(void)fd;
	return EIO;
}

/* As a file system does that has it. */
static int
make_clone(int a, int b)
{
	size_t len;
	uint8_t *all = malloc(LEN);
	int rc = os_real.pread(a, all, LEN, 0, &len);

	if (rc == 0)
		rc = os_real.pwrite(b, all, len, 0);
	free(all);
	return rc;
}

/* A disk that gives one bit otherwise than it was written, once. */
static unsigned reads, bad_read;

static int
read_badly(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	int rc = os_real.pread(fd, buf, len, off, ret_len);

	if (rc == 0 && ++reads == bad_read)
		((uint8_t *)buf)[*ret_len / 2] ^= 4;
	return rc;
}

static enum transfer_how
arrive(void)
{
	enum transfer_how way = TRANSFER_LINKED;
	struct stat st;
	bool gone = true;
	uint8_t *there;
	size_t len;

	ck_assert_int_eq(
	    transfer_file(&how, NAME, &way, &gone, &err), KVLOG_OK);
	ck_assert(!gone);
	there = files_read(to_file, &len);
	ck_assert_uint_eq(len, LEN);
	ck_assert_mem_eq(there, bytes, LEN);
	free(there);
	ck_assert_int_eq(stat(to_file, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777u, 0640);
	ck_assert_uint_eq(st.st_nlink, way == TRANSFER_LINKED ? 2 : 1);
	return way;
}

/* Nothing may be left. */
static enum kvlog_status
refused(void)
{
	enum transfer_how way;
	struct file_list list;
	bool gone;
	enum kvlog_status st = transfer_file(&how, NAME, &way, &gone, &err);

	ck_assert_int_eq(dir_list(&to, &list, NULL), KVLOG_OK);
	ck_assert_uint_eq(list.count, 0);
	file_list_fini(&list);
	return st;
}

START_TEST(links_come_first)
{
	ck_assert_int_eq(arrive(), TRANSFER_LINKED);
	ck_assert_uint_eq(told, 0);
}
END_TEST

START_TEST(clones_come_next)
{
	table.link = refuse_link;
	table.clone = make_clone;
	ck_assert_int_eq(arrive(), TRANSFER_CLONED);
}
END_TEST

START_TEST(copies_come_last)
{
	struct stat st;

	link_result = refusals[_i];
	clone_result = refusals[REFUSALS - 1 - _i];
	table.link = refuse_link;
	table.clone = refuse_clone;
	ck_assert_int_eq(arrive(), TRANSFER_COPIED);
	ck_assert_uint_eq(told, LEN);
	ck_assert_int_eq(stat(to_file, &st), 0);
	ck_assert_uint_lt((uint64_t)st.st_blocks * 512, LEN); /* sparse */
}
END_TEST

START_TEST(what_fails_is_told)
{
	table.link = refuse_link;
	table.clone = make_clone;
	table.sync = refuse_sync;
	ck_assert_int_eq(refused(), KVLOG_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "write "));
	table.clone = refuse_clone;
	ck_assert_int_eq(refused(), KVLOG_IO);
	clone_result = EIO;
	ck_assert_int_eq(refused(), KVLOG_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "clone "));
	link_result = EIO;
	ck_assert_int_eq(refused(), KVLOG_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "link "));
}
END_TEST

/* Somebody cuts the source when half of it is read. */
static int
read_and_cut(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	char *file = files_path(from_path, NAME);

	if (off >= LEN / 2)
		ck_assert_int_eq(truncate(file, LEN / 2), 0);
	free(file);
	return os_real.pread(fd, buf, len, off, ret_len);
}

START_TEST(a_file_that_is_cut_meanwhile_is_none)
{
	how.copy_only = true;
	table.pread = read_and_cut;
	ck_assert_int_eq(refused(), KVLOG_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "reads back otherwise"));
}
END_TEST

START_TEST(copies_can_be_asked_for)
{
	how.copy_only = true;
	ck_assert_int_eq(arrive(), TRANSFER_COPIED);
}
END_TEST

START_TEST(what_is_not_there_is_gone)
{
	enum transfer_how way;
	bool gone = false;

	for (unsigned i = 0; i < 2; i++) {
		how.copy_only = i == 1;
		gone = false;
		ck_assert_int_eq(
		    transfer_file(&how, "none", &way, &gone, &err), KVLOG_OK);
		ck_assert(gone);
	}
}
END_TEST

/* Whichever read of however many: of the source, or of the copy. */
START_TEST(a_copy_that_reads_back_otherwise_is_none)
{
	how.copy_only = true;
	table.pread = read_badly;
	for (bad_read = 1; bad_read <= READS; bad_read++) {
		reads = 0;
		ck_assert_int_eq(refused(), KVLOG_IO);
		ck_assert_ptr_nonnull(strstr(err.text, "reads back otherwise"));
	}
	bad_read = reads = 0;
	ck_assert_int_eq(arrive(), TRANSFER_COPIED);
	ck_assert_uint_eq(reads, READS); /* so each was tried */
}
END_TEST

START_TEST(a_copy_can_be_cancelled)
{
	how.copy_only = true;
	allowed = LEN / 2;
	ck_assert_int_eq(refused(), KVLOG_CANCELLED);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("transfer");
	TCase *tc = tcase_create("transfer");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, links_come_first);
	tcase_add_test(tc, clones_come_next);
	tcase_add_loop_test(tc, copies_come_last, 0, REFUSALS);
	tcase_add_test(tc, what_fails_is_told);
	tcase_add_test(tc, a_file_that_is_cut_meanwhile_is_none);
	tcase_add_test(tc, copies_can_be_asked_for);
	tcase_add_test(tc, what_is_not_there_is_gone);
	tcase_add_test(tc, a_copy_that_reads_back_otherwise_is_none);
	tcase_add_test(tc, a_copy_can_be_cancelled);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
