/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crashtest.h - stop a program that uses kvlog before and within each of its
 * steps, end the process or the machine there, and ask the program's own check
 * whether what is found is right.  kvlog-crashtest(7) is the manual, with
 * tests/crash/test_application.c as its example.
 *
 * The program runs on a simulated machine, in one thread: all that the library
 * asks of the system goes to it.  It must do the same each time it is run.
 */
#ifndef CRASHTEST_H
#define CRASHTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What has happened since run() was stopped. */
struct crashtest_crash {
	bool power_lost; /* and with it, perhaps, what was not durable */
	bool recovered;  /* recover() came to its end before the power went */
	bool again;      /* check() has seen this crash before, and after it
			    only recoveries were stopped: the same is there */
	bool ruined;     /* a sector is garbage, older records in it included:
			    no wrong value may be shown, more is not asked */
	uint64_t seed;   /* for choices of the check: where the crash is the
			    same, this is */
};

/* One test; all that is not said is 0. */
struct crashtest {
	const char *name; /* for messages; no colon in it */
	uint64_t seed;    /* of all random choices */

	/* What is there before; it is not stopped.  May be NULL. */
	void (*setup)(void *arg);
	/* What is stopped.  It never comes back from a call then, so it first
	 * forgets what an earlier run has noted, and keeps notes for check()
	 * where arg points to.  A handle that it leaves open is gone. */
	void (*run)(void *arg);
	/* What a process does when it starts after a crash, at least the
	 * opening and closing of the store; it is stopped too, several times in
	 * a row.  NULL: recoveries are not stopped. */
	void (*recover)(void *arg, const struct crashtest_crash *crash);
	/* Look at what is there, close what was opened, and crashtest_fail() if
	 * something is wrong. */
	void (*check)(void *arg, const struct crashtest_crash *crash);
	void *arg; /* of all of these */

	/* A hash of what check() will want, by which crash states that are the
	 * same in every respect are known.  NULL: they are looked for at one
	 * stop only. */
	uint64_t (*wants)(void *arg);
	unsigned every;   /* one step in so many is stopped at; 0: each */
	unsigned nested;  /* of so many crash states, recovery is stopped in
			     one; 0: 20 */
	unsigned subsets; /* up to so many subsets of what is unsynced are all
			     tried; 0: 16; at most 64 */
	unsigned samples; /* random ones of a kind where they are more; 0: 2 */
	bool last_call;   /* stop only in the last call of run() */
	bool ruin;        /* try ruined sectors too */
};

/*
 * crashtest_run - test on a new machine.  Returns if all was right; the first
 * thing that is not ends the process with status 1 and a report on standard
 * error.
 */
void crashtest_run(const struct crashtest *test);

/* crashtest_fail - for check(): what is there is wrong. */
_Noreturn void crashtest_fail(const char *format, ...)
#if defined __GNUC__
    __attribute__((format(printf, 1, 2)))
#endif
    ;

/* For run() and recover(): which call is under way from now on, as a number of
 * crashtest_begin()'s list, and that it turned out to be another one. */
void crashtest_call(unsigned call);
void crashtest_call_was(unsigned call);

/* Counts, of this process and those that it forked. */

/* Begin to count: once, before anything else, if ever.  calls ends with NULL
 * and is kept; states is how many there may be. */
void crashtest_begin(const char *const *calls, uint64_t states);

struct crashtest_totals {
	uint64_t stops;      /* places where a run was stopped */
	uint64_t distinct;   /* different disk images left behind */
	uint64_t checks;     /* calls of check(): more, as one image can come of
				several histories */
	uint64_t same;       /* crash states left out, being equal in everything
				to one that was checked */
	uint64_t recoveries; /* that were stopped */
	uint64_t violations;
};
struct crashtest_totals crashtest_totals(void);

/* Cells that stay empty, and why. */
struct crashtest_never {
	const char *call;  /* "*": each */
	const char *steps; /* names, with a space between */
	const char *reason;
};

/*
 * Print the table of calls and steps, the counts and the seed.  False if
 * anything was violated, if a cell is not empty that never (which ends with
 * NULLs) names, or, with all, if one is empty that it does not.
 */
bool crashtest_report(
    FILE *stream, uint64_t seed, const struct crashtest_never *never, bool all);

/*
 * Call item(first), and so on up to item(end - 1), each in a process of its
 * own, jobs of them at a time; one that does not end well is a violation.
 * With jobs 0, or where one point is repeated, in this process.
 */
void crashtest_items(
    uint64_t first, uint64_t end, unsigned jobs, void (*item)(uint64_t i));

/* For tests that have the machine (simos.h) in their own hands. */

/* As crashtest_run(), from the machine as it is; setup() is not called. */
void crashtest_stops(const struct crashtest *test);

/* Stop the recoveries of the machine as it is after the crash. */
void crashtest_recoveries(
    const struct crashtest *test, const struct crashtest_crash *crash);

/* The machine is in a state that a crash has left: count it. */
void crashtest_count_state(void);

/* Where we are, for crashtest_fail(): the name is not copied. */
void crashtest_at(const char *name, uint64_t seed, const char *phase);

/* A point is to be repeated, and not one of the test with this name. */
bool crashtest_skips(const char *name);

#endif
