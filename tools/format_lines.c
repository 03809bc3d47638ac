/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format_lines.c - the two plain formats: lines KEY<TAB>VALUE with escapes,
 * and exact bytes with a zero byte after each key and each value.
 */
#include "config.h"

#include "format.h"

#include <stdlib.h>
#include <string.h>

#define ESCAPE_LEN 4 /* of \xHH, the longest */

/* One field of a line, in place; NULL, or what is wrong with it. */
static const char *
take_field(
    struct reader *reader, const struct field *field, struct bytes *ret_bytes)
{
	char *text = reader_text(reader, field);

	ret_bytes->data = text;
	return text_unescape(text, field->len, &ret_bytes->len);
}

static enum cli_exit
lines_read(struct reader *reader, struct record *ret_record)
{
	struct field key, value;
	enum cli_exit status;
	const char *why;

	reader_begin(reader);
	reader->line++;
	status = reader_field(
	    reader, '\t', ESCAPE_LEN * (uint64_t)KVLOG_KEY_MAX, &key);
	if (status != CLI_DONE)
		return status;
	if (key.len == 0 && key.end == FIELD_CUT)
		return CLI_DONE; /* of the input */
	if (key.end != FIELD_WHOLE ||
	    memchr(reader_text(reader, &key), '\n', key.len) != NULL)
		return reader_fail(reader,
		    "there is no tab between key and value%s",
		    reader->line == 1 ? ", perhaps it is not in the format "
					"lines; --format names others"
				      : "");
	status = reader_field(
	    reader, '\n', ESCAPE_LEN * (uint64_t)KVLOG_VALUE_MAX, &value);
	if (status != CLI_DONE)
		return status;
	if (value.end == FIELD_LONG)
		return reader_fail(reader, "the value is too long");
	why = take_field(reader, &key, &ret_record->key);
	if (why == NULL)
		why = take_field(reader, &value, &ret_record->value);
	return why == NULL ? CLI_DONE : reader_fail(reader, "%s", why);
}

static enum cli_exit
lines_write(struct writer *writer, const struct record *record)
{
	text_escape(writer->file, record->key);
	putc('\t', writer->file);
	text_escape(writer->file, record->value);
	putc('\n', writer->file);
	return CLI_DONE;
}

static enum cli_exit
nul_read(struct reader *reader, struct record *ret_record)
{
	struct field key, value;
	enum cli_exit status;

	reader_begin(reader);
	reader->line++;
	status = reader_field(reader, '\0', KVLOG_KEY_MAX, &key);
	if (status != CLI_DONE)
		return status;
	if (key.len == 0 && key.end == FIELD_CUT)
		return CLI_DONE; /* of the input */
	if (key.end == FIELD_LONG)
		return reader_fail(reader,
		    "no zero byte ends the key within %u bytes", KVLOG_KEY_MAX);
	if (key.end == FIELD_CUT)
		return reader_fail(
		    reader, "the input ends before the zero byte of a key");
	status = reader_field(reader, '\0', KVLOG_VALUE_MAX, &value);
	if (status != CLI_DONE)
		return status;
	if (value.end == FIELD_LONG)
		return reader_fail(reader,
		    "no zero byte ends the value within %u bytes",
		    KVLOG_VALUE_MAX);
	if (value.end == FIELD_CUT)
		return reader_fail(
		    reader, "the input ends before the zero byte of a value");
	ret_record->key = (struct bytes){reader_text(reader, &key), key.len};
	ret_record->value =
	    (struct bytes){reader_text(reader, &value), value.len};
	return CLI_DONE;
}

static bool
has_zero(struct bytes bytes)
{
	return bytes.len > 0 && memchr(bytes.data, 0, bytes.len) != NULL;
}

static enum cli_exit
fail_zero(const struct cli *cli, struct bytes key)
{
	char *text = text_escaped(key);

	(void)cli_fail(cli, CLI_USAGE,
	    "the record of %s holds a zero byte, which --format=nul cannot "
	    "write; what was written is not complete; choose another format",
	    text != NULL ? text : "a key");
	free(text);
	return CLI_USAGE;
}

static enum cli_exit
nul_write(struct writer *writer, const struct record *record)
{
	if (has_zero(record->key) || has_zero(record->value))
		return fail_zero(writer->cli, record->key);
	fwrite(record->key.data, 1, record->key.len, writer->file);
	putc('\0', writer->file);
	fwrite(record->value.data, 1, record->value.len, writer->file);
	putc('\0', writer->file);
	return CLI_DONE;
}

const struct format format_lines = {
    .name = "lines",
    .help = "KEY, tab, VALUE; escapes \\\\ \\t \\n \\r \\0 \\xHH",
    .resumable = true,
    .read = lines_read,
    .write = lines_write,
};

const struct format format_nul = {
    .name = "nul",
    .help = "KEY, zero byte, VALUE, zero byte, as of scan -0 --values",
    .read = nul_read,
    .write = nul_write,
};
