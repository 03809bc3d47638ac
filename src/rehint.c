/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rehint.c - rebuild hint files.
 *
 * Verify says which are wrong or of no use.  They are removed under the
 * writer lock; that a writer came in between costs at worst a good one.  What
 * is missing then is made by whoever closes the store after writing, so it is
 * opened and closed.
 */
#include "config.h"

#include "rehint.h"

#include "verify.h"

#include <errno.h>

static bool
is_useless(const struct place *p)
{
	return p->kind == KVLOG_FINDING_HINT ||
	       p->kind == KVLOG_FINDING_STALE_HINT;
}

static bool
is_damaged_elsewhere(const struct verify *v)
{
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];

		if (p->damage && !p->dropped && p->kind != 0 && !is_useless(p))
			return true;
	}
	return false;
}

static enum kvlog_status
remove_useless(struct verify *v)
{
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];
		int rc;

		if (!is_useless(p))
			continue;
		rc = os->unlink(v->dir.fd, p->name);
		if (rc != 0 && rc != ENOENT)
			return err_sys(
			    v->err, rc, "remove %s/%s", v->dir.path, p->name);
		v->report->removed_hints++;
	}
	return KVLOG_OK;
}

static enum kvlog_status
remove_locked(struct verify *v)
{
	struct control control;
	enum kvlog_status st = control_open(&control, &v->dir, true, v->err);

	if (st != KVLOG_OK)
		return st;
	st = control_lock_writer(
	    &control, &v->dir, v->options->timeout_ms, v->err);
	if (st == KVLOG_OK)
		st = remove_useless(v);
	control_close(&control);
	return st;
}

/* A writer that closes makes the hints that are missing. */
static enum kvlog_status
open_and_close(struct verify *v)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db;
	enum kvlog_status st;

	o.timeout_ms = v->options->timeout_ms;
	st = kvlog_open(v->dir.path, &o, &db, v->err);
	return st == KVLOG_OK ? kvlog_close(db, v->err) : st;
}

enum kvlog_status
rehint_store(const char *path, const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err)
{
	struct verify v;
	enum kvlog_status st = verify_init(&v, path, options, report, err);

	if (st == KVLOG_OK)
		st = verify_tell(&v);
	if ((st == KVLOG_OK || st == KVLOG_CORRUPT) &&
	    !is_damaged_elsewhere(&v)) {
		st = remove_locked(&v);
		if (st == KVLOG_OK)
			st = open_and_close(&v);
	}
	verify_fini(&v);
	return st;
}
