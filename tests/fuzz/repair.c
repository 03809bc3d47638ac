/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * repair.c - the checksums of segments, hints and the end note.
 */
#include "config.h"

#include "repair.h"

#include "bytes.h"
#include "hint_format.h"
#include "record.h"
#include "segment.h"
#include "sum.h"

#include <string.h>

#define NOTE_OFF 4096u
#define NOTE_LEN 64u

void
repair_segment_head(uint8_t *p, size_t len)
{
	uint8_t salt[8];

	if (len < SEGMENT_DATA_OFF)
		return;
	memcpy(p, "kvlogseg", 8);
	put_u32(p + 8, sum_crc(p + 12, SEGMENT_FIXED_LEN - 12));
	memcpy(salt, p + 64, 8);
	put_u32(p + SEGMENT_LINK_OFF,
	    ~sum_update(sum_update(UINT32_MAX, salt, 8),
		p + SEGMENT_LINK_OFF + 4, SEGMENT_LINK_LEN - 4));
}

void
repair_segment_records(uint8_t *p, size_t len)
{
	uint64_t off = SEGMENT_DATA_OFF;
	uint32_t salt_sum;
	struct record rec;

	if (len < SEGMENT_DATA_OFF)
		return;
	salt_sum = sum_salt(get_u64(p + 64));
	while (len - off >= RECORD_HEADER_SIZE + RECORD_EXT_MAX &&
	       record_parse(p + off, UINT64_MAX, &rec)) {
		uint32_t seed = sum_seed(salt_sum, off);
		size_t covered = (size_t)(rec.key - (p + off)) + rec.key_len;
		bool fits = rec.size <= len - off;

		if (fits)
			put_u32(p + off + 4,
			    sum_from(seed, rec.value, rec.value_len));
		if (covered <= len - off)
			put_u32(
			    p + off, sum_from(seed, p + off + 4, covered - 4));
		if (!fits)
			break;
		off += rec.size;
	}
}

void
repair_hint_blocks(uint8_t *p, size_t len)
{
	uint64_t blocks_off;

	if (len < HINT_HEADER_LEN)
		return;
	blocks_off = get_u64(p + 64);
	for (uint64_t b = 0; b < get_u32(p + 56); b++) {
		uint64_t off = blocks_off + b * BLOCK_SIZE;

		if (off > len || len - off < BLOCK_SIZE)
			break;
		put_u32(p + off, sum_crc(p + off + 4, BLOCK_SIZE - 4));
	}
}

void
repair_hint_head(uint8_t *p, size_t len)
{
	uint32_t header_len;

	if (len < HINT_HEADER_LEN)
		return;
	memcpy(p, HINT_MAGIC, 8);
	header_len = get_u32(p + 20);
	if (header_len >= HINT_HEADER_LEN && header_len <= len)
		put_u32(p + 8, sum_crc(p + 12, (size_t)header_len - 12));
}

void
repair_note(uint8_t *p, size_t len)
{
	if (len < NOTE_OFF + NOTE_LEN)
		return;
	p += NOTE_OFF;
	memcpy(p, "kvlogend", 8);
	put_u32(p + 8, sum_crc(p + 12, NOTE_LEN - 12));
}
