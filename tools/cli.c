/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cli.c - what the commands have in common: options, messages and exit
 * status, opening and closing the store.
 *
 * A function that reports a failure returns the exit status, so that a
 * failing line is one line.  Data goes to standard output, everything said
 * about it to standard error.
 */
#include "config.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * A store's file must never get the number of a standard stream that the
 * caller has closed: messages would be written into it.  Reading or writing
 * what is opened here fails, as it does on a closed stream.
 */
static void
hold_standard_files(void)
{
	int fd;

	if (fcntl(STDIN_FILENO, F_GETFD) == -1)
		(void)!open("/dev/null", O_WRONLY); /* the lowest: becomes it */
	do {
		fd = open("/dev/null", O_RDONLY);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void
cli_begin(void)
{
	static char buffer[16384];

	hold_standard_files();
	/* Closed pipes and size limits are errors of the calls that meet
	 * them, not the end of a program that has a store open. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	/* Some C libraries have little of it, and write to the end of the
	 * first line, where nobody asks why that failed. */
	if (isatty(STDOUT_FILENO) != 1)
		setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
}

void
cli_catch_signals(void (*handler)(int number))
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action, old;

	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		if (sigaction(numbers[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &action, NULL);
}

enum cli_exit
cli_finish(const struct cli *cli, enum cli_exit status)
{
	bool failed = ferror(stdout) != 0;
	int sys_errno = EIO; /* the true one is gone */

	if (fclose(stdout) != 0) {
		sys_errno = errno;
		failed = true;
	}
	if (failed && status == CLI_DONE)
		status = cli_fail_output(cli, sys_errno);
	return status;
}

const char *
cli_option(const struct cli *cli, enum cli_option option)
{
	return cli->given[option - OPT_JSON];
}

bool
cli_takes_colour(int fd)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (no_color != NULL && *no_color != '\0')
		return false;
	if (term == NULL || strcmp(term, "dumb") == 0)
		return false;
	return isatty(fd) == 1;
}

/* The message in new memory; NULL without memory. */
static char *
format_message(const char *format, va_list args)
{
	char *message = NULL;
	size_t size;
	FILE *file = open_memstream(&message, &size);

	if (file == NULL)
		return NULL;
	vfprintf(file, format, args);
	if (fclose(file) != 0) {
		free(message);
		return NULL;
	}
	return message;
}

/* "LABEL: message", the label in colour on a terminal. */
static void
say(const char *label, const char *colour, const char *message)
{
	bool coloured = cli_takes_colour(STDERR_FILENO);

	progress_hide();
	fprintf(stderr, "%s%s:%s ", coloured ? colour : "", label,
	    coloured ? "\033[0m" : "");
	text_message(stderr, message != NULL ? message : "out of memory");
	putc('\n', stderr);
}

#define RED "\033[1;31m"
#define YELLOW "\033[1;33m"

static void
say_json(enum cli_exit status, const char *message)
{
	struct json json;

	json_begin(&json, stderr);
	json_text(&json, "error", message != NULL ? message : "out of memory");
	json_number(&json, "exit", status);
	json_end(&json);
}

/* An error in a line of a script; 0: in none. */
static void
say_at(uint64_t line, const char *message)
{
	char label[64] = "ERROR";

	if (line > 0)
		snprintf(label, sizeof label, "ERROR: line %" PRIu64, line);
	say(label, RED, message);
}

enum cli_exit
cli_fail(const struct cli *cli, enum cli_exit status, const char *format, ...)
{
	va_list args;
	char *message;

	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	if (cli->json)
		say_json(status, message);
	else
		say_at(cli->line, message);
	free(message);
	return status;
}

enum cli_exit
cli_usage(const struct cli *cli, const char *format, ...)
{
	va_list args;
	char *message;

	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	say("ERROR", RED, message);
	free(message);
	if (cli->program != NULL)
		fprintf(stderr, "'%s --help' says more.\n", cli->program);
	else if (cli->command != NULL)
		fprintf(stderr,
		    "usage: kvlog %s\n"
		    "'kvlog help %s' says more.\n",
		    cli->command->synopsis, cli->command->name);
	else
		fputs("'kvlog help' lists the commands.\n", stderr);
	return CLI_USAGE;
}

enum cli_exit
cli_take_store(struct cli *cli, int argc, char **argv)
{
	if (argc - optind != 1 || argv[optind][0] == '\0')
		return cli_usage(cli, argc - optind > 1
					  ? "one store at a time"
					  : "the store is missing");
	cli->store = argv[optind];
	return CLI_DONE;
}

void
cli_warn(const struct cli *cli, const char *format, ...)
{
	va_list args;
	char *message;

	if (cli->quiet)
		return;
	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	say("WARNING", YELLOW, message);
	free(message);
}

void
cli_remark(const struct cli *cli, const char *format, ...)
{
	va_list args;
	char *message;

	if (!cli->verbose)
		return;
	va_start(args, format);
	message = format_message(format, args);
	va_end(args);
	progress_hide();
	text_message(stderr, message != NULL ? message : "out of memory");
	putc('\n', stderr);
	free(message);
}

static enum cli_exit
exit_of_status(enum kvlog_status status)
{
	switch (status) {
	case KVLOG_OK:
		return CLI_DONE;
	case KVLOG_NOTFOUND:
	case KVLOG_CONFLICT:
	case KVLOG_TOOOLD:
	case KVLOG_NOBUCKET:
		return CLI_NOTFOUND;
	case KVLOG_TOOSMALL:
	case KVLOG_INVAL:
	case KVLOG_TOOBIG:
	case KVLOG_VERSION:
	case KVLOG_READONLY:
	case KVLOG_NOSTORE:
	case KVLOG_NOTSTORE:
	case KVLOG_UNSUPPORTED:
	case KVLOG_FORKED:
		return CLI_USAGE;
	case KVLOG_CORRUPT:
		return CLI_DAMAGE;
	case KVLOG_BUSY:
	case KVLOG_TIMEOUT:
	case KVLOG_CANCELLED:
		return CLI_BUSY;
	case KVLOG_NOMEM:
	case KVLOG_IO:
	case KVLOG_NOSPACE:
	case KVLOG_BROKEN:
		return CLI_FAILED;
	}
	return CLI_FAILED; /* of a newer library */
}

/* What the user of this program can do, where the library cannot know. */
static const char *
hint_of_error(enum kvlog_status status)
{
	if (status == KVLOG_NOSTORE)
		return "; 'kvlog create' makes a store";
	if (status == KVLOG_BUSY)
		return "; --timeout waits longer";
	if (status == KVLOG_CORRUPT)
		return "; kvlog-recovery(7) says more";
	return "";
}

/* Whether a text has the store's path as a word, or at the beginning of one. */
static bool
names_store(const char *text, const char *store)
{
	const size_t len = strlen(store);
	const char *p = text;

	for (; (p = strstr(p, store)) != NULL; p++)
		if ((p == text || p[-1] == ' ') &&
		    (p[len] == '\0' || strchr(" /:;,", p[len]) != NULL))
			return true;
	return false;
}

enum cli_exit
cli_fail_status(
    const struct cli *cli, enum kvlog_status status, const char *what)
{
	bool told = cli->error.status == status && cli->error.text[0] != '\0';
	const char *text = told ? cli->error.text : kvlog_status_text(status);
	/* To wait does not help where somebody else was done with it. */
	const char *hint =
	    strstr(text, "try again") == NULL ? hint_of_error(status) : "";

	if (names_store(text, cli->store)) /* it says where */
		return cli_fail(
		    cli, exit_of_status(status), "%s%s", text, hint);
	return cli_fail(cli, exit_of_status(status), "%s %s: %s%s", what,
	    cli->store, text, hint);
}

enum cli_exit
cli_not_found(const struct cli *cli, struct bytes key)
{
	char *text;

	if (cli->quiet)
		return CLI_NOTFOUND;
	text = text_escaped(key);
	if (cli->json)
		(void)cli_fail(cli, CLI_NOTFOUND, "Key not found: %s",
		    text != NULL ? text : "");
	else
		fprintf(
		    stderr, "Key not found: %s\n", text != NULL ? text : "");
	free(text);
	return CLI_NOTFOUND;
}

enum cli_exit
cli_no_bucket(const struct cli *cli, const char *name)
{
	if (cli->quiet)
		return CLI_NOTFOUND;
	if (cli->json)
		return cli_fail(
		    cli, CLI_NOTFOUND, "Bucket not found: %s", name);
	fputs("Bucket not found: ", stderr);
	text_message(stderr, name);
	putc('\n', stderr);
	return CLI_NOTFOUND;
}

char *
cli_key_text(const struct cli *cli, const char *before, struct bytes key,
    const char *after)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (file == NULL)
		return NULL;
	fputs(before, file);
	text_escape(file, key);
	if (cli->bucket != NULL)
		fprintf(file, " of bucket %s", cli->bucket);
	fputs(after, file);
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

enum cli_exit
cli_fail_entry(const struct cli *cli, const struct kvlog_iter *iter)
{
	struct kvlog_info info = {0};
	struct bytes key;
	char *text = NULL;

	kvlog_iter_info(iter, &info);
	key.data = kvlog_iter_key(iter, &key.len);
	if (key.data != NULL)
		text = cli_key_text(cli, "", key, "");
	(void)cli_fail(cli, CLI_DAMAGE,
	    "%s is damaged in %s (segment %" PRIu32 ", offset %" PRIu64
	    "); put the key again, or restore it from a backup",
	    text != NULL ? text : "a key that cannot be read", cli->store,
	    info.segment, info.offset);
	free(text);
	return CLI_DAMAGE;
}

enum cli_exit
cli_fail_value(
    const struct cli *cli, struct bytes key, const struct kvlog_info *info)
{
	char *text = cli_key_text(cli, "", key, "");

	(void)cli_fail(cli, CLI_DAMAGE,
	    "the value of %s is damaged in %s (segment %" PRIu32
	    ", offset %" PRIu64 "); put the key again, or restore it from a "
	    "backup; other keys stay readable",
	    text != NULL ? text : "", cli->store, info->segment, info->offset);
	free(text);
	return CLI_DAMAGE;
}

enum cli_exit
cli_fail_key(struct cli *cli, struct kvlog *db, struct bytes key,
    enum kvlog_status status, const char *what)
{
	struct kvlog_info info;
	enum cli_exit result;
	char *text;

	if (status == KVLOG_CORRUPT &&
	    kvlog_lookup(db, key.data, key.len, &info) == KVLOG_OK)
		return cli_fail_value(cli, key, &info);
	text = cli_key_text(cli, what, key, " in");
	result = cli_fail_status(cli, status, text != NULL ? text : what);
	free(text);
	return result;
}

enum cli_exit
cli_fail_output(const struct cli *cli, int sys_errno)
{
	clearerr(stdout); /* reported once is enough */
	if (sys_errno == EPIPE)
		return CLI_DONE; /* the reader has had enough */
	if (sys_errno == EFAULT)
		/* Values are written straight from the mapping: to write() a
		 * page that cannot be read is no SIGBUS. */
		return cli_fail(cli, CLI_FAILED,
		    "I/O error while reading a mapped file of %s (place "
		    "unknown); the medium is failing or the file was "
		    "truncated: check the system log and copy what is readable",
		    cli->store);
	return cli_fail(cli, CLI_FAILED,
	    "cannot write to standard output: %s; what is there is not "
	    "complete",
	    strerror(sys_errno));
}

enum cli_exit
cli_key(const struct cli *cli, const char *arg, struct bytes *ret_key)
{
	size_t len = strlen(arg);

	if (len == 0 || len > KVLOG_KEY_MAX)
		return cli_fail(cli, CLI_USAGE,
		    "KEY has %zu bytes; a key has 1 to %u", len, KVLOG_KEY_MAX);
	*ret_key = (struct bytes){arg, len};
	return CLI_DONE;
}

enum cli_exit
cli_bucket_name(const struct cli *cli, const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= KVLOG_KEY_MAX
		   ? CLI_DONE
		   : cli_usage(cli,
			 "the name of a bucket has %zu bytes; it has 1 to %u",
			 len, KVLOG_KEY_MAX);
}

uint64_t
cli_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

enum cli_exit
cli_expiry(const struct cli *cli, const char *ttl, uint64_t *ret_expires_ms)
{
	uint64_t now = cli_now_ms(), ms;

	if (!text_parse_long_time(ttl, &ms) || ms == 0 || ms > INT64_MAX - now)
		return cli_fail(cli, CLI_USAGE,
		    "'%s' is no time to live; write milliseconds, or seconds, "
		    "minutes, hours or days as in 10s, 10m, 10h, 10d",
		    ttl);
	*ret_expires_ms = now + ms;
	return CLI_DONE;
}

enum cli_exit
cli_segment_size(const struct cli *cli, uint64_t *ret_size)
{
	const char *arg = cli_option(cli, OPT_SEGMENT_SIZE);
	uint64_t size;
	char low[TEXT_SIZE_LEN], high[TEXT_SIZE_LEN];

	if (arg == NULL)
		return CLI_DONE;
	if (!text_parse_size(arg, &size))
		return cli_usage(
		    cli, "'%s' is no size; write bytes, or 64K, 128M, 1G", arg);
	if (size < KVLOG_SEGMENT_SIZE_MIN || size > KVLOG_SEGMENT_SIZE_MAX)
		return cli_usage(cli, "segments have %s to %s, not '%s'",
		    text_size(low, KVLOG_SEGMENT_SIZE_MIN),
		    text_size(high, KVLOG_SEGMENT_SIZE_MAX), arg);
	*ret_size = size;
	return CLI_DONE;
}

enum cli_exit
cli_write_how(struct cli *cli, struct kvlog_write *ret_how)
{
	const char *seq = cli_option(cli, OPT_IF_SEQ);
	const char *ttl = cli_option(cli, OPT_TTL);
	int condition_count = 0;

	*ret_how = (struct kvlog_write)KVLOG_WRITE_INIT;
	ret_how->err = &cli->error;
	ret_how->durability = cli->durability;
	if (cli_option(cli, OPT_IF_ABSENT) != NULL) {
		ret_how->condition = KVLOG_IF_ABSENT;
		condition_count++;
	}
	if (cli_option(cli, OPT_IF_PRESENT) != NULL) {
		ret_how->condition = KVLOG_IF_PRESENT;
		condition_count++;
	}
	if (seq != NULL) {
		ret_how->condition = KVLOG_IF_SEQ;
		condition_count++;
		if (!text_parse_number(seq, &ret_how->if_seq))
			return cli_usage(
			    cli, "'%s' is no sequence number", seq);
	}
	if (condition_count > 1)
		return cli_usage(cli, "only one condition can be given");
	if (ttl != NULL)
		return cli_expiry(cli, ttl, &ret_how->expires_ms);
	return CLI_DONE;
}

static void
warn_of_damage(struct cli *cli, struct kvlog *db, bool opening)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	const bool quiet = cli->quiet, warned = cli->warned;

	if (kvlog_stats_get(db, &stats) != KVLOG_OK)
		return; /* the command itself will meet the reason */
	cli->degraded = (stats.recovery & KVLOG_RECOVERY_DEGRADED) != 0;
	cli->warned = (stats.recovery & KVLOG_RECOVERY_DAMAGE) != 0;
	/* That a value may be an older one is more than chat. */
	cli->quiet = quiet && !cli->degraded;
	if (cli->degraded || (cli->warned && !warned))
		cli_warn(cli,
		    "%s is damaged: %s%s; 'kvlog dump' saves what can be read, "
		    "kvlog-recovery(7) says more",
		    cli->store, stats.recovery_text,
		    cli->degraded ? "; its keys are not known, so that a key "
				    "may be missing or show an older value"
				  : "");
	else if (opening && stats.recovery_text[0] != '\0')
		cli_remark(
		    cli, "%s: recovery: %s", cli->store, stats.recovery_text);
	cli->quiet = quiet;
}

/* A path that cannot be opened is a wrong path, not a failing medium. */
static bool
is_wrong_path(const struct kvlog_error *error)
{
	switch (error->sys_errno) {
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
		return true;
	default:
		return false;
	}
}

enum cli_exit
cli_fail_open(const struct cli *cli, enum kvlog_status st)
{
	return cli_fail_place(cli, st, "cannot open");
}

enum cli_exit
cli_fail_place(const struct cli *cli, enum kvlog_status st, const char *what)
{
	enum cli_exit status = cli_fail_status(cli, st, what);

	if (st == KVLOG_CONFLICT ||
	    (st == KVLOG_IO && is_wrong_path(&cli->error)))
		status = CLI_USAGE;
	return status;
}

enum kvlog_status
cli_try_open(struct cli *cli, unsigned flags, uint64_t segment_size,
    struct kvlog **ret_db)
{
	struct kvlog_options options = KVLOG_OPTIONS_INIT;
	enum kvlog_status st;

	options.flags = flags | KVLOG_OPEN_NOCOMPACT;
	if (cli->exclusive && (flags & KVLOG_OPEN_READONLY) == 0)
		options.flags |= KVLOG_OPEN_UNSHARED;
	options.timeout_ms = cli->timeout_ms;
	options.index_mode = cli->index_mode;
	if (cli->durability != KVLOG_DURABILITY_DEFAULT)
		options.durability = cli->durability;
	if (segment_size != 0)
		options.segment_size = segment_size;

	cli->error = (struct kvlog_error){0};
	sigbus_install(cli->store);
	st = kvlog_open(cli->store, &options, ret_db, &cli->error);
	if (st == KVLOG_OK)
		warn_of_damage(cli, *ret_db, true);
	return st;
}

/* Of db, which is closed if that fails. */
static enum cli_exit
open_bucket(struct cli *cli, unsigned flags, struct kvlog *db,
    struct kvlog **ret_bucket)
{
	enum kvlog_status st = kvlog_bucket_open(db, cli->bucket,
	    strlen(cli->bucket), flags, ret_bucket, &cli->error);

	if (st == KVLOG_OK) {
		cli->root = db;
		return CLI_DONE;
	}
	return cli_close(cli, db,
	    st == KVLOG_NOBUCKET
		? cli_no_bucket(cli, cli->bucket)
		: cli_fail_status(cli, st, "cannot open a bucket of"));
}

enum cli_exit
cli_open(struct cli *cli, unsigned flags, uint64_t segment_size,
    struct kvlog **ret_db)
{
	struct kvlog *db;
	enum kvlog_status st = cli_try_open(cli, flags, segment_size, &db);

	if (st != KVLOG_OK)
		return cli_fail_open(cli, st);
	if (cli->bucket == NULL) {
		*ret_db = db;
		return CLI_DONE;
	}
	return open_bucket(cli, flags & KVLOG_OPEN_CREATE, db, ret_db);
}

enum cli_exit
cli_close(struct cli *cli, struct kvlog *db, enum cli_exit status)
{
	enum kvlog_status st;

	if (cli->root != NULL) {
		(void)kvlog_close(db, NULL);
		db = cli->root;
		cli->root = NULL;
	}
	/* With keys looked up in hints, damage may be met only now. */
	if (cli->index_mode == KVLOG_INDEX_HINTS && !cli->degraded)
		warn_of_damage(cli, db, false);
	cli->error = (struct kvlog_error){0};
	st = kvlog_close(db, &cli->error);
	if (st != KVLOG_OK && status == CLI_DONE)
		status = cli_fail_status(cli, st, "cannot close");
	return status;
}
