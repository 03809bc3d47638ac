/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_load.c - kvlog load: store the records of a file or of standard input,
 * in one of the formats of format.h.
 *
 * The steps of a batch point into the reader's buffer, so a batch is
 * committed before more is read.
 *
 * Batches are neither durable one by one (unless --durability says so) nor
 * the whole load atomic: it ends with one sync, and after an error in the
 * input all records before it are in the store.
 */
#include "config.h"

#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_COUNT 1000
#define BATCH_BYTES ((size_t)256 << 10) /* in the store, about */
#define RECORD_OVERHEAD 40              /* bytes in the store, about */

struct load {
	struct cli *cli;
	struct kvlog *db;
	struct kvlog_write how;
	struct reader reader;
	uint64_t records;
	struct kvlog **buckets; /* of the input, open; the last one used last */
	struct bytes *names;    /* of them, owned */
	size_t bucket_count;
	size_t op_count;
	size_t op_bytes;
	size_t op_bytes_max;
	struct kvlog_op ops[BATCH_COUNT];
};

/* Of the reader: context is the struct load. */
static enum cli_exit
commit_batch(void *context)
{
	struct load *load = context;
	enum kvlog_status st;
	size_t failed = 0;

	if (load->op_count == 0)
		return CLI_DONE;
	st = kvlog_apply(
	    load->db, load->ops, load->op_count, &load->how, NULL, &failed);
	if (st != KVLOG_OK)
		return cli_fail_status(load->cli, st, "cannot write to");
	load->records += load->op_count;
	load->op_count = 0;
	load->op_bytes = 0;
	progress_update(load->records, reader_bytes(&load->reader));
	return CLI_DONE;
}

static bool
is_name(struct bytes a, struct bytes b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* A handle on the bucket of this name, which is made if there is none. */
static enum cli_exit
find_bucket(struct load *load, struct bytes name, struct kvlog **ret_bucket)
{
	size_t n = load->bucket_count;
	struct kvlog **buckets;
	struct bytes *names;
	enum kvlog_status st;
	char *copy;

	if (load->cli->bucket != NULL)
		return reader_fail(&load->reader,
		    "the record is of a bucket, and --bucket names one, too");
	if (name.len == 0 || name.len > KVLOG_KEY_MAX)
		return reader_fail(&load->reader,
		    "the name of a bucket has 1 to %u bytes", KVLOG_KEY_MAX);
	while (n > 0 && !is_name(load->names[n - 1], name))
		n--;
	if (n > 0) {
		*ret_bucket = load->buckets[n - 1];
		return CLI_DONE;
	}
	n = load->bucket_count + 1;
	buckets = realloc(load->buckets, n * sizeof(struct kvlog *));
	if (buckets != NULL)
		load->buckets = buckets;
	names = realloc(load->names, n * sizeof *names);
	if (names != NULL)
		load->names = names;
	copy = malloc(name.len);
	if (buckets == NULL || names == NULL || copy == NULL) {
		free(copy);
		return reader_fail(&load->reader, "out of memory");
	}
	memcpy(copy, name.data, name.len);
	st = kvlog_bucket_open(load->db, copy, name.len, KVLOG_OPEN_CREATE,
	    &buckets[n - 1], &load->cli->error);
	if (st != KVLOG_OK) {
		free(copy);
		return cli_fail_status(load->cli, st, "cannot write to");
	}
	names[n - 1] = (struct bytes){copy, name.len};
	load->bucket_count = n;
	*ret_bucket = buckets[n - 1];
	return CLI_DONE;
}

static void
close_buckets(struct load *load)
{
	for (size_t n = 0; n < load->bucket_count; n++) {
		(void)!kvlog_close(load->buckets[n], NULL);
		free((void *)load->names[n].data);
	}
	free(load->buckets);
	free(load->names);
}

static enum cli_exit
add_record(struct load *load, const struct record *record)
{
	const struct bytes key = record->key, value = record->value;
	struct kvlog *bucket = NULL;
	enum cli_exit status;

	if (record->bucket.data != NULL) {
		status = find_bucket(load, record->bucket, &bucket);
		if (status != CLI_DONE)
			return status;
	}
	if (key.data == NULL) /* the bucket is there now */
		return CLI_DONE;
	if (key.len == 0)
		return reader_fail(&load->reader, "the key is empty");
	if (key.len > KVLOG_KEY_MAX)
		return reader_fail(&load->reader,
		    "the key is longer than %u bytes", KVLOG_KEY_MAX);
	if (value.len > KVLOG_VALUE_MAX)
		return reader_fail(&load->reader,
		    "the value is longer than %u bytes", KVLOG_VALUE_MAX);
	load->ops[load->op_count++] = (struct kvlog_op){.type = KVLOG_OP_PUT,
	    .key = key.data,
	    .key_len = key.len,
	    .value = value.data,
	    .value_len = value.len,
	    .expires_ms = record->expires_ms,
	    .bucket = bucket};
	load->op_bytes += key.len + value.len + RECORD_OVERHEAD;
	if (load->op_count < BATCH_COUNT && load->op_bytes < load->op_bytes_max)
		return CLI_DONE;
	return commit_batch(load);
}

/* The format given, or the one that the input shows. */
static enum cli_exit
choose_format(struct load *load)
{
	struct reader *reader = &load->reader;
	enum cli_exit status = CLI_DONE;

	if (reader->format == NULL) {
		status = format_detect(reader, &reader->format);
		if (status != CLI_DONE)
			return status;
		cli_remark(load->cli, "format of %s: %s", reader->name,
		    reader->format->name);
	}
	if (reader->format->read == NULL)
		return cli_fail(load->cli, CLI_USAGE,
		    "this kvlog cannot read format %s, being built without "
		    "jansson; load lines, or another of its formats",
		    reader->format->name);
	return status;
}

static enum cli_exit
load_records(struct load *load)
{
	struct reader *reader = &load->reader;
	enum cli_exit status = choose_format(load);

	while (status == CLI_DONE) {
		struct record record = {.key = {NULL, 0}};

		status = reader->format->read(reader, &record);
		if (status != CLI_DONE)
			break;
		if (record.key.data == NULL && record.bucket.data == NULL)
			return commit_batch(load);
		status = add_record(load, &record);
	}
	return status;
}

/* What was loaded, also after an error. */
static void
print_loaded(const struct load *load, double seconds)
{
	uint64_t bytes = reader_bytes(&load->reader);
	struct json json;

	if (load->cli->json) {
		json_begin(&json, stdout);
		json_number(&json, "loaded", load->records);
		json_number(&json, "bytes", bytes);
		json_end(&json);
	} else if (!load->cli->quiet) {
		printf("Loaded: %" PRIu64 " records\n", load->records);
	}
	cli_remark(load->cli,
	    "%" PRIu64 " bytes in %.3f s, %.0f records per second", bytes,
	    seconds, seconds > 0 ? (double)load->records / seconds : 0);
}

/* The reader's file and what can be said about the input. */
static enum cli_exit
open_input(struct load *load, const char *path)
{
	struct reader *reader = &load->reader;
	struct stat st;
	uint64_t total = 0;

	if (path != NULL && path[0] == '\0')
		return cli_usage(load->cli,
		    "the name of the FILE to load is empty; '-' is standard "
		    "input");
	reader->name = "standard input";
	reader->fd = STDIN_FILENO;
	if (path != NULL && strcmp(path, "-") != 0) {
		reader->name = path;
		reader->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (reader->fd < 0)
			return cli_fail(load->cli, CLI_USAGE,
			    "cannot open %s: %s", path, strerror(errno));
	}
	if (fstat(reader->fd, &st) != 0)
		st.st_mode = 0; /* reading will tell */
	if (S_ISDIR(st.st_mode))
		return cli_fail(load->cli, CLI_USAGE, "cannot open %s: %s",
		    reader->name, strerror(EISDIR));
	if (S_ISREG(st.st_mode))
		total = (uint64_t)st.st_size;
	if (isatty(reader->fd) == 1 && !load->cli->quiet)
		fprintf(stderr, "Type %s; Ctrl-D ends.\n",
		    reader->format == NULL || reader->format == &format_lines
			? "lines KEY<TAB>VALUE"
			: reader->format->help);
	progress_begin(load->cli, total);
	return CLI_DONE;
}

/*
 * A batch lies in one segment, and one that does not fit gets a segment of
 * its own: batches are small beside the segments.
 */
static void
limit_batch(struct load *load)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};

	load->op_bytes_max = BATCH_BYTES;
	if (kvlog_stats_get(load->db, &stats) == KVLOG_OK &&
	    stats.segment_size / 4 < load->op_bytes_max)
		load->op_bytes_max = (size_t)(stats.segment_size / 4);
}

static enum cli_exit
load_store(struct load *load, uint64_t segment_size)
{
	uint64_t begin_ns = progress_clock();
	enum cli_exit status;

	status =
	    cli_open(load->cli, KVLOG_OPEN_CREATE, segment_size, &load->db);
	if (status != CLI_DONE)
		return status;
	limit_batch(load);
	status = load_records(load);
	progress_end();
	close_buckets(load);
	/* This syncs, also after an error: what is reported as loaded is
	 * safe. */
	status = cli_close(load->cli, load->db, status);
	print_loaded(load, (double)(progress_clock() - begin_ns) / 1e9);
	return status;
}

/* What the options say of the input. */
static enum cli_exit
init_reader(struct load *load)
{
	struct reader *reader = &load->reader;
	enum cli_exit status = format_option(load->cli, &reader->format);

	if (status != CLI_DONE)
		return status;
	reader->cli = load->cli;
	reader->settle = commit_batch;
	reader->context = load;
	reader->database = cli_option(load->cli, OPT_DATABASE);
	reader->all = cli_option(load->cli, OPT_ALL) != NULL;
	if (reader->all &&
	    (reader->database != NULL || load->cli->bucket != NULL))
		return cli_usage(
		    load->cli, "--all excludes --database and --bucket");
	if (reader->database != NULL) {
		if (reader->format == NULL)
			reader->format = &format_db_dump;
		if (!reader->format->printable)
			return cli_usage(load->cli,
			    "--database is for formats db_dump and mdb_dump");
	}
	return reader_init(reader);
}

static enum cli_exit
load_exec(struct cli *cli, int argc, char **argv)
{
	static struct load load; /* too large for a stack */
	uint64_t segment_size = 0;
	enum cli_exit status;

	load.cli = cli;
	status = cli_write_how(cli, &load.how);
	if (status == CLI_DONE)
		status = cli_segment_size(cli, &segment_size);
	if (status == CLI_DONE)
		status = init_reader(&load);
	if (status == CLI_DONE)
		status = open_input(&load, argc > 1 ? argv[1] : NULL);
	if (status == CLI_DONE) {
		if (load.how.durability == KVLOG_DURABILITY_DEFAULT)
			load.how.durability = KVLOG_DURABILITY_NONE;
		status = load_store(&load, segment_size);
		if (load.reader.fd != STDIN_FILENO)
			close(load.reader.fd);
	}
	free(load.reader.buffer);
	free(load.reader.dump.name);
	return status;
}

static const struct option load_options[] = {
    {"format", required_argument, NULL, OPT_FORMAT},
    {"database", required_argument, NULL, OPT_DATABASE},
    {"all", no_argument, NULL, OPT_ALL},
    {"segment-size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {NULL, 0, NULL, 0},
};

const struct command cmd_load = {
    .name = "load",
    .synopsis = "load STORE [FILE | -] [--format=FORMAT] "
		"[--database=NAME | --all] [--segment-size=SIZE]",
    .summary = "store the records of a file",
    .help =
	"Store every record of FILE, or of standard input.  STORE is made if "
	"it does not\n"
	"exist.  A record that is wrong ends the load; those before it stay "
	"in the store.\n"
	"Everything is synced once, at the end, unless --durability says "
	"otherwise.\n\n"
	"  --format=FORMAT      of the input; without it the first line tells: "
	"json begins\n"
	"                       with {, db_dump and mdb_dump with VERSION=, "
	"else lines\n"
	"  --database=NAME      which database of a dump of several\n"
	"  --all                all of them, each into a bucket of its name\n"
	"  --segment-size=SIZE  as for create, for segments made from now "
	"on\n",
    .help_more = format_print_help,
    .letters = "",
    .options = load_options,
    .arg_min = 1,
    .arg_max = 2,
    .writes = true,
    .keyed = true,
    .exec = load_exec,
};
