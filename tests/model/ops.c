/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ops.c - the kinds of operations and of keys, and what is compared after each
 * operation.
 */
#include "config.h"

#include "ops.h"

#include "simos.h"
#include "tmpdir.h"

#include <string.h>

#define CHECK_ALL_EVERY 97 /* operations between two whole comparisons */

static const struct {
	const char *name;
	unsigned weight;
} op_types[OP_TYPES] = {
    [OP_PUT] = {"put", 300},
    [OP_DELETE] = {"delete", 100},
    [OP_GET] = {"get", 200},
    [OP_LOOKUP] = {"lookup", 50},
    [OP_MANY] = {"get of many", 10},
    [OP_PUT_IF] = {"conditional put", 60},
    [OP_DELETE_IF] = {"conditional delete", 30},
    [OP_BATCH] = {"batch", 60},
    [OP_INCREMENT] = {"increment", 15},
    [OP_APPEND] = {"append", 15},
    [OP_EXCHANGE] = {"exchange", 15},
    [OP_COMPARE] = {"compare and exchange", 15},
    [OP_RENAME] = {"rename", 20},
    [OP_EXPIRE] = {"expire", 15},
    [OP_TXN] = {"transaction", 50},
    [OP_BUCKET] = {"bucket", 25},
    [OP_DROPPED] = {"dropped bucket", 10},
    [OP_CLOCK] = {"clock", 30},
    [OP_SIGHT] = {"snapshot", 30},
    [OP_WALK] = {"walk", 8},
    [OP_SEEK] = {"seek", 20},
    [OP_PREFIX] = {"prefix", 20},
    [OP_SYNC] = {"sync", 10},
    [OP_MAINTAIN] = {"maintain", 30},
    [OP_REOPEN] = {"reopen", 6},
    [OP_COMPACT] = {"compact", 6},
    [OP_ONLINE] = {"compact beside its writer", 8},
    [OP_BACKUP] = {"backup", 6},
    [OP_SWITCH] = {"go on in a backup", 2},
    [OP_KILL] = {"kill", 6},
    [OP_READER] = {"reader", 6},
    [OP_STATS] = {"stats", 10},
    [OP_WRONG] = {"wrong arguments", 5},
};

const char *
op_name(enum op_type type)
{
	return op_types[type].name;
}

/* Keys: how they are made decides what collides, sorts, and fills leaves. */

static size_t
key_few(struct rng *rng, uint8_t *key)
{
	return (size_t)snprintf(
	    (char *)key, 20, "key-%02u", (unsigned)rng_below(rng, 20));
}

/* More than a block of a hint holds, parted by longer strings than fit. */
static size_t
key_shared_prefix(struct rng *rng, uint8_t *key)
{
	size_t len = 100 + (size_t)rng_below(rng, 3) * 100;

	memset(key, 'p', len);
	return len + (size_t)snprintf((char *)key + len, 20, "%u",
			 (unsigned)rng_below(rng, 200));
}

static size_t
key_one_byte(struct rng *rng, uint8_t *key)
{
	key[0] = (uint8_t)rng_next(rng);
	return 1;
}

static size_t
key_binary(struct rng *rng, uint8_t *key)
{
	size_t len = 1 + (size_t)rng_below(rng, 5);

	for (size_t i = 0; i < len; i++)
		key[i] = (uint8_t)("\x00\x01\x7f\x80\xff"[rng_below(rng, 5)]);
	return len;
}

/* Also the longest possible; alike up to the last bytes. */
static size_t
key_long(struct rng *rng, uint8_t *key)
{
	static const size_t lens[] = {
	    KVLOG_KEY_MAX, KVLOG_KEY_MAX - 1, 4096, 996, 995, 512, 1};
	size_t len = lens[rng_below(rng, sizeof lens / sizeof lens[0])];

	memset(key, 'L', len);
	key[len - 1] = (uint8_t)('0' + rng_below(rng, 6));
	return len;
}

static size_t
key_many(struct rng *rng, uint8_t *key)
{
	return (size_t)snprintf(
	    (char *)key, 30, "%u", (unsigned)rng_below(rng, 100000));
}

/* The plain ones stay on the paths that are for nothing else. */
const struct generator generators[] = {
    {"few keys", key_few, 8192, 600, 100, true, true},
    {"few plain keys", key_few, 8192, 600, 50, false, false},
    {"shared prefix", key_shared_prefix, 8192, 300, 100, true, false},
    {"one byte", key_one_byte, 8192, 100, 100, true, true},
    {"binary", key_binary, 8192, 5000, 100, true, true},
    {"long", key_long, 65536, 3000, 20, true, true},
    {"many", key_many, 16384, 50, 100, false, true},
    {"many plain", key_many, 16384, 50, 50, false, false},
    {"large values", key_few, 65536, 300000, 10, true, true},
};
const unsigned generator_count = sizeof generators / sizeof generators[0];

static void
do_op(struct run *run, const struct op *op)
{
	struct rng rng;

	run->seed = op->seed;
	rng_init(&rng, op->seed);
	choose_bucket(run, &rng);
	make_key(run, &rng);
	switch (op->type) {
	case OP_PUT:
	case OP_PUT_IF:
		do_put(run, &rng, op->type == OP_PUT_IF);
		break;
	case OP_DELETE:
	case OP_DELETE_IF:
		do_delete(run, &rng, op->type == OP_DELETE_IF);
		break;
	case OP_GET:
		check_get(run);
		break;
	case OP_LOOKUP:
		check_small_buffer(run);
		break;
	case OP_MANY:
		check_many(run, &rng);
		break;
	case OP_BATCH:
		do_batch(run, &rng);
		break;
	case OP_INCREMENT:
		do_increment(run, &rng);
		break;
	case OP_APPEND:
		do_append(run, &rng);
		break;
	case OP_EXCHANGE:
		do_exchange(run, &rng);
		break;
	case OP_COMPARE:
		do_compare_exchange(run, &rng);
		break;
	case OP_RENAME:
		do_rename(run, &rng);
		break;
	case OP_EXPIRE:
		do_expire(run, &rng);
		break;
	case OP_TXN:
		do_txn(run, &rng);
		break;
	case OP_BUCKET:
		do_bucket(run, &rng);
		break;
	case OP_DROPPED:
		do_dropped(run, &rng);
		break;
	case OP_CLOCK:
		if (run->gen->expiry)
			step_clock(run, &rng, !run->threaded);
		break;
	case OP_SIGHT:
		do_sight(run, &rng);
		break;
	case OP_WALK:
		check_walk(run, &rng, false, false);
		break;
	case OP_SEEK:
		check_walk(run, &rng, true, false);
		break;
	case OP_PREFIX:
		check_walk(run, &rng, rng_below(&rng, 2) == 0, true);
		break;
	case OP_SYNC:
		do_sync(run);
		break;
	case OP_MAINTAIN:
		do_maintain(run, &rng);
		break;
	case OP_REOPEN:
		do_reopen(run, &rng);
		break;
	case OP_COMPACT:
		do_compact_offline(run, &rng);
		break;
	case OP_ONLINE:
		do_compact_online(run, &rng);
		break;
	case OP_BACKUP:
		do_backup(run, &rng);
		break;
	case OP_SWITCH:
		do_switch(run, &rng);
		break;
	case OP_KILL:
		do_kill(run, &rng);
		break;
	case OP_READER:
		do_reader(run);
		break;
	case OP_STATS:
		check_stats(run);
		break;
	case OP_WRONG:
		do_wrong(run);
		break;
	case OP_TYPES:
		break;
	}
	if (run->db == NULL || run->wrong)
		return;
	learn_judged(run);
	choose_bucket(run, &rng);
	if (rng_below(&rng, 4) == 0)
		check_count(run);
	if (!run->wrong && (op->type == OP_REOPEN || op->type == OP_COMPACT ||
			       op->type == OP_ONLINE || op->type == OP_SWITCH ||
			       run->op % CHECK_ALL_EVERY == 0))
		check_all(run, run->db);
}

void
make_ops(struct op *ops, size_t count, uint64_t seed)
{
	unsigned total = 0;
	struct rng rng;

	for (unsigned t = 0; t < OP_TYPES; t++)
		total += op_types[t].weight;
	rng_init(&rng, seed);
	for (size_t i = 0; i < count; i++) {
		uint64_t dice = rng_below(&rng, total);
		unsigned t = 0;

		for (; dice >= op_types[t].weight; t++)
			dice -= op_types[t].weight;
		ops[i].type = (enum op_type)t;
		ops[i].seed = rng_next(&rng);
	}
}

static void
begin_run(struct run *run, uint64_t seed)
{
	run->dir = run->real ? tmpdir_create() : NULL;
	if (!run->real)
		simos_init(seed);
	rule_clock();
	run->latest_ms = clock_now();
	world_init(&run->world);
	run->value = room(2 * run->gen->value_max + 64);
	(void)snprintf(
	    run->path, sizeof run->path, "%s/db", run->real ? run->dir : "");
	forget_saved(run);
	open_run(run, KVLOG_OPEN_CREATE);
}

/* As it is, and as another opening shows it, which only reads. */
static void
check_end(struct run *run, struct rng *rng)
{
	check_all(run, run->db);
	close_run(run, rng);
	open_run(run, KVLOG_OPEN_READONLY);
	if (!run->wrong)
		check_all(run, run->db);
}

static void
end_run(struct run *run, struct rng *rng)
{
	end_sights(run, rng, true);
	close_run(run, rng);
	if (!run->wrong && !run->real && simos_leaks(stderr) != 0)
		note_wrong(run, "something leaks");
	forget_saved(run);
	world_fini(&run->world);
	tmpdir_remove(run->dir);
	if (!run->real)
		simos_fini();
	free(run->value);
}

bool
run_ops(const struct generator *gen, bool real, const struct op *ops,
    size_t count, size_t *ret_op, char *why)
{
	struct run *run = room(sizeof *run);
	struct rng rng;
	bool ok;

	memset(run, 0, sizeof *run);
	run->gen = gen;
	run->real = real;
	rng_init(&rng, ops[0].seed);
	begin_run(run, ops[0].seed);
	for (; run->op < count && !run->wrong; run->op++)
		do_op(run, &ops[run->op]);
	*ret_op = run->op;
	if (!run->wrong)
		check_end(run, &rng);
	end_run(run, &rng);
	ok = !run->wrong;
	(void)snprintf(why, sizeof run->why, "%s", run->why);
	free(run);
	return ok;
}
