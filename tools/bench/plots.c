/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plots.c - one script for gnuplot with all data in it, and the page.
 *
 * Of each benchmark: a bar of the rate of each engine; its latencies, from
 * which share of the operations on they are longer; and, if the run has
 * several sizes, the rate over the number of records.
 */
#include "config.h"

#include "plots.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LATENCY_POINTS 41 /* eight for each tenth part */

/* Run gnuplot in dir; its exit status, 127 if there is none. */
static int
run_gnuplot(const char *dir, const char *arg)
{
	int status, null;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == -1)
		return 127;
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		if (null != -1) {
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO); /* ranges of one value */
		}
		if (chdir(dir) == 0)
			execlp("gnuplot", "gnuplot", arg, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) == -1) {
		if (errno != EINTR)
			return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool
plots_check(const char *dir)
{
	if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
		fprintf(stderr, "kvlog-bench: --report: %s: %s\n", dir,
		    strerror(errno));
		return false;
	}
	if (access(dir, W_OK | X_OK) != 0) {
		fprintf(stderr, "kvlog-bench: --report: %s: %s\n", dir,
		    strerror(errno));
		return false;
	}
	if (run_gnuplot(dir, "--version") == 0)
		return true;
	fprintf(stderr,
	    "kvlog-bench: --report: gnuplot is missing, which draws the plots; "
	    "in Debian it is the package gnuplot-nox\n");
	return false;
}

/* ---- data ---- */

static size_t
last_size(const struct report *report)
{
	return report->options->size_count - 1;
}

static void
rates_data(FILE *out, const struct report *report, size_t benchmark)
{
	const struct options *options = report->options;

	fprintf(out, "$rates << EOD\n");
	for (size_t e = 0; e < options->engine_count; e++) {
		const struct summary *s =
		    report_at(report, last_size(report), benchmark, e);

		if (s->done && options->engines[e]->kind != ENGINE_NULL)
			fprintf(out, "\"%s\" %.0f %.0f %.0f\n",
			    options->engines[e]->name, s->ops_per_s, s->low,
			    s->high);
	}
	fprintf(out, "EOD\n");
}

/* How long the slowest tenth, hundredth and so on of all take, at least. */
static void
latency_data(FILE *out, const struct report *report, size_t benchmark)
{
	const struct options *options = report->options;

	fprintf(out, "$latency << EOD\n");
	for (size_t e = 0; e < options->engine_count; e++) {
		const struct summary *s =
		    report_at(report, last_size(report), benchmark, e);

		if (!s->done || options->engines[e]->kind == ENGINE_NULL)
			continue;
		fprintf(out, "\"%s\"\n", options->engines[e]->name);
		for (int i = 0; i < LATENCY_POINTS; i++) {
			double parts = pow(10, i / 8.0);

			if (i > 0 && parts > (double)s->latency.total)
				break;
			fprintf(out, "%g %llu\n", parts,
			    (unsigned long long)histogram_quantile(
				&s->latency, 1 - 1 / parts));
		}
		fprintf(out, "\n\n");
	}
	fprintf(out, "EOD\n");
}

static void
growth_data(FILE *out, const struct report *report, size_t benchmark)
{
	const struct options *options = report->options;

	fprintf(out, "$growth << EOD\n");
	for (size_t e = 0; e < options->engine_count; e++) {
		if (!report_at(report, 0, benchmark, e)->done ||
		    options->engines[e]->kind == ENGINE_NULL)
			continue;
		fprintf(out, "\"%s\"\n", options->engines[e]->name);
		for (size_t i = 0; i < options->size_count; i++)
			fprintf(out, "%llu %.0f\n",
			    (unsigned long long)options->sizes[i],
			    report_at(report, i, benchmark, e)->ops_per_s);
		fprintf(out, "\n\n");
	}
	fprintf(out, "EOD\n");
}

static void
benchmark_plots(FILE *out, const struct report *report, size_t benchmark)
{
	const char *name = report->options->benchmarks[benchmark]->name;

	rates_data(out, report, benchmark);
	fprintf(out,
	    "set output 'throughput-%s.svg'\n"
	    "set title '%s: operations per second, lowest to highest round'\n"
	    "unset logscale\n"
	    "unset xlabel\n"
	    "unset key\n"
	    "set xtics rotate by -30\n"
	    "set yrange [0:*]\n"
	    "set format y '%%.1s%%c'\n"
	    "plot $rates using 0:2:3:4:(0.7):xtic(1) with boxerrorbars\n",
	    name, name);
	latency_data(out, report, benchmark);
	fprintf(out,
	    "set output 'latency-%s.svg'\n"
	    "set title '%s: latency'\n"
	    "set logscale xy\n"
	    "set xlabel 'one operation of so many takes this or longer "
	    "(100: p99)'\n"
	    "set key top left\n"
	    "set xtics norotate autofreq\n"
	    "set yrange [*:*]\n"
	    "set format x '%%.0s%%c'\n"
	    "set format y '%%.0s %%cs'\n"
	    "stats $latency using 1 nooutput\n"
	    "plot for [i=0:STATS_blocks-2] $latency index i using "
	    "1:($2*1e-9) with lines title columnheader(1)\n",
	    name, name);
	if (report->options->size_count < 2)
		return;
	growth_data(out, report, benchmark);
	fprintf(out,
	    "set output 'growth-%s.svg'\n"
	    "set title '%s: operations per second'\n"
	    "set xlabel 'records'\n"
	    "set key bottom left\n"
	    "set format y '%%.0s%%c'\n"
	    "stats $growth using 1 nooutput\n"
	    "plot for [i=0:STATS_blocks-2] $growth index i using 1:2 with "
	    "linespoints title columnheader(1)\n",
	    name, name);
}

static bool
write_script(FILE *out, const struct report *report)
{
	fprintf(out,
	    "# gnuplot plots.gnuplot draws the plots of index.html\n"
	    "set terminal svg size 640,400 dynamic background 'white'\n"
	    "set style fill solid 0.5\n"
	    "set boxwidth 0.7\n"
	    "set grid y\n");
	for (size_t b = 0; b < report->options->benchmark_count; b++) {
		if (report_any(report, b))
			benchmark_plots(out, report, b);
	}
	return true;
}

static bool
write_page(FILE *out, const struct report *report)
{
	report_html(report, out);
	return true;
}

static bool
write_file(const struct report *report, const char *dir, const char *name,
    bool (*write)(FILE *out, const struct report *report))
{
	char path[4096];
	FILE *out;
	bool ok;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	out = fopen(path, "w");
	ok = out != NULL && write(out, report) && ferror(out) == 0;
	if (out != NULL && fclose(out) != 0)
		ok = false;
	if (!ok)
		fprintf(stderr, "kvlog-bench: --report: %s: %s\n", path,
		    strerror(errno));
	return ok;
}

bool
plots_write(const struct report *report, const char *dir)
{
	int status;

	if (!write_file(report, dir, "plots.gnuplot", write_script) ||
	    !write_file(report, dir, "index.html", write_page))
		return false;
	status = run_gnuplot(dir, "plots.gnuplot");
	if (status != 0)
		fprintf(stderr,
		    "kvlog-bench: --report: gnuplot ended with status %d; to "
		    "see why: cd %s && gnuplot plots.gnuplot\n",
		    status, dir);
	return status == 0;
}
