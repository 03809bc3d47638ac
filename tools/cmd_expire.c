/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_expire.c - kvlog expire: let a key that is there expire.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static enum kvlog_status
expire(struct kvlog *db, struct bytes key, uint64_t expires_ms,
    const struct kvlog_write *how, uint64_t *ret_seq)
{
	struct kvlog_receipt receipt = {0};
	enum kvlog_status st =
	    kvlog_expire(db, key.data, key.len, expires_ms, how, &receipt);

	*ret_seq = receipt.seq;
	return st;
}

static enum cli_exit
expire_exec(struct cli *cli, int argc, char **argv)
{
	char value[24];
	struct change change = {expire, 0, "Expires", "expires_ms", value};
	enum cli_exit status = cli_expiry(cli, argv[2], &change.expires_ms);

	(void)argc;
	if (status != CLI_DONE)
		return status;
	snprintf(value, sizeof value, "%" PRIu64, change.expires_ms);
	return change_key(cli, argv[1], &change);
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
