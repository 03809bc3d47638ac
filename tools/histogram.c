/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram.c - log-bucketed counts of durations.
 *
 * Durations below 2^SUB_BITS have a bucket each.  Above, a bucket is named
 * by the position of the highest set bit and the SUB_BITS bits below it, so
 * its width is a 2^-SUB_BITS part of its start.
 */
#include "config.h"

#include "histogram.h"

#include <stddef.h>

#define SUB_COUNT (UINT64_C(1) << HISTOGRAM_SUB_BITS)

static size_t
bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < SUB_COUNT)
		return (size_t)ns;
	shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
	/* The highest bit of ns >> shift counts as one more group. */
	return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(ns >> shift);
}

/* The greatest duration that falls into the bucket. */
static uint64_t
bucket_last(size_t bucket)
{
	size_t group = bucket >> HISTOGRAM_SUB_BITS;
	uint64_t first;

	if (group <= 1)
		return bucket;
	first = (bucket & (SUB_COUNT - 1)) + SUB_COUNT;
	return ((first + 1) << (group - 1)) - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram->count[bucket_of(ns)]++;
	histogram->total++;
	if (ns > histogram->max)
		histogram->max = ns;
}

void
histogram_merge(struct histogram *into, const struct histogram *from)
{
	size_t i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->count[i] += from->count[i];
	into->total += from->total;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t
histogram_quantile(const struct histogram *histogram, double fraction)
{
	uint64_t last, seen = 0;
	double wanted;
	size_t i;

	wanted = fraction * (double)histogram->total;
	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->count[i];
		if (seen > 0 && (double)seen >= wanted) {
			last = bucket_last(i);
			return last < histogram->max ? last : histogram->max;
		}
	}
	return 0;
}
