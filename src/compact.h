/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact.h - compaction: what has been replaced or deleted gives its space
 * back.
 *
 * Of an open store, runs of neighbouring sealed segments are rewritten without
 * the records that count no more (output.h).  Which runs: those that free much
 * for what has to be copied.
 */
#ifndef COMPACT_H
#define COMPACT_H

#include "compaction.h"

/*
 * Compact, in the calling thread, whose store nobody else writes to.
 * On failure, and when progress has ended it, the runs that were finished stay.
 *
 * KVLOG_OK, _CANCELLED, _NOSPACE, _NOMEM, _IO, _BROKEN (a sync failed), _TOOBIG
 * (no round or location is left).
 */
enum kvlog_status compact_store(struct compaction *c, struct kvlog_error *err);

#endif
