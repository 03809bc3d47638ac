/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * summary.h - what all reports tell of a run: medians, ratios, quantiles.
 *
 * Every figure is the median of the rounds, latencies excepted: those of all
 * rounds are counted together.  A ratio is that of an engine's median to the
 * median of the best peer other than itself.
 */
#ifndef BENCH_SUMMARY_H
#define BENCH_SUMMARY_H

#include "bench.h"
#include "workload.h"

#include <stdio.h>

enum quantile { P50, P99, P999, P9999, QUANTILE_COUNT };

/* One benchmark of one engine with one size. */
struct summary {
	bool done;
	enum omission omitted;
	unsigned notes;
	double ops;
	double ops_per_s;
	double low, high; /* of ops_per_s, over the rounds */
	double cpu_s, close_s;
	double disk_open, disk_closed;
	double rss_peak, rss, rss_anon;
	double amplification; /* 0: not known */
	double bytes_per_s;   /* of large values, or rewritten; else 0 */
	double ratio;         /* 0: no peer to compare with */
	double command_ns, command_ratio, process_ns; /* 0: none */
	double writer_ops_per_s, writer_ratio;        /* 0: none */
	double private_bytes, dirty_bytes;            /* of a reader */
	double base_ratio; /* to the engine's base; 0: none, or not run */
	double disk_fresh, disk_most;      /* of churn; else 0, and these ... */
	double growth, growth_closed;      /* ... in parts of disk_fresh */
	double copied_per_s, copied_ratio; /* bytes copied beside it; else 0 */
	double longest_ns;
	struct histogram latency;
	uint64_t quantile_ns[QUANTILE_COUNT];
};

/* A run, ready to be told. */
struct report {
	const struct results *results;
	const struct options *options;
	struct options sized[BENCH_MAX_SIZES]; /* in the turn of each size */
	struct limits limits;
	double lost_share; /* see summary.c */
	struct summary *summaries;
};

/* How the quantiles are called, in this order. */
extern const char *const quantile_names[QUANTILE_COUNT];

/* report_create - NULL if out of memory; results must outlive it. */
struct report *report_create(const struct results *results);

/* report_destroy - NULL is fine. */
void report_destroy(struct report *report);

const struct summary *report_at(
    const struct report *report, size_t size, size_t benchmark, size_t engine);

/*
 * report_limit - nanoseconds that an operation takes at least if all it needs
 * of the machine is what the limits measure; 0 if they do not say, or are
 * those of a larger store.
 */
double report_limit(const struct report *report, size_t size, size_t benchmark);

/* report_exceeds_memory - whether a store is larger than what there is. */
bool report_exceeds_memory(const struct report *report);

/* summary_note - what is to be said of it, or "". */
const char *summary_note(
    const struct report *report, const struct summary *s, char text[128]);

/*
 * report_any - whether any engine but null does the benchmark, so that there
 * is something to draw.
 */
bool report_any(const struct report *report, size_t benchmark);

/* report_own_engine - the first that is ours; engine_count if none is. */
size_t report_own_engine(const struct report *report);

#define CLOSING_ROWS 3u

/*
 * report_closing - operations per second of a row of the closing summary, with
 * what it is about, the benchmark that says it, and what is to be added; 0 if
 * it was not run.
 */
double report_closing(const struct report *report, size_t row,
    const char **ret_what, const char **ret_benchmark, const char **ret_more);

/* report_crash - what came of the crash test, in a line. */
const char *report_crash(const struct report *report, char text[256]);

/* report_table, _json, _csv, _markdown - print everything. */
void report_table(const struct report *report);
void report_json(const struct report *report);
void report_csv(const struct report *report);
void report_markdown(const struct report *report);

/* report_html - a page of the same, which shows the files of plots.c. */
void report_html(const struct report *report, FILE *out);

#endif /* BENCH_SUMMARY_H */
