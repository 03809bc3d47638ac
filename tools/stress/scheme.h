/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scheme.h - which keys a run has, and what is written under them.
 *
 * All follows from a few numbers, so that whoever reads a value knows what it
 * must be, byte by byte, without having been told by its writer.
 *
 * A cell is what one commit writes as a whole: one key, or two of a pair.
 * There are counters, which every writer increments, and cells that belong
 * to one writer each.  The writes of a cell are numbered from 1; the number
 * also says whether it puts or deletes.
 */
#ifndef STRESS_SCHEME_H
#define STRESS_SCHEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEME_KEY_MAX 32  /* bytes of a key, with a final 0 */
#define SCHEME_HEAD_MAX 96 /* bytes of a value before its filler */
#define SCHEME_COUNT_MAX 99999

/* Set once, before the first use. */
struct scheme {
	uint64_t seed;
	uint32_t counters;   /* each 1 to SCHEME_COUNT_MAX */
	uint32_t owners;     /* writers that own cells */
	uint32_t singles;    /* cells of one key, of each owner */
	uint32_t pairs;      /* cells of two, of each owner */
	uint32_t filler_max; /* bytes */
};

enum cell_kind { CELL_COUNTER, CELL_SINGLE, CELL_PAIR };

#define SCHEME_NOBODY UINT32_MAX

/* What a cell is. */
struct place {
	enum cell_kind kind;
	uint32_t owner; /* of a counter: SCHEME_NOBODY */
	uint32_t index; /* among those of its kind and owner */
	unsigned sides; /* keys: 1 or 2 */
};

/*
 * Cells are numbered in the order of their keys: the counters, then those of
 * owner 0, and so on.
 */
size_t scheme_cell_count(const struct scheme *scheme);
struct place scheme_place(const struct scheme *scheme, size_t cell);

/* The first cell of an owner, or of those that nobody owns. */
size_t scheme_first(const struct scheme *scheme, uint32_t owner);
/* How many there are from there. */
size_t scheme_count(const struct scheme *scheme, uint32_t owner);

/* The key of a side of a cell, with a final 0; returns its length. */
size_t scheme_key(const struct scheme *scheme, size_t cell, unsigned side,
    char key[SCHEME_KEY_MAX]);

/* What all keys of an owner begin with. */
size_t scheme_prefix(uint32_t owner, char prefix[SCHEME_KEY_MAX]);

/* Whether write number of a cell deletes.  No write, 0, is like a delete; a
 * counter is never deleted. */
bool scheme_deletes(const struct scheme *scheme, size_t cell, uint64_t number);

/* Room for any value. */
size_t scheme_value_max(const struct scheme *scheme);

/*
 * The value that writer puts with write number under a side of a cell;
 * returns its length.  value has scheme_value_max() bytes.
 */
size_t scheme_value(const struct scheme *scheme, size_t cell, unsigned side,
    uint32_t writer, uint64_t number, char *value);

/*
 * Take a value apart.  False unless every byte of it is as scheme_value()
 * writes it under this key.  Then *ret_writer and *ret_number are set.
 */
bool scheme_value_read(const struct scheme *scheme, size_t cell, unsigned side,
    const void *value, size_t len, uint32_t *ret_writer, uint64_t *ret_number);

#endif /* STRESS_SCHEME_H */
