/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c - lock bytes, control page, end note.
 *
 *     0            4096          8192
 *     +------------+-------------+
 *     |control page| end note    |      kvlog.lock
 *     +------------+-------------+
 *
 * The page, in words of 64 bits of the machine's own byte order:
 *
 *     0 tag    1 valid    2-3 boot id    4-5 device and inode of the file
 *     6 nonce of the opening    7 position    8 active salt
 *     9 generation    10 durable    11 intent    12 poison
 *     13 pid of the last writer   14 its start    15 position synced
 *     16 a sync is under way
 *
 * The tag is the layout's version and the machine's word size, so that a
 * library that lays the page out otherwise takes it for stale.  The validity
 * word is cleared first and set last: a page half written is not valid.
 * Position and active salt are two words; while a rollover is between them
 * the salt does not fit the position's segment, and a reader that sees this
 * takes the page for stale or looks again.
 *
 * Where the system has no boot id, a page that another process left behind
 * could be of an earlier boot, its log gone from the page cache since.  So it
 * is believed in two cases alone.  One is that its writer lives: it holds a
 * lock on a byte whose number is the page's nonce, and locks outlive no boot.
 * The other is that it says "closed", which a handle stores when all of the
 * log is durable and so are the other words.  Who opens for writing takes this
 * back, durably, before anything else changes: a page that says "closed" is
 * true in every boot.  After a kill the page is stale.
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

/* Layout 2, 64-bit words, a known byte order when read natively. */
#define TAG (UINT64_C(0x6b766c6f67430000) | 0x0200u | 8u)

/* Processes share the words without a lock. */
static_assert(ATOMIC_LLONG_LOCK_FREE != 0, "needs atomic 64-bit words");

/* The validity word. */
#define PAGE_INVALID 0u
#define PAGE_VALID 1u
#define PAGE_CLOSED 2u /* without a boot id: valid in every boot */

enum word {
	WORD_TAG,
	WORD_VALID,
	WORD_BOOT,
	WORD_BOOT_2,
	WORD_DEV,
	WORD_INO,
	WORD_NONCE,
	WORD_POSITION,
	WORD_ACTIVE_SALT,
	WORD_GENERATION,
	WORD_DURABLE,
	WORD_INTENT,
	WORD_POISON,
	WORD_PID,
	WORD_START,
	WORD_SYNCED,
	WORD_SYNCING,
};

/* Lock bytes lie here; offset by the byte's number. */
#define LOCK_BASE (UINT64_C(1) << 30)

static uint64_t
load_word(const struct control *control, enum word w)
{
	const _Atomic uint64_t *p;

	p = (const _Atomic uint64_t *)(const void *)(control->map.addr +
						     8 * (size_t)w);
	return atomic_load_explicit(p, memory_order_acquire);
}

static int
store_word(struct control *control, enum word w, uint64_t value)
{
	return os->store_word(&control->map, 8 * (uint64_t)w, value);
}

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
	rc = os->map(control->fd, FILE_SIZE, control->writable, fs == OS_FS_COW,
	    &control->map);
	if (rc == 0 && !control->writable)
		os->advise(&control->map, 0, FILE_SIZE, OS_ADVICE_DENSE);
	return rc;
}

static int
open_lock_file(struct control *control, struct dir *dir)
{
	return os->open(dir->fd, DIR_LOCK_NAME,
	    control->writable ? OS_OPEN_WRITE : OS_OPEN_READ, 0, &control->fd);
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
	control->fd = -1;
	control->writable = writable;
	os->boot_id(control->boot_id);

	rc = open_lock_file(control, dir);
	if (rc == ENOENT && writable) {
		/* A copy without it: the segments are all that counts, so a
		 * new one serves, or the one that another writer made. */
		enum kvlog_status st = control_create(dir, err);

		if (st != KVLOG_OK && st != KVLOG_CONFLICT)
			return st;
		rc = open_lock_file(control, dir);
	}
	if (rc != 0) {
		control->fd = -1;
		if (rc == ENOENT && !writable)
			return KVLOG_OK;
		if ((rc == EACCES || rc == ENXIO) && !writable)
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

static void
unlock_byte(struct control *control, enum control_byte byte)
{
	os->try_lock(control->fd, LOCK_BASE + byte, OS_LOCK_NONE);
}

/* The byte that the writer of a page with this nonce locks: far behind the
 * others, and nobody else's. */
static uint64_t
nonce_byte(uint64_t nonce)
{
	return UINT64_C(1) << 60 | nonce >> 4;
}

/* Without a boot id: let others see that the writer of the page with this
 * nonce lives, or with 0 that none does. */
static void
show_life(struct control *control, uint64_t nonce)
{
	uint64_t old = registry_nonce(control->registered);

	if (old != 0)
		os->try_lock(control->fd, nonce_byte(old), OS_LOCK_NONE);
	registry_set_nonce(control->registered, nonce);
	if (nonce != 0)
		(void)os->try_lock(
		    control->fd, nonce_byte(nonce), OS_LOCK_EXCLUSIVE);
}

void
control_close(struct control *control)
{
	os->unmap(&control->map);
	if (control->writer) {
		/* Closing may have to wait for other handles; unlocking not. */
		control_opened(control);
		show_life(control, 0);
		unlock_byte(control, CONTROL_WRITER);
		registry_drop_writer(control->registered);
		control->writer = false;
	}
	if (control->registered != NULL)
		registry_leave(control->registered); /* closes fd */
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
		if ((i / 8 == WORD_POSITION || i / 8 == WORD_DURABLE ||
			i >= NOTE_OFF) &&
		    control->map.addr[i] != 0)
			return false;
	return true;
}

static int
try_writer(struct control *control)
{
	int rc;

	if (!registry_claim_writer(control->registered))
		return EAGAIN;
	rc = os->try_lock(
	    control->fd, LOCK_BASE + CONTROL_WRITER, OS_LOCK_EXCLUSIVE);
	if (rc != 0)
		registry_drop_writer(control->registered);
	return rc;
}

static int
try_open(struct control *control)
{
	return os->try_lock(
	    control->fd, LOCK_BASE + CONTROL_OPEN, OS_LOCK_EXCLUSIVE);
}

/* Wait for a lock until the deadline; 0, EAGAIN, or another errno. */
static int
wait_for(int (*try_lock)(struct control *), struct control *control,
    uint64_t deadline)
{
	uint64_t pause = 100 * 1000; /* ns */

	for (;;) {
		uint64_t now;
		int rc = try_lock(control);

		if (rc != EAGAIN)
			return rc;
		now = os->ticks_ns();
		if (now >= deadline)
			return EAGAIN;
		os->sleep_ns(min_u64(pause, deadline - now));
		pause = min_u64(2 * pause, 20 * 1000 * 1000);
	}
}

static enum kvlog_status
lock_failed(const struct control *control, const struct dir *dir, int rc,
    uint32_t timeout_ms, struct kvlog_error *err)
{
	uint64_t pid;

	if (rc != EAGAIN)
		return err_sys(err, rc, "lock %s/%s", dir->path, DIR_LOCK_NAME);
	pid = load_word(control, WORD_PID);
	if (pid == os->pid())
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
	    "%s is open for writing by process %" PRIu64 " (waited %" PRIu32
	    " ms)",
	    dir->path, pid, timeout_ms);
}

static bool
nonce_lives(const struct control *control)
{
	uint64_t nonce = load_word(control, WORD_NONCE);

	return (nonce != 0 && registry_nonce(control->registered) == nonce) ||
	       os->is_locked(control->fd, nonce_byte(nonce));
}

/* Whether what the page says of the present is of this boot for certain. */
static bool
is_of_this_boot(const struct control *control)
{
	return has_boot_id(control) || control->trusted ||
	       load_word(control, WORD_VALID) == PAGE_CLOSED ||
	       nonce_lives(control);
}

/* The parts of the page that say whether the rest can be believed. */
static bool
page_fits(const struct control *control)
{
	uint64_t valid;

	if (control->map.addr == NULL || load_word(control, WORD_TAG) != TAG ||
	    memcmp(control->map.addr + 8 * WORD_BOOT, control->boot_id, 16) !=
		0 ||
	    load_word(control, WORD_DEV) != control->dev ||
	    load_word(control, WORD_INO) != control->ino)
		return false;
	valid = load_word(control, WORD_VALID);
	if (has_boot_id(control) || control->trusted)
		return valid == PAGE_VALID;
	/* One more thing is believed for ever: that a sync failed, or may
	 * have.  That costs a copy too many at worst. */
	return valid == PAGE_CLOSED ||
	       (valid == PAGE_VALID &&
		   (load_word(control, WORD_POISON) != 0 ||
		       load_word(control, WORD_SYNCING) != 0 ||
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
	uint64_t valid = load_word(control, WORD_VALID);
	int rc;

	if (has_boot_id(control))
		return 0;
	if (valid == PAGE_CLOSED) {
		control->trusted = true;
		valid = PAGE_VALID;
	}
	rc = store_word(control, WORD_VALID, valid);
	return rc == 0 ? os->sync(control->fd) : rc;
}

enum kvlog_status
control_lock_writer(struct control *control, struct dir *dir,
    uint32_t timeout_ms, struct kvlog_error *err)
{
	uint64_t deadline = os->ticks_ns() + timeout_ms * UINT64_C(1000000);
	int rc;

	assert(control->writable);
	rc = wait_for(try_writer, control, deadline);
	if (rc != 0)
		return lock_failed(control, dir, rc, timeout_ms, err);
	rc = wait_for(try_open, control, deadline);
	if (rc != 0) {
		unlock_byte(control, CONTROL_WRITER);
		registry_drop_writer(control->registered);
		return lock_failed(control, dir, rc, timeout_ms, err);
	}
	control->writer = true;
	rc = reopen_page(control);
	if (rc != 0)
		return err_sys(
		    err, rc, "write %s/%s", dir->path, DIR_LOCK_NAME);
	/* Who holds it; only for the messages of others. */
	(void)store_word(control, WORD_PID, os->pid());
	(void)store_word(control, WORD_START, os->clock_ms());
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
control_writer_lives(const struct control *control)
{
	return control->fd >= 0 &&
	       (registry_has_writer(control->registered) ||
		   os->is_locked(control->fd, LOCK_BASE + CONTROL_WRITER));
}

void
control_opened(struct control *control)
{
	unlock_byte(control, CONTROL_OPEN);
}

bool
control_read(const struct control *control, struct control_state *ret_state)
{
	if (!page_fits(control))
		return false;
	ret_state->active_salt = load_word(control, WORD_ACTIVE_SALT);
	ret_state->position = load_word(control, WORD_POSITION);
	ret_state->durable = load_word(control, WORD_DURABLE);
	ret_state->generation = load_word(control, WORD_GENERATION);
	ret_state->intent = load_word(control, WORD_INTENT);
	ret_state->poison = load_word(control, WORD_POISON);
	ret_state->synced = load_word(control, WORD_SYNCED);
	ret_state->syncing = load_word(control, WORD_SYNCING);
	if (!is_of_this_boot(control)) {
		/* Where the log ended then, it may not end any more. */
		ret_state->active_salt = ret_state->position = 0;
		ret_state->intent = 0;
		ret_state->poison = 1;
	}
	return page_fits(control);
}

enum kvlog_status
control_format(struct control *control, const struct control_state *state,
    struct kvlog_error *err)
{
	uint64_t nonce = 0, boot[2];
	int rc;

	assert(control->writer);
	memcpy(boot, control->boot_id, sizeof boot);
	rc = os_draw(&nonce);

	const struct {
		enum word word;
		uint64_t value;
	} stores[] = {
	    {WORD_VALID, PAGE_INVALID},
	    {WORD_TAG, TAG},
	    {WORD_BOOT, boot[0]},
	    {WORD_BOOT_2, boot[1]},
	    {WORD_DEV, control->dev},
	    {WORD_INO, control->ino},
	    {WORD_NONCE, nonce},
	    {WORD_POSITION, state->position},
	    {WORD_ACTIVE_SALT, state->active_salt},
	    {WORD_GENERATION, state->generation},
	    {WORD_DURABLE, state->durable},
	    {WORD_INTENT, state->intent},
	    {WORD_POISON, state->poison},
	    {WORD_SYNCED, state->synced},
	    {WORD_SYNCING, state->syncing},
	    {WORD_VALID, PAGE_VALID},
	};
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(stores); i++)
		rc = store_word(control, stores[i].word, stores[i].value);
	if (rc != 0)
		return err_sys(err, rc, "write the control page");
	control->trusted = true;
	if (!has_boot_id(control))
		show_life(control, nonce);
	return KVLOG_OK;
}

enum kvlog_status
control_format_poisoned(struct control *control, uint64_t durable)
{
	struct control_state state = {.durable = durable, .poison = 1};
	struct control_state old;

	if (control_read(control, &old))
		state.generation = old.generation + 1;
	return control_format(control, &state, NULL);
}

int
control_set_position(struct control *control, uint64_t position)
{
	return store_word(control, WORD_POSITION, position);
}

int
control_set_active_salt(struct control *control, uint64_t salt)
{
	return store_word(control, WORD_ACTIVE_SALT, salt);
}

int
control_set_durable(struct control *control, uint64_t seq)
{
	return store_word(control, WORD_DURABLE, seq);
}

int
control_set_intent(struct control *control, uint64_t end)
{
	return store_word(control, WORD_INTENT, end);
}

int
control_set_poison(struct control *control)
{
	return store_word(control, WORD_POISON, 1);
}

int
control_set_synced(struct control *control, uint64_t position)
{
	return store_word(control, WORD_SYNCED, position);
}

int
control_set_syncing(struct control *control, bool syncing)
{
	return store_word(control, WORD_SYNCING, syncing);
}

int
control_next_generation(struct control *control)
{
	return store_word(
	    control, WORD_GENERATION, load_word(control, WORD_GENERATION) + 1);
}

int
control_set_closed(struct control *control)
{
	int rc;

	assert(control->writer);
	if (has_boot_id(control))
		return 0;
	rc = os->sync(control->fd);
	return rc == 0 ? store_word(control, WORD_VALID, PAGE_CLOSED) : rc;
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
		return err_sys(err, rc, "write the end note");
	return KVLOG_OK;
}
