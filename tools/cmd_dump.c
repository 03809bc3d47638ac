/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_dump.c - kvlog dump: every key with its value, in lines that load
 * reads back to the same content.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <unistd.h>

#define OUTPUT_SIZE (1u << 20)
#define PROGRESS_STRIDE 1024 /* entries between looks at the clock */

static void
print_entry(const struct cli *cli, struct bytes key, struct bytes value)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_bytes(&json, "value", value);
		json_end(&json);
	} else {
		text_escape(stdout, key);
		putc('\t', stdout);
		text_escape(stdout, value);
		putc('\n', stdout);
	}
}

static enum cli_exit
dump_iter(struct cli *cli, struct kvlog_iter *iter)
{
	enum cli_exit status = cli->degraded ? CLI_DAMAGE : CLI_DONE;
	uint64_t record_count = 0, byte_count = 0;

	for (;;) {
		enum kvlog_status st = kvlog_iter_next(iter);
		struct bytes key, value;

		if (st == KVLOG_NOTFOUND)
			break;
		if (st == KVLOG_CORRUPT) {
			status = cli_fail_entry(cli, iter);
			continue;
		}
		if (st != KVLOG_OK)
			return cli_fail_status(cli, st, "cannot dump");
		key.data = kvlog_iter_key(iter, &key.len);
		value.data = kvlog_iter_value(iter, &value.len);
		print_entry(cli, key, value);
		if (ferror(stdout))
			return cli_fail_output(cli, errno);
		record_count++;
		byte_count += key.len + value.len;
		if (record_count % PROGRESS_STRIDE == 0)
			progress_update(record_count, byte_count);
	}
	if (fflush(stdout) != 0)
		return cli_fail_output(cli, errno);
	return status;
}

/* The bar would be drawn into the lines if they go to a terminal, too. */
static void
dump_progress(const struct cli *cli, struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	uint64_t total = 0;

	if (isatty(STDOUT_FILENO) == 1)
		return;
	if (kvlog_stats_get(db, &stats) == KVLOG_OK)
		total = stats.live_bytes; /* with headers: a little more */
	progress_begin(cli, total);
}

static enum cli_exit
dump_exec(struct cli *cli, int argc, char **argv)
{
	static char buffer[OUTPUT_SIZE];
	struct kvlog *db;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status;

	(void)argc;
	(void)argv;
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_iter_create(db, NULL, 0, &iter);
	if (st == KVLOG_OK) {
		dump_progress(cli, db);
		status = dump_iter(cli, iter);
		progress_end();
		kvlog_iter_destroy(iter);
	} else {
		status = cli_fail_status(cli, st, "cannot dump");
	}
	return cli_close(cli, db, status);
}

const struct command cmd_dump = {
    .name = "dump",
    .synopsis = "dump STORE",
    .summary = "print all keys and values, for load",
    .help = "Print a line KEY, tab, VALUE for every key, in byte order.  "
	    "Tabs, newlines,\n"
	    "control bytes and bytes that are not UTF-8 are escaped; load "
	    "reads the lines\n"
	    "back to the same content.  With --json, one object per line "
	    "(not for load).\n",
    .letters = "",
    .arg_min = 1,
    .arg_max = 1,
    .exec = dump_exec,
};
