/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run.h - a run of operations on a store and on the model: what the parts of
 * test_model share.
 */
#ifndef RUN_H
#define RUN_H

#include "base.h"
#include "model.h"
#include "rng.h"
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_ROOM KVLOG_KEY_MAX
#define BATCH_MAX 8
#define CLOCK_START UINT64_C(2000000000000) /* ms since 1970 */

/* Keys and values: how they are made decides what collides, sorts, fills
 * leaves, and goes when its time comes. */
struct generator {
	const char *name;
	size_t (*make)(struct rng *rng, uint8_t *key);
	uint64_t segment_size;
	size_t value_max;
	unsigned share; /* percent of the operations */
	bool buckets;   /* beside the default one */
	bool expiry;
};

/* A backup, and what it holds. */
struct saved {
	bool made;
	unsigned name; /* each has one of its own */
	struct world world;
	uint64_t max_seq;
	uint64_t judged_ms, latest_ms; /* as in the run */
};
#define SAVED_COUNT 2u

/* A handle on a bucket that is there or that was dropped. */
struct held {
	struct kvlog *db; /* NULL: a free place */
	uint64_t serial;  /* of the bucket */
};
/* More than there are buckets and steps in a batch. */
#define HELD_COUNT 16u

/* A read transaction, or a walk over one bucket, that is to show the same for
 * as long as it lasts. */
struct sight {
	struct kvlog *reader; /* of its own; NULL: begun on the run's handle */
	struct kvlog_txn *txn;
	struct kvlog_iter *iter;
	struct kvlog *handle; /* that iter is of; NULL: the default bucket */
	struct world shown;
	uint64_t digest;
	size_t since; /* operation */
};
#define SIGHT_COUNT 4u

struct run {
	const struct generator *gen;
	bool real;     /* not the simulated machine */
	bool threaded; /* there is a background thread */
	char *dir;     /* there */
	char path[4200];
	struct kvlog *db;
	struct held held[HELD_COUNT];
	struct sight sights[SIGHT_COUNT];

	struct world world; /* also what has expired */
	uint64_t serials;   /* given to buckets so far */
	unsigned at;        /* bucket that the operation is on */
	uint64_t max_seq;
	/* Against which compactions have judged what has expired, for the
	 * clock may step back; and the latest that it was since that was
	 * looked at. */
	uint64_t judged_ms, latest_ms;
	bool judging; /* one is under way, since when it stays */

	/* A transaction that the world is of; NULL: it is of the store. */
	struct kvlog_txn *txn;
	uint64_t txn_seq; /* number of its commit; MODEL_ANY_SEQ: not known */
	uint64_t txn_now; /* when it began, where the time stands still */

	struct saved saved[SAVED_COUNT];
	unsigned last_name;
	uint8_t key[KEY_ROOM], other_key[KEY_ROOM];
	size_t key_len;
	uint8_t *value; /* twice gen->value_max bytes, and some */
	size_t value_len;
	size_t op;     /* number of the present one */
	uint64_t seed; /* its own */
	bool wrong;    /* they disagree */
	char why[MODEL_WHY_LEN + 100];
};

/* Memory; there is enough. */
void *room(size_t size);

void ATTR_PRINTF(2, 3) note_wrong(struct run *run, const char *format, ...);
void expect(struct run *run, const char *what, enum kvlog_status got,
    enum kvlog_status wanted);

/* The clock of the machine, in place of its own. */
void rule_clock(void);
uint64_t clock_now(void);
void set_clock(struct run *run, uint64_t ms);
/* Forwards, or back if that is allowed. */
void step_clock(struct run *run, struct rng *rng, bool back);
/* The time of operations. */
uint64_t now_ms(const struct run *run);
/* How compactions have judged until now. */
void learn_judged(struct run *run);

/* Opening and closing */

enum kvlog_index_mode choose_mode(const struct run *run, uint64_t salt);
void open_run(struct run *run, unsigned flags);
void close_run(struct run *run, struct rng *rng);

/* The bucket at hand */

void choose_bucket(struct run *run, struct rng *rng);
struct model *here(struct run *run);
/* A handle on a bucket that is there. */
struct kvlog *hold(struct run *run, unsigned bucket);
/* One of a bucket that is not there any more; NULL: there is none. */
struct kvlog *hold_dropped(struct run *run, struct rng *rng);

/* Whether an entry has a value now. */
bool is_shown(const struct run *run, const struct model_entry *e);
/* The key's entry, if it has a value now. */
const struct model_entry *present(struct run *run);
/* Of the bucket, and of all, what has a value now; to: nothing. */
void shown_here(struct run *run, struct model *to);
void shown_world(struct run *run, struct world *to);

/* Keys, values, and how to write */

void make_key(struct run *run, struct rng *rng);
void make_value(struct run *run, struct rng *rng);
uint64_t choose_expiry(const struct run *run, struct rng *rng);
enum kvlog_durability choose_durability(struct rng *rng);
void choose_condition(struct run *run, struct rng *rng,
    enum kvlog_condition *ret_condition, uint64_t *ret_seq);
bool holds(
    const struct model_entry *e, enum kvlog_condition condition, uint64_t seq);
void check_receipt(struct run *run, const struct kvlog_receipt *receipt);

/* Reading (reads.c) */

bool same_value(const struct model_entry *e, const void *value, size_t len);
void check_get(struct run *run);
void check_small_buffer(struct run *run);
void check_many(struct run *run, struct rng *rng);
void check_count(struct run *run);
/* The whole content, as a handle on the store shows it. */
void check_all(struct run *run, struct kvlog *db);
/* A walk over the bucket at hand, some of it back; in the run's transaction if
 * there is one. */
void check_walk(struct run *run, struct rng *rng, bool seek, bool prefix);
/* The same in a read transaction, of what it shows. */
void check_walk_in(struct run *run, struct rng *rng, struct kvlog_txn *txn,
    struct kvlog *handle, const struct model *shown);

/* Writing (writes.c) */

void do_put(struct run *run, struct rng *rng, bool conditional);
void do_delete(struct run *run, struct rng *rng, bool conditional);
void do_batch(struct run *run, struct rng *rng);
void do_increment(struct run *run, struct rng *rng);
void do_append(struct run *run, struct rng *rng);
void do_exchange(struct run *run, struct rng *rng);
void do_compare_exchange(struct run *run, struct rng *rng);
void do_rename(struct run *run, struct rng *rng);
void do_expire(struct run *run, struct rng *rng);
void do_bucket(struct run *run, struct rng *rng);
void do_dropped(struct run *run, struct rng *rng);
void do_wrong(struct run *run);

/* Transactions (txns.c) */

void do_txn(struct run *run, struct rng *rng);
/* Begin one that writes, and let its process die in it: all is as before. */
void leave_txn(struct run *run, struct rng *rng, struct kvlog *db);

/* Snapshots (sights.c) */

void do_sight(struct run *run, struct rng *rng);
void end_sights(struct run *run, struct rng *rng, bool readers);
/* Their processes are gone. */
void forget_sights(struct run *run);

/* The whole store (upkeep.c) */

void do_sync(struct run *run);
void do_maintain(struct run *run, struct rng *rng);
void do_reopen(struct run *run, struct rng *rng);
void do_compact_offline(struct run *run, struct rng *rng);
void do_compact_online(struct run *run, struct rng *rng);
void do_backup(struct run *run, struct rng *rng);
void do_switch(struct run *run, struct rng *rng);
void do_kill(struct run *run, struct rng *rng);
void do_reader(struct run *run);
void check_stats(struct run *run);
void forget_saved(struct run *run);

#endif
