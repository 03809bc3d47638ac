/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nursery.h - a process that forks others, and does nothing else.
 *
 * Some libraries cannot be used in a child of a process that has used them:
 * LevelDB's and RocksDB's background threads stay behind, and the child waits
 * for them for ever.  So the nursery is made first, and children that use an
 * engine are its children.
 */
#ifndef BENCH_NURSERY_H
#define BENCH_NURSERY_H

#include <stdbool.h>
#include <sys/types.h>

struct nursery {
	pid_t pid; /* 0: there is none */
	int fd;    /* it is asked through, and answers */
};

/*
 * nursery_open - make one whose children do work(arg), with what the memory
 * holds now, and exit with its result.  False with errno set.
 */
bool nursery_open(struct nursery *nursery, int (*work)(void *arg), void *arg);

/* nursery_run - have a child work; *ret_status is as of waitpid().  False
 * with errno set. */
bool nursery_run(struct nursery *nursery, int *ret_status);

/* nursery_close - end it, if there is one. */
void nursery_close(struct nursery *nursery);

#endif /* BENCH_NURSERY_H */
