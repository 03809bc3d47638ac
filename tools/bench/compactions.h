/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compactions.h - benchmarks of one call that gives back the space of what was
 * replaced.
 *
 * Each begins with a store of its own, in which every record was put twice.
 * Both puts of most records are a sixteenth of all apart: so half of what is
 * in a file is garbage, wherever it lies, and nothing was given back yet.
 */
#ifndef BENCH_COMPACTIONS_H
#define BENCH_COMPACTIONS_H

#include "session.h"

/* compactions_prepare - leave such a store, open. */
bool compactions_prepare(
    struct session *session, const struct workload *workload);

/*
 * compactions_measure - compact it, alone or while records are put.  Alone,
 * what it has become is then copied, for comparison; and the store is closed.
 */
bool compactions_measure(struct session *session,
    const struct workload *workload, struct measure *measure);

#endif /* BENCH_COMPACTIONS_H */
