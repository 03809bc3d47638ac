/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment.h - one segment file: header, link, mapping, and the records in
 * it.  Knows nothing of what keys mean or which record is the newest.
 */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "base.h"
#include "dir.h"
#include "os.h"
#include "record.h"
#include "sum.h"

#include <stdatomic.h>

#define SEGMENT_FORMAT 1       /* frozen; see kvlog-format(5) */
#define SEGMENT_DATA_OFF 4608u /* of the first record */
#define SEGMENT_FIXED_LEN 512u /* of the fixed part of the header */
#define SEGMENT_LINK_OFF 512u
#define SEGMENT_LINK_LEN 64u
#define SEGMENT_SECRET_LEN SUM_SECRET_LEN
/* Of what is read from end to end, so far ahead, or twice that. */
#define SEGMENT_FETCH_LEN (UINT64_C(1) << 20)
/* To fetch less than that costs more than it saves. */
#define SEGMENT_FETCH_MIN (UINT64_C(1) << 14)

enum segment_kind {
	SEGMENT_PLAIN = 0,
	SEGMENT_OUTPUT = 1,   /* of a compaction: records in key order */
	SEGMENT_VERBATIM = 2, /* of a repair: records in commit order */
};

/* What all segments of a store have in common. */
struct segment_store {
	uint8_t uuid[16];
	uint8_t secret[SEGMENT_SECRET_LEN];
};

/* The fixed part: written and synced before the file gets its name. */
struct segment_header {
	struct segment_store store;
	uint32_t kind; /* enum segment_kind */
	struct file_id id;
	uint64_t size; /* of the file in bytes */
	uint64_t salt;
	uint64_t max_size; /* bound for later segments, as it was in force */
	/* The rest for outputs only, else 0. */
	uint64_t set_id;
	uint64_t end;       /* exact end of the records */
	uint64_t last_salt; /* of the last input */
	uint64_t last_end;  /* of the last input */
	uint64_t last_seq;  /* of the last input */
	uint64_t now_ms;    /* against which expiry was judged */
};

/* What a segment says of its predecessor.  A valid link seals it. */
struct segment_link {
	uint64_t prev_salt;
	uint64_t prev_end;
	uint64_t prev_last_seq;
	uint64_t first_seq; /* what the first commit here is numbered */
	bool durable;       /* all up to prev_last_seq was, when written */
};

struct segment_range {
	uint64_t from, to; /* offsets; [from, to) */
};

/* The mapping of a segment that is only read is made when it is needed. */
enum segment_mapped { SEGMENT_UNMAPPED, SEGMENT_MAPPING, SEGMENT_MAPPED };

struct waste;

struct segment {
	_Atomic uint32_t refs; /* but for the first */
	struct segment_header header;
	struct segment_link link;
	bool link_ok;         /* link is valid */
	bool header_damaged;  /* only the copy of the fixed part was good */
	bool head_unreadable; /* the medium did not give the first block */
	char name[DIR_NAME_LEN];
	int fd;
	struct os_map map;
	_Atomic(enum segment_mapped) mapped;
	struct dir *dir;    /* that it was opened in; not owned */
	bool huge;          /* mapped in huge pages: for large records */
	uint64_t allocated; /* of the active one: up to here there is space */
	uint64_t prepared;  /* likewise: pages up to here (prepare.c) */
	uint64_t dev, ino;  /* identity of the file, if it was opened */
	uint64_t file_len;  /* bytes in the file; less than header.size only
			       if somebody cut it */
	uint32_t salt_sum;  /* of header.salt, for seeds */

	/* End of the records.  Of the active segment: end of what is
	 * published; grows. */
	_Atomic uint64_t end;
	uint64_t last_seq; /* of the last commit up to end; sealed only */

	uint64_t loc_base; /* where segset put it, in units of 8 bytes */
	/* Once sealed: number up to which its records and its link attest
	 * durability. */
	uint64_t evidence;
	bool damaged;  /* values fail their sums: no hint may hide that */
	bool hurt;     /* opening found damage in it, of any kind */
	bool barred;   /* compaction has to leave it alone */
	bool replaced; /* by an output; the index may lead here still */
	/* Making or merging its hint was tried in vain. */
	_Atomic bool hint_failed;
	/* Invalid bytes below end that are known, in order; owned. */
	struct segment_range *bad;
	size_t bad_count, bad_cap;
	/* Hints cover the records before this offset (0: none), up to this
	 * number.  Kept by hintset. */
	_Atomic uint64_t hinted_to;
	uint64_t hinted_seq;
	/* Bytes of records that were replaced or deleted, as far as is known:
	 * it changes all the time, far from what look-ups need.  The rest is
	 * reclaim.c's. */
	_Atomic uint64_t dead;
	uint64_t dead_before, entries, sampled, sampled_bytes;
	/* Of other records, those of dropped buckets and such as have expired:
	 * an estimate, and what it is made of; waste.c's. */
	_Atomic uint64_t wasted;
	struct waste *waste; /* owned: one piece of memory */
};

/*
 * Make an allocated, mapped, writable segment under a name that is not part
 * of the store (spare, *.tmp): header written and synced, link not.  The
 * caller names it by rename.  header->salt is drawn here.
 * in_place: the file is there, all zeros and allocated to header->size (the
 * reserve), instead of being made.
 */
enum kvlog_status segment_create(struct dir *dir, const char *name,
    const struct segment_header *header, bool in_place,
    struct segment **ret_segment, struct kvlog_error *err);

/*
 * Open a segment by name, for reading; verify the fixed part (or its copy)
 * and read the link.  id is what the name says; a header that says otherwise
 * is damage.
 * KVLOG_CORRUPT: no header is readable, or it is not what the name says.
 * KVLOG_VERSION: written in a newer format, or before the format was final.
 */
enum kvlog_status segment_open(struct dir *dir, const char *name,
    const struct file_id *id, struct segment **ret_segment,
    struct kvlog_error *err);

/* The same without a mapping: whoever looks at records calls segment_map()
 * first. */
enum kvlog_status segment_open_header(struct dir *dir, const char *name,
    const struct file_id *id, struct segment **ret_segment,
    struct kvlog_error *err);

/* Make sure that it is mapped.  Any thread.  KVLOG_IO, also if the file has
 * been replaced; KVLOG_NOMEM. */
enum kvlog_status segment_map_now(
    const struct segment *seg, struct kvlog_error *err);
static inline enum kvlog_status
segment_map(const struct segment *seg, struct kvlog_error *err)
{
	if (LIKELY(atomic_load_explicit(&seg->mapped, memory_order_acquire) ==
		   SEGMENT_MAPPED))
		return KVLOG_OK;
	return segment_map_now(seg, err);
}

/* Map again for writing, with some space behind its end allocated: the
 * segment becomes the active one of this process. */
enum kvlog_status segment_make_writable(
    struct segment *seg, struct dir *dir, struct kvlog_error *err);

/* The same of one that another writer, which lives, has made: it has all its
 * space. */
enum kvlog_status segment_share_writing(
    struct segment *seg, struct dir *dir, struct kvlog_error *err);

/* Make sure that the bytes up to this offset of the active segment have disk
 * space: 0, or an errno value.  Nothing is stored behind seg->allocated. */
int segment_allocate(struct segment *seg, uint64_t to);

/* Give a segment that has the name of a spare or the like its own; EEXIST if
 * there is a file of that name, which is never replaced. */
int segment_take_name(struct segment *seg, struct dir *dir);

/* Close the descriptor, as there may be more segments than descriptors; the
 * mapping stays. */
void segment_close_fd(struct segment *seg);

/* Open it again for reading if it is closed; ESTALE if the name is another
 * file's by now.  *ret_opened: close it after use. */
int segment_open_fd(struct segment *seg, struct dir *dir, bool *ret_opened);

/* Keep it, however long the live set does; segment_close() gives it back. */
struct segment *segment_ref(const struct segment *seg);

/* Unmap and close, unless others keep it; NULL is fine. */
void segment_close(struct segment *seg);

/* Seed of the sums of a record at off. */
static inline uint32_t
segment_seed(const struct segment *seg, uint64_t off)
{
	return sum_seed(seg->salt_sum, off);
}

static inline uint64_t
segment_end(const struct segment *seg)
{
	return atomic_load_explicit(&seg->end, memory_order_acquire);
}

/* No hint may hide that records are damaged: they are read anew at every
 * opening. */
static inline bool
segment_may_be_hinted(const struct segment *seg)
{
	return seg->bad_count == 0 && !seg->damaged && !seg->hint_failed;
}

/* How far records may reach: all of the file. */
static inline uint64_t
segment_limit(const struct segment *seg)
{
	return min_u64(seg->header.size, seg->file_len) &
	       ~(uint64_t)(RECORD_ALIGN - 1);
}

/* The salt that the successor's link must name. */
uint64_t segment_last_salt(const struct segment *seg);

/* The number that people see. */
static inline uint32_t
segment_number(const struct segment *seg)
{
	return seg->header.id.last;
}

/*
 * Read the record at off, below the end, in place.  RECORD_VALID says only
 * that the fields fit; verify the sums with record_header_ok() and
 * record_value_ok().
 */
static inline bool
segment_parse(const struct segment *seg, uint64_t off, struct record *ret_rec)
{
	uint64_t end = segment_end(seg);

	return off < end &&
	       record_parse(seg->map.addr + off, end - off, ret_rec);
}

/*
 * The first record at or after *off and below to, in place, leaving out
 * known bad ranges; its header sum is verified.  Sets *off to it; the caller
 * moves on by ret_rec->size.  False at the end, and (with *ret_bad) at a
 * record that is damaged.
 */
bool segment_walk(const struct segment *seg, uint64_t *off, uint64_t to,
    struct record *ret_rec, bool *ret_bad);

/*
 * Of a segment that is read from end to end: called before each step, at off,
 * it has what follows fetched, up to `to`.  *ahead begins at 0.  Segments are
 * mapped for reading at random, which fetches nothing by itself.
 */
static inline void
segment_fetch_ahead(
    const struct segment *seg, uint64_t off, uint64_t to, uint64_t *ahead)
{
	if (UNLIKELY(
		off >= *ahead && off < to && to - off >= SEGMENT_FETCH_MIN)) {
		os->advise(&seg->map, off,
		    min_u64(to - off, 2 * SEGMENT_FETCH_LEN),
		    OS_ADVICE_WILLNEED);
		*ahead = off + SEGMENT_FETCH_LEN;
	}
}

/* Note that [from, to) is invalid; ranges come in order.  0 or ENOMEM. */
int segment_add_bad(struct segment *seg, uint64_t from, uint64_t to);

/* Store the link of a segment that has no name yet. */
int segment_store_link(struct segment *seg, const struct segment_link *link);

/*
 * Looking for a record at every place.  Bytes that somebody chose may look
 * like a header with a long key everywhere, and each would be summed 8192
 * times; once that is a lot, sums are had in another way.  All zero, then
 * fini.
 */
struct segment_search {
	uint64_t summed;         /* bytes of what looked like headers */
	struct sum_spans *spans; /* of the window; NULL: not needed yet */
	uint64_t window_off, window_len;
};

/*
 * Whether rec, parsed at off with its header in the window [window_off,
 * window_off + window_len) at bytes, has a right header sum.
 */
bool segment_search_ok(struct segment_search *search, const struct segment *seg,
    const uint8_t *bytes, uint64_t window_off, uint64_t window_len,
    uint64_t off, const struct record *rec);
/* The next place behind off, in the mapping, where a record stands, or to. */
uint64_t segment_next_record(const struct segment *seg, uint64_t off,
    uint64_t to, struct segment_search *search);
void segment_search_fini(struct segment_search *search);

/*
 * Whether anything but zero stands in the first word at off, which is the last
 * one of a commit to be stored.  By pread; what cannot be read is nothing.
 */
bool segment_is_used_at(struct segment *seg, struct dir *dir, uint64_t off);

/*
 * Scanning: read records from the file, not from the mapping, so that
 * unreadable media are an error code and not a signal.
 */
struct segment_scan {
	const struct segment *seg;
	uint64_t off;   /* of the next look */
	uint64_t limit; /* bytes from here on are not looked at */
	uint8_t *window;
	uint64_t window_off;
	size_t window_len;
	bool unreadable; /* some block was; it was taken for bad bytes */
	struct segment_search search;
};

/* What a scan found at scan->off. */
enum scan_state {
	SCAN_RECORD,  /* a valid record; sum of the value verified apart */
	SCAN_ZERO,    /* zeros up to the limit */
	SCAN_END,     /* the limit */
	SCAN_BAD,     /* neither */
	SCAN_UNKNOWN, /* a record of a newer version */
	SCAN_NOMEM,
};

int segment_scan_init(struct segment_scan *scan, const struct segment *seg,
    uint64_t from, uint64_t limit); /* 0 or ENOMEM */
void segment_scan_fini(struct segment_scan *scan);

/*
 * Look at scan->off.  For SCAN_RECORD fill *ret_rec, whose key points into
 * the window (valid until the next call) and whose value is NULL;
 * ret_value_ok says whether the value's sum is right.  Does not move.
 */
enum scan_state segment_scan_look(
    struct segment_scan *scan, struct record *ret_rec, bool *ret_value_ok);

/* After SCAN_BAD: move to the next place from scan->off + 8 on where a valid
 * record stands; false if there is none below the limit. */
bool segment_scan_resync(struct segment_scan *scan);

#endif
