/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.c - ordered walks: a merge of hints, without what has no value.
 */
#include "config.h"

#include "cursor.h"

#include <string.h>

static const struct merge_entry nothing;

struct cursor {
	struct merge *merge;
	struct merge_run *run;           /* of the merge */
	const struct merge_entry *entry; /* the merge's, or nothing */
	/* The keys it is about: low <= key < high. */
	struct hint_key low, high;
	bool all; /* of all buckets, but those that were dropped: */
	struct bucket_set buckets;
	uint8_t *bytes; /* of both */
	uint8_t *seek;  /* bytes of the key that was sought last */
	size_t seek_cap;
	uint64_t now_ms;
	bool keys_only;
	bool at_begin, at_end; /* nothing of the range lies in that direction */
	bool deletes;          /* are shown, too */
	uint64_t since;        /* what is not newer is left out */
};

/* Ranges */

/* The first key behind all that begin with so many bytes of it: the last byte
 * that can be is made greater.  Without any: the first of the next bucket. */
static void
pass_prefix(struct hint_key *key, uint8_t *bytes)
{
	while (key->len > 0 && bytes[key->len - 1] == UINT8_MAX)
		key->len--;
	if (key->len > 0)
		bytes[key->len - 1]++;
	else if (++key->bucket_ordinal == 0)
		key->bucket_seq++;
}

static struct hint_key
key_in(const struct cursor_range *range, const void *bytes, size_t len)
{
	return (struct hint_key){
	    range->bucket_seq, range->bucket_ordinal, (uint32_t)len, bytes};
}

static void
copy_key(struct hint_key *to, uint8_t *bytes, const struct hint_key *from)
{
	if (from->len > 0)
		memcpy(bytes, from->bytes, from->len);
	*to = *from;
	to->bytes = bytes;
}

static enum kvlog_status
set_bounds(struct cursor *c, const struct cursor_range *r)
{
	struct hint_key prefix = key_in(r, r->prefix, r->prefix_len);
	struct hint_key from = key_in(r, r->from, r->from_len);
	struct hint_key to = key_in(r, r->to, r->to_len);
	uint8_t *high;

	if (r->all_buckets) {
		c->high = (struct hint_key){UINT64_MAX, UINT32_MAX, 0, NULL};
		return KVLOG_OK;
	}
	c->bytes = os->malloc(
	    max_u64(prefix.len, from.len) + max_u64(prefix.len, to.len) + 1);
	if (c->bytes == NULL)
		return KVLOG_NOMEM;
	copy_key(&c->low, c->bytes,
	    hint_key_compare(&from, &prefix) > 0 ? &from : &prefix);
	high = c->bytes + c->low.len;
	copy_key(&c->high, high, &prefix);
	pass_prefix(&c->high, high);
	if (r->to != NULL && hint_key_compare(&to, &c->high) < 0)
		copy_key(&c->high, high, &to);
	return KVLOG_OK;
}

/* Cursors */

static void
go_to(struct cursor *c, const struct hint_key *key)
{
	c->at_begin = hint_key_compare(key, &c->low) <= 0;
	c->at_end = hint_key_compare(key, &c->high) >= 0;
	merge_seek(c->merge, c->at_begin ? &c->low
			     : c->at_end ? &c->high
					 : key);
	c->entry = &nothing;
}

void
cursor_first(struct cursor *c)
{
	go_to(c, &c->low);
}

void
cursor_last(struct cursor *c)
{
	go_to(c, &c->high);
}

enum kvlog_status
cursor_create(struct hint *const *hints, size_t count,
    const struct cursor_range *range, struct cursor **ret_cursor)
{
	struct cursor *c = os->calloc(1, sizeof *c);
	enum kvlog_status st;

	if (c == NULL)
		return KVLOG_NOMEM;
	c->now_ms = range->now_ms;
	c->keys_only = range->keys_only;
	c->all = range->all_buckets;
	st = set_bounds(c, range);
	if (st == KVLOG_OK)
		st = merge_create(hints, count, &c->merge);
	if (st == KVLOG_OK)
		c->run = merge_run_of(c->merge);
	if (st == KVLOG_OK && c->all)
		st = bucket_set_read(&c->buckets, c->merge, UINT64_MAX);
	if (st != KVLOG_OK) {
		cursor_destroy(c);
		return st;
	}
	if (!c->all)
		merge_run_within(c->merge, &c->low, &c->high);
	cursor_first(c);
	*ret_cursor = c;
	return KVLOG_OK;
}

void
cursor_destroy(struct cursor *c)
{
	if (c == NULL)
		return;
	merge_destroy(c->merge);
	bucket_set_fini(&c->buckets);
	os->free(c->bytes);
	os->free(c->seek);
	os->free(c);
}

void
cursor_since(struct cursor *c, uint64_t seq)
{
	c->deletes = true;
	c->since = seq;
	merge_run_within(c->merge, NULL, NULL);
}

enum kvlog_status
cursor_seek(struct cursor *c, const void *key, size_t key_len)
{
	struct hint_key at = c->low;

	if (c->seek_cap < key_len + 1) {
		uint8_t *grown = os->realloc(c->seek, key_len + 1);

		if (grown == NULL)
			return KVLOG_NOMEM;
		c->seek = grown;
		c->seek_cap = key_len + 1;
	}
	if (key_len > 0)
		memcpy(c->seek, key, key_len);
	at.len = (uint32_t)key_len;
	at.bytes = c->seek;
	go_to(c, &at);
	return KVLOG_OK;
}

/* Whether it is what this walk is for; what has expired is a delete.  What a
 * damaged record was, or when it was written, nobody knows. */
static bool
is_shown(struct cursor *c, struct merge_entry *e)
{
	struct record *rec = &e->rec;

	if (c->all && !bucket_set_has(&c->buckets, rec))
		return false;
	if (rec->type == RECORD_PUT && record_has_expired(rec, c->now_ms))
		rec->type = RECORD_DELETE;
	if (c->deletes && (e->damaged || rec->type == RECORD_DELETE))
		return e->damaged || rec->seq > c->since;
	return rec->type == RECORD_PUT && (!c->deletes || rec->seq > c->since);
}

/* Whether a key that the walk has come to is none of the range. */
static bool
is_outside(const struct cursor *c, const struct record *rec, bool back)
{
	struct hint_key key = hint_key_of(rec);

	return back ? hint_key_compare(&key, &c->low) < 0
		    : hint_key_compare(&key, &c->high) >= 0;
}

static enum kvlog_status
step(struct cursor *c, bool back)
{
	bool *ended = back ? &c->at_begin : &c->at_end;
	enum kvlog_status st = KVLOG_NOTFOUND;

	while (!*ended) {
		struct merge_entry *e;

		st = back ? merge_prev(c->merge) : merge_next(c->merge);
		if (st != KVLOG_OK && st != KVLOG_CORRUPT)
			break;
		*(back ? &c->at_end : &c->at_begin) = false;
		e = merge_entry(c->merge);
		c->entry = e;
		if (e->damaged && e->rec.key == NULL)
			return KVLOG_CORRUPT;
		*ended = is_outside(c, &e->rec, back);
		if (*ended || !is_shown(c, e))
			continue;
		if (e->damaged)
			return KVLOG_CORRUPT;
		if (!c->keys_only &&
		    !record_value_ok(&e->rec, segment_seed(e->seg, e->off))) {
			e->damaged = true;
			return KVLOG_CORRUPT;
		}
		return KVLOG_OK;
	}
	c->entry = &nothing;
	return *ended ? KVLOG_NOTFOUND : st;
}

static inline enum kvlog_status
go(struct cursor *c, bool back)
{
	const struct merge_entry *e = merge_run_on(c->run, back);

	if (UNLIKELY(e == NULL)) {
		if (!merge_find_run(c->merge, back, !c->keys_only))
			return step(c, back);
		e = merge_run_on(c->run, back);
	}
	c->entry = e;
	return KVLOG_OK;
}

enum kvlog_status
cursor_next(struct cursor *c)
{
	return go(c, false);
}

enum kvlog_status
cursor_prev(struct cursor *c)
{
	return go(c, true);
}

struct merge_run *
cursor_run(struct cursor *c)
{
	return c->run;
}

void
cursor_bounds(
    const struct cursor *c, struct hint_key *ret_low, struct hint_key *ret_high)
{
	*ret_low = c->low;
	*ret_high = c->high;
}

const struct merge_entry *
cursor_entry(const struct cursor *c)
{
	return c->entry;
}
