/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * simos.h - a simulated machine behind the table of os.h: disk, page cache,
 * locks, clock, random numbers and memory, in memory, for one thread, the
 * same in every run of a seed.
 *
 * METHOD.  Every file has two images.  The *cache* is what preads and
 * mappings see: all mappings of a file are the same buffer.  The *disk* is
 * what the last successful sync made durable.  Between them lies the
 * journal, one array for the whole machine in order of time, of what was
 * done since:
 *
 *     store  file, offset, bytes   never across a sector of 512 bytes: longer
 *                                  ones are several items
 *     size   file, allocated to / cut to / punched from
 *     name   directory, added / removed / renamed / exchanged
 *
 * A sync applies the file's stores and sizes to its disk image and takes them
 * out of the journal; it makes no name durable.  sync_dir does so with the
 * names of one directory, and makes no contents durable.
 *
 * A KILL (the victim stops at a step) ends a process: its descriptors, locks,
 * mappings and memory are gone; the cache and the journal stay.  A POWER LOSS
 * ends the machine: each journal item is kept or dropped, the disk images
 * with what was kept become the cache, and nothing is unsynced any more.  What
 * may be kept:
 *
 *   - of the stores into one sector, any prefix in time: the sector is one of
 *     its own versions since the last sync.  Different sectors know nothing of
 *     each other, so stores reorder between sectors and a long one tears;
 *   - of the sizes of one file, any prefix in time; bytes that were kept
 *     behind the size that was kept are gone, and bytes that were not kept
 *     below it read as before, that is zero where the file has grown;
 *   - of the names, any subset, applied in order; one that makes no sense
 *     without what was dropped before it is dropped too.
 *
 * enum simos_loss says which of these is taken.  On top of it TORN leaves one
 * store half done within its sector (the device read the page while it was
 * being filled), and GARBAGE gives one sector that was being written random
 * bytes, but not where the sector was synced and not written since.
 * GARBAGE_SECTOR spares nothing in that sector, which no log survives unharmed
 * if it shares the sector with older records: for tests of "no wrong value".
 *
 * A sync that is made to fail does as Linux does: a random part of the sectors
 * is marked clean though it never reached the disk.  The cache shows them, a
 * later sync succeeds without writing them, the next power loss takes them.
 * A later store into the same page (4096 bytes) makes them dirty again.
 * So it may be with the names of a directory, which the next change to one of
 * them makes dirty again.
 *
 * STEPS.  Every system call and every store into a mapping that the victim
 * (whatever runs inside simos_run()) makes is a numbered step.  The victim
 * can be stopped before any of them, and within a store or pwrite of more
 * than one byte.  Calls of memory and clocks are no steps, but are counted
 * and, where they can, fail like the others.  What is called outside of
 * simos_run() is another process: it has steps of no number, and outlives
 * the victim.
 *
 * USUAL LOOP.
 *	simos_init(seed);  make a store;  base = simos_save();
 *	for (step = 1;; step++) {
 *		simos_restore(base);
 *		simos_stop_at(step, 0);
 *		stopped = simos_run(script, arg);
 *		crash = simos_save();
 *		for each choice and seed {
 *			simos_restore(crash);
 *			simos_power_loss(choice, seed);
 *			reopen, compare with the model, close;
 *			assert(simos_leaks(stderr) == 0);
 *		}
 *		simos_state_free(crash);
 *		if (!stopped)
 *			break;
 *	}
 * A state costs what was touched in it: images are shared between states
 * until somebody writes.  Static variables outlive the victim, and simos frees
 * the memory that they point to: it empties the registry of open lock files
 * (registry.h), anything else is the test's to reset.
 *
 * BUGS ARE FATAL.  A store through a mapping that is read-only, unmapped,
 * out of bounds, of a file without any name or descriptor, or into a block
 * without disk space (SIGBUS on a full disk); a map beyond the file's end; a
 * mapped file grown; a slash in a name; a closed descriptor; a wrong free;
 * a mutex that was never made, or that another process has unlocked: each says
 *so on standard error and aborts.
 *
 * MUTEXES are locks of the machine, not bytes of the file: a store there does
 * not change them, and they are all gone when a state is restored, or after a
 * power loss.  A process that ends leaves the ones it has with a dead owner.
 */
#ifndef SIMOS_H
#define SIMOS_H

#include "os.h"

#include <stdio.h>

/*
 * Kinds of calls: name, text, whether it is a step, whether it changes what
 * a crash may leave (a stop before one that does not is the same, for the
 * disk, as a stop before the next one that does).
 */
#define SIMOS_KINDS(X)                                                         \
	X(MKDIR, "mkdir", true, true)                                          \
	X(OPEN_DIR, "open_dir", true, false)                                   \
	X(LIST, "list", true, false)                                           \
	X(SYNC_DIR, "sync_dir", true, true)                                    \
	X(SYNC_PARENT, "sync_parent", true, true)                              \
	X(FS_TYPE, "fs_type", true, false)                                     \
	X(OPEN, "open", true, false)                                           \
	X(CREATE, "create", true, true)                                        \
	X(RENAME, "rename", true, true)                                        \
	X(EXCHANGE, "exchange", true, true)                                    \
	X(LINK, "link", true, true)                                            \
	X(UNLINK, "unlink", true, true)                                        \
	X(RMDIR, "rmdir", true, true)                                          \
	X(STAT_NAME, "stat_name", true, false)                                 \
	X(CLOSE, "close", true, false)                                         \
	X(STAT, "stat", true, false)                                           \
	X(PREAD, "pread", true, false)                                         \
	X(PWRITE, "pwrite", true, true)                                        \
	X(ALLOCATE, "allocate", true, true)                                    \
	X(PUNCH, "punch", true, true)                                          \
	X(TRUNCATE, "truncate", true, true)                                    \
	X(CLONE, "clone", true, false)                                         \
	X(SYNC, "sync", true, true)                                            \
	X(MAP, "map", true, false)                                             \
	X(UNMAP, "unmap", true, false)                                         \
	X(PROTECT, "protect", true, false)                                     \
	X(ADVISE, "advise", true, false)                                       \
	X(STORE, "store", true, true)                                          \
	X(STORE_WORD, "store_word", true, true)                                \
	X(LOCK, "lock", true, false)                                           \
	X(MUTEX, "mutex", true, false)                                         \
	X(RANDOM, "random", true, false)                                       \
	X(SLEEP, "sleep", true, false)                                         \
	X(CLOCK, "clock", false, false)                                        \
	X(TICKS, "ticks", false, false)                                        \
	X(BOOT_ID, "boot_id", false, false)                                    \
	X(PID, "pid", false, false)                                            \
	X(THREAD, "thread", false, false)                                      \
	X(MALLOC, "malloc", false, false)

enum simos_kind {
#define SIMOS_KIND(name, text, is_step, changes) SIMOS_##name,
	SIMOS_KINDS(SIMOS_KIND)
#undef SIMOS_KIND
	    SIMOS_KIND_COUNT
};

/* What a power loss leaves of the journal. */
enum simos_loss {
	SIMOS_LOSS_ALL,            /* everything reached the disk */
	SIMOS_LOSS_NONE,           /* nothing that was not synced */
	SIMOS_LOSS_PREFIX,         /* the journal up to some item */
	SIMOS_LOSS_RANDOM,         /* anything that is possible */
	SIMOS_LOSS_TORN,           /* RANDOM, and one store half done */
	SIMOS_LOSS_GARBAGE,        /* RANDOM, and one unsynced place garbage */
	SIMOS_LOSS_GARBAGE_SECTOR, /* the same with a whole sector */
	SIMOS_LOSS_ONLY_NAMES,     /* all names, no contents, no sizes */
	SIMOS_LOSS_ONLY_DATA,      /* all contents and sizes, no names */
	SIMOS_LOSS_SUBSET,         /* the seed's one of simos_subsets() */
	SIMOS_LOSS_COUNT
};

/* Make a machine with an empty disk (one directory, "/", which is also the
 * working directory) and put it in place of the system. */
void simos_init(uint64_t seed);

/* Free it and put the system back. */
void simos_fini(void);

/* The victim. */

/* Run fn(arg) as the victim; true if it was stopped.  Steps and counts start
 * anew. */
bool simos_run(void (*fn)(void *arg), void *arg);

/*
 * Stop the next run when this step (1 is the first) is about to begin; 0:
 * never.  inside > 0 stops within the step, if it is a store or pwrite of
 * more than one byte (else before it): some bytes are done, others not.
 * Every inside chooses another place, always the same for the same seed and
 * step: odd ones at a multiple of 8 bytes where there is one, even ones at
 * any byte; for stores each fourth counts from the end, as a memcpy may run
 * backwards.
 */
void simos_stop_at(uint64_t step, unsigned inside);

/* Of the last run: whether it stopped within a step, how many steps it made
 * or began, and the kind of each of them, from 1. */
bool simos_stopped_inside(void);
uint64_t simos_steps(void);
enum simos_kind simos_step_kind(uint64_t step);

/* Calls of one kind, by all processes, since the last run began. */
uint64_t simos_count(enum simos_kind kind);

const char *simos_step_name(enum simos_kind kind);
bool simos_step_changes(enum simos_kind kind);

/* Print each call as it begins; NULL for silence. */
void simos_trace(FILE *stream);

/* End all processes now, as a stop ends the victim.  Memory is freed if the
 * victim allocated it. */
void simos_kill(void);

/* Free all memory, whoever allocated it: for a test that ended with a kill or
 * a power loss what it did outside of simos_run(). */
void simos_forget(void);

/* Count what is still open, mapped, locked or allocated, and print it unless
 * stream is NULL. */
uint64_t simos_leaks(FILE *stream);

/* The machine. */

/* End all processes and the machine; it comes up again with a new boot id.
 * The same seed takes the same choice of the same journal. */
void simos_power_loss(enum simos_loss choice, uint64_t seed);

/*
 * In how many ways a power loss can leave the journal: which version of each
 * sector and of each file's size, and whether each name, is there.  If that
 * is more than SIMOS_SUBSETS_MAX, only whether all versions or none are; 0 if
 * it is too many still.  SIMOS_LOSS_SUBSET goes through them all by the seeds
 * 0, 1, 2, ...; with too many, through some.
 */
#define SIMOS_SUBSETS_MAX 64
uint64_t simos_subsets(void);

/* Items in the journal; with none, all power losses are the same. */
uint64_t simos_pending(void);

/*
 * All of the machine but its processes: disk, cache, journal, clock, boot id,
 * capacity, and the random numbers that it will give.  A state stays as it is
 * until it is freed.  simos_restore() ends all processes, and takes armed
 * faults and stops away.
 */
struct simos_state;
struct simos_state *simos_save(void);
void simos_restore(const struct simos_state *state);
void simos_state_free(struct simos_state *state);

/* A hash of all names with contents, sizes and allocation, as they can be
 * seen now; after a power loss that is the disk.  Equal for equal trees,
 * however they came about. */
uint64_t simos_image_hash(void);

/* Make the nth call of a kind from now (1 is the next) return error, and with
 * sticky every one after it too.  A pwrite that fails may have written a
 * part; a malloc that fails returns NULL.  Kinds without a result, and stores
 * that are no pwrite, do not fail. */
void simos_fail(enum simos_kind kind, uint64_t nth, int error, bool sticky);
void simos_fail_clear(void);
/* Call struck each time one does; NULL: nobody. */
void simos_on_fault(void (*struck)(enum simos_kind kind));

/* Disk space for contents, in bytes; the rest gives ENOSPC.  Default: no
 * limit. */
void simos_set_capacity(uint64_t bytes);
uint64_t simos_used(void);

/* What fs_type says.  On OS_FS_COW every pwrite needs new space, so that
 * one of bytes that are allocated fails too when the disk is full. */
void simos_set_fs(enum os_fs fs);

/* Whether the machine has a boot id (it has) or gives zeros. */
void simos_set_boot_id(bool on);

/* The wall clock alone: time goes on as it did for who waits. */
void simos_set_clock_ms(uint64_t ms);
void simos_set_pid(uint32_t pid);

/* Watch for stores that go around os->store: with it on, files keep a second
 * image while they are mapped, which is compared at each sync, at the last
 * unmap and by simos_check_shadow(); a difference aborts.  Set it while
 * nothing is mapped. */
void simos_set_shadow(bool on);
void simos_check_shadow(void);

/* A file's contents as they can be seen now; false if there is no such file.
 * Valid until the next call of anything. */
bool simos_peek(
    const char *path, const uint8_t **ret_bytes, uint64_t *ret_size);

/* Bit rot: change bytes below the file's end, in cache and disk, leaving no
 * trace in the journal.  The file is not mapped. */
void simos_poke(const char *path, uint64_t off, const void *src, size_t len);

#endif
