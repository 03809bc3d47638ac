/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feed.c - telling commits in their order.
 *
 * Segments that were written one record after the other, and the verbatim
 * copies that a repair makes of them, hold every commit; each segment's last
 * number says in which one a commit is.  The output of a compaction holds the
 * newest records only, in the order of their keys: what a feed would have to
 * tell from there is too old.
 *
 * Numbers have no gaps but where a range begins, so a commit that damage has
 * taken is missed where the next one stands, or at the end of its segment.
 * Damage that took nothing but marks, or what nobody asked for, is none.
 *
 * Nobody tells a reader of a new commit: it looks at the control page now and
 * then, at growing intervals.
 */
#include "config.h"

#include "feed.h"

#include <inttypes.h>
#include <string.h>

#define PAUSE_MIN_NS UINT64_C(50000)
#define PAUSE_MAX_NS UINT64_C(5000000)

/* A segment while it is walked through. */
struct place {
	struct segment *seg;
	uint64_t off; /* of the next look */
	uint64_t to;  /* behind its last record */
	/* Of the last durable commit, as far as it is here or before. */
	uint64_t last_seq;
	uint64_t skip; /* records of the next commit that were passed before */
	uint64_t hurt; /* where damage began since the last sound one, or 0 */
	struct segment_search search;
};

enum kvlog_status
feed_open(struct store *db, const struct bucket_handle *bucket, uint64_t from,
    const void *prefix, size_t prefix_len, struct kvlog_feed **ret_feed,
    struct kvlog_error *err)
{
	struct kvlog_feed *feed = os->calloc(1, sizeof *feed);

	if (feed != NULL)
		feed->prefix = os->malloc(prefix_len + 1);
	if (feed == NULL || feed->prefix == NULL) {
		feed_close(feed);
		return err_set(
		    err, KVLOG_NOMEM, 0, "open a feed of %s", db->dir.path);
	}
	if (prefix_len > 0)
		memcpy(feed->prefix, prefix, prefix_len);
	feed->prefix_len = prefix_len;
	feed->all = bucket == NULL && prefix_len == 0;
	if (bucket != NULL)
		feed->bucket = bucket->id;
	feed->store = db;
	feed->next = from == KVLOG_FEED_NEW ? store_durable_seq(db) + 1
					    : max_u64(from, 1);
	*ret_feed = feed;
	return KVLOG_OK;
}

void
feed_close(struct kvlog_feed *feed)
{
	if (feed == NULL)
		return;
	os->free(feed->prefix);
	os->free(feed->copy);
	os->free(feed);
}

/* Commits before seq are done with. */
static void
go_to(struct kvlog_feed *feed, uint64_t seq)
{
	feed->next = seq;
	feed->passed = 0;
	feed->told = false;
}

/* Finding */

/*
 * The first live segment that may have something of the next commit, as all
 * before it end with lower numbers.  last_seq is the last one of the whole
 * view.
 */
static void
find_place(struct kvlog_feed *feed, struct view *view, uint64_t last_seq,
    struct place *ret)
{
	struct segment *const *segs = view->set->segments;
	size_t low = 0, high = view->set->count - 1;
	struct segment *seg;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (segs[mid]->last_seq < feed->next)
			low = mid + 1;
		else
			high = mid;
	}
	seg = segs[low];
	*ret = (struct place){.seg = seg, .to = segment_end(seg)};
	ret->last_seq = low + 1 < view->set->count
			    ? min_u64(seg->last_seq, last_seq)
			    : last_seq;
	ret->off = feed->off;
	if (seg->header.salt == feed->salt && feed->off <= ret->to)
		return;
	feed->salt = seg->header.salt;
	feed->off = ret->off = SEGMENT_DATA_OFF;
	ret->skip = feed->passed;
	if (feed->passed == 0 && seg->link_ok)
		feed->next = max_u64(feed->next, seg->link.first_seq);
}

/* All that a compaction has taken is before this number. */
static uint64_t
exact_from(const struct view *view)
{
	for (size_t i = view->set->count; i > 0; i--)
		if (view->set->segments[i - 1]->header.kind == SEGMENT_OUTPUT)
			return view->set->segments[i - 1]->last_seq + 1;
	return 1;
}

static enum kvlog_status
tell_too_old(const struct kvlog_feed *feed, uint64_t exact,
    struct kvlog_change *change, struct kvlog_error *err)
{
	change->seq = change->last_seq = exact;
	return err_set(err, KVLOG_TOOOLD, 0,
	    "compaction has taken commits from %" PRIu64 " on; a feed is "
	    "exact from %" PRIu64
	    " on, and kvlog_iter_create_since() of %" PRIu64
	    " gives the net state",
	    feed->next, exact, feed->next - 1);
}

/* Walking */

/* The next sound record of the place, which moves there; false at its end. */
static bool
read_record(struct place *p, struct record *ret_rec)
{
	uint64_t from = p->off;
	bool bad;

	while (!segment_walk(p->seg, &p->off, p->to, ret_rec, &bad)) {
		if (bad)
			p->off = segment_next_record(
			    p->seg, p->off, p->to, &p->search);
		else
			break;
	}
	if (p->off != from && p->hurt == 0)
		p->hurt = from;
	return p->off < p->to;
}

static bool
is_wanted(const struct kvlog_feed *feed, const struct record *rec)
{
	return (rec->type == RECORD_PUT || rec->type == RECORD_DELETE) &&
	       (feed->all ||
		   (rec->bucket_seq == feed->bucket.seq &&
		       rec->bucket_ordinal == feed->bucket.ordinal)) &&
	       rec->key_len >= feed->prefix_len &&
	       memcmp(rec->key, feed->prefix, feed->prefix_len) == 0;
}

/* Whether the commit has more to tell behind this record; what damage hides
 * is told, too. */
static bool
has_more(
    const struct kvlog_feed *feed, const struct place *p, struct record rec)
{
	uint64_t off = p->off;
	bool bad;

	while ((rec.flags & RECORD_MORE) != 0) {
		uint64_t next = off += rec.size;

		if (!segment_walk(p->seg, &off, p->to, &rec, &bad) ||
		    off != next || is_wanted(feed, &rec))
			return true;
	}
	return false;
}

/* The commits from the next one up to last are not all there. */
static enum kvlog_status
tell_missing(struct kvlog_feed *feed, const struct place *p, uint64_t last,
    struct kvlog_change *change, struct kvlog_error *err)
{
	uint64_t off = p->hurt != 0 ? p->hurt : p->off;
	uint64_t first = feed->next + feed->told;

	change->seq = first;
	change->last_seq = last;
	change->segment = segment_number(p->seg);
	change->offset = off;
	return err_set_at(err, KVLOG_CORRUPT, change->segment, off,
	    "%s/%s is damaged at offset %" PRIu64 ": of the commits %" PRIu64
	    " to %" PRIu64 " records are missing",
	    feed->store->dir.path, p->seg->name, off, first, last);
}

/* What a sound record says; value: a copy. */
static enum kvlog_status
tell_content(
    const struct record *rec, const uint8_t *value, struct kvlog_change *change)
{
	struct record copy = *rec;
	struct bucket_id id = {0, 0};

	if (!bucket_is_catalogue(rec->bucket_seq, rec->bucket_ordinal)) {
		change->value = rec->type == RECORD_PUT ? value : NULL;
		change->value_len = rec->value_len;
		change->expires_ms = record_expires_ms(rec);
		return KVLOG_OK;
	}
	copy.value = value;
	if (rec->type == RECORD_PUT && !bucket_read_id(&copy, &id))
		return KVLOG_CORRUPT;
	change->bucket_seq = id.seq;
	change->bucket_ordinal = id.ordinal;
	return KVLOG_OK;
}

static enum kvlog_change_type
change_type(const struct record *rec)
{
	if (bucket_is_catalogue(rec->bucket_seq, rec->bucket_ordinal))
		return rec->type == RECORD_PUT ? KVLOG_CHANGE_BUCKET_CREATE
					       : KVLOG_CHANGE_BUCKET_DROP;
	return rec->type == RECORD_PUT ? KVLOG_CHANGE_PUT : KVLOG_CHANGE_DELETE;
}

/* Hand out a wanted record. */
static enum kvlog_status
tell_record(struct kvlog_feed *feed, const struct place *p,
    const struct record *rec, struct kvlog_change *change,
    struct kvlog_error *err)
{
	const uint32_t seed = segment_seed(p->seg, p->off);
	bool encoded = (rec->flags & RECORD_CODEC) != 0;
	bool sound = !feed->store->views.verify || record_value_ok(rec, seed);
	size_t value_len = encoded || !sound ? 0 : rec->value_len;
	uint8_t *copy = os->malloc(rec->key_len + value_len);

	if (copy == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "read a commit");
	memcpy(copy, rec->key, rec->key_len);
	if (value_len > 0)
		memcpy(copy + rec->key_len, rec->value, value_len);
	feed->copy = copy;

	change->seq = change->last_seq = rec->seq;
	change->type = change_type(rec);
	change->more = has_more(feed, p, *rec);
	change->segment = segment_number(p->seg);
	change->offset = p->off;
	change->key = copy;
	change->key_len = rec->key_len;
	if (change->type == KVLOG_CHANGE_PUT ||
	    change->type == KVLOG_CHANGE_DELETE) {
		change->bucket_seq = rec->bucket_seq;
		change->bucket_ordinal = rec->bucket_ordinal;
	}
	if (!encoded && sound)
		sound =
		    tell_content(rec, copy + rec->key_len, change) == KVLOG_OK;
	if (!sound)
		return err_set_at(err, KVLOG_CORRUPT, change->segment, p->off,
		    "a value of commit %" PRIu64 " is damaged in %s/%s at "
		    "offset %" PRIu64,
		    rec->seq, feed->store->dir.path, p->seg->name, p->off);
	if (encoded)
		return err_set_at(err, KVLOG_VERSION, change->segment, p->off,
		    "a value of commit %" PRIu64 " is encoded in a way that "
		    "this version does not know",
		    rec->seq);
	return KVLOG_OK;
}

/* The record is passed, told or not. */
static void
pass(struct kvlog_feed *feed, struct place *p, const struct record *rec)
{
	feed->off = p->off += rec->size;
	p->hurt = 0;
	feed->passed++;
	if ((rec->flags & RECORD_MORE) == 0)
		go_to(feed, rec->seq + 1);
}

/*
 * What is missing before a record of commit seq, or before the end of the
 * place, is told; KVLOG_OK if nothing is.  At least the next commit is done
 * with.
 */
static enum kvlog_status
leave_commits(struct kvlog_feed *feed, const struct place *p, uint64_t last,
    bool begins_range, struct kvlog_change *change, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	if (last >= feed->next + feed->told &&
	    (!begins_range || feed->passed > 0 || p->hurt != 0))
		st = tell_missing(feed, p, last, change, err);
	feed->off = p->off;
	go_to(feed, last + 1);
	return st;
}

/*
 * One record of the next commit or a later one: KVLOG_OK if it is told,
 * KVLOG_NOTFOUND if the walk goes on behind it.
 */
static enum kvlog_status
look_at_record(struct kvlog_feed *feed, struct place *p,
    const struct record *rec, struct kvlog_change *change,
    struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_NOTFOUND;
	bool beginning = feed->passed == 0;

	/* Damage within a commit, or of its beginning. */
	if (!feed->told &&
	    (beginning ? (rec->flags & RECORD_CONT) != 0 : p->hurt != 0)) {
		st = tell_missing(feed, p, rec->seq, change, err);
		feed->told = true;
		feed->off = p->off;
		return st;
	}
	if (is_wanted(feed, rec))
		st = tell_record(feed, p, rec, change, err);
	if (st != KVLOG_NOMEM)
		pass(feed, p, rec);
	return st;
}

/* Go past what is no commit, or one that is done with, and the records of the
 * next one that were passed in another file. */
static bool
is_behind_us(
    const struct kvlog_feed *feed, struct place *p, const struct record *rec)
{
	if (rec->type != RECORD_MARK) {
		if (rec->seq > feed->next ||
		    (rec->seq == feed->next && p->skip == 0))
			return false;
		if (rec->seq == feed->next)
			p->skip--;
		p->hurt = 0;
	}
	p->off += rec->size;
	return true;
}

/* KVLOG_NOTFOUND: there is nothing more here that is durable. */
static enum kvlog_status
walk_place(struct kvlog_feed *feed, struct place *p,
    struct kvlog_change *change, struct kvlog_error *err)
{
	struct record rec;
	enum kvlog_status st = KVLOG_NOTFOUND;

	while (st == KVLOG_NOTFOUND && feed->next <= p->last_seq) {
		if (!read_record(p, &rec))
			rec.seq = UINT64_MAX;
		else if (is_behind_us(feed, p, &rec))
			continue;
		if (rec.seq == feed->next) {
			st = look_at_record(feed, p, &rec, change, err);
			continue;
		}
		/* The next commit, or what is left of it, is not there. */
		st = leave_commits(feed, p, min_u64(rec.seq - 1, p->last_seq),
		    rec.seq % RECORD_RANGE == 0, change, err);
		if (st == KVLOG_OK)
			st = KVLOG_NOTFOUND;
	}
	return st;
}

/* One look at what a view shows; KVLOG_NOTFOUND if nothing new is durable. */
static enum kvlog_status
look(struct kvlog_feed *feed, struct view *view, struct kvlog_change *change,
    struct kvlog_error *err)
{
	struct views *views = &feed->store->views;
	uint64_t last =
	    atomic_load_explicit(&view->last_seq, memory_order_acquire);
	uint64_t durable = min_u64(view_durable(views, view), last);
	enum kvlog_status st = KVLOG_NOTFOUND;

	change->durable_seq = durable;
	while (st == KVLOG_NOTFOUND && feed->next <= durable) {
		struct place p;
		uint64_t exact = 1;

		views_enter(views);
		find_place(feed, view, durable, &p);
		(void)segment_ref(p.seg); /* it may be replaced meanwhile */
		if (p.seg->header.kind == SEGMENT_OUTPUT)
			exact = exact_from(view);
		pthread_mutex_unlock(&views->lock);
		if (p.seg->header.kind == SEGMENT_OUTPUT)
			st = tell_too_old(feed, exact, change, err);
		else
			st = segment_map(p.seg, err);
		if (st == KVLOG_OK)
			st = walk_place(feed, &p, change, err);
		segment_search_fini(&p.search);
		segment_close(p.seg);
	}
	return st;
}

static enum kvlog_status
look_at_store(struct kvlog_feed *feed, struct kvlog_change *change,
    struct kvlog_error *err)
{
	struct store *db = feed->store;
	struct view *view;
	uint64_t stamp;
	enum kvlog_status st;
	bool again;

	do {
		st = store_keep_view(db, &view);
		if (st != KVLOG_OK)
			return err_set(err, st, 0,
			    "the log of %s cannot be followed", db->dir.path);
		stamp = view_stamp(view);
		st = look(feed, view, change, err);
		again = store_may_try_again(db, st, view, stamp);
		view_release(&db->views, view);
	} while (again);
	return st;
}

enum kvlog_status
feed_next(struct kvlog_feed *feed, uint32_t timeout_ms,
    struct kvlog_change *ret_change, struct kvlog_error *err)
{
	struct kvlog_change change = {.size = sizeof change};
	uint64_t end = os->ticks_ns() + timeout_ms * UINT64_C(1000000);
	uint64_t pause = PAUSE_MIN_NS, now;
	enum kvlog_status st;

	os->free(feed->copy);
	feed->copy = NULL;
	while ((st = look_at_store(feed, &change, err)) == KVLOG_NOTFOUND) {
		now = os->ticks_ns();
		if (now >= end) {
			st = KVLOG_TIMEOUT;
			break;
		}
		os->sleep_ns(min_u64(pause, end - now));
		pause = min_u64(2 * pause, PAUSE_MAX_NS);
	}
	*ret_change = change;
	return st;
}
