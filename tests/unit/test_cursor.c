/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cursor.c - ordered walks, over hint files and images in memory.
 */
#include "config.h"

#include "cursor.h"
#include "makelog.h"
#include "rng.h"

#include <errno.h>

#define ONE "00000001.seg"
#define VALUE 50u
#define HEAD 30u /* of a record with a key of 2 bytes */
#define NOW 1000000u

static struct makelog m;
static struct found f;
static struct cursor *cursor;

static void
begin(void)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
}

/* Hint files for all segments but the last. */
static void
write_hints(void)
{
	found_init(&f, false);
	MAKELOG_OK(f.st);
	for (size_t i = 0; i + 1 < f.set->count; i++) {
		const struct hint_source source = {.seg = f.set->segments[i],
		    .from = SEGMENT_DATA_OFF,
		    .to = segment_end(f.set->segments[i])};
		struct hint *hint;

		MAKELOG_OK(hint_build(&source, 1, UINT64_MAX, &hint, NULL));
		MAKELOG_OK(hint_write(hint, &f.dir, NULL));
		hint_unref(hint);
	}
	found_fini(&f);
}

/* Hints of all there is up to end, a place in the last segment. */
static void
make_cover(uint64_t end, struct hint_cover *cover)
{
	MAKELOG_OK(hintset_cover(&f.hints, 0, f.set->count, end, cover, NULL));
	MAKELOG_OK(hint_cover_build(cover, false, NULL));
}

static void
open_range(uint64_t end, const struct cursor_range *range)
{
	struct hint_cover cover;

	make_cover(end, &cover);
	MAKELOG_OK(cursor_create(cover.hints, cover.count, range, &cursor));
	hint_cover_fini(&cover);
}

static void
open_up_to(uint64_t end, const char *prefix, bool keys_only)
{
	const struct cursor_range range = {.prefix = prefix,
	    .prefix_len = strlen(prefix),
	    .now_ms = NOW,
	    .keys_only = keys_only};

	open_range(end, &range);
}

static void
open_cursor(const char *prefix, bool keys_only)
{
	open_up_to(segment_end(found_last(&f)), prefix, keys_only);
}

static void
open_all(const char *prefix)
{
	found_init(&f, false);
	ck_assert_msg(f.st == KVLOG_OK, "%s", f.err.text);
	open_cursor(prefix, false);
}

static void
close_all(void)
{
	cursor_destroy(cursor);
	cursor = NULL;
	found_fini(&f);
}

static void
finish(void)
{
	close_all();
	makelog_fini(&m);
}

/* The next entry is key, of commit seq (0: any). */
static void
expect(const char *key, uint64_t seq)
{
	const struct merge_entry *e;
	enum kvlog_status st = cursor_next(cursor);

	e = cursor_entry(cursor);

	ck_assert_msg(st == KVLOG_OK, "%s: %d", key, (int)st);
	ck_assert_msg(e->rec.key_len == strlen(key) &&
			  memcmp(e->rec.key, key, e->rec.key_len) == 0,
	    "\"%.*s\" instead of \"%s\"", (int)e->rec.key_len,
	    (const char *)e->rec.key, key);
	ck_assert(!e->damaged);
	if (seq != 0)
		ck_assert_uint_eq(e->rec.seq, seq);
}

static void
expect_keys(const char *const *keys)
{
	for (; *keys != NULL; keys++)
		expect(*keys, 0);
}

static void
expect_end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(cursor_next(cursor), KVLOG_NOTFOUND);
		ck_assert_ptr_null(cursor_entry(cursor)->seg);
	}
}

static void
expect_corrupt(uint32_t segment, uint64_t off)
{
	const struct merge_entry *e;

	ck_assert_int_eq(cursor_next(cursor), KVLOG_CORRUPT);
	e = cursor_entry(cursor);
	ck_assert(e->damaged);
	ck_assert_uint_eq(segment_number(e->seg), segment);
	ck_assert_uint_eq(e->off, off);
}

static void
seek(const char *key)
{
	MAKELOG_OK(cursor_seek(cursor, key, strlen(key)));
	ck_assert_ptr_null(cursor_entry(cursor)->seg);
}

/* Three segments whose keys interleave, and overwrite each other's. */
static void
make_three(void)
{
	begin();
	(void)makelog_put(&m, "m", VALUE); /* 1 */
	(void)makelog_put(&m, "b", VALUE); /* 2 */
	(void)makelog_put(&m, "b", VALUE); /* 3 */
	(void)makelog_put(&m, "x", VALUE); /* 4 */
	(void)makelog_put(&m, "z", VALUE); /* 5 */
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "c", VALUE);  /* 6 */
	(void)makelog_put(&m, "b", VALUE);  /* 7 */
	(void)makelog_delete(&m, "x");      /* 8 */
	(void)makelog_delete(&m, "never");  /* 9 */
	(void)makelog_put(&m, "mm", VALUE); /* 10 */
	m.durable = m.seq;
	makelog_begin(&m, 3);
	(void)makelog_put(&m, "a", VALUE); /* 11 */
	(void)makelog_put(&m, "m", VALUE); /* 12 */
	(void)makelog_delete(&m, "c");     /* 13 */
	(void)makelog_put(&m, "c", 0);     /* 14 */
	(void)makelog_delete(&m, "z");     /* 15 */
	m.durable = m.seq;
	(void)makelog_mark(&m, false);
	makelog_end(&m);
}

/* INV-6: of each key, the record of the newest segment, and in it the last
 * one, is shown; what it hides may be a value, and what hides it a tombstone.
 * _i: with hint files. */
START_TEST(the_newest_record_of_each_key_is_shown_in_order)
{
	make_three();
	if (_i == 1)
		write_hints();
	open_all("");
	ck_assert_int_eq(
	    atomic_load(&f.set->segments[0]->hinted_to) != 0, _i == 1);
	ck_assert_ptr_null(cursor_entry(cursor)->seg);
	expect("a", 11);
	expect("b", 7);
	expect("c", 14);
	expect("m", 12);
	expect("mm", 10);
	expect_end();
	finish();
}
END_TEST

START_TEST(an_empty_store_has_no_entries)
{
	begin();
	makelog_end(&m);
	open_all("");
	expect_end();
	seek("a");
	expect_end();
	finish();
}
END_TEST

START_TEST(only_tombstones_show_nothing)
{
	begin();
	(void)makelog_put(&m, "a", VALUE);
	m.durable = 1;
	makelog_begin(&m, 2);
	(void)makelog_delete(&m, "a");
	(void)makelog_delete(&m, "b");
	makelog_end(&m);
	open_all("");
	expect_end();
	finish();
}
END_TEST

START_TEST(a_prefix_bounds_the_walk)
{
	static const struct {
		const char *prefix;
		const char *keys[5];
	} cases[] = {
	    {"a", {"a", "ab", "abc", NULL}}, {"ab", {"ab", "abc", NULL}},
	    {"abc", {"abc", NULL}}, {"abcd", {NULL}}, {"0", {NULL}},
	    {"b", {"b", NULL}}, {"zz", {NULL}},
	    {"\xff", {"\xff", "\xff\xff", NULL}},
	    {"", {"a", "ab", "abc", "b", NULL}}, /* and more */
	};

	begin();
	(void)makelog_put(&m, "abc", VALUE);
	(void)makelog_put(&m, "\xff", VALUE);
	(void)makelog_put(&m, "b", VALUE);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "\xff\xff", VALUE);
	(void)makelog_put(&m, "a", VALUE);
	(void)makelog_put(&m, "ab", VALUE);
	makelog_end(&m);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		open_all(cases[i].prefix);
		expect_keys(cases[i].keys);
		if (cases[i].prefix[0] != '\0')
			expect_end();
		close_all();
	}
	makelog_fini(&m);
}
END_TEST

START_TEST(seeks_go_anywhere_within_the_prefix)
{
	make_three();
	open_all("");
	seek("bb");
	expect("c", 14);
	seek("c");
	expect("c", 14);
	seek("mn");
	expect_end();
	seek("");
	expect("a", 11);
	seek("x"); /* deleted */
	expect_end();
	seek("b");
	expect("b", 7);
	close_all();

	open_all("m");
	seek("a"); /* before the prefix: to its beginning */
	expect("m", 12);
	seek("ma");
	expect("mm", 10);
	seek("n"); /* behind it */
	expect_end();
	seek("m");
	expect("m", 12);
	expect("mm", 10);
	expect_end();
	finish();
}
END_TEST

/* Keys of any bytes, longer than what is compared at once. */
START_TEST(keys_sort_as_bytes)
{
	static const struct {
		const char *key;
		size_t len;
	} sorted[] = {
	    {"\0", 1},
	    {"\0\0", 2},
	    {"\0a", 2},
	    {"12345678", 8},
	    {"12345678\0", 9},
	    {"12345678\0\0", 10},
	    {"123456781", 9},
	    {"1234567812", 10},
	    {"123456782", 9},
	    {"a", 1},
	    {"\x7f", 1},
	    {"\x80", 1},
	    {"\xff", 1},
	};
	const size_t count = sizeof sorted / sizeof sorted[0];
	struct record rec;

	begin();
	for (size_t i = 0; i < count; i++) {
		size_t n = i * 5 % count; /* in another order */

		if (i == 6) {
			m.durable = m.seq;
			makelog_begin(&m, 2);
		}
		m.seq++;
		rec = makelog_record(&m, RECORD_PUT, "", VALUE, 0);
		rec.key = (const uint8_t *)sorted[n].key;
		rec.key_len = (uint16_t)sorted[n].len;
		(void)makelog_add(&m, &rec);
	}
	makelog_end(&m);
	open_all("");
	for (size_t i = 0; i < count; i++) {
		const struct merge_entry *e;

		MAKELOG_OK(cursor_next(cursor));
		e = cursor_entry(cursor);
		ck_assert_uint_eq(e->rec.key_len, sorted[i].len);
		ck_assert_mem_eq(e->rec.key, sorted[i].key, sorted[i].len);
	}
	expect_end();
	finish();
}
END_TEST

static void
put_expiring(const char *key, uint64_t expiry_ms)
{
	struct record rec;

	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, key, VALUE, RECORD_EXPIRY);
	rec.expiry_ms = expiry_ms;
	(void)makelog_add(&m, &rec);
}

/* An expired record is gone, and so is what it replaced. */
START_TEST(what_has_expired_is_hidden)
{
	begin();
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	(void)makelog_put(&m, "k3", VALUE);
	put_expiring("k4", NOW - 1);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	put_expiring("k1", NOW - 1);
	put_expiring("k2", NOW);
	put_expiring("k3", NOW + 1);
	(void)makelog_put(&m, "k4", VALUE);
	makelog_end(&m);
	open_all("");
	expect("k3", 7);
	expect("k4", 8);
	expect_end();
	finish();
}
END_TEST

static void
expect_deleted(const char *key, uint64_t seq)
{
	expect(key, seq);
	ck_assert_int_eq(cursor_entry(cursor)->rec.type, RECORD_DELETE);
}

/* What was written later: deletes, and expiries as deletes, too; damage, since
 * nobody knows when that was written.  _i: with hint files. */
START_TEST(a_walk_since_a_commit_shows_deletes)
{
	make_three();
	if (_i == 1)
		write_hints();
	open_all("");
	cursor_since(cursor, 8);
	expect("a", 11);
	expect("c", 14);
	expect("m", 12);
	expect("mm", 10);
	expect_deleted("never", 9);
	expect_deleted("z", 15);
	expect_end();
	cursor_since(cursor, 7);
	seek("n");
	expect_deleted("never", 9);
	expect_deleted("x", 8);
	expect_deleted("z", 15);
	expect_end();
	cursor_since(cursor, 15);
	seek("");
	expect_end();
	finish();
}
END_TEST

START_TEST(a_walk_since_a_commit_shows_expiries_and_damage)
{
	uint64_t hit, old;

	begin();
	put_expiring("k1", NOW - 1);
	put_expiring("k2", NOW - 1);
	old = makelog_put(&m, "k3", VALUE);
	hit = makelog_put(&m, "k4", VALUE);
	put_expiring("k5", NOW + 1);
	m.durable = m.seq;
	(void)makelog_mark(&m, false);
	makelog_end(&m);
	makelog_flip(ONE, old + HEAD);
	makelog_flip(ONE, hit + HEAD);
	open_all("");
	cursor_since(cursor, 1);
	expect_deleted("k2", 2);
	expect_corrupt(1, old);
	expect_corrupt(1, hit);
	expect("k5", 5);
	expect_end();
	cursor_since(cursor, 3); /* its header is whole */
	seek("");
	expect_corrupt(1, hit);
	expect("k5", 5);
	expect_end();
	finish();
}
END_TEST

START_TEST(records_of_buckets_and_marks_are_no_entries)
{
	struct record rec;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "k1", VALUE, RECORD_BUCKET);
	rec.bucket_seq = 2;
	(void)makelog_add(&m, &rec);
	m.seq++;
	rec = makelog_record(&m, RECORD_DELETE, "k2", 0, RECORD_BUCKET);
	rec.bucket_seq = 2;
	(void)makelog_add(&m, &rec);
	(void)makelog_mark(&m, false);
	m.seq++;
	rec = makelog_record(&m, 0x80, "k3", VALUE, 0);
	(void)makelog_add(&m, &rec);
	(void)makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	open_all("");
	expect("k1", 1);
	expect("k2", 5);
	expect_end();
	close_all();
	open_all("k2");
	expect("k2", 5);
	expect_end();
	finish();
}
END_TEST

/* Keys of buckets come after all others, so that they end the walk, and what
 * is damaged among them is none of its business. */
START_TEST(buckets_end_the_walk)
{
	static const char *const prefixes[] = {"", "k", "k2", "z"};
	struct record rec;
	uint64_t hit = 0;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	for (unsigned i = 0; i < 20; i++) {
		char key[8];

		snprintf(key, sizeof key, i < 10 ? "a%u" : "k%u", i % 100);
		m.seq++;
		rec = makelog_record(&m, RECORD_PUT, key, VALUE, RECORD_BUCKET);
		rec.bucket_seq = 1;
		if (i == 5)
			hit = m.off;
		(void)makelog_add(&m, &rec);
	}
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	write_hints();
	makelog_flip("00000001.seg", hit + 16);
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		open_all(prefixes[i]);
		for (unsigned turn = 0; turn < 2; turn++) {
			if (i < 2)
				expect("k1", 1);
			if (i < 3)
				expect("k2", 2);
			if (i < 2)
				expect("k3", 23);
			expect_end();
			/* An end is not for ever. */
			seek("");
		}
		close_all();
	}
	makelog_fini(&m);
}
END_TEST

/* Ranges, against a table: keys of up to three of a few bytes, in buckets. */

#define BYTES 5u
#define KEYS (BYTES + BYTES * BYTES + BYTES * BYTES * BYTES)
#define BUCKETS 5u

static const struct {
	uint64_t seq;
	uint32_t ordinal;
} buckets[BUCKETS] = {{0, 0}, {0, 1}, {0, UINT32_MAX}, {1, 0}, {7, 3}};

/* In order. */
static struct cell {
	unsigned bucket;
	uint8_t key[3];
	uint16_t len;
	uint64_t seq; /* of its value; 0: it has none */
} table[BUCKETS * KEYS];

static void
fill_table(void)
{
	static const uint8_t bytes[BYTES] = {0, 'a', 'b', 0xfe, 0xff};
	struct cell *cell = table;

	for (unsigned b = 0; b < BUCKETS; b++)
		for (unsigned x = 0; x < BYTES; x++)
			for (unsigned y = 0; y <= BYTES; y++)
				for (unsigned z = 0; z <= (y > 0 ? BYTES : 0);
				     z++)
					*cell++ = (struct cell){.bucket = b,
					    .key = {bytes[x],
						bytes[y > 0 ? y - 1 : 0],
						bytes[z > 0 ? z - 1 : 0]},
					    .len = (uint16_t)(1 + (y > 0) +
							      (z > 0))};
	ck_assert_ptr_eq(cell, table + BUCKETS * KEYS);
}

/* Segments of puts and deletes; about every fourth key has a value. */
static void
make_table(struct rng *rng)
{
	fill_table();
	begin();
	for (uint32_t number = 1; number <= 6; number++) {
		if (number > 1) {
			m.durable = m.seq;
			makelog_begin(&m, number);
		}
		for (unsigned i = 0; i < 75; i++) {
			struct cell *cell =
			    &table[rng_below(rng, BUCKETS * KEYS)];
			bool put = rng_below(rng, 3) > 0;
			struct record rec;

			m.seq++;
			rec =
			    makelog_record(&m, put ? RECORD_PUT : RECORD_DELETE,
				"", 0, cell->bucket > 0 ? RECORD_BUCKET : 0);
			rec.key = cell->key;
			rec.key_len = cell->len;
			rec.bucket_seq = buckets[cell->bucket].seq;
			rec.bucket_ordinal = buckets[cell->bucket].ordinal;
			(void)makelog_add(&m, &rec);
			cell->seq = put ? m.seq : 0;
		}
	}
	makelog_end(&m);
}

/* A key to put into a range, and then some that nobody has. */
static size_t
any_key(struct rng *rng, uint8_t *key, size_t most)
{
	static const uint8_t bytes[] = {0, 'a', 'b', 'c', 0xfe, 0xff};
	size_t len = (size_t)rng_below(rng, most + 1);

	for (size_t i = 0; i < len; i++)
		key[i] = bytes[rng_below(rng, sizeof bytes)];
	return len;
}

struct bounds {
	uint8_t prefix[4], from[4], to[4];
	unsigned bucket;
	struct cursor_range range;
};

static void
any_range(struct rng *rng, struct bounds *b)
{
	struct cursor_range *r = &b->range;

	memset(b, 0, sizeof *b);
	b->bucket = (unsigned)rng_below(rng, BUCKETS);
	r->bucket_seq = buckets[b->bucket].seq;
	r->bucket_ordinal = buckets[b->bucket].ordinal;
	r->all_buckets = rng_below(rng, 10) == 0;
	r->now_ms = NOW;
	if (rng_below(rng, 2) == 0) {
		r->prefix = b->prefix;
		r->prefix_len = any_key(rng, b->prefix, 2);
	}
	if (rng_below(rng, 2) == 0) {
		r->from = b->from;
		r->from_len = any_key(rng, b->from, 4);
	}
	if (rng_below(rng, 2) == 0) {
		r->to = b->to;
		r->to_len = any_key(rng, b->to, 4);
	}
}

static bool
is_in(const struct cell *cell, const struct bounds *b)
{
	const struct cursor_range *r = &b->range;

	/* Values in the catalogue that are no ids: any bucket may be there. */
	if (cell->seq == 0 || r->all_buckets)
		return cell->seq != 0;
	return cell->bucket == b->bucket && cell->len >= r->prefix_len &&
	       memcmp(cell->key, b->prefix, r->prefix_len) == 0 &&
	       key_compare(cell->key, cell->len, b->from, r->from_len) >= 0 &&
	       (r->to == NULL ||
		   key_compare(cell->key, cell->len, b->to, r->to_len) < 0);
}

static void
expect_cell(const struct cell *cell)
{
	const struct merge_entry *e = cursor_entry(cursor);

	ck_assert_uint_eq(e->rec.seq, cell->seq);
	ck_assert_uint_eq(e->rec.bucket_ordinal, buckets[cell->bucket].ordinal);
	ck_assert_uint_eq(e->rec.key_len, cell->len);
	ck_assert_mem_eq(e->rec.key, cell->key, cell->len);
}

/* Where the walk is: at cell i, 2 i + 1; before it, 2 i. */
static size_t place;

static void
expect_step(const struct bounds *b, bool back)
{
	enum kvlog_status st = back ? cursor_prev(cursor) : cursor_next(cursor);
	size_t i = back ? place / 2 : (place + 1) / 2;

	if (back)
		while (i > 0 && !is_in(&table[i - 1], b))
			i--;
	else
		while (i < ARRAY_LEN(table) && !is_in(&table[i], b))
			i++;
	if (i == (back ? 0 : ARRAY_LEN(table))) {
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		ck_assert_ptr_null(cursor_entry(cursor)->seg);
		place = 2 * i;
		return;
	}
	i -= back;
	MAKELOG_OK(st);
	expect_cell(&table[i]);
	place = 2 * i + 1;
}

/* To a key of the bucket, in the range or not. */
static void
seek_cell(const struct bounds *b, struct rng *rng)
{
	unsigned bucket = b->range.all_buckets ? 0 : b->bucket;
	uint8_t key[4];
	size_t len = any_key(rng, key, 4), i = bucket * KEYS;

	MAKELOG_OK(cursor_seek(cursor, key, len));
	while (i < (bucket + 1) * KEYS &&
	       key_compare(table[i].key, table[i].len, key, len) < 0)
		i++;
	place = 2 * i;
}

START_TEST(walks_stay_within_a_range)
{
	struct rng rng;

	rng_init(&rng, (uint64_t)_i);
	make_table(&rng);
	write_hints();
	found_init(&f, false);
	MAKELOG_OK(f.st);
	for (unsigned round = 0; round < 300; round++) {
		struct bounds b;

		any_range(&rng, &b);
		open_range(segment_end(found_last(&f)), &b.range);
		place = 0;
		for (unsigned i = 0; i < 30; i++) {
			uint64_t what = rng_below(&rng, 8);
			unsigned n = (unsigned)rng_below(&rng, 6);

			if (what == 0) {
				cursor_first(cursor);
				place = 0;
			} else if (what == 1) {
				cursor_last(cursor);
				place = 2 * ARRAY_LEN(table);
			} else if (what < 4) {
				seek_cell(&b, &rng);
			}
			if (what < 4)
				ck_assert_ptr_null(cursor_entry(cursor)->seg);
			while (n-- > 0)
				expect_step(&b, what % 2 == 0);
		}
		cursor_destroy(cursor);
		cursor = NULL;
	}
	finish();
}
END_TEST

/* All of a range, from either end. */
START_TEST(ranges_bound_the_walk)
{
	struct rng rng;
	unsigned shown = 0;

	rng_init(&rng, (uint64_t)_i);
	make_table(&rng);
	write_hints();
	found_init(&f, false);
	MAKELOG_OK(f.st);
	for (unsigned round = 0; round < 300; round++) {
		struct bounds b;

		any_range(&rng, &b);
		open_range(segment_end(found_last(&f)), &b.range);
		ck_assert_int_eq(cursor_prev(cursor), KVLOG_NOTFOUND);
		for (size_t i = 0; i < ARRAY_LEN(table); i++) {
			if (!is_in(&table[i], &b))
				continue;
			MAKELOG_OK(cursor_next(cursor));
			expect_cell(&table[i]);
			shown++;
		}
		expect_end();
		for (size_t i = ARRAY_LEN(table); i-- > 0;) {
			if (!is_in(&table[i], &b))
				continue;
			MAKELOG_OK(cursor_prev(cursor));
			expect_cell(&table[i]);
		}
		ck_assert_int_eq(cursor_prev(cursor), KVLOG_NOTFOUND);
		cursor_destroy(cursor);
		cursor = NULL;
	}
	ck_assert_uint_gt(shown, 1000);
	finish();
}
END_TEST

/* Damage. */

/* In each byte of a hint file in turn: the walk is the same. */
START_TEST(a_damaged_hint_changes_nothing)
{
	const uint8_t *bytes;
	uint64_t size;

	make_three();
	write_hints();
	ck_assert(simos_peek(makelog_path("00000002.hint"), &bytes, &size));
	for (uint64_t off = 0; off < size; off += off < 200 ? 1 : 7) {
		makelog_flip("00000002.hint", off);
		open_all("");
		expect("a", 11);
		expect("b", 7);
		seek("c");
		expect("c", 14);
		expect("m", 12);
		expect("mm", 10);
		expect_end();
		close_all();
		makelog_flip("00000002.hint", off);
	}
	makelog_fini(&m);
}
END_TEST

/* A hint and a record below it: that is said, and the walk goes on. */
START_TEST(damage_of_both_hint_and_record_is_said)
{
	const struct merge_entry *e;
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	enum kvlog_status st;
	unsigned corrupt = 0, newest = 0;
	uint64_t readable = 0, count;
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct kvlog *db;

	make_three();
	write_hints();
	makelog_flip("00000002.hint", 4096 + 40);
	makelog_flip("00000002.seg", SEGMENT_DATA_OFF + 16);
	open_all("");
	while ((st = cursor_next(cursor)) != KVLOG_NOTFOUND) {
		e = cursor_entry(cursor);
		ck_assert_ptr_nonnull(e->seg);
		if (st == KVLOG_CORRUPT) {
			corrupt++;
			ck_assert_uint_eq(segment_number(e->seg), 2);
			ck_assert_uint_eq(e->off, SEGMENT_DATA_OFF);
			continue;
		}
		MAKELOG_OK(st);
		readable++;
		newest += e->rec.seq > 10; /* of the third segment */
	}
	ck_assert_uint_eq(corrupt, 1);
	ck_assert_uint_gt(newest, 2);
	finish();

	/* Whose key it was nobody knows: it is not counted, and from then on
	 * the store says that its keys may show older values. */
	o.flags = KVLOG_OPEN_READONLY | KVLOG_OPEN_NOTHREAD;
	o.index_mode = KVLOG_INDEX_HINTS;
	MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, NULL));
	MAKELOG_OK(kvlog_count(db, &count));
	ck_assert_uint_eq(count, readable);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_ne(stats.recovery & KVLOG_RECOVERY_DEGRADED, 0);
	MAKELOG_OK(kvlog_close(db, NULL));
}
END_TEST

START_TEST(a_damaged_value_is_said_when_values_are_wanted)
{
	uint64_t hit;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	hit = makelog_put(&m, "k2", VALUE);
	(void)makelog_put(&m, "k3", VALUE);
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_flip("00000001.seg", hit + HEAD);
	open_all("");
	expect("k1", 1);
	expect_corrupt(1, hit);
	ck_assert_mem_eq(cursor_entry(cursor)->rec.key, "k2", 2);
	expect("k3", 3);
	expect_end();
	cursor_destroy(cursor);
	open_cursor("", true);
	expect("k1", 1);
	expect("k2", 2);
	expect("k3", 3);
	expect_end();
	finish();
}
END_TEST

/*
 * A record whose header is damaged has no key, but its hint has the hash of
 * one: the older value of that key must not show in its place.
 */
START_TEST(nothing_older_shows_in_place_of_a_damaged_record)
{
	uint64_t hit;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	(void)makelog_put(&m, "k3", VALUE);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "k1", VALUE); /* 4 */
	hit = makelog_put(&m, "k2", VALUE); /* 5 */
	m.durable = m.seq;
	makelog_begin(&m, 3);
	(void)makelog_put(&m, "k4", VALUE); /* 6 */
	makelog_end(&m);
	write_hints();
	makelog_flip("00000002.seg", hit + 16);
	open_all("");
	expect("k1", 4);
	expect_corrupt(2, hit); /* as soon as it is met */
	ck_assert_ptr_null(cursor_entry(cursor)->rec.key);
	expect_corrupt(2, hit); /* in place of the old k2 */
	expect("k3", 3);
	expect("k4", 6);
	expect_end();
	/* The same after a seek. */
	seek("k2");
	expect_corrupt(2, hit);
	expect_corrupt(2, hit);
	expect("k3", 3);
	/* It may be the newer one that was asked for. */
	cursor_since(cursor, 5);
	seek("");
	expect_corrupt(2, hit);
	expect_corrupt(2, hit);
	expect("k4", 6);
	expect_end();
	finish();
}
END_TEST

START_TEST(a_newer_value_makes_older_damage_harmless)
{
	uint64_t hit;

	begin();
	hit = makelog_put(&m, "k1", VALUE);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	write_hints();
	makelog_flip("00000001.seg", hit + 16);
	open_all("");
	expect_corrupt(1, hit); /* whose it was is not known */
	expect("k1", 2);
	expect_end();
	ck_assert_int_eq(cursor_prev(cursor), KVLOG_CORRUPT);
	ck_assert_int_eq(cursor_prev(cursor), KVLOG_OK);
	ck_assert_uint_eq(cursor_entry(cursor)->rec.seq, 2);
	ck_assert_int_eq(cursor_prev(cursor), KVLOG_NOTFOUND);
	finish();
}
END_TEST

/* Many segments, against a table: keys "00" to "ff". */
START_TEST(many_segments_merge)
{
	uint64_t newest[256] = {0};
	struct rng rng;
	char key[3];

	rng_init(&rng, 5);
	begin();
	for (uint32_t number = 2; number <= 60; number++) {
		for (unsigned i = 0; i < 20; i++) {
			unsigned k = (unsigned)rng_below(&rng, 256);

			snprintf(key, sizeof key, "%02x", k & 0xffu);
			if (rng_below(&rng, 3) == 0) {
				(void)makelog_delete(&m, key);
				newest[k] = 0;
			} else {
				(void)makelog_put(&m, key, VALUE);
				newest[k] = m.seq;
			}
		}
		m.durable = m.seq;
		makelog_begin(&m, number);
	}
	makelog_end(&m);
	write_hints();
	ck_assert_int_eq(os->unlink(m.dir.fd, "00000030.hint"), 0);
	open_all("");
	for (unsigned k = 0; k < 256; k++) {
		snprintf(key, sizeof key, "%02x", k & 0xffu);
		if (newest[k] != 0)
			expect(key, newest[k]);
	}
	expect_end();
	for (unsigned i = 0; i < 200; i++) {
		unsigned k = (unsigned)rng_below(&rng, 256), next = k;

		snprintf(key, sizeof key, "%02x", k & 0xffu);
		seek(key);
		while (next < 256 && newest[next] == 0)
			next++;
		if (next == 256) {
			expect_end();
			continue;
		}
		snprintf(key, sizeof key, "%02x", next & 0xffu);
		expect(key, newest[next]);
	}
	finish();
}
END_TEST

/* What lies behind the end that was given is of another moment. */
START_TEST(the_tail_is_read_up_to_the_end_given)
{
	const struct cursor_range range = {.prefix = "k", .prefix_len = 1};
	struct hint_cover cover;
	uint64_t end;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	m.durable = 1;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "k2", VALUE);
	end = m.off;
	(void)makelog_delete(&m, "k1");
	(void)makelog_put(&m, "k2", VALUE);
	(void)makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	open_all("");
	expect("k2", 4);
	expect("k3", 5);
	expect_end();
	cursor_destroy(cursor);
	open_up_to(end, "", false);
	expect("k1", 1);
	expect("k2", 2);
	expect_end();
	cursor_destroy(cursor);
	/* Of the first segment alone. */
	make_cover(end, &cover);
	MAKELOG_OK(cursor_create(cover.hints, 1, &range, &cursor));
	hint_cover_fini(&cover);
	expect("k1", 1);
	expect_end();
	cursor_destroy(cursor);
	/* Of nothing. */
	MAKELOG_OK(cursor_create(NULL, 0, &range, &cursor));
	expect_end();
	seek("k1");
	expect_end();
	finish();
}
END_TEST

/* A walk stays at its moment while the store goes on.  _i: the mode. */
START_TEST(a_walk_shows_one_moment)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_iter *iter;
	struct kvlog *db;
	size_t len, n = 0;
	char key[8];

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = MAKELOG_SIZE;
	o.durability = KVLOG_DURABILITY_NONE;
	o.index_mode = _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, NULL));
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "k%02u", i);
		MAKELOG_OK(
		    kvlog_put(db, key, 3, makelog_value(1), 500, NULL, NULL));
	}
	MAKELOG_OK(kvlog_iter_create(db, NULL, 0, &iter));
	for (unsigned i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "k%02u", i);
		MAKELOG_OK(kvlog_delete(db, key, 3, NULL, NULL));
		snprintf(key, sizeof key, "l%02u", i);
		MAKELOG_OK(
		    kvlog_put(db, key, 3, makelog_value(2), 500, NULL, NULL));
	}
	MAKELOG_OK(kvlog_sync(db));
	for (; kvlog_iter_next(iter) == KVLOG_OK; n++) {
		snprintf(key, sizeof key, "k%02u", (unsigned)n);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), key, 3);
	}
	ck_assert_uint_eq(n, 20);
	kvlog_iter_destroy(iter);
	MAKELOG_OK(kvlog_close(db, NULL));
}
END_TEST

START_TEST(want_of_memory_is_said)
{
	const struct cursor_range range = {.prefix = "k", .prefix_len = 1};
	struct hint_cover cover;
	enum kvlog_status st;
	uint64_t nth = 1, hit;

	begin();
	hit = makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	write_hints();
	makelog_flip("00000001.seg", hit + 16);
	found_init(&f, false);
	MAKELOG_OK(f.st);
	make_cover(segment_end(found_last(&f)), &cover);
	for (;; nth++) {
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = cursor_create(cover.hints, cover.count, &range, &cursor);
		simos_fail_clear();
		if (st == KVLOG_OK)
			break;
		ck_assert_int_eq(st, KVLOG_NOMEM);
	}
	hint_cover_fini(&cover);
	ck_assert_uint_gt(nth, 3);
	/* It stays where it was. */
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_int_eq(cursor_seek(cursor, "k3", 2), KVLOG_NOMEM);
	simos_fail_clear();
	/* Damage that cannot be noted is not passed over. */
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_int_eq(cursor_next(cursor), KVLOG_NOMEM);
	simos_fail_clear();
	expect_corrupt(1, hit);
	expect("k2", 2);
	expect("k3", 3);
	finish();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("cursor");
	TCase *tc = makelog_case(suite, "cursor");

	tcase_add_loop_test(
	    tc, the_newest_record_of_each_key_is_shown_in_order, 0, 2);
	tcase_add_test(tc, an_empty_store_has_no_entries);
	tcase_add_test(tc, only_tombstones_show_nothing);
	tcase_add_test(tc, a_prefix_bounds_the_walk);
	tcase_add_test(tc, seeks_go_anywhere_within_the_prefix);
	tcase_add_test(tc, keys_sort_as_bytes);
	tcase_add_test(tc, what_has_expired_is_hidden);
	tcase_add_loop_test(tc, a_walk_since_a_commit_shows_deletes, 0, 2);
	tcase_add_test(tc, a_walk_since_a_commit_shows_expiries_and_damage);
	tcase_add_test(tc, records_of_buckets_and_marks_are_no_entries);
	tcase_add_test(tc, buckets_end_the_walk);
	tcase_add_loop_test(tc, ranges_bound_the_walk, 0, 4);
	tcase_add_loop_test(tc, walks_stay_within_a_range, 0, 4);
	tcase_add_test(tc, a_damaged_hint_changes_nothing);
	tcase_add_test(tc, damage_of_both_hint_and_record_is_said);
	tcase_add_test(tc, a_damaged_value_is_said_when_values_are_wanted);
	tcase_add_test(tc, nothing_older_shows_in_place_of_a_damaged_record);
	tcase_add_test(tc, a_newer_value_makes_older_damage_harmless);
	tcase_add_test(tc, many_segments_merge);
	tcase_add_test(tc, the_tail_is_read_up_to_the_end_given);
	tcase_add_loop_test(tc, a_walk_shows_one_moment, 0, 2);
	tcase_add_test(tc, want_of_memory_is_said);
	return test_main(suite);
}
