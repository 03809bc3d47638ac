/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dir.c - names and tiling.
 *
 *     00000007.seg                    number 7, plain
 *     00000001-00000006.r1.1of2.seg   stands for 1 to 6: round 1, part 1 of 2
 *     00000007.hint                   a hint of the segment of that name
 *     00000001-00000007.4608-91200.hint   ... of a stretch of the log
 *
 * There is no manifest: the live set is the set of files whose ranges tile
 * [1 .. active] (INV-5), so that publishing a file is one rename and no file
 * is there whose loss would make the others meaningless.
 */
#include "config.h"

#include "dir.h"

#include "os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 1000u /* directories above the new store */

enum kvlog_status
dir_open(struct dir *ret_dir, const char *path, unsigned mode,
    struct kvlog_error *err)
{
	size_t path_len = strlen(path);
	int rc;

	ret_dir->path = os->malloc(path_len + 1);
	if (ret_dir->path == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "open %s", path);
	memcpy(ret_dir->path, path, path_len + 1);
	ret_dir->mode = mode;
	ret_dir->name_reserve_used = false;

	rc = os->open_dir(path, &ret_dir->fd);
	if (rc != 0) {
		os->free(ret_dir->path);
		ret_dir->path = NULL;
		ret_dir->fd = -1;
		if (rc == ENOENT)
			return err_set(
			    err, KVLOG_NOSTORE, 0, "no store at %s", path);
		if (rc == ENOTDIR)
			return err_set(err, KVLOG_NOTSTORE, 0,
			    "%s is not a directory; a store is one", path);
		return err_sys(err, rc, "open directory %s", path);
	}
	return KVLOG_OK;
}

void
dir_close(struct dir *dir)
{
	if (dir->path == NULL)
		return;
	os->close(dir->fd);
	os->free(dir->path);
	dir->path = NULL;
	dir->fd = -1;
}

enum kvlog_status
dir_sync(struct dir *dir, struct kvlog_error *err)
{
	int rc = os->sync_dir(dir->fd);

	if (rc != 0)
		return err_sys(err, rc, "sync directory %s", dir->path);
	return KVLOG_OK;
}

static int
stat_dir(const char *path, struct os_stat *ret)
{
	int fd, rc = os->open_dir(path, &fd);

	if (rc != 0)
		return rc;
	rc = os->stat(fd, ret);
	os->close(fd);
	return rc;
}

bool
dir_is_replaced(const struct dir *dir)
{
	struct os_stat opened, named;

	return stat_dir(dir->path, &named) == 0 &&
	       os->stat(dir->fd, &opened) == 0 &&
	       !os_same_file(&opened, &named);
}

/* Whether a directory, or one above it, is that of the store; path has room
 * for more.  What cannot be opened is not, as far as can be known. */
static bool
is_below(const struct os_stat *store, char *path)
{
	struct os_stat st = {0}, below = {0};
	size_t len = strlen(path);

	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		if (stat_dir(path, &st) != 0)
			return false;
		if (os_same_file(&st, store))
			return true;
		if (i > 0 && os_same_file(&st, &below))
			return false; /* the root is above itself */
		below = st;
		memcpy(path + len, "/..", 4);
		len += 3;
	}
	return false;
}

enum kvlog_status
dir_is_inside(const struct dir *dir, const char *new_path, bool *ret_inside,
    struct kvlog_error *err)
{
	size_t len = strlen(new_path);
	struct os_stat store = {0}, st;
	const char *up = "/..";
	char *parent;
	int rc;

	rc = os->stat(dir->fd, &store);
	if (rc != 0)
		return err_sys(err, rc, "look at %s", dir->path);
	parent = os->malloc(len + 3 * DEPTH_MAX + 5);
	if (parent == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "look at %s", dir->path);
	if (stat_dir(new_path, &st) != 0) {
		/* It is not there: the last name is taken off. */
		while (len > 1 && new_path[len - 1] == '/')
			len--;
		while (len > 0 && new_path[len - 1] != '/')
			len--;
		up = len > 0 ? "" : ".";
	}
	memcpy(parent, new_path, len);
	memcpy(parent + len, up, strlen(up) + 1);
	*ret_inside = is_below(&store, parent);
	os->free(parent);
	return KVLOG_OK;
}

/*
 * A decimal number as dir_make_name() writes it: at least min_digits, no
 * zeros before those, at most DIR_SEGMENT_MAX.  Moves *p behind it.
 */
static bool
parse_number(const char **p, unsigned min_digits, uint32_t *ret)
{
	const char *s = *p;
	uint64_t v = 0;
	unsigned digits = 0;

	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (unsigned)(*s - '0');
		if (v > DIR_SEGMENT_MAX)
			return false;
		digits++;
	}
	if (digits < min_digits || (digits > min_digits && **p == '0'))
		return false;
	*ret = (uint32_t)v;
	*p = s;
	return true;
}

static bool
skip(const char **p, const char *text)
{
	size_t len = strlen(text);

	if (strncmp(*p, text, len) != 0)
		return false;
	*p += len;
	return true;
}

/* "00000001-00000006.r1.1of2" or "00000007"; moves *p behind it. */
static bool
parse_id(const char **p, struct file_id *id)
{
	uint32_t part, parts;

	if (!parse_number(p, 8, &id->first) || id->first == 0)
		return false;
	id->last = id->first;
	id->round = 0;
	id->part = id->parts = 1;
	if (**p == '.')
		return true;
	if (!skip(p, "-") || !parse_number(p, 8, &id->last) ||
	    id->last < id->first)
		return false;
	if (!skip(p, ".r") || !parse_number(p, 1, &id->round) ||
	    !skip(p, ".") || !parse_number(p, 1, &part) || !skip(p, "of") ||
	    !parse_number(p, 1, &parts))
		return false;
	if (id->round == 0 || part == 0 || part > parts || parts > UINT16_MAX)
		return false;
	id->part = (uint16_t)part;
	id->parts = (uint16_t)parts;
	return true;
}

/* Digits, any number of them; moves *p behind them. */
static bool
skip_digits(const char **p)
{
	const char *start = *p;

	while (**p >= '0' && **p <= '9')
		(*p)++;
	return *p > start;
}

/*
 * "00000007.hint", of the segment of that name, or
 * "00000003-00000007.4608-91200.hint", from an offset in one segment to one in
 * another.  What it covers is for its header to say.
 */
static bool
is_hint_name(const char *name, struct file_id *id)
{
	const char *p = name;

	if (parse_id(&p, id) && strcmp(p, ".hint") == 0)
		return true;
	p = name;
	memset(id, 0, sizeof *id);
	return parse_number(&p, 8, &id->first) && skip(&p, "-") &&
	       parse_number(&p, 8, &id->last) && skip(&p, ".") &&
	       skip_digits(&p) && skip(&p, "-") && skip_digits(&p) &&
	       strcmp(p, ".hint") == 0;
}

void
dir_parse_name(const char *name, struct file *ret_file)
{
	const char *p = name;
	size_t len = strlen(name);

	memset(ret_file, 0, sizeof *ret_file);
	ret_file->kind = FILE_FOREIGN;
	if (len >= sizeof ret_file->name) {
		/* Longer than any of ours; kept for the message only. */
		memcpy(ret_file->name, name, sizeof ret_file->name - 1);
		return;
	}
	memcpy(ret_file->name, name, len + 1);

	if (strcmp(name, DIR_LOCK_NAME) == 0)
		ret_file->kind = FILE_LOCK;
	else if (strcmp(name, DIR_SPARE_NAME) == 0)
		ret_file->kind = FILE_SPARE;
	else if (strcmp(name, DIR_RESERVE_NAME) == 0 ||
		 strcmp(name, DIR_OPEN_RESERVE_NAME) == 0 ||
		 strcmp(name, DIR_COMPACT_RESERVE_NAME) == 0 ||
		 strcmp(name, DIR_NAME_RESERVE_NAME) == 0)
		ret_file->kind = FILE_RESERVE;
	else if (len > 4 && strcmp(name + len - 4, ".tmp") == 0)
		ret_file->kind = FILE_TMP;
	else if (parse_id(&p, &ret_file->id) && strcmp(p, ".seg") == 0)
		ret_file->kind = FILE_SEGMENT;
	else if (is_hint_name(name, &ret_file->id))
		ret_file->kind = FILE_HINT;
}

int
dir_create_file(struct dir *dir, const char *name, int *ret_fd)
{
	int rc = os->open(dir->fd, name, OS_OPEN_CREATE, dir->mode, ret_fd);
	struct file file;

	dir_parse_name(name, &file);
	if (rc != EEXIST || (file.kind != FILE_TMP && file.kind != FILE_SPARE))
		return rc;
	rc = os->unlink(dir->fd, name);
	if (rc == 0)
		rc = os->open(dir->fd, name, OS_OPEN_CREATE, dir->mode, ret_fd);
	return rc;
}

int
dir_rename(struct dir *dir, const char *from, const char *to)
{
	int rc = os->rename(dir->fd, from, to);

	if (rc == ENOSPC && os->unlink(dir->fd, DIR_NAME_RESERVE_NAME) == 0) {
		dir->name_reserve_used = true;
		rc = os->rename(dir->fd, from, to);
	}
	return rc;
}

void
dir_make_name(
    char name[DIR_NAME_LEN], const struct file_id *id, const char *ext)
{
	if (id->round == 0)
		snprintf(
		    name, DIR_NAME_LEN, "%08" PRIu32 ".%s", id->first, ext);
	else
		snprintf(name, DIR_NAME_LEN,
		    "%08" PRIu32 "-%08" PRIu32 ".r%" PRIu32 ".%uof%u.%s",
		    id->first, id->last, id->round, (unsigned)id->part,
		    (unsigned)id->parts, ext);
}

static int
add_name(void *arg, const char *name)
{
	struct file_list *list = arg;

	if (list->count == list->cap) {
		size_t cap = list->cap > 0 ? 2 * list->cap : 64;
		struct file *files;

		files = os->realloc(list->files, cap * sizeof *files);
		if (files == NULL)
			return ENOMEM;
		list->files = files;
		list->cap = cap;
	}
	dir_parse_name(name, &list->files[list->count]);
	list->count++;
	return 0;
}

static int
compare_u32(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int
compare_files(const void *va, const void *vb)
{
	const struct file *a = va, *b = vb;
	int c;

	c = (int)a->kind - (int)b->kind;
	if (c == 0)
		c = compare_u32(a->id.first, b->id.first);
	if (c == 0)
		c = compare_u32(a->id.last, b->id.last);
	if (c == 0)
		c = compare_u32(a->id.round, b->id.round);
	if (c == 0)
		c = compare_u32(a->id.parts, b->id.parts);
	if (c == 0)
		c = compare_u32(a->id.part, b->id.part);
	return c != 0 ? c : strcmp(a->name, b->name);
}

enum kvlog_status
dir_list(struct dir *dir, struct file_list *ret_list, struct kvlog_error *err)
{
	int rc;

	memset(ret_list, 0, sizeof *ret_list);
	rc = os->list(dir->fd, add_name, ret_list);
	if (rc != 0) {
		file_list_fini(ret_list);
		return err_sys(err, rc, "list directory %s", dir->path);
	}
	if (ret_list->count > 0)
		qsort(ret_list->files, ret_list->count, sizeof *ret_list->files,
		    compare_files);
	return KVLOG_OK;
}

void
file_list_fini(struct file_list *list)
{
	os->free(list->files);
	memset(list, 0, sizeof *list);
}

bool
file_id_equal(const struct file_id *a, const struct file_id *b)
{
	return a->first == b->first && a->last == b->last &&
	       a->round == b->round && a->part == b->part &&
	       a->parts == b->parts;
}

/*
 * The number of parts of the set that begins at files[i], or 0 if it is not
 * complete.  The files of a set are neighbours, in order of part.
 */
static size_t
complete_set(const struct file_list *list, size_t i)
{
	const struct file *one = &list->files[i];

	if (one->id.part != 1)
		return 0;
	if (one->id.parts > list->count - i)
		return 0;
	for (size_t k = 0; k < one->id.parts; k++) {
		const struct file *f = &list->files[i + k];

		if (f->kind != FILE_SEGMENT || f->id.first != one->id.first ||
		    f->id.last != one->id.last ||
		    f->id.round != one->id.round ||
		    f->id.parts != one->id.parts || f->id.part != k + 1 ||
		    f->set_id != one->set_id)
			return 0;
	}
	return one->id.parts;
}

void
dir_tile(struct file_list *list, uint32_t *ret_last, uint32_t *ret_gap)
{
	uint32_t next = 1; /* first number not yet tiled */

	*ret_gap = 0;
	for (size_t i = 0; i < list->count; i++)
		list->files[i].live = false;

	for (size_t i = 0;
	     i < list->count && list->files[i].kind == FILE_SEGMENT;) {
		size_t best = SIZE_MAX, best_parts = 0;
		uint32_t first = list->files[i].id.first;

		/* Files of one first number stand together, narrow ranges and
		 * low rounds first, so the last complete set is the best. */
		for (; i < list->count && list->files[i].kind == FILE_SEGMENT &&
		       list->files[i].id.first == first;
		     i++) {
			size_t parts = complete_set(list, i);

			if (parts > 0) {
				best = i;
				best_parts = parts;
			}
		}
		if (first < next || best == SIZE_MAX)
			continue; /* covered by a wider one, or unfinished */
		if (first > next) {
			*ret_gap = next;
			break;
		}
		for (size_t k = 0; k < best_parts; k++)
			list->files[best + k].live = true;
		next = list->files[best].id.last + 1;
	}
	*ret_last = next - 1;
}
