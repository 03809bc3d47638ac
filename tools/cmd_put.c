/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_put.c - kvlog put: store one value, from the command line or from
 * standard input.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE_MIN 65536

/* Standard input in memory; grows by doubling. */
struct input {
	char *data;
	size_t len;
	size_t size;
};

static enum cli_exit
fail_too_big(const struct cli *cli)
{
	return cli_fail(cli, CLI_USAGE,
	    "the value on standard input is larger than %" PRIu32
	    " bytes, the largest there is; store it in parts under several "
	    "keys",
	    KVLOG_VALUE_MAX);
}

/*
 * What is left of a regular file, so that it is read into memory of the right
 * size, and refused before it is read.  0: not known.
 */
static uint64_t
input_left(void)
{
	struct stat st;
	off_t at;

	if (fstat(STDIN_FILENO, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	if (at < 0 || at > st.st_size)
		return 0;
	return (uint64_t)(st.st_size - at);
}

/* Room for at least one more byte. */
static enum cli_exit
input_grow(const struct cli *cli, struct input *input)
{
	size_t size = input->size;
	char *data;

	if (input->len < input->size)
		return CLI_DONE;
	size = size < READ_SIZE_MIN ? READ_SIZE_MIN : size;
	if (input->size != 0)
		size = size > SIZE_MAX / 2 ? SIZE_MAX : size * 2;
	/* One more than the largest value tells that it is too large. */
	if (size - 1 > KVLOG_VALUE_MAX)
		size = (size_t)KVLOG_VALUE_MAX + 1;
	data = realloc(input->data, size);
	if (data == NULL)
		return cli_fail(cli, CLI_FAILED,
		    "out of memory for the value on standard input, after %zu "
		    "bytes",
		    input->len);
	input->data = data;
	input->size = size;
	return CLI_DONE;
}

static enum cli_exit
input_read(const struct cli *cli, struct input *input)
{
	uint64_t left = input_left();

	if (left > KVLOG_VALUE_MAX)
		return fail_too_big(cli);
	if (left >= READ_SIZE_MIN) {
		/* One more, to see the end without growing. */
		input->data = malloc((size_t)left + 1);
		if (input->data != NULL)
			input->size = (size_t)left + 1;
	}
	for (;;) {
		enum cli_exit status = input_grow(cli, input);
		ssize_t len;

		if (status != CLI_DONE)
			return status;
		len = read(STDIN_FILENO, input->data + input->len,
		    input->size - input->len);
		if (len == 0)
			return CLI_DONE;
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return cli_fail(cli, CLI_FAILED,
			    "cannot read the value from standard input: %s",
			    strerror(errno));
		input->len += (size_t)len;
		if (input->len > KVLOG_VALUE_MAX)
			return fail_too_big(cli);
	}
}

static void
print_inserted(const struct cli *cli, struct bytes key,
    const struct kvlog_receipt *receipt)
{
	struct json json;

	if (cli->json) {
		json_begin(&json, stdout);
		json_bytes(&json, "key", key);
		json_number(&json, "segment", receipt->segment);
		json_number(&json, "offset", receipt->offset);
		json_number(&json, "sequence", receipt->seq);
		json_end(&json);
	} else if (!cli->quiet) {
		fputs("Inserted: ", stdout);
		text_escape(stdout, key);
		printf(" (segment %" PRIu32 ", offset %" PRIu64 ")\n",
		    receipt->segment, receipt->offset);
	}
	cli_remark(cli, "sequence number %" PRIu64, receipt->seq);
}

/* Why the condition does not hold: exit 1. */
static enum cli_exit
fail_condition(
    const struct cli *cli, struct bytes key, const struct kvlog_write *how)
{
	char *escaped = cli_key_text(cli, "", key, "");
	const char *text = escaped != NULL ? escaped : "";
	enum cli_exit status = CLI_NOTFOUND;

	if (how->condition == KVLOG_IF_ABSENT)
		(void)cli_fail(cli, status,
		    "%s is in %s already; nothing was written", text,
		    cli->store);
	else if (how->condition == KVLOG_IF_PRESENT)
		(void)cli_fail(cli, status,
		    "%s is not in %s; nothing was written", text, cli->store);
	else
		(void)cli_fail(cli, status,
		    "%s in %s was not written by commit %" PRIu64
		    "; nothing was written",
		    text, cli->store, how->if_seq);
	free(escaped);
	return status;
}

static enum cli_exit
put_value(struct cli *cli, struct bytes key, struct bytes value,
    const struct kvlog_write *how, uint64_t segment_size)
{
	struct kvlog_receipt receipt;
	struct kvlog *db;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_open(
	    cli, KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD, segment_size, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_put(
	    db, key.data, key.len, value.data, value.len, how, &receipt);
	if (st == KVLOG_CONFLICT)
		status = fail_condition(cli, key, how);
	else if (st != KVLOG_OK)
		status = cli_fail_key(cli, db, key, st, "cannot change ");
	status = cli_close(cli, db, status);
	if (status == CLI_DONE)
		print_inserted(cli, key, &receipt);
	return status;
}

static enum cli_exit
put_exec(struct cli *cli, int argc, char **argv)
{
	struct input input = {NULL, 0, 0};
	struct kvlog_write how;
	struct bytes key, value;
	uint64_t segment_size = 0;
	enum cli_exit status;

	status = cli_write_how(cli, &how);
	if (status == CLI_DONE)
		status = cli_segment_size(cli, &segment_size);
	if (status == CLI_DONE)
		status = cli_key(cli, argv[1], &key);
	if (status != CLI_DONE)
		return status;
	if (argc > 2) {
		value = (struct bytes){argv[2], strlen(argv[2])};
	} else {
		if (isatty(STDIN_FILENO) == 1 && !cli->quiet)
			fputs("Type the value; Ctrl-D ends it.\n", stderr);
		status = input_read(cli, &input);
		value = (struct bytes){input.data, input.len};
	}
	if (status == CLI_DONE)
		status = put_value(cli, key, value, &how, segment_size);
	free(input.data);
	return status;
}

static const struct option put_options[] = {
    {"if-absent", no_argument, NULL, OPT_IF_ABSENT},
    {"if-present", no_argument, NULL, OPT_IF_PRESENT},
    {"if-seq", required_argument, NULL, OPT_IF_SEQ},
    {"ttl", required_argument, NULL, OPT_TTL},
    {"segment-size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {NULL, 0, NULL, 0},
};

const struct command cmd_put = {
    .name = "put",
    .alias = "insert",
    .synopsis = "put|insert STORE KEY [VALUE] "
		"[--if-absent | --if-present | --if-seq=N] [--ttl=TIME] "
		"[--segment-size=SIZE]",
    .summary = "store a value under a key (also: insert)",
    .help = "Store VALUE under KEY, replacing what is there.  Without VALUE, "
	    "all bytes of\n"
	    "standard input are the value.  STORE, and the bucket, is made if "
	    "it does not exist.\n\n"
	    "  --if-absent          only if KEY has no value yet\n"
	    "  --if-present         only if KEY has a value\n"
	    "  --if-seq=N           only if its value was written by commit N "
	    "('get --json'\n"
	    "                       shows it as \"sequence\"); 0: if KEY has "
	    "no value\n"
	    "  --ttl=TIME           the value expires after TIME: "
	    "milliseconds, or 10s,\n"
	    "                       10m, 10h, 10d\n"
	    "  --segment-size=SIZE  as for create, for segments made from now "
	    "on\n",
    .letters = "",
    .options = put_options,
    .arg_min = 2,
    .arg_max = 3,
    .writes = true,
    .keyed = true,
    .exec = put_exec,
};
