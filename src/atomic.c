/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * atomic.c - the public functions that make a value from the one before, as one
 * step.
 *
 * They stand on the other public functions: look the key up, write on condition
 * that it has still the value that was found (KVLOG_IF_SEQ), and begin again if
 * it has not.  That happens only where somebody else has written the key in
 * between, so of any number of callers one always gets on.  The value is read
 * in place, under a pin.
 */
#include "config.h"

#include <kvlog.h>

#include "args.h"

#include <stdio.h>
#include <string.h>

/* One call: what was found, and what is to be written then. */
struct change {
	struct kvlog_item found; /* no value: NULL */
	struct kvlog_op ops[2];  /* the first one is on the key */
	size_t op_count;
	const struct kvlog_write *how;
	struct kvlog_error *err;
	void *arg;   /* of the function that decides */
	void *buf;   /* memory of that function, NULL or */
	size_t size; /* of so many bytes */
};

/* Decides from c->found: KVLOG_OK and the rest of c->ops, or why not. */
typedef enum kvlog_status change_fn(struct change *c);

static enum kvlog_status
check_bytes(const struct kvlog_bytes *bytes, struct kvlog_error *err)
{
	return bytes != NULL ? args_value(bytes->data, bytes->len, err)
			     : KVLOG_OK;
}

/* What the key has now, into c->found. */
static enum kvlog_status
look_up(struct kvlog_pin *pin, struct change *c)
{
	enum kvlog_status st = kvlog_pin_get_many(pin, &c->found, 1);

	if (st == KVLOG_OK)
		st = c->found.status;
	if (st == KVLOG_OK || st == KVLOG_NOTFOUND)
		return KVLOG_OK;
	return err_set(
	    c->err, st, 0, "cannot look the key up: %s", err_text(st));
}

/* Memory of size bytes that lasts to the end of the call. */
static enum kvlog_status
make_room(struct change *c, size_t size)
{
	void *buf;

	if (c->buf != NULL && c->size >= size)
		return KVLOG_OK;
	buf = os->malloc(size > 0 ? size : 1);
	if (buf == NULL)
		return err_set(
		    c->err, KVLOG_NOMEM, 0, "a value of %zu bytes", size);
	os->free(c->buf);
	c->buf = buf;
	c->size = size;
	return KVLOG_OK;
}

/* The value that was found, into c->buf. */
static enum kvlog_status
copy_found(struct change *c)
{
	enum kvlog_status st = make_room(c, c->found.value_len);

	if (st == KVLOG_OK && c->found.value_len > 0)
		memcpy(c->buf, c->found.value, c->found.value_len);
	return st;
}

/* Until the key has not been written in between. */
static enum kvlog_status
try_change(struct kvlog *db, struct kvlog_pin *pin, struct change *c,
    change_fn *decide, struct kvlog_receipt *ret_receipt)
{
	struct kvlog_write how = *c->how;

	how.condition = KVLOG_IF_ANY;
	how.expires_ms = 0;
	how.err = c->err;
	for (;;) {
		size_t failed = SIZE_MAX;
		enum kvlog_status st = look_up(pin, c);

		if (st == KVLOG_OK) {
			c->op_count = 1;
			c->ops[0] = (struct kvlog_op){.type = KVLOG_OP_PUT,
			    .condition = KVLOG_IF_SEQ,
			    .if_seq = c->found.seq,
			    .key = c->found.key,
			    .key_len = c->found.key_len};
			st = decide(c);
		}
		if (st != KVLOG_OK)
			return st;
		st = kvlog_apply(
		    db, c->ops, c->op_count, &how, ret_receipt, &failed);
		if (st != KVLOG_CONFLICT || failed != 0)
			return st;
	}
}

/* c: its arg.  c->buf is the caller's to free, whatever the result. */
static enum kvlog_status
change_key(struct kvlog *db, const void *key, size_t key_len, struct change *c,
    change_fn *decide, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct kvlog_error failure = {0};
	struct kvlog_pin *pin = NULL;
	enum kvlog_status st = args_key(key, key_len, how->err);

	if (st != KVLOG_OK)
		return st;
	c->found = (struct kvlog_item){.key = key, .key_len = key_len};
	c->how = how;
	c->err = &failure;
	st = kvlog_pin_create(db, &pin);
	if (st != KVLOG_OK)
		return err_set(how->err, st, 0, "%s", err_text(st));
	st = try_change(db, pin, c, decide, ret_receipt);
	kvlog_pin_destroy(pin);
	/* Those of tries that were in vain are not the caller's. */
	if (st != KVLOG_OK && failure.status == st && how->err != NULL)
		*how->err = failure;
	return st;
}

/* Of functions whose writes have no condition but their own. */
static enum kvlog_status
check_change(const struct kvlog_write *how, bool expires)
{
	enum kvlog_status st = args_write(how);

	if (st == KVLOG_OK && how->condition != KVLOG_IF_ANY)
		st = err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.condition must be KVLOG_IF_ANY here");
	if (st == KVLOG_OK && !expires && how->expires_ms != 0)
		st = err_set(how->err, KVLOG_INVAL, 0,
		    "kvlog_write.expires_ms must be 0 here");
	return st;
}

/* A key that has a value keeps its time. */
static uint64_t
kept_expiry(const struct change *c)
{
	return c->found.value != NULL ? c->found.expires_ms
				      : c->how->expires_ms;
}

/* Numbers */

#define NUMBER_LEN 24 /* of any int64_t, with its sign and a final 0 */

struct increment {
	int64_t by;
	int64_t number; /* the new one */
	char text[NUMBER_LEN];
};

/* Takes a sign and digits, nothing else. */
static bool
parse_number(const char *text, size_t len, int64_t *ret_number)
{
	const bool negative = len > 0 && text[0] == '-';
	int64_t number = 0; /* its negative: there is one more of these */

	if (len == (negative ? 1 : 0))
		return false;
	for (size_t i = negative ? 1 : 0; i < len; i++) {
		const int digit = text[i] - '0';

		if (digit < 0 || digit > 9 || number < INT64_MIN / 10 ||
		    number * 10 < INT64_MIN + digit)
			return false;
		number = number * 10 - digit;
	}
	if (!negative && number == INT64_MIN)
		return false;
	*ret_number = negative ? number : -number;
	return true;
}

static enum kvlog_status
decide_increment(struct change *c)
{
	struct increment *in = c->arg;
	int64_t old = 0;

	if (c->found.value != NULL &&
	    !parse_number(c->found.value, c->found.value_len, &old))
		return err_set(c->err, KVLOG_CONFLICT, 0,
		    "the value of the key is no decimal number of 64 bits; "
		    "nothing was written");
	if (in->by > 0 ? old > INT64_MAX - in->by : old < INT64_MIN - in->by)
		return err_set(c->err, KVLOG_CONFLICT, 0,
		    "%lld and %lld are more than a number of 64 bits can "
		    "hold; nothing was written",
		    (long long)old, (long long)in->by);
	in->number = old + in->by;
	c->ops[0].value = in->text;
	c->ops[0].value_len = (size_t)snprintf(
	    in->text, sizeof in->text, "%lld", (long long)in->number);
	c->ops[0].expires_ms = kept_expiry(c);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_increment(struct kvlog *db, const void *key, size_t key_len, int64_t by,
    const struct kvlog_write *how, int64_t *ret_number,
    struct kvlog_receipt *ret_receipt)
{
	struct increment in = {.by = by};
	struct change c = {.arg = &in};
	enum kvlog_status st;

	how = args_how(how);
	st = check_change(how, true);
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_increment, how, ret_receipt);
	if (st == KVLOG_OK && ret_number != NULL)
		*ret_number = in.number;
	return st;
}

/* Values */

static enum kvlog_status
decide_append(struct change *c)
{
	const struct kvlog_bytes *more = c->arg;
	const size_t old_len = c->found.value_len;
	enum kvlog_status st;

	if (old_len > KVLOG_VALUE_MAX - more->len)
		return err_set(c->err, KVLOG_TOOBIG, 0,
		    "%zu bytes more than %zu; a value has at most %u",
		    more->len, old_len, KVLOG_VALUE_MAX);
	st = make_room(c, old_len + more->len);
	if (st != KVLOG_OK)
		return st;
	if (old_len > 0)
		memcpy(c->buf, c->found.value, old_len);
	if (more->len > 0)
		memcpy((char *)c->buf + old_len, more->data, more->len);
	c->ops[0].value = c->buf;
	c->ops[0].value_len = old_len + more->len;
	c->ops[0].expires_ms = kept_expiry(c);
	return KVLOG_OK;
}

enum kvlog_status
kvlog_append(struct kvlog *db, const void *key, size_t key_len,
    const void *data, size_t data_len, const struct kvlog_write *how,
    size_t *ret_len, struct kvlog_receipt *ret_receipt)
{
	struct kvlog_bytes more = {data, data_len};
	struct change c = {.arg = &more};
	enum kvlog_status st;

	how = args_how(how);
	st = check_change(how, true);
	if (st == KVLOG_OK)
		st = check_bytes(&more, how->err);
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_append, how, ret_receipt);
	if (st == KVLOG_OK && ret_len != NULL)
		*ret_len = c.ops[0].value_len;
	os->free(c.buf);
	return st;
}

/* A new value, or none any more. */
static void
set_value(struct change *c, const struct kvlog_bytes *value)
{
	struct kvlog_op *op = &c->ops[0];

	if (value == NULL) {
		op->type = KVLOG_OP_DELETE;
		return;
	}
	op->value = value->data;
	op->value_len = value->len;
	op->expires_ms = c->how->expires_ms;
}

/* What was found becomes the caller's: NULL if that is no value. */
static void
give_found(struct change *c, void **ret_value, size_t *ret_len)
{
	if (ret_value == NULL)
		return;
	*ret_value = NULL;
	if (c->found.value == NULL)
		return;
	*ret_value = c->buf;
	c->buf = NULL;
	if (ret_len != NULL)
		*ret_len = c->found.value_len;
}

struct exchange_to {
	const struct kvlog_bytes *expected; /* of a comparison */
	const struct kvlog_bytes *value;
	bool give; /* what was there is wanted */
};

static enum kvlog_status
decide_exchange(struct change *c)
{
	const struct exchange_to *to = c->arg;

	if (c->found.value == NULL && to->value == NULL)
		return KVLOG_NOTFOUND;
	set_value(c, to->value);
	return to->give && c->found.value != NULL ? copy_found(c) : KVLOG_OK;
}

enum kvlog_status
kvlog_exchange(struct kvlog *db, const void *key, size_t key_len,
    const struct kvlog_bytes *value, const struct kvlog_write *how,
    void **ret_old, size_t *ret_old_len, struct kvlog_receipt *ret_receipt)
{
	struct exchange_to to = {.value = value, .give = ret_old != NULL};
	struct change c = {.arg = &to};
	enum kvlog_status st;

	how = args_how(how);
	st = check_change(how, value != NULL);
	if (st == KVLOG_OK)
		st = check_bytes(value, how->err);
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_exchange, how, ret_receipt);
	if (st == KVLOG_OK)
		give_found(&c, ret_old, ret_old_len);
	os->free(c.buf);
	return st;
}

static bool
is_found(const struct change *c, const struct kvlog_bytes *value)
{
	if (value == NULL || c->found.value == NULL)
		return value == NULL && c->found.value == NULL;
	return c->found.value_len == value->len &&
	       (value->len == 0 ||
		   memcmp(c->found.value, value->data, value->len) == 0);
}

static enum kvlog_status
decide_compared(struct change *c)
{
	const struct exchange_to *to = c->arg;
	enum kvlog_status st = KVLOG_OK;

	if (is_found(c, to->expected)) {
		set_value(c, to->value);
		return KVLOG_OK;
	}
	if (to->give && c->found.value != NULL)
		st = copy_found(c);
	if (st != KVLOG_OK)
		return st;
	return err_set(c->err, KVLOG_CONFLICT, 0,
	    c->found.value != NULL
		? "the key has another value; nothing was written"
		: "the key has no value; nothing was written");
}

enum kvlog_status
kvlog_compare_exchange(struct kvlog *db, const void *key, size_t key_len,
    const struct kvlog_bytes *expected, const struct kvlog_bytes *value,
    const struct kvlog_write *how, void **ret_found, size_t *ret_found_len,
    struct kvlog_receipt *ret_receipt)
{
	struct exchange_to to = {expected, value, ret_found != NULL};
	struct change c = {.arg = &to};
	enum kvlog_status st;

	how = args_how(how);
	st = check_change(how, value != NULL);
	if (st == KVLOG_OK)
		st = check_bytes(expected, how->err);
	if (st == KVLOG_OK)
		st = check_bytes(value, how->err);
	if (st == KVLOG_OK && expected == NULL && value == NULL)
		st = err_set(how->err, KVLOG_INVAL, 0,
		    "to delete a key that has no value changes nothing");
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_compared, how, ret_receipt);
	if (st == KVLOG_CONFLICT)
		give_found(&c, ret_found, ret_found_len);
	os->free(c.buf);
	return st;
}

/* Keys */

/* The value that was found, as it is. */
static void
keep_value(const struct change *c, struct kvlog_op *op)
{
	op->value = c->found.value;
	op->value_len = c->found.value_len;
	op->expires_ms = c->found.expires_ms;
}

static enum kvlog_status
decide_rename(struct change *c)
{
	const struct kvlog_bytes *new_key = c->arg;

	if (c->found.value == NULL)
		return KVLOG_NOTFOUND;
	c->ops[0].type = KVLOG_OP_DELETE;
	c->ops[1] = (struct kvlog_op){.type = KVLOG_OP_PUT,
	    .condition = c->how->condition,
	    .key = new_key->data,
	    .key_len = new_key->len};
	keep_value(c, &c->ops[1]);
	c->op_count = 2;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_rename(struct kvlog *db, const void *key, size_t key_len,
    const void *new_key, size_t new_key_len, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct kvlog_bytes to = {new_key, new_key_len};
	struct change c = {.arg = &to};
	struct kvlog_write any;
	enum kvlog_status st;

	how = args_how(how);
	any = *how;
	if (any.condition == KVLOG_IF_ABSENT)
		any.condition = KVLOG_IF_ANY;
	st = check_change(&any, false);
	if (st == KVLOG_OK)
		st = args_key(new_key, new_key_len, how->err);
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_rename, how, ret_receipt);
	return st;
}

static enum kvlog_status
decide_expire(struct change *c)
{
	const uint64_t *expires_ms = c->arg;

	if (c->found.value == NULL)
		return KVLOG_NOTFOUND;
	keep_value(c, &c->ops[0]);
	c->ops[0].expires_ms = *expires_ms;
	return KVLOG_OK;
}

enum kvlog_status
kvlog_expire(struct kvlog *db, const void *key, size_t key_len,
    uint64_t expires_ms, const struct kvlog_write *how,
    struct kvlog_receipt *ret_receipt)
{
	struct change c = {.arg = &expires_ms};
	enum kvlog_status st;

	how = args_how(how);
	st = check_change(how, false);
	if (st == KVLOG_OK)
		st = change_key(
		    db, key, key_len, &c, decide_expire, how, ret_receipt);
	return st;
}
