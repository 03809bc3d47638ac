/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rehint.h - hint files that are wrong or of no use, removed and made anew.
 */
#ifndef REHINT_H
#define REHINT_H

#include "base.h"
#include "err.h"

/* kvlog_verify() with KVLOG_VERIFY_REBUILD_HINTS. */
enum kvlog_status rehint_store(const char *path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err);

#endif
