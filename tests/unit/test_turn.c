/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_turn.c - owning the turn from one call to another: who waits, for how
 * long, and what an owner leaves that is killed, or does nothing any more.
 * All processes are real.
 */
#include "config.h"

#include "api.h"
#include "store.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_MS 60000u /* what should not take long */

static struct kvlog *
open_store(uint32_t timeout_ms)
{
	struct kvlog_options o = api_options(KVLOG_OPEN_CREATE);

	o.timeout_ms = timeout_ms;
	return api_open_with(api_store, &o);
}

static struct log *
log_of(struct kvlog *db)
{
	return &db->store->log;
}

static struct ownership
own(struct kvlog *db, uint32_t idle_ms)
{
	struct ownership own = {0};
	struct kvlog_error err = {0};
	enum kvlog_status st = log_own(log_of(db), idle_ms, &own, &err);

	ck_assert_msg(st == KVLOG_OK, "%s", err.text);
	return own;
}

static enum kvlog_status
put(struct kvlog *db, struct kvlog_error *err)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = err;
	return kvlog_put(db, "key", 3, "value", 5, &how, NULL);
}

static enum kvlog_status
commit_owned(struct kvlog *db, const struct ownership *of, const char *key)
{
	struct kvlog_receipt receipt;
	struct commit_op op = {.type = RECORD_PUT,
	    .key = key,
	    .key_len = (uint16_t)strlen(key),
	    .value = "owned",
	    .value_len = 5};

	op.hash = sum_hash(db->store->views.secret, key, op.key_len);
	return log_commit_owned(log_of(db), of, &op, 1, &receipt, NULL);
}

/* Another process, which runs a function until it is killed or asked to end. */
struct helper {
	pid_t pid;
	int fd;
};

static struct helper
start(void (*fn)(int fd))
{
	struct helper h;
	char byte = 0;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	h.pid = fork();
	ck_assert_int_ne(h.pid, -1);
	if (h.pid == 0) {
		(void)close(fds[0]);
		(void)alarm(100); /* longer than the test */
		fn(fds[1]);
		_exit(0);
	}
	(void)close(fds[1]);
	h.fd = fds[0];
	ck_assert_int_eq(read(h.fd, &byte, 1), 1); /* it is ready */
	return h;
}

static void
tell_ready(int fd)
{
	ck_assert_int_eq(write(fd, "r", 1), 1);
}

/* Until the test says otherwise. */
static bool
is_wanted(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) < 0;
}

static void
end(struct helper *h, int signal)
{
	int status;

	if (signal != 0)
		ck_assert_int_eq(kill(h->pid, signal), 0);
	(void)send(h->fd, "e", 1, MSG_NOSIGNAL);
	(void)close(h->fd);
	ck_assert_int_eq(waitpid(h->pid, &status, 0), h->pid);
	ck_assert_msg(signal != 0 || status == 0, "status %#x", status);
}

static void
own_for_long(int fd)
{
	struct kvlog *db = open_store(LONG_MS);

	(void)own(db, LONG_MS);
	tell_ready(fd);
	while (is_wanted(fd))
		(void)usleep(1000);
	_exit(0); /* and nothing given up */
}

static void
put_one(int fd)
{
	struct kvlog *db = open_store(LONG_MS);

	tell_ready(fd);
	ck_assert_int_eq(put(db, NULL), KVLOG_OK);
	api_close(db);
}

/* A new handle does not wait, or only for one that has not much time left. */
static void
is_refused_nothing(int fd)
{
	struct kvlog *db = open_store(5000);

	ck_assert_int_eq(put(db, NULL), KVLOG_OK);
	tell_ready(fd);
	api_close(db);
}

static void *
put_in_thread(void *arg)
{
	struct kvlog_error err = {0};
	enum kvlog_status st = put(arg, &err);

	ck_assert_msg(st == KVLOG_OK, "%s", err.text);
	return NULL;
}

/* One owner, and what the others of his process are told. */
START_TEST(nobody_else_commits_while_one_owns_the_turn)
{
	struct kvlog *db = open_store(LONG_MS);
	struct kvlog_error err = {0};
	struct ownership mine = own(db, LONG_MS), other;
	pthread_t thread;

	ck_assert(log_still_owns(log_of(db), &mine));
	/* A thread that would wait for itself. */
	ck_assert_int_eq(put(db, &err), KVLOG_BUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "this thread has a transact"));
	ck_assert_int_eq(log_own(log_of(db), 1, &other, NULL), KVLOG_BUSY);
	ck_assert_int_eq(pthread_create(&thread, NULL, put_in_thread, db), 0);
	(void)usleep(20000);
	ck_assert_uint_eq(kvlog_last_seq(db), 0);
	ck_assert_int_eq(commit_owned(db, &mine, "mine"), KVLOG_OK);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(kvlog_last_seq(db), 2);
	api_expect(db, "mine", "owned");

	ck_assert(!log_still_owns(log_of(db), &mine));
	ck_assert_int_eq(log_keep(log_of(db), &mine, &err), KVLOG_TIMEOUT);
	ck_assert_int_eq(commit_owned(db, &mine, "late"), KVLOG_TIMEOUT);
	ck_assert_uint_eq(kvlog_last_seq(db), 2);
	mine = own(db, LONG_MS);
	log_disown(log_of(db), &mine);
	log_disown(log_of(db), &mine);
	ck_assert_int_eq(put(db, &err), KVLOG_OK);
	api_close(db);
}
END_TEST

/* A thread that is not the owner's is told after its time. */
static void *
be_refused(void *arg)
{
	struct kvlog_error err = {0};

	ck_assert_int_eq(put(arg, &err), KVLOG_BUSY);
	ck_assert_msg(
	    strstr(err.text, "another transaction of this process") != NULL,
	    "%s", err.text);
	return NULL;
}

START_TEST(who_waits_in_vain_is_told_for_whom)
{
	struct kvlog *db = open_store(50);
	struct kvlog_error err = {0};
	struct ownership mine = own(db, LONG_MS);
	struct helper h;
	pthread_t thread;
	char who[64];

	ck_assert_int_eq(pthread_create(&thread, NULL, be_refused, db), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	log_disown(log_of(db), &mine);

	h = start(own_for_long);
	(void)snprintf(
	    who, sizeof who, "process %ld has a transaction open", (long)h.pid);
	ck_assert_int_eq(put(db, &err), KVLOG_BUSY);
	ck_assert_msg(strstr(err.text, who) != NULL, "%s", err.text);
	ck_assert_int_eq(log_own(log_of(db), 1, &mine, &err), KVLOG_BUSY);
	ck_assert_msg(strstr(err.text, who) != NULL, "%s", err.text);
	end(&h, SIGKILL);
	api_close(db);
}
END_TEST

/* At once, though it had a minute left. */
START_TEST(a_dead_owner_is_not_waited_for)
{
	for (unsigned i = 0; i < 4; i++) {
		struct kvlog *db = open_store(0);
		struct helper h = start(own_for_long);
		struct ownership mine;
		struct helper next;

		end(&h, SIGKILL);
		/* Nobody is taken for the dead one. */
		if (i < 2) {
			next = start(is_refused_nothing);
			end(&next, 0);
		}
		if (i % 2 == 0)
			ck_assert_int_eq(put(db, NULL), KVLOG_OK);
		mine = own(db, 1);
		log_disown(log_of(db), &mine);
		api_close(db);
	}
}
END_TEST

/* Whoever waits, of this process and of others, ends it. */
START_TEST(who_does_nothing_is_an_owner_no_more)
{
	struct kvlog *db = open_store(LONG_MS);
	struct helper h;
	struct ownership mine, next;
	pthread_t thread;

	for (unsigned i = 0; i < 4; i++) {
		mine = own(db, 40);
		if (i % 2 == 0) {
			ck_assert_int_eq(
			    pthread_create(&thread, NULL, put_in_thread, db),
			    0);
			ck_assert_int_eq(pthread_join(thread, NULL), 0);
		} else {
			h = start(is_refused_nothing);
			end(&h, 0);
		}
		ck_assert_int_eq(
		    log_keep(log_of(db), &mine, NULL), KVLOG_TIMEOUT);
		ck_assert_int_eq(
		    commit_owned(db, &mine, "late"), KVLOG_TIMEOUT);
		/* Another one of the same handle is not the one before. */
		next = own(db, LONG_MS);
		ck_assert_int_eq(
		    log_keep(log_of(db), &mine, NULL), KVLOG_TIMEOUT);
		log_disown(log_of(db), &mine);
		ck_assert(log_still_owns(log_of(db), &next));
		log_disown(log_of(db), &next);
	}
	ck_assert_int_eq(kvlog_exists(db, "late", 4), KVLOG_NOTFOUND);
	/* Where nobody waits, nothing ends. */
	mine = own(db, 1);
	(void)usleep(10000);
	ck_assert_int_eq(log_keep(log_of(db), &mine, NULL), KVLOG_OK);
	(void)usleep(10000);
	ck_assert_int_eq(commit_owned(db, &mine, "late"), KVLOG_OK);
	api_close(db);
}
END_TEST

START_TEST(who_works_is_not_ended)
{
	struct kvlog *db = open_store(LONG_MS);
	struct ownership mine = own(db, 1000);
	struct helper h = start(put_one);

	for (unsigned i = 0; i < 2500; i++) {
		ck_assert_int_eq(log_keep(log_of(db), &mine, NULL), KVLOG_OK);
		(void)usleep(1000);
	}
	ck_assert_uint_eq(kvlog_last_seq(db), 0);
	log_disown(log_of(db), &mine);
	end(&h, 0);
	ck_assert_uint_eq(kvlog_last_seq(db), 1);
	api_close(db);
}
END_TEST

/* Given up without the turn, it lasts neither for this process ... */
START_TEST(what_is_given_up_without_the_turn_is_free)
{
	struct kvlog *db = open_store(0);

	(void)own(db, LONG_MS);
	atomic_store(&log_of(db)->owner, 0);
	ck_assert_int_eq(put(db, NULL), KVLOG_OK);
	ck_assert(!control_is_owned(&db->store->control));
	api_close(db);
}
END_TEST

/* Syncs, marks, rollovers, hints, compaction: none of these changes anything
 * that the owner may have read. */
START_TEST(the_store_is_maintained_beside_an_owner)
{
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog *db = open_store(0);
	struct ownership mine;
	bool more = true;
	char key[16];

	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(key, sizeof key, "key%u", i % 100);
		api_put(db, key, "garbage soon");
	}
	mine = own(db, LONG_MS);
	while (more)
		ck_assert_int_eq(kvlog_maintain(db, 100, &more), KVLOG_OK);
	ck_assert_int_eq(kvlog_compact(db, NULL, &report, NULL), KVLOG_OK);
	ck_assert_uint_gt(report.run_count, 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	ck_assert_int_eq(log_take_turn(log_of(db), NULL), KVLOG_OK);
	ck_assert_int_eq(log_mark(log_of(db), false, NULL), KVLOG_OK);
	log_release_turn(log_of(db));
	ck_assert_int_eq(commit_owned(db, &mine, "mine"), KVLOG_OK);
	ck_assert_uint_eq(kvlog_last_seq(db), 2001);
	api_close(db);
}
END_TEST

/* It owns the turn nearly all the time, and begins again at once. */
static void
own_again_and_again(int fd)
{
	struct kvlog *db = open_store(LONG_MS);

	tell_ready(fd);
	while (is_wanted(fd)) {
		struct ownership mine = own(db, LONG_MS);

		(void)usleep(1000);
		log_disown(log_of(db), &mine);
	}
	api_close(db);
}

START_TEST(who_waits_has_his_turn_among_greedy_owners)
{
	struct kvlog *db = open_store(LONG_MS);
	struct helper greedy[2] = {
	    start(own_again_and_again), start(own_again_and_again)};
	uint64_t begin = os->ticks_ns();

	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(put(db, NULL), KVLOG_OK);
	for (unsigned i = 0; i < 100; i++) {
		struct ownership mine = own(db, LONG_MS);

		log_disown(log_of(db), &mine);
	}
	/* 200 times some 3 ms that each of them has. */
	ck_assert_uint_lt(os->ticks_ns() - begin, UINT64_C(20000000000));
	end(&greedy[0], 0);
	end(&greedy[1], 0);
	api_close(db);
}
END_TEST

static Suite *
turn_suite(void)
{
	Suite *suite = suite_create("turn");
	TCase *tc = api_case(suite, "owner");

	tcase_add_test(tc, nobody_else_commits_while_one_owns_the_turn);
	tcase_add_test(tc, who_waits_in_vain_is_told_for_whom);
	tcase_add_test(tc, a_dead_owner_is_not_waited_for);
	tcase_add_test(tc, who_does_nothing_is_an_owner_no_more);
	tcase_add_test(tc, who_works_is_not_ended);
	tcase_add_test(tc, what_is_given_up_without_the_turn_is_free);
	tcase_add_test(tc, the_store_is_maintained_beside_an_owner);
	tcase_add_test(tc, who_waits_has_his_turn_among_greedy_owners);
	return suite;
}

int
main(void)
{
	return test_main(turn_suite());
}
