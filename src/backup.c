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
#include "target.h"
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define TAIL_NAME "tail.tmp"
#define NEW_NAME "segment.tmp"
#define TRIES 100 /* each copies only what was replaced since the last */

struct backup {
	struct store *store;
	const struct kvlog_backup_options *options;
	struct kvlog_backup_report *report;

	struct target target;
	bool looked; /* at the earlier backup */
	struct capture capture;
	struct captured tail; /* what its tail became; end 0: nothing */
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
	    "%s was not completed; the next backup goes on with %s",
	    b->target.path, b->target.part_path);
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
			return has_file(&b->target.part.dir, &c->files[i]);
	for (size_t i = 0; i < c->cover.count && f->kind == FILE_HINT; i++) {
		char name[DIR_NAME_LEN];

		if (c->cover.hints[i] == NULL)
			continue;
		name_hint(c->cover.hints[i], name);
		if (strcmp(name, f->name) == 0)
			return has_hint(
			    b, &b->target.part.dir, c->cover.hints[i], name);
	}
	return false;
}

/* What earlier tries have left, and is of no use. */
static enum kvlog_status
remove_unwanted(struct backup *b, struct kvlog_error *err)
{
	struct dir *dir = &b->target.part.dir;
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

/* Whether a file of the new backup is the very one of the earlier backup. */
static bool
is_kept(const struct backup *b, const char *name)
{
	struct os_stat was, is;

	return b->target.earlier.locked &&
	       os->stat_name(b->target.earlier.dir.fd, name, &was) == 0 &&
	       os->stat_name(b->target.part.dir.fd, name, &is) == 0 &&
	       os_same_file(&was, &is);
}

/* Whether a file that is there may stay.  If nothing is to be shared, it has
 * no names but here and in the earlier backup, which goes. */
static bool
may_keep(const struct backup *b, const char *name)
{
	struct os_stat st;

	if (os->stat_name(b->target.part.dir.fd, name, &st) != 0)
		return false;
	return !wants(b, KVLOG_BACKUP_COPY) ||
	       st.link_count <= 1 + (uint64_t)is_kept(b, name);
}

/* From the earlier backup, if that has it. */
static bool
link_earlier(struct backup *b, const char *name)
{
	return os->link(b->target.earlier.dir.fd, name, b->target.part.dir.fd,
		   name) == 0 &&
	       may_keep(b, name);
}

static enum kvlog_status
bring(struct backup *b, const char *name, enum transfer_how *ret_how,
    bool *ret_gone, struct kvlog_error *err)
{
	const struct transfer t = {
	    .from = &b->store->dir,
	    .to = &b->target.part.dir,
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

	if (may_keep(b, f->name) ||
	    (b->target.earlier.locked && has_file(&b->target.earlier.dir, f) &&
		link_earlier(b, f->name))) {
		r->kept_count++;
		b->done += f->size;
		return KVLOG_OK;
	}
	st = bring(b, f->name, &how, ret_moved, err);
	if (st != KVLOG_OK || *ret_moved)
		return st;
	if (!has_file(&b->target.part.dir, f)) { /* the name is another one's */
		(void)os->unlink(b->target.part.dir.fd, f->name);
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
	if (may_keep(b, name) ||
	    (b->target.earlier.locked &&
		has_hint(b, &b->target.earlier.dir, hint, name) &&
		link_earlier(b, name)))
		return KVLOG_OK;
	if (!gone)
		st = bring(b, name, &how, &gone, err);
	if (st != KVLOG_OK || !gone)
		return st;
	return hint_write_as(hint, &b->target.part.dir, name, err);
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
	struct dir *dir = &b->target.part.dir;
	struct segment *output = NULL;
	struct segset *set;
	enum kvlog_status st;
	int rc;

	b->tail.end = 0;
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
		b->tail = (struct captured){
		    .id = output->header.id, .end = output->header.end};
		memcpy(b->tail.name, output->name, sizeof output->name);
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
	struct dir *dir = &b->target.part.dir;
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

static bool
was_damaged(const struct backup *b)
{
	struct os_stat st;

	return b->target.earlier.locked &&
	       os->stat_name(b->target.earlier.dir.fd, DIR_DAMAGED_NAME, &st) ==
		   0;
}

static enum kvlog_status
leave_note(struct backup *b, struct kvlog_error *err)
{
	struct dir *dir = &b->target.part.dir;
	int fd, rc = dir_create_file(dir, DIR_DAMAGED_NAME, &fd);

	if (rc != 0)
		return err_sys(
		    err, rc, "create %s/%s", dir->path, DIR_DAMAGED_NAME);
	os->close(fd);
	return dir_sync(dir, err);
}

static enum kvlog_status
verify_file(struct backup *b, const struct captured *f, struct kvlog_error *err)
{
	bool damaged;
	uint64_t off;
	enum kvlog_status st = transfer_verify(
	    &b->target.part.dir, f->name, &f->id, f->end, &damaged, &off, err);

	if (st != KVLOG_OK)
		return st;
	if (damaged)
		note_damage(b, f, off);
	b->report->verified_bytes += f->end;
	return KVLOG_OK;
}

/* What the earlier backup has was verified when it came there, and is not read
 * again unless some of it was damaged. */
static enum kvlog_status
verify_all(struct backup *b, bool again, struct kvlog_error *err)
{
	const struct capture *c = &b->capture;
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < c->count && st == KVLOG_OK; i++) {
		const struct captured *f = &c->files[i];

		if (again || !is_kept(b, f->name))
			st = verify_file(b, f, err);
		if (st == KVLOG_OK && !go_on(b, f->size))
			st = cancelled(b, err);
	}
	if (st == KVLOG_OK && b->tail.end > 0)
		st = verify_file(b, &b->tail, err);
	return st;
}

static enum kvlog_status
verify(struct backup *b, struct kvlog_error *err)
{
	const bool again = was_damaged(b);
	const bool wanted = !wants(b, KVLOG_BACKUP_NOVERIFY);
	enum kvlog_status st = KVLOG_OK;

	b->report->damaged_segments = 0;
	b->report->verified_bytes = 0;
	if (wanted)
		st = verify_all(b, again, err);
	if (st == KVLOG_OK &&
	    (b->report->damaged_segments > 0 || (again && !wanted)))
		st = leave_note(b, err);
	return st;
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
			st = target_open_earlier(&b->target, &b->capture, err);
		b->looked = b->looked || !moved;
		if (st == KVLOG_OK && !moved && !b->target.part.locked)
			st = target_open_part(&b->target, err);
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
	enum kvlog_status st = target_init(&b->target, path, err);

	if (st == KVLOG_OK)
		st = collect(b, err);
	if (st == KVLOG_OK)
		st = add_segment(b, err);
	if (st == KVLOG_OK)
		st = verify(b, err);
	if (st == KVLOG_OK)
		st = target_give_name(&b->target, err);
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
	    b->target.path, b->store->dir.path, b->report->damaged_segments);
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
	    .target.source = &db->dir,
	    .target.timeout_ms = options->timeout_ms,
	    .target.must_be_new = (options->flags & KVLOG_BACKUP_NEW) != 0,
	};
	enum kvlog_status st = make_backup(&b, path, err);

	target_fini(&b.target);
	capture_fini(&b.capture);
	return st;
}
