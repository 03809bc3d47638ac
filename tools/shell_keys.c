/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shell_keys.c - the commands of kvlog shell on keys, of the bucket in use and
 * in the transaction, if there is one.
 */
#include "config.h"

#include "shell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct verb verb_put, verb_get, verb_delete, verb_ttl, verb_expire,
    verb_persist, verb_incr, verb_exists, verb_scan, verb_count;

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

static enum kvlog_status
look_up(struct shell *sh, struct bytes key, struct kvlog_info *ret_info)
{
	return sh->txn != NULL ? kvlog_txn_lookup(sh->txn, shell_handle(sh),
				     key.data, key.len, ret_info)
			       : kvlog_lookup(shell_handle(sh), key.data,
				     key.len, ret_info);
}

/* What the library said of a key: a damaged value is told with its place. */
static enum cli_exit
fail_key(
    struct shell *sh, struct bytes key, enum kvlog_status st, const char *what)
{
	struct kvlog_info info;
	enum cli_exit status;
	char *text;

	if (st == KVLOG_CORRUPT && look_up(sh, key, &info) == KVLOG_OK)
		return cli_fail_value(sh->cli, key, &info);
	text = cli_key_text(sh->cli, what, key, " in");
	status = shell_fail_call(sh, st, text != NULL ? text : what);
	free(text);
	return status;
}

/* What a write that began then came to. */
static enum cli_exit
tell_written(
    struct shell *sh, struct bytes key, enum kvlog_status st, uint64_t began)
{
	if (st == KVLOG_NOTFOUND)
		return print_absent(sh, key);
	if (st != KVLOG_OK)
		return fail_key(sh, key, st, "cannot change ");
	shell_print_ok(sh, sh->txn != NULL, began);
	return CLI_DONE;
}

/* A word that is a number or a time as text with a final 0; what does not fit
 * is neither. */
#define ARG_LEN 32
static const char *
copy_arg(char buf[ARG_LEN], struct rest word)
{
	const size_t len = word.len < ARG_LEN ? word.len : ARG_LEN - 1;

	memcpy(buf, word.p, len);
	buf[len] = '\0';
	return buf;
}

/* The key, and what may stand before it: --ttl=TIME. */
static enum cli_exit
take_key(struct shell *sh, const struct verb *verb, struct rest *rest,
    struct bytes *ret_key, uint64_t *ret_expires_ms)
{
	char time[ARG_LEN];
	struct rest word;
	enum cli_exit status = CLI_DONE;

	if (shell_take_option(verb, rest, &word) != NULL) {
		if (word.len == 0)
			return shell_fail_words(sh, verb);
		status =
		    cli_expiry(sh->cli, copy_arg(time, word), ret_expires_ms);
	}
	if (status == CLI_DONE)
		status = shell_name_word(sh, verb, rest, &word);
	return status == CLI_DONE ? shell_take_name(sh, "key", word, ret_key)
				  : status;
}

static enum kvlog_status
put(struct shell *sh, struct bytes key, struct bytes value, uint64_t expires_ms)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	how.err = &sh->cli->error;
	how.expires_ms = expires_ms;
	return sh->txn != NULL
		   ? kvlog_txn_put(sh->txn, shell_handle(sh), key.data, key.len,
			 value.data, value.len, &how)
		   : kvlog_put(shell_handle(sh), key.data, key.len, value.data,
			 value.len, &how, NULL);
}

static enum cli_exit
exec_put(struct shell *sh, struct rest rest)
{
	struct bytes key;
	uint64_t began, expires_ms = 0;
	enum kvlog_status st;
	enum cli_exit status =
	    take_key(sh, &verb_put, &rest, &key, &expires_ms);

	if (status != CLI_DONE)
		return status;
	/* The blank behind the key is there also before an empty value. */
	if (rest.len == 0)
		return shell_fail_words(sh, &verb_put);
	began = progress_clock();
	st = put(sh, key, (struct bytes){rest.p + 1, rest.len - 1}, expires_ms);
	return tell_written(sh, key, st, began);
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
	return tell_written(sh, key, st, began);
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
		return fail_key(sh, key, st, "cannot read ");
	text_escape(stdout, value);
	putchar('\n');
	kvlog_free(copy);
	if (!sh->cli->quiet)
		shell_print_time(began);
	return CLI_DONE;
}

/* Look up the one key of a line: *ret_there, whether it has a value. */
static enum cli_exit
look_up_only(struct shell *sh, const struct verb *verb, struct rest rest,
    struct bytes *ret_key, struct kvlog_info *ret_info, bool *ret_there)
{
	enum kvlog_status st;
	enum cli_exit status =
	    shell_take_only_name(sh, verb, "key", rest, ret_key);

	if (status != CLI_DONE)
		return status;
	st = look_up(sh, *ret_key, ret_info);
	*ret_there = st == KVLOG_OK;
	return *ret_there || st == KVLOG_NOTFOUND
		   ? CLI_DONE
		   : fail_key(sh, *ret_key, st, "cannot read ");
}

static enum cli_exit
exec_exists(struct shell *sh, struct rest rest)
{
	const uint64_t began = progress_clock();
	struct kvlog_info info;
	struct bytes key;
	bool there;
	enum cli_exit status =
	    look_up_only(sh, &verb_exists, rest, &key, &info, &there);

	if (status != CLI_DONE)
		return status;
	puts(there ? "yes" : "no");
	if (!sh->cli->quiet)
		shell_print_time(began);
	return CLI_DONE;
}

/* Times */

static enum cli_exit
exec_ttl(struct shell *sh, struct rest rest)
{
	const uint64_t began = progress_clock();
	struct kvlog_info info;
	struct bytes key;
	bool there;
	enum cli_exit status =
	    look_up_only(sh, &verb_ttl, rest, &key, &info, &there);

	if (status != CLI_DONE)
		return status;
	if (!there)
		return print_absent(sh, key);
	cli_print_ttl(info.expires_ms);
	if (!sh->cli->quiet)
		shell_print_time(began);
	return CLI_DONE;
}

/* In a transaction the value is put as it is. */
static enum kvlog_status
change_expiry(struct shell *sh, struct bytes key, uint64_t expires_ms)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct bytes value;
	enum kvlog_status st;

	if (sh->txn == NULL) {
		how.err = &sh->cli->error;
		return kvlog_expire(shell_handle(sh), key.data, key.len,
		    expires_ms, &how, NULL);
	}
	st = kvlog_txn_get(sh->txn, shell_handle(sh), key.data, key.len,
	    &value.data, &value.len);
	return st == KVLOG_OK ? put(sh, key, value, expires_ms) : st;
}

/* expires_ms: 0: never, and what never does is not written anew. */
static enum cli_exit
set_expiry(struct shell *sh, struct bytes key, uint64_t expires_ms)
{
	const uint64_t began = progress_clock();
	struct kvlog_info info;
	enum kvlog_status st = look_up(sh, key, &info);

	if (st == KVLOG_OK && (expires_ms != 0 || info.expires_ms != 0))
		st = change_expiry(sh, key, expires_ms);
	return tell_written(sh, key, st, began);
}

static enum cli_exit
exec_expire(struct shell *sh, struct rest rest)
{
	struct rest key_word, word, more;
	char time[ARG_LEN];
	struct bytes key;
	uint64_t expires_ms;
	enum cli_exit status;

	status = shell_name_word(sh, &verb_expire, &rest, &key_word);
	if (status != CLI_DONE)
		return status;
	if (!shell_word(&rest, &word) || shell_word(&rest, &more))
		return shell_fail_words(sh, &verb_expire);
	status = shell_take_name(sh, "key", key_word, &key);
	if (status == CLI_DONE)
		status = cli_expiry(sh->cli, copy_arg(time, word), &expires_ms);
	return status == CLI_DONE ? set_expiry(sh, key, expires_ms) : status;
}

static enum cli_exit
exec_persist(struct shell *sh, struct rest rest)
{
	struct bytes key;
	enum cli_exit status =
	    shell_take_only_name(sh, &verb_persist, "key", rest, &key);

	return status == CLI_DONE ? set_expiry(sh, key, 0) : status;
}

/* Numbers */

/* In a transaction, where nobody else writes, what kvlog_increment() does. */
static enum kvlog_status
increment_in_transaction(struct shell *sh, struct bytes key, int64_t by,
    uint64_t expires_ms, int64_t *ret_number)
{
	struct kvlog_error *err = &sh->cli->error;
	struct kvlog_info info = {.expires_ms = expires_ms};
	struct bytes value;
	char text[ARG_LEN] = "0";
	int64_t old;
	enum kvlog_status st = kvlog_txn_get(sh->txn, shell_handle(sh),
	    key.data, key.len, &value.data, &value.len);

	if (st == KVLOG_OK)
		st = look_up(sh, key, &info);
	if (st != KVLOG_OK && st != KVLOG_NOTFOUND)
		return st;
	err->status = KVLOG_CONFLICT;
	if (st == KVLOG_OK)
		copy_arg(text, (struct rest){(char *)value.data, value.len});
	if ((st == KVLOG_OK && strlen(text) != value.len) ||
	    !text_parse_signed(text, &old)) {
		snprintf(err->text, sizeof err->text,
		    "the value of the key is no decimal number of 64 bits; "
		    "nothing was written");
		return KVLOG_CONFLICT;
	}
	if (by > 0 ? old > INT64_MAX - by : old < INT64_MIN - by) {
		snprintf(err->text, sizeof err->text,
		    "%" PRId64 " and %" PRId64
		    " are more than a number of 64 bits can hold; nothing was "
		    "written",
		    old, by);
		return KVLOG_CONFLICT;
	}
	*ret_number = old + by;
	snprintf(text, sizeof text, "%" PRId64, *ret_number);
	return put(
	    sh, key, (struct bytes){text, strlen(text)}, info.expires_ms);
}

static enum kvlog_status
increment(struct shell *sh, struct bytes key, int64_t by, uint64_t expires_ms,
    int64_t *ret_number)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;

	if (sh->txn != NULL)
		return increment_in_transaction(
		    sh, key, by, expires_ms, ret_number);
	how.err = &sh->cli->error;
	how.expires_ms = expires_ms;
	return kvlog_increment(
	    shell_handle(sh), key.data, key.len, by, &how, ret_number, NULL);
}

static enum cli_exit
exec_incr(struct shell *sh, struct rest rest)
{
	struct rest word;
	char text[ARG_LEN];
	struct bytes key;
	int64_t by = 1, number;
	uint64_t expires_ms = 0, began;
	enum kvlog_status st;
	enum cli_exit status =
	    take_key(sh, &verb_incr, &rest, &key, &expires_ms);

	if (status != CLI_DONE)
		return status;
	if (shell_word(&rest, &word) &&
	    (!text_parse_signed(copy_arg(text, word), &by) ||
		shell_word(&rest, &word)))
		return shell_fail_words(sh, &verb_incr);
	began = progress_clock();
	st = increment(sh, key, by, expires_ms, &number);
	if (st != KVLOG_OK)
		return fail_key(sh, key, st, "cannot change ");
	printf("%" PRId64 "\n", number);
	shell_print_ok(sh, sh->txn != NULL, began);
	return CLI_DONE;
}

/* Walks */

enum kvlog_status
shell_walk(struct shell *sh, const struct kvlog_range *range,
    struct kvlog_iter **ret_iter)
{
	return sh->txn != NULL
		   ? kvlog_txn_iter_open(
			 sh->txn, shell_handle(sh), range, ret_iter)
		   : kvlog_iter_open(shell_handle(sh), range, ret_iter);
}

/* What is wanted of a walk. */
struct scan {
	struct kvlog_range range;
	uint64_t limit;
	bool reverse;
};

static void
print_entry(const struct scan *scan, const struct kvlog_iter *iter)
{
	struct bytes key, value;

	key.data = kvlog_iter_key(iter, &key.len);
	text_escape(stdout, key);
	if ((scan->range.flags & KVLOG_ITER_KEYS_ONLY) == 0) {
		value.data = kvlog_iter_value(iter, &value.len);
		putchar('\t');
		text_escape(stdout, value);
	}
	putchar('\n');
}

/* Until the end, the limit, an interrupt, or nobody reads any more.
 * *ret_count: how many keys were met. */
static enum cli_exit
walk(struct shell *sh, const struct scan *scan, struct kvlog_iter *iter,
    uint64_t *ret_count)
{
	enum cli_exit status = CLI_DONE;
	enum kvlog_status st = KVLOG_OK;

	for (*ret_count = 0;
	     *ret_count < scan->limit && !shell_interrupted && !ferror(stdout);
	     ++*ret_count) {
		st = scan->reverse ? kvlog_iter_prev(iter)
				   : kvlog_iter_next(iter);
		if (st == KVLOG_CORRUPT)
			status = cli_fail_entry(sh->cli, iter);
		else if (st == KVLOG_OK)
			print_entry(scan, iter);
		else if (st == KVLOG_NOTFOUND)
			break;
		else
			return shell_fail_call(sh, st, "cannot scan");
	}
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

enum { SCAN_FROM, SCAN_TO, SCAN_REVERSE, SCAN_LIMIT, SCAN_KEYS };

static const struct verb_option scan_options[] = {
    [SCAN_FROM] = {"--from=", true},
    [SCAN_TO] = {"--to=", true},
    [SCAN_REVERSE] = {"--reverse", false},
    [SCAN_LIMIT] = {"--limit=", false},
    [SCAN_KEYS] = {"--keys", false},
    {NULL, false},
};

static enum cli_exit
take_bound(struct shell *sh, const char *what, struct rest word,
    const void **ret_bound, size_t *ret_len)
{
	struct bytes key;
	enum cli_exit status = shell_take_name(sh, what, word, &key);

	if (status == CLI_DONE) {
		*ret_bound = key.data;
		*ret_len = key.len;
	}
	return status;
}

static enum cli_exit
take_limit(struct shell *sh, struct rest word, uint64_t *ret_limit)
{
	char text[ARG_LEN];

	return text_parse_number(copy_arg(text, word), ret_limit)
		   ? CLI_DONE
		   : shell_fail_words(sh, &verb_scan);
}

static enum cli_exit
take_scan_option(struct shell *sh, const struct verb_option *option,
    struct rest arg, struct scan *scan)
{
	struct kvlog_range *range = &scan->range;

	switch (option - scan_options) {
	case SCAN_FROM:
		return take_bound(
		    sh, "key of --from", arg, &range->from, &range->from_len);
	case SCAN_TO:
		return take_bound(
		    sh, "key of --to", arg, &range->to, &range->to_len);
	case SCAN_LIMIT:
		return take_limit(sh, arg, &scan->limit);
	case SCAN_REVERSE:
		scan->reverse = true;
		return CLI_DONE;
	default:
		range->flags = KVLOG_ITER_KEYS_ONLY;
		return CLI_DONE;
	}
}

/* PREFIX and LIMIT, and options anywhere. */
static enum cli_exit
take_scan(struct shell *sh, struct rest rest, struct scan *scan)
{
	enum cli_exit status = CLI_DONE;
	struct rest next, word;
	size_t count = 0;

	while (status == CLI_DONE) {
		const struct verb_option *option =
		    shell_take_option(&verb_scan, &rest, &word);

		next = rest;
		if (option != NULL) {
			status =
			    word.len > 0 || strchr(option->name, '=') == NULL
				? take_scan_option(sh, option, word, scan)
				: shell_fail_words(sh, &verb_scan);
		} else if (!shell_word(&next, &word)) {
			break;
		} else if (count++ == 0) {
			status = shell_name_word(sh, &verb_scan, &rest, &word);
			if (status == CLI_DONE)
				status = take_bound(sh, "prefix", word,
				    &scan->range.prefix,
				    &scan->range.prefix_len);
		} else {
			rest = next;
			status = count == 2 ? take_limit(sh, word, &scan->limit)
					    : shell_fail_words(sh, &verb_scan);
		}
	}
	return status;
}

static enum cli_exit
exec_scan(struct shell *sh, struct rest rest)
{
	struct scan scan = {.range = KVLOG_RANGE_INIT, .limit = UINT64_MAX};
	const uint64_t began = progress_clock();
	struct kvlog_iter *iter;
	uint64_t count;
	enum kvlog_status st;
	enum cli_exit status = take_scan(sh, rest, &scan);

	if (status != CLI_DONE)
		return status;
	st = shell_walk(sh, &scan.range, &iter);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot scan");
	if (scan.reverse)
		st = kvlog_iter_last(iter);
	status = st == KVLOG_OK ? walk(sh, &scan, iter, &count)
				: shell_fail_call(sh, st, "cannot scan");
	kvlog_iter_destroy(iter);
	if (st == KVLOG_OK)
		print_count(sh, count, began);
	return status;
}

enum kvlog_status
shell_count(struct shell *sh, uint64_t *ret_count)
{
	return sh->txn != NULL
		   ? kvlog_txn_count(sh->txn, shell_handle(sh), ret_count)
		   : kvlog_count(shell_handle(sh), ret_count);
}

static enum cli_exit
exec_count(struct shell *sh, struct rest rest)
{
	uint64_t began = progress_clock(), count;
	enum kvlog_status st;

	if (shell_word(&rest, &rest))
		return shell_fail_words(sh, &verb_count);
	st = shell_count(sh, &count);
	if (st != KVLOG_OK)
		return shell_fail_call(sh, st, "cannot count the keys of");
	if (sh->cli->quiet)
		printf("%" PRIu64 "\n", count);
	print_count(sh, count, began);
	return CLI_DONE;
}

static const struct verb_option ttl_options[] = {
    {"--ttl=", false}, {NULL, false}};

static const struct verb verb_put = {"put", "insert",
    "put [--ttl=TIME] KEY VALUE", "store the rest of the line under KEY",
    exec_put, true, 1, ttl_options};
static const struct verb verb_get = {
    "get", NULL, "get KEY", "print the value of KEY", exec_get, true, 1, NULL};
static const struct verb verb_delete = {
    "delete", "del", "delete KEY", "remove KEY", exec_delete, true, 1, NULL};
static const struct verb verb_exists = {"exists", NULL, "exists KEY",
    "tell whether KEY has a value", exec_exists, true, 1, NULL};
static const struct verb verb_ttl = {"ttl", NULL, "ttl KEY",
    "print how long KEY has left", exec_ttl, true, 1, NULL};
static const struct verb verb_expire = {"expire", NULL, "expire KEY TIME",
    "let KEY expire: milliseconds, or 10s, 10m, 10h, 10d", exec_expire, true, 1,
    NULL};
static const struct verb verb_persist = {"persist", NULL, "persist KEY",
    "let KEY, which was to expire, stay", exec_persist, true, 1, NULL};
static const struct verb verb_incr = {"incr", NULL, "incr [--ttl=TIME] KEY [N]",
    "add N, or 1, to the number that KEY has", exec_incr, true, 1, ttl_options};
static const struct verb verb_scan = {"scan", NULL,
    "scan [PREFIX [LIMIT]] [--from=KEY] [--to=KEY] [--reverse] [--limit=N] "
    "[--keys]",
    "list keys and values in byte order", exec_scan, true, 1, scan_options};
static const struct verb verb_count = {"count", NULL, "count",
    "print the number of keys", exec_count, false, 0, NULL};

const struct verb *const shell_key_verbs[SHELL_KEY_VERB_COUNT] = {&verb_put,
    &verb_get, &verb_delete, &verb_exists, &verb_ttl, &verb_expire,
    &verb_persist, &verb_incr, &verb_scan, &verb_count};
