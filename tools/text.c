/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text.c - keys and values for people, in lines, and in JSON; numbers,
 * sizes and times from the command line.
 *
 * The line format is defined in kvlog(1).  A character is written as it is
 * if it is printable ASCII other than the backslash, or valid UTF-8 (no
 * overlong forms, no surrogates, nothing above U+10FFFF) that is not a
 * control character.  Every byte string has exactly one escaped form, and
 * text_unescape() gives it back.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Length of the character of two to four bytes at p, 0 if it is not valid
 * UTF-8.
 */
static size_t
utf8_len(const unsigned char *p, size_t left)
{
	size_t len;
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0; /* overlong below */
	else if (p[0] == 0xed)
		high = 0x9f; /* surrogates above */
	else if (p[0] == 0xf0)
		low = 0x90; /* overlong below */
	else if (p[0] == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	if (left < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return len;
}

/* U+0080 to U+009F: valid, but terminals obey them. */
static bool
utf8_is_control(const unsigned char *p)
{
	return p[0] == 0xc2 && p[1] < 0xa0;
}

static bool
is_utf8(struct bytes bytes)
{
	const unsigned char *p = bytes.data;
	size_t i = 0;

	while (i < bytes.len) {
		size_t len = 1;

		if (p[i] >= 0x80)
			len = utf8_len(p + i, bytes.len - i);
		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

/* Bytes from p on that are written as they are. */
static size_t
plain_run(const unsigned char *p, size_t len)
{
	size_t i = 0;

	while (i < len) {
		if (p[i] >= 0x20 && p[i] < 0x7f) {
			if (p[i] == '\\')
				break;
			i++;
		} else {
			size_t char_len = 0;

			if (p[i] >= 0x80)
				char_len = utf8_len(p + i, len - i);
			if (char_len == 0 || utf8_is_control(p + i))
				break;
			i += char_len;
		}
	}
	return i;
}

static void
escape_byte(FILE *file, unsigned char c)
{
	switch (c) {
	case '\\':
		fputs("\\\\", file);
		break;
	case '\t':
		fputs("\\t", file);
		break;
	case '\n':
		fputs("\\n", file);
		break;
	case '\r':
		fputs("\\r", file);
		break;
	case '\0':
		fputs("\\0", file);
		break;
	default:
		fprintf(file, "\\x%02x", c);
		break;
	}
}

void
text_escape(FILE *file, struct bytes bytes)
{
	const unsigned char *p = bytes.data;
	size_t i = 0;

	while (i < bytes.len) {
		size_t run = plain_run(p + i, bytes.len - i);

		if (run > 0)
			fwrite(p + i, 1, run, file);
		i += run;
		if (i < bytes.len)
			escape_byte(file, p[i++]);
	}
}

char *
text_escaped(struct bytes bytes)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);
	bool failed;

	if (file == NULL)
		return NULL;
	text_escape(file, bytes);
	failed = ferror(file) != 0;
	if (fclose(file) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

void
text_message(FILE *file, const char *message)
{
	const unsigned char *p = (const unsigned char *)message;

	for (; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f)
			escape_byte(file, *p);
		else
			putc(*p, file);
	}
}

int
text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * The byte that the escape at text (behind its backslash) stands for, and
 * the length of the escape; -1 if there is no such escape.
 */
static int
unescape_byte(const char *text, size_t len, size_t *ret_len)
{
	*ret_len = 1;
	if (len == 0)
		return -1;
	switch (text[0]) {
	case '\\':
		return '\\';
	case 't':
		return '\t';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case '0':
		return '\0';
	case 'x':
		*ret_len = 3;
		if (len < 3 || text_hex_digit(text[1]) < 0 ||
		    text_hex_digit(text[2]) < 0)
			return -1;
		return text_hex_digit(text[1]) * 16 + text_hex_digit(text[2]);
	default:
		return -1;
	}
}

const char *
text_unescape(char *text, size_t len, size_t *ret_len)
{
	size_t from = 0, to = 0;

	while (from < len) {
		const char *backslash = memchr(text + from, '\\', len - from);
		size_t run = backslash == NULL
				 ? len - from
				 : (size_t)(backslash - (text + from));
		size_t escape_len;
		int c;

		if (from != to)
			memmove(text + to, text + from, run);
		from += run;
		to += run;
		if (backslash == NULL)
			break;
		from++;
		c = unescape_byte(text + from, len - from, &escape_len);
		if (c < 0)
			return "a backslash must begin one of \\\\ \\t \\n "
			       "\\r \\0 \\xHH";
		text[to++] = (char)c;
		from += escape_len;
	}
	*ret_len = to;
	return NULL;
}

/* Digits at *text, which is moved behind them. */
static bool
parse_digits(const char **text, uint64_t *ret_number)
{
	uint64_t number = 0;
	const char *p = *text;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*text = p;
	*ret_number = number;
	return true;
}

bool
text_parse_number(const char *text, uint64_t *ret_number)
{
	uint64_t number;

	if (!parse_digits(&text, &number) || *text != '\0')
		return false;
	*ret_number = number;
	return true;
}

bool
text_parse_signed(const char *text, int64_t *ret_number)
{
	bool negative = *text == '-';
	uint64_t number;

	if (!text_parse_number(text + (negative ? 1 : 0), &number) ||
	    number > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return false;
	if (!negative)
		*ret_number = (int64_t)number;
	else /* also of the one that has no positive */
		*ret_number = number == 0 ? 0 : -(int64_t)(number - 1) - 1;
	return true;
}

bool
text_parse_size(const char *text, uint64_t *ret_size)
{
	static const char units[] = "KMGT";
	uint64_t size;

	if (!parse_digits(&text, &size))
		return false;
	if (*text != '\0' && *text != 'B') {
		char upper = *text >= 'a' ? (char)(*text - 'a' + 'A') : *text;
		const char *unit = strchr(units, upper);
		unsigned shift;

		if (unit == NULL)
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		if (size > UINT64_MAX >> shift)
			return false;
		size <<= shift;
		text++;
		if (*text == 'i' && text[1] == 'B')
			text++;
	}
	if (*text == 'B')
		text++;
	if (*text != '\0')
		return false;
	*ret_size = size;
	return true;
}

bool
text_parse_long_time(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000},
	    {"h", 3600000}, {"d", 86400000}};
	uint64_t time;

	if (!parse_digits(&text, &time))
		return false;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(text, units[i].name) != 0)
			continue;
		if (time > UINT64_MAX / units[i].ms)
			return false;
		*ret_ms = time * units[i].ms;
		return true;
	}
	return false;
}

bool
text_parse_time(const char *text, uint32_t *ret_ms)
{
	uint64_t time;

	if (!parse_digits(&text, &time))
		return false;
	if (strcmp(text, "s") == 0) {
		if (time > UINT32_MAX / 1000)
			return false;
		time *= 1000;
	} else if (*text != '\0' && strcmp(text, "ms") != 0) {
		return false;
	}
	if (time > UINT32_MAX)
		return false;
	*ret_ms = (uint32_t)time;
	return true;
}

char *
text_size(char buf[TEXT_SIZE_LEN], uint64_t size)
{
	static const char *const units[] = {
	    "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t unit = 0;
	uint64_t divisor = 1;

	while (unit + 1 < sizeof units / sizeof units[0] &&
	       size / divisor >= 1024) {
		divisor *= 1024;
		unit++;
	}
	if (size % divisor == 0)
		snprintf(buf, TEXT_SIZE_LEN, "%" PRIu64 " %s", size / divisor,
		    units[unit]);
	else
		snprintf(buf, TEXT_SIZE_LEN, "%.1f %s",
		    (double)size / (double)divisor, units[unit]);
	return buf;
}

void
text_answer(int column, const char *label, uint64_t number)
{
	printf("%-*s%" PRIu64 "\n", column, label, number);
}

void
text_answer_size(int column, const char *label, uint64_t size)
{
	char text[TEXT_SIZE_LEN];

	if (isatty(STDOUT_FILENO) == 1)
		printf("%-*s%s\n", column, label, text_size(text, size));
	else
		text_answer(column, label, size);
}

void
json_begin(struct json *json, FILE *file)
{
	json->file = file;
	json->more = false;
	putc('{', file);
}

void
json_end(struct json *json)
{
	fputs("}\n", json->file);
}

/* Names are ours: letters, digits and underscores. */
static void
json_name(struct json *json, const char *name, const char *suffix)
{
	fprintf(json->file, "%s\"%s%s\":", json->more ? "," : "", name, suffix);
	json->more = true;
}

void
json_value(struct json *json, struct bytes value, uint64_t expires_ms)
{
	json_bytes(json, "value", value);
	if (expires_ms != 0)
		json_number(json, "expires", expires_ms);
}

void
json_raw(struct json *json, const char *name, const char *value)
{
	json_name(json, name, "");
	fputs(value, json->file);
}

void
json_number(struct json *json, const char *name, uint64_t number)
{
	json_name(json, name, "");
	fprintf(json->file, "%" PRIu64, number);
}

void
json_bool(struct json *json, const char *name, bool value)
{
	json_raw(json, name, value ? "true" : "false");
}

/* Bytes from p on that stand for themselves in a JSON string. */
static size_t
json_plain_run(const unsigned char *p, size_t len)
{
	size_t i = 0;

	while (i < len && p[i] >= 0x20 && p[i] != 0x7f && p[i] != '"' &&
	       p[i] != '\\') {
		/* U+0080 to U+009F, see utf8_is_control() */
		if (p[i] == 0xc2 && i + 1 < len && p[i + 1] < 0xa0)
			break;
		i++;
	}
	return i;
}

static void
json_string(FILE *file, struct bytes bytes)
{
	const unsigned char *p = bytes.data;
	size_t i = 0;

	putc('"', file);
	while (i < bytes.len) {
		size_t run = json_plain_run(p + i, bytes.len - i);

		if (run > 0)
			fwrite(p + i, 1, run, file);
		i += run;
		if (i == bytes.len)
			break;
		if (p[i] == 0xc2)
			i++; /* the second byte is the code point */
		if (p[i] == '"' || p[i] == '\\')
			fprintf(file, "\\%c", p[i]);
		else if (p[i] == '\n')
			fputs("\\n", file);
		else if (p[i] == '\t')
			fputs("\\t", file);
		else if (p[i] == '\r')
			fputs("\\r", file);
		else
			fprintf(file, "\\u%04x", p[i]);
		i++;
	}
	putc('"', file);
}

static void
json_base64(FILE *file, struct bytes bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = bytes.data;

	putc('"', file);
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t group = (uint32_t)p[i] << 16;

		if (left > 1)
			group |= (uint32_t)p[i + 1] << 8;
		if (left > 2)
			group |= p[i + 2];
		putc(digits[group >> 18], file);
		putc(digits[group >> 12 & 63], file);
		putc(left > 1 ? digits[group >> 6 & 63] : '=', file);
		putc(left > 2 ? digits[group & 63] : '=', file);
	}
	putc('"', file);
}

void
json_bytes(struct json *json, const char *name, struct bytes bytes)
{
	if (is_utf8(bytes)) {
		json_name(json, name, "");
		json_string(json->file, bytes);
	} else {
		json_name(json, name, "_base64");
		json_base64(json->file, bytes);
	}
}

void
json_text(struct json *json, const char *name, const char *text)
{
	json_bytes(json, name, (struct bytes){text, strlen(text)});
}
