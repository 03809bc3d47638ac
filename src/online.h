/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * online.h - compaction of a store that is open, beside all who use it.
 */
#ifndef ONLINE_H
#define ONLINE_H

#include "store.h"

/* See kvlog_compact(). */
enum kvlog_status online_compact(struct store *store,
    const struct kvlog_compact_options *options,
    struct kvlog_compact_report *report, struct kvlog_error *err);

#endif
