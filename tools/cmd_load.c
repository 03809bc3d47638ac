/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_load.c - kvlog load: store the lines KEY<TAB>VALUE of a file or of
 * standard input.
 *
 *     buffer
 *     +---------------------+--------------------+-----------+- - - - -+
 *     | lines in the batch  |  lines not yet     | begin of  |  room   |
 *     |                     |  taken             | a line    |         |
 *     +---------------------+--------------------+-----------+- - - - -+
 *                           at                         len         size
 *
 * Escapes are undone in place, which never lengthens a line, and the steps of
 * a batch point into the buffer: a record is copied only once, into the
 * store.  So a batch is committed before more is read, since reading moves
 * the bytes.
 *
 * Batches are neither durable one by one (unless --durability says so) nor
 * the whole load atomic: it ends with one sync, and after an error in the
 * input all lines before it are in the store.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)4 << 20)
#define BATCH_COUNT 1000
#define BATCH_BYTES ((size_t)256 << 10) /* in the store, about */
#define RECORD_OVERHEAD 40              /* bytes in the store, about */

struct load {
	struct cli *cli;
	struct kvlog *db;
	struct kvlog_write how;
	const char *name; /* of the input, for messages */
	int fd;
	char *buffer;
	size_t at;
	size_t len;
	size_t size;
	bool at_end;    /* nothing more can be read */
	uint64_t lines; /* taken so far */
	uint64_t bytes; /* of input taken so far */
	uint64_t records;
	size_t op_count;
	size_t op_bytes;
	size_t op_bytes_max;
	struct kvlog_op ops[BATCH_COUNT];
};

static enum cli_exit
fail_line(const struct load *load, const char *why)
{
	return cli_fail(load->cli, CLI_USAGE,
	    "%s:%" PRIu64 ": %s; correct the line and load again from there",
	    load->name, load->lines, why);
}

static enum cli_exit
commit_batch(struct load *load)
{
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
	progress_update(load->records, load->bytes);
	return CLI_DONE;
}

/* One field of a line, in place; NULL, or what is wrong with it. */
static const char *
take_field(char *text, size_t len, struct bytes *ret_field)
{
	const char *why = text_unescape(text, len, &len);

	if (why == NULL)
		*ret_field = (struct bytes){text, len};
	return why;
}

/* A line without its newline into a step of the batch. */
static const char *
take_line(char *line, size_t len, struct kvlog_op *op)
{
	char *tab = memchr(line, '\t', len);
	struct bytes key, value;
	const char *why;

	if (tab == NULL)
		return "there is no tab between key and value";
	why = take_field(line, (size_t)(tab - line), &key);
	if (why != NULL)
		return why;
	if (key.len == 0)
		return "the key is empty";
	if (key.len > KVLOG_KEY_MAX)
		return "the key is longer than 65535 bytes";
	why = take_field(tab + 1, len - (size_t)(tab + 1 - line), &value);
	if (why != NULL)
		return why;
	if (value.len > KVLOG_VALUE_MAX)
		return "the value is longer than 4294967295 bytes";
	*op = (struct kvlog_op){.type = KVLOG_OP_PUT,
	    .key = key.data,
	    .key_len = key.len,
	    .value = value.data,
	    .value_len = value.len};
	return NULL;
}

static enum cli_exit
add_line(struct load *load, char *line, size_t len)
{
	const char *why;

	load->lines++;
	load->bytes += len + 1;
	why = take_line(line, len, &load->ops[load->op_count]);
	if (why != NULL) {
		enum cli_exit status = commit_batch(load);

		return status != CLI_DONE ? status : fail_line(load, why);
	}
	load->op_count++;
	load->op_bytes += len + RECORD_OVERHEAD;
	if (load->op_count < BATCH_COUNT && load->op_bytes < load->op_bytes_max)
		return CLI_DONE;
	return commit_batch(load);
}

/* All whole lines of the buffer; at the end of input the rest is one. */
static enum cli_exit
take_lines(struct load *load)
{
	enum cli_exit status = CLI_DONE;

	while (status == CLI_DONE && load->at < load->len) {
		char *line = load->buffer + load->at;
		size_t left = load->len - load->at;
		char *newline = memchr(line, '\n', left);
		size_t len;

		if (newline == NULL && !load->at_end)
			break;
		len = newline == NULL ? left : (size_t)(newline - line);
		load->at += newline == NULL ? left : len + 1;
		status = add_line(load, line, len);
	}
	return status;
}

/* Bring the unfinished line to the front; a larger buffer if it fills it. */
static enum cli_exit
make_room(struct load *load)
{
	char *buffer;
	size_t size;

	if (load->at > 0) {
		memmove(load->buffer, load->buffer + load->at,
		    load->len - load->at);
		load->len -= load->at;
		load->at = 0;
	}
	if (load->len < load->size)
		return CLI_DONE;
	size = load->size == 0 ? BUFFER_SIZE : load->size * 2;
	buffer = size > load->size ? realloc(load->buffer, size) : NULL;
	if (buffer == NULL) {
		load->lines++;
		return cli_fail(load->cli, CLI_FAILED,
		    "%s:%" PRIu64 ": out of memory for this line", load->name,
		    load->lines);
	}
	load->buffer = buffer;
	load->size = size;
	return CLI_DONE;
}

static enum cli_exit
read_more(struct load *load)
{
	enum cli_exit status = make_room(load);
	ssize_t len;

	if (status != CLI_DONE)
		return status;
	do {
		len = read(
		    load->fd, load->buffer + load->len, load->size - load->len);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return cli_fail(load->cli, CLI_FAILED, "cannot read %s: %s",
		    load->name, strerror(errno));
	load->len += (size_t)len;
	load->at_end = len == 0;
	return CLI_DONE;
}

static enum cli_exit
load_lines(struct load *load)
{
	enum cli_exit status = CLI_DONE;

	while (status == CLI_DONE && !load->at_end) {
		status = read_more(load);
		if (status == CLI_DONE)
			status = take_lines(load);
		if (status == CLI_DONE)
			status = commit_batch(load);
	}
	return status;
}

/* What was loaded, also after an error. */
static void
print_loaded(const struct load *load, double seconds)
{
	struct json json;

	if (load->cli->json) {
		json_begin(&json, stdout);
		json_number(&json, "loaded", load->records);
		json_number(&json, "bytes", load->bytes);
		json_end(&json);
	} else if (!load->cli->quiet) {
		printf("Loaded: %" PRIu64 " records\n", load->records);
	}
	cli_remark(load->cli,
	    "%" PRIu64 " bytes in %.3f s, %.0f records per second", load->bytes,
	    seconds, seconds > 0 ? (double)load->records / seconds : 0);
}

/* load->fd and what can be said about the input. */
static enum cli_exit
open_input(struct load *load, const char *path)
{
	struct stat st;
	uint64_t total = 0;

	load->name = "standard input";
	load->fd = STDIN_FILENO;
	if (path != NULL && strcmp(path, "-") != 0) {
		load->name = path;
		load->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (load->fd < 0)
			return cli_fail(load->cli, CLI_USAGE,
			    "cannot open %s: %s", path, strerror(errno));
	}
	if (fstat(load->fd, &st) == 0 && S_ISREG(st.st_mode))
		total = (uint64_t)st.st_size;
	if (isatty(load->fd) == 1 && !load->cli->quiet)
		fputs("Type lines KEY<TAB>VALUE; Ctrl-D ends.\n", stderr);
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
	enum kvlog_status st;

	status =
	    cli_open(load->cli, KVLOG_OPEN_CREATE, segment_size, &load->db);
	if (status != CLI_DONE)
		return status;
	limit_batch(load);
	status = load_lines(load);
	progress_end();
	/* Also after an error: what is reported as loaded is safe. */
	st = kvlog_sync(load->db);
	if (st != KVLOG_OK && status == CLI_DONE)
		status = cli_fail_status(load->cli, st, "cannot sync");
	status = cli_close(load->cli, load->db, status);
	print_loaded(load, (double)(progress_clock() - begin_ns) / 1e9);
	return status;
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
		status = open_input(&load, argc > 1 ? argv[1] : NULL);
	if (status != CLI_DONE)
		return status;
	if (load.how.durability == KVLOG_DURABILITY_DEFAULT)
		load.how.durability = KVLOG_DURABILITY_NONE;
	status = load_store(&load, segment_size);
	if (load.fd != STDIN_FILENO)
		close(load.fd);
	free(load.buffer);
	return status;
}

static const struct option load_options[] = {
    {"segment-size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {NULL, 0, NULL, 0},
};

const struct command cmd_load = {
    .name = "load",
    .synopsis = "load STORE [FILE | -] [--segment-size=SIZE]",
    .summary = "store lines KEY<TAB>VALUE",
    .help =
	"Store every line KEY, tab, VALUE of FILE, or of standard input.  "
	"Escapes are\n"
	"those of dump: \\\\ \\t \\n \\r \\0 and \\xHH.  STORE is made if it "
	"does not exist.\n"
	"A line that is wrong ends the load; the lines before it stay in "
	"the store.\n"
	"Everything is synced once, at the end, unless --durability says "
	"otherwise.\n\n"
	"  --segment-size=SIZE  as for create, for segments made from now on\n",
    .letters = "",
    .options = load_options,
    .arg_min = 1,
    .arg_max = 2,
    .writes = true,
    .exec = load_exec,
};
