/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle.c - the history of a store, as a model per commit.
 */
#include "oracle.h"
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

size_t
oracle_find(const struct oracle *o, const struct model *found, size_t min,
    size_t max, char *why)
{
	char detail[MODEL_WHY_LEN];
	size_t best = min;

	for (size_t k = max + 1; k-- > min;)
		if (model_equal(&o->states[k], found))
			return k;
	/* Is it a state that it must not be? */
	for (size_t k = 0; k < o->count; k++)
		if (model_equal(&o->states[k], found)) {
			(void)snprintf(why, MODEL_WHY_LEN,
			    "the state after %zu commits; allowed are %zu to "
			    "%zu",
			    k, min, max);
			return SIZE_MAX;
		}
	model_explain(&o->states[best], found, detail);
	(void)snprintf(why, MODEL_WHY_LEN,
	    "no state at all (%zu to %zu commits are allowed); against %zu: "
	    "%.250s",
	    min, max, best, detail);
	return SIZE_MAX;
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
oracle_step(struct oracle *o, const void *key, size_t key_len,
    const void *value, size_t value_len)
{
	model_put(add_hidden(o), key, key_len, value, value_len, MODEL_ANY_SEQ);
}

static bool
has(const struct model *model, const struct model_entry *entry)
{
	const struct model_entry *e =
	    model_find(model, entry->key->bytes, entry->key->len);

	return e != NULL && e->value->len == entry->value->len &&
	       memcmp(e->value->bytes, entry->value->bytes, e->value->len) ==
		   0 &&
	       (e->seq == entry->seq || e->seq == MODEL_ANY_SEQ);
}

bool
oracle_knows(const struct oracle *o, const struct model_entry *entry)
{
	for (size_t k = 0; k < o->count; k++)
		if (has(&o->states[k], entry))
			return true;
	for (size_t i = 0; i < o->hidden_count; i++)
		if (has(&o->hidden[i], entry))
			return true;
	return false;
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

uint64_t
oracle_hash(const struct oracle *o)
{
	uint64_t hash = rng_mix(o->count - o->durable) ^ o->max_seq << 2 ^
			(uint64_t)o->created << 1 ^ (uint64_t)o->in_flight;

	for (size_t k = o->durable; k < o->count; k++) {
		const struct model *state = &o->states[k];

		hash = rng_mix(hash ^ state->count);
		for (size_t i = 0; i < state->count; i++) {
			const struct model_entry *e = &state->entries[i];

			hash = hash_bytes(hash ^ e->seq, e->key);
			hash = hash_bytes(hash, e->value);
		}
	}
	return hash;
}
