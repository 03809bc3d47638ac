/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rot.c - stores made step by step from a seed, the map of their bytes, and
 * damage to them.
 */
#include "rot.h"

#include "bytes.h"
#include "record.h"
#include "rng.h"
#include "segment.h"
#include "sum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL 8192u
#define LARGE (160u * 1024)
#define VALUE_MAX 12000u
#define COPY_OFF 4096u
#define NOTE_OFF 4096u

static void
die(const char *what)
{
	fprintf(stderr, "rot: %s\n", what);
	abort();
}

static void
must(bool good, const char *what)
{
	if (!good)
		die(what);
}

static void *
room_for(void *array, size_t count, size_t size)
{
	void *grown = array;

	/* Powers of two. */
	if ((count & (count - 1)) == 0) {
		grown = realloc(array, (count > 0 ? 2 * count : 1) * size);
		must(grown != NULL, "out of memory");
	}
	return grown;
}

static uint8_t *
copy_of(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	must(copy != NULL, "out of memory");
	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

const char *
rot_type_name(enum rot_type type)
{
	static const char *const names[] = {"sealed", "active", "output",
	    "part", "hint", "range", "tail", "page", "note", "spare",
	    "reserve"};

	return names[type];
}

const char *
rot_kind_name(enum rot_kind kind)
{
	static const char *const names[] = {
	    "flip", "zero", "fill", "swap", "copy", "other", "stale", "cut"};

	return names[kind];
}

/* In order: some begin others, some are long. */
const char *
rot_key(unsigned i, size_t *ret_len)
{
	static char keys[ROT_KEYS][64];

	if (keys[i][0] == '\0')
		(void)snprintf(keys[i], sizeof keys[i], "k%.2u%.*s", i / 2,
		    (int)(i % 2 * (3 + i)),
		    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
	*ret_len = strlen(keys[i]);
	return keys[i];
}

static unsigned
key_number(const uint8_t *key, size_t len)
{
	for (unsigned i = 0; i < ROT_KEYS; i++) {
		size_t n;
		const char *k = rot_key(i, &n);

		if (n == len && memcmp(k, key, n) == 0)
			return i;
	}
	die("an unknown key");
	return 0;
}

/* Making a store */

static const char *
path_of(const char *name)
{
	static char path[DIR_NAME_LEN + 8];

	(void)snprintf(path, sizeof path, "%s/%s", ROT_STORE, name);
	return path;
}

struct maker {
	struct rot_map *map;
	const struct rot_plan *plan;
	struct kvlog *db;
	struct rng rng;
	uint64_t values;
	unsigned first_key, key_count; /* that are written */
};

static void
list_files(struct file_list *list)
{
	struct dir dir;

	must(dir_open(&dir, ROT_STORE, 0644, NULL) == KVLOG_OK, "no store");
	must(dir_list(&dir, list, NULL) == KVLOG_OK, "cannot list");
	dir_close(&dir);
}

/* Keep a copy of all files. */
static void
remember(struct maker *m)
{
	struct rot_map *map = m->map;
	struct file_list list;

	list_files(&list);
	for (size_t i = 0; i < list.count; i++) {
		const uint8_t *bytes;
		uint64_t size;
		struct rot_older *o;

		must(simos_peek(path_of(list.files[i].name), &bytes, &size),
		    "cannot peek");
		map->older =
		    room_for(map->older, map->older_count, sizeof *map->older);
		o = &map->older[map->older_count++];
		memcpy(o->name, list.files[i].name, sizeof o->name);
		o->bytes = copy_of(bytes, (size_t)size);
		o->len = (size_t)size;
	}
	file_list_fini(&list);
}

static void
open_store(struct maker *m, uint64_t segment_size)
{
	struct kvlog_options o = KVLOG_OPTIONS_INIT;
	struct kvlog_error err = {0};

	o.flags = KVLOG_OPEN_CREATE | KVLOG_OPEN_NOTHREAD;
	o.segment_size = segment_size;
	o.durability = KVLOG_DURABILITY_NONE;
	o.load_threads = 1;
	if (kvlog_open(ROT_STORE, &o, &m->db, &err) != KVLOG_OK)
		die(err.text);
}

static void
close_store(struct maker *m)
{
	must(kvlog_close(m->db, NULL) == KVLOG_OK, "cannot close");
	m->db = NULL;
}

static size_t
make_value(struct maker *m, uint8_t *value, size_t max)
{
	struct rng rng;
	size_t len =
	    rng_below(&m->rng, 8) == 0 ? 0 : (size_t)rng_below(&m->rng, max);

	rng_init(&rng, m->plan->seed * 100000 + m->values++);
	if (rng_below(&rng, 3) == 0)
		memset(value, (int)rng_below(&rng, 256), len);
	else
		rng_fill(&rng, value, len);
	return len;
}

static const char *
random_key(struct maker *m, size_t *ret_len)
{
	return rot_key(
	    m->first_key + (unsigned)rng_below(&m->rng, m->key_count), ret_len);
}

static void
write_batch(struct maker *m, size_t max)
{
	static uint8_t values[4][VALUE_MAX];
	struct kvlog_op ops[4];
	size_t count = 2 + (size_t)rng_below(&m->rng, 3);

	memset(ops, 0, sizeof ops);
	for (size_t i = 0; i < count; i++) {
		ops[i].key = rot_key(
		    (unsigned)rng_below(&m->rng, ROT_KEYS), &ops[i].key_len);
		ops[i].type =
		    rng_below(&m->rng, 4) == 0 ? KVLOG_OP_DELETE : KVLOG_OP_PUT;
		ops[i].value = values[i];
		if (ops[i].type == KVLOG_OP_PUT)
			ops[i].value_len = make_value(m, values[i], max);
	}
	must(kvlog_apply(m->db, ops, count, NULL, NULL, NULL) == KVLOG_OK,
	    "batch");
}

static void
write_one(struct maker *m, size_t max)
{
	static uint8_t value[VALUE_MAX];
	struct kvlog_write how = KVLOG_WRITE_INIT;
	size_t key_len, len;
	const char *key = random_key(m, &key_len);
	enum kvlog_status st;

	if (rng_below(&m->rng, 3) == 0)
		how.durability = KVLOG_DURABILITY_COMMIT;
	if (rng_below(&m->rng, 4) == 0) {
		st = kvlog_delete(m->db, key, key_len, &how, NULL);
		must(st == KVLOG_OK || st == KVLOG_NOTFOUND, "delete");
		return;
	}
	len = make_value(m, value, max);
	must(kvlog_put(m->db, key, key_len, value, len, &how, NULL) == KVLOG_OK,
	    "put");
}

static void
write_some(struct maker *m, unsigned count, size_t max, bool maintain)
{
	bool more;

	for (unsigned i = 0; i < count; i++) {
		if (rng_below(&m->rng, 6) == 0)
			write_batch(m, max);
		else
			write_one(m, max);
		if (maintain && rng_below(&m->rng, 12) == 0)
			must(kvlog_maintain(m->db, 1000, &more) == KVLOG_OK,
			    "maintain");
		if (i % (count / 3 + 1) == count / 6)
			remember(m);
	}
}

static void
compact(unsigned flags)
{
	struct kvlog_compact_options o = KVLOG_COMPACT_OPTIONS_INIT;

	o.flags = flags;
	must(kvlog_compact_offline(ROT_STORE, &o, NULL, NULL) == KVLOG_OK,
	    "compact");
}

static void
remove_hints(void)
{
	struct file_list list;
	struct dir dir;

	list_files(&list);
	must(dir_open(&dir, ROT_STORE, 0644, NULL) == KVLOG_OK, "no store");
	for (size_t i = 0; i < list.count; i++)
		if (list.files[i].kind == FILE_HINT)
			must(os->unlink(dir.fd, list.files[i].name) == 0,
			    "unlink");
	must(os->sync_dir(dir.fd) == 0, "sync");
	dir_close(&dir);
	file_list_fini(&list);
}

/* One opening: count commits of some of the keys. */
static void
write_session(struct maker *m, unsigned first_key, unsigned key_count,
    unsigned count, size_t max)
{
	m->first_key = first_key;
	m->key_count = key_count;
	open_store(m, SMALL);
	write_some(m, count, max, true);
	close_store(m);
}

/* Every key once: hints of this are too large to be merged with later ones of
 * few keys. */
static void
write_all_keys(struct maker *m)
{
	open_store(m, SMALL);
	for (unsigned i = 0; i < ROT_KEYS; i++) {
		size_t len;
		const char *key = rot_key(i, &len);

		must(kvlog_put(m->db, key, len, &i, 1 + i % 4, NULL, NULL) ==
			 KVLOG_OK,
		    "put");
	}
	close_store(m);
}

/* A hint of a part of the active segment, and something behind it: large
 * values of few keys. */
static void
write_tail(struct maker *m)
{
	m->first_key = 5;
	m->key_count = 3;
	open_store(m, LARGE);
	write_some(m, 30, VALUE_MAX, false);
	close_store(m);
}

/* An output of several parts or of one, and segments behind it, the last ones
 * of few keys, so that their hints are not worth being merged. */
static void
write_store(struct maker *m)
{
	bool more;

	write_session(m, 0, 20, 60, 900);
	compact(KVLOG_COMPACT_ALL);
	if (!m->plan->parts) {
		write_session(m, 20, 12, 120, 150);
		compact(0);
	}
	write_session(m, 0, ROT_KEYS, 60, 250);
	write_all_keys(m);
	if (m->plan->tail)
		write_tail(m);
	else
		write_session(m, 7, 3, 66, 150);
	m->first_key = 5;
	m->key_count = 8;
	open_store(m, m->plan->tail ? LARGE : SMALL);
	write_some(m, m->plan->closed ? 14 : 45, 150, false);
	if (m->plan->closed) {
		close_store(m);
		return;
	}
	/* Behind a rollover, a spare is made. */
	must(kvlog_maintain(m->db, 1000, &more) == KVLOG_OK, "maintain");
	write_some(m, 5, 150, false);
}

/* The map */

static uint64_t
end_of_records(const struct rot_file *f)
{
	uint64_t off = SEGMENT_DATA_OFF;
	struct record rec;

	while (off < f->len &&
	       record_read(f->bytes + off, f->len - off,
		   sum_seed(sum_salt(f->salt), off), &rec) == RECORD_VALID)
		off += rec.size;
	return off;
}

static void
map_records(struct rot_map *map, size_t i)
{
	struct rot_file *f = &map->files[i];

	f->first_record = map->record_count;
	for (uint64_t off = SEGMENT_DATA_OFF; off < f->limit;) {
		struct rot_record *r;
		struct record rec;

		must(
		    record_read(f->bytes + off, f->limit - off,
			sum_seed(sum_salt(f->salt), off), &rec) == RECORD_VALID,
		    "a whole store has bad records");
		map->records = room_for(
		    map->records, map->record_count, sizeof *map->records);
		r = &map->records[map->record_count++];
		*r = (struct rot_record){
		    .file = i,
		    .off = off,
		    .size = rec.size,
		    .head_len = RECORD_HEADER_SIZE + record_ext_len(rec.flags) +
				rec.key_len,
		    .value_len = rec.value_len,
		    .type = rec.type,
		    .flags = rec.flags,
		    .lag = rec.lag,
		    .seq = rec.seq,
		    .key = rec.type == RECORD_MARK
			       ? ROT_KEYS
			       : key_number(rec.key, rec.key_len),
		    .value = rec.value,
		};
		off += rec.size;
	}
	f->end_record = map->record_count;
}

static void
map_segment(struct rot_file *f, const struct rot_file *next)
{
	const uint8_t *p = f->bytes;

	f->salt = get_u64(p + 64);
	f->kind = get_u32(p + 20);
	f->last_seq = get_u64(p + 104);
	f->prev_last_seq = get_u64(p + SEGMENT_LINK_OFF + 24);
	f->link_durable = (get_u32(p + SEGMENT_LINK_OFF + 4) & 1) != 0;
	if (f->kind != SEGMENT_PLAIN) {
		f->limit = get_u64(p + 80);
		f->type = f->file.id.parts > 1 ? ROT_PART : ROT_OUTPUT;
	} else if (next != NULL) {
		f->limit = get_u64(next->bytes + SEGMENT_LINK_OFF + 16);
		if (f->limit < SEGMENT_DATA_OFF)
			f->limit = SEGMENT_DATA_OFF;
		f->type = ROT_SEALED;
	} else {
		f->limit = end_of_records(f);
		f->type = ROT_ACTIVE;
	}
}

static enum rot_type
type_of_hint(const struct rot_file *f)
{
	const uint8_t *p = f->bytes;

	if (get_u32(p + 44) > 1)
		return ROT_RANGE;
	/* "N.hint" is of all of a file. */
	return strchr(f->file.name, '-') != NULL &&
		       strstr(f->file.name, ".r") == NULL
		   ? ROT_TAIL
		   : ROT_HINT;
}

static void
map_files(struct rot_map *map)
{
	struct file_list list;
	uint32_t last, gap;

	list_files(&list);
	map->files = calloc(list.count, sizeof *map->files);
	must(map->files != NULL, "out of memory");
	for (size_t i = 0; i < list.count; i++)
		if (list.files[i].kind == FILE_SEGMENT) {
			const uint8_t *bytes;
			uint64_t size;

			must(simos_peek(
				 path_of(list.files[i].name), &bytes, &size),
			    "cannot peek");
			list.files[i].set_id = get_u64(bytes + 72);
		}
	dir_tile(&list, &last, &gap);
	must(gap == 0, "a gap");
	map->file_count = list.count;
	for (size_t i = 0; i < list.count; i++) {
		struct rot_file *f = &map->files[i];
		const uint8_t *bytes;
		uint64_t size;

		f->file = list.files[i];
		must(simos_peek(path_of(f->file.name), &bytes, &size),
		    "cannot peek");
		f->bytes = copy_of(bytes, (size_t)size);
		f->len = (size_t)size;
	}
	file_list_fini(&list);
	for (size_t i = 0; i < map->file_count; i++) {
		struct rot_file *f = &map->files[i];
		const struct rot_file *next = f + 1;

		switch (f->file.kind) {
		case FILE_SEGMENT:
			must(f->file.live, "leftovers");
			map_segment(f, i + 1 < map->file_count &&
					       next->file.kind == FILE_SEGMENT
					   ? next
					   : NULL);
			map_records(map, i);
			break;
		case FILE_HINT:
			f->type = type_of_hint(f);
			break;
		case FILE_SPARE:
			f->type = ROT_SPARE;
			break;
		case FILE_RESERVE:
			f->type = ROT_RESERVE;
			break;
		case FILE_LOCK:
			f->type = ROT_NOTE;
			break;
		default:
			die("an unknown file");
		}
	}
}

void
rot_make(struct rot_map *map, const struct rot_plan *plan)
{
	struct maker m = {.map = map, .plan = plan};

	memset(map, 0, sizeof *map);
	map->same_boot = plan->same_boot;
	map->closed = plan->closed;
	map->hints = plan->hints;
	(void)snprintf(map->what, sizeof map->what,
	    "seed %llu%s, %s, %s boot%s", (unsigned long long)plan->seed,
	    plan->tail ? ", tail" : "", plan->closed ? "closed" : "killed",
	    plan->same_boot ? "same" : "another",
	    plan->hints ? "" : ", no hints");
	rng_init(&m.rng, plan->seed);
	simos_init(plan->seed);
	write_store(&m);
	simos_kill();
	simos_forget();
	if (!plan->hints)
		remove_hints();
	if (!plan->same_boot)
		simos_power_loss(SIMOS_LOSS_ALL, 0);
	map_files(map);
	map->state = simos_save();
}

static void
forget_damage(struct rot_map *map)
{
	for (size_t i = 0; i < map->file_count; i++) {
		free(map->files[i].now);
		map->files[i].now = NULL;
	}
	for (size_t i = 0; i < map->record_count; i++) {
		struct rot_record *r = &map->records[i];

		r->head_hit = r->value_hit = r->pad_hit = r->cut = false;
	}
}

void
rot_free(struct rot_map *map)
{
	forget_damage(map);
	for (size_t i = 0; i < map->file_count; i++)
		free(map->files[i].bytes);
	for (size_t i = 0; i < map->older_count; i++)
		free(map->older[i].bytes);
	free(map->files);
	free(map->records);
	free(map->older);
	simos_state_free(map->state);
	simos_fini();
}

enum rot_type
rot_type_at(const struct rot_file *f, uint64_t off)
{
	return f->type == ROT_NOTE && off < NOTE_OFF ? ROT_PAGE_ : f->type;
}

/* Damage */

static void
begin_change(struct rot_file *f)
{
	if (f->now != NULL)
		return;
	f->now = copy_of(f->bytes, f->len);
	f->now_len = f->len;
}

/* The newest other bytes that stood there before, or zeros. */
static void
bring_back(
    const struct rot_map *map, struct rot_file *f, uint64_t off, size_t len)
{
	for (size_t i = map->older_count; i-- > 0;) {
		const struct rot_older *o = &map->older[i];

		if (strcmp(o->name, f->file.name) == 0 && o->len == f->len &&
		    memcmp(o->bytes + off, f->bytes + off, len) != 0) {
			memcpy(f->now + off, o->bytes + off, len);
			return;
		}
	}
	memset(f->now + off, 0, len);
}

static void
note_one(struct rot_map *map, const struct rot_damage *d)
{
	struct rot_file *f = &map->files[d->file];
	const struct rot_file *other = &map->files[d->other];
	size_t len = (size_t)d->len;
	struct rng rng;

	begin_change(f);
	if (d->kind == ROT_FLIP) {
		if (d->off < f->now_len)
			f->now[d->off] ^= (uint8_t)(1u << d->len % 8);
		return;
	}
	if (d->kind == ROT_CUT) {
		if (d->off < f->now_len)
			f->now_len = (size_t)d->off;
		return;
	}
	if (d->off >= f->now_len)
		return;
	if (len > f->now_len - d->off)
		len = f->now_len - (size_t)d->off;
	if ((d->kind == ROT_SWAP || d->kind == ROT_COPY ||
		d->kind == ROT_OTHER) &&
	    d->other_off + len > other->len)
		len = other->len > d->other_off
			  ? other->len - (size_t)d->other_off
			  : 0;
	switch (d->kind) {
	case ROT_ZERO:
		memset(f->now + d->off, 0, len);
		break;
	case ROT_FILL:
		rng_init(&rng, d->seed);
		rng_fill(&rng, f->now + d->off, len);
		break;
	case ROT_SWAP:
		memcpy(f->now + d->off, f->bytes + d->other_off, len);
		memcpy(f->now + d->other_off, f->bytes + d->off, len);
		break;
	case ROT_COPY:
	case ROT_OTHER:
		memmove(f->now + d->off, other->bytes + d->other_off, len);
		break;
	case ROT_STALE:
		bring_back(map, f, d->off, len);
		break;
	default:
		break;
	}
}

bool
rot_differs(const struct rot_file *f, uint64_t off)
{
	return f->now != NULL &&
	       (off >= f->now_len || f->now[off] != f->bytes[off]);
}

bool
rot_range_differs(const struct rot_file *f, uint64_t from, uint64_t to)
{
	if (f->now == NULL || from >= to)
		return false;
	return to > f->now_len ||
	       memcmp(f->now + from, f->bytes + from, (size_t)(to - from)) != 0;
}

bool
rot_note(struct rot_map *map, const struct rot_damage *damages, size_t count)
{
	bool any = false;

	forget_damage(map);
	for (size_t i = 0; i < count; i++)
		note_one(map, &damages[i]);
	for (size_t i = 0; i < map->file_count; i++) {
		struct rot_file *f = &map->files[i];

		if (f->now != NULL && f->now_len == f->len &&
		    memcmp(f->now, f->bytes, f->len) == 0) {
			free(f->now);
			f->now = NULL;
		}
		any |= f->now != NULL;
	}
	for (size_t i = 0; i < map->record_count; i++) {
		struct rot_record *r = &map->records[i];
		const struct rot_file *f = &map->files[r->file];
		uint64_t value = r->off + r->head_len;

		if (f->now == NULL)
			continue;
		r->cut = r->off + r->size > f->now_len;
		r->head_hit = r->cut || rot_range_differs(f, r->off, value);
		r->value_hit =
		    rot_range_differs(f, value, value + r->value_len);
		r->pad_hit = rot_range_differs(
		    f, value + r->value_len, r->off + r->size);
	}
	return any;
}

static void
cut_file(const struct rot_file *f)
{
	int dirfd, fd;

	must(os->open_dir(ROT_STORE, &dirfd) == 0, "open_dir");
	must(os->open(dirfd, f->file.name, OS_OPEN_WRITE, 0, &fd) == 0, "open");
	must(os->truncate(fd, f->now_len) == 0, "truncate");
	must(os->sync(fd) == 0, "sync");
	(void)os->close(fd);
	(void)os->close(dirfd);
}

void
rot_apply(const struct rot_map *map)
{
	simos_restore(map->state);
	for (size_t i = 0; i < map->file_count; i++) {
		const struct rot_file *f = &map->files[i];
		size_t from = 0, to = f->now_len;

		if (f->now == NULL)
			continue;
		while (from < to && f->now[from] == f->bytes[from])
			from++;
		while (to > from && f->now[to - 1] == f->bytes[to - 1])
			to--;
		if (from < to)
			simos_poke(path_of(f->file.name), from, f->now + from,
			    to - from);
		if (f->now_len < f->len)
			cut_file(f);
	}
}

void
rot_describe(const struct rot_map *map, const struct rot_damage *damages,
    size_t count, char *buf, size_t len)
{
	size_t used = (size_t)snprintf(buf, len, "%s:", map->what);

	for (size_t i = 0; i < count && used < len; i++) {
		const struct rot_damage *d = &damages[i];

		used +=
		    (size_t)snprintf(buf + used, len - used, " %s %s %llu+%llu",
			rot_kind_name(d->kind), map->files[d->file].file.name,
			(unsigned long long)d->off, (unsigned long long)d->len);
		if ((d->kind == ROT_SWAP || d->kind == ROT_COPY ||
			d->kind == ROT_OTHER) &&
		    used < len)
			used += (size_t)snprintf(buf + used, len - used,
			    " (%s %llu)", map->files[d->other].file.name,
			    (unsigned long long)d->other_off);
	}
}
