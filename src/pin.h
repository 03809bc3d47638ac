/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pin.h - values where the store has them, kept there until the pin is
 * destroyed.
 */
#ifndef PIN_H
#define PIN_H

#include "base.h"
#include "store.h"

/* Holds the views that its values were found in: mostly one, for a reader one
 * more each time when segments were replaced. */
struct kvlog_pin {
	struct store *store;
	struct bucket_handle *bucket; /* of the handle, not owned */
	struct epoch_token token;     /* inside views.pins */
	struct view *view;   /* the newest; NULL before the first look-up */
	struct view **older; /* owned */
	size_t older_count;
};

struct kvlog_pin *pin_create(struct kvlog *handle); /* NULL: out of memory */
void pin_destroy(struct kvlog_pin *pin);

/* Look all of them up, and set what the call sets; the keys may be wrong. */
enum kvlog_status pin_get_many(
    struct kvlog_pin *pin, struct kvlog_item *items, size_t count);

#endif
