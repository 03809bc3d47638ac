/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_errors.c - results that come from the files or from the system:
 * damage to headers, newer formats, files of other stores, full disks.
 */
#include "config.h"

#include "api.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* CRC-32C bit by bit, from a register: what a file or record is sealed with
 * after a field is changed. */
static uint32_t
crc32c_from(uint32_t reg, const uint8_t *p, size_t len)
{
	while (len-- > 0) {
		reg ^= *p++;
		for (int i = 0; i < 8; i++)
			reg = reg >> 1 ^ (reg & 1 ? 0x82f63b78u : 0);
	}
	return ~reg;
}

static uint32_t
crc32c(const uint8_t *p, size_t len)
{
	return crc32c_from(UINT32_MAX, p, len);
}

static void
put_le32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
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
	uint8_t *bytes = files_read(path, &len);

	bytes[at] = value;
	put_le32(bytes + 8, crc32c(bytes + 12, 500));
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
		    {12, 0, KVLOG_VERSION}, /* format 0 was never final */
		    {12, 2, KVLOG_VERSION}, {13, 1, KVLOG_VERSION}, /* 257 */
		    {14, 1, KVLOG_OK},                              /* minor */
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

/* A part of a set that is not understood is not "incomplete": what it stands
 * for would be taken for missing, and it for a leftover. */
START_TEST(a_newer_part_of_a_set_is_refused)
{
	char *from = files_path(api_store, "00000002.seg");
	char *part = files_path(api_store, "00000001-00000002.r1.1of2.seg");
	struct kvlog_error err;
	uint8_t *bytes;
	size_t len;

	(void)make_store(api_store);
	bytes = files_read(from, &len);
	files_write(part, bytes, len);
	change_header(part, 12, 2, true, true);
	ck_assert_int_eq(open_status(KVLOG_OPEN_READONLY, &err), KVLOG_VERSION);
	ck_assert_int_eq(open_status(0, &err), KVLOG_VERSION);
	ck_assert_ptr_nonnull(strstr(err.text, "1of2.seg"));
	ck_assert(files_exist(part));
	free(bytes);
	free(from);
	free(part);
}
END_TEST

/* A hint of a newer format is not used, and that is all. */
START_TEST(newer_hints_are_not_used)
{
	static const struct {
		size_t at;
		bool used;
	} tries[] = {
	    {12, false},              /* format */
	    {14, true},               /* minor */
	    {16, false}, {17, false}, /* features to refuse */
	    {18, true}, {19, true},   /* features to ignore */
	};
	struct tree tree;

	(void)make_store(api_store);
	tree_read(api_store, &tree);
	for (size_t t = 0; t < 2 * sizeof tries / sizeof tries[0]; t++) {
		size_t at = tries[t / 2].at, hints = 0;
		struct kvlog_stats s;
		struct kvlog *db;

		tree_write(api_store, &tree);
		for (size_t i = 0; i < tree.count; i++) {
			const struct tree_file *f = &tree.files[i];
			char *path = files_path(api_store, f->name);
			uint8_t head[64 * 64];
			size_t head_len = 0;

			if (strstr(f->name, ".hint") != NULL) {
				head_len = (size_t)f->bytes[20] |
					   (size_t)f->bytes[21] << 8;
				ck_assert_uint_le(head_len, sizeof head);
				memcpy(head, f->bytes, head_len);
				head[at] |= 0x40;
				put_le32(
				    head + 8, crc32c(head + 12, head_len - 12));
				files_patch(path, 0, head, head_len);
				hints++;
			}
			free(path);
		}
		ck_assert_uint_gt(hints, 0);
		db = api_open(api_store, t & 1 ? 0 : KVLOG_OPEN_READONLY);
		s = api_stats(db);
		ck_assert_uint_eq(s.recovery & KVLOG_RECOVERY_DAMAGE, 0);
		ck_assert_uint_eq(s.last_seq, 300);
		ck_assert_uint_eq(s.record_count, 2);
		ck_assert_uint_eq((s.recovery & KVLOG_RECOVERY_SCANNED) == 0,
		    tries[t / 2].used);
		api_expect(db, "a", "values that fill segments");
		api_close(db);
	}
	tree_fini(&tree);
}
END_TEST

/*
 * Write a record anew with another type and other flags; key_cut bytes of its
 * key become an extension.
 */
static void
change_record(const char *path, const struct kvlog_receipt *place, uint8_t type,
    uint8_t flags, unsigned key_cut)
{
	size_t len, off = (size_t)place->offset;
	uint8_t *bytes = files_read(path, &len), *p = bytes + off;
	uint32_t seed = crc32c(bytes + 64, 8) ^ (uint32_t)(off / 8);
	unsigned key_len = p[10] | (unsigned)p[11] << 8;

	p[8] = type;
	p[9] = flags;
	p[10] = (uint8_t)(key_len - key_cut);
	put_le32(p, crc32c_from(seed, p + 4, 24 + key_len));
	files_patch(path, off, p, 28);
	free(bytes);
}

/* Types and flags of records as kvlog-format(5) says: refused or ignored. */
START_TEST(newer_records_are_refused_or_ignored)
{
	static const struct {
		uint8_t type, flags;
		enum kvlog_status open, get;
	} tries[] = {
	    {1, 0, KVLOG_OK, KVLOG_OK}, /* so the sums are right */
	    {0x06, 0, KVLOG_VERSION, KVLOG_OK},
	    {0x40, 0, KVLOG_VERSION, KVLOG_OK},
	    {0x7f, 0, KVLOG_VERSION, KVLOG_OK},
	    {0x80, 0, KVLOG_OK, KVLOG_NOTFOUND},
	    {0xff, 0, KVLOG_OK, KVLOG_NOTFOUND},
	    {1, 0x40, KVLOG_OK, KVLOG_OK},
	    {1, 0x80, KVLOG_OK, KVLOG_OK},
	};
	char *path = files_path(api_store, "00000001.seg");
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_error err;
	struct kvlog_receipt place;
	struct tree tree, after;
	size_t len;
	char buf[8];

	api_put(db, "before", "1");
	place = api_put(db, "the key", "2");
	api_put(db, "after", "3");
	api_close(db);
	tree_read(api_store, &tree);
	for (size_t t = 0; t < 2 * sizeof tries / sizeof tries[0]; t++) {
		enum kvlog_status want = tries[t / 2].open;
		unsigned flags = t & 1 ? 0 : KVLOG_OPEN_READONLY;

		tree_write(api_store, &tree);
		change_record(
		    path, &place, tries[t / 2].type, tries[t / 2].flags, 0);
		ck_assert_int_eq(open_status(flags, &err), want);
		if (want != KVLOG_OK) {
			ck_assert_uint_eq(err.segment, 1);
			ck_assert_uint_eq(err.offset, place.offset);
			ck_assert_ptr_nonnull(strstr(err.text, "newer kvlog"));
			tree_read(api_store, &after); /* nothing was changed */
			ck_assert_uint_eq(after.count, tree.count);
			tree_fini(&after);
			continue;
		}
		db = api_open(api_store, flags);
		ck_assert_uint_eq(
		    api_stats(db).recovery & KVLOG_RECOVERY_DAMAGE, 0);
		ck_assert_uint_eq(kvlog_last_seq(db), 3);
		api_expect(db, "before", "1");
		api_expect(db, "after", "3");
		ck_assert_int_eq(kvlog_get(db, "the key", 7, buf, 8, &len),
		    tries[t / 2].get);
		api_close(db);
	}
	tree_fini(&tree);
	free(path);
}
END_TEST

/* A value in an encoding of a newer version is neither damaged nor absent. */
START_TEST(an_unknown_codec_is_a_newer_version)
{
	char *path = files_path(api_store, "00000001.seg");
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_receipt place = api_put(db, "12345678key", "2");
	char buf[8];
	size_t len;

	api_put(db, "other", "3");
	api_close(db);
	change_record(path, &place, 1, 0x08, 8);
	for (int turn = 0; turn < 2; turn++) {
		db = api_open(api_store, turn == 0 ? KVLOG_OPEN_READONLY : 0);
		ck_assert_int_eq(
		    kvlog_get(db, "key", 3, buf, 8, &len), KVLOG_VERSION);
		ck_assert_int_eq(kvlog_exists(db, "key", 3), KVLOG_OK);
		api_expect(db, "other", "3");
		api_close(db);
	}
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

/*
 * What is not this store's is neither merged nor removed: neither where it
 * stands behind a gap, as if it were discarded, nor as a part of a set that
 * never was.
 */
START_TEST(files_of_another_store_are_not_removed)
{
	static const struct {
		const char *from, *to;
		enum kvlog_status result;
	} tries[] = {
	    {"00000099.seg", "00000099.seg", KVLOG_CORRUPT},
	    {"00000003.seg", "00000099.seg", KVLOG_CORRUPT},
	    {"00000002.seg", "00000001-00000002.r1.1of2.seg", KVLOG_OK},
	};
	char *other = files_path(api_base, "other");
	char *renumbered = files_path(other, "00000099.seg");
	struct kvlog_error err;
	size_t len;

	(void)make_store(api_store);
	ck_assert_uint_gt(make_store(other), 3);
	for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
		char *from = files_path(other, tries[i].from);
		char *to = files_path(api_store, tries[i].to);
		uint8_t *bytes;

		if (i == 0) { /* a true segment of that number */
			char *third = files_path(other, "00000003.seg");

			bytes = files_read(third, &len);
			files_write(renumbered, bytes, len);
			change_header(renumbered, 40, 99, true, true);
			change_header(renumbered, 44, 99, true, true);
			free(bytes);
			free(third);
		}
		bytes = files_read(from, &len);
		files_write(to, bytes, len);
		for (int turn = 0; turn < 2; turn++) {
			ck_assert_int_eq(
			    open_status(turn ? 0 : KVLOG_OPEN_READONLY, &err),
			    tries[i].result);
			if (tries[i].result != KVLOG_OK)
				ck_assert_uint_eq(err.segment, 99);
			ck_assert_uint_eq(files_len(to), len);
		}
		ck_assert_int_eq(unlink(to), 0);
		free(bytes);
		free(from);
		free(to);
	}
	ck_assert_int_eq(open_status(0, &err), KVLOG_OK);
	free(renumbered);
	free(other);
}
END_TEST

/* Nothing stands behind the last one but the end note.  A writer would take
 * its number, and it could never be put back. */
START_TEST(the_last_segment_missing_stops_writers)
{
	uint64_t count = make_store(api_store);
	char name[32], *path, *aside = files_path(api_base, "aside");
	struct kvlog_error err;
	struct kvlog_stats s;
	struct kvlog *db;

	(void)snprintf(name, sizeof name, "%08u.seg", (unsigned)count);
	path = files_path(api_store, name);
	ck_assert_int_eq(rename(path, aside), 0);
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_int_eq(
		    open_status(KVLOG_OPEN_CREATE, &err), KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, count);
		ck_assert_ptr_nonnull(strstr(err.text, "is missing"));
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		s = api_stats(db);
		ck_assert_uint_ne(s.recovery & KVLOG_RECOVERY_DAMAGE, 0);
		ck_assert_uint_ne(s.recovery & KVLOG_RECOVERY_DEGRADED, 0);
		(void)snprintf(name, sizeof name, "segment %u is missing",
		    (unsigned)count);
		ck_assert_ptr_nonnull(strstr(s.recovery_text, name));
		api_expect(db, "a", "values that fill segments");
		api_close(db);
	}
	ck_assert_int_eq(rename(aside, path), 0);
	db = api_open(api_store, 0);
	s = api_stats(db);
	ck_assert_uint_eq(s.recovery, 0);
	ck_assert_uint_eq(s.last_seq, 300);
	api_close(db);
	free(aside);
	free(path);
}
END_TEST

/* Of a segment that is an error that names it; all else can do without. */
START_TEST(empty_files)
{
	struct tree tree;

	(void)make_store(api_store);
	tree_read(api_store, &tree);
	for (size_t t = 0; t < 2 * tree.count; t++) {
		const char *name = tree.files[t / 2].name;
		unsigned flags = t & 1 ? 0 : KVLOG_OPEN_READONLY;
		char *path = files_path(api_store, name);
		struct kvlog_error err;
		struct kvlog *db;

		tree_write(api_store, &tree);
		files_write(path, "", 0);
		if (strstr(name, ".seg") != NULL) {
			ck_assert_int_eq(
			    open_status(flags, &err), KVLOG_CORRUPT);
			ck_assert_uint_eq(err.segment, strtoul(name, NULL, 10));
			ck_assert_ptr_nonnull(strstr(err.text, name));
			ck_assert_ptr_nonnull(strstr(err.text, "0 bytes"));
			ck_assert_uint_eq(files_len(path), 0);
		} else {
			db = api_open(api_store, flags);
			ck_assert_uint_eq(
			    api_stats(db).recovery & KVLOG_RECOVERY_DAMAGE, 0);
			ck_assert_uint_eq(kvlog_last_seq(db), 300);
			api_close(db);
		}
		free(path);
	}
	tree_fini(&tree);
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

/*
 * Whatever the limit of file sizes, it is an error code and never SIGXFSZ,
 * whose default action the library may not change: create, open, write until
 * segments roll over, delete, close.  In a child, as Check writes files, too.
 */
static int
work_under_limit(rlim_t limit, bool create)
{
	struct kvlog_options o = api_options(create ? KVLOG_OPEN_CREATE : 0);
	struct kvlog_error err;
	struct kvlog *db;
	enum kvlog_status st;
	struct rlimit all;
	bool full = false;

	(void)signal(SIGXFSZ, SIG_DFL);
	if (getrlimit(RLIMIT_FSIZE, &all) != 0)
		return 7;
	all.rlim_cur = limit;
	if (setrlimit(RLIMIT_FSIZE, &all) != 0)
		return 7;
	st = kvlog_open(api_store, &o, &db, &err);
	if (st != KVLOG_OK)
		return st == KVLOG_NOSPACE && err.sys_errno == EFBIG ? 0 : 1;
	for (unsigned i = 0; i < 400; i++) {
		st = put_number(db, i, i == 200 ? 20000 : 100);
		full |= st == KVLOG_NOSPACE;
		if (st != KVLOG_OK && st != KVLOG_NOSPACE)
			return 2;
		if (kvlog_maintain(db, 0, &(bool){false}) != KVLOG_OK)
			return 3;
	}
	st = delete_number(db, 0, NULL);
	if (st != KVLOG_OK && st != KVLOG_NOSPACE && st != KVLOG_NOTFOUND)
		return 4;
	/* There may be no room left to note the clean end. */
	st = kvlog_close(db, &err);
	if (st != KVLOG_OK && st != KVLOG_NOSPACE)
		return 5;
	return full || limit >= 32768 ? 0 : 6;
}

START_TEST(no_limit_of_file_sizes_kills)
{
	static const rlim_t limits[] = {0, 1, 512, 4095, 4096, 8191, 8192, 8193,
	    12288, 16384, 20480, 24576, 32768, 65536};
	const bool create = _i == 1;
	struct tree tree = {NULL, 0};

	if (!create) {
		(void)make_store(api_store);
		tree_read(api_store, &tree);
	}
	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		int status;
		pid_t pid;
		struct kvlog *db;

		if (create) {
			char name[2] = {(char)('a' + (char)i), '\0'};

			free(api_store);
			api_store = files_path(api_base, name);
		} else {
			tree_write(api_store, &tree);
		}
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			_exit(work_under_limit(limits[i], create));
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		    "limit %lu: %s %d", (unsigned long)limits[i],
		    WIFEXITED(status) ? "exit" : "signal",
		    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		db = api_open(api_store, KVLOG_OPEN_CREATE);
		if (!create)
			api_expect(db, "a", "values that fill segments");
		ck_assert_uint_eq(
		    api_stats(db).recovery & KVLOG_RECOVERY_DAMAGE, 0);
		api_close(db);
	}
	tree_fini(&tree);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("errors");
	TCase *tc = api_case(suite, "errors");

	tcase_add_test(tc, newer_formats_are_refused);
	tcase_add_test(tc, a_newer_part_of_a_set_is_refused);
	tcase_add_test(tc, newer_hints_are_not_used);
	tcase_add_test(tc, newer_records_are_refused_or_ignored);
	tcase_add_test(tc, an_unknown_codec_is_a_newer_version);
	tcase_add_test(tc, both_copies_of_a_header_damaged);
	tcase_add_test(tc, one_damaged_copy_is_told);
	tcase_add_test(tc, a_lost_link_costs_nothing);
	tcase_add_test(tc, a_segment_of_another_store_is_refused);
	tcase_add_test(tc, a_segment_of_another_history_is_refused);
	tcase_add_test(tc, a_renamed_segment_is_refused);
	tcase_add_test(tc, files_of_another_store_are_not_removed);
	tcase_add_test(tc, the_last_segment_missing_stops_writers);
	tcase_add_test(tc, empty_files);
	tcase_add_test(tc, a_full_disk_is_an_error_code);
	tcase_add_test(tc, deletes_alone_may_use_the_reserve);
	tcase_add_test(
	    tc, creating_on_a_full_disk_leaves_nothing_that_looks_right);
	tcase_add_loop_test(tc, no_limit_of_file_sizes_kills, 0, 2);
	return test_main(suite);
}
