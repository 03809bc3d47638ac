/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Full disks, on the simulated machine: the reserve is enough for deletes, for
 * a crash, and for the compaction that helps, one after the other.
 */
#include <kvlog.h>

#include "model.h"
#include "rng.h"
#include "simos.h"
#include "test.h"

#include <inttypes.h>
#include <stdio.h>

#define STORE "/db"
#define SEGMENT 65536u

static uint64_t seed;
static struct kvlog_error err;
static size_t value_len;

static struct kvlog *
open_sized(uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = segment_size;
	if (kvlog_open(STORE, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg("open: %s", err.text);
	return db;
}

static struct kvlog *
open_store(void)
{
	return open_sized(SEGMENT);
}

static enum kvlog_status
write_key(struct kvlog *db, unsigned i, bool remove)
{
	static const uint8_t value[3000];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	char key[20];
	size_t len = (size_t)snprintf(key, sizeof key, "key%u", i);

	how.err = &err;
	return remove ? kvlog_delete(db, key, len, &how, NULL)
		      : kvlog_put(db, key, len, value, value_len, &how, NULL);
}

static void
check_count(struct kvlog *db, unsigned wanted)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why))
		ck_abort_msg("%s", why);
	ck_assert_uint_eq(found.count, wanted);
	model_fini(&found);
}

static bool
exists(const char *name)
{
	struct os_stat st;
	int dir;
	bool there;

	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	there = os->stat_name(dir, name, &st) == 0;
	os->close(dir);
	return there;
}

/* A store that fills all of a disk; returns the number of its keys. */
static unsigned
fill(struct kvlog *db)
{
	unsigned n = 0;

	while (write_key(db, n, false) == KVLOG_OK)
		n++;
	ck_assert_int_eq(err.status, KVLOG_NOSPACE);
	simos_set_capacity(simos_used());
	return n;
}

/* From the end on, until it is refused; marks fill up what is left. */
static unsigned
use_up_deletes(struct kvlog *db, unsigned n)
{
	while (n > 0 && write_key(db, n - 1, true) == KVLOG_OK)
		n--;
	/* Absent keys cost nothing, so a key goes to and fro in batches. */
	for (unsigned i = 0; i < 100000; i++) {
		struct kvlog_op ops[50];

		for (size_t k = 0; k < 50; k++)
			ops[k] = (struct kvlog_op){.type = KVLOG_OP_DELETE,
			    .key = "absent",
			    .key_len = 6};
		if (kvlog_apply(db, ops, 50, NULL, NULL, NULL) != KVLOG_OK)
			return n;
	}
	ck_abort_msg("deletes are never refused");
	return n;
}

/* 0: closed, 1: killed, 2: the machine crashed. */
START_TEST(deletes_leave_room_for_opening_and_compaction)
{
	struct kvlog_compact_report r = {.size = sizeof r};
	struct kvlog *db;
	uint64_t full;
	unsigned n;

	simos_set_capacity(700 * 1024);
	db = open_store();
	n = fill(db);
	full = simos_used();
	n = use_up_deletes(db, n);
	ck_assert(!exists("reserve"));
	if (_i == 0) {
		(void)kvlog_close(db, NULL);
	} else if (_i == 1) {
		simos_kill();
		simos_forget();
	} else {
		simos_power_loss(SIMOS_LOSS_RANDOM, seed);
		simos_forget();
	}

	db = open_store();
	check_count(db, n);
	ck_assert_int_eq(write_key(db, 0, false), KVLOG_NOSPACE);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert(exists("reserve.compact"));

	if (kvlog_compact_offline(STORE, NULL, &r, &err) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
	ck_assert_uint_lt(simos_used(), full);

	/* What came back is enough for a reserve, and for puts. */
	db = open_store();
	check_count(db, n);
	ck_assert_int_eq(write_key(db, n, false), KVLOG_OK);
	ck_assert(exists("reserve"));
	ck_assert(exists("reserve.open"));
	ck_assert(exists("reserve.compact"));
	check_count(db, n + 1);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
}
END_TEST

/* A compaction that gains nothing wrote a hint for each of its outputs into the
 * space that the reserve had to get back; later ones found no room for ever. */
START_TEST(a_compaction_that_gains_nothing_does_not_prevent_others)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report r = {.size = sizeof r};
	struct kvlog *db;
	unsigned n;

	simos_set_capacity(3 << 20);
	db = open_store();
	n = fill(db);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	how.flags = KVLOG_COMPACT_ALL;
	if (kvlog_compact_offline(STORE, &how, &r, &err) != KVLOG_OK)
		ck_assert_int_eq(err.status, KVLOG_NOSPACE);
	db = open_store();
	for (unsigned i = 0; i < n; i += 2)
		ck_assert_int_eq(write_key(db, i, true), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	if (kvlog_compact_offline(STORE, NULL, &r, &err) != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
	db = open_store();
	check_count(db, n / 2);
	ck_assert_int_eq(write_key(db, 0, false), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}
END_TEST

/*
 * Segments that are small beside the greatest size were all one run, which was
 * refused where each alone would fit: 16 of 1 MiB and ever larger ones, of
 * which half goes, and more of the last, which do not fit until others have
 * made room.  By kvlog-compact, kvlog_compact(), or the maintenance, each with
 * nothing but the reserve and with 1 MiB beside it.
 */
START_TEST(runs_are_as_small_as_a_full_disk_wants)
{
	const uint64_t room = (uint64_t)(_i % 2) << 20;
	struct kvlog_compact_report r = {.size = sizeof r};
	enum kvlog_status st = KVLOG_OK;
	struct kvlog *db;
	bool more = true;
	uint64_t full;
	unsigned n, left;

	value_len = 3000;
	simos_set_capacity(UINT64_C(64) << 20);
	db = open_sized(0);
	n = left = fill(db);
	ck_assert_uint_gt(n, 15000);
	full = simos_used();
	for (unsigned i = 0; i < n; i++) {
		if (i % 2 != 0 && (i < n / 8 * 7 || i % 5 != 0))
			continue;
		ck_assert_int_eq(write_key(db, i, true), KVLOG_OK);
		left--;
	}
	if (_i / 2 == 0)
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	simos_set_capacity(simos_used() + room);
	if (_i / 2 == 0)
		st = kvlog_compact_offline(STORE, NULL, &r, &err);
	else if (_i / 2 == 1)
		st = kvlog_compact(db, NULL, &r, &err);
	while (_i / 2 == 2 && more)
		ck_assert_int_eq(kvlog_maintain(db, 0, &more), KVLOG_OK);
	if (st != KVLOG_OK)
		ck_abort_msg("compact: %s", err.text);
	if (_i / 2 == 0)
		db = open_sized(0);
	ck_assert_uint_lt(r.run_count, 20); /* not of one segment each */
	ck_assert_uint_lt(r.temporary_bytes, full / 4);
	check_count(db, left);
	ck_assert_uint_lt(simos_used(), full / 6 * 5);
	ck_assert_int_eq(write_key(db, 0, false), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
}
END_TEST

/* Whoever made the reserve was killed in the midst, on a disk with blocks
 * smaller than ours: what became of it is no segment. */
START_TEST(a_reserve_of_odd_size_is_made_anew)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	const char *const names[] = {
	    "reserve", "reserve.open", "reserve.compact"};
	struct os_stat st;
	struct kvlog *db = open_store();
	int dir, fd;
	unsigned n;

	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->open(dir, names[_i], OS_OPEN_WRITE, 0, &fd), 0);
	ck_assert_int_eq(os->truncate(fd, 20480 + 1024), 0);
	os->close(fd);
	os->close(dir);

	simos_set_capacity(400 * 1024);
	db = open_store();
	n = fill(db);
	ck_assert_uint_gt(n, 10);
	(void)use_up_deletes(db, n);
	(void)kvlog_close(db, NULL);
	if (kvlog_verify(STORE, NULL, &report, &err) != KVLOG_OK)
		ck_abort_msg("verify: %s", err.text);
	simos_set_capacity(UINT64_MAX);
	db = open_store();
	ck_assert_int_eq(write_key(db, 0, false), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(os->open_dir(STORE, &dir), 0);
	ck_assert_int_eq(os->stat_name(dir, names[_i], &st), 0);
	ck_assert_uint_eq(st.size, SEGMENT);
	os->close(dir);
}
END_TEST

static void
setup(void)
{
	simos_init(seed);
	value_len = 1000;
}

static void
teardown(void)
{
	simos_fini();
}

int
main(void)
{
	Suite *suite = suite_create("full");
	TCase *tc = tcase_create("full");

	seed = rng_seed_from_env();
	printf("KVLOG_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(
	    tc, deletes_leave_room_for_opening_and_compaction, 0, 3);
	tcase_add_test(
	    tc, a_compaction_that_gains_nothing_does_not_prevent_others);
	tcase_add_loop_test(tc, runs_are_as_small_as_a_full_disk_wants, 0, 6);
	tcase_add_loop_test(tc, a_reserve_of_odd_size_is_made_anew, 0, 3);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
