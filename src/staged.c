/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * staged.c - the writes of a transaction before its commit.
 *
 *     before:   w1 <- w2 <- w3 <- w4 <- last
 *                ^           ^     ^
 *                +-- older --+     |
 *                            |     |
 *     newest:              key a  key b      in a table by hash; sorted by the
 *                                            first walk, into a skip list
 *
 * Keys and versions are cut from chunks in the order in which they come, so
 * that to go back to a savepoint is to take the versions since off their keys,
 * newest first, and to cut from where it was.  A version that no savepoint and
 * no walk knows of is overwritten in its place, if the new value fits.
 *
 * A walk shows the versions up to the number that was the last when it began.
 * It keeps no place in here, but looks for the next key each time.
 */
#include "config.h"

#include "staged.h"

#include "err.h"
#include "os.h"
#include "record.h"

#include <string.h>

#define CHUNK_MIN (UINT64_C(16) << 10)
#define CHUNK_MAX (UINT64_C(1) << 20)
#define TABLE_MIN 64u
#define ALIGN 8u

struct staged_chunk {
	struct staged_chunk *older;
	uint64_t size, used; /* bytes */
	uint8_t bytes[];
};

struct staged_savepoint {
	uint64_t id, number; /* of the last write before it */
	struct staged_chunk *chunk;
	uint64_t used;
};

static_assert(offsetof(struct staged_chunk, bytes) % ALIGN == 0, "aligned");

static void
free_chunks(struct staged *staged, const struct staged_chunk *until)
{
	while (staged->chunk != until) {
		struct staged_chunk *chunk = staged->chunk;

		staged->chunk = chunk->older;
		staged->bytes -= chunk->size;
		os->free(chunk);
	}
}

void
staged_fini(struct staged *staged)
{
	free_chunks(staged, NULL);
	os->free(staged->table);
	os->free(staged->savepoints);
	memset(staged, 0, sizeof *staged);
}

/* What is larger than a chunk has one of its own; the rest of the one before
 * lies unused. */
static void *
cut(struct staged *staged, uint64_t len)
{
	struct staged_chunk *chunk = staged->chunk;
	uint64_t size;
	void *p;

	len = round_up(len, ALIGN);
	if (chunk == NULL || chunk->size - chunk->used < len) {
		size = max_u64(CHUNK_MIN, min_u64(CHUNK_MAX, staged->bytes));
		size = max_u64(size, len);
		if (size > SIZE_MAX - sizeof *chunk)
			return NULL;
		chunk = os->malloc(sizeof *chunk + size);
		if (chunk == NULL)
			return NULL;
		chunk->older = staged->chunk;
		chunk->size = size;
		chunk->used = 0;
		staged->chunk = chunk;
		staged->bytes += size;
	}
	p = chunk->bytes + chunk->used;
	chunk->used += len;
	return p;
}

/* The table */

static struct staged_key **
place_of(const struct staged *staged, uint64_t hash)
{
	return &staged->table[hash & (staged->table_size - 1)];
}

/* Where there is no memory for it, the old one serves. */
static void
grow_table(struct staged *staged)
{
	const size_t size =
	    staged->table == NULL ? TABLE_MIN : 2 * staged->table_size;
	struct staged_key **old = staged->table, *key, *next;
	const size_t old_size = staged->table_size;
	struct staged_key **table = os->calloc(size, sizeof *table);

	if (table == NULL)
		return;
	staged->table = table;
	staged->table_size = size;
	for (size_t i = 0; i < old_size; i++)
		for (key = old[i]; key != NULL; key = next) {
			struct staged_key **place = place_of(staged, key->hash);

			next = key->chain;
			key->chain = *place;
			*place = key;
		}
	os->free(old);
}

static bool
is_equal(const struct hint_key *a, const struct hint_key *b)
{
	return a->len == b->len && a->bucket_seq == b->bucket_seq &&
	       a->bucket_ordinal == b->bucket_ordinal &&
	       memcmp(a->bytes, b->bytes, a->len) == 0;
}

static struct staged_key *
find_key(const struct staged *staged, const struct hint_key *key, uint64_t hash)
{
	struct staged_key *k = NULL;

	if (staged->table != NULL)
		k = *place_of(staged, hash);
	while (k != NULL && (k->hash != hash || !is_equal(&k->key, key)))
		k = k->chain;
	return k;
}

static void
take_from_table(struct staged *staged, struct staged_key *key)
{
	struct staged_key **place = place_of(staged, key->hash);

	while (*place != key)
		place = &(*place)->chain;
	*place = key->chain;
	staged->key_count--;
}

/* The order */

/* One in four keys reaches the next level, and which do their hashes say; their
 * 40 bits are spread first, of which the table has used the low ones. */
static uint32_t
height_of(uint64_t hash)
{
	uint64_t bits = hash * UINT64_C(0x9e3779b97f4a7c15) >> 32;
	uint32_t height = 1;

	for (; height < STAGED_HEIGHT_MAX && (bits & 3) == 0; bits >>= 2)
		height++;
	return height;
}

/* The last key before this one at each level, or where the first one is
 * noted. */
static struct staged_key *
find_before(struct staged *staged, const struct hint_key *key,
    struct staged_key **links[STAGED_HEIGHT_MAX])
{
	struct staged_key **next = staged->first, *last = NULL;

	for (unsigned level = STAGED_HEIGHT_MAX; level-- > 0;) {
		while (next[level] != NULL &&
		       hint_key_compare(&next[level]->key, key) < 0) {
			last = next[level];
			next = last->next;
		}
		if (links != NULL)
			links[level] = &next[level];
	}
	return last;
}

static void
link_key(struct staged *staged, struct staged_key *key)
{
	struct staged_key **links[STAGED_HEIGHT_MAX];

	(void)find_before(staged, &key->key, links);
	for (unsigned level = 0; level < key->height; level++) {
		key->next[level] = *links[level];
		*links[level] = key;
	}
}

static void
unlink_key(struct staged *staged, struct staged_key *key)
{
	struct staged_key **links[STAGED_HEIGHT_MAX];

	(void)find_before(staged, &key->key, links);
	for (unsigned level = 0; level < key->height; level++) {
		assert(*links[level] == key);
		*links[level] = key->next[level];
	}
}

/* Writing */

const struct staged_write *
staged_find(
    const struct staged *staged, const struct hint_key *key, uint64_t hash)
{
	const struct staged_key *k = find_key(staged, key, hash);

	return k != NULL ? k->newest : NULL;
}

static struct staged_key *
add_key(struct staged *staged, const struct hint_key *key, uint64_t hash)
{
	const uint32_t height = height_of(hash);
	const size_t head =
	    sizeof(struct staged_key) + height * sizeof(struct staged_key *);
	struct staged_key *k = cut(staged, head + key->len);

	if (k == NULL)
		return NULL;
	*k = (struct staged_key){.hash = hash, .height = height, .key = *key};
	k->key.bytes = memcpy((uint8_t *)k + head, key->bytes, key->len);
	return k;
}

/* Once nothing can fail any more. */
static void
enter_key(struct staged *staged, struct staged_key *key)
{
	struct staged_key **place = place_of(staged, key->hash);

	key->chain = *place;
	*place = key;
	staged->key_count++;
	if (staged->ordered)
		link_key(staged, key);
}

static void
fill(struct staged_write *w, const struct staged_write *how, const void *value)
{
	w->expiry_ms = how->expiry_ms;
	w->value_len = how->value_len;
	w->type = how->type;
	w->needless = how->needless;
	if (w->value_len > 0)
		memmove(w->value, value, w->value_len); /* perhaps of its own */
}

/* Of its record, if it is the newest of its key; NULL: none. */
static uint64_t
size_of(const struct hint_key *key, const struct staged_write *w)
{
	if (w == NULL || w->needless)
		return 0;
	return record_size(
	    record_flags_of(key->bucket_seq, key->bucket_ordinal, w->expiry_ms),
	    key->len, w->value_len);
}

/* The newest version of a key was this one, and is that one now. */
static void
exchange(struct staged *staged, const struct hint_key *key,
    const struct staged_write *old, const struct staged_write *now)
{
	staged->commit_size -= size_of(key, old);
	staged->commit_count -= old != NULL && !old->needless;
	staged->commit_size += size_of(key, now);
	staged->commit_count += now != NULL && !now->needless;
}

enum kvlog_status
staged_add(struct staged *staged, const struct hint_key *key, uint64_t hash,
    const struct staged_write *how, const void *value)
{
	struct staged_key *k = find_key(staged, key, hash);
	struct staged_write *w = k != NULL ? k->newest : NULL;
	const bool fresh = k == NULL;

	if (staged->commit_max != 0 &&
	    staged->commit_size - size_of(key, w) + size_of(key, how) >
		staged->commit_max)
		return KVLOG_TOOBIG;
	if (w != NULL && w->number > staged->frozen &&
	    how->value_len <= w->value_cap) {
		exchange(staged, key, w, how);
		fill(w, how, value);
		return KVLOG_OK;
	}
	if (staged->key_count >= staged->table_size)
		grow_table(staged);
	if (staged->table == NULL)
		return KVLOG_NOMEM;
	if (fresh)
		k = add_key(staged, key, hash);
	w = k != NULL ? cut(staged, sizeof *w + (uint64_t)how->value_len)
		      : NULL;
	if (w == NULL)
		return KVLOG_NOMEM;
	exchange(staged, key, k->newest, how);
	w->before = staged->last;
	w->older = k->newest;
	w->of = k;
	w->number = ++staged->number;
	w->value_cap = how->value_len;
	fill(w, how, value);
	k->newest = staged->last = w;
	if (fresh)
		enter_key(staged, k);
	return KVLOG_OK;
}

/* Savepoints */

enum kvlog_status
staged_save(struct staged *staged, uint64_t *ret_savepoint)
{
	if (staged->savepoint_count == staged->savepoint_cap) {
		size_t cap = max_u64(8, 2 * staged->savepoint_cap);
		struct staged_savepoint *more =
		    os->realloc(staged->savepoints, cap * sizeof *more);

		if (more == NULL)
			return KVLOG_NOMEM;
		staged->savepoints = more;
		staged->savepoint_cap = cap;
	}
	staged->savepoints[staged->savepoint_count++] =
	    (struct staged_savepoint){
		.id = ++staged->savepoint_id,
		.number = staged->number,
		.chunk = staged->chunk,
		.used = staged->chunk != NULL ? staged->chunk->used : 0,
	    };
	staged->frozen = staged->number;
	*ret_savepoint = staged->savepoint_id;
	return KVLOG_OK;
}

static void
undo_last(struct staged *staged)
{
	struct staged_write *w = staged->last;
	struct staged_key *key = w->of;

	exchange(staged, &key->key, w, w->older);
	staged->last = w->before;
	key->newest = w->older;
	if (key->newest != NULL)
		return;
	take_from_table(staged, key);
	if (staged->ordered)
		unlink_key(staged, key);
}

/* Their ids grow. */
static size_t
find_savepoint(const struct staged *staged, uint64_t id)
{
	size_t low = 0, high = staged->savepoint_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (staged->savepoints[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
staged_undo(struct staged *staged, uint64_t savepoint, uint64_t *ret_number)
{
	size_t i = find_savepoint(staged, savepoint);
	const struct staged_savepoint *to;

	if (i == staged->savepoint_count ||
	    staged->savepoints[i].id != savepoint)
		return false;
	to = &staged->savepoints[i];
	while (staged->last != NULL && staged->last->number > to->number)
		undo_last(staged);
	free_chunks(staged, to->chunk);
	if (staged->chunk != NULL)
		staged->chunk->used = to->used;
	staged->savepoint_count = i + 1;
	*ret_number = to->number;
	return true;
}

/* Ordering */

/* Of two lists in order, linked by next[0], one. */
static struct staged_key *
join(struct staged_key *a, struct staged_key *b)
{
	struct staged_key *first, **end = &first;

	while (a != NULL && b != NULL) {
		struct staged_key **least =
		    hint_key_compare(&a->key, &b->key) < 0 ? &a : &b;

		*end = *least;
		end = &(*end)->next[0];
		*least = *end;
	}
	*end = a != NULL ? a : b;
	return first;
}

/* All keys, sorted by merging: the list in runs[i] has 2^i of them, or none. */
static struct staged_key *
sort_keys(const struct staged *staged)
{
	struct staged_key *runs[64] = {NULL}, *all = NULL;

	for (struct staged_write *w = staged->last; w != NULL; w = w->before) {
		struct staged_key *list = w->of;
		unsigned i = 0;

		if (w->older != NULL)
			continue;
		list->next[0] = NULL;
		for (; runs[i] != NULL; runs[i++] = NULL)
			list = join(runs[i], list);
		runs[i] = list;
	}
	for (unsigned i = 0; i < ARRAY_LEN(runs); i++)
		all = join(runs[i], all);
	return all;
}

/* Each of a list in order, on all of its levels. */
static void
link_all(struct staged *staged, struct staged_key *key)
{
	struct staged_key **ends[STAGED_HEIGHT_MAX];

	for (unsigned level = 0; level < STAGED_HEIGHT_MAX; level++)
		ends[level] = &staged->first[level];
	for (; key != NULL; key = key->next[0])
		for (unsigned level = 0; level < key->height; level++) {
			*ends[level] = key;
			ends[level] = &key->next[level];
		}
	for (unsigned level = 0; level < STAGED_HEIGHT_MAX; level++)
		*ends[level] = NULL;
}

/* Walking */

uint64_t
staged_walk(struct staged *staged)
{
	if (!staged->ordered)
		link_all(staged, sort_keys(staged));
	staged->ordered = true;
	staged->frozen = staged->number;
	return staged->last != NULL ? staged->last->number : 0;
}

/* The version that the walk shows; NULL: the key was written later. */
static const struct staged_write *
version_at(const struct staged_key *key, uint64_t number)
{
	const struct staged_write *w = key->newest;

	while (w != NULL && w->number > number)
		w = w->older;
	return w;
}

const struct staged_write *
staged_after(const struct staged *staged, uint64_t number,
    const struct hint_key *key, bool inclusive, const struct hint_key *high)
{
	struct staged *s = (struct staged *)staged; /* changes nothing in it */
	const struct staged_key *k = find_before(s, key, NULL);

	k = k != NULL ? k->next[0] : s->first[0];
	if (k != NULL && !inclusive && hint_key_compare(&k->key, key) == 0)
		k = k->next[0];
	for (; k != NULL && hint_key_compare(&k->key, high) < 0;
	     k = k->next[0]) {
		const struct staged_write *w = version_at(k, number);

		if (w != NULL)
			return w;
	}
	return NULL;
}

const struct staged_write *
staged_before(const struct staged *staged, uint64_t number,
    const struct hint_key *key, const struct hint_key *low)
{
	struct staged *s = (struct staged *)staged;
	const struct staged_key *k = find_before(s, key, NULL);

	while (k != NULL && hint_key_compare(&k->key, low) >= 0) {
		const struct staged_write *w = version_at(k, number);

		if (w != NULL)
			return w;
		k = find_before(s, &k->key, NULL);
	}
	return NULL;
}
