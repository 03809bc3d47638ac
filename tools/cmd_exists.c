/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_exists.c - kvlog exists: whether a key has a value.
 */
#include "config.h"

#include "cli.h"

static void
print_answer(const struct cli *cli, struct bytes key, bool exists)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_bool(&json, "exists", exists);
		json_end(&json);
	} else if (!cli->quiet) {
		puts(exists ? "yes" : "no");
	}
}

static enum cli_exit
exists_exec(struct cli *cli, int argc, char **argv)
{
	struct bytes key;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	status = cli_key(cli, argv[1], &key);
	if (status != CLI_DONE)
		return status;
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_exists(db, key.data, key.len);
	if (st == KVLOG_OK || st == KVLOG_NOTFOUND) {
		print_answer(cli, key, st == KVLOG_OK);
		status = st == KVLOG_OK ? CLI_DONE : CLI_NOTFOUND;
	} else {
		status = cli_fail_key(cli, db, key, st, "cannot read ");
	}
	return cli_close(cli, db, status);
}

const struct command cmd_exists = {
    .name = "exists",
    .synopsis = "exists STORE KEY",
    .summary = "tell whether a key has a value",
    .help = "Print yes (exit status 0) or no (exit status 1); with --quiet, "
	    "nothing.\n",
    .letters = "",
    .arg_min = 2,
    .arg_max = 2,
    .keyed = true,
    .exec = exists_exec,
};
