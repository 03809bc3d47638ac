/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_persist.c - kvlog persist: a key that was to expire stays.
 */
#include "config.h"

#include "cli.h"

/* A value that never expires is not written anew. */
static enum kvlog_status
persist(struct kvlog *db, struct bytes key, uint64_t expires_ms,
    const struct kvlog_write *how, uint64_t *ret_seq)
{
	struct kvlog_receipt receipt = {0};
	struct kvlog_info info;
	enum kvlog_status st = kvlog_lookup(db, key.data, key.len, &info);

	if (st != KVLOG_OK)
		return st;
	*ret_seq = info.seq;
	if (info.expires_ms == expires_ms)
		return KVLOG_OK;
	st = kvlog_expire(db, key.data, key.len, expires_ms, how, &receipt);
	if (st == KVLOG_OK)
		*ret_seq = receipt.seq;
	return st;
}

static enum cli_exit
persist_exec(struct cli *cli, int argc, char **argv)
{
	static const struct change change = {
	    persist, 0, "Persists", "expires_ms", "null"};

	(void)argc;
	return change_key(cli, argv[1], &change);
}

const struct command cmd_persist = {
    .name = "persist",
    .synopsis = "persist STORE KEY",
    .summary = "let a key that was to expire stay",
    .help = "The value of KEY expires no more.\n",
    .letters = "",
    .arg_min = 2,
    .arg_max = 2,
    .writes = true,
    .keyed = true,
    .exec = persist_exec,
};
