/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.h - compiler attributes and small arithmetic that every room uses.
 */
#ifndef BASE_H
#define BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined __GNUC__
#define ATTR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define ATTR_MUST_CHECK __attribute__((warn_unused_result))
#define ATTR_NOINLINE __attribute__((noinline))
#define ATTR_FLATTEN __attribute__((flatten)) /* all calls are inlined */
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PREFETCH(p) __builtin_prefetch(p)
/* Of a thread's variable: found without a call, in a shared library too.  Takes
 * of the few bytes that a program has for libraries it loads later. */
#define ATTR_LOCAL_TLS                                                         \
	__attribute__((tls_model("initial-exec"), visibility("hidden")))
#define ATTR_LOCAL __attribute__((visibility("hidden"))) /* in the library */
#else
#define ATTR_PRINTF(fmt, args)
#define ATTR_MUST_CHECK
#define ATTR_NOINLINE
#define ATTR_FLATTEN
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#define PREFETCH(p) ((void)(p))
#define ATTR_LOCAL_TLS
#define ATTR_LOCAL
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CACHE_LINE 64

/* Bytes of a block that storage is trusted to keep apart from its neighbour;
 * see kvlog-format(5). */
#define BLOCK_SIZE 4096u

/* align must be a power of two, and the sum must not overflow. */
static inline uint64_t
round_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static inline uint64_t
min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t
max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Between two looks at what another thread is about to change. */
static inline void
cpu_pause(void)
{
#if defined __x86_64__ || defined __i386__
	__builtin_ia32_pause();
#elif defined __aarch64__
	__asm__ volatile("yield");
#endif
}

#endif
