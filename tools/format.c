/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format.c - the table of formats, and which one is meant.
 */
#include "config.h"

#include "format.h"

#include <stdlib.h>
#include <string.h>

static const struct format *const formats[] = {&format_lines, &format_nul,
    &format_db_dump, &format_mdb_dump, &format_json};

#define FORMAT_COUNT (sizeof formats / sizeof formats[0])

/* No line of format_lines has its first tab farther away than this. */
#define FIRST_TAB_MAX (4 * (uint64_t)KVLOG_KEY_MAX)

static enum cli_exit
fail_name(const struct cli *cli, const char *name)
{
	char *names = NULL;
	size_t size;
	FILE *file = open_memstream(&names, &size);
	enum cli_exit status;

	if (file != NULL) {
		for (size_t i = 0; i < FORMAT_COUNT; i++)
			fprintf(file, "%s%s",
			    i == 0                 ? ""
			    : i < FORMAT_COUNT - 1 ? ", "
						   : " or ",
			    formats[i]->name);
		fclose(file);
	}
	status = cli_usage(cli, "'%s' is no format; it is %s", name,
	    names != NULL ? names : "another one");
	free(names);
	return status;
}

enum cli_exit
format_option(const struct cli *cli, const struct format **ret_format)
{
	const char *name = cli_option(cli, OPT_FORMAT);

	if (name == NULL)
		return CLI_DONE;
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		if (strcmp(formats[i]->name, name) == 0) {
			*ret_format = formats[i];
			return CLI_DONE;
		}
	}
	return fail_name(cli, name);
}

/*
 * A first line that has a tab may be one of format_lines, whatever it begins
 * with; one that has none cannot.
 */
enum cli_exit
format_detect(struct reader *reader, const struct format **ret_format)
{
	static const char version[] = "VERSION=";
	struct field line;
	const char *text;
	enum cli_exit status;

	reader_begin(reader);
	status = reader_field(reader, '\n', FIRST_TAB_MAX, &line);
	if (status != CLI_DONE)
		return status;
	text = reader_text(reader, &line);
	*ret_format = &format_lines;
	if (line.len > 0 && memchr(text, '\t', line.len) == NULL) {
		if (text[0] == '{')
			*ret_format = &format_json;
		else if (line.len >= sizeof version - 1 &&
			 memcmp(text, version, sizeof version - 1) == 0)
			*ret_format = &format_db_dump;
	}
	reader->at = reader->record_off;
	return CLI_DONE;
}

void
format_print_help(void)
{
	fputs("\nFormats:\n", stdout);
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		printf("  %-8s  %s\n", formats[i]->name, formats[i]->help);
}
