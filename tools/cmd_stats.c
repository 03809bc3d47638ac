/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_stats.c - kvlog stats: what a store holds and how it is doing.
 *
 * On a terminal sizes have units; elsewhere, and with --json, they are exact
 * numbers of bytes.  Scripts may rely on the labels and names.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN 18 /* of values */

/* Live bytes among all bytes of records, in percent; -1: no records. */
static double
fill_factor(const struct kvlog_stats *stats)
{
	double live = (double)stats->live_bytes;
	double all = live + (double)stats->dead_bytes;

	return all > 0 ? 100 * live / all : -1;
}

/* RAM of the index per key; -1: no keys. */
static double
bytes_per_key(const struct kvlog_stats *stats)
{
	if (stats->record_count == 0)
		return -1;
	return (double)stats->index_bytes / (double)stats->record_count;
}

static void
uuid_text(char text[37], const uint8_t uuid[16])
{
	size_t at = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		snprintf(text + at, 3, "%02x", uuid[i]);
		at += 2;
	}
}

static void
print_label(const char *label)
{
	printf("%-*s", COLUMN, label);
}

static const char *
mode_text(const struct kvlog_stats *stats)
{
	return stats->index_mode == KVLOG_INDEX_MEMORY ? "memory" : "hints";
}

static void
print_index(const struct kvlog_stats *stats)
{
	double per_key = bytes_per_key(stats);

	print_label("Index:");
	fputs(mode_text(stats), stdout);
	if (stats->index_mode == KVLOG_INDEX_MEMORY && per_key >= 0)
		printf(", %.1f bytes per key", per_key);
	printf(" (filled in %.1f ms)\n", (double)stats->load_ns / 1e6);
}

static void
print_recovery(const struct kvlog_stats *stats)
{
	const char *text = stats->recovery_text;

	print_label("Recovery:");
	if (*text == '\0')
		text = stats->recovery == 0 ? "not needed" : "done";
	text_message(stdout, text);
	printf(" (%.1f ms)\n", (double)stats->recovery_ns / 1e6);
}

static void
print_bucket(const struct stats_bucket *bucket)
{
	if (bucket == NULL)
		return;
	print_label("Bucket:");
	puts(bucket->text);
	text_answer(COLUMN, "Bucket records:", bucket->record_count);
}

/* What only the shell can have open. */
static void
print_snapshots(const struct kvlog_stats *stats)
{
	if (stats->snapshot_count == 0)
		return;
	text_answer(COLUMN, "Snapshots:", stats->snapshot_count);
	text_answer(COLUMN, "Oldest snapshot:", stats->snapshot_oldest_seq);
	text_answer_size(COLUMN, "Snapshot files:", stats->snapshot_file_bytes);
	text_answer_size(
	    COLUMN, "Snapshot memory:", stats->snapshot_memory_bytes);
}

static void
print_text(const struct cli *cli, const struct kvlog_stats *stats,
    const struct stats_bucket *bucket)
{
	double fill = fill_factor(stats);
	char uuid[37];

	uuid_text(uuid, stats->uuid);
	print_label("Database:");
	text_message(stdout, cli->store);
	putchar('\n');
	print_label("UUID:");
	puts(uuid);
	text_answer(COLUMN, "Format:", stats->format);
	text_answer(COLUMN, "Records:", stats->record_count);
	print_bucket(bucket);
	text_answer(COLUMN, "Segments:", stats->segment_count);
	text_answer(COLUMN, "Active segment:", stats->active_segment);
	text_answer(COLUMN, "Hint files:", stats->hint_count);
	text_answer_size(COLUMN, "File size:", stats->file_bytes);
	text_answer_size(COLUMN, "Live bytes:", stats->live_bytes);
	text_answer_size(COLUMN, "Dead bytes:", stats->dead_bytes);
	print_label("Fill factor:");
	if (fill < 0)
		puts("-");
	else
		printf("%.1f%%\n", fill);
	text_answer_size(COLUMN, "Free space:", stats->free_bytes);
	print_index(stats);
	text_answer_size(COLUMN, "Index size:", stats->index_bytes);
	text_answer(COLUMN, "Last sequence:", stats->last_seq);
	text_answer(COLUMN, "Durable sequence:", stats->durable_seq);
	print_snapshots(stats);
	print_recovery(stats);
	text_answer_size(COLUMN, "Damaged bytes:", stats->damaged_bytes);
	text_answer(COLUMN, "Damaged places:", stats->damaged_ranges);
}

/* A measure with two decimals, null if there is none. */
static void
json_measure(struct json *json, const char *name, double value)
{
	char text[32];

	snprintf(text, sizeof text, "%.2f", value);
	json_raw(json, name, value < 0 ? "null" : text);
}

/* The flags of what opening found, each by its name. */
static void
json_recovery(struct json *json, const struct kvlog_stats *stats)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} flags[] = {
	    {"crash", KVLOG_RECOVERY_CRASH},
	    {"torn", KVLOG_RECOVERY_TORN},
	    {"discarded", KVLOG_RECOVERY_DISCARDED},
	    {"damage", KVLOG_RECOVERY_DAMAGE},
	    {"degraded", KVLOG_RECOVERY_DEGRADED},
	    {"scanned", KVLOG_RECOVERY_SCANNED},
	};

	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		char name[32];

		snprintf(name, sizeof name, "recovery_%s", flags[i].name);
		json_bool(json, name, (stats->recovery & flags[i].flag) != 0);
	}
	json_text(json, "recovery_text", stats->recovery_text);
	json_number(json, "recovery_ns", stats->recovery_ns);
}

static void
json_bucket(
    struct json *json, const struct cli *cli, const struct stats_bucket *bucket)
{
	if (bucket == NULL)
		return;
	json_bytes(
	    json, "bucket", (struct bytes){cli->bucket, strlen(cli->bucket)});
	json_number(json, "bucket_records", bucket->record_count);
}

static void
print_json(const struct cli *cli, const struct kvlog_stats *stats,
    const struct stats_bucket *bucket)
{
	struct json json;
	char uuid[37];

	uuid_text(uuid, stats->uuid);
	json_begin(&json, stdout);
	json_text(&json, "database", cli->store);
	json_text(&json, "uuid", uuid);
	json_number(&json, "format", stats->format);
	json_number(&json, "records", stats->record_count);
	json_bucket(&json, cli, bucket);
	json_number(&json, "segments", stats->segment_count);
	json_number(&json, "active_segment", stats->active_segment);
	json_number(&json, "hint_files", stats->hint_count);
	json_number(&json, "file_bytes", stats->file_bytes);
	json_number(&json, "live_bytes", stats->live_bytes);
	json_number(&json, "dead_bytes", stats->dead_bytes);
	json_measure(&json, "fill_percent", fill_factor(stats));
	json_number(&json, "free_bytes", stats->free_bytes);
	json_text(&json, "index_mode", mode_text(stats));
	json_measure(&json, "index_load_ms", (double)stats->load_ns / 1e6);
	json_number(&json, "index_bytes", stats->index_bytes);
	json_measure(&json, "index_bytes_per_key", bytes_per_key(stats));
	json_number(&json, "last_sequence", stats->last_seq);
	json_number(&json, "durable_sequence", stats->durable_seq);
	json_recovery(&json, stats);
	json_number(&json, "damaged_bytes", stats->damaged_bytes);
	json_number(&json, "damaged_places", stats->damaged_ranges);
	json_end(&json);
}

enum cli_exit
stats_print(
    struct cli *cli, struct kvlog *db, const struct stats_bucket *bucket)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	enum kvlog_status st = kvlog_stats_get(db, &stats);

	if (st != KVLOG_OK)
		return cli_fail_status(cli, st, "cannot examine");
	if (cli->json)
		print_json(cli, &stats, bucket);
	else
		print_text(cli, &stats, bucket);
	return CLI_DONE;
}

/* Of the store and, if db is one, a bucket. */
static enum cli_exit
print_of(struct cli *cli, struct kvlog *db)
{
	struct stats_bucket bucket;
	char *text;
	enum kvlog_status st;
	enum cli_exit status;

	if (cli->bucket == NULL)
		return stats_print(cli, db, NULL);
	st = kvlog_count(db, &bucket.record_count);
	if (st != KVLOG_OK)
		return cli_fail_status(cli, st, "cannot count the keys of");
	text = text_escaped((struct bytes){cli->bucket, strlen(cli->bucket)});
	bucket.text = text != NULL ? text : "";
	status = stats_print(cli, db, &bucket);
	free(text);
	return status;
}

static enum cli_exit
stats_exec(struct cli *cli, int argc, char **argv)
{
	struct kvlog *db;
	enum cli_exit status;

	(void)argc;
	(void)argv;
	if (cli_option(cli, OPT_ASCII) != NULL &&
	    cli_option(cli, OPT_MAP) == NULL)
		return cli_usage(cli, "--ascii goes with --map");
	if (cli->bucket != NULL && cli_option(cli, OPT_MAP) != NULL)
		return cli_usage(
		    cli, "--map is of the whole store, and excludes --bucket");
	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	status = cli_option(cli, OPT_MAP) != NULL ? map_print(cli, db)
						  : print_of(cli, db);
	return cli_close(cli, db, status);
}

static const struct option stats_options[] = {
    {"map", no_argument, NULL, OPT_MAP},
    {"ascii", no_argument, NULL, OPT_ASCII},
    {NULL, 0, NULL, 0},
};

const struct command cmd_stats = {
    .name = "stats",
    .synopsis = "stats STORE [--map [--ascii]]",
    .summary = "show what a store holds and how it is doing",
    .help = "Show numbers of records, segments and bytes, the index, sequence "
	    "numbers, and\n"
	    "what opening the store found.  Sizes are exact unless standard "
	    "output is a\n"
	    "terminal.  With --bucket also the number of keys of that "
	    "bucket.\n\n"
	    "  --map              draw the segments instead: of each a bar of "
	    "what is\n"
	    "                     live, dead and free\n"
	    "  --ascii            without block characters, wherever the bars "
	    "go\n",
    .letters = "",
    .options = stats_options,
    .arg_min = 1,
    .arg_max = 1,
    .keyed = true,
    .exec = stats_exec,
};
