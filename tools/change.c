/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * change.c - commands that change one key, which has to be there.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static void
print_changed(const struct cli *cli, const struct change *change,
    struct bytes key, uint64_t seq)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_raw(&json, change->member, change->value);
		json_number(&json, "sequence", seq);
		json_end(&json);
	} else if (!cli->quiet) {
		printf("%s: ", change->label);
		text_escape(stdout, key);
		putc('\n', stdout);
	}
	cli_remark(cli, "sequence number %" PRIu64, seq);
}

enum cli_exit
change_key(struct cli *cli, const char *arg, const struct change *change)
{
	struct kvlog_write how;
	struct bytes key;
	struct kvlog *db;
	uint64_t seq = 0;
	enum kvlog_status st;
	enum cli_exit status = cli_write_how(cli, &how);

	if (status == CLI_DONE)
		status = cli_key(cli, arg, &key);
	if (status == CLI_DONE)
		status = cli_open(cli, KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = change->fn(db, key, change->expires_ms, &how, &seq);
	if (st == KVLOG_NOTFOUND)
		status = cli_not_found(cli, key);
	else if (st != KVLOG_OK)
		status = cli_fail_key(cli, db, key, st, "cannot change ");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_changed(cli, change, key, seq);
	return status;
}
