/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bucket_set.h - which buckets there are at one moment: what the catalogue says
 * (record.h), in one place for those who look at many keys.
 */
#ifndef BUCKET_SET_H
#define BUCKET_SET_H

#include "base.h"
#include "merge.h"

struct bucket_set {
	struct bucket_id {
		uint64_t seq;
		uint32_t ordinal;
	} * ids; /* sorted */
	size_t count, cap;
	uint64_t as_of; /* buckets of later commits are not in it */
	/* Something in the catalogue is damaged: any bucket may be there. */
	bool unsure;
	struct bucket_id last; /* that was found */
};

/* The order of ids, or of what begins with one, for qsort() and bsearch(). */
int bucket_set_compare(const void *a, const void *b);

/* Read the catalogue by a merge that knows all commits up to as_of, and is left
 * behind it.  KVLOG_NOMEM. */
enum kvlog_status bucket_set_read(
    struct bucket_set *set, struct merge *merge, uint64_t as_of);
void bucket_set_fini(struct bucket_set *set); /* all zeros is fine */

/* Whether the bucket of a record has not been dropped. */
bool bucket_set_look(struct bucket_set *set, const struct record *rec);
static inline bool
bucket_set_has(struct bucket_set *set, const struct record *rec)
{
	return LIKELY(
		   bucket_is_default(rec->bucket_seq, rec->bucket_ordinal)) ||
	       (rec->bucket_seq == set->last.seq &&
		   rec->bucket_ordinal == set->last.ordinal) ||
	       bucket_set_look(set, rec);
}

/* The id in a value of the catalogue; false if it is none. */
static inline bool
bucket_read_id(const struct record *rec, struct bucket_id *ret_id)
{
	if (rec->value_len != RECORD_BUCKET_LEN)
		return false;
	ret_id->seq = get_u64(rec->value);
	ret_id->ordinal = get_u32(rec->value + 8);
	return ret_id->seq != 0;
}

#endif
