/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.h - a walk over a store's keys in order, at one moment.
 */
#ifndef CURSOR_H
#define CURSOR_H

#include "base.h"
#include "merge.h"

struct cursor;

/*
 * Begin a walk over the keys that the hints tell, which are in the order of
 * the log; their segments stay open until the cursor is destroyed.  prefix is
 * copied.  now_ms: against which expiry is judged.  keys_only: the sums of
 * values are not verified.
 */
enum kvlog_status cursor_create(struct hint *const *hints, size_t count,
    const void *prefix, size_t prefix_len, uint64_t now_ms, bool keys_only,
    struct cursor **ret_cursor);
void cursor_destroy(struct cursor *cursor); /* NULL is fine */

/* Show only what commits after seq have written, and deletes too. */
void cursor_since(struct cursor *cursor, uint64_t seq);

/* Next key that has a value: KVLOG_OK, _NOTFOUND at the end, _CORRUPT for an
 * entry whose record is damaged (the walk can go on), _NOMEM. */
enum kvlog_status cursor_next(struct cursor *cursor);

/* To just before the first key >= key within the prefix. */
enum kvlog_status cursor_seek(
    struct cursor *cursor, const void *key, size_t key_len);

/* What cursor_next() came to: valid until the cursor moves.  seg is NULL
 * before the first; rec.key is NULL where a damaged header hides the key. */
const struct merge_entry *cursor_entry(const struct cursor *cursor);

#endif
