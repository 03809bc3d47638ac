/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pieces.h - contents for tests of compaction: what the engine writes, one
 * segment for each piece, and a model of it.
 */
#ifndef PIECES_H
#define PIECES_H

#include "makelog.h"
#include "model.h"
#include "rollover.h"
#include "store.h"
#include "turn.h"

/* Of the smallest segments; nothing is done in the background. */
static inline struct kvlog *
open_store(unsigned flags, enum kvlog_index_mode mode)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *db = NULL;

	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.durability = KVLOG_DURABILITY_NONE;
	o.index_mode = mode;
	o.timeout_ms = 0;
	if ((flags & KVLOG_OPEN_CREATE) != 0)
		o.segment_size = MAKELOG_SIZE;
	if (kvlog_open(MAKELOG_STORE, &o, &db, &err) != KVLOG_OK)
		ck_abort_msg("open: %s", err.text);
	return db;
}

static inline void
close_store(struct kvlog *db)
{
	struct kvlog_error err = {0};

	if (kvlog_close(db, &err) != KVLOG_OK)
		ck_abort_msg("close: %s", err.text);
}

static inline void
put(struct kvlog *db, struct model *model, const char *key, size_t value_len)
{
	static uint8_t value[4000];
	struct kvlog_receipt receipt;

	memset(value, (int)(kvlog_last_seq(db) % 250 + 1), value_len);
	MAKELOG_OK(
	    kvlog_put(db, key, strlen(key), value, value_len, NULL, &receipt));
	model_put(model, key, strlen(key), value, value_len, receipt.seq);
}

static inline void delete (
    struct kvlog *db, struct model *model, const char *key)
{
	if (kvlog_delete(db, key, strlen(key), NULL, NULL) == KVLOG_OK)
		ck_assert(model_delete(model, key, strlen(key)));
}

static inline void
exchange(struct kvlog *db, struct model *model)
{
	struct kvlog_op ops[] = {
	    {KVLOG_OP_DELETE, KVLOG_IF_ANY, 0, "b", 1, NULL, 0, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "a", 1, "lost", 4, 0, NULL},
	    {KVLOG_OP_PUT, KVLOG_IF_ANY, 0, "a", 1, "batch", 5, 0, NULL},
	};
	struct kvlog_receipt receipt;

	MAKELOG_OK(kvlog_apply(db, ops, 3, NULL, &receipt, NULL));
	(void)model_delete(model, "b", 1);
	model_put(model, "a", 1, "batch", 5, receipt.seq);
}

static inline void
seal(struct kvlog *db)
{
	struct log *log = &db->store->log;

	MAKELOG_OK(log_take_turn(log, NULL));
	MAKELOG_OK(log_roll_over(log, 0, false, false, NULL));
	log_release_turn(log);
}

#define PIECES 5 /* kinds of them */

static inline void
write_piece(struct kvlog *db, struct model *model, unsigned kind)
{
	switch (kind) {
	case 0:
		put(db, model, "a", 30);
		break;
	case 1:
		put(db, model, "b", 40);
		put(db, model, "b", 10);
		break;
	case 2:
		delete (db, model, "a");
		break;
	case 3:
		exchange(db, model);
		break;
	default: /* nothing */
		break;
	}
	seal(db);
}

#endif
