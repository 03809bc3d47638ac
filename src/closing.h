/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closing.h - hint files of sealed segments, and the end of a writing handle.
 */
#ifndef CLOSING_H
#define CLOSING_H

#include "log.h"

/*
 * A step towards a hint file of what follows the last hint: of the oldest
 * sealed segment, or of the active one if a long part of it lacks one.  First
 * an image in memory is made, then it becomes a file.  It covers only what
 * durable records attest.  False if there was nothing to do.
 */
bool log_write_hint(struct log *log, bool closing);

/* Whether the next step is towards that of a segment up to this number. */
bool log_lacks_hint(struct log *log, uint32_t upto);

/*
 * If nothing that is written says that the last commit is durable, write a
 * mark that does, and sync it.  False if there was nothing to do.
 */
bool log_attest(struct log *log);

/* After a sync of what this handle wrote, for nobody but this caller uses it
 * any more: if no other writer is left, sync all, mark the end as clean, write
 * hints and the end note. */
enum kvlog_status log_close(struct log *log, struct kvlog_error *err);

#endif
