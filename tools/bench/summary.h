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
#include "crash.h"
#include "workload.h"

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
	double bytes_per_s;   /* of large values; else 0 */
	double ratio;         /* 0: no peer to compare with */
	double command_ns, command_ratio, process_ns; /* 0: none */
	double writer_ops_per_s, writer_ratio;        /* 0: none */
	double private_bytes, dirty_bytes;            /* of a reader */
	double base_ratio; /* to the engine's base; 0: none, or not run */
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
	struct crash_result crash;
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
 * of the machine is what the limits measure; 0 if they do not say.
 */
double report_limit(const struct report *report, size_t size, size_t benchmark);

/* summary_note - what is to be said of it, or "". */
const char *summary_note(
    const struct report *report, const struct summary *s, char text[128]);

/* report_table, _json, _csv, _markdown - print everything. */
void report_table(const struct report *report);
void report_json(const struct report *report);
void report_csv(const struct report *report);
void report_markdown(const struct report *report);

#endif /* BENCH_SUMMARY_H */
