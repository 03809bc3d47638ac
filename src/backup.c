/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backup.c - a copy of an open store.
 *
 *     DIR.part   being made: lock file, files of the store, a new segment
 *     DIR        the earlier backup, or nothing
 *
 * Everything is put together in DIR.part, synced, and then given DIR's name:
 * by a rename or, if there is an earlier backup, by an exchange of the two
 * names, after which DIR.part is removed.  So a crash leaves under DIR what
 * was there or the new backup, whole; and what has come into DIR.part is
 * there for the next try.
 *
 * Files are known by salt and set id, never by name.  What the earlier backup
 * has is linked from there; the rest is linked, cloned or copied from the
 * store (transfer.h).  What is not sealed (capture.h) becomes a copy record by
 * record, of the form that repair.c makes.  A new segment of a new range seals
 * what is shared, so nobody stores into that.
 *
 * The lock file of a backup is blank: a writer that opens it says durably that
 * it has done so, and then it is a store of its own, which no later backup
 * replaces.
 */
#include "config.h"

#include "backup.h"

#include "capture.h"
#include "repair.h"
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PART ".part"
#define ASIDE ".part.old" /* of the earlier one, where names cannot trade */
#define TAIL_NAME "tail.tmp"
#define NEW_NAME "segment.tmp"
#define TRIES 100 /* each copies only what was replaced since the last */

/* A directory that nobody else writes to. */
struct place {
	struct dir dir;
	struct control control;
	bool locked;
};

struct backup {
	struct store *store;
	const struct kvlog_backup_options *options;
	struct kvlog_backup_report *report;

	char *path, *part_path, *aside_path;       /* owned */
	const char *base, *part_base, *aside_base; /* their last names */
	int parent_fd;
	struct place part;
	bool looked;
	struct place earlier; /* once looked: not locked, there is none */

	struct capture capture;
	uint64_t done, total; /* of progress */
};

static bool
wants(const struct backup *b, unsigned flag)
{
	return (b->options->flags & flag) != 0;
}

static bool
go_on(void *arg, uint64_t bytes)
{
	struct backup *b = arg;

	b->done += bytes;
	return b->options->progress == NULL ||
	       b->options->progress(
		   b->options->arg, b->done, max_u64(b->done, b->total));
}

static enum kvlog_status
cancelled(const struct backup *b, struct kvlog_error *err)
{
	return err_set(err, KVLOG_CANCELLED, 0,
	    "%s was not completed; the next backup goes on with %s", b->path,
	    b->part_path);
}

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
open_parent(struct backup *b, size_t parent_len, struct kvlog_error *err)
{
	char *parent = parent_len > 0 ? joined(b->path, parent_len, "")
				      : joined(".", 1, "");
	enum kvlog_status st = KVLOG_OK;
	int rc;

	if (parent == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "back up");
	rc = os->open_dir(parent, &b->parent_fd);
	if (rc != 0) {
		b->parent_fd = -1;
		st = err_sys(
		    err, rc, "open %s, where the backup is to be", parent);
	}
	os->free(parent);
	return st;
}

static enum kvlog_status
split_path(struct backup *b, const char *path, struct kvlog_error *err)
{
	size_t len = strlen(path), at;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (at = len; at > 0 && path[at - 1] != '/'; at--)
		;
	b->path = joined(path, len, "");
	b->part_path = joined(path, len, PART);
	b->aside_path = joined(path, len, ASIDE);
	if (b->path == NULL || b->part_path == NULL || b->aside_path == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "back up");
	b->base = b->path + at;
	b->part_base = b->part_path + at;
	b->aside_base = b->aside_path + at;
	if (*b->base == '\0' || strcmp(b->base, ".") == 0 ||
	    strcmp(b->base, "..") == 0)
		return err_set(err, KVLOG_INVAL, 0,
		    "%s has no name of its own; a backup is a new directory, "
		    "which gets its name when it is whole",
		    path);
	return open_parent(b, at, err);
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
	struct file last; /* segment; kind is another if there is none */
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

		ret->lock = ret->lock || f->kind == FILE_LOCK;
		ret->foreign = ret->foreign || f->kind == FILE_FOREIGN;
		if (f->kind == FILE_SEGMENT)
			ret->last = *f; /* in order of numbers */
	}
	file_list_fini(&list);
	return KVLOG_OK;
}

/* Nobody writes there, or will before the place is closed; and nobody ever
 * has, since it was made by a backup. */
static enum kvlog_status
lock_place(struct backup *b, struct place *place, struct kvlog_error *err)
{
	bool sole;
	enum kvlog_status st =
	    control_open(&place->control, &place->dir, true, err);

	if (st != KVLOG_OK)
		return st;
	place->locked = true;
	st = control_lock_writer(&place->control, &place->dir, false,
	    b->options->timeout_ms, &sole, err);
	if (st == KVLOG_OK && !control_is_blank(&place->control))
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s was opened for writing and may hold commits of its "
		    "own; back up into another directory",
		    place->dir.path);
	return st;
}

/* Its last segment is the new one that it got: the link says where it ends. */
static enum kvlog_status
check_store(const struct backup *b, struct place *place,
    const struct contents *in, struct kvlog_error *err)
{
	struct segment *seg;
	enum kvlog_status st = segment_open_header(
	    &place->dir, in->last.name, &in->last.id, &seg, err);

	if (st != KVLOG_OK)
		return st;
	if (memcmp(seg->header.store.uuid, b->capture.store.uuid,
		sizeof b->capture.store.uuid) != 0)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is of another store (their UUIDs differ)",
		    place->dir.path);
	else if (!seg->link_ok ||
		 !capture_knows(
		     &b->capture, seg->link.prev_salt, seg->link.prev_last_seq))
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s goes up to commit %" PRIu64 ", which %s does not know: "
		    "it is not an earlier state of this store",
		    place->dir.path, seg->link_ok ? seg->link.prev_last_seq : 0,
		    b->store->dir.path);
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

/* What has the backup's name already. */
static enum kvlog_status
open_earlier(struct backup *b, struct kvlog_error *err)
{
	struct place *place = &b->earlier;
	struct contents in = {0};
	struct os_stat ours, theirs;
	enum kvlog_status st = dir_open(&place->dir, b->path, 0666, err);
	int rc;

	if (st == KVLOG_NOSTORE) {
		/* If the last one was stopped between two renames. */
		rc = os->rename(b->parent_fd, b->aside_base, b->base);
		if (rc == ENOENT)
			return KVLOG_OK;
		st = rc == 0 ? dir_open(&place->dir, b->path, 0666, err)
			     : err_sys(err, rc, "rename %s", b->aside_path);
	}
	if (st == KVLOG_OK)
		st = look_inside(&place->dir, &in, err);
	if (st != KVLOG_OK)
		return st;
	if (in.count == 0) {
		dir_close(&place->dir); /* the rename takes its place */
		return KVLOG_OK;
	}
	rc = os->stat(place->dir.fd, &theirs);
	if (rc == 0)
		rc = os->stat(b->store->dir.fd, &ours);
	if (rc != 0)
		return err_sys(err, rc, "look at %s", b->path);
	if (ours.dev == theirs.dev && ours.ino == theirs.ino)
		return err_set(
		    err, KVLOG_CONFLICT, 0, "%s is the store itself", b->path);
	if (wants(b, KVLOG_BACKUP_NEW))
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is there already, and is not empty", b->path);
	if (in.foreign || !in.lock || in.last.kind != FILE_SEGMENT)
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is not empty, and not a backup; choose another "
		    "directory",
		    b->path);
	st = lock_place(b, place, err);
	return st == KVLOG_OK ? check_store(b, place, &in, err) : st;
}

/* Who may read a file of the store may read its like in the backup. */
static unsigned
file_mode(const struct backup *b, unsigned dir_mode)
{
	struct os_stat st;

	if (os->stat_name(b->store->dir.fd, DIR_LOCK_NAME, &st) == 0)
		return st.mode | 0600u;
	return (dir_mode & 0666u) | 0600u;
}

/* Whether the directory that was opened still has its name. */
static bool
is_named(const struct backup *b)
{
	struct os_stat opened, named;

	return os->stat(b->part.dir.fd, &opened) == 0 &&
	       os->stat_name(b->parent_fd, b->part_base, &named) == 0 &&
	       opened.dev == named.dev && opened.ino == named.ino;
}

static enum kvlog_status
open_part(struct backup *b, struct kvlog_error *err)
{
	struct place *place = &b->part;
	struct contents in = {0};
	struct os_stat dir;
	enum kvlog_status st;
	int rc = os->stat(b->store->dir.fd, &dir);

	if (rc == 0)
		rc = os->mkdir(b->part_path, dir.mode | 0700u);
	if (rc != 0 && rc != EEXIST)
		return err_sys(err, rc, "create directory %s", b->part_path);
	st = dir_open(&place->dir, b->part_path, file_mode(b, dir.mode), err);
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
		st = lock_place(b, place, err);
	if (st == KVLOG_OK && !is_named(b))
		st = err_set(err, KVLOG_BUSY, 0,
		    "another backup into %s was made meanwhile; try again",
		    b->path);
	return st;
}

/* Files */

/* Whether the directory has the file, whatever its name says. */
static bool
has_file(struct dir *dir, const struct captured *f)
{
	struct segment *seg;
	bool same;

	if (segment_open_header(dir, f->name, &f->id, &seg, NULL) != KVLOG_OK)
		return false;
	same = seg->header.salt == f->salt && seg->header.set_id == f->set_id;
	segment_close(seg);
	return same;
}

/* A hint says in its header of which segments it is. */
static bool
has_hint(const struct backup *b, struct dir *dir, const struct hint *hint,
    const char *name)
{
	struct hint *there = hint_open(dir, name, &b->capture.store);
	bool same = there != NULL && there->len == hint->len &&
		    there->blocks_off == hint->blocks_off &&
		    memcmp(there->data, hint->data, hint->blocks_off) == 0;

	hint_unref(there);
	return same;
}

static void
name_hint(const struct hint *hint, char name[DIR_NAME_LEN])
{
	if (hint->name[0] != '\0')
		memcpy(name, hint->name, sizeof hint->name);
	else
		hint_make_name(name, hint->sources, hint->source_count);
}

/* Whether a file belongs into the backup, and is there. */
static bool
is_wanted(struct backup *b, const struct file *f)
{
	const struct capture *c = &b->capture;

	if (f->kind == FILE_LOCK)
		return true;
	for (size_t i = 0; i < c->count && f->kind == FILE_SEGMENT; i++)
		if (strcmp(c->files[i].name, f->name) == 0)
			return has_file(&b->part.dir, &c->files[i]);
	for (size_t i = 0; i < c->cover.count && f->kind == FILE_HINT; i++) {
		char name[DIR_NAME_LEN];

		if (c->cover.hints[i] == NULL)
			continue;
		name_hint(c->cover.hints[i], name);
		if (strcmp(name, f->name) == 0)
			return has_hint(
			    b, &b->part.dir, c->cover.hints[i], name);
	}
	return false;
}

/* What earlier tries have left, and is of no use. */
static enum kvlog_status
remove_unwanted(struct backup *b, struct kvlog_error *err)
{
	struct dir *dir = &b->part.dir;
	struct file_list list;
	enum kvlog_status st = dir_list(dir, &list, err);
	int rc = 0;

	if (st != KVLOG_OK)
		return st;
	for (size_t i = 0; i < list.count && rc == 0; i++)
		if (!is_wanted(b, &list.files[i]))
			rc = os->unlink(dir->fd, list.files[i].name);
	file_list_fini(&list);
	return rc == 0 ? KVLOG_OK
		       : err_sys(err, rc, "remove leftovers in %s", dir->path);
}

static bool
is_there(const struct dir *dir, const char *name)
{
	struct os_stat st;

	return os->stat_name(dir->fd, name, &st) == 0;
}

/* From the earlier backup, if that has it. */
static bool
link_earlier(struct backup *b, const char *name)
{
	return os->link(b->earlier.dir.fd, name, b->part.dir.fd, name) == 0;
}

static enum kvlog_status
bring(struct backup *b, const char *name, enum transfer_how *ret_how,
    bool *ret_gone, struct kvlog_error *err)
{
	const struct transfer t = {
	    .from = &b->store->dir,
	    .to = &b->part.dir,
	    .copy_only = wants(b, KVLOG_BACKUP_COPY),
	    .sync_linked = !b->store->writable,
	    .go_on = go_on,
	    .arg = b,
	};

	return transfer_file(&t, name, ret_how, ret_gone, err);
}

static enum kvlog_status
bring_file(struct backup *b, const struct captured *f, bool *ret_moved,
    struct kvlog_error *err)
{
	struct kvlog_backup_report *r = b->report;
	enum transfer_how how = TRANSFER_LINKED;
	enum kvlog_status st;

	if (is_there(&b->part.dir, f->name) ||
	    (b->earlier.locked && has_file(&b->earlier.dir, f) &&
		link_earlier(b, f->name))) {
		r->kept_count++;
		b->done += f->size;
		return KVLOG_OK;
	}
	st = bring(b, f->name, &how, ret_moved, err);
	if (st != KVLOG_OK || *ret_moved)
		return st;
	if (!has_file(&b->part.dir, f)) { /* the name is another one's */
		(void)os->unlink(b->part.dir.fd, f->name);
		*ret_moved = true;
		return KVLOG_OK;
	}
	switch (how) {
	case TRANSFER_LINKED:
		r->linked_count++;
		break;
	case TRANSFER_CLONED:
		r->cloned_count++;
		break;
	case TRANSFER_COPIED:
		r->copied_count++;
		r->copied_bytes += f->size;
		return KVLOG_OK;
	}
	return go_on(b, f->size) ? KVLOG_OK : cancelled(b, err);
}

/* One that has no file, or was merged into another meanwhile, is in memory. */
static enum kvlog_status
bring_hint(struct backup *b, struct hint *hint, struct kvlog_error *err)
{
	enum transfer_how how;
	enum kvlog_status st = KVLOG_OK;
	char name[DIR_NAME_LEN];
	bool gone;

	if (hint == NULL)
		return KVLOG_OK;
	gone = hint->name[0] == '\0';
	name_hint(hint, name);
	if (is_there(&b->part.dir, name) ||
	    (b->earlier.locked && has_hint(b, &b->earlier.dir, hint, name) &&
		link_earlier(b, name)))
		return KVLOG_OK;
	if (!gone)
		st = bring(b, name, &how, &gone, err);
	if (st != KVLOG_OK || !gone)
		return st;
	return hint_write_as(hint, &b->part.dir, name, err);
}

static void
measure(struct backup *b)
{
	const struct capture *c = &b->capture;

	b->done = b->total = 0;
	for (size_t i = 0; i < c->count; i++)
		b->total += c->files[i].size;
	if (!wants(b, KVLOG_BACKUP_NOVERIFY))
		b->total *= 2;
	b->report->kept_count = b->report->linked_count = 0;
	b->report->cloned_count = b->report->copied_count = 0;
}

static enum kvlog_status
bring_all(struct backup *b, bool *ret_moved, struct kvlog_error *err)
{
	const struct capture *c = &b->capture;
	enum kvlog_status st = remove_unwanted(b, err);

	measure(b);
	for (size_t i = 0; i < c->count && st == KVLOG_OK && !*ret_moved; i++)
		st = bring_file(b, &c->files[i], ret_moved, err);
	for (size_t i = 0; i < c->cover.count && st == KVLOG_OK && !*ret_moved;
	     i++)
		st = bring_hint(b, c->cover.hints[i], err);
	return st;
}

/* Records */

/* Whether an opened segment is the one that was captured. */
static enum kvlog_status
check_tail(const struct segment *seg, const struct captured *f,
    struct kvlog_error *err)
{
	if (seg->header.salt != f->salt || seg->head_unreadable ||
	    (!seg->link_ok && f->id.first > 1))
		return err_set_at(err, KVLOG_IO, f->id.last, 0,
		    "the first block of %s could not be read; try again, or "
		    "see to the disk",
		    f->name);
	return KVLOG_OK;
}

static enum kvlog_status
open_tail(struct backup *b, struct segset *set, bool *ret_moved,
    struct kvlog_error *err)
{
	const struct capture *c = &b->capture;
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < c->tail_count && st == KVLOG_OK; i++) {
		const struct captured *f = &c->files[c->count + i];
		struct kvlog_error failure = {0};
		struct segment *seg;

		st = segment_open_header(
		    &b->store->dir, f->name, &f->id, &seg, &failure);
		*ret_moved = st != KVLOG_OK && failure.sys_errno == ENOENT;
		if (*ret_moved)
			return KVLOG_OK;
		if (st != KVLOG_OK) {
			*err = failure;
			return st;
		}
		atomic_store(&seg->end, f->end);
		st = check_tail(seg, f, err);
		if (st == KVLOG_OK)
			st = segset_add(set, seg, err);
		if (st != KVLOG_OK)
			segment_close(seg);
	}
	return st;
}

static uint32_t
next_round(const struct capture *c)
{
	uint32_t round = 0;

	for (size_t i = 0; i < c->count; i++)
		if (c->files[i].id.round > round)
			round = c->files[i].id.round;
	return round + 1;
}

/* What is not sealed, as a file of its own. */
static enum kvlog_status
copy_tail(struct backup *b, bool *ret_moved, struct kvlog_error *err)
{
	struct dir *dir = &b->part.dir;
	struct segment *output = NULL;
	struct segset *set;
	enum kvlog_status st;
	int rc;

	if (b->capture.tail_count == 0)
		return KVLOG_OK;
	set = segset_create();
	if (set == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "copy records");
	st = open_tail(b, set, ret_moved, err);
	if (st == KVLOG_OK && !*ret_moved)
		st = repair_copy_tail(dir, set, 0, next_round(&b->capture),
		    b->capture.last_seq, TAIL_NAME, &output, err);
	if (output != NULL) {
		rc = os->sync(output->fd);
		if (rc == 0)
			rc = segment_take_name(output, dir);
		if (rc != 0)
			st = err_sys(
			    err, rc, "write %s/%s", dir->path, output->name);
		else
			b->report->copied_bytes += output->header.size;
		b->report->copied_count++;
		segment_close(output);
	}
	segset_destroy(set);
	return st;
}

/* A mark that says that nothing is missing behind it. */
static int
store_mark(const struct segment *seg, uint64_t last_seq)
{
	uint8_t buf[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	const struct record mark = {
	    .type = RECORD_MARK,
	    .flags = RECORD_CLEAN,
	    .seq = last_seq,
	    .lag = record_lag(last_seq, last_seq),
	    .size = record_size(RECORD_CLEAN, 0, 0),
	};
	unsigned len =
	    record_encode(buf, &mark, segment_seed(seg, SEGMENT_DATA_OFF));

	return os->store(&seg->map, SEGMENT_DATA_OFF, buf, len);
}

/* The backup's own segment, behind all others: it is small, as whoever opens
 * the backup for writing begins another one. */
static enum kvlog_status
add_segment(struct backup *b, struct kvlog_error *err)
{
	const struct capture *c = &b->capture;
	struct dir *dir = &b->part.dir;
	const struct segment_plan plan = {
	    .name = NEW_NAME,
	    .store = &c->store,
	    .number = capture_last(c) + 1,
	    .max_size = c->max_size,
	    .need = record_size(RECORD_CLEAN, 0, 0),
	};
	struct segment *seg;
	enum kvlog_status st;
	int rc;

	if (c->link.first_seq > RECORD_SEQ_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "%s: no sequence numbers are left; dump the store into a "
		    "new one",
		    b->store->dir.path);
	st = repair_new_segment(dir, &plan, &seg, NULL, err);
	if (st != KVLOG_OK)
		return st;
	rc = store_mark(seg, c->last_seq);
	if (rc == 0)
		rc = repair_publish(dir, seg, &c->link);
	if (rc != 0)
		st = err_sys(err, rc, "create %s/%s", dir->path, seg->name);
	segment_close(seg);
	return st;
}

/* Verification */

static void
note_damage(struct backup *b, const struct captured *f, uint64_t off)
{
	struct kvlog_backup_report *r = b->report;

	if (r->damaged_segments++ > 0)
		return;
	r->damaged_segment = f->id.last;
	r->damaged_offset = off;
}

/* What the earlier backup has was verified when it came there. */
static enum kvlog_status
verify_all(struct backup *b, struct kvlog_error *err)
{
	const struct capture *c = &b->capture;

	b->report->damaged_segments = 0;
	b->report->verified_bytes = 0;
	for (size_t i = 0; i < c->count && !wants(b, KVLOG_BACKUP_NOVERIFY);
	     i++) {
		const struct captured *f = &c->files[i];
		bool damaged;
		uint64_t off;
		enum kvlog_status st;

		if (!b->earlier.locked || !has_file(&b->earlier.dir, f)) {
			st = transfer_verify(&b->part.dir, f->name, &f->id,
			    f->end, &damaged, &off, err);
			if (st != KVLOG_OK)
				return st;
			if (damaged)
				note_damage(b, f, off);
			b->report->verified_bytes += f->end;
		}
		if (!go_on(b, f->size))
			return cancelled(b, err);
	}
	return KVLOG_OK;
}

/* The new one in the place of the earlier one */

static enum kvlog_status
name_failed(const struct backup *b, int rc, struct kvlog_error *err)
{
	switch (rc) {
	case EEXIST:
	case ENOTEMPTY:
	case ENOTDIR:
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is there now; the backup stays in %s", b->path,
		    b->part_path);
	case ELOOP:
		return err_set(err, KVLOG_CONFLICT, 0,
		    "%s is a symbolic link; name the directory itself",
		    b->path);
	default:
		return err_sys(
		    err, rc, "rename %s to %s", b->part_path, b->path);
	}
}

/* The lock file goes last: with it the next backup knows what is left for its
 * own.  Errors leave that to it. */
static void
remove_place(const struct backup *b, struct dir *dir, const char *base)
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
		(void)os->rmdir(b->parent_fd, base);
}

/* What a backup that was stopped did not get to. */
static enum kvlog_status
clear_aside(struct backup *b, struct kvlog_error *err)
{
	struct place place = {.locked = false};
	struct contents in = {0};
	enum kvlog_status st = dir_open(&place.dir, b->aside_path, 0666, err);

	if (st == KVLOG_NOSTORE)
		return KVLOG_OK;
	if (st == KVLOG_OK)
		st = check_ours(&place, &in, err);
	if (st == KVLOG_OK && in.lock)
		st = lock_place(b, &place, err);
	if (st == KVLOG_OK)
		remove_place(b, &place.dir, b->aside_base);
	close_place(&place);
	return st;
}

/* Where names cannot trade places there is none of that name for a moment; if
 * it ends there, open_earlier() sees to it. */
static enum kvlog_status
replace_in_two_steps(struct backup *b, struct kvlog_error *err)
{
	enum kvlog_status st = clear_aside(b, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	rc = os->rename(b->parent_fd, b->base, b->aside_base);
	if (rc == 0)
		rc = os->rename(b->parent_fd, b->part_base, b->base);
	return rc == 0 ? KVLOG_OK : name_failed(b, rc, err);
}

static enum kvlog_status
take_place(struct backup *b, const char **ret_old, struct kvlog_error *err)
{
	int rc;

	*ret_old = b->part_base;
	if (!b->earlier.locked) {
		rc = os->rename(b->parent_fd, b->part_base, b->base);
	} else {
		rc = os->exchange(b->parent_fd, b->part_base, b->base);
		if (rc == EOPNOTSUPP) {
			*ret_old = b->aside_base;
			return replace_in_two_steps(b, err);
		}
	}
	return rc == 0 ? KVLOG_OK : name_failed(b, rc, err);
}

static enum kvlog_status
give_name(struct backup *b, struct kvlog_error *err)
{
	const char *old;
	enum kvlog_status st = take_place(b, &old, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	rc = os->sync_dir(b->parent_fd);
	if (rc != 0)
		return err_sys(err, rc, "sync the directory of %s", b->path);
	if (b->earlier.locked)
		remove_place(b, &b->earlier.dir, old);
	return KVLOG_OK;
}

/* All together */

/* As often as files are replaced meanwhile. */
static enum kvlog_status
collect(struct backup *b, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;
	bool moved = true;

	for (unsigned i = 0; i < TRIES && moved && st == KVLOG_OK; i++) {
		capture_fini(&b->capture);
		moved = false;
		st = capture_make(b->store, &b->capture, &moved, err);
		if (st == KVLOG_OK && !moved && !b->looked)
			st = open_earlier(b, err);
		b->looked = b->looked || !moved;
		if (st == KVLOG_OK && !moved && !b->part.locked)
			st = open_part(b, err);
		if (st == KVLOG_OK && !moved)
			st = bring_all(b, &moved, err);
		if (st == KVLOG_OK && !moved)
			st = copy_tail(b, &moved, err);
	}
	if (st == KVLOG_OK && moved)
		st = err_set(err, KVLOG_BUSY, 0,
		    "the files of %s change faster than they can be copied; "
		    "try again",
		    b->store->dir.path);
	return st;
}

static enum kvlog_status
make_backup(struct backup *b, const char *path, struct kvlog_error *err)
{
	bool inside = false;
	enum kvlog_status st = split_path(b, path, err);

	if (st == KVLOG_OK)
		st = dir_is_inside(b->store->dir.path, b->path, &inside, err);
	if (st == KVLOG_OK && inside)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is inside of %s; back up into another place", b->path,
		    b->store->dir.path);
	if (st == KVLOG_OK)
		st = collect(b, err);
	if (st == KVLOG_OK)
		st = add_segment(b, err);
	if (st == KVLOG_OK)
		st = verify_all(b, err);
	if (st == KVLOG_OK)
		st = give_name(b, err);
	if (st != KVLOG_OK)
		return st;
	b->report->last_seq = b->capture.last_seq;
	b->report->segment_count = b->capture.count + 1;
	b->report->segment_count += b->capture.tail_count > 0;
	if (b->report->damaged_segments == 0)
		return KVLOG_OK;
	return err_set_at(err, KVLOG_CORRUPT, b->report->damaged_segment,
	    b->report->damaged_offset,
	    "%s holds all of %s, but %" PRIu32 " of its segments are damaged, "
	    "as the store's are; kvlog-verify says more",
	    b->path, b->store->dir.path, b->report->damaged_segments);
}

enum kvlog_status
backup_store(struct store *db, const char *path,
    const struct kvlog_backup_options *options,
    struct kvlog_backup_report *report, struct kvlog_error *err)
{
	struct backup b = {
	    .store = db,
	    .options = options,
	    .report = report,
	    .parent_fd = -1,
	};
	enum kvlog_status st = make_backup(&b, path, err);

	close_place(&b.part);
	close_place(&b.earlier);
	capture_fini(&b.capture);
	if (b.parent_fd >= 0)
		os->close(b.parent_fd);
	os->free(b.path);
	os->free(b.part_path);
	os->free(b.aside_path);
	return st;
}
