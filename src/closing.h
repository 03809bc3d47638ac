/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closing.h - hint files of sealed segments, and the end of a writing handle.
 */
#ifndef CLOSING_H
#define CLOSING_H

#include "log.h"

/*
 * Write the hint file of the oldest sealed segment that lacks one and that
 * durable records attest; true if one was written.
 */
bool log_write_hint(struct log *log);

/* Sync, mark the end as clean, write hints and the end note. */
enum kvlog_status log_close(struct log *log, struct kvlog_error *err);

#endif
