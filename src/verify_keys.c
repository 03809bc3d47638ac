/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_keys.c - which keys damage concerns, and what is left of them.
 *
 * Where only a value is damaged, the record says its key.  Where a header or
 * key is, a hint file may still point there: it has 40 bits of the key's
 * hash.  A second pass over all records looks for these keys: it finds the
 * name that belongs to a hash, an older value that is still readable, or a
 * newer record that makes the damage harmless.  Without damage there is no
 * second pass.
 */
#include "config.h"

#include "verify.h"

#include "hint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WANTED_MAX 1000000u       /* keys that are looked for */
#define KEY_BYTES_MAX (64u << 20) /* of their names, together */

/* Damaged places of one key, or of one hash whose key is not yet known.  They
 * and the records of the key are met side by side, in the order of the log. */
struct group {
	struct wanted **first;
	size_t count, passed;
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	const uint8_t *key;
	size_t key_len;
	/* The last record that was met. */
	bool any;
	size_t live;
	uint64_t off;
	enum kvlog_older state; /* that it leaves to what comes next */
};

struct search {
	struct verify *v;
	struct wanted **wanted; /* in the order of the groups */
	struct group *groups;   /* by hash */
	size_t group_count;
	size_t key_bytes;
};

static struct wanted *
add_wanted(struct verify *v, size_t place, uint64_t off, uint64_t hash)
{
	struct wanted *w;

	if (v->wanted_count == WANTED_MAX) {
		v->report->left_out_count++;
		return NULL;
	}
	if (v->wanted_count == v->wanted_cap) {
		size_t cap = v->wanted_cap > 0 ? 2 * v->wanted_cap : 64;
		struct wanted *grown =
		    os->realloc(v->wanted, cap * sizeof *grown);

		if (grown == NULL) {
			v->no_memory = true;
			return NULL;
		}
		v->wanted = grown;
		v->wanted_cap = cap;
	}
	w = &v->wanted[v->wanted_count++];
	memset(w, 0, sizeof *w);
	w->place = place;
	w->live = v->places[place].live;
	w->off = off;
	w->hash = hash;
	w->older = KVLOG_OLDER_NONE;
	return w;
}

/* A hint points into a damaged place. */
static void
want_hinted(struct verify *v, size_t place, uint64_t off, uint64_t hash)
{
	(void)add_wanted(v, place, off, hash);
}

/* The key of a damaged value. */
static void
want_value(struct verify *v, size_t place)
{
	const struct place *p = &v->places[place];
	const struct segment *seg = v->live[p->live]->seg;
	struct record rec = {.key = p->key, .key_len = (uint16_t)p->key_len};
	struct wanted *w;

	if (p->key == NULL)
		return;
	rec.flags = p->in_bucket ? RECORD_BUCKET : 0;
	rec.bucket_seq = p->bucket_seq;
	rec.bucket_ordinal = p->bucket_ordinal;
	w = add_wanted(v, place, p->off, hint_hash(seg, &rec));
	if (w == NULL)
		return;
	w->of_value = true;
	w->bucket_seq = p->bucket_seq;
	w->bucket_ordinal = p->bucket_ordinal;
	w->key = p->key;
	w->key_len = p->key_len;
}

/* By hash and key, those of an unknown key first; of one key by place. */
static int
compare_groups(const struct wanted *a, const struct wanted *b)
{
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a->key == NULL || b->key == NULL)
		return (a->key != NULL) - (b->key != NULL);
	if (a->bucket_seq != b->bucket_seq)
		return a->bucket_seq < b->bucket_seq ? -1 : 1;
	if (a->bucket_ordinal != b->bucket_ordinal)
		return a->bucket_ordinal < b->bucket_ordinal ? -1 : 1;
	return key_compare(a->key, a->key_len, b->key, b->key_len);
}

static int
compare_wanted(const void *va, const void *vb)
{
	const struct wanted *a = *(struct wanted *const *)va;
	const struct wanted *b = *(struct wanted *const *)vb;
	int c = compare_groups(a, b);

	if (c != 0)
		return c;
	if (a->live != b->live)
		return a->live < b->live ? -1 : 1;
	return a->off < b->off ? -1 : a->off > b->off;
}

static void
make_groups(struct search *s)
{
	for (size_t n = 0; n < s->v->wanted_count; n++) {
		struct wanted **w = &s->wanted[n];

		if (n == 0 || compare_groups(w[-1], *w) != 0)
			s->groups[s->group_count++] = (struct group){.first = w,
			    .bucket_seq = (*w)->bucket_seq,
			    .bucket_ordinal = (*w)->bucket_ordinal,
			    .key = (*w)->key,
			    .key_len = (*w)->key_len,
			    .state = KVLOG_OLDER_NONE};
		s->groups[s->group_count - 1].count++;
	}
}

/* The first group of this hash, or where it would be. */
static size_t
find_hash(const struct search *s, uint64_t hash)
{
	size_t low = 0, high = s->group_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->groups[mid].first[0]->hash < hash)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool
take_key(struct search *s, struct wanted *w, const struct record *rec)
{
	if (s->key_bytes + rec->key_len > KEY_BYTES_MAX)
		return false;
	w->key = os->malloc(rec->key_len + 1u);
	if (w->key == NULL)
		return false;
	memcpy(w->key, rec->key, rec->key_len);
	w->key_len = rec->key_len;
	w->bucket_seq = rec->bucket_seq;
	w->bucket_ordinal = rec->bucket_ordinal;
	s->key_bytes += rec->key_len;
	return true;
}

/* The first record of a hash tells the key of all that have only the hash, or
 * of as many as there is memory for. */
static bool
name_group(struct search *s, struct group *g, const struct record *rec)
{
	size_t n = 0;

	while (n < g->count && take_key(s, g->first[n], rec))
		n++;
	if (n == 0)
		return false;
	g->count = n;
	g->key = g->first[0]->key;
	g->key_len = g->first[0]->key_len;
	g->bucket_seq = rec->bucket_seq;
	g->bucket_ordinal = rec->bucket_ordinal;
	return true;
}

/* What stands up to a place has that older state that was met last. */
static void
pass(struct search *s, struct group *g, size_t live, uint64_t off)
{
	for (; g->passed < g->count; g->passed++) {
		struct wanted *w = g->first[g->passed];

		if (w->live > live || (w->live == live && w->off > off))
			return;
		w->older = g->state;
		s->v->looks++;
	}
}

/* A record whose hash is that of a group.  Records come in the order of the
 * log. */
static void
match(struct search *s, struct group *g, size_t live, uint64_t off,
    const struct record *rec, bool value_ok)
{
	s->v->looks++;
	if (g->key == NULL && !name_group(s, g, rec))
		return;
	if (g->bucket_seq != rec->bucket_seq ||
	    g->bucket_ordinal != rec->bucket_ordinal ||
	    key_compare(g->key, g->key_len, rec->key, rec->key_len) != 0)
		return; /* INV-12 */
	pass(s, g, live, off);
	g->any = true;
	g->live = live;
	g->off = off;
	g->state = rec->type == RECORD_PUT && value_ok ? KVLOG_OLDER_SURVIVES
						       : KVLOG_OLDER_NONE;
}

/* All records were met: what stands before the last one is replaced. */
static void
end_group(struct search *s, struct group *g)
{
	pass(s, g, SIZE_MAX, UINT64_MAX);
	for (size_t n = 0; n < g->count && g->any; n++) {
		struct wanted *w = g->first[n];

		if (g->live < w->live ||
		    (g->live == w->live && g->off <= w->off))
			return;
		w->older = KVLOG_OLDER_REPLACED;
	}
}

static enum kvlog_status
search_file(struct search *s, size_t i)
{
	struct verify *v = s->v;
	const struct segment *seg = v->live[i]->seg;
	struct segment_scan scan;
	struct record rec;
	bool exact, opened, value_ok, more = true;
	uint64_t limit = verify_limit(v, i, &exact);
	enum kvlog_status st = verify_open_fd(v, i, &opened);

	if (st != KVLOG_OK)
		return st;
	if (i == v->end_live)
		limit = min_u64(limit, v->end_off);
	if (segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, limit) != 0)
		st = err_set(v->err, KVLOG_NOMEM, 0, "read %s", seg->name);
	while (st == KVLOG_OK && more) {
		uint64_t from = scan.off, hash;
		enum scan_state state =
		    segment_scan_look(&scan, &rec, &value_ok);

		more = state == SCAN_RECORD;
		if (state == SCAN_RECORD) {
			hash = hint_hash(seg, &rec);
			for (size_t n = find_hash(s, hash);
			     n < s->group_count &&
			     s->groups[n].first[0]->hash == hash;
			     n++)
				match(s, &s->groups[n], i, scan.off, &rec,
				    value_ok);
			scan.off += rec.size;
		} else if (state == SCAN_BAD) {
			more = segment_scan_resync(&scan);
		}
		if (!verify_progress(v, scan.off - from))
			st = KVLOG_CANCELLED;
	}
	segment_scan_fini(&scan);
	if (opened)
		segment_close_fd(v->live[i]->seg);
	return st;
}

static enum kvlog_status
search_all(struct verify *v)
{
	struct search s = {.v = v};
	enum kvlog_status st = KVLOG_OK;
	const uint64_t byte_count = v->report->byte_count;

	s.wanted = os->malloc(v->wanted_count * sizeof(struct wanted *));
	s.groups = os->malloc(v->wanted_count * sizeof *s.groups);
	if (s.wanted == NULL || s.groups == NULL) {
		os->free(s.wanted);
		os->free(s.groups);
		return err_set(v->err, KVLOG_NOMEM, 0, "look for keys");
	}
	for (size_t n = 0; n < v->wanted_count; n++)
		s.wanted[n] = &v->wanted[n];
	qsort(s.wanted, v->wanted_count, sizeof(*s.wanted), compare_wanted);
	make_groups(&s);
	v->total = v->done;
	for (size_t i = 0; i <= v->end_live && i < v->live_count; i++)
		v->total += v->live[i]->end;
	for (size_t i = 0;
	     i <= v->end_live && i < v->live_count && st == KVLOG_OK; i++)
		if (v->live[i]->seg != NULL)
			st = search_file(&s, i);
	v->report->byte_count = byte_count; /* not read twice */
	for (size_t n = 0; n < s.group_count; n++)
		end_group(&s, &s.groups[n]);
	os->free(s.wanted);
	os->free(s.groups);
	return st == KVLOG_CANCELLED ? err_set(v->err, st, 0, "cancelled") : st;
}

static int
compare_places(const void *va, const void *vb)
{
	const struct wanted *a = va, *b = vb;

	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	return a->off < b->off ? -1 : a->off > b->off;
}

/* Several hints may have had the same. */
static void
drop_doubles(struct verify *v)
{
	size_t kept = 0;

	for (size_t n = 0; n < v->wanted_count; n++)
		if (kept == 0 ||
		    compare_places(&v->wanted[n], &v->wanted[kept - 1]) != 0)
			v->wanted[kept++] = v->wanted[n];
	v->wanted_count = kept;
}

/* Damaged places into which no hint points, though one covers them: what
 * stood there had been replaced.  All this is in order. */
static void
find_harmless(struct verify *v, const size_t *order, size_t count)
{
	size_t w = 0;

	for (size_t n = 0; n < count; n++) {
		struct place *p = &v->places[order[n]];

		while (w < v->wanted_count && v->wanted[w].place < order[n])
			w++;
		if ((w < v->wanted_count && v->wanted[w].place == order[n]) ||
		    !verify_hint_covers(v, p->live, p->off, p->off + p->len))
			continue;
		p->older = KVLOG_OLDER_REPLACED;
		p->text = p->unreadable
			      ? "the medium cannot be read here; hint files "
				"say that newer records have replaced what "
				"stood here"
			      : "bytes are no record; hint files say that "
				"newer records have replaced what stood here: "
				"nothing is lost";
	}
}

/* What to look for, in the order of the places. */
static enum kvlog_status
want_all(struct verify *v)
{
	size_t *order = os->malloc((v->place_count + 1) * sizeof *order);
	size_t count = 0;

	if (order == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "look for keys");
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];

		if (p->dropped || p->live == VERIFY_NO_FILE ||
		    v->live[p->live]->seg == NULL)
			continue;
		if (p->kind == KVLOG_FINDING_VALUE)
			want_value(v, n);
		else if (p->kind == KVLOG_FINDING_RECORD ||
			 p->kind == KVLOG_FINDING_UNREADABLE)
			order[count++] = n;
	}
	if (count > 0)
		verify_hinted(v, order, count, want_hinted);
	if (v->wanted_count > 0)
		qsort(v->wanted, v->wanted_count, sizeof *v->wanted,
		    compare_places);
	drop_doubles(v);
	find_harmless(v, order, count);
	os->free(order);
	return KVLOG_OK;
}

enum kvlog_status
verify_keys(struct verify *v)
{
	enum kvlog_status st = want_all(v);

	if (st != KVLOG_OK)
		return st;
	if (v->wanted_count > 0)
		st = search_all(v);
	for (size_t n = 0; n < v->wanted_count; n++) {
		struct wanted *w = &v->wanted[n];

		if (w->of_value)
			v->places[w->place].older = w->older;
	}
	return st;
}
