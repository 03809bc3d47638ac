/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "hint.h"

#include "bytes.h"
#include "rng.h"

#include <unistd.h>

#include "segtest.h"

static struct segment *seg;

static void
setup(void)
{
	segtest_setup();
	seg = segtest_create(1, UINT64_C(4) << 20);
}

static void
teardown(void)
{
	segment_close(seg);
	segtest_teardown();
}

static struct hint *
build(void)
{
	struct hint *hint = NULL;

	ck_assert_int_eq(
	    hint_build(seg, SEGMENT_DATA_OFF, segment_end(seg), &hint, NULL),
	    KVLOG_OK);
	return hint;
}

static char *
write_hint(void)
{
	struct hint *hint = build();

	ck_assert_int_eq(hint_write(hint, seg, &segtest_dir, NULL), KVLOG_OK);
	hint_close(hint);
	return files_path(segtest_path, "00000001.hint");
}

static void
read_record(const struct hint *hint, uint64_t n, struct record *rec)
{
	struct hint_entry e;

	hint_get(hint, n, &e);
	if (!segment_parse(seg, e.off, rec) || e.hash != hint_hash(seg, rec) ||
	    e.type != rec->type ||
	    e.expiry != ((rec->flags & RECORD_EXPIRY) != 0))
		ck_abort_msg("entry %" PRIu64, n);
}

static void
expect_entry(const struct hint *hint, uint64_t n, const char *key,
    unsigned type, uint64_t seq)
{
	struct record rec;

	read_record(hint, n, &rec);
	ck_assert_uint_eq(rec.key_len, strlen(key));
	ck_assert_mem_eq(rec.key, key, rec.key_len);
	ck_assert_uint_eq(rec.type, type);
	ck_assert_uint_eq(rec.seq, seq);
}

START_TEST(one_entry_a_key_its_last_record)
{
	struct hint *hint;

	segtest_put(seg, 1, "b", "1");
	segtest_put(seg, 2, "aa", "1");
	segtest_record(seg, RECORD_MARK, 2, NULL, 0, NULL, 0);
	segtest_put(seg, 3, "a", "1");
	segtest_delete(seg, 4, "b");
	segtest_put(seg, 5, "c", "1");
	segtest_put(seg, 6, "a", "2");
	segtest_delete(seg, 7, "never there");
	segtest_record(seg, 0x99, 8, "skipped", 7, NULL, 0);
	hint = build();
	ck_assert_uint_eq(hint->entry_count, 5);
	expect_entry(hint, 0, "a", RECORD_PUT, 6);
	expect_entry(hint, 1, "aa", RECORD_PUT, 2);
	expect_entry(hint, 2, "b", RECORD_DELETE, 4);
	expect_entry(hint, 3, "c", RECORD_PUT, 5);
	expect_entry(hint, 4, "never there", RECORD_DELETE, 7);
	ck_assert_uint_eq(hint->from, SEGMENT_DATA_OFF);
	ck_assert_uint_eq(hint->to, segment_end(seg));
	hint_close(hint);
	hint_close(NULL);
}
END_TEST

START_TEST(the_hash_is_that_of_the_key_and_its_bucket)
{
	struct record rec = {.type = RECORD_PUT,
	    .flags = RECORD_BUCKET | RECORD_EXPIRY,
	    .key_len = 3,
	    .seq = 1,
	    .bucket_seq = 5,
	    .bucket_ordinal = 6,
	    .expiry_ms = 7,
	    .key = (const uint8_t *)"key"};
	static const uint8_t text[] = "\5\0\0\0\0\0\0\0\6\0\0\0key";
	const uint8_t *secret = seg->header.store.secret;
	struct hint_entry e;
	struct hint *hint;

	segtest_put(seg, 1, "key", "x");
	segtest_append(seg, &rec);
	hint = build();
	ck_assert_uint_eq(hint->entry_count, 2);
	hint_get(hint, 0, &e);
	ck_assert_uint_eq(e.hash, sum_hash(secret, "key", 3));
	ck_assert(!e.expiry);
	hint_get(hint, 1, &e);
	ck_assert_uint_eq(e.hash, sum_hash(secret, text, 15));
	ck_assert(e.expiry);
	hint_close(hint);
}
END_TEST

START_TEST(no_records_no_entries)
{
	static const uint8_t key[] = "key";
	struct hint *hint = build(), *again;
	char *path;

	ck_assert_uint_eq(hint->entry_count, 0);
	ck_assert_uint_eq(hint_seek(hint, seg, key, 3), 0);
	ck_assert_uint_eq(hint_seek(hint, seg, NULL, 0), 0);
	hint_close(hint);
	path = write_hint();
	again = hint_open(seg, &segtest_dir);
	ck_assert_ptr_nonnull(again);
	ck_assert_uint_eq(again->entry_count, 0);
	ck_assert_uint_eq(hint_seek(again, seg, key, 3), 0);
	hint_close(again);
	free(path);
}
END_TEST

START_TEST(part_of_a_segment)
{
	struct hint *hint = NULL;
	uint64_t two;

	segtest_put(seg, 1, "a", "1");
	two = segtest_put(seg, 2, "b", "1");
	segtest_put(seg, 3, "c", "1");
	ck_assert_int_eq(hint_build(seg, two, two + 32, &hint, NULL), KVLOG_OK);
	ck_assert_uint_eq(hint->entry_count, 1);
	expect_entry(hint, 0, "b", RECORD_PUT, 2);
	ck_assert_uint_eq(hint->last_seq, 2);
	hint_close(hint);
}
END_TEST

START_TEST(keys_compare_like_memcmp_a_prefix_first)
{
	static const struct {
		const char *a, *b;
	} less[] = {{"", "a"}, {"a", "b"}, {"a", "aa"}, {"aa", "b"},
	    {"a", "\xff"}, {"\x7f", "\x80"}};

	for (size_t i = 0; i < ARRAY_LEN(less); i++) {
		const uint8_t *a = (const uint8_t *)less[i].a;
		const uint8_t *b = (const uint8_t *)less[i].b;
		size_t a_len = strlen(less[i].a), b_len = strlen(less[i].b);

		ck_assert_int_lt(key_compare(a, a_len, b, b_len), 0);
		ck_assert_int_gt(key_compare(b, b_len, a, a_len), 0);
		ck_assert_int_eq(key_compare(a, a_len, a, a_len), 0);
	}
	ck_assert_int_eq(key_compare(NULL, 0, NULL, 0), 0);
	ck_assert_int_lt(
	    key_compare((const uint8_t *)"\0", 1, (const uint8_t *)"\0\0", 2),
	    0);
}
END_TEST

/* Seeking, against a sorted list */

#define KEYS 4000
#define KEY_CAP 80

static uint8_t (*keys)[KEY_CAP];
static size_t lens[KEYS];

static int
compare_keys(const void *va, const void *vb)
{
	const uint8_t *a = va, *b = vb;

	return key_compare(a + 1, a[0], b + 1, b[0]);
}

/* keys[i][0] is the length; sorted, perhaps with duplicates. */
static void
make_keys(unsigned seed)
{
	struct rng rng;

	rng_init(&rng, seed);
	keys = calloc(KEYS, sizeof *keys);
	ck_assert_ptr_nonnull(keys);
	for (unsigned i = 0; i < KEYS; i++) {
		/* Few different bytes and long runs: shared prefixes of all
		 * lengths, keys that begin others, 0x00 and 0xff. */
		size_t len = 1 + (size_t)rng_below(&rng, KEY_CAP - 1);
		static const uint8_t bytes[] = {0, 0xff, 'a', 'a', 'a', 'b'};
		size_t run = (size_t)rng_below(&rng, len + 1);

		keys[i][0] = (uint8_t)len;
		memset(keys[i] + 1, 'a', run);
		for (size_t k = run; k < len; k++)
			keys[i][1 + k] = bytes[rng_below(&rng, sizeof bytes)];
	}
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned k = (unsigned)(i * 2654435761u % KEYS);

		segtest_record(seg, i % 7 ? RECORD_PUT : RECORD_DELETE, i + 1,
		    keys[k] + 1, keys[k][0], NULL, 0);
	}
	qsort(keys, KEYS, sizeof *keys, compare_keys);
	for (unsigned i = 0; i < KEYS; i++)
		lens[i] = keys[i][0];
}

static void
check_seek(const struct hint *hint, const uint8_t *key, size_t len)
{
	uint64_t n = hint_seek(hint, seg, key, len);
	struct record rec;

	if (n > hint->entry_count)
		ck_abort_msg("out of range");
	if (n < hint->entry_count) {
		read_record(hint, n, &rec);
		if (key_compare(rec.key, rec.key_len, key, len) < 0)
			ck_abort_msg("too early");
	}
	if (n > 0) {
		read_record(hint, n - 1, &rec);
		if (key_compare(rec.key, rec.key_len, key, len) >= 0)
			ck_abort_msg("too late");
	}
}

START_TEST(seeking_finds_the_first_not_less)
{
	struct hint *hint;

	make_keys((unsigned)_i);
	hint = build();
	ck_assert_uint_gt(hint->block_count, 5);
	for (uint64_t n = 1; n < hint->entry_count; n++) {
		struct record a, b;

		read_record(hint, n - 1, &a);
		read_record(hint, n, &b);
		if (key_compare(a.key, a.key_len, b.key, b.key_len) >= 0)
			ck_abort_msg("order at %" PRIu64, n);
	}
	for (unsigned i = 0; i < KEYS; i++) {
		uint8_t near[KEY_CAP + 1];

		check_seek(hint, keys[i] + 1, lens[i]);
		for (size_t len = 0; len < lens[i]; len += 9)
			check_seek(hint, keys[i] + 1, len);
		memcpy(near, keys[i] + 1, lens[i]);
		near[lens[i]] = 0;
		check_seek(hint, near, lens[i] + 1);
		near[lens[i]] = 0xff;
		check_seek(hint, near, lens[i] + 1);
		near[lens[i] - 1]++;
		check_seek(hint, near, lens[i]);
		near[lens[i] - 1] = (uint8_t)(near[lens[i] - 1] - 2);
		check_seek(hint, near, lens[i]);
	}
	hint_close(hint);
	free(keys);
}
END_TEST

START_TEST(seeking_in_long_keys)
{
	uint8_t *key = malloc(65535);
	struct hint *hint;

	ck_assert_ptr_nonnull(key);
	memset(key, 'k', 65535);
	for (unsigned i = 0; i < 60; i++) {
		key[65534] = (uint8_t)(3 * i);
		segtest_record(seg, RECORD_PUT, i + 1, key, 65535, NULL, 0);
	}
	hint = build();
	ck_assert_uint_eq(hint->entry_count, 60);
	for (unsigned i = 0; i < 182; i++) {
		key[65534] = (uint8_t)i;
		check_seek(hint, key, 65535);
	}
	check_seek(hint, key, 65534);
	check_seek(hint, key, 1);
	hint_close(hint);
	free(key);
}
END_TEST

/* Long fences: many blocks of keys that differ in the last byte. */
START_TEST(fences_of_long_keys)
{
	uint8_t key[2000];
	struct hint *hint;

	memset(key, 'k', sizeof key);
	for (unsigned i = 0; i < 1500; i++) {
		put_u16(key + sizeof key - 2, (uint16_t)(i * 40503));
		segtest_record(
		    seg, RECORD_PUT, i + 1, key, sizeof key, NULL, 0);
	}
	hint = build();
	ck_assert_uint_ge(hint->block_count, 3);
	for (unsigned i = 0; i < 65536; i += 5) {
		put_u16(key + sizeof key - 2, (uint16_t)i);
		check_seek(hint, key, sizeof key);
	}
	hint_close(hint);
}
END_TEST

START_TEST(other_buckets_come_behind)
{
	struct hint *hint;
	static const uint8_t zz[] = "zz", a[] = "a";

	for (unsigned i = 0; i < 1500; i++) {
		char key[16];
		struct record rec = {.type = RECORD_PUT,
		    .flags = RECORD_BUCKET,
		    .bucket_seq = 1 + i % 3,
		    .bucket_ordinal = i % 2,
		    .seq = i + 1,
		    .key = (const uint8_t *)key};

		rec.key_len = (uint16_t)snprintf(key, sizeof key, "a%u", i / 6);
		segtest_append(seg, &rec);
		if (i % 5 == 0)
			segtest_put(seg, i + 1, key, "x");
	}
	hint = build();
	ck_assert_uint_eq(
	    hint_seek(hint, seg, zz, 2), hint->entry_count - 1500);
	ck_assert_uint_eq(hint_seek(hint, seg, a, 1), 0);
	ck_assert_uint_eq(hint_seek(hint, seg, NULL, 0), 0);
	for (uint64_t n = 0; n < hint->entry_count; n++) {
		struct record rec;

		read_record(hint, n, &rec);
		ck_assert_int_eq((rec.flags & RECORD_BUCKET) != 0,
		    n >= hint->entry_count - 1500);
	}
	hint_close(hint);
}
END_TEST

/* A damaged record has no place in the order; the others keep theirs. */
START_TEST(damaged_records_do_not_mislead_a_search)
{
	struct hint *hint;
	struct rng rng;

	rng_init(&rng, 3);
	for (unsigned i = 0; i < 1000; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key-%04u", i);
		segtest_put(seg, i + 1, key, "x");
	}
	hint = build();
	for (unsigned turn = 0; turn < 300; turn++) {
		struct hint_entry e;

		/* In the key: it looks greater, or less. */
		hint_get(hint, rng_below(&rng, 1000), &e);
		segtest_flip(seg, e.off + 28 + rng_below(&rng, 8));
	}
	for (unsigned i = 0; i < 1000; i++) {
		struct hint_entry e;
		struct record rec;
		uint8_t key[16];
		uint64_t n;

		(void)snprintf((char *)key, sizeof key, "key-%04u", i);
		n = hint_seek(hint, seg, key, 8);
		/* From there on nothing sound is less, before nothing is not
		 * less: here the place is the number itself, or damaged ones
		 * before it. */
		ck_assert_uint_le(n, i);
		for (; n < i; n++) {
			hint_get(hint, n, &e);
			(void)segment_parse(seg, e.off, &rec);
			ck_assert(!record_header_ok(seg->map.addr + e.off, &rec,
			    segment_seed(seg, e.off)));
		}
	}
	hint_close(hint);
}
END_TEST

/* Files */

static void
check_same_content(const struct hint *a, const struct hint *b)
{
	ck_assert_uint_eq(a->entry_count, b->entry_count);
	for (uint64_t n = 0; n < a->entry_count; n++) {
		struct hint_entry ea, eb;

		hint_get(a, n, &ea);
		hint_get(b, n, &eb);
		if (ea.hash != eb.hash || ea.off != eb.off ||
		    ea.type != eb.type || ea.expiry != eb.expiry)
			ck_abort_msg("entry %" PRIu64, n);
	}
	ck_assert_uint_eq(a->last_seq, b->last_seq);
}

START_TEST(a_written_hint_is_the_same)
{
	struct hint *hint, *file;
	char *path;

	make_keys(1);
	hint = build();
	path = write_hint();
	file = hint_open(seg, &segtest_dir);
	ck_assert_ptr_nonnull(file);
	check_same_content(hint, file);
	for (unsigned i = 0; i < KEYS; i += 5)
		ck_assert_uint_eq(hint_seek(file, seg, keys[i] + 1, lens[i]),
		    hint_seek(hint, seg, keys[i] + 1, lens[i]));
	hint_close(file);
	hint_close(hint);
	/* Writing again replaces it, leftovers of another try too. */
	free(path);
	path = files_path(segtest_path, "00000001.hint.tmp");
	files_write(path, "left over", 9);
	free(path);
	path = write_hint();
	file = hint_open(seg, &segtest_dir);
	ck_assert_ptr_nonnull(file);
	hint_close(file);
	free(path);
	free(keys);
}
END_TEST

/* Each byte; the gap behind the header is covered by no sum and means
 * nothing. */
START_TEST(a_damaged_hint_is_left_alone)
{
	struct hint *hint, *file;
	char *path;
	size_t len, opened = 0;

	for (unsigned i = 0; i < 600; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key-%u", i);
		segtest_put(seg, i + 1, key, "x");
	}
	hint = build();
	path = write_hint();
	len = files_len(path);
	for (size_t off = 0; off < len; off++) {
		files_flip(path, off, (unsigned)(off % 8));
		file = hint_open(seg, &segtest_dir);
		if (file != NULL) {
			opened++;
			check_same_content(hint, file);
			hint_close(file);
			if (off < 192 || off >= 4096)
				ck_abort_msg("byte %zu", off);
		}
		files_flip(path, off, (unsigned)(off % 8));
	}
	ck_assert_uint_le(opened, 4096 - 192);
	hint_close(hint);
	free(path);
}
END_TEST

START_TEST(a_cut_or_grown_hint_is_left_alone)
{
	char *path;
	size_t len;

	segtest_put(seg, 1, "key", "x");
	path = write_hint();
	len = files_len(path);
	ck_assert_int_eq(truncate(path, (off_t)len + 1), 0);
	ck_assert_ptr_null(hint_open(seg, &segtest_dir));
	while (len-- > 0) {
		ck_assert_int_eq(truncate(path, (off_t)len), 0);
		if (hint_open(seg, &segtest_dir) != NULL)
			ck_abort_msg("opens with %zu bytes", len);
	}
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_ptr_null(hint_open(seg, &segtest_dir));
	free(path);
}
END_TEST

static bool
opens(void)
{
	struct hint *hint = hint_open(seg, &segtest_dir);
	bool there = hint != NULL;

	hint_close(hint);
	return there;
}

START_TEST(a_hint_is_bound_to_its_segment)
{
	const struct segment_header saved = seg->header;
	char *path;
	uint64_t end;

	segtest_put(seg, 1, "key", "x");
	path = write_hint();
	ck_assert(opens());
	end = segment_end(seg);

	seg->header.salt++;
	ck_assert(!opens());
	seg->header = saved;
	seg->header.store.uuid[15] ^= 1;
	ck_assert(!opens());
	seg->header = saved;
	seg->header.store.secret[100] ^= 1;
	ck_assert(!opens());
	seg->header = saved;
	atomic_store(&seg->end, end + 8);
	ck_assert(!opens());
	atomic_store(&seg->end, end - 8);
	ck_assert(!opens());
	atomic_store(&seg->end, end);
	ck_assert(opens());

	/* Under the name of another number. */
	seg->header.id.first = seg->header.id.last = 2;
	ck_assert_int_eq(
	    os->rename(segtest_dir.fd, "00000001.hint", "00000002.hint"), 0);
	ck_assert(!opens());
	seg->header = saved;
	free(path);
}
END_TEST

/* Right sums over wrong numbers: nothing beyond the file or the segment is
 * ever looked at. */
static void
reseal(uint8_t *p, size_t len)
{
	uint64_t fences_off = get_u64(p + 72), fences_len = get_u64(p + 80);
	uint64_t blocks_off = get_u64(p + 64);
	uint32_t blocks = get_u32(p + 56);

	if (fences_off <= len && fences_len <= len - fences_off)
		put_u32(p + 88, sum_crc(p + fences_off, (size_t)fences_len));
	for (uint32_t b = 0; b < blocks && b < 64; b++)
		if (blocks_off <= len &&
		    (b + UINT64_C(1)) * 4096 <= len - blocks_off)
			put_u32(p + blocks_off + b * UINT64_C(4096),
			    sum_crc(
				p + blocks_off + b * UINT64_C(4096) + 4, 4092));
	put_u32(p + 8, sum_crc(p + 12, 192 - 12));
}

START_TEST(hostile_hints_do_no_harm)
{
	static const uint64_t values[] = {0, 1, 7, 8, 9, 255, 4095, 4096,
	    UINT32_MAX, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63};
	struct rng rng;
	uint8_t *good, *p;
	size_t len;
	unsigned opened = 0;
	char *path;

	for (unsigned i = 0; i < 1000; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key-%u", i);
		segtest_put(seg, i + 1, key, "x");
	}
	path = write_hint();
	good = files_read(path, &len);
	p = malloc(len);
	ck_assert_ptr_nonnull(p);
	rng_init(&rng, 11);
	for (unsigned turn = 0; turn < 6000; turn++) {
		struct hint *hint;
		size_t at;

		memcpy(p, good, len);
		if (turn < 192 * ARRAY_LEN(values)) {
			/* A field of the header. */
			at = turn % 192;
			put_u64(p + (at > 184 ? 184 : at), values[turn / 192]);
		} else {
			/* Something in blocks and fences. */
			at = 4096 + (size_t)rng_below(&rng, len - 4096);
			p[at] = (uint8_t)rng_next(&rng);
		}
		reseal(p, len);
		files_write(path, p, len);
		hint = hint_open(seg, &segtest_dir);
		if (hint == NULL)
			continue;
		opened++;
		for (uint64_t n = 0; n < hint->entry_count; n += 13) {
			struct hint_entry e;
			uint8_t key[16];

			hint_get(hint, n, &e);
			if (e.off < SEGMENT_DATA_OFF ||
			    e.off >= segment_end(seg))
				ck_abort_msg("offset %" PRIu64, e.off);
			(void)snprintf(
			    (char *)key, sizeof key, "key-%u", (unsigned)n);
			if (hint_seek(hint, seg, key, 8) > hint->entry_count)
				ck_abort_msg("seek");
		}
		hint_close(hint);
	}
	ck_assert_uint_gt(opened, 10);
	free(p);
	free(good);
	free(path);
}
END_TEST

/* Fences must go forward, by at least a bucket id each, and stay inside. */
START_TEST(hostile_fences_are_refused)
{
	uint8_t *good, *p, *fences;
	uint64_t heap_len;
	size_t len;
	char *path;

	for (unsigned i = 0; i < 1500; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key-%u", i);
		segtest_put(seg, i + 1, key, "x");
	}
	path = write_hint();
	good = files_read(path, &len);
	p = malloc(len);
	ck_assert_ptr_nonnull(p);
	heap_len = get_u64(good + 80) - 4 * (get_u32(good + 56) + UINT64_C(1));
	for (unsigned b = 0; b <= get_u32(good + 56); b++)
		for (int how = 0; how < 4; how++) {
			uint32_t before, value = 0;

			memcpy(p, good, len);
			fences = p + get_u64(p + 72);
			before = b > 0 ? get_u32(fences + 4 * (b - 1)) : 0;
			if (how == 0)
				value = (uint32_t)heap_len + 1;
			else if (how == 1)
				value = UINT32_MAX;
			else if (how == 2)
				value = before + 11;
			else if (b > 0)
				value = before > 0 ? before - 1 : 0;
			else
				value = 1;
			put_u32(fences + 4 * b, value);
			reseal(p, len);
			files_write(path, p, len);
			ck_assert_msg(!opens(), "fence %u, %d", b, how);
		}
	files_write(path, good, len);
	ck_assert(opens());
	free(p);
	free(good);
	free(path);
}
END_TEST

START_TEST(damage_that_is_known_is_left_out)
{
	struct hint *hint = NULL;
	struct kvlog_error err = {0};
	uint64_t two, three;

	segtest_put(seg, 1, "a", "1");
	two = segtest_put(seg, 2, "b", "1");
	three = segtest_put(seg, 3, "c", "1");
	segtest_flip(seg, two + 28);
	ck_assert_int_eq(
	    hint_build(seg, SEGMENT_DATA_OFF, segment_end(seg), &hint, &err),
	    KVLOG_CORRUPT);
	ck_assert_ptr_null(hint);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(err.offset, two);
	ck_assert_int_eq(segment_add_bad(seg, two, three), 0);
	hint = build();
	ck_assert_uint_eq(hint->entry_count, 2);
	expect_entry(hint, 0, "a", RECORD_PUT, 1);
	expect_entry(hint, 1, "c", RECORD_PUT, 3);
	hint_close(hint);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hint");
	TCase *tc = tcase_create("hint");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, one_entry_a_key_its_last_record);
	tcase_add_test(tc, the_hash_is_that_of_the_key_and_its_bucket);
	tcase_add_test(tc, no_records_no_entries);
	tcase_add_test(tc, part_of_a_segment);
	tcase_add_test(tc, keys_compare_like_memcmp_a_prefix_first);
	tcase_add_loop_test(tc, seeking_finds_the_first_not_less, 0, 4);
	tcase_add_test(tc, seeking_in_long_keys);
	tcase_add_test(tc, fences_of_long_keys);
	tcase_add_test(tc, other_buckets_come_behind);
	tcase_add_test(tc, damaged_records_do_not_mislead_a_search);
	tcase_add_test(tc, a_written_hint_is_the_same);
	tcase_add_test(tc, a_damaged_hint_is_left_alone);
	tcase_add_test(tc, a_cut_or_grown_hint_is_left_alone);
	tcase_add_test(tc, a_hint_is_bound_to_its_segment);
	tcase_add_test(tc, hostile_hints_do_no_harm);
	tcase_add_test(tc, hostile_fences_are_refused);
	tcase_add_test(tc, damage_that_is_known_is_left_out);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
