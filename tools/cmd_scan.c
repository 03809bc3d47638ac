/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_scan.c - kvlog scan: keys in byte order, with their values if wanted.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <string.h>

#define OUTPUT_SIZE (1u << 18)

struct scan {
	bool values;
	bool nul;
	uint64_t limit;
};

static void
print_bytes(const struct scan *scan, struct bytes bytes, char end)
{
	if (scan->nul)
		fwrite(bytes.data, 1, bytes.len, stdout);
	else
		text_escape(stdout, bytes);
	putc(end, stdout);
}

/* value is NULL where it is not wanted, or not readable. */
static void
print_entry(const struct cli *cli, const struct scan *scan, struct bytes key,
    const struct bytes *value)
{
	char end = scan->nul ? '\0' : '\n';
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		if (value != NULL)
			json_bytes(&json, "value", *value);
		json_end(&json);
	} else if (value == NULL) {
		print_bytes(scan, key, end);
	} else {
		print_bytes(scan, key, scan->nul ? '\0' : '\t');
		print_bytes(scan, *value, end);
	}
}

static enum cli_exit
scan_iter(struct cli *cli, const struct scan *scan, struct kvlog_iter *iter)
{
	enum cli_exit status = cli->degraded ? CLI_DAMAGE : CLI_DONE;

	for (uint64_t i = 0; i < scan->limit; i++) {
		enum kvlog_status st = kvlog_iter_next(iter);
		struct bytes key, value;
		const struct bytes *shown = NULL;

		if (st == KVLOG_NOTFOUND)
			break;
		if (st != KVLOG_OK && st != KVLOG_CORRUPT)
			return cli_fail_status(cli, st, "cannot scan");
		if (st == KVLOG_CORRUPT)
			status = cli_fail_entry(cli, iter);
		key.data = kvlog_iter_key(iter, &key.len);
		if (scan->values && st == KVLOG_OK) {
			value.data = kvlog_iter_value(iter, &value.len);
			shown = &value;
		}
		/* Of a damaged record the key is shown if it is asked for
		 * alone: it is there, and its value can be put again. */
		if (key.data != NULL && (st == KVLOG_OK || !scan->values))
			print_entry(cli, scan, key, shown);
		if (ferror(stdout))
			return cli_fail_output(cli, errno);
	}
	if (fflush(stdout) != 0)
		return cli_fail_output(cli, errno);
	return status;
}

static enum cli_exit
scan_store(struct cli *cli, const struct scan *scan, const char *prefix)
{
	struct kvlog *db;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_iter_create(db, prefix, strlen(prefix), &iter);
	if (st == KVLOG_OK) {
		status = scan_iter(cli, scan, iter);
		kvlog_iter_destroy(iter);
	} else {
		status = cli_fail_status(cli, st, "cannot scan");
	}
	return cli_close(cli, db, status);
}

static enum cli_exit
scan_exec(struct cli *cli, int argc, char **argv)
{
	static char buffer[OUTPUT_SIZE];
	struct scan scan = {.limit = UINT64_MAX};
	const char *limit = cli_option(cli, OPT_LIMIT);
	const char *prefix = argc > 1 ? argv[1] : "";

	scan.values = cli_option(cli, OPT_VALUES) != NULL;
	scan.nul = cli_option(cli, OPT_NUL) != NULL;
	if (limit != NULL && !text_parse_number(limit, &scan.limit))
		return cli_usage(cli, "'%s' is no number of keys", limit);
	if (scan.nul && cli->json)
		return cli_usage(cli, "-0 and --json exclude each other");
	if (strlen(prefix) > KVLOG_KEY_MAX)
		return cli_fail(cli, CLI_USAGE,
		    "PREFIX has %zu bytes; a key has at most %u",
		    strlen(prefix), KVLOG_KEY_MAX);
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	return scan_store(cli, &scan, prefix);
}

static const struct option scan_options[] = {
    {"values", no_argument, NULL, OPT_VALUES},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"null", no_argument, NULL, OPT_NUL},
    {NULL, 0, NULL, 0},
};

const struct command cmd_scan = {
    .name = "scan",
    .synopsis = "scan STORE [PREFIX] [--values] [--limit=N] [-0]",
    .summary = "list keys in byte order",
    .help = "List the keys that begin with PREFIX (all keys without it), one "
	    "per line, in\n"
	    "byte order.  Tabs, newlines, control bytes and the backslash are "
	    "escaped as\n"
	    "in dump.\n\n"
	    "  --values     print KEY, a tab and VALUE\n"
	    "  --limit=N    stop after N keys\n"
	    "  -0, --null   print exact bytes, with a NUL byte after each key "
	    "and value\n",
    .letters = "0",
    .options = scan_options,
    .arg_min = 1,
    .arg_max = 2,
    .exec = scan_exec,
};
