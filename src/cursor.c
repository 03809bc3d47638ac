/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cursor.c - ordered walks: a merge of the segments' hints.
 *
 * Every segment is a source of keys in order, each key once: its hint file,
 * or an image of the same form made in memory for what no file covers yet.
 * The sources stand in a heap by their present keys; of equal keys the one
 * of the newest segment comes first and hides the others, which is all that
 * a tombstone has to do.
 *
 * An entry whose record is damaged has no key, but the hash of one; it comes
 * as soon as its source gets to it, which is before any source gets to that
 * key.  Older entries of that hash are then damage too, since they may be
 * what the damaged record replaced.
 */
#include "config.h"

#include "cursor.h"

#include <string.h>

struct source {
	const struct segment *seg;
	const struct hint *hint;
	struct hint *own; /* made for this cursor, or NULL */
	uint64_t next;    /* number of the entry that entry holds */
	struct cursor_entry entry;
	uint64_t hash;   /* of the key, as the hint says */
	uint64_t prefix; /* first 8 bytes of the key, to compare */
	size_t age;      /* place in the set: greater is newer */
};

/* A damaged entry that was met. */
struct damaged {
	uint64_t hash;
	size_t age;
	const struct segment *seg;
	uint64_t off;
};

struct cursor {
	struct source *sources;
	size_t source_count;
	struct source **heap; /* sources that have an entry */
	size_t heap_count;
	struct cursor_entry entry;
	const uint8_t *last_key; /* of the last sound entry, or NULL */
	size_t last_len;
	uint8_t *prefix;
	size_t prefix_len;
	uint64_t now_ms;
	uint64_t end;
	bool keys_only;
	struct damaged *damaged;
	size_t damaged_count, damaged_cap;
};

/* Read the entry number source->next; false if there are no more. */
static bool
load_entry(const struct cursor *cursor, struct source *source)
{
	for (; source->next < source->hint->entry_count; source->next++) {
		struct cursor_entry *e = &source->entry;
		const struct segment *seg = source->seg;
		struct hint_entry h;
		bool parsed;

		hint_get(source->hint, source->next, &h);
		e->seg = seg;
		e->off = h.off;
		source->hash = h.hash;
		parsed = record_parse(
		    seg->map.addr + h.off, source->hint->to - h.off, &e->rec);
		e->damaged = !parsed || !record_header_ok(seg->map.addr + h.off,
					    &e->rec, segment_seed(seg, h.off));
		if (e->damaged) {
			e->rec.key = NULL;
			e->rec.key_len = 0;
			source->prefix = 0;
			return true; /* reported at once: it sorts first */
		}
		if ((e->rec.flags & RECORD_BUCKET) != 0 ||
		    (e->rec.type != RECORD_PUT && e->rec.type != RECORD_DELETE))
			continue;
		if (cursor->prefix_len > 0 &&
		    (e->rec.key_len < cursor->prefix_len ||
			memcmp(e->rec.key, cursor->prefix,
			    cursor->prefix_len) != 0))
			return false; /* past the prefix */
		source->prefix = key_prefix(e->rec.key, e->rec.key_len);
		return true;
	}
	return false;
}

/* By key; of equal keys the newer first. */
static bool
comes_before(const struct source *a, const struct source *b)
{
	int c;

	if (a->prefix != b->prefix)
		return a->prefix < b->prefix;
	c = key_compare(a->entry.rec.key, a->entry.rec.key_len,
	    b->entry.rec.key, b->entry.rec.key_len);
	return c != 0 ? c < 0 : a->age > b->age;
}

static void
sift_down(struct cursor *c, size_t i)
{
	struct source *moved = c->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= c->heap_count)
			break;
		if (child + 1 < c->heap_count &&
		    comes_before(c->heap[child + 1], c->heap[child]))
			child++;
		if (!comes_before(c->heap[child], moved))
			break;
		c->heap[i] = c->heap[child];
		i = child;
	}
	c->heap[i] = moved;
}

static void
build_heap(struct cursor *c)
{
	c->heap_count = 0;
	for (size_t i = 0; i < c->source_count; i++)
		if (load_entry(c, &c->sources[i]))
			c->heap[c->heap_count++] = &c->sources[i];
	for (size_t i = c->heap_count / 2; i-- > 0;)
		sift_down(c, i);
}

/* Let the source at the top of the heap go to its next entry. */
static void
advance_top(struct cursor *c)
{
	struct source *top = c->heap[0];

	top->next++;
	if (!load_entry(c, top))
		c->heap[0] = c->heap[--c->heap_count];
	if (c->heap_count > 0)
		sift_down(c, 0);
}

/* Images for segments without a hint file. */
static enum kvlog_status
open_source(struct cursor *c, struct segment *seg, size_t age, bool last)
{
	struct source *source = &c->sources[age];
	uint64_t end = last ? c->end : segment_end(seg);
	enum kvlog_status st;

	source->seg = seg;
	source->age = age;
	source->hint = last ? NULL : atomic_load(&seg->hint);
	if (source->hint != NULL)
		return KVLOG_OK;
	st = hint_build(seg, SEGMENT_DATA_OFF, end, &source->own, NULL);
	source->hint = source->own;
	return st;
}

enum kvlog_status
cursor_create(struct segment *const *segments, size_t count, uint64_t end,
    const void *prefix, size_t prefix_len, uint64_t now_ms, bool keys_only,
    struct cursor **ret_cursor)
{
	struct cursor *c = os->calloc(1, sizeof *c);
	enum kvlog_status st = KVLOG_NOMEM;

	if (c == NULL)
		return KVLOG_NOMEM;
	c->now_ms = now_ms;
	c->keys_only = keys_only;
	c->end = end;
	c->prefix_len = prefix_len;
	c->prefix = os->malloc(prefix_len + 1);
	c->sources = os->calloc(count, sizeof *c->sources);
	c->heap = os->calloc(count, sizeof(*c->heap));
	if (c->prefix == NULL || c->sources == NULL || c->heap == NULL)
		goto out;
	if (prefix_len > 0)
		memcpy(c->prefix, prefix, prefix_len);
	c->source_count = count;

	st = KVLOG_OK;
	for (size_t i = 0; i < count && st == KVLOG_OK; i++)
		st = open_source(c, segments[i], i, i + 1 == count);
	if (st == KVLOG_OK)
		st = cursor_seek(c, prefix, prefix_len);
	if (st == KVLOG_OK) {
		*ret_cursor = c;
		c = NULL;
	}
out:
	cursor_destroy(c);
	return st;
}

void
cursor_destroy(struct cursor *cursor)
{
	if (cursor == NULL)
		return;
	for (size_t i = 0; i < cursor->source_count; i++)
		hint_close(cursor->sources[i].own);
	os->free(cursor->sources);
	os->free(cursor->heap);
	os->free(cursor->damaged);
	os->free(cursor->prefix);
	os->free(cursor);
}

enum kvlog_status
cursor_seek(struct cursor *cursor, const void *key, size_t key_len)
{
	/* Nothing before the prefix belongs to the walk. */
	if (key_compare(key, key_len, cursor->prefix, cursor->prefix_len) < 0) {
		key = cursor->prefix;
		key_len = cursor->prefix_len;
	}
	for (size_t i = 0; i < cursor->source_count; i++) {
		struct source *s = &cursor->sources[i];

		s->next = hint_seek(s->hint, s->seg, key, key_len);
	}
	memset(&cursor->entry, 0, sizeof cursor->entry);
	cursor->damaged_count = 0;
	cursor->last_key = NULL;
	build_heap(cursor);
	return KVLOG_OK;
}

static enum kvlog_status
note_damaged(struct cursor *c, const struct source *source)
{
	if (c->damaged_count == c->damaged_cap) {
		size_t cap = c->damaged_cap > 0 ? 2 * c->damaged_cap : 8;
		struct damaged *grown;

		grown = os->realloc(c->damaged, cap * sizeof *grown);
		if (grown == NULL)
			return KVLOG_NOMEM;
		c->damaged = grown;
		c->damaged_cap = cap;
	}
	c->damaged[c->damaged_count++] = (struct damaged){
	    source->hash, source->age, source->entry.seg, source->entry.off};
	return KVLOG_OK;
}

/* The damaged entry that may have replaced one of this hash and age. */
static const struct damaged *
find_damaged(const struct cursor *c, uint64_t hash, size_t age)
{
	for (size_t i = 0; i < c->damaged_count; i++)
		if (c->damaged[i].hash == hash && c->damaged[i].age > age)
			return &c->damaged[i];
	return NULL;
}

enum kvlog_status
cursor_next(struct cursor *cursor)
{
	struct cursor_entry *e = &cursor->entry;

	while (cursor->heap_count > 0) {
		const struct source *top = cursor->heap[0];
		const struct damaged *damaged =
		    find_damaged(cursor, top->hash, top->age);

		*e = top->entry;
		if (e->damaged && note_damaged(cursor, top) != KVLOG_OK)
			return KVLOG_NOMEM;
		advance_top(cursor);
		if (e->damaged)
			return KVLOG_CORRUPT;
		/* Older entries of a key are hidden by the first one. */
		if (cursor->last_key != NULL &&
		    key_compare(e->rec.key, e->rec.key_len, cursor->last_key,
			cursor->last_len) == 0)
			continue;
		cursor->last_key = e->rec.key;
		cursor->last_len = e->rec.key_len;
		if (e->rec.type != RECORD_PUT)
			continue;
		if (damaged != NULL) {
			e->seg = damaged->seg;
			e->off = damaged->off;
			e->damaged = true;
			return KVLOG_CORRUPT;
		}
		if ((e->rec.flags & RECORD_EXPIRY) != 0 &&
		    e->rec.expiry_ms <= cursor->now_ms)
			continue;
		if (!cursor->keys_only &&
		    !record_value_ok(&e->rec, segment_seed(e->seg, e->off))) {
			e->damaged = true;
			return KVLOG_CORRUPT;
		}
		return KVLOG_OK;
	}
	memset(e, 0, sizeof *e);
	return KVLOG_NOTFOUND;
}

const struct cursor_entry *
cursor_entry(const struct cursor *cursor)
{
	return &cursor->entry;
}
