/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_survey.c - how a segment file is cut into pieces, whatever stands in
 * it.
 */
#include "config.h"

#include "makelog.h"
#include "survey.h"

#include <errno.h>

#define ONE "00000001.seg"
#define VALUE 50u /* with a key of 2 bytes: a record of 80, no padding */
#define LEN 80u
#define HEAD 30u /* header and key */

static struct makelog m;
static struct survey sv;
static struct kvlog_error err;

static void
begin(void)
{
	makelog_init(&m);
	makelog_begin(&m, 1);
}

static enum kvlog_status
survey_file(
    const char *name, const struct file_id *id, uint64_t limit, bool exact)
{
	struct segment *seg;
	enum kvlog_status st;

	MAKELOG_OK(segment_open(&m.dir, name, id, &seg, NULL));
	memset(&sv, 0, sizeof sv);
	st = seg->header.kind == SEGMENT_PLAIN
		 ? survey_plain(&sv, seg, SEGMENT_DATA_OFF, limit, exact, &err)
		 : survey_output(&sv, seg, &err);
	segment_close(seg);
	return st;
}

/* The segment that was begun, up to limit. */
static void
survey_one(uint64_t limit, bool exact)
{
	const struct file_id id = {1, 1, 0, 1, 1};

	MAKELOG_OK(survey_file(ONE, &id, limit, exact));
	ck_assert(sv.done);
}

static void
finish(void)
{
	survey_fini(&sv);
	ck_assert_ptr_null(sv.pieces);
	makelog_fini(&m);
}

static void
expect(size_t i, enum piece_kind kind, uint64_t from, uint64_t to,
    uint64_t first_seq, uint64_t last_seq)
{
	const struct piece *p = &sv.pieces[i];

	ck_assert_uint_lt(i, sv.count);
	ck_assert_int_eq(p->kind, kind);
	ck_assert_uint_eq(p->from, from);
	ck_assert_uint_eq(p->to, to);
	ck_assert_uint_eq(p->first_seq, first_seq);
	ck_assert_uint_eq(p->last_seq, last_seq);
	if (kind == PIECE_FRAGMENT)
		ck_assert(p->headless || p->endless);
	else
		ck_assert(!p->headless && !p->endless);
}

START_TEST(runs_of_commits_and_marks_merge)
{
	begin();
	(void)makelog_mark(&m, false);
	(void)makelog_put(&m, "k1", 10);
	(void)makelog_batch(&m, 3, 0);
	(void)makelog_mark(&m, false);
	(void)makelog_delete(&m, "k1");
	(void)makelog_put(&m, "k2", 100);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, m.off, 1, 4);
	ck_assert_uint_eq(sv.end, m.off);
	ck_assert_uint_eq(sv.seq_seen, 4);
	ck_assert(!sv.clean_mark);
	finish();
}
END_TEST

START_TEST(an_empty_segment_has_no_pieces)
{
	begin();
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 0);
	ck_assert_uint_eq(sv.end, SEGMENT_DATA_OFF);
	ck_assert_uint_eq(sv.seq_seen, 0);
	survey_fini(&sv);
	survey_one(SEGMENT_DATA_OFF, true);
	ck_assert_uint_eq(sv.count, 0);
	finish();
}
END_TEST

START_TEST(marks_alone_are_a_run_without_numbers)
{
	begin();
	m.seq = m.durable = 7;
	(void)makelog_mark(&m, false);
	(void)makelog_mark(&m, true);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, m.off, 0, 0);
	ck_assert(sv.clean_mark);
	ck_assert_uint_eq(sv.attested, 7);
	ck_assert_uint_eq(sv.seq_seen, 7);
	finish();
}
END_TEST

START_TEST(only_a_clean_mark_at_the_end_is_clean)
{
	begin();
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_mark(&m, true);
	(void)makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert(!sv.clean_mark);
	ck_assert_uint_eq(sv.count, 1);
	finish();
}
END_TEST

START_TEST(a_gap_in_the_numbers_parts_runs)
{
	uint64_t third, fourth;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	m.seq = 4;
	third = makelog_put(&m, "k3", VALUE);
	m.seq = 2;
	fourth = makelog_put(&m, "k4", VALUE);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 3);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, third, 1, 2);
	expect(1, PIECE_RUN, third, fourth, 5, 5);
	expect(2, PIECE_RUN, fourth, m.off, 3, 3);
	ck_assert_uint_eq(sv.seq_seen, 5);
	finish();
}
END_TEST

/* Zeros from each multiple of 8 on: what is left of a commit of 3 records
 * behind one of 1. */
START_TEST(a_batch_cut_anywhere_is_a_fragment)
{
	static const uint8_t zeros[LEN * 3];
	uint64_t batch;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	batch = makelog_batch(&m, 3, VALUE);
	ck_assert_uint_eq(m.off, batch + 3 * LEN);
	makelog_end(&m);
	for (uint64_t cut = 3 * LEN - 8;; cut -= 8) {
		uint64_t whole = cut / LEN, rest = cut % LEN;
		uint64_t to;
		size_t n = 1;

		/* A header that is whole counts, its value merely fails. */
		if (rest >= HEAD)
			whole++;
		to = batch + whole * LEN;
		makelog_poke(ONE, batch + cut, zeros, 8);
		survey_one(MAKELOG_SIZE, false);
		expect(0, PIECE_RUN, SEGMENT_DATA_OFF, batch, 1, 1);
		if (whole == 3) {
			expect(n++, PIECE_SOFT, batch, to, 2, 2);
		} else if (whole > 0) {
			expect(n, PIECE_FRAGMENT, batch, to, 2, 2);
			ck_assert(sv.pieces[n].endless);
			ck_assert(!sv.pieces[n++].headless);
		}
		if (rest > 0 && rest < HEAD)
			expect(n++, PIECE_BAD, to, MAKELOG_SIZE, 0, 0);
		ck_assert_uint_eq(sv.count, n);
		ck_assert_uint_eq(sv.end, to);
		survey_fini(&sv);
		if (cut == 0)
			break;
	}
	finish();
}
END_TEST

/* _i: which of the three records has a damaged header. */
START_TEST(damage_in_a_batch_leaves_fragments)
{
	uint64_t batch, bad, after;
	size_t n = 0;

	begin();
	batch = makelog_batch(&m, 3, VALUE);
	bad = batch + (uint64_t)_i * LEN;
	after = makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	makelog_flip(ONE, bad + 16);
	survey_one(MAKELOG_SIZE, false);
	if (_i > 0) {
		expect(n, PIECE_FRAGMENT, batch, bad, 1, 1);
		ck_assert(!sv.pieces[n++].headless);
	}
	expect(n++, PIECE_BAD, bad, bad + LEN, 0, 0);
	if (_i < 2) {
		expect(n, PIECE_FRAGMENT, bad + LEN, after, 1, 1);
		ck_assert(!sv.pieces[n].endless);
		ck_assert(sv.pieces[n++].headless);
	}
	expect(n++, PIECE_RUN, after, m.off, 2, 2);
	ck_assert_uint_eq(sv.count, n);
	finish();
}
END_TEST

START_TEST(a_commit_that_ends_early_is_a_fragment)
{
	struct record rec;
	uint64_t second;

	begin();
	m.seq = 1;
	rec = makelog_record(&m, RECORD_PUT, "k1", VALUE, RECORD_MORE);
	(void)makelog_add(&m, &rec);
	/* Of another commit, although it continues one. */
	m.seq = 2;
	rec = makelog_record(&m, RECORD_PUT, "k2", VALUE, RECORD_CONT);
	second = makelog_add(&m, &rec);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 2);
	expect(0, PIECE_FRAGMENT, SEGMENT_DATA_OFF, second, 1, 1);
	ck_assert(!sv.pieces[0].headless);
	expect(1, PIECE_FRAGMENT, second, m.off, 2, 2);
	ck_assert(sv.pieces[1].headless);
	finish();
}
END_TEST

/* _i: of a single put, or of one record of a batch. */
START_TEST(a_damaged_value_makes_a_soft_piece)
{
	uint64_t hit, after;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	hit = _i == 0 ? makelog_put(&m, "k2", VALUE)
		      : makelog_batch(&m, 3, VALUE);
	after = makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	makelog_flip(ONE, hit + (_i == 0 ? 0 : LEN) + HEAD + 5);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 3);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, hit, 1, 1);
	expect(1, PIECE_SOFT, hit, after, 2, 2);
	expect(2, PIECE_RUN, after, m.off, 3, 3);
	finish();
}
END_TEST

/* Also the sum of a long value, longer than what is read at once. */
START_TEST(the_last_byte_of_a_long_value_counts)
{
	static uint8_t value[600000];
	struct record rec;
	uint64_t off;

	makelog_init(&m);
	m.size = 1 << 20;
	makelog_begin(&m, 1);
	memset(value, 'v', sizeof value);
	m.seq = 1;
	rec = makelog_record(&m, RECORD_PUT, "k1", 0, 0);
	rec.value = value;
	rec.value_len = sizeof value;
	off = makelog_add(&m, &rec);
	(void)makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	survey_one(m.size, false);
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_RUN, off, m.off, 1, 2);
	survey_fini(&sv);
	makelog_flip(ONE, off + HEAD + sizeof value - 1);
	survey_one(m.size, false);
	ck_assert_uint_eq(sv.count, 2);
	ck_assert_int_eq(sv.pieces[0].kind, PIECE_SOFT);
	finish();
}
END_TEST

START_TEST(bad_bytes_end_at_the_next_valid_record)
{
	uint64_t second, third;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	second = makelog_put(&m, "k2", VALUE);
	third = makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	makelog_flip(ONE, second); /* its header's sum */
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 3);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, second, 1, 1);
	expect(1, PIECE_BAD, second, third, 0, 0);
	expect(2, PIECE_RUN, third, m.off, 3, 3);
	survey_fini(&sv);
	/* With nothing valid behind them, they reach up to the limit. */
	makelog_flip(ONE, third + HEAD - 1); /* its key */
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, second, MAKELOG_SIZE, 0, 0);
	ck_assert_uint_eq(sv.end, second);
	ck_assert_uint_eq(sv.seq_seen, 1);
	finish();
}
END_TEST

/* A record of another place does not pass, nor one of another segment. */
START_TEST(moved_records_are_bad_bytes)
{
	const uint8_t *bytes;
	uint8_t copy[LEN];
	uint64_t first, size;

	begin();
	first = makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	ck_assert(simos_peek(makelog_path(ONE), &bytes, &size));
	memcpy(copy, bytes + first, LEN);
	makelog_poke(ONE, first + LEN, copy, LEN);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, first + LEN, MAKELOG_SIZE, 0, 0);
	finish();
}
END_TEST

START_TEST(zeros_before_something_are_bad_bytes)
{
	uint64_t end, behind;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	end = m.off;
	m.off += 64;
	behind = makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 3);
	expect(1, PIECE_BAD, end, behind, 0, 0);
	expect(2, PIECE_RUN, behind, m.off, 2, 2);
	survey_fini(&sv);
	makelog_flip(ONE, behind + 9); /* flags: no record any more */
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, end, MAKELOG_SIZE, 0, 0);
	survey_fini(&sv);
	finish();
}
END_TEST

START_TEST(a_single_byte_at_the_end_of_the_file_is_seen)
{
	begin();
	(void)makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	makelog_flip(ONE, MAKELOG_SIZE - 1);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, m.off, MAKELOG_SIZE, 0, 0);
	finish();
}
END_TEST

START_TEST(zeros_below_an_exact_limit_are_bad)
{
	uint64_t limit;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	limit = m.off + 160;
	survey_one(limit, false);
	ck_assert_uint_eq(sv.count, 1);
	survey_fini(&sv);
	survey_one(limit, true);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, m.off, limit, 0, 0);
	survey_fini(&sv);
	survey_one(m.off, true);
	ck_assert_uint_eq(sv.count, 1);
	finish();
}
END_TEST

/* Leftovers of an unclean end lie there, sealed off by a link. */
START_TEST(nothing_is_read_behind_the_limit)
{
	uint64_t second;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	second = makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	survey_one(second, true);
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, second, 1, 1);
	ck_assert_uint_eq(sv.seq_seen, 1);
	survey_fini(&sv);
	/* A record that the limit cuts is bad. */
	survey_one(second + 40, true);
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, second, second + 40, 0, 0);
	finish();
}
END_TEST

START_TEST(lags_and_marks_attest)
{
	struct record rec;

	begin();
	m.durable = 0;
	(void)makelog_put(&m, "k1", VALUE);
	(void)makelog_put(&m, "k2", VALUE);
	(void)makelog_put(&m, "k3", VALUE);
	makelog_sync(&m);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.attested, 0);
	survey_fini(&sv);
	m.durable = 2;
	(void)makelog_put(&m, "k4", VALUE);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.attested, 2);
	survey_fini(&sv);
	/* A saturated lag attests nothing. */
	rec = makelog_record(&m, RECORD_PUT, "k5", VALUE, 0);
	rec.seq = m.seq = 5;
	rec.lag = RECORD_LAG_MAX;
	(void)makelog_add(&m, &rec);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.attested, 2);
	survey_fini(&sv);
	m.durable = 5;
	(void)makelog_mark(&m, false);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.attested, 5);
	ck_assert_uint_eq(sv.seq_seen, 5);
	survey_fini(&sv);
	/* Before a new range began everything was made durable. */
	rec.seq = m.seq = RECORD_RANGE + 3;
	(void)makelog_add(&m, &rec);
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.attested, RECORD_RANGE - 1);
	ck_assert_uint_eq(sv.seq_seen, RECORD_RANGE + 3);
	finish();
}
END_TEST

/* _i: 6 is a type that only a newer version knows; from 0x80 on types may be
 * ignored. */
START_TEST(unknown_types_are_refused_or_skipped)
{
	const struct file_id id = {1, 1, 0, 1, 1};
	struct record rec;
	uint64_t at;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	m.seq = 2;
	rec = makelog_record(
	    &m, _i == 0 ? 6 : RECORD_TYPE_IGNORE, "k2", VALUE, 0);
	at = makelog_add(&m, &rec);
	(void)makelog_put(&m, "k3", VALUE);
	makelog_end(&m);
	if (_i == 0) {
		ck_assert_int_eq(
		    survey_file(ONE, &id, MAKELOG_SIZE, false), KVLOG_VERSION);
		ck_assert_uint_eq(err.offset, at);
		ck_assert_uint_eq(err.segment, 1);
		ck_assert_ptr_nonnull(strstr(err.text, "newer"));
	} else {
		survey_one(MAKELOG_SIZE, false);
		ck_assert_uint_eq(sv.count, 1);
		expect(0, PIECE_RUN, SEGMENT_DATA_OFF, m.off, 1, 3);
	}
	finish();
}
END_TEST

/* _i: bytes of the last record that the file still has. */
START_TEST(a_file_cut_short_is_bad_where_records_were)
{
	uint64_t second, keep;
	int fd;

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	second = makelog_put(&m, "k2", VALUE);
	makelog_end(&m);
	keep = second + (uint64_t)_i;
	ck_assert_int_eq(os->open(m.dir.fd, ONE, OS_OPEN_WRITE, 0, &fd), 0);
	ck_assert_int_eq(os->truncate(fd, keep), 0);
	ck_assert_int_eq(os->close(fd), 0);
	survey_one(m.off, true);
	ck_assert_uint_eq(sv.count, 2);
	expect(0, PIECE_RUN, SEGMENT_DATA_OFF, second, 1, 1);
	expect(1, PIECE_BAD, second, m.off, 0, 0);
	survey_fini(&sv);
	/* What is not a whole multiple of 8 is not looked at. */
	survey_one(MAKELOG_SIZE, false);
	ck_assert_uint_eq(sv.count, _i < 8 ? 1 : 2);
	finish();
}
END_TEST

static const enum segment_kind kinds[] = {SEGMENT_OUTPUT, SEGMENT_VERBATIM};

/* _i: kinds of outputs. */
START_TEST(only_bad_bytes_of_outputs_are_pieces)
{
	const struct file_id id = {1, 3, 1, 1, 1};
	const char *name = "00000001-00000003.r1.1of1.seg";
	struct segment_header header = {
	    .kind = kinds[_i],
	    .id = id,
	    .size = MAKELOG_SIZE,
	    .end = SEGMENT_DATA_OFF + 5 * LEN,
	    .last_salt = 77,
	    .last_end = 5000,
	    .last_seq = 9,
	    .set_id = 5,
	};
	static const uint8_t zeros[2 * LEN];
	uint64_t offs[5];

	makelog_init(&m);
	header.store = m.store;
	m.link = (struct segment_link){.first_seq = 1, .durable = true};
	makelog_begin_as(&m, &header, name);
	for (unsigned i = 0; i < 5; i++) {
		m.seq = 9 - 2 * i; /* in any order */
		offs[i] = makelog_put(&m, "kk", VALUE);
	}
	makelog_end(&m);
	MAKELOG_OK(survey_file(name, &id, 0, false));
	ck_assert(sv.done);
	ck_assert_uint_eq(sv.count, 0);
	ck_assert_uint_eq(sv.end, header.end);

	makelog_flip(name, offs[0] + HEAD); /* a value: its key is known */
	makelog_flip(name, offs[1]);
	MAKELOG_OK(survey_file(name, &id, 0, false));
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_BAD, offs[1], offs[2], 0, 0);
	survey_fini(&sv);

	makelog_poke(name, offs[3], zeros, sizeof zeros);
	MAKELOG_OK(survey_file(name, &id, 0, false));
	ck_assert_uint_eq(sv.count, 2);
	expect(1, PIECE_BAD, offs[3], header.end, 0, 0);
	finish();
}
END_TEST

START_TEST(unknown_types_in_outputs_are_refused)
{
	const struct file_id id = {1, 1, 1, 1, 1};
	const char *name = "00000001-00000001.r1.1of1.seg";
	struct segment_header header = {
	    .kind = SEGMENT_OUTPUT,
	    .id = id,
	    .size = MAKELOG_SIZE,
	    .end = SEGMENT_DATA_OFF + LEN,
	    .set_id = 5,
	};
	struct record rec;

	makelog_init(&m);
	header.store = m.store;
	makelog_begin_as(&m, &header, name);
	rec = makelog_record(&m, 9, "k2", VALUE, 0);
	(void)makelog_add(&m, &rec);
	makelog_end(&m);
	ck_assert_int_eq(survey_file(name, &id, 0, false), KVLOG_VERSION);
	finish();
}
END_TEST

/* _i: of a plain segment, or of an output. */
START_TEST(want_of_memory_is_said)
{
	struct segment *seg;
	const struct file_id id = {1, 1, 0, 1, 1};
	uint64_t off = 0;

	begin();
	for (unsigned i = 0; i < 20; i++) {
		off = makelog_put(&m, "kk", VALUE);
		m.seq++; /* each a piece of its own */
	}
	makelog_end(&m);
	MAKELOG_OK(segment_open(&m.dir, ONE, &id, &seg, NULL));
	for (uint64_t nth = 1; nth <= 4; nth++) {
		enum kvlog_status st;

		memset(&sv, 0, sizeof sv);
		simos_fail(SIMOS_MALLOC, nth, ENOMEM, false);
		st = survey_plain(
		    &sv, seg, SEGMENT_DATA_OFF, MAKELOG_SIZE, false, &err);
		/* The window, and three arrays of pieces. */
		ck_assert_int_eq(st, KVLOG_NOMEM);
		ck_assert_int_eq(err.status, KVLOG_NOMEM);
		survey_fini(&sv);
		simos_fail_clear();
	}
	MAKELOG_OK(survey_plain(
	    &sv, seg, SEGMENT_DATA_OFF, MAKELOG_SIZE, false, &err));
	ck_assert_uint_eq(sv.count, 20);
	expect(19, PIECE_RUN, off, m.off, 39, 39);
	segment_close(seg);
	finish();
}
END_TEST

START_TEST(unreadable_media_are_bad_bytes)
{
	struct segment *seg;
	const struct file_id id = {1, 1, 0, 1, 1};

	begin();
	(void)makelog_put(&m, "k1", VALUE);
	makelog_end(&m);
	MAKELOG_OK(segment_open(&m.dir, ONE, &id, &seg, NULL));
	/* Once: what is then read block by block is all there. */
	simos_fail(SIMOS_PREAD, 1, EIO, false);
	MAKELOG_OK(survey_plain(
	    &sv, seg, SEGMENT_DATA_OFF, MAKELOG_SIZE, false, &err));
	simos_fail_clear();
	ck_assert_uint_eq(sv.count, 1);
	survey_fini(&sv);
	simos_fail(SIMOS_PREAD, 1, EIO, true);
	MAKELOG_OK(survey_plain(
	    &sv, seg, SEGMENT_DATA_OFF, MAKELOG_SIZE, false, &err));
	simos_fail_clear();
	ck_assert_uint_eq(sv.count, 1);
	expect(0, PIECE_BAD, SEGMENT_DATA_OFF, MAKELOG_SIZE, 0, 0);
	segment_close(seg);
	finish();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("survey");
	TCase *tc = makelog_case(suite, "survey");

	tcase_add_test(tc, runs_of_commits_and_marks_merge);
	tcase_add_test(tc, an_empty_segment_has_no_pieces);
	tcase_add_test(tc, marks_alone_are_a_run_without_numbers);
	tcase_add_test(tc, only_a_clean_mark_at_the_end_is_clean);
	tcase_add_test(tc, a_gap_in_the_numbers_parts_runs);
	tcase_add_test(tc, a_batch_cut_anywhere_is_a_fragment);
	tcase_add_loop_test(tc, damage_in_a_batch_leaves_fragments, 0, 3);
	tcase_add_test(tc, a_commit_that_ends_early_is_a_fragment);
	tcase_add_loop_test(tc, a_damaged_value_makes_a_soft_piece, 0, 2);
	tcase_add_test(tc, the_last_byte_of_a_long_value_counts);
	tcase_add_test(tc, bad_bytes_end_at_the_next_valid_record);
	tcase_add_test(tc, moved_records_are_bad_bytes);
	tcase_add_test(tc, zeros_before_something_are_bad_bytes);
	tcase_add_test(tc, a_single_byte_at_the_end_of_the_file_is_seen);
	tcase_add_test(tc, zeros_below_an_exact_limit_are_bad);
	tcase_add_test(tc, nothing_is_read_behind_the_limit);
	tcase_add_test(tc, lags_and_marks_attest);
	tcase_add_loop_test(tc, unknown_types_are_refused_or_skipped, 0, 2);
	tcase_add_loop_test(
	    tc, a_file_cut_short_is_bad_where_records_were, 0, 80);
	tcase_add_loop_test(tc, only_bad_bytes_of_outputs_are_pieces, 0, 2);
	tcase_add_test(tc, unknown_types_in_outputs_are_refused);
	tcase_add_test(tc, want_of_memory_is_said);
	tcase_add_test(tc, unreadable_media_are_bad_bytes);
	return test_main(suite);
}
