/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.h - the store's directory: names of its files, what they mean, and
 * which of them tile [1 .. active].
 */
#ifndef DIR_H
#define DIR_H

#include "base.h"
#include "err.h"

#define DIR_NAME_LEN 80 /* room for any name of the store's, with its NUL */
#define DIR_SEGMENT_MAX ((UINT32_C(1) << 28) - 1) /* greatest number */

#define DIR_LOCK_NAME "kvlog.lock"
#define DIR_SPARE_NAME "spare"
#define DIR_RESERVE_NAME "reserve"
#define DIR_OPEN_RESERVE_NAME "reserve.open"
#define DIR_COMPACT_RESERVE_NAME "reserve.compact"
/* Keeps room for a name: on a full disk a directory may not grow. */
#define DIR_NAME_RESERVE_NAME                                                  \
	"reserve.name-which-is-as-long-as-the-longest-of-a-segment.tmp"

/* In a backup: segments were damaged when it was made, so that the next one
 * reads all files again. */
#define DIR_DAMAGED_NAME "damaged.tmp"

struct dir {
	int fd;
	bool name_reserve_used; /* by dir_rename(); to be made anew */
	char *path;             /* as the user gave it, for messages */
	unsigned mode; /* of new files; of directories with x where r is */
};

/* Which segment or segments a file stands for. */
struct file_id {
	uint32_t first, last; /* numbers; equal for a plain segment */
	uint32_t round;       /* 0: plain, else of a compaction output */
	uint16_t part, parts; /* 1 of 1 for a plain segment */
};

static inline struct file_id
file_id_plain(uint32_t number)
{
	return (struct file_id){number, number, 0, 1, 1};
}

enum file_kind {
	FILE_SEGMENT,
	FILE_HINT,
	FILE_LOCK,
	FILE_SPARE,
	FILE_RESERVE,
	FILE_TMP,
	FILE_FOREIGN, /* not a name of the store's */
};

struct file {
	char name[DIR_NAME_LEN];
	enum file_kind kind;
	struct file_id id; /* of segments and hints */
	uint64_t set_id;   /* of outputs; the caller fills it from headers */
	bool live;         /* set by dir_tile() */
};

struct file_list {
	struct file *files;
	size_t count;
	size_t cap;
};

/* path must be an existing directory. */
enum kvlog_status dir_open(struct dir *ret_dir, const char *path, unsigned mode,
    struct kvlog_error *err);
void dir_close(struct dir *dir);

/*
 * Whether new_path, which need not be there, is below an open directory: a
 * store inside of another one would change what must not be, and be lost with
 * it.  KVLOG_NOMEM, _IO.
 */
enum kvlog_status dir_is_inside(const struct dir *dir, const char *new_path,
    bool *ret_inside, struct kvlog_error *err);

/* Whether its path leads to another directory by now. */
bool dir_is_replaced(const struct dir *dir);

/* Make names, or the absence of names, durable. */
enum kvlog_status dir_sync(struct dir *dir, struct kvlog_error *err);

/* What a name says.  Fills ret_file but set_id and live. */
void dir_parse_name(const char *name, struct file *ret_file);

/* The name of a segment or of the hint of one file, e.g. ext "seg". */
void dir_make_name(
    char name[DIR_NAME_LEN], const struct file_id *id, const char *ext);

/*
 * List the directory, sorted by first number, then last, round, part, then
 * the others.  Free with file_list_fini().
 */
enum kvlog_status dir_list(
    struct dir *dir, struct file_list *ret_list, struct kvlog_error *err);
void file_list_fini(struct file_list *list);

/*
 * Mark the files that tile [1 .. n] as live, as far as the files go without
 * a gap.  ret_last is n (0: no segment 1), ret_gap the number of the first
 * missing segment if files stand behind a gap, else 0.
 *
 * Where ranges overlap, a complete set of parts over the wider range wins,
 * at equal range the higher round.  A set is complete if all its parts are
 * there and carry one set id.
 */
void dir_tile(struct file_list *list, uint32_t *ret_last, uint32_t *ret_gap);

/* Make a file for writing.  If its name is not one of the store's, what an
 * interrupted attempt has left there goes.  0 or an errno value. */
int dir_create_file(struct dir *dir, const char *name, int *ret_fd);

/* Rename a file.  If the directory has no room for the name, not even on a
 * disk without any, the room that is kept for that is used. */
int dir_rename(struct dir *dir, const char *from, const char *to);

bool file_id_equal(const struct file_id *a, const struct file_id *b);

#endif
