/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog.c - the command-line program: global options, the table of commands,
 * help.  Each command is a file of its own, cmd_*.c.
 *
 *     kvlog [common options] COMMAND [options] ARGUMENTS
 *
 * Options may stand before, between and after the arguments, up to "--".
 */
#include "config.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 5000
#define ARG_MAX_COUNT 3 /* of any command: STORE KEY VALUE */
#define OPTION_TABLE_MAX 32

static const struct command *const commands[] = {&cmd_create, &cmd_put,
    &cmd_get, &cmd_delete, &cmd_exists, &cmd_count, &cmd_scan, &cmd_stats,
    &cmd_ttl, &cmd_expire, &cmd_persist, &cmd_incr, &cmd_buckets, &cmd_shell,
    &cmd_load, &cmd_dump, &cmd_watch, &cmd_backup, &cmd_restore};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static const struct option common_options[] = {
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"exclusive", no_argument, NULL, OPT_EXCLUSIVE},
    {"durability", required_argument, NULL, OPT_DURABILITY},
    {"index", required_argument, NULL, OPT_INDEX},
    {"bucket", required_argument, NULL, OPT_BUCKET},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const struct option version_option[] = {
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static const char usage_text[] =
    "usage: kvlog [--json] [-q] [-v] [--timeout=TIME] [--exclusive] "
    "[--durability=MODE] [--index=MODE] [--bucket=NAME] COMMAND "
    "[ARGUMENT ...]\n"
    "       kvlog help [COMMAND]\n"
    "       kvlog --help | --version\n";

static const char help_usage_text[] =
    "usage: kvlog help [COMMAND]\n\n"
    "List the commands, or say what COMMAND does and which options it "
    "takes.\n";

static const char common_text[] =
    "Common options, before or after the command:\n"
    "  --json             answer in JSON, one object per line\n"
    "  -q, --quiet        say only what was asked for, and errors\n"
    "  -v, --verbose      say more, on standard error\n"
    "  --index=MODE       how keys are found: hints (opening takes no time; "
    "the\n"
    "                     default) or memory (a table, filled at opening)\n"
    "  -h, --help         this text\n";

/* Those that mean something to commands on keys. */
static const char keyed_text[] =
    "  --bucket=NAME      the keys of this bucket, not of the unnamed one\n";

/* The common options that mean something to commands that write. */
static const char writing_text[] =
    "  --timeout=TIME     wait so long for another writer: milliseconds, or\n"
    "                     seconds as in 10s (default 5s)\n"
    "  --exclusive        let nobody else write meanwhile\n"
    "  --durability=MODE  when a write counts as done: commit (synced before\n"
    "                     the command goes on), interval or none\n";

static const char exit_text[] = "Exit status: 0 done, 1 key or bucket not "
				"found or condition not met, 2 wrong\n"
				"usage or cannot open, 3 damage found, 4 lock "
				"not obtained in time, 5 no space\n"
				"or I/O error.\n";

static const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const struct command *command = commands[i];

		if (strcmp(command->name, name) == 0 ||
		    (command->alias != NULL &&
			strcmp(command->alias, name) == 0))
			return command;
	}
	return NULL;
}

static void
print_help(const struct command *command)
{
	if (command != NULL) {
		printf(
		    "usage: kvlog %s\n\n%s", command->synopsis, command->help);
		if (command->help_more != NULL)
			command->help_more();
		printf("\n%s%s%s\n%s", common_text,
		    command->keyed ? keyed_text : "",
		    command->writes ? writing_text : "", exit_text);
		return;
	}
	printf("%s\nA store is a directory that maps keys to values.\n\n"
	       "Commands:\n",
	    usage_text);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	printf(
	    "\n%s%s%s\n%s", common_text, keyed_text, writing_text, exit_text);
}

/* The option that a letter stands for; other values are options already. */
static int
option_of_letter(int value)
{
	switch (value) {
	case 'q':
		return OPT_QUIET;
	case 'v':
		return OPT_VERBOSE;
	case 'h':
		return OPT_HELP;
	case '0':
		return OPT_NUL;
	default:
		return value;
	}
}

/* Common and own options in one table, as getopt_long() wants them. */
static void
option_table(struct option *table, const struct option *own)
{
	size_t count = 0;

	for (const struct option *o = common_options; o->name != NULL; o++)
		table[count++] = *o;
	for (const struct option *o = own; o != NULL && o->name != NULL; o++) {
		if (count < OPTION_TABLE_MAX - 1)
			table[count++] = *o;
	}
	table[count] = (struct option){NULL, 0, NULL, 0};
}

static enum cli_exit
fail_option(const struct cli *cli, int value, const char *word)
{
	if (value == ':')
		return cli_usage(cli, "option '%s' needs an argument", word);
	if (optopt >= OPT_JSON)
		return cli_usage(cli, "option '%s' takes no argument", word);
	if (optopt != 0)
		return cli_usage(cli,
		    "unknown option '-%c'; an argument that begins with '-' "
		    "goes behind '--'",
		    optopt);
	return cli_usage(cli,
	    "unknown or ambiguous option '%s'; an argument that begins with "
	    "'-' goes behind '--'",
	    word);
}

/*
 * Note the options of argv[1..] in cli.  With args, also collect the other
 * arguments there; without, stop at the first one.  optind is left at what
 * comes next.
 */
static enum cli_exit
parse_options(struct cli *cli, int argc, char **argv, const char *letters,
    const struct option *own, char **args, int *ret_arg_count)
{
	struct option table[OPTION_TABLE_MAX];
	char short_options[32];
	int count = 0;

	/* "-": arguments are returned as value 1, in order, wherever they
	 * stand and whatever POSIXLY_CORRECT says; "+": they end the list. */
	snprintf(short_options, sizeof short_options, "%s:qvh%s",
	    args != NULL ? "-" : "+", letters);
	option_table(table, own);
	optind = 0;
	opterr = 0;
	for (;;) {
		int value = getopt_long(argc, argv, short_options, table, NULL);
		int id = option_of_letter(value);

		if (value == -1)
			break;
		if (value == '?' || value == ':')
			return fail_option(cli, value, argv[optind - 1]);
		if (value != 1)
			cli->given[id - OPT_JSON] =
			    optarg != NULL ? optarg : "";
		else if (count < ARG_MAX_COUNT + 1)
			args[count++] = optarg;
	}
	if (args != NULL) {
		while (optind < argc && count < ARG_MAX_COUNT + 1)
			args[count++] = argv[optind++];
		*ret_arg_count = count;
	}
	return CLI_DONE;
}

static enum cli_exit
apply_index(struct cli *cli, const char *mode)
{
	if (mode == NULL)
		return CLI_DONE;
	if (strcmp(mode, "memory") == 0)
		cli->index_mode = KVLOG_INDEX_MEMORY;
	else if (strcmp(mode, "hints") != 0)
		return cli_usage(
		    cli, "'%s' is no index mode; it is hints or memory", mode);
	return CLI_DONE;
}

/* What the common options say, into the fields of cli. */
static enum cli_exit
apply_common(struct cli *cli)
{
	const char *timeout = cli_option(cli, OPT_TIMEOUT);
	const char *durability = cli_option(cli, OPT_DURABILITY);

	cli->json = cli_option(cli, OPT_JSON) != NULL;
	cli->quiet = cli_option(cli, OPT_QUIET) != NULL;
	cli->verbose = cli_option(cli, OPT_VERBOSE) != NULL;
	cli->exclusive = cli_option(cli, OPT_EXCLUSIVE) != NULL;
	if (timeout != NULL && !text_parse_time(timeout, &cli->timeout_ms))
		return cli_usage(cli,
		    "'%s' is no time; write milliseconds, or seconds as in 10s",
		    timeout);
	cli->bucket = cli_option(cli, OPT_BUCKET);
	if (cli->bucket != NULL &&
	    cli_bucket_name(cli, cli->bucket) != CLI_DONE)
		return CLI_USAGE;
	if (cli->bucket != NULL && cli->command != NULL && !cli->command->keyed)
		return cli_usage(cli, "--bucket is for commands on keys");
	if (cli->exclusive && cli->command != NULL && !cli->command->writes)
		return cli_usage(cli, "--exclusive is for commands that write");
	if (durability == NULL)
		return apply_index(cli, cli_option(cli, OPT_INDEX));
	if (strcmp(durability, "commit") == 0)
		cli->durability = KVLOG_DURABILITY_COMMIT;
	else if (strcmp(durability, "interval") == 0)
		cli->durability = KVLOG_DURABILITY_INTERVAL;
	else if (strcmp(durability, "none") == 0)
		cli->durability = KVLOG_DURABILITY_NONE;
	else
		return cli_usage(cli,
		    "'%s' is no durability; it is commit, interval or none",
		    durability);
	if (cli->command != NULL && !cli->command->writes)
		return cli_usage(
		    cli, "--durability is for commands that write");
	return apply_index(cli, cli_option(cli, OPT_INDEX));
}

/* argv[0] is the command. */
static enum cli_exit
run_command(struct cli *cli, int argc, char **argv)
{
	const struct command *command = cli->command;
	char *args[ARG_MAX_COUNT + 2] = {NULL};
	int arg_count = 0;
	enum cli_exit status;

	status = parse_options(cli, argc, argv, command->letters,
	    command->options, args, &arg_count);
	if (status != CLI_DONE)
		return status;
	if (cli_option(cli, OPT_HELP) != NULL) {
		print_help(command);
		return CLI_DONE;
	}
	status = apply_common(cli);
	if (status != CLI_DONE)
		return status;
	if (arg_count < command->arg_min)
		return cli_usage(cli, "%s needs %s arguments", command->name,
		    arg_count == 0 ? "its" : "more");
	if (arg_count > command->arg_max)
		return cli_usage(
		    cli, "%s does not take so many arguments", command->name);
	if (args[0][0] == '\0')
		return cli_usage(cli,
		    "STORE is empty; it is the path of a store's directory");
	cli->store = args[0];
	return command->exec(cli, arg_count, args);
}

static enum cli_exit
run_help(struct cli *cli, int argc, char **argv)
{
	const struct command *command = NULL;

	if (argc > 2)
		return cli_usage(cli, "help takes one command");
	if (argc == 2 &&
	    (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
		strcmp(argv[1], "-h") == 0)) {
		fputs(help_usage_text, stdout);
		return CLI_DONE;
	}
	if (argc == 2) {
		command = command_find(argv[1]);
		if (command == NULL)
			return cli_usage(
			    cli, "there is no command '%s'", argv[1]);
	}
	print_help(command);
	return CLI_DONE;
}

static enum cli_exit
run(struct cli *cli, int argc, char **argv)
{
	enum cli_exit status;

	status = parse_options(cli, argc, argv, "", version_option, NULL, NULL);
	if (status != CLI_DONE)
		return status;
	argc -= optind;
	argv += optind;
	if (cli_option(cli, OPT_HELP) != NULL) {
		print_help(NULL);
		return CLI_DONE;
	}
	if (cli_option(cli, OPT_VERSION) != NULL) {
		printf("kvlog %s\n", kvlog_version());
		return CLI_DONE;
	}
	/* Before the command: an option that took it for its argument says
	 * more than the command that is missing then. */
	status = apply_common(cli);
	if (status != CLI_DONE)
		return status;
	if (argc == 0) {
		fputs(usage_text, stderr);
		return cli_usage(cli, "a command is missing");
	}
	if (strcmp(argv[0], "help") == 0)
		return run_help(cli, argc, argv);
	cli->command = command_find(argv[0]);
	if (cli->command == NULL)
		return cli_usage(cli, "there is no command '%s'", argv[0]);
	return run_command(cli, argc, argv);
}

int
main(int argc, char **argv)
{
	struct cli cli = {.store = "",
	    .timeout_ms = TIMEOUT_DEFAULT_MS,
	    .index_mode = KVLOG_INDEX_HINTS};

	cli_begin();
	return (int)cli_finish(&cli, run(&cli, argc, argv));
}
