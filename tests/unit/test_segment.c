/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "segment.h"

#include "bytes.h"
#include "rng.h"

#include <errno.h>
#include <unistd.h>

#include "segtest.h"

static const struct file_id first_id = {1, 1, 0, 1, 1};
static struct os_table table; /* the real one, changed in places */

static void
setup(void)
{
	segtest_setup();
	table = *os;
	os = &table;
}

static enum kvlog_status
open_first(struct segment **ret_seg, struct kvlog_error *err)
{
	return segment_open(
	    &segtest_dir, "00000001.seg", &first_id, ret_seg, err);
}

static struct segment *
must_open(void)
{
	struct segment *seg = NULL;
	struct kvlog_error err = {0};

	ck_assert_msg(open_first(&seg, &err) == KVLOG_OK, "open: %s", err.text);
	return seg;
}

static void
check_header(const struct segment_header *a, const struct segment_header *b)
{
	ck_assert_mem_eq(&a->store, &b->store, sizeof a->store);
	ck_assert_uint_eq(a->kind, b->kind);
	ck_assert(file_id_equal(&a->id, &b->id));
	ck_assert_uint_eq(a->size, b->size);
	ck_assert_uint_eq(a->salt, b->salt);
	ck_assert_uint_eq(a->set_id, b->set_id);
	ck_assert_uint_eq(a->end, b->end);
	ck_assert_uint_eq(a->last_salt, b->last_salt);
	ck_assert_uint_eq(a->last_end, b->last_end);
	ck_assert_uint_eq(a->last_seq, b->last_seq);
	ck_assert_uint_eq(a->now_ms, b->now_ms);
}

static int
map_nothing(
    int fd, uint64_t len, bool writable, bool by_pwrite, struct os_map *ret_map)
{
	(void)fd;
	(void)len;
	(void)writable;
	(void)by_pwrite;
	(void)ret_map;
	return ENOMEM;
}

/* As it ends on 32 bits when a store has some gigabytes. */
START_TEST(the_end_of_the_address_space_is_told)
{
	struct segment *made = segtest_create(1, 8192), *seg = NULL;
	struct segment_header header = made->header;
	struct kvlog_error err;

	table.map = map_nothing;
	ck_assert_int_eq(open_first(&seg, &err), KVLOG_NOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "00000001.seg"));
	ck_assert_ptr_nonnull(strstr(err.text, "address space"));
	ck_assert_int_eq(
	    segment_create(&segtest_dir, "2", &header, false, &seg, &err),
	    KVLOG_NOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "of 8192 bytes"));
	ck_assert_ptr_nonnull(strstr(err.text, "address space"));
	ck_assert_ptr_null(seg);
	segment_close(made);
	seg = NULL;
	table.map = os_real.map;
	seg = must_open();
	table.map = map_nothing;
	ck_assert_int_eq(
	    segment_make_writable(seg, &segtest_dir, &err), KVLOG_NOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "address space"));
	segment_close(seg);
}
END_TEST

START_TEST(what_was_created_can_be_opened)
{
	struct segment *made = segtest_create(1, 8192), *seg = must_open();
	struct os_stat st;

	check_header(&seg->header, &made->header);
	ck_assert_uint_ne(seg->header.salt, 0);
	ck_assert(seg->link_ok);
	ck_assert(!seg->header_damaged);
	ck_assert(seg->link.durable);
	ck_assert_uint_eq(seg->link.first_seq, 1);
	ck_assert_uint_eq(seg->file_len, 8192);
	ck_assert_uint_eq(segment_limit(seg), 8192);
	ck_assert_uint_eq(segment_end(seg), SEGMENT_DATA_OFF);
	ck_assert_uint_eq(segment_number(seg), 1);
	ck_assert_uint_eq(segment_last_salt(seg), seg->header.salt);
	ck_assert(!seg->map.writable);
	ck_assert(made->map.writable);
	/* SEG-4 */
	ck_assert_int_eq(os->stat(seg->fd, &st), 0);
	ck_assert_uint_ge(st.allocated, 8192);
	segment_close(made);
	segment_close(seg);
	segment_close(NULL);
}
END_TEST

START_TEST(an_output_says_where_it_ends)
{
	const struct file_id id = {3, 9, 2, 2, 5};
	struct segment_header h = segtest_header(3, 16384);
	struct segment *made = NULL, *seg = NULL;
	char name[DIR_NAME_LEN];

	h.id = id;
	h.kind = SEGMENT_OUTPUT;
	h.set_id = 0x1234;
	h.end = 9000;
	h.last_salt = 0x77;
	h.last_end = 5000;
	h.last_seq = 4711;
	h.now_ms = 123456789;
	dir_make_name(name, &id, "seg");
	ck_assert_int_eq(
	    segment_create(&segtest_dir, name, &h, false, &made, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(
	    segment_open(&segtest_dir, name, &id, &seg, NULL), KVLOG_OK);
	check_header(&seg->header, &made->header);
	ck_assert(!seg->link_ok); /* none stored yet */
	ck_assert_uint_eq(segment_end(seg), 9000);
	ck_assert_uint_eq(segment_number(seg), 9);
	ck_assert_uint_eq(segment_last_salt(seg), 0x77);
	ck_assert_uint_eq(seg->last_seq, 4711);
	segment_close(made);
	segment_close(seg);
}
END_TEST

static unsigned random_calls;

static int
zeros_first(void *buf, size_t len)
{
	if (random_calls++ < 2) {
		memset(buf, 0, len);
		return 0;
	}
	return os_real.random(buf, len);
}

START_TEST(a_salt_is_never_zero)
{
	struct segment *seg;

	table.random = zeros_first;
	seg = segtest_create(1, 8192);
	ck_assert_uint_eq(random_calls, 3);
	ck_assert_uint_ne(seg->header.salt, 0);
	segment_close(seg);
}
END_TEST

/*
 * As a real disk does it: what there is, and then an error.  No test fills
 * the real disk: for that moment all others on the machine would lose what
 * they write.
 */
static int
disk_of_8192_bytes(int fd, uint64_t size)
{
	int rc = os_real.allocate(fd, size < 8192 ? size : 8192);

	return rc == 0 && size > 8192 ? ENOSPC : rc;
}

START_TEST(creating_fails_without_a_trace)
{
	const struct segment_header h = segtest_header(1, 8192);
	struct segment *seg = NULL;
	struct kvlog_error err;
	struct file_list list;

	/* The name is taken. */
	segment_close(segtest_create(1, 8192));
	ck_assert_int_eq(
	    segment_create(&segtest_dir, "00000001.seg", &h, false, &seg, &err),
	    KVLOG_IO);
	ck_assert_int_eq(err.sys_errno, EEXIST);
	ck_assert_ptr_null(seg);
	segment_close(must_open());
	/* A disk that is too small. */
	table.allocate = disk_of_8192_bytes;
	ck_assert_int_eq(segment_create(&segtest_dir, "big.tmp",
			     &(struct segment_header){.id = {1, 1, 0, 1, 1},
				 .size = UINT64_C(1) << 38},
			     false, &seg, &err),
	    KVLOG_NOSPACE);
	ck_assert_int_eq(err.sys_errno, ENOSPC);
	ck_assert_int_eq(dir_list(&segtest_dir, &list, NULL), KVLOG_OK);
	ck_assert_uint_eq(list.count, 1);
	file_list_fini(&list);
}
END_TEST

START_TEST(one_good_copy_of_the_header_is_enough)
{
	struct segment *made = segtest_create(1, 8192), *seg;

	for (size_t off = 0; off < 512; off++) {
		segtest_flip(made, off);
		seg = must_open();
		ck_assert(seg->header_damaged);
		check_header(&seg->header, &made->header);
		ck_assert(seg->link_ok);
		segment_close(seg);
		segtest_flip(made, off);

		segtest_flip(made, 4096 + off);
		seg = must_open();
		ck_assert(!seg->header_damaged);
		check_header(&seg->header, &made->header);
		segment_close(seg);
		segtest_flip(made, 4096 + off);
	}
	segment_close(made);
}
END_TEST

START_TEST(two_bad_copies_are_not)
{
	struct segment *made = segtest_create(1, 8192), *seg = NULL;
	struct kvlog_error err = {0};

	for (size_t off = 0; off < 512; off += 7) {
		segtest_flip(made, off);
		segtest_flip(made, 4096 + (off * 5) % 512);
		ck_assert_int_eq(open_first(&seg, &err), KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, 1);
		ck_assert_ptr_null(seg);
		segtest_flip(made, off);
		segtest_flip(made, 4096 + (off * 5) % 512);
	}
	segment_close(must_open());
	segment_close(made);
}
END_TEST

/* Change a field of both copies and seal them anew. */
static void
forge(const struct segment *made, size_t at, const void *bytes, size_t len)
{
	char *path = files_path(segtest_path, made->name);
	size_t file_len;
	uint8_t *all = files_read(path, &file_len);

	memcpy(all + at, bytes, len);
	put_u32(all + 8, sum_crc(all + 12, 500));
	files_patch(path, 0, all, 512);
	files_patch(path, 4096, all, 512);
	free(all);
	free(path);
}

static void
forge_u64(const struct segment *made, size_t at, uint64_t value)
{
	uint8_t bytes[8];

	put_u64(bytes, value);
	forge(made, at, bytes, 8);
}

START_TEST(versions_and_features)
{
	static const struct {
		size_t at;
		uint8_t value;
		enum kvlog_status result;
	} tries[] = {{12, SEGMENT_FORMAT + 1, KVLOG_VERSION},
	    {12, SEGMENT_FORMAT - 1, KVLOG_VERSION}, {13, 1, KVLOG_VERSION},
	    {14, 9, KVLOG_OK}, {15, 9, KVLOG_OK}, {16, 1, KVLOG_VERSION},
	    {17, 0x80, KVLOG_VERSION}, {18, 1, KVLOG_OK}, {19, 0x80, KVLOG_OK},
	    {20, 3, KVLOG_VERSION}, {23, 1, KVLOG_VERSION}};
	struct kvlog_error err;

	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct segment *made = segtest_create(1, 8192), *seg = NULL;

		forge(made, tries[i].at, &tries[i].value, 1);
		ck_assert_int_eq(open_first(&seg, &err), tries[i].result);
		if (tries[i].result == KVLOG_VERSION)
			ck_assert_uint_eq(err.segment, 1);
		segment_close(seg);
		segment_close(made);
		ck_assert_int_eq(os->unlink(segtest_dir.fd, made->name), 0);
	}
}
END_TEST

/* A right sum makes no number right. */
START_TEST(hostile_headers_are_damage)
{
	static const struct {
		size_t at;
		uint64_t value;
	} tries[] = {{56, 0}, {56, 4607}, {56, (UINT64_C(1) << 39) + 1},
	    {56, UINT64_MAX}, {40, 2}, {40, 0}, {48, 1}, {52, 0},
	    {104, UINT64_MAX}};
	struct segment *seg = NULL;

	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct segment *made = segtest_create(1, 8192);

		forge_u64(made, tries[i].at, tries[i].value);
		ck_assert_int_eq(open_first(&seg, NULL), KVLOG_CORRUPT);
		segment_close(made);
		ck_assert_int_eq(os->unlink(segtest_dir.fd, made->name), 0);
	}
}
END_TEST

START_TEST(hostile_ends_of_outputs_are_damage)
{
	static const uint64_t ends[] = {
	    0, 4600, 4612, 8200, UINT64_MAX, UINT64_MAX - 7};
	const struct file_id id = {1, 2, 1, 1, 1};
	struct segment *seg = NULL;

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct segment_header h = segtest_header(1, 8192);
		struct segment *made = NULL;

		h.id = id;
		h.kind = SEGMENT_OUTPUT;
		h.end = 8192;
		ck_assert_int_eq(segment_create(&segtest_dir, "out.tmp", &h,
				     false, &made, NULL),
		    KVLOG_OK);
		ck_assert_int_eq(
		    segment_open(&segtest_dir, "out.tmp", &id, &seg, NULL),
		    KVLOG_OK);
		segment_close(seg);
		seg = NULL;
		forge_u64(made, 80, ends[i]);
		ck_assert_int_eq(
		    segment_open(&segtest_dir, "out.tmp", &id, &seg, NULL),
		    KVLOG_CORRUPT);
		segment_close(made);
		ck_assert_int_eq(os->unlink(segtest_dir.fd, "out.tmp"), 0);
	}
}
END_TEST

START_TEST(the_name_must_be_that_of_the_header)
{
	static const struct file_id others[] = {
	    {2, 2, 0, 1, 1}, {1, 2, 0, 1, 1}, {1, 1, 1, 1, 1}, {1, 1, 0, 1, 2}};
	struct segment *seg = NULL;
	struct kvlog_error err;

	segment_close(segtest_create(1, 8192));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		ck_assert_int_eq(segment_open(&segtest_dir, "00000001.seg",
				     &others[i], &seg, &err),
		    KVLOG_CORRUPT);
	ck_assert_int_eq(
	    segment_open(&segtest_dir, "00000002.seg", &others[0], &seg, &err),
	    KVLOG_IO);
	ck_assert_int_eq(err.sys_errno, ENOENT);
}
END_TEST

START_TEST(a_link_is_valid_in_its_segment_only)
{
	const struct segment_link want = {UINT64_C(0x1111111111111111),
	    UINT64_C(0x2222222222222220), UINT64_C(0x3333333333333333),
	    UINT64_C(0x4444444444444444), false};
	struct segment *made = segtest_create(1, 8192), *seg;
	struct segment *two = segtest_create(2, 8192);
	char *path = files_path(segtest_path, made->name);
	char *path2 = files_path(segtest_path, two->name);
	uint8_t *bytes;
	size_t len;

	ck_assert_int_eq(segment_store_link(made, &want), 0);
	ck_assert(made->link_ok);
	seg = must_open();
	ck_assert(seg->link_ok);
	ck_assert_uint_eq(seg->link.prev_salt, want.prev_salt);
	ck_assert_uint_eq(seg->link.prev_end, want.prev_end);
	ck_assert_uint_eq(seg->link.prev_last_seq, want.prev_last_seq);
	ck_assert_uint_eq(seg->link.first_seq, want.first_seq);
	ck_assert(!seg->link.durable);
	segment_close(seg);

	for (size_t off = 512; off < 576; off++) {
		segtest_flip(made, off);
		seg = must_open();
		ck_assert_msg(!seg->link_ok, "byte %zu", off);
		ck_assert(!seg->header_damaged);
		segment_close(seg);
		segtest_flip(made, off);
	}

	/* The same link under another salt. */
	bytes = files_read(path2, &len);
	files_patch(path, 512, bytes + 512, 64);
	free(bytes);
	seg = must_open();
	ck_assert(!seg->link_ok);
	segment_close(seg);
	segment_close(made);
	segment_close(two);
	free(path);
	free(path2);
}
END_TEST

/* A right sum makes no number right here either. */
START_TEST(hostile_links_are_not_valid)
{
	static const struct segment_link links[] = {
	    {1, 4612, 1, 1, false},
	    {1, 4616, UINT64_MAX, 1, false},
	    {1, 4616, 1, UINT64_MAX, false},
	};
	struct segment *made = segtest_create(1, 8192);

	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		struct segment *seg;

		ck_assert_int_eq(segment_store_link(made, &links[i]), 0);
		seg = must_open();
		ck_assert(!seg->link_ok);
		segment_close(seg);
	}
	segment_close(made);
}
END_TEST

START_TEST(a_directory_is_no_segment)
{
	char *path = files_path(segtest_path, "00000001.seg");
	struct segment *seg = NULL;

	ck_assert_int_eq(os->mkdir(path, 0777), 0);
	ck_assert_int_ne(open_first(&seg, NULL), KVLOG_OK);
	ck_assert_ptr_null(seg);
	free(path);
}
END_TEST

START_TEST(a_name_that_is_taken_is_not_replaced)
{
	const struct segment_header h = segtest_header(1, 8192);
	struct segment *one = segtest_create(1, 8192), *two = NULL, *seg;

	ck_assert_int_eq(
	    segment_create(&segtest_dir, "spare", &h, false, &two, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(segment_take_name(two, &segtest_dir), EEXIST);
	ck_assert_str_eq(two->name, "spare");
	seg = must_open();
	ck_assert_uint_eq(seg->header.salt, one->header.salt);
	segment_close(seg);
	ck_assert_int_eq(os->unlink(segtest_dir.fd, "00000001.seg"), 0);
	ck_assert_int_eq(segment_take_name(two, &segtest_dir), 0);
	ck_assert_str_eq(two->name, "00000001.seg");
	seg = must_open();
	ck_assert_uint_eq(seg->header.salt, two->header.salt);
	segment_close(seg);
	segment_close(one);
	segment_close(two);
}
END_TEST

START_TEST(a_mapping_outlives_its_descriptor)
{
	struct segment *seg = segtest_create(1, 8192);
	uint64_t off = segtest_put(seg, 1, "key", "value");
	struct record rec;

	segment_close_fd(seg);
	segment_close_fd(seg);
	ck_assert_int_eq(seg->fd, -1);
	ck_assert(segment_parse(seg, off, &rec));
	ck_assert_mem_eq(rec.value, "value", 5);
	segment_close(seg);
}
END_TEST

/* But not another file of its name. */
START_TEST(a_closed_descriptor_can_be_opened_again)
{
	struct segment *seg, *made = segtest_create(1, 8192);
	bool opened = false;
	int fd;

	seg = must_open();
	fd = seg->fd;
	ck_assert_int_eq(segment_open_fd(seg, &segtest_dir, &opened), 0);
	ck_assert(!opened);
	ck_assert_int_eq(seg->fd, fd);
	segment_close_fd(seg);
	ck_assert_int_eq(segment_open_fd(seg, &segtest_dir, &opened), 0);
	ck_assert(opened);
	ck_assert_int_eq(os->sync(seg->fd), 0);

	segment_close_fd(seg);
	segment_close(made);
	ck_assert_int_eq(
	    os->rename(segtest_dir.fd, "00000001.seg", "aside"), 0);
	ck_assert_int_eq(segment_open_fd(seg, &segtest_dir, &opened), ENOENT);
	made = segtest_create(1, 8192);
	ck_assert_int_eq(segment_open_fd(seg, &segtest_dir, &opened), ESTALE);
	ck_assert(!opened);
	ck_assert_int_eq(seg->fd, -1);
	segment_close(made);
	segment_close(seg);
}
END_TEST

START_TEST(cut_files_open_as_far_as_they_go)
{
	struct segment *made = segtest_create(1, 8192), *seg = NULL;
	char *path = files_path(segtest_path, made->name);
	struct kvlog_error err;

	segment_close(made);
	for (uint64_t len = 8192; len-- > 0;) {
		enum kvlog_status st;

		ck_assert_int_eq(truncate(path, (off_t)len), 0);
		st = open_first(&seg, &err);
		if (len < SEGMENT_DATA_OFF) {
			ck_assert_int_eq(st, KVLOG_CORRUPT);
			ck_assert_uint_eq(err.segment, 1);
			continue;
		}
		ck_assert_int_eq(st, KVLOG_OK);
		ck_assert_uint_eq(segment_limit(seg), len / 8 * 8);
		ck_assert_uint_eq(seg->file_len, len);
		segment_close(seg);
	}
	free(path);
}
END_TEST

START_TEST(the_reserve_becomes_a_segment)
{
	const struct segment_header h = segtest_header(7, 8192);
	char *path = files_path(segtest_path, "reserve");
	struct segment *made = NULL, *seg = NULL;
	static const uint8_t zeros[8192];

	files_write(path, zeros, sizeof zeros);
	ck_assert_int_eq(
	    segment_create(&segtest_dir, "reserve", &h, true, &made, NULL),
	    KVLOG_OK);
	ck_assert(made->map.writable);
	ck_assert_int_eq(
	    segment_open(&segtest_dir, "reserve", &h.id, &seg, NULL), KVLOG_OK);
	ck_assert_uint_eq(seg->header.salt, made->header.salt);
	segment_close(seg);
	segment_close(made);
	free(path);
}
END_TEST

/* Copies may be sparse, and close gives unused space back: some is allocated
 * at once, the rest when it is needed. */
START_TEST(making_writable_allocates)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	char *path = files_path(segtest_path, seg->name);
	struct os_stat st;

	segtest_put(seg, 1, "key", "value");
	segment_close(seg);
	ck_assert_int_eq(truncate(path, 5000), 0);
	ck_assert_int_eq(truncate(path, (off_t)SEGTEST_SIZE), 0);
	seg = must_open();
	ck_assert_int_eq(
	    segment_make_writable(seg, &segtest_dir, NULL), KVLOG_OK);
	ck_assert(seg->map.writable);
	ck_assert_int_eq(os->stat(seg->fd, &st), 0);
	ck_assert_uint_ge(st.allocated, seg->allocated);
	ck_assert_uint_gt(seg->allocated, SEGMENT_DATA_OFF + 100000);
	ck_assert_uint_lt(seg->allocated, SEGTEST_SIZE);
	ck_assert_int_eq(segment_allocate(seg, seg->allocated), 0);
	ck_assert_uint_lt(seg->allocated, SEGTEST_SIZE);
	ck_assert_int_eq(segment_allocate(seg, seg->allocated + 8), 0);
	ck_assert_uint_eq(seg->allocated, SEGTEST_SIZE);
	ck_assert_int_eq(os->stat(seg->fd, &st), 0);
	ck_assert_uint_ge(st.allocated, SEGTEST_SIZE);
	ck_assert_int_eq(os->store(&seg->map, SEGTEST_SIZE - 1, "x", 1), 0);
	segment_close(seg);

	/* Also of a file that was cut. */
	ck_assert_int_eq(truncate(path, 5000), 0);
	seg = must_open();
	ck_assert_int_eq(
	    segment_make_writable(seg, &segtest_dir, NULL), KVLOG_OK);
	ck_assert_uint_eq(segment_limit(seg), SEGTEST_SIZE);
	ck_assert_int_eq(os->store(&seg->map, SEGTEST_SIZE - 1, "x", 1), 0);
	segment_close(seg);
	free(path);
}
END_TEST

START_TEST(a_walk_meets_every_record)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	uint64_t offs[50], off = SEGMENT_DATA_OFF;
	struct record rec;
	bool bad = true;

	for (unsigned i = 0; i < 50; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "%u", i);
		offs[i] = segtest_put(seg, i + 1, key, "value");
	}
	for (unsigned i = 0; i < 50; i++, off += rec.size) {
		ck_assert(
		    segment_walk(seg, &off, segment_end(seg), &rec, &bad));
		ck_assert(!bad);
		ck_assert_uint_eq(off, offs[i]);
		ck_assert_uint_eq(rec.seq, i + 1);
		ck_assert(segment_parse(seg, off, &rec));
	}
	ck_assert(!segment_walk(seg, &off, segment_end(seg), &rec, &bad));
	ck_assert(!bad);
	ck_assert(!segment_parse(seg, off, &rec));

	/* Known bad ranges are left out, neighbours too. */
	ck_assert_int_eq(segment_add_bad(seg, offs[10], offs[11]), 0);
	ck_assert_int_eq(segment_add_bad(seg, offs[11], offs[13]), 0);
	ck_assert_int_eq(segment_add_bad(seg, offs[49], segment_end(seg)), 0);
	off = offs[10];
	ck_assert(segment_walk(seg, &off, segment_end(seg), &rec, &bad));
	ck_assert_uint_eq(off, offs[13]);
	off = offs[49];
	ck_assert(!segment_walk(seg, &off, segment_end(seg), &rec, &bad));
	ck_assert(!bad);

	/* An unknown one ends the walk. */
	segtest_flip(seg, offs[20]);
	off = offs[20];
	ck_assert(!segment_walk(seg, &off, segment_end(seg), &rec, &bad));
	ck_assert(bad);
	ck_assert_uint_eq(off, offs[20]);
	segment_close(seg);
}
END_TEST

/* Scanning */

static enum scan_state
look(struct segment_scan *scan, struct record *rec, bool *value_ok)
{
	return segment_scan_look(scan, rec, value_ok);
}

START_TEST(a_scan_sees_records_then_zeros)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	struct segment_scan scan;
	struct record rec;
	bool value_ok = false;

	segtest_put(seg, 1, "key", "value");
	segtest_delete(seg, 2, "key");
	segtest_record(seg, RECORD_MARK, 2, NULL, 0, NULL, 0);
	ck_assert_int_eq(
	    segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, SEGTEST_SIZE), 0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	ck_assert(value_ok);
	ck_assert_uint_eq(scan.off, SEGMENT_DATA_OFF); /* does not move */
	ck_assert_mem_eq(rec.key, "key", 3);
	ck_assert_ptr_null(rec.value);
	scan.off += rec.size;
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	ck_assert_uint_eq(rec.type, RECORD_DELETE);
	scan.off += rec.size;
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	ck_assert_uint_eq(rec.type, RECORD_MARK);
	scan.off += rec.size;
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_ZERO);
	segment_scan_fini(&scan);

	ck_assert_int_eq(
	    segment_scan_init(&scan, seg, segment_end(seg), segment_end(seg)),
	    0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_END);
	segment_scan_fini(&scan);

	/* A limit within a record: it does not fit. */
	ck_assert_int_eq(segment_scan_init(&scan, seg, SEGMENT_DATA_OFF,
			     SEGMENT_DATA_OFF + 32),
	    0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_BAD);
	segment_scan_fini(&scan);
	segment_close(seg);
}
END_TEST

/* B6: one byte anywhere up to the limit, and the end is not all zero. */
START_TEST(zeros_must_reach_to_the_limit)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	struct record rec;
	bool value_ok;

	segtest_put(seg, 1, "key", "value");
	for (uint64_t off = segment_end(seg); off < SEGTEST_SIZE;
	     off = off * 9 / 8 + 1) {
		struct segment_scan scan;

		segtest_flip(seg, off);
		ck_assert_int_eq(segment_scan_init(&scan, seg, segment_end(seg),
				     SEGTEST_SIZE),
		    0);
		ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_BAD);
		segment_scan_fini(&scan);
		ck_assert_int_eq(
		    segment_scan_init(&scan, seg, segment_end(seg), off & ~7u),
		    0);
		ck_assert_int_eq(look(&scan, &rec, &value_ok),
		    segment_end(seg) < (off & ~7u) ? SCAN_ZERO : SCAN_END);
		segment_scan_fini(&scan);
		segtest_flip(seg, off);
	}
	segment_close(seg);
}
END_TEST

/* Keys and values across every window, and longer than one. */
START_TEST(a_scan_follows_records_of_all_sizes)
{
	static const size_t value_lens[] = {
	    0, 1, 1000, 100000, 262000, 262144, 300000, 600000, 5};
	struct segment *seg = segtest_create(1, UINT64_C(8) << 20);
	uint8_t *key = malloc(65535), *value = malloc(600000);
	struct segment_scan scan;
	struct record rec;
	struct rng rng;
	unsigned count = 0;
	bool value_ok;

	ck_assert(key != NULL && value != NULL);
	rng_init(&rng, 17);
	rng_fill(&rng, key, 65535);
	rng_fill(&rng, value, 600000);
	for (unsigned turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < ARRAY_LEN(value_lens); i++)
			segtest_record(seg, RECORD_PUT, ++count, key,
			    i % 2 ? 65535 : 1 + i, value, value_lens[i]);
	ck_assert_int_eq(
	    segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, seg->header.size),
	    0);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
		ck_assert(value_ok);
		ck_assert_uint_eq(rec.seq, i + 1);
		ck_assert_mem_eq(rec.key, key, rec.key_len);
		scan.off += rec.size;
	}
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_ZERO);
	segment_scan_fini(&scan);
	segment_close(seg);
	free(key);
	free(value);
}
END_TEST

START_TEST(a_damaged_value_is_told_apart)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	uint64_t off = segtest_put(seg, 1, "key", "value");
	struct segment_scan scan;
	struct record rec;
	bool value_ok;

	segtest_flip(seg, off + 28 + 3 + 2);
	ck_assert_int_eq(segment_scan_init(&scan, seg, off, SEGTEST_SIZE), 0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	ck_assert(!value_ok);
	ck_assert_mem_eq(rec.key, "key", 3);
	segment_scan_fini(&scan);
	segment_close(seg);
}
END_TEST

START_TEST(a_newer_record_is_told)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	struct segment_scan scan;
	struct record rec;
	bool value_ok;
	uint64_t off = segtest_record(seg, 0x42, 1, "key", 3, "x", 1);

	segtest_record(seg, 0x82, 2, "key", 3, "x", 1);
	ck_assert_int_eq(segment_scan_init(&scan, seg, off, SEGTEST_SIZE), 0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_UNKNOWN);
	scan.off += rec.size;
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	segment_scan_fini(&scan);
	segment_close(seg);
}
END_TEST

START_TEST(resync_finds_the_next_record)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	static char value[30000];
	struct segment_scan scan;
	struct record rec;
	uint64_t one, two;
	bool value_ok;

	memset(value, 0xfe, sizeof value);
	one = segtest_record(seg, RECORD_PUT, 1, "key", 3, value, sizeof value);
	two = segtest_put(seg, 2, "key", "value");
	segtest_flip(seg, one + 1);
	ck_assert_int_eq(segment_scan_init(&scan, seg, one, SEGTEST_SIZE), 0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_BAD);
	ck_assert(segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, two);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	scan.off = two;
	ck_assert(!segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, SEGTEST_SIZE);
	segment_scan_fini(&scan);
	segment_close(seg);
}
END_TEST

START_TEST(resync_finds_a_record_at_the_very_end)
{
	static const uint8_t value[4096];
	const uint64_t last_size = record_size(0, 1, 0);
	struct segment *seg = segtest_create(1, 8192);
	struct segment_scan scan;
	uint64_t one, last;

	one = segtest_record(seg, RECORD_PUT, 1, "long", 4, value,
	    8192 - last_size - SEGMENT_DATA_OFF - RECORD_HEADER_SIZE - 4);
	last = segtest_delete(seg, 2, "k");
	ck_assert_uint_eq(last + last_size, 8192);
	segtest_flip(seg, one + 1);
	ck_assert_int_eq(segment_scan_init(&scan, seg, one, 8192), 0);
	ck_assert(segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, last);
	segment_scan_fini(&scan);
	segment_close(seg);
}
END_TEST

/* A value that looks like a header with the longest key at every place, of
 * many windows: what stands behind it is found, and soon. */
START_TEST(resync_is_not_held_up_by_what_looks_like_headers)
{
	static const uint8_t header[8] = {RECORD_PUT, 0, 0xff, 0xff};
	const uint64_t size = UINT64_C(3) << 20;
	struct segment *seg = segtest_create(1, size);
	size_t value_len = (size_t)size - 200000;
	uint8_t *value = malloc(value_len), *key = malloc(KVLOG_KEY_MAX);
	struct segment_scan scan;
	struct record rec;
	uint64_t one, two, three;
	bool value_ok;

	ck_assert(value != NULL && key != NULL);
	for (size_t i = 0; i < value_len; i++)
		value[i] = header[i % sizeof header];
	memset(key, 'k', KVLOG_KEY_MAX);
	one = segtest_record(seg, RECORD_PUT, 1, "four", 4, value, value_len);
	two =
	    segtest_record(seg, RECORD_PUT, 2, key, KVLOG_KEY_MAX, "value", 5);
	three = segtest_put(seg, 3, "key", "value");
	segtest_flip(seg, one + 1);
	ck_assert_int_eq(segment_scan_init(&scan, seg, one, size), 0);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_BAD);
	ck_assert(segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, two);
	ck_assert_ptr_nonnull(scan.search.spans);
	ck_assert_int_eq(look(&scan, &rec, &value_ok), SCAN_RECORD);
	ck_assert_uint_eq(rec.key_len, KVLOG_KEY_MAX);
	ck_assert(segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, three);
	segment_scan_fini(&scan);
	segment_close(seg);
	free(value);
	free(key);
}
END_TEST

/* A value may hold anything, records among it: of this very segment, but moved
 * (_i == 0), or from this very place of another one. */
START_TEST(resync_does_not_fall_for_records_in_values)
{
	const uint64_t in_value = RECORD_HEADER_SIZE + 4; /* a multiple of 8 */
	struct segment *seg = segtest_create(1, SEGTEST_SIZE);
	struct segment *other = segtest_create(2, SEGTEST_SIZE);
	struct segment_scan scan;
	uint8_t value[4096] = {0};
	uint64_t one, two, three, place;

	one = segtest_put(seg, 1, "key", "the value that is copied");
	two = segment_end(seg);
	place = two + in_value + 512;
	(void)segtest_record(other, RECORD_PUT, 1, "fill", 4, value,
	    (size_t)(place - SEGMENT_DATA_OFF - in_value));
	ck_assert_uint_eq(
	    segtest_put(other, 2, "key", "the value that is copied"), place);
	memcpy(value + 512,
	    _i == 0 ? seg->map.addr + one : other->map.addr + place, 64);
	ck_assert_uint_eq(
	    segtest_record(seg, RECORD_PUT, 2, "long", 4, value, sizeof value),
	    two);
	three = segtest_put(seg, 3, "key", "last");
	segtest_flip(seg, two);
	ck_assert_int_eq(segment_scan_init(&scan, seg, two, SEGTEST_SIZE), 0);
	ck_assert(segment_scan_resync(&scan));
	ck_assert_uint_eq(scan.off, three);
	segment_scan_fini(&scan);
	segment_close(seg);
	segment_close(other);
}
END_TEST

/* Media that cannot be read are bad bytes, not the end of the world. */
static uint64_t bad_from, bad_to;

static int
broken_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	if (off < bad_to && off + len > bad_from)
		return EIO;
	return os_real.pread(fd, buf, len, off, ret_len);
}

START_TEST(unreadable_blocks_are_bad_bytes)
{
	struct segment *seg = segtest_create(1, SEGTEST_SIZE), *again;
	static char value[3000];
	struct segment_scan scan;
	struct record rec;
	unsigned records = 0, bad = 0;
	bool value_ok;

	for (unsigned i = 0; i < 40; i++)
		segtest_record(
		    seg, RECORD_PUT, i + 1, "key", 3, value, sizeof value);
	bad_from = 40960;
	bad_to = 45056;
	table.pread = broken_pread;
	ck_assert_int_eq(
	    segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, segment_end(seg)),
	    0);
	for (;;) {
		enum scan_state state = look(&scan, &rec, &value_ok);

		if (state == SCAN_END)
			break;
		if (state == SCAN_RECORD && value_ok) {
			records++;
			scan.off += rec.size;
		} else if (state == SCAN_RECORD) {
			bad++;
			scan.off += rec.size;
		} else {
			ck_assert_int_eq(state, SCAN_BAD);
			bad++;
			ck_assert(segment_scan_resync(&scan));
		}
	}
	ck_assert_uint_ge(records, 37);
	ck_assert_uint_ge(bad, 1);
	segment_scan_fini(&scan);

	/* The header has a copy. */
	bad_from = 0;
	bad_to = 1;
	again = must_open();
	ck_assert(again->header_damaged);
	segment_close(again);
	segment_close(seg);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tc = tcase_create("segment");

	tcase_add_checked_fixture(tc, setup, segtest_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, what_was_created_can_be_opened);
	tcase_add_test(tc, the_end_of_the_address_space_is_told);
	tcase_add_test(tc, an_output_says_where_it_ends);
	tcase_add_test(tc, a_salt_is_never_zero);
	tcase_add_test(tc, creating_fails_without_a_trace);
	tcase_add_test(tc, one_good_copy_of_the_header_is_enough);
	tcase_add_test(tc, two_bad_copies_are_not);
	tcase_add_test(tc, versions_and_features);
	tcase_add_test(tc, hostile_headers_are_damage);
	tcase_add_test(tc, hostile_ends_of_outputs_are_damage);
	tcase_add_test(tc, the_name_must_be_that_of_the_header);
	tcase_add_test(tc, a_link_is_valid_in_its_segment_only);
	tcase_add_test(tc, hostile_links_are_not_valid);
	tcase_add_test(tc, a_directory_is_no_segment);
	tcase_add_test(tc, a_name_that_is_taken_is_not_replaced);
	tcase_add_test(tc, a_mapping_outlives_its_descriptor);
	tcase_add_test(tc, a_closed_descriptor_can_be_opened_again);
	tcase_add_test(tc, cut_files_open_as_far_as_they_go);
	tcase_add_test(tc, the_reserve_becomes_a_segment);
	tcase_add_test(tc, making_writable_allocates);
	tcase_add_test(tc, a_walk_meets_every_record);
	tcase_add_test(tc, a_scan_sees_records_then_zeros);
	tcase_add_test(tc, zeros_must_reach_to_the_limit);
	tcase_add_test(tc, a_scan_follows_records_of_all_sizes);
	tcase_add_test(tc, a_damaged_value_is_told_apart);
	tcase_add_test(tc, a_newer_record_is_told);
	tcase_add_test(tc, resync_finds_the_next_record);
	tcase_add_test(tc, resync_is_not_held_up_by_what_looks_like_headers);
	tcase_add_test(tc, resync_finds_a_record_at_the_very_end);
	tcase_add_loop_test(
	    tc, resync_does_not_fall_for_records_in_values, 0, 2);
	tcase_add_test(tc, unreadable_blocks_are_bad_bytes);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
