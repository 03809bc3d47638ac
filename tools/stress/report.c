/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - what a run says of itself.
 *
 * Labels and names are an interface: scripts read them.
 */
#include "config.h"

#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The operations of one kind, of all threads. */
struct sum {
	uint64_t done;
	uint64_t failed;
	struct histogram latency;
};

struct totals {
	struct sum writes, reads, walks;
	uint64_t contentions;
	uint64_t commits;
};

static void
sum_add(struct sum *sum, const struct tally *tally)
{
	sum->done += tally->done;
	sum->failed += tally->failed;
	histogram_merge(&sum->latency, &tally->latency);
}

/* Of writers and readers: what the judge reads is no load. */
static void
totals_fill(struct totals *totals, const struct board *board)
{
	for (uint32_t i = 0; i < board->worker_count - 1; i++) {
		const struct worker *worker = &board->workers[i];

		for (uint32_t k = 0; k < worker->runner_count; k++) {
			const struct runner *runner = &worker->runners[k];

			sum_add(&totals->reads, &runner->reads);
			sum_add(&totals->writes, &runner->writes);
			sum_add(&totals->walks, &runner->walks);
			totals->contentions += runner->contentions;
			totals->commits += runner->commits;
		}
	}
}

static uint64_t
worker_commits(const struct worker *worker)
{
	uint64_t commits = 0;

	for (uint32_t k = 0; k < worker->runner_count; k++)
		commits += worker->runners[k].commits;
	return commits;
}

static uint64_t
sum_total(const struct sum *sum)
{
	return sum->done + sum->failed;
}

/* Never 100 if it is not all. */
static double
percent(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 100.0
			  : (double)(uint64_t)(10000.0 * (double)part /
					       (double)whole) /
				100.0;
}

static uint64_t
total_ops(const struct totals *totals)
{
	return sum_total(&totals->writes) + sum_total(&totals->reads) +
	       sum_total(&totals->walks);
}

static double
seconds(const struct outcome *outcome)
{
	return (double)outcome->elapsed_ns / 1e9;
}

static double
throughput(const struct totals *totals, const struct outcome *outcome)
{
	return outcome->elapsed_ns == 0
		   ? 0.0
		   : (double)total_ops(totals) / seconds(outcome);
}

bool
report_passed(struct board *board, const struct outcome *outcome)
{
	return outcome->verified && outcome->deadlocks == 0 &&
	       atomic_load(&board->verdicts.count) == 0;
}

/* Text */

static void
print_number(const char *label, uint64_t number)
{
	printf("%-20s%" PRIu64 "\n", label, number);
}

static void
print_sum(const char *label, const struct sum *sum)
{
	printf("%-20s%" PRIu64 " (%.2f %% succeeded)\n", label, sum_total(sum),
	    percent(sum->done, sum_total(sum)));
}

static double
quantile_us(const struct sum *sum, double fraction)
{
	return (double)histogram_quantile(&sum->latency, fraction) / 1e3;
}

static void
print_latency(const char *label, const struct sum *sum)
{
	printf("%-20sp50 %.1f us, p99 %.1f us, p99.9 %.1f us, max %.1f us\n",
	    label, quantile_us(sum, 0.5), quantile_us(sum, 0.99),
	    quantile_us(sum, 0.999), (double)sum->latency.max / 1e3);
}

static void
print_writers(const struct board *board, uint64_t commits)
{
	char label[32];

	for (uint32_t i = 0; i < board->plan.writers; i++) {
		const struct worker *worker = &board->workers[i];

		snprintf(label, sizeof label, "Commits of %" PRIu32 ":",
		    worker->number);
		printf("%-20s%" PRIu64 " (%.2f %%)\n", label,
		    worker_commits(worker),
		    commits == 0 ? 0.0
				 : percent(worker_commits(worker), commits));
	}
}

static void
print_verdicts(struct board *board)
{
	struct verdicts *verdicts = &board->verdicts;
	uint64_t count = atomic_load(&verdicts->count);

	for (uint64_t i = 0; i < count && i < VERDICT_COUNT_MAX; i++) {
		fputs("wrong: ", stdout);
		/* Its process may have been killed before it had said it. */
		text_message(stdout, atomic_load(&verdicts->verdict[i].ready)
					 ? verdicts->verdict[i].text
					 : "(not told)");
		putchar('\n');
	}
	if (count > VERDICT_COUNT_MAX)
		printf("wrong: %" PRIu64 " more\n", count - VERDICT_COUNT_MAX);
}

void
report_text(struct board *board, const struct outcome *outcome)
{
	struct totals *totals = calloc(1, sizeof *totals);

	if (totals == NULL)
		return; /* the status will say it */
	totals_fill(totals, board);
	print_number("Writers:", board->plan.writers);
	print_number("Readers:", board->plan.readers);
	print_number("Threads:", board->plan.threads);
	print_number("Seed:", board->plan.scheme.seed);
	printf("%-20s%.2f\n", "Seconds:", seconds(outcome));
	print_number("Total operations:", total_ops(totals));
	print_sum("Writes:", &totals->writes);
	print_sum("Reads:", &totals->reads);
	print_sum("Walks:", &totals->walks);
	print_number("Lock contentions:", totals->contentions);
	print_number("Deadlocks:", outcome->deadlocks);
	print_number("Killed:", outcome->kills);
	print_number("Stopped:", outcome->freezes);
	print_number("Compactions:", outcome->compactions);
	printf("%-20s%.0f operations/s\n",
	    "Throughput:", throughput(totals, outcome));
	print_latency("Write latency:", &totals->writes);
	print_latency("Read latency:", &totals->reads);
	print_latency("Walk latency:", &totals->walks);
	print_writers(board, totals->commits);
	print_verdicts(board);
	printf("verification: %s\n",
	    report_passed(board, outcome) ? "PASSED" : "FAILED");
	free(totals);
}

/* JSON */

static void
json_sum(struct json *json, const char *name, const struct sum *sum)
{
	char text[256];

	snprintf(text, sizeof text,
	    "{\"total\":%" PRIu64 ",\"succeeded\":%" PRIu64
	    ",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64
	    ",\"p99_9_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}",
	    sum_total(sum), sum->done, histogram_quantile(&sum->latency, 0.5),
	    histogram_quantile(&sum->latency, 0.99),
	    histogram_quantile(&sum->latency, 0.999), sum->latency.max);
	json_raw(json, name, text);
}

/* A list in memory, which the caller frees; NULL without memory. */
static char *
commit_list(const struct board *board)
{
	char *list = NULL;
	size_t size;
	FILE *file = open_memstream(&list, &size);

	if (file == NULL)
		return NULL;
	for (uint32_t i = 0; i < board->plan.writers; i++)
		fprintf(file, "%s%" PRIu64, i == 0 ? "[" : ",",
		    worker_commits(&board->workers[i]));
	fputs(board->plan.writers == 0 ? "[]" : "]", file);
	if (fclose(file) == 0)
		return list;
	free(list);
	return NULL;
}

void
report_json(struct board *board, const struct outcome *outcome)
{
	struct totals *totals = calloc(1, sizeof *totals);
	char *commits = commit_list(board);
	struct json json;

	if (totals != NULL && commits != NULL) {
		totals_fill(totals, board);
		json_begin(&json, stdout);
		json_number(&json, "writers", board->plan.writers);
		json_number(&json, "readers", board->plan.readers);
		json_number(&json, "threads", board->plan.threads);
		json_number(&json, "seed", board->plan.scheme.seed);
		json_number(&json, "elapsed_ns", outcome->elapsed_ns);
		json_number(&json, "operations", total_ops(totals));
		json_sum(&json, "writes", &totals->writes);
		json_sum(&json, "reads", &totals->reads);
		json_sum(&json, "walks", &totals->walks);
		json_number(&json, "lock_contentions", totals->contentions);
		json_number(&json, "deadlocks", outcome->deadlocks);
		json_number(&json, "killed", outcome->kills);
		json_number(&json, "stopped", outcome->freezes);
		json_number(&json, "compactions", outcome->compactions);
		json_raw(&json, "commits", commits);
		json_number(
		    &json, "wrong", atomic_load(&board->verdicts.count));
		if (atomic_load(&board->verdicts.verdict[0].ready))
			json_text(&json, "first_wrong",
			    board->verdicts.verdict[0].text);
		json_text(&json, "verification",
		    report_passed(board, outcome) ? "PASSED" : "FAILED");
		json_end(&json);
	}
	free(totals);
	free(commits);
}
