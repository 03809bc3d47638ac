/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment.c - one segment file: an append-only run of records.
 *
 *     0        512    576     4096     4608                    end      size
 *     +--------+------+- - - -+--------+--------+- - -+--------+- - - - +
 *     | fixed  | link | zeros | fixed  |record 0|     |record n| zeros  |
 *     | part   |      |       | (copy) |        |     |        |        |
 *     +--------+------+- - - -+--------+--------+- - -+--------+- - - - +
 *
 * A segment is a spare (no name of its own yet), then ACTIVE (exactly one per
 * store, the only one written), then SEALED by its successor's link and never
 * written again (INV-1).  Field layouts are in kvlog-format(5).
 *
 *   SEG-1  end only grows, and only by whole commits and marks.
 *   SEG-2  the fixed part is durable before the file has a segment's name, so
 *          a bad one is damage and never the trace of a crash.
 *   SEG-3  the mapping covers the whole file and never moves or grows;
 *          growth is a new segment.
 *   SEG-4  nothing is stored behind `allocated`, and the disk space up to
 *          there is there, so a store into the mapping cannot fail for want
 *          of space.  Of a new segment that is all of the file; one that is
 *          opened again gets some at first, and all when that is used up.
 *
 * Threads: opening, making and closing belong to one thread; any may map what
 * is only read; reads below `end` need no lock.
 */
#include "config.h"

#include "segment.h"

#include "bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "kvlogseg"
/* Bytes behind the end that have disk space when writing begins: enough for
 * a command that does little. */
#define OPENING_SPACE (UINT64_C(256) << 10)
#define COPY_OFF 4096u
#define SECRET_OFF 128u
#define LINK_DURABLE 0x1u
#define FEATURES_REFUSE 0xffffu

/* A record's header, extensions and key always fit into the window. */
#define WINDOW_LEN (256u * 1024)
static_assert(WINDOW_LEN > RECORD_HEADER_SIZE + RECORD_EXT_MAX + KVLOG_KEY_MAX +
			       BLOCK_SIZE,
    "window holds any key");
static_assert(
    WINDOW_LEN <= SUM_SPANS_MAX &&
	RECORD_HEADER_SIZE + RECORD_EXT_MAX + KVLOG_KEY_MAX <= SUM_SPAN_MAX,
    "spans hold any header");
static_assert(SEGMENT_DATA_OFF == COPY_OFF + SEGMENT_FIXED_LEN, "layout");

static void
encode_fixed(uint8_t buf[SEGMENT_FIXED_LEN], const struct segment_header *h)
{
	memset(buf, 0, SEGMENT_FIXED_LEN);
	memcpy(buf, MAGIC, 8);
	put_u16(buf + 12, SEGMENT_FORMAT);
	put_u32(buf + 20, h->kind);
	memcpy(buf + 24, h->store.uuid, 16);
	put_u32(buf + 40, h->id.first);
	put_u32(buf + 44, h->id.last);
	put_u32(buf + 48, h->id.round);
	put_u16(buf + 52, h->id.part);
	put_u16(buf + 54, h->id.parts);
	put_u64(buf + 56, h->size);
	put_u64(buf + 64, h->salt);
	put_u64(buf + 72, h->set_id);
	put_u64(buf + 80, h->end);
	put_u64(buf + 88, h->last_salt);
	put_u64(buf + 96, h->last_end);
	put_u64(buf + 104, h->last_seq);
	put_u64(buf + 112, h->now_ms);
	put_u64(buf + 120, h->max_size);
	memcpy(buf + SECRET_OFF, h->store.secret, SEGMENT_SECRET_LEN);
	put_u32(buf + 8, sum_crc(buf + 12, SEGMENT_FIXED_LEN - 12));
}

enum fixed_state { FIXED_OK, FIXED_BAD, FIXED_NEWER, FIXED_TRIAL };

static enum fixed_state
decode_fixed(const uint8_t buf[SEGMENT_FIXED_LEN], struct segment_header *h)
{
	if (memcmp(buf, MAGIC, 8) != 0 ||
	    get_u32(buf + 8) != sum_crc(buf + 12, SEGMENT_FIXED_LEN - 12))
		return FIXED_BAD;
	if (get_u16(buf + 12) > SEGMENT_FORMAT ||
	    (get_u32(buf + 16) & FEATURES_REFUSE) != 0)
		return FIXED_NEWER;
	if (get_u16(buf + 12) < SEGMENT_FORMAT)
		return FIXED_TRIAL;
	h->kind = get_u32(buf + 20);
	memcpy(h->store.uuid, buf + 24, 16);
	h->id.first = get_u32(buf + 40);
	h->id.last = get_u32(buf + 44);
	h->id.round = get_u32(buf + 48);
	h->id.part = get_u16(buf + 52);
	h->id.parts = get_u16(buf + 54);
	h->size = get_u64(buf + 56);
	h->salt = get_u64(buf + 64);
	h->set_id = get_u64(buf + 72);
	h->end = get_u64(buf + 80);
	h->last_salt = get_u64(buf + 88);
	h->last_end = get_u64(buf + 96);
	h->last_seq = get_u64(buf + 104);
	h->now_ms = get_u64(buf + 112);
	h->max_size = get_u64(buf + 120);
	memcpy(h->store.secret, buf + SECRET_OFF, SEGMENT_SECRET_LEN);
	if (h->kind > SEGMENT_VERBATIM)
		return FIXED_NEWER;
	/* Nobody writes such a header, but a hostile file may hold it. */
	if (h->last_seq > RECORD_SEQ_MAX || h->size < SEGMENT_DATA_OFF ||
	    h->size > (UINT64_C(1) << 39) ||
	    (h->kind != SEGMENT_PLAIN &&
		(h->end < SEGMENT_DATA_OFF || h->end > h->size ||
		    h->end % RECORD_ALIGN != 0)))
		return FIXED_BAD;
	return FIXED_OK;
}

static uint32_t
link_sum(const struct segment *seg, const uint8_t *buf)
{
	uint8_t salt[8];

	put_u64(salt, seg->header.salt);
	return ~sum_update(sum_update(UINT32_MAX, salt, sizeof salt), buf + 4,
	    SEGMENT_LINK_LEN - 4);
}

static void
encode_link(uint8_t buf[SEGMENT_LINK_LEN], const struct segment *seg,
    const struct segment_link *link)
{
	memset(buf, 0, SEGMENT_LINK_LEN);
	put_u32(buf + 4, link->durable ? LINK_DURABLE : 0);
	put_u64(buf + 8, link->prev_salt);
	put_u64(buf + 16, link->prev_end);
	put_u64(buf + 24, link->prev_last_seq);
	put_u64(buf + 32, link->first_seq);
	put_u32(buf, link_sum(seg, buf));
}

static bool
decode_link(const uint8_t buf[SEGMENT_LINK_LEN], const struct segment *seg,
    struct segment_link *link)
{
	if (get_u32(buf) != link_sum(seg, buf))
		return false;
	link->durable = (get_u32(buf + 4) & LINK_DURABLE) != 0;
	link->prev_salt = get_u64(buf + 8);
	link->prev_end = get_u64(buf + 16);
	link->prev_last_seq = get_u64(buf + 24);
	link->first_seq = get_u64(buf + 32);
	return link->prev_end % RECORD_ALIGN == 0 &&
	       link->prev_last_seq <= RECORD_SEQ_MAX &&
	       link->first_seq <= RECORD_SEQ_MAX;
}

static struct segment *
segment_new(const char *name)
{
	struct segment *seg = os->calloc(1, sizeof *seg);

	if (seg == NULL)
		return NULL;
	seg->fd = -1;
	memcpy(seg->name, name, strlen(name) + 1);
	return seg;
}

struct segment *
segment_ref(const struct segment *seg)
{
	struct segment *own = (struct segment *)(uintptr_t)seg;

	atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

void
segment_close(struct segment *seg)
{
	if (seg == NULL ||
	    atomic_fetch_sub_explicit(&seg->refs, 1, memory_order_acq_rel) > 0)
		return;
	os->unmap(&seg->map);
	if (seg->fd >= 0)
		os->close(seg->fd);
	os->free(seg->bad);
	os->free(seg->waste);
	os->free(seg);
}

static int
write_fixed(struct segment *seg)
{
	uint8_t buf[SEGMENT_FIXED_LEN];
	int rc;

	encode_fixed(buf, &seg->header);
	rc = os->pwrite(seg->fd, buf, sizeof buf, 0);
	if (rc == 0)
		rc = os->pwrite(seg->fd, buf, sizeof buf, COPY_OFF);
	if (rc == 0)
		rc = os->sync(seg->fd); /* SEG-2 */
	return rc;
}

/* An output is written once, from one end to the other: without a mapping that
 * takes no page faults, nor is a page cleared before. */
static int
map_segment(struct segment *seg, bool writable)
{
	enum os_fs fs = OS_FS_PLAIN;
	int rc = writable ? os->fs_type(seg->fd, &fs) : 0;

	if (rc == 0)
		rc = os->map(seg->fd, min_u64(seg->header.size, seg->file_len),
		    writable,
		    fs == OS_FS_COW || seg->header.kind == SEGMENT_OUTPUT,
		    &seg->map);
	if (rc == 0)
		atomic_store_explicit(
		    &seg->mapped, SEGMENT_MAPPED, memory_order_release);
	return rc;
}

/* Of ENOMEM the system's own words only say half. */
static const char *
want_of_room(int rc)
{
	return rc == ENOMEM ? ", but the address space is full (ulimit -v, "
			      "or a 32-bit program)"
			    : "";
}

static int
draw_salt(uint64_t *ret_salt)
{
	int rc;

	do {
		rc = os_draw(ret_salt);
	} while (rc == 0 && *ret_salt == 0);
	return rc;
}

enum kvlog_status
segment_create(struct dir *dir, const char *name,
    const struct segment_header *header, bool in_place,
    struct segment **ret_segment, struct kvlog_error *err)
{
	struct segment *seg;
	struct os_stat st;
	int rc;

	assert(header->size >= KVLOG_SEGMENT_SIZE_MIN);
	seg = segment_new(name);
	if (seg == NULL)
		return err_set(
		    err, KVLOG_NOMEM, 0, "create %s/%s", dir->path, name);
	seg->header = *header;
	seg->file_len = seg->allocated = header->size;
	atomic_init(&seg->end,
	    header->kind == SEGMENT_PLAIN ? SEGMENT_DATA_OFF : header->end);
	seg->last_seq = header->last_seq;

	rc = in_place ? os->open(dir->fd, name, OS_OPEN_WRITE, 0, &seg->fd)
		      : dir_create_file(dir, name, &seg->fd);
	if (rc != 0) {
		seg->fd = -1;
		goto fail;
	}
	rc = os->allocate(seg->fd, header->size); /* SEG-4 */
	if (rc == 0)
		rc = draw_salt(&seg->header.salt);
	if (rc == 0)
		rc = write_fixed(seg);
	if (rc == 0)
		rc = os->stat(seg->fd, &st);
	if (rc == 0)
		rc = map_segment(seg, true);
	if (rc != 0) {
		os->unlink(dir->fd, name);
		goto fail;
	}
	seg->salt_sum = sum_salt(seg->header.salt);
	seg->dev = st.dev;
	seg->ino = st.ino;
	*ret_segment = seg;
	return KVLOG_OK;
fail:
	segment_close(seg);
	return err_sys(err, rc, "create %s/%s of %" PRIu64 " bytes%s",
	    dir->path, name, header->size, want_of_room(rc));
}

/* Whether the header that was read is that of a file of this name. */
static bool
is_of(const struct segment *seg, const struct file_id *id)
{
	return file_id_equal(&seg->header.id, id);
}

/*
 * Read the fixed part, or its copy where it is bad, or is one of another
 * segment, which a disk has written to the wrong place: the name decides.
 */
static enum kvlog_status
read_headers(struct segment *seg, struct dir *dir, const struct file_id *id,
    struct kvlog_error *err)
{
	uint8_t first[SEGMENT_LINK_OFF + SEGMENT_LINK_LEN] = {0},
					 copy[SEGMENT_FIXED_LEN] = {0};
	enum fixed_state state;
	size_t len;
	int rc, copy_rc;

	/* Unreadable media count as bad bytes here: there is a copy. */
	rc = os->pread(seg->fd, first, sizeof first, 0, &len);
	seg->head_unreadable = rc != 0;
	state = rc == 0 ? decode_fixed(first, &seg->header) : FIXED_BAD;
	if (state == FIXED_BAD || (state == FIXED_OK && !is_of(seg, id))) {
		const struct segment_header header = seg->header;
		enum fixed_state second;

		copy_rc = os->pread(seg->fd, copy, sizeof copy, COPY_OFF, &len);
		if (rc != 0 && copy_rc != 0)
			return err_sys(err, copy_rc, "read the header of %s/%s",
			    dir->path, seg->name);
		second =
		    copy_rc == 0 ? decode_fixed(copy, &seg->header) : FIXED_BAD;
		if (state == FIXED_BAD ||
		    (second == FIXED_OK && is_of(seg, id))) {
			seg->header_damaged = true;
			state = second;
		} else {
			seg->header = header;
		}
	}
	if (state == FIXED_NEWER)
		return err_set_at(err, KVLOG_VERSION, id->last, 0,
		    "%s/%s is written in a newer format than this version "
		    "reads; use a newer kvlog",
		    dir->path, seg->name);
	if (state == FIXED_TRIAL)
		return err_set_at(err, KVLOG_VERSION, id->last, 0,
		    "%s/%s is written in format 0, which was never final; "
		    "dump the store with the kvlog that wrote it, and load it "
		    "with this one",
		    dir->path, seg->name);
	if (state == FIXED_BAD)
		return err_set_at(err, KVLOG_CORRUPT, id->last, 0,
		    "%s/%s: both copies of the segment's header are damaged; "
		    "restore the file from a backup",
		    dir->path, seg->name);
	if (!is_of(seg, id))
		return err_set_at(err, KVLOG_CORRUPT, id->last, 0,
		    "%s/%s is another segment's file by its header: it was "
		    "renamed or copied; put the right file in its place",
		    dir->path, seg->name);
	seg->salt_sum = sum_salt(seg->header.salt);
	seg->link_ok = decode_link(first + SEGMENT_LINK_OFF, seg, &seg->link);
	return KVLOG_OK;
}

enum kvlog_status
segment_open_header(struct dir *dir, const char *name, const struct file_id *id,
    struct segment **ret_segment, struct kvlog_error *err)
{
	struct os_stat st;
	struct segment *seg;
	enum kvlog_status status;
	int rc;

	seg = segment_new(name);
	if (seg == NULL)
		return err_set(
		    err, KVLOG_NOMEM, 0, "open %s/%s", dir->path, name);
	atomic_init(&seg->end, SEGMENT_DATA_OFF);

	rc = os->open(dir->fd, name, OS_OPEN_READ, 0, &seg->fd);
	if (rc != 0)
		seg->fd = -1;
	if (rc == 0)
		rc = os->stat(seg->fd, &st);
	if (rc != 0) {
		status = err_sys(err, rc, "open %s/%s", dir->path, name);
		goto fail;
	}
	if (!st.is_regular) {
		status = err_set_at(err, KVLOG_CORRUPT, id->last, 0,
		    "%s/%s is not a file; put the right file in its place",
		    dir->path, name);
		goto fail;
	}
	seg->dev = st.dev;
	seg->ino = st.ino;
	seg->file_len = st.size;
	if (st.size < SEGMENT_DATA_OFF) {
		status = err_set_at(err, KVLOG_CORRUPT, id->last, st.size,
		    "%s/%s is cut off at %" PRIu64 " bytes, before its first "
		    "record; restore the file from a backup",
		    dir->path, name, st.size);
		goto fail;
	}
	status = read_headers(seg, dir, id, err);
	if (status != KVLOG_OK)
		goto fail;
	seg->dir = dir;
	if (seg->header.kind != SEGMENT_PLAIN) {
		atomic_store(
		    &seg->end, min_u64(seg->header.end, segment_limit(seg)));
		seg->last_seq = seg->header.last_seq;
	}
	*ret_segment = seg;
	return KVLOG_OK;
fail:
	segment_close(seg);
	return status;
}

enum kvlog_status
segment_open(struct dir *dir, const char *name, const struct file_id *id,
    struct segment **ret_segment, struct kvlog_error *err)
{
	struct segment *seg;
	enum kvlog_status st = segment_open_header(dir, name, id, &seg, err);

	if (st == KVLOG_OK)
		st = segment_map(seg, err);
	else
		return st;
	if (st == KVLOG_OK)
		*ret_segment = seg;
	else
		segment_close(seg);
	return st;
}

/* A mapping whose bytes before dense_to are to be read. */
static int
map_dense(const struct segment *seg, int fd, uint64_t dense_to,
    struct os_map *ret_map)
{
	const uint64_t len = min_u64(seg->header.size, seg->file_len);
	int rc = os->map(fd, len, false, false, ret_map);

	/* A copy may be sparse. */
	if (rc == 0)
		os->advise(ret_map, 0, min_u64(len, dense_to), OS_ADVICE_DENSE);
	return rc;
}

/* A mapping of a segment's file, if it is still the one that was opened. */
static int
map_by_name(
    const struct segment *seg, uint64_t dense_to, struct os_map *ret_map)
{
	struct os_stat st;
	int fd, rc;

	if (seg->fd >= 0)
		return map_dense(seg, seg->fd, dense_to, ret_map);
	rc = os->open(seg->dir->fd, seg->name, OS_OPEN_READ, 0, &fd);
	if (rc != 0)
		return rc;
	rc = os->stat(fd, &st);
	if (rc == 0 && (st.dev != seg->dev || st.ino != seg->ino))
		rc = ESTALE;
	if (rc == 0)
		rc = map_dense(seg, fd, dense_to, ret_map);
	os->close(fd);
	return rc;
}

enum kvlog_status
segment_map_now(const struct segment *segment, struct kvlog_error *err)
{
	/* Whoever reads records cannot tell when they were mapped. */
	struct segment *seg = (struct segment *)(uintptr_t)segment;
	enum segment_mapped none = SEGMENT_UNMAPPED;
	struct os_map map;
	int rc = map_by_name(seg, segment_end(seg), &map);

	if (rc != 0)
		return err_sys(err, rc, "map %s/%s%s", seg->dir->path,
		    seg->name, want_of_room(rc));
	map.fd = -1;
	if (atomic_compare_exchange_strong(
		&seg->mapped, &none, SEGMENT_MAPPING)) {
		seg->map = map;
		atomic_store_explicit(
		    &seg->mapped, SEGMENT_MAPPED, memory_order_release);
		return KVLOG_OK;
	}
	/* Another thread was faster. */
	os->unmap(&map);
	while (atomic_load_explicit(&seg->mapped, memory_order_acquire) !=
	       SEGMENT_MAPPED)
		;
	return KVLOG_OK;
}

/* Map for writing, with disk space up to want; 0: it has all it needs. */
static enum kvlog_status
map_for_writing(struct segment *seg, struct dir *dir, uint64_t want,
    struct kvlog_error *err)
{
	struct os_map old = seg->map;
	int fd, rc;

	rc = os->open(dir->fd, seg->name, OS_OPEN_WRITE, 0, &fd);
	if (rc != 0)
		return err_sys(
		    err, rc, "open %s/%s for writing", dir->path, seg->name);
	if (want > 0)
		rc = os->allocate(fd, want); /* SEG-4 */
	if (rc != 0) {
		os->close(fd);
		return err_sys(err, rc,
		    "allocate the rest of %s/%s (%" PRIu64 " bytes)", dir->path,
		    seg->name, want);
	}
	segment_close_fd(seg);
	seg->fd = fd;
	seg->allocated = want > 0 ? want : seg->header.size;
	seg->file_len = max_u64(seg->file_len, seg->header.size);
	memset(&seg->map, 0, sizeof seg->map);
	rc = map_segment(seg, true);
	os->unmap(&old);
	if (rc != 0)
		return err_sys(err, rc, "map %s/%s%s", dir->path, seg->name,
		    want_of_room(rc));
	return KVLOG_OK;
}

/* A copy may be sparse, and close gives unused space back. */
enum kvlog_status
segment_make_writable(
    struct segment *seg, struct dir *dir, struct kvlog_error *err)
{
	/* A file that was cut has to be whole to be mapped. */
	uint64_t want =
	    seg->file_len < seg->header.size
		? seg->header.size
		: min_u64(seg->header.size, segment_end(seg) + OPENING_SPACE);

	return map_for_writing(seg, dir, want, err);
}

enum kvlog_status
segment_share_writing(
    struct segment *seg, struct dir *dir, struct kvlog_error *err)
{
	return map_for_writing(seg, dir, 0, err);
}

int
segment_allocate(struct segment *seg, uint64_t to)
{
	int rc = 0;

	if (to > seg->allocated)
		rc = os->allocate(seg->fd, seg->header.size);
	if (rc == 0 && to > seg->allocated)
		seg->allocated = seg->header.size;
	return rc;
}

int
segment_take_name(struct segment *seg, struct dir *dir)
{
	struct os_stat st;
	char name[DIR_NAME_LEN];
	int rc;

	dir_make_name(name, &seg->header.id, "seg");
	rc = os->stat_name(dir->fd, name, &st);
	if (rc == 0)
		return EEXIST;
	if (rc == ENOENT)
		rc = dir_rename(dir, seg->name, name);
	if (rc == 0)
		memcpy(seg->name, name, sizeof name);
	return rc;
}

void
segment_close_fd(struct segment *seg)
{
	if (seg->fd < 0)
		return; /* another thread may be mapping it */
	os->close(seg->fd);
	seg->fd = -1;
	seg->map.fd = -1;
}

int
segment_open_fd(struct segment *seg, struct dir *dir, bool *ret_opened)
{
	struct os_stat st;
	int fd, rc;

	*ret_opened = false;
	if (seg->fd >= 0)
		return 0;
	rc = os->open(dir->fd, seg->name, OS_OPEN_READ, 0, &fd);
	if (rc != 0)
		return rc;
	rc = os->stat(fd, &st);
	if (rc == 0 && (st.dev != seg->dev || st.ino != seg->ino))
		rc = ESTALE;
	if (rc != 0) {
		os->close(fd);
		return rc;
	}
	seg->fd = fd;
	*ret_opened = true;
	return 0;
}

uint64_t
segment_last_salt(const struct segment *seg)
{
	return seg->header.kind == SEGMENT_PLAIN ? seg->header.salt
						 : seg->header.last_salt;
}

/* The first known bad range that ends behind off, or NULL. */
static const struct segment_range *
bad_behind(const struct segment *seg, uint64_t off)
{
	size_t low = 0, high = seg->bad_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (seg->bad[mid].to > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low < seg->bad_count ? &seg->bad[low] : NULL;
}

bool
segment_walk(const struct segment *seg, uint64_t *off, uint64_t to,
    struct record *ret_rec, bool *ret_bad)
{
	*ret_bad = false;
	for (const struct segment_range *bad = bad_behind(seg, *off);
	     bad != NULL && bad->from <= *off; bad = bad_behind(seg, *off))
		*off = bad->to;
	if (*off >= to)
		return false;
	if (!record_parse(seg->map.addr + *off, to - *off, ret_rec) ||
	    !record_header_ok(
		seg->map.addr + *off, ret_rec, segment_seed(seg, *off))) {
		*ret_bad = true;
		return false;
	}
	return true;
}

int
segment_add_bad(struct segment *seg, uint64_t from, uint64_t to)
{
	assert(from < to);
	assert(seg->bad_count == 0 || seg->bad[seg->bad_count - 1].to <= from);
	if (seg->bad_count == seg->bad_cap) {
		size_t cap = seg->bad_cap > 0 ? 2 * seg->bad_cap : 8;
		struct segment_range *bad;

		bad = os->realloc(seg->bad, cap * sizeof *bad);
		if (bad == NULL)
			return ENOMEM;
		seg->bad = bad;
		seg->bad_cap = cap;
	}
	seg->bad[seg->bad_count].from = from;
	seg->bad[seg->bad_count].to = to;
	seg->bad_count++;
	return 0;
}

int
segment_store_link(struct segment *seg, const struct segment_link *link)
{
	uint8_t buf[SEGMENT_LINK_LEN];
	int rc;

	encode_link(buf, seg, link);
	rc = os->store(&seg->map, SEGMENT_LINK_OFF, buf, sizeof buf);
	if (rc == 0) {
		seg->link = *link;
		seg->link_ok = true;
	}
	return rc;
}

/* Bytes of headers that may be summed one by one. */
#define SUMMED_MAX (1u << 20)

/* Be ready for sums of parts of the window; false for want of memory, which
 * costs time and nothing else. */
static bool
make_spans(struct segment_search *s, const uint8_t *bytes, uint64_t window_off,
    uint64_t window_len)
{
	if (s->spans == NULL) {
		s->spans = os->malloc(sizeof *s->spans);
		if (s->spans == NULL)
			return false;
		sum_spans_init(s->spans);
	}
	if (s->spans->bytes != bytes || s->window_off != window_off ||
	    s->window_len != window_len) {
		sum_spans_set(s->spans, bytes, (size_t)window_len);
		s->window_off = window_off;
		s->window_len = window_len;
	}
	return true;
}

bool
segment_search_ok(struct segment_search *search, const struct segment *seg,
    const uint8_t *bytes, uint64_t window_off, uint64_t window_len,
    uint64_t off, const struct record *rec)
{
	const uint8_t *p = bytes + (off - window_off);
	size_t covered =
	    RECORD_HEADER_SIZE + record_ext_len(rec->flags) + rec->key_len;
	uint32_t seed = segment_seed(seg, off);

	assert(off >= window_off && window_len <= SUM_SPANS_MAX &&
	       covered <= window_len - (off - window_off));
	search->summed += covered;
	if (search->summed < SUMMED_MAX ||
	    !make_spans(search, bytes, window_off, window_len))
		return sum_from(seed, p + 4, covered - 4) == get_u32(p);
	return sum_span(search->spans, seed, (size_t)(off - window_off) + 4,
		   covered - 4) == get_u32(p);
}

uint64_t
segment_next_record(const struct segment *seg, uint64_t off, uint64_t to,
    struct segment_search *search)
{
	struct record rec;

	for (off += RECORD_ALIGN; off < to; off += RECORD_ALIGN) {
		/* A window that the longest header fits into. */
		uint64_t window = off - off % (SUM_SPANS_MAX / 2);

		if (record_parse(seg->map.addr + off, to - off, &rec) &&
		    segment_search_ok(search, seg, seg->map.addr + window,
			window, min_u64(to - window, SUM_SPANS_MAX), off, &rec))
			return off;
	}
	return to;
}

void
segment_search_fini(struct segment_search *search)
{
	os->free(search->spans);
	search->spans = NULL;
}

int
segment_scan_init(struct segment_scan *scan, const struct segment *seg,
    uint64_t from, uint64_t limit)
{
	memset(scan, 0, sizeof *scan);
	scan->seg = seg;
	scan->off = from;
	scan->limit = min_u64(limit, segment_limit(seg));
	scan->window = os->malloc(WINDOW_LEN);
	return scan->window != NULL ? 0 : ENOMEM;
}

void
segment_scan_fini(struct segment_scan *scan)
{
	os->free(scan->window);
	scan->window = NULL;
	segment_search_fini(&scan->search);
}

/*
 * The bytes at off: *ret_len of them, at least want, or all up to the limit.
 * A block that cannot be read is taken for zeros behind a readable
 * beginning: its checksums will tell.
 */
static const uint8_t *
scan_bytes(
    struct segment_scan *scan, uint64_t off, size_t want, size_t *ret_len)
{
	uint64_t room = scan->limit - off;
	size_t skip;

	assert(off <= scan->limit && want <= WINDOW_LEN);
	want = (size_t)min_u64(want, room);
	if (off < scan->window_off ||
	    off + want > scan->window_off + scan->window_len) {
		size_t fill = (size_t)min_u64(WINDOW_LEN, room);
		size_t got = 0;
		int rc;

		rc = os->pread(scan->seg->fd, scan->window, fill, off, &got);
		if (rc != 0) {
			/* Find the readable beginning block by block. */
			got = 0;
			while (got < fill) {
				size_t part = 0, len = BLOCK_SIZE;

				/* A bad block must not cost its neighbour. */
				len -= (size_t)((off + got) % BLOCK_SIZE);
				len = (size_t)min_u64(len, fill - got);
				memset(scan->window + got, 0, len);
				if (os->pread(scan->seg->fd, scan->window + got,
					len, off + got, &part) != 0) {
					memset(scan->window + got, 0xff, len);
					scan->unreadable = true;
				}
				got += len;
			}
		} else {
			memset(scan->window + got, 0, fill - got);
		}
		scan->window_off = off;
		scan->window_len = fill;
	}
	skip = (size_t)(off - scan->window_off);
	*ret_len = scan->window_len - skip;
	return scan->window + skip;
}

/* Sum of len bytes at off, however long they are. */
static uint32_t
scan_sum(struct segment_scan *scan, uint32_t reg, uint64_t off, uint64_t len)
{
	while (len > 0) {
		size_t part;
		const uint8_t *p = scan_bytes(scan, off, 1, &part);

		part = (size_t)min_u64(part, len);
		reg = sum_update(reg, p, part);
		off += part;
		len -= part;
	}
	return reg;
}

static bool
scan_all_zero(struct segment_scan *scan, uint64_t off)
{
	while (off < scan->limit) {
		size_t len;
		const uint8_t *p = scan_bytes(scan, off, 1, &len);

		if (p[0] != 0 || memcmp(p, p + 1, len - 1) != 0)
			return false;
		off += len;
	}
	return true;
}

/* The record at off, whole header and key verified. */
static enum record_state
scan_record(struct segment_scan *scan, uint64_t off, struct record *ret_rec)
{
	const size_t want = RECORD_HEADER_SIZE + RECORD_EXT_MAX + KVLOG_KEY_MAX;
	size_t len;
	const uint8_t *p;
	uint64_t room = scan->limit - off;
	enum record_state state;

	p = scan_bytes(scan, off, RECORD_HEADER_SIZE + RECORD_EXT_MAX, &len);
	if (!record_parse(p, room, ret_rec))
		return RECORD_INVALID;
	if ((size_t)(ret_rec->key - p) + ret_rec->key_len > len) {
		p = scan_bytes(scan, off, want, &len);
		if (!record_parse(p, room, ret_rec))
			return RECORD_INVALID;
	}
	state = record_read(p, room, segment_seed(scan->seg, off), ret_rec);
	ret_rec->value = NULL; /* may lie beyond the window */
	return state;
}

enum scan_state
segment_scan_look(
    struct segment_scan *scan, struct record *ret_rec, bool *ret_value_ok)
{
	size_t len;
	const uint8_t *p;
	uint64_t value_off, window_off;

	if (scan->off >= scan->limit)
		return SCAN_END;
	p = scan_bytes(scan, scan->off, 8, &len);
	if (get_u64(p) == 0)
		return scan_all_zero(scan, scan->off) ? SCAN_ZERO : SCAN_BAD;
	switch (scan_record(scan, scan->off, ret_rec)) {
	case RECORD_INVALID:
		return SCAN_BAD;
	case RECORD_UNKNOWN:
		return SCAN_UNKNOWN;
	case RECORD_VALID:
		break;
	}

	window_off = scan->window_off;
	value_off = scan->off + RECORD_HEADER_SIZE +
		    record_ext_len(ret_rec->flags) + ret_rec->key_len;
	*ret_value_ok =
	    ~scan_sum(scan, segment_seed(scan->seg, scan->off), value_off,
		ret_rec->value_len) == ret_rec->value_sum;
	/* Summing a long value may have moved the window off the key. */
	if (scan->window_off != window_off &&
	    scan_record(scan, scan->off, ret_rec) != RECORD_VALID)
		return SCAN_BAD; /* it changed under us */
	return SCAN_RECORD;
}

/* Whether a record may begin at off; its header is in the window then. */
static bool
is_candidate(struct segment_scan *scan, uint64_t off)
{
	struct record rec;
	size_t len;
	const uint8_t *p =
	    scan_bytes(scan, off, RECORD_HEADER_SIZE + RECORD_EXT_MAX, &len);

	if (!record_type_known(p[8]) || get_u64(p) == 0 ||
	    !record_parse(p, scan->limit - off, &rec))
		return false;
	(void)scan_bytes(scan, off, (size_t)(rec.key - p) + rec.key_len, &len);
	return segment_search_ok(&scan->search, scan->seg, scan->window,
	    scan->window_off, scan->window_len, off, &rec);
}

bool
segment_scan_resync(struct segment_scan *scan)
{
	for (uint64_t off = scan->off + RECORD_ALIGN;
	     off + RECORD_HEADER_SIZE <= scan->limit; off += RECORD_ALIGN) {
		struct record rec;

		if (is_candidate(scan, off) &&
		    scan_record(scan, off, &rec) == RECORD_VALID) {
			scan->off = off;
			return true;
		}
	}
	scan->off = scan->limit;
	return false;
}

bool
segment_is_used_at(struct segment *seg, struct dir *dir, uint64_t off)
{
	uint8_t first[8] = {0};
	size_t len;
	bool opened;

	if (segment_open_fd(seg, dir, &opened) != 0)
		return false;
	if (os->pread(seg->fd, first, sizeof first, off, &len) != 0)
		put_u64(first, 0);
	if (opened)
		segment_close_fd(seg);
	return get_u64(first) != 0;
}
