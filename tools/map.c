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
#define BAR_MIN 10u
#define LABEL_WIDTH 42u /* before a bar */

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
	uint32_t first, last;
	bool active, damaged;
	uint64_t bytes[PART_COUNT], file_bytes;
};

struct map {
	struct row *rows;
	size_t count, cap;
	uint64_t largest; /* of file_bytes */
	bool failed;      /* out of memory */
	bool blocks, colour;
	unsigned width; /* of the longest bar */
};

static bool
add_row(void *arg, const struct kvlog_segment *s)
{
	struct map *map = arg;

	if (map->count == map->cap) {
		size_t cap = map->cap > 0 ? 2 * map->cap : 64;
		struct row *rows = realloc(map->rows, cap * sizeof *rows);

		map->failed = rows == NULL;
		if (map->failed)
			return false;
		map->rows = rows;
		map->cap = cap;
	}
	map->rows[map->count++] = (struct row){
	    .first = s->first,
	    .last = s->last,
	    .active = s->active,
	    .damaged = s->damaged,
	    .bytes = {s->live_bytes, s->dead_bytes, s->free_bytes},
	    .file_bytes = s->file_bytes,
	};
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
	unsigned width = line_width();

	map->blocks = cli_option(cli, OPT_ASCII) == NULL && locale_has_blocks();
	map->colour = cli_takes_colour(STDOUT_FILENO);
	map->width =
	    width > LABEL_WIDTH + BAR_MIN ? width - LABEL_WIDTH - 1 : BAR_MIN;
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
	char name[32], size[TEXT_SIZE_LEN], live[16] = "-";

	if (row->first == row->last)
		snprintf(name, sizeof name, "%" PRIu32, row->last);
	else
		snprintf(name, sizeof name, "%" PRIu32 "-%" PRIu32, row->first,
		    row->last);
	if (records > 0)
		snprintf(live, sizeof live, "%.0f%%",
		    100 * (double)row->bytes[LIVE] / (double)records);
	printf("%-13s %-8s %10s %5s  ", name,
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

	printf("%-13s %-8s %10s %5s\n", "Segment", "", "Size", "Live");
	for (size_t i = 0; i < map->count; i++) {
		print_row(map, &map->rows[i]);
		for (enum part part = LIVE; part < PART_COUNT; part++)
			sums[part] += map->rows[i].bytes[part];
	}
	for (enum part part = LIVE; part < PART_COUNT; part++) {
		print_cells(map, part, 1);
		printf(" %s %s%s", parts[part].name,
		    text_size(size, sums[part]), part == FREE ? "\n" : "   ");
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
	struct map map = {0};
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
