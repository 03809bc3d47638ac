/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_iterate.c - walks over keys in order.
 */
#include "config.h"

#include "api_db.h"
#include "files.h"
#include "rng.h"

#include <pthread.h>
#include <stdatomic.h>

static void
expect_keys(const char *prefix, const char *keys)
{
	char buf[256];

	api_keys(db, prefix, buf, sizeof buf);
	ck_assert_str_eq(buf, keys);
}

START_TEST(keys_come_in_order_a_prefix_first)
{
	expect_keys("", "");
	api_put(db, "b", "2");
	api_put(db, "aa", "3");
	api_put(db, "a", "1");
	api_put(db, "ab", "4");
	api_put(db, "a", "5");
	api_put(db, "c", "6");
	api_delete(db, "c");
	for (int turn = 0; turn < 2; turn++) {
		expect_keys("", "a aa ab b ");
		expect_keys("a", "a aa ab ");
		expect_keys("ab", "ab ");
		expect_keys("abc", "");
		expect_keys("c", "");
		api_db_reopen();
	}
}
END_TEST

START_TEST(entries_have_key_value_and_place)
{
	struct kvlog_receipt r = api_put(db, "key", "value");
	struct kvlog_iter *iter = NULL;
	struct kvlog_info info = {1, 1, 1, 1, 1};
	size_t len = 99;

	ck_assert_int_eq(kvlog_iter_create(db, NULL, 0, &iter), KVLOG_OK);
	/* Before the first and behind the last there is none. */
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_null(kvlog_iter_key(iter, &len));
		ck_assert_ptr_null(kvlog_iter_value(iter, &len));
		kvlog_iter_info(iter, &info);
		ck_assert_uint_eq(info.seq, 0);
		ck_assert_uint_eq(info.segment, 0);
		ck_assert_uint_eq(len, 99);
		if (i == 1)
			break;
		ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), "key", 3);
		ck_assert_uint_eq(len, 3);
		ck_assert_mem_eq(kvlog_iter_value(iter, &len), "value", 5);
		ck_assert_uint_eq(len, 5);
		ck_assert_ptr_nonnull(kvlog_iter_value(iter, NULL));
		kvlog_iter_info(iter, &info);
		ck_assert_uint_eq(info.seq, r.seq);
		ck_assert_uint_eq(info.segment, r.segment);
		ck_assert_uint_eq(info.offset, r.offset);
		ck_assert_uint_eq(info.value_len, 5);
		ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_NOTFOUND);
		len = 99;
	}
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_NOTFOUND);
	kvlog_iter_destroy(iter);
}
END_TEST

START_TEST(an_empty_value_is_not_null)
{
	struct kvlog_iter *iter = NULL;
	size_t len = 99;

	api_put(db, "key", "");
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_OK);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	ck_assert_ptr_nonnull(kvlog_iter_value(iter, &len));
	ck_assert_uint_eq(len, 0);
	kvlog_iter_destroy(iter);
}
END_TEST

static unsigned
count_prefix(const void *prefix, size_t len)
{
	struct kvlog_iter *iter = NULL;
	unsigned count = 0;
	enum kvlog_status st;

	ck_assert_int_eq(kvlog_iter_create(db, prefix, len, &iter), KVLOG_OK);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		size_t key_len = 0;
		const void *key = kvlog_iter_key(iter, &key_len);

		ck_assert_uint_ge(key_len, len);
		ck_assert_mem_eq(key, prefix, len);
		count++;
	}
	ck_assert_int_eq(st, KVLOG_NOTFOUND);
	kvlog_iter_destroy(iter);
	return count;
}

/* There is no "next prefix" to 0xff. */
START_TEST(prefixes_of_all_bytes)
{
	static const uint8_t ff[] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t zeros[4];

	for (size_t len = 1; len <= 4; len++) {
		ck_assert_int_eq(
		    kvlog_put(db, ff, len, "x", 1, NULL, NULL), KVLOG_OK);
		ck_assert_int_eq(
		    kvlog_put(db, zeros, len, "x", 1, NULL, NULL), KVLOG_OK);
	}
	for (unsigned b = 1; b < 255; b++) {
		uint8_t key[2] = {0xff, (uint8_t)b};

		ck_assert_int_eq(
		    kvlog_put(db, key, 2, "x", 1, NULL, NULL), KVLOG_OK);
	}
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_uint_eq(count_prefix(ff, 1), 4 + 254);
		for (size_t len = 2; len <= 4; len++) {
			ck_assert_uint_eq(count_prefix(ff, len), 5 - len);
			ck_assert_uint_eq(count_prefix(zeros, len), 5 - len);
		}
		ck_assert_uint_eq(count_prefix("", 0), 8 + 254);
		api_db_reopen();
	}
}
END_TEST

START_TEST(prefixes_have_a_limit)
{
	static uint8_t prefix[KVLOG_KEY_MAX + 1];
	struct kvlog_iter *iter = NULL;

	api_put(db, "k", "x");
	ck_assert_int_eq(
	    kvlog_iter_create(db, prefix, sizeof prefix, &iter), KVLOG_INVAL);
	ck_assert_ptr_null(iter);
	ck_assert_uint_eq(count_prefix(prefix, sizeof prefix - 1), 0);
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_iter_seek(iter, prefix, sizeof prefix), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_seek(iter, NULL, 1), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	kvlog_iter_destroy(iter);
}
END_TEST

static void
expect_next(struct kvlog_iter *iter, const char *key)
{
	size_t len = 0;
	const void *got;

	if (key == NULL) {
		ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_NOTFOUND);
		return;
	}
	ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_OK);
	got = kvlog_iter_key(iter, &len);
	ck_assert_uint_eq(len, strlen(key));
	ck_assert_mem_eq(got, key, len);
}

START_TEST(seek_stands_before_the_first_not_less)
{
	struct kvlog_iter *iter = NULL;
	size_t len = 0;

	api_put(db, "b", "1");
	api_put(db, "d", "1");
	api_put(db, "da", "1");
	api_put(db, "f", "1");
	for (int turn = 0; turn < 2; turn++) {
		ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_OK);
		ck_assert_int_eq(kvlog_iter_seek(iter, "d", 1), KVLOG_OK);
		ck_assert_ptr_null(kvlog_iter_key(iter, NULL));
		expect_next(iter, "d");
		expect_next(iter, "da");
		ck_assert_int_eq(kvlog_iter_seek(iter, "c", 1), KVLOG_OK);
		ck_assert_ptr_null(kvlog_iter_key(iter, NULL));
		ck_assert_ptr_null(kvlog_iter_value(iter, NULL));
		expect_next(iter, "d");
		ck_assert_int_eq(kvlog_iter_seek(iter, "d\0", 2), KVLOG_OK);
		expect_next(iter, "da");
		/* The last that is not greater. */
		ck_assert_int_eq(kvlog_iter_seek(iter, "d\0", 2), KVLOG_OK);
		ck_assert_int_eq(kvlog_iter_prev(iter), KVLOG_OK);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), "d", 1);
		ck_assert_uint_eq(len, 1);
		ck_assert_int_eq(kvlog_iter_seek(iter, "c\0", 2), KVLOG_OK);
		ck_assert_int_eq(kvlog_iter_prev(iter), KVLOG_OK);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), "b", 1);
		ck_assert_int_eq(kvlog_iter_seek(iter, "a\0", 2), KVLOG_OK);
		ck_assert_int_eq(kvlog_iter_prev(iter), KVLOG_NOTFOUND);
		ck_assert_int_eq(kvlog_iter_seek(iter, "g", 1), KVLOG_OK);
		expect_next(iter, NULL);
		ck_assert_int_eq(kvlog_iter_seek(iter, "", 0), KVLOG_OK);
		expect_next(iter, "b");
		ck_assert_int_eq(kvlog_iter_seek(iter, "a", 1), KVLOG_OK);
		expect_next(iter, "b");
		kvlog_iter_destroy(iter);

		/* Not out of the prefix. */
		ck_assert_int_eq(
		    kvlog_iter_create(db, "d", 1, &iter), KVLOG_OK);
		ck_assert_int_eq(kvlog_iter_seek(iter, "a", 1), KVLOG_OK);
		expect_next(iter, "d");
		ck_assert_int_eq(kvlog_iter_seek(iter, "e", 1), KVLOG_OK);
		expect_next(iter, NULL);
		ck_assert_int_eq(kvlog_iter_seek(iter, "da", 2), KVLOG_OK);
		expect_next(iter, "da");
		expect_next(iter, NULL);
		kvlog_iter_destroy(iter);
		api_db_reopen();
	}
}
END_TEST

/* The walk shows the store as it was, over rollovers and hint making too. */
START_TEST(a_walk_sees_one_moment)
{
	struct kvlog_iter *iter = NULL;
	char key[16];

	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(key, sizeof key, "k%03u", i);
		api_put(db, key, "old value of some bytes");
	}
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &iter), KVLOG_OK);
	for (unsigned i = 0; i < 100; i++) {
		size_t len;

		if (i == 10) {
			for (unsigned k = 0; k < 100; k++) {
				(void)snprintf(key, sizeof key, "k%03u", k);
				if (k % 2)
					api_delete(db, key);
				else
					api_put(db, key, "new");
				(void)snprintf(key, sizeof key, "k%03ux", k);
				api_put(db, key,
				    "new and so long that more "
				    "segments are needed");
			}
			while (api_stats(db).hint_count == 0) {
				bool more;

				/* A later record attests what is durable. */
				ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
				api_put(db, "later", "1");
				ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
				ck_assert_int_eq(
				    kvlog_maintain(db, 10, &more), KVLOG_OK);
			}
		}
		(void)snprintf(key, sizeof key, "k%03u", i);
		expect_next(iter, key);
		ck_assert_mem_eq(kvlog_iter_value(iter, &len),
		    "old value of some bytes", 23);
		ck_assert_uint_eq(len, 23);
	}
	expect_next(iter, NULL);
	kvlog_iter_destroy(iter);
	ck_assert_uint_eq(count_prefix("k", 1), 150);
}
END_TEST

/* A sorted model of many keys over many segments with many versions. */
#define KEYS 600

struct model {
	char key[24];
	bool there;
	unsigned version;
};

static struct model model[KEYS];

static int
compare_models(const void *va, const void *vb)
{
	const struct model *a = va, *b = vb;

	return strcmp(a->key, b->key);
}

static void
make_model(struct rng *rng)
{
	for (unsigned i = 0; i < KEYS; i++) {
		/* Long shared prefixes, some keys that begin others. */
		(void)snprintf(model[i].key, sizeof model[i].key, "%.*s%u",
		    (int)(rng_below(rng, 13)), "prefix/prefix/",
		    (unsigned)rng_below(rng, 3) + 10 * i);
		model[i].there = false;
	}
	qsort(model, KEYS, sizeof model[0], compare_models);
}

static void
change_model(struct rng *rng, unsigned steps)
{
	while (steps-- > 0) {
		struct model *m = &model[rng_below(rng, KEYS)];
		char value[32];

		if (m->there && rng_below(rng, 4) == 0) {
			api_delete(db, m->key);
			m->there = false;
			continue;
		}
		m->there = true;
		m->version++;
		(void)snprintf(value, sizeof value, "%u", m->version);
		api_put(db, m->key, value);
	}
}

/* From the first key >= from, within prefix. */
static void
check_walk(const char *prefix, const char *from)
{
	struct kvlog_iter *iter = NULL;

	ck_assert_int_eq(
	    kvlog_iter_create(db, prefix, strlen(prefix), &iter), KVLOG_OK);
	if (from != NULL)
		ck_assert_int_eq(
		    kvlog_iter_seek(iter, from, strlen(from)), KVLOG_OK);
	for (unsigned i = 0; i < KEYS; i++) {
		char value[32];
		const void *got;
		size_t len = 0;

		if (!model[i].there ||
		    strncmp(model[i].key, prefix, strlen(prefix)) != 0 ||
		    (from != NULL && strcmp(model[i].key, from) < 0))
			continue;
		(void)snprintf(value, sizeof value, "%u", model[i].version);
		expect_next(iter, model[i].key);
		got = kvlog_iter_value(iter, &len);
		if (len != strlen(value) || memcmp(got, value, len) != 0)
			ck_abort_msg("wrong value of %s", model[i].key);
	}
	expect_next(iter, NULL);
	kvlog_iter_destroy(iter);
}

START_TEST(walks_agree_with_a_model)
{
	struct rng rng;

	rng_init(&rng, 7);
	make_model(&rng);
	for (int turn = 0; turn < 8; turn++) {
		change_model(&rng, 400);
		if (turn % 3 == 1)
			api_db_reopen();
		check_walk("", NULL);
		for (int i = 0; i < 20; i++) {
			char text[24];
			const char *key = model[rng_below(&rng, KEYS)].key;

			check_walk("", key);
			(void)snprintf(text, sizeof text, "%.*s",
			    (int)rng_below(&rng, strlen(key) + 1), key);
			check_walk(text, NULL);
			check_walk(text, model[rng_below(&rng, KEYS)].key);
		}
	}
	ck_assert_uint_gt(api_stats(db).segment_count, 10);
}
END_TEST

START_TEST(two_walks_do_not_know_each_other)
{
	struct kvlog_iter *one = NULL, *two = NULL;

	api_put(db, "a", "1");
	api_put(db, "b", "2");
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &one), KVLOG_OK);
	api_put(db, "c", "3");
	ck_assert_int_eq(kvlog_iter_create(db, "", 0, &two), KVLOG_OK);
	expect_next(one, "a");
	expect_next(two, "a");
	expect_next(two, "b");
	expect_next(two, "c");
	expect_next(one, "b");
	expect_next(one, NULL);
	expect_next(two, NULL);
	kvlog_iter_destroy(two);
	kvlog_iter_destroy(one);
}
END_TEST

/* Beside writers */

#define ROUND_KEYS 50u
#define ROUNDS 400u

/* Puts the number of the round under each key, in order. */
static void *
write_rounds(void *arg)
{
	atomic_bool *done = arg;

	for (uint32_t round = 1; round <= ROUNDS; round++)
		for (unsigned k = 0; k < ROUND_KEYS; k++) {
			char key[8];

			(void)snprintf(key, sizeof key, "k%03u", k);
			if (kvlog_put(db, key, 4, &round, sizeof round, NULL,
				NULL) != KVLOG_OK)
				abort();
		}
	atomic_store(done, true);
	return NULL;
}

/* One moment: up to some key there is this round, from there on the one before.
 * Returns the round of the first key; 0: there are not all yet. */
static uint32_t
check_round(bool back)
{
	uint32_t values[ROUND_KEYS];
	struct kvlog_iter *iter = NULL;
	unsigned count = 0;

	if (kvlog_iter_open(db, NULL, &iter) != KVLOG_OK ||
	    (back && kvlog_iter_last(iter) != KVLOG_OK))
		abort();
	while ((back ? kvlog_iter_prev(iter) : kvlog_iter_next(iter)) ==
	       KVLOG_OK) {
		size_t len;
		const void *value = kvlog_iter_value(iter, &len);

		if (count == ROUND_KEYS)
			abort();
		memcpy(&values[back ? ROUND_KEYS - 1 - count : count], value,
		    sizeof values[0]);
		count++;
	}
	kvlog_iter_destroy(iter);
	if (count < ROUND_KEYS)
		return 0;
	for (unsigned k = 1; k < ROUND_KEYS; k++)
		if (values[k] > values[k - 1] || values[k] + 1 < values[0])
			abort();
	return values[0];
}

static void *
walk_rounds(void *arg)
{
	atomic_bool *done = arg;
	uint32_t seen = 0;
	bool last;

	do {
		uint32_t round;

		last = atomic_load(done);
		round = check_round(seen % 2 == 0);
		if (round < seen)
			abort();
		seen = round;
	} while (!last);
	if (seen != ROUNDS)
		abort();
	return NULL;
}

/* Many walks are begun at once, while puts and the making of hints go on. */
START_TEST(each_walk_beside_a_writer_shows_a_moment)
{
	pthread_t threads[3];
	atomic_bool done = false;
	bool more;

	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL,
			i == 0 ? write_rounds : walk_rounds, &done),
		    0);
	while (!atomic_load(&done)) {
		ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		ck_assert_int_eq(kvlog_maintain(db, 10, &more), KVLOG_OK);
	}
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

/* Ranges */

static struct kvlog_range
range_of(const char *prefix, const char *from, const char *to)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;

	range.prefix = prefix;
	range.prefix_len = prefix != NULL ? strlen(prefix) : 0;
	range.from = from;
	range.from_len = from != NULL ? strlen(from) : 0;
	range.to = to;
	range.to_len = to != NULL ? strlen(to) : 0;
	return range;
}

static struct kvlog_iter *
open_range(const struct kvlog_range *range)
{
	struct kvlog_iter *iter = NULL;

	ck_assert_int_eq(kvlog_iter_open(db, range, &iter), KVLOG_OK);
	ck_assert_ptr_null(kvlog_iter_key(iter, NULL));
	return iter;
}

static void
expect_prev(struct kvlog_iter *iter, const char *key)
{
	size_t len = 0;
	const void *got;

	if (key == NULL) {
		ck_assert_int_eq(kvlog_iter_prev(iter), KVLOG_NOTFOUND);
		ck_assert_ptr_null(kvlog_iter_key(iter, NULL));
		return;
	}
	ck_assert_int_eq(kvlog_iter_prev(iter), KVLOG_OK);
	got = kvlog_iter_key(iter, &len);
	ck_assert_uint_eq(len, strlen(key));
	ck_assert_mem_eq(got, key, len);
}

/* Of a range all, in both directions; keys are separated by blanks. */
static void
expect_range(
    const char *prefix, const char *from, const char *to, const char *keys)
{
	struct kvlog_range range = range_of(prefix, from, to);
	struct kvlog_iter *iter = open_range(&range);
	char list[10][8];
	int count = sscanf(keys, "%7s %7s %7s %7s %7s %7s", list[0], list[1],
	    list[2], list[3], list[4], list[5]);

	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < count; i++)
			expect_next(iter, list[i]);
		expect_next(iter, NULL);
		for (int i = count; i-- > 0;)
			expect_prev(iter, list[i]);
		expect_prev(iter, NULL);
		ck_assert_int_eq(kvlog_iter_last(iter), KVLOG_OK);
		expect_next(iter, NULL);
		for (int i = count; i-- > 0;)
			expect_prev(iter, list[i]);
		ck_assert_int_eq(kvlog_iter_first(iter), KVLOG_OK);
		expect_prev(iter, NULL);
	}
	kvlog_iter_destroy(iter);
}

START_TEST(a_range_is_walked_both_ways)
{
	api_put(db, "a", "1");
	api_put(db, "ab", "2");
	api_put(db, "abc", "3");
	api_put(db, "b", "4");
	api_put(db, "c", "5");
	api_put(db, "d", "6");
	api_delete(db, "c");
	for (int turn = 0; turn < 2; turn++) {
		expect_range(NULL, NULL, NULL, "a ab abc b d");
		expect_range("", "", NULL, "a ab abc b d");
		expect_range(NULL, NULL, "", "");
		expect_range(NULL, "ab", NULL, "ab abc b d");
		expect_range(NULL, "ab", "b", "ab abc");
		expect_range(NULL, "aa", "c", "ab abc b");
		expect_range(NULL, "c", "c", "");
		expect_range(NULL, "c", "a", "");
		expect_range("ab", NULL, NULL, "ab abc");
		expect_range("ab", "abb", "b", "abc");
		expect_range("ab", "a", "abc", "ab");
		expect_range("ab", "b", NULL, "");
		expect_range("ab", NULL, "a", "");
		expect_range("e", NULL, NULL, "");
		api_db_reopen();
	}
}
END_TEST

/* The key that the walk is at does not come again. */
START_TEST(a_walk_turns_anywhere)
{
	struct kvlog_iter *iter;

	for (const char *key = "abcde"; *key != '\0'; key++) {
		ck_assert_int_eq(
		    kvlog_put(db, key, 1, "v", 1, NULL, NULL), KVLOG_OK);
		if (*key == 'c')
			api_db_reopen();
	}
	iter = open_range(NULL);
	expect_prev(iter, NULL);
	expect_next(iter, "a");
	expect_prev(iter, NULL);
	expect_next(iter, "a");
	expect_next(iter, "b");
	expect_next(iter, "c");
	expect_prev(iter, "b");
	expect_next(iter, "c");
	expect_next(iter, "d");
	expect_prev(iter, "c");
	expect_prev(iter, "b");
	expect_next(iter, "c");
	ck_assert_int_eq(kvlog_iter_seek(iter, "d", 1), KVLOG_OK);
	expect_prev(iter, "c");
	ck_assert_int_eq(kvlog_iter_seek(iter, "d", 1), KVLOG_OK);
	expect_next(iter, "d");
	expect_next(iter, "e");
	expect_next(iter, NULL);
	expect_next(iter, NULL);
	expect_prev(iter, "e");
	expect_next(iter, NULL);
	expect_prev(iter, "e");
	expect_prev(iter, "d");
	kvlog_iter_destroy(iter);
}
END_TEST

START_TEST(a_limit_ends_a_walk)
{
	struct kvlog_range range = range_of(NULL, NULL, "d");
	struct kvlog_iter *iter;

	for (const char *key = "abcde"; *key != '\0'; key++)
		ck_assert_int_eq(
		    kvlog_put(db, key, 1, "v", 1, NULL, NULL), KVLOG_OK);
	range.limit = 2;
	iter = open_range(&range);
	expect_next(iter, "a");
	expect_next(iter, "b");
	expect_next(iter, NULL);
	expect_prev(iter, NULL);
	ck_assert_int_eq(kvlog_iter_last(iter), KVLOG_OK);
	expect_next(iter, NULL); /* does not count */
	expect_prev(iter, "c");
	expect_prev(iter, "b");
	expect_prev(iter, NULL);
	ck_assert_int_eq(kvlog_iter_first(iter), KVLOG_OK);
	expect_next(iter, "a");
	expect_next(iter, "b");
	expect_next(iter, NULL);
	ck_assert_int_eq(kvlog_iter_seek(iter, "bb", 2), KVLOG_OK);
	expect_next(iter, "c");
	expect_prev(iter, "b");
	expect_next(iter, NULL);
	kvlog_iter_destroy(iter);
	range.limit = UINT64_MAX;
	iter = open_range(&range);
	for (const char *key = "abc"; *key != '\0'; key++)
		expect_next(iter, (char[]){*key, '\0'});
	expect_next(iter, NULL);
	kvlog_iter_destroy(iter);
}
END_TEST

/* A value that nobody reads is not looked at. */
START_TEST(keys_can_be_walked_alone)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_receipt r = api_put(db, "key", "a value of some bytes");
	struct kvlog_iter *iter;
	char path[512];
	size_t len = 99;

	api_put(db, "last", "");
	(void)snprintf(path, sizeof path, "%s/%08u.seg", api_store, r.segment);
	files_flip(path, (size_t)r.offset + 40, 3);
	for (int turn = 0; turn < 2; turn++) {
		iter = open_range(&range);
		ck_assert_int_eq(kvlog_iter_next(iter),
		    turn == 0 ? KVLOG_CORRUPT : KVLOG_OK);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), "key", 3);
		ck_assert_uint_eq(len, 3);
		ck_assert_ptr_null(kvlog_iter_value(iter, &len));
		ck_assert_uint_eq(len, 3);
		expect_next(iter, "last");
		ck_assert_int_eq(
		    kvlog_iter_value(iter, &len) == NULL, turn == 1);
		kvlog_iter_destroy(iter);
		range.flags = KVLOG_ITER_KEYS_ONLY;
	}
}
END_TEST

START_TEST(what_is_no_range_is_refused)
{
	static uint8_t bytes[KVLOG_KEY_MAX + 1];
	const struct kvlog_range good = KVLOG_RANGE_INIT;
	struct kvlog_range bad[] = {
	    good, good, good, good, good, good, good, good};
	struct kvlog_iter *iter = NULL;

	bad[0].size--;
	bad[1].flags = 0x2;
	bad[2].prefix_len = 1;
	bad[3].from_len = 1;
	bad[4].to_len = 1;
	bad[5].prefix = bad[6].from = bad[7].to = bytes;
	bad[5].prefix_len = bad[6].from_len = bad[7].to_len = sizeof bytes;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ck_assert_int_eq(
		    kvlog_iter_open(db, &bad[i], &iter), KVLOG_INVAL);
		ck_assert_ptr_null(iter);
	}
	ck_assert_int_eq(kvlog_iter_open(NULL, &good, &iter), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_open(db, &good, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_next(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_prev(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_first(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_last(NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_iter_seek(NULL, "a", 1), KVLOG_INVAL);
	bad[7].to_len = sizeof bytes - 1;
	iter = open_range(&bad[7]);
	kvlog_iter_destroy(iter);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("iterate");
	TCase *tc = tcase_create("iterate");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, keys_come_in_order_a_prefix_first);
	tcase_add_test(tc, entries_have_key_value_and_place);
	tcase_add_test(tc, an_empty_value_is_not_null);
	tcase_add_test(tc, prefixes_of_all_bytes);
	tcase_add_test(tc, prefixes_have_a_limit);
	tcase_add_test(tc, seek_stands_before_the_first_not_less);
	tcase_add_test(tc, a_walk_sees_one_moment);
	tcase_add_test(tc, walks_agree_with_a_model);
	tcase_add_test(tc, two_walks_do_not_know_each_other);
	tcase_add_test(tc, each_walk_beside_a_writer_shows_a_moment);
	tcase_add_test(tc, a_range_is_walked_both_ways);
	tcase_add_test(tc, a_walk_turns_anywhere);
	tcase_add_test(tc, a_limit_ends_a_walk);
	tcase_add_test(tc, keys_can_be_walked_alone);
	tcase_add_test(tc, what_is_no_range_is_refused);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
