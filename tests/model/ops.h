/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ops.h - lists of operations, and runs of them on a store and its model.
 */
#ifndef OPS_H
#define OPS_H

#include "run.h"

enum op_type {
	OP_PUT,
	OP_DELETE,
	OP_GET,
	OP_LOOKUP,
	OP_MANY,
	OP_PUT_IF,
	OP_DELETE_IF,
	OP_BATCH,
	OP_INCREMENT,
	OP_APPEND,
	OP_EXCHANGE,
	OP_COMPARE,
	OP_RENAME,
	OP_EXPIRE,
	OP_TXN,
	OP_BUCKET,
	OP_DROPPED,
	OP_CLOCK,
	OP_SIGHT,
	OP_WALK,
	OP_SEEK,
	OP_PREFIX,
	OP_SYNC,
	OP_MAINTAIN,
	OP_REOPEN,
	OP_COMPACT,
	OP_ONLINE,
	OP_BACKUP,
	OP_SWITCH,
	OP_KILL,
	OP_READER,
	OP_STATS,
	OP_WRONG,
	OP_TYPES
};

/* One operation: everything else follows from its own seed and from the
 * state, so that any part of a list can be run. */
struct op {
	enum op_type type;
	uint64_t seed;
};

extern const struct generator generators[];
extern const unsigned generator_count;

const char *op_name(enum op_type type);
/* All that is to be done, as often as each kind of it should be. */
void make_ops(struct op *ops, size_t count, uint64_t seed);

/* Run a list on a store of its own; true if store and model agree.  Else
 * *ret_op is the operation, and why says what is wrong. */
#define OPS_WHY_LEN (MODEL_WHY_LEN + 100)
bool run_ops(const struct generator *gen, bool real, const struct op *ops,
    size_t count, size_t *ret_op, char *why);

#endif
