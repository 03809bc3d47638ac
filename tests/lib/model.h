/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.h - what a store should hold: a plain sorted array of key, value and
 * the number of the commit that wrote it.  Slow, and too simple to be wrong.
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

/* Number of the first entry whose key is >= key; count if there is none. */
size_t model_lower(const struct model *model, const void *key, size_t key_len);

/* Entries without a number get this one. */
void model_set_seq(struct model *model, uint64_t seq);

/* MODEL_ANY_SEQ equals every number. */
bool model_equal(const struct model *a, const struct model *b);

/* Room for what is wrong. */
#define MODEL_WHY_LEN 400

/*
 * Read all of a store by a walk.  Also checks, for each key, that get and
 * lookup say the same as the walk, and that the count is right.  False with
 * the reason in why.
 */
bool model_read(struct model *model, struct kvlog *db, char *why);

/* The first difference, in words. */
void model_explain(
    const struct model *wanted, const struct model *found, char *why);

#endif
