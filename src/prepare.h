/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prepare.h - what the maintenance thread has ready before a commit needs it:
 * the next segment (the spare), and pages and blocks to store into.
 */
#ifndef PREPARE_H
#define PREPARE_H

#include "base.h"
#include "log.h"

/* Make the next segment if it is wanted; true if it was made. */
bool log_prepare_spare(struct log *log);

/*
 * One step ahead of the log: pages of the active segment, or of the spare
 * (only by the one that maintains the store for all), in step with the log.
 * False if there was nothing to do.
 */
bool log_prepare_pages(struct log *log, bool maintainer);

#endif
