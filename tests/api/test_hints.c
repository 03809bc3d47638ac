/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hints.c - hint files are caches: whatever happens to them, every
 * opening shows the same (INV-11).
 *
 * Of three stores each hint file is damaged in every way.  Then the store is
 * opened with its index in memory, filled by one thread and by two, and in the
 * hints; each time a digest is made of a walk, of gets of all keys, and of
 * gets of keys that are not there.  A writer's close leaves sound hints.
 *
 * KVLOG_HINTS_STRIDE=n   bytes from one flip to the next
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS 700
#define KEY_ROOM 400
#define LONG_PREFIX 300 /* bytes: fences of such keys are kept apart */
#define VALUE_ROOM 3000
#define HINT_BLOCK 4096

static struct tree tree;   /* the store as it was closed */
static struct tree former; /* hint files that were there before, once */
static uint64_t expected;  /* digest */
static char what[300];     /* for messages */

/* Keys and values */

static size_t
make_key(char key[KEY_ROOM], unsigned n)
{
	size_t prefix_len = n % 3 == 0 ? LONG_PREFIX : n % 3;

	memset(key, 'p', prefix_len);
	return prefix_len + (size_t)snprintf(key + prefix_len,
				KEY_ROOM - prefix_len, "%04u", n);
}

static void
put_key(struct kvlog *db, unsigned n, size_t value_len)
{
	static char value[VALUE_ROOM];
	static unsigned times;
	char key[KEY_ROOM];
	size_t len = make_key(key, n);

	memset(value, 'a' + (int)(times % 26), sizeof value);
	(void)snprintf(value, 20, "%08u.%08u", n, times++);
	ck_assert_int_eq(
	    kvlog_put(db, key, len, value, value_len, NULL, NULL), KVLOG_OK);
}

static void
delete_key(struct kvlog *db, unsigned n)
{
	char key[KEY_ROOM];
	size_t len = make_key(key, n);
	enum kvlog_status st = kvlog_delete(db, key, len, NULL, NULL);

	ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
}

/* The digest */

static uint64_t
add_bytes(uint64_t digest, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	digest = rng_mix(digest ^ len);
	while (len > 0) {
		uint64_t word = 0;
		size_t n = len < sizeof word ? len : sizeof word;

		memcpy(&word, p, n);
		digest = rng_mix(digest ^ word);
		p += n;
		len -= n;
	}
	return digest;
}

static uint64_t
add_get(uint64_t digest, struct kvlog *db, const void *key, size_t key_len)
{
	static char value[VALUE_ROOM];
	struct kvlog_info info = {0};
	size_t len = 0;
	enum kvlog_status st =
	    kvlog_get(db, key, key_len, value, sizeof value, &len);

	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		ck_abort_msg("%s: get: %d", what, (int)st);
	if (kvlog_lookup(db, key, key_len, &info) != st ||
	    kvlog_exists(db, key, key_len) != st)
		ck_abort_msg("%s: get, lookup and exists differ", what);
	digest = rng_mix(digest ^ (uint64_t)st ^ info.seq << 8);
	return add_bytes(digest, value, st == KVLOG_OK ? len : 0);
}

static uint64_t
add_gets(uint64_t digest, struct kvlog *db)
{
	char key[KEY_ROOM];

	for (unsigned n = 0; n < KEYS; n++) {
		size_t len = make_key(key, n);

		digest = add_get(digest, db, key, len);
		if (n % 7 != 0)
			continue;
		/* Neighbours that are not there. */
		digest = add_get(digest, db, key, len - 1);
		key[len] = '\0';
		digest = add_get(digest, db, key, len + 1);
		key[0]++;
		digest = add_get(digest, db, key, len);
	}
	return digest;
}

/* The first steps of a walk over the keys with key n's beginning, or from key
 * n on; of all if steps is SIZE_MAX. */
static uint64_t
add_walk(uint64_t digest, struct kvlog *db, size_t prefix_len, unsigned n,
    size_t steps)
{
	struct kvlog_iter *iter = NULL;
	char key[KEY_ROOM];
	size_t len = make_key(key, n);
	enum kvlog_status st = KVLOG_OK;

	if (kvlog_iter_create(db, key, prefix_len, &iter) != KVLOG_OK)
		ck_abort_msg("%s: iterator", what);
	if (steps != SIZE_MAX)
		st = kvlog_iter_seek(iter, key, len);
	for (; steps > 0 && st == KVLOG_OK; steps--) {
		struct kvlog_info info;
		const void *p;

		st = kvlog_iter_next(iter);
		if (st != KVLOG_OK)
			break;
		kvlog_iter_info(iter, &info);
		p = kvlog_iter_key(iter, &len);
		digest = add_bytes(digest ^ info.seq, p, len);
		p = kvlog_iter_value(iter, &len);
		digest = add_bytes(digest, p, len);
	}
	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		ck_abort_msg("%s: walk: %d", what, (int)st);
	kvlog_iter_destroy(iter);
	return digest;
}

static uint64_t
make_digest(struct kvlog *db)
{
	struct kvlog_stats stats = api_stats(db);
	uint64_t digest = api_count(db);

	if (stats.record_count != digest)
		ck_abort_msg("%s: count and stats differ", what);
	if (stats.recovery & (KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED))
		ck_abort_msg("%s: %s", what, stats.recovery_text);
	digest = add_walk(digest, db, 0, 0, SIZE_MAX);
	for (unsigned n = 0; n < KEYS; n += 61)
		digest = add_walk(digest, db, n % 2, n, 3);
	return add_gets(digest, db);
}

/* Openings */

static const struct {
	enum kvlog_index_mode mode;
	uint32_t threads;
	const char *name;
} ways[] = {
    {KVLOG_INDEX_MEMORY, 1, "memory"},
    {KVLOG_INDEX_HINTS, 0, "hints"},
    {KVLOG_INDEX_MEMORY, 2, "memory, two threads"},
};
#define WAYS ((unsigned)(sizeof ways / sizeof ways[0]))

static struct kvlog *
open_way(unsigned way, unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.timeout_ms = 0;
	o.index_mode = ways[way].mode;
	o.load_threads = ways[way].threads;
	if (kvlog_open(api_store, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg(
		    "%s: open (%s): %s", what, ways[way].name, err.text);
	return db;
}

static void
check(struct kvlog *db, unsigned way, const char *when)
{
	if (make_digest(db) != expected)
		ck_abort_msg(
		    "%s: %s (%s): another content", what, when, ways[way].name);
}

static void
check_readers(const char *when)
{
	for (unsigned way = 0; way < WAYS; way++) {
		struct kvlog *db = open_way(way, KVLOG_OPEN_READONLY);

		check(db, way, when);
		api_close(db);
	}
}

/* By one way after the other, if there is much to look at. */
static void
check_reader(void)
{
	static unsigned next;
	unsigned way = next++ % WAYS;
	struct kvlog *db = open_way(way, KVLOG_OPEN_READONLY);

	check(db, way, "for reading");
	api_close(db);
}

static bool
is_hint(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcmp(name + len - 5, ".hint") == 0;
}

/* Every hint file that stood there before is what it was. */
static void
check_hints_are_sound(unsigned way)
{
	struct tree now;
	unsigned count = 0;

	tree_read(api_store, &now);
	for (size_t i = 0; i < now.count; i++) {
		const struct tree_file *f = &now.files[i];
		const struct tree_file *before = tree_find(&tree, f->name);

		count += is_hint(f->name);
		if (is_hint(f->name) && before != NULL &&
		    (f->len != before->len ||
			memcmp(f->bytes, before->bytes, f->len) != 0))
			ck_abort_msg("%s: closing (%s) left %s unsound", what,
			    ways[way].name, f->name);
	}
	if (count == 0)
		ck_abort_msg("%s: closing left no hints", what);
	tree_fini(&now);
}

/* Open for writing, read all, close.  mends: then all is as it was. */
static void
check_writer(unsigned way, bool mends)
{
	struct kvlog *db = open_way(way, 0);

	check(db, way, "for writing");
	api_close(db);
	check_readers("after a writer");
	if (!mends)
		return;
	check_hints_are_sound(way);
	db = open_way(1, KVLOG_OPEN_READONLY);
	if (api_stats(db).recovery != 0)
		ck_abort_msg("%s: after a writer (%s): %s", what,
		    ways[way].name, api_stats(db).recovery_text);
	api_close(db);
}

static void
check_both(bool mends)
{
	static unsigned way;

	check_readers("for reading");
	way = (way + 1) % WAYS;
	check_writer(way, mends);
}

/* Stores */

/* Each session ends with a close, which writes hints; remember those that the
 * next one may replace. */
static void
end_session(struct kvlog *db)
{
	struct tree now;

	api_close(db);
	tree_read(api_store, &now);
	for (size_t i = 0; i < now.count; i++) {
		if (!is_hint(now.files[i].name))
			continue;
		former.files = realloc(
		    former.files, (former.count + 1) * sizeof *former.files);
		ck_assert_ptr_nonnull(former.files);
		former.files[former.count++] = now.files[i];
		memset(&now.files[i], 0, sizeof now.files[i]);
	}
	tree_fini(&now);
}

static struct kvlog *
begin_session(uint64_t segment_size)
{
	struct kvlog_options o =
	    api_options(KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);

	o.segment_size = segment_size;
	return api_open_with(api_store, &o);
}

static void
put_all(struct kvlog *db)
{
	for (unsigned i = 0; i < KEYS; i++)
		put_key(db, i * 37 % KEYS, 8 + i % 30);
	for (unsigned i = 0; i < KEYS; i += 10)
		delete_key(db, i);
}

/* A few records that no hint covers. */
static void
put_tail(struct kvlog *db)
{
	put_key(db, 10, 20);
	put_key(db, 11, 20);
	delete_key(db, 12);
	delete_key(db, 699);
}

static void
make_one_segment(void)
{
	struct kvlog *db = begin_session(UINT64_C(256) << 10);

	put_all(db);
	end_session(db);
	db = begin_session(0);
	put_tail(db);
	end_session(db);
}

/* Hints of less and less, so that they are not merged. */
static void
make_several_segments(void)
{
	struct kvlog *db = begin_session(UINT64_C(32) << 10);

	put_all(db);
	end_session(db);
	db = begin_session(0);
	for (unsigned i = 0; i < 150; i++)
		put_key(db, i * 3, 300);
	end_session(db);
	db = begin_session(0);
	for (unsigned i = 0; i < 24; i++)
		put_key(db, i * 30 + 10, 2600);
	put_tail(db);
	end_session(db);
}

/* Two hints of the active segment and one of those before it. */
static void
make_growing_segment(void)
{
	struct kvlog *db = begin_session(UINT64_C(200) << 10);

	put_all(db);
	put_all(db);
	for (unsigned i = 0; i < 160; i++)
		put_key(db, i * 3 + 1, 400);
	end_session(db);
	db = begin_session(0);
	for (unsigned i = 0; i < 28; i++)
		put_key(db, i * 20 + 1, 2600);
	end_session(db);
	db = begin_session(0);
	put_tail(db);
	end_session(db);
}

static const struct {
	void (*make)(void);
	uint64_t segments, hints;
} shapes[] = {
    {make_one_segment, 1, 1},
    {make_several_segments, 8, 3},
    {make_growing_segment, 2, 2},
};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

static void
make_store(int shape)
{
	struct kvlog_stats stats;
	struct kvlog *db;

	shapes[shape].make();
	tree_read(api_store, &tree);
	(void)snprintf(what, sizeof what, "undamaged");
	db = open_way(0, KVLOG_OPEN_READONLY);
	stats = api_stats(db);
	ck_assert_uint_ge(stats.segment_count, shapes[shape].segments);
	ck_assert_uint_ge(stats.hint_count, shapes[shape].hints);
	ck_assert_uint_eq(stats.recovery, 0);
	expected = make_digest(db);
	api_close(db);
	check_both(true);
}

static void
setup(void)
{
	/* Nothing here is about what a disk keeps. */
	if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK | X_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	api_setup();
}

static void
teardown(void)
{
	tree_fini(&tree);
	tree_fini(&former);
	api_teardown();
}

/* Damage */

/* The next hint file at or after *i; NULL after the last. */
static struct tree_file *
next_hint(size_t *i)
{
	while (*i < tree.count && !is_hint(tree.files[*i].name))
		(*i)++;
	return *i < tree.count ? &tree.files[(*i)++] : NULL;
}

/* Let a name be nothing at all. */
static char *
clear_name(const char *name)
{
	char *path = files_path(api_store, name);

	if (remove(path) != 0)
		ck_assert_int_eq(errno, ENOENT);
	return path;
}

static void
replace(const char *name, const void *bytes, size_t len)
{
	char *path = clear_name(name);

	files_write(path, bytes, len);
	free(path);
}

static void
restore(const struct tree_file *f)
{
	replace(f->name, f->bytes, f->len);
}

/* The last of the damage: everything as it was closed. */
static void
restore_all(void)
{
	for (size_t i = 0; i < tree.count; i++)
		if (is_hint(tree.files[i].name))
			free(clear_name(tree.files[i].name));
	tree_write(api_store, &tree);
}

START_TEST(missing_hints)
{
	const struct tree_file *f;

	make_store(_i);
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		(void)snprintf(what, sizeof what, "%s missing", f->name);
		free(clear_name(f->name));
		check_both(true);
		restore_all();
	}
	(void)snprintf(what, sizeof what, "all hints missing");
	ck_assert_uint_ge(files_remove_hints(api_store), shapes[_i].hints);
	check_both(true);
}
END_TEST

/* Whether a byte of a hint file means anything: all do but those between the
 * header and the first block. */
static bool
has_meaning(const struct tree_file *f, size_t off)
{
	size_t header_len = (size_t)f->bytes[20] | (size_t)f->bytes[21] << 8;
	size_t blocks_off =
	    (header_len + HINT_BLOCK - 1) / HINT_BLOCK * HINT_BLOCK;

	return off < header_len || off >= blocks_off;
}

START_TEST(flipped_bits)
{
	const char *text = getenv("KVLOG_HINTS_STRIDE");
	size_t stride = text != NULL ? strtoul(text, NULL, 0) : 0;
	const struct tree_file *f;
	unsigned n = 0;

	make_store(_i);
	if (stride == 0)
		stride = 197;
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		char *path = files_path(api_store, f->name);

		for (size_t off = 0; off < f->len;
		     off += has_meaning(f, off) ? stride : 16 * stride) {
			unsigned bit = (unsigned)(off * 5 + off / 8) % 8;

			(void)snprintf(what, sizeof what,
			    "%s, bit %u of byte %zu", f->name, bit, off);
			files_flip(path, off, bit);
			if (n++ % 8 == 0) {
				check_writer(n / 8 % WAYS, has_meaning(f, off));
				restore_all();
			} else {
				check_reader();
				restore(f);
			}
		}
		/* In a fence that is kept apart. */
		for (unsigned way = 0; way < WAYS; way++) {
			(void)snprintf(
			    what, sizeof what, "%s, last byte", f->name);
			files_flip(path, f->len - 1, way);
			check_writer(way, true);
			restore_all();
		}
		free(path);
	}
}
END_TEST

START_TEST(wrong_lengths)
{
	static const uint8_t garbage[HINT_BLOCK] = "garbage";
	const struct tree_file *f;

	make_store(_i);
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		uint8_t *longer = malloc(f->len + sizeof garbage);

		ck_assert_ptr_nonnull(longer);
		memcpy(longer, f->bytes, f->len);
		memcpy(longer + f->len, garbage, sizeof garbage);
		for (unsigned more = 1; more <= HINT_BLOCK;
		     more *= HINT_BLOCK) {
			(void)snprintf(what, sizeof what, "%s longer by %u",
			    f->name, more);
			replace(f->name, longer, f->len + more);
			check_both(true);
			restore_all();
		}
		for (size_t len = 0; len < f->len; len += 512) {
			(void)snprintf(
			    what, sizeof what, "%s cut at %zu", f->name, len);
			replace(f->name, f->bytes, len);
			if (len % (8 * HINT_BLOCK) == 0)
				check_both(true);
			else
				check_reader();
		}
		restore_all();
		free(longer);
	}
}
END_TEST

/* How many keys do not read as they did. */
static unsigned
count_lost_keys(struct kvlog *db, const uint64_t *digests)
{
	unsigned lost = 0;

	for (unsigned n = 0; n < KEYS; n++) {
		char key[KEY_ROOM];
		size_t len = make_key(key, n);
		struct kvlog_info info = {0};
		enum kvlog_status st = kvlog_lookup(db, key, len, &info);

		if (st == KVLOG_CORRUPT)
			ck_assert_uint_ge(info.segment, 1);
		else if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
			ck_abort_msg("%s: lookup: %d", what, (int)st);
		else if (add_get(0, db, key, len) == digests[n])
			continue;
		lost++;
	}
	return lost;
}

/* In the segment of key n's record, in its key. */
static void
damage_record(struct kvlog *db, unsigned n)
{
	struct kvlog_info info;
	char key[KEY_ROOM], name[32], *path;
	size_t len = make_key(key, n);

	ck_assert_int_eq(kvlog_lookup(db, key, len, &info), KVLOG_OK);
	(void)snprintf(name, sizeof name, "%08" PRIu32 ".seg", info.segment);
	path = files_path(api_store, name);
	files_flip(path, (size_t)info.offset + 28 + len / 2, 1);
	free(path);
}

/* What each way says of each key, and the count. */
static void
read_all(unsigned way, uint64_t digests[KEYS + 1])
{
	struct kvlog *db = open_way(way, KVLOG_OPEN_READONLY);

	for (unsigned n = 0; n < KEYS; n++) {
		struct kvlog_info info = {0};
		char key[KEY_ROOM];
		size_t len = make_key(key, n);
		enum kvlog_status st = kvlog_lookup(db, key, len, &info);

		digests[n] = st == KVLOG_CORRUPT
				 ? info.offset << 8 | (uint64_t)st
				 : add_get(0, db, key, len);
		ck_assert_int_eq(kvlog_exists(db, key, len), st);
	}
	digests[KEYS] = api_count(db);
	api_close(db);
}

/* Damaged records under sound hints: every way says the same of them. */
START_TEST(damaged_records)
{
	uint64_t first[KEYS + 1], other[KEYS + 1];
	struct kvlog *db;

	make_store(_i);
	for (unsigned n = 1; n < KEYS; n += 31) {
		char key[KEY_ROOM];
		size_t len = make_key(key, n);

		(void)snprintf(what, sizeof what, "record of key %u", n);
		db = open_way(0, KVLOG_OPEN_READONLY);
		if (kvlog_exists(db, key, len) == KVLOG_OK)
			damage_record(db, n);
		api_close(db);
		read_all(0, first);
		for (unsigned way = 1; way < WAYS; way++) {
			read_all(way, other);
			for (unsigned k = 0; k <= KEYS; k++)
				if (first[k] != other[k])
					ck_abort_msg("%s: %s: key %u: %" PRIx64
						     ", not %" PRIx64,
					    what, ways[way].name, k, other[k],
					    first[k]);
		}
		tree_write(api_store, &tree);
	}
}
END_TEST

/*
 * Hints that are damaged over records that are.  What cannot be read any more
 * may show an older value, as is said: at opening if memory is filled from the
 * records, else when the damage is met.
 */
START_TEST(damaged_hints_over_damaged_records)
{
	const unsigned both = KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED;
	uint64_t digests[KEYS];
	const struct tree_file *f;
	struct kvlog *db;

	make_store(_i);
	db = open_way(0, KVLOG_OPEN_READONLY);
	for (unsigned n = 0; n < KEYS; n++) {
		char key[KEY_ROOM];
		size_t len = make_key(key, n);

		digests[n] = add_get(0, db, key, len);
	}
	damage_record(db, 32);
	damage_record(db, 302);
	api_close(db);
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		char *path = files_path(api_store, f->name);

		for (size_t off = HINT_BLOCK + 20; off < f->len;
		     off += HINT_BLOCK)
			files_flip(path, off, 2);
		free(path);
	}
	(void)snprintf(what, sizeof what, "hints and records damaged");
	for (unsigned turn = 0; turn < 2 * WAYS; turn++) {
		unsigned lost;

		db = open_way(
		    turn % WAYS, turn < WAYS ? KVLOG_OPEN_READONLY : 0);
		lost = count_lost_keys(db, digests);
		ck_assert_uint_ge(lost, 1);
		ck_assert_uint_le(lost, 2);
		ck_assert_uint_eq(api_stats(db).recovery & both, both);
		api_close(db);
	}
}
END_TEST

/* Sound hint files under wrong names, or out of their time.  Names mean
 * nothing, so that they may serve where they stand. */
START_TEST(wrong_files)
{
	const struct tree_file *f, *g;

	make_store(_i);
	for (size_t i = 0; (f = next_hint(&i)) != NULL;)
		for (size_t j = i; (g = next_hint(&j)) != NULL;) {
			(void)snprintf(what, sizeof what, "%s and %s swapped",
			    f->name, g->name);
			replace(f->name, g->bytes, g->len);
			replace(g->name, f->bytes, f->len);
			check_both(false);
			restore_all();
			(void)snprintf(what, sizeof what, "%s twice", g->name);
			replace(f->name, g->bytes, g->len);
			check_both(false);
			restore_all();
		}
	for (size_t n = 0; n < former.count; n++) {
		for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
			(void)snprintf(what, sizeof what,
			    "%s replaced by an older %s", f->name,
			    former.files[n].name);
			replace(f->name, former.files[n].bytes,
			    former.files[n].len);
			check_both(false);
			restore_all();
		}
	}
	/* As after a crash that undid the removal of what was merged. */
	(void)snprintf(what, sizeof what, "older hints came back");
	for (size_t n = 0; n < former.count; n++)
		if (tree_find(&tree, former.files[n].name) == NULL)
			replace(former.files[n].name, former.files[n].bytes,
			    former.files[n].len);
	check_both(true);
}
END_TEST

/* Hints of another store that did the very same. */
START_TEST(hints_of_another_store)
{
	struct tree ours;
	uint64_t ours_expected;
	const struct tree_file *f;

	make_store(_i);
	ours = tree;
	ours_expected = expected;
	tree_fini(&former);
	api_store[strlen(api_store) - 1]++;
	make_store(_i);
	api_store[strlen(api_store) - 1]--;
	for (size_t i = 0; (f = next_hint(&i)) != NULL;)
		replace(f->name, f->bytes, f->len);
	(void)snprintf(what, sizeof what, "hints of another store");
	tree_fini(&tree);
	tree = ours;
	expected = ours_expected;
	check_both(true);
}
END_TEST

/* Things that are no files.  Where there is one, a hint may stay unwritten. */
START_TEST(no_files)
{
	static const char *const targets[] = {
	    "/dev/null", "/dev/zero", ".", "nowhere", "00000001.seg"};
	const struct tree_file *f;

	make_store(_i);
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		char *path = clear_name(f->name);

		(void)snprintf(what, sizeof what, "%s a directory", f->name);
		ck_assert_int_eq(mkdir(path, 0777), 0);
		check_both(false);
		restore_all();
		(void)snprintf(what, sizeof what, "%s a fifo", f->name);
		free(clear_name(f->name));
		ck_assert_int_eq(mkfifo(path, 0666), 0);
		check_both(true);
		restore_all();
		for (size_t t = 0; t < sizeof targets / sizeof targets[0];
		     t++) {
			(void)snprintf(what, sizeof what, "%s a link to %s",
			    f->name, targets[t]);
			free(clear_name(f->name));
			ck_assert_int_eq(symlink(targets[t], path), 0);
			check_both(true);
			restore_all();
		}
		free(path);
	}
}
END_TEST

/* The rest of the test has no right to do everything. */
static void
become_nobody(void)
{
	const uid_t nobody = 65534;

	if (getuid() != 0)
		return;
	ck_assert_int_eq(chown(api_base, nobody, nobody), 0);
	ck_assert_int_eq(chown(api_store, nobody, nobody), 0);
	for (size_t i = 0; i < tree.count; i++) {
		char *path = files_path(api_store, tree.files[i].name);

		ck_assert_int_eq(chown(path, nobody, nobody), 0);
		free(path);
	}
	ck_assert_int_eq(setgid(nobody), 0);
	ck_assert_int_eq(setuid(nobody), 0);
}

static bool
is_forked(void)
{
	const char *fork = getenv("CK_FORK");

	return fork == NULL || strcmp(fork, "no") != 0;
}

START_TEST(hints_that_may_not_be_read)
{
	const struct tree_file *f;

	make_store(_i);
	if (!is_forked())
		return; /* it would change what comes after */
	become_nobody();
	for (size_t i = 0; (f = next_hint(&i)) != NULL;) {
		char *path = files_path(api_store, f->name);

		(void)snprintf(what, sizeof what, "%s unreadable", f->name);
		ck_assert_int_eq(chmod(path, 0), 0);
		ck_assert_int_ne(access(path, R_OK), 0);
		check_both(true);
		restore_all();
		free(path);
	}
}
END_TEST

START_TEST(a_directory_that_may_not_be_written)
{
	make_store(_i);
	if (!is_forked())
		return;
	become_nobody();
	for (unsigned way = 0; way < WAYS; way++) {
		(void)snprintf(what, sizeof what, "directory not writable");
		ck_assert_uint_ge(
		    files_remove_hints(api_store), shapes[_i].hints);
		ck_assert_int_eq(chmod(api_store, 0555), 0);
		check_readers("for reading");
		check_writer(way, false);
		ck_assert_int_eq(chmod(api_store, 0755), 0);
		check_writer(way, true);
		restore_all();
	}
}
END_TEST

/* Threads */

#define THREADS 3
#define SHARED_KEYS 300

static struct kvlog *shared;
static _Atomic bool stop;
static _Atomic unsigned wrong;

static size_t
shared_key(char key[16], unsigned n)
{
	return (size_t)snprintf(key, 16, "key%04u", n);
}

static void
put_shared(unsigned n, unsigned version)
{
	unsigned value[30] = {n, version};
	char key[16];
	size_t len = shared_key(key, n);

	if (kvlog_put(shared, key, len, value, sizeof value, NULL, NULL) !=
	    KVLOG_OK)
		wrong++;
}

/* What is read is of the key, and never older than what was read before;
 * only every third key is ever deleted. */
static void
judge(const unsigned value[2], unsigned n, unsigned *seen)
{
	if (value[0] != n || value[1] < seen[n])
		wrong++;
	seen[n] = value[1];
}

static void *
get_shared(void *arg)
{
	unsigned seen[SHARED_KEYS] = {0};
	struct rng rng;

	rng_init(&rng, (uintptr_t)arg);
	while (!atomic_load(&stop)) {
		unsigned n = (unsigned)rng_below(&rng, SHARED_KEYS);
		unsigned value[30];
		char key[16];
		size_t len = 0, key_len = shared_key(key, n);
		enum kvlog_status st =
		    kvlog_get(shared, key, key_len, value, sizeof value, &len);

		if (st == KVLOG_OK && len == sizeof value)
			judge(value, n, seen);
		else if (st != KVLOG_NOTFOUND || n % 3 != 0)
			wrong++;
		key[key_len] = 'x';
		if (kvlog_exists(shared, key, key_len + 1) != KVLOG_NOTFOUND)
			wrong++;
	}
	return NULL;
}

static void *
walk_shared(void *arg)
{
	unsigned seen[SHARED_KEYS] = {0};

	(void)arg;
	while (!atomic_load(&stop)) {
		struct kvlog_iter *iter = NULL;
		unsigned n = 0, found = 0;
		uint64_t count;

		if (kvlog_iter_create(shared, "key", 3, &iter) != KVLOG_OK) {
			wrong++;
			continue;
		}
		while (kvlog_iter_next(iter) == KVLOG_OK) {
			size_t len;
			unsigned value[2];

			memcpy(
			    value, kvlog_iter_value(iter, &len), sizeof value);
			if (value[0] >= SHARED_KEYS || value[0] < n)
				wrong++;
			else
				judge(value, value[0], seen);
			n = value[0] + 1;
			found++;
		}
		kvlog_iter_destroy(iter);
		if (found < SHARED_KEYS - SHARED_KEYS / 3 ||
		    kvlog_count(shared, &count) != KVLOG_OK ||
		    count < SHARED_KEYS - SHARED_KEYS / 3)
			wrong++;
	}
	return NULL;
}

/* All of it is right while hints are written, merged, and found damaged. */
START_TEST(hints_change_beside_readers)
{
	pthread_t threads[THREADS + 1];
	struct kvlog_options o = api_options(0);
	struct kvlog_stats stats;
	unsigned merged = 0, count = 0;
	bool more;

	o.index_mode = api_index = KVLOG_INDEX_HINTS;
	shared = api_open(api_store, KVLOG_OPEN_CREATE);
	for (unsigned n = 0; n < SHARED_KEYS; n++)
		put_shared(n, 1);
	api_close(shared);
	ck_assert_uint_gt(files_damage_hints(api_store, HINT_BLOCK + 100), 0);

	o.segment_size = UINT64_C(32) << 10;
	shared = api_open_with(api_store, &o);
	for (unsigned i = 0; i <= THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
				     i == 0 ? walk_shared : get_shared,
				     (void *)(uintptr_t)i),
		    0);
	for (unsigned i = 0; i < 4000; i++) {
		unsigned n = i * 7 % SHARED_KEYS;
		char key[16];

		if (n % 3 == 0 && i % 2 == 0)
			(void)!kvlog_delete(
			    shared, key, shared_key(key, n), NULL, NULL);
		else
			put_shared(n, i + 2);
		if (i % 100 != 99)
			continue;
		if (kvlog_sync(shared) != KVLOG_OK ||
		    kvlog_maintain(shared, 2, &more) != KVLOG_OK)
			wrong++;
		stats =
		    (struct kvlog_stats){.size = sizeof stats, .quick = true};
		if (kvlog_stats_get(shared, &stats) != KVLOG_OK)
			wrong++;
		merged += stats.hint_count < count;
		count = stats.hint_count;
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i <= THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_gt(merged, 0);
	api_close(shared);

	(void)snprintf(what, sizeof what, "after many threads");
	shared = open_way(0, KVLOG_OPEN_READONLY);
	expected = make_digest(shared);
	api_close(shared);
	check_readers("for reading");
}
END_TEST

/* The end of a segment gets hints while it grows: who is killed leaves little
 * that has to be read. */
START_TEST(the_end_is_hinted_while_it_grows)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_stats stats = {.size = sizeof stats};
	static char value[4096];
	const struct timespec pause = {0, 1000000};
	struct kvlog *db;

	o.flags = KVLOG_OPEN_CREATE;
	ck_assert_int_eq(kvlog_open(api_store, &o, &db, NULL), KVLOG_OK);
	for (unsigned n = 0; n < 200; n++) {
		char key[8];

		(void)snprintf(key, sizeof key, "%04u", n);
		ck_assert_int_eq(
		    kvlog_put(db, key, 4, value, sizeof value, NULL, NULL),
		    KVLOG_OK);
	}
	for (unsigned i = 0; i < 20000 && stats.hint_count == 0; i++) {
		stats.quick = true;
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		ck_assert_uint_eq(stats.segment_count, 1);
		(void)nanosleep(&pause, NULL);
	}
	ck_assert_uint_gt(stats.hint_count, 0);
	api_close(db);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("hints");
	TCase *damage = tcase_create("damage");
	TCase *threads = tcase_create("threads");

	tcase_add_checked_fixture(damage, setup, teardown);
	tcase_set_timeout(
	    damage, getenv("KVLOG_HINTS_STRIDE") != NULL ? 36000 : 300);
	tcase_add_loop_test(damage, missing_hints, 0, SHAPES);
	tcase_add_loop_test(damage, flipped_bits, 0, SHAPES);
	tcase_add_loop_test(damage, wrong_lengths, 0, SHAPES);
	tcase_add_loop_test(damage, damaged_records, 0, SHAPES);
	tcase_add_loop_test(
	    damage, damaged_hints_over_damaged_records, 0, SHAPES);
	tcase_add_loop_test(damage, wrong_files, 0, SHAPES);
	tcase_add_loop_test(damage, hints_of_another_store, 0, SHAPES);
	tcase_add_loop_test(damage, no_files, 0, SHAPES);
	tcase_add_loop_test(damage, hints_that_may_not_be_read, 0, SHAPES);
	tcase_add_loop_test(
	    damage, a_directory_that_may_not_be_written, 0, SHAPES);
	suite_add_tcase(suite, damage);

	tcase_add_checked_fixture(threads, setup, teardown);
	tcase_set_timeout(threads, 300);
	tcase_add_test(threads, hints_change_beside_readers);
	suite_add_tcase(suite, threads);
	tcase_add_test(
	    api_case(suite, "growing"), the_end_is_hinted_while_it_grows);
	return test_main(suite);
}
