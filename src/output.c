/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * output.c - writing the parts of an output, and the exchange.
 *
 * Each part is written under a name that does not count, at its exact size,
 * and synced.  Then, in this order:
 *
 *     rename all parts       until the last one is named, the set is not
 *                            complete, and the inputs are live (INV-5)
 *     sync the directory     from here on no crash brings the inputs back
 *     move the generation    readers that are listing look again
 *     unlink the inputs      INV-8
 *     sync the directory     before anything else is published
 *
 * Stopped anywhere, the next opening finds the inputs or all of the parts,
 * which say the same, and removes the others.
 */
#include "config.h"

#include "output.h"

#include "hint.h"
#include "recover.h"
#include "repair.h"
#include "turn.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BUFFER_LEN 65536u /* bytes that are stored at once */
/* Written while others are still stored. */
#define WRITE_BACK_LEN (UINT64_C(2) << 20)

/* Layout */

static enum kvlog_status
add_part(struct output_layout *l)
{
	if (l->count == UINT16_MAX)
		return KVLOG_TOOBIG;
	if (l->count == l->cap) {
		size_t cap = l->cap > 0 ? 2 * l->cap : 8;
		uint64_t *ends = os->realloc(l->ends, cap * sizeof *ends);

		if (ends == NULL)
			return KVLOG_NOMEM;
		l->ends = ends;
		l->cap = cap;
	}
	l->ends[l->count++] = SEGMENT_DATA_OFF;
	return KVLOG_OK;
}

enum kvlog_status
output_layout_add(struct output_layout *l, uint64_t size, uint64_t max_size)
{
	uint64_t end = l->count > 0 ? l->ends[l->count - 1] : max_size;

	if (l->count == 0 || (end > SEGMENT_DATA_OFF &&
				 (end > max_size || size > max_size - end))) {
		enum kvlog_status st = add_part(l);

		if (st != KVLOG_OK)
			return st;
	}
	l->ends[l->count - 1] += size;
	l->record_count++;
	return KVLOG_OK;
}

enum kvlog_status
output_layout_end(struct output_layout *l)
{
	return l->count == 0 ? add_part(l) : KVLOG_OK;
}

void
output_layout_fini(struct output_layout *l)
{
	os->free(l->ends);
	memset(l, 0, sizeof *l);
}

static uint64_t
file_size(uint64_t end)
{
	return max_u64(KVLOG_SEGMENT_SIZE_MIN, round_up(end, BLOCK_SIZE));
}

uint64_t
output_layout_bytes(const struct output_layout *l)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < l->count; i++)
		bytes += file_size(l->ends[i]);
	return bytes;
}

/* Parts */

struct output {
	struct log *log;
	struct output_plan plan;
	struct segment_header header; /* of all parts; id.part is the next's */
	struct segment_link link;

	struct segment **parts; /* that are complete, read-only */
	size_t part_count;
	char (*hint_names)[DIR_NAME_LEN]; /* of them; empty: no hint file */

	/* The part being written, if any. */
	struct segment *seg;
	uint64_t off;             /* of the next record */
	struct hint_writer *hint; /* NULL: it failed, and is only a cache */
	struct hint_source source;
	uint8_t *buffer; /* BUFFER_LEN bytes, to be stored at stored */
	size_t buffered;
	uint64_t stored;
	uint64_t given; /* to the disk to write, up to here */
};

static struct segment *const *
inputs_of(const struct output *o)
{
	return o->plan.set->segments + o->plan.first;
}

/* What an output hands on of its last input. */
static void
fill_last(struct segment_header *h, const struct segment *last)
{
	bool plain = last->header.kind == SEGMENT_PLAIN;

	h->last_salt = segment_last_salt(last);
	h->last_end = plain ? segment_end(last) : last->header.last_end;
	h->last_seq = last->last_seq;
}

enum kvlog_status
output_create(struct output **ret_output, struct log *log,
    const struct output_plan *plan, struct kvlog_error *err)
{
	struct output *o = os->calloc(1, sizeof *o);
	const struct segment *first, *last;
	size_t parts = plan->layout->count;
	int rc;

	if (o == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	o->log = log;
	o->plan = *plan;
	o->parts = os->calloc(parts, sizeof(*o->parts));
	o->hint_names = os->calloc(parts, sizeof *o->hint_names);
	o->buffer = os->malloc(BUFFER_LEN);
	if (o->parts == NULL || o->hint_names == NULL || o->buffer == NULL) {
		output_destroy(o);
		return err_set(err, KVLOG_NOMEM, 0, "compact segments");
	}
	first = inputs_of(o)[0];
	last = inputs_of(o)[plan->count - 1];
	assert(first->link_ok);
	o->link = first->link;
	o->header = (struct segment_header){
	    .store = first->header.store,
	    .kind = SEGMENT_OUTPUT,
	    .id = {first->header.id.first, last->header.id.last, plan->round, 1,
		(uint16_t)parts},
	    .max_size = plan->max_size,
	    .now_ms = plan->now_ms,
	};
	fill_last(&o->header, last);
	rc = os->random(&o->header.set_id, sizeof o->header.set_id);
	if (rc != 0) {
		output_destroy(o);
		return err_sys(
		    err, rc, "draw random numbers for %s", log->dir->path);
	}
	*ret_output = o;
	return KVLOG_OK;
}

static enum kvlog_status
write_failed(struct output *o, int rc, struct kvlog_error *err)
{
	return err_sys(err, rc, "write %s/%s", o->log->dir->path, o->seg->name);
}

/* A hint is a cache: without it, one is made later.  On a full disk it would
 * take what the reserve has to get back. */
static void
begin_hint(struct output *o)
{
	if (control_reserve_used(o->log->control))
		return;
	o->source = (struct hint_source){.seg = o->seg,
	    .id = o->seg->header.id,
	    .salt = o->seg->header.salt,
	    .from = SEGMENT_DATA_OFF,
	    .to = o->seg->header.end,
	    .last_seq = o->seg->header.last_seq};
	if (o->source.to > o->source.from &&
	    hint_writer_create(&o->hint, o->log->dir, &o->source, 1, NULL) !=
		KVLOG_OK)
		o->hint = NULL;
}

/* The records are not those of the layout: a disk may say now this, now
 * that. */
static enum kvlog_status
does_not_fit(const struct output *o, struct kvlog_error *err)
{
	return err_set(err, KVLOG_IO, 0,
	    "segments %" PRIu32 " to %" PRIu32
	    " of %s changed while they were compacted; check the disk",
	    o->header.id.first, o->header.id.last, o->log->dir->path);
}

/*
 * On a full disk an output of one part may be made of the reserve, if it fits:
 * more space comes back than is used.  What is not needed comes back at once,
 * and is room for the next output.
 */
static bool
take_reserve(struct output *o, const char *reserve, const char *name)
{
	struct dir *dir = o->log->dir;
	struct os_stat st;
	int fd = -1;

	if (o->header.id.parts > 1 ||
	    os->stat_name(dir->fd, reserve, &st) != 0 ||
	    !repair_reserve_fits(&st) || o->header.size > st.size ||
	    st.allocated < st.size || dir_rename(dir, reserve, name) != 0)
		return false;
	control_set_reserve_used(o->log->control, true);
	if (os->open(dir->fd, name, OS_OPEN_WRITE, 0, &fd) != 0 ||
	    os->truncate(fd, o->header.size) != 0)
		o->header.size = st.size;
	if (fd >= 0)
		os->close(fd);
	return true;
}

static enum kvlog_status
begin_part(struct output *o, struct kvlog_error *err)
{
	struct dir *dir = o->log->dir;
	char name[DIR_NAME_LEN];
	struct kvlog_error cause = {0};
	enum kvlog_status st;
	int rc;

	if (o->part_count == o->plan.layout->count)
		return does_not_fit(o, err);
	o->header.end = o->plan.layout->ends[o->part_count];
	o->header.size = file_size(o->header.end);
	dir_make_name(name, &o->header.id, "seg.tmp");
	st = segment_create(dir, name, &o->header, false, &o->seg, &cause);
	if (st == KVLOG_NOSPACE &&
	    (take_reserve(o, DIR_COMPACT_RESERVE_NAME, name) ||
		take_reserve(o, DIR_RESERVE_NAME, name)))
		st = segment_create(
		    dir, name, &o->header, true, &o->seg, &cause);
	if (st == KVLOG_NOSPACE)
		return err_set(err, st, cause.sys_errno,
		    "%s: to compact segments %" PRIu32 " to %" PRIu32
		    " %" PRIu64 " bytes are needed beside them for a while",
		    dir->path, o->header.id.first, o->header.id.last,
		    output_layout_bytes(o->plan.layout));
	if (st != KVLOG_OK && err != NULL)
		*err = cause;
	if (st != KVLOG_OK)
		return st;
	o->off = o->stored = o->given = SEGMENT_DATA_OFF;
	o->buffered = 0;
	rc = segment_store_link(o->seg, &o->link);
	if (rc != 0)
		return write_failed(o, rc, err);
	begin_hint(o);
	return KVLOG_OK;
}

static int
flush(struct output *o)
{
	int rc = 0;

	if (o->buffered > 0)
		rc = os->store(&o->seg->map, o->stored, o->buffer, o->buffered);
	o->stored += o->buffered;
	o->buffered = 0;
	if (o->stored - o->given >= WRITE_BACK_LEN) {
		os->write_back(o->seg->fd, o->given, o->stored - o->given);
		o->given = o->stored;
	}
	return rc;
}

static int
put_bytes(struct output *o, const void *bytes, size_t len)
{
	int rc;

	if (len > BUFFER_LEN - o->buffered) {
		rc = flush(o);
		if (rc != 0)
			return rc;
	}
	if (len > BUFFER_LEN) {
		rc = os->store(&o->seg->map, o->stored, bytes, len);
		o->stored += len;
		return rc;
	}
	if (len > 0)
		memcpy(o->buffer + o->buffered, bytes, len);
	o->buffered += len;
	return 0;
}

static int
put_record(struct output *o, const struct record *rec)
{
	static const uint8_t zeros[RECORD_ALIGN];
	uint8_t head[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	unsigned len = record_encode(head, rec, segment_seed(o->seg, o->off));
	uint64_t pad = rec->size - len - rec->key_len - rec->value_len;
	int rc = put_bytes(o, head, len);

	assert(pad < RECORD_ALIGN);
	if (rc == 0)
		rc = put_bytes(o, rec->key, rec->key_len);
	if (rc == 0)
		rc = put_bytes(o, rec->value, rec->value_len);
	if (rc == 0)
		rc = put_bytes(o, zeros, (size_t)pad);
	return rc;
}

static void
drop_hint(struct output *o)
{
	hint_writer_destroy(o->hint);
	o->hint = NULL;
}

static void
add_to_hint(struct output *o, const struct record *rec, uint64_t hash)
{
	struct hint_key key = hint_key_of(rec);
	struct hint_entry e = {.hash = hash,
	    .type = rec->type,
	    .expiry = (rec->flags & RECORD_EXPIRY) != 0,
	    .off = o->off};

	if (o->hint != NULL &&
	    hint_writer_add(o->hint, &key, &e, NULL) != KVLOG_OK)
		drop_hint(o);
}

/*
 * The part is whole: sync it, and open it again as a reader would, which
 * leaves nothing that can fail once it has its name.
 */
static enum kvlog_status
end_part(struct output *o, struct kvlog_error *err)
{
	struct dir *dir = o->log->dir;
	struct segment *part;
	enum kvlog_status st;
	int rc;

	if (o->off != o->seg->header.end)
		return does_not_fit(o, err);
	rc = flush(o);
	if (rc == 0)
		rc = os->sync(o->seg->fd);
	if (rc != 0)
		return write_failed(o, rc, err);
	if (o->hint != NULL) {
		hint_make_name(o->hint_names[o->part_count], &o->source, 1);
		if (hint_writer_finish(o->hint, NULL) != KVLOG_OK)
			o->hint_names[o->part_count][0] = '\0';
		drop_hint(o);
	}
	st = segment_open(dir, o->seg->name, &o->header.id, &part, err);
	if (st != KVLOG_OK)
		return st;
	segment_close_fd(part);
	part->evidence = part->header.last_seq;
	o->parts[o->part_count++] = part;
	segment_close(o->seg);
	o->seg = NULL;
	o->header.id.part++;
	return KVLOG_OK;
}

enum kvlog_status
output_add(struct output *o, const struct record *rec, uint64_t hash,
    struct kvlog_error *err)
{
	struct record copy = *rec;
	enum kvlog_status st = KVLOG_OK;
	int rc;

	copy.flags &= (uint8_t) ~(RECORD_MORE | RECORD_CONT);
	if (o->seg != NULL && o->off == o->seg->header.end)
		st = end_part(o, err);
	if (st == KVLOG_OK && o->seg == NULL)
		st = begin_part(o, err);
	if (st != KVLOG_OK)
		return st;
	if (copy.size > o->seg->header.end - o->off)
		return does_not_fit(o, err);
	add_to_hint(o, &copy, hash);
	rc = put_record(o, &copy);
	if (rc != 0)
		return write_failed(o, rc, err);
	o->off += copy.size;
	return KVLOG_OK;
}

/* The exchange */

/* Remove the parts, named or not, and their hints. */
static void
remove_parts(struct output *o)
{
	struct dir *dir = o->log->dir;

	for (size_t i = 0; i < o->part_count; i++) {
		os->unlink(dir->fd, o->parts[i]->name);
		if (o->hint_names[i][0] != '\0')
			os->unlink(dir->fd, o->hint_names[i]);
		segment_close(o->parts[i]);
	}
	o->part_count = 0;
}

static enum kvlog_status
sync_failed(struct log *log, int rc, struct kvlog_error *err)
{
	struct kvlog_error cause;

	err_set(&cause, KVLOG_BROKEN, rc,
	    "sync of directory %s failed; close the store, see to the disk, "
	    "and open it again",
	    log->dir->path);
	return log_break(log, &cause, err);
}

static enum kvlog_status
name_parts(struct output *o, struct kvlog_error *err)
{
	struct log *log = o->log;
	int rc = 0;

	for (size_t i = 0; i < o->part_count && rc == 0; i++)
		rc = segment_take_name(o->parts[i], log->dir);
	if (rc != 0)
		return err_sys(err, rc, "name the compacted segments of %s",
		    log->dir->path);
	rc = os->sync_dir(log->dir->fd);
	return rc == 0 ? KVLOG_OK : sync_failed(log, rc, err);
}

/* Unlink the inputs, and the hint files that serve no more. */
static int
remove_inputs(struct output *o, const struct file_list *files)
{
	struct segment *const *inputs = inputs_of(o);
	struct hintset *hints = &o->log->view->hints;
	struct dir *dir = o->log->dir;
	int first_rc = 0, rc;

	for (size_t i = 0; i < o->plan.count; i++) {
		rc = os->unlink(dir->fd, inputs[i]->name);
		if (rc != 0 && rc != ENOENT && first_rc == 0)
			first_rc = rc;
	}
	for (size_t i = 0; i < files->count; i++)
		if (files->files[i].kind == FILE_HINT &&
		    !hintset_uses(hints, files->files[i].name))
			os->unlink(dir->fd, files->files[i].name);
	return first_rc;
}

/*
 * They are those of another set now.  What this fails at is left to the next
 * compaction, or opening.
 */
static enum kvlog_status
retire_inputs(struct output *o, struct kvlog_error *err)
{
	struct log *log = o->log;
	struct file_list files = {0};
	enum kvlog_status st = dir_list(log->dir, &files, err);
	int rc;

	if (st == KVLOG_OK) {
		rc = remove_inputs(o, &files);
		if (rc != 0)
			st = err_sys(err, rc, "remove compacted segments of %s",
			    log->dir->path);
		rc = os->sync_dir(log->dir->fd);
		if (rc != 0)
			st = sync_failed(log, rc, err);
	}
	file_list_fini(&files);
	return st;
}

/* That take the place of what goes with the inputs. */
struct hints {
	struct hint **all;
	size_t count, cap;
	bool searched; /* by look-ups */
};

/* The hints that were written with the parts, as far as they can be opened;
 * returns how many. */
static size_t
open_hints(const struct output *o, struct hint **hints)
{
	size_t count = 0;

	for (size_t i = 0; i < o->part_count; i++) {
		const struct segment *part = o->parts[i];
		struct hint *hint = NULL;

		if (o->hint_names[i][0] != '\0')
			hint = hint_open(
			    o->log->dir, o->hint_names[i], &part->header.store);
		if (hint != NULL && hint->source_count == 1 &&
		    hint_bind(hint, 0, part))
			hints[count++] = hint;
		else
			hint_unref(hint);
	}
	return count;
}

static bool
is_input(const struct output *o, const struct segment *seg)
{
	for (size_t i = 0; i < o->plan.count; i++)
		if (inputs_of(o)[i] == seg)
			return true;
	return false;
}

static bool
goes_with_inputs(const struct output *o, const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (is_input(o, hint->sources[i].seg))
			return true;
	return false;
}

/* Images of what hints cover together with the inputs, and nothing would cover
 * without.  Whatever fails here is tried again in the exchange. */
static void
build_images(const struct output *o, struct hints *h)
{
	struct hint_list *list = hint_list_get(&o->log->view->hints);

	for (size_t n = 0; n < list->count; n++) {
		const struct hint *hint = list->hints[n];

		if (!goes_with_inputs(o, hint))
			continue;
		for (size_t i = 0; i < hint->source_count; i++) {
			const struct hint_source *s = &hint->sources[i];
			struct hint_source gap = {
			    .seg = s->seg, .from = s->from, .to = s->to};

			if (!is_input(o, s->seg) && h->count < h->cap &&
			    hint_build(&gap, 1, UINT64_MAX, &h->all[h->count],
				NULL) == KVLOG_OK)
				h->count++;
		}
	}
	hint_list_put(list);
}

/* All that may take long comes before the turn. */
static void
gather_hints(const struct output *o, struct hints *h)
{
	h->searched = o->plan.online && o->log->view->index.hints != NULL;
	h->count = 0;
	h->cap = o->part_count + (h->searched ? o->plan.set->count : 0);
	h->all = os->calloc(h->cap, sizeof(*h->all));
	if (h->all == NULL)
		h->cap = 0;
	else
		h->count = open_hints(o, h->all);
	if (h->searched)
		build_images(o, h);
}

static void
drop_hints(struct hints *h)
{
	for (size_t i = 0; i < h->count; i++)
		hint_unref(h->all[i]);
	os->free(h->all);
}

/* With the turn. */
static enum kvlog_status
exchange(struct output *o, struct takeover *takeover, const struct hints *hints,
    struct kvlog_error *err)
{
	struct log *log = o->log;
	struct view *view = log->view;
	struct kvlog_error cause;
	int rc = control_next_generation(log->control);

	view_exchange(
	    view, takeover, hints->all, hints->count, hints->searched);
	view_note_page(log->views, view);
	if (rc == 0)
		return KVLOG_OK;
	/* The inputs stay for those who do not know of the parts; the next
	 * opening removes them. */
	err_sys(&cause, rc,
	    "write the control page of %s failed; close the store, see to the "
	    "disk, and open it again",
	    log->dir->path);
	return log_break(log, &cause, err);
}

static void
forgo(struct log *log, struct takeover *takeover)
{
	views_lock(log->views);
	view_forgo(takeover);
	pthread_mutex_unlock(&log->views->lock);
}

/* The parts have their names; without a turn nobody is told of them. */
static enum kvlog_status
take_place(struct output *o, struct takeover *takeover, bool *ret_done,
    struct kvlog_error *err)
{
	struct log *log = o->log;
	struct hints hints;
	enum kvlog_status st;

	gather_hints(o, &hints);
	st = log_await_turn(log, err);
	if (st == KVLOG_OK) {
		*ret_done = true;
		st = exchange(o, takeover, &hints, err);
		log_release_turn(log);
	} else {
		forgo(log, takeover);
		for (size_t i = 0; i < o->part_count; i++)
			segment_close(o->parts[i]);
	}
	o->part_count = 0; /* the set's now, or nobody's */
	drop_hints(&hints);
	if (st != KVLOG_OK)
		return st;
	/* An output attests what it stands for. */
	pthread_mutex_lock(&log->sync_lock);
	log->evidence_synced =
	    max_u64(log->evidence_synced, o->header.last_seq);
	pthread_mutex_unlock(&log->sync_lock);
	return retire_inputs(o, err);
}

enum kvlog_status
output_publish(struct output *o, bool *ret_done, struct kvlog_error *err)
{
	struct log *log = o->log;
	struct takeover *takeover;
	enum kvlog_status st = KVLOG_OK;

	*ret_done = false;
	if (o->seg == NULL && o->part_count == 0)
		st = begin_part(o, err); /* an empty one */
	if (st == KVLOG_OK && o->seg != NULL)
		st = end_part(o, err);
	if (st != KVLOG_OK)
		return st;
	if (o->part_count != o->plan.layout->count)
		return does_not_fit(o, err);
	/* Whatever may fail comes before the names. */
	views_lock(log->views);
	st = view_prepare_exchange(log->view, o->plan.first, o->plan.count,
	    o->parts, o->part_count, o->plan.expired, &takeover, err);
	pthread_mutex_unlock(&log->views->lock);
	if (st != KVLOG_OK)
		return st;
	st = name_parts(o, err);
	if (st == KVLOG_OK)
		return take_place(o, takeover, ret_done, err);
	forgo(log, takeover);
	return st;
}

/* What others have left */

static bool
is_in_set(const struct segset *set, const struct file_id *id)
{
	for (size_t i = 0; i < set->count; i++)
		if (file_id_equal(&set->segments[i]->header.id, id))
			return true;
	return false;
}

/* With the turn: an output that is whole, but which nobody was told of. */
static enum kvlog_status
adopt_outputs(
    struct log *log, const struct file_list *files, struct kvlog_error *err)
{
	bool found = false, stale = false;
	enum kvlog_status st;
	int rc;

	for (size_t i = 0; i < files->count; i++)
		found |= files->files[i].live && files->files[i].id.round > 0 &&
			 !is_in_set(log->view->set, &files->files[i].id);
	if (!found)
		return KVLOG_OK;
	/* Its name may not be durable yet. */
	rc = os->sync_dir(log->dir->fd);
	if (rc != 0)
		return sync_failed(log, rc, err);
	rc = control_next_generation(log->control);
	if (rc != 0)
		return err_sys(
		    err, rc, "write the control page of %s", log->dir->path);
	st = view_catch_up(log->views, log->view, &stale, err);
	if (st == KVLOG_OK && stale)
		st = err_set(err, KVLOG_CORRUPT, 0,
		    "compacted segments of %s cannot be read; close the store "
		    "in all processes and run kvlog-verify",
		    log->dir->path);
	return st;
}

/* What is covered by an output, part of none that is whole, or unfinished. */
static bool
is_leftover(const struct file *f, uint32_t last)
{
	size_t len = strlen(f->name);

	if (f->kind == FILE_TMP)
		return len > 8 && strcmp(f->name + len - 8, ".seg.tmp") == 0;
	return f->kind == FILE_SEGMENT && !f->live && f->id.last <= last;
}

static enum kvlog_status
remove_leftovers(struct log *log, const struct file_list *files, uint32_t last,
    struct kvlog_error *err)
{
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < files->count && rc == 0; i++) {
		if (!is_leftover(&files->files[i], last))
			continue;
		any = true;
		rc = os->unlink(log->dir->fd, files->files[i].name);
		if (rc == ENOENT)
			rc = 0;
	}
	if (rc != 0)
		return err_sys(
		    err, rc, "remove leftovers in %s", log->dir->path);
	rc = any ? os->sync_dir(log->dir->fd) : 0;
	return rc == 0 ? KVLOG_OK : sync_failed(log, rc, err);
}

enum kvlog_status
output_clean(struct log *log, uint32_t *ret_round, struct kvlog_error *err)
{
	struct file_list files = {0};
	uint32_t last = 0, gap = 0;
	enum kvlog_status st = log_await_turn(log, err);

	if (st != KVLOG_OK)
		return st;
	st = recover_list(log->dir, &files, &last, &gap, ret_round, err);
	if (st == KVLOG_OK)
		st = adopt_outputs(log, &files, err);
	last = (uint32_t)min_u64(last, segment_number(log_active(log)));
	log_release_turn(log);
	if (st == KVLOG_OK && gap == 0)
		st = remove_leftovers(log, &files, last, err);
	file_list_fini(&files);
	return st;
}

void
output_destroy(struct output *o)
{
	if (o == NULL)
		return;
	drop_hint(o);
	if (o->seg != NULL)
		os->unlink(o->log->dir->fd, o->seg->name);
	segment_close(o->seg);
	remove_parts(o);
	os->free(o->parts);
	os->free(o->hint_names);
	os->free(o->buffer);
	os->free(o);
}
