/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offline.h - what is done with a whole store that is not in use.
 */
#ifndef OFFLINE_H
#define OFFLINE_H

#include "base.h"
#include "err.h"

/* Open, compact, close; the arguments are in order. */
enum kvlog_status offline_compact(const char *path,
    const struct kvlog_compact_options *options,
    struct kvlog_compact_report *report, struct kvlog_error *err);

#endif
