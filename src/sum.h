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

/* The sum of a segment's salt, and from it the seed of what lies at offset
 * off of that segment: bytes moved elsewhere do not pass. */
uint32_t sum_salt(uint64_t salt);
uint32_t sum_seed(uint32_t salt_sum, uint64_t off);

/* The top SUM_HASH_BITS bits of XXH3 (64 bits) of key under secret. */
uint64_t sum_hash(
    const uint8_t secret[SUM_SECRET_LEN], const void *key, size_t len);

/* sum_update() in portable C: for machines without help, and for tests. */
uint32_t sum_update_table(uint32_t reg, const void *p, size_t len);

#endif
