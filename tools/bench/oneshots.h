/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oneshots.h - processes that open a store, do one thing and end.
 *
 * Each turn runs up to three, one after the other, so that all meet the same
 * machine: a process that does nothing, the engine's command for users, and
 * its helper (oneshot.c), which is what counts.
 */
#ifndef BENCH_ONESHOTS_H
#define BENCH_ONESHOTS_H

#include "bench.h"

/* A value is an argument of the command that puts it. */
#define ONESHOTS_VALUE_MAX ((size_t)65536)

struct oneshots;

/*
 * oneshots_create - get ready for options->oneshot_num turns of verb ("get"
 * or "put") on the closed store in dir, in which each process is to end with
 * status.  NULL after a message.
 */
struct oneshots *oneshots_create(const struct engine *engine,
    const struct options *options, const char *dir, const char *verb,
    int status);

/*
 * oneshots_run - take the next turn, with a key of options->key_len bytes and
 * a value of value_len (to put, at most ONESHOTS_VALUE_MAX), and add the
 * helper's time to latency.  Returns BENCH_EXIT_DONE, or another status after
 * a message, which names what we are doing.
 */
enum bench_exit oneshots_run(struct oneshots *oneshots, const uint8_t *key,
    size_t value_len, const char *doing, struct histogram *latency);

/* oneshots_result - once all turns are taken: fill in the times. */
void oneshots_result(struct oneshots *oneshots, struct measure *measure);

/* oneshots_destroy - NULL is fine. */
void oneshots_destroy(struct oneshots *oneshots);

#endif /* BENCH_ONESHOTS_H */
