/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blend.h - a walk over a store's keys in order, with what a transaction has
 * written, and not yet committed, in front of it.
 */
#ifndef BLEND_H
#define BLEND_H

#include "base.h"
#include "cursor.h"
#include "staged.h"

/*
 * The writes are those until this was made, whatever is written later.  Takes
 * the cursor, at which nothing has been done; the writes are not owned: once
 * they are gone, it can only be destroyed.  seq: the commit that they are to
 * be; now_ms: against which their expiry is judged.  KVLOG_NOMEM: the cursor is
 * still the caller's.
 */
struct blend;
enum kvlog_status blend_create(struct cursor *cursor, struct staged *staged,
    uint64_t seq, uint64_t now_ms, struct blend **ret_blend);
void blend_destroy(struct blend *blend);

/* The number up to which it shows writes: if less is left of them, it ends. */
uint64_t blend_number(const struct blend *blend);

/* As those of a cursor. */
enum kvlog_status blend_next(struct blend *blend);
enum kvlog_status blend_prev(struct blend *blend);
void blend_seek(struct blend *blend, const void *key, size_t key_len);
void blend_first(struct blend *blend);
void blend_last(struct blend *blend);
/* seg is NULL, too, where the entry is of the transaction. */
const struct merge_entry *blend_entry(const struct blend *blend);

#endif
