/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * summary.c - from the measures of all rounds to what is told of them.
 */
#include "config.h"

#include "summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_RECORD_LEN 128.0

const char *const quantile_names[QUANTILE_COUNT] = {
    [P50] = "p50", [P99] = "p99", [P999] = "p99.9", [P9999] = "p99.99"};

static const double quantile_shares[QUANTILE_COUNT] = {
    [P50] = 0.5, [P99] = 0.99, [P999] = 0.999, [P9999] = 0.9999};

/* Figures of a summary that are medians of a measure's, times a factor. */
static const struct {
	size_t to, from;
	double factor;
} medians[] = {
#define MEDIAN(to, from, factor)                                               \
	{                                                                      \
		offsetof(struct summary, to), offsetof(struct measure, from),  \
		    factor                                                     \
	}
    MEDIAN(ops, ops, 1),
    MEDIAN(cpu_s, cpu_us, 1e-6),
    MEDIAN(close_s, close_ns, 1e-9),
    MEDIAN(disk_open, disk_open, 1),
    MEDIAN(disk_closed, disk_closed, 1),
    MEDIAN(rss_peak, rss_peak, 1),
    MEDIAN(rss, rss, 1),
    MEDIAN(rss_anon, rss_anon, 1),
    MEDIAN(command_ns, command_ns, 1),
    MEDIAN(process_ns, process_ns, 1),
    MEDIAN(private_bytes, private_bytes, 1),
    MEDIAN(dirty_bytes, dirty_bytes, 1),
    MEDIAN(disk_fresh, disk_fresh, 1),
    MEDIAN(disk_most, disk_most, 1),
#undef MEDIAN
};

size_t
results_at(const struct options *options, size_t size, unsigned round,
    size_t engine, size_t benchmark)
{
	return ((size * options->rounds + round) * options->engine_count +
		   engine) *
		   options->benchmark_count +
	       benchmark;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the values. */
static double
median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare_doubles);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static double
per_second(uint64_t ops, uint64_t ns)
{
	return ns == 0 ? 0 : (double)ops * 1e9 / (double)ns;
}

/* The same cell in all rounds. */
struct cell {
	const struct measure *round[BENCH_MAX_ROUNDS];
	unsigned rounds;
};

static struct cell
cell_of(
    const struct results *results, size_t size, size_t engine, size_t benchmark)
{
	struct cell cell = {.rounds = results->options->rounds};

	for (unsigned r = 0; r < cell.rounds; r++)
		cell.round[r] = &results->measures[results_at(
		    results->options, size, r, engine, benchmark)];
	return cell;
}

/*
 * How an engine does beside its base, which ran in the same rounds: the median
 * of the rounds' ratios.
 */
static double
base_ratio(
    const struct results *results, size_t size, size_t engine, size_t benchmark)
{
	const struct options *options = results->options;
	const struct engine *base = options->engines[engine]->base;
	double values[BENCH_MAX_ROUNDS];
	struct cell ours, theirs;
	size_t b = 0;

	while (b < options->engine_count && options->engines[b] != base)
		b++;
	if (base == NULL || b == options->engine_count)
		return 0;
	ours = cell_of(results, size, engine, benchmark);
	theirs = cell_of(results, size, b, benchmark);
	for (unsigned r = 0; r < ours.rounds; r++) {
		values[r] =
		    per_second(theirs.round[r]->ops, theirs.round[r]->ns);
		if (values[r] > 0)
			values[r] =
			    per_second(ours.round[r]->ops, ours.round[r]->ns) /
			    values[r];
	}
	return median(values, ours.rounds);
}

static double
median_at(const struct cell *cell, size_t from)
{
	double values[BENCH_MAX_ROUNDS];

	for (unsigned r = 0; r < cell->rounds; r++)
		values[r] = (double)*(const uint64_t *)(const void
			*)((const char *)cell->round[r] + from);
	return median(values, cell->rounds);
}

static double
amplification(const struct cell *cell)
{
	double values[BENCH_MAX_ROUNDS];

	for (unsigned r = 0; r < cell->rounds; r++) {
		if (cell->round[r]->user_bytes == 0)
			return 0;
		values[r] = (double)cell->round[r]->written /
			    (double)cell->round[r]->user_bytes;
	}
	return median(values, cell->rounds);
}

static void
summarise_latency(const struct cell *cell, struct summary *s)
{
	for (unsigned r = 0; r < cell->rounds; r++) {
		histogram_merge(&s->latency, &cell->round[r]->latency);
		if ((double)cell->round[r]->longest_ns > s->longest_ns)
			s->longest_ns = (double)cell->round[r]->longest_ns;
	}
	for (int q = 0; q < QUANTILE_COUNT; q++)
		s->quantile_ns[q] =
		    histogram_quantile(&s->latency, quantile_shares[q]);
}

/* How much the disk was in use at most, and at last. */
static void
summarise_growth(const struct cell *cell, struct summary *s)
{
	double most[BENCH_MAX_ROUNDS], last[BENCH_MAX_ROUNDS];

	for (unsigned r = 0; r < cell->rounds; r++) {
		const struct measure *m = cell->round[r];

		if (m->disk_fresh == 0)
			return;
		most[r] = (double)m->disk_most / (double)m->disk_fresh;
		last[r] = (double)m->disk_closed / (double)m->disk_fresh;
	}
	s->growth = median(most, cell->rounds);
	s->growth_closed = median(last, cell->rounds);
}

/* What was rewritten, beside a copy in the same round. */
static void
summarise_rewriting(const struct cell *cell, struct summary *s)
{
	double rates[BENCH_MAX_ROUNDS], copies[BENCH_MAX_ROUNDS];
	double ratios[BENCH_MAX_ROUNDS];

	for (unsigned r = 0; r < cell->rounds; r++) {
		const struct measure *m = cell->round[r];

		if (m->rewriting_ns == 0)
			return;
		rates[r] = per_second(m->rewritten, m->rewriting_ns);
		copies[r] = per_second(m->copied, m->copying_ns);
		ratios[r] = copies[r] > 0 ? rates[r] / copies[r] : 0;
	}
	s->bytes_per_s = median(rates, cell->rounds);
	s->copied_per_s = median(copies, cell->rounds);
	s->copied_ratio = median(ratios, cell->rounds);
}

static void
summarise(const struct results *results, const struct options *sized,
    size_t size, size_t engine, size_t benchmark, struct summary *s)
{
	const struct workload *workload = sized->benchmarks[benchmark];
	struct cell cell = cell_of(results, size, engine, benchmark);
	unsigned readers = workload_readers(workload, sized);
	double values[BENCH_MAX_ROUNDS], writers[BENCH_MAX_ROUNDS];

	s->done = cell.round[0]->done;
	s->omitted = cell.round[0]->omitted;
	for (unsigned r = 0; r < cell.rounds; r++) {
		const struct measure *m = cell.round[r];

		s->notes |= m->notes;
		values[r] = per_second(m->ops, m->ns);
		writers[r] = per_second(m->writer_ops, m->writer_ns);
	}
	s->ops_per_s = median(values, cell.rounds);
	s->low = values[0];
	s->high = values[cell.rounds - 1];
	s->writer_ops_per_s = median(writers, cell.rounds);
	for (size_t i = 0; i < sizeof medians / sizeof medians[0]; i++)
		*(double *)(void *)((char *)s + medians[i].to) =
		    median_at(&cell, medians[i].from) * medians[i].factor;
	if (readers > 0) {
		s->private_bytes /= readers;
		s->dirty_bytes /= readers;
	}
	if (workload->large)
		s->bytes_per_s = s->ops_per_s * (double)sized->large_len;
	summarise_growth(&cell, s);
	summarise_rewriting(&cell, s);
	s->amplification = amplification(&cell);
	s->base_ratio = base_ratio(results, size, engine, benchmark);
	summarise_latency(&cell, s);
}

/* Each engine beside the best peer other than itself. */
static void
compare(const struct options *options, struct summary *summaries)
{
	double best, best_writer;
	size_t e, p;

	for (e = 0; e < options->engine_count; e++) {
		if (options->engines[e]->kind == ENGINE_NULL)
			continue;
		best = best_writer = 0;
		for (p = 0; p < options->engine_count; p++) {
			if (p == e || options->engines[p]->kind != ENGINE_PEER)
				continue;
			if (summaries[p].ops_per_s > best)
				best = summaries[p].ops_per_s;
			if (summaries[p].writer_ops_per_s > best_writer)
				best_writer = summaries[p].writer_ops_per_s;
		}
		if (best > 0)
			summaries[e].ratio = summaries[e].ops_per_s / best;
		if (best_writer > 0)
			summaries[e].writer_ratio =
			    summaries[e].writer_ops_per_s / best_writer;
		if (best > 0 && summaries[e].command_ns > 0)
			summaries[e].command_ratio =
			    1e9 / summaries[e].command_ns / best;
	}
}

/*
 * The share of the time of benchmarks without syncs in which the process did
 * not run: other programs had its core, and rates are too low.
 */
static double
lost_share(const struct results *results)
{
	const struct options *options = results->options;
	double wall_s = 0, lost_s = 0, s, cpu_s;
	const struct workload *workload;
	struct cell cell;

	for (size_t i = 0; i < options->size_count * options->engine_count *
				   options->benchmark_count;
	     i++) {
		size_t b = i % options->benchmark_count;
		size_t e = i / options->benchmark_count % options->engine_count;

		workload = options->benchmarks[b];
		if (workload->mode == ENGINE_SYNC || !workload_loops(workload))
			continue;
		cell = cell_of(results,
		    i / options->benchmark_count / options->engine_count, e, b);
		for (unsigned r = 0; r < cell.rounds; r++) {
			s = (double)cell.round[r]->ns / 1e9;
			cpu_s = (double)cell.round[r]->cpu_us / 1e6;
			if (workload->threads)
				s *= (double)options->threads;
			wall_s += s;
			if (s > cpu_s)
				lost_s += s - cpu_s;
		}
	}
	return wall_s > 0 ? lost_s / wall_s : 0;
}

static void
summarise_limits(const struct results *results, struct limits *limits)
{
	double values[BENCH_MAX_ROUNDS];
	unsigned r, rounds = results->options->rounds;

	for (int i = 0; i < LIMIT_COUNT; i++) {
		for (r = 0; r < rounds; r++)
			values[r] = results->limits[r].ns[i];
		limits->ns[i] = median(values, rounds);
	}
}

const struct summary *
report_at(
    const struct report *report, size_t size, size_t benchmark, size_t engine)
{
	const struct options *options = report->options;

	return &report
		    ->summaries[(size * options->benchmark_count + benchmark) *
				    options->engine_count +
				engine];
}

struct report *
report_create(const struct results *results)
{
	const struct options *options = results->options;
	struct report *report;
	struct summary *row;
	size_t i, b, e, engines = options->engine_count;

	report = calloc(1, sizeof *report);
	if (report == NULL)
		return NULL;
	report->results = results;
	report->options = options;
	report->lost_share = lost_share(results);
	summarise_limits(results, &report->limits);
	report->summaries =
	    calloc(options->size_count * options->benchmark_count * engines,
		sizeof *report->summaries);
	if (report->summaries == NULL) {
		report_destroy(report);
		return NULL;
	}
	row = report->summaries;
	for (i = 0; i < options->size_count; i++) {
		report->sized[i] = *options;
		options_set_size(&report->sized[i], i);
		for (b = 0; b < options->benchmark_count; b++) {
			for (e = 0; e < engines; e++)
				summarise(results, &report->sized[i], i, e, b,
				    &row[e]);
			compare(options, row);
			row += engines;
		}
	}
	return report;
}

void
report_destroy(struct report *report)
{
	if (report == NULL)
		return;
	free(report->summaries);
	free(report);
}

/* What a process costs that does nothing, beside all the engines. */
static double
median_process_ns(const struct report *report, size_t size, size_t benchmark)
{
	double values[BENCH_MAX_ENGINES];
	size_t e;

	for (e = 0; e < report->options->engine_count; e++)
		values[e] = report_at(report, size, benchmark, e)->process_ns;
	return median(values, report->options->engine_count);
}

double
report_limit(const struct report *report, size_t size, size_t benchmark)
{
	const struct options *options = report->options;
	const struct workload *workload = options->benchmarks[benchmark];
	const double *ns = report->limits.ns;
	double threads = workload->threads ? (double)options->threads : 1;
	double len = (double)(options->key_len + options->lengths.mean);

	if (size + 1 < options->size_count && !workload_is_oneshot(workload))
		return 0;
	switch (workload->op) {
	case WORKLOAD_PUT_IN_ORDER:
	case WORKLOAD_PUT_SHUFFLED:
	case WORKLOAD_PUT_BATCH:
		if (workload->large)
			return ns[LIMIT_COPY] * (double)options->large_len /
			       LIMIT_RECORD_LEN;
		if (workload->mode == ENGINE_SYNC)
			return ns[LIMIT_SYNC] / threads;
		return workload->fresh ? ns[LIMIT_COPY] / threads
				       : ns[LIMIT_COPY] + 2 * ns[LIMIT_MISS];
	case WORKLOAD_DELETE:
		return ns[LIMIT_COPY] + 2 * ns[LIMIT_MISS];
	case WORKLOAD_GET:
		return workload_skewed(workload, options)
			   ? 0
			   : 2 * ns[LIMIT_MISS] / threads;
	case WORKLOAD_GET_MANY:
		return workload_skewed(workload, options)
			   ? 0
			   : 2 * ns[LIMIT_MISSES];
	case WORKLOAD_GET_ABSENT:
		return ns[LIMIT_MISS];
	case WORKLOAD_GET_VIEW:
		return ns[LIMIT_READ] * (double)options->large_len /
		       LIMIT_RECORD_LEN;
	case WORKLOAD_SCAN_ALL:
	case WORKLOAD_SCAN_SOME:
		return ns[LIMIT_READ] * len / LIMIT_RECORD_LEN;
	case WORKLOAD_ONESHOT_GET:
	case WORKLOAD_ONESHOT_GET_ABSENT:
	case WORKLOAD_ONESHOT_PUT:
		return median_process_ns(report, size, benchmark);
	case WORKLOAD_MIXED:
	case WORKLOAD_SCAN_WRITE:
	case WORKLOAD_OPEN:
	case WORKLOAD_OPEN_KILLED:
	case WORKLOAD_READ_WRITE:
	case WORKLOAD_READ_MEMORY:
	case WORKLOAD_CHURN:
	case WORKLOAD_COMPACT:
	case WORKLOAD_COMPACT_PUTS:
		break;
	}
	return 0;
}

bool
report_exceeds_memory(const struct report *report)
{
	const struct options *options = report->options;
	uint64_t available = report->results->machine->memory_available;

	for (size_t i = 0; i < options->size_count; i++) {
		if (bench_footprint(options->sizes[i], options->key_len,
			options->lengths.mean) > available)
			return true;
	}
	return false;
}

const char *
summary_note(
    const struct report *report, const struct summary *s, char text[128])
{
	static const char *const omissions[] = {
	    [OMIT_NOTHING] = "",
	    [OMIT_UNSHARED] =
		"left out: another process cannot use an open store",
	    [OMIT_NO_SCAN] = "left out: no order of keys",
	    [OMIT_NO_VIEW] = "left out: values are always copied",
	    [OMIT_NO_COMPACT] = "left out: compared with a copy alone",
	};

	if (!s->done)
		return omissions[s->omitted];
	text[0] = '\0';
	if ((s->notes & NOTE_SINGLE) != 0)
		snprintf(text, 128, "one by one: it has no such call");
	if ((s->notes & NOTE_CUT) != 0)
		snprintf(text + strlen(text), 128 - strlen(text),
		    "%sended after %" PRIu64 " s, at %.0f",
		    text[0] != '\0' ? "; " : "", report->options->seconds,
		    s->ops);
	return text;
}

bool
report_any(const struct report *report, size_t benchmark)
{
	const struct options *options = report->options;

	for (size_t e = 0; e < options->engine_count; e++) {
		if (options->engines[e]->kind != ENGINE_NULL &&
		    report_at(report, 0, benchmark, e)->done)
			return true;
	}
	return false;
}

size_t
report_own_engine(const struct report *report)
{
	size_t e = 0;

	while (e < report->options->engine_count &&
	       report->options->engines[e]->kind != ENGINE_OURS)
		e++;
	return e;
}

/* The summary's rows: what, and the benchmark that says it. */
static const struct {
	const char *what, *benchmark, *more;
	double unit;
} closing[] = {
    {"random writes", "fillrandom", "", 1},
    {"random reads", "readrandom", "", 1},
    {"range scans", "prefixscan", ", of 100 records each", SCAN_LEN},
};

double
report_closing(const struct report *report, size_t row, const char **ret_what,
    const char **ret_benchmark, const char **ret_more)
{
	const struct options *options = report->options;
	size_t b, e = report_own_engine(report);

	*ret_what = closing[row].what;
	*ret_benchmark = closing[row].benchmark;
	*ret_more = closing[row].more;
	for (b = 0; b < options->benchmark_count; b++) {
		if (strcmp(options->benchmarks[b]->name,
			closing[row].benchmark) == 0)
			return report_at(report, options->size_count - 1, b, e)
				   ->ops_per_s /
			       closing[row].unit;
	}
	return 0;
}

const char *
report_crash(const struct report *report, char text[256])
{
	const struct crash_result *crash = report->results->crash;

	if (crash->outcome == CRASH_PASSED)
		snprintf(text, 256,
		    "Crash recovery test: PASSED (after each of %" PRIu64
		    " kills all acknowledged puts were there, %" PRIu64
		    " in the end)",
		    crash->kills, crash->acknowledged);
	else
		snprintf(text, 256, "Crash recovery test: %s (%s)",
		    crash->outcome == CRASH_FAILED ? "FAILED" : "not done",
		    crash->text);
	return text;
}
