/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_hint.c - hint files, held against the records that they speak of.
 *
 * A hint is right if it names, for each key in the bytes it covers, the last
 * record there, in the order of keys.  Three checks prove that together:
 *
 *   - all checksums are right, and the header is bound to live files;
 *   - while the log is walked: for every record in the covered bytes a
 *     look-up of its key finds a place that is not before the record;
 *   - afterwards: the entries, in their order, point at valid records whose
 *     keys ascend, each with the hash and the type that the entry has.
 *
 * Ascending keys are different keys, so that no key has two entries; each
 * entry is a record of its key, and no record of that key is behind it.
 */
#include "config.h"

#include "verify.h"

#include "bytes.h"
#include "hint.h"
#include "hint_format.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define CHUNK (64u * 1024)
#define DESCRIPTORS_MAX 200u /* descriptors while entries are checked */
#define FIRST_READ 256u      /* bytes of a record; most need no more */

/* Opening */

static void
say_wrong(struct verify *v, struct verify_hint *h, uint64_t off, uint64_t len,
    const char *text)
{
	struct place *p;

	assert(!h->wrong); /* once is enough: it is made anew as a whole */
	h->wrong = true;
	p = verify_add(v, KVLOG_FINDING_HINT, VERIFY_NO_FILE, off, len);
	if (p == NULL)
		return;
	p->name = h->file->file.name;
	p->text = text;
}

static void
say_stale(struct verify *v, const struct verify_file *f, const char *text)
{
	struct place *p;

	/* A writer may have made it just now, of what is not looked at. */
	if (v->report->live)
		return;
	p = verify_add(v, KVLOG_FINDING_STALE_HINT, VERIFY_NO_FILE, 0, 0);
	if (p == NULL)
		return;
	p->name = f->file.name;
	p->text = text;
}

/* Why hint_open() did not like a file, if that is no damage; else NULL. */
static const char *
why_stale(const struct verify *v, const uint8_t *head)
{
	if (get_u16(head + 12) != SEGMENT_FORMAT ||
	    (get_u32(head + 16) & HINT_FEATURES_REFUSE) != 0)
		return "a hint file of another format; it is not used";
	if (memcmp(head + 24, v->store.uuid, 16) != 0)
		return "a hint file of another store; it is not used";
	return NULL;
}

/* Whether the header's sum is right, and all of it in the file. */
static bool
header_ok(struct verify *v, int fd, const uint8_t *head, size_t len)
{
	uint32_t header_len = len < HINT_HEADER_LEN ? 0 : get_u32(head + 20);
	uint32_t sources = len < HINT_HEADER_LEN ? 0 : get_u32(head + 44);
	uint32_t reg = UINT32_MAX;
	uint8_t chunk[HINT_SOURCE_LEN];

	if (sources == 0 || sources > HINT_SOURCES_MAX ||
	    memcmp(head, HINT_MAGIC, 8) != 0 ||
	    header_len != HINT_HEADER_LEN + HINT_SOURCE_LEN * sources)
		return false;
	reg = sum_update(reg, head + 12, HINT_HEADER_LEN - 12);
	for (uint32_t n = 0; n < sources; n++) {
		size_t got = 0;

		if (os->pread(fd, chunk, sizeof chunk,
			HINT_HEADER_LEN + HINT_SOURCE_LEN * (uint64_t)n,
			&got) != 0 ||
		    got < sizeof chunk || !verify_progress(v, sizeof chunk))
			return false;
		reg = sum_update(reg, chunk, sizeof chunk);
	}
	return ~reg == get_u32(head + 8);
}

/* Read all of a file, as nothing else may touch bytes that the medium does
 * not give.  *ret_bad is the first that it does not. */
static enum kvlog_status
read_all(struct verify *v, int fd, uint64_t size, uint64_t *ret_bad)
{
	uint8_t *chunk = os->malloc(CHUNK);
	enum kvlog_status st = KVLOG_OK;

	*ret_bad = VERIFY_NONE;
	if (chunk == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "read hint files");
	for (uint64_t off = 0; off < size && st == KVLOG_OK; off += CHUNK) {
		size_t got;

		if (os->pread(fd, chunk, CHUNK, off, &got) != 0) {
			*ret_bad = off;
			break;
		}
		if (!verify_progress(v, got))
			st = KVLOG_CANCELLED;
	}
	os->free(chunk);
	return st;
}

/* Let the sources be live files, as far as they reach. */
static bool
bind_hint(struct verify *v, struct verify_hint *h)
{
	struct hint *hint = h->hint;
	size_t i = 0;

	h->lives = os->calloc(hint->source_count, sizeof *h->lives);
	if (h->lives == NULL) {
		v->no_memory = true;
		return false;
	}
	for (size_t n = 0; n < hint->source_count; n++) {
		struct segment *seg;
		bool exact;

		while (i < v->live_count &&
		       !file_id_equal(&v->live[i]->id, &hint->sources[n].id))
			i++;
		if (i == v->live_count || v->live[i]->seg == NULL ||
		    v->live[i]->made_up)
			return false;
		seg = v->live[i]->seg;
		atomic_store(&seg->end,
		    min_u64(verify_limit(v, i, &exact), segment_limit(seg)));
		if (!hint_bind(hint, n, seg))
			return false;
		h->lives[n] = i;
	}
	return true;
}

/* Whether a writer has removed or replaced the file meanwhile. */
static bool
was_replaced(
    struct verify *v, const struct verify_file *f, const struct os_stat *was)
{
	struct os_stat now;
	int rc = os->stat_name(v->dir.fd, f->file.name, &now);

	return rc == ENOENT || (rc == 0 && !os_same_file(&now, was));
}

/* Read a hint file, and tell what keeps it from being used. */
static enum kvlog_status
open_hint(struct verify *v, struct verify_file *f, struct verify_hint *h)
{
	const bool quick = (v->options->flags & KVLOG_VERIFY_QUICK) != 0;
	uint8_t head[HINT_HEADER_LEN] = {0};
	struct os_stat stat = {0};
	uint64_t bad = VERIFY_NONE;
	enum kvlog_status st = KVLOG_OK;
	const char *stale;
	bool sound = false;
	size_t len = 0;
	int fd, rc;

	h->file = f;
	if (verify_is_irregular(v, f->file.name)) {
		say_wrong(v, h, 0, 0,
		    "something else has the name of a hint file, a directory "
		    "or the like; no data is lost: remove it");
		return KVLOG_OK;
	}
	rc = os->open(v->dir.fd, f->file.name, OS_OPEN_READ, 0, &fd);
	if (rc == ENOENT || rc == ESTALE)
		return KVLOG_OK; /* replaced by another one just now */
	if (rc == EMFILE || rc == ENFILE || rc == ENOMEM)
		return err_sys(
		    v->err, rc, "open %s/%s", v->dir.path, f->file.name);
	if (rc != 0) {
		say_wrong(v, h, 0, 0, "the hint file cannot be opened");
		return KVLOG_OK;
	}
	rc = os->stat(fd, &stat);
	if (rc != 0) {
		os->close(fd);
		return err_sys(
		    v->err, rc, "read %s/%s", v->dir.path, f->file.name);
	}
	rc = os->pread(fd, head, sizeof head, 0, &len);
	if (rc == 0 && !quick)
		st = read_all(v, fd, stat.size, &bad);
	if (rc == 0 && bad == VERIFY_NONE)
		sound = header_ok(v, fd, head, len);
	os->close(fd);
	if (st != KVLOG_OK)
		return st;
	if (bad != VERIFY_NONE || rc != 0) {
		say_wrong(v, h, rc == 0 ? bad : 0, 0,
		    "the hint file cannot be read; no data is lost: rebuild "
		    "the hints");
		return KVLOG_OK;
	}
	stale = sound ? why_stale(v, head) : NULL;
	if (stale != NULL) {
		say_stale(v, f, stale);
		return KVLOG_OK;
	}
	if (sound)
		rc = hint_try_open(&v->dir, f->file.name, &v->store, &h->hint);
	if (rc != 0 && !was_replaced(v, f, &stat))
		return err_sys(
		    v->err, rc, "map %s/%s", v->dir.path, f->file.name);
	if (h->hint == NULL && was_replaced(v, f, &stat))
		return KVLOG_OK;
	if (h->hint == NULL) {
		say_wrong(v, h, 0, sound ? 0 : BLOCK_SIZE,
		    "the header of the hint file is damaged; no data is lost: "
		    "rebuild the hints");
	} else if (!bind_hint(v, h)) {
		say_stale(v, f,
		    "the hint file is of segments that are not live; it is "
		    "not used");
		hint_unref(h->hint);
		h->hint = NULL;
	}
	return KVLOG_OK;
}

/* Sums of all blocks, and the zeros before them. */
static void
check_blocks(struct verify *v, struct verify_hint *h)
{
	const struct hint *hint = h->hint;
	const uint64_t header_len =
	    HINT_HEADER_LEN + HINT_SOURCE_LEN * (uint64_t)hint->source_count;

	for (uint64_t off = header_len; off < hint->blocks_off; off++)
		if (hint->data[off] != 0) {
			say_wrong(v, h, off, 1,
			    "bytes of the hint file that should be zero are "
			    "not; no data is lost: rebuild the hints");
			return;
		}
	for (uint32_t b = 0; b < hint->block_count; b++) {
		uint64_t off = hint->blocks_off + (uint64_t)b * BLOCK_SIZE;
		const uint8_t *p = hint->data + off;

		if (get_u32(p) == sum_crc(p + 4, BLOCK_SIZE - 4))
			continue;
		say_wrong(v, h, off, BLOCK_SIZE,
		    "a block of the hint file is damaged; no data is lost: "
		    "rebuild the hints");
		return;
	}
	if (!hint_verify(hint))
		say_wrong(v, h, 0, 0,
		    "the hint file contradicts itself; no data is lost: "
		    "rebuild the hints");
}

enum kvlog_status
verify_open_hints(struct verify *v)
{
	enum kvlog_status st = KVLOG_OK;
	size_t count = 0;

	for (size_t i = 0; i < v->file_count; i++)
		count += v->files[i].file.kind == FILE_HINT;
	if (count == 0 || !v->has_store)
		return KVLOG_OK;
	v->hints = os->calloc(count, sizeof *v->hints);
	if (v->hints == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "read hint files");
	for (size_t i = 0; i < v->file_count && st == KVLOG_OK; i++) {
		struct verify_hint *h = &v->hints[v->hint_count];

		if (v->files[i].file.kind != FILE_HINT)
			continue;
		v->hint_count++;
		st = open_hint(v, &v->files[i], h);
		if (st == KVLOG_OK && h->hint != NULL &&
		    (v->options->flags & KVLOG_VERIFY_QUICK) == 0)
			check_blocks(v, h);
	}
	return st;
}

void
verify_close_hints(struct verify *v)
{
	for (size_t n = 0; n < v->hint_count; n++) {
		hint_unref(v->hints[n].hint);
		os->free(v->hints[n].lives);
	}
	os->free(v->hints);
	v->hints = NULL;
	v->hint_count = 0;
}

/* Against the records */

/* The number of the source that covers a place; the count if none does. */
static size_t
source_at(const struct verify_hint *h, size_t i, uint64_t off)
{
	const struct hint *hint = h->hint;
	size_t low = 0, high = hint->source_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (h->lives[mid] < i)
			low = mid + 1;
		else
			high = mid;
	}
	return low < hint->source_count && h->lives[low] == i &&
		       off >= hint->sources[low].from &&
		       off < hint->sources[low].to
		   ? low
		   : hint->source_count;
}

/* A look-up of rec's key, which stands at (source n, off), must find a record
 * of this key that is not before it. */
static bool
is_found(const struct hint *hint, size_t n, uint64_t off,
    const struct record *rec, uint64_t hash, bool *ret_damaged)
{
	struct hint_key key = hint_key_of(rec);
	struct hint_probe probe;
	struct hint_entry e;

	*ret_damaged = false;
	if (!hint_find(hint, &key, hash, &probe, &e)) {
		*ret_damaged = probe.damaged;
		return false;
	}
	do {
		/* Another key's entry of this hash would be judged by its own
		 * records. */
		if (e.index > n || (e.index == n && e.off >= off))
			return true;
	} while (hint_find_next(&probe, &e));
	return false;
}

void
verify_hint_record(
    struct verify *v, size_t i, uint64_t off, const struct record *rec)
{
	uint64_t hash = 0;
	bool hashed = false, damaged;

	if (!record_type_known(rec->type) || rec->type == RECORD_MARK)
		return;
	for (size_t k = 0; k < v->hint_count; k++) {
		struct verify_hint *h = &v->hints[k];
		size_t n;

		if (h->hint == NULL || h->wrong)
			continue;
		n = source_at(h, i, off);
		if (n == h->hint->source_count)
			continue;
		if (!hashed)
			hash = hint_hash(v->live[i]->seg, rec);
		hashed = true;
		if (rec->seq > h->hint->sources[n].last_seq)
			say_wrong(v, h, 0, 0,
			    "the hint file covers commits that it does not "
			    "know of; rebuild the hints");
		else if (!is_found(h->hint, n, off, rec, hash, &damaged))
			say_wrong(v, h, 0, 0,
			    damaged
				? "the hint file contradicts itself; rebuild "
				  "the hints"
				: "the hint file lacks a record, so that its "
				  "key shows an older value; rebuild the "
				  "hints");
	}
}

/* Records in the order of keys: all over the segments. */
struct reader {
	struct verify *v;
	const struct verify_hint *h;
	unsigned open_count; /* descriptors */
	uint8_t *bufs[2];    /* this record's header and key, and the last's */
	struct hint_key last;
};

static void
close_sources(struct reader *r)
{
	for (size_t n = 0; n < r->h->hint->source_count; n++)
		segment_close_fd(r->v->live[r->h->lives[n]]->seg);
	r->open_count = 0;
}

/* Read the header and key of an entry's record. */
static enum kvlog_status
read_entry(struct reader *r, const struct hint_entry *e, struct record *rec,
    bool *ret_ok)
{
	const size_t live = r->h->lives[e->index];
	const struct segment *seg = r->v->live[live]->seg;
	const uint64_t room = segment_end(seg) - e->off;
	size_t want = FIRST_READ, got;
	uint8_t *p = r->bufs[0];
	enum kvlog_status st;
	bool opened;

	*ret_ok = false;
	if (r->open_count == DESCRIPTORS_MAX)
		close_sources(r);
	st = verify_open_fd(r->v, live, &opened);
	if (st != KVLOG_OK)
		return st;
	r->open_count += opened;
	do {
		memset(p, 0, want);
		if (os->pread(seg->fd, p, want, e->off, &got) != 0 ||
		    !record_parse(p, room, rec))
			return KVLOG_OK;
		got = (size_t)(rec->key - p) + rec->key_len;
		if (got <= want)
			break;
		want = got;
	} while (true);
	*ret_ok = record_header_ok(p, rec, segment_seed(seg, e->off));
	return KVLOG_OK;
}

static const char *
wrong_entry(const struct reader *r, const struct hint_entry *e,
    const struct record *rec)
{
	struct hint_key key = hint_key_of(rec);

	if (rec->type != e->type ||
	    ((rec->flags & RECORD_EXPIRY) != 0) != e->expiry)
		return "the hint file has a wrong type for a record; rebuild "
		       "the hints";
	if (hint_hash(e->seg, rec) != e->hash)
		return "the hint file has a wrong hash for a key; rebuild the "
		       "hints";
	if (r->last.len > 0 && hint_key_compare(&r->last, &key) >= 0)
		return "the hint file is not in the order of keys; rebuild "
		       "the hints";
	return NULL;
}

static enum kvlog_status
check_entry(struct reader *r, struct verify_hint *h, uint64_t n)
{
	struct hint_entry e;
	struct record rec;
	const char *wrong = NULL;
	bool ok = false;
	enum kvlog_status st = KVLOG_OK;

	if (!hint_get(h->hint, n, &e)) {
		say_wrong(r->v, h, 0, 0,
		    "a block of the hint file is damaged; rebuild the hints");
		return KVLOG_OK;
	}
	st = read_entry(r, &e, &rec, &ok);
	if (st != KVLOG_OK)
		return st;
	if (ok)
		wrong = wrong_entry(r, &e, &rec);
	else if (!r->v->live[h->lives[e.index]]->damaged)
		wrong = "the hint file points where no record is; rebuild the "
			"hints";
	if (wrong != NULL) {
		say_wrong(r->v, h, 0, 0, wrong);
	} else if (ok) {
		uint8_t *last = r->bufs[1];

		r->last = hint_key_of(&rec);
		r->bufs[1] = r->bufs[0];
		r->bufs[0] = last;
	}
	return KVLOG_OK;
}

/* The entries in their order, with their records; damaged ones are left
 * out. */
static enum kvlog_status
check_entries(struct verify *v, struct verify_hint *h)
{
	struct reader r = {.v = v, .h = h};
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < 2; i++) {
		r.bufs[i] = os->malloc(
		    RECORD_HEADER_SIZE + RECORD_EXT_MAX + KVLOG_KEY_MAX);
		if (r.bufs[i] == NULL)
			st = err_set(v->err, KVLOG_NOMEM, 0, "read hint files");
	}
	for (uint64_t n = 0;
	     st == KVLOG_OK && n < h->hint->entry_count && !h->wrong; n++) {
		st = check_entry(&r, h, n);
		if (st == KVLOG_OK && n % 1024 == 0 && !verify_progress(v, 0))
			st = KVLOG_CANCELLED;
	}
	close_sources(&r);
	os->free(r.bufs[0]);
	os->free(r.bufs[1]);
	return st;
}

enum kvlog_status
verify_check_hints(struct verify *v)
{
	enum kvlog_status st = KVLOG_OK;

	if ((v->options->flags & KVLOG_VERIFY_QUICK) != 0)
		return KVLOG_OK;
	for (size_t n = 0; n < v->hint_count && st == KVLOG_OK; n++) {
		struct verify_hint *h = &v->hints[n];

		if (h->hint != NULL && !h->wrong)
			st = check_entries(v, h);
	}
	return st;
}

/* As evidence */

/* The place, among those in order, that covers (i, off); the count if none
 * does. */
static size_t
find_place(const struct verify *v, const size_t *order, size_t count, size_t i,
    uint64_t off)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct place *p = &v->places[order[mid]];

		if (p->live < i || (p->live == i && p->off + p->len <= off))
			low = mid + 1;
		else
			high = mid;
	}
	if (low < count && v->places[order[low]].live == i &&
	    v->places[order[low]].off <= off)
		return low;
	return count;
}

void
verify_hinted(
    struct verify *v, const size_t *order, size_t count, verify_hinted_fn *fn)
{
	for (size_t k = 0; k < v->hint_count; k++) {
		const struct verify_hint *h = &v->hints[k];
		struct hint_entry e;

		for (uint64_t n = 0;
		     h->hint != NULL && n < h->hint->entry_count; n++) {
			size_t at;

			if (!hint_get(h->hint, n, &e))
				continue;
			at = find_place(
			    v, order, count, h->lives[e.index], e.off);
			if (at < count)
				fn(v, order[at], e.off, e.hash);
		}
	}
}

bool
verify_hint_covers(const struct verify *v, size_t i, uint64_t from, uint64_t to)
{
	for (size_t k = 0; k < v->hint_count; k++) {
		const struct verify_hint *h = &v->hints[k];
		size_t n;

		if (h->hint == NULL || h->wrong)
			continue;
		n = source_at(h, i, from);
		if (n < h->hint->source_count && to <= h->hint->sources[n].to)
			return true;
	}
	return false;
}
