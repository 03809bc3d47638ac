/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report_page.c - the report as a document: Markdown, or a page with plots.
 *
 * Both have the same parts; what differs is how text, headings and rows are
 * marked, which the first section hides.
 */
#include "config.h"

#include "summary.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CELL_LEN 192
#define CELLS_MAX 16

struct page {
	FILE *out;
	bool html;
	const struct report *report;
};

/* ---- marks ---- */

/* What would be taken for a mark is marked as text. */
static void
put_text(const struct page *page, const char *text)
{
	for (; *text != '\0'; text++) {
		if (page->html && *text == '&')
			fputs("&amp;", page->out);
		else if (page->html && *text == '<')
			fputs("&lt;", page->out);
		else if (!page->html && strchr("|*_<`", *text) != NULL)
			fprintf(page->out, "\\%c", *text);
		else
			putc(*text, page->out);
	}
}

static void __attribute__((format(printf, 3, 4)))
heading(const struct page *page, int level, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (page->html)
		fprintf(page->out, "<h%d>", level);
	else
		fprintf(page->out, "\n%.*s ", level, "####");
	put_text(page, text);
	if (page->html)
		fprintf(page->out, "</h%d>\n", level);
	else
		fputs("\n\n", page->out);
}

static void __attribute__((format(printf, 2, 3)))
paragraph(const struct page *page, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (page->html)
		fputs("<p>", page->out);
	put_text(page, text);
	fputs(page->html ? "</p>\n" : "\n\n", page->out);
}

static void
command_line(const struct page *page, const char *text)
{
	if (page->html) {
		fputs("<pre>", page->out);
		put_text(page, text);
		fputs("</pre>\n", page->out);
	} else {
		fprintf(page->out, "    %s\n\n", text);
	}
}

static void
table_begin(const struct page *page)
{
	if (page->html)
		fputs("<table>\n", page->out);
}

static void
table_end(const struct page *page)
{
	fputs(page->html ? "</table>\n" : "\n", page->out);
}

static void
row(const struct page *page, bool head, char cells[][CELL_LEN], int count)
{
	const char *mark = head ? "th" : "td";
	int i;

	fputs(page->html ? "<tr>" : "|", page->out);
	for (i = 0; i < count; i++) {
		if (page->html)
			fprintf(page->out, "<%s>", mark);
		else
			putc(' ', page->out);
		put_text(page, cells[i]);
		if (page->html)
			fprintf(page->out, "</%s>", mark);
		else
			fputs(" |", page->out);
	}
	fputs(page->html ? "</tr>\n" : "\n", page->out);
	if (page->html || !head)
		return;
	putc('|', page->out);
	for (i = 0; i < count; i++)
		fputs(i == 0 ? "---|" : "---:|", page->out);
	putc('\n', page->out);
}

/* ---- cells ---- */

static void
rate_cell(char cell[CELL_LEN], double per_second)
{
	if (per_second <= 0)
		snprintf(cell, CELL_LEN, "-");
	else if (per_second >= 1e6)
		snprintf(cell, CELL_LEN, "%.2f M", per_second / 1e6);
	else if (per_second >= 1e4)
		snprintf(cell, CELL_LEN, "%.1f k", per_second / 1e3);
	else
		snprintf(cell, CELL_LEN, "%.0f", per_second);
}

static void
time_cell(char cell[CELL_LEN], double ns)
{
	if (ns >= 1e6)
		snprintf(cell, CELL_LEN, "%.1f ms", ns / 1e6);
	else if (ns >= 1e4)
		snprintf(cell, CELL_LEN, "%.1f us", ns / 1e3);
	else
		snprintf(cell, CELL_LEN, "%.0f ns", ns);
}

static void
mib_cell(char cell[CELL_LEN], double bytes)
{
	if (bytes > 0)
		snprintf(cell, CELL_LEN, "%.1f", bytes / 1048576.0);
	else
		snprintf(cell, CELL_LEN, "-");
}

static void
ratio_cell(char cell[CELL_LEN], double ratio)
{
	if (ratio > 0)
		snprintf(cell, CELL_LEN, "%.2f", ratio);
	else
		snprintf(cell, CELL_LEN, "-");
}

/* ---- parts ---- */

static void
head_part(const struct page *page)
{
	const struct report *report = page->report;
	const struct machine *machine = report->results->machine;
	const struct options *options = report->options;
	time_t started = (time_t)report->results->started;
	char date[32] = "?";
	struct tm tm;

	if (gmtime_r(&started, &tm) != NULL)
		strftime(date, sizeof date, "%Y-%m-%d", &tm);
	paragraph(page,
	    "Written by kvlog-bench(1), whose page says what each benchmark "
	    "does and how it is measured. Made on %s by",
	    date);
	command_line(page, options->command);
	paragraph(page,
	    "Machine: %s, %u cores, %.1f GiB, %s, %s. Records: %zu-byte keys, "
	    "%s-byte values of which %u %% can be compressed away; seed "
	    "%" PRIu64 ". Medians of %u rounds in which the engines took "
	    "turns; latencies of all rounds together.",
	    machine->cpu, machine->cores,
	    (double)machine->memory / 1073741824.0, machine->kernel,
	    machine->filesystem, options->key_len, options->value_size,
	    options->compressible, options->seed, options->rounds);
	if (report_exceeds_memory(report))
		paragraph(page,
		    "The largest store does not fit into the %" PRIu64
		    " MiB of memory that were available.",
		    machine->memory_available >> 20);
	if (report->lost_share > 0.05)
		paragraph(page,
		    "The machine was busy: %.0f %% of the time other programs "
		    "had the core.",
		    100 * report->lost_share);
}

static void
limits_part(const struct page *page)
{
	static const char *const names[LIMIT_COUNT] = {
	    [LIMIT_COPY] = "128 bytes into fresh mapped pages",
	    [LIMIT_READ] = "128 bytes of mapped pages, read in order",
	    [LIMIT_MISS] = "cache miss, one after the other",
	    [LIMIT_MISSES] = "cache miss, as many at once as will go",
	    [LIMIT_SYNC] = "fdatasync of blocks already written",
	    [LIMIT_SYNC_FRESH] = "fdatasync of blocks merely allocated",
	};
	char cells[CELLS_MAX][CELL_LEN] = {
	    "the machine's limits", "each", "per second"};

	heading(page, 2, "The machine");
	table_begin(page);
	row(page, true, cells, 3);
	for (int i = 0; i < LIMIT_COUNT; i++) {
		double ns = page->report->limits.ns[i];

		snprintf(cells[0], CELL_LEN, "%s", names[i]);
		snprintf(cells[1], CELL_LEN, ns < 1e4 ? "%.1f ns" : "%.1f us",
		    ns < 1e4 ? ns : ns / 1e3);
		rate_cell(cells[2], 1e9 / ns);
		row(page, false, cells, 3);
	}
	table_end(page);
}

static void
engines_part(const struct page *page)
{
	const struct options *options = page->report->options;
	char cells[CELLS_MAX][CELL_LEN] = {"engine", "version"};

	heading(page, 2, "Engines");
	for (size_t e = 0; e < options->engine_count; e++) {
		const struct engine *engine = options->engines[e];

		snprintf(cells[0], CELL_LEN, "%s", engine->name);
		snprintf(cells[1], CELL_LEN, "%s", engine->version());
		if (page->html)
			fputs("<p><b>", page->out);
		else
			fputs("- **", page->out);
		put_text(page, cells[0]);
		fputs(page->html ? "</b> " : "** ", page->out);
		put_text(page, cells[1]);
		fputs(cells[1][0] != '\0' ? ": " : "", page->out);
		put_text(page, engine->tuning);
		fputs(page->html ? "</p>\n" : "\n", page->out);
	}
}

/* The peer that ours is compared with; engine_count if there is none. */
static size_t
best_peer(const struct report *report, size_t size, size_t benchmark)
{
	const struct options *options = report->options;
	size_t e, best = options->engine_count;
	double rate, best_rate = 0;

	for (e = 0; e < options->engine_count; e++) {
		rate = report_at(report, size, benchmark, e)->ops_per_s;
		if (options->engines[e]->kind == ENGINE_PEER &&
		    rate > best_rate) {
			best = e;
			best_rate = rate;
		}
	}
	return best;
}

/* A row for each benchmark: ours, the best peer, and which is ahead. */
static void
overview_part(const struct page *page, size_t size)
{
	const struct report *report = page->report;
	const struct options *options = &report->sized[size];
	size_t b, peer, own = report_own_engine(report);
	char cells[CELLS_MAX][CELL_LEN] = {
	    "benchmark", "", "best peer", "", "ratio", "limit"};
	const struct summary *s;

	if (own == options->engine_count)
		return;
	heading(page, 2, "%s and the best peer, %" PRIu64 " records",
	    options->engines[own]->name, options->num);
	paragraph(page,
	    "Operations per second; the limit is what the machine's limits "
	    "above would allow. \"Lost\" is what a peer does better.");
	snprintf(cells[1], CELL_LEN, "%s", options->engines[own]->name);
	table_begin(page);
	row(page, true, cells, 6);
	for (b = 0; b < options->benchmark_count; b++) {
		double limit = report_limit(report, size, b);

		s = report_at(report, size, b, own);
		peer = best_peer(report, size, b);
		snprintf(
		    cells[0], CELL_LEN, "%s", options->benchmarks[b]->name);
		rate_cell(cells[1], s->ops_per_s);
		snprintf(cells[2], CELL_LEN, "%s",
		    peer < options->engine_count ? options->engines[peer]->name
						 : "-");
		rate_cell(
		    cells[3], peer < options->engine_count
				  ? report_at(report, size, b, peer)->ops_per_s
				  : 0);
		ratio_cell(cells[4], s->ratio);
		if (s->ratio > 0 && s->ratio < 1)
			strcat(cells[4], " lost");
		rate_cell(cells[5], limit > 0 ? 1e9 / limit : 0);
		row(page, false, cells, 6);
	}
	table_end(page);
}

static void
benchmark_row(
    const struct page *page, const char *name, const struct summary *s)
{
	char cells[CELLS_MAX][CELL_LEN], note[128];
	int q, n = 0;

	snprintf(cells[n++], CELL_LEN, "%s", name);
	rate_cell(cells[n++], s->ops_per_s);
	ratio_cell(cells[n++], s->ratio);
	for (q = 0; q < QUANTILE_COUNT; q++)
		time_cell(cells[n++], (double)s->quantile_ns[q]);
	time_cell(cells[n++], s->longest_ns);
	snprintf(cells[n++], CELL_LEN, "%.2f", s->cpu_s);
	mib_cell(cells[n++], s->disk_open);
	mib_cell(cells[n++], s->disk_closed);
	ratio_cell(cells[n++], s->amplification);
	mib_cell(cells[n++], s->rss_peak);
	mib_cell(cells[n++], s->rss_anon);
	snprintf(cells[n], CELL_LEN, "%s", summary_note(page->report, s, note));
	if (s->bytes_per_s > 0)
		snprintf(cells[n], CELL_LEN, "%.2f GB/s %s",
		    s->bytes_per_s / 1e9, note);
	if (!s->done) {
		for (int i = 1; i < n; i++)
			snprintf(cells[i], CELL_LEN, "-");
	}
	row(page, false, cells, n + 1);
}

/* What processes and commands took, in rows below the engine's. */
static void
more_rows(const struct page *page, const struct engine *engine,
    const struct summary *s)
{
	char cells[CELLS_MAX][CELL_LEN];

	memset(cells, 0, sizeof cells);
	if (s->command_ns > 0) {
		snprintf(cells[0], CELL_LEN, "(command %s)", engine->command);
		rate_cell(cells[1], 1e9 / s->command_ns);
		ratio_cell(cells[2], s->command_ratio);
		row(page, false, cells, 14);
	}
	if (s->writer_ops_per_s > 0) {
		snprintf(cells[0], CELL_LEN, "(its writers)");
		rate_cell(cells[1], s->writer_ops_per_s);
		ratio_cell(cells[2], s->writer_ratio);
		row(page, false, cells, 14);
	}
	if (s->base_ratio > 0) {
		snprintf(cells[0], CELL_LEN, "(beside %s)", engine->base->name);
		snprintf(cells[1], CELL_LEN, "%s", "");
		ratio_cell(cells[2], s->base_ratio);
		row(page, false, cells, 14);
	}
	if (s->growth > 0) {
		snprintf(cells[0], CELL_LEN, "(disk of a fresh load, at most)");
		snprintf(cells[1], CELL_LEN, "%s", "");
		ratio_cell(cells[2], s->growth);
		row(page, false, cells, 14);
		snprintf(cells[0], CELL_LEN, "(disk of it, once closed)");
		ratio_cell(cells[2], s->growth_closed);
		row(page, false, cells, 14);
	}
	if (s->copied_per_s > 0) {
		snprintf(cells[0], CELL_LEN, "(cp and fsync)");
		snprintf(
		    cells[1], CELL_LEN, "%.2f GB/s", s->copied_per_s / 1e9);
		ratio_cell(cells[2], s->copied_ratio);
		row(page, false, cells, 14);
	}
	if (s->private_bytes > 0) {
		snprintf(cells[0], CELL_LEN, "(each reader, alone)");
		snprintf(cells[1], CELL_LEN, "%.2f MiB",
		    s->private_bytes / 1048576.0);
		cells[2][0] = '\0';
		row(page, false, cells, 14);
	}
}

static void
benchmark_part(const struct page *page, size_t size, size_t benchmark)
{
	const struct report *report = page->report;
	const struct options *sized = &report->sized[size];
	const struct workload *workload = sized->benchmarks[benchmark];
	double limit = report_limit(report, size, benchmark);
	char head[CELLS_MAX][CELL_LEN] = {"engine", "ops/s", "ratio", "p50",
	    "p99", "p99.9", "p99.99", "longest", "cpu s", "disk", "closed",
	    "written", "peak", "anon", ""};
	size_t e;

	heading(page, 3, "%s", workload->name);
	paragraph(page, "%" PRIu64 " %s; %" PRIu64 " records.%s",
	    workload_ops(workload, sized), workload->text,
	    workload_num(workload, sized),
	    workload_skewed(workload, sized) ? " Zipfian." : "");
	if (page->html && report_any(report, benchmark)) {
		fprintf(page->out,
		    "<img src=\"throughput-%s.svg\" alt=\"throughput of %s\">"
		    "<img src=\"latency-%s.svg\" alt=\"latency of %s\">",
		    workload->name, workload->name, workload->name,
		    workload->name);
		if (sized->size_count > 1)
			fprintf(page->out,
			    "<img src=\"growth-%s.svg\" alt=\"growth of %s\">",
			    workload->name, workload->name);
		putc('\n', page->out);
	}
	table_begin(page);
	row(page, true, head, 15);
	for (e = 0; e < sized->engine_count; e++) {
		const struct summary *s = report_at(report, size, benchmark, e);

		benchmark_row(page, sized->engines[e]->name, s);
		more_rows(page, sized->engines[e], s);
	}
	if (limit > 0) {
		char cells[CELLS_MAX][CELL_LEN];

		memset(cells, 0, sizeof cells);
		snprintf(cells[0], CELL_LEN, "(machine)");
		rate_cell(cells[1], 1e9 / limit);
		row(page, false, cells, 2);
	}
	table_end(page);
}

static void
closing_part(const struct page *page)
{
	const struct report *report = page->report;
	const char *what, *benchmark, *more;
	char text[256], rate[CELL_LEN];

	if (report_own_engine(report) == report->options->engine_count)
		return;
	heading(page, 2, "Summary");
	for (size_t r = 0; r < CLOSING_ROWS; r++) {
		rate_cell(
		    rate, report_closing(report, r, &what, &benchmark, &more));
		paragraph(page, "%s: %s per second%s (%s)", what, rate, more,
		    benchmark);
	}
	paragraph(page, "%s", report_crash(report, text));
}

static void
all_parts(const struct page *page)
{
	const struct options *options = page->report->options;
	size_t size, b;

	head_part(page);
	limits_part(page);
	engines_part(page);
	for (size = 0; size < options->size_count; size++)
		overview_part(page, size);
	closing_part(page);
	for (size = 0; size < options->size_count; size++) {
		heading(page, 2, "All figures, %" PRIu64 " records",
		    options->sizes[size]);
		paragraph(page,
		    "ratio: to the best peer other than itself. p50 to p99.99: "
		    "of single operations, or of calls that do many. longest: "
		    "of 17 operations in a row, or of such a call. disk: "
		    "allocated at the end, and once closed; peak: resident "
		    "memory with mapped files, anon: without, at the end; MiB. "
		    "written: bytes to the medium for each that was put.");
		for (b = 0; b < options->benchmark_count; b++)
			benchmark_part(page, size, b);
	}
}

void
report_markdown(const struct report *report)
{
	const struct page page = {stdout, false, report};

	fputs("# Benchmarks\n\n", stdout);
	all_parts(&page);
}

void
report_html(const struct report *report, FILE *out)
{
	const struct page page = {out, true, report};

	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta "
	      "charset=\"utf-8\"><title>kvlog-bench</title>\n<style>body "
	      "{font-family: sans-serif; max-width: 75em; margin: auto} td, th "
	      "{text-align: right; padding: 0 .5em} td:first-child "
	      "{text-align: left} img {max-width: 49%}</style></head>\n<body>\n"
	      "<h1>kvlog-bench</h1>\n",
	    out);
	all_parts(&page);
	fputs("</body></html>\n", out);
}
