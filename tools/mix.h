/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mix.h - numbers without a pattern, each computed from one other.
 */
#ifndef TOOLS_MIX_H
#define TOOLS_MIX_H

#include <stdint.h>

/* A bijection of 64 bits without pattern (the finaliser of splitmix64). */
static inline uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif /* TOOLS_MIX_H */
