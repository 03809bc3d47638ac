/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * format.h - the formats of load and dump: one table of them, the window
 * through which they read, and what they write.  kvlog(1) describes each.
 */
#ifndef KVLOG_FORMAT_H
#define KVLOG_FORMAT_H

#include "cli.h"

struct reader;
struct writer;

/* In the reader's buffer, or the store's memory; a key is never empty.  Its
 * data are NULL where only a bucket is named, which may have no keys, and where
 * the input has ended and no bucket is named either. */
struct record {
	struct bytes key;
	struct bytes value;
	uint64_t expires_ms; /* ms since 1970; 0: never */
	struct bytes bucket; /* its name; data NULL: what the command is for */
};

struct format {
	const char *name;
	const char *help; /* lines for "kvlog help load" */
	bool resumable;   /* a load may begin at any of its lines */
	bool printable;   /* --print applies */
	bool sized;       /* needs writer->live_bytes */
	bool times;       /* says when keys expire */
	bool buckets;     /* has names of buckets */

	/* The next record; NULL if this program cannot read the format. */
	enum cli_exit (*read)(struct reader *reader, struct record *ret_record);
	/* NULL: nothing goes before or after the records. */
	void (*begin)(const struct writer *writer);
	enum cli_exit (*write)(
	    struct writer *writer, const struct record *record);
	void (*end)(const struct writer *writer);
};

extern const struct format format_lines;
extern const struct format format_nul;
extern const struct format format_db_dump;
extern const struct format format_mdb_dump;
extern const struct format format_json;

/* --format into *ret_format, which is left alone without the option. */
enum cli_exit format_option(
    const struct cli *cli, const struct format **ret_format);

/* Tell by the first line of the input what it is; nothing is consumed. */
enum cli_exit format_detect(
    struct reader *reader, const struct format **ret_format);

/* The table, for help. */
void format_print_help(void);

/* What a text dump of a database says of itself, and where it stands. */
struct dump_state {
	bool in_data; /* its header is read, its end is not */
	bool print;   /* format=print, else bytevalue */
	bool skipped; /* --database names another one */
	char *name;   /* with --all: of this database, owned; "": none */
	size_t name_len;
	uint64_t wanted; /* databases so far that were not skipped */
};

/*
 * A window over the input: bytes are taken field by field, and the buffer
 * has everything since the beginning of the record.
 */
struct reader {
	const struct cli *cli;
	const struct format *format;
	const char *name;     /* of the input, for messages */
	const char *database; /* --database, or NULL */
	bool all;             /* --all: each into a bucket of its name */
	int fd;
	/* Called before bytes of earlier records are moved or more is awaited:
	 * let nothing point there any more. */
	enum cli_exit (*settle)(void *context);
	void *context;
	uint64_t line; /* or record: the one being read, from 1 */

	char *buffer;
	size_t record_off; /* where the record begins */
	size_t at;         /* not taken yet */
	size_t len;
	size_t size;
	uint64_t dropped; /* bytes of input before the buffer's first */
	bool at_end;      /* nothing more can be read */

	struct dump_state dump;
};

/* A part of the record; reader_text() says where it is, until more is read. */
struct field {
	size_t off; /* from the beginning of the record */
	size_t len; /* without the delimiter */
	enum {
		FIELD_WHOLE, /* the delimiter was found */
		FIELD_CUT,   /* the input ended before it */
		FIELD_LONG   /* it is not there within the limit */
	} end;
};

/* Allocate the buffer, which the caller frees; the rest of it is zero. */
enum cli_exit reader_init(struct reader *reader);

/* A record begins here; fields before it may be forgotten. */
void reader_begin(struct reader *reader);

/*
 * Take the bytes up to the next delimiter, which is taken, too; at most
 * limit bytes if it is farther away.
 */
enum cli_exit reader_field(struct reader *reader, char delimiter,
    uint64_t limit, struct field *ret_field);

/* The next byte, or -1 at the end of the input, into *ret_byte. */
enum cli_exit reader_peek(struct reader *reader, int *ret_byte);

char *reader_text(const struct reader *reader, const struct field *field);

/* Bytes of input taken so far. */
uint64_t reader_bytes(const struct reader *reader);

/* Settle, then report what is wrong with the input, where, what to do. */
enum cli_exit reader_fail(const struct reader *reader, const char *format, ...)
    CLI_PRINTF(2, 3);

struct writer {
	const struct cli *cli;
	const struct format *format;
	FILE *file;
	bool print;              /* --print */
	struct bytes bucket;     /* being written; data NULL: the default one */
	uint64_t record_count;   /* so far, in this bucket */
	uint64_t expiring_count; /* keys whose time the format does not tell */
	uint64_t live_bytes;     /* of the store, if the format is sized */
	uint64_t long_key_count; /* keys that mdb_load will refuse */
};

#endif /* KVLOG_FORMAT_H */
