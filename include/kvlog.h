/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog.h - the whole public interface of libkvlog, an embedded,
 * log-structured key-value store.
 *
 * A store is a directory.  Keys are 1 to KVLOG_KEY_MAX bytes, values 0 to
 * KVLOG_VALUE_MAX bytes; both may hold any bytes.
 *
 * Conventions
 *   1. Handles are opaque.  Data is a pointer and a length in bytes; nothing
 *      is NUL-terminated and nothing the caller passes is kept.
 *   2. Every call that can fail returns enum kvlog_status; 0 is success.
 *      KVLOG_NOTFOUND and KVLOG_CONFLICT are answers, not failures.
 *   3. ret_* arguments come last and are set only as each call says.  One
 *      that is not all that the call is for may be NULL.
 *   4. Details of a failure (what, where, what to do) go into a struct
 *      kvlog_error that the caller owns and may leave out.
 *   5. A handle may be used by all threads at once.  Iterators and pins belong
 *      to one thread at a time.  After fork() a handle is the parent's, with
 *      these: in the child every call on them but those that end them
 *      returns KVLOG_FORKED.
 *   6. The library prints nothing, never exits or aborts, sets no signal
 *      handler and keeps no global state a caller could see.
 *
 * Durability in one paragraph.  Every commit gets a sequence number, its
 * receipt, greater than all before it.  A commit is visible to all threads and
 * processes when its call returns.  After any crash of the machine the store
 * equals the state after some prefix of the commits, no shorter than the last
 * one reported durable; after a crash of the process alone nothing committed is
 * missing.
 */
#ifndef KVLOG_H
#define KVLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define KVLOG_API __attribute__((visibility("default")))
#define KVLOG_MUST_CHECK __attribute__((warn_unused_result))
#else
#define KVLOG_API
#define KVLOG_MUST_CHECK
#endif

/* Version of this header.  kvlog_version() gives that of the library. */
#define KVLOG_VERSION_MAJOR 0
#define KVLOG_VERSION_MINOR 1
#define KVLOG_VERSION_PATCH 0

#define KVLOG_KEY_MAX 65535u         /* bytes in a key */
#define KVLOG_VALUE_MAX UINT32_MAX   /* bytes in a value: 4 GiB - 1 */
#define KVLOG_SEGMENT_SIZE_MIN 8192u /* bytes; below 1 MiB is for tests */
#define KVLOG_SEGMENT_SIZE_MAX (UINT64_C(1) << 38) /* bytes: 256 GiB */
#define KVLOG_SEGMENT_SIZE_DEFAULT (UINT64_C(128) << 20)

/* Results.  The numbers are part of the ABI and never change. */
enum kvlog_status {
	KVLOG_OK = 0,
	KVLOG_NOTFOUND = 1,  /* no such key, or no more entries */
	KVLOG_CONFLICT = 2,  /* a condition of the write does not hold */
	KVLOG_TOOSMALL = 3,  /* the caller's buffer is too small */
	KVLOG_INVAL = 4,     /* an argument is out of range */
	KVLOG_TOOBIG = 5,    /* key, value or batch is larger than allowed */
	KVLOG_NOMEM = 6,     /* out of memory */
	KVLOG_IO = 7,        /* a system call failed; see sys_errno */
	KVLOG_NOSPACE = 8,   /* disk, quota or file size limit is full */
	KVLOG_CORRUPT = 9,   /* stored data fails its checksum or is missing */
	KVLOG_VERSION = 10,  /* written in a format that is not known here */
	KVLOG_BUSY = 11,     /* another process did not make way in time */
	KVLOG_READONLY = 12, /* a write on a handle opened for reading */
	KVLOG_BROKEN = 13,   /* a sync failed earlier; reopen to go on */
	KVLOG_TIMEOUT = 14,  /* the wait ended before what was awaited */
	KVLOG_NOSTORE = 15,  /* the path holds no store */
	KVLOG_NOTSTORE = 16, /* the path is something else than a store */
	KVLOG_UNSUPPORTED = 17, /* the file system or system cannot do this */
	KVLOG_CANCELLED = 18,   /* the caller's progress function said stop */
	KVLOG_FORKED = 19,      /* the handle was opened before a fork(): this
				   process has to open the store itself */
	KVLOG_TOOOLD = 20,      /* compaction has taken the commits wanted */
	KVLOG_NOBUCKET = 21     /* no bucket of this name, or it was dropped */
};

/*
 * What a failed call has to say.  Owned by the caller; filled only on
 * failure.  text is one line without a newline: what failed, where, and what
 * to do about it.
 */
struct kvlog_error {
	enum kvlog_status status;
	int sys_errno;    /* of the failed system call, or 0 */
	uint32_t segment; /* number of the segment concerned, or 0 */
	uint64_t offset;  /* in that segment's file, in bytes */
	char text[256];
};

/* When a commit counts as done. */
enum kvlog_durability {
	KVLOG_DURABILITY_DEFAULT = 0,  /* per write: as the store was opened */
	KVLOG_DURABILITY_COMMIT = 1,   /* the call returns when it is durable */
	KVLOG_DURABILITY_INTERVAL = 2, /* durable at most interval_ms later */
	KVLOG_DURABILITY_NONE = 3      /* when the caller syncs, or at close */
};

/* Bits of kvlog_options.flags. */
#define KVLOG_OPEN_READONLY                                                    \
	0x1u                   /* no writes; takes no lock, needs no write     \
				  permission */
#define KVLOG_OPEN_CREATE 0x2u /* make the store if the path has nothing */
#define KVLOG_OPEN_EXCLUSIVE                                                   \
	0x4u /* only with CREATE: fail if a store                              \
		exists */
#define KVLOG_OPEN_NOTHREAD                                                    \
	0x8u                      /* no background thread: the program calls   \
				     kvlog_maintain(), or nothing is compacted */
#define KVLOG_OPEN_NOVERIFY 0x10u /* do not verify checksums on reads */
#define KVLOG_OPEN_UNSHARED                                                    \
	0x20u /* nobody else may write meanwhile; of no                        \
		 meaning to a reader */

#define KVLOG_OPEN_NOCOMPACT                                                   \
	0x40u /* no automatic compaction by this handle                        \
	       */

/* How keys are found. */
enum kvlog_index_mode {
	KVLOG_INDEX_DEFAULT = 0, /* memory */
	KVLOG_INDEX_MEMORY = 1,  /* a table in memory, of at most 16 bytes a
				    key, filled at opening */
	KVLOG_INDEX_HINTS = 2    /* in the hint files: opening takes no time,
				    and only the end of the log takes memory.
				    For commands that do little, and where
				    memory is short; a look-up costs several
				    times as much, a count is a walk. */
};

/*
 * How to open a store.  Start from KVLOG_OPTIONS_INIT, which sets size and
 * the defaults; NULL in place of the struct means the same.
 */
struct kvlog_options {
	size_t size;                      /* sizeof(struct kvlog_options) */
	unsigned flags;                   /* KVLOG_OPEN_* */
	enum kvlog_durability durability; /* default: commit */
	uint32_t interval_ms;             /* for interval; default 100 */
	uint32_t timeout_ms;   /* longest wait for other writers, when
				  opening and for each turn; 0 = do not
				  wait; default 5000.  A sync that
				  another process is at is waited for,
				  5 seconds at least */
	uint64_t segment_size; /* upper bound of a segment file in bytes,
				  kept with the store; 0: as it is, or
				  128 MiB for a new store.  Smaller stores
				  use smaller segments.  A larger record
				  or batch gets a segment of its size. */
	uint32_t mode;         /* permission bits of new files; 0 = 0666
				  less the umask */
	enum kvlog_index_mode index_mode; /* default: memory */
	/* Automatic compaction by the background thread, or kvlog_maintain().
	 * It begins where all of these hold, and rewrites what has the most
	 * garbage; 0: the default.  With an index in the hints nobody knows
	 * what is garbage: there it begins when so much was written. */
	uint32_t compact_percent; /* of the records' bytes are garbage;
				     default 25 */
	uint64_t compact_bytes;   /* are garbage; default 4 MiB */
	uint64_t compact_rate;    /* to write in a second at most; default: as
				     many as can be */
	uint32_t load_threads;    /* that fill the index at opening, at most;
				     0: as the machine has processors, up
				     to 8 */
};

#define KVLOG_OPTIONS_INIT                                                     \
	{                                                                      \
		sizeof(struct kvlog_options), 0, KVLOG_DURABILITY_COMMIT, 100, \
		    5000, 0, 0, KVLOG_INDEX_DEFAULT, 0, 0, 0, 0                \
	}

struct kvlog;      /* an open store */
struct kvlog_iter; /* a walk over its keys in order */
struct kvlog_feed; /* its commits, one after the other */
struct kvlog_pin;  /* keeps values in their places */
struct kvlog_txn;  /* a transaction */

/*
 * kvlog_open - open the store in directory path.
 *
 * path      Directory of the store.  With KVLOG_OPEN_CREATE it is made if
 *           nothing is there, or filled if it is an empty directory; its
 *           parent must exist.
 * options   NULL for the defaults.
 * ret_db    Set to a new handle on KVLOG_OK; close it with kvlog_close().
 * err       Filled on failure; may be NULL.
 *
 * Any number of processes may write to a store at once: they take turns, one
 * commit at a time.  With KVLOG_OPEN_UNSHARED nobody else may write meanwhile.
 * Who cannot be let in waits up to timeout_ms and then gets KVLOG_BUSY, with
 * the process id of a holder in the text.  A process that dies in its turn is
 * cleaned up after by the next one.
 * Any number of readers open at any time, lock nothing and leave no trace; each
 * read shows all that was committed, by any process, before it began.
 * Handles for writing of one process on one store share an index and a thread,
 * made as the options of the first of them say; but durability is each one's
 * own, there is a thread as soon as one does not refuse it, and the shortest
 * interval holds.
 *
 * An unclean end (crash, kill, power loss) is repaired here.  Damage that
 * can be told from a torn end is not an error of open: see
 * kvlog_stats_get().
 *
 * Results: KVLOG_OK, _NOSTORE (nothing there, or a directory with nothing in
 * it), _NOTSTORE (a file, or a directory of other things), _CONFLICT (with
 * KVLOG_OPEN_EXCLUSIVE: a store is there), _BUSY, _CORRUPT (a segment is
 * missing, of another store, or without a readable header; readers do without
 * a missing last one), _VERSION, _INVAL, _NOMEM,
 * _NOSPACE, _UNSUPPORTED (a file system on which sharing or mapping does not
 * work), _IO.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_open(const char *path,
    const struct kvlog_options *options, struct kvlog **ret_db,
    struct kvlog_error *err);

/*
 * kvlog_close - sync what is not durable yet and free the handle.
 *
 * db may be NULL.  The handle is gone whatever the result; a result other
 * than KVLOG_OK says that commits after kvlog_durable_seq() may be lost if
 * the machine crashes, or that the clean end could not be noted, which costs
 * time at the next opening and nothing else.  No other thread may be using the
 * handle, and its iterators and pins must be destroyed before.
 * In a forked child it frees the handle and touches nothing that is the
 * parent's; what the parent had mapped stays mapped.
 */
KVLOG_API enum kvlog_status kvlog_close(
    struct kvlog *db, struct kvlog_error *err);

/* Bits of kvlog_write.condition: what must hold for a key to be written. */
enum kvlog_condition {
	KVLOG_IF_ANY = 0,     /* no condition */
	KVLOG_IF_ABSENT = 1,  /* the key has no value */
	KVLOG_IF_PRESENT = 2, /* the key has a value */
	KVLOG_IF_SEQ = 3      /* its value was written by commit if_seq; 0: the
				 key has no value */
};

/* How to write; NULL stands for KVLOG_WRITE_INIT. */
struct kvlog_write {
	size_t size;                      /* sizeof(struct kvlog_write) */
	enum kvlog_durability durability; /* of this commit */
	enum kvlog_condition condition;   /* of kvlog_put, kvlog_delete */
	uint64_t if_seq;                  /* for KVLOG_IF_SEQ */
	uint64_t expires_ms;              /* of kvlog_put: from this time on the
					     key has no value; ms since 1970,
					     0: never */
	struct kvlog_error *err;          /* details of a failure, or NULL */
};

#define KVLOG_WRITE_INIT                                                       \
	{                                                                      \
		sizeof(struct kvlog_write), KVLOG_DURABILITY_DEFAULT,          \
		    KVLOG_IF_ANY, 0, 0, NULL                                   \
	}

/*
 * What a write leaves in the caller's hand.  seq is the commit's sequence
 * number; segment and offset say where its first record lies (for people and
 * tools: compaction may move it).
 */
struct kvlog_receipt {
	uint64_t seq;
	uint64_t offset;
	uint32_t segment;
};

/*
 * kvlog_put - store value under key, replacing what is there.
 *
 * key_len        1 to KVLOG_KEY_MAX bytes.
 * value_len      0 to KVLOG_VALUE_MAX bytes; value may be NULL if it is 0.
 * how            Durability and condition; NULL for the defaults.
 * ret_receipt    Filled on KVLOG_OK; may be NULL.
 *
 * Results:
 *   KVLOG_OK        visible to every reader; durable if the mode is commit
 *   KVLOG_CONFLICT  the condition does not hold; nothing was written
 *   KVLOG_INVAL     key_len is 0, or an option is unknown or of no meaning
 *   KVLOG_TOOBIG    key_len or value_len is over its limit
 *   KVLOG_NOSPACE   the disk is full; nothing was written (but see KVLOG_IO)
 *   KVLOG_NOMEM     nothing was written
 *   KVLOG_READONLY  the handle was opened for reading
 *   KVLOG_NOBUCKET  the handle is on a bucket that was dropped
 *   KVLOG_BUSY      another process had the turn for longer than timeout_ms
 *                   (it was stopped, perhaps); nothing was written
 *   KVLOG_TIMEOUT   the value is visible, but another process has been
 *                   syncing for timeout_ms, and 5 seconds at least: it is not
 *                   known to be durable
 *   KVLOG_CORRUPT   the present record of this key is damaged and the write
 *                   has a condition; nothing was written
 *   KVLOG_BROKEN    a sync failed, now or earlier.  If now, the value is
 *                   visible but may not survive a crash of the machine
 *   KVLOG_IO        a new segment could not be made; nothing was written.
 *                   Or, only on file systems where stores can fail (btrfs,
 *                   ZFS), the record could not be stored: the handle is then
 *                   broken, and the record may be found or not, now and by
 *                   the next opening
 *
 * Threads: any.  Cost: one copy of key and value, two checksums.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_put(struct kvlog *db,
    const void *key, size_t key_len, const void *value, size_t value_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt);

/*
 * kvlog_delete - remove key.
 *
 * Results as kvlog_put(), and KVLOG_NOTFOUND: the key has no value; nothing
 * was written.  KVLOG_CORRUPT also without a condition, if the header of the
 * key's record is damaged, so that it may be another key's.  Works within the
 * reserve of a full disk.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_delete(struct kvlog *db,
    const void *key, size_t key_len, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt);

/* One step of a batch. */
enum kvlog_op_type { KVLOG_OP_PUT = 1, KVLOG_OP_DELETE = 2 };

struct kvlog_op {
	enum kvlog_op_type type;
	enum kvlog_condition condition; /* of this key, before the batch */
	uint64_t if_seq;                /* for KVLOG_IF_SEQ */
	const void *key;
	size_t key_len;
	const void *value; /* of a put */
	size_t value_len;
	uint64_t expires_ms;  /* of a put; as in struct kvlog_write */
	struct kvlog *bucket; /* the key's: a handle on the same store; NULL:
				 the one that kvlog_apply() is called with */
};

/*
 * kvlog_apply - commit op_count steps at once: all of them or, also after
 * any crash, none.
 *
 * ops            Steps, applied in order; a later step on the same key wins.
 *                Deleting an absent key is not an error here.
 * op_count       1 or more.  All records together are at most
 *                KVLOG_SEGMENT_SIZE_MAX less 8 KiB.
 * how            Its condition must be KVLOG_IF_ANY; each step has its own,
 *                judged on the state before the batch.
 * ret_receipt    One sequence number for the whole batch.
 * ret_failed     Set to the index of the step that does not hold on
 *                KVLOG_CONFLICT, or is wrong on KVLOG_INVAL, KVLOG_TOOBIG and
 *                KVLOG_CORRUPT.
 *
 * Results as kvlog_put().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_apply(struct kvlog *db,
    const struct kvlog_op *ops, size_t op_count, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt, size_t *ret_failed);

/* A value, or none where NULL stands for the struct. */
struct kvlog_bytes {
	const void *data; /* may be NULL if len is 0 */
	size_t len;       /* bytes */
};

/*
 * Writes that depend on the value that is there.  Each is one step for all
 * threads and processes: nobody writes the key in between.  To write many keys
 * at once is kvlog_apply(); for more than one key to be read, transactions.
 *
 * In how, durability and err are as of kvlog_put(); condition must be
 * KVLOG_IF_ANY, but of kvlog_rename(), and expires_ms is as each says.
 * Results as kvlog_put(), and those that each names.  KVLOG_CORRUPT: the
 * present value is damaged; nothing was written.
 * Threads: any.  Cost: a look-up and a write; both again for each time that
 * somebody else has written the key meanwhile.
 * In a transaction there is no need for them: kvlog_txn_get(), then
 * kvlog_txn_put(), and nobody writes the key in between.
 *
 * kvlog_increment - add to a number.
 *
 * The value is the number in decimal: digits, with a '-' before them if it is
 * negative, and nothing else; from INT64_MIN to INT64_MAX.
 *
 * by           Any number.  A key that has no value counts as 0.
 * how          expires_ms is for a key that has no value; one that has keeps
 *              its own time.
 * ret_number   Set to the new number on KVLOG_OK; may be NULL.
 *
 * Results, besides: KVLOG_CONFLICT (the value is no such number, or the sum
 * would be none; err says which).
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_increment(struct kvlog *db,
    const void *key, size_t key_len, int64_t by, const struct kvlog_write *how,
    int64_t *ret_number, struct kvlog_receipt *ret_receipt);

/*
 * kvlog_append - put bytes behind the value.
 *
 * data, data_len   May be 0 bytes.  A key that has no value gets them as its
 *                  value.
 * how              expires_ms as of kvlog_increment().
 * ret_len          Set to the new length in bytes on KVLOG_OK; may be NULL.
 *
 * Results, besides: KVLOG_TOOBIG (of both together).  Cost: writes the whole
 * value anew.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_append(struct kvlog *db,
    const void *key, size_t key_len, const void *data, size_t data_len,
    const struct kvlog_write *how, size_t *ret_len,
    struct kvlog_receipt *ret_receipt);

/*
 * kvlog_exchange - put a value, or delete the key, and get what was there.
 *
 * value                  NULL: delete.
 * how                    expires_ms as of kvlog_put().
 * ret_old, ret_old_len   Set on KVLOG_OK: to a copy to be freed with
 *                        kvlog_free(), and its length; or, if there was no
 *                        value, to NULL, and *ret_old_len is untouched.
 *
 * Results, besides: KVLOG_NOTFOUND (to be deleted, but the key has no value).
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_exchange(struct kvlog *db,
    const void *key, size_t key_len, const struct kvlog_bytes *value,
    const struct kvlog_write *how, void **ret_old, size_t *ret_old_len,
    struct kvlog_receipt *ret_receipt);

/*
 * kvlog_compare_exchange - put a value, or delete the key, if it has a certain
 * value now.
 *
 * expected                   NULL: no value.
 * value                      NULL: delete.  Not both.
 * how                        expires_ms as of kvlog_put().
 * ret_found, ret_found_len   Set on KVLOG_CONFLICT, as the old value by
 *                            kvlog_exchange(), to what is there.
 *
 * Results, besides: KVLOG_CONFLICT (the key has another value, or none; or it
 * has one, where none was expected; nothing was written).
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_compare_exchange(
    struct kvlog *db, const void *key, size_t key_len,
    const struct kvlog_bytes *expected, const struct kvlog_bytes *value,
    const struct kvlog_write *how, void **ret_found, size_t *ret_found_len,
    struct kvlog_receipt *ret_receipt);

/*
 * kvlog_rename - give a value another key.
 *
 * new_key   A key of the same bucket; what it has is replaced.  The value keeps
 *           its time of expiry.
 * how       condition may be KVLOG_IF_ABSENT: new_key must have no value.
 *           expires_ms must be 0.
 *
 * All see the value under one of both keys.
 * Results, besides: KVLOG_NOTFOUND (key has no value), _CONFLICT (new_key has
 * one).  Cost: writes the value anew.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_rename(struct kvlog *db,
    const void *key, size_t key_len, const void *new_key, size_t new_key_len,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt);

/*
 * kvlog_expire - say when a value expires, or that it never does.
 *
 * expires_ms   ms since 1970; 0: never.
 * how          expires_ms must be 0.
 *
 * The value stays as it is, with the sequence number of this commit.
 * kvlog_lookup() tells the present time.
 * Results, besides: KVLOG_NOTFOUND.  Cost: writes the value anew.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_expire(struct kvlog *db,
    const void *key, size_t key_len, uint64_t expires_ms,
    const struct kvlog_write *how, struct kvlog_receipt *ret_receipt);

/*
 * Buckets: named key spaces in one store, which have their commits, batches,
 * durability and files in common.  A handle that kvlog_open() gives is one on
 * the default bucket, which has no name and is always there.
 *
 * kvlog_bucket_open - a handle on a bucket of db's store.
 *
 * name, name_len   1 to KVLOG_KEY_MAX bytes of any kind.
 * flags            0, or KVLOG_OPEN_CREATE: create it if there is none, as a
 *                  commit of its own with db's durability; and with that
 *                  KVLOG_OPEN_EXCLUSIVE: fail if there is one.
 * ret_bucket       Set on KVLOG_OK.  All that takes a handle takes this one and
 *                  means the keys of the bucket; what is about the whole store
 *                  (sync, stats, compaction, feeds, ...) is as of db.  End it
 *                  with kvlog_close(), before db is closed.
 * err              Filled on failure; may be NULL.
 *
 * When the bucket is dropped, by whatever process, its handles get
 * KVLOG_NOBUCKET from then on, also if another one of that name is created.
 * Results: KVLOG_OK, _NOBUCKET (there is none), _CONFLICT (EXCLUSIVE: there is
 * one), _CORRUPT (its record is damaged), _INVAL, _TOOBIG, _NOMEM, _IO,
 * _FORKED, _BROKEN (as kvlog_get()); with CREATE as kvlog_put(), too.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_bucket_open(struct kvlog *db,
    const void *name, size_t name_len, unsigned flags,
    struct kvlog **ret_bucket, struct kvlog_error *err);

/*
 * kvlog_bucket_drop - remove a bucket and all its keys.
 *
 * One small commit, whatever the bucket holds: its keys are gone at once, for
 * all, and compaction gives back their space.  how: durability and err.
 * Results as kvlog_delete(), but KVLOG_NOBUCKET if there is none.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_bucket_drop(struct kvlog *db,
    const void *name, size_t name_len, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt);

/*
 * kvlog_bucket_list - begin a walk over the names of the buckets, in order.
 *
 * kvlog_iter_key() is a name; the values mean nothing to callers.  Otherwise as
 * kvlog_iter_create().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_bucket_list(
    struct kvlog *db, struct kvlog_iter **ret_iter);

/*
 * kvlog_bucket_id - the two numbers by which a feed tells the bucket that db is
 * a handle on; 0, 0 for the default one.
 */
KVLOG_API void kvlog_bucket_id(
    struct kvlog *db, uint64_t *ret_seq, uint32_t *ret_ordinal);

/*
 * kvlog_get - copy the newest value stored under key.
 *
 * key, key_len   Any bytes; 1 <= key_len <= KVLOG_KEY_MAX.
 * buf, buf_cap   Room for the value, in bytes.  buf may be NULL if buf_cap
 *                is 0.
 * ret_len        Set to the value's full length in bytes for KVLOG_OK and
 *                KVLOG_TOOSMALL; untouched for every other result.
 *
 * Results:
 *   KVLOG_OK        all *ret_len bytes are in buf (0 is a valid length)
 *   KVLOG_TOOSMALL  buf_cap < *ret_len; buf untouched; call again with more
 *   KVLOG_NOTFOUND  never put, or deleted since
 *   KVLOG_CORRUPT   the record fails its checksum (kvlog_lookup() tells its
 *                   place), or one that may be this key's has a damaged
 *                   header; other keys stay readable
 *   KVLOG_INVAL     key_len out of range
 *   KVLOG_NOMEM, KVLOG_IO   what other processes have written could not be
 *                   brought in
 *   KVLOG_BROKEN    of a read-only handle: somebody has replaced the store's
 *                   lock file, or removed its directory; open the store anew
 *                   to see what is written
 *   KVLOG_VERSION   the value is encoded in a way this version does not know
 *
 * The bytes in buf are the caller's.  Sees every put that returned before
 * this call began, in any process, durable or not.
 * Threads: any, at the same time as writes.
 * Cost: one index probe and one read of the record; no allocation.  The first
 * read after commits of other processes enters these into the index; where
 * segments were replaced (a compaction), entries are led over to new places.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_get(struct kvlog *db,
    const void *key, size_t key_len, void *buf, size_t buf_cap,
    size_t *ret_len);

/*
 * kvlog_get_alloc - as kvlog_get(), into memory of the library's.
 *
 * ret_value, ret_len   Set on KVLOG_OK; free *ret_value with kvlog_free().
 *                      *ret_value is never NULL, also for an empty value.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_get_alloc(struct kvlog *db,
    const void *key, size_t key_len, void **ret_value, size_t *ret_len);

/* kvlog_free - free what kvlog_get_alloc() returned; NULL is fine. */
KVLOG_API void kvlog_free(void *value);

/*
 * kvlog_exists - KVLOG_OK if key has a value, else KVLOG_NOTFOUND.
 * Does not read the value.  Results otherwise as kvlog_get().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_exists(
    struct kvlog *db, const void *key, size_t key_len);

/* What is known of one stored value. */
struct kvlog_info {
	uint64_t seq;        /* the commit that wrote it; for KVLOG_IF_SEQ */
	uint64_t value_len;  /* bytes */
	uint64_t offset;     /* of the record in its segment's file */
	uint32_t segment;    /* number of the segment (of a compaction output:
				the last one it stands for) */
	uint64_t expires_ms; /* ms since 1970; 0: never */
};

/*
 * kvlog_lookup - tell where and when key's value was written.
 *
 * ret_info   Set for KVLOG_OK.  On KVLOG_CORRUPT segment and offset are set
 *            to the place of the damage and the rest to 0.
 * Results as kvlog_get().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_lookup(struct kvlog *db,
    const void *key, size_t key_len, struct kvlog_info *ret_info);

/*
 * kvlog_pin_create - begin to read values in place.
 *
 * ret_pin   Set on KVLOG_OK; free with kvlog_pin_destroy().
 *
 * What look-ups through a pin give points into the store's mapped files.  It
 * stays there, and unchanged, until the pin is destroyed, whatever is written,
 * deleted or compacted meanwhile, by any process.  A pin is no snapshot: each
 * look-up shows the newest value, as kvlog_get() would.
 *
 * Threads: a pin belongs to one thread at a time; a handle has any number.
 * Must be destroyed before its handle is closed.  In a forked child look-ups
 * return KVLOG_FORKED.
 * Cost: holds no lock, and keeps nobody waiting.  But what has been looked at
 * through a pin cannot be given back while it lasts: the disk space of segments
 * that a compaction replaces meanwhile, and where the index of a reader is
 * filled anew the old one.  So a pin is for a request or a while, not for the
 * life of a program.  To create and to destroy one takes some 50 ns.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _FORKED.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_pin_create(
    struct kvlog *db, struct kvlog_pin **ret_pin);

/* kvlog_pin_destroy - end it; NULL is fine.  Its values must not be looked at
 * any more. */
KVLOG_API void kvlog_pin_destroy(struct kvlog_pin *pin);

/*
 * kvlog_pin_get - find the newest value stored under key, in place.
 *
 * ret_value, ret_len   Set on KVLOG_OK.  *ret_value is never NULL, of any
 *                      alignment, and valid until the pin is destroyed.
 *
 * Results as kvlog_get(), but never KVLOG_TOOSMALL.  The checksums were right
 * when it was found (unless KVLOG_OPEN_NOVERIFY).
 * Cost: as kvlog_get(), without the copy.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_pin_get(
    struct kvlog_pin *pin, const void *key, size_t key_len,
    const void **ret_value, size_t *ret_len);

/* One key of kvlog_pin_get_many(), and what was found under it. */
struct kvlog_item {
	const void *key;     /* set by the caller */
	size_t key_len;      /* likewise: 1 to KVLOG_KEY_MAX bytes */
	const void *value;   /* in place; NULL if status is not KVLOG_OK */
	size_t value_len;    /* bytes */
	uint64_t seq;        /* the commit that wrote it; for KVLOG_IF_SEQ */
	uint64_t expires_ms; /* ms since 1970; 0: never */
	enum kvlog_status status; /* as of kvlog_pin_get() */
};

/*
 * kvlog_pin_get_many - find the newest values of item_count keys.
 *
 * items   May be in any order, and have equal keys.  On KVLOG_OK each has its
 *         own status: a wrong key or a damaged record concerns no other.
 *
 * Gives what as many calls of kvlog_pin_get() would, in less time: memory is
 * waited for by 32 keys at once.  Each value is the newest one committed
 * before this call began, or a later one, of a whole commit; a commit that is
 * made meanwhile may show under one key and not yet under another.
 *
 * Results: KVLOG_OK (every item was looked up; also if there are none), _INVAL
 * (no pin, no items), _FORKED; or what kept the rest from being looked up, and
 * is their status: _NOMEM, _IO, _BROKEN as kvlog_get().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_pin_get_many(
    struct kvlog_pin *pin, struct kvlog_item *items, size_t item_count);

/* Bits of kvlog_range.flags. */
#define KVLOG_ITER_KEYS_ONLY 0x1u /* values are not verified, nor shown */

/*
 * What a walk is over: the keys that begin with prefix, are not less than from,
 * and are less than to.  Start from KVLOG_RANGE_INIT: all keys.
 */
struct kvlog_range {
	size_t size;        /* sizeof(struct kvlog_range) */
	unsigned flags;     /* KVLOG_ITER_* */
	const void *prefix; /* 0 to KVLOG_KEY_MAX bytes, as the others */
	size_t prefix_len;
	const void *from;
	size_t from_len;
	const void *to; /* NULL: no bound */
	size_t to_len;
	uint64_t limit; /* entries at most; 0: no bound */
};

#define KVLOG_RANGE_INIT                                                       \
	{                                                                      \
		sizeof(struct kvlog_range), 0, NULL, 0, NULL, 0, NULL, 0, 0    \
	}

/*
 * kvlog_iter_open - begin a walk over the keys of a range.
 *
 * range      NULL stands for KVLOG_RANGE_INIT.  It and what it points to may
 *            go when this call returns.
 * ret_iter   Set on KVLOG_OK; free with kvlog_iter_destroy().
 *
 * Keys come in the order of memcmp(), a prefix before what it begins, or the
 * other way.  The walk shows the store as it was when it was opened, whatever
 * is written meanwhile.  It starts before the first key.
 * A limit counts what kvlog_iter_next() and _prev() come to since then, or
 * since the last seek, _first or _last; then they say KVLOG_NOTFOUND, and the
 * walk stays where it is.
 * An iterator is used by one thread at a time.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _CORRUPT (the log cannot be followed
 * through a damaged place), _IO, _BROKEN (as kvlog_get()), _FORKED.
 * Cost: what was written since the last walk and is in no hint file is sorted
 * first.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_open(struct kvlog *db,
    const struct kvlog_range *range, struct kvlog_iter **ret_iter);

/* kvlog_iter_create - as kvlog_iter_open(), of the keys that start with prefix;
 * 0 bytes: of all keys. */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_create(struct kvlog *db,
    const void *prefix, size_t prefix_len, struct kvlog_iter **ret_iter);

/* kvlog_iter_destroy - end the walk; NULL is fine. */
KVLOG_API void kvlog_iter_destroy(struct kvlog_iter *iter);

/*
 * kvlog_iter_next, kvlog_iter_prev - go to the next key, or to the one before.
 *
 * That is the least key greater than the one the walk is at, or the greatest
 * one less than it, whichever way it has come there.  From before the first
 * key, kvlog_iter_next() leads to that, and from behind the last key, where it
 * ends, kvlog_iter_prev() leads to the last one.
 * Results: KVLOG_OK (key and value can be read), _NOTFOUND (no more keys in
 * this direction), _CORRUPT (this entry is damaged; iter's key and place are
 * set if they are known, its value is not, and the walk can go on), _NOMEM
 * (the next call tries again), _INVAL, _FORKED.
 * A damaged entry whose key is not known lies somewhere between the keys
 * around it; where a walk turns it may come again.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_next(
    struct kvlog_iter *iter);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_prev(
    struct kvlog_iter *iter);

/*
 * kvlog_iter_seek - go to just before the first key >= key of the range, so
 * that the next kvlog_iter_next() yields it, and kvlog_iter_prev() the last one
 * that is less.  For the last one that is not greater, seek key with a zero
 * byte behind it, which is the next one there can be, and go back.  Results:
 * KVLOG_OK, _INVAL, _FORKED, _NOMEM (it stays where it was).
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_seek(
    struct kvlog_iter *iter, const void *key, size_t key_len);

/*
 * kvlog_iter_first, kvlog_iter_last - go to just before the first key of the
 * range, or to just behind its last one.  Results: KVLOG_OK, _INVAL, _FORKED.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_first(
    struct kvlog_iter *iter);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_last(
    struct kvlog_iter *iter);

/*
 * kvlog_iter_key, kvlog_iter_value - the present entry, in place.
 *
 * ret_len   Set to the length in bytes.
 * The pointer is valid until the iterator is moved or destroyed.  NULL where
 * the last step has not returned KVLOG_OK (for a key: or KVLOG_CORRUPT), and
 * the value of a deleted key (kvlog_iter_create_since() alone has them) or with
 * KVLOG_ITER_KEYS_ONLY.
 */
KVLOG_API const void *kvlog_iter_key(
    const struct kvlog_iter *iter, size_t *ret_len);
KVLOG_API const void *kvlog_iter_value(
    const struct kvlog_iter *iter, size_t *ret_len);

/* kvlog_iter_info - as kvlog_lookup(), of the present entry. */
KVLOG_API void kvlog_iter_info(
    const struct kvlog_iter *iter, struct kvlog_info *ret_info);

/*
 * kvlog_iter_create_since - begin a walk over the keys whose newest record was
 * written by a commit after seq.
 *
 * As kvlog_iter_create(), but keys that were deleted after seq come as well:
 * for them kvlog_iter_value() is NULL.  Of each key this is the net state,
 * and what lay between is left out.
 *
 * What it cannot show: deletes whose record a compaction has dropped, which it
 * does once no older record of the key is left.  Whoever must not miss a
 * delete compares his own keys with a whole walk (seq 0), and then has no use
 * for the deletes.  The walk shows commits that are not durable yet; after
 * kvlog_sync(), or kvlog_wait_durable() of kvlog_last_seq(), it does not.
 * Results and cost as of kvlog_iter_create(); all keys with the prefix are
 * looked at.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_iter_create_since(
    struct kvlog *db, uint64_t seq, const void *prefix, size_t prefix_len,
    struct kvlog_iter **ret_iter);

/*
 * kvlog_count - the number of keys that have a value.
 *
 * Exact.  Cost: of the default bucket with an index in memory it is known, as
 * long as the store has had no other bucket and no key that expires; otherwise
 * this is a walk over the keys of the bucket (nobody is told when a key
 * expires, and an index does not know whose bucket its entries are).
 * Results: KVLOG_OK, _INVAL, _FORKED, _NOBUCKET, and of a walk _NOMEM,
 * _CORRUPT, _IO.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_count(
    struct kvlog *db, uint64_t *ret_count);

/*
 * kvlog_sync - make every commit that returned before this call durable.
 * Results: KVLOG_OK, _BROKEN (the sync failed; it is never tried again on
 * this handle, and kvlog_close() tells why), _READONLY.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_sync(struct kvlog *db);

/*
 * kvlog_last_seq, kvlog_durable_seq - the newest commit, and the newest one
 * known durable together with all before it.  0: none yet.
 */
KVLOG_API uint64_t kvlog_last_seq(struct kvlog *db);
KVLOG_API uint64_t kvlog_durable_seq(struct kvlog *db);

/*
 * kvlog_wait_durable - wait until commit seq is durable, at most timeout_ms
 * milliseconds; 0: look only.  Does not itself sync: in mode none somebody
 * must.
 * Results: KVLOG_OK, _TIMEOUT, _BROKEN (a sync has failed, and seq was not
 * durable before), _INVAL (seq was never given out).
 * Threads: any, but kvlog_close() must not begin before they have returned.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_wait_durable(
    struct kvlog *db, uint64_t seq, uint32_t timeout_ms);

/* In place of a number: commits that are not durable yet, and later ones. */
#define KVLOG_FEED_NEW UINT64_MAX

/* What a feed tells: of keys, as enum kvlog_op_type, and of buckets. */
enum kvlog_change_type {
	KVLOG_CHANGE_PUT = 1,
	KVLOG_CHANGE_DELETE = 2,
	KVLOG_CHANGE_BUCKET_CREATE = 3, /* key is the bucket's name; a bucket
					   that had it is dropped */
	KVLOG_CHANGE_BUCKET_DROP = 4    /* likewise */
};

/* One record of a commit, in the order in which it was written. */
struct kvlog_change {
	size_t size;          /* set by the caller: sizeof(*change) */
	uint64_t seq;         /* of the commit */
	uint64_t last_seq;    /* the same, or see KVLOG_CORRUPT */
	uint64_t durable_seq; /* newest durable commit when it was told */
	uint64_t offset;      /* of the record in its segment's file */
	uint32_t segment;     /* number of the segment */
	enum kvlog_change_type type;
	bool more; /* more records of this commit follow */
	const void *key;
	size_t key_len;
	const void *value; /* of a put; else NULL */
	size_t value_len;
	uint64_t expires_ms; /* of a put; as in struct kvlog_write */
	/* Which bucket: the key's, or the one that was created (of a drop the
	 * name alone tells it: 0, 0).  Never given to another one; 0, 0: the
	 * default bucket.  See kvlog_bucket_id(). */
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
};

/*
 * kvlog_feed_open - begin to follow the commits of a store.
 *
 * from_seq             The first number wanted; 0 or 1: from the beginning;
 *                      KVLOG_FEED_NEW: from the first one that is not durable
 *                      now.  To go on where an earlier feed ended: its last
 *                      whole commit's number + 1.
 * db                   The store: all its buckets, and what becomes of them.
 *                      Or a handle on a bucket: that bucket's keys only.
 * prefix, prefix_len   0 to KVLOG_KEY_MAX bytes: only records of keys that
 *                      begin so; 0 for all.  With a prefix, db means the keys
 *                      of the default bucket only.
 * ret_feed             Set on KVLOG_OK; free with kvlog_feed_close().
 * err                  Filled on failure; may be NULL.
 *
 * Works on every handle, beside writers and compactions of any process.  A
 * feed belongs to one thread at a time.  Between calls it holds one record and
 * nothing of the store.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _FORKED.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_feed_open(struct kvlog *db,
    uint64_t from_seq, const void *prefix, size_t prefix_len,
    struct kvlog_feed **ret_feed, struct kvlog_error *err);

/*
 * kvlog_feed_next - tell the next record.
 *
 * timeout_ms   Longest wait for it, in milliseconds; 0: look only.
 * ret_change   Its size is set by the caller; the rest is set by every result
 *              but KVLOG_INVAL and KVLOG_FORKED.  Its pointers are valid until
 *              the next call for this feed.
 * err          Filled on failure, but not on KVLOG_TIMEOUT; may be NULL.
 *
 * Every record of every durable commit comes once, in the order in which they
 * were committed; the records of one commit come one after the other.  Numbers
 * of commits have gaps where the store was opened after a crash, and nothing
 * is missing there.  A commit is told when it is durable, so that what was
 * told is never undone.
 *
 * The keys of a dropped bucket are gone with it, and are not told one by one.
 * A put that expires is told once, when it is committed, also when its time is
 * over by then.  So whoever applies what is told, knows buckets by their ids,
 * and minds the time, has what the store has.
 *
 * Results:
 *   KVLOG_OK       change is the next record
 *   KVLOG_TIMEOUT  no further commit is durable yet
 *   KVLOG_TOOOLD   compaction has taken what comes next, and so it will be
 *                  at each call.  From change->seq on all is still there: open
 *                  another feed from there, and have what lies between from
 *                  kvlog_iter_create_since(), called after the feed was opened
 *   KVLOG_CORRUPT  damage in the place that change and err tell.  With a key,
 *                  that record's value is lost; without, records of the
 *                  commits change->seq to change->last_seq are.  The next call
 *                  goes on behind it
 *   KVLOG_VERSION  this record's value is encoded in a way this version does
 *                  not know; the next call goes on behind it
 *   KVLOG_INVAL, _NOMEM, _IO, _FORKED, _BROKEN (as kvlog_get(), or of a
 *                  handle that writes: a sync has failed)
 *
 * Cost: one look at the log for each record; while it waits, a look at the
 * control page every 5 ms at most.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_feed_next(
    struct kvlog_feed *feed, uint32_t timeout_ms,
    struct kvlog_change *ret_change, struct kvlog_error *err);

/* kvlog_feed_close - end the feed; NULL is fine.  Before kvlog_close(). */
KVLOG_API void kvlog_feed_close(struct kvlog_feed *feed);

/* Bits of kvlog_txn_options.flags. */
#define KVLOG_TXN_READ 0x1u /* reads only: a view of one moment */

struct kvlog_txn_options {
	size_t size;      /* sizeof(struct kvlog_txn_options) */
	unsigned flags;   /* KVLOG_TXN_READ, or 0 */
	uint32_t idle_ms; /* a write transaction that has not been used for so
			     long is ended by the next one who has to write; 0:
			     the default, 5000 */
};

#define KVLOG_TXN_OPTIONS_INIT                                                 \
	{                                                                      \
		sizeof(struct kvlog_txn_options), 0, 5000                      \
	}

/*
 * Transactions: any number of reads and writes that count as one moment.
 *
 * A write transaction is the only one of all processes, and nobody else
 * commits while it is open: what it reads is the newest there is, with its own
 * writes, and stays so.  Others see its writes when it is committed: all of
 * them or, also after any crash, none.  So transactions are serialisable
 * without ever failing for it; who has to write meanwhile waits, up to the
 * timeout_ms of its handle, and then gets KVLOG_BUSY.  Readers wait for
 * nothing, and syncs, compaction and backups go on.
 *
 * A process that dies leaves no transaction behind: the next one who writes
 * goes on at once.  One that lives and does nothing keeps others waiting for
 * idle_ms at most: then who waits ends the transaction, and its next call
 * returns KVLOG_TIMEOUT; so do all that follow, but kvlog_txn_rollback().
 * Where nobody waits it may idle for as long as it likes.
 *
 * A read transaction keeps nobody waiting, is open to every handle, and shows
 * the store as it was when it began.
 *
 * To either kind the time is that of its beginning: what has a value then does
 * not expire in it, whatever the clock says, and what it writes neither.
 *
 * kvlog_txn_begin - begin a transaction.
 *
 * db        The handle, or bucket, that is meant where none is given.
 * options   NULL for the defaults: a write transaction.
 * ret_txn   Set on KVLOG_OK; ended by kvlog_txn_commit() or
 *           kvlog_txn_rollback(), before db is closed.  One that is not is
 *           rolled back by kvlog_close(), and must not be used any more.
 * err       Filled on failure; may be NULL.
 *
 * Threads: a transaction belongs to one thread at a time.  The thread that
 * used a write transaction last would wait for itself if it wrote outside of
 * it (kvlog_put() and so on), or began another one: it gets KVLOG_BUSY at
 * once.  In a forked child all calls but those that end it return KVLOG_FORKED.
 *
 * Results: KVLOG_OK, _BUSY (another transaction was not ended in time, or a
 * process was stopped in its turn), _READONLY (a write transaction on a handle
 * opened for reading), _INVAL, _NOMEM, _FORKED, _NOBUCKET, _BROKEN, _IO,
 * _NOSPACE (as kvlog_put()).
 * Cost: a turn, some 100 ns.  A read transaction, and one that has read, keeps
 * the files of that moment; see kvlog_pin_create().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_begin(struct kvlog *db,
    const struct kvlog_txn_options *options, struct kvlog_txn **ret_txn,
    struct kvlog_error *err);

/*
 * kvlog_txn_seq - the number of the last commit before the transaction: what it
 * shows, but for its own writes.  With a feed from the next one on, what a read
 * transaction shows is kept up to date without a gap.  0: none yet.
 */
KVLOG_API uint64_t kvlog_txn_seq(const struct kvlog_txn *txn);

/*
 * kvlog_txn_get - find the value of key, in place.
 *
 * bucket               A handle on the same store, in whose bucket the key is;
 *                      NULL: that of kvlog_txn_begin().
 * ret_value, ret_len   Set on KVLOG_OK.  *ret_value is never NULL, and valid
 *                      until the transaction ends; of what it has itself
 *                      written, until the key is written again, or that is
 *                      rolled back.
 *
 * Results as kvlog_pin_get(), and KVLOG_TIMEOUT (it was ended), _NOBUCKET.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_get(
    struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const void **ret_value, size_t *ret_len);

/*
 * kvlog_txn_lookup - as kvlog_lookup(), in the transaction.
 *
 * Of what it has itself written, seq is the number that its commit is to get
 * (if a process dies writing meanwhile it may come to be a greater one: the
 * receipt tells), and segment and offset are 0.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_lookup(
    struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, struct kvlog_info *ret_info);

/*
 * kvlog_txn_put, kvlog_txn_delete - write in the transaction.
 *
 * how   Condition, if_seq, expires_ms, err; its durability must be
 *       KVLOG_DURABILITY_DEFAULT.  NULL for the defaults.
 *
 * A condition is judged at once, on what the transaction would read: nobody
 * else can change it before the commit.  What is passed is copied.
 *
 * Results:
 *   KVLOG_OK        it is part of the transaction
 *   KVLOG_CONFLICT  the condition does not hold
 *   KVLOG_NOTFOUND  kvlog_txn_delete(): the key has no value
 *   KVLOG_TIMEOUT   the transaction was ended
 *   KVLOG_READONLY  a read transaction
 *   KVLOG_CORRUPT   a condition, or delete, of a key whose record is damaged
 *   KVLOG_TOOBIG    key or value, as kvlog_put(); or with this one the records
 *                   of the transaction, of each key the last, would be more
 *                   than KVLOG_SEGMENT_SIZE_MAX less 8 KiB
 *   KVLOG_NOBUCKET, _INVAL, _NOMEM, _IO, _FORKED
 * Whatever it is but KVLOG_OK, the transaction is as it was, and goes on (but
 * for KVLOG_TIMEOUT).
 *
 * Cost: a look-up in memory and a copy, 200 to 600 ns; with a condition, and of
 * a delete, a look-up in the store, too.  Memory: key and value, and some 100
 * bytes, until the end.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_put(
    struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const void *value, size_t value_len,
    const struct kvlog_write *how);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_delete(
    struct kvlog_txn *txn, struct kvlog *bucket, const void *key,
    size_t key_len, const struct kvlog_write *how);

/*
 * kvlog_txn_iter_open - as kvlog_iter_open(), in the transaction.
 *
 * The walk shows what the transaction saw when it was opened, own writes
 * included, whatever is written later, in the transaction or not.  Destroy it
 * before the transaction ends; one of a write transaction that is not returns
 * KVLOG_INVAL from then on, and what it has shown is gone.  Each step of the
 * walk is a use of the transaction.
 * Results: as kvlog_iter_open(), and KVLOG_TIMEOUT, _NOBUCKET.
 * Cost: the first one in a transaction sorts what it has written; from then on
 * a put of a new key costs some 500 ns more.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_iter_open(
    struct kvlog_txn *txn, struct kvlog *bucket,
    const struct kvlog_range *range, struct kvlog_iter **ret_iter);

/*
 * kvlog_txn_count - the number of keys that the transaction sees in a bucket.
 * Results and cost: as of a walk by kvlog_txn_iter_open() over all of them.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_count(
    struct kvlog_txn *txn, struct kvlog *bucket, uint64_t *ret_count);

/*
 * kvlog_txn_bucket_open, kvlog_txn_bucket_drop, kvlog_txn_bucket_list -
 * buckets, in the transaction.
 *
 * As kvlog_bucket_open(), kvlog_bucket_drop() and kvlog_bucket_list(), but a
 * bucket is created or dropped by the transaction's commit; in the transaction
 * it is, or is not, there at once.  What it wrote in a bucket that it drops is
 * not committed.  The walk is as kvlog_txn_iter_open() has it.  A handle on one
 * that is created is of use in the transaction alone until that is committed;
 * if it is rolled back the handle gets KVLOG_NOBUCKET, and is to be closed all
 * the same.
 * If another process dies while it writes, the commit of a transaction that has
 * created buckets may be refused with KVLOG_CONFLICT: nothing was written, and
 * it is to be begun anew.
 * Results: as those, and KVLOG_TIMEOUT, _READONLY; _TOOBIG as kvlog_txn_put().
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_bucket_open(
    struct kvlog_txn *txn, const void *name, size_t name_len, unsigned flags,
    struct kvlog **ret_bucket, struct kvlog_error *err);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_bucket_drop(
    struct kvlog_txn *txn, const void *name, size_t name_len,
    struct kvlog_error *err);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_bucket_list(
    struct kvlog_txn *txn, struct kvlog_iter **ret_iter);

/*
 * kvlog_txn_savepoint, kvlog_txn_rollback_to - undo a part.
 *
 * ret_savepoint   A number for what was written until now.
 *
 * kvlog_txn_rollback_to() undoes what was written since; savepoints of later
 * are gone then, and the one that is gone back to is still there.  It is
 * KVLOG_INVAL of a savepoint that is gone or never was.  Iterators that show
 * something that is undone return KVLOG_INVAL from then on, and what they have
 * shown is gone.  A savepoint that is not needed any more is not to be ended:
 * it takes some 40 bytes until the transaction ends, and what it could go back
 * to stays in memory.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _TIMEOUT, _READONLY, _FORKED.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_savepoint(
    struct kvlog_txn *txn, uint64_t *ret_savepoint);
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_rollback_to(
    struct kvlog_txn *txn, uint64_t savepoint);

/*
 * kvlog_txn_commit - end the transaction, and let what it has written be.
 *
 * txn           Is gone, whatever the result.
 * how           Durability and err; NULL for the defaults.
 * ret_receipt   May be NULL.  Filled, also when the result is not KVLOG_OK: seq
 *               is the number of the commit, or 0 if there was none.  One that
 *               has written nothing, or is for reading, tells the last commit
 *               that it could see.
 *
 * Of each key the last write counts.  Other writers go on as soon as the
 * commit is visible, and need not wait for it to be durable.
 *
 * Results:
 *   KVLOG_OK        visible, and durable if the mode is commit
 *   KVLOG_TIMEOUT   it had been ended, and nothing was written: seq is 0.  Or
 *                   as kvlog_put() has it: visible, but not known to be durable
 *   others          as kvlog_put(); where seq is 0, nothing was written
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_txn_commit(
    struct kvlog_txn *txn, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt);

/* kvlog_txn_rollback - end the transaction, and forget what it has written.
 * NULL is fine. */
KVLOG_API void kvlog_txn_rollback(struct kvlog_txn *txn);

/*
 * kvlog_maintain - do background work that is due (sync by interval, the
 * next segment, hint files, compaction, a second after the last commit a mark
 * that it is durable, and then hint files merged of about a thousand keys for
 * each of budget_ms), for about budget_ms milliseconds; 0: one step.
 * For handles opened with KVLOG_OPEN_NOTHREAD; harmless on others.
 * Steps take some milliseconds, but for the sync of a segment and for a run of
 * compaction, which are not parted: as long as to read, write and sync a
 * segment's size of live bytes (a quarter of the store with an index in the
 * hints).  Where that is too long, use small segments (segment_size), or
 * KVLOG_OPEN_NOCOMPACT and kvlog_compact() at a time of your choice.
 *
 * ret_more   Set to whether work is left.
 * Results: KVLOG_OK, _READONLY, _BROKEN (a write or sync has failed), _INVAL.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_maintain(
    struct kvlog *db, uint32_t budget_ms, bool *ret_more);

/* What opening found and did.  Bits of kvlog_stats.recovery. */
#define KVLOG_RECOVERY_CRASH                                                   \
	0x1u                          /* the last writer did not close, or the \
					 machine restarted since */
#define KVLOG_RECOVERY_TORN 0x2u      /* a torn end was cut off */
#define KVLOG_RECOVERY_DISCARDED 0x4u /* segments behind it were discarded */
#define KVLOG_RECOVERY_DAMAGE 0x8u    /* damaged bytes were found */
#define KVLOG_RECOVERY_DEGRADED                                                \
	0x10u                        /* their keys are not known: such a key   \
					may show an older value */
#define KVLOG_RECOVERY_SCANNED 0x20u /* hint files were missing or wrong */

struct kvlog_stats {
	size_t size; /* set by the caller: sizeof(*stats) */
	bool quick;  /* set by the caller: leave live_bytes, dead_bytes and
			file_bytes 0, and walk over nothing */
	uint64_t record_count;  /* keys that have a value, in all buckets; 0 if
				   quick and it takes a walk to know */
	uint64_t segment_count; /* files of the live set */
	uint64_t file_bytes;    /* of all files of the store, as allocated
				   sizes */
	uint64_t live_bytes;    /* of records that count */
	uint64_t dead_bytes;    /* of records that do not: superseded,
				   tombstones, damaged */
	uint64_t free_bytes;    /* left in the active segment */
	uint64_t segment_size;  /* upper bound in force */
	uint64_t last_seq;
	uint64_t durable_seq;
	uint64_t index_bytes;    /* RAM of the index */
	uint32_t index_mode;     /* enum kvlog_index_mode */
	uint32_t active_segment; /* number */
	uint32_t format;         /* of the files */
	uint32_t hint_count;     /* usable hint files */
	uint32_t recovery;       /* KVLOG_RECOVERY_* */
	uint64_t recovery_ns;    /* time that opening took, nanoseconds */
	uint64_t load_ns;        /* of that, filling the index */
	uint64_t compact_runs;   /* runs that handles of this process have
				    compacted since they were opened */
	uint64_t compact_bytes_written;
	uint64_t compact_bytes_freed; /* of files */
	/* Read transactions (or, those that write, walks in them) of this
	 * handle's store in this process, and what they keep. */
	uint64_t snapshot_count;
	uint64_t snapshot_oldest_seq;   /* the last commit it shows; 0: none */
	uint64_t snapshot_file_bytes;   /* of segments that compaction has
					   replaced: disk and mappings */
	uint64_t snapshot_memory_bytes; /* of keys that were sorted for them */
	uint64_t damaged_bytes;         /* found so far */
	uint64_t damaged_ranges;
	char recovery_text[160]; /* one line for people */
	uint8_t uuid[16];        /* of the store */
};

/*
 * kvlog_stats_get - fill stats, whose size and quick the caller has set.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _IO, _CORRUPT.
 * Cost: a walk over all keys and files, unless quick.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_stats_get(
    struct kvlog *db, struct kvlog_stats *stats);

/*
 * What kvlog_verify() and kvlog_salvage() find, in three groups: damage,
 * damage of caches that cost no data, and what is merely told.  The numbers
 * are part of the ABI; kvlog-verify(1) explains each.
 */
enum kvlog_finding_kind {
	KVLOG_FINDING_RECORD = 1,  /* bytes that are no record */
	KVLOG_FINDING_VALUE = 2,   /* a value fails its sum; its key is known */
	KVLOG_FINDING_KEY = 3,     /* a key that damage named before concerns */
	KVLOG_FINDING_COMMIT = 4,  /* only part of a batch is there */
	KVLOG_FINDING_MISSING = 5, /* commits are missing between others */
	KVLOG_FINDING_END = 6,     /* durable commits are missing at the end */
	KVLOG_FINDING_UNREADABLE = 7, /* the medium does not give the bytes */
	KVLOG_FINDING_SIZE = 8,   /* a file is shorter or longer than it was */
	KVLOG_FINDING_HEADER = 9, /* one copy of a header; the other serves */
	KVLOG_FINDING_HEADERS = 10, /* both copies of a header */
	KVLOG_FINDING_LINK = 11,    /* the link to the segment before */
	KVLOG_FINDING_ZEROS = 12,   /* bytes that should be zero; no data */
	KVLOG_FINDING_CONTENT = 13, /* sums are right, what they cover is not */
	KVLOG_FINDING_SEGMENT = 14, /* a segment file is missing */
	KVLOG_FINDING_SET = 15,     /* parts of an output are missing */
	KVLOG_FINDING_FOREIGN = 16, /* a segment of another store */
	KVLOG_FINDING_HISTORY = 17, /* a segment of another copy of the store */
	KVLOG_FINDING_NAME = 18,    /* a segment under another one's name */
	KVLOG_FINDING_FILE = 19,    /* no regular file */
	KVLOG_FINDING_HINT = 20,    /* a hint file is damaged or wrong */
	KVLOG_FINDING_TORN = 33,    /* the end that a crash has torn */
	KVLOG_FINDING_STALE_HINT = 34, /* a hint file that nobody will use */
	KVLOG_FINDING_LOCK = 35,       /* kvlog.lock is not as it should be */
	KVLOG_FINDING_LEFTOVER = 36,   /* a file of work that did not end */
	KVLOG_FINDING_STRANGER = 37,   /* a file that is not the store's */
	KVLOG_FINDING_SPARE = 38       /* space kept for what comes */
};

/* What became of the state of a key before a damaged record. */
enum kvlog_older {
	KVLOG_OLDER_UNKNOWN = 0,  /* was not looked for */
	KVLOG_OLDER_NONE = 1,     /* no older record of it is left, or it is a
				     delete */
	KVLOG_OLDER_SURVIVES = 2, /* an older value is readable */
	KVLOG_OLDER_REPLACED = 3  /* a newer record is: nothing is lost */
};

/* Valid during the call that gets it. */
struct kvlog_finding {
	size_t size; /* sizeof(struct kvlog_finding) */
	enum kvlog_finding_kind kind;
	bool damage;        /* else for information */
	uint32_t segment;   /* number, or 0 */
	const char *file;   /* name in the store's directory */
	uint64_t offset;    /* in that file */
	uint64_t length;    /* bytes; 0 if something is missing there */
	uint64_t first_seq; /* commits concerned; 0: not known */
	uint64_t last_seq;
	const void *key; /* NULL: not known */
	size_t key_len;
	enum kvlog_older older; /* of the key, or of all keys there */
	/* The key's bucket: its id, 0, 0 for the default one; and its name.
	 * NULL: not known, or the default one. */
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	const void *bucket;
	size_t bucket_len;
	const char *text; /* a line: what it means, what to do */
};

typedef void kvlog_finding_fn(void *arg, const struct kvlog_finding *finding);

/* Bytes done, of bytes in all (which may grow, and are 0 before they are
 * known).  False: stop. */
typedef bool kvlog_progress_fn(void *arg, uint64_t done, uint64_t total);

/* Bits of kvlog_verify_options.flags. */
#define KVLOG_VERIFY_QUICK 0x1u   /* all but records and values */
#define KVLOG_SALVAGE_STRICT 0x2u /* see kvlog_salvage() */
#define KVLOG_VERIFY_REBUILD_HINTS                                             \
	0x4u /* remove hint files that are damaged or of no use, and make      \
		missing ones anew; nothing if anything else is damaged */

/* NULL in place of the struct stands for KVLOG_VERIFY_OPTIONS_INIT. */
struct kvlog_verify_options {
	size_t size; /* sizeof(struct kvlog_verify_options) */
	unsigned flags;
	uint32_t timeout_ms; /* with REBUILD_HINTS: longest wait for a writer */
	kvlog_finding_fn *finding;   /* NULL: nobody wants to know */
	kvlog_progress_fn *progress; /* NULL: likewise */
	void *arg;                   /* for both */
};

#define KVLOG_VERIFY_OPTIONS_INIT                                              \
	{                                                                      \
		sizeof(struct kvlog_verify_options), 0, 5000, NULL, NULL, NULL \
	}

struct kvlog_verify_report {
	size_t size;            /* set by the caller: sizeof(*report) */
	uint8_t uuid[16];       /* of the store */
	uint64_t segment_count; /* files that are live */
	uint64_t record_count;  /* valid ones in them, marks not counted */
	uint64_t commit_count;  /* whole ones */
	uint64_t byte_count;    /* that were read and checked */
	uint64_t damage_count;  /* findings of damage, keys not counted */
	uint64_t damaged_bytes;
	uint64_t note_count;     /* findings for information */
	uint64_t left_out_count; /* findings that were too many to keep */
	uint64_t last_seq;       /* where the log ends: of the last commit, */
	uint64_t end_offset;     /* in the file of */
	uint32_t end_segment;    /* this segment */
	bool live;               /* a writer was at work: checked up to what
				    it had published */
	bool torn;               /* the end is torn; not damage */
	uint64_t attested_seq;   /* greatest number known to be durable */
	uint64_t removed_hints;  /* with KVLOG_VERIFY_REBUILD_HINTS */
	/* The rest by kvlog_salvage() only. */
	uint64_t saved_records; /* puts and deletes written to the new store */
	uint64_t saved_bytes;   /* of their keys and values */
	uint64_t
	    single_records; /* of them, out of batches that are not whole */
	uint64_t beyond_records;  /* of them, behind the end of the log */
	uint64_t unsaved_records; /* whole, but of a kind that this version does
				     not write */
	uint64_t hidden_keys;     /* deleted, as their newest value is lost */
	uint64_t dropped_records; /* whole, of buckets that were dropped, so
				     not saved */
	uint64_t saved_buckets;   /* made in the new store ... */
	uint64_t lost_buckets;    /* ... of them, under a name of their own, as
				     damage may have taken theirs */
};

/*
 * kvlog_verify - check every byte of every file of the store in directory
 * path, without changing anything.
 *
 * options      NULL for the defaults: a full check that calls nobody.
 * ret_report   Its size is set by the caller.  Filled on KVLOG_OK and
 *              KVLOG_CORRUPT; may be NULL.
 * err          Filled on failure, and on KVLOG_CORRUPT with the first damage.
 *
 * Trusts no index and no hint; reads with pread(), so that bad media are
 * found and not met.  What is found is given to options->finding at the end,
 * in the order of the log, then other files.  Needs no lock: beside a writer
 * it checks up to what was published when it began.  Works also on stores
 * that kvlog_open() refuses.
 *
 * Results: KVLOG_OK (nothing is damaged, or nothing but hints, which were
 * rebuilt), _CORRUPT (something is), _NOSTORE,
 * _NOTSTORE, _VERSION (written in a format not known here), _CANCELLED (by
 * options->progress), _BUSY (the files change faster than they can be
 * listed; with REBUILD_HINTS, a writer has the store open), _INVAL, _NOMEM,
 * _IO.
 * Threads: any.  Cost: reads all live files once, and once more if keys must
 * be looked for.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_verify(const char *path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *ret_report, struct kvlog_error *err);

/*
 * kvlog_salvage - write every record of the store in directory path that can
 * be proven whole into a new store at new_path.
 *
 * new_path     Nothing, or an empty directory, outside of path; its parent must
 *              exist.
 * options, ret_report, err   as for kvlog_verify(), which it does first.
 *
 * Of each key the newest record that is left counts, deletes too.  What
 * nobody can know: a key that was put or deleted in a lost place comes back
 * in the state it had before.  Records of batches that are not whole, and
 * whole records behind the place where the log ends, are saved as well.
 * With KVLOG_SALVAGE_STRICT neither are, and a key whose newest value is
 * known to be lost is deleted rather than shown in an older state.
 * Buckets are made anew under their names; what was dropped stays so.  Records
 * of a bucket whose name damage may have taken are saved into a bucket
 * "lost-SEQ-ORDINAL", after its id.
 * The new store has sequence numbers of its own.
 *
 * Results: KVLOG_OK (nothing was damaged: it is a copy), _CORRUPT (saved
 * what could be; the findings say what could not), _CONFLICT (something is
 * at new_path, or it is inside of path), _NOSPACE, and those of kvlog_verify().
 * After any but the first two the new store is incomplete and should be
 * removed.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_salvage(const char *path,
    const char *new_path, const struct kvlog_verify_options *options,
    struct kvlog_verify_report *ret_report, struct kvlog_error *err);

/* kvlog_finding_name - a word for a kind, never NULL; stable, for programs. */
KVLOG_API const char *kvlog_finding_name(enum kvlog_finding_kind kind);

/* Bits of kvlog_compact_options.flags. */
#define KVLOG_COMPACT_ALL                                                      \
	0x1u /* rewrite whatever can be, not only where                        \
		it is worth it */
#define KVLOG_COMPACT_DRY_RUN                                                  \
	0x2u /* change nothing, say what would be done                         \
		(also beside a writer) */

/* NULL in place of the struct stands for KVLOG_COMPACT_OPTIONS_INIT. */
struct kvlog_compact_options {
	size_t size;         /* sizeof(struct kvlog_compact_options) */
	unsigned flags;      /* KVLOG_COMPACT_* */
	uint32_t timeout_ms; /* longest wait for another writer, 0 = do not
				wait; default 5000 */
	uint32_t threshold;  /* rewrite where so many percent or more would
				go; 0: 25 */
	uint32_t max_ms;     /* begin nothing after so many milliseconds;
				0: no limit */
	uint64_t rate;       /* bytes to write in a second, at most; 0: any */
	uint64_t run_bytes;  /* to write in one run, about, and so the disk
				space needed for a while; 0: 8 segments of
				full size, or a sixteenth of the store if
				that is more; less on a full disk */
	kvlog_progress_fn *progress; /* of what is rewritten; NULL: nobody
					wants to know.  All is 0 while that
					is not known yet */
	void *arg;                   /* for progress */
};

#define KVLOG_COMPACT_OPTIONS_INIT                                             \
	{                                                                      \
		sizeof(struct kvlog_compact_options), 0, 5000, 0, 0, 0, 0,     \
		    NULL, NULL                                                 \
	}

/* What a compaction did or, in a dry run, would do. */
struct kvlog_compact_report {
	size_t size;        /* set by the caller: sizeof(*report) */
	uint32_t run_count; /* runs of neighbouring segments rewritten */
	uint64_t segments_before, segments_after; /* files of the live set */
	uint64_t bytes_before, bytes_after;       /* in them; not what is free
						     in the active one */
	uint64_t bytes_written;
	uint64_t temporary_bytes;    /* disk space needed for a while */
	uint64_t records_kept;       /* of the runs, tombstones too */
	uint64_t records_superseded; /* dropped: replaced by newer ones */
	uint64_t tombstones_dropped; /* of deleted keys that are nowhere else */
	uint64_t records_expired;    /* dropped */
	uint32_t damaged_segments;   /* left alone, as they are damaged or tied
					to one that is */
	uint32_t damaged_segment;    /* number of the first one found ... */
	uint64_t damaged_offset;     /* ... and where, in bytes */
};

/*
 * kvlog_compact_offline - give back the space of what was replaced or deleted
 * in a store that nobody writes to.
 *
 * path         A directory with a store.  It is opened for writing, and locked
 *              for as long as this takes; readers are not disturbed.  A dry
 *              run opens it for reading and takes no lock.
 * ret_report   Filled whatever the result, with what was done up to then; may
 *              be NULL.
 *
 * Runs of neighbouring segments are rewritten one after the other, each in
 * one step that a crash leaves done or undone.  It takes disk space for one
 * run at a time: the output stands beside the input for a while.
 *
 * Damaged segments are left alone, and counted in the report; all else is
 * compacted, and the result is KVLOG_OK.  Where nothing but a hint file over
 * several segments tells whose a lost record is, these are left alone too.
 *
 * Results:
 *   KVLOG_OK        done
 *   KVLOG_CANCELLED by options->progress; the runs before stay
 *   KVLOG_BUSY      another writer has the store
 *   KVLOG_NOSPACE   too little even for one segment; what was done stays
 *   KVLOG_BROKEN    a sync failed
 *   KVLOG_CORRUPT   the store cannot be opened: a segment is missing, or no
 *                   copy of its header is readable
 *   and as kvlog_open(): _NOSTORE, _NOTSTORE, _VERSION, _INVAL, _NOMEM,
 *   _TOOBIG, _UNSUPPORTED, _IO
 *
 * Whatever the result, no commit is lost and no key changes its value.
 * Cost: the runs are read twice and what is left of them is written; memory
 * for what no hint file covers.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_compact_offline(
    const char *path, const struct kvlog_compact_options *options,
    struct kvlog_compact_report *ret_report, struct kvlog_error *err);

/* Bits of kvlog_backup_options.flags. */
#define KVLOG_BACKUP_COPY                                                      \
	0x1u /* copies only, which share nothing with the store's disk space   \
	      */
#define KVLOG_BACKUP_NOVERIFY                                                  \
	0x2u /* do not read what was linked or cloned, and of what was copied  \
		only whether it is the same */
#define KVLOG_BACKUP_NEW                                                       \
	0x4u /* nothing may be at path but an empty directory */

/* NULL in place of the struct stands for KVLOG_BACKUP_OPTIONS_INIT. */
struct kvlog_backup_options {
	size_t size; /* sizeof(struct kvlog_backup_options) */
	unsigned flags;
	uint32_t timeout_ms;         /* longest wait for others at path */
	kvlog_progress_fn *progress; /* bytes brought and verified; NULL: nobody
					wants to know */
	void *arg;                   /* for progress */
};

#define KVLOG_BACKUP_OPTIONS_INIT                                              \
	{                                                                      \
		sizeof(struct kvlog_backup_options), 0, 5000, NULL, NULL       \
	}

struct kvlog_backup_report {
	size_t size;            /* set by the caller: sizeof(*report) */
	uint64_t last_seq;      /* of the last commit in the backup */
	uint64_t segment_count; /* files in it; one of them is new and empty */
	uint64_t kept_count;    /* of them: in the earlier backup, or brought by
				   a try that was not completed */
	uint64_t linked_count;  /* of the store, under a second name */
	uint64_t cloned_count; /* share their disk space until one is written */
	uint64_t copied_count;
	uint64_t copied_bytes;
	uint64_t verified_bytes;
	uint32_t damaged_segments; /* as they are in the store */
	uint32_t damaged_segment;  /* number of the first one ... */
	uint64_t damaged_offset;   /* ... and where, in bytes */
};

/*
 * kvlog_backup - make directory path a store that holds what db holds now.
 *
 * db           Any handle.  One that writes ends the active segment, and makes
 *              all commits durable; one that reads copies those segments that
 *              are not sealed, or not durable yet.
 * path         Nothing, an empty directory, or an earlier backup of this store,
 *              outside of the store's own directory.  It needs a name of its
 *              own, and a directory above it that can be written: the backup is
 *              made in path.part, and gets its name when it is whole.
 * ret_report   Filled on KVLOG_OK and KVLOG_CORRUPT; may be NULL.
 *
 * The backup holds the state after one commit, made between the begin of the
 * call and its end; nobody who writes waits for it.  Files are hard links or
 * clones where the file system allows it, copies elsewhere: a link protects
 * from what is done to the store, but not from a disk that fails.  What an
 * earlier backup has is taken from there.  New files are verified when they
 * have come.
 *
 * A backup is a store: it can be read, written to, compacted and backed up.
 * No process ever stores into a file that a backup shares.  Once it was opened
 * for writing it is a store of its own, onto which no later backup goes.  It
 * has the UUID of the store, and gives numbers to its commits that the store
 * may give to others: what is kept by number belongs to one of the two.
 *
 * Stopped anywhere, there is the earlier backup at path (or nothing) or the
 * new one, whole; and the next call goes on with what is in path.part.  Whoever
 * reads the earlier backup meanwhile gets KVLOG_BROKEN from then on, and opens
 * it again.
 *
 * Results:
 *   KVLOG_OK        the backup is complete, and durable
 *   KVLOG_CORRUPT   so it is, but segments are damaged, as they are in the
 *                   store; or, without a backup (ret_report is untouched),
 *                   what is not sealed is damaged
 *   KVLOG_CONFLICT  something else is at path: not empty, another store, the
 *                   store itself, a backup that was written to or goes up to
 *                   commits that this store does not have; or path is inside
 *   KVLOG_CANCELLED by options->progress
 *   KVLOG_BUSY      another backup into path is under way; somebody writes to
 *                   what is there, or to the store for too long
 *   KVLOG_NOSPACE, _IO, _INVAL, _NOMEM, _FORKED, _BROKEN, _TOOBIG,
 *   _UNSUPPORTED (path is on a network file system)
 *
 * Threads: any.  Cost: a look at each segment file, and what has to be copied;
 * unless _NOVERIFY is set, new files are read once.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_backup(struct kvlog *db,
    const char *path, const struct kvlog_backup_options *options,
    struct kvlog_backup_report *ret_report, struct kvlog_error *err);

/* A segment file.  Valid during the call that gets it. */
struct kvlog_segment {
	size_t size;          /* sizeof(struct kvlog_segment) */
	const char *file;     /* name in the store's directory */
	uint32_t first, last; /* numbers that it stands for */
	bool active;          /* commits are written there */
	bool damaged;         /* as far as is known */
	uint64_t file_bytes;  /* its length; what follows are parts of it */
	uint64_t live_bytes;  /* of records that count */
	uint64_t dead_bytes;  /* of records that do not: superseded, tombstones,
				 damaged */
	uint64_t free_bytes;  /* behind the records */
};

/* False: that is enough. */
typedef bool kvlog_segment_fn(void *arg, const struct kvlog_segment *segment);

/*
 * kvlog_segments - call fn with each segment file of the store, the oldest
 * first.
 * Results: KVLOG_OK, _INVAL, _NOMEM, _IO, _CORRUPT, _BROKEN, _FORKED; with any
 * but the first fn was not called.
 * Cost: a walk over all keys.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_segments(
    struct kvlog *db, kvlog_segment_fn *fn, void *arg, struct kvlog_error *err);

/*
 * kvlog_compact - give space back in a store that is open, beside all who read
 * and write it, in any process.
 *
 * db           A handle for writing; for a dry run any.
 * options      As for kvlog_compact_offline(); timeout_ms is the longest wait
 *              for another process that maintains the store.
 * ret_report   Filled whatever the result, with what was done up to then; may
 *              be NULL.
 *
 * It works in the calling thread, as kvlog_compact_offline() does, and does
 * what the background thread would meanwhile; progress is called in between,
 * and may do anything but close, compact or call kvlog_maintain(): with another
 * handle of this process neither, which would wait for this call to end.
 * Others wait for it as for a commit, for the moment in which an output takes
 * the place of its inputs.  The index is led over in small steps; other
 * processes do so at their next call, all at once, and then let go of what was
 * replaced.  That call takes as long as a walk over the records of the run:
 * some 20 ms for 4 MiB of small ones, most of a second for a segment of 128
 * MiB. Pins and iterators keep what they show.
 *
 * It rewrites segments that are there when it is called: however fast others
 * write, it ends.  What they replace meanwhile is left to the next one.
 *
 * Results: KVLOG_OK, _CANCELLED (by progress; what was done stays), _BUSY
 * (another process compacts), _READONLY, _NOSPACE, _NOMEM, _BROKEN (a sync
 * failed), _TOOBIG, _INVAL, _IO.  Whatever it is, no commit is lost and no key
 * changes its value.
 *
 * Cost: the runs are read twice, and what is left of them is written and
 * synced.  Beside an index in memory a run is of 512 MiB at most (or of one
 * segment), whatever run_bytes says, and it takes 16 MiB of memory at most;
 * beside an index in the hints more, for what no hint covers meanwhile.
 */
KVLOG_API KVLOG_MUST_CHECK enum kvlog_status kvlog_compact(struct kvlog *db,
    const struct kvlog_compact_options *options,
    struct kvlog_compact_report *ret_report, struct kvlog_error *err);

/* kvlog_status_text - a status in words; never NULL. */
KVLOG_API const char *kvlog_status_text(enum kvlog_status status);

/* kvlog_version - the library's version, "MAJOR.MINOR.PATCH". */
KVLOG_API const char *kvlog_version(void);

#ifdef __cplusplus
}
#endif

#endif /* KVLOG_H */
