/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.c - ordered walks: a merge of hints, without what has no value.
 */
#include "config.h"

#include "cursor.h"

#include <string.h>

struct cursor {
	struct merge *merge;
	struct merge_entry entry;
	uint8_t *prefix;
	size_t prefix_len;
	uint64_t now_ms;
	bool keys_only;
	bool ended;     /* all that begins with the prefix has come */
	bool deletes;   /* are shown, too */
	uint64_t since; /* what is not newer is left out */
};

enum kvlog_status
cursor_create(struct hint *const *hints, size_t count, const void *prefix,
    size_t prefix_len, uint64_t now_ms, bool keys_only,
    struct cursor **ret_cursor)
{
	struct cursor *c = os->calloc(1, sizeof *c);
	enum kvlog_status st = KVLOG_NOMEM;

	if (c == NULL)
		return KVLOG_NOMEM;
	c->now_ms = now_ms;
	c->keys_only = keys_only;
	c->prefix_len = prefix_len;
	c->prefix = os->malloc(prefix_len + 1);
	if (c->prefix != NULL) {
		if (prefix_len > 0)
			memcpy(c->prefix, prefix, prefix_len);
		st = merge_create(hints, count, &c->merge);
	}
	if (st == KVLOG_OK)
		st = cursor_seek(c, prefix, prefix_len);
	if (st != KVLOG_OK) {
		cursor_destroy(c);
		return st;
	}
	*ret_cursor = c;
	return KVLOG_OK;
}

void
cursor_destroy(struct cursor *c)
{
	if (c == NULL)
		return;
	merge_destroy(c->merge);
	os->free(c->prefix);
	os->free(c);
}

void
cursor_since(struct cursor *c, uint64_t seq)
{
	c->deletes = true;
	c->since = seq;
}

enum kvlog_status
cursor_seek(struct cursor *c, const void *key, size_t key_len)
{
	struct hint_key from = {.len = (uint32_t)key_len, .bytes = key};

	/* Nothing before the prefix belongs to the walk. */
	if (key_compare(key, key_len, c->prefix, c->prefix_len) < 0) {
		from.len = (uint32_t)c->prefix_len;
		from.bytes = c->prefix;
	}
	memset(&c->entry, 0, sizeof c->entry);
	c->ended = false;
	return merge_seek(c->merge, &from);
}

/* Whether a record's key is behind all that the walk is about. */
static bool
is_behind(const struct cursor *c, const struct record *rec)
{
	if ((rec->flags & RECORD_BUCKET) != 0 || rec->key_len < c->prefix_len)
		return true;
	return c->prefix_len > 0 &&
	       memcmp(rec->key, c->prefix, c->prefix_len) != 0;
}

static bool
is_expired(const struct cursor *c, const struct record *rec)
{
	return (rec->flags & RECORD_EXPIRY) != 0 && rec->expiry_ms <= c->now_ms;
}

/* Whether it is what this walk is for; what has expired is a delete.  What a
 * damaged record was, or when it was written, nobody knows. */
static bool
is_shown(const struct cursor *c, struct merge_entry *e)
{
	struct record *rec = &e->rec;

	if (rec->type == RECORD_PUT && is_expired(c, rec))
		rec->type = RECORD_DELETE;
	if (c->deletes && (e->damaged || rec->type == RECORD_DELETE))
		return e->damaged || rec->seq > c->since;
	return rec->type == RECORD_PUT && (!c->deletes || rec->seq > c->since);
}

enum kvlog_status
cursor_next(struct cursor *c)
{
	struct merge_entry *e = &c->entry;
	enum kvlog_status st = KVLOG_OK;

	while (!c->ended) {
		st = merge_next(c->merge);
		if (st != KVLOG_OK && st != KVLOG_CORRUPT)
			break;
		*e = *merge_entry(c->merge);
		if (e->damaged && e->rec.key == NULL)
			return KVLOG_CORRUPT;
		/* Keys of buckets come after all others. */
		c->ended = is_behind(c, &e->rec);
		if (c->ended || !is_shown(c, e))
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
	memset(e, 0, sizeof *e);
	return c->ended ? KVLOG_NOTFOUND : st;
}

const struct merge_entry *
cursor_entry(const struct cursor *c)
{
	return &c->entry;
}
