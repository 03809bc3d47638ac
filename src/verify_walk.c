/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_walk.c - all live files from the first byte to the last, and the
 * places where something is wrong.
 *
 * The walk knows what stands before a place and, a little later, what comes
 * next; it does not know yet what the rest of the store attests.  So it takes
 * for granted that the log goes on, notes the numbers that the verdict needs
 * (s, and n - 1 as soon as it is met), and leaves the judging to verify.c.
 */
#include "config.h"

#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define COPY_OFF 4096u
#define PLACES_MAX 100000u /* findings that are kept */
#define ZERO_CHUNK (64u * 1024)

struct place *
verify_add(struct verify *v, enum kvlog_finding_kind kind, size_t i,
    uint64_t off, uint64_t len)
{
	struct place *p;

	if (v->place_count == PLACES_MAX) {
		v->report->left_out_count++;
		return NULL;
	}
	if (v->place_count == v->place_cap) {
		size_t cap = v->place_cap > 0 ? 2 * v->place_cap : 64;
		struct place *grown =
		    os->realloc(v->places, cap * sizeof *grown);

		if (grown == NULL) {
			v->no_memory = true;
			return NULL;
		}
		v->places = grown;
		v->place_cap = cap;
	}
	p = &v->places[v->place_count++];
	memset(p, 0, sizeof *p);
	p->kind = kind;
	p->damage = kind < KVLOG_FINDING_TORN;
	p->live = p->end_live = i;
	p->off = p->end_off = off;
	p->len = len;
	if (i != VERIFY_NO_FILE)
		p->segment = v->live[i]->id.last;
	p->s = v->s;
	p->reached = max_u64(v->s, v->base);
	p->next = VERIFY_NONE;
	return p;
}

/* A place that the verdict must judge; next is n - 1 if it is known. */
static struct place *
add_suspect(struct verify *v, enum kvlog_finding_kind kind,
    enum place_rule rule, size_t i, uint64_t off, uint64_t len)
{
	struct place *p = verify_add(v, kind, i, off, len);

	if (p == NULL && v->place_count > 0) {
		/* Too many: the last one grows over what follows, so that
		 * the verdict leaves nothing out. */
		p = &v->places[v->place_count - 1];
		if (p->live == i && off + len > p->off + p->len)
			p->len = off + len - p->off;
		if (p->rule != RULE_FACT)
			rule = p->rule;
	}
	if (p != NULL)
		p->rule = rule;
	return p;
}

/* Something valid says that all up to a number stands before it: that is
 * n - 1 for what is wrong before. */
static void
anchor(struct verify *v, uint64_t number)
{
	bool raise = false;

	for (; v->pending < v->place_count; v->pending++) {
		struct place *p = &v->places[v->pending];

		if (p->rule == RULE_FACT || p->next != VERIFY_NONE)
			continue;
		p->next = number;
		raise |= p->rule != RULE_SOFT;
	}
	if (raise)
		v->s = max_u64(v->s, number);
}

/* The numbers behind reached up to before are missing at a place. */
static void
add_missing(struct verify *v, size_t i, uint64_t off, uint64_t before)
{
	struct place *p =
	    add_suspect(v, KVLOG_FINDING_MISSING, RULE_BAD, i, off, 0);

	if (p == NULL)
		return;
	p->next = before;
	p->first_seq = p->reached + 1;
	p->last_seq = before;
}

static void
add_content(
    struct verify *v, size_t i, uint64_t off, uint64_t len, const char *text)
{
	struct place *p = verify_add(v, KVLOG_FINDING_CONTENT, i, off, len);

	if (p != NULL)
		p->text = text;
}

/* Bytes that should be zero */

static size_t
zero_prefix(const uint8_t *p, size_t len)
{
	size_t n = 0;

	while (n < len && p[n] == 0)
		n++;
	return n;
}

/* Note the part of p[0 .. len), which stands at off, that is not zero. */
static void
expect_zeros(
    struct verify *v, size_t i, const uint8_t *p, uint64_t off, size_t len)
{
	size_t from = zero_prefix(p, len);

	if (from == len)
		return;
	while (p[len - 1] == 0)
		len--;
	(void)verify_add(v, KVLOG_FINDING_ZEROS, i, off + from, len - from);
}

/*
 * Read [from, to) of a file, which should be zeros.  *ret_first and *ret_last
 * are the bounds of what is not; equal if all is.
 */
static enum kvlog_status
find_nonzero(struct verify *v, const struct segment *seg, uint64_t from,
    uint64_t to, uint64_t *ret_first, uint64_t *ret_last)
{
	uint8_t *chunk = os->malloc(ZERO_CHUNK);

	*ret_first = *ret_last = 0;
	if (chunk == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "read %s", seg->name);
	while (from < to) {
		size_t len = (size_t)min_u64(ZERO_CHUNK, to - from), got = 0;
		size_t skip;

		if (os->pread(seg->fd, chunk, len, from, &got) != 0) {
			memset(chunk, 0xff, len);
			got = len;
		}
		skip = zero_prefix(chunk, got);
		if (skip < got) {
			size_t end = got;

			while (chunk[end - 1] == 0)
				end--;
			if (*ret_last == 0)
				*ret_first = from + skip;
			*ret_last = from + end;
		}
		from += len;
		if (!verify_progress(v, got)) {
			os->free(chunk);
			return KVLOG_CANCELLED;
		}
	}
	os->free(chunk);
	return KVLOG_OK;
}

/* The beginning of a file */

/* Whether a copy of the fixed part is whole, and of the file. */
static bool
fixed_fits(const struct verify_file *f, const uint8_t *p)
{
	struct file_id id;

	if (!verify_fixed_ok(p))
		return false;
	verify_fixed_id(p, &id);
	return file_id_equal(&id, &f->id);
}

/* At least one of the two is whole. */
static void
check_fixed(
    struct verify *v, size_t i, const uint8_t *first, const uint8_t *copy)
{
	const bool first_fits = fixed_fits(v->live[i], first);

	if (memcmp(first, copy, SEGMENT_FIXED_LEN) == 0)
		return;
	if (first_fits && fixed_fits(v->live[i], copy))
		add_content(v, i, 0, SEGMENT_FIXED_LEN,
		    "the two copies of the header are whole and differ; "
		    "salvage the store");
	else
		(void)verify_add(v, KVLOG_FINDING_HEADER, i,
		    first_fits ? COPY_OFF : 0, SEGMENT_FIXED_LEN);
}

/* What a link says, against the rules and the segment before. */
static void
check_link(struct verify *v, size_t i)
{
	const struct segment *seg = v->live[i]->seg;
	const struct segment_link *link = &seg->link;
	const struct segment *prev = i > 0 ? v->live[i - 1]->seg : NULL;
	const char *wrong = NULL;

	if (!seg->link_ok) {
		/* A further part's is at no seam that would tell it. */
		if (verify_same_set(v, i) && !v->live[i]->made_up)
			(void)verify_add(v, KVLOG_FINDING_LINK, i,
			    SEGMENT_LINK_OFF, SEGMENT_LINK_LEN);
		return;
	}
	if (link->first_seq != link->prev_last_seq + 1 &&
	    (link->first_seq % RECORD_RANGE != 0 ||
		link->first_seq <= link->prev_last_seq))
		wrong = "the link's first sequence number cannot follow";
	if (seg->header.id.first == 1 &&
	    (link->prev_salt != 0 || link->prev_end != 0 ||
		link->prev_last_seq != 0))
		wrong = "the link of segment 1 names a predecessor";
	if (verify_same_set(v, i) && prev != NULL && prev->link_ok &&
	    memcmp(&prev->link, link, sizeof *link) != 0)
		wrong = "parts of one output carry different links";
	if (i > 0 && verify_seal(v, i - 1) == link &&
	    prev->header.kind == SEGMENT_PLAIN &&
	    (link->prev_end < SEGMENT_DATA_OFF ||
		link->prev_end > prev->header.size))
		wrong = "the link ends its predecessor outside of the file";
	if (wrong != NULL)
		add_content(v, i, SEGMENT_LINK_OFF, SEGMENT_LINK_LEN, wrong);
}

/* No crash changes the size of a file that has its name. */
static void
check_size(struct verify *v, size_t i)
{
	const struct segment *seg = v->live[i]->seg;
	uint64_t low = min_u64(seg->file_len, seg->header.size);
	uint64_t high = max_u64(seg->file_len, seg->header.size);
	struct place *p;

	if (low == high)
		return;
	p = verify_add(v, KVLOG_FINDING_SIZE, i, low, high - low);
	if (p != NULL)
		p->stays = true;
}

/* Both copies of the fixed part, the link, the zeros between. */
static enum kvlog_status
check_head(struct verify *v, size_t i)
{
	const struct segment *seg = v->live[i]->seg;
	const size_t zeros = SEGMENT_LINK_OFF + SEGMENT_LINK_LEN;
	uint8_t *head = os->calloc(1, SEGMENT_DATA_OFF);
	bool bad_first, bad_copy;
	size_t len;

	if (head == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "read %s", seg->name);
	bad_first = os->pread(seg->fd, head, COPY_OFF, 0, &len) != 0;
	bad_copy = os->pread(seg->fd, head + COPY_OFF, SEGMENT_FIXED_LEN,
		       COPY_OFF, &len) != 0;
	if (bad_first || bad_copy) {
		(void)verify_add(v, KVLOG_FINDING_UNREADABLE, i,
		    bad_first ? 0 : COPY_OFF,
		    bad_first ? COPY_OFF : SEGMENT_FIXED_LEN);
	} else if (!v->live[i]->made_up) {
		check_fixed(v, i, head, head + COPY_OFF);
		expect_zeros(v, i, head + zeros, zeros, COPY_OFF - zeros);
	}
	os->free(head);
	if (!v->live[i]->made_up)
		check_link(v, i);
	check_size(v, i);
	return verify_progress(v, SEGMENT_DATA_OFF) ? KVLOG_OK
						    : KVLOG_CANCELLED;
}

/* Records */

struct walk {
	struct verify *v;
	size_t i;
	struct verify_file *f;
	struct segment_scan scan;
	bool plain;
	/* A commit of which some records have been read. */
	bool open, soft, headless;
	uint64_t from, to, seq;
};

static uint64_t
value_off(uint64_t off, const struct record *rec)
{
	return off + RECORD_HEADER_SIZE + record_ext_len(rec->flags) +
	       rec->key_len;
}

/* The bytes that fill a record up to a multiple of 8. */
static void
check_padding(struct walk *w, const struct record *rec)
{
	const uint64_t end = w->scan.off + rec->size;
	const uint64_t at = value_off(w->scan.off, rec) + rec->value_len;
	uint8_t buf[RECORD_ALIGN] = {0};
	const uint8_t *p = buf;
	size_t len = (size_t)(end - at), got;

	if (len == 0)
		return;
	if (at >= w->scan.window_off &&
	    end <= w->scan.window_off + w->scan.window_len)
		p = w->scan.window + (size_t)(at - w->scan.window_off);
	else if (os->pread(w->f->seg->fd, buf, len, at, &got) != 0)
		memset(buf, 0xff, len);
	expect_zeros(w->v, w->i, p, at, len);
}

static const char *
wrong_fields(const struct record *rec)
{
	if (rec->lag != RECORD_LAG_MAX && rec->lag > rec->seq)
		return "the record's lag is greater than its number";
	if (rec->type == RECORD_MARK &&
	    ((rec->flags & RECORD_FLAGS_REFUSE & ~RECORD_CLEAN) != 0 ||
		rec->value_len != 0))
		return "a mark has what only commits have";
	if (rec->type != RECORD_MARK && (rec->flags & RECORD_CLEAN) != 0)
		return "a record is flagged as only marks are";
	if (rec->type == RECORD_DELETE && rec->value_len != 0)
		return "a delete has a value";
	return NULL;
}

/* What makes a record wrong though its header's sum is right. */
static void
check_record(struct walk *w, const struct record *rec, bool value_ok)
{
	struct verify *v = w->v;
	const char *wrong = wrong_fields(rec);
	struct place *p;

	if (wrong != NULL)
		add_content(v, w->i, w->scan.off, rec->size, wrong);
	check_padding(w, rec);
	if (value_ok)
		return;
	p = verify_add(v, KVLOG_FINDING_VALUE, w->i, w->scan.off, rec->size);
	if (p == NULL)
		return;
	p->first_seq = p->last_seq = rec->seq;
	p->unreadable = w->scan.unreadable;
	if (p->unreadable)
		p->text = "the value cannot be read from the medium; put the "
			  "key again, or copy the store to a good disk";
	p->key = os->malloc(rec->key_len + 1u);
	if (p->key != NULL) {
		memcpy(p->key, rec->key, rec->key_len);
		p->key_len = rec->key_len;
	}
	p->in_bucket = (rec->flags & RECORD_BUCKET) != 0;
	p->bucket_seq = rec->bucket_seq;
	p->bucket_ordinal = rec->bucket_ordinal;
}

static void
end_fragment(struct walk *w, bool complete)
{
	struct verify *v = w->v;
	struct place *p;

	if (w->seq > max_u64(v->s, v->base) + 1)
		add_missing(v, w->i, w->from, w->seq - 1);
	p = add_suspect(v, KVLOG_FINDING_COMMIT, RULE_FRAGMENT, w->i, w->from,
	    w->to - w->from);
	if (p != NULL)
		p->first_seq = p->last_seq = w->seq;
	v->s = max_u64(v->s, complete ? w->seq : w->seq - 1);
}

static void
end_whole(struct walk *w)
{
	struct verify *v = w->v;
	struct place *p;

	if (w->seq <= v->s) {
		p = add_suspect(v, KVLOG_FINDING_CONTENT, RULE_BAD, w->i,
		    w->from, w->to - w->from);
		if (p != NULL)
			p->text = "a commit's number is not greater than that "
				  "of the one before";
		return;
	}
	if (w->seq != max_u64(v->s, v->base) + 1)
		add_missing(v, w->i, w->from, w->seq - 1);
	if (w->soft) {
		p = add_suspect(
		    v, 0, RULE_SOFT, w->i, w->from, w->to - w->from);
		if (p != NULL)
			p->first_seq = p->last_seq = w->seq;
	}
	v->s = w->seq;
	v->report->commit_count++;
}

static void
end_commit(struct walk *w, bool complete)
{
	if (!w->open)
		return;
	w->open = false;
	anchor(w->v, w->seq - 1);
	if (!complete || w->headless)
		end_fragment(w, complete);
	else
		end_whole(w);
}

/* A valid record of a plain segment. */
static void
walk_record(struct walk *w, const struct record *rec, bool value_ok)
{
	const uint64_t off = w->scan.off;
	bool cont = (rec->flags & RECORD_CONT) != 0;

	if (w->open && (!cont || rec->seq != w->seq))
		end_commit(w, false);
	check_record(w, rec, value_ok);
	verify_hint_record(w->v, w->i, off, rec);
	verify_bucket_record(w->v, w->i, off, rec, value_ok);
	if (rec->type == RECORD_MARK) {
		if (rec->seq > max_u64(w->v->s, w->v->base) &&
		    w->v->pending == w->v->place_count)
			add_content(w->v, w->i, off, rec->size,
			    "a mark has a number that no commit has");
		return;
	}
	w->v->report->record_count++;
	if (!w->open) {
		w->open = true;
		w->soft = false;
		w->headless = cont;
		w->from = off;
		w->seq = rec->seq;
	}
	w->soft |= !value_ok;
	w->to = off + rec->size;
	if ((rec->flags & RECORD_MORE) == 0)
		end_commit(w, true);
}

/* Order of keys in an output of kind 1, also from part to part. */
static bool
key_in_order(struct walk *w, const struct record *rec)
{
	struct verify *v = w->v;
	size_t len =
	    rec->key_len < v->last_key_len ? rec->key_len : v->last_key_len;
	int c = 0;

	if (v->has_last_key && v->last_key != NULL) {
		c = rec->bucket_seq < v->last_bucket
			? -1
			: rec->bucket_seq > v->last_bucket;
		if (c == 0)
			c = rec->bucket_ordinal < v->last_ordinal
				? -1
				: rec->bucket_ordinal > v->last_ordinal;
		if (c == 0)
			c = memcmp(rec->key, v->last_key, len);
		if (c == 0)
			c = rec->key_len > v->last_key_len ? 1 : -1;
	}
	if (v->last_key == NULL)
		v->last_key = os->malloc(KVLOG_KEY_MAX);
	v->has_last_key = v->last_key != NULL;
	if (v->last_key != NULL)
		memcpy(v->last_key, rec->key, rec->key_len);
	v->last_key_len = rec->key_len;
	v->last_bucket = rec->bucket_seq;
	v->last_ordinal = rec->bucket_ordinal;
	return c >= 0;
}

/* A valid record of an output, where each stands for itself. */
static void
output_record(struct walk *w, const struct record *rec, bool value_ok)
{
	const struct segment *seg = w->f->seg;
	const char *wrong = NULL;

	check_record(w, rec, value_ok);
	verify_hint_record(w->v, w->i, w->scan.off, rec);
	verify_bucket_record(w->v, w->i, w->scan.off, rec, value_ok);
	w->v->report->record_count += rec->type != RECORD_MARK;
	if (w->f->made_up)
		return;
	if (seg->header.kind == SEGMENT_OUTPUT && rec->type == RECORD_MARK)
		wrong = "a mark stands among keys in order";
	else if (seg->header.kind == SEGMENT_OUTPUT && !key_in_order(w, rec))
		wrong = "keys are not in order, or one is there twice";
	if (rec->seq > seg->header.last_seq)
		wrong = "a record is newer than what the file stands for";
	if (wrong != NULL)
		add_content(w->v, w->i, w->scan.off, rec->size, wrong);
}

/* Bytes that are no record, up to to. */
static void
walk_bad(struct walk *w, uint64_t from, uint64_t to)
{
	struct place *p = add_suspect(w->v,
	    w->scan.unreadable ? KVLOG_FINDING_UNREADABLE
			       : KVLOG_FINDING_RECORD,
	    w->plain ? RULE_BAD : RULE_FACT, w->i, from, to - from);

	if (p != NULL)
		p->unreadable = w->scan.unreadable;
	w->f->last = max_u64(w->f->last, to);
	w->f->damaged = true;
}

/* One look at w->scan.off.  False at the end. */
static enum kvlog_status
walk_step(struct walk *w, uint64_t limit, bool exact, bool *ret_more)
{
	struct verify *v = w->v;
	const uint64_t from = w->scan.off;
	struct record rec;
	bool value_ok;
	enum scan_state state;

	w->scan.unreadable = false;
	state = segment_scan_look(&w->scan, &rec, &value_ok);
	if (state == SCAN_UNKNOWN)
		return err_set_at(v->err, KVLOG_VERSION, w->f->id.last, from,
		    "%s holds a record of a newer format at offset %" PRIu64
		    "; use a newer kvlog",
		    w->f->file.name, from);
	*ret_more = state == SCAN_RECORD;
	if (state == SCAN_RECORD) {
		v->attested =
		    max_u64(v->attested, record_attests(rec.seq, rec.lag));
		if (w->plain)
			walk_record(w, &rec, value_ok);
		else
			output_record(w, &rec, value_ok);
		w->scan.off += rec.size;
		w->f->end = w->f->last = w->scan.off;
		return KVLOG_OK;
	}
	end_commit(w, false);
	if (state == SCAN_BAD) {
		*ret_more = segment_scan_resync(&w->scan);
		walk_bad(w, from, *ret_more ? w->scan.off : limit);
	} else if (exact && from < limit) {
		/* Zeros, or the end of a file cut short, where records are
		 * known to have been. */
		walk_bad(w, from, limit);
	}
	return KVLOG_OK;
}

static enum kvlog_status
walk_records(struct verify *v, size_t i)
{
	struct walk w = {.v = v, .i = i, .f = v->live[i]};
	const struct segment *seg = w.f->seg;
	enum kvlog_status st = KVLOG_OK;
	bool exact, more = true;
	uint64_t limit = verify_limit(v, i, &exact);

	w.plain = seg->header.kind == SEGMENT_PLAIN;
	if (!verify_same_set(v, i))
		v->has_last_key = false;
	if (segment_scan_init(&w.scan, seg, SEGMENT_DATA_OFF, limit) != 0)
		return err_set(v->err, KVLOG_NOMEM, 0, "read %s", seg->name);
	while (st == KVLOG_OK && more) {
		uint64_t from = w.scan.off;

		st = walk_step(&w, limit, exact, &more);
		if (st == KVLOG_OK && !verify_progress(v, w.scan.off - from))
			st = KVLOG_CANCELLED;
	}
	segment_scan_fini(&w.scan);
	return st;
}

/* What lies behind the records of a file that should be zeros. */
static enum kvlog_status
check_slack(struct verify *v, size_t i)
{
	struct verify_file *f = v->live[i];
	const struct segment *seg = f->seg;
	uint64_t from, first, last;
	bool exact;
	enum kvlog_status st;

	if (seg->header.kind != SEGMENT_PLAIN && !f->made_up)
		from = seg->header.end;
	else if (v->warm && !v->report->live && i + 1 == v->live_count)
		from = verify_limit(v, i, &exact);
	else
		return KVLOG_OK;
	st = find_nonzero(v, seg, from, segment_limit(seg), &first, &last);
	if (st != KVLOG_OK || last == 0)
		return st;
	if (seg->header.kind != SEGMENT_PLAIN) {
		(void)verify_add(
		    v, KVLOG_FINDING_ZEROS, i, first, last - first);
	} else {
		/* Stored by a writer that was killed before it published. */
		struct place *p =
		    verify_add(v, KVLOG_FINDING_TORN, i, first, last - first);

		if (p != NULL)
			p->text = "bytes behind the published end, of a writer "
				  "that was killed; they do not count";
	}
	return KVLOG_OK;
}

/* Between files */

/* The seam between live files i - 1 and i. */
static void
walk_seam(struct verify *v, size_t i, bool quick)
{
	const struct verify_file *f = v->live[i], *prev = v->live[i - 1];
	const struct segment_link *link = &f->seg->link;
	struct place *p;

	if (f->seg->link_ok && prev->seg != NULL &&
	    verify_seal(v, i - 1) == NULL && !prev->made_up) {
		p = verify_add(v, KVLOG_FINDING_HISTORY, i, SEGMENT_LINK_OFF,
		    SEGMENT_LINK_LEN);
		if (p != NULL)
			p->stays = true;
		v->s = link->prev_last_seq;
		v->base = 0;
		return;
	}
	if (f->seg->link_ok) {
		anchor(v, link->prev_last_seq);
		if (prev->seg == NULL || quick || prev->made_up)
			v->s = max_u64(v->s, link->prev_last_seq);
		if (link->prev_last_seq > max_u64(v->s, v->base)) {
			add_missing(v, i - 1, prev->end, link->prev_last_seq);
			v->s = link->prev_last_seq;
		}
		return;
	}
	p = add_suspect(v, KVLOG_FINDING_LINK, RULE_LINK, i, SEGMENT_LINK_OFF,
	    SEGMENT_LINK_LEN);
	if (p == NULL)
		return;
	p->unreadable = f->seg->head_unreadable;
	if (f->made_up) {
		/* That its headers are lost says it all. */
		p->kind = 0;
		p->rule = RULE_FACT;
	}
	p->end_live = i - 1;
	p->end_off = prev->end;
}

/* Numbers are missing before live file i. */
static void
walk_gap(struct verify *v, size_t i)
{
	const struct verify_file *f = v->live[i];
	uint32_t first = i > 0 ? v->live[i - 1]->id.last + 1 : 1;
	struct place *p;

	if (f->id.first == first || verify_same_set(v, i))
		return;
	p = add_suspect(
	    v, KVLOG_FINDING_SEGMENT, i > 0 ? RULE_GAP : RULE_FACT, i, 0, 0);
	if (p != NULL) {
		p->segment = first;
		p->first_seq = p->reached + 1;
		if (i > 0) {
			p->end_live = i - 1;
			p->end_off = v->live[i - 1]->end;
		}
	}
	if (f->seg != NULL && f->seg->link_ok) {
		anchor(v, f->seg->link.prev_last_seq);
		v->s = max_u64(v->s, f->seg->link.prev_last_seq);
		if (p != NULL && p->last_seq == 0)
			p->last_seq = f->seg->link.prev_last_seq;
	}
}

static void
walk_fault(struct verify *v, size_t i)
{
	static const enum kvlog_finding_kind kinds[] = {
	    [FAULT_HEADERS] = KVLOG_FINDING_HEADERS,
	    [FAULT_FOREIGN] = KVLOG_FINDING_FOREIGN,
	    [FAULT_SHORT] = KVLOG_FINDING_SIZE,
	    [FAULT_IRREGULAR] = KVLOG_FINDING_FILE,
	    [FAULT_UNREADABLE] = KVLOG_FINDING_UNREADABLE,
	    [FAULT_CONTENT] = KVLOG_FINDING_CONTENT,
	    [FAULT_NAME] = KVLOG_FINDING_NAME,
	};
	const struct verify_file *f = v->live[i];
	struct place *p = NULL;

	if (f->fault != FAULT_NONE)
		p = verify_add(v, kinds[f->fault], i, 0,
		    f->made_up ? SEGMENT_DATA_OFF : 0);
	else if (!file_id_equal(&f->id, &f->file.id))
		p = verify_add(v, KVLOG_FINDING_NAME, i, 0, 0);
	if (p != NULL)
		p->stays = true;
	if (p != NULL && f->made_up)
		p->text = "both copies of the header are lost, but the records "
			  "can be read: salvage the store";
	else if (p != NULL && f->fault == FAULT_SHORT)
		p->text = "the file ends before its first record; restore it "
			  "from a backup, or salvage the store";
}

/* An output without all its parts. */
static void
walk_set(struct verify *v, size_t i)
{
	const struct file_id *id = &v->live[i]->id;
	unsigned before = verify_same_set(v, i) ? v->live[i - 1]->id.part : 0;
	bool last = i + 1 == v->live_count || !verify_same_set(v, i + 1);
	struct place *p;

	if (id->part == before + 1 && (id->part == id->parts || !last))
		return;
	p = verify_add(v, KVLOG_FINDING_SET, i, 0, 0);
	if (p != NULL)
		p->stays = true;
}

static enum kvlog_status
walk_file(struct verify *v, size_t i)
{
	const bool quick = (v->options->flags & KVLOG_VERIFY_QUICK) != 0;
	struct verify_file *f = v->live[i];
	const struct segment *seg = f->seg;
	enum kvlog_status st;
	bool opened;

	f->end = f->last = SEGMENT_DATA_OFF;
	walk_gap(v, i);
	walk_fault(v, i);
	walk_set(v, i);
	if (seg == NULL)
		return KVLOG_OK;
	if (i > 0 && (v->live[i - 1]->id.last + 1 == f->id.first))
		walk_seam(v, i, quick);
	else if (i == 0 && !seg->link_ok && !f->made_up)
		(void)verify_add(v, KVLOG_FINDING_LINK, i, SEGMENT_LINK_OFF,
		    SEGMENT_LINK_LEN);
	if (seg->link_ok && seg->link.first_seq > 0)
		v->base = max_u64(v->base, seg->link.first_seq - 1);
	if (seg->link_ok && seg->link.durable)
		v->attested = max_u64(v->attested, seg->link.prev_last_seq);

	st = verify_open_fd(v, i, &opened);
	if (st != KVLOG_OK)
		return st;
	st = check_head(v, i);
	if (st == KVLOG_OK && !quick)
		st = walk_records(v, i);
	if (st == KVLOG_OK && !quick)
		st = check_slack(v, i);
	if (opened)
		segment_close_fd(v->live[i]->seg);
	if (seg->header.kind != SEGMENT_PLAIN) {
		v->attested = max_u64(v->attested, seg->header.last_seq);
		v->s = max_u64(v->s, seg->header.last_seq);
		f->end = max_u64(f->end, seg->header.end);
	}
	return st;
}

enum kvlog_status
verify_walk(struct verify *v)
{
	enum kvlog_status st = KVLOG_OK;

	if (v->has_note)
		v->attested = v->note.last_seq;
	for (size_t i = 0; i < v->live_count; i++) {
		bool exact;

		v->total += SEGMENT_DATA_OFF;
		if (v->live[i]->seg != NULL)
			v->total += verify_limit(v, i, &exact);
	}
	for (size_t i = 0; i < v->live_count && st == KVLOG_OK; i++)
		st = walk_file(v, i);
	return st;
}
