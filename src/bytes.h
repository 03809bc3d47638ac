/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bytes.h - little-endian integers in byte strings of any alignment.
 *
 * The only way in which kvlog reads or writes a number of the portable
 * format.  Compilers turn each into one load or store where the machine has
 * it.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t
get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static inline uint64_t
get_u64(const uint8_t *p)
{
	return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* n is 1 to 8. */
static inline uint64_t
get_uint(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

/* memcmp() says the same; but here, strings of the length of most keys cost no
 * call. */
static inline bool
bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	if (n < 8 || n > 16)
		return memcmp(a, b, n) == 0;
	return get_u64(a) == get_u64(b) &&
	       get_u64(a + n - 8) == get_u64(b + n - 8);
}

/* memcpy() does the same; likewise.  If n is 0, pointers may be NULL. */
static inline void
bytes_copy(uint8_t *to, const uint8_t *from, size_t n)
{
	uint64_t head, tail;

	if (n < 8 || n > 16) {
		if (n > 0)
			memcpy(to, from, n);
		return;
	}
	memcpy(&head, from, 8);
	memcpy(&tail, from + n - 8, 8);
	memcpy(to, &head, 8);
	memcpy(to + n - 8, &tail, 8);
}

static inline void
put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void
put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

/* Where the machine has the same order, in one store whatever the compiler
 * makes of bytes: what is read back at once as a word must not have been stored
 * in parts. */
static inline void
put_u64(uint8_t *p, uint64_t v)
{
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(p, &v, sizeof v);
#else
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
#endif
}

/* n is 1 to 8; v fits. */
static inline void
put_uint(uint8_t *p, unsigned n, uint64_t v)
{
	for (unsigned i = 0; i < n; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

#endif
