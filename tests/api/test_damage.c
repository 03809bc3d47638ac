/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_damage.c - a small store, cleanly closed, of which one byte is changed
 * or one file cut: for every byte and, with a stride, every length.
 *
 * What must hold, whether the store is opened for reading or for writing:
 * every key reads as its right value or as an error, and keys whose records
 * were not hit read right.  Only where opening says DEGRADED may a key whose
 * newest record was hit show an older state.
 *
 * Files are damaged as the same boot finds them (the control page is valid)
 * and as another boot does (the page is stale, the end note is left).
 *
 * One opening has the index in memory and the next one in the hints.
 * KVLOG_DAMAGE_MODES=1: readers meet each damage in both.
 */
#include "config.h"

#include "api.h"

#include <sys/stat.h>
#include <unistd.h>

#define KEYS 24
#define STEPS 60
#define VERSIONS 96
#define PAGE_LEN 4096 /* of the control page in kvlog.lock */

struct version {
	unsigned key;
	bool put;
	uint32_t segment;
	uint64_t off, size, seq;
	size_t len;
	char value[256];
};

static struct version versions[VERSIONS]; /* in order of writing */
static unsigned version_count;
static struct tree tree; /* the store as it was closed */

/* Damaged bytes. */
static uint32_t hit_segment; /* 0: none */
static uint64_t hit_from, hit_to;
static char what[200]; /* for messages */

/* With sanitizers fewer places are damaged, each with all that comes of it. */
#define SLOWER (TEST_IS_SANITIZED ? 9u : 1u)

static unsigned
stride(const char *name, unsigned usual)
{
	const char *text = getenv(name);
	unsigned n = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 0;

	return n > 0 ? n : usual;
}

static size_t
key_text(unsigned key, char buf[32])
{
	/* Prefixes of each other, some longer than others. */
	return (size_t)snprintf(
	    buf, 32, "%.*skey%02u", (int)(key % 5), "aaaaaa", key);
}

static void
add_version(unsigned key, bool put, const char *value, size_t len,
    uint32_t segment, uint64_t off, uint64_t seq)
{
	struct version *v = &versions[version_count++];
	char text[32];

	ck_assert_uint_le(version_count, VERSIONS);
	v->key = key;
	v->put = put;
	v->segment = segment;
	v->off = off;
	v->seq = seq;
	v->len = len;
	memcpy(v->value, value, len);
	v->size = api_record_size(key_text(key, text), len);
}

static size_t
make_value(unsigned step, char value[256])
{
	size_t len = step * 37 % 200 + (step % 7 == 0 ? 0 : 1);

	for (size_t i = 0; i < len; i++)
		value[i] = (char)(step * 7 + i * (step % 3));
	return len;
}

static void
put_step(struct kvlog *db, unsigned step)
{
	struct kvlog_receipt r;
	char key[32], value[256];
	unsigned k = step * 11 % KEYS;
	size_t key_len = key_text(k, key), len = make_value(step, value);

	ck_assert_int_eq(
	    kvlog_put(db, key, key_len, value, len, NULL, &r), KVLOG_OK);
	add_version(k, true, value, len, r.segment, r.offset, r.seq);
}

static void
delete_step(struct kvlog *db, unsigned step)
{
	struct kvlog_receipt r;
	char key[32];
	unsigned k = (step * 11 + 13) % KEYS;
	size_t key_len = key_text(k, key);
	enum kvlog_status st = kvlog_delete(db, key, key_len, NULL, &r);

	if (st == KVLOG_NOTFOUND)
		return;
	ck_assert_int_eq(st, KVLOG_OK);
	add_version(k, false, "", 0, r.segment, r.offset, r.seq);
}

static void
batch_step(struct kvlog *db, unsigned step)
{
	struct kvlog_receipt r;
	char key[3][32], value[3][256];
	struct kvlog_op ops[3];
	uint64_t off;

	memset(ops, 0, sizeof ops);
	for (unsigned i = 0; i < 3; i++) {
		ops[i].type = i == 1 ? KVLOG_OP_DELETE : KVLOG_OP_PUT;
		ops[i].key = key[i];
		ops[i].key_len = key_text((step + 5 * i) % KEYS, key[i]);
		ops[i].value = value[i];
		if (i != 1)
			ops[i].value_len = make_value(step + i, value[i]);
	}
	ck_assert_int_eq(kvlog_apply(db, ops, 3, NULL, &r, NULL), KVLOG_OK);
	off = r.offset;
	for (unsigned i = 0; i < 3; i++) {
		add_version((step + 5 * i) % KEYS, i != 1, value[i],
		    ops[i].value_len, r.segment, off, r.seq);
		off += versions[version_count - 1].size;
	}
}

static void
setup(void)
{
	struct kvlog *db;
	struct kvlog_stats stats;
	struct stat st;

	/* Nothing here is about what a disk keeps. */
	if (getenv("TMPDIR") == NULL && stat("/dev/shm", &st) == 0 &&
	    access("/dev/shm", W_OK | X_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	api_setup();
	db = api_open(api_store, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD);
	version_count = 0;
	for (unsigned step = 0; step < STEPS; step++) {
		if (step % 10 == 4)
			batch_step(db, step);
		else if (step % 6 == 5)
			delete_step(db, step);
		else
			put_step(db, step);
	}
	stats = api_stats(db);
	ck_assert_uint_ge(stats.segment_count, 3);
	ck_assert_uint_eq(stats.last_seq, versions[version_count - 1].seq);
	api_close(db);
	tree_read(api_store, &tree);
}

static void
teardown(void)
{
	tree_fini(&tree);
	api_teardown();
}

static uint32_t
segment_of(const char *name)
{
	unsigned number;
	char ext[8];

	return sscanf(name, "%8u.%7s", &number, ext) == 2 &&
		       strcmp(ext, "seg") == 0
		   ? number
		   : 0;
}

/* Whether the record of v, or one of the same commit, was hit. */
static bool
is_hit(const struct version *v)
{
	for (unsigned i = 0; i < version_count; i++)
		if (versions[i].seq == v->seq &&
		    versions[i].segment == hit_segment &&
		    versions[i].off < hit_to &&
		    versions[i].off + versions[i].size > hit_from)
			return true;
	return false;
}

static const struct version *
newest(unsigned key)
{
	for (unsigned i = version_count; i-- > 0;)
		if (versions[i].key == key)
			return &versions[i];
	return NULL;
}

/* Whether an answer for key can be true, value NULL standing for absent. */
static void
check_answer(unsigned key, enum kvlog_status st, const void *value, size_t len,
    bool degraded, const char *by)
{
	const struct version *v = newest(key);
	bool hit = v != NULL && is_hit(v);

	if (st == KVLOG_CORRUPT) {
		if (!hit)
			ck_abort_msg("%s: %s of key %u: corrupt, but its "
				     "record is not hit",
			    what, by, key);
		return;
	}
	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		ck_abort_msg("%s: %s of key %u: %d", what, by, key, (int)st);
	if (v == NULL || !v->put) {
		if (st == KVLOG_NOTFOUND)
			return;
	} else if (st == KVLOG_OK && len == v->len &&
		   memcmp(value, v->value, len) == 0) {
		return;
	}
	if (!hit || !degraded)
		ck_abort_msg("%s: %s of key %u: %s (hit %d, degraded %d)", what,
		    by, key, st == KVLOG_OK ? "wrong value" : "lost", hit,
		    degraded);
	if (st == KVLOG_NOTFOUND)
		return;
	for (unsigned i = 0; i < version_count; i++)
		if (versions[i].key == key && versions[i].put &&
		    versions[i].len == len &&
		    memcmp(versions[i].value, value, len) == 0)
			return; /* an older one */
	ck_abort_msg("%s: %s of key %u: never written", what, by, key);
}

static void
check_gets(struct kvlog *db, bool degraded)
{
	for (unsigned k = 0; k < KEYS; k++) {
		char key[32], buf[512];
		size_t len = 0, key_len = key_text(k, key);
		enum kvlog_status st =
		    kvlog_get(db, key, key_len, buf, sizeof buf, &len);

		check_answer(k, st, buf, len, degraded, "get");
	}
}

/* The same in one call: what is damaged spoils its own key alone. */
static void
check_many(struct kvlog *db, bool degraded)
{
	struct kvlog_item items[KEYS] = {0};
	struct kvlog_pin *pin = NULL;
	char keys[KEYS][32];

	for (unsigned k = 0; k < KEYS; k++) {
		items[k].key = keys[k];
		items[k].key_len = key_text(k, keys[k]);
	}
	if (kvlog_pin_create(db, &pin) != KVLOG_OK ||
	    kvlog_pin_get_many(pin, items, KEYS) != KVLOG_OK)
		ck_abort_msg("%s: get of many keys", what);
	for (unsigned k = 0; k < KEYS; k++)
		check_answer(k, items[k].status, items[k].value,
		    items[k].value_len, degraded, "get of many");
	kvlog_pin_destroy(pin);
}

static unsigned
key_number(const void *key, size_t len)
{
	char text[32];

	for (unsigned k = 0; k < KEYS; k++)
		if (key_text(k, text) == len && memcmp(text, key, len) == 0)
			return k;
	return UINT32_MAX;
}

/* What a walk over prefix yields. */
static void
check_walk(struct kvlog *db, bool degraded, const char *prefix)
{
	struct kvlog_iter *iter = NULL;
	bool seen[KEYS] = {false}, damaged = false;
	char last[64] = "";
	size_t last_len = 0;
	enum kvlog_status st;

	st = kvlog_iter_create(db, prefix, strlen(prefix), &iter);
	if (st != KVLOG_OK)
		ck_abort_msg("%s: iterator: %d", what, (int)st);
	while ((st = kvlog_iter_next(iter)) != KVLOG_NOTFOUND) {
		size_t key_len = 0, len = 0;
		const char *key = kvlog_iter_key(iter, &key_len);
		const void *value = kvlog_iter_value(iter, &len);
		unsigned k;

		if (st == KVLOG_CORRUPT) {
			if (hit_segment == 0)
				ck_abort_msg("%s: walk: corrupt", what);
			damaged = true;
			continue;
		}
		if (st != KVLOG_OK || key == NULL || value == NULL)
			ck_abort_msg("%s: walk: %d", what, (int)st);
		if (key_len == 1 && key[0] == '~')
			continue; /* put by read_write() */
		k = key_number(key, key_len);
		if (k == UINT32_MAX || seen[k])
			ck_abort_msg("%s: walk: key %u twice", what, k);
		if (key_len < strlen(prefix) ||
		    memcmp(key, prefix, strlen(prefix)) != 0)
			ck_abort_msg("%s: walk: key %u out of range", what, k);
		if (last_len > 0 && memcmp(key, last, key_len) <= 0 &&
		    strncmp(
			key, last, key_len < last_len ? key_len : last_len) < 0)
			ck_abort_msg("%s: walk: key %u out of order", what, k);
		memcpy(last, key, key_len);
		last_len = key_len;
		seen[k] = true;
		check_answer(k, st, value, len, degraded, "walk");
	}
	for (unsigned k = 0; k < KEYS; k++) {
		char text[32];
		const struct version *v = newest(k);
		size_t len = key_text(k, text);

		if (seen[k] || v == NULL || !v->put || len < strlen(prefix) ||
		    memcmp(text, prefix, strlen(prefix)) != 0)
			continue;
		if (!is_hit(v) || (!damaged && !degraded))
			ck_abort_msg("%s: walk over \"%s\" leaves key %u out",
			    what, prefix, k);
	}
	kvlog_iter_destroy(iter);
}

static void
check_all(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	bool degraded;

	if (kvlog_stats_get(db, &stats) != KVLOG_OK)
		ck_abort_msg("%s: stats", what);
	degraded = (stats.recovery & KVLOG_RECOVERY_DEGRADED) != 0;
	check_gets(db, degraded);
	check_many(db, degraded);
	check_walk(db, degraded, "");
	check_walk(db, degraded, "aa");
	check_walk(db, degraded, "k");
}

static void
toggle_mode(void)
{
	api_index = api_index == KVLOG_INDEX_HINTS ? KVLOG_INDEX_MEMORY
						   : KVLOG_INDEX_HINTS;
}

/* NULL if it cannot be opened. */
static struct kvlog *
try_open(const char *path, unsigned flags, bool may_fail)
{
	struct kvlog_options o = api_options(flags | KVLOG_OPEN_NOTHREAD);
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;
	enum kvlog_status st;

	o.index_mode = api_index;
	toggle_mode();
	st = kvlog_open(path, &o, &db, &err);
	if (st == KVLOG_OK)
		return db;
	if (!may_fail || st != KVLOG_CORRUPT || err.status != st ||
	    err.text[0] == '\0')
		ck_abort_msg("%s, index %d: open: %d %s", what,
		    (int)o.index_mode, (int)st, err.text);
	return NULL;
}

static void
read_only(bool may_fail)
{
	unsigned modes = getenv("KVLOG_DAMAGE_MODES") != NULL ? 2 : 1;

	while (modes-- > 0) {
		struct kvlog *db =
		    try_open(api_store, KVLOG_OPEN_READONLY, may_fail);

		if (db == NULL)
			continue;
		check_all(db);
		if (kvlog_close(db, NULL) != KVLOG_OK)
			ck_abort_msg("%s: close", what);
	}
}

/* Open for writing, write, close; and once more. */
static void
read_write(bool may_fail)
{
	for (unsigned turn = 0; turn < 2; turn++) {
		struct kvlog *db = try_open(api_store, 0, may_fail);
		char buf[8];
		size_t len = 0;

		if (turn == 1)
			(void)strcat(what, ", reopened");
		if (db == NULL)
			return;
		check_all(db);
		if (turn == 1 &&
		    (kvlog_get(db, "~", 1, buf, 8, &len) != KVLOG_OK ||
			len != 3 || memcmp(buf, "new", 3) != 0))
			ck_abort_msg("%s: a put after it is lost", what);
		if (kvlog_put(db, "~", 1, "new", 3, NULL, NULL) != KVLOG_OK ||
		    kvlog_close(db, NULL) != KVLOG_OK)
			ck_abort_msg("%s: put after it", what);
		may_fail = false;
	}
	toggle_mode(); /* the next damage is met by the other one first */
}

/* As another boot finds it. */
static void
make_stale(void)
{
	static const uint8_t zeros[PAGE_LEN];
	char *path = files_path(api_store, "kvlog.lock");

	if (files_exist(path) && files_len(path) >= PAGE_LEN)
		files_patch(path, 0, zeros, PAGE_LEN);
	free(path);
}

/* Whether nothing but zeros lies around off: thinned out in normal runs. */
static bool
is_dull(const struct tree_file *f, size_t off)
{
	size_t from = off > 64 ? off - 64 : 0;
	size_t to = off + 64 < f->len ? off + 64 : f->len;

	for (size_t i = from; i < to; i++)
		if (f->bytes[i] != 0)
			return false;
	return true;
}

static void
flip_file(const struct tree_file *f, bool stale, bool writing)
{
	char *path = files_path(api_store, f->name);
	unsigned step =
	    writing ? stride("KVLOG_FLIP_STRIDE", 3 * SLOWER) : SLOWER;
	unsigned dull = step == 1 ? 1 : 64;

	hit_segment = segment_of(f->name);
	tree_write(api_store, &tree);
	if (stale)
		make_stale();
	for (size_t off = 0; off < f->len;
	     off += is_dull(f, off) ? dull : step) {
		unsigned bit = (unsigned)(off * 5 + off / 8) % 8;

		(void)snprintf(what, sizeof what, "%s, bit %u of byte %zu%s%s",
		    f->name, bit, off, stale ? ", stale" : "",
		    writing ? ", for writing" : "");
		hit_from = off;
		hit_to = off + 1;
		if (writing) {
			tree_write(api_store, &tree);
			if (stale)
				make_stale();
		}
		files_flip(path, off, bit);
		if (writing)
			read_write(false);
		else
			read_only(false);
		if (!writing)
			files_flip(path, off, bit);
	}
	free(path);
}

static void
flip_all(bool stale, bool writing)
{
	for (size_t i = 0; i < tree.count; i++)
		flip_file(&tree.files[i], stale, writing);
}

START_TEST(a_flipped_bit_gives_no_wrong_value_to_readers)
{
	flip_all(false, false);
}
END_TEST

START_TEST(nor_in_another_boot)
{
	flip_all(true, false);
}
END_TEST

START_TEST(nor_to_writers)
{
	flip_all(false, true);
}
END_TEST

START_TEST(nor_to_writers_in_another_boot)
{
	flip_all(true, true);
}
END_TEST

static void
cut_file(const struct tree_file *f, bool stale, bool writing)
{
	char *path = files_path(api_store, f->name);
	unsigned step =
	    stride("KVLOG_CUT_STRIDE", (writing ? 41 : 13) * SLOWER);

	hit_segment = segment_of(f->name);
	hit_to = UINT64_MAX;
	for (size_t len = 0; len < f->len; len += len < 130 ? 1 : step) {
		(void)snprintf(what, sizeof what, "%s cut at %zu%s%s", f->name,
		    len, stale ? ", stale" : "",
		    writing ? ", for writing" : "");
		hit_from = len;
		tree_write(api_store, &tree);
		if (stale)
			make_stale();
		if (truncate(path, (off_t)len) != 0)
			ck_abort_msg("%s: truncate", what);
		if (writing)
			read_write(hit_segment != 0);
		else
			read_only(hit_segment != 0);
	}
	free(path);
}

static void
cut_all(bool stale, bool writing)
{
	for (size_t i = 0; i < tree.count; i++)
		cut_file(&tree.files[i], stale, writing);
}

START_TEST(a_cut_file_gives_no_wrong_value_to_readers)
{
	cut_all(false, false);
	cut_all(true, false);
}
END_TEST

START_TEST(nor_to_writers_if_cut)
{
	cut_all(false, true);
	cut_all(true, true);
}
END_TEST

/*
 * A word of the control page that is wrong but looks right: a position at
 * some record of the active segment.  The page has no checksum; the end note
 * says that the log went on.
 */
START_TEST(a_position_before_the_end_note_is_not_believed)
{
	const struct version *last = &versions[version_count - 1];
	unsigned tried = 0;

	hit_segment = 0;
	for (unsigned i = 0; i < version_count; i++) {
		uint64_t position =
		    (uint64_t)versions[i].segment << 36 | versions[i].off / 8;
		char *path;

		if (versions[i].segment != last->segment)
			continue;
		tried++;
		(void)snprintf(
		    what, sizeof what, "position %" PRIu64, versions[i].off);
		tree_write(api_store, &tree);
		path = files_path(api_store, "kvlog.lock");
		files_patch(path, 56, &position, sizeof position);
		read_only(false);
		read_write(false);
		free(path);
	}
	ck_assert_uint_gt(tried, 1);
}
END_TEST

START_TEST(nor_is_a_durable_word_beyond_the_last_commit)
{
	const uint64_t word = UINT64_C(1) << 50;
	char *path = files_path(api_store, "kvlog.lock");
	struct kvlog_receipt r;
	struct kvlog *db;

	tree_write(api_store, &tree);
	files_patch(path, 80, &word, sizeof word);
	(void)snprintf(what, sizeof what, "durable word");
	db = try_open(api_store, 0, false);
	r = api_put(db, "~", "new");
	ck_assert_uint_lt(kvlog_durable_seq(db), r.seq);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_uint_eq(kvlog_durable_seq(db), r.seq);
	api_close(db);
	free(path);
}
END_TEST

/* All the other tests stand on this. */
START_TEST(undamaged_all_is_well)
{
	for (int turn = 0; turn < 2; turn++) {
		struct kvlog_stats stats;
		struct kvlog *db;

		tree_write(api_store, &tree);
		if (turn == 1)
			make_stale();
		(void)snprintf(what, sizeof what, "turn %d", turn);
		hit_segment = 0;
		read_only(false);
		db = try_open(api_store, 0, false);
		stats = api_stats(db);
		ck_assert_uint_eq(stats.recovery, 0);
		ck_assert_uint_eq(stats.hint_count, 1); /* of two */
		ck_assert_uint_eq(stats.segment_count, turn == 0 ? 3 : 4);
		check_all(db);
		api_close(db);
	}
}
END_TEST

/* Without any one file: the segments are found missing, the others are
 * only caches. */
START_TEST(a_missing_file_is_noticed_or_harmless)
{
	for (int turn = 0; turn < 4; turn++)
		for (size_t i = 0; i < tree.count; i++) {
			const char *name = tree.files[i].name;
			char *path = files_path(api_store, name);
			char *aside = files_path(api_base, "aside");

			(void)snprintf(what, sizeof what, "%s missing%s%s",
			    name, turn & 1 ? ", stale" : "",
			    turn & 2 ? ", for writing" : "");
			tree_write(api_store, &tree);
			if (turn & 1)
				make_stale();
			ck_assert_int_eq(rename(path, aside), 0);
			hit_segment = segment_of(name);
			hit_from = 0;
			hit_to = UINT64_MAX;
			if (turn & 2)
				read_write(hit_segment != 0);
			else
				read_only(hit_segment != 0);
			/* The very same file: the page names its inode. */
			ck_assert_int_eq(rename(aside, path), 0);
			free(aside);
			free(path);
		}
}
END_TEST

/* A segment that is missing from the middle, or the first, is named. */
START_TEST(a_missing_segment_is_named)
{
	for (uint32_t n = 1; n < versions[version_count - 1].segment; n++) {
		struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
		struct kvlog_error err = {0};
		struct kvlog *db = NULL;
		char name[32], *path;

		(void)snprintf(name, sizeof name, "%08" PRIu32 ".seg", n);
		path = files_path(api_store, name);
		tree_write(api_store, &tree);
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(
		    kvlog_open(api_store, &o, &db, &err), KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, n);
		o.flags = 0;
		ck_assert_int_eq(
		    kvlog_open(api_store, &o, &db, &err), KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, n);
		free(path);
	}
}
END_TEST

/* The place of damage to a value is told, and other keys are not touched. */
START_TEST(lookup_tells_the_place_of_damage)
{
	for (unsigned k = 0; k < KEYS; k++) {
		const struct version *v = newest(k);
		struct kvlog_info info = {1, 1, 1, 1, 1};
		struct kvlog *db;
		char key[32], name[32], *path, buf[512];
		size_t len = 77, key_len = key_text(k, key);

		if (v == NULL || !v->put || v->len == 0)
			continue;
		tree_write(api_store, &tree);
		(void)snprintf(
		    name, sizeof name, "%08" PRIu32 ".seg", v->segment);
		path = files_path(api_store, name);
		/* In the key: its hint still names the record. */
		files_flip(path, (size_t)v->off + 28, 3);
		free(path);
		db = try_open(api_store, KVLOG_OPEN_READONLY, false);
		if (kvlog_lookup(db, key, key_len, &info) == KVLOG_CORRUPT) {
			ck_assert_uint_eq(info.segment, v->segment);
			ck_assert_uint_eq(info.offset, v->off);
			ck_assert_uint_eq(info.seq, 0);
			ck_assert_uint_eq(info.value_len, 0);
			ck_assert_int_eq(
			    kvlog_get(db, key, key_len, buf, 512, &len),
			    KVLOG_CORRUPT);
			ck_assert_uint_eq(len, 77);
		}
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	}
}
END_TEST

START_TEST(a_value_that_is_damaged_reads_as_corrupt)
{
	unsigned tried = 0;

	for (unsigned k = 0; k < KEYS; k++) {
		const struct version *v = newest(k);
		struct kvlog_iter *iter = NULL;
		struct kvlog_stats stats;
		struct kvlog *db;
		char key[32], name[32], *path, buf[512];
		size_t len = 77, key_len = key_text(k, key);
		enum kvlog_status st;

		if (v == NULL || !v->put || v->len == 0)
			continue;
		tried++;
		tree_write(api_store, &tree);
		(void)snprintf(
		    name, sizeof name, "%08" PRIu32 ".seg", v->segment);
		path = files_path(api_store, name);
		files_flip(path, (size_t)v->off + 28 + key_len, 3);
		free(path);
		db = try_open(api_store, 0, false);
		ck_assert_int_eq(
		    kvlog_get(db, key, key_len, buf, 512, &len), KVLOG_CORRUPT);
		ck_assert_uint_eq(len, 77);
		/* It is there, though. */
		ck_assert_int_eq(kvlog_exists(db, key, key_len), KVLOG_OK);
		stats = api_stats(db);
		ck_assert_uint_eq(stats.recovery & KVLOG_RECOVERY_DEGRADED, 0);

		ck_assert_int_eq(
		    kvlog_iter_create(db, key, key_len, &iter), KVLOG_OK);
		do
			st = kvlog_iter_next(iter);
		while (st == KVLOG_OK);
		ck_assert_int_eq(st, KVLOG_CORRUPT);
		ck_assert_mem_eq(kvlog_iter_key(iter, &len), key, key_len);
		ck_assert_uint_eq(len, key_len);
		ck_assert_ptr_null(kvlog_iter_value(iter, &len));
		kvlog_iter_destroy(iter);

		/* A new value mends it. */
		api_put(db, key, "mended");
		api_expect(db, key, "mended");
		api_close(db);
		db = try_open(api_store, 0, false);
		api_expect(db, key, "mended");
		api_close(db);
	}
	ck_assert_uint_gt(tried, 5);
}
END_TEST

static TCase *
new_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 600);
	suite_add_tcase(suite, tc);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("damage");
	TCase *place = new_case(suite, "place");
	TCase *flip = new_case(suite, "flip");
	TCase *cut = new_case(suite, "cut");

	tcase_add_test(place, undamaged_all_is_well);
	tcase_add_test(place, a_position_before_the_end_note_is_not_believed);
	tcase_add_test(place, nor_is_a_durable_word_beyond_the_last_commit);
	tcase_add_test(place, a_missing_segment_is_named);
	tcase_add_test(place, a_missing_file_is_noticed_or_harmless);
	tcase_add_test(place, lookup_tells_the_place_of_damage);
	tcase_add_test(place, a_value_that_is_damaged_reads_as_corrupt);
	tcase_add_test(flip, a_flipped_bit_gives_no_wrong_value_to_readers);
	tcase_add_test(flip, nor_in_another_boot);
	tcase_add_test(flip, nor_to_writers);
	tcase_add_test(flip, nor_to_writers_in_another_boot);
	tcase_add_test(cut, a_cut_file_gives_no_wrong_value_to_readers);
	tcase_add_test(cut, nor_to_writers_if_cut);
	return test_main(suite);
}
