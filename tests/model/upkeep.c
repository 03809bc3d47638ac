/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * upkeep.c - what is about the whole store: reopening, compaction, backups,
 * processes that die, readers, figures.
 */
#include "run.h"

#include "simos.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void
do_sync(struct run *run)
{
	uint64_t last = kvlog_last_seq(run->db);

	expect(run, "sync", kvlog_sync(run->db), KVLOG_OK);
	if (kvlog_durable_seq(run->db) < last)
		note_wrong(run, "sync: durable_seq is less than last_seq");
	expect(run, "wait_durable", kvlog_wait_durable(run->db, last, 0),
	    KVLOG_OK);
}

void
do_maintain(struct run *run, struct rng *rng)
{
	unsigned steps = (unsigned)rng_below(rng, 6);
	bool more = true;

	while (steps-- > 0 && more)
		expect(run, "maintain", kvlog_maintain(run->db, 0, &more),
		    KVLOG_OK);
}

void
do_reopen(struct run *run, struct rng *rng)
{
	close_run(run, rng);
	if (run->gen->expiry && rng_below(rng, 2) == 0)
		step_clock(run, rng, true);
	open_run(run, 0);
}

void
do_compact_offline(struct run *run, struct rng *rng)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report forecast = {.size = sizeof forecast};
	struct kvlog_compact_report report = {.size = sizeof report};
	enum kvlog_status st;

	o.flags = rng_below(rng, 2) == 0 ? KVLOG_COMPACT_ALL : 0;
	close_run(run, rng);
	o.flags |= KVLOG_COMPACT_DRY_RUN;
	st = kvlog_compact_offline(run->path, &o, &forecast, NULL);
	expect(run, "forecast", st, KVLOG_OK);
	o.flags &= ~KVLOG_COMPACT_DRY_RUN;
	st = kvlog_compact_offline(run->path, &o, &report, NULL);
	expect(run, "compact", st, KVLOG_OK);
	if (report.run_count != forecast.run_count ||
	    report.bytes_after != forecast.bytes_after ||
	    report.records_kept != forecast.records_kept ||
	    report.records_expired != forecast.records_expired)
		note_wrong(run, "compact: not as it was forecast");
	if (report.bytes_after > report.bytes_before &&
	    (o.flags & KVLOG_COMPACT_ALL) == 0)
		note_wrong(run,
		    "compact: from %" PRIu64 " to %" PRIu64 " bytes",
		    report.bytes_before, report.bytes_after);
	open_run(run, 0);
}

/* Beside its writer, who is asked now and then. */
struct beside {
	struct run *run;
	struct rng *rng;
};

static bool
write_beside(void *arg, uint64_t done, uint64_t total)
{
	struct run *run = ((struct beside *)arg)->run;
	struct rng *rng = ((struct beside *)arg)->rng;

	(void)done;
	(void)total;
	learn_judged(run);
	choose_bucket(run, rng);
	make_key(run, rng);
	switch (rng_below(rng, 10)) {
	case 0:
	case 1:
		do_put(run, rng, false);
		break;
	case 2:
		do_delete(run, rng, false);
		break;
	case 3:
		do_batch(run, rng);
		break;
	case 4:
		do_bucket(run, rng);
		break;
	case 5:
		do_sight(run, rng);
		break;
	case 6:
		if (run->gen->expiry)
			step_clock(run, rng, !run->threaded);
		break;
	case 7:
		do_rename(run, rng);
		break;
	default:
		check_get(run);
		break;
	}
	return !run->wrong && rng_below(rng, 40) > 0;
}

void
do_compact_online(struct run *run, struct rng *rng)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct beside beside = {run, rng};
	enum kvlog_status st;

	o.flags = rng_below(rng, 2) == 0 ? KVLOG_COMPACT_ALL : 0;
	if (rng_below(rng, 4) > 0)
		o.progress = write_beside;
	o.arg = &beside;
	run->judging = true;
	st = kvlog_compact(run->db, &o, NULL, NULL);
	run->judging = false;
	expect(run, "compact beside its writer",
	    st == KVLOG_CANCELLED && o.progress != NULL ? KVLOG_OK : st,
	    KVLOG_OK);
}

/* Backups */

void
forget_saved(struct run *run)
{
	for (unsigned i = 0; i < SAVED_COUNT; i++) {
		world_fini(&run->saved[i].world);
		run->saved[i] = (struct saved){.name = ++run->last_name};
	}
}

static void
saved_path(const struct run *run, const struct saved *saved, char *path)
{
	(void)snprintf(path, sizeof run->path, "%s/backup%u",
	    run->real ? run->dir : "", saved->name);
}

/* By a handle that reads or the one that writes, onto nothing or an earlier
 * one. */
void
do_backup(struct run *run, struct rng *rng)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_backup_options how = KVLOG_BACKUP_OPTIONS_INIT;
	struct saved *saved = &run->saved[rng_below(rng, SAVED_COUNT)];
	struct kvlog_error err = {0};
	struct kvlog *reader = NULL, *copy = NULL;
	char path[sizeof run->path];
	bool by_reader = rng_below(rng, 3) == 0;

	how.flags = (unsigned)rng_below(rng, 2) * KVLOG_BACKUP_COPY;
	saved_path(run, saved, path);
	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode = choose_mode(run, 2);
	if (by_reader)
		expect(run, "open for reading",
		    kvlog_open(run->path, &o, &reader, NULL), KVLOG_OK);
	if (run->wrong)
		return;
	if (kvlog_backup(by_reader ? reader : run->db, path, &how, NULL,
		&err) != KVLOG_OK)
		note_wrong(run, "backup: %s", err.text);
	if (by_reader)
		expect(run, "close", kvlog_close(reader, NULL), KVLOG_OK);
	if (run->wrong || kvlog_open(path, &o, &copy, &err) != KVLOG_OK) {
		note_wrong(run, "open a backup: %s", err.text);
		return;
	}
	check_all(run, copy);
	expect(run, "close", kvlog_close(copy, NULL), KVLOG_OK);
	world_fini(&saved->world);
	world_copy(&saved->world, &run->world);
	saved->max_seq = run->max_seq;
	saved->judged_ms = run->judged_ms;
	saved->latest_ms = run->latest_ms;
	saved->made = true;
}

/* A backup is a store: here the store that it is of is left for it. */
void
do_switch(struct run *run, struct rng *rng)
{
	struct saved *saved = &run->saved[rng_below(rng, SAVED_COUNT)];

	if (!saved->made)
		return;
	close_run(run, rng);
	saved_path(run, saved, run->path);
	world_fini(&run->world);
	run->world = saved->world;
	run->max_seq = saved->max_seq;
	run->judged_ms = saved->judged_ms;
	run->latest_ms = saved->latest_ms;
	world_init(&saved->world);
	forget_saved(run);
	open_run(run, 0);
}

/* Processes that die */

/* Kill the process, which is all of it there is on the simulated machine. */
static void
do_simulated_kill(struct run *run, struct rng *rng)
{
	if (rng_below(rng, 2) == 0)
		leave_txn(run, rng, run->db);
	simos_kill();
	simos_forget();
	run->db = NULL;
	memset(run->held, 0, sizeof run->held);
	forget_sights(run);
	open_run(run, 0);
	if (run->db != NULL)
		check_all(run, run->db);
}

/* What a child has done before it died. */
struct deeds {
	struct kvlog_receipt first, second;
	uint64_t bucket_seq; /* 0: it had no bucket to make */
};

/* It never returns. */
static void
write_and_die(struct run *run, struct rng *rng, unsigned bucket, int fd)
{
	const struct world_name *name = &world_names[bucket];
	struct deeds deeds = {.bucket_seq = 0};
	struct kvlog *handle = NULL;
	uint32_t ordinal;
	bool ok;

	open_run(run, 0);
	ok = run->db != NULL &&
	     kvlog_put(run->db, run->key, run->key_len, run->value,
		 run->value_len, NULL, &deeds.first) == KVLOG_OK;
	if (ok && bucket > 0) {
		ok = kvlog_bucket_open(run->db, name->bytes, name->len,
			 KVLOG_OPEN_CREATE, &handle, NULL) == KVLOG_OK;
		if (ok)
			kvlog_bucket_id(handle, &deeds.bucket_seq, &ordinal);
	}
	ok = ok && kvlog_put(handle != NULL ? handle : run->db, "second", 6,
		       run->value, run->value_len / 2, NULL,
		       &deeds.second) == KVLOG_OK;
	if (rng_below(rng, 2) == 0)
		leave_txn(run, rng, run->db);
	if (write(fd, &deeds, sizeof deeds) != (ssize_t)sizeof deeds)
		_exit(2);
	_exit(ok && !run->wrong ? 0 : 1); /* the handle is just left */
}

/* A process that writes two records, into the default bucket and perhaps a new
 * one, and dies, perhaps in a transaction; then open what it left. */
void
do_kill(struct run *run, struct rng *rng)
{
	struct deeds deeds;
	int fds[2], status = 0;
	unsigned bucket = 0;
	pid_t pid;
	ssize_t n;

	if (!run->real) {
		do_simulated_kill(run, rng);
		return;
	}
	close_run(run, rng);
	run->at = 0;
	if (run->gen->buckets && rng_below(rng, 2) == 0)
		bucket = 1 + (unsigned)rng_below(rng, WORLD_BUCKETS - 1);
	if (run->world.buckets[bucket].there)
		bucket = 0;
	make_key(run, rng);
	make_value(run, rng);
	if (pipe(fds) != 0)
		return;
	pid = fork();
	if (pid == 0)
		write_and_die(run, rng, bucket, fds[1]);
	(void)close(fds[1]);
	n = read(fds[0], &deeds, sizeof deeds);
	(void)close(fds[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 ||
	    n != (ssize_t)sizeof deeds) {
		note_wrong(
		    run, "the child could not write: status %#x", status);
		return;
	}
	check_receipt(run, &deeds.first);
	check_receipt(run, &deeds.second);
	model_put(here(run), run->key, run->key_len, run->value, run->value_len,
	    deeds.first.seq);
	if (bucket > 0) {
		world_create(&run->world, bucket, ++run->serials);
		run->world.buckets[bucket].seq = deeds.bucket_seq;
	}
	model_put(&run->world.buckets[bucket].keys, "second", 6, run->value,
	    run->value_len / 2, deeds.second.seq);
	open_run(run, 0);
	if (run->db != NULL)
		check_all(run, run->db);
}

/* Others */

void
do_reader(struct run *run)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	struct kvlog *reader = NULL;

	o.flags = KVLOG_OPEN_READONLY;
	o.index_mode = choose_mode(run, 1);
	if (kvlog_open(run->path, &o, &reader, &err) != KVLOG_OK) {
		note_wrong(run, "open for reading: %s", err.text);
		return;
	}
	check_all(run, reader);
	expect(run, "put by a reader",
	    kvlog_put(reader, "k", 1, "v", 1, NULL, NULL), KVLOG_READONLY);
	expect(run, "drop by a reader",
	    kvlog_bucket_drop(reader, "b", 1, NULL, NULL), KVLOG_READONLY);
	expect(run, "close of a reader", kvlog_close(reader, NULL), KVLOG_OK);
}

/* What is held of the run's own handle. */
static uint64_t
count_snapshots(const struct run *run)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < SIGHT_COUNT; i++)
		count +=
		    run->sights[i].txn != NULL && run->sights[i].reader == NULL;
	return count;
}

void
check_stats(struct run *run)
{
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_stats quick = {.size = sizeof quick, .quick = true};
	struct world shown;
	uint64_t count = 0;

	expect(run, "stats", kvlog_stats_get(run->db, &stats), KVLOG_OK);
	expect(run, "quick stats", kvlog_stats_get(run->db, &quick), KVLOG_OK);
	if (run->wrong)
		return;
	shown_world(run, &shown);
	for (unsigned i = 0; i < WORLD_BUCKETS; i++)
		count += shown.buckets[i].keys.count;
	world_fini(&shown);
	if (stats.record_count != count)
		note_wrong(run,
		    "stats: %" PRIu64 " records instead of %" PRIu64,
		    stats.record_count, count);
	/* 0 says that it takes a walk to know. */
	if (quick.record_count != count &&
	    (quick.record_count != 0 ||
		(stats.index_mode != KVLOG_INDEX_HINTS && !run->gen->buckets &&
		    !run->gen->expiry)))
		note_wrong(run, "quick stats: %" PRIu64 " records",
		    quick.record_count);
	if (stats.snapshot_count != count_snapshots(run))
		note_wrong(
		    run, "stats: %" PRIu64 " snapshots", stats.snapshot_count);
	if (stats.last_seq < run->max_seq)
		note_wrong(run, "stats: last_seq went back");
}
