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
	for (size_t i = 0; i < model->bucket_count; i++) {
		blob_drop(model->buckets[i].name);
		model_fini(&model->buckets[i].keys);
	}
	free(model->entries);
	free(model->buckets);
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
	if (from->bucket_count > 0)
		to->buckets =
		    must(calloc(from->bucket_count, sizeof *to->buckets));
	for (size_t i = 0; i < from->bucket_count; i++) {
		struct model_bucket *bucket = &to->buckets[i];

		bucket->name = from->buckets[i].name;
		bucket->name->refs++;
		bucket->seq = from->buckets[i].seq;
		model_copy(&bucket->keys, &from->buckets[i].keys);
	}
	to->bucket_count = from->bucket_count;
}

/* Number of the first bucket whose name is >= name. */
static size_t
lower_bucket(const struct model *model, const void *name, size_t name_len)
{
	size_t i = 0;

	while (i < model->bucket_count &&
	       compare(model->buckets[i].name->bytes,
		   model->buckets[i].name->len, name, name_len) < 0)
		i++;
	return i;
}

static bool
is_bucket_at(const struct model *model, size_t i, const char *name)
{
	return i < model->bucket_count &&
	       compare(model->buckets[i].name->bytes,
		   model->buckets[i].name->len, name, strlen(name)) == 0;
}

struct model *
model_bucket(const struct model *model, const char *name)
{
	size_t i;

	if (name == NULL)
		return (struct model *)model;
	i = lower_bucket(model, name, strlen(name));
	return is_bucket_at(model, i, name) ? &model->buckets[i].keys : NULL;
}

static struct model_bucket *
insert_bucket(struct model *model, size_t i, const void *name, size_t name_len,
    uint64_t seq)
{
	struct model_bucket *bucket;

	model->buckets = must(realloc(
	    model->buckets, (model->bucket_count + 1) * sizeof *bucket));
	bucket = &model->buckets[i];
	memmove(bucket + 1, bucket, (model->bucket_count - i) * sizeof *bucket);
	model->bucket_count++;
	*bucket = (struct model_bucket){
	    .name = blob_create(name, name_len), .seq = seq};
	return bucket;
}

void
model_create_bucket(struct model *model, const char *name, uint64_t seq)
{
	(void)insert_bucket(model, lower_bucket(model, name, strlen(name)),
	    name, strlen(name), seq);
}

bool
model_drop_bucket(struct model *model, const char *name)
{
	size_t i = lower_bucket(model, name, strlen(name));
	struct model_bucket *bucket = &model->buckets[i];

	if (!is_bucket_at(model, i, name))
		return false;
	blob_drop(bucket->name);
	model_fini(&bucket->keys);
	model->bucket_count--;
	memmove(bucket, bucket + 1, (model->bucket_count - i) * sizeof *bucket);
	return true;
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
	for (size_t i = 0; i < model->bucket_count; i++) {
		if (model->buckets[i].seq == MODEL_ANY_SEQ)
			model->buckets[i].seq = seq;
		model_set_seq(&model->buckets[i].keys, seq);
	}
}

void
model_forget_seqs(struct model *model)
{
	for (size_t i = 0; i < model->count; i++)
		model->entries[i].seq = MODEL_ANY_SEQ;
	for (size_t i = 0; i < model->bucket_count; i++) {
		model->buckets[i].seq = MODEL_ANY_SEQ;
		model_forget_seqs(&model->buckets[i].keys);
	}
}

/* The first entry from i on that has not expired; count if there is none. */
static size_t
next_shown(const struct model *model, uint64_t now_ms, size_t i)
{
	while (i < model->count && model->entries[i].expires_ms != 0 &&
	       model->entries[i].expires_ms <= now_ms)
		i++;
	return i;
}

uint64_t
model_next_expiry(const struct model *model, uint64_t after_ms)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < model->count; i++) {
		uint64_t expires = model->entries[i].expires_ms;

		if (expires > after_ms && expires < next)
			next = expires;
	}
	for (size_t i = 0; i < model->bucket_count; i++) {
		uint64_t expires =
		    model_next_expiry(&model->buckets[i].keys, after_ms);

		next = expires < next ? expires : next;
	}
	return next;
}

size_t
model_total(const struct model *model, uint64_t now_ms)
{
	size_t total = 0;

	for (size_t i = 0; (i = next_shown(model, now_ms, i)) < model->count;
	     i++)
		total++;
	for (size_t i = 0; i < model->bucket_count; i++)
		total += model_total(&model->buckets[i].keys, now_ms);
	return total;
}

static bool
seq_equal(uint64_t a, uint64_t b)
{
	return a == b || a == MODEL_ANY_SEQ || b == MODEL_ANY_SEQ;
}

static bool
entry_equal(const struct model_entry *a, const struct model_entry *b)
{
	return blob_equal(a->key, b->key) && blob_equal(a->value, b->value) &&
	       seq_equal(a->seq, b->seq) && a->expires_ms == b->expires_ms;
}

static bool
bucket_equal(const struct model_bucket *a, const struct model_bucket *b)
{
	return blob_equal(a->name, b->name) && seq_equal(a->seq, b->seq);
}

/* Where what a model shows first differs from an entry that was found: true
 * if both end. */
static bool
compare_entries(const struct model *model, uint64_t now_ms,
    const struct model *found, size_t *ret_at, size_t *ret_found)
{
	size_t at = next_shown(model, now_ms, 0), i = 0;

	while (at < model->count && i < found->count &&
	       entry_equal(&model->entries[at], &found->entries[i])) {
		at = next_shown(model, now_ms, at + 1);
		i++;
	}
	*ret_at = at;
	*ret_found = i;
	return at == model->count && i == found->count;
}

bool
model_shows(
    const struct model *model, uint64_t now_ms, const struct model *found)
{
	size_t at, i;

	if (model->bucket_count != found->bucket_count ||
	    !compare_entries(model, now_ms, found, &at, &i))
		return false;
	for (i = 0; i < model->bucket_count; i++)
		if (!bucket_equal(&model->buckets[i], &found->buckets[i]) ||
		    !model_shows(&model->buckets[i].keys, now_ms,
			&found->buckets[i].keys))
			return false;
	return true;
}

bool
model_equal(const struct model *a, const struct model *b)
{
	return model_shows(a, 0, b);
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

/* The first bucket that differs, or in which something does. */
static void
explain_buckets(const struct model *wanted, uint64_t now_ms,
    const struct model *found, char *why)
{
	char name[64], name2[64], detail[MODEL_WHY_LEN];
	size_t i = 0;

	while (i < wanted->bucket_count && i < found->bucket_count &&
	       bucket_equal(&wanted->buckets[i], &found->buckets[i]) &&
	       model_shows(
		   &wanted->buckets[i].keys, now_ms, &found->buckets[i].keys))
		i++;
	if (i < wanted->bucket_count && i < found->bucket_count &&
	    bucket_equal(&wanted->buckets[i], &found->buckets[i])) {
		model_explain_at(&wanted->buckets[i].keys, now_ms,
		    &found->buckets[i].keys, detail);
		(void)snprintf(why, MODEL_WHY_LEN, "bucket %s: %.300s",
		    key_text(wanted->buckets[i].name, name), detail);
	} else if (i < wanted->bucket_count || i < found->bucket_count) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "bucket %zu: %s of commit %" PRIu64
		    " wanted, %s of commit %" PRIu64 " found",
		    i,
		    i < wanted->bucket_count
			? key_text(wanted->buckets[i].name, name)
			: "none",
		    i < wanted->bucket_count ? wanted->buckets[i].seq : 0,
		    i < found->bucket_count
			? key_text(found->buckets[i].name, name2)
			: "none",
		    i < found->bucket_count ? found->buckets[i].seq : 0);
	} else {
		(void)snprintf(why, MODEL_WHY_LEN, "no difference");
	}
}

static void
explain_entry(const struct model_entry *e, char *text, size_t size)
{
	char key[64];

	(void)snprintf(text, size,
	    "%s of commit %" PRIu64 ", %zu bytes, expires %" PRIu64,
	    key_text(e->key, key), e->seq, e->value->len, e->expires_ms);
}

void
model_explain_at(const struct model *wanted, uint64_t now_ms,
    const struct model *found, char *why)
{
	char one[150] = "no more", two[150] = "no more";
	size_t at, i;

	if (compare_entries(wanted, now_ms, found, &at, &i)) {
		explain_buckets(wanted, now_ms, found, why);
		return;
	}
	if (at < wanted->count)
		explain_entry(&wanted->entries[at], one, sizeof one);
	if (i < found->count)
		explain_entry(&found->entries[i], two, sizeof two);
	(void)snprintf(
	    why, MODEL_WHY_LEN, "key %zu: %s wanted; %s found", i, one, two);
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
	    info.expires_ms != e->expires_ms ||
	    info.value_len != e->value->len) {
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

static bool
read_keys(struct model *model, struct kvlog *db, char *why)
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

/* The bucket that a walk over the names is at. */
static bool
read_bucket(struct model *model, struct kvlog *db,
    const struct kvlog_iter *names, char *why)
{
	struct model_bucket *bucket;
	struct kvlog *handle;
	uint64_t seq;
	uint32_t ordinal;
	size_t len = 0, i;
	const void *name = kvlog_iter_key(names, &len);
	char text[64], detail[MODEL_WHY_LEN];
	enum kvlog_status st =
	    kvlog_bucket_open(db, name, len, 0, &handle, NULL);
	bool ok;

	if (st != KVLOG_OK) {
		(void)snprintf(why, MODEL_WHY_LEN,
		    "open a bucket that was listed: %s", kvlog_status_text(st));
		return false;
	}
	i = lower_bucket(model, name, len);
	kvlog_bucket_id(handle, &seq, &ordinal);
	bucket = insert_bucket(model, i, name, len, seq);
	ok = read_keys(&bucket->keys, handle, detail);
	(void)kvlog_close(handle, NULL);
	if (!ok)
		(void)snprintf(why, MODEL_WHY_LEN, "bucket %s: %.300s",
		    key_text(bucket->name, text), detail);
	else if (i + 1 < model->bucket_count)
		(void)snprintf(why, MODEL_WHY_LEN, "bucket %s is out of order",
		    key_text(bucket->name, text));
	return ok && i + 1 == model->bucket_count;
}

bool
model_read(struct model *model, struct kvlog *db, char *why)
{
	struct kvlog_iter *names;
	uint64_t seq;
	uint32_t ordinal;
	bool ok = read_keys(model, db, why);
	enum kvlog_status st;

	kvlog_bucket_id(db, &seq, &ordinal);
	if (!ok || seq != 0 || ordinal != 0)
		return ok;
	st = kvlog_bucket_list(db, &names);
	if (st == KVLOG_OK) {
		while (ok && (st = kvlog_iter_next(names)) == KVLOG_OK)
			ok = read_bucket(model, db, names, why);
		kvlog_iter_destroy(names);
		if (!ok)
			return false;
	}
	if (st == KVLOG_NOTFOUND)
		return true;
	(void)snprintf(
	    why, MODEL_WHY_LEN, "list buckets: %s", kvlog_status_text(st));
	return false;
}
