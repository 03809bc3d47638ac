/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waste.h - garbage that no write has replaced: the records of dropped buckets,
 * and those that have expired.
 *
 * Nobody counts it when it comes to be.  A few records of each segment are
 * kept in mind instead, with their buckets and times, so that an estimate of
 * all takes no more than a look at these.
 */
#ifndef WASTE_H
#define WASTE_H

#include "base.h"
#include "bucket_set.h"
#include "view.h"

struct waste;

/*
 * Have samples of all segments that have such records: of the new ones some
 * entries of their hints are read, of the active one what was written since the
 * last look.  As the maintainer.  False if go_on() has said so, or there was no
 * memory: the next look goes on.
 */
bool waste_sample(struct views *views, struct view *view,
    bool (*go_on)(void *arg), void *go_on_arg);

/* Whether any of them are in a bucket that may be dropped.  With the views'
 * lock. */
bool waste_has_buckets(const struct segset *set);

/* Estimate segment->wasted, by samples, at a time; with the views' lock.
 * Returns the next time at which it is another. */
uint64_t waste_estimate(
    const struct segset *set, struct bucket_set *buckets, uint64_t now_ms);

/* It was not worth it: count no more of this segment's. */
void waste_forget(struct segment *seg);

#endif
