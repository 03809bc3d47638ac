/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_verify.c - the second opinion, held against the first: verify and
 * recovery, which share no rule's code, must agree about where a log ends,
 * what its last commit is and what is damaged, whatever a crash or a failing
 * disk has left of it (INV-10).  And what only verify knows, kind by kind.
 *
 * KVLOG_SEED repeats the random choices; KVLOG_VERIFY_ROUNDS makes more.
 */
#include "config.h"

#include "makelog.h"

#include "bytes.h"
#include "rng.h"
#include "verify.h"
#include "victim.h"

#include <errno.h>
#include <stdlib.h>

#define ONE "00000001.seg"
#define TWO "00000002.seg"
#define THREE "00000003.seg"

static struct makelog m;
static uint64_t seed;

/* What was found */

struct one {
	enum kvlog_finding_kind kind;
	bool damage;
	uint32_t segment;
	char file[80];
	uint64_t off, len, first_seq, last_seq;
	char key[40]; /* "": not known */
	char bucket[40];
	char text[300];
	enum kvlog_older older;
};

#define FOUND_MAX 400u

static struct {
	struct one all[FOUND_MAX];
	size_t count;
	struct kvlog_verify_report report;
	struct kvlog_error err;
	enum kvlog_status st;
	unsigned flags;
	uint64_t cancel_at, calls; /* of progress */
} got;

static void
note(void *arg, const struct kvlog_finding *f)
{
	struct one *one = &got.all[got.count];

	(void)arg;
	ck_assert_uint_eq(f->size, sizeof *f);
	ck_assert_str_ne(f->text, "unknown");
	ck_assert_str_ne(kvlog_finding_name(f->kind), "unknown");
	ck_assert_ptr_nonnull(f->file);
	ck_assert(!f->damage || f->kind < KVLOG_FINDING_TORN);
	if (got.count == FOUND_MAX)
		return;
	got.count++;
	memset(one, 0, sizeof *one);
	one->kind = f->kind;
	one->damage = f->damage;
	one->segment = f->segment;
	snprintf(one->file, sizeof one->file, "%s", f->file);
	one->off = f->offset;
	one->len = f->length;
	one->first_seq = f->first_seq;
	one->last_seq = f->last_seq;
	one->older = f->older;
	snprintf(one->text, sizeof one->text, "%s", f->text);
	if (f->bucket != NULL)
		memcpy(one->bucket, f->bucket, f->bucket_len);
	if (f->key != NULL)
		memcpy(one->key, f->key,
		    f->key_len < sizeof one->key ? f->key_len
						 : sizeof one->key - 1);
}

static bool
progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	ck_assert_uint_le(done, total);
	return ++got.calls != got.cancel_at;
}

static void
verify(void)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	const unsigned flags = got.flags;
	const uint64_t cancel_at = got.cancel_at;
	uint64_t hash = simos_image_hash();

	memset(&got, 0, sizeof got);
	got.flags = flags;
	got.cancel_at = cancel_at;
	got.report.size = sizeof got.report;
	o.flags = flags;
	o.finding = note;
	o.progress = progress;
	got.st = kvlog_verify(MAKELOG_STORE, &o, &got.report, &got.err);
	ck_assert_uint_eq(simos_image_hash(), hash);
	if (got.st != KVLOG_OK)
		ck_assert_str_ne(got.err.text, "");
}

static void
print_found(void)
{
	fprintf(stderr, "verify: %d, ends at %u:%" PRIu64 ", %" PRIu64 "\n",
	    (int)got.st, got.report.end_segment, got.report.end_offset,
	    got.report.last_seq);
	for (size_t i = 0; i < got.count; i++)
		fprintf(stderr,
		    "  %s %s %s %" PRIu64 "+%" PRIu64 " (%" PRIx64 "-%" PRIx64
		    ") %s\n",
		    got.all[i].damage ? "damage" : "note",
		    kvlog_finding_name(got.all[i].kind), got.all[i].file,
		    got.all[i].off, got.all[i].len, got.all[i].first_seq,
		    got.all[i].last_seq, got.all[i].key);
}

static const struct one *
find_kind(enum kvlog_finding_kind kind)
{
	for (size_t i = 0; i < got.count; i++)
		if (got.all[i].kind == kind)
			return &got.all[i];
	return NULL;
}

/* Exactly this damage, at this place. */
static const struct one *
expect_one(enum kvlog_finding_kind kind, const char *file, uint64_t off)
{
	const struct one *one = find_kind(kind);
	size_t damages = 0;

	for (size_t i = 0; i < got.count; i++)
		damages +=
		    got.all[i].damage && got.all[i].kind != KVLOG_FINDING_KEY;
	if (one == NULL || strcmp(one->file, file) != 0 || one->off != off ||
	    damages != one->damage) {
		print_found();
		ck_abort_msg("wanted %s in %s at %" PRIu64,
		    kvlog_finding_name(kind), file, off);
	}
	ck_assert_int_eq(got.st, one->damage ? KVLOG_CORRUPT : KVLOG_OK);
	return one;
}

static void
expect_clean(void)
{
	if (got.st != KVLOG_OK || got.report.damage_count != 0) {
		print_found();
		ck_abort_msg("%s", got.err.text);
	}
}

/* Agreement with recovery */

/* Damage that recovery looks for. */
static bool
is_of_log(const struct one *one)
{
	switch (one->kind) {
	case KVLOG_FINDING_RECORD:
	case KVLOG_FINDING_VALUE:
	case KVLOG_FINDING_MISSING:
	case KVLOG_FINDING_END:
	case KVLOG_FINDING_UNREADABLE:
	case KVLOG_FINDING_LINK:
	case KVLOG_FINDING_SEGMENT:
		return true;
	case KVLOG_FINDING_HEADER:
		return one->off == 0; /* it does not look at the copy */
	default:
		return false;
	}
}

/* Damage because of which opening is refused. */
static bool
is_of_files(const struct one *one)
{
	switch (one->kind) {
	case KVLOG_FINDING_SIZE:
	case KVLOG_FINDING_HEADERS:
	case KVLOG_FINDING_SEGMENT:
	case KVLOG_FINDING_SET:
	case KVLOG_FINDING_FOREIGN:
	case KVLOG_FINDING_HISTORY:
	case KVLOG_FINDING_NAME:
	case KVLOG_FINDING_FILE:
		return true;
	default:
		return false;
	}
}

static bool
any_damage(bool (*of)(const struct one *one))
{
	for (size_t i = 0; i < got.count; i++)
		if (got.all[i].damage && of(&got.all[i]))
			return true;
	return false;
}

static bool
is_told(uint32_t segment, const struct segment_range *bad)
{
	for (size_t i = 0; i < got.count; i++)
		if (got.all[i].damage && got.all[i].segment == segment &&
		    got.all[i].off <= bad->from &&
		    got.all[i].off + got.all[i].len >= bad->to)
			return true;
	return false;
}

static const char *
disagree_on_files(const struct found *f)
{
	if (got.report.left_out_count > 0 || got.count == FOUND_MAX)
		return NULL;
	for (size_t i = 0; i < f->set->count; i++) {
		const struct segment *seg = f->set->segments[i];

		for (size_t n = 0; n < seg->bad_count; n++)
			if (!is_told(segment_number(seg), &seg->bad[n]))
				return "a bad range is not told";
	}
	return NULL;
}

/* What verify and recovery do not agree on, or NULL. */
static const char *
disagree(const struct found *f)
{
	const struct kvlog_verify_report *r = &got.report;

	if (f->st == KVLOG_CORRUPT)
		return got.st == KVLOG_CORRUPT && any_damage(is_of_files)
			   ? NULL
			   : "opening is refused";
	if (f->st != KVLOG_OK)
		return got.st == f->st ? NULL : "another failure";
	if (got.st != KVLOG_OK && got.st != KVLOG_CORRUPT)
		return "verify fails";
	if (any_damage(is_of_files))
		return "verify says that opening is refused";
	if (r->end_segment != segment_number(found_last(f)))
		return "the log ends in another segment";
	if (r->end_offset != segment_end(found_last(f)))
		return "the log ends elsewhere";
	if (r->last_seq != f->r.last_seq)
		return "another last commit";
	if (r->torn != ((f->r.flags & KVLOG_RECOVERY_TORN) != 0))
		return "torn or not";
	if (any_damage(is_of_log) !=
	    ((f->r.flags & KVLOG_RECOVERY_DAMAGE) != 0))
		return "damaged or not";
	return disagree_on_files(f);
}

static void
compare(const char *what)
{
	struct found f;
	const char *why;

	verify();
	found_init(&f, false);
	why = disagree(&f);
	if (why != NULL) {
		print_found();
		fprintf(stderr,
		    "recover: %d %s, ends at %u:%" PRIu64 ", %" PRIu64
		    ", flags %x, attested %" PRIx64 "\n",
		    (int)f.st, f.err.text,
		    f.set->count > 0 ? segment_number(found_last(&f)) : 0,
		    f.set->count > 0 ? segment_end(found_last(&f)) : 0,
		    f.r.last_seq, f.r.flags, f.r.attested);
		for (size_t i = 0; i < f.set->count; i++)
			for (size_t n = 0; n < f.set->segments[i]->bad_count;
			     n++)
				fprintf(stderr,
				    "  bad %s %" PRIu64 "-%" PRIu64 "\n",
				    f.set->segments[i]->name,
				    f.set->segments[i]->bad[n].from,
				    f.set->segments[i]->bad[n].to);
		ck_abort_msg(
		    "%s: %s (KVLOG_SEED=%" PRIu64 ")", what, why, seed);
	}
	found_fini(&f);
}

/* Random logs, random damage */

static unsigned segments; /* made by make_log() */

static void
random_commit(struct rng *rng)
{
	char key[8];

	snprintf(key, sizeof key, "k%u", (unsigned)rng_below(rng, 20));
	switch (rng_below(rng, 8)) {
	case 0:
		(void)makelog_batch(&m, 2 + (unsigned)rng_below(rng, 3),
		    (size_t)rng_below(rng, 90));
		break;
	case 1:
		(void)makelog_delete(&m, key);
		break;
	case 2:
		m.durable = m.seq;
		(void)makelog_mark(&m, rng_below(rng, 4) == 0);
		break;
	default:
		(void)makelog_put(&m, key, (size_t)rng_below(rng, 120));
	}
	if (rng_below(rng, 12) == 0)
		m.durable = m.seq;
}

static void
make_log(struct rng *rng)
{
	segments = 1 + (unsigned)rng_below(rng, 4);
	makelog_init(&m);
	for (unsigned i = 1; i <= segments; i++) {
		unsigned commits = (unsigned)rng_below(rng, 16);

		if (i > 1 && rng_below(rng, 5) == 0) {
			m.durable = m.seq;
			makelog_begin_range(
			    &m, i, (m.seq / RECORD_RANGE + 1) * RECORD_RANGE);
		} else {
			makelog_begin(&m, i);
		}
		while (commits-- > 0)
			random_commit(rng);
	}
	if (rng_below(rng, 2) == 0) {
		m.durable = m.seq;
		(void)makelog_mark(&m, true);
	}
	makelog_end(&m);
	makelog_fini(&m);
}

static void
random_name(struct rng *rng, char name[DIR_NAME_LEN])
{
	snprintf(name, DIR_NAME_LEN, "%08u.seg",
	    1 + (unsigned)rng_below(rng, segments));
}

/* Records are in the first two thousand bytes behind the header. */
static uint64_t
random_off(struct rng *rng, uint64_t size)
{
	switch (rng_below(rng, 8)) {
	case 0:
		return rng_below(rng, size);
	case 1:
		return rng_below(rng, 600);
	default:
		return SEGMENT_DATA_OFF + rng_below(rng, 2000);
	}
}

/* Flip a byte, overwrite some, or (if it may) remove a file. */
static void
damage(struct rng *rng, bool may_remove)
{
	static uint8_t bytes[1200];
	char name[DIR_NAME_LEN];
	const uint8_t *image;
	uint64_t size, off;
	size_t len;
	struct dir dir;

	random_name(rng, name);
	if (!simos_peek(makelog_path(name), &image, &size))
		return;
	off = random_off(rng, size);
	switch (rng_below(rng, 10)) {
	case 0: /* a block of zeros or garbage */
	case 1:
		len = (size_t)min_u64(rng_below(rng, sizeof bytes), size - off);
		memset(bytes, 0, sizeof bytes);
		if (rng_below(rng, 2) == 0)
			rng_fill(rng, bytes, len);
		if (len > 0)
			makelog_poke(name, off, bytes, len);
		return;
	case 2:
		if (!may_remove || rng_below(rng, 4) != 0)
			break;
		MAKELOG_OK(dir_open(&dir, MAKELOG_STORE, 0644, NULL));
		ck_assert_int_eq(os->unlink(dir.fd, name), 0);
		dir_close(&dir);
		return;
	default:
		break;
	}
	makelog_flip(name, off);
}

static uint64_t
rounds(uint64_t usual)
{
	const char *text = getenv("KVLOG_VERIFY_ROUNDS");

	if (TEST_IS_SANITIZED)
		usual /= 5;
	return text != NULL ? strtoull(text, NULL, 10) : usual;
}

/* A machine of its own for each round, so that a failure can be repeated by
 * its seed alone. */
static void
begin_round(uint64_t round, struct rng *rng)
{
	if (getenv("KVLOG_SEED") == NULL)
		seed = rng_mix(round + 1);
	rng_init(rng, seed);
	simos_init(seed);
	ck_assert_int_eq(os->mkdir(MAKELOG_STORE, 0755), 0);
	ck_assert_int_eq(os->sync_parent(MAKELOG_STORE), 0);
}

static void
end_round(void)
{
	ck_assert_uint_eq(simos_leaks(stderr), 0);
	simos_fini();
}

START_TEST(random_damage_is_judged_as_recovery_does)
{
	uint64_t damaged = 0, torn = 0, refused = 0, total = rounds(6000);

	for (uint64_t i = 0; i < total; i++) {
		struct rng rng;
		unsigned n;

		begin_round(i, &rng);
		make_log(&rng);
		for (n = (unsigned)rng_below(&rng, 4); n > 0; n--)
			damage(&rng, true);
		compare("random damage");
		damaged += got.st == KVLOG_CORRUPT;
		torn += got.report.torn;
		refused += any_damage(is_of_files);
		end_round();
	}
	/* All of it is met. */
	ck_assert_uint_gt(damaged, total / 10);
	ck_assert_uint_gt(torn, total / 20);
	ck_assert_uint_gt(refused, total / 200);
}
END_TEST

static void
die(const char *text)
{
	ck_abort_msg("%s (KVLOG_SEED=%" PRIu64 ")", text, seed);
}

START_TEST(crashes_are_judged_as_recovery_does_and_are_no_damage)
{
	uint64_t total = rounds(4000), torn = 0, warm = 0;

	for (uint64_t i = 0; i < total; i++) {
		struct victim v;
		struct rng rng;
		enum simos_loss loss;
		bool lost;

		begin_round(i, &rng);
		victim_init(&v, die);
		rng_init(&v.rng, rng_next(&rng));
		simos_stop_at(
		    1 + rng_below(&rng, 600), (unsigned)rng_below(&rng, 4));
		(void)simos_run(script_random, &v);
		simos_stop_at(0, 0);
		loss =
		    (enum simos_loss)rng_below(&rng, SIMOS_LOSS_GARBAGE_SECTOR);
		lost = rng_below(&rng, 4) != 0;
		if (lost)
			simos_power_loss(loss, rng_next(&rng));
		else
			simos_kill();
		compare("crash");
		if (got.st != KVLOG_NOSTORE && v.oracle.created)
			expect_clean();
		torn += got.report.torn;
		warm += !lost;
		victim_fini(&v);
		simos_forget();
		end_round();
	}
	ck_assert_uint_gt(torn, total / 50);
	ck_assert_uint_gt(warm, total / 10);
}
END_TEST

/* Stores that the engine made, closed, killed or cut off from power, and then
 * damaged: with a page that is believed, or a stale one.  Recovery does not
 * read what hints cover, so there are none. */
static void
remove_hints(void)
{
	struct dir dir;
	struct file_list list;

	MAKELOG_OK(dir_open(&dir, MAKELOG_STORE, 0644, NULL));
	MAKELOG_OK(dir_list(&dir, &list, NULL));
	segments = 0;
	for (size_t i = 0; i < list.count; i++) {
		if (list.files[i].kind == FILE_HINT)
			ck_assert_int_eq(
			    os->unlink(dir.fd, list.files[i].name), 0);
		if (list.files[i].kind == FILE_SEGMENT)
			segments = list.files[i].id.last;
	}
	file_list_fini(&list);
	dir_close(&dir);
}

START_TEST(damage_to_what_the_engine_made_is_judged_as_recovery_does)
{
	uint64_t total = rounds(4000), damaged = 0;

	for (uint64_t i = 0; i < total; i++) {
		struct victim v;
		struct rng rng;

		begin_round(i, &rng);
		victim_init(&v, die);
		rng_init(&v.rng, rng_next(&rng));
		(void)simos_run(script_random, &v);
		if (v.db != NULL && rng_below(&rng, 2) == 0)
			simos_kill();
		else if (v.db != NULL)
			(void)victim_close(&v);
		if (rng_below(&rng, 2) == 0)
			simos_power_loss(SIMOS_LOSS_ALL, 0);
		else
			simos_kill();
		remove_hints();
		for (unsigned n = (unsigned)rng_below(&rng, 3);
		     n > 0 && segments > 0; n--)
			damage(&rng, false);
		compare("damage to a store");
		damaged += got.st == KVLOG_CORRUPT;
		victim_fini(&v);
		simos_forget();
		end_round();
	}
	ck_assert_uint_gt(damaged, total / 10);
}
END_TEST

/* Kinds of findings, one by one */

#define VALUE 50u /* with a key of 2 bytes: a record of 80, no padding */
#define LEN 80u
#define HEAD 30u

static uint64_t offs[20]; /* of commit i */

static void
put(const char *key)
{
	uint64_t off = makelog_put(&m, key, VALUE);

	offs[m.seq] = off;
}

/* Segments 1 to 3 with three commits each, keys k1 to k9; all of it attested
 * by a mark, and with durable each segment by the next one's link. */
static void
make_three_as(bool durable)
{
	makelog_init(&m);
	for (uint32_t n = 1; n <= 3; n++) {
		if (durable)
			m.durable = m.seq;
		makelog_begin(&m, n);
		for (unsigned i = 0; i < 3; i++) {
			char key[3] = {'k', (char)('1' + m.seq), '\0'};

			put(key);
		}
	}
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
}

static void
make_three(void)
{
	make_three_as(false);
}

static void
remove_file(const char *name)
{
	ck_assert_int_eq(os->unlink(m.dir.fd, name), 0);
}

START_TEST(a_whole_store_is_clean)
{
	make_three();
	verify();
	expect_clean();
	ck_assert_uint_eq(got.report.segment_count, 3);
	ck_assert_uint_eq(got.report.record_count, 9);
	ck_assert_uint_eq(got.report.commit_count, 9);
	ck_assert_uint_eq(got.report.last_seq, 9);
	ck_assert_uint_eq(got.report.attested_seq, 9);
	ck_assert_uint_eq(got.report.end_segment, 3);
	ck_assert_uint_eq(got.report.end_offset, m.off);
	ck_assert_uint_gt(got.report.byte_count, 3 * SEGMENT_DATA_OFF);
	ck_assert_mem_eq(got.report.uuid, m.store.uuid, 16);
	/* Only that the lock file is missing. */
	ck_assert_uint_eq(got.count, 1);
	ck_assert_int_eq(got.all[0].kind, KVLOG_FINDING_LOCK);
	makelog_fini(&m);
}
END_TEST

/* What one byte that was flipped is called, and where. */
START_TEST(a_flipped_byte_is_told_by_what_it_was)
{
	static const struct {
		uint64_t off;
		enum kvlog_finding_kind kind;
		uint64_t told;
	} flips[] = {
	    {9, KVLOG_FINDING_HEADER, 0},
	    {4096 + 9, KVLOG_FINDING_HEADER, 4096},
	    {SEGMENT_LINK_OFF + 20, KVLOG_FINDING_LINK, SEGMENT_LINK_OFF},
	    {1000, KVLOG_FINDING_ZEROS, 1000},
	    {SEGMENT_DATA_OFF + LEN + 3, KVLOG_FINDING_RECORD,
		SEGMENT_DATA_OFF + LEN},
	    {SEGMENT_DATA_OFF + LEN + HEAD, KVLOG_FINDING_VALUE,
		SEGMENT_DATA_OFF + LEN},
	};

	make_three();
	makelog_flip(TWO, flips[_i].off);
	verify();
	(void)expect_one(flips[_i].kind, TWO, flips[_i].told);
	makelog_fini(&m);
}
END_TEST

START_TEST(padding_that_is_not_zero_is_told)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "kk", 51); /* 81 bytes, 7 of padding */
	m.durable = 1;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_flip(ONE, SEGMENT_DATA_OFF + 85);
	verify();
	ck_assert_uint_eq(
	    expect_one(KVLOG_FINDING_ZEROS, ONE, SEGMENT_DATA_OFF + 85)->len,
	    1);
	makelog_fini(&m);
}
END_TEST

/* 0: there is an older value; 1: none; 2: a newer one; 3: a delete before. */
START_TEST(a_damaged_value_tells_what_is_left_of_its_key)
{
	static const enum kvlog_older older[] = {KVLOG_OLDER_SURVIVES,
	    KVLOG_OLDER_NONE, KVLOG_OLDER_REPLACED, KVLOG_OLDER_NONE};
	const struct one *one;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put(_i == 1 ? "ab" : "kk");
	if (_i == 3)
		(void)makelog_delete(&m, "kk");
	makelog_begin(&m, 2);
	put("kk");
	put(_i == 2 ? "kk" : "zz");
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_flip(TWO, SEGMENT_DATA_OFF + HEAD + 7);
	verify();
	one = expect_one(KVLOG_FINDING_VALUE, TWO, SEGMENT_DATA_OFF);
	ck_assert_str_eq(one->key, "kk");
	ck_assert_int_eq(one->older, older[_i]);
	ck_assert_uint_eq(one->first_seq, _i == 3 ? 3 : 2);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_batch_that_lost_a_part_is_told)
{
	uint64_t start;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	start = makelog_batch(&m, 3, 50);
	put("zz");
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	makelog_flip(ONE, start + LEN + 2);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_RECORD)->off, start + LEN);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_RECORD)->len, LEN);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_COMMIT)->first_seq, 2);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_COMMIT)->off, start);
	ck_assert_uint_eq(got.report.last_seq, 3);
	makelog_fini(&m);
}
END_TEST

START_TEST(missing_numbers_are_told)
{
	const struct one *one;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	m.seq += 3;
	m.durable = m.seq;
	put("zz");
	makelog_end(&m);
	verify();
	one = expect_one(KVLOG_FINDING_MISSING, ONE, SEGMENT_DATA_OFF + LEN);
	ck_assert_uint_eq(one->first_seq, 2);
	ck_assert_uint_eq(one->last_seq, 4);
	ck_assert_uint_eq(one->len, 0);
	makelog_fini(&m);
}
END_TEST

/* The commit before is damaged in its value alone: it is not missing. */
START_TEST(numbers_that_are_missing_behind_a_damaged_value_are_told)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	put("bb");
	m.seq += 2;
	m.durable = m.seq;
	put("zz");
	makelog_end(&m);
	makelog_flip(ONE, offs[2] + HEAD);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_VALUE)->first_seq, 2);
	ck_assert_ptr_nonnull(find_kind(KVLOG_FINDING_MISSING));
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_MISSING)->first_seq, 3);
	ck_assert_uint_eq(find_kind(KVLOG_FINDING_MISSING)->last_seq, 4);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_damaged_link_tells_what_is_missing_before_it)
{
	static const uint8_t zeros[LEN];

	make_three();
	makelog_poke(ONE, offs[3], zeros, sizeof zeros);
	makelog_flip(TWO, SEGMENT_LINK_OFF + 9);
	verify();
	ck_assert_uint_eq(
	    expect_one(KVLOG_FINDING_LINK, TWO, SEGMENT_LINK_OFF)->first_seq,
	    3);
	ck_assert_uint_eq(got.report.last_seq, 9);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_lost_end_is_told)
{
	static const uint8_t zeros[4 * LEN];
	const struct one *one;

	make_three();
	/* Commits 8 and 9 and the mark; the note knows of all. */
	makelog_poke(THREE, offs[8], zeros, sizeof zeros);
	{
		struct control control;
		struct control_note end = {
		    .segment = 3, .end = m.off, .last_seq = 9};

		memcpy(end.uuid, m.store.uuid, 16);
		MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
		makelog_lock(&control, &m.dir);
		MAKELOG_OK(control_write_note(&control, &end, NULL));
		control_close(&control);
	}
	verify();
	one = expect_one(KVLOG_FINDING_END, THREE, offs[8]);
	ck_assert_uint_eq(one->first_seq, 8);
	ck_assert_uint_eq(one->last_seq, 9);
	ck_assert_uint_eq(got.report.last_seq, 7);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_torn_end_is_no_damage)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	put("bb");
	put("cc");
	makelog_end(&m);
	makelog_flip(ONE, offs[2] + 1);
	verify();
	ck_assert_uint_eq(
	    expect_one(KVLOG_FINDING_TORN, ONE, offs[2])->len, 2 * LEN);
	ck_assert(got.report.torn);
	ck_assert_uint_eq(got.report.last_seq, 1);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_file_of_another_size_is_told)
{
	int fd;

	make_three();
	ck_assert_int_eq(os->open(m.dir.fd, TWO, OS_OPEN_WRITE, 0, &fd), 0);
	/* 0: without records behind; 1: into its records; 2: too long. */
	ck_assert_int_eq(os->truncate(fd, _i == 0   ? MAKELOG_SIZE - 100
					  : _i == 1 ? offs[5] + 8
						    : MAKELOG_SIZE + 100),
	    0);
	os->close(fd);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_ptr_nonnull(find_kind(KVLOG_FINDING_SIZE));
	ck_assert_str_eq(find_kind(KVLOG_FINDING_SIZE)->file, TWO);
	ck_assert_int_eq(find_kind(KVLOG_FINDING_RECORD) != NULL, _i == 1);
	makelog_fini(&m);
}
END_TEST

/* Whichever of its headers are left; its content was said to be wrong. */
START_TEST(a_file_without_its_first_record_is_told)
{
	int fd;

	make_three();
	ck_assert_int_eq(os->open(m.dir.fd, TWO, OS_OPEN_WRITE, 0, &fd), 0);
	for (uint64_t len = SEGMENT_DATA_OFF - 1; len < MAKELOG_SIZE;
	     len -= len < 500 ? len : 500) {
		ck_assert_int_eq(os->truncate(fd, len), 0);
		verify();
		(void)expect_one(KVLOG_FINDING_SIZE, TWO, 0);
		if (len == 0)
			break;
	}
	os->close(fd);
	makelog_fini(&m);
}
END_TEST

/* Lost headers hide no record: the salt follows from the sums. */
START_TEST(records_are_read_without_any_header)
{
	const struct one *one;

	make_three();
	makelog_flip(_i == 0 ? ONE : _i == 1 ? TWO : THREE, 100);
	makelog_flip(_i == 0 ? ONE : _i == 1 ? TWO : THREE, 4096 + 100);
	verify();
	one = expect_one(KVLOG_FINDING_HEADERS,
	    _i == 0   ? ONE
	    : _i == 1 ? TWO
		      : THREE,
	    0);
	ck_assert_uint_eq(one->len, SEGMENT_DATA_OFF);
	ck_assert_uint_eq(got.report.record_count, 9);
	ck_assert_uint_eq(got.report.last_seq, 9);
	makelog_fini(&m);
}
END_TEST

START_TEST(without_headers_and_records_a_file_is_lost)
{
	static const uint8_t zeros[MAKELOG_SIZE - SEGMENT_DATA_OFF];

	make_three();
	makelog_flip(TWO, 100);
	makelog_flip(TWO, 4096 + 100);
	makelog_poke(TWO, SEGMENT_DATA_OFF, zeros, sizeof zeros);
	verify();
	ck_assert_uint_eq(expect_one(KVLOG_FINDING_HEADERS, TWO, 0)->len, 0);
	ck_assert_uint_eq(got.report.record_count, 6);
	ck_assert_uint_eq(got.report.last_seq, 9);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_missing_segment_is_told_and_the_rest_is_checked)
{
	const struct one *one;

	make_three();
	remove_file(_i == 0 ? ONE : TWO);
	verify();
	one = expect_one(KVLOG_FINDING_SEGMENT, "", 0);
	ck_assert_uint_eq(one->segment, _i == 0 ? 1 : 2);
	ck_assert_uint_eq(one->first_seq, _i == 0 ? 1 : 4);
	ck_assert_uint_eq(one->last_seq, _i == 0 ? 3 : 6);
	ck_assert_uint_eq(got.report.record_count, 6);
	ck_assert_uint_eq(got.report.last_seq, 9);
	makelog_fini(&m);
}
END_TEST

/* The page says that the log went on behind the gap. */
START_TEST(a_page_that_is_believed_attests_a_missing_segment)
{
	struct control control;
	struct control_state state = {.generation = 5};

	makelog_init(&m);
	for (uint32_t n = 1; n <= 3; n++) {
		makelog_begin(&m, n);
		put("kk");
	}
	state.active_salt = m.seg->header.salt;
	state.position = control_pos(3, m.off);
	makelog_end(&m);
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	MAKELOG_OK(control_format(&control, &state, NULL));
	control_close(&control);
	remove_file(TWO);
	verify();
	(void)expect_one(KVLOG_FINDING_SEGMENT, "", 0);
	ck_assert_uint_eq(got.report.last_seq, 3);
	makelog_fini(&m);
}
END_TEST

START_TEST(segments_of_others_are_told)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	m.durable = m.seq;
	if (_i == 0)
		m.store.uuid[0] ^= 1;
	makelog_begin(&m, 2);
	if (_i == 0)
		m.store.uuid[0] ^= 1;
	if (_i == 1) {
		m.link.prev_salt ^= 1;
		ck_assert_int_eq(segment_store_link(m.seg, &m.link), 0);
	}
	put("bb");
	m.durable = m.seq;
	makelog_begin(&m, 3);
	put("cc");
	makelog_end(&m);
	verify();
	if (_i == 0)
		(void)expect_one(KVLOG_FINDING_FOREIGN, TWO, 0);
	else
		(void)expect_one(KVLOG_FINDING_HISTORY, TWO, SEGMENT_LINK_OFF);
	ck_assert_uint_eq(got.report.last_seq, 3);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_segment_under_another_name_stands_where_it_belongs)
{
	make_three();
	/* 0: only renamed; 1: a second copy of it. */
	if (_i == 0)
		ck_assert_int_eq(os->rename(m.dir.fd, TWO, "00000007.seg"), 0);
	else
		ck_assert_int_eq(
		    os->link(m.dir.fd, TWO, m.dir.fd, "00000007.seg"), 0);
	verify();
	(void)expect_one(KVLOG_FINDING_NAME, "00000007.seg", 0);
	ck_assert_uint_eq(got.report.record_count, 9);
	ck_assert_uint_eq(got.report.last_seq, 9);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_directory_in_place_of_a_segment_is_told)
{
	make_three();
	remove_file(TWO);
	ck_assert_int_eq(os->mkdir(makelog_path(TWO), 0755), 0);
	verify();
	(void)expect_one(KVLOG_FINDING_FILE, TWO, 0);
	ck_assert_uint_eq(got.report.record_count, 6);
	makelog_fini(&m);
}
END_TEST

/* Sums are right, and yet nobody writes this. */
START_TEST(records_that_contradict_themselves_are_told)
{
	struct record rec;
	uint64_t off;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	m.durable = 1;
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "kk", VALUE, 0);
	switch (_i) {
	case 0:
		rec.lag = 7;
		break;
	case 1:
		rec.type = RECORD_DELETE;
		break;
	case 2:
		rec.flags = RECORD_CLEAN;
		break;
	default:
		rec.type = RECORD_MARK;
		rec.key_len = 0;
		rec.seq = 1;
		break;
	}
	off = makelog_add(&m, &rec);
	if (_i == 3)
		m.seq--;
	put("zz");
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, ONE, off);
	makelog_fini(&m);
}
END_TEST

START_TEST(two_whole_headers_that_differ_are_told)
{
	const uint8_t *bytes;
	uint64_t size;
	uint8_t fixed[SEGMENT_FIXED_LEN];

	make_three();
	ck_assert(simos_peek(makelog_path(TWO), &bytes, &size));
	memcpy(fixed, bytes, sizeof fixed);
	fixed[400] ^= 1;
	put_u32(fixed + 8, sum_crc(fixed + 12, sizeof fixed - 12));
	makelog_poke(TWO, 4096, fixed, sizeof fixed);
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, TWO, 0);
	makelog_fini(&m);
}
END_TEST

/* Of one that is of another segment it is known that it is wrong. */
static void
copy_header_of_three(uint64_t off)
{
	const uint8_t *bytes;
	uint64_t size;
	uint8_t fixed[SEGMENT_FIXED_LEN];

	make_three();
	ck_assert(simos_peek(makelog_path(THREE), &bytes, &size));
	memcpy(fixed, bytes, sizeof fixed);
	makelog_poke(TWO, off, fixed, sizeof fixed);
	verify();
	(void)expect_one(KVLOG_FINDING_HEADER, TWO, off);
	ck_assert_uint_eq(got.report.record_count, 9);
	makelog_fini(&m);
}

START_TEST(one_header_in_a_wrong_place_is_told)
{
	copy_header_of_three(0);
}
END_TEST

START_TEST(one_copy_in_a_wrong_place_is_told)
{
	copy_header_of_three(4096);
}
END_TEST

/* Outputs: part of parts, with these keys. */
static void
make_output(unsigned part, unsigned parts, const char *const *keys,
    const struct segment *last_input, uint64_t last_end)
{
	struct segment_header header = {
	    .store = m.store,
	    .kind = SEGMENT_OUTPUT,
	    .id = {1, 2, 3, (uint16_t)part, (uint16_t)parts},
	    .size = MAKELOG_SIZE,
	    .end = SEGMENT_DATA_OFF,
	    .set_id = 9,
	    .last_salt = last_input->header.salt,
	    .last_end = last_end,
	    .last_seq = m.seq,
	};
	char name[DIR_NAME_LEN];
	struct makelog out = m;

	for (size_t i = 0; keys[i] != NULL; i++)
		header.end += LEN;
	out.seg = NULL;
	out.seq = 1;
	out.link = (struct segment_link){.first_seq = 1, .durable = true};
	dir_make_name(name, &header.id, "seg");
	makelog_begin_as(&out, &header, name);
	for (size_t i = 0; keys[i] != NULL; i++) {
		out.seq = i + 1;
		(void)makelog_put(&out, keys[i], VALUE);
		out.seq = i + 1;
	}
	makelog_end(&out);
}

/* Segments 1 and 2, two parts that stand for them, and segment 3. */
static void
make_outputs(const char *const *first, const char *const *second)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	put("bb");
	makelog_begin(&m, 2);
	put("cc");
	put("dd");
	m.durable = m.seq;
	make_output(1, 2, first, m.seg, m.off);
	make_output(2, 2, second, m.seg, m.off);
	makelog_begin(&m, 3);
	put("ee");
	makelog_end(&m);
}

#define PART_1 "00000001-00000002.r3.1of2.seg"
#define PART_2 "00000001-00000002.r3.2of2.seg"

static const char *const keys_ab[] = {"aa", "bb", NULL};
static const char *const keys_cd[] = {"cc", "dd", NULL};
static const char *const keys_ca[] = {"cc", "aa", NULL};

START_TEST(outputs_in_order_are_clean_and_their_inputs_left_over)
{
	unsigned leftovers = 0;

	make_outputs(keys_ab, keys_cd);
	verify();
	expect_clean();
	for (size_t i = 0; i < got.count; i++)
		leftovers += got.all[i].kind == KVLOG_FINDING_LEFTOVER;
	ck_assert_uint_eq(leftovers, 2);
	ck_assert_uint_eq(got.report.segment_count, 3);
	makelog_fini(&m);
}
END_TEST

START_TEST(keys_out_of_order_in_an_output_are_told)
{
	if (_i == 0)
		make_outputs(keys_ca, keys_cd); /* in one part */
	else
		make_outputs(keys_cd, keys_cd); /* from part to part */
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, _i == 0 ? PART_1 : PART_2,
	    SEGMENT_DATA_OFF + (_i == 0 ? LEN : 0));
	makelog_fini(&m);
}
END_TEST

START_TEST(damage_in_an_output_is_told)
{
	make_outputs(keys_ab, keys_cd);
	makelog_flip(PART_2, _i == 0   ? SEGMENT_DATA_OFF + 1
			     : _i == 1 ? SEGMENT_DATA_OFF + HEAD
				       : 7000);
	verify();
	(void)expect_one(_i == 0   ? KVLOG_FINDING_RECORD
			 : _i == 1 ? KVLOG_FINDING_VALUE
				   : KVLOG_FINDING_ZEROS,
	    PART_2, _i == 2 ? 7000 : SEGMENT_DATA_OFF);
	makelog_fini(&m);
}
END_TEST

/* While the inputs are there a missing part is unfinished work; without them
 * it is a loss, and the other part is all there is. */
START_TEST(a_missing_part_matters_without_the_inputs)
{
	make_outputs(keys_ab, keys_cd);
	remove_file(PART_2);
	if (_i == 0) {
		verify();
		expect_clean();
		ck_assert_uint_eq(got.report.record_count, 5);
	} else {
		remove_file(ONE);
		remove_file(TWO);
		verify();
		(void)expect_one(KVLOG_FINDING_SET, PART_1, 0);
		ck_assert_uint_eq(got.report.record_count, 3);
	}
	makelog_fini(&m);
}
END_TEST

/* A part without headers is none, as long as the inputs are there. */
START_TEST(a_part_without_headers_matters_without_the_inputs)
{
	make_outputs(keys_ab, keys_cd);
	makelog_flip(PART_2, 100);
	makelog_flip(PART_2, 4096 + 100);
	if (_i == 0) {
		verify();
		expect_clean();
		ck_assert_uint_eq(got.report.segment_count, 3);
		ck_assert_str_eq(got.all[0].file, PART_1);
	} else {
		remove_file(ONE);
		remove_file(TWO);
		verify();
		(void)expect_one(KVLOG_FINDING_HEADERS, PART_2, 0);
	}
	ck_assert_uint_eq(got.report.record_count, 5);
	makelog_fini(&m);
}
END_TEST

static void
make_file(const char *name)
{
	int fd;

	ck_assert_int_eq(
	    os->open(m.dir.fd, name, OS_OPEN_CREATE, 0644, &fd), 0);
	os->close(fd);
}

START_TEST(other_files_are_told)
{
	make_three();
	make_file("spare");
	make_file("reserve");
	make_file("segment.tmp");
	make_file("notes.txt");
	verify();
	expect_clean();
	ck_assert_str_eq(find_kind(KVLOG_FINDING_SPARE)->file, "spare");
	ck_assert_str_eq(
	    find_kind(KVLOG_FINDING_LEFTOVER)->file, "segment.tmp");
	ck_assert_str_eq(find_kind(KVLOG_FINDING_STRANGER)->file, "notes.txt");
	ck_assert_uint_eq(got.report.note_count, 5);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_damaged_end_note_is_told)
{
	make_three();
	MAKELOG_OK(control_create(&m.dir, NULL));
	verify();
	ck_assert_uint_eq(got.report.note_count, 0);
	makelog_flip(DIR_LOCK_NAME, _i == 0 ? 4096 + 5 : 5000);
	verify();
	(void)expect_one(
	    KVLOG_FINDING_LOCK, DIR_LOCK_NAME, _i == 0 ? 4096 : 5000);
	makelog_fini(&m);
}
END_TEST

/* A lock file whose note has the log end there. */
static void
write_note(uint32_t segment, uint64_t salt, uint64_t end, uint64_t last_seq)
{
	struct control control;
	struct control_note at = {
	    .segment = segment, .salt = salt, .end = end, .last_seq = last_seq};

	memcpy(at.uuid, m.store.uuid, sizeof at.uuid);
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	MAKELOG_OK(control_write_note(&control, &at, NULL));
	control_close(&control);
}

/* The numbers are behind those of the note, and yet the log is another copy's:
 * what the note names is not in it. */
START_TEST(a_log_without_the_place_of_its_end_note_is_damaged)
{
	const char *const files[] = {NULL, ONE, TWO, THREE, THREE, THREE};
	uint64_t end[4] = {0}, salt[4] = {0};
	const struct one *one;
	char expected[60];
	uint64_t at;

	makelog_init(&m);
	for (uint32_t n = 1; n <= 3; n++) {
		if (n == 2)
			makelog_begin_range(&m, n, UINT64_C(1) << 40);
		else
			makelog_begin(&m, n);
		(void)makelog_put(&m, "kk", VALUE);
		salt[n] = m.seg->header.salt;
		end[n] = m.off;
	}
	makelog_end(&m);
	switch (_i) {
	case 0: /* nothing is wrong */
		write_note(3, salt[3], end[3], m.seq);
		verify();
		ck_assert_int_eq(got.st, KVLOG_OK);
		write_note(1, salt[1], end[1], 1);
		verify();
		ck_assert_int_eq(got.st, KVLOG_OK);
		makelog_fini(&m);
		return;
	case 1: /* sealed before it */
		write_note(1, salt[1], at = end[1] + 80, 3);
		break;
	case 2: /* another segment of that number */
		write_note(2, salt[2] ^ 1, at = end[2], 7);
		break;
	case 3: /* the last one ends before it */
		write_note(3, salt[3], at = end[3] + 80, 7);
		break;
	case 4: /* likewise, another one */
		write_note(3, salt[3] ^ 1, at = end[3], 7);
		break;
	default: /* there is none of that number */
		write_note(4, 1, at = 4608, 7);
		break;
	}
	verify();
	one = expect_one(KVLOG_FINDING_END, files[_i], end[_i < 3 ? _i : 3]);
	ck_assert_uint_eq(one->segment, _i < 3 ? (unsigned)_i : 3);
	ck_assert_uint_eq(got.report.last_seq, m.seq);
	ck_assert_uint_eq(one->last_seq, _i == 1 ? 3 : 0);
	snprintf(
	    expected, sizeof expected, "to offset %" PRIu64 " of segment", at);
	ck_assert_ptr_nonnull(strstr(one->text, expected));
	makelog_fini(&m);
}
END_TEST

START_TEST(a_medium_that_cannot_be_read_is_damage)
{
	uint64_t total, before = simos_count(SIMOS_PREAD);
	bool told = false;

	make_three();
	before = simos_count(SIMOS_PREAD);
	verify();
	total = simos_count(SIMOS_PREAD) - before;
	ck_assert_uint_gt(total, 9);
	/* From some read on the disk is gone. */
	for (uint64_t nth = 1; nth <= total; nth++) {
		simos_fail(SIMOS_PREAD, nth, EIO, true);
		verify();
		simos_fail_clear();
		ck_assert_int_eq(got.st, KVLOG_CORRUPT);
		told |= find_kind(KVLOG_FINDING_UNREADABLE) != NULL;
		ck_assert(any_damage(is_of_log) || any_damage(is_of_files));
	}
	ck_assert(told);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_newer_record_is_refused)
{
	struct record rec;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("kk");
	m.seq++;
	rec = makelog_record(&m, 7, "kk", VALUE, 0);
	(void)makelog_add(&m, &rec);
	makelog_end(&m);
	verify();
	ck_assert_int_eq(got.st, KVLOG_VERSION);
	makelog_fini(&m);
}
END_TEST

START_TEST(what_is_no_store_is_said)
{
	verify();
	ck_assert_int_eq(got.st, KVLOG_NOSTORE);
}
END_TEST

START_TEST(a_quick_look_checks_the_structure_only)
{
	static const struct {
		uint64_t off;
		bool told;
	} flips[] = {
	    {9, true},
	    {4096 + 9, true},
	    {1000, true},
	    {SEGMENT_LINK_OFF + 9, true},
	    {SEGMENT_DATA_OFF + 2, false},
	    {SEGMENT_DATA_OFF + HEAD, false},
	};

	make_three_as(true);
	got.flags = KVLOG_VERIFY_QUICK;
	verify();
	expect_clean();
	ck_assert_uint_lt(got.report.byte_count, 4 * SEGMENT_DATA_OFF);
	makelog_flip(TWO, flips[_i].off);
	verify();
	ck_assert_int_eq(got.st == KVLOG_CORRUPT, flips[_i].told);
	remove_file(TWO);
	verify();
	(void)expect_one(KVLOG_FINDING_SEGMENT, "", 0);
	makelog_fini(&m);
}
END_TEST

/* Without records nothing attests these. */
START_TEST(a_quick_look_leaves_open_what_a_full_one_must_tell)
{
	make_three();
	if (_i == 0)
		makelog_flip(TWO, SEGMENT_LINK_OFF + 9);
	else
		remove_file(TWO);
	got.flags = KVLOG_VERIFY_QUICK;
	verify();
	expect_clean();
	ck_assert_ptr_nonnull(
	    find_kind(_i == 0 ? KVLOG_FINDING_LINK : KVLOG_FINDING_SEGMENT));
	got.flags = 0;
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	makelog_fini(&m);
}
END_TEST

START_TEST(progress_may_stop_it_anywhere)
{
	uint64_t calls;

	make_three();
	makelog_flip(TWO, offs[5] + HEAD); /* so that keys are looked for */
	verify();
	calls = got.calls;
	ck_assert_uint_gt(calls, 10);
	for (uint64_t at = 1; at <= calls; at++) {
		got.cancel_at = at;
		verify();
		ck_assert_int_eq(got.st, KVLOG_CANCELLED);
		ck_assert_uint_eq(got.count, 0);
	}
	makelog_fini(&m);
}
END_TEST

/* Each allocation fails once: it is said, or cost no more than a key's name;
 * nothing leaks. */
START_TEST(want_of_memory_is_said)
{
	unsigned said = 0;

	make_three();
	makelog_flip(ONE, offs[2] + HEAD);
	for (uint64_t nth = 1;; nth++) {
		uint64_t before = simos_count(SIMOS_MALLOC);
		bool struck;

		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		verify();
		simos_fail_clear();
		struck = simos_count(SIMOS_MALLOC) - before >= nth;
		if (!struck)
			break;
		if (got.st == KVLOG_NOMEM) {
			ck_assert_int_eq(got.err.status, KVLOG_NOMEM);
			said++;
		} else {
			ck_assert_int_eq(got.st, KVLOG_CORRUPT);
		}
		ck_assert_uint_eq(simos_leaks(NULL), 2); /* of m.dir */
	}
	ck_assert_uint_gt(said, 5);
	makelog_fini(&m);
}
END_TEST

/* What is rare */

static const struct one *
expect_some(enum kvlog_finding_kind kind, const char *file, uint64_t off)
{
	for (size_t i = 0; i < got.count; i++)
		if (got.all[i].kind == kind && got.all[i].off == off &&
		    strcmp(got.all[i].file, file) == 0)
			return &got.all[i];
	print_found();
	ck_abort_msg(
	    "wanted %s in %s at %" PRIu64, kvlog_finding_name(kind), file, off);
}

static void
expect_no(enum kvlog_finding_kind kind)
{
	if (find_kind(kind) != NULL) {
		print_found();
		ck_abort_msg("no %s was wanted", kvlog_finding_name(kind));
	}
}

START_TEST(kinds_have_names_of_their_own)
{
	unsigned named = 0;

	for (unsigned a = 0; a < 100; a++) {
		const char *name =
		    kvlog_finding_name((enum kvlog_finding_kind)a);

		if (strcmp(name, "unknown") == 0)
			continue;
		named++;
		for (unsigned b = 0; b < a; b++)
			ck_assert_str_ne(name,
			    kvlog_finding_name((enum kvlog_finding_kind)b));
	}
	ck_assert_uint_eq(named, 26);
	ck_assert_str_eq(
	    kvlog_finding_name(KVLOG_FINDING_STALE_HINT), "stale-hint");
	ck_assert_str_eq(
	    kvlog_finding_name((enum kvlog_finding_kind) - 1), "unknown");
}
END_TEST

/* A record of these flags, kept as it is. */
static uint64_t
add(unsigned type, const char *key, unsigned flags)
{
	struct record rec = makelog_record(
	    &m, type, key, type == RECORD_PUT ? VALUE : 0, flags);

	return makelog_add(&m, &rec);
}

static void
end_attested(void)
{
	m.durable = m.seq;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
}

START_TEST(a_lag_that_says_nothing_contradicts_nothing)
{
	struct record rec;

	makelog_init(&m);
	makelog_begin(&m, 1);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "kk", VALUE, 0);
	rec.lag = RECORD_LAG_MAX;
	(void)makelog_add(&m, &rec);
	end_attested();
	verify();
	expect_clean();
	ck_assert_uint_eq(got.report.attested_seq, 1);
	makelog_fini(&m);
}
END_TEST

/* 0: a mark with a bucket; 1: one of a commit that is nowhere. */
START_TEST(wrong_marks_are_told)
{
	uint64_t off;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	if (_i == 0) {
		off = add(RECORD_MARK, "", RECORD_BUCKET);
	} else {
		m.seq = 7;
		off = add(RECORD_MARK, "", 0);
		m.seq = 1;
	}
	end_attested();
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, ONE, off);
	ck_assert_uint_eq(got.report.last_seq, 1);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_number_that_is_there_twice_is_told)
{
	uint64_t off;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	put("bb");
	off = m.off;
	m.seq--;
	put("cc");
	put("dd");
	end_attested();
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, ONE, off);
	ck_assert_uint_eq(got.report.last_seq, 3);
	ck_assert_uint_eq(got.report.commit_count, 3);
	makelog_fini(&m);
}
END_TEST

/* 0: the next commit begins; 1: another one goes on, whose beginning is not
 * there; 2: commits before it are missing, too. */
START_TEST(a_batch_that_does_not_go_on_is_told)
{
	uint64_t off;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	m.seq += _i == 2 ? 4 : 1;
	off = add(RECORD_PUT, "bb", RECORD_MORE);
	m.seq++;
	(void)add(RECORD_PUT, "cc", _i == 1 ? RECORD_CONT : 0);
	put("dd");
	end_attested();
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_some(KVLOG_FINDING_COMMIT, ONE, off);
	ck_assert_uint_eq(
	    expect_some(KVLOG_FINDING_COMMIT, ONE, off)->first_seq,
	    _i == 2 ? 5 : 2);
	if (_i == 1)
		(void)expect_some(KVLOG_FINDING_COMMIT, ONE, off + LEN);
	if (_i == 2) {
		ck_assert_uint_eq(
		    expect_some(KVLOG_FINDING_MISSING, ONE, off)->first_seq, 2);
		ck_assert_uint_eq(
		    expect_some(KVLOG_FINDING_MISSING, ONE, off)->last_seq, 4);
	}
	ck_assert_uint_eq(got.report.last_seq, m.seq);
	makelog_fini(&m);
}
END_TEST

/* Their sums are right, and nobody writes them. */
START_TEST(links_that_contradict_the_log_are_told)
{
	static const struct {
		unsigned segment;
		int64_t salt, end, last_seq, first_seq; /* added */
	} wrong[] = {
	    {1, 5, 0, 0, 0}, {1, 0, 4608, 0, 0}, {1, 0, 0, 3, 3},
	    {2, 0, 0, 0, 9},                /* the numbers go on elsewhere */
	    {2, 0, 0, 0, -4},               /* nowhere */
	    {2, 0, -4000, 0, 0},            /* in the header */
	    {2, 0, 2 * MAKELOG_SIZE, 0, 0}, /* behind the file */
	};

	makelog_init(&m);
	for (unsigned n = 1; n <= 2; n++) {
		makelog_begin(&m, n);
		if (n == wrong[_i].segment) {
			m.link.prev_salt += (uint64_t)wrong[_i].salt;
			m.link.prev_end += (uint64_t)wrong[_i].end;
			m.link.prev_last_seq += (uint64_t)wrong[_i].last_seq;
			m.link.first_seq += (uint64_t)wrong[_i].first_seq;
			ck_assert_int_eq(segment_store_link(m.seg, &m.link), 0);
		}
		put("aa");
		put("bb");
		put("cc");
	}
	end_attested();
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_some(KVLOG_FINDING_CONTENT,
	    wrong[_i].segment == 1 ? ONE : TWO, SEGMENT_LINK_OFF);
	makelog_fini(&m);
}
END_TEST

/* A medium that does not give [bad_from, bad_to) of any file. */
static const struct os_table *good;
static struct os_table bad_medium;
static uint64_t bad_from, bad_to;

static int
bad_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	if (off < bad_to && off + len > bad_from)
		return EIO;
	return good->pread(fd, buf, len, off, ret_len);
}

static void
verify_with_bad(uint64_t from, uint64_t to)
{
	good = os;
	bad_medium = *os;
	bad_medium.pread = bad_pread;
	bad_from = from;
	bad_to = to;
	os = &bad_medium;
	verify();
	os = good;
}

/* The value is longer than what is read ahead. */
START_TEST(all_of_a_long_value_is_looked_at)
{
	static uint8_t value[400001];
	struct record rec;
	const struct one *one;
	uint64_t off, end;

	makelog_init(&m);
	m.size = 1u << 20;
	makelog_begin(&m, 1);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "kk", 0, 0);
	rec.value = value;
	rec.value_len = sizeof value;
	off = makelog_add(&m, &rec);
	end = off + HEAD + sizeof value;
	end_attested();
	verify();
	expect_clean();
	makelog_flip(ONE, end); /* the padding */
	verify();
	ck_assert_uint_eq(expect_one(KVLOG_FINDING_ZEROS, ONE, end)->len, 1);
	makelog_flip(ONE, end);

	verify_with_bad(off + 300000, off + 300001);
	one = expect_one(KVLOG_FINDING_VALUE, ONE, off);
	ck_assert_str_eq(one->key, "kk");
	ck_assert_ptr_nonnull(strstr(one->text, "medium"));
	makelog_fini(&m);
}
END_TEST

/* More findings than are kept: the others are counted, and the last one covers
 * all that is wrong behind it. */
START_TEST(findings_beyond_count_are_left_out)
{
	const unsigned count = 60000, more = 10, size = 48;
	uint8_t *bytes = calloc(count + more, size);
	uint64_t from;

	ck_assert_ptr_nonnull(bytes);
	makelog_init(&m);
	m.size = 8u << 20;
	makelog_begin(&m, 1);
	from = m.off;
	for (unsigned i = 0; i < count + more; i++) {
		uint8_t *p = bytes + (size_t)i * size;
		struct record rec;
		char key[8];
		unsigned len;

		m.seq++;
		snprintf(key, sizeof key, "k%06u", i);
		rec = makelog_record(&m, RECORD_PUT, key, 8, 0);
		len = record_encode(p, &rec, segment_seed(m.seg, m.off));
		memcpy(p + len, key, 7); /* the value is of zeros */
		if (i >= count)
			p[0] ^= 1; /* nothing of the last ones is left */
		m.off += size;
	}
	ck_assert_int_eq(
	    os->store(&m.seg->map, from, bytes, (size_t)(count + more) * size),
	    0);
	free(bytes);
	(void)makelog_put(&m, "zz", VALUE);
	end_attested();
	makelog_flip(ONE, 1000); /* the first finding */
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	/* 100000 are kept; a damaged value takes two of them. */
	ck_assert_uint_eq(got.report.damage_count, 50001);
	ck_assert_uint_gt(got.report.left_out_count, 10000);
	ck_assert_uint_eq(got.report.record_count, count + 1);
	ck_assert_uint_eq(got.report.last_seq, count + more + 1);
	makelog_fini(&m);
}
END_TEST

/* Keys of buckets are in order by bucket first. */
START_TEST(keys_of_buckets_have_their_order)
{
	static const struct {
		uint64_t seq[2];
		uint32_t ordinal[2];
		const char *keys[2];
		bool ordered;
	} pairs[] = {
	    {{1, 2}, {0, 0}, {"zz", "aa"}, true},
	    {{2, 1}, {0, 0}, {"aa", "zz"}, false},
	    {{1, 1}, {0, 1}, {"zz", "aa"}, true},
	    {{1, 1}, {1, 0}, {"aa", "zz"}, false},
	    {{1, 1}, {0, 0}, {"aa", "aaa"}, true},
	    {{1, 1}, {0, 0}, {"aaa", "aa"}, false},
	    {{1, 1}, {0, 0}, {"aa", "aa"}, false},
	};
	struct segment_header header = {
	    .kind = SEGMENT_OUTPUT,
	    .id = {1, 1, 1, 1, 1},
	    .size = MAKELOG_SIZE,
	    .set_id = 9,
	    .last_salt = 5,
	    .last_end = 6000,
	    .last_seq = 9,
	};
	uint64_t off = 0;

	makelog_init(&m);
	header.store = m.store;
	header.end = SEGMENT_DATA_OFF;
	for (unsigned n = 0; n < 2; n++)
		header.end += record_size(
		    RECORD_BUCKET, strlen(pairs[_i].keys[n]), VALUE);
	m.link = (struct segment_link){.first_seq = 1, .durable = true};
	makelog_begin_as(&m, &header, "00000001-00000001.r1.1of1.seg");
	for (unsigned n = 0; n < 2; n++) {
		struct record rec;

		m.seq++;
		rec = makelog_record(
		    &m, RECORD_PUT, pairs[_i].keys[n], VALUE, RECORD_BUCKET);
		rec.bucket_seq = pairs[_i].seq[n];
		rec.bucket_ordinal = pairs[_i].ordinal[n];
		off = makelog_add(&m, &rec);
	}
	m.seq = 9;
	m.seg->header.last_seq = 9;
	makelog_end(&m);
	verify();
	if (pairs[_i].ordered)
		expect_clean();
	else
		(void)expect_one(KVLOG_FINDING_CONTENT,
		    "00000001-00000001.r1.1of1.seg", off);
	makelog_fini(&m);
}
END_TEST

/* The search for what is left of keys looks at each record, and at each damaged
 * one, a few times: not at all of a key's for each of its records. */
START_TEST(many_damaged_values_of_a_key_are_looked_at_once)
{
	enum { VALUES = 500, KEYS = 2 };
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	uint64_t at[VALUES];
	struct verify v;

	makelog_init(&m);
	m.size = UINT64_C(1) << 16;
	m.durable = UINT64_MAX;
	makelog_begin(&m, 1);
	(void)makelog_put(&m, "x", 8);
	for (size_t i = 0; i < VALUES; i++)
		at[i] = makelog_put(&m, i % KEYS == 0 ? "x" : "y", 8);
	makelog_begin(&m, 2);
	(void)makelog_put(&m, "y", 8);
	makelog_end(&m);
	makelog_fini(&m);
	for (size_t i = 0; i < VALUES; i++)
		if (i != VALUES - 2 - KEYS) /* but one of "x" */
			makelog_flip(ONE, at[i] + RECORD_HEADER_SIZE + 1);

	MAKELOG_OK(verify_init(&v, MAKELOG_STORE, &o, &report, &got.err));
	ck_assert_int_eq(verify_tell(&v), KVLOG_CORRUPT);
	ck_assert_uint_eq(v.wanted_count, VALUES - 1);
	ck_assert_uint_ge(v.looks, VALUES);
	ck_assert_uint_le(v.looks, UINT64_C(3) * VALUES);
	for (size_t n = 0; n < v.wanted_count; n++) {
		const struct wanted *w = &v.wanted[n];
		/* The last one of "x" stands behind the sound one. */
		enum kvlog_older older = w->off == at[VALUES - 2]
					     ? KVLOG_OLDER_SURVIVES
					     : KVLOG_OLDER_REPLACED;

		ck_assert_int_eq(w->older, older);
	}
	verify_fini(&v);
}
END_TEST

/* A key of a bucket is looked for there, not among those of no bucket. */
START_TEST(a_damaged_value_of_a_bucket_finds_its_older_one)
{
	const struct one *one;
	uint64_t off = 0;

	makelog_init(&m);
	makelog_begin(&m, 1);
	for (unsigned i = 0; i < 3; i++) {
		struct record rec;

		m.seq++;
		/* The middle one is of another bucket. */
		rec =
		    makelog_record(&m, RECORD_PUT, "kk", VALUE, RECORD_BUCKET);
		rec.bucket_seq = i == 1 && _i == 0 ? 2 : 1;
		if (i == 0 && _i == 1)
			rec.bucket_ordinal = 3;
		if (i == 1 && _i == 1)
			rec.flags = 0;
		off = makelog_add(&m, &rec);
	}
	end_attested();
	makelog_flip(ONE, off + HEAD + RECORD_EXT_MAX);
	verify();
	one = expect_one(KVLOG_FINDING_VALUE, ONE, off);
	ck_assert_str_eq(one->key, "kk");
	ck_assert_int_eq(
	    one->older, _i == 0 ? KVLOG_OLDER_SURVIVES : KVLOG_OLDER_NONE);
	makelog_fini(&m);
}
END_TEST

#define OUTPUT_1 "00000001-00000002.r3.1of1.seg"

/* 0: a mark among them; 1: a record of a commit behind the last. */
START_TEST(records_that_no_output_has_are_told)
{
	struct makelog out;
	struct segment_header header = {
	    .kind = SEGMENT_OUTPUT,
	    .id = {1, 2, 3, 1, 1},
	    .size = MAKELOG_SIZE,
	    .set_id = 9,
	    .last_salt = 5,
	    .last_end = 6000,
	    .last_seq = 4,
	};
	uint64_t off;

	makelog_init(&m);
	out = m;
	header.store = m.store;
	header.end = SEGMENT_DATA_OFF + (_i == 0 ? 32 : LEN);
	out.link = (struct segment_link){.first_seq = 1, .durable = true};
	makelog_begin_as(&out, &header, OUTPUT_1);
	out.seq = _i == 0 ? 2 : 4;
	off = _i == 0 ? makelog_mark(&out, false)
		      : makelog_put(&out, "kk", VALUE);
	makelog_end(&out);
	verify();
	(void)expect_one(KVLOG_FINDING_CONTENT, OUTPUT_1, off);
	makelog_fini(&m);
}
END_TEST

/* An output in the order of commits may have any order of keys, and marks. */
START_TEST(an_output_in_order_of_commits_is_clean)
{
	struct makelog out;
	struct segment_header header = {
	    .kind = SEGMENT_VERBATIM,
	    .id = {1, 2, 3, 1, 1},
	    .size = 300u << 10,
	    .set_id = 9,
	    .last_salt = 5,
	    .last_end = 6000,
	    .last_seq = 2,
	};

	makelog_init(&m);
	out = m;
	header.store = m.store;
	header.end = SEGMENT_DATA_OFF + 2 * LEN + 32;
	out.link = (struct segment_link){.first_seq = 1, .durable = true};
	makelog_begin_as(&out, &header, OUTPUT_1);
	(void)makelog_put(&out, "zz", VALUE);
	(void)makelog_put(&out, "aa", VALUE);
	(void)makelog_mark(&out, false);
	ck_assert_uint_eq(out.off, header.end);
	makelog_end(&out);
	verify();
	expect_clean();
	ck_assert_uint_eq(got.report.record_count, 2);
	ck_assert_uint_eq(got.report.last_seq, 2);

	/* What lies behind its end, near and far, is one place. */
	makelog_flip(OUTPUT_1, 70000);
	makelog_flip(OUTPUT_1, 200000);
	verify();
	ck_assert_uint_eq(
	    expect_one(KVLOG_FINDING_ZEROS, OUTPUT_1, 70000)->len, 130001);
	makelog_fini(&m);
}
END_TEST

/* The first part is lost with the inputs: the second one is all there is. */
START_TEST(a_second_part_is_read_without_the_first)
{
	make_outputs(keys_ab, keys_cd);
	remove_file(PART_1);
	remove_file(ONE);
	remove_file(TWO);
	verify();
	(void)expect_one(KVLOG_FINDING_SET, PART_2, 0);
	ck_assert_uint_eq(got.report.record_count, 3);
	makelog_fini(&m);
}
END_TEST

/* Parts carry the link of the first input, all of them. */
START_TEST(parts_with_other_links_or_none_are_told)
{
	struct segment *seg;
	struct segment_link link;

	make_outputs(keys_ab, keys_cd);
	MAKELOG_OK(segment_open(
	    &m.dir, PART_2, &(struct file_id){1, 2, 3, 2, 2}, &seg, NULL));
	link = seg->link;
	link.durable = false;
	segment_close(seg);
	{
		int fd;
		struct os_map map;

		ck_assert_int_eq(
		    os->open(m.dir.fd, PART_2, OS_OPEN_WRITE, 0, &fd), 0);
		ck_assert_int_eq(
		    os->map(fd, MAKELOG_SIZE, true, false, &map), 0);
		MAKELOG_OK(segment_open(&m.dir, PART_2,
		    &(struct file_id){1, 2, 3, 2, 2}, &seg, NULL));
		os->unmap(&seg->map);
		seg->map = map;
		if (_i == 0)
			ck_assert_int_eq(segment_store_link(seg, &link), 0);
		else
			ck_assert_int_eq(
			    os->store(&map, SEGMENT_LINK_OFF, "?", 1), 0);
		ck_assert_int_eq(os->sync(fd), 0);
		segment_close(seg);
		os->close(fd);
	}
	verify();
	(void)expect_one(_i == 0 ? KVLOG_FINDING_CONTENT : KVLOG_FINDING_LINK,
	    PART_2, SEGMENT_LINK_OFF);
	makelog_fini(&m);
}
END_TEST

/* A gap, and then a file of which nothing is left. */
START_TEST(a_lost_file_behind_a_missing_one_is_told)
{
	make_three();
	remove_file(TWO);
	remove_file(THREE);
	ck_assert_int_eq(os->mkdir(makelog_path(THREE), 0755), 0);
	verify();
	(void)expect_some(KVLOG_FINDING_FILE, THREE, 0);
	ck_assert_uint_eq(got.report.record_count, 3);
	ck_assert_uint_eq(got.report.last_seq, 3);
	makelog_fini(&m);
}
END_TEST

/* The value is damaged, and what could tell of its key is lost or behind the
 * end. */
START_TEST(keys_are_looked_for_in_what_is_left)
{
	const struct one *one;

	makelog_init(&m);
	for (uint32_t n = 1; n <= 3; n++) {
		makelog_begin(&m, n);
		put("kk");
		put("ll");
		m.durable = m.seq;
	}
	makelog_end(&m);
	makelog_flip(ONE, offs[1] + HEAD);
	if (_i == 0) { /* in the second there is no other one to be read */
		remove_file(TWO);
		ck_assert_int_eq(os->mkdir(makelog_path(TWO), 0755), 0);
	}
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	one = expect_some(KVLOG_FINDING_VALUE, ONE, offs[1]);
	ck_assert_int_eq(one->older, KVLOG_OLDER_REPLACED);
	makelog_fini(&m);
}
END_TEST

/* The end note */

START_TEST(the_note_of_a_segment_that_was_compacted_says_nothing)
{
	make_outputs(keys_ab, keys_cd);
	write_note(2, 77, 9999, 4);
	verify();
	expect_clean();
	ck_assert_uint_eq(got.report.segment_count, 3);
	makelog_fini(&m);
}
END_TEST

START_TEST(the_note_of_another_store_says_nothing)
{
	make_three();
	m.store.uuid[0] ^= 1;
	write_note(3, 1, 9999, 77);
	m.store.uuid[0] ^= 1;
	verify();
	(void)expect_one(KVLOG_FINDING_LOCK, DIR_LOCK_NAME, 4096);
	ck_assert_uint_eq(got.report.attested_seq, 9);
	makelog_fini(&m);
}
END_TEST

START_TEST(the_note_of_a_segment_that_is_lost_says_no_more)
{
	uint64_t salt, end;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	salt = m.seg->header.salt;
	end = m.off;
	makelog_begin(&m, 2);
	put("bb");
	end_attested();
	write_note(1, salt, end, 1);
	remove_file(ONE);
	if (_i == 0) /* something else has its name */
		ck_assert_int_eq(os->mkdir(makelog_path(ONE), 0755), 0);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	if (_i == 0)
		expect_no(KVLOG_FINDING_END);
	else
		ck_assert_ptr_nonnull(strstr(
		    find_kind(KVLOG_FINDING_END)->text, "which is not there"));
	makelog_fini(&m);
}
END_TEST

/* Without a link that speaks of it, a segment ends where its bytes do. */
START_TEST(a_note_is_compared_with_bytes_where_no_link_is_left)
{
	uint64_t salt, end;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	salt = m.seg->header.salt;
	end = m.off;
	makelog_begin(&m, 2);
	put("bb");
	end_attested();
	makelog_flip(TWO, SEGMENT_LINK_OFF + 9);
	write_note(1, salt, _i == 0 ? end : end + LEN, 1);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_some(KVLOG_FINDING_LINK, TWO, SEGMENT_LINK_OFF);
	if (_i == 0)
		expect_no(KVLOG_FINDING_END);
	else
		(void)expect_some(KVLOG_FINDING_END, ONE, end);
	makelog_fini(&m);
}
END_TEST

/* A quick look does not know where the last segment ends; it does know of the
 * others. */
START_TEST(a_quick_look_at_the_end_note)
{
	uint64_t salt[3], end[3];

	makelog_init(&m);
	for (uint32_t n = 1; n <= 2; n++) {
		makelog_begin(&m, n);
		put("aa");
		salt[n] = m.seg->header.salt;
		end[n] = m.off;
	}
	end_attested();
	got.flags = KVLOG_VERIFY_QUICK;
	if (_i == 0) {
		write_note(2, salt[2], end[2] + LEN, 7);
		verify();
		expect_clean();
	} else {
		/* The number of the link is not behind that of the note. */
		write_note(1, salt[1], end[1] + LEN, 1);
		verify();
		ck_assert_uint_eq(
		    expect_one(KVLOG_FINDING_END, ONE, end[1])->last_seq, 0);
	}
	makelog_fini(&m);
}
END_TEST

START_TEST(a_short_lock_file_is_told)
{
	int fd;

	make_three();
	ck_assert_int_eq(
	    os->open(m.dir.fd, DIR_LOCK_NAME, OS_OPEN_CREATE, 0644, &fd), 0);
	ck_assert_int_eq(os->pwrite(fd, "12345678", 8, 0), 0);
	os->close(fd);
	verify();
	(void)expect_one(KVLOG_FINDING_LOCK, DIR_LOCK_NAME, 0);
	ck_assert_ptr_nonnull(
	    strstr(find_kind(KVLOG_FINDING_LOCK)->text, "shorter"));
	makelog_fini(&m);
}
END_TEST

/* Somebody holds the lock, but his page never gets valid: after a while what
 * is there is looked at all the same. */
START_TEST(a_writer_without_a_page_is_not_waited_for_for_ever)
{
	struct control control;

	make_three();
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	write_note(3, 1, 5000, 9); /* not compared: he may be ahead of it */
	verify();
	ck_assert(got.report.live);
	expect_clean();
	ck_assert_uint_eq(got.report.record_count, 9);
	if (_i == 1) { /* and there is nothing */
		remove_file(ONE);
		remove_file(TWO);
		remove_file(THREE);
		verify();
		ck_assert_int_eq(got.st, KVLOG_BUSY);
	}
	control_close(&control);
	makelog_fini(&m);
}
END_TEST

/* Files that vanish each time when they are opened. */
START_TEST(files_that_vanish_are_busy)
{
	unsigned busy = 0;

	make_three();
	MAKELOG_OK(control_create(&m.dir, NULL));
	for (uint64_t nth = 1; nth < 9; nth++) {
		simos_fail(SIMOS_OPEN, nth, ENOENT, true);
		verify();
		simos_fail_clear();
		busy += got.st == KVLOG_BUSY;
		ck_assert_int_ne(got.st, KVLOG_NOSTORE);
	}
	ck_assert_uint_gt(busy, 4);
	makelog_fini(&m);
}
END_TEST

/* Which page is believed: a table of what does not fit. */
START_TEST(pages_that_do_not_fit_are_not_believed)
{
	struct control control;
	struct control_state state = {.generation = 5};
	uint64_t salt[3], end[3];
	static const uint8_t zeros[8];
	bool fits = _i == 0;

	makelog_init(&m);
	for (uint32_t n = 1; n <= 2; n++) {
		makelog_begin(&m, n);
		if (n == 2 && _i == 5) {
			m.link.prev_salt ^= 1;
			ck_assert_int_eq(segment_store_link(m.seg, &m.link), 0);
		}
		if (n == 1)
			put("aa");
		salt[n] = m.seg->header.salt;
		end[n] = m.off;
	}
	/* Behind the end: what a writer stored and did not publish. */
	put("bb");
	makelog_end(&m);
	state.active_salt = salt[2];
	state.position = control_pos(2, end[2]);
	state.intent = m.off;
	switch (_i) {
	case 0: /* it fits; the first word comes last */
		makelog_poke(TWO, end[2], zeros, sizeof zeros);
		break;
	case 1: /* the second one is not published, and has a record */
		state.active_salt = salt[1];
		state.position = control_pos(1, end[1]);
		break;
	case 2: /* of another segment */
		state.active_salt ^= 1;
		break;
	case 3: /* in the header */
		state.position = control_pos(2, 512);
		break;
	case 4: /* behind the file */
		state.position = control_pos(2, 2 * MAKELOG_SIZE);
		break;
	case 5: /* the link is another history's */
		state.active_salt = salt[1];
		state.position = control_pos(1, end[1]);
		break;
	case 6: /* elsewhere in the first */
		state.active_salt = salt[1];
		state.position = control_pos(1, end[1] - 8);
		break;
	case 7: /* the salt of neither */
		state.active_salt = 3;
		state.position = control_pos(1, end[1]);
		break;
	case 8: /* a number that is not there */
		state.position = control_pos(4, end[2]);
		break;
	case 9: /* the first, and there is no second */
		state.active_salt = salt[1];
		state.position = control_pos(0, end[1]);
		remove_file(TWO);
		break;
	case 10: /* the last one is lost */
		remove_file(TWO);
		ck_assert_int_eq(os->mkdir(makelog_path(TWO), 0755), 0);
		break;
	case 11: /* a sync failed */
		state.poison = 1;
		break;
	case 12: /* the note is behind it */
		write_note(2, salt[2], end[2] + LEN, 2);
		break;
	default: /* a link that cannot be read */
		state.active_salt = salt[1];
		state.position = control_pos(1, end[1]);
		makelog_flip(TWO, SEGMENT_LINK_OFF + 9);
		break;
	}
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	MAKELOG_OK(control_format(&control, &state, NULL));
	control_close(&control);
	verify();
	/* What is believed ends the log at its position, whatever is there;
	 * else it ends where its records do. */
	if (fits) {
		ck_assert_uint_eq(got.report.end_offset, SEGMENT_DATA_OFF);
		ck_assert_uint_eq(
		    find_kind(KVLOG_FINDING_TORN)->off, SEGMENT_DATA_OFF + 8);
	} else if (_i < 9 && _i != 5) {
		ck_assert_uint_eq(got.report.end_segment, 2);
		ck_assert_uint_eq(got.report.end_offset, m.off);
	} else {
		ck_assert(got.report.end_segment == 1 ||
			  got.report.end_offset == m.off);
	}
	makelog_fini(&m);
}
END_TEST

/* Which files are live */

/* Another store's part of an output, and other rounds: none is live. */
START_TEST(files_beside_the_tiling_are_told)
{
	make_outputs(keys_ab, keys_cd);
	if (_i == 0) {
		/* Of the same range. */
		make_file("00000001-00000002.r2.1of1.seg");
		make_file("00000001-00000002.r3.1of3.seg");
		verify();
		expect_clean();
		(void)expect_some(
		    KVLOG_FINDING_LEFTOVER, "00000001-00000002.r2.1of1.seg", 0);
		(void)expect_some(
		    KVLOG_FINDING_LEFTOVER, "00000001-00000002.r3.1of3.seg", 0);
	} else {
		static const char *const keys[] = {"aa", NULL};
		struct segment seg = {.header.salt = 5};

		remove_file(PART_1);
		remove_file(PART_2);
		m.store.uuid[0] ^= 1;
		make_output(1, 2, keys, &seg, 6000);
		m.store.uuid[0] ^= 1;
		verify();
		(void)expect_some(KVLOG_FINDING_FOREIGN, PART_1, 0);
	}
	ck_assert_uint_eq(got.report.record_count, 5);
	makelog_fini(&m);
}
END_TEST

/* Parts of two attempts are no set. */
START_TEST(parts_of_different_sets_are_no_output)
{
	uint8_t fixed[SEGMENT_FIXED_LEN];
	const uint8_t *bytes;
	uint64_t size;

	make_outputs(keys_ab, keys_cd);
	ck_assert(simos_peek(makelog_path(PART_2), &bytes, &size));
	memcpy(fixed, bytes, sizeof fixed);
	fixed[72] ^= 1; /* the set id */
	put_u32(fixed + 8, sum_crc(fixed + 12, sizeof fixed - 12));
	makelog_poke(PART_2, 0, fixed, sizeof fixed);
	makelog_poke(PART_2, 4096, fixed, sizeof fixed);
	verify();
	expect_clean();
	(void)expect_some(KVLOG_FINDING_LEFTOVER, PART_1, 0);
	(void)expect_some(KVLOG_FINDING_LEFTOVER, PART_2, 0);
	ck_assert_uint_eq(got.report.record_count, 5);
	makelog_fini(&m);
}
END_TEST

/* Three files that say to be the same one. */
START_TEST(further_copies_of_a_segment_are_told)
{
	make_three();
	ck_assert_int_eq(os->link(m.dir.fd, TWO, m.dir.fd, "00000007.seg"), 0);
	ck_assert_int_eq(os->link(m.dir.fd, TWO, m.dir.fd, "00000008.seg"), 0);
	verify();
	(void)expect_some(KVLOG_FINDING_NAME, "00000007.seg", 0);
	(void)expect_some(KVLOG_FINDING_NAME, "00000008.seg", 0);
	ck_assert_uint_eq(got.report.record_count, 9);
	ck_assert_uint_eq(got.report.damage_count, 2);
	makelog_fini(&m);
}
END_TEST

/* The salt is found though the first record that proves one is far away. */
START_TEST(records_are_read_without_any_header_from_far_on)
{
	static uint8_t value[200000];
	struct record rec;

	makelog_init(&m);
	m.size = 512u << 10;
	makelog_begin(&m, 1);
	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, "aa", 0, 0);
	rec.value = value;
	rec.value_len = sizeof value;
	(void)makelog_add(&m, &rec);
	put("bb");
	end_attested();
	makelog_flip(ONE, 100);
	makelog_flip(ONE, 4096 + 100);
	makelog_flip(ONE, SEGMENT_DATA_OFF + 1);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_some(KVLOG_FINDING_HEADERS, ONE, 0);
	(void)expect_some(KVLOG_FINDING_RECORD, ONE, SEGMENT_DATA_OFF);
	ck_assert_uint_eq(got.report.record_count, 1);
	ck_assert_uint_eq(got.report.last_seq, 2);
	makelog_fini(&m);
}
END_TEST

START_TEST(a_quick_look_does_not_ask_for_commits_at_the_end)
{
	uint64_t salt, end;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	salt = m.seg->header.salt;
	end = m.off;
	makelog_end(&m);
	write_note(1, salt, end, 7);
	got.flags = KVLOG_VERIFY_QUICK;
	verify();
	expect_clean();
	got.flags = 0;
	verify();
	ck_assert_uint_eq(expect_one(KVLOG_FINDING_END, ONE, end)->last_seq, 7);
	makelog_fini(&m);
}
END_TEST

START_TEST(nobody_need_listen)
{
	struct kvlog_error err = {0};

	make_three();
	makelog_flip(TWO, offs[5] + HEAD);
	ck_assert_int_eq(
	    kvlog_verify(MAKELOG_STORE, NULL, NULL, &err), KVLOG_CORRUPT);
	ck_assert_uint_eq(err.segment, 2);
	ck_assert_uint_eq(err.offset, offs[5]);
	makelog_fini(&m);
}
END_TEST

/* Hints */

/* Segments that the engine made, of 40 keys, each covered by a hint; the name
 * of one of them. */
static const char *
make_hinted(void)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db;
	const char *name;

	makelog_init(&m);
	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = MAKELOG_SIZE;
	MAKELOG_OK(kvlog_open(MAKELOG_STORE, &o, &db, NULL));
	for (unsigned i = 0; i < 120; i++) {
		char key[8];
		bool more = true;

		snprintf(key, sizeof key, "k%02u", i % 40);
		MAKELOG_OK(kvlog_put(db, key, 3, key, 3, NULL, NULL));
		while (more)
			MAKELOG_OK(kvlog_maintain(db, 0, &more));
	}
	MAKELOG_OK(kvlog_close(db, NULL));
	name = makelog_hint();
	ck_assert_ptr_nonnull(name);
	verify();
	expect_clean();
	expect_no(KVLOG_FINDING_STALE_HINT);
	return name;
}

/* Change the header of a hint file; its sum stays right. */
static void
change_hint(const char *name, uint64_t off, const void *bytes, size_t len)
{
	const uint8_t *old;
	uint8_t *head;
	uint64_t size;
	size_t head_len;

	ck_assert(simos_peek(makelog_path(name), &old, &size));
	head_len = get_u32(old + 20);
	head = malloc(head_len);
	ck_assert_ptr_nonnull(head);
	memcpy(head, old, head_len);
	memcpy(head + off, bytes, len);
	put_u32(head + 8, sum_crc(head + 12, head_len - 12));
	makelog_poke(name, 0, head, head_len);
	free(head);
}

START_TEST(hints_of_other_formats_are_of_no_use)
{
	const char *name = make_hinted();
	static const uint8_t values[] = {
	    SEGMENT_FORMAT + 1, SEGMENT_FORMAT - 1, 1};

	change_hint(name, _i < 2 ? 12 : 16, &values[_i], 1);
	verify();
	ck_assert_int_eq(got.st, KVLOG_OK);
	ck_assert_ptr_nonnull(
	    strstr(expect_some(KVLOG_FINDING_STALE_HINT, name, 0)->text,
		"another format"));
	makelog_fini(&m);
}
END_TEST

/* 0: no sources; 1: more than there can be; 2: an empty file; 3: a number of
 * a commit that the hint does not know of, but covers. */
START_TEST(wrong_headers_of_hints_are_told)
{
	static const uint8_t zeros[8], ones[4] = {255, 255, 255, 255};
	const char *name = make_hinted();

	if (_i == 0)
		change_hint(name, 44, zeros, 4);
	else if (_i == 1)
		change_hint(name, 44, ones, 4);
	else if (_i == 2)
		make_file(name = "00000077.hint");
	else
		change_hint(name, 128 + 40, zeros, 8);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_one(KVLOG_FINDING_HINT, name, 0);
	/* A quick look reads no more than headers. */
	got.flags = KVLOG_VERIFY_QUICK;
	verify();
	ck_assert_int_eq(got.st, _i == 3 ? KVLOG_OK : KVLOG_CORRUPT);
	makelog_fini(&m);
}
END_TEST

/* A writer may have made them just now, of segments that nobody has listed. */
START_TEST(hints_are_not_of_no_use_beside_a_writer)
{
	const char *name = make_hinted();
	const uint8_t one = 1;
	struct control control;

	change_hint(name, 24, &one, 1); /* another store's */
	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	verify();
	ck_assert(got.report.live);
	ck_assert_int_eq(got.st, KVLOG_OK);
	expect_no(KVLOG_FINDING_STALE_HINT);
	control_close(&control);
	verify();
	(void)expect_some(KVLOG_FINDING_STALE_HINT, name, 0);
	makelog_fini(&m);
}
END_TEST

START_TEST(hints_say_nothing_without_any_segment)
{
	const char *name = make_hinted();
	char segment[DIR_NAME_LEN];

	ck_assert_ptr_nonnull(name);
	for (unsigned n = 1;; n++) {
		snprintf(segment, sizeof segment, "%08u.seg", n);
		if (!makelog_exists(segment))
			break;
		remove_file(segment);
		ck_assert_int_eq(os->mkdir(makelog_path(segment), 0755), 0);
	}
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	(void)expect_some(KVLOG_FINDING_FILE, ONE, 0);
	expect_no(KVLOG_FINDING_HINT);
	ck_assert_uint_eq(got.report.record_count, 0);
	makelog_fini(&m);
}
END_TEST

/* Salvage */

static void
salvage_to(const char *path)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	const unsigned flags = got.flags;
	const uint64_t cancel_at = got.cancel_at;

	memset(&got, 0, sizeof got);
	got.cancel_at = cancel_at;
	got.report.size = sizeof got.report;
	o.flags = flags;
	o.finding = note;
	o.progress = progress;
	got.st = kvlog_salvage(MAKELOG_STORE, path, &o, &got.report, &got.err);
}

static uint64_t
count_keys(const char *path)
{
	struct kvlog *db;
	uint64_t count;
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = KVLOG_OPEN_READONLY | KVLOG_OPEN_NOTHREAD;
	MAKELOG_OK(kvlog_open(path, &o, &db, NULL));
	MAKELOG_OK(kvlog_count(db, &count));
	MAKELOG_OK(kvlog_close(db, NULL));
	return count;
}

/* Records that this version does not write are no loss that is not told. */
START_TEST(records_of_other_kinds_are_counted_by_salvage)
{
	static const unsigned flags[] = {
	    RECORD_BUCKET, RECORD_EXPIRY, RECORD_CODEC};

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	for (size_t i = 0; i < 3; i++) {
		m.seq++;
		(void)add(RECORD_PUT, "kk", flags[i]);
	}
	m.seq++;
	(void)add(RECORD_PUT, "bucket", RECORD_BUCKET);
	put("bb");
	end_attested();
	salvage_to("/new//");
	ck_assert_int_eq(got.st, KVLOG_OK);
	ck_assert_uint_eq(got.report.unsaved_records, 1);
	/* Nobody has created their bucket, and nothing is damaged. */
	ck_assert_uint_eq(got.report.dropped_records, 2);
	ck_assert_uint_eq(got.report.saved_records, 3);
	ck_assert_uint_eq(count_keys("/new"), 2);
	makelog_fini(&m);
}
END_TEST

/* In a bucket of id seq, 0; as it expires, or never. */
static uint64_t
put_in(uint64_t bucket_seq, const char *key, uint64_t expiry_ms)
{
	struct record rec;

	m.seq++;
	rec = makelog_record(&m, RECORD_PUT, key, VALUE,
	    RECORD_BUCKET | (expiry_ms != 0 ? RECORD_EXPIRY : 0));
	rec.bucket_seq = bucket_seq;
	rec.expiry_ms = expiry_ms;
	return makelog_add(&m, &rec);
}

static void
drop_bucket(const char *name)
{
	struct record rec;

	m.seq++;
	rec = makelog_record(&m, RECORD_DELETE, name, 0, RECORD_BUCKET);
	rec.bucket_seq = 0;
	rec.bucket_ordinal = BUCKET_CATALOGUE_ORDINAL;
	(void)makelog_add(&m, &rec);
}

static enum kvlog_status
look_in(const char *name, const char *key, uint64_t *ret_expires_ms)
{
	struct kvlog *db, *bucket;
	struct kvlog_info info = {0};
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	enum kvlog_status st;

	o.flags = KVLOG_OPEN_READONLY | KVLOG_OPEN_NOTHREAD;
	MAKELOG_OK(kvlog_open("/new", &o, &db, NULL));
	st = kvlog_bucket_open(db, name, strlen(name), 0, &bucket, NULL);
	if (st == KVLOG_OK) {
		st = kvlog_lookup(bucket, key, strlen(key), &info);
		MAKELOG_OK(kvlog_close(bucket, NULL));
	}
	MAKELOG_OK(kvlog_close(db, NULL));
	*ret_expires_ms = info.expires_ms;
	return st;
}

#define FAR (UINT64_C(1) << 45) /* in a thousand years */

/* _i: nothing is damaged; a header of another record; the name's record; the
 * id in it. */
START_TEST(salvage_saves_buckets_and_expiry)
{
	uint64_t off[3], expires;
	bool lost = _i == 2;

	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_bucket(&m, "gone", 1);
	(void)put_in(1, "kk", 0);
	off[0] = makelog_bucket(&m, "here", 3);
	(void)put_in(3, "kk", FAR);
	(void)put_in(3, "ll", 0);
	drop_bucket("gone");
	off[1] = makelog_put(&m, "aa", VALUE);
	(void)makelog_bucket(&m, "gone", 8); /* another one */
	(void)put_in(8, "mm", 0);
	(void)put_in(77, "nn", 0); /* nobody knows its name */
	end_attested();
	if (_i == 1)
		makelog_flip(ONE, off[1] + 17);
	if (_i == 2)
		makelog_flip(ONE, off[0] + 17);
	if (_i == 3)
		makelog_flip(
		    ONE, off[0] + RECORD_HEADER_SIZE + RECORD_BUCKET_LEN + 4);
	salvage_to("/new");
	ck_assert_int_eq(got.st, _i == 0 ? KVLOG_OK : KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.unsaved_records, 0);
	ck_assert_int_eq(
	    look_in(lost ? "lost-3-0" : "here", "kk", &expires), KVLOG_OK);
	ck_assert_uint_eq(expires, FAR);
	ck_assert_int_eq(
	    look_in(lost ? "lost-3-0" : "here", "ll", &expires), KVLOG_OK);
	ck_assert_uint_eq(expires, 0);
	ck_assert_int_eq(look_in(lost ? "here" : "lost-3-0", "kk", &expires),
	    KVLOG_NOBUCKET);
	ck_assert_int_eq(look_in("gone", "kk", &expires), KVLOG_NOTFOUND);
	ck_assert_int_eq(look_in("gone", "mm", &expires), KVLOG_OK);
	/* Whose name is not known, was dropped, or damage has taken it. */
	ck_assert_int_eq(look_in("lost-77-0", "nn", &expires),
	    _i == 1 || _i == 2 ? KVLOG_OK : KVLOG_NOBUCKET);
	ck_assert_uint_eq(got.report.saved_buckets, 2u + (_i == 1 || _i == 2));
	ck_assert_uint_eq(got.report.lost_buckets, _i == 1   ? 1
						   : _i == 2 ? 2
							     : 0);
	ck_assert_uint_eq(
	    got.report.dropped_records, _i == 1 || _i == 2 ? 1 : 2);
	makelog_fini(&m);
}
END_TEST

/* The same key of another bucket is another key. */
START_TEST(verify_tells_buckets_apart)
{
	uint64_t off;

	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_bucket(&m, "one", 1);
	(void)makelog_bucket(&m, "two", 2);
	(void)put_in(1, "kk", 0);
	off = put_in(2, "kk", 0);
	(void)put_in(1, "kk", 0);
	end_attested();
	makelog_flip(ONE, off + RECORD_HEADER_SIZE + RECORD_BUCKET_LEN + 2 + 1);
	verify();
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(got.all[0].kind, KVLOG_FINDING_VALUE);
	ck_assert_str_eq(got.all[0].key, "kk");
	ck_assert_str_eq(got.all[0].bucket, "two");
	ck_assert_int_eq(got.all[0].older, KVLOG_OLDER_NONE);
	makelog_fini(&m);
}
END_TEST

/* Commits behind a lost end, and what is left of a batch, are told and saved;
 * 1: strictly, they are not. */
START_TEST(what_is_behind_the_end_is_saved_if_wanted)
{
	uint64_t batch;

	makelog_init(&m);
	makelog_begin(&m, 1);
	put("aa");
	batch = makelog_batch(&m, 3, VALUE);
	m.durable = m.seq;
	put("bb");
	put("cc");
	put("dd");
	makelog_end(&m);
	makelog_flip(ONE, batch + LEN + 2); /* attested, thus damage */
	makelog_flip(ONE, offs[4] + 1);     /* not: the log ends there */
	got.flags = _i == 1 ? KVLOG_SALVAGE_STRICT : 0;
	salvage_to("new"); /* in the working directory */
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.last_seq, 3);
	ck_assert_uint_eq(got.report.single_records, _i == 1 ? 0 : 2);
	ck_assert_uint_eq(got.report.beyond_records, _i == 1 ? 0 : 1);
	ck_assert_uint_eq(got.report.saved_records, _i == 1 ? 2 : 5);
	ck_assert_uint_eq(count_keys("/new"), _i == 1 ? 2 : 5);
	makelog_fini(&m);
}
END_TEST

/* A bucket made and one dropped there, too.  0: saved as they are; 1: strictly,
 * the one never was, and the other is there still. */
START_TEST(buckets_behind_the_end_are_saved_if_wanted)
{
	const bool strict = _i == 1;
	uint64_t off, expires;

	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_bucket(&m, "dropped", 1);
	(void)put_in(1, "kk", 0);
	m.durable = m.seq;
	off = makelog_put(&m, "aa", VALUE);
	(void)makelog_bucket(&m, "made", 4);
	(void)put_in(4, "kk", 0);
	drop_bucket("dropped");
	makelog_end(&m);
	makelog_flip(ONE, off + 1);
	got.flags = strict ? KVLOG_SALVAGE_STRICT : 0;
	salvage_to("/new");
	ck_assert_uint_eq(got.report.last_seq, 2);
	ck_assert_int_eq(look_in("dropped", "kk", &expires),
	    strict ? KVLOG_OK : KVLOG_NOBUCKET);
	ck_assert_int_eq(look_in("made", "kk", &expires),
	    strict ? KVLOG_NOBUCKET : KVLOG_OK);
	ck_assert_uint_eq(got.report.saved_buckets, 1);
	makelog_fini(&m);
}
END_TEST

/* Of a batch whose first record is damaged, another drops a bucket. */
START_TEST(buckets_of_parts_of_batches_are_saved_if_wanted)
{
	const bool strict = _i == 1;
	struct record rec;
	uint64_t off, expires;

	makelog_init(&m);
	makelog_begin(&m, 1);
	(void)makelog_bucket(&m, "dropped", 1);
	(void)put_in(1, "kk", 0);
	m.seq++;
	off = add(RECORD_PUT, "aa", RECORD_MORE);
	rec = makelog_record(&m, RECORD_DELETE, "dropped", 0,
	    RECORD_BUCKET | RECORD_MORE | RECORD_CONT);
	rec.bucket_seq = 0;
	rec.bucket_ordinal = BUCKET_CATALOGUE_ORDINAL;
	(void)makelog_add(&m, &rec);
	rec = makelog_record(
	    &m, RECORD_PUT, "kk", VALUE, RECORD_BUCKET | RECORD_CONT);
	rec.bucket_seq = 1;
	(void)makelog_add(&m, &rec);
	put("bb");
	end_attested();
	makelog_flip(ONE, off + 1);
	got.flags = strict ? KVLOG_SALVAGE_STRICT : 0;
	salvage_to("/new");
	ck_assert_int_eq(got.st, KVLOG_CORRUPT);
	ck_assert_int_eq(look_in("dropped", "kk", &expires),
	    strict ? KVLOG_OK : KVLOG_NOBUCKET);
	ck_assert_uint_eq(got.report.saved_buckets, strict);
	makelog_fini(&m);
}
END_TEST

START_TEST(salvage_may_be_stopped_anywhere)
{
	uint64_t calls;

	make_three();
	salvage_to("/new");
	ck_assert_int_eq(got.st, KVLOG_OK);
	calls = got.calls;
	for (uint64_t at = 1; at <= calls; at++) {
		char path[20];

		snprintf(path, sizeof path, "/new%u", (unsigned)at);
		got.cancel_at = at;
		salvage_to(path);
		ck_assert_int_eq(got.st, KVLOG_CANCELLED);
		ck_assert_int_eq(got.err.status, KVLOG_CANCELLED);
	}
	makelog_fini(&m);
}
END_TEST

/* More than a batch of bytes, and a value that is longer than one. */
START_TEST(long_values_are_saved)
{
	static uint8_t value[3u << 20];
	const uint32_t lens[] = {700000, 700000, sizeof value, 10};

	makelog_init(&m);
	m.size = 8u << 20;
	makelog_begin(&m, 1);
	for (size_t i = 0; i < 4; i++) {
		char key[3] = {'k', (char)('0' + i), '\0'};
		struct record rec;

		m.seq++;
		memset(value, (int)m.seq, sizeof value);
		rec = makelog_record(&m, RECORD_PUT, key, 0, 0);
		rec.value = value;
		rec.value_len = lens[i];
		(void)makelog_add(&m, &rec);
	}
	end_attested();
	salvage_to("/new");
	ck_assert_int_eq(got.st, KVLOG_OK);
	ck_assert_uint_eq(got.report.saved_bytes, 8 + 1400010 + sizeof value);
	ck_assert_uint_eq(count_keys("/new"), 4);
	makelog_fini(&m);
}
END_TEST

/* Failing calls */

static void
rebuild_hints(void)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;

	memset(&got, 0, sizeof got);
	got.report.size = sizeof got.report;
	o.flags = KVLOG_VERIFY_REBUILD_HINTS;
	o.finding = note;
	o.timeout_ms = 0;
	got.st = kvlog_verify(MAKELOG_STORE, &o, &got.report, &got.err);
}

static void
salvage_to_new(void)
{
	salvage_to("/new");
}

/* Each call of a kind fails, once and from then on: what is found is said to
 * be so or the failure is, nothing leaks, and the store is as it was. */
static void
sweep(void (*act)(void), enum simos_kind kind, int error, bool sticky)
{
	struct simos_state *base = simos_save();
	enum kvlog_status whole;

	verify();
	whole = got.st;
	for (uint64_t nth = 1;; nth++) {
		uint64_t before;
		bool struck;

		simos_restore(base);
		before = simos_count(kind);
		simos_fail(kind, nth, error, sticky);
		act();
		struck = simos_count(kind) - before >= nth;
		simos_fail_clear();
		if (got.st != KVLOG_OK) {
			ck_assert_int_eq(got.err.status, got.st);
			ck_assert_uint_gt(strlen(got.err.text), 9);
		}
		ck_assert_uint_eq(simos_leaks(stderr), 0);
		if (!struck)
			break;
		verify();
		ck_assert_msg(got.st == whole || got.st == KVLOG_OK,
		    "call %" PRIu64 " of %s: %s", nth, simos_step_name(kind),
		    got.err.text);
	}
	simos_state_free(base);
}

START_TEST(failing_calls_are_said_and_change_nothing)
{
	static const struct {
		enum simos_kind kind;
		int error;
	} faults[] = {
	    {SIMOS_MALLOC, ENOMEM},
	    {SIMOS_OPEN_DIR, EMFILE},
	    {SIMOS_LIST, EIO},
	    {SIMOS_OPEN, EIO},
	    {SIMOS_OPEN, EACCES},
	    {SIMOS_OPEN, ENOENT},
	    {SIMOS_STAT, EIO},
	    {SIMOS_STAT_NAME, EIO},
	    {SIMOS_PREAD, EIO},
	    {SIMOS_MAP, ENOMEM},
	    {SIMOS_UNLINK, EIO},
	    {SIMOS_SYNC, EIO},
	    {SIMOS_SYNC_DIR, EIO},
	};
	const int fault = _i % 13;

	switch (_i / 13) {
	case 0: /* outputs, and damage that has keys looked for */
		make_outputs(keys_ab, keys_cd);
		makelog_flip(PART_2, SEGMENT_DATA_OFF + HEAD);
		makelog_flip(THREE, 100);
		makelog_flip(THREE, 4096 + 100);
		break;
	case 1: { /* hints, and damage below them */
		const char *name = make_hinted();

		makelog_flip(ONE, SEGMENT_DATA_OFF + 1);
		makelog_flip(name, 4096 + 100);
		break;
	}
	default: { /* hints of no use, one missing */
		const uint8_t one = 1;

		change_hint(make_hinted(), 24, &one, 1);
		break;
	}
	}
	makelog_fini(&m);
	for (unsigned sticky = 0; sticky < 2; sticky++) {
		sweep(verify, faults[fault].kind, faults[fault].error,
		    sticky == 1);
		sweep(salvage_to_new, faults[fault].kind, faults[fault].error,
		    sticky == 1);
		sweep(rebuild_hints, faults[fault].kind, faults[fault].error,
		    sticky == 1);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("verify");
	TCase *tc = makelog_case(suite, "kinds");

	seed = rng_seed_from_env();
	tcase_add_test(tc, a_whole_store_is_clean);
	tcase_add_loop_test(tc, a_flipped_byte_is_told_by_what_it_was, 0, 6);
	tcase_add_test(tc, padding_that_is_not_zero_is_told);
	tcase_add_loop_test(
	    tc, a_damaged_value_tells_what_is_left_of_its_key, 0, 4);
	tcase_add_test(tc, a_batch_that_lost_a_part_is_told);
	tcase_add_test(tc, missing_numbers_are_told);
	tcase_add_test(
	    tc, numbers_that_are_missing_behind_a_damaged_value_are_told);
	tcase_add_test(tc, a_damaged_link_tells_what_is_missing_before_it);
	tcase_add_test(tc, a_lost_end_is_told);
	tcase_add_test(tc, a_torn_end_is_no_damage);
	tcase_add_loop_test(tc, a_file_of_another_size_is_told, 0, 3);
	tcase_add_test(tc, a_file_without_its_first_record_is_told);
	tcase_add_loop_test(tc, records_are_read_without_any_header, 0, 3);
	tcase_add_test(tc, without_headers_and_records_a_file_is_lost);
	tcase_add_loop_test(
	    tc, a_missing_segment_is_told_and_the_rest_is_checked, 0, 2);
	tcase_add_test(tc, a_page_that_is_believed_attests_a_missing_segment);
	tcase_add_loop_test(tc, segments_of_others_are_told, 0, 2);
	tcase_add_loop_test(
	    tc, a_segment_under_another_name_stands_where_it_belongs, 0, 2);
	tcase_add_test(tc, a_directory_in_place_of_a_segment_is_told);
	tcase_add_loop_test(
	    tc, records_that_contradict_themselves_are_told, 0, 4);
	tcase_add_test(tc, two_whole_headers_that_differ_are_told);
	tcase_add_test(tc, one_header_in_a_wrong_place_is_told);
	tcase_add_test(tc, one_copy_in_a_wrong_place_is_told);
	tcase_add_test(
	    tc, outputs_in_order_are_clean_and_their_inputs_left_over);
	tcase_add_loop_test(tc, keys_out_of_order_in_an_output_are_told, 0, 2);
	tcase_add_loop_test(tc, damage_in_an_output_is_told, 0, 3);
	tcase_add_loop_test(
	    tc, a_missing_part_matters_without_the_inputs, 0, 2);
	tcase_add_loop_test(
	    tc, a_part_without_headers_matters_without_the_inputs, 0, 2);
	tcase_add_test(tc, other_files_are_told);
	tcase_add_loop_test(tc, a_damaged_end_note_is_told, 0, 2);
	tcase_add_loop_test(
	    tc, a_log_without_the_place_of_its_end_note_is_damaged, 0, 6);
	tcase_add_test(tc, a_medium_that_cannot_be_read_is_damage);
	tcase_add_test(tc, a_newer_record_is_refused);
	tcase_add_test(tc, what_is_no_store_is_said);
	tcase_add_loop_test(tc, a_quick_look_checks_the_structure_only, 0, 6);
	tcase_add_loop_test(
	    tc, a_quick_look_leaves_open_what_a_full_one_must_tell, 0, 2);
	tcase_add_test(tc, progress_may_stop_it_anywhere);
	tcase_add_test(tc, want_of_memory_is_said);

	tc = makelog_case(suite, "rare");
	tcase_add_test(tc, kinds_have_names_of_their_own);
	tcase_add_test(tc, a_lag_that_says_nothing_contradicts_nothing);
	tcase_add_loop_test(tc, wrong_marks_are_told, 0, 2);
	tcase_add_test(tc, a_number_that_is_there_twice_is_told);
	tcase_add_loop_test(tc, a_batch_that_does_not_go_on_is_told, 0, 3);
	tcase_add_loop_test(tc, links_that_contradict_the_log_are_told, 0, 7);
	tcase_add_test(tc, all_of_a_long_value_is_looked_at);
	tcase_add_test(tc, findings_beyond_count_are_left_out);
	tcase_add_loop_test(tc, keys_of_buckets_have_their_order, 0, 7);
	tcase_add_test(tc, many_damaged_values_of_a_key_are_looked_at_once);
	tcase_add_loop_test(
	    tc, a_damaged_value_of_a_bucket_finds_its_older_one, 0, 2);
	tcase_add_loop_test(tc, records_that_no_output_has_are_told, 0, 2);
	tcase_add_test(tc, an_output_in_order_of_commits_is_clean);
	tcase_add_test(tc, a_second_part_is_read_without_the_first);
	tcase_add_loop_test(tc, parts_with_other_links_or_none_are_told, 0, 2);
	tcase_add_test(tc, a_lost_file_behind_a_missing_one_is_told);
	tcase_add_loop_test(tc, keys_are_looked_for_in_what_is_left, 0, 2);
	tcase_add_test(tc, the_note_of_another_store_says_nothing);
	tcase_add_test(
	    tc, the_note_of_a_segment_that_was_compacted_says_nothing);
	tcase_add_loop_test(
	    tc, the_note_of_a_segment_that_is_lost_says_no_more, 0, 2);
	tcase_add_loop_test(
	    tc, a_note_is_compared_with_bytes_where_no_link_is_left, 0, 2);
	tcase_add_loop_test(tc, a_quick_look_at_the_end_note, 0, 2);
	tcase_add_test(tc, a_short_lock_file_is_told);
	tcase_add_loop_test(
	    tc, a_writer_without_a_page_is_not_waited_for_for_ever, 0, 2);
	tcase_add_test(tc, files_that_vanish_are_busy);
	tcase_add_loop_test(tc, pages_that_do_not_fit_are_not_believed, 0, 14);
	tcase_add_loop_test(tc, files_beside_the_tiling_are_told, 0, 2);
	tcase_add_test(tc, parts_of_different_sets_are_no_output);
	tcase_add_test(tc, further_copies_of_a_segment_are_told);
	tcase_add_test(tc, records_are_read_without_any_header_from_far_on);
	tcase_add_test(tc, a_quick_look_does_not_ask_for_commits_at_the_end);
	tcase_add_test(tc, nobody_need_listen);

	tc = makelog_case(suite, "hints");
	tcase_add_loop_test(tc, hints_of_other_formats_are_of_no_use, 0, 3);
	tcase_add_loop_test(tc, wrong_headers_of_hints_are_told, 0, 4);
	tcase_add_test(tc, hints_are_not_of_no_use_beside_a_writer);
	tcase_add_test(tc, hints_say_nothing_without_any_segment);

	tc = makelog_case(suite, "salvage");
	tcase_add_test(tc, records_of_other_kinds_are_counted_by_salvage);
	tcase_add_loop_test(tc, salvage_saves_buckets_and_expiry, 0, 4);
	tcase_add_test(tc, verify_tells_buckets_apart);
	tcase_add_loop_test(
	    tc, what_is_behind_the_end_is_saved_if_wanted, 0, 2);
	tcase_add_loop_test(
	    tc, buckets_behind_the_end_are_saved_if_wanted, 0, 2);
	tcase_add_loop_test(
	    tc, buckets_of_parts_of_batches_are_saved_if_wanted, 0, 2);
	tcase_add_test(tc, salvage_may_be_stopped_anywhere);
	tcase_add_test(tc, long_values_are_saved);

	tc = makelog_case(suite, "faults");
	tcase_add_loop_test(
	    tc, failing_calls_are_said_and_change_nothing, 0, 39);

	tc = tcase_create("agreement");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, random_damage_is_judged_as_recovery_does);
	tcase_add_test(
	    tc, crashes_are_judged_as_recovery_does_and_are_no_damage);
	tcase_add_test(
	    tc, damage_to_what_the_engine_made_is_judged_as_recovery_does);
	suite_add_tcase(suite, tc);
	return test_main(suite);
}
