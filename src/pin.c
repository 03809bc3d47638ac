/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin.c - look-ups that hand out values in place.
 *
 * A value lies in a mapping of its segment.  Mappings are made once, never
 * moved, and last as long as the view whose segments they are of, or until the
 * segment is replaced; records are never changed (INV-1).  So holding the view,
 * and being inside the epoch of pins, which replaced segments wait for, is all
 * it takes, and hinders nobody: that of look-ups is left after each group of
 * keys.
 */
#include "config.h"

#include "pin.h"

struct kvlog_pin *
pin_create(struct kvlog *handle)
{
	struct kvlog_pin *pin = os->calloc(1, sizeof *pin);

	if (pin == NULL)
		return NULL;
	pin->store = handle->store;
	pin->bucket = handle->bucket;
	pin->token = epoch_enter(pin->store->views.pins);
	return pin;
}

void
pin_destroy(struct kvlog_pin *pin)
{
	struct views *views = &pin->store->views;

	/* In a forked child, a thread that is not there may hold a lock. */
	if (!store_is_forked(pin->store)) {
		epoch_leave(views->pins, pin->token);
		views_reclaim(views);
		for (size_t i = 0; i < pin->older_count; i++)
			view_release(views, pin->older[i]);
		if (pin->view != NULL)
			view_release(views, pin->view);
	}
	os->free(pin->older);
	os->free(pin);
}

/* Inside the epoch: let the view last. */
static enum kvlog_status
keep(struct kvlog_pin *pin, struct view *view)
{
	struct view **older;

	if (LIKELY(pin->view == view))
		return KVLOG_OK;
	if (pin->view != NULL) {
		older = os->realloc(
		    pin->older, (pin->older_count + 1) * sizeof(*older));
		if (older == NULL)
			return KVLOG_NOMEM;
		older[pin->older_count++] = pin->view;
		pin->older = older;
	}
	pin->view = view_ref(view);
	return KVLOG_OK;
}

/* Look up those whose keys are possible; *ret_again: not all could be. */
static enum kvlog_status
find_group(struct kvlog_pin *pin, struct index_find *finds, size_t count,
    uint64_t *now_ms, bool *ret_again)
{
	struct store *db = pin->store;
	struct epoch_token token;
	struct view *view;
	uint64_t stamp;
	enum kvlog_status st = store_enter(db, &token, &view);

	if (st != KVLOG_OK)
		return st;
	*ret_again = false;
	stamp = view_stamp(view);
	st = keep(pin, view);
	if (st == KVLOG_OK) {
		store_find_many(view, finds, count, now_ms);
		st = bucket_confirm(view, pin->bucket, KVLOG_OK);
	}
	for (size_t i = 0; i < count && st == KVLOG_OK; i++)
		if (UNLIKELY(
			store_may_try_again(db, finds[i].status, view, stamp)))
			*ret_again = true;
	epoch_leave(db->views.epoch, token);
	return st;
}

static bool
is_key(const struct kvlog_item *item)
{
	return item->key != NULL && item->key_len > 0 &&
	       item->key_len <= KVLOG_KEY_MAX;
}

static void
set_absent(struct kvlog_item *item, enum kvlog_status st)
{
	item->value = NULL;
	item->value_len = 0;
	item->seq = 0;
	item->expires_ms = 0;
	item->status = st;
}

static void
set_found(struct kvlog_item *item, const struct record *rec)
{
	item->value = rec->value;
	item->value_len = rec->value_len;
	item->seq = rec->seq;
	item->expires_ms = rec->expiry_ms;
	item->status = KVLOG_OK;
}

static enum kvlog_status
get_group(struct kvlog_pin *pin, struct kvlog_item *items, size_t count,
    uint64_t *now_ms)
{
	struct index_find finds[INDEX_TOGETHER];
	struct kvlog_item *of[INDEX_TOGETHER];
	size_t n = 0;
	bool again = true;
	enum kvlog_status st = KVLOG_OK;

	for (size_t i = 0; i < count; i++) {
		struct index_find *f = &finds[n];

		if (!is_key(&items[i])) {
			set_absent(&items[i], KVLOG_INVAL);
			continue;
		}
		of[n++] = &items[i];
		f->key =
		    bucket_key(pin->bucket, items[i].key, items[i].key_len);
		f->hash = hint_key_hash(pin->store->views.secret, &f->key);
	}
	while (again && st == KVLOG_OK)
		st = find_group(pin, finds, n, now_ms, &again);
	for (size_t i = 0; i < n; i++) {
		if (st == KVLOG_OK && finds[i].status == KVLOG_OK)
			set_found(of[i], &finds[i].ref.rec);
		else
			set_absent(
			    of[i], st != KVLOG_OK ? st : finds[i].status);
	}
	return st;
}

enum kvlog_status
pin_get_many(struct kvlog_pin *pin, struct kvlog_item *items, size_t count)
{
	enum kvlog_status st = KVLOG_OK;
	uint64_t now_ms = 0;

	for (size_t n; count > 0 && st == KVLOG_OK; items += n, count -= n) {
		n = count < INDEX_TOGETHER ? count : INDEX_TOGETHER;
		st = get_group(pin, items, n, &now_ms);
	}
	for (size_t i = 0; i < count; i++)
		set_absent(&items[i], st);
	return st;
}
