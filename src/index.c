/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.c - the keydir together with the records that its entries point at.
 *
 * The keydir yields candidates by hash; what decides is the key in the record
 * (INV-12).  A candidate whose key differs while its header sum is wrong may
 * be the damaged record of the very key looked for: then the answer is
 * "corrupt", not "absent", unless another candidate matches.
 *
 * In memory mode a key without a value has no entry: loading goes from the
 * oldest segment to the newest, and a tombstone removes what it finds.  But
 * where it finds a damaged candidate it stays: that one cannot go, as it may
 * be another key's, and must not be taken for this key's (INV-11).
 */
#include "config.h"

#include "index.h"

#include <sched.h>
#include <string.h>

/* Of a record's cache lines, so many are fetched before it is looked at: 44
 * bytes of header and key and 100 of value. */
#define RECORD_LINES 3u

enum kvlog_status
index_init(struct index *index, struct epoch *epoch, struct segset *segs,
    struct hintset *hints, const uint8_t *secret, bool verify,
    struct kvlog_error *err)
{
	memset(index, 0, sizeof *index);
	index->epoch = epoch;
	index->segs = segs;
	index->hints = hints;
	index->secret = secret;
	index->verify = verify;
	if (keydir_create(&index->keydir, epoch) != 0)
		return err_set(err, KVLOG_NOMEM, 0, "create the index");
	return KVLOG_OK;
}

void
index_fini(struct index *index)
{
	keydir_destroy(index->keydir);
	index->keydir = NULL;
}

/* What a candidate turns out to be. */
enum candidate { CANDIDATE_MATCH, CANDIDATE_OTHER, CANDIDATE_DAMAGED };

static enum candidate
examine(const struct index *index, const struct hint_key *key,
    struct index_ref *ref)
{
	const uint8_t *p = ref->seg->map.addr + ref->off;
	bool parsed = segment_parse(ref->seg, ref->off, &ref->rec);
	bool same = parsed && hint_key_is_of(key, &ref->rec);

	if (LIKELY(same) && !index->verify)
		return CANDIDATE_MATCH;
	if (!parsed ||
	    !record_header_ok(p, &ref->rec, segment_seed(ref->seg, ref->off)))
		return CANDIDATE_DAMAGED;
	return same ? CANDIDATE_MATCH : CANDIDATE_OTHER;
}

/* The record of key among the candidates of a probe, of which loc is the
 * first. */
static enum kvlog_status
choose(struct index *index, struct keydir_probe *probe, uint64_t loc,
    const struct hint_key *key, struct index_ref *ret_ref)
{
	struct index_ref damaged;
	enum kvlog_status st = KVLOG_NOTFOUND;

	for (; loc != KEYDIR_NONE; loc = keydir_next(probe)) {
		ret_ref->loc = loc;
		ret_ref->seg = segset_at(index->segs, loc, &ret_ref->off);
		switch (examine(index, key, ret_ref)) {
		case CANDIDATE_MATCH:
			return KVLOG_OK;
		case CANDIDATE_OTHER:
			break;
		case CANDIDATE_DAMAGED:
			damaged = *ret_ref;
			st = KVLOG_CORRUPT;
			break;
		}
	}
	if (st == KVLOG_CORRUPT)
		*ret_ref = damaged;
	return st;
}

/* The newest record of key that the keydir has, tombstones included. */
static enum kvlog_status
find_in_keydir(struct index *index, uint64_t hash, const struct hint_key *key,
    struct index_ref *ret_ref)
{
	struct keydir_probe probe;
	uint64_t loc = keydir_first(index->keydir, hash, &probe);

	return choose(index, &probe, loc, key, ret_ref);
}

/* Of a segment that is mapped for one record's sake, nothing is read ahead. */
static enum kvlog_status
map_for_look_up(const struct segment *seg, struct kvlog_error *err)
{
	enum kvlog_status st;

	if (LIKELY(atomic_load_explicit(&seg->mapped, memory_order_acquire) ==
		   SEGMENT_MAPPED))
		return KVLOG_OK;
	st = segment_map_now(seg, err);
	if (st == KVLOG_OK)
		os->advise(&seg->map, 0, seg->map.len, OS_ADVICE_RANDOM);
	return st;
}

enum kvlog_status
index_find_in_hint(struct index *index, const struct hint *hint, uint64_t hash,
    const struct hint_key *key, struct index_ref *ret_ref, bool *ret_unsound,
    struct kvlog_error *err)
{
	struct hint_probe probe;
	struct hint_entry e;
	struct index_ref damaged;
	enum kvlog_status st = KVLOG_NOTFOUND, mapped;
	bool there = hint_find(hint, key, hash, &probe, &e);

	for (; there; there = hint_find_next(&probe, &e)) {
		ret_ref->seg = e.seg;
		ret_ref->off = e.off;
		ret_ref->loc = segset_loc(e.seg, e.off);
		mapped = map_for_look_up(e.seg, err);
		if (mapped != KVLOG_OK)
			return mapped;
		switch (examine(index, key, ret_ref)) {
		case CANDIDATE_MATCH:
			return KVLOG_OK;
		case CANDIDATE_OTHER:
			break;
		case CANDIDATE_DAMAGED:
			damaged = *ret_ref;
			st = KVLOG_CORRUPT;
			break;
		}
	}
	*ret_unsound = probe.damaged;
	if (st == KVLOG_CORRUPT)
		*ret_ref = damaged;
	return st;
}

/* The same of all hints, the newest first (INV-6). */
static enum kvlog_status
find_in_hints(struct index *index, uint64_t hash, const struct hint_key *key,
    struct index_ref *ret_ref, struct kvlog_error *err)
{
	for (;;) {
		struct hint_list *list = hint_list_get(index->hints);
		enum kvlog_status st = KVLOG_NOTFOUND;
		bool unsound = false;
		size_t i;

		for (i = list->count; i > 0 && st == KVLOG_NOTFOUND; i--) {
			st = index_find_in_hint(index, list->hints[i - 1], hash,
			    key, ret_ref, &unsound, err);
			if (unsound)
				break;
		}
		if (unsound)
			st =
			    hintset_mend(index->hints, list->hints[i - 1], err);
		hint_list_put(list);
		if (!unsound || st != KVLOG_OK)
			return st;
	}
}

/* What a look at the keydir, which came to st, means. */
static enum kvlog_status
find_behind(struct index *index, enum kvlog_status st, uint64_t hash,
    const struct hint_key *key, struct index_ref *ret_ref,
    struct kvlog_error *err)
{
	if (st == KVLOG_NOTFOUND && index->hints != NULL)
		st = find_in_hints(index, hash, key, ret_ref, err);
	if (st == KVLOG_OK && UNLIKELY(ret_ref->rec.type != RECORD_PUT))
		st = KVLOG_NOTFOUND;
	return st;
}

enum kvlog_status
index_find(struct index *index, uint64_t hash, const struct hint_key *key,
    struct index_ref *ret_ref, struct kvlog_error *err)
{
	enum kvlog_status st = find_in_keydir(index, hash, key, ret_ref);

	return find_behind(index, st, hash, key, ret_ref, err);
}

/* Batches are applied within moments, and rarely while somebody looks up. */
enum kvlog_status
index_find_committed(struct index *index, uint64_t hash,
    const struct hint_key *key, struct index_ref *ret_ref,
    struct kvlog_error *err)
{
	for (;;) {
		uint32_t batches = index_batches(index);
		enum kvlog_status st =
		    index_find(index, hash, key, ret_ref, err);

		if (LIKELY(
			(batches & 1) == 0 && index_batches(index) == batches))
			return st;
		sched_yield();
	}
}

/* Where a record is, to fetch it; 0: its segment is not mapped. */
static inline uintptr_t
address_of(const struct index *index, uint64_t loc)
{
	uint64_t off;
	const struct segment *seg = segset_at(index->segs, loc, &off);

	return atomic_load_explicit(&seg->mapped, memory_order_acquire) ==
		       SEGMENT_MAPPED
		   ? (uintptr_t)seg->map.addr + off
		   : 0;
}

/* Bring the first lines of a record nearer, which may have fewer. */
static void
prefetch_record(const struct index *index, uint64_t loc, unsigned lines)
{
	uintptr_t p = address_of(index, loc);

	for (unsigned i = 0; i < lines && p != 0; i++)
		PREFETCH((const void *)(p + i * CACHE_LINE));
}

/* Bring what tells a record's key nearer: a line or two. */
static void
prefetch_head(const struct index *index, uint64_t loc, size_t key_len)
{
	uintptr_t p = address_of(index, loc);

	if (p == 0)
		return;
	PREFETCH((const void *)p);
	PREFETCH((const void *)(p + RECORD_HEADER_SIZE + key_len - 1));
}

/* If the first candidate is what nearly all are. */
static bool
find_sound(const struct index *index, uint64_t loc, struct index_find *f)
{
	struct index_ref *ref = &f->ref;
	struct record_plain plain;

	f->sound = false;
	if (loc == KEYDIR_NONE)
		return false;
	ref->loc = loc;
	ref->seg = segset_at(index->segs, loc, &ref->off);
	f->sound = hint_key_is_plain(&f->key) &&
		   index_read_plain(
		       ref->seg, ref->off, f->key.bytes, f->key.len, &plain) &&
		   (!index->verify || record_plain_ok(&plain));
	if (!f->sound)
		return false;
	f->status = KVLOG_OK;
	ref->rec.seq = record_plain_seq(&plain);
	ref->rec.expiry_ms = 0; /* of a plain one */
	ref->rec.value = record_plain_value(&plain, &ref->rec.value_len);
	return true;
}

static void
find_fetched(struct index *index, struct keydir_probe *probe, uint64_t loc,
    struct index_find *f)
{
	enum kvlog_status st = choose(index, probe, loc, &f->key, &f->ref);

	f->status = find_behind(index, st, f->hash, &f->key, &f->ref, NULL);
}

void
index_find_many(struct index *index, struct index_find *finds, size_t count)
{
	struct keydir_probe probes[INDEX_TOGETHER];
	uint64_t locs[INDEX_TOGETHER];

	assert(count <= INDEX_TOGETHER);
	for (size_t i = 0; i < count; i++)
		keydir_prefetch(index->keydir, finds[i].hash);
	for (size_t i = 0; i < count; i++) {
		locs[i] =
		    keydir_first(index->keydir, finds[i].hash, &probes[i]);
		if (locs[i] != KEYDIR_NONE)
			prefetch_record(index, locs[i], RECORD_LINES);
	}
	for (size_t i = 0; i < count; i++)
		if (!find_sound(index, locs[i], &finds[i]))
			find_fetched(index, &probes[i], locs[i], &finds[i]);
}

enum kvlog_status
index_reserve(struct index *index, const uint64_t *hashes, size_t count,
    struct kvlog_error *err)
{
	if (UNLIKELY(keydir_reserve(index->keydir, hashes, count) != 0))
		return err_set(err, KVLOG_NOMEM, 0, "grow the index");
	return KVLOG_OK;
}

void
index_prefetch(const struct index *index, const uint64_t *hashes, size_t count)
{
	struct keydir_probe probe;
	uint64_t loc;

	for (size_t i = 0; i < count; i++)
		keydir_prefetch(index->keydir, hashes[i]);
	for (size_t i = 0; i < count; i++) {
		loc = keydir_first(index->keydir, hashes[i], &probe);
		if (loc != KEYDIR_NONE)
			prefetch_record(index, loc, 1);
	}
}

/* Whether a candidate for the key of a place, other than the one that was
 * found, is damaged. */
static bool
has_damaged(const struct index *index, const struct index_place *place)
{
	struct keydir_probe probe;
	struct index_ref ref;

	for (ref.loc = keydir_first(index->keydir, place->hash, &probe);
	     ref.loc != KEYDIR_NONE; ref.loc = keydir_next(&probe)) {
		if (place->status == KVLOG_OK && ref.loc == place->ref.loc)
			continue;
		ref.seg = segset_at(index->segs, ref.loc, &ref.off);
		if (examine(index, &place->key, &ref) == CANDIDATE_DAMAGED)
			return true;
	}
	return false;
}

static void
count_tombstones(struct index *index, bool gone, bool come)
{
	if (index->hints != NULL || gone == come)
		return;
	if (come)
		atomic_fetch_add_explicit(
		    &index->tombstones, 1, memory_order_relaxed);
	else
		atomic_fetch_sub_explicit(
		    &index->tombstones, 1, memory_order_relaxed);
}

static void
note_dead(const struct segment *seg, uint64_t size)
{
	struct segment *own = (struct segment *)(uintptr_t)seg;

	/* One thread at a time changes the index. */
	atomic_store_explicit(&own->dead,
	    atomic_load_explicit(&own->dead, memory_order_relaxed) + size,
	    memory_order_relaxed);
}

bool
index_remove(struct index *index, uint64_t hash, uint64_t loc)
{
	uint64_t off;
	const struct segment *seg = segset_at(index->segs, loc, &off);
	struct record rec;
	bool tombstone =
	    segment_parse(seg, off, &rec) && rec.type == RECORD_DELETE &&
	    record_header_ok(seg->map.addr + off, &rec, segment_seed(seg, off));

	if (!keydir_remove(index->keydir, hash, loc))
		return false;
	count_tombstones(index, tombstone, false);
	return true;
}

ATTR_FLATTEN void
index_seek(const struct index *index, uint64_t hash, const struct hint_key *key,
    struct index_place *place)
{
	place->hash = hash;
	place->key = *key;
	place->looked = false;
	place->loc = keydir_first(index->keydir, hash, &place->probe);
	if (place->loc != KEYDIR_NONE)
		prefetch_head(index, place->loc, key->len);
}

/* What the keydir has at a place. */
static void
look(struct index *index, struct index_place *place)
{
	if (place->looked)
		return;
	place->looked = true;
	place->status =
	    choose(index, &place->probe, place->loc, &place->key, &place->ref);
}

enum kvlog_status
index_look(
    struct index *index, struct index_place *place, struct kvlog_error *err)
{
	look(index, place);
	return find_behind(
	    index, place->status, place->hash, &place->key, &place->ref, err);
}

/* If the first candidate is a sound put of the key, as an overwrite nearly
 * always finds it: let loc take its place. */
static bool
replace_plain(
    const struct index *index, const struct index_place *place, uint64_t loc)
{
	const size_t key_len = place->key.len;
	const struct segment *seg;
	const uint8_t *p;
	uint64_t off, end;

	if (place->loc == KEYDIR_NONE || !hint_key_is_plain(&place->key))
		return false;
	seg = segset_at(index->segs, place->loc, &off);
	end = segment_end(seg);
	p = seg->map.addr + off;
	if (off >= end ||
	    !record_is_put_of(p, end - off, place->key.bytes, key_len))
		return false;
	if (index->verify && !record_head_ok(p, RECORD_HEADER_SIZE + key_len,
				 segment_seed(seg, off)))
		return false;
	note_dead(seg, record_size(0, key_len, record_plain_len(p)));
	keydir_replace_at(&place->probe, loc);
	return true;
}

enum kvlog_status
index_set_at(struct index *index, struct index_place *place, uint64_t loc,
    bool tombstone)
{
	bool there, gone, wanted;

	if (LIKELY(!tombstone && !place->looked &&
		   replace_plain(index, place, loc)))
		return KVLOG_OK;
	look(index, place);
	there = place->status == KVLOG_OK;
	gone = there && place->ref.rec.type == RECORD_DELETE;
	/* Where hints are searched too, a tombstone has to hide them. */
	wanted =
	    !tombstone || index->hints != NULL || has_damaged(index, place);
	if (there)
		note_dead(place->ref.seg, place->ref.rec.size);
	if (there && wanted)
		keydir_replace_at(&place->probe, loc);
	else if (there)
		keydir_remove_at(index->keydir, &place->probe);
	else if (wanted && keydir_insert(index->keydir, place->hash, loc) != 0)
		return KVLOG_NOMEM;
	count_tombstones(index, gone, tombstone && wanted);
	return KVLOG_OK;
}

enum kvlog_status
index_set(struct index *index, uint64_t hash, const struct hint_key *key,
    uint64_t loc, bool tombstone)
{
	struct index_place place;

	index_seek(index, hash, key, &place);
	return index_set_at(index, &place, loc, tombstone);
}

enum index_moved
index_move(
    struct index *index, uint64_t hash, const struct record *rec, uint64_t loc)
{
	const struct hint_key key = hint_key_of(rec);
	struct keydir_probe probe;
	struct index_ref ref;
	enum index_moved moved = INDEX_ELSEWHERE;

	for (ref.loc = keydir_first(index->keydir, hash, &probe);
	     ref.loc != KEYDIR_NONE; ref.loc = keydir_next(&probe)) {
		ref.seg = segset_at(index->segs, ref.loc, &ref.off);
		if (!ref.seg->replaced)
			continue;
		switch (examine(index, &key, &ref)) {
		case CANDIDATE_MATCH:
			keydir_replace_at(&probe, loc);
			count_tombstones(index, ref.rec.type == RECORD_DELETE,
			    rec->type == RECORD_DELETE);
			return INDEX_MOVED;
		case CANDIDATE_OTHER:
			break;
		case CANDIDATE_DAMAGED:
			moved = INDEX_DAMAGED;
			break;
		}
	}
	return moved;
}
