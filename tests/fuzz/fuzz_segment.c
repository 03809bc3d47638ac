/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_segment.c - a segment file of any bytes: opened, scanned with and
 * without resynchronising, walked.  Every look stays in the file and goes
 * forward, and both ways of reading a record agree.
 *
 *     byte 0    bit 0: let the sums of header and link be right
 *               bit 1: and those of records, as long as one follows another,
 *                      and of the header of the next one, however long it is
 *               bit 2: the name is what the header says
 *     then the file
 */
#include "config.h"

#include "fuzz.h"

#include "bytes.h"
#include "repair.h"
#include "segment.h"

#include <errno.h>
#include <string.h>

/* A system with one file in it. */
static struct os_table system_table;
static const uint8_t *file;
static size_t file_len;

static int
file_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	(void)dirfd, (void)name, (void)how, (void)mode;
	*ret_fd = 1000;
	return 0;
}

static int
file_close(int fd)
{
	(void)fd;
	return 0;
}

static int
file_stat(int fd, struct os_stat *ret)
{
	(void)fd;
	*ret = (struct os_stat){.size = file_len, .is_regular = true};
	return 0;
}

static int
file_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	(void)fd;
	*ret_len = 0;
	if (off >= file_len)
		return 0;
	*ret_len = len < file_len - off ? len : file_len - (size_t)off;
	memcpy(buf, file + off, *ret_len);
	return 0;
}

static int
file_fs_type(int fd, enum os_fs *ret_fs)
{
	(void)fd;
	*ret_fs = OS_FS_PLAIN;
	return 0;
}

/* A copy of exactly that length, so that a look beyond it is seen. */
static int
file_map(
    int fd, uint64_t len, bool writable, bool by_pwrite, struct os_map *map)
{
	FUZZ_CHECK(len > 0 && len <= file_len && !writable);
	*map = (struct os_map){.addr = malloc((size_t)len),
	    .len = len,
	    .fd = fd,
	    .by_pwrite = by_pwrite};
	FUZZ_CHECK(map->addr != NULL);
	memcpy(map->addr, file, (size_t)len);
	return 0;
}

static void
file_unmap(struct os_map *map)
{
	free(map->addr);
	map->addr = NULL;
}

static void
file_advise(
    const struct os_map *map, uint64_t off, uint64_t len, enum os_advice advice)
{
	(void)map, (void)off, (void)len, (void)advice;
}

static void
make_system(void)
{
	system_table = os_real;
	system_table.open = file_open;
	system_table.close = file_close;
	system_table.stat = file_stat;
	system_table.pread = file_pread;
	system_table.fs_type = file_fs_type;
	system_table.map = file_map;
	system_table.unmap = file_unmap;
	system_table.advise = file_advise;
	os = &system_table;
}

/* What a scan says is also what the mapping says. */
static void
compare(const struct segment *seg, uint64_t off, const struct record *a,
    bool value_ok)
{
	const uint8_t *p = seg->map.addr + off;
	uint32_t seed = segment_seed(seg, off);
	struct record b;

	FUZZ_CHECK(record_parse(p, segment_limit(seg) - off, &b));
	FUZZ_CHECK(record_header_ok(p, &b, seed));
	FUZZ_CHECK(a->type == b.type && a->flags == b.flags &&
		   a->seq == b.seq && a->lag == b.lag && a->size == b.size &&
		   a->key_len == b.key_len && a->value_len == b.value_len);
	FUZZ_CHECK(memcmp(a->key, b.key, a->key_len) == 0);
	FUZZ_CHECK(record_value_ok(&b, seed) == value_ok);
}

static void
scan(const struct segment *seg)
{
	uint64_t last = 0;
	struct segment_scan s;
	bool more = true;

	FUZZ_CHECK(
	    segment_scan_init(&s, seg, SEGMENT_DATA_OFF, UINT64_MAX) == 0);
	while (more) {
		struct record rec;
		bool value_ok;

		FUZZ_CHECK(s.off > last && s.off <= s.limit);
		FUZZ_CHECK(s.limit <= file_len);
		last = s.off;
		switch (segment_scan_look(&s, &rec, &value_ok)) {
		case SCAN_RECORD:
			FUZZ_CHECK(rec.size <= s.limit - s.off);
			compare(seg, s.off, &rec, value_ok);
			s.off += rec.size;
			break;
		case SCAN_BAD:
			more = segment_scan_resync(&s);
			break;
		case SCAN_UNKNOWN:
			FUZZ_CHECK(s.limit - s.off >= RECORD_HEADER_SIZE);
			s.off += RECORD_ALIGN;
			break;
		case SCAN_ZERO:
		case SCAN_END:
		case SCAN_NOMEM:
			more = false;
			break;
		}
	}
	segment_scan_fini(&s);
}

static void
walk(const struct segment *seg)
{
	uint64_t off = SEGMENT_DATA_OFF, to = segment_limit(seg);
	struct record rec;
	bool bad;

	while (segment_walk(seg, &off, to, &rec, &bad)) {
		FUZZ_CHECK(rec.size > 0 && rec.size <= to - off);
		off += rec.size;
	}
	FUZZ_CHECK(off <= to || (off == SEGMENT_DATA_OFF && !bad));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dir dir = {.fd = 999, .path = "store"};
	struct file_id id = {1, 1, 0, 1, 1};
	struct segment *seg = NULL;
	uint8_t *copy;

	if (os == &os_real)
		make_system();
	if (size < 2)
		return 0;
	copy = malloc(size - 1);
	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data + 1, size - 1);
	file = copy;
	file_len = size - 1;
	if ((data[0] & 4) != 0 && file_len >= SEGMENT_DATA_OFF)
		id = (struct file_id){get_u32(copy + 40), get_u32(copy + 44),
		    get_u32(copy + 48), get_u16(copy + 52), get_u16(copy + 54)};
	if ((data[0] & 1) != 0)
		repair_segment_head(copy, file_len);
	if ((data[0] & 2) != 0)
		repair_segment_records(copy, file_len);
	if (segment_open(&dir, "00000001.seg", &id, &seg, NULL) == KVLOG_OK) {
		FUZZ_CHECK(segment_limit(seg) <= seg->map.len);
		FUZZ_CHECK(segment_end(seg) <= seg->map.len);
		scan(seg);
		walk(seg);
		segment_close(seg);
	}
	free(copy);
	return 0;
}
