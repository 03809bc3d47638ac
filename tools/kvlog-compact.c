/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog-compact.c - the program that gives back the space of what was
 * replaced or deleted in a store that nobody writes to.
 *
 * Signals that end programs end this one between two steps: the run that is
 * being made is given up, the runs before it stay, and the store is closed.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define COLUMN 20        /* of values */
#define WAIT_STEP_MS 200 /* between two looks at the signals */

static const char usage_text[] =
    "usage: kvlog-compact [--all] [-n] [--threshold=PERCENT] [--rate=BYTES] "
    "[--max-time=TIME] [--wait[=TIME]] [--json] [-q] STORE\n"
    "       kvlog-compact --help | --version\n";

static const char help_text[] =
    "\n"
    "Give back the space of what was replaced or deleted in a store.  Nobody "
    "else may\n"
    "write to it meanwhile; readers are not disturbed.\n"
    "\n"
    "  --all          rewrite all segments, not only those that are worth it\n"
    "  -n, --dry-run  change nothing, and say what would be done\n"
    "  --threshold=PERCENT\n"
    "                 rewrite where so much is garbage; 25 if not given\n"
    "  --rate=BYTES   write at most so many bytes in a second; K, M, G follow\n"
    "  --max-time=TIME\n"
    "                 begin nothing after so many milliseconds, or seconds as "
    "in 10s\n"
    "  --wait[=TIME]  wait for another writer: for ever, or milliseconds, or\n"
    "                 seconds as in 10s\n"
    "  --json         answer in JSON\n"
    "  -q, --quiet    say nothing but errors\n"
    "  -h, --help     this text\n"
    "\n"
    "Exit status: 0 done, 2 wrong usage or cannot open, 3 done, but for "
    "segments that\n"
    "are damaged, 4 lock not obtained in time, 5 no space or I/O error.\n";

enum {
	OPT_THRESHOLD = OPT_END,
	OPT_RATE,
	OPT_MAX_TIME,
	OPT_WAIT,
};

static const struct option options[] = {
    {"all", no_argument, NULL, OPT_ALL},
    {"dry-run", no_argument, NULL, 'n'},
    {"threshold", required_argument, NULL, OPT_THRESHOLD},
    {"rate", required_argument, NULL, OPT_RATE},
    {"max-time", required_argument, NULL, OPT_MAX_TIME},
    {"wait", optional_argument, NULL, OPT_WAIT},
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* What was asked for. */
struct request {
	struct cli cli;
	struct kvlog_compact_options how;
	bool wait, forever;
	bool drawing; /* the progress bar has begun */
};

static volatile sig_atomic_t caught; /* number of a signal, or 0 */

static void
catch_signal(int number)
{
	caught = number;
}

/* End as if the signal had not been caught. */
static void
pass_signal_on(void)
{
	(void)signal(caught, SIG_DFL);
	(void)raise(caught);
}

static bool
show_progress(void *arg, uint64_t done, uint64_t total)
{
	struct request *r = arg;

	if (total > 0 && !r->drawing) {
		progress_begin(&r->cli, total);
		r->drawing = true;
	}
	if (r->drawing)
		progress_bytes(done, total);
	return caught == 0;
}

/* Answers */

static void
print_text(const struct request *r, const struct kvlog_compact_report *report)
{
	printf("%-*s", COLUMN, "Database:");
	text_message(stdout, r->cli.store);
	putchar('\n');
	if ((r->how.flags & KVLOG_COMPACT_DRY_RUN) != 0)
		printf(
		    "%-*sonly looked, nothing changed\n", COLUMN, "Dry run:");
	if (caught != 0)
		printf("%-*swhat follows is done\n", COLUMN, "Interrupted:");
	text_answer(COLUMN, "Runs:", report->run_count);
	text_answer(COLUMN, "Segments before:", report->segments_before);
	text_answer(COLUMN, "Segments after:", report->segments_after);
	text_answer_size(COLUMN, "Size before:", report->bytes_before);
	text_answer_size(COLUMN, "Size after:", report->bytes_after);
	text_answer_size(COLUMN, "Written:", report->bytes_written);
	text_answer_size(COLUMN, "Temporary space:", report->temporary_bytes);
	text_answer(COLUMN, "Records kept:", report->records_kept);
	text_answer(COLUMN, "Superseded:", report->records_superseded);
	text_answer(COLUMN, "Tombstones dropped:", report->tombstones_dropped);
	text_answer(COLUMN, "Expired:", report->records_expired);
	text_answer(COLUMN, "Damaged segments:", report->damaged_segments);
}

static void
print_json(const struct request *r, const struct kvlog_compact_report *report)
{
	struct json json;

	json_begin(&json, stdout);
	json_text(&json, "database", r->cli.store);
	json_bool(
	    &json, "dry_run", (r->how.flags & KVLOG_COMPACT_DRY_RUN) != 0);
	json_bool(&json, "interrupted", caught != 0);
	json_number(&json, "runs", report->run_count);
	json_number(&json, "segments_before", report->segments_before);
	json_number(&json, "segments_after", report->segments_after);
	json_number(&json, "bytes_before", report->bytes_before);
	json_number(&json, "bytes_after", report->bytes_after);
	json_number(&json, "bytes_written", report->bytes_written);
	json_number(&json, "temporary_bytes", report->temporary_bytes);
	json_number(&json, "records_kept", report->records_kept);
	json_number(&json, "records_superseded", report->records_superseded);
	json_number(&json, "tombstones_dropped", report->tombstones_dropped);
	json_number(&json, "records_expired", report->records_expired);
	json_number(&json, "damaged_segments", report->damaged_segments);
	json_end(&json);
}

static enum cli_exit
fail_damage(const struct request *r, const struct kvlog_compact_report *report)
{
	return cli_fail(&r->cli, CLI_DAMAGE,
	    "%s: damaged segments were left alone: %" PRIu32
	    ", first segment %" PRIu32 " (offset %" PRIu64
	    "); 'kvlog-verify %s' says more",
	    r->cli.store, report->damaged_segments, report->damaged_segment,
	    report->damaged_offset, r->cli.store);
}

/* The work */

/* One try after the other while another writer has the store, as the library
 * would wait without a look at the signals. */
static enum kvlog_status
compact(struct request *r, struct kvlog_compact_report *report)
{
	uint64_t end = progress_clock() + r->cli.timeout_ms * UINT64_C(1000000);
	enum kvlog_status st;

	do {
		r->how.timeout_ms = r->wait ? WAIT_STEP_MS : 0;
		r->cli.error = (struct kvlog_error){0};
		st = kvlog_compact_offline(
		    r->cli.store, &r->how, report, &r->cli.error);
	} while (st == KVLOG_BUSY && caught == 0 && r->wait &&
		 (r->forever || progress_clock() < end));
	progress_end();
	return st;
}

static enum cli_exit
fail(struct request *r, enum kvlog_status st)
{
	if (st == KVLOG_OK)
		return CLI_DONE;
	if (st == KVLOG_BUSY)
		return cli_fail(&r->cli, CLI_BUSY, "%s; --wait waits for it",
		    r->cli.error.text);
	return cli_fail_open(&r->cli, st);
}

static enum cli_exit
run(struct request *r)
{
	struct kvlog_compact_report report = {.size = sizeof report};
	enum kvlog_status st;
	enum cli_exit status = CLI_DONE;

	sigbus_install(r->cli.store);
	cli_catch_signals(catch_signal);
	st = compact(r, &report);
	if (caught == 0)
		status = fail(r, st);
	/* What was done before a failure is worth knowing. */
	if (!r->cli.quiet &&
	    (st == KVLOG_OK || st == KVLOG_CANCELLED || report.run_count > 0)) {
		if (r->cli.json)
			print_json(r, &report);
		else
			print_text(r, &report);
	}
	if (status == CLI_DONE && report.damaged_segments > 0)
		status = fail_damage(r, &report);
	return status;
}

/* Arguments */

static enum cli_exit
take_threshold(struct request *r)
{
	uint64_t percent;

	if (!text_parse_number(optarg, &percent) || percent < 1 || percent > 99)
		return cli_usage(&r->cli,
		    "'%s' is no threshold; write a percentage from 1 to 99",
		    optarg);
	r->how.threshold = (uint32_t)percent;
	return CLI_DONE;
}

static enum cli_exit
take_option(struct request *r, int value, char *const *argv)
{
	switch (value) {
	case OPT_ALL:
		r->how.flags |= KVLOG_COMPACT_ALL;
		return CLI_DONE;
	case 'n':
		r->how.flags |= KVLOG_COMPACT_DRY_RUN;
		return CLI_DONE;
	case OPT_THRESHOLD:
		return take_threshold(r);
	case OPT_RATE:
		if (!text_parse_size(optarg, &r->how.rate) || r->how.rate == 0)
			return cli_usage(&r->cli,
			    "'%s' is no rate; write bytes in a second, or as "
			    "in 20M",
			    optarg);
		return CLI_DONE;
	case OPT_MAX_TIME:
		if (!text_parse_time(optarg, &r->how.max_ms) ||
		    r->how.max_ms == 0)
			return cli_usage(&r->cli,
			    "'%s' is no time; write milliseconds, or seconds "
			    "as in 10s",
			    optarg);
		return CLI_DONE;
	case OPT_WAIT:
		r->wait = true;
		r->forever = optarg == NULL;
		if (optarg != NULL &&
		    !text_parse_time(optarg, &r->cli.timeout_ms))
			return cli_usage(&r->cli,
			    "'%s' is no time; write milliseconds, or seconds "
			    "as in 10s",
			    optarg);
		return CLI_DONE;
	case OPT_JSON:
		r->cli.json = true;
		return CLI_DONE;
	case 'q':
		r->cli.quiet = true;
		return CLI_DONE;
	default:
		return cli_usage(&r->cli, "unknown or ambiguous option '%s'",
		    argv[optind - 1]);
	}
}

/* True if there is work to do; else *ret_status is the end. */
static bool
parse(struct request *r, int argc, char **argv, enum cli_exit *ret_status)
{
	int value;

	opterr = 0;
	while ((value = getopt_long(argc, argv, "nqh", options, NULL)) != -1) {
		*ret_status = CLI_DONE;
		if (value == 'h') {
			printf("%s%s", usage_text, help_text);
			return false;
		}
		if (value == OPT_VERSION) {
			printf("kvlog-compact %s\n", kvlog_version());
			return false;
		}
		*ret_status = take_option(r, value, argv);
		if (*ret_status != CLI_DONE)
			return false;
	}
	*ret_status = cli_take_store(&r->cli, argc, argv);
	return *ret_status == CLI_DONE;
}

int
main(int argc, char **argv)
{
	struct request r = {
	    .cli = {.program = "kvlog-compact", .store = ""},
	    .how = KVLOG_COMPACT_OPTIONS_INIT,
	};
	enum cli_exit status;

	cli_begin();
	r.how.progress = show_progress;
	r.how.arg = &r;
	if (parse(&r, argc, argv, &status))
		status = run(&r);
	status = cli_finish(&r.cli, status);
	if (caught != 0)
		pass_signal_on();
	return (int)status;
}
