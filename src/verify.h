/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.h - a second opinion on a store: which files are live, every byte of
 * them, where the log ends, what is damaged and which keys that concerns.
 *
 * Shares with the engine only the reading of names, records, segments and
 * the lock file.  In particular the rule that tells damage from a torn end
 * (INV-10) is written anew here, so that tests can hold two authors against
 * each other.  Works on files that opening refuses.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include "base.h"
#include "control.h"
#include "dir.h"
#include "segment.h"

#define VERIFY_NONE UINT64_MAX  /* no such sequence number, or offset */
#define VERIFY_NO_FILE SIZE_MAX /* no such file */

/* Why nothing, or not all, of a segment file can be used. */
enum verify_fault {
	FAULT_NONE,
	FAULT_HEADERS,    /* both copies of the fixed part are lost */
	FAULT_FOREIGN,    /* it is another store's */
	FAULT_SHORT,      /* it ends before its first record */
	FAULT_IRREGULAR,  /* a directory, or the like */
	FAULT_UNREADABLE, /* its beginning cannot be read */
	FAULT_CONTENT,    /* its fixed part says what nobody writes */
	FAULT_NAME,       /* it is a second file for a place that is taken */
};

/* A file of the directory. */
struct verify_file {
	struct file file;    /* what its name says */
	struct file_id id;   /* of a segment: what its header says, if known */
	struct segment *seg; /* NULL: nothing of it can be used */
	enum verify_fault fault;
	bool made_up; /* FAULT_HEADERS, and yet its records can be read: seg
			 was made of what they tell */
	bool live;
	/* Filled by the walk. */
	bool damaged;  /* some of its bytes are no record */
	uint64_t end;  /* behind its last valid record */
	uint64_t last; /* behind the last bytes that are not zero */
};

/* How a place is judged once it is known what is attested (A). */
enum place_rule {
	RULE_FACT,     /* not at all: it is what it is */
	RULE_BAD,      /* by s, n and A */
	RULE_SOFT,     /* as bad, unless A covers its commit */
	RULE_FRAGMENT, /* likewise; then a part of a commit is missing */
	RULE_LINK,     /* as bad, unless nothing is missing around it */
	RULE_GAP,      /* torn end or missing files; never ends in damage */
};

/* Something found, in the order of the log. */
struct place {
	enum kvlog_finding_kind kind; /* 0: only to be judged */
	enum place_rule rule;
	bool damage;
	bool unreadable;
	bool dropped;     /* it is behind the end of the log */
	bool stays;       /* it counts even there */
	size_t live;      /* index into verify.live, or VERIFY_NO_FILE: name */
	const char *name; /* of a file that is not live; not owned */
	uint32_t segment;
	uint64_t off, len;
	/* Where the log ends if this ends it. */
	size_t end_live;
	uint64_t end_off;
	uint64_t s, reached; /* last whole commit before; or end of a range */
	uint64_t next;       /* n - 1, or VERIFY_NONE */
	uint64_t first_seq, last_seq;
	const char *text; /* in place of the kind's own, or NULL */
	uint8_t *key;     /* owned, or NULL */
	size_t key_len;
	bool in_bucket;
	uint64_t bucket_seq; /* of the key */
	uint32_t bucket_ordinal;
	enum kvlog_older older;
};

/* A key that a place concerns. */
struct wanted {
	size_t place; /* index into verify.places */
	size_t live;  /* where the damaged record is */
	uint64_t off;
	uint64_t hash;
	bool of_value;       /* key is that of the place */
	uint64_t bucket_seq; /* of the key, if that is known */
	uint32_t bucket_ordinal;
	uint8_t *key; /* NULL: only its hash is known; owned, if not of_value */
	size_t key_len;
	enum kvlog_older older;
};

/* A name that the catalogue of buckets has, or had. */
struct verify_bucket {
	uint64_t seq;
	uint32_t ordinal;
	bool put;     /* else the bucket of this name was dropped here */
	bool lost_id; /* its value is damaged: seq is known, ordinal is not */
	uint32_t value_seed, value_sum; /* of its value, damaged or not */
	bool dropped;                   /* something later says so */
	size_t order;                   /* in the log */
	size_t live;                    /* where its record is */
	uint64_t off;
	uint8_t *name;
	size_t name_len;
};

struct hint;

/* A hint file. */
struct verify_hint {
	struct verify_file *file;
	struct hint *hint; /* bound to live files; NULL: of no use */
	size_t *lives;     /* of its sources: indices into verify.live */
	bool wrong;        /* which has been said */
};

struct verify {
	const struct kvlog_verify_options *options;
	struct kvlog_verify_report *report;
	struct kvlog_error *err;
	struct dir dir;
	struct control control;

	/* The directory: verify_list(). */
	struct verify_file *files;
	size_t file_count;
	struct verify_file **live; /* in order of the tiling */
	size_t live_count;
	bool has_store;
	struct segment_store store; /* of most of the segments */
	bool warm;                  /* the control page is believed */
	struct control_state state; /* of the page */
	bool has_note;
	struct control_note note;
	char note_text[240]; /* of a place */

	struct verify_hint *hints;
	size_t hint_count;

	/* The walk: verify_walk(). */
	uint64_t s;        /* last whole commit so far */
	uint64_t base;     /* the present range begins above it */
	uint64_t attested; /* A, but for a warm page */
	struct place *places;
	size_t place_count, place_cap;
	size_t pending;    /* places from here on have no n yet */
	uint8_t *last_key; /* of an output in key order; room for any key */
	uint32_t last_key_len;
	uint64_t last_bucket;
	uint32_t last_ordinal;
	bool has_last_key;

	/* Once all is read, those that were created, by id. */
	struct verify_bucket *buckets;
	size_t bucket_count, bucket_cap;

	struct wanted *wanted; /* in order of their places */
	size_t wanted_count, wanted_cap;
	uint64_t looks; /* at them, by the search for what is left of them */

	/* The verdict: where the log ends. */
	size_t end_live; /* VERIFY_NO_FILE: nothing is live */
	uint64_t end_off;
	bool ended; /* before its last record */

	uint64_t done, total; /* bytes, for progress */
	bool cancelled;
	bool no_memory; /* something could not be noted */
};

/*
 * Look at a store: list, walk, judge.  Free with verify_fini() in any case.
 * KVLOG_OK also if damage was found: see verify->places.
 */
enum kvlog_status verify_init(struct verify *v, const char *path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err);
void verify_fini(struct verify *v);

/* Find out which keys are concerned, and tell the caller all that was found:
 * KVLOG_OK, or KVLOG_CORRUPT if something is damaged. */
enum kvlog_status verify_tell(struct verify *v);

/* kvlog_verify(). */
enum kvlog_status verify_store(const char *path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err);

const char *verify_kind_name(enum kvlog_finding_kind kind);

/*
 * Parts of one another.
 */

/* verify_files.c: list the directory and open its segments; which are live,
 * and what the lock file says.  KVLOG_BUSY: look again. */
enum kvlog_status verify_list(struct verify *v);
void verify_unlist(struct verify *v);

/* Whether a name that was listed is that of no file: of a directory, a link
 * to nothing, or the like. */
bool verify_is_irregular(const struct verify *v, const char *name);

/* Whether a copy of the fixed part is as it was written; whose it is. */
bool verify_fixed_ok(const uint8_t *p);
void verify_fixed_id(const uint8_t *p, struct file_id *ret_id);

/* Where records of live file i may reach; exact: they do. */
uint64_t verify_limit(const struct verify *v, size_t i, bool *ret_exact);

/* The link that speaks of live file i, or NULL. */
const struct segment_link *verify_seal(const struct verify *v, size_t i);

/* Whether live file i goes on with the set of parts of the one before. */
bool verify_same_set(const struct verify *v, size_t i);

/* Have a descriptor for live file i; KVLOG_BUSY if it is gone. */
enum kvlog_status verify_open_fd(struct verify *v, size_t i, bool *ret_opened);

/* verify_walk.c: read all live files; fills places. */
enum kvlog_status verify_walk(struct verify *v);

/* Add a place of live file i (VERIFY_NO_FILE: of none); NULL if there is no
 * room, which is counted. */
struct place *verify_add(struct verify *v, enum kvlog_finding_kind kind,
    size_t i, uint64_t off, uint64_t len);

/* verify_keys.c: name the keys of damaged places. */
enum kvlog_status verify_keys(struct verify *v);

/* verify_hint.c: open and check hint files; then each record of the live
 * files, in the order of the log; then the entries. */
enum kvlog_status verify_open_hints(struct verify *v);
void verify_close_hints(struct verify *v);
void verify_hint_record(
    struct verify *v, size_t i, uint64_t off, const struct record *rec);
enum kvlog_status verify_check_hints(struct verify *v);

/* Call fn for each hint entry that points into one of the places whose
 * numbers are in order, which is that of the log. */
typedef void verify_hinted_fn(
    struct verify *v, size_t place, uint64_t off, uint64_t hash);
void verify_hinted(
    struct verify *v, const size_t *order, size_t count, verify_hinted_fn *fn);

/* Whether a sound hint covers all of [from, to) of live file i. */
bool verify_hint_covers(
    const struct verify *v, size_t i, uint64_t from, uint64_t to);

/* Whether a record is behind the place where the log ends, which is known once
 * all is read. */
bool verify_is_beyond(const struct verify *v, size_t live, uint64_t off);

/* Whether it is of a batch that is not whole.  Asked in the order of the log;
 * *next is 0 at first. */
bool verify_in_fragment(
    const struct verify *v, size_t *next, size_t live, uint64_t off);

/* verify_buckets.c: a record of live file i, perhaps of the catalogue; then,
 * that it is known where the log ends. */
void verify_bucket_record(struct verify *v, size_t i, uint64_t off,
    const struct record *rec, bool value_ok);
void verify_settle_buckets(struct verify *v);
void verify_forget_buckets(struct verify *v);

/* What is known of a bucket; NULL: nothing. */
const struct verify_bucket *verify_find_bucket(
    const struct verify *v, uint64_t seq, uint32_t ordinal);

/* Count bytes read; false if the caller wants to stop. */
bool verify_progress(struct verify *v, uint64_t bytes);

#endif
