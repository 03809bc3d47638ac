/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format_reader.c - the window over the input of load.
 *
 *     buffer
 *     +------------------+--------------------+-----------+- - - - -+
 *     | records that are | fields of the      | not taken |  room   |
 *     | taken            | present record     |           |         |
 *     +------------------+--------------------+-----------+- - - - -+
 *                        record_off           at          len       size
 *
 * Records are decoded in place, which never lengthens them, and the steps of
 * a batch point into the buffer: a record is copied only once, into the
 * store.  So before more is read, which moves bytes, settle() commits the
 * batch.
 */
#include "config.h"

#include "format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)4 << 20)

enum cli_exit
reader_init(struct reader *reader)
{
	reader->buffer = malloc(BUFFER_SIZE);
	if (reader->buffer == NULL)
		return cli_fail(
		    reader->cli, CLI_FAILED, "out of memory for the input");
	reader->size = BUFFER_SIZE;
	return CLI_DONE;
}

void
reader_begin(struct reader *reader)
{
	reader->record_off = reader->at;
}

char *
reader_text(const struct reader *reader, const struct field *field)
{
	return reader->buffer + reader->record_off + field->off;
}

uint64_t
reader_bytes(const struct reader *reader)
{
	return reader->dropped + reader->at;
}

enum cli_exit
reader_fail(const struct reader *reader, const char *format, ...)
{
	char why[512]; /* what is long in it, is from the input */
	enum cli_exit status = reader->settle(reader->context);
	va_list args;

	if (status != CLI_DONE)
		return status;
	va_start(args, format);
	vsnprintf(why, sizeof why, format, args);
	va_end(args);
	if (reader->format->resumable)
		return cli_fail(reader->cli, CLI_USAGE,
		    "%s:%" PRIu64
		    ": %s; correct the line and load again from there",
		    reader->name, reader->line, why);
	return cli_fail(reader->cli, CLI_USAGE,
	    "%s:%" PRIu64 ": %s; the records before it are stored",
	    reader->name, reader->line, why);
}

/* Bring the record to the front; a larger buffer if it fills it. */
static enum cli_exit
make_room(struct reader *reader)
{
	char *buffer;
	size_t size;

	if (reader->record_off > 0) {
		memmove(reader->buffer, reader->buffer + reader->record_off,
		    reader->len - reader->record_off);
		reader->dropped += reader->record_off;
		reader->len -= reader->record_off;
		reader->at -= reader->record_off;
		reader->record_off = 0;
	}
	if (reader->len < reader->size)
		return CLI_DONE;
	size = reader->size * 2;
	buffer = size > reader->size ? realloc(reader->buffer, size) : NULL;
	if (buffer == NULL)
		return cli_fail(reader->cli, CLI_FAILED,
		    "%s:%" PRIu64 ": out of memory for this record",
		    reader->name, reader->line);
	reader->buffer = buffer;
	reader->size = size;
	return CLI_DONE;
}

static enum cli_exit
read_more(struct reader *reader)
{
	enum cli_exit status = reader->settle(reader->context);
	ssize_t len;

	if (status == CLI_DONE)
		status = make_room(reader);
	if (status != CLI_DONE)
		return status;
	do {
		len = read(reader->fd, reader->buffer + reader->len,
		    reader->size - reader->len);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return cli_fail(reader->cli, CLI_FAILED, "cannot read %s: %s",
		    reader->name, strerror(errno));
	reader->len += (size_t)len;
	reader->at_end = len == 0;
	return CLI_DONE;
}

enum cli_exit
reader_field(struct reader *reader, char delimiter, uint64_t limit,
    struct field *ret_field)
{
	size_t searched = 0; /* no byte is looked at twice, however slowly a
				long field comes */

	for (;;) {
		size_t left = reader->len - reader->at;
		size_t near = left <= limit ? left : (size_t)limit + 1;
		char *from = reader->buffer + reader->at;
		char *found = NULL;
		enum cli_exit status;

		if (near > searched)
			found =
			    memchr(from + searched, delimiter, near - searched);
		ret_field->off = reader->at - reader->record_off;
		if (found != NULL) {
			ret_field->len = (size_t)(found - from);
			ret_field->end = FIELD_WHOLE;
			reader->at += ret_field->len + 1;
			return CLI_DONE;
		}
		if (near > limit || reader->at_end) {
			ret_field->len = near > limit ? (size_t)limit : left;
			ret_field->end = near > limit ? FIELD_LONG : FIELD_CUT;
			reader->at += ret_field->len;
			return CLI_DONE;
		}
		searched = near;
		status = read_more(reader);
		if (status != CLI_DONE)
			return status;
	}
}

enum cli_exit
reader_peek(struct reader *reader, int *ret_byte)
{
	enum cli_exit status = CLI_DONE;

	while (
	    status == CLI_DONE && reader->at == reader->len && !reader->at_end)
		status = read_more(reader);
	if (status == CLI_DONE)
		*ret_byte = reader->at < reader->len
				? (unsigned char)reader->buffer[reader->at]
				: -1;
	return status;
}
