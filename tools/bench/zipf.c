/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zipf.c - Zipf's distribution, in some nanoseconds and without a table of
 * all ranks.
 *
 * The first ranks have their exact probabilities, in a table after Walker:
 * as many entries as outcomes, each shared by at most two of them, so that
 * one entry, taken evenly, and one comparison decide.  All other ranks are
 * one more outcome.  There the sum of x^-theta is as good as its integral,
 * whose inverse is known: with s = 1 - theta, a share u of the mass between
 * the places a and b ends at (a^s + u (b^s - a^s))^(1/s).  A table has these
 * ends for some hundred shares; in between a straight line does, since from
 * one to the next the density changes by some per cent.  A rank takes the
 * place from half before it to half behind.
 */
#include "config.h"

#include "zipf.h"

#include "numbers.h"

#include <math.h>
#include <stdbool.h>

#define RANDOM_RANGE 18446744073709551616.0 /* 2^64 */

static uint64_t
limit_of(double share)
{
	return share >= 1 ? UINT64_MAX : (uint64_t)(share * RANDOM_RANGE);
}

/* Entries are 1 on average; what lacks in one is taken from a larger one. */
static void
fill_table(struct zipf *zipf, double *mass, double sum)
{
	uint32_t poor[ZIPF_HEAD + 1], rich[ZIPF_HEAD + 1];
	uint32_t i, p, r, poor_count = 0, rich_count = 0;

	for (i = 0; i < zipf->entries; i++) {
		mass[i] *= (double)zipf->entries / sum;
		zipf->entry[i].limit = UINT64_MAX;
		zipf->entry[i].other = i;
		if (mass[i] < 1)
			poor[poor_count++] = i;
		else
			rich[rich_count++] = i;
	}
	while (poor_count > 0 && rich_count > 0) {
		p = poor[--poor_count];
		r = rich[rich_count - 1];
		zipf->entry[p].limit = limit_of(mass[p]);
		zipf->entry[p].other = r;
		mass[r] -= 1 - mass[p];
		if (mass[r] < 1) {
			rich_count--;
			poor[poor_count++] = r;
		}
	}
}

void
zipf_init(struct zipf *zipf, uint64_t count, double theta)
{
	double mass[ZIPF_HEAD + 1], sum = 0, s, low, width = 0;
	uint32_t i, ranks;

	/* At 1 the formula is that of something near enough. */
	s = fabs(1 - theta) < 1e-6 ? 1e-6 : 1 - theta;
	ranks = count < ZIPF_HEAD ? (uint32_t)count : ZIPF_HEAD;
	zipf->count = count;
	zipf->entries = ranks;
	for (i = 0; i < ranks; i++)
		sum += mass[i] = pow(i + 1, -theta);
	low = pow(ranks + 0.5, s);
	if (count > ranks) {
		width = pow((double)count + 0.5, s) - low;
		sum += mass[ranks] = width / s;
		zipf->entries++;
	}
	for (i = 0; i <= ZIPF_CELLS; i++)
		zipf->edge[i] = pow(low + width * i / ZIPF_CELLS, 1 / s) - 0.5;
	fill_table(zipf, mass, sum);
}

/*
 * No branch depends on what comes out, which a processor could not foresee:
 * the place in the rest is computed in any case.
 */
uint64_t
zipf_rank(const struct zipf *zipf, uint64_t random)
{
	uint64_t entry = scale(random, zipf->entries);
	uint64_t share = random * zipf->entries; /* what scale() cuts off */
	uint64_t other = zipf->entry[entry].other, rank, cell;
	double part;

	entry = share < zipf->entry[entry].limit ? entry : other;
	random = mix(random);
	cell = random % ZIPF_CELLS;
	part = (double)(random >> 11) * 0x1p-53;
	rank = (uint64_t)(zipf->edge[cell] +
			  part * (zipf->edge[cell + 1] - zipf->edge[cell]));
	rank = rank < zipf->count ? rank : zipf->count - 1;
	return entry < ZIPF_HEAD ? entry : rank;
}
