/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blend.c - a walk over what a transaction sees: two walks as one.
 *
 * The blend knows where it is by a key of its own: at it, or just before it.
 * From there the writes are asked for their next key each time, and the cursor
 * is one step ahead if it has been asked before, in the same direction, and
 * what it came to has not been used.  Where the blend turns or jumps, the
 * cursor is led to its key anew.
 *
 * Of equal keys the written one counts; one that it deletes is passed over.
 */
#include "config.h"

#include "blend.h"

#include "err.h"
#include "os.h"

#include <kvlog.h>
#include <string.h>

enum place {
	AT_BEGIN, /* before the first key */
	AT_END,   /* behind the last one */
	AT_KEY,
	BEFORE_KEY,
};

/* Where the cursor is. */
enum lead {
	LEAD_NONE,    /* somewhere */
	LEAD_FORWARD, /* at the place of the blend, ... */
	LEAD_BACKWARD,
	LEAD_FOUND_FORWARD, /* or at the next key of the store from there */
	LEAD_FOUND_BACKWARD,
};

struct blend {
	struct cursor *cursor;
	const struct staged *staged;
	uint64_t number, seq, now_ms;
	struct hint_key low, high; /* of the cursor, which owns the bytes */
	enum place place;
	enum lead lead;
	enum kvlog_status found; /* by the cursor, if LEAD_FOUND_* */
	struct merge_entry entry;
	struct hint_key key; /* its bytes are those below */
	uint8_t bytes[];
};

enum kvlog_status
blend_create(struct cursor *cursor, struct staged *staged, uint64_t seq,
    uint64_t now_ms, struct blend **ret_blend)
{
	struct blend *b = os->calloc(1, sizeof *b + KVLOG_KEY_MAX);

	if (b == NULL)
		return KVLOG_NOMEM;
	b->cursor = cursor;
	b->staged = staged;
	b->number = staged_walk(staged);
	b->seq = seq;
	b->now_ms = now_ms;
	cursor_bounds(cursor, &b->low, &b->high);
	b->place = AT_BEGIN;
	*ret_blend = b;
	return KVLOG_OK;
}

void
blend_destroy(struct blend *b)
{
	cursor_destroy(b->cursor);
	os->free(b);
}

uint64_t
blend_number(const struct blend *b)
{
	return b->number;
}

const struct merge_entry *
blend_entry(const struct blend *b)
{
	return &b->entry;
}

/* Places */

static void
be_at(struct blend *b, const struct hint_key *key, enum place place)
{
	if (key->len > 0)
		memmove(b->bytes, key->bytes, key->len);
	b->key = *key;
	b->key.bytes = b->bytes;
	b->place = place;
}

static void
jump(struct blend *b, enum place place)
{
	b->place = place;
	b->lead = LEAD_NONE;
	memset(&b->entry, 0, sizeof b->entry);
}

void
blend_seek(struct blend *b, const void *key, size_t key_len)
{
	const struct hint_key to = {
	    b->low.bucket_seq, b->low.bucket_ordinal, (uint32_t)key_len, key};

	if (hint_key_compare(&to, &b->low) <= 0) {
		jump(b, AT_BEGIN);
	} else if (hint_key_compare(&to, &b->high) >= 0) {
		jump(b, AT_END);
	} else {
		jump(b, BEFORE_KEY);
		be_at(b, &to, BEFORE_KEY);
	}
}

void
blend_first(struct blend *b)
{
	jump(b, AT_BEGIN);
}

void
blend_last(struct blend *b)
{
	jump(b, AT_END);
}

/* The two walks */

/* Lead the cursor to where the blend is. */
static enum kvlog_status
lead(struct blend *b)
{
	if (b->place == AT_BEGIN)
		cursor_first(b->cursor);
	else if (b->place == AT_END)
		cursor_last(b->cursor);
	else
		return cursor_seek(b->cursor, b->key.bytes, b->key.len);
	return KVLOG_OK;
}

/* Whether the cursor has come to the key that the blend is at. */
static bool
is_there_already(const struct blend *b)
{
	const struct record *rec = &cursor_entry(b->cursor)->rec;

	return b->place == AT_KEY && rec->key != NULL &&
	       hint_key_is_of(&b->key, rec);
}

/* The store's next key: as of a cursor; it is used up by LEAD_FORWARD. */
static enum kvlog_status
ask_cursor(struct blend *b, bool forward)
{
	const enum lead found =
	    forward ? LEAD_FOUND_FORWARD : LEAD_FOUND_BACKWARD;

	if (b->lead == found)
		return b->found;
	if (b->lead != (forward ? LEAD_FORWARD : LEAD_BACKWARD)) {
		b->found = lead(b);
		if (b->found != KVLOG_OK)
			return b->found;
	}
	b->lead = forward ? LEAD_FORWARD : LEAD_BACKWARD;
	do {
		b->found =
		    forward ? cursor_next(b->cursor) : cursor_prev(b->cursor);
	} while ((b->found == KVLOG_OK || b->found == KVLOG_CORRUPT) &&
		 is_there_already(b));
	if (b->found != KVLOG_NOMEM)
		b->lead = found;
	return b->found;
}

static void
use_up(struct blend *b, bool forward)
{
	b->lead = forward ? LEAD_FORWARD : LEAD_BACKWARD;
}

/* The transaction's next key; NULL: none. */
static const struct staged_write *
ask_staged(const struct blend *b, bool forward)
{
	const struct hint_key *from = &b->key;

	if (b->place == (forward ? AT_END : AT_BEGIN))
		return NULL;
	if (b->place == (forward ? AT_BEGIN : AT_END))
		from = forward ? &b->low : &b->high;
	return forward ? staged_after(b->staged, b->number, from,
			     b->place != AT_KEY, &b->high)
		       : staged_before(b->staged, b->number, from, &b->low);
}

static bool
has_value(const struct blend *b, const struct staged_write *w)
{
	return w->type == RECORD_PUT &&
	       (w->expiry_ms == 0 || w->expiry_ms > b->now_ms);
}

static void
show_write(struct blend *b, const struct staged_write *w)
{
	const struct hint_key *key = &w->of->key;

	b->entry = (struct merge_entry){
	    .rec = {.type = w->type,
		.key_len = (uint16_t)key->len,
		.value_len = w->value_len,
		.seq = b->seq,
		.bucket_seq = key->bucket_seq,
		.bucket_ordinal = key->bucket_ordinal,
		.expiry_ms = w->expiry_ms,
		.key = key->bytes,
		.value = w->value},
	};
}

/* Which of the two comes first: < 0 the transaction's. */
static int
compare(const struct staged_write *w, enum kvlog_status found,
    const struct merge_entry *e, bool forward)
{
	struct hint_key key;
	int c;

	if (found == KVLOG_NOTFOUND)
		return -1;
	/* Damage of an unknown key is told where it is met. */
	if (w == NULL || e->rec.key == NULL)
		return 1;
	key = hint_key_of(&e->rec);
	c = hint_key_compare(&w->of->key, &key);
	return forward ? c : -c;
}

static enum kvlog_status
show_found(struct blend *b, bool forward)
{
	b->entry = *cursor_entry(b->cursor);
	use_up(b, forward);
	if (b->entry.rec.key != NULL) {
		const struct hint_key key = hint_key_of(&b->entry.rec);

		be_at(b, &key, AT_KEY);
	}
	return b->found;
}

static enum kvlog_status
step(struct blend *b, bool forward)
{
	for (;;) {
		const struct staged_write *w = ask_staged(b, forward);
		enum kvlog_status found = ask_cursor(b, forward);
		int c;

		if (found == KVLOG_NOMEM)
			return found;
		if (w == NULL && found == KVLOG_NOTFOUND) {
			jump(b, forward ? AT_END : AT_BEGIN);
			return found;
		}
		c = compare(w, found, cursor_entry(b->cursor), forward);
		if (c > 0)
			return show_found(b, forward);
		if (c == 0)
			use_up(b, forward);
		be_at(b, &w->of->key, AT_KEY);
		if (has_value(b, w)) {
			show_write(b, w);
			return KVLOG_OK;
		}
	}
}

enum kvlog_status
blend_next(struct blend *b)
{
	return step(b, true);
}

enum kvlog_status
blend_prev(struct blend *b)
{
	return step(b, false);
}
