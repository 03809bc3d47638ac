/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hintset.h - the hints of an open store: which of them serve, what they
 * cover, and how many small ones become one.
 *
 * Of every segment the hints cover the records from its first one up to
 * segment->hinted_to, each place once; a hint may cover several segments.
 * What lies behind is for the keydir, or for images in memory.
 *
 * Threads: hint_list_get() at any time; changes exclude each other by a lock
 * of the set's own.
 */
#ifndef HINTSET_H
#define HINTSET_H

#include "base.h"
#include "dir.h"
#include "epoch.h"
#include "hint.h"
#include "segset.h"

#include <pthread.h>

/* Hints in the order of the log, the newest last.  Does not change. */
struct hint_list {
	_Atomic uint32_t refs;
	struct epoch_node node;
	size_t count;
	struct hint *hints[];
};

struct hintset {
	struct segset *set; /* not owned */
	struct epoch *epoch;
	_Atomic(struct hint_list *) list;
	pthread_mutex_t lock; /* one change at a time */
	/* Under the lock: the first damaged record that was met when a damaged
	 * hint was replaced. */
	struct hint_damage hurt;
	/* Hints are verified as a whole before they are chosen: whoever reads
	 * all of them anyway can so do without a damaged one, and the records
	 * are surveyed instead. */
	bool verify;
	/* Merging many hints takes seconds.  Called now and then meanwhile,
	 * to do what cannot wait; false: leave it, all is as it was.  May be
	 * NULL. */
	bool (*go_on)(void *arg);
	void *go_on_arg;
};

enum kvlog_status hintset_init(
    struct hintset *hints, struct segset *set, struct kvlog_error *err);
void hintset_fini(struct hintset *hints); /* all zeros is fine */

/*
 * Choose among the hint files in a listing those that serve, now that the
 * ends of the segments are known.  Forgets what was chosen before.  Sets
 * hinted_to and hinted_seq of the segments.  *ret_gone (may be NULL): a file
 * of the listing is there no more, perhaps because it was merged into another.
 */
enum kvlog_status hintset_collect(struct hintset *hints, struct dir *dir,
    const struct file_list *files, bool *ret_gone, struct kvlog_error *err);

/* Whether a file of this name serves. */
bool hintset_uses(struct hintset *hints, const char *name);

/* The number of hints, and of entries in all of them. */
size_t hintset_count(struct hintset *hints);
uint64_t hintset_entries(struct hintset *hints);

/* The hints as they are now, held until hint_list_put(). */
struct hint_list *hint_list_get(struct hintset *hints);
void hint_list_put(struct hint_list *list); /* NULL is fine */

/* Note that records are damaged, and what was noted. */
void hintset_note_hurt(
    struct hintset *hints, const struct segment *seg, uint64_t off);
struct hint_damage hintset_hurt(struct hintset *hints);

/*
 * Add a hint of one segment that begins at the segment's hinted_to; its
 * reference becomes the set's, or is dropped on KVLOG_NOMEM.
 */
enum kvlog_status hintset_add(struct hintset *hints, struct hint *hint);

/*
 * Take in hint files that another process has made since: those that cover more
 * than what is chosen, or as much as several of it, and nothing of it in part.
 * The set must stand still.
 */
void hintset_adopt(struct hintset *hints, struct dir *dir);

/* Open a hint file that is not in the list, if it is sound, as far as that is
 * looked at, and of segments of the set; NULL: it is of no use. */
struct hint *hintset_open(
    struct hintset *hints, struct dir *dir, const char *name);

/*
 * Segments of the set were replaced: do without the hints that speak of those,
 * and take in others, if they fit; all of these are sound and bound.  Keeps
 * their references.  whole: what was covered, and what is new, is covered
 * afterwards, by images in memory if need be.  On failure (KVLOG_NOMEM,
 * _CORRUPT) the hints are as before.  The set must stand still.
 */
enum kvlog_status hintset_exchange(struct hintset *hints,
    struct hint *const *more, size_t count, bool whole,
    struct kvlog_error *err);

/*
 * Write to a file an image that stands in the list, if there is one all of
 * whose commits are attested durable up to this number; false if not.
 */
bool hintset_store_image(
    struct hintset *hints, struct dir *dir, uint64_t attested);

/* Put an image in memory in the place of a hint that was found damaged; of
 * records that are damaged too the image does not know. */
enum kvlog_status hintset_mend(
    struct hintset *hints, const struct hint *damaged, struct kvlog_error *err);

/*
 * If neighbouring hint files are due to become one, so that there are always
 * few, merge them; false if none were.  At most so many entries.
 */
bool hintset_merge_step(
    struct hintset *hints, struct dir *dir, uint64_t entries_max);

/*
 * Hints that cover exactly the segments set->segments[first .. stop), the
 * last one up to end: those of the set where they fit, and images in memory
 * for the rest.  hintset_cover() notes which, while the set stands still;
 * hint_cover_build() then makes the images, which takes time.  around: of
 * damaged records the images do not know, but a merge of them tells; else
 * KVLOG_CORRUPT.
 */
struct hint_cover {
	struct hint **hints;      /* NULL: an image of ... */
	struct hint_source *gaps; /* ... this */
	size_t count;
};
enum kvlog_status hintset_cover(struct hintset *hints, size_t first,
    size_t stop, uint64_t end, struct hint_cover *ret_cover,
    struct kvlog_error *err);
/* The same of the whole set as it is. */
enum kvlog_status hintset_cover_all(struct hintset *hints,
    struct hint_cover *ret_cover, struct kvlog_error *err);
enum kvlog_status hint_cover_build(
    struct hint_cover *cover, bool around, struct kvlog_error *err);
void hint_cover_fini(struct hint_cover *cover);

#endif
