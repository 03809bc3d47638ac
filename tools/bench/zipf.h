/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zipf.h - numbers of which few are frequent: rank r of 0 .. count-1 comes
 * with a probability in proportion to (r + 1)^-theta.
 */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include <stdint.h>

#define ZIPF_HEAD 256u  /* ranks with an entry of their own */
#define ZIPF_CELLS 512u /* equally frequent parts of the rest */

struct zipf {
	uint64_t count;
	uint64_t entries; /* one for a rank each, and one for the rest */
	struct {
		uint64_t limit; /* below it the entry stands for itself */
		uint64_t other; /* else for this one */
	} entry[ZIPF_HEAD + 1];
	double edge[ZIPF_CELLS + 1]; /* of the cells */
};

/* zipf_init - count is at least 1; theta above 0, 1 too. */
void zipf_init(struct zipf *zipf, uint64_t count, double theta);

/* zipf_rank - the rank that random belongs to, any number of 64 bits. */
uint64_t zipf_rank(const struct zipf *zipf, uint64_t random);

#endif /* BENCH_ZIPF_H */
