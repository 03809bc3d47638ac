/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_api.c - bytes as a program: calls of the interface, kills, power losses
 * and bad blocks on the simulated machine, against the model.
 *
 *     byte 0    bit 0: the first opening has its index in the hints
 *               bit 1: faults: calls of the system may be made to fail
 *     byte 1    seed of the machine
 *     then, until the end: a byte for what to do, and its arguments
 *
 * While nothing is damaged the store shows exactly what was committed; after a
 * kill all of it, after a power loss the state after some prefix, no shorter
 * than what was reported durable.  Once a block is bad, no call may show
 * anything that was never written.
 */
#include "config.h"

#include "fuzz.h"

#include "dir.h"
#include "simos.h"
#include "victim.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define STORE VICTIM_STORE
#define SALVAGED "/saved"
#define OPS_MAX 160u        /* time of a run has a bound */
#define CRASH_OPS 12u       /* what a crash counts as */
#define VALUE_BYTES 150000u /* of all values together */
#define READERS 2u

/* The machine, and who is on it. */
static struct {
	struct victim v;
	struct input in;
	bool faults, damaged, hint_turn;
	size_t value_bytes;
	/* Handles that only read, and walks, with what they must show. */
	struct {
		struct kvlog *db;
		struct kvlog_iter *iter;
		struct model shown;
	} readers[READERS];
} it;

static void
fail(const char *text)
{
	(void)fprintf(stderr, "%s\n", text);
	abort();
}

/* Arguments. */

static const char *
take_key(void)
{
	static const char *const keys[] = {"a", "b", "ab", "abc", "abd",
	    "b\xff", "b\xff\xff", "c", "\x01", "a\x01", "\xff", "k0", "k1",
	    "k2", "k3", NULL};
	static char longest[1200];
	const char *key = keys[take_byte(&it.in) % 16];

	if (key != NULL)
		return key;
	memset(longest, 'L', sizeof longest - 1);
	longest[sizeof longest - 2] = (char)('a' + (take_byte(&it.in) & 3));
	longest[400 + 3 * (take_byte(&it.in) & 127)] = '\0';
	return longest;
}

/* Lengths at the edges of records, blocks and segments, and some between. */
static size_t
take_len(void)
{
	static const size_t lens[] = {0, 1, 7, 8, 30, 100, 333, 512, 900, 1500,
	    2048, 3000, 3500, 3584, 8000, 20000};
	unsigned byte = take_byte(&it.in);
	size_t len = lens[byte & 15] + (byte >> 4);

	if (it.value_bytes + len > VALUE_BYTES)
		len = 0;
	it.value_bytes += len;
	/* victim.h has to tell by the values what was stored. */
	return len == 0 && it.v.store_faults ? 1 : len;
}

static enum kvlog_durability
take_durability(void)
{
	static const enum kvlog_durability some[] = {KVLOG_DURABILITY_NONE,
	    KVLOG_DURABILITY_COMMIT, KVLOG_DURABILITY_INTERVAL,
	    KVLOG_DURABILITY_NONE};

	return some[take_byte(&it.in) & 3];
}

/* Readers. */

static void
close_reader(unsigned i)
{
	kvlog_iter_destroy(it.readers[i].iter);
	if (it.readers[i].db != NULL && it.readers[i].db != it.v.db)
		FUZZ_CHECK(kvlog_close(it.readers[i].db, NULL) == KVLOG_OK);
	model_fini(&it.readers[i].shown);
	memset(&it.readers[i], 0, sizeof it.readers[i]);
}

static void
close_readers(void)
{
	for (unsigned i = 0; i < READERS; i++)
		close_reader(i);
}

/* The process is gone: its handles are not closed any more. */
static void
forget_process(void)
{
	for (unsigned i = 0; i < READERS; i++)
		model_fini(&it.readers[i].shown);
	memset(it.readers, 0, sizeof it.readers);
	it.v.db = NULL;
	simos_fail_clear();
	simos_stop_at(0, 0);
	simos_kill();
	simos_forget();
}

static const struct model *
present(void)
{
	const struct oracle *o = &it.v.oracle;

	return &o->states[o->count - 1 - o->in_flight];
}

static void
check_model(struct kvlog *db, const struct model *wanted, const char *when)
{
	struct model found = {0};
	char why[MODEL_WHY_LEN];

	if (!model_read(&found, db, why) ||
	    (!model_equal(wanted, &found) &&
		(model_explain(wanted, &found, why), true))) {
		(void)fprintf(stderr, "%s: %s\n", when, why);
		abort();
	}
	model_fini(&found);
}

static void
check_sound(struct kvlog *db)
{
	struct kvlog_stats stats = {.size = sizeof stats};

	if (kvlog_stats_get(db, &stats) == KVLOG_OK &&
	    (stats.recovery &
		(KVLOG_RECOVERY_DAMAGE | KVLOG_RECOVERY_DEGRADED)) != 0)
		fail(stats.recovery_text);
}

static struct kvlog *
open_reader(const char *path, struct kvlog_error *err)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;
	enum kvlog_status st;

	o.flags = KVLOG_OPEN_READONLY | KVLOG_OPEN_NOTHREAD;
	o.index_mode = it.hint_turn ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	it.hint_turn = !it.hint_turn;
	memset(err, 0, sizeof *err);
	st = kvlog_open(path, &o, &db, err);
	FUZZ_CHECK(st == KVLOG_OK || (err->status == st && *err->text != 0));
	return db;
}

/* What is done */

static void
do_put(void)
{
	const char *key = take_key();
	size_t len = take_len();

	(void)victim_put(&it.v, key, len, take_durability());
}

static void
do_put_if(void)
{
	const char *key = take_key();
	size_t len = take_len();
	unsigned byte = take_byte(&it.in);
	const struct model_entry *e = model_find(present(), key, strlen(key));
	uint64_t seq = e != NULL && (byte & 4) != 0 ? e->seq : byte >> 3;

	(void)victim_put_if(
	    &it.v, key, len, 1 + (enum kvlog_condition)(byte & 3) % 3, seq);
}

static void
do_delete(void)
{
	const char *key = take_key();

	(void)victim_delete(&it.v, key, take_durability());
}

#define STEPS 8 /* of a batch, at most */

static void
do_batch(void)
{
	struct victim_step steps[STEPS] = {0};
	size_t count = 1 + take_byte(&it.in) % STEPS;
	static char keys[STEPS][1200];

	for (size_t i = 0; i < count; i++) {
		const char *key = take_key();

		memcpy(keys[i], key, strlen(key) + 1);
		steps[i].key = keys[i];
		steps[i].value_len =
		    take_byte(&it.in) % 3 == 0 ? VICTIM_DELETE : take_len();
	}
	(void)victim_batch(&it.v, steps, count, take_durability());
}

/* A batch whose conditions do not hold does nothing. */
static void
do_refused_batch(void)
{
	struct kvlog_op ops[3] = {{.type = KVLOG_OP_PUT}};
	const char *key = take_key();
	const struct model_entry *e = model_find(present(), key, strlen(key));
	size_t failed = SIZE_MAX, wrong = take_byte(&it.in) % 3;
	enum kvlog_status st;

	for (size_t i = 0; i < 3; i++)
		ops[i] = (struct kvlog_op){.type = KVLOG_OP_PUT,
		    .key = "never",
		    .key_len = 5,
		    .value = "x",
		    .value_len = 1};
	ops[wrong].key = key;
	ops[wrong].key_len = strlen(key);
	ops[wrong].condition = e != NULL ? KVLOG_IF_ABSENT : KVLOG_IF_PRESENT;
	st = kvlog_apply(it.v.db, ops, 3, NULL, NULL, &failed);
	if (it.v.faults && st != KVLOG_CONFLICT)
		return;
	FUZZ_CHECK(st == KVLOG_CONFLICT);
	FUZZ_CHECK(st != KVLOG_CONFLICT || failed == wrong);
}

/* One key, by each way of reading. */
/* Of this key, twice, and of one that nobody writes, through a pin. */
static void
check_in_place(const char *key, const struct model_entry *e)
{
	struct kvlog_item items[3] = {{.key = key, .key_len = strlen(key)},
	    {.key = "\xff nobody", .key_len = 8},
	    {.key = key, .key_len = strlen(key)}};
	struct kvlog_pin *pin = NULL;

	FUZZ_CHECK(kvlog_pin_create(it.v.db, &pin) == KVLOG_OK);
	FUZZ_CHECK(kvlog_pin_get_many(pin, items, 3) == KVLOG_OK);
	FUZZ_CHECK(items[1].status == KVLOG_NOTFOUND);
	for (unsigned i = 0; i < 3; i += 2) {
		FUZZ_CHECK(
		    items[i].status == (e != NULL ? KVLOG_OK : KVLOG_NOTFOUND));
		FUZZ_CHECK(
		    e == NULL ||
		    (items[i].value_len == e->value->len &&
			memcmp(items[i].value, e->value->bytes,
			    e->value->len) == 0 &&
			(items[i].seq == e->seq || e->seq == MODEL_ANY_SEQ)));
	}
	kvlog_pin_destroy(pin);
}

static void
do_get(void)
{
	const char *key = take_key();
	const struct model_entry *e = model_find(present(), key, strlen(key));
	struct kvlog_info info = {0};
	size_t len = SIZE_MAX, cap = take_len();
	uint8_t *buf = malloc(cap + 1);
	enum kvlog_status st;

	FUZZ_CHECK(buf != NULL);
	buf[0] = 0x5a;
	st = kvlog_get(it.v.db, key, strlen(key), buf, cap, &len);
	FUZZ_CHECK(st == (e == NULL                ? KVLOG_NOTFOUND
			     : e->value->len > cap ? KVLOG_TOOSMALL
						   : KVLOG_OK));
	FUZZ_CHECK(len == (e != NULL ? e->value->len : SIZE_MAX));
	FUZZ_CHECK(st == KVLOG_OK || buf[0] == 0x5a);
	FUZZ_CHECK(st != KVLOG_OK || len == 0 ||
		   memcmp(buf, e->value->bytes, len) == 0);
	free(buf);
	check_in_place(key, e);
	FUZZ_CHECK(kvlog_exists(it.v.db, key, strlen(key)) ==
		   (e != NULL ? KVLOG_OK : KVLOG_NOTFOUND));
	st = kvlog_lookup(it.v.db, key, strlen(key), &info);
	FUZZ_CHECK(st == (e != NULL ? KVLOG_OK : KVLOG_NOTFOUND));
	FUZZ_CHECK(
	    e == NULL || (info.value_len == e->value->len &&
			     (info.seq == e->seq || e->seq == MODEL_ANY_SEQ)));
}

/* Some steps of a walk, from the first key at or after seek (NULL: from the
 * beginning), against what it must show. */
static void
check_walk(struct kvlog_iter *iter, const struct model *shown,
    const char *prefix, const char *seek, unsigned steps)
{
	size_t prefix_len = strlen(prefix);
	size_t i = model_lower(shown, prefix, prefix_len);

	if (seek != NULL) {
		size_t at = model_lower(shown, seek, strlen(seek));

		FUZZ_CHECK(
		    kvlog_iter_seek(iter, seek, strlen(seek)) == KVLOG_OK);
		i = at > i ? at : i;
	}
	for (; steps > 0; steps--, i++) {
		const struct model_entry *e =
		    i < shown->count ? &shown->entries[i] : NULL;
		bool more = e != NULL && e->key->len >= prefix_len &&
			    memcmp(e->key->bytes, prefix, prefix_len) == 0;
		enum kvlog_status st = kvlog_iter_next(iter);
		size_t key_len = 0, value_len = 0;
		const void *key, *value;

		FUZZ_CHECK(st == (more ? KVLOG_OK : KVLOG_NOTFOUND));
		if (!more)
			break;
		key = kvlog_iter_key(iter, &key_len);
		value = kvlog_iter_value(iter, &value_len);
		FUZZ_CHECK(key_len == e->key->len &&
			   memcmp(key, e->key->bytes, key_len) == 0);
		FUZZ_CHECK(value_len == e->value->len &&
			   (value_len == 0 ||
			       memcmp(value, e->value->bytes, value_len) == 0));
	}
}

static void
do_walk(void)
{
	static char prefix[1200];
	unsigned how = take_byte(&it.in);
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st;

	prefix[0] = '\0';
	if (how & 1) {
		const char *key = take_key();

		memcpy(prefix, key, strlen(key) + 1);
	}
	st = kvlog_iter_create(it.v.db, prefix, strlen(prefix), &iter);
	FUZZ_CHECK(st == KVLOG_OK);
	check_walk(iter, present(), prefix, how & 2 ? take_key() : NULL,
	    1 + (how >> 3));
	if (how & 4)
		check_walk(iter, present(), prefix, take_key(), 3);
	kvlog_iter_destroy(iter);
}

/* Another handle, which follows, or a walk, which goes on to show what there is
 * now. */
static void
do_reader(void)
{
	unsigned how = take_byte(&it.in), i = how % READERS;
	struct kvlog_error err;

	if (it.readers[i].db != NULL) {
		if (it.readers[i].iter != NULL)
			check_walk(it.readers[i].iter, &it.readers[i].shown, "",
			    NULL, UINT32_MAX);
		else
			check_model(it.readers[i].db, present(), "a reader");
		close_reader(i);
		return;
	}
	if (how & 2) {
		it.readers[i].db = open_reader(STORE, &err);
		FUZZ_CHECK(it.readers[i].db != NULL);
	} else {
		it.readers[i].db = it.v.db;
		FUZZ_CHECK(kvlog_iter_create(it.v.db, NULL, 0,
			       &it.readers[i].iter) == KVLOG_OK);
	}
	model_copy(&it.readers[i].shown, present());
}

static void
do_wait(void)
{
	uint64_t last = kvlog_last_seq(it.v.db), seq;
	enum kvlog_status st;

	seq = last - min_u64(last, take_byte(&it.in) & 3);
	st = kvlog_wait_durable(it.v.db, seq, 0);
	if (st == KVLOG_OK && seq > 0)
		oracle_durable(&it.v.oracle, seq);
	FUZZ_CHECK(st == KVLOG_OK || st == KVLOG_TIMEOUT ||
		   (st == KVLOG_BROKEN && it.v.faults) ||
		   (st == KVLOG_INVAL && seq == 0));
	FUZZ_CHECK((st == KVLOG_OK) ==
		       (kvlog_durable_seq(it.v.db) >= seq && seq > 0) ||
		   seq == 0 || it.v.faults);
}

static void
do_reopen(void)
{
	unsigned how = take_byte(&it.in);

	close_readers();
	(void)victim_close(&it.v);
	if (how & 1)
		(void)victim_compact(&it.v, how & 2 ? KVLOG_COMPACT_ALL : 0);
	if (how & 4) {
		/* What failed before is over. */
		simos_fail_clear();
		simos_set_capacity(UINT64_MAX);
		it.v.faults = false;
	}
	(void)victim_open(&it.v, KVLOG_OPEN_CREATE);
}

/* Nothing is called damage that is not. */
static void
do_verify(void)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	enum kvlog_status st;

	o.flags = take_byte(&it.in) & 1 ? KVLOG_VERIFY_QUICK : 0;
	st = kvlog_verify(STORE, &o, &report, &err);
	if (st != KVLOG_OK)
		fail(err.text);
	FUZZ_CHECK(report.damage_count == 0 && report.live);
}

/* Calls of one kind fail until the next thing that is done has been. */
static void
do_fault(void)
{
	static const enum simos_kind kinds[] = {SIMOS_CREATE, SIMOS_RENAME,
	    SIMOS_UNLINK, SIMOS_ALLOCATE, SIMOS_SYNC, SIMOS_SYNC_DIR,
	    SIMOS_MALLOC, SIMOS_MAP};
	unsigned byte = take_byte(&it.in);
	enum simos_kind kind = kinds[byte & 7];

	if (!it.faults)
		return;
	it.v.faults = true;
	simos_fail_clear();
	simos_fail(kind, 1 + (byte >> 4),
	    kind == SIMOS_ALLOCATE ? ENOSPC
	    : kind == SIMOS_MALLOC ? ENOMEM
				   : EIO,
	    (byte & 8) != 0);
}

static void
do_capacity(void)
{
	unsigned byte = take_byte(&it.in);

	if (!it.faults)
		return;
	it.v.faults = true;
	simos_set_capacity(
	    byte == 0 ? UINT64_MAX : simos_used() + 4096u * (byte & 15));
}

/* How a process ends that does not end by itself. */
enum ending { ENDING_NONE, ENDING_KILL, ENDING_POWER, ENDING_DAMAGE };
static enum ending ending;
static unsigned ops_left;

/* Writes can be stopped at a step, as chosen before. */
static unsigned stop_step, stop_inside;
static enum ending stop_ending;

static void
arm(void)
{
	if (stop_step > 0)
		simos_stop_at(simos_steps() + stop_step, stop_inside);
	stop_step = 0;
}

static void
do_stop(void)
{
	unsigned byte = take_byte(&it.in);

	stop_step = 1 + take_byte(&it.in);
	stop_inside = byte & 7;
	stop_ending = byte & 8 ? ENDING_POWER : ENDING_KILL;
}

static void
do_one(unsigned what)
{
	bool clean = !it.v.faults && !it.v.oracle.in_flight;

	switch (what % 24) {
	case 0:
	case 1:
	case 2:
		arm();
		do_put();
		break;
	case 3:
		arm();
		do_put_if();
		break;
	case 4:
		arm();
		do_delete();
		break;
	case 5:
	case 6:
		arm();
		do_batch();
		break;
	case 7:
		do_refused_batch();
		break;
	case 8:
		if (clean)
			do_get();
		break;
	case 9:
		if (clean)
			do_walk();
		break;
	case 10:
		if (clean)
			do_reader();
		break;
	case 11:
		arm();
		(void)victim_sync(&it.v);
		break;
	case 12:
		arm();
		(void)victim_maintain(&it.v);
		break;
	case 13:
		do_wait();
		break;
	case 14:
	case 15:
		arm();
		do_reopen();
		break;
	case 16:
		victim_check(&it.v);
		break;
	case 17:
		if (clean)
			do_verify();
		break;
	case 18:
		ending = ENDING_KILL;
		break;
	case 19:
		ending = ENDING_POWER;
		break;
	case 20:
		do_stop();
		return; /* what was armed stays so */
	case 21:
		do_fault();
		return;
	case 22:
		do_capacity();
		break;
	default:
		ending = ENDING_DAMAGE;
		break;
	}
	simos_stop_at(0, 0);
	simos_fail_clear();
}

/* The life of a process, until it ends somehow. */
static void
live(void *arg)
{
	(void)arg;
	(void)victim_open(&it.v, KVLOG_OPEN_CREATE);
	while (it.in.left > 0 && ops_left > 0) {
		unsigned what = take_byte(&it.in);

		ops_left--;
		if (it.v.db == NULL) {
			simos_fail_clear();
			simos_set_capacity(UINT64_MAX);
			it.v.faults = false;
			(void)victim_open(&it.v, KVLOG_OPEN_CREATE);
		}
		fuzz_tell("%u (%zu commits, durable %zu)", what % 24,
		    it.v.oracle.count - 1, it.v.oracle.durable);
		do_one(what);
		if (ending != ENDING_NONE)
			return;
	}
}

/* After a crash */

/* The state that the store shows, of min to max commits; later ones are
 * gone. */
static void
find_state(size_t min, size_t max)
{
	struct oracle *o = &it.v.oracle;
	struct model found = {0};
	struct kvlog_error err;
	char why[MODEL_WHY_LEN];
	struct kvlog *db = open_reader(STORE, &err);
	size_t k;

	if (db == NULL) {
		if (o->created)
			fail(err.text);
		oracle_cut(o, 0, 0); /* not made yet */
		return;
	}
	check_sound(db);
	if (!model_read(&found, db, why))
		fail(why);
	/* Two empty values are alike, but not the numbers of their commits. */
	if (o->in_flight && max > min && kvlog_last_seq(db) <= o->seqs[max - 1])
		max--;
	k = oracle_find(o, &found, min, max, why);
	if (k == SIZE_MAX)
		fail(why);
	oracle_cut(o, k, kvlog_last_seq(db));
	FUZZ_CHECK(kvlog_close(db, NULL) == KVLOG_OK);
	model_fini(&found);
}

static void
come_back(enum ending how)
{
	struct oracle *o = &it.v.oracle;
	unsigned choice = take_byte(&it.in), loss_seed = take_byte(&it.in);
	size_t max = o->count - 1;

	ops_left -= (unsigned)min_u64(ops_left, CRASH_OPS);
	forget_process();
	it.v.faults = false;
	simos_set_capacity(UINT64_MAX);
	fuzz_tell("%s %u %u", how == ENDING_POWER ? "power loss" : "kill",
	    choice, loss_seed);
	if (how == ENDING_POWER) {
		simos_power_loss(
		    (enum simos_loss)(choice % SIMOS_LOSS_GARBAGE_SECTOR),
		    loss_seed);
		find_state(o->durable, max);
	} else {
		find_state(max - o->in_flight, max);
	}
	FUZZ_CHECK(simos_leaks(stderr) == 0);
}

/* Bad blocks */

struct names {
	char name[32][DIR_NAME_LEN];
	size_t count;
};

static int
note_name(void *arg, const char *name)
{
	struct names *names = arg;

	if (names->count < 32 && strlen(name) < DIR_NAME_LEN)
		memcpy(names->name[names->count++], name, strlen(name) + 1);
	return 0;
}

static void
damage_file(void)
{
	static struct names names;
	unsigned how = take_byte(&it.in);
	uint64_t off = take_byte(&it.in), size, len;
	const uint8_t *bytes;
	static uint8_t block[4096];
	char path[DIR_NAME_LEN + 8];
	int fd;

	off = (off << 8 | take_byte(&it.in)) << (how >> 6);
	names.count = 0;
	FUZZ_CHECK(os->open_dir(STORE, &fd) == 0);
	FUZZ_CHECK(os->list(fd, note_name, &names) == 0);
	FUZZ_CHECK(os->close(fd) == 0);
	if (names.count == 0)
		return;
	(void)snprintf(path, sizeof path, STORE "/%s",
	    names.name[(how >> 2 & 15) % names.count]);
	if (!simos_peek(path, &bytes, &size) || size == 0)
		return;
	off %= size;
	fuzz_tell("damage %u in %s at %" PRIu64, how & 3, path, off);
	switch (how & 3) {
	case 0: /* a bit */
		block[0] = bytes[off] ^ (uint8_t)(1u << (how >> 2 & 7));
		simos_poke(path, off, block, 1);
		break;
	case 1: /* a sector reads as zeros */
		memset(block, 0, 512);
		off -= off % 512;
		simos_poke(path, off, block, (size_t)min_u64(512, size - off));
		break;
	case 2: /* a block holds what belongs to another one */
		off -= off % 4096;
		len = min_u64(4096, size - off);
		memcpy(block, bytes, (size_t)min_u64(4096, size));
		simos_poke(path, off, block, (size_t)min_u64(len, size));
		break;
	default: /* a block is garbage */
		off -= off % 4096;
		for (size_t i = 0; i < sizeof block; i++)
			block[i] = (uint8_t)(i * 167 ^ (i >> 3) ^ off);
		simos_poke(path, off, block, (size_t)min_u64(4096, size - off));
		break;
	}
}

/* What a handle shows was written once. */
static void
check_known(struct kvlog *db)
{
	struct kvlog_iter *iter = NULL;
	enum kvlog_status st = kvlog_iter_create(db, NULL, 0, &iter);

	if (st != KVLOG_OK) {
		FUZZ_CHECK(st == KVLOG_CORRUPT);
		return;
	}
	while ((st = kvlog_iter_next(iter)) != KVLOG_NOTFOUND) {
		struct model one = {0};
		size_t key_len = 0, value_len = 0;
		const void *key = kvlog_iter_key(iter, &key_len);
		const void *value = kvlog_iter_value(iter, &value_len);

		FUZZ_CHECK(st == KVLOG_OK || st == KVLOG_CORRUPT);
		if (st != KVLOG_OK ||
		    (key_len == 5 && memcmp(key, "after", 5) == 0))
			continue;
		model_put(&one, key, key_len, value, value_len, MODEL_ANY_SEQ);
		for (size_t k = 0;; k++) {
			const struct model_entry *e;

			if (k == it.v.oracle.count)
				break;
			e = model_find(&it.v.oracle.states[k], key, key_len);
			if (e != NULL)
				one.entries[0].seq = e->seq;
			if (oracle_knows(&it.v.oracle, NULL, &one.entries[0]))
				break;
		}
		FUZZ_CHECK(oracle_knows(&it.v.oracle, NULL, &one.entries[0]));
		model_fini(&one);
	}
	kvlog_iter_destroy(iter);
}

static void
look(const char *path)
{
	struct kvlog_error err;
	struct kvlog *db = open_reader(path, &err);

	if (db == NULL)
		return;
	check_known(db);
	FUZZ_CHECK(kvlog_close(db, NULL) == KVLOG_OK);
}

static void
write_after(void)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog *db = NULL;
	struct kvlog_error err = {0};
	size_t len = 0;

	o.flags = KVLOG_OPEN_NOTHREAD;
	o.index_mode = it.hint_turn ? KVLOG_INDEX_HINTS : KVLOG_INDEX_MEMORY;
	if (kvlog_open(STORE, &o, &db, &err) != KVLOG_OK) {
		FUZZ_CHECK(err.text[0] != '\0');
		return;
	}
	if (kvlog_put(db, "after", 5, "x", 1, NULL, NULL) == KVLOG_OK)
		FUZZ_CHECK(kvlog_get(db, "after", 5, NULL, 0, &len) ==
			       KVLOG_TOOSMALL &&
			   len == 1);
	check_known(db);
	(void)kvlog_close(db, NULL);
}

static void
survive_damage(void)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_compact_report compacted = {.size = sizeof compacted};
	struct kvlog_error err = {0};
	enum kvlog_status st;
	unsigned count = 1 + take_byte(&it.in) % 4;

	forget_process();
	simos_set_capacity(UINT64_MAX);
	for (unsigned i = 0; i < count; i++)
		damage_file();
	st = kvlog_verify(STORE, &o, &report, &err);
	FUZZ_CHECK(st == KVLOG_OK || err.text[0] != '\0');
	look(STORE);
	look(STORE);
	st = kvlog_salvage(STORE, SALVAGED, &o, &report, &err);
	FUZZ_CHECK(st == KVLOG_OK || err.text[0] != '\0');
	if (st == KVLOG_OK || st == KVLOG_CORRUPT)
		look(SALVAGED);
	st = kvlog_compact_offline(STORE, NULL, &compacted, &err);
	FUZZ_CHECK(st == KVLOG_OK || err.text[0] != '\0');
	look(STORE);
	write_after();
	look(STORE);
	FUZZ_CHECK(simos_leaks(stderr) == 0);
}

/* Salvage of a sound store is a copy of it. */
static void
check_salvage(void)
{
	struct kvlog_verify_report report = {.size = sizeof report};
	struct kvlog_error err = {0};
	struct model wanted = {0};
	struct kvlog *db;

	if (kvlog_salvage(STORE, SALVAGED, NULL, &report, &err) != KVLOG_OK)
		fail(err.text);
	model_copy(&wanted, present());
	for (size_t i = 0; i < wanted.count; i++)
		wanted.entries[i].seq = MODEL_ANY_SEQ;
	db = open_reader(SALVAGED, &err);
	FUZZ_CHECK(db != NULL);
	check_model(db, &wanted, "salvaged");
	FUZZ_CHECK(kvlog_close(db, NULL) == KVLOG_OK);
	model_fini(&wanted);
}

/* The last process ends in order; the store is sound. */
static void
end_in_order(bool salvage)
{
	close_readers();
	simos_fail_clear();
	simos_set_capacity(UINT64_MAX);
	(void)victim_close(&it.v);
	it.v.faults = false;
	FUZZ_CHECK(victim_open(&it.v, KVLOG_OPEN_CREATE));
	victim_check(&it.v);
	check_sound(it.v.db);
	FUZZ_CHECK(victim_close(&it.v));
	if (salvage)
		check_salvage();
	FUZZ_CHECK(simos_leaks(stderr) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned flags;
	bool ended = false;

	if (size < 4)
		return 0;
	memset(&it, 0, sizeof it);
	it.in = (struct input){data, size};
	flags = take_byte(&it.in);
	simos_init(take_byte(&it.in));
	victim_init(&it.v, fail);
	it.v.hints = it.hint_turn = (flags & 1) != 0;
	it.faults = (flags & 2) != 0;
	it.v.store_faults = it.faults && (flags & 8) != 0;
	simos_set_boot_id((flags & 4) == 0);
	simos_set_fs(flags & 8 ? OS_FS_COW : OS_FS_PLAIN);
	ops_left = OPS_MAX;
	stop_step = 0;
	while (!ended) {
		enum ending how;

		ending = ENDING_NONE;
		how = simos_run(live, NULL) ? stop_ending : ending;
		ended = how == ENDING_NONE || how == ENDING_DAMAGE;
		if (how == ENDING_DAMAGE)
			survive_damage();
		else if (how == ENDING_NONE)
			end_in_order((flags & 16) != 0);
		else
			come_back(how);
	}
	victim_fini(&it.v);
	simos_kill();
	simos_forget();
	simos_fini();
	return 0;
}
