/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h - what a run says of itself.
 */
#ifndef STRESS_REPORT_H
#define STRESS_REPORT_H

#include "board.h"
#include "run.h"

/* report_passed - whether all held. */
bool report_passed(struct board *board, const struct outcome *outcome);

/* Print the answer, as lines or as one JSON object. */
void report_text(struct board *board, const struct outcome *outcome);
void report_json(struct board *board, const struct outcome *outcome);

#endif /* STRESS_REPORT_H */
