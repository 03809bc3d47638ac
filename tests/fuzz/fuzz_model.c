/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_model.c - bytes as a list of operations of tests/model, on the simulated
 * machine: all that the interface has for keys, in buckets, with times, in
 * transactions, beside snapshots, over kills, reopening, compaction and
 * backups.
 *
 *     byte 0    the kind of keys and values
 *     then, until the end: three bytes for each operation, what it is and the
 *               seed of its choices
 *
 * After each operation store and model agree.  Faults, power losses and damage
 * are for fuzz_api.
 */
#include "config.h"

#include "fuzz.h"

#include "../model/ops.h"

#include <stdlib.h>

#define OPS_MAX 100u /* time of a run has a bound */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct op ops[OPS_MAX];
	char why[OPS_WHY_LEN];
	size_t count = 0, failed;
	unsigned kind = take_byte(&in) % generator_count;

	for (; in.left > 0 && count < OPS_MAX; count++) {
		ops[count].type =
		    (enum op_type)(take_byte(&in) % (unsigned)OP_TYPES);
		ops[count].seed = (uint64_t)take_byte(&in) << 8;
		ops[count].seed |= take_byte(&in);
		fuzz_tell("%zu: %s (%" PRIu64 ")", count,
		    op_name(ops[count].type), ops[count].seed);
	}
	if (count == 0 ||
	    run_ops(&generators[kind], false, ops, count, &failed, why))
		return 0;
	(void)fprintf(stderr, "operation %zu: %s\n", failed, why);
	abort();
}
