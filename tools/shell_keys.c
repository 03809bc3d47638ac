/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shell_keys.c - the commands of kvlog shell on keys, of the bucket in use and
 * in the transaction, if there is one.
 */
#include "config.h"

#include "shell.h"

#include <inttypes.h>

static const struct verb verb_put, verb_get, verb_delete, verb_scan, verb_count;

/* An answer like others. */
static enum cli_exit
print_absent(const struct shell *sh, struct bytes key)
{
	if (!sh->cli->quiet) {
		fputs("Key not found: ", stdout);
		text_escape(stdout, key);
		putchar('\n');
	}
	return CLI_DONE;
}

static enum cli_exit
exec_put(struct shell *sh, struct rest rest)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct rest word;
	struct bytes key;
	uint64_t began;
	enum kvlog_status st;
	enum cli_exit status;

	/* The blank behind the key is there also before an empty value. */
	if (!shell_word(&rest, &word) || rest.len == 0)
		return shell_fail_words(sh, &verb_put);
	status = shell_take_name(sh, "key", word, &key);
	if (status != CLI_DONE)
		return status;
	how.err = &sh->cli->error;
	began = progress_clock();
	if (sh->txn != NULL)
		st = kvlog_txn_put(sh->txn, shell_handle(sh), key.data, key.len,
		    rest.p + 1, rest.len - 1, &how);
	else
		st = kvlog_put(shell_handle(sh), key.data, key.len, rest.p + 1,
		    rest.len - 1, &how, NULL);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot write to");
	shell_print_ok(sh, sh->txn != NULL, began);
	return CLI_DONE;
}

static enum cli_exit
exec_delete(struct shell *sh, struct rest rest)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct bytes key;
	uint64_t began;
	enum kvlog_status st;
	enum cli_exit status =
	    shell_take_only_name(sh, &verb_delete, "key", rest, &key);

	if (status != CLI_DONE)
		return status;
	how.err = &sh->cli->error;
	began = progress_clock();
	if (sh->txn != NULL)
		st = kvlog_txn_delete(
		    sh->txn, shell_handle(sh), key.data, key.len, &how);
	else
		st = kvlog_delete(
		    shell_handle(sh), key.data, key.len, &how, NULL);
	if (st == KVLOG_NOTFOUND)
		return print_absent(sh, key);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot write to");
	shell_print_ok(sh, sh->txn != NULL, began);
	return CLI_DONE;
}

static enum cli_exit
exec_get(struct shell *sh, struct rest rest)
{
	struct bytes key, value = {NULL, 0};
	void *copy = NULL;
	uint64_t began;
	enum kvlog_status st;
	enum cli_exit status =
	    shell_take_only_name(sh, &verb_get, "key", rest, &key);

	if (status != CLI_DONE)
		return status;
	began = progress_clock();
	if (sh->txn != NULL) {
		st = kvlog_txn_get(sh->txn, shell_handle(sh), key.data, key.len,
		    &value.data, &value.len);
	} else {
		st = kvlog_get_alloc(
		    shell_handle(sh), key.data, key.len, &copy, &value.len);
		value.data = copy;
	}
	if (st == KVLOG_NOTFOUND)
		return print_absent(sh, key);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot read from");
	text_escape(stdout, value);
	putchar('\n');
	kvlog_free(copy);
	if (!sh->cli->quiet)
		shell_print_time(began);
	return CLI_DONE;
}

enum kvlog_status
shell_walk(struct shell *sh, const struct kvlog_range *range,
    struct kvlog_iter **ret_iter)
{
	return sh->txn != NULL
		   ? kvlog_txn_iter_open(
			 sh->txn, shell_handle(sh), range, ret_iter)
		   : kvlog_iter_open(shell_handle(sh), range, ret_iter);
}

static void
print_entry(const struct kvlog_iter *iter)
{
	struct bytes key, value;

	key.data = kvlog_iter_key(iter, &key.len);
	value.data = kvlog_iter_value(iter, &value.len);
	text_escape(stdout, key);
	putchar('\t');
	text_escape(stdout, value);
	putchar('\n');
}

/* Until the end, an interrupt, or nobody reads any more.  *ret_count: how many
 * keys were met. */
static enum cli_exit
walk(struct shell *sh, struct kvlog_iter *iter, bool print, uint64_t *ret_count)
{
	enum cli_exit status = CLI_DONE;
	enum kvlog_status st;

	*ret_count = 0;
	while (
	    (st = kvlog_iter_next(iter)) == KVLOG_OK || st == KVLOG_CORRUPT) {
		if (st == KVLOG_CORRUPT)
			status = cli_fail_entry(sh->cli, iter);
		else if (print)
			print_entry(iter);
		++*ret_count;
		if (shell_interrupted || ferror(stdout))
			return status;
	}
	if (st != KVLOG_NOTFOUND)
		status = shell_fail_call(sh, st, "cannot scan");
	return status;
}

static void
print_count(const struct shell *sh, uint64_t count, uint64_t began)
{
	if (sh->cli->quiet)
		return;
	printf("%" PRIu64 " %s%s ", count, count == 1 ? "key" : "keys",
	    shell_interrupted ? ", interrupted" : "");
	shell_print_time(began);
}

static enum cli_exit
exec_scan(struct shell *sh, struct rest rest)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_iter *iter;
	struct rest word;
	struct bytes prefix;
	uint64_t began, count;
	enum kvlog_status st;
	enum cli_exit status;

	if (shell_word(&rest, &word)) {
		status = shell_take_name(sh, "prefix", word, &prefix);
		if (status != CLI_DONE)
			return status;
		range.prefix = prefix.data;
		range.prefix_len = prefix.len;
	}
	if (shell_word(&rest, &word)) {
		word.p[word.len] = '\0';
		if (!text_parse_number(word.p, &range.limit) ||
		    range.limit == 0 || shell_word(&rest, &word))
			return shell_fail_words(sh, &verb_scan);
	}
	began = progress_clock();
	st = shell_walk(sh, &range, &iter);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot scan");
	status = walk(sh, iter, true, &count);
	kvlog_iter_destroy(iter);
	print_count(sh, count, began);
	return status;
}

static enum cli_exit
exec_count(struct shell *sh, struct rest rest)
{
	struct kvlog_range range = KVLOG_RANGE_INIT;
	struct kvlog_iter *iter;
	uint64_t began = progress_clock(), count;
	enum kvlog_status st;
	enum cli_exit status = CLI_DONE;

	if (shell_word(&rest, &rest))
		return shell_fail_words(sh, &verb_count);
	if (sh->txn == NULL) {
		st = kvlog_count(shell_handle(sh), &count);
	} else {
		range.flags = KVLOG_ITER_KEYS_ONLY;
		st = shell_walk(sh, &range, &iter);
		if (st == KVLOG_OK) {
			status = walk(sh, iter, false, &count);
			kvlog_iter_destroy(iter);
		}
	}
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot count the keys of");
	if (sh->cli->quiet)
		printf("%" PRIu64 "\n", count);
	print_count(sh, count, began);
	return status;
}

static const struct verb verb_put = {"put", "put KEY VALUE",
    "store the rest of the line under KEY", exec_put, true, 1};
static const struct verb verb_get = {
    "get", "get KEY", "print the value of KEY", exec_get, true, 1};
static const struct verb verb_delete = {
    "delete", "delete KEY", "remove KEY", exec_delete, true, 1};
static const struct verb verb_scan = {"scan", "scan [PREFIX [LIMIT]]",
    "list keys and values in byte order", exec_scan, true, 1};
static const struct verb verb_count = {
    "count", "count", "print the number of keys", exec_count, false, 0};

const struct verb *const shell_key_verbs[SHELL_KEY_VERB_COUNT] = {
    &verb_put, &verb_get, &verb_delete, &verb_scan, &verb_count};
