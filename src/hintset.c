/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hintset.c - the hints of an open store.
 *
 * The list of hints is replaced as a whole, so that readers take no lock; who
 * needs it for longer than a moment holds a reference.
 *
 * Merging.  A new hint is merged with those before it for as long as the next
 * one of these is at most twice as large as what is merged already.  Sizes so
 * more than double from hint to hint towards the older ones: there are
 * O(log n) of them.  Each copy brings an entry into a hint at least half as
 * large again, less what others replace: it is copied O(log n) times.
 *
 * A hint over several segments tells each key's newest record in all of them,
 * and nothing of the others.  So it serves only as long as all of these
 * segments are live.
 */
#include "config.h"

#include "hintset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"

/* Entries that are merged between two calls of go_on(): less than 1 ms. */
#define MERGED_AT_ONCE 1024

/* Where a file stands in the tiling, as a number. */
static uint64_t
order_of(const struct file_id *id)
{
	return (uint64_t)id->first << 16 | id->part;
}

static const struct hint_source *
first_source(const struct hint *hint)
{
	return &hint->sources[0];
}

static const struct hint_source *
last_source(const struct hint *hint)
{
	return &hint->sources[hint->source_count - 1];
}

/* Hints only read their segments; the set may change them. */
static struct segment *
own(const struct segment *seg)
{
	return (struct segment *)(uintptr_t)seg;
}

/* Lists */

static struct hint_list *
new_list(size_t count)
{
	struct hint_list *list =
	    os->calloc(1, sizeof *list + count * sizeof(struct hint *));

	if (list != NULL)
		atomic_init(&list->refs, 1);
	return list;
}

void
hint_list_put(struct hint_list *list)
{
	if (list == NULL || atomic_fetch_sub_explicit(
				&list->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < list->count; i++)
		hint_unref(list->hints[i]);
	os->free(list);
}

static void
put_retired(void *arg)
{
	hint_list_put(arg);
}

struct hint_list *
hint_list_get(struct hintset *hints)
{
	struct epoch_token token = epoch_enter(hints->epoch);
	struct hint_list *list =
	    atomic_load_explicit(&hints->list, memory_order_acquire);

	atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
	epoch_leave(hints->epoch, token);
	return list;
}

size_t
hintset_count(struct hintset *hints)
{
	struct hint_list *list = hint_list_get(hints);
	size_t count = list->count;

	hint_list_put(list);
	return count;
}

uint64_t
hintset_entries(struct hintset *hints)
{
	struct hint_list *list = hint_list_get(hints);
	uint64_t count = 0;

	for (size_t i = 0; i < list->count; i++)
		count += list->hints[i]->entry_count;
	hint_list_put(list);
	return count;
}

/* With the lock held. */
static struct hint_list *
present(const struct hintset *hints)
{
	return atomic_load_explicit(&hints->list, memory_order_relaxed);
}

/* With the lock held: let list be the list. */
static void
publish(struct hintset *hints, struct hint_list *list)
{
	struct hint_list *old = present(hints);

	atomic_store_explicit(&hints->list, list, memory_order_release);
	epoch_retire(hints->epoch, &old->node, put_retired, old);
	epoch_reclaim(hints->epoch);
}

/*
 * With the lock held: put hint in the place of list->hints[first .. first +
 * count).  Takes the reference.
 */
static enum kvlog_status
splice(struct hintset *hints, size_t first, size_t count, struct hint *hint)
{
	const struct hint_list *old = present(hints);
	struct hint_list *list = new_list(old->count - count + 1);

	if (list == NULL) {
		hint_unref(hint);
		return KVLOG_NOMEM;
	}
	for (size_t i = 0; i < old->count; i++) {
		if (i == first)
			list->hints[list->count++] = hint;
		if (i < first || i >= first + count)
			list->hints[list->count++] = hint_ref(old->hints[i]);
	}
	if (first == old->count)
		list->hints[list->count++] = hint;
	publish(hints, list);
	return KVLOG_OK;
}

enum kvlog_status
hintset_init(struct hintset *hints, struct segset *set, struct kvlog_error *err)
{
	struct hint_list *list = new_list(0);

	memset(hints, 0, sizeof *hints);
	hints->set = set;
	if (list == NULL || epoch_create(&hints->epoch) != 0) {
		os->free(list);
		return err_set(err, KVLOG_NOMEM, 0, "look for hints");
	}
	atomic_init(&hints->list, list);
	pthread_mutex_init(&hints->lock, NULL);
	return KVLOG_OK;
}

void
hintset_fini(struct hintset *hints)
{
	if (hints->epoch == NULL)
		return;
	hint_list_put(present(hints));
	segment_close(own(hints->hurt.seg));
	epoch_destroy(hints->epoch);
	pthread_mutex_destroy(&hints->lock);
	hints->epoch = NULL;
}

/* Choosing */

/* The number in the set of the segment with this id; count if there is
 * none. */
static size_t
find_segment(const struct segset *set, const struct file_id *id)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (order_of(&set->segments[mid]->header.id) < order_of(id))
			low = mid + 1;
		else
			high = mid;
	}
	return low < set->count &&
		       file_id_equal(&set->segments[low]->header.id, id)
		   ? low
		   : set->count;
}

/* Whether a hint's sources are neighbours in the set, whole but for the
 * beginning of the first one and the end of the last one. */
static bool
bind_all(const struct segset *set, struct hint *hint)
{
	size_t at = find_segment(set, &first_source(hint)->id);

	if (hint->source_count > set->count - at)
		return false;
	for (size_t i = 0; i < hint->source_count; i++) {
		const struct hint_source *s = &hint->sources[i];

		if (!hint_bind(hint, i, set->segments[at + i]) ||
		    (i > 0 && s->from != SEGMENT_DATA_OFF) ||
		    (i + 1 < hint->source_count &&
			s->to != segment_end(s->seg)))
			return false;
	}
	return true;
}

/* By beginning; the wider first. */
static int
compare_hints(const void *va, const void *vb)
{
	const struct hint *a = *(struct hint *const *)va;
	const struct hint *b = *(struct hint *const *)vb;
	const uint64_t keys[4][2] = {
	    {order_of(&first_source(a)->id), order_of(&first_source(b)->id)},
	    {first_source(a)->from, first_source(b)->from},
	    {order_of(&last_source(b)->id), order_of(&last_source(a)->id)},
	    {last_source(b)->to, last_source(a)->to},
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] < keys[i][1] ? -1 : 1;
	return 0;
}

/* Where the covered part of a segment ends. */
static uint64_t
covered_to(const struct segment *seg)
{
	return max_u64(SEGMENT_DATA_OFF, atomic_load(&seg->hinted_to));
}

static void
note_covered(const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++) {
		const struct hint_source *s = &hint->sources[i];
		struct segment *seg = own(s->seg);

		seg->hinted_seq = max_u64(seg->hinted_seq, s->last_seq);
		atomic_store(&seg->hinted_to, s->to);
	}
}

/* Take those that begin where the ones before them end. */
static void
choose(struct hint_list *list, bool verify)
{
	size_t kept = 0;

	if (list->count > 1)
		qsort(list->hints, list->count, sizeof(struct hint *),
		    compare_hints);
	for (size_t i = 0; i < list->count; i++) {
		struct hint *hint = list->hints[i];
		const struct hint_source *s = first_source(hint);
		bool fits = s->from == covered_to(s->seg);

		for (size_t j = 1; j < hint->source_count; j++)
			fits = fits && covered_to(hint->sources[j].seg) ==
					   SEGMENT_DATA_OFF;
		/* One that covers nothing serves if its segment is empty, and
		 * once. */
		s = last_source(hint);
		fits = fits && (s->to > covered_to(s->seg) ||
				   (s->to == segment_end(s->seg) &&
				       atomic_load(&s->seg->hinted_to) == 0));
		if (!fits || (verify && !hint_verify(hint))) {
			hint_unref(hint);
			continue;
		}
		note_covered(hint);
		list->hints[kept++] = hint;
	}
	list->count = kept;
}

enum kvlog_status
hintset_collect(struct hintset *hints, struct dir *dir,
    const struct file_list *files, bool *ret_gone, struct kvlog_error *err)
{
	struct segset *set = hints->set;
	struct hint_list *list = new_list(files->count);
	bool gone = false;

	if (list == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "look for hints");
	for (size_t i = 0; i < set->count; i++) {
		atomic_store(&set->segments[i]->hinted_to, 0);
		set->segments[i]->hinted_seq = 0;
	}
	for (size_t i = 0; i < files->count; i++) {
		const char *name = files->files[i].name;
		struct os_stat st;
		struct hint *hint;

		if (files->files[i].kind != FILE_HINT || set->count == 0)
			continue;
		hint = hint_open(dir, name, &set->segments[0]->header.store);
		if (hint == NULL)
			gone |= os->stat_name(dir->fd, name, &st) == ENOENT;
		if (hint != NULL && bind_all(set, hint))
			list->hints[list->count++] = hint;
		else
			hint_unref(hint);
	}
	choose(list, hints->verify);
	pthread_mutex_lock(&hints->lock);
	publish(hints, list);
	pthread_mutex_unlock(&hints->lock);
	if (ret_gone != NULL)
		*ret_gone = gone;
	return KVLOG_OK;
}

bool
hintset_uses(struct hintset *hints, const char *name)
{
	struct hint_list *list = hint_list_get(hints);
	bool uses = false;

	for (size_t i = 0; i < list->count; i++)
		uses |= strcmp(list->hints[i]->name, name) == 0;
	hint_list_put(list);
	return uses;
}

/* Changing */

enum kvlog_status
hintset_add(struct hintset *hints, struct hint *hint)
{
	const struct hint_list *list;
	enum kvlog_status st;
	size_t at;

	assert(first_source(hint)->from == covered_to(first_source(hint)->seg));
	pthread_mutex_lock(&hints->lock);
	list = present(hints);
	for (at = list->count; at > 0; at--)
		if (compare_hints(&list->hints[at - 1], &hint) < 0)
			break;
	hint_ref(hint);
	st = splice(hints, at, 0, hint);
	if (st == KVLOG_OK)
		note_covered(hint);
	hint_unref(hint);
	pthread_mutex_unlock(&hints->lock);
	return st;
}

/* What another process has made */

/* A place of the log that can be compared. */
struct place {
	uint64_t order, off;
};

static struct place
begin_of(const struct hint *hint)
{
	const struct hint_source *s = first_source(hint);

	return (struct place){order_of(&s->id), s->from};
}

static struct place
end_of(const struct hint *hint)
{
	const struct hint_source *s = last_source(hint);

	return (struct place){order_of(&s->id), s->to};
}

static bool
is_before(struct place a, struct place b)
{
	return a.order != b.order ? a.order < b.order : a.off < b.off;
}

static bool
covers_more(const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (hint->sources[i].to > covered_to(hint->sources[i].seg))
			return true;
	return false;
}

/* If not, it would hide what is served for damaged records. */
static bool
may_serve(const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (!segment_may_be_hinted(hint->sources[i].seg))
			return false;
	return true;
}

/*
 * With the lock held: put hint in the place of those that lie within it, if it
 * covers more, or as much as several.  False if one does in part, or if
 * something before it is not covered.  Keeps the reference then.
 */
static bool
adopt(struct hintset *hints, struct hint *hint)
{
	const struct hint_list *list = present(hints);
	struct place from = begin_of(hint), to = end_of(hint);
	size_t first = 0, stop;

	if (!may_serve(hint) || covered_to(first_source(hint)->seg) < from.off)
		return false;
	while (
	    first < list->count && !is_before(from, end_of(list->hints[first])))
		first++;
	for (stop = first;
	     stop < list->count && is_before(begin_of(list->hints[stop]), to);
	     stop++)
		if (is_before(begin_of(list->hints[stop]), from) ||
		    is_before(to, end_of(list->hints[stop])))
			return false;
	if (stop - first < 2 && !covers_more(hint))
		return false;
	if (hints->verify && !hint_verify(hint))
		return false;
	hint_ref(hint);
	if (splice(hints, first, stop - first, hint) != KVLOG_OK)
		return false;
	note_covered(hint);
	hint_unref(hint);
	return true;
}

static bool
is_listed(const struct hintset *hints, const char *name)
{
	const struct hint_list *list = present(hints);

	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->hints[i]->name, name) == 0)
			return true;
	return false;
}

struct hint *
hintset_open(struct hintset *hints, struct dir *dir, const char *name)
{
	const struct segset *set = hints->set;
	struct hint *hint = NULL;
	bool listed;

	pthread_mutex_lock(&hints->lock);
	listed = is_listed(hints, name);
	pthread_mutex_unlock(&hints->lock);
	if (!listed)
		hint = hint_open(dir, name, &set->segments[0]->header.store);
	if (hint != NULL && bind_all(set, hint) &&
	    (!hints->verify || hint_verify(hint)))
		return hint;
	hint_unref(hint);
	return NULL;
}

void
hintset_adopt(struct hintset *hints, struct dir *dir)
{
	const struct segset *set = hints->set;
	struct file_list files;

	if (dir_list(dir, &files, NULL) != KVLOG_OK)
		return; /* records can be read instead */
	pthread_mutex_lock(&hints->lock);
	for (size_t i = 0; i < files.count; i++) {
		const char *name = files.files[i].name;
		struct hint *hint;

		if (files.files[i].kind != FILE_HINT || is_listed(hints, name))
			continue;
		hint = hint_open(dir, name, &set->segments[0]->header.store);
		if (hint != NULL &&
		    (!bind_all(set, hint) || !adopt(hints, hint)))
			hint_unref(hint);
	}
	pthread_mutex_unlock(&hints->lock);
	file_list_fini(&files);
}

/* What was replaced */

static bool
is_alive(const struct hint *hint)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (hint->sources[i].seg->replaced)
			return false;
	return true;
}

/* With the lock held.  No hint file may hide it. */
static void
note_hurt(struct hintset *hints, const struct hint_damage *damage)
{
	if (damage->seg == NULL)
		return;
	own(damage->seg)->hint_failed = true;
	if (hints->hurt.seg == NULL) {
		hints->hurt = *damage;
		(void)segment_ref(damage->seg);
	}
}

/* Append to the list images of what is not covered of the set, but was (up to
 * before[]), or is new.  A damaged record there is left out, as where a damaged
 * hint is replaced: else it would keep everybody from all others. */
static enum kvlog_status
cover_gaps(struct hintset *hints, const uint64_t *before,
    struct hint_list *list, struct kvlog_error *err)
{
	const struct segset *set = hints->set;

	for (size_t i = 0; i < set->count; i++) {
		const struct segment *seg = set->segments[i];
		struct hint_source gap = {
		    .seg = seg, .from = covered_to(seg), .to = before[i]};
		struct hint_damage damage;
		struct hint *image;
		enum kvlog_status st;

		if (gap.from >= gap.to)
			continue;
		st = hint_build_around(&gap, 1, &image, &damage, err);
		if (st != KVLOG_OK)
			return st;
		note_hurt(hints, &damage);
		note_covered(image);
		list->hints[list->count++] = image;
	}
	if (list->count > 1)
		qsort(list->hints, list->count, sizeof(struct hint *),
		    compare_hints);
	return KVLOG_OK;
}

/* Up to where each segment is to be covered afterwards; nothing is covered
 * now. */
static void
uncover(const struct segset *set, uint64_t *before)
{
	for (size_t i = 0; i < set->count; i++) {
		struct segment *seg = set->segments[i];
		bool is_new = seg->header.kind == SEGMENT_OUTPUT &&
			      atomic_load(&seg->hinted_to) == 0;

		before[i] = is_new ? segment_end(seg) : covered_to(seg);
		atomic_store(&seg->hinted_to, 0);
		seg->hinted_seq = 0;
	}
}

static void
cover_again(const struct segset *set, const struct hint_list *list)
{
	for (size_t i = 0; i < set->count; i++)
		atomic_store(&set->segments[i]->hinted_to, 0);
	for (size_t i = 0; i < list->count; i++)
		note_covered(list->hints[i]);
}

enum kvlog_status
hintset_exchange(struct hintset *hints, struct hint *const *more, size_t count,
    bool whole, struct kvlog_error *err)
{
	struct segset *set = hints->set;
	enum kvlog_status st = KVLOG_OK;
	struct hint_list *list;
	uint64_t *before = os->calloc(set->count, sizeof *before);

	pthread_mutex_lock(&hints->lock);
	list = new_list(present(hints)->count + count + set->count);
	if (list == NULL || before == NULL) {
		st = err_set(err, KVLOG_NOMEM, 0, "read hints");
		goto out;
	}
	for (size_t i = 0; i < present(hints)->count; i++)
		if (is_alive(present(hints)->hints[i]))
			list->hints[list->count++] =
			    hint_ref(present(hints)->hints[i]);
	for (size_t i = 0; i < count; i++)
		list->hints[list->count++] = hint_ref(more[i]);
	uncover(set, before);
	choose(list, false);
	if (whole)
		st = cover_gaps(hints, before, list, err);
	if (st == KVLOG_OK) {
		publish(hints, list);
		list = NULL;
	} else {
		cover_again(set, present(hints));
	}
out:
	pthread_mutex_unlock(&hints->lock);
	hint_list_put(list);
	os->free(before);
	return st;
}

void
hintset_note_hurt(
    struct hintset *hints, const struct segment *seg, uint64_t off)
{
	pthread_mutex_lock(&hints->lock);
	note_hurt(hints, &(struct hint_damage){seg, off});
	pthread_mutex_unlock(&hints->lock);
}

struct hint_damage
hintset_hurt(struct hintset *hints)
{
	struct hint_damage hurt;

	pthread_mutex_lock(&hints->lock);
	hurt = hints->hurt;
	pthread_mutex_unlock(&hints->lock);
	return hurt;
}

enum kvlog_status
hintset_mend(
    struct hintset *hints, const struct hint *damaged, struct kvlog_error *err)
{
	enum kvlog_status st = KVLOG_OK;

	pthread_mutex_lock(&hints->lock);
	for (size_t i = 0; i < present(hints)->count; i++) {
		struct hint_damage damage;
		struct hint *image;

		/* Otherwise another thread was faster. */
		if (present(hints)->hints[i] != damaged)
			continue;
		st = hint_build_around(damaged->sources, damaged->source_count,
		    &image, &damage, err);
		if (st == KVLOG_OK)
			st = splice(hints, i, 1, image);
		if (st == KVLOG_OK)
			note_hurt(hints, &damage);
		break;
	}
	pthread_mutex_unlock(&hints->lock);
	return st;
}

/* Whether an image may become a file. */
static bool
may_store(const struct hint *image, uint64_t attested)
{
	for (size_t i = 0; i < image->source_count; i++) {
		const struct segment *seg = image->sources[i].seg;

		if (!segment_may_be_hinted(seg) ||
		    image->sources[i].last_seq > attested)
			return false;
	}
	return image->name[0] == '\0';
}

/* Open the file that a hint over these sources was written to. */
static struct hint *
open_file(struct dir *dir, const char *name, const struct hint_source *sources,
    size_t source_count)
{
	struct hint *hint = hint_open(dir, name, &sources[0].seg->header.store);

	if (hint == NULL)
		return NULL;
	for (size_t i = 0; i < source_count; i++)
		if (hint->source_count != source_count ||
		    !hint_bind(hint, i, sources[i].seg)) {
			hint_unref(hint);
			return NULL;
		}
	return hint;
}

/* Put a hint in the place of count neighbours in the list, the first of which
 * is old.  Nobody else does this, but hints may have been added. */
static bool
exchange(struct hintset *hints, const struct hint *old, size_t count,
    struct hint *hint)
{
	size_t at = 0;
	bool done = false;

	pthread_mutex_lock(&hints->lock);
	while (at < present(hints)->count && present(hints)->hints[at] != old)
		at++;
	if (at + count <= present(hints)->count)
		done = splice(hints, at, count, hint) == KVLOG_OK;
	else
		hint_unref(hint); /* mended meanwhile */
	pthread_mutex_unlock(&hints->lock);
	return done;
}

bool
hintset_store_image(struct hintset *hints, struct dir *dir, uint64_t attested)
{
	struct hint_list *list = hint_list_get(hints);
	struct hint *image = NULL, *file = NULL;
	char name[DIR_NAME_LEN];
	bool done = false;

	for (size_t i = 0; i < list->count && image == NULL; i++)
		if (may_store(list->hints[i], attested))
			image = list->hints[i];
	/* Named once: the segment may be growing. */
	if (image != NULL)
		hint_make_name(name, image->sources, image->source_count);
	if (image != NULL && hint_write_as(image, dir, name, NULL) == KVLOG_OK)
		file =
		    open_file(dir, name, image->sources, image->source_count);
	if (file != NULL)
		done = exchange(hints, image, 1, file);
	if (image != NULL && !done)
		own(image->sources[0].seg)->hint_failed = true;
	hint_list_put(list);
	return done;
}

/* Merging */

/* Whether file b comes next in the tiling. */
static bool
follows(const struct file_id *a, const struct file_id *b)
{
	if (a->part < a->parts)
		return b->first == a->first && b->part == a->part + 1;
	return b->first == a->last + 1 && b->part == 1;
}

/* Whether hint b follows a without a gap, and both are files over sound
 * segments. */
static bool
may_join(const struct hint *a, const struct hint *b)
{
	const struct hint_source *end = last_source(a);
	const struct hint_source *start = first_source(b);
	const struct hint *both[2] = {a, b};

	for (size_t h = 0; h < 2; h++) {
		if (both[h]->name[0] == '\0')
			return false;
		for (size_t i = 0; i < both[h]->source_count; i++) {
			const struct segment *seg = both[h]->sources[i].seg;

			if (seg->damaged || seg->hint_failed ||
			    seg->bad_count > 0)
				return false;
		}
	}
	if (end->seg == start->seg)
		return end->to == start->from;
	return follows(&end->id, &start->id) &&
	       end->to == segment_end(end->seg) &&
	       start->from == SEGMENT_DATA_OFF;
}

/* The run of hints, list->hints[*ret_first .. *ret_end), that is due to
 * become one. */
static bool
choose_run(const struct hint_list *list, uint64_t entries_max,
    size_t *ret_first, size_t *ret_end)
{
	for (size_t end = list->count; end > 1;) {
		size_t first = end - 1;
		uint64_t total = list->hints[first]->entry_count + 1;

		while (first > 0 &&
		       may_join(list->hints[first - 1], list->hints[first]) &&
		       list->hints[first - 1]->entry_count <= 2 * total &&
		       total + list->hints[first - 1]->entry_count + 1 <=
			   entries_max) {
			first--;
			total += list->hints[first]->entry_count + 1;
		}
		if (first + 1 < end && total <= entries_max) {
			*ret_first = first;
			*ret_end = end;
			return true;
		}
		end = first + 1 < end ? first + 1 : end - 1;
	}
	return false;
}

/* The sources of a run as those of one hint; NULL: out of memory. */
static struct hint_source *
join_sources(struct hint *const *run, size_t count, size_t *ret_count)
{
	struct hint_source *sources;
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += run[i]->source_count;
	sources = os->calloc(n, sizeof *sources);
	if (sources == NULL)
		return NULL;
	n = 0;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < run[i]->source_count; j++) {
			const struct hint_source *s = &run[i]->sources[j];

			if (n > 0 && sources[n - 1].seg == s->seg) {
				sources[n - 1].to = s->to;
				sources[n - 1].last_seq = max_u64(
				    sources[n - 1].last_seq, s->last_seq);
			} else {
				sources[n++] = *s;
			}
		}
	*ret_count = n;
	return sources;
}

/* The number of the source that an entry of a merge is in. */
static uint32_t
index_of(
    const struct hint_source *sources, size_t count, const struct segment *seg)
{
	size_t low = 0, high = count - 1;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (order_of(&sources[mid].id) < order_of(&seg->header.id))
			low = mid + 1;
		else
			high = mid;
	}
	return (uint32_t)low;
}

/* Copy the entries of a merge.  A damaged one has no key, so that nothing can
 * be merged with its segment. */
static enum kvlog_status
copy_entries(const struct hintset *hints, struct hint_writer *w,
    struct merge *merge, const struct hint_source *sources, size_t count)
{
	uint64_t n = 0;
	enum kvlog_status st;

	while ((st = merge_next(merge)) == KVLOG_OK) {
		const struct merge_entry *m = merge_entry(merge);
		struct hint_key key = hint_key_of(&m->rec);
		struct hint_entry e = {.hash = m->hash,
		    .index = index_of(sources, count, m->seg),
		    .type = m->rec.type,
		    .expiry = (m->rec.flags & RECORD_EXPIRY) != 0,
		    .off = m->off};

		if (n++ % MERGED_AT_ONCE == 0 && hints->go_on != NULL &&
		    !hints->go_on(hints->go_on_arg))
			return KVLOG_TIMEOUT;
		st = hint_writer_add(w, &key, &e, NULL);
		if (st != KVLOG_OK)
			return st;
	}
	if (st == KVLOG_CORRUPT)
		own(merge_entry(merge)->seg)->hint_failed = true;
	return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
}

/* Write one hint file for a run of hints, and open it. */
static struct hint *
merge_run(const struct hintset *hints, struct dir *dir, struct hint *const *run,
    size_t count)
{
	struct hint_source *sources;
	struct hint_writer *w = NULL;
	struct merge *merge = NULL;
	struct hint *hint = NULL;
	size_t source_count;
	enum kvlog_status st;

	sources = join_sources(run, count, &source_count);
	if (sources == NULL)
		return NULL;
	st = hint_writer_create(&w, dir, sources, source_count, NULL);
	if (st == KVLOG_OK)
		st = merge_create(run, count, &merge);
	if (st == KVLOG_OK)
		st = copy_entries(hints, w, merge, sources, source_count);
	if (st == KVLOG_OK)
		st = hint_writer_finish(w, NULL);
	if (st == KVLOG_OK)
		hint =
		    open_file(dir, hint_writer_name(w), sources, source_count);
	merge_destroy(merge);
	hint_writer_destroy(w);
	os->free(sources);
	return hint;
}

bool
hintset_merge_step(struct hintset *hints, struct dir *dir, uint64_t entries_max)
{
	struct hint_list *list = hint_list_get(hints);
	size_t first, end;
	struct hint *hint = NULL;
	bool done = false;

	if (choose_run(list, entries_max, &first, &end))
		hint = merge_run(hints, dir, &list->hints[first], end - first);
	if (hint != NULL) {
		char name[DIR_NAME_LEN];

		memcpy(name, hint->name, sizeof name);
		done = exchange(hints, list->hints[first], end - first, hint);
		for (size_t i = first; done && i < end; i++)
			if (strcmp(list->hints[i]->name, name) != 0)
				os->unlink(dir->fd, list->hints[i]->name);
	}
	hint_list_put(list);
	return done;
}

/* Covering */

static void
add_hint(struct hint_cover *c, struct hint *hint)
{
	c->hints[c->count++] = hint_ref(hint);
}

static void
add_gap(
    struct hint_cover *c, const struct segment *seg, uint64_t from, uint64_t to)
{
	if (from < to)
		c->gaps[c->count++] = (struct hint_source){
		    .seg = segment_ref(seg), .from = from, .to = to};
}

/* Whether the segments from here on are those of the hint.  Where an exchange
 * failed, hints are left of what was replaced by fewer or more. */
static bool
is_of(const struct hint *hint, const struct segset *set, size_t from)
{
	for (size_t i = 0; i < hint->source_count; i++)
		if (hint->sources[i].seg != set->segments[from + i])
			return false;
	return true;
}

enum kvlog_status
hintset_cover(struct hintset *hints, size_t first, size_t stop, uint64_t end,
    struct hint_cover *c, struct kvlog_error *err)
{
	const struct segset *set = hints->set;
	struct hint_list *list = hint_list_get(hints);
	size_t h = 0, most = list->count + 2 * (stop - first);

	memset(c, 0, sizeof *c);
	c->hints = os->calloc(most, sizeof(*c->hints));
	c->gaps = os->calloc(most, sizeof *c->gaps);
	if (c->hints == NULL || c->gaps == NULL) {
		hint_cover_fini(c);
		hint_list_put(list);
		return err_set(err, KVLOG_NOMEM, 0, "read hints");
	}
	for (size_t i = first; i < stop; i++) {
		const struct segment *seg = set->segments[i];
		uint64_t at = SEGMENT_DATA_OFF;

		/* Those that begin before, or go on where one of them ends,
		 * are of no use, nor is one that goes on behind the last. */
		while (h < list->count &&
		       order_of(&first_source(list->hints[h])->id) <
			   order_of(&seg->header.id))
			h++;
		while (h < list->count &&
		       list->hints[h]->source_count <= stop - i &&
		       is_of(list->hints[h], set, i) &&
		       first_source(list->hints[h])->from == at) {
			const struct hint *hint = list->hints[h];

			add_hint(c, list->hints[h++]);
			i += hint->source_count - 1;
			seg = last_source(hint)->seg;
			at = last_source(hint)->to;
		}
		add_gap(c, seg, at, i + 1 == stop ? end : segment_end(seg));
	}
	hint_list_put(list);
	return KVLOG_OK;
}

enum kvlog_status
hintset_cover_all(
    struct hintset *hints, struct hint_cover *ret, struct kvlog_error *err)
{
	const struct segset *set = hints->set;

	return hintset_cover(hints, 0, set->count,
	    segment_end(set->segments[set->count - 1]), ret, err);
}

enum kvlog_status
hint_cover_build(struct hint_cover *c, bool around, struct kvlog_error *err)
{
	for (size_t i = 0; i < c->count; i++) {
		struct hint_damage hurt = {0};
		enum kvlog_status st;

		if (c->hints[i] != NULL)
			continue;
		st = around ? hint_build_around(
				  &c->gaps[i], 1, &c->hints[i], &hurt, err)
			    : hint_build(&c->gaps[i], 1, UINT64_MAX,
				  &c->hints[i], err);
		if (st != KVLOG_OK)
			return st;
		c->hints[i]->hurt = hurt;
	}
	return KVLOG_OK;
}

void
hint_cover_fini(struct hint_cover *c)
{
	for (size_t i = 0; i < c->count; i++) {
		hint_unref(c->hints[i]);
		segment_close(own(c->gaps[i].seg));
	}
	os->free(c->hints);
	os->free(c->gaps);
	memset(c, 0, sizeof *c);
}
