/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_backup.c - what a user may rely on in a backup: its contents beside
 * writers, that stores which share files never change each other's, and what
 * stands under its name when the one who makes it is killed.
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct kvlog_backup_report report;
static struct kvlog_error err;
static char *copy_path;

static void
setup(void)
{
	api_setup();
	copy_path = files_path(api_base, "copy");
}

static void
teardown(void)
{
	free(copy_path);
	api_teardown();
}

static enum kvlog_status
back_up(struct kvlog *db, const char *path, unsigned flags)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;

	o.flags = flags;
	o.timeout_ms = 0;
	memset(&err, 0, sizeof err);
	report = (struct kvlog_backup_report){.size = sizeof report};
	return kvlog_backup(db, path, &o, &report, &err);
}

static void
must_back_up(struct kvlog *db, const char *path, unsigned flags)
{
	enum kvlog_status st = back_up(db, path, flags);

	ck_assert_msg(st == KVLOG_OK, "back up: %d %s", (int)st, err.text);
}

static void
fill(struct kvlog *db, unsigned count, unsigned keys, const char *value)
{
	char key[16], text[300];

	memset(text, 'v', sizeof text);
	(void)snprintf(text + 280, 20, "%s", value);
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(key, sizeof key, "key%u", i % keys);
		(void)api_put(db, key, text);
	}
}

/* A text of all keys and values, in both modes the same; free it. */
static char *
contents(const char *path)
{
	char *texts[2];

	for (unsigned m = 0; m < 2; m++) {
		struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
		struct kvlog *db;

		o.index_mode = m == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
		db = api_open_with(path, &o);
		texts[m] = api_text(db);
		ck_assert_uint_eq(api_stats(db).damaged_ranges, 0);
		api_close(db);
	}
	ck_assert_str_eq(texts[0], texts[1]);
	free(texts[1]);
	return texts[0];
}

static void
same_contents(const char *a, const char *b)
{
	char *of_a = contents(a), *of_b = contents(b);

	ck_assert_str_eq(of_a, of_b);
	free(of_a);
	free(of_b);
}

static void
verify(const char *path)
{
	enum kvlog_status st = kvlog_verify(path, NULL, NULL, &err);

	ck_assert_msg(
	    st == KVLOG_OK, "verify %s: %d %s", path, (int)st, err.text);
}

static void
compact(const char *path)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact_offline(path, &o, NULL, &err), KVLOG_OK);
}

START_TEST(an_empty_store_has_a_backup)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	must_back_up(db, copy_path, 0);
	ck_assert_uint_eq(report.last_seq, 0);
	must_back_up(db, copy_path, 0); /* onto it */
	(void)api_put(db, "a", "1");
	must_back_up(db, copy_path, 0);
	api_close(db);
	same_contents(api_store, copy_path);
	verify(copy_path);
}
END_TEST

/* Of the segment that the backup followed nothing is left then. */
START_TEST(an_empty_backup_is_of_every_later_state)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	must_back_up(db, copy_path, 0);
	fill(db, 100, 10, "a");
	api_close(db);
	compact(api_store);
	db = api_open(api_store, 0);
	must_back_up(db, copy_path, 0);
	api_close(db);
	same_contents(api_store, copy_path);
	verify(copy_path);
}
END_TEST

START_TEST(a_reader_can_make_one)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *reader;

	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	must_back_up(reader, copy_path, 0); /* of an empty store */
	fill(db, 100, 30, "a");
	(void)api_put(db, "last", "1");
	must_back_up(reader, copy_path, 0);
	ck_assert_uint_eq(report.last_seq, 101);
	ck_assert_uint_ge(report.copied_count, 1);
	api_expect(db, "last", "1");
	same_contents(api_store, copy_path);
	verify(copy_path);
	(void)api_put(db, "last", "2");
	must_back_up(reader, copy_path, 0);
	same_contents(api_store, copy_path);
	must_back_up(db, copy_path, 0); /* and a writer goes on */
	same_contents(api_store, copy_path);
	verify(copy_path);
	api_close(reader);
	api_close(db);
}
END_TEST

/* Bytes of all files of a store that have a second name. */
static struct tree
shared_files(const char *path)
{
	struct tree tree;

	tree_read(path, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		char *file = files_path(path, tree.files[i].name);
		struct stat st;

		ck_assert_int_eq(stat(file, &st), 0);
		if (st.st_nlink < 2)
			tree.files[i].len = 0;
		free(file);
	}
	return tree;
}

/* Files that are gone were not stored into. */
static void
check_unchanged(const char *path, struct tree *before)
{
	struct tree now;

	tree_read(path, &now);
	for (size_t i = 0; i < before->count; i++) {
		const struct tree_file *was = &before->files[i];
		const struct tree_file *is = tree_find(&now, was->name);

		if (was->len == 0 || is == NULL)
			continue;
		ck_assert_msg(was->len == is->len &&
				  memcmp(was->bytes, is->bytes, is->len) == 0,
		    "%s/%s was stored into", path, was->name);
	}
	tree_fini(&now);
	tree_fini(before);
}

/* Whatever is done to one store, the other one holds what it held. */
START_TEST(stores_that_share_files_do_not_change_each_other)
{
	char *third = files_path(api_base, "third"), *text, *of_copy;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *copy;
	struct tree shared;

	fill(db, 200, 60, "a");
	must_back_up(db, copy_path, 0);
	ck_assert_uint_gt(report.linked_count, 2);
	api_close(db);
	text = contents(api_store);
	shared = shared_files(api_store);

	/* The backup is written to, killed, compacted, and backed up. */
	copy = api_open(copy_path, 0);
	fill(copy, 50, 10, "b");
	api_delete(copy, "key20");
	must_back_up(copy, third, 0);
	api_close(copy);
	same_contents(copy_path, third);
	compact(copy_path);
	verify(copy_path);
	same_contents(copy_path, third);
	of_copy = contents(api_store);
	ck_assert_str_eq(of_copy, text);
	free(of_copy);
	check_unchanged(api_store, &shared);

	/* So is the store. */
	shared = shared_files(third);
	of_copy = contents(third);
	db = api_open(api_store, 0);
	fill(db, 80, 40, "c");
	api_close(db);
	compact(api_store);
	compact(third);
	free(text);
	text = contents(third);
	ck_assert_str_eq(text, of_copy);
	check_unchanged(third, &shared);
	verify(api_store);
	verify(copy_path);
	verify(third);
	free(text);
	free(of_copy);
	free(third);
}
END_TEST

/* A file with a second name, given from outside, may be another store's. */
START_TEST(an_active_segment_with_two_names_is_not_stored_into)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *active = files_path(api_store, "00000001.seg");
	char *reserve = files_path(api_store, "reserve");
	char *lock = files_path(api_store, "kvlog.lock");
	char *other = files_path(api_base, "other"), *kept;
	uint8_t *before, *after;
	struct kvlog_options o = api_options(0);
	struct stat st;
	size_t len;

	(void)api_put(db, "a", "1");
	api_close(db);
	ck_assert_int_eq(link(active, other), 0);
	before = files_read(other, &len);
	db = api_open(api_store, 0);
	(void)api_put(db, "b", "2");
	api_close(db);
	after = files_read(other, &len);
	ck_assert_mem_eq(before, after, len);
	free(before);
	free(after);

	kept = files_path(api_base, "kept");
	ck_assert_int_eq(link(reserve, kept), 0);
	api_close(api_open(api_store, 0));
	ck_assert_int_eq(stat(reserve, &st), 0);
	ck_assert_uint_eq(st.st_nlink, 1); /* another one */

	free(kept);
	kept = files_path(api_base, "lock");
	ck_assert_int_eq(link(lock, kept), 0);
	ck_assert_int_eq(kvlog_open(api_store, &o, &db, &err), KVLOG_NOTSTORE);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	api_expect(db, "b", "2");
	api_close(db);
	ck_assert_int_eq(unlink(lock), 0);
	db = api_open(api_store, 0);
	api_expect(db, "a", "1");
	api_close(db);
	free(kept);
	free(lock);
	free(other);
	free(reserve);
	free(active);
}
END_TEST

START_TEST(an_increment_brings_what_is_new)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	uint64_t segments;

	fill(db, 200, 100, "a");
	must_back_up(db, copy_path, KVLOG_BACKUP_COPY);
	ck_assert_uint_eq(report.linked_count + report.kept_count, 0);
	segments = report.copied_count;
	(void)api_put(db, "b", "2");
	must_back_up(db, copy_path, KVLOG_BACKUP_COPY);
	ck_assert_uint_eq(report.copied_count, 1);
	ck_assert_uint_eq(report.kept_count, segments);
	ck_assert_uint_eq(report.segment_count, segments + 2);
	api_close(db);
	compact(api_store);
	db = api_open(api_store, 0);
	must_back_up(db, copy_path, KVLOG_BACKUP_COPY);
	ck_assert_uint_gt(report.copied_count, 0);
	api_close(db);
	same_contents(api_store, copy_path);
	verify(copy_path);
}
END_TEST

START_TEST(a_backup_that_has_gone_its_own_way_is_kept)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *copy;
	char *text;

	fill(db, 50, 50, "a");
	must_back_up(db, copy_path, 0);
	copy = api_open(copy_path, 0); /* no commit is needed for that */
	ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_BUSY);
	api_close(copy);
	text = contents(copy_path);
	ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_CONFLICT);
	same_contents(copy_path, copy_path);
	free(text);
	api_close(db);
}
END_TEST

/* The store was restored from an older backup, and the newer one has what it
 * lost. */
START_TEST(a_backup_that_is_ahead_is_kept)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *old = files_path(api_base, "old");

	fill(db, 50, 50, "a");
	must_back_up(db, old, 0);
	(void)api_put(db, "only", "here");
	must_back_up(db, copy_path, 0);
	api_close(db);
	for (unsigned i = 0; i < 2; i++) { /* after a commit of its own, too */
		db = api_open(old, i == 0 ? KVLOG_OPEN_READONLY : 0);
		if (i == 1)
			fill(db, 100, 60, "b");
		ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_CONFLICT);
		ck_assert_ptr_nonnull(strstr(err.text, "commit 51"));
		api_close(db);
	}
	db = api_open(copy_path, KVLOG_OPEN_READONLY);
	api_expect(db, "only", "here");
	api_close(db);
	free(old);
}
END_TEST

static bool
stop_half_way(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	return done < total / 4;
}

/* Somebody else's call while one is under way. */
static bool
call_inside(void *arg, uint64_t done, uint64_t total)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;

	(void)done;
	(void)total;
	o.timeout_ms = 0;
	ck_assert_int_eq(
	    kvlog_backup(arg, copy_path, &o, NULL, &err), KVLOG_BUSY);
	return true;
}

START_TEST(it_can_be_cancelled_and_goes_on)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	fill(db, 300, 100, "a");
	o.flags = KVLOG_BACKUP_COPY;
	o.progress = stop_half_way;
	ck_assert_int_eq(
	    kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_CANCELLED);
	ck_assert(!files_exist(copy_path));
	must_back_up(db, copy_path, 0);
	ck_assert_uint_gt(report.kept_count, 0);
	ck_assert_uint_gt(report.linked_count, 0);
	o.progress = call_inside;
	o.arg = db;
	(void)api_put(db, "b", "2");
	ck_assert_int_eq(kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_OK);
	api_close(db);
	same_contents(api_store, copy_path);
}
END_TEST

static unsigned calls_left;

static bool
stop_when_told(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return calls_left-- > 0;
}

/* Of links, of what the earlier backup has, of copies; and while it reads. */
START_TEST(it_can_be_cancelled_at_any_call)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	o.progress = stop_when_told;
	for (unsigned round = 0; round < 3; round++) {
		enum kvlog_status st = KVLOG_CANCELLED;
		unsigned stops = 0;

		fill(db, 60, 40, "a");
		o.flags = round == 2 ? KVLOG_BACKUP_COPY : 0;
		for (; st == KVLOG_CANCELLED; stops++) {
			calls_left = stops;
			st = kvlog_backup(db, copy_path, &o, NULL, &err);
			ck_assert(st == KVLOG_OK || *err.text != '\0');
			ck_assert(st == KVLOG_OK || round > 0 ||
				  !files_exist(copy_path));
		}
		ck_assert_int_eq(st, KVLOG_OK);
		ck_assert_uint_gt(stops, 5);
		same_contents(api_store, copy_path);
	}
	api_close(db);
	verify(copy_path);
}
END_TEST

/* Somebody makes something of the backup's name in the last moment. */
static bool
take_the_name(void *arg, uint64_t done, uint64_t total)
{
	const unsigned *kind = arg;
	char *file = files_path(copy_path, "file");

	if (done == total) {
		if (*kind == 0)
			ck_assert_int_eq(mkdir(copy_path, 0777), 0);
		files_write(*kind == 0 ? file : copy_path, "x", 1);
	}
	free(file);
	return true;
}

START_TEST(what_takes_its_name_meanwhile_stays)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *part = files_path(api_base, "copy.part");
	unsigned kind = (unsigned)_i;

	fill(db, 30, 30, "a");
	o.progress = take_the_name;
	o.arg = &kind;
	ck_assert_int_eq(
	    kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_CONFLICT);
	ck_assert_ptr_nonnull(strstr(err.text, "is there now"));
	ck_assert(files_exist(copy_path));
	same_contents(api_store, part);
	api_close(db);
	free(part);
}
END_TEST

static bool compacted;

/* Files that were noted are gone when their turn comes. */
static bool
compact_inside(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	if (!compacted)
		compact(api_store);
	compacted = true;
	return true;
}

START_TEST(files_that_are_replaced_meanwhile_are_no_loss)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	fill(db, 300, 40, "a");
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	compacted = false;
	o.progress = compact_inside;
	ck_assert_int_eq(kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_OK);
	ck_assert(compacted);
	api_close(db);
	same_contents(api_store, copy_path);
	verify(copy_path);
}
END_TEST

static bool
compact_always(void *arg, uint64_t done, uint64_t total)
{
	struct kvlog *db = api_open(api_store, 0);

	(void)api_put(db, "more", "to compact");
	api_close(db);
	compacted = false;
	return compact_inside(arg, done, total);
}

START_TEST(files_that_are_always_replaced_are_given_up)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	fill(db, 100, 90, "a");
	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	o.progress = compact_always;
	ck_assert_int_eq(
	    kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "change faster"));
	must_back_up(db, copy_path, 0); /* what is there is gone on with */
	api_close(db);
	same_contents(api_store, copy_path);
	verify(copy_path);
}
END_TEST

START_TEST(who_reads_the_earlier_backup_is_told)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *copy;
	char value[8];
	size_t len;

	(void)api_put(db, "a", "1");
	must_back_up(db, copy_path, 0);
	copy = api_open(copy_path, KVLOG_OPEN_READONLY);
	(void)api_put(db, "a", "2");
	must_back_up(db, copy_path, 0);
	api_expect(copy, "a", "1"); /* or BROKEN, but never anything else */
	(void)usleep(1100000);
	ck_assert_int_eq(
	    kvlog_get(copy, "a", 1, value, sizeof value, &len), KVLOG_BROKEN);
	api_close(copy);
	copy = api_open(copy_path, KVLOG_OPEN_READONLY);
	api_expect(copy, "a", "2");
	api_close(copy);
	api_close(db);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	ck_assert_int_eq(kvlog_backup(db, NULL, NULL, NULL, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_backup(db, "", NULL, NULL, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_backup(db, "/", NULL, NULL, &err), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_backup(NULL, copy_path, NULL, NULL, &err), KVLOG_INVAL);
	o.flags = 0x80;
	ck_assert_int_eq(
	    kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_INVAL);
	o.flags = 0;
	o.size--;
	ck_assert_int_eq(
	    kvlog_backup(db, copy_path, &o, NULL, &err), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_segments(db, NULL, NULL, &err), KVLOG_INVAL);
	api_close(db);
}
END_TEST

/* Damage in the store is in its backup, and nothing else is. */
START_TEST(damage_is_told_and_copied)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *file = files_path(api_store, "00000002.seg");

	fill(db, 200, 200, "a");
	api_close(db);
	files_flip(file, 4608 + 200, 3);
	db = api_open(api_store, 0);
	ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_CORRUPT);
	ck_assert_uint_eq(report.damaged_segments, 1);
	ck_assert_uint_eq(report.damaged_segment, 2);
	ck_assert_uint_eq(report.damaged_offset, 4608);
	ck_assert_uint_eq(err.segment, 2);
	must_back_up(db, copy_path, KVLOG_BACKUP_NOVERIFY);
	ck_assert_uint_eq(report.verified_bytes, 0);
	api_close(db);
	db = api_open(copy_path, KVLOG_OPEN_READONLY);
	ck_assert_uint_eq(api_count(db), 200);
	api_close(db);
	free(file);
}
END_TEST

static bool
count_damaged(void *arg, const struct kvlog_segment *s)
{
	*(unsigned *)arg += s->damaged;
	return true;
}

START_TEST(each_damaged_segment_is_counted)
{
	unsigned damaged = 0;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *files[2] = {files_path(api_store, "00000002.seg"),
	    files_path(api_store, "00000004.seg")};

	fill(db, 200, 200, "a");
	api_close(db);
	for (unsigned i = 0; i < 2; i++) /* a value, and a header */
		files_flip(files[i], i == 0 ? 4608 + 200 : 4608 + 4, 3);
	/* Without hints they are read when it is opened. */
	(void)files_remove_hints(api_store);
	db = api_open(api_store, 0);
	ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_CORRUPT);
	ck_assert_uint_eq(report.damaged_segments, 2);
	ck_assert_uint_eq(report.damaged_segment, 2); /* the first one */
	ck_assert_int_eq(
	    kvlog_segments(db, count_damaged, &damaged, &err), KVLOG_OK);
	ck_assert_uint_ge(damaged, 1);
	api_close(db);
	for (unsigned i = 0; i < 2; i++)
		free(files[i]);
}
END_TEST

/* What is copied record by record has its records, if not their values. */
START_TEST(a_damaged_end_is_told_or_refused)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *file = files_path(api_store, "00000001.seg");
	const uint64_t second = 4608 + api_record_size(4, 281);

	fill(db, 10, 10, "a");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	(void)api_put(db, "attests", "that the others are durable");
	api_close(db);
	files_flip(file, second + (_i == 0 ? 100 : 4), 3);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	ck_assert_int_eq(back_up(db, copy_path, 0), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 1);
	if (_i == 0) {
		ck_assert_uint_eq(report.damaged_segments, 1);
		ck_assert_uint_eq(err.offset, second);
		ck_assert_uint_eq(report.last_seq, 11);
	} else {
		ck_assert_ptr_nonnull(strstr(err.text, "not sealed yet"));
		ck_assert_uint_eq(report.segment_count, 0);
		ck_assert(!files_exist(copy_path));
	}
	api_close(db);
	free(file);
}
END_TEST

/* Beside writers and killers */

/* One that waits for its turn, and does not end a segment for each. */
static struct kvlog *
open_patient(unsigned flags)
{
	struct kvlog_options o = api_options(flags);

	o.timeout_ms = 30000;
	o.segment_size = 64 * 1024;
	return api_open_with(api_store, &o);
}

/* Until it is killed: commit number i is key i, and the last one. */
static void
write_for_ever(void)
{
	struct kvlog *db = open_patient(0);

	for (unsigned i = 1;; i++) {
		struct kvlog_op ops[2] = {{0}};
		char key[16], value[200];

		memset(value, 'x', sizeof value);
		(void)snprintf(key, sizeof key, "%08u", i);
		memcpy(value, key, 8);
		ops[0] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .key = key,
		    .key_len = 8,
		    .value = value,
		    .value_len = sizeof value};
		ops[1] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .key = "last",
		    .key_len = 4,
		    .value = key,
		    .value_len = 8};
		if (kvlog_apply(db, ops, 2, NULL, NULL, NULL) != KVLOG_OK)
			_exit(1);
		(void)usleep(200);
	}
}

static pid_t
begin(void (*fn)(void))
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid != 0)
		return pid;
	fn();
	_exit(0);
}

static void
end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static unsigned
last_of(struct kvlog *db)
{
	char value[9] = "0";
	size_t len;
	enum kvlog_status st = kvlog_get(db, "last", 4, value, 8, &len);

	ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
	return (unsigned)strtoul(value, NULL, 10);
}

/* The number of the last commit, with all that belong to it; 0: none. */
static unsigned
check_prefix(const char *path)
{
	unsigned last = 0;

	for (unsigned m = 0; m < 2; m++) {
		struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
		struct kvlog *db;

		o.index_mode = m == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
		db = api_open_with(path, &o);
		last = last_of(db);
		ck_assert_uint_eq(api_count(db), last + (last > 0));
		ck_assert_uint_eq(api_stats(db).damaged_ranges, 0);
		api_close(db);
	}
	return last;
}

START_TEST(beside_writers_it_is_a_prefix_of_their_commits)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader;
	unsigned moved = 0;
	pid_t writer;

	api_close(db);
	writer = begin(write_for_ever);
	while (!files_exist(api_store))
		;
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	while (last_of(reader) < 100)
		(void)usleep(1000);
	for (unsigned i = 0; i < 12; i++) {
		unsigned before = last_of(reader), got, after;

		if (_i == 0) {
			db = open_patient(0);
			must_back_up(
			    db, copy_path, i % 3 == 0 ? KVLOG_BACKUP_COPY : 0);
			after = last_of(db);
			api_close(db);
		} else {
			must_back_up(reader, copy_path, 0);
			after = last_of(reader);
		}
		got = check_prefix(copy_path);
		ck_assert_uint_ge(got, before);
		ck_assert_uint_le(got, after);
		moved += after > before;
	}
	ck_assert_uint_gt(moved, 3); /* somebody was at work */
	api_close(reader);
	end(writer);
	verify(copy_path);
}
END_TEST

static void
back_up_for_ever(void)
{
	for (unsigned i = 0;; i++) {
		struct kvlog *db =
		    open_patient(i % 2 == 0 ? 0 : KVLOG_OPEN_READONLY);

		if (back_up(db, copy_path,
			i % 3 == 0 ? KVLOG_BACKUP_COPY : 0) != KVLOG_OK) {
			(void)fprintf(stderr, "%s\n", err.text);
			_exit(1);
		}
		api_close(db);
	}
}

/* Ends with 0, or with 1 if another one was made, or is under way. */
static _Noreturn void
back_up_once(uint32_t timeout_ms)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = open_patient(KVLOG_OPEN_READONLY);
	enum kvlog_status st;

	o.timeout_ms = timeout_ms;
	st = kvlog_backup(db, copy_path, &o, NULL, &err);
	api_close(db);
	if (st == KVLOG_OK)
		_exit(0);
	if (st == KVLOG_BUSY && strncmp(err.text, "another backup ", 15) == 0)
		_exit(1);
	(void)fprintf(stderr, "status %d: %s\n", (int)st, err.text);
	_exit(2);
}

START_TEST(killed_it_leaves_the_earlier_or_the_new_one)
{
	struct rng rng;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *part = files_path(api_base, "copy.part");
	unsigned last = 0;
	pid_t writer;

	api_close(db);
	rng_init(&rng, 1);
	writer = begin(write_for_ever);
	for (unsigned i = 0; i < 25; i++) {
		pid_t pid = begin(back_up_for_ever);
		unsigned now;

		(void)usleep((unsigned)rng_below(&rng, 20000));
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
		end(pid);
		if (last > 0 || files_exist(copy_path)) {
			now = check_prefix(copy_path);
			ck_assert_uint_ge(now, last);
			last = now;
		}
	}
	end(writer);
	db = open_patient(0);
	must_back_up(db, copy_path, 0);
	api_close(db);
	ck_assert(!files_exist(part));
	same_contents(api_store, copy_path);
	verify(copy_path);
	verify(api_store);
	free(part);
}
END_TEST

/* Of several first backups at once one is made, and the others are told. */
START_TEST(of_first_backups_at_once_one_is_made)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char *part = files_path(api_base, "copy.part");

	fill(db, 100, 50, "a");
	api_close(db);
	for (unsigned round = 0; round < 25; round++) {
		pid_t pids[4];
		unsigned made = 0;

		for (unsigned i = 0; i < 4; i++) {
			pids[i] = fork();
			ck_assert_int_ge(pids[i], 0);
			if (pids[i] == 0)
				back_up_once(round % 2 == 0 ? 0 : 5000);
		}
		for (unsigned i = 0; i < 4; i++) {
			int status;

			ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
			ck_assert(WIFEXITED(status));
			ck_assert_int_le(WEXITSTATUS(status), 1);
			made += WEXITSTATUS(status) == 0;
		}
		ck_assert_uint_ge(made, 1);
		ck_assert(!files_exist(part));
		same_contents(api_store, copy_path);
		tmpdir_remove(strdup(copy_path));
	}
	free(part);
}
END_TEST

/* False if it was replaced since it was opened. */
static bool
read_prefix(unsigned i, unsigned *ret_last)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_READONLY);
	struct kvlog *db;
	char value[9] = "0";
	uint64_t count = 0;
	size_t len;
	enum kvlog_status st;

	o.index_mode = i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS;
	db = api_open_with(copy_path, &o);
	st = kvlog_get(db, "last", 4, value, 8, &len);
	if (st == KVLOG_OK)
		st = kvlog_count(db, &count);
	api_close(db);
	/* What it had not opened yet is gone. */
	if (st == KVLOG_BROKEN || st == KVLOG_IO)
		return false;
	ck_assert_int_eq(st, KVLOG_OK);
	*ret_last = (unsigned)strtoul(value, NULL, 10);
	ck_assert_uint_eq(count, *ret_last + 1);
	return true;
}

/* Its name leads to one backup or to the next one at any time; which of them,
 * is decided while it is opened. */
START_TEST(it_can_be_opened_at_any_time)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	unsigned last, first, seen = 0;
	pid_t writer, maker;

	api_close(db);
	writer = begin(write_for_ever);
	db = open_patient(0);
	while (last_of(db) < 100)
		(void)usleep(1000);
	must_back_up(db, copy_path, 0);
	api_close(db);
	maker = begin(back_up_for_ever);
	first = last = check_prefix(copy_path);
	/* Until it is exchanged meanwhile, however busy the machine is. */
	for (unsigned i = 0; i < 600 || seen <= 100 || last == first; i++) {
		unsigned now;

		if (!read_prefix(i, &now))
			continue;
		ck_assert_uint_ge(now, last);
		last = now;
		seen++;
	}
	ck_assert_int_eq(waitpid(maker, NULL, WNOHANG), 0);
	end(maker);
	end(writer);
}
END_TEST

/* What is told of segments */

struct sums {
	unsigned count, active;
	uint64_t live, dead, last;
	unsigned stop_at;
};

static bool
add_segment(void *arg, const struct kvlog_segment *s)
{
	struct sums *sums = arg;

	ck_assert_uint_eq(s->size, sizeof *s);
	ck_assert_uint_gt(s->first, sums->last);
	ck_assert_uint_ge(s->last, s->first);
	ck_assert_uint_eq(s->live_bytes + s->dead_bytes + s->free_bytes + 4608,
	    s->file_bytes);
	sums->last = s->last;
	sums->live += s->live_bytes;
	sums->dead += s->dead_bytes;
	sums->active += s->active;
	return ++sums->count != sums->stop_at;
}

START_TEST(segments_add_up)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct sums sums = {0};
	struct kvlog_stats stats;

	fill(db, 100, 30, "a");
	api_delete(db, "key3");
	stats = api_stats(db);
	ck_assert_int_eq(
	    kvlog_segments(db, add_segment, &sums, &err), KVLOG_OK);
	ck_assert_uint_eq(sums.count, stats.segment_count);
	ck_assert_uint_eq(sums.live,
	    29 * api_record_size(5, 281) -
		9 * (api_record_size(5, 281) - api_record_size(4, 281)));
	ck_assert_uint_eq(sums.live, stats.live_bytes);
	ck_assert_uint_eq(sums.dead, stats.dead_bytes);
	ck_assert_uint_eq(sums.active, 1);
	ck_assert_uint_eq(sums.last, stats.active_segment);
	sums = (struct sums){.stop_at = 2};
	ck_assert_int_eq(
	    kvlog_segments(db, add_segment, &sums, &err), KVLOG_OK);
	ck_assert_uint_eq(sums.count, 2);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("backup");
	TCase *tc = tcase_create("backup");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, an_empty_store_has_a_backup);
	tcase_add_test(tc, an_empty_backup_is_of_every_later_state);
	tcase_add_test(tc, a_reader_can_make_one);
	tcase_add_test(tc, stores_that_share_files_do_not_change_each_other);
	tcase_add_test(tc, an_active_segment_with_two_names_is_not_stored_into);
	tcase_add_test(tc, an_increment_brings_what_is_new);
	tcase_add_test(tc, a_backup_that_has_gone_its_own_way_is_kept);
	tcase_add_test(tc, a_backup_that_is_ahead_is_kept);
	tcase_add_test(tc, it_can_be_cancelled_and_goes_on);
	tcase_add_test(tc, it_can_be_cancelled_at_any_call);
	tcase_add_loop_test(tc, what_takes_its_name_meanwhile_stays, 0, 2);
	tcase_add_test(tc, files_that_are_replaced_meanwhile_are_no_loss);
	tcase_add_test(tc, files_that_are_always_replaced_are_given_up);
	tcase_add_test(tc, each_damaged_segment_is_counted);
	tcase_add_loop_test(tc, a_damaged_end_is_told_or_refused, 0, 2);
	tcase_add_test(tc, who_reads_the_earlier_backup_is_told);
	tcase_add_test(tc, wrong_arguments_are_refused);
	tcase_add_test(tc, damage_is_told_and_copied);
	tcase_add_loop_test(
	    tc, beside_writers_it_is_a_prefix_of_their_commits, 0, 2);
	tcase_add_test(tc, killed_it_leaves_the_earlier_or_the_new_one);
	tcase_add_test(tc, of_first_backups_at_once_one_is_made);
	tcase_add_test(tc, it_can_be_opened_at_any_time);
	tcase_add_test(tc, segments_add_up);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return test_main(make_suite());
}
