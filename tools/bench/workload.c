/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workload.c - the table of benchmarks, and what follows from it.
 *
 * The order is that of a run, such that one finds the store it needs as the
 * one before has left it; else it is made anew, which is not measured.
 */
#include "config.h"

#include "workload.h"

#include <string.h>

#define MEMORY_READS 5000u /* look-ups of a process, then memory is taken */

const struct workload workload_table[] = {
    {.name = "fillseq",
	.text = "async puts of new keys, in order",
	.op = WORKLOAD_PUT_IN_ORDER,
	.fresh = true},
    {.name = "fillbatch",
	.text = "async puts of new keys, in random order, 1000 a batch",
	.op = WORKLOAD_PUT_BATCH,
	.fresh = true},
    {.name = "fillrandom",
	.text = "async puts of new keys, each once, in random order",
	.op = WORKLOAD_PUT_SHUFFLED,
	.fresh = true},
    {.name = "readrandom", .text = "gets of present keys", .op = WORKLOAD_GET},
    {.name = "multireadrandom",
	.text = "gets of present keys, 16 a call",
	.op = WORKLOAD_GET_MANY},
    {.name = "readmissing",
	.text = "gets of absent keys, half between present ones, half outside",
	.op = WORKLOAD_GET_ABSENT},
    {.name = "readhot",
	.text = "gets of present keys, few of them often",
	.op = WORKLOAD_GET,
	.skewed = true},
    {.name = "readseq",
	.text = "records of the whole store, in order of keys",
	.op = WORKLOAD_SCAN_ALL},
    {.name = "prefixscan",
	.text = "records of scans, each of 100 in order from some key on",
	.op = WORKLOAD_SCAN_SOME},
    {.name = "scanwrite",
	.text = "the same, with an async put of a present key before each scan",
	.op = WORKLOAD_SCAN_WRITE},
    {.name = "overwrite",
	.text = "async puts of present keys, each once, in random order",
	.op = WORKLOAD_PUT_SHUFFLED},
    {.name = "mixed-a",
	.text = "50 % gets and 50 % async puts of present keys, few often",
	.op = WORKLOAD_MIXED,
	.skewed = true,
	.get_share = 50},
    {.name = "mixed-b",
	.text = "95 % gets and 5 % async puts of present keys, few often",
	.op = WORKLOAD_MIXED,
	.skewed = true,
	.get_share = 95},
    {.name = "readthreads",
	.text = "gets of present keys by threads with one handle",
	.op = WORKLOAD_GET,
	.threads = true,
	.group = "threads"},
    {.name = "readwrite",
	.text = "gets by processes while others put present keys, async",
	.op = WORKLOAD_READ_WRITE,
	.group = "processes"},
    {.name = "readmemory",
	.text = "gets by processes whose private memory counts",
	.op = WORKLOAD_READ_MEMORY,
	.group = "processes"},
    {.name = "open",
	.text = "keys of a closed store that is opened for writing",
	.op = WORKLOAD_OPEN},
    {.name = "oneshotget",
	.text = "processes that open the store, get a key and end",
	.op = WORKLOAD_ONESHOT_GET,
	.group = "oneshot"},
    {.name = "oneshotmiss",
	.text = "processes that open the store, miss a key and end",
	.op = WORKLOAD_ONESHOT_GET_ABSENT,
	.group = "oneshot"},
    {.name = "oneshotput",
	.text = "processes that open the store, put a key durably and end",
	.op = WORKLOAD_ONESHOT_PUT,
	.mode = ENGINE_SYNC,
	.group = "oneshot"},
    {.name = "deleterandom",
	.text = "async deletes, each key once, in random order",
	.op = WORKLOAD_DELETE},
    {.name = "fillthreads",
	.text = "async puts of new keys by threads with one handle",
	.op = WORKLOAD_PUT_SHUFFLED,
	.fresh = true,
	.threads = true,
	.group = "threads"},
    {.name = "fillsync",
	.text = "durable puts of new keys, in random order",
	.op = WORKLOAD_PUT_SHUFFLED,
	.mode = ENGINE_SYNC,
	.fresh = true},
    {.name = "syncthreads",
	.text = "durable puts of new keys by threads with one handle",
	.op = WORKLOAD_PUT_SHUFFLED,
	.mode = ENGINE_SYNC,
	.fresh = true,
	.threads = true,
	.group = "threads"},
    {.name = "openkilled",
	.text = "keys of a store opened after its writer was killed",
	.op = WORKLOAD_OPEN_KILLED,
	.fresh = true},
    {.name = "largewrite",
	.text = "async puts of large values under new keys, in random order",
	.op = WORKLOAD_PUT_SHUFFLED,
	.fresh = true,
	.large = true,
	.group = "large"},
    {.name = "largeread",
	.text = "views of large values, every line of them read",
	.op = WORKLOAD_GET_VIEW,
	.large = true,
	.group = "large"},
    {.name = "churn",
	.text = "async puts of present keys, all of them again and again",
	.op = WORKLOAD_CHURN,
	.group = "space",
	.by_name = true},
    {.name = "compact",
	.text = "records that one call compacts, of twice as many",
	.op = WORKLOAD_COMPACT,
	.group = "space",
	.by_name = true},
    {.name = "compactcold",
	.text = "the same of a store that is not in memory",
	.op = WORKLOAD_COMPACT,
	.group = "space",
	.cold = true,
	.by_name = true},
    {.name = "compactputs",
	.text = "async puts of present keys during such a call",
	.op = WORKLOAD_COMPACT_PUTS,
	.group = "space",
	.by_name = true},
    {.name = NULL},
};

bool
workload_is(const struct workload *workload, const char *name)
{
	return strcmp(workload->name, name) == 0 ||
	       (workload->group != NULL && strcmp(workload->group, name) == 0);
}

uint64_t
workload_num(const struct workload *workload, const struct options *options)
{
	if (workload->large)
		return options->large_num;
	return workload->fresh && workload->mode == ENGINE_SYNC
		   ? options->sync_num
		   : options->num;
}

uint64_t
workload_unit(const struct workload *workload, const struct options *options)
{
	if (workload->op == WORKLOAD_PUT_BATCH)
		return BATCH_LEN;
	if (workload->op == WORKLOAD_GET_MANY)
		return MANY_LEN;
	if (workload_scans(workload))
		return options->num < SCAN_LEN ? options->num : SCAN_LEN;
	return 1;
}

/* A crowd's reads are the same for each reader. */
static uint64_t
crowd_reads(const struct workload *workload, const struct options *options)
{
	uint64_t readers = workload_readers(workload, options);
	uint64_t reads = options->reads / readers + 1;

	if (workload->op == WORKLOAD_READ_MEMORY && reads > MEMORY_READS)
		reads = MEMORY_READS;
	return reads * readers;
}

static uint64_t
round_up(uint64_t number, uint64_t unit)
{
	return (number + unit - 1) / unit * unit;
}

uint64_t
workload_ops(const struct workload *workload, const struct options *options)
{
	switch (workload->op) {
	case WORKLOAD_PUT_IN_ORDER:
	case WORKLOAD_PUT_SHUFFLED:
	case WORKLOAD_PUT_BATCH:
	case WORKLOAD_DELETE:
		return workload_num(workload, options);
	case WORKLOAD_GET:
	case WORKLOAD_GET_ABSENT:
	case WORKLOAD_MIXED:
		return options->reads;
	case WORKLOAD_GET_MANY:
	case WORKLOAD_SCAN_SOME:
	case WORKLOAD_SCAN_WRITE:
		return round_up(
		    options->reads, workload_unit(workload, options));
	case WORKLOAD_SCAN_ALL:
		return round_up(options->reads, options->num);
	case WORKLOAD_GET_VIEW:
		return 2 * options->large_num;
	case WORKLOAD_ONESHOT_GET:
	case WORKLOAD_ONESHOT_GET_ABSENT:
	case WORKLOAD_ONESHOT_PUT:
		return options->oneshot_num;
	case WORKLOAD_OPEN:
	case WORKLOAD_OPEN_KILLED:
	case WORKLOAD_COMPACT:
	case WORKLOAD_COMPACT_PUTS:
		return options->num;
	case WORKLOAD_CHURN:
		return options->num * options->churn;
	case WORKLOAD_READ_WRITE:
	case WORKLOAD_READ_MEMORY:
		return crowd_reads(workload, options);
	}
	return 0;
}

bool
workload_scans(const struct workload *workload)
{
	return workload->op == WORKLOAD_SCAN_SOME ||
	       workload->op == WORKLOAD_SCAN_WRITE;
}

bool
workload_is_ordered(const struct workload *workload)
{
	return workload->op == WORKLOAD_SCAN_ALL || workload_scans(workload);
}

bool
workload_writes(const struct workload *workload)
{
	return workload->op == WORKLOAD_PUT_IN_ORDER ||
	       workload->op == WORKLOAD_PUT_SHUFFLED ||
	       workload->op == WORKLOAD_PUT_BATCH ||
	       workload->op == WORKLOAD_DELETE;
}

bool
workload_is_oneshot(const struct workload *workload)
{
	return workload->op == WORKLOAD_ONESHOT_GET ||
	       workload->op == WORKLOAD_ONESHOT_GET_ABSENT ||
	       workload->op == WORKLOAD_ONESHOT_PUT;
}

unsigned
workload_readers(const struct workload *workload, const struct options *options)
{
	if (workload->op != WORKLOAD_READ_WRITE &&
	    workload->op != WORKLOAD_READ_MEMORY)
		return 0;
	if (options->readers > 0)
		return (unsigned)options->readers;
	return workload->op == WORKLOAD_READ_WRITE ? 2 : 4;
}

bool
workload_compacts(const struct workload *workload)
{
	return workload->op == WORKLOAD_COMPACT ||
	       workload->op == WORKLOAD_COMPACT_PUTS;
}

bool
workload_loops(const struct workload *workload)
{
	return !workload_is_oneshot(workload) && !workload_compacts(workload) &&
	       workload->op != WORKLOAD_OPEN &&
	       workload->op != WORKLOAD_OPEN_KILLED &&
	       workload->op != WORKLOAD_READ_WRITE &&
	       workload->op != WORKLOAD_READ_MEMORY;
}

bool
workload_skewed(const struct workload *workload, const struct options *options)
{
	return workload->skewed ||
	       (options->zipfian && (workload->op == WORKLOAD_GET ||
					workload->op == WORKLOAD_GET_MANY ||
					workload_scans(workload) ||
					workload->op == WORKLOAD_READ_WRITE ||
					workload->op == WORKLOAD_READ_MEMORY));
}
