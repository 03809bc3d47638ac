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

#endif
