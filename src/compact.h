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

/* All zeros, but for what every compaction of a view needs.  log: NULL to look
 * and change nothing. */
void compact_init(struct compaction *c, struct views *views, struct view *view,
    struct log *log, uint64_t max_size);

void compact_take_options(
    struct compaction *c, const struct kvlog_compact_options *options);

/*
 * Compact, in the calling thread.  Nobody else changes the live set meanwhile
 * but by adding to its end: whoever writes beside it (c->online), it is the one
 * maintainer of the store.
 * On failure, and when progress has ended it, the runs that were finished stay.
 *
 * KVLOG_OK, _CANCELLED, _NOSPACE, _NOMEM, _IO, _BROKEN (a sync failed), _TOOBIG
 * (no round or location is left).
 */
enum kvlog_status compact_store(struct compaction *c, struct kvlog_error *err);

#endif
