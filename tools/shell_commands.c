/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shell_commands.c - the lines of kvlog shell, and the commands that are not on
 * keys.
 *
 * A line is a command in any case, a key, and behind one blank a value, which
 * is the rest of the line as it stands.  Keys have the escapes of the line
 * format (kvlog(1)), so that what is printed can be typed; a blank is \x20.
 */
#include "config.h"

#include "shell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A transaction that waits for somebody to type is longer than one of a
 * program; others must not wait for ever. */
#define IDLE_MS 60000u

struct kvlog *
shell_handle(const struct shell *sh)
{
	return sh->bucket != NULL ? sh->bucket : sh->store;
}

/* Words */

bool
shell_word(struct rest *rest, struct rest *ret_word)
{
	char *blank;

	while (rest->len > 0 && *rest->p == ' ') {
		rest->p++;
		rest->len--;
	}
	if (rest->len == 0)
		return false;
	blank = memchr(rest->p, ' ', rest->len);
	ret_word->p = rest->p;
	ret_word->len = blank != NULL ? (size_t)(blank - rest->p) : rest->len;
	rest->p += ret_word->len;
	rest->len -= ret_word->len;
	return true;
}

static bool
is_word(struct rest word, const char *text)
{
	return word.len == strlen(text) &&
	       strncasecmp(word.p, text, word.len) == 0;
}

static bool
begins_with(struct rest word, const char *text)
{
	const size_t len = strlen(text);

	return word.len >= len && strncasecmp(word.p, text, len) == 0;
}

/* Whether word is this option, and the argument that is in it or follows. */
static bool
take_option(
    const char *name, struct rest word, struct rest *next, struct rest *ret_arg)
{
	const size_t len = strlen(name);

	*ret_arg = (struct rest){word.p + word.len, 0};
	if (name[len - 1] != '=')
		return is_word(word, name);
	if (begins_with(word, name)) {
		*ret_arg = (struct rest){word.p + len, word.len - len};
		return true;
	}
	if (word.len != len - 1 || strncasecmp(word.p, name, len - 1) != 0)
		return false;
	(void)shell_word(next, ret_arg);
	return true;
}

const struct verb_option *
shell_take_option(
    const struct verb *verb, struct rest *rest, struct rest *ret_arg)
{
	const struct verb_option *option = verb->options;
	struct rest next = *rest, word;

	if (!shell_word(&next, &word))
		return NULL;
	for (; option != NULL && option->name != NULL; option++)
		if (take_option(option->name, word, &next, ret_arg)) {
			*rest = next;
			return option;
		}
	return NULL;
}

enum cli_exit
shell_fail_words(const struct shell *sh, const struct verb *verb)
{
	return cli_fail(
	    sh->cli, CLI_USAGE, "wrong words; this is '%s'", verb->synopsis);
}

enum cli_exit
shell_name_word(const struct shell *sh, const struct verb *verb,
    struct rest *rest, struct rest *ret_word)
{
	struct rest word;

	if (!shell_word(rest, &word))
		return shell_fail_words(sh, verb);
	if (begins_with(word, "--") && word.len > 2)
		return cli_fail(sh->cli, CLI_USAGE,
		    "'%.*s' is no option of '%s'; a word that begins with '--' "
		    "goes behind '--'",
		    (int)(word.len < 40 ? word.len : 40), word.p, verb->name);
	if (is_word(word, "--") && !shell_word(rest, &word))
		return shell_fail_words(sh, verb);
	*ret_word = word;
	return CLI_DONE;
}

enum cli_exit
shell_take_name(const struct shell *sh, const char *what, struct rest word,
    struct bytes *ret_name)
{
	size_t len;
	const char *wrong = text_unescape(word.p, word.len, &len);

	if (wrong != NULL)
		return cli_fail(sh->cli, CLI_USAGE, "the %s: %s", what, wrong);
	if (len == 0 || len > KVLOG_KEY_MAX)
		return cli_fail(sh->cli, CLI_USAGE,
		    "the %s has %zu bytes; it has 1 to %u", what, len,
		    KVLOG_KEY_MAX);
	*ret_name = (struct bytes){word.p, len};
	return CLI_DONE;
}

enum cli_exit
shell_take_only_name(const struct shell *sh, const struct verb *verb,
    const char *what, struct rest rest, struct bytes *ret_name)
{
	struct rest word = {NULL, 0}, more;
	enum cli_exit status = shell_name_word(sh, verb, &rest, &word);

	if (status != CLI_DONE)
		return status;
	return shell_word(&rest, &more)
		   ? shell_fail_words(sh, verb)
		   : shell_take_name(sh, what, word, ret_name);
}

/* Answers */

void
shell_print_time(uint64_t began_ns)
{
	printf("(%.1fms)\n", (double)(progress_clock() - began_ns) / 1e6);
}

void
shell_print_ok(const struct shell *sh, bool staged, uint64_t began_ns)
{
	if (sh->cli->quiet)
		return;
	fputs("OK ", stdout);
	if (staged)
		puts("(staged)");
	else
		shell_print_time(began_ns);
}

static void
print_done(const struct shell *sh, const char *text)
{
	if (!sh->cli->quiet)
		puts(text);
}

/* Transactions */

static void
forget_savepoints(struct shell *sh, size_t from)
{
	while (sh->savepoint_count > from)
		free(sh->savepoints[--sh->savepoint_count].name);
}

/* The transaction is over: what it may have needed goes. */
static void
end_transaction(struct shell *sh)
{
	sh->txn = NULL;
	forget_savepoints(sh, 0);
	while (sh->old_count > 0)
		(void)kvlog_close(sh->old[--sh->old_count], NULL);
}

/* In a transaction a handle is not closed before it ends.  NULL is fine. */
static enum kvlog_status
close_bucket(struct shell *sh, struct kvlog *bucket)
{
	struct kvlog **old;

	if (bucket == NULL || sh->txn == NULL) {
		(void)kvlog_close(bucket, NULL);
		return KVLOG_OK;
	}
	old = realloc(sh->old, (sh->old_count + 1) * sizeof(struct kvlog *));
	if (old == NULL)
		return KVLOG_NOMEM;
	old[sh->old_count++] = bucket;
	sh->old = old;
	return KVLOG_OK;
}

/* text: its name; both may be NULL, and are the shell's then. */
static enum kvlog_status
change_bucket(struct shell *sh, struct kvlog *bucket, char *text)
{
	enum kvlog_status st = close_bucket(sh, sh->bucket);

	if (st != KVLOG_OK)
		return st;
	free(sh->bucket_name);
	sh->bucket = bucket;
	sh->cli->bucket = sh->bucket_name = text;
	if (sh->cli->quiet)
		return KVLOG_OK;
	if (text == NULL)
		puts("Using the default bucket");
	else
		printf("Using bucket %s\n", text);
	return KVLOG_OK;
}

/* Do not go on with a bucket that is dropped, or was never created. */
static void
leave_lost_bucket(struct shell *sh)
{
	struct kvlog_info info;
	enum kvlog_status st;

	if (sh->bucket == NULL)
		return;
	st = sh->txn != NULL
		 ? kvlog_txn_lookup(sh->txn, sh->bucket, "x", 1, &info)
		 : kvlog_exists(sh->bucket, "x", 1);
	if (st == KVLOG_NOBUCKET)
		(void)change_bucket(sh, NULL, NULL);
}

void
shell_rollback(struct shell *sh)
{
	kvlog_txn_rollback(sh->txn);
	end_transaction(sh);
}

/* As somebody asked for, or had to be told. */
static void
roll_back(struct shell *sh)
{
	shell_rollback(sh);
	print_done(sh, "Transaction rolled back");
	leave_lost_bucket(sh);
}

enum cli_exit
shell_fail_call(struct shell *sh, enum kvlog_status st, const char *what)
{
	if (st == KVLOG_READONLY && sh->txn != NULL)
		return cli_fail(sh->cli, CLI_USAGE,
		    "this is a read transaction, which writes nothing");
	if (st == KVLOG_NOBUCKET && sh->bucket != NULL)
		return cli_fail(sh->cli, CLI_NOTFOUND,
		    "bucket %s was dropped meanwhile; 'use' goes on with the "
		    "default one",
		    sh->bucket_name);
	if (st != KVLOG_TIMEOUT || sh->txn == NULL)
		return cli_fail_status(sh->cli, st, what);
	(void)cli_fail(sh->cli, CLI_BUSY,
	    "the transaction was ended because it idled while others waited to "
	    "write; nothing of it was written");
	roll_back(sh);
	return CLI_BUSY;
}

static enum cli_exit
fail_no_transaction(const struct shell *sh)
{
	return cli_fail(
	    sh->cli, CLI_USAGE, "there is no transaction; 'begin' begins one");
}

static const struct verb verb_begin, verb_savepoint, verb_rollback, verb_commit;

static enum cli_exit
exec_begin(struct shell *sh, struct rest rest)
{
	struct kvlog_txn_options options = KVLOG_TXN_OPTIONS_INIT;
	struct rest word;
	enum kvlog_status st;

	if (sh->txn != NULL)
		return cli_fail(sh->cli, CLI_USAGE,
		    "a transaction is open; end it by 'commit' or 'rollback'");
	if (cli_option(sh->cli, OPT_READ_ONLY) != NULL)
		options.flags = KVLOG_TXN_READ;
	if (shell_word(&rest, &word)) {
		if (!is_word(word, "read") || shell_word(&rest, &word))
			return shell_fail_words(sh, &verb_begin);
		options.flags = KVLOG_TXN_READ;
	}
	options.idle_ms = IDLE_MS;
	st = kvlog_txn_begin(sh->store, &options, &sh->txn, &sh->cli->error);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot begin a transaction in");
	print_done(sh, "Transaction started");
	return CLI_DONE;
}

static enum cli_exit
exec_commit(struct shell *sh, struct rest rest)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	uint64_t began = progress_clock();
	enum kvlog_status st;

	if (shell_word(&rest, &rest))
		return shell_fail_words(sh, &verb_commit);
	if (sh->txn == NULL)
		return fail_no_transaction(sh);
	how.err = &sh->cli->error;
	st = kvlog_txn_commit(sh->txn, &how, NULL);
	end_transaction(sh);
	if (st != KVLOG_OK) {
		enum cli_exit status =
		    cli_fail_status(sh->cli, st, "cannot commit to");

		leave_lost_bucket(sh);
		return status;
	}
	shell_print_ok(sh, false, began);
	return CLI_DONE;
}

static enum cli_exit
exec_savepoint(struct shell *sh, struct rest rest)
{
	struct savepoint *more;
	struct bytes name;
	enum kvlog_status st;
	enum cli_exit status =
	    shell_take_only_name(sh, &verb_savepoint, "savepoint", rest, &name);

	if (status != CLI_DONE)
		return status;
	if (sh->txn == NULL)
		return fail_no_transaction(sh);
	more =
	    realloc(sh->savepoints, (sh->savepoint_count + 1) * sizeof *more);
	if (more == NULL)
		return cli_fail_status(sh->cli, KVLOG_NOMEM, "cannot save in");
	sh->savepoints = more;
	more += sh->savepoint_count;
	more->name = text_escaped(name);
	if (more->name == NULL)
		return cli_fail_status(sh->cli, KVLOG_NOMEM, "cannot save in");
	st = kvlog_txn_savepoint(sh->txn, &more->number);
	if (st != KVLOG_OK) {
		free(more->name);
		return shell_fail_call(sh, st, "cannot save in");
	}
	sh->savepoint_count++;
	if (!sh->cli->quiet)
		printf("Savepoint %s\n", more->name);
	return CLI_DONE;
}

/* The newest one of a name; NULL, and said so: none. */
static struct savepoint *
find_savepoint(const struct shell *sh, struct bytes name)
{
	size_t i = sh->savepoint_count;
	char *text = text_escaped(name);

	if (text == NULL) {
		(void)cli_fail_status(
		    sh->cli, KVLOG_NOMEM, "cannot roll back in");
		return NULL;
	}
	while (i > 0 && strcmp(sh->savepoints[i - 1].name, text) != 0)
		i--;
	if (i == 0)
		(void)cli_fail(sh->cli, CLI_USAGE,
		    "the transaction has no savepoint '%s'", text);
	free(text);
	return i > 0 ? &sh->savepoints[i - 1] : NULL;
}

/* It stays, and can be gone back to again. */
static enum cli_exit
rollback_to(struct shell *sh, struct bytes name)
{
	const struct savepoint *to = find_savepoint(sh, name);
	enum kvlog_status st;

	if (to == NULL)
		return CLI_USAGE;
	st = kvlog_txn_rollback_to(sh->txn, to->number);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot roll back in");
	forget_savepoints(sh, (size_t)(to - sh->savepoints) + 1);
	if (!sh->cli->quiet)
		printf("Rolled back to %s\n", to->name);
	leave_lost_bucket(sh);
	return CLI_DONE;
}

static enum cli_exit
exec_rollback(struct shell *sh, struct rest rest)
{
	struct bytes name;
	struct rest word;
	enum cli_exit status;

	if (sh->txn == NULL)
		return fail_no_transaction(sh);
	if (!shell_word(&rest, &word)) {
		roll_back(sh);
		return CLI_DONE;
	}
	if (!is_word(word, "to"))
		return shell_fail_words(sh, &verb_rollback);
	status =
	    shell_take_only_name(sh, &verb_rollback, "savepoint", rest, &name);
	return status == CLI_DONE ? rollback_to(sh, name) : status;
}

/* Buckets */

static const struct verb verb_buckets, verb_use, verb_stats;

static enum cli_exit
fail_bucket(struct shell *sh, struct bytes name, enum kvlog_status st)
{
	char *text = text_escaped(name);
	enum cli_exit status = CLI_NOTFOUND;

	if (st == KVLOG_NOBUCKET)
		(void)cli_fail(sh->cli, status,
		    "there is no bucket '%s'; 'buckets create' makes one",
		    text != NULL ? text : "");
	else if (st == KVLOG_CONFLICT)
		(void)cli_fail(sh->cli, status,
		    "there is a bucket '%s' already", text != NULL ? text : "");
	else
		status = shell_fail_call(sh, st, "cannot change buckets of");
	free(text);
	return status;
}

/* As the transaction sees it, if there is one. */
static enum kvlog_status
open_bucket(struct shell *sh, struct bytes name, unsigned flags,
    struct kvlog **ret_bucket)
{
	struct kvlog_error *err = &sh->cli->error;

	return sh->txn != NULL ? kvlog_txn_bucket_open(sh->txn, name.data,
				     name.len, flags, ret_bucket, err)
			       : kvlog_bucket_open(sh->store, name.data,
				     name.len, flags, ret_bucket, err);
}

static enum cli_exit
use_bucket(struct shell *sh, struct bytes name)
{
	char *text = text_escaped(name);
	struct kvlog *bucket = NULL;
	enum kvlog_status st =
	    text != NULL ? open_bucket(sh, name, 0, &bucket) : KVLOG_NOMEM;

	if (st == KVLOG_OK)
		st = change_bucket(sh, bucket, text);
	if (st == KVLOG_OK)
		return CLI_DONE;
	(void)kvlog_close(bucket, NULL);
	free(text);
	return fail_bucket(sh, name, st);
}

static enum cli_exit
exec_use(struct shell *sh, struct rest rest)
{
	struct rest next = rest, word;
	struct bytes name;
	enum kvlog_status st;
	enum cli_exit status;

	if (!shell_word(&next, &word)) {
		st = change_bucket(sh, NULL, NULL);
		return st == KVLOG_OK ? CLI_DONE
				      : shell_fail_call(
					    sh, st, "cannot leave a bucket of");
	}
	status = shell_take_only_name(sh, &verb_use, "bucket", rest, &name);
	return status == CLI_DONE ? use_bucket(sh, name) : status;
}

enum kvlog_status
shell_list_buckets(struct shell *sh, struct kvlog_iter **ret_iter)
{
	return sh->txn != NULL ? kvlog_txn_bucket_list(sh->txn, ret_iter)
			       : kvlog_bucket_list(sh->store, ret_iter);
}

static enum cli_exit
list_buckets(struct shell *sh)
{
	struct kvlog_iter *iter;
	enum kvlog_status st = shell_list_buckets(sh, &iter);
	enum cli_exit status = CLI_DONE;

	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot list the buckets of");
	while (
	    (st = kvlog_iter_next(iter)) == KVLOG_OK || st == KVLOG_CORRUPT) {
		struct bytes name;

		if (st == KVLOG_CORRUPT)
			status = cli_fail_entry(sh->cli, iter);
		name.data = kvlog_iter_key(iter, &name.len);
		if (name.data == NULL)
			continue;
		text_escape(stdout, name);
		putchar('\n');
	}
	kvlog_iter_destroy(iter);
	if (st != KVLOG_NOTFOUND)
		status = shell_fail_call(sh, st, "cannot list the buckets of");
	return status;
}

static enum kvlog_status
create_bucket(struct shell *sh, struct bytes name)
{
	struct kvlog *bucket = NULL;
	enum kvlog_status st = open_bucket(
	    sh, name, KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &bucket);

	return st == KVLOG_OK ? close_bucket(sh, bucket) : st;
}

static enum kvlog_status
drop_bucket(struct shell *sh, struct bytes name)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = &sh->cli->error;
	return sh->txn != NULL ? kvlog_txn_bucket_drop(
				     sh->txn, name.data, name.len, how.err)
			       : kvlog_bucket_drop(sh->store, name.data,
				     name.len, &how, NULL);
}

static enum cli_exit
exec_buckets(struct shell *sh, struct rest rest)
{
	struct rest word;
	struct bytes name;
	uint64_t began;
	bool creates;
	enum kvlog_status st;
	enum cli_exit status;

	if (!shell_word(&rest, &word))
		return list_buckets(sh);
	if (is_word(word, "list"))
		return shell_word(&rest, &word)
			   ? shell_fail_words(sh, &verb_buckets)
			   : list_buckets(sh);
	creates = is_word(word, "create");
	if (!creates && !is_word(word, "drop"))
		return shell_fail_words(sh, &verb_buckets);
	status = shell_take_only_name(sh, &verb_buckets, "bucket", rest, &name);
	if (status != CLI_DONE)
		return status;
	began = progress_clock();
	st = creates ? create_bucket(sh, name) : drop_bucket(sh, name);
	if (st != KVLOG_OK)
		return fail_bucket(sh, name, st);
	shell_print_ok(sh, sh->txn != NULL, began);
	leave_lost_bucket(sh);
	return CLI_DONE;
}

/* The rest */

static enum cli_exit
exec_stats(struct shell *sh, struct rest rest)
{
	struct stats_bucket bucket = {.text = sh->bucket_name};
	enum kvlog_status st;

	if (shell_word(&rest, &rest))
		return shell_fail_words(sh, &verb_stats);
	if (sh->bucket == NULL)
		return stats_print(sh->cli, sh->store, NULL);
	st = shell_count(sh, &bucket.record_count);
	return st == KVLOG_OK
		   ? stats_print(sh->cli, sh->store, &bucket)
		   : shell_fail_call(sh, st, "cannot count the keys of");
}

static enum cli_exit
exec_quit(struct shell *sh, struct rest rest)
{
	(void)rest;
	sh->done = true;
	return CLI_DONE;
}

static enum cli_exit exec_help(struct shell *sh, struct rest rest);

static const struct verb verb_begin = {"begin", NULL, "begin [read]",
    "begin a transaction, which may be only for reading", exec_begin, false, 0,
    NULL};
static const struct verb verb_commit = {"commit", NULL, "commit",
    "end it: all of its writes are in the store", exec_commit, false, 0, NULL};
static const struct verb verb_rollback = {"rollback", NULL,
    "rollback [to SAVEPOINT]",
    "end it: none of its writes; or forget those since a savepoint",
    exec_rollback, false, 0, NULL};
static const struct verb verb_savepoint = {"savepoint", NULL, "savepoint NAME",
    "a place in the transaction to go back to", exec_savepoint, false, 0, NULL};
static const struct verb verb_buckets = {"buckets", "bucket",
    "buckets [list | create NAME | drop NAME]",
    "list the buckets, make one, remove one with all its keys", exec_buckets,
    false, 2, NULL};
static const struct verb verb_use = {"use", NULL, "use [BUCKET]",
    "go on with the keys of a bucket, or of the unnamed one", exec_use, false,
    1, NULL};
static const struct verb verb_stats = {"stats", NULL, "stats",
    "show what the store and the bucket hold and how it is doing", exec_stats,
    false, 0, NULL};
static const struct verb verb_help = {"help", NULL, "help [COMMAND]",
    "show this list, or its line", exec_help, false, 0, NULL};
static const struct verb verb_quit = {
    "quit", "exit", "quit", "end the shell", exec_quit, false, 0, NULL};

static const struct verb *const verbs[] = {&verb_begin, &verb_commit,
    &verb_rollback, &verb_savepoint, &verb_buckets, &verb_use, &verb_stats,
    &verb_help, &verb_quit};

#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

/* NULL: there are no more. */
static const struct verb *
verb_at(size_t i)
{
	if (i < SHELL_KEY_VERB_COUNT)
		return shell_key_verbs[i];
	i -= SHELL_KEY_VERB_COUNT;
	return i < VERB_COUNT ? verbs[i] : NULL;
}

static const struct verb *
find_verb(struct rest word)
{
	const struct verb *verb;

	for (size_t i = 0; (verb = verb_at(i)) != NULL; i++)
		if (is_word(word, verb->name) ||
		    (verb->alias != NULL && is_word(word, verb->alias)))
			break;
	return verb;
}

static enum cli_exit
fail_no_verb(const struct shell *sh, struct rest word)
{
	return cli_fail(sh->cli, CLI_USAGE,
	    "there is no command '%.*s' in the shell; 'help' lists them",
	    (int)(word.len < 40 ? word.len : 40), word.p);
}

static void
print_verb(const struct verb *verb)
{
	if (strlen(verb->synopsis) > 34)
		printf("  %s\n  %34s %s", verb->synopsis, "", verb->help);
	else
		printf("  %-34s %s", verb->synopsis, verb->help);
	if (verb->alias != NULL)
		printf(" (also: %s)", verb->alias);
	putchar('\n');
}

static enum cli_exit
exec_help(struct shell *sh, struct rest rest)
{
	const struct verb *verb;
	struct rest word;

	if (shell_word(&rest, &word)) {
		verb = find_verb(word);
		if (verb == NULL)
			return fail_no_verb(sh, word);
		print_verb(verb);
		return CLI_DONE;
	}
	for (size_t i = 0; (verb = verb_at(i)) != NULL; i++)
		print_verb(verb);
	puts("\nCommands may be in any case.  In a KEY, \\x20 is a blank and "
	     "\\\\ a backslash;\nVALUE is all that stands behind the one blank "
	     "after KEY, as it is.");
	return CLI_DONE;
}

enum cli_exit
shell_execute(struct shell *sh, char *line, size_t len)
{
	struct rest rest = {line, len}, word;
	const struct verb *verb;

	if (!shell_word(&rest, &word) || word.p[0] == '#')
		return CLI_DONE;
	verb = find_verb(word);
	sh->cli->error = (struct kvlog_error){0};
	if (verb != NULL)
		return verb->exec(sh, rest);
	return fail_no_verb(sh, word);
}

/* Completion */

static void
complete_verbs(const char *text, size_t len, shell_word_fn *fn, void *arg)
{
	const struct verb *verb;

	for (size_t i = 0; (verb = verb_at(i)) != NULL; i++) {
		const struct bytes name = {verb->name, strlen(verb->name)};

		if (name.len >= len &&
		    strncasecmp(verb->name, text, len) == 0 && !fn(arg, name))
			return;
	}
}

/* prefix: unescaped. */
static void
complete_names(struct shell *sh, bool buckets, struct bytes prefix,
    shell_word_fn *fn, void *arg)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_iter *iter;
	struct bytes key;

	range.flags = KVLOG_ITER_KEYS_ONLY;
	range.prefix = prefix.data;
	range.prefix_len = prefix.len;
	if ((buckets ? shell_list_buckets(sh, &iter)
		     : shell_walk(sh, &range, &iter)) != KVLOG_OK)
		return;
	while (kvlog_iter_next(iter) == KVLOG_OK) {
		key.data = kvlog_iter_key(iter, &key.len);
		if (key.len < prefix.len ||
		    (prefix.len > 0 &&
			memcmp(key.data, prefix.data, prefix.len) != 0))
			continue;
		if (!fn(arg, key))
			break;
	}
	kvlog_iter_destroy(iter);
}

static void
complete_options(
    const struct verb *verb, struct rest word, shell_word_fn *fn, void *arg)
{
	const struct verb_option *option = verb->options;

	for (; option != NULL && option->name != NULL; option++) {
		const size_t len = strcspn(option->name, "=");

		if (len >= word.len &&
		    strncasecmp(option->name, word.p, word.len) == 0 &&
		    !fn(arg, (struct bytes){option->name, len}))
			return;
	}
}

/* What a word stands for, by the words before it. */
struct place {
	const struct verb *verb;
	size_t words;                     /* without options; 0: the verb */
	const struct verb_option *option; /* it is the argument of this one */
	bool behind_dashes;
};

static struct place
find_place(struct rest before)
{
	struct place place = {0};
	struct rest word, arg;

	for (;;) {
		const struct verb_option *option =
		    place.verb != NULL && !place.behind_dashes
			? shell_take_option(place.verb, &before, &arg)
			: NULL;

		if (option != NULL && arg.len == 0 &&
		    strchr(option->name, '=') != NULL) {
			place.option = option;
			return place;
		}
		if (option != NULL)
			continue;
		if (!shell_word(&before, &word))
			return place;
		if (place.words == 1 && is_word(word, "--"))
			place.behind_dashes = true;
		else if (place.words++ == 0)
			place.verb = find_verb(word);
	}
}

/* Whether a key or the name of a bucket stands there, of which *word, without
 * the option it may be the argument of, is the beginning. */
static bool
is_name(const struct place *place, struct rest *word)
{
	const struct verb_option *option = place->option;
	struct rest next = *word, arg;

	if (option != NULL)
		return option->takes_key;
	if (place->behind_dashes || !begins_with(*word, "--"))
		return place->words == place->verb->name_word;
	option = shell_take_option(place->verb, &next, &arg);
	if (option == NULL || !option->takes_key || arg.p[-1] != '=')
		return false;
	*word = arg;
	return true;
}

/* Tells where the word begins that can be completed. */
static const char *
complete_word(struct shell *sh, const struct place *place, struct rest word,
    shell_word_fn *fn, void *arg)
{
	size_t len;

	if (place->words == 0) {
		complete_verbs(word.p, word.len, fn, arg);
	} else if (place->verb == NULL) {
		return word.p;
	} else if (is_name(place, &word)) {
		if (text_unescape(word.p, word.len, &len) == NULL)
			complete_names(sh, !place->verb->takes_key,
			    (struct bytes){word.p, len}, fn, arg);
	} else if (place->words == 1 && place->option == NULL &&
		   !place->behind_dashes && begins_with(word, "--")) {
		complete_options(place->verb, word, fn, arg);
	}
	return word.p;
}

void
shell_complete(struct shell *sh, const char *line, size_t len, size_t *ret_word,
    shell_word_fn *fn, void *arg)
{
	char *copy = malloc(len + 1);
	struct rest before = {copy, len};
	struct place place;

	if (copy == NULL)
		return;
	memcpy(copy, line, len);
	while (before.len > 0 && copy[before.len - 1] != ' ')
		before.len--;
	place = find_place(before);
	*ret_word =
	    (size_t)(complete_word(sh, &place,
			 (struct rest){copy + before.len, len - before.len}, fn,
			 arg) -
		     copy);
	free(copy);
}
