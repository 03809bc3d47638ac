/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint_make.c - making hints: from records that are sorted here, or entry by
 * entry from somebody who has them in order.
 */
#include "config.h"

#include "hint.h"

#include "hint_format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_LEN 65536u /* bytes of a file that are written at once */

/* A growing array of bytes. */
struct bytes {
	uint8_t *data;
	size_t len, cap;
};

/* Room for len more bytes; NULL: out of memory. */
static uint8_t *
bytes_add(struct bytes *b, size_t len)
{
	if (len > b->cap - b->len) {
		size_t cap = b->cap > 0 ? b->cap : 4096;
		uint8_t *grown;

		while (len > cap - b->len) {
			if (cap > SIZE_MAX / 2)
				return NULL;
			cap *= 2;
		}
		grown = os->realloc(b->data, cap);
		if (grown == NULL)
			return NULL;
		b->data = grown;
		b->cap = cap;
	}
	b->len += len;
	return b->data + b->len - len;
}

/* A fence, as it will stand in its block. */
struct fence {
	size_t at; /* in hint_writer.fences */
	uint32_t len;
};

struct hint_writer {
	struct dir *dir; /* NULL: into memory */
	int fd;
	char name[DIR_NAME_LEN], tmp[DIR_NAME_LEN];
	struct bytes out; /* all of it, or what is not yet written */
	uint64_t out_off; /* where out begins in the file */
	const struct hint_source *sources;
	size_t source_count;
	unsigned off_bits, source_bits, loc_len;
	uint32_t per_block;
	uint64_t entry_count;
	uint64_t bucket_count, expiry_count; /* of them */
	uint32_t block_count, leaf_count;
	uint8_t block[BLOCK_SIZE]; /* being filled */
	uint32_t in_block;         /* entries in it */
	struct hint_key last;      /* key that was added last */
	struct bytes fences;       /* of the level below: bytes ... */
	struct bytes fence_list;   /* ... and struct fence for each block */
	struct bytes far;
};

/* Where the bytes go */

static int
flush(struct hint_writer *w)
{
	int rc = os->pwrite(w->fd, w->out.data, w->out.len, w->out_off);

	w->out_off += w->out.len;
	w->out.len = 0;
	return rc;
}

/* Append len bytes (zeros, if p is NULL). */
static int
emit(struct hint_writer *w, const void *p, size_t len)
{
	uint8_t *room;

	if (w->dir != NULL && w->out.len > 0 && w->out.len + len > BUFFER_LEN) {
		int rc = flush(w);

		if (rc != 0)
			return rc;
	}
	room = bytes_add(&w->out, len);
	if (room == NULL)
		return ENOMEM;
	if (p == NULL)
		memset(room, 0, len);
	else if (len > 0)
		memcpy(room, p, len);
	return 0;
}

/* Blocks */

static int
end_block(
    struct hint_writer *w, uint32_t count, uint32_t level, uint32_t first_child)
{
	put_u32(w->block + 4, w->block_count);
	put_u16(w->block + 8, (uint16_t)count);
	put_u16(w->block + 10, (uint16_t)level);
	put_u32(w->block + 12, first_child);
	put_u32(w->block, sum_crc(w->block + 4, BLOCK_SIZE - 4));
	if (w->block_count == UINT32_MAX)
		return EFBIG;
	w->block_count++;
	return emit(w, w->block, BLOCK_SIZE);
}

/* The shortest s with before < s <= key that is a prefix of key. */
static uint32_t
separator_len(const struct hint_key *before, const struct hint_key *key)
{
	uint32_t common = 0;

	if (before->bucket_seq != key->bucket_seq ||
	    before->bucket_ordinal != key->bucket_ordinal)
		return 0;
	while (common < before->len && common < key->len &&
	       before->bytes[common] == key->bytes[common])
		common++;
	return common + 1 <= key->len ? common + 1 : key->len;
}

/* Note the fence before key, which begins an entry block. */
static int
add_fence(struct hint_writer *w, const struct hint_key *key)
{
	uint32_t len = w->leaf_count > 0 ? separator_len(&w->last, key) : 0;
	bool bucket = key->bucket_seq != 0 || key->bucket_ordinal != 0;
	bool far = len > FENCE_NEAR_MAX;
	struct fence fence = {.at = w->fences.len,
	    .len = 1 + (bucket ? FENCE_BUCKET_LEN : 0) +
		   (far ? FENCE_FAR_LEN : len)};
	uint8_t *p = bytes_add(&w->fences, fence.len);
	uint8_t *item = bytes_add(&w->fence_list, sizeof fence);
	uint8_t *string;

	if (p == NULL || item == NULL)
		return ENOMEM;
	memcpy(item, &fence, sizeof fence);
	*p++ = (uint8_t)((bucket ? FENCE_BUCKET : 0) | (far ? FENCE_FAR : 0));
	if (bucket) {
		put_u64(p, key->bucket_seq);
		put_u32(p + 8, key->bucket_ordinal);
		p += FENCE_BUCKET_LEN;
	}
	if (!far) {
		if (len > 0)
			memcpy(p, key->bytes, len);
		return 0;
	}
	put_u64(p, w->far.len);
	put_u32(p + 8, len);
	put_u32(p + 12, sum_crc(key->bytes, len));
	string = bytes_add(&w->far, len);
	if (string == NULL)
		return ENOMEM;
	memcpy(string, key->bytes, len);
	return 0;
}

static int
end_leaf(struct hint_writer *w)
{
	int rc;

	if (w->in_block == 0)
		return 0;
	rc = end_block(w, w->in_block, 0, 0);
	memset(w->block, 0, sizeof w->block);
	w->in_block = 0;
	w->leaf_count++;
	return rc;
}

static int
add_entry(struct hint_writer *w, const struct hint_key *key,
    const struct hint_entry *e)
{
	uint64_t kind = e->type | (e->expiry ? HINT_KIND_EXPIRY : 0);
	uint8_t *p;
	int rc = 0;

	if (w->in_block == w->per_block)
		rc = end_leaf(w);
	if (rc == 0 && w->in_block == 0)
		rc = add_fence(w, key);
	if (rc != 0)
		return rc;
	p = w->block + HINT_BLOCK_HEAD +
	    (size_t)w->in_block * (HINT_HASH_LEN + w->loc_len);
	put_uint(p, HINT_HASH_LEN, e->hash);
	put_uint(p + HINT_HASH_LEN, w->loc_len,
	    ((uint64_t)e->index << w->off_bits | e->off / RECORD_ALIGN)
		    << HINT_KIND_BITS |
		kind);
	w->in_block++;
	w->entry_count++;
	w->bucket_count += !hint_key_is_plain(key);
	w->expiry_count += e->expiry;
	w->last = *key;
	return 0;
}

/*
 * One level of fence blocks over the count blocks from first_child on, whose
 * fences are the first count of the list.  The fences of the new blocks take
 * their place; *ret_count is how many there are.
 */
static int
build_level(struct hint_writer *w, uint32_t level, uint32_t first_child,
    uint32_t count, uint32_t *ret_count)
{
	struct fence *list = (struct fence *)(void *)w->fence_list.data;
	uint32_t blocks = 0;

	for (uint32_t i = 0, n; i < count; i += n) {
		size_t used = HINT_BLOCK_HEAD + 2; /* and the last offset */
		uint32_t at;
		int rc;

		for (n = 0; i + n < count; n++) {
			if (used + 2 + list[i + n].len > BLOCK_SIZE)
				break;
			used += 2 + list[i + n].len;
		}
		memset(w->block, 0, sizeof w->block);
		at = HINT_BLOCK_HEAD + 2 * (n + 1);
		for (uint32_t j = 0; j < n; j++) {
			const struct fence *f = &list[i + j];

			put_u16(
			    w->block + HINT_BLOCK_HEAD + 2 * j, (uint16_t)at);
			memcpy(w->block + at, w->fences.data + f->at, f->len);
			at += f->len;
		}
		put_u16(w->block + HINT_BLOCK_HEAD + 2 * n, (uint16_t)at);
		list[blocks++] = list[i];
		rc = end_block(w, n, level, first_child + i);
		if (rc != 0)
			return rc;
	}
	*ret_count = blocks;
	return 0;
}

static int
build_fences(struct hint_writer *w)
{
	uint32_t first = 0, count = w->leaf_count;
	int rc = 0;

	for (uint32_t level = 1; count > 1 && rc == 0; level++) {
		uint32_t next = w->block_count;

		rc = build_level(w, level, first, count, &count);
		first = next;
	}
	return rc != 0 ? rc : emit(w, w->far.data, w->far.len);
}

/* The header */

static void
fill_source(uint8_t *p, const struct hint_source *s)
{
	put_u32(p, s->id.first);
	put_u32(p + 4, s->id.last);
	put_u32(p + 8, s->id.round);
	put_u16(p + 12, s->id.part);
	put_u16(p + 14, s->id.parts);
	put_u64(p + 16, s->salt);
	put_u64(p + 24, s->from);
	put_u64(p + 32, s->to);
	put_u64(p + 40, s->last_seq);
}

/* p holds hint_blocks_off() zeros. */
static void
fill_header(uint8_t *p, const struct hint_writer *w)
{
	const struct segment_store *store = &w->sources[0].seg->header.store;
	uint32_t len =
	    HINT_HEADER_LEN + HINT_SOURCE_LEN * (uint32_t)w->source_count;
	uint64_t blocks_off = hint_blocks_off(w->source_count);
	uint64_t far_off = blocks_off + (uint64_t)w->block_count * BLOCK_SIZE;

	memcpy(p, HINT_MAGIC, 8);
	put_u16(p + 12, SEGMENT_FORMAT);
	put_u32(p + 20, len);
	memcpy(p + 24, store->uuid, 16);
	put_u32(p + 40, sum_crc(store->secret, SEGMENT_SECRET_LEN));
	put_u32(p + 44, (uint32_t)w->source_count);
	put_u64(p + 48, w->entry_count);
	put_u32(p + 56, w->block_count);
	p[60] = (uint8_t)w->off_bits;
	p[61] = (uint8_t)w->source_bits;
	p[62] = (uint8_t)w->loc_len;
	p[63] = HINT_HASH_LEN;
	put_u64(p + 64, blocks_off);
	put_u64(p + 72, far_off);
	put_u64(p + 80, w->far.len);
	put_u32(p + 88, w->leaf_count);
	put_u64(p + 96, far_off + w->far.len);
	put_u64(p + 104, w->bucket_count);
	put_u64(p + 112, w->expiry_count);
	for (size_t i = 0; i < w->source_count; i++)
		fill_source(
		    p + HINT_HEADER_LEN + HINT_SOURCE_LEN * i, &w->sources[i]);
	put_u32(p + 8, sum_crc(p + 12, len - 12));
}

/* Writers */

static void
make_part_name(char name[DIR_NAME_LEN], const struct hint_source *sources,
    size_t source_count)
{
	const struct hint_source *a = &sources[0];
	const struct hint_source *z = &sources[source_count - 1];

	snprintf(name, DIR_NAME_LEN,
	    "%08" PRIu32 "-%08" PRIu32 ".%" PRIu64 "-%" PRIu64 ".hint",
	    a->id.first, z->id.last, a->from, z->to);
}

bool
hint_name_fits(
    const char *name, const struct hint_source *sources, size_t source_count)
{
	char wanted[DIR_NAME_LEN];

	if (source_count == 1 && sources[0].from == SEGMENT_DATA_OFF) {
		dir_make_name(wanted, &sources[0].id, "hint");
		if (strcmp(name, wanted) == 0)
			return true;
	}
	make_part_name(wanted, sources, source_count);
	return strcmp(name, wanted) == 0;
}

void
hint_make_name(char name[DIR_NAME_LEN], const struct hint_source *sources,
    size_t source_count)
{
	const struct hint_source *a = &sources[0];

	/* Of one whole segment: named as it is. */
	if (source_count == 1 && a->from == SEGMENT_DATA_OFF &&
	    a->to == segment_end(a->seg))
		dir_make_name(name, &a->id, "hint");
	else
		make_part_name(name, sources, source_count);
}

const char *
hint_writer_name(const struct hint_writer *w)
{
	return w->name;
}

/* Make the file under a name that does not count. */
static enum kvlog_status
create_file(struct hint_writer *w, struct kvlog_error *err)
{
	int rc;

	snprintf(w->tmp, sizeof w->tmp, "%.*s.tmp",
	    (int)(sizeof w->tmp - sizeof ".tmp"), w->name);
	rc = dir_create_file(w->dir, w->tmp, &w->fd);
	if (rc != 0)
		return err_sys(err, rc, "create %s/%s", w->dir->path, w->tmp);
	return KVLOG_OK;
}

enum kvlog_status
hint_writer_create(struct hint_writer **ret_writer, struct dir *dir,
    const struct hint_source *sources, size_t source_count,
    struct kvlog_error *err)
{
	struct hint_writer *w = os->calloc(1, sizeof *w);
	uint64_t to = 0;
	enum kvlog_status st = KVLOG_OK;

	assert(source_count > 0 && source_count <= HINT_SOURCES_MAX);
	if (w == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "write a hint");
	w->fd = -1;
	w->sources = sources;
	w->source_count = source_count;
	for (size_t i = 0; i < source_count; i++)
		to = max_u64(to, sources[i].to);
	w->off_bits = hint_bits_for(to / RECORD_ALIGN);
	w->source_bits = source_count > 1 ? hint_bits_for(source_count - 1) : 0;
	w->loc_len = (HINT_KIND_BITS + w->off_bits + w->source_bits + 7) / 8;
	w->per_block = hint_per_block(w->loc_len);
	if (dir != NULL) {
		w->dir = dir;
		hint_make_name(w->name, sources, source_count);
		st = create_file(w, err);
	}
	if (st == KVLOG_OK &&
	    emit(w, NULL, (size_t)hint_blocks_off(source_count)) != 0)
		st = err_set(err, KVLOG_NOMEM, 0, "write a hint");
	if (st != KVLOG_OK) {
		hint_writer_destroy(w);
		return st;
	}
	*ret_writer = w;
	return KVLOG_OK;
}

static enum kvlog_status
write_failed(const struct hint_writer *w, int rc, struct kvlog_error *err)
{
	if (w->dir == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "sort the keys of a hint");
	return err_sys(err, rc, "write %s/%s", w->dir->path, w->name);
}

enum kvlog_status
hint_writer_add(struct hint_writer *w, const struct hint_key *key,
    const struct hint_entry *entry, struct kvlog_error *err)
{
	int rc = add_entry(w, key, entry);

	return rc == 0 ? KVLOG_OK : write_failed(w, rc, err);
}

/* Blocks and far fences, all but the header. */
static int
finish_blocks(struct hint_writer *w)
{
	int rc = end_leaf(w);

	return rc == 0 ? build_fences(w) : rc;
}

enum kvlog_status
hint_writer_finish(struct hint_writer *w, struct kvlog_error *err)
{
	size_t header_len = (size_t)hint_blocks_off(w->source_count);
	uint8_t *header = os->calloc(1, header_len);
	int rc = header == NULL ? ENOMEM : finish_blocks(w);

	if (rc == 0)
		rc = flush(w);
	if (rc == 0) {
		fill_header(header, w);
		rc = os->pwrite(w->fd, header, header_len, 0);
	}
	os->free(header);
	if (rc == 0)
		rc = os->sync(w->fd);
	os->close(w->fd);
	w->fd = -1;
	if (rc == 0)
		rc = os->rename(w->dir->fd, w->tmp, w->name);
	if (rc != 0)
		return write_failed(w, rc, err);
	w->tmp[0] = '\0';
	return KVLOG_OK;
}

void
hint_writer_destroy(struct hint_writer *w)
{
	if (w == NULL)
		return;
	if (w->fd >= 0)
		os->close(w->fd);
	if (w->tmp[0] != '\0')
		os->unlink(w->dir->fd, w->tmp);
	os->free(w->out.data);
	os->free(w->fences.data);
	os->free(w->fence_list.data);
	os->free(w->far.data);
	os->free(w);
}

/* Images */

/* A record while it is sorted: its place in a mapping and, to save most looks
 * at it, the first bytes of its key as a number: of those behind what all keys
 * begin with. */
struct sorted {
	uint64_t prefix;
	const uint8_t *bytes;
	uint32_t index; /* of its source */
	bool bucket;    /* keys in buckets are not sorted by their prefix */
};

struct sorting {
	struct sorted *list;
	size_t count, cap;
	const uint8_t *first; /* a key outside of buckets; NULL: none yet */
	size_t common;        /* with so many bytes of it all such keys begin */
	struct segment_search search; /* for what stands behind damage */
};

/* bytes is a record whose header sum has been verified. */
static struct hint_key
key_at(const uint8_t *bytes)
{
	struct record rec;
	bool ok = record_parse(bytes, UINT64_MAX, &rec);

	assert(ok);
	(void)ok;
	return hint_key_of(&rec);
}

static int
compare_sorted(const void *va, const void *vb)
{
	const struct sorted *a = va, *b = vb;
	int c = 0;

	if (a->prefix != b->prefix && !a->bucket && !b->bucket)
		return a->prefix < b->prefix ? -1 : 1;
	if (a->bytes != b->bytes) {
		struct hint_key ka = key_at(a->bytes), kb = key_at(b->bytes);

		c = hint_key_compare(&ka, &kb);
	}
	/* Of one key, the later record last. */
	if (c == 0)
		c = a->index < b->index ? -1 : a->index > b->index;
	return c != 0 ? c : a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static bool
same_key(const struct sorted *a, const struct sorted *b)
{
	struct hint_key ka, kb;

	if (a->prefix != b->prefix)
		return false;
	ka = key_at(a->bytes);
	kb = key_at(b->bytes);
	return hint_key_compare(&ka, &kb) == 0;
}

static void
note_common(struct sorting *s, const struct record *rec)
{
	size_t n = 0;

	if (s->first == NULL) {
		s->first = rec->key;
		s->common = rec->key_len;
	}
	while (n < s->common && n < rec->key_len && s->first[n] == rec->key[n])
		n++;
	s->common = n;
}

static int
add_sorted(struct sorting *s, const struct record *rec, const uint8_t *bytes,
    uint32_t index)
{
	if (s->count == s->cap) {
		size_t cap = s->cap > 0 ? 2 * s->cap : 16;
		struct sorted *grown =
		    os->realloc(s->list, cap * sizeof *grown);

		if (grown == NULL)
			return ENOMEM;
		s->list = grown;
		s->cap = cap;
	}
	s->list[s->count++] = (struct sorted){
	    .bytes = bytes,
	    .index = index,
	    .bucket = (rec->flags & RECORD_BUCKET) != 0,
	};
	if ((rec->flags & RECORD_BUCKET) == 0)
		note_common(s, rec);
	return 0;
}

/*
 * Gather the records of a source that stand for keys, of commits up to
 * max_seq.  Sets its last_seq, and its to if cut is set: behind the last
 * commit that was taken.
 */
static enum kvlog_status
gather(struct sorting *s, struct hint_source *source, uint32_t index,
    uint64_t max_seq, bool cut, struct hint_damage *damage,
    struct kvlog_error *err)
{
	const struct segment *seg = source->seg;
	uint64_t off = source->from, taken = off, ahead = 0;
	struct record rec;
	bool bad = false;

	source->last_seq = 0;
	for (;; off += rec.size) {
		segment_fetch_ahead(seg, off, source->to, &ahead);
		while (!segment_walk(seg, &off, source->to, &rec, &bad) &&
		       bad && damage != NULL) {
			if (damage->seg == NULL)
				*damage = (struct hint_damage){seg, off};
			off = segment_next_record(
			    seg, off, source->to, &s->search);
		}
		if (bad || off >= source->to)
			break;
		if (rec.type == RECORD_MARK)
			continue;
		if (rec.seq > max_seq)
			break;
		taken = off + rec.size;
		source->last_seq = max_u64(source->last_seq, rec.seq);
		if (!record_type_known(rec.type))
			continue;
		if (add_sorted(s, &rec, seg->map.addr + off, index) != 0)
			return err_set(err, KVLOG_NOMEM, 0,
			    "sort the keys of segment %" PRIu32,
			    segment_number(seg));
	}
	if (bad)
		return err_set_at(err, KVLOG_CORRUPT, segment_number(seg), off,
		    "segment %" PRIu32 " is damaged at offset %" PRIu64,
		    segment_number(seg), off);
	if (cut)
		source->to = taken;
	return KVLOG_OK;
}

static void
set_prefixes(struct sorting *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct sorted *item = &s->list[i];
		struct hint_key key = key_at(item->bytes);

		if (!item->bucket)
			item->prefix = key_prefix(
			    key.bytes + s->common, key.len - s->common);
	}
}

/* Keep the last record of each key. */
static void
sort_and_thin(struct sorting *s)
{
	size_t kept = 0;

	set_prefixes(s);
	if (s->count > 1)
		qsort(s->list, s->count, sizeof *s->list, compare_sorted);
	for (size_t i = 0; i < s->count; i++)
		if (i + 1 == s->count ||
		    !same_key(&s->list[i], &s->list[i + 1]))
			s->list[kept++] = s->list[i];
	s->count = kept;
}

#define FETCH_AHEAD 16u

static struct hint_entry
entry_of(const struct sorted *item, const struct segment *seg,
    struct hint_key *ret_key)
{
	struct record rec;

	(void)record_parse(item->bytes, UINT64_MAX, &rec);
	*ret_key = hint_key_of(&rec);
	return (struct hint_entry){.index = item->index,
	    .hash = hint_hash(seg, &rec),
	    .type = rec.type,
	    .expiry = (rec.flags & RECORD_EXPIRY) != 0,
	    .off = (uint64_t)(item->bytes - seg->map.addr),
	    .seg = seg};
}

static enum kvlog_status
write_sorted(struct hint_writer *w, const struct sorting *s,
    const struct hint_source *sources, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < s->count && st == KVLOG_OK; i++) {
		const struct sorted *item = &s->list[i];
		struct hint_entry e;
		struct hint_key key;

		/* In order of keys they lie anywhere. */
		if (i + FETCH_AHEAD < s->count)
			PREFETCH(s->list[i + FETCH_AHEAD].bytes);
		e = entry_of(item, sources[item->index].seg, &key);
		st = hint_writer_add(w, &key, &e, err);
	}
	return st;
}

/* A hint that reads what the writer has in memory, and owns it. */
static enum kvlog_status
image_of(struct hint_writer *w, struct hint **ret_hint, struct kvlog_error *err)
{
	struct hint *hint;
	bool ok;

	if (finish_blocks(w) != 0)
		return write_failed(w, ENOMEM, err);
	fill_header(w->out.data, w);
	hint = os->calloc(1, sizeof *hint);
	if (hint == NULL)
		return write_failed(w, ENOMEM, err);
	atomic_init(&hint->refs, 1);
	hint->data = hint->memory = w->out.data;
	hint->len = w->out.len;
	w->out.data = NULL;
	ok = hint_decode(hint);
	for (size_t i = 0; ok && i < w->source_count; i++)
		ok = hint_bind(hint, i, w->sources[i].seg);
	if (!ok) { /* only for want of memory: it was made here */
		hint_unref(hint);
		return write_failed(w, ENOMEM, err);
	}
	*ret_hint = hint;
	return KVLOG_OK;
}

/* What stands between two keys of a bucket begins as both do. */
static void
set_base(struct hint *hint, const struct hint_key *first,
    const struct hint_key *last)
{
	struct hint_key *base = &hint->base;
	uint32_t most = first->len < last->len ? first->len : last->len;

	*base = *first;
	hint->ranked = first->bucket_seq == last->bucket_seq &&
		       first->bucket_ordinal == last->bucket_ordinal;
	for (base->len = 0; base->len < most; base->len++)
		if (first->bytes[base->len] != last->bytes[base->len])
			break;
}

struct hint *
hint_create_items(const struct hint_source *source, uint64_t room,
    const struct hint_key *first, const struct hint_key *last)
{
	struct hint *hint = os->calloc(1, sizeof *hint);

	if (hint == NULL)
		return NULL;
	atomic_init(&hint->refs, 1);
	hint->sources = os->calloc(1, sizeof *hint->sources);
	/* Not nothing, so that it is known what this is. */
	hint->items = os->malloc((size_t)(room + 1) * sizeof *hint->items);
	if (hint->sources == NULL || hint->items == NULL) {
		hint_unref(hint);
		return NULL;
	}
	hint->source_count = 1;
	hint->sources[0] = *source;
	(void)segment_ref(source->seg);
	set_base(hint, first, last);
	return hint;
}

static struct hint_item
item_of(const struct hint *hint, const struct hint_entry *e,
    const struct hint_key *key)
{
	uint64_t kind = e->type | (e->expiry ? HINT_KIND_EXPIRY : 0);
	uint32_t skip = hint->ranked ? hint->base.len : 0;

	return (struct hint_item){
	    .rank = key_prefix(key->bytes + skip, key->len - skip),
	    .what = e->hash | kind << 8 * HINT_HASH_LEN,
	    .off = e->off};
}

void
hint_add_item(
    struct hint *hint, const struct hint_entry *e, const struct hint_key *key)
{
	hint->items[hint->entry_count++] = item_of(hint, e, key);
}

/* Put an item where it belongs, or in the place of its key's; there is room.
 * False if a record is damaged. */
static bool
insert_item(
    struct hint *hint, const struct hint_entry *e, const struct hint_key *key)
{
	struct hint_entry there;
	struct record rec;
	struct hint_item *at;
	uint64_t n;
	bool same = false;

	if (!hint_seek(hint, key, &n))
		return false;
	at = &hint->items[n];
	if (n < hint->entry_count) {
		if (!hint_get(hint, n, &there) || !hint_read(&there, &rec))
			return false;
		same = hint_key_is_of(key, &rec);
	}
	if (!same) {
		memmove(at + 1, at, (hint->entry_count - n) * sizeof *at);
		hint->entry_count++;
	}
	*at = item_of(hint, e, key);
	return true;
}

/* The keys that are the first and the last of an image's and of those that
 * come to them; false if a record is damaged. */
static bool
find_ends(const struct hint *onto, const struct sorting *s,
    struct hint_key *ret_first, struct hint_key *ret_last)
{
	struct hint_entry e;
	const size_t own = onto->entry_count > 0 ? 2 : 0;

	for (size_t i = 0; i < own + s->count; i++) {
		struct hint_key key;

		if (i >= own)
			key = key_at(s->list[i - own].bytes);
		else if (!hint_get_key(onto, i == 0 ? 0 : onto->entry_count - 1,
			     &e, &key))
			return false;
		if (i == 0 || hint_key_compare(&key, ret_first) < 0)
			*ret_first = key;
		if (i == 0 || hint_key_compare(&key, ret_last) > 0)
			*ret_last = key;
	}
	return true;
}

/* Let an image that is empty have the items of another one. */
static bool
copy_items(struct hint *hint, const struct hint *from)
{
	if (hint->ranked == from->ranked && hint->base.len == from->base.len &&
	    hint->base.bucket_seq == from->base.bucket_seq &&
	    hint->base.bucket_ordinal == from->base.bucket_ordinal) {
		memcpy(hint->items, from->items,
		    from->entry_count * sizeof *hint->items);
		hint->entry_count = from->entry_count;
		return true;
	}
	for (uint64_t n = 0; n < from->entry_count; n++) {
		struct hint_entry e;
		struct hint_key key;

		if (!hint_get_key(from, n, &e, &key))
			return false;
		hint_add_item(hint, &e, &key);
	}
	return true;
}

static enum kvlog_status
items_of(const struct sorting *s, const struct hint_source *source,
    struct hint **ret_hint, struct kvlog_error *err)
{
	const struct hint_key none = {0, 0, 0, NULL};
	const size_t n = s->count;
	const struct hint_key first = n > 0 ? key_at(s->list[0].bytes) : none;
	const struct hint_key last =
	    n > 0 ? key_at(s->list[n - 1].bytes) : none;
	struct hint *hint = hint_create_items(source, n, &first, &last);

	if (hint == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "sort the keys of a walk");
	for (size_t i = 0; i < n; i++) {
		struct hint_entry e;
		struct hint_key key;

		if (i + FETCH_AHEAD < n)
			PREFETCH(s->list[i + FETCH_AHEAD].bytes);
		e = entry_of(&s->list[i], source->seg, &key);
		hint_add_item(hint, &e, &key);
	}
	*ret_hint = hint;
	return KVLOG_OK;
}

/* The image of onto and of what was gathered behind it, up to to: in the order
 * of the log, so that of one key the last one stays. */
static enum kvlog_status
items_onto(const struct hint *onto, const struct sorting *s, uint64_t to,
    struct hint **ret_hint, struct kvlog_error *err)
{
	struct hint_source source = onto->sources[0];
	struct hint_key first = {0, 0, 0, NULL}, last = first;
	struct hint *hint;
	bool ok = find_ends(onto, s, &first, &last);

	source.to = to;
	if (!ok)
		return KVLOG_CORRUPT;
	hint = hint_create_items(
	    &source, onto->entry_count + s->count, &first, &last);
	if (hint == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "sort the keys of a walk");
	ok = copy_items(hint, onto);
	for (size_t i = 0; i < s->count && ok; i++) {
		struct hint_key key;
		struct hint_entry e = entry_of(&s->list[i], source.seg, &key);

		ok = insert_item(hint, &e, &key);
	}
	if (!ok) {
		hint_unref(hint);
		return KVLOG_CORRUPT;
	}
	*ret_hint = hint;
	return KVLOG_OK;
}

enum kvlog_status
hint_build_items(const struct hint_source *source, const struct hint *onto,
    size_t few, struct hint **ret_hint, struct kvlog_error *err)
{
	struct hint_source own = *source;
	struct sorting s = {0};
	enum kvlog_status st = segment_map(own.seg, err);

	own.id = own.seg->header.id;
	own.salt = own.seg->header.salt;
	if (st == KVLOG_OK)
		st = gather(&s, &own, 0, UINT64_MAX, false, NULL, err);
	if (st == KVLOG_OK && onto != NULL && s.count <= few) {
		st = items_onto(onto, &s, own.to, ret_hint, err);
	} else if (st == KVLOG_OK) {
		sort_and_thin(&s);
		st = items_of(&s, &own, ret_hint, err);
	}
	os->free(s.list);
	segment_search_fini(&s.search);
	return st;
}

static enum kvlog_status
build(const struct hint_source *sources, size_t source_count, uint64_t max_seq,
    struct hint **ret_hint, struct hint_damage *damage, struct kvlog_error *err)
{
	struct sorting s = {0};
	struct hint_source *own =
	    os->calloc(source_count, sizeof *own); /* with last_seq */
	struct hint_writer *w = NULL;
	enum kvlog_status st = KVLOG_OK;

	if (own == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "sort the keys of a hint");
	for (size_t i = 0; i < source_count && st == KVLOG_OK; i++) {
		bool last = i + 1 == source_count;

		own[i] = sources[i];
		own[i].id = own[i].seg->header.id;
		own[i].salt = own[i].seg->header.salt;
		st = segment_map(own[i].seg, err);
		if (st != KVLOG_OK)
			break;
		st = gather(&s, &own[i], (uint32_t)i,
		    last ? max_seq : UINT64_MAX, last && max_seq != UINT64_MAX,
		    damage, err);
	}
	if (st == KVLOG_OK) {
		sort_and_thin(&s);
		st = hint_writer_create(&w, NULL, own, source_count, err);
	}
	if (st == KVLOG_OK)
		st = write_sorted(w, &s, own, err);
	if (st == KVLOG_OK)
		st = image_of(w, ret_hint, err);
	hint_writer_destroy(w);
	os->free(s.list);
	segment_search_fini(&s.search);
	os->free(own);
	return st;
}

enum kvlog_status
hint_build(const struct hint_source *sources, size_t source_count,
    uint64_t max_seq, struct hint **ret_hint, struct kvlog_error *err)
{
	return build(sources, source_count, max_seq, ret_hint, NULL, err);
}

enum kvlog_status
hint_build_around(const struct hint_source *sources, size_t source_count,
    struct hint **ret_hint, struct hint_damage *ret_damage,
    struct kvlog_error *err)
{
	memset(ret_damage, 0, sizeof *ret_damage);
	return build(
	    sources, source_count, UINT64_MAX, ret_hint, ret_damage, err);
}

enum kvlog_status
hint_write_as(const struct hint *hint, struct dir *dir, const char *name,
    struct kvlog_error *err)
{
	struct hint_writer w = {.dir = dir, .fd = -1};
	enum kvlog_status st;
	int rc;

	memcpy(w.name, name, strlen(name) + 1);
	st = create_file(&w, err);
	if (st != KVLOG_OK)
		return st;
	rc = os->pwrite(w.fd, hint->data, (size_t)hint->len, 0);
	if (rc == 0)
		rc = os->sync(w.fd);
	os->close(w.fd);
	if (rc == 0)
		rc = os->rename(dir->fd, w.tmp, w.name);
	if (rc != 0) {
		os->unlink(dir->fd, w.tmp);
		return write_failed(&w, rc, err);
	}
	return KVLOG_OK;
}

enum kvlog_status
hint_write(const struct hint *hint, struct dir *dir, struct kvlog_error *err)
{
	char name[DIR_NAME_LEN];

	hint_make_name(name, hint->sources, hint->source_count);
	return hint_write_as(hint, dir, name, err);
}
