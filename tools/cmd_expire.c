/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_expire.c - kvlog expire: let a key that is there expire.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static void
print_expiring(const struct cli *cli, struct bytes key, uint64_t expires_ms,
    const struct kvlog_receipt *receipt)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_number(&json, "expires_ms", expires_ms);
		json_number(&json, "sequence", receipt->seq);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs("Expires: ", stdout);
		text_escape(stdout, key);
		putc('\n', stdout);
	}
	cli_remark(cli, "sequence number %" PRIu64, receipt->seq);
}

static enum cli_exit
expire_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog_receipt receipt;
	struct kvlog_write how;
	struct bytes key;
	uint64_t expires_ms = 0;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	status = cli_write_how(cli, &how);
	if (status == CLI_DONE)
		status = cli_key(cli, argv[1], &key);
	if (status == CLI_DONE)
		status = cli_expiry(cli, argv[2], &expires_ms);
	if (status == CLI_DONE)
		status = cli_open(cli, KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_expire(db, key.data, key.len, expires_ms, &how, &receipt);
	if (st == KVLOG_NOTFOUND)
		status = cli_not_found(cli, key);
	else if (st != KVLOG_OK)
		status = cli_fail_status(cli, st, "cannot write to");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_expiring(cli, key, expires_ms, &receipt);
	return status;
}

const struct command cmd_expire = {
    .name = "expire",
    .synopsis = "expire STORE KEY TIME",
    .summary = "let a key expire",
    .help = "The value of KEY expires after TIME: milliseconds, or 10s, 10m, "
	    "10h, 10d.\n",
    .letters = "",
    .arg_min = 3,
    .arg_max = 3,
    .writes = true,
    .keyed = true,
    .exec = expire_exec,
};
