/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * commit.h - commits and marks: records stored, published and indexed.
 */
#ifndef COMMIT_H
#define COMMIT_H

#include "bucket.h"
#include "log.h"
#include "turn.h"

/* Bytes that the records of one commit have at most. */
#define COMMIT_SIZE_MAX (KVLOG_SEGMENT_SIZE_MAX - 2 * BLOCK_SIZE)

/* One record to write. */
struct commit_op {
	uint8_t type; /* RECORD_PUT or RECORD_DELETE */
	enum kvlog_condition condition;
	uint64_t if_seq;
	const void *key;
	const void *value;
	uint16_t key_len;
	uint32_t value_len;
	uint64_t hash; /* of the key; index_hash() */
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	uint64_t expiry_ms;
	/* To be there still; NULL: the default one, or the caller knows. */
	struct bucket_handle *bucket;
	/* The value, if it is the id of a new bucket: the number of the commit
	 * is put into it. */
	uint8_t *new_id;
};

static inline struct hint_key
commit_key(const struct commit_op *op)
{
	return (struct hint_key){
	    op->bucket_seq, op->bucket_ordinal, op->key_len, op->key};
}

/* RECORD_BUCKET, RECORD_EXPIRY. */
static inline unsigned
commit_flags(const struct commit_op *op)
{
	return record_flags_of(
	    op->bucket_seq, op->bucket_ordinal, op->expiry_ms);
}

static inline uint64_t
commit_op_size(const struct commit_op *op)
{
	return record_size(commit_flags(op), op->key_len, op->value_len);
}

/*
 * Write ops as one commit and publish it.  Visible on KVLOG_OK, not yet
 * durable.  strict: a delete of an absent key is KVLOG_NOTFOUND instead of
 * nothing to do.  On KVLOG_CONFLICT, _NOTFOUND, _NOBUCKET and _CORRUPT
 * *ret_failed is the op.  Nothing is written unless the result is KVLOG_OK.
 */
enum kvlog_status log_commit(struct log *log, const struct commit_op *ops,
    size_t op_count, bool strict, struct kvlog_receipt *ret_receipt,
    size_t *ret_failed, struct kvlog_error *err);

/* The same by the owner of the turn, who is none any more, whatever the result;
 * KVLOG_TIMEOUT: he was not any more; _CONFLICT: the number is not his. */
enum kvlog_status log_commit_owned(struct log *log, const struct ownership *own,
    const struct commit_op *ops, size_t op_count,
    struct kvlog_receipt *ret_receipt, struct kvlog_error *err);

/* Append a mark; clean: the store is being closed.  */
enum kvlog_status log_mark(
    struct log *log, bool clean, struct kvlog_error *err);

#endif
