/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * storecheck.h - hold the store of a victim, on a machine that came up after a
 * crash, against the victim's oracle.
 *
 * After a kill (page cache intact, same boot) every commit whose call
 * returned is there.  After a power loss the store equals the state after
 * some prefix of the commits, no shorter than the last one reported durable.
 * In both cases:
 *
 *   - opening read-only, for writing, and again, shows the same (INV-11): the
 *     index is in memory and in the hints by turns;
 *   - nothing is called damage that is merely torn (INV-10);
 *   - the clock being set back brings nothing back that a compaction has taken
 *     away, and everything else;
 *   - no sequence number given out before is given out again (INV-4), nor,
 *     after a power loss, that of a commit whose call was stopped;
 *   - the store works: what is written then survives the next crash;
 *   - a recovery that is stopped itself, at any step, changes nothing.
 *
 * What is wrong goes to crashtest_fail().
 */
#ifndef STORECHECK_H
#define STORECHECK_H

#include "crashtest.h"
#include "victim.h"

/* What checks remember of a victim. */
struct survivor {
	struct victim victim; /* with its oracle as the run left it */
	size_t found; /* the state that a crash left, once it is known */
	/* The number that each commit gets in a run that is not stopped. */
	uint64_t *seqs;
	size_t seq_count;
};

/* A run has come to its end. */
void survivor_end(struct survivor *survivor);
void survivor_fini(struct survivor *survivor);

/* check(), recover() and wants() of a crashtest; arg is a survivor. */
void survivor_check(void *survivor, const struct crashtest_crash *crash);
void survivor_recover(void *survivor, const struct crashtest_crash *crash);
uint64_t survivor_wants(void *survivor);

/* Pieces of them. */

/* Where the next opening has its index; then the other one's turn comes. */
void storecheck_index(bool in_hints);
/* It must work; when is for the message. */
struct kvlog *storecheck_open(unsigned flags, const char *when);
void storecheck_close(struct kvlog *db);
/* A crash is no damage. */
void storecheck_no_damage(struct kvlog *db);
/* Which of the states min to max a handle shows. */
size_t storecheck_state(
    struct kvlog *db, struct oracle *o, size_t min, size_t max);

#endif
