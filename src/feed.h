/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feed.h - the change feed: the commits of a store one after the other, as
 * they become durable.
 *
 * It keeps the number of the next commit and the place where that is to be
 * looked for, and takes a view anew at each call: between calls it holds back
 * nothing.  What it hands out is a copy.
 */
#ifndef FEED_H
#define FEED_H

#include "base.h"
#include "store.h"

struct kvlog_feed {
	struct store *store;
	uint8_t *prefix; /* owned, as all below */
	size_t prefix_len;
	bool all; /* buckets; else this one: */
	struct bucket_id bucket;
	uint8_t *copy; /* of the key and value that were handed out last */

	uint64_t next;   /* number of the commit to come, or being told */
	uint64_t passed; /* records of it that were passed */
	bool told;       /* that not all of it is there */
	/* Where to go on, if that segment is still live. */
	uint64_t salt;
	uint64_t off;
};

/* from: the first number that is wanted; KVLOG_FEED_NEW: of the first commit
 * that is not durable yet.  bucket: NULL for all of them, or, with a prefix,
 * the default one. */
enum kvlog_status feed_open(struct store *db,
    const struct bucket_handle *bucket, uint64_t from, const void *prefix,
    size_t prefix_len, struct kvlog_feed **ret_feed, struct kvlog_error *err);
void feed_close(struct kvlog_feed *feed); /* NULL is fine */

/* See kvlog_feed_next(). */
enum kvlog_status feed_next(struct kvlog_feed *feed, uint32_t timeout_ms,
    struct kvlog_change *ret_change, struct kvlog_error *err);

#endif
