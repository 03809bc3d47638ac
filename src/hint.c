/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hint.c - reading hints: opening, look-up, seek.
 *
 * A hint file is bound to its segments by number, salt and end, and to the
 * store by UUID and hash secret; one that does not fit is left alone as if it
 * were not there.  Its header is verified when it is opened, each block when
 * it is first used; what a block says is believed only then, and only within
 * the bounds of the file and its segments.
 */
#include "config.h"

#include "hint.h"

#include "hint_format.h"

#include <errno.h>
#include <string.h>

#define FETCHED_STEPS 2u /* of a search */

/* What is known of a block. */
enum verdict { BLOCK_UNKNOWN, BLOCK_SOUND, BLOCK_DAMAGED };

/* Keys */

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
key_prefix(const uint8_t *key, size_t key_len)
{
	uint64_t prefix = 0;

	/* Apart, as a processor reads eight bytes at once. */
	if (LIKELY(key_len >= 8))
		for (size_t i = 0; i < 8; i++)
			prefix = prefix << 8 | key[i];
	else
		for (size_t i = 0; i < 8; i++)
			prefix = prefix << 8 | (i < key_len ? key[i] : 0);
	return prefix;
}

static int
compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

int
hint_key_compare(const struct hint_key *a, const struct hint_key *b)
{
	int c = compare_u64(a->bucket_seq, b->bucket_seq);

	if (c == 0)
		c = compare_u64(a->bucket_ordinal, b->bucket_ordinal);
	if (c == 0)
		c = key_compare(a->bytes, a->len, b->bytes, b->len);
	return c;
}

static uint64_t
hash_in_bucket(const uint8_t *secret, const struct hint_key *key)
{
	uint8_t buf[RECORD_BUCKET_LEN + KVLOG_KEY_MAX];

	put_u64(buf, key->bucket_seq);
	put_u32(buf + 8, key->bucket_ordinal);
	memcpy(buf + RECORD_BUCKET_LEN, key->bytes, key->len);
	return sum_hash(secret, buf, RECORD_BUCKET_LEN + key->len);
}

uint64_t
hint_key_hash(const uint8_t *secret, const struct hint_key *key)
{
	return LIKELY(hint_key_is_plain(key))
		   ? sum_hash(secret, key->bytes, key->len)
		   : hash_in_bucket(secret, key);
}

uint64_t
hint_hash(const struct segment *seg, const struct record *rec)
{
	const struct hint_key key = hint_key_of(rec);

	return hint_key_hash(seg->header.store.secret, &key);
}

/* Opening */

static bool
decode_source(const uint8_t *p, struct hint_source *s)
{
	s->seg = NULL;
	s->id.first = get_u32(p);
	s->id.last = get_u32(p + 4);
	s->id.round = get_u32(p + 8);
	s->id.part = get_u16(p + 12);
	s->id.parts = get_u16(p + 14);
	s->salt = get_u64(p + 16);
	s->from = get_u64(p + 24);
	s->to = get_u64(p + 32);
	s->last_seq = get_u64(p + 40);
	return s->from >= SEGMENT_DATA_OFF && s->from <= s->to &&
	       s->to <= KVLOG_SEGMENT_SIZE_MAX && s->last_seq <= RECORD_SEQ_MAX;
}

static bool
decode_sources(struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (!decode_source(
			hint->data + HINT_HEADER_LEN + HINT_SOURCE_LEN * i,
			&hint->sources[i]))
			return false;
	return true;
}

/* Whether the parts fit together and into the file. */
static bool
is_laid_out(const struct hint *hint)
{
	uint64_t leaves = hint->entry_count / hint->per_block +
			  (hint->entry_count % hint->per_block != 0);

	return leaves == hint->leaf_count &&
	       hint->leaf_count <= hint->block_count &&
	       (hint->leaf_count > 1) ==
		   (hint->leaf_count < hint->block_count) &&
	       hint->blocks_off == hint_blocks_off(hint->source_count) &&
	       hint->blocks_off <= hint->len &&
	       hint->block_count <=
		   (hint->len - hint->blocks_off) / BLOCK_SIZE &&
	       hint->far_off == hint->blocks_off +
				    (uint64_t)hint->block_count * BLOCK_SIZE &&
	       hint->far_len == hint->len - hint->far_off;
}

/* 0, EINVAL if it cannot be one, or ENOMEM. */
static int
decode(struct hint *hint)
{
	const uint8_t *p = hint->data;
	uint32_t header_len, sources;

	if (hint->len < BLOCK_SIZE || memcmp(p, HINT_MAGIC, 8) != 0)
		return EINVAL;
	header_len = get_u32(p + 20);
	sources = get_u32(p + 44);
	if (sources == 0 || sources > HINT_SOURCES_MAX ||
	    header_len != HINT_HEADER_LEN + HINT_SOURCE_LEN * sources ||
	    header_len > hint->len ||
	    get_u32(p + 8) != sum_crc(p + 12, header_len - 12) ||
	    get_u16(p + 12) != SEGMENT_FORMAT ||
	    (get_u32(p + 16) & HINT_FEATURES_REFUSE) != 0 ||
	    get_u64(p + 96) != hint->len)
		return EINVAL;
	hint->source_count = sources;
	hint->entry_count = get_u64(p + 48);
	hint->bucket_count = get_u64(p + 104);
	hint->expiry_count = get_u64(p + 112);
	hint->block_count = get_u32(p + 56);
	hint->off_bits = p[60];
	hint->source_bits = p[61];
	hint->loc_len = p[62];
	hint->blocks_off = get_u64(p + 64);
	hint->far_off = get_u64(p + 72);
	hint->far_len = get_u64(p + 80);
	hint->leaf_count = get_u32(p + 88);
	if (p[63] != HINT_HASH_LEN || hint->loc_len == 0 || hint->loc_len > 8 ||
	    hint->source_bits > 32 ||
	    hint->off_bits + hint->source_bits + HINT_KIND_BITS >
		8 * hint->loc_len)
		return EINVAL;
	hint->per_block = hint_per_block(hint->loc_len);
	if (!is_laid_out(hint))
		return EINVAL;
	hint->sources = os->calloc(sources, sizeof *hint->sources);
	hint->verdicts = os->calloc((size_t)hint->block_count + 1, 1);
	if (hint->sources == NULL || hint->verdicts == NULL)
		return ENOMEM;
	return decode_sources(hint) ? 0 : EINVAL;
}

bool
hint_decode(struct hint *hint)
{
	return decode(hint) == 0;
}

int
hint_try_open(struct dir *dir, const char *name,
    const struct segment_store *store, struct hint **ret_hint)
{
	struct os_stat st;
	struct hint *hint;
	int fd, rc;

	*ret_hint = NULL;
	rc = os->open(dir->fd, name, OS_OPEN_READ, 0, &fd);
	if (rc != 0)
		return rc;
	hint = os->calloc(1, sizeof *hint);
	if (hint == NULL) {
		os->close(fd);
		return ENOMEM;
	}
	atomic_init(&hint->refs, 1);
	memcpy(hint->name, name, strlen(name) + 1);
	rc = os->stat(fd, &st);
	if (rc == 0 && st.size < BLOCK_SIZE)
		rc = EINVAL;
	if (rc == 0)
		rc = os->map(fd, st.size, false, false, &hint->map);
	if (rc == 0)
		os->advise(&hint->map, 0, st.size, OS_ADVICE_DENSE);
	os->close(fd);
	if (rc != 0)
		goto fail;
	hint->map.fd = -1;
	hint->data = hint->map.addr;
	hint->len = st.size;
	/* A look-up wants a block here and there, and nothing around it. */
	os->advise(&hint->map, 0, hint->len, OS_ADVICE_RANDOM);
	rc = decode(hint);
	if (rc == 0 &&
	    (!hint_name_fits(name, hint->sources, hint->source_count) ||
		memcmp(hint->data + 24, store->uuid, 16) != 0 ||
		get_u32(hint->data + 40) !=
		    sum_crc(store->secret, SEGMENT_SECRET_LEN)))
		rc = EINVAL;
	if (rc != 0)
		goto fail;
	*ret_hint = hint;
	return 0;
fail:
	hint_unref(hint);
	return rc != EINVAL ? rc : 0;
}

struct hint *
hint_open(struct dir *dir, const char *name, const struct segment_store *store)
{
	struct hint *hint;

	(void)hint_try_open(dir, name, store, &hint);
	return hint;
}

/* What hint_bind() has kept. */
static struct segment *
own(const struct segment *seg)
{
	return (struct segment *)(uintptr_t)seg;
}

bool
hint_bind(struct hint *hint, size_t n, const struct segment *seg)
{
	struct hint_source *s = &hint->sources[n];

	if (!file_id_equal(&s->id, &seg->header.id) ||
	    s->salt != seg->header.salt || s->to > segment_end(seg))
		return false;
	if (s->seg != seg) {
		segment_close(own(s->seg));
		s->seg = segment_ref(seg);
	}
	return true;
}

struct hint *
hint_ref(struct hint *hint)
{
	atomic_fetch_add_explicit(&hint->refs, 1, memory_order_relaxed);
	return hint;
}

void
hint_unref(struct hint *hint)
{
	if (hint == NULL || atomic_fetch_sub_explicit(
				&hint->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; hint->sources != NULL && i < hint->source_count; i++)
		segment_close(own(hint->sources[i].seg));
	os->unmap(&hint->map);
	os->free(hint->memory);
	os->free(hint->items);
	os->free((void *)hint->verdicts);
	os->free(atomic_load(&hint->ranks));
	os->free(hint->sources);
	os->free(hint);
}

/* Blocks */

static uint64_t
get_u40(const uint8_t *p)
{
	return get_u32(p) | (uint64_t)p[4] << 32;
}

/* What an entry consists of. */
struct layout {
	unsigned off_bits, source_bits, loc_len;
};

static inline struct layout
layout_of(const struct hint *hint)
{
	return (struct layout){
	    hint->off_bits, hint->source_bits, hint->loc_len};
}

/* The entry at p; e->seg is not set. */
static inline void
decode_entry(struct layout at, const uint8_t *p, struct hint_entry *e)
{
	/* The last of eight bytes that end with the entry, which a block's
	 * head leaves room for. */
	uint64_t loc = get_u64(p + HINT_HASH_LEN + at.loc_len - 8) >>
		       (64 - 8 * at.loc_len);

	e->hash = get_u40(p);
	e->type = (uint8_t)(loc & HINT_KIND_TYPE);
	e->expiry = (loc & HINT_KIND_EXPIRY) != 0;
	loc >>= HINT_KIND_BITS;
	e->off = (loc & ((UINT64_C(1) << at.off_bits) - 1)) * RECORD_ALIGN;
	loc >>= at.off_bits;
	e->index = (uint32_t)(loc & ((UINT64_C(1) << at.source_bits) - 1));
}

/* Entries that an entry block holds. */
static uint32_t
entries_in(const struct hint *hint, uint32_t b)
{
	return (uint32_t)min_u64(
	    hint->per_block, hint->entry_count - (uint64_t)b * hint->per_block);
}

/* Every entry lies within its source. */
static bool
entries_fit(const struct hint *hint, const uint8_t *block, uint32_t count)
{
	const uint8_t *p = block + HINT_BLOCK_HEAD;

	for (uint32_t i = 0; i < count; i++) {
		struct hint_entry e;

		decode_entry(layout_of(hint), p, &e);
		if (e.index >= hint->source_count ||
		    e.off < hint->sources[e.index].from ||
		    e.off >= hint->sources[e.index].to ||
		    !record_type_known(e.type) || e.type == RECORD_MARK)
			return false;
		p += HINT_HASH_LEN + hint->loc_len;
	}
	return true;
}

/* Every fence lies within its block, and every child before it. */
static bool
fences_fit(const uint8_t *block, uint32_t b)
{
	uint32_t count = get_u16(block + 8);
	uint32_t at = HINT_BLOCK_HEAD + 2 * (count + 1);
	uint64_t children = (uint64_t)get_u32(block + 12) + count;

	if (count == 0 || children > b || at > BLOCK_SIZE)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t from = get_u16(block + HINT_BLOCK_HEAD + 2 * i);
		uint32_t to = get_u16(block + HINT_BLOCK_HEAD + 2 * i + 2);
		uint32_t need = 1;

		if (from != at || to <= from || to > BLOCK_SIZE)
			return false;
		if (block[from] & FENCE_BUCKET)
			need += FENCE_BUCKET_LEN;
		if (block[from] & FENCE_FAR)
			need += FENCE_FAR_LEN;
		if (need > to - from || (block[from] & ~FENCE_FLAGS) != 0)
			return false;
		at = to;
	}
	return true;
}

static bool
block_is_sound(const struct hint *hint, const uint8_t *block, uint32_t b)
{
	bool leaf = b < hint->leaf_count;

	if (get_u32(block) != sum_crc(block + 4, BLOCK_SIZE - 4) ||
	    get_u32(block + 4) != b || (get_u16(block + 10) == 0) != leaf)
		return false;
	if (!leaf)
		return fences_fit(block, b);
	return get_u16(block + 8) == entries_in(hint, b) &&
	       entries_fit(hint, block, entries_in(hint, b));
}

/* A block, verified; NULL if it is damaged. */
static const uint8_t *
block_at(const struct hint *hint, uint32_t b)
{
	const uint8_t *block =
	    hint->data + hint->blocks_off + (uint64_t)b * BLOCK_SIZE;
	uint8_t verdict =
	    atomic_load_explicit(&hint->verdicts[b], memory_order_relaxed);

	if (UNLIKELY(verdict == BLOCK_UNKNOWN)) {
		verdict = block_is_sound(hint, block, b) ? BLOCK_SOUND
							 : BLOCK_DAMAGED;
		atomic_store_explicit(
		    &hint->verdicts[b], verdict, memory_order_relaxed);
	}
	return LIKELY(verdict == BLOCK_SOUND) ? block : NULL;
}

static void
get_item(const struct hint *hint, uint64_t n, struct hint_entry *ret_entry)
{
	const struct hint_item *item = &hint->items[n];
	unsigned kind = (unsigned)(item->what >> 8 * HINT_HASH_LEN);

	*ret_entry = (struct hint_entry){
	    .hash = item->what & ((UINT64_C(1) << 8 * HINT_HASH_LEN) - 1),
	    .type = (uint8_t)(kind & HINT_KIND_TYPE),
	    .expiry = (kind & HINT_KIND_EXPIRY) != 0,
	    .off = item->off,
	    .seg = hint->sources[0].seg,
	};
}

/* Where entry number n stands. */
static const void *
entry_at(const struct hint *hint, uint64_t n)
{
	if (hint->items != NULL)
		return &hint->items[n];
	return hint->data + hint->blocks_off +
	       n / hint->per_block * BLOCK_SIZE + HINT_BLOCK_HEAD +
	       n % hint->per_block * (HINT_HASH_LEN + hint->loc_len);
}

bool
hint_get(const struct hint *hint, uint64_t n, struct hint_entry *ret_entry)
{
	assert(n < hint->entry_count);
	if (hint->items != NULL) {
		get_item(hint, n, ret_entry);
		return true;
	}
	if (UNLIKELY(block_at(hint, (uint32_t)(n / hint->per_block)) == NULL))
		return false;
	decode_entry(layout_of(hint), entry_at(hint, n), ret_entry);
	ret_entry->seg = hint->sources[ret_entry->index].seg;
	return true;
}

unsigned
hint_get_some(const struct hint *hint, uint64_t n, bool back, unsigned count,
    struct hint_entry *entries)
{
	/* Entries might be of the hint, for all that a compiler knows. */
	const struct layout at = layout_of(hint);
	const struct hint_source *sources = hint->sources;
	const size_t size = HINT_HASH_LEN + at.loc_len;
	const uint32_t b =
	    hint->items == NULL ? (uint32_t)(n / hint->per_block) : 0;
	const uint64_t first = (uint64_t)b * hint->per_block;
	const uint64_t end = hint->items == NULL ? first + entries_in(hint, b)
						 : hint->entry_count;
	const uint8_t *p;

	assert(n < hint->entry_count);
	count = (unsigned)min_u64(count, back ? n - first + 1 : end - n);
	if (hint->items != NULL) {
		for (unsigned i = 0; i < count; i++, n += back ? UINT64_MAX : 1)
			get_item(hint, n, &entries[i]);
		return count;
	}
	if (UNLIKELY(block_at(hint, b) == NULL))
		return 0;
	p = entry_at(hint, n);
	for (unsigned i = 0; i < count; i++, p = back ? p - size : p + size) {
		decode_entry(at, p, &entries[i]);
		entries[i].seg = sources[entries[i].index].seg;
	}
	return count;
}

/* Fences */

/* A fence as a key; false if it is damaged. */
static bool
decode_fence(const struct hint *hint, const uint8_t *block, uint32_t i,
    struct hint_key *ret_key)
{
	uint32_t at = get_u16(block + HINT_BLOCK_HEAD + 2 * i);
	uint32_t end = get_u16(block + HINT_BLOCK_HEAD + 2 * i + 2);
	const uint8_t *p = block + at;
	uint8_t flags = *p++;
	uint64_t off;

	memset(ret_key, 0, sizeof *ret_key);
	if (flags & FENCE_BUCKET) {
		ret_key->bucket_seq = get_u64(p);
		ret_key->bucket_ordinal = get_u32(p + 8);
		p += FENCE_BUCKET_LEN;
	}
	if (!(flags & FENCE_FAR)) {
		ret_key->bytes = p;
		ret_key->len = (uint32_t)(block + end - p);
		return true;
	}
	off = get_u64(p);
	ret_key->len = get_u32(p + 8);
	if (off > hint->far_len || ret_key->len > hint->far_len - off)
		return false;
	ret_key->bytes = hint->data + hint->far_off + off;
	return sum_crc(ret_key->bytes, ret_key->len) == get_u32(p + 12);
}

/* Whether a fence block's far fences are sound. */
static bool
far_fences_are_sound(const struct hint *hint, const uint8_t *block)
{
	struct hint_key fence;

	for (uint32_t i = 0; i < get_u16(block + 8); i++)
		if (!decode_fence(hint, block, i, &fence))
			return false;
	return true;
}

void
hint_read_ahead(const struct hint *hint)
{
	if (hint->map.addr != NULL)
		os->advise(&hint->map, 0, hint->len, OS_ADVICE_SEQUENTIAL);
}

bool
hint_verify(const struct hint *hint)
{
	hint_read_ahead(hint);
	for (uint32_t b = 0; b < hint->block_count; b++) {
		const uint8_t *block = block_at(hint, b);

		if (block == NULL || (b >= hint->leaf_count &&
					 !far_fences_are_sound(hint, block)))
			return false;
	}
	return true;
}

/* What is not before the keys of a block, and before or like none of them: its
 * fence, and that of the next one. */
struct fences {
	struct hint_key low, high;
};

/* The last child whose fence is <= key (the first, if none is), and its fences,
 * which were those of its parent; false if a fence is damaged. */
static bool
choose_child(const struct hint *hint, const uint8_t *block,
    const struct hint_key *key, uint32_t *ret_child, struct fences *fences)
{
	uint32_t low = 0, high = get_u16(block + 8);

	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		struct hint_key fence;

		if (!decode_fence(hint, block, mid, &fence))
			return false;
		if (hint_key_compare(&fence, key) > 0) {
			high = mid;
			fences->high = fence;
		} else {
			low = mid;
			fences->low = fence;
		}
	}
	*ret_child = get_u32(block + 12) + low;
	return true;
}

/*
 * The entry block that holds key, if any does: an equal or first greater key
 * is in it, or is the first of the next one.  False if a block is damaged.
 */
static bool
find_leaf(const struct hint *hint, const struct hint_key *key,
    uint32_t *ret_leaf, struct fences *ret_fences)
{
	uint32_t b = hint->block_count - 1; /* the root */

	*ret_fences = (struct fences){
	    .high.bucket_seq = hint->bucket_count > 0 ? UINT64_MAX : 0};

	/* Children come before their parents: this ends. */
	while (b >= hint->leaf_count) {
		const uint8_t *block = block_at(hint, b);

		if (block == NULL ||
		    !choose_child(hint, block, key, &b, ret_fences))
			return false;
	}
	*ret_leaf = b;
	return true;
}

/* Look-ups */

bool
hint_find_next(struct hint_probe *probe, struct hint_entry *ret_entry)
{
	const struct hint *hint = probe->hint;
	const size_t size = HINT_HASH_LEN + hint->loc_len;
	const uint8_t *p;

	if (probe->next == probe->end)
		return false;
	p = hint->data + hint->blocks_off +
	    probe->next / hint->per_block * BLOCK_SIZE + HINT_BLOCK_HEAD +
	    probe->next % hint->per_block * size;
	for (; probe->next < probe->end; probe->next++, p += size) {
		if (LIKELY(get_u40(p) != probe->hash))
			continue;
		decode_entry(layout_of(hint), p, ret_entry);
		ret_entry->seg = hint->sources[ret_entry->index].seg;
		probe->next++;
		return true;
	}
	return false;
}

bool
hint_find(const struct hint *hint, const struct hint_key *key, uint64_t hash,
    struct hint_probe *probe, struct hint_entry *ret_entry)
{
	struct fences fences;
	uint32_t leaf;

	*probe = (struct hint_probe){.hint = hint, .hash = hash};
	if (hint->entry_count == 0)
		return false;
	if (!find_leaf(hint, key, &leaf, &fences) ||
	    block_at(hint, leaf) == NULL) {
		probe->damaged = true;
		return false;
	}
	probe->next = (uint64_t)leaf * hint->per_block;
	probe->end = probe->next + entries_in(hint, leaf);
	return hint_find_next(probe, ret_entry);
}

/* Fetch the entries that as many steps of a search may come upon, or, once
 * these are there, their records: memory is waited for once for all of them. */
static void
fetch_steps(const struct hint *hint, uint64_t low, uint64_t high,
    unsigned steps, bool records)
{
	uint64_t mid = low + (high - low) / 2;
	struct hint_entry e;

	if (low >= high || steps == 0)
		return;
	if (!records) {
		PREFETCH(entry_at(hint, mid));
	} else if (hint_get(hint, mid, &e)) {
		PREFETCH(e.seg->map.addr + e.off);
		PREFETCH(e.seg->map.addr + e.off + CACHE_LINE);
	}
	fetch_steps(hint, low, mid, steps - 1, records);
	fetch_steps(hint, mid + 1, high, steps - 1, records);
}

/* Whether entry number n is sound, its record, and how that compares with
 * key. */
static bool
compare_at(const struct hint *hint, uint64_t n, const struct hint_key *key,
    struct record *ret_rec, int *ret_order)
{
	struct hint_entry e;
	struct hint_key there;

	if (!hint_get(hint, n, &e) || !hint_read(&e, ret_rec))
		return false;
	there = hint_key_of(ret_rec);
	*ret_order = hint_key_compare(&there, key);
	return true;
}

/* The first entry of a rank, or of a greater one. */
static uint64_t
find_rank(const struct hint *hint, uint64_t rank)
{
	uint64_t low = 0, high = hint->entry_count;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (hint->items[mid].rank < rank)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* By ranks, which are had without a look at records: the entries of the key's
 * own rank, or the place where they would be. */
static void
find_ranked(const struct hint *hint, const struct hint_key *key,
    uint64_t *ret_low, uint64_t *ret_high)
{
	const struct hint_key *base = &hint->base;
	struct hint_key head = *key;
	uint64_t rank;
	int c;

	head.len = key->len < base->len ? key->len : base->len;
	c = hint_key_compare(&head, base);
	if (c != 0) {
		*ret_low = *ret_high = c < 0 ? 0 : hint->entry_count;
		return;
	}
	rank = key->len > base->len
		   ? key_prefix(key->bytes + base->len, key->len - base->len)
		   : 0;
	*ret_low = *ret_high = find_rank(hint, rank);
	if (*ret_low < hint->entry_count && hint->items[*ret_low].rank == rank)
		*ret_high = rank < UINT64_MAX ? find_rank(hint, rank + 1)
					      : hint->entry_count;
}

/* Ranks */

/* What is known of a block's entries, which is little at first; NULL: out of
 * memory.  It changes nothing of what a hint tells. */
static struct hint_ranks *
ranks_of(const struct hint *told, uint32_t leaf)
{
	struct hint *hint = (struct hint *)(uintptr_t)told;
	struct hint_ranks *all =
	    atomic_load_explicit(&hint->ranks, memory_order_acquire);
	struct hint_ranks *made;

	if (UNLIKELY(all == NULL)) {
		made = os->calloc(hint->leaf_count, sizeof *made);
		if (made == NULL)
			return NULL;
		if (atomic_compare_exchange_strong(&hint->ranks, &all, made))
			all = made;
		else
			os->free(made);
	}
	return &all[leaf];
}

/* The rank of a key; greater ones are of greater keys, and none is 0. */
static uint64_t
rank_behind(uint32_t base_len, const uint8_t *key, uint32_t len)
{
	return len > base_len
		   ? (key_prefix(key + base_len, len - base_len) >> 1) + 1
		   : 1;
}

/* Go by ranks if all keys between the fences of a block, which are all that
 * may be in it, begin as the one that is sought. */
static void
use_ranks(struct hint_search *s, uint32_t leaf, const struct fences *f)
{
	const struct hint_key *key = s->key;
	uint32_t n = 0;

	if (f->low.bucket_seq != key->bucket_seq ||
	    f->low.bucket_ordinal != key->bucket_ordinal ||
	    f->high.bucket_seq != key->bucket_seq ||
	    f->high.bucket_ordinal != key->bucket_ordinal)
		return;
	while (n < f->low.len && n < f->high.len &&
	       f->low.bytes[n] == f->high.bytes[n])
		n++;
	if (key->len < n || (n > 0 && memcmp(key->bytes, f->low.bytes, n) != 0))
		return;
	s->ranks = ranks_of(s->hint, leaf);
	s->base_len = n;
	s->rank = rank_behind(n, key->bytes, key->len);
	s->node = 1;
}

/* Go on behind, or before, entry number mid. */
static void
go_from(struct hint_search *s, uint64_t mid, bool behind)
{
	s->node = 2 * s->node + behind;
	if (behind)
		s->low = mid + 1;
	else
		s->high = mid;
}

/* Take the steps whose entries are known. */
static void
follow_ranks(struct hint_search *s)
{
	while (s->ranks != NULL && s->node < HINT_RANKS && s->low < s->high) {
		uint64_t there = atomic_load_explicit(
		    &s->ranks->at[s->node], memory_order_relaxed);

		if (there == 0 || there == s->rank)
			break;
		go_from(s, s->low + (s->high - s->low) / 2, there < s->rank);
	}
}

/* Searches */

/* Most hints of a compacted store lie on one side of a key. */
static bool
is_aside(struct hint_search *s, uint32_t leaf)
{
	const struct hint *hint = s->hint;
	struct record rec;
	int order;

	if (leaf == 0 && compare_at(hint, 0, s->key, &rec, &order) &&
	    order >= 0)
		s->high = 0;
	else if (leaf == hint->leaf_count - 1 &&
		 compare_at(
		     hint, hint->entry_count - 1, s->key, &rec, &order) &&
		 order < 0)
		s->low = s->high = hint->entry_count;
	else
		return false;
	return true;
}

/* Find the entries where a key may be, or before which it would be. */
static void
find_stretch(struct hint_search *s)
{
	const struct hint *hint = s->hint;
	struct fences fences;
	uint32_t leaf;

	s->high = hint->entry_count;
	if (hint->items != NULL || hint->entry_count == 0)
		return;
	s->damaged = !find_leaf(hint, s->key, &leaf, &fences);
	if (s->damaged || is_aside(s, leaf))
		return;
	s->damaged = block_at(hint, leaf) == NULL;
	if (s->damaged)
		return;
	s->low = (uint64_t)leaf * hint->per_block;
	s->high = s->low + entries_in(hint, leaf);
	if (hint->leaf_count > 1)
		use_ranks(s, leaf, &fences);
	follow_ranks(s);
}

void
hint_search_begin(
    struct hint_search *s, const struct hint *hint, const struct hint_key *key)
{
	*s = (struct hint_search){.hint = hint, .key = key};
	if (hint->ranked)
		find_ranked(hint, key, &s->low, &s->high);
	else
		find_stretch(s);
	if (s->damaged)
		s->high = s->low;
	fetch_steps(hint, s->low, s->high, FETCHED_STEPS, false);
}

static void
search_step(struct hint_search *s)
{
	uint64_t mid = s->low + (s->high - s->low) / 2, n = mid;
	struct record rec;
	bool sound = false;
	int order = 0;

	/* A damaged record does not know its place: the next sound one answers
	 * for it. */
	for (; n < s->high && !sound; n++)
		sound = compare_at(s->hint, n, s->key, &rec, &order);
	if (n != mid + 1)
		s->ranks = NULL; /* steps from here on are others */
	else if (sound && s->ranks != NULL && s->node < HINT_RANKS)
		atomic_store_explicit(&s->ranks->at[s->node],
		    rank_behind(s->base_len, rec.key, rec.key_len),
		    memory_order_relaxed);
	go_from(s, mid, sound && order < 0);
	if (sound && order < 0)
		s->low = n;
	follow_ranks(s);
}

bool
hint_search_go_on(struct hint_search *s)
{
	s->fetched = !s->fetched;
	if (!s->fetched)
		for (unsigned i = 0; i < FETCHED_STEPS && s->low < s->high; i++)
			search_step(s);
	fetch_steps(s->hint, s->low, s->high, FETCHED_STEPS, s->fetched);
	return s->low < s->high;
}

bool
hint_seek(const struct hint *hint, const struct hint_key *key, uint64_t *ret_n)
{
	struct hint_search s;

	hint_search_begin(&s, hint, key);
	while (hint_search_go_on(&s))
		;
	*ret_n = s.low;
	return !s.damaged;
}
