/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_ttl.c - kvlog ttl: how long a key has left.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

/* Of the last moment there is some left. */
static uint64_t
left_until(uint64_t expires_ms)
{
	const uint64_t now = cli_now_ms();

	return expires_ms > now ? expires_ms - now : 1;
}

void
cli_print_ttl(uint64_t expires_ms)
{
	if (expires_ms != 0)
		printf("%" PRIu64 "\n", left_until(expires_ms));
	else
		puts("none");
}

static void
print_ttl(const struct cli *cli, struct bytes key, uint64_t expires_ms)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		if (expires_ms != 0) {
			json_number(&json, "ttl_ms", left_until(expires_ms));
			json_number(&json, "expires_ms", expires_ms);
		} else {
			json_raw(&json, "ttl_ms", "null");
			json_raw(&json, "expires_ms", "null");
		}
		json_end(&json);
	} else {
		cli_print_ttl(expires_ms);
	}
}

static enum cli_exit
ttl_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog_info info;
	struct bytes key;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	status = cli_key(cli, argv[1], &key);
	if (status == CLI_DONE)
		status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_lookup(db, key.data, key.len, &info);
	if (st == KVLOG_OK)
		print_ttl(cli, key, info.expires_ms);
	else if (st == KVLOG_NOTFOUND)
		status = cli_not_found(cli, key);
	else
		status = cli_fail_key(cli, db, key, st, "cannot read ");
	return cli_close(cli, db, status);
}

const struct command cmd_ttl = {
    .name = "ttl",
    .synopsis = "ttl STORE KEY",
    .summary = "print how long a key has left",
    .help = "Print after how many milliseconds the value of KEY expires, or "
	    "'none' if it\n"
	    "never does.\n",
    .letters = "",
    .arg_min = 2,
    .arg_max = 2,
    .keyed = true,
    .exec = ttl_exec,
};
