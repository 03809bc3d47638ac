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
	struct kvlog_range range;
	bool reverse;
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
    const struct bytes *value, uint64_t expires_ms)
{
	char end = scan->nul ? '\0' : '\n';
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		if (value != NULL)
			json_value(&json, *value, expires_ms);
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
		enum kvlog_status st = scan->reverse ? kvlog_iter_prev(iter)
						     : kvlog_iter_next(iter);
		struct bytes key, value;
		const struct bytes *shown = NULL;
		struct kvlog_info info = {0};

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
			kvlog_iter_info(iter, &info);
		}
		/* Of a damaged record the key is shown if it is asked for
		 * alone: it is there, and its value can be put again. */
		if (key.data != NULL && (st == KVLOG_OK || !scan->values))
			print_entry(cli, scan, key, shown, info.expires_ms);
		if (ferror(stdout))
			return cli_fail_output(cli, errno);
	}
	if (fflush(stdout) != 0)
		return cli_fail_output(cli, errno);
	return status;
}

static enum cli_exit
scan_store(struct cli *cli, const struct scan *scan)
{
	struct kvlog *db;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_iter_open(db, &scan->range, &iter);
	if (st == KVLOG_OK) {
		if (scan->reverse)
			st = kvlog_iter_last(iter);
		if (st == KVLOG_OK)
			status = scan_iter(cli, scan, iter);
		kvlog_iter_destroy(iter);
	}
	if (st != KVLOG_OK)
		status = cli_fail_status(cli, st, "cannot scan");
	return cli_close(cli, db, status);
}

/* Take a bound of the range from an argument; name is what usage calls it. */
static bool
set_bound(struct cli *cli, const char *name, const char *text,
    const void **ret_bound, size_t *ret_len)
{
	if (text == NULL)
		return true;
	*ret_bound = text;
	*ret_len = strlen(text);
	if (*ret_len <= KVLOG_KEY_MAX)
		return true;
	(void)cli_fail(cli, CLI_USAGE, "%s has %zu bytes; a key has at most %u",
	    name, *ret_len, KVLOG_KEY_MAX);
	return false;
}

static enum cli_exit
scan_exec(struct cli *cli, int argc, char **argv)
{
	static char buffer[OUTPUT_SIZE];
	struct scan scan = {.range = KVLOG_RANGE_INIT, .limit = UINT64_MAX};
	struct kvlog_range *range = &scan.range;
	const char *limit = cli_option(cli, OPT_LIMIT);
	bool keys = cli_option(cli, OPT_KEYS_ONLY) != NULL;

	scan.values = cli_option(cli, OPT_VALUES) != NULL;
	scan.nul = cli_option(cli, OPT_NUL) != NULL;
	scan.reverse = cli_option(cli, OPT_REVERSE) != NULL;
	if (limit != NULL && !text_parse_number(limit, &scan.limit))
		return cli_usage(cli, "'%s' is no number of keys", limit);
	if (scan.nul && cli->json)
		return cli_usage(cli, "-0 and --json exclude each other");
	if (scan.values && keys)
		return cli_usage(cli, "--keys and --values exclude each other");
	if (keys)
		range->flags = KVLOG_ITER_KEYS_ONLY;
	if (!set_bound(cli, "PREFIX", argc > 1 ? argv[1] : NULL, &range->prefix,
		&range->prefix_len) ||
	    !set_bound(cli, "--from", cli_option(cli, OPT_FROM), &range->from,
		&range->from_len) ||
	    !set_bound(cli, "--to", cli_option(cli, OPT_TO), &range->to,
		&range->to_len))
		return CLI_USAGE;
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	return scan_store(cli, &scan);
}

static const struct option scan_options[] = {
    {"from", required_argument, NULL, OPT_FROM},
    {"to", required_argument, NULL, OPT_TO},
    {"reverse", no_argument, NULL, OPT_REVERSE},
    {"values", no_argument, NULL, OPT_VALUES},
    {"keys", no_argument, NULL, OPT_KEYS_ONLY},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"null", no_argument, NULL, OPT_NUL},
    {NULL, 0, NULL, 0},
};

const struct command cmd_scan = {
    .name = "scan",
    .synopsis = "scan STORE [PREFIX] [--from=KEY] [--to=KEY] [--reverse] "
		"[--limit=N] [--values | --keys] [-0]",
    .summary = "list keys in byte order",
    .help = "List the keys that begin with PREFIX (all keys without it), one "
	    "per line, in\n"
	    "byte order.  Tabs, newlines, control bytes and the backslash are "
	    "escaped as\n"
	    "in dump.\n\n"
	    "  --from=KEY   begin with KEY, or the first key behind it\n"
	    "  --to=KEY     end before KEY\n"
	    "  --reverse    from the last key to the first\n"
	    "  --limit=N    stop after N keys\n"
	    "  --values     print KEY, a tab and VALUE\n"
	    "  --keys       do not read values: faster, and damage in them is "
	    "not told\n"
	    "  -0, --null   print exact bytes, with a NUL byte after each key "
	    "and value\n",
    .letters = "0",
    .options = scan_options,
    .arg_min = 1,
    .arg_max = 2,
    .keyed = true,
    .exec = scan_exec,
};
