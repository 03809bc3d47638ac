/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * actor.h - a thread that works on a few keys of a store, and records what it
 * does and sees.
 */
#ifndef ACTOR_H
#define ACTOR_H

#include <kvlog.h>

#include "history.h"
#include "rng.h"

#define ACTOR_KEYS_MAX 16

/* All zero but for what is set before the first step. */
struct actor {
	struct kvlog *db;        /* set; may be shared with other actors */
	const char *path;        /* set; of the store, for actor_look_anew() */
	struct history_log *log; /* set; of this actor */
	unsigned keys;           /* set; at most ACTOR_KEYS_MAX */
	struct rng rng;          /* set */
	uint64_t seqs[ACTOR_KEYS_MAX]; /* that it saw last */
	bool greeted;                  /* has written since it began */
	bool full;                     /* no room in the log */
	enum kvlog_status status;      /* of the last call, and its details */
	struct kvlog_error err;
};

/*
 * Steps, each one random operation.  False: the log is full, or the call
 * failed in a way that says nothing about keys; see full, status and err.
 * A value that nobody can have written is KVLOG_CORRUPT.
 */

/* Read, write or both; the first step is a put without a condition, so that
 * what the actor before it left open has an end. */
bool actor_work(struct actor *actor);
/* Read only. */
bool actor_look(struct actor *actor);
/* Open the store for reading, read a key, close it. */
bool actor_look_anew(struct actor *actor, const struct kvlog_options *options);
/* Read all keys in one moment. */
bool actor_walk(struct actor *actor);

#endif
