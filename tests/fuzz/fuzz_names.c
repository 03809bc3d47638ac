/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_names.c - text that comes from outside: names in a directory, and the
 * lines, numbers, sizes and times of the command line.  What is understood is
 * understood in one way only: written again, it is the same.
 *
 *     byte 0    0: a name; 1: an escaped line; 2: bytes to be escaped;
 *               3: a number, a size, a time
 */
#include "config.h"

#include "fuzz.h"

#include "../../tools/cli.h"
#include "dir.h"

#include <string.h>

static void
check_name(const char *text)
{
	struct file file;
	char name[DIR_NAME_LEN];

	dir_parse_name(text, &file);
	FUZZ_CHECK(memchr(file.name, '\0', sizeof file.name) != NULL);
	if (file.kind != FILE_FOREIGN)
		FUZZ_CHECK(strcmp(file.name, text) == 0);
	if (file.kind != FILE_SEGMENT)
		return;
	FUZZ_CHECK(file.id.first >= 1 && file.id.first <= file.id.last &&
		   file.id.last <= DIR_SEGMENT_MAX);
	FUZZ_CHECK(file.id.part >= 1 && file.id.part <= file.id.parts);
	dir_make_name(name, &file.id, "seg");
	FUZZ_CHECK(strcmp(name, text) == 0);
}

/* The one escaped form of bytes, which leads back to them. */
static void
check_bytes(const void *bytes, size_t len)
{
	char *text = text_escaped((struct bytes){bytes, len});
	size_t back = 0;

	FUZZ_CHECK(text != NULL);
	for (const char *p = text; *p != '\0'; p++)
		FUZZ_CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
	FUZZ_CHECK(text_unescape(text, strlen(text), &back) == NULL);
	FUZZ_CHECK(back == len && (len == 0 || memcmp(text, bytes, len) == 0));
	free(text);
}

static void
check_line(char *text, size_t len)
{
	size_t n = 0;

	if (text_unescape(text, len, &n) == NULL) {
		FUZZ_CHECK(n <= len);
		check_bytes(text, n);
	}
}

static void
check_number(const char *text)
{
	char size_text[TEXT_SIZE_LEN];
	uint64_t n = 0;
	int64_t number;
	uint32_t ms;

	if (text_parse_number(text, &n)) {
		char again[32];

		(void)snprintf(
		    again, sizeof again, "%llu", (unsigned long long)n);
		text += strspn(text, "0");
		FUZZ_CHECK(strcmp(*text != '\0' ? text : "0", again) == 0);
	}
	if (text_parse_size(text, &n))
		FUZZ_CHECK(strlen(text_size(size_text, n)) < TEXT_SIZE_LEN);
	if (text_parse_time(text, &ms))
		FUZZ_CHECK(text_parse_long_time(text, &n) && n == ms);
	if (text_parse_signed(text, &number))
		FUZZ_CHECK((number < 0) <= (*text == '-'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = malloc(size);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 4) {
	case 0:
		check_name(text);
		break;
	case 1:
		check_line(text, size - 1);
		break;
	case 2:
		check_bytes(data + 1, size - 1);
		break;
	default:
		check_number(text);
		break;
	}
	free(text);
	return 0;
}
