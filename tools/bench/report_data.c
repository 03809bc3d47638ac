/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report_data.c - all figures for programs: as JSON, and as CSV with a line
 * for each benchmark of each engine and size.
 */
#include "config.h"

#include "summary.h"

#include <inttypes.h>
#include <stdio.h>

/* Names of the limits, and of the quantiles, in the order of their enums. */
static const char *const limit_keys[LIMIT_COUNT] = {
    [LIMIT_COPY] = "copy_128_ns",
    [LIMIT_SYNC] = "fdatasync_ns",
    [LIMIT_SYNC_FRESH] = "fdatasync_fresh_ns",
    [LIMIT_MISS] = "miss_ns",
    [LIMIT_MISSES] = "miss_overlapped_ns",
    [LIMIT_READ] = "read_128_ns",
};
static const char *const quantile_keys[QUANTILE_COUNT] = {
    [P50] = "p50_ns",
    [P99] = "p99_ns",
    [P999] = "p999_ns",
    [P9999] = "p9999_ns",
};

/* Figures of a summary that are left out of JSON, and empty in CSV, if 0. */
static const struct {
	const char *key;
	size_t at;
	int digits;
} figures[] = {
#define FIGURE(key, member, digits)                                            \
	{                                                                      \
		key, offsetof(struct summary, member), digits                  \
	}
    FIGURE("ratio", ratio, 4),
    FIGURE("base_ratio", base_ratio, 4),
    FIGURE("longest_stretch_ns", longest_ns, 0),
    FIGURE("cpu_s", cpu_s, 4),
    FIGURE("close_s", close_s, 4),
    FIGURE("disk_open_bytes", disk_open, 0),
    FIGURE("disk_closed_bytes", disk_closed, 0),
    FIGURE("write_amplification", amplification, 4),
    FIGURE("rss_peak_bytes", rss_peak, 0),
    FIGURE("rss_bytes", rss, 0),
    FIGURE("rss_anon_bytes", rss_anon, 0),
    FIGURE("bytes_per_s", bytes_per_s, 0),
    FIGURE("command_ns", command_ns, 0),
    FIGURE("process_ns", process_ns, 0),
    FIGURE("writers_ops_per_s", writer_ops_per_s, 0),
    FIGURE("writers_ratio", writer_ratio, 4),
    FIGURE("reader_private_bytes", private_bytes, 0),
    FIGURE("reader_dirty_bytes", dirty_bytes, 0),
    FIGURE("disk_fresh_bytes", disk_fresh, 0),
    FIGURE("disk_most_bytes", disk_most, 0),
    FIGURE("disk_growth", growth, 4),
    FIGURE("disk_growth_closed", growth_closed, 4),
    FIGURE("copied_bytes_per_s", copied_per_s, 0),
    FIGURE("copied_ratio", copied_ratio, 4),
#undef FIGURE
};
#define FIGURE_COUNT (sizeof figures / sizeof figures[0])

static double
figure_of(const struct summary *s, size_t figure)
{
	return *(
	    const double *)(const void *)((const char *)s + figures[figure].at);
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
json_machine(const struct report *report)
{
	const struct machine *machine = report->results->machine;

	printf("{\n  \"machine\": {\"cpu\": ");
	json_string(machine->cpu);
	printf(", \"cores\": %u, \"memory_bytes\": %" PRIu64 ", \"kernel\": ",
	    machine->cores, machine->memory);
	json_string(machine->kernel);
	printf(", \"filesystem\": ");
	json_string(machine->filesystem);
	printf(",\n    ");
	for (int i = 0; i < LIMIT_COUNT; i++)
		printf("\"%s\": %.2f, ", limit_keys[i], report->limits.ns[i]);
	printf("\"lost_share\": %.4f},\n", report->lost_share);
}

static void
json_options(const struct options *options)
{
	size_t i;

	printf("  \"options\": {\"num\": [");
	for (i = 0; i < options->size_count; i++)
		printf("%s%" PRIu64, i == 0 ? "" : ", ", options->sizes[i]);
	printf("], \"reads\": %" PRIu64 ", \"sync_num\": %" PRIu64
	       ", \"oneshot_num\": %" PRIu64 ", \"large_num\": %" PRIu64
	       ", \"large_size\": %" PRIu64 ", \"churn\": %" PRIu64
	       ",\n    \"threads\": %" PRIu64 ", \"readers\": %" PRIu64
	       ", \"writers\": %" PRIu64
	       ", \"key_size\": %zu, \"value_size\": ",
	    options->reads_wanted, options->sync_num, options->oneshot_num,
	    options->large_num, options->large_len, options->churn,
	    options->threads, options->readers, options->writers,
	    options->key_len);
	json_string(options->value_size);
	printf(", \"compressible\": %u,\n    \"distribution\": \"%s\", "
	       "\"theta\": %g, \"compacted\": %s, \"seconds\": %" PRIu64
	       ", \"rounds\": %u, \"seed\": %" PRIu64 "},\n",
	    options->compressible, options->zipfian ? "zipfian" : "uniform",
	    options->theta, options->compacted ? "true" : "false",
	    options->seconds, options->rounds, options->seed);
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
json_rounds(
    const struct report *report, size_t size, size_t benchmark, size_t engine)
{
	const struct measure *m;

	printf("\"rounds_ops_per_s\": [");
	for (unsigned r = 0; r < report->options->rounds; r++) {
		m = &report->results->measures[results_at(
		    report->options, size, r, engine, benchmark)];
		printf("%s%.0f", r == 0 ? "" : ", ",
		    m->ns == 0 ? 0 : (double)m->ops * 1e9 / (double)m->ns);
	}
	printf("],\n      ");
}

static void
json_result(
    const struct report *report, size_t size, size_t benchmark, size_t engine)
{
	const struct summary *s = report_at(report, size, benchmark, engine);
	char note[128];
	size_t i;

	printf("      {\"engine\": ");
	json_string(report->options->engines[engine]->name);
	if (summary_note(report, s, note)[0] != '\0') {
		printf(", \"note\": ");
		json_string(summary_note(report, s, note));
	}
	if (!s->done) {
		printf(", \"left_out\": true}");
		return;
	}
	printf(", \"ops\": %.0f, \"ops_per_s\": %.0f, \"ns_per_op\": %.2f,\n"
	       "      ",
	    s->ops, s->ops_per_s, 1e9 / s->ops_per_s);
	json_rounds(report, size, benchmark, engine);
	for (i = 0; i < QUANTILE_COUNT; i++)
		printf("\"%s\": %" PRIu64 ", ", quantile_keys[i],
		    s->quantile_ns[i]);
	printf("\"max_ns\": %" PRIu64, s->latency.max);
	for (i = 0; i < FIGURE_COUNT; i++) {
		if (figure_of(s, i) > 0)
			printf(", \"%s\": %.*f", figures[i].key,
			    figures[i].digits, figure_of(s, i));
	}
	printf("}");
}

static void
json_benchmark(const struct report *report, size_t size, size_t benchmark)
{
	const struct options *sized = &report->sized[size];
	const struct workload *workload = sized->benchmarks[benchmark];
	double limit = report_limit(report, size, benchmark);
	size_t e;

	printf("\n    {\"name\": \"%s\", \"num\": %" PRIu64
	       ", \"operations\": %" PRIu64,
	    workload->name, sized->num, workload_ops(workload, sized));
	if (limit > 0)
		printf(", \"machine_ns\": %.2f", limit);
	printf(", \"results\": [\n");
	for (e = 0; e < sized->engine_count; e++) {
		json_result(report, size, benchmark, e);
		printf(e + 1 < sized->engine_count ? ",\n" : "\n");
	}
	printf("    ]}");
}

static void
json_closing(const struct report *report)
{
	static const char *const outcomes[] = {
	    [CRASH_NOT_RUN] = "not run",
	    [CRASH_PASSED] = "passed",
	    [CRASH_FAILED] = "failed",
	    [CRASH_ERROR] = "not done",
	};
	const struct crash_result *crash = report->results->crash;
	const char *what, *benchmark, *more;
	double rate;

	printf("  \"summary\": {");
	for (size_t row = 0; row < CLOSING_ROWS; row++) {
		rate = report_closing(report, row, &what, &benchmark, &more);
		printf("\"%s\": ", what);
		printf(rate > 0 ? "%.0f, " : "null, ", rate);
	}
	printf("\"crash recovery\": \"%s\", \"kills\": %" PRIu64
	       ", \"acknowledged\": %" PRIu64 "}\n}\n",
	    outcomes[crash->outcome], crash->kills, crash->acknowledged);
}

void
report_json(const struct report *report)
{
	const struct options *options = report->options;
	size_t size, b;

	json_machine(report);
	json_options(options);
	json_engines(options);
	printf("  \"benchmarks\": [");
	for (size = 0; size < options->size_count; size++) {
		for (b = 0; b < options->benchmark_count; b++) {
			if (size + b > 0)
				putchar(',');
			json_benchmark(report, size, b);
		}
	}
	printf("\n  ],\n");
	json_closing(report);
}

/* ---- CSV ---- */

static void
csv_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void
csv_row(
    const struct report *report, size_t size, size_t benchmark, size_t engine)
{
	const struct summary *s = report_at(report, size, benchmark, engine);
	const struct options *sized = &report->sized[size];
	double limit = report_limit(report, size, benchmark);
	char note[128];
	size_t i;

	printf("%s,%" PRIu64 ",%s,", sized->benchmarks[benchmark]->name,
	    sized->num, sized->engines[engine]->name);
	if (s->done)
		printf(
		    "%.0f,%.0f,%.2f", s->ops, s->ops_per_s, 1e9 / s->ops_per_s);
	else
		printf(",,");
	for (i = 0; i < QUANTILE_COUNT; i++) {
		putchar(',');
		if (s->done)
			printf("%" PRIu64, s->quantile_ns[i]);
	}
	putchar(',');
	if (s->done)
		printf("%" PRIu64, s->latency.max);
	for (i = 0; i < FIGURE_COUNT; i++) {
		putchar(',');
		if (figure_of(s, i) > 0)
			printf("%.*f", figures[i].digits, figure_of(s, i));
	}
	putchar(',');
	if (limit > 0)
		printf("%.2f", limit);
	putchar(',');
	csv_string(summary_note(report, s, note));
	putchar('\n');
}

void
report_csv(const struct report *report)
{
	const struct options *options = report->options;
	size_t i, size, b, e;

	printf("benchmark,num,engine,ops,ops_per_s,ns_per_op");
	for (i = 0; i < QUANTILE_COUNT; i++)
		printf(",%s", quantile_keys[i]);
	printf(",max_ns");
	for (i = 0; i < FIGURE_COUNT; i++)
		printf(",%s", figures[i].key);
	printf(",machine_ns,note\n");
	for (size = 0; size < options->size_count; size++) {
		for (b = 0; b < options->benchmark_count; b++) {
			for (e = 0; e < options->engine_count; e++)
				csv_row(report, size, b, e);
		}
	}
}
