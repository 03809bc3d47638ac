/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram.h - counts of durations in buckets that grow with the duration,
 * so that 600 ns and 60 ms are both kept to about three per cent.
 *
 * A plain struct: zero bytes are an empty histogram, and it may be copied or
 * lie in memory shared between processes.
 */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5 /* 32 buckets for each doubling */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t total;
	uint64_t max; /* nanoseconds */
	uint64_t count[HISTOGRAM_BUCKETS];
};

/* histogram_add - count one duration, in nanoseconds. */
void histogram_add(struct histogram *histogram, uint64_t ns);

/* histogram_merge - add the counts of from to into. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/*
 * histogram_quantile - the duration in nanoseconds that a share of fraction
 * (0 to 1) of all durations does not exceed, to the width of a bucket; 0 if
 * nothing was counted.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

#endif /* TOOLS_HISTOGRAM_H */
