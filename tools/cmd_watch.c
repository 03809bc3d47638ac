/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_watch.c - kvlog watch: every change as it becomes durable, of all buckets
 * or of one.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_SIZE (1u << 18)
#define SLICE_MS 100 /* between looks at signals and a closed pipe */

struct watch {
	bool nul;
	bool once;
	bool named; /* the bucket is; its id tells nothing then */
	uint64_t from;
	uint64_t count;
};

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static void
catch_signals(void)
{
	struct sigaction action = {.sa_handler = stop};

	sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

/* Whether nobody reads any more what would be written. */
static bool
output_is_closed(void)
{
	struct pollfd fd = {.fd = STDOUT_FILENO};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

static const char *
type_name(enum kvlog_change_type type)
{
	switch (type) {
	case KVLOG_CHANGE_PUT:
		return "put";
	case KVLOG_CHANGE_DELETE:
		return "delete";
	case KVLOG_CHANGE_BUCKET_CREATE:
		return "create-bucket";
	case KVLOG_CHANGE_BUCKET_DROP:
		return "drop-bucket";
	}
	return "";
}

static bool
shows_bucket(const struct watch *watch, const struct kvlog_change *change)
{
	return !watch->named &&
	       (change->bucket_seq | change->bucket_ordinal) != 0;
}

static void
print_json(const struct watch *watch, const struct kvlog_change *change)
{
	bool put = change->type == KVLOG_CHANGE_PUT;
	struct json json;
	char id[48];

	json_begin(&json, stdout);
	json_number(&json, "sequence", change->seq);
	json_text(&json, "type", type_name(change->type));
	if (shows_bucket(watch, change)) {
		snprintf(id, sizeof id, "%" PRIu64 "-%" PRIu32,
		    change->bucket_seq, change->bucket_ordinal);
		json_text(&json, "bucket", id);
	}
	json_bytes(&json, "key", (struct bytes){change->key, change->key_len});
	if (put)
		json_bytes(&json, "value",
		    (struct bytes){change->value, change->value_len});
	if (change->expires_ms != 0)
		json_number(&json, "expires", change->expires_ms);
	json_bool(&json, "more", change->more);
	json_end(&json);
}

static void
print_field(const struct watch *watch, const void *data, size_t len, char end)
{
	if (watch->nul)
		fwrite(data, 1, len, stdout);
	else
		text_escape(stdout, (struct bytes){data, len});
	putc(watch->nul ? '\0' : end, stdout);
}

static void
print_change(const struct cli *cli, const struct watch *watch,
    const struct kvlog_change *change)
{
	bool put = change->type == KVLOG_CHANGE_PUT;
	char type[96];
	int len = snprintf(type, sizeof type, "%s", type_name(change->type));

	if (cli->json) {
		print_json(watch, change);
		return;
	}
	/* What is not so of most changes is told with the type. */
	if (shows_bucket(watch, change))
		len += snprintf(type + len, sizeof type - (size_t)len,
		    "@%" PRIu64 "-%" PRIu32, change->bucket_seq,
		    change->bucket_ordinal);
	if (change->expires_ms != 0)
		len += snprintf(type + len, sizeof type - (size_t)len,
		    "~%" PRIu64, change->expires_ms);
	printf("%" PRIu64 "%c", change->seq, watch->nul ? '\0' : '\t');
	print_field(watch, type, (size_t)len, '\t');
	print_field(watch, change->key, change->key_len, put ? '\t' : '\n');
	if (put)
		print_field(watch, change->value, change->value_len, '\n');
}

static enum cli_exit
fail_too_old(const struct cli *cli, const struct kvlog_change *change)
{
	return cli_fail(cli, CLI_NOTFOUND,
	    "%s: the changes that come next were compacted away; 'kvlog watch "
	    "--from=%" PRIu64 "' tells all since, and 'kvlog scan --values' "
	    "the present state",
	    cli->store, change->seq);
}

/* Whether the bucket, if db is one, was dropped, and all that came before has
 * been told, since so much is durable.  *end: 0, or a commit not before that of
 * the drop. */
static bool
has_ended(const struct cli *cli, struct kvlog *db, uint64_t durable_seq,
    uint64_t *end)
{
	if (cli->bucket != NULL && *end == 0 &&
	    kvlog_exists(db, "x", 1) == KVLOG_NOBUCKET)
		*end = kvlog_last_seq(db);
	return *end != 0 && durable_seq >= *end;
}

/* Print what comes until a signal, the count, the end of the bucket or, with
 * --once, of what is durable. */
static enum cli_exit
follow(struct cli *cli, const struct watch *watch, struct kvlog *db,
    struct kvlog_feed *feed)
{
	enum cli_exit status = cli->degraded ? CLI_DAMAGE : CLI_DONE;
	uint64_t end = 0;

	for (uint64_t i = 0; i < watch->count && !stopped;) {
		struct kvlog_change change = {.size = sizeof change};
		enum kvlog_status st = kvlog_feed_next(
		    feed, watch->once ? 0 : SLICE_MS, &change, &cli->error);

		if (st == KVLOG_OK) {
			print_change(cli, watch, &change);
			i++;
		} else if (st == KVLOG_CORRUPT || st == KVLOG_VERSION) {
			status = cli_fail_status(cli, st, "cannot watch");
		} else if (st == KVLOG_TOOOLD) {
			return fail_too_old(cli, &change);
		} else if (st != KVLOG_TIMEOUT) {
			return cli_fail_status(cli, st, "cannot watch");
		}
		if (!change.more && fflush(stdout) != 0)
			return cli_fail_output(cli, errno);
		if (st != KVLOG_TIMEOUT)
			continue;
		if (watch->once || output_is_closed())
			break;
		if (has_ended(cli, db, change.durable_seq, &end))
			return cli_fail(cli, CLI_NOTFOUND,
			    "%s: bucket %s was dropped, and will change no "
			    "more",
			    cli->store, cli->bucket);
	}
	return status;
}

static enum cli_exit
watch_store(struct cli *cli, const struct watch *watch, const char *prefix)
{
	struct kvlog *db;
	struct kvlog_feed *feed;
	enum kvlog_status st;
	enum cli_exit status;

	status = cli_open(cli, KVLOG_OPEN_READONLY, 0, &db);
	if (status != CLI_DONE)
		return status;
	st = kvlog_feed_open(
	    db, watch->from, prefix, strlen(prefix), &feed, &cli->error);
	if (st == KVLOG_OK) {
		status = follow(cli, watch, db, feed);
		kvlog_feed_close(feed);
	} else {
		status = cli_fail_status(cli, st, "cannot watch");
	}
	return cli_close(cli, db, status);
}

static enum cli_exit
watch_exec(struct cli *cli, int argc, char **argv)
{
	static char buffer[OUTPUT_SIZE];
	struct watch watch = {.from = KVLOG_FEED_NEW, .count = UINT64_MAX};
	const char *from = cli_option(cli, OPT_FROM);
	const char *count = cli_option(cli, OPT_LIMIT);
	const char *prefix = argc > 1 ? argv[1] : "";

	watch.nul = cli_option(cli, OPT_NUL) != NULL;
	watch.once = cli_option(cli, OPT_ONCE) != NULL;
	watch.named = cli->bucket != NULL;
	if (from != NULL && !text_parse_number(from, &watch.from))
		return cli_usage(cli, "'%s' is no sequence number", from);
	if (count != NULL && !text_parse_number(count, &watch.count))
		return cli_usage(cli, "'%s' is no number of changes", count);
	if (watch.nul && cli->json)
		return cli_usage(cli, "-0 and --json exclude each other");
	if (strlen(prefix) > KVLOG_KEY_MAX)
		return cli_fail(cli, CLI_USAGE,
		    "PREFIX has %zu bytes; a key has at most %u",
		    strlen(prefix), KVLOG_KEY_MAX);
	catch_signals();
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	return watch_store(cli, &watch, prefix);
}

static const struct option watch_options[] = {
    {"from", required_argument, NULL, OPT_FROM},
    {"count", required_argument, NULL, OPT_LIMIT},
    {"once", no_argument, NULL, OPT_ONCE},
    {"null", no_argument, NULL, OPT_NUL},
    {NULL, 0, NULL, 0},
};

const struct command cmd_watch = {
    .name = "watch",
    .synopsis = "watch STORE [PREFIX] [--from=SEQ] [--count=N] [--once] [-0]",
    .summary = "print each change as it becomes durable",
    .help =
	"Print each change of keys that begin with PREFIX (of all keys without "
	"it) as it\n"
	"becomes durable, until interrupted: the sequence number of the "
	"commit, put or\n"
	"delete, KEY and, for a put, VALUE, with tabs between, escaped as in "
	"dump.  Of a\n"
	"bucket other than the default one its id follows the type, put@SEQ-N, "
	"and the\n"
	"time where the value expires, put~MS; create-bucket@SEQ-N and "
	"drop-bucket have\n"
	"its name for KEY.  With PREFIX, buckets are left out; --bucket=NAME "
	"is for the keys\n"
	"of one, without its id.\n\n"
	"  --from=SEQ   begin with commit SEQ (1: the first; default: what is "
	"not durable\n"
	"               yet); exit status 1 if compaction has taken it\n"
	"  --count=N    stop after N changes\n"
	"  --once       stop when all that is durable was printed\n"
	"  -0, --null   print exact bytes, with a NUL byte after each field\n",
    .letters = "0",
    .options = watch_options,
    .arg_min = 1,
    .arg_max = 2,
    .keyed = true,
    .exec = watch_exec,
};
