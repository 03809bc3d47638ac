/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvlog-verify.c - the program that checks a store, and saves what can be
 * saved of a damaged one.
 *
 *     kvlog-verify [options] STORE
 *
 * On a terminal each finding is a few lines for people.  Elsewhere it is one
 * line of ten columns, parted by tabs; with --json an object.  Scripts may
 * rely on columns, names and the words for kinds.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: kvlog-verify [--quick] [--json] [-q] [-v] STORE\n"
    "       kvlog-verify --rebuild-hints [--timeout=TIME] [--json] [-q] [-v] "
    "STORE\n"
    "       kvlog-verify --salvage=NEWSTORE [--strict] [--json] [-q] [-v] "
    "STORE\n"
    "       kvlog-verify --help | --version\n";

static const char help_text[] =
    "\nCheck every byte of a store, whatever its state, without changing it.\n"
    "\n"
    "  --quick             look at names, headers and links, not at records\n"
    "  --salvage=NEWSTORE  write every record that can be proven whole into "
    "a\n"
    "                      new store\n"
    "  --strict            with --salvage: only batches that are whole, and "
    "no\n"
    "                      older value in place of one that is lost\n"
    "  --rebuild-hints     remove hint files that are wrong or of no use, and\n"
    "                      make missing ones; needs the store for writing\n"
    "  --json              one JSON object per finding, and one at the end\n"
    "  --timeout=TIME      wait so long for a writer: milliseconds, or "
    "seconds\n"
    "                      as in 10s (default 5s); with --rebuild-hints\n"
    "  -q, --quiet         print damage only, and nothing if there is none\n"
    "  -v, --verbose       tell also of what is no more than usual\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 nothing is damaged, 2 wrong usage or cannot open, 3 "
    "damage\n"
    "found, 4 lock not obtained in time, 5 no space or I/O error.\n";

static const struct option options[] = {
    {"quick", no_argument, NULL, OPT_QUICK},
    {"salvage", required_argument, NULL, OPT_SALVAGE},
    {"strict", no_argument, NULL, OPT_STRICT},
    {"rebuild-hints", no_argument, NULL, OPT_REBUILD_HINTS},
    {"json", no_argument, NULL, OPT_JSON},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* Findings */

static const char *
older_word(const struct kvlog_finding *f)
{
	switch (f->older) {
	case KVLOG_OLDER_UNKNOWN:
		break;
	case KVLOG_OLDER_NONE:
		return "none";
	case KVLOG_OLDER_SURVIVES:
		return "survives";
	case KVLOG_OLDER_REPLACED:
		return "replaced";
	}
	return "-";
}

static const char *
older_text(const struct kvlog_finding *f)
{
	switch (f->older) {
	case KVLOG_OLDER_UNKNOWN:
		break;
	case KVLOG_OLDER_NONE:
		return "no older value of it is left";
	case KVLOG_OLDER_SURVIVES:
		return "an older value of it is readable";
	case KVLOG_OLDER_REPLACED:
		return "a newer record of it is there: nothing is lost";
	}
	return "";
}

/* What the catalogue says, or the id; "" for the default bucket.  Of a damaged
 * record of the catalogue the key is a bucket's name itself. */
static void
print_bucket(FILE *file, const struct kvlog_finding *f)
{
	if (f->bucket != NULL)
		text_escape(file, (struct bytes){f->bucket, f->bucket_len});
	else
		fprintf(file, "%" PRIu64 "-%" PRIu32, f->bucket_seq,
		    f->bucket_ordinal);
}

static bool
has_bucket(const struct kvlog_finding *f)
{
	return f->key != NULL && (f->bucket_seq | f->bucket_ordinal) != 0;
}

static void
print_json(const struct kvlog_finding *f)
{
	struct json json;

	json_begin(&json, stdout);
	json_text(&json, "finding", kvlog_finding_name(f->kind));
	json_bool(&json, "damage", f->damage);
	json_text(&json, "file", f->file);
	json_number(&json, "segment", f->segment);
	json_number(&json, "offset", f->offset);
	json_number(&json, "length", f->length);
	json_number(&json, "first_sequence", f->first_seq);
	json_number(&json, "last_sequence", f->last_seq);
	if (f->key != NULL)
		json_bytes(&json, "key", (struct bytes){f->key, f->key_len});
	if (f->bucket != NULL)
		json_bytes(
		    &json, "bucket", (struct bytes){f->bucket, f->bucket_len});
	if (has_bucket(f)) {
		json_number(&json, "bucket_sequence", f->bucket_seq);
		json_number(&json, "bucket_ordinal", f->bucket_ordinal);
	}
	if (f->older != KVLOG_OLDER_UNKNOWN)
		json_text(&json, "older", older_word(f));
	json_text(&json, "text", f->text);
	json_end(&json);
}

static void
print_columns(const struct kvlog_finding *f)
{
	printf("%s\t%s\t", f->damage ? "damage" : "note",
	    kvlog_finding_name(f->kind));
	text_escape(stdout, (struct bytes){*f->file != '\0' ? f->file : "-",
				strlen(f->file) + !*f->file});
	printf("\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "-%" PRIu64
	       "\t",
	    f->segment, f->offset, f->length, f->first_seq, f->last_seq);
	if (f->key != NULL)
		text_escape(stdout, (struct bytes){f->key, f->key_len});
	else
		putchar('-');
	printf("\t%s\t%s\t", older_word(f), f->text);
	if (has_bucket(f))
		print_bucket(stdout, f);
	else
		putchar('-');
	putchar('\n');
}

static void
print_people(const struct kvlog_finding *f)
{
	printf("%s %s",
	    f->damage ? "damage:" : "note:", kvlog_finding_name(f->kind));
	if (*f->file != '\0') {
		fputs(" in ", stdout);
		text_message(stdout, f->file);
		if (f->length > 0)
			printf(", offset %" PRIu64 ", %" PRIu64 " bytes",
			    f->offset, f->length);
		else if (f->offset > 0)
			printf(", offset %" PRIu64, f->offset);
	} else if (f->segment != 0) {
		printf(", segment %" PRIu32, f->segment);
	}
	if (f->first_seq != 0 && f->first_seq == f->last_seq)
		printf(", commit %" PRIu64, f->first_seq);
	else if (f->first_seq != 0 && f->last_seq > f->first_seq)
		printf(", commits %" PRIu64 " to %" PRIu64, f->first_seq,
		    f->last_seq);
	if (f->key != NULL) {
		fputs("\n    key ", stdout);
		text_escape(stdout, (struct bytes){f->key, f->key_len});
		if (f->bucket_seq == 0 && f->bucket_ordinal != 0) {
			fputs(" of the catalogue of buckets", stdout);
		} else if (has_bucket(f)) {
			fputs(" of bucket ", stdout);
			print_bucket(stdout, f);
		}
		if (f->older != KVLOG_OLDER_UNKNOWN)
			printf(": %s", older_text(f));
	}
	printf("\n    %s\n", f->text);
}

static void
print_finding(void *arg, const struct kvlog_finding *f)
{
	const struct cli *cli = arg;

	if (!f->damage &&
	    (cli->quiet || (f->kind == KVLOG_FINDING_SPARE && !cli->verbose)))
		return;
	progress_hide();
	if (cli->json)
		print_json(f);
	else if (isatty(STDOUT_FILENO) == 1)
		print_people(f);
	else
		print_columns(f);
}

static bool
show_progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	progress_bytes(done, total);
	return true;
}

/* Report */

static void
json_report(
    const struct cli *cli, const struct kvlog_verify_report *r, bool damaged)
{
	struct json json;

	json_begin(&json, stdout);
	json_text(&json, "database", cli->store);
	json_bool(&json, "damaged", damaged);
	json_number(&json, "damage_count", r->damage_count);
	json_number(&json, "damaged_bytes", r->damaged_bytes);
	json_number(&json, "note_count", r->note_count);
	json_number(&json, "left_out_count", r->left_out_count);
	json_number(&json, "segments", r->segment_count);
	json_number(&json, "records", r->record_count);
	json_number(&json, "commits", r->commit_count);
	json_number(&json, "bytes", r->byte_count);
	json_number(&json, "last_sequence", r->last_seq);
	json_number(&json, "attested_sequence", r->attested_seq);
	json_number(&json, "end_segment", r->end_segment);
	json_number(&json, "end_offset", r->end_offset);
	json_bool(&json, "torn", r->torn);
	json_bool(&json, "live", r->live);
	if (cli_option(cli, OPT_SALVAGE) != NULL) {
		json_text(&json, "salvage", cli_option(cli, OPT_SALVAGE));
		json_number(&json, "saved_records", r->saved_records);
		json_number(&json, "saved_bytes", r->saved_bytes);
		json_number(&json, "single_records", r->single_records);
		json_number(&json, "beyond_records", r->beyond_records);
		json_number(&json, "unsaved_records", r->unsaved_records);
		json_number(&json, "hidden_keys", r->hidden_keys);
		json_number(&json, "dropped_records", r->dropped_records);
		json_number(&json, "saved_buckets", r->saved_buckets);
		json_number(&json, "lost_buckets", r->lost_buckets);
	}
	json_end(&json);
}

static const char *
s_of(uint64_t count)
{
	return count == 1 ? "" : "s";
}

static void
text_salvaged(const struct cli *cli, const struct kvlog_verify_report *r)
{
	char size[TEXT_SIZE_LEN];

	printf("saved %" PRIu64 " record%s (%s) in ", r->saved_records,
	    s_of(r->saved_records), text_size(size, r->saved_bytes));
	text_message(stdout, cli_option(cli, OPT_SALVAGE));
	putchar('\n');
	if (r->single_records > 0)
		printf("    %" PRIu64 " of them %s of batches that are not "
		       "whole\n",
		    r->single_records, r->single_records == 1 ? "is" : "are");
	if (r->beyond_records > 0)
		printf("    %" PRIu64 " of them stood behind the end of the "
		       "log\n",
		    r->beyond_records);
	if (r->hidden_keys > 0)
		printf("    %" PRIu64 " key%s deleted, as the newest value is "
		       "lost\n",
		    r->hidden_keys, r->hidden_keys == 1 ? " is" : "s are");
	if (r->saved_buckets > 0)
		printf("    in %" PRIu64 " bucket%s beside the default one\n",
		    r->saved_buckets, s_of(r->saved_buckets));
	if (r->lost_buckets > 0)
		printf("    %" PRIu64 " of them under a name lost-..., as "
		       "damage may have taken theirs\n",
		    r->lost_buckets);
	if (r->dropped_records > 0)
		printf("    %" PRIu64 " record%s of buckets that were dropped, "
		       "and not saved\n",
		    r->dropped_records,
		    r->dropped_records == 1 ? " is" : "s are");
	if (r->unsaved_records > 0)
		printf("    %" PRIu64 " record%s of a kind that this version "
		       "cannot write\n",
		    r->unsaved_records,
		    r->unsaved_records == 1 ? " is" : "s are");
	if (r->damage_count > 0)
		fputs("A key that was written or deleted in a damaged place "
		      "may be back in an older state.\n"
		      "Sequence numbers are new.\n",
		    stdout);
}

static void
text_report(
    const struct cli *cli, const struct kvlog_verify_report *r, bool damaged)
{
	char size[TEXT_SIZE_LEN];
	bool quick = cli_option(cli, OPT_QUICK) != NULL;

	text_message(stdout, cli->store);
	if (damaged)
		printf(": damaged in %" PRIu64 " place%s", r->damage_count,
		    s_of(r->damage_count));
	else
		printf(": nothing is damaged%s",
		    quick ? " as far as a quick look can tell" : "");
	printf("\n%" PRIu64 " segment%s", r->segment_count,
	    s_of(r->segment_count));
	if (!quick)
		printf(", %" PRIu64 " record%s, %" PRIu64 " commit%s",
		    r->record_count, s_of(r->record_count), r->commit_count,
		    s_of(r->commit_count));
	printf(", %s read", text_size(size, r->byte_count));
	if (!quick)
		printf("; the log ends with commit %" PRIu64 " in segment "
		       "%" PRIu32 " at offset %" PRIu64,
		    r->last_seq, r->end_segment, r->end_offset);
	putchar('\n');
	if (r->live)
		puts("a writer is at work: checked what it had published");
	if (r->left_out_count > 0)
		printf("%" PRIu64 " more finding%s left out\n",
		    r->left_out_count,
		    r->left_out_count == 1 ? " is" : "s are");
	if (cli_option(cli, OPT_REBUILD_HINTS) != NULL && damaged)
		puts("hints were not rebuilt: salvage the store first");
	else if (cli_option(cli, OPT_REBUILD_HINTS) != NULL)
		printf("hints are rebuilt; %" PRIu64 " file%s removed\n",
		    r->removed_hints,
		    r->removed_hints == 1 ? " was" : "s were");
	if (cli_option(cli, OPT_SALVAGE) != NULL)
		text_salvaged(cli, r);
}

/* A failure that names the new store is not the old one's. */
static enum cli_exit
fail(struct cli *cli, enum kvlog_status st)
{
	const char *new_path = cli_option(cli, OPT_SALVAGE);

	if (new_path != NULL && strstr(cli->error.text, new_path) != NULL)
		cli->store = new_path;
	return cli_fail_open(cli, st);
}

static enum cli_exit
verify(struct cli *cli)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	const char *new_path = cli_option(cli, OPT_SALVAGE);
	enum kvlog_status st;

	o.finding = print_finding;
	o.progress = show_progress;
	o.arg = cli;
	o.timeout_ms = cli->timeout_ms;
	if (cli_option(cli, OPT_QUICK) != NULL)
		o.flags |= KVLOG_VERIFY_QUICK;
	if (cli_option(cli, OPT_REBUILD_HINTS) != NULL)
		o.flags |= KVLOG_VERIFY_REBUILD_HINTS;
	if (cli_option(cli, OPT_STRICT) != NULL)
		o.flags |= KVLOG_SALVAGE_STRICT;
	sigbus_install(cli->store);
	progress_begin(cli, 0);
	if (new_path != NULL)
		st = kvlog_salvage(
		    cli->store, new_path, &o, &report, &cli->error);
	else
		st = kvlog_verify(cli->store, &o, &report, &cli->error);
	progress_end();
	if (st != KVLOG_OK && st != KVLOG_CORRUPT)
		return fail(cli, st);
	if (cli->json)
		json_report(cli, &report, st == KVLOG_CORRUPT);
	else if (!cli->quiet)
		text_report(cli, &report, st == KVLOG_CORRUPT);
	return st == KVLOG_OK ? CLI_DONE : CLI_DAMAGE;
}

/* Usage */

static enum cli_exit
fail_option(const struct cli *cli, int value, const char *word)
{
	if (value == ':')
		return cli_usage(cli, "option '%s' needs an argument", word);
	return cli_usage(cli, "unknown option '%s'", word);
}

static enum cli_exit
parse(struct cli *cli, int argc, char **argv)
{
	const char *timeout;
	int value;

	opterr = 0;
	while ((value = getopt_long(argc, argv, ":qvh", options, NULL)) != -1) {
		switch (value) {
		case 'q':
			value = OPT_QUIET;
			break;
		case 'v':
			value = OPT_VERBOSE;
			break;
		case 'h':
			value = OPT_HELP;
			break;
		case '?':
		case ':':
			return fail_option(cli, value, argv[optind - 1]);
		}
		cli->given[value - OPT_JSON] = optarg != NULL ? optarg : "";
	}
	cli->json = cli_option(cli, OPT_JSON) != NULL;
	cli->quiet = cli_option(cli, OPT_QUIET) != NULL;
	cli->verbose = cli_option(cli, OPT_VERBOSE) != NULL;
	timeout = cli_option(cli, OPT_TIMEOUT);
	if (timeout != NULL && !text_parse_time(timeout, &cli->timeout_ms))
		return cli_usage(cli,
		    "'%s' is no time; write milliseconds, or seconds as in 10s",
		    timeout);
	return CLI_DONE;
}

/* Options that do not go together, and the one argument. */
static enum cli_exit
check(struct cli *cli, int argc, char **argv)
{
	bool salvage = cli_option(cli, OPT_SALVAGE) != NULL;

	if (salvage && (cli_option(cli, OPT_QUICK) != NULL ||
			   cli_option(cli, OPT_REBUILD_HINTS) != NULL))
		return cli_usage(cli,
		    "--salvage goes neither with --quick nor with "
		    "--rebuild-hints");
	if (cli_option(cli, OPT_QUICK) != NULL &&
	    cli_option(cli, OPT_REBUILD_HINTS) != NULL)
		return cli_usage(
		    cli, "--rebuild-hints needs more than a --quick look");
	if (!salvage && cli_option(cli, OPT_STRICT) != NULL)
		return cli_usage(cli, "--strict goes with --salvage");
	if (optind == argc) {
		fputs(usage_text, stderr);
		return cli_usage(cli, "STORE is missing");
	}
	if (argc - optind > 1)
		return cli_usage(cli, "only one store can be checked");
	if (*argv[optind] == '\0')
		return cli_usage(cli, "STORE is empty; it is a directory");
	if (salvage && *cli_option(cli, OPT_SALVAGE) == '\0')
		return cli_usage(cli,
		    "NEWSTORE is empty; name a directory that is not there "
		    "yet");
	cli->store = argv[optind];
	return CLI_DONE;
}

static enum cli_exit
run(struct cli *cli, int argc, char **argv)
{
	enum cli_exit status = parse(cli, argc, argv);

	if (status != CLI_DONE)
		return status;
	if (cli_option(cli, OPT_HELP) != NULL) {
		fputs(usage_text, stdout);
		fputs(help_text, stdout);
		return CLI_DONE;
	}
	if (cli_option(cli, OPT_VERSION) != NULL) {
		printf("kvlog-verify %s\n", kvlog_version());
		return CLI_DONE;
	}
	status = check(cli, argc, argv);
	return status == CLI_DONE ? verify(cli) : status;
}

int
main(int argc, char **argv)
{
	struct cli cli = {
	    .program = "kvlog-verify", .store = "", .timeout_ms = 5000};

	cli_begin();
	return (int)cli_finish(&cli, run(&cli, argc, argv));
}
