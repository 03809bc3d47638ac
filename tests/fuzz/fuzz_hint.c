/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_hint.c - hints that somebody made to harm us: whatever their bytes,
 * with all checksums right, no look leaves the file or its segments, every
 * walk ends, and entries lie where they may.
 *
 *     byte 0    bit 0: what follows is a list of changes to a sound hint
 *                      (offset in 2 bytes, count in 1, bytes), not the file
 *               bit 1: leave the ids of its sources as they are
 *               bit 2: walk it with others, too
 */
#include "config.h"

#include "fuzz.h"

#include "hint.h"
#include "hint_format.h"
#include "merge.h"
#include "repair.h"

#include <string.h>

#define SEGS 2
#define KEYS 1200u
#define KEY_LEN 280u
#define SEG_SIZE (SEGMENT_DATA_OFF + KEYS * (RECORD_HEADER_SIZE + KEY_LEN + 8u))

static struct segment segs[SEGS];
static struct hint *sound;

static void
add_record(struct segment *seg, unsigned i)
{
	uint8_t key[KEY_LEN];
	struct record rec = {.type = i % 9 ? RECORD_PUT : RECORD_DELETE,
	    .flags = i % 5 ? 0 : RECORD_BUCKET,
	    .key_len = i % 3 ? KEY_LEN : 4,
	    .seq = i + 1,
	    .bucket_seq = i % 2,
	    .bucket_ordinal = 1,
	    .key = key};
	uint64_t off = segment_end(seg);
	uint8_t *to = seg->map.addr + off;
	unsigned len;

	memset(key, 'k', sizeof key);
	put_u32(key + rec.key_len - 4, i * 2654435761u);
	if (rec.flags == 0)
		rec.bucket_seq = rec.bucket_ordinal = 0;
	len = record_encode(to, &rec, segment_seed(seg, off));
	memcpy(to + len, key, rec.key_len);
	atomic_store(&seg->end, off + record_size(rec.flags, rec.key_len, 0));
}

/* Two segments in memory, and a hint of them: three entry blocks, one of
 * fences, some of them far. */
static void
make_sound(void)
{
	struct hint_source sources[SEGS] = {{0}};

	for (uint32_t i = 0; i < SEGS; i++) {
		struct segment *seg = &segs[i];

		seg->header.id = (struct file_id){i + 1, i + 1, 0, 1, 1};
		seg->header.salt = i + 1;
		seg->salt_sum = sum_salt(i + 1);
		seg->map.addr = calloc(1, SEG_SIZE);
		seg->map.len = SEG_SIZE;
		atomic_init(&seg->mapped, SEGMENT_MAPPED);
		FUZZ_CHECK(seg->map.addr != NULL);
		atomic_init(&seg->end, SEGMENT_DATA_OFF);
	}
	for (unsigned i = 0; i < KEYS; i++)
		add_record(&segs[i * 7 / 5 % SEGS], i);
	for (size_t i = 0; i < SEGS; i++)
		sources[i] = (struct hint_source){.seg = &segs[i],
		    .from = SEGMENT_DATA_OFF,
		    .to = segment_end(&segs[i])};
	FUZZ_CHECK(
	    hint_build(sources, SEGS, UINT64_MAX, &sound, NULL) == KVLOG_OK);
	FUZZ_CHECK(sound->block_count > sound->leaf_count &&
		   sound->far_len > 0 && sound->len <= UINT16_MAX);
}

static uint8_t *
apply_changes(const uint8_t *data, size_t size, size_t *ret_len)
{
	uint8_t *image = malloc((size_t)sound->len);

	FUZZ_CHECK(image != NULL);
	memcpy(image, sound->data, (size_t)sound->len);
	*ret_len = (size_t)sound->len;
	while (size >= 3) {
		size_t at = get_u16(data) % *ret_len, n = data[2];

		data += 3;
		size -= 3;
		n = (size_t)min_u64(n, min_u64(size, *ret_len - at));
		memcpy(image + at, data, n);
		data += n;
		size -= n;
	}
	return image;
}

/* Let every sum be right, and the sources be ours. */
static void
repair(uint8_t *p, size_t len, bool ids)
{
	uint32_t sources;

	if (len < HINT_HEADER_LEN)
		return;
	repair_hint_blocks(p, len);
	sources = get_u32(p + 44);
	for (uint32_t i = 0; ids && i < sources && i < 100; i++) {
		uint8_t *s = p + HINT_HEADER_LEN + HINT_SOURCE_LEN * i;

		if (len < HINT_HEADER_LEN + HINT_SOURCE_LEN * (i + 1))
			break;
		put_u32(s, i % SEGS + 1);
		put_u32(s + 4, i % SEGS + 1);
		put_u32(s + 8, 0);
		put_u16(s + 12, 1);
		put_u16(s + 14, 1);
		put_u64(s + 16, i % SEGS + 1);
	}
	repair_hint_head(p, len);
}

static void
check_entry(const struct hint *hint, const struct hint_entry *e)
{
	struct record rec;

	FUZZ_CHECK(e->index < hint->source_count);
	FUZZ_CHECK(e->seg == hint->sources[e->index].seg);
	FUZZ_CHECK(e->off >= SEGMENT_DATA_OFF && e->off < segment_end(e->seg));
	FUZZ_CHECK(e->off % RECORD_ALIGN == 0);
	(void)hint_read(e, &rec);
}

static void
look_up(const struct hint *hint, const struct hint_key *key, uint64_t hash)
{
	struct hint_probe probe;
	struct hint_entry e;
	uint64_t n = 0, count = 0;

	for (bool more = hint_find(hint, key, hash, &probe, &e); more;
	     more = hint_find_next(&probe, &e)) {
		check_entry(hint, &e);
		FUZZ_CHECK(e.hash == hash && ++count <= hint->per_block);
	}
	if (hint_seek(hint, key, &n))
		FUZZ_CHECK(n <= hint->entry_count);
}

static void
walk(struct hint *hint)
{
	struct hint *both[] = {sound, hint, sound};
	uint64_t left = hint->entry_count + 4 * sound->entry_count + 4;
	struct merge *merge;
	enum kvlog_status st;

	FUZZ_CHECK(merge_create(both, 3, &merge) == KVLOG_OK);
	while ((st = merge_next(merge)) != KVLOG_NOTFOUND) {
		FUZZ_CHECK(st == KVLOG_OK || st == KVLOG_CORRUPT);
		FUZZ_CHECK(merge_entry(merge)->seg != NULL);
		FUZZ_CHECK(left-- > 0);
	}
	merge_destroy(merge);
}

static void
use(struct hint *hint)
{
	struct hint_entry e;
	struct record rec;

	for (uint64_t n = 0; n < hint->entry_count; n++)
		if (hint_get(hint, n, &e))
			check_entry(hint, &e);
	for (uint64_t n = 0; n < sound->entry_count; n += 29) {
		struct hint_key key;

		FUZZ_CHECK(hint_get(sound, n, &e) && hint_read(&e, &rec));
		key = hint_key_of(&rec);
		look_up(hint, &key, e.hash);
		key.len /= 2;
		look_up(hint, &key, e.hash);
	}
	(void)hint_verify(hint);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hint *hint;
	bool ok;

	if (sound == NULL)
		make_sound();
	if (size == 0)
		return 0;
	hint = os->calloc(1, sizeof *hint);
	FUZZ_CHECK(hint != NULL);
	atomic_init(&hint->refs, 1);
	if (data[0] & 1) {
		size_t len;

		hint->memory = apply_changes(data + 1, size - 1, &len);
		hint->len = len;
	} else {
		hint->len = size - 1;
		hint->memory = malloc(size);
		FUZZ_CHECK(hint->memory != NULL);
		/* At the end: so that a look beyond it is seen. */
		hint->memory = realloc(hint->memory, size > 1 ? size - 1 : 1);
		FUZZ_CHECK(hint->memory != NULL);
		memcpy(hint->memory, data + 1, size - 1);
	}
	hint->data = hint->memory;
	repair(hint->memory, (size_t)hint->len, (data[0] & 2) == 0);
	ok = hint_decode(hint);
	for (size_t i = 0; ok && i < hint->source_count; i++)
		ok = hint_bind(hint, i, &segs[i % SEGS]);
	if (ok)
		use(hint);
	if (ok && (data[0] & 4) != 0)
		walk(hint);
	hint_unref(hint);
	return 0;
}
