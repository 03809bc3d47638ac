/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_db.h - for tests that work on one open store: a checked fixture that
 * begins with a new one and closes it.
 */
#ifndef API_DB_H
#define API_DB_H

#include "api.h"

static struct kvlog *db;

static inline void
api_db_setup(void)
{
	api_setup();
	db = api_open(api_store, KVLOG_OPEN_CREATE);
}

static inline void
api_db_teardown(void)
{
	api_close(db);
	api_teardown();
}

static inline void
api_db_reopen(void)
{
	api_close(db);
	db = api_open(api_store, 0);
}

#endif
