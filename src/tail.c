/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tail.c - the unhinted end of the log, sorted for walks.
 *
 *     hints          | image    | image | image | image of few records
 *     ---------------+----------+-------+-------+----------------------> log
 *                         neighbours become one     grows
 *
 * What a put has added is put where it belongs among a few, which are copied
 * for it: no image changes, as walks hold them.  When these are more than a
 * few, theirs is put together with those before it for as long as the next one
 * of these is not several times as large.  So there are O(log n) of them, and
 * each record is copied O(log n) times.
 *
 * When hints come to cover a part of the log, images that lie in it are let go.
 * One that goes on behind it stays as it is: a key is shown once, however many
 * hints tell of it.
 */
#include "config.h"

#include "tail.h"

#include <string.h>

#include "merge.h"

#define FEW 64u                       /* keys to which others are added */
#define TIMES 4u                      /* as large is too large to be copied */
#define REST_NS UINT64_C(10000000000) /* without a walk */

void
tail_init(struct tail *t)
{
	memset(t, 0, sizeof *t);
	pthread_mutex_init(&t->lock, NULL);
}

/* Take count images out of the list. */
static void
drop(struct tail *t, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++)
		hint_unref(t->images[i]);
	t->count -= count;
	if (count > 0 && first < t->count)
		memmove(&t->images[first], &t->images[first + count],
		    (t->count - first) * sizeof(*t->images));
}

static void
drop_all(struct tail *t)
{
	drop(t, 0, t->count);
	os->free(t->images);
	t->images = NULL;
	t->cap = 0;
}

void
tail_fini(struct tail *t)
{
	if (t->images != NULL)
		drop_all(t);
	pthread_mutex_destroy(&t->lock);
}

void
tail_enter(struct tail *t)
{
	pthread_mutex_lock(&t->lock);
}

void
tail_leave(struct tail *t)
{
	pthread_mutex_unlock(&t->lock);
}

static const struct hint_source *
part(const struct tail *t, size_t i)
{
	return &t->images[i]->sources[0];
}

/* The images of a segment: [*ret_first, the result). */
static size_t
find(const struct tail *t, const struct segment *seg, size_t *ret_first)
{
	size_t first = 0, end;

	while (first < t->count && part(t, first)->seg != seg)
		first++;
	end = first;
	while (end < t->count && part(t, end)->seg == seg)
		end++;
	*ret_first = first;
	return end;
}

/* Put an image behind those before number at; takes the reference. */
static enum kvlog_status
insert(struct tail *t, size_t at, struct hint *image)
{
	if (t->count == t->cap) {
		size_t cap = t->cap > 0 ? 2 * t->cap : 8;
		struct hint **grown =
		    os->realloc(t->images, cap * sizeof(*grown));

		if (grown == NULL) {
			hint_unref(image);
			return KVLOG_NOMEM;
		}
		t->images = grown;
		t->cap = cap;
	}
	memmove(&t->images[at + 1], &t->images[at],
	    (t->count - at) * sizeof(*t->images));
	t->images[at] = image;
	t->count++;
	return KVLOG_OK;
}

/* The first and the last key of images, of which one is not empty; false if one
 * of their records is damaged. */
static bool
find_bounds(struct hint *const *images, size_t count, struct hint_key *ret_low,
    struct hint_key *ret_high)
{
	bool any = false;

	for (size_t i = 0; i < 2 * count; i++) {
		const struct hint *image = images[i / 2];
		struct hint_entry e;
		struct hint_key key;

		if (image->entry_count == 0)
			continue;
		if (!hint_get_key(image,
			i % 2 == 0 ? 0 : image->entry_count - 1, &e, &key))
			return false;
		if (!any || hint_key_compare(&key, ret_low) < 0)
			*ret_low = key;
		if (!any || hint_key_compare(&key, ret_high) > 0)
			*ret_high = key;
		any = true;
	}
	return true;
}

/* Make one image of count neighbours, which together have so many entries. */
static enum kvlog_status
put_together(struct tail *t, size_t first, size_t count, uint64_t entries)
{
	struct hint_source source = *part(t, first);
	struct hint_key low, high;
	struct merge *merge = NULL;
	struct hint *image;
	enum kvlog_status st;

	source.to = part(t, first + count - 1)->to;
	if (!find_bounds(&t->images[first], count, &low, &high))
		return KVLOG_CORRUPT;
	image = hint_create_items(&source, entries, &low, &high);
	st = image == NULL ? KVLOG_NOMEM
			   : merge_create(&t->images[first], count, &merge);
	while (st == KVLOG_OK && (st = merge_next(merge)) == KVLOG_OK) {
		const struct merge_entry *e = merge_entry(merge);
		const struct hint_key key = hint_key_of(&e->rec);

		hint_add_item(image,
		    &(struct hint_entry){.hash = e->hash,
			.type = e->rec.type,
			.expiry = (e->rec.flags & RECORD_EXPIRY) != 0,
			.off = e->off},
		    &key);
	}
	merge_destroy(merge);
	if (st != KVLOG_NOTFOUND) {
		hint_unref(image);
		return st;
	}
	drop(t, first + 1, count - 1);
	hint_unref(t->images[first]);
	t->images[first] = image;
	return KVLOG_OK;
}

/* Keep image number last, which is new, such that there are few. */
static void
settle(struct tail *t, size_t first, size_t last)
{
	size_t at = last;
	uint64_t entries = t->images[last]->entry_count;

	while (at > first && t->images[at - 1]->entry_count <= TIMES * entries)
		entries += t->images[--at]->entry_count;
	/* Who comes upon damage here again is told, when all is read anew. */
	if (at < last &&
	    put_together(t, at, last - at + 1, entries) == KVLOG_CORRUPT)
		drop(t, first, last - first + 1);
}

/* Of the images [first, *end) of a segment the last one goes up to where rest
 * begins: let there be one of rest, too, or in its place one of both. */
static enum kvlog_status
keep(struct tail *t, size_t first, size_t *end, const struct hint_source *rest,
    struct kvlog_error *err)
{
	struct hint *last = first < *end ? t->images[*end - 1] : NULL;
	struct hint *image;
	enum kvlog_status st;

	if (last != NULL && last->entry_count > FEW)
		last = NULL;
	st = hint_build_items(rest, last, FEW, &image, err);
	if (st != KVLOG_OK)
		return st;
	if (last != NULL && image->sources[0].from < rest->from) {
		hint_unref(last);
		t->images[*end - 1] = image;
	} else if ((st = insert(t, *end, image)) == KVLOG_OK) {
		++*end;
	}
	if (st == KVLOG_OK && image->entry_count > FEW)
		settle(t, first, *end - 1);
	return st;
}

/*
 * Have images of a gap kept up to its end; [*ret_first, *ret_end) are those to
 * use, and *ret_rest, if that is not NULL, is one for this walk alone, which is
 * of an earlier moment than others.
 */
static enum kvlog_status
extend(struct tail *t, const struct hint_source *gap, size_t *ret_first,
    size_t *ret_end, struct hint **ret_rest, struct kvlog_error *err)
{
	struct hint_source rest = *gap;
	size_t first, end = find(t, gap->seg, &first), used;
	enum kvlog_status st = KVLOG_OK;

	while (first < end && part(t, first)->to <= gap->from) {
		drop(t, first, 1);
		end--;
	}
	/* Where hints cover less than before, nothing fits. */
	if (first < end && part(t, first)->from > gap->from) {
		drop(t, first, end - first);
		end = first;
	}
	for (used = first; used < end && part(t, used)->to <= gap->to; used++)
		rest.from = part(t, used)->to;
	*ret_rest = NULL;
	if (used < end && rest.from < gap->to)
		st = hint_build_items(&rest, NULL, 0, ret_rest, err);
	else if (rest.from < gap->to)
		st = keep(t, first, &used, &rest, err);
	if (st == KVLOG_CORRUPT && first < used) {
		/* If all is read anew, damage is told. */
		drop(t, first, end - first);
		return extend(t, gap, ret_first, ret_end, ret_rest, err);
	}
	*ret_first = first;
	*ret_end = used < end ? used : find(t, gap->seg, ret_first);
	return st;
}

static void
add(struct hint_cover *c, struct hint *hint)
{
	c->hints[c->count++] = hint;
}

/* All of a cover, with images for its gaps. */
static enum kvlog_status
fill(struct tail *t, const struct hint_cover *c, struct hint_cover *ret,
    struct kvlog_error *err)
{
	for (size_t i = 0; i < c->count; i++) {
		struct hint *rest;
		size_t first, end;
		enum kvlog_status st;

		if (c->hints[i] != NULL) {
			add(ret, hint_ref(c->hints[i]));
			continue;
		}
		st = extend(t, &c->gaps[i], &first, &end, &rest, err);
		if (st != KVLOG_OK)
			return st;
		for (size_t j = first; j < end; j++)
			if (t->images[j]->entry_count > 0)
				add(ret, hint_ref(t->images[j]));
		if (rest != NULL)
			add(ret, rest);
	}
	return KVLOG_OK;
}

static enum kvlog_status
try_build(struct tail *t, struct hint_cover *c, struct kvlog_error *err)
{
	struct hint_cover full = {0};
	/* Each gap adds at most one image, or a rest. */
	const size_t most = 2 * c->count + t->count;
	enum kvlog_status st;

	full.hints = os->calloc(most, sizeof(*full.hints));
	full.gaps = os->calloc(most, sizeof *full.gaps);
	if (full.hints == NULL || full.gaps == NULL)
		st = err_set(err, KVLOG_NOMEM, 0, "sort the keys of a walk");
	else
		st = fill(t, c, &full, err);
	if (st == KVLOG_OK) {
		hint_cover_fini(c);
		*c = full;
	} else {
		hint_cover_fini(&full);
	}
	return st;
}

static bool
has_gap(const struct hint_cover *c, const struct segment *seg)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->hints[i] == NULL && c->gaps[i].seg == seg)
			return true;
	return false;
}

enum kvlog_status
tail_build(struct tail *t, struct hint_cover *c, struct kvlog_error *err)
{
	enum kvlog_status st;
	size_t gaps = 0;

	for (size_t i = 0; i < c->count; i++)
		gaps += c->hints[i] == NULL;
	for (size_t i = t->count; i-- > 0;)
		if (!has_gap(c, part(t, i)->seg))
			drop(t, i, 1);
	if (gaps == 0)
		return KVLOG_OK;
	t->walked_ns = os->coarse_ns();
	st = try_build(t, c, err);
	if (st == KVLOG_NOMEM && t->count > 0) {
		drop_all(t); /* that is memory */
		st = try_build(t, c, err);
	}
	return st;
}

void
tail_trim(struct tail *t)
{
	if (pthread_mutex_trylock(&t->lock) != 0)
		return; /* a walk, which may want them */
	for (size_t i = t->count; i-- > 0;)
		if (part(t, i)->seg->replaced)
			drop(t, i, 1);
	pthread_mutex_unlock(&t->lock);
}

void
tail_rest(struct tail *t)
{
	if (pthread_mutex_trylock(&t->lock) != 0)
		return;
	if (t->count > 0 && os->coarse_ns() - t->walked_ns > REST_NS)
		drop_all(t);
	pthread_mutex_unlock(&t->lock);
}
