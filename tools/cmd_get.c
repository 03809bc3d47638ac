/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_get.c - kvlog get: print one value.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>

static void
print_json(struct bytes key, struct bytes value, const struct kvlog_info *info)
{
	struct json json;

	json_begin(&json, stdout);
	json_bytes(&json, "key", key);
	json_value(&json, value, info->expires_ms);
	json_number(&json, "segment", info->segment);
	json_number(&json, "offset", info->offset);
	json_number(&json, "sequence", info->seq);
	json_end(&json);
}

static enum cli_exit
print_value(const struct cli *cli, struct bytes key, struct bytes value,
    const struct kvlog_info *info)
{
	if (cli->json) {
		print_json(key, value, info);
	} else {
		fwrite(value.data, 1, value.len, stdout);
		if (cli_option(cli, OPT_RAW) == NULL)
			putc('\n', stdout);
	}
	/* What did not fit into the buffer may have failed before. */
	if (ferror(stdout) || fflush(stdout) != 0)
		return cli_fail_output(cli, errno);
	cli_remark(cli,
	    "%zu bytes, segment %" PRIu32 ", offset %" PRIu64
	    ", sequence number %" PRIu64,
	    value.len, info->segment, info->offset, info->seq);
	return CLI_DONE;
}

static enum cli_exit
get_value(struct cli *cli, struct kvlog *db, struct bytes key)
{
	struct kvlog_info info = {0};
	void *data = NULL;
	size_t len = 0;
	enum kvlog_status st;
	enum cli_exit status;

	/* The place first: should the value change in between, a later
	 * --if-seq with this number fails, as it must. */
	st = kvlog_lookup(db, key.data, key.len, &info);
	if (st == KVLOG_OK)
		st = kvlog_get_alloc(db, key.data, key.len, &data, &len);
	if (st == KVLOG_NOTFOUND)
		return cli_not_found(cli, key);
	if (st == KVLOG_CORRUPT)
		return cli_fail_value(cli, key, &info);
	if (st != KVLOG_OK)
		return cli_fail_key(cli, db, key, st, "cannot read ");
	status = print_value(cli, key, (struct bytes){data, len}, &info);
	kvlog_free(data);
	return status;
}

static enum cli_exit
get_exec(struct cli *cli, int argc, char **argv)
{
	struct bytes key;
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	status = cli_key(cli, argv[1], &key);
	if (status != CLI_DONE)
		return status;
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	return cli_close(cli, db, get_value(cli, db, key));
}

static const struct option get_options[] = {
    {"raw", no_argument, NULL, OPT_RAW},
    {NULL, 0, NULL, 0},
};

const struct command cmd_get = {
    .name = "get",
    .synopsis = "get STORE KEY [--raw]",
    .summary = "print the value of a key",
    .help = "Print the value of KEY and a newline.\n\n"
	    "  --raw  print exactly the bytes of the value, no newline\n",
    .letters = "",
    .options = get_options,
    .arg_min = 2,
    .arg_max = 2,
    .keyed = true,
    .exec = get_exec,
};
