/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rot.h - stores on the simulated machine whose every byte is known, and what
 * a failing disk may do to them: blocks flipped, zeroed, filled, exchanged,
 * written elsewhere, brought back from before, files cut.
 *
 * A map is made of a store while it is whole: its files, and in those that are
 * live each record with its place.  After a damage the map says which bytes of
 * which records are not as they were; what the store may answer follows from
 * that alone.
 */
#ifndef ROT_H
#define ROT_H

#include "dir.h"
#include "record.h"
#include "simos.h"

#include <kvlog.h>

#define ROT_STORE "/db"
#define ROT_KEYS 32u      /* that stores have, in order of memcmp() */
#define ROT_SECTOR 512u   /* bytes */
#define ROT_PAGE 4096u    /* bytes */
#define ROT_OLDER_MAX 12u /* looks at a store while it grows */

/* What a place is part of: columns of the table. */
enum rot_type {
	ROT_SEALED,
	ROT_ACTIVE,
	ROT_OUTPUT, /* of one part */
	ROT_PART,   /* of several */
	ROT_HINT,
	ROT_RANGE, /* a hint of several files */
	ROT_TAIL,  /* a hint of a part of a file */
	ROT_PAGE_, /* of the lock file: what running processes share */
	ROT_NOTE,  /* of the lock file: the rest */
	ROT_SPARE,
	ROT_RESERVE,
	ROT_TYPE_COUNT
};

/* What a damage is: rows of the table. */
enum rot_kind {
	ROT_FLIP,  /* a bit */
	ROT_ZERO,  /* a block */
	ROT_FILL,  /* a block gets random bytes */
	ROT_SWAP,  /* two blocks of a file */
	ROT_COPY,  /* a block overwritten by another one of its file */
	ROT_OTHER, /* by the one at its place in another file */
	ROT_STALE, /* by what stood there before; by zeros if nothing did */
	ROT_CUT,   /* the file ends there */
	ROT_KIND_COUNT
};

struct rot_record {
	size_t file; /* index */
	uint64_t off, size;
	uint32_t head_len; /* header with extensions and key */
	uint32_t value_len;
	uint8_t type, flags;
	uint32_t lag;
	uint64_t seq;
	unsigned key; /* number; ROT_KEYS: a mark */
	const uint8_t *value;
	/* Of the damage. */
	bool head_hit, value_hit, pad_hit, cut;
};

struct rot_file {
	struct file file;
	enum rot_type type;
	uint8_t *bytes; /* as it should be */
	size_t len;
	/* Of a live segment. */
	uint64_t salt;
	uint64_t limit; /* end of its records */
	uint64_t prev_last_seq;
	bool link_durable;
	uint32_t kind;
	uint64_t last_seq; /* of an output */
	size_t first_record, end_record;
	/* Of the damage. */
	uint8_t *now; /* NULL: as it should be */
	size_t now_len;
};

/* A file as it was some time before. */
struct rot_older {
	char name[DIR_NAME_LEN];
	uint8_t *bytes;
	size_t len;
};

struct rot_map {
	struct simos_state *state;
	struct rot_file *files; /* live segments in the order of the log */
	size_t file_count;
	struct rot_record *records; /* in the order of the log */
	size_t record_count;
	struct rot_older *older;
	size_t older_count;
	bool same_boot; /* the control page is valid */
	bool closed;    /* cleanly */
	bool hints;     /* hint files were left */
	char what[80];
};

struct rot_damage {
	enum rot_kind kind;
	size_t file, other; /* indices */
	uint64_t off, other_off;
	uint64_t len; /* bytes; of a flip: the bit */
	uint64_t seed;
};

const char *rot_type_name(enum rot_type type);
const char *rot_kind_name(enum rot_kind kind);

/* Key number i; valid for ever. */
const char *rot_key(unsigned i, size_t *ret_len);

/* How a store is made. */
struct rot_plan {
	uint64_t seed;
	bool parts;     /* an output is of several files */
	bool tail;      /* with a hint of a part of the active segment */
	bool closed;    /* else its writer is killed */
	bool same_boot; /* else the machine is restarted */
	bool hints;     /* else hint files are removed */
};
void rot_make(struct rot_map *map, const struct rot_plan *plan);
void rot_free(struct rot_map *map);

/* What off in a file is part of. */
enum rot_type rot_type_at(const struct rot_file *f, uint64_t off);

/* Note what damages change, in the map alone.  False if nothing does. */
bool rot_note(
    struct rot_map *map, const struct rot_damage *damages, size_t count);

/* The machine with the store and the damage that was noted. */
void rot_apply(const struct rot_map *map);

/* Whether a byte is not as it should be; one that is cut off is not. */
bool rot_differs(const struct rot_file *f, uint64_t off);
bool rot_range_differs(const struct rot_file *f, uint64_t from, uint64_t to);

/* In words, to be repeated. */
void rot_describe(const struct rot_map *map, const struct rot_damage *damages,
    size_t count, char *buf, size_t len);

#endif
