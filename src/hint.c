/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint.c - making, writing, opening and searching hint images.
 *
 *     +--------+---------+- - -+---------+---------+--------+
 *     | header | block 0 |     | block n | fences  |  heap  |
 *     | sources| 4096 B  |     | 4096 B  | offsets |of keys |
 *     +--------+---------+- - -+---------+---------+--------+
 *
 * An entry is 9 or 10 bytes: 40 bits of the key's hash, and type and place of
 * the record.  It holds no key; a search compares keys in the records, after
 * the fences (the shortest byte string that parts one block from the next)
 * have led to the block.
 *
 * A hint file is bound to its segment by number, salt and end, and to the
 * store by UUID and hash secret; one that does not fit is left alone as if it
 * were not there.
 */
#include "config.h"

#include "hint.h"

#include "bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "kvloghnt"
#define HEADER_LEN 128u
#define SOURCE_LEN 64u
#define BLOCK_HEAD 16u
#define HASH_LEN 5u
#define KIND_BITS 4u
#define KIND_EXPIRY 0x8u
#define KIND_TYPE 0x7u
#define FENCE_HEAD 12u /* bucket id before each separator */
#define FEATURES_REFUSE 0xffffu

int
key_compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t len = a_len < b_len ? a_len : b_len;
	int c = len > 0 ? memcmp(a, b, len) : 0;

	if (c != 0)
		return c;
	return a_len < b_len ? -1 : a_len > b_len;
}

uint64_t
hint_hash(const struct segment *seg, const struct record *rec)
{
	const uint8_t *secret = seg->header.store.secret;

	if (rec->flags & RECORD_BUCKET) {
		uint8_t buf[12 + KVLOG_KEY_MAX];

		put_u64(buf, rec->bucket_seq);
		put_u32(buf + 8, rec->bucket_ordinal);
		memcpy(buf + 12, rec->key, rec->key_len);
		return sum_hash(secret, buf, 12u + rec->key_len);
	}
	return sum_hash(secret, rec->key, rec->key_len);
}

/* Building */

/* A record while it is sorted: its place in the mapping and, to save most
 * looks at it, the first bytes of its key as a number. */
struct sorted {
	uint64_t prefix;
	const uint8_t *bytes;
};

struct key_view {
	uint64_t bucket_seq;
	uint32_t bucket_ordinal;
	const uint8_t *key;
	uint16_t key_len;
};

/* bytes is a record whose header sum has been verified. */
static struct key_view
view_key(const uint8_t *bytes)
{
	struct record rec;
	bool ok = record_parse(bytes, UINT64_MAX, &rec);

	assert(ok);
	(void)ok;
	return (struct key_view){
	    rec.bucket_seq, rec.bucket_ordinal, rec.key, rec.key_len};
}

static int
compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int
compare_views(const struct key_view *a, const struct key_view *b)
{
	int c = compare_u64(a->bucket_seq, b->bucket_seq);

	if (c == 0)
		c = compare_u64(a->bucket_ordinal, b->bucket_ordinal);
	if (c == 0)
		c = key_compare(a->key, a->key_len, b->key, b->key_len);
	return c;
}

static bool
has_bucket(const uint8_t *bytes)
{
	return (bytes[9] & RECORD_BUCKET) != 0;
}

static int
compare_sorted(const void *va, const void *vb)
{
	const struct sorted *a = va, *b = vb;
	int c = 0;

	if (a->prefix != b->prefix && !has_bucket(a->bytes) &&
	    !has_bucket(b->bytes))
		return compare_u64(a->prefix, b->prefix);
	if (a->bytes != b->bytes) {
		struct key_view ka = view_key(a->bytes);
		struct key_view kb = view_key(b->bytes);

		c = compare_views(&ka, &kb);
	}
	/* Of one key, the later record last. */
	return c != 0 ? c : a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

uint64_t
key_prefix(const uint8_t *key, size_t key_len)
{
	uint64_t prefix = 0;

	for (size_t i = 0; i < 8; i++)
		prefix = prefix << 8 | (i < key_len ? key[i] : 0);
	return prefix;
}

static bool
same_key(const struct sorted *a, const struct sorted *b)
{
	struct key_view ka, kb;

	if (a->prefix != b->prefix)
		return false;
	ka = view_key(a->bytes);
	kb = view_key(b->bytes);
	return compare_views(&ka, &kb) == 0;
}

/* Gather the records of [from, to) that stand for keys, sorted, the last one
 * of each key only. */
static enum kvlog_status
gather(const struct segment *seg, uint64_t from, uint64_t to,
    struct sorted **ret_sorted, size_t *ret_count, uint64_t *ret_last_seq,
    struct kvlog_error *err)
{
	struct sorted *sorted = NULL;
	size_t count = 0, cap = 0, kept = 0;
	uint64_t off = from;
	struct record rec;
	bool bad;

	for (; segment_walk(seg, &off, to, &rec, &bad); off += rec.size) {
		if (!record_type_known(rec.type))
			continue;
		if (rec.type == RECORD_MARK)
			continue;
		*ret_last_seq = max_u64(*ret_last_seq, rec.seq);
		if (count == cap) {
			struct sorted *grown;

			cap = cap > 0 ? 2 * cap : 1024;
			grown = os->realloc(sorted, cap * sizeof *sorted);
			if (grown == NULL) {
				os->free(sorted);
				return err_set(err, KVLOG_NOMEM, 0,
				    "sort the keys of segment %u",
				    (unsigned)segment_number(seg));
			}
			sorted = grown;
		}
		sorted[count].prefix = key_prefix(rec.key, rec.key_len);
		sorted[count].bytes = seg->map.addr + off;
		count++;
	}
	if (bad) {
		os->free(sorted);
		return err_set_at(err, KVLOG_CORRUPT, segment_number(seg), off,
		    "segment %u is damaged at offset %llu",
		    (unsigned)segment_number(seg), (unsigned long long)off);
	}
	if (count > 1)
		qsort(sorted, count, sizeof *sorted, compare_sorted);
	for (size_t i = 0; i < count; i++)
		if (i + 1 == count || !same_key(&sorted[i], &sorted[i + 1]))
			sorted[kept++] = sorted[i];
	*ret_sorted = sorted;
	*ret_count = kept;
	return KVLOG_OK;
}

static unsigned
bits_for(uint64_t max)
{
	unsigned bits = 1;

	while (max >> bits != 0)
		bits++;
	return bits;
}

/* Length of the shortest s with before < s <= key, s a prefix of key. */
static size_t
separator_len(const struct key_view *before, const struct key_view *key)
{
	size_t common = 0;

	if (before->bucket_seq != key->bucket_seq ||
	    before->bucket_ordinal != key->bucket_ordinal)
		return 0;
	while (common < before->key_len && common < key->key_len &&
	       before->key[common] == key->key[common])
		common++;
	return common + 1 <= key->key_len ? common + 1 : key->key_len;
}

/* Room and places of the parts of an image. */
struct layout {
	uint64_t entry_count;
	uint32_t block_count, per_block;
	unsigned off_bits, loc_len;
	uint64_t blocks_off, fences_off, fences_len;
};

static void
plan(struct layout *l, const struct sorted *sorted, size_t count, uint64_t to)
{
	l->entry_count = count;
	l->off_bits = bits_for(to / RECORD_ALIGN);
	l->loc_len = (KIND_BITS + l->off_bits + 7) / 8;
	l->per_block = (BLOCK_SIZE - BLOCK_HEAD) / (HASH_LEN + l->loc_len);
	l->block_count = (uint32_t)((count + l->per_block - 1) / l->per_block);
	l->blocks_off = round_up(HEADER_LEN + SOURCE_LEN, BLOCK_SIZE);
	l->fences_off = l->blocks_off + (uint64_t)l->block_count * BLOCK_SIZE;
	l->fences_len = 4 * ((uint64_t)l->block_count + 1);
	for (uint32_t b = 0; b < l->block_count; b++) {
		l->fences_len += FENCE_HEAD;
		if (b > 0) {
			size_t i = (size_t)b * l->per_block;
			struct key_view before = view_key(sorted[i - 1].bytes);
			struct key_view key = view_key(sorted[i].bytes);

			l->fences_len += separator_len(&before, &key);
		}
	}
}

static void
fill_block(uint8_t *block, const struct layout *l, uint32_t number,
    const struct segment *seg, const struct sorted *sorted)
{
	size_t first = (size_t)number * l->per_block;
	size_t n = (size_t)min_u64(l->per_block, l->entry_count - first);
	uint8_t *p = block + BLOCK_HEAD;

	put_u32(block + 4, number);
	put_u16(block + 8, (uint16_t)n);
	for (size_t i = first; i < first + n; i++) {
		struct record rec;
		uint64_t off, kind;
		bool ok = record_parse(sorted[i].bytes, UINT64_MAX, &rec);

		assert(ok);
		(void)ok;
		off = (uint64_t)(sorted[i].bytes - seg->map.addr);
		kind = rec.type;
		if (rec.flags & RECORD_EXPIRY)
			kind |= KIND_EXPIRY;
		put_uint(p, HASH_LEN, hint_hash(seg, &rec));
		put_uint(p + HASH_LEN, l->loc_len,
		    off / RECORD_ALIGN << KIND_BITS | kind);
		p += HASH_LEN + l->loc_len;
	}
	put_u32(block, sum_crc(block + 4, BLOCK_SIZE - 4));
}

static void
fill_fences(
    uint8_t *fences, const struct layout *l, const struct sorted *sorted)
{
	uint8_t *heap = fences + 4 * ((size_t)l->block_count + 1);
	uint32_t used = 0;

	for (uint32_t b = 0; b < l->block_count; b++) {
		size_t i = (size_t)b * l->per_block, len = 0;
		struct key_view key = view_key(sorted[i].bytes);

		if (b > 0) {
			struct key_view before = view_key(sorted[i - 1].bytes);

			len = separator_len(&before, &key);
		}
		put_u32(fences + 4 * (size_t)b, used);
		put_u64(heap + used, key.bucket_seq);
		put_u32(heap + used + 8, key.bucket_ordinal);
		memcpy(heap + used + FENCE_HEAD, key.key, len);
		used += (uint32_t)(FENCE_HEAD + len);
	}
	put_u32(fences + 4 * (size_t)l->block_count, used);
}

static void
fill_header(uint8_t *p, const struct layout *l, const struct segment *seg,
    uint64_t from, uint64_t to, uint64_t last_seq, uint64_t len)
{
	const uint32_t header_len = HEADER_LEN + SOURCE_LEN;
	uint8_t *source = p + HEADER_LEN;
	const struct file_id *id = &seg->header.id;

	memcpy(p, MAGIC, 8);
	put_u16(p + 12, SEGMENT_FORMAT);
	put_u32(p + 20, header_len);
	memcpy(p + 24, seg->header.store.uuid, 16);
	put_u32(p + 40, sum_crc(seg->header.store.secret, SEGMENT_SECRET_LEN));
	put_u32(p + 44, 1);
	put_u64(p + 48, l->entry_count);
	put_u32(p + 56, l->block_count);
	p[60] = (uint8_t)l->off_bits;
	p[61] = 0;
	p[62] = (uint8_t)l->loc_len;
	p[63] = HASH_LEN;
	put_u64(p + 64, l->blocks_off);
	put_u64(p + 72, l->fences_off);
	put_u64(p + 80, l->fences_len);
	put_u32(p + 88, sum_crc(p + l->fences_off, (size_t)l->fences_len));
	put_u64(p + 96, len);

	put_u32(source, id->first);
	put_u32(source + 4, id->last);
	put_u32(source + 8, id->round);
	put_u16(source + 12, id->part);
	put_u16(source + 14, id->parts);
	put_u64(source + 16, seg->header.salt);
	put_u64(source + 24, from);
	put_u64(source + 32, to);
	put_u64(source + 40, last_seq);
	put_u32(p + 8, sum_crc(p + 12, header_len - 12));
}

static bool decode_header(struct hint *hint);

enum kvlog_status
hint_build(const struct segment *seg, uint64_t from, uint64_t to,
    struct hint **ret_hint, struct kvlog_error *err)
{
	struct sorted *sorted = NULL;
	struct hint *hint = NULL;
	struct layout l;
	size_t count = 0;
	uint64_t last_seq = 0;
	enum kvlog_status st;
	bool ok;

	st = gather(seg, from, to, &sorted, &count, &last_seq, err);
	if (st != KVLOG_OK)
		return st;
	plan(&l, sorted, count, to);

	hint = os->calloc(1, sizeof *hint);
	if (hint != NULL) {
		hint->len = l.fences_off + l.fences_len;
		hint->memory = os->calloc(1, (size_t)hint->len);
	}
	if (hint == NULL || hint->memory == NULL) {
		os->free(hint);
		os->free(sorted);
		return err_set(err, KVLOG_NOMEM, 0, "index segment %u",
		    (unsigned)segment_number(seg));
	}
	hint->data = hint->memory;
	for (uint32_t b = 0; b < l.block_count; b++)
		fill_block(
		    hint->memory + l.blocks_off + (uint64_t)b * BLOCK_SIZE, &l,
		    b, seg, sorted);
	fill_fences(hint->memory + l.fences_off, &l, sorted);
	fill_header(hint->memory, &l, seg, from, to, last_seq, hint->len);
	ok = decode_header(hint);
	assert(ok);
	(void)ok;

	os->free(sorted);
	*ret_hint = hint;
	return KVLOG_OK;
}

enum kvlog_status
hint_write(const struct hint *hint, const struct segment *seg, struct dir *dir,
    struct kvlog_error *err)
{
	char name[DIR_NAME_LEN], tmp[DIR_NAME_LEN];
	int fd, rc;

	dir_make_name(name, &seg->header.id, "hint");
	dir_make_name(tmp, &seg->header.id, "hint.tmp");
	rc = os->open(dir->fd, tmp, OS_OPEN_CREATE, dir->mode, &fd);
	if (rc == EEXIST) {
		os->unlink(dir->fd, tmp);
		rc = os->open(dir->fd, tmp, OS_OPEN_CREATE, dir->mode, &fd);
	}
	if (rc != 0)
		return err_sys(err, rc, "create %s/%s", dir->path, tmp);
	rc = os->pwrite(fd, hint->data, (size_t)hint->len, 0);
	if (rc == 0)
		rc = os->sync(fd);
	os->close(fd);
	if (rc == 0)
		rc = os->rename(dir->fd, tmp, name);
	if (rc != 0) {
		os->unlink(dir->fd, tmp);
		return err_sys(err, rc, "write %s/%s", dir->path, name);
	}
	return KVLOG_OK;
}

/* Reading */

/* Fill the fields from the header; false if it cannot be one.  Nothing in
 * the image is believed beyond its length. */
static bool
decode_header(struct hint *hint)
{
	const uint8_t *p = hint->data, *source;
	uint64_t fences_off, fences_len;
	uint32_t header_len;

	if (hint->len < HEADER_LEN + SOURCE_LEN || memcmp(p, MAGIC, 8) != 0)
		return false;
	header_len = get_u32(p + 20);
	if (header_len != HEADER_LEN + SOURCE_LEN || get_u32(p + 44) != 1 ||
	    get_u32(p + 8) != sum_crc(p + 12, header_len - 12) ||
	    get_u16(p + 12) > SEGMENT_FORMAT ||
	    (get_u32(p + 16) & FEATURES_REFUSE) != 0 ||
	    get_u64(p + 96) != hint->len)
		return false;
	hint->entry_count = get_u64(p + 48);
	hint->block_count = get_u32(p + 56);
	hint->off_bits = p[60];
	hint->loc_len = p[62];
	hint->hash_len = p[63];
	hint->blocks_off = get_u64(p + 64);
	fences_off = get_u64(p + 72);
	fences_len = get_u64(p + 80);
	if (hint->hash_len != HASH_LEN || hint->loc_len == 0 ||
	    hint->loc_len > 8 || p[61] != 0 ||
	    hint->off_bits + KIND_BITS > 8 * hint->loc_len)
		return false;
	hint->per_block =
	    (BLOCK_SIZE - BLOCK_HEAD) / (hint->hash_len + hint->loc_len);
	if (hint->entry_count > (uint64_t)hint->block_count * hint->per_block ||
	    (hint->entry_count + hint->per_block - 1) / hint->per_block !=
		hint->block_count ||
	    hint->blocks_off < header_len || hint->blocks_off > hint->len ||
	    fences_off < hint->blocks_off || fences_off > hint->len ||
	    fences_off - hint->blocks_off !=
		(uint64_t)hint->block_count * BLOCK_SIZE ||
	    fences_len != hint->len - fences_off ||
	    fences_len < 4 * ((uint64_t)hint->block_count + 1))
		return false;
	hint->fences = p + fences_off;

	source = p + HEADER_LEN;
	hint->from = get_u64(source + 24);
	hint->to = get_u64(source + 32);
	hint->last_seq = get_u64(source + 40);
	return hint->last_seq <= RECORD_SEQ_MAX;
}

/* Whether the header's source is seg, all of it up to its end. */
static bool
is_of(const struct hint *hint, const struct segment *seg)
{
	const uint8_t *p = hint->data, *source = p + HEADER_LEN;
	const struct file_id *id = &seg->header.id;

	return memcmp(p + 24, seg->header.store.uuid, 16) == 0 &&
	       get_u32(p + 40) ==
		   sum_crc(seg->header.store.secret, SEGMENT_SECRET_LEN) &&
	       get_u32(source) == id->first &&
	       get_u32(source + 4) == id->last &&
	       get_u32(source + 8) == id->round &&
	       get_u16(source + 12) == id->part &&
	       get_u16(source + 14) == id->parts &&
	       get_u64(source + 16) == seg->header.salt &&
	       hint->from == SEGMENT_DATA_OFF && hint->to == segment_end(seg);
}

/* Sums of blocks and fences, and that every entry lies in the segment. */
static bool
is_sound(const struct hint *hint)
{
	const uint8_t *p = hint->data;
	uint64_t fences_len = get_u64(p + 80);
	uint64_t heap_len = fences_len - 4 * ((uint64_t)hint->block_count + 1);
	uint32_t used = 0;

	if (get_u32(p + 88) != sum_crc(hint->fences, (size_t)fences_len))
		return false;
	for (uint32_t b = 0; b <= hint->block_count; b++) {
		uint32_t at = get_u32(hint->fences + 4 * (size_t)b);

		if (at > heap_len ||
		    (b == 0 ? at != 0 : at < used || at - used < FENCE_HEAD))
			return false;
		used = at;
	}
	for (uint32_t b = 0; b < hint->block_count; b++) {
		const uint8_t *block =
		    p + hint->blocks_off + (uint64_t)b * BLOCK_SIZE;
		uint64_t n = min_u64(hint->per_block,
		    hint->entry_count - (uint64_t)b * hint->per_block);

		if (get_u32(block) != sum_crc(block + 4, BLOCK_SIZE - 4) ||
		    get_u32(block + 4) != b || get_u16(block + 8) != n)
			return false;
	}
	for (uint64_t i = 0; i < hint->entry_count; i++) {
		struct hint_entry e;

		hint_get(hint, i, &e);
		if (e.off < hint->from ||
		    e.off > hint->to - RECORD_HEADER_SIZE ||
		    !record_type_known(e.type) || e.type == RECORD_MARK)
			return false;
	}
	return true;
}

struct hint *
hint_open(const struct segment *seg, struct dir *dir)
{
	char name[DIR_NAME_LEN];
	struct os_stat st;
	struct hint *hint;
	int fd;

	dir_make_name(name, &seg->header.id, "hint");
	if (os->open(dir->fd, name, OS_OPEN_READ, 0, &fd) != 0)
		return NULL;
	hint = os->calloc(1, sizeof *hint);
	if (hint == NULL || os->stat(fd, &st) != 0 ||
	    st.size < HEADER_LEN + SOURCE_LEN ||
	    os->map(fd, st.size, false, false, &hint->map) != 0)
		goto fail;
	hint->data = hint->map.addr;
	hint->len = st.size;
	if (!decode_header(hint) || !is_of(hint, seg) || !is_sound(hint))
		goto fail;
	os->close(fd);
	hint->map.fd = -1;
	return hint;
fail:
	os->close(fd);
	hint_close(hint);
	return NULL;
}

void
hint_close(struct hint *hint)
{
	if (hint == NULL)
		return;
	os->unmap(&hint->map);
	os->free(hint->memory);
	os->free(hint);
}

void
hint_get(const struct hint *hint, uint64_t n, struct hint_entry *ret_entry)
{
	const uint8_t *p;
	uint64_t loc;

	assert(n < hint->entry_count);
	p = hint->data + hint->blocks_off + n / hint->per_block * BLOCK_SIZE +
	    BLOCK_HEAD + n % hint->per_block * (hint->hash_len + hint->loc_len);
	loc = get_uint(p + hint->hash_len, hint->loc_len);
	ret_entry->hash = get_uint(p, hint->hash_len);
	ret_entry->type = (uint8_t)(loc & KIND_TYPE);
	ret_entry->expiry = (loc & KIND_EXPIRY) != 0;
	ret_entry->off =
	    (loc >> KIND_BITS & ((UINT64_C(1) << hint->off_bits) - 1)) *
	    RECORD_ALIGN;
}

/* The record of entry n; false if it is damaged. */
static bool
read_entry(const struct hint *hint, const struct segment *seg, uint64_t n,
    struct record *ret_rec)
{
	struct hint_entry e;
	const uint8_t *p;

	hint_get(hint, n, &e);
	p = seg->map.addr + e.off;
	return record_parse(p, hint->to - e.off, ret_rec) &&
	       record_header_ok(p, ret_rec, segment_seed(seg, e.off));
}

/* Whether a record comes before key in the default bucket. */
static bool
is_before(const struct record *rec, const uint8_t *key, size_t key_len)
{
	return rec->bucket_seq == 0 && rec->bucket_ordinal == 0 &&
	       key_compare(rec->key, rec->key_len, key, key_len) < 0;
}

/* The last block whose fence is <= key: an equal or first greater key is in
 * it, or is the first of the next one. */
static uint32_t
fence_seek(const struct hint *hint, const uint8_t *key, size_t key_len)
{
	const uint8_t *heap =
	    hint->fences + 4 * ((size_t)hint->block_count + 1);
	uint32_t low = 0, high = hint->block_count;

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		uint32_t at = get_u32(hint->fences + 4 * (size_t)mid);
		uint32_t end = get_u32(hint->fences + 4 * (size_t)mid + 4);
		const uint8_t *fence = heap + at;

		if (get_u64(fence) != 0 || get_u32(fence + 8) != 0 ||
		    key_compare(fence + FENCE_HEAD, end - at - FENCE_HEAD, key,
			key_len) > 0)
			high = mid;
		else
			low = mid;
	}
	return low;
}

uint64_t
hint_seek(const struct hint *hint, const struct segment *seg,
    const uint8_t *key, size_t key_len)
{
	uint64_t low, high;

	if (hint->entry_count == 0)
		return 0;
	low = (uint64_t)fence_seek(hint, key, key_len) * hint->per_block;
	high = min_u64(low + hint->per_block, hint->entry_count);
	while (low < high) {
		uint64_t mid = low + (high - low) / 2, n = mid;
		struct record rec;

		/* A damaged record does not know its place: the next sound
		 * one answers for it. */
		while (n < high && !read_entry(hint, seg, n, &rec))
			n++;
		if (n < high && is_before(&rec, key, key_len))
			low = n + 1;
		else
			high = mid;
	}
	return low;
}
