/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sum_inline.h - hash and checksums of short runs, for the one path in whose
 * code they stand: a get.  A call costs little but the registers that have to
 * be saved around it, and those are what the processor runs out of while it
 * waits for the memory of several gets together.
 *
 * What has SUM_TARGET is inlined into functions that have it, too, and those
 * are called only if sum_may_inline().
 */
#ifndef SUM_INLINE_H
#define SUM_INLINE_H

#include "bytes.h"
#include "sum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined __GNUC__ && defined __x86_64__
#define SUM_HAVE_INSTRUCTION 1
#define SUM_TARGET __attribute__((target("sse4.2")))
#else
#define SUM_HAVE_INSTRUCTION 0
#define SUM_TARGET
#endif

/* From here on libisal is faster; see sum.c.  A power of two. */
#define SUM_SHORT_LEN 256u

bool sum_pair_ok_long(
    const uint8_t *p, size_t head_len, size_t value_len, uint32_t seed);
uint64_t sum_hash_long(const uint8_t *secret, const void *key, size_t len);

#if SUM_HAVE_INSTRUCTION

extern bool sum_instruction ATTR_LOCAL;
static inline bool
sum_has_instruction(void)
{
	return sum_instruction;
}
static inline bool
sum_may_inline(void)
{
	return sum_instruction;
}

/* x86: the byte order is the format's own. */
static inline uint64_t
sum_native_u64(const uint8_t *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, 8);
	return v;
}

/* p may be NULL where len is 0: NULL + 0 is NULL for all compilers, and for
 * the C that comes.  A test of it would cost each get a register. */
#ifdef __clang__
__attribute__((no_sanitize("pointer-overflow")))
#endif
SUM_TARGET static inline uint32_t
sum_update_instruction(uint32_t reg, const void *p, size_t len)
{
	const uint8_t *bytes = p, *end = bytes + (len & ~(size_t)31);
	uint64_t wide = reg;

	for (; bytes != end; bytes += 32) {
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes));
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes + 8));
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes + 16));
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes + 24));
	}
	if (len & 16) {
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes));
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes + 8));
		bytes += 16;
	}
	if (len & 8) {
		wide = __builtin_ia32_crc32di(wide, sum_native_u64(bytes));
		bytes += 8;
	}
	reg = (uint32_t)wide;
	if ((len & 7) == 0)
		return reg;
	if (len & 4)
		reg = __builtin_ia32_crc32si(reg, get_u32(bytes));
	if (len & 2)
		reg = __builtin_ia32_crc32hi(reg, get_u16(bytes + (len & 4)));
	if (len & 1)
		reg = __builtin_ia32_crc32qi(reg, bytes[len & 6]);
	return reg;
}

#else

static inline bool
sum_has_instruction(void)
{
	return false;
}
static inline bool
sum_may_inline(void)
{
	return true;
}

static inline uint32_t
sum_update_instruction(uint32_t reg, const void *p, size_t len)
{
	return sum_update(reg, p, len);
}

#endif

/* sum_pair_ok() */
SUM_TARGET static inline bool
sum_pair_ok_instruction(
    const uint8_t *p, size_t head_len, size_t value_len, uint32_t seed)
{
	uint32_t head, value;

	if (UNLIKELY(head_len >= SUM_SHORT_LEN || value_len >= SUM_SHORT_LEN))
		return sum_pair_ok_long(p, head_len, value_len, seed);
	head = sum_update_instruction(seed, p + 4, head_len - 4);
	value = sum_update_instruction(seed, p + head_len, value_len);
	return (head ^ get_u32(p)) == UINT32_MAX &&
	       (value ^ get_u32(p + 4)) == UINT32_MAX;
}

/* sum_hash() */
static inline uint64_t
sum_hash_inline(const uint8_t *secret, const void *key, size_t len)
{
	static_assert(SUM_SECRET_LEN >= XXH3_SECRET_SIZE_MIN, "short secret");
	if (len > 16)
		return sum_hash_long(secret, key, len);
	return XXH3_64bits_withSecret(key, len, secret, SUM_SECRET_LEN) >>
	       (64 - SUM_HASH_BITS);
}

#endif
