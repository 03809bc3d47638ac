/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.h - one record: its bytes, its fields and its two checksums.  Pure
 * functions over bytes; no file, no memory of their own.
 *
 *     0       4       8  9  10    12      16          24   28
 *     +-------+-------+--+--+-----+-------+-----------+----+- - -+
 *     |header | value |ty|fl| key |value  | sequence  |lag | ext |
 *     |sum    | sum   |pe|ag| len | len   | number    |    |     |
 *     +-------+-------+--+--+-----+-------+-----------+----+- - -+
 *     | key ... | value ...                   | zeros to 8 bytes |
 *     +---------+-----------------------------+------------------+
 *
 * The header sum covers everything from the value sum to the end of the key;
 * both sums start from a seed of the segment's salt and the record's offset,
 * so that bytes of another file or another place never pass (kvlog-format(5)).
 */
#ifndef RECORD_H
#define RECORD_H

#include "base.h"
#include "bytes.h"
#include "sum.h"

#include <string.h>

#define RECORD_ALIGN 8u
#define RECORD_HEADER_SIZE 28u
#define RECORD_EXT_MAX 28u
#define RECORD_LAG_MAX UINT32_MAX /* saturated: attests nothing */
/* Sequence numbers beyond this are not believed: sums with them stay far
 * from overflow. */
#define RECORD_SEQ_MAX (UINT64_MAX >> 1)
#define RECORD_RANGE (UINT64_C(1) << 40) /* sequence numbers in a range */

enum record_type {
	RECORD_PUT = 1,
	RECORD_DELETE = 2, /* a tombstone */
	RECORD_MARK = 3,   /* no commit: says what is durable */
};
/* Types from here on are skipped by readers that do not know them; unknown
 * smaller ones are refused. */
#define RECORD_TYPE_IGNORE 0x80u

#define RECORD_MORE 0x01u         /* more records of this commit follow */
#define RECORD_CONT 0x20u         /* records of this commit precede */
#define RECORD_BUCKET 0x02u       /* has a bucket id */
#define RECORD_EXPIRY 0x04u       /* has an expiry time */
#define RECORD_CODEC 0x08u        /* the value is encoded */
#define RECORD_CLEAN 0x10u        /* of a mark: the store was closed here */
#define RECORD_FLAGS_REFUSE 0x3fu /* all of these have a meaning */

struct record {
	uint8_t type;  /* enum record_type, or one that may be ignored */
	uint8_t flags; /* RECORD_* */
	uint16_t key_len;
	uint32_t value_len;
	uint32_t lag; /* seq - last durable when written, saturating */
	uint32_t value_sum;
	uint64_t seq;
	uint64_t bucket_seq; /* id of the bucket; see bucket_is_default() */
	uint32_t bucket_ordinal;
	uint32_t codec;     /* if RECORD_CODEC */
	uint32_t plain_len; /* if RECORD_CODEC: bytes when decoded */
	uint64_t expiry_ms; /* if RECORD_EXPIRY: since 1970 */
	const uint8_t *key;
	const uint8_t *value;
	uint64_t size; /* with padding; multiple of RECORD_ALIGN */
};

/*
 * The id of a bucket is the sequence number of the commit that created it and
 * an ordinal that no other creation in that commit has; it is never used again.
 * Two have a meaning of their own: 0, 0 is the default bucket, whose records do
 * without the extension, and 0, 1 the catalogue, whose keys are the names of
 * all other buckets and whose values are their ids.
 */
#define BUCKET_CATALOGUE_ORDINAL 1u

static inline bool
bucket_is_default(uint64_t seq, uint32_t ordinal)
{
	return (seq | ordinal) == 0;
}

static inline bool
bucket_is_catalogue(uint64_t seq, uint32_t ordinal)
{
	return seq == 0 && ordinal == BUCKET_CATALOGUE_ORDINAL;
}

/* The flags that say where a key is, and that it expires; 0: never. */
static inline unsigned
record_flags_of(
    uint64_t bucket_seq, uint32_t bucket_ordinal, uint64_t expiry_ms)
{
	return (bucket_is_default(bucket_seq, bucket_ordinal) ? 0
							      : RECORD_BUCKET) |
	       (expiry_ms != 0 ? RECORD_EXPIRY : 0);
}

/* Bytes of the extensions that flags call for. */
#define RECORD_BUCKET_LEN 12u
#define RECORD_EXPIRY_LEN 8u
#define RECORD_CODEC_LEN 8u
static_assert(
    RECORD_EXT_MAX == RECORD_BUCKET_LEN + RECORD_EXPIRY_LEN + RECORD_CODEC_LEN,
    "room for all extensions");
static inline unsigned
record_ext_len(unsigned flags)
{
	return (flags & RECORD_BUCKET ? RECORD_BUCKET_LEN : 0) +
	       (flags & RECORD_EXPIRY ? RECORD_EXPIRY_LEN : 0) +
	       (flags & RECORD_CODEC ? RECORD_CODEC_LEN : 0);
}

/* As the interface tells it: 0 is never there. */
static inline uint64_t
record_expires_ms(const struct record *rec)
{
	return (rec->flags & RECORD_EXPIRY) == 0 ? 0
	       : rec->expiry_ms != 0             ? rec->expiry_ms
						 : 1;
}

/* Whether it has no value any more at a time, in ms since 1970. */
static inline bool
record_has_expired(const struct record *rec, uint64_t now_ms)
{
	return (rec->flags & RECORD_EXPIRY) != 0 && rec->expiry_ms <= now_ms;
}

/* Size in the file of a record with these fields. */
static inline uint64_t
record_size(unsigned flags, size_t key_len, size_t value_len)
{
	return round_up((uint64_t)RECORD_HEADER_SIZE + record_ext_len(flags) +
			    key_len + value_len,
	    RECORD_ALIGN);
}

/*
 * Write header, extensions and sums of *rec into buf (at least
 * RECORD_HEADER_SIZE + RECORD_EXT_MAX bytes); returns how many.  key and
 * value are read for their sums, not copied.  seed: see sum_seed().
 */
unsigned record_encode(uint8_t *buf, const struct record *rec, uint32_t seed);

/* All but the sums, in the words that they are then computed of: what was
 * stored in smaller parts, a processor has to wait for. */
static inline void
record_put_fields(uint8_t *buf, const struct record *rec)
{
	put_u64(buf + 4, (uint64_t)rec->type << 32 |
			     (uint64_t)rec->flags << 40 |
			     (uint64_t)rec->key_len << 48);
	put_u64(buf + 12, rec->value_len | rec->seq << 32);
	put_u64(buf + 20, rec->seq >> 32 | (uint64_t)rec->lag << 32);
}

/* All of a record without extensions: record_size() bytes, and RECORD_ALIGN
 * more may be touched. */
static inline void
record_write(uint8_t *buf, const struct record *rec, uint32_t seed)
{
	uint8_t *p = buf + RECORD_HEADER_SIZE;

	assert(record_ext_len(rec->flags) == 0);
	record_put_fields(buf, rec);
	bytes_copy(p, rec->key, rec->key_len);
	p += rec->key_len;
	sum_pair_set(buf, (size_t)(p - buf), rec->value, rec->value_len, seed);
	if (rec->value_len > 0)
		memcpy(p, rec->value, rec->value_len);
	memset(p + rec->value_len, 0, RECORD_ALIGN);
}

/* The same of any record. */
static inline void
record_write_any(uint8_t *buf, const struct record *rec, uint32_t seed)
{
	uint8_t *p = buf + record_encode(buf, rec, seed);

	memcpy(p, rec->key, rec->key_len);
	p += rec->key_len;
	if (rec->value_len > 0)
		memcpy(p, rec->value, rec->value_len);
	memset(p + rec->value_len, 0, RECORD_ALIGN);
}

/* Change the sum of the value in an encoded head of len bytes, so that the
 * value fails it: a damaged value stays damaged when it is copied. */
void record_spoil_value(
    uint8_t *buf, unsigned len, const struct record *rec, uint32_t seed);

/* What stands at a place. */
enum record_state {
	RECORD_VALID,   /* fields and key are as they were written */
	RECORD_INVALID, /* not a record, or damaged */
	RECORD_UNKNOWN, /* written by a newer version: refuse */
};

/*
 * Read the fields at p, of which room bytes may be looked at, without
 * believing them: true if they could be a record that fits into room.  Only
 * the first RECORD_HEADER_SIZE + RECORD_EXT_MAX bytes (or room, if less) are
 * touched.
 */
bool record_parse(const uint8_t *p, uint64_t room, struct record *ret_rec);

/*
 * Without parsing: whether at p, of which room bytes may be looked at, stands
 * what looks like a put of this key without extensions, which nearly all
 * records are.  Its header sum is that of record_head_ok().
 */
static inline bool
record_is_put_of(
    const uint8_t *p, uint64_t room, const void *key, size_t key_len)
{
	/* Type, flags and length of the key in one word. */
	const uint32_t ignored = (uint32_t)(RECORD_MORE | RECORD_CONT) << 8;
	const size_t head_len = RECORD_HEADER_SIZE + key_len;

	return room >= head_len &&
	       (get_u32(p + 8) & ~ignored) ==
		   (RECORD_PUT | (uint32_t)key_len << 16) &&
	       get_u32(p + 12) <= room - head_len &&
	       bytes_equal(p + RECORD_HEADER_SIZE, key, key_len);
}

/* The length of the value of such a record. */
static inline uint32_t
record_plain_len(const uint8_t *p)
{
	return get_u32(p + 12);
}

/* Verify the header sum of a record at p, head_len bytes of which are header,
 * extensions and key. */
static inline bool
record_head_ok(const uint8_t *p, size_t head_len, uint32_t seed)
{
	return sum_from(seed, p + 4, head_len - 4) == get_u32(p);
}

/* A record that record_is_put_of() its key, so that the rest of it is had
 * without parsing, too. */
struct record_plain {
	const uint8_t *p;
	size_t head_len; /* then comes the value */
	uint32_t seed;   /* of its sums, which sum_pair_ok() verifies */
};

static inline const uint8_t *
record_plain_value(const struct record_plain *plain, uint32_t *ret_len)
{
	*ret_len = record_plain_len(plain->p);
	return plain->p + plain->head_len;
}

static inline uint64_t
record_plain_seq(const struct record_plain *plain)
{
	return get_u64(plain->p + 16);
}

static inline bool
record_plain_ok(const struct record_plain *plain)
{
	return sum_pair_ok(
	    plain->p, plain->head_len, record_plain_len(plain->p), plain->seed);
}

/* Verify the header sum of a record parsed at p. */
bool record_header_ok(
    const uint8_t *p, const struct record *rec, uint32_t seed);

/* Verify the sum of the value. */
bool record_value_ok(const struct record *rec, uint32_t seed);

/* record_parse() and record_header_ok(), and what they mean together. */
enum record_state record_read(
    const uint8_t *p, uint64_t room, uint32_t seed, struct record *ret_rec);

/* The first number of the range behind the one that seq is in. */
static inline uint64_t
record_next_range(uint64_t seq)
{
	return (seq / RECORD_RANGE + 1) * RECORD_RANGE;
}

/* Whether readers of this version know the type. */
bool record_type_known(unsigned type);

/* The sequence number up to which a valid record attests that everything was
 * durable when it was written. */
uint64_t record_attests(uint64_t seq, uint32_t lag);

/* The lag to write for a commit or mark seq while durable is durable. */
uint32_t record_lag(uint64_t seq, uint64_t durable);

#endif
