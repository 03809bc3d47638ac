/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_staged.c - a transaction's writes, against a list of all that was
 * written.
 */
#include "config.h"

#include "os.h"
#include "record.h"
#include "rng.h"
#include "staged.h"
#include "sum.h"
#include "test.h"

#include <string.h>

#define KEYS 60u
#define LIST_MAX 4000u
#define VALUE_MAX 300u

/* The dull model: a list of writes, of which the last of a key counts. */
struct line {
	unsigned key;
	uint8_t type;
	uint8_t fill;
	uint32_t len;
	uint64_t expiry_ms;
	bool needless;
};

static struct line list[LIST_MAX];
static size_t list_len;
static struct staged staged;
static struct rng rng;
static uint64_t seed;

static const uint8_t secret[SEGMENT_SECRET_LEN] = {1, 2, 3};

/* Of two buckets, some of equal beginnings. */
static struct hint_key
key_of(unsigned n)
{
	static char texts[KEYS][16];
	struct hint_key key = {.bucket_seq = n % 3 == 0 ? 7 : 0};

	(void)snprintf(
	    texts[n], sizeof texts[n], "%.*s%u", (int)(n % 4), "kkkk", n / 2);
	key.bytes = (const uint8_t *)texts[n];
	key.len = (uint32_t)strlen(texts[n]);
	return key;
}

static uint64_t
hash_of(const struct hint_key *key)
{
	/* Few values: keys of equal hashes are told apart. */
	return sum_hash(secret, key->bytes, key->len) % 16 *
	       UINT64_C(0x9e3779b97f4a7c15);
}

static void
setup(void)
{
	memset(&staged, 0, sizeof staged);
	list_len = 0;
	rng_init(&rng, seed);
}

static void
teardown(void)
{
	staged_fini(&staged);
	ck_assert_uint_eq(staged.bytes, 0);
}

static enum kvlog_status
add(const struct line *line)
{
	const struct hint_key key = key_of(line->key);
	const struct staged_write how = {.type = line->type,
	    .value_len = line->len,
	    .expiry_ms = line->expiry_ms,
	    .needless = line->needless};
	uint8_t value[VALUE_MAX];

	memset(value, line->fill, sizeof value);
	ck_assert_uint_lt(list_len, LIST_MAX);
	list[list_len] = *line;
	return staged_add(&staged, &key, hash_of(&key), &how, value);
}

static void
write_one(unsigned n, uint8_t type, uint32_t len, uint8_t fill)
{
	const struct line line = {n, type, fill, len, 0, false};

	ck_assert_int_eq(add(&line), KVLOG_OK);
	list_len++;
}

/* The line of a key that counts, of the first so many; NULL: none. */
static const struct line *
line_of(unsigned n, size_t until)
{
	while (until-- > 0)
		if (list[until].key == n)
			return &list[until];
	return NULL;
}

/* What a commit of the first so many would write. */
static uint64_t
count_up(size_t until, size_t *ret_count)
{
	uint64_t size = 0;

	*ret_count = 0;
	for (unsigned n = 0; n < KEYS; n++) {
		const struct line *line = line_of(n, until);
		const struct hint_key key = key_of(n);

		if (line == NULL || line->needless)
			continue;
		(*ret_count)++;
		size +=
		    record_size((key.bucket_seq != 0 ? RECORD_BUCKET : 0) |
				    (line->expiry_ms != 0 ? RECORD_EXPIRY : 0),
			key.len, line->len);
	}
	return size;
}

/* A line at random, which fits or does not. */
static void
write_any(bool put)
{
	const struct line line = {
	    .key = (unsigned)rng_below(&rng, KEYS),
	    .type = put ? RECORD_PUT : RECORD_DELETE,
	    .fill = (uint8_t)rng_below(&rng, 256),
	    .len = put ? (uint32_t)rng_below(&rng, VALUE_MAX) : 0,
	    .expiry_ms = put ? rng_below(&rng, 3) : 0,
	    .needless = !put && rng_below(&rng, 2) == 0,
	};
	enum kvlog_status st = add(&line);
	size_t count;
	bool fits = count_up(list_len + 1, &count) <= staged.commit_max;

	ck_assert_int_eq(st, fits ? KVLOG_OK : KVLOG_TOOBIG);
	list_len += fits;
	ck_assert_uint_eq(staged.commit_size, count_up(list_len, &count));
	ck_assert_uint_eq(staged.commit_count, count);
}

static void
expect(const struct staged_write *w, const struct line *line)
{
	ck_assert_int_eq(w != NULL, line != NULL);
	if (w == NULL)
		return;
	ck_assert_uint_eq(w->type, line->type);
	ck_assert_uint_eq(w->value_len, line->len);
	for (uint32_t i = 0; i < line->len; i++)
		ck_assert_uint_eq(w->value[i], line->fill);
}

static void
expect_all(void)
{
	size_t keys = 0;

	for (unsigned n = 0; n < KEYS; n++) {
		const struct hint_key key = key_of(n);
		const struct line *line = line_of(n, list_len);

		keys += line != NULL;
		expect(staged_find(&staged, &key, hash_of(&key)), line);
	}
	ck_assert_uint_eq(staged.key_count, keys);
	ck_assert_uint_eq(staged.commit_size, count_up(list_len, &keys));
	ck_assert_uint_eq(staged.commit_count, keys);
}

/* A walk, and the moment it shows. */
struct walk {
	uint64_t number;
	size_t until;
};

static int
compare(const void *a, const void *b)
{
	const struct hint_key one = key_of(*(const unsigned *)a),
			      two = key_of(*(const unsigned *)b);

	return hint_key_compare(&one, &two);
}

/* Both ways through one bucket. */
static void
expect_walk(const struct walk *walk, uint64_t bucket)
{
	const uint64_t n = walk->number;
	const struct hint_key low = {.bucket_seq = bucket},
			      high = {.bucket_seq = bucket + 1};
	struct hint_key at = low;
	unsigned sorted[KEYS];
	size_t count = 0;
	const struct staged_write *w;

	for (unsigned k = 0; k < KEYS; k++)
		if (key_of(k).bucket_seq == bucket &&
		    line_of(k, walk->until) != NULL)
			sorted[count++] = k;
	qsort(sorted, count, sizeof sorted[0], compare);
	for (size_t i = 0; i < count; i++) {
		w = staged_after(&staged, n, &at, false, &high);
		expect(w, line_of(sorted[i], walk->until));
		at = w->of->key;
		ck_assert_ptr_eq(staged_after(&staged, n, &at, true, &high), w);
		ck_assert_ptr_null(staged_after(&staged, n, &at, true, &at));
	}
	ck_assert_ptr_null(staged_after(&staged, n, &at, false, &high));
	at = high;
	while (count-- > 0) {
		w = staged_before(&staged, n, &at, &low);
		expect(w, line_of(sorted[count], walk->until));
		ck_assert_ptr_eq(
		    staged_before(&staged, n, &at, &w->of->key), w);
		at = w->of->key;
	}
	ck_assert_ptr_null(staged_before(&staged, n, &at, &low));
}

#define DEPTH 8

START_TEST(any_order_of_writes_and_savepoints)
{
	struct {
		uint64_t id;
		size_t len;
	} saved[DEPTH];
	struct walk walk = {0, 0};
	unsigned depth = 0;
	bool walks = false;

	staged.commit_max = 6000; /* some two thirds of what it would be */
	for (unsigned i = 0; i < 3000; i++) {
		unsigned what = (unsigned)rng_below(&rng, 100), back;
		uint64_t number, gone;

		if (what < 80) {
			write_any(what >= 20);
		} else if (what < 90 && depth < DEPTH) {
			ck_assert_int_eq(
			    staged_save(&staged, &saved[depth].id), KVLOG_OK);
			saved[depth++].len = list_len;
		} else if (what < 94 && depth > 0) {
			back = (unsigned)rng_below(&rng, depth);
			gone = saved[depth - 1].id;
			ck_assert(
			    staged_undo(&staged, saved[back].id, &number));
			ck_assert_int_eq(staged_undo(&staged, gone, &number),
			    back == depth - 1);
			list_len = saved[back].len;
			walks = walks && walk.until <= list_len;
			depth = back + (unsigned)rng_below(&rng, 2);
		} else if (what < 97) {
			walk.number = staged_walk(&staged);
			walk.until = list_len;
			walks = true;
		}
		if (i % 16 == 0) {
			expect_all();
			if (walks) {
				expect_walk(&walk, 0);
				expect_walk(&walk, 7);
			}
		}
	}
	ck_assert(!staged_undo(&staged, 0, &(uint64_t){0}));
	ck_assert(!staged_undo(&staged, UINT64_MAX, &(uint64_t){0}));
}
END_TEST

/* Whoever counts up in a transaction, or tries and goes back, does it in little
 * memory. */
START_TEST(what_nobody_can_see_any_more_takes_no_memory)
{
	uint64_t savepoint, number, bytes;

	write_one(1, RECORD_PUT, VALUE_MAX, 1);
	for (unsigned i = 0; i < 1000; i++) {
		list_len = 0;
		write_one(1, RECORD_PUT, i % VALUE_MAX, (uint8_t)i);
	}
	bytes = staged.bytes;
	ck_assert_uint_lt(bytes, 20000);
	ck_assert_int_eq(staged_save(&staged, &savepoint), KVLOG_OK);
	for (unsigned i = 0; i < 1000; i++) {
		for (unsigned n = 0; n < KEYS; n++) {
			list_len = 0;
			write_one(n, RECORD_PUT, VALUE_MAX, 1);
		}
		ck_assert(staged_undo(&staged, savepoint, &number));
		ck_assert_uint_le(staged.bytes, bytes);
		ck_assert_uint_eq(staged.key_count, 1);
	}
}
END_TEST

/* A value may come from where it goes to. */
START_TEST(a_key_is_given_its_own_value)
{
	const struct hint_key key = key_of(5);
	const struct staged_write *w;
	struct staged_write how = {.type = RECORD_PUT, .value_len = 100};

	write_one(5, RECORD_PUT, 200, 9);
	w = staged_find(&staged, &key, hash_of(&key));
	((uint8_t *)w->value)[150] = 8; /* of the last 100 */
	ck_assert_int_eq(
	    staged_add(&staged, &key, hash_of(&key), &how, w->value + 100),
	    KVLOG_OK);
	w = staged_find(&staged, &key, hash_of(&key));
	ck_assert_uint_eq(w->value_len, 100);
	ck_assert_uint_eq(w->value[0], 9);
	ck_assert_uint_eq(w->value[50], 8);
}
END_TEST

/* Without memory nothing changes. */
static unsigned denied;

static void *
deny(size_t size)
{
	return denied-- == 0 ? NULL : os_real.malloc(size);
}

static void *
deny_zeros(size_t count, size_t size)
{
	return denied-- == 0 ? NULL : os_real.calloc(count, size);
}

START_TEST(memory_that_is_wanting_is_no_harm)
{
	struct os_table poor = os_real;
	const struct hint_key key = key_of(1);
	const struct staged_write how = {.type = RECORD_PUT, .value_len = 100};
	static uint8_t value[100];
	unsigned failures = 0;

	poor.malloc = deny;
	poor.calloc = deny_zeros;
	for (unsigned i = 0; i < KEYS; i++) {
		enum kvlog_status st;

		denied = i % 3;
		os = &poor;
		st = staged_add(&staged, &key, hash_of(&key), &how, value);
		os = &os_real;
		ck_assert(st == KVLOG_OK || st == KVLOG_NOMEM);
		failures += st == KVLOG_NOMEM;
		if (st == KVLOG_OK) {
			list_len = 0;
			list[list_len++] =
			    (struct line){1, RECORD_PUT, 0, 100, 0, false};
		}
		expect_all();
		staged.frozen = staged.number;
	}
	ck_assert_uint_gt(failures, 0);
	/* A table that cannot grow serves on. */
	for (unsigned n = 0; n < KEYS; n++)
		write_one(n, RECORD_PUT, 10, 3);
	expect_all();
}
END_TEST

static void
put_number(unsigned n)
{
	const struct staged_write how = {.type = RECORD_PUT};
	char text[16];
	struct hint_key key = {0};

	(void)snprintf(text, sizeof text, "%u", n);
	key.bytes = (const uint8_t *)text;
	key.len = (uint32_t)strlen(text);
	ck_assert_int_eq(
	    staged_add(&staged, &key, hint_key_hash(secret, &key), &how, NULL),
	    KVLOG_OK);
}

/* Each level has a quarter of the keys of the one below, and in order, whether
 * they were written before the first walk or later: else a million take
 * hours. */
START_TEST(a_key_is_found_in_few_steps)
{
	size_t below = 30000;

	for (unsigned n = 0; n < below; n++) {
		put_number(n);
		if (n == below / 2)
			(void)staged_walk(&staged);
	}
	for (unsigned level = 0; level < STAGED_HEIGHT_MAX; level++) {
		const struct staged_key *k = staged.first[level];
		size_t count = 0;

		for (; k != NULL; k = k->next[level], count++)
			ck_assert(k->next[level] == NULL ||
				  hint_key_compare(
				      &k->key, &k->next[level]->key) < 0);
		if (level == 0)
			ck_assert_uint_eq(count, below);
		else
			ck_assert_uint_le(count, below / 3 + 8);
		if (level > 0 && level < 4)
			ck_assert_uint_ge(count, below / 6);
		below = count;
	}
}
END_TEST

static Suite *
staged_suite(void)
{
	Suite *suite = suite_create("staged");
	TCase *tc = tcase_create("staged");

	seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, any_order_of_writes_and_savepoints);
	tcase_add_test(tc, what_nobody_can_see_any_more_takes_no_memory);
	tcase_add_test(tc, a_key_is_given_its_own_value);
	tcase_add_test(tc, memory_that_is_wanting_is_no_harm);
	tcase_add_test(tc, a_key_is_found_in_few_steps);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(staged_suite());
}
