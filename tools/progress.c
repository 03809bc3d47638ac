/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * progress.c - one line that is drawn over and over while load and dump
 * work:
 *
 *     [##########          ]  50%  1200000 records  140.2 MiB  1310000/s
 *
 * The bar is left out where the end is not known (a pipe) or the terminal is
 * narrow.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define REDRAW_NS (NS_PER_S / 10)
#define BAR_WIDTH 20u
#define LINE_MAX_LEN 100

static struct {
	uint64_t begin_ns;
	uint64_t next_ns;     /* not redrawn before */
	uint64_t total_bytes; /* 0: not known */
	bool enabled;
	bool drawn;
} progress;

uint64_t
progress_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void
progress_begin(const struct cli *cli, uint64_t total_bytes)
{
	progress.begin_ns = progress_clock();
	progress.next_ns = progress.begin_ns + REDRAW_NS;
	progress.total_bytes = total_bytes;
	progress.enabled =
	    !cli->quiet && !cli->json && isatty(STDERR_FILENO) == 1;
	progress.drawn = false;
}

static unsigned
terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

/* The bar and the percentage into buf. */
static int
bar_text(char *buf, size_t size, uint64_t done, uint64_t total)
{
	unsigned percent = 100;
	char bar[BAR_WIDTH + 1];

	if (done < total)
		percent = (unsigned)(100 * ((double)done / (double)total));
	for (unsigned i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < percent * BAR_WIDTH / 100 ? '#' : ' ';
	bar[BAR_WIDTH] = '\0';
	return snprintf(buf, size, "[%s] %3u%%  ", bar, percent);
}

/* Whether it is time to draw again, and the seconds since the beginning. */
static bool
is_due(double *ret_seconds)
{
	uint64_t now;

	if (!progress.enabled)
		return false;
	now = progress_clock();
	if (now < progress.next_ns)
		return false;
	progress.next_ns = now + REDRAW_NS;
	*ret_seconds = (double)(now - progress.begin_ns) / (double)NS_PER_S;
	return true;
}

/* A line that wraps could not be drawn over. */
static void
draw(const char *line, unsigned width)
{
	fprintf(stderr, "\r%.*s\033[K", (int)width - 1, line);
	fflush(stderr);
	progress.drawn = true;
}

void
progress_bytes(uint64_t done, uint64_t total)
{
	char line[LINE_MAX_LEN];
	char size[TEXT_SIZE_LEN], rate[TEXT_SIZE_LEN];
	double seconds;
	int len;

	if (!is_due(&seconds))
		return;
	len = bar_text(line, sizeof line, done, total);
	snprintf(line + len, sizeof line - (size_t)len, "%s  %s/s",
	    text_size(size, done),
	    text_size(rate, (uint64_t)((double)done / seconds)));
	draw(line, terminal_width());
}

void
progress_update(uint64_t record_count, uint64_t byte_count)
{
	char line[LINE_MAX_LEN];
	char size[TEXT_SIZE_LEN];
	unsigned width;
	double seconds;
	int len = 0;

	if (!is_due(&seconds))
		return;
	width = terminal_width();
	if (progress.total_bytes > 0 && width >= 76)
		len = bar_text(
		    line, sizeof line, byte_count, progress.total_bytes);
	snprintf(line + len, sizeof line - (size_t)len,
	    "%" PRIu64 " records  %s  %.0f/s", record_count,
	    text_size(size, byte_count), (double)record_count / seconds);
	draw(line, width);
}

void
progress_hide(void)
{
	if (progress.drawn)
		fputs("\r\033[K", stderr);
	progress.drawn = false;
}

void
progress_end(void)
{
	progress_hide();
	progress.enabled = false;
}
