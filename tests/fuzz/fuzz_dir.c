/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_dir.c - a directory that somebody made to harm us: a sound store, or
 * nothing, changed in any way, with right sums if need be, and then read,
 * verified, salvaged, compacted and written to.  kvlog.lock is part of it:
 * another process may have written there a moment ago.
 *
 *     byte 0    which store to begin with
 *     byte 1    WITH_*: what to let be right afterwards
 *     byte 2    DO_*: what to do with it
 *     then changes: see change()
 *
 * Whatever the files say, each call ends with a status and words, gives back
 * what it took, and takes time and memory in proportion to their length.
 */
#include "config.h"

#include "fuzz.h"

#include "bytes.h"
#include "dir.h"
#include "os.h"
#include "repair.h"
#include "segment.h"
#include "simos.h"
#include "victim.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STORE VICTIM_STORE
#define SALVAGED "/saved"
#define CAPACITY (UINT64_C(8) << 20)
#define FILES_MAX 64u
#define FILE_LEN_MAX 65536u

#define WITH_HEADS 0x1u     /* headers and links of segments */
#define WITH_RECORDS 0x2u   /* records */
#define WITH_HINTS 0x4u     /* hints */
#define WITH_NAMES 0x8u     /* headers say what the segments are called */
#define WITH_NOTE 0x10u     /* the end note */
#define WITHOUT_HINTS 0x20u /* they are removed */

#define DO_VERIFY 0x1u
#define DO_READ 0x2u
#define DO_SALVAGE 0x4u
#define DO_COMPACT 0x8u
#define DO_WRITE 0x10u
#define DO_REBOOT 0x20u /* before all else */
#define DO_REBUILD 0x40u
#define DO_COMPACT_ALL 0x80u

/* Stores to begin with: none, one of each small script, one whose sync has
 * failed. */
#define BASES_MAX 40u
static struct simos_state *bases[BASES_MAX];
static size_t base_count;

/*
 * What a call asks for: all the memory that it ever allocates, which bounds
 * what it holds; all that it reads with pread; calls of the system.  The fixed
 * parts are windows, tables of the least size, new segments of a store whose
 * header asks for large ones.
 */
#define ASKED_FIXED (UINT64_C(12) << 20)
#define ASKED_FACTOR 32u
#define READ_FIXED (UINT64_C(2) << 20)
#define READ_FACTOR 8u
#define CALLS_FIXED 1000u
#define CALLS_PER 64u /* bytes */

static const struct os_table *machine;
static struct os_table counting;
static struct {
	uint64_t asked, read, calls;
} taken;

static void *
count_malloc(size_t size)
{
	taken.asked += size;
	return machine->malloc(size);
}

static void *
count_calloc(size_t count, size_t size)
{
	taken.asked += count * size;
	return machine->calloc(count, size);
}

static void *
count_realloc(void *p, size_t size)
{
	taken.asked += size;
	return machine->realloc(p, size);
}

static void *
count_aligned(size_t align, size_t size)
{
	taken.asked += size;
	return machine->aligned(align, size);
}

static void *
count_pages(size_t size)
{
	taken.asked += size;
	return machine->pages(size);
}

static int
count_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	int error = machine->pread(fd, buf, len, off, ret_len);

	taken.calls++;
	if (error == 0)
		taken.read += *ret_len;
	return error;
}

static int
count_open(
    int dirfd, const char *name, enum os_open how, unsigned mode, int *ret_fd)
{
	taken.calls++;
	return machine->open(dirfd, name, how, mode, ret_fd);
}

static void
count_what_is_taken(void)
{
	machine = os;
	counting = *os;
	counting.malloc = count_malloc;
	counting.calloc = count_calloc;
	counting.realloc = count_realloc;
	counting.aligned = count_aligned;
	counting.pages = count_pages;
	counting.pread = count_pread;
	counting.open = count_open;
	os = &counting;
}

/* The files. */

struct names {
	char name[FILES_MAX][DIR_NAME_LEN];
	size_t count;
};

static int
note_name(void *arg, const char *name)
{
	struct names *names = arg;

	if (names->count < FILES_MAX && strlen(name) < DIR_NAME_LEN)
		memcpy(names->name[names->count++], name, strlen(name) + 1);
	return 0;
}

static void
list_files(struct names *ret_names)
{
	int fd;

	ret_names->count = 0;
	FUZZ_CHECK(os->open_dir(STORE, &fd) == 0);
	FUZZ_CHECK(os->list(fd, note_name, ret_names) == 0);
	FUZZ_CHECK(os->close(fd) == 0);
}

static const char *
path_of(const char *name)
{
	static char path[DIR_NAME_LEN + 8];

	(void)snprintf(path, sizeof path, STORE "/%s", name);
	return path;
}

/* A copy of a file, in memory of the caller's; NULL if it is none. */
static uint8_t *
read_file(const char *name, size_t *ret_len)
{
	const uint8_t *bytes;
	uint64_t size;
	uint8_t *copy;

	if (!simos_peek(path_of(name), &bytes, &size))
		return NULL;
	copy = malloc((size_t)size + 1);
	FUZZ_CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, bytes, (size_t)size);
	*ret_len = (size_t)size;
	return copy;
}

/* Make or replace it; a file that is there stays the same one. */
static void
write_file(const char *name, const uint8_t *bytes, size_t len)
{
	int dir, fd;

	FUZZ_CHECK(os->open_dir(STORE, &dir) == 0);
	if (os->open(dir, name, OS_OPEN_WRITE, 0, &fd) == 0 ||
	    os->open(dir, name, OS_OPEN_CREATE, 0644, &fd) == 0) {
		FUZZ_CHECK(os->truncate(fd, 0) == 0);
		if (len > 0 && os->allocate(fd, len) == 0)
			FUZZ_CHECK(os->pwrite(fd, bytes, len, 0) == 0);
		FUZZ_CHECK(os->close(fd) == 0);
	}
	FUZZ_CHECK(os->close(dir) == 0);
}

static void
remove_file(const char *name)
{
	int dir;

	FUZZ_CHECK(os->open_dir(STORE, &dir) == 0);
	(void)os->unlink(dir, name);
	FUZZ_CHECK(os->close(dir) == 0);
}

/* Bytes in a directory, if there is one. */
static uint64_t
dir_len(const char *path)
{
	static struct names names;
	uint64_t sum = 0;
	struct os_stat st;
	int fd;

	names.count = 0;
	if (os->open_dir(path, &fd) != 0)
		return 0;
	FUZZ_CHECK(os->list(fd, note_name, &names) == 0);
	for (size_t i = 0; i < names.count; i++)
		if (os->stat_name(fd, names.name[i], &st) == 0)
			sum += st.size;
	FUZZ_CHECK(os->close(fd) == 0);
	return sum;
}

static uint64_t
all_len(void)
{
	return dir_len(STORE) + dir_len(SALVAGED);
}

/* Changes. */

static size_t
take_number(struct input *in)
{
	size_t low = take_byte(in);

	return low | (size_t)take_byte(in) << 8;
}

/* Any name of the store's, and some that are not. */
static void
take_name(struct input *in, char *ret_name)
{
	unsigned kind = take_byte(in) % 12, numbers = take_byte(in);
	unsigned first = numbers & 15, last = numbers >> 4;
	unsigned parts = take_byte(in);
	static const char *const fixed[] = {DIR_LOCK_NAME, DIR_SPARE_NAME,
	    DIR_RESERVE_NAME, "new.tmp", "stranger"};

	if (kind < 5)
		(void)snprintf(ret_name, DIR_NAME_LEN, "%s", fixed[kind]);
	else if (kind < 7)
		(void)snprintf(ret_name, DIR_NAME_LEN, "%08u.%s", first,
		    kind == 5 ? "seg" : "hint");
	else if (kind < 10)
		(void)snprintf(ret_name, DIR_NAME_LEN,
		    "%08u-%08u.r%u.%uof%u.%s", first, last, parts & 3,
		    parts >> 2 & 7, parts >> 5, kind == 7 ? "seg" : "hint");
	else if (kind == 10)
		(void)snprintf(ret_name, DIR_NAME_LEN, "%08u-%08u.%u-%u.hint",
		    first, last, 4608u, 8u * (parts << 3));
	else
		(void)snprintf(ret_name, DIR_NAME_LEN, "%u.seg",
		    (1u << 28) - 2 + (first & 3));
}

/* Of the file that is chosen; a copy of its bytes, changed and written. */
static void
change_bytes(struct input *in, unsigned what, const char *name)
{
	size_t len, off, n;
	uint8_t *bytes = read_file(name, &len);

	if (bytes == NULL)
		return;
	off = take_number(in);
	off = len > 0 ? off % len : 0;
	switch (what) {
	case 0: /* so many bytes */
		n = take_byte(in);
		n = (size_t)min_u64(n, min_u64(in->left, len - off));
		memcpy(bytes + off, in->at, n);
		in->at += n;
		in->left -= n;
		break;
	case 1: /* zeros */
		n = take_number(in);
		memset(bytes + off, 0, (size_t)min_u64(n, len - off));
		break;
	case 2: /* what stands elsewhere */
		n = len > 0 ? take_number(in) % len : 0;
		memmove(bytes + off, bytes + n,
		    (size_t)min_u64(
			take_number(in), len - (size_t)max_u64(n, off)));
		break;
	case 3: /* the end */
		len = off;
		break;
	default: /* a number at its limits, little-endian */
		n = take_byte(in);
		if (len - off >= 8)
			put_u64(bytes + off,
			    (UINT64_C(1) << n % 64) - (n >> 6 & 1));
		break;
	}
	write_file(name, bytes, len);
	free(bytes);
}

/* A file of another store, under its own name. */
static void
take_foreign(struct input *in)
{
	struct simos_state *here = simos_save();
	static struct names names;
	uint8_t *bytes = NULL;
	size_t len = 0;
	char name[DIR_NAME_LEN];

	simos_restore(bases[take_byte(in) % base_count]);
	list_files(&names);
	if (names.count > 0) {
		const char *it = names.name[take_byte(in) % names.count];

		memcpy(name, it, strlen(it) + 1);
		bytes = read_file(name, &len);
	}
	simos_restore(here);
	simos_state_free(here);
	if (bytes != NULL)
		write_file(name, bytes, len);
	free(bytes);
}

static void
rename_file(const char *from, const char *to)
{
	int dir;

	FUZZ_CHECK(os->open_dir(STORE, &dir) == 0);
	(void)os->rename(dir, from, to);
	FUZZ_CHECK(os->close(dir) == 0);
}

static void
copy_file(const char *from, const char *to)
{
	size_t len;
	uint8_t *bytes = read_file(from, &len);

	if (bytes != NULL)
		write_file(to, bytes, len);
	free(bytes);
}

static void
make_file(struct input *in, const char *name)
{
	size_t len = take_number(in) % FILE_LEN_MAX, n;
	uint8_t *bytes = calloc(1, len + 1);

	FUZZ_CHECK(bytes != NULL);
	n = (size_t)min_u64(len, in->left);
	memcpy(bytes, in->at, n);
	in->at += n;
	in->left -= n;
	write_file(name, bytes, len);
	free(bytes);
}

static void
change(struct input *in)
{
	static struct names names;
	unsigned what = take_byte(in) % 12;
	char name[DIR_NAME_LEN];
	const char *chosen = NULL;

	list_files(&names);
	if (names.count > 0)
		chosen = names.name[take_byte(in) % names.count];
	fuzz_tell("change %u of %s", what, chosen != NULL ? chosen : "nothing");
	switch (what) {
	case 5:
		if (chosen != NULL)
			remove_file(chosen);
		break;
	case 6:
		take_name(in, name);
		if (chosen != NULL)
			rename_file(chosen, name);
		break;
	case 7:
		take_name(in, name);
		if (chosen != NULL)
			copy_file(chosen, name);
		break;
	case 8:
		take_foreign(in);
		break;
	case 9:
		take_name(in, name);
		make_file(in, name);
		break;
	case 10:
		take_name(in, name);
		(void)os->mkdir(path_of(name), 0755);
		break;
	default:
		if (chosen != NULL)
			change_bytes(in, what, chosen);
		break;
	}
}

/* Let the header say what the name says, and both copies the same. */
static void
tell_name(uint8_t *p, size_t len, const struct file_id *id)
{
	if (len < SEGMENT_DATA_OFF)
		return;
	put_u32(p + 40, id->first);
	put_u32(p + 44, id->last);
	put_u32(p + 48, id->round);
	put_u16(p + 52, id->part);
	put_u16(p + 54, id->parts);
}

static void
repair_file(const char *name, unsigned with)
{
	struct file file;
	size_t len;
	uint8_t *bytes = read_file(name, &len);

	if (bytes == NULL)
		return;
	dir_parse_name(name, &file);
	if (file.kind == FILE_SEGMENT && (with & WITH_NAMES) != 0)
		tell_name(bytes, len, &file.id);
	if (file.kind == FILE_SEGMENT && (with & WITH_HEADS) != 0)
		repair_segment_head(bytes, len);
	if (file.kind == FILE_SEGMENT && (with & WITH_RECORDS) != 0)
		repair_segment_records(bytes, len);
	if (file.kind == FILE_HINT && (with & WITH_HINTS) != 0) {
		repair_hint_blocks(bytes, len);
		repair_hint_head(bytes, len);
	}
	if (file.kind == FILE_LOCK && (with & WITH_NOTE) != 0)
		repair_note(bytes, len);
	write_file(name, bytes, len);
	free(bytes);
	if (file.kind == FILE_HINT && (with & WITHOUT_HINTS) != 0)
		remove_file(name);
}

static void
repair_files(unsigned with)
{
	static struct names names;

	list_files(&names);
	for (size_t i = 0; i < names.count; i++)
		repair_file(names.name[i], with);
}

/* What is done with them. */

static struct kvlog_error err;
static uint64_t len_before;

static void
begin_call(void)
{
	memset(&err, 0, sizeof err);
	len_before = all_len();
	memset(&taken, 0, sizeof taken);
}

/* Statuses that a call may end with have a bit. */
#define BIT(st) (1u << (st))
#define ANSWERS                                                                \
	(BIT(KVLOG_OK) | BIT(KVLOG_CORRUPT) | BIT(KVLOG_VERSION) |             \
	    BIT(KVLOG_NOSPACE) | BIT(KVLOG_NOSTORE) | BIT(KVLOG_NOTSTORE) |    \
	    BIT(KVLOG_TOOBIG) | BIT(KVLOG_CONFLICT) | BIT(KVLOG_IO) |          \
	    BIT(KVLOG_BROKEN) | BIT(KVLOG_BUSY))

static void
end_call(const char *what, enum kvlog_status st)
{
	bool frugal = taken.asked <= ASKED_FIXED + ASKED_FACTOR * len_before &&
		      taken.read <= READ_FIXED + READ_FACTOR * len_before &&
		      taken.calls <= CALLS_FIXED + len_before / CALLS_PER;

	fuzz_tell("%s: %s (%s); %" PRIu64 " bytes of memory, %" PRIu64
		  " bytes in %" PRIu64 " calls, of %" PRIu64 " bytes",
	    what, kvlog_status_text(st), err.text, taken.asked, taken.read,
	    taken.calls, len_before);
	FUZZ_CHECK(frugal);
	FUZZ_CHECK((ANSWERS & BIT(st)) != 0);
	FUZZ_CHECK(st == KVLOG_OK || (err.status == st && err.text[0] != '\0'));
}

static struct kvlog *
open_store(const char *path, unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;
	enum kvlog_status st;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.timeout_ms = 0;
	o.index_mode = mode;
	o.segment_size = VICTIM_SEGMENT;
	begin_call();
	st = kvlog_open(path, &o, &db, &err);
	end_call("open", st);
	return st == KVLOG_OK ? db : NULL;
}

static void
close_store(struct kvlog *db)
{
	begin_call();
	end_call("close", kvlog_close(db, &err));
}

/* All that can be read; whether nothing was damaged. */
static bool
read_all(struct kvlog *db, struct model *found)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_iter *iter = NULL;
	uint64_t left = all_len() + 1;
	enum kvlog_status st;
	bool clean = true;

	begin_call();
	st = kvlog_iter_create(db, NULL, 0, &iter);
	if (st != KVLOG_OK) {
		FUZZ_CHECK(st == KVLOG_CORRUPT);
		return false;
	}
	while ((st = kvlog_iter_next(iter)) != KVLOG_NOTFOUND) {
		struct kvlog_info info;
		size_t key_len = 0, value_len = 0;
		const void *key = kvlog_iter_key(iter, &key_len);
		const void *value = kvlog_iter_value(iter, &value_len);

		FUZZ_CHECK(left-- > 0);
		if (st != KVLOG_OK) {
			FUZZ_CHECK(st == KVLOG_CORRUPT || st == KVLOG_VERSION);
			clean = false;
			continue;
		}
		FUZZ_CHECK(key != NULL && value != NULL);
		kvlog_iter_info(iter, &info);
		model_put(found, key, key_len, value, value_len, info.seq);
		(void)!kvlog_get(db, key, key_len, NULL, 0, &value_len);
	}
	kvlog_iter_destroy(iter);
	st = kvlog_stats_get(db, &stats);
	FUZZ_CHECK(st == KVLOG_OK || st == KVLOG_CORRUPT);
	return clean && st == KVLOG_OK &&
	       (stats.recovery &
		   (KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) == 0;
}

/* What opening shows; false if that is nothing, or not all. */
static bool
look(const char *path, enum kvlog_index_mode mode, struct model *found)
{
	struct kvlog *db = open_store(path, KVLOG_OPEN_READONLY, mode);
	bool clean;

	if (db == NULL)
		return false;
	clean = read_all(db, found);
	close_store(db);
	return clean;
}

static void
write_some(enum kvlog_index_mode mode)
{
	struct kvlog *db = open_store(STORE, KVLOG_OPEN_CREATE, mode);
	struct model found = {0};
	static const uint8_t value[3000];
	bool more = true;

	if (db == NULL)
		return;
	for (unsigned i = 0; i < 4; i++) {
		char key[8];

		(void)snprintf(key, sizeof key, "k%u", i);
		(void)!kvlog_put(db, key, 2, value, 1000 * (i % 4), NULL, NULL);
		(void)!kvlog_delete(db, i % 2 == 0 ? "a" : "b", 1, NULL, NULL);
	}
	for (unsigned i = 0; more && i < 1000; i++)
		if (kvlog_maintain(db, 0, &more) != KVLOG_OK)
			break;
	FUZZ_CHECK(kvlog_durable_seq(db) <= kvlog_last_seq(db));
	(void)read_all(db, &found);
	model_fini(&found);
	close_store(db);
}

static void
compact(unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};

	o.flags = flags;
	o.timeout_ms = 0;
	begin_call();
	end_call("compact", kvlog_compact_offline(STORE, &o, &report, &err));
}

static uint64_t findings;

static void
note_finding(void *arg, const struct kvlog_finding *finding)
{
	(void)arg;
	FUZZ_CHECK(finding->text != NULL && finding->file != NULL);
	FUZZ_CHECK(*kvlog_finding_name(finding->kind) != '\0');
	fuzz_tell("    %s, %s at %" PRIu64 ": %s",
	    kvlog_finding_name(finding->kind), finding->file, finding->offset,
	    finding->text);
	findings++;
}

static enum kvlog_status
verify(const char *path, unsigned flags)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	enum kvlog_status st;

	o.flags = flags;
	o.timeout_ms = 0;
	o.finding = note_finding;
	findings = 0;
	begin_call();
	st = kvlog_verify(path, &o, &report, &err);
	end_call("verify", st);
	FUZZ_CHECK(findings <= all_len() + 1000);
	return st;
}

/* What is saved is a sound store. */
static void
salvage(unsigned flags)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct model found = {0};
	enum kvlog_status st;

	o.flags = flags;
	begin_call();
	st = kvlog_salvage(STORE, SALVAGED, &o, &report, &err);
	end_call("salvage", st);
	if (st != KVLOG_OK && st != KVLOG_CORRUPT)
		return;
	FUZZ_CHECK(look(SALVAGED, KVLOG_INDEX_MEMORY, &found));
	model_fini(&found);
	FUZZ_CHECK(verify(SALVAGED, 0) == KVLOG_OK);
}

static void
check_same(const struct model *a, const struct model *b)
{
	char why[MODEL_WHY_LEN];

	if (model_equal(a, b))
		return;
	model_explain(a, b, why);
	(void)fprintf(stderr, "%s\n", why);
	FUZZ_CHECK(false && "both show the same");
}

static bool
has_hints(void)
{
	static struct names names;

	list_files(&names);
	for (size_t i = 0; i < names.count; i++)
		if (strstr(names.name[i], ".hint") != NULL)
			return true;
	return false;
}

static void
use(unsigned what)
{
	struct model first = {0}, second = {0}, third = {0};
	unsigned all = (what & DO_COMPACT_ALL) != 0 ? KVLOG_COMPACT_ALL : 0;
	unsigned strict = (what & DO_REBUILD) != 0 ? KVLOG_SALVAGE_STRICT : 0;
	/* Hints that are not the truth, but have right sums, are believed. */
	bool truth = !has_hints();
	bool clean = false;

	if (what & DO_REBOOT)
		simos_power_loss(SIMOS_LOSS_ALL, 1);
	if (what & DO_VERIFY)
		(void)verify(STORE, 0);
	if (what & DO_READ) {
		clean = look(STORE, KVLOG_INDEX_MEMORY, &first);
		if (look(STORE, KVLOG_INDEX_HINTS, &second) && clean && truth)
			check_same(&first, &second);
	}
	if (what & DO_SALVAGE)
		salvage(strict);
	if (what & DO_REBUILD)
		(void)verify(STORE, KVLOG_VERIFY_REBUILD_HINTS);
	if (what & DO_COMPACT) {
		compact(all | KVLOG_COMPACT_DRY_RUN);
		compact(all);
		if (look(STORE, KVLOG_INDEX_MEMORY, &third) && clean && truth)
			check_same(&first, &third);
	}
	if (what & DO_WRITE) {
		write_some(KVLOG_INDEX_MEMORY);
		write_some(KVLOG_INDEX_HINTS);
		compact(all);
		(void)verify(STORE, 0);
	}
	FUZZ_CHECK(simos_leaks(stderr) == 0);
	model_fini(&first);
	model_fini(&second);
	model_fini(&third);
}

/* The stores to begin with. */

static void
fail(const char *text)
{
	(void)fprintf(stderr, "%s\n", text);
	abort();
}

static void
add_base(void)
{
	simos_kill();
	simos_forget();
	FUZZ_CHECK(base_count < BASES_MAX);
	bases[base_count++] = simos_save();
}

static void
make_bases(void)
{
	struct victim v;

	simos_init(1);
	simos_set_capacity(CAPACITY);
	FUZZ_CHECK(os->mkdir(STORE, 0755) == 0);
	FUZZ_CHECK(os->sync_parent(STORE) == 0);
	add_base();
	for (size_t i = 0; i < small_script_count; i++) {
		simos_restore(bases[0]);
		victim_init(&v, fail);
		scripts[i].fn(&v);
		victim_fini(&v);
		add_base();
	}
	simos_restore(bases[0]);
	victim_init(&v, fail);
	v.faults = true;
	(void)victim_open(&v, KVLOG_OPEN_CREATE);
	(void)victim_put(&v, "a", 1000, KVLOG_DURABILITY_COMMIT);
	for (unsigned i = 0; i < 5; i++)
		(void)victim_put(&v, "b", 1500, KVLOG_DURABILITY_NONE);
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	(void)victim_sync(&v);
	victim_fini(&v);
	add_base();
	count_what_is_taken();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	unsigned with, what;

	if (base_count == 0)
		make_bases();
	if (size < 3)
		return 0;
	simos_restore(bases[take_byte(&in) % base_count]);
	with = take_byte(&in);
	what = take_byte(&in);
	while (in.left > 0)
		change(&in);
	repair_files(with);
	use(what);
	simos_kill();
	simos_forget();
	return 0;
}
