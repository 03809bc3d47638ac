/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format_json.c - JSON Lines: {"key":"...","value":"..."}, where bytes that
 * are not UTF-8 come in base64, as "key_base64" or "value_base64".
 *
 * Written by what all of --json is written by (text.c), read with jansson,
 * which knows every turn of JSON and allows no other.  Without jansson the
 * program only writes it.
 */
#include "config.h"

#include "format.h"

#ifdef HAVE_JANSSON
#include <jansson.h>
#include <string.h>

/* Each byte as \u00HH; and names, other members and blanks. */
#define LINE_LEN_MAX (6 * ((uint64_t)KVLOG_KEY_MAX + KVLOG_VALUE_MAX) + 4096)

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/*
 * Whole groups of four, padded with '=', the unused bits 0: every byte string
 * has one form.
 */
static bool
base64_decode(const char *text, size_t len, char *to, size_t *ret_len)
{
	size_t pad = 0, to_len = 0;

	if (len % 4 != 0)
		return false;
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < len; i += 4) {
		size_t here = i + 4 < len ? 0 : pad;
		uint32_t group = 0;

		for (size_t j = 0; j < 4; j++) {
			int digit =
			    j < 4 - here ? base64_digit(text[i + j]) : 0;

			if (digit < 0)
				return false;
			group = group << 6 | (uint32_t)digit;
		}
		if ((group & ((1u << 8 * here) - 1)) != 0)
			return false;
		for (size_t j = 0; j < 3 - here; j++)
			to[to_len++] = (char)(group >> (16 - 8 * j));
	}
	*ret_len = to_len;
	return true;
}

/* Only what load knows, and what get --json tells besides. */
static enum cli_exit
check_names(struct reader *reader, json_t *object)
{
	static const char *const names[] = {"key", "key_base64", "value",
	    "value_base64", "segment", "offset", "sequence", "expires",
	    "bucket", "bucket_base64"};
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		size_t i = 0;

		while (i < sizeof names / sizeof names[0] &&
		       strcmp(names[i], name) != 0)
			i++;
		if (i == sizeof names / sizeof names[0])
			return reader_fail(reader,
			    "a member \"%s\" is not known; a record has "
			    "\"key\" and \"value\"",
			    name);
	}
	return CLI_DONE;
}

/* The member of that name, or in base64 its fellow, copied to memory. */
static enum cli_exit
take_member(struct reader *reader, const json_t *object, const char *name,
    const char *name_base64, char *to, struct bytes *ret_bytes)
{
	const json_t *plain = json_object_get(object, name);
	const json_t *base64 = json_object_get(object, name_base64);
	const json_t *member = plain != NULL ? plain : base64;
	const char *text = json_string_value(member);
	size_t len = json_string_length(member);

	if (member == NULL)
		return reader_fail(reader, "there is no \"%s\"", name);
	if (plain != NULL && base64 != NULL)
		return reader_fail(reader,
		    "\"%s\" and \"%s\" exclude each "
		    "other",
		    name, name_base64);
	if (text == NULL)
		return reader_fail(reader,
		    "\"%s\" is no string; write it with quotes",
		    plain != NULL ? name : name_base64);
	if (plain != NULL)
		memcpy(to, text, len);
	else if (!base64_decode(text, len, to, &len))
		return reader_fail(
		    reader, "\"%s\" is not valid base64", name_base64);
	*ret_bytes = (struct bytes){to, len};
	return CLI_DONE;
}

static enum cli_exit
take_expiry(
    struct reader *reader, const json_t *object, struct record *ret_record)
{
	const json_t *expires = json_object_get(object, "expires");

	if (expires == NULL)
		return CLI_DONE;
	if (!json_is_integer(expires) || json_integer_value(expires) <= 0)
		return reader_fail(reader,
		    "\"expires\" is a time in milliseconds since 1970, a "
		    "number greater than 0");
	ret_record->expires_ms = (uint64_t)json_integer_value(expires);
	return CLI_DONE;
}

static bool
has_member(const json_t *object, const char *name, const char *name_base64)
{
	return json_object_get(object, name) != NULL ||
	       json_object_get(object, name_base64) != NULL;
}

/* Decoded, bucket, key and value fit where the line was.  A bucket alone is
 * one that may have no keys. */
static enum cli_exit
take_object(
    struct reader *reader, json_t *object, char *to, struct record *ret_record)
{
	const bool bucket = has_member(object, "bucket", "bucket_base64");
	enum cli_exit status = check_names(reader, object);

	if (status == CLI_DONE && bucket)
		status = take_member(reader, object, "bucket", "bucket_base64",
		    to, &ret_record->bucket);
	if (status != CLI_DONE || (bucket && json_object_size(object) == 1))
		return status;
	to += ret_record->bucket.len;
	status = take_member(
	    reader, object, "key", "key_base64", to, &ret_record->key);
	if (status == CLI_DONE)
		status = take_member(reader, object, "value", "value_base64",
		    to + ret_record->key.len, &ret_record->value);
	if (status == CLI_DONE)
		status = take_expiry(reader, object, ret_record);
	return status;
}

static enum cli_exit
json_read(struct reader *reader, struct record *ret_record)
{
	struct field line;
	json_error_t error;
	json_t *object;
	enum cli_exit status;
	int first;

	reader_begin(reader);
	reader->line++;
	status = reader_peek(reader, &first);
	if (status != CLI_DONE || first == -1)
		return status;
	if (first != '{')
		return reader_fail(
		    reader, "a line is one JSON object, from { to }");
	status = reader_field(reader, '\n', LINE_LEN_MAX, &line);
	if (status != CLI_DONE)
		return status;
	if (line.end == FIELD_LONG)
		return reader_fail(reader, "the line is too long");
	object = json_loadb(reader_text(reader, &line), line.len,
	    JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (object == NULL)
		return reader_fail(reader, "this is not JSON: %s (byte %d)",
		    error.text, error.position);
	status =
	    take_object(reader, object, reader_text(reader, &line), ret_record);
	json_decref(object);
	return status;
}
#endif

static enum cli_exit
json_write(struct writer *writer, const struct record *record)
{
	struct json json;

	json_begin(&json, writer->file);
	json_bytes(&json, "key", record->key);
	json_value(&json, record->value, record->expires_ms);
	if (writer->bucket.data != NULL)
		json_bytes(&json, "bucket", writer->bucket);
	json_end(&json);
	return CLI_DONE;
}

static void
json_end_bucket(const struct writer *writer)
{
	struct json json;

	if (writer->bucket.data == NULL || writer->record_count > 0)
		return;
	json_begin(&json, writer->file);
	json_bytes(&json, "bucket", writer->bucket);
	json_end(&json);
}

const struct format format_json = {
    .name = "json",
    .help = "an object {\"key\":\"...\",\"value\":\"...\"} per line",
    .resumable = true,
    .times = true,
    .buckets = true,
#ifdef HAVE_JANSSON
    .read = json_read,
#endif
    .write = json_write,
    .end = json_end_bucket,
};
