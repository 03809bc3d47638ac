/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_atomic.c - writes that depend on what is there, as one step: what they
 * make of it, what they refuse, and that nothing comes in between.
 */
#include "config.h"

#include "api_db.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAR_MS UINT64_C(4000000000000) /* in the year 2096 */

static struct kvlog_error err;

static struct kvlog_write
write_how(void)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	err = (struct kvlog_error){0};
	how.err = &err;
	return how;
}

static uint64_t
expiry_of(const char *key)
{
	struct kvlog_info info;

	ck_assert_int_eq(kvlog_lookup(db, key, strlen(key), &info), KVLOG_OK);
	return info.expires_ms;
}

static void
put_expiring(const char *key, const char *value, uint64_t expires_ms)
{
	struct kvlog_write how = write_how();

	how.expires_ms = expires_ms;
	ck_assert_int_eq(
	    kvlog_put(db, key, strlen(key), value, strlen(value), &how, NULL),
	    KVLOG_OK);
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Its result; what was written is number, unless it fails. */
static enum kvlog_status
increment(int64_t by, int64_t number)
{
	struct kvlog_write how = write_how();
	struct kvlog_receipt r = {7, 7, 7};
	int64_t got = -77;
	uint64_t last = kvlog_last_seq(db);
	enum kvlog_status st = kvlog_increment(db, "n", 1, by, &how, &got, &r);
	char text[32];

	if (st == KVLOG_OK) {
		ck_assert_int_eq(got, number);
		ck_assert_uint_eq(r.seq, last + 1);
		(void)snprintf(text, sizeof text, "%lld", (long long)number);
		api_expect(db, "n", text);
		ck_assert_int_eq(err.status, KVLOG_OK);
	} else {
		ck_assert_int_eq(got, -77);
		ck_assert_uint_eq(r.seq, 7);
		ck_assert_uint_eq(kvlog_last_seq(db), last);
		ck_assert_int_eq(err.status, st);
	}
	return st;
}

START_TEST(numbers_are_added_to)
{
	ck_assert_int_eq(increment(5, 5), KVLOG_OK);
	ck_assert_int_eq(increment(-12, -7), KVLOG_OK);
	ck_assert_int_eq(increment(0, -7), KVLOG_OK);
	api_db_reopen();
	ck_assert_int_eq(increment(7, 0), KVLOG_OK);
	ck_assert_int_eq(increment(INT64_MAX, INT64_MAX), KVLOG_OK);
	ck_assert_int_eq(increment(1, 0), KVLOG_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "64 bits"));
	ck_assert_int_eq(increment(INT64_MIN, -1), KVLOG_OK);
	ck_assert_int_eq(increment(INT64_MIN + 1, INT64_MIN), KVLOG_OK);
	ck_assert_int_eq(increment(-1, 0), KVLOG_CONFLICT);
	ck_assert_int_eq(increment(INT64_MAX, -1), KVLOG_OK);
	api_put(db, "n", "-0012");
	ck_assert_int_eq(increment(1, -11), KVLOG_OK);
	api_delete(db, "n");
	ck_assert_int_eq(increment(1, 1), KVLOG_OK);
}
END_TEST

START_TEST(what_is_no_number_is_left_alone)
{
	static const char *const values[] = {"", "-", "1 ", " 1", "1\n", "+1",
	    "1.5", "0x1", "--1", "9223372036854775808", "-9223372036854775809",
	    "99999999999999999999", "one"};

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		api_put(db, "n", values[i]);
		ck_assert_int_eq(increment(1, 0), KVLOG_CONFLICT);
		ck_assert_ptr_nonnull(strstr(err.text, "no decimal number"));
		api_expect(db, "n", values[i]);
	}
}
END_TEST

/* A window that begins with its first event: of that alone is the time. */
START_TEST(a_changed_value_keeps_its_time)
{
	struct kvlog_write how = write_how();
	int64_t number;

	how.expires_ms = FAR_MS;
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, &number, NULL), KVLOG_OK);
	ck_assert_uint_eq(expiry_of("n"), FAR_MS);
	how.expires_ms = FAR_MS + 5;
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, &number, NULL), KVLOG_OK);
	ck_assert_int_eq(number, 2);
	ck_assert_uint_eq(expiry_of("n"), FAR_MS);
	ck_assert_int_eq(
	    kvlog_append(db, "n", 1, "0", 1, &how, NULL, NULL), KVLOG_OK);
	ck_assert_uint_eq(expiry_of("n"), FAR_MS);
	api_expect(db, "n", "20");
	ck_assert_int_eq(
	    kvlog_append(db, "a", 1, "0", 1, &how, NULL, NULL), KVLOG_OK);
	ck_assert_uint_eq(expiry_of("a"), FAR_MS + 5);
	/* One that is over counts for nothing. */
	put_expiring("n", "10", now_ms() - 1000);
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 3, NULL, &number, NULL), KVLOG_OK);
	ck_assert_int_eq(number, 3);
	ck_assert_uint_eq(expiry_of("n"), 0);
}
END_TEST

START_TEST(bytes_are_put_behind)
{
	struct kvlog_write how = write_how();
	static char large[20000];
	size_t len = 0;

	ck_assert_int_eq(
	    kvlog_append(db, "k", 1, "ab", 2, NULL, &len, NULL), KVLOG_OK);
	ck_assert_uint_eq(len, 2);
	ck_assert_int_eq(
	    kvlog_append(db, "k", 1, "cde", 3, NULL, &len, NULL), KVLOG_OK);
	ck_assert_uint_eq(len, 5);
	ck_assert_int_eq(
	    kvlog_append(db, "k", 1, NULL, 0, NULL, &len, NULL), KVLOG_OK);
	ck_assert_uint_eq(len, 5);
	api_expect(db, "k", "abcde");
	ck_assert_int_eq(
	    kvlog_append(db, "empty", 5, NULL, 0, NULL, &len, NULL), KVLOG_OK);
	ck_assert_uint_eq(len, 0);
	api_expect(db, "empty", "");
	memset(large, 'x', sizeof large);
	for (size_t i = 1; i <= 4; i++) {
		ck_assert_int_eq(kvlog_append(db, "k", 1, large, sizeof large,
				     NULL, &len, NULL),
		    KVLOG_OK);
		ck_assert_uint_eq(len, 5 + i * sizeof large);
	}
	/* The length is refused before the bytes are looked at. */
	ck_assert_int_eq(kvlog_append(db, "k", 1, large, KVLOG_VALUE_MAX - 100,
			     &how, &len, NULL),
	    KVLOG_TOOBIG);
	ck_assert_int_eq(err.status, KVLOG_TOOBIG);
	ck_assert_uint_eq(len, 5 + 4 * sizeof large);
}
END_TEST

static void
expect_given(void *got, size_t len, const char *value)
{
	ck_assert_ptr_nonnull(got);
	ck_assert_uint_eq(len, strlen(value));
	ck_assert_mem_eq(got, value, len);
	kvlog_free(got);
}

START_TEST(values_are_exchanged)
{
	struct kvlog_write how = write_how();
	const struct kvlog_bytes one = {"one", 3}, empty = {NULL, 0};
	void *old = &how;
	size_t len = 99;

	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, &one, NULL, &old, &len, NULL), KVLOG_OK);
	ck_assert_ptr_null(old);
	ck_assert_uint_eq(len, 99);
	api_expect(db, "k", "one");
	how.expires_ms = FAR_MS;
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, &empty, &how, &old, &len, NULL),
	    KVLOG_OK);
	expect_given(old, len, "one");
	api_expect(db, "k", "");
	ck_assert_uint_eq(expiry_of("k"), FAR_MS);
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, &one, NULL, &old, &len, NULL), KVLOG_OK);
	expect_given(old, len, "");
	ck_assert_uint_eq(expiry_of("k"), 0);
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, NULL, NULL, &old, &len, NULL), KVLOG_OK);
	expect_given(old, len, "one");
	api_expect(db, "k", NULL);
	old = &how;
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, NULL, NULL, &old, &len, NULL),
	    KVLOG_NOTFOUND);
	ck_assert_ptr_eq(old, &how);
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, &one, NULL, NULL, NULL, NULL), KVLOG_OK);
	api_expect(db, "k", "one");
}
END_TEST

/* Of "k": its result, and what is told to be there; NULL: nothing. */
static enum kvlog_status
compare(const char *expected, const char *value, const char *found)
{
	const struct kvlog_bytes e = {expected,
				     expected ? strlen(expected) : 0},
				 v = {value, value ? strlen(value) : 0};
	struct kvlog_write how = write_how();
	void *got = &how;
	size_t len = 99;
	enum kvlog_status st = kvlog_compare_exchange(db, "k", 1,
	    expected ? &e : NULL, value ? &v : NULL, &how, &got, &len, NULL);

	ck_assert_int_eq(err.status, st);
	if (st != KVLOG_CONFLICT) {
		ck_assert_ptr_eq(got, &how);
		api_expect(db, "k", value);
	} else if (found != NULL) {
		expect_given(got, len, found);
		api_expect(db, "k", found);
	} else {
		ck_assert_ptr_null(got);
		api_expect(db, "k", NULL);
	}
	return st;
}

START_TEST(values_are_exchanged_if_they_are_as_expected)
{
	const struct kvlog_bytes b = {"b", 1};

	ck_assert_int_eq(compare("a", "b", NULL), KVLOG_CONFLICT);
	ck_assert_int_eq(compare("", "b", NULL), KVLOG_CONFLICT);
	ck_assert_int_eq(compare(NULL, "a", NULL), KVLOG_OK);
	ck_assert_int_eq(compare(NULL, "a", "a"), KVLOG_CONFLICT);
	ck_assert_int_eq(compare("ab", "b", "a"), KVLOG_CONFLICT);
	ck_assert_int_eq(compare("b", NULL, "a"), KVLOG_CONFLICT);
	ck_assert_int_eq(compare("a", "", NULL), KVLOG_OK);
	ck_assert_int_eq(compare("a", "b", ""), KVLOG_CONFLICT);
	ck_assert_int_eq(compare("", "b", NULL), KVLOG_OK);
	ck_assert_int_eq(compare("b", NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_compare_exchange(
			     db, "k", 1, NULL, NULL, NULL, NULL, NULL, NULL),
	    KVLOG_INVAL);
	/* Who does not want to know gets no less. */
	ck_assert_int_eq(
	    kvlog_compare_exchange(db, "k", 1, &b, &b, NULL, NULL, NULL, NULL),
	    KVLOG_CONFLICT);
}
END_TEST

static enum kvlog_status
rename_key(const char *from, const char *to, enum kvlog_condition condition)
{
	struct kvlog_write how = write_how();

	how.condition = condition;
	return kvlog_rename(db, from, strlen(from), to, strlen(to), &how, NULL);
}

START_TEST(values_get_other_keys)
{
	put_expiring("a", "value", FAR_MS);
	api_put(db, "there", "old");
	ck_assert_int_eq(rename_key("none", "x", KVLOG_IF_ANY), KVLOG_NOTFOUND);
	ck_assert_int_eq(rename_key("a", "b", KVLOG_IF_ABSENT), KVLOG_OK);
	api_expect(db, "a", NULL);
	api_expect(db, "b", "value");
	ck_assert_uint_eq(expiry_of("b"), FAR_MS);
	ck_assert_int_eq(
	    rename_key("b", "there", KVLOG_IF_ABSENT), KVLOG_CONFLICT);
	ck_assert_int_eq(err.status, KVLOG_CONFLICT);
	api_expect(db, "there", "old");
	ck_assert_int_eq(rename_key("b", "there", KVLOG_IF_ANY), KVLOG_OK);
	api_expect(db, "b", NULL);
	api_expect(db, "there", "value");
	ck_assert_uint_eq(expiry_of("there"), FAR_MS);
	ck_assert_int_eq(rename_key("there", "there", KVLOG_IF_ANY), KVLOG_OK);
	ck_assert_int_eq(
	    rename_key("there", "there", KVLOG_IF_ABSENT), KVLOG_CONFLICT);
	ck_assert_int_eq(
	    rename_key("there", "x", KVLOG_IF_PRESENT), KVLOG_INVAL);
	api_db_reopen();
	api_expect(db, "there", "value");
	ck_assert_uint_eq(api_count(db), 1);
}
END_TEST

START_TEST(times_are_set_and_taken_away)
{
	struct kvlog_receipt r;
	struct kvlog_info info;

	ck_assert_int_eq(
	    kvlog_expire(db, "k", 1, FAR_MS, NULL, NULL), KVLOG_NOTFOUND);
	api_put(db, "k", "value");
	ck_assert_int_eq(kvlog_expire(db, "k", 1, FAR_MS, NULL, &r), KVLOG_OK);
	ck_assert_int_eq(kvlog_lookup(db, "k", 1, &info), KVLOG_OK);
	ck_assert_uint_eq(info.expires_ms, FAR_MS);
	ck_assert_uint_eq(info.seq, r.seq);
	api_expect(db, "k", "value");
	api_db_reopen();
	ck_assert_uint_eq(expiry_of("k"), FAR_MS);
	ck_assert_int_eq(kvlog_expire(db, "k", 1, 0, NULL, NULL), KVLOG_OK);
	ck_assert_uint_eq(expiry_of("k"), 0);
	api_expect(db, "k", "value");
	ck_assert_int_eq(
	    kvlog_expire(db, "k", 1, now_ms() - 1000, NULL, NULL), KVLOG_OK);
	api_expect(db, "k", NULL);
	ck_assert_int_eq(
	    kvlog_expire(db, "k", 1, 0, NULL, NULL), KVLOG_NOTFOUND);
}
END_TEST

START_TEST(a_bucket_has_numbers_of_its_own)
{
	struct kvlog *bucket;
	int64_t number = 0;

	ck_assert_int_eq(
	    kvlog_bucket_open(db, "b", 1, KVLOG_OPEN_CREATE, &bucket, NULL),
	    KVLOG_OK);
	api_put(db, "n", "100");
	ck_assert_int_eq(
	    kvlog_increment(bucket, "n", 1, 1, NULL, &number, NULL), KVLOG_OK);
	ck_assert_int_eq(number, 1);
	ck_assert_int_eq(
	    kvlog_rename(bucket, "n", 1, "m", 1, NULL, NULL), KVLOG_OK);
	api_expect(bucket, "m", "1");
	api_expect(db, "n", "100");
	ck_assert_int_eq(kvlog_bucket_drop(db, "b", 1, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_increment(bucket, "m", 1, 1, NULL, NULL, NULL),
	    KVLOG_NOBUCKET);
	kvlog_close(bucket, NULL);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog_write how = write_how();
	struct kvlog *reader = api_open(api_store, KVLOG_OPEN_READONLY);
	static char key[KVLOG_KEY_MAX + 1];
	const struct kvlog_bytes none = {NULL, 1}, x = {"x", 1};

	ck_assert_int_eq(
	    kvlog_increment(NULL, "n", 1, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_increment(db, "", 0, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_increment(db, NULL, 1, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_increment(db, key, sizeof key, 1, &how, NULL, NULL),
	    KVLOG_TOOBIG);
	ck_assert_int_eq(kvlog_rename(db, "k", 1, key, sizeof key, &how, NULL),
	    KVLOG_TOOBIG);
	ck_assert_int_eq(
	    kvlog_append(db, "k", 1, NULL, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, &none, &how, NULL, NULL, NULL),
	    KVLOG_INVAL);
	ck_assert_int_eq(kvlog_compare_exchange(
			     db, "k", 1, &none, NULL, &how, NULL, NULL, NULL),
	    KVLOG_INVAL);
	ck_assert_int_eq(kvlog_compare_exchange(
			     db, "k", 1, NULL, &none, &how, NULL, NULL, NULL),
	    KVLOG_INVAL);
	ck_assert_int_eq(kvlog_increment(reader, "n", 1, 1, &how, NULL, NULL),
	    KVLOG_READONLY);
	ck_assert_int_eq(err.status, KVLOG_READONLY);
	how.expires_ms = FAR_MS;
	ck_assert_int_eq(kvlog_expire(db, "k", 1, 0, &how, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_rename(db, "k", 1, "l", 1, &how, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_exchange(db, "k", 1, NULL, &how, NULL, NULL, NULL),
	    KVLOG_INVAL);
	how.expires_ms = 0;
	how.condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_exchange(db, "k", 1, &x, &how, NULL, NULL, NULL),
	    KVLOG_INVAL);
	how.condition = KVLOG_IF_ANY;
	how.durability = 9;
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, NULL, NULL), KVLOG_INVAL);
	how.size--;
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, NULL, NULL), KVLOG_INVAL);
	ck_assert_uint_eq(kvlog_last_seq(db), 0);
	api_close(reader);
}
END_TEST

START_TEST(a_damaged_value_is_not_built_on)
{
	struct kvlog_write how = write_how();
	struct kvlog_receipt r = api_put(db, "n", "5");
	char *path = files_path(api_store, "00000001.seg");

	/* Behind the header of the record and its key. */
	files_flip(path, (size_t)r.offset + 29, 1);
	ck_assert_int_eq(
	    kvlog_increment(db, "n", 1, 1, &how, NULL, NULL), KVLOG_CORRUPT);
	ck_assert_int_eq(err.status, KVLOG_CORRUPT);
	ck_assert_int_eq(
	    kvlog_expire(db, "n", 1, FAR_MS, &how, NULL), KVLOG_CORRUPT);
	ck_assert_int_eq(rename_key("n", "m", KVLOG_IF_ANY), KVLOG_CORRUPT);
	free(path);
}
END_TEST

/* Nothing comes in between */

#define THREADS 3
#define PROCESSES 2
#define ROUNDS 400

/* Adds to a number, and to a list; the letter tells whose. */
static void
add(struct kvlog *handle, char letter)
{
	int64_t number = 0, last = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		ck_assert_int_eq(
		    kvlog_increment(handle, "n", 1, 1, NULL, &number, NULL),
		    KVLOG_OK);
		ck_assert_int_gt(number, last);
		last = number;
		ck_assert_int_eq(kvlog_append(handle, "list", 4, &letter, 1,
				     NULL, NULL, NULL),
		    KVLOG_OK);
	}
}

static void *
add_in_thread(void *arg)
{
	add(db, *(const char *)arg);
	return NULL;
}

static pid_t
add_in_process(char letter)
{
	struct kvlog_options o = api_options(0);
	struct kvlog *own = NULL;
	pid_t pid;

	o.timeout_ms = 60000;
	(void)fflush(NULL);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid != 0)
		return pid;
	own = api_open_with(api_store, &o);
	add(own, letter);
	api_close(own);
	(void)fflush(NULL);
	_exit(0);
}

/* A letter for each thread and process, ROUNDS times. */
static void
expect_list(void)
{
	unsigned counts[THREADS + PROCESSES] = {0};
	void *list;
	size_t len;

	ck_assert_int_eq(kvlog_get_alloc(db, "list", 4, &list, &len), KVLOG_OK);
	ck_assert_uint_eq(len, (THREADS + PROCESSES) * ROUNDS);
	for (size_t i = 0; i < len; i++)
		counts[((char *)list)[i] - 'a']++;
	for (size_t i = 0; i < THREADS + PROCESSES; i++)
		ck_assert_uint_eq(counts[i], ROUNDS);
	kvlog_free(list);
}

START_TEST(the_sum_is_right)
{
	static const char letters[] = "abcde";
	struct kvlog_options o = api_options(0);
	pthread_t threads[THREADS];
	pid_t pids[PROCESSES];
	char text[16];
	int status;

	api_close(db); /* so that the children inherit none */
	for (size_t i = 0; i < PROCESSES; i++)
		pids[i] = add_in_process(letters[THREADS + i]);
	o.timeout_ms = 60000;
	db = api_open_with(api_store, &o);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     add_in_thread, (void *)&letters[i]),
		    0);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < PROCESSES; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	(void)snprintf(text, sizeof text, "%d", (THREADS + PROCESSES) * ROUNDS);
	api_expect(db, "n", text);
	expect_list();
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *s = suite_create("atomic");
	TCase *tc = tcase_create("atomic");

	tcase_add_checked_fixture(tc, api_db_setup, api_db_teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, numbers_are_added_to);
	tcase_add_test(tc, what_is_no_number_is_left_alone);
	tcase_add_test(tc, a_changed_value_keeps_its_time);
	tcase_add_test(tc, bytes_are_put_behind);
	tcase_add_test(tc, values_are_exchanged);
	tcase_add_test(tc, values_are_exchanged_if_they_are_as_expected);
	tcase_add_test(tc, values_get_other_keys);
	tcase_add_test(tc, times_are_set_and_taken_away);
	tcase_add_test(tc, a_bucket_has_numbers_of_its_own);
	tcase_add_test(tc, wrong_arguments_are_refused);
	tcase_add_test(tc, a_damaged_value_is_not_built_on);
	tcase_add_test(tc, the_sum_is_right);
	suite_add_tcase(s, tc);
	return s;
}

int
main(void)
{
	return api_main(make_suite);
}
