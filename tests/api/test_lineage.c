/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_lineage.c - onto which earlier backups a store may be backed up: those
 * of its own earlier states, whatever has been done to it since; and none that
 * holds a commit which the store does not have, though other commits have the
 * same numbers.
 */
#include "config.h"

#include "api.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATES_MAX 40

static struct kvlog_error err;
static char *backups[STATES_MAX];
static unsigned backup_count;

static void
setup(void)
{
	api_setup();
	backup_count = 0;
}

static void
teardown(void)
{
	for (unsigned i = 0; i < backup_count; i++)
		free(backups[i]);
	api_teardown();
}

static enum kvlog_status
back_up(const char *store, unsigned flags, const char *path)
{
	struct kvlog_backup_options how = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog *db = api_open(store, flags);
	enum kvlog_status st;

	how.flags = KVLOG_BACKUP_NOVERIFY;
	how.timeout_ms = 0;
	err.text[0] = '\0';
	st = kvlog_backup(db, path, &how, NULL, &err);
	api_close(db);
	return st;
}

static void
copy_files(const char *from, const char *to)
{
	struct tree tree;

	ck_assert_int_eq(mkdir(to, 0777), 0);
	tree_read(from, &tree);
	tree_write(to, &tree);
	tree_fini(&tree);
}

static char *
contents(const char *path)
{
	struct kvlog *db = api_open(path, KVLOG_OPEN_READONLY);
	char *text = api_text(db);

	api_close(db);
	return text;
}

/* What the store says to a backup that it is to go onto; that one stays. */
static enum kvlog_status
ask(const char *store, const char *backup)
{
	char *copy = files_path(api_base, "asked");
	enum kvlog_status st;

	copy_files(backup, copy);
	st = back_up(store, 0, copy);
	if (st == KVLOG_OK) {
		char *of_store = contents(store), *of_copy = contents(copy);

		ck_assert_str_eq(of_store, of_copy);
		free(of_store);
		free(of_copy);
	}
	tmpdir_remove(copy);
	return st;
}

static void
add_backup(unsigned flags)
{
	char name[16];

	ck_assert_uint_lt(backup_count, STATES_MAX);
	(void)snprintf(name, sizeof name, "b%u", backup_count);
	backups[backup_count] = files_path(api_base, name);
	ck_assert_int_eq(
	    back_up(api_store, flags, backups[backup_count]), KVLOG_OK);
	backup_count++;
}

/* So many keys of that name, each new or again; eight fill a segment. */
static void
put(const char *path, unsigned flags, const char *name, unsigned count)
{
	struct kvlog *db = api_open(path, flags);
	char key[32], value[400];

	memset(value, 'v', sizeof value);
	value[sizeof value - 1] = '\0';
	for (unsigned i = 0; i < count; i++) {
		(void)snprintf(key, sizeof key, "%s%u", name, i);
		(void)api_put(db, key, value);
	}
	if (flags == KVLOG_OPEN_UNSHARED) /* killed: it is not closed */
		_exit(0);
	api_close(db);
}

static void
put_and_die(const char *path)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		put(path, KVLOG_OPEN_UNSHARED, "dying", 20);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void
compact(const char *path, bool all)
{
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;

	how.flags = all ? KVLOG_COMPACT_ALL : 0;
	how.run_bytes = 4 * API_SMALL;
	ck_assert_int_eq(
	    kvlog_compact_offline(path, &how, NULL, &err), KVLOG_OK);
}

static void
compact_in_use(const char *path)
{
	struct kvlog *db = api_open(path, KVLOG_OPEN_NOTHREAD);
	struct kvlog_compact_options how = KVLOG_COMPACT_OPTIONS_INIT;

	how.flags = KVLOG_COMPACT_ALL;
	ck_assert_int_eq(kvlog_compact(db, &how, NULL, &err), KVLOG_OK);
	api_close(db);
}

/* The store goes on as what was restored from its last backup. */
static void
restore(void)
{
	char *old = files_path(api_base, "old");

	ck_assert_int_eq(rename(api_store, old), 0);
	ck_assert_int_eq(
	    back_up(backups[backup_count - 1], KVLOG_OPEN_READONLY, api_store),
	    KVLOG_OK);
	tmpdir_remove(old);
}

static void
change(unsigned step)
{
	switch (step) {
	case 0: /* empty */
		api_close(api_open(api_store, KVLOG_OPEN_CREATE));
		break;
	case 1:
		put(api_store, 0, "a", 3);
		break;
	case 2: /* nothing is in the last segment */
		api_close(api_open(api_store, 0));
		break;
	case 3:
		put(api_store, 0, "b", 60);
		break;
	case 4:
		put_and_die(api_store);
		break;
	case 5: /* the first ones */
		put(api_store, 0, "b", 30);
		compact(api_store, false);
		break;
	case 6:
		put(api_store, 0, "c", 1);
		break;
	case 7:
		compact(api_store, true);
		break;
	case 8:
		restore();
		break;
	case 9:
		put(api_store, 0, "d", 40);
		break;
	case 10:
		put_and_die(api_store);
		compact_in_use(api_store);
		break;
	case 11:
		put(api_store, 0, "a", 9);
		restore();
		put(api_store, 0, "e", 9);
		compact(api_store, true);
		break;
	default:
		ck_abort();
	}
}

START_TEST(all_earlier_states_are_known)
{
	for (unsigned step = 0; step < 12; step++) {
		change(step);
		for (unsigned i = 0; i < backup_count; i++) {
			enum kvlog_status st = ask(api_store, backups[i]);

			ck_assert_msg(st == KVLOG_OK,
			    "backup %u in step %u: %d %s", i, step, (int)st,
			    err.text);
		}
		add_backup(KVLOG_OPEN_READONLY);
		add_backup(0);
	}
}
END_TEST

/* Two that begin with the same backup give the same numbers. */
START_TEST(branches_are_refused)
{
	static const unsigned counts[] = {1, 7, 40};
	char *left = files_path(api_base, "left");
	char *right = files_path(api_base, "right");
	char *of_left = files_path(api_base, "of_left");
	char *killed = files_path(api_base, "killed");

	put(api_store, KVLOG_OPEN_CREATE, "a", 30);
	if (_i % 2 == 1)
		compact(api_store, true);
	add_backup(0);
	for (unsigned l = 0; l < 3; l++) {
		ck_assert_int_eq(
		    back_up(backups[0], KVLOG_OPEN_READONLY, left), KVLOG_OK);
		if (_i >= 2) /* the left one in a range of its own, too */
			put_and_die(left);
		put(left, 0, "l", counts[l]);
		ck_assert_int_eq(
		    back_up(left, l == 1 ? KVLOG_OPEN_READONLY : 0, of_left),
		    KVLOG_OK);
		for (unsigned r = 0; r < 3; r++) {
			ck_assert_int_eq(
			    back_up(backups[0], KVLOG_OPEN_READONLY, right),
			    KVLOG_OK);
			put_and_die(right);
			put(right, 0, "r", counts[r]);
			ck_assert_int_eq(ask(right, of_left), KVLOG_CONFLICT);
			ck_assert_int_eq(ask(right, backups[0]), KVLOG_OK);
			tmpdir_remove(strdup(right));
		}
		/* Nor does the store itself know any of it. */
		copy_files(api_store, killed);
		put_and_die(killed);
		put(killed, 0, "k", 40);
		ck_assert_int_eq(ask(killed, of_left), KVLOG_CONFLICT);
		ck_assert_int_eq(ask(killed, backups[0]), KVLOG_OK);
		tmpdir_remove(strdup(killed));
		tmpdir_remove(strdup(left));
		tmpdir_remove(strdup(of_left));
	}
	free(left);
	free(right);
	free(of_left);
	free(killed);
}
END_TEST

/* What a reader saved is lost by the store: its earlier states are known, and
 * what is lost is not, whatever gets its numbers. */
START_TEST(a_state_that_was_lost_is_refused)
{
	struct tree before;

	put(api_store, KVLOG_OPEN_CREATE, "a", 20);
	add_backup(0);
	put_and_die(api_store);
	tree_read(api_store, &before);
	add_backup(KVLOG_OPEN_READONLY);
	put_and_die(api_store);
	add_backup(KVLOG_OPEN_READONLY);
	tmpdir_remove(strdup(api_store));
	ck_assert_int_eq(mkdir(api_store, 0777), 0);
	tree_write(api_store, &before);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 1)
			put_and_die(api_store);
		else if (i > 1)
			put(api_store, 0, "b", 30);
		ck_assert_int_eq(ask(api_store, backups[0]), KVLOG_OK);
		ck_assert_int_eq(ask(api_store, backups[1]), KVLOG_OK);
		ck_assert_int_eq(ask(api_store, backups[2]), KVLOG_CONFLICT);
	}
	tree_fini(&before);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("lineage");
	TCase *tc = tcase_create("lineage");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, all_earlier_states_are_known);
	tcase_add_loop_test(tc, branches_are_refused, 0, 4);
	tcase_add_test(tc, a_state_that_was_lost_is_refused);
	suite_add_tcase(suite, tc);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
