/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format_dump.c - the text dumps of Berkeley DB and of LMDB, which the
 * programs db_dump and db_load, mdb_dump and mdb_load write and read:
 *
 *     VERSION=3
 *     format=bytevalue          two hexadecimal digits per byte; or
 *     type=btree                print: text with \\ and \HH
 *     HEADER=END
 *      6b6579                   a space and a key
 *      76616c7565               a space and its value
 *     DATA=END
 *
 * Other lines of the header say how the database was made, and differ
 * between the two: db_load refuses mapsize=, without which mdb_load has no
 * room for more than 1 MiB.  So each has a format for writing; for reading
 * both are the same.  A file may hold several databases one after the other,
 * each with a header that names it (database=).
 *
 * What these programs are known to get wrong is kept from them: db_load
 * misreads digits in upper case, mdb_load (before LMDB 0.9.25) a doubled
 * backslash behind another escape.
 */
#include "config.h"

#include "format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LMDB_KEY_MAX 511

/* Limits of lines: a header's are short, each byte of data may be \HH. */
#define HEADER_LINE_MAX 65536
#define DATA_LINE_MAX(len) (1 + 3 * (uint64_t)(len))

/* A header while it is being read. */
struct header {
	bool print;
	bool numbered;   /* type=recno and the like: records have no keys... */
	bool keys;       /* ... unless their numbers are written: keys=1 */
	bool duplicates; /* duplicates=1: several values to a key */
	bool wanted;
	char name[128]; /* as much of it as messages show */
	char *whole;    /* with --all; owned */
	size_t whole_len;
};

static bool
is(struct bytes bytes, const char *text)
{
	return bytes.len == strlen(text) &&
	       memcmp(bytes.data, text, bytes.len) == 0;
}

/* The next line; at the end of the input an empty one, cut. */
static enum cli_exit
take_line(struct reader *reader, uint64_t limit, struct field *ret_line,
    struct bytes *ret_text)
{
	enum cli_exit status;
	const char *text;

	reader->line++;
	status = reader_field(reader, '\n', limit, ret_line);
	if (status != CLI_DONE)
		return status;
	if (ret_line->end == FIELD_LONG)
		return reader_fail(reader, "the line is too long");
	text = reader_text(reader, ret_line);
	if (ret_line->len > 0 && text[ret_line->len - 1] == '\r')
		return reader_fail(reader,
		    "the line ends in a carriage return; remove those of all "
		    "lines, as tr -d '\\r' does");
	*ret_text = (struct bytes){text, ret_line->len};
	return CLI_DONE;
}

static enum cli_exit
keep_name(struct reader *reader, struct bytes name, struct header *header)
{
	if (!reader->all)
		return CLI_DONE;
	if (name.len > KVLOG_KEY_MAX)
		return reader_fail(reader,
		    "the name of a bucket has at most %u bytes", KVLOG_KEY_MAX);
	free(header->whole);
	header->whole = malloc(name.len + 1);
	if (header->whole == NULL)
		return reader_fail(reader, "out of memory");
	memcpy(header->whole, name.data, name.len);
	header->whole_len = name.len;
	return CLI_DONE;
}

static enum cli_exit
take_setting(struct reader *reader, struct bytes line, struct header *header)
{
	const char *text = line.data;
	const char *equals = line.len > 0 ? memchr(text, '=', line.len) : NULL;
	struct bytes name, value;

	if (equals == NULL)
		return reader_fail(reader,
		    "a header has lines NAME=VALUE, the last is HEADER=END");
	name = (struct bytes){text, (size_t)(equals - text)};
	value = (struct bytes){equals + 1, line.len - name.len - 1};
	if (is(name, "format")) {
		header->print = is(value, "print");
		if (!header->print && !is(value, "bytevalue"))
			return reader_fail(reader,
			    "the format is neither bytevalue nor print");
	} else if (is(name, "type")) {
		header->numbered = !is(value, "btree") && !is(value, "hash");
	} else if (is(name, "keys")) {
		header->keys = is(value, "1");
	} else if (is(name, "duplicates")) {
		header->duplicates = is(value, "1");
	} else if (is(name, "database") || is(name, "subdatabase")) {
		header->wanted =
		    reader->database == NULL || is(value, reader->database);
		snprintf(header->name, sizeof header->name, " '%.*s'",
		    (int)(value.len < 100 ? value.len : 100), equals + 1);
		return keep_name(reader, value, header);
	}
	return CLI_DONE;
}

/* The first line of a database, or the end of the input. */
static enum cli_exit
take_version(struct reader *reader, bool *ret_more)
{
	struct field line;
	struct bytes text;
	enum cli_exit status;

	status = take_line(reader, HEADER_LINE_MAX, &line, &text);
	if (status != CLI_DONE)
		return status;
	*ret_more = text.len > 0 || line.end == FIELD_WHOLE;
	if (*ret_more && !is(text, "VERSION=3") && !is(text, "VERSION=2"))
		return reader_fail(reader,
		    "a dump begins with VERSION=3, also one behind another");
	if (!*ret_more && reader->dump.wanted == 0) {
		if (reader->database != NULL)
			return reader_fail(reader,
			    "there is no database '%s' up to here",
			    reader->database);
		return reader_fail(
		    reader, "the input is empty; a dump begins with VERSION=3");
	}
	return CLI_DONE;
}

/* Take what the header says, or refuse what it announces. */
static enum cli_exit
end_header(struct reader *reader, const struct header *header)
{
	struct dump_state *dump = &reader->dump;

	dump->in_data = true;
	dump->print = header->print;
	dump->skipped = !header->wanted;
	if (dump->skipped)
		return CLI_DONE;
	if (header->numbered && !header->keys)
		return reader_fail(reader,
		    "a database of this type has no keys; db_dump -k writes "
		    "the numbers of its records as keys");
	if (header->duplicates)
		return reader_fail(reader,
		    "duplicates=1: keys may have several values, a store "
		    "keeps one; without that line the last one wins");
	if (dump->wanted++ > 0 && reader->database == NULL && !reader->all)
		return reader_fail(reader,
		    "another database begins here%s; --database=NAME loads "
		    "one of several, --all each into a bucket of its name",
		    header->name);
	return CLI_DONE;
}

/* The lines up to the header's end. */
static enum cli_exit
take_settings(struct reader *reader, struct header *header)
{
	enum cli_exit status;

	for (;;) {
		struct field line;
		struct bytes text = {NULL, 0};

		reader_begin(reader);
		status = take_line(reader, HEADER_LINE_MAX, &line, &text);
		if (status != CLI_DONE)
			return status;
		if (line.end == FIELD_CUT)
			return reader_fail(
			    reader, "the input ends before HEADER=END");
		if (is(text, "HEADER=END"))
			return end_header(reader, header);
		status = take_setting(reader, text, header);
		if (status != CLI_DONE)
			return status;
	}
}

static enum cli_exit
take_header(struct reader *reader, bool *ret_more)
{
	struct header header = {.wanted = reader->database == NULL};
	enum cli_exit status;

	reader_begin(reader);
	status = take_version(reader, ret_more);
	if (status == CLI_DONE && *ret_more)
		status = take_settings(reader, &header);
	/* Steps of the batch may have pointed to the one before. */
	if (status == CLI_DONE && *ret_more && reader->all) {
		status = reader->settle(reader->context);
		free(reader->dump.name);
		reader->dump.name = header.whole;
		reader->dump.name_len = header.whole_len;
		return status;
	}
	free(header.whole);
	return status;
}

/* A line of data without its space, or the last line of a database. */
static enum cli_exit
take_data(struct reader *reader, uint64_t len_max, struct field *ret_data,
    bool *ret_end)
{
	struct bytes text = {NULL, 0};
	enum cli_exit status;

	status = take_line(reader, DATA_LINE_MAX(len_max), ret_data, &text);
	if (status != CLI_DONE)
		return status;
	*ret_end = is(text, "DATA=END");
	if (*ret_end)
		return CLI_DONE;
	if (ret_data->end == FIELD_CUT)
		return reader_fail(reader, "the input ends before DATA=END");
	if (text.len == 0 || *(const char *)text.data != ' ')
		return reader_fail(reader,
		    "a line of data begins with a space, the last line is "
		    "DATA=END");
	ret_data->off++;
	ret_data->len--;
	return CLI_DONE;
}

/* The byte of two hexadecimal digits, or -1. */
static int
hex_byte(const char *digits)
{
	int high = text_hex_digit(digits[0]);
	int low = text_hex_digit(digits[1]);

	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static const char *
decode_hex(char *text, size_t len, size_t *ret_len)
{
	if (len % 2 != 0)
		return "a byte has two hexadecimal digits, here one is "
		       "missing";
	for (size_t i = 0; i < len; i += 2) {
		int c = hex_byte(text + i);

		if (c < 0)
			return "a byte is written as two hexadecimal digits";
		text[i / 2] = (char)c;
	}
	*ret_len = len / 2;
	return NULL;
}

static const char *
decode_print(char *text, size_t len, size_t *ret_len)
{
	size_t to = 0;

	for (size_t from = 0; from < len; from++) {
		int c = (unsigned char)text[from];

		if (c == '\\' && len - from >= 2 && text[from + 1] == '\\') {
			from += 1;
		} else if (c == '\\') {
			c = len - from >= 3 ? hex_byte(text + from + 1) : -1;
			if (c < 0)
				return "a backslash must begin \\\\ or \\HH";
			from += 2;
		}
		text[to++] = (char)c;
	}
	*ret_len = to;
	return NULL;
}

/* Decode a field in place; nothing of a database that is skipped. */
static enum cli_exit
decode(struct reader *reader, struct field *data)
{
	char *text = reader_text(reader, data);
	const char *why = NULL;

	if (reader->dump.skipped)
		return CLI_DONE;
	if (reader->dump.print)
		why = decode_print(text, data->len, &data->len);
	else
		why = decode_hex(text, data->len, &data->len);
	return why == NULL ? CLI_DONE : reader_fail(reader, "%s", why);
}

/* The next key and value of this database, or its end. */
static enum cli_exit
take_pair(struct reader *reader, struct field *ret_key, struct field *ret_value,
    bool *ret_end)
{
	/* What is skipped may have longer keys. */
	uint64_t key_max =
	    reader->dump.skipped ? KVLOG_VALUE_MAX : KVLOG_KEY_MAX;
	enum cli_exit status;
	bool half = false;

	reader_begin(reader);
	status = take_data(reader, key_max, ret_key, ret_end);
	if (status != CLI_DONE || *ret_end)
		return status;
	status = decode(reader, ret_key);
	if (status == CLI_DONE)
		status = take_data(reader, KVLOG_VALUE_MAX, ret_value, &half);
	if (status == CLI_DONE && half)
		return reader_fail(reader, "the last key has no value");
	if (status == CLI_DONE)
		status = decode(reader, ret_value);
	return status;
}

static enum cli_exit
dump_read(struct reader *reader, struct record *ret_record)
{
	struct dump_state *dump = &reader->dump;
	struct field key, value;
	enum cli_exit status;
	bool more, end;

	do {
		if (!dump->in_data) {
			status = take_header(reader, &more);
			if (status != CLI_DONE || !more)
				return status;
			if (dump->name != NULL) {
				ret_record->bucket =
				    (struct bytes){dump->name, dump->name_len};
				return CLI_DONE;
			}
		}
		status = take_pair(reader, &key, &value, &end);
		if (status != CLI_DONE)
			return status;
		dump->in_data = !end;
	} while (end || dump->skipped);
	ret_record->key = (struct bytes){reader_text(reader, &key), key.len};
	ret_record->value =
	    (struct bytes){reader_text(reader, &value), value.len};
	ret_record->bucket = (struct bytes){dump->name, dump->name_len};
	return CLI_DONE;
}

static void
dump_begin(const struct writer *writer)
{
	fprintf(writer->file, "VERSION=3\nformat=%s\ntype=btree\n",
	    writer->print ? "print" : "bytevalue");
	if (writer->format == &format_mdb_dump)
		/* Room for the worst that LMDB makes of it: pages half empty,
		 * and a value that fills one page more than it needs. */
		fprintf(writer->file, "mapsize=%" PRIu64 "\n",
		    ((4 * writer->live_bytes >> 20) + 16) << 20);
	if (writer->bucket.data != NULL) {
		fputs("database=", writer->file);
		fwrite(
		    writer->bucket.data, 1, writer->bucket.len, writer->file);
		putc('\n', writer->file);
	}
	fputs("HEADER=END\n", writer->file);
}

static void
write_hex(FILE *file, struct bytes bytes)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes.data;
	char text[512];
	size_t len = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		text[len++] = digits[p[i] >> 4];
		text[len++] = digits[p[i] & 15];
		if (len == sizeof text) {
			fwrite(text, 1, len, file);
			len = 0;
		}
	}
	fwrite(text, 1, len, file);
}

static void
write_print(FILE *file, struct bytes bytes)
{
	const unsigned char *p = bytes.data;

	for (size_t i = 0; i < bytes.len; i++) {
		if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\')
			putc(p[i], file);
		else
			fprintf(file, "\\%02x", p[i]);
	}
}

static void
write_line(const struct writer *writer, struct bytes bytes)
{
	putc(' ', writer->file);
	if (writer->print)
		write_print(writer->file, bytes);
	else
		write_hex(writer->file, bytes);
	putc('\n', writer->file);
}

static enum cli_exit
dump_write(struct writer *writer, const struct record *record)
{
	write_line(writer, record->key);
	write_line(writer, record->value);
	if (record->key.len > LMDB_KEY_MAX)
		writer->long_key_count++;
	return CLI_DONE;
}

static void
dump_end(const struct writer *writer)
{
	fputs("DATA=END\n", writer->file);
	if (writer->format == &format_mdb_dump && writer->long_key_count > 0)
		cli_warn(writer->cli,
		    "%" PRIu64 " keys have more than %d bytes, which LMDB "
		    "does not take: mdb_load will stop at the first of them",
		    writer->long_key_count, LMDB_KEY_MAX);
}

const struct format format_db_dump = {
    .name = "db_dump",
    .help = "text of Berkeley DB's db_dump, for db_load",
    .printable = true,
    .buckets = true,
    .read = dump_read,
    .begin = dump_begin,
    .write = dump_write,
    .end = dump_end,
};

const struct format format_mdb_dump = {
    .name = "mdb_dump",
    .help = "text of LMDB's mdb_dump, for mdb_load",
    .printable = true,
    .buckets = true,
    .sized = true,
    .read = dump_read,
    .begin = dump_begin,
    .write = dump_write,
    .end = dump_end,
};
