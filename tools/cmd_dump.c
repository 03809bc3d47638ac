/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_dump.c - kvlog dump: every key with its value, in one of the formats of
 * format.h, all of which load reads back to the same content.
 */
#include "config.h"

#include "format.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_SIZE (1u << 20)
#define PROGRESS_STRIDE 1024 /* entries between looks at the clock */

/* The records.  After a damaged one the walk goes on: CLI_DAMAGE. */
static enum cli_exit
dump_records(struct cli *cli, struct writer *writer, struct kvlog_iter *iter,
    enum cli_exit *ret_damage)
{
	uint64_t byte_count = 0;

	writer->record_count = 0;
	for (;;) {
		enum kvlog_status st = kvlog_iter_next(iter);
		struct record record = {.expires_ms = 0};
		struct kvlog_info info;
		enum cli_exit status;

		if (st == KVLOG_NOTFOUND)
			return CLI_DONE;
		if (st == KVLOG_CORRUPT) {
			*ret_damage = cli_fail_entry(cli, iter);
			continue;
		}
		if (st != KVLOG_OK)
			return cli_fail_status(cli, st, "cannot dump");
		record.key.data = kvlog_iter_key(iter, &record.key.len);
		record.value.data = kvlog_iter_value(iter, &record.value.len);
		kvlog_iter_info(iter, &info);
		record.expires_ms = info.expires_ms;
		writer->expiring_count +=
		    info.expires_ms != 0 && !writer->format->times;
		status = writer->format->write(writer, &record);
		if (status != CLI_DONE)
			return status;
		if (ferror(writer->file))
			return cli_fail_output(cli, errno);
		writer->record_count++;
		byte_count += record.key.len + record.value.len;
		if (writer->record_count % PROGRESS_STRIDE == 0)
			progress_update(writer->record_count, byte_count);
	}
}

static enum cli_exit
dump_iter(struct cli *cli, struct writer *writer, struct kvlog_iter *iter)
{
	enum cli_exit damage = cli->degraded ? CLI_DAMAGE : CLI_DONE;
	enum cli_exit status;

	if (writer->format->begin != NULL)
		writer->format->begin(writer);
	status = dump_records(cli, writer, iter, &damage);
	if (status != CLI_DONE)
		return status; /* no end is written to what is not whole */
	if (writer->format->end != NULL)
		writer->format->end(writer);
	if (fflush(writer->file) != 0)
		return cli_fail_output(cli, errno);
	return damage;
}

/* The bar would be drawn into the lines if they go to a terminal, too. */
static void
dump_progress(const struct cli *cli, struct kvlog *db, struct writer *writer)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	bool shown = isatty(STDOUT_FILENO) != 1;

	if ((shown || writer->format->sized) &&
	    kvlog_stats_get(db, &stats) == KVLOG_OK)
		writer->live_bytes = stats.live_bytes;
	if (shown) /* with headers: a little more */
		progress_begin(cli, writer->live_bytes);
}

/* What was left out should not be missed when it is too late. */
static void
warn_of_buckets(const struct cli *cli, struct kvlog *db)
{
	struct kvlog_iter *iter;
	uint64_t count = 0;

	if (cli->bucket != NULL || kvlog_bucket_list(db, &iter) != KVLOG_OK)
		return;
	while (kvlog_iter_next(iter) == KVLOG_OK)
		count++;
	kvlog_iter_destroy(iter);
	if (count > 0)
		cli_warn(cli,
		    "the %" PRIu64 " buckets of %s are not in this dump; "
		    "--bucket=NAME dumps one, --all all of them, 'kvlog "
		    "buckets' lists them",
		    count, cli->store);
}

static void
warn_of_times(const struct cli *cli, const struct writer *writer)
{
	if (writer->expiring_count > 0)
		cli_warn(cli,
		    "%" PRIu64 " keys expire, of which format %s says nothing: "
		    "who loads it keeps them for good; --format=json tells it",
		    writer->expiring_count, writer->format->name);
}

/* A name in a line of a header. */
static bool
is_plain(struct bytes name)
{
	return memchr(name.data, '\n', name.len) == NULL &&
	       memchr(name.data, '\r', name.len) == NULL;
}

static enum cli_exit
dump_bucket(struct cli *cli, struct writer *writer, struct kvlog *db)
{
	struct kvlog *bucket;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status = CLI_DONE;

	if (writer->format->printable && !is_plain(writer->bucket))
		return cli_fail(cli, CLI_USAGE,
		    "a bucket of %s has a line's end in its name, which format "
		    "%s cannot write; --format=json can",
		    cli->store, writer->format->name);
	st = kvlog_bucket_open(db, writer->bucket.data, writer->bucket.len, 0,
	    &bucket, &cli->error);
	if (st == KVLOG_NOBUCKET)
		return CLI_DONE; /* dropped meanwhile */
	if (st != KVLOG_OK)
		return cli_fail_status(cli, st, "cannot dump");
	st = kvlog_iter_create(bucket, NULL, 0, &iter);
	if (st == KVLOG_OK) {
		status = dump_iter(cli, writer, iter);
		kvlog_iter_destroy(iter);
	} else if (st != KVLOG_NOBUCKET) {
		status = cli_fail_status(cli, st, "cannot dump");
	}
	(void)!kvlog_close(bucket, NULL);
	return status;
}

/* After the default bucket, in order of their names. */
static enum cli_exit
dump_buckets(struct cli *cli, struct writer *writer, struct kvlog *db,
    enum cli_exit so_far)
{
	struct kvlog_iter *names;
	enum kvlog_status st = kvlog_bucket_list(db, &names);

	if (st != KVLOG_OK)
		return cli_fail_status(cli, st, "cannot list the buckets of");
	while (so_far == CLI_DONE || so_far == CLI_DAMAGE) {
		enum cli_exit status;

		st = kvlog_iter_next(names);
		if (st == KVLOG_CORRUPT) {
			so_far = cli_fail_entry(cli, names);
			continue;
		}
		if (st != KVLOG_OK)
			break;
		writer->bucket.data =
		    kvlog_iter_key(names, &writer->bucket.len);
		status = dump_bucket(cli, writer, db);
		if (status != CLI_DONE)
			so_far = status;
	}
	kvlog_iter_destroy(names);
	return so_far;
}

static enum cli_exit
dump_store(struct cli *cli, struct writer *writer)
{
	struct kvlog *db;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_iter_create(db, NULL, 0, &iter);
	if (st == KVLOG_OK) {
		dump_progress(cli, db, writer);
		status = dump_iter(cli, writer, iter);
		kvlog_iter_destroy(iter);
		if (cli_option(cli, OPT_ALL) != NULL)
			status = dump_buckets(cli, writer, db, status);
		else
			warn_of_buckets(cli, db);
		progress_end();
		warn_of_times(cli, writer);
	} else {
		status = cli_fail_status(cli, st, "cannot dump");
	}
	return cli_close(cli, db, status);
}

static enum cli_exit
dump_exec(struct cli *cli, int argc, char **argv)
{
	static char buffer[OUTPUT_SIZE];
	struct writer writer = {.cli = cli, .file = stdout};
	enum cli_exit status;

	(void)argc;
	(void)argv;
	writer.format = cli->json ? &format_json : &format_lines;
	writer.print = cli_option(cli, OPT_PRINT) != NULL;
	status = format_option(cli, &writer.format);
	if (status != CLI_DONE)
		return status;
	if (writer.print && !writer.format->printable)
		return cli_usage(
		    cli, "--print is for formats db_dump and mdb_dump");
	if (cli_option(cli, OPT_ALL) != NULL &&
	    (!writer.format->buckets || cli->bucket != NULL))
		return cli_usage(cli,
		    "--all is for formats json, db_dump and mdb_dump, and "
		    "excludes --bucket");
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	return dump_store(cli, &writer);
}

static const struct option dump_options[] = {
    {"format", required_argument, NULL, OPT_FORMAT},
    {"print", no_argument, NULL, OPT_PRINT},
    {"all", no_argument, NULL, OPT_ALL},
    {NULL, 0, NULL, 0},
};

const struct command cmd_dump = {
    .name = "dump",
    .synopsis = "dump STORE [--format=FORMAT] [--print] [--all]",
    .summary = "print all keys and values, for load",
    .help =
	"Print every key with its value, in byte order, as load reads "
	"them back.\n\n"
	"  --format=FORMAT  lines without this option, json with --json\n"
	"  --print          db_dump and mdb_dump: printable characters as "
	"they are,\n"
	"                   not in hexadecimal\n"
	"  --all            also the keys of all buckets; json, db_dump and "
	"mdb_dump\n",
    .help_more = format_print_help,
    .letters = "",
    .options = dump_options,
    .arg_min = 1,
    .arg_max = 1,
    .keyed = true,
    .exec = dump_exec,
};
