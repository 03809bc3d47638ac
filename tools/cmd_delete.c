/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_delete.c - kvlog delete: remove one key.
 */
#include "config.h"

#include "cli.h"

static enum kvlog_status
delete_key(struct kvlog *db, struct bytes key, uint64_t expires_ms,
    const struct kvlog_write *how, uint64_t *ret_seq)
{
	struct kvlog_receipt receipt = {0};
	enum kvlog_status st =
	    kvlog_delete(db, key.data, key.len, how, &receipt);

	(void)expires_ms;
	*ret_seq = receipt.seq;
	return st;
}

static enum cli_exit
delete_exec(struct cli *cli, int argc, char **argv)
{
	static const struct change change = {
	    delete_key, 0, "Deleted", "deleted", "true"};

	(void)argc;
	return change_key(cli, argv[1], &change);
}

const struct command cmd_delete = {
    .name = "delete",
    .alias = "del",
    .synopsis = "delete|del STORE KEY",
    .summary = "remove a key (also: del)",
    .help = "Remove KEY and its value.\n",
    .letters = "",
    .arg_min = 2,
    .arg_max = 2,
    .writes = true,
    .keyed = true,
    .exec = delete_exec,
};
