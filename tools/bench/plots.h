/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plots.h - a directory with a page and its plots, which gnuplot draws.
 */
#ifndef BENCH_PLOTS_H
#define BENCH_PLOTS_H

#include "summary.h"

#include <stdbool.h>

/*
 * plots_check - whether there is a gnuplot, and dir a directory that can be
 * written, which this makes; false after a message.
 */
bool plots_check(const char *dir);

/*
 * plots_write - write index.html, plots.gnuplot and what that draws into dir;
 * false after a message.
 */
bool plots_write(const struct report *report, const char *dir);

#endif /* BENCH_PLOTS_H */
