/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_recover.c - the verdict on what stands in the files: where the log
 * ends, what was torn off, what is damaged (INV-10), which files count
 * (INV-5).
 */
#include "config.h"

#include "makelog.h"

#include "bytes.h"

#include <errno.h>

#define ONE "00000001.seg"
#define TWO "00000002.seg"
#define THREE "00000003.seg"
#define VALUE 50u /* with a key of 2 bytes: a record of 80, no padding */
#define LEN 80u
#define HEAD 30u
#define LINK_OFF 512u
#define LINK_LEN SEGMENT_LINK_LEN

#define CRASH KVLOG_RECOVERY_CRASH
#define TORN KVLOG_RECOVERY_TORN
#define DISCARDED KVLOG_RECOVERY_DISCARDED
#define DAMAGE KVLOG_RECOVERY_DAMAGE
#define DEGRADED KVLOG_RECOVERY_DEGRADED
#define SCANNED KVLOG_RECOVERY_SCANNED

static struct makelog m;
static struct found f;
static uint64_t offs[100]; /* of commit i */

static void
put(void)
{
	uint64_t off = makelog_put(&m, "kk", VALUE);

	offs[m.seq % RECORD_RANGE] = off;
}

static void
puts_to(uint64_t seq)
{
	while (m.seq < seq)
		put();
}

static void
begin(void)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
}

/* Recover as a reader does, twice: INV-11.  Nothing is changed by it. */
static void
find(void)
{
	struct found again;
	uint64_t hash = simos_image_hash();

	found_init(&f, false);
	found_init(&again, false);
	ck_assert_uint_eq(simos_image_hash(), hash);
	ck_assert_int_eq(again.st, f.st);
	ck_assert_uint_eq(again.r.flags, f.r.flags);
	ck_assert_uint_eq(again.r.last_seq, f.r.last_seq);
	ck_assert_uint_eq(again.r.lost_seq, f.r.lost_seq);
	ck_assert_uint_eq(again.set->count, f.set->count);
	found_fini(&again);
}

static void
expect_log(size_t segments, uint64_t end, uint64_t last_seq, unsigned flags)
{
	ck_assert_msg(f.st == KVLOG_OK, "%s", f.err.text);
	ck_assert_uint_eq(f.set->count, segments);
	ck_assert_uint_eq(segment_end(found_last(&f)), end);
	ck_assert_uint_eq(f.r.last_seq, last_seq);
	ck_assert_uint_eq(f.r.flags, flags);
}

static void
expect_damage(uint64_t ranges, uint64_t bytes)
{
	ck_assert_uint_eq(f.r.damaged_ranges, ranges);
	ck_assert_uint_eq(f.r.damaged_bytes, bytes);
}

static void
expect_error(uint32_t segment, const char *text)
{
	ck_assert_int_eq(f.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(f.err.segment, segment);
	ck_assert_msg(strstr(f.err.text, text) != NULL, "%s", f.err.text);
}

static void
finish(void)
{
	found_fini(&f);
	makelog_fini(&m);
}

/* A medium that cannot be read from there on. */
static int (*good_pread)(int, void *, size_t, uint64_t, size_t *);
static uint64_t bad_from;

static int
bad_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	return off + len > bad_from ? EIO
				    : good_pread(fd, buf, len, off, ret_len);
}

/* The verdict within one segment. */

START_TEST(a_whole_log_ends_where_its_records_end)
{
	begin();
	puts_to(5);
	makelog_end(&m);
	find();
	expect_log(1, m.off, 5, CRASH);
	ck_assert_uint_eq(f.r.first_seq, 6);
	ck_assert_uint_eq(f.r.lost_seq, 5);
	ck_assert_uint_eq(f.r.seq_seen, 5);
	/* Commits behind these may have been lost without a trace. */
	ck_assert(f.r.unclean); /* INV-4 */
	ck_assert(!f.r.warm);
	finish();
}
END_TEST

START_TEST(a_clean_end_is_no_crash)
{
	begin();
	puts_to(2);
	m.durable = 2;
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	find();
	expect_log(1, m.off, 2, 0);
	ck_assert_uint_eq(f.r.attested, 2);
	ck_assert(f.r.unclean); /* the page is stale */
	finish();
}
END_TEST

/* A <= s. */
START_TEST(unattested_bad_bytes_are_the_torn_end)
{
	begin();
	puts_to(2);
	m.durable = 2;
	puts_to(5);
	makelog_end(&m);
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(1, offs[3], 2, TORN | CRASH);
	ck_assert_uint_eq(f.r.torn_bytes, m.off - offs[3]);
	ck_assert_uint_eq(f.r.attested, 2);
	ck_assert_uint_eq(f.r.lost_seq, 2);
	ck_assert_uint_eq(f.r.seq_seen, 5);
	expect_damage(0, 0);
	ck_assert_uint_eq(found_last(&f)->bad_count, 0);
	ck_assert(f.r.unclean);
	finish();
}
END_TEST

/* A >= n - 1. */
START_TEST(attested_bad_bytes_are_damage_and_the_log_goes_on)
{
	const struct segment *seg;

	begin();
	puts_to(4);
	m.durable = 3;
	puts_to(6);
	makelog_end(&m);
	makelog_flip(ONE, offs[2]);
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(1, m.off, 6, DAMAGE | DEGRADED | CRASH);
	expect_damage(1, 2 * LEN);
	seg = found_last(&f);
	ck_assert_uint_eq(seg->bad_count, 1);
	ck_assert_uint_eq(seg->bad[0].from, offs[2]);
	ck_assert_uint_eq(seg->bad[0].to, offs[4]);
	ck_assert_uint_eq(f.r.torn_bytes, 0);
	finish();
}
END_TEST

/* s < A < n - 1. */
START_TEST(partly_attested_bad_bytes_are_damage_and_the_end)
{
	begin();
	puts_to(4);
	m.durable = 3;
	puts_to(6);
	makelog_end(&m);
	for (unsigned i = 2; i <= 4; i++)
		makelog_flip(ONE, offs[i]);
	find();
	expect_log(1, offs[2], 1, DAMAGE | DEGRADED | CRASH);
	expect_damage(1, 3 * LEN);
	ck_assert_uint_eq(f.r.lost_seq, 3); /* A: numbers never come again */
	ck_assert_uint_eq(f.r.seq_seen, 6);
	finish();
}
END_TEST

START_TEST(bad_bytes_to_the_end_are_damage_if_a_mark_attests_them)
{
	begin();
	puts_to(3);
	m.durable = 3;
	(void)makelog_mark(&m, false);
	makelog_end(&m);
	makelog_flip(ONE, offs[2]);
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(1, offs[2], 1, DAMAGE | DEGRADED | CRASH);
	ck_assert_uint_eq(f.r.lost_seq, 3);
	finish();
}
END_TEST

/* No byte is bad, but a number is missing: the same three cases. */
START_TEST(missing_numbers_are_judged_like_bad_bytes)
{
	for (uint64_t durable = 2; durable <= 4; durable++) {
		begin();
		puts_to(2);
		m.seq = 4;
		m.durable = durable;
		put(); /* 5 */
		makelog_end(&m);
		find();
		if (durable == 2)
			expect_log(1, offs[5], 2, TORN | CRASH);
		else if (durable == 3)
			expect_log(1, offs[5], 2, DAMAGE | DEGRADED | CRASH);
		else
			expect_log(1, m.off, 5, DAMAGE | DEGRADED | CRASH);
		if (durable > 2)
			expect_damage(1, 0);
		ck_assert_uint_eq(f.r.lost_seq, durable == 4 ? 5 : m.durable);
		found_fini(&f);
		ck_assert_int_eq(os->unlink(m.dir.fd, ONE), 0);
		makelog_fini(&m);
	}
}
END_TEST

/* _i: whether the batch was known to be durable. */
START_TEST(a_commit_that_is_not_whole_is_torn_or_damaged)
{
	uint64_t batch;

	begin();
	puts_to(1);
	batch = makelog_batch(&m, 3, VALUE); /* 2 */
	m.durable = _i == 0 ? 1 : 2;
	put(); /* 3 */
	makelog_end(&m);
	makelog_flip(ONE, batch + LEN);
	find();
	if (_i == 0) {
		expect_log(1, batch, 1, TORN | CRASH);
	} else {
		expect_log(1, m.off, 3, DAMAGE | DEGRADED | CRASH);
		expect_damage(1, LEN);
	}
	finish();
}
END_TEST

/* Of a batch of which only the middle is left it is not known that it ended
 * where the bad bytes behind it begin.  _i: whether a commit follows. */
START_TEST(the_middle_of_a_commit_is_not_all_of_it)
{
	uint64_t batch, end;

	begin();
	puts_to(1);
	batch = makelog_batch(&m, 3, VALUE); /* 2 */
	end = m.off;
	m.durable = 2;
	if (_i == 0)
		put(); /* 3 */
	else
		(void)makelog_mark(&m, false);
	makelog_end(&m);
	makelog_flip(ONE, batch);
	makelog_flip(ONE, batch + 2 * LEN);
	find();
	if (_i == 0) {
		expect_log(1, m.off, 3, DAMAGE | DEGRADED | CRASH);
		ck_assert_uint_eq(found_last(&f)->bad[1].to, end);
	} else {
		expect_log(1, end - LEN, 1, DAMAGE | DEGRADED | CRASH);
		ck_assert_uint_eq(f.r.lost_seq, 2);
	}
	expect_damage(2, 2 * LEN);
	finish();
}
END_TEST

START_TEST(half_a_batch_at_the_end_is_cut_off_at_its_beginning)
{
	static const uint8_t zeros[LEN];
	uint64_t batch;

	begin();
	puts_to(1);
	m.durable = 1;
	batch = makelog_batch(&m, 3, VALUE);
	makelog_end(&m);
	makelog_poke(ONE, batch + 2 * LEN, zeros, LEN);
	find();
	expect_log(1, batch, 1, TORN | CRASH);
	ck_assert_uint_eq(f.r.torn_bytes, 2 * LEN);
	finish();
}
END_TEST

/* _i: whether the commit with the damaged value was known to be durable. */
START_TEST(a_damaged_value_is_torn_or_damaged)
{
	begin();
	puts_to(2);
	m.durable = _i == 0 ? 1 : 2;
	puts_to(3);
	makelog_end(&m);
	makelog_flip(ONE, offs[2] + HEAD);
	find();
	if (_i == 0) {
		expect_log(1, offs[2], 1, TORN | CRASH);
	} else {
		/* Its key is known, so nothing older can show. */
		expect_log(1, m.off, 3, DAMAGE | CRASH);
		expect_damage(1, LEN);
		ck_assert_uint_eq(found_last(&f)->bad_count, 0);
	}
	finish();
}
END_TEST

/* Across segments. */

/* Two segments: 1 to 3 in the first, 4 and 5 in the second. */
static void
make_two(uint64_t durable)
{
	begin();
	puts_to(3);
	m.durable = durable;
	makelog_begin(&m, 2);
	puts_to(5);
	makelog_end(&m);
}

START_TEST(links_seal_their_predecessors)
{
	make_two(3);
	find();
	expect_log(2, m.off, 5, CRASH | SCANNED);
	ck_assert_uint_eq(
	    segment_end(f.set->segments[0]), offs[3] + (uint64_t)LEN);
	ck_assert_uint_eq(f.set->segments[0]->last_seq, 3);
	ck_assert_uint_eq(f.r.scanned, 1); /* it has no hint */
	finish();
}
END_TEST

/* _i: A.  n - 1 is what the link says: 3. */
START_TEST(bad_bytes_before_a_link_are_judged_by_the_link)
{
	make_two((uint64_t)_i);
	makelog_flip(ONE, offs[2]);
	makelog_flip(ONE, offs[3]);
	find();
	if (_i == 1) {
		expect_log(1, offs[2], 1, TORN | DISCARDED | CRASH | SCANNED);
		ck_assert_uint_eq(f.r.discarded, 1);
		ck_assert_uint_eq(f.r.seq_seen, 5);
	} else if (_i == 2) {
		expect_log(1, offs[2], 1,
		    DAMAGE | DEGRADED | DISCARDED | CRASH | SCANNED);
		ck_assert_uint_eq(f.r.lost_seq, 2);
	} else {
		expect_log(2, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
		expect_damage(1, 2 * LEN);
	}
	finish();
}
END_TEST

/* The link says that there were more commits, but no byte is bad; _i: A. */
START_TEST(a_link_that_goes_further_is_judged_like_bad_bytes)
{
	uint64_t end;

	begin();
	puts_to(2);
	end = m.off;
	m.seq = 4;
	m.durable = (uint64_t)_i;
	makelog_begin(&m, 2);
	put(); /* 5 */
	makelog_end(&m);
	find();
	if (_i == 2) {
		expect_log(1, end, 2, TORN | DISCARDED | CRASH | SCANNED);
	} else if (_i == 3) {
		expect_log(
		    1, end, 2, DAMAGE | DEGRADED | DISCARDED | CRASH | SCANNED);
	} else {
		expect_log(2, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
		expect_damage(1, 0);
	}
	finish();
}
END_TEST

/* Zeros where the link says that there were records. */
START_TEST(zeros_below_the_end_of_a_sealed_segment_are_bad)
{
	static const uint8_t zeros[LEN];

	make_two(3);
	makelog_poke(ONE, offs[3], zeros, sizeof zeros);
	find();
	expect_log(2, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
	expect_damage(1, LEN);
	finish();
}
END_TEST

START_TEST(a_sealed_file_cut_short_is_damage)
{
	int fd;

	make_two(3);
	ck_assert_int_eq(os->open(m.dir.fd, ONE, OS_OPEN_WRITE, 0, &fd), 0);
	ck_assert_int_eq(os->truncate(fd, offs[2] + 8), 0);
	ck_assert_int_eq(os->close(fd), 0);
	find();
	expect_log(2, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
	expect_damage(1, 2 * LEN);
	finish();
}
END_TEST

/* Leftovers behind the end of an unclean segment are not read. */
START_TEST(what_a_link_has_cut_off_stays_cut_off)
{
	begin();
	puts_to(3);
	m.off = offs[3]; /* 3 was torn off, and a new range begun */
	m.seq = 2;
	makelog_begin_range(&m, 2, RECORD_RANGE);
	put();
	makelog_end(&m);
	find();
	expect_log(2, m.off, RECORD_RANGE, CRASH | SCANNED);
	ck_assert_uint_eq(f.set->segments[0]->last_seq, 2);
	ck_assert_uint_eq(segment_end(f.set->segments[0]), offs[3]);
	expect_damage(0, 0); /* the gap between ranges is none */
	ck_assert_uint_eq(f.r.attested, RECORD_RANGE - 1);
	finish();
}
END_TEST

START_TEST(an_empty_range_keeps_its_number)
{
	begin();
	puts_to(1);
	makelog_begin_range(&m, 2, RECORD_RANGE);
	makelog_end(&m);
	find();
	expect_log(2, SEGMENT_DATA_OFF, 1, CRASH | SCANNED);
	ck_assert_uint_eq(f.r.first_seq, RECORD_RANGE);
	finish();
}
END_TEST

/* _i: whether the missing segment was known to be durable. */
START_TEST(a_missing_segment_is_an_error_only_if_it_was_durable)
{
	begin();
	puts_to(2);
	m.durable = 2;
	makelog_begin(&m, 2);
	puts_to(4);
	m.durable = _i == 0 ? 2 : 4;
	makelog_begin(&m, 3);
	put();
	makelog_end(&m);
	ck_assert_int_eq(os->unlink(m.dir.fd, TWO), 0);
	find();
	if (_i == 0) {
		expect_log(1, offs[2] + (uint64_t)LEN, 2, CRASH | DISCARDED);
		ck_assert_uint_eq(f.r.seq_seen, 5);
	} else {
		expect_error(2, "segment 2 is missing");
	}
	finish();
}
END_TEST

START_TEST(without_segment_1_nothing_is_guessed)
{
	make_two(3);
	ck_assert_int_eq(os->unlink(m.dir.fd, ONE), 0);
	find();
	expect_error(1, "segment 1 is missing");
	finish();
}
END_TEST

START_TEST(an_empty_directory_is_no_store)
{
	makelog_init(&m);
	find();
	ck_assert_int_eq(f.st, KVLOG_NOSTORE);
	finish();
}
END_TEST

/* What stands behind a damaged link is believed if it attests more than the
 * first segment holds; _i: by how much. */
START_TEST(a_damaged_link_alone_loses_nothing)
{
	begin();
	puts_to(3);
	m.durable = 3;
	makelog_begin(&m, 2);
	puts_to(4);
	m.durable = 3 + (uint64_t)_i;
	puts_to(6);
	makelog_end(&m);
	makelog_flip(TWO, LINK_OFF + 30);
	find();
	if (_i == 0) {
		expect_log(1, offs[3] + (uint64_t)LEN, 3,
		    TORN | DISCARDED | CRASH | SCANNED);
		ck_assert_uint_eq(f.r.seq_seen, 6);
	} else {
		expect_log(2, m.off, 6, DAMAGE | CRASH | SCANNED);
		expect_damage(1, LINK_LEN);
		ck_assert_uint_eq(
		    segment_end(f.set->segments[0]), offs[3] + (uint64_t)LEN);
		ck_assert_uint_eq(f.set->segments[0]->last_seq, 3);
	}
	finish();
}
END_TEST

START_TEST(a_damaged_link_of_segment_1_loses_nothing)
{
	make_two(3);
	makelog_flip(ONE, LINK_OFF);
	find();
	expect_log(2, m.off, 5, DAMAGE | CRASH | SCANNED);
	expect_damage(1, LINK_LEN);
	finish();
}
END_TEST

/* Then how far the first one went is known by its records alone. */
START_TEST(a_damaged_link_and_damage_before_it_are_both_found)
{
	begin();
	puts_to(3);
	m.durable = 3;
	makelog_begin(&m, 2);
	puts_to(4);
	m.durable = 4;
	puts_to(6);
	makelog_end(&m);
	makelog_flip(TWO, LINK_OFF + 30);
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(2, m.off, 6, DAMAGE | DEGRADED | CRASH | SCANNED);
	ck_assert_uint_eq(f.r.last_seq, 6);
	finish();
}
END_TEST

/* Up to the next commit it is one place, whatever else stands between: all that
 * is attested is before that commit, and nothing of it.  _i: bad are a link and
 * all behind it; that and a mark between; not these; or a segment is missing.
 */
START_TEST(several_bad_places_are_judged_as_one)
{
	uint64_t mark;

	begin();
	puts_to(2);
	m.durable = 2;
	makelog_begin(&m, 2);
	puts_to(3);
	mark = makelog_mark(&m, false);
	puts_to(4);
	m.durable = 4;
	makelog_begin(&m, 3);
	puts_to(5);
	makelog_end(&m);
	makelog_flip(TWO, offs[3]);
	makelog_flip(TWO, offs[4]);
	if (_i < 2)
		makelog_flip(TWO, LINK_OFF + 30);
	if (_i == 0)
		makelog_flip(TWO, mark);
	find();
	expect_log(3, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
	finish();
}
END_TEST

START_TEST(a_link_to_another_salt_is_refused)
{
	begin();
	puts_to(2);
	makelog_begin(&m, 2);
	puts_to(3);
	makelog_end(&m);
	makelog_fini(&m);
	/* Segment 1 of another copy, which went on differently. */
	makelog_init(&m);
	ck_assert_int_eq(os->unlink(m.dir.fd, ONE), 0);
	makelog_begin(&m, 1);
	puts_to(2);
	makelog_end(&m);
	find();
	expect_error(2, "does not follow");
	finish();
}
END_TEST

START_TEST(a_segment_of_another_store_is_refused)
{
	begin();
	puts_to(2);
	m.store.uuid[0] ^= 1;
	makelog_begin(&m, 2);
	puts_to(3);
	makelog_end(&m);
	find();
	expect_error(2, "belongs to another store");
	finish();
}
END_TEST

/* Headers. */

START_TEST(the_copy_of_a_header_serves)
{
	make_two(3);
	makelog_flip(ONE, 20);
	find();
	expect_log(2, m.off, 5, DAMAGE | CRASH | SCANNED);
	ck_assert(f.set->segments[0]->header_damaged);
	expect_damage(1, SEGMENT_FIXED_LEN);
	found_fini(&f);
	makelog_flip(ONE, 4096 + 100);
	find();
	expect_error(1, "header");
	finish();
}
END_TEST

START_TEST(a_newer_format_is_refused)
{
	uint8_t fixed[SEGMENT_FIXED_LEN];
	const uint8_t *bytes;
	uint64_t size;

	make_two(3);
	ck_assert(simos_peek(makelog_path(TWO), &bytes, &size));
	memcpy(fixed, bytes, sizeof fixed);
	put_u16(fixed + 12, SEGMENT_FORMAT + 1);
	put_u32(fixed + 8, sum_crc(fixed + 12, sizeof fixed - 12));
	makelog_poke(TWO, 0, fixed, sizeof fixed);
	find();
	ck_assert_int_eq(f.st, KVLOG_VERSION);
	ck_assert_uint_eq(f.err.segment, 2);
	finish();
}
END_TEST

START_TEST(a_newer_record_is_refused)
{
	struct record rec;

	begin();
	puts_to(1);
	m.seq = 2;
	rec = makelog_record(&m, 7, "kk", VALUE, 0);
	(void)makelog_add(&m, &rec);
	makelog_end(&m);
	find();
	ck_assert_int_eq(f.st, KVLOG_VERSION);
	finish();
}
END_TEST

START_TEST(a_renamed_segment_is_refused)
{
	make_two(3);
	ck_assert_int_eq(os->rename(m.dir.fd, TWO, THREE), 0);
	ck_assert_int_eq(os->link(m.dir.fd, ONE, m.dir.fd, TWO), 0);
	find();
	expect_error(2, "another segment's file");
	finish();
}
END_TEST

/* A disk has written the first sector of another segment here: the copy is of
 * the right one.  The store was refused. */
START_TEST(a_header_in_a_wrong_place_is_not_believed)
{
	const uint8_t *bytes;
	uint64_t size;
	uint8_t fixed[SEGMENT_FIXED_LEN];

	make_two(3);
	ck_assert(simos_peek(makelog_path(ONE), &bytes, &size));
	memcpy(fixed, bytes, sizeof fixed);
	makelog_poke(TWO, _i == 0 ? 0 : 4096, fixed, sizeof fixed);
	find();
	ck_assert_int_eq(f.st, KVLOG_OK);
	ck_assert_uint_eq(f.r.last_seq, m.seq);
	ck_assert_uint_eq(f.r.flags & KVLOG_RECOVERY_DAMAGE,
	    _i == 0 ? KVLOG_RECOVERY_DAMAGE : 0);
	finish();
}
END_TEST

/* The control page. */

/* Write a page that says so; the lock file is made. */
static void
make_page(const struct control_state *state, const struct control_note *note)
{
	struct control control;

	MAKELOG_OK(control_open(&control, &m.dir, true, NULL));
	makelog_lock(&control, &m.dir);
	MAKELOG_OK(control_format(&control, state, NULL));
	if (note != NULL)
		MAKELOG_OK(control_write_note(&control, note, NULL));
	control_close(&control);
}

static struct control_state
page_at(uint32_t number, uint64_t off, uint64_t salt)
{
	return (struct control_state){
	    .active_salt = salt,
	    .position = control_pos(number, off),
	    .durable = 0,
	    .generation = 5,
	};
}

START_TEST(a_warm_page_says_where_the_log_ends)
{
	static const uint8_t zeros[8];
	struct control_state state;

	begin();
	puts_to(4);
	/* 3 and 4 were being stored by a writer that died, the first word,
	 * which comes last, not yet. */
	state = page_at(1, offs[3], m.seg->header.salt);
	state.intent = m.off;
	makelog_end(&m);
	makelog_poke(ONE, offs[3], zeros, sizeof zeros);
	make_page(&state, NULL);
	find();
	expect_log(1, offs[3], 2, KVLOG_RECOVERY_CRASH);
	ck_assert(f.r.warm);
	ck_assert(f.r.unclean);
	ck_assert_uint_eq(f.r.state.generation, 5);
	ck_assert_uint_eq(f.r.first_seq, 3);
	finish();
}
END_TEST

/* One that says that the log ended, where it goes on, is older: the file system
 * failed, and was mounted again, perhaps. */
START_TEST(a_page_that_the_log_has_outrun_is_stale)
{
	struct control_state state;

	begin();
	puts_to(4);
	state = page_at(1, _i < 4 ? offs[_i + 1] : m.off, m.seg->header.salt);
	makelog_end(&m);
	make_page(&state, NULL);
	find();
	ck_assert_int_eq(f.r.warm, _i == 4);
	ck_assert_uint_eq(f.r.last_seq, 4);
	finish();
}
END_TEST

/* Nothing on the disk says that segment 2 was durable, but the page, which is
 * of this boot, says that the log went on behind it: it was removed.  1: not
 * if the page is of another segment 3. */
START_TEST(a_warm_page_attests_a_missing_segment)
{
	struct control_state state;

	begin();
	puts_to(2);
	makelog_begin(&m, 2);
	puts_to(4);
	makelog_begin(&m, 3);
	put();
	state = page_at(3, m.off, m.seg->header.salt + (_i == 1));
	makelog_end(&m);
	make_page(&state, NULL);
	ck_assert_int_eq(os->unlink(m.dir.fd, TWO), 0);
	found_init(&f, true);
	if (_i == 0)
		expect_error(2, "segment 2 is missing");
	else
		expect_log(1, offs[2] + LEN, 2, CRASH | DISCARDED);
	finish();
}
END_TEST

START_TEST(a_warm_page_with_an_intent_ends_the_segment)
{
	static const uint8_t zeros[8];
	struct control_state state;

	begin();
	puts_to(3);
	state = page_at(1, offs[3], m.seg->header.salt);
	state.intent = offs[3] + LEN;
	makelog_end(&m);
	makelog_poke(ONE, offs[3], zeros, sizeof zeros); /* stored last */
	make_page(&state, NULL);
	find();
	expect_log(1, offs[3], 2, CRASH);
	ck_assert(f.r.warm);
	ck_assert(f.r.unclean); /* INV-4: something may stand there */
	finish();
}
END_TEST

/* All that was written in this boot is in the page cache, so bad bytes below
 * the position are damage even if nothing attests them. */
START_TEST(bad_bytes_below_a_warm_position_are_damage)
{
	struct control_state state;

	begin();
	puts_to(3);
	state = page_at(1, m.off, m.seg->header.salt);
	makelog_end(&m);
	make_page(&state, NULL);
	makelog_flip(ONE, offs[2]);
	find();
	expect_log(1, m.off, 3, DAMAGE | DEGRADED);
	expect_damage(1, LEN);
	ck_assert(!f.r.unclean);
	ck_assert_uint_eq(f.r.lost_seq, 3);
	found_fini(&f);
	/* Up to the position: how many commits were there is not known. */
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(1, m.off, 1, DAMAGE | DEGRADED);
	expect_damage(1, 2 * LEN);
	ck_assert(f.r.unclean);
	finish();
}
END_TEST

/* If files do attest them, how many are lost is known, and the next link
 * says so. */
START_TEST(commits_lost_below_a_warm_position_are_counted)
{
	struct control_state state;

	begin();
	puts_to(3);
	m.durable = 3;
	(void)makelog_mark(&m, true);
	state = page_at(1, m.off, m.seg->header.salt);
	makelog_end(&m);
	make_page(&state, NULL);
	makelog_flip(ONE, offs[2]);
	makelog_flip(ONE, offs[3]);
	find();
	expect_log(1, m.off, 1, DAMAGE | DEGRADED);
	expect_damage(1, 2 * LEN);
	ck_assert(f.r.unclean);
	ck_assert_uint_eq(f.r.lost_seq, 3);
	finish();
}
END_TEST

/* That nothing is lost but the link, the mark behind it says: it has the number
 * of the last commit.  _i: it has a greater one. */
START_TEST(a_damaged_link_before_a_mark_loses_nothing)
{
	struct control_state state;
	uint64_t end;

	begin();
	puts_to(3);
	end = m.off;
	m.seq += (uint64_t)_i;
	m.durable = m.seq;
	makelog_begin(&m, 2);
	(void)makelog_mark(&m, true);
	state = page_at(2, m.off, m.seg->header.salt);
	makelog_end(&m);
	make_page(&state, NULL);
	makelog_flip(TWO, LINK_OFF + 30);
	find();
	ck_assert(f.r.warm);
	expect_log(2, m.off, 3, DAMAGE | SCANNED | (_i == 0 ? 0 : DEGRADED));
	expect_damage(1, _i == 0 ? LINK_LEN : 0);
	ck_assert_uint_eq(segment_end(f.set->segments[0]), end);
	finish();
}
END_TEST

START_TEST(a_page_of_another_boot_is_stale)
{
	struct control_state state;

	begin();
	puts_to(3);
	state = page_at(1, offs[3], m.seg->header.salt);
	makelog_end(&m);
	make_page(&state, NULL);
	makelog_fini(&m);
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	simos_forget();
	makelog_init(&m);
	find();
	expect_log(1, offs[3] + (uint64_t)LEN, 3, CRASH);
	ck_assert(!f.r.warm);
	ck_assert(f.r.unclean);
	finish();
}
END_TEST

/* A writer that closes while a reader reads. */
static struct control late;
static struct control_note late_note;
static const struct os_table *os_before;

static int
late_pread(int fd, void *buf, size_t len, uint64_t off, size_t *ret_len)
{
	MAKELOG_OK(control_write_note(&late, &late_note, NULL));
	return os_before->pread(fd, buf, len, off, ret_len);
}

START_TEST(a_note_of_later_is_not_held_against_a_reader)
{
	struct os_table table = *os;

	begin();
	puts_to(3);
	memcpy(late_note.uuid, m.store.uuid, 16);
	late_note.segment = 1;
	late_note.salt = m.seg->header.salt;
	late_note.end = m.off + (uint64_t)LEN;
	late_note.last_seq = 4;
	makelog_end(&m);
	MAKELOG_OK(control_open(&late, &m.dir, true, NULL));
	table.pread = late_pread;
	os_before = os;
	os = &table;
	found_init(&f, false);
	os = os_before;
	expect_log(1, m.off, 3, CRASH);
	found_fini(&f);
	/* From now on it tells of damage. */
	find();
	expect_log(1, m.off, 3, CRASH | DAMAGE | DEGRADED);
	control_close(&late);
	finish();
}
END_TEST

/* Nor does a reader call a living writer's end a crash. */
START_TEST(beside_a_writer_there_was_no_crash)
{
	struct control writer;

	begin();
	puts_to(3);
	makelog_end(&m);
	MAKELOG_OK(control_open(&writer, &m.dir, true, NULL));
	makelog_lock(&writer, &m.dir);
	find();
	expect_log(1, m.off, 3, 0);
	ck_assert(!f.r.warm);
	found_fini(&f);
	control_close(&writer);
	find();
	expect_log(1, m.off, 3, CRASH);
	finish();
}
END_TEST

/* _i: what is wrong with the page. */
START_TEST(a_page_that_does_not_fit_the_files_is_stale)
{
	struct control_state state;
	struct control_note note = {.segment = 1, .last_seq = 3};

	begin();
	puts_to(3);
	state = page_at(1, offs[3], m.seg->header.salt);
	switch (_i) {
	case 5: /* that before the first one */
		state.position = control_pos(0, offs[3]);
		break;
	case 0: /* but for the salt it fits */
		state.position = control_pos(1, m.off);
		state.active_salt++;
		break;
	case 1:
		state.position = control_pos(2, SEGMENT_DATA_OFF);
		break;
	case 2:
		state.position = control_pos(1, SEGMENT_DATA_OFF - 8);
		break;
	case 3:
		state.position = control_pos(1, MAKELOG_SIZE + 8);
		break;
	default:
		break; /* the end note says that the log is longer */
	}
	memcpy(note.uuid, m.store.uuid, 16);
	note.salt = m.seg->header.salt;
	note.end = m.off;
	makelog_end(&m);
	make_page(&state, _i == 4 ? &note : NULL);
	/* A reader looks again and again, but a writer is alone. */
	found_init(&f, true);
	expect_log(1, m.off, 3, CRASH);
	ck_assert(!f.r.warm);
	ck_assert(f.r.unclean);
	finish();
}
END_TEST

/* _i: whether the page has the new segment's salt already. */
START_TEST(a_segment_named_but_not_published_is_adopted)
{
	struct control_state state;

	begin();
	puts_to(2);
	state = page_at(1, m.off, m.seg->header.salt);
	state.intent = 8;
	makelog_begin(&m, 2);
	if (_i == 1)
		state.active_salt = m.seg->header.salt;
	makelog_end(&m);
	make_page(&state, NULL);
	find();
	expect_log(2, SEGMENT_DATA_OFF, 2, SCANNED);
	ck_assert(f.r.warm);
	ck_assert(!f.r.unclean);
	ck_assert_uint_eq(f.r.state.position, control_pos(2, SEGMENT_DATA_OFF));
	ck_assert_uint_eq(f.r.state.active_salt, found_last(&f)->header.salt);
	finish();
}
END_TEST

/* What stands at the page's position is damaged, so that it does not tell that
 * the page is old: the end note does. */
START_TEST(a_page_behind_the_end_note_is_stale)
{
	struct control_state state;
	struct control_note note = {.segment = 1, .last_seq = 3};

	begin();
	puts_to(3);
	state = page_at(1, offs[3], m.seg->header.salt);
	memcpy(note.uuid, m.store.uuid, 16);
	note.salt = m.seg->header.salt;
	note.end = m.off;
	makelog_end(&m);
	makelog_flip(ONE, offs[3] + 1);
	make_page(&state, &note);
	found_init(&f, true);
	ck_assert_int_eq(f.st, KVLOG_OK);
	ck_assert(!f.r.warm);
	ck_assert_uint_ne(f.r.flags & KVLOG_RECOVERY_DAMAGE, 0);
	finish();
}
END_TEST

/* 0: a record before it was never published; 1: the page is of a third one. */
START_TEST(a_next_segment_that_the_page_cannot_mean_is_not_adopted)
{
	struct control_state state;

	begin();
	puts_to(2);
	state = page_at(1, _i == 0 ? offs[2] : m.off, m.seg->header.salt);
	if (_i == 1)
		state.active_salt++;
	makelog_begin(&m, 2);
	makelog_end(&m);
	make_page(&state, NULL);
	found_init(&f, true);
	expect_log(2, SEGMENT_DATA_OFF, 2, CRASH | SCANNED);
	ck_assert(!f.r.warm);
	finish();
}
END_TEST

/* Its link says nothing any more, and so nothing is known of segment 1. */
START_TEST(a_next_segment_without_a_link_is_not_adopted)
{
	struct control_state state;

	begin();
	puts_to(2);
	state = page_at(1, m.off, m.seg->header.salt);
	makelog_begin(&m, 2);
	makelog_end(&m);
	makelog_flip(TWO, LINK_OFF + 9);
	make_page(&state, NULL);
	found_init(&f, true);
	ck_assert_int_eq(f.st, KVLOG_OK);
	ck_assert(!f.r.warm);
	ck_assert_uint_eq(f.r.last_seq, 2);
	finish();
}
END_TEST

/* What cannot be read may be commits, and be readable tomorrow: no torn end
 * that a writer may cut off. */
START_TEST(an_end_that_cannot_be_read_is_left_to_the_user)
{
	static struct os_table table;
	const struct os_table *good = os;

	makelog_init(&m);
	m.size = 4 * 4096;
	makelog_begin(&m, 1);
	puts_to(50); /* the 45th reaches into the next block */
	makelog_end(&m);
	table = *os;
	table.pread = bad_pread;
	good_pread = os->pread;
	bad_from = 8192;
	os = &table;
	found_init(&f, _i == 1);
	os = good;
	if (_i == 1) {
		ck_assert_int_eq(f.st, KVLOG_IO);
		ck_assert_uint_eq(f.err.segment, 1);
		ck_assert_uint_eq(f.err.offset, offs[45]);
		ck_assert_ptr_nonnull(strstr(f.err.text, "read-only"));
	} else {
		expect_log(1, offs[45], 44, CRASH | DAMAGE | DEGRADED);
		expect_damage(1, 0);
	}
	finish();
}
END_TEST

START_TEST(a_poisoned_page_is_noticed)
{
	struct control_state state;

	begin();
	puts_to(3);
	state = page_at(1, offs[3], m.seg->header.salt);
	state.poison = 1;
	state.durable = 2;
	makelog_end(&m);
	make_page(&state, NULL);
	find();
	expect_log(1, m.off, 3, CRASH);
	ck_assert(f.r.poisoned);
	ck_assert(!f.r.warm);
	ck_assert_uint_eq(f.r.state.durable, 2);
	finish();
}
END_TEST

/* The end note. */

/* _i: whether it is of this store. */
START_TEST(a_log_that_ends_before_its_note_is_damaged)
{
	struct control_state state = {0};
	struct control_note note = {.segment = 1, .last_seq = 3};

	begin();
	puts_to(2);
	note.salt = m.seg->header.salt;
	note.end = m.off + LEN;
	memcpy(note.uuid, m.store.uuid, 16);
	note.uuid[5] ^= (uint8_t)(1 - _i);
	makelog_end(&m);
	make_page(&state, &note);
	makelog_fini(&m);
	simos_power_loss(SIMOS_LOSS_ALL, 1);
	simos_forget();
	makelog_init(&m);
	find();
	if (_i == 0) {
		expect_log(1, segment_end(found_last(&f)), 2, CRASH);
	} else {
		expect_log(1, segment_end(found_last(&f)), 2,
		    DAMAGE | DEGRADED | CRASH);
		ck_assert_uint_eq(f.r.lost_seq, 3);
		ck_assert_uint_eq(f.r.seq_seen, 3);
	}
	finish();
}
END_TEST

/* Numbers are high enough, but the note names another place: a file of a copy
 * of the store has taken the place of this one's.  _i: the first segment was
 * longer; it was another; the log had more segments; none of these. */
START_TEST(a_note_is_a_bound_in_place_too)
{
	struct control_state state = {0};
	struct control_note note = {.segment = 1};

	begin();
	puts_to(2);
	m.durable = 2;
	note.salt = m.seg->header.salt;
	note.end = m.off + (_i == 0 ? 8 : 0);
	note.last_seq = 2;
	if (_i == 1)
		note.salt ^= 1;
	if (_i == 2)
		note.segment = 3;
	makelog_begin_range(&m, 2, RECORD_RANGE);
	m.seq = RECORD_RANGE - 1;
	put();
	makelog_end(&m);
	memcpy(note.uuid, m.store.uuid, 16);
	make_page(&state, &note);
	find();
	MAKELOG_OK(f.st);
	ck_assert_int_eq((f.r.flags & DAMAGE) != 0, _i < 3);
	ck_assert_int_eq((f.r.flags & DEGRADED) != 0, _i < 3);
	finish();
}
END_TEST

START_TEST(a_note_attests_a_missing_segment)
{
	struct control_state state = {0};
	struct control_note note = {.segment = 2, .last_seq = 5};

	make_two(1);
	memcpy(note.uuid, m.store.uuid, 16);
	make_page(&state, &note);
	ck_assert_int_eq(os->unlink(m.dir.fd, TWO), 0);
	/* A writer would make another segment 2. */
	found_init(&f, true);
	ck_assert_int_eq(f.st, KVLOG_CORRUPT);
	ck_assert_uint_eq(f.err.segment, 2);
	found_fini(&f);
	/* No file stands behind the gap, so it is an end that came early. */
	found_init(&f, false);
	expect_log(1, offs[3] + (uint64_t)LEN, 3, DAMAGE | DEGRADED | CRASH);
	ck_assert_uint_eq(f.r.lost_seq, 5);
	ck_assert_uint_eq(f.r.missing, 2);
	finish();
}
END_TEST

/* Outputs: INV-5. */

static void
make_output(uint32_t first, uint32_t last, uint32_t round, unsigned part,
    unsigned parts, uint64_t set_id, const struct segment *last_input,
    uint64_t last_end)
{
	struct segment_header header = {
	    .store = m.store,
	    .kind = SEGMENT_OUTPUT,
	    .id = {first, last, round, (uint16_t)part, (uint16_t)parts},
	    .size = MAKELOG_SIZE,
	    .end = SEGMENT_DATA_OFF + LEN,
	    .set_id = set_id,
	    .last_salt = last_input->header.salt,
	    .last_end = last_end,
	    .last_seq = 4,
	};
	char name[DIR_NAME_LEN];
	struct makelog out = m;

	out.seg = NULL;
	out.seq = 3;
	out.link = (struct segment_link){.first_seq = 1, .durable = true};
	dir_make_name(name, &header.id, "seg");
	makelog_begin_as(&out, &header, name);
	(void)makelog_put(&out, part == 1 ? "k1" : "k2", VALUE);
	makelog_end(&out);
}

/* Segments 1, 2 and 3 with two commits each; outputs stand for 1 and 2. */
static void
make_three(void (*outputs)(const struct segment *two, uint64_t end))
{
	begin();
	puts_to(2);
	m.durable = 2;
	makelog_begin(&m, 2);
	puts_to(4);
	m.durable = 4;
	outputs(m.seg, m.off);
	makelog_begin(&m, 3);
	puts_to(6);
	makelog_end(&m);
}

static void
one_output(const struct segment *two, uint64_t end)
{
	make_output(1, 2, 3, 1, 1, 9, two, end);
}

START_TEST(a_wider_output_beats_its_inputs)
{
	make_three(one_output);
	find();
	expect_log(2, m.off, 6, CRASH | SCANNED);
	ck_assert_int_eq(f.set->segments[0]->header.kind, SEGMENT_OUTPUT);
	ck_assert_uint_eq(f.r.max_round, 3);
	found_fini(&f);
	/* So it does when they are gone, and damage in them is of no
	 * interest. */
	makelog_flip(ONE, offs[1]);
	find();
	expect_log(2, m.off, 6, CRASH | SCANNED);
	found_fini(&f);
	ck_assert_int_eq(os->unlink(m.dir.fd, ONE), 0);
	ck_assert_int_eq(os->unlink(m.dir.fd, TWO), 0);
	find();
	expect_log(2, m.off, 6, CRASH | SCANNED);
	finish();
}
END_TEST

/* That it is there says that what it stands for was durable. */
START_TEST(an_output_attests_its_inputs)
{
	begin();
	puts_to(2);
	makelog_begin(&m, 2);
	puts_to(4);
	one_output(m.seg, m.off);
	makelog_begin(&m, 3);
	puts_to(6);
	makelog_end(&m);
	find();
	expect_log(2, m.off, 6, CRASH | SCANNED);
	ck_assert_uint_eq(f.r.attested, 4);
	finish();
}
END_TEST

static void
two_parts(const struct segment *two, uint64_t end)
{
	make_output(1, 2, 3, 1, 2, 9, two, end);
	make_output(1, 2, 3, 2, 2, 9, two, end);
}

START_TEST(a_complete_set_of_parts_counts)
{
	make_three(two_parts);
	find();
	expect_log(3, m.off, 6, CRASH | SCANNED);
	ck_assert_uint_eq(f.set->segments[1]->header.id.part, 2);
	found_fini(&f);
	/* The link of the second part is at no seam, but damage all the same.
	 */
	makelog_flip("00000001-00000002.r3.2of2.seg", LINK_OFF + 9);
	find();
	expect_log(3, m.off, 6, CRASH | SCANNED | DAMAGE);
	expect_damage(1, LINK_LEN);
	found_fini(&f);
	/* Without the second part the inputs do. */
	ck_assert_int_eq(
	    os->unlink(m.dir.fd, "00000001-00000002.r3.2of2.seg"), 0);
	find();
	expect_log(3, m.off, 6, CRASH | SCANNED);
	ck_assert_int_eq(f.set->segments[0]->header.kind, SEGMENT_PLAIN);
	finish();
}
END_TEST

static void
mixed_parts(const struct segment *two, uint64_t end)
{
	make_output(1, 2, 3, 1, 2, 9, two, end);
	make_output(1, 2, 3, 2, 2, 10, two, end);
}

START_TEST(parts_of_two_sets_are_none)
{
	make_three(mixed_parts);
	find();
	expect_log(3, m.off, 6, CRASH | SCANNED);
	ck_assert_int_eq(f.set->segments[0]->header.kind, SEGMENT_PLAIN);
	ck_assert_uint_eq(f.r.max_round, 3); /* never used again */
	finish();
}
END_TEST

START_TEST(a_part_that_cannot_be_read_makes_its_set_incomplete)
{
	const char *part = "00000001-00000002.r3.2of2.seg";

	make_three(two_parts);
	makelog_flip(part, 20);
	makelog_flip(part, 4096 + 20);
	find();
	expect_log(3, m.off, 6, CRASH | SCANNED);
	ck_assert_int_eq(f.set->segments[0]->header.kind, SEGMENT_PLAIN);
	finish();
}
END_TEST

START_TEST(damage_in_an_output_is_a_known_range)
{
	const char *name = "00000001-00000002.r3.1of1.seg";

	make_three(one_output);
	makelog_flip(name, SEGMENT_DATA_OFF);
	find();
	expect_log(2, m.off, 6, DAMAGE | DEGRADED | CRASH | SCANNED);
	expect_damage(1, LEN);
	ck_assert_uint_eq(f.set->segments[0]->bad_count, 1);
	finish();
}
END_TEST

/* Cut exactly before its first record it was taken for one without records. */
START_TEST(an_output_that_has_lost_its_records_is_damaged)
{
	const char *name = "00000001-00000002.r3.1of1.seg";
	int fd;

	make_three(one_output);
	ck_assert_int_eq(os->open(m.dir.fd, name, OS_OPEN_WRITE, 0, &fd), 0);
	ck_assert_int_eq(os->truncate(fd, SEGMENT_DATA_OFF), 0);
	os->close(fd);
	find();
	ck_assert_int_eq(f.st, KVLOG_OK);
	ck_assert_uint_eq(f.r.flags & (DAMAGE | DEGRADED), DAMAGE | DEGRADED);
	ck_assert_uint_eq(f.set->segments[0]->bad_count, 1);
	finish();
}
END_TEST

/* Hints. */

START_TEST(a_segment_with_its_hint_is_not_read)
{
	struct hint *hint;

	make_two(1);
	find();
	ck_assert_uint_eq(f.r.scanned, 1);
	ck_assert_uint_eq(f.r.attested, 1);
	MAKELOG_OK(hint_build(&(struct hint_source){.seg = f.set->segments[0],
				  .from = SEGMENT_DATA_OFF,
				  .to = segment_end(f.set->segments[0])},
	    1, UINT64_MAX, &hint, NULL));
	MAKELOG_OK(hint_write(hint, &f.dir, NULL));
	hint_unref(hint);
	found_fini(&f);
	find();
	expect_log(2, m.off, 5, CRASH);
	ck_assert_uint_eq(f.r.scanned, 0);
	ck_assert_uint_eq(
	    f.set->segments[0]->hinted_to, segment_end(f.set->segments[0]));
	/* It attests all that it covers. */
	ck_assert_uint_eq(f.r.attested, 3);
	found_fini(&f);
	/* One that nobody can know is as if it were not there. */
	makelog_flip("00000001.hint", 50);
	find();
	expect_log(2, m.off, 5, CRASH | SCANNED);
	finish();
}
END_TEST

/* Words. */

START_TEST(what_was_found_is_said)
{
	char text[160];
	const struct {
		struct recovery r;
		const char *text;
	} cases[] = {
	    {{.flags = 0}, "none needed"},
	    {{.flags = SCANNED, .scanned = 1},
		"read 1 segment without a hint file"},
	    {{.flags = SCANNED, .scanned = 2},
		"read 2 segments without a hint file"},
	    {{.flags = CRASH}, "nothing had to be cut off"},
	    {{.flags = CRASH | TORN, .torn_bytes = 42},
		"cut off a torn end of 42 bytes"},
	    {{.flags = CRASH | TORN, .torn_bytes = 42, .discarded = 1},
		"42 bytes and the segments behind it"},
	    {{.flags = DAMAGE, .damaged_ranges = 1, .damaged_bytes = 80},
		"damage found in 1 place, first in segment 0 at offset 0"},
	    {{.flags = DAMAGE | DEGRADED, .damaged_ranges = 2},
		"what stood behind it is missing"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		recover_describe(&cases[i].r, text, sizeof text);
		ck_assert_msg(
		    strstr(text, cases[i].text) != NULL, "\"%s\"", text);
	}
}
END_TEST

/* Each allocation of a writer's look fails once: it is said, unless all that
 * it cost was time; nothing leaks. */
START_TEST(want_of_memory_is_said)
{
	unsigned said = 0;
	bool struck = true;

	make_two(3);
	makelog_flip(ONE, offs[2]);
	for (uint64_t nth = 1; struck; nth++) {
		uint64_t before;

		memset(&f, 0, sizeof f);
		MAKELOG_OK(dir_open(&f.dir, MAKELOG_STORE, 0644, NULL));
		MAKELOG_OK(control_open(&f.control, &f.dir, true, NULL));
		makelog_lock(&f.control, &f.dir);
		f.set = segset_create();
		MAKELOG_OK(hintset_init(&f.hints, f.set, NULL));
		before = simos_count(SIMOS_MALLOC);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		f.st = recover_find(&f.dir, &f.control, &f.hints, &f.r, &f.err);
		simos_fail_clear();
		struck = simos_count(SIMOS_MALLOC) - before >= nth;
		if (struck && f.st != KVLOG_OK) {
			ck_assert_int_eq(f.st, KVLOG_NOMEM);
			ck_assert_int_eq(f.err.status, KVLOG_NOMEM);
			said++;
		} else {
			expect_log(
			    2, m.off, 5, DAMAGE | DEGRADED | CRASH | SCANNED);
		}
		found_fini(&f);
		ck_assert_uint_eq(simos_leaks(NULL), 2); /* of m.dir */
	}
	ck_assert_uint_gt(said, 5);
	makelog_fini(&m);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("recover");
	TCase *tc = makelog_case(suite, "verdict");

	tcase_add_test(tc, a_whole_log_ends_where_its_records_end);
	tcase_add_test(tc, a_clean_end_is_no_crash);
	tcase_add_test(tc, unattested_bad_bytes_are_the_torn_end);
	tcase_add_test(tc, attested_bad_bytes_are_damage_and_the_log_goes_on);
	tcase_add_test(tc, partly_attested_bad_bytes_are_damage_and_the_end);
	tcase_add_test(
	    tc, bad_bytes_to_the_end_are_damage_if_a_mark_attests_them);
	tcase_add_test(tc, missing_numbers_are_judged_like_bad_bytes);
	tcase_add_loop_test(
	    tc, a_commit_that_is_not_whole_is_torn_or_damaged, 0, 2);
	tcase_add_loop_test(tc, the_middle_of_a_commit_is_not_all_of_it, 0, 2);
	tcase_add_test(tc, half_a_batch_at_the_end_is_cut_off_at_its_beginning);
	tcase_add_loop_test(tc, a_damaged_value_is_torn_or_damaged, 0, 2);

	tc = makelog_case(suite, "segments");
	tcase_add_test(tc, links_seal_their_predecessors);
	tcase_add_loop_test(
	    tc, bad_bytes_before_a_link_are_judged_by_the_link, 1, 4);
	tcase_add_loop_test(
	    tc, a_link_that_goes_further_is_judged_like_bad_bytes, 2, 5);
	tcase_add_test(tc, zeros_below_the_end_of_a_sealed_segment_are_bad);
	tcase_add_test(tc, a_sealed_file_cut_short_is_damage);
	tcase_add_test(tc, what_a_link_has_cut_off_stays_cut_off);
	tcase_add_test(tc, an_empty_range_keeps_its_number);
	tcase_add_loop_test(
	    tc, a_missing_segment_is_an_error_only_if_it_was_durable, 0, 2);
	tcase_add_test(tc, without_segment_1_nothing_is_guessed);
	tcase_add_test(tc, an_empty_directory_is_no_store);
	tcase_add_loop_test(tc, a_damaged_link_alone_loses_nothing, 0, 2);
	tcase_add_test(tc, a_damaged_link_of_segment_1_loses_nothing);
	tcase_add_test(tc, a_damaged_link_and_damage_before_it_are_both_found);
	tcase_add_loop_test(tc, several_bad_places_are_judged_as_one, 0, 3);
	tcase_add_test(tc, a_link_to_another_salt_is_refused);
	tcase_add_test(tc, a_segment_of_another_store_is_refused);
	tcase_add_test(tc, the_copy_of_a_header_serves);
	tcase_add_test(tc, a_newer_format_is_refused);
	tcase_add_test(tc, a_newer_record_is_refused);
	tcase_add_test(tc, a_renamed_segment_is_refused);
	tcase_add_loop_test(
	    tc, a_header_in_a_wrong_place_is_not_believed, 0, 2);

	tc = makelog_case(suite, "page");
	tcase_add_test(tc, a_page_behind_the_end_note_is_stale);
	tcase_add_test(tc, a_warm_page_says_where_the_log_ends);
	tcase_add_loop_test(tc, a_page_that_the_log_has_outrun_is_stale, 0, 5);
	tcase_add_loop_test(tc, a_warm_page_attests_a_missing_segment, 0, 2);
	tcase_add_test(tc, a_warm_page_with_an_intent_ends_the_segment);
	tcase_add_test(tc, bad_bytes_below_a_warm_position_are_damage);
	tcase_add_test(tc, commits_lost_below_a_warm_position_are_counted);
	tcase_add_loop_test(
	    tc, a_damaged_link_before_a_mark_loses_nothing, 0, 2);
	tcase_add_test(tc, a_page_of_another_boot_is_stale);
	tcase_add_test(tc, a_note_of_later_is_not_held_against_a_reader);
	tcase_add_test(tc, beside_a_writer_there_was_no_crash);
	tcase_add_loop_test(
	    tc, a_page_that_does_not_fit_the_files_is_stale, 0, 6);
	tcase_add_loop_test(
	    tc, a_segment_named_but_not_published_is_adopted, 0, 2);
	tcase_add_loop_test(
	    tc, a_next_segment_that_the_page_cannot_mean_is_not_adopted, 0, 2);
	tcase_add_test(tc, a_next_segment_without_a_link_is_not_adopted);
	tcase_add_loop_test(
	    tc, an_end_that_cannot_be_read_is_left_to_the_user, 0, 2);
	tcase_add_test(tc, a_poisoned_page_is_noticed);
	tcase_add_loop_test(
	    tc, a_log_that_ends_before_its_note_is_damaged, 0, 2);
	tcase_add_loop_test(tc, a_note_is_a_bound_in_place_too, 0, 4);
	tcase_add_test(tc, a_note_attests_a_missing_segment);

	tc = makelog_case(suite, "outputs and hints");
	tcase_add_test(tc, a_wider_output_beats_its_inputs);
	tcase_add_test(tc, an_output_attests_its_inputs);
	tcase_add_test(tc, a_complete_set_of_parts_counts);
	tcase_add_test(tc, parts_of_two_sets_are_none);
	tcase_add_test(tc, a_part_that_cannot_be_read_makes_its_set_incomplete);
	tcase_add_test(tc, damage_in_an_output_is_a_known_range);
	tcase_add_test(tc, an_output_that_has_lost_its_records_is_damaged);
	tcase_add_test(tc, a_segment_with_its_hint_is_not_read);
	tcase_add_test(tc, what_was_found_is_said);
	tcase_add_test(tc, want_of_memory_is_said);
	return test_main(suite);
}
