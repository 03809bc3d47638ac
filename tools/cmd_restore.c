/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_restore.c - kvlog restore: a new store out of a backup, which stays what
 * it is.
 */
#include "config.h"

#include "cli.h"

static enum cli_exit
restore_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	if (argv[1][0] == '\0')
		return cli_usage(cli, "DIR is empty; it is the path of the new "
				      "store's directory");
	/* Who opens a backup for writing makes it a store of its own. */
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	return cli_close(
	    cli, db, backup_into(cli, db, argv[1], KVLOG_BACKUP_NEW));
}

static const struct option restore_options[] = {
    {"copy", no_argument, NULL, OPT_COPY},
    {"no-verify", no_argument, NULL, OPT_NO_VERIFY},
    {NULL, 0, NULL, 0},
};

const struct command cmd_restore = {
    .name = "restore",
    .synopsis = "restore BACKUP DIR [--copy] [--no-verify]",
    .summary = "make a new store, DIR, out of a backup",
    .help =
	"Make DIR, which must not be there or be empty, a store that holds "
	"what\n"
	"BACKUP holds.  BACKUP stays as it is, and later backups may go "
	"onto it.\n"
	"  --copy             share no disk space with BACKUP\n"
	"  --no-verify        do not read what is linked\n"
	"  --timeout=TIME     before the command: wait so long for others\n",
    .letters = "",
    .options = restore_options,
    .arg_min = 2,
    .arg_max = 2,
    .exec = restore_exec,
};
