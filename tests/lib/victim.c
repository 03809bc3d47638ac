/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * victim.c - the calls of the victim, and its scripts.
 */
#include "victim.h"
#include "simos.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMIT KVLOG_DURABILITY_COMMIT
#define INTERVAL KVLOG_DURABILITY_INTERVAL
#define NONE KVLOG_DURABILITY_NONE

#define CLOCK_START_MS UINT64_C(1700000000000)
#define HOUR_MS UINT64_C(3600000)

static const char *const bucket_names[VICTIM_BUCKETS] = {"p", "q", "r"};

void
victim_set_hour(unsigned hour)
{
	simos_set_clock_ms(CLOCK_START_MS + hour * HOUR_MS);
}

static uint64_t
expires_ms(const struct victim_step *step)
{
	return step->expires == 0
		   ? 0
		   : CLOCK_START_MS + step->expires * HOUR_MS - HOUR_MS / 2;
}

void
victim_init(struct victim *v, void (*fail)(const char *text))
{
	memset(v, 0, sizeof *v);
	oracle_init(&v->oracle);
	v->fail = fail;
}

static void
free_scratch(struct victim *v)
{
	while (v->scratch_count > 0)
		free(v->scratch[--v->scratch_count]);
}

void
victim_fini(struct victim *v)
{
	free_scratch(v);
	oracle_fini(&v->oracle);
}

void
victim_copy(struct victim *to, const struct victim *from)
{
	*to = *from;
	to->db = NULL;
	memset(to->buckets, 0, sizeof to->buckets);
	to->scratch_count = 0;
	oracle_copy(&to->oracle, &from->oracle);
}

/* Its number; 0: it is not open, or cannot say. */
static uint32_t
active_segment(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};

	return db != NULL && kvlog_stats_get(db, &stats) == KVLOG_OK
		   ? stats.active_segment
		   : 0;
}

static void
begin(struct victim *v, enum victim_call call)
{
	v->call = call;
	if (v->on_call == NULL || call >= VICTIM_IN_REWRITE)
		return;
	v->segment = active_segment(v->db);
	v->on_call(call, false);
}

static enum kvlog_status
status_of(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return KVLOG_NOSPACE;
	case ENOMEM:
		return KVLOG_NOMEM;
	default:
		return KVLOG_IO;
	}
}

/* A detail says what failed and where, and what the system said. */
static void
check_detail(struct victim *v, const char *what, enum kvlog_status st,
    const struct kvlog_error *err)
{
	const char *wrong = NULL;
	char text[400];

	if (st == KVLOG_OK) {
		if (err->status != KVLOG_OK || err->text[0] != '\0')
			wrong = "success with a detail of a failure";
	} else if (err->status != st) {
		wrong = "the detail has another status";
	} else if (strlen(err->text) < 10) {
		wrong = "failed without a word";
	} else if ((st == KVLOG_IO || st == KVLOG_NOSPACE ||
		       st == KVLOG_BROKEN) &&
		   strstr(err->text, "/db") == NULL) {
		wrong = "the detail does not say where";
	} else if ((st == KVLOG_IO || st == KVLOG_NOSPACE) &&
		   err->sys_errno == 0 && !v->read_faults) {
		wrong = "the detail does not say what the system said";
	} else if (err->sys_errno != 0 && st != KVLOG_BROKEN &&
		   st != status_of(err->sys_errno)) {
		wrong = "the status does not fit what the system said";
	} else if (err->sys_errno != 0 && v->error != 0 &&
		   err->sys_errno != v->error) {
		wrong = "that is not what the system said";
	} else if (err->sys_errno != 0 &&
		   strstr(err->text, strerror(err->sys_errno)) == NULL) {
		wrong = "the text lacks the system's reason";
	}
	if (wrong == NULL)
		return;
	(void)snprintf(text, sizeof text, "%s: %s (%s, errno %d: %s)", what,
	    wrong, kvlog_status_text(st), err->sys_errno, err->text);
	v->fail(text);
}

/* What must be OK, or, if faults are about, another honest status. */
bool
victim_judge(struct victim *v, const char *what, enum kvlog_status st,
    const struct kvlog_error *err)
{
	char text[400];

	if (err != NULL)
		check_detail(v, what, st, err);
	if (st == KVLOG_OK)
		return true;
	v->failed++;
	switch (st) {
	case KVLOG_NOMEM:
	case KVLOG_NOSPACE:
	case KVLOG_IO:
	case KVLOG_BROKEN:
		if (v->faults)
			return false;
		break;
	case KVLOG_NOSTORE:
	case KVLOG_NOTSTORE:
		if (v->faults && !v->oracle.created)
			return false;
		break;
	case KVLOG_CORRUPT:
		if (v->read_faults || (v->faults && !v->oracle.created))
			return false;
		break;
	case KVLOG_NOBUCKET:
		if (v->read_faults)
			return false;
		break;
	default:
		break;
	}
	(void)snprintf(text, sizeof text, "%s: %s (%s)", what,
	    kvlog_status_text(st), err != NULL ? err->text : "");
	v->fail(text);
	return false;
}

static void
note_durable(struct victim *v)
{
	oracle_durable(&v->oracle, kvlog_durable_seq(v->db));
}

/* Whether the last commit that failed was written after all. */
static void
decide_in_flight(struct victim *v)
{
	struct oracle *o = &v->oracle;
	/* Reading may be stopped: what it leaves goes at the next time. */
	static struct model found;
	char why[MODEL_WHY_LEN];
	size_t k;

	if (!o->in_flight)
		return;
	model_fini(&found);
	if (!model_read(&found, v->db, why))
		v->fail(why);
	k = oracle_find(o, &found, o->count - 2, o->count - 1, why);
	if (k == SIZE_MAX)
		v->fail(why);
	oracle_cut(o, k, kvlog_last_seq(v->db));
	model_fini(&found);
}

static enum victim_call
call_of_open(const struct victim *v, unsigned flags)
{
	if ((flags & KVLOG_OPEN_READONLY) != 0)
		return VICTIM_IN_OPEN_READ;
	if (!v->oracle.created)
		return VICTIM_IN_CREATE;
	if (v->poisoned)
		return VICTIM_IN_REWRITE;
	return v->unclean ? VICTIM_IN_RECOVER : VICTIM_IN_OPEN;
}

bool
victim_open(struct victim *v, unsigned flags)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	o.load_threads = v->load_threads;
	o.flags = flags | KVLOG_OPEN_NOTHREAD;
	o.segment_size =
	    v->segment_size != 0 ? v->segment_size : VICTIM_SEGMENT;
	o.interval_ms = 1;
	o.timeout_ms = 0;
	o.index_mode = v->hints ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	v->hints = !v->hints;
	v->db = NULL;
	memset(v->buckets, 0, sizeof v->buckets);
	begin(v, call_of_open(v, flags));
	st = kvlog_open(VICTIM_STORE, &o, &v->db, &err);
	if (st != KVLOG_OK)
		v->db = NULL;
	if (!victim_judge(v, "open", st, &err))
		return false;
	v->readonly = (flags & KVLOG_OPEN_READONLY) != 0;
	v->unclean |= !v->readonly;
	if (!v->readonly)
		v->poisoned = false;
	v->broken = false;
	v->oracle.created = true;
	decide_in_flight(v);
	note_durable(v);
	return true;
}

bool
victim_close(struct victim *v)
{
	struct kvlog *db = v->db;
	struct kvlog_error err = {0};
	enum kvlog_status st;

	if (db == NULL)
		return false;
	begin(v, VICTIM_IN_CLOSE);
	v->db = NULL;
	for (unsigned i = 0; i < VICTIM_BUCKETS; i++) {
		(void)kvlog_close(v->buckets[i], NULL);
		v->buckets[i] = NULL;
	}
	st = kvlog_close(db, &err);
	v->unclean &= st != KVLOG_OK || v->readonly;
	if (st == KVLOG_OK && !v->readonly && !v->oracle.in_flight)
		oracle_durable(&v->oracle, UINT64_MAX);
	return victim_judge(v, "close", st, &err);
}

/* A commit's call has returned. */
static bool
finish(struct victim *v, const char *what, enum kvlog_status st,
    const struct kvlog_error *err, uint64_t seq_before,
    const struct kvlog_receipt *receipt, enum kvlog_durability durability)
{
	uint64_t seq = receipt->seq;

	if (v->on_call != NULL && st == KVLOG_OK && v->segment != 0 &&
	    receipt->segment != v->segment)
		v->on_call(VICTIM_IN_ROLLOVER, true);
	v->broken |= st == KVLOG_BROKEN;
	/* A failed sync leaves a commit that is visible all the same. */
	if (st == KVLOG_BROKEN && kvlog_last_seq(v->db) != seq_before) {
		(void)oracle_committed(&v->oracle, kvlog_last_seq(v->db));
	} else if (st != KVLOG_OK && v->store_faults) {
		return victim_judge(v, what, st, err); /* in flight */
	} else if (st != KVLOG_OK) {
		oracle_refused(&v->oracle);
	} else {
		if (v->broken)
			v->fail("a broken store went on");
		if (!oracle_committed(&v->oracle, seq))
			v->fail("a sequence number was given out twice");
		if (kvlog_last_seq(v->db) != seq)
			v->fail("last_seq is not the receipt's");
		if (durability == COMMIT && kvlog_durable_seq(v->db) < seq)
			v->fail("a commit returned before it was durable");
	}
	note_durable(v);
	return victim_judge(v, what, st, err);
}

/* Bytes that tell which value they are of. */
static uint8_t *
make_value(struct victim *v, size_t len)
{
	uint8_t *value = malloc(len + 1);
	struct rng rng;

	if (value == NULL || v->scratch_count == VICTIM_STEPS)
		abort();
	v->scratch[v->scratch_count++] = value;
	rng_init(&rng, ++v->values);
	rng_fill(&rng, value, len);
	return value;
}

/* The handle on a bucket, or on the default one; NULL: it cannot be opened. */
static struct kvlog *
handle_of(struct victim *v, const char *bucket)
{
	struct kvlog_error err = {0};
	struct kvlog **handle;
	enum victim_call call = v->call;
	enum kvlog_status st = KVLOG_OK;

	if (bucket == NULL)
		return v->db;
	handle = &v->buckets[bucket[0] - 'p'];
	if (*handle == NULL) {
		v->call = VICTIM_IN_BUCKET;
		st = kvlog_bucket_open(
		    v->db, bucket, strlen(bucket), 0, handle, &err);
		v->call = call;
	}
	return victim_judge(v, "open a bucket", st, &err) ? *handle : NULL;
}

/* It may be another one's name now. */
static void
close_bucket(struct victim *v, const char *bucket)
{
	struct kvlog **handle = &v->buckets[bucket[0] - 'p'];

	(void)kvlog_close(*handle, NULL);
	*handle = NULL;
}

/* Whether some steps can be done now, one after the other; faults may have kept
 * buckets from being created or dropped. */
static bool
can_do(struct victim *v, const struct victim_step *steps, size_t count)
{
	const struct model *state = oracle_last(&v->oracle);
	bool there[VICTIM_BUCKETS], fits = true;

	if (v->db == NULL || v->oracle.in_flight)
		return false;
	for (unsigned i = 0; i < VICTIM_BUCKETS; i++)
		there[i] = model_bucket(state, bucket_names[i]) != NULL;
	for (size_t i = 0; i < count && fits; i++) {
		bool *bucket = steps[i].bucket == NULL
				   ? NULL
				   : &there[steps[i].bucket[0] - 'p'];

		if (steps[i].value_len == VICTIM_CREATE) {
			fits = !*bucket;
			*bucket = true;
		} else if (bucket != NULL) {
			fits = *bucket;
			*bucket = steps[i].value_len != VICTIM_DROP;
		}
	}
	return fits;
}

/* The keys that a step is about, in a state. */
static struct model *
keys_of(struct model *state, const struct victim_step *step)
{
	return model_bucket(state, step->bucket);
}

/* Whether a step's key has a value: 1, 0, or -1 if that is not known. */
static int
is_there(struct victim *v, const struct victim_step *step)
{
	const struct model *keys = keys_of(oracle_last(&v->oracle), step);

	return oracle_shows_entry(
	    &v->oracle, model_find(keys, step->key, strlen(step->key)));
}

static bool
put(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability, enum kvlog_condition condition,
    uint64_t if_seq)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	struct kvlog *handle;
	uint8_t *value;
	uint64_t before;
	enum kvlog_status st;

	if (!can_do(v, step, 1))
		return false;
	how.durability = durability;
	how.condition = condition;
	how.if_seq = if_seq;
	how.expires_ms = expires_ms(step);
	how.err = &err;
	free_scratch(v);
	value = make_value(v, step->value_len);
	before = kvlog_last_seq(v->db);
	begin(v, condition == KVLOG_IF_ANY ? VICTIM_IN_PUT : VICTIM_IN_PUT_IF);
	handle = handle_of(v, step->bucket);
	if (handle == NULL)
		return false;
	model_put(keys_of(oracle_begin(&v->oracle), step), step->key,
	    strlen(step->key), value, step->value_len, MODEL_ANY_SEQ)
	    ->expires_ms = how.expires_ms;
	st = kvlog_put(handle, step->key, strlen(step->key), value,
	    step->value_len, &how, &receipt);
	if (st == KVLOG_CONFLICT) {
		oracle_refused(&v->oracle);
		return false;
	}
	return finish(v, "put", st, &err, before, &receipt,
	    durability != KVLOG_DURABILITY_DEFAULT ? durability : COMMIT);
}

bool
victim_put(struct victim *v, const char *key, size_t value_len,
    enum kvlog_durability durability)
{
	const struct victim_step step = {.key = key, .value_len = value_len};

	return put(v, &step, durability, KVLOG_IF_ANY, 0);
}

bool
victim_put_if(struct victim *v, const char *key, size_t value_len,
    enum kvlog_condition condition, uint64_t if_seq)
{
	const struct victim_step step = {.key = key, .value_len = value_len};
	const struct model_entry *e =
	    model_find(oracle_last(&v->oracle), key, strlen(key));
	int there = oracle_shows_entry(&v->oracle, e);
	bool holds = condition == KVLOG_IF_ABSENT    ? there == 0
		     : condition == KVLOG_IF_PRESENT ? there == 1
		     : condition == KVLOG_IF_SEQ
			 ? (there == 1 ? e->seq : 0) == if_seq
			 : true;
	uint64_t failed = v->failed;
	bool done = put(v, &step, COMMIT, condition, if_seq);

	if (v->db != NULL && !v->oracle.in_flight && v->failed == failed &&
	    !v->read_faults && there >= 0 && done != holds)
		v->fail("a condition was judged wrongly");
	return done;
}

static bool
remove_key(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	const size_t key_len = strlen(step->key);
	struct kvlog *handle;
	uint64_t before;
	enum kvlog_status st;
	int there;

	if (!can_do(v, step, 1))
		return false;
	how.durability = durability;
	how.err = &err;
	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_DELETE);
	handle = handle_of(v, step->bucket);
	if (handle == NULL)
		return false;
	there = is_there(v, step);
	(void)model_delete(
	    keys_of(oracle_begin(&v->oracle), step), step->key, key_len);
	st = kvlog_delete(handle, step->key, key_len, &how, &receipt);
	if (st == KVLOG_NOTFOUND && (there != 1 || v->read_faults)) {
		oracle_refused(&v->oracle);
		return true;
	}
	if (st == KVLOG_OK && there == 0)
		v->fail("an absent key was deleted");
	return finish(v, "delete", st, &err, before, &receipt, durability);
}

bool
victim_delete(
    struct victim *v, const char *key, enum kvlog_durability durability)
{
	const struct victim_step step = {.key = key};

	return remove_key(v, &step, durability);
}

bool
victim_expire(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	const size_t key_len = strlen(step->key);
	const struct model_entry *e;
	struct kvlog *handle;
	struct model *keys;
	uint64_t before;
	enum kvlog_status st;
	int there;

	if (!can_do(v, step, 1))
		return false;
	how.durability = durability;
	how.err = &err;
	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_EXPIRE);
	handle = handle_of(v, step->bucket);
	if (handle == NULL)
		return false;
	there = is_there(v, step);
	keys = keys_of(oracle_begin(&v->oracle), step);
	e = model_find(keys, step->key, key_len);
	if (e != NULL) /* the value is the state's before, too */
		model_put(keys, step->key, key_len, e->value->bytes,
		    e->value->len, MODEL_ANY_SEQ)
		    ->expires_ms = expires_ms(step);
	st = kvlog_expire(
	    handle, step->key, key_len, expires_ms(step), &how, &receipt);
	if (st == KVLOG_NOTFOUND && (there != 1 || v->read_faults)) {
		oracle_refused(&v->oracle);
		return true;
	}
	if (st == KVLOG_OK && there == 0)
		v->fail("a key that is not there was given a time");
	return finish(v, "expire", st, &err, before, &receipt, durability);
}

static bool
create(struct victim *v, const char *bucket)
{
	struct kvlog_stats stats = {.size = sizeof stats, .quick = true};
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	struct kvlog *handle = NULL;
	uint32_t ordinal = 0;
	uint64_t before;
	enum kvlog_status st;

	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_BUCKET);
	model_create_bucket(oracle_begin(&v->oracle), bucket, MODEL_ANY_SEQ);
	st = kvlog_bucket_open(v->db, bucket, strlen(bucket),
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, &handle, &err);
	if (st == KVLOG_OK) {
		v->buckets[bucket[0] - 'p'] = handle;
		kvlog_bucket_id(handle, &receipt.seq, &ordinal);
		if (kvlog_stats_get(v->db, &stats) == KVLOG_OK)
			receipt.segment = stats.active_segment;
	}
	return finish(v, "create a bucket", st, &err, before, &receipt, COMMIT);
}

static bool
drop(struct victim *v, const char *bucket, enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	struct kvlog **handle = &v->buckets[bucket[0] - 'p'];
	uint64_t before;
	enum kvlog_status st;

	how.durability = durability;
	how.err = &err;
	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_DROP);
	(void)model_drop_bucket(oracle_begin(&v->oracle), bucket);
	st = kvlog_bucket_drop(v->db, bucket, strlen(bucket), &how, &receipt);
	if (st == KVLOG_OK && *handle != NULL && !v->faults &&
	    kvlog_exists(*handle, "a", 1) != KVLOG_NOBUCKET)
		v->fail("a bucket is there after it was dropped");
	close_bucket(v, bucket);
	return finish(
	    v, "drop a bucket", st, &err, before, &receipt, durability);
}

bool
victim_do(struct victim *v, const struct victim_step *step,
    enum kvlog_durability durability)
{
	if (!can_do(v, step, 1))
		return false;
	switch (step->value_len) {
	case VICTIM_CREATE:
		return create(v, step->bucket);
	case VICTIM_DROP:
		return drop(v, step->bucket, durability);
	case VICTIM_DELETE:
		return remove_key(v, step, durability);
	default:
		return put(v, step, durability, KVLOG_IF_ANY, 0);
	}
}

/* A put in a state that is to be. */
static void
note_put(struct victim *v, struct model *state, const struct victim_step *step,
    const uint8_t *value)
{
	const size_t key_len = strlen(step->key);

	model_put(keys_of(state, step), step->key, key_len, value,
	    step->value_len, MODEL_ANY_SEQ)
	    ->expires_ms = expires_ms(step);
	oracle_step(&v->oracle, step->bucket, step->key, key_len, value,
	    step->value_len, expires_ms(step));
}

bool
victim_batch(struct victim *v, const struct victim_step *steps, size_t count,
    enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	struct kvlog_op ops[VICTIM_STEPS];
	struct model *state;
	uint64_t before;
	enum kvlog_status st;

	if (!can_do(v, steps, count))
		return false;
	if (count > VICTIM_STEPS)
		abort();
	free_scratch(v);
	memset(ops, 0, sizeof ops);
	how.durability = durability;
	how.err = &err;
	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_APPLY);
	for (size_t i = 0; i < count; i++) {
		ops[i].bucket = handle_of(v, steps[i].bucket);
		if (ops[i].bucket == NULL)
			return false;
	}
	state = oracle_begin(&v->oracle);
	for (size_t i = 0; i < count; i++) {
		struct kvlog_op *op = &ops[i];

		op->key = steps[i].key;
		op->key_len = strlen(steps[i].key);
		if (steps[i].value_len == VICTIM_DELETE) {
			op->type = KVLOG_OP_DELETE;
			(void)model_delete(
			    keys_of(state, &steps[i]), op->key, op->key_len);
			continue;
		}
		op->type = KVLOG_OP_PUT;
		op->value_len = steps[i].value_len;
		op->value = make_value(v, op->value_len);
		op->expires_ms = expires_ms(&steps[i]);
		note_put(v, state, &steps[i], op->value);
	}
	st = kvlog_apply(v->db, ops, count, &how, &receipt, NULL);
	return finish(v, "apply", st, &err, before, &receipt, durability);
}

/* A transaction, and its handles on buckets. */
struct transaction {
	struct kvlog_txn *txn;
	struct kvlog *buckets[VICTIM_BUCKETS];
};

static void
close_buckets(struct transaction *t)
{
	for (unsigned i = 0; i < VICTIM_BUCKETS; i++) {
		(void)kvlog_close(t->buckets[i], NULL);
		t->buckets[i] = NULL;
	}
}

static enum kvlog_status
create_or_drop_in(struct transaction *t, const struct victim_step *step,
    struct model *state, struct kvlog_error *err)
{
	struct kvlog **handle = &t->buckets[step->bucket[0] - 'p'];
	const size_t len = strlen(step->bucket);

	(void)kvlog_close(*handle, NULL);
	*handle = NULL;
	if (step->value_len == VICTIM_DROP) {
		if (state != NULL)
			(void)model_drop_bucket(state, step->bucket);
		return kvlog_txn_bucket_drop(t->txn, step->bucket, len, err);
	}
	if (state != NULL)
		model_create_bucket(state, step->bucket, MODEL_ANY_SEQ);
	return kvlog_txn_bucket_open(t->txn, step->bucket, len,
	    KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE, handle, err);
}

/* state: to be changed likewise; NULL: it will be undone. */
static enum kvlog_status
write_in(struct victim *v, struct transaction *t,
    const struct victim_step *step, struct model *state,
    struct kvlog_error *err)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog **handle = NULL;
	enum kvlog_status st = KVLOG_OK;
	size_t key_len;
	uint8_t *value;

	if (step->value_len == VICTIM_CREATE || step->value_len == VICTIM_DROP)
		return create_or_drop_in(t, step, state, err);
	key_len = strlen(step->key);
	if (step->bucket != NULL) {
		handle = &t->buckets[step->bucket[0] - 'p'];
		if (*handle == NULL)
			st = kvlog_txn_bucket_open(t->txn, step->bucket,
			    strlen(step->bucket), 0, handle, err);
	}
	if (st != KVLOG_OK)
		return st;
	how.err = err;
	if (step->value_len == VICTIM_DELETE) {
		st = kvlog_txn_delete(t->txn, handle != NULL ? *handle : NULL,
		    step->key, key_len, &how);
		if (st == KVLOG_OK && state != NULL)
			(void)model_delete(
			    keys_of(state, step), step->key, key_len);
		return st == KVLOG_NOTFOUND ? KVLOG_OK : st;
	}
	value = make_value(v, step->value_len);
	if (state != NULL)
		note_put(v, state, step, value);
	how.expires_ms = expires_ms(step);
	return kvlog_txn_put(t->txn, handle != NULL ? *handle : NULL, step->key,
	    key_len, value, step->value_len, &how);
}

static enum kvlog_status
transact(struct victim *v, const struct victim_step *steps, size_t count,
    struct kvlog_write *how, struct kvlog_receipt *ret_receipt)
{
	struct model *state = oracle_begin(&v->oracle);
	struct transaction t = {0};
	uint64_t savepoint;
	enum kvlog_status st = kvlog_txn_begin(v->db, NULL, &t.txn, how->err);

	if (st == KVLOG_OK) {
		st = kvlog_txn_savepoint(t.txn, &savepoint);
		if (st != KVLOG_OK) { /* which tells no more */
			how->err->status = st;
			(void)snprintf(how->err->text, sizeof how->err->text,
			    "note a savepoint");
		}
	}
	for (size_t i = 0; i < count && st == KVLOG_OK; i++)
		st = write_in(v, &t, &steps[i], NULL, how->err);
	close_buckets(&t);
	if (st == KVLOG_OK)
		st = kvlog_txn_rollback_to(t.txn, savepoint);
	for (size_t i = 0; i < count && st == KVLOG_OK; i++)
		st = write_in(v, &t, &steps[i], state, how->err);
	if (st == KVLOG_OK)
		st = kvlog_txn_commit(t.txn, how, ret_receipt);
	else
		kvlog_txn_rollback(t.txn);
	close_buckets(&t);
	return st;
}

bool
victim_transact(struct victim *v, const struct victim_step *steps, size_t count,
    enum kvlog_durability durability)
{
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog_receipt receipt = {0, 0, 0};
	struct kvlog_error err = {0};
	uint64_t before;
	enum kvlog_status st;

	if (!can_do(v, steps, count))
		return false;
	if (2 * count > VICTIM_STEPS)
		abort();
	free_scratch(v);
	how.durability = durability;
	how.err = &err;
	before = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_COMMIT);
	st = transact(v, steps, count, &how, &receipt);
	for (size_t i = 0; i < count; i++)
		if (steps[i].value_len == VICTIM_DROP)
			close_bucket(v, steps[i].bucket);
	if (st == KVLOG_OK && receipt.seq == before) { /* of nothing */
		oracle_refused(&v->oracle);
		return true;
	}
	return finish(v, "transaction", st, &err, before, &receipt, durability);
}

bool
victim_sync(struct victim *v)
{
	uint64_t last;
	enum kvlog_status st;

	if (v->db == NULL)
		return false;
	last = kvlog_last_seq(v->db);
	begin(v, VICTIM_IN_SYNC);
	st = kvlog_sync(v->db);
	if (st == KVLOG_OK && kvlog_durable_seq(v->db) < last)
		v->fail("sync returned before all was durable");
	v->broken |= st == KVLOG_BROKEN;
	note_durable(v);
	return victim_judge(v, "sync", st, NULL);
}

/* Of an open store, with a put at every moment at which a caller is asked. */
static bool
write_beside(void *arg, uint64_t done, uint64_t total)
{
	struct victim *v = arg;

	(void)done;
	(void)total;
	(void)victim_put(v, "beside", 200, KVLOG_DURABILITY_NONE);
	begin(v, VICTIM_IN_COMPACT);
	return true;
}

/* What a compaction says that it has dropped never comes back. */
static void
note_judged(struct victim *v, enum kvlog_status st, uint64_t when_ms,
    unsigned flags, const struct kvlog_compact_report *report)
{
	if (st == KVLOG_OK && (flags & KVLOG_COMPACT_DRY_RUN) == 0 &&
	    report->records_expired > 0)
		oracle_judged(&v->oracle, when_ms);
}

static bool
compact_online(struct victim *v, unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	uint64_t when_ms;
	enum kvlog_status st;

	if (v->readonly)
		return false;
	o.flags = flags;
	o.timeout_ms = 0;
	o.progress = write_beside;
	o.arg = v;
	begin(v, VICTIM_IN_COMPACT);
	when_ms = os->clock_ms();
	if ((flags & KVLOG_COMPACT_DRY_RUN) == 0)
		oracle_judging(&v->oracle);
	st = kvlog_compact(v->db, &o, &report, &err);
	note_judged(v, st, when_ms, flags, &report);
	v->broken |= st == KVLOG_BROKEN;
	note_durable(v);
	if (report.damaged_segments > 0 && !v->read_faults)
		v->fail("compaction takes something for damage");
	/* A lock that fails is taken for one that another process has. */
	if (v->faults && st == KVLOG_BUSY) {
		v->failed++;
		return false;
	}
	return victim_judge(v, "compact", st, &err);
}

bool
victim_compact(struct victim *v, unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;
	struct kvlog_compact_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	uint64_t when_ms;
	enum kvlog_status st;

	if (v->db != NULL)
		return compact_online(v, flags);
	o.flags = flags;
	o.timeout_ms = 0;
	begin(v, VICTIM_IN_COMPACT);
	when_ms = os->clock_ms();
	if ((flags & KVLOG_COMPACT_DRY_RUN) == 0)
		oracle_judging(&v->oracle);
	st = kvlog_compact_offline(VICTIM_STORE, &o, &report, &err);
	note_judged(v, st, when_ms, flags, &report);
	if (st == KVLOG_OK && (flags & KVLOG_COMPACT_DRY_RUN) == 0 &&
	    !v->oracle.in_flight)
		oracle_durable(&v->oracle, UINT64_MAX);
	v->unclean &= st != KVLOG_OK || (flags & KVLOG_COMPACT_DRY_RUN) != 0;
	if (report.damaged_segments > 0 && !v->read_faults)
		v->fail("compaction takes something for damage");
	return victim_judge(v, "compact", st, &err);
}

bool
victim_maintain(struct victim *v)
{
	bool more = true;
	enum kvlog_status st = KVLOG_OK;

	if (v->db == NULL)
		return false;
	begin(v, VICTIM_IN_MAINTAIN);
	for (unsigned i = 0; more && st == KVLOG_OK; i++) {
		if (i == 1000)
			v->fail("maintenance never ends");
		st = kvlog_maintain(v->db, 0, &more);
		note_durable(v);
	}
	return victim_judge(v, "maintain", st, NULL);
}

void
victim_check(struct victim *v)
{
	struct oracle *o = &v->oracle;
	const struct model *wanted = &o->states[o->count - 1 - o->in_flight];
	/* A store that failed may have been the one that publishes. */
	const struct model *or_else =
	    v->store_faults ? &o->states[o->count - 1] : wanted;
	/* Reading may be stopped: what it leaves goes at the next time. */
	static struct model found;
	char why[MODEL_WHY_LEN], text[MODEL_WHY_LEN + 50];

	if (v->db == NULL)
		return;
	model_fini(&found);
	v->call = VICTIM_IN_WALK;
	if (!model_read(&found, v->db, why)) {
		/* The walk needs memory, which may be what fails. */
		if (!v->faults)
			v->fail(why);
	} else if (v->read_faults) {
		/* Something may be missing, but nothing may be wrong. */
		if (!oracle_knows_all(o, &found))
			v->fail("a value that nobody wrote");
	} else if (!oracle_shows(o, wanted, &found) &&
		   !oracle_shows(o, or_else, &found)) {
		oracle_explain(o, wanted, &found, why);
		(void)snprintf(
		    text, sizeof text, "wrong contents while open: %s", why);
		v->fail(text);
	}
	model_fini(&found);
}

/* Scripts.  Values are chosen so that several records go into a segment of
 * 8 KiB, of which 3.5 KiB are for records. */

static void
script_create(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE | KVLOG_OPEN_EXCLUSIVE);
	(void)victim_close(v);
}

static void
script_put(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 100, COMMIT);
	(void)victim_put(v, "b", 0, COMMIT);
	(void)victim_put(v, "a", 1500, COMMIT);
	(void)victim_put(v, "c", 7, NONE);
	(void)victim_put(v, "b", 33, NONE);
	(void)victim_put(v, "d", 1, COMMIT);
	(void)victim_close(v);
}

static void
script_delete(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 10, COMMIT);
	(void)victim_put(v, "b", 10, COMMIT);
	(void)victim_delete(v, "a", COMMIT);
	(void)victim_delete(v, "a", COMMIT);
	(void)victim_put(v, "a", 20, NONE);
	(void)victim_delete(v, "b", NONE);
	(void)victim_delete(v, "a", NONE);
	(void)victim_sync(v);
	(void)victim_put(v, "c", 3500, NONE);
	(void)victim_sync(v); /* of a new name, too */
	(void)victim_close(v);
}

static void
script_conditional(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put_if(v, "a", 10, KVLOG_IF_PRESENT, 0);
	(void)victim_put_if(v, "a", 20, KVLOG_IF_ABSENT, 0);
	(void)victim_put_if(v, "a", 30, KVLOG_IF_ABSENT, 0);
	(void)victim_put_if(v, "a", 40, KVLOG_IF_SEQ, 1);
	(void)victim_put_if(v, "a", 50, KVLOG_IF_SEQ, 1);
	(void)victim_put_if(v, "b", 60, KVLOG_IF_SEQ, 0);
	(void)victim_put_if(v, "b", 70, KVLOG_IF_PRESENT, 0);
	(void)victim_put(v, "c", 3300, NONE);
	/* With the name of that segment. */
	(void)victim_put_if(v, "a", 80, KVLOG_IF_PRESENT, 0);
	(void)victim_close(v);
}

static void
script_batch(void *arg)
{
	static const struct victim_step small[] = {{"a", 10, NULL, 0},
	    {"b", 200, NULL, 0}, {"c", VICTIM_DELETE, NULL, 0},
	    {"a", 30, NULL, 0}};
	static const struct victim_step medium[] = {{"a", 1200, NULL, 0},
	    {"d", 900, NULL, 0}, {"b", VICTIM_DELETE, NULL, 0}};
	static const struct victim_step large[] = {{"e", 3000, NULL, 0},
	    {"a", VICTIM_DELETE, NULL, 0}, {"f", 2500, NULL, 0},
	    {"g", 0, NULL, 0}};
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_batch(v, small, 4, COMMIT);
	(void)victim_batch(v, small, 3, NONE);
	(void)victim_batch(v, medium, 3, NONE);
	(void)victim_batch(v, medium, 3, COMMIT);
	(void)victim_batch(v, large, 4, NONE);
	(void)victim_batch(v, small, 4, COMMIT);
	(void)victim_batch(v, small, 1, NONE);
	(void)victim_close(v);
}

static void
script_transaction(void *arg)
{
	static const struct victim_step small[] = {{"a", 10, NULL, 0},
	    {"b", 200, NULL, 0}, {"a", 30, NULL, 0},
	    {"c", VICTIM_DELETE, NULL, 0}};
	static const struct victim_step medium[] = {{"a", 1200, NULL, 0},
	    {"d", 900, NULL, 0}, {"b", VICTIM_DELETE, NULL, 0}};
	static const struct victim_step large[] = {{"e", 3000, NULL, 0},
	    {"a", VICTIM_DELETE, NULL, 0}, {"f", 2500, NULL, 0},
	    {"g", 0, NULL, 0}};
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_transact(v, small, 4, COMMIT);
	(void)victim_put(v, "c", 50, NONE);
	(void)victim_transact(v, small, 4, NONE);
	(void)victim_transact(v, medium, 3, NONE);
	(void)victim_transact(v, large, 4, COMMIT);
	(void)victim_transact(v, small + 3, 1, NONE);
	(void)victim_close(v);
}

static void
script_buckets(void *arg)
{
	static const struct victim_step create_p = {
	    .value_len = VICTIM_CREATE, .bucket = "p"};
	static const struct victim_step drop_p = {
	    .value_len = VICTIM_DROP, .bucket = "p"};
	static const struct victim_step in_p = {"a", 900, "p", 0};
	static const struct victim_step gone_in_p = {
	    "a", VICTIM_DELETE, "p", 0};
	static const struct victim_step batch[] = {{"a", 700, "p", 0},
	    {"a", 600, NULL, 0}, {"b", 300, "p", 0},
	    {"c", VICTIM_DELETE, "p", 0}};
	static const struct victim_step both[] = {
	    {.value_len = VICTIM_CREATE, .bucket = "q"}, {"a", 1100, "q", 0},
	    {"b", VICTIM_DELETE, "p", 0}, {"b", 80, NULL, 0}};
	static const struct victim_step exchange[] = {{"x", 10, "p", 0},
	    {.value_len = VICTIM_DROP, .bucket = "p"},
	    {.value_len = VICTIM_CREATE, .bucket = "p"}, {"a", 50, "p", 0},
	    {.value_len = VICTIM_DROP, .bucket = "q"}};
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_do(v, &create_p, NONE);
	(void)victim_do(v, &in_p, NONE);
	(void)victim_batch(v, batch, 4, NONE);
	(void)victim_do(v, &gone_in_p, COMMIT);
	(void)victim_do(v, &drop_p, NONE);
	(void)victim_put(v, "b", 2500, NONE);
	(void)victim_do(v, &create_p, NONE);
	(void)victim_do(v, &in_p, NONE);
	(void)victim_transact(v, both, 4, NONE);
	victim_check(v);
	(void)victim_maintain(v);
	(void)victim_transact(v, exchange, 5, COMMIT);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	victim_check(v);
	(void)victim_put(v, "b", 2500, NONE);
	(void)victim_put(v, "b", 2500, NONE);
	(void)victim_do(v, &drop_p, COMMIT);
	(void)victim_close(v);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	victim_check(v);
	(void)victim_close(v);
}

/* What compaction has judged stays so, though the clock goes back. */
static void
script_expiry(void *arg)
{
	static const struct victim_step batch[] = {{"a", 700, NULL, 2},
	    {"b", 300, NULL, 3}, {"c", VICTIM_DELETE, NULL, 0},
	    {"d", 900, NULL, 0}};
	static const struct victim_step soon = {"c", 1500, NULL, 1};
	static const struct victim_step never = {"c", 0, NULL, 0};
	static const struct victim_step later = {"d", 0, NULL, 4};
	static const struct victim_step again[] = {
	    {"a", 30, NULL, 1}, {"a", 40, NULL, 5}, {"b", 20, NULL, 2}};
	struct victim *v = arg;

	victim_set_hour(0);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 1500, NONE);
	(void)victim_do(v, &soon, NONE);
	(void)victim_expire(v, &never, NONE);
	(void)victim_batch(v, batch, 4, NONE);
	(void)victim_do(v, &soon, COMMIT);
	(void)victim_expire(v, &later, NONE);
	(void)victim_put(v, "e", 1500, NONE);
	(void)victim_expire(v, &later, COMMIT);
	victim_set_hour(2);
	victim_check(v);
	(void)victim_put_if(v, "c", 10, KVLOG_IF_PRESENT, 0);
	(void)victim_delete(v, "c", NONE);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	victim_set_hour(1);
	victim_check(v);
	(void)victim_put_if(v, "a", 20, KVLOG_IF_ABSENT, 0);
	(void)victim_transact(v, again, 3, NONE);
	(void)victim_put(v, "e", 2500, NONE);
	(void)victim_close(v);
	victim_set_hour(4);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	victim_set_hour(0);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	victim_check(v);
	(void)victim_close(v);
}

static void
script_rollover(void *arg)
{
	struct victim *v = arg;
	char key[8];

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 24; i++) {
		(void)snprintf(key, sizeof key, "k%u", i % 7);
		(void)victim_put(
		    v, key, 300 + 50 * (i % 5), i % 5 == 0 ? COMMIT : NONE);
	}
	victim_check(v);
	(void)victim_close(v);
}

static void
script_unsynced(void *arg)
{
	struct victim *v = arg;
	char key[8];

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof key, "k%u", i % 6);
		if (i % 6 == 5)
			(void)victim_delete(v, "k0", NONE);
		else
			(void)victim_put(v, key, 700, NONE);
	}
	/* Never closed. */
}

static void
script_maintain(void *arg)
{
	struct victim *v = arg;
	char key[8];

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 18; i++) {
		(void)snprintf(key, sizeof key, "k%u", i % 5);
		(void)victim_put(v, key, 600, i % 4 == 3 ? COMMIT : NONE);
		if (i % 3 == 2)
			(void)victim_maintain(v);
	}
	victim_check(v);
	(void)victim_close(v);
}

static void
script_interval(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 12; i++) {
		(void)victim_put(v, i % 2 == 0 ? "a" : "b", 500, INTERVAL);
		(void)victim_maintain(v);
		if (v->db != NULL && i % 4 == 3 &&
		    kvlog_wait_durable(v->db, kvlog_last_seq(v->db), 0) ==
			KVLOG_OK)
			oracle_durable(&v->oracle, kvlog_last_seq(v->db));
	}
	(void)victim_close(v);
}

static void
script_big(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 10, COMMIT);
	(void)victim_put(v, "big", 20000, NONE);
	(void)victim_put(v, "b", 10, NONE);
	(void)victim_maintain(v); /* makes a segment that is too small */
	(void)victim_put(v, "big", 9000, COMMIT);
	(void)victim_put(v, "c", 3500, NONE);
	(void)victim_delete(v, "big", COMMIT);
	(void)victim_close(v);
}

static void
script_reopen(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 800, NONE);
	(void)victim_put(v, "b", 800, NONE);
	(void)victim_close(v);
	(void)victim_open(v, 0);
	victim_check(v);
	(void)victim_close(v);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 1800, NONE);
	(void)victim_put(v, "c", 800, COMMIT);
	(void)victim_delete(v, "b", NONE);
	(void)victim_close(v);
	(void)victim_open(v, KVLOG_OPEN_READONLY);
	victim_check(v);
	(void)victim_close(v);
	/* The reserve grows, too. */
	v->segment_size = 2 * (uint64_t)VICTIM_SEGMENT;
	(void)victim_open(v, 0);
	(void)victim_put(v, "d", 8, NONE);
	(void)victim_close(v);
}

/* Superseded, deleted, deleted and put again; some of it in batches, some in
 * the active segment. */
static void
write_garbage(struct victim *v)
{
	static const struct victim_step steps[] = {
	    {"c", VICTIM_DELETE, NULL, 0}, {"d", 700, NULL, 0},
	    {"a", 300, NULL, 0}};

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 1500, NONE);
	(void)victim_put(v, "b", 1500, NONE);
	(void)victim_put(v, "c", 800, NONE);
	(void)victim_put(v, "a", 1600, NONE);
	(void)victim_delete(v, "b", NONE);
	(void)victim_batch(v, steps, 3, NONE);
}

static void
script_compact(void *arg)
{
	struct victim *v = arg;

	write_garbage(v);
	(void)victim_put(v, "e", 2000, COMMIT);
	(void)victim_close(v);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_open(v, 0);
	victim_check(v);
	(void)victim_put(v, "b", 7, NONE);
	(void)victim_close(v);
}

/* The same of an open store, beside its writer, twice. */
static void
script_online(void *arg)
{
	struct victim *v = arg;

	write_garbage(v);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	victim_check(v);
	(void)victim_put(v, "e", 2000, COMMIT);
	(void)victim_put(v, "a", 1000, NONE);
	(void)victim_delete(v, "d", NONE);
	(void)victim_put(v, "b", 2000, NONE);
	(void)victim_compact(v, 0);
	victim_check(v);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_put(v, "b", 7, NONE);
	(void)victim_close(v);
}

/* What was compacted is compacted again, with what came since, after a
 * process that did not close the store. */
static void
script_recompact(void *arg)
{
	struct victim *v = arg;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 2000, NONE);
	(void)victim_put(v, "b", 2000, NONE);
	(void)victim_close(v);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_open(v, 0);
	(void)victim_delete(v, "a", NONE);
	(void)victim_put(v, "c", 3000, NONE);
	(void)victim_close(v);
	(void)victim_compact(v, KVLOG_COMPACT_DRY_RUN | KVLOG_COMPACT_ALL);
	(void)victim_compact(v, KVLOG_COMPACT_ALL);
	(void)victim_compact(v, 0);
	(void)victim_open(v, KVLOG_OPEN_READONLY);
	victim_check(v);
	(void)victim_close(v);
}

static void
script_read(void *arg)
{
	struct victim *v = arg;
	struct kvlog_stats stats = {.size = sizeof stats};
	struct kvlog_iter *iter = NULL;
	void *value;
	size_t len;

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "aa", 1000, NONE);
	(void)victim_put(v, "ab", 1000, COMMIT);
	if (v->db == NULL)
		return;
	if (kvlog_iter_create(v->db, "a", 1, &iter) == KVLOG_OK) {
		(void)victim_put(v, "ac", 1000, NONE);
		(void)victim_put(v, "b", 1000, NONE);
		if (!v->faults && (kvlog_iter_seek(iter, "ab", 2) != KVLOG_OK ||
				      kvlog_iter_next(iter) != KVLOG_OK ||
				      kvlog_iter_next(iter) != KVLOG_NOTFOUND))
			v->fail("a walk that began before a write shows it");
		kvlog_iter_destroy(iter);
	}
	if (kvlog_exists(v->db, "b", 1) == KVLOG_OK &&
	    kvlog_get_alloc(v->db, "b", 1, &value, &len) == KVLOG_OK)
		kvlog_free(value);
	(void)!kvlog_stats_get(v->db, &stats);
	victim_check(v);
	(void)victim_close(v);
}

/* Hints of many segments, merged by maintenance and by closing. */
static void
script_hints(void *arg)
{
	struct victim *v = arg;
	char key[8];

	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (unsigned i = 0; i < 17; i++) {
		(void)snprintf(key, sizeof key, "k%u", i * 5 % 7);
		if (i % 6 == 5)
			(void)victim_delete(v, key, NONE);
		else
			(void)victim_put(v, key, 1700, NONE);
		if (i == 5 || i == 12)
			(void)victim_maintain(v);
		if (i == 8) {
			victim_check(v);
			(void)victim_close(v);
			(void)victim_open(v, KVLOG_OPEN_CREATE);
		}
	}
	victim_check(v);
	(void)victim_close(v);
}

/* Hints of an active segment that grows: closing writes one when more than
 * 64 KiB have come, and merges it with the one before. */
static void
script_tails(void *arg)
{
	struct victim *v = arg;
	char key[8];

	v->segment_size = 192 * 1024;
	for (unsigned turn = 0; turn < 2; turn++) {
		(void)victim_open(v, KVLOG_OPEN_CREATE);
		victim_check(v);
		for (unsigned i = 0; i < 4; i++) {
			(void)snprintf(key, sizeof key, "k%u", turn * 3 + i);
			(void)victim_put(v, key, 17000, NONE);
		}
		(void)victim_delete(v, "k1", NONE);
		(void)victim_put(v, "short", 100, NONE);
		(void)victim_close(v);
	}
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "k0", 10, COMMIT);
	(void)victim_close(v);
}

/* Maintenance writes a hint when more than 256 KiB of the active segment have
 * come, of what is durable: it must attest no more. */
static void
script_long_tail(void *arg)
{
	struct victim *v = arg;

	v->segment_size = 512 * 1024;
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	(void)victim_put(v, "a", 200000, NONE);
	(void)victim_put(v, "b", 100000, COMMIT);
	(void)victim_put(v, "a", 100, COMMIT);
	(void)victim_put(v, "c", 50000, NONE);
	(void)victim_put(v, "a", 200, NONE);
	(void)victim_maintain(v);
	victim_check(v);
	(void)victim_put(v, "d", 10, NONE);
	(void)victim_close(v);
}

static enum kvlog_durability
random_durability(struct rng *rng)
{
	static const enum kvlog_durability some[] = {
	    NONE, NONE, NONE, NONE, INTERVAL, COMMIT, COMMIT};

	return some[rng_below(rng, sizeof some / sizeof some[0])];
}

static size_t
random_len(struct rng *rng)
{
	uint64_t dice = rng_below(rng, 40);

	if (dice == 0)
		return (size_t)rng_below(rng, 12000);
	if (dice < 10)
		return (size_t)rng_below(rng, 2000);
	return (size_t)rng_below(rng, 400);
}

static const char *
random_key(struct rng *rng)
{
	static const char *const keys[] = {"a", "b", "bb", "c", "c0",
	    "c0000000", "c00000001", "d", "e", "a longer key than the others"};

	return keys[rng_below(rng, sizeof keys / sizeof keys[0])];
}

/* Of those that are there, or the default one. */
static const char *
random_bucket(struct victim *v)
{
	uint64_t dice = rng_below(&v->rng, 2 * VICTIM_BUCKETS);

	if (dice >= VICTIM_BUCKETS ||
	    model_bucket(oracle_last(&v->oracle), bucket_names[dice]) == NULL)
		return NULL;
	return bucket_names[dice];
}

static unsigned
random_expiry(struct rng *rng)
{
	return rng_below(rng, 4) > 0
		   ? 0
		   : 1 + (unsigned)rng_below(rng, VICTIM_HOURS);
}

static struct victim_step
random_step(struct victim *v, unsigned deletes_in_10)
{
	struct rng *rng = &v->rng;
	bool deletes = rng_below(rng, 10) < deletes_in_10;
	struct victim_step step = {.key = random_key(rng),
	    .value_len = deletes ? VICTIM_DELETE : random_len(rng),
	    .bucket = random_bucket(v)};

	step.expires = deletes ? 0 : random_expiry(rng);
	return step;
}

/* Create a bucket, or drop it if there is one. */
static struct victim_step
random_bucket_step(struct victim *v)
{
	const char *name = bucket_names[rng_below(&v->rng, VICTIM_BUCKETS)];
	bool there = model_bucket(oracle_last(&v->oracle), name) != NULL;

	return (struct victim_step){
	    .value_len = there ? VICTIM_DROP : VICTIM_CREATE, .bucket = name};
}

/* Some writes in one; a bucket is created before them, or dropped at the end.
 */
static void
random_batch(struct victim *v, enum kvlog_durability durability)
{
	struct victim_step steps[6];
	size_t count = 1 + (size_t)rng_below(&v->rng, 6);
	bool transact = rng_below(&v->rng, 2) == 0;

	for (size_t i = 0; i < count; i++)
		steps[i] = random_step(v, 3);
	if (transact && rng_below(&v->rng, 2) == 0) {
		struct victim_step step = random_bucket_step(v);

		steps[step.value_len == VICTIM_DROP ? count - 1 : 0] = step;
		if (step.value_len == VICTIM_CREATE && count > 1)
			steps[1].bucket = step.bucket;
	}
	if (transact)
		(void)victim_transact(v, steps, count, durability);
	else
		(void)victim_batch(v, steps, count, durability);
}

void
victim_random_op(struct victim *v)
{
	struct rng *rng = &v->rng;
	enum kvlog_durability durability = random_durability(rng);
	struct victim_step step;

	switch (rng_below(rng, 24)) {
	case 0:
		(void)victim_sync(v);
		break;
	case 1:
	case 2:
		(void)victim_maintain(v);
		break;
	case 3:
	case 4:
	case 5:
		step = random_step(v, 10);
		(void)victim_do(v, &step, durability);
		break;
	case 6:
	case 7:
	case 8:
		random_batch(v, durability);
		break;
	case 9:
		(void)victim_put_if(v, random_key(rng), random_len(rng),
		    1 + (enum kvlog_condition)rng_below(rng, 2), 0);
		break;
	case 10:
		victim_check(v);
		break;
	case 11:
		if (rng_below(rng, 3) == 0) {
			(void)victim_close(v);
			if (rng_below(rng, 2) == 0)
				(void)victim_compact(
				    v, (unsigned)rng_below(rng, 2) *
					   KVLOG_COMPACT_ALL);
			(void)victim_open(v, KVLOG_OPEN_CREATE);
		}
		break;
	case 12:
		step = random_bucket_step(v);
		(void)victim_do(v, &step, durability);
		break;
	case 13:
		step = random_step(v, 0);
		(void)victim_expire(v, &step, durability);
		break;
	case 14:
		victim_set_hour((unsigned)rng_below(rng, VICTIM_HOURS + 1));
		break;
	case 15:
		if (v->db != NULL && rng_below(rng, 3) == 0)
			(void)victim_compact(
			    v, (unsigned)rng_below(rng, 2) * KVLOG_COMPACT_ALL);
		break;
	default:
		step = random_step(v, 0);
		(void)victim_do(v, &step, durability);
		break;
	}
}

void
script_random(void *arg)
{
	struct victim *v = arg;
	uint64_t ops = 5 + rng_below(&v->rng, 30);

	/* What a crash has left is compacted first. */
	if (v->oracle.created && rng_below(&v->rng, 3) == 0)
		(void)victim_compact(
		    v, (unsigned)rng_below(&v->rng, 2) * KVLOG_COMPACT_ALL);
	(void)victim_open(v, KVLOG_OPEN_CREATE);
	for (uint64_t i = 0; i < ops; i++)
		victim_random_op(v);
	if (rng_below(&v->rng, 2) == 0)
		(void)victim_close(v);
}

const struct script scripts[] = {
    {"create", script_create, NULL},
    {"put", script_put, NULL},
    {"delete", script_delete, NULL},
    {"conditional", script_conditional, NULL},
    {"batch", script_batch, NULL},
    {"transaction", script_transaction, NULL},
    {"buckets", script_buckets, NULL},
    {"expiry", script_expiry, NULL},
    {"rollover", script_rollover, NULL},
    {"unsynced", script_unsynced, NULL},
    {"maintain", script_maintain, NULL},
    {"interval", script_interval, NULL},
    {"big", script_big, NULL},
    {"reopen", script_reopen, NULL},
    {"read", script_read, NULL},
    {"compact", script_compact, NULL},
    {"recompact", script_recompact, NULL},
    {"online", script_online, NULL},
    {"hints", script_hints, NULL},
    {"tails", script_tails, NULL},
    {"longtail", script_long_tail, NULL},
};
const size_t script_count = sizeof scripts / sizeof scripts[0];
const size_t small_script_count = sizeof scripts / sizeof scripts[0] - 2;
