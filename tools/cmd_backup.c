/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_backup.c - kvlog backup: a copy of a store that may be in use.
 *
 * The store is opened beside those who write to it.  Where that is not
 * possible (one has it for himself, the medium or its rights forbid it) it is
 * opened for reading: the end of the log is then copied, not shared.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>

static bool
may_read_only(const struct cli *cli, enum kvlog_status st)
{
	const int rc = cli->error.sys_errno;

	return st == KVLOG_BUSY || st == KVLOG_UNSUPPORTED ||
	       (st == KVLOG_IO && (rc == EACCES || rc == EPERM || rc == EROFS));
}

static enum cli_exit
open_source(struct cli *cli, struct kvlog **ret_db)
{
	enum kvlog_status st;

	if (cli_option(cli, OPT_READ_ONLY) != NULL)
		return cli_open(cli, KVLOG_OPEN_READONLY, 0, ret_db);
	st = cli_try_open(cli, KVLOG_OPEN_NOTHREAD, 0, ret_db);
	if (st == KVLOG_OK)
		return CLI_DONE;
	if (!may_read_only(cli, st))
		return cli_fail_open(cli, st);
	cli_remark(cli, "%s; opened for reading instead", cli->error.text);
	return cli_open(cli, KVLOG_OPEN_READONLY, 0, ret_db);
}

static enum cli_exit
backup_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	if (argv[1][0] == '\0')
		return cli_usage(cli, "DIR is empty; it is the path of the "
				      "backup's directory");
	status = open_source(cli, &db);
	if (status != CLI_DONE)
		return status;
	return cli_close(cli, db, backup_into(cli, db, argv[1], 0));
}

static const struct option backup_options[] = {
    {"copy", no_argument, NULL, OPT_COPY},
    {"no-verify", no_argument, NULL, OPT_NO_VERIFY},
    {"read-only", no_argument, NULL, OPT_READ_ONLY},
    {NULL, 0, NULL, 0},
};

const struct command cmd_backup = {
    .name = "backup",
    .synopsis = "backup STORE DIR [--copy] [--no-verify] [--read-only]",
    .summary = "copy a store, which may be in use, to DIR",
    .help =
	"Make DIR a copy of STORE as it is now: hard links where DIR is on "
	"the same\n"
	"file system, else copies.  If DIR is an earlier backup, only what "
	"is new is\n"
	"brought.  DIR is a store like any other; what is stored into one "
	"is not\n"
	"seen in the other.\n"
	"  --copy             share no disk space with STORE\n"
	"  --no-verify        do not read what is linked\n"
	"  --read-only        do not open STORE for writing\n"
	"  --timeout=TIME     before the command: wait so long for others\n",
    .letters = "",
    .options = backup_options,
    .arg_min = 2,
    .arg_max = 2,
    .exec = backup_exec,
};
