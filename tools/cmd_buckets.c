/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_buckets.c - kvlog buckets: list, create and drop the named key spaces of
 * a store.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void
print_name(const struct cli *cli, struct bytes name)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "bucket", name);
		json_end(&json);
	} else {
		text_escape(stdout, name);
		putc('\n', stdout);
	}
}

static enum cli_exit
list(struct cli *cli)
{
	struct kvlog *db;
	struct kvlog_iter *iter;
	enum kvlog_status st;
	enum cli_exit status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);

	if (status != CLI_DONE)
		return status;
	st = kvlog_bucket_list(db, &iter);
	if (st == KVLOG_OK) {
		while ((st = kvlog_iter_next(iter)) == KVLOG_OK ||
		       st == KVLOG_CORRUPT) {
			struct bytes name;

			if (st == KVLOG_CORRUPT)
				status = cli_fail_entry(cli, iter);
			name.data = kvlog_iter_key(iter, &name.len);
			if (name.data != NULL)
				print_name(cli, name);
		}
		kvlog_iter_destroy(iter);
	}
	if (st != KVLOG_NOTFOUND)
		status = cli_fail_status(cli, st, "cannot list the buckets of");
	else if (fflush(stdout) != 0)
		status = cli_fail_output(cli, errno);
	return cli_close(cli, db, status);
}

static void
print_changed(const struct cli *cli, const char *name, bool created)
{
	const struct bytes bytes = {name, strlen(name)};
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "bucket", bytes);
		json_bool(&json, created ? "created" : "dropped", true);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs(
		    created ? "Created bucket: " : "Dropped bucket: ", stdout);
		text_escape(stdout, bytes);
		putc('\n', stdout);
	}
}

static enum cli_exit
create(struct cli *cli, const char *name)
{
	struct kvlog *db, *bucket;
	enum kvlog_status st;
	enum cli_exit status =
	    cli_open(cli, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD, 0, &db);

	if (status != CLI_DONE)
		return status;
	st = kvlog_bucket_open(db, name, strlen(name),
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &bucket, &cli->error);
	if (st == KVLOG_OK)
		(void)kvlog_close(bucket, NULL);
	else if (st == KVLOG_CONFLICT) /* a condition not met */
		status = cli_fail(cli, CLI_NOTFOUND,
		    "there is a bucket %s in %s already", name, cli->store);
	else
		status = cli_fail_place(cli, st, "cannot create a bucket in");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_changed(cli, name, true);
	return status;
}

static enum cli_exit
drop(struct cli *cli, const char *name)
{
	struct kvlog_write how;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status = cli_write_how(cli, &how);

	if (status == CLI_DONE)
		status = cli_open(cli, KVLOG_OPEN_NOTHREAD, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_bucket_drop(db, name, strlen(name), &how, NULL);
	if (st == KVLOG_NOBUCKET)
		status = cli_no_bucket(cli, name);
	else if (st != KVLOG_OK)
		status = cli_fail_status(cli, st, "cannot write to");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_changed(cli, name, false);
	return status;
}

static enum cli_exit
buckets_exec(struct cli *cli, int argc, char **argv)
{
	const bool creates = argc > 1 && strcmp(argv[1], "create") == 0;
	enum cli_exit status;

	if (argc == 1 || (argc == 2 && strcmp(argv[1], "list") == 0))
		return list(cli);
	if (!creates && strcmp(argv[1], "drop") != 0)
		return cli_usage(cli,
		    "'%s' is nothing that is done to buckets; it is list, "
		    "create or drop",
		    argv[1]);
	if (argc != 3)
		return cli_usage(
		    cli, "the NAME of the bucket to %s is missing", argv[1]);
	status = cli_bucket_name(cli, argv[2]);
	if (status != CLI_DONE)
		return status;
	return creates ? create(cli, argv[2]) : drop(cli, argv[2]);
}

const struct command cmd_buckets = {
    .name = "buckets",
    .alias = "bucket",
    .synopsis = "buckets|bucket STORE [list | create NAME | drop NAME]",
    .summary = "list, create and drop buckets (also: bucket)",
    .help = "List the named key spaces of STORE, make one, or remove one with "
	    "all its keys.\n"
	    "STORE is made by 'create' if it does not exist.\n",
    .letters = "",
    .arg_min = 1,
    .arg_max = 3,
    .writes = true,
    .exec = buckets_exec,
};
