/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.c - bytes <-> struct record.
 *
 * A length is believed only after the header sum has been verified; before
 * that, record_parse() merely screens: it never looks past the room it was
 * given, and drops most garbage before a sum is computed.
 */
#include "config.h"

#include "record.h"

#include "bytes.h"
#include "sum.h"

#include <string.h>

bool
record_type_known(unsigned type)
{
	return type >= RECORD_PUT && type <= RECORD_MARK;
}

static unsigned
encode_ext(uint8_t *p, const struct record *rec)
{
	uint8_t *start = p;

	if (rec->flags & RECORD_BUCKET) {
		put_u64(p, rec->bucket_seq);
		put_u32(p + 8, rec->bucket_ordinal);
		p += RECORD_BUCKET_LEN;
	}
	if (rec->flags & RECORD_EXPIRY) {
		put_u64(p, rec->expiry_ms);
		p += RECORD_EXPIRY_LEN;
	}
	if (rec->flags & RECORD_CODEC) {
		put_u32(p, rec->codec);
		put_u32(p + 4, rec->plain_len);
		p += RECORD_CODEC_LEN;
	}
	return (unsigned)(p - start);
}

static void
decode_ext(const uint8_t *p, struct record *rec)
{
	if (rec->flags & RECORD_BUCKET) {
		rec->bucket_seq = get_u64(p);
		rec->bucket_ordinal = get_u32(p + 8);
		p += RECORD_BUCKET_LEN;
	}
	if (rec->flags & RECORD_EXPIRY) {
		rec->expiry_ms = get_u64(p);
		p += RECORD_EXPIRY_LEN;
	}
	if (rec->flags & RECORD_CODEC) {
		rec->codec = get_u32(p);
		rec->plain_len = get_u32(p + 4);
	}
}

/* len bytes of header and extensions are in buf. */
static void
put_header_sum(
    uint8_t *buf, unsigned len, const struct record *rec, uint32_t seed)
{
	uint32_t sum = sum_update(seed, buf + 4, len - 4);

	put_u32(buf, ~sum_update(sum, rec->key, rec->key_len));
}

unsigned
record_encode(uint8_t *buf, const struct record *rec, uint32_t seed)
{
	unsigned len = RECORD_HEADER_SIZE;

	record_put_fields(buf, rec);
	len += encode_ext(buf + len, rec);
	put_u32(buf + 4, sum_from(seed, rec->value, rec->value_len));
	put_header_sum(buf, len, rec, seed);
	return len;
}

void
record_spoil_value(
    uint8_t *buf, unsigned len, const struct record *rec, uint32_t seed)
{
	put_u32(buf + 4, ~get_u32(buf + 4));
	put_header_sum(buf, len, rec, seed);
}

bool
record_parse(const uint8_t *p, uint64_t room, struct record *ret_rec)
{
	unsigned ext_len;

	if (room < RECORD_HEADER_SIZE)
		return false;
	ret_rec->type = p[8];
	ret_rec->flags = p[9];
	ret_rec->key_len = get_u16(p + 10);
	if (ret_rec->type == 0 ||
	    (ret_rec->type == RECORD_MARK) != (ret_rec->key_len == 0))
		return false;
	ret_rec->value_sum = get_u32(p + 4);
	ret_rec->value_len = get_u32(p + 12);
	ret_rec->seq = get_u64(p + 16);
	if (ret_rec->seq > RECORD_SEQ_MAX)
		return false;
	ret_rec->lag = get_u32(p + 24);

	ext_len = record_ext_len(ret_rec->flags);
	ret_rec->size =
	    record_size(ret_rec->flags, ret_rec->key_len, ret_rec->value_len);
	if (ret_rec->size > room)
		return false;
	ret_rec->bucket_seq = 0;
	ret_rec->bucket_ordinal = 0;
	ret_rec->expiry_ms = 0;
	if (ext_len > 0) {
		decode_ext(p + RECORD_HEADER_SIZE, ret_rec);
		/* That one goes without saying. */
		if ((ret_rec->flags & RECORD_BUCKET) != 0 &&
		    bucket_is_default(
			ret_rec->bucket_seq, ret_rec->bucket_ordinal))
			return false;
	}
	ret_rec->key = p + RECORD_HEADER_SIZE + ext_len;
	ret_rec->value = ret_rec->key + ret_rec->key_len;
	return true;
}

bool
record_header_ok(const uint8_t *p, const struct record *rec, uint32_t seed)
{
	return record_head_ok(p, (size_t)(rec->key - p) + rec->key_len, seed);
}

bool
record_value_ok(const struct record *rec, uint32_t seed)
{
	return sum_from(seed, rec->value, rec->value_len) == rec->value_sum;
}

enum record_state
record_read(
    const uint8_t *p, uint64_t room, uint32_t seed, struct record *ret_rec)
{
	if (!record_parse(p, room, ret_rec) ||
	    !record_header_ok(p, ret_rec, seed))
		return RECORD_INVALID;
	if (!record_type_known(ret_rec->type) &&
	    ret_rec->type < RECORD_TYPE_IGNORE)
		return RECORD_UNKNOWN;
	return RECORD_VALID;
}

uint64_t
record_attests(uint64_t seq, uint32_t lag)
{
	uint64_t before_range = seq - seq % RECORD_RANGE;

	/* Before the first commit of a range everything is made durable. */
	if (before_range > 0)
		before_range--;
	if (lag == RECORD_LAG_MAX || lag > seq)
		return before_range;
	return max_u64(seq - lag, before_range);
}

uint32_t
record_lag(uint64_t seq, uint64_t durable)
{
	uint64_t lag = seq > durable ? seq - durable : 0;

	return (uint32_t)min_u64(lag, RECORD_LAG_MAX);
}
