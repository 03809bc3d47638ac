/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress.c - the program that lets many processes and threads at one store,
 * kills some of them, and says whether all that was promised held.
 *
 * scheme.c says what is written, check.c what may be read; thread.c, reads.c
 * and writes.c are a thread's work, worker.c and judge.c processes, run.c the
 * one that looks after them, board.c the memory that they share.
 */
#include "config.h"

#include "report.h"
#include "run.h"

#include "../mix.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: kvlog-stress [--writers=N] [--readers=N] [--threads=N] [--ops=N]\n"
    "                    [--duration=S] [--kill[=TIME]] [--freeze[=TIME]] "
    "[--compact=SIZE]\n"
    "                    [--reopen=N] [--keys=N] [--value-size=SIZE]\n"
    "                    [--segment-size=SIZE] [--durability=MODE] "
    "[--index=MODE]\n"
    "                    [--timeout=TIME] [--stuck=TIME] [--seed=N] [--json] "
    "[-q]\n"
    "                    STORE\n"
    "       kvlog-stress --help | --version\n";

static const char help_text[] =
    "\n"
    "Make the store STORE, let processes write to it and read it all at once, "
    "and\n"
    "verify what they see.\n"
    "\n"
    "  --writers=N          processes that write (default 4)\n"
    "  --readers=N          processes that only read (default 8)\n"
    "  --threads=N          threads of each process, on one handle (default "
    "1)\n"
    "  --ops=N              operations of each process (default 10000, with\n"
    "                       --duration no limit)\n"
    "  --duration=S         end after S seconds\n"
    "  --kill[=TIME]        kill a process at random, and start it again, on\n"
    "                       average every TIME (default 100ms)\n"
    "  --freeze[=TIME]      stop a reader at random, one after the other, on\n"
    "                       average for TIME (default 500ms)\n"
    "  --compact=SIZE       compact the store beside the readers whenever SIZE "
    "has been\n"
    "                       written (default 64M; 0: never)\n"
    "  --reopen=N           each process closes the store and opens it again\n"
    "                       after N operations of a thread (default: never)\n"
    "  --keys=N             keys of each writing thread (default 64)\n"
    "  --value-size=SIZE    longest value, about (default 512)\n"
    "  --segment-size=SIZE  of the store (default 1M)\n"
    "  --durability=MODE    of writes: commit, interval (default) or none\n"
    "  --index=MODE         of readers: hints or memory (default: taking "
    "turns)\n"
    "  --timeout=TIME       longest wait for another writer (default 5s)\n"
    "  --stuck=TIME         a process without progress for so long is a "
    "deadlock\n"
    "                       (default 10s more than --timeout)\n"
    "  --seed=N             of the values and the kills\n"
    "  --json               answer in JSON\n"
    "  -q, --quiet          say nothing but errors\n"
    "  -h, --help           this text\n"
    "\n"
    "SIZE is in bytes, or as in 64K, 1M; TIME in milliseconds, or as in "
    "10s.\n"
    "\n"
    "Exit status: 0 all held, 2 wrong usage or cannot open, 3 something did "
    "not hold,\n"
    "4 lock not obtained in time, 5 no space, no memory or I/O error.\n";

enum {
	OPT_WRITERS = OPT_END,
	OPT_READERS,
	OPT_THREADS,
	OPT_OPS,
	OPT_DURATION,
	OPT_KILL,
	OPT_FREEZE,
	OPT_COMPACT,
	OPT_REOPEN,
	OPT_KEYS,
	OPT_VALUE_SIZE,
	OPT_STUCK,
	OPT_SEED,
};

static const struct option options[] = {
    {"writers", required_argument, NULL, OPT_WRITERS},
    {"readers", required_argument, NULL, OPT_READERS},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"ops", required_argument, NULL, OPT_OPS},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"kill", optional_argument, NULL, OPT_KILL},
    {"freeze", optional_argument, NULL, OPT_FREEZE},
    {"compact", required_argument, NULL, OPT_COMPACT},
    {"reopen", required_argument, NULL, OPT_REOPEN},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"value-size", required_argument, NULL, OPT_VALUE_SIZE},
    {"segment-size", required_argument, NULL, OPT_SEGMENT_SIZE},
    {"durability", required_argument, NULL, OPT_DURABILITY},
    {"index", required_argument, NULL, OPT_INDEX},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"stuck", required_argument, NULL, OPT_STUCK},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define COUNTERS 4         /* keys that all write */
#define PROCESSES_MAX 1000 /* of a kind, and threads of each */
#define SECONDS_MAX 10000000
#define FILLER_MAX (UINT64_C(64) << 20)

/* What was asked for. */
struct request {
	struct cli cli;
	struct plan plan;
	uint64_t keys;
	bool ops_given;
};

static void
catch_signal(int number)
{
	run_caught = number;
}

/* Arguments */

static enum cli_exit
take_number(const struct request *r, const char *name, uint64_t least,
    uint64_t most, uint64_t *ret_number)
{
	if (!text_parse_number(optarg, ret_number) || *ret_number < least ||
	    *ret_number > most)
		return cli_usage(&r->cli,
		    "'%s' is no %s; it is a number from %" PRIu64
		    " to %" PRIu64,
		    optarg, name, least, most);
	return CLI_DONE;
}

static enum cli_exit
take_count(const struct request *r, const char *name, uint32_t least,
    uint32_t most, uint32_t *ret_count)
{
	uint64_t number;
	enum cli_exit status = take_number(r, name, least, most, &number);

	if (status == CLI_DONE)
		*ret_count = (uint32_t)number;
	return status;
}

static enum cli_exit
take_size(const struct request *r, const char *name, uint64_t least,
    uint64_t most, uint64_t *ret_size)
{
	char low[TEXT_SIZE_LEN], high[TEXT_SIZE_LEN];

	if (!text_parse_size(optarg, ret_size) || *ret_size < least ||
	    *ret_size > most)
		return cli_usage(&r->cli,
		    "'%s' is no %s; it has %s to %s, as in 64K, 1M", optarg,
		    name, text_size(low, least), text_size(high, most));
	return CLI_DONE;
}

static enum cli_exit
take_time(const struct request *r, uint32_t *ret_ms)
{
	if (!text_parse_time(optarg, ret_ms))
		return cli_usage(&r->cli,
		    "'%s' is no time; write milliseconds, or seconds as in 10s",
		    optarg);
	return CLI_DONE;
}

/* A time in nanoseconds that is not 0; without an argument as it is. */
static enum cli_exit
take_time_ns(const struct request *r, uint64_t *ret_ns)
{
	uint32_t ms = (uint32_t)(*ret_ns / NS_PER_MS);
	enum cli_exit status = optarg == NULL ? CLI_DONE : take_time(r, &ms);

	if (status == CLI_DONE && ms == 0)
		status = cli_usage(&r->cli, "a time of 0 does not make sense");
	if (status == CLI_DONE)
		*ret_ns = ms * NS_PER_MS;
	return status;
}

static enum cli_exit
take_durability(struct request *r)
{
	static const struct {
		const char *name;
		enum kvlog_durability durability;
	} modes[] = {{"commit", KVLOG_DURABILITY_COMMIT},
	    {"interval", KVLOG_DURABILITY_INTERVAL},
	    {"none", KVLOG_DURABILITY_NONE}};

	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		if (strcmp(optarg, modes[i].name) == 0) {
			r->plan.options.durability = modes[i].durability;
			return CLI_DONE;
		}
	}
	return cli_usage(&r->cli,
	    "'%s' is no durability; it is commit, interval or none", optarg);
}

static enum cli_exit
take_index(struct request *r)
{
	if (strcmp(optarg, "memory") == 0)
		r->plan.options.index_mode = KVLOG_INDEX_MEMORY;
	else if (strcmp(optarg, "hints") == 0)
		r->plan.options.index_mode = KVLOG_INDEX_HINTS;
	else
		return cli_usage(&r->cli,
		    "'%s' is no index mode; it is hints or memory", optarg);
	return CLI_DONE;
}

static enum cli_exit
take_duration(struct request *r)
{
	uint64_t number;
	enum cli_exit status =
	    take_number(r, "number of seconds", 1, SECONDS_MAX, &number);

	if (status == CLI_DONE)
		r->plan.duration_ns = number * NS_PER_S;
	return status;
}

static enum cli_exit
take_option(struct request *r, int value, char *const *argv)
{
	struct plan *plan = &r->plan;
	uint64_t size;
	enum cli_exit status = CLI_DONE;

	switch (value) {
	case OPT_WRITERS:
		return take_count(
		    r, "number of writers", 1, PROCESSES_MAX, &plan->writers);
	case OPT_READERS:
		return take_count(
		    r, "number of readers", 0, PROCESSES_MAX, &plan->readers);
	case OPT_THREADS:
		return take_count(r, "number of threads", 1,
		    SCHEME_COUNT_MAX / PROCESSES_MAX, &plan->threads);
	case OPT_OPS:
		r->ops_given = true;
		return take_number(
		    r, "number of operations", 1, UINT64_MAX, &plan->ops);
	case OPT_DURATION:
		return take_duration(r);
	case OPT_KILL:
		plan->kill_ns = 100 * NS_PER_MS;
		return take_time_ns(r, &plan->kill_ns);
	case OPT_FREEZE:
		plan->freeze_ns = 500 * NS_PER_MS;
		return take_time_ns(r, &plan->freeze_ns);
	case OPT_COMPACT:
		return take_size(
		    r, "size", 0, UINT64_C(1) << 40, &plan->compact_bytes);
	case OPT_REOPEN:
		return take_number(
		    r, "number of operations", 1, UINT64_MAX, &plan->reopen);
	case OPT_KEYS:
		return take_number(
		    r, "number of keys", 4, SCHEME_COUNT_MAX, &r->keys);
	case OPT_VALUE_SIZE:
		status = take_size(r, "value", 0, FILLER_MAX, &size);
		if (status == CLI_DONE)
			plan->scheme.filler_max = (uint32_t)size;
		return status;
	case OPT_SEGMENT_SIZE:
		return take_size(r, "segment", KVLOG_SEGMENT_SIZE_MIN,
		    KVLOG_SEGMENT_SIZE_MAX, &plan->options.segment_size);
	case OPT_DURABILITY:
		return take_durability(r);
	case OPT_INDEX:
		return take_index(r);
	case OPT_TIMEOUT:
		return take_time(r, &plan->options.timeout_ms);
	case OPT_STUCK:
		return take_time_ns(r, &plan->stuck_ns);
	case OPT_SEED:
		return take_number(
		    r, "seed", 0, UINT64_MAX, &plan->scheme.seed);
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

/* What follows from the options together. */
static void
complete(struct request *r)
{
	struct plan *plan = &r->plan;
	struct scheme *scheme = &plan->scheme;

	plan->store = r->cli.store;
	if (!r->ops_given)
		plan->ops = plan->duration_ns != 0 ? 0 : 10000;
	if (plan->stuck_ns == 0)
		plan->stuck_ns =
		    plan->options.timeout_ms * NS_PER_MS + 10 * NS_PER_S;
	scheme->counters = COUNTERS;
	scheme->owners = plan->writers * plan->threads;
	/* A quarter of the keys in pairs: an eighth of as many cells. */
	scheme->pairs = (uint32_t)(r->keys + 7) / 8;
	scheme->singles = (uint32_t)r->keys - 2 * scheme->pairs;
}

/* True if there is work to do; else *ret_status is the end. */
static bool
parse(struct request *r, int argc, char **argv, enum cli_exit *ret_status)
{
	int value;

	opterr = 0;
	while ((value = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		*ret_status = CLI_DONE;
		if (value == 'h') {
			printf("%s%s", usage_text, help_text);
			return false;
		}
		if (value == OPT_VERSION) {
			printf("kvlog-stress %s\n", kvlog_version());
			return false;
		}
		*ret_status = take_option(r, value, argv);
		if (*ret_status != CLI_DONE)
			return false;
	}
	*ret_status = cli_take_store(&r->cli, argc, argv);
	if (*ret_status != CLI_DONE)
		return false;
	complete(r);
	return true;
}

/* The work */

/* A store of our own: what another one holds, nobody here could judge. */
static enum cli_exit
create_store(struct request *r)
{
	struct kvlog_options how = r->plan.options;
	struct kvlog *db;
	enum kvlog_status st;

	how.flags =
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE | KVLOG_OPEN_NOTHREAD;
	st = kvlog_open(r->cli.store, &how, &db, &r->cli.error);
	if (st == KVLOG_OK)
		st = kvlog_close(db, &r->cli.error);
	return st == KVLOG_OK ? CLI_DONE : cli_fail_open(&r->cli, st);
}

static enum cli_exit
answer(struct request *r, struct board *board, const struct outcome *outcome)
{
	bool passed = report_passed(board, outcome);

	if (passed || atomic_load(&board->verdicts.count) > 0) {
		if (!r->cli.quiet && r->cli.json)
			report_json(board, outcome);
		else if (!r->cli.quiet)
			report_text(board, outcome);
		return passed ? CLI_DONE : CLI_DAMAGE;
	}
	return cli_fail(&r->cli, (enum cli_exit)atomic_load(&board->failure),
	    "%s",
	    atomic_load(&board->failure_ready) ? board->failure_text
					       : "a process failed");
}

static enum cli_exit
stress(struct request *r)
{
	struct outcome outcome = {.verified = false};
	struct board *board = board_create(&r->plan);
	enum cli_exit status;

	if (board == NULL)
		return cli_fail(&r->cli, CLI_FAILED,
		    "out of memory for what the processes share");
	sigbus_install(r->cli.store);
	status = create_store(r);
	if (status != CLI_DONE)
		return status;
	cli_catch_signals(catch_signal);
	run(board, &outcome);
	return answer(r, board, &outcome);
}

int
main(int argc, char **argv)
{
	struct request r = {
	    .cli = {.program = "kvlog-stress", .store = ""},
	    .plan = {.writers = 4,
		.readers = 8,
		.threads = 1,
		.compact_bytes = UINT64_C(64) << 20,
		.options = KVLOG_OPTIONS_INIT},
	    .keys = 64,
	};
	enum cli_exit status;

	cli_begin();
	r.plan.options.durability = KVLOG_DURABILITY_INTERVAL;
	r.plan.options.segment_size = UINT64_C(1) << 20;
	r.plan.scheme.filler_max = 512;
	r.plan.scheme.seed =
	    mix(progress_clock() ^ (uint64_t)getpid() << 40) >> 32;
	if (parse(&r, argc, argv, &status))
		status = stress(&r);
	status = cli_finish(&r.cli, status);
	if (run_caught != 0) {
		/* End as if the signal had not been caught. */
		(void)signal(run_caught, SIG_DFL);
		(void)raise(run_caught);
	}
	return (int)status;
}
