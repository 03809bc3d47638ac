/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_create.c - kvlog create: make an empty store where there is none.
 */
#include "config.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

static void
print_created(const struct cli *cli, uint64_t segment_size)
{
	struct bytes store = {cli->store, strlen(cli->store)};
	char size[TEXT_SIZE_LEN];
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "created", store);
		json_number(&json, "segment_size", segment_size);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs("Database created: ", stdout);
		text_message(stdout, cli->store);
		printf(" (segments up to %s)\n", text_size(size, segment_size));
	}
}

static enum cli_exit
create_exec(struct cli *cli, int argc, char **argv)
{
	uint64_t segment_size = KVLOG_SEGMENT_SIZE_DEFAULT;
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	(void)argv;
	status = cli_segment_size(cli, &segment_size);
	if (status != CLI_DONE)
		return status;
	status = cli_open(cli,
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE | KVLOG_OPEN_NOTHREAD,
	    segment_size, &db);
	if (status != CLI_DONE)
		return status;
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_created(cli, segment_size);
	return status;
}

static const struct option create_options[] = {
    {"segment-size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {"size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {NULL, 0, NULL, 0},
};

const struct command cmd_create = {
    .name = "create",
    .synopsis = "create STORE [--segment-size=SIZE | --size=SIZE]",
    .summary = "make an empty store",
    .help =
	"Make an empty store in the directory STORE, which must not hold "
	"one yet.\n\n"
	"  --segment-size=SIZE  no segment file is larger than SIZE, unless "
	"one record\n"
	"                       is: bytes, or 64K, 128M, 1G (default "
	"128M)\n"
	"  --size=SIZE          the same; a familiar name for the maximal "
	"size of a\n"
	"                       segment.  The store itself grows without "
	"such a limit\n",
    .letters = "",
    .options = create_options,
    .arg_min = 1,
    .arg_max = 1,
    .writes = true,
    .exec = create_exec,
};
