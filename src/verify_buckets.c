/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_buckets.c - which buckets there are and were, by all records of the
 * catalogue that can be read.
 *
 * A name that a later record of the catalogue speaks of again is that of a
 * bucket which was dropped in between.  A strict salvage hears neither what is
 * behind the end of the log nor what is left of a batch.
 */
#include "config.h"

#include "verify.h"

#include "hint.h"

#include <stdlib.h>
#include <string.h>

static void
read_id(struct verify_bucket *b, const struct segment *seg, uint64_t off,
    const struct record *rec)
{
	uint8_t value[RECORD_BUCKET_LEN];
	uint64_t at = off + RECORD_HEADER_SIZE + record_ext_len(rec->flags) +
		      rec->key_len;
	size_t got;

	b->lost_id =
	    rec->value_len != sizeof value ||
	    os->pread(seg->fd, value, sizeof value, at, &got) != 0 ||
	    got != sizeof value ||
	    sum_from(segment_seed(seg, off), value, got) != rec->value_sum;
	b->seq = b->lost_id ? rec->seq : get_u64(value);
	b->ordinal = b->lost_id ? 0 : get_u32(value + 8);
}

/* Whether the value that is damaged was this id: its sum is known. */
static bool
was_id(const struct verify_bucket *b, uint64_t seq, uint32_t ordinal)
{
	uint8_t value[RECORD_BUCKET_LEN];

	put_u64(value, seq);
	put_u32(value + 8, ordinal);
	return sum_from(b->value_seed, value, sizeof value) == b->value_sum;
}

void
verify_bucket_record(struct verify *v, size_t i, uint64_t off,
    const struct record *rec, bool value_ok)
{
	struct verify_bucket *b;

	if (!bucket_is_catalogue(rec->bucket_seq, rec->bucket_ordinal) ||
	    (rec->type != RECORD_PUT && rec->type != RECORD_DELETE))
		return;
	if (v->bucket_count == v->bucket_cap) {
		size_t cap = v->bucket_cap > 0 ? 2 * v->bucket_cap : 16;

		b = os->realloc(v->buckets, cap * sizeof *b);
		if (b == NULL) {
			v->no_memory = true;
			return;
		}
		v->buckets = b;
		v->bucket_cap = cap;
	}
	b = &v->buckets[v->bucket_count];
	*b = (struct verify_bucket){.put = rec->type == RECORD_PUT,
	    .lost_id = !value_ok,
	    .seq = rec->seq,
	    .order = v->bucket_count,
	    .live = i,
	    .off = off,
	    .value_seed = segment_seed(v->live[i]->seg, off),
	    .value_sum = rec->value_sum,
	    .name_len = rec->key_len};
	if (b->put && value_ok)
		read_id(b, v->live[i]->seg, off, rec);
	b->name = os->malloc(rec->key_len);
	if (b->name == NULL) {
		v->no_memory = true;
		return;
	}
	memcpy(b->name, rec->key, rec->key_len);
	v->bucket_count++;
}

static int
compare_names(const struct verify_bucket *a, const struct verify_bucket *b)
{
	return key_compare(a->name, a->name_len, b->name, b->name_len);
}

static int
by_name(const void *va, const void *vb)
{
	const struct verify_bucket *a = va, *b = vb;
	int c = compare_names(a, b);

	return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

static int
by_id(const void *va, const void *vb)
{
	const struct verify_bucket *a = va, *b = vb;

	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	return (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

/* Only what the log says as far as it goes, in whole batches. */
static void
keep_strictly(struct verify *v)
{
	size_t kept = 0, next = 0;

	for (size_t n = 0; n < v->bucket_count; n++) {
		struct verify_bucket *b = &v->buckets[n];

		if (verify_is_beyond(v, b->live, b->off) ||
		    verify_in_fragment(v, &next, b->live, b->off))
			os->free(b->name);
		else
			v->buckets[kept++] = *b;
	}
	v->bucket_count = kept;
}

void
verify_settle_buckets(struct verify *v)
{
	struct verify_bucket *all = v->buckets;
	size_t kept = 0;

	if ((v->options->flags & KVLOG_SALVAGE_STRICT) != 0)
		keep_strictly(v);
	if (v->bucket_count == 0)
		return;
	qsort(all, v->bucket_count, sizeof *all, by_name);
	for (size_t n = 0; n + 1 < v->bucket_count; n++)
		all[n].dropped = compare_names(&all[n], &all[n + 1]) == 0;
	for (size_t n = 0; n < v->bucket_count; n++) {
		if (all[n].put)
			all[kept++] = all[n];
		else
			os->free(all[n].name);
	}
	v->bucket_count = kept;
	qsort(all, kept, sizeof *all, by_id);
}

void
verify_forget_buckets(struct verify *v)
{
	for (size_t n = 0; n < v->bucket_count; n++)
		os->free(v->buckets[n].name);
	os->free(v->buckets);
	v->buckets = NULL;
	v->bucket_count = v->bucket_cap = 0;
}

const struct verify_bucket *
verify_find_bucket(const struct verify *v, uint64_t seq, uint32_t ordinal)
{
	const struct verify_bucket wanted = {.seq = seq, .ordinal = ordinal};
	size_t low = 0, high = v->bucket_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (by_id(&v->buckets[mid], &wanted) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < v->bucket_count && by_id(&v->buckets[low], &wanted) == 0 &&
	    !v->buckets[low].lost_id)
		return &v->buckets[low];
	/* One whose id is lost was created by that commit, and so were others,
	 * perhaps, whose names nothing tells any more. */
	for (; low > 0 && v->buckets[low - 1].seq == seq; low--)
		;
	for (; low < v->bucket_count && v->buckets[low].seq == seq; low++)
		if (v->buckets[low].lost_id &&
		    was_id(&v->buckets[low], seq, ordinal))
			return &v->buckets[low];
	return NULL;
}
