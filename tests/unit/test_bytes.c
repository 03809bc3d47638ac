/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "bytes.h"

#include <string.h>

#include "test.h"

static const uint8_t sample[9] = {
    0xff, 0x01, 0x82, 0x03, 0x84, 0x05, 0x86, 0x07, 0x88};

START_TEST(gets_are_little_endian_at_any_address)
{
	ck_assert_uint_eq(get_u16(sample + 1), 0x8201);
	ck_assert_uint_eq(get_u32(sample + 1), 0x84038201);
	ck_assert_uint_eq(get_u64(sample + 1), UINT64_C(0x8807860584038201));
}
END_TEST

START_TEST(puts_write_their_bytes_and_no_others)
{
	uint8_t out[10];

	memset(out, 0xee, sizeof out);
	put_u16(out + 1, 0x8201);
	ck_assert_mem_eq(out + 1, sample + 1, 2);
	ck_assert_uint_eq(out[0], 0xee);
	ck_assert_uint_eq(out[3], 0xee);

	memset(out, 0xee, sizeof out);
	put_u32(out + 1, 0x84038201);
	ck_assert_mem_eq(out + 1, sample + 1, 4);
	ck_assert_uint_eq(out[0], 0xee);
	ck_assert_uint_eq(out[5], 0xee);

	memset(out, 0xee, sizeof out);
	put_u64(out + 1, UINT64_C(0x8807860584038201));
	ck_assert_mem_eq(out + 1, sample + 1, 8);
	ck_assert_uint_eq(out[0], 0xee);
	ck_assert_uint_eq(out[9], 0xee);
}
END_TEST

/* _i is the width in bytes. */
START_TEST(uints_of_each_width_round_trip)
{
	const unsigned width = (unsigned)_i;
	const uint64_t max = UINT64_MAX >> (64 - 8 * width);
	const uint64_t values[] = {0, 1, max, max - 1, max / 2 + 1,
	    UINT64_C(0x8807860584038201) & max};
	uint8_t out[10];

	ck_assert_uint_eq(
	    get_uint(sample + 1, width), UINT64_C(0x8807860584038201) & max);
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		memset(out, 0xee, sizeof out);
		put_uint(out + 1, width, values[i]);
		ck_assert_uint_eq(get_uint(out + 1, width), values[i]);
		ck_assert_uint_eq(out[0], 0xee);
		ck_assert_uint_eq(out[1 + width], 0xee);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("bytes");
	TCase *tc = tcase_create("bytes");

	tcase_add_test(tc, gets_are_little_endian_at_any_address);
	tcase_add_test(tc, puts_write_their_bytes_and_no_others);
	tcase_add_loop_test(tc, uints_of_each_width_round_trip, 1, 9);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
