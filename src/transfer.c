/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.c - a file of one directory into another.
 *
 * A link is the same file under another name: it takes no time and no space,
 * and what is kept by it is as safe as the disk that both are on.  A clone
 * has blocks of its own as soon as somebody writes.  Whatever the file system
 * cannot do is left to the next way.
 *
 * A copy gets its name when it is whole, durable, and read again.  Blocks of
 * zeros are left out, so it takes no more space than its bytes need.
 */
#include "config.h"

#include "transfer.h"

#include "segment.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define COPY_NAME "copy.tmp"
#define PIECE_LEN (UINT64_C(64) << 10)

/* Whether another way may do what this one cannot. */
static bool
is_refusal(int rc)
{
	return rc == EXDEV || rc == EPERM || rc == EACCES || rc == EMLINK ||
	       rc == EOPNOTSUPP || rc == ENOSYS || rc == EINVAL;
}

static int
sync_by_name(const struct dir *dir, const char *name)
{
	int fd, rc = os->open(dir->fd, name, OS_OPEN_READ, 0, &fd);

	if (rc != 0)
		return rc;
	rc = os->sync(fd);
	os->close(fd);
	return rc;
}

static int
link_file(const struct transfer *t, const char *name)
{
	int rc = t->copy_only ? EOPNOTSUPP
			      : os->link(t->from->fd, name, t->to->fd, name);

	if (rc == 0 && t->sync_linked)
		rc = sync_by_name(t->to, name);
	return rc;
}

/* Of one byte at least. */
static bool
is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Two open files, one being a copy of the other, piece by piece. */
struct copying {
	const struct transfer *t;
	const char *name;
	int from, to;
	uint64_t size;
	uint8_t *piece, *again;
};

static enum kvlog_status
copy_pieces(struct copying *c, struct kvlog_error *err)
{
	int rc = os->truncate(c->to, c->size);

	for (uint64_t off = 0; off < c->size && rc == 0;) {
		size_t got = 0;

		rc = os->pread(c->from, c->piece, PIECE_LEN, off, &got);
		if (rc != 0)
			return err_sys(
			    err, rc, "read %s/%s", c->t->from->path, c->name);
		if (got == 0)
			break; /* somebody cut it: the comparison tells */
		if (!is_zero(c->piece, got))
			rc = os->pwrite(c->to, c->piece, got, off);
		if (rc == 0 && !c->t->go_on(c->t->arg, got))
			return err_set(err, KVLOG_CANCELLED, 0,
			    "%s was not copied: it was cancelled", c->name);
		off += got;
	}
	if (rc == 0)
		rc = os->sync(c->to);
	return rc == 0
		   ? KVLOG_OK
		   : err_sys(err, rc, "write %s/%s", c->t->to->path, COPY_NAME);
}

static enum kvlog_status
compare_pieces(struct copying *c, struct kvlog_error *err)
{
	for (uint64_t off = 0; off < c->size;) {
		size_t len = 0, got = 0;
		int rc = os->pread(c->from, c->piece, PIECE_LEN, off, &len);

		if (rc != 0)
			return err_sys(
			    err, rc, "read %s/%s", c->t->from->path, c->name);
		rc = os->pread(c->to, c->again, PIECE_LEN, off, &got);
		if (rc != 0)
			return err_sys(
			    err, rc, "read %s/%s", c->t->to->path, COPY_NAME);
		if (len == 0 || got != len ||
		    memcmp(c->piece, c->again, len) != 0)
			return err_set(err, KVLOG_IO, 0,
			    "the copy of %s/%s in %s reads back otherwise near "
			    "offset %" PRIu64 "; see to the disks",
			    c->t->from->path, c->name, c->t->to->path, off);
		off += len;
	}
	return KVLOG_OK;
}

/* With both files open. */
static enum kvlog_status
fill_copy(
    struct copying *c, enum transfer_how *ret_how, struct kvlog_error *err)
{
	enum kvlog_status st;
	int rc = c->t->copy_only ? EOPNOTSUPP : os->clone(c->from, c->to);

	if (rc == 0) {
		*ret_how = TRANSFER_CLONED;
		rc = os->sync(c->to);
		return rc == 0 ? KVLOG_OK
			       : err_sys(err, rc, "write %s/%s", c->t->to->path,
				     COPY_NAME);
	}
	if (!is_refusal(rc))
		return err_sys(err, rc, "clone %s/%s into %s", c->t->from->path,
		    c->name, c->t->to->path);
	*ret_how = TRANSFER_COPIED;
	c->piece = os->malloc(2 * PIECE_LEN);
	if (c->piece == NULL)
		return err_set(err, KVLOG_NOMEM, 0, "copy %s", c->name);
	c->again = c->piece + PIECE_LEN;
	st = copy_pieces(c, err);
	if (st == KVLOG_OK)
		st = compare_pieces(c, err);
	os->free(c->piece);
	return st;
}

static enum kvlog_status
copy_file(const struct transfer *t, const char *name,
    enum transfer_how *ret_how, bool *ret_gone, struct kvlog_error *err)
{
	struct copying c = {.t = t, .name = name, .from = -1, .to = -1};
	struct dir to = *t->to;
	struct os_stat stat;
	enum kvlog_status st;
	int rc = os->open(t->from->fd, name, OS_OPEN_READ, 0, &c.from);

	*ret_gone = rc == ENOENT;
	if (*ret_gone)
		return KVLOG_OK;
	if (rc == 0)
		rc = os->stat(c.from, &stat);
	if (rc != 0) {
		st = err_sys(err, rc, "open %s/%s", t->from->path, name);
		goto out;
	}
	c.size = stat.size;
	to.mode = stat.mode; /* who may not read it may not read its copy */
	rc = dir_create_file(&to, COPY_NAME, &c.to);
	if (rc != 0) {
		st = err_sys(err, rc, "create %s/%s", to.path, COPY_NAME);
		goto out;
	}
	st = fill_copy(&c, ret_how, err);
	os->close(c.to);
	if (st == KVLOG_OK) {
		rc = os->rename(to.fd, COPY_NAME, name);
		if (rc != 0)
			st = err_sys(err, rc, "name %s/%s", to.path, name);
	}
	if (st != KVLOG_OK)
		(void)os->unlink(to.fd, COPY_NAME);
out:
	if (c.from >= 0)
		os->close(c.from);
	return st;
}

enum kvlog_status
transfer_file(const struct transfer *t, const char *name,
    enum transfer_how *ret_how, bool *ret_gone, struct kvlog_error *err)
{
	int rc = link_file(t, name);

	*ret_how = TRANSFER_LINKED;
	*ret_gone = rc == ENOENT;
	if (rc == 0 || *ret_gone)
		return KVLOG_OK;
	if (is_refusal(rc))
		return copy_file(t, name, ret_how, ret_gone, err);
	return err_sys(
	    err, rc, "link %s/%s into %s", t->from->path, name, t->to->path);
}

enum kvlog_status
transfer_verify(struct dir *dir, const char *name, const struct file_id *id,
    uint64_t end, bool *ret_damaged, uint64_t *ret_off, struct kvlog_error *err)
{
	struct segment_scan scan;
	struct segment *seg;
	struct record rec;
	bool value_ok, sound = true;
	enum kvlog_status st = segment_open_header(dir, name, id, &seg, err);
	int rc;

	*ret_damaged = false;
	if (st != KVLOG_OK)
		return st;
	rc = segment_scan_init(&scan, seg, SEGMENT_DATA_OFF, end);
	while (rc == 0 && sound && scan.off < end)
		switch (segment_scan_look(&scan, &rec, &value_ok)) {
		case SCAN_RECORD:
			sound = value_ok;
			if (sound)
				scan.off += rec.size;
			break;
		case SCAN_NOMEM:
			rc = ENOMEM;
			break;
		case SCAN_ZERO:
		case SCAN_END:
		case SCAN_BAD:
		case SCAN_UNKNOWN:
			sound = false;
			break;
		}
	*ret_damaged = rc == 0 && !sound;
	*ret_off = scan.off;
	segment_scan_fini(&scan);
	segment_close(seg);
	return rc == 0 ? KVLOG_OK
		       : err_set(err, KVLOG_NOMEM, 0, "verify %s/%s", dir->path,
			     name);
}
