/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_online.c - compaction of a store that is in use: whatever is rewritten,
 * by whichever handle, no handle ever shows anything but what was written.
 *
 * KVLOG_COMPACT_CONTENTS=n   contents tried exhaustively (default 150)
 */
#include "config.h"

#include "compact.h"
#include "compact_run.h"
#include "pieces.h"
#include "registry.h"
#include "rng.h"
#include "sync.h"

#include <errno.h>

#define STORE MAKELOG_STORE
#define SIZE MAKELOG_SIZE
#define SEGMENTS 5

static struct kvlog_error err;

static void
prepare(struct compaction *c, struct kvlog *db, uint32_t first, uint32_t last)
{
	struct store *store = db->store;

	compact_init(c, &store->views, atomic_load(&store->views.view),
	    &store->log, store->options.segment_size);
	c->online = true;
	c->only = (struct compact_run){.first = first, .last = last};
	ck_assert(store_become_maintainer(store));
}

/* As kvlog_compact() does it, but for the choice of runs: one, or with last 0
 * whatever is worth it. */
static bool
compact(struct kvlog *db, uint32_t first, uint32_t last)
{
	struct compaction c;

	prepare(&c, db, first, last);
	if (compact_store(&c, &err) != KVLOG_OK)
		ck_abort_msg("compact %u to %u: %s", first, last, err.text);
	keydir_check(c.view->index.keydir);
	return c.report.run_count > 0;
}

static void
expect_content(struct kvlog *db, const struct model *wanted, const char *when)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		ck_abort_msg("%s: %s", when, why);
	if (!model_equal(wanted, &found)) {
		model_explain(wanted, &found, why);
		ck_abort_msg("%s: %s", when, why);
	}
	model_fini(&found);
}

static void
expect_in(struct kvlog *db, const struct model *wanted, const char *when)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	expect_content(db, wanted, when);
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_msg((stats.recovery & KVLOG_RECOVERY_DAMAGE) == 0, "%s: %s",
	    when, stats.recovery_text);
}

/* The handles of a store in use: the first one writes. */
#define HANDLES 3
static const char *const names[HANDLES] = {
    "writer", "reader in memory", "reader in hints"};

static void
open_all(struct kvlog *dbs[HANDLES], enum kvlog_index_mode mode)
{
	dbs[0] = open_store(0, mode);
	dbs[1] = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_MEMORY);
	dbs[2] = open_store(KVLOG_OPEN_READONLY, KVLOG_INDEX_HINTS);
}

static void
expect_one(struct kvlog *dbs[HANDLES], size_t i, const struct model *wanted,
    const char *when)
{
	char text[400];

	snprintf(text, sizeof text, "%s, %s", names[i], when);
	expect_in(dbs[i], wanted, text);
}

static void
expect_all(
    struct kvlog *dbs[HANDLES], const struct model *wanted, const char *when)
{
	for (size_t i = 0; i < HANDLES; i++)
		expect_one(dbs, i, wanted, when);
}

static void
close_all(struct kvlog *dbs[HANDLES])
{
	for (size_t i = HANDLES; i > 0; i--)
		close_store(dbs[i - 1]);
}

/* After all: what the next opening finds. */
static void
expect_closed(const struct model *wanted, const char *when)
{
	struct kvlog *dbs[HANDLES];

	open_all(dbs, KVLOG_INDEX_MEMORY);
	expect_all(dbs, wanted, when);
	close_all(dbs);
}

static void
make_content(struct model *model, const unsigned *kinds, size_t count)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);

	for (size_t i = 0; i < count; i++)
		write_piece(db, model, kinds[i]);
	close_store(db);
}

/* One run in each mode, then another piece, and all that is worth it.  Readers
 * look now or only at the end. */
static void
try_run(const struct simos_state *base, const struct model *model,
    uint32_t first, uint32_t last, unsigned kind, const char *content)
{
	static const enum kvlog_index_mode modes[] = {
	    KVLOG_INDEX_MEMORY, KVLOG_INDEX_HINTS};
	char when[120];

	for (unsigned n = 0; n < 4; n++) {
		struct kvlog *dbs[HANDLES];
		struct model now = {0};

		snprintf(when, sizeof when,
		    "content %s, mode %u, run %u to %u, piece %u", content,
		    n % 2, first, last, kind);
		simos_restore(base);
		model_copy(&now, model);
		open_all(dbs, modes[n % 2]);
		ck_assert_msg(compact(dbs[0], first, last), "%s", when);
		if (n < 2)
			expect_all(dbs, &now, when);
		else
			expect_in(dbs[0], &now, when);
		write_piece(dbs[0], &now, kind);
		if (n < 2)
			expect_all(dbs, &now, when);
		(void)compact(dbs[0], 0, 0);
		expect_all(dbs, &now, when);
		close_all(dbs);
		expect_closed(&now, when);
		model_fini(&now);
	}
}

/* Runs in some order, with new pieces before, between and after. */
static void
try_orders(const struct simos_state *base, const struct model *model,
    const char *content, struct rng *rng)
{
	char when[300];

	for (unsigned order = 0; order < 4; order++) {
		struct kvlog *dbs[HANDLES];
		struct model now = {0};
		size_t at;

		simos_restore(base);
		model_copy(&now, model);
		open_all(dbs,
		    order % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS);
		at = (size_t)snprintf(
		    when, sizeof when, "content %s, runs", content);
		for (unsigned i = 0; i < 12; i++) {
			uint32_t first = 1 + (uint32_t)rng_below(rng, 8);
			uint32_t last = first + (uint32_t)rng_below(rng, 4);
			unsigned kind = (unsigned)rng_below(rng, PIECES);

			if (compact(dbs[0], first, last))
				at += (size_t)snprintf(when + at,
				    sizeof when - at, " %u-%u", first, last);
			if (rng_below(rng, 2) == 0) {
				write_piece(dbs[0], &now, kind);
				at += (size_t)snprintf(
				    when + at, sizeof when - at, " +%u", kind);
			}
			expect_one(dbs, rng_below(rng, HANDLES), &now, when);
		}
		expect_all(dbs, &now, when);
		close_all(dbs);
		expect_closed(&now, when);
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
	tries = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 0) : 150;
	if (tries < contents)
		step = contents / tries;
	for (unsigned n = (unsigned)rng_below(&rng, step); n < contents;
	     n += step) {
		struct model model = {0};
		struct simos_state *base;
		unsigned kinds[SEGMENTS];
		char text[SEGMENTS + 1] = "";

		for (unsigned i = 0, rest = n; i < SEGMENTS; i++) {
			kinds[i] = rest % PIECES;
			text[i] = (char)('0' + kinds[i]);
			rest /= PIECES;
		}
		simos_fini();
		makelog_setup();
		make_content(&model, kinds, SEGMENTS);
		base = simos_save();
		for (uint32_t first = 1; first <= SEGMENTS; first++)
			for (uint32_t last = first; last <= SEGMENTS; last++)
				try_run(base, &model, first, last,
				    (unsigned)rng_below(&rng, PIECES), text);
		try_orders(base, &model, text, &rng);
		simos_state_free(base);
		model_fini(&model);
	}
}
END_TEST

/* What replaces a record of the run may have been written just now: it must not
 * be lost with the power after that record has gone.  _i: how keys are found.
 */
START_TEST(what_is_decided_against_is_durable)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE,
	    _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS);

	put(db, &model, "a", 10);
	put(db, &model, "b", 10);
	seal(db);
	MAKELOG_OK(kvlog_sync(db));
	put(db, &model, "a", 20);
	delete (db, &model, "b");
	ck_assert(compact(db, 1, 1));
	simos_kill();
	simos_forget();
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	expect_closed(&model, "after a power loss");
	model_fini(&model);
}
END_TEST

/* To remember which records of a run count takes a bit for each: of a run of
 * terabytes too many.  It is then decided by hints. */
START_TEST(a_huge_run_is_not_decided_by_the_index)
{
	static const unsigned kinds[] = {0, 1, 2, 0, 1};
	struct compaction c;
	struct model model = {0};
	struct kvlog *db;

	make_content(&model, kinds, SEGMENTS);
	db = open_store(0, KVLOG_INDEX_MEMORY);
	for (unsigned huge = 0; huge < 2; huge++) {
		prepare(&c, db, 2, 4);
		c.only.bytes = huge == 1 ? COMPACT_ASKED_MAX : 0;
		ck_assert(compact_may_ask_index(&c, &c.only));
		if (compact_store(&c, &err) != KVLOG_OK)
			ck_abort_msg("compact: %s", err.text);
		ck_assert_uint_eq(c.report.run_count, 1);
		expect_in(db, &model, "compacted");
	}
	c.only.bytes = COMPACT_ASKED_MAX + 1;
	ck_assert(!compact_may_ask_index(&c, &c.only));
	close_store(db);
	expect_closed(&model, "closed");
	model_fini(&model);
}
END_TEST

/* Space of others in the making, and what was whole but not told, is found by
 * the next compaction; nothing else goes. */
START_TEST(what_a_stopped_one_has_left_is_cleared)
{
	static const char *const strangers[] = {
	    "00000001-00000002.r7.1of1.seg.tmp",
	    "00000001-00000002.r6.2of2.seg"};
	static const unsigned kinds[] = {0, 1, 2, 0, 1};
	struct model model = {0};
	struct kvlog *dbs[HANDLES];
	struct os_stat st;
	int fd;

	make_content(&model, kinds, SEGMENTS);
	open_all(dbs, KVLOG_INDEX_MEMORY);
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
		ck_assert_int_eq(os->open(dbs[0]->store->dir.fd, strangers[i],
				     OS_OPEN_CREATE, 0644, &fd),
		    0);
		os->close(fd);
	}
	ck_assert(compact(dbs[0], 2, 3));
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
		ck_assert_int_eq(
		    os->stat_name(dbs[0]->store->dir.fd, strangers[i], &st),
		    ENOENT);
	/* A round that was seen is not used again. */
	ck_assert_int_eq(os->stat_name(dbs[0]->store->dir.fd,
			     "00000002-00000003.r7.1of1.seg", &st),
	    0);
	expect_all(dbs, &model, "cleared");
	close_all(dbs);
	expect_closed(&model, "closed");
	model_fini(&model);
}
END_TEST

/* Two processes that write.  The registry says who is of one: it is emptied,
 * and the machine killed in the end, as a close would miss its entry. */
struct pair {
	struct kvlog *mine;   /* the one that compacts */
	struct kvlog *others; /* what is looked at */
	struct model model;
};

static void
open_pair(struct pair *p, enum kvlog_index_mode mode)
{
	p->mine = open_store(KVLOG_OPEN_NOCOMPACT, KVLOG_INDEX_MEMORY);
	registry_forget();
	p->others = open_store(KVLOG_OPEN_NOCOMPACT, mode);
	ck_assert_ptr_ne(p->mine->store, p->others->store);
}

static void
end_pair(struct pair *p)
{
	simos_kill();
	simos_forget();
	model_fini(&p->model);
}

/* Segments of which most is garbage. */
static void
make_pair(struct pair *p, enum kvlog_index_mode mode)
{
	struct kvlog *db;

	memset(p, 0, sizeof *p);
	db = open_store(
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_NOCOMPACT, KVLOG_INDEX_MEMORY);
	put(db, &p->model, "K", 77);
	for (unsigned i = 0; i < 40; i++)
		put(db, &p->model, i % 8 == 0 ? "other" : "a", 1500);
	seal(db);
	close_store(db);
	open_pair(p, mode);
}

static void
compact_all(struct kvlog *db)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};

	how.flags = KVLOG_COMPACT_ALL;
	if (kvlog_compact(db, &how, &report, &err) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
	ck_assert_uint_gt(report.run_count, 0);
}

/* Though nothing was committed, so that the position is where it was.  _i: with
 * an index in hints no segment was mapped, and the files are gone; else they
 * are, and take their space until the mappings go. */
START_TEST(an_idle_writer_sees_what_was_compacted)
{
	struct pair p;
	uint64_t used;

	make_pair(&p, _i == 0 ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY);
	if (_i == 1)
		expect_in(p.others, &p.model, "before");
	compact_all(p.mine);
	used = simos_used();
	ck_assert_int_eq(kvlog_exists(p.others, "K", 1), KVLOG_OK);
	if (_i == 1)
		ck_assert_uint_lt(simos_used(), used - 4 * (uint64_t)SIZE);
	expect_in(p.others, &p.model, "after");
	put(p.others, &p.model, "a", 10);
	expect_in(p.mine, &p.model, "of the other one");
	end_pair(&p);
}
END_TEST

/* Who maintains the store for a while lets others do it between. */
START_TEST(maintenance_that_is_not_at_its_end_keeps_nobody_from_it)
{
	struct pair p;
	bool more = false;

	make_pair(&p, KVLOG_INDEX_MEMORY);
	for (unsigned i = 0; i < 40; i++)
		put(p.others, &p.model, "a", 1500);
	MAKELOG_OK(kvlog_maintain(p.others, 0, &more));
	ck_assert(more);
	compact_all(p.mine); /* which does not wait */
	MAKELOG_OK(kvlog_maintain(p.others, 0, &more));
	expect_in(p.others, &p.model, "after");
	end_pair(&p);
}
END_TEST

static unsigned failures;

static void
note_failure(enum simos_kind kind)
{
	(void)kind;
	failures++;
}

/* No call of memory that fails brings a key back.  First the old record is
 * found by its hint, and only the table says that it was deleted. */
START_TEST(no_deleted_key_comes_back_for_want_of_memory)
{
	struct simos_state *base;
	struct pair p;
	unsigned n = 0;
	bool failed = true;

	make_pair(&p, KVLOG_INDEX_HINTS);
	simos_kill();
	simos_forget();
	base = simos_save();
	while (failed) {
		uint64_t count;

		simos_restore(base);
		open_pair(&p, KVLOG_INDEX_HINTS);
		ck_assert_int_eq(kvlog_exists(p.others, "K", 1), KVLOG_OK);
		MAKELOG_OK(kvlog_delete(p.mine, "K", 1, NULL, NULL));
		ck_assert_int_eq(
		    kvlog_exists(p.others, "K", 1), KVLOG_NOTFOUND);
		compact_all(p.mine);
		failures = 0;
		simos_on_fault(note_failure);
		simos_fail(SIMOS_MALLOC, ++n, ENOMEM, false);
		if (kvlog_put(p.others, "q", 1, "1", 1, NULL, NULL) != KVLOG_OK)
			ck_assert_uint_eq(failures, 1);
		failed = failures > 0;
		simos_fail_clear();
		ck_assert_int_eq(
		    kvlog_put(p.others, "q", 1, "2", 1, NULL, NULL), KVLOG_OK);
		ck_assert_msg(kvlog_exists(p.others, "K", 1) == KVLOG_NOTFOUND,
		    "K is back after failure %u", n);
		MAKELOG_OK(kvlog_count(p.others, &count));
		ck_assert_uint_eq(count, 3);
		simos_kill();
		simos_forget();
	}
	ck_assert_uint_gt(n, 10);
	simos_state_free(base);
	model_fini(&p.model);
}
END_TEST

/* The same of the process that compacts. */
START_TEST(no_deleted_key_comes_back_where_it_is_compacted)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct simos_state *base;
	struct pair p;
	unsigned n = 0, done = 0;
	bool failed = true;

	how.flags = KVLOG_COMPACT_ALL;
	make_pair(&p, KVLOG_INDEX_HINTS);
	simos_kill();
	simos_forget();
	base = simos_save();
	while (failed) {
		struct model model = {0};
		struct kvlog *db;

		simos_restore(base);
		model_copy(&model, &p.model);
		db = open_store(KVLOG_OPEN_NOCOMPACT, KVLOG_INDEX_HINTS);
		delete (db, &model, "K");
		failures = 0;
		simos_on_fault(note_failure);
		simos_fail(SIMOS_MALLOC, ++n, ENOMEM, false);
		done += kvlog_compact(db, &how, NULL, &err) == KVLOG_OK;
		failed = failures > 0;
		simos_fail_clear();
		ck_assert_msg(kvlog_exists(db, "K", 1) == KVLOG_NOTFOUND,
		    "K is back after failure %u", n);
		expect_in(db, &model, "after a failure");
		MAKELOG_OK(kvlog_compact(db, &how, NULL, &err));
		expect_in(db, &model, "compacted again");
		simos_kill();
		simos_forget();
		model_fini(&model);
	}
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_gt(done, 1);
	simos_state_free(base);
	model_fini(&p.model);
}
END_TEST

/* A sync of what it has not looked at for long: the log has gone on by several
 * segments, and memory may be short.  _i: some are replaced, or none; in memory
 * or in hints. */
START_TEST(who_syncs_finds_what_others_have_done)
{
	struct simos_state *base;
	struct pair p;
	unsigned n = 0;
	bool failed = true;

	make_pair(&p, KVLOG_INDEX_MEMORY);
	simos_kill();
	simos_forget();
	base = simos_save();
	while (failed) {
		struct model model = {0};
		enum kvlog_status st;
		uint32_t at;

		simos_restore(base);
		model_copy(&model, &p.model);
		open_pair(
		    &p, _i % 2 == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS);
		at = segment_number(log_active(&p.mine->store->log));
		for (unsigned i = 0; i < 5; i++)
			write_piece(p.mine, &model, i % 2);
		if (_i < 2)
			ck_assert(compact(p.mine, at + 2, at + 3));
		failures = 0;
		simos_on_fault(note_failure);
		simos_fail(SIMOS_MALLOC, ++n, ENOMEM, false);
		st = log_sync_mark(&p.others->store->log, &err);
		failed = failures > 0;
		simos_fail_clear();
		ck_assert_msg(
		    st == KVLOG_OK || (st == KVLOG_TIMEOUT && failures > 0),
		    "failure %u: %d %s", n, (int)st, err.text);
		put(p.others, &model, "a", 10);
		MAKELOG_OK(kvlog_sync(p.others));
		expect_in(p.others, &model, "after a sync");
		expect_in(p.mine, &model, "of the other one");
		simos_kill();
		simos_forget();
		model_fini(&model);
	}
	ck_assert_uint_gt(n, 5);
	simos_state_free(base);
	model_fini(&p.model);
}
END_TEST

/* What the look-up of another thread meets while a writer takes in what was
 * compacted: all is applied, but what went with the files is still in the
 * index.  K was deleted, and the records that say so have gone, too. */
START_TEST(nobody_looks_up_before_all_is_taken_in)
{
	struct pair p;
	struct views *views;
	struct view *view;
	uint64_t stamp;
	bool stale = true;

	make_pair(&p, KVLOG_INDEX_MEMORY);
	delete (p.mine, &p.model, "K");
	seal(p.mine);
	compact_all(p.mine);
	views = &p.others->store->views;
	views_lock(views);
	view = atomic_load(&views->view);
	stamp = view_stamp(view);
	views->paced = true; /* goes no further */
	MAKELOG_OK(view_catch_up(views, view, &stale, &err));
	ck_assert(!stale);
	views->paced = false;
	atomic_store(&view->stamp, stamp);
	pthread_mutex_unlock(&views->lock);
	ck_assert_uint_eq(atomic_load(&view->applied),
	    control_position(&p.others->store->control));
	ck_assert_int_eq(kvlog_exists(p.others, "K", 1), KVLOG_NOTFOUND);
	expect_in(p.others, &p.model, "after");
	end_pair(&p);
}
END_TEST

/* Who finds keys by a table walks over segments without a hint by their
 * records: the damage is told once, and costs no key. */
static void
expect_walk_around(struct kvlog *db, const struct model *wanted)
{
	struct kvlog_iter *iter = NULL;
	struct kvlog_info info;
	enum kvlog_status st;
	size_t len, keys = 0;

	for (unsigned round = 0; round < 2; round++) {
		MAKELOG_OK(kvlog_iter_create(db, "", 0, &iter));
		ck_assert_int_eq(kvlog_iter_next(iter), KVLOG_CORRUPT);
		ck_assert_ptr_null(kvlog_iter_key(iter, &len));
		kvlog_iter_info(iter, &info);
		ck_assert_uint_eq(info.segment, 1);
		ck_assert_uint_eq(info.offset, SEGMENT_DATA_OFF);
		while ((st = kvlog_iter_next(iter)) == KVLOG_OK)
			keys++;
		ck_assert_int_eq(st, KVLOG_NOTFOUND);
		kvlog_iter_destroy(iter);
	}
	ck_assert_uint_eq(keys, 2 * wanted->count);
}

/* One hint covers all, and one damaged record that nobody needs, in a segment
 * that stays.  Without that hint it is met: by who looks up by hints, for the
 * first time.  It costs nobody a key, and is told.  _i: that is another
 * process, or who compacts. */
START_TEST(damage_that_nobody_needs_costs_no_key)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct pair p = {0};
	struct kvlog *db;
	bool more = true;

	db = open_store(
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_NOCOMPACT, KVLOG_INDEX_MEMORY);
	put(db, &p.model, "K", 77);
	for (unsigned i = 0; i < 40; i++)
		put(db, &p.model, i % 8 == 0 ? "other" : "a", 1500);
	put(db, &p.model, "K", 10);
	seal(db);
	while (more)
		MAKELOG_OK(kvlog_maintain(db, 0, &more));
	close_store(db);
	makelog_flip("00000001.seg", SEGMENT_DATA_OFF + 20);
	open_pair(&p, KVLOG_INDEX_HINTS);
	expect_in(p.others, &p.model, "before");
	ck_assert(compact(_i == 0 ? p.mine : p.others, 3, 6));
	expect_content(p.others, &p.model, "compacted");
	MAKELOG_OK(kvlog_stats_get(p.others, &stats));
	ck_assert_uint_ne(stats.recovery & KVLOG_RECOVERY_DAMAGE, 0);
	ck_assert_ptr_nonnull(strstr(stats.recovery_text, "segment 1 "));
	put(p.others, &p.model, "b", 10);
	expect_content(p.others, &p.model, "written to");
	expect_walk_around(p.mine, &p.model);
	MAKELOG_OK(kvlog_stats_get(p.mine, &stats));
	ck_assert_uint_ne(stats.recovery & KVLOG_RECOVERY_DAMAGE, 0);
	end_pair(&p);
}
END_TEST

/* Waiting is for those whose thread compacts meanwhile. */
START_TEST(without_the_thread_writers_are_not_held_up)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	struct reclaim *reclaim = &db->store->reclaim;
	struct model model = {0};
	bool more = true;
	uint64_t sleeps;

	reclaim->policy.bytes = SIZE;
	for (unsigned i = 0; i < 200; i++)
		put(db, &model, "a", 1500);
	while (more && atomic_load(&reclaim->pressure_ms) == 0)
		MAKELOG_OK(kvlog_maintain(db, 0, &more));
	ck_assert_uint_gt(atomic_load(&reclaim->pressure_ms), 0);
	sleeps = simos_count(SIMOS_SLEEP);
	for (unsigned i = 0; i < 400; i++)
		put(db, &model, "a", 1500);
	ck_assert_uint_eq(simos_count(SIMOS_SLEEP), sleeps);
	expect_in(db, &model, "after");
	close_store(db);
	model_fini(&model);
}
END_TEST

static uint64_t
sleeps_of(struct kvlog *db, struct model *model)
{
	uint64_t before = simos_count(SIMOS_SLEEP);

	for (unsigned i = 0; i < 400; i++) /* two times what is written between
					      waits, and some */
		put(db, model, "a", 1500);
	return simos_count(SIMOS_SLEEP) - before;
}

/* Long keys, two times what is written between waits, and some. */
#define LONG_KEYS 300u

static void
make_long_key(char key[1901], unsigned i)
{
	(void)snprintf(key, 1901, "%01900u", i);
}

static uint64_t
sleeps_of_deletes(struct kvlog *db)
{
	uint64_t before = simos_count(SIMOS_SLEEP);
	char key[1901];

	for (unsigned i = 0; i < LONG_KEYS; i++) {
		make_long_key(key, i);
		MAKELOG_OK(kvlog_delete(db, key, 1900, NULL, NULL));
	}
	return simos_count(SIMOS_SLEEP) - before;
}

/* So do those who write in other processes, until nothing is said any more: who
 * said so may have died.  They compact nothing themselves. */
START_TEST(writers_of_other_processes_wait_too)
{
	struct pair p;
	struct reclaim *reclaim;
	bool more = true;
	char key[1901];

	make_pair(&p, KVLOG_INDEX_MEMORY);
	reclaim = &p.mine->store->reclaim;
	reclaim->policy.off = false;
	reclaim->policy.bytes = SIZE;
	for (unsigned i = 0; i < LONG_KEYS; i++) {
		make_long_key(key, i);
		MAKELOG_OK(kvlog_put(p.mine, key, 1900, "", 0, NULL, NULL));
	}
	for (unsigned i = 0; i < 200; i++)
		put(p.mine, &p.model, "a", 1500);
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 0);
	while (more && atomic_load(&reclaim->pressure_ms) == 0)
		MAKELOG_OK(kvlog_maintain(p.mine, 0, &more));
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 2);
	ck_assert_uint_eq(sleeps_of_deletes(p.others), 0);
	ck_assert_uint_eq(sleeps_of(p.mine, &p.model), 0);
	os->sleep_ns(CONTROL_PRESSURE_MS * UINT64_C(1000000));
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 0);

	/* While a run is under way it is said again and again. */
	atomic_store(&reclaim->running, true);
	pthread_mutex_lock(&p.mine->store->maintain_lock);
	ck_assert(store_go_on(p.mine->store));
	pthread_mutex_unlock(&p.mine->store->maintain_lock);
	atomic_store(&reclaim->running, false);
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 2);

	/* When all is done nobody waits. */
	for (more = true; more;)
		MAKELOG_OK(kvlog_maintain(p.mine, 0, &more));
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 0);
	expect_in(p.others, &p.model, "after");
	end_pair(&p);
}
END_TEST

/* What happens between the steps of a compaction. */
static struct {
	struct pair *pair;
	unsigned calls;
	uint64_t own, others; /* sleeps of who writes meanwhile */
} meanwhile;

static bool
write_meanwhile(void *arg, uint64_t done, uint64_t total)
{
	struct kvlog *mine = meanwhile.pair->mine;
	struct store *store = mine->store;
	uint64_t before;

	(void)arg;
	(void)done;
	(void)total;
	if (meanwhile.calls++ > 0)
		return true;
	for (unsigned i = 0; i < 200; i++)
		put(mine, &meanwhile.pair->model, "a", 1500);
	before = simos_count(SIMOS_SLEEP);
	reclaim_wait(&store->reclaim, &store->log, UINT64_C(1) << 18, true);
	meanwhile.own = simos_count(SIMOS_SLEEP) - before;
	ck_assert(store_go_on(store));
	meanwhile.others =
	    sleeps_of(meanwhile.pair->others, &meanwhile.pair->model);
	return true;
}

/* A compaction that was called for keeps nobody from looking at the garbage:
 * there is so much, written since it began, that writers wait, and afterwards
 * they do no more.  _i: it is nobody's business where none is automatic. */
START_TEST(while_it_is_called_for_writers_wait)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	unsigned wait = _i == 0 ? 1 : 0;
	struct reclaim *reclaim;
	struct pair p;

	make_pair(&p, KVLOG_INDEX_MEMORY);
	memset(&meanwhile, 0, sizeof meanwhile);
	meanwhile.pair = &p;
	reclaim = &p.mine->store->reclaim;
	reclaim->policy.off = _i == 1;
	reclaim->policy.bytes = SIZE;
	how.flags = KVLOG_COMPACT_ALL;
	how.progress = write_meanwhile;
	ck_assert(!reclaim_presses(reclaim, &p.mine->store->log));
	MAKELOG_OK(kvlog_compact(p.mine, &how, NULL, &err));
	ck_assert_uint_gt(meanwhile.calls, 0);
	ck_assert_uint_eq(meanwhile.own, wait);
	ck_assert_uint_eq(meanwhile.others, 2 * wait);
	ck_assert(!reclaim_presses(reclaim, &p.mine->store->log));
	ck_assert_uint_eq(sleeps_of(p.others, &p.model), 0);
	expect_in(p.others, &p.model, "after");
	expect_in(p.mine, &p.model, "after");
	end_pair(&p);
}
END_TEST

static struct store *sleeper;
static unsigned sleeps;
static const struct os_table *awake;

/* What was promised is noted by then. */
static void
sleep_and_look(uint64_t ns)
{
	ck_assert_uint_eq(
	    atomic_load(&sleeper->interval_seq), log_last_seq(&sleeper->log));
	sleeps++;
	awake->sleep_ns(ns);
}

START_TEST(what_is_due_is_noted_before_a_writer_waits)
{
	struct os_table table = *os;
	struct pair p;

	make_pair(&p, KVLOG_INDEX_MEMORY);
	awake = os;
	table.sleep_ns = sleep_and_look;
	sleeper = p.others->store;
	sleeps = 0;
	p.others->durability = KVLOG_DURABILITY_INTERVAL;
	MAKELOG_OK(control_set_pressure(p.mine->store->log.control, 1));
	os = &table;
	for (unsigned i = 0; i < 400; i++)
		put(p.others, &p.model, "a", 1500);
	os = awake;
	ck_assert_uint_gt(sleeps, 0);
	end_pair(&p);
}
END_TEST

/* Where an index is in the hints, too, space comes back by itself, and what was
 * compacted needs no entry in the table any more. */
START_TEST(a_store_with_its_index_in_hints_is_compacted)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_HINTS);
	struct store *store = db->store;
	struct kvlog_stats stats = {.size = sizeof stats};
	struct model model = {0};
	uint64_t most = 0;
	struct rng rng;

	rng_init(&rng, 1);
	store->reclaim.policy.bytes = SIZE;
	for (unsigned i = 0; i < 1000; i++) {
		const struct view *view = atomic_load(&store->views.view);
		char key[16];
		bool more = true;

		snprintf(key, sizeof key, "k%u", (unsigned)rng_below(&rng, 60));
		put(db, &model, key, 1000);
		while (more)
			MAKELOG_OK(kvlog_maintain(db, 0, &more));
		if (i < 300)
			continue;
		MAKELOG_OK(kvlog_stats_get(db, &stats));
		most = max_u64(most, stats.dead_bytes);
		ck_assert_uint_lt(keydir_count(view->index.keydir), 50);
	}
	/* Half of a file is its header here, so that garbage weighs less. */
	ck_assert_uint_lt(most, stats.live_bytes / 2 + SIZE);
	ck_assert_uint_gt(stats.compact_runs, 10);
	expect_in(db, &model, "after");
	close_store(db);
	expect_closed(&model, "closed");
	model_fini(&model);
}
END_TEST

/* What a handle in the middle of something is interrupted by. */
static struct {
	struct kvlog *writer, *other;
	struct model *model;
	unsigned calls;
	const char *cut; /* the segment behind it */
	bool done;
} guest;

/* All of the store, by the writer. */
static void
compact_everything(struct kvlog *db)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;

	how.flags = KVLOG_COMPACT_ALL;
	if (kvlog_compact(db, &how, NULL, &err) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
}

static bool
delete_and_compact(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	if (guest.calls++ > 0)
		return true;
	delete (guest.writer, guest.model, "a");
	compact_everything(guest.writer);
	expect_in(guest.other, guest.model, "within the dry run");
	return true;
}

/* The segments that a dry run looks at are replaced: it shows no key that was
 * deleted, and does not take others for them: it ends, or goes on with a view
 * of before.  _i: in memory, or in hints; of a reader, or of a writer of
 * another process, whose view is the log. */
START_TEST(a_dry_run_beside_a_compaction)
{
	static const unsigned kinds[] = {1, 0, 1, 1, 1};
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	bool goes_on = _i == 1;
	struct model model = {0};
	struct kvlog *dbs[2];
	enum kvlog_status st;

	make_content(&model, kinds, ARRAY_LEN(kinds));
	dbs[0] = open_store(0, KVLOG_INDEX_MEMORY);
	registry_forget();
	dbs[1] = open_store(_i < 2 ? KVLOG_OPEN_READONLY : 0,
	    _i % 2 == 1 ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY);
	ck_assert_ptr_ne(dbs[0]->store, dbs[1]->store);
	expect_in(dbs[1], &model, "before");
	guest.writer = dbs[0];
	guest.other = dbs[1];
	guest.model = &model;
	how.flags = KVLOG_COMPACT_DRY_RUN | KVLOG_COMPACT_ALL;
	how.progress = delete_and_compact;
	st = kvlog_compact(dbs[1], &how, NULL, &err);
	ck_assert_uint_gt(guest.calls, 0);
	ck_assert_msg(st == (goes_on ? KVLOG_OK : KVLOG_BUSY), "%d: %s",
	    (int)st, err.text);
	ck_assert(goes_on || strstr(err.text, "replaced") != NULL);
	expect_in(dbs[1], &model, "after the dry run");
	put(dbs[0], &model, "c", 10);
	expect_in(dbs[1], &model, "after another commit");
	how.progress = NULL;
	MAKELOG_OK(kvlog_compact(dbs[1], &how, NULL, &err));
	simos_kill();
	simos_forget();
	expect_closed(&model, "killed");
	model_fini(&model);
}
END_TEST

static bool
let_time_pass(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	os->sleep_ns(UINT64_C(1000000000));
	return true;
}

/* The thread waits for it: what a commit was promised is kept meanwhile.  _i: a
 * dry run. */
START_TEST(what_is_due_is_done_within)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	struct model model = {0};

	for (unsigned i = 0; i < PIECES; i++)
		write_piece(db, &model, i);
	atomic_store(&db->store->interval_ms, 2);
	atomic_store(&db->store->interval_seq, kvlog_last_seq(db));
	ck_assert_uint_lt(kvlog_durable_seq(db), kvlog_last_seq(db));
	how.flags = KVLOG_COMPACT_ALL | (_i == 1 ? KVLOG_COMPACT_DRY_RUN : 0);
	how.progress = let_time_pass;
	MAKELOG_OK(kvlog_compact(db, &how, NULL, &err));
	ck_assert_uint_ge(kvlog_durable_seq(db), kvlog_last_seq(db));
	close_store(db);
	model_fini(&model);
}
END_TEST

/* Two segments of a record each, and one that is active. */
static void
write_three(struct kvlog *db, struct model *model)
{
	put(db, model, "a", 10);
	seal(db);
	put(db, model, "b", 10);
	seal(db);
	put(db, model, "c", 10);
}

/* To compact all, each segment in a run of its own. */
static void
prepare_runs(
    struct compaction *c, struct kvlog *db, kvlog_progress_fn *progress)
{
	prepare(c, db, 0, 0);
	c->all = true;
	c->run_limit = 1;
	c->progress = progress;
}

static bool
delete_later(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	if (total > 0) /* there is a plan */
		simos_fail_clear();
	if (done > 0 && !guest.done) {
		delete (guest.writer, guest.model, "a");
		guest.done = true;
	}
	return true;
}

/* There is room for the end of the active segment only after the first run has
 * been rewritten, which has kept what that segment deletes by then. */
START_TEST(what_is_sealed_late_hides_what_was_kept)
{
	static const char *const room[] = {DIR_SPARE_NAME, DIR_RESERVE_NAME};
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	struct store *store = db->store;
	struct compaction c;

	write_three(db, &model);
	for (size_t i = 0; i < ARRAY_LEN(room); i++)
		(void)os->unlink(store->dir.fd, room[i]);
	guest.writer = db;
	guest.model = &model;
	prepare_runs(&c, db, delete_later);
	simos_fail(SIMOS_ALLOCATE, 1, ENOSPC, true);
	if (compact_store(&c, &err) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
	ck_assert(guest.done);
	ck_assert(c.sealed_late);
	expect_in(db, &model, "compacted");
	close_store(db);
	expect_closed(&model, "reopened");
	model_fini(&model);
}
END_TEST

static const struct os_table *plain;

static bool
replace_later(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)total;
	if (done > 0 && !guest.done) {
		put(guest.writer, guest.model, "b", 20);
		seal(guest.writer);
		guest.done = true;
	}
	return true;
}

/* Without a table all decisions are of one moment, and what comes later is not
 * read: a key that is replaced between two runs stays in the second. */
START_TEST(what_is_written_between_runs_is_not_read)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_HINTS);
	struct store *store = db->store;
	struct compaction c;
	uint32_t last;

	write_three(db, &model);
	guest.writer = db;
	guest.model = &model;
	prepare_runs(&c, db, replace_later);
	MAKELOG_OK(compact_store(&c, &err));
	ck_assert(guest.done);
	last = segment_number(log_active(&store->log));
	ck_assert_uint_eq(c.settled, last - 1);
	ck_assert_uint_eq(c.report.run_count, 3);
	ck_assert_uint_eq(c.report.records_kept, 3);
	ck_assert_uint_eq(c.report.records_superseded, 0);
	expect_in(db, &model, "compacted");
	close_store(db);
	expect_closed(&model, "closed");
	model_fini(&model);
}
END_TEST

/* Of which a hint can be made: the next one says that it is durable. */
static void
write_segment(struct kvlog *db, struct model *model, const char *key)
{
	put(db, model, key, 700);
	MAKELOG_OK(kvlog_sync(db));
	seal(db);
	MAKELOG_OK(kvlog_sync(db));
}

/* With each hint: a segment more. */
static int
rename_and_write(int dir, const char *from, const char *to)
{
	int rc = plain->rename(dir, from, to);

	if (strstr(to, ".hint") != NULL && !guest.done) {
		guest.done = true;
		ck_assert_msg(++guest.calls < 100, "it runs after the writer");
		write_segment(guest.writer, guest.model, "a");
		guest.done = false;
	}
	return rc;
}

/* Who writes as fast as it reads does not keep it from its end: what is sealed
 * meanwhile is left to the next one.  _i: in memory, or in hints. */
START_TEST(it_ends_whoever_writes)
{
	struct model model = {0};
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE,
	    _i == 0 ? KVLOG_INDEX_MEMORY : KVLOG_INDEX_HINTS);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	const struct segset *set;
	struct os_table hooked = *os;
	uint32_t last;

	for (unsigned i = 0; i < 8; i++)
		write_segment(db, &model, i % 2 == 0 ? "a" : "b");
	last = 9; /* the active one */
	guest.writer = db;
	guest.model = &model;
	plain = os;
	hooked.rename = rename_and_write;
	os = &hooked;
	how.flags = KVLOG_COMPACT_ALL;
	MAKELOG_OK(kvlog_compact(db, &how, &report, &err));
	os = plain;
	ck_assert_uint_gt(guest.calls, 8);
	ck_assert_uint_gt(report.run_count, 0);
	set = atomic_load(&db->store->views.view)->set;
	for (size_t i = 0; i < set->count; i++)
		ck_assert_int_eq(set->segments[i]->header.kind == SEGMENT_PLAIN,
		    set->segments[i]->header.id.last > last);
	expect_in(db, &model, "compacted");
	close_store(db);
	expect_closed(&model, "closed");
	model_fini(&model);
}
END_TEST

/* An output stands two plain segments behind the last one that a handle knows.
 * _i: a reader, in memory or in hints; a writer of another process that looks
 * first, or writes, likewise. */
START_TEST(who_was_idle_finds_an_output_behind_plain_segments)
{
	static const unsigned kinds[] = {0};
	struct model model = {0};
	struct kvlog *dbs[2];
	const struct view *view;

	make_content(&model, kinds, ARRAY_LEN(kinds));
	dbs[0] = open_store(0, KVLOG_INDEX_MEMORY);
	registry_forget();
	dbs[1] = open_store(_i < 2 ? KVLOG_OPEN_READONLY : 0,
	    _i % 2 == 1 ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY);
	expect_in(dbs[1], &model, "before");
	ck_assert_ptr_ne(dbs[0]->store, dbs[1]->store);
	view = atomic_load(&dbs[1]->store->views.view);
	for (unsigned i = 0; i < 6; i++)
		write_piece(dbs[0], &model, i % 2);
	ck_assert(compact(dbs[0], 5, 6));
	if (_i < 4)
		expect_in(dbs[1], &model, "compacted");
	if (_i != 1) /* and need not load all of it anew */
		ck_assert_ptr_eq(atomic_load(&dbs[1]->store->views.view), view);
	if (_i >= 2)
		put(dbs[1], &model, "c", 10);
	put(dbs[0], &model, "d", 10);
	expect_in(dbs[0], &model, "the writer");
	expect_in(dbs[1], &model, "the other");
	simos_kill();
	simos_forget();
	expect_closed(&model, "killed");
	model_fini(&model);
}
END_TEST

static struct os_table hooked;

static int
note_sync(int fd)
{
	/* All before the backup's cut is durable then. */
	guest.calls += guest.cut != NULL && makelog_exists(guest.cut);
	return plain->sync(fd);
}

static void
unlock_late(const struct os_map *map, uint64_t off)
{
	plain->mutex_unlock(map, off);
	if (guest.calls == 0 || guest.done)
		return;
	guest.done = true;
	put(guest.writer, guest.model, "a", 20);
	ck_assert(compact(guest.writer, 1, 3));
	expect_in(guest.other, guest.model, "within the backup");
}

/* While a backup makes sure that all up to its cut is durable, a key of before
 * is written anew, and another process puts segments in the place of those that
 * had it which have it no more.  The backup has one or the other. */
START_TEST(what_is_replaced_under_a_backup_is_not_lost)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct model model = {0};
	struct kvlog *dbs[2], *copy;

	dbs[0] = open_store(KVLOG_OPEN_CREATE, KVLOG_INDEX_MEMORY);
	put(dbs[0], &model, "a", 10);
	seal(dbs[0]);
	put(dbs[0], &model, "b", 10);
	seal(dbs[0]);
	put(dbs[0], &model, "c", 10);
	registry_forget();
	dbs[1] = open_store(0, KVLOG_INDEX_MEMORY);
	guest.writer = dbs[0];
	guest.other = dbs[1];
	guest.model = &model;
	guest.cut = "00000004.seg";
	plain = os;
	hooked = *os;
	hooked.sync = note_sync;
	hooked.mutex_unlock = unlock_late;
	os = &hooked;
	if (kvlog_backup(dbs[1], "/copy", NULL, NULL, &err) != KVLOG_OK)
		ck_abort_msg("back up: %s", err.text);
	os = plain;
	ck_assert(guest.done);
	simos_kill();
	simos_forget();
	o.flags = KVLOG_OPEN_READONLY | KVLOG_OPEN_NOTHREAD;
	MAKELOG_OK(kvlog_open("/copy", &o, &copy, &err));
	expect_in(copy, &model, "the backup");
	close_store(copy);
	model_fini(&model);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("online");
	TCase *tc = makelog_case(suite, "safety");

	tcase_set_timeout(
	    tc, getenv("KVLOG_COMPACT_CONTENTS") != NULL ? 36000 : 120);
	tcase_add_test(tc, no_run_in_any_order_changes_a_key);
	tcase_add_loop_test(tc, what_is_decided_against_is_durable, 0, 2);
	tcase_add_test(tc, a_huge_run_is_not_decided_by_the_index);
	tcase_add_test(tc, what_a_stopped_one_has_left_is_cleared);
	tc = makelog_case(suite, "processes");
	tcase_add_loop_test(tc, an_idle_writer_sees_what_was_compacted, 0, 2);
	tcase_add_test(
	    tc, maintenance_that_is_not_at_its_end_keeps_nobody_from_it);
	tcase_add_test(tc, no_deleted_key_comes_back_for_want_of_memory);
	tcase_add_test(tc, no_deleted_key_comes_back_where_it_is_compacted);
	tcase_add_loop_test(tc, who_syncs_finds_what_others_have_done, 0, 4);
	tcase_add_test(tc, nobody_looks_up_before_all_is_taken_in);
	tcase_add_loop_test(tc, damage_that_nobody_needs_costs_no_key, 0, 2);
	tcase_add_test(tc, without_the_thread_writers_are_not_held_up);
	tcase_add_test(tc, writers_of_other_processes_wait_too);
	tcase_add_loop_test(tc, while_it_is_called_for_writers_wait, 0, 2);
	tcase_add_test(tc, what_is_due_is_noted_before_a_writer_waits);
	tcase_add_test(tc, a_store_with_its_index_in_hints_is_compacted);
	tc = makelog_case(suite, "beside");
	tcase_add_loop_test(tc, a_dry_run_beside_a_compaction, 0, 4);
	tcase_add_loop_test(tc, what_is_due_is_done_within, 0, 2);
	tcase_add_test(tc, what_is_sealed_late_hides_what_was_kept);
	tcase_add_test(tc, what_is_written_between_runs_is_not_read);
	tcase_add_loop_test(tc, it_ends_whoever_writes, 0, 2);
	tcase_add_loop_test(
	    tc, who_was_idle_finds_an_output_behind_plain_segments, 0, 6);
	tcase_add_test(tc, what_is_replaced_under_a_backup_is_not_lost);
	return test_main(suite);
}
