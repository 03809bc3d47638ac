/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_load.c - any bytes as the input of "kvlog load", in each of its
 * formats, through the readers that the program has.  They come in pieces of
 * any length, into a buffer that is too small.
 *
 *     byte 0    format: 0 what the first line says, 1 lines, 2 nul, 3 db_dump,
 *               4 json; + 8: --database=b
 *     byte 1    room in the buffer at first, less 1
 *     byte 2    lengths of the pieces: so many bytes, as many more for each
 *     then the input
 *
 * In pieces it reads as it does in one: the same records, and the same
 * complaint at the same line.  A record stays where it is until settle() is
 * called.  Records that were read are written in each format and read again.
 */
#include "config.h"

#include "fuzz.h"

#include "../../tools/format.h"

#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define PIECE_MAX 500u
#define RECORDS_MAX 4096u

/* What the program has elsewhere: messages, which end up here. */

static char said[1024];

static void
say(const char *format, va_list args)
{
	(void)vsnprintf(said, sizeof said, format, args);
}

enum cli_exit
cli_fail(const struct cli *cli, enum cli_exit status, const char *format, ...)
{
	va_list args;

	(void)cli;
	va_start(args, format);
	say(format, args);
	va_end(args);
	FUZZ_CHECK(said[0] != '\0' && status != CLI_DONE);
	return status;
}

enum cli_exit
cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;

	(void)cli;
	va_start(args, format);
	say(format, args);
	va_end(args);
	return CLI_USAGE;
}

void
cli_warn(const struct cli *cli, const char *format, ...)
{
	(void)cli, (void)format;
}

const char *
cli_option(const struct cli *cli, enum cli_option option)
{
	(void)cli, (void)option;
	return NULL;
}

/* The input.  The reader settles before it reads: then the next piece comes
 * into the pipe. */
struct source {
	const uint8_t *at;
	size_t left;
	size_t piece, more; /* length of the next one, less 1; what is added */
	int fds[2];
};

static void
send_piece(struct source *source)
{
	size_t len = source->piece + 1;

	if (source->fds[1] < 0)
		return;
	if (len > source->left)
		len = source->left;
	if (len > 0)
		FUZZ_CHECK(
		    write(source->fds[1], source->at, len) == (ssize_t)len);
	source->at += len;
	source->left -= len;
	source->piece = (source->piece + source->more) % PIECE_MAX;
	if (source->left == 0) {
		FUZZ_CHECK(close(source->fds[1]) == 0);
		source->fds[1] = -1;
	}
}

/* What was read. */

struct seen {
	struct record *records; /* copies */
	size_t count;
	size_t settled; /* of them, those before settle() was called */
	struct record there[RECORDS_MAX]; /* where they are */
	struct source *source;            /* NULL: all is in the buffer */
	enum cli_exit status;
	uint64_t line;
	char said[sizeof said];
};

static struct bytes
copy_of(struct bytes bytes)
{
	void *copy = malloc(bytes.len + 1);

	FUZZ_CHECK(copy != NULL);
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	return (struct bytes){copy, bytes.len};
}

static bool
same(struct bytes a, struct bytes b)
{
	return a.len == b.len &&
	       (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* What load does with a batch: from here on nothing is needed in the
 * buffer. */
static enum cli_exit
settle(void *context)
{
	struct seen *seen = context;

	for (; seen->settled < seen->count; seen->settled++) {
		const struct record *it = &seen->records[seen->settled];
		const struct record *there = &seen->there[seen->settled];

		FUZZ_CHECK(same(it->key, there->key));
		FUZZ_CHECK(same(it->value, there->value));
	}
	if (seen->source != NULL)
		send_piece(seen->source);
	return CLI_DONE;
}

static void
note_record(
    struct seen *seen, const struct reader *reader, const struct record *record)
{
	const char *key = record->key.data, *value = record->value.data;

	FUZZ_CHECK(key >= reader->buffer &&
		   key + record->key.len <= reader->buffer + reader->at);
	FUZZ_CHECK(value >= reader->buffer &&
		   value + record->value.len <= reader->buffer + reader->at);
	seen->there[seen->count] = *record;
	seen->records[seen->count++] = (struct record){
	    .key = copy_of(record->key), .value = copy_of(record->value)};
}

static void
forget(struct seen *seen)
{
	for (size_t i = 0; i < seen->count; i++) {
		free((void *)(uintptr_t)seen->records[i].key.data);
		free((void *)(uintptr_t)seen->records[i].value.data);
	}
	free(seen->records);
	free(seen);
}

/* All records that the reader gives, as load_records() takes them. */
static void
read_records(struct seen *seen, struct reader *reader)
{
	seen->records = malloc(RECORDS_MAX * sizeof *seen->records);
	FUZZ_CHECK(seen->records != NULL && reader->buffer != NULL);
	reader->name = "input";
	reader->settle = settle;
	reader->context = seen;
	said[0] = '\0';
	if (reader->format == NULL)
		seen->status = format_detect(reader, &reader->format);
	while (seen->status == CLI_DONE && seen->count < RECORDS_MAX) {
		struct record record = {.key = {NULL, 0}};
		uint64_t before = reader_bytes(reader);

		if (reader->format->read == NULL)
			break;
		seen->status = reader->format->read(reader, &record);
		FUZZ_CHECK(reader->at <= reader->len);
		FUZZ_CHECK(reader->len <= reader->size);
		if (seen->status != CLI_DONE ||
		    (record.key.data == NULL && record.bucket.data == NULL))
			break;
		FUZZ_CHECK(reader_bytes(reader) > before);
		if (record.key.data != NULL)
			note_record(seen, reader, &record);
	}
	seen->source = NULL;
	(void)settle(seen);
	seen->line = reader->line;
	memcpy(seen->said, said, sizeof said);
	free(reader->buffer);
}

static struct seen *
load_whole(const struct format *format, const char *database,
    const uint8_t *data, size_t size)
{
	struct seen *seen = calloc(1, sizeof *seen);
	struct reader reader = {.format = format,
	    .database = database,
	    .fd = -1,
	    .buffer = malloc(size + 1),
	    .len = size,
	    .size = size + 1,
	    .at_end = true};

	FUZZ_CHECK(seen != NULL && reader.buffer != NULL);
	if (size > 0)
		memcpy(reader.buffer, data, size);
	read_records(seen, &reader);
	return seen;
}

static struct seen *
load_pieces(const struct format *format, const char *database, size_t room,
    struct source *source)
{
	struct seen *seen = calloc(1, sizeof *seen);
	struct reader reader = {.format = format,
	    .database = database,
	    .buffer = malloc(room),
	    .size = room};

	FUZZ_CHECK(seen != NULL && pipe(source->fds) == 0);
	reader.fd = source->fds[0];
	seen->source = source;
	read_records(seen, &reader);
	FUZZ_CHECK(close(source->fds[0]) == 0);
	if (source->fds[1] >= 0)
		FUZZ_CHECK(close(source->fds[1]) == 0);
	return seen;
}

static void
check_same(const struct seen *a, const struct seen *b)
{
	FUZZ_CHECK(a->status == b->status && a->count == b->count);
	FUZZ_CHECK(a->line == b->line && strcmp(a->said, b->said) == 0);
	for (size_t i = 0; i < a->count; i++) {
		FUZZ_CHECK(same(a->records[i].key, b->records[i].key));
		FUZZ_CHECK(same(a->records[i].value, b->records[i].value));
	}
}

/* Written and read again, the records are the same. */
static void
check_round(const struct seen *seen, const struct format *format, bool print)
{
	char *text = NULL;
	size_t len = 0;
	struct writer writer = {.format = format, .print = print};
	enum cli_exit status = CLI_DONE;
	struct seen *again;

	writer.file = open_memstream(&text, &len);
	FUZZ_CHECK(writer.file != NULL);
	if (format->begin != NULL)
		format->begin(&writer);
	for (size_t i = 0; i < seen->count && status == CLI_DONE; i++)
		status = format->write(&writer, &seen->records[i]);
	if (format->end != NULL)
		format->end(&writer);
	FUZZ_CHECK(fclose(writer.file) == 0);
	FUZZ_CHECK(status == CLI_DONE || format == &format_nul);
	if (status == CLI_DONE && format->read != NULL) {
		again = load_whole(format, NULL, (const uint8_t *)text, len);
		FUZZ_CHECK(again->status == CLI_DONE);
		FUZZ_CHECK(again->count == seen->count);
		for (size_t i = 0; i < seen->count; i++) {
			FUZZ_CHECK(
			    same(again->records[i].key, seen->records[i].key));
			FUZZ_CHECK(same(
			    again->records[i].value, seen->records[i].value));
		}
		forget(again);
	}
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct format *const formats[] = {
	    NULL, &format_lines, &format_nul, &format_db_dump, &format_json};
	const struct format *format;
	const char *database;
	struct seen *whole, *pieces;
	struct source source;

	if (size < 3)
		return 0;
	format = formats[(data[0] & 7) % 5];
	database = format == &format_db_dump && (data[0] & 8) != 0 ? "b" : NULL;
	source = (struct source){.at = data + 3,
	    .left = size - 3,
	    .piece = data[2] & 15,
	    .more = data[2] >> 4};
	whole = load_whole(format, database, data + 3, size - 3);
	pieces = load_pieces(format, database, (size_t)data[1] + 1, &source);
	check_same(whole, pieces);
	check_round(whole, &format_lines, false);
	check_round(whole, &format_nul, false);
	check_round(whole, &format_db_dump, false);
	check_round(whole, &format_mdb_dump, true);
	check_round(whole, &format_json, false);
	forget(whole);
	forget(pieces);
	return 0;
}
