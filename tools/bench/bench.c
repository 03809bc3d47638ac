/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - kvlog-bench: kvlog and its peers on the same work, in one run.
 *
 * A run is a number of rounds; in each, every engine in turn, beginning with
 * another one each time, does all benchmarks in a process and a directory of
 * its own, which are gone before the next one starts.  So the engines meet
 * the same machine within seconds of each other, none inherits memory or
 * dirty pages of another, and peak memory is its own.
 *
 *     program ----- fork ---- limits of the machine  \
 *        |   \----- fork ---- engine A: all benchmarks } round 1
 *        |    \---- fork ---- engine B: all benchmarks }
 *        |  ...
 *        |\----- fork ---- crash test of kvlog
 *        +-- report, from memory that all of them share
 *
 * The program itself opens no store; it waits, cleans up and reports.
 */
#include "config.h"

#include "bench.h"
#include "crash.h"
#include "crowd.h"
#include "plots.h"
#include "session.h"
#include "summary.h"
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <kvlog.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What one run needs; directories are removed at the end. */
struct bench {
	struct options options;
	struct machine machine;
	struct limits *limits;      /* [round], shared with the processes */
	struct measure *measures;   /* see results_at(), shared */
	struct crash_result *crash; /* shared */
	int64_t started;
	char work_dir[4096]; /* all that we write is below it */
	char store_dir[4096 + 16];
};

#define CRASH_KILLS 10u

/* Jobs behind those of the engines. */
enum { JOB_LIMITS, JOB_CRASH };

static volatile sig_atomic_t stop_signal; /* 0: none came */
static volatile pid_t child_pid;          /* 0: none runs */

static const char usage_text[] =
    "usage: kvlog-bench [--engines=LIST] [--benchmarks=LIST] [--num=N,...]\n"
    "                   [--reads=N] [--sync-num=N] [--oneshot-num=N]\n"
    "                   [--large-num=N] [--large-size=N] [--churn=N]\n"
    "                   [--threads=N] [--readers=N] [--writers=N] "
    "[--key-size=N]\n"
    "                   [--value-size=SIZES] [--compressible=PERCENT]\n"
    "                   [--distribution=uniform|zipfian] [--theta=NUMBER]\n"
    "                   [--compacted] [--seconds=N] [--rounds=N] "
    "[--seed=N] [--dir=DIR]\n"
    "                   [--ballast=MIB] [--memory=MIB]\n"
    "                   [--json | --csv | --markdown] [--report=DIR]\n"
    "       kvlog-bench --help | --version\n";

static void
print_help(void)
{
	const struct workload *workload;
	size_t i;

	printf("%s\n", usage_text);
	printf("Compare kvlog with other embedded stores on this machine.\n\n"
	       "  --engines=LIST     default: kvlog and peers in the first "
	       "way of each\n"
	       "  --benchmarks=LIST  default: all but space, in the order "
	       "below\n"
	       "  --num=N,...        records in a store; default 1000000; "
	       "k and M are understood;\n"
	       "                     of a list, all benchmarks with each\n"
	       "  --reads=N          operations of read benchmarks; default: "
	       "as --num\n"
	       "  --sync-num=N       operations of fillsync; default 2000\n"
	       "  --oneshot-num=N    processes of a one-shot benchmark; "
	       "default 300\n"
	       "  --large-num=N      records of the large benchmarks; default "
	       "256\n"
	       "  --large-size=N     bytes in each of their values; default "
	       "1048576\n"
	       "  --churn=N          how often churn puts all keys; default "
	       "20\n"
	       "  --threads=N        threads of benchmarks that have some; "
	       "default 2\n"
	       "  --readers=N        reading processes of readwrite, default "
	       "2, and readmemory, default 4\n"
	       "  --writers=N        writing processes of readwrite; default "
	       "1\n"
	       "  --key-size=N       bytes in a key; default 16\n"
	       "  --value-size=SIZES bytes in a value: N, MIN-MAX, or "
	       "N:SHARE,N:SHARE and so on;\n"
	       "                     default 100\n"
	       "  --compressible=PERCENT\n"
	       "                     of each value; default 50\n"
	       "  --distribution=uniform|zipfian\n"
	       "                     of the keys that are read; default "
	       "uniform\n"
	       "  --theta=NUMBER     of zipfian: above 0, below 5; default "
	       "0.99\n"
	       "  --compacted        have the store put in order before "
	       "readseq, prefixscan and\n"
	       "                     scanwrite\n"
	       "  --seconds=N        end a benchmark after so many; default: "
	       "never\n"
	       "  --rounds=N         medians are taken over them; default 3\n"
	       "  --seed=N           of keys, values and orders; default 1\n"
	       "  --dir=DIR          where stores are made, each in a new "
	       "directory that is removed;\n"
	       "                     default: $TMPDIR or /tmp\n"
	       "  --ballast=MIB      lock so much memory away during the run\n"
	       "  --memory=MIB       limit of the control group that this runs "
	       "in while it\n"
	       "                     measures; stores are loaded without\n"
	       "  --json, --csv      all figures, for programs\n"
	       "  --markdown         all figures, as a document\n"
	       "  --report=DIR       write a page with plots into DIR as well; "
	       "needs gnuplot\n\n"
	       "Benchmarks:\n");
	for (workload = workload_table; workload->name != NULL; workload++)
		printf("  %-15s %s\n", workload->name, workload->text);
	printf("\nlarge, oneshot, threads, processes and space (from churn on) "
	       "stand for those of that kind.\n");
	printf("\nEngines:\n");
	for (i = 0; engine_table[i] != NULL; i++)
		printf("  %-14s %s\n", engine_table[i]->name,
		    engine_table[i]->tuning);
}

static bool
usage_error(const char *what, const char *text)
{
	fprintf(stderr, "kvlog-bench: %s: %s\n%s", what, text, usage_text);
	return false;
}

/* A whole number, with k or M for thousands or millions. */
static bool
parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
    uint64_t *ret_number)
{
	uint64_t number, unit = 1;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (*end == 'k' || *end == 'K')
		unit = 1000;
	else if (*end == 'm' || *end == 'M')
		unit = 1000000;
	if (unit > 1)
		end++;
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' ||
	    number > max / unit || number * unit < min) {
		fprintf(stderr,
		    "kvlog-bench: --%s: '%s' is not a number from %" PRIu64
		    " to %" PRIu64 "\n%s",
		    option, text, min, max, usage_text);
		return false;
	}
	*ret_number = number * unit;
	return true;
}

static bool
parse_sizes(struct options *options, const char *option, char *list)
{
	char *text, *rest;

	options->size_count = 0;
	for (text = strtok_r(list, ",", &rest); text != NULL;
	     text = strtok_r(NULL, ",", &rest)) {
		if (options->size_count == BENCH_MAX_SIZES)
			return usage_error("too many sizes", text);
		if (!parse_number(option, text, 1, UINT64_C(1) << 40,
			&options->sizes[options->size_count++]))
			return false;
	}
	return options->size_count > 0 ||
	       usage_error("--num", "the list is empty");
}

static bool
parse_engines(struct options *options, char *list)
{
	const struct engine *engine;
	char *name, *rest;

	options->engine_count = 0;
	for (name = strtok_r(list, ",", &rest); name != NULL;
	     name = strtok_r(NULL, ",", &rest)) {
		engine = engine_find(name);
		if (engine == NULL)
			return usage_error(name, engine_lack(name));
		if (options->engine_count == BENCH_MAX_ENGINES)
			return usage_error("too many engines", name);
		options->engines[options->engine_count++] = engine;
	}
	return options->engine_count > 0 ||
	       usage_error("--engines", "the list is empty");
}

static bool
parse_benchmarks(struct options *options, char *list)
{
	const struct workload *workload;
	char *name, *rest;
	bool found;

	options->benchmark_count = 0;
	for (name = strtok_r(list, ",", &rest); name != NULL;
	     name = strtok_r(NULL, ",", &rest)) {
		found = false;
		for (workload = workload_table; workload->name; workload++) {
			if (!workload_is(workload, name))
				continue;
			found = true;
			if (options->benchmark_count == BENCH_MAX_BENCHMARKS)
				return usage_error("too many benchmarks", name);
			options->benchmarks[options->benchmark_count++] =
			    workload;
		}
		if (!found)
			return usage_error("no such benchmark", name);
	}
	return options->benchmark_count > 0 ||
	       usage_error("--benchmarks", "the list is empty");
}

static void
options_init(struct options *options)
{
	const char *tmp = getenv("TMPDIR");
	size_t i;

	memset(options, 0, sizeof *options);
	for (i = 0; engine_table[i] != NULL; i++) {
		if (engine_table[i]->by_default)
			options->engines[options->engine_count++] =
			    engine_table[i];
	}
	for (i = 0; workload_table[i].name != NULL; i++) {
		if (!workload_table[i].by_name)
			options->benchmarks[options->benchmark_count++] =
			    &workload_table[i];
	}
	options->sizes[0] = 1000000;
	options->size_count = 1;
	options->large_num = 256;
	options->large_len = 1048576;
	options->churn = 20;
	options->compressible = 50;
	options->theta = 0.99;
	options->sync_num = 2000;
	options->oneshot_num = 300;
	options->threads = 2;
	options->writers = 1;
	options->seed = 1;
	options->key_len = 16;
	lengths_fixed(&options->lengths, 100);
	options->value_size = "100";
	options->rounds = 3;
	options->dir = tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp";
}

void
options_set_size(struct options *options, size_t size)
{
	options->num = options->sizes[size];
	options->reads =
	    options->reads_wanted > 0 ? options->reads_wanted : options->num;
}

/* Numbers of keys go up to six times the number of records. */
static bool
options_check(struct options *options)
{
	uint64_t most = options->sync_num;
	size_t i;

	options_set_size(options, 0);
	if (most < options->large_num)
		most = options->large_num;
	for (i = 0; i < options->size_count; i++) {
		if (most < options->sizes[i])
			most = options->sizes[i];
	}
	if (options->key_len < 16 && 6 * most > UINT64_C(1)
						    << (4 * options->key_len))
		return usage_error("--key-size",
		    "so many records do not get keys of their own");
	return true;
}

enum option_code {
	OPT_ENGINES = 256,
	OPT_BENCHMARKS,
	OPT_NUM,
	OPT_READS,
	OPT_SYNC_NUM,
	OPT_ONESHOT_NUM,
	OPT_LARGE_NUM,
	OPT_LARGE_SIZE,
	OPT_CHURN,
	OPT_THREADS,
	OPT_READERS,
	OPT_WRITERS,
	OPT_KEY_SIZE,
	OPT_VALUE_SIZE,
	OPT_COMPRESSIBLE,
	OPT_DISTRIBUTION,
	OPT_THETA,
	OPT_COMPACTED,
	OPT_SECONDS,
	OPT_ROUNDS,
	OPT_SEED,
	OPT_DIR,
	OPT_BALLAST,
	OPT_MEMORY,
	OPT_JSON,
	OPT_CSV,
	OPT_MARKDOWN,
	OPT_REPORT,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
    {"engines", required_argument, NULL, OPT_ENGINES},
    {"benchmarks", required_argument, NULL, OPT_BENCHMARKS},
    {"num", required_argument, NULL, OPT_NUM},
    {"reads", required_argument, NULL, OPT_READS},
    {"sync-num", required_argument, NULL, OPT_SYNC_NUM},
    {"oneshot-num", required_argument, NULL, OPT_ONESHOT_NUM},
    {"large-num", required_argument, NULL, OPT_LARGE_NUM},
    {"large-size", required_argument, NULL, OPT_LARGE_SIZE},
    {"churn", required_argument, NULL, OPT_CHURN},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"readers", required_argument, NULL, OPT_READERS},
    {"writers", required_argument, NULL, OPT_WRITERS},
    {"key-size", required_argument, NULL, OPT_KEY_SIZE},
    {"value-size", required_argument, NULL, OPT_VALUE_SIZE},
    {"compressible", required_argument, NULL, OPT_COMPRESSIBLE},
    {"distribution", required_argument, NULL, OPT_DISTRIBUTION},
    {"theta", required_argument, NULL, OPT_THETA},
    {"compacted", no_argument, NULL, OPT_COMPACTED},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"dir", required_argument, NULL, OPT_DIR},
    {"ballast", required_argument, NULL, OPT_BALLAST},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"json", no_argument, NULL, OPT_JSON},
    {"csv", no_argument, NULL, OPT_CSV},
    {"markdown", no_argument, NULL, OPT_MARKDOWN},
    {"report", required_argument, NULL, OPT_REPORT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool
parse_distribution(struct options *options, const char *name)
{
	options->zipfian = strcmp(name, "zipfian") == 0;
	return options->zipfian || strcmp(name, "uniform") == 0 ||
	       usage_error("--distribution: uniform or zipfian, not", name);
}

static bool
parse_theta(struct options *options, const char *text)
{
	char *end;

	options->theta = strtod(text, &end);
	return (end != text && *end == '\0' && options->theta > 0 &&
		   options->theta < 5) ||
	       usage_error("--theta: above 0 and below 5, not", text);
}

static bool
parse_value_size(struct options *options, const char *text)
{
	options->value_size = text;
	return lengths_parse(&options->lengths, text, INT32_MAX) ||
	       usage_error("--value-size: not N, MIN-MAX or N:SHARE,...", text);
}

/* One option; false after a message. */
static bool
parse_option(struct options *options, int code, const char *name, char *arg)
{
	uint64_t n;

	switch (code) {
	case OPT_ENGINES:
		return parse_engines(options, arg);
	case OPT_BENCHMARKS:
		return parse_benchmarks(options, arg);
	case OPT_NUM:
		return parse_sizes(options, name, arg);
	case OPT_READS:
		return parse_number(
		    name, arg, 1, UINT64_C(1) << 40, &options->reads_wanted);
	case OPT_SYNC_NUM:
		return parse_number(
		    name, arg, 1, UINT64_C(1) << 40, &options->sync_num);
	case OPT_ONESHOT_NUM:
		return parse_number(
		    name, arg, 1, UINT64_C(1000000), &options->oneshot_num);
	case OPT_LARGE_NUM:
		return parse_number(
		    name, arg, 1, UINT64_C(1000000), &options->large_num);
	case OPT_LARGE_SIZE:
		return parse_number(
		    name, arg, 1, UINT64_C(1) << 28, &options->large_len);
	case OPT_CHURN:
		return parse_number(name, arg, 1, 1000, &options->churn);
	case OPT_THREADS:
		return parse_number(
		    name, arg, 1, BENCH_MAX_THREADS, &options->threads);
	case OPT_READERS:
		return parse_number(name, arg, 1, CROWD_MAX, &options->readers);
	case OPT_WRITERS:
		return parse_number(name, arg, 0, CROWD_MAX, &options->writers);
	case OPT_SEED:
		return parse_number(name, arg, 0, UINT64_MAX, &options->seed);
	case OPT_KEY_SIZE:
		if (!parse_number(name, arg, 1, RECORDS_KEY_LEN_MAX, &n))
			return false;
		options->key_len = (size_t)n;
		return true;
	case OPT_VALUE_SIZE:
		return parse_value_size(options, arg);
	case OPT_COMPRESSIBLE:
		if (!parse_number(name, arg, 0, 100, &n))
			return false;
		options->compressible = (unsigned)n;
		return true;
	case OPT_DISTRIBUTION:
		return parse_distribution(options, arg);
	case OPT_THETA:
		return parse_theta(options, arg);
	case OPT_COMPACTED:
		options->compacted = true;
		return true;
	case OPT_SECONDS:
		return parse_number(
		    name, arg, 1, UINT64_C(1000000), &options->seconds);
	case OPT_ROUNDS:
		if (!parse_number(name, arg, 1, BENCH_MAX_ROUNDS, &n))
			return false;
		options->rounds = (unsigned)n;
		return true;
	case OPT_DIR:
		options->dir = arg;
		return true;
	case OPT_BALLAST:
		if (!parse_number(name, arg, 1, UINT64_C(1) << 30, &n))
			return false;
		options->ballast = n << 20;
		return true;
	case OPT_MEMORY:
		if (!parse_number(name, arg, 1, UINT64_C(1) << 30, &n))
			return false;
		options->memory = n << 20;
		return true;
	case OPT_JSON:
		options->format = FORMAT_JSON;
		return true;
	case OPT_CSV:
		options->format = FORMAT_CSV;
		return true;
	case OPT_MARKDOWN:
		options->format = FORMAT_MARKDOWN;
		return true;
	case OPT_REPORT:
		options->report_dir = arg;
		return true;
	default:
		fputs(usage_text, stderr); /* getopt has said why */
		return false;
	}
}

/* For the report; lists are cut up when they are read. */
static void
note_command(struct options *options, int argc, char **argv)
{
	size_t at = 0, size = sizeof options->command;

	at += (size_t)snprintf(options->command, size, "kvlog-bench");
	for (int i = 1; i < argc && at < size; i++)
		at += (size_t)snprintf(
		    options->command + at, size - at, " %s", argv[i]);
}

/*
 * Returns BENCH_EXIT_RUNNING to go on, or the status to exit with.
 */
static enum bench_exit
parse_options(struct options *options, int argc, char **argv)
{
	int code, which = 0;

	options_init(options);
	note_command(options, argc, argv);
	for (;;) {
		code = getopt_long(argc, argv, "", long_options, &which);
		if (code == -1)
			break;
		if (code == OPT_HELP) {
			print_help();
			return BENCH_EXIT_DONE;
		}
		if (code == OPT_VERSION) {
			printf("kvlog-bench (kvlog) %s\n", kvlog_version());
			return BENCH_EXIT_DONE;
		}
		if (!parse_option(
			options, code, long_options[which].name, optarg))
			return BENCH_EXIT_USAGE;
	}
	if (optind < argc) {
		usage_error("unexpected argument", argv[optind]);
		return BENCH_EXIT_USAGE;
	}
	if (!options_check(options) ||
	    (options->report_dir != NULL && !plots_check(options->report_dir)))
		return BENCH_EXIT_USAGE;
	return BENCH_EXIT_RUNNING;
}

/* The process at work has nothing to save: what it wrote is removed here. */
static void
on_signal(int number)
{
	stop_signal = number;
	if (child_pid > 0)
		kill(child_pid, SIGKILL);
}

static void
signal_set(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGHUP);
}

static void
signals_handle(void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static void *
shared_create(size_t len)
{
	void *mem;

	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return mem == MAP_FAILED ? NULL : mem;
}

/* One engine through all benchmarks, in a process of its own. */
static enum bench_exit
run_engine(struct bench *bench, unsigned round, size_t size, size_t engine)
{
	const struct options *options = &bench->options;
	struct session *session;
	enum bench_exit status = BENCH_EXIT_DONE, end_status;
	size_t b;

	session =
	    session_create(options->engines[engine], options, bench->store_dir);
	if (session == NULL) {
		fprintf(stderr, "kvlog-bench: out of memory\n");
		return BENCH_EXIT_FAILED;
	}
	for (b = 0; b < options->benchmark_count; b++) {
		status = session_run(session, options->benchmarks[b],
		    &bench->measures[results_at(
			options, size, round, engine, b)]);
		if (status != BENCH_EXIT_DONE)
			break;
	}
	end_status = session_end(session);
	return status != BENCH_EXIT_DONE ? status : end_status;
}

static enum bench_exit
run_limits(struct bench *bench, unsigned round)
{
	if (machine_measure(
		bench->work_dir, bench->options.num, &bench->limits[round]))
		return BENCH_EXIT_DONE;
	perror("kvlog-bench: measuring the machine");
	return BENCH_EXIT_FAILED;
}

static const struct engine *
own_engine(const struct options *options)
{
	for (size_t e = 0; e < options->engine_count; e++) {
		if (options->engines[e]->kind == ENGINE_OURS)
			return options->engines[e];
	}
	return NULL;
}

static enum bench_exit
run_crash_test(struct bench *bench)
{
	const struct engine *engine = own_engine(&bench->options);

	crash_test(engine, bench->store_dir, CRASH_KILLS, bench->options.seed,
	    bench->crash);
	if (bench->crash->outcome != CRASH_ERROR)
		return BENCH_EXIT_DONE;
	fprintf(stderr, "kvlog-bench: %s: crash test: %s\n", engine->name,
	    bench->crash->text);
	return BENCH_EXIT_FAILED;
}

/* What the process just forked does: an engine's work, or what is behind. */
static enum bench_exit
run_job(struct bench *bench, unsigned round, size_t size, size_t job)
{
	size_t engines = bench->options.engine_count;

	options_set_size(&bench->options, size);
	if (job == engines + JOB_LIMITS)
		return run_limits(bench, round);
	if (job == engines + JOB_CRASH)
		return run_crash_test(bench);
	return run_engine(bench, round, size, job);
}

static enum bench_exit
wait_job(const char *name)
{
	int status;

	while (waitpid(child_pid, &status, 0) == -1) {
		if (errno != EINTR) {
			perror("kvlog-bench: waitpid");
			return BENCH_EXIT_FAILED;
		}
	}
	child_pid = 0;
	/* Of a killed one, processes may be left that are about to end too. */
	while (waitpid(-1, NULL, 0) > 0)
		;
	if (stop_signal != 0)
		return BENCH_EXIT_FAILED;
	if (WIFEXITED(status))
		return (enum bench_exit)WEXITSTATUS(status);
	fprintf(stderr, "kvlog-bench: %s: killed by signal %d\n", name,
	    WTERMSIG(status));
	return BENCH_EXIT_FAILED;
}

/*
 * Signals are held back around the fork: one that comes then must find
 * child_pid set here, or the handler gone there.
 */
static enum bench_exit
fork_job(struct bench *bench, unsigned round, size_t size, size_t job,
    const char *name)
{
	sigset_t set, old;
	enum bench_exit status;
	pid_t pid;

	signal_set(&set);
	sigprocmask(SIG_BLOCK, &set, &old);
	fflush(NULL);
	pid = fork();
	if (pid == -1) {
		perror("kvlog-bench: fork");
		sigprocmask(SIG_SETMASK, &old, NULL);
		return BENCH_EXIT_FAILED;
	}
	if (pid == 0) {
		signals_handle(SIG_DFL);
#ifdef __linux__
		prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
		sigprocmask(SIG_SETMASK, &old, NULL);
		status = run_job(bench, round, size, job);
		fflush(NULL);
		_exit((int)status);
	}
	child_pid = pid;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return wait_job(name);
}

/* Leave nothing behind that the kernel would do at the next one's expense. */
static void
settle(struct bench *bench)
{
#ifdef __linux__
	int fd;
#endif

	machine_remove(bench->store_dir);
#ifdef __linux__
	fd = open(bench->work_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd != -1) {
		syncfs(fd);
		close(fd);
		return;
	}
#endif
	sync();
}

static enum bench_exit
run_round(struct bench *bench, unsigned round, size_t size)
{
	const struct options *options = &bench->options;
	size_t i, job, job_count = options->engine_count + 1;
	enum bench_exit status;
	const char *name;
	bool talk = isatty(STDERR_FILENO) != 0;

	for (i = 0; i < job_count; i++) {
		job = (i + round) % job_count;
		name = job == options->engine_count + JOB_LIMITS
			   ? "machine"
			   : options->engines[job]->name;
		/* Limits are those of the largest store. */
		if (job == options->engine_count + JOB_LIMITS &&
		    size + 1 < options->size_count)
			continue;
		if (talk)
			fprintf(stderr,
			    "\r\033[Kround %u of %u, %" PRIu64 " records: %s",
			    round + 1, options->rounds, options->sizes[size],
			    name);
		status = fork_job(bench, round, size, job, name);
		if (talk)
			fprintf(stderr, "\r\033[K");
		if (status != BENCH_EXIT_DONE)
			return status;
		settle(bench);
	}
	return BENCH_EXIT_DONE;
}

static enum bench_exit
print_report(struct bench *bench)
{
	const struct results results = {&bench->options, &bench->machine,
	    bench->limits, bench->measures, bench->crash, bench->started};
	struct report *report = report_create(&results);
	bool ok = true;

	if (report == NULL) {
		fprintf(stderr, "kvlog-bench: out of memory\n");
		return BENCH_EXIT_FAILED;
	}
	switch (bench->options.format) {
	case FORMAT_TABLE:
		report_table(report);
		break;
	case FORMAT_JSON:
		report_json(report);
		break;
	case FORMAT_CSV:
		report_csv(report);
		break;
	case FORMAT_MARKDOWN:
		report_markdown(report);
		break;
	}
	if (fflush(stdout) != 0) {
		perror("kvlog-bench: standard output");
		ok = false;
	}
	if (bench->options.report_dir != NULL &&
	    !plots_write(report, bench->options.report_dir))
		ok = false;
	report_destroy(report);
	return ok ? BENCH_EXIT_DONE : BENCH_EXIT_FAILED;
}

static enum bench_exit
run_all(struct bench *bench)
{
	const struct options *options = &bench->options;
	enum bench_exit status;
	unsigned round;
	size_t size;

	for (round = 0; round < options->rounds; round++) {
		for (size = 0; size < options->size_count; size++) {
			status = run_round(bench, round, size);
			if (status != BENCH_EXIT_DONE)
				return status;
			if (stop_signal != 0)
				return BENCH_EXIT_FAILED;
		}
	}
	if (own_engine(options) != NULL) {
		status = fork_job(bench, 0, 0,
		    options->engine_count + JOB_CRASH, "crash test");
		if (status != BENCH_EXIT_DONE)
			return status;
	}
	status = print_report(bench);
	return status == BENCH_EXIT_DONE &&
		       bench->crash->outcome == CRASH_FAILED
		   ? BENCH_EXIT_WRONG
		   : status;
}

/*
 * All files go below a new directory, so that removing it removes nothing
 * that is not ours.
 */
static bool
bench_make_dirs(struct bench *bench)
{
	const char *dir = bench->options.dir;
	int len;

	len = snprintf(bench->work_dir, sizeof bench->work_dir,
	    "%s/kvlog-bench.XXXXXX", dir);
	if (len < 0 || (size_t)len > sizeof bench->work_dir / 2) {
		fprintf(stderr, "kvlog-bench: %s: the name is too long\n", dir);
		bench->work_dir[0] = '\0';
		return false;
	}
	if (mkdtemp(bench->work_dir) == NULL) {
		fprintf(stderr, "kvlog-bench: %s: %s\n", dir, strerror(errno));
		bench->work_dir[0] = '\0';
		return false;
	}
	snprintf(bench->store_dir, sizeof bench->store_dir, "%s/store",
	    bench->work_dir);
	return true;
}

static void
bench_remove_dirs(struct bench *bench)
{
	if (bench->work_dir[0] != '\0' && !machine_remove(bench->work_dir))
		fprintf(stderr, "kvlog-bench: %s: cannot be removed\n",
		    bench->work_dir);
}

/* Memory that nobody can use while we live; the system frees it after us. */
static bool
bench_lock_ballast(struct bench *bench)
{
	uint64_t len = bench->options.ballast;
	void *mem;

	if (len == 0)
		return true;
	mem = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem != MAP_FAILED && mlock(mem, (size_t)len) == 0)
		return true;
	fprintf(stderr,
	    "kvlog-bench: --ballast: %" PRIu64 " MiB cannot be locked: %s\n",
	    len >> 20, strerror(errno));
	return false;
}

/* Whether --memory can be had, which is used for each benchmark then. */
static bool
bench_check_memory(const struct bench *bench)
{
	uint64_t memory = bench->options.memory;

	if (memory == 0 || (group_limit(memory) && group_limit(0)))
		return true;
	fprintf(stderr,
	    "kvlog-bench: --memory: the control group's limit cannot be set "
	    "(%s): start it as root in a group of its own\n",
	    strerror(errno));
	return false;
}

/* Whether there is room for the largest store, and versions of its values. */
static bool
bench_check_room(struct bench *bench)
{
	const struct options *options = &bench->options;
	uint64_t num = options->sync_num, need, times = 2;
	uint64_t room = machine_room(bench->work_dir);

	for (size_t i = 0; i < options->size_count; i++) {
		if (options->sizes[i] > num)
			num = options->sizes[i];
	}
	/* Of an engine that gives nothing back. */
	for (size_t b = 0; b < options->benchmark_count; b++) {
		if (options->benchmarks[b]->op == WORKLOAD_CHURN)
			times = options->churn + 2;
	}
	need = bench_footprint(num, options->key_len, options->lengths.mean) *
	       times;
	if (need <= room)
		return true;
	fprintf(stderr,
	    "kvlog-bench: %s: %" PRIu64 " records need about %" PRIu64
	    " MiB, and %" PRIu64
	    " MiB are free: choose another --dir or a smaller --num\n",
	    options->dir, num, need >> 20, room >> 20);
	return false;
}

static bool
bench_share_memory(struct bench *bench)
{
	const struct options *options = &bench->options;
	size_t cells;

	cells = options->size_count * options->rounds * options->engine_count *
		options->benchmark_count;
	bench->limits = shared_create(options->rounds * sizeof *bench->limits);
	bench->measures = shared_create(cells * sizeof *bench->measures);
	bench->crash = shared_create(sizeof *bench->crash);
	if (bench->limits == NULL || bench->measures == NULL ||
	    bench->crash == NULL) {
		perror("kvlog-bench: mmap");
		return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	static struct bench bench;
	enum bench_exit status;

	status = parse_options(&bench.options, argc, argv);
	if (status != BENCH_EXIT_RUNNING)
		return (int)status;

	bench.started = (int64_t)time(NULL);
	clock_init();
#ifdef __linux__
	/* Who outlives the process that started it is waited for here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
	signals_handle(on_signal);
	status = BENCH_EXIT_USAGE;
	if (bench_make_dirs(&bench)) {
		if (bench_check_room(&bench) && bench_check_memory(&bench) &&
		    bench_lock_ballast(&bench)) {
			machine_describe(bench.work_dir, &bench.machine);
			status = bench_share_memory(&bench) ? run_all(&bench)
							    : BENCH_EXIT_FAILED;
		}
	}
	if (bench.options.memory > 0)
		(void)group_limit(0);
	bench_remove_dirs(&bench);

	if (stop_signal != 0) {
		signals_handle(SIG_DFL);
		raise(stop_signal);
	}
	return (int)status;
}
