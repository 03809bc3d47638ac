/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle.h - what a store may hold after a crash: the state after some prefix
 * of its commits, no shorter than the last one that was reported durable, no
 * longer than the one whose call was cut off.
 *
 * A state keeps what has expired, as the clock may be set back.  What it shows
 * is what expires later than now, which is the machine's clock, or the time of
 * the last compaction that has taken something away for it if that is later:
 * such a thing never comes back.  Of a compaction that was cut off, or that
 * has failed, it is not known whether it has judged anything before it is seen.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "model.h"

/* All zero but for oracle_init(). */
struct oracle {
	struct model *states; /* [i]: after i commits */
	uint64_t *seqs;       /* [i]: number of commit i; [0] is 0 */
	size_t count, cap;    /* of states; at least 1 */
	size_t durable;       /* state that was reported durable */
	bool in_flight;       /* the last state's call has not returned */
	bool created;         /* a call that makes the store has returned */
	uint64_t max_seq;     /* greatest number ever given out */
	/* The latest time of a compaction that has judged durably, and between
	 * what times that lies of which one is known to have. */
	uint64_t sure_ms, judged_ms, judging_ms;
	/* Values that a later step of the same batch replaced. */
	struct model *hidden;
	size_t hidden_count;
};

void oracle_init(struct oracle *oracle); /* one state, which is empty */
void oracle_fini(struct oracle *oracle);
void oracle_copy(struct oracle *to, const struct oracle *from);

/* The newest state. */
static inline struct model *
oracle_last(struct oracle *oracle)
{
	return &oracle->states[oracle->count - 1];
}

/* A commit's call begins: returns the state to be changed. */
struct model *oracle_begin(struct oracle *oracle);
/* It returned with a number; false if that number is not a new one. */
bool oracle_committed(struct oracle *oracle, uint64_t seq);
/* It returned, and nothing was written. */
void oracle_refused(struct oracle *oracle);

/* All up to commit seq was reported durable. */
void oracle_durable(struct oracle *oracle, uint64_t seq);

/* A compaction begins; and one that began at a time has returned, durably,
 * having said that it took away what has expired. */
void oracle_judging(struct oracle *oracle);
void oracle_judged(struct oracle *oracle, uint64_t when_ms);

/* What was seen of others may be undone. */
void oracle_lost_power(struct oracle *oracle);

/* Whether a state shows what was found now.  What that tells of compactions is
 * remembered. */
bool oracle_shows(struct oracle *oracle, const struct model *state,
    const struct model *found);
/* Whether it shows a value, where there is an entry (NULL: none): 1, 0, or -1
 * if that is not known. */
int oracle_shows_entry(
    const struct oracle *oracle, const struct model_entry *entry);
/* The first difference, in words. */
void oracle_explain(const struct oracle *oracle, const struct model *state,
    const struct model *found, char *why);

/* The longest state from min to max commits that shows what was found; SIZE_MAX
 * and the reason in why if there is none. */
size_t oracle_find(struct oracle *oracle, const struct model *found, size_t min,
    size_t max, char *why);

/* The greatest state up to max that a store whose last commit is last_seq can
 * be in. */
size_t oracle_reach(const struct oracle *oracle, size_t max, uint64_t last_seq);

/* After a crash: commits behind state k are lost; the last one kept has
 * number seq if that was not known. */
void oracle_cut(struct oracle *oracle, size_t k, uint64_t seq);

/* A step of a batch, whether or not a later one replaces it; bucket as of
 * model_bucket(). */
void oracle_step(struct oracle *oracle, const char *bucket, const void *key,
    size_t key_len, const void *value, size_t value_len, uint64_t expires_ms);

/* Whether an entry was written so by some commit, or all of them were. */
bool oracle_knows(const struct oracle *oracle, const char *bucket,
    const struct model_entry *entry);
bool oracle_knows_all(const struct oracle *oracle, const struct model *found);

/* Of all that a crash now may show, and must not give out again. */
uint64_t oracle_hash(const struct oracle *oracle);

#endif
