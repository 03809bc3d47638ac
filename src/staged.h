/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * staged.h - what a transaction has written and not yet committed: found by
 * key, walked in order of keys, undone back to a savepoint.  Of each key the
 * newest version is to be committed.
 *
 * Belongs to one thread at a time.  What is returned stays in its place until
 * its key is written again, or it is undone.
 */
#ifndef STAGED_H
#define STAGED_H

#include "base.h"
#include "hint.h"

struct staged_key;

/* A version of a key. */
struct staged_write {
	struct staged_write *before; /* of any key; NULL: this is the first */
	struct staged_write *older;  /* of the same key */
	struct staged_key *of;
	uint64_t number; /* of all writes, also of those undone; from 1 on */
	uint64_t expiry_ms;
	uint32_t value_len;
	uint32_t value_cap;
	uint8_t type; /* RECORD_PUT or RECORD_DELETE */
	/* A delete of what nobody but this transaction has ever put: there is
	 * nothing to commit. */
	bool needless;
	uint8_t value[];
};

#define STAGED_HEIGHT_MAX 16

struct staged_key {
	struct staged_key *chain;    /* of equal places in the table */
	struct staged_write *newest; /* never NULL */
	struct hint_key key;
	uint64_t hash;
	uint32_t height; /* of next[]: the order of keys, once it is wanted */
	struct staged_key *next[];
};

struct staged {
	struct staged_chunk *chunk; /* the newest: the one to cut from */
	uint64_t bytes;             /* of all chunks */
	struct staged_key **table;  /* NULL: nothing was ever written */
	size_t table_size;          /* a power of two */
	size_t key_count;
	size_t commit_count;  /* records that a commit would have */
	uint64_t commit_size; /* on disk */
	uint64_t commit_max;  /* which may not be more; 0: it may */
	struct staged_write *last;
	uint64_t number; /* of the last write, undone or not */
	uint64_t frozen; /* writes up to this number are not overwritten */
	struct staged_savepoint *savepoints;
	size_t savepoint_count, savepoint_cap;
	uint64_t savepoint_id; /* of the last one */
	bool ordered;          /* keys are linked in order */
	struct staged_key *first[STAGED_HEIGHT_MAX];
};

/* All zeros is an empty one. */
void staged_fini(struct staged *staged);

/* The newest version of a key; NULL: the transaction has not written it. */
const struct staged_write *staged_find(
    const struct staged *staged, const struct hint_key *key, uint64_t hash);

/* Write a version: type, expiry_ms, value_len and needless are given, and so
 * is the value.  KVLOG_NOMEM, _TOOBIG: nothing has changed. */
enum kvlog_status staged_add(struct staged *staged, const struct hint_key *key,
    uint64_t hash, const struct staged_write *how, const void *value);

/* Note what has been written until now, KVLOG_NOMEM; and go back to there:
 * false if that is no savepoint, or one that was undone.  *ret_number: writes
 * of greater numbers are gone. */
enum kvlog_status staged_save(struct staged *staged, uint64_t *ret_savepoint);
bool staged_undo(
    struct staged *staged, uint64_t savepoint, uint64_t *ret_number);

/*
 * For a walk in order over what is written now, whatever is written later:
 * staged_walk() tells the last number there is.  Then the first key behind key,
 * or at it, and before high, that had been written by then, or the last one
 * before key that is not before low; NULL: there is none.
 */
uint64_t staged_walk(struct staged *staged);
const struct staged_write *staged_after(const struct staged *staged,
    uint64_t number, const struct hint_key *key, bool inclusive,
    const struct hint_key *high);
const struct staged_write *staged_before(const struct staged *staged,
    uint64_t number, const struct hint_key *key, const struct hint_key *low);

#endif
