/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_shell.c - kvlog shell: commands on one open store, typed or from a
 * script.
 *
 * Who types goes on after an error; a script ends at the first one, with its
 * line and exit status, and has to end its transactions.
 */
#include "config.h"

#include "shell.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t shell_interrupted;

static void
interrupt(int number)
{
	(void)number;
	shell_interrupted = 1;
}

/* Where somebody types, it ends a line or a scan, not the shell.  flags:
 * SA_RESTART, so that what is being printed goes on; or 0, so that the wait for
 * a line does not. */
static void
catch_interrupts(int flags)
{
	struct sigaction action = {.sa_handler = interrupt, .sa_flags = flags};

	sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
}

/* Into buf: which bucket, and whether in a transaction. */
static char *
make_prompt(const struct shell *sh, char *buf, size_t size)
{
	const char *name = sh->bucket_name;

	snprintf(buf, size, "kvlog%s%.40s%s> ", name != NULL ? ":" : "",
	    name != NULL ? name : "", sh->txn != NULL ? "*" : "");
	return buf;
}

/* The next line; a line that was given up is followed by another one. */
static char *
read_line(struct shell *sh, struct input *in, size_t *ret_len)
{
	char prompt[64];
	char *line;

	for (;;) {
		shell_interrupted = 0;
		if (sh->interactive)
			catch_interrupts(0);
		line = input_line(
		    in, make_prompt(sh, prompt, sizeof prompt), ret_len);
		if (sh->interactive)
			catch_interrupts(SA_RESTART);
		if (line != NULL || !sh->interactive || !shell_interrupted)
			break;
		clearerr(stdin);
		putc('\n', stderr);
	}
	shell_interrupted = 0;
	return line;
}

/* What is not committed is not there: who did not say so should know, unless
 * he has been told worse. */
static enum cli_exit
end_session(struct shell *sh, enum cli_exit status)
{
	if (sh->txn == NULL)
		return status;
	shell_rollback(sh);
	if (status != CLI_DONE)
		return status;
	if (!sh->interactive)
		return cli_fail(sh->cli, CLI_USAGE,
		    "the script ended inside a transaction; nothing of it was "
		    "written");
	cli_warn(sh->cli, "a transaction was open at the end; it is rolled "
			  "back");
	return CLI_DONE;
}

static enum cli_exit
run_lines(struct shell *sh, struct input *in)
{
	enum cli_exit status = CLI_DONE;
	uint64_t number = 0;
	char *line;
	size_t len;

	while (!sh->done && (line = read_line(sh, in, &len)) != NULL) {
		number++;
		sh->cli->line = sh->interactive ? 0 : number;
		status = shell_execute(sh, line, len);
		if (ferror(stdout) || fflush(stdout) != 0)
			return cli_fail_output(sh->cli, errno);
		if (sh->interactive)
			status = CLI_DONE;
		if (status != CLI_DONE)
			break;
	}
	sh->cli->line = 0;
	if (status == CLI_DONE && ferror(stdin))
		status = cli_fail(sh->cli, CLI_FAILED,
		    "cannot read commands from standard input: %s",
		    strerror(errno));
	if (sh->interactive && !sh->done)
		putc('\n', stderr); /* behind the prompt */
	return status;
}

static enum cli_exit
run_shell(struct shell *sh)
{
	struct input *in =
	    input_open(sh, cli_option(sh->cli, OPT_NO_HISTORY) == NULL);
	enum cli_exit status;

	if (in == NULL)
		return cli_fail_status(sh->cli, KVLOG_NOMEM, "cannot read for");
	if (sh->interactive && !sh->cli->quiet)
		fprintf(stderr, "kvlog %s; 'help' lists the commands\n",
		    kvlog_version());
	status = run_lines(sh, in);
	status = end_session(sh, status);
	input_close(in);
	return status;
}

/* The bucket that --bucket names is the first one in use. */
static void
take_bucket(struct shell *sh, struct kvlog *db)
{
	struct cli *cli = sh->cli;
	const struct bytes name = {
	    cli->bucket, cli->bucket != NULL ? strlen(cli->bucket) : 0};

	sh->store = cli->root != NULL ? cli->root : db;
	if (cli->root != NULL) {
		sh->bucket = db;
		sh->bucket_name = text_escaped(name);
		cli->bucket = sh->bucket_name;
		cli->root = NULL;
	}
}

static enum cli_exit
shell_exec(struct cli *cli, int argc, char **argv)
{
	struct shell sh = {.cli = cli};
	bool reads = cli_option(cli, OPT_READ_ONLY) != NULL;
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	(void)argv;
	if (cli->json)
		return cli_usage(cli, "--json is not for the shell");
	status = cli_open(
	    cli, reads ? KVLOG_OPEN_READONLY : KVLOG_OPEN_CREATE, 0, &db);
	if (status != CLI_DONE)
		return status;
	take_bucket(&sh, db);
	sh.interactive = isatty(STDIN_FILENO) == 1;
	if (sh.interactive)
		catch_interrupts(SA_RESTART);
	status = run_shell(&sh);
	if (sh.bucket != NULL)
		(void)kvlog_close(sh.bucket, NULL);
	free(sh.bucket_name);
	free(sh.savepoints);
	free(sh.old);
	return cli_close(cli, sh.store, status);
}

static const struct option shell_options[] = {
    {"read-only", no_argument, NULL, OPT_READ_ONLY},
    {"no-history", no_argument, NULL, OPT_NO_HISTORY},
    {NULL, 0, NULL, 0},
};

const struct command cmd_shell = {
    .name = "shell",
    .synopsis = "shell STORE [--read-only] [--no-history]",
    .summary = "type commands, or run a script of them",
    .help = "Execute commands from standard input, one per line: what is "
	    "typed, or a script,\n"
	    "which ends at the first error.  'help' lists them.  STORE is made "
	    "if it does not\n"
	    "exist.\n\n"
	    "  --read-only   open STORE for reading\n"
	    "  --no-history  keep no lines for the next time\n",
    .letters = "",
    .options = shell_options,
    .arg_min = 1,
    .arg_max = 1,
    .writes = true,
    .keyed = true,
    .exec = shell_exec,
};
