/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_compact.c - compaction of an open store: what survives, which runs are
 * chosen, and in which order things happen on disk.
 *
 * KVLOG_COMPACT_CONTENTS=n   contents tried exhaustively (default 500)
 */
#include "config.h"

#include "compact.h"
#include "makelog.h"
#include "model.h"
#include "pieces.h"
#include "rng.h"
#include "rollover.h"
#include "store.h"

#include <errno.h>

#define STORE MAKELOG_STORE
#define SIZE MAKELOG_SIZE

static struct kvlog_error err;
static struct kvlog_compact_report report;

/* As the program does it. */
static enum kvlog_status
compact(unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = flags;
	memset(&err, 0, sizeof err);
	report.size = sizeof report;
	return kvlog_compact_offline(STORE, &o, &report, &err);
}

static void
must_compact(unsigned flags)
{
	if (compact(flags) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
}

/* One run, whatever it is worth; false if there is no such run. */
static bool
compact_run(uint32_t first, uint32_t last)
{
	struct kvlog *db = open_store(KVLOG_OPEN_UNSHARED, KVLOG_INDEX_HINTS);
	struct compaction c;

	compact_init(&c, &db->store->views, atomic_load(&db->store->views.view),
	    &db->store->log, db->store->options.segment_size);
	c.only = (struct compact_run){.first = first, .last = last};
	if (compact_store(&c, &err) != KVLOG_OK)
		ck_abort_msg("compact %u to %u: %s", first, last, err.text);
	close_store(db);
	return c.report.run_count > 0;
}

static void
must_compact_run(uint32_t first, uint32_t last)
{
	ck_assert_msg(compact_run(first, last), "no run %u to %u", first, last);
}

static void
expect(const struct model *wanted, const char *when)
{
	static const enum kvlog_index_mode modes[] = {
	    KVLOG_INDEX_MEMORY, KVLOG_INDEX_HINTS};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		struct kvlog *db = open_store(KVLOG_OPEN_READONLY, modes[i]);
		struct kvlog_stats stats = {.size = sizeof stats};
		struct model found = {0};
		char why[MODEL_WHY_LEN];

		if (!model_read(&found, db, why))
			ck_abort_msg(
			    "%s: mode %d: %s", when, (int)modes[i], why);
		if (!model_equal(wanted, &found)) {
			model_explain(wanted, &found, why);
			ck_abort_msg(
			    "%s: mode %d: %s", when, (int)modes[i], why);
		}
		MAKELOG_OK(kvlog_stats_get(db, &stats));
		ck_assert_msg((stats.recovery & KVLOG_RECOVERY_DAMAGE) == 0,
		    "%s: %s", when, stats.recovery_text);
		model_fini(&found);
		close_store(db);
	}
}

static uint64_t
file_size(const char *name)
{
	const uint8_t *bytes;
	uint64_t size = 0;

	return simos_peek(makelog_path(name), &bytes, &size) ? size : 0;
}

/* A store of so many segments, and an empty active one. */
static void
make_content(struct model *model, const unsigned *kinds, size_t count)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	for (size_t i = 0; i < count; i++)
		write_piece(db, model, kinds[i]);
	close_store(db);
}

/* Merge safety */

#define SEGMENTS 5

static char *
describe(char *text, const unsigned *kinds)
{
	for (size_t i = 0; i < SEGMENTS; i++)
		text[i] = (char)('0' + kinds[i]);
	text[SEGMENTS] = '\0';
	return text;
}

/* Every run of neighbours, one after the other from the same beginning. */
static void
try_every_run(const struct simos_state *base, const struct model *model,
    const unsigned *kinds)
{
	char text[SEGMENTS + 1], when[100];

	for (unsigned first = 1; first <= SEGMENTS; first++)
		for (unsigned last = first; last <= SEGMENTS; last++) {
			simos_restore(base);
			must_compact_run(first, last);
			snprintf(when, sizeof when, "content %s, run %u to %u",
			    describe(text, kinds), first, last);
			expect(model, when);
		}
}

/* Runs in some order, with new records in between. */
static void
try_orders(const struct simos_state *base, const struct model *model,
    const unsigned *kinds, struct rng *rng)
{
	char text[SEGMENTS + 1], when[200];

	for (unsigned order = 0; order < 4; order++) {
		struct model now = {0};
		size_t at;

		simos_restore(base);
		model_copy(&now, model);
		at = (size_t)snprintf(when, sizeof when, "content %s, runs",
		    describe(text, kinds));
		for (unsigned i = 0, done = 0; i < 30 && done < 4; i++) {
			uint32_t first = 1 + (uint32_t)rng_below(rng, 6);
			uint32_t last = first + (uint32_t)rng_below(rng, 4);
			struct kvlog *db;
			unsigned kind = (unsigned)rng_below(rng, PIECES);

			if (!compact_run(first, last))
				continue;
			done++;
			at += (size_t)snprintf(
			    when + at, sizeof when - at, " %u-%u", first, last);
			expect(&now, when);
			if (rng_below(rng, 2) == 0)
				continue;
			db = open_store(0, KVLOG_INDEX_MEMORY);
			write_piece(db, &now, kind);
			close_store(db);
			at += (size_t)snprintf(
			    when + at, sizeof when - at, " +%u", kind);
			expect(&now, when);
		}
		model_fini(&now);
	}
}

START_TEST(no_run_in_any_order_changes_a_key)
{
	const char *wanted = getenv("KVLOG_COMPACT_CONTENTS");
	unsigned contents = 1, tries, step = 1;
	struct rng rng;

	rng_init(&rng, rng_seed_from_env());
	for (unsigned i = 0; i < SEGMENTS; i++)
		contents *= PIECES;
	tries = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 0) : 500;
	if (tries < contents)
		step = contents / tries;
	for (unsigned n = (unsigned)rng_below(&rng, step); n < contents;
	     n += step) {
		struct model model = {0};
		struct simos_state *base;
		unsigned kinds[SEGMENTS];

		for (unsigned i = 0, rest = n; i < SEGMENTS; i++) {
			kinds[i] = rest % PIECES;
			rest /= PIECES;
		}
		simos_fini();
		makelog_setup();
		make_content(&model, kinds, SEGMENTS);
		expect(&model, "before");
		base = simos_save();
		try_every_run(base, &model, kinds);
		try_orders(base, &model, kinds, &rng);
		simos_state_free(base);
		model_fini(&model);
	}
}
END_TEST

/* After all of it is compacted only what counts is left. */
START_TEST(nothing_but_what_counts_is_left)
{
	static const unsigned kinds[] = {0, 1, 2, 3, 1, 0, 2, 4, 1, 2};
	struct model model = {0};
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog *db;

	make_content(&model, kinds, ARRAY_LEN(kinds));
	must_compact_run(1, ARRAY_LEN(kinds));
	expect(&model, "compacted");
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_eq(stats.record_count, 1);
	ck_assert_uint_le(stats.dead_bytes, 32); /* a mark in the active one */
	ck_assert_uint_eq(stats.segment_count, 2);
	close_store(db);
	model_fini(&model);
}
END_TEST

/* Tombstones */

static void
tombstones_after(uint32_t first, uint32_t last, uint64_t dropped)
{
	struct kvlog *db = open_store(KVLOG_OPEN_UNSHARED, KVLOG_INDEX_HINTS);
	struct compaction c;

	compact_init(&c, &db->store->views, atomic_load(&db->store->views.view),
	    &db->store->log, SIZE);
	c.only = (struct compact_run){.first = first, .last = last};
	MAKELOG_OK(compact_store(&c, &err));
	ck_assert_uint_eq(c.report.run_count, 1);
	ck_assert_uint_eq(c.report.tombstones_dropped, dropped);
	close_store(db);
}

START_TEST(a_tombstone_stays_while_it_hides_something)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	struct simos_state *base;

	put(db, &model, "a", 10);
	seal(db);
	put(db, &model, "b", 10);
	seal(db);
	delete (db, &model, "a");
	delete (db, &model, "b");
	seal(db);
	close_store(db);
	base = simos_save();

	tombstones_after(3, 3, 0);
	expect(&model, "3");
	/* b is nowhere else than in the run. */
	simos_restore(base);
	tombstones_after(2, 3, 1);
	expect(&model, "2 to 3");
	/* The one of a stays until what it hides is in the run. */
	tombstones_after(2, 3, 0);
	tombstones_after(1, 3, 1);
	expect(&model, "1 to 3");
	/* When its key has gone from what is older, it goes alone. */
	simos_restore(base);
	tombstones_after(1, 1, 0);
	tombstones_after(2, 2, 0);
	tombstones_after(3, 3, 2);
	expect(&model, "3, at last");
	simos_state_free(base);
	model_fini(&model);
}
END_TEST

START_TEST(an_empty_value_is_no_tombstone)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	put(db, &model, "empty", 10);
	put(db, &model, "empty", 0);
	seal(db);
	close_store(db);
	tombstones_after(1, 1, 0);
	expect(&model, "compacted");
	model_fini(&model);
}
END_TEST

/* Space and choice */

/* Segments: three of dead records, four of live ones, three dead, one live. */
static void
make_halves(struct model *model)
{
	static const char kinds[] = "dddlllldddl";
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	for (unsigned i = 0; kinds[i] != '\0'; i++) {
		char key[] = "keep ?";

		key[5] = (char)('a' + i);
		put(db, model, kinds[i] == 'd' ? "x" : key, 3400);
		seal(db);
	}
	put(db, model, "x", 10);
	close_store(db);
}

START_TEST(what_is_worth_it_is_chosen)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct model model = {0};
	struct kvlog *db;

	make_halves(&model);
	must_compact(0);
	expect(&model, "compacted");
	ck_assert_uint_eq(report.run_count, 2);
	ck_assert_uint_eq(report.segments_before, 12);
	ck_assert(makelog_exists("00000001-00000003.r1.1of1.seg"));
	ck_assert(makelog_exists("00000004.seg"));
	ck_assert(makelog_exists("00000007.seg"));
	ck_assert(makelog_exists("00000008-00000010.r2.1of1.seg"));
	ck_assert(makelog_exists("00000011.seg"));
	ck_assert(makelog_exists("00000012.seg"));
	ck_assert_uint_eq(report.records_kept, 0);
	ck_assert_uint_eq(report.records_superseded, 6);
	ck_assert_uint_eq(report.segments_after, 8);
	ck_assert_uint_eq(report.bytes_written, 2 * SIZE);
	ck_assert_uint_eq(report.bytes_before - report.bytes_after, 4 * SIZE);
	/* Hints that went beyond a run were made anew. */
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_str_eq(stats.recovery_text, "none needed");
	close_store(db);
	model_fini(&model);
}
END_TEST

/* Once more, and there is nothing to do. */
START_TEST(compacting_again_changes_nothing)
{
	struct model model = {0};
	struct kvlog *db;
	uint64_t hash;

	make_halves(&model);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	put(db, &model, "y", 100);
	put(db, &model, "y", 100);
	close_store(db);
	for (unsigned all = 0; all < 2; all++) {
		unsigned flags = all ? KVLOG_COMPACT_ALL : 0;

		must_compact(flags);
		ck_assert_uint_gt(report.run_count, 0);
		expect(&model, "compacted");
		hash = report.bytes_after;
		must_compact(flags);
		ck_assert_uint_eq(report.run_count, 0);
		ck_assert_uint_eq(report.bytes_after, hash);
		ck_assert_uint_eq(report.bytes_before, hash);
		expect(&model, "compacted twice");
	}
	model_fini(&model);
}
END_TEST

START_TEST(a_dry_run_tells_what_will_be)
{
	struct kvlog_compact_report forecast;
	struct model model = {0};
	unsigned flags = _i == 0 ? 0 : KVLOG_COMPACT_ALL;
	struct kvlog *db;
	uint64_t hash;

	make_halves(&model);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	put(db, &model, "y", 1000);
	delete (db, &model, "x");
	close_store(db);
	hash = simos_image_hash();
	must_compact(flags | KVLOG_COMPACT_DRY_RUN);
	ck_assert_uint_eq(simos_image_hash(), hash);
	forecast = report;
	must_compact(flags);
	ck_assert_mem_eq(&forecast, &report, sizeof report);
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	ck_assert_uint_eq(atomic_load(&db->store->views.view)->set->count,
	    report.segments_after);
	close_store(db);
	expect(&model, "compacted");
	model_fini(&model);
}
END_TEST

/* Parts are as large as segments may be, but for a record that is larger. */
START_TEST(outputs_are_parted)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	static uint8_t big[40000];
	struct kvlog_receipt receipt;

	for (unsigned i = 0; i < 9; i++) {
		char key[] = "k?";

		key[1] = (char)('0' + i);
		put(db, &model, key, 1500);
	}
	MAKELOG_OK(kvlog_put(db, "k4big", 5, big, sizeof big, NULL, &receipt));
	model_put(&model, "k4big", 5, big, sizeof big, receipt.seq);
	close_store(db);
	must_compact(KVLOG_COMPACT_ALL);
	expect(&model, "compacted");
	/* Two records to a part; the big one alone; it parts 4 from 5. */
	ck_assert_uint_eq(report.run_count, 1);
	ck_assert(makelog_exists("00000001-00000006.r1.1of6.seg"));
	ck_assert_uint_eq(file_size("00000001-00000006.r1.1of6.seg"), SIZE);
	ck_assert_uint_eq(file_size("00000001-00000006.r1.4of6.seg"),
	    (4608 + 28 + 5 + 40000 + 4095) / 4096 * 4096);
	ck_assert_uint_eq(file_size("00000001-00000006.r1.6of6.seg"), SIZE);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.run_count, 0);
	model_fini(&model);
}
END_TEST

/* Nothing is left: an empty part holds the place. */
START_TEST(an_empty_output_keeps_the_tiling)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	for (unsigned i = 0; i < 4; i++)
		put(db, &model, "a", 2000);
	delete (db, &model, "a");
	close_store(db);
	must_compact(KVLOG_COMPACT_ALL);
	expect(&model, "compacted");
	ck_assert_uint_eq(report.records_kept, 0);
	ck_assert_uint_eq(report.tombstones_dropped, 1);
	ck_assert_uint_eq(report.segments_after, 2);
	ck_assert_uint_eq(file_size("00000001-00000004.r1.1of1.seg"), SIZE);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	put(db, &model, "b", 10);
	close_store(db);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	expect(&model, "written to again");
	must_compact(KVLOG_COMPACT_ALL);
	expect(&model, "compacted again");
	ck_assert_uint_eq(report.segments_after, 2);
	model_fini(&model);
}
END_TEST

/* An output carries the link of its first input, and says of the last one
 * what that one, or the output that was in its place, said. */
START_TEST(outputs_stand_for_their_inputs)
{
	static const unsigned kinds[] = {0, 1, 3, 1};
	struct model model = {0};
	struct segment_header last;
	struct segment_link link;
	uint64_t end, seq;
	struct found f;

	make_content(&model, kinds, 4);
	found_init(&f, false);
	link = f.set->segments[1]->link;
	last = f.set->segments[2]->header;
	end = segment_end(f.set->segments[2]);
	seq = f.set->segments[2]->last_seq;
	found_fini(&f);
	for (unsigned i = 0; i < 2; i++) {
		const struct segment *seg;

		must_compact_run(2, 3);
		found_init(&f, false);
		MAKELOG_OK(f.st);
		seg = f.set->segments[1];
		ck_assert_uint_eq(seg->header.id.round, i + 1);
		ck_assert_uint_eq(seg->header.last_salt, last.salt);
		ck_assert_uint_eq(seg->header.last_end, end);
		ck_assert_uint_eq(seg->header.last_seq, seq);
		ck_assert_uint_eq(seg->link.prev_salt, link.prev_salt);
		ck_assert_uint_eq(seg->link.prev_end, link.prev_end);
		ck_assert_uint_eq(seg->link.prev_last_seq, link.prev_last_seq);
		ck_assert_uint_eq(seg->link.first_seq, link.first_seq);
		ck_assert_mem_eq(seg->header.store.secret, last.store.secret,
		    sizeof last.store.secret);
		found_fini(&f);
		expect(&model, "compacted");
	}
	model_fini(&model);
}
END_TEST

/* Order on disk */

START_TEST(inputs_go_when_the_outputs_are_durable)
{
	static const unsigned kinds[] = {0, 1, 2};
	struct model model = {0};
	struct calls calls;

	make_content(&model, kinds, 3);
	calls_begin(&calls);
	must_compact(KVLOG_COMPACT_ALL);
	calls_end(&calls);
	calls_in_order(&calls,
	    (const char *const[]){"sync 00000001-00000003.r1.1of1.seg.tmp",
		"rename 00000001-00000003.r1.1of1.seg.tmp", "sync_dir",
		"store_word kvlog.lock", "unlink 00000001.seg",
		"unlink 00000002.seg", "unlink 00000003.seg", "sync_dir",
		NULL});
	/* Then, and never before. */
	ck_assert_uint_eq(calls_count(&calls, "unlink 00000001.seg"), 1);
	ck_assert(!makelog_exists("00000001.seg"));
	calls_fini(&calls);
	expect(&model, "compacted");
	model_fini(&model);
}
END_TEST

/* What a killed writer left behind is made durable before anything is dropped
 * because of it. */
START_TEST(what_is_decided_against_is_durable)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	struct calls calls;

	put(db, &model, "a", 10);
	MAKELOG_OK(kvlog_sync(db));
	seal(db);
	put(db, &model, "a", 20);
	simos_kill();
	simos_forget();
	calls_begin(&calls);
	must_compact_run(1, 1);
	calls_end(&calls);
	calls_in_order(&calls, (const char *const[]){"sync 00000002.seg",
				   "rename 00000001-00000001.r1.1of1.seg.tmp",
				   "unlink 00000001.seg", NULL});
	calls_fini(&calls);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	expect(&model, "after a power loss");
	model_fini(&model);
}
END_TEST

/* Opened before, read after: its mappings keep what is gone from the disk.  In
 * hints mode they are made when they are needed. */
START_TEST(a_reader_keeps_what_it_has)
{
	static const unsigned kinds[] = {0, 1, 3, 1};
	struct model model = {0}, found = {0};
	char why[MODEL_WHY_LEN];
	struct kvlog *reader;

	make_content(&model, kinds, 4);
	reader = open_store(KVLOG_OPEN_READONLY,
	    _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS);
	if (_i == 1 && !model_read(&found, reader, why))
		ck_abort_msg("%s", why);
	model_fini(&found);
	must_compact(KVLOG_COMPACT_ALL);
	if (!model_read(&found, reader, why))
		ck_abort_msg("%s", why);
	ck_assert(model_equal(&model, &found));
	close_store(reader);
	expect(&model, "a new reader");
	model_fini(&found);
	model_fini(&model);
}
END_TEST

/* Ended by the caller at any of its looks. */
static bool
count_down(void *arg, uint64_t done, uint64_t total)
{
	unsigned *left = arg;

	ck_assert_uint_le(done, total);
	return *left > 0 && --*left > 0;
}

START_TEST(the_caller_can_end_it_any_time)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct model model = {0};
	struct simos_state *base;
	unsigned cancelled = 0, partly = 0;
	enum kvlog_status st = KVLOG_CANCELLED;

	make_halves(&model);
	base = simos_save();
	report.size = sizeof report;
	o.progress = count_down;
	for (unsigned looks = 1; st != KVLOG_OK; looks++) {
		unsigned left = looks;

		simos_restore(base);
		o.arg = &left;
		st = kvlog_compact_offline(STORE, &o, &report, &err);
		ck_assert(st == KVLOG_OK || st == KVLOG_CANCELLED);
		cancelled += st == KVLOG_CANCELLED;
		partly += st == KVLOG_CANCELLED && report.run_count > 0;
		expect(&model, "cancelled");
		ck_assert_uint_eq(simos_leaks(stderr), 0);
	}
	ck_assert_uint_ge(cancelled, 2);
	ck_assert_uint_ge(partly, 1);
	ck_assert_uint_eq(report.run_count, 2);
	simos_state_free(base);
	model_fini(&model);
}
END_TEST

/* On a full disk the reserve is room for a first run, and that makes room for
 * others. */
START_TEST(a_full_disk_can_be_compacted)
{
	struct model model = {0};
	struct kvlog *db;

	make_halves(&model);
	simos_set_capacity(simos_used());
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_ge(report.run_count, 2);
	ck_assert_uint_lt(report.bytes_after, report.bytes_before);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	expect(&model, "compacted");
	/* What remains is room for puts and for a new reserve. */
	db = open_store(0, KVLOG_INDEX_MEMORY);
	put(db, &model, "new", 100);
	close_store(db);
	ck_assert_uint_eq(file_size("reserve"), SIZE);
	expect(&model, "and written to");
	model_fini(&model);
}
END_TEST

static void
remove_file(const char *name)
{
	struct dir dir;

	MAKELOG_OK(dir_open(&dir, STORE, 0644, NULL));
	ck_assert_int_eq(os->unlink(dir.fd, name), 0);
	dir_close(&dir);
}

/* Without a reserve, and with so much room, from none to enough. */
START_TEST(want_of_space_changes_nothing)
{
	struct model model = {0};
	struct simos_state *base;
	unsigned refused = 0;
	uint64_t used;
	enum kvlog_status st = KVLOG_NOSPACE;

	make_halves(&model);
	remove_file("reserve");
	remove_file("reserve.compact");
	base = simos_save();
	used = simos_used();
	for (uint64_t room = 0; st != KVLOG_OK; room += 4096) {
		struct kvlog *db;

		simos_restore(base);
		simos_set_capacity(used + room);
		st = compact(0);
		ck_assert_msg(st == KVLOG_OK || st == KVLOG_NOSPACE, "%d %s",
		    (int)st, err.text);
		if (st == KVLOG_NOSPACE) {
			refused++;
			ck_assert_ptr_nonnull(strstr(err.text, "make room"));
			ck_assert_uint_eq(report.run_count, 0);
			ck_assert_uint_eq(
			    report.bytes_after, report.bytes_before);
		}
		expect(&model, "on a full disk");
		ck_assert_uint_eq(simos_leaks(stderr), 0);
		simos_set_capacity(UINT64_MAX);
		db = open_store(0, KVLOG_INDEX_MEMORY);
		close_store(db);
		expect(&model, "with room again");
	}
	ck_assert_uint_ge(refused, 1);
	ck_assert_uint_eq(report.run_count, 2);
	simos_state_free(base);
	model_fini(&model);
}
END_TEST

/* Where the active segment is to be sealed and no other can be made, nothing
 * stays locked. */
START_TEST(want_of_space_keeps_no_lock)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_HINTS);
	struct log *log = &db->store->log;
	struct compaction c;

	compact_init(&c, &db->store->views, atomic_load(&db->store->views.view),
	    &db->store->log, db->store->options.segment_size);
	c.all = true;
	put(db, &model, "a", 10);
	(void)os->unlink(db->store->dir.fd, DIR_COMPACT_RESERVE_NAME);
	(void)os->unlink(db->store->dir.fd, DIR_OPEN_RESERVE_NAME);
	(void)os->unlink(db->store->dir.fd, DIR_RESERVE_NAME);
	simos_set_capacity(simos_used());
	ck_assert_int_eq(compact_store(&c, &err), KVLOG_NOSPACE);
	ck_assert_int_eq(pthread_mutex_trylock(&log->turn_lock), 0);
	pthread_mutex_unlock(&log->turn_lock);
	ck_assert_int_eq(pthread_mutex_trylock(&log->views->lock), 0);
	pthread_mutex_unlock(&log->views->lock);
	ck_assert_int_eq(pthread_mutex_trylock(&log->sync_lock), 0);
	pthread_mutex_unlock(&log->sync_lock);
	ck_assert(!log->control->passed[0]);
	ck_assert(!log->control->passed[1]);
	close_store(db);
	expect(&model, "not compacted");
	model_fini(&model);
}
END_TEST

/*
 * A run that is left because the disk is too full for it still holds what a
 * tombstone of a later run hides.  Segments: three that shrink to two parts,
 * four that are full, three that shrink to one.
 */
static void
make_unequal_runs(struct model *model)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	put(db, model, "a", 100);
	for (unsigned i = 0; i < 7; i++) {
		char key[] = "keep ?";

		key[5] = (char)('a' + i);
		put(db, model, key, i < 3 ? 1400 : 3400);
		if (i < 3)
			put(db, model, "x", 1700);
		seal(db);
	}
	delete (db, model, "a");
	for (unsigned i = 0; i < 3; i++) {
		put(db, model, "x", 3300);
		seal(db);
	}
	put(db, model, "x", 10);
	close_store(db);
}

START_TEST(a_tombstone_stays_when_the_older_run_is_refused)
{
	struct model model = {0};
	struct simos_state *base;
	unsigned overtaken = 0;
	uint64_t used;
	enum kvlog_status st = KVLOG_NOSPACE;

	make_unequal_runs(&model);
	remove_file("reserve");
	base = simos_save();
	used = simos_used();
	for (uint64_t room = 0; st != KVLOG_OK || room < 65536; room += 4096) {
		struct calls calls;
		const char *later;

		simos_restore(base);
		simos_set_capacity(used + room);
		calls_begin(&calls);
		st = compact(0);
		calls_end(&calls);
		later = calls_find(calls.text, "rename 00000008-00000010.r");
		overtaken +=
		    later != NULL &&
		    calls_find(later, "rename 00000001-00000003.r") != NULL;
		calls_fini(&calls);
		expect(&model, "on a full disk");
	}
	ck_assert_uint_ge(overtaken, 1);
	simos_state_free(base);
	model_fini(&model);
}
END_TEST

/* Records that no interface writes yet */

static struct makelog m;

static struct record
bucket_record(unsigned type, const char *key, unsigned flags)
{
	struct record rec;

	m.seq++;
	rec = makelog_record(
	    &m, type, key, type == RECORD_PUT ? 20 : 0, flags | RECORD_BUCKET);
	rec.bucket_seq = 1;
	return rec;
}

/* A whole record as it stands in a segment of the live set; NULL: nowhere. */
static bool
find_record(const char *key, struct record *ret_rec)
{
	struct found f;
	bool there = false;

	found_init(&f, false);
	MAKELOG_OK(f.st);
	for (size_t i = 0; i < f.set->count; i++) {
		const struct segment *seg = f.set->segments[i];
		uint64_t off = SEGMENT_DATA_OFF;
		struct record rec;
		bool bad;

		MAKELOG_OK(segment_map(seg, NULL));
		for (; segment_walk(seg, &off, segment_end(seg), &rec, &bad);
		     off += rec.size)
			if (rec.key_len == strlen(key) &&
			    memcmp(rec.key, key, rec.key_len) == 0) {
				ck_assert(record_value_ok(
				    &rec, segment_seed(seg, off)));
				*ret_rec = rec;
				there = true;
			}
	}
	found_fini(&f);
	return there;
}

/* Keys of buckets are compacted as others are, with flags and extensions. */
START_TEST(records_keep_all_they_have)
{
	struct record rec, found;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_bucket(&m, "bucket", 1);
	rec = bucket_record(RECORD_PUT, "in a bucket", 0x40 | RECORD_CODEC);
	rec.codec = 7;
	rec.plain_len = 99;
	rec.lag = 12345;
	(void)makelog_add(&m, &rec);
	(void)makelog_put(&m, "in a bucket", 30); /* the default one */
	(void)makelog_put(&m, "old", 30);
	m.seq++;
	rec = makelog_record(
	    &m, RECORD_PUT, "later", 5, RECORD_EXPIRY | RECORD_MORE);
	rec.expiry_ms = UINT64_MAX;
	(void)makelog_add(&m, &rec);
	rec = makelog_record(&m, RECORD_PUT, "too", 5, RECORD_CONT);
	(void)makelog_add(&m, &rec);
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "old", 10);
	makelog_begin(&m, 3);
	(void)makelog_put(&m, "active", 10);
	makelog_end(&m);
	makelog_fini(&m);

	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.records_kept, 7);
	ck_assert_uint_eq(report.records_superseded, 1);
	ck_assert(find_record("later", &found));
	ck_assert_uint_eq(found.expiry_ms, UINT64_MAX);
	ck_assert_uint_eq(found.seq, 5);
	ck_assert_uint_eq(found.flags, RECORD_EXPIRY); /* no batch any more */
	ck_assert(find_record("in a bucket", &found));
	/* Behind that of the default bucket. */
	ck_assert_uint_eq(found.flags, 0x40 | RECORD_CODEC | RECORD_BUCKET);
	ck_assert_uint_eq(found.bucket_seq, 1);
	ck_assert_uint_eq(found.codec, 7);
	ck_assert_uint_eq(found.plain_len, 99);
	ck_assert_uint_eq(found.lag, 12345);
	ck_assert_uint_eq(found.seq, 2);
}
END_TEST

/* What compaction does not understand it leaves alone, and the rest not. */
START_TEST(segments_of_unknown_things_stay)
{
	static const unsigned types[] = {0x80, 0x83, 0xff};
	struct record rec;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	for (uint32_t i = 1; i <= 3; i++) {
		makelog_begin(&m, i);
		for (unsigned k = 0; k < 3; k++)
			(void)makelog_put(&m, "x", 1000);
		if (i == 2) {
			rec = bucket_record(types[_i], "name", 0);
			(void)makelog_add(&m, &rec);
		}
	}
	makelog_begin(&m, 4);
	(void)makelog_put(&m, "active", 10);
	makelog_end(&m);
	makelog_fini(&m);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.run_count, 2);
	ck_assert_uint_eq(report.damaged_segments, 0);
	ck_assert(makelog_exists("00000002.seg"));
	ck_assert(find_record("name", &rec));
	ck_assert_uint_eq(rec.type, types[_i]);
}
END_TEST

/* Expired: gone where nothing older is, else a tombstone; and no clock that
 * is set back brings it back. */
START_TEST(what_has_expired_goes)
{
	struct record rec, found;
	struct kvlog *db;
	size_t len;
	uint8_t buf[100];

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "old", 30);
	makelog_begin(&m, 2);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "old", 5, RECORD_EXPIRY);
	rec.expiry_ms = 5000;
	(void)makelog_add(&m, &rec);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "new", 5, RECORD_EXPIRY);
	rec.expiry_ms = 6000;
	(void)makelog_add(&m, &rec);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "later", 5, RECORD_EXPIRY);
	rec.expiry_ms = 7001;
	(void)makelog_add(&m, &rec);
	makelog_begin(&m, 3);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "active", 5, RECORD_EXPIRY);
	rec.expiry_ms = 6500;
	(void)makelog_add(&m, &rec);
	makelog_end(&m);
	makelog_fini(&m);

	simos_set_clock_ms(7000);
	must_compact_run(2, 2);
	ck_assert(!find_record("new", &found));
	ck_assert(find_record("later", &found));
	ck_assert(find_record("old", &found));
	ck_assert_uint_eq(found.type, RECORD_DELETE);
	ck_assert_uint_eq(found.seq, 2);
	ck_assert_uint_eq(found.value_len, 0);
	ck_assert_uint_eq(found.flags & RECORD_EXPIRY, 0);

	simos_set_clock_ms(1000);
	must_compact_run(2, 2); /* what was judged is handed on */
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	ck_assert_uint_ge(
	    atomic_load(&db->store->views.view)->set->now_ms, 7000);
	ck_assert_uint_lt(
	    atomic_load(&db->store->views.view)->set->now_ms, 7001);
	MAKELOG_OK(kvlog_get(db, "later", 5, buf, sizeof buf, &len));
	ck_assert_int_eq(kvlog_exists(db, "old", 3), KVLOG_NOTFOUND);
	ck_assert_int_eq(kvlog_exists(db, "active", 6), KVLOG_NOTFOUND);
	close_store(db);
	simos_set_clock_ms(8000);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert(!find_record("old", &found));
	ck_assert(!find_record("later", &found));
}
END_TEST

/* No clock is noted where it made no difference: it may be wrong. */
START_TEST(a_wrong_clock_is_not_kept)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	put(db, &model, "a", 10);
	close_store(db);
	simos_set_clock_ms(UINT64_C(1) << 50);
	must_compact(KVLOG_COMPACT_ALL);
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	ck_assert_uint_eq(atomic_load(&db->store->views.view)->set->now_ms, 0);
	close_store(db);
	model_fini(&model);
}
END_TEST

/* Damage */

/* Four segments: 1 and 2 are superseded by 3, as is part of 4 by 5. */
static void
make_damageable(void)
{
	makelog_init(&m);
	m.durable = UINT64_MAX;
	for (uint32_t i = 1; i <= 4; i++) {
		char own[] = "own?";

		makelog_begin(&m, i);
		own[3] = (char)('0' + i);
		(void)makelog_put(&m, own, 50);
		(void)makelog_put(&m, "x", 1000);
		(void)makelog_put(&m, "x", 1000);
	}
	makelog_begin(&m, 5);
	(void)makelog_put(&m, "x", 10);
	makelog_end(&m);
	makelog_fini(&m);
	/* So that opening need not read them. */
	close_store(open_store(0, KVLOG_INDEX_HINTS));
	ck_assert_ptr_nonnull(makelog_hint());
}

#define OWN_OFF SEGMENT_DATA_OFF
#define OWN_VALUE_OFF (OWN_OFF + RECORD_HEADER_SIZE + 4 + 10)
#define X_OFF (OWN_OFF + 88)

static struct {
	uint32_t segment;
	uint64_t off;
} damages[] = {
    {2, OWN_VALUE_OFF},
    {2, OWN_OFF + 16},
    {2, X_OFF + 16}, /* superseded; found all the same */
    {1, OWN_OFF + 16},
    {4, OWN_OFF + 16},
    {3, 20},
    {3, SEGMENT_LINK_OFF + 8},
};

static void
remove_hints(void)
{
	const char *hint;

	while ((hint = makelog_hint()) != NULL)
		remove_file(hint);
}

START_TEST(damaged_segments_are_left_alone)
{
	const uint8_t *bytes;
	uint8_t before[SIZE];
	uint64_t size;
	char name[DIR_NAME_LEN];
	struct record found;

	make_damageable();
	if (_i > 0) /* with them more has to stay */
		remove_hints();
	snprintf(name, sizeof name, "%08u.seg", damages[_i].segment);
	makelog_flip(name, damages[_i].off);
	ck_assert(simos_peek(makelog_path(name), &bytes, &size));
	ck_assert_uint_eq(size, SIZE);
	memcpy(before, bytes, SIZE);

	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.damaged_segments, 1);
	ck_assert_uint_eq(report.damaged_segment, damages[_i].segment);
	ck_assert_uint_ge(report.run_count, 1);
	ck_assert(simos_peek(makelog_path(name), &bytes, &size));
	ck_assert_mem_eq(before, bytes, SIZE);
	for (uint32_t i = 1; i <= 4; i++) {
		char own[] = "own?";

		snprintf(name, sizeof name, "%08u.seg", i);
		ck_assert_int_eq(
		    makelog_exists(name), i == damages[_i].segment);
		own[3] = (char)('0' + i);
		if (i != damages[_i].segment)
			ck_assert(find_record(own, &found));
	}
	/* And again: no less, no more. */
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.damaged_segments, 1);
}
END_TEST

static enum kvlog_status
status_of(const char *key)
{
	struct kvlog *db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	size_t len = 0;
	void *value = NULL;
	enum kvlog_status st =
	    kvlog_get_alloc(db, key, strlen(key), &value, &len);

	kvlog_free(value);
	close_store(db);
	return st;
}

/* A hint of several segments that names a lost record serves only as long as
 * all of them are there.  Of what it does not cover, all the same goes. */
START_TEST(names_of_lost_records_are_kept)
{
	struct kvlog *db;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "a", 10);
	(void)makelog_put(&m, "x", 77);
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "x", 88);
	makelog_begin(&m, 3);
	(void)makelog_put(&m, "a", 20);
	(void)makelog_put(&m, "b", 10);
	makelog_begin(&m, 4);
	(void)makelog_put(&m, "c", 10);
	makelog_end(&m);
	makelog_fini(&m);
	close_store(open_store(0, KVLOG_INDEX_HINTS));
	ck_assert_ptr_nonnull(makelog_hint());
	makelog_flip("00000002.seg", SEGMENT_DATA_OFF + 16);
	if (_i == 1) /* found when the store is opened */
		makelog_flip("00000002.seg", 20);
	ck_assert_int_eq(status_of("x"), KVLOG_CORRUPT);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	seal(db);
	for (unsigned i = 0; i < 3; i++) {
		MAKELOG_OK(kvlog_put(db, "c", 1, "again", 5, NULL, NULL));
		seal(db);
	}
	close_store(db);
	for (unsigned i = 0; i < 2; i++) {
		must_compact(KVLOG_COMPACT_ALL);
		ck_assert_int_eq(status_of("x"), KVLOG_CORRUPT);
		ck_assert_int_eq(status_of("a"), KVLOG_OK);
		ck_assert_uint_ge(report.damaged_segments, 3);
		ck_assert_uint_eq(report.damaged_segment, 2);
		ck_assert_uint_eq(report.run_count, i == 0);
	}
	ck_assert(makelog_exists("00000001.seg"));
	ck_assert(makelog_exists("00000003.seg"));
	ck_assert(!makelog_exists("00000006.seg"));
	/* Nothing names it: it is lost, and what the others hold comes
	 * back. */
	remove_hints();
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.damaged_segments, 1);
	ck_assert_int_eq(status_of("x"), KVLOG_OK);
	ck_assert(!makelog_exists("00000003.seg"));
}
END_TEST

/* The end of segment 2 is in a hint of its own, which is of use only as long as
 * there is another one up to where it begins: that of segment 1, too.  _i: the
 * damage is met on the way, or found when the store is opened. */
START_TEST(a_name_is_kept_by_the_hints_before_it)
{
	struct hint_source s[2];
	struct found f;
	struct hint *hint;
	uint64_t part;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "a", 10);
	(void)makelog_put(&m, "x", 77);
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "b", 10);
	part = makelog_put(&m, "x", 88);
	makelog_begin(&m, 3);
	(void)makelog_put(&m, "c", 10);
	makelog_begin(&m, 4);
	(void)makelog_put(&m, "active", 10);
	makelog_end(&m);
	makelog_fini(&m);
	found_init(&f, false);
	for (unsigned n = 0; n < 2; n++) {
		s[n].seg = f.set->segments[n];
		s[n].from = SEGMENT_DATA_OFF;
		s[n].to = segment_end(s[n].seg);
	}
	s[1].to = part;
	MAKELOG_OK(hint_build(s, 2, UINT64_MAX, &hint, NULL));
	MAKELOG_OK(hint_write(hint, &f.dir, NULL));
	hint_unref(hint);
	s[1].from = part;
	s[1].to = segment_end(s[1].seg);
	MAKELOG_OK(hint_build(&s[1], 1, UINT64_MAX, &hint, NULL));
	MAKELOG_OK(hint_write(hint, &f.dir, NULL));
	hint_unref(hint);
	found_fini(&f);
	makelog_flip("00000002.seg", part + 16);
	if (_i == 1)
		makelog_flip("00000002.seg", 20);
	ck_assert_int_eq(status_of("x"), KVLOG_CORRUPT);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_int_eq(status_of("x"), KVLOG_CORRUPT);
	ck_assert_int_eq(status_of("a"), KVLOG_OK);
	ck_assert(makelog_exists("00000001.seg"));
	ck_assert(!makelog_exists("00000003.seg"));
	ck_assert_uint_eq(report.damaged_segments, 2);
}
END_TEST

/* A damaged record hides nothing that may be rescued: older versions of what
 * may be its key stay, and so do tombstones behind it. */
START_TEST(damage_hides_nothing)
{
	struct record found;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "x", 77);
	(void)makelog_put(&m, "y", 10);
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "x", 88);
	makelog_begin(&m, 3);
	(void)makelog_delete(&m, "y");
	(void)makelog_delete(&m, "nowhere");
	makelog_begin(&m, 4);
	(void)makelog_put(&m, "active", 10);
	makelog_end(&m);
	makelog_fini(&m);
	makelog_flip("00000002.seg", SEGMENT_DATA_OFF + 16);
	must_compact(KVLOG_COMPACT_ALL);
	ck_assert_uint_eq(report.damaged_segments, 1);
	ck_assert_uint_eq(report.tombstones_dropped, 0);
	ck_assert(makelog_exists("00000001-00000001.r1.1of1.seg"));
	ck_assert(find_record("x", &found));
	ck_assert_uint_eq(found.value_len, 77);
	ck_assert(find_record("nowhere", &found));
}
END_TEST

/* Commits that are missing are damage of the segment that held them: it must
 * go on being reported. */
START_TEST(missing_commits_are_not_forgotten)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog *db;

	makelog_init(&m);
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "x", 77);
	m.seq += 3;
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "active", 10);
	makelog_end(&m);
	makelog_fini(&m);
	for (unsigned i = 0; i < 2; i++) {
		must_compact(KVLOG_COMPACT_ALL);
		ck_assert_uint_eq(report.damaged_segments, 1);
		ck_assert(makelog_exists("00000001.seg"));
		db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
		MAKELOG_OK(kvlog_stats_get(db, &stats));
		ck_assert_uint_ne(stats.recovery & KVLOG_RECOVERY_DEGRADED, 0);
		close_store(db);
	}
}
END_TEST

/* The segment behind an output may be torn off, with its link; the output is
 * whole. */
START_TEST(an_output_may_be_the_last_one)
{
	static const unsigned kinds[] = {0, 1, 0};
	struct model model = {0};
	struct kvlog *db;

	make_content(&model, kinds, 3);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	put(db, &model, "c", 3000);
	put(db, &model, "d", 3000);
	seal(db);
	close_store(db);
	must_compact_run(1, 5);
	ck_assert(makelog_exists("00000001-00000005.r1.2of2.seg"));
	makelog_flip("00000006.seg", SEGMENT_LINK_OFF + 9);
	if (_i == 1) /* the mark of the clean end, too */
		makelog_flip("00000006.seg", SEGMENT_DATA_OFF + 5);
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	ck_assert_int_eq(kvlog_exists(db, "d", 1), KVLOG_OK);
	put(db, &model, "e", 30);
	close_store(db);
	db = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
	for (size_t i = 0; i < model.count; i++)
		ck_assert_int_eq(kvlog_exists(db, model.entries[i].key->bytes,
				     model.entries[i].key->len),
		    KVLOG_OK);
	close_store(db);
	model_fini(&model);
}
END_TEST

/* Without hints an output is read, and the last commits it does not hold are
 * not missed. */
START_TEST(outputs_without_hints_are_whole)
{
	static const unsigned kinds[] = {0, 1, 2, 1, 2};
	struct model model = {0};

	make_content(&model, kinds, 5);
	must_compact(KVLOG_COMPACT_ALL);
	remove_hints();
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	expect(&model, "without hints");
	close_store(open_store(0, KVLOG_INDEX_MEMORY)); /* makes new ones */
	expect(&model, "with new hints");
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	expect(&model, "and later");
	model_fini(&model);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("compact");
	TCase *tc = makelog_case(suite, "survival");

	tcase_set_timeout(
	    tc, getenv("KVLOG_COMPACT_CONTENTS") != NULL ? 36000 : 300);
	tcase_add_test(tc, no_run_in_any_order_changes_a_key);
	tcase_add_test(tc, nothing_but_what_counts_is_left);
	tcase_add_test(tc, a_tombstone_stays_while_it_hides_something);
	tcase_add_test(tc, an_empty_value_is_no_tombstone);

	tc = makelog_case(suite, "choice");
	tcase_add_test(tc, what_is_worth_it_is_chosen);
	tcase_add_test(tc, compacting_again_changes_nothing);
	tcase_add_loop_test(tc, a_dry_run_tells_what_will_be, 0, 2);
	tcase_add_test(tc, outputs_are_parted);
	tcase_add_test(tc, an_empty_output_keeps_the_tiling);
	tcase_add_test(tc, outputs_stand_for_their_inputs);

	tc = makelog_case(suite, "exchange");
	tcase_add_test(tc, inputs_go_when_the_outputs_are_durable);
	tcase_add_test(tc, what_is_decided_against_is_durable);
	tcase_add_loop_test(tc, a_reader_keeps_what_it_has, 0, 2);
	tcase_add_test(tc, the_caller_can_end_it_any_time);
	tcase_add_test(tc, a_full_disk_can_be_compacted);
	tcase_add_test(tc, want_of_space_changes_nothing);
	tcase_add_test(tc, a_tombstone_stays_when_the_older_run_is_refused);

	tc = makelog_case(suite, "locks");
	tcase_set_timeout(tc, 60); /* it would wait for itself */
	tcase_add_test(tc, want_of_space_keeps_no_lock);

	tc = makelog_case(suite, "records");
	tcase_add_test(tc, records_keep_all_they_have);
	tcase_add_loop_test(tc, segments_of_unknown_things_stay, 0, 3);
	tcase_add_test(tc, what_has_expired_goes);
	tcase_add_test(tc, a_wrong_clock_is_not_kept);

	tc = makelog_case(suite, "damage");
	tcase_add_loop_test(
	    tc, damaged_segments_are_left_alone, 0, (int)ARRAY_LEN(damages));
	tcase_add_loop_test(tc, names_of_lost_records_are_kept, 0, 2);
	tcase_add_loop_test(tc, a_name_is_kept_by_the_hints_before_it, 0, 2);
	tcase_add_test(tc, damage_hides_nothing);
	tcase_add_test(tc, missing_commits_are_not_forgotten);
	tcase_add_loop_test(tc, an_output_may_be_the_last_one, 0, 2);
	tcase_add_test(tc, outputs_without_hints_are_whole);
	return test_main(suite);
}
