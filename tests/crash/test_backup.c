/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_backup.c - a backup that is stopped or refused at any step, by a kill
 * or a power loss, on the simulated machine.
 *
 * Under the backup's name stands what stood there before, or the new backup,
 * whole: the state after a commit that was made between the call's begin and
 * its end.  The store itself has lost nothing.  The next backup completes, and
 * leaves nothing beside it.
 */
#include "config.h"

#include "oracle.h"
#include "os.h"
#include "rng.h"
#include "simos.h"
#include "test.h"

#include <errno.h>
#include <string.h>

#define STORE "store"
#define COPY "copy"
#define PART "copy.part"
#define ASIDE "copy.part.old"
#define VALUE_LEN 1500

/* Ways to make a backup. */
static const struct way {
	const char *name;
	unsigned flags;
	bool readonly;    /* the handle */
	bool earlier;     /* there is a backup of an earlier state */
	bool no_exchange; /* of names: the system cannot */
} ways[] = {
    {"links", 0, false, false, false},
    {"copies", KVLOG_BACKUP_COPY, false, false, false},
    {"from a reader", 0, true, false, false},
    {"onto another", 0, false, true, false},
    {"copies onto another", KVLOG_BACKUP_COPY, false, true, false},
    {"from a reader onto another", 0, true, true, false},
    {"onto another in two steps", 0, false, true, true},
};
#define WAY_COUNT ((int)(sizeof ways / sizeof ways[0]))

static const struct way *way;
static struct oracle oracle;
static size_t earlier_state; /* of COPY when the run begins */
static size_t begin_state;   /* when the backup began */
static enum kvlog_status result;
static bool returned;

static struct kvlog *
open_store(const char *path, unsigned flags, bool in_hints)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db;
	enum kvlog_status st;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.segment_size = KVLOG_SEGMENT_SIZE_MIN;
	o.timeout_ms = 0;
	o.index_mode = in_hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	st = kvlog_open(path, &o, &db, &err);
	ck_assert_msg(
	    st == KVLOG_OK, "open %s: %d %s", path, (int)st, err.text);
	return db;
}

static void
put(struct kvlog *db, unsigned n, char fill)
{
	struct kvlog_receipt receipt;
	struct model *model = oracle_begin(&oracle);
	uint8_t value[VALUE_LEN];
	char key[16];
	size_t key_len = (size_t)snprintf(key, sizeof key, "key%u", n);

	memset(value, fill, sizeof value);
	model_put(model, key, key_len, value, sizeof value, MODEL_ANY_SEQ);
	ck_assert_int_eq(
	    kvlog_put(db, key, key_len, value, sizeof value, NULL, &receipt),
	    KVLOG_OK);
	ck_assert(oracle_committed(&oracle, receipt.seq));
}

static void delete (struct kvlog *db, unsigned n)
{
	struct kvlog_receipt receipt;
	struct model *model = oracle_begin(&oracle);
	char key[16];
	size_t key_len = (size_t)snprintf(key, sizeof key, "key%u", n);

	(void)model_delete(model, key, key_len);
	ck_assert_int_eq(
	    kvlog_delete(db, key, key_len, NULL, &receipt), KVLOG_OK);
	ck_assert(oracle_committed(&oracle, receipt.seq));
}

static enum kvlog_status
back_up(struct kvlog *db, struct kvlog_error *err)
{
	struct kvlog_backup_options o = KVLOG_BACKUP_OPTIONS_INIT;

	o.flags = way->flags;
	o.timeout_ms = 0;
	if (way->no_exchange)
		simos_fail(SIMOS_EXCHANGE, 1, EOPNOTSUPP, true);
	return kvlog_backup(db, COPY, &o, NULL, err);
}

static void
must_back_up(struct kvlog *db, const char *when)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = back_up(db, &err);

	ck_assert_msg(st == KVLOG_OK, "%s: %d %s", when, (int)st, err.text);
}

static void
must_sync(struct kvlog *db)
{
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	oracle_durable(&oracle, kvlog_last_seq(db));
}

/* A store of some segments; with an earlier backup, and compacted since. */
static void
make_base(void)
{
	struct kvlog_error err = {0};
	struct kvlog *db;

	simos_init(1);
	oracle_init(&oracle);
	db = open_store(STORE, KVLOG_OPEN_CREATE, false);
	for (unsigned i = 0; i < 12; i++)
		put(db, i % 7, 'a');
	earlier_state = SIZE_MAX;
	if (way->earlier) {
		must_back_up(db, "the earlier backup");
		earlier_state = oracle.count - 1;
		for (unsigned i = 0; i < 9; i++)
			put(db, i % 3, 'b');
	}
	must_sync(db);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	if (way->earlier)
		ck_assert_msg(
		    kvlog_compact_offline(STORE, NULL, NULL, &err) == KVLOG_OK,
		    "compact: %s", err.text);
}

static void
script(void *arg)
{
	struct kvlog *db, *writer;
	struct kvlog_error err = {0};

	(void)arg;
	writer = db = open_store(STORE, 0, false);
	put(writer, 20, 'c');
	delete (writer, 1);
	if (way->readonly)
		db = open_store(STORE, KVLOG_OPEN_READONLY, true);
	begin_state = oracle.count - 1;
	returned = false;
	result = back_up(db, &err);
	returned = true;
	if (result == KVLOG_OK && !way->readonly)
		oracle_durable(&oracle, oracle.seqs[begin_state]);
	put(writer, 21, 'd');
	if (db != writer)
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(writer, NULL), KVLOG_OK);
	oracle_durable(&oracle, oracle.seqs[oracle.count - 1]);
}

static bool
exists(const char *path)
{
	int fd;

	if (os->open_dir(path, &fd) != 0)
		return false;
	(void)os->close(fd);
	return true;
}

/* What a directory shows, in both modes. */
static size_t
state_of(const char *path, unsigned flags, size_t min, size_t max)
{
	size_t state = SIZE_MAX;

	for (unsigned hints = 0; hints < 2; hints++) {
		struct kvlog *db = open_store(path, flags, hints != 0);
		struct kvlog_stats stats = {.size = sizeof stats};
		struct model found = {0};
		char why[MODEL_WHY_LEN];

		ck_assert_msg(model_read(&found, db, why), "%s: %s", path, why);
		state = oracle_find(&oracle, &found, min, max, why);
		ck_assert_msg(
		    state != SIZE_MAX, "%s, %s: %s", path, way->name, why);
		model_fini(&found);
		ck_assert_int_eq(kvlog_stats_get(db, &stats), KVLOG_OK);
		ck_assert_msg(
		    (stats.recovery &
			(KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) == 0,
		    "%s: %s", path, stats.recovery_text);
		ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	}
	return state;
}

/* After a crash of the run: see the top. */
static void
check_crash(uint64_t step)
{
	size_t durable = oracle.durable, last = oracle.count - 1, state;
	size_t saved = SIZE_MAX;
	bool done = returned && result == KVLOG_OK;
	struct kvlog_error err = {0};
	struct kvlog *db;
	enum kvlog_status st;

	ck_assert_msg(exists(COPY) || (!way->earlier && !done) ||
			  (way->no_exchange && exists(ASIDE)),
	    "step %" PRIu64 ": the backup is gone", step);
	if (exists(COPY)) {
		size_t min = begin_state;

		if (way->earlier && !done)
			min = earlier_state;
		saved = state_of(COPY, KVLOG_OPEN_READONLY, min, begin_state);
		ck_assert_msg(saved == begin_state || saved == earlier_state,
		    "step %" PRIu64 ": the backup is of state %zu", step,
		    saved);
	}
	state = state_of(STORE, 0, durable, last);
	db = open_store(STORE, way->readonly ? KVLOG_OPEN_READONLY : 0, false);
	st = back_up(db, &err);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	/* A reader has no say in what is durable: what it has saved, the
	 * store may lose. */
	if (way->readonly && saved != SIZE_MAX && saved > state) {
		ck_assert_int_eq(st, KVLOG_CONFLICT);
		return;
	}
	ck_assert_msg(st == KVLOG_OK, "step %" PRIu64 ": the next: %d %s", step,
	    (int)st, err.text);
	ck_assert(state_of(COPY, KVLOG_OPEN_READONLY, state, state) == state);
	ck_assert_msg(!exists(PART), "%s is left", PART);
	ck_assert_msg(!exists(ASIDE), "%s is left", ASIDE);
	ck_assert_uint_eq(simos_leaks(stderr), 0);
}

static const enum simos_loss losses[] = {SIMOS_LOSS_ALL, SIMOS_LOSS_NONE,
    SIMOS_LOSS_PREFIX, SIMOS_LOSS_RANDOM, SIMOS_LOSS_ONLY_NAMES,
    SIMOS_LOSS_ONLY_DATA, SIMOS_LOSS_TORN};
#define LOSS_COUNT (sizeof losses / sizeof losses[0])

START_TEST(stopped_at_any_step_it_is_whole_or_not_there)
{
	struct simos_state *base, *crash;
	struct oracle before = {0};
	uint64_t step = 0, crashes = 0;
	bool stopped = true;

	way = &ways[_i];
	make_base();
	base = simos_save();
	oracle_copy(&before, &oracle);
	while (stopped) {
		simos_restore(base);
		oracle_fini(&oracle);
		oracle_copy(&oracle, &before);
		returned = false;
		begin_state = oracle.count - 1;
		simos_stop_at(++step, 0);
		stopped = simos_run(script, NULL);
		if (stopped && !simos_step_changes(simos_step_kind(step)))
			continue;
		crash = simos_save();
		simos_kill();
		check_crash(step);
		for (unsigned i = 0; i < LOSS_COUNT; i++) {
			simos_restore(crash);
			simos_power_loss(losses[i], step);
			check_crash(step);
		}
		simos_state_free(crash);
		crashes++;
	}
	printf("%-28s %5" PRIu64 " steps, %4" PRIu64 " of them changes\n",
	    way->name, step, crashes);
	ck_assert_int_eq(result, KVLOG_OK);
	simos_state_free(base);
	simos_forget();
	oracle_fini(&before);
	oracle_fini(&oracle);
	simos_fini();
}
END_TEST

static bool
is_about_space(enum simos_kind kind)
{
	return kind == SIMOS_CREATE || kind == SIMOS_ALLOCATE;
}

/* Each call of each kind fails once.  The result is not what is tested: some
 * failures are got over. */
START_TEST(refused_at_any_call_it_changes_nothing)
{
	static const enum simos_kind kinds[] = {SIMOS_MKDIR, SIMOS_OPEN_DIR,
	    SIMOS_LIST, SIMOS_SYNC_DIR, SIMOS_OPEN, SIMOS_CREATE, SIMOS_RENAME,
	    SIMOS_EXCHANGE, SIMOS_LINK, SIMOS_UNLINK, SIMOS_RMDIR,
	    SIMOS_STAT_NAME, SIMOS_STAT, SIMOS_PREAD, SIMOS_PWRITE,
	    SIMOS_ALLOCATE, SIMOS_TRUNCATE, SIMOS_CLONE, SIMOS_SYNC, SIMOS_MAP,
	    SIMOS_LOCK, SIMOS_RANDOM, SIMOS_MALLOC};
	struct simos_state *base;
	struct oracle before = {0};

	way = &ways[_i];
	make_base();
	base = simos_save();
	oracle_copy(&before, &oracle);
	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		bool struck = true;
		uint64_t failures = 0;

		for (uint64_t nth = 1; struck; nth += 1 + nth / 16) {
			struct kvlog_error err = {0};
			struct kvlog *db;
			uint64_t calls;

			simos_restore(base);
			oracle_fini(&oracle);
			oracle_copy(&oracle, &before);
			db = open_store(STORE,
			    way->readonly ? KVLOG_OPEN_READONLY : 0, false);
			begin_state = oracle.count - 1;
			if (!way->readonly)
				put(db, 30, 'e');
			begin_state = oracle.count - 1;
			calls = simos_count(kinds[k]);
			simos_fail(kinds[k], nth,
			    is_about_space(kinds[k]) ? ENOSPC : EIO, false);
			result = back_up(db, &err);
			struck = simos_count(kinds[k]) - calls >= nth;
			simos_fail_clear();
			returned = true;
			ck_assert_msg(result == KVLOG_OK || *err.text != '\0',
			    "%s %" PRIu64 ": no text for %d",
			    simos_step_name(kinds[k]), nth, (int)result);
			failures += result != KVLOG_OK;
			if (struck && result == KVLOG_OK)
				oracle_durable(
				    &oracle, oracle.seqs[begin_state]);
			(void)kvlog_close(db, NULL);
			ck_assert_uint_eq(simos_leaks(stderr), 0);
			check_crash(nth);
		}
		if (_i == 1 || _i == 3)
			printf("%-12s %5" PRIu64 " failures told\n",
			    simos_step_name(kinds[k]), failures);
	}
	simos_state_free(base);
	simos_forget();
	oracle_fini(&before);
	oracle_fini(&oracle);
	simos_fini();
}
END_TEST

static uint64_t own_seq; /* of the backup's own commit that is durable */

static void
write_to_copy(void *arg)
{
	struct kvlog *db = open_store(COPY, 0, false);
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt;

	(void)arg;
	how.durability = KVLOG_DURABILITY_COMMIT;
	if (kvlog_put(db, "own", 3, "1", 1, &how, &receipt) == KVLOG_OK)
		own_seq = receipt.seq;
	(void)kvlog_close(db, NULL);
}

static void
check_own(struct kvlog *store)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = back_up(store, &err);
	struct kvlog *db;

	ck_assert_msg(
	    st == KVLOG_OK || st == KVLOG_CONFLICT, "%d %s", (int)st, err.text);
	if (own_seq == 0)
		return;
	ck_assert_int_eq(st, KVLOG_CONFLICT);
	db = open_store(COPY, KVLOG_OPEN_READONLY, false);
	ck_assert_int_eq(kvlog_exists(db, "own", 3), KVLOG_OK);
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
}

/* What somebody was told is durable in a backup, no later backup replaces, even
 * if the next thing that happened was a power loss. */
START_TEST(commits_of_a_backup_s_own_are_never_replaced)
{
	struct simos_state *base, *crash;
	bool stopped = true;

	way = &ways[3];
	make_base();
	base = simos_save();
	for (uint64_t step = 1; stopped; step++) {
		simos_restore(base);
		own_seq = 0;
		simos_stop_at(step, 0);
		stopped = simos_run(write_to_copy, NULL);
		if (stopped && !simos_step_changes(simos_step_kind(step)))
			continue;
		crash = simos_save();
		for (unsigned i = 0; i < LOSS_COUNT; i++) {
			struct kvlog *db;

			simos_restore(crash);
			simos_power_loss(losses[i], step);
			db = open_store(STORE, KVLOG_OPEN_READONLY, false);
			check_own(db);
			ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
		}
		simos_state_free(crash);
	}
	ck_assert_uint_gt(own_seq, 0);
	simos_state_free(base);
	simos_forget();
	oracle_fini(&oracle);
	simos_fini();
}
END_TEST

START_TEST(a_network_file_system_is_refused)
{
	struct kvlog_error err = {0};
	struct kvlog *db;

	way = &ways[0];
	make_base();
	db = open_store(STORE, KVLOG_OPEN_READONLY, false);
	simos_set_fs(OS_FS_NETWORK);
	ck_assert_int_eq(back_up(db, &err), KVLOG_UNSUPPORTED);
	ck_assert(!exists(COPY));
	simos_set_fs(OS_FS_COW);
	must_back_up(db, "copy on write");
	ck_assert_int_eq(kvlog_close(db, NULL), KVLOG_OK);
	(void)state_of(
	    COPY, KVLOG_OPEN_READONLY, oracle.count - 1, oracle.count - 1);
	(void)state_of(COPY, 0, oracle.count - 1, oracle.count - 1);
	oracle_fini(&oracle);
	simos_fini();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("backup");
	TCase *tc = tcase_create("backup");

	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(
	    tc, stopped_at_any_step_it_is_whole_or_not_there, 0, WAY_COUNT);
	tcase_add_loop_test(
	    tc, refused_at_any_call_it_changes_nothing, 0, WAY_COUNT);
	tcase_add_test(tc, commits_of_a_backup_s_own_are_never_replaced);
	tcase_add_test(tc, a_network_file_system_is_refused);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
