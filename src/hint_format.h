/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint_format.h - the bytes of a hint file, for hint.c, which reads them, and
 * hint_make.c, which writes them.
 *
 *     +--------+---------+- - -+---------+- - - - +-------+- - - - +
 *     | header | entries |     | fences  |        | root  |  far   |
 *     | sources| 4096 B  |     | 4096 B  |        |       | fences |
 *     +--------+---------+- - -+---------+- - - - +-------+- - - - +
 *
 * An entry is 9 or 10 bytes: 40 bits of the key's hash, and type and place of
 * the record.  It holds no key.  Over the entry blocks stands a tree of fence
 * blocks: a fence is the shortest byte string that parts the keys of one
 * block from those of the block before it.  A look-up reads one block of each
 * level and, for nothing but a matching hash, the record.
 *
 * Every block has a checksum of its own, so that opening a hint reads no more
 * than its header.
 *
 *     block    0   4        8       10      12            16
 *              +---+--------+-------+-------+-------------+- - - -
 *              |sum| number | count | level | first child |
 *              +---+--------+-------+-------+-------------+- - - -
 *     entries  hash (5 bytes), location (4 to 8 bytes), ...
 *     fences   count + 1 offsets of 2 bytes into the block, then the fences:
 *              flags (1 byte), bucket id (12 bytes, if flagged), and the
 *              string; or, if it is far: offset, length and sum (8 + 4 + 4)
 */
#ifndef HINT_FORMAT_H
#define HINT_FORMAT_H

#include "base.h"
#include "bytes.h"

#define HINT_MAGIC "kvloghnt"
#define HINT_HEADER_LEN 128u
#define HINT_SOURCE_LEN 64u
#define HINT_SOURCES_MAX (1u << 20)
#define HINT_BLOCK_HEAD 16u
#define HINT_HASH_LEN 5u
#define HINT_KIND_BITS 4u
#define HINT_KIND_EXPIRY 0x8u
#define HINT_KIND_TYPE 0x7u
#define HINT_FEATURES_REFUSE 0xffffu

#define FENCE_BUCKET 0x1u
#define FENCE_FAR 0x2u
#define FENCE_FLAGS 0x3u
#define FENCE_BUCKET_LEN 12u
#define FENCE_FAR_LEN 16u
#define FENCE_NEAR_MAX 255u /* longer strings are far */

/* Bytes before the first block. */
static inline uint64_t
hint_blocks_off(size_t source_count)
{
	return round_up(
	    HINT_HEADER_LEN + HINT_SOURCE_LEN * source_count, BLOCK_SIZE);
}

static inline unsigned
hint_bits_for(uint64_t max)
{
	unsigned bits = 1;

	while (bits < 64 && max >> bits != 0)
		bits++;
	return bits;
}

static inline uint32_t
hint_per_block(unsigned loc_len)
{
	return (BLOCK_SIZE - HINT_BLOCK_HEAD) / (HINT_HASH_LEN + loc_len);
}

#endif
