/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * merge.c - the keys of several hints in order.
 *
 * Every hint is a source of keys in order, each key once.  The sources stand
 * in a heap by their present keys; of equal keys the one of the newest hint
 * comes first and hides the others, which is all that a tombstone has to do
 * (INV-6).
 *
 * An entry whose record is damaged has no key, but the hash of one; it comes
 * as soon as its source gets to it, which is before any source gets to that
 * key.  Older entries of that hash are then damage too, since they may be
 * what the damaged record replaced.
 *
 * A damaged block of a hint costs time only: the source goes on, behind its
 * last key, in an image made of the records themselves.  If one of them is
 * damaged too, nobody knows what the source still holds: a damaged entry
 * stands for all of it, and whatever is older is damage from there on.
 */
#include "config.h"

#include "merge.h"

#include <string.h>

#define AHEAD 16u /* entries whose records are fetched early */

struct source {
	struct hint *hint;
	uint64_t next;    /* number of the entry that is loaded */
	uint64_t ahead;   /* the first behind those that were fetched ... */
	unsigned fetched; /* ... from next on, as many */
	bool damaged;     /* the record of that is */
	bool told;       /* ... but it is none of the hint's: it tells of damage
			    that was found when an image was made */
	uint64_t prefix; /* first 8 bytes of its key, to compare */
	struct hint_entry entry;
	struct record rec;
	struct hint_damage hurt; /* met when the hint was made */
	size_t age;
	const uint8_t *marks; /* a bit for each entry that counts; NULL: all */
};

/* A damaged entry that was met. */
struct damaged {
	uint64_t hash;
	size_t age;
	const struct segment *seg;
	uint64_t off;
};

struct merge {
	struct source *sources;
	size_t source_count;
	struct source **heap; /* sources that have an entry */
	size_t heap_count;
	bool placed;           /* the heap is built, at start or behind it */
	bool taken;            /* its top has been yielded */
	struct hint_key start; /* where the walk begins */
	uint8_t *start_bytes;
	struct hint_key last; /* of the last sound entry, if has_last */
	bool has_last;
	struct merge_entry entry;
	struct damaged *damaged;
	size_t damaged_count, damaged_cap;
};

/* Sources */

static bool
is_marked(const struct source *s, uint64_t n)
{
	return s->marks == NULL || (s->marks[n / 8] & 1u << n % 8) != 0;
}

static void
fetch_next(struct source *s)
{
	struct hint_entry e;

	while (s->ahead < s->hint->entry_count && !is_marked(s, s->ahead))
		s->ahead++;
	if (s->ahead < s->hint->entry_count &&
	    hint_get(s->hint, s->ahead, &e)) {
		/* Header and key lie in two lines, often. */
		PREFETCH(e.seg->map.addr + e.off);
		PREFETCH(e.seg->map.addr + e.off + CACHE_LINE);
	}
	s->ahead++;
	s->fetched++;
}

/* The next entry is loaded: as long as the walk is young, each fetches two
 * more. */
static void
fetch_ahead(struct source *s)
{
	if (s->ahead <= s->next) {
		s->ahead = s->next + 1;
		s->fetched = 0;
	} else {
		s->fetched--;
	}
	fetch_next(s);
	if (s->fetched < AHEAD)
		fetch_next(s);
}

/*
 * Take an image in the place of a hint that is damaged, and go to where the
 * hint was: behind the last key that came from anywhere, or to where the walk
 * began.  If a record is damaged too, an entry before the others tells so.
 */
static enum kvlog_status
replace_hint(struct merge *m, struct source *s)
{
	struct hint *image;
	enum kvlog_status st = hint_build_around(
	    s->hint->sources, s->hint->source_count, &image, &s->hurt, NULL);

	if (st != KVLOG_OK) {
		s->hurt.seg = NULL;
		return st;
	}
	hint_unref(s->hint);
	s->hint = image;
	s->marks = NULL; /* of other numbers */
	s->ahead = 0;
	(void)hint_seek(image, m->has_last ? &m->last : &m->start, &s->next);
	s->told = s->hurt.seg != NULL;
	return KVLOG_OK;
}

/* Load the entry number s->next; *ret_there is false if there are no more. */
static enum kvlog_status
load(struct merge *m, struct source *s, bool *ret_there)
{
	while (s->next < s->hint->entry_count && !is_marked(s, s->next))
		s->next++;
	*ret_there = s->told || s->next < s->hint->entry_count;
	if (*ret_there && !s->told && !hint_get(s->hint, s->next, &s->entry)) {
		enum kvlog_status st = replace_hint(m, s);

		if (st != KVLOG_OK)
			return st;
		*ret_there =
		    s->told || (s->next < s->hint->entry_count &&
				   hint_get(s->hint, s->next, &s->entry));
	}
	if (!*ret_there)
		return KVLOG_OK;
	if (s->told)
		s->entry = (struct hint_entry){.hash = MERGE_NO_HASH,
		    .seg = s->hurt.seg,
		    .off = s->hurt.off};
	s->damaged = s->told || !hint_read(&s->entry, &s->rec);
	if (s->damaged) /* reported at once: it sorts first */
		memset(&s->rec, 0, sizeof s->rec);
	else
		fetch_ahead(s);
	s->prefix = key_prefix(s->rec.key, s->rec.key_len);
	return KVLOG_OK;
}

/* The heap */

static bool
in_bucket(const struct source *s)
{
	return (s->rec.flags & RECORD_BUCKET) != 0;
}

/* By key; of equal keys the newer first. */
static bool
comes_before(const struct source *a, const struct source *b)
{
	struct hint_key ka, kb;
	int c;

	if (a->prefix != b->prefix && !in_bucket(a) && !in_bucket(b))
		return a->prefix < b->prefix;
	ka = hint_key_of(&a->rec);
	kb = hint_key_of(&b->rec);
	c = hint_key_compare(&ka, &kb);
	return c != 0 ? c < 0 : a->age > b->age;
}

static void
sift_down(struct merge *m, size_t i)
{
	struct source *moved = m->heap[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= m->heap_count)
			break;
		if (child + 1 < m->heap_count &&
		    comes_before(m->heap[child + 1], m->heap[child]))
			child++;
		if (!comes_before(m->heap[child], moved))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = moved;
}

/* Let every source be at the start. */
static enum kvlog_status
place(struct merge *m)
{
	m->heap_count = 0;
	for (size_t i = 0; i < m->source_count; i++) {
		struct source *s = &m->sources[i];
		enum kvlog_status st = KVLOG_OK;
		bool there;

		s->told = s->hurt.seg != NULL; /* in every walk */
		s->ahead = 0;
		if (!hint_seek(s->hint, &m->start, &s->next))
			st = replace_hint(m, s);
		if (st == KVLOG_OK)
			st = load(m, s, &there);
		if (st != KVLOG_OK)
			return st;
		if (there)
			m->heap[m->heap_count++] = s;
	}
	for (size_t i = m->heap_count / 2; i-- > 0;)
		sift_down(m, i);
	m->placed = true;
	return KVLOG_OK;
}

/* Let the source at the top of the heap go to its next entry. */
static enum kvlog_status
advance_top(struct merge *m)
{
	struct source *top = m->heap[0];
	const uint64_t from = top->next;
	const bool told = top->told;
	bool there;
	enum kvlog_status st;

	top->next = told ? from : from + 1;
	top->told = false;
	st = load(m, top, &there);
	if (st != KVLOG_OK) {
		top->next = from;
		top->told = told;
		return st;
	}
	if (!there)
		m->heap[0] = m->heap[--m->heap_count];
	if (m->heap_count > 0)
		sift_down(m, 0);
	return KVLOG_OK;
}

/* Merges */

/* Keys are compared in the records. */
static enum kvlog_status
map_all(const struct merge *m)
{
	for (size_t i = 0; i < m->source_count; i++) {
		const struct hint *hint = m->sources[i].hint;

		hint_read_ahead(hint);
		for (size_t j = 0; j < hint->source_count; j++) {
			enum kvlog_status st =
			    segment_map(hint->sources[j].seg, NULL);

			if (st != KVLOG_OK)
				return st;
		}
	}
	return KVLOG_OK;
}

enum kvlog_status
merge_create(struct hint *const *hints, size_t count, struct merge **ret_merge)
{
	struct merge *m = os->calloc(1, sizeof *m);
	enum kvlog_status st = KVLOG_NOMEM;

	if (m == NULL)
		return KVLOG_NOMEM;
	m->sources = os->calloc(count + 1, sizeof *m->sources);
	m->heap = os->calloc(count + 1, sizeof(*m->heap));
	m->start_bytes = os->malloc(KVLOG_KEY_MAX);
	if (m->sources != NULL && m->heap != NULL && m->start_bytes != NULL) {
		for (size_t i = 0; i < count; i++) {
			m->sources[i].hint = hint_ref(hints[i]);
			m->sources[i].hurt = hints[i]->hurt;
			m->sources[i].age = i;
		}
		m->source_count = count;
		m->start.bytes = m->start_bytes;
		st = map_all(m);
		if (st == KVLOG_OK)
			st = place(m);
	}
	if (st != KVLOG_OK) {
		merge_destroy(m);
		return st;
	}
	*ret_merge = m;
	return KVLOG_OK;
}

void
merge_destroy(struct merge *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->source_count; i++)
		hint_unref(m->sources[i].hint);
	os->free(m->sources);
	os->free(m->heap);
	os->free(m->start_bytes);
	os->free(m->damaged);
	os->free(m);
}

void
merge_mark(struct merge *m, uint8_t *const *marks)
{
	for (size_t i = 0; i < m->source_count; i++)
		m->sources[i].marks = marks[i];
	m->placed = false;
}

enum kvlog_status
merge_seek(struct merge *m, const struct hint_key *key)
{
	m->start = *key;
	m->start.bytes = m->start_bytes;
	if (key->len > 0)
		memcpy(m->start_bytes, key->bytes, key->len);
	m->placed = false;
	m->taken = false;
	m->has_last = false;
	m->damaged_count = 0;
	memset(&m->entry, 0, sizeof m->entry);
	return place(m);
}

static enum kvlog_status
note_damaged(struct merge *m, const struct merge_entry *e)
{
	if (m->damaged_count == m->damaged_cap) {
		size_t cap = m->damaged_cap > 0 ? 2 * m->damaged_cap : 8;
		struct damaged *grown =
		    os->realloc(m->damaged, cap * sizeof *grown);

		if (grown == NULL)
			return KVLOG_NOMEM;
		m->damaged = grown;
		m->damaged_cap = cap;
	}
	m->damaged[m->damaged_count++] =
	    (struct damaged){e->hash, e->age, e->seg, e->off};
	return KVLOG_OK;
}

/* The damaged entry that may have replaced e. */
static const struct damaged *
find_damaged(const struct merge *m, const struct merge_entry *e)
{
	for (size_t i = 0; i < m->damaged_count; i++)
		if (m->damaged[i].hash == e->hash && m->damaged[i].age > e->age)
			return &m->damaged[i];
	return NULL;
}

/* Whether e is of the key that came last: then that one hides it. */
static bool
is_hidden(struct merge *m, const struct merge_entry *e)
{
	struct hint_key key = hint_key_of(&e->rec);

	if (m->has_last && hint_key_compare(&key, &m->last) == 0)
		return true;
	m->last = key;
	m->has_last = true;
	return false;
}

/* Get to the next entry at the top of the heap, if there are any.  What
 * fails here is done again by the next call. */
static enum kvlog_status
settle(struct merge *m)
{
	enum kvlog_status st = KVLOG_OK;

	if (!m->placed)
		st = place(m);
	else if (m->taken)
		st = advance_top(m);
	if (st == KVLOG_OK)
		m->taken = false;
	return st;
}

enum kvlog_status
merge_next(struct merge *m)
{
	struct merge_entry *e = &m->entry;
	enum kvlog_status st;

	while ((st = settle(m)) == KVLOG_OK && m->heap_count > 0) {
		const struct source *top = m->heap[0];
		const struct damaged *damaged;

		*e = (struct merge_entry){top->entry.seg, top->entry.off,
		    top->entry.hash, top->age, top->rec, top->damaged};
		if (e->damaged) {
			st = note_damaged(m, e);
			if (st != KVLOG_OK)
				return st;
		}
		m->taken = true;
		if (e->damaged)
			return KVLOG_CORRUPT;
		if (is_hidden(m, e))
			continue;
		damaged = find_damaged(m, e);
		if (damaged == NULL)
			return KVLOG_OK;
		e->seg = damaged->seg;
		e->off = damaged->off;
		e->damaged = true;
		return KVLOG_CORRUPT;
	}
	memset(e, 0, sizeof *e);
	return st == KVLOG_OK ? KVLOG_NOTFOUND : st;
}

const struct merge_entry *
merge_entry(const struct merge *m)
{
	return &m->entry;
}
