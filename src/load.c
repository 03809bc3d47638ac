/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c - from hints and records to a table in memory.
 *
 * Hints are entered from the oldest to the newest, and between them the
 * records that no hint covers; a later entry of a key replaces an earlier one,
 * and a tombstone removes it.
 *
 * Entries are gathered and sorted by the top of their hashes before they are
 * entered: so the table is filled leaf by leaf, while each is in the cache.
 * Entries of one hash stay in their order.
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
#define BATCH_MAX (1u << 19) /* entries that are gathered: 8 MiB, twice */
#define DIGIT_BITS 8         /* of hashes that are sorted, two digits */
#define DIGITS (1u << DIGIT_BITS)

struct item {
	uint64_t hash;
	uint64_t loc_type; /* location, then 8 bits of type */
};

/* A thread's share: the hashes whose top bits are number. */
struct share {
	struct index index; /* the store's, but with a table of its own */
	const struct hint_cover *cover;
	unsigned bits, number;
	struct item *items, *sorted; /* a batch, and room to sort it */
	size_t count, room;
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
		if (!keydir_remove(index->keydir, hash, old))
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
	if ((rec.flags & RECORD_BUCKET) != 0)
		return KVLOG_OK;
	return index_set(
	    index, hash, rec.key, rec.key_len, loc, type == RECORD_DELETE);
}

/* Sort the batch by one digit; equal ones stay in their order. */
static void
sort_by_digit(struct share *share, unsigned shift)
{
	uint32_t at[DIGITS] = {0}, sum = 0;
	const struct item *from = share->items;
	struct item *to = share->sorted;

	for (size_t i = 0; i < share->count; i++)
		at[from[i].hash >> shift & (DIGITS - 1)]++;
	for (size_t d = 0; d < DIGITS; d++) {
		uint32_t n = at[d];

		at[d] = sum;
		sum += n;
	}
	for (size_t i = 0; i < share->count; i++)
		to[at[from[i].hash >> shift & (DIGITS - 1)]++] = from[i];
	share->sorted = share->items;
	share->items = to;
}

static enum kvlog_status
enter_batch(struct share *share)
{
	unsigned top = KEYDIR_HASH_BITS - share->bits;
	enum kvlog_status st = KVLOG_OK;

	sort_by_digit(share, top - 2 * DIGIT_BITS);
	sort_by_digit(share, top - DIGIT_BITS);
	for (size_t i = 0; i < share->count && st == KVLOG_OK; i++) {
		const struct item *item = &share->items[i];

		if (i + LOAD_AHEAD < share->count)
			keydir_prefetch(
			    share->index.keydir, item[LOAD_AHEAD].hash);
		st = enter(&share->index, item->hash, item->loc_type >> 8,
		    (unsigned)(item->loc_type & 0xff));
	}
	share->count = 0;
	if (st != KVLOG_OK)
		return err_set(&share->err, st, 0, "load the index");
	return KVLOG_OK;
}

/* Gathering */

static inline enum kvlog_status
gather(struct share *share, const struct segment *seg, uint64_t off,
    uint64_t hash, uint8_t type)
{
	if (hash >> (KEYDIR_HASH_BITS - share->bits) != share->number)
		return KVLOG_OK;
	/* Buckets have no users yet; their records hide nothing. */
	if (type != RECORD_PUT && type != RECORD_DELETE)
		return KVLOG_OK;
	share->items[share->count++] =
	    (struct item){hash, segset_loc(seg, off) << 8 | type};
	return share->count < share->room ? KVLOG_OK : enter_batch(share);
}

static enum kvlog_status
gather_hint(struct share *share, const struct hint *hint)
{
	enum kvlog_status st = KVLOG_OK;
	struct hint_entry e;

	for (uint64_t i = 0; i < hint->entry_count && st == KVLOG_OK; i++) {
		if (!hint_get(hint, i, &e)) /* it was verified */
			return err_set(&share->err, KVLOG_CORRUPT, 0,
			    "a hint changed while the store was opened");
		st = gather(share, e.seg, e.off, e.hash, e.type);
	}
	return st;
}

static enum kvlog_status
gather_records(struct share *share, const struct hint_source *gap)
{
	const struct segment *seg = gap->seg;
	uint64_t off = gap->from;
	struct record rec;
	bool bad = false;

	for (; segment_walk(seg, &off, gap->to, &rec, &bad); off += rec.size) {
		enum kvlog_status st =
		    gather(share, seg, off, hint_hash(seg, &rec), rec.type);

		if (st != KVLOG_OK)
			return st;
	}
	if (bad)
		return err_set_at(&share->err, KVLOG_CORRUPT,
		    segment_number(seg), off,
		    "segment %u changed at offset %llu while it was opened",
		    (unsigned)segment_number(seg), (unsigned long long)off);
	return KVLOG_OK;
}

static void *
load_share(void *arg)
{
	struct share *share = arg;
	const struct hint_cover *cover = share->cover;
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < cover->count && st == KVLOG_OK; i++) {
		if (cover->hints[i] != NULL)
			st = gather_hint(share, cover->hints[i]);
		else
			st = gather_records(share, &cover->gaps[i]);
	}
	share->status = st == KVLOG_OK ? enter_batch(share) : st;
	return NULL;
}

/* Shares */

/* There is room for a batch of at most most entries. */
static enum kvlog_status
share_init(struct share *share, const struct index *index, uint64_t most,
    struct kvlog_error *err)
{
	share->index = *index;
	share->room = (size_t)max_u64(1, min_u64(most, BATCH_MAX));
	share->items = os->malloc(share->room * sizeof *share->items);
	share->sorted = os->malloc(share->room * sizeof *share->sorted);
	if (share->items == NULL || share->sorted == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "load the index");
	return KVLOG_OK;
}

static void
share_fini(struct share *share)
{
	os->free(share->items);
	os->free(share->sorted);
}

static enum kvlog_status
report(const struct share *share, struct kvlog_error *err)
{
	if (share->status != KVLOG_OK && err != NULL)
		*err = share->err;
	return share->status;
}

static enum kvlog_status
load_alone(struct index *index, const struct hint_cover *cover, uint64_t most,
    struct kvlog_error *err)
{
	struct share share = {.cover = cover};
	enum kvlog_status st = share_init(&share, index, most, err);

	if (st == KVLOG_OK) {
		(void)load_share(&share);
		st = report(&share, err);
	}
	share_fini(&share);
	return st;
}

/* Let every thread load its share; the first one is the caller. */
static void
run(struct share *shares, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		shares[i].runs = pthread_create(&shares[i].thread, NULL,
				     load_share, &shares[i]) == 0;
	for (unsigned i = 0; i < count; i++)
		if (!shares[i].runs)
			(void)load_share(&shares[i]);
	for (unsigned i = 1; i < count; i++)
		if (shares[i].runs)
			pthread_join(shares[i].thread, NULL);
}

static enum kvlog_status
begin_part(struct share *share, const struct index *index,
    const struct hint_cover *cover, uint64_t most, struct kvlog_error *err)
{
	enum kvlog_status st = share_init(share, index, most, err);

	share->cover = cover;
	share->index.epoch = NULL;
	share->index.keydir = NULL;
	if (st == KVLOG_OK &&
	    (epoch_create(&share->index.epoch) != 0 ||
		keydir_create_part(&share->index.keydir, share->index.epoch,
		    share->bits, share->number) != 0))
		st = err_set(err, KVLOG_NOMEM, 0, "load the index");
	return st;
}

static void
end_part(struct share *share)
{
	keydir_destroy(share->index.keydir);
	epoch_destroy(share->index.epoch);
	share_fini(share);
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
	for (unsigned i = 0; i < 1u << bits; i++)
		shares[i].index.keydir = NULL;
	keydir_destroy(index->keydir);
	index->keydir = whole;
	return KVLOG_OK;
}

static enum kvlog_status
load_in_parallel(struct index *index, const struct hint_cover *cover,
    uint64_t most, unsigned bits, struct kvlog_error *err)
{
	struct share shares[LOAD_THREADS_MAX] = {0};
	unsigned count = 1u << bits, begun = 0;
	enum kvlog_status st = KVLOG_OK;

	while (begun < count && st == KVLOG_OK) {
		shares[begun].bits = bits;
		shares[begun].number = begun;
		st = begin_part(&shares[begun++], index, cover, most, err);
	}
	if (st == KVLOG_OK)
		run(shares, count);
	for (unsigned i = 0; i < count && st == KVLOG_OK; i++)
		st = report(&shares[i], err);
	if (st == KVLOG_OK)
		st = join(index, shares, bits, err);
	for (unsigned i = 0; i < begun; i++)
		end_part(&shares[i]);
	return st;
}

/* Modes */

/* The most entries that there can be. */
static uint64_t
count_most(const struct hint_cover *cover)
{
	uint64_t most = 0;

	for (size_t i = 0; i < cover->count; i++)
		most += cover->hints[i] != NULL
			    ? cover->hints[i]->entry_count
			    : (cover->gaps[i].to - cover->gaps[i].from) /
				  RECORD_HEADER_SIZE;
	return most;
}

static enum kvlog_status
load_all(struct index *index, const struct hint_cover *cover, unsigned threads,
    struct kvlog_error *err)
{
	uint64_t most = count_most(cover);
	unsigned bits = 0;

	if (threads == 0)
		threads =
		    (unsigned)min_u64(os->cpu_count(), most / THREAD_ENTRIES);
	if (threads > LOAD_THREADS_MAX)
		threads = LOAD_THREADS_MAX;
	while (2u << bits <= threads)
		bits++;
	if (bits == 0)
		return load_alone(index, cover, most, err);
	return load_in_parallel(index, cover, most, bits, err);
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
			end.hints = &cover->hints[i];
			end.gaps = &cover->gaps[i];
			end.count = 1;
			continue;
		}
		st = hint_build(&cover->gaps[i], 1, UINT64_MAX, &image, err);
		if (st == KVLOG_OK)
			st = hintset_add(hints, image);
		if (st != KVLOG_OK)
			return st;
	}
	return load_alone(index, &end, count_most(&end), err);
}

/* Replace hint files whose blocks are damaged by images. */
static enum kvlog_status
verify_hints(struct hintset *hints, struct kvlog_error *err)
{
	struct hint_list *list = hint_list_get(hints);
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < list->count && st == KVLOG_OK; i++)
		if (!hint_verify(list->hints[i]))
			st = hintset_mend(hints, list->hints[i], err);
	hint_list_put(list);
	return st;
}

enum kvlog_status
load_index(struct index *index, struct hintset *hints, unsigned threads,
    struct kvlog_error *err)
{
	const struct segset *set = hints->set;
	struct hint_cover cover;
	enum kvlog_status st = KVLOG_OK;

	if (index->hints == NULL)
		st = verify_hints(hints, err);
	if (st == KVLOG_OK)
		st = hintset_cover(hints, 0,
		    segment_end(set->segments[set->count - 1]), &cover, err);
	if (st != KVLOG_OK)
		return st;
	if (index->hints == NULL)
		st = load_all(index, &cover, threads, err);
	else
		st = load_end(index, hints, &cover, err);
	hint_cover_fini(&cover);
	return st;
}
