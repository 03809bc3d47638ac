/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.c - where a backup goes: its directory, and what is beside it.
 *
 *     DIR            the earlier backup, or nothing
 *     DIR.part       the new one, until it is whole
 *     DIR.part.old   the earlier one, where names cannot trade places
 *
 * Each has a lock file from the first moment to the last, by which the next
 * backup knows what a stopped one has left; and each is locked for as long as
 * it is worked on.
 */
#include "config.h"

#include "target.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PART ".part"
#define ASIDE ".part.old"

/* Paths */

static char *
joined(const char *a, size_t a_len, const char *b)
{
	size_t b_len = strlen(b);
	char *text = os->malloc(a_len + b_len + 1);

	if (text != NULL) {
		memcpy(text, a, a_len);
		memcpy(text + a_len, b, b_len + 1);
	}
	return text;
}

static enum kvlog_status
open_parent(struct target *t, size_t parent_len, struct kvlog_error *err)
{
	char *parent = parent_len > 0 ? joined(t->path, parent_len, "")
				      : joined(".", 1, "");
	enum kvlog_status st = KVLOG_OK;
	int rc;

	if (parent == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "back up");
	rc = os->open_dir(parent, &t->parent_fd);
	if (rc != 0) {
		t->parent_fd = -1;
		st = err_sys(
		    err, rc, "open %s, where the backup is to be", parent);
	}
	os->free(parent);
	return st;
}

static enum kvlog_status
set_path(struct target *t, const char *path, struct kvlog_error *err)
{
	size_t len = strlen(path), at;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (at = len; at > 0 && path[at - 1] != '/'; at--)
		;
	t->path = joined(path, len, "");
	t->part_path = joined(path, len, PART);
	t->aside_path = joined(path, len, ASIDE);
	if (t->path == NULL || t->part_path == NULL || t->aside_path == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "back up");
	t->base = t->path + at;
	t->part_base = t->part_path + at;
	t->aside_base = t->aside_path + at;
	if (*t->base == '\0' || strcmp(t->base, ".") == 0 ||
	    strcmp(t->base, "..") == 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "%s has no name of its own; a backup is a new directory, "
		    "which gets its name when it is whole",
		    path);
	return open_parent(t, at, err);
}

/* Places */

static void
close_place(struct place *place)
{
	if (place->locked)
		control_close(&place->control);
	place->locked = false;
	dir_close(&place->dir);
}

/* What stands in a directory. */
struct contents {
	size_t count;
	bool lock, foreign;
	struct file last;       /* segment; kind is another if there is none */
	char odd[DIR_NAME_LEN]; /* the first name that is not a store's, or
				   else of all */
};

static enum kvlog_status
look_inside(struct dir *dir, struct contents *ret, struct kvlog_error *err)
{
	struct file_list list;
	enum kvlog_status st = dir_list(dir, &list, err);

	if (st != KVLOG_OK)
		return st;
	*ret = (struct contents){.count = list.count};
	ret->last.kind = FILE_FOREIGN;
	for (size_t i = 0; i < list.count; i++) {
		const struct file *f = &list.files[i];

		if (i == 0 || (f->kind == FILE_FOREIGN && !ret->foreign))
			memcpy(ret->odd, f->name, sizeof ret->odd);
		ret->lock = ret->lock || f->kind == FILE_LOCK;
		ret->foreign = ret->foreign || f->kind == FILE_FOREIGN;
		if (f->kind == FILE_SEGMENT)
			ret->last = *f; /* in order of numbers */
	}
	file_list_fini(&list);
	return KVLOG_OK;
}

/* What is made and removed is never what a link leads to. */
static enum kvlog_status
check_links(const struct target *t, struct kvlog_error *err)
{
	const char *const paths[] = {t->path, t->part_path, t->aside_path};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (os->is_symlink(
			t->parent_fd, paths[i] + (t->base - t->path)))
			return err_set(err, KVLOG_CONFLICT, 0,
			    i == 0 ? "%s is a symbolic link; name the "
				     "directory itself"
				   : "%s is in the way: it is a symbolic "
				     "link; remove it",
			    paths[i]);
	return KVLOG_OK;
}

/* Open a place that may be there, under the name that it has beside the
 * others; a link there was made since target_init(). */
static enum kvlog_status
open_place(const struct target *t, struct place *place, const char *path,
    unsigned mode, struct kvlog_error *err)
{
	enum kvlog_status st = dir_open(&place->dir, path, mode, err);

	return st == KVLOG_OK ? check_links(t, err) : st;
}

/* Nobody writes there, or will before the place is closed; and nobody ever
 * has, since it was made by a backup. */
static enum kvlog_status
lock_place(struct target *t, struct place *place, struct kvlog_error *err)
{
	bool sole;
	enum kvlog_status st =
	    control_open(&place->control, &place->dir, true, err);

	if (st != KVLOG_OK)
		return st;
	place->locked = true;
	st = control_lock_writer(
	    &place->control, &place->dir, false, t->timeout_ms, &sole, err);
	if (st == KVLOG_BUSY)
		return err_set(err, KVLOG_BUSY, 0,
		    "another backup is at work in %s, or it is open for "
		    "writing (waited %" PRIu32 " ms)",
		    place->dir.path, t->timeout_ms);
	if (st == KVLOG_OK && !control_is_blank(&place->control))
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s was opened for writing and may hold commits of its "
		    "own; back up into another directory",
		    place->dir.path);
	return st;
}

/* Whether the directory that was opened still has its name. */
static bool
is_named(const struct target *t, const struct place *place, const char *base)
{
	struct os_stat opened, named;

	return os->stat(place->dir.fd, &opened) == 0 &&
	       os->stat_name(t->parent_fd, base, &named) == 0 &&
	       os_same_file(&opened, &named);
}

/* What is found in a directory while another backup removes it, is its doing.
 */
static bool
was_replaced(const struct target *t, const struct place *place,
    const char *base, enum kvlog_status st)
{
	return place->dir.path != NULL && st != KVLOG_BUSY &&
	       !is_named(t, place, base);
}

static enum kvlog_status
made_meanwhile(const struct target *t, struct kvlog_error *err)
{
	return err_set(err, KVLOG_BUSY, 0,
	    "another backup into %s was made meanwhile; try again", t->path);
}

/* Where its files end, but the last one, which is the new one that it got: the
 * link says where that begins. */
static enum kvlog_status
knows_ends(const struct capture *c, struct place *place,
    const struct segment *newest, bool *ret_knows, struct kvlog_error *err)
{
	struct file_list list;
	struct log_end *ends;
	size_t count = 0;
	enum kvlog_status st = dir_list(&place->dir, &list, err);

	if (st != KVLOG_OK)
		return st;
	ends = os->calloc(list.count, sizeof *ends);
	for (size_t i = 0; i < list.count && ends != NULL; i++) {
		const struct file *f = &list.files[i];
		struct segment *seg;

		/* One that cannot be read says nothing. */
		if (f->kind != FILE_SEGMENT ||
		    f->id.last + 1 >= newest->header.id.first ||
		    segment_open_header(
			&place->dir, f->name, &f->id, &seg, NULL) != KVLOG_OK)
			continue;
		ends[count++] = (struct log_end){
		    .number = f->id.last,
		    .salt = segment_last_salt(seg),
		};
		segment_close(seg);
	}
	if (ends != NULL) {
		ends[count++] = (struct log_end){
		    .number = newest->header.id.first - 1,
		    .salt = newest->link.prev_salt,
		};
		*ret_knows =
		    capture_knows(c, ends, count, newest->link.prev_last_seq);
	}
	os->free(ends);
	file_list_fini(&list);
	return ends != NULL ? KVLOG_OK
			    : err_set(err, KVLOG_NOMEM, 0, "look through %s",
				  place->dir.path);
}

static enum kvlog_status
check_store(const struct target *t, const struct capture *c,
    struct place *place, const struct contents *in, struct kvlog_error *err)
{
	struct segment *seg;
	bool knows = false;
	enum kvlog_status st = segment_open_header(
	    &place->dir, in->last.name, &in->last.id, &seg, err);

	if (st != KVLOG_OK)
		return st;
	if (memcmp(seg->header.store.uuid, c->store.uuid,
		sizeof c->store.uuid) != 0)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is of another store (their UUIDs differ)",
		    place->dir.path);
	else if (seg->link_ok && seg->header.id.first > 1)
		st = knows_ends(c, place, seg, &knows, err);
	if (st == KVLOG_OK && !knows)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s goes up to commit %" PRIu64 ", which %s does not know: "
		    "it is not an earlier state of this store",
		    place->dir.path, seg->link_ok ? seg->link.prev_last_seq : 0,
		    t->source->path);
	segment_close(seg);
	return st;
}

/* Whether a directory that a backup needs is its own, as far as can be seen. */
static enum kvlog_status
check_ours(struct place *place, struct contents *ret, struct kvlog_error *err)
{
	enum kvlog_status st = look_inside(&place->dir, ret, err);

	if (st == KVLOG_OK && (ret->foreign || (ret->count > 0 && !ret->lock)))
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is in the way: it is not of a backup; remove it",
		    place->dir.path);
	return st;
}

/* Where it could not be opened. */
static enum kvlog_status
check_file_system(const struct place *place, struct kvlog_error *err)
{
	enum os_fs fs = OS_FS_PLAIN;
	int rc = os->fs_type(place->dir.fd, &fs);

	if (rc != 0)
		return err_sys(err, rc, "look at %s", place->dir.path);
	if (fs == OS_FS_NETWORK)
		return err_set(err, KVLOG_UNSUPPORTED, 0,
		    "%s is on a network file system, where no store can be "
		    "opened; back up to a local disk, and copy that",
		    place->dir.path);
	return KVLOG_OK;
}

/* If the last one was stopped between two renames; whatever else has that name
 * stays. */
static enum kvlog_status
bring_back(struct target *t, struct kvlog_error *err)
{
	struct place aside = {.locked = false};
	struct contents in = {0};
	enum kvlog_status st = open_place(t, &aside, t->aside_path, 0666, err);
	int rc = 0;

	if (st == KVLOG_NOSTORE)
		return KVLOG_OK;
	if (st == KVLOG_OK)
		st = check_ours(&aside, &in, err);
	if (st == KVLOG_OK && in.count > 0)
		rc = os->rename(t->parent_fd, t->aside_base, t->base);
	if (rc != 0)
		st = err_sys(err, rc, "rename %s", t->aside_path);
	close_place(&aside);
	return st;
}

/* Lock what has the backup's name already, unless there is nothing. */
static enum kvlog_status
take_earlier(struct target *t, const struct capture *c, struct kvlog_error *err)
{
	struct place *place = &t->earlier;
	struct contents in = {0};
	struct os_stat ours, theirs;
	enum kvlog_status st = look_inside(&place->dir, &in, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	if (in.count == 0) {
		dir_close(&place->dir); /* the rename takes its place */
		return KVLOG_OK;
	}
	rc = os->stat(place->dir.fd, &theirs);
	if (rc == 0)
		rc = os->stat(t->source->fd, &ours);
	if (rc != 0)
		return err_sys(err, rc, "look at %s", t->path);
	if (os_same_file(&ours, &theirs))
		return err_set(
		    err, KVLOG_CONFLICT, 0, "%s is the store itself", t->path);
	if (t->must_be_new)
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is there already, and is not empty", t->path);
	if (in.foreign || !in.lock || in.last.kind != FILE_SEGMENT)
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is not empty, and not a backup: it has %s; choose "
		    "another directory",
		    t->path, in.odd);
	st = lock_place(t, place, err);
	return st == KVLOG_OK ? check_store(t, c, place, &in, err) : st;
}

enum kvlog_status
target_open_earlier(
    struct target *t, const struct capture *c, struct kvlog_error *err)
{
	struct place *place = &t->earlier;
	enum kvlog_status st = open_place(t, place, t->path, 0666, err);

	if (st == KVLOG_NOSTORE) {
		st = bring_back(t, err);
		if (st != KVLOG_OK)
			return st;
		st = open_place(t, place, t->path, 0666, err);
		if (st == KVLOG_NOSTORE)
			return KVLOG_OK;
	}
	if (st == KVLOG_OK)
		st = take_earlier(t, c, err);
	return was_replaced(t, place, t->base, st) ? made_meanwhile(t, err)
						   : st;
}

/* Who may read a file of the store may read its like in the backup. */
static unsigned
file_mode(const struct target *t, unsigned dir_mode)
{
	struct os_stat st;

	if (os->stat_name(t->source->fd, DIR_LOCK_NAME, &st) == 0)
		return st.mode | 0600u;
	return (dir_mode & 0666u) | 0600u;
}

/* The lock file goes last: with it the next backup knows what is left for its
 * own.  Errors leave that to it. */
static void
remove_place(const struct target *t, struct dir *dir, const char *base)
{
	struct file_list list;
	int rc = 0;

	if (dir_list(dir, &list, NULL) != KVLOG_OK)
		return;
	for (size_t i = 0; i < list.count && rc == 0; i++)
		if (list.files[i].kind != FILE_LOCK)
			rc = os->unlink(dir->fd, list.files[i].name);
	file_list_fini(&list);
	if (rc == 0)
		rc = os->sync_dir(dir->fd);
	if (rc == 0)
		rc = os->unlink(dir->fd, DIR_LOCK_NAME);
	if (rc == 0 || rc == ENOENT)
		(void)os->rmdir(t->parent_fd, base);
}

/* Nobody else gives the backup its name while this one has the lock, but
 * somebody may have before. */
static enum kvlog_status
check_still_free(struct target *t, struct kvlog_error *err)
{
	struct place place = {.locked = false};
	struct contents in = {0};
	enum kvlog_status st = open_place(t, &place, t->path, 0666, err);

	if (st == KVLOG_NOSTORE)
		return KVLOG_OK;
	if (st == KVLOG_OK)
		st = look_inside(&place.dir, &in, err);
	close_place(&place);
	if (st == KVLOG_OK && in.lock) {
		remove_place(t, &t->part.dir, t->part_base);
		st = made_meanwhile(t, err);
	}
	return st;
}

static enum kvlog_status
take_part(struct target *t, struct kvlog_error *err)
{
	struct place *place = &t->part;
	struct contents in = {0};
	enum kvlog_status st = check_file_system(place, err);

	if (st == KVLOG_OK)
		st = check_ours(place, &in, err);
	if (st != KVLOG_OK)
		return st;
	/* Another backup may be at it.  The name comes before all others, or
	 * what a power loss leaves would not be known for ours. */
	if (!in.lock)
		st = control_create(&place->dir, err);
	if (st == KVLOG_OK && !in.lock)
		st = dir_sync(&place->dir, err);
	if (st == KVLOG_OK || st == KVLOG_CONFLICT)
		st = lock_place(t, place, err);
	return st;
}

enum kvlog_status
target_open_part(struct target *t, struct kvlog_error *err)
{
	struct place *place = &t->part;
	struct os_stat dir;
	enum kvlog_status st;
	int rc = os->stat(t->source->fd, &dir);

	if (rc == 0)
		rc = os->mkdir(t->part_path, dir.mode | 0700u);
	if (rc != 0 && rc != EEXIST)
		return err_sys(err, rc, "create directory %s", t->part_path);
	st = open_place(t, place, t->part_path, file_mode(t, dir.mode), err);
	if (st == KVLOG_NOSTORE)
		return made_meanwhile(t, err);
	if (st == KVLOG_OK)
		st = take_part(t, err);
	if (was_replaced(t, place, t->part_base, st))
		return made_meanwhile(t, err);
	if (st == KVLOG_OK && !t->earlier.locked)
		st = check_still_free(t, err);
	return st;
}

/* The new one in the place of the earlier one */

static enum kvlog_status
name_failed(const struct target *t, int rc, struct kvlog_error *err)
{
	switch (rc) {
	case EEXIST:
	case ENOTEMPTY:
	case ENOTDIR:
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is there now; the backup stays in %s", t->path,
		    t->part_path);
	default:
		return err_sys(
		    err, rc, "rename %s to %s", t->part_path, t->path);
	}
}

/* What a backup that was stopped did not get to. */
static enum kvlog_status
clear_aside(struct target *t, struct kvlog_error *err)
{
	struct place place = {.locked = false};
	struct contents in = {0};
	enum kvlog_status st = open_place(t, &place, t->aside_path, 0666, err);

	if (st == KVLOG_NOSTORE)
		return KVLOG_OK;
	if (st == KVLOG_OK)
		st = check_ours(&place, &in, err);
	if (st == KVLOG_OK && in.lock)
		st = lock_place(t, &place, err);
	if (st == KVLOG_OK)
		remove_place(t, &place.dir, t->aside_base);
	close_place(&place);
	return st;
}

/* Where names cannot trade places there is none of that name for a moment; if
 * it ends there, target_open_earlier() sees to it. */
static enum kvlog_status
replace_in_two_steps(struct target *t, struct kvlog_error *err)
{
	enum kvlog_status st = clear_aside(t, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	rc = os->rename(t->parent_fd, t->base, t->aside_base);
	if (rc == 0)
		rc = os->rename(t->parent_fd, t->part_base, t->base);
	return rc == 0 ? KVLOG_OK : name_failed(t, rc, err);
}

static enum kvlog_status
take_place(struct target *t, const char **ret_old, struct kvlog_error *err)
{
	int rc;

	*ret_old = t->part_base;
	if (!t->earlier.locked) {
		rc = os->rename(t->parent_fd, t->part_base, t->base);
	} else {
		rc = os->exchange(t->parent_fd, t->part_base, t->base);
		if (rc == EOPNOTSUPP) {
			*ret_old = t->aside_base;
			return replace_in_two_steps(t, err);
		}
	}
	return rc == 0 ? KVLOG_OK : name_failed(t, rc, err);
}

enum kvlog_status
target_give_name(struct target *t, struct kvlog_error *err)
{
	const char *old;
	enum kvlog_status st = take_place(t, &old, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	rc = os->sync_dir(t->parent_fd);
	if (rc != 0)
		return err_sys(err, rc, "sync the directory of %s", t->path);
	if (t->earlier.locked)
		remove_place(t, &t->earlier.dir, old);
	return KVLOG_OK;
}

/* Such a directory keeps its place. */
static enum kvlog_status
check_mount(const struct target *t, struct kvlog_error *err)
{
	struct os_stat above, here;
	int rc = os->stat_name(t->parent_fd, t->base, &here);

	if (rc == 0)
		rc = os->stat(t->parent_fd, &above);
	if (rc == 0 && above.dev != here.dev && here.is_dir)
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is a mount point; name a directory inside of it",
		    t->path);
	return rc == 0 || rc == ENOENT
		   ? KVLOG_OK
		   : err_sys(err, rc, "look at %s", t->path);
}

enum kvlog_status
target_init(struct target *t, const char *path, struct kvlog_error *err)
{
	bool inside = false;
	enum kvlog_status st;

	t->parent_fd = -1;
	st = set_path(t, path, err);
	if (st == KVLOG_OK)
		st = check_links(t, err);
	if (st == KVLOG_OK)
		st = check_mount(t, err);
	if (st == KVLOG_OK)
		st = dir_is_inside(t->source, t->path, &inside, err);
	if (st == KVLOG_OK && inside)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is inside of %s; back up into another place", t->path,
		    t->source->path);
	return st;
}

void
target_fini(struct target *t)
{
	close_place(&t->part);
	close_place(&t->earlier);
	if (t->parent_fd >= 0)
		os->close(t->parent_fd);
	os->free(t->path);
	os->free(t->part_path);
	os->free(t->aside_path);
}
