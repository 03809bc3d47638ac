/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segtest.h - segments with records in them, made without the engine above.
 */
#ifndef SEGTEST_H
#define SEGTEST_H

#include "dir.h"
#include "files.h"
#include "segment.h"
#include "test.h"
#include "tmpdir.h"

#include <string.h>

#define SEGTEST_SIZE (UINT64_C(1) << 20)

/* A checked fixture: a directory, open. */
static char *segtest_path;
static struct dir segtest_dir;

static inline void
segtest_setup(void)
{
	segtest_path = tmpdir_create();
	ck_assert_int_eq(
	    dir_open(&segtest_dir, segtest_path, 0666, NULL), KVLOG_OK);
}

static inline void
segtest_teardown(void)
{
	dir_close(&segtest_dir);
	tmpdir_remove(segtest_path);
}

static inline struct segment_header
segtest_header(uint32_t number, uint64_t size)
{
	struct segment_header h = {
	    .id = {number, number, 0, 1, 1}, .size = size};

	memset(h.store.uuid, 0x11, sizeof h.store.uuid);
	for (unsigned i = 0; i < sizeof h.store.secret; i++)
		h.store.secret[i] = (uint8_t)(i * 7 + 1);
	return h;
}

/* A segment under its own name, writable, with a link. */
static inline struct segment *
segtest_create(uint32_t number, uint64_t size)
{
	const struct segment_header header = segtest_header(number, size);
	const struct segment_link link = {
	    .first_seq = number == 1 ? 1 : 1000 * number, .durable = true};
	struct segment *seg = NULL;

	ck_assert_int_eq(
	    segment_create(&segtest_dir, "new.tmp", &header, false, &seg, NULL),
	    KVLOG_OK);
	ck_assert_int_eq(segment_store_link(seg, &link), 0);
	dir_make_name(seg->name, &header.id, "seg");
	ck_assert_int_eq(os->rename(segtest_dir.fd, "new.tmp", seg->name), 0);
	return seg;
}

/* Append a record, and return its offset.  *rec's size is filled in. */
static inline uint64_t
segtest_append(struct segment *seg, struct record *rec)
{
	uint8_t head[RECORD_HEADER_SIZE + RECORD_EXT_MAX];
	uint64_t off = segment_end(seg);
	unsigned len = record_encode(head, rec, segment_seed(seg, off));

	rec->size = record_size(rec->flags, rec->key_len, rec->value_len);
	if (rec->size > seg->header.size - off)
		ck_abort_msg("segment full");
	if (os->store(&seg->map, off, head, len) != 0 ||
	    os->store(&seg->map, off + len, rec->key, rec->key_len) != 0 ||
	    os->store(&seg->map, off + len + rec->key_len, rec->value,
		rec->value_len) != 0)
		ck_abort_msg("store");
	atomic_store(&seg->end, off + rec->size);
	seg->last_seq = rec->seq;
	return off;
}

static inline uint64_t
segtest_record(struct segment *seg, unsigned type, uint64_t seq,
    const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct record rec = {.type = (uint8_t)type,
	    .key_len = (uint16_t)key_len,
	    .value_len = (uint32_t)value_len,
	    .seq = seq,
	    .lag = 1,
	    .key = key,
	    .value = value};

	return segtest_append(seg, &rec);
}

static inline uint64_t
segtest_put(
    struct segment *seg, uint64_t seq, const char *key, const char *value)
{
	return segtest_record(
	    seg, RECORD_PUT, seq, key, strlen(key), value, strlen(value));
}

static inline uint64_t
segtest_delete(struct segment *seg, uint64_t seq, const char *key)
{
	return segtest_record(
	    seg, RECORD_DELETE, seq, key, strlen(key), NULL, 0);
}

/* Invert a bit in the file, mapped or not. */
static inline void
segtest_flip(const struct segment *seg, uint64_t off)
{
	char *path = files_path(segtest_path, seg->name);

	files_flip(path, (size_t)off, (unsigned)(off * 3 % 8));
	free(path);
}

#endif
