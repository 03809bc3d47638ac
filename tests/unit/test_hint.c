/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hint.c - hints: made from records, read back, looked up in, damaged,
 * hostile.  The answers are compared with a sorted list of what was put in.
 */
#include "config.h"

#include "hint.h"
#include "hint_format.h"
#include "makelog.h"
#include "rng.h"

#include <errno.h>

#include "segtest.h"

#define SEGS_MAX 3
#define LEAVES_OFF 4096u /* of the first block, up to 62 sources */

static struct segment *segs[SEGS_MAX];
static uint64_t seq; /* of the last commit */

static void
setup(void)
{
	segtest_setup();
	seq = 0;
	segs[0] = segtest_create(1, UINT64_C(4) << 20);
}

static void
teardown(void)
{
	for (unsigned i = 0; i < SEGS_MAX; i++) {
		segment_close(segs[i]);
		segs[i] = NULL;
	}
	segtest_teardown();
}

/* All of the first count segments. */
static void
fill_sources(struct hint_source *sources, size_t count)
{
	memset(sources, 0, count * sizeof *sources);
	for (size_t i = 0; i < count; i++) {
		sources[i].seg = segs[i];
		sources[i].from = SEGMENT_DATA_OFF;
		sources[i].to = segment_end(segs[i]);
	}
}

static struct hint *
build_all(size_t count)
{
	struct hint_source sources[SEGS_MAX];
	struct hint *hint = NULL;

	fill_sources(sources, count);
	ck_assert_int_eq(
	    hint_build(sources, count, UINT64_MAX, &hint, NULL), KVLOG_OK);
	return hint;
}

static struct hint *
build_part(uint64_t from, uint64_t to, uint64_t max_seq)
{
	const struct hint_source source = {
	    .seg = segs[0], .from = from, .to = to};
	struct hint *hint = NULL;

	ck_assert_int_eq(
	    hint_build(&source, 1, max_seq, &hint, NULL), KVLOG_OK);
	return hint;
}

/* A hint over a copy of bytes, of exactly their length, so that a look beyond
 * it is seen; NULL if it is refused.  Bound to segs. */
static struct hint *
decode_copy(const uint8_t *bytes, size_t len)
{
	struct hint *hint = os->calloc(1, sizeof *hint);
	bool ok;

	ck_assert_ptr_nonnull(hint);
	atomic_init(&hint->refs, 1);
	hint->memory = os->malloc(len > 0 ? len : 1);
	ck_assert_ptr_nonnull(hint->memory);
	memcpy(hint->memory, bytes, len);
	hint->data = hint->memory;
	hint->len = len;
	ok = hint_decode(hint) && hint->source_count <= SEGS_MAX;
	for (size_t i = 0; ok && i < hint->source_count; i++)
		ok = segs[i] != NULL && hint_bind(hint, i, segs[i]);
	if (ok)
		return hint;
	hint_unref(hint);
	return NULL;
}

static void
put_rec(struct segment *seg, unsigned type, const void *key, size_t len)
{
	segtest_record(seg, type, ++seq, key, len, NULL, 0);
}

static void
put_in_bucket(struct segment *seg, unsigned type, uint64_t bucket,
    uint32_t ordinal, const void *key, size_t len)
{
	struct record rec = {.type = (uint8_t)type,
	    .flags = RECORD_BUCKET,
	    .key_len = (uint16_t)len,
	    .seq = ++seq,
	    .lag = 1,
	    .bucket_seq = bucket,
	    .bucket_ordinal = ordinal,
	    .key = key};

	segtest_append(seg, &rec);
}

static struct hint_key
key_of(const void *bytes, size_t len)
{
	return (struct hint_key){.len = (uint32_t)len, .bytes = bytes};
}

/* Entry n is sound, and is this record. */
static void
read_entry(const struct hint *hint, uint64_t n, struct hint_entry *e,
    struct record *rec)
{
	ck_assert(hint_get(hint, n, e));
	if (!hint_read(e, rec) || e->hash != hint_hash(e->seg, rec) ||
	    e->type != rec->type || e->seg != hint->sources[e->index].seg ||
	    e->expiry != ((rec->flags & RECORD_EXPIRY) != 0))
		ck_abort_msg("entry %" PRIu64, n);
}

static void
expect_entry(const struct hint *hint, uint64_t n, const char *key,
    unsigned type, uint64_t number)
{
	struct hint_entry e;
	struct record rec;

	read_entry(hint, n, &e, &rec);
	ck_assert_uint_eq(rec.key_len, strlen(key));
	ck_assert_mem_eq(rec.key, key, rec.key_len);
	ck_assert_uint_eq(rec.type, type);
	ck_assert_uint_eq(rec.seq, number);
}

/* Building */

START_TEST(one_entry_a_key_its_last_record)
{
	struct segment *seg = segs[0];
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
	hint = build_all(1);
	ck_assert_uint_eq(hint->entry_count, 5);
	expect_entry(hint, 0, "a", RECORD_PUT, 6);
	expect_entry(hint, 1, "aa", RECORD_PUT, 2);
	expect_entry(hint, 2, "b", RECORD_DELETE, 4);
	expect_entry(hint, 3, "c", RECORD_PUT, 5);
	expect_entry(hint, 4, "never there", RECORD_DELETE, 7);
	ck_assert_uint_eq(hint->source_count, 1);
	ck_assert_uint_eq(hint->sources[0].from, SEGMENT_DATA_OFF);
	ck_assert_uint_eq(hint->sources[0].to, segment_end(seg));
	ck_assert_uint_eq(hint->sources[0].last_seq, 8);
	ck_assert_uint_eq(hint->sources[0].salt, seg->header.salt);
	ck_assert_str_eq(hint->name, "");
	ck_assert(hint_verify(hint));
	hint_unref(hint);
	hint_unref(NULL);
}
END_TEST

/* INV-6: whatever the order of the bytes in memory, the later source wins. */
START_TEST(of_several_segments_the_newest_counts)
{
	struct hint *hint;

	for (unsigned i = 1; i < SEGS_MAX; i++)
		segs[i] = segtest_create(i + 1, SEGTEST_SIZE);
	segtest_put(segs[0], 1, "a", "1");
	segtest_put(segs[0], 2, "b", "1");
	segtest_put(segs[0], 3, "c", "1");
	segtest_put(segs[1], 4, "c", "2");
	segtest_put(segs[1], 5, "a", "2");
	segtest_put(segs[1], 6, "a", "3");
	segtest_put(segs[2], 7, "d", "3");
	segtest_delete(segs[2], 8, "c");
	hint = build_all(3);
	ck_assert_uint_eq(hint->entry_count, 4);
	expect_entry(hint, 0, "a", RECORD_PUT, 6);
	expect_entry(hint, 1, "b", RECORD_PUT, 2);
	expect_entry(hint, 2, "c", RECORD_DELETE, 8);
	expect_entry(hint, 3, "d", RECORD_PUT, 7);
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t last[] = {3, 6, 8};

		ck_assert_uint_eq(hint->sources[i].last_seq, last[i]);
		ck_assert_ptr_eq(hint->sources[i].seg, segs[i]);
	}
	hint_unref(hint);

	/* The same bytes the other way round. */
	{
		struct segment *swap = segs[0];

		segs[0] = segs[2];
		segs[2] = swap;
		hint = build_all(3);
		expect_entry(hint, 0, "a", RECORD_PUT, 1);
		expect_entry(hint, 2, "c", RECORD_PUT, 3);
		hint_unref(hint);
	}
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
	const uint8_t *secret = segs[0]->header.store.secret;
	struct hint_entry e;
	struct hint *hint;

	segtest_put(segs[0], 1, "key", "x");
	segtest_append(segs[0], &rec);
	hint = build_all(1);
	ck_assert_uint_eq(hint->entry_count, 2);
	ck_assert(hint_get(hint, 0, &e));
	ck_assert_uint_eq(e.hash, sum_hash(secret, "key", 3));
	ck_assert(!e.expiry);
	ck_assert(hint_get(hint, 1, &e));
	ck_assert_uint_eq(e.hash, sum_hash(secret, text, 15));
	ck_assert(e.expiry);
	hint_unref(hint);
}
END_TEST

/* A commit of several records is taken whole or not at all. */
START_TEST(max_seq_cuts_behind_a_commit)
{
	static const struct {
		uint64_t max_seq;
		size_t entries;
		unsigned to; /* which of offs */
		uint64_t last_seq;
	} cases[] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 3, 3, 2}, {3, 3, 4, 3},
	    {4, 4, 5, 4}, {99, 4, 5, 4}};
	struct segment *seg = segs[0];
	uint64_t offs[6];

	offs[0] = segtest_put(seg, 1, "a", "1");
	offs[1] = segtest_put(seg, 2, "b1", "1");
	offs[2] = segtest_put(seg, 2, "b2", "1");
	/* Marks are not covered by themselves. */
	offs[3] = segtest_record(seg, RECORD_MARK, 2, NULL, 0, NULL, 0);
	offs[3] = segtest_put(seg, 3, "a", "2") - 32;
	offs[4] = segtest_put(seg, 4, "c", "1");
	offs[5] = segtest_record(seg, RECORD_MARK, 4, NULL, 0, NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct hint *hint = build_part(
		    SEGMENT_DATA_OFF, segment_end(seg), cases[i].max_seq);

		ck_assert_uint_eq(hint->entry_count, cases[i].entries);
		ck_assert_uint_eq(hint->sources[0].to, offs[cases[i].to]);
		ck_assert_uint_eq(hint->sources[0].last_seq, cases[i].last_seq);
		if (cases[i].max_seq >= 1)
			expect_entry(hint, 0, "a", RECORD_PUT,
			    cases[i].max_seq >= 3 ? 3 : 1);
		hint_unref(hint);
	}
	/* Without a cut: up to where it was said, the mark included. */
	{
		struct hint *hint =
		    build_part(SEGMENT_DATA_OFF, segment_end(seg), UINT64_MAX);

		ck_assert_uint_eq(hint->sources[0].to, segment_end(seg));
		hint_unref(hint);
	}
}
END_TEST

/* Only the last source is cut. */
START_TEST(older_sources_are_not_cut)
{
	struct hint_source sources[2];
	struct hint *hint = NULL;

	segs[1] = segtest_create(2, SEGTEST_SIZE);
	segtest_put(segs[0], 5, "a", "1");
	segtest_put(segs[1], 6, "b", "1");
	fill_sources(sources, 2);
	ck_assert_int_eq(hint_build(sources, 2, 4, &hint, NULL), KVLOG_OK);
	ck_assert_uint_eq(hint->entry_count, 1);
	expect_entry(hint, 0, "a", RECORD_PUT, 5);
	ck_assert_uint_eq(hint->sources[0].to, segment_end(segs[0]));
	ck_assert_uint_eq(hint->sources[1].to, SEGMENT_DATA_OFF);
	hint_unref(hint);
}
END_TEST

START_TEST(part_of_a_segment)
{
	struct hint *hint;
	uint64_t two, three;

	segtest_put(segs[0], 1, "a", "1");
	two = segtest_put(segs[0], 2, "b", "1");
	three = segtest_put(segs[0], 3, "c", "1");
	hint = build_part(two, three, UINT64_MAX);
	ck_assert_uint_eq(hint->entry_count, 1);
	expect_entry(hint, 0, "b", RECORD_PUT, 2);
	ck_assert_uint_eq(hint->sources[0].last_seq, 2);
	ck_assert_uint_eq(hint->sources[0].from, two);
	hint_unref(hint);
}
END_TEST

START_TEST(no_records_no_entries)
{
	const struct hint_key key = key_of("key", 3), none = key_of(NULL, 0);
	struct hint *hint = build_all(1);
	struct hint_probe probe;
	struct hint_entry e;
	uint64_t n = 9;

	ck_assert_uint_eq(hint->entry_count, 0);
	ck_assert_uint_eq(hint->len, LEAVES_OFF);
	ck_assert(hint_seek(hint, &key, &n));
	ck_assert_uint_eq(n, 0);
	ck_assert(hint_seek(hint, &none, &n));
	ck_assert(!hint_find(hint, &key, 1, &probe, &e) && !probe.damaged);
	ck_assert(!hint_find_next(&probe, &e));
	ck_assert(hint_verify(hint));
	hint_unref(hint);
}
END_TEST

START_TEST(damage_that_is_known_is_left_out)
{
	struct hint_source source = {.from = SEGMENT_DATA_OFF};
	struct hint *hint = NULL;
	struct kvlog_error err = {0};
	uint64_t two, three;

	segtest_put(segs[0], 1, "a", "1");
	two = segtest_put(segs[0], 2, "b", "1");
	three = segtest_put(segs[0], 3, "c", "1");
	segtest_flip(segs[0], two + 28);
	source.seg = segs[0];
	source.to = segment_end(segs[0]);
	ck_assert_int_eq(
	    hint_build(&source, 1, UINT64_MAX, &hint, &err), KVLOG_CORRUPT);
	ck_assert_ptr_null(hint);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(err.offset, two);
	ck_assert_int_eq(segment_add_bad(segs[0], two, three), 0);
	hint = build_all(1);
	ck_assert_uint_eq(hint->entry_count, 2);
	expect_entry(hint, 0, "a", RECORD_PUT, 1);
	expect_entry(hint, 1, "c", RECORD_PUT, 3);
	hint_unref(hint);
}
END_TEST

START_TEST(keys_compare_like_memcmp_a_prefix_first)
{
	static const struct {
		const char *a, *b;
	} less[] = {{"", "a"}, {"a", "b"}, {"a", "aa"}, {"aa", "b"},
	    {"a", "\xff"}, {"\x7f", "\x80"}};
	struct hint_key a = key_of("zz", 2), b = key_of("a", 1);

	for (size_t i = 0; i < ARRAY_LEN(less); i++) {
		const uint8_t *x = (const uint8_t *)less[i].a;
		const uint8_t *y = (const uint8_t *)less[i].b;
		size_t x_len = strlen(less[i].a), y_len = strlen(less[i].b);

		ck_assert_int_lt(key_compare(x, x_len, y, y_len), 0);
		ck_assert_int_gt(key_compare(y, y_len, x, x_len), 0);
		ck_assert_int_eq(key_compare(x, x_len, x, x_len), 0);
		ck_assert(key_prefix(x, x_len) <= key_prefix(y, y_len));
	}
	ck_assert_int_eq(key_compare(NULL, 0, NULL, 0), 0);
	ck_assert_int_lt(
	    key_compare((const uint8_t *)"\0", 1, (const uint8_t *)"\0\0", 2),
	    0);
	/* Buckets come first, by number and ordinal. */
	b.bucket_ordinal = 1;
	ck_assert_int_lt(hint_key_compare(&a, &b), 0);
	a.bucket_seq = 1;
	ck_assert_int_gt(hint_key_compare(&a, &b), 0);
	b.bucket_seq = 1;
	b.bucket_ordinal = 0;
	ck_assert_int_gt(hint_key_compare(&a, &b), 0);
	ck_assert_int_eq(hint_key_compare(&a, &a), 0);
}
END_TEST

START_TEST(names_say_what_is_covered)
{
	struct segment other = {0};
	struct hint_source s[2];
	char name[DIR_NAME_LEN];
	struct file file;
	uint64_t two;

	segtest_put(segs[0], 1, "a", "1");
	two = segtest_put(segs[0], 2, "b", "1");
	segs[1] = segtest_create(2, SEGTEST_SIZE);
	segtest_put(segs[1], 3, "b", "1");
	fill_sources(s, 2);
	s[0].id = segs[0]->header.id;
	s[1].id = segs[1]->header.id;
	hint_make_name(name, s, 1);
	ck_assert_str_eq(name, "00000001.hint");
	hint_make_name(name, s, 2);
	ck_assert_str_eq(name, "00000001-00000002.4608-4640.hint");
	s[0].to = two;
	hint_make_name(name, s, 1);
	ck_assert_str_eq(name, "00000001-00000001.4608-4640.hint");
	s[0].from = two;
	s[0].to = segment_end(segs[0]);
	hint_make_name(name, s, 1);
	ck_assert_str_eq(name, "00000001-00000001.4640-4672.hint");

	/* An output, whole; and the longest name there can be. */
	other.header.id = s[0].id = (struct file_id){1, 6, 2, 1, 3};
	atomic_store(&other.end, 5000);
	s[0].seg = &other;
	s[0].from = SEGMENT_DATA_OFF;
	s[0].to = 5000;
	hint_make_name(name, s, 1);
	ck_assert_str_eq(name, "00000001-00000006.r2.1of3.hint");
	s[0].id = (struct file_id){DIR_SEGMENT_MAX, DIR_SEGMENT_MAX,
	    DIR_SEGMENT_MAX, UINT16_MAX, UINT16_MAX};
	hint_make_name(name, s, 1);
	dir_parse_name(name, &file);
	ck_assert_int_eq(file.kind, FILE_HINT);
	s[0].from = KVLOG_SEGMENT_SIZE_MAX - 8;
	s[0].to = KVLOG_SEGMENT_SIZE_MAX;
	hint_make_name(name, s, 1);
	ck_assert_str_eq(
	    name, "268435455-268435455.274877906936-274877906944.hint");
	dir_parse_name(name, &file);
	ck_assert_int_eq(file.kind, FILE_HINT);
}
END_TEST

/* Trees, against a sorted list */

struct item {
	struct hint_key key;
	const struct segment *seg;
	uint64_t off;
};

static struct item *items;
static size_t item_count;

static int
compare_items(const void *va, const void *vb)
{
	const struct item *a = va, *b = vb;
	int c = hint_key_compare(&a->key, &b->key);

	if (c == 0)
		c = a->seg != b->seg
			? segment_number(a->seg) < segment_number(b->seg) ? -1
									  : 1
		    : a->off < b->off ? -1
				      : a->off > b->off;
	return c;
}

/* What a scan of the segments yields, each key's last record. */
static void
scan_items(size_t count)
{
	size_t cap = 1, kept = 0;

	for (size_t i = 0; i < count; i++)
		cap += (size_t)(segment_end(segs[i]) / 32);
	free(items);
	items = calloc(cap, sizeof *items);
	ck_assert_ptr_nonnull(items);
	item_count = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t off = SEGMENT_DATA_OFF;
		struct record rec;
		bool bad;

		for (; segment_walk(
			 segs[i], &off, segment_end(segs[i]), &rec, &bad);
		     off += rec.size)
			items[item_count++] =
			    (struct item){hint_key_of(&rec), segs[i], off};
		ck_assert(!bad);
	}
	qsort(items, item_count, sizeof *items, compare_items);
	for (size_t i = 0; i < item_count; i++)
		if (i + 1 == item_count ||
		    hint_key_compare(&items[i].key, &items[i + 1].key) != 0)
			items[kept++] = items[i];
	item_count = kept;
}

/* The number of the first item whose key is >= key. */
static size_t
model_seek(const struct hint_key *key)
{
	size_t low = 0, high = item_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (hint_key_compare(&items[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t
hash_of(const struct hint_key *key)
{
	const uint8_t *secret = segs[0]->header.store.secret;
	static uint8_t buf[12 + KVLOG_KEY_MAX + 1];

	if (key->bucket_seq == 0 && key->bucket_ordinal == 0)
		return sum_hash(secret, key->bytes, key->len);
	put_u64(buf, key->bucket_seq);
	put_u32(buf + 8, key->bucket_ordinal);
	memcpy(buf + 12, key->bytes, key->len);
	return sum_hash(secret, buf, 12 + key->len);
}

/* Nothing wrong is said about key; damaged: the hint may say that it is. */
static void
check_key(const struct hint *hint, const struct hint_key *key, bool damaged)
{
	size_t at = model_seek(key);
	bool there =
	    at < item_count && hint_key_compare(&items[at].key, key) == 0;
	bool found = false;
	struct hint_probe probe;
	struct hint_entry e;
	struct record rec;
	uint64_t n = 0;

	for (bool more = hint_find(hint, key, hash_of(key), &probe, &e); more;
	     more = hint_find_next(&probe, &e)) {
		struct hint_key got;

		if (!hint_read(&e, &rec))
			ck_abort_msg("an entry without a record");
		got = hint_key_of(&rec);
		if (hint_key_compare(&got, key) != 0)
			continue; /* of the same hash */
		if (!there || e.seg != items[at].seg || e.off != items[at].off)
			ck_abort_msg("item %zu: another record", at);
		found = true;
	}
	if (probe.damaged ? !damaged || found : found != there)
		ck_abort_msg("item %zu is %s", at, found ? "found" : "missing");
	if (!hint_seek(hint, key, &n)) {
		if (!damaged)
			ck_abort_msg("seek: damaged");
	} else if (n != at) {
		ck_abort_msg("seek: %" PRIu64 " instead of %zu", n, at);
	}
}

/* The key, and its neighbours that may not be there. */
static void
check_around(const struct hint *hint, const struct hint_key *key)
{
	static uint8_t buf[KVLOG_KEY_MAX + 1];
	struct hint_key near = *key;
	uint8_t *last = buf + key->len - 1;

	check_key(hint, key, false);
	memcpy(buf, key->bytes, key->len);
	near.bytes = buf;
	if (*last != 0) {
		--*last;
		check_key(hint, &near, false);
		++*last;
	}
	if (*last != 255) {
		++*last;
		check_key(hint, &near, false);
		--*last;
	}
	near.len--;
	check_key(hint, &near, false);
	near.len /= 2;
	check_key(hint, &near, false);
	if (key->len < KVLOG_KEY_MAX) {
		near.len = key->len + 1;
		buf[key->len] = 0;
		check_key(hint, &near, false);
		buf[key->len] = 255;
		check_key(hint, &near, false);
	}
	near.len = 0;
	check_key(hint, &near, false);
	near.bucket_ordinal++;
	check_key(hint, &near, false);
}

static unsigned
levels(const struct hint *hint)
{
	return hint->block_count == 0
		   ? 0
		   : 1u + get_u16(hint->data + hint->blocks_off +
				  (hint->block_count - 1) * 4096u + 10);
}

/* All entries, and a look-up of each stride-th key and what is around it. */
static void
check_tree(const struct hint *hint, size_t stride)
{
	ck_assert_uint_eq(hint->entry_count, item_count);
	ck_assert(hint_verify(hint));
	for (size_t i = 0; i < item_count; i++) {
		struct hint_entry e;
		struct record rec;

		read_entry(hint, i, &e, &rec);
		if (e.seg != items[i].seg || e.off != items[i].off)
			ck_abort_msg("entry %zu", i);
	}
	for (size_t i = 0; i < item_count; i += stride)
		check_around(hint, &items[i].key);
	/* Wherever blocks meet. */
	for (size_t i = hint->per_block; i < item_count; i += hint->per_block) {
		check_around(hint, &items[i - 1].key);
		check_around(hint, &items[i].key);
	}
	if (item_count > 0)
		check_around(hint, &items[item_count - 1].key);
}

/* Short keys of few different bytes: shared prefixes of all lengths, keys
 * that begin others, 0x00 and 0xff; some in buckets, over three segments. */
static void
make_short(struct rng *rng, unsigned count)
{
	static const uint8_t bytes[] = {0, 0xff, 'a', 'a', 'b'};

	for (unsigned i = 0; i < count; i++) {
		struct segment *seg = segs[rng_below(rng, SEGS_MAX)];
		unsigned type = rng_below(rng, 5) ? RECORD_PUT : RECORD_DELETE;
		uint8_t key[24];
		size_t len = 1 + (size_t)rng_below(rng, sizeof key);

		for (size_t k = 0; k < len; k++)
			key[k] = bytes[rng_below(rng, sizeof bytes)];
		if (rng_below(rng, 4) == 0)
			put_in_bucket(seg, type, rng_below(rng, 3),
			    1 + (uint32_t)rng_below(rng, 2), key, len);
		else
			put_rec(seg, type, key, len);
	}
}

/* Keys of len bytes that differ in their last three. */
static void
make_long(struct segment *seg, unsigned count, size_t len)
{
	uint8_t *key = malloc(len);

	ck_assert_ptr_nonnull(key);
	memset(key, 'k', len);
	for (unsigned i = 0; i < count; i++) {
		unsigned k = i * 40503u % 65536u;

		key[len - 3] = (uint8_t)(k >> 8);
		key[len - 2] = (uint8_t)k;
		key[len - 1] = (uint8_t)(i * 7);
		put_rec(seg, RECORD_PUT, key, len);
	}
	free(key);
}

static void
more_segments(void)
{
	for (unsigned i = 1; i < SEGS_MAX; i++)
		segs[i] = segtest_create(i + 1, SEGTEST_SIZE);
}

/* _i keys in one block, and at both sides of its end. */
START_TEST(trees_of_one_block)
{
	static const unsigned counts[] = {1, 2, 3, 509, 510};
	struct hint *hint;

	for (unsigned i = 0; i < counts[_i]; i++) {
		uint8_t key[2];

		put_u16(key, (uint16_t)(i * 40503));
		put_rec(segs[0], RECORD_PUT, key, 2);
	}
	hint = build_all(1);
	scan_items(1);
	ck_assert_uint_eq(levels(hint), 1);
	check_tree(hint, 1);
	hint_unref(hint);
}
END_TEST

START_TEST(trees_of_short_keys)
{
	struct rng rng;
	struct hint *hint;

	rng_init(&rng, (uint64_t)_i);
	more_segments();
	make_short(&rng, 3000);
	hint = build_all(SEGS_MAX);
	scan_items(SEGS_MAX);
	ck_assert_uint_eq(levels(hint), 2);
	check_tree(hint, 3);
	hint_unref(hint);
}
END_TEST

/* Fences of 250 bytes, sixteen to a block: two levels of them. */
START_TEST(trees_of_three_levels)
{
	struct hint *hint;

	make_long(segs[0], 9000, 250);
	hint = build_all(1);
	scan_items(1);
	ck_assert_uint_eq(levels(hint), 3);
	ck_assert_uint_eq(hint->far_len, 0);
	check_tree(hint, 7);
	hint_unref(hint);
}
END_TEST

/* Longer ones lie apart.  255 bytes is the last that does not. */
START_TEST(trees_with_far_fences)
{
	static const size_t lens[] = {255, 256, 257, 258, 300, 2000};
	struct hint *hint;

	make_long(segs[0], 1200, lens[_i]);
	hint = build_all(1);
	scan_items(1);
	ck_assert_uint_eq(levels(hint), 2);
	/* The two bytes that part two blocks end one or two before the end. */
	if (lens[_i] < 256)
		ck_assert_uint_eq(hint->far_len, 0);
	if (lens[_i] > 257)
		ck_assert_uint_gt(hint->far_len, 0);
	check_tree(hint, 5);
	hint_unref(hint);
}
END_TEST

START_TEST(trees_of_the_longest_keys)
{
	struct hint *hint;

	segs[1] = segtest_create(2, UINT64_C(36) << 20);
	make_short(&(struct rng){{1, 2, 3, 4}}, 0);
	put_in_bucket(segs[0], RECORD_PUT, 3, 0, "\0", 1);
	make_long(segs[1], 540, KVLOG_KEY_MAX);
	hint = build_all(2);
	scan_items(2);
	ck_assert_uint_eq(levels(hint), 2);
	ck_assert_uint_ge(hint->far_len, KVLOG_KEY_MAX - 2);
	check_tree(hint, 60);
	hint_unref(hint);
}
END_TEST

/* A fence at the beginning of a bucket is its id alone. */
START_TEST(blocks_that_begin_with_a_bucket)
{
	struct hint *hint;

	for (unsigned b = 0; b < 5; b++)
		for (unsigned i = 0; i < 510; i++) {
			uint8_t key[300];

			memset(key, 'k', sizeof key);
			put_u16(key + 298, (uint16_t)(i * 40503));
			if (b == 0)
				put_rec(segs[0], RECORD_PUT, key, 300);
			else
				put_in_bucket(
				    segs[0], RECORD_PUT, b, b, key, 300);
		}
	hint = build_all(1);
	scan_items(1);
	ck_assert_uint_eq(hint->per_block, 510);
	ck_assert_uint_eq(hint->leaf_count, 5);
	ck_assert_uint_eq(hint->far_len, 0);
	check_tree(hint, 50);
	hint_unref(hint);
}
END_TEST

/* INV-12 */
START_TEST(equal_hashes_are_all_told)
{
	struct hint *image, *hint;
	struct hint_probe probe;
	struct hint_entry a, b, e;
	struct hint_key key;
	struct record rec;
	uint8_t *bytes, *block;

	make_long(segs[0], 100, 8);
	image = build_all(1);
	scan_items(1);
	bytes = malloc((size_t)image->len);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, image->data, (size_t)image->len);
	ck_assert(hint_get(image, 20, &a));
	ck_assert(hint_get(image, 77, &b));
	block = bytes + LEAVES_OFF;
	memcpy(block + HINT_BLOCK_HEAD + 77 * (5 + image->loc_len),
	    block + HINT_BLOCK_HEAD + 20 * (5 + image->loc_len), 5);
	put_u32(block, sum_crc(block + 4, BLOCK_SIZE - 4));
	hint = decode_copy(bytes, (size_t)image->len);
	ck_assert_ptr_nonnull(hint);
	ck_assert(hint_read(&a, &rec));
	key = hint_key_of(&rec);
	ck_assert(hint_find(hint, &key, a.hash, &probe, &e));
	ck_assert_uint_eq(e.off, a.off);
	ck_assert(hint_find_next(&probe, &e));
	ck_assert_uint_eq(e.off, b.off);
	ck_assert_ptr_eq(e.seg, segs[0]);
	ck_assert(!hint_find_next(&probe, &e));
	ck_assert(!hint_find_next(&probe, &e));
	ck_assert(!probe.damaged);
	hint_unref(hint);
	hint_unref(image);
	free(bytes);
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
		segtest_put(segs[0], i + 1, key, "x");
	}
	hint = build_all(1);
	for (unsigned turn = 0; turn < 300; turn++) {
		struct hint_entry e;

		/* In the key: it looks greater, or less. */
		ck_assert(hint_get(hint, rng_below(&rng, 1000), &e));
		segtest_flip(segs[0], e.off + 28 + rng_below(&rng, 8));
	}
	for (unsigned i = 0; i < 1000; i++) {
		struct hint_key key;
		struct hint_probe probe;
		struct hint_entry e;
		struct record rec;
		char text[16];
		uint64_t n;

		(void)snprintf(text, sizeof text, "key-%04u", i);
		key = key_of(text, 8);
		ck_assert(hint_seek(hint, &key, &n));
		/* What lies between is damaged. */
		ck_assert_uint_le(n, i);
		for (; n < i; n++)
			ck_assert(
			    hint_get(hint, n, &e) && !hint_read(&e, &rec));
		/* A look-up tells the entry all the same. */
		ck_assert(hint_find(hint, &key, hash_of(&key), &probe, &e));
	}
	hint_unref(hint);
}
END_TEST

/* Of few different bytes, so that many are alike for long. */
static size_t
any_key(struct rng *rng, uint8_t *key)
{
	static const uint8_t bytes[] = {0, 1, 'm', UINT8_MAX};
	size_t len = 1 + (size_t)rng_below(rng, 12);

	for (size_t i = 0; i < len; i++)
		key[i] = bytes[rng_below(rng, rng_below(rng, 4) ? 1 : 4)];
	return len;
}

/* The image of a source in as many steps as there are ends, each of which adds
 * what has come to what there was. */
static struct hint *
build_by_and_by(
    const struct hint_source *source, const uint64_t *ends, size_t count)
{
	struct hint_source part = *source;
	struct hint *image = NULL, *next;

	for (size_t i = 0; i < count; i++) {
		part.to = ends[i];
		ck_assert_int_eq(
		    hint_build_items(&part, image, SIZE_MAX, &next, NULL),
		    KVLOG_OK);
		ck_assert_uint_eq(next->sources[0].from, source->from);
		ck_assert_uint_eq(next->sources[0].to, ends[i]);
		hint_unref(image);
		image = next;
		part.from = ends[i];
	}
	return image;
}

static void
expect_same_items(const struct hint *a, const struct hint *b)
{
	ck_assert_uint_eq(a->entry_count, b->entry_count);
	ck_assert_int_eq(a->ranked, b->ranked);
	for (uint64_t n = 0; n < a->entry_count; n++) {
		ck_assert_uint_eq(a->items[n].rank, b->items[n].rank);
		ck_assert_uint_eq(a->items[n].what, b->items[n].what);
		ck_assert_uint_eq(a->items[n].off, b->items[n].off);
	}
}

/* An image that is made for walks alone has ranks of all keys; that of a file
 * learns some by and by.  _i: keys of the default bucket, of another one, of
 * several; of the last three ranks of all keys are alike, but for one. */
START_TEST(an_image_for_walks_seeks_as_a_file_does)
{
	const unsigned kind = (unsigned)_i % 3;
	const size_t head = _i < 3 ? 5 : 20;
	uint8_t key[64] = "common head of all keys";
	struct hint_source source = {.seg = segs[0], .from = SEGMENT_DATA_OFF};
	struct hint *hint, *image, *grown;
	uint64_t ends[100];
	size_t end_count = 0;
	struct rng rng;

	rng_init(&rng, (uint64_t)_i);
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = head + any_key(&rng, key + head);
		uint64_t bucket = kind == 0   ? 0
				  : kind == 1 ? 7
					      : rng_below(&rng, 3) * 4;

		if (bucket == 0)
			put_rec(segs[0], RECORD_PUT, key, len);
		else
			put_in_bucket(segs[0], RECORD_PUT, bucket, 3, key, len);
		if (i < 3 || i % 60 == 0)
			ends[end_count++] = segment_end(segs[0]);
	}
	if (_i >= 3 && kind != 1)
		put_rec(segs[0], RECORD_PUT, "a", 1);
	source.to = ends[end_count++] = segment_end(segs[0]);
	hint = build_all(1);
	ck_assert_uint_gt(hint->leaf_count, 2);
	ck_assert_int_eq(
	    hint_build_items(&source, NULL, 0, &image, NULL), KVLOG_OK);
	ck_assert_uint_eq(image->entry_count, hint->entry_count);
	ck_assert_int_eq(image->ranked, kind != 2);
	grown = build_by_and_by(&source, ends, end_count);
	expect_same_items(grown, image);
	hint_unref(grown);
	ck_assert_ptr_null(atomic_load(&hint->ranks));
	for (unsigned i = 0; i < 20000; i++) {
		struct hint_key want = {.bytes = key};
		size_t cut = (size_t)rng_below(&rng, head + 1);
		uint64_t n, m;

		want.len = (uint32_t)(head + any_key(&rng, key + head));
		want.bucket_seq = rng_below(&rng, 9);
		want.bucket_ordinal = want.bucket_seq > 0 ? 3 : 0;
		if (i % 8 == 0)
			want.len = (uint32_t)cut;
		if (i % 8 == 1)
			key[cut]++;
		if (i % 64 == 2)
			want = (struct hint_key){0, 0, 0, NULL};
		ck_assert(hint_seek(hint, &want, &n));
		ck_assert(hint_seek(image, &want, &m));
		ck_assert_uint_eq(n, m);
		if (i % 8 == 1)
			key[cut]--;
	}
	/* Of several buckets, each block has keys of two. */
	ck_assert_int_eq(atomic_load(&hint->ranks) != NULL, kind != 2);
	hint_unref(hint);
	hint_unref(image);
}
END_TEST

/* Files */

static char *
write_all(size_t count, struct hint **ret_image)
{
	char name[DIR_NAME_LEN];

	*ret_image = build_all(count);
	ck_assert_int_eq(hint_write(*ret_image, &segtest_dir, NULL), KVLOG_OK);
	hint_make_name(name, (*ret_image)->sources, (*ret_image)->source_count);
	return files_path(segtest_path, name);
}

static struct hint *
open_hint(const char *path, size_t count)
{
	struct hint *hint = hint_open(
	    &segtest_dir, strrchr(path, '/') + 1, &segs[0]->header.store);

	for (size_t i = 0; hint != NULL && i < count; i++) {
		ck_assert_ptr_null(hint->sources[i].seg);
		ck_assert(hint_bind(hint, i, segs[i]));
	}
	return hint;
}

START_TEST(a_written_hint_is_the_same)
{
	struct hint *image, *file;
	char *path, *tmp;
	size_t len;
	uint8_t *bytes;

	more_segments();
	make_short(&(struct rng){{1, 2, 3, 4}}, 2000);
	make_long(segs[1], 700, 400);
	scan_items(SEGS_MAX);
	path = write_all(SEGS_MAX, &image);
	bytes = files_read(path, &len);
	ck_assert_uint_eq(len, image->len);
	ck_assert_mem_eq(bytes, image->data, len);
	free(bytes);
	file = open_hint(path, SEGS_MAX);
	ck_assert_ptr_nonnull(file);
	ck_assert_str_eq(file->name, strrchr(path, '/') + 1);
	check_tree(file, 10);
	hint_unref(hint_ref(file)); /* still there */
	ck_assert_uint_eq(file->entry_count, item_count);
	hint_unref(file);
	/* Writing again replaces it, leftovers of another try too. */
	tmp = malloc(strlen(path) + 5);
	(void)snprintf(tmp, strlen(path) + 5, "%s.tmp", path);
	files_write(tmp, "left over", 9);
	files_write(path, "not a hint", 10);
	ck_assert_int_eq(hint_write(image, &segtest_dir, NULL), KVLOG_OK);
	ck_assert(!files_exist(tmp));
	file = open_hint(path, SEGS_MAX);
	ck_assert_ptr_nonnull(file);
	hint_unref(file);
	hint_unref(image);
	free(tmp);
	free(path);
}
END_TEST

/* Entry by entry, to a file. */
static void
stream(const struct hint *image)
{
	struct hint_writer *w = NULL;

	ck_assert_int_eq(hint_writer_create(&w, &segtest_dir, image->sources,
			     image->source_count, NULL),
	    KVLOG_OK);
	for (uint64_t n = 0; n < image->entry_count; n++) {
		struct hint_entry e;
		struct record rec;
		struct hint_key key;

		ck_assert(hint_get(image, n, &e) && hint_read(&e, &rec));
		key = hint_key_of(&rec);
		ck_assert_int_eq(hint_writer_add(w, &key, &e, NULL), KVLOG_OK);
	}
	ck_assert_int_eq(hint_writer_finish(w, NULL), KVLOG_OK);
	hint_writer_destroy(w);
}

/* The same bytes as an image, whatever is in it. */
START_TEST(a_streamed_hint_is_the_same)
{
	struct hint *image;
	uint8_t *bytes;
	char *path;
	size_t len;

	switch (_i) {
	case 0:
		break;
	case 1:
		put_rec(segs[0], RECORD_DELETE, "k", 1);
		break;
	case 2:
		make_long(segs[0], 9000, 250);
		break;
	case 3:
		make_long(segs[0], 3000, 700);
		break;
	default:
		more_segments();
		make_short(&(struct rng){{1, 2, 3, 4}}, 20000);
		break;
	}
	path = write_all(_i < 4 ? 1 : SEGS_MAX, &image);
	ck_assert_int_eq(remove(path), 0);
	stream(image);
	bytes = files_read(path, &len);
	ck_assert_uint_eq(len, image->len);
	ck_assert_mem_eq(bytes, image->data, len);
	free(bytes);
	free(path);
	hint_unref(image);
}
END_TEST

/* A header longer than what is written at once. */
START_TEST(many_sources)
{
	enum { COUNT = 1500 };
	struct hint_source *s = calloc(COUNT, sizeof *s);
	struct segment *fakes = calloc(COUNT, sizeof *fakes);
	struct hint *image = NULL, *file;
	struct hint_entry e;
	char name[DIR_NAME_LEN], *path;
	uint8_t *bytes;
	size_t len;

	ck_assert(s != NULL && fakes != NULL);
	make_long(segs[0], 1000, 10);
	for (uint32_t i = 0; i < COUNT; i++) {
		fakes[i] = *segs[0];
		fakes[i].header.id = (struct file_id){i + 1, i + 1, 0, 1, 1};
		s[i].seg = &fakes[i];
		s[i].from = SEGMENT_DATA_OFF;
		s[i].to = i % 2 ? segment_end(segs[0]) : SEGMENT_DATA_OFF;
	}
	ck_assert_int_eq(
	    hint_build(s, COUNT, UINT64_MAX, &image, NULL), KVLOG_OK);
	ck_assert_uint_eq(image->entry_count, 1000);
	ck_assert(hint_get(image, 500, &e));
	ck_assert_uint_eq(e.index, COUNT - 1);
	stream(image);
	hint_make_name(name, image->sources, COUNT);
	path = files_path(segtest_path, name);
	bytes = files_read(path, &len);
	ck_assert_uint_eq(len, image->len);
	ck_assert_mem_eq(bytes, image->data, len);
	file = hint_open(&segtest_dir, name, &segs[0]->header.store);
	ck_assert_ptr_nonnull(file);
	for (size_t i = 0; i < COUNT; i++)
		ck_assert(hint_bind(file, i, &fakes[i]));
	ck_assert(hint_verify(file));
	hint_unref(file);
	hint_unref(image);
	free(bytes);
	free(path);
	free(fakes);
	free(s);
}
END_TEST

/* The name is drawn once: a segment may grow meanwhile. */
START_TEST(a_writer_keeps_its_name)
{
	struct hint_source source;
	struct hint_writer *w = NULL;
	struct hint *hint;

	put_rec(segs[0], RECORD_PUT, "k", 1);
	fill_sources(&source, 1);
	source.id = segs[0]->header.id;
	source.salt = segs[0]->header.salt;
	ck_assert_int_eq(
	    hint_writer_create(&w, &segtest_dir, &source, 1, NULL), KVLOG_OK);
	put_rec(segs[0], RECORD_PUT, "l", 1);
	ck_assert_str_eq(hint_writer_name(w), "00000001.hint");
	ck_assert_int_eq(hint_writer_finish(w, NULL), KVLOG_OK);
	hint = hint_open(
	    &segtest_dir, hint_writer_name(w), &segs[0]->header.store);
	ck_assert_ptr_nonnull(hint);
	ck_assert(hint_bind(hint, 0, segs[0]));
	hint_unref(hint);
	hint_writer_destroy(w);
}
END_TEST

/* Damage */

#define HEADER_SUMMED (HINT_HEADER_LEN + HINT_SOURCE_LEN)

START_TEST(a_damaged_header_is_refused)
{
	struct hint *image, *hint;
	uint8_t *bytes;

	make_long(segs[0], 600, 300);
	scan_items(1);
	image = build_all(1);
	bytes = malloc((size_t)image->len);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, image->data, (size_t)image->len);
	for (unsigned off = 0; off < LEAVES_OFF; off++)
		for (unsigned bit = 0; bit < 8; bit++) {
			if (off >= HEADER_SUMMED && bit != off % 8)
				continue;
			bytes[off] ^= (uint8_t)(1u << bit);
			hint = decode_copy(bytes, (size_t)image->len);
			/* What lies behind the header means nothing. */
			if ((hint != NULL) != (off >= HEADER_SUMMED))
				ck_abort_msg("byte %u, bit %u", off, bit);
			if (hint != NULL && off % 64 == 0)
				check_tree(hint, 100);
			hint_unref(hint);
			bytes[off] ^= (uint8_t)(1u << bit);
		}
	hint_unref(image);
	free(bytes);
}
END_TEST

/* In every byte behind the header: no entry, key or place is ever wrong. */
START_TEST(a_damaged_block_is_never_believed)
{
	struct hint *image, *hint;
	uint8_t *bytes;
	size_t len, unsound = 0;

	make_long(segs[0], 1100, 300);
	scan_items(1);
	image = build_all(1);
	len = (size_t)image->len;
	ck_assert_uint_eq(levels(image), 2);
	ck_assert_uint_gt(image->far_len, 0);
	bytes = malloc(len);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, image->data, len);
	for (size_t off = LEAVES_OFF; off < len; off++) {
		const uint8_t before = bytes[off];
		size_t got = 0;

		bytes[off] ^= (uint8_t)(1u << off % 8);
		hint = decode_copy(bytes, len);
		ck_assert_ptr_nonnull(hint);
		for (size_t n = 0; n < item_count; n += 83) {
			struct hint_entry e;

			if (!hint_get(hint, n, &e))
				continue;
			got++;
			if (e.seg != items[n].seg || e.off != items[n].off)
				ck_abort_msg("byte %zu: entry %zu", off, n);
		}
		for (size_t n = off % 167; n < item_count; n += 167)
			check_key(hint, &items[n].key, true);
		/* One block is lost, no more; far fences have no entries. */
		if (off < image->blocks_off + image->leaf_count * 4096u)
			ck_assert_uint_lt(got, item_count / 83 + 1);
		else
			ck_assert_uint_eq(got, item_count / 83 + 1);
		if (!hint_verify(hint))
			unsound++;
		hint_unref(hint);
		bytes[off] = before;
	}
	ck_assert_uint_eq(unsound, len - image->blocks_off);
	hint_unref(image);
	free(bytes);
}
END_TEST

/* A block in the place of another one is damage too. */
START_TEST(blocks_know_their_place)
{
	struct hint *image, *hint;
	uint8_t *bytes, *block;
	struct hint_entry e;

	make_long(segs[0], 1100, 6);
	image = build_all(1);
	bytes = malloc((size_t)image->len);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, image->data, (size_t)image->len);
	block = bytes + LEAVES_OFF;
	memcpy(block, block + BLOCK_SIZE, BLOCK_SIZE);
	hint = decode_copy(bytes, (size_t)image->len);
	ck_assert_ptr_nonnull(hint);
	ck_assert(!hint_get(hint, 0, &e));
	ck_assert(hint_get(hint, hint->per_block, &e));
	ck_assert(!hint_verify(hint));
	hint_unref(hint);
	hint_unref(image);
	free(bytes);
}
END_TEST

/* The header of another file was written to it, perhaps. */
START_TEST(a_header_that_tells_another_name_is_refused)
{
	static const struct {
		const char *name;
		bool good;
	} names[] = {{"00000001.hint", true},
	    {"00000001-00000001.4608-4640.hint", true},
	    {"00000002.hint", false},
	    {"00000001-00000001.4608-4641.hint", false},
	    {"00000001-00000002.4608-4640.hint", false}};
	struct hint *image, *hint;

	segtest_put(segs[0], 1, "a", "1");
	image = build_all(1);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		ck_assert_int_eq(
		    hint_write_as(image, &segtest_dir, names[i].name, NULL),
		    KVLOG_OK);
		hint = hint_open(
		    &segtest_dir, names[i].name, &segs[0]->header.store);
		ck_assert_msg(
		    (hint != NULL) == names[i].good, "%s", names[i].name);
		hint_unref(hint);
	}
	hint_unref(image);
}
END_TEST

START_TEST(a_cut_or_grown_hint_is_left_alone)
{
	struct hint *image;
	uint8_t *bytes;
	char *path;
	size_t len;

	put_rec(segs[0], RECORD_PUT, "key", 3);
	path = write_all(1, &image);
	len = (size_t)image->len;
	bytes = calloc(1, len + 4096);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, image->data, len);
	for (size_t cut = 0; cut < len + 4096; cut += cut < 200 ? 1 : 97) {
		if (cut == len)
			continue;
		ck_assert_ptr_null(decode_copy(bytes, cut));
		files_write(path, bytes, cut);
		if (open_hint(path, 1) != NULL)
			ck_abort_msg("opens with %zu bytes", cut);
	}
	ck_assert_int_eq(remove(path), 0);
	ck_assert_ptr_null(open_hint(path, 1));
	hint_unref(image);
	free(bytes);
	free(path);
}
END_TEST

static void
reseal_header(uint8_t *p, size_t len)
{
	uint64_t header_len = get_u32(p + 20);

	if (header_len >= HINT_HEADER_LEN && header_len <= len)
		put_u32(p + 8, sum_crc(p + 12, (size_t)header_len - 12));
}

START_TEST(what_is_not_understood_is_refused)
{
	static const struct {
		unsigned off, size;
		uint64_t value;
		bool opens;
	} cases[] = {
	    {0, 1, 'K', false},
	    {12, 2, SEGMENT_FORMAT + 1, false},
	    {12, 2, SEGMENT_FORMAT - 1, false},
	    {14, 2, 7, true}, /* a minor format */
	    {16, 4, 0x1, false},
	    {16, 4, 0x8000, false},
	    {16, 4, 0x10000, true}, /* features that do not matter */
	    {20, 4, HEADER_SUMMED + 64, false},
	    {20, 4, HINT_HEADER_LEN, false},
	    {44, 4, 0, false},
	    {44, 4, 2, false},
	    {44, 4, 0x04000001, false},
	    {48, 8, 0, false},
	    {48, 8, 583, false},        /* two blocks of them */
	    {48, 8, UINT64_MAX, false}, /* as many blocks as 0 entries */
	    {56, 4, 0, false},
	    {56, 4, 2, false},
	    {60, 1, 61, false},
	    {61, 1, 61, false},
	    {62, 1, 0, false},
	    {62, 1, 1, false},
	    {62, 1, 9, false},
	    {63, 1, 4, false},
	    {64, 8, 8192, false},
	    {72, 8, 4096, false},
	    {80, 8, 1, false},
	    {88, 4, 0, false},
	    {88, 4, 2, false},
	    {96, 8, 8193, false},
	    {152, 8, 4600, false}, /* from */
	    {152, 8, 4616, true},  /* the first entry is damaged then */
	    {160, 8, UINT64_MAX, false},
	    {160, 8, 4600, false}, /* to */
	    {168, 8, UINT64_MAX, false},
	};
	struct hint *image, *hint;
	uint8_t *bytes;
	size_t len;

	make_long(segs[0], 100, 8);
	image = build_all(1);
	len = (size_t)image->len;
	bytes = malloc(len);
	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memcpy(bytes, image->data, len);
		put_uint(bytes + cases[i].off, cases[i].size, cases[i].value);
		reseal_header(bytes, len);
		hint = decode_copy(bytes, len);
		ck_assert_msg((hint != NULL) == cases[i].opens,
		    "case %zu, offset %u", i, cases[i].off);
		hint_unref(hint);
	}
	/* All entries gone, but not all blocks. */
	memcpy(bytes, image->data, len);
	put_u64(bytes + 48, UINT64_MAX);
	put_u32(bytes + 56, 0);
	put_u32(bytes + 88, 0);
	put_u64(bytes + 72, LEAVES_OFF);
	put_u64(bytes + 80, len - LEAVES_OFF);
	reseal_header(bytes, len);
	ck_assert_ptr_null(decode_copy(bytes, len));
	hint_unref(image);
	free(bytes);
}
END_TEST

static bool
opens(const char *path)
{
	struct hint *hint = hint_open(
	    &segtest_dir, strrchr(path, '/') + 1, &segs[0]->header.store);
	bool ok = hint != NULL && hint_bind(hint, 0, segs[0]);

	hint_unref(hint);
	return ok;
}

START_TEST(a_hint_is_bound_to_its_store_and_segment)
{
	struct segment *seg = segs[0];
	const struct segment_header saved = seg->header;
	struct hint *image;
	char *path;
	uint64_t end;

	put_rec(seg, RECORD_PUT, "key", 3);
	path = write_all(1, &image);
	end = segment_end(seg);
	ck_assert(opens(path));

	seg->header.salt++;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.store.uuid[15] ^= 1;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.store.secret[100] ^= 1;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.id.first++;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.id.last++;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.id.round++;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.id.part++;
	ck_assert(!opens(path));
	seg->header = saved;
	seg->header.id.parts++;
	ck_assert(!opens(path));
	seg->header = saved;
	/* It may cover less than there is, never more. */
	atomic_store(&seg->end, end - 8);
	ck_assert(!opens(path));
	atomic_store(&seg->end, end + 8);
	ck_assert(opens(path));
	atomic_store(&seg->end, end);
	hint_unref(image);
	free(path);
}
END_TEST

/* Right sums over wrong numbers: nothing beyond the file or the segments is
 * ever looked at, and every walk ends. */

static void
reseal(uint8_t *p, size_t len)
{
	uint64_t blocks_off = get_u64(p + 64);

	for (uint64_t b = 0; b < get_u32(p + 56); b++) {
		uint64_t off = blocks_off + b * BLOCK_SIZE;

		if (off > len || len - off < BLOCK_SIZE)
			break;
		put_u32(p + off, sum_crc(p + off + 4, BLOCK_SIZE - 4));
	}
	reseal_header(p, len);
}

/* All questions that can be asked. */
static void
ask(const struct hint *hint, struct rng *rng)
{
	for (unsigned i = 0; i < 40; i++) {
		const struct item *item = &items[rng_below(rng, item_count)];
		struct hint_key key = item->key;
		struct hint_probe probe;
		struct hint_entry e;
		struct record rec;
		uint64_t n = 0;

		key.len = (uint32_t)rng_below(rng, key.len + 1u);
		key.bucket_seq = rng_below(rng, 8) == 0 ? rng_next(rng) : 0;
		(void)hint_find(hint, &key, hash_of(&key), &probe, &e);
		while (hint_find_next(&probe, &e))
			(void)hint_read(&e, &rec);
		if (hint_seek(hint, &key, &n) && n > hint->entry_count)
			ck_abort_msg("seek");
		if (hint->entry_count == 0)
			continue;
		n = i == 0 ? hint->entry_count - 1
			   : rng_below(rng, hint->entry_count);
		if (!hint_get(hint, n, &e))
			continue;
		if (e.seg == NULL || e.index >= hint->source_count ||
		    e.off < SEGMENT_DATA_OFF || e.off >= segment_end(e.seg))
			ck_abort_msg("offset %" PRIu64, e.off);
		(void)hint_read(&e, &rec);
	}
	(void)hint_verify(hint);
}

/* One change to what is there. */
static void
mutate(uint8_t *p, size_t len, struct rng *rng)
{
	static const uint64_t values[] = {0, 1, 7, 8, 9, 255, 256, 4095, 4096,
	    65535, UINT32_MAX, UINT64_MAX, UINT64_MAX - 4095,
	    UINT64_C(1) << 63};
	static const unsigned widths[] = {1, 2, 4, 8};
	uint64_t value = rng_below(rng, 2)
			     ? values[rng_below(rng, ARRAY_LEN(values))]
			     : rng_below(rng, 512);
	size_t blocks = (len - LEAVES_OFF) / BLOCK_SIZE;
	uint8_t *block = p + LEAVES_OFF + rng_below(rng, blocks) * BLOCK_SIZE;
	uint8_t *at;

	switch (rng_below(rng, 8)) {
	case 0: /* a field of the header or its sources */
		at = p + 4 * (3 + rng_below(rng, 76));
		break;
	case 1: /* the widths of what an entry holds */
		p[60] = (uint8_t)rng_below(rng, 64);
		p[61] = (uint8_t)rng_below(rng, 64);
		p[62] = (uint8_t)(1 + rng_below(rng, 8));
		return;
	case 2: /* the head of a block */
		at = block + 2 * rng_below(rng, 8);
		break;
	case 3: /* an offset of a fence, or an entry */
		at = block + 16 + 2 * rng_below(rng, 20);
		break;
	case 4: /* a fence: flags, far ones */
		at = p + len - 4096 - rng_below(rng, 8192);
		break;
	case 5: /* all block heads alike: of fences */
		for (size_t b = 0; b < blocks; b++)
			put_u16(p + LEAVES_OFF + b * BLOCK_SIZE + 10, 1);
		put_u32(p + 88, (uint32_t)rng_below(rng, blocks + 1));
		return;
	default:
		at = p + LEAVES_OFF + rng_below(rng, len - LEAVES_OFF);
		break;
	}
	{
		unsigned width = widths[rng_below(rng, ARRAY_LEN(widths))];

		if ((size_t)(p + len - at) >= width)
			put_uint(at, width, value);
	}
}

START_TEST(hostile_hints_do_no_harm)
{
	struct hint *image, *hint;
	unsigned opened = 0;
	struct rng rng;
	uint8_t *bytes;
	size_t len;

	rng_init(&rng, (uint64_t)_i);
	more_segments();
	make_short(&rng, 300);
	make_long(segs[1], 700, 300);
	if (_i % 2) /* three levels */
		make_long(segs[0], 9000, 250);
	scan_items(SEGS_MAX);
	image = build_all(SEGS_MAX);
	ck_assert_uint_eq(levels(image), _i % 2 ? 3 : 2);
	len = (size_t)image->len;
	bytes = malloc(len);
	ck_assert_ptr_nonnull(bytes);
	for (unsigned turn = 0; turn < 2000; turn++) {
		memcpy(bytes, image->data, len);
		for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
			mutate(bytes, len, &rng);
		reseal(bytes, len);
		hint = decode_copy(bytes, len);
		if (hint == NULL)
			continue;
		opened++;
		ask(hint, &rng);
		hint_unref(hint);
	}
	ck_assert_uint_gt(opened, 200);
	hint_unref(image);
	free(bytes);
}
END_TEST

/* An entry that points out of its source, a fence that leads back, one that
 * is out of place: the block is damaged. */
START_TEST(hostile_blocks_are_refused)
{
	struct hint *image, *hint;
	uint8_t *bytes, *leaf, *root;
	struct hint_entry e;
	struct hint_key key;
	uint64_t n;
	size_t len;

	put_rec(segs[0], RECORD_PUT, "a", 1);
	segs[1] = segtest_create(2, UINT64_C(4) << 20);
	make_long(segs[1], 1100, 300);
	scan_items(2);
	key = items[item_count / 2].key;
	image = build_all(2);
	len = (size_t)image->len;
	bytes = malloc(len);
	ck_assert_ptr_nonnull(bytes);
	leaf = bytes + LEAVES_OFF;
	root = leaf + (image->block_count - 1) * (size_t)BLOCK_SIZE;
	ck_assert(hint_get(image, 2, &e) && e.seg == segs[1]);
	for (unsigned how = 0; how < 13; how++) {
		uint8_t *loc =
		    leaf + HINT_BLOCK_HEAD + 2 * (5 + image->loc_len) + 5;
		uint64_t old;
		bool of_leaf = how < 6;

		memcpy(bytes, image->data, len);
		old = get_uint(loc, image->loc_len);
		switch (how) {
		case 0: /* the same offset in the short first source */
			put_uint(loc, image->loc_len,
			    old & ((UINT64_C(16) << image->off_bits) - 1));
			ck_assert_uint_ge(e.off, image->sources[0].to);
			break;
		case 1: /* before the first record */
			put_uint(loc, image->loc_len,
			    (old & 15) | UINT64_C(16) << image->off_bits);
			break;
		case 2:
			put_uint(loc, image->loc_len, (old & ~UINT64_C(7)) | 3);
			break;
		case 3:
			put_uint(loc, image->loc_len, old & ~UINT64_C(7));
			break;
		case 4:
			put_u16(leaf + 8, (uint16_t)(get_u16(leaf + 8) - 1));
			break;
		case 5:
			put_u16(leaf + 10, 1);
			break;
		case 6: /* fences */
			put_u16(root + 10, 0);
			break;
		case 7:
			put_u16(root + 8, 0);
			break;
		case 8: /* itself */
			put_u32(root + 12, image->block_count - 1);
			break;
		case 9:
			put_u32(root + 12, UINT32_MAX);
			break;
		case 10:
			put_u16(root + 16, (uint16_t)(get_u16(root + 16) + 1));
			break;
		case 11:
			put_u16(root + 18, 4097);
			break;
		default:
			root[get_u16(root + 18)] |= 4;
			break;
		}
		reseal(bytes, len);
		hint = decode_copy(bytes, len);
		ck_assert_ptr_nonnull(hint);
		ck_assert_msg(hint_get(hint, 2, &e) != of_leaf, "%u", how);
		if (!of_leaf)
			ck_assert_msg(!hint_seek(hint, &key, &n), "%u", how);
		ck_assert(!hint_verify(hint));
		hint_unref(hint);
	}
	hint_unref(image);
	free(bytes);
}
END_TEST

/* Failures, on the simulated machine */

static void
sim_setup(void)
{
	makelog_setup();
	MAKELOG_OK(dir_open(&segtest_dir, MAKELOG_STORE, 0644, NULL));
	seq = 0;
	segs[0] = segtest_create(1, UINT64_C(2) << 20);
	make_long(segs[0], 9000, 30);
	make_long(segs[0], 1100, 400);
}

static void
sim_teardown(void)
{
	segment_close(segs[0]);
	segs[0] = NULL;
	dir_close(&segtest_dir);
	makelog_teardown();
}

/* Nothing but the segment is there. */
static void
expect_clean(uint64_t leaks)
{
	struct file_list list;

	ck_assert_uint_eq(simos_leaks(NULL), leaks);
	MAKELOG_OK(dir_list(&segtest_dir, &list, NULL));
	ck_assert_uint_eq(list.count, 1);
	file_list_fini(&list);
}

static enum kvlog_status
stream_or_fail(const struct hint *image, struct kvlog_error *err)
{
	struct hint_writer *w = NULL;
	enum kvlog_status st = hint_writer_create(
	    &w, &segtest_dir, image->sources, image->source_count, err);

	for (uint64_t n = 0; st == KVLOG_OK && n < image->entry_count; n++) {
		struct hint_entry e;
		struct record rec;
		struct hint_key key;

		ck_assert(hint_get(image, n, &e) && hint_read(&e, &rec));
		key = hint_key_of(&rec);
		st = hint_writer_add(w, &key, &e, err);
	}
	if (st == KVLOG_OK)
		st = hint_writer_finish(w, err);
	hint_writer_destroy(w);
	return st;
}

/* Every call, of an image that is written (_i is even) or streamed. */
START_TEST(failures_leave_no_file)
{
	static const struct {
		enum simos_kind kind;
		int error;
		enum kvlog_status st;
	} kinds[] = {{SIMOS_CREATE, EACCES, KVLOG_IO},
	    {SIMOS_PWRITE, ENOSPC, KVLOG_NOSPACE}, {SIMOS_SYNC, EIO, KVLOG_IO},
	    {SIMOS_RENAME, EIO, KVLOG_IO}, {SIMOS_MALLOC, ENOMEM, KVLOG_NOMEM}};
	struct hint *image = build_all(1);
	uint64_t leaks = simos_leaks(NULL);
	unsigned failures = 0;

	ck_assert_uint_gt(image->len, 65536);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (uint64_t nth = 1;; nth++) {
			struct kvlog_error err = {0};
			enum kvlog_status st;

			simos_fail(kinds[k].kind, nth, kinds[k].error, false);
			st = _i % 2 ? stream_or_fail(image, &err)
				    : hint_write(image, &segtest_dir, &err);
			simos_fail_clear();
			if (st == KVLOG_OK) {
				ck_assert(makelog_exists("00000001.hint"));
				ck_assert_int_eq(
				    os->unlink(segtest_dir.fd, "00000001.hint"),
				    0);
				break;
			}
			failures++;
			ck_assert_int_eq(st, kinds[k].st);
			ck_assert_int_eq(err.status, st);
			ck_assert_ptr_nonnull(strstr(err.text, "hint"));
			expect_clean(leaks);
		}
	/* Create, write, sync, rename; and what a stream needs. */
	ck_assert_uint_ge(failures, _i % 2 ? 10 : 4);
	hint_unref(image);
}
END_TEST

START_TEST(building_without_memory)
{
	uint64_t leaks = simos_leaks(NULL);

	for (uint64_t nth = 1;; nth++) {
		struct hint_source source;
		struct kvlog_error err = {0};
		struct hint *hint = NULL;
		enum kvlog_status st;

		fill_sources(&source, 1);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = hint_build(&source, 1, UINT64_MAX, &hint, &err);
		simos_fail_clear();
		if (st == KVLOG_OK) {
			ck_assert_uint_gt(nth, 8);
			hint_unref(hint);
			break;
		}
		ck_assert_int_eq(st, KVLOG_NOMEM);
		ck_assert_int_eq(err.status, KVLOG_NOMEM);
		ck_assert_ptr_null(hint);
		expect_clean(leaks);
	}
}
END_TEST

START_TEST(opening_that_fails_opens_nothing)
{
	static const enum simos_kind kinds[] = {
	    SIMOS_OPEN, SIMOS_STAT, SIMOS_MAP, SIMOS_MALLOC};
	struct hint *image = build_all(1);
	uint64_t leaks = simos_leaks(NULL);

	MAKELOG_OK(hint_write(image, &segtest_dir, NULL));
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (uint64_t nth = 1;; nth++) {
			struct hint *hint;

			simos_fail(kinds[k], nth, EIO, false);
			hint = hint_open(&segtest_dir, "00000001.hint",
			    &segs[0]->header.store);
			simos_fail_clear();
			if (hint != NULL) {
				ck_assert_uint_ge(nth, 2);
				hint_unref(hint);
				break;
			}
			ck_assert_uint_eq(simos_leaks(NULL), leaks);
		}
	hint_unref(image);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hint");
	TCase *tc = tcase_create("hint");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, one_entry_a_key_its_last_record);
	tcase_add_test(tc, of_several_segments_the_newest_counts);
	tcase_add_test(tc, the_hash_is_that_of_the_key_and_its_bucket);
	tcase_add_test(tc, max_seq_cuts_behind_a_commit);
	tcase_add_test(tc, older_sources_are_not_cut);
	tcase_add_test(tc, part_of_a_segment);
	tcase_add_test(tc, no_records_no_entries);
	tcase_add_test(tc, damage_that_is_known_is_left_out);
	tcase_add_test(tc, keys_compare_like_memcmp_a_prefix_first);
	tcase_add_test(tc, names_say_what_is_covered);
	tcase_add_loop_test(tc, trees_of_one_block, 0, 5);
	tcase_add_loop_test(tc, trees_of_short_keys, 0, 3);
	tcase_add_test(tc, trees_of_three_levels);
	tcase_add_loop_test(tc, trees_with_far_fences, 0, 6);
	tcase_add_test(tc, trees_of_the_longest_keys);
	tcase_add_test(tc, blocks_that_begin_with_a_bucket);
	tcase_add_test(tc, equal_hashes_are_all_told);
	tcase_add_test(tc, damaged_records_do_not_mislead_a_search);
	tcase_add_loop_test(tc, an_image_for_walks_seeks_as_a_file_does, 0, 6);
	tcase_add_test(tc, a_written_hint_is_the_same);
	tcase_add_loop_test(tc, a_streamed_hint_is_the_same, 0, 5);
	tcase_add_test(tc, many_sources);
	tcase_add_test(tc, a_writer_keeps_its_name);
	tcase_add_test(tc, a_damaged_header_is_refused);
	tcase_add_test(tc, a_damaged_block_is_never_believed);
	tcase_add_test(tc, blocks_know_their_place);
	tcase_add_test(tc, a_header_that_tells_another_name_is_refused);
	tcase_add_test(tc, a_cut_or_grown_hint_is_left_alone);
	tcase_add_test(tc, what_is_not_understood_is_refused);
	tcase_add_test(tc, a_hint_is_bound_to_its_store_and_segment);
	tcase_add_loop_test(tc, hostile_hints_do_no_harm, 0, 4);
	tcase_add_test(tc, hostile_blocks_are_refused);

	tc = tcase_create("failures");
	tcase_add_checked_fixture(tc, sim_setup, sim_teardown);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(tc, failures_leave_no_file, 0, 2);
	tcase_add_test(tc, building_without_memory);
	tcase_add_test(tc, opening_that_fails_opens_nothing);
	return test_main(suite);
}
