/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * repair.c - what a writer does about what recover.c found, and the making of
 * segments out of free space or the reserve.
 *
 * Order: sync what is kept and the directory; remove what is not live, and
 * sync the directory again; make the new segment with its link, sync it, name
 * it, sync the directory.  Stopped anywhere, the next opening finds the same
 * log and does the same again.
 *
 * After a failed sync in the same boot the kernel may take pages for clean
 * that never reached the disk, so syncing the same files again would prove
 * nothing.  Then every record from the first segment that is not wholly
 * durable up to the last is copied, as it is and in order, into one new file
 * that stands for all of them; naming it replaces them in one step.
 *
 * A process that was killed between a sync that failed and the word that says
 * so leaves a doubt: the page says that a sync was under way.  Then the bytes
 * that no sync has covered are stored once more where they are: pages that the
 * kernel took for clean are dirty again, and the next sync writes them.
 */
#include "config.h"

#include "repair.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SEGMENT_SIZE_START (UINT64_C(1) << 20)
/* What part of all a segment is. */
#define PARTS 16u
#define SMALL_PARTS 40u
#define NEW_NAME "segment.tmp"
#define REWRITE_NAME "rewrite.tmp"

uint64_t
repair_segment_size(const struct segset *set, uint64_t max_size, bool small)
{
	uint64_t size = max_u64(SEGMENT_SIZE_START,
	    segset_bytes(set) / (small ? SMALL_PARTS : PARTS));

	return round_up(min_u64(size, max_size), BLOCK_SIZE);
}

/*
 * The reserve is a file for each use, so that one does not starve another:
 * deletes (and the first opening that needs it), openings, compaction, which
 * is what helps.  This one takes what is left of one of the first segments,
 * which is room for what is left of larger ones.
 */
static const struct {
	const char *name;
	uint64_t max_size; /* not larger than a segment either */
} reserves[] = {
    {DIR_RESERVE_NAME, UINT64_C(1) << 20},
    {DIR_OPEN_RESERVE_NAME, UINT64_C(64) << 10},
    {DIR_COMPACT_RESERVE_NAME, SEGMENT_SIZE_START},
};

bool
repair_reserve_fits(const struct os_stat *st)
{
	return st->is_regular && st->link_count <= 1 &&
	       st->size >= KVLOG_SEGMENT_SIZE_MIN && st->size % BLOCK_SIZE == 0;
}

/* A file of the reserve.  One that is no good, of a maker that was killed,
 * is made anew. */
static int
make_reserve_file(struct dir *dir, const char *name, uint64_t size)
{
	struct os_stat st;
	int fd, rc;

	rc = os->stat_name(dir->fd, name, &st);
	if (rc == 0 && repair_reserve_fits(&st) && st.size >= size &&
	    st.allocated >= st.size)
		return 0;
	if (rc == 0)
		rc = os->unlink(dir->fd, name);
	if (rc == 0 || rc == ENOENT)
		rc = os->open(dir->fd, name, OS_OPEN_CREATE, dir->mode, &fd);
	if (rc != 0)
		return rc;
	rc = os->allocate(fd, size);
	if (rc == 0)
		rc = os->sync(fd);
	os->close(fd);
	if (rc != 0)
		os->unlink(dir->fd, name);
	return rc;
}

/* The file that keeps room for a name is empty. */
static int
make_name_reserve(struct dir *dir)
{
	struct os_stat st;
	int fd, rc = os->stat_name(dir->fd, DIR_NAME_RESERVE_NAME, &st);

	dir->name_reserve_used = false;
	if (rc != ENOENT)
		return rc;
	rc = os->open(
	    dir->fd, DIR_NAME_RESERVE_NAME, OS_OPEN_CREATE, dir->mode, &fd);
	if (rc == 0)
		os->close(fd);
	return rc;
}

int
repair_make_reserve(struct dir *dir, uint64_t segment_size)
{
	int rc = make_name_reserve(dir);

	for (size_t i = 0; i < ARRAY_LEN(reserves) && rc == 0; i++)
		rc = make_reserve_file(dir, reserves[i].name,
		    min_u64(reserves[i].max_size, segment_size));
	return rc;
}

/* Make this file of the reserve a segment. */
static enum kvlog_status
use_reserve(struct dir *dir, const char *reserve,
    const struct segment_plan *plan, struct segment_header *header,
    struct segment **ret_segment, bool *ret_reserve, struct kvlog_error *err)
{
	struct os_stat st;

	if (os->stat_name(dir->fd, reserve, &st) != 0 ||
	    !repair_reserve_fits(&st) ||
	    st.size - SEGMENT_DATA_OFF < plan->need ||
	    dir_rename(dir, reserve, plan->name) != 0)
		return KVLOG_NOSPACE;
	header->size = st.size;
	if (ret_reserve != NULL)
		*ret_reserve = true;
	return segment_create(dir, plan->name, header, true, ret_segment, err);
}

enum kvlog_status
repair_new_segment(struct dir *dir, const struct segment_plan *plan,
    struct segment **ret_segment, bool *ret_reserve, struct kvlog_error *err)
{
	struct segment_header header = {
	    .store = *plan->store,
	    .kind = SEGMENT_PLAIN,
	    .id = file_id_plain(plan->number),
	    .size = max_u64(plan->size,
		round_up(SEGMENT_DATA_OFF + plan->need, BLOCK_SIZE)),
	    .max_size = plan->max_size,
	};
	enum kvlog_status st;

	if (ret_reserve != NULL)
		*ret_reserve = false;
	if (plan->number > DIR_SEGMENT_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "%s: no segment numbers are left; dump the store into a "
		    "new one",
		    dir->path);
	st = segment_create(dir, plan->name, &header, false, ret_segment, err);
	if (st == KVLOG_OK && plan->huge) {
		(*ret_segment)->huge = true;
		os->advise(
		    &(*ret_segment)->map, 0, header.size, OS_ADVICE_HUGE);
	}
	if (!plan->may_use_reserve)
		return st;
	if (st == KVLOG_NOSPACE)
		st = use_reserve(dir, DIR_RESERVE_NAME, plan, &header,
		    ret_segment, ret_reserve, err);
	if (st == KVLOG_NOSPACE && plan->opening)
		st = use_reserve(dir, DIR_OPEN_RESERVE_NAME, plan, &header,
		    ret_segment, ret_reserve, err);
	return st;
}

/* Unfinished work, and segments that were replaced or discarded. */
static bool
is_leftover(const struct segset *set, const struct file *f)
{
	if (f->kind != FILE_SEGMENT)
		return f->kind == FILE_TMP || f->kind == FILE_SPARE;
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->segments[i]->name, f->name) == 0)
			return false;
	return true;
}

/*
 * Whether a segment that is not live may be removed: not if it is another
 * store's, or something that nobody can read.  If that cannot be told now, an
 * error: one that stayed would be taken for the successor of the new segment.
 */
static enum kvlog_status
is_of_store(struct dir *dir, const struct segset *set, const struct file *f,
    bool *ret_is, struct kvlog_error *err)
{
	const struct segment_header *ours = &set->segments[0]->header;
	struct kvlog_error failure = {0};
	struct segment *seg;
	enum kvlog_status st;

	*ret_is = f->kind != FILE_SEGMENT;
	if (*ret_is)
		return KVLOG_OK;
	st = segment_open_header(dir, f->name, &f->id, &seg, &failure);
	if (st == KVLOG_CORRUPT || st == KVLOG_VERSION ||
	    failure.sys_errno == ENOENT) /* gone already */
		return KVLOG_OK;
	if (st != KVLOG_OK && err != NULL)
		*err = failure;
	if (st != KVLOG_OK)
		return st;
	*ret_is = memcmp(seg->header.store.uuid, ours->store.uuid,
		      sizeof ours->store.uuid) == 0;
	segment_close(seg);
	return KVLOG_OK;
}

static bool
has_leftovers(const struct segset *set, const struct recovery *r)
{
	for (size_t i = 0; i < r->files.count; i++)
		if (is_leftover(set, &r->files.files[i]))
			return true;
	return false;
}

static enum kvlog_status
remove_leftovers(struct dir *dir, const struct segset *set,
    const struct recovery *r, struct kvlog_error *err)
{
	bool removed = false;
	int rc = 0;

	for (size_t i = 0; i < r->files.count && rc == 0; i++) {
		const struct file *f = &r->files.files[i];
		enum kvlog_status st;
		bool ours;

		if (!is_leftover(set, f))
			continue;
		st = is_of_store(dir, set, f, &ours, err);
		if (st != KVLOG_OK)
			return st;
		if (!ours)
			continue;
		rc = os->unlink(dir->fd, f->name);
		if (rc == ENOENT || rc == EISDIR || rc == EPERM)
			rc = 0; /* gone already, or none of ours */
		removed = true;
	}
	if (rc != 0)
		return err_sys(err, rc, "remove leftovers in %s", dir->path);
	return removed ? dir_sync(dir, err) : KVLOG_OK;
}

/*
 * Hint files that serve nobody: merged into others, or of segments that are
 * gone.  While something is damaged they are kept, for they may name keys.
 */
static void
remove_stale_hints(
    struct dir *dir, struct hintset *hints, const struct recovery *r)
{
	if ((r->flags & KVLOG_RECOVERY_DAMAGE) != 0)
		return;
	for (size_t i = 0; i < r->files.count; i++) {
		const struct file *f = &r->files.files[i];

		if (f->kind == FILE_HINT && !hintset_uses(hints, f->name))
			(void)os->unlink(dir->fd, f->name);
	}
}

/* Store [from, to) of an open file again.  What cannot be read is not in
 * memory, so there is nothing to write.  The file may have got a second name
 * meanwhile: no byte of it changes, and nobody else stores into such a file. */
static int
store_again(int fd, uint64_t from, uint64_t to)
{
	uint8_t page[BLOCK_SIZE];
	int rc = 0;

	while (from < to && rc == 0) {
		size_t len = (size_t)min_u64(
			   to - from, BLOCK_SIZE - from % BLOCK_SIZE),
		       got = 0;

		if (os->pread(fd, page, len, from, &got) == 0)
			rc = os->pwrite(fd, page, got, from);
		from += len;
	}
	return rc;
}

int
repair_store_again(struct dir *dir, const struct segment *seg, uint64_t synced)
{
	uint64_t from = SEGMENT_DATA_OFF;
	int fd, rc;

	if (segment_number(seg) < control_pos_segment(synced))
		return 0;
	rc = os->open(dir->fd, seg->name, OS_OPEN_WRITE, 0, &fd);
	if (rc != 0)
		return rc;
	if (segment_number(seg) == control_pos_segment(synced))
		from = max_u64(from, control_pos_off(synced));
	else /* the fixed part was durable before the name */
		rc = store_again(
		    fd, SEGMENT_LINK_OFF, SEGMENT_LINK_OFF + SEGMENT_LINK_LEN);
	if (rc == 0)
		rc = store_again(fd, from, segment_end(seg));
	os->close(fd);
	return rc;
}

/* A warm page says meanwhile that a sync is under way, and then, before a link
 * attests what is kept, how far it went. */
static enum kvlog_status
sync_kept(struct dir *dir, struct control *control, struct segset *set,
    struct recovery *r, struct kvlog_error *err)
{
	const struct segment *last = set->segments[set->count - 1];

	if (r->warm)
		(void)control_set_syncing(control, true);
	for (size_t i = 0; i < set->count; i++) {
		struct segment *seg = set->segments[i];
		bool opened;
		int rc = segment_open_fd(seg, dir, &opened);

		if (rc == 0 && r->doubtful)
			rc = repair_store_again(dir, seg, r->state.synced);
		if (rc == 0) {
			rc = os->sync(seg->fd);
			r->sync_failed = rc != 0;
		}
		if (opened)
			segment_close_fd(seg);
		if (rc != 0)
			return err_sys(
			    err, rc, "sync %s/%s", dir->path, seg->name);
	}
	r->state.durable = max_u64(r->state.durable, r->last_seq);
	r->state.synced = recovery_end_pos(last);
	if (r->warm) {
		(void)control_set_synced(control, r->state.synced);
		(void)control_set_syncing(control, false);
	}
	return KVLOG_OK;
}

/* Copy one record to off; what fails its sum keeps failing it. */
static int
copy_record(const struct segment *from, uint64_t from_off,
    const struct segment *to, uint64_t off, struct record *rec)
{
	bool value_ok = record_value_ok(rec, segment_seed(from, from_off));
	uint8_t head[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	const uint32_t seed = segment_seed(to, off);
	unsigned len = record_encode(head, rec, seed);
	int rc;

	if (!value_ok)
		record_spoil_value(head, len, rec, seed);
	rc = os->store(&to->map, off, head, len);
	if (rc == 0)
		rc = os->store(&to->map, off + len, rec->key, rec->key_len);
	if (rc == 0 && rec->value_len > 0)
		rc = os->store(&to->map, off + len + rec->key_len, rec->value,
		    rec->value_len);
	return rc;
}

/* Copy the records of set->segments[first ..] to *to, from its beginning;
 * without to, only count their bytes. */
static enum kvlog_status
copy_records(struct dir *dir, const struct segset *set, size_t first,
    const struct segment *to, uint64_t *ret_len, struct kvlog_error *err)
{
	uint64_t out = SEGMENT_DATA_OFF;

	for (size_t i = first; i < set->count; i++) {
		const struct segment *from = set->segments[i];
		uint64_t off = SEGMENT_DATA_OFF, end = segment_end(from);
		struct record rec;
		bool bad;
		enum kvlog_status st = segment_map(from, err);

		if (st != KVLOG_OK)
			return st;
		for (; segment_walk(from, &off, end, &rec, &bad);
		     off += rec.size) {
			int rc = to != NULL
				     ? copy_record(from, off, to, out, &rec)
				     : 0;

			if (rc != 0)
				return err_sys(err, rc, "write %s/%s",
				    dir->path, to->name);
			out += rec.size;
		}
		if (bad)
			return err_set_at(err, KVLOG_CORRUPT,
			    segment_number(from), off,
			    "%s changed at offset %" PRIu64
			    " while it was copied; open the store again",
			    from->name, off);
	}
	*ret_len = out - SEGMENT_DATA_OFF;
	return KVLOG_OK;
}

/* Replace set->segments[first ..] by *output, which is complete but for its
 * name: name it, then unlink what it stands for. */
static enum kvlog_status
replace_tail(struct dir *dir, struct control *control, struct segset *set,
    size_t first, struct segment *output, struct kvlog_error *err)
{
	int rc = os->sync(output->fd);

	if (rc == 0)
		rc = segment_take_name(output, dir);
	if (rc == 0)
		rc = os->sync_dir(dir->fd); /* INV-8 */
	if (rc == 0)
		rc = control_next_generation(control);
	while (rc == 0 && set->count > first) {
		char name[DIR_NAME_LEN];

		memcpy(name, set->segments[set->count - 1]->name, sizeof name);
		segset_drop_last(set);
		rc = os->unlink(dir->fd, name);
	}
	if (rc == 0)
		rc = os->sync_dir(dir->fd);
	if (rc != 0)
		return err_sys(err, rc, "replace segments by %s/%s", dir->path,
		    output->name);
	return segset_add(set, output, err);
}

enum kvlog_status
repair_copy_tail(struct dir *dir, const struct segset *set, size_t first,
    uint32_t round, uint64_t last_seq, const char *name,
    struct segment **ret_output, struct kvlog_error *err)
{
	const struct segment *last = set->segments[set->count - 1];
	const struct segment *head = set->segments[first];
	struct segment_link link = {.first_seq = 1, .durable = true};
	struct segment *output = NULL;
	struct segment_header header;
	uint64_t len = 0;
	enum kvlog_status st = copy_records(dir, set, first, NULL, &len, err);
	int rc;

	if (st != KVLOG_OK)
		return st;
	if (head->link_ok)
		link = head->link;
	header = (struct segment_header){
	    .store = head->header.store,
	    .kind = SEGMENT_VERBATIM,
	    .id = {head->header.id.first, last->header.id.last, round, 1, 1},
	    .size = max_u64(KVLOG_SEGMENT_SIZE_MIN,
		round_up(SEGMENT_DATA_OFF + len, BLOCK_SIZE)),
	    .end = SEGMENT_DATA_OFF + len,
	    .max_size = last->header.max_size,
	    .last_salt = segment_last_salt(last),
	    .last_end = last->header.kind == SEGMENT_PLAIN
			    ? segment_end(last)
			    : last->header.last_end,
	    .last_seq = last_seq,
	};
	rc = os_draw(&header.set_id);
	if (rc != 0)
		return err_sys(
		    err, rc, "draw random numbers for %s", dir->path);
	st = segment_create(dir, name, &header, false, &output, err);
	if (st != KVLOG_OK)
		return st;
	rc = segment_store_link(output, &link);
	if (rc != 0)
		st = err_sys(err, rc, "write %s/%s", dir->path, name);
	if (st == KVLOG_OK)
		st = copy_records(dir, set, first, output, &len, err);
	if (st != KVLOG_OK) {
		segment_close(output);
		return st;
	}
	*ret_output = output;
	return KVLOG_OK;
}

static enum kvlog_status
rewrite_unsynced(struct dir *dir, struct control *control, struct segset *set,
    struct recovery *r, struct kvlog_error *err)
{
	const struct segment *last = set->segments[set->count - 1];
	struct segment *output = NULL;
	size_t first = set->count - 1;
	enum kvlog_status st;

	/* If the last one is the copy that an earlier opening made, it was
	 * durable before it had its name; but whether the name is, nobody
	 * knows, for syncing the directory failed or was not reached.  So it
	 * is copied again, under another name. */
	while (first > 0 && last->header.kind == SEGMENT_PLAIN &&
	       set->segments[first - 1]->header.kind == SEGMENT_PLAIN &&
	       recovery_may_be_unsynced(r, set->segments[first - 1]))
		first--;
	st = repair_copy_tail(dir, set, first, ++r->max_round, r->lost_seq,
	    REWRITE_NAME, &output, err);
	if (st != KVLOG_OK)
		return st;
	st = replace_tail(dir, control, set, first, output, err);
	if (st != KVLOG_OK)
		segment_close(output);
	return st;
}

int
repair_publish(
    struct dir *dir, struct segment *seg, const struct segment_link *link)
{
	int rc = segment_store_link(seg, link);

	if (rc == 0)
		rc = os->sync(seg->fd);
	if (rc == 0)
		rc = segment_take_name(seg, dir);
	if (rc == 0)
		rc = os->sync_dir(dir->fd);
	/* A name that may be lost must not be followed by others.  Its removal
	 * is what the next sync of the directory cannot overlook. */
	if (rc != 0)
		os->unlink(dir->fd, seg->name);
	return rc;
}

/* The new segment, durable with its name before anything is put into it. */
static enum kvlog_status
begin_segment(struct dir *dir, struct segset *set, struct recovery *r,
    uint64_t segment_size, struct kvlog_error *err)
{
	struct segment *last = set->segments[set->count - 1], *seg;
	const uint64_t seen = max_u64(r->seq_seen, r->lost_seq);
	struct segment_link link = {
	    .prev_salt = segment_last_salt(last),
	    .prev_end = last->header.kind == SEGMENT_PLAIN
			    ? segment_end(last)
			    : last->header.last_end,
	    .prev_last_seq = r->lost_seq,
	    .first_seq = record_next_range(seen),
	    .durable = true,
	};
	const struct segment_plan plan = {
	    .name = NEW_NAME,
	    .store = &last->header.store,
	    .number = last->header.id.last + 1,
	    .max_size = segment_size,
	    .size = repair_segment_size(set, segment_size, false),
	    .may_use_reserve = true,
	    .opening = true,
	};
	enum kvlog_status st;
	int rc;

	if (link.first_seq > RECORD_SEQ_MAX)
		return err_set(err, KVLOG_TOOBIG, 0,
		    "%s: no sequence numbers are left; dump the store into a "
		    "new one",
		    dir->path);
	st = repair_new_segment(dir, &plan, &seg, NULL, err);
	if (st != KVLOG_OK)
		return st;
	rc = repair_publish(dir, seg, &link);
	if (rc != 0) {
		st = err_sys(err, rc, "begin %s/%s", dir->path, seg->name);
		segment_close(seg);
		return st;
	}
	st = segset_add(set, seg, err);
	if (st != KVLOG_OK) {
		segment_close(seg);
		return st;
	}
	last->last_seq = r->lost_seq;
	r->first_seq = link.first_seq;
	return KVLOG_OK;
}

enum kvlog_status
repair_log(struct dir *dir, struct control *control, struct hintset *hints,
    struct recovery *r, uint64_t segment_size, struct kvlog_error *err)
{
	struct segset *set = hints->set;
	enum kvlog_status st = KVLOG_OK;
	int rc;

	/* A name that makes others superfluous may not be durable yet: an
	 * earlier repair was stopped behind its rename. */
	if (r->doubtful) {
		/* A change makes the directory dirty again. */
		(void)os->unlink(dir->fd, DIR_NAME_RESERVE_NAME);
		(void)make_name_reserve(dir);
	}
	if (has_leftovers(set, r) || r->unclean || r->doubtful)
		st = dir_sync(dir, err);
	if (st == KVLOG_OK && r->poisoned) {
		st = rewrite_unsynced(dir, control, set, r, err);
		if (st == KVLOG_OK) /* some may cover what is replaced */
			st = hintset_collect(hints, dir, &r->files, NULL, err);
	} else if (st == KVLOG_OK && (r->unclean || r->doubtful))
		st = sync_kept(dir, control, set, r, err);
	if (st == KVLOG_OK && has_leftovers(set, r)) {
		/* Readers may still use them. */
		rc = control_next_generation(control);
		st = rc == 0 ? remove_leftovers(dir, set, r, err)
			     : err_sys(err, rc, "write %s/%s", dir->path,
				   DIR_LOCK_NAME);
	}
	if (st == KVLOG_OK)
		remove_stale_hints(dir, hints, r);
	if (st == KVLOG_OK && r->unclean)
		st = begin_segment(dir, set, r, segment_size, err);
	return st;
}
