/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * makelog.h - logs made by hand, record by record, on the simulated machine:
 * what the engine would not write, or would leave only after a crash of a
 * certain kind.  And what unit tests of the engine's parts do with them.
 *
 * The machine is made by makelog_setup(), a checked fixture.  A log is then
 *	makelog_begin(&m, 1);  makelog_put(&m, "a", 100);  makelog_end(&m);
 * for each of its segments: numbers, links and lags come out as the engine
 * would write them if all up to m.durable had been synced.
 */
#ifndef MAKELOG_H
#define MAKELOG_H

#include "control.h"
#include "dir.h"
#include "recover.h"
#include "segment.h"
#include "segset.h"
#include "simos.h"
#include "test.h"

#include <kvlog.h>
#include <string.h>

#define MAKELOG_STORE "/db"
#define MAKELOG_SIZE 8192u /* bytes in a segment: the smallest there are */
#define MAKELOG_VALUE_MAX 4096u

struct makelog {
	struct dir dir;
	struct segment_store store;
	struct segment *seg;      /* being written, or NULL */
	uint64_t size;            /* of segments */
	uint64_t off;             /* where the next record goes */
	uint64_t seq;             /* of the last commit */
	uint64_t durable;         /* what records say is durable */
	struct segment_link link; /* of the segment */
};

#define MAKELOG_OK(call) ck_assert_int_eq((int)(call), (int)KVLOG_OK)

static inline void
makelog_setup(void)
{
	simos_init(1);
	simos_set_shadow(true);
	ck_assert_int_eq(os->mkdir(MAKELOG_STORE, 0755), 0);
	ck_assert_int_eq(os->sync_parent(MAKELOG_STORE), 0);
}

static inline void
makelog_teardown(void)
{
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	simos_fini();
}

static inline TCase *
makelog_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, makelog_setup, makelog_teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return tc;
}

static inline void
makelog_init(struct makelog *m)
{
	memset(m, 0, sizeof *m);
	m->size = MAKELOG_SIZE;
	for (unsigned i = 0; i < sizeof m->store.secret; i++)
		m->store.secret[i] = (uint8_t)(i * 5 + 1);
	memcpy(m->store.uuid, "the uuid is mine", 16);
	MAKELOG_OK(dir_open(&m->dir, MAKELOG_STORE, 0644, NULL));
}

/* The path of a file of the store; valid until the next call. */
static inline const char *
makelog_path(const char *name)
{
	static char path[100];

	snprintf(path, sizeof path, MAKELOG_STORE "/%s", name);
	return path;
}

static inline bool
makelog_exists(const char *name)
{
	const uint8_t *bytes;
	uint64_t size;

	return simos_peek(makelog_path(name), &bytes, &size);
}

static inline int
makelog_note_hint(void *arg, const char *name)
{
	struct file f;

	dir_parse_name(name, &f);
	if (f.kind == FILE_HINT && *(char *)arg == '\0')
		memcpy(arg, name, strlen(name) + 1);
	return 0;
}

/* The name of a hint file; valid until the next call; NULL: there is none. */
static inline const char *
makelog_hint(void)
{
	static char name[DIR_NAME_LEN];
	int fd;

	name[0] = '\0';
	ck_assert_int_eq(os->open_dir(MAKELOG_STORE, &fd), 0);
	ck_assert_int_eq(os->list(fd, makelog_note_hint, name), 0);
	ck_assert_int_eq(os->close(fd), 0);
	return name[0] != '\0' ? name : NULL;
}

/* Close what is open; the files stay. */
static inline void
makelog_fini(struct makelog *m)
{
	segment_close(m->seg);
	m->seg = NULL;
	dir_close(&m->dir);
}

/* Seal what is being written and begin a segment as header says; its link is
 * m->link, filled for the usual case by makelog_begin(). */
static inline void
makelog_begin_as(
    struct makelog *m, const struct segment_header *header, const char *name)
{
	struct segment *seg;

	MAKELOG_OK(segment_create(&m->dir, "a.tmp", header, false, &seg, NULL));
	ck_assert_int_eq(segment_store_link(seg, &m->link), 0);
	ck_assert_int_eq(os->sync(seg->fd), 0);
	ck_assert_int_eq(os->rename(m->dir.fd, "a.tmp", name), 0);
	ck_assert_int_eq(os->sync_dir(m->dir.fd), 0);
	memcpy(seg->name, name, strlen(name) + 1);
	if (m->seg != NULL)
		ck_assert_int_eq(os->sync(m->seg->fd), 0);
	segment_close(m->seg);
	m->seg = seg;
	m->off = SEGMENT_DATA_OFF;
}

/* The next plain segment; a new range of numbers if first_seq is not 0. */
static inline void
makelog_begin_range(struct makelog *m, uint32_t number, uint64_t first_seq)
{
	struct segment_header header = {.store = m->store,
	    .kind = SEGMENT_PLAIN,
	    .id = {number, number, 0, 1, 1},
	    .size = m->size,
	    .max_size = m->size};
	char name[DIR_NAME_LEN];

	memset(&m->link, 0, sizeof m->link);
	if (m->seg != NULL) {
		bool plain = m->seg->header.kind == SEGMENT_PLAIN;

		m->link.prev_salt = segment_last_salt(m->seg);
		m->link.prev_end = plain ? m->off : m->seg->header.last_end;
	}
	m->link.prev_last_seq = m->seq;
	m->link.durable = m->durable >= m->seq;
	m->link.first_seq = first_seq != 0 ? first_seq : m->seq + 1;
	if (first_seq != 0) {
		m->seq = m->durable = first_seq - 1;
		m->link.durable = true;
	}
	dir_make_name(name, &header.id, "seg");
	makelog_begin_as(m, &header, name);
}

static inline void
makelog_begin(struct makelog *m, uint32_t number)
{
	makelog_begin_range(m, number, 0);
}

/* Make what was written so far safe from a power loss. */
static inline void
makelog_sync(struct makelog *m)
{
	ck_assert_int_eq(os->sync(m->seg->fd), 0);
}

static inline void
makelog_end(struct makelog *m)
{
	makelog_sync(m);
	segment_close(m->seg);
	m->seg = NULL;
}

/* Store a record as it is; returns its offset. */
static inline uint64_t
makelog_add(struct makelog *m, const struct record *rec)
{
	uint8_t buf[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	uint64_t off = m->off;
	unsigned len = record_encode(buf, rec, segment_seed(m->seg, off));
	const struct os_map *map = &m->seg->map;

	ck_assert_int_eq(os->store(map, off, buf, len), 0);
	if (rec->key_len > 0)
		ck_assert_int_eq(
		    os->store(map, off + len, rec->key, rec->key_len), 0);
	if (rec->value_len > 0)
		ck_assert_int_eq(os->store(map, off + len + rec->key_len,
				     rec->value, rec->value_len),
		    0);
	m->off += record_size(rec->flags, rec->key_len, rec->value_len);
	return off;
}

/* A value of commit seq. */
static inline const uint8_t *
makelog_value(uint64_t seq)
{
	static uint8_t value[MAKELOG_VALUE_MAX];

	memset(value, (int)(seq % 255 + 1), sizeof value);
	return value;
}

/* A record of commit m->seq; flags are those of struct record. */
static inline struct record
makelog_record(const struct makelog *m, unsigned type, const char *key,
    size_t value_len, unsigned flags)
{
	struct record rec = {0};

	rec.type = (uint8_t)type;
	rec.flags = (uint8_t)flags;
	rec.key = (const uint8_t *)key;
	rec.key_len = (uint16_t)strlen(key);
	rec.value = makelog_value(m->seq);
	rec.value_len = (uint32_t)value_len;
	rec.seq = m->seq;
	rec.lag = record_lag(m->seq, m->durable);
	rec.bucket_seq = (flags & RECORD_BUCKET) != 0; /* or the caller's */
	return rec;
}

static inline uint64_t
makelog_put(struct makelog *m, const char *key, size_t value_len)
{
	struct record rec;

	m->seq++;
	rec = makelog_record(m, RECORD_PUT, key, value_len, 0);
	return makelog_add(m, &rec);
}

/* A bucket of id 1, 0 or so, in the catalogue. */
static inline uint64_t
makelog_bucket(struct makelog *m, const char *name, uint64_t seq)
{
	uint8_t id[RECORD_BUCKET_LEN] = {0};
	struct record rec;

	m->seq++;
	put_u64(id, seq);
	rec = makelog_record(m, RECORD_PUT, name, 0, RECORD_BUCKET);
	rec.bucket_seq = 0;
	rec.bucket_ordinal = BUCKET_CATALOGUE_ORDINAL;
	rec.value = id;
	rec.value_len = sizeof id;
	return makelog_add(m, &rec);
}

static inline uint64_t
makelog_delete(struct makelog *m, const char *key)
{
	struct record rec;

	m->seq++;
	rec = makelog_record(m, RECORD_DELETE, key, 0, 0);
	return makelog_add(m, &rec);
}

/* A commit of count puts of keys "b0", "b1", ...; returns where it begins. */
static inline uint64_t
makelog_batch(struct makelog *m, unsigned count, size_t value_len)
{
	uint64_t start = m->off;

	m->seq++;
	for (unsigned i = 0; i < count; i++) {
		char key[16];
		struct record rec;

		snprintf(key, sizeof key, "b%u", i);
		rec = makelog_record(m, RECORD_PUT, key, value_len,
		    (i > 0 ? RECORD_CONT : 0u) |
			(i + 1 < count ? RECORD_MORE : 0u));
		(void)makelog_add(m, &rec);
	}
	return start;
}

static inline uint64_t
makelog_mark(struct makelog *m, bool clean)
{
	struct record rec = {0};

	rec.type = RECORD_MARK;
	rec.flags = clean ? RECORD_CLEAN : 0;
	rec.seq = m->seq;
	rec.lag = record_lag(m->seq, m->durable);
	return makelog_add(m, &rec);
}

/* Damage in a file that is not mapped. */
static inline void
makelog_poke(const char *name, uint64_t off, const void *src, size_t len)
{
	simos_poke(makelog_path(name), off, src, len);
}

/* Invert a byte. */
static inline void
makelog_flip(const char *name, uint64_t off)
{
	const uint8_t *bytes;
	uint64_t size;
	uint8_t byte;

	ck_assert(simos_peek(makelog_path(name), &bytes, &size));
	ck_assert_uint_lt(off, size);
	byte = (uint8_t)~bytes[off];
	makelog_poke(name, off, &byte, 1);
}

/* What recovery says of the files. */
struct found {
	struct dir dir;
	struct control control;
	struct segset *set;
	struct hintset hints;
	struct recovery r;
	struct kvlog_error err;
	enum kvlog_status st;
};

/* Become the only writer. */
static inline void
makelog_lock(struct control *control, struct dir *dir)
{
	bool sole;

	MAKELOG_OK(control_lock_writer(control, dir, false, 0, &sole, NULL));
	ck_assert(sole);
}

/* As a reader, or as the only writer. */
static inline void
found_init(struct found *f, bool writable)
{
	memset(f, 0, sizeof *f);
	MAKELOG_OK(dir_open(&f->dir, MAKELOG_STORE, 0644, NULL));
	MAKELOG_OK(control_open(&f->control, &f->dir, writable, NULL));
	if (writable)
		makelog_lock(&f->control, &f->dir);
	f->set = segset_create();
	ck_assert_ptr_nonnull(f->set);
	MAKELOG_OK(hintset_init(&f->hints, f->set, NULL));
	f->st = recover_find(&f->dir, &f->control, &f->hints, &f->r, &f->err);
}

static inline void
found_fini(struct found *f)
{
	hintset_fini(&f->hints);
	segset_destroy(f->set);
	recovery_fini(&f->r);
	control_close(&f->control);
	dir_close(&f->dir);
}

static inline struct segment *
found_last(const struct found *f)
{
	ck_assert_uint_gt(f->set->count, 0);
	return f->set->segments[f->set->count - 1];
}

/* What is called, in order, one line each. */
struct calls {
	FILE *stream;
	char *text;
	size_t len;
};

static inline void
calls_begin(struct calls *c)
{
	memset(c, 0, sizeof *c);
	c->stream = open_memstream(&c->text, &c->len);
	ck_assert_ptr_nonnull(c->stream);
	simos_trace(c->stream);
}

static inline void
calls_end(struct calls *c)
{
	simos_trace(NULL);
	ck_assert_int_eq(fclose(c->stream), 0);
}

static inline void
calls_fini(struct calls *c)
{
	free(c->text);
}

/* Where a line begins with this text from at on; NULL if none does. */
static inline const char *
calls_find(const char *at, const char *call)
{
	size_t len = strlen(call);

	while (*at != '\0') {
		const char *end = strchr(at, '\n');

		at += strspn(at, " 0123456789");
		if (strncmp(at, call, len) == 0)
			return at;
		at = end + 1;
	}
	return NULL;
}

/* These calls are there, in this order; others may be between them.  The last
 * one is NULL. */
static inline void
calls_in_order(const struct calls *c, const char *const *calls)
{
	const char *at = c->text;

	for (; *calls != NULL; calls++) {
		at = calls_find(at, *calls);
		/* Check cannot tell long stories. */
		ck_assert_msg(at != NULL, "no \"%s\" in its place in\n%.4000s",
		    *calls, c->text);
		at = strchr(at, '\n') + 1;
	}
}

static inline unsigned
calls_count(const struct calls *c, const char *call)
{
	const char *at = c->text;
	unsigned n = 0;

	while ((at = calls_find(at, call)) != NULL) {
		n++;
		at = strchr(at, '\n') + 1;
	}
	return n;
}

#endif
