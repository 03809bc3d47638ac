/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - the tables for people.
 */
#include "config.h"

#include "summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A duration in at most seven columns. */
static const char *
duration_text(double ns, char text[16])
{
	if (ns < 10000)
		snprintf(text, 16, "%.0fns", ns);
	else if (ns < 10000000)
		snprintf(text, 16, "%.1fus", ns / 1e3);
	else
		snprintf(text, 16, "%.1fms", ns / 1e6);
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

static const char *
ratio_text(double ratio, char text[16])
{
	if (ratio > 0)
		snprintf(text, 16, "%.2f", ratio);
	else
		snprintf(text, 16, "-");
	return text;
}

static void
print_row(const struct report *report, const struct engine *engine,
    const struct summary *s)
{
	char text[16], note[128];

	printf("%-15s%10.0f %8.1f %6s %5.0f%%", engine->name, s->ops_per_s,
	    1e9 / s->ops_per_s, ratio_text(s->ratio, text),
	    100 * (s->high - s->low) / s->ops_per_s);
	for (int q = 0; q < QUANTILE_COUNT; q++)
		printf(" %8s", duration_text((double)s->quantile_ns[q], text));
	printf(" %8s", duration_text(s->longest_ns, text));
	printf(" %7.2f", s->cpu_s);
	if (engine->kind != ENGINE_NULL) {
		printf(" %8s", mib_text(s->disk_open, text));
		printf(" %8s", mib_text(s->disk_closed, text));
		printf(" %6s", ratio_text(s->amplification, text));
		printf(" %8s", mib_text(s->rss_peak, text));
		printf(" %8s", mib_text(s->rss, text));
		printf(" %8s", mib_text(s->rss_anon, text));
	}
	if (s->bytes_per_s > 0)
		printf("  %.2f GB/s", s->bytes_per_s / 1e9);
	if (summary_note(report, s, note)[0] != '\0')
		printf("  (%s)", note);
	printf("\n");
}

/* A line below an engine's, with a name in brackets. */
static void
print_below(const char *what, double ops_per_s, double ratio)
{
	char name[64], text[16];

	snprintf(name, sizeof name, "(%s)", what);
	printf("%-15s", name);
	if (ops_per_s > 0)
		printf("%10.0f %8.1f ", ops_per_s, 1e9 / ops_per_s);
	else
		printf("%20s", "");
	printf("%6s\n", ratio_text(ratio, text));
}

static void
print_engine(const struct report *report, const struct options *sized,
    const struct engine *engine, const struct summary *s)
{
	char note[128];

	if (!s->done) {
		printf("%-15s%10s  %s\n", engine->name, "-",
		    summary_note(report, s, note));
		return;
	}
	print_row(report, engine, s);
	if (s->command_ns > 0)
		print_below(
		    engine->command, 1e9 / s->command_ns, s->command_ratio);
	if (s->base_ratio > 0)
		print_below(engine->base->name, 0, s->base_ratio);
	if (s->writer_ops_per_s > 0)
		print_below("writers", s->writer_ops_per_s, s->writer_ratio);
	if (s->growth > 0)
		printf("%-15s%10.2f of a fresh load at most, %.2f once "
		       "closed\n",
		    "(disk)", s->growth, s->growth_closed);
	if (s->copied_per_s > 0)
		printf("%-15s%10.2f GB/s copied and synced: ratio %.2f\n",
		    "(cp)", s->copied_per_s / 1e9, s->copied_ratio);
	if (s->private_bytes > 0)
		printf("%-15s%10.2f MiB private, %.2f of it no clean pages of "
		       "files: %.2f and %.2f bytes a key\n",
		    "(a reader)", s->private_bytes / 1048576.0,
		    s->dirty_bytes / 1048576.0,
		    s->private_bytes / (double)sized->num,
		    s->dirty_bytes / (double)sized->num);
}

static void
print_sizes(const struct options *options)
{
	for (size_t i = 0; i < options->size_count; i++)
		printf("%s%" PRIu64, i == 0 ? "" : ", ", options->sizes[i]);
}

static void
print_limits(const double *ns)
{
	printf("Limits:   %.1f M/s copying 128-byte records into fresh mapped "
	       "pages (%.1f ns each);\n"
	       "          %.1f GB/s reading mapped pages in order;\n"
	       "          %.1f ns a cache miss, %.1f when many overlap;\n"
	       "          %.0f/s copying a record into written blocks and "
	       "fdatasync (%.1f us each),\n"
	       "          %.0f/s if the blocks are merely allocated (%.1f "
	       "us)\n",
	    1e3 / ns[LIMIT_COPY], ns[LIMIT_COPY], 128 / ns[LIMIT_READ],
	    ns[LIMIT_MISS], ns[LIMIT_MISSES], 1e9 / ns[LIMIT_SYNC],
	    ns[LIMIT_SYNC] / 1e3, 1e9 / ns[LIMIT_SYNC_FRESH],
	    ns[LIMIT_SYNC_FRESH] / 1e3);
}

static void
print_head(const struct report *report)
{
	const struct options *options = report->options;
	const struct machine *machine = report->results->machine;
	size_t e;

	printf("Machine:  %s, %u cores, %.1f GiB, %s, %s\n", machine->cpu,
	    machine->cores, (double)machine->memory / 1073741824.0,
	    machine->kernel, machine->filesystem);
	print_limits(report->limits.ns);
	printf("Records:  ");
	print_sizes(options);
	printf(" of %zu-byte keys and %s-byte values, %u %% of them "
	       "compressible;\n"
	       "          seed %" PRIu64 "; medians of %u rounds\n",
	    options->key_len, options->value_size, options->compressible,
	    options->seed, options->rounds);
	for (e = 0; e < options->engine_count; e++)
		printf("%s%s %s: %s\n", e == 0 ? "Engines:  " : "          ",
		    options->engines[e]->name, options->engines[e]->version(),
		    options->engines[e]->tuning);
	if (report_exceeds_memory(report))
		printf("Caution:  the largest store does not fit into the "
		       "%" PRIu64 " MiB of memory that are\n"
		       "          available: much of it is read from the "
		       "disk\n",
		    machine->memory_available >> 20);
	if (report->lost_share > 0.05)
		printf("Caution:  the machine was busy; %.0f%% of the time "
		       "other programs had the core\n",
		    100 * report->lost_share);
	printf("ratio: to the best peer other than itself.  spread: slowest "
	       "to fastest round.\n"
	       "p50 to p99.99: of every 17th operation; of all calls of "
	       "batches, of 16 gets, of\n"
	       "scans (of readseq, between two records), of large values and "
	       "with syncs.\n"
	       "longest: of any 17 operations in a row, or of any such call.  "
	       "disk: allocated\n"
	       "right after the last operation, and after closing.  wamp: "
	       "bytes that went to the\n"
	       "medium for each that was put; - if not known.  peak, rss: "
	       "memory, mapped files\n"
	       "included; anon: without files.  null: the loop itself.  Sizes "
	       "in MiB.\n"
	       "oneshot: medians; in brackets the command for users, and a "
	       "process that does\nnothing.  open: the median, divided by the "
	       "keys; p50 is one opening.\n"
	       "(kvlog-unshared): the ratio to it.  (machine): what its limits "
	       "would allow.\n");
}

/* How many do it, and the end of the line. */
static void
print_crowd(const struct options *options, const struct workload *workload)
{
	if (workload_skewed(workload, options))
		printf("; zipfian %g", options->theta);
	if (options->compacted && workload_is_ordered(workload))
		printf("; compacted");
	if (workload->large)
		printf("; %" PRIu64 " bytes each", options->large_len);
	if (workload->threads)
		printf("; %" PRIu64 " threads", options->threads);
	if (workload_readers(workload, options) > 0)
		printf("; %u readers", workload_readers(workload, options));
	if (workload->op == WORKLOAD_READ_WRITE)
		printf(", %" PRIu64 " writers", options->writers);
	printf("\n");
}

static void
print_benchmark(const struct report *report, size_t size, size_t benchmark)
{
	const struct options *sized = &report->sized[size];
	const struct workload *workload = sized->benchmarks[benchmark];
	double limit = report_limit(report, size, benchmark);
	size_t e;

	printf("\n%s: ", workload->name);
	if (sized->size_count > 1)
		printf("%" PRIu64 " records: ", sized->num);
	printf("%" PRIu64 " %s", workload_ops(workload, sized), workload->text);
	print_crowd(sized, workload);
	printf("%-15s%10s %8s %6s %6s", "engine", "ops/s", "ns/op", "ratio",
	    "spread");
	for (int q = 0; q < QUANTILE_COUNT; q++)
		printf(" %8s", quantile_names[q]);
	printf(" %8s %7s %8s %8s %6s %8s %8s %8s\n", "longest", "cpu s", "disk",
	    "closed", "wamp", "peak", "rss", "anon");
	for (e = 0; e < sized->engine_count; e++)
		print_engine(report, sized, sized->engines[e],
		    report_at(report, size, benchmark, e));
	if (limit > 0)
		printf("%-15s%10.0f %8.1f\n", "(machine)", 1e9 / limit, limit);
}

static void
print_closing(const struct report *report)
{
	const struct options *options = report->options;
	size_t row, e = report_own_engine(report);
	const char *what, *benchmark, *more;
	char text[256];
	double rate;

	if (e == options->engine_count)
		return;
	printf("\nSummary: %s %s, %" PRIu64 " records\n",
	    options->engines[e]->name, options->engines[e]->version(),
	    options->sizes[options->size_count - 1]);
	for (row = 0; row < CLOSING_ROWS; row++) {
		rate = report_closing(report, row, &what, &benchmark, &more);
		if (rate > 0)
			printf("  %-14s %10.0f per second%s (%s)\n", what, rate,
			    more, benchmark);
		else
			printf("  %-14s not measured (%s)\n", what, benchmark);
	}
	printf("%s\n", report_crash(report, text));
}

void
report_table(const struct report *report)
{
	size_t size, b;

	print_head(report);
	for (size = 0; size < report->options->size_count; size++) {
		for (b = 0; b < report->options->benchmark_count; b++)
			print_benchmark(report, size, b);
	}
	print_closing(report);
}
