/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.h - one engine's process in one round: the options, the buffers of
 * the loop, and the store that benchmarks leave to the next one.
 *
 * Record i of num has a key of its own and, for each generation, a value of
 * its own.  Keys are numbers that leave gaps: below the first, above the
 * last, and between any two, so that absent keys of all three kinds exist.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "nursery.h"
#include "records.h"
#include "workload.h"
#include "zipf.h"

struct session {
	const struct engine *engine;
	const struct options *options;
	const char *dir;
	const char *doing;      /* the benchmark's name, for messages */
	struct nursery nursery; /* of processes that are killed */

	void *db;    /* NULL: no store is open */
	bool closed; /* a closed store lies in dir, with its records */
	enum engine_mode mode;
	bool large;            /* its values are large ones */
	uint64_t record_count; /* records in the open store: the first ones */
	uint64_t generation;   /* of all its values */
	unsigned ahead;        /* by how many overwriting has raised it */
	bool in_order;         /* as it was put, and not written to since */
	bool hoard;            /* the store is to keep what is replaced */
	bool changes; /* some may be of the next generation: others put them */
	bool
	    spoiled; /* some values are nobody knows what; the keys are right */
	struct measure *last_write; /* completed when the store is closed */
	uint64_t written;           /* machine_written() before the benchmark */
	uint64_t last_written;      /* the same before last_write */

	/* Of the running benchmark. */
	struct shuffle order;
	uint64_t seed;
	uint64_t key_base;  /* number of record 0's key */
	uint64_t key_range; /* records that a read chooses from */
	uint64_t op_count;
	uint64_t unit; /* operations of a call */
	unsigned get_share;
	bool skewed; /* reads choose by zipf, then hot */
	struct zipf zipf;
	struct shuffle hot;    /* which record has which rank */
	uint64_t deadline;     /* in clock_ticks() */
	enum bench_exit error; /* why a step failed */

	const struct records *records; /* one of these */
	struct records small_records, large_records;
	uint64_t *line_sums; /* of the large ones' pool, see steps.c */

	uint8_t *buf;               /* of a get */
	uint8_t *keys;              /* of a batch, or of many gets */
	struct engine_pair *pairs;  /* of a batch */
	const void *many[MANY_LEN]; /* into keys */
	uint8_t key[RECORDS_KEY_LEN_MAX + 1];
};

/*
 * session_create - ready to run benchmarks of engine in the empty directory
 * dir, whose name must outlive the session.  NULL if out of memory.
 */
struct session *session_create(const struct engine *engine,
    const struct options *options, const char *dir);

/*
 * session_run - run one benchmark, its preparation not measured, and fill
 * measure (or its left_out, if the engine cannot do it), whose place must
 * stay until the session ends: closing the store completes it.
 *
 * Returns BENCH_EXIT_DONE, or another status after saying on standard error
 * what went wrong.
 */
enum bench_exit session_run(struct session *session,
    const struct workload *workload, struct measure *measure);

/* session_end - close what is open and free the session; NULL is fine. */
enum bench_exit session_end(struct session *session);

/*
 * For benchmarks with a store of their own; false after a message, with
 * session->error set.
 *
 * session_open - open what is in the directory, or make it.
 * session_open_store - make one for so many records, the only one.
 * session_close_store - close it if one is open.
 * session_check_store - its count of records, and some of them all over it.
 */
bool session_open(struct session *session, enum engine_access access);
bool session_open_store(struct session *session, enum engine_mode mode,
    bool large, uint64_t key_count);
bool session_close_store(struct session *session);
bool session_check_store(struct session *session, uint64_t count);

#endif /* BENCH_SESSION_H */
