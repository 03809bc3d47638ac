/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle.c - the history of a store, as a model per commit.
 */
#include "oracle.h"
#include "os.h"
#include "rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
make_room(struct oracle *o)
{
	if (o->count < o->cap)
		return;
	o->cap = 2 * o->cap + 64;
	o->states = realloc(o->states, o->cap * sizeof *o->states);
	o->seqs = realloc(o->seqs, o->cap * sizeof *o->seqs);
	if (o->states == NULL || o->seqs == NULL)
		abort();
}

static struct model *
add_state(struct oracle *o, uint64_t seq)
{
	make_room(o);
	memset(&o->states[o->count], 0, sizeof *o->states);
	o->seqs[o->count] = seq;
	return &o->states[o->count++];
}

static struct model *
add_hidden(struct oracle *o)
{
	o->hidden =
	    realloc(o->hidden, (o->hidden_count + 1) * sizeof *o->hidden);
	if (o->hidden == NULL)
		abort();
	memset(&o->hidden[o->hidden_count], 0, sizeof *o->hidden);
	return &o->hidden[o->hidden_count++];
}

void
oracle_init(struct oracle *o)
{
	memset(o, 0, sizeof *o);
	(void)add_state(o, 0);
}

void
oracle_fini(struct oracle *o)
{
	for (size_t i = 0; i < o->count; i++)
		model_fini(&o->states[i]);
	for (size_t i = 0; i < o->hidden_count; i++)
		model_fini(&o->hidden[i]);
	free(o->hidden);
	free(o->states);
	free(o->seqs);
	memset(o, 0, sizeof *o);
}

void
oracle_copy(struct oracle *to, const struct oracle *from)
{
	*to = *from;
	to->states = NULL;
	to->seqs = NULL;
	to->hidden = NULL;
	to->count = to->cap = to->hidden_count = 0;
	for (size_t i = 0; i < from->count; i++)
		model_copy(add_state(to, from->seqs[i]), &from->states[i]);
	for (size_t i = 0; i < from->hidden_count; i++)
		model_copy(add_hidden(to), &from->hidden[i]);
}

struct model *
oracle_begin(struct oracle *o)
{
	struct model *state = add_state(o, MODEL_ANY_SEQ);

	model_copy(state, &o->states[o->count - 2]);
	o->in_flight = true;
	return state;
}

bool
oracle_committed(struct oracle *o, uint64_t seq)
{
	bool is_new = seq > o->max_seq;

	o->in_flight = false;
	o->seqs[o->count - 1] = seq;
	model_set_seq(oracle_last(o), seq);
	o->max_seq = is_new ? seq : o->max_seq;
	return is_new;
}

void
oracle_refused(struct oracle *o)
{
	o->in_flight = false;
	model_fini(oracle_last(o));
	o->count--;
}

void
oracle_durable(struct oracle *o, uint64_t seq)
{
	while (o->durable + 1 + o->in_flight < o->count &&
	       o->seqs[o->durable + 1] <= seq)
		o->durable++;
}

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void
oracle_judging(struct oracle *o)
{
	o->judging_ms = later(o->judging_ms, os->clock_ms());
}

void
oracle_judged(struct oracle *o, uint64_t when_ms)
{
	o->sure_ms = later(o->sure_ms, when_ms);
	o->judged_ms = later(o->judged_ms, when_ms);
	o->judging_ms = later(o->judging_ms, when_ms);
}

void
oracle_lost_power(struct oracle *o)
{
	o->judged_ms = o->sure_ms;
}

bool
oracle_shows(
    struct oracle *o, const struct model *state, const struct model *found)
{
	const uint64_t now = os->clock_ms(), last = later(now, o->judging_ms);
	uint64_t at = later(now, o->judged_ms);
	bool first = true;

	/* All times between two expiries show the same. */
	while (!model_shows(state, at, found)) {
		at = model_next_expiry(state, at);
		if (at > last)
			return false;
		first = false;
	}
	if (!first)
		o->judged_ms = at;
	while (model_shows(state, at, found)) {
		at = model_next_expiry(state, at);
		if (at > last)
			return true;
	}
	o->judging_ms = at - 1;
	return true;
}

int
oracle_shows_entry(const struct oracle *o, const struct model_entry *entry)
{
	uint64_t now = os->clock_ms();

	if (entry == NULL)
		return 0;
	if (entry->expires_ms == 0 ||
	    entry->expires_ms > later(now, o->judging_ms))
		return 1;
	return entry->expires_ms <= later(now, o->judged_ms) ? 0 : -1;
}

void
oracle_explain(const struct oracle *o, const struct model *state,
    const struct model *found, char *why)
{
	model_explain_at(
	    state, later(os->clock_ms(), o->judged_ms), found, why);
}

size_t
oracle_find(struct oracle *o, const struct model *found, size_t min, size_t max,
    char *why)
{
	char detail[MODEL_WHY_LEN];
	size_t best = min;

	for (size_t k = max + 1; k-- > min;)
		if (oracle_shows(o, &o->states[k], found))
			return k;
	/* Is it a state that it must not be? */
	for (size_t k = 0; k < o->count; k++)
		if (oracle_shows(o, &o->states[k], found)) {
			(void)snprintf(why, MODEL_WHY_LEN,
			    "the state after %zu commits; allowed are %zu to "
			    "%zu",
			    k, min, max);
			return SIZE_MAX;
		}
	oracle_explain(o, &o->states[best], found, detail);
	(void)snprintf(why, MODEL_WHY_LEN,
	    "no state at all (%zu to %zu commits are allowed); against %zu: "
	    "%.250s",
	    min, max, best, detail);
	return SIZE_MAX;
}

size_t
oracle_reach(const struct oracle *o, size_t max, uint64_t last_seq)
{
	/* One in flight has no number yet. */
	while (max > 0 &&
	       (o->seqs[max] != MODEL_ANY_SEQ ? o->seqs[max] > last_seq
					      : o->seqs[max - 1] >= last_seq))
		max--;
	return max;
}

void
oracle_cut(struct oracle *o, size_t k, uint64_t seq)
{
	if (o->in_flight && k == o->count - 1 && o->seqs[k] == MODEL_ANY_SEQ) {
		model_set_seq(oracle_last(o), seq);
		o->seqs[k] = seq;
		if (seq > o->max_seq)
			o->max_seq = seq;
	}
	while (o->count > k + 1) {
		model_fini(oracle_last(o));
		o->count--;
	}
	o->in_flight = false;
	if (o->durable > k)
		o->durable = k;
}

void
oracle_step(struct oracle *o, const char *bucket, const void *key,
    size_t key_len, const void *value, size_t value_len, uint64_t expires_ms)
{
	struct model *step = add_hidden(o);

	if (bucket != NULL)
		model_create_bucket(step, bucket, MODEL_ANY_SEQ);
	model_put(model_bucket(step, bucket), key, key_len, value, value_len,
	    MODEL_ANY_SEQ)
	    ->expires_ms = expires_ms;
}

static bool
has(const struct model *model, const char *bucket,
    const struct model_entry *entry)
{
	const struct model *keys = model_bucket(model, bucket);
	const struct model_entry *e =
	    keys == NULL ? NULL
			 : model_find(keys, entry->key->bytes, entry->key->len);

	return e != NULL && e->value->len == entry->value->len &&
	       memcmp(e->value->bytes, entry->value->bytes, e->value->len) ==
		   0 &&
	       e->expires_ms == entry->expires_ms &&
	       (e->seq == entry->seq || e->seq == MODEL_ANY_SEQ);
}

bool
oracle_knows(
    const struct oracle *o, const char *bucket, const struct model_entry *entry)
{
	for (size_t k = 0; k < o->count; k++)
		if (has(&o->states[k], bucket, entry))
			return true;
	for (size_t i = 0; i < o->hidden_count; i++)
		if (has(&o->hidden[i], bucket, entry))
			return true;
	return false;
}

static bool
knows_keys(
    const struct oracle *o, const char *bucket, const struct model *found)
{
	for (size_t i = 0; i < found->count; i++)
		if (!oracle_knows(o, bucket, &found->entries[i]))
			return false;
	return true;
}

bool
oracle_knows_all(const struct oracle *o, const struct model *found)
{
	char name[16]; /* those of the oracle are shorter */

	for (size_t i = 0; i < found->bucket_count; i++) {
		const struct blob *blob = found->buckets[i].name;

		if (blob->len >= sizeof name)
			return false;
		memcpy(name, blob->bytes, blob->len);
		name[blob->len] = '\0';
		if (!knows_keys(o, name, &found->buckets[i].keys))
			return false;
	}
	return knows_keys(o, NULL, found);
}

static uint64_t
hash_bytes(uint64_t hash, const struct blob *blob)
{
	uint64_t word = blob->len;

	/* No two values begin alike and have the same length. */
	hash = rng_mix(hash ^ word);
	word = 0;
	memcpy(&word, blob->bytes,
	    blob->len < sizeof word ? blob->len : sizeof word);
	return rng_mix(hash ^ word);
}

static uint64_t
hash_model(uint64_t hash, const struct model *model)
{
	hash = rng_mix(hash ^ model->count ^ model->bucket_count << 32);
	for (size_t i = 0; i < model->count; i++) {
		const struct model_entry *e = &model->entries[i];

		hash = hash_bytes(hash ^ e->seq, e->key);
		hash = hash_bytes(hash ^ e->expires_ms, e->value);
	}
	for (size_t i = 0; i < model->bucket_count; i++) {
		const struct model_bucket *bucket = &model->buckets[i];

		hash = hash_bytes(hash ^ bucket->seq, bucket->name);
		hash = hash_model(hash, &bucket->keys);
	}
	return hash;
}

uint64_t
oracle_hash(const struct oracle *o)
{
	uint64_t hash = rng_mix(o->count - o->durable) ^ o->max_seq << 2 ^
			(uint64_t)o->created << 1 ^ (uint64_t)o->in_flight;

	hash = rng_mix(hash ^ o->sure_ms);
	hash = rng_mix(hash ^ o->judged_ms);
	hash = rng_mix(hash ^ o->judging_ms);
	for (size_t k = o->durable; k < o->count; k++)
		hash = hash_model(hash, &o->states[k]);
	return hash;
}
