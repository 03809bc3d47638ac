/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sum.h - checksums and hashes; the only user of libisal and xxHash.
 */
#ifndef SUM_H
#define SUM_H

#include "base.h"

#define SUM_SECRET_LEN 192 /* bytes: the least that XXH3 likes is 136 */
#define SUM_HASH_BITS 40

/* The CRC-32C register after len more bytes.  No inversion on either side,
 * so that a run may be fed in pieces.  Any len; p may be NULL if it is 0. */
uint32_t sum_update(uint32_t reg, const void *p, size_t len);

/* CRC-32C as usually written down: of RFC 3720, iSCSI, ext4. */
uint32_t sum_crc(const void *p, size_t len);

/* CRC-32C that starts from seed instead of from all ones. */
uint32_t sum_from(uint32_t seed, const void *p, size_t len);

/*
 * Verify two runs that stand one behind the other, as a head and a value do:
 * at p, the sum of the head, that is of what follows up to head_len; and in the
 * 4 bytes behind it, that of the value_len bytes behind the head.
 */
bool sum_pair_ok(
    const uint8_t *p, size_t head_len, size_t value_len, uint32_t seed);

/*
 * Set both sums of such a head, whose value need not stand behind it yet: all
 * of the head but its first 8 bytes is there.  At least 12 bytes of head.
 */
void sum_pair_set(uint8_t *p, size_t head_len, const void *value,
    size_t value_len, uint32_t seed);

/* The sum of a segment's salt, and from it the seed of what lies at offset
 * off of that segment: bytes moved elsewhere do not pass. */
uint32_t sum_salt(uint64_t salt);
static inline uint32_t
sum_seed(uint32_t salt_sum, uint64_t off)
{
	return salt_sum ^ (uint32_t)(off / 8);
}

/*
 * Sums of many parts of the same bytes, each in about the same time whatever
 * its length: for whoever has to try a long header at every place.
 */
#define SUM_SPANS_MAX (256u * 1024)     /* bytes that parts are of */
#define SUM_SPAN_MAX (64u * 1024 + 255) /* bytes of a part */
#define SUM_SPANS_STEP 64u
struct sum_spans {
	const uint8_t *bytes; /* NULL: not set yet */
	/* What moves a register over n and over 256 n zero bytes. */
	uint32_t low[256], high[257];
	/* The register, from 0, after each so many bytes. */
	uint32_t regs[SUM_SPANS_MAX / SUM_SPANS_STEP + 1];
};

void sum_spans_init(struct sum_spans *spans);
/* bytes are the caller's, and stay; at most SUM_SPANS_MAX. */
void sum_spans_set(struct sum_spans *spans, const void *bytes, size_t len);
/* sum_from() of len of them from at on. */
uint32_t sum_span(
    const struct sum_spans *spans, uint32_t seed, size_t at, size_t len);

/* The top SUM_HASH_BITS bits of XXH3 (64 bits) of key under secret. */
uint64_t sum_hash(
    const uint8_t secret[SUM_SECRET_LEN], const void *key, size_t len);

/* sum_update() in portable C: for machines without help, and for tests. */
uint32_t sum_update_table(uint32_t reg, const void *p, size_t len);

#endif
