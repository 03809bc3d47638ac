/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_files.c - the files of a directory as verify sees them: each segment
 * opened and judged by its header, the live ones in order of the tiling
 * (INV-5, INV-6), gaps left open, and what the lock file says of their end.
 *
 * Differs from the engine where that would give up.  A segment whose header
 * names another number stands where its header says, if that place is free.
 * One whose headers are both lost keeps the place of its name; its records
 * can still be read if the sum of its salt can be found:
 *
 *     header sum  =  ~ update(seed, header and key)
 *     seed        =  sum of the salt  xor  offset / 8
 *
 * CRC is linear, so the seed follows from the sum and the bytes; that the
 * sum of the value, which starts from the same seed, is right as well proves
 * both.
 */
#include "config.h"

#include "verify.h"

#include "bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLYNOMIAL UINT32_C(0x82f63b78)
/* Longer values are not tried in search of the salt, but at the first place
 * where a record can be: each try reads all of the value. */
#define SALT_VALUE_MAX (1u << 20)
#define SALT_WINDOW (256u * 1024)
#define COPY_OFF 4096u

/* Opening */

static int
compare_name(void *arg, const char *name)
{
	return strcmp(name, arg) == 0 ? EEXIST : 0;
}

bool
verify_is_irregular(const struct verify *v, const char *name)
{
	char copy[DIR_NAME_LEN];
	struct os_stat st = {0};
	int rc = os->stat_name(v->dir.fd, name, &st);

	if (rc == 0)
		return !st.is_regular;
	if (rc != ENOENT)
		return rc == ELOOP || rc == ENOTDIR;
	/* A link to nothing is listed still; what a writer has removed or
	 * renamed is not, as it takes no name twice. */
	(void)snprintf(copy, sizeof copy, "%s", name);
	return os->list(v->dir.fd, compare_name, copy) == EEXIST;
}

bool
verify_fixed_ok(const uint8_t *p)
{
	return memcmp(p, "kvlogseg", 8) == 0 &&
	       get_u32(p + 8) == sum_crc(p + 12, SEGMENT_FIXED_LEN - 12);
}

void
verify_fixed_id(const uint8_t *p, struct file_id *id)
{
	id->first = get_u32(p + 40);
	id->last = get_u32(p + 44);
	id->round = get_u32(p + 48);
	id->part = get_u16(p + 52);
	id->parts = get_u16(p + 54);
}

/* The id that a file's header says: that of the name, if one of the copies
 * says so.  False if none is whole. */
static bool
header_id(const uint8_t *first, const uint8_t *copy, const struct file_id *name,
    struct file_id *ret_id)
{
	struct file_id id;
	bool known = verify_fixed_ok(first);

	if (known)
		verify_fixed_id(first, ret_id);
	if (verify_fixed_ok(copy)) {
		verify_fixed_id(copy, &id);
		if (!known || file_id_equal(&id, name))
			*ret_id = id;
		known = true;
	}
	return known;
}

/* The register from which len bytes of zero lead to reg. */
static uint32_t
crc_back(uint32_t reg, size_t len)
{
	for (size_t i = 0; i < 8 * len; i++)
		reg = (reg & UINT32_C(0x80000000)) != 0
			  ? (reg ^ POLYNOMIAL) << 1 | 1
			  : reg << 1;
	return reg;
}

/* The seed with which the header sum at p would be right. */
static uint32_t
seed_of(const uint8_t *p, const struct record *rec)
{
	size_t covered = (size_t)(rec->key - p) + rec->key_len - 4;

	return crc_back(~get_u32(p) ^ sum_update(0, p + 4, covered), covered);
}

/* Whether a record at off proves a sum of the salt, which seg is given. */
static bool
prove_salt(struct verify *v, struct segment *seg, const uint8_t *p, size_t room,
    uint64_t off)
{
	struct segment_scan scan;
	struct record rec;
	bool value_ok = false;
	uint64_t limit = segment_limit(seg);

	if (!record_type_known(p[8]) || (p[9] & ~RECORD_FLAGS_REFUSE) != 0 ||
	    !record_parse(p, limit - off, &rec) ||
	    (size_t)(rec.key - p) + rec.key_len > room ||
	    (rec.value_len > SALT_VALUE_MAX && off != SEGMENT_DATA_OFF))
		return false;
	seg->salt_sum = sum_seed(seed_of(p, &rec), off);
	if (segment_scan_init(&scan, seg, off, off + rec.size) != 0) {
		v->no_memory = true;
		return false;
	}
	value_ok = segment_scan_look(&scan, &rec, &value_ok) == SCAN_RECORD &&
		   value_ok;
	segment_scan_fini(&scan);
	return value_ok;
}

/* Look for a record that tells the sum of the salt. */
static bool
find_salt(struct verify *v, struct segment *seg)
{
	const size_t key_room = 1u << 17; /* header and key, and more */
	uint8_t *window = os->malloc(SALT_WINDOW);
	uint64_t limit = segment_limit(seg);
	bool found = false;

	for (uint64_t at = SEGMENT_DATA_OFF;
	     window != NULL && !found && at + RECORD_HEADER_SIZE <= limit;
	     at += SALT_WINDOW - key_room) {
		size_t len, step = SALT_WINDOW - key_room;

		if (os->pread(seg->fd, window, SALT_WINDOW, at, &len) != 0)
			continue;
		len = (size_t)min_u64(len, limit - at);
		for (size_t i = 0;
		     !found && i < step &&
		     i + RECORD_HEADER_SIZE + RECORD_EXT_MAX <= len;
		     i += RECORD_ALIGN)
			found = prove_salt(v, seg, window + i, len - i, at + i);
	}
	v->no_memory |= window == NULL;
	os->free(window);
	return found;
}

/* A segment without headers, made of its name and its records; NULL if none
 * of them can be proven. */
static struct segment *
make_up(struct verify *v, const struct file *file)
{
	struct segment *seg = os->calloc(1, sizeof *seg);
	struct os_stat st = {0};

	if (seg == NULL) {
		v->no_memory = true;
		return NULL;
	}
	memcpy(seg->name, file->name, sizeof seg->name);
	if (os->open(v->dir.fd, file->name, OS_OPEN_READ, 0, &seg->fd) != 0) {
		os->free(seg);
		return NULL;
	}
	if (os->stat(seg->fd, &st) == 0) {
		seg->dev = st.dev;
		seg->ino = st.ino;
		seg->file_len = seg->header.size = st.size;
	}
	seg->header.id = file->id;
	seg->header.kind =
	    file->id.round == 0 ? SEGMENT_PLAIN : SEGMENT_VERBATIM;
	seg->header.end = segment_limit(seg);
	if (!find_salt(v, seg)) {
		segment_close(seg);
		return NULL;
	}
	return seg;
}

/*
 * Read both copies of the fixed part.  KVLOG_OK with a fault, or none and
 * the id that a good copy holds.
 */
static enum kvlog_status
read_fixed(struct verify *v, struct verify_file *f)
{
	uint8_t first[SEGMENT_FIXED_LEN] = {0}, copy[SEGMENT_FIXED_LEN] = {0};
	struct os_stat st;
	size_t len;
	int fd, rc;

	rc = os->open(v->dir.fd, f->file.name, OS_OPEN_READ, 0, &fd);
	if (rc == EIO) {
		f->fault = FAULT_UNREADABLE;
		return KVLOG_OK;
	}
	if (rc != 0 && verify_is_irregular(v, f->file.name)) {
		f->fault = FAULT_IRREGULAR;
		return KVLOG_OK;
	}
	if (rc == ENOENT || rc == ESTALE)
		return KVLOG_BUSY;
	if (rc != 0)
		return err_sys(
		    v->err, rc, "open %s/%s", v->dir.path, f->file.name);
	rc = os->stat(fd, &st);
	if (rc != 0) {
		os->close(fd);
		return err_sys(
		    v->err, rc, "open %s/%s", v->dir.path, f->file.name);
	}
	if (!st.is_regular) {
		f->fault = FAULT_IRREGULAR;
	} else {
		bool unreadable =
		    os->pread(fd, first, sizeof first, 0, &len) != 0;

		unreadable |=
		    os->pread(fd, copy, sizeof copy, COPY_OFF, &len) != 0;
		if (!header_id(first, copy, &f->file.id, &f->id))
			f->fault =
			    unreadable ? FAULT_UNREADABLE : FAULT_HEADERS;
		if (st.size <= SEGMENT_DATA_OFF)
			f->fault = FAULT_SHORT;
	}
	os->close(fd);
	return KVLOG_OK;
}

static enum kvlog_status
open_segment(struct verify *v, struct verify_file *f)
{
	enum kvlog_status st;

	f->id = f->file.id;
	st = read_fixed(v, f);
	if (st != KVLOG_OK)
		return st;
	if (f->fault == FAULT_NONE) {
		st = segment_open(
		    &v->dir, f->file.name, &f->id, &f->seg, v->err);
		if (st == KVLOG_IO && v->err->sys_errno == EIO)
			f->fault = FAULT_UNREADABLE; /* by now */
	}
	if (f->fault == FAULT_HEADERS || f->fault == FAULT_UNREADABLE) {
		f->seg = make_up(v, &f->file);
		f->made_up = f->seg != NULL;
	}
	if (f->fault != FAULT_NONE)
		return KVLOG_OK;
	if (st == KVLOG_CORRUPT) {
		f->fault = FAULT_CONTENT;
		f->id = f->file.id;
		return KVLOG_OK;
	}
	if (st == KVLOG_IO && v->err->sys_errno == ENOENT)
		return KVLOG_BUSY;
	if (st == KVLOG_OK)
		f->file.set_id = f->seg->header.set_id;
	return st;
}

static enum kvlog_status
open_segments(struct verify *v)
{
	for (size_t i = 0; i < v->file_count; i++) {
		struct verify_file *f = &v->files[i];
		enum kvlog_status st = KVLOG_OK;

		if (f->file.kind == FILE_SEGMENT)
			st = open_segment(v, f);
		if (st != KVLOG_OK)
			return st;
		if (f->seg == NULL)
			continue;
		/* There may be more than descriptors or mappings. */
		segment_close_fd(f->seg);
		os->unmap(&f->seg->map);
	}
	return KVLOG_OK;
}

/* Whose store this is: that of most of its segments.  The others are
 * foreign. */
static void
find_store(struct verify *v)
{
	size_t votes = 0;

	for (size_t i = 0; i < v->file_count; i++) {
		const struct segment *seg = v->files[i].seg;

		if (seg == NULL || v->files[i].made_up)
			continue;
		if (votes == 0)
			v->store = seg->header.store;
		votes =
		    memcmp(&v->store, &seg->header.store, sizeof v->store) == 0
			? votes + 1
			: votes - 1;
		v->has_store = true;
	}
	for (size_t i = 0; i < v->file_count; i++) {
		struct verify_file *f = &v->files[i];

		if (f->seg == NULL)
			continue;
		if (f->made_up) {
			f->seg->header.store = v->store;
		} else if (memcmp(&v->store, &f->seg->header.store,
			       sizeof v->store) != 0) {
			f->fault = FAULT_FOREIGN;
			segment_close(f->seg);
			f->seg = NULL;
			f->id = f->file.id;
		}
	}
}

/* Tiling */

static int
compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Segments first: by first number, then the widest range, the highest round,
 * part; of two for one place the usable one, and the one of that name. */
static int
compare_files(const void *va, const void *vb)
{
	const struct verify_file *a = va, *b = vb;
	int c = compare_u64(a->file.kind, b->file.kind);

	if (c == 0)
		c = compare_u64(a->id.first, b->id.first);
	if (c == 0)
		c = compare_u64(b->id.last, a->id.last);
	if (c == 0)
		c = compare_u64(b->id.round, a->id.round);
	if (c == 0)
		c = compare_u64(a->id.parts, b->id.parts);
	if (c == 0)
		c = compare_u64(a->id.part, b->id.part);
	if (c == 0)
		c = (a->seg == NULL) - (b->seg == NULL);
	if (c == 0)
		c = !file_id_equal(&a->id, &a->file.id) -
		    !file_id_equal(&b->id, &b->file.id);
	return c != 0 ? c : strcmp(a->file.name, b->file.name);
}

static bool
is_segment(const struct verify *v, size_t i)
{
	return i < v->file_count && v->files[i].file.kind == FILE_SEGMENT;
}

/* Files of the same range, round and number of parts, from i on. */
static size_t
set_len(const struct verify *v, size_t i)
{
	size_t n = 1;

	while (is_segment(v, i + n) &&
	       v->files[i + n].id.first == v->files[i].id.first &&
	       v->files[i + n].id.last == v->files[i].id.last &&
	       v->files[i + n].id.round == v->files[i].id.round &&
	       v->files[i + n].id.parts == v->files[i].id.parts)
		n++;
	return n;
}

/* A second file of the same part is not a part. */
static void
drop_doubles(struct verify *v)
{
	for (size_t i = 1; is_segment(v, i); i++) {
		struct verify_file *f = &v->files[i];
		size_t k = i - 1;

		while (k > 0 && v->files[k].fault == FAULT_NAME)
			k--;
		if (file_id_equal(&f->id, &v->files[k].id) &&
		    v->files[k].fault != FAULT_NAME)
			f->fault = FAULT_NAME;
	}
	for (size_t i = 0; is_segment(v, i); i++)
		if (v->files[i].fault == FAULT_NAME) {
			segment_close(v->files[i].seg);
			v->files[i].seg = NULL;
		}
}

static bool
set_complete(const struct verify *v, size_t i, size_t len)
{
	uint16_t part = 1;

	for (size_t k = 0; k < len; k++) {
		const struct verify_file *f = &v->files[i + k];

		if (f->fault == FAULT_NAME)
			continue;
		if (f->id.part != part++)
			return false;
		if (f->id.parts > 1 &&
		    (f->seg == NULL || f->made_up ||
			f->file.set_id != v->files[i].file.set_id))
			return false;
	}
	return part == v->files[i].id.parts + 1;
}

/* Whether a file inside of the range of files[i] is of another set. */
static bool
has_rivals(const struct verify *v, size_t i, size_t len)
{
	const struct file_id *id = &v->files[i].id;

	for (size_t k = 0; is_segment(v, k); k++)
		if ((k < i || k >= i + len) &&
		    v->files[k].id.first >= id->first &&
		    v->files[k].id.last <= id->last)
			return true;
	return false;
}

static void
take_set(struct verify *v, size_t i, size_t len)
{
	for (size_t k = i; k < i + len; k++)
		if (v->files[k].fault != FAULT_NAME) {
			v->files[k].live = true;
			v->live[v->live_count++] = &v->files[k];
		}
}

/*
 * Which files are live.  As in kvlog-format(5), and on behind gaps; an
 * incomplete set counts where there is nothing else for its range.
 */
static void
tile(struct verify *v)
{
	uint32_t next = 1;

	for (size_t i = 0; is_segment(v, i);) {
		const uint32_t first = v->files[i].id.first;
		size_t best = SIZE_MAX, best_len = 0, last_resort = SIZE_MAX;

		while (is_segment(v, i) && v->files[i].id.first == first) {
			size_t len = set_len(v, i);

			if (best == SIZE_MAX && set_complete(v, i, len)) {
				best = i;
				best_len = len;
			} else if (last_resort == SIZE_MAX && first >= next &&
				   !has_rivals(v, i, len)) {
				last_resort = i;
			}
			i += len;
		}
		if (best == SIZE_MAX && last_resort != SIZE_MAX) {
			best = last_resort;
			best_len = set_len(v, best);
		}
		if (first < next || best == SIZE_MAX)
			continue;
		take_set(v, best, best_len);
		next = v->files[best].id.last + 1;
	}
}

/* The end of the log, as the lock file has it */

bool
verify_same_set(const struct verify *v, size_t i)
{
	return i > 0 && v->live[i]->id.part > 1 &&
	       v->live[i]->id.first == v->live[i - 1]->id.first;
}

const struct segment_link *
verify_seal(const struct verify *v, size_t i)
{
	const struct verify_file *f = v->live[i], *next;

	if (i + 1 == v->live_count)
		return NULL;
	next = v->live[i + 1];
	if (next->seg == NULL || !next->seg->link_ok ||
	    next->id.first != f->id.last + 1 || f->seg == NULL)
		return NULL;
	/* Without its header, the salt of a plain one can be told by it. */
	if (f->made_up)
		return f->id.round == 0 &&
			       sum_salt(next->seg->link.prev_salt) ==
				   f->seg->salt_sum
			   ? &next->seg->link
			   : NULL;
	return next->seg->link.prev_salt == segment_last_salt(f->seg)
		   ? &next->seg->link
		   : NULL;
}

uint64_t
verify_limit(const struct verify *v, size_t i, bool *ret_exact)
{
	const struct segment *seg = v->live[i]->seg;
	const struct segment_link *link = verify_seal(v, i);

	*ret_exact = true;
	if (seg->header.kind != SEGMENT_PLAIN) {
		*ret_exact = !v->live[i]->made_up;
		return seg->header.end;
	}
	if (link != NULL)
		return max_u64(link->prev_end, SEGMENT_DATA_OFF);
	if (v->warm && i + 1 == v->live_count)
		return control_pos_off(v->state.position);
	*ret_exact = false;
	return segment_limit(seg);
}

/* Whether the page speaks of these files. */
static bool
page_fits(struct verify *v)
{
	struct control_state *state = &v->state;
	const struct segment *last, *prev = NULL;
	uint32_t number = control_pos_segment(state->position);
	uint64_t off = control_pos_off(state->position);

	if (v->live_count == 0 || v->live[v->live_count - 1]->seg == NULL)
		return false;
	last = v->live[v->live_count - 1]->seg;
	if (v->live_count > 1)
		prev = v->live[v->live_count - 2]->seg;
	if (last->header.kind != SEGMENT_PLAIN || state->poison != 0)
		return false;
	if (v->has_note && v->note.salt == state->active_salt &&
	    control_pos(v->note.segment, v->note.end) > state->position)
		return false; /* the page is older than the note */
	if (number == segment_number(last))
		return state->active_salt == last->header.salt &&
		       off >= SEGMENT_DATA_OFF && off <= segment_limit(last);
	/* The last one was named and is not published yet. */
	if (number + 1 != segment_number(last) || prev == NULL ||
	    prev->header.kind != SEGMENT_PLAIN || !last->link_ok ||
	    last->link.prev_salt != prev->header.salt ||
	    last->link.prev_end != off ||
	    (state->active_salt != prev->header.salt &&
		state->active_salt != last->header.salt))
		return false;
	state->position = control_pos(segment_number(last), SEGMENT_DATA_OFF);
	return true;
}

/* Whether something stands at the page's position: the page is stale then,
 * though of this boot; see recover.c. */
static bool
is_outrun(struct verify *v)
{
	return segment_is_used_at(v->live[v->live_count - 1]->seg, &v->dir,
	    control_pos_off(v->state.position));
}

static enum kvlog_status
list_names(struct verify *v)
{
	struct file_list list;
	enum kvlog_status st = dir_list(&v->dir, &list, v->err);

	if (st != KVLOG_OK)
		return st;
	v->files = os->calloc(list.count + 1, sizeof *v->files);
	v->live = os->calloc(list.count + 1, sizeof(struct verify_file *));
	if (v->files != NULL && v->live != NULL) {
		v->file_count = list.count;
		for (size_t i = 0; i < list.count; i++)
			v->files[i].file = list.files[i];
	} else {
		st = err_set(v->err, KVLOG_NOMEM, 0, "check %s", v->dir.path);
	}
	file_list_fini(&list);
	return st;
}

enum kvlog_status
verify_list(struct verify *v)
{
	struct control_state before = {0}, after = {0};
	bool was_valid = control_read(&v->control, &before), valid;
	bool lives = control_writer_lives(&v->control);
	enum kvlog_status st = list_names(v);

	if (st == KVLOG_OK)
		st = open_segments(v);
	if (st != KVLOG_OK)
		return st;
	find_store(v);
	qsort(v->files, v->file_count, sizeof *v->files, compare_files);
	drop_doubles(v);
	tile(v);

	v->has_note = control_read_note(&v->control, &v->note) &&
		      v->has_store &&
		      memcmp(v->note.uuid, v->store.uuid, 16) == 0;
	valid = control_read(&v->control, &after);
	v->state = after;
	v->warm = valid && was_valid && before.generation == after.generation &&
		  page_fits(v);
	v->report->live = lives || control_writer_lives(&v->control);
	if (v->warm && !v->report->live && is_outrun(v))
		v->warm = false;
	/* A listing beside a writer may be of two moments. */
	return v->report->live && !v->warm ? KVLOG_BUSY : KVLOG_OK;
}

void
verify_unlist(struct verify *v)
{
	for (size_t i = 0; i < v->file_count; i++)
		segment_close(v->files[i].seg);
	os->free(v->files);
	os->free(v->live);
	v->files = NULL;
	v->live = NULL;
	v->file_count = v->live_count = 0;
	v->has_store = false;
	v->warm = false;
}

enum kvlog_status
verify_open_fd(struct verify *v, size_t i, bool *ret_opened)
{
	struct segment *seg = v->live[i]->seg;
	int rc = segment_open_fd(seg, &v->dir, ret_opened);

	if (rc == ENOENT || rc == ESTALE)
		return KVLOG_BUSY;
	if (rc != 0)
		return err_sys(
		    v->err, rc, "open %s/%s", v->dir.path, seg->name);
	return KVLOG_OK;
}
