/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.h - the file kvlog.lock: its lock bytes, the control page that
 * processes share, and the end note behind it.
 *
 * The page holds native words and says nothing that the segments do not:
 * it is valid only on the machine, in the boot and with the file it was
 * written on.  Everywhere else it is stale, which is never damage.
 *
 * A handle that only reads takes no lock and stores nothing.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include "base.h"
#include "dir.h"
#include "os.h"
#include "registry.h"

/* Lock bytes.  Far behind the file's end, so that locks never meet data. */
enum control_byte {
	CONTROL_OPEN = 1,   /* opening for writing, recovery, last close */
	CONTROL_WRITER = 2, /* held for as long as a handle writes */
	CONTROL_MAINTAINER = 3,
};

struct control {
	struct os_map map; /* addr is NULL if there is no lock file to read */
	int fd;
	uint64_t dev, ino; /* of the lock file */
	uint8_t boot_id[16];
	struct registry_entry *registered; /* has fd, if not NULL */
	bool writable;
	bool writer;  /* holds CONTROL_WRITER */
	bool trusted; /* the page is this boot's, with or without a boot id */
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
	uint64_t syncing; /* 1: nobody has said how a sync ended */
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

/* Releases all locks. */
void control_close(struct control *control);

/* True if no store has ever been opened with this lock file. */
bool control_is_blank(const struct control *control);

/*
 * Become the only writer, waiting at most timeout_ms.  KVLOG_BUSY with the
 * holder's process id in the text when that was not enough.  Returns with
 * CONTROL_OPEN held too, until control_opened().
 */
enum kvlog_status control_lock_writer(struct control *control, struct dir *dir,
    uint32_t timeout_ms, struct kvlog_error *err);
void control_opened(struct control *control);

/* Whether the lock file is still the one that has its name.  If somebody
 * removed it, another writer may be at work. */
bool control_is_named(const struct control *control, struct dir *dir);

/* Whether another handle has the store open for writing. */
bool control_writer_lives(const struct control *control);

/*
 * Read the page.  False if it is stale: no writer of this boot is known to
 * have written this file.  May be called beside a writer; the words are then of
 * one moment each.
 */
bool control_read(
    const struct control *control, struct control_state *ret_state);

/*
 * The writer's stores.  control_format() declares the page valid with these
 * words; control_set_*() change one word of it.
 */
enum kvlog_status control_format(struct control *control,
    const struct control_state *state, struct kvlog_error *err);
/* Declare it valid and say that a sync failed: what is not durable up to this
 * number must be copied by the next opening in this boot. */
enum kvlog_status control_format_poisoned(
    struct control *control, uint64_t durable);
int control_set_position(struct control *control, uint64_t position);
int control_set_active_salt(struct control *control, uint64_t salt);
int control_set_durable(struct control *control, uint64_t seq);
int control_set_intent(struct control *control, uint64_t end);
int control_set_poison(struct control *control);
int control_set_synced(struct control *control, uint64_t position);
/* Around each sync of the log: a writer that is killed between one that fails
 * and the poison word leaves this behind. */
int control_set_syncing(struct control *control, bool syncing);
/* Segments were replaced: who is listing them has to look again. */
int control_next_generation(struct control *control);
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
