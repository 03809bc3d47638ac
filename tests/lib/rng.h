/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rng.h - random numbers that a seed repeats: xoshiro256** (D. Blackman, S.
 * Vigna), its state filled by splitmix64.
 */
#ifndef RNG_H
#define RNG_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct rng {
	uint64_t state[4];
};

/* A well mixed word from any word; the step of splitmix64. */
static inline uint64_t
rng_mix(uint64_t word)
{
	word += UINT64_C(0x9e3779b97f4a7c15);
	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return word ^ word >> 31;
}

static inline void
rng_init(struct rng *rng, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		rng->state[i] = seed = rng_mix(seed + i);
}

static inline uint64_t
rng_rotate(uint64_t word, unsigned by)
{
	return word << by | word >> (64 - by);
}

static inline uint64_t
rng_next(struct rng *rng)
{
	uint64_t *s = rng->state;
	uint64_t result = rng_rotate(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rng_rotate(s[3], 45);
	return result;
}

/* 0 to bound - 1; bound is 1 or more.  The bias of small bounds does not
 * matter to tests. */
static inline uint64_t
rng_below(struct rng *rng, uint64_t bound)
{
	return rng_next(rng) % bound;
}

static inline void
rng_fill(struct rng *rng, void *buf, size_t len)
{
	uint8_t *to = buf;
	uint64_t word = 0;

	/* The same bytes on machines of either byte order. */
	for (size_t i = 0; i < len; i++, word >>= 8) {
		if (i % sizeof word == 0)
			word = rng_next(rng);
		to[i] = (uint8_t)word;
	}
}

/* KVLOG_SEED if it is set, otherwise another one each time.  The caller
 * prints it, so that a failure can be repeated. */
static inline uint64_t
rng_seed_from_env(void)
{
	const char *text = getenv("KVLOG_SEED");
	struct timespec now = {0, 0};

	if (text != NULL)
		return strtoull(text, NULL, 0);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return rng_mix((uint64_t)now.tv_sec ^ (uint64_t)now.tv_nsec << 32 ^
		       (uint64_t)getpid()) >>
	       32;
}

#endif
