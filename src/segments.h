/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segments.h - how full each segment file of an open store is, and of what.
 */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include "base.h"
#include "store.h"

/* See kvlog_segments(). */
enum kvlog_status segments_tell(
    struct store *db, kvlog_segment_fn *fn, void *arg, struct kvlog_error *err);

#endif
