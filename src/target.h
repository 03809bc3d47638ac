/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.h - where a backup goes: its directory, and what is beside it.
 */
#ifndef TARGET_H
#define TARGET_H

#include "base.h"
#include "capture.h"
#include "control.h"
#include "dir.h"

/* A directory that nobody else writes to. */
struct place {
	struct dir dir;
	struct control control;
	bool locked;
};

struct target {
	/* Set by the caller, the rest being zero. */
	const struct dir *source; /* of the store */
	uint32_t timeout_ms;      /* longest wait for others */
	bool must_be_new;         /* there is no earlier backup */

	char *path, *part_path, *aside_path;       /* owned */
	const char *base, *part_base, *aside_base; /* their last names */
	int parent_fd;
	struct place part;
	struct place earlier; /* if it is not locked, there is none */
};

/* Look at the path.  KVLOG_INVAL, _CONFLICT (inside of the store), _NOMEM, _IO.
 * target_fini() in any case. */
enum kvlog_status target_init(
    struct target *t, const char *path, struct kvlog_error *err);
void target_fini(struct target *t);

/* Lock the earlier backup, if there is one.  KVLOG_CONFLICT: something else is
 * there; _BUSY, _NOMEM, _IO. */
enum kvlog_status target_open_earlier(
    struct target *t, const struct capture *c, struct kvlog_error *err);

/* Make or take over the directory of the new one, and lock it: likewise. */
enum kvlog_status target_open_part(struct target *t, struct kvlog_error *err);

/* The new one is complete, and durable: it gets the backup's name, durably, and
 * the earlier one goes. */
enum kvlog_status target_give_name(struct target *t, struct kvlog_error *err);

#endif
