/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint.h - hint files: for one segment, the last record of each of its keys,
 * sorted by bucket and key.
 *
 * A hint is a cache of what a scan of the segment would yield, never the
 * truth: it serves to rebuild the keydir and to walk keys in order.  The same
 * image is made in memory for records that no file covers yet, so that the
 * readers of hints know one form only.
 */
#ifndef HINT_H
#define HINT_H

#include "base.h"
#include "segment.h"

struct hint {
	const uint8_t *data; /* the image: mapped, or in memory */
	uint64_t len;
	struct os_map map; /* if mapped */
	uint8_t *memory;   /* if not */
	uint64_t entry_count;
	uint32_t block_count;
	uint32_t per_block; /* entries in each block but the last */
	unsigned off_bits, loc_len, hash_len;
	uint64_t blocks_off;
	const uint8_t *fences; /* offsets; the heap follows */
	uint64_t from, to;     /* what it covers of the segment */
	uint64_t last_seq;
};

/* One entry, decoded. */
struct hint_entry {
	uint64_t hash; /* as sum_hash() */
	uint64_t off;  /* of the record in the segment */
	uint8_t type;  /* enum record_type */
	bool expiry;   /* the record has an expiry time */
};

/*
 * Make the image of [from, to) of a segment.  The caller knows that all of
 * it is published.  KVLOG_CORRUPT if a record's header is damaged (known bad
 * ranges are left out without a word).
 */
enum kvlog_status hint_build(const struct segment *seg, uint64_t from,
    uint64_t to, struct hint **ret_hint, struct kvlog_error *err);

/* Write an image of a whole sealed segment to its hint file. */
enum kvlog_status hint_write(const struct hint *hint, const struct segment *seg,
    struct dir *dir, struct kvlog_error *err);

/*
 * Open the hint file of a sealed segment whose end is known.  NULL if there
 * is none, or it is damaged, or belongs to another file, end, store or
 * secret: that is no error, hints are made again.  All checksums are
 * verified.
 */
struct hint *hint_open(const struct segment *seg, struct dir *dir);

void hint_close(struct hint *hint); /* NULL is fine */

/* Entry number n, n < entry_count, in order of bucket and key. */
void hint_get(
    const struct hint *hint, uint64_t n, struct hint_entry *ret_entry);

/*
 * The number of the first entry of the default bucket whose key is >= key;
 * entry_count if there is none.
 */
uint64_t hint_seek(const struct hint *hint, const struct segment *seg,
    const uint8_t *key, size_t key_len);

/* The hash of a record's key, bucket included. */
uint64_t hint_hash(const struct segment *seg, const struct record *rec);

/* The first 8 bytes of a key as a number that sorts as they do. */
uint64_t key_prefix(const uint8_t *key, size_t key_len);

/* Order of two keys of one bucket: memcmp, a prefix first. */
int key_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

#endif
