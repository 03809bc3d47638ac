/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * survey.c - one segment, read record by record and cut into pieces.
 *
 * A commit is whole if its first record (without CONT) and its last (without
 * MORE) and all between stand together; what is left of one otherwise is a
 * fragment.  After bad bytes the survey goes on at the next place where a
 * record's header sum is right.
 */
#include "config.h"

#include "survey.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void
survey_fini(struct survey *sv)
{
	os->free(sv->pieces);
	memset(sv, 0, sizeof *sv);
}

static int
add_piece(struct survey *sv, const struct piece *piece)
{
	if (sv->count > 0 && piece->kind == PIECE_RUN) {
		struct piece *last = &sv->pieces[sv->count - 1];

		if (last->kind == PIECE_RUN && last->to == piece->from &&
		    (piece->first_seq == 0 || last->first_seq == 0 ||
			piece->first_seq == last->last_seq + 1)) {
			if (last->first_seq == 0)
				last->first_seq = piece->first_seq;
			if (piece->last_seq != 0)
				last->last_seq = piece->last_seq;
			last->to = piece->to;
			return 0;
		}
	}
	if (sv->count == sv->cap) {
		size_t cap = sv->cap > 0 ? 2 * sv->cap : 8;
		struct piece *grown;

		grown = os->realloc(sv->pieces, cap * sizeof *grown);
		if (grown == NULL)
			return ENOMEM;
		sv->pieces = grown;
		sv->cap = cap;
	}
	sv->pieces[sv->count++] = *piece;
	return 0;
}

/* A commit of which some records have been read. */
struct open_commit {
	bool open;
	bool soft;
	struct piece piece;
};

static int
end_commit(struct survey *sv, struct open_commit *c, bool complete)
{
	if (!c->open)
		return 0;
	c->open = false;
	c->piece.endless = !complete;
	if (!complete || c->piece.headless)
		c->piece.kind = PIECE_FRAGMENT;
	else
		c->piece.kind = c->soft ? PIECE_SOFT : PIECE_RUN;
	return add_piece(sv, &c->piece);
}

static int
survey_record(struct survey *sv, struct open_commit *c,
    const struct record *record, uint64_t off, bool value_ok)
{
	bool more = (record->flags & RECORD_MORE) != 0;
	bool cont = (record->flags & RECORD_CONT) != 0;
	uint64_t to = off + record->size;
	int rc = 0;

	sv->attested =
	    max_u64(sv->attested, record_attests(record->seq, record->lag));
	sv->seq_seen = max_u64(sv->seq_seen, record->seq);
	sv->clean_mark = false;
	sv->end = to;

	if (c->open && (!cont || record->seq != c->piece.last_seq))
		rc = end_commit(sv, c, false);
	if (rc != 0)
		return rc;
	if (record->type == RECORD_MARK) {
		struct piece mark = {PIECE_RUN, .from = off, .to = to};

		sv->clean_mark = (record->flags & RECORD_CLEAN) != 0;
		return add_piece(sv, &mark);
	}
	if (!c->open) {
		c->open = true;
		c->soft = false;
		c->piece = (struct piece){
		    .headless = cont,
		    .from = off,
		    .first_seq = record->seq,
		    .last_seq = record->seq,
		};
	}
	c->soft |= !value_ok;
	c->piece.to = to;
	return more ? 0 : end_commit(sv, c, true);
}

static enum kvlog_status
newer_format(const struct segment *seg, uint64_t off, struct kvlog_error *err)
{
	return err_set_at(err, KVLOG_VERSION, segment_number(seg), off,
	    "%s holds a record of a newer format at offset %" PRIu64
	    "; use a newer kvlog",
	    seg->name, off);
}

enum kvlog_status
survey_plain(struct survey *sv, const struct segment *seg, uint64_t from,
    uint64_t limit, bool exact, struct kvlog_error *err)
{
	struct segment_scan scan;
	struct open_commit commit = {0};
	struct record record;
	bool value_ok, found = true;
	int rc;

	sv->done = true;
	sv->end = from;
	rc = segment_scan_init(&scan, seg, from, limit);
	while (rc == 0 && found) {
		struct piece bad = {PIECE_BAD, .from = scan.off, .to = limit};
		enum scan_state state =
		    segment_scan_look(&scan, &record, &value_ok);

		if (state == SCAN_RECORD) {
			rc = survey_record(
			    sv, &commit, &record, scan.off, value_ok);
			scan.off += record.size;
			continue;
		}
		if (state == SCAN_UNKNOWN) {
			sv->unreadable = scan.unreadable;
			segment_scan_fini(&scan);
			return newer_format(seg, bad.from, err);
		}
		rc = end_commit(sv, &commit, false);
		found = state == SCAN_BAD && segment_scan_resync(&scan);
		if (found)
			bad.to = scan.off;
		/* Zeros, or a file shorter than it should be, are bad only
		 * where records are known to have been. */
		if (rc == 0 && bad.from < bad.to &&
		    (state == SCAN_BAD || exact))
			rc = add_piece(sv, &bad);
	}
	sv->unreadable = scan.unreadable;
	segment_scan_fini(&scan);
	return rc == 0 ? KVLOG_OK
		       : err_set(err, KVLOG_NOMEM, 0, "read %s", seg->name);
}

/* Every record of an output counts, in any order; the rest is damage. */
enum kvlog_status
survey_output(
    struct survey *sv, const struct segment *seg, struct kvlog_error *err)
{
	uint64_t limit = seg->header.end;
	struct segment_scan scan;
	struct record record;
	bool value_ok;
	int rc;

	sv->done = true;
	sv->end = limit;
	rc = segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, limit);
	while (rc == 0 && scan.off < limit) {
		struct piece bad = {PIECE_BAD, .from = scan.off, .to = limit};
		enum scan_state state =
		    segment_scan_look(&scan, &record, &value_ok);

		if (state == SCAN_RECORD) {
			scan.off += record.size;
			continue;
		}
		if (state == SCAN_UNKNOWN) {
			sv->unreadable = scan.unreadable;
			segment_scan_fini(&scan);
			return newer_format(seg, bad.from, err);
		}
		if (state == SCAN_BAD && segment_scan_resync(&scan))
			bad.to = scan.off;
		scan.off = bad.to;
		rc = add_piece(sv, &bad);
	}
	sv->unreadable = scan.unreadable;
	segment_scan_fini(&scan);
	return rc == 0 ? KVLOG_OK
		       : err_set(err, KVLOG_NOMEM, 0, "read %s", seg->name);
}
