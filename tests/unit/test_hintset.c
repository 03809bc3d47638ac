/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hintset.c - which hint files serve, how they are added, mended, stored
 * and merged, and what covers a stretch of the log.
 */
#include "config.h"

#include "hintset.h"
#include "makelog.h"
#include "rng.h"

#include <errno.h>
#include <pthread.h>

#include "segtest.h"

#define STORE MAKELOG_STORE
#define PART 32u /* bytes of a record with a key of 3 bytes */

static struct segset *set;
static struct hintset hints;
static uint64_t seq;

static void
start(void)
{
	seq = 0;
	set = segset_create();
	ck_assert_ptr_nonnull(set);
	MAKELOG_OK(hintset_init(&hints, set, NULL));
}

static void
setup(void)
{
	makelog_setup();
	MAKELOG_OK(dir_open(&segtest_dir, STORE, 0644, NULL));
	start();
}

static void
teardown(void)
{
	hintset_fini(&hints);
	segset_destroy(set);
	dir_close(&segtest_dir);
	makelog_teardown();
}

/* A segment with count records of 32 bytes: keys k00, k01, ... */
static struct segment *
add_segment(unsigned count, uint64_t size)
{
	struct segment *seg = segtest_create((uint32_t)set->count + 1, size);

	MAKELOG_OK(segset_add(set, seg, NULL));
	for (unsigned i = 0; i < count; i++) {
		char key[8];

		snprintf(key, sizeof key, "k%02u", i % 100);
		(void)segtest_put(seg, ++seq, key, "");
	}
	return seg;
}

static void
add_segments(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		(void)add_segment(10, SEGTEST_SIZE);
}

/* The offset of record n of a segment. */
static uint64_t
at(unsigned n)
{
	return SEGMENT_DATA_OFF + n * UINT64_C(32);
}

/* A hint of records [from, to) of the segments a to z; -1: to the end. */
static struct hint *
build(unsigned a, unsigned from, unsigned z, int to)
{
	struct hint_source s[16];
	struct hint *hint = NULL;
	size_t n = 0;

	for (unsigned i = a; i <= z; i++, n++)
		s[n] = (struct hint_source){.seg = set->segments[i - 1],
		    .from = i == a ? at(from) : SEGMENT_DATA_OFF,
		    .to = i == z && to >= 0
			      ? at((unsigned)to)
			      : segment_end(set->segments[i - 1])};
	MAKELOG_OK(hint_build(s, n, UINT64_MAX, &hint, NULL));
	return hint;
}

static void
write_hint(unsigned a, unsigned from, unsigned z, int to)
{
	struct hint *hint = build(a, from, z, to);

	MAKELOG_OK(hint_write(hint, &segtest_dir, NULL));
	hint_unref(hint);
}

static void
collect(void)
{
	struct file_list files;

	MAKELOG_OK(dir_list(&segtest_dir, &files, NULL));
	MAKELOG_OK(hintset_collect(&hints, &segtest_dir, &files, NULL, NULL));
	file_list_fini(&files);
}

static unsigned
count_files(enum file_kind kind)
{
	struct file_list files;
	unsigned n = 0;

	MAKELOG_OK(dir_list(&segtest_dir, &files, NULL));
	for (size_t i = 0; i < files.count; i++)
		n += files.files[i].kind == kind;
	file_list_fini(&files);
	return n;
}

static void
remove_hints(void)
{
	struct file_list files;

	MAKELOG_OK(dir_list(&segtest_dir, &files, NULL));
	for (size_t i = 0; i < files.count; i++)
		if (files.files[i].kind == FILE_HINT)
			ck_assert_int_eq(
			    os->unlink(segtest_dir.fd, files.files[i].name), 0);
	file_list_fini(&files);
}

/* The list, as "1-2:0-5 3:0-10": segments, and records of the first and last
 * one; "*" behind those in memory. */
static void
expect_list(const char *want)
{
	struct hint_list *list = hint_list_get(&hints);
	char got[600] = "";
	size_t len = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct hint *h = list->hints[i];
		const struct hint_source *a = &h->sources[0];
		const struct hint_source *z = &h->sources[h->source_count - 1];

		len += (size_t)snprintf(got + len, sizeof got - len,
		    "%s%u-%u:%u-%u%s", i > 0 ? " " : "", a->id.first,
		    z->id.last, (unsigned)(a->from - SEGMENT_DATA_OFF) / PART,
		    (unsigned)(z->to - SEGMENT_DATA_OFF) / PART,
		    h->name[0] == '\0' ? "*" : "");
		for (size_t j = 0; j < h->source_count; j++)
			ck_assert_ptr_nonnull(h->sources[j].seg);
	}
	hint_list_put(list);
	ck_assert_str_eq(got, want);
}

static void
expect_hinted(unsigned number, unsigned to, uint64_t last)
{
	const struct segment *seg = set->segments[number - 1];

	ck_assert_uint_eq(atomic_load(&seg->hinted_to), to == 0 ? 0 : at(to));
	ck_assert_uint_eq(seg->hinted_seq, last);
}

/* Choosing */

START_TEST(hints_of_whole_segments_serve)
{
	add_segments(3);
	collect();
	expect_list("");
	write_hint(1, 0, 1, -1);
	write_hint(3, 0, 3, -1);
	collect();
	expect_list("1-1:0-10 3-3:0-10");
	expect_hinted(1, 10, 10);
	expect_hinted(2, 0, 0);
	expect_hinted(3, 10, 30);
	ck_assert(hintset_uses(&hints, "00000001.hint"));
	ck_assert(!hintset_uses(&hints, "00000002.hint"));
	write_hint(2, 0, 2, -1);
	collect();
	expect_list("1-1:0-10 2-2:0-10 3-3:0-10");
	/* What was chosen before is forgotten. */
	remove_hints();
	collect();
	expect_list("");
	expect_hinted(1, 0, 0);
	expect_hinted(3, 0, 0);
	/* Also with no segments at all. */
	write_hint(1, 0, 1, -1);
	hintset_fini(&hints);
	segset_destroy(set);
	start();
	collect();
	expect_list("");
}
END_TEST

START_TEST(the_wider_one_serves)
{
	add_segments(4);
	for (unsigned i = 1; i <= 4; i++)
		write_hint(i, 0, i, -1);
	write_hint(2, 0, 3, -1);
	collect();
	expect_list("1-1:0-10 2-3:0-10 4-4:0-10");
	ck_assert(!hintset_uses(&hints, "00000002.hint"));
	expect_hinted(2, 10, 20);
	expect_hinted(3, 10, 30);
	write_hint(1, 0, 4, 5);
	collect();
	expect_list("1-4:0-5");
	expect_hinted(4, 5, 35);
	/* Goes on where that one ends. */
	write_hint(4, 5, 4, 8);
	collect();
	expect_list("1-4:0-5 4-4:5-8");
	expect_hinted(4, 8, 38);
}
END_TEST

START_TEST(parts_serve_where_they_join)
{
	add_segments(2);
	write_hint(1, 4, 1, 7);
	write_hint(1, 8, 1, 10);
	collect();
	expect_list("");
	write_hint(1, 0, 1, 4);
	collect();
	expect_list("1-1:0-4 1-1:4-7");
	expect_hinted(1, 7, 7);
	write_hint(1, 7, 1, 8);
	collect();
	expect_list("1-1:0-4 1-1:4-7 1-1:7-8 1-1:8-10");
	/* Of two that begin at the same place, the longer. */
	write_hint(1, 4, 1, 8);
	write_hint(1, 0, 1, 3);
	collect();
	expect_list("1-1:0-4 1-1:4-8 1-1:8-10");
	/* One that goes on into the next segment, but not from its end. */
	write_hint(1, 8, 2, 2);
	write_hint(2, 2, 2, -1);
	collect();
	expect_list("1-1:0-4 1-1:4-8 1-2:8-2 2-2:2-10");
	expect_hinted(2, 10, 20);
}
END_TEST

/* Over segments between which there are others, or records. */
START_TEST(sources_must_be_neighbours)
{
	struct hint_source s[2];
	struct hint *hint;

	add_segments(3);
	for (unsigned how = 0; how < 5; how++) {
		s[0] = (struct hint_source){
		    .seg = set->segments[0], .from = at(0), .to = at(10)};
		s[1] = (struct hint_source){
		    .seg = set->segments[1], .from = at(0), .to = at(10)};
		if (how == 1)
			s[1].seg = set->segments[2];
		if (how == 2)
			s[0].to = at(9);
		if (how == 3)
			s[1].from = at(1);
		if (how == 4)
			s[1].seg = set->segments[0];
		MAKELOG_OK(hint_build(s, 2, UINT64_MAX, &hint, NULL));
		MAKELOG_OK(hint_write(hint, &segtest_dir, NULL));
		hint_unref(hint);
		collect();
		expect_list(how == 0 ? "1-2:0-10" : "");
		remove_hints();
	}
}
END_TEST

START_TEST(what_does_not_fit_is_left_alone)
{
	struct segment *two;
	struct segment_header saved;

	add_segments(2);
	two = set->segments[1];
	saved = two->header;
	write_hint(1, 0, 2, -1);
	write_hint(2, 0, 2, 0); /* empty */
	collect();
	expect_list("1-2:0-10");
	/* A segment of the same number, but another one. */
	two->header.salt++;
	collect();
	expect_list("");
	two->header = saved;
	two->header.id.round = 1;
	collect();
	expect_list("");
	two->header = saved;
	/* The log ends before the hint does. */
	atomic_store(&two->end, at(9));
	collect();
	expect_list("");
	atomic_store(&two->end, at(10));
	/* The segment is not there. */
	hintset_fini(&hints);
	set->count--;
	MAKELOG_OK(hintset_init(&hints, set, NULL));
	collect();
	expect_list("");
	set->count++;
	/* Another store. */
	set->segments[0]->header.store.uuid[3]++;
	collect();
	expect_list("");
	set->segments[0]->header.store.uuid[3]--;
	collect();
	expect_list("1-2:0-10");
	hintset_fini(&hints);
	makelog_flip("00000001-00000002.4608-4928.hint", 100);
	MAKELOG_OK(hintset_init(&hints, set, NULL));
	collect();
	expect_list("");
}
END_TEST

START_TEST(choosing_without_memory)
{
	uint64_t leaks;
	struct file_list files;

	add_segments(3);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 3, -1);
	MAKELOG_OK(dir_list(&segtest_dir, &files, NULL));
	leaks = simos_leaks(NULL);
	for (uint64_t nth = 1;; nth++) {
		enum kvlog_status st;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = hintset_collect(&hints, &segtest_dir, &files, NULL, NULL);
		simos_fail_clear();
		/* A hint that cannot be had is not needed. */
		ck_assert_int_eq(st, nth == 1 ? KVLOG_NOMEM : KVLOG_OK);
		if (st == KVLOG_OK && hints.list->count == 2)
			break;
		ck_assert_uint_lt(nth, 20);
		remove_hints();
		collect();
		ck_assert_uint_eq(simos_leaks(NULL), leaks);
		write_hint(1, 0, 1, -1);
		write_hint(2, 0, 3, -1);
	}
	expect_list("1-1:0-10 2-3:0-10");
	file_list_fini(&files);
	/* A set that cannot be made. */
	for (uint64_t nth = 1; nth < 3; nth++) {
		struct hintset other;

		leaks = simos_leaks(NULL);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		ck_assert_int_eq(hintset_init(&other, set, NULL), KVLOG_NOMEM);
		simos_fail_clear();
		hintset_fini(&other);
		ck_assert_uint_eq(simos_leaks(NULL), leaks);
	}
}
END_TEST

/* Changing */

START_TEST(hints_are_added_in_their_places)
{
	struct hint_list *before;

	add_segments(3);
	MAKELOG_OK(hintset_add(&hints, build(2, 0, 2, 4)));
	expect_list("2-2:0-4*");
	expect_hinted(2, 4, 14);
	before = hint_list_get(&hints);
	MAKELOG_OK(hintset_add(&hints, build(3, 0, 3, -1)));
	MAKELOG_OK(hintset_add(&hints, build(1, 0, 1, -1)));
	MAKELOG_OK(hintset_add(&hints, build(2, 4, 2, 10)));
	expect_list("1-1:0-10* 2-2:0-4* 2-2:4-10* 3-3:0-10*");
	expect_hinted(2, 10, 20);
	/* Who holds a list keeps it as it was. */
	ck_assert_uint_eq(before->count, 1);
	ck_assert_uint_eq(before->hints[0]->entry_count, 4);
	hint_list_put(before);
	hint_list_put(NULL);
}
END_TEST

START_TEST(adding_without_memory)
{
	struct hint *hint;

	add_segments(1);
	MAKELOG_OK(hintset_add(&hints, build(1, 0, 1, 4)));
	hint = build(1, 4, 1, -1);
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_int_eq(hintset_add(&hints, hint), KVLOG_NOMEM);
	simos_fail_clear();
	expect_list("1-1:0-4*");
	expect_hinted(1, 4, 4);
	/* The fixture sees that the reference is gone. */
}
END_TEST

/* Flip a byte of an entry in a hint file that is open. */
static void
damage_file(const char *name)
{
	hintset_fini(&hints);
	makelog_flip(name, 4096 + 100);
	MAKELOG_OK(hintset_init(&hints, set, NULL));
	collect();
}

START_TEST(a_damaged_hint_is_mended_once)
{
	struct hint_list *list;
	const struct hint *damaged, *image;
	struct hint_entry e;

	add_segments(2);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 2, -1);
	damage_file("00000001.hint");
	expect_list("1-1:0-10 2-2:0-10");
	list = hint_list_get(&hints);
	damaged = list->hints[0];
	ck_assert(!hint_get(damaged, 3, &e));
	/* No memory: as before. */
	for (uint64_t nth = 1;; nth++) {
		enum kvlog_status st;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = hintset_mend(&hints, damaged, NULL);
		simos_fail_clear();
		if (st == KVLOG_OK)
			break;
		ck_assert_int_eq(st, KVLOG_NOMEM);
		expect_list("1-1:0-10 2-2:0-10");
	}
	expect_list("1-1:0-10* 2-2:0-10");
	expect_hinted(1, 10, 10);
	hint_list_put(list);
	list = hint_list_get(&hints);
	image = list->hints[0];
	ck_assert(hint_get(image, 3, &e));
	/* Who comes late finds it done. */
	MAKELOG_OK(hintset_mend(&hints, damaged, NULL));
	hint_list_put(list);
	list = hint_list_get(&hints);
	ck_assert_ptr_eq(list->hints[0], image);
	hint_list_put(list);
	/* And it becomes a file again. */
	ck_assert(hintset_store_image(&hints, &segtest_dir, 10));
	expect_list("1-1:0-10 2-2:0-10");
	hintset_fini(&hints);
	MAKELOG_OK(hintset_init(&hints, set, NULL));
	collect();
	list = hint_list_get(&hints);
	ck_assert(hint_verify(list->hints[0]));
	hint_list_put(list);
}
END_TEST

START_TEST(mending_goes_around_damaged_records)
{
	struct hint_list *list;
	struct hint_damage hurt;
	uint8_t byte;
	struct segment *seg;

	add_segments(1);
	write_hint(1, 0, 1, -1);
	damage_file("00000001.hint");
	seg = set->segments[0];
	byte = (uint8_t)~seg->map.addr[at(3) + 20];
	ck_assert_int_eq(os->store(&seg->map, at(3) + 20, &byte, 1), 0);
	list = hint_list_get(&hints);
	hurt = hintset_hurt(&hints);
	ck_assert_ptr_null(hurt.seg);
	MAKELOG_OK(hintset_mend(&hints, list->hints[0], NULL));
	hurt = hintset_hurt(&hints);
	ck_assert_ptr_eq(hurt.seg, seg);
	ck_assert_uint_eq(hurt.off, at(3));
	hint_list_put(list);
	expect_list("1-1:0-10*");
	list = hint_list_get(&hints);
	ck_assert_uint_eq(list->hints[0]->entry_count, 9);
	hint_list_put(list);
	/* No file may hide the damage. */
	ck_assert(!hintset_store_image(&hints, &segtest_dir, UINT64_MAX));
}
END_TEST

/* Storing */

START_TEST(images_become_files_when_they_are_durable)
{
	add_segments(3);
	MAKELOG_OK(hintset_add(&hints, build(1, 0, 1, -1)));
	MAKELOG_OK(hintset_add(&hints, build(2, 0, 2, 5)));
	MAKELOG_OK(hintset_add(&hints, build(3, 0, 3, -1)));
	ck_assert(!hintset_store_image(&hints, &segtest_dir, 9));
	ck_assert_uint_eq(count_files(FILE_HINT), 0);
	ck_assert(hintset_store_image(&hints, &segtest_dir, 29));
	expect_list("1-1:0-10 2-2:0-5* 3-3:0-10*");
	ck_assert(hintset_store_image(&hints, &segtest_dir, 29));
	expect_list("1-1:0-10 2-2:0-5 3-3:0-10*");
	ck_assert(!hintset_store_image(&hints, &segtest_dir, 29));
	/* Of damaged segments there are no files: they are read anew. */
	set->segments[2]->damaged = true;
	ck_assert(!hintset_store_image(&hints, &segtest_dir, 30));
	set->segments[2]->damaged = false;
	ck_assert_int_eq(segment_add_bad(set->segments[2], at(3), at(4)), 0);
	ck_assert(!hintset_store_image(&hints, &segtest_dir, 30));
	set->segments[2]->bad_count = 0;
	ck_assert(hintset_store_image(&hints, &segtest_dir, 30));
	collect();
	expect_list("1-1:0-10 2-2:0-5 3-3:0-10");
}
END_TEST

/* A failure is not tried again and again. */
START_TEST(storing_that_fails_leaves_the_image)
{
	static const enum simos_kind kinds[] = {SIMOS_CREATE, SIMOS_PWRITE,
	    SIMOS_SYNC, SIMOS_RENAME, SIMOS_OPEN, SIMOS_MAP};

	add_segments(ARRAY_LEN(kinds));
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		struct segment *seg = set->segments[i];

		MAKELOG_OK(hintset_add(&hints, build(i + 1, 0, i + 1, -1)));
		simos_fail(kinds[i], 1, EIO, false);
		ck_assert(!hintset_store_image(&hints, &segtest_dir, 99));
		simos_fail_clear();
		ck_assert(seg->hint_failed);
		ck_assert_uint_eq(count_files(FILE_TMP), 0);
		ck_assert(!hintset_store_image(&hints, &segtest_dir, 99));
	}
	expect_list("1-1:0-10* 2-2:0-10* 3-3:0-10* 4-4:0-10* 5-5:0-10* "
		    "6-6:0-10*");
}
END_TEST

/* Merging */

/* The entries of a hint are those of a scan of its sources. */
static void
check_content(const struct hint *hint)
{
	struct hint *scan = NULL;

	MAKELOG_OK(hint_build(
	    hint->sources, hint->source_count, UINT64_MAX, &scan, NULL));
	ck_assert_uint_eq(hint->entry_count, scan->entry_count);
	for (uint64_t n = 0; n < scan->entry_count; n++) {
		struct hint_entry a, b;

		ck_assert(hint_get(hint, n, &a) && hint_get(scan, n, &b));
		if (a.seg != b.seg || a.off != b.off || a.hash != b.hash ||
		    a.type != b.type || a.expiry != b.expiry)
			ck_abort_msg("entry %" PRIu64, n);
	}
	hint_unref(scan);
}

static bool
merge_step(uint64_t max)
{
	return hintset_merge_step(&hints, &segtest_dir, max);
}

START_TEST(neighbours_become_one)
{
	struct hint_list *list, *before;

	add_segments(3);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 2, 4);
	write_hint(2, 4, 2, -1);
	write_hint(3, 0, 3, 6);
	collect();
	before = hint_list_get(&hints);
	ck_assert(merge_step(UINT64_MAX));
	while (merge_step(UINT64_MAX))
		;
	expect_list("1-3:0-6");
	list = hint_list_get(&hints);
	ck_assert_uint_eq(list->hints[0]->source_count, 3);
	ck_assert_uint_eq(list->hints[0]->sources[1].last_seq, 20);
	ck_assert_uint_eq(list->hints[0]->sources[2].last_seq, 26);
	check_content(list->hints[0]);
	hint_list_put(list);
	/* The inputs' files are gone; who holds them may go on reading. */
	ck_assert_uint_eq(count_files(FILE_HINT), 1);
	ck_assert_uint_eq(before->count, 4);
	for (size_t i = 0; i < before->count; i++)
		check_content(before->hints[i]);
	hint_list_put(before);
	collect();
	expect_list("1-3:0-6");
	expect_hinted(3, 6, 26);
	ck_assert(!merge_step(UINT64_MAX));
}
END_TEST

/* One of the inputs may have the name of the output. */
START_TEST(the_output_may_replace_an_input)
{
	struct segment *seg;

	add_segments(1);
	seg = set->segments[0];
	atomic_store(&seg->end, at(6));
	write_hint(1, 0, 1, -1); /* named as if it were all */
	atomic_store(&seg->end, at(10));
	write_hint(1, 6, 1, -1);
	collect();
	expect_list("1-1:0-6 1-1:6-10");
	ck_assert(hintset_uses(&hints, "00000001.hint"));
	ck_assert(merge_step(UINT64_MAX));
	expect_list("1-1:0-10");
	ck_assert(hintset_uses(&hints, "00000001.hint"));
	ck_assert_uint_eq(count_files(FILE_HINT), 1);
	collect();
	expect_list("1-1:0-10");
}
END_TEST

/* So many as may be, where all of them are too many. */
START_TEST(a_merge_that_is_limited_takes_fewer)
{
	add_segments(4);
	for (unsigned i = 1; i <= 4; i++)
		write_hint(i, 0, i, -1); /* 10 entries each */
	collect();
	ck_assert(!merge_step(21));
	ck_assert(merge_step(22));
	expect_list("1-1:0-10 2-2:0-10 3-4:0-10");
	while (merge_step(22))
		;
	expect_list("1-4:0-10"); /* they have the same keys */
}
END_TEST

START_TEST(what_must_not_be_merged_is_not)
{
	add_segments(3);
	for (unsigned i = 1; i <= 3; i++)
		write_hint(i, 0, i, i == 2 ? 5 : -1); /* a gap behind 2 */
	collect();
	ck_assert(!merge_step(12)); /* too many entries */
	ck_assert_uint_eq(count_files(FILE_TMP), 0);
	set->segments[1]->damaged = true;
	ck_assert(!merge_step(UINT64_MAX));
	set->segments[1]->damaged = false;
	set->segments[0]->hint_failed = true;
	ck_assert(!merge_step(UINT64_MAX));
	set->segments[0]->hint_failed = false;
	ck_assert_int_eq(segment_add_bad(set->segments[1], at(3), at(4)), 0);
	ck_assert(!merge_step(UINT64_MAX));
	set->segments[1]->bad_count = 0;
	ck_assert(merge_step(UINT64_MAX));
	expect_list("1-2:0-5 3-3:0-10");
	ck_assert(!merge_step(UINT64_MAX));
	/* Images are not merged before they are files. */
	MAKELOG_OK(hintset_add(&hints, build(2, 5, 2, -1)));
	ck_assert(!merge_step(UINT64_MAX));
	ck_assert(hintset_store_image(&hints, &segtest_dir, 99));
	while (merge_step(UINT64_MAX))
		;
	expect_list("1-3:0-10");
}
END_TEST

/* Outputs of a compaction follow each other by part, then by number. */
START_TEST(parts_of_a_set_are_neighbours)
{
	static const struct file_id ids[] = {{1, 4, 1, 1, 3}, {1, 4, 1, 2, 3},
	    {1, 4, 1, 3, 3}, {5, 5, 0, 1, 1}, {7, 7, 0, 1, 1}};

	add_segments(5);
	for (unsigned i = 0; i < 5; i++)
		set->segments[i]->header.id = ids[i];
	for (unsigned i = 1; i <= 5; i++)
		write_hint(i, 0, i, -1);
	collect();
	expect_list("1-4:0-10 1-4:0-10 1-4:0-10 5-5:0-10 7-7:0-10");
	while (merge_step(UINT64_MAX))
		;
	expect_list("1-5:0-10 7-7:0-10"); /* 6 is missing */
	collect();
	expect_list("1-5:0-10 7-7:0-10");
}
END_TEST

/* A damaged record has no key: its segment's hints stay as they are. */
START_TEST(damage_ends_merging)
{
	struct segment *seg;
	uint8_t byte;

	add_segments(2);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 2, -1);
	collect();
	seg = set->segments[1];
	byte = (uint8_t)~seg->map.addr[at(3) + 20];
	ck_assert_int_eq(os->store(&seg->map, at(3) + 20, &byte, 1), 0);
	ck_assert(!merge_step(UINT64_MAX));
	expect_list("1-1:0-10 2-2:0-10");
	ck_assert(seg->hint_failed);
	ck_assert_uint_eq(count_files(FILE_TMP), 0);
	ck_assert_uint_eq(count_files(FILE_HINT), 2);
	/* With a damaged hint on top of it, which cannot be replaced. */
	seg->hint_failed = false;
	damage_file("00000002.hint");
	ck_assert(!merge_step(UINT64_MAX));
	ck_assert(seg->hint_failed);
	ck_assert(!merge_step(UINT64_MAX));
}
END_TEST

static bool
count_down(void *arg)
{
	unsigned *left = arg;

	return (*left)-- > 0;
}

/* Others have a say while much is merged. */
START_TEST(merging_can_be_left)
{
	unsigned left = 0, files;

	add_segments(2);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 2, -1);
	collect();
	files = count_files(FILE_HINT);
	hints.go_on = count_down;
	hints.go_on_arg = &left;
	ck_assert(!merge_step(UINT64_MAX));
	expect_list("1-1:0-10 2-2:0-10");
	ck_assert_uint_eq(count_files(FILE_TMP), 0);
	ck_assert_uint_eq(count_files(FILE_HINT), files);
	left = 100;
	ck_assert(merge_step(UINT64_MAX));
	ck_assert_uint_lt(left, 100);
	expect_list("1-2:0-10");
}
END_TEST

/* Inputs with damaged blocks make a sound output. */
START_TEST(damaged_inputs_make_a_sound_output)
{
	struct hint_list *list;

	add_segments(2);
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 2, -1);
	damage_file("00000001.hint");
	ck_assert(merge_step(UINT64_MAX));
	expect_list("1-2:0-10");
	list = hint_list_get(&hints);
	ck_assert(hint_verify(list->hints[0]));
	check_content(list->hints[0]);
	hint_list_put(list);
}
END_TEST

START_TEST(merging_that_fails_changes_nothing)
{
	static const enum simos_kind kinds[] = {SIMOS_CREATE, SIMOS_PWRITE,
	    SIMOS_SYNC, SIMOS_RENAME, SIMOS_OPEN, SIMOS_STAT, SIMOS_MAP,
	    SIMOS_MALLOC};

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (uint64_t nth = 1;; nth++) {
			bool done;

			hintset_fini(&hints);
			segset_destroy(set);
			remove_hints();
			start();
			add_segments(2);
			write_hint(1, 0, 1, -1);
			write_hint(2, 0, 2, -1);
			collect();
			simos_fail(kinds[k], nth, EIO, false);
			done = merge_step(UINT64_MAX);
			simos_fail_clear();
			if (done) {
				expect_list("1-2:0-10");
				ck_assert_uint_ge(nth, 2);
				break;
			}
			expect_list("1-1:0-10 2-2:0-10");
			ck_assert_uint_eq(count_files(FILE_TMP), 0);
			/* Later it succeeds. */
			ck_assert(merge_step(UINT64_MAX));
			ck_assert_uint_eq(count_files(FILE_HINT), 1);
			/* So that segments can be made anew. */
			ck_assert_int_eq(
			    os->unlink(segtest_dir.fd, "00000001.seg"), 0);
			ck_assert_int_eq(
			    os->unlink(segtest_dir.fd, "00000002.seg"), 0);
		}
}
END_TEST

/*
 * Hundreds of additions: there are never more than O(log n) hints, and no
 * entry is copied more often than that.  _i: of equal sizes, growing,
 * shrinking, any.
 */
START_TEST(there_are_always_few)
{
	struct hint_list *list;
	struct rng rng;
	uint64_t added = 0, written = 0;
	unsigned most = 0;

	rng_init(&rng, (uint64_t)_i);
	for (unsigned i = 0; i < 300; i++) {
		unsigned count = _i == 0   ? 40
				 : _i == 1 ? 1 + i / 3
				 : _i == 2 ? 101 - i / 3
					   : 1 + (unsigned)rng_below(&rng, 90);
		struct segment *seg =
		    segtest_create((uint32_t)set->count + 1, 16384);
		struct hint_source source = {.seg = seg, .from = at(0)};
		struct hint *hint;

		MAKELOG_OK(segset_add(set, seg, NULL));
		for (unsigned r = 0; r < count; r++) {
			uint64_t key =
			    _i == 3 ? rng_below(&rng, 3000) : rng_next(&rng);

			(void)segtest_record(
			    seg, RECORD_PUT, ++seq, &key, sizeof key, "", 0);
		}
		source.to = segment_end(seg);
		MAKELOG_OK(hint_build(&source, 1, UINT64_MAX, &hint, NULL));
		added += hint->entry_count;
		MAKELOG_OK(hintset_add(&hints, hint));
		ck_assert(hintset_store_image(&hints, &segtest_dir, seq));
		for (bool more = true; more;) {
			struct hint_list *before = hint_list_get(&hints);

			more = merge_step(UINT64_MAX);
			list = hint_list_get(&hints);
			for (size_t h = 0; h < list->count; h++)
				if (list->hints[h] != before->hints[h]) {
					written += list->hints[h]->entry_count;
					break;
				}
			hint_list_put(list);
			hint_list_put(before);
		}
		list = hint_list_get(&hints);
		for (size_t h = 1; h < list->count; h++)
			ck_assert_uint_gt(list->hints[h - 1]->entry_count,
			    2 * list->hints[h]->entry_count);
		if (list->count > most)
			most = (unsigned)list->count;
		hint_list_put(list);
		ck_assert_uint_eq(count_files(FILE_HINT), hints.list->count);
	}
	ck_assert_uint_le(most, 9); /* of 15 000 entries */
	ck_assert_uint_lt(written, added * 8);
	list = hint_list_get(&hints);
	for (size_t h = 0; h < list->count; h++)
		check_content(list->hints[h]);
	hint_list_put(list);
	collect();
	for (size_t i = 0; i < set->count; i++)
		ck_assert_uint_eq(atomic_load(&set->segments[i]->hinted_to),
		    segment_end(set->segments[i]));
}
END_TEST

/* Covering */

/* As expect_list(); gaps as "[1:0-10]". */
static void
expect_part(size_t first, size_t last, unsigned end, const char *want)
{
	struct hint_cover cover;
	char got[600] = "";
	size_t len = 0;

	MAKELOG_OK(
	    hintset_cover(&hints, first - 1, last, at(end), &cover, NULL));
	for (size_t i = 0; i < cover.count; i++) {
		const struct hint *h = cover.hints[i];
		const struct hint_source *a =
		    h != NULL ? h->sources : &cover.gaps[i];
		const struct hint_source *z =
		    h != NULL ? &h->sources[h->source_count - 1] : a;

		len += (size_t)snprintf(got + len, sizeof got - len,
		    "%s%s%u-%u:%u-%u%s", i > 0 ? " " : "", h == NULL ? "[" : "",
		    segment_number(a->seg), segment_number(z->seg),
		    (unsigned)(a->from - SEGMENT_DATA_OFF) / PART,
		    (unsigned)(z->to - SEGMENT_DATA_OFF) / PART,
		    h == NULL ? "]" : "");
	}
	ck_assert_str_eq(got, want);
	MAKELOG_OK(hint_cover_build(&cover, false, NULL));
	for (size_t i = 0; i < cover.count; i++)
		ck_assert_ptr_nonnull(cover.hints[i]);
	hint_cover_fini(&cover);
	hint_cover_fini(&cover); /* all zeros by now */
}

static void
expect_cover(size_t first, unsigned end, const char *want)
{
	expect_part(first, set->count, end, want);
}

START_TEST(covers_are_hints_and_gaps)
{
	add_segments(5);
	expect_cover(1, 10,
	    "[1-1:0-10] [2-2:0-10] [3-3:0-10] [4-4:0-10] "
	    "[5-5:0-10]");
	expect_cover(5, 0, "");
	expect_cover(4, 3, "[4-4:0-10] [5-5:0-3]");
	write_hint(1, 0, 1, -1);
	write_hint(2, 0, 3, 4);
	write_hint(3, 4, 3, 8);
	write_hint(4, 0, 4, -1);
	write_hint(5, 0, 5, 2);
	write_hint(5, 2, 5, 5);
	collect();
	expect_list("1-1:0-10 2-3:0-4 3-3:4-8 4-4:0-10 5-5:0-2 5-5:2-5");
	expect_cover(1, 10,
	    "1-1:0-10 2-3:0-4 3-3:4-8 [3-3:8-10] 4-4:0-10 "
	    "5-5:0-2 5-5:2-5 [5-5:5-10]");
	expect_cover(2, 5,
	    "2-3:0-4 3-3:4-8 [3-3:8-10] 4-4:0-10 5-5:0-2 "
	    "5-5:2-5");
	/* Up to one in the middle; no hint that goes on behind it. */
	expect_part(1, 3, 10, "1-1:0-10 2-3:0-4 3-3:4-8 [3-3:8-10]");
	expect_part(1, 2, 10, "1-1:0-10 [2-2:0-10]");
	expect_part(2, 2, 10, "[2-2:0-10]");
	expect_part(4, 4, 10, "4-4:0-10");
	/* What begins before is of no use, nor what goes on from there. */
	expect_cover(3, 5, "[3-3:0-10] 4-4:0-10 5-5:0-2 5-5:2-5");
	expect_cover(4, 5, "4-4:0-10 5-5:0-2 5-5:2-5");
	write_hint(3, 0, 5, 1);
	remove_hints();
	write_hint(1, 0, 5, 1);
	write_hint(5, 1, 5, 4);
	collect();
	expect_cover(1, 10, "1-5:0-1 5-5:1-4 [5-5:4-10]");
	expect_cover(2, 10, "[2-2:0-10] [3-3:0-10] [4-4:0-10] [5-5:0-10]");
}
END_TEST

/* Where hints could not be exchanged along with segments. */
START_TEST(a_hint_covers_only_what_it_names)
{
	struct segment *gone;

	add_segments(5);
	write_hint(1, 0, 3, -1);
	collect();
	expect_cover(1, 10, "1-3:0-10 [4-4:0-10] [5-5:0-10]");
	gone = set->segments[1];
	set->count--;
	memmove(&set->segments[1], &set->segments[2],
	    (set->count - 1) * sizeof(*set->segments));
	expect_cover(1, 10, "[1-1:0-10] [3-3:0-10] [4-4:0-10] [5-5:0-10]");
	memmove(&set->segments[2], &set->segments[1],
	    (set->count - 1) * sizeof(*set->segments));
	set->segments[1] = gone;
	set->count++;
}
END_TEST

START_TEST(covering_without_memory)
{
	uint64_t leaks;

	add_segments(3);
	write_hint(2, 0, 2, -1);
	collect();
	leaks = simos_leaks(NULL);
	for (uint64_t nth = 1;; nth++) {
		struct hint_cover cover;
		enum kvlog_status st;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = hintset_cover(&hints, 0, set->count, at(10), &cover, NULL);
		if (st == KVLOG_OK) {
			st = hint_cover_build(&cover, false, NULL);
			hint_cover_fini(&cover);
		}
		simos_fail_clear();
		ck_assert_uint_eq(simos_leaks(NULL), leaks);
		if (st == KVLOG_OK) {
			ck_assert_uint_gt(nth, 10);
			break;
		}
		ck_assert_int_eq(st, KVLOG_NOMEM);
	}
}
END_TEST

/* Whole stores */

#define STORE_KEYS 60u

static uint64_t versions[STORE_KEYS]; /* 0: not there */

static void
expect_same_content(struct kvlog *db)
{
	uint64_t count = 0, n;

	for (unsigned k = 0; k < STORE_KEYS; k++) {
		uint64_t value[100] = {0};
		char key[8];
		size_t len;
		enum kvlog_status st;

		snprintf(key, sizeof key, "k%02u", k % 100);
		st = kvlog_get(db, key, 3, value, sizeof value, &len);
		if (versions[k] == 0) {
			ck_assert_int_eq(st, KVLOG_NOTFOUND);
			continue;
		}
		MAKELOG_OK(st);
		ck_assert_uint_eq(len, sizeof value);
		ck_assert_uint_eq(value[0], versions[k]);
		count++;
	}
	MAKELOG_OK(kvlog_count(db, &n));
	ck_assert_uint_eq(n, count);
}

static void
open_store(struct kvlog **ret_db, unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.index_mode = mode;
	if (kvlog_open(STORE, &o, ret_db, &err) != KVLOG_OK)
		ck_abort_msg("open: %s", err.text);
}

/* A dozen segments, without hints. */
static void
make_store(void)
{
	struct kvlog *db;
	struct rng rng;
	struct dir dir;
	struct file_list files;

	rng_init(&rng, 7);
	open_store(&db, KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	for (uint64_t i = 1; i < 50; i++) {
		unsigned k = (unsigned)rng_below(&rng, STORE_KEYS);
		uint64_t value[100] = {i};
		char key[8];

		snprintf(key, sizeof key, "k%02u", k % 100);
		if (rng_below(&rng, 4) == 0) {
			enum kvlog_status st =
			    kvlog_delete(db, key, 3, NULL, NULL);

			ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
			versions[k] = 0;
		} else {
			MAKELOG_OK(kvlog_put(
			    db, key, 3, value, sizeof value, NULL, NULL));
			versions[k] = i;
		}
	}
	MAKELOG_OK(kvlog_close(db, NULL));
	MAKELOG_OK(dir_open(&dir, STORE, 0644, NULL));
	MAKELOG_OK(dir_list(&dir, &files, NULL));
	for (size_t i = 0; i < files.count; i++)
		if (files.files[i].kind == FILE_HINT)
			ck_assert_int_eq(
			    os->unlink(dir.fd, files.files[i].name), 0);
	file_list_fini(&files);
	ck_assert_int_eq(os->sync_dir(dir.fd), 0);
	dir_close(&dir);
}

/* Hints are made of all segments, and merged; content stays as it is. */
static void
maintain_store(void *arg)
{
	struct kvlog *db;
	bool more = true;
	uint64_t value[100] = {0};
	unsigned k = 0;
	char key[8];

	(void)arg;
	while (versions[k] == 0)
		k++;
	value[0] = versions[k];
	snprintf(key, sizeof key, "k%02u", k % 100);
	open_store(&db, 0, KVLOG_INDEX_MEMORY);
	/* A commit attests what is before it. */
	MAKELOG_OK(kvlog_put(db, key, 3, value, sizeof value, NULL, NULL));
	MAKELOG_OK(kvlog_sync(db));
	while (more)
		MAKELOG_OK(kvlog_maintain(db, 0, &more));
	MAKELOG_OK(kvlog_close(db, NULL));
}

/* After each start of the machine writing goes on in a new segment, even if
 * there is nothing to write.  Empty ones do not keep hints from being merged.
 */
START_TEST(empty_segments_are_no_barrier)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog *db;

	for (unsigned round = 0; round < 20; round++) {
		open_store(&db, round == 0 ? KVLOG_OPEN_CREATE : 0,
		    KVLOG_INDEX_MEMORY);
		for (unsigned i = 0; i < 20 && round % 2 == 0; i++) {
			char key[8];

			snprintf(key, sizeof key, "k%02u", i);
			MAKELOG_OK(kvlog_put(
			    db, key, 3, &round, sizeof round, NULL, NULL));
		}
		MAKELOG_OK(kvlog_close(db, NULL));
		simos_power_loss(SIMOS_LOSS_ALL, round);
	}
	open_store(&db, KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_gt(stats.segment_count, 15);
	ck_assert_uint_lt(stats.hint_count, 5);
	MAKELOG_OK(kvlog_close(db, NULL));
}
END_TEST

/* INV-11: stopped at any step, with anything lost, the store is the same. */
/* What is stopped keeps its locks, of which a sanitizer remembers but a few:
 * every eighth step is a process of its own, and then not all are done. */
#define TURNS_OF_STEPS 8
#define STRIDE (TEST_IS_SANITIZED ? 32 : TURNS_OF_STEPS)

START_TEST(a_crash_while_merging_changes_nothing)
{
	static const enum simos_loss losses[] = {SIMOS_LOSS_ALL,
	    SIMOS_LOSS_NONE, SIMOS_LOSS_RANDOM, SIMOS_LOSS_TORN,
	    SIMOS_LOSS_ONLY_NAMES, SIMOS_LOSS_ONLY_DATA};
	struct simos_state *base, *crash;
	bool stopped = true;

	make_store();
	base = simos_save();
	for (uint64_t step = 1 + (uint64_t)_i; stopped; step += STRIDE) {
		simos_restore(base);
		simos_stop_at(step, 0);
		stopped = simos_run(maintain_store, NULL);
		if (stopped && !simos_step_changes(simos_step_kind(step)))
			continue;
		/* In the end: inputs of merges. */
		if (!stopped)
			ck_assert_uint_gt(simos_count(SIMOS_UNLINK), 4);
		crash = simos_save();
		for (size_t i = 0; i <= ARRAY_LEN(losses); i++) {
			struct kvlog *db;

			simos_restore(crash);
			if (i < ARRAY_LEN(losses)) /* else a kill */
				simos_power_loss(losses[i], step);
			open_store(&db, KVLOG_OPEN_READONLY,
			    i % 2 ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY);
			expect_same_content(db);
			MAKELOG_OK(kvlog_close(db, NULL));
			open_store(&db, 0, KVLOG_INDEX_HINTS);
			expect_same_content(db);
			MAKELOG_OK(kvlog_close(db, NULL));
			open_store(
			    &db, KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
			expect_same_content(db);
			MAKELOG_OK(kvlog_close(db, NULL));
		}
		simos_state_free(crash);
	}
	simos_state_free(base);
}
END_TEST

/* A hint and a record below it are damaged: the key is not known, which the
 * handle says from then on; all others read as they should. */
START_TEST(damage_of_hint_and_record_costs_one_key)
{
	const unsigned both = KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED;
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct kvlog *db;
	unsigned wrong = 0;
	const char *name;

	make_store();
	maintain_store(NULL);
	name = makelog_hint();
	ck_assert_ptr_nonnull(name);
	makelog_flip(name, 4096 + 40);
	makelog_flip("00000001.seg", SEGMENT_DATA_OFF + 20);
	open_store(&db, KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	for (unsigned k = 0; k < STORE_KEYS; k++) {
		struct kvlog_info info;
		char key[8];
		enum kvlog_status st;

		snprintf(key, sizeof key, "k%02u", k % 100);
		st = kvlog_lookup(db, key, 3, &info);
		wrong += st != (versions[k] == 0 ? KVLOG_NOTFOUND : KVLOG_OK);
	}
	ck_assert_uint_le(wrong, 1);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_eq(stats.recovery & both, both);
	ck_assert_ptr_nonnull(strstr(stats.recovery_text, "segment 1 "));
	MAKELOG_OK(kvlog_close(db, NULL));
}
END_TEST

/* Threads, on the real system */

static void
real_setup(void)
{
	segtest_setup();
	start();
}

static void
real_teardown(void)
{
	hintset_fini(&hints);
	segset_destroy(set);
	segtest_teardown();
}

#define THREADS 4
#define TURNS 60

static _Atomic unsigned writers;

/* The lists are whole at any time: covered from the beginning, in order. */
static void *
read_lists(void *arg)
{
	uintptr_t bad = 0;

	(void)arg;
	while (atomic_load(&writers) > 0) {
		struct hint_list *list = hint_list_get(&hints);
		const struct segment *last = NULL;

		for (size_t i = 0; i < list->count; i++) {
			const struct hint *h = list->hints[i];
			struct hint_entry e;

			for (size_t j = 0; j < h->source_count; j++) {
				bad += last != NULL &&
				       segment_number(h->sources[j].seg) !=
					   segment_number(last) + 1;
				last = h->sources[j].seg;
			}
			for (uint64_t n = 0; n < h->entry_count; n++)
				if (hint_get(h, n, &e))
					bad += e.seg == NULL;
		}
		hint_list_put(list);
	}
	return (void *)bad;
}

/* Mend whatever is there, damaged or not, all at once. */
static void *
mend_all(void *arg)
{
	uintptr_t bad = 0;

	(void)arg;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		struct hint_list *list = hint_list_get(&hints);

		for (size_t i = 0; i < list->count; i++)
			bad += hintset_mend(&hints, list->hints[i], NULL) !=
			       KVLOG_OK;
		hint_list_put(list);
	}
	atomic_fetch_sub(&writers, 1);
	return (void *)bad;
}

START_TEST(threads_mend_add_and_read)
{
	pthread_t threads[2 * THREADS];

	add_segments(TURNS);
	atomic_store(&writers, THREADS + 1);
	for (unsigned i = 0; i < THREADS; i++) {
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, mend_all, NULL), 0);
		ck_assert_int_eq(pthread_create(&threads[THREADS + i], NULL,
				     read_lists, NULL),
		    0);
	}
	/* Meanwhile the maintainer adds, stores and merges. */
	for (unsigned i = 1; i <= TURNS; i++) {
		MAKELOG_OK(hintset_add(&hints, build(i, 0, i, -1)));
		while (hintset_store_image(&hints, &segtest_dir, seq))
			if (merge_step(UINT64_MAX))
				break;
		/* What another thread mends at that moment is not stored. */
		for (unsigned s = 0; s < i; s++)
			set->segments[s]->hint_failed = false;
	}
	atomic_fetch_sub(&writers, 1);
	for (unsigned i = 0; i < 2 * THREADS; i++) {
		void *bad;

		ck_assert_int_eq(pthread_join(threads[i], &bad), 0);
		ck_assert_ptr_null(bad);
	}
	while (hintset_store_image(&hints, &segtest_dir, seq))
		;
	while (merge_step(UINT64_MAX))
		;
	expect_list("1-60:0-10");
	collect();
	expect_list("1-60:0-10");
	check_content(hints.list->hints[0]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hintset");
	TCase *tc = tcase_create("hintset");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, hints_of_whole_segments_serve);
	tcase_add_test(tc, the_wider_one_serves);
	tcase_add_test(tc, parts_serve_where_they_join);
	tcase_add_test(tc, sources_must_be_neighbours);
	tcase_add_test(tc, what_does_not_fit_is_left_alone);
	tcase_add_test(tc, choosing_without_memory);
	tcase_add_test(tc, hints_are_added_in_their_places);
	tcase_add_test(tc, adding_without_memory);
	tcase_add_test(tc, a_damaged_hint_is_mended_once);
	tcase_add_test(tc, mending_goes_around_damaged_records);
	tcase_add_test(tc, images_become_files_when_they_are_durable);
	tcase_add_test(tc, storing_that_fails_leaves_the_image);
	tcase_add_test(tc, neighbours_become_one);
	tcase_add_test(tc, the_output_may_replace_an_input);
	tcase_add_test(tc, a_merge_that_is_limited_takes_fewer);
	tcase_add_test(tc, what_must_not_be_merged_is_not);
	tcase_add_test(tc, parts_of_a_set_are_neighbours);
	tcase_add_test(tc, damage_ends_merging);
	tcase_add_test(tc, merging_can_be_left);
	tcase_add_test(tc, damaged_inputs_make_a_sound_output);
	tcase_add_test(tc, merging_that_fails_changes_nothing);
	tcase_add_loop_test(tc, there_are_always_few, 0, 4);
	tcase_add_test(tc, covers_are_hints_and_gaps);
	tcase_add_test(tc, a_hint_covers_only_what_it_names);
	tcase_add_test(tc, covering_without_memory);

	tc = makelog_case(suite, "stores");
	tcase_add_test(tc, empty_segments_are_no_barrier);
	tcase_add_loop_test(
	    tc, a_crash_while_merging_changes_nothing, 0, TURNS_OF_STEPS);
	tcase_add_test(tc, damage_of_hint_and_record_costs_one_key);

	tc = tcase_create("threads");
	tcase_add_checked_fixture(tc, real_setup, real_teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, threads_mend_add_and_read);
	return test_main(suite);
}
