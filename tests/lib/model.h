/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.h - what a store should hold: a plain sorted array of key, value, the
 * number of the commit that wrote it, and when it expires; and one more of them
 * for each bucket.  Slow, and too simple to be wrong.
 */
#ifndef MODEL_H
#define MODEL_H

#include <kvlog.h>

/* Bytes that several models share. */
struct blob {
	uint32_t refs;
	size_t len;
	uint8_t bytes[];
};

#define MODEL_ANY_SEQ 0 /* of an entry: its commit's number is not known */

struct model_entry {
	struct blob *key, *value;
	uint64_t seq;
	uint64_t expires_ms; /* as in struct kvlog_write; 0: never */
};

/* All zero: empty. */
struct model {
	struct model_entry *entries; /* in order of memcmp() */
	size_t count, cap;
	/* Of a store, whose entries are those of the default one: its buckets,
	 * in order of their names. */
	struct model_bucket *buckets;
	size_t bucket_count;
};

struct model_bucket {
	struct blob *name;
	uint64_t seq; /* of the commit that created it */
	struct model keys;
};

void model_fini(struct model *model);
void model_copy(struct model *to, const struct model *from); /* to is empty */

/* The entry, until the model is changed; it never expires. */
struct model_entry *model_put(struct model *model, const void *key,
    size_t key_len, const void *value, size_t value_len, uint64_t seq);
/* False if key was not there. */
bool model_delete(struct model *model, const void *key, size_t key_len);

/* NULL if key is not there. */
const struct model_entry *model_find(
    const struct model *model, const void *key, size_t key_len);

/* The keys of a bucket; NULL if there is none.  Without a name: the model. */
struct model *model_bucket(const struct model *model, const char *name);
void model_create_bucket(struct model *model, const char *name, uint64_t seq);
/* False if there is no such bucket. */
bool model_drop_bucket(struct model *model, const char *name);

/* Number of the first entry whose key is >= key; count if there is none. */
size_t model_lower(const struct model *model, const void *key, size_t key_len);

/* Entries without a number, and buckets, get this one. */
void model_set_seq(struct model *model, uint64_t seq);
/* All numbers become MODEL_ANY_SEQ. */
void model_forget_seqs(struct model *model);

/* When the next key expires after a time; UINT64_MAX: none does. */
uint64_t model_next_expiry(const struct model *model, uint64_t after_ms);

/* Keys that have a value at a time, in all buckets. */
size_t model_total(const struct model *model, uint64_t now_ms);

/* MODEL_ANY_SEQ equals every number. */
bool model_equal(const struct model *a, const struct model *b);
/* The same, but what has expired at a time is not to be found. */
bool model_shows(
    const struct model *model, uint64_t now_ms, const struct model *found);

/* Room for what is wrong. */
#define MODEL_WHY_LEN 400

/*
 * Read all of a store by a walk, and one of each bucket; by a handle on a
 * bucket that alone.  Also checks, for each key, that get and lookup say the
 * same as the walk, and that the count is right.  False with the reason in why.
 */
bool model_read(struct model *model, struct kvlog *db, char *why);

/* The first difference, in words; of what has not expired at a time. */
void model_explain_at(const struct model *wanted, uint64_t now_ms,
    const struct model *found, char *why);
static inline void
model_explain(const struct model *wanted, const struct model *found, char *why)
{
	model_explain_at(wanted, 0, found, why);
}

#endif
