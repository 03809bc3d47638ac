/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cli.h - what the files of the kvlog programs share: the table entry of a
 * command, the options given, messages and exit status, text and JSON,
 * progress.  The program stands on <kvlog.h> alone.
 */
#ifndef KVLOG_CLI_H
#define KVLOG_CLI_H

#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <kvlog.h>

#if defined __GNUC__
#define CLI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define CLI_PRINTF(text, first)
#endif

/* Exit status; scripts rely on these numbers. */
enum cli_exit {
	CLI_DONE = 0,
	CLI_NOTFOUND = 1, /* no such key, or a condition does not hold */
	CLI_USAGE = 2,    /* wrong usage or input, or the store cannot open */
	CLI_DAMAGE = 3,   /* stored data is damaged */
	CLI_BUSY = 4,     /* the lock was not obtained in time */
	CLI_FAILED = 5    /* no space, no memory or an I/O error */
};

/*
 * Every option of every command.  As values of struct option they must not
 * be mistaken for the letters that getopt_long() returns.
 */
enum cli_option {
	OPT_JSON = 256,
	OPT_QUIET,
	OPT_VERBOSE,
	OPT_TIMEOUT,
	OPT_EXCLUSIVE,
	OPT_DURABILITY,
	OPT_INDEX,
	OPT_HELP,
	OPT_VERSION,
	OPT_SEGMENT_SIZE,
	OPT_IF_ABSENT,
	OPT_IF_PRESENT,
	OPT_IF_SEQ,
	OPT_RAW,
	OPT_VALUES,
	OPT_LIMIT,
	OPT_NUL,
	OPT_QUICK,
	OPT_SALVAGE,
	OPT_STRICT,
	OPT_REBUILD_HINTS,
	OPT_FORMAT,
	OPT_DATABASE,
	OPT_PRINT,
	OPT_FROM,
	OPT_ONCE,
	OPT_MAP,
	OPT_ASCII,
	OPT_COPY,
	OPT_NO_VERIFY,
	OPT_READ_ONLY,
	OPT_TO,
	OPT_REVERSE,
	OPT_KEYS_ONLY,
	OPT_BUCKET,
	OPT_TTL,
	OPT_ALL,
	OPT_NO_HISTORY,
	OPT_END
};

#define OPT_COUNT (OPT_END - OPT_JSON)

struct command;

/* One run of the program. */
struct cli {
	const char *program; /* NULL: kvlog, which has commands */
	const struct command *command;
	const char *given[OPT_COUNT]; /* NULL, or the option's argument, or ""
					 where it has none */
	const char *store;            /* path, once it is known */
	enum kvlog_durability durability; /* DEFAULT if it was not given */
	uint32_t timeout_ms;
	bool exclusive; /* nobody else may write meanwhile */
	enum kvlog_index_mode index_mode;
	uint64_t line;      /* of a script, where an error is; 0: none */
	const char *bucket; /* its name; NULL: the default bucket */
	struct kvlog *root; /* if so: what the bucket is of */
	bool json;
	bool quiet;
	bool verbose;
	bool warned;              /* that the store is damaged */
	bool degraded;            /* set by cli_open(): the keys of damaged
				     records are not known; told even if
				     quiet */
	struct kvlog_error error; /* of the last library call that has one */
};

/* One command: the only name each cmd_*.c exports. */
struct command {
	const char *name;
	const char *alias;       /* a second name, or NULL */
	const char *synopsis;    /* as kvlog(1) shows it, without "kvlog" */
	const char *summary;     /* for the list of commands */
	const char *help;        /* lines about arguments and options */
	void (*help_more)(void); /* prints more of them; NULL: none */
	const char *letters;     /* its own one-letter options */
	const struct option *options; /* its own long ones; NULL: none */
	int arg_min;
	int arg_max;
	bool writes; /* --durability applies */
	bool keyed;  /* --bucket applies */
	enum cli_exit (*exec)(struct cli *cli, int argc, char **argv);
};

extern const struct command cmd_create;
extern const struct command cmd_put;
extern const struct command cmd_get;
extern const struct command cmd_delete;
extern const struct command cmd_exists;
extern const struct command cmd_count;
extern const struct command cmd_scan;
extern const struct command cmd_stats;
extern const struct command cmd_load;
extern const struct command cmd_dump;
extern const struct command cmd_watch;
extern const struct command cmd_ttl;
extern const struct command cmd_expire;
extern const struct command cmd_persist;
extern const struct command cmd_incr;
extern const struct command cmd_buckets;
extern const struct command cmd_shell;
extern const struct command cmd_backup;
extern const struct command cmd_restore;

/* A key or value that the caller still owns. */
struct bytes {
	const void *data;
	size_t len;
};

/*
 * cli.c: options, messages, the store.
 */

/* First of all: standard files that are closed, and signals. */
void cli_begin(void);

/* Those that ask a program to end, unless they are ignored. */
void cli_catch_signals(void (*handler)(int number));

/* Last of all: close standard output; errors that nobody has reported yet
 * count. */
enum cli_exit cli_finish(const struct cli *cli, enum cli_exit status);

/* The option's argument, "" if it has none, NULL if it was not given. */
const char *cli_option(const struct cli *cli, enum cli_option option);

/* Whether an open file is a terminal that takes colour. */
bool cli_takes_colour(int fd);

/* Print "ERROR: ..." (with --json: an object) to standard error. */
enum cli_exit cli_fail(const struct cli *cli, enum cli_exit status,
    const char *format, ...) CLI_PRINTF(3, 4);

/* As cli_fail(), always as text, with the command's usage: exit 2. */
enum cli_exit cli_usage(const struct cli *cli, const char *format, ...)
    CLI_PRINTF(2, 3);

/* The one argument that a program of one store has left, once its options are
 * taken: into cli->store. */
enum cli_exit cli_take_store(struct cli *cli, int argc, char **argv);

/* Print "WARNING: ..." to standard error, unless --quiet. */
void cli_warn(const struct cli *cli, const char *format, ...) CLI_PRINTF(2, 3);

/* Print a remark to standard error if --verbose. */
void cli_remark(const struct cli *cli, const char *format, ...)
    CLI_PRINTF(2, 3);

/* Report what a library call answered, with cli->error if it was filled. */
enum cli_exit cli_fail_status(
    const struct cli *cli, enum kvlog_status status, const char *what);

/* As cli_fail_status(), of opening: a wrong path is wrong usage. */
enum cli_exit cli_fail_open(const struct cli *cli, enum kvlog_status status);

/* As cli_fail_status(), of a path: a wrong one is wrong usage. */
enum cli_exit cli_fail_place(
    const struct cli *cli, enum kvlog_status status, const char *what);

/* Report "Key not found: KEY" (unless --quiet) and give its exit status. */
enum cli_exit cli_not_found(const struct cli *cli, struct bytes key);

/* The same of a bucket: "Bucket not found: NAME". */
enum cli_exit cli_no_bucket(const struct cli *cli, const char *name);

/* Report the damaged record that iter stands on; its key if it is known. */
enum cli_exit cli_fail_entry(
    const struct cli *cli, const struct kvlog_iter *iter);

/* Report the damaged value of a key, and where the key's record is, if that is
 * known. */
enum cli_exit cli_fail_value(
    const struct cli *cli, struct bytes key, const struct kvlog_info *info);

/* "KEY", and " of bucket NAME" if one is named, between two texts, in new
 * memory; NULL without memory. */
char *cli_key_text(const struct cli *cli, const char *before, struct bytes key,
    const char *after);

/* As cli_fail_status(), of a call on a key, of which a damaged value is told
 * with its place.  what: "cannot change", or the like. */
enum cli_exit cli_fail_key(struct cli *cli, struct kvlog *db, struct bytes key,
    enum kvlog_status status, const char *what);

/* Report an error of standard output; a closed pipe is none. */
enum cli_exit cli_fail_output(const struct cli *cli, int sys_errno);

/* Take an argument for a key.  Fails, with a message, if it cannot be one. */
enum cli_exit cli_key(
    const struct cli *cli, const char *arg, struct bytes *ret_key);

/* --segment-size into *ret_size, which is left alone without the option. */
enum cli_exit cli_segment_size(const struct cli *cli, uint64_t *ret_size);

/* The name of a bucket likewise. */
enum cli_exit cli_bucket_name(const struct cli *cli, const char *name);

/* A time from now on, as --ttl and others have it, into ms since 1970. */
enum cli_exit cli_expiry(
    const struct cli *cli, const char *ttl, uint64_t *ret_expires_ms);
uint64_t cli_now_ms(void);

/* --if-seq and its relatives, --ttl, --durability and the error into
 * *ret_how. */
enum cli_exit cli_write_how(struct cli *cli, struct kvlog_write *ret_how);

/*
 * Open cli->store with KVLOG_OPEN_* flags, and the bucket if one is named;
 * segment_size 0 is the default.
 * Warns if the store is damaged.  Fails with a message.
 */
enum cli_exit cli_open(struct cli *cli, unsigned flags, uint64_t segment_size,
    struct kvlog **ret_db);

/* The same without a message of a failure. */
enum kvlog_status cli_try_open(struct cli *cli, unsigned flags,
    uint64_t segment_size, struct kvlog **ret_db);

/* Close db; the worse of status and what closing says. */
enum cli_exit cli_close(
    struct cli *cli, struct kvlog *db, enum cli_exit status);

/*
 * text.c: bytes for people, lines and JSON.
 */

/*
 * Write bytes as the line format has them: a backslash as \\, tab, newline,
 * carriage return and zero as \t \n \r \0, every other control byte and
 * every byte that is not part of valid UTF-8 as \xHH.
 */
void text_escape(FILE *file, struct bytes bytes);

/* The same into new memory, with a final 0; NULL without memory. */
char *text_escaped(struct bytes bytes);

/* Write a message; only control bytes are escaped. */
void text_message(FILE *file, const char *message);

/*
 * Undo text_escape() in place; never grows.  NULL, or what is wrong.
 */
const char *text_unescape(char *text, size_t len, size_t *ret_len);

/* The value of a hexadecimal digit of either case, or -1. */
int text_hex_digit(char c);

/* Decimal numbers; "64K", "128M", "1G", "2T"; "500", "500ms", "5s"; and for
 * what may last longer also "5m", "5h", "5d". */
bool text_parse_number(const char *text, uint64_t *ret_number);
bool text_parse_signed(const char *text, int64_t *ret_number);
bool text_parse_size(const char *text, uint64_t *ret_size);
bool text_parse_time(const char *text, uint32_t *ret_ms);
bool text_parse_long_time(const char *text, uint64_t *ret_ms);

#define TEXT_SIZE_LEN 32

/* "128 MiB", "1.3 KiB"; returns buf. */
char *text_size(char buf[TEXT_SIZE_LEN], uint64_t size);

/* A line of an answer: a label, and where the values begin; sizes with units
 * on a terminal, else as exact numbers. */
void text_answer(int column, const char *label, uint64_t number);
void text_answer_size(int column, const char *label, uint64_t size);

/*
 * backup.c: the store into another directory, for backup and restore.
 */
enum cli_exit backup_into(
    struct cli *cli, struct kvlog *db, const char *path, unsigned flags);

/*
 * change.c: commands that change one key, which has to be there.
 */
struct change {
	/* KVLOG_NOTFOUND: it is not.  *ret_seq: the commit that wrote it. */
	enum kvlog_status (*fn)(struct kvlog *db, struct bytes key,
	    uint64_t expires_ms, const struct kvlog_write *how,
	    uint64_t *ret_seq);
	uint64_t expires_ms; /* for fn */
	const char *label;   /* the answer, before the key */
	const char *member;  /* of the answer in JSON, and its value */
	const char *value;
};
enum cli_exit change_key(
    struct cli *cli, const char *arg, const struct change *change);

/*
 * cmd_stats.c: what a store holds, for the shell, too.
 */
struct stats_bucket {
	const char *text; /* its name, escaped */
	uint64_t record_count;
};
/* bucket: one to tell besides; NULL: none. */
enum cli_exit stats_print(
    struct cli *cli, struct kvlog *db, const struct stats_bucket *bucket);

/*
 * cmd_ttl.c: how long a value has left that expires then, likewise.
 */
void cli_print_ttl(uint64_t expires_ms);

/*
 * map.c: the segments of a store as a picture, or as JSON.
 */
enum cli_exit map_print(struct cli *cli, struct kvlog *db);

/* One JSON object on one line. */
struct json {
	FILE *file;
	bool more; /* a member was written */
};

void json_begin(struct json *json, FILE *file);
void json_end(struct json *json);
void json_number(struct json *json, const char *name, uint64_t number);
void json_bool(struct json *json, const char *name, bool value);
void json_text(struct json *json, const char *name, const char *text);
/* "name": "...", or "name_base64": "..." if the bytes are not UTF-8. */
void json_bytes(struct json *json, const char *name, struct bytes bytes);
/* "value" of a key, and "expires" if it does, as load reads them. */
void json_value(struct json *json, struct bytes value, uint64_t expires_ms);
/* A member written by the caller, who also knows that it is valid. */
void json_raw(struct json *json, const char *name, const char *value);

/*
 * progress.c: a line on a terminal's standard error while load and dump
 * work; nothing elsewhere, and nothing with --quiet or --json.  There is one
 * terminal, so there is one such line, and its state has no handle.
 */
void progress_begin(const struct cli *cli, uint64_t total_bytes);
void progress_update(uint64_t record_count, uint64_t byte_count);
/* The same for work that is counted in bytes, whose total may grow. */
void progress_bytes(uint64_t done, uint64_t total);
void progress_end(void);
/* Wipe the line for a message; the next update draws it again. */
void progress_hide(void);

/* Nanoseconds of a clock that never steps. */
uint64_t progress_clock(void);

/*
 * sigbus.c: end with a message if a mapped file cannot be read (a fault of
 * the medium, or somebody has truncated the file).
 */
void sigbus_install(const char *store);

#endif /* KVLOG_CLI_H */
