/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact_run.h - one run of a compaction.
 */
#ifndef COMPACT_RUN_H
#define COMPACT_RUN_H

#include "compaction.h"

/*
 * Rewrite a run if that is worth it (run->rewritten); without a log, only say
 * so.  KVLOG_CORRUPT: damage was met, and noted; plan anew.
 */
enum kvlog_status compact_rewrite(
    struct compaction *c, struct compact_run *run, struct kvlog_error *err);

/* Whether there is an index that is whole, and leads to nothing that is lost:
 * then what counts in a run is what it leads to, and the run sees to it itself
 * that what it was decided against is durable.  Not for runs so large that it
 * would take much memory to remember which records count. */
bool compact_may_ask_index(
    const struct compaction *c, const struct compact_run *run);
#define COMPACT_ASKED_MAX (UINT64_C(2) << 30) /* bytes: 8 MiB of bits */

#endif
