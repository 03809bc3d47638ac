/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sync.h - making commits durable.
 */
#ifndef SYNC_H
#define SYNC_H

#include "log.h"

/* Make everything up to seq durable, sharing a sync with whoever else waits
 * for one.  KVLOG_BROKEN if a sync fails or has failed. */
enum kvlog_status log_sync(
    struct log *log, uint64_t seq, struct kvlog_error *err);

/* Whether more sealed segments wait for their sync than should. */
bool log_is_behind(struct log *log);

/* Sync sealed segments only, the oldest first, at most one; sets *ret_more
 * to whether there are others. */
enum kvlog_status log_sync_sealed(
    struct log *log, bool *ret_more, struct kvlog_error *err);

/* Sync a file that is no segment yet, but may be one by the time this ends:
 * whoever is killed behind its failure leaves the doubt that syncs of the log
 * leave.  Nothing is done, and 0 returned, while others sync for too long. */
int log_sync_ahead(struct log *log, int fd);

/* Wait until seq is durable; KVLOG_TIMEOUT, KVLOG_BROKEN. */
enum kvlog_status log_wait(struct log *log, uint64_t seq, uint32_t timeout_ms);

/* Close descriptors that no sync needs any more, unless a sync is under way:
 * for a handle that follows others and has nothing to sync. */
void log_close_synced(struct log *log);

/* Sync once, whatever is durable already: a mark has no number. */
enum kvlog_status log_sync_mark(struct log *log, struct kvlog_error *err);

#endif
