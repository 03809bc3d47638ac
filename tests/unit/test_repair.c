/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_repair.c - what a writer does about what recovery found, in which
 * order, and where new segments come from.
 */
#include "config.h"

#include "makelog.h"
#include "repair.h"

#include <errno.h>

#define ONE "00000001.seg"
#define TWO "00000002.seg"
#define THREE "00000003.seg"
#define FOUR "00000004.seg"
#define OUTPUT "00000002-00000003.r1.1of1.seg"
#define OUTPUT_AGAIN "00000002-00000003.r2.1of1.seg"
#define VALUE 50u /* with a key of 2 bytes: a record of 80, no padding */
#define LEN 80u
#define HEAD 30u

static struct makelog m;
static struct found f;
static uint64_t offs[100]; /* of commit i */

static void
puts_to(uint64_t seq)
{
	while (m.seq < seq) {
		char key[16];
		uint64_t off;

		snprintf(key, sizeof key, "k%u", (unsigned)(m.seq + 1) % 10);
		off = makelog_put(&m, key, VALUE);
		offs[m.seq % RECORD_RANGE] = off;
	}
}

static void
begin(void)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
}

static void
make_file(const char *name)
{
	int fd;

	ck_assert_int_eq(
	    os->open(m.dir.fd, name, OS_OPEN_CREATE, 0644, &fd), 0);
	ck_assert_int_eq(os->pwrite(fd, "x", 1, 0), 0);
	ck_assert_int_eq(os->close(fd), 0);
}

static enum kvlog_status
repair(void)
{
	return repair_log(
	    &f.dir, &f.control, &f.hints, &f.r, MAKELOG_SIZE, &f.err);
}

static void
find_and_repair(void)
{
	found_init(&f, true);
	ck_assert_msg(f.st == KVLOG_OK, "%s", f.err.text);
	ck_assert_msg(repair() == KVLOG_OK, "%s", f.err.text);
}

static void
finish(void)
{
	found_fini(&f);
	makelog_fini(&m);
}

/* Three segments of two commits; 4 is torn in its middle, so that the third
 * segment is discarded. */
static void
make_torn(void)
{
	begin();
	puts_to(2);
	m.durable = 2;
	makelog_begin(&m, 2);
	puts_to(4);
	makelog_begin(&m, 3);
	puts_to(6);
	makelog_end(&m);
	makelog_flip(TWO, offs[4]);
}

/* Order. */

START_TEST(what_is_kept_is_synced_before_anything_is_removed)
{
	const char *const order[] = {
	    "sync " ONE,
	    "sync " TWO,
	    "unlink " THREE,
	    "sync_dir",
	    "create segment.tmp",
	    "store segment.tmp", /* the link */
	    "sync segment.tmp",
	    "rename segment.tmp to " THREE,
	    "sync_dir",
	    NULL,
	};
	struct calls calls;
	const char *removed, *named;

	make_torn();
	found_init(&f, true);
	ck_assert_uint_eq(f.r.discarded, 1);
	calls_begin(&calls);
	MAKELOG_OK(repair());
	calls_end(&calls);
	calls_in_order(&calls, order);
	/* INV-8: so are the names. */
	removed = calls_find(calls.text, "unlink");
	named = calls_find(calls.text, "sync_dir");
	ck_assert_ptr_nonnull(named);
	ck_assert(named < removed);
	ck_assert_uint_eq(calls_count(&calls, "rename"), 1);
	calls_fini(&calls);
	ck_assert_uint_eq(f.set->count, 3);
	finish();
}
END_TEST

/* A warm log that ends where the page says needs nothing. */
START_TEST(a_warm_log_is_left_alone)
{
	struct control_state state = {.generation = 1};
	struct control control;
	struct calls calls;
	uint64_t hash;

	begin();
	puts_to(2);
	state.active_salt = m.seg->header.salt;
	state.position = control_pos(1, m.off);
	makelog_end(&m);
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	MAKELOG_OK(control_format(&control, &state, NULL));
	control_close(&control);
	found_init(&f, true);
	ck_assert(!f.r.unclean);
	hash = simos_image_hash();
	calls_begin(&calls);
	MAKELOG_OK(repair());
	calls_end(&calls);
	ck_assert_str_eq(calls.text, "");
	calls_fini(&calls);
	ck_assert_uint_eq(simos_image_hash(), hash);
	ck_assert_uint_eq(f.set->count, 1);
	finish();
}
END_TEST

START_TEST(the_new_segment_is_durable_with_its_name)
{
	const struct segment *seg;
	uint64_t salt, end;

	make_torn();
	find_and_repair();
	seg = found_last(&f);
	salt = seg->header.salt;
	end = segment_end(f.set->segments[1]);
	ck_assert_uint_eq(segment_number(seg), 3);
	ck_assert(seg->map.writable);
	ck_assert_uint_eq(end, offs[4]);
	found_fini(&f);
	makelog_fini(&m);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	simos_forget();
	makelog_init(&m);
	found_init(&f, false);
	MAKELOG_OK(f.st);
	ck_assert_uint_eq(f.set->count, 3);
	seg = found_last(&f);
	ck_assert_uint_eq(seg->header.salt, salt);
	ck_assert(seg->link_ok);
	ck_assert(seg->link.durable);
	ck_assert_uint_eq(seg->link.prev_end, end);
	ck_assert_uint_eq(seg->link.prev_last_seq, 3);
	ck_assert_uint_eq(seg->link.prev_salt, f.set->segments[1]->header.salt);
	ck_assert_uint_eq(f.r.last_seq, 3);
	ck_assert_uint_eq(f.r.damaged_ranges, 0);
	finish();
}
END_TEST

/* INV-4: no number is given out twice, also not one that was discarded. */
START_TEST(a_new_range_is_above_all_numbers_seen)
{
	begin();
	puts_to(2);
	makelog_begin_range(&m, 2, 3 * RECORD_RANGE);
	puts_to(3 * RECORD_RANGE + 1);
	makelog_begin(&m, 3);
	puts_to(3 * RECORD_RANGE + 2);
	makelog_end(&m);
	makelog_flip(TWO, SEGMENT_DATA_OFF);
	find_and_repair();
	ck_assert_uint_eq(f.r.discarded, 1);
	ck_assert_uint_eq(f.r.last_seq, 2);
	ck_assert_uint_eq(found_last(&f)->link.first_seq, 4 * RECORD_RANGE);
	ck_assert_uint_eq(f.r.first_seq, 4 * RECORD_RANGE);
	finish();
}
END_TEST

START_TEST(numbers_that_damage_took_do_not_come_again)
{
	begin();
	puts_to(2);
	m.durable = 2;
	(void)makelog_mark(&m, false);
	makelog_end(&m);
	makelog_flip(ONE, offs[2]);
	find_and_repair();
	ck_assert_uint_eq(f.r.last_seq, 1);
	/* The link goes on saying that there was a second commit. */
	ck_assert_uint_eq(found_last(&f)->link.prev_last_seq, 2);
	ck_assert_uint_eq(f.r.first_seq, RECORD_RANGE);
	found_fini(&f);
	found_init(&f, false);
	MAKELOG_OK(f.st);
	ck_assert(f.r.flags & KVLOG_RECOVERY_DAMAGE);
	ck_assert_uint_eq(f.r.last_seq, 2);
	finish();
}
END_TEST

/* The first of two parts, and no second one. */
static void
make_lone_part(uint32_t round, uint8_t uuid)
{
	struct segment_header header = {.kind = SEGMENT_OUTPUT,
	    .id = {1, 2, round, 1, 2},
	    .size = MAKELOG_SIZE,
	    .end = SEGMENT_DATA_OFF};
	struct makelog part;
	char name[DIR_NAME_LEN];

	makelog_init(&part);
	part.store.uuid[0] ^= uuid;
	header.store = part.store;
	dir_make_name(name, &header.id, "seg");
	makelog_begin_as(&part, &header, name);
	makelog_fini(&part);
}

START_TEST(what_is_of_another_store_stays)
{
	begin();
	puts_to(2);
	makelog_end(&m);
	make_lone_part(1, 0);
	make_lone_part(2, 1);
	find_and_repair();
	ck_assert(!makelog_exists("00000001-00000002.r1.1of2.seg"));
	ck_assert(makelog_exists("00000001-00000002.r2.1of2.seg"));
	finish();
}
END_TEST

START_TEST(leftovers_go_and_the_rest_stays)
{
	begin();
	puts_to(2);
	makelog_end(&m);
	make_file("spare");
	make_file("next.tmp");
	make_file("segment.tmp");
	make_file("00000001.hint.tmp");
	make_file("reserve");
	make_file("notes.txt");
	make_file("00000001.hint");
	find_and_repair();
	ck_assert(!makelog_exists("spare"));
	ck_assert(!makelog_exists("next.tmp"));
	ck_assert(!makelog_exists("segment.tmp"));
	ck_assert(!makelog_exists("00000001.hint.tmp"));
	ck_assert(makelog_exists("reserve"));
	ck_assert(makelog_exists("notes.txt"));
	ck_assert(!makelog_exists("00000001.hint")); /* it is none */
	ck_assert(makelog_exists(ONE));
	ck_assert(makelog_exists(TWO));
	finish();
}
END_TEST

/* As another process, that can be stopped. */
static void
repair_script(void *arg)
{
	struct found g;

	(void)arg;
	found_init(&g, true);
	MAKELOG_OK(g.st);
	MAKELOG_OK(
	    repair_log(&g.dir, &g.control, &g.hints, &g.r, MAKELOG_SIZE, NULL));
	found_fini(&g);
}

/* Whatever is left, the next opening finds the same log: INV-11. */
static void
check_torn(const char *when, uint64_t step)
{
	found_init(&f, true);
	ck_assert_msg(
	    f.st == KVLOG_OK && f.r.last_seq == 3 && f.r.damaged_ranges == 0,
	    "step %" PRIu64 ", %s: last %" PRIu64 " %s", step, when,
	    f.r.last_seq, f.err.text);
	MAKELOG_OK(repair());
	ck_assert_uint_ge(f.r.first_seq, RECORD_RANGE);
	ck_assert(!makelog_exists("segment.tmp"));
	found_fini(&f);
	found_init(&f, false);
	MAKELOG_OK(f.st);
	ck_assert_uint_eq(f.r.last_seq, 3);
	found_fini(&f);
}

START_TEST(repair_may_stop_anywhere)
{
	struct simos_state *base, *crash;
	bool stopped = true;

	make_torn();
	makelog_fini(&m);
	base = simos_save();
	for (uint64_t step = 1; stopped; step++) {
		simos_restore(base);
		simos_stop_at(step, 0);
		stopped = simos_run(repair_script, NULL);
		crash = simos_save();
		check_torn("same boot", step);
		for (unsigned i = 0; i < 6; i++) {
			static const enum simos_loss losses[] = {
			    SIMOS_LOSS_NONE, SIMOS_LOSS_ALL,
			    SIMOS_LOSS_ONLY_NAMES, SIMOS_LOSS_ONLY_DATA,
			    SIMOS_LOSS_RANDOM, SIMOS_LOSS_TORN};

			simos_restore(crash);
			simos_power_loss(losses[i], step);
			check_torn("power loss", step);
		}
		simos_state_free(crash);
	}
	simos_state_free(base);
}
END_TEST

/* A failed sync. */

/* Two commits each in three segments, and a page that says that a sync has
 * failed when all up to durable was. */
static void
make_poisoned(uint64_t durable)
{
	struct control_state state = {.generation = 1, .poison = 1};
	struct control control;

	begin();
	puts_to(2);
	m.durable = 2;
	makelog_begin(&m, 2);
	puts_to(4);
	m.durable = state.durable = durable;
	makelog_begin(&m, 3);
	puts_to(6);
	state.active_salt = m.seg->header.salt;
	state.position = control_pos(3, m.off);
	makelog_end(&m);
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	MAKELOG_OK(control_format(&control, &state, NULL));
	control_close(&control);
}

START_TEST(what_was_not_durable_is_copied_into_one_output)
{
	const char *const order[] = {
	    "create rewrite.tmp",
	    "store rewrite.tmp",
	    "sync rewrite.tmp",
	    "rename rewrite.tmp to " OUTPUT,
	    "sync_dir", /* INV-8 */
	    "unlink " THREE,
	    "unlink " TWO,
	    "sync_dir",
	    "create segment.tmp",
	    "rename segment.tmp to " FOUR,
	    "sync_dir",
	    NULL,
	};
	const struct segment *out;
	struct segment_link link;
	uint64_t off = SEGMENT_DATA_OFF, salt3, end3;
	struct calls calls;
	struct record rec;
	bool bad;

	make_poisoned(2);
	found_init(&f, true);
	ck_assert(f.r.poisoned);
	link = f.set->segments[1]->link;
	salt3 = f.set->segments[2]->header.salt;
	end3 = segment_end(f.set->segments[2]);
	calls_begin(&calls);
	MAKELOG_OK(repair());
	calls_end(&calls);
	calls_in_order(&calls, order);
	/* Files whose sync has failed are never synced again. */
	ck_assert_uint_eq(calls_count(&calls, "sync " TWO), 0);
	ck_assert_uint_eq(calls_count(&calls, "sync " THREE), 0);
	calls_fini(&calls);

	ck_assert_uint_eq(f.set->count, 3);
	out = f.set->segments[1];
	ck_assert_str_eq(out->name, OUTPUT);
	ck_assert_int_eq(out->header.kind, SEGMENT_VERBATIM);
	ck_assert_uint_eq(out->header.last_salt, salt3);
	ck_assert_uint_eq(out->header.last_end, end3);
	ck_assert_uint_eq(out->header.last_seq, 6);
	ck_assert_uint_ne(out->header.set_id, 0);
	ck_assert_uint_eq(out->header.end, SEGMENT_DATA_OFF + 4 * LEN);
	ck_assert_mem_eq(&out->link, &link, sizeof link);
	ck_assert_uint_eq(found_last(&f)->link.prev_salt, salt3);
	ck_assert_uint_eq(found_last(&f)->link.prev_end, end3);
	for (uint64_t seq = 3; seq <= 6; seq++, off += rec.size) {
		ck_assert(
		    segment_walk(out, &off, segment_end(out), &rec, &bad));
		ck_assert_uint_eq(rec.seq, seq);
		ck_assert(record_value_ok(&rec, segment_seed(out, off)));
		ck_assert_mem_eq(rec.value, makelog_value(seq), VALUE);
	}
	ck_assert_uint_eq(off, out->header.end);
	ck_assert(!makelog_exists(TWO));
	ck_assert(!makelog_exists(THREE));
	finish();
}
END_TEST

/* A value that failed its sum must go on failing it. */
START_TEST(damage_stays_damage_when_it_is_copied)
{
	const struct segment *out;
	uint64_t off = SEGMENT_DATA_OFF;
	struct record rec;
	bool bad;

	make_poisoned(3);
	makelog_flip(TWO, offs[3] + HEAD);
	found_init(&f, true);
	MAKELOG_OK(f.st);
	ck_assert_uint_eq(f.r.last_seq, 6);
	MAKELOG_OK(repair());
	out = f.set->segments[1];
	ck_assert(segment_walk(out, &off, segment_end(out), &rec, &bad));
	ck_assert_uint_eq(rec.seq, 3);
	ck_assert(!record_value_ok(&rec, segment_seed(out, off)));
	finish();
}
END_TEST

static void
open_to(const char *name, uint32_t number, uint64_t end, struct segment **ret)
{
	const struct file_id id = {number, number, 0, 1, 1};

	MAKELOG_OK(segment_open(&m.dir, name, &id, ret, NULL));
	atomic_store(&(*ret)->end, end);
}

/* A hint that covers damage, and serves no more when a part of what it covers
 * has been copied. */
START_TEST(damage_below_a_hint_does_not_stop_the_copy)
{
	struct segment *one, *two;
	struct hint *hint;

	make_poisoned(3);
	open_to(ONE, 1, offs[2] + LEN, &one);
	open_to(TWO, 2, offs[4] + LEN, &two);
	const struct hint_source sources[] = {
	    {.seg = one, .from = SEGMENT_DATA_OFF, .to = offs[2] + LEN},
	    {.seg = two, .from = SEGMENT_DATA_OFF, .to = offs[4]},
	};
	MAKELOG_OK(hint_build(sources, 2, UINT64_MAX, &hint, NULL));
	MAKELOG_OK(hint_write(hint, &m.dir, NULL));
	hint_unref(hint);
	segment_close(one);
	segment_close(two);
	makelog_flip(ONE, offs[1]);
	makelog_flip(TWO, offs[3]);

	found_init(&f, true);
	MAKELOG_OK(f.st);
	ck_assert_msg(repair() == KVLOG_OK, "%s", f.err.text);
	ck_assert_uint_eq(f.set->segments[0]->bad_count, 1);
	ck_assert_str_eq(f.set->segments[1]->name, OUTPUT);
	ck_assert_uint_eq(
	    f.set->segments[1]->header.end, SEGMENT_DATA_OFF + 3 * LEN);
	finish();
}
END_TEST

START_TEST(leftovers_go_after_a_failed_sync_too)
{
	make_poisoned(2);
	make_file("spare");
	make_file("segment.tmp");
	make_file("rewrite.tmp");
	find_and_repair();
	ck_assert_uint_eq(f.set->count, 3);
	ck_assert(!makelog_exists("spare"));
	ck_assert(!makelog_exists("segment.tmp"));
	ck_assert(!makelog_exists("rewrite.tmp"));
	finish();
}
END_TEST

/* The last attempt was stopped behind its rewrite.  Nobody knows whether its
 * name is durable, so it gets another. */
START_TEST(a_rewrite_is_done_again_under_another_name)
{
	struct calls calls;

	make_poisoned(2);
	found_init(&f, true);
	MAKELOG_OK(f.st);
	simos_fail(SIMOS_CREATE, 2, EIO, false); /* segment.tmp */
	ck_assert_int_eq(repair(), KVLOG_IO);
	simos_fail_clear();
	ck_assert(makelog_exists(OUTPUT));
	found_fini(&f);
	calls_begin(&calls);
	find_and_repair();
	calls_end(&calls);
	ck_assert(f.r.poisoned);
	ck_assert_uint_eq(calls_count(&calls, "create rewrite.tmp"), 1);
	ck_assert_uint_eq(calls_count(&calls, "create segment.tmp"), 1);
	calls_fini(&calls);
	ck_assert_uint_eq(f.set->count, 3);
	ck_assert(!makelog_exists(OUTPUT));
	ck_assert_str_eq(f.set->segments[1]->name, OUTPUT_AGAIN);
	finish();
}
END_TEST

/* A store as a program would have it. */

#define PUTS 22u /* over four segments */

static void
key_of(char key[8], unsigned i)
{
	snprintf(key, 8, "key%03u", i);
}

static struct kvlog *
open_store(unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size = MAKELOG_SIZE;
	o.durability = KVLOG_DURABILITY_NONE;
	o.timeout_ms = 0;
	ck_assert_msg(kvlog_open(MAKELOG_STORE, &o, &db, &err) == KVLOG_OK,
	    "%s", err.text);
	return db;
}

static enum kvlog_status
put_i(struct kvlog *db, unsigned i)
{
	char key[8];

	key_of(key, i);
	return kvlog_put(db, key, 6, makelog_value(i), 600, NULL, NULL);
}

/* How many of the keys are there, from the first one on without a gap. */
static unsigned
count_prefix(struct kvlog *db)
{
	uint64_t count;
	unsigned n = 0;
	char key[8];

	for (; n < PUTS; n++) {
		uint8_t value[700];
		size_t len;

		key_of(key, n);
		if (kvlog_get(db, key, 6, value, sizeof value, &len) !=
		    KVLOG_OK)
			break;
		ck_assert_uint_eq(len, 600);
		ck_assert_mem_eq(value, makelog_value(n), len);
	}
	MAKELOG_OK(kvlog_count(db, &count));
	ck_assert_uint_eq(count, n);
	return n;
}

static bool
damage_found(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	MAKELOG_OK(kvlog_stats_get(db, &stats));
	return (stats.recovery & KVLOG_RECOVERY_DAMAGE) != 0;
}

/* A store of four segments, a third of which is durable, and then a sync of
 * which fails. */
static void
make_broken(void)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);

	for (unsigned i = 0; i < PUTS; i++) {
		MAKELOG_OK(put_i(db, i));
		if (i == PUTS / 3)
			MAKELOG_OK(kvlog_sync(db));
	}
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_BROKEN);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_BROKEN);
}

static void
open_script(void *arg)
{
	struct kvlog *db = open_store(0);

	(void)arg;
	MAKELOG_OK(kvlog_close(db, NULL));
}

/*
 * Stopped anywhere, and whatever is lost then: in the same boot all records
 * are there, and stay there after the next power loss; after a power loss no
 * less than what was durable.
 */
START_TEST(a_rewrite_may_stop_anywhere)
{
	struct simos_state *base, *crash;
	bool stopped = true;
	struct kvlog *db;

	make_broken();
	base = simos_save();
	for (uint64_t step = 1; stopped; step++) {
		simos_restore(base);
		simos_stop_at(step, step % 3 == 0 ? 1 : 0);
		stopped = simos_run(open_script, NULL);
		crash = simos_save();

		db = open_store(0);
		ck_assert_uint_eq(count_prefix(db), PUTS);
		ck_assert(!damage_found(db));
		simos_power_loss(SIMOS_LOSS_NONE, step);
		simos_forget();
		db = open_store(0);
		ck_assert_msg(count_prefix(db) == PUTS, "step %" PRIu64, step);
		ck_assert(!damage_found(db));
		MAKELOG_OK(kvlog_close(db, NULL));

		for (unsigned i = 0; i < 3; i++) {
			static const enum simos_loss losses[] = {
			    SIMOS_LOSS_NONE, SIMOS_LOSS_RANDOM,
			    SIMOS_LOSS_TORN};

			simos_restore(crash);
			simos_power_loss(losses[i], step);
			db = open_store(0);
			ck_assert_msg(
			    count_prefix(db) > PUTS / 3 && !damage_found(db),
			    "step %" PRIu64 ", loss %u: %u keys", step, i,
			    count_prefix(db));
			MAKELOG_OK(kvlog_close(db, NULL));
		}
		simos_state_free(crash);
	}
	simos_state_free(base);
}
END_TEST

/* Without the rewrite the sectors that the failed sync forgot would be lost:
 * the simulated machine does that. */
START_TEST(a_failed_sync_really_loses_something)
{
	struct kvlog *db;
	unsigned lost = 0;

	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct simos_state *base = simos_save();

		make_broken();
		simos_power_loss(SIMOS_LOSS_ALL, seed);
		simos_forget();
		db = open_store(0);
		lost += count_prefix(db) < PUTS;
		MAKELOG_OK(kvlog_close(db, NULL));
		simos_restore(base);
		simos_state_free(base);
	}
	ck_assert_uint_gt(lost, 0);
}
END_TEST

/* New segments. */

START_TEST(segments_grow_with_the_store)
{
	struct segset *set = segset_create();
	struct segment seg = {.file_len = UINT64_C(100) << 20};
	struct segment *one[] = {&seg};
	struct segset fake = {.segments = one, .count = 1};

	ck_assert_uint_eq(
	    repair_segment_size(set, UINT64_C(1) << 30, false), 1 << 20);
	ck_assert_uint_eq(repair_segment_size(set, 8192, true), 8192);
	ck_assert_uint_eq(repair_segment_size(set, 10000, false), 12288);
	/* By what is in it: or each opening after a crash would make them
	 * grow by a part. */
	atomic_init(&seg.end, UINT64_C(5) << 20);
	ck_assert_uint_eq(
	    repair_segment_size(&fake, UINT64_C(1) << 30, false), 1 << 20);
	atomic_init(&seg.end, UINT64_C(100) << 20);
	ck_assert_uint_eq(repair_segment_size(&fake, UINT64_C(1) << 30, false),
	    (UINT64_C(100) << 20) / 16);
	ck_assert_uint_eq(
	    repair_segment_size(&fake, UINT64_C(4) << 20, false), 4 << 20);
	ck_assert_uint_eq(repair_segment_size(&fake, UINT64_C(1) << 30, true),
	    (UINT64_C(100) << 20) / 40);
	segset_destroy(set);
}
END_TEST

static struct segment_plan
plan_of(uint64_t need, bool may_use_reserve)
{
	return (struct segment_plan){
	    .name = "spare",
	    .store = &m.store,
	    .number = 7,
	    .max_size = 100000,
	    .size = MAKELOG_SIZE,
	    .need = need,
	    .may_use_reserve = may_use_reserve,
	};
}

START_TEST(a_segment_has_room_for_what_is_needed)
{
	struct segment_plan plan;
	struct segment *seg;
	bool reserve = true;

	makelog_init(&m);
	plan = plan_of(20000, false);
	MAKELOG_OK(repair_new_segment(&m.dir, &plan, &seg, &reserve, NULL));
	ck_assert(!reserve);
	ck_assert_uint_ge(seg->header.size, SEGMENT_DATA_OFF + 20000);
	ck_assert_uint_eq(seg->header.size % BLOCK_SIZE, 0);
	ck_assert_uint_eq(seg->header.max_size, 100000);
	ck_assert_uint_eq(segment_number(seg), 7);
	segment_close(seg);
	makelog_fini(&m);
}
END_TEST

START_TEST(numbers_of_segments_run_out)
{
	struct segment_plan plan;
	struct segment *seg;
	struct kvlog_error err;

	makelog_init(&m);
	plan = plan_of(0, false);
	plan.number = DIR_SEGMENT_MAX + 1;
	ck_assert_int_eq(
	    repair_new_segment(&m.dir, &plan, &seg, NULL, &err), KVLOG_TOOBIG);
	ck_assert_ptr_nonnull(strstr(err.text, "numbers"));
	ck_assert(!makelog_exists("spare"));
	makelog_fini(&m);
}
END_TEST

static uint64_t
size_of(const char *name)
{
	struct os_stat st;

	ck_assert_int_eq(os->stat_name(m.dir.fd, name, &st), 0);
	ck_assert_uint_ge(st.allocated, st.size);
	return st.size;
}

START_TEST(a_full_disk_takes_the_reserve_if_it_may)
{
	struct segment_plan plan;
	struct os_stat before, after;
	struct segment *seg;
	bool reserve = true;

	makelog_init(&m);
	ck_assert_int_eq(repair_make_reserve(&m.dir, MAKELOG_SIZE), 0);
	simos_set_capacity(simos_used());
	plan = plan_of(0, false);
	ck_assert_int_eq(
	    repair_new_segment(&m.dir, &plan, &seg, &reserve, NULL),
	    KVLOG_NOSPACE);
	ck_assert(!makelog_exists("spare"));
	ck_assert(makelog_exists("reserve"));
	/* It is too small for that. */
	plan = plan_of(MAKELOG_SIZE, true);
	ck_assert_int_eq(
	    repair_new_segment(&m.dir, &plan, &seg, &reserve, NULL),
	    KVLOG_NOSPACE);
	ck_assert(!reserve);
	ck_assert(makelog_exists("reserve"));
	ck_assert(!makelog_exists("spare"));

	/* The very file: what is freed first, others may take. */
	ck_assert_int_eq(os->stat_name(m.dir.fd, "reserve", &before), 0);
	plan = plan_of(100, true);
	plan.size = 4 * MAKELOG_SIZE;
	MAKELOG_OK(repair_new_segment(&m.dir, &plan, &seg, &reserve, NULL));
	ck_assert(reserve);
	ck_assert_int_eq(os->stat_name(m.dir.fd, "spare", &after), 0);
	ck_assert_uint_eq(after.ino, before.ino);
	ck_assert(!makelog_exists("reserve"));
	ck_assert_uint_eq(size_of("spare"), MAKELOG_SIZE);
	ck_assert_uint_eq(seg->header.size, MAKELOG_SIZE);
	segment_close(seg);
	/* Half of one is none. */
	simos_set_capacity(simos_used() + MAKELOG_SIZE / 2);
	ck_assert_int_eq(repair_make_reserve(&m.dir, MAKELOG_SIZE), ENOSPC);
	ck_assert(!makelog_exists("reserve"));
	simos_set_capacity(UINT64_MAX);
	ck_assert_int_eq(repair_make_reserve(&m.dir, MAKELOG_SIZE), 0);
	ck_assert_uint_eq(size_of("reserve"), MAKELOG_SIZE);
	makelog_fini(&m);
}
END_TEST

/* _i: no file, one without space (a copy may be sparse), a short one. */
START_TEST(the_reserve_is_made_whole)
{
	uint64_t used;
	int fd;

	makelog_init(&m);
	if (_i > 0) {
		ck_assert_int_eq(
		    os->open(m.dir.fd, "reserve", OS_OPEN_CREATE, 0644, &fd),
		    0);
		ck_assert_int_eq(os->allocate(fd, _i == 1 ? 8192 : 4096), 0);
		if (_i == 1)
			ck_assert_int_eq(os->punch(fd, 0), 0);
		ck_assert_int_eq(os->close(fd), 0);
	}
	ck_assert_int_eq(repair_make_reserve(&m.dir, MAKELOG_SIZE), 0);
	ck_assert_uint_eq(size_of("reserve"), MAKELOG_SIZE);
	used = simos_used();
	ck_assert_int_eq(repair_make_reserve(&m.dir, MAKELOG_SIZE), 0);
	ck_assert_uint_eq(simos_used(), used);
	makelog_fini(&m);
}
END_TEST

/* Also when there is no space for the segment that a crash calls for. */
START_TEST(a_full_disk_can_be_opened_after_a_crash)
{
	struct kvlog *db = open_store(KVLOG_OPEN_CREATE);
	struct kvlog_error err;
	struct kvlog_write how = KVLOG_WRITE_INIT;
	char key[8];

	for (unsigned i = 0; i < 8; i++)
		MAKELOG_OK(put_i(db, i));
	MAKELOG_OK(kvlog_sync(db));
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	simos_forget();
	simos_set_capacity(simos_used());
	db = open_store(0);
	makelog_init(&m);
	ck_assert(!makelog_exists("reserve"));
	ck_assert_uint_eq(count_prefix(db), 8);
	how.err = &err;
	ck_assert_int_eq(
	    kvlog_put(db, "x", 1, "", 0, &how, NULL), KVLOG_NOSPACE);
	ck_assert_ptr_nonnull(strstr(err.text, "only deletes"));
	key_of(key, 7);
	MAKELOG_OK(kvlog_delete(db, key, 6, NULL, NULL));
	ck_assert_uint_eq(count_prefix(db), 7);
	simos_set_capacity(UINT64_MAX);
	MAKELOG_OK(put_i(db, 7));
	ck_assert(makelog_exists("reserve"));
	MAKELOG_OK(kvlog_close(db, NULL));
	makelog_fini(&m);
}
END_TEST

/* _i: the call that fails.  Nothing leaks, and the next try succeeds. */
START_TEST(repair_may_fail_anywhere)
{
	static const enum simos_kind kinds[] = {SIMOS_SYNC, SIMOS_SYNC_DIR,
	    SIMOS_UNLINK, SIMOS_CREATE, SIMOS_ALLOCATE, SIMOS_PWRITE, SIMOS_MAP,
	    SIMOS_RENAME, SIMOS_RANDOM};

	for (unsigned poisoned = 0; poisoned < 2; poisoned++) {
		struct simos_state *base;
		bool struck = true;

		if (poisoned != 0)
			make_poisoned(2);
		else
			make_torn();
		makelog_fini(&m);
		base = simos_save();
		for (uint64_t nth = 1; struck; nth++) {
			uint64_t before;

			simos_restore(base);
			found_init(&f, true);
			MAKELOG_OK(f.st);
			before = simos_count(kinds[_i]);
			simos_fail(kinds[_i], nth, EIO, false);
			f.st = repair();
			struck = simos_count(kinds[_i]) - before >= nth;
			simos_fail_clear();
			if (!struck)
				MAKELOG_OK(f.st);
			else if (f.st != KVLOG_OK)
				ck_assert_int_eq(f.st, KVLOG_IO);
			found_fini(&f);
			ck_assert_uint_eq(simos_leaks(stderr), 0);
			found_init(&f, true);
			ck_assert_msg(f.st == KVLOG_OK, "%s", f.err.text);
			ck_assert_uint_eq(f.r.last_seq, poisoned ? 6 : 3);
			ck_assert_msg(repair() == KVLOG_OK, "%s", f.err.text);
			found_fini(&f);
		}
		simos_restore(base);
		simos_state_free(base);
		makelog_init(&m);
		ck_assert_int_eq(os->unlink(m.dir.fd, ONE), 0);
		ck_assert_int_eq(os->unlink(m.dir.fd, TWO), 0);
		ck_assert_int_eq(os->unlink(m.dir.fd, THREE), 0);
		makelog_fini(&m);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("repair");
	TCase *tc = makelog_case(suite, "order");

	tcase_add_test(tc, what_is_kept_is_synced_before_anything_is_removed);
	tcase_add_test(tc, a_warm_log_is_left_alone);
	tcase_add_test(tc, the_new_segment_is_durable_with_its_name);
	tcase_add_test(tc, a_new_range_is_above_all_numbers_seen);
	tcase_add_test(tc, numbers_that_damage_took_do_not_come_again);
	tcase_add_test(tc, leftovers_go_and_the_rest_stays);
	tcase_add_test(tc, what_is_of_another_store_stays);
	tcase_add_test(tc, repair_may_stop_anywhere);
	tcase_add_loop_test(tc, repair_may_fail_anywhere, 0, 9);

	tc = makelog_case(suite, "failed_sync");
	tcase_add_test(tc, what_was_not_durable_is_copied_into_one_output);
	tcase_add_test(tc, damage_stays_damage_when_it_is_copied);
	tcase_add_test(tc, damage_below_a_hint_does_not_stop_the_copy);
	tcase_add_test(tc, leftovers_go_after_a_failed_sync_too);
	tcase_add_test(tc, a_rewrite_is_done_again_under_another_name);
	tcase_add_test(tc, a_rewrite_may_stop_anywhere);
	tcase_add_test(tc, a_failed_sync_really_loses_something);

	tc = makelog_case(suite, "segments");
	tcase_add_test(tc, segments_grow_with_the_store);
	tcase_add_test(tc, a_segment_has_room_for_what_is_needed);
	tcase_add_test(tc, numbers_of_segments_run_out);
	tcase_add_test(tc, a_full_disk_takes_the_reserve_if_it_may);
	tcase_add_loop_test(tc, the_reserve_is_made_whole, 0, 3);
	tcase_add_test(tc, a_full_disk_can_be_opened_after_a_crash);
	return test_main(suite);
}
