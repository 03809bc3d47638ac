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
	struct kvlog *bucket;  /* in use; NULL: the default one */
	char *bucket_name;     /* escaped; cli->bucket, too, for messages */
	struct kvlog_txn *txn; /* NULL: none is open */
	struct savepoint *savepoints;
	size_t savepoint_count;
	/* Handles that the transaction may have writes of. */
	struct kvlog **old;
	size_t old_count;
	bool interactive; /* somebody types, and reads the answers */
	bool done;
};

/* What is left of a line: bytes that may be changed. */
struct rest {
	char *p;
	size_t len;
};

struct verb_option {
	const char *name; /* ends in "=" if it has an argument */
	bool takes_key;   /* for that */
};

struct verb { /* a command */
	const char *name;
	const char *alias; /* a second name, or NULL */
	const char *synopsis;
	const char *help;
	enum cli_exit (*exec)(struct shell *sh, struct rest rest);
	bool takes_key;
	size_t name_word; /* where a key or the name of a bucket stands; 0 */
	const struct verb_option *options; /* up to a name NULL; NULL: none */
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

/* Of a line: whether there is another word; without the blank behind it. */
bool shell_word(struct rest *rest, struct rest *ret_word);
/* The next one or two, if they are an option of verb, --ttl=TIME or --ttl TIME;
 * NULL: they are not.  An empty argument is missing. */
const struct verb_option *shell_take_option(
    const struct verb *verb, struct rest *rest, struct rest *ret_arg);
/* The word of a key or name; one that begins with "--" stands behind a "--". */
enum cli_exit shell_name_word(const struct shell *sh, const struct verb *verb,
    struct rest *rest, struct rest *ret_word);
enum cli_exit shell_fail_words(const struct shell *sh, const struct verb *verb);
/* A key or name from a word; what: how messages call it. */
enum cli_exit shell_take_name(const struct shell *sh, const char *what,
    struct rest word, struct bytes *ret_name);
/* One word and nothing behind it. */
enum cli_exit shell_take_only_name(const struct shell *sh,
    const struct verb *verb, const char *what, struct rest rest,
    struct bytes *ret_name);

/* Of the bucket in use. */
struct kvlog *shell_handle(const struct shell *sh);

/* Answers; staged: nobody else sees it yet. */
void shell_print_time(uint64_t began_ns);
void shell_print_ok(const struct shell *sh, bool staged, uint64_t began_ns);
/* What the library said; a transaction that is over is none any more. */
enum cli_exit shell_fail_call(
    struct shell *sh, enum kvlog_status st, const char *what);

/*
 * shell_keys.c: commands on keys.
 */
#define SHELL_KEY_VERB_COUNT 10
extern const struct verb *const shell_key_verbs[SHELL_KEY_VERB_COUNT];

/* The number of keys, as the transaction sees it, if there is one. */
enum kvlog_status shell_count(struct shell *sh, uint64_t *ret_count);

/* What to iterate over: as the transaction sees it, if there is one; keys or
 * names of buckets. */
enum kvlog_status shell_walk(struct shell *sh, const struct kvlog_range *range,
    struct kvlog_iter **ret_iter);
enum kvlog_status shell_list_buckets(
    struct shell *sh, struct kvlog_iter **ret_iter);

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
