/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.h - programs that are run and timed as a whole.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESS_PATH_MAX 4096

/*
 * process_find - the path of a program that belongs to this one: beside it
 * (of the build or installed), or where `make install` puts helpers.  False
 * if it is nowhere.
 */
bool process_find(const char *name, char ret_path[PROCESS_PATH_MAX]);

/*
 * process_time - run argv[0] with its output thrown away, errors apart, and
 * wait for its end; *ret_ns is what all that took.  Returns its exit status,
 * or -1 if it could not be run or was killed.
 */
int process_time(char *const argv[], uint64_t *ret_ns);

#endif /* BENCH_PROCESS_H */
