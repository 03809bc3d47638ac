/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_delete.c - kvlog delete: remove one key.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>

static void
print_deleted(const struct cli *cli, struct bytes key,
    const struct kvlog_receipt *receipt)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_bool(&json, "deleted", true);
		json_number(&json, "sequence", receipt->seq);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs("Deleted: ", stdout);
		text_escape(stdout, key);
		putc('\n', stdout);
	}
	cli_remark(cli, "sequence number %" PRIu64, receipt->seq);
}

static enum cli_exit
delete_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog_receipt receipt;
	struct kvlog_write how;
	struct bytes key;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	status = cli_write_how(cli, &how);
	if (status == CLI_DONE)
		status = cli_key(cli, argv[1], &key);
	if (status != CLI_DONE)
		return status;
	status = cli_open(cli, KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_delete(db, key.data, key.len, &how, &receipt);
	if (st == KVLOG_NOTFOUND)
		status = cli_not_found(cli, key);
	else if (st != KVLOG_OK)
		status = cli_fail_status(cli, st, "cannot write to");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_deleted(cli, key, &receipt);
	return status;
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
