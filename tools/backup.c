/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backup.c - the store into another directory, for kvlog backup and kvlog
 * restore, which differ in what may be there already.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>

#define COLUMN 18 /* of values */

static bool
show_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	progress_bytes(done, total);
	return true;
}

static void
print_path(const char *label, const char *path)
{
	printf("%-*s", COLUMN, label);
	text_message(stdout, path);
	putchar('\n');
}

static void
print_text(const struct cli *cli, const char *path,
    const struct kvlog_backup_report *r)
{
	print_path("Database:", cli->store);
	print_path("Copy:", path);
	text_answer(COLUMN, "Last sequence:", r->last_seq);
	text_answer(COLUMN, "Segments:", r->segment_count);
	text_answer(COLUMN, "Kept:", r->kept_count);
	text_answer(COLUMN, "Linked:", r->linked_count);
	text_answer(COLUMN, "Cloned:", r->cloned_count);
	text_answer(COLUMN, "Copied:", r->copied_count);
	text_answer_size(COLUMN, "Copied bytes:", r->copied_bytes);
	text_answer_size(COLUMN, "Verified bytes:", r->verified_bytes);
	text_answer(COLUMN, "Damaged segments:", r->damaged_segments);
}

static void
print_json(const struct cli *cli, const char *path,
    const struct kvlog_backup_report *r)
{
	struct json json;

	json_begin(&json, stdout);
	json_text(&json, "database", cli->store);
	json_text(&json, "copy", path);
	json_number(&json, "last_sequence", r->last_seq);
	json_number(&json, "segments", r->segment_count);
	json_number(&json, "kept", r->kept_count);
	json_number(&json, "linked", r->linked_count);
	json_number(&json, "cloned", r->cloned_count);
	json_number(&json, "copied", r->copied_count);
	json_number(&json, "copied_bytes", r->copied_bytes);
	json_number(&json, "verified_bytes", r->verified_bytes);
	json_number(&json, "damaged_segments", r->damaged_segments);
	json_end(&json);
}

enum cli_exit
backup_into(struct cli *cli, struct kvlog *db, const char *path, unsigned flags)
{
	struct kvlog_backup_options how = KVLOG_BACKUP_OPTIONS_INIT;
	struct kvlog_backup_report report = {.size = sizeof report};
	enum kvlog_status st;

	how.flags = flags;
	if (cli_option(cli, OPT_COPY) != NULL)
		how.flags |= KVLOG_BACKUP_COPY;
	if (cli_option(cli, OPT_NO_VERIFY) != NULL)
		how.flags |= KVLOG_BACKUP_NOVERIFY;
	how.timeout_ms = cli->timeout_ms;
	how.progress = show_progress;
	cli->error = (struct kvlog_error){0};
	progress_begin(cli, 0);
	st = kvlog_backup(db, path, &how, &report, &cli->error);
	progress_end();
	if (st != KVLOG_OK && report.segment_count == 0)
		return cli_fail_place(cli, st, "cannot copy");
	if (cli->json)
		print_json(cli, path, &report);
	else if (!cli->quiet)
		print_text(cli, path, &report);
	return st == KVLOG_OK ? CLI_DONE
			      : cli_fail_place(cli, st, "cannot copy");
}
