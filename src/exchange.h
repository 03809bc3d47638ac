/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.h - segments that a compaction has replaced, in a view that lives
 * on: what takes their place is in the set at once, and then the index is led
 * over, some records at a time.
 *
 * In between an entry leads to the old place of a record or to the new one,
 * where the same stands.  When none leads to the old segments any more, these
 * go as soon as no look-up and no pin can be at them.
 *
 * All with the views' lock held.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "base.h"
#include "epoch.h"
#include "index.h"
#include "segset.h"

struct exchange;

/*
 * Give segs, which are opened and mapped, their locations, so that they can
 * take the place of set->segments[first .. first + old_count).  KVLOG_NOMEM,
 * _TOOBIG.  expired: records may have been dropped that had expired.  Until
 * exchange_swap() all is as it was, and exchange_destroy() leaves it so, the
 * segments being the caller's still.
 */
enum kvlog_status exchange_create(struct exchange **ret_exchange,
    struct segset *set, size_t first, size_t old_count,
    struct segment *const *segs, size_t count, bool expired,
    struct kvlog_error *err);

/* They are in the set from now on, which owns them. */
void exchange_swap(struct exchange *exchange);

/* Let the entries of at most so many records lead to their new places; false
 * when all do. */
bool exchange_move(
    struct exchange *exchange, struct index *index, size_t records);

/* The same of what the output is newer than all the index knows of: it is
 * applied as if it stood in the log.  KVLOG_NOMEM; may be called again. */
enum kvlog_status exchange_apply(struct exchange *exchange, struct index *index,
    bool *ret_bad, struct kvlog_error *err);

/*
 * When all is moved, and the index knows all that the compaction has decided
 * against: take out what still leads to at most so many records of the old
 * segments, as it has expired or is deleted; false when nothing does.
 */
bool exchange_sweep(
    struct exchange *exchange, struct index *index, size_t records);

/*
 * Let the old segments go, once nobody is inside epoch, and then pins, who was
 * before.  Frees the exchange; false: it has to stay, since damage hides what
 * leads to the old segments.
 */
bool exchange_end(
    struct exchange *exchange, struct epoch *epoch, struct epoch *pins);

void exchange_destroy(struct exchange *exchange); /* NULL is fine */

#endif
