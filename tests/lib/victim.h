/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * victim.h - a program that uses a store and tells an oracle what it does and
 * what it is told, so that it can be stopped anywhere, on the simulated
 * machine.
 *
 * Its days have hours: what expires does so half an hour before one, and all
 * that is done between two settings of the clock takes less than that.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include "oracle.h"
#include "rng.h"

#define VICTIM_STORE "/db"
#define VICTIM_SEGMENT 8192u /* so that segments roll over all the time */

#define VICTIM_STEPS 12  /* of a batch, at most */
#define VICTIM_BUCKETS 3 /* "p", "q", "r" */
#define VICTIM_HOURS 6u  /* 0 is when the machine starts */

/* What it can be at, for tables: name, text.  Those before REWRITE are what
 * crash tests stop. */
#define VICTIM_CALLS(X)                                                        \
	X(CREATE, "create")                                                    \
	X(OPEN, "open")                                                        \
	X(RECOVER, "recover") /* opening, after a crash */                     \
	X(PUT, "put")                                                          \
	X(PUT_IF, "put-if")                                                    \
	X(DELETE, "delete")                                                    \
	X(APPLY, "apply")                                                      \
	X(COMMIT, "commit") /* of a transaction */                             \
	X(BUCKET, "bucket") /* creating one */                                 \
	X(DROP, "drop")                                                        \
	X(EXPIRE, "expire")                                                    \
	X(ROLLOVER, "rollover") /* one of these eight, in a new segment */     \
	X(SYNC, "sync")                                                        \
	X(MAINTAIN, "maintain")                                                \
	X(CLOSE, "close")                                                      \
	X(COMPACT, "compact")                                                  \
	X(REWRITE, "rewrite") /* opening, after a failed sync */               \
	X(OPEN_READ, "read-only")                                              \
	X(GET, "get")                                                          \
	X(WALK, "walk")                                                        \
	X(STATS, "stats")                                                      \
	X(VERIFY, "verify")                                                    \
	X(REHINT, "rehint")                                                    \
	X(SALVAGE, "salvage")

enum victim_call {
#define VICTIM_CALL(name, text) VICTIM_IN_##name,
	VICTIM_CALLS(VICTIM_CALL)
#undef VICTIM_CALL
	    VICTIM_CALL_COUNT
};

struct victim {
	struct kvlog *db;                      /* NULL: not open */
	struct kvlog *buckets[VICTIM_BUCKETS]; /* as needed */
	bool readonly;                         /* as db was opened */
	bool broken;                           /* db has said so */
	bool unclean;                          /* nobody has closed the store */
	bool hints;            /* the next opening's index is in the hints; then
				  the other one's turn comes */
	uint64_t segment_size; /* 0: VICTIM_SEGMENT */
	uint32_t load_threads;
	enum victim_call call; /* the present one, or the last */
	bool poisoned;         /* so that the opening copies */
	bool saved;            /* a salvage said that it is complete */
	struct oracle oracle;
	/* Something is made to fail: calls may, with a status that says so,
	 * and then do nothing (or break the store). */
	bool faults;
	int error;        /* what the system says then; 0: anything */
	bool read_faults; /* reads too, which looks like damage */
	/* Stores into mappings too: then it is not known whether the commit
	 * was written, and the next opening decides. */
	bool store_faults;
	uint64_t failed; /* calls that failed */
	uint64_t values; /* made so far: no two are alike */
	/* The present call's; freed by the next, as a stopped call cannot. */
	uint8_t *scratch[VICTIM_STEPS];
	size_t scratch_count;
	struct rng rng; /* of random scripts */
	/* Is told of each call that begins, and that the last one was a
	 * rollover; NULL: nobody wants to know. */
	void (*on_call)(enum victim_call call, bool was);
	uint32_t segment; /* for that: where the last call began */
	/* Ends the test; text is what is wrong. */
	void (*fail)(const char *text);
};

void victim_init(struct victim *v, void (*fail)(const char *text));
void victim_fini(struct victim *v); /* the handle is not closed */
/* One that goes on from where the other, whose store is not open, is. */
void victim_copy(struct victim *to, const struct victim *from);

/* Set the clock of the machine. */
void victim_set_hour(unsigned hour);

/* What is to be done to a key, alone or as a step of more. */
#define VICTIM_DELETE SIZE_MAX /* in place of value_len */
#define VICTIM_CREATE                                                          \
	(SIZE_MAX - 1)             /* the bucket, which is not there; no key */
#define VICTIM_DROP (SIZE_MAX - 2) /* likewise, which is there */
struct victim_step {
	const char *key;
	size_t value_len;
	const char *bucket; /* NULL: the default one */
	unsigned expires;   /* half an hour before this one; 0: never */
};

/* Each returns whether the call did what it should.  Without faults anything
 * else ends the test. */
bool victim_open(struct victim *v, unsigned flags); /* and NOTHREAD */
bool victim_close(struct victim *v);
bool victim_put(struct victim *v, const char *key, size_t value_len,
    enum kvlog_durability durability);
bool victim_put_if(struct victim *v, const char *key, size_t value_len,
    enum kvlog_condition condition, uint64_t if_seq);
bool victim_delete(
    struct victim *v, const char *key, enum kvlog_durability durability);
/* A commit of its own; a bucket is created durably. */
bool victim_do(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability);
/* As step says, of a key that may be there; its value stays. */
bool victim_expire(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability);
bool victim_sync(struct victim *v);
/* KVLOG_COMPACT_*; of an open store, beside its writer. */
bool victim_compact(struct victim *v, unsigned flags);
bool victim_maintain(struct victim *v); /* all that is due */

/* What st and err of a call mean: true for KVLOG_OK.  err is NULL for calls
 * that have none.  What may not be ends the test. */
bool victim_judge(struct victim *v, const char *what, enum kvlog_status st,
    const struct kvlog_error *err);

/* Steps that create or drop no bucket. */
bool victim_batch(struct victim *v, const struct victim_step *steps,
    size_t count, enum kvlog_durability durability);
/* Any steps in a transaction, after others that are undone: at most half as
 * many as of a batch. */
bool victim_transact(struct victim *v, const struct victim_step *steps,
    size_t count, enum kvlog_durability durability);

/* What was salvaged, if anything was, is all that the oracle has. */
void victim_check_saved(struct victim *v);

/* The whole contents are what the oracle says. */
void victim_check(struct victim *v);

/* Any of the above; the store stays open. */
void victim_random_op(struct victim *v);

/* Scripts: together they make every call of the interface. */
struct script {
	const char *name;
	void (*fn)(void *victim);
	/* What comes before, where nothing fails; NULL: nothing. */
	void (*prepare)(struct victim *victim);
};
extern const struct script scripts[];
extern const size_t script_count;
/* The first so many are of small segments; the others take longer. */
extern const size_t small_script_count;
/* More of them (sweeps.c), for the simulated machine only. */
extern const struct script sweeps[];
extern const size_t sweep_count;

/* A script of random operations by the seed in victim->rng. */
void script_random(void *victim);

#endif
