/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world.h - what a store should hold: the default bucket, and under some names
 * others, each a model.
 */
#ifndef WORLD_H
#define WORLD_H

#include "model.h"

/* Names that buckets may have, in the order of memcmp(); the first place is the
 * default bucket's, which has none. */
#define WORLD_BUCKETS 6u
struct world_name {
	const char *bytes;
	size_t len;
};
extern const struct world_name world_names[WORLD_BUCKETS];

struct world_bucket {
	bool there;
	uint64_t serial;  /* the test's own number for it, never given again */
	uint64_t seq;     /* its id; MODEL_ANY_SEQ: not known */
	uint32_t ordinal; /* likewise */
	struct model keys;
};

struct world {
	struct world_bucket buckets[WORLD_BUCKETS];
};

void world_init(struct world *world); /* no buckets but the default one */
void world_fini(struct world *world);
void world_copy(struct world *to, const struct world *from); /* to: nothing */

void world_create(struct world *world, unsigned bucket, uint64_t serial);
void world_drop(struct world *world, unsigned bucket);

/* Entries and buckets without a number get this one. */
void world_set_seq(struct world *world, uint64_t seq);

/* Of all buckets: names, ids, keys, values, numbers, times. */
uint64_t world_digest(const struct world *world);
bool world_equal(const struct world *a, const struct world *b);
/* The first difference, in words. */
void world_explain(
    const struct world *wanted, const struct world *found, char *why);

/* Read all of a store, as model_read() does each bucket; what a transaction
 * sees, by walks and by look-ups of what they show; or what an iterator shows
 * from where it is on.  False with the reason in why. */
bool world_read(struct world *world, struct kvlog *db, char *why);
bool world_read_txn(struct world *world, struct kvlog_txn *txn, char *why);
bool world_read_walk(struct model *keys, struct kvlog_iter *iter, char *why);

#endif
