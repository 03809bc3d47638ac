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

struct search {
	struct verify *v;
	struct wanted **by_hash;
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
	w->key = p->key;
	w->key_len = p->key_len;
}

static int
compare_hashes(const void *va, const void *vb)
{
	const struct wanted *const *a = va, *const *b = vb;

	return (*a)->hash < (*b)->hash ? -1 : (*a)->hash > (*b)->hash;
}

/* The first one of this hash, or where it would be. */
static size_t
find_hash(const struct search *s, uint64_t hash)
{
	size_t low = 0, high = s->v->wanted_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->by_hash[mid]->hash < hash)
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
	s->key_bytes += rec->key_len;
	return true;
}

/* A record whose hash is the wanted one. */
static void
match(struct search *s, struct wanted *w, size_t live, uint64_t off,
    const struct record *rec, bool value_ok)
{
	if (live == w->live && off == w->off)
		return; /* the damaged one itself */
	if (w->key == NULL && !take_key(s, w, rec))
		return;
	if (w->key_len != rec->key_len ||
	    memcmp(w->key, rec->key, rec->key_len) != 0)
		return; /* INV-12 */
	if (live > w->live || (live == w->live && off > w->off))
		w->older = KVLOG_OLDER_REPLACED;
	else
		w->older = rec->type == RECORD_PUT && value_ok
			       ? KVLOG_OLDER_SURVIVES
			       : KVLOG_OLDER_NONE;
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
			     n < v->wanted_count && s->by_hash[n]->hash == hash;
			     n++)
				match(s, s->by_hash[n], i, scan.off, &rec,
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

	s.by_hash = os->malloc(v->wanted_count * sizeof(struct wanted *));
	if (s.by_hash == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "look for keys");
	for (size_t n = 0; n < v->wanted_count; n++)
		s.by_hash[n] = &v->wanted[n];
	qsort(s.by_hash, v->wanted_count, sizeof *s.by_hash, compare_hashes);
	v->total = v->done;
	for (size_t i = 0; i <= v->end_live && i < v->live_count; i++)
		v->total += v->live[i]->end;
	for (size_t i = 0;
	     i <= v->end_live && i < v->live_count && st == KVLOG_OK; i++)
		if (v->live[i]->seg != NULL)
			st = search_file(&s, i);
	v->report->byte_count = byte_count; /* not read twice */
	os->free(s.by_hash);
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
