/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * model.c - the model that tests hold against a store.
 */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
must(void *p)
{
	if (p == NULL) {
		(void)fputs("model: out of memory\n", stderr);
		abort();
	}
	return p;
}

static struct blob *
blob_create(const void *bytes, size_t len)
{
	struct blob *blob = must(malloc(sizeof *blob + len));

	blob->refs = 1;
	blob->len = len;
	if (len > 0)
		memcpy(blob->bytes, bytes, len);
	return blob;
}

static void
blob_drop(struct blob *blob)
{
	if (--blob->refs == 0)
		free(blob);
}

static int
compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
	size_t len = a_len < b_len ? a_len : b_len;
	int c = len > 0 ? memcmp(a, b, len) : 0;

	return c != 0 ? c : a_len < b_len ? -1 : a_len > b_len;
}

static bool
blob_equal(const struct blob *a, const struct blob *b)
{
	return a == b || compare(a->bytes, a->len, b->bytes, b->len) == 0;
}

void
model_fini(struct model *model)
{
	for (size_t i = 0; i < model->count; i++) {
		blob_drop(model->entries[i].key);
		blob_drop(model->entries[i].value);
	}
	free(model->entries);
	memset(model, 0, sizeof *model);
}

static void
make_room(struct model *model, size_t count)
{
	if (count <= model->cap)
		return;
	model->cap = 2 * count;
	model->entries =
	    must(realloc(model->entries, model->cap * sizeof *model->entries));
}

void
model_copy(struct model *to, const struct model *from)
{
	make_room(to, from->count);
	for (size_t i = 0; i < from->count; i++) {
		to->entries[i] = from->entries[i];
		to->entries[i].key->refs++;
		to->entries[i].value->refs++;
	}
	to->count = from->count;
}

size_t
model_lower(const struct model *model, const void *key, size_t key_len)
{
	size_t low = 0, high = model->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct blob *at = model->entries[mid].key;

		if (compare(at->bytes, at->len, key, key_len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool
is_at(const struct model *model, size_t i, const void *key, size_t key_len)
{
	return i < model->count &&
	       compare(model->entries[i].key->bytes, model->entries[i].key->len,
		   key, key_len) == 0;
}

const struct model_entry *
model_find(const struct model *model, const void *key, size_t key_len)
{
	size_t i = model_lower(model, key, key_len);

	return is_at(model, i, key, key_len) ? &model->entries[i] : NULL;
}

struct model_entry *
model_put(struct model *model, const void *key, size_t key_len,
    const void *value, size_t value_len, uint64_t seq)
{
	size_t i = model_lower(model, key, key_len);
	struct model_entry *e;

	if (is_at(model, i, key, key_len)) {
		e = &model->entries[i];
		blob_drop(e->value);
	} else {
		make_room(model, model->count + 1);
		e = &model->entries[i];
		memmove(e + 1, e, (model->count - i) * sizeof *e);
		model->count++;
		e->key = blob_create(key, key_len);
	}
	e->value = blob_create(value, value_len);
	e->seq = seq;
	e->expires_ms = 0;
	return e;
}

bool
model_delete(struct model *model, const void *key, size_t key_len)
{
	size_t i = model_lower(model, key, key_len);
	struct model_entry *e;

	if (!is_at(model, i, key, key_len))
		return false;
	e = &model->entries[i];
	blob_drop(e->key);
	blob_drop(e->value);
	model->count--;
	memmove(e, e + 1, (model->count - i) * sizeof *e);
	return true;
}

void
model_set_seq(struct model *model, uint64_t seq)
{
	for (size_t i = 0; i < model->count; i++)
		if (model->entries[i].seq == MODEL_ANY_SEQ)
			model->entries[i].seq = seq;
}

static bool
entry_equal(const struct model_entry *a, const struct model_entry *b)
{
	return blob_equal(a->key, b->key) && blob_equal(a->value, b->value) &&
	       a->expires_ms == b->expires_ms &&
	       (a->seq == b->seq || a->seq == MODEL_ANY_SEQ ||
		   b->seq == MODEL_ANY_SEQ);
}

bool
model_equal(const struct model *a, const struct model *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!entry_equal(&a->entries[i], &b->entries[i]))
			return false;
	return true;
}

/* A key as text, cut short. */
static const char *
key_text(const struct blob *key, char buf[64])
{
	size_t at = 0;

	for (size_t i = 0; i < key->len && at < 50; i++) {
		unsigned c = key->bytes[i];

		if (c > ' ' && c < 0x7f)
			buf[at++] = (char)c;
		else
			at += (size_t)snprintf(buf + at, 5, "\\x%02x", c);
	}
	(void)snprintf(buf + at, 4, "%s", at >= 50 ? "..." : "");
	return buf;
}

void
model_explain(const struct model *wanted, const struct model *found, char *why)
{
	char key[64], key2[64];
	size_t i = 0;

	while (i < wanted->count && i < found->count &&
	       entry_equal(&wanted->entries[i], &found->entries[i]))
		i++;
	if (i == wanted->count && i == found->count)
		(void)snprintf(why, MODEL_WHY_LEN, "no difference");
	else if (i == wanted->count)
		(void)snprintf(why, MODEL_WHY_LEN,
		    "%zu keys wanted, %zu found; too many from %s (commit "
		    "%" PRIu64 ")",
		    wanted->count, found->count,
		    key_text(found->entries[i].key, key),
		    found->entries[i].seq);
	else if (i == found->count)
		(void)snprintf(why, MODEL_WHY_LEN,
		    "%zu keys wanted, %zu found; missing from %s (commit "
		    "%" PRIu64 ")",
		    wanted->count, found->count,
		    key_text(wanted->entries[i].key, key),
		    wanted->entries[i].seq);
	else
		(void)snprintf(why, MODEL_WHY_LEN,
		    "entry %zu: %s of commit %" PRIu64
		    ", %zu bytes, wanted; %s of commit %" PRIu64
		    ", %zu bytes, found",
		    i, key_text(wanted->entries[i].key, key),
		    wanted->entries[i].seq, wanted->entries[i].value->len,
		    key_text(found->entries[i].key, key2),
		    found->entries[i].seq, found->entries[i].value->len);
}

/* Whether get and lookup agree with an entry that a walk has shown. */
static bool
check_entry(const struct model_entry *e, struct kvlog *db, char *why)
{
	struct kvlog_info info;
	enum kvlog_status st;
	size_t len = 0;
	char key[64];
	void *buf = must(malloc(e->value->len + 1));
	bool same;

	st =
	    kvlog_get(db, e->key->bytes, e->key->len, buf, e->value->len, &len);
	same = st == KVLOG_OK && len == e->value->len &&
	       memcmp(buf, e->value->bytes, len) == 0;
	free(buf);
	if (!same) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "get of %s differs from the walk: %s, %zu bytes",
		    key_text(e->key, key), kvlog_status_text(st), len);
		return false;
	}
	st = kvlog_lookup(db, e->key->bytes, e->key->len, &info);
	if (st != KVLOG_OK || info.seq != e->seq ||
	    info.value_len != e->value->len ||
	    info.expires_ms != e->expires_ms) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "lookup of %s differs from the walk: %s, commit %" PRIu64
		    ", not %" PRIu64,
		    key_text(e->key, key), kvlog_status_text(st), info.seq,
		    e->seq);
		return false;
	}
	return true;
}

/* Whether look-ups in place, of many at a time and some that are not there,
 * agree with what a walk has shown. */
static bool
check_in_place(const struct model *model, struct kvlog *db, char *why)
{
	size_t count = model->count;
	struct kvlog_item *items = must(calloc(count + 2, sizeof *items));
	struct kvlog_pin *pin = NULL;
	enum kvlog_status st = kvlog_pin_create(db, &pin);
	size_t i;

	for (i = 0; i < count; i++) {
		items[i].key = model->entries[i].key->bytes;
		items[i].key_len = model->entries[i].key->len;
	}
	items[count] = (struct kvlog_item){.key = "no such key", .key_len = 11};
	if (st == KVLOG_OK)
		st = kvlog_pin_get_many(pin, items, count + 2);
	for (i = 0; i < count && st == KVLOG_OK; i++) {
		const struct model_entry *e = &model->entries[i];

		if (items[i].status != KVLOG_OK || items[i].seq != e->seq ||
		    items[i].expires_ms != e->expires_ms ||
		    items[i].value_len != e->value->len ||
		    memcmp(items[i].value, e->value->bytes, e->value->len) != 0)
			break;
	}
	if (st != KVLOG_OK || i < count)
		(void)snprintf(why, MODEL_WHY_LEN,
		    "get of %zu keys in one call: %s; number %zu: %s, %zu "
		    "bytes of commit %" PRIu64,
		    count, kvlog_status_text(st), i,
		    kvlog_status_text(items[i].status), items[i].value_len,
		    items[i].seq);
	else if (items[count].status != KVLOG_NOTFOUND ||
		 items[count].value != NULL ||
		 items[count + 1].status != KVLOG_INVAL)
		(void)snprintf(why, MODEL_WHY_LEN,
		    "get in one call of an absent key, and of none: %s, %s",
		    kvlog_status_text(items[count].status),
		    kvlog_status_text(items[count + 1].status));
	else
		i++;
	kvlog_pin_destroy(pin);
	free(items);
	return i > count;
}

static bool
append_entry(struct model *model, const struct kvlog_iter *iter, char *why)
{
	size_t key_len = 0, value_len = 0;
	const void *key = kvlog_iter_key(iter, &key_len);
	const void *value = kvlog_iter_value(iter, &value_len);
	struct kvlog_info info;
	const struct blob *last;

	kvlog_iter_info(iter, &info);
	last = model->count > 0 ? model->entries[model->count - 1].key : NULL;
	if (key == NULL || value == NULL || info.seq == 0 ||
	    (last != NULL &&
		compare(last->bytes, last->len, key, key_len) >= 0)) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "walk: entry %zu is out of order or has no key",
		    model->count);
		return false;
	}
	make_room(model, model->count + 1);
	model->entries[model->count++] =
	    (struct model_entry){blob_create(key, key_len),
		blob_create(value, value_len), info.seq, info.expires_ms};
	return true;
}

bool
model_read(struct model *model, struct kvlog *db, char *why)
{
	struct kvlog_iter *iter;
	uint64_t count = UINT64_MAX;
	bool ok = true;
	enum kvlog_status st = kvlog_iter_create(db, NULL, 0, &iter);

	if (st != KVLOG_OK) {
		(void)snprintf(why, MODEL_WHY_LEN, "cannot walk: %s",
		    kvlog_status_text(st));
		return false;
	}
	while (ok && (st = kvlog_iter_next(iter)) == KVLOG_OK)
		ok = append_entry(model, iter, why);
	kvlog_iter_destroy(iter);
	if (!ok)
		return false;
	if (st != KVLOG_NOTFOUND) {
		(void)snprintf(
		    why, MODEL_WHY_LEN, "walk: %s", kvlog_status_text(st));
		return false;
	}
	for (size_t i = 0; i < model->count; i++)
		if (!check_entry(&model->entries[i], db, why))
			return false;
	if (!check_in_place(model, db, why))
		return false;
	st = kvlog_count(db, &count);
	if (st != KVLOG_OK || count != model->count) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "the walk shows %zu keys, count says %" PRIu64,
		    model->count, count);
		return false;
	}
	return true;
}
