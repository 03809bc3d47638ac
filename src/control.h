/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.h - the file kvlog.lock: its lock bytes, the control page that
 * processes share, and the end note behind it.
 *
 * The page holds native words and says nothing that the segments do not:
 * it is valid only on the machine, in the boot and with the file it was
 * written on.  Everywhere else it is stale, which is never damage.
 *
 * Writers of several processes share it: each handle holds a lock byte of its
 * own for as long as it lives, and they take turns.  A handle that only reads
 * takes no lock and stores nothing.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "base.h"
#include "dir.h"
#include "os.h"
#include "registry.h"

#include <stdatomic.h>

/* Lock bytes.  Far behind the file's end, so that locks never meet data. */
enum control_byte {
	CONTROL_OPEN = 1,       /* opening for writing, recovery, last close */
	CONTROL_WRITER = 2,     /* held for as long as a handle writes */
	CONTROL_MAINTAINER = 3, /* who compacts, writes hints, tidies up */
	CONTROL_TURN = 4,       /* in place of the mutexes, where there are */
	CONTROL_SYNC = 5,       /* none */
	CONTROL_HANDLE = 64,    /* and on: one for each writing handle */
};
#define CONTROL_HANDLES_MAX 4096

/* Words of the page; control.c draws it. */
enum control_word {
	CONTROL_TAG,
	CONTROL_VALID,
	CONTROL_BOOT,
	CONTROL_BOOT_2,
	CONTROL_GENERATION,
	CONTROL_POISON,
	CONTROL_NONCE,
	CONTROL_POSITION,

	CONTROL_DEV,
	CONTROL_INO,
	CONTROL_DURABLE,
	CONTROL_ACTIVE_SALT,
	CONTROL_START,
	CONTROL_PID,
	CONTROL_SYNCED,
	CONTROL_SYNCING,

	CONTROL_INTENT,
	CONTROL_TURN_OF,
	CONTROL_LAST_TURN_OF,

	CONTROL_WANTED = 24,
	CONTROL_RESERVE,
	CONTROL_PRESSURE,
	CONTROL_OWNER,
	CONTROL_OWNER_PID,
	CONTROL_AWAITED,
	CONTROL_OWNER_NOW,
	CONTROL_WORDS
};

/* How writers take turns. */
enum control_turns {
	CONTROL_BY_MUTEX,
	CONTROL_BY_BYTE,
};

struct control {
	const struct dir *dir; /* not owned */
	struct os_map map; /* addr is NULL if there is no lock file to read */
	const _Atomic uint64_t *words; /* of the page; zeros if there is none */
	int fd;
	uint64_t dev, ino; /* of the lock file */
	uint8_t boot_id[16];
	struct registry_entry *registered; /* has fd, if not NULL */
	uint32_t forks;           /* registry_forks() when it was opened */
	uint32_t pid;             /* of this process, for a writer */
	enum control_turns turns; /* as configured; tests set it once opened */
	bool barred;              /* there is one that may not be read */
	bool writable;
	bool trusted; /* the page is this boot's, with or without a boot id */
	bool writer;  /* from control_lock_writer() on */
	bool shared;  /* lets others write too */
	bool would_share;    /* wants to, if the file system allows it */
	struct store *other; /* see control_lock_writer() */
	bool exclusive;      /* nobody else writes, or can begin to */
	bool opening;        /* holds CONTROL_OPEN */
	bool maintainer;     /* holds CONTROL_MAINTAINER */
	bool passed[2]; /* holds the mutex, or byte, of the turn, the sync */
	uint64_t byte;  /* of this handle: CONTROL_HANDLE and on; 0: none yet */
	uint64_t row;   /* turns of this handle since somebody wanted one */
	uint64_t row_since; /* ticks_ns() */
};

/* What a valid page says. */
struct control_state {
	uint64_t active_salt;
	uint64_t position; /* end of the last published commit or mark */
	uint64_t durable;  /* sequence number */
	uint64_t generation;
	uint64_t intent;  /* 0, or where a commit being stored will end */
	uint64_t poison;  /* 1: a sync failed; nobody may write */
	uint64_t synced;  /* all before this position is durable */
	uint64_t syncing; /* not 0: nobody has said how a sync ended */
};

/* A position: segment number and offset, in one word. */
#define CONTROL_POS_OFF_BITS 36
static inline uint64_t
control_pos(uint32_t segment, uint64_t off)
{
	return (uint64_t)segment << CONTROL_POS_OFF_BITS | off / 8;
}
static inline uint32_t
control_pos_segment(uint64_t pos)
{
	return (uint32_t)(pos >> CONTROL_POS_OFF_BITS);
}
static inline uint64_t
control_pos_off(uint64_t pos)
{
	return (pos & ((UINT64_C(1) << CONTROL_POS_OFF_BITS) - 1)) * 8;
}

/* The end note: the log was at least this long. */
struct control_note {
	uint8_t uuid[16];
	uint32_t segment;
	uint64_t salt;
	uint64_t end;
	uint64_t last_seq;
};

/* Make the lock file of a new store.  KVLOG_CONFLICT if there is one. */
enum kvlog_status control_create(struct dir *dir, struct kvlog_error *err);

/*
 * Open and map the lock file.  For reading, a missing or short one is no
 * error: the page then counts as stale.
 */
enum kvlog_status control_open(struct control *ret_control, struct dir *dir,
    bool writable, struct kvlog_error *err);

/* Releases all locks.  In a forked child it touches nothing that is the
 * parent's. */
void control_close(struct control *control);

/* True if no store has ever been opened with this lock file. */
bool control_is_blank(const struct control *control);

/* Make what the page says durable: that it is not blank any more. */
enum kvlog_status control_sync(
    const struct control *control, struct kvlog_error *err);

/*
 * Become a writer, waiting at most timeout_ms (0: not at all).
 *
 * *ret_sole is true if no other writer lives: the caller recovers what the
 * last one left and formats the page.  Else the handle has joined others; that
 * happens only if shared is set, theirs and this one's, and the page is theirs.
 * Both end with control_opened(), until which nobody else opens for writing.
 * After it, others may join if shared is set; on file systems that are
 * written by pwrite they may not.
 *
 * KVLOG_CONFLICT: this process has the store open for writing, and offers it:
 * control->other is it, with a part for the caller (registry.h).
 * KVLOG_BUSY with a process id in the text if the time was not enough;
 * KVLOG_UNSUPPORTED if the page is of a library that shares in another way.
 * No lock is left after a failure.
 */
enum kvlog_status control_lock_writer(struct control *control, struct dir *dir,
    bool shared, uint32_t timeout_ms, bool *ret_sole, struct kvlog_error *err);
void control_opened(struct control *control);

/*
 * For closing: true if nobody else writes, nor will before control_close().
 * Else others go on, and this handle has given up its part: it stores nothing
 * any more, for the one that closes last must know that it is the last.  So
 * whoever calls this has synced what is its own.
 */
bool control_last_writer(struct control *control, uint32_t timeout_ms);

/*
 * The turn: who has it stores records, all others of all processes wait.  One
 * thread of a handle at a time: threads need a mutex of their own around it.
 *
 * deadline is of os->ticks_ns(); one that has passed means one try.
 * KVLOG_BUSY with the last holder's process id if that was not enough.
 * *ret_died: the one that had it before died in its turn, and the caller does
 * now what recovery would; if that one dies too, the next is
 * told again.
 */
enum kvlog_status control_take_turn(struct control *control, uint64_t deadline,
    bool *ret_died, struct kvlog_error *err);
void control_release_turn(struct control *control);

/*
 * Likewise for syncs, one at a time of all processes.  *ret_doubtful: the word
 * that a sync is under way is set though nobody syncs, so nobody knows how the
 * last one ended.  It stays set until the caller clears it.
 */
enum kvlog_status control_take_sync(struct control *control, uint64_t deadline,
    bool *ret_doubtful, struct kvlog_error *err);
void control_release_sync(struct control *control);

/* Become the one that compacts and tidies up, or see that another one is; once
 * true, it is until it is dropped. */
bool control_try_maintainer(struct control *control);
void control_drop_maintainer(struct control *control);

/* Whether the lock file is still the one that has its name.  If somebody
 * removed it, another writer may be at work. */
bool control_is_named(const struct control *control, struct dir *dir);
/* Whether another file has that name, which who writes now uses; or the
 * directory was removed. */
bool control_is_superseded(const struct control *control, struct dir *dir);

/* Whether another handle has the store open for writing. */
bool control_writer_lives(const struct control *control);

/*
 * Read the page.  False if it is stale: no writer of this boot is known to
 * have written this file.  May be called beside a writer; the words are then of
 * one moment each.
 */
bool control_read(
    const struct control *control, struct control_state *ret_state);

/* The words of a page that has been found valid; zeros without a lock file.
 * Cheap enough for every operation. */
static inline const _Atomic uint64_t *
control_words(const struct control *control)
{
	return control->words;
}
static inline uint64_t
control_word(const _Atomic uint64_t *words, enum control_word word)
{
	return atomic_load_explicit(&words[word], memory_order_acquire);
}
static inline uint64_t
control_load(const struct control *control, enum control_word word)
{
	return control_word(control_words(control), word);
}
static inline uint64_t
control_position(const struct control *control)
{
	return control_load(control, CONTROL_POSITION);
}
static inline uint64_t
control_generation(const struct control *control)
{
	return control_load(control, CONTROL_GENERATION);
}
static inline uint64_t
control_durable(const struct control *control)
{
	return control_load(control, CONTROL_DURABLE);
}
static inline uint64_t
control_synced(const struct control *control)
{
	return control_load(control, CONTROL_SYNCED);
}
static inline bool
control_poisoned(const struct control *control)
{
	return control_load(control, CONTROL_POISON) != 0;
}
static inline bool
control_reserve_used(const struct control *control)
{
	return control_load(control, CONTROL_RESERVE) != 0;
}

/*
 * What somebody who has judged the page, valid or stale, compares at each
 * operation: if it has changed, another writer has begun, or segments were
 * replaced, and the judgement is to be made again.
 */
static inline uint64_t
control_stamp_of(const _Atomic uint64_t *words)
{
	/* The nonce is random, the generation counts, and the third has fewer
	 * values than 8. */
	return control_word(words, CONTROL_NONCE) +
	       8 * (control_word(words, CONTROL_VALID) +
		       8 * control_word(words, CONTROL_GENERATION));
}
static inline uint64_t
control_stamp(const struct control *control)
{
	return control_stamp_of(control_words(control));
}

/* The writers' stores: of a word of the page; 0 or an errno value. */
static inline int
control_store(struct control *control, enum control_word word, uint64_t value)
{
	return os_store_word(&control->map, 8 * (uint64_t)word, value);
}
static inline int
control_set_position(struct control *control, uint64_t position)
{
	return control_store(control, CONTROL_POSITION, position);
}
static inline int
control_set_intent(struct control *control, uint64_t end)
{
	return control_store(control, CONTROL_INTENT, end);
}

/*
 * What follows belongs to transactions, which own the right to change the
 * store's content from one turn to another: whoever gets a turn meanwhile
 * commits nothing.  The word of the owner is changed under the turn alone.
 *
 * control_set_owner(): it is this handle, for so many milliseconds, or not any
 * more (0); to the owner the time is now_ms.  control_owner_ended(): what the
 * word says is over, for it is past its time, or the handle that it names has
 * gone; never of this handle's own before its time.
 */
int control_set_owner(struct control *control, uint64_t ms, uint64_t now_ms);
bool control_owner_ended(const struct control *control);
static inline bool
control_is_owned(const struct control *control)
{
	return control_load(control, CONTROL_OWNER) != 0;
}
static inline bool
control_is_owner(const struct control *control)
{
	return (control_load(control, CONTROL_OWNER) & 0xffff) == control->byte;
}
/* With the turn: the time that an owner judges by; UINT64_MAX: nobody is. */
uint64_t control_owner_now(const struct control *control);
/* Of another process that is, or was just now; 0: none is known. */
uint64_t control_owner_pid(const struct control *control);
/* Somebody waits for the owner to end, as of now; and whether somebody did that
 * within the last ms milliseconds. */
void control_say_awaited(struct control *control);
bool control_is_awaited(const struct control *control, uint64_t ms);

/*
 * control_format() declares the page valid with these
 * words, when nobody else writes; control_set_*() change one word of it.
 */
enum kvlog_status control_format(struct control *control,
    const struct control_state *state, struct kvlog_error *err);
/* Declare it valid and say that a sync failed: what is not durable up to this
 * number must be copied by the next opening in this boot. */
enum kvlog_status control_format_poisoned(
    struct control *control, uint64_t durable);
int control_set_active_salt(struct control *control, uint64_t salt);
int control_set_durable(struct control *control, uint64_t seq);
int control_set_poison(struct control *control);
int control_set_synced(struct control *control, uint64_t position);
/* Around each sync of the log: a writer that is killed between one that fails
 * and the poison word leaves its handle's byte behind. */
int control_set_syncing(struct control *control, bool syncing);
/* Segments were replaced: who is listing them has to look again. */
int control_next_generation(struct control *control);
/* The reserve was renamed into use, and must be made anew before a put. */
int control_set_reserve_used(struct control *control, bool used);
/* Compaction does not keep up: writers of all processes are to wait for so long
 * now and then, at most CONTROL_PRESSURE_MAX ms; 0: not any more.  Holds for
 * CONTROL_PRESSURE_MS, as whoever says so may die. */
#define CONTROL_PRESSURE_MAX 50
#define CONTROL_PRESSURE_MS 300
int control_set_pressure(struct control *control, unsigned wait_ms);
/* What another handle says of that. */
unsigned control_pressure(const struct control *control);
/* The last store: all of the log is durable, and nobody writes any more.  Only
 * systems without a boot id need that; failing costs them a segment. */
int control_set_closed(struct control *control);

/* False if there is no note, or a damaged one. */
bool control_read_note(
    const struct control *control, struct control_note *ret_note);
/* Write the note.  What it says is durable already; the note itself need not
 * be, since an older one is a lower bound too. */
enum kvlog_status control_write_note(struct control *control,
    const struct control_note *note, struct kvlog_error *err);

#endif
