/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "sum.h"

#include <string.h>

#include "bytes.h"
#include "rng.h"
#include "test.h"

/* The definition, one bit at a time. */
static uint32_t
update_slowly(uint32_t reg, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		reg ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			reg = reg >> 1 ^ (reg & 1 ? 0x82f63b78u : 0);
	}
	return reg;
}

static uint8_t bytes[8192];

static void
fill(void)
{
	struct rng rng;

	rng_init(&rng, 1);
	rng_fill(&rng, bytes, sizeof bytes);
}

/* As a get verifies them, and as the parts say. */
START_TEST(a_pair_is_set_as_it_is_verified)
{
	static const size_t lens[] = {0, 1, 7, 100, 255, 256, 1000};
	uint8_t p[2000];

	for (size_t head = 28; head < 300; head += 17)
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			memcpy(p, bytes, head + lens[i]);
			sum_pair_set(p, head, p + head, lens[i], 5);
			ck_assert(sum_pair_ok(p, head, lens[i], 5));
			ck_assert_uint_eq(
			    get_u32(p + 4), sum_from(5, p + head, lens[i]));
			ck_assert_uint_eq(
			    get_u32(p), sum_from(5, p + 4, head - 4));
			ck_assert_int_eq(
			    memcmp(p + 8, bytes + 8, head + lens[i] - 8), 0);
		}
}
END_TEST

/* RFC 3720, B.4; and the string that catalogues of CRCs use. */
START_TEST(crc_agrees_with_rfc_3720)
{
	uint8_t data[48];

	memset(data, 0, 32);
	ck_assert_uint_eq(sum_crc(data, 32), 0x8a9136aau);
	memset(data, 0xff, 32);
	ck_assert_uint_eq(sum_crc(data, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)i;
	ck_assert_uint_eq(sum_crc(data, 32), 0x46dd794eu);
	for (int i = 0; i < 32; i++)
		data[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(sum_crc(data, 32), 0x113fdb5cu);

	/* A SCSI read command. */
	memset(data, 0, 48);
	data[0] = 0x01;
	data[1] = 0xc0;
	data[16] = 0x14;
	data[22] = 0x04;
	data[27] = 0x14;
	data[31] = 0x18;
	data[32] = 0x28;
	data[40] = 0x02;
	ck_assert_uint_eq(sum_crc(data, 48), 0xd9963a56u);

	ck_assert_uint_eq(sum_crc("123456789", 9), 0xe3069283u);
	ck_assert_uint_eq(sum_crc(NULL, 0), 0);
}
END_TEST

START_TEST(update_agrees_with_the_definition_at_every_length)
{
	for (size_t len = 0; len < 1200; len++) {
		const uint8_t *p = bytes + len % 9; /* every alignment */
		uint32_t reg = (uint32_t)(len * 2654435761u);
		uint32_t want = update_slowly(reg, p, len);

		ck_assert_uint_eq(sum_update(reg, p, len), want);
		ck_assert_uint_eq(sum_update_table(reg, p, len), want);
	}
}
END_TEST

START_TEST(spans_agree_with_the_definition)
{
	static uint8_t many[SUM_SPANS_MAX];
	static struct sum_spans spans;
	struct rng rng;

	rng_init(&rng, 2);
	rng_fill(&rng, many, sizeof many);
	sum_spans_init(&spans);
	sum_spans_set(&spans, many, sizeof many - 3);
	for (size_t len = 0; len < 1000; len++) {
		size_t at = (size_t)rng_below(&rng, sizeof many - 3 - len);
		uint32_t seed = (uint32_t)rng_next(&rng);

		ck_assert_uint_eq(sum_span(&spans, seed, at, len),
		    ~update_slowly(seed, many + at, len));
	}
	for (unsigned i = 0; i < 200; i++) {
		size_t len = i == 0 ? SUM_SPAN_MAX
				    : (size_t)rng_below(&rng, SUM_SPAN_MAX);
		size_t at = (size_t)rng_below(&rng, sizeof many - 3 - len);

		ck_assert_uint_eq(sum_span(&spans, i, at, len),
		    ~update_slowly(i, many + at, len));
	}
	ck_assert_uint_eq(
	    sum_span(&spans, 7, sizeof many - 3 - SUM_SPAN_MAX, SUM_SPAN_MAX),
	    ~update_slowly(
		7, many + sizeof many - 3 - SUM_SPAN_MAX, SUM_SPAN_MAX));

	/* Other bytes, fewer of them. */
	sum_spans_set(&spans, many + 1, 65);
	ck_assert_uint_eq(
	    sum_span(&spans, 1, 63, 2), ~update_slowly(1, many + 64, 2));
}
END_TEST

START_TEST(a_pair_is_right_if_both_sums_are)
{
	const uint32_t seed = 0x2468ace1;
	static uint8_t pair[1024];

	for (size_t head = 8; head < 400; head += head < 80 ? 1 : 53) {
		for (size_t value = 0; value < 400; value++) {
			uint8_t *at = pair + (head + value) % 8;

			memcpy(at, bytes, head + value);
			put_u32(at + 4, ~update_slowly(seed, at + head, value));
			put_u32(at, ~update_slowly(seed, at + 4, head - 4));
			if (!sum_pair_ok(at, head, value, seed))
				ck_abort_msg("%zu + %zu: not ok", head, value);
			for (size_t i = 0; i < head + value; i += 1 + i / 8) {
				at[i] ^= 0x10;
				if (sum_pair_ok(at, head, value, seed))
					ck_abort_msg("%zu + %zu: %zu changed",
					    head, value, i);
				at[i] ^= 0x10;
			}
			if (sum_pair_ok(at, head, value, seed + 1))
				ck_abort_msg("%zu + %zu: seed", head, value);
		}
	}
}
END_TEST

START_TEST(update_goes_on_where_it_stopped)
{
	const uint32_t whole = sum_update(7, bytes, 1000);

	for (size_t cut = 0; cut <= 1000; cut++) {
		uint32_t reg = sum_update(7, bytes, cut);

		ck_assert_uint_eq(
		    sum_update(reg, bytes + cut, 1000 - cut), whole);
	}
}
END_TEST

START_TEST(table_and_machine_agree_on_long_runs)
{
	const size_t len = ((size_t)1 << 20) + 13;
	uint8_t *p = malloc(len);
	struct rng rng;

	ck_assert_ptr_nonnull(p);
	rng_init(&rng, 3);
	rng_fill(&rng, p, len);
	ck_assert_uint_eq(
	    sum_update(0x1234567, p, len), sum_update_table(0x1234567, p, len));
	free(p);
}
END_TEST

START_TEST(from_starts_at_the_seed)
{
	ck_assert_uint_eq(sum_from(UINT32_MAX, bytes, 99), sum_crc(bytes, 99));
	ck_assert_uint_eq(sum_from(0xabcdef01u, bytes, 99),
	    ~update_slowly(0xabcdef01u, bytes, 99));
	ck_assert_uint_eq(sum_from(5, NULL, 0), ~5u);
}
END_TEST

START_TEST(seed_is_of_salt_and_offset)
{
	const uint8_t salt[8] = {8, 7, 6, 5, 4, 3, 2, 1};
	uint32_t of_salt = sum_salt(UINT64_C(0x0102030405060708));

	ck_assert_uint_eq(of_salt, ~update_slowly(UINT32_MAX, salt, 8));
	ck_assert_uint_eq(sum_seed(of_salt, 4608), of_salt ^ 576);

	/* The low 32 bits of the offset in units of 8. */
	ck_assert_uint_eq(sum_seed(0, UINT64_C(8) << 32), 0);
	ck_assert_uint_eq(sum_seed(0, UINT64_C(4) << 32), UINT32_C(1) << 31);
}
END_TEST

/*
 * Hashes are stored in hint files: these values hold for ever.  They are
 * what XXH3_64bits_withSecret() of libxxhash gives, over key bytes 0, 1, 2,
 * ... and secret bytes 3, 10, 17, ... (mod 256), less its low 24 bits; the
 * lengths cover each of its ways of hashing.
 */
START_TEST(hash_is_what_it_always_was)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} known[] = {
	    {1, UINT64_C(0x3458ea56e8)},
	    {3, UINT64_C(0xb0bc1015b0)},
	    {4, UINT64_C(0x2501b79c1a)},
	    {8, UINT64_C(0xc3e306dab2)},
	    {9, UINT64_C(0x0ba7e76ca1)},
	    {16, UINT64_C(0x9ad1591833)},
	    {17, UINT64_C(0xaad8fd01bd)},
	    {100, UINT64_C(0xd266ad49b8)},
	    {128, UINT64_C(0x6a94c8f77f)},
	    {129, UINT64_C(0x6a7eed278c)},
	    {200, UINT64_C(0x6dd5a829e4)},
	    {240, UINT64_C(0x2d8fe68aab)},
	    {241, UINT64_C(0x1826d94c14)},
	    {1000, UINT64_C(0x8f6bf4b7b3)},
	    {1024, UINT64_C(0xc93cf019aa)},
	    {1025, UINT64_C(0x8679cfcea2)},
	    {4096, UINT64_C(0x5b3e1891a6)},
	};
	uint8_t secret[SUM_SECRET_LEN], key[4096];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(3 + 7 * i);
	for (size_t i = 0; i < sizeof key; i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		ck_assert_uint_eq(
		    sum_hash(secret, key, known[i].len), known[i].hash);
}
END_TEST

START_TEST(hash_depends_on_secret_and_key)
{
	uint8_t secret[SUM_SECRET_LEN], other[SUM_SECRET_LEN];
	struct rng rng;

	rng_init(&rng, 2);
	rng_fill(&rng, secret, sizeof secret);
	rng_fill(&rng, other, sizeof other);
	for (size_t len = 1; len < 600; len++) {
		uint64_t hash = sum_hash(secret, bytes, len);

		ck_assert_uint_eq(hash >> SUM_HASH_BITS, 0);
		ck_assert_uint_ne(hash, sum_hash(other, bytes, len));
		ck_assert_uint_ne(hash, sum_hash(secret, bytes, len - 1));
		bytes[len / 2] ^= 1;
		ck_assert_uint_ne(hash, sum_hash(secret, bytes, len));
		bytes[len / 2] ^= 1;
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sum");
	TCase *tc = tcase_create("sum");

	tcase_add_checked_fixture(tc, fill, NULL);
	tcase_add_test(tc, crc_agrees_with_rfc_3720);
	tcase_add_test(tc, a_pair_is_set_as_it_is_verified);
	tcase_add_test(tc, update_agrees_with_the_definition_at_every_length);
	tcase_add_test(tc, spans_agree_with_the_definition);
	tcase_add_test(tc, a_pair_is_right_if_both_sums_are);
	tcase_add_test(tc, update_goes_on_where_it_stopped);
	tcase_add_test(tc, table_and_machine_agree_on_long_runs);
	tcase_add_test(tc, from_starts_at_the_seed);
	tcase_add_test(tc, seed_is_of_salt_and_offset);
	tcase_add_test(tc, hash_is_what_it_always_was);
	tcase_add_test(tc, hash_depends_on_secret_and_key);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
