/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scheme.c - which keys a run has, and what is written under them.
 *
 * A value is a line for people, and filler whose length and bytes follow
 * from that line and the seed:
 *
 *     w00002/k00017 write 341 of writer 2, 87 bytes
 *     x3k:Q;0f...
 */
#include "config.h"

#include "scheme.h"

#include "../mix.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DELETE_ONE_IN 6 /* writes */

size_t
scheme_count(const struct scheme *scheme, uint32_t owner)
{
	if (owner == SCHEME_NOBODY)
		return scheme->counters;
	return (size_t)scheme->singles + scheme->pairs;
}

size_t
scheme_first(const struct scheme *scheme, uint32_t owner)
{
	if (owner == SCHEME_NOBODY)
		return 0;
	return scheme->counters + owner * scheme_count(scheme, owner);
}

size_t
scheme_cell_count(const struct scheme *scheme)
{
	return scheme_first(scheme, scheme->owners);
}

struct place
scheme_place(const struct scheme *scheme, size_t cell)
{
	size_t of_each = scheme_count(scheme, 0);
	struct place place = {CELL_COUNTER, SCHEME_NOBODY, (uint32_t)cell, 1};

	if (cell < scheme->counters)
		return place;
	cell -= scheme->counters;
	place.kind = CELL_SINGLE;
	place.owner = (uint32_t)(cell / of_each);
	place.index = (uint32_t)(cell % of_each);
	if (place.index >= scheme->singles) {
		place.kind = CELL_PAIR;
		place.index -= scheme->singles;
		place.sides = 2;
	}
	return place;
}

size_t
scheme_prefix(uint32_t owner, char prefix[SCHEME_KEY_MAX])
{
	int len;

	if (owner == SCHEME_NOBODY)
		len = snprintf(prefix, SCHEME_KEY_MAX, "count/");
	else
		len =
		    snprintf(prefix, SCHEME_KEY_MAX, "w%05" PRIu32 "/", owner);
	return (size_t)len;
}

size_t
scheme_key(const struct scheme *scheme, size_t cell, unsigned side,
    char key[SCHEME_KEY_MAX])
{
	struct place place = scheme_place(scheme, cell);
	size_t len = scheme_prefix(place.owner, key);
	char *rest = key + len;
	size_t room = SCHEME_KEY_MAX - len;
	int more = 0;

	switch (place.kind) {
	case CELL_COUNTER:
		more = snprintf(rest, room, "%05" PRIu32, place.index);
		break;
	case CELL_SINGLE:
		more = snprintf(rest, room, "k%05" PRIu32, place.index);
		break;
	case CELL_PAIR:
		more = snprintf(rest, room, "p%05" PRIu32 "/%c", place.index,
		    side == 0 ? 'a' : 'b');
		break;
	}
	return len + (size_t)more;
}

bool
scheme_deletes(const struct scheme *scheme, size_t cell, uint64_t number)
{
	if (number == 0)
		return true;
	if (cell < scheme->counters)
		return false;
	return mix(mix(scheme->seed + cell) + number) % DELETE_ONE_IN == 0;
}

size_t
scheme_value_max(const struct scheme *scheme)
{
	return (size_t)SCHEME_HEAD_MAX + scheme->filler_max;
}

/* What a value is made from. */
struct recipe {
	char head[SCHEME_HEAD_MAX];
	size_t head_len;
	uint64_t start; /* of the filler */
	size_t filler_len;
};

static void
recipe_init(struct recipe *recipe, const struct scheme *scheme, size_t cell,
    unsigned side, uint32_t writer, uint64_t number)
{
	char key[SCHEME_KEY_MAX];

	recipe->start =
	    mix(mix(mix(scheme->seed ^ number) + cell * 2 + side) + writer);
	recipe->filler_len =
	    (size_t)(recipe->start % ((uint64_t)scheme->filler_max + 1));
	scheme_key(scheme, cell, side, key);
	recipe->head_len = (size_t)snprintf(recipe->head, sizeof recipe->head,
	    "%s write %" PRIu64 " of writer %" PRIu32 ", %zu bytes\n", key,
	    number, writer, recipe->filler_len);
}

/* Eight bytes of filler, all of them letters, digits and the like. */
static void
filler(const struct recipe *recipe, size_t at, char bytes[8])
{
	uint64_t word = mix(recipe->start + at);

	for (unsigned i = 0; i < 8; i++, word >>= 8)
		bytes[i] = (char)('0' + (word & 0x3f));
}

static size_t
at_most_8(size_t len)
{
	return len < 8 ? len : 8;
}

size_t
scheme_value(const struct scheme *scheme, size_t cell, unsigned side,
    uint32_t writer, uint64_t number, char *value)
{
	struct recipe recipe;
	char bytes[8];

	recipe_init(&recipe, scheme, cell, side, writer, number);
	memcpy(value, recipe.head, recipe.head_len);
	value += recipe.head_len;
	for (size_t at = 0; at < recipe.filler_len; at += 8) {
		filler(&recipe, at, bytes);
		memcpy(value + at, bytes, at_most_8(recipe.filler_len - at));
	}
	return recipe.head_len + recipe.filler_len;
}

/* The writer and number that the first line of a value names. */
static bool
head_read(
    const void *value, size_t len, uint32_t *ret_writer, uint64_t *ret_number)
{
	char head[SCHEME_HEAD_MAX] = "";

	memcpy(head, value, len < sizeof head ? len : sizeof head - 1);
	return sscanf(head, "%*31s write %" SCNu64 " of writer %" SCNu32 ",",
		   ret_number, ret_writer) == 2;
}

bool
scheme_value_read(const struct scheme *scheme, size_t cell, unsigned side,
    const void *value, size_t len, uint32_t *ret_writer, uint64_t *ret_number)
{
	struct recipe recipe;
	const char *rest = value;
	uint32_t writer;
	uint64_t number;
	char bytes[8];

	if (!head_read(value, len, &writer, &number))
		return false;
	recipe_init(&recipe, scheme, cell, side, writer, number);
	if (len != recipe.head_len + recipe.filler_len ||
	    memcmp(value, recipe.head, recipe.head_len) != 0)
		return false;
	rest += recipe.head_len;
	for (size_t at = 0; at < recipe.filler_len; at += 8) {
		filler(&recipe, at, bytes);
		if (memcmp(rest + at, bytes,
			at_most_8(recipe.filler_len - at)) != 0)
			return false;
	}
	*ret_writer = writer;
	*ret_number = number;
	return true;
}
