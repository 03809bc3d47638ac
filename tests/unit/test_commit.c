/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_commit.c - commits, rollover, syncs and the evidence for hints, on the
 * log of an open store; and what the engine promises of their order (INV-1,
 * INV-2, INV-3, INV-9).
 */
#include "config.h"

#include "makelog.h"
#include "store.h"
#include "tmpdir.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define ONE "00000001.seg"
#define TWO "00000002.seg"

static struct kvlog *db;
static struct log *lg;
static struct kvlog_error err;
static struct kvlog_receipt receipt;
static size_t failed;

static enum kvlog_status
open_at(const char *path, uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	enum kvlog_status st;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = segment_size;
	o.timeout_ms = 0;
	memset(&err, 0, sizeof err);
	st = kvlog_open(path, &o, &db, &err);
	if (st == KVLOG_OK)
		lg = &db->store->log;
	return st;
}

static void
open_store(void)
{
	enum kvlog_status st = open_at(MAKELOG_STORE, MAKELOG_SIZE);

	ck_assert_msg(st == KVLOG_OK, "%s", err.text);
}

static void
close_store(void)
{
	enum kvlog_status st = kvlog_close(db, &err);

	ck_assert_msg(st == KVLOG_OK, "%s", err.text);
}

static struct commit_op
op_of(unsigned type, const char *key, size_t value_len)
{
	struct commit_op op = {.type = (uint8_t)type,
	    .key = key,
	    .key_len = (uint16_t)strlen(key),
	    .value = makelog_value(7),
	    .value_len = (uint32_t)value_len};

	op.hash = sum_hash(db->store->views.secret, key, op.key_len);
	return op;
}

static enum kvlog_status
commit(const struct commit_op *ops, size_t count, bool strict)
{
	failed = SIZE_MAX;
	memset(&err, 0, sizeof err);
	return log_commit(lg, ops, count, strict, &receipt, &failed, &err);
}

static enum kvlog_status
put(const char *key, size_t value_len)
{
	struct commit_op op = op_of(RECORD_PUT, key, value_len);

	return commit(&op, 1, false);
}

static enum kvlog_status delete (const char *key) {
	struct commit_op op = op_of(RECORD_DELETE, key, 0);

	return commit(&op, 1, false);
}

static enum kvlog_status
note_seq(void *arg, const struct index_ref *ref)
{
	*(uint64_t *)arg = ref->rec.seq;
	return KVLOG_OK;
}

/* The commit of key's value, as any reader sees it; 0: it has none. */
static uint64_t
seq_of(const char *key)
{
	uint64_t seq = 0;
	enum kvlog_status st = store_read(
	    db->store, NULL, key, strlen(key), false, 0, note_seq, &seq, NULL);

	ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
	return seq;
}

static enum kvlog_status
mark(bool clean)
{
	enum kvlog_status st = log_take_turn(lg, &err);

	if (st != KVLOG_OK)
		return st;
	st = log_mark(lg, clean, &err);
	log_release_turn(lg);
	return st;
}

/* Puts until the active segment is number; returns how many. */
static unsigned
fill_to(uint32_t number)
{
	unsigned n = 0;

	while (segment_number(log_active(lg)) < number) {
		char key[40];

		snprintf(key, sizeof key, "fill%u-%u", number, n++);
		MAKELOG_OK(put(key, 900));
	}
	return n;
}

static uint64_t
durable(void)
{
	return log_durable(lg);
}

/* Deciding. */

START_TEST(conditions_are_judged_on_what_is_there)
{
	uint64_t seq;

	open_store();
	MAKELOG_OK(put("gone", 1));
	MAKELOG_OK(delete ("gone"));
	MAKELOG_OK(put("there", 1));
	seq = receipt.seq;
	const struct {
		const char *key;
		enum kvlog_condition condition;
		uint64_t if_seq;
		bool holds;
	} cases[] = {
	    {"never", KVLOG_IF_PRESENT, 0, false},
	    {"never", KVLOG_IF_SEQ, 1, false},
	    {"gone", KVLOG_IF_PRESENT, 0, false},
	    {"gone", KVLOG_IF_SEQ, 1, false},
	    {"gone", KVLOG_IF_SEQ, 2, false},
	    {"there", KVLOG_IF_ABSENT, 0, false},
	    {"there", KVLOG_IF_SEQ, 0, false},
	    {"there", KVLOG_IF_SEQ, seq + 1, false},
	    {"never", KVLOG_IF_ABSENT, 0, true},
	    {"gone", KVLOG_IF_ABSENT, 0, true},
	    {"never2", KVLOG_IF_SEQ, 0, true},
	    {"there", KVLOG_IF_SEQ, seq, true},
	    {"there", KVLOG_IF_PRESENT, 0, true},
	    {"never3", KVLOG_IF_ANY, 0, true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct commit_op op = op_of(RECORD_PUT, cases[i].key, 3);
		uint64_t end = segment_end(log_active(lg));
		uint64_t next = lg->view->next_seq;
		enum kvlog_status st;

		op.condition = cases[i].condition;
		op.if_seq = cases[i].if_seq;
		st = commit(&op, 1, false);
		ck_assert_msg(
		    st == (cases[i].holds ? KVLOG_OK : KVLOG_CONFLICT),
		    "case %zu: %d", i, (int)st);
		if (!cases[i].holds) {
			ck_assert_uint_eq(failed, 0);
			ck_assert_int_eq(err.status, KVLOG_CONFLICT);
			ck_assert_uint_eq(segment_end(log_active(lg)), end);
			ck_assert_uint_eq(lg->view->next_seq, next);
		} else {
			ck_assert_uint_eq(receipt.seq, next);
			ck_assert_uint_eq(receipt.offset, end);
		}
	}
	close_store();
}
END_TEST

START_TEST(one_op_that_does_not_hold_refuses_the_batch)
{
	struct commit_op ops[3];
	uint64_t end;

	open_store();
	MAKELOG_OK(put("a", 1));
	ops[0] = op_of(RECORD_PUT, "b", 1);
	ops[1] = op_of(RECORD_DELETE, "a", 0);
	ops[2] = op_of(RECORD_PUT, "a", 1);
	ops[2].condition = KVLOG_IF_ABSENT; /* before the batch it is there */
	end = segment_end(log_active(lg));
	ck_assert_int_eq(commit(ops, 3, false), KVLOG_CONFLICT);
	ck_assert_uint_eq(failed, 2);
	ck_assert_uint_eq(segment_end(log_active(lg)), end);
	ck_assert_uint_eq(seq_of("a"), 1);
	ck_assert_uint_eq(seq_of("b"), 0);
	close_store();
}
END_TEST

START_TEST(a_strict_delete_wants_a_value)
{
	struct commit_op op;
	uint64_t end;

	open_store();
	op = op_of(RECORD_DELETE, "a", 0);
	end = segment_end(log_active(lg));
	ck_assert_int_eq(commit(&op, 1, true), KVLOG_NOTFOUND);
	ck_assert_uint_eq(segment_end(log_active(lg)), end);
	MAKELOG_OK(commit(&op, 1, false));
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(commit(&op, 1, true));
	ck_assert_uint_eq(seq_of("a"), 0);
	ck_assert_int_eq(commit(&op, 1, true), KVLOG_NOTFOUND);
	close_store();
}
END_TEST

/* The present record is damaged: what it says is not known. */
START_TEST(a_condition_on_a_damaged_record_is_corrupt)
{
	struct commit_op op;

	open_store();
	MAKELOG_OK(put("a", 40));
	((uint8_t *)(uintptr_t)log_active(lg)->map.addr)[receipt.offset + 16] ^=
	    1;
	op = op_of(RECORD_PUT, "a", 1);
	op.condition = KVLOG_IF_PRESENT;
	ck_assert_int_eq(commit(&op, 1, false), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.offset, receipt.offset);
	ck_assert_uint_eq(err.segment, 1);
	ck_assert_uint_eq(failed, 0);
	((uint8_t *)(uintptr_t)log_active(lg)->map.addr)[receipt.offset + 16] ^=
	    1;
	MAKELOG_OK(commit(&op, 1, false));
	close_store();
}
END_TEST

/* Storing. */

/* Around os->store and os->store_word. */
static struct os_table hooked;
static const struct os_table *plain;
static void (*on_store)(const struct os_map *map, uint64_t off);
static void (*on_sync)(int fd);

static int
hooked_store(
    const struct os_map *map, uint64_t off, const void *src, size_t len)
{
	if (on_store != NULL)
		on_store(map, off);
	return plain->store(map, off, src, len);
}

static int
hooked_store_word(const struct os_map *map, uint64_t off, uint64_t word)
{
	if (on_store != NULL)
		on_store(map, off);
	return plain->store_word(map, off, word);
}

static int
hooked_sync(int fd)
{
	void (*fn)(int) = on_sync;

	on_sync = NULL;
	if (fn != NULL)
		fn(fd);
	return plain->sync(fd);
}

static void
hook(void)
{
	plain = os;
	hooked = *os;
	hooked.store = hooked_store;
	hooked.store_word = hooked_store_word;
	hooked.sync = hooked_sync;
	os = &hooked;
}

static void
unhook(void)
{
	os = plain;
	on_store = NULL;
	on_sync = NULL;
}

/*
 * INV-9: from the first store on, only stores into allocated, mapped space
 * are left, none of which can fail.  The first word of the first record comes
 * last, then the position.  What is small is stored together.
 */
static void
expect_only_stores(const char *text, unsigned pieces)
{
	const char *line = calls_find(text, "store ");
	unsigned stores = 0, words = 0;
	bool first = false;

	ck_assert_ptr_nonnull(line);
	while (*line != '\0') {
		const char *end = strchr(line, '\n');

		line += strspn(line, " 0123456789");
		if (strncmp(line, "store ", 6) == 0) {
			ck_assert(!first); /* it comes last */
			stores++;
		} else if (strncmp(line, "store_word 0", 12) == 0) {
			ck_assert(!first);
			ck_assert_uint_eq(words, 0); /* not published yet */
			first = true;
		} else if (strncmp(line, "mutex ", 6) == 0) {
			ck_assert_uint_eq(words, 3); /* the turn is over */
			ck_assert_str_eq(strchr(line, ':'), ": unlock\n");
		} else {
			ck_assert_msg(
			    strncmp(line, "store_word kvlog.lock", 21) == 0,
			    "%.60s", line);
			ck_assert(first);
			words++;
		}
		line = end + 1;
	}
	ck_assert_uint_eq(stores, pieces);
	ck_assert_uint_eq(words, 3); /* position, intent, end of the turn */
}

START_TEST(nothing_can_fail_behind_the_first_store)
{
	struct commit_op ops[3];
	struct calls calls;

	open_store();
	calls_begin(&calls);
	MAKELOG_OK(put("a", 100));
	calls_end(&calls);
	expect_only_stores(calls.text, 1);
	calls_fini(&calls);

	ops[0] = op_of(RECORD_PUT, "b", 1);
	ops[1] = op_of(RECORD_DELETE, "a", 0);
	ops[2] = op_of(RECORD_PUT, "c", 100);
	calls_begin(&calls);
	MAKELOG_OK(commit(ops, 3, false));
	calls_end(&calls);
	expect_only_stores(calls.text, 1);
	calls_fini(&calls);

	/* A value that is too big to be copied twice; many that are not. */
	(void)fill_to(2);
	calls_begin(&calls);
	MAKELOG_OK(put("a", 2000));
	calls_end(&calls);
	expect_only_stores(calls.text, 3);
	calls_fini(&calls);

	ops[0] = op_of(RECORD_PUT, "b", 300);
	ops[1] = op_of(RECORD_PUT, "c", 1100);
	ops[2] = op_of(RECORD_PUT, "d", 300);
	(void)fill_to(3);
	calls_begin(&calls);
	MAKELOG_OK(commit(ops, 3, false));
	calls_end(&calls);
	expect_only_stores(calls.text, 4);
	calls_fini(&calls);
	close_store();
}
END_TEST

/* INV-2 */
static void
turn_is_held(const struct os_map *map, uint64_t off)
{
	struct control_state state;

	if (map->addr != log_active(lg)->map.addr)
		return;
	/* ... and says first how far it goes. */
	ck_assert(control_read(lg->control, &state));
	ck_assert_uint_gt(state.intent, off);
	if (!lg->control->passed[0] && !lg->control->exclusive)
		ck_abort_msg("a store into the active segment without the "
			     "turn of the processes");
	if (pthread_mutex_trylock(&lg->views->lock) == 0)
		ck_abort_msg("... without that of the threads");
}

START_TEST(only_the_holder_of_the_turn_stores_into_the_active_segment)
{
	struct commit_op ops[2];

	open_store();
	hook();
	on_store = turn_is_held;
	MAKELOG_OK(put("a", 100));
	ops[0] = op_of(RECORD_PUT, "b", 1);
	ops[1] = op_of(RECORD_DELETE, "a", 0);
	MAKELOG_OK(commit(ops, 2, false));
	(void)fill_to(3);
	MAKELOG_OK(mark(false));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	while (store_maintain_step(db->store, 0))
		;
	close_store();
	unhook();
}
END_TEST

/* What a reader would see at each store of a batch. */
static unsigned seen_old;

static void
batch_is_not_visible(const struct os_map *map, uint64_t off)
{
	(void)off;
	if (map == &lg->control->map && seen_old > 0)
		return; /* it may be published now */
	ck_assert_uint_eq(seq_of("a"), 1);
	ck_assert_uint_eq(seq_of("b"), 0);
	seen_old++;
}

START_TEST(a_batch_becomes_visible_at_once)
{
	struct commit_op ops[3];

	open_store();
	MAKELOG_OK(put("a", 1));
	ops[0] = op_of(RECORD_DELETE, "a", 0);
	ops[1] = op_of(RECORD_PUT, "b", 1);
	ops[2] = op_of(RECORD_PUT, "a", 5);
	hook();
	on_store = batch_is_not_visible;
	seen_old = 0;
	MAKELOG_OK(commit(ops, 3, false));
	unhook();
	ck_assert_uint_gt(seen_old, 2);
	/* The last of the same key wins. */
	ck_assert_uint_eq(seq_of("a"), 2);
	ck_assert_uint_eq(seq_of("b"), 2);
	ck_assert(view_is_current(lg->views, lg->view));
	close_store();
}
END_TEST

/* The same with real threads. */
#define ROUNDS 4000u

static _Atomic bool looking, writing;

static void *
commit_again_and_again(void *batch)
{
	while (!atomic_load(&looking))
		sched_yield();
	for (unsigned i = 0; i < ROUNDS; i++)
		if (log_commit(lg, batch, 2, false, &receipt, &failed, NULL) !=
		    KVLOG_OK)
			abort();
	atomic_store(&writing, false);
	return NULL;
}

/* Look as long as another thread commits two steps, the first one with "a",
 * which is there before; the second one puts. */
static void
look_at_batches(unsigned type, const char *second, void (*look)(void))
{
	struct commit_op batch[2];
	char *dir = tmpdir_create(), path[1024];
	pthread_t thread;

	snprintf(path, sizeof path, "%s/db", dir);
	MAKELOG_OK(open_at(path, 1 << 20));
	MAKELOG_OK(put("a", 8));
	batch[0] = op_of(type, "a", type == RECORD_PUT ? 8 : 0);
	batch[1] = op_of(RECORD_PUT, second, 8);
	atomic_store(&looking, false);
	atomic_store(&writing, true);
	ck_assert_int_eq(
	    pthread_create(&thread, NULL, commit_again_and_again, batch), 0);
	while (atomic_load(&writing)) {
		look();
		atomic_store(&looking, true);
	}
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(seq_of("a"), ROUNDS + 1);
	close_store();
	tmpdir_remove(dir);
}

/* Who saw the first key of a batch sees the second one too, in whatever order
 * they are read. */
static void
see_whole_batches(void)
{
	uint64_t a = seq_of("a"), b = seq_of("b"), a2 = seq_of("a");

	ck_assert(a <= b || (a == 1 && b == 0));
	ck_assert_uint_le(b, a2);
}

START_TEST(no_thread_sees_half_of_a_batch)
{
	look_at_batches(RECORD_PUT, "b", see_whole_batches);
}
END_TEST

/* A key that a batch deletes and puts again is there at all times. */
static void
see_no_delete(void)
{
	static uint64_t last = 1;
	uint64_t a = seq_of("a");

	ck_assert_uint_ge(a, last);
	last = a;
}

START_TEST(no_thread_sees_a_step_of_a_batch_that_another_step_undoes)
{
	look_at_batches(RECORD_DELETE, "a", see_no_delete);
}
END_TEST

/* Whose entry is put off. */
static bool
is_late(const char *key)
{
	const struct view *view = lg->view;

	return atomic_load(&view->late_pos) == control_position(lg->control) &&
	       atomic_load(&view->late_hash) ==
		   sum_hash(db->store->views.secret, key, strlen(key));
}

static size_t
len_of(const char *key)
{
	size_t len = SIZE_MAX;
	char buf[100];
	enum kvlog_status st =
	    kvlog_get(db, key, strlen(key), buf, sizeof buf, &len);

	ck_assert(st == KVLOG_OK || st == KVLOG_NOTFOUND);
	return len;
}

/* The entry of an overwrite is put in place when the next one comes, or when
 * somebody looks for it. */
START_TEST(an_overwrite_is_seen_though_its_entry_comes_late)
{
	struct commit_op both[2];
	uint64_t count;

	open_store();
	MAKELOG_OK(put("one", 1));
	MAKELOG_OK(put("two", 2));
	ck_assert(!is_late("two"));
	MAKELOG_OK(put("one", 3));
	ck_assert(is_late("one"));
	ck_assert_uint_eq(len_of("two"), 2);
	ck_assert_uint_eq(len_of("absent"), SIZE_MAX);
	ck_assert(is_late("one")); /* of no matter to them */
	ck_assert_uint_eq(len_of("one"), 3);
	ck_assert(!is_late("one"));

	MAKELOG_OK(put("one", 4));
	MAKELOG_OK(put("two", 5));
	ck_assert(is_late("two"));
	ck_assert_uint_eq(len_of("one"), 4);
	MAKELOG_OK(delete ("two"));
	ck_assert_uint_eq(len_of("two"), SIZE_MAX);

	MAKELOG_OK(put("one", 6));
	ck_assert(is_late("one"));
	both[0] = op_of(RECORD_PUT, "one", 7);
	both[1] = op_of(RECORD_PUT, "new", 8);
	MAKELOG_OK(commit(both, 2, false));
	ck_assert_uint_eq(len_of("one"), 7);
	ck_assert_uint_eq(len_of("new"), 8);

	MAKELOG_OK(put("new", 9));
	ck_assert(is_late("new"));
	MAKELOG_OK(store_count(db->store, NULL, &count));
	ck_assert_uint_eq(count, 2);
	ck_assert(!is_late("new"));
	MAKELOG_OK(put("new", 10));
	close_store();
	open_store();
	ck_assert_uint_eq(len_of("new"), 10);
	close_store();
}
END_TEST

/* The candidate that a late entry was to replace may be another key's. */
START_TEST(a_late_entry_of_an_equal_hash_is_the_key_s_own)
{
	struct commit_op one, two;
	struct hint_key key;
	struct index_ref ref;

	open_store();
	one = op_of(RECORD_PUT, "one", 1);
	two = op_of(RECORD_PUT, "two", 2);
	two.hash = one.hash;
	for (unsigned i = 0; i < 10; i++) {
		MAKELOG_OK(commit(&one, 1, false));
		MAKELOG_OK(commit(&two, 1, false));
	}
	MAKELOG_OK(log_take_turn(lg, &err));
	log_release_turn(lg);
	ck_assert_uint_eq(index_count(&lg->view->index), 2);
	key = commit_key(&one);
	MAKELOG_OK(index_find(&lg->view->index, one.hash, &key, &ref, &err));
	ck_assert_uint_eq(ref.rec.seq, 19);
	key = commit_key(&two);
	MAKELOG_OK(index_find(&lg->view->index, one.hash, &key, &ref, &err));
	ck_assert_uint_eq(ref.rec.seq, 20);
	close_store();
}
END_TEST

/* A delete is a type, never a value. */
START_TEST(an_empty_value_is_a_value)
{
	static const enum kvlog_index_mode modes[] = {
	    KVLOG_INDEX_MEMORY, KVLOG_INDEX_HINTS};
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	open_store();
	MAKELOG_OK(put("empty", 1));
	MAKELOG_OK(put("empty", 0));
	ck_assert_uint_eq(seq_of("empty"), 2);
	MAKELOG_OK(put("new", 0));
	ck_assert_uint_eq(seq_of("new"), 3);
	close_store();
	o.flags = KVLOG_OPEN_READONLY;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		o.index_mode = modes[i];
		MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, &err));
		ck_assert_uint_eq(seq_of("empty"), 2);
		close_store();
	}
}
END_TEST

/* Bytes that a size_t cannot count are not allocated modulo its range. */
START_TEST(a_batch_may_have_more_steps_than_bytes_to_count_them)
{
	struct commit_op op;

	open_store();
	op = op_of(RECORD_PUT, "key", 3);
	ck_assert_int_eq(
	    commit(&op, SIZE_MAX / sizeof(uint64_t) + 2, false), KVLOG_NOMEM);
	ck_assert_int_eq(err.status, KVLOG_NOMEM);
	close_store();
}
END_TEST

/* Memory that is wanting is noticed before anything is written. */
#define MANY 3000u /* more than an empty index has room for */

START_TEST(want_of_memory_writes_nothing)
{
	static struct commit_op ops[MANY];
	static char keys[MANY][16];
	enum kvlog_status st;
	uint64_t nth = 1;

	open_store();
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(keys[i], sizeof keys[i], "key%u", i);
		ops[i] = op_of(RECORD_PUT, keys[i], 3);
	}
	for (;; nth++) {
		uint64_t end = segment_end(log_active(lg));

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, true);
		st = commit(ops, MANY, false);
		simos_fail_clear();
		if (st == KVLOG_OK)
			break;
		ck_assert_int_eq(st, KVLOG_NOMEM);
		ck_assert_uint_eq(segment_end(log_active(lg)), end);
		ck_assert_uint_eq(lg->view->next_seq, 1);
		ck_assert_uint_eq(seq_of("key0"), 0);
		ck_assert_uint_lt(nth, 10000);
	}
	ck_assert_uint_gt(nth, 2);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(seq_of(keys[i]), 1);
	close_store();
}
END_TEST

/* Rollover. */

START_TEST(a_rollover_seals_by_the_link)
{
	struct segment *old, *seg;
	uint64_t end, last, hash;
	const uint8_t *bytes;
	uint64_t size;

	open_store();
	(void)fill_to(1);
	MAKELOG_OK(put("a", 3000));
	old = log_active(lg);
	end = segment_end(old);
	last = receipt.seq;
	ck_assert(old->map.writable);
	MAKELOG_OK(put("b", 900)); /* does not fit */
	seg = log_active(lg);
	ck_assert_ptr_ne(seg, old);
	ck_assert_uint_eq(segment_number(seg), 2);
	ck_assert_uint_eq(receipt.segment, 2);
	ck_assert_uint_eq(receipt.offset, SEGMENT_DATA_OFF);
	ck_assert(seg->link_ok);
	ck_assert_uint_eq(seg->link.prev_salt, old->header.salt);
	ck_assert_uint_eq(seg->link.prev_end, end);
	ck_assert_uint_eq(seg->link.prev_last_seq, last);
	ck_assert_uint_eq(seg->link.first_seq, last + 1);
	ck_assert(!seg->link.durable);
	ck_assert_uint_eq(segment_end(old), end);
	ck_assert_uint_eq(old->last_seq, last);
	ck_assert_mem_eq(
	    &old->header.store, &seg->header.store, sizeof old->header.store);

	/* INV-1: read-only from now on, and never changed again. */
	ck_assert(!old->map.writable);
	ck_assert(simos_peek(makelog_path(ONE), &bytes, &size));
	hash = sum_crc(bytes, (size_t)size);
	(void)fill_to(4);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("c", 900));
	while (store_maintain_step(db->store, 0))
		;
	/* What is durable by now, the next link says. */
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	end = segment_end(log_active(lg));
	MAKELOG_OK(put("d", 3000));
	ck_assert_uint_eq(segment_number(log_active(lg)), 5);
	ck_assert(log_active(lg)->link.durable);
	ck_assert_uint_eq(log_active(lg)->link.prev_end, end);
	close_store();
	ck_assert(simos_peek(makelog_path(ONE), &bytes, &size));
	ck_assert_uint_eq(sum_crc(bytes, (size_t)size), hash);
}
END_TEST

/* A record ends where the segment does; with 8 bytes more it gets another. */
START_TEST(a_segment_is_used_to_its_last_byte)
{
	for (size_t more = 0; more <= 8; more += 8) {
		const struct segment *old;
		uint64_t room;

		open_store();
		(void)fill_to(1);
		old = log_active(lg);
		room = log_room(old);
		MAKELOG_OK(
		    put("k", (size_t)room - RECORD_HEADER_SIZE - 1 + more));
		ck_assert_uint_eq(receipt.segment, more == 0 ? 1 : 3);
		ck_assert_uint_eq(log_room(old), more == 0 ? 0 : room);
		ck_assert_uint_ge(
		    log_active(lg)->allocated, segment_end(log_active(lg)));
		(void)fill_to(2);
		close_store();
	}
}
END_TEST

/* SEG-4, where writing began with some of the space only. */
START_TEST(nothing_is_stored_behind_what_is_allocated)
{
	const uint64_t size = record_size(0, 1, 100);

	open_store();
	for (uint64_t less = 0; less <= 8; less += 8) {
		log_active(lg)->allocated =
		    segment_end(log_active(lg)) + size - less;
		MAKELOG_OK(put("k", 100));
		ck_assert_uint_eq(log_active(lg)->allocated,
		    less == 0 ? segment_end(log_active(lg)) : MAKELOG_SIZE);
	}
	close_store();
}
END_TEST

START_TEST(a_sealed_segment_cannot_be_stored_into)
{
	open_store();
	(void)fill_to(2);
	/* The simulated machine aborts, as a processor would. */
	if (freopen("/dev/null", "w", stderr) == NULL)
		return;
	(void)os->store(
	    &lg->view->set->segments[0]->map, SEGMENT_DATA_OFF, "x", 1);
}
END_TEST

START_TEST(a_batch_never_spans_segments)
{
	struct commit_op ops[30];
	char keys[30][16];
	struct record rec;
	uint64_t off = SEGMENT_DATA_OFF, records = 0;
	bool bad;

	open_store();
	for (unsigned i = 0; i < 30; i++) {
		snprintf(keys[i], sizeof keys[i], "key%u", i);
		ops[i] = op_of(RECORD_PUT, keys[i], 800);
	}
	MAKELOG_OK(put("a", 800));
	MAKELOG_OK(commit(ops, 3, false)); /* just fits */
	ck_assert_uint_eq(receipt.segment, 1);
	MAKELOG_OK(commit(ops, 3, false));
	ck_assert_uint_eq(receipt.segment, 2);
	/* More than a segment: it gets one of its size. */
	MAKELOG_OK(commit(ops, 30, false));
	ck_assert_uint_eq(receipt.segment, 3);
	ck_assert_uint_gt(log_active(lg)->header.size, 30 * 800);
	for (; segment_walk(
		 log_active(lg), &off, segment_end(log_active(lg)), &rec, &bad);
	     off += rec.size, records++) {
		ck_assert_uint_eq(rec.seq, receipt.seq);
		ck_assert_int_eq((rec.flags & RECORD_CONT) != 0, records > 0);
		ck_assert_int_eq((rec.flags & RECORD_MORE) != 0, records < 29);
	}
	ck_assert(!bad);
	ck_assert_uint_eq(records, 30);
	close_store();
}
END_TEST

START_TEST(a_spare_is_ready_when_it_is_wanted)
{
	struct calls calls;

	open_store();
	ck_assert(!log_prepare_spare(lg)); /* not before the first rollover */
	(void)fill_to(2);
	ck_assert(log_prepare_spare(lg));
	ck_assert(makelog_exists("spare"));
	ck_assert(!makelog_exists("next.tmp"));
	ck_assert(!log_prepare_spare(lg));
	calls_begin(&calls);
	(void)fill_to(3);
	calls_end(&calls);
	ck_assert_uint_eq(calls_count(&calls, "create"), 0);
	ck_assert_uint_eq(
	    calls_count(&calls, "rename spare to 00000003.seg"), 1);
	calls_fini(&calls);
	/* One that is too small is thrown away. */
	ck_assert(log_prepare_spare(lg));
	MAKELOG_OK(put("a", 3000));
	MAKELOG_OK(put("a", 3000));
	{
		struct commit_op ops[2] = {
		    op_of(RECORD_PUT, "x", 3000), op_of(RECORD_PUT, "y", 3000)};

		(void)log_prepare_spare(lg);
		MAKELOG_OK(commit(ops, 2, false));
	}
	ck_assert_uint_gt(log_active(lg)->header.size, MAKELOG_SIZE);
	ck_assert(!makelog_exists("spare"));
	(void)log_prepare_spare(lg);
	ck_assert(makelog_exists("spare"));
	close_store();
	ck_assert(!makelog_exists("spare"));
}
END_TEST

/* All that is due ahead of the log: what it calls, until calls_fini(). */
static void
prepare_all(struct calls *calls)
{
	calls_begin(calls);
	(void)log_prepare_spare(lg);
	while (log_prepare_pages(lg, true))
		;
	calls_end(calls);
}

/* So often was a segment from there on, and as far as to, given this advice. */
static unsigned
advised(const struct calls *calls, const char *name, uint64_t from, uint64_t to,
    enum os_advice advice)
{
	char call[200];

	snprintf(call, sizeof call,
	    "advise %s + %" PRIu64 ", %" PRIu64 " bytes: %d", name, from,
	    to - from, (int)advice);
	return calls_count(calls, call);
}

/* How far the spare is to be prepared. */
static uint64_t
in_step(void)
{
	return 4 * (segment_end(log_active(lg)) - SEGMENT_DATA_OFF);
}

/* It keeps step with what the active segment holds, is synced only if what is
 * written is synced at once, and takes to the log as it is. */
START_TEST(blocks_of_the_spare_are_written_ahead_of_durable_commits)
{
	struct calls calls;
	uint64_t done;

	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	prepare_all(&calls);
	done = in_step();
	ck_assert_uint_eq(
	    advised(&calls, "spare", 0, done, OS_ADVICE_POPULATE), 1);
	ck_assert_uint_eq(
	    advised(&calls, "spare", 0, done, OS_ADVICE_FORGET), 1);
	ck_assert_uint_eq(calls_count(&calls, "advise 0"), 0);
	/* One to make it, one for the blocks. */
	ck_assert_uint_eq(calls_count(&calls, "sync "), 2);
	calls_fini(&calls);
	prepare_all(&calls);
	ck_assert_uint_eq(calls_count(&calls, "sync "), 0);
	calls_fini(&calls);

	MAKELOG_OK(put("a", 100));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	prepare_all(&calls);
	ck_assert_uint_eq(
	    advised(&calls, "spare", done, in_step(), OS_ADVICE_POPULATE), 1);
	ck_assert_uint_eq(calls_count(&calls, "sync spare"), 1);
	calls_fini(&calls);
	done = in_step();
	(void)fill_to(3);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert_uint_eq(log_active(lg)->prepared, done);
	close_store();
}
END_TEST

START_TEST(blocks_of_the_first_segment_are_written_for_durable_commits)
{
	for (int d = KVLOG_DURABILITY_COMMIT; d <= KVLOG_DURABILITY_NONE; d++) {
		struct kvlog_options o = KVLOG_OPTIONS_INIT;
		struct calls calls;
		char path[40];

		snprintf(path, sizeof path, MAKELOG_STORE "%d", d);
		o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
		o.segment_size = MAKELOG_SIZE;
		o.durability = (enum kvlog_durability)d;
		calls_begin(&calls);
		MAKELOG_OK(kvlog_open(path, &o, &db, &err));
		calls_end(&calls);
		ck_assert_uint_eq(advised(&calls, "first.tmp", 0, MAKELOG_SIZE,
				      OS_ADVICE_POPULATE),
		    d == KVLOG_DURABILITY_COMMIT);
		calls_fini(&calls);
		close_store();
	}
}
END_TEST

START_TEST(pages_are_populated_ahead_of_other_commits)
{
	struct calls calls;
	uint64_t end;

	open_store();
	(void)fill_to(2);
	end = segment_end(log_active(lg));
	prepare_all(&calls);
	ck_assert_uint_eq(
	    advised(&calls, TWO, end, MAKELOG_SIZE, OS_ADVICE_POPULATE), 1);
	ck_assert_uint_eq(
	    advised(&calls, "spare", 0, in_step(), OS_ADVICE_POPULATE), 1);
	ck_assert_uint_eq(calls_count(&calls, "sync spare"), 0);
	calls_fini(&calls);
	/* Each process does so for itself, the spare one for all. */
	(void)fill_to(3);
	calls_begin(&calls);
	(void)log_prepare_spare(lg);
	while (log_prepare_pages(lg, false))
		;
	calls_end(&calls);
	ck_assert_uint_eq(calls_count(&calls, "advise 00000003.seg"), 1);
	ck_assert_uint_eq(calls_count(&calls, "advise spare"), 0);
	calls_fini(&calls);
	close_store();
}
END_TEST

static struct commit_op
large_op(void)
{
	static uint8_t value[256 << 10];
	struct commit_op op = op_of(RECORD_PUT, "large", 0);

	op.value = value;
	op.value_len = sizeof value;
	return op;
}

/* A segment that commits of this size roll over to, and its advice. */
static uint64_t
size_after(const struct commit_op *op, unsigned huge, bool synced)
{
	uint32_t number = segment_number(log_active(lg)) + 1;
	struct calls calls;

	while (segment_number(log_active(lg)) < number) {
		MAKELOG_OK(commit(op, 1, false));
		if (synced)
			MAKELOG_OK(log_sync(lg, receipt.seq, &err));
		(void)log_prepare_pages(lg, true);
	}
	calls_begin(&calls);
	ck_assert(log_prepare_spare(lg));
	calls_end(&calls);
	ck_assert_uint_eq(advised(&calls, "next.tmp", 0, lg->spare->header.size,
			      OS_ADVICE_HUGE),
	    huge);
	calls_fini(&calls);
	return lg->spare->header.size;
}

/* How often the active segment is said to be read at random when the next one
 * follows it, filled by such commits. */
static unsigned
random_when_sealed(const struct commit_op *op)
{
	const struct segment *seg = log_active(lg);
	struct calls calls;
	unsigned times;

	calls_begin(&calls);
	while (log_active(lg) == seg)
		MAKELOG_OK(commit(op, 1, false));
	calls_end(&calls);
	times =
	    advised(&calls, seg->name, 0, seg->header.size, OS_ADVICE_RANDOM);
	calls_fini(&calls);
	return times;
}

START_TEST(a_look_up_in_a_sealed_segment_reads_a_page)
{
	struct commit_op large, small;

	ck_assert_int_eq(open_at(MAKELOG_STORE, 8 << 20), KVLOG_OK);
	large = large_op();
	small = op_of(RECORD_PUT, "small", 1000);
	ck_assert_uint_eq(random_when_sealed(&small), 1);
	ck_assert_uint_eq(random_when_sealed(&large), 1);
	/* But if it was made for large ones: */
	ck_assert_uint_eq(random_when_sealed(&large), 0);
	close_store();
}
END_TEST

/* Readers of what is given to the disk do not wait for it. */
START_TEST(what_is_synced_stays_mapped)
{
	const struct segment *sealed, *active;
	struct calls calls;
	bool more;

	ck_assert_int_eq(open_at(MAKELOG_STORE, 1 << 20), KVLOG_OK);
	(void)fill_to(2);
	sealed = lg->view->set->segments[0];
	calls_begin(&calls);
	MAKELOG_OK(log_sync_sealed(lg, &more, &err));
	calls_end(&calls);
	ck_assert_uint_eq(advised(&calls, sealed->name, 0, segment_end(sealed),
			      OS_ADVICE_RENEW),
	    1);
	calls_fini(&calls);
	active = log_active(lg);
	while (segment_end(active) < SEGMENT_DATA_OFF + (64 << 10))
		MAKELOG_OK(put("a", 1000));
	calls_begin(&calls);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	calls_end(&calls);
	ck_assert_uint_eq(advised(&calls, active->name, 0, segment_end(active),
			      OS_ADVICE_RENEW),
	    1);
	calls_fini(&calls);
	close_store();
}
END_TEST

START_TEST(segments_have_room_for_some_large_commits)
{
	struct commit_op large, small;
	const uint64_t some = 16 * 256 << 10;

	ck_assert_int_eq(open_at(MAKELOG_STORE, 8 << 20), KVLOG_OK);
	large = large_op();
	small = op_of(RECORD_PUT, "small", 1000);
	ck_assert_uint_gt(size_after(&large, 1, false), some);
	ck_assert_uint_eq(size_after(&small, 0, false), 1 << 20);
	/* A huge page is not written for each of them. */
	(void)size_after(&large, 0, true);
	ck_assert_uint_gt(size_after(&large, 0, true), some);
	/* No more than were asked for. */
	lg->segment_size = some / 2;
	ck_assert_uint_eq(size_after(&large, 1, false), some / 2);
	close_store();
}
END_TEST

START_TEST(a_spare_whose_blocks_cannot_be_written_is_dropped)
{
	struct calls calls;

	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	prepare_all(&calls);
	simos_fail_clear();
	ck_assert_uint_eq(calls_count(&calls, "sync spare"), 1);
	calls_fini(&calls);
	ck_assert(!makelog_exists("spare"));
	ck_assert_ptr_null(lg->spare);
	/* It was no sync of the log. */
	(void)fill_to(3);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	close_store();
}
END_TEST

static void
is_not_of_the_log(int fd)
{
	ck_assert_int_ne(fd, log_active(lg)->fd);
	ck_assert_int_ne(fd, lg->spare->fd);
}

static void
never_synced(int fd)
{
	ck_abort_msg("descriptor %d", fd);
}

static void (*on_populate)(void);

static void
hooked_advise(
    const struct os_map *map, uint64_t off, uint64_t len, enum os_advice advice)
{
	const struct os_map same = *map;
	void (*fn)(void) = on_populate;

	on_populate = NULL; /* once */
	if (advice == OS_ADVICE_POPULATE && fn != NULL)
		fn();
	plain->advise(&same, off, len, advice); /* it must still be mapped */
}

START_TEST(a_sync_of_the_spare_does_not_hide_a_failure_from_the_log)
{
	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	hook();
	on_sync = is_not_of_the_log;
	ck_assert(log_prepare_pages(lg, true));
	unhook();
	close_store();
}
END_TEST

static void
outgrow_the_spare(void)
{
	struct commit_op ops[2] = {
	    op_of(RECORD_PUT, "x", 3000), op_of(RECORD_PUT, "y", 3000)};

	MAKELOG_OK(commit(ops, 2, false));
	ck_assert_ptr_null(lg->spare);
}

static void
use_the_spare(void)
{
	(void)fill_to(3);
	ck_assert_ptr_null(lg->spare);
}

static void
fail_to_use_the_spare(void)
{
	simos_fail(SIMOS_RENAME, 1, EIO, false);
	while (put("a", 900) == KVLOG_OK)
		;
	simos_fail_clear();
	ck_assert_ptr_null(lg->spare);
}

/* Its name is that of another file by then. */
static void
replace_the_spare(void)
{
	outgrow_the_spare();
	ck_assert(log_prepare_spare(lg));
	on_sync = never_synced;
}

/* _i: what a commit does with the spare meanwhile. */
START_TEST(a_spare_that_is_being_prepared_may_be_used_or_dropped)
{
	static void (*const meanwhile[])(void) = {outgrow_the_spare,
	    use_the_spare, fail_to_use_the_spare, replace_the_spare};

	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	hook();
	hooked.advise = hooked_advise;
	on_populate = meanwhile[_i];
	ck_assert(log_prepare_pages(lg, true));
	ck_assert_ptr_null(on_populate);
	unhook();
	MAKELOG_OK(put("b", 900));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	close_store();
}
END_TEST

static void
outgrow_the_spare_and_fail(int fd)
{
	(void)fd;
	outgrow_the_spare();
	simos_fail(SIMOS_SYNC, 1, EIO, false);
}

START_TEST(a_spare_that_cannot_be_written_may_be_gone)
{
	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	hook();
	on_sync = outgrow_the_spare_and_fail;
	ck_assert(log_prepare_pages(lg, true));
	unhook();
	simos_fail_clear();
	MAKELOG_OK(put("b", 900));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	close_store();
}
END_TEST

static void
fail_and_end_all_turns(int fd)
{
	(void)fd;
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	simos_fail(SIMOS_MUTEX, 1, ENOTRECOVERABLE, true);
}

/* It is not known then whether it is in use. */
START_TEST(a_spare_that_cannot_be_written_is_told_without_a_turn_too)
{
	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	hook();
	on_sync = fail_and_end_all_turns;
	ck_assert(log_prepare_pages(lg, true));
	unhook();
	simos_fail_clear();
	ck_assert(control_poisoned(lg->control));
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
}
END_TEST

static void
use_the_spare_and_fail(int fd)
{
	(void)fd;
	use_the_spare();
	simos_fail(SIMOS_SYNC, 1, EIO, false);
}

/* Another process may open it later, and its syncs would not hear of this. */
START_TEST(a_spare_that_cannot_be_written_may_have_commits_already)
{
	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_prepare_spare(lg));
	hook();
	on_sync = use_the_spare_and_fail;
	ck_assert(log_prepare_pages(lg, true));
	unhook();
	simos_fail_clear();
	ck_assert_int_eq(put("b", 900), KVLOG_BROKEN);
	ck_assert(control_poisoned(lg->control));
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
}
END_TEST

/* _i: the call that fails while the next segment is made. */
START_TEST(a_rollover_that_fails_leaves_all_as_it_was)
{
	static const enum simos_kind kinds[] = {SIMOS_CREATE, SIMOS_ALLOCATE,
	    SIMOS_PWRITE, SIMOS_SYNC, SIMOS_MAP, SIMOS_RENAME, SIMOS_RANDOM};
	uint64_t end, next;

	open_store();
	MAKELOG_OK(put("a", 3000));
	end = segment_end(log_active(lg));
	next = lg->view->next_seq;
	for (unsigned i = 0; i < 3; i++) {
		simos_fail(kinds[_i], 1, EIO, false);
		ck_assert_int_eq(put("b", 3000), KVLOG_IO);
		simos_fail_clear();
		ck_assert_uint_eq(segment_number(log_active(lg)), 1);
		ck_assert_uint_eq(segment_end(log_active(lg)), end);
		ck_assert_uint_eq(lg->view->next_seq, next);
		ck_assert_uint_eq(lg->view->set->count, 1);
		ck_assert(!makelog_exists("spare"));
		ck_assert(log_active(lg)->map.writable);
	}
	MAKELOG_OK(put("c", 10)); /* what fits goes on */
	MAKELOG_OK(put("b", 3000));
	ck_assert_uint_eq(segment_number(log_active(lg)), 2);
	close_store();
}
END_TEST

START_TEST(a_full_disk_takes_deletes_only)
{
	unsigned i;

	open_store();
	simos_set_capacity(simos_used());
	MAKELOG_OK(put("a", 3000));
	ck_assert_int_eq(put("b", 900), KVLOG_NOSPACE);
	ck_assert(!atomic_load(&lg->broken));
	/* Deletes go on, in the reserve when the segment is full. */
	for (i = 0; segment_number(log_active(lg)) == 1; i++)
		MAKELOG_OK(delete ("a"));
	ck_assert_uint_gt(i, 5);
	ck_assert(control_reserve_used(lg->control));
	ck_assert(!makelog_exists("reserve"));
	ck_assert_int_eq(put("b", 1), KVLOG_NOSPACE);
	MAKELOG_OK(delete ("a"));
	simos_set_capacity(UINT64_MAX);
	MAKELOG_OK(put("b", 1));
	ck_assert(makelog_exists("reserve"));
	ck_assert(!control_reserve_used(lg->control));
	close_store();
}
END_TEST

/* Syncs. */

START_TEST(a_sync_covers_names_then_segments_oldest_first)
{
	const char *const order[] = {
	    "sync_dir", /* INV-3 */
	    "sync " ONE,
	    "sync " TWO,
	    "sync 00000003.seg",
	    "store_word kvlog.lock", /* durable */
	    NULL,
	};
	struct calls calls;

	open_store();
	(void)fill_to(3);
	calls_begin(&calls);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	calls_end(&calls);
	calls_in_order(&calls, order);
	ck_assert_uint_eq(calls_count(&calls, "sync "), 3);
	ck_assert_uint_eq(calls_count(&calls, "sync_dir"), 1);
	calls_fini(&calls);
	ck_assert_uint_eq(durable(), receipt.seq);
	ck_assert_uint_eq(
	    control_synced(lg->control), recovery_end_pos(log_active(lg)));
	close_store();
}
END_TEST

static unsigned ticks; /* looks at the clock */

static void
commit_beside_it(int fd)
{
	(void)fd;
	on_sync = NULL;
	MAKELOG_OK(put("b", 10));
}

static uint64_t
count_ticks(void)
{
	ticks++;
	return plain->ticks_ns();
}

static uint64_t
commit_while_it_waits(void)
{
	if (ticks++ == 1)
		MAKELOG_OK(put("c", 10));
	return plain->ticks_ns();
}

/* As other processes write: what they publish is no thread's that waits. */
START_TEST(a_sync_waits_a_moment_for_those_who_took_part_in_the_last)
{
	uint64_t alone;

	open_store();
	hook();
	hooked.ticks_ns = count_ticks;
	MAKELOG_OK(put("a", 10));
	ticks = 0;
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	alone = ticks;
	MAKELOG_OK(put("a", 10));
	on_sync = commit_beside_it;
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert_uint_eq(durable() + 1, receipt.seq);

	hooked.ticks_ns = commit_while_it_waits;
	ticks = 0;
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert_uint_eq(durable(), receipt.seq);
	ck_assert_uint_eq(durable(), 4);

	/* Whoever was alone does not; nor for long if nobody comes. */
	hooked.ticks_ns = count_ticks;
	MAKELOG_OK(put("a", 10));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("a", 100));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("a", 10));
	ticks = 0;
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert_uint_eq(ticks, alone);
	unhook();
	close_store();
}
END_TEST

START_TEST(one_sync_is_enough_when_nothing_else_is_unsynced)
{
	struct calls calls;

	open_store();
	(void)fill_to(3);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("a", 1));
	calls_begin(&calls);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	calls_end(&calls);
	ck_assert_uint_eq(calls_count(&calls, "sync"), 1);
	ck_assert_uint_eq(calls_count(&calls, "sync 00000003.seg"), 1);
	calls_fini(&calls);
	/* And none at all when a sync has covered it already: that is how
	 * those who wait share one. */
	calls_begin(&calls);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(log_sync(lg, 1, &err));
	calls_end(&calls);
	ck_assert_str_eq(calls.text, "");
	calls_fini(&calls);
	close_store();
}
END_TEST

/* More sealed segments than one sync takes. */
START_TEST(a_long_backlog_is_synced_in_order)
{
	struct calls calls;

	open_store();
	(void)fill_to(140);
	calls_begin(&calls);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	calls_end(&calls);
	ck_assert_uint_eq(calls_count(&calls, "sync "), 140);
	calls_fini(&calls);
	ck_assert_uint_eq(durable(), receipt.seq);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	simos_forget();
	open_store();
	ck_assert_uint_eq(log_last_seq(lg), receipt.seq);
	close_store();
}
END_TEST

START_TEST(sealed_segments_are_synced_one_at_a_time)
{
	struct control_state state;
	struct calls calls;
	uint64_t before;
	bool more = false;

	open_store();
	before = durable();
	MAKELOG_OK(log_sync_sealed(lg, &more, &err));
	ck_assert(!more);
	(void)fill_to(3);
	for (size_t i = 0; i < 2; i++) {
		char call[32];

		snprintf(call, sizeof call, "sync 0000000%zu.seg", i + 1);
		calls_begin(&calls);
		MAKELOG_OK(log_sync_sealed(lg, &more, &err));
		calls_end(&calls);
		ck_assert(more);
		ck_assert_uint_eq(calls_count(&calls, "sync "), 1);
		ck_assert_uint_eq(calls_count(&calls, call), 1);
		/* A sync has reached into the first one before. */
		ck_assert_uint_eq(calls_count(&calls, "sync_dir"), i == 1);
		calls_fini(&calls);
		ck_assert_uint_gt(durable(), before);
		ck_assert_uint_eq(
		    durable(), lg->view->set->segments[i]->last_seq);
		ck_assert(control_read(lg->control, &state));
		ck_assert_uint_eq(
		    state.synced, control_pos((uint32_t)i + 1,
				      segment_end(lg->view->set->segments[i])));
		ck_assert_uint_eq(state.syncing, 0);
		before = durable();
	}
	calls_begin(&calls);
	MAKELOG_OK(log_sync_sealed(lg, &more, &err));
	calls_end(&calls);
	ck_assert(!more);
	ck_assert_uint_eq(calls_count(&calls, "sync"), 0);
	ck_assert_uint_eq(calls_count(&calls, "store"), 0);
	calls_fini(&calls);
	ck_assert_uint_lt(durable(), receipt.seq);
	close_store();
}
END_TEST

/* INV-3: a sync covers only what was stored before it began. */
static void
commit_during_sync(int fd)
{
	(void)fd;
	MAKELOG_OK(put("late", 1));
}

/* The same, and what it commits begins a new segment. */
static void
roll_over_during_sync(int fd)
{
	(void)fd;
	MAKELOG_OK(put("late", 3000));
}

/* _i: whether there is a rollover. */
START_TEST(a_commit_during_a_sync_is_not_covered)
{
	uint64_t early;

	open_store();
	MAKELOG_OK(put("early", 900));
	early = receipt.seq;
	hook();
	on_sync = _i == 0 ? commit_during_sync : roll_over_during_sync;
	MAKELOG_OK(log_sync(lg, early, &err));
	unhook();
	ck_assert_uint_eq(receipt.seq, early + 1);
	ck_assert_uint_eq(segment_number(log_active(lg)), _i == 0 ? 1 : 2);
	ck_assert_uint_eq(durable(), early);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert_uint_eq(durable(), early + 1);
	close_store();
}
END_TEST

/* _i: of a segment, or of the directory. */
START_TEST(a_failed_sync_is_never_tried_again)
{
	struct control_state state;
	struct kvlog_error why;
	uint64_t before, syncs, dirs;

	open_store();
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	before = durable();
	(void)fill_to(2);
	simos_fail(_i == 0 ? SIMOS_SYNC : SIMOS_SYNC_DIR, 1, EIO, false);
	ck_assert_int_eq(log_sync(lg, receipt.seq, &err), KVLOG_BROKEN);
	ck_assert_int_eq(err.sys_errno, EIO);
	simos_fail_clear();
	ck_assert_uint_eq(durable(), before);
	ck_assert(control_read(lg->control, &state));
	ck_assert_uint_eq(state.poison, 1);
	ck_assert_uint_eq(state.durable, before);

	syncs = simos_count(SIMOS_SYNC);
	dirs = simos_count(SIMOS_SYNC_DIR);
	why = err;
	memset(&err, 0, sizeof err);
	ck_assert_int_eq(put("b", 1), KVLOG_BROKEN);
	ck_assert_str_eq(err.text, why.text);
	ck_assert_int_eq(err.sys_errno, EIO);
	ck_assert_int_eq(delete ("a"), KVLOG_BROKEN);
	ck_assert_int_eq(log_sync(lg, receipt.seq, &err), KVLOG_BROKEN);
	ck_assert_int_eq(mark(false), KVLOG_BROKEN);
	ck_assert_int_eq(log_wait(lg, receipt.seq, 1), KVLOG_BROKEN);
	ck_assert_int_eq(log_wait(lg, before, 1), KVLOG_OK);
	MAKELOG_OK(log_sync(lg, before, &err));
	while (store_maintain_step(db->store, 0))
		;
	ck_assert_uint_ne(seq_of("fill2-0"), 0); /* reads go on */
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
	ck_assert_uint_eq(simos_count(SIMOS_SYNC), syncs);
	ck_assert_uint_eq(simos_count(SIMOS_SYNC_DIR), dirs);
}
END_TEST

START_TEST(a_network_file_system_is_refused)
{
	simos_set_fs(OS_FS_NETWORK);
	ck_assert_int_eq(
	    open_at(MAKELOG_STORE, MAKELOG_SIZE), KVLOG_UNSUPPORTED);
	ck_assert_ptr_nonnull(strstr(err.text, "network file system"));
	simos_set_fs(OS_FS_PLAIN);
	open_store();
	close_store();
}
END_TEST

/* On file systems where stores go through pwrite, they can fail. */
START_TEST(a_failed_store_breaks_the_log)
{
	uint64_t end;

	simos_set_fs(OS_FS_COW);
	open_store();
	MAKELOG_OK(put("a", 100));
	end = segment_end(log_active(lg));
	simos_fail(SIMOS_STORE, 1, ENOSPC, false);
	ck_assert_int_eq(put("b", 100), KVLOG_NOSPACE);
	simos_fail_clear();
	ck_assert_uint_eq(segment_end(log_active(lg)), end);
	ck_assert_uint_eq(seq_of("b"), 0);
	ck_assert_int_eq(put("b", 100), KVLOG_BROKEN);
	ck_assert_int_eq(err.status, KVLOG_BROKEN);
	ck_assert_int_eq(err.sys_errno, ENOSPC); /* the first cause */
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
	ck_assert_int_eq(err.sys_errno, ENOSPC);
	open_store();
	ck_assert_uint_eq(seq_of("a"), 1);
	ck_assert_uint_eq(seq_of("b"), 0);
	/* INV-4 */
	ck_assert_uint_gt(segment_number(log_active(lg)), 1);
	MAKELOG_OK(put("b", 100));
	close_store();
}
END_TEST

START_TEST(waiting_ends_when_it_is_durable_or_too_late)
{
	open_store();
	MAKELOG_OK(put("a", 1));
	ck_assert_int_eq(log_wait(lg, receipt.seq, 0), KVLOG_TIMEOUT);
	ck_assert_int_eq(log_wait(lg, receipt.seq, 2), KVLOG_TIMEOUT);
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(log_wait(lg, receipt.seq, 0));
	ck_assert_int_eq(log_wait(lg, receipt.seq + 1, 0), KVLOG_TIMEOUT);
	close_store();
}
END_TEST

static void *
sync_soon(void *arg)
{
	struct timespec pause = {0, 20 * 1000 * 1000};

	(void)nanosleep(&pause, NULL);
	if (log_sync(lg, *(uint64_t *)arg, NULL) != KVLOG_OK)
		abort();
	return NULL;
}

START_TEST(waiting_threads_are_woken)
{
	char *dir = tmpdir_create(), path[1024];
	pthread_t thread;
	uint64_t seq;

	snprintf(path, sizeof path, "%s/db", dir);
	MAKELOG_OK(open_at(path, 1 << 20));
	MAKELOG_OK(put("a", 1));
	seq = receipt.seq;
	ck_assert_int_eq(pthread_create(&thread, NULL, sync_soon, &seq), 0);
	MAKELOG_OK(log_wait(lg, seq, 30000));
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	close_store();
	tmpdir_remove(dir);
}
END_TEST

/* Marks and hints. */

START_TEST(a_mark_says_what_is_durable)
{
	struct record rec;
	uint64_t off, next;

	open_store();
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(log_sync(lg, 1, &err));
	MAKELOG_OK(put("a", 1));
	next = lg->view->next_seq;
	off = segment_end(log_active(lg));
	MAKELOG_OK(mark(false));
	ck_assert_uint_eq(lg->view->next_seq, next);
	ck_assert(segment_parse(log_active(lg), off, &rec));
	ck_assert_int_eq(rec.type, RECORD_MARK);
	ck_assert_int_eq(rec.flags, 0);
	ck_assert_uint_eq(rec.seq, 3);
	ck_assert_uint_eq(record_attests(rec.seq, rec.lag), 2);
	/* One for which there is no room begins a segment. */
	MAKELOG_OK(put("a", (size_t)(log_active(lg)->header.size -
				     segment_end(log_active(lg)) - 29)));
	ck_assert_uint_eq(segment_number(log_active(lg)), 1);
	MAKELOG_OK(mark(true));
	ck_assert_uint_eq(segment_number(log_active(lg)), 2);
	ck_assert(segment_parse(log_active(lg), SEGMENT_DATA_OFF, &rec));
	ck_assert_int_eq(rec.flags, RECORD_CLEAN);
	close_store();
}
END_TEST

/*
 * A hint may be used in place of the records only if these are known to be
 * durable by what survives itself: a record or link that says so, and that a
 * sync has covered.
 */
START_TEST(a_hint_waits_for_durable_evidence)
{
	open_store();
	(void)fill_to(2);
	ck_assert(!log_write_hint(lg, false));
	/* All is durable, but nothing on the disk says so. */
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(!log_write_hint(lg, false));
	/* Something says so, but is not durable itself. */
	MAKELOG_OK(put("a", 1));
	ck_assert(!log_write_hint(lg, false));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(!makelog_exists("00000001.hint"));
	ck_assert(log_write_hint(lg, false)); /* in memory */
	ck_assert(log_write_hint(lg, false)); /* the file */
	ck_assert(makelog_exists("00000001.hint"));
	ck_assert_uint_eq(lg->view->set->segments[0]->hinted_to,
	    segment_end(lg->view->set->segments[0]));
	ck_assert(!log_write_hint(lg, false));
	ck_assert(!makelog_exists("00000002.hint")); /* it is active */
	close_store();
}
END_TEST

static const struct hint *
last_hint(void)
{
	struct hint_list *list = hint_list_get(&lg->view->hints);
	const struct hint *hint = list->hints[list->count - 1];

	hint_list_put(list);
	return hint; /* nobody merges meanwhile */
}

static uint64_t
hurried_ticks_ns(void)
{
	static uint64_t ns = 0;

	ns += UINT64_C(2000000000);
	return ns;
}

/* Where what is compared has to be read from the disk, it takes too long. */
START_TEST(closing_merges_hints_for_a_while_only)
{
	for (unsigned hurried = 0; hurried < 2; hurried++) {
		struct os_table hurry = *os;
		char path[40];

		snprintf(path, sizeof path, MAKELOG_STORE "%u", hurried);
		ck_assert_int_eq(open_at(path, MAKELOG_SIZE), KVLOG_OK);
		(void)fill_to(3);
		MAKELOG_OK(log_sync(lg, receipt.seq, &err));
		MAKELOG_OK(put("a", 1));
		MAKELOG_OK(log_sync(lg, receipt.seq, &err));
		hurry.ticks_ns = hurried_ticks_ns;
		plain = os;
		if (hurried)
			os = &hurry;
		close_store();
		os = plain;
		ck_assert_int_eq(open_at(path, MAKELOG_SIZE), KVLOG_OK);
		if (hurried)
			ck_assert_uint_ge(hintset_count(&lg->view->hints), 2);
		else
			ck_assert_uint_eq(hintset_count(&lg->view->hints), 1);
		close_store();
	}
}
END_TEST

/* A step of background work must not keep a sync waiting: it sorts a part of
 * a large segment, up to some commit's beginning. */
START_TEST(hints_of_a_large_segment_are_made_in_steps)
{
	const uint32_t much = 80000000; /* of which a sixteenth is a segment */
	struct commit_op ops[3];
	char keys[3][16];
	struct record rec;
	uint64_t to, big;

	ck_assert_int_eq(open_at(MAKELOG_STORE, UINT64_C(8) << 20), KVLOG_OK);
	ops[0] = op_of(RECORD_PUT, "much", much);
	ops[0].value = calloc(much, 1);
	ck_assert_ptr_nonnull(ops[0].value);
	MAKELOG_OK(commit(ops, 1, false));
	ops[0].key = "m"; /* begins a segment */
	ops[0].key_len = 1;
	ops[0].value_len = 5000;
	MAKELOG_OK(commit(ops, 1, false));
	free((void *)(uintptr_t)ops[0].value);
	MAKELOG_OK(put("b", 1));
	big = segment_number(log_active(lg));
	for (unsigned i = 0; i < 30000; i++) {
		for (unsigned n = 0; n < 3; n++) {
			snprintf(keys[n], sizeof keys[n], "%u-%u", i, n);
			ops[n] = op_of(RECORD_PUT, keys[n], 0);
		}
		MAKELOG_OK(commit(ops, 3, false));
	}
	for (unsigned i = 0; i < 2; i++) { /* the second attests the first */
		MAKELOG_OK(put("a", 1));
		MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	}
	ck_assert_uint_eq(segment_number(log_active(lg)), big);
	while (atomic_load(&log_active(lg)->hinted_to) == 0)
		ck_assert(log_write_hint(lg, false));
	to = atomic_load(&log_active(lg)->hinted_to);
	ck_assert_uint_eq(last_hint()->entry_count, 2 + 3 * 21845);
	ck_assert(segment_parse(log_active(lg), to, &rec));
	ck_assert_uint_eq(rec.flags & (RECORD_CONT | RECORD_MORE), RECORD_MORE);
	while (log_write_hint(lg, false))
		;
	ck_assert_uint_gt(atomic_load(&log_active(lg)->hinted_to), to);
	ck_assert_uint_lt(last_hint()->entry_count, 90000 - 65000);
	close_store();
}
END_TEST

/* That the next segment attests the sealed one is worth nothing before it is
 * synced itself. */
/* Of what stands in the active segment a file covers no more than that. */
START_TEST(a_hint_ends_where_durable_evidence_does)
{
	const size_t len = MAKELOG_VALUE_MAX;

	simos_set_shadow(false);
	MAKELOG_OK(open_at(MAKELOG_STORE, UINT64_C(2) << 20));
	for (unsigned i = 0; i < 200; i++) {
		MAKELOG_OK(put("k", len));
		if (i == 99 || i == 100)
			MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	}
	ck_assert_uint_eq(segment_number(log_active(lg)), 1);
	ck_assert_uint_eq(lg->evidence_synced, 100);
	while (log_write_hint(lg, false))
		;
	ck_assert_ptr_nonnull(makelog_hint());
	ck_assert_uint_eq(log_active(lg)->hinted_seq, 100);
	close_store();
}
END_TEST

START_TEST(a_sealed_segment_is_no_evidence_of_itself)
{
	bool more;

	open_store();
	(void)fill_to(2);
	MAKELOG_OK(log_sync_sealed(lg, &more, &err));
	ck_assert(more);
	ck_assert_uint_eq(durable(), lg->view->set->segments[0]->last_seq);
	ck_assert(!log_write_hint(lg, false));
	close_store();
}
END_TEST

/* A link that says so serves as well; it is synced with its segment. */
START_TEST(a_link_is_evidence_when_it_is_durable)
{
	open_store();
	MAKELOG_OK(put("a", 900));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("b", 3000));
	ck_assert_uint_eq(segment_number(log_active(lg)), 2);
	ck_assert(log_active(lg)->link.durable);
	ck_assert(!log_write_hint(lg, false));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	ck_assert(log_write_hint(lg, false));
	close_store();
}
END_TEST

/* The background thread's mark may wait for a sync that then fails: it must not
 * try again what that one could not write. */
START_TEST(a_mark_is_not_synced_when_a_sync_has_failed)
{
	uint64_t before, syncs;

	open_store();
	MAKELOG_OK(put("a", 1));
	before = durable();
	simos_fail(SIMOS_SYNC, 1, EIO, false);
	ck_assert_int_eq(log_sync(lg, receipt.seq, &err), KVLOG_BROKEN);
	simos_fail_clear();
	syncs = simos_count(SIMOS_SYNC);
	ck_assert_int_eq(log_sync_mark(lg, &err), KVLOG_BROKEN);
	ck_assert_uint_eq(simos_count(SIMOS_SYNC), syncs);
	ck_assert_uint_eq(durable(), before);
	(void)kvlog_close(db, &err);
}
END_TEST

/* A hint is a cache: that it cannot be written harms nobody. */
START_TEST(a_hint_that_fails_is_not_tried_again)
{
	open_store();
	MAKELOG_OK(put("a", 900));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(put("b", 3000));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	simos_fail(SIMOS_RENAME, 1, EIO, false);
	ck_assert(log_write_hint(lg, false));
	ck_assert(!log_write_hint(lg, false));
	simos_fail_clear();
	ck_assert(!log_write_hint(lg, false));
	ck_assert(!makelog_exists("00000001.hint"));
	ck_assert(!makelog_exists("00000001.hint.tmp"));
	ck_assert(!atomic_load(&lg->broken));
	MAKELOG_OK(put("c", 1));
	close_store();
}
END_TEST

START_TEST(closing_says_durably_that_all_is_durable)
{
	const char *const order[] = {
	    "sync " ONE,
	    "sync " TWO,
	    "store 00000002.seg", /* the mark */
	    "sync " TWO,
	    "store kvlog.lock", /* the end note */
	    NULL,
	};
	struct kvlog_stats stats = {.size = sizeof stats};
	struct calls calls;

	open_store();
	(void)fill_to(2);
	calls_begin(&calls);
	close_store();
	calls_end(&calls);
	calls_in_order(&calls, order);
	ck_assert_ptr_nonnull(calls_find(
	    calls.text, "rename 00000001.hint.tmp to 00000001.hint"));
	calls_fini(&calls);
	/* Nothing was read but the active segment, nothing found. */
	open_store();
	MAKELOG_OK(kvlog_stats_get(db, &stats));
	ck_assert_uint_eq(stats.recovery, 0);
	/* Nothing was written, so nothing needs to be said. */
	calls_begin(&calls);
	close_store();
	calls_end(&calls);
	ck_assert_uint_eq(calls_count(&calls, "store "), 0);
	ck_assert_uint_eq(calls_count(&calls, "sync"), 0);
	calls_fini(&calls);
}
END_TEST

/* INV-7: what is gone stays gone only because of something durable. */
START_TEST(a_delete_that_is_lost_brings_its_value_back)
{
	open_store();
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(put("b", 1));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(delete ("a"));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	MAKELOG_OK(delete ("b"));
	ck_assert_uint_eq(seq_of("b"), 0);
	simos_power_loss(SIMOS_LOSS_NONE, 1);
	simos_forget();
	open_store();
	ck_assert_uint_eq(seq_of("a"), 0);
	ck_assert_uint_eq(seq_of("b"), 2);
	close_store();
}
END_TEST

/* Errors */

static bool
is_free(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}

static void
expect_no_lock_held(const char *after)
{
	ck_assert_msg(is_free(&db->store->maintain_lock), "%s", after);
	ck_assert_msg(is_free(&db->store->thread_lock), "%s", after);
	ck_assert_msg(is_free(&lg->sync_lock), "%s", after);
	ck_assert_msg(is_free(&lg->turn_lock), "%s", after);
	ck_assert_msg(is_free(&lg->views->lock), "%s", after);
	ck_assert_msg(is_free(&lg->views->gate), "%s", after);
	ck_assert_msg(!lg->control->passed[0], "turn: %s", after);
	ck_assert_msg(!lg->control->passed[1], "sync: %s", after);
	ck_assert_msg(is_free(&lg->wait_lock), "%s", after);
	ck_assert_msg(is_free(&lg->view->hints.lock), "%s", after);
}

static void *
lock_views(void *arg)
{
	atomic_int *turns = arg;

	views_lock(lg->views);
	atomic_fetch_add(turns, 1);
	pthread_mutex_unlock(&lg->views->lock);
	return NULL;
}

static void *
await_turn(void *arg)
{
	atomic_int *turns = arg;

	if (log_await_turn(lg, NULL) == KVLOG_OK) {
		atomic_fetch_add(turns, 1);
		log_release_turn(lg);
	}
	return NULL;
}

/* A thread that sleeps meanwhile is let pass by the next commit. */
START_TEST(who_commits_again_and_again_lets_maintenance_pass)
{
	void *(*const fns[])(void *) = {lock_views, await_turn};
	atomic_int turns = 0;

	open_store();
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		MAKELOG_OK(log_take_turn(lg, &err));
		ck_assert_int_eq(
		    pthread_create(&thread, NULL, fns[i % 2], &turns), 0);
		while (atomic_load(&lg->views->waiting) == 0)
			sched_yield();
		usleep(1000);
		log_release_turn(lg);
		MAKELOG_OK(log_take_turn(lg, &err));
		ck_assert_int_eq(atomic_load(&turns), i + 1);
		log_release_turn(lg);
		pthread_join(thread, NULL);
	}
	close_store();
}
END_TEST

START_TEST(a_refusal_keeps_no_lock)
{
	const struct cursor_range all = {0};
	struct commit_op op, batch[2];
	struct cursor *cursor;
	struct view *view;

	open_store();
	MAKELOG_OK(put("a", 1));
	op = op_of(RECORD_PUT, "a", 1);
	op.condition = KVLOG_IF_ABSENT;
	ck_assert_int_eq(commit(&op, 1, false), KVLOG_CONFLICT);
	expect_no_lock_held("a condition that does not hold");
	op = op_of(RECORD_DELETE, "b", 0);
	ck_assert_int_eq(commit(&op, 1, true), KVLOG_NOTFOUND);
	expect_no_lock_held("a delete of nothing");
	batch[0] = batch[1] = op;
	simos_fail(SIMOS_MALLOC, 1, ENOMEM, false);
	ck_assert_int_eq(commit(batch, 2, false), KVLOG_NOMEM);
	expect_no_lock_held("a batch without memory");
	for (uint64_t nth = 1; nth <= 4; nth++) {
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		ck_assert_int_eq(
		    store_cursor(db->store, NULL, &all, &view, &cursor),
		    KVLOG_NOMEM);
		expect_no_lock_held("a walk without memory");
	}
	simos_fail_clear();
	close_store();
}
END_TEST

START_TEST(a_full_disk_keeps_no_lock)
{
	open_store();
	ck_assert_int_eq(os->unlink(db->store->dir.fd, DIR_RESERVE_NAME), 0);
	simos_set_capacity(simos_used());
	MAKELOG_OK(put("a", (size_t)log_room(log_active(lg)) - 29));
	ck_assert_int_eq(put("b", 1), KVLOG_NOSPACE);
	expect_no_lock_held("a put");
	ck_assert_int_eq(mark(false), KVLOG_NOSPACE);
	expect_no_lock_held("a mark");
	(void)store_maintain_step(db->store, 0);
	expect_no_lock_held("maintenance");
	simos_set_capacity(UINT64_MAX);
	MAKELOG_OK(put("b", 1));
	close_store();
}
END_TEST

START_TEST(a_mark_that_cannot_be_stored_keeps_no_lock)
{
	simos_set_fs(OS_FS_COW);
	open_store();
	MAKELOG_OK(put("a", 1));
	MAKELOG_OK(log_sync(lg, receipt.seq, &err));
	simos_fail(SIMOS_STORE, 1, ENOSPC, false);
	ck_assert(!log_attest(lg));
	simos_fail_clear();
	expect_no_lock_held("a mark");
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
}
END_TEST

/* _i: which of the ways to sync meets the failure. */
START_TEST(a_failed_sync_keeps_no_lock)
{
	bool more;
	enum kvlog_status st;

	open_store();
	(void)fill_to(3);
	simos_fail(SIMOS_SYNC, 1, EIO, true);
	st = _i == 0   ? log_sync(lg, receipt.seq, &err)
	     : _i == 1 ? log_sync_sealed(lg, &more, &err)
		       : log_sync_mark(lg, &err);
	ck_assert_int_eq(st, KVLOG_BROKEN);
	expect_no_lock_held("the sync that failed");
	ck_assert_int_eq(log_sync(lg, receipt.seq, &err), KVLOG_BROKEN);
	expect_no_lock_held("a sync after it");
	ck_assert_int_eq(put("a", 1), KVLOG_BROKEN);
	expect_no_lock_held("a put after it");
	ck_assert_int_eq(mark(false), KVLOG_BROKEN);
	expect_no_lock_held("a mark after it");
	ck_assert_int_eq(log_wait(lg, receipt.seq, 1), KVLOG_BROKEN);
	expect_no_lock_held("waiting after it");
	while (store_maintain_step(db->store, 0))
		;
	expect_no_lock_held("maintenance after it");
	simos_fail_clear();
	ck_assert_int_eq(kvlog_close(db, &err), KVLOG_BROKEN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("commit");
	TCase *tc = makelog_case(suite, "deciding");

	tcase_add_test(tc, conditions_are_judged_on_what_is_there);
	tcase_add_test(tc, one_op_that_does_not_hold_refuses_the_batch);
	tcase_add_test(tc, a_strict_delete_wants_a_value);

	tc = makelog_case(suite, "storing");
	tcase_add_test(tc, nothing_can_fail_behind_the_first_store);
	tcase_add_test(
	    tc, only_the_holder_of_the_turn_stores_into_the_active_segment);
	tcase_add_test(tc, a_batch_becomes_visible_at_once);
	tcase_add_test(tc, want_of_memory_writes_nothing);
	tcase_add_test(
	    tc, a_batch_may_have_more_steps_than_bytes_to_count_them);
	tcase_add_test(tc, an_empty_value_is_a_value);
	tcase_add_test(tc, an_overwrite_is_seen_though_its_entry_comes_late);
	tcase_add_test(tc, a_late_entry_of_an_equal_hash_is_the_key_s_own);

	tc = makelog_case(suite, "rollover");
	tcase_add_test(tc, a_rollover_seals_by_the_link);
	tcase_add_test(tc, a_segment_is_used_to_its_last_byte);
	tcase_add_test(tc, nothing_is_stored_behind_what_is_allocated);
	tcase_add_test(tc, a_batch_never_spans_segments);
	tcase_add_test(tc, a_spare_is_ready_when_it_is_wanted);
	tcase_add_test(
	    tc, blocks_of_the_spare_are_written_ahead_of_durable_commits);
	tcase_add_test(
	    tc, blocks_of_the_first_segment_are_written_for_durable_commits);
	tcase_add_test(tc, pages_are_populated_ahead_of_other_commits);
	tcase_add_test(tc, segments_have_room_for_some_large_commits);
	tcase_add_test(tc, a_look_up_in_a_sealed_segment_reads_a_page);
	tcase_add_test(tc, what_is_synced_stays_mapped);
	tcase_add_test(tc, a_spare_whose_blocks_cannot_be_written_is_dropped);
	tcase_add_test(
	    tc, a_sync_of_the_spare_does_not_hide_a_failure_from_the_log);
	tcase_add_loop_test(
	    tc, a_spare_that_is_being_prepared_may_be_used_or_dropped, 0, 4);
	tcase_add_test(tc, a_spare_that_cannot_be_written_may_be_gone);
	tcase_add_test(
	    tc, a_spare_that_cannot_be_written_is_told_without_a_turn_too);
	tcase_add_test(
	    tc, a_spare_that_cannot_be_written_may_have_commits_already);
	tcase_add_loop_test(
	    tc, a_rollover_that_fails_leaves_all_as_it_was, 0, 7);
	tcase_add_test(tc, a_full_disk_takes_deletes_only);

	tc = makelog_case(suite, "syncs");
	tcase_add_test(tc, a_sync_covers_names_then_segments_oldest_first);
	tcase_add_test(
	    tc, a_sync_waits_a_moment_for_those_who_took_part_in_the_last);
	tcase_add_test(tc, one_sync_is_enough_when_nothing_else_is_unsynced);
	tcase_add_test(tc, a_long_backlog_is_synced_in_order);
	tcase_add_test(tc, sealed_segments_are_synced_one_at_a_time);
	tcase_add_loop_test(tc, a_commit_during_a_sync_is_not_covered, 0, 2);
	tcase_add_loop_test(tc, a_failed_sync_is_never_tried_again, 0, 2);
	tcase_add_test(tc, a_network_file_system_is_refused);
	tcase_add_test(tc, a_failed_store_breaks_the_log);
	tcase_add_test(tc, waiting_ends_when_it_is_durable_or_too_late);

	tc = makelog_case(suite, "marks_and_hints");
	tcase_add_test(tc, a_mark_says_what_is_durable);
	tcase_add_test(tc, a_mark_is_not_synced_when_a_sync_has_failed);
	tcase_add_test(tc, a_hint_waits_for_durable_evidence);
	tcase_add_test(tc, hints_of_a_large_segment_are_made_in_steps);
	tcase_add_test(tc, closing_merges_hints_for_a_while_only);
	tcase_add_test(tc, a_hint_ends_where_durable_evidence_does);
	tcase_add_test(tc, a_sealed_segment_is_no_evidence_of_itself);
	tcase_add_test(tc, a_link_is_evidence_when_it_is_durable);
	tcase_add_test(tc, a_hint_that_fails_is_not_tried_again);
	tcase_add_test(tc, closing_says_durably_that_all_is_durable);
	tcase_add_test(tc, a_delete_that_is_lost_brings_its_value_back);

	/* On the real system. */
	tc = tcase_create("threads");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, no_thread_sees_half_of_a_batch);
	tcase_add_test(
	    tc, no_thread_sees_a_step_of_a_batch_that_another_step_undoes);
	tcase_add_test(tc, waiting_threads_are_woken);
	suite_add_tcase(suite, tc);

	tc = makelog_case(suite, "errors");
	tcase_add_test(tc, who_commits_again_and_again_lets_maintenance_pass);
	tcase_add_test(tc, a_refusal_keeps_no_lock);
	tcase_add_test(tc, a_full_disk_keeps_no_lock);
	tcase_add_test(tc, a_mark_that_cannot_be_stored_keeps_no_lock);
	tcase_add_loop_test(tc, a_failed_sync_keeps_no_lock, 0, 3);

	tc = makelog_case(suite, "misuse");
	tcase_add_test(tc, a_condition_on_a_damaged_record_is_corrupt);
	/* Without forks, it would end all. */
	if (getenv("CK_FORK") == NULL)
		tcase_add_test_raise_signal(
		    tc, a_sealed_segment_cannot_be_stored_into, SIGABRT);
	return test_main(suite);
}
