/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bench.c - what kvlog-bench computes: quantiles, Zipf's distribution,
 * lengths and bytes of values, bytes on disk; and that its crash test finds a
 * store that loses what it has acknowledged.
 */
#include "config.h"

#include "../../tools/bench/bench.h"
#include "../../tools/bench/crash.h"
#include "../../tools/bench/records.h"
#include "../../tools/bench/zipf.h"
#include "../../tools/histogram.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "test.h"
#include "tmpdir.h"

/* ---- histogram ---- */

/* A quantile may be too great by the width of its bucket, never too small. */
static void
expect_quantile(
    const struct histogram *histogram, double fraction, uint64_t exact)
{
	uint64_t got = histogram_quantile(histogram, fraction);

	ck_assert_uint_ge(got, exact);
	ck_assert_uint_le(got, exact + exact / 32 + 1);
}

START_TEST(quantiles_are_those_of_the_sorted_durations)
{
	static struct histogram histogram;
	uint64_t i, scales[] = {1, 1000, 1000003, UINT64_C(1) << 40};

	for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
		memset(&histogram, 0, sizeof histogram);
		/* 1 to 100000 times the scale, in another order. */
		for (i = 0; i < 100000; i++)
			histogram_add(
			    &histogram, (i * 7919 % 100000 + 1) * scales[s]);
		expect_quantile(&histogram, 0.5, 50000 * scales[s]);
		expect_quantile(&histogram, 0.99, 99000 * scales[s]);
		expect_quantile(&histogram, 0.999, 99900 * scales[s]);
		expect_quantile(&histogram, 0.9999, 99990 * scales[s]);
		ck_assert_uint_eq(
		    histogram_quantile(&histogram, 1), 100000 * scales[s]);
		ck_assert_uint_eq(histogram.max, 100000 * scales[s]);
		ck_assert_uint_eq(histogram.total, 100000);
	}
}
END_TEST

START_TEST(an_empty_histogram_has_no_quantiles)
{
	static struct histogram histogram;

	ck_assert_uint_eq(histogram_quantile(&histogram, 0.5), 0);
	histogram_add(&histogram, UINT64_MAX);
	ck_assert_uint_eq(histogram_quantile(&histogram, 0), UINT64_MAX);
}
END_TEST

START_TEST(merged_histograms_are_one_of_all_durations)
{
	static struct histogram parts[2], whole;

	for (uint64_t i = 0; i < 5000; i++) {
		histogram_add(&parts[i % 2], i * i);
		histogram_add(&whole, i * i);
	}
	histogram_merge(&parts[0], &parts[1]);
	ck_assert_mem_eq(&parts[0], &whole, sizeof whole);
}
END_TEST

/* ---- zipf ---- */

#define DRAWS 150000u
#define BINS 60u

/* The share of ranks first to end-1, from the definition. */
static double
mass_of(uint64_t first, uint64_t end, double theta)
{
	double mass = 0;

	for (uint64_t r = first; r < end; r++)
		mass += pow((double)(r + 1), -theta);
	return mass;
}

/* Bins: the first 30 ranks alone, then ever longer stretches. */
static uint64_t
bin_end(unsigned bin, uint64_t count)
{
	double end =
	    bin < 30 ? bin + 1.0
		     : 30 * pow((double)count / 30, (bin - 29.0) / (BINS - 30));

	return end < (double)count && bin + 1 < BINS ? (uint64_t)end : count;
}

/* Pearson's statistic of so many draws against the definition. */
static double
chi_square(uint64_t count, double theta, unsigned *ret_bins)
{
	uint64_t seen[BINS] = {0}, ends[BINS], rank, i;
	double all = mass_of(0, count, theta), sum = 0, expected;
	static struct zipf zipf;
	unsigned b, bins = 0;

	zipf_init(&zipf, count, theta);
	for (b = 0; b < BINS && (bins == 0 || ends[bins - 1] < count); b++) {
		ends[bins] = bin_end(b, count);
		bins += bins == 0 || ends[bins] > ends[bins - 1];
	}
	for (i = 0; i < DRAWS; i++) {
		rank = zipf_rank(&zipf, mix(i + 77));
		ck_assert_uint_lt(rank, count);
		for (b = 0; ends[b] <= rank; b++)
			;
		seen[b]++;
	}
	for (b = 0; b < bins; b++) {
		expected = DRAWS *
			   mass_of(b == 0 ? 0 : ends[b - 1], ends[b], theta) /
			   all;
		sum += ((double)seen[b] - expected) *
		       ((double)seen[b] - expected) / expected;
	}
	*ret_bins = bins;
	return sum;
}

START_TEST(ranks_are_as_frequent_as_zipf_says)
{
	static const uint64_t counts[] = {2, 10, 256, 257, 1000, 100000};
	static const double thetas[] = {0.5, 0.99, 1, 1.3};
	unsigned bins;
	double got, bound;

	for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
		for (size_t t = 0; t < sizeof thetas / sizeof thetas[0]; t++) {
			got = chi_square(counts[c], thetas[t], &bins);
			/* Five deviations above the mean of bins - 1. */
			bound = bins + 5 * sqrt(2.0 * bins);
			ck_assert_msg(got < bound,
			    "%" PRIu64 " ranks, theta %g: %g, not below %g",
			    counts[c], thetas[t], got, bound);
		}
	}
}
END_TEST

/* Where the table ends, a rank more or less would not show in long bins. */
START_TEST(the_ranks_around_the_end_of_the_table_are_right_one_by_one)
{
	static const uint64_t counts[] = {ZIPF_HEAD + 1, 1000};
	static struct zipf zipf;

	for (size_t c = 0; c < 2; c++) {
		uint64_t seen[3] = {0}, rank, i;
		double all = mass_of(0, counts[c], 0.5), expected;

		zipf_init(&zipf, counts[c], 0.5);
		for (i = 0; i < DRAWS; i++) {
			rank = zipf_rank(&zipf, mix(i)) - (ZIPF_HEAD - 1);
			if (rank < 3)
				seen[rank]++;
		}
		for (i = 0; i < 3 && ZIPF_HEAD - 1 + i < counts[c]; i++) {
			expected =
			    DRAWS *
			    mass_of(ZIPF_HEAD - 1 + i, ZIPF_HEAD + i, 0.5) /
			    all;
			ck_assert_double_lt(fabs((double)seen[i] - expected),
			    5 * sqrt(expected));
		}
	}
}
END_TEST

START_TEST(one_record_is_always_that_one)
{
	static struct zipf zipf;

	zipf_init(&zipf, 1, 0.99);
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(zipf_rank(&zipf, mix(i)), 0);
	ck_assert_uint_eq(zipf_rank(&zipf, UINT64_MAX), 0);
}
END_TEST

START_TEST(the_greatest_numbers_have_a_rank_too)
{
	static struct zipf zipf;

	zipf_init(&zipf, 1000, 0.99);
	for (uint64_t i = 0; i < 1000000; i++)
		ck_assert_uint_lt(zipf_rank(&zipf, UINT64_MAX - i), 1000);
}
END_TEST

/* ---- lengths and values ---- */

START_TEST(lengths_are_read)
{
	unsigned i, tens = 0, thousands = 0;
	struct lengths lengths;

	ck_assert(lengths_parse(&lengths, "100", 1000));
	ck_assert_uint_eq(lengths.at[0], 100);
	ck_assert_uint_eq(lengths.at[LENGTHS_COUNT - 1], 100);
	ck_assert_uint_eq(lengths.mean, 100);

	ck_assert(lengths_parse(&lengths, "20-1k", 1000));
	ck_assert_uint_eq(lengths.at[0], 20);
	ck_assert_uint_eq(lengths.at[LENGTHS_COUNT - 1], 1000);
	ck_assert_uint_eq(lengths.max, 1000);
	ck_assert_uint_eq(lengths.mean, 510);

	ck_assert(lengths_parse(&lengths, "10:3,1000:1", 1000));
	for (i = 0; i < LENGTHS_COUNT; i++) {
		tens += lengths.at[i] == 10;
		thousands += lengths.at[i] == 1000;
	}
	ck_assert_uint_eq(tens, 192);
	ck_assert_uint_eq(thousands, 64);
	ck_assert_uint_eq(lengths.mean, 258);

	ck_assert(lengths_parse(&lengths, "7:0,8:1", 1000));
	ck_assert_uint_eq(lengths.at[0], 8);
	ck_assert(lengths_parse(&lengths, "0-2147483647", INT32_MAX));
	ck_assert_uint_eq(lengths.max, INT32_MAX);
}
END_TEST

START_TEST(what_is_no_length_is_refused)
{
	static const char *const wrong[] = {"", "-", "x", "1x", "1001", "2k",
	    "5-4", "5-", "-5", "1-2-3", "1:", "1:x", "1:1,", "1:1,2", "1:0",
	    "1:1,2:", "1,2", " 1", "1 ", "99999999999999999999"};
	struct lengths lengths;

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		ck_assert_msg(
		    !lengths_parse(&lengths, wrong[i], 1000), "%s", wrong[i]);
}
END_TEST

START_TEST(values_are_compressible_as_far_as_wanted)
{
	static const unsigned shares[] = {0, 10, 50, 75, 97, 100};
	struct records records;
	struct lengths lengths;
	struct value value;

	lengths_fixed(&lengths, 1600);
	for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
		uint64_t blank = 0, i, j;

		ck_assert(records_init(&records, &lengths, 16, shares[s], 3));
		for (i = 0; i < 1000; i++) {
			value = record_value(&records, i, 0);
			ck_assert_uint_eq(value.len, 1600);
			for (j = 0; j < value.len; j++)
				blank += value.bytes[j] == ' ';
		}
		/* One random byte in 256 is blank too. */
		ck_assert_uint_ge(blank + 16000, shares[s] * 16000);
		ck_assert_uint_le(blank, shares[s] * 16000 + 16000);
		records_fini(&records);
	}
}
END_TEST

START_TEST(values_of_records_and_generations_differ)
{
	struct records records;
	struct lengths lengths;
	struct value a, b;
	unsigned same = 0;

	lengths_fixed(&lengths, 100);
	ck_assert(records_init(&records, &lengths, 16, 50, 3));
	for (uint64_t i = 0; i < 1000; i++) {
		a = record_value(&records, i, 0);
		b = record_value(&records, i + 1, 0);
		same += memcmp(a.bytes, b.bytes, a.len) == 0;
		b = record_value(&records, i, 1);
		same += memcmp(a.bytes, b.bytes, a.len) == 0;
	}
	/* Windows of the pool are 4096. */
	ck_assert_uint_le(same, 5);
	records_fini(&records);
}
END_TEST

START_TEST(keys_are_in_the_order_of_their_numbers)
{
	uint8_t a[20], b[20];

	memset(a, '.', sizeof a);
	memset(b, '.', sizeof b);
	for (size_t len = 4; len <= sizeof a; len++) {
		for (uint64_t n = 0; n < 0xfffe; n += 7) {
			record_key(a, len, n);
			record_key(b, len, n + 1);
			ck_assert_int_lt(memcmp(a, b, len), 0);
		}
	}
}
END_TEST

/* ---- disk ---- */

#define DISK_FILES 20
#define DISK_LOOKS 5000

/* While a store is churned one thread watches its size, and another one asks
 * for it: neither counts what the other one has seen. */
START_TEST(two_threads_look_at_a_disk_at_once)
{
	char *dir = tmpdir_create();
	static const char text[9000];
	struct disk_watch *watch;
	uint64_t before, most;

	for (unsigned i = 0; i < DISK_FILES; i++) {
		char path[600];
		int fd;

		(void)snprintf(path, sizeof path, "%s/%u", dir, i);
		fd = open(path, O_CREAT | O_WRONLY, 0644);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(write(fd, text, sizeof text), sizeof text);
		fsync(fd); /* some file systems allocate late */
		close(fd);
	}
	before = machine_disk(dir);
	watch = machine_watch_disk(dir);
	ck_assert_ptr_nonnull(watch);
	for (unsigned i = 0; i < DISK_LOOKS; i++)
		ck_assert_uint_eq(machine_disk(dir), before);
	most = machine_watch_end(watch);
	ck_assert_uint_eq(most, before);
	tmpdir_remove(dir);
}
END_TEST

/* ---- crash test ---- */

/* A store in a file: each put is appended, some of them too late. */
#define ENTRY_LEN 512u
#define MOST_ENTRIES 60000u
#define QUEUE_LEN 4u

/* How a toy errs. */
enum toy_fault { HONEST, LATE, FORGETS, CHANGES, REFUSES };

struct toy {
	enum toy_fault fault;
	int fd;
	uint64_t seen; /* puts through this handle */
	size_t count;
	uint8_t (*entries)[ENTRY_LEN]; /* key, length, value */
	unsigned waiting;
	uint8_t queue[QUEUE_LEN][ENTRY_LEN];
};

static void *
toy_open(const struct engine *engine, const char *dir,
    const struct engine_config *config)
{
	struct toy *toy = calloc(1, sizeof *toy);
	char path[4096];
	ssize_t len;

	ck_assert_ptr_nonnull(toy);
	toy->fault = *(const enum toy_fault *)engine->variant;
	snprintf(path, sizeof path, "%s/toy", dir);
	if (toy->fault == REFUSES && access(path, F_OK) == 0) {
		free(toy);
		engine_fail("no second time");
		return NULL;
	}
	toy->fd = open(path,
	    O_RDWR | O_APPEND | (config->access == ENGINE_CREATE ? O_CREAT : 0),
	    0666);
	ck_assert_int_ge(toy->fd, 0);
	toy->entries = malloc((size_t)MOST_ENTRIES * ENTRY_LEN);
	ck_assert_ptr_nonnull(toy->entries);
	len = pread(toy->fd, toy->entries, (size_t)MOST_ENTRIES * ENTRY_LEN, 0);
	toy->count = (size_t)len / ENTRY_LEN;
	return toy;
}

static enum engine_result
toy_put(
    void *db, const void *key, size_t key_len, const void *value, size_t len)
{
	struct toy *toy = db;
	uint8_t *entry = toy->queue[toy->waiting++];

	memset(entry, 0, ENTRY_LEN);
	memcpy(entry, key, key_len);
	memcpy(entry + 16, &len, sizeof len);
	if (len > 0)
		memcpy(entry + 24, value, len);
	toy->seen++;
	if (toy->fault == CHANGES && len > 5 && toy->seen % 100 == 0)
		entry[24 + 5] ^= 1;
	if (toy->fault == FORGETS && toy->seen % 100 == 0)
		toy->waiting--;
	/* LATE always has some that it has not written. */
	if (toy->fault == LATE && toy->waiting < QUEUE_LEN)
		return ENGINE_OK;
	if (toy->waiting > 0 &&
	    write(toy->fd, toy->queue, ENTRY_LEN) != (ssize_t)ENTRY_LEN)
		return engine_fail("write");
	memmove(toy->queue[0], toy->queue[1], sizeof toy->queue - ENTRY_LEN);
	toy->waiting -= toy->waiting > 0;
	return ENGINE_OK;
}

static enum engine_result
toy_get(void *db, const void *key, size_t key_len, void *buf, size_t cap,
    size_t *ret_len)
{
	struct toy *toy = db;

	/* Keys repeat after 20000 of them: the newest is near the end. */
	for (size_t i = toy->count; i-- > 0;) {
		uint8_t *entry = toy->entries[i];

		if (memcmp(entry, key, key_len) != 0)
			continue;
		memcpy(ret_len, entry + 16, sizeof *ret_len);
		ck_assert_uint_le(*ret_len, cap);
		memcpy(buf, entry + 24, *ret_len);
		return ENGINE_OK;
	}
	return ENGINE_ABSENT;
}

static enum engine_result
toy_close(void *db)
{
	struct toy *toy = db;

	close(toy->fd);
	free(toy->entries);
	free(toy);
	return ENGINE_OK;
}

static struct crash_result
crash_toy(enum toy_fault fault)
{
	const struct engine engine = {.name = "toy",
	    .variant = &fault,
	    .open = toy_open,
	    .put = toy_put,
	    .get = toy_get,
	    .close = toy_close};
	struct crash_result result;
	char path[4096], *dir = tmpdir_create();

	snprintf(path, sizeof path, "%s/store", dir);
	crash_test(&engine, path, 2, 5, &result);
	tmpdir_remove(dir);
	return result;
}

START_TEST(a_store_that_keeps_its_word_passes_the_crash_test)
{
	struct crash_result result = crash_toy(HONEST);

	ck_assert_msg(result.outcome == CRASH_PASSED, "%s", result.text);
	ck_assert_uint_eq(result.kills, 2);
	ck_assert_uint_gt(result.acknowledged, 1);
	ck_assert_str_eq(result.text, "");
}
END_TEST

START_TEST(a_store_that_does_not_fails_it)
{
	static const enum toy_fault faults[] = {LATE, FORGETS, CHANGES};
	struct crash_result result;

	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		result = crash_toy(faults[i]);
		ck_assert_msg(result.outcome == CRASH_FAILED,
		    "fault %zu: %d after %" PRIu64 " puts: %s", i,
		    (int)result.outcome, result.acknowledged, result.text);
		ck_assert_ptr_nonnull(strstr(result.text, "acknowledged put "));
	}
	result = crash_toy(REFUSES);
	ck_assert_int_eq(result.outcome, CRASH_FAILED);
	ck_assert_str_eq(
	    result.text, "the store cannot be opened again: no second time");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bench");
	TCase *tcase = tcase_create("bench");

	tcase_add_test(tcase, quantiles_are_those_of_the_sorted_durations);
	tcase_add_test(tcase, an_empty_histogram_has_no_quantiles);
	tcase_add_test(tcase, merged_histograms_are_one_of_all_durations);
	tcase_add_test(tcase, ranks_are_as_frequent_as_zipf_says);
	tcase_add_test(
	    tcase, the_ranks_around_the_end_of_the_table_are_right_one_by_one);
	tcase_add_test(tcase, one_record_is_always_that_one);
	tcase_add_test(tcase, the_greatest_numbers_have_a_rank_too);
	tcase_add_test(tcase, lengths_are_read);
	tcase_add_test(tcase, what_is_no_length_is_refused);
	tcase_add_test(tcase, values_are_compressible_as_far_as_wanted);
	tcase_add_test(tcase, values_of_records_and_generations_differ);
	tcase_add_test(tcase, keys_are_in_the_order_of_their_numbers);
	tcase_add_test(tcase, two_threads_look_at_a_disk_at_once);
	tcase_add_test(
	    tcase, a_store_that_keeps_its_word_passes_the_crash_test);
	tcase_add_test(tcase, a_store_that_does_not_fails_it);
	suite_add_tcase(suite, tcase);
	return test_main(suite);
}
