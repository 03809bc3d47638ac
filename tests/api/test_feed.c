/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_feed.c - the change feed: every durable commit once, whole and in
 * order, or a result that says what cannot be told; and the net state since a
 * commit.
 *
 * What a test writes goes into a list of records, which a feed is held
 * against.
 */
#include "config.h"

#include "api.h"
#include "rng.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RANGE (UINT64_C(1) << 40)
#define RECORDS 4000
#define BATCH 5
#define PAGE_LEN 4096 /* of the control page in kvlog.lock */

struct rec {
	uint64_t seq;
	bool put, more;
	uint32_t segment; /* set by a feed */
	uint64_t off;
	char key[16], value[48];
};

static struct rec recs[RECORDS]; /* written, in order */
static size_t rec_count;
static struct kvlog_change change;
static struct kvlog_error err;

static enum kvlog_status
next(struct kvlog_feed *feed, uint32_t timeout_ms)
{
	memset(&change, 0, sizeof change);
	memset(&err, 0, sizeof err);
	change.size = sizeof change;
	return kvlog_feed_next(feed, timeout_ms, &change, &err);
}

static struct kvlog_feed *
feed_of(struct kvlog *db, uint64_t from, const char *prefix)
{
	struct kvlog_feed *feed = NULL;

	ck_assert_int_eq(
	    kvlog_feed_open(db, from, prefix, strlen(prefix), &feed, &err),
	    KVLOG_OK);
	return feed;
}

/* Writing */

static void
note(uint64_t seq, bool put, bool more, const char *key, const char *value)
{
	struct rec *r = &recs[rec_count++];

	ck_assert_uint_lt(rec_count, RECORDS);
	r->seq = seq;
	r->put = put;
	r->more = more;
	snprintf(r->key, sizeof r->key, "%s", key);
	snprintf(r->value, sizeof r->value, "%s", value);
}

static void
put(struct kvlog *db, const char *key, const char *value)
{
	note(api_put(db, key, value).seq, true, false, key, value);
}

/* One commit of count records, whose texts begin with stem. */
static void
put_batch(struct kvlog *db, const char *stem, unsigned count)
{
	struct kvlog_op ops[BATCH];
	struct kvlog_receipt receipt;
	size_t first = rec_count;

	memset(ops, 0, sizeof ops);
	for (unsigned i = 0; i < count; i++) {
		char key[16], value[48];
		struct rec *r = &recs[rec_count];

		snprintf(key, sizeof key, "%s%u", stem, i);
		snprintf(value, sizeof value, "%s of %u", stem, count);
		note(0, i % 3 != 2, i + 1 < count, key, value);
		ops[i].type = r->put ? KVLOG_OP_PUT : KVLOG_OP_DELETE;
		ops[i].key = r->key;
		ops[i].key_len = strlen(r->key);
		ops[i].value = r->value;
		ops[i].value_len = r->put ? strlen(r->value) : 0;
	}
	ck_assert_int_eq(
	    kvlog_apply(db, ops, count, NULL, &receipt, NULL), KVLOG_OK);
	for (size_t i = first; i < rec_count; i++)
		recs[i].seq = receipt.seq;
}

/* A commit of any kind. */
static void
write_some(struct kvlog *db, struct rng *rng)
{
	char key[16], value[48];
	unsigned k = (unsigned)rng_below(rng, 30);
	struct kvlog_receipt receipt;

	snprintf(key, sizeof key, "key%02u", k);
	snprintf(value, sizeof value, "%0*u", (int)(k + 1), k);
	if (rng_below(rng, 4) == 0) {
		put_batch(db, key, 1 + (unsigned)rng_below(rng, BATCH));
	} else if (rng_below(rng, 4) == 0 &&
		   kvlog_exists(db, key, strlen(key)) == KVLOG_OK) {
		ck_assert_int_eq(
		    kvlog_delete(db, key, strlen(key), NULL, &receipt),
		    KVLOG_OK);
		note(receipt.seq, false, false, key, "");
	} else {
		put(db, key, k % 7 == 0 ? "" : value);
	}
}

/* A store with many segments, closed; what the feed says of it is in recs. */
static void
write_store(unsigned commits)
{
	struct rng rng;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	rng_init(&rng, commits);
	for (unsigned i = 0; i < commits; i++)
		write_some(db, &rng);
	api_close(db);
}

/* Comparing */

static void
expect_rec(const struct rec *r)
{
	ck_assert_uint_eq(change.seq, r->seq);
	ck_assert_uint_eq(change.last_seq, r->seq);
	ck_assert_uint_ge(change.durable_seq, r->seq);
	ck_assert_int_eq(
	    change.type, r->put ? KVLOG_CHANGE_PUT : KVLOG_CHANGE_DELETE);
	ck_assert_int_eq(change.more, r->more);
	ck_assert_uint_eq(change.key_len, strlen(r->key));
	ck_assert_mem_eq(change.key, r->key, change.key_len);
	ck_assert_int_eq(change.value != NULL, r->put);
	ck_assert_uint_eq(change.value_len, r->put ? strlen(r->value) : 0);
	if (r->put)
		ck_assert_mem_eq(change.value, r->value, change.value_len);
}

/* The records from number i on come, and no more. */
static void
expect_from(struct kvlog_feed *feed, size_t i)
{
	for (; i < rec_count; i++) {
		enum kvlog_status st = next(feed, 0);

		ck_assert_msg(st == KVLOG_OK,
		    "record %zu, commit %" PRIu64 ": %d %s", i, recs[i].seq,
		    (int)st, err.text);
		expect_rec(&recs[i]);
	}
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
}

static size_t
first_of(uint64_t seq)
{
	size_t i = 0;

	while (i < rec_count && recs[i].seq < seq)
		i++;
	return i;
}

static void
expect_from_seq(struct kvlog *db, uint64_t seq)
{
	struct kvlog_feed *feed = feed_of(db, seq, "");

	expect_from(feed, first_of(seq));
	kvlog_feed_close(feed);
}

/* Order */

START_TEST(every_change_comes_from_every_number)
{
	struct kvlog *db;
	uint64_t last;

	write_store(700);
	for (unsigned reader = 0; reader < 2; reader++) {
		db = api_open(api_store, reader ? KVLOG_OPEN_READONLY : 0);
		ck_assert_uint_gt(api_stats(db).segment_count, 5);
		last = kvlog_last_seq(db);
		ck_assert_uint_eq(last, 700);
		for (uint64_t from = 0; from <= last + 2;
		     from += from < 40 || from > last - 3 ? 1 : 7)
			expect_from_seq(db, from);
		api_close(db);
	}
}
END_TEST

START_TEST(a_feed_goes_on_with_what_is_written)
{
	struct rng rng;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader = api_open(api_store, KVLOG_OPEN_READONLY);
	struct kvlog_feed *feeds[] = {
	    feed_of(db, 0, ""), feed_of(reader, KVLOG_FEED_NEW, "")};
	size_t told = 0;

	rng_init(&rng, 5);
	for (unsigned i = 0; i < 300; i++) {
		for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
			write_some(db, &rng);
		ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		for (unsigned f = 0; f < 2; f++)
			expect_from(feeds[f], told);
		told = rec_count;
	}
	for (unsigned f = 0; f < 2; f++)
		kvlog_feed_close(feeds[f]);
	api_close(reader);
	api_close(db);
}
END_TEST

START_TEST(a_large_value_comes_whole)
{
	const size_t len = 3 << 20;
	char *value = malloc(len);
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed;

	ck_assert_ptr_nonnull(value);
	for (size_t i = 0; i < len; i++)
		value[i] = (char)(i * 7 + i / 1000);
	put(db, "small", "1");
	ck_assert_int_eq(
	    kvlog_put(db, "large", 5, value, len, NULL, NULL), KVLOG_OK);
	put(db, "after", "2");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	feed = feed_of(db, 2, "");
	ck_assert_int_eq(next(feed, 0), KVLOG_OK);
	ck_assert_uint_eq(change.value_len, len);
	ck_assert_mem_eq(change.value, value, len);
	expect_from(feed, 1);
	kvlog_feed_close(feed);
	api_close(db);
	free(value);
}
END_TEST

/* Durability */

START_TEST(a_commit_is_told_when_it_is_durable)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *reader = api_open(api_store, KVLOG_OPEN_READONLY);
	struct kvlog_feed *own = feed_of(db, 0, "");
	struct kvlog_feed *other = feed_of(reader, 0, "");

	for (unsigned i = 0; i < 3; i++) {
		size_t before = rec_count;

		put(db, "a", "1");
		put_batch(db, "b", BATCH);
		api_expect(reader, "a", "1"); /* is visible */
		ck_assert_int_eq(next(own, 0), KVLOG_TIMEOUT);
		ck_assert_int_eq(next(other, 20), KVLOG_TIMEOUT);
		ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		expect_from(own, before);
		expect_from(other, before);
	}
	kvlog_feed_close(own);
	kvlog_feed_close(other);
	api_close(reader);
	api_close(db);
}
END_TEST

START_TEST(new_is_what_is_not_durable)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed;
	size_t durable;

	put(db, "a", "1");
	put(db, "b", "2");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	durable = rec_count;
	put(db, "c", "3");
	feed = feed_of(db, KVLOG_FEED_NEW, "");
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	put(db, "d", "4");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	expect_from(feed, durable);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

/* Writes of a process that is killed, at interval, so that its own numbers
 * are known here: rec_count commits of one key. */
static void
write_and_be_killed(unsigned commits, bool sync)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

		for (unsigned i = 0; i < commits; i++)
			(void)api_put(db, "killed", "value");
		if (sync)
			ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		(void)raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
}

/* Let the next opening find what was written in an earlier boot. */
static void
forget_boot(void)
{
	static const char zeros[PAGE_LEN];
	char *path = files_path(api_store, "kvlog.lock");

	files_patch(path, 0, zeros, sizeof zeros);
	free(path);
}

START_TEST(numbers_have_gaps_after_a_crash)
{
	struct kvlog *db = NULL;
	uint64_t seq = 0;

	for (unsigned round = 0; round < 3; round++) {
		write_and_be_killed(3, round == 1);
		forget_boot();
		for (unsigned i = 0; i < 3; i++)
			note(++seq, true, false, "killed", "value");
		db = api_open(api_store, 0);
		seq = api_put(db, "own", "x").seq;
		note(seq, true, false, "own", "x");
		api_close(db);
	}
	ck_assert_uint_gt(recs[rec_count - 1].seq, RANGE);
	for (unsigned reader = 0; reader < 2; reader++) {
		db = api_open(api_store, reader ? KVLOG_OPEN_READONLY : 0);
		for (size_t i = 0; i < rec_count; i++) {
			expect_from_seq(db, recs[i].seq);
			expect_from_seq(db, recs[i].seq + 1);
		}
		expect_from_seq(db, RANGE - 1);
		expect_from_seq(db, RANGE / 2);
		api_close(db);
	}
}
END_TEST

/* What a dead writer has not synced, is not told before another one has. */
START_TEST(a_kill_makes_nothing_durable)
{
	struct kvlog *db, *reader;
	struct kvlog_feed *feed;

	write_and_be_killed(3, false);
	for (unsigned i = 1; i <= 3; i++)
		note(i, true, false, "killed", "value");
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	feed = feed_of(reader, 0, "");
	api_expect(reader, "killed", "value");
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	db = api_open(api_store, 0);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	expect_from(feed, 0);
	kvlog_feed_close(feed);
	api_close(reader);
	api_close(db);
}
END_TEST

/* Prefixes */

START_TEST(a_prefix_leaves_others_out)
{
	static const char *const prefixes[] = {
	    "key0", "key1", "key12", "key121", "k", "x", "key290"};
	static struct rec all[RECORDS];
	size_t all_count;
	struct kvlog *db;

	write_store(500);
	memcpy(all, recs, sizeof all);
	all_count = rec_count;
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	for (unsigned p = 0; p < sizeof prefixes / sizeof prefixes[0]; p++) {
		const char *prefix = prefixes[p];
		struct kvlog_feed *feed = feed_of(db, 0, prefix);
		struct rec *before = NULL;

		rec_count = 0;
		for (size_t i = 0; i < all_count; i++) {
			if (strncmp(all[i].key, prefix, strlen(prefix)) != 0)
				continue;
			if (before != NULL)
				before->more = before->seq == all[i].seq;
			before = &recs[rec_count++];
			*before = all[i];
			before->more = false;
		}
		expect_from(feed, 0);
		kvlog_feed_close(feed);
	}
	api_close(db);
}
END_TEST

/* Compaction */

static void
must_compact(unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	enum kvlog_status st;

	o.flags = flags;
	st = kvlog_compact_offline(api_store, &o, NULL, &err);
	ck_assert_msg(st == KVLOG_OK, "compact: %d %s", (int)st, err.text);
}

START_TEST(what_was_compacted_is_too_old)
{
	struct kvlog *db, *reader;
	struct kvlog_feed *feed, *passed, *midway;
	char number[32];
	size_t told = 0;
	uint64_t exact;

	write_store(300);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	feed = feed_of(reader, 0, "");
	midway = feed_of(reader, 0, "");
	passed = feed_of(reader, 0, "");
	expect_from(passed, 0);
	/* In the middle of a commit, in a segment that is not the last. */
	do
		ck_assert_int_eq(next(midway, 0), KVLOG_OK);
	while (told++ < rec_count / 2 || !change.more);
	must_compact(KVLOG_COMPACT_ALL);

	ck_assert_int_eq(next(feed, 0), KVLOG_TOOOLD);
	ck_assert_int_eq(err.status, KVLOG_TOOOLD);
	exact = change.seq;
	snprintf(number, sizeof number, "%" PRIu64, exact);
	ck_assert_ptr_nonnull(strstr(err.text, number));
	ck_assert_ptr_nonnull(strstr(err.text, "kvlog_iter_create_since"));
	ck_assert_uint_gt(exact, 200);
	ck_assert_int_eq(next(midway, 0), KVLOG_TOOOLD);
	ck_assert_uint_eq(change.seq, exact);
	ck_assert_int_eq(next(feed, 50), KVLOG_TOOOLD);
	ck_assert_int_eq(next(passed, 0), KVLOG_TIMEOUT);

	/* From that number on, nothing is missing. */
	expect_from_seq(reader, exact);
	for (uint64_t seq = 1; seq < exact; seq += 13) {
		struct kvlog_feed *early = feed_of(reader, seq, "");

		ck_assert_int_eq(next(early, 0), KVLOG_TOOOLD);
		kvlog_feed_close(early);
	}
	told = rec_count;
	db = api_open(api_store, 0);
	put(db, "later", "1");
	put_batch(db, "later", BATCH);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	expect_from(passed, told);
	expect_from_seq(db, exact);
	api_close(db);
	kvlog_feed_close(feed);
	kvlog_feed_close(midway);
	kvlog_feed_close(passed);
	api_close(reader);
}
END_TEST

/* A feed that has told all of what compaction takes does not notice it, at
 * whatever record it stands. */
START_TEST(compaction_of_what_was_told_is_not_noticed)
{
	enum { FEEDS = 24 };
	struct kvlog_feed *feeds[FEEDS];
	size_t told[FEEDS];
	struct kvlog *reader;
	uint64_t exact = 0;
	unsigned going = 0, stuck = 0;

	write_store(120);
	reader = api_open(api_store, KVLOG_OPEN_READONLY);
	for (unsigned f = 0; f < FEEDS; f++) {
		feeds[f] = feed_of(reader, 0, "");
		told[f] = rec_count - 1 - 2 * f;
		for (size_t i = 0; i < told[f]; i++) {
			ck_assert_int_eq(next(feeds[f], 0), KVLOG_OK);
			expect_rec(&recs[i]);
		}
	}
	must_compact(0);
	for (unsigned f = 0; f < FEEDS; f++) {
		enum kvlog_status st = next(feeds[f], 0);

		if (st == KVLOG_TOOOLD) {
			exact = change.seq;
			ck_assert_uint_lt(recs[told[f]].seq, exact);
			stuck++;
		} else {
			ck_assert_int_eq(st, KVLOG_OK);
			expect_rec(&recs[told[f]]);
			expect_from(feeds[f], told[f] + 1);
			going++;
		}
		kvlog_feed_close(feeds[f]);
	}
	ck_assert_uint_gt(going, 0);
	ck_assert_uint_gt(stuck, 0);
	api_close(reader);
}
END_TEST

/* Damage */

static struct tree closed; /* the store as it was closed */

static void
find_places(void)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_READONLY);
	struct kvlog_feed *feed = feed_of(db, 0, "");

	for (size_t i = 0; i < rec_count; i++) {
		ck_assert_int_eq(next(feed, 0), KVLOG_OK);
		recs[i].segment = change.segment;
		recs[i].off = change.offset;
	}
	kvlog_feed_close(feed);
	api_close(db);
	tree_read(api_store, &closed);
}

static void
damage(const struct rec *r, uint64_t at)
{
	char name[32];
	char *path;

	snprintf(name, sizeof name, "%08" PRIu32 ".seg", r->segment);
	path = files_path(api_store, name);
	files_flip(path, r->off + at, 2);
	free(path);
}

static bool
is_hit(const bool *hit, uint64_t seq)
{
	for (size_t i = first_of(seq); recs[i].seq == seq; i++)
		if (hit[i])
			return true;
	return false;
}

/* All comes but the records that are hit, and those are not passed over in
 * silence. */
static void
expect_but(struct kvlog *db, const bool *hit, const char *what)
{
	struct kvlog_feed *feed = feed_of(db, 0, "");
	bool known[RECORDS] = {false};
	enum kvlog_status st;
	size_t i = 0, hits = 0;

	for (size_t j = 0; j < rec_count; j++)
		hits += hit[j];
	while ((st = next(feed, 0)) == KVLOG_OK || st == KVLOG_CORRUPT) {
		if (st == KVLOG_OK) {
			for (; hit[i] || (known[i] && recs[i].seq < change.seq);
			     i++)
				ck_assert_msg(known[i],
				    "%s: commit %" PRIu64
				    " left out in silence",
				    what, recs[i].seq);
			ck_assert_uint_lt(i, rec_count);
			if (hit[i + 1]) /* then it is not known what follows */
				change.more = recs[i].more;
			expect_rec(&recs[i++]);
			continue;
		}
		ck_assert_msg(hits-- > 0, "%s: told twice: %s", what, err.text);
		ck_assert_int_eq(err.status, KVLOG_CORRUPT);
		ck_assert_uint_eq(err.segment, change.segment);
		ck_assert_uint_eq(err.offset, change.offset);
		for (size_t j = 0; j < rec_count; j++)
			known[j] |= is_hit(hit, recs[j].seq) &&
				    recs[j].seq >= change.seq &&
				    recs[j].seq <= change.last_seq;
		if (change.key != NULL) {
			ck_assert(hit[i]);
			ck_assert_uint_eq(change.key_len, strlen(recs[i].key));
			ck_assert_mem_eq(
			    change.key, recs[i].key, change.key_len);
			ck_assert_uint_eq(change.offset, recs[i].off);
			ck_assert_ptr_null(change.value);
		}
		ck_assert_uint_le(change.seq, change.last_seq);
		ck_assert_uint_le(change.last_seq, recs[rec_count - 1].seq);
	}
	ck_assert_int_eq(st, KVLOG_TIMEOUT);
	/* What the log has lost at its end, is told with what comes next; a
	 * commit that is not whole does not end it. */
	while (i < rec_count &&
	       (known[i] || (is_hit(hit, recs[i].seq) &&
				recs[i].seq > kvlog_last_seq(db))))
		i++;
	ck_assert_msg(i == rec_count, "%s: ended before commit %" PRIu64, what,
	    recs[i].seq);
	kvlog_feed_close(feed);
}

/* Hit some records, the same places in each round, and look as a reader and
 * as a writer. */
static void
try_damage(const size_t *which, size_t count, uint64_t at, const char *kind)
{
	bool hit[RECORDS + 1] = {false};
	char what[80];

	for (unsigned flags = 0; flags < 2; flags++) {
		struct kvlog *db;

		tree_write(api_store, &closed);
		for (size_t n = 0; n < count; n++) {
			hit[which[n]] = true;
			damage(&recs[which[n]], at);
		}
		(void)files_remove_hints(api_store);
		snprintf(what, sizeof what, "%s of record %zu (%zu), %s", kind,
		    which[0], count, flags ? "reader" : "writer");
		db = api_open(api_store, flags ? KVLOG_OPEN_READONLY : 0);
		if (flags == 0) {
			put(db, "later", "is sound");
			ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
		}
		expect_but(db, hit, what);
		api_close(db);
		rec_count -= flags == 0;
	}
}

START_TEST(damage_is_told_and_costs_nothing_else)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct rng rng;

	rng_init(&rng, 77);
	for (unsigned i = 0; i < 25; i++) {
		put(db, "single", "some value");
		put_batch(db, "batch", 2 + i % (BATCH - 1));
		if (i % 5 == 0)
			ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	}
	put(db, "last", "of all");
	api_close(db);
	find_places();
	ck_assert_uint_ne(recs[0].segment, recs[rec_count - 1].segment);
	for (size_t i = 0; i < rec_count; i++) {
		const size_t two[] = {i, i + 1};
		const size_t more[] = {i, i + 1, i + 2, i + 3, i + 4, i + 7};

		try_damage(two, 1, 17, "header");
		if (recs[i].put) /* its last byte */
			try_damage(two, 1,
			    27 + strlen(recs[i].key) + strlen(recs[i].value),
			    "value");
		if (i + 1 < rec_count && rng_below(&rng, 3) == 0)
			try_damage(two, 2, 30, "key");
		if (i + 7 < rec_count && rng_below(&rng, 3) == 0)
			try_damage(more, 6, 9, "header");
	}
	tree_fini(&closed);
}
END_TEST

/* A feed that is open goes on behind damage that comes to be beside it. */
START_TEST(damage_beside_an_open_feed)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed;
	unsigned corrupt = 0;
	size_t told = 0;
	enum kvlog_status st;

	for (unsigned i = 0; i < 100; i++)
		put(db, "key", "some value to be hit");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	feed = feed_of(db, 0, "");
	ck_assert_int_eq(next(feed, 0), KVLOG_OK);
	recs[50].segment = change.segment;
	recs[50].off = change.offset + 50 * api_record_size(3, 20);
	damage(&recs[50], 20);
	while ((st = next(feed, 0)) != KVLOG_TIMEOUT) {
		told += st == KVLOG_OK;
		if (st == KVLOG_OK)
			continue;
		ck_assert_int_eq(st, KVLOG_CORRUPT);
		ck_assert_uint_eq(change.seq, recs[50].seq);
		ck_assert_uint_eq(change.last_seq, recs[50].seq);
		ck_assert_uint_eq(change.offset, recs[50].off);
		ck_assert_uint_eq(change.segment, recs[50].segment);
		ck_assert_ptr_null(change.key);
		corrupt++;
	}
	ck_assert_uint_eq(told, 98);
	ck_assert_uint_eq(corrupt, 1);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

/* Waiting */

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

START_TEST(a_wait_ends)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed = feed_of(db, 0, "");
	uint64_t start = now_ms();

	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	ck_assert_uint_eq(err.status, 0);
	ck_assert_int_eq(next(feed, 60), KVLOG_TIMEOUT);
	ck_assert_uint_ge(now_ms() - start, 60);
	ck_assert_uint_lt(now_ms() - start, 30000);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

#define SCRIPT 1500 /* commits of a writer that runs beside */

/* Commit i has 1 + i % 3 records; all it says is known from its number. */
static void
write_script(struct kvlog *db)
{
	for (unsigned i = 1; i <= SCRIPT; i++) {
		struct kvlog_op ops[3];
		char key[3][16];
		unsigned count = 1 + i % 3;

		memset(ops, 0, sizeof ops);
		for (unsigned r = 0; r < count; r++) {
			snprintf(key[r], sizeof key[r], "%u.%u", i, r);
			ops[r].type = KVLOG_OP_PUT;
			ops[r].key = ops[r].value = key[r];
			ops[r].key_len = ops[r].value_len = strlen(key[r]);
		}
		ck_assert_int_eq(
		    kvlog_apply(db, ops, count, NULL, NULL, NULL), KVLOG_OK);
		if (i % 32 == 0 || i == SCRIPT)
			ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	}
}

static void
expect_script(struct kvlog_feed *feed)
{
	for (unsigned i = 1; i <= SCRIPT; i++)
		for (unsigned r = 0; r < 1 + i % 3; r++) {
			char key[16];

			snprintf(key, sizeof key, "%u.%u", i, r);
			ck_assert_int_eq(next(feed, 30000), KVLOG_OK);
			ck_assert_uint_eq(change.seq, i);
			ck_assert_uint_eq(change.key_len, strlen(key));
			ck_assert_mem_eq(change.key, key, strlen(key));
			ck_assert_mem_eq(change.value, key, strlen(key));
			ck_assert_int_eq(change.more, r < i % 3);
		}
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
}

static void *
run_script(void *db)
{
	write_script(db);
	return NULL;
}

static void *
run_feed(void *db)
{
	struct kvlog_feed *feed = NULL;

	ck_assert_int_eq(
	    kvlog_feed_open(db, 1, NULL, 0, &feed, NULL), KVLOG_OK);
	for (unsigned i = 1; i <= SCRIPT; i++)
		for (unsigned r = 0; r < 1 + i % 3; r++) {
			struct kvlog_change c = {.size = sizeof c};

			ck_assert_int_eq(
			    kvlog_feed_next(feed, 30000, &c, NULL), KVLOG_OK);
			ck_assert_uint_eq(c.seq, i);
			ck_assert_int_eq(c.more, r < i % 3);
		}
	kvlog_feed_close(feed);
	return NULL;
}

START_TEST(threads_follow_a_writer_of_their_handle)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed = feed_of(db, 0, "");
	pthread_t writer, follower;

	ck_assert_int_eq(pthread_create(&follower, NULL, run_feed, db), 0);
	ck_assert_int_eq(pthread_create(&writer, NULL, run_script, db), 0);
	expect_script(feed);
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
	ck_assert_int_eq(pthread_join(follower, NULL), 0);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

START_TEST(a_process_follows_another_one)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed;
	int status;
	pid_t pid;

	api_close(db);
	db = api_open(api_store, KVLOG_OPEN_READONLY);
	feed = feed_of(db, KVLOG_FEED_NEW, "");
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* The parent's feed is not the child's. */
		ck_assert_int_eq(next(feed, 0), KVLOG_FORKED);
		db = api_open(api_store, 0);
		write_script(db);
		(void)kvlog_close(db, NULL);
		_exit(0);
	}
	expect_script(feed);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

/* Several writers, whose commits come in the order of their numbers. */
START_TEST(writers_of_several_processes)
{
	enum { WRITERS = 3, COMMITS = 150 };
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed = feed_of(db, 0, "");
	unsigned seen[WRITERS] = {0};
	pid_t pids[WRITERS];
	int status;

	for (unsigned w = 0; w < WRITERS; w++) {
		pids[w] = fork();
		ck_assert_int_ge(pids[w], 0);
		if (pids[w] == 0) {
			struct kvlog_options o = api_options(0);
			char value[16];

			o.timeout_ms = 20000;
			db = api_open_with(api_store, &o);
			for (unsigned i = 0; i < COMMITS; i++) {
				snprintf(value, sizeof value, "%u %u", w, i);
				(void)api_put(db, "key", value);
			}
			_exit(kvlog_close(db, NULL) != KVLOG_OK);
		}
	}
	for (uint64_t seq = 1; seq <= WRITERS * COMMITS; seq++) {
		char value[16];
		unsigned w, i;

		ck_assert_int_eq(next(feed, 30000), KVLOG_OK);
		ck_assert_uint_eq(change.seq, seq);
		ck_assert_uint_lt(change.value_len, sizeof value);
		memcpy(value, change.value, change.value_len);
		value[change.value_len] = '\0';
		ck_assert_int_eq(sscanf(value, "%u %u", &w, &i), 2);
		ck_assert_uint_lt(w, WRITERS);
		ck_assert_uint_eq(i, seen[w]++);
	}
	for (unsigned w = 0; w < WRITERS; w++) {
		ck_assert_int_eq(waitpid(pids[w], &status, 0), pids[w]);
		ck_assert_int_eq(status, 0);
	}
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

/* The net state */

/* Keys of a walk since seq, each followed by a space; deleted ones by '-'. */
static void
since(struct kvlog *db, uint64_t seq, const char *prefix, char *buf)
{
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st;

	*buf = '\0';
	ck_assert_int_eq(
	    kvlog_iter_create_since(db, seq, prefix, strlen(prefix), &iter),
	    KVLOG_OK);
	while ((st = kvlog_iter_next(iter)) == KVLOG_OK) {
		struct kvlog_info info;
		size_t len = 0, value_len = 4711;
		const char *key = kvlog_iter_key(iter, &len);
		const void *value = kvlog_iter_value(iter, &value_len);

		kvlog_iter_info(iter, &info);
		ck_assert_uint_gt(info.seq, seq);
		buf += sprintf(buf, "%.*s%s ", (int)len, key,
		    value == NULL    ? "-"
		    : value_len == 0 ? "="
				     : "");
	}
	ck_assert_int_eq(st, KVLOG_NOTFOUND);
	kvlog_iter_destroy(iter);
}

START_TEST(the_net_state_since_a_commit)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	char got[200];

	api_put(db, "a", "1");  /* 1 */
	api_put(db, "b", "");   /* 2 */
	api_put(db, "c", "3");  /* 3 */
	api_put(db, "ab", "4"); /* 4 */
	api_delete(db, "c");    /* 5 */
	api_put(db, "a", "6");  /* 6 */
	api_delete(db, "ab");   /* 7 */
	api_put(db, "ab", "8"); /* 8 */
	since(db, 0, "", got);
	ck_assert_str_eq(got, "a ab b= c- ");
	since(db, 2, "", got);
	ck_assert_str_eq(got, "a ab c- ");
	since(db, 5, "", got);
	ck_assert_str_eq(got, "a ab ");
	since(db, 7, "", got);
	ck_assert_str_eq(got, "ab ");
	since(db, 8, "", got);
	ck_assert_str_eq(got, "");
	since(db, 4, "c", got);
	ck_assert_str_eq(got, "c- ");
	api_keys(db, "", got, sizeof got); /* others show no deletes */
	ck_assert_str_eq(got, "a ab b ");
	api_close(db);
}
END_TEST

/* Copy what a feed and a walk tell; compare with the store at the end. */
START_TEST(a_copy_can_be_kept_through_compactions)
{
	struct rng rng;
	struct kvlog *db, *copy;
	struct kvlog_feed *feed;
	struct kvlog_iter *iter;
	char *copy_path = files_path(api_base, "copy");
	char keys[4000], copied[4000];
	uint64_t from = 1;
	unsigned old = 0;

	rng_init(&rng, 9);
	copy = api_open(copy_path, KVLOG_OPEN_CREATE);
	for (unsigned round = 0; round < 12; round++) {
		enum kvlog_status st;
		uint64_t last = from - 1;

		rec_count = 0;
		db = api_open(api_store, KVLOG_OPEN_CREATE);
		for (unsigned i = 0; i < 150; i++)
			write_some(db, &rng);
		api_close(db);
		if (round % 3 == 2)
			must_compact(0);
		db = api_open(api_store, KVLOG_OPEN_READONLY);
		feed = feed_of(db, from, "");
		st = next(feed, 0);
		if (st == KVLOG_TOOOLD) {
			old++;
			kvlog_feed_close(feed);
			feed = feed_of(db, change.seq, "");
			/* Deletes may be gone: begin anew with all keys. */
			api_keys(copy, "", copied, sizeof copied);
			for (char *key = strtok(copied, " "); key != NULL;
			     key = strtok(NULL, " "))
				if (kvlog_exists(db, key, strlen(key)) !=
				    KVLOG_OK)
					api_delete(copy, key);
			ck_assert_int_eq(
			    kvlog_iter_create_since(db, last, NULL, 0, &iter),
			    KVLOG_OK);
			while (kvlog_iter_next(iter) == KVLOG_OK) {
				size_t len = 0, value_len = 0;
				const void *key = kvlog_iter_key(iter, &len);
				const void *value =
				    kvlog_iter_value(iter, &value_len);

				if (value != NULL)
					ck_assert_int_eq(
					    kvlog_put(copy, key, len, value,
						value_len, NULL, NULL),
					    KVLOG_OK);
			}
			kvlog_iter_destroy(iter);
			st = next(feed, 0);
		}
		for (; st == KVLOG_OK; st = next(feed, 0)) {
			last = change.seq;
			if (change.type == KVLOG_CHANGE_PUT)
				ck_assert_int_eq(
				    kvlog_put(copy, change.key, change.key_len,
					change.value, change.value_len, NULL,
					NULL),
				    KVLOG_OK);
			else
				(void)!kvlog_delete(copy, change.key,
				    change.key_len, NULL, NULL);
		}
		ck_assert_int_eq(st, KVLOG_TIMEOUT);
		from = kvlog_last_seq(db) + 1;
		ck_assert_uint_le(last, kvlog_last_seq(db));
		kvlog_feed_close(feed);
		api_keys(db, "", keys, sizeof keys);
		api_keys(copy, "", copied, sizeof copied);
		ck_assert_str_eq(keys, copied);
		for (char *key = strtok(keys, " "); key != NULL;
		     key = strtok(NULL, " ")) {
			void *value = NULL;
			size_t len = 0;

			ck_assert_int_eq(
			    kvlog_get_alloc(db, key, strlen(key), &value, &len),
			    KVLOG_OK);
			snprintf(copied, sizeof copied, "%.*s", (int)len,
			    (char *)value);
			api_expect(copy, key, copied);
			kvlog_free(value);
		}
		api_close(db);
	}
	ck_assert_uint_gt(old, 0);
	api_close(copy);
	free(copy_path);
}
END_TEST

/* Arguments */

START_TEST(wrong_arguments_are_refused)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed = NULL;
	struct kvlog_iter *iter = NULL;

	ck_assert_int_eq(
	    kvlog_feed_open(NULL, 0, NULL, 0, &feed, &err), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_feed_open(db, 0, NULL, 0, NULL, &err), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_feed_open(db, 0, NULL, 1, &feed, &err), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_feed_open(db, 0, "", KVLOG_KEY_MAX + 1, &feed, NULL),
	    KVLOG_INVAL);
	ck_assert_ptr_null(feed);
	feed = feed_of(db, 0, "");
	ck_assert_int_eq(kvlog_feed_next(NULL, 0, &change, NULL), KVLOG_INVAL);
	ck_assert_int_eq(kvlog_feed_next(feed, 0, NULL, NULL), KVLOG_INVAL);
	change.size = 1;
	ck_assert_int_eq(kvlog_feed_next(feed, 0, &change, &err), KVLOG_INVAL);
	ck_assert_int_eq(err.status, KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_iter_create_since(NULL, 0, NULL, 0, &iter), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_iter_create_since(db, 0, NULL, 1, &iter), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_iter_create_since(db, 0, NULL, 0, NULL), KVLOG_INVAL);
	kvlog_feed_close(feed);
	kvlog_feed_close(NULL);
	api_close(db);
}
END_TEST

/* Buckets */

static struct kvlog *
bucket_of(struct kvlog *db, const char *name, unsigned flags)
{
	struct kvlog *bucket = NULL;

	ck_assert_msg(kvlog_bucket_open(db, name, strlen(name), flags, &bucket,
			  &err) == KVLOG_OK,
	    "bucket %s: %s", name, err.text);
	return bucket;
}

#define FAR UINT64_C(4000000000000) /* ms since 1970: in a hundred years */

/* What a consumer keeps of buckets: names by ids. */
struct consumer {
	struct kvlog *db;
	struct {
		uint64_t seq;
		uint32_t ordinal;
		char name[8];
	} known[64];
	size_t count;
};

static void
apply_change(struct consumer *c)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog *at = c->db;
	char name[8] = "";

	switch (change.type) {
	case KVLOG_CHANGE_BUCKET_CREATE:
		ck_assert_uint_lt(c->count, 64);
		ck_assert_uint_eq(change.bucket_seq, change.seq);
		ck_assert_ptr_null(change.value);
		memcpy(name, change.key, change.key_len);
		memcpy(c->known[c->count].name, name, sizeof name);
		c->known[c->count].seq = change.bucket_seq;
		c->known[c->count++].ordinal = change.bucket_ordinal;
		kvlog_close(bucket_of(c->db, name,
				KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE),
		    NULL);
		return;
	case KVLOG_CHANGE_BUCKET_DROP:
		ck_assert_int_eq(kvlog_bucket_drop(c->db, change.key,
				     change.key_len, NULL, NULL),
		    KVLOG_OK);
		return;
	case KVLOG_CHANGE_PUT:
	case KVLOG_CHANGE_DELETE:
		break;
	}
	for (size_t i = 0; i < c->count && change.bucket_seq != 0; i++)
		if (c->known[i].seq == change.bucket_seq &&
		    c->known[i].ordinal == change.bucket_ordinal)
			at = bucket_of(c->db, c->known[i].name, 0);
	ck_assert((at != c->db) == (change.bucket_seq != 0));
	how.expires_ms = change.expires_ms;
	if (change.type == KVLOG_CHANGE_PUT)
		ck_assert_int_eq(
		    kvlog_put(at, change.key, change.key_len, change.value,
			change.value_len, &how, NULL),
		    KVLOG_OK);
	else
		ck_assert_int_eq(
		    kvlog_delete(at, change.key, change.key_len, NULL, NULL),
		    KVLOG_OK);
	if (at != c->db)
		kvlog_close(at, NULL);
}

static void
write_in_buckets(struct kvlog *db, struct rng *rng)
{
	char name[8], key[16], value[48];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog *at = db;
	unsigned b = (unsigned)rng_below(rng, 5);

	snprintf(name, sizeof name, "b%u", b);
	snprintf(key, sizeof key, "k%u", (unsigned)rng_below(rng, 10));
	snprintf(value, sizeof value, "%u", (unsigned)rng_below(rng, 1000));
	if (b > 0)
		at = bucket_of(db, name, KVLOG_OPEN_CREATE);
	switch (rng_below(rng, 12)) {
	case 0:
		if (b > 0)
			ck_assert_int_eq(kvlog_bucket_drop(db, name,
					     strlen(name), NULL, NULL),
			    KVLOG_OK);
		break;
	case 1:
		(void)!kvlog_delete(at, key, strlen(key), NULL, NULL);
		break;
	case 2: /* in two buckets at once */
	{
		struct kvlog_op ops[2] = {{.type = KVLOG_OP_PUT,
					      .key = key,
					      .key_len = strlen(key),
					      .value = value,
					      .value_len = strlen(value),
					      .bucket = at},
		    {.type = KVLOG_OP_PUT,
			.key = key,
			.key_len = strlen(key),
			.expires_ms = 1}};

		ck_assert_int_eq(
		    kvlog_apply(db, ops, 2, NULL, NULL, NULL), KVLOG_OK);
		break;
	}
	default:
		how.expires_ms = rng_below(rng, 3) == 0 ? FAR : 0;
		ck_assert_int_eq(kvlog_put(at, key, strlen(key), value,
				     strlen(value), &how, NULL),
		    KVLOG_OK);
	}
	if (at != db)
		kvlog_close(at, NULL);
}

/* All keys with values and times of all buckets, and their names. */
static void
print_keys(FILE *stream, struct kvlog *at)
{
	struct kvlog_iter *iter;
	struct kvlog_info info;
	size_t len;

	ck_assert_int_eq(kvlog_iter_open(at, NULL, &iter), KVLOG_OK);
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		const void *p = kvlog_iter_key(iter, &len);

		(void)fwrite(p, 1, len, stream);
		p = kvlog_iter_value(iter, &len);
		(void)fwrite(p, 1, len, stream);
		kvlog_iter_info(iter, &info);
		fprintf(stream, " %llu\n", (unsigned long long)info.expires_ms);
	}
	kvlog_iter_destroy(iter);
}

static char *
print_store(struct kvlog *db)
{
	char *text;
	size_t size = 0, len;
	FILE *stream = open_memstream(&text, &size);
	struct kvlog_iter *names;

	print_keys(stream, db);
	ck_assert_int_eq(kvlog_bucket_list(db, &names), KVLOG_OK);
	while (kvlog_iter_next(names) == KVLOG_OK) {
		char name[8] = "";
		struct kvlog *bucket;

		memcpy(name, kvlog_iter_key(names, &len), 2);
		fprintf(stream, "%s:\n", name);
		bucket = bucket_of(db, name, 0);
		print_keys(stream, bucket);
		kvlog_close(bucket, NULL);
	}
	kvlog_iter_destroy(names);
	(void)fclose(stream);
	return text;
}

START_TEST(a_consumer_rebuilds_the_store_with_its_buckets)
{
	char *path = files_path(api_base, "copy"), *want, *got;
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct consumer c = {.db = api_open(path, KVLOG_OPEN_CREATE)};
	struct kvlog_feed *feed = feed_of(db, 0, "");
	struct rng rng;

	rng_init(&rng, 7);
	for (unsigned i = 0; i < 400; i++)
		write_in_buckets(db, &rng);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	while (next(feed, 0) == KVLOG_OK)
		apply_change(&c);
	kvlog_feed_close(feed);
	ck_assert_uint_gt(c.count, 10);
	want = print_store(db);
	got = print_store(c.db);
	ck_assert_str_eq(got, want);
	ck_assert_ptr_nonnull(strstr(want, " 4000000000000"));
	free(want);
	free(got);
	api_close(c.db);
	api_close(db);
	free(path);
}
END_TEST

static void
expect_key(struct kvlog_feed *feed, const char *key)
{
	ck_assert_int_eq(next(feed, 0), KVLOG_OK);
	ck_assert_int_eq(change.type, KVLOG_CHANGE_PUT);
	ck_assert_uint_eq(change.key_len, strlen(key));
	ck_assert_mem_eq(change.key, key, change.key_len);
}

/* Within a commit, a bucket comes before its keys. */
START_TEST(a_transaction_tells_a_bucket_before_its_keys)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE), *bucket;
	struct kvlog_feed *feed = feed_of(db, 0, "");
	struct kvlog_txn *txn;
	uint64_t seq;
	uint32_t ordinal;

	ck_assert_int_eq(kvlog_txn_begin(db, NULL, &txn, &err), KVLOG_OK);
	ck_assert_int_eq(
	    kvlog_txn_put(txn, NULL, "a", 1, "x", 1, NULL), KVLOG_OK);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof name, "b%u", 2 - i);
		ck_assert_int_eq(kvlog_txn_bucket_open(txn, name, 2,
				     KVLOG_OPEN_CREATE, &bucket, &err),
		    KVLOG_OK);
		ck_assert_int_eq(
		    kvlog_txn_put(txn, bucket, name, 2, "y", 1, NULL),
		    KVLOG_OK);
		kvlog_close(bucket, NULL);
	}
	ck_assert_int_eq(kvlog_txn_commit(txn, NULL, NULL), KVLOG_OK);
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	expect_key(feed, "a");
	ck_assert(change.more);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof name, "b%u", 2 - i);
		ck_assert_int_eq(next(feed, 0), KVLOG_OK);
		ck_assert_int_eq(change.type, KVLOG_CHANGE_BUCKET_CREATE);
		ck_assert_mem_eq(change.key, name, 2);
		seq = change.bucket_seq;
		ordinal = change.bucket_ordinal;
		ck_assert_uint_eq(seq, change.seq);
		expect_key(feed, name);
		ck_assert_uint_eq(change.bucket_seq, seq);
		ck_assert_uint_eq(change.bucket_ordinal, ordinal);
	}
	ck_assert(!change.more);
	kvlog_feed_close(feed);
	api_close(db);
}
END_TEST

START_TEST(a_feed_of_a_bucket_or_a_prefix_is_of_that_alone)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);
	struct kvlog *a = bucket_of(db, "a", KVLOG_OPEN_CREATE),
		     *b = bucket_of(db, "b", KVLOG_OPEN_CREATE);
	struct kvlog_feed *feed;
	uint64_t seq;
	uint32_t ordinal;

	(void)api_put(db, "a1", "x");
	(void)api_put(a, "a2", "x");
	(void)api_put(b, "a3", "x");
	(void)api_put(a, "b4", "x");
	(void)api_put(db, "a5", "x");
	ck_assert_int_eq(kvlog_sync(db), KVLOG_OK);
	kvlog_bucket_id(a, &seq, &ordinal);
	ck_assert_uint_gt(seq, 0);
	feed = feed_of(a, 0, "");
	expect_key(feed, "a2");
	ck_assert_uint_eq(change.bucket_seq, seq);
	ck_assert_uint_eq(change.bucket_ordinal, ordinal);
	expect_key(feed, "b4");
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	kvlog_feed_close(feed);
	feed = feed_of(a, 0, "a");
	expect_key(feed, "a2");
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	kvlog_feed_close(feed);
	feed = feed_of(db, 0, "a");
	expect_key(feed, "a1");
	expect_key(feed, "a5");
	ck_assert_int_eq(next(feed, 0), KVLOG_TIMEOUT);
	kvlog_feed_close(feed);
	kvlog_bucket_id(db, &seq, &ordinal);
	ck_assert_uint_eq(seq | ordinal, 0);
	kvlog_close(a, NULL);
	kvlog_close(b, NULL);
	api_close(db);
}
END_TEST

static Suite *
make_suite(void)
{
	Suite *suite = suite_create("feed");
	TCase *order = api_case(suite, "order");
	TCase *durable = api_case(suite, "durability");
	TCase *compacted = api_case(suite, "compaction");
	TCase *damaged = api_case(suite, "damage");
	TCase *waiting = api_case(suite, "waiting");
	TCase *net = api_case(suite, "net state");

	tcase_add_test(order, every_change_comes_from_every_number);
	tcase_add_test(order, a_feed_goes_on_with_what_is_written);
	tcase_add_test(order, a_large_value_comes_whole);
	tcase_add_test(order, a_prefix_leaves_others_out);
	tcase_add_test(order, wrong_arguments_are_refused);
	tcase_add_test(order, a_consumer_rebuilds_the_store_with_its_buckets);
	tcase_add_test(order, a_feed_of_a_bucket_or_a_prefix_is_of_that_alone);
	tcase_add_test(order, a_transaction_tells_a_bucket_before_its_keys);
	tcase_add_test(durable, a_commit_is_told_when_it_is_durable);
	tcase_add_test(durable, new_is_what_is_not_durable);
	tcase_add_test(durable, numbers_have_gaps_after_a_crash);
	tcase_add_test(durable, a_kill_makes_nothing_durable);
	tcase_add_test(compacted, what_was_compacted_is_too_old);
	tcase_add_test(compacted, compaction_of_what_was_told_is_not_noticed);
	tcase_add_test(damaged, damage_is_told_and_costs_nothing_else);
	tcase_add_test(damaged, damage_beside_an_open_feed);
	tcase_add_test(waiting, a_wait_ends);
	tcase_add_test(waiting, threads_follow_a_writer_of_their_handle);
	tcase_add_test(waiting, a_process_follows_another_one);
	tcase_add_test(waiting, writers_of_several_processes);
	tcase_add_test(net, the_net_state_since_a_commit);
	tcase_add_test(net, a_copy_can_be_kept_through_compactions);
	return suite;
}

int
main(void)
{
	return api_main(make_suite);
}
