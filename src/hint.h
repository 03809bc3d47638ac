/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint.h - hints: for a stretch of the log, the last record of each key in
 * it, sorted by bucket and key.
 *
 * A hint is a cache of what a scan of the stretch would yield, never the
 * truth.  Three things are done with it: the keydir is rebuilt from it, keys
 * are looked up in it without a keydir, and it is walked in key order.
 *
 * A hint is a file, or an image of the same form in memory, made of records
 * that no file covers.  It does not change, so that any number of threads may
 * read it.
 */
#ifndef HINT_H
#define HINT_H

#include "base.h"
#include "segment.h"

#include <string.h>

/* A key with its bucket; 0, 0 is the default bucket. */
struct hint_key {
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	uint32_t len;
	const uint8_t *bytes;
};

/* A part of the stretch: [from, to) of one segment. */
struct hint_source {
	const struct segment *seg; /* NULL until the hint is bound */
	struct file_id id;
	uint64_t salt;
	uint64_t from, to;
	uint64_t last_seq; /* of the last commit in it; 0: none */
};

/* One entry, decoded. */
struct hint_entry {
	uint64_t hash;  /* as sum_hash() */
	uint32_t index; /* of its source; greater is newer */
	uint8_t type;   /* enum record_type */
	bool expiry;    /* the record has an expiry time */
	uint64_t off;   /* of the record in the source's segment */
	const struct segment *seg;
};

/* Where a record's header was found damaged. */
struct hint_damage {
	const struct segment *seg; /* NULL: nowhere */
	uint64_t off;
};

/* One entry of an image that is made for walks alone. */
struct hint_item {
	uint64_t rank; /* key_prefix() behind what all keys begin with */
	uint64_t what; /* hash, and kind above it */
	uint64_t off;
};

struct hint {
	_Atomic uint32_t refs;
	char name[DIR_NAME_LEN]; /* of the file; empty: an image in memory */
	const uint8_t *data;
	uint64_t len;
	struct os_map map;       /* if a file */
	uint8_t *memory;         /* if not */
	struct hint_item *items; /* if for walks: instead of all that follows,
				    but for entry_count and the one source */
	struct hint_key base;    /* of those: the bucket, and what all keys
				    begin with, in one of the records */
	bool ranked;             /* all are of that bucket, and have ranks */

	uint64_t entry_count;
	uint64_t bucket_count; /* of them: outside the default bucket */
	uint64_t expiry_count; /* of records that expire */
	uint32_t block_count;  /* entry blocks, then fence blocks */
	uint32_t leaf_count;   /* entry blocks */
	uint32_t per_block;    /* entries in each entry block but the last */
	unsigned off_bits, source_bits, loc_len;
	uint64_t blocks_off;
	uint64_t far_off, far_len;
	/* What is known of each block: it is verified when first used. */
	_Atomic uint8_t *verdicts;
	/* What searches have learned of each entry block; NULL: nothing. */
	_Atomic(struct hint_ranks *) ranks;
	size_t source_count;
	struct hint_source *sources; /* in the order of the log */
	struct hint_damage hurt;     /* left out; a merge is to tell */
};

/*
 * A search in an entry block always comes upon the same entries first.  What
 * the keys of the first 63 were is kept: as ranks, key_prefix() behind what all
 * keys of the block begin with, in the order of a binary tree whose root is
 * number 1; 0: not known.
 */
#define HINT_RANKS 64u
struct hint_ranks {
	_Atomic uint64_t at[HINT_RANKS];
};

/* Building */

/*
 * Make the image of the sources, whose seg, from and to the caller fills in;
 * in order.  All of it is published.  Of the last source only commits up to
 * max_seq are taken, and to becomes the end of the last one that is.
 * KVLOG_CORRUPT if a record's header is damaged (known bad ranges are left
 * out without a word); KVLOG_NOMEM.
 */
enum kvlog_status hint_build(const struct hint_source *sources,
    size_t source_count, uint64_t max_seq, struct hint **ret_hint,
    struct kvlog_error *err);

/*
 * The same of whole sources, around damaged records: they are left out, so
 * that an older one of such a key may show.  *ret_damage is the first of
 * them.  Never KVLOG_CORRUPT.
 */
enum kvlog_status hint_build_around(const struct hint_source *sources,
    size_t source_count, struct hint **ret_hint, struct hint_damage *ret_damage,
    struct kvlog_error *err);

/*
 * An image for walks, of a part of one segment: for hint_get() and hint_seek()
 * alone.  It takes less time to make, which counts where it is of a few
 * records.  onto: such an image, which ends where the source begins, or NULL;
 * if no more than a few records come to it, they are added to what it has, and
 * the new image is of all that.  Errors as of hint_build(); KVLOG_CORRUPT also
 * where a record of onto is damaged.
 */
enum kvlog_status hint_build_items(const struct hint_source *source,
    const struct hint *onto, size_t few, struct hint **ret_hint,
    struct kvlog_error *err);

/* The same, empty, with room for so many entries, which are added in order, of
 * keys from first to last; these stand in records of the segment.  NULL: out of
 * memory. */
struct hint *hint_create_items(const struct hint_source *source, uint64_t room,
    const struct hint_key *first, const struct hint_key *last);
void hint_add_item(struct hint *hint, const struct hint_entry *entry,
    const struct hint_key *key);

/* Write an image to its file, or to one of this name. */
enum kvlog_status hint_write(
    const struct hint *hint, struct dir *dir, struct kvlog_error *err);
enum kvlog_status hint_write_as(const struct hint *hint, struct dir *dir,
    const char *name, struct kvlog_error *err);

/*
 * Write a hint file entry by entry, in order of keys, in little memory.
 * sources as for hint_build(), with id, salt and last_seq; they and the bytes
 * of each key stay where they are until the writer is destroyed.  The file
 * gets its name by hint_writer_finish(), which replaces one of that name.
 */
struct hint_writer;
enum kvlog_status hint_writer_create(struct hint_writer **ret_writer,
    struct dir *dir, const struct hint_source *sources, size_t source_count,
    struct kvlog_error *err);
enum kvlog_status hint_writer_add(struct hint_writer *writer,
    const struct hint_key *key, const struct hint_entry *entry,
    struct kvlog_error *err);
enum kvlog_status hint_writer_finish(
    struct hint_writer *writer, struct kvlog_error *err);
const char *hint_writer_name(const struct hint_writer *writer);
/* Also removes what was not finished; NULL is fine. */
void hint_writer_destroy(struct hint_writer *writer);

/* The name of the file of a hint over these sources; another one when the
 * segment that it covers to its end has grown. */
void hint_make_name(char name[DIR_NAME_LEN], const struct hint_source *sources,
    size_t source_count);

/* Whether a file of this name may be a hint over them: it has another one's
 * header else, and the blocks of neither. */
bool hint_name_fits(
    const char *name, const struct hint_source *sources, size_t source_count);

/* Reading */

/* Fill a hint's fields from the header in its data; false if it cannot be
 * one.  What it allocates is freed with the hint. */
bool hint_decode(struct hint *hint);

/*
 * Open a hint file and verify its header; blocks are verified when they are
 * used.  NULL if there is none, or it is damaged, of another format or of
 * another store: that is no error, hints are made again.
 */
struct hint *hint_open(
    struct dir *dir, const char *name, const struct segment_store *store);

/* The same for those who ask why: an errno if it cannot be known now. */
int hint_try_open(struct dir *dir, const char *name,
    const struct segment_store *store, struct hint **ret_hint);

/*
 * Let source number n be seg, which is kept for as long as the hint; false if
 * it is not, or seg holds less.  Entries may be read only when all sources are
 * bound.
 */
bool hint_bind(struct hint *hint, size_t n, const struct segment *seg);

struct hint *hint_ref(struct hint *hint);
void hint_unref(struct hint *hint); /* NULL is fine */

/* It is about to be read from one end to the other. */
void hint_read_ahead(const struct hint *hint);

/* Whether all blocks are sound; reads the whole file. */
bool hint_verify(const struct hint *hint);

/* Entry number n, n < entry_count, in order of bucket and key; false if its
 * block is damaged. */
bool hint_get(
    const struct hint *hint, uint64_t n, struct hint_entry *ret_entry);

/* Up to count entries from number n on, or back from it, all of one block;
 * returns how many, 0 if that is damaged. */
unsigned hint_get_some(const struct hint *hint, uint64_t n, bool back,
    unsigned count, struct hint_entry *entries);

/* A look-up: entries that may be the key's. */
struct hint_probe {
	const struct hint *hint;
	uint64_t hash;
	uint64_t next, end; /* entry numbers still to be looked at */
	bool damaged;       /* of the hint: the answer is not known */
};

/*
 * The entries under key's hash that may be key's, one per call; false after
 * the last, or with probe->damaged.  Reads no record.
 */
bool hint_find(const struct hint *hint, const struct hint_key *key,
    uint64_t hash, struct hint_probe *probe, struct hint_entry *ret_entry);
bool hint_find_next(struct hint_probe *probe, struct hint_entry *ret_entry);

/* The number of the first entry whose key is >= key, entry_count if there is
 * none; false if a block on the way is damaged. */
bool hint_seek(
    const struct hint *hint, const struct hint_key *key, uint64_t *ret_n);

/*
 * The same step by step, for who seeks in many hints and would wait for memory
 * in each: what a step fetches is there when the others have made theirs.
 * Begun, it goes on until hint_search_go_on() is false; then low is what
 * hint_seek() says, unless it is damaged.  The key stays the caller's.
 */
struct hint_search {
	const struct hint *hint;
	const struct hint_key *key;
	uint64_t low, high; /* the place is in there */
	/* What earlier searches came upon; NULL: it does not help. */
	struct hint_ranks *ranks;
	unsigned node;     /* where in there the next step belongs */
	uint32_t base_len; /* bytes that all keys of the block begin with */
	uint64_t rank;     /* of the key */
	bool fetched;      /* the records of the next comparisons */
	bool damaged;
};
void hint_search_begin(struct hint_search *search, const struct hint *hint,
    const struct hint_key *key);
bool hint_search_go_on(struct hint_search *search);

/* Read an entry's record; false if its header or key is damaged. */
static inline bool
hint_read(const struct hint_entry *e, struct record *ret_rec)
{
	const uint8_t *p = e->seg->map.addr + e->off;

	return record_parse(p, segment_end(e->seg) - e->off, ret_rec) &&
	       record_header_ok(p, ret_rec, segment_seed(e->seg, e->off));
}

/* Keys */

static inline struct hint_key
hint_key_of(const struct record *rec)
{
	return (struct hint_key){
	    rec->bucket_seq, rec->bucket_ordinal, rec->key_len, rec->key};
}

/* Entry number n and its key; false if one of them is damaged. */
static inline bool
hint_get_key(const struct hint *hint, uint64_t n, struct hint_entry *ret_entry,
    struct hint_key *ret_key)
{
	struct record rec;

	if (!hint_get(hint, n, ret_entry) || !hint_read(ret_entry, &rec))
		return false;
	*ret_key = hint_key_of(&rec);
	return true;
}

/* In the default bucket. */
static inline struct hint_key
hint_plain_key(const void *key, size_t key_len)
{
	return (struct hint_key){.len = (uint32_t)key_len, .bytes = key};
}

static inline bool
hint_key_is_plain(const struct hint_key *key)
{
	return bucket_is_default(key->bucket_seq, key->bucket_ordinal);
}

/* Whether a record is of this key. */
static inline bool
hint_key_is_of(const struct hint_key *key, const struct record *rec)
{
	return rec->key_len == key->len && rec->bucket_seq == key->bucket_seq &&
	       rec->bucket_ordinal == key->bucket_ordinal &&
	       memcmp(rec->key, key->bytes, key->len) == 0;
}

/* The hash of a key, bucket included. */
uint64_t hint_key_hash(const uint8_t *secret, const struct hint_key *key);

/* The same of a record's key. */
uint64_t hint_hash(const struct segment *seg, const struct record *rec);

/* Order of keys: by bucket, then memcmp, a prefix first. */
int hint_key_compare(const struct hint_key *a, const struct hint_key *b);

/* The first 8 bytes of a key as a number that sorts as they do. */
uint64_t key_prefix(const uint8_t *key, size_t key_len);

/* Order of two keys of one bucket. */
int key_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

#endif
