/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * salvage.c - every record that can be proven whole, into a new store.
 *
 * Verify looks first: it knows the files, in order, where the records of each
 * end, which batches are not whole, and where the log ends.  Then all records
 * are read once more, in the order of the log, and written through the public
 * interface: what is newer replaces what is older there by itself.  Memory
 * holds one batch, or one record if that is larger.
 *
 * A value counts only if its sum is right in the memory that is written, so
 * that no read error in between can get through.
 */
#include "config.h"

#include "salvage.h"

#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BATCH_OPS 1024u
#define BATCH_BYTES ((size_t)1 << 20) /* soft: one record may be larger */

struct salvage {
	struct verify v;
	const char *new_path;
	struct kvlog *db;
	bool strict;
	size_t next_fragment; /* for verify_in_fragment() */
	/* Records to be written together. */
	struct kvlog_op *ops;
	uint64_t *key_at; /* of ops, in bytes; values follow their keys */
	size_t op_count;
	uint8_t *bytes;
	uint64_t len, cap;
	/* Buckets of the new store: of those that v.buckets has, and of such
	 * whose names are lost. */
	struct kvlog **buckets;
	bool may_be_lost; /* damage may have taken names */
	struct lost_bucket {
		uint64_t seq;
		uint32_t ordinal;
		struct kvlog *db;
	} * lost;
	size_t lost_count;
	/* Not all of it could be read, which was no finding; or NULL. */
	const struct segment *unread;
};

static enum kvlog_status
flush(struct salvage *s)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	enum kvlog_status st;
	size_t failed;
	bool more;

	if (s->op_count == 0)
		return KVLOG_OK;
	how.err = s->v.err;
	for (size_t i = 0; i < s->op_count; i++) {
		s->ops[i].key = s->bytes + s->key_at[i];
		s->ops[i].value = s->bytes + s->key_at[i] + s->ops[i].key_len;
	}
	st = kvlog_apply(s->db, s->ops, s->op_count, &how, NULL, &failed);
	s->op_count = 0;
	s->len = 0;
	/* The next segment and hints; if it fails, a write or closing does. */
	if (st == KVLOG_OK)
		(void)!kvlog_maintain(s->db, 0, &more);
	return st;
}

static enum kvlog_status
make_room(struct salvage *s, uint64_t len)
{
	enum kvlog_status st = KVLOG_OK;
	uint8_t *grown;

	if (s->op_count == BATCH_OPS ||
	    (s->op_count > 0 && s->len + len > BATCH_BYTES))
		st = flush(s);
	if (st != KVLOG_OK || s->len + len <= s->cap)
		return st;
	if (len > SIZE_MAX / 2)
		grown = NULL;
	else
		grown = os->realloc(
		    s->bytes, (size_t)max_u64(s->len + len, BATCH_BYTES));
	if (grown == NULL)
		return err_set(s->v.err, KVLOG_NOMEM, 0,
		    "hold a record of %" PRIu64 " bytes", len);
	s->bytes = grown;
	s->cap = max_u64(s->len + len, BATCH_BYTES);
	return KVLOG_OK;
}

/* Read the value of rec, which stands at off, behind its key in the batch.
 * False if it is not whole. */
static bool
read_value(struct salvage *s, const struct segment *seg, uint64_t off,
    const struct record *rec)
{
	uint8_t *to = s->bytes + s->len + rec->key_len;
	uint64_t at = off + RECORD_HEADER_SIZE + record_ext_len(rec->flags) +
		      rec->key_len;
	size_t got;

	if (os->pread(seg->fd, to, rec->value_len, at, &got) != 0 ||
	    got != rec->value_len)
		return false;
	return sum_from(segment_seed(seg, off), to, got) == rec->value_sum;
}

/* Whether damage of this kind takes records whose keys nobody knows. */
static bool
takes_keys(const struct place *p)
{
	switch (p->kind) {
	case KVLOG_FINDING_RECORD:
	case KVLOG_FINDING_UNREADABLE:
		return p->older != KVLOG_OLDER_REPLACED;
	case KVLOG_FINDING_MISSING:
	case KVLOG_FINDING_END:
	case KVLOG_FINDING_SIZE:
	case KVLOG_FINDING_HEADERS:
	case KVLOG_FINDING_CONTENT:
	case KVLOG_FINDING_SEGMENT:
	case KVLOG_FINDING_SET:
	case KVLOG_FINDING_FOREIGN:
	case KVLOG_FINDING_HISTORY:
	case KVLOG_FINDING_NAME:
	case KVLOG_FINDING_FILE:
		return true;
	case KVLOG_FINDING_VALUE:
	case KVLOG_FINDING_KEY:
	case KVLOG_FINDING_COMMIT:
	case KVLOG_FINDING_HEADER:
	case KVLOG_FINDING_LINK:
	case KVLOG_FINDING_ZEROS:
	case KVLOG_FINDING_HINT:
	case KVLOG_FINDING_TORN:
	case KVLOG_FINDING_STALE_HINT:
	case KVLOG_FINDING_LOCK:
	case KVLOG_FINDING_LEFTOVER:
	case KVLOG_FINDING_STRANGER:
	case KVLOG_FINDING_SPARE:
		break;
	}
	return false;
}

/* Make those whose names are known. */
static enum kvlog_status
make_buckets(struct salvage *s)
{
	const struct verify *v = &s->v;
	enum kvlog_status st = KVLOG_OK;

	for (size_t n = 0; n < v->place_count; n++)
		s->may_be_lost |=
		    v->places[n].damage && takes_keys(&v->places[n]);
	s->buckets = os->calloc(v->bucket_count + 1, sizeof(struct kvlog *));
	if (s->buckets == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "make buckets");
	for (size_t n = 0; n < v->bucket_count && st == KVLOG_OK; n++) {
		const struct verify_bucket *b = &v->buckets[n];

		if (b->dropped)
			continue;
		st = kvlog_bucket_open(s->db, b->name, b->name_len,
		    KVLOG_OPEN_CREATE, &s->buckets[n], v->err);
		v->report->saved_buckets++;
	}
	return st;
}

static void
close_buckets(struct salvage *s)
{
	for (size_t n = 0; n < s->v.bucket_count && s->buckets != NULL; n++)
		(void)!kvlog_close(s->buckets[n], NULL);
	for (size_t n = 0; n < s->lost_count; n++)
		(void)!kvlog_close(s->lost[n].db, NULL);
	os->free(s->buckets);
	os->free(s->lost);
}

/* One for records whose bucket has lost its name.  If somebody has taken the
 * new name for another one, it gets longer. */
static enum kvlog_status
find_lost_bucket(
    struct salvage *s, const struct record *rec, struct kvlog **ret_db)
{
	struct kvlog_verify_report *r = s->v.report;
	struct lost_bucket *b;
	enum kvlog_status st = KVLOG_CONFLICT;
	char name[80];
	int len = snprintf(name, sizeof name, "lost-%" PRIu64 "-%" PRIu32,
	    rec->bucket_seq, rec->bucket_ordinal);

	for (size_t n = s->lost_count; n > 0; n--) {
		b = &s->lost[n - 1];
		*ret_db = b->db;
		if (b->seq == rec->bucket_seq &&
		    b->ordinal == rec->bucket_ordinal)
			return KVLOG_OK;
	}
	b = os->realloc(s->lost, (s->lost_count + 1) * sizeof *b);
	if (b == NULL)
		return err_set(s->v.err, KVLOG_NOMEM, 0, "make a bucket");
	s->lost = b;
	b += s->lost_count;
	*b = (struct lost_bucket){rec->bucket_seq, rec->bucket_ordinal, NULL};
	for (; st == KVLOG_CONFLICT && (size_t)len < sizeof name;
	     name[len++] = '+')
		st = kvlog_bucket_open(s->db, name, (size_t)len,
		    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &b->db, s->v.err);
	if (st != KVLOG_OK)
		return st;
	s->lost_count++;
	*ret_db = b->db;
	r->saved_buckets++;
	r->lost_buckets++;
	return KVLOG_OK;
}

/* Where to write a record; NULL: nowhere, as its bucket was dropped. */
static enum kvlog_status
find_bucket(struct salvage *s, const struct record *rec, struct kvlog **ret_db)
{
	const struct verify_bucket *b;

	*ret_db = s->db;
	if (bucket_is_default(rec->bucket_seq, rec->bucket_ordinal))
		return KVLOG_OK;
	b = verify_find_bucket(&s->v, rec->bucket_seq, rec->bucket_ordinal);
	if (b != NULL && !b->dropped) {
		*ret_db = s->buckets[b - s->v.buckets];
		return KVLOG_OK;
	}
	*ret_db = NULL;
	return b == NULL && s->may_be_lost ? find_lost_bucket(s, rec, ret_db)
					   : KVLOG_OK;
}

static enum kvlog_status
save_record(struct salvage *s, size_t live, uint64_t off,
    const struct record *rec, bool value_ok)
{
	struct kvlog_verify_report *r = s->v.report;
	const struct segment *seg = s->v.live[live]->seg;
	const bool beyond = verify_is_beyond(&s->v, live, off);
	const bool single =
	    !beyond && verify_in_fragment(&s->v, &s->next_fragment, live, off);
	bool put = rec->type == RECORD_PUT;
	struct kvlog *bucket;
	enum kvlog_status st;

	if (rec->type == RECORD_MARK || (s->strict && (beyond || single)) ||
	    bucket_is_catalogue(rec->bucket_seq, rec->bucket_ordinal))
		return KVLOG_OK;
	if ((!put && rec->type != RECORD_DELETE) ||
	    (rec->flags & RECORD_CODEC)) {
		r->unsaved_records++;
		return KVLOG_OK;
	}
	st = find_bucket(s, rec, &bucket);
	if (st == KVLOG_OK && bucket == NULL)
		r->dropped_records++;
	if (st != KVLOG_OK || bucket == NULL)
		return st;
	st = make_room(s, (uint64_t)rec->key_len + rec->value_len);
	if (st != KVLOG_OK)
		return st;
	memcpy(s->bytes + s->len, rec->key, rec->key_len);
	if (put && value_ok && !read_value(s, seg, off, rec)) {
		s->unread = seg;
		value_ok = false;
	}
	if (put && !value_ok) {
		if (!s->strict)
			return KVLOG_OK;
		put = false;
		r->hidden_keys++;
	}
	s->key_at[s->op_count] = s->len;
	s->ops[s->op_count] = (struct kvlog_op){
	    .type = put ? KVLOG_OP_PUT : KVLOG_OP_DELETE,
	    .key_len = rec->key_len,
	    .value_len = put ? rec->value_len : 0,
	    .expires_ms = put ? record_expires_ms(rec) : 0,
	    .bucket = bucket,
	};
	s->op_count++;
	s->len += rec->key_len + (put ? rec->value_len : 0);
	r->saved_records++;
	r->saved_bytes += rec->key_len + (put ? rec->value_len : 0);
	r->beyond_records += beyond;
	r->single_records += single;
	return KVLOG_OK;
}

static bool
was_unreadable(const struct verify *v, size_t live)
{
	for (size_t n = 0; n < v->place_count; n++)
		if (v->places[n].unreadable && v->places[n].live == live)
			return true;
	return false;
}

static enum kvlog_status
save_file(struct salvage *s, size_t i)
{
	struct verify *v = &s->v;
	const struct segment *seg = v->live[i]->seg;
	struct segment_scan scan;
	struct record rec;
	bool exact, opened, value_ok, more = true;
	uint64_t limit = verify_limit(v, i, &exact);
	enum kvlog_status st = verify_open_fd(v, i, &opened);

	if (st != KVLOG_OK)
		return st;
	if (segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, limit) != 0)
		st = err_set(v->err, KVLOG_NOMEM, 0, "read %s", seg->name);
	while (st == KVLOG_OK && more) {
		uint64_t from = scan.off;
		enum scan_state state =
		    segment_scan_look(&scan, &rec, &value_ok);

		more = state == SCAN_RECORD;
		if (state == SCAN_RECORD) {
			st = save_record(s, i, scan.off, &rec, value_ok);
			scan.off += rec.size;
		} else if (state == SCAN_BAD) {
			more = segment_scan_resync(&scan);
		}
		if (st == KVLOG_OK && !verify_progress(v, scan.off - from))
			st = err_set(v->err, KVLOG_CANCELLED, 0, "cancelled");
	}
	if (scan.unreadable && !was_unreadable(v, i))
		s->unread = seg;
	segment_scan_fini(&scan);
	if (opened)
		segment_close_fd(v->live[i]->seg);
	return st;
}

static enum kvlog_status
save_all(struct salvage *s)
{
	struct verify *v = &s->v;
	const uint64_t byte_count = v->report->byte_count;
	enum kvlog_status st = KVLOG_OK;

	s->ops = os->calloc(BATCH_OPS, sizeof *s->ops);
	s->key_at = os->calloc(BATCH_OPS, sizeof *s->key_at);
	if (s->ops == NULL || s->key_at == NULL)
		return err_set(v->err, KVLOG_NOMEM, 0, "write a batch");
	v->total = v->done;
	for (size_t i = 0; i < v->live_count; i++)
		v->total += v->live[i]->end;
	for (size_t i = 0; i < v->live_count && st == KVLOG_OK; i++)
		if (v->live[i]->seg != NULL)
			st = save_file(s, i);
	if (st == KVLOG_OK)
		st = flush(s);
	v->report->byte_count = byte_count;
	if (st == KVLOG_BUSY)
		return err_set(v->err, st, 0,
		    "%s was changed while it was salvaged; remove %s and try "
		    "again",
		    v->dir.path, s->new_path);
	return st;
}

/* It would change the damaged one, and be lost with it. */
static enum kvlog_status
check_not_inside(
    const char *path, const char *new_path, struct kvlog_error *err)
{
	struct dir dir;
	bool inside = false;
	enum kvlog_status st = dir_open(&dir, path, 0666, NULL);

	if (st != KVLOG_OK)
		return KVLOG_OK; /* verify tells that better */
	st = dir_is_inside(&dir, new_path, &inside, err);
	dir_close(&dir);
	if (st == KVLOG_OK && inside)
		st = err_set(err, KVLOG_CONFLICT, 0,
		    "%s is inside of %s; salvage into another place", new_path,
		    path);
	return st;
}

/* Say so before the long look at the old store if there is no place. */
static enum kvlog_status
check_new_path(const char *new_path, struct kvlog_error *err)
{
	struct dir dir;
	struct file_list list;
	size_t count;
	enum kvlog_status st = dir_open(&dir, new_path, 0666, err);

	if (st == KVLOG_NOSTORE)
		return KVLOG_OK;
	if (st != KVLOG_OK)
		return st;
	st = dir_list(&dir, &list, err);
	if (st == KVLOG_OK) {
		count = list.count;
		file_list_fini(&list);
		if (count > 0)
			st = err_set(err, KVLOG_CONFLICT, 0,
			    "%s is not empty; salvage makes a new store",
			    new_path);
	}
	dir_close(&dir);
	return st;
}

static enum kvlog_status
open_new(struct salvage *s)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE |
		  KVLOG_OPEN_NOTHREAD; /* flush() maintains it */
	o.durability = KVLOG_DURABILITY_NONE;
	for (size_t i = 0; i < s->v.live_count; i++) {
		const struct segment *seg = s->v.live[i]->seg;

		if (seg != NULL &&
		    seg->header.max_size >= KVLOG_SEGMENT_SIZE_MIN &&
		    seg->header.max_size <= KVLOG_SEGMENT_SIZE_MAX)
			o.segment_size = seg->header.max_size;
	}
	return kvlog_open(s->new_path, &o, &s->db, s->v.err);
}

static enum kvlog_status
salvage(struct salvage *s)
{
	struct kvlog_error damage = {0};
	struct kvlog_error *err = s->v.err;
	enum kvlog_status found = verify_tell(&s->v), st;

	if (found != KVLOG_OK && found != KVLOG_CORRUPT)
		return found;
	if (found == KVLOG_CORRUPT && err != NULL)
		damage = *err;
	st = open_new(s);
	if (st == KVLOG_OK)
		st = make_buckets(s);
	if (st == KVLOG_OK)
		st = save_all(s);
	close_buckets(s);
	if (s->db != NULL) {
		/* Which syncs, too. */
		enum kvlog_status closed =
		    kvlog_close(s->db, st == KVLOG_OK ? err : NULL);

		if (st == KVLOG_OK)
			st = closed;
	}
	if (st != KVLOG_OK)
		return st;
	if (found == KVLOG_CORRUPT && err != NULL)
		*err = damage;
	if (s->unread != NULL)
		found = err_set_at(err, KVLOG_CORRUPT,
		    segment_number(s->unread), 0,
		    "%s/%s could be read when it was checked, but not when it "
		    "was copied; remove %s and try again, or keep it as it is",
		    s->v.dir.path, s->unread->name, s->new_path);
	return found;
}

enum kvlog_status
salvage_store(const char *path, const char *new_path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err)
{
	struct salvage s = {.new_path = new_path};
	enum kvlog_status st = check_not_inside(path, new_path, err);

	if (st == KVLOG_OK)
		st = check_new_path(new_path, err);
	if (st != KVLOG_OK)
		return st;
	s.strict = (options->flags & KVLOG_SALVAGE_STRICT) != 0;
	st = verify_init(&s.v, path, options, report, err);
	if (st == KVLOG_OK)
		st = salvage(&s);
	verify_fini(&s.v);
	os->free(s.ops);
	os->free(s.key_at);
	os->free(s.bytes);
	return st;
}
