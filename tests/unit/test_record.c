/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include "record.h"

#include "bytes.h"
#include "rng.h"
#include "sum.h"

#include <string.h>

#include "test.h"

#define SEED 0x12345678u

static uint8_t *key, *value; /* KVLOG_KEY_MAX and 4096 bytes */

static void
setup(void)
{
	struct rng rng;

	rng_init(&rng, 5);
	key = malloc(65535);
	value = malloc(4096);
	ck_assert(key != NULL && value != NULL);
	rng_fill(&rng, key, 65535);
	rng_fill(&rng, value, 4096);
}

static void
teardown(void)
{
	free(key);
	free(value);
}

static struct record
make(unsigned type, unsigned flags, size_t key_len, size_t value_len)
{
	return (struct record){.type = (uint8_t)type,
	    .flags = (uint8_t)flags,
	    .key_len = (uint16_t)key_len,
	    .value_len = (uint32_t)value_len,
	    .lag = 0xfedcba98,
	    .seq = UINT64_C(0x0123456789abcdef),
	    .bucket_seq = UINT64_C(0x1122334455667788),
	    .bucket_ordinal = 0x99aabbcc,
	    .codec = 0x31415926,
	    .plain_len = 0x27182818,
	    .expiry_ms = UINT64_C(0x8070605040302010),
	    .key = key,
	    .value = value};
}

/* The whole record, in memory of exactly its size; free(). */
static uint8_t *
encode(const struct record *rec, uint32_t seed, size_t *ret_size)
{
	uint8_t head[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	unsigned len = record_encode(head, rec, seed);
	uint8_t *bytes;

	*ret_size =
	    (size_t)record_size(rec->flags, rec->key_len, rec->value_len);
	bytes = calloc(1, *ret_size);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, head, len);
	if (rec->key_len > 0)
		memcpy(bytes + len, rec->key, rec->key_len);
	if (rec->value_len > 0)
		memcpy(bytes + len + rec->key_len, rec->value, rec->value_len);
	return bytes;
}

static void
check_same(const struct record *got, const struct record *want)
{
	ck_assert_uint_eq(got->type, want->type);
	ck_assert_uint_eq(got->flags, want->flags);
	ck_assert_uint_eq(got->key_len, want->key_len);
	ck_assert_uint_eq(got->value_len, want->value_len);
	ck_assert_uint_eq(got->lag, want->lag);
	ck_assert_uint_eq(got->seq, want->seq);
	ck_assert_mem_eq(got->key, want->key, want->key_len);
	ck_assert_mem_eq(got->value, want->value, want->value_len);
	ck_assert_uint_eq(got->bucket_seq,
	    want->flags & RECORD_BUCKET ? want->bucket_seq : 0);
	ck_assert_uint_eq(got->bucket_ordinal,
	    want->flags & RECORD_BUCKET ? want->bucket_ordinal : 0);
	ck_assert_uint_eq(
	    got->expiry_ms, want->flags & RECORD_EXPIRY ? want->expiry_ms : 0);
	if (want->flags & RECORD_CODEC) {
		ck_assert_uint_eq(got->codec, want->codec);
		ck_assert_uint_eq(got->plain_len, want->plain_len);
	}
}

START_TEST(every_combination_of_flags_round_trips)
{
	static const size_t key_lens[] = {1, 7, 8, 9, 255, 65535};
	static const size_t value_lens[] = {0, 1, 8, 100, 4096};

	for (unsigned flags = 0; flags < 256; flags++)
		for (unsigned i = 0; i < ARRAY_LEN(key_lens); i++)
			for (unsigned k = 0; k < ARRAY_LEN(value_lens); k++) {
				struct record rec = make(RECORD_PUT, flags,
						  key_lens[i], value_lens[k]),
					      got;
				size_t size;
				uint8_t *p = encode(&rec, SEED, &size);

				ck_assert_uint_eq(size % RECORD_ALIGN, 0);
				ck_assert_int_eq(
				    record_read(p, size, SEED, &got),
				    RECORD_VALID);
				ck_assert_uint_eq(got.size, size);
				check_same(&got, &rec);
				ck_assert(record_value_ok(&got, SEED));
				free(p);
			}
}
END_TEST

START_TEST(a_mark_has_neither_key_nor_value)
{
	struct record rec = make(RECORD_MARK, RECORD_CLEAN, 0, 0), got;
	size_t size;
	uint8_t *p = encode(&rec, SEED, &size);

	ck_assert_uint_eq(size, 32);
	ck_assert_int_eq(record_read(p, size, SEED, &got), RECORD_VALID);
	check_same(&got, &rec);
	ck_assert(record_value_ok(&got, SEED));
	free(p);

	rec = make(RECORD_MARK, 0, 1, 0);
	p = encode(&rec, SEED, &size);
	ck_assert_int_eq(record_read(p, size, SEED, &got), RECORD_INVALID);
	free(p);
}
END_TEST

/* kvlog-format(5), field by field. */
START_TEST(fields_lie_where_the_format_says)
{
	struct record rec = make(RECORD_PUT,
	    RECORD_MORE | RECORD_BUCKET | RECORD_EXPIRY | RECORD_CODEC, 3, 5);
	size_t size;
	uint8_t *p = encode(&rec, SEED, &size);

	ck_assert_uint_eq(size, 28 + 28 + 3 + 5);
	ck_assert_uint_eq(get_u32(p), sum_from(SEED, p + 4, 28 + 28 + 3 - 4));
	ck_assert_uint_eq(get_u32(p + 4), sum_from(SEED, value, 5));
	ck_assert_uint_eq(p[8], 1);
	ck_assert_uint_eq(p[9], 0x01 | 0x02 | 0x04 | 0x08);
	ck_assert_uint_eq(get_u16(p + 10), 3);
	ck_assert_uint_eq(get_u32(p + 12), 5);
	ck_assert_uint_eq(get_u64(p + 16), rec.seq);
	ck_assert_uint_eq(get_u32(p + 24), rec.lag);
	ck_assert_uint_eq(get_u64(p + 28), rec.bucket_seq);
	ck_assert_uint_eq(get_u32(p + 36), rec.bucket_ordinal);
	ck_assert_uint_eq(get_u64(p + 40), rec.expiry_ms);
	ck_assert_uint_eq(get_u32(p + 48), rec.codec);
	ck_assert_uint_eq(get_u32(p + 52), rec.plain_len);
	ck_assert_mem_eq(p + 56, key, 3);
	ck_assert_mem_eq(p + 59, value, 5);
	free(p);
	ck_assert_uint_eq(record_size(0, 16, 100), 144);
	ck_assert_uint_eq(record_size(0, 65535, UINT32_MAX),
	    round_up(UINT64_C(28) + 65535 + UINT32_MAX, 8));
	ck_assert_uint_eq(record_ext_len(0), 0);
	ck_assert_uint_eq(record_ext_len(0xff), RECORD_EXT_MAX);
}
END_TEST

/* In header, extensions and key: not a record; in the value: its key is
 * still known. */
START_TEST(every_flipped_bit_is_noticed)
{
	struct record rec =
	    make(RECORD_PUT, RECORD_EXPIRY | RECORD_CONT, 21, 50);
	size_t size, head = 28 + 8 + 21;
	uint8_t *p = encode(&rec, SEED, &size);

	for (size_t i = 0; i < head + 50; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct record got;
			enum record_state state;

			p[i] ^= (uint8_t)(1u << bit);
			state = record_read(p, size, SEED, &got);
			if (i < head) {
				ck_assert_int_eq(state, RECORD_INVALID);
			} else {
				ck_assert_int_eq(state, RECORD_VALID);
				ck_assert(!record_value_ok(&got, SEED));
				check_same(
				    &got, &(struct record){.type = rec.type,
					      .flags = rec.flags,
					      .key_len = rec.key_len,
					      .lag = rec.lag,
					      .seq = rec.seq,
					      .expiry_ms = rec.expiry_ms,
					      .value_len = rec.value_len,
					      .key = key,
					      .value = got.value});
			}
			p[i] ^= (uint8_t)(1u << bit);
		}
	free(p);
}
END_TEST

START_TEST(sums_belong_to_one_place_of_one_segment)
{
	const uint32_t salt = sum_salt(UINT64_C(0xdeadbeef12345678));
	struct record rec = make(RECORD_PUT, 0, 5, 30), got;
	const uint64_t off = 4608;
	size_t size;
	uint8_t *p = encode(&rec, sum_seed(salt, off), &size);

	ck_assert_int_eq(
	    record_read(p, size, sum_seed(salt, off), &got), RECORD_VALID);
	for (uint64_t other = 0; other < 100000; other += 8) {
		if (other == off)
			continue;
		if (record_read(p, size, sum_seed(salt, other), &got) !=
			RECORD_INVALID ||
		    record_value_ok(&got, sum_seed(salt, other)))
			ck_abort_msg("passes at %" PRIu64, other);
	}
	for (uint64_t other = 1; other < 10000; other++)
		if (record_read(p, size, sum_seed(sum_salt(other), off),
			&got) != RECORD_INVALID)
			ck_abort_msg("passes with salt %" PRIu64, other);
	free(p);

	/* Not even a value of no bytes. */
	rec = make(RECORD_PUT, 0, 5, 0);
	p = encode(&rec, sum_seed(salt, off), &size);
	(void)record_parse(p, size, &got);
	ck_assert(record_value_ok(&got, sum_seed(salt, off)));
	ck_assert(!record_value_ok(&got, sum_seed(salt, off + 8)));
	free(p);
}
END_TEST

/* The buffer ends where the room does: sanitizers see a look beyond. */
START_TEST(parsing_never_leaves_its_room)
{
	struct record rec = make(RECORD_PUT, 0x0f, 33, 60);
	size_t size;
	uint8_t *p = encode(&rec, SEED, &size);

	for (size_t room = 0; room <= size; room++) {
		uint8_t *exact = malloc(room > 0 ? room : 1);
		struct record got;

		ck_assert_ptr_nonnull(exact);
		memcpy(exact, p, room);
		ck_assert_int_eq(record_parse(exact, room, &got), room == size);
		ck_assert_int_eq(record_read(exact, room, SEED, &got),
		    room == size ? RECORD_VALID : RECORD_INVALID);
		free(exact);
	}
	free(p);
}
END_TEST

/* Of a record of which only the beginning is there, no more is touched. */
START_TEST(parsing_touches_the_beginning_only)
{
	struct record got;
	uint8_t *head = malloc(RECORD_HEADER_SIZE + RECORD_EXT_MAX);

	ck_assert_ptr_nonnull(head);
	memset(head, 0, RECORD_HEADER_SIZE + RECORD_EXT_MAX);
	head[8] = RECORD_PUT;
	head[9] = 0x0f;
	put_u16(head + 10, 65535);
	put_u32(head + 12, UINT32_MAX);
	/* The default bucket has no extension. */
	ck_assert(!record_parse(head, UINT64_MAX, &got));
	put_u64(head + RECORD_HEADER_SIZE, 1);
	ck_assert(record_parse(head, UINT64_MAX, &got));
	ck_assert_uint_eq(got.size, record_size(0x0f, 65535, UINT32_MAX));
	ck_assert(record_parse(head, got.size, &got));
	ck_assert(!record_parse(head, got.size - 1, &got));
	ck_assert(!record_parse(head, 0, &got));
	free(head);
}
END_TEST

START_TEST(impossible_fields_are_screened_out)
{
	struct record rec = make(RECORD_PUT, 0, 4, 4), got;
	size_t size;
	uint8_t *p = encode(&rec, SEED, &size);

	p[8] = 0; /* no type */
	ck_assert(!record_parse(p, size, &got));
	p[8] = RECORD_PUT;
	put_u16(p + 10, 0); /* no key */
	ck_assert(!record_parse(p, size, &got));
	p[8] = RECORD_MARK;
	ck_assert(record_parse(p, size, &got));
	put_u16(p + 10, 4);
	ck_assert(!record_parse(p, size, &got));
	p[8] = RECORD_PUT;
	ck_assert(record_parse(p, size, &got));
	put_u32(p + 12, UINT32_MAX); /* a value that does not fit */
	ck_assert(!record_parse(p, size, &got));
	put_u32(p + 12, 4);
	put_u16(p + 10, 65535); /* nor does this key */
	ck_assert(!record_parse(p, size, &got));
	free(p);
}
END_TEST

/* With right sums, but sums of numbers could overflow. */
START_TEST(sequence_numbers_have_a_limit)
{
	static const struct {
		uint64_t seq;
		enum record_state state;
	} tries[] = {{RECORD_SEQ_MAX, RECORD_VALID},
	    {RECORD_SEQ_MAX + 1, RECORD_INVALID}, {UINT64_MAX, RECORD_INVALID}};

	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct record rec = make(RECORD_PUT, 0, 4, 4), got;
		size_t size;
		uint8_t *p;

		rec.seq = tries[i].seq;
		p = encode(&rec, SEED, &size);
		ck_assert_int_eq(
		    record_read(p, size, SEED, &got), tries[i].state);
		free(p);
	}
}
END_TEST

START_TEST(random_bytes_are_no_record)
{
	struct rng rng;

	rng_init(&rng, 99);
	for (unsigned i = 0; i < 200000; i++) {
		size_t room = (size_t)rng_below(&rng, 120);
		uint8_t *p = malloc(room > 0 ? room : 1);
		struct record got;

		ck_assert_ptr_nonnull(p);
		rng_fill(&rng, p, room);
		if (room > 16 && i % 2) {
			/* Lengths that could fit. */
			put_u16(p + 10, (uint16_t)rng_below(&rng, 20));
			put_u32(p + 12, (uint32_t)rng_below(&rng, 80));
		}
		if (record_read(p, room, SEED, &got) != RECORD_INVALID)
			ck_abort_msg("valid after %u", i);
		free(p);
	}
}
END_TEST

/* B10: the number itself says whether to refuse or to skip. */
START_TEST(unknown_types_say_themselves_what_to_do)
{
	for (unsigned type = 1; type < 256; type++) {
		struct record rec =
		    make(type, 0, type == RECORD_MARK ? 0 : 4, 0);
		struct record got;
		size_t size;
		uint8_t *p = encode(&rec, SEED, &size);

		ck_assert_int_eq(record_type_known(type), type <= 3);
		ck_assert_int_eq(record_read(p, size, SEED, &got),
		    type > 3 && type < RECORD_TYPE_IGNORE ? RECORD_UNKNOWN
							  : RECORD_VALID);
		p[1] ^= 1;
		ck_assert_int_eq(
		    record_read(p, size, SEED, &got), RECORD_INVALID);
		free(p);
	}
	ck_assert(!record_type_known(0));
}
END_TEST

START_TEST(lag_attests_what_was_durable)
{
	const uint64_t r = RECORD_RANGE;
	static const uint64_t pairs[][2] = {{1, 0}, {1, 1}, {5, 3}, {5, 5},
	    {UINT64_C(1) << 40, (UINT64_C(1) << 40) - 1}, {UINT32_MAX, 0},
	    {UINT64_C(0x1234567890), UINT64_C(0x1234500000)}};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		uint64_t seq = pairs[i][0], durable = pairs[i][1];

		/* One that does not fit attests nothing, but its range. */
		if (seq - durable < RECORD_LAG_MAX)
			ck_assert_uint_eq(
			    record_attests(seq, record_lag(seq, durable)),
			    durable);
	}
	ck_assert_uint_eq(record_lag(10, 10), 0);
	ck_assert_uint_eq(record_lag(10, 12), 0);
	ck_assert_uint_eq(record_lag(10, 3), 7);
	ck_assert_uint_eq(record_lag(UINT32_MAX, 0), RECORD_LAG_MAX);
	ck_assert_uint_eq(record_lag(UINT64_C(1) << 39, 0), RECORD_LAG_MAX);
	ck_assert_uint_eq(record_attests(UINT32_MAX, RECORD_LAG_MAX), 0);
	ck_assert_uint_eq(record_attests(UINT64_C(1) << 39, RECORD_LAG_MAX), 0);
	/* Before the first commit of a range everything is made durable. */
	ck_assert_uint_eq(record_attests(r, RECORD_LAG_MAX), r - 1);
	ck_assert_uint_eq(record_attests(r + 5, 100), r - 1);
	ck_assert_uint_eq(record_attests(r + 5, 2), r + 3);
	ck_assert_uint_eq(record_attests(3 * r + 5, RECORD_LAG_MAX), 3 * r - 1);
	ck_assert_uint_eq(record_attests(3, 7), 0); /* hostile */
	ck_assert_uint_eq(record_attests(0, 0), 0);
}
END_TEST

START_TEST(a_spoiled_value_fails_its_sum_and_no_other)
{
	struct record rec = make(RECORD_PUT, RECORD_BUCKET, 9, 40), got;
	uint8_t head[RECORD_HEADER_SIZE + RECORD_EXT_MAX], *p;
	unsigned len = record_encode(head, &rec, SEED);
	size_t size;

	record_spoil_value(head, len, &rec, SEED);
	p = encode(&rec, SEED, &size);
	memcpy(p, head, len);
	ck_assert_int_eq(record_read(p, size, SEED, &got), RECORD_VALID);
	ck_assert(!record_value_ok(&got, SEED));
	check_same(&got, &rec);
	free(p);
}
END_TEST

/* What needs no parsing is what parsing would find: of every flag and type, and
 * with every length of room. */
START_TEST(a_put_of_a_key_is_told_without_parsing)
{
	for (unsigned flags = 0; flags <= RECORD_FLAGS_REFUSE; flags++)
		for (unsigned type = RECORD_PUT; type <= RECORD_DELETE;
		     type++) {
			struct record rec = make(type, flags, 16, 20), got;
			bool plain =
			    type == RECORD_PUT &&
			    (flags & ~(RECORD_MORE | RECORD_CONT)) == 0;
			size_t size;
			uint8_t *p = encode(&rec, SEED, &size);

			ck_assert(record_is_put_of(p, size, key, 16) == plain);
			ck_assert(!record_is_put_of(p, size, key, 15));
			ck_assert(!record_is_put_of(p, size, key, 17));
			ck_assert(!record_is_put_of(p, size, key + 1, 16));
			for (size_t room = 0; room < size; room++)
				if (record_is_put_of(p, room, key, 16))
					ck_assert(plain &&
						  record_parse(p, size, &got) &&
						  got.value + got.value_len <=
						      p + room);
			if (plain) {
				size_t len = RECORD_HEADER_SIZE + 16;

				ck_assert(record_head_ok(p, len, SEED));
				p[len - 1] ^= 1;
				ck_assert(!record_head_ok(p, len, SEED));
				ck_assert(!record_is_put_of(p, size, key, 16));
			}
			free(p);
		}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, every_combination_of_flags_round_trips);
	tcase_add_test(tc, a_mark_has_neither_key_nor_value);
	tcase_add_test(tc, fields_lie_where_the_format_says);
	tcase_add_test(tc, every_flipped_bit_is_noticed);
	tcase_add_test(tc, sums_belong_to_one_place_of_one_segment);
	tcase_add_test(tc, parsing_never_leaves_its_room);
	tcase_add_test(tc, parsing_touches_the_beginning_only);
	tcase_add_test(tc, impossible_fields_are_screened_out);
	tcase_add_test(tc, sequence_numbers_have_a_limit);
	tcase_add_test(tc, random_bytes_are_no_record);
	tcase_add_test(tc, unknown_types_say_themselves_what_to_do);
	tcase_add_test(tc, lag_attests_what_was_durable);
	tcase_add_test(tc, a_spoiled_value_fails_its_sum_and_no_other);
	tcase_add_test(tc, a_put_of_a_key_is_told_without_parsing);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
