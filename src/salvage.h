/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * salvage.h - out of a damaged store, a new one of all that can be proven.
 */
#ifndef SALVAGE_H
#define SALVAGE_H

#include "base.h"
#include "err.h"

/* kvlog_salvage(). */
enum kvlog_status salvage_store(const char *path, const char *new_path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err);

#endif
