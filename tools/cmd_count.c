/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_count.c - kvlog count: the number of keys.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static void
print_count(const struct cli *cli, uint64_t count)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_number(&json, "count", count);
		json_end(&json);
	} else {
		printf("%" PRIu64 "\n", count);
	}
}

static enum cli_exit
count_exec(struct cli *cli, int argc, char **argv)
{
	uint64_t count;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	(void)argv;
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_count(db, &count);
	if (st == KVLOG_OK)
		print_count(cli, count);
	else
		status = cli_fail_status(cli, st, "cannot count the keys of");
	return cli_close(cli, db, status);
}

const struct command cmd_count = {
    .name = "count",
    .synopsis = "count STORE",
    .summary = "print the number of keys",
    .help = "Print how many keys have a value.\n",
    .letters = "",
    .arg_min = 1,
    .arg_max = 1,
    .keyed = true,
    .exec = count_exec,
};
