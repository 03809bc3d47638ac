/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * merge.c - the keys of several hints in order.
 *
 * Every hint is a source of keys in order, each key once.  The sources stand
 * in a heap by their present keys; of equal keys the one of the newest hint
 * comes first and hides the others, which is all that a tombstone has to do
 * (INV-6).
 *
 * A walk stands at a key, or just before or behind one.  To turn, every source
 * looks its place up anew from there.
 *
 * An entry whose record is damaged has no key, but the hash of one; it comes
 * as soon as its source gets to it, which is before any source gets to that
 * key, from either side.  Older entries of that hash are then damage too, since
 * they may be what the damaged record replaced.
 *
 * What comes from one source for a while comes in runs: if the last of the
 * entries in its queue is before the keys of all other sources, and in the
 * range that is asked for, then so are the others, and each costs no more than
 * to verify it.  Whatever is not sound, or no value, is left to a step.
 *
 * A damaged block of a hint costs time only: the source goes on, behind the
 * last key, in an image made of the records themselves.  If one of them is
 * damaged too, nobody knows of which key it is: a damaged entry tells of it.
 */
#include "config.h"

#include "merge.h"

#include <string.h>

#include "sum_inline.h"

#define AHEAD 16u       /* entries whose records are fetched early, at most */
#define FEW_SOURCES 4u  /* of so few each may fetch much at once */
#define BASE_SPARE 4u   /* bytes of the keys at hand, for those to come */
#define TIES_MAX 4096u  /* keys of equal rank, until something is done */
#define LONG_WALK 4096u /* entries; then it is one through all of the hint */
#define LED                                                                    \
	1u /* steps with the same source at the top; then look                 \
	      whether it stays there */

struct source {
	struct hint *hint;
	const uint8_t *marks; /* a bit for each entry that counts; NULL: all */
	uint64_t next; /* number of the entry behind those in the queue; none
			  there: entry_count or more */
	struct hint_search search; /* for its place */
	/* Entries that come soon, while their records are being fetched. */
	struct hint_entry queue[AHEAD];
	unsigned first, queued;
	unsigned depth;  /* how many there should be */
	unsigned loaded; /* into it, until they are many */
	/* What is loaded: */
	struct merge_entry entry;
	uint64_t rank; /* never less than that of a key that comes before */
	bool told;     /* it is none of the hint's: it tells of damage that was
			  found when an image was made */
	struct hint_damage hurt; /* that damage */
};

/* A damaged entry that was met. */
struct damaged {
	uint64_t hash;
	size_t age;
	const struct segment *seg;
	uint64_t off;
};

/* Where a walk is, seen from a key. */
enum stand { STAND_BEFORE, STAND_AT, STAND_BEHIND };

struct merge {
	size_t source_count;
	struct source **heap; /* sources that have an entry */
	size_t heap_count;
	bool back;   /* it goes from the last key to the first */
	bool placed; /* the heap is built, of what comes next */
	bool taken;  /* its top has been yielded */
	/* Where the walk is: at the last sound entry, if has_last, unless the
	 * end or a damaged one has come after that; or where it begins. */
	struct hint_key last;
	size_t last_age;
	bool has_last, beyond_last;
	struct hint_key start; /* also tells the bucket whose keys have ranks */
	enum stand start_stand;
	/* Keys are ranked by what follows after these bytes; see rebase(). */
	const uint8_t *base;
	size_t base_len;
	unsigned ties; /* keys of equal rank that were compared */
	/* Runs of the source at the top. */
	const struct hint_key *low, *high; /* NULL: none are wanted */
	const struct source *leader;       /* it was at the top ... */
	unsigned led;                      /* ... so many times in a row */
	struct merge_run run;
	struct merge_entry ready[AHEAD]; /* of that run */
	struct merge_entry *present;     /* a source's, or nothing */
	struct merge_entry nothing;      /* all zeros */
	struct damaged *damaged;
	size_t damaged_count, damaged_cap;
	struct source sources[]; /* and behind them the heap */
};

/* Sources */

static bool
is_marked(const struct source *s, uint64_t n)
{
	return s->marks == NULL || (s->marks[n / 8] & 1u << n % 8) != 0;
}

/* Put entries that come next into the queue, which has room; false if there are
 * none, or their block is damaged. */
static bool
queue_some(const struct merge *m, struct source *s)
{
	const uint64_t step = m->back ? UINT64_MAX : 1; /* -1: it wraps */
	struct hint_entry *queue = &s->queue[s->queued];
	unsigned count = s->marks != NULL ? 1 : s->depth - s->queued;

	while (s->next < s->hint->entry_count && !is_marked(s, s->next))
		s->next += step;
	if (s->next >= s->hint->entry_count)
		return false;
	count = hint_get_some(s->hint, s->next, m->back, count, queue);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *p = queue[i].seg->map.addr + queue[i].off;

		/* Header and key lie in two lines, often. */
		PREFETCH(p);
		PREFETCH(p + CACHE_LINE);
	}
	s->next += count * step;
	s->queued += count;
	if (s->loaded < LONG_WALK && (s->loaded += count) >= LONG_WALK)
		hint_read_ahead(s->hint);
	return count > 0;
}

/* Fill the queue, in a short walk with less. */
static void
refill(const struct merge *m, struct source *s)
{
	memmove(s->queue, &s->queue[s->first], s->queued * sizeof *s->queue);
	s->first = 0;
	s->depth = s->depth < AHEAD ? 2 * s->depth : AHEAD;
	while (s->queued < s->depth && queue_some(m, s))
		;
}

/* The key that the walk is at, or near. */
static const struct hint_key *
stands_near(const struct merge *m, enum stand *ret_stand)
{
	*ret_stand = m->has_last ? STAND_AT : m->start_stand;
	return m->has_last ? &m->last : &m->start;
}

/* Begin to let what comes next from a source be what comes next in the
 * walk. */
static void
begin_place(const struct merge *m, struct source *s)
{
	enum stand stand;

	s->first = s->queued = 0;
	s->depth = m->source_count <= FEW_SOURCES ? AHEAD / 4 : 1;
	hint_search_begin(&s->search, s->hint, stands_near(m, &stand));
}

/* That place is found; false if a block is damaged. */
static bool
end_place(const struct merge *m, struct source *s)
{
	enum stand stand;
	const struct hint_key *key = stands_near(m, &stand);
	bool pass = stand == STAND_BEHIND || (stand == STAND_AT && !m->back);
	struct hint_entry e;
	struct record rec;
	uint64_t n = s->search.low;

	if (s->search.damaged)
		return false;
	/* From there damaged entries come first, which may lie on either side
	 * of the key.  To go forward from it they have been met. */
	for (; (pass || m->back) && n < s->hint->entry_count; n++) {
		if (!hint_get(s->hint, n, &e))
			return false;
		if (hint_read(&e, &rec)) {
			struct hint_key there = hint_key_of(&rec);

			n += pass && hint_key_compare(&there, key) == 0;
			break;
		}
	}
	s->next = m->back ? n - 1 : n;
	refill(m, s);
	return true;
}

/*
 * Take an image in the place of a hint that is damaged, and go to where the
 * walk is.  If a record is damaged too, an entry before the others tells so.
 */
static enum kvlog_status
replace_hint(struct merge *m, struct source *s)
{
	struct hint *image;
	struct hint_damage hurt;
	enum kvlog_status st = hint_build_around(
	    s->hint->sources, s->hint->source_count, &image, &hurt, NULL);

	if (st != KVLOG_OK)
		return st;
	hint_unref(s->hint);
	s->hint = image;
	s->marks = NULL; /* of other numbers */
	s->hurt = hurt;
	s->told = hurt.seg != NULL;
	begin_place(m, s);
	while (hint_search_go_on(&s->search))
		;
	(void)end_place(m, s);
	return KVLOG_OK;
}

static uint64_t
rank_in_bucket(const struct merge *m, const struct record *rec)
{
	size_t len = m->base_len < rec->key_len ? m->base_len : rec->key_len;
	int c = len > 0 ? memcmp(rec->key, m->base, len) : 0;

	if (c != 0)
		return c < 0 ? 0 : UINT64_MAX;
	return key_prefix(rec->key + len, rec->key_len - len);
}

/* In the order of the walk; of a damaged entry 0, so that it comes first. */
static uint64_t
rank_of(const struct merge *m, const struct source *s)
{
	const struct record *rec = &s->entry.rec;
	uint64_t rank;

	if (s->entry.damaged)
		return 0;
	if (rec->bucket_seq != m->start.bucket_seq)
		rank = rec->bucket_seq < m->start.bucket_seq ? 0 : UINT64_MAX;
	else if (rec->bucket_ordinal != m->start.bucket_ordinal)
		rank = rec->bucket_ordinal < m->start.bucket_ordinal
			   ? 0
			   : UINT64_MAX;
	else
		rank = rank_in_bucket(m, rec);
	return m->back ? ~rank : rank;
}

/* The entry that tells of damage. */
static void
load_hurt(struct source *s)
{
	s->entry = (struct merge_entry){.seg = s->hurt.seg,
	    .off = s->hurt.off,
	    .hash = MERGE_NO_HASH,
	    .age = s->entry.age,
	    .damaged = true};
}

static void
load_queued(const struct merge *m, struct source *s)
{
	const struct hint_entry *e = &s->queue[s->first++];
	struct merge_entry *entry = &s->entry;

	s->queued--;
	entry->seg = e->seg;
	entry->off = e->off;
	entry->hash = e->hash;
	entry->damaged = !hint_read(e, &entry->rec);
	if (UNLIKELY(entry->damaged))
		memset(&entry->rec, 0, sizeof entry->rec);
	if (s->queued <= s->depth / 2)
		refill(m, s);
}

/* Load the next entry; *ret_there is false if there are no more.  On failure
 * what was loaded stays. */
static enum kvlog_status
load(struct merge *m, struct source *s, bool *ret_there)
{
	if (UNLIKELY(s->queued == 0) && !s->told) {
		refill(m, s);
		if (s->queued == 0 && s->next < s->hint->entry_count) {
			enum kvlog_status st = replace_hint(m, s);

			if (st != KVLOG_OK)
				return st;
			if (!s->told)
				refill(m, s);
		}
	}
	*ret_there = s->told || s->queued > 0;
	if (!*ret_there)
		return KVLOG_OK;
	if (UNLIKELY(s->told))
		load_hurt(s);
	else
		load_queued(m, s);
	if (m->source_count > 1)
		s->rank = rank_of(m, s);
	return KVLOG_OK;
}

/* The heap */

/* By key in the order of the walk; of equal keys the newer first. */
static bool
comes_before(struct merge *m, const struct source *a, const struct source *b)
{
	struct hint_key ka, kb;
	int c;

	if (LIKELY(a->rank != b->rank))
		return a->rank < b->rank;
	m->ties++;
	if (a->entry.damaged || b->entry.damaged)
		return a->entry.damaged;
	ka = hint_key_of(&a->entry.rec);
	kb = hint_key_of(&b->entry.rec);
	c = hint_key_compare(&ka, &kb);
	if (c != 0)
		return m->back ? c > 0 : c < 0;
	return a->entry.age > b->entry.age;
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
		    comes_before(m, m->heap[child + 1], m->heap[child]))
			child++;
		if (!comes_before(m, m->heap[child], moved))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = moved;
}

/* The last key that is to come from a source, of the walk's bucket; false if it
 * has none or that is damaged. */
static bool
find_last(const struct merge *m, const struct source *s, struct record *ret_rec)
{
	struct hint_key end = {
	    m->start.bucket_seq, m->start.bucket_ordinal, 0, NULL};
	struct hint_entry e;
	uint64_t n;

	if (!m->back && ++end.bucket_ordinal == 0)
		end.bucket_seq++;
	if (!hint_seek(s->hint, &end, &n))
		return false;
	n -= !m->back;
	return n < s->hint->entry_count && hint_get(s->hint, n, &e) &&
	       hint_read(&e, ret_rec);
}

/*
 * Many keys begin with the same bytes, so that their ranks are equal.  What the
 * first and the last key that are to come begin with begins all of them: let
 * them be ranked by what follows it.
 */
static void
rebase(struct merge *m)
{
	const struct record *top = &m->heap[0]->entry.rec;
	size_t common = top->key_len;

	m->ties = 0;
	if (m->heap[0]->entry.damaged ||
	    top->bucket_seq != m->start.bucket_seq ||
	    top->bucket_ordinal != m->start.bucket_ordinal)
		return;
	for (size_t i = 0; i < m->heap_count; i++) {
		struct record last;
		size_t n = 0;

		if (!find_last(m, m->heap[i], &last))
			return;
		while (n < common && n < last.key_len &&
		       last.key[n] == top->key[n])
			n++;
		common = n;
	}
	m->base = top->key;
	m->base_len = common;
	for (size_t i = 0; i < m->heap_count; i++)
		m->heap[i]->rank = rank_of(m, m->heap[i]);
}

/*
 * The same at the beginning of a walk, when little is known: by what follows
 * most of what the keys that come first have in common.  Where the walk gets to
 * keys that begin otherwise, their ranks are equal, until there are many.
 */
static void
guess_base(struct merge *m)
{
	const uint8_t *base = NULL;
	size_t common = 0;

	for (size_t i = 0; i < m->heap_count; i++) {
		const struct record *rec = &m->heap[i]->entry.rec;
		size_t n = 0;

		if (m->heap[i]->entry.damaged ||
		    rec->bucket_seq != m->start.bucket_seq ||
		    rec->bucket_ordinal != m->start.bucket_ordinal)
			continue;
		if (base == NULL) {
			base = rec->key;
			common = rec->key_len;
		}
		while (n < common && n < rec->key_len && base[n] == rec->key[n])
			n++;
		common = n;
	}
	m->base = base;
	m->base_len = common > BASE_SPARE ? common - BASE_SPARE : 0;
	for (size_t i = 0; i < m->heap_count; i++)
		m->heap[i]->rank = rank_of(m, m->heap[i]);
}

/* Let every source be where the walk is. */
static enum kvlog_status
place(struct merge *m)
{
	bool more = true;

	m->heap_count = 0;
	for (size_t i = 0; i < m->source_count; i++)
		begin_place(m, &m->sources[i]);
	while (more) {
		more = false;
		for (size_t i = 0; i < m->source_count; i++)
			more |= hint_search_go_on(&m->sources[i].search);
	}
	for (size_t i = 0; i < m->source_count; i++) {
		enum kvlog_status st = KVLOG_OK;

		if (!end_place(m, &m->sources[i]))
			st = replace_hint(m, &m->sources[i]);
		if (st != KVLOG_OK)
			return st;
	}
	for (size_t i = 0; i < m->source_count; i++) {
		struct source *s = &m->sources[i];
		bool there;
		enum kvlog_status st = load(m, s, &there);

		if (st != KVLOG_OK)
			return st;
		if (there)
			m->heap[m->heap_count++] = s;
	}
	if (m->heap_count > 1)
		guess_base(m);
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
	const bool told = top->told;
	enum kvlog_status st;
	bool there;

	top->told = false;
	st = load(m, top, &there);
	if (st != KVLOG_OK) {
		top->told = told;
		return st;
	}
	if (!there)
		m->heap[0] = m->heap[--m->heap_count];
	if (m->heap_count > 0)
		sift_down(m, 0);
	if (UNLIKELY(m->ties >= TIES_MAX) && m->heap_count > 1)
		rebase(m);
	return KVLOG_OK;
}

/* Merges */

/* Keys are compared in the records. */
static enum kvlog_status
map_all(const struct merge *m)
{
	for (size_t i = 0; i < m->source_count; i++) {
		const struct hint *hint = m->sources[i].hint;

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
	struct merge *m = os->calloc(
	    1, sizeof *m + count * (sizeof *m->sources + sizeof(*m->heap)));
	enum kvlog_status st;

	if (m == NULL)
		return KVLOG_NOMEM;
	m->heap = (struct source **)&m->sources[count];
	for (size_t i = 0; i < count; i++) {
		m->sources[i].hint = hint_ref(hints[i]);
		m->sources[i].hurt = hints[i]->hurt;
		m->sources[i].entry.age = i;
	}
	m->source_count = count;
	m->run.next = m->run.end = m->ready;
	m->present = &m->nothing;
	st = map_all(m);
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

/* From here on the walk begins at this key. */
static void
start_at(struct merge *m, const struct hint_key *key, enum stand stand)
{
	if (key->bucket_seq != m->start.bucket_seq ||
	    key->bucket_ordinal != m->start.bucket_ordinal)
		m->base_len = 0;
	m->start = *key;
	m->start_stand = stand;
	m->has_last = m->beyond_last = false;
	m->placed = m->taken = false;
	m->run.next = m->run.end = m->ready;
	m->led = 0;
	for (size_t i = 0; i < m->source_count; i++)
		m->sources[i].loaded = 0;
}

void
merge_seek(struct merge *m, const struct hint_key *key)
{
	start_at(m, key, STAND_BEFORE);
	m->damaged_count = 0;
	for (size_t i = 0; i < m->source_count; i++)
		m->sources[i].told = m->sources[i].hurt.seg != NULL;
	m->present = &m->nothing;
}

/* Go the other way from where it is. */
static void
turn(struct merge *m)
{
	enum stand stand;
	const struct hint_key *key = stands_near(m, &stand);

	if (stand == STAND_AT && m->beyond_last)
		stand = m->back ? STAND_BEFORE : STAND_BEHIND;
	if (m->taken && m->heap_count > 0)
		m->heap[0]->told = false; /* it has come */
	start_at(m, key, stand);
	m->back = !m->back;
}

/* What a walk in both directions comes upon is noted once. */
static enum kvlog_status
note_damaged(struct merge *m, const struct merge_entry *e)
{
	for (size_t i = 0; i < m->damaged_count; i++)
		if (m->damaged[i].seg == e->seg && m->damaged[i].off == e->off)
			return KVLOG_OK;
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

/* Whether e is of the key that came last: then that one hides it.  One hint has
 * a key once. */
static bool
is_hidden(struct merge *m, const struct merge_entry *e)
{
	struct hint_key key = hint_key_of(&e->rec);

	if (m->has_last && m->last_age != e->age &&
	    hint_key_compare(&key, &m->last) == 0)
		return true;
	m->last = key;
	m->last_age = e->age;
	m->has_last = true;
	m->beyond_last = false;
	return false;
}

/* Get to the next entry at the top of the heap, if there are any.  What
 * fails here is done again by the next call. */
static enum kvlog_status
settle(struct merge *m)
{
	enum kvlog_status st = KVLOG_OK;

	if (UNLIKELY(!m->placed))
		st = place(m);
	else if (m->taken && m->heap_count > 0)
		st = advance_top(m);
	if (st == KVLOG_OK)
		m->taken = false;
	return st;
}

static enum kvlog_status
step(struct merge *m)
{
	enum kvlog_status st;

	while ((st = settle(m)) == KVLOG_OK && m->heap_count > 0) {
		struct merge_entry *e = &m->heap[0]->entry;
		const struct damaged *damaged;

		if (UNLIKELY(e->damaged)) {
			st = note_damaged(m, e);
			if (st != KVLOG_OK)
				break;
			m->beyond_last = true;
		}
		m->taken = true;
		m->present = e;
		if (UNLIKELY(e->damaged))
			return KVLOG_CORRUPT;
		if (is_hidden(m, e))
			continue;
		m->led = m->leader == m->heap[0] ? m->led + 1 : 0;
		m->leader = m->heap[0];
		if (LIKELY(m->damaged_count == 0))
			return KVLOG_OK;
		damaged = find_damaged(m, e);
		if (damaged == NULL)
			return KVLOG_OK;
		e->seg = damaged->seg;
		e->off = damaged->off;
		e->damaged = true;
		return KVLOG_CORRUPT;
	}
	m->present = &m->nothing;
	if (st != KVLOG_OK)
		return st;
	m->beyond_last = true;
	return KVLOG_NOTFOUND;
}

/* Runs */

/* Whether all that is in the queue of the source at the top comes before all
 * else, and lies in the range. */
static bool
is_run(const struct merge *m, const struct source *s)
{
	struct record rec;
	struct hint_key key;

	if (!hint_read(&s->queue[s->first + s->queued - 1], &rec))
		return false;
	key = hint_key_of(&rec);
	if (m->back ? hint_key_compare(&key, m->low) < 0
		    : hint_key_compare(&key, m->high) >= 0)
		return false;
	for (size_t i = 1; i <= 2 && i < m->heap_count; i++) {
		const struct merge_entry *e = &m->heap[i]->entry;
		struct hint_key other = hint_key_of(&e->rec);
		int c = e->damaged ? 0 : hint_key_compare(&key, &other);

		if (m->back ? c <= 0 : c >= 0)
			return false;
	}
	return true;
}

/*
 * Read a put that needs no judging, of which nothing is believed yet; false:
 * whatever else.  What is not read here is 0 in all of them, as in
 * record_parse().
 */
static inline bool
read_plain(const struct hint_entry *e, struct record *rec)
{
	const uint8_t *p = e->seg->map.addr + e->off;
	const uint64_t room = segment_end(e->seg) - e->off;
	const uint32_t what = room >= RECORD_HEADER_SIZE ? get_u32(p + 8) : 0;
	const unsigned flags = what >> 8 & 0xff;
	const unsigned ext_len = record_ext_len(flags & RECORD_BUCKET);
	const size_t key_len = what >> 16;
	const size_t head_len = RECORD_HEADER_SIZE + ext_len + key_len;

	if ((what & 0xff) != RECORD_PUT || key_len == 0 ||
	    (flags & (RECORD_EXPIRY | RECORD_CODEC)) != 0 || head_len > room ||
	    get_u32(p + 12) > room - head_len ||
	    get_u64(p + 16) > RECORD_SEQ_MAX)
		return false;
	rec->type = RECORD_PUT;
	rec->flags = (uint8_t)flags;
	rec->key_len = (uint16_t)key_len;
	rec->value_len = get_u32(p + 12);
	rec->lag = get_u32(p + 24);
	rec->value_sum = get_u32(p + 4);
	rec->seq = get_u64(p + 16);
	rec->bucket_seq = ext_len > 0 ? get_u64(p + RECORD_HEADER_SIZE) : 0;
	rec->bucket_ordinal =
	    ext_len > 0 ? get_u32(p + RECORD_HEADER_SIZE + 8) : 0;
	rec->key = p + RECORD_HEADER_SIZE + ext_len;
	rec->value = rec->key + key_len;
	rec->size = record_size(flags, key_len, rec->value_len);
	return true;
}

/* Read what is in a queue, up to the first that is not so plain. */
static unsigned
read_run(const struct source *s, struct merge_entry *run)
{
	unsigned n = 0;

	for (; n < s->queued; n++) {
		const struct hint_entry *next = &s->queue[s->first + n];

		if (!read_plain(next, &run[n].rec))
			break;
		run[n].seg = next->seg;
		run[n].off = next->off;
		run[n].hash = next->hash;
		run[n].age = s->entry.age;
		run[n].damaged = false;
	}
	return n;
}

/* Of count entries that were read, how many are sound before one that is not.
 * One after the other in a short loop, so that their sums overlap. */
SUM_TARGET static unsigned
verify_run(const struct merge_entry *run, unsigned count, bool with_value)
{
	unsigned n = 0;

	for (; n < count; n++) {
		const struct merge_entry *e = &run[n];
		const uint8_t *p = e->seg->map.addr + e->off;
		const size_t head_len = (size_t)(e->rec.value - p);
		const uint32_t seed = segment_seed(e->seg, e->off);

		if (!(with_value ? sum_pair_ok_instruction(
				       p, head_len, e->rec.value_len, seed)
				 : record_head_ok(p, head_len, seed)))
			break;
	}
	return n;
}

/* What a run has come to is where the walk is; the sources are at its end. */
static void
end_run(struct merge *m)
{
	const struct merge_entry *e = m->run.next;

	if (e > m->ready) {
		m->last = hint_key_of(&e[-1].rec);
		m->last_age = e[-1].age;
	}
	if (e != m->run.end)
		start_at(m, &m->last, STAND_AT);
	m->run.next = m->run.end = m->ready;
}

void
merge_run_within(
    struct merge *m, const struct hint_key *low, const struct hint_key *high)
{
	end_run(m);
	m->low = sum_may_inline() ? low : NULL;
	m->high = high;
}

bool
merge_find_run(struct merge *m, bool back, bool with_value)
{
	struct source *s;
	unsigned n;

	if (m->low == NULL || m->back != back || !m->taken ||
	    m->heap_count == 0 || m->damaged_count > 0 ||
	    m->present != &m->heap[0]->entry || m->heap[0]->told ||
	    (m->source_count > 1 && m->led < LED))
		return false;
	s = m->heap[0];
	if (s->queued == 0)
		refill(m, s);
	if (s->queued == 0 || !is_run(m, s)) {
		m->led = 0;
		return false;
	}
	n = verify_run(m->ready, read_run(s, m->ready), with_value);
	if (n == 0)
		return false;
	s->first += n;
	s->queued -= n;
	/* What comes behind it is there when it is at its end. */
	if (s->queued == 0)
		refill(m, s);
	m->run.next = m->ready;
	m->run.end = m->ready + n;
	m->run.back = back;
	return true;
}

struct merge_run *
merge_run_of(struct merge *m)
{
	return &m->run;
}

enum kvlog_status
merge_next(struct merge *m)
{
	end_run(m);
	if (m->back)
		turn(m);
	return step(m);
}

enum kvlog_status
merge_prev(struct merge *m)
{
	end_run(m);
	if (!m->back)
		turn(m);
	return step(m);
}

struct merge_entry *
merge_entry(const struct merge *m)
{
	return m->run.next > m->ready ? m->run.next - 1 : m->present;
}
