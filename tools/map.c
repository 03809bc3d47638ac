/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.c - the segments of a store as a picture:
 *
 *     Segment     Size      Live
 *     1-6       98.2 MiB     93%  ################xx
 *     7          128 MiB     41%  ##########xxxxxxxxxxxxx
 *     8 active   128 MiB      -   ##.....................
 *
 * The longest bar is as long as the line is wide, and stands for the largest
 * file.  Colours are for terminals, and for those who want them: NO_COLOR.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_DEFAULT 80u
#define WIDTH_MAX 1000u
#define BAR_MIN 4u
#define NAME_LEN 48
#define NAME_WIDTH 13   /* at least */
#define LABEL_WIDTH 29u /* before a bar, beside the name */
#define LEGEND_WIDTH 60u

enum part { LIVE, DEAD, FREE, PART_COUNT };

static const struct {
	const char *name, *block, *ascii, *colour;
} parts[PART_COUNT] = {
    {"live", "\u2588", "#", "\033[32m"},
    {"dead", "\u2592", "x", "\033[31m"},
    {"free", "\u2591", ".", "\033[2m"},
};

/* What is told of a segment, kept until all of them are known. */
struct row {
	char name[NAME_LEN];
	bool active, damaged;
	uint64_t bytes[PART_COUNT], file_bytes;
};

struct map {
	struct row *rows;
	size_t count, cap;
	uint64_t largest; /* of file_bytes */
	bool failed;      /* out of memory */
	bool blocks, colour;
	bool narrow; /* a line of its own for each part of the legend */
	int name_width;
	unsigned width; /* of the longest bar */
};

/* Numbers, and which part of several of the same numbers, as the file's own
 * name has them: 00000001-00000006.r1.1of2.seg */
static void
name_row(char name[NAME_LEN], const struct kvlog_segment *s)
{
	const char *part = strstr(s->file, ".r");
	int len = snprintf(name, NAME_LEN, "%" PRIu32, s->first);

	if (s->last != s->first)
		len = snprintf(
		    name, NAME_LEN, "%" PRIu32 "-%" PRIu32, s->first, s->last);
	if (part != NULL)
		part = strchr(part + 1, '.');
	if (part != NULL && strncmp(part, ".1of1.", 6) != 0)
		(void)snprintf(name + len, NAME_LEN - (size_t)len, " %.*s",
		    (int)strcspn(part + 1, "."), part + 1);
}

static bool
add_row(void *arg, const struct kvlog_segment *s)
{
	struct map *map = arg;
	struct row *row;

	if (map->count == map->cap) {
		size_t cap = map->cap > 0 ? 2 * map->cap : 64;
		struct row *rows = realloc(map->rows, cap * sizeof *rows);

		map->failed = rows == NULL;
		if (map->failed)
			return false;
		map->rows = rows;
		map->cap = cap;
	}
	row = &map->rows[map->count++];
	*row = (struct row){
	    .active = s->active,
	    .damaged = s->damaged,
	    .bytes = {s->live_bytes, s->dead_bytes, s->free_bytes},
	    .file_bytes = s->file_bytes,
	};
	name_row(row->name, s);
	if ((int)strlen(row->name) > map->name_width)
		map->name_width = (int)strlen(row->name);
	if (s->file_bytes > map->largest)
		map->largest = s->file_bytes;
	return true;
}

static unsigned
line_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	uint64_t width;

	if (columns != NULL && text_parse_number(columns, &width) &&
	    width > 0 && width <= WIDTH_MAX)
		return (unsigned)width;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return WIDTH_DEFAULT;
}

static bool
locale_has_blocks(void)
{
	return setlocale(LC_CTYPE, "") != NULL &&
	       strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static void
settle_look(const struct cli *cli, struct map *map)
{
	const unsigned width = line_width();
	const unsigned label = LABEL_WIDTH + (unsigned)map->name_width;

	map->blocks = cli_option(cli, OPT_ASCII) == NULL && locale_has_blocks();
	map->colour = cli_takes_colour(STDOUT_FILENO);
	map->width = width > label + BAR_MIN ? width - label - 1 : BAR_MIN;
	map->narrow = width < LEGEND_WIDTH;
}

static void
print_cells(const struct map *map, enum part part, uint64_t count)
{
	if (count == 0)
		return;
	if (map->colour)
		fputs(parts[part].colour, stdout);
	while (count-- > 0)
		fputs(map->blocks ? parts[part].block : parts[part].ascii,
		    stdout);
	if (map->colour)
		fputs("\033[0m", stdout);
}

/* So many cells stand for so many bytes from the beginning of a file.  What is
 * there is seen: the first byte has a cell. */
static uint64_t
cells_to(const struct map *map, uint64_t bytes)
{
	double share = (double)bytes / (double)map->largest;

	return (uint64_t)(share * map->width + 0.999);
}

static void
print_bar(const struct map *map, const struct row *row)
{
	uint64_t bytes = 0, cells = 0;

	for (enum part part = LIVE; part < PART_COUNT; part++) {
		uint64_t end;

		bytes += row->bytes[part];
		end = cells_to(map, bytes);
		print_cells(map, part, end - cells);
		cells = end;
	}
}

static void
print_row(const struct map *map, const struct row *row)
{
	uint64_t records = row->bytes[LIVE] + row->bytes[DEAD];
	char size[TEXT_SIZE_LEN], live[16] = "-";

	if (records > 0)
		snprintf(live, sizeof live, "%.0f%%",
		    100 * (double)row->bytes[LIVE] / (double)records);
	printf("%-*s %-8s %10s %5s  ", map->name_width, row->name,
	    row->damaged  ? "damaged"
	    : row->active ? "active"
			  : "",
	    text_size(size, row->file_bytes), live);
	print_bar(map, row);
	putchar('\n');
}

static void
print_map(const struct map *map)
{
	uint64_t sums[PART_COUNT] = {0};
	char size[TEXT_SIZE_LEN];

	printf("%-*s %-8s %10s %5s\n", map->name_width, "Segment", "", "Size",
	    "Live");
	for (size_t i = 0; i < map->count; i++) {
		print_row(map, &map->rows[i]);
		for (enum part part = LIVE; part < PART_COUNT; part++)
			sums[part] += map->rows[i].bytes[part];
	}
	for (enum part part = LIVE; part < PART_COUNT; part++) {
		print_cells(map, part, 1);
		printf(" %s %s%s", parts[part].name,
		    text_size(size, sums[part]),
		    part == FREE || map->narrow ? "\n" : "   ");
	}
}

static bool
print_json(void *arg, const struct kvlog_segment *s)
{
	struct json json;

	(void)arg;
	json_begin(&json, stdout);
	json_text(&json, "file", s->file);
	json_number(&json, "first", s->first);
	json_number(&json, "last", s->last);
	json_bool(&json, "active", s->active);
	json_bool(&json, "damaged", s->damaged);
	json_number(&json, "file_bytes", s->file_bytes);
	json_number(&json, "live_bytes", s->live_bytes);
	json_number(&json, "dead_bytes", s->dead_bytes);
	json_number(&json, "free_bytes", s->free_bytes);
	json_end(&json);
	return true;
}

enum cli_exit
map_print(struct cli *cli, struct kvlog *db)
{
	struct map map = {.name_width = NAME_WIDTH};
	enum kvlog_status st;

	cli->error = (struct kvlog_error){0};
	st = kvlog_segments(
	    db, cli->json ? print_json : add_row, &map, &cli->error);
	if (st == KVLOG_OK && map.failed)
		st = KVLOG_NOMEM;
	if (st == KVLOG_OK && !cli->json) {
		settle_look(cli, &map);
		print_map(&map);
	}
	free(map.rows);
	return st == KVLOG_OK ? CLI_DONE
			      : cli_fail_status(cli, st, "cannot examine");
}
