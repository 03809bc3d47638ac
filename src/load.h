/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.h - filling the index when a store is opened.
 */
#ifndef LOAD_H
#define LOAD_H

#include "base.h"
#include "index.h"

#define LOAD_THREADS_MAX 8

/*
 * Fill an index that is empty: in memory mode with all there is, by up to so
 * many threads (0: as the machine has processors, and the keys are worth it);
 * in hints mode with the end of the active segment, all before which gets a
 * hint in memory where no file covers it.  A damaged hint file costs time
 * only.
 */
enum kvlog_status load_index(struct index *index, struct hintset *hints,
    unsigned threads, struct kvlog_error *err);

#endif
