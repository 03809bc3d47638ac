/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shell.h - what the files of kvlog shell share: its state, its commands, and
 * where its lines come from.
 */
#ifndef KVLOG_SHELL_H
#define KVLOG_SHELL_H

#include "cli.h"

#include <signal.h>

/* A place in a transaction to go back to. */
struct savepoint {
	char *name;
	uint64_t number;
};

struct shell {
	struct cli *cli;
	struct kvlog *store;
	struct kvlog *bucket; /* in use; NULL: the default one */
	char *bucket_name;
	struct kvlog_txn *txn; /* NULL: none is open */
	struct savepoint *savepoints;
	size_t savepoint_count;
	/* Handles that the transaction may have writes of. */
	struct kvlog **old;
	size_t old_count;
	bool interactive; /* somebody types, and reads the answers */
	bool done;
};

/* Set by an interrupt, where somebody types. */
extern volatile sig_atomic_t shell_interrupted;

/*
 * shell_commands.c: what a line means.
 */

/* Execute a line without its newline, which is changed.  Says what is wrong. */
enum cli_exit shell_execute(struct shell *sh, char *line, size_t len);

/* End the transaction, if there is one. */
void shell_rollback(struct shell *sh);

/*
 * Call fn with what may stand in place of the last word of a line, which begins
 * with that word: commands, keys or names of buckets, until it says false.
 * *ret_word: where that word begins.
 */
typedef bool shell_word_fn(void *arg, struct bytes word);
void shell_complete(struct shell *sh, const char *line, size_t len,
    size_t *ret_word, shell_word_fn *fn, void *arg);

/* What to iterate over: as the transaction sees it, if there is one. */
enum kvlog_status shell_walk(struct shell *sh, const struct kvlog_range *range,
    struct kvlog_iter **ret_iter);

/*
 * shell_input.c: lines from a file or a pipe, or from somebody who types.
 */
struct input;

/* history: kept in a file of the user's. */
struct input *input_open(struct shell *sh, bool history);
void input_close(struct input *in);

/* The next line, without its newline, until the next call.  NULL: no more, or
 * errno is set: EINTR, if the line was given up. */
char *input_line(struct input *in, char *prompt, size_t *ret_len);

#endif
