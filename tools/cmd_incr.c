/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_incr.c - kvlog incr: add to a number.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static void
print_number(const struct cli *cli, struct bytes key, int64_t number,
    const struct kvlog_receipt *receipt)
{
	struct json json;
	char text[32];

	snprintf(text, sizeof text, "%" PRId64, number);
	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_raw(&json, "number", text);
		json_number(&json, "sequence", receipt->seq);
		json_end(&json);
	} else {
		puts(text);
	}
	cli_remark(cli, "sequence number %" PRIu64, receipt->seq);
}

static enum cli_exit
incr_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog_receipt receipt;
	struct kvlog_write how;
	struct bytes key;
	int64_t by = 1, number;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_write_how(cli, &how);
	if (status == CLI_DONE)
		status = cli_key(cli, argv[1], &key);
	if (status == CLI_DONE && argc > 2 && !text_parse_signed(argv[2], &by))
		status = cli_usage(
		    cli, "'%s' is no number of 64 bits to add", argv[2]);
	if (status == CLI_DONE)
		status = cli_open(
		    cli, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st =
	    kvlog_increment(db, key.data, key.len, by, &how, &number, &receipt);
	if (st != KVLOG_OK)
		status = cli_fail_key(cli, db, key, st, "cannot change ");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_number(cli, key, number, &receipt);
	return status;
}

static const struct option incr_options[] = {
    {"ttl", required_argument, NULL, OPT_TTL},
    {NULL, 0, NULL, 0},
};

const struct command cmd_incr = {
    .name = "incr",
    .synopsis = "incr STORE KEY [N] [--ttl=TIME]",
    .summary = "add to a number",
    .help = "Add N, or 1, to the decimal number that is the value of KEY, and "
	    "print the sum.\n"
	    "A key that has no value counts as 0.  A negative N goes behind "
	    "'--'.\n\n"
	    "  --ttl=TIME  if KEY has no value yet, it expires after TIME; one "
	    "that has keeps\n"
	    "              its own\n",
    .letters = "",
    .options = incr_options,
    .arg_min = 2,
    .arg_max = 3,
    .writes = true,
    .keyed = true,
    .exec = incr_exec,
};
