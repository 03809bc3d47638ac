/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c - lock bytes, control page, end note.
 *
 *     0            4096          8192
 *     +------------+-------------+
 *     |control page| end note    |      kvlog.lock
 *     +------------+-------------+
 *
 * The page, in words of 64 bits of the machine's own byte order, eight to a
 * cache line:
 *
 *     0 tag    1 valid    2-3 boot id    4 generation    5 poison
 *     6 nonce of the opening    7 position
 *
 *     8-9 device and inode of the file    10 durable    11 active salt
 *     12 start of the last opening    13 pid of the last turn
 *     14 position synced    15 who syncs
 *
 *     16 intent    17 who has the turn    18 who had the last one
 *
 *     24 who wants the turn    25 the reserve was used
 *     26 how long writers are to wait, who says so, and until when
 *     27 who owns the turn from call to call, and until when    28 his pid
 *     29 when somebody has waited for him last    30 what time it is to him
 *
 *     byte 1024 mutex of the turn    byte 1280 mutex of the sync
 *
 * "Who" is a number of a handle's lock byte.  Readers look at the first line
 * at each operation, and of what changes with each commit only the position
 * is there.
 *
 * The tag is the layout's version and what the mutexes are like.  A library
 * that lays the page out otherwise takes it for stale; one that has other
 * mutexes can read it, but not write beside those that use them.  The validity
 * word is cleared first and set last: a page half written is not valid.
 * Position and active salt are two words; while a rollover is between them
 * the salt does not fit the position's segment, and a reader that sees this
 * takes the page for stale or looks again.
 *
 * Where the system has no boot id, a page that another process left behind
 * could be of an earlier boot, its log gone from the page cache since.  So it
 * is believed in two cases alone.  One is that a writer of it lives: all hold
 * a lock on a byte whose number is the page's nonce, and locks outlive no boot.
 * The other is that it says "closed", which a handle stores when all of the
 * log is durable and so are the other words.  Who opens for writing takes this
 * back, durably, before anything else changes: a page that says "closed" is
 * true in every boot.  After a kill the page is stale.
 *
 * TURNS.  A mutex that outlives its owner (or a lock byte, where there are no
 * such mutexes) says who may store; the word of the turn says who does, and
 * outlives both.  So whoever gets the turn and finds the word set knows that
 * the one before died in the midst of it, also if he had died of cleaning up
 * after a third.  A new handle does not take a byte that one of the words
 * still names: a dead handle's byte stays free until the word has been seen.
 *
 * A mutex alone is not fair: who releases it is running, and gets it again
 * before those that sleep are awake.  So who waits says so in a word, and who
 * has had some turns in a row since lets another one go first.  The word of
 * somebody who was killed meanwhile costs one such wait.
 *
 * A transaction lasts longer than a turn, and nobody else may change what it
 * reads.  So it leaves a word that says who owns the turn, which all that
 * commit look at once they have the turn; who only maintains the store passes.
 * Its owner clears it; so does whoever has the turn, once its time is over,
 * which the owner puts off while he works, or once his lock byte is free.
 */
#include "config.h"

#include "control.h"

#include "bytes.h"
#include "record.h"
#include "sum.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define FILE_SIZE 8192u
#define NOTE_OFF 4096u
#define NOTE_SIZE 64u
#define NOTE_MAGIC "kvlogend"

#define TURN_MUTEX_OFF 1024u
#define SYNC_MUTEX_OFF 1280u
static_assert(TURN_MUTEX_OFF + OS_MUTEX_SIZE <= SYNC_MUTEX_OFF &&
		  SYNC_MUTEX_OFF + OS_MUTEX_SIZE <= NOTE_OFF,
    "mutexes overlap");

/*
 * The tag: "kvlg", the layout's version, and for those who share writing the
 * C library, the machine's word size, the kind of turn and the mutex's size.
 * A known byte order when read natively.
 */
#define LAYOUT 5u
#define TAG_LAYOUT (UINT64_C(0x6b766c67) << 32 | LAYOUT << 24)
#define TAG_LAYOUT_MASK (~UINT64_C(0xffffff))
#if defined __GLIBC__
#define TAG_LIBC 1u
#elif KVLOG_LINUX /* musl does not tell its name */
#define TAG_LIBC 2u
#else
#define TAG_LIBC 0u
#endif
static_assert(sizeof(pthread_mutex_t) < 256, "one byte of the tag");

/* How long a waiter sleeps before he says again that he waits; and how many
 * turns, or how much time, somebody has in a row when others wait, and how
 * long he then waits for them. */
#define WAIT_SLICE_NS (2 * 1000 * 1000)
#define ROW_MAX 64
#define ROW_MAX_NS (1000 * 1000)
#define HAND_OVER_NS (2 * 1000 * 1000)
/* How often a lock byte is tried again: much more often than that. */
#define BYTE_PAUSE_NS (200 * 1000)

/* The word of the owner: a lock byte, and above it a time. */
#define OWNER_BYTE UINT64_C(0xffff)
#define OWNER_TIME_SHIFT 16
static_assert(CONTROL_HANDLE + CONTROL_HANDLES_MAX <= OWNER_BYTE, "16 bits");

/* Processes share the words without a lock. */
static_assert(ATOMIC_LLONG_LOCK_FREE != 0, "needs atomic 64-bit words");

/* The validity word. */
#define PAGE_INVALID 0u
#define PAGE_VALID 1u
#define PAGE_CLOSED 2u /* without a boot id: valid in every boot */

static const _Atomic uint64_t no_words[CONTROL_WORDS];

/* Lock bytes lie here; offset by the byte's number. */
#define LOCK_BASE (UINT64_C(1) << 30)

static bool
has_boot_id(const struct control *control)
{
	static const uint8_t none[16];

	return memcmp(control->boot_id, none, 16) != 0;
}

enum kvlog_status
control_create(struct dir *dir, struct kvlog_error *err)
{
	int fd, rc;

	rc = os->open(dir->fd, DIR_LOCK_NAME, OS_OPEN_CREATE, dir->mode, &fd);
	if (rc == EEXIST)
		return err_set(err, KVLOG_CONFLICT, 0, "%s/%s is there already",
		    dir->path, DIR_LOCK_NAME);
	if (rc != 0)
		return err_sys(
		    err, rc, "create %s/%s", dir->path, DIR_LOCK_NAME);
	rc = os->allocate(fd, FILE_SIZE);
	if (rc == 0)
		rc = os->sync(fd);
	os->close(fd);
	if (rc != 0) {
		os->unlink(dir->fd, DIR_LOCK_NAME);
		return err_sys(
		    err, rc, "create %s/%s", dir->path, DIR_LOCK_NAME);
	}
	return KVLOG_OK;
}

static int
open_lock_file(const struct control *control, int *ret_fd)
{
	return os->open(control->dir->fd, DIR_LOCK_NAME,
	    control->writable ? OS_OPEN_WRITE : OS_OPEN_READ, 0, ret_fd);
}

/*
 * A mapping keeps its open file alive, also the copy that a forked child gets,
 * and where locks belong to the open file they would outlive their owner.  So
 * a writer maps the page by another descriptor.
 */
static int
map_page(struct control *control, bool by_pwrite)
{
	struct os_stat st;
	int fd, rc;

	if (!control->writable || !OS_LOCKS_OF_OPEN_FILE)
		return os->map(control->fd, FILE_SIZE, control->writable,
		    by_pwrite, &control->map);
	rc = open_lock_file(control, &fd);
	if (rc != 0)
		return rc;
	rc = os->stat(fd, &st);
	if (rc == 0 && (st.dev != control->dev || st.ino != control->ino))
		rc = ESTALE;
	if (rc == 0)
		rc = os->map(fd, FILE_SIZE, true, by_pwrite, &control->map);
	control->map.fd = control->fd;
	os->close(fd);
	return rc;
}

static void
unmap_page(struct control *control)
{
	control->words = no_words;
	os->unmap(&control->map);
}

/* A lock file that is there but shorter than it should be: a copy, or a
 * creation that was cut off.  A writer makes it whole. */
static int
map_lock_file(struct control *control)
{
	struct os_stat st;
	enum os_fs fs = OS_FS_PLAIN;
	int rc;

	rc = os->stat(control->fd, &st);
	if (rc != 0)
		return rc;
	if (!st.is_regular)
		return EISDIR;
	/* Two directories would share one page, and each other's turns. */
	if (control->writable && st.link_count > 1)
		return EMLINK;
	control->dev = st.dev;
	control->ino = st.ino;
	rc = registry_join(st.dev, st.ino, control->fd, &control->registered);
	if (rc != 0) {
		control->fd = -1; /* it took that along */
		return rc;
	}
	if (control->writable) {
		rc = os->allocate(control->fd, FILE_SIZE);
		if (rc != 0)
			return rc;
	} else if (st.size < FILE_SIZE) {
		return 0;
	}
	rc = os->fs_type(control->fd, &fs);
	if (rc != 0)
		return rc;
	rc = map_page(control, fs == OS_FS_COW);
	if (rc != 0)
		return rc;
	control->words = (const void *)control->map.addr;
	if (!control->writable)
		os->advise(&control->map, 0, FILE_SIZE, OS_ADVICE_DENSE);
	return 0;
}

static enum kvlog_status
open_failed(const struct dir *dir, int rc, struct kvlog_error *err)
{
	switch (rc) {
	case EISDIR:
	case ENXIO: /* a socket */
		return err_set(err, KVLOG_NOTSTORE, 0,
		    "%s/%s is not a file; move it out of the directory, and "
		    "the next writer makes a new one",
		    dir->path, DIR_LOCK_NAME);
	case EMLINK:
		return err_set(err, KVLOG_NOTSTORE, 0,
		    "%s/%s is a hard link, perhaps another store's; remove it "
		    "here, and the next writer makes a new one",
		    dir->path, DIR_LOCK_NAME);
	case EACCES:
	case EPERM:
	case EROFS:
		return err_sys(err, rc,
		    "open %s/%s for writing (the store can still be opened "
		    "read-only)",
		    dir->path, DIR_LOCK_NAME);
	default:
		return err_sys(err, rc, "open %s/%s", dir->path, DIR_LOCK_NAME);
	}
}

enum kvlog_status
control_open(struct control *ret_control, struct dir *dir, bool writable,
    struct kvlog_error *err)
{
	struct control *control = ret_control;
	int rc;

	memset(control, 0, sizeof *control);
	control->words = no_words;
	control->dir = dir;
	control->fd = -1;
	control->writable = writable;
	control->forks = registry_forks();
	control->turns =
	    KVLOG_ROBUST_MUTEX ? CONTROL_BY_MUTEX : CONTROL_BY_BYTE;
	os->boot_id(control->boot_id);

	rc = open_lock_file(control, &control->fd);
	if (rc == ENOENT && writable) {
		/* A copy without it: the segments are all that counts, so a
		 * new one serves, or the one that another writer made. */
		enum kvlog_status st = control_create(dir, err);

		if (st != KVLOG_OK && st != KVLOG_CONFLICT)
			return st;
		rc = open_lock_file(control, &control->fd);
	}
	if (rc != 0) {
		control->fd = -1;
		if (rc == ENOENT && !writable)
			return KVLOG_OK;
		control->barred = rc == EACCES || rc == ENXIO;
		if (control->barred && !writable)
			return KVLOG_OK;
		return open_failed(dir, rc, err);
	}
	rc = map_lock_file(control);
	if (rc != 0) {
		control_close(control);
		if (rc == EISDIR && !writable)
			return KVLOG_OK; /* as good as none */
		return open_failed(dir, rc, err);
	}
	return KVLOG_OK;
}

static int
lock_byte(struct control *control, uint64_t byte, enum os_lock kind)
{
	return os->try_lock(control->fd, LOCK_BASE + byte, kind);
}

static void
unlock_byte(struct control *control, uint64_t byte)
{
	(void)lock_byte(control, byte, OS_LOCK_NONE);
}

/* The byte that the writers of a page with this nonce lock: far behind the
 * others, and nobody else's. */
static uint64_t
nonce_byte(uint64_t nonce)
{
	return UINT64_C(1) << 60 | nonce >> 4;
}

/* Without a boot id: let others see that a writer of the page with this nonce
 * lives, or with 0 that this one is none. */
static void
show_life(struct control *control, uint64_t nonce)
{
	uint64_t old = registry_nonce(control->registered);

	if (old != 0)
		os->try_lock(control->fd, nonce_byte(old), OS_LOCK_NONE);
	registry_set_nonce(control->registered, nonce);
	if (nonce != 0)
		(void)os->try_lock(
		    control->fd, nonce_byte(nonce), OS_LOCK_SHARED);
}

static void leave_all_gates(struct control *control);

/* End all that a writer holds.  Closing may have to wait for other handles;
 * this not. */
static void
release_writer(struct control *control)
{
	show_life(control, 0);
	control_drop_maintainer(control);
	if (control->byte != 0)
		unlock_byte(control, control->byte);
	unlock_byte(control, CONTROL_WRITER);
	if (control->opening)
		unlock_byte(control, CONTROL_OPEN);
	registry_drop_writer(control->registered);
	control->byte = 0;
	control->writer = control->exclusive = control->opening = false;
}

void
control_close(struct control *control)
{
	if (control->forks != registry_forks()) {
		/* The parent's; the registry has closed its descriptors. */
		unmap_page(control);
		control->registered = NULL;
		control->fd = -1;
		return;
	}
	if (control->writer)
		leave_all_gates(control); /* needs the mapping */
	unmap_page(control);
	if (control->writer)
		release_writer(control);
	if (control->registered != NULL)
		registry_leave(control->registered, control->fd);
	else if (control->fd >= 0)
		os->close(control->fd);
	control->registered = NULL;
	control->fd = -1;
}

bool
control_is_blank(const struct control *control)
{
	if (control->map.addr == NULL)
		return true;
	/* Who tried to use it, and whether a sync failed then, says nothing:
	 * the position is set once there is a durable segment. */
	for (size_t i = 0; i < FILE_SIZE; i++)
		if ((i / 8 == CONTROL_POSITION || i / 8 == CONTROL_DURABLE ||
			i >= NOTE_OFF) &&
		    control->map.addr[i] != 0)
			return false;
	return true;
}

enum kvlog_status
control_sync(const struct control *control, struct kvlog_error *err)
{
	int rc = os->sync(control->fd);

	return rc == 0 ? KVLOG_OK
		       : err_sys(err, rc, "sync %s/%s", control->dir->path,
			     DIR_LOCK_NAME);
}

/*
 * Take CONTROL_OPEN and CONTROL_WRITER, the latter for this handle alone if
 * nobody else has it.  EAGAIN: neither.
 */
static int
try_writer(struct control *control)
{
	int rc;

	/* Nobody is kept from opening by one that cannot. */
	if (!control->shared &&
	    os->is_locked(control->fd, LOCK_BASE + CONTROL_WRITER))
		return EAGAIN;
	if (!registry_claim_writer(control->registered)) {
		if (control->would_share)
			control->other =
			    registry_share_writer(control->registered);
		return control->other != NULL ? EALREADY : EAGAIN;
	}
	rc = lock_byte(control, CONTROL_OPEN, OS_LOCK_EXCLUSIVE);
	if (rc != 0)
		goto fail;
	rc = lock_byte(control, CONTROL_WRITER, OS_LOCK_EXCLUSIVE);
	control->exclusive = rc == 0;
	if (rc == EAGAIN && control->shared)
		rc = lock_byte(control, CONTROL_WRITER, OS_LOCK_SHARED);
	if (rc == 0) {
		control->writer = control->opening = true;
		return 0;
	}
	unlock_byte(control, CONTROL_OPEN);
fail:
	registry_drop_writer(control->registered);
	return rc;
}

static int
try_open(struct control *control)
{
	int rc = lock_byte(control, CONTROL_OPEN, OS_LOCK_EXCLUSIVE);

	control->opening = control->opening || rc == 0;
	return rc;
}

static uint64_t
deadline_of(uint32_t timeout_ms)
{
	return timeout_ms == 0
		   ? 0
		   : os->ticks_ns() + timeout_ms * UINT64_C(1000000);
}

/* Try until the deadline (0: once); 0, EAGAIN, or another errno. */
static int
wait_for(int (*try_it)(struct control *), struct control *control,
    uint64_t deadline, uint64_t pause_max)
{
	uint64_t pause = 50 * 1000; /* ns */

	for (;;) {
		uint64_t now;
		int rc = try_it(control);

		if (rc != EAGAIN || deadline == 0)
			return rc;
		now = os->ticks_ns();
		if (now >= deadline)
			return EAGAIN;
		os->sleep_ns(min_u64(pause, deadline - now));
		pause = min_u64(2 * pause, pause_max);
	}
}

/* Who had the last turn, or 0 if that is not known to be another process that
 * still writes: the words may be of one that is gone. */
static uint64_t
last_pid(const struct control *control)
{
	uint64_t byte = control_load(control, CONTROL_LAST_TURN_OF);
	uint64_t pid = control_load(control, CONTROL_PID);

	return pid != control->pid &&
		       os->is_locked(control->fd, LOCK_BASE + byte)
		   ? pid
		   : 0;
}

/* Whether this handle would have got in if it let others write too. */
static bool
others_share(struct control *control)
{
	if (control->shared ||
	    lock_byte(control, CONTROL_WRITER, OS_LOCK_SHARED) != 0)
		return false;
	unlock_byte(control, CONTROL_WRITER);
	return true;
}

static enum kvlog_status
lock_failed(struct control *control, const struct dir *dir, int rc,
    uint32_t timeout_ms, struct kvlog_error *err)
{
	uint64_t pid = last_pid(control);

	if (rc != EAGAIN)
		return err_sys(err, rc, "lock %s/%s", dir->path, DIR_LOCK_NAME);
	if (registry_has_writer(control->registered))
		return err_set(err, KVLOG_BUSY, 0,
		    "%s is open for writing in this process already; share "
		    "its handle",
		    dir->path);
	if (pid == 0)
		return err_set(err, KVLOG_BUSY, 0,
		    "%s is open for writing in another process (waited "
		    "%" PRIu32 " ms)",
		    dir->path, timeout_ms);
	return err_set(err, KVLOG_BUSY, 0,
	    others_share(control) ? "%s is open for writing by process %" PRIu64
				    " and perhaps others (waited %" PRIu32
				    " ms)"
				  : "%s is open for writing by process %" PRIu64
				    " (waited %" PRIu32 " ms)",
	    dir->path, pid, timeout_ms);
}

static bool
nonce_lives(const struct control *control)
{
	uint64_t nonce = control_load(control, CONTROL_NONCE);

	return (nonce != 0 && registry_nonce(control->registered) == nonce) ||
	       os->is_locked(control->fd, nonce_byte(nonce));
}

/* Whether what the page says of the present is of this boot for certain. */
static bool
is_of_this_boot(const struct control *control)
{
	return has_boot_id(control) || control->trusted ||
	       control_load(control, CONTROL_VALID) == PAGE_CLOSED ||
	       nonce_lives(control);
}

static uint64_t
tag_of(const struct control *control)
{
	return TAG_LAYOUT | TAG_LIBC << 20 | (uint64_t)control->turns << 16 |
	       sizeof(void *) << 8 | sizeof(pthread_mutex_t);
}

/* Readers use no mutex. */
static bool
has_layout(const struct control *control)
{
	return (control_load(control, CONTROL_TAG) & TAG_LAYOUT_MASK) ==
	       TAG_LAYOUT;
}

/* The parts of the page that say whether the rest can be believed. */
static bool
page_fits(const struct control *control)
{
	uint64_t valid;

	if (control->map.addr == NULL || !has_layout(control) ||
	    memcmp(control->map.addr + 8 * CONTROL_BOOT, control->boot_id,
		16) != 0 ||
	    control_load(control, CONTROL_DEV) != control->dev ||
	    control_load(control, CONTROL_INO) != control->ino)
		return false;
	valid = control_load(control, CONTROL_VALID);
	if (has_boot_id(control) || control->trusted)
		return valid == PAGE_VALID;
	/* One more thing is believed for ever: that a sync failed, or may
	 * have.  That costs a copy too many at worst. */
	return valid == PAGE_CLOSED ||
	       (valid == PAGE_VALID &&
		   (control_load(control, CONTROL_POISON) != 0 ||
		       control_load(control, CONTROL_SYNCING) != 0 ||
		       nonce_lives(control)));
}

/*
 * Without a boot id, before the first change to the store: say durably that it
 * is not closed.  Also if the page says so already, for it may not be durable:
 * who stored it may have been killed before the sync, or the sync have failed.
 */
static int
reopen_page(struct control *control)
{
	uint64_t valid = control_load(control, CONTROL_VALID);
	int rc;

	if (has_boot_id(control))
		return 0;
	if (valid == PAGE_CLOSED) {
		control->trusted = true;
		valid = PAGE_VALID;
	}
	rc = control_store(control, CONTROL_VALID, valid);
	return rc == 0 ? os->sync(control->fd) : rc;
}

/* Somebody has died, and left his byte in a word. */
static bool
is_named(const struct control *control, uint64_t byte)
{
	return byte == control_load(control, CONTROL_TURN_OF) ||
	       byte == (control_load(control, CONTROL_OWNER) & OWNER_BYTE);
}

/* Lock the first byte that no other handle has, and no word names. */
static int
take_byte(struct control *control)
{
	for (uint64_t i = 0; i < CONTROL_HANDLES_MAX; i++) {
		uint64_t byte = CONTROL_HANDLE + i;
		int rc;

		if (is_named(control, byte))
			continue;
		rc = lock_byte(control, byte, OS_LOCK_EXCLUSIVE);
		if (rc == EAGAIN)
			continue;
		/* Its owner may have died just now. */
		if (rc == 0 && is_named(control, byte)) {
			unlock_byte(control, byte);
			continue;
		}
		if (rc == 0)
			control->byte = byte;
		return rc;
	}
	return EAGAIN;
}

/* Nobody else writes. */
static enum kvlog_status
begin_alone(
    struct control *control, const struct dir *dir, struct kvlog_error *err)
{
	int rc = reopen_page(control);

	if (rc != 0)
		return err_sys(
		    err, rc, "write %s/%s", dir->path, DIR_LOCK_NAME);
	(void)control_store(control, CONTROL_START, os->clock_ms());
	return KVLOG_OK;
}

/* For the messages of others, before the first turn: of who is alone, and of
 * who has got the byte that the one had who had the last turn. */
static void
say_who(struct control *control)
{
	if (control->exclusive)
		(void)control_store(
		    control, CONTROL_LAST_TURN_OF, control->byte);
	if (control_load(control, CONTROL_LAST_TURN_OF) == control->byte)
		(void)control_store(control, CONTROL_PID, control->pid);
}

static enum kvlog_status
join(struct control *control, const struct dir *dir, struct kvlog_error *err)
{
	if (control_load(control, CONTROL_TAG) != tag_of(control))
		return err_set(err, KVLOG_UNSUPPORTED, 0,
		    "%s is open for writing in a process with another version "
		    "or build of the library; to write, close it there first",
		    dir->path);
	if (!page_fits(control))
		return err_set(err, KVLOG_BUSY, 0,
		    "%s is open for writing in another process, but its %s "
		    "was damaged since; close it there first",
		    dir->path, DIR_LOCK_NAME);
	control->trusted = true;
	if (!has_boot_id(control))
		show_life(control, control_load(control, CONTROL_NONCE));
	return KVLOG_OK;
}

enum kvlog_status
control_lock_writer(struct control *control, struct dir *dir, bool shared,
    uint32_t timeout_ms, bool *ret_sole, struct kvlog_error *err)
{
	enum kvlog_status st;
	int rc;

	assert(control->writable);
	control->pid = os->pid();
	control->would_share = shared;
	control->shared = shared && !control->map.by_pwrite;
	rc = wait_for(
	    try_writer, control, deadline_of(timeout_ms), 20 * 1000 * 1000);
	if (rc == EALREADY)
		return KVLOG_CONFLICT;
	if (rc != 0)
		return lock_failed(control, dir, rc, timeout_ms, err);
	st = control->exclusive ? begin_alone(control, dir, err)
				: join(control, dir, err);
	if (st == KVLOG_OK) {
		rc = take_byte(control);
		if (rc == EAGAIN)
			st = err_set(err, KVLOG_BUSY, 0,
			    "%s is open for writing %d times, which is the "
			    "limit; close some",
			    dir->path, CONTROL_HANDLES_MAX);
		else if (rc != 0)
			st = err_sys(
			    err, rc, "lock %s/%s", dir->path, DIR_LOCK_NAME);
	}
	if (st != KVLOG_OK) {
		release_writer(control);
		return st;
	}
	say_who(control);
	*ret_sole = control->exclusive;
	return KVLOG_OK;
}

bool
control_is_named(const struct control *control, struct dir *dir)
{
	struct os_stat st;
	int rc = os->stat_name(dir->fd, DIR_LOCK_NAME, &st);

	return rc != ENOENT &&
	       (rc != 0 || (st.dev == control->dev && st.ino == control->ino));
}

bool
control_is_superseded(const struct control *control, struct dir *dir)
{
	struct os_stat st;

	if (os->stat(dir->fd, &st) == 0 && st.link_count == 0)
		return true;
	return !control->barred &&
	       os->stat_name(dir->fd, DIR_LOCK_NAME, &st) == 0 &&
	       st.is_regular &&
	       (st.dev != control->dev || st.ino != control->ino);
}

bool
control_writer_lives(const struct control *control)
{
	return control->fd >= 0 &&
	       (registry_has_writer(control->registered) ||
		   os->is_locked(control->fd, LOCK_BASE + CONTROL_WRITER));
}

void
control_opened(struct control *control)
{
	if (control->exclusive && control->shared &&
	    lock_byte(control, CONTROL_WRITER, OS_LOCK_SHARED) == 0)
		control->exclusive = false;
	unlock_byte(control, CONTROL_OPEN);
	control->opening = false;
}

bool
control_last_writer(struct control *control, uint32_t timeout_ms)
{
	assert(control->writer);
	if (wait_for(try_open, control, deadline_of(timeout_ms),
		20 * 1000 * 1000) == 0 &&
	    lock_byte(control, CONTROL_WRITER, OS_LOCK_EXCLUSIVE) == 0)
		control->exclusive = true;
	if (control->exclusive)
		return true;
	/* Of two that close at once, the second one shall see this. */
	unlock_byte(control, CONTROL_WRITER);
	if (control->opening)
		unlock_byte(control, CONTROL_OPEN);
	control->opening = false;
	return false;
}

/* Turns. */

/* What one handle has at a time. */
enum gate { GATE_TURN, GATE_SYNC };

static int
try_turn_byte(struct control *control)
{
	return lock_byte(control, CONTROL_TURN, OS_LOCK_EXCLUSIVE);
}

static int
try_sync_byte(struct control *control)
{
	return lock_byte(control, CONTROL_SYNC, OS_LOCK_EXCLUSIVE);
}

static const struct {
	uint64_t mutex_off, byte;
	int (*try_byte)(struct control *control);
} gates[] = {
    [GATE_TURN] = {TURN_MUTEX_OFF, CONTROL_TURN, try_turn_byte},
    [GATE_SYNC] = {SYNC_MUTEX_OFF, CONTROL_SYNC, try_sync_byte},
};

/* 0; EOWNERDEAD: got it, and the last one that had it did not release it;
 * EAGAIN at the deadline; or another errno. */
static inline int
try_gate(struct control *control, enum gate gate, uint64_t until)
{
	if (LIKELY(control->turns == CONTROL_BY_MUTEX))
		return os->mutex_lock(
		    &control->map, gates[gate].mutex_off, until);
	return wait_for(gates[gate].try_byte, control, until, BYTE_PAUSE_NS);
}

/* The same, once that was tried in vain. */
static int
wait_at_gate(struct control *control, enum gate gate, uint64_t deadline)
{
	int rc;

	do {
		uint64_t now = os->ticks_ns();

		if (now >= deadline)
			return EAGAIN;
		if (gate == GATE_TURN)
			(void)control_store(
			    control, CONTROL_WANTED, control->byte);
		rc = try_gate(
		    control, gate, min_u64(deadline, now + WAIT_SLICE_NS));
	} while (rc == EAGAIN);
	if (control_load(control, CONTROL_WANTED) == control->byte)
		(void)control_store(control, CONTROL_WANTED, 0);
	return rc;
}

static enum kvlog_status
gate_failed(const struct control *control, enum gate gate, int rc,
    struct kvlog_error *err)
{
	const char *path = control->dir->path;
	/* While nobody has said that he has it, the last one is another. */
	uint64_t pid =
	    control_load(control, CONTROL_TURN_OF) != 0 ? last_pid(control) : 0;

	if (rc != EAGAIN)
		return err_sys(err, rc, "lock the control page of %s", path);
	if (gate == GATE_SYNC)
		return err_set(err, KVLOG_BUSY, 0,
		    "another process syncs %s and did not end it in time; what "
		    "was written is there, but not known to be durable: let "
		    "that process go on, or end it",
		    path);
	if (pid == 0)
		return err_set(err, KVLOG_BUSY, 0,
		    "another process has the turn to write to %s and did not "
		    "end it in time",
		    path);
	return err_set(err, KVLOG_BUSY, 0,
	    "process %" PRIu64
	    " has the turn to write to %s and did not end it in time",
	    pid, path);
}

/* *ret_dead: the last one to come in did not come out.  A handle that writes
 * alone finds every gate open. */
static inline enum kvlog_status
pass_gate(struct control *control, enum gate gate, uint64_t deadline,
    bool *ret_dead, struct kvlog_error *err)
{
	int rc;

	assert(control->byte != 0 && !control->passed[gate]);
	*ret_dead = false;
	if (control->exclusive)
		return KVLOG_OK;
	rc = try_gate(control, gate, 0);
	if (UNLIKELY(rc == EAGAIN))
		rc = wait_at_gate(control, gate, deadline);
	if (UNLIKELY(rc != 0 && rc != EOWNERDEAD))
		return gate_failed(control, gate, rc, err);
	control->passed[gate] = true;
	*ret_dead = rc == EOWNERDEAD;
	return KVLOG_OK;
}

static inline void
leave_gate(struct control *control, enum gate gate)
{
	if (!control->passed[gate])
		return;
	control->passed[gate] = false;
	if (LIKELY(control->turns == CONTROL_BY_MUTEX))
		os->mutex_unlock(&control->map, gates[gate].mutex_off);
	else
		unlock_byte(control, gates[gate].byte);
}

/* Of a handle that is closed within its turn; the word of the turn stays. */
static void
leave_all_gates(struct control *control)
{
	leave_gate(control, GATE_TURN);
	leave_gate(control, GATE_SYNC);
}

/* Before a turn: if somebody waits, and this handle has had enough turns since
 * he said so, let him have one. */
static void
let_others_go_first(struct control *control, uint64_t deadline)
{
	uint64_t now, end;

	if (control->exclusive)
		return;
	if (control_load(control, CONTROL_LAST_TURN_OF) != control->byte) {
		control->row = 0;
		return;
	}
	now = os->ticks_ns();
	if (control->row == 0)
		control->row_since = now;
	if (++control->row <= ROW_MAX && now - control->row_since < ROW_MAX_NS)
		return;
	if (now >= deadline)
		return;
	end = min_u64(deadline, now + HAND_OVER_NS);
	while (control_load(control, CONTROL_LAST_TURN_OF) == control->byte) {
		if (os->ticks_ns() >= end) {
			/* Those who do wait will say so again. */
			(void)control_store(control, CONTROL_WANTED, 0);
			break;
		}
		os->sleep_ns(10 * 1000);
	}
	control->row = 0;
}

/* Whether the handle with this byte has gone for good, all of its threads
 * included. */
static bool
has_gone(struct control *control, uint64_t byte, uint64_t deadline)
{
	uint64_t pause = 50 * 1000;

	while (os->is_locked(control->fd, LOCK_BASE + byte)) {
		uint64_t now = os->ticks_ns();

		if (now >= deadline)
			return false;
		os->sleep_ns(min_u64(pause, deadline - now));
		pause = min_u64(2 * pause, 1000 * 1000);
	}
	return true;
}

/* The word of the turn comes last: whoever it names, the others are of him. */
static int
note_turn(struct control *control)
{
	int rc = 0;

	if (control_load(control, CONTROL_LAST_TURN_OF) != control->byte)
		rc =
		    control_store(control, CONTROL_LAST_TURN_OF, control->byte);
	if (rc == 0 && control_load(control, CONTROL_PID) != control->pid)
		rc = control_store(control, CONTROL_PID, control->pid);
	return rc == 0 ? control_store(control, CONTROL_TURN_OF, control->byte)
		       : rc;
}

/* With the gate passed: judge what the one before has left, and say who it is
 * now. */
static enum kvlog_status
begin_turn(struct control *control, uint64_t deadline, bool *ret_died,
    struct kvlog_error *err)
{
	uint64_t former = control_load(control, CONTROL_TURN_OF);
	int rc;

	if (former != 0 && former != control->byte &&
	    !has_gone(control, former, deadline))
		return err_set(err, KVLOG_BUSY, 0,
		    "a thread of process %" PRIu64
		    " ended within its turn to write to %s; end that process",
		    control_load(control, CONTROL_PID), control->dir->path);
	rc = note_turn(control);
	if (rc != 0)
		return err_sys(err, rc, "write the control page of %s",
		    control->dir->path);
	*ret_died = former != 0;
	return KVLOG_OK;
}

enum kvlog_status
control_take_turn(struct control *control, uint64_t deadline, bool *ret_died,
    struct kvlog_error *err)
{
	bool dead, left = false;
	enum kvlog_status st;

	if (UNLIKELY(control_load(control, CONTROL_WANTED) != 0))
		let_others_go_first(control, deadline);
	st = pass_gate(control, GATE_TURN, deadline, &dead, err);
	if (st != KVLOG_OK)
		return st;
	st = begin_turn(control, deadline, &left, err);
	if (st == KVLOG_OK)
		*ret_died = dead || left;
	else
		leave_gate(control, GATE_TURN);
	return st;
}

void
control_release_turn(struct control *control)
{
	(void)control_store(control, CONTROL_TURN_OF, 0);
	leave_gate(control, GATE_TURN);
}

static uint64_t
ticks_ms(void)
{
	return os->ticks_ns() / 1000000;
}

/* The word of the owner comes last: whoever it names, the others are of him. */
int
control_set_owner(struct control *control, uint64_t ms, uint64_t now_ms)
{
	int rc = 0;

	if (ms == 0)
		return control_store(control, CONTROL_OWNER, 0);
	if (control_load(control, CONTROL_OWNER_PID) != control->pid)
		rc = control_store(control, CONTROL_OWNER_PID, control->pid);
	if (rc == 0 && control_load(control, CONTROL_OWNER_NOW) != now_ms)
		rc = control_store(control, CONTROL_OWNER_NOW, now_ms);
	return rc == 0
		   ? control_store(control, CONTROL_OWNER,
			 (ticks_ms() + ms) << OWNER_TIME_SHIFT | control->byte)
		   : rc;
}

bool
control_owner_ended(const struct control *control)
{
	const uint64_t word = control_load(control, CONTROL_OWNER);
	const uint64_t byte = word & OWNER_BYTE;

	return ticks_ms() >= word >> OWNER_TIME_SHIFT ||
	       (byte != control->byte &&
		   !os->is_locked(control->fd, LOCK_BASE + byte));
}

uint64_t
control_owner_now(const struct control *control)
{
	return control_is_owned(control)
		   ? control_load(control, CONTROL_OWNER_NOW)
		   : UINT64_MAX;
}

uint64_t
control_owner_pid(const struct control *control)
{
	uint64_t pid = control_load(control, CONTROL_OWNER_PID);

	return pid != control->pid ? pid : 0;
}

void
control_say_awaited(struct control *control)
{
	(void)control_store(control, CONTROL_AWAITED, ticks_ms());
}

bool
control_is_awaited(const struct control *control, uint64_t ms)
{
	const uint64_t since = control_load(control, CONTROL_AWAITED);

	return since != 0 && ticks_ms() - since <= ms;
}

enum kvlog_status
control_take_sync(struct control *control, uint64_t deadline,
    bool *ret_doubtful, struct kvlog_error *err)
{
	bool dead;
	enum kvlog_status st =
	    pass_gate(control, GATE_SYNC, deadline, &dead, err);

	/* Who died before it began, or after it ended, left no doubt. */
	if (st == KVLOG_OK)
		*ret_doubtful = control_load(control, CONTROL_SYNCING) != 0;
	return st;
}

void
control_release_sync(struct control *control)
{
	leave_gate(control, GATE_SYNC);
}

bool
control_try_maintainer(struct control *control)
{
	if (!control->maintainer)
		control->maintainer = lock_byte(control, CONTROL_MAINTAINER,
					  OS_LOCK_EXCLUSIVE) == 0;
	return control->maintainer;
}

void
control_drop_maintainer(struct control *control)
{
	if (control->maintainer)
		unlock_byte(control, CONTROL_MAINTAINER);
	control->maintainer = false;
}

bool
control_read(const struct control *control, struct control_state *ret_state)
{
	if (!page_fits(control))
		return false;
	ret_state->active_salt = control_load(control, CONTROL_ACTIVE_SALT);
	ret_state->position = control_load(control, CONTROL_POSITION);
	ret_state->durable = control_load(control, CONTROL_DURABLE);
	ret_state->generation = control_load(control, CONTROL_GENERATION);
	ret_state->intent = control_load(control, CONTROL_INTENT);
	ret_state->poison = control_load(control, CONTROL_POISON);
	ret_state->synced = control_load(control, CONTROL_SYNCED);
	ret_state->syncing = control_load(control, CONTROL_SYNCING);
	if (!is_of_this_boot(control)) {
		/* Where the log ended then, it may not end any more. */
		ret_state->active_salt = ret_state->position = 0;
		ret_state->intent = 0;
		ret_state->poison = 1;
	}
	return page_fits(control);
}

/* Nobody can be using them, as nobody else writes. */
static int
init_mutexes(struct control *control)
{
	int rc;

	if (control->turns != CONTROL_BY_MUTEX || !control->shared)
		return 0;
	rc = os->mutex_init(&control->map, TURN_MUTEX_OFF);
	return rc == 0 ? os->mutex_init(&control->map, SYNC_MUTEX_OFF) : rc;
}

enum kvlog_status
control_format(struct control *control, const struct control_state *state,
    struct kvlog_error *err)
{
	uint64_t nonce = 0, boot[2];
	int rc;

	assert(control->exclusive);
	memcpy(boot, control->boot_id, sizeof boot);
	rc = os_draw(&nonce);

	const struct {
		enum control_word word;
		uint64_t value;
	} stores[] = {
	    {CONTROL_VALID, PAGE_INVALID},
	    {CONTROL_TAG, tag_of(control)},
	    {CONTROL_BOOT, boot[0]},
	    {CONTROL_BOOT_2, boot[1]},
	    {CONTROL_DEV, control->dev},
	    {CONTROL_INO, control->ino},
	    {CONTROL_NONCE, nonce},
	    {CONTROL_POSITION, state->position},
	    {CONTROL_ACTIVE_SALT, state->active_salt},
	    {CONTROL_GENERATION, state->generation},
	    {CONTROL_DURABLE, state->durable},
	    {CONTROL_INTENT, state->intent},
	    {CONTROL_POISON, state->poison},
	    {CONTROL_SYNCED, state->synced},
	    {CONTROL_SYNCING, state->syncing},
	    {CONTROL_TURN_OF, 0},
	    {CONTROL_LAST_TURN_OF, control->byte},
	    {CONTROL_WANTED, 0},
	    {CONTROL_RESERVE, 0},
	    {CONTROL_PRESSURE, 0},
	    {CONTROL_OWNER, 0},
	    {CONTROL_OWNER_PID, 0},
	    {CONTROL_AWAITED, 0},
	    {CONTROL_OWNER_NOW, 0},
	    {CONTROL_VALID, PAGE_VALID},
	};
	if (rc == 0)
		rc = init_mutexes(control);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(stores); i++)
		rc = control_store(control, stores[i].word, stores[i].value);
	if (rc != 0)
		return err_sys(err, rc, "write the control page of %s",
		    control->dir->path);
	control->trusted = true;
	if (!has_boot_id(control))
		show_life(control, nonce);
	return KVLOG_OK;
}

enum kvlog_status
control_format_poisoned(struct control *control, uint64_t durable)
{
	struct control_state state = {.durable = durable,
	    .poison = 1,
	    .generation = control_generation(control) + 1};

	return control_format(control, &state, NULL);
}

int
control_set_active_salt(struct control *control, uint64_t salt)
{
	return control_store(control, CONTROL_ACTIVE_SALT, salt);
}

int
control_set_durable(struct control *control, uint64_t seq)
{
	return control_store(control, CONTROL_DURABLE, seq);
}

int
control_set_poison(struct control *control)
{
	return control_store(control, CONTROL_POISON, 1);
}

int
control_set_synced(struct control *control, uint64_t position)
{
	return control_store(control, CONTROL_SYNCED, position);
}

int
control_set_syncing(struct control *control, bool syncing)
{
	return control_store(
	    control, CONTROL_SYNCING, syncing ? control->byte : 0);
}

int
control_set_reserve_used(struct control *control, bool used)
{
	return control_store(control, CONTROL_RESERVE, used);
}

/* Bits of the word: 8 of milliseconds, 16 of a lock byte, 40 of a time. */
int
control_set_pressure(struct control *control, unsigned wait_ms)
{
	uint64_t until = ticks_ms() + CONTROL_PRESSURE_MS;

	assert(wait_ms <= CONTROL_PRESSURE_MAX);
	return control_store(control, CONTROL_PRESSURE,
	    wait_ms == 0
		? 0
		: until << 24 | (control->byte & 0xffff) << 8 | wait_ms);
}

unsigned
control_pressure(const struct control *control)
{
	uint64_t word = control_load(control, CONTROL_PRESSURE);
	uint64_t now, until = word >> 24;

	if (word == 0 || (word >> 8 & 0xffff) == control->byte)
		return 0;
	now = ticks_ms();
	if (until <= now || until - now > CONTROL_PRESSURE_MS)
		return 0;
	return (unsigned)min_u64(word & 0xff, CONTROL_PRESSURE_MAX);
}

int
control_next_generation(struct control *control)
{
	return control_store(control, CONTROL_GENERATION,
	    control_load(control, CONTROL_GENERATION) + 1);
}

int
control_set_closed(struct control *control)
{
	int rc;

	assert(control->exclusive);
	if (has_boot_id(control))
		return 0;
	rc = os->sync(control->fd);
	return rc == 0 ? control_store(control, CONTROL_VALID, PAGE_CLOSED)
		       : rc;
}

bool
control_read_note(const struct control *control, struct control_note *ret_note)
{
	const uint8_t *p;

	if (control->map.addr == NULL)
		return false;
	p = control->map.addr + NOTE_OFF;
	if (memcmp(p, NOTE_MAGIC, 8) != 0 ||
	    get_u32(p + 8) != sum_crc(p + 12, NOTE_SIZE - 12))
		return false;
	memcpy(ret_note->uuid, p + 16, 16);
	ret_note->segment = get_u32(p + 32);
	ret_note->salt = get_u64(p + 40);
	ret_note->end = get_u64(p + 48);
	ret_note->last_seq = get_u64(p + 56);
	return ret_note->last_seq <= RECORD_SEQ_MAX;
}

enum kvlog_status
control_write_note(struct control *control, const struct control_note *note,
    struct kvlog_error *err)
{
	uint8_t buf[NOTE_SIZE] = {0};
	int rc;

	memcpy(buf, NOTE_MAGIC, 8);
	memcpy(buf + 16, note->uuid, 16);
	put_u32(buf + 32, note->segment);
	put_u64(buf + 40, note->salt);
	put_u64(buf + 48, note->end);
	put_u64(buf + 56, note->last_seq);
	put_u32(buf + 8, sum_crc(buf + 12, NOTE_SIZE - 12));

	rc = os->store(&control->map, NOTE_OFF, buf, sizeof buf);
	if (rc != 0)
		return err_sys(
		    err, rc, "write the end note of %s", control->dir->path);
	return KVLOG_OK;
}
