/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_persist.c - kvlog persist: a key that was to expire stays.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

static void
print_persistent(const struct cli *cli, struct bytes key, uint64_t seq)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_raw(&json, "expires_ms", "null");
		json_number(&json, "sequence", seq);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs("Persists: ", stdout);
		text_escape(stdout, key);
		putc('\n', stdout);
	}
	cli_remark(cli, "sequence number %" PRIu64, seq);
}

/* A value that never expires is not written anew. */
static enum kvlog_status
persist(struct kvlog *db, struct bytes key, const struct kvlog_write *how,
    uint64_t *ret_seq)
{
	struct kvlog_receipt receipt;
	struct kvlog_info info;
	enum kvlog_status st = kvlog_lookup(db, key.data, key.len, &info);

	if (st != KVLOG_OK)
		return st;
	*ret_seq = info.seq;
	if (info.expires_ms == 0)
		return KVLOG_OK;
	st = kvlog_expire(db, key.data, key.len, 0, how, &receipt);
	if (st == KVLOG_OK)
		*ret_seq = receipt.seq;
	return st;
}

static enum cli_exit
persist_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog_write how;
	struct bytes key;
	struct kvlog *db;
	uint64_t seq = 0;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	status = cli_write_how(cli, &how);
	if (status == CLI_DONE)
		status = cli_key(cli, argv[1], &key);
	if (status == CLI_DONE)
		status = cli_open(cli, KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = persist(db, key, &how, &seq);
	if (st == KVLOG_NOTFOUND)
		status = cli_not_found(cli, key);
	else if (st != KVLOG_OK)
		status = cli_fail_status(cli, st, "cannot write to");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_persistent(cli, key, seq);
	return status;
}

const struct command cmd_persist = {
    .name = "persist",
    .synopsis = "persist STORE KEY",
    .summary = "let a key that was to expire stay",
    .help = "The value of KEY expires no more.\n",
    .letters = "",
    .arg_min = 2,
    .arg_max = 2,
    .writes = true,
    .keyed = true,
    .exec = persist_exec,
};
