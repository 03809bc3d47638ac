/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offline.c - a whole store is opened, worked on, and closed.
 *
 * The handle holds the writer's lock from its opening to its closing; nothing
 * is looked up in it, so it needs no keydir.
 */
#include "config.h"

#include "offline.h"

#include "compact.h"
#include "store.h"

enum kvlog_status
offline_compact(const char *path, const struct kvlog_compact_options *options,
    struct kvlog_compact_report *report, struct kvlog_error *err)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	bool dry = (options->flags & KVLOG_COMPACT_DRY_RUN) != 0;
	struct kvlog *db;
	struct compaction c = {.report = {.size = sizeof c.report}};
	enum kvlog_status st, close_st;

	o.flags = dry ? KVLOG_OPEN_READONLY
		      : KVLOG_OPEN_NOTHREAD | KVLOG_OPEN_UNSHARED;
	o.timeout_ms = options->timeout_ms;
	o.index_mode = KVLOG_INDEX_HINTS;
	st = store_open(path, &o, &db, err);
	if (st == KVLOG_OK) {
		compact_init(&c, &db->store->views,
		    atomic_load(&db->store->views.view),
		    dry ? NULL : &db->store->log,
		    db->store->options.segment_size);
		compact_take_options(&c, options);
		st = compact_store(&c, err);
		close_st = store_close(db, st == KVLOG_OK ? err : NULL);
		if (st == KVLOG_OK)
			st = close_st;
	}
	*report = c.report;
	return st;
}
