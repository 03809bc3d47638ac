/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c - from hints and records to a table in memory.
 *
 * Hints are entered from the oldest to the newest, and between them the
 * records that no hint covers; a later entry of a key replaces an earlier one,
 * and a tombstone removes it.
 *
 * Entries are gathered first, apart by the top bits of their hashes, and then
 * entered part by part: so the few leaves that a part concerns are in the
 * cache meanwhile.  Entries of one hash stay in their order.  What is gathered
 * takes 16 bytes an entry; where that is too much, hints are read in several
 * rounds.
 *
 * Each of several threads reads everything, but enters only the hashes that
 * begin with its own number, into a table of its own: so the result is the
 * same whatever their number (INV-11), and they never meet.  At the end the
 * tables become one by joining their directories.
 */
#include "config.h"

#include "load.h"

#include <errno.h>
#include <pthread.h>

#define LOAD_AHEAD 16 /* entries whose cache lines are fetched early */
/* A thread is worth its start for so many entries. */
#define THREAD_ENTRIES 100000
#define RECORD_USUAL 128  /* bytes, where they are not counted */
#define PART_ENTRIES 8192 /* or so, in a part */
#define PART_BITS_MAX 12
#define ROUND_ENTRIES (UINT64_C(1) << 25) /* or so, gathered at a time */
#define SLAB_CHUNKS_MAX 8192 /* 32 MiB; larger ones may be hard to get */

struct item {
	uint64_t hash;
	uint64_t loc_type; /* location, then 8 bits of type */
};

/* 4 KiB of entries. */
struct chunk {
	struct chunk *next;
	uint64_t count;
	struct item items[255];
};

struct part {
	struct chunk *first, *last;
};

/*
 * Chunks come out of slabs as large as what is gathered, of pages that go back
 * to the system.  Memory of the C library's heap would stay with the process:
 * what the table has taken meanwhile lies above it.
 */
struct slab {
	struct slab *next;
	uint64_t used;
	struct chunk chunks[];
};

/* A thread's share: the hashes whose top bits are number. */
struct share {
	struct index index; /* the store's, but with a table of its own */
	const struct hint_cover *cover;
	unsigned bits, number;
	unsigned round_bits; /* the next ones tell the round */
	unsigned part_bits;  /* the next ones tell the part */
	struct part *parts;
	struct slab *slabs; /* the first is the one to cut from */
	struct chunk *spare;
	uint64_t slab_chunks;
	pthread_t thread;
	bool runs; /* in a thread of its own */
	enum kvlog_status status;
	struct kvlog_error err;
};

/* Entering */

/*
 * A hint names the hash of a record that is damaged.  What is older and has
 * this hash may be the same key's, so it must not show through: from now on
 * the hash leads to the damage.
 */
static enum kvlog_status
enter_damaged(struct index *index, uint64_t hash, uint64_t loc)
{
	struct keydir_probe probe;
	uint64_t old;

	while ((old = keydir_first(index->keydir, hash, &probe)) != KEYDIR_NONE)
		if (!index_remove(index, hash, old))
			break;
	return keydir_insert(index->keydir, hash, loc) == 0 ? KVLOG_OK
							    : KVLOG_NOMEM;
}

static enum kvlog_status
enter(struct index *index, uint64_t hash, uint64_t loc, unsigned type)
{
	struct keydir_probe probe;
	struct record rec;
	const struct segment *seg;
	struct hint_key key;
	uint64_t off;

	/* The common case needs no look at the record. */
	if ((type == RECORD_PUT || index->hints != NULL) &&
	    keydir_first(index->keydir, hash, &probe) == KEYDIR_NONE)
		return keydir_insert(index->keydir, hash, loc) == 0
			   ? KVLOG_OK
			   : KVLOG_NOMEM;
	seg = segset_at(index->segs, loc, &off);
	if (!segment_parse(seg, off, &rec) ||
	    !record_header_ok(
		seg->map.addr + off, &rec, segment_seed(seg, off)))
		return enter_damaged(index, hash, loc);
	key = hint_key_of(&rec);
	return index_set(index, hash, &key, loc, type == RECORD_DELETE);
}

static enum kvlog_status
enter_chunk(struct share *share, const struct chunk *chunk)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < chunk->count && st == KVLOG_OK; i++) {
		const struct item *item = &chunk->items[i];

		if (i + LOAD_AHEAD < chunk->count)
			keydir_prefetch(
			    share->index.keydir, item[LOAD_AHEAD].hash);
		st = enter(&share->index, item->hash, item->loc_type >> 8,
		    (unsigned)(item->loc_type & 0xff));
	}
	return st;
}

/* Enter all that was gathered; its chunks may be used again. */
static enum kvlog_status
enter_parts(struct share *share)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t p = 0; p < (size_t)1 << share->part_bits; p++) {
		struct part *part = &share->parts[p];

		while (part->first != NULL) {
			struct chunk *chunk = part->first;

			if (st == KVLOG_OK)
				st = enter_chunk(share, chunk);
			part->first = chunk->next;
			chunk->next = share->spare;
			share->spare = chunk;
		}
		part->last = NULL;
	}
	return st;
}

/* Gathering */

static size_t
slab_bytes(const struct share *share)
{
	return (size_t)(sizeof(struct slab) +
			share->slab_chunks * sizeof(struct chunk));
}

static struct chunk *
get_chunk(struct share *share)
{
	struct chunk *chunk = share->spare;
	struct slab *slab = share->slabs;

	if (chunk != NULL) {
		share->spare = chunk->next;
		return chunk;
	}
	if (slab == NULL || slab->used == share->slab_chunks) {
		slab = os->pages(slab_bytes(share));
		if (slab == NULL)
			return NULL;
		slab->next = share->slabs;
		slab->used = 0;
		share->slabs = slab;
	}
	return &slab->chunks[slab->used++];
}

static bool
add_chunk(struct share *share, struct part *part)
{
	struct chunk *chunk = get_chunk(share);

	if (chunk == NULL)
		return false;
	chunk->next = NULL;
	chunk->count = 0;
	if (part->last != NULL)
		part->last->next = chunk;
	else
		part->first = chunk;
	part->last = chunk;
	return true;
}

static inline enum kvlog_status
gather(struct share *share, unsigned round, const struct segment *seg,
    uint64_t off, uint64_t hash, uint8_t type)
{
	unsigned shift = KEYDIR_HASH_BITS - share->bits - share->round_bits;
	uint64_t mine = (uint64_t)share->number << share->round_bits | round;
	struct part *part;

	/* Records of other types hide nothing. */
	if (hash >> shift != mine ||
	    (type != RECORD_PUT && type != RECORD_DELETE))
		return KVLOG_OK;
	part = &share->parts[hash >> (shift - share->part_bits) &
			     ((1u << share->part_bits) - 1)];
	if ((part->last == NULL ||
		part->last->count == ARRAY_LEN(part->last->items)) &&
	    !add_chunk(share, part))
		return KVLOG_NOMEM;
	part->last->items[part->last->count++] =
	    (struct item){hash, segset_loc(seg, off) << 8 | type};
	return KVLOG_OK;
}

static enum kvlog_status
gather_hint(struct share *share, unsigned round, const struct hint *hint)
{
	enum kvlog_status st = KVLOG_OK;
	struct hint_entry e;

	if (hint->bucket_count > 0 || hint->expiry_count > 0)
		index_note_odd(&share->index);
	for (uint64_t i = 0; i < hint->entry_count && st == KVLOG_OK; i++) {
		if (!hint_get(hint, i, &e)) /* it was verified */
			return err_set(&share->err, KVLOG_CORRUPT, 0,
			    "a hint changed while the store was opened");
		st = gather(share, round, e.seg, e.off, e.hash, e.type);
	}
	return st;
}

static enum kvlog_status
gather_records(
    struct share *share, unsigned round, const struct hint_source *gap)
{
	const struct segment *seg = gap->seg;
	uint64_t off = gap->from;
	struct record rec;
	bool bad = false;

	for (; segment_walk(seg, &off, gap->to, &rec, &bad); off += rec.size) {
		enum kvlog_status st = gather(
		    share, round, seg, off, hint_hash(seg, &rec), rec.type);

		if (st != KVLOG_OK)
			return st;
		if ((rec.flags & (RECORD_BUCKET | RECORD_EXPIRY)) != 0)
			index_note_odd(&share->index);
	}
	if (bad)
		return err_set_at(&share->err, KVLOG_CORRUPT,
		    segment_number(seg), off,
		    "segment %u changed at offset %llu while it was opened",
		    (unsigned)segment_number(seg), (unsigned long long)off);
	return KVLOG_OK;
}

static enum kvlog_status
load_round(struct share *share, unsigned round)
{
	const struct hint_cover *cover = share->cover;
	enum kvlog_status st = KVLOG_OK, entered;

	for (size_t i = 0; i < cover->count && st == KVLOG_OK; i++) {
		if (cover->hints[i] != NULL)
			st = gather_hint(share, round, cover->hints[i]);
		else
			st = gather_records(share, round, &cover->gaps[i]);
	}
	entered = enter_parts(share); /* or at least freed */
	return st == KVLOG_OK ? entered : st;
}

static void *
load_share(void *arg)
{
	struct share *share = arg;
	enum kvlog_status st = KVLOG_OK;

	for (unsigned r = 0; r < 1u << share->round_bits && st == KVLOG_OK; r++)
		st = load_round(share, r);
	share->status = st;
	if (st == KVLOG_NOMEM)
		err_set(&share->err, st, 0, "load the index");
	return NULL;
}

/* Shares */

/* How many entries there are to be loaded, about; keys may have several. */
struct estimate {
	uint64_t least, most;
};

static struct estimate
estimate(const struct hint_cover *cover)
{
	struct estimate e = {0, 0};

	for (size_t i = 0; i < cover->count; i++)
		if (cover->hints[i] != NULL) {
			uint64_t count = cover->hints[i]->entry_count;

			e.least = max_u64(e.least, count);
			e.most += count;
		} else {
			e.most += (cover->gaps[i].to - cover->gaps[i].from) /
				  RECORD_USUAL;
		}
	return e;
}

/* One share of 2^bits. */
static enum kvlog_status
share_init(struct share *share, const struct index *index,
    const struct hint_cover *cover, unsigned bits, unsigned number,
    struct kvlog_error *err)
{
	struct estimate e = estimate(cover);

	share->index = *index;
	share->index.epoch = NULL;
	share->index.keydir = NULL;
	atomic_init(&share->index.tombstones, 0);
	share->cover = cover;
	share->bits = bits;
	share->number = number;
	while (e.most >> share->round_bits > ROUND_ENTRIES)
		share->round_bits++;
	while (e.most >> (bits + share->round_bits + share->part_bits) >
		   PART_ENTRIES &&
	       share->part_bits < PART_BITS_MAX)
		share->part_bits++;
	share->slab_chunks = min_u64(
	    SLAB_CHUNKS_MAX, (e.most >> (bits + share->round_bits)) /
				     ARRAY_LEN(share->parts->first->items) +
				 (UINT64_C(1) << share->part_bits));
	share->parts =
	    os->calloc((size_t)1 << share->part_bits, sizeof *share->parts);
	if (share->parts == NULL || epoch_create(&share->index.epoch) != 0 ||
	    keydir_create_part(&share->index.keydir, share->index.epoch, bits,
		number, e.least >> bits, e.most >> bits) != 0)
		return err_set(err, KVLOG_NOMEM, 0, "load the index");
	return KVLOG_OK;
}

static void
share_fini(struct share *share)
{
	keydir_destroy(share->index.keydir);
	epoch_destroy(share->index.epoch);
	while (share->slabs != NULL) {
		struct slab *slab = share->slabs;

		share->slabs = slab->next;
		os->free_pages(slab, slab_bytes(share));
	}
	os->free(share->parts);
}

static enum kvlog_status
report(const struct share *share, struct kvlog_error *err)
{
	if (share->status != KVLOG_OK && err != NULL)
		*err = share->err;
	return share->status;
}

/* Let every thread load its share; the first one is the caller. */
static void
run(struct share *shares, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		shares[i].runs = os->thread_start(&shares[i].thread,
				     "kvlog load", load_share, &shares[i]) == 0;
	for (unsigned i = 0; i < count; i++)
		if (!shares[i].runs)
			(void)load_share(&shares[i]);
	for (unsigned i = 1; i < count; i++)
		if (shares[i].runs)
			os->thread_join(shares[i].thread);
}

/* Make the tables one, in the place of the index's empty one. */
static enum kvlog_status
join(struct index *index, struct share *shares, unsigned bits,
    struct kvlog_error *err)
{
	struct keydir *parts[LOAD_THREADS_MAX];
	struct keydir *whole;

	for (unsigned i = 0; i < 1u << bits; i++) {
		epoch_reclaim(shares[i].index.epoch);
		parts[i] = shares[i].index.keydir;
	}
	whole = keydir_join(parts, bits, index->epoch);
	if (whole == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "load the index");
	for (unsigned i = 0; i < 1u << bits; i++) {
		shares[i].index.keydir = NULL;
		atomic_fetch_add(
		    &index->tombstones, shares[i].index.tombstones);
		if (atomic_load(&shares[i].index.odd))
			index_note_odd(index);
	}
	keydir_destroy(index->keydir);
	index->keydir = whole;
	return KVLOG_OK;
}

/* By 2^bits threads. */
static enum kvlog_status
load_cover(struct index *index, const struct hint_cover *cover, unsigned bits,
    struct kvlog_error *err)
{
	struct share shares[LOAD_THREADS_MAX] = {0};
	unsigned count = 1u << bits, begun = 0;
	enum kvlog_status st = KVLOG_OK;

	for (; begun < count && st == KVLOG_OK; begun++)
		st = share_init(&shares[begun], index, cover, bits, begun, err);
	if (st == KVLOG_OK)
		run(shares, count);
	for (unsigned i = 0; i < count && st == KVLOG_OK; i++)
		st = report(&shares[i], err);
	if (st == KVLOG_OK)
		st = join(index, shares, bits, err);
	for (unsigned i = 0; i < begun; i++)
		share_fini(&shares[i]);
	return st;
}

/* Modes */

/* Who looks keys up in memory does not ask whether a segment is mapped. */
static enum kvlog_status
map_all(const struct segset *set, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < set->count && st == KVLOG_OK; i++) {
		st = segment_map(set->segments[i], err);
		if (!set->segments[i]->map.writable)
			segment_close_fd(set->segments[i]);
	}
	return st;
}

static enum kvlog_status
load_all(struct index *index, const struct hint_cover *cover, unsigned threads,
    struct kvlog_error *err)
{
	unsigned bits = 0;
	enum kvlog_status st = map_all(index->segs, err);

	if (st != KVLOG_OK)
		return st;

	if (threads == 0)
		threads = (unsigned)min_u64(
		    os->cpu_count(), estimate(cover).most / THREAD_ENTRIES);
	if (threads > LOAD_THREADS_MAX)
		threads = LOAD_THREADS_MAX;
	while (2u << bits <= threads)
		bits++;
	return load_cover(index, cover, bits, err);
}

/* Of what no file covers, the end of the log goes into the table, the rest
 * becomes hints. */
static enum kvlog_status
load_end(struct index *index, struct hintset *hints,
    const struct hint_cover *cover, struct kvlog_error *err)
{
	const struct segset *set = hints->set;
	const struct segment *active = set->segments[set->count - 1];
	struct hint_cover end = {0};

	for (size_t i = 0; i < cover->count; i++) {
		struct hint *image;
		enum kvlog_status st;

		if (cover->hints[i] != NULL)
			continue;
		if (cover->gaps[i].seg == active) {
			st = segment_map(active, err);
			if (st != KVLOG_OK)
				return st;
			end.hints = &cover->hints[i];
			end.gaps = &cover->gaps[i];
			end.count = 1;
			continue;
		}
		st = hint_build(&cover->gaps[i], 1, UINT64_MAX, &image, err);
		if (st != KVLOG_OK)
			return st;
		st = hintset_add(hints, image);
		if (st != KVLOG_OK)
			return err_set(err, st, 0, "load the index");
	}
	return load_cover(index, &end, 0, err);
}

enum kvlog_status
load_index(struct index *index, struct hintset *hints, unsigned threads,
    struct kvlog_error *err)
{
	struct hint_cover cover;
	enum kvlog_status st = hintset_cover_all(hints, &cover, err);

	if (st != KVLOG_OK)
		return st;
	if (index->hints == NULL)
		st = load_all(index, &cover, threads, err);
	else
		st = load_end(index, hints, &cover, err);
	hint_cover_fini(&cover);
	return st;
}
