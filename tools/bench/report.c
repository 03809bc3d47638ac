/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - what a run has measured, as tables for people or as JSON.
 *
 * Every figure is the median of the rounds, latencies excepted: those of all
 * rounds are counted together.  A ratio is that of an engine's median to the
 * median of the best peer other than itself.
 */
#include "config.h"

#include "bench.h"
#include "workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of a table. */
struct summary {
	double ops_per_s;
	double low, high; /* of ops_per_s, over the rounds */
	double cpu_s;
	double disk_open, disk_closed, rss_peak, rss_anon, close_s;
	double ratio; /* 0: no peer to compare with */
	double command_ns, command_ratio, process_ns; /* 0: none */
	double writer_ops_per_s, writer_ratio;        /* 0: none */
	double private_bytes, dirty_bytes;            /* of a reader */
	double base_ratio; /* to the engine's base; 0: none, or not run */
	bool done;
	uint64_t longest_ns;
	struct histogram latency;
};

size_t
results_at(const struct options *options, unsigned round, size_t engine,
    size_t benchmark)
{
	return (round * options->engine_count + engine) *
		   options->benchmark_count +
	       benchmark;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare_doubles);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static double
measure_ops_per_s(const struct measure *m)
{
	return m->ns == 0 ? 0 : (double)m->ops * 1e9 / (double)m->ns;
}

static double
measure_cpu_s(const struct measure *m)
{
	return (double)m->cpu_us / 1e6;
}

static double
measure_disk_open(const struct measure *m)
{
	return (double)m->disk_open;
}

static double
measure_disk_closed(const struct measure *m)
{
	return (double)m->disk_closed;
}

static double
measure_rss_peak(const struct measure *m)
{
	return (double)m->rss_peak;
}

static double
measure_rss_anon(const struct measure *m)
{
	return (double)m->rss_anon;
}

static double
measure_close_s(const struct measure *m)
{
	return (double)m->close_ns / 1e9;
}

static double
measure_command_ns(const struct measure *m)
{
	return (double)m->command_ns;
}

static double
measure_process_ns(const struct measure *m)
{
	return (double)m->process_ns;
}

static double
measure_writer_ops_per_s(const struct measure *m)
{
	return m->writer_ns == 0
		   ? 0
		   : (double)m->writer_ops * 1e9 / (double)m->writer_ns;
}

static double
measure_private(const struct measure *m)
{
	return (double)m->private_bytes;
}

static double
measure_dirty(const struct measure *m)
{
	return (double)m->dirty_bytes;
}

static const struct measure *
measure_of(const struct results *results, unsigned round, size_t engine,
    size_t benchmark)
{
	return &results->measures[results_at(
	    results->options, round, engine, benchmark)];
}

/* The median over the rounds; values is left sorted. */
static double
median_of(const struct results *results, size_t engine, size_t benchmark,
    double (*figure)(const struct measure *), double *values)
{
	unsigned round, rounds = results->options->rounds;

	for (round = 0; round < rounds; round++)
		values[round] =
		    figure(measure_of(results, round, engine, benchmark));
	return median(values, rounds);
}

/*
 * How an engine does beside its base, which ran in the same rounds: the median
 * of the rounds' ratios.
 */
static double
base_ratio(const struct results *results, size_t engine, size_t benchmark)
{
	const struct options *options = results->options;
	const struct engine *base = options->engines[engine]->base;
	double values[BENCH_MAX_ROUNDS];
	unsigned round;
	size_t b = 0;

	while (b < options->engine_count && options->engines[b] != base)
		b++;
	if (base == NULL || b == options->engine_count)
		return 0;
	for (round = 0; round < options->rounds; round++) {
		values[round] =
		    measure_ops_per_s(measure_of(results, round, b, benchmark));
		if (values[round] > 0)
			values[round] = measure_ops_per_s(measure_of(results,
					    round, engine, benchmark)) /
					values[round];
	}
	return median(values, options->rounds);
}

static void
summarise(const struct results *results, size_t engine, size_t benchmark,
    struct summary *summary)
{
	unsigned round, rounds = results->options->rounds;
	double values[BENCH_MAX_ROUNDS];
	const struct measure *m;

	unsigned readers = workload_readers(
	    results->options->benchmarks[benchmark], results->options);

	memset(summary, 0, sizeof *summary);
	summary->done = measure_of(results, 0, engine, benchmark)->done;
	summary->ops_per_s =
	    median_of(results, engine, benchmark, measure_ops_per_s, values);
	summary->low = values[0];
	summary->high = values[rounds - 1];
	summary->cpu_s =
	    median_of(results, engine, benchmark, measure_cpu_s, values);
	summary->disk_open =
	    median_of(results, engine, benchmark, measure_disk_open, values);
	summary->disk_closed =
	    median_of(results, engine, benchmark, measure_disk_closed, values);
	summary->rss_peak =
	    median_of(results, engine, benchmark, measure_rss_peak, values);
	summary->rss_anon =
	    median_of(results, engine, benchmark, measure_rss_anon, values);
	summary->close_s =
	    median_of(results, engine, benchmark, measure_close_s, values);
	summary->command_ns =
	    median_of(results, engine, benchmark, measure_command_ns, values);
	summary->process_ns =
	    median_of(results, engine, benchmark, measure_process_ns, values);
	summary->writer_ops_per_s = median_of(
	    results, engine, benchmark, measure_writer_ops_per_s, values);
	if (readers > 0) {
		summary->private_bytes = median_of(results, engine, benchmark,
					     measure_private, values) /
					 readers;
		summary->dirty_bytes = median_of(results, engine, benchmark,
					   measure_dirty, values) /
				       readers;
	}
	summary->base_ratio = base_ratio(results, engine, benchmark);
	for (round = 0; round < rounds; round++) {
		m = measure_of(results, round, engine, benchmark);
		histogram_merge(&summary->latency, &m->latency);
		if (m->longest_ns > summary->longest_ns)
			summary->longest_ns = m->longest_ns;
	}
}

/* Each engine beside the best peer other than itself. */
static void
compare(const struct options *options, struct summary *summaries)
{
	double best, best_writer;
	size_t e, p;

	for (e = 0; e < options->engine_count; e++) {
		best = best_writer = 0;
		for (p = 0; p < options->engine_count; p++) {
			if (p == e || options->engines[p]->kind != ENGINE_PEER)
				continue;
			if (summaries[p].ops_per_s > best)
				best = summaries[p].ops_per_s;
			if (summaries[p].writer_ops_per_s > best_writer)
				best_writer = summaries[p].writer_ops_per_s;
		}
		if (best > 0 && options->engines[e]->kind != ENGINE_NULL)
			summaries[e].ratio = summaries[e].ops_per_s / best;
		if (best_writer > 0 && options->engines[e]->kind != ENGINE_NULL)
			summaries[e].writer_ratio =
			    summaries[e].writer_ops_per_s / best_writer;
		if (best > 0 && summaries[e].command_ns > 0)
			summaries[e].command_ratio =
			    1e9 / summaries[e].command_ns / best;
	}
}

/* The summaries of one benchmark, one per engine; NULL if out of memory. */
static struct summary *
summarise_benchmark(const struct results *results, size_t benchmark)
{
	const struct options *options = results->options;
	struct summary *summaries;
	size_t e;

	summaries = calloc(options->engine_count, sizeof *summaries);
	if (summaries == NULL)
		return NULL;
	for (e = 0; e < options->engine_count; e++)
		summarise(results, e, benchmark, &summaries[e]);
	compare(options, summaries);
	return summaries;
}

/* Medians of the machine's own limits, in nanoseconds. */
static void
summarise_limits(const struct results *results, struct limits *limits)
{
	double copy[BENCH_MAX_ROUNDS], sync[BENCH_MAX_ROUNDS];
	unsigned round, rounds = results->options->rounds;

	for (round = 0; round < rounds; round++) {
		copy[round] = results->limits[round].copy_ns;
		sync[round] = results->limits[round].sync_ns;
	}
	limits->copy_ns = median(copy, rounds);
	limits->sync_ns = median(sync, rounds);
}

/* A duration in at most seven columns. */
static const char *
duration_text(uint64_t ns, char text[16])
{
	if (ns < 10000)
		snprintf(text, 16, "%" PRIu64 "ns", ns);
	else if (ns < 10000000)
		snprintf(text, 16, "%.1fus", (double)ns / 1e3);
	else
		snprintf(text, 16, "%.1fms", (double)ns / 1e6);
	return text;
}

static const char *
mib_text(double bytes, char text[16])
{
	if (bytes == 0)
		snprintf(text, 16, "-");
	else
		snprintf(text, 16, "%.1f", bytes / 1048576.0);
	return text;
}

/*
 * The share of the time of benchmarks without syncs in which the process did
 * not run: other programs had its core, and rates are too low.
 */
static double
lost_share(const struct results *results)
{
	const struct options *options = results->options;
	double wall_s = 0, lost_s = 0, s;
	const struct measure *m;
	unsigned round;
	size_t e, b;

	for (round = 0; round < options->rounds; round++) {
		for (e = 0; e < options->engine_count; e++) {
			for (b = 0; b < options->benchmark_count; b++) {
				if (options->benchmarks[b]->mode ==
					ENGINE_SYNC ||
				    !workload_loops(options->benchmarks[b]))
					continue;
				m = measure_of(results, round, e, b);
				s = (double)m->ns / 1e9;
				if (options->benchmarks[b]->threads)
					s *= (double)options->threads;
				wall_s += s;
				if (s > measure_cpu_s(m))
					lost_s += s - measure_cpu_s(m);
			}
		}
	}
	return wall_s > 0 ? lost_s / wall_s : 0;
}

static void
print_row(const struct engine *engine, const struct summary *s)
{
	static const double fractions[] = {0.5, 0.99, 0.999};
	char text[16], ratio[16];
	size_t i;

	if (s->ratio > 0)
		snprintf(ratio, sizeof ratio, "%.2f", s->ratio);
	else
		snprintf(ratio, sizeof ratio, "-");
	printf("%-15s%10.0f %8.1f %6s %5.0f%%", engine->name, s->ops_per_s,
	    1e9 / s->ops_per_s, ratio, 100 * (s->high - s->low) / s->ops_per_s);
	for (i = 0; i < sizeof fractions / sizeof fractions[0]; i++)
		printf(" %8s",
		    duration_text(
			histogram_quantile(&s->latency, fractions[i]), text));
	printf(" %8s", duration_text(s->longest_ns, text));
	printf(" %7.2f", s->cpu_s);
	if (engine->kind == ENGINE_NULL) {
		printf("\n");
		return;
	}
	printf(" %8s", mib_text(s->disk_open, text));
	printf(" %8s", mib_text(s->disk_closed, text));
	printf(" %8s", mib_text(s->rss_peak, text));
	printf(" %8s\n", mib_text(s->rss_anon, text));
}

/* A line below an engine's, with a name in brackets. */
static void
print_below(const char *what, double ops_per_s, double ratio)
{
	char name[64];

	snprintf(name, sizeof name, "(%s)", what);
	printf("%-15s", name);
	if (ops_per_s > 0)
		printf("%10.0f %8.1f ", ops_per_s, 1e9 / ops_per_s);
	else
		printf("%20s", "");
	if (ratio > 0)
		printf("%6.2f\n", ratio);
	else
		printf("%6s\n", "-");
}

static void
print_engine(const struct options *options, const struct engine *engine,
    const struct summary *s)
{
	if (!s->done) {
		printf("%-15s         -  left out: another process cannot use "
		       "an open store\n",
		    engine->name);
		return;
	}
	print_row(engine, s);
	if (s->command_ns > 0)
		print_below(
		    engine->command, 1e9 / s->command_ns, s->command_ratio);
	if (s->base_ratio > 0)
		print_below(engine->base->name, 0, s->base_ratio);
	if (s->writer_ops_per_s > 0)
		print_below("writers", s->writer_ops_per_s, s->writer_ratio);
	if (s->private_bytes > 0)
		printf("%-15s%10.2f MiB private, %.2f of it no clean pages of "
		       "files: %.2f and %.2f bytes a key\n",
		    "(a reader)", s->private_bytes / 1048576.0,
		    s->dirty_bytes / 1048576.0,
		    s->private_bytes / (double)options->num,
		    s->dirty_bytes / (double)options->num);
}

/* What a process costs that does nothing, beside all the engines. */
static double
median_process_ns(const struct options *options, const struct summary *s)
{
	double values[BENCH_MAX_ENGINES];
	size_t e;

	for (e = 0; e < options->engine_count; e++)
		values[e] = s[e].process_ns;
	return median(values, options->engine_count);
}

static void
print_limit(const struct workload *workload, const struct limits *limits,
    double process_ns)
{
	double ns = 0;

	if (workload_is_oneshot(workload))
		ns = process_ns;
	else if (workload->mode == ENGINE_SYNC)
		ns = limits->sync_ns;
	else if (workload_writes(workload))
		ns = limits->copy_ns;
	if (ns > 0)
		printf("%-15s%10.0f %8.1f\n", "(machine)", 1e9 / ns, ns);
}

static void
print_head(const struct results *results, const struct limits *limits)
{
	const struct options *options = results->options;
	const struct machine *machine = results->machine;
	size_t e;

	printf("Machine:  %s, %u cores, %.1f GiB, %s, %s\n", machine->cpu,
	    machine->cores, (double)machine->memory / 1073741824.0,
	    machine->kernel, machine->filesystem);
	printf("Limits:   %.1f M/s copying 128-byte records into fresh mapped "
	       "pages (%.1f ns each);\n"
	       "          %.0f/s copying one into written blocks and "
	       "fdatasync (%.1f us each)\n",
	    1e3 / limits->copy_ns, limits->copy_ns, 1e9 / limits->sync_ns,
	    limits->sync_ns / 1e3);
	printf("Records:  %" PRIu64 " of %zu-byte keys and %zu-byte values; "
	       "seed %" PRIu64 "; medians of %u rounds\n",
	    options->num, options->key_len, options->value_len, options->seed,
	    options->rounds);
	for (e = 0; e < options->engine_count; e++)
		printf("%s%s %s: %s\n", e == 0 ? "Engines:  " : "          ",
		    options->engines[e]->name, options->engines[e]->version(),
		    options->engines[e]->tuning);
	if (lost_share(results) > 0.05)
		printf("Caution:  the machine was busy; %.0f%% of the time "
		       "other programs had the core\n",
		    100 * lost_share(results));
	printf("ratio: to the best peer other than itself.  spread: slowest "
	       "to fastest round.\n"
	       "longest: of any 17 operations in a row (fillsync: of any "
	       "one).  disk: allocated\n"
	       "right after the last operation, and after closing.  rss: "
	       "peak, mapped files\n"
	       "included; anon: without files.  null: the loop itself.  Sizes "
	       "in MiB.\n"
	       "oneshot: medians; in brackets the command for users, and a "
	       "process that does\nnothing.  open: the median, divided by the "
	       "keys; p50 is one opening.\n"
	       "(kvlog-unshared): the ratio to it.\n");
}

/* How many do it, and the end of the line. */
static void
print_crowd(const struct options *options, const struct workload *workload)
{
	if (workload->threads)
		printf("; %" PRIu64 " threads", options->threads);
	if (workload_readers(workload, options) > 0)
		printf("; %u readers", workload_readers(workload, options));
	if (workload->op == WORKLOAD_READ_WRITE)
		printf(", %" PRIu64 " writers", options->writers);
	printf("\n");
}

bool
report_table(const struct results *results)
{
	const struct options *options = results->options;
	const struct workload *workload;
	struct summary *summaries;
	struct limits limits;
	size_t b, e;

	summarise_limits(results, &limits);
	print_head(results, &limits);
	for (b = 0; b < options->benchmark_count; b++) {
		workload = options->benchmarks[b];
		summaries = summarise_benchmark(results, b);
		if (summaries == NULL)
			return false;
		printf("\n%s: %" PRIu64 " %s", workload->name,
		    workload_ops(workload, options), workload->text);
		print_crowd(options, workload);
		printf("%-15s%10s %8s %6s %6s %8s %8s %8s %8s %7s %8s %8s %8s "
		       "%8s\n",
		    "engine", "ops/s", "ns/op", "ratio", "spread", "p50", "p99",
		    "p99.9", "longest", "cpu s", "disk", "closed", "rss",
		    "anon");
		for (e = 0; e < options->engine_count; e++) {
			print_engine(
			    options, options->engines[e], &summaries[e]);
		}
		print_limit(
		    workload, &limits, median_process_ns(options, summaries));
		free(summaries);
	}
	return true;
}

/* Texts come from the kernel and libraries: quote what JSON must. */
static void
json_string(const char *text)
{
	const unsigned char *p;

	putchar('"');
	for (p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}

static void
json_head(const struct results *results, const struct limits *limits)
{
	const struct options *options = results->options;
	const struct machine *machine = results->machine;

	printf("{\n  \"machine\": {\"cpu\": ");
	json_string(machine->cpu);
	printf(", \"cores\": %u, \"memory_bytes\": %" PRIu64 ", \"kernel\": ",
	    machine->cores, machine->memory);
	json_string(machine->kernel);
	printf(", \"filesystem\": ");
	json_string(machine->filesystem);
	printf(",\n    \"copy_128_ns\": %.2f, \"fdatasync_ns\": %.0f, "
	       "\"lost_share\": %.4f},\n",
	    limits->copy_ns, limits->sync_ns, lost_share(results));
	printf("  \"options\": {\"num\": %" PRIu64 ", \"reads\": %" PRIu64
	       ", \"sync_num\": %" PRIu64 ", \"oneshot_num\": %" PRIu64
	       ", \"threads\": %" PRIu64 ", \"readers\": %" PRIu64
	       ", \"writers\": %" PRIu64 ", \"key_size\": %zu, "
	       "\"value_size\": %zu, \"rounds\": %u, \"seed\": %" PRIu64 "},\n",
	    options->num, options->reads, options->sync_num,
	    options->oneshot_num, options->threads, options->readers,
	    options->writers, options->key_len, options->value_len,
	    options->rounds, options->seed);
}

static void
json_engines(const struct options *options)
{
	const struct engine *engine;
	size_t e;

	printf("  \"engines\": [");
	for (e = 0; e < options->engine_count; e++) {
		engine = options->engines[e];
		printf("%s\n    {\"name\": ", e == 0 ? "" : ",");
		json_string(engine->name);
		printf(", \"version\": ");
		json_string(engine->version());
		printf(", \"tuning\": ");
		json_string(engine->tuning);
		printf("}");
	}
	printf("\n  ],\n");
}

static void
json_result(const struct results *results, size_t engine, size_t benchmark,
    const struct summary *s)
{
	unsigned round;

	printf("      {\"engine\": ");
	json_string(results->options->engines[engine]->name);
	if (!s->done) {
		printf(", \"left_out\": true}");
		return;
	}
	printf(", \"ops_per_s\": %.0f, \"ns_per_op\": %.2f, \"ratio\": ",
	    s->ops_per_s, 1e9 / s->ops_per_s);
	if (s->ratio > 0)
		printf("%.4f", s->ratio);
	else
		printf("null");
	printf(",\n       \"rounds_ops_per_s\": [");
	for (round = 0; round < results->options->rounds; round++)
		printf("%s%.0f", round == 0 ? "" : ", ",
		    measure_ops_per_s(
			measure_of(results, round, engine, benchmark)));
	printf("],\n       \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64
	       ", \"p999_ns\": %" PRIu64 ", \"max_sampled_ns\": %" PRIu64
	       ", \"longest_stretch_ns\": %" PRIu64 ",\n",
	    histogram_quantile(&s->latency, 0.5),
	    histogram_quantile(&s->latency, 0.99),
	    histogram_quantile(&s->latency, 0.999), s->latency.max,
	    s->longest_ns);
	printf("       \"cpu_s\": %.4f, \"disk_open_bytes\": %.0f, "
	       "\"disk_closed_bytes\": %.0f, \"close_s\": %.4f, "
	       "\"rss_peak_bytes\": %.0f, \"rss_anon_bytes\": %.0f",
	    s->cpu_s, s->disk_open, s->disk_closed, s->close_s, s->rss_peak,
	    s->rss_anon);
	if (s->command_ns > 0)
		printf(", \"command_ns\": %.0f", s->command_ns);
	if (s->process_ns > 0)
		printf(", \"process_ns\": %.0f", s->process_ns);
	if (s->base_ratio > 0)
		printf(", \"base_ratio\": %.4f", s->base_ratio);
	if (s->writer_ops_per_s > 0)
		printf(", \"writers_ops_per_s\": %.0f", s->writer_ops_per_s);
	if (s->writer_ratio > 0)
		printf(", \"writers_ratio\": %.4f", s->writer_ratio);
	if (s->private_bytes > 0)
		printf(", \"reader_private_bytes\": %.0f, "
		       "\"reader_dirty_bytes\": %.0f",
		    s->private_bytes, s->dirty_bytes);
	printf("}");
}

bool
report_json(const struct results *results)
{
	const struct options *options = results->options;
	struct summary *summaries;
	struct limits limits;
	size_t b, e;

	summarise_limits(results, &limits);
	json_head(results, &limits);
	json_engines(options);
	printf("  \"benchmarks\": [");
	for (b = 0; b < options->benchmark_count; b++) {
		summaries = summarise_benchmark(results, b);
		if (summaries == NULL)
			return false;
		printf("%s\n    {\"name\": ", b == 0 ? "" : ",");
		json_string(options->benchmarks[b]->name);
		printf(", \"operations\": %" PRIu64 ", \"results\": [\n",
		    workload_ops(options->benchmarks[b], options));
		for (e = 0; e < options->engine_count; e++) {
			json_result(results, e, b, &summaries[e]);
			printf(e + 1 < options->engine_count ? ",\n" : "\n");
		}
		printf("    ]}");
		free(summaries);
	}
	printf("\n  ]\n}\n");
	return true;
}
