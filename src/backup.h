/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backup.h - a copy of an open store, made of links where that is possible.
 */
#ifndef BACKUP_H
#define BACKUP_H

#include "base.h"
#include "store.h"

/* kvlog_backup(); report is all zeros but for its size, and its segment_count
 * stays so unless the backup was made. */
enum kvlog_status backup_store(struct store *db, const char *path,
    const struct kvlog_backup_options *options,
    struct kvlog_backup_report *report, struct kvlog_error *err);

#endif
