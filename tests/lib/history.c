/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * history.c - recording operations, and what both judges need.
 */
#include "config.h"

#include "history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

void *
history_allocate(size_t count, size_t size)
{
	void *memory = calloc(count + 1, size);

	if (memory == NULL) {
		perror("memory for a history");
		exit(2);
	}
	return memory;
}

/* Recording */

static size_t
log_size(size_t cap)
{
	return sizeof(struct history_log) + cap * sizeof(struct history_op);
}

struct history_log *
history_log_create(uint16_t worker, size_t cap)
{
	struct history_log *log = mmap(NULL, log_size(cap),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (log == MAP_FAILED) {
		perror("memory for a history");
		exit(2);
	}
	log->cap = cap;
	log->worker = worker;
	return log;
}

void
history_log_destroy(struct history_log *log)
{
	if (log != NULL)
		(void)munmap(log, log_size(log->cap));
}

static uint64_t
now_ns(void)
{
	struct timespec now = {0, 0};

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct history_op *
history_new(struct history_log *log, size_t count, const char *call)
{
	size_t used = atomic_load(&log->count);
	struct history_op *ops = &log->ops[used];

	if (count > log->cap - used)
		return NULL;
	memset(ops, 0, count * sizeof *ops);
	log->group_count++;
	for (size_t i = 0; i < count; i++) {
		ops[i].call = call;
		ops[i].worker = log->worker;
		ops[i].group = count > 1 ? log->group_count : 0;
	}
	return ops;
}

void
history_begin(struct history_log *log, struct history_op *ops, size_t count)
{
	uint64_t begin = now_ns();

	for (size_t i = 0; i < count; i++) {
		ops[i].begin_ns = begin;
		ops[i].end_ns = HISTORY_NEVER;
	}
	/* The call must find this in memory, should it be the last one. */
	atomic_fetch_add(&log->count, count);
}

void
history_end(struct history_op *ops, size_t count)
{
	uint64_t end = now_ns();

	for (size_t i = 0; i < count; i++)
		ops[i].end_ns = end;
}

void
history_settle(
    struct history_op *ops, size_t count, enum history_outcome outcome)
{
	atomic_signal_fence(memory_order_seq_cst);
	for (size_t i = 0; i < count; i++)
		ops[i].outcome = (uint8_t)outcome;
}

uint64_t
history_value(const struct history_log *log, const struct history_op *op)
{
	return (uint64_t)log->worker << 32 | ((uint64_t)(op - log->ops) + 1);
}

/* Collecting */

void
history_collect(struct history *history, const struct history_log *log)
{
	size_t count = atomic_load(&log->count);
	uint64_t bound = HISTORY_NEVER; /* end of the next commit */
	struct history_op *ops, *to;

	ops = realloc(
	    history->ops, (history->count + count + 1) * sizeof *history->ops);
	if (ops == NULL) {
		perror("memory for a history");
		exit(2);
	}
	history->ops = ops;
	to = ops + history->count;
	memcpy(to, log->ops, count * sizeof *ops);
	for (size_t i = count; i-- > 0;) {
		if (to[i].outcome == HISTORY_DONE && to[i].writes)
			bound = to[i].end_ns;
		if (to[i].outcome != HISTORY_OPEN)
			continue;
		/* What a dying worker had begun to fill in counts for
		 * nothing. */
		to[i].end_ns = bound;
		to[i].guard = HISTORY_ANY;
		to[i].seq = 0;
		if (!to[i].writes)
			to[i].outcome = HISTORY_VOID;
	}
	for (size_t i = 0; i < count; i++)
		if (to[i].outcome != HISTORY_VOID)
			ops[history->count++] = to[i];
}

void
history_fini(struct history *history)
{
	free(history->ops);
	memset(history, 0, sizeof *history);
}

/* Judging */

/* Whether what op tells holds after state, the last write of its key; NULL:
 * there was none. */
bool
history_fits(const struct history_op *op, const struct history_op *state)
{
	bool present = state != NULL && state->value != 0;
	/* Where a number is not known it may be any. */
	bool same = present && (op->saw_seq == 0 || state->seq == 0 ||
				   op->saw_seq == state->seq);

	switch ((enum history_guard)op->guard) {
	case HISTORY_ANY:
		return true;
	case HISTORY_ABSENT:
		return !present;
	case HISTORY_PRESENT:
		return present;
	case HISTORY_VALUE:
		return same && op->saw == state->value;
	case HISTORY_SEQ:
		return same;
	case HISTORY_OTHER:
		return !same || state->seq == 0;
	}
	return false;
}

bool
history_same_moment(
    const struct history_op *one, const struct history_op *other)
{
	return one->group != 0 && one->group == other->group &&
	       one->worker == other->worker;
}

static int
by_value(const void *a, const void *b)
{
	const struct history_op *const *x = a, *const *y = b;

	return ((*x)->value > (*y)->value) - ((*x)->value < (*y)->value);
}

/* Everything that was read was written, to that key, by one commit. */
static bool
judge_value(const struct history_op *read, struct history_op *write, FILE *out)
{
	const char *what = NULL;

	if (write == NULL)
		what = "a value that nobody wrote was read";
	else if (write->key != read->key)
		what = "a value of another key was read";
	else if (read->saw_seq != 0 && write->seq != 0 &&
		 read->saw_seq != write->seq)
		what = "a value was read under another commit's number";
	if (what == NULL)
		return true;
	fprintf(out, "key %" PRIu32 ": %s\n", read->key, what);
	if (write != NULL)
		history_print(out, write, write->begin_ns, NULL);
	history_print(out, read, write != NULL ? write->begin_ns : 0, NULL);
	return false;
}

static bool
join_values(const struct history *history, struct history_op **puts,
    size_t put_count, FILE *out)
{
	for (size_t i = 0; i < history->count; i++) {
		struct history_op *op = &history->ops[i], **found = NULL;
		struct history_op wanted = {.value = op->saw}, *key = &wanted,
				  *write;

		if (op->guard != HISTORY_VALUE)
			continue;
		if (put_count > 0)
			found = bsearch(
			    &key, puts, put_count, sizeof *puts, by_value);
		write = found != NULL ? *found : NULL;
		if (!judge_value(op, write, out))
			return false;
		if (write->seq == 0)
			write->seq = op->saw_seq;
	}
	return true;
}

/* If one step of a commit was seen, all have happened. */
static void
join_groups(const struct history *history)
{
	struct history_op *ops = history->ops;

	for (size_t pass = 0; pass < 2; pass++)
		for (size_t n = 1; n < history->count; n++) {
			size_t i = pass == 0 ? n : history->count - n - 1;
			size_t from = pass == 0 ? i - 1 : i + 1;

			if (ops[i].writes && ops[i].seq == 0 &&
			    history_same_moment(&ops[i], &ops[from]))
				ops[i].seq = ops[from].seq;
		}
	for (size_t i = 0; i < history->count; i++)
		if (ops[i].outcome == HISTORY_OPEN && ops[i].seq != 0)
			ops[i].outcome = HISTORY_DONE;
}

bool
history_prepare(struct history *history, FILE *out)
{
	struct history_op **puts =
	    history_allocate(history->count, sizeof(struct history_op *));
	size_t put_count = 0;
	bool ok;

	for (size_t i = 0; i < history->count; i++)
		if (history->ops[i].writes && history->ops[i].value != 0)
			puts[put_count++] = &history->ops[i];
	qsort(puts, put_count, sizeof(struct history_op *), by_value);
	ok = join_values(history, puts, put_count, out);
	free(puts);
	if (ok)
		join_groups(history);
	return ok;
}

bool
history_check(const struct history *history, FILE *out)
{
	struct history copy = {
	    history_allocate(history->count, sizeof(struct history_op)),
	    history->count};
	bool ok;

	if (history->count > 0)
		memcpy(
		    copy.ops, history->ops, history->count * sizeof *copy.ops);
	ok = history_prepare(&copy, out) && history_order(&copy, out) &&
	     history_search(&copy, out);
	history_fini(&copy);
	return ok;
}

/* For people */

static void
print_value(FILE *out, uint64_t value)
{
	fprintf(out, "%" PRIu64 ".%" PRIu64, value >> 32, value & UINT32_MAX);
}

static void
print_guard(FILE *out, const struct history_op *op)
{
	switch ((enum history_guard)op->guard) {
	case HISTORY_ANY:
		break;
	case HISTORY_ABSENT:
		fprintf(out, ", found no value");
		break;
	case HISTORY_PRESENT:
		fprintf(out, ", found a value");
		break;
	case HISTORY_VALUE:
		fprintf(out, ", found ");
		print_value(out, op->saw);
		if (op->saw_seq != 0)
			fprintf(out, " of commit %" PRIu64, op->saw_seq);
		break;
	case HISTORY_SEQ:
		fprintf(out, ", found a value of commit %" PRIu64, op->saw_seq);
		break;
	case HISTORY_OTHER:
		fprintf(out, ", found none of commit %" PRIu64, op->saw_seq);
		break;
	}
}

/* One line; times in microseconds since origin_ns. */
void
history_print(FILE *out, const struct history_op *op, uint64_t origin_ns,
    const char *remark)
{
	fprintf(out, "  %12.3f to ",
	    (double)(int64_t)(op->begin_ns - origin_ns) / 1000);
	if (op->end_ns == HISTORY_NEVER)
		fprintf(out, "%12s", "?");
	else
		fprintf(out, "%12.3f",
		    (double)(int64_t)(op->end_ns - origin_ns) / 1000);
	fprintf(out, " us  worker %u  key %" PRIu32 "  %s", op->worker, op->key,
	    op->call != NULL ? op->call : "");
	if (op->writes && op->value != 0) {
		fprintf(out, ", wrote ");
		print_value(out, op->value);
	} else if (op->writes) {
		fprintf(out, ", removed the value");
	}
	if (op->writes && op->seq != 0)
		fprintf(out, " as commit %" PRIu64, op->seq);
	print_guard(out, op);
	if (op->outcome == HISTORY_OPEN)
		fprintf(out, " (or did not happen)");
	fprintf(out, "%s%s\n", remark != NULL ? "  <- " : "",
	    remark != NULL ? remark : "");
}
