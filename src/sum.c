/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sum.c - checksums and hashes.
 *
 * CRC-32C (polynomial 0x1edc6f41, bits reflected) comes in three ways, all
 * with one result: the processor's instruction for short runs, libisal for
 * long ones, tables where there is neither.  All is set up before main(), so
 * there is nothing for threads to race for.
 */
#include "config.h"

#include "sum.h"

#include <string.h>

#if HAVE_ISAL
#include <isa-l/crc.h>
#endif

#include "bytes.h"
#include "sum_inline.h"

#if SUM_HAVE_INSTRUCTION && defined __GLIBC__
#if __GLIBC_PREREQ(2, 33)
#include <sys/platform/x86.h>
#define HAVE_CPU_FEATURES 1
#endif
#endif
#ifndef HAVE_CPU_FEATURES
#define HAVE_CPU_FEATURES 0
#endif

/*
 * table[k][b] is the register after byte b and k zero bytes.  It is linear
 * in the bits of b: a constant expression gives it from the values for the
 * eight powers of two, which is all that is written down here.
 */
#define XOR_BIT(b, i, basis) ((b) >> (i)&1 ? (basis) : 0)
#define T1(b, x0, x1, x2, x3, x4, x5, x6, x7)                                  \
	(XOR_BIT(b, 0, x0) ^ XOR_BIT(b, 1, x1) ^ XOR_BIT(b, 2, x2) ^           \
	    XOR_BIT(b, 3, x3) ^ XOR_BIT(b, 4, x4) ^ XOR_BIT(b, 5, x5) ^        \
	    XOR_BIT(b, 6, x6) ^ XOR_BIT(b, 7, x7))
#define T4(b, ...)                                                             \
	T1((b), __VA_ARGS__), T1((b) + 1, __VA_ARGS__),                        \
	    T1((b) + 2, __VA_ARGS__), T1((b) + 3, __VA_ARGS__)
#define T16(b, ...)                                                            \
	T4((b), __VA_ARGS__), T4((b) + 4, __VA_ARGS__),                        \
	    T4((b) + 8, __VA_ARGS__), T4((b) + 12, __VA_ARGS__)
#define T64(b, ...)                                                            \
	T16((b), __VA_ARGS__), T16((b) + 16, __VA_ARGS__),                     \
	    T16((b) + 32, __VA_ARGS__), T16((b) + 48, __VA_ARGS__)
#define SLICE(...)                                                             \
	{                                                                      \
		T64(0, __VA_ARGS__), T64(64, __VA_ARGS__),                     \
		    T64(128, __VA_ARGS__), T64(192, __VA_ARGS__)               \
	}

/* clang-format off */
static const uint32_t table[8][256] = {
	SLICE(0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu,
	    0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u),
	SLICE(0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u,
	    0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u),
	SLICE(0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u,
	    0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u),
	SLICE(0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u,
	    0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu),
	SLICE(0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u,
	    0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu),
	SLICE(0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu,
	    0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u),
	SLICE(0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u,
	    0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u),
	SLICE(0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau,
	    0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u),
};
/* clang-format on */

uint32_t
sum_update_table(uint32_t reg, const void *p, size_t len)
{
	const uint8_t *bytes = p;

	for (; len >= 8; bytes += 8, len -= 8) {
		uint32_t lo = reg ^ get_u32(bytes);
		uint32_t hi = get_u32(bytes + 4);

		reg = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^
		      table[5][lo >> 16 & 0xff] ^ table[4][lo >> 24] ^
		      table[3][hi & 0xff] ^ table[2][hi >> 8 & 0xff] ^
		      table[1][hi >> 16 & 0xff] ^ table[0][hi >> 24];
	}
	for (; len > 0; bytes++, len--)
		reg = reg >> 8 ^ table[0][(reg ^ *bytes) & 0xff];
	return reg;
}

#if SUM_HAVE_INSTRUCTION

SUM_TARGET static inline uint32_t
update_word(uint32_t reg, uint64_t word)
{
	return (uint32_t)__builtin_ia32_crc32di(reg, word);
}

#if HAVE_CPU_FEATURES
/*
 * glibc has asked the processor already.  The compiler's own way asks again
 * whenever a program starts, and in a virtual machine each question is a trip
 * to its host: 47 us of a kvlog get that takes 600.  Whoever comes before
 * this constructor goes by the tables, with the same result.
 */
__attribute__((constructor)) static void
look_for_instruction(void)
{
	sum_instruction = CPU_FEATURE_ACTIVE(SSE4_2);
}
#else
__attribute__((constructor)) static void
look_for_instruction(void)
{
	__builtin_cpu_init();
	sum_instruction = __builtin_cpu_supports("sse4.2");
}
#endif

bool sum_instruction;

#else

static inline uint32_t
update_word(uint32_t reg, uint64_t word)
{
	uint8_t bytes[8];

	put_u64(bytes, word);
	return sum_update_table(reg, bytes, sizeof bytes);
}

#endif

static uint32_t
update_long(uint32_t reg, const void *p, size_t len)
{
#if HAVE_ISAL
	/* Its length is an int, and its pointer is not const. */
	const size_t chunk = (size_t)1 << 30;
	unsigned char *bytes = (unsigned char *)(uintptr_t)p;

	for (; len > chunk; bytes += chunk, len -= chunk)
		reg = crc32_iscsi(bytes, (int)chunk, reg);
	return crc32_iscsi(bytes, (int)len, reg);
#else
	return sum_has_instruction() ? sum_update_instruction(reg, p, len)
				     : sum_update_table(reg, p, len);
#endif
}

/*
 * A put and a get each sum a header of about 44 bytes and a value of about
 * 100.  Nanoseconds per sum, one after the other, on an AMD Zen 5 at 2.6 GHz
 * (libisal 2.30):
 *
 *     bytes          40    44   100   128   192   256   512  1000
 *     libisal      17.1  17.2  26.3  28.2  37.2  20.0  22.2  59.7
 *     instruction   5.2   6.1  10.9  13.1  18.6  24.4  46.9  90.4
 */

static inline uint32_t
update(uint32_t reg, const void *p, size_t len)
{
	if (LIKELY(len < SUM_SHORT_LEN && sum_has_instruction()))
		return sum_update_instruction(reg, p, len);
	return update_long(reg, p, len);
}

uint32_t
sum_update(uint32_t reg, const void *p, size_t len)
{
	return update(reg, p, len);
}

uint32_t
sum_crc(const void *p, size_t len)
{
	return ~sum_update(UINT32_MAX, p, len);
}

uint32_t
sum_from(uint32_t seed, const void *p, size_t len)
{
	return ~update(seed, p, len);
}

bool
sum_pair_ok_long(
    const uint8_t *p, size_t head_len, size_t value_len, uint32_t seed)
{
	return sum_from(seed, p + 4, head_len - 4) == get_u32(p) &&
	       sum_from(seed, p + head_len, value_len) == get_u32(p + 4);
}

bool
sum_pair_ok(const uint8_t *p, size_t head_len, size_t value_len, uint32_t seed)
{
	return sum_has_instruction()
		   ? sum_pair_ok_instruction(p, head_len, value_len, seed)
		   : sum_pair_ok_long(p, head_len, value_len, seed);
}

/* The word that the value's sum is in is taken as it is made: to read what was
 * stored just now in parts, a processor has to wait. */
SUM_TARGET static void
pair_set_instruction(uint8_t *p, size_t head_len, const void *value,
    size_t value_len, uint32_t seed)
{
	uint32_t sum = ~sum_update_instruction(seed, value, value_len);
	uint64_t word = (uint64_t)get_u32(p + 8) << 32 | sum;

	put_u64(p + 4, word);
	put_u32(p, ~sum_update_instruction(
		       update_word(seed, word), p + 12, head_len - 12));
}

void
sum_pair_set(uint8_t *p, size_t head_len, const void *value, size_t value_len,
    uint32_t seed)
{
	if (LIKELY((head_len | value_len) < SUM_SHORT_LEN &&
		   sum_has_instruction())) {
		pair_set_instruction(p, head_len, value, value_len, seed);
		return;
	}
	put_u32(p + 4, sum_from(seed, value, value_len));
	put_u32(p, sum_from(seed, p + 4, head_len - 4));
}

/*
 * A register is a polynomial over the field of two elements, modulo that of
 * the CRC; bit 31 is the constant.  A byte more multiplies it by x^8 and adds
 * the byte, so a run of bytes is linear: the register after bytes a to b,
 * begun with r, is that after all up to b, plus (r plus that after all up to
 * a) times x^8 for each byte from a to b.
 */
#define POLYNOMIAL 0x82f63b78u
#define POLYNOMIAL_1 0x80000000u  /* 1 */
#define POLYNOMIAL_X8 0x00800000u /* x^8 */

static uint32_t
multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (unsigned i = 0; i < 32; i++) {
		product ^= b & (0u - (a >> 31));
		a <<= 1;
		b = b >> 1 ^ (POLYNOMIAL & (0u - (b & 1)));
	}
	return product;
}

void
sum_spans_init(struct sum_spans *spans)
{
	spans->bytes = NULL;
	spans->low[0] = spans->high[0] = POLYNOMIAL_1;
	for (unsigned i = 1; i < ARRAY_LEN(spans->low); i++)
		spans->low[i] = multiply(spans->low[i - 1], POLYNOMIAL_X8);
	spans->high[1] = multiply(spans->low[255], POLYNOMIAL_X8);
	for (unsigned i = 2; i < ARRAY_LEN(spans->high); i++)
		spans->high[i] = multiply(spans->high[i - 1], spans->high[1]);
}

void
sum_spans_set(struct sum_spans *spans, const void *bytes, size_t len)
{
	size_t steps = len / SUM_SPANS_STEP;

	assert(len <= SUM_SPANS_MAX);
	spans->bytes = bytes;
	spans->regs[0] = 0;
	for (size_t i = 0; i < steps; i++)
		spans->regs[i + 1] = sum_update(spans->regs[i],
		    spans->bytes + i * SUM_SPANS_STEP, SUM_SPANS_STEP);
}

/* The register after the first so many bytes, from 0. */
static uint32_t
reg_after(const struct sum_spans *spans, size_t len)
{
	size_t rest = len % SUM_SPANS_STEP;

	return sum_update(spans->regs[len / SUM_SPANS_STEP],
	    spans->bytes + (len - rest), rest);
}

uint32_t
sum_span(const struct sum_spans *spans, uint32_t seed, size_t at, size_t len)
{
	uint32_t reg = seed ^ reg_after(spans, at);

	assert(len <= SUM_SPAN_MAX);
	reg = multiply(reg, spans->low[len & 255]);
	reg = multiply(reg, spans->high[len >> 8]);
	return ~(reg ^ reg_after(spans, at + len));
}

uint32_t
sum_salt(uint64_t salt)
{
	uint8_t bytes[8];

	put_u64(bytes, salt);
	return sum_crc(bytes, sizeof bytes);
}

/* Apart from short keys, which then need none of its registers. */
ATTR_NOINLINE uint64_t
sum_hash_long(const uint8_t *secret, const void *key, size_t len)
{
	return XXH3_64bits_withSecret(key, len, secret, SUM_SECRET_LEN) >>
	       (64 - SUM_HASH_BITS);
}

ATTR_FLATTEN uint64_t
sum_hash(const uint8_t secret[SUM_SECRET_LEN], const void *key, size_t len)
{
	return sum_hash_inline(secret, key, len);
}
