/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * online.c - compaction beside readers and writers.
 *
 * One process of all is the maintainer, and one thread of it works at a time:
 * so the live set changes under a compaction only by growing at its end.  What
 * the maintenance thread would have to do meanwhile is done in between.
 */
#include "config.h"

#include "online.h"

#include "compact.h"

#include <string.h>

#define WAIT_NS UINT64_C(2000000)

/* With maintain_lock held. */
static enum kvlog_status
wait_for_part(struct store *db, uint32_t timeout_ms, struct kvlog_error *err)
{
	uint64_t end = os->ticks_ns() + timeout_ms * UINT64_C(1000000);

	while (!store_become_maintainer(db)) {
		if (os->ticks_ns() >= end)
			return err_set(err, KVLOG_BUSY, 0,
			    "another process maintains %s, perhaps by a "
			    "compaction; try again later",
			    db->dir.path);
		os->sleep_ns(WAIT_NS);
		(void)store_go_on(db);
	}
	return KVLOG_OK;
}

/* With maintain_lock held. */
static enum kvlog_status
compact(struct store *db, const struct kvlog_compact_options *options,
    struct compaction *c, struct kvlog_error *err)
{
	enum kvlog_status st = wait_for_part(db, options->timeout_ms, err);

	if (st == KVLOG_OK)
		st = log_check_health(&db->log, err);
	/* Who writes faster than this reads is not run after. */
	c->upto = control_pos_segment(control_position(&db->control));
	/* What has a hint takes no memory. */
	while (st == KVLOG_OK && log_lacks_hint(&db->log, c->upto) &&
	       log_write_hint(&db->log, false))
		(void)store_go_on(db);
	c->online = true;
	return st == KVLOG_OK ? compact_store(c, err) : st;
}

enum kvlog_status
online_compact(struct store *db, const struct kvlog_compact_options *options,
    struct kvlog_compact_report *report, struct kvlog_error *err)
{
	bool dry = (options->flags & KVLOG_COMPACT_DRY_RUN) != 0;
	struct view *view;
	struct compaction c;
	enum kvlog_status st;

	memset(report, 0, sizeof *report);
	report->size = sizeof *report;
	if (!dry && !db->writable)
		return err_set(err, KVLOG_READONLY, 0,
		    "%s is open for reading only; open it for writing to "
		    "compact it",
		    db->dir.path);
	st = store_keep_view(db, &view);
	if (st != KVLOG_OK)
		return err_set(
		    err, st, 0, "what %s holds cannot be seen", db->dir.path);
	pthread_mutex_lock(&db->maintain_lock);
	compact_init(&c, &db->views, view, dry ? NULL : &db->log,
	    db->options.segment_size);
	compact_take_options(&c, options);
	/* A dry run keeps the thread from its work, too. */
	if (db->writable) {
		c.go_on = store_go_on;
		c.go_on_arg = db;
	}
	if (dry) {
		st = compact_store(&c, err);
	} else {
		reclaim_begin(&db->reclaim);
		st = compact(db, options, &c, err);
		reclaim_end(&db->reclaim, &db->log, &c.report);
		/* Without a thread nobody else here would give it back. */
		if (db->control.shared)
			control_drop_maintainer(&db->control);
	}
	pthread_mutex_unlock(&db->maintain_lock);
	view_release(&db->views, view);
	*report = c.report;
	return st;
}
