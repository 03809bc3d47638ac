/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_verify.c - kvlog_verify() and kvlog_salvage() on a store of three
 * segments: every byte flipped in turn, files cut at every length, files
 * removed and exchanged, and all that beside a writer.
 */
#include "config.h"

#include "api.h"

#include "model.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP (TEST_IS_SANITIZED ? 5u : 1u) /* bytes */

#define DATA_OFF 4608u
#define OPS_MAX 400u

/* What was written, in order. */
struct op {
	char key[16];
	uint8_t value[300];
	size_t value_len;
	bool put;
	uint32_t segment;
	uint64_t off, len;
};

static struct op ops[OPS_MAX];
static size_t op_count;
static char *api_new; /* where salvage goes */

/* What verify says */

#define FOUND_MAX 64u

static struct {
	struct {
		enum kvlog_finding_kind kind;
		bool damage;
		char file[80];
		uint64_t off, len;
		char key[20];
		enum kvlog_older older;
	} all[FOUND_MAX];
	size_t count;
	struct kvlog_verify_report report;
	struct kvlog_error err;
} got;

static void
note(void *arg, const struct kvlog_finding *f)
{
	(void)arg;
	if (got.count == FOUND_MAX)
		return;
	got.all[got.count].kind = f->kind;
	got.all[got.count].damage = f->damage;
	(void)snprintf(got.all[got.count].file, 80, "%s", f->file);
	got.all[got.count].off = f->offset;
	got.all[got.count].len = f->length;
	got.all[got.count].older = f->older;
	memset(got.all[got.count].key, 0, 20);
	if (f->key != NULL)
		memcpy(got.all[got.count].key, f->key,
		    f->key_len < 19 ? f->key_len : 19);
	got.count++;
}

static struct kvlog_verify_options
begin_look(unsigned flags)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;

	memset(&got, 0, sizeof got);
	got.report.size = sizeof got.report;
	o.flags = flags;
	o.finding = note;
	o.timeout_ms = 0;
	return o;
}

static enum kvlog_status
verify(const char *path, unsigned flags)
{
	struct kvlog_verify_options o = begin_look(flags);

	return kvlog_verify(path, &o, &got.report, &got.err);
}

static enum kvlog_status
salvage(const char *path, unsigned flags)
{
	struct kvlog_verify_options o = begin_look(flags);

	return kvlog_salvage(path, api_new, &o, &got.report, &got.err);
}

static void
print_found(void)
{
	for (size_t i = 0; i < got.count; i++)
		fprintf(stderr, "  %s %s %s %" PRIu64 "+%" PRIu64 " %s\n",
		    got.all[i].damage ? "damage" : "note",
		    kvlog_finding_name(got.all[i].kind), got.all[i].file,
		    got.all[i].off, got.all[i].len, got.all[i].key);
}

static size_t
find_kind(enum kvlog_finding_kind kind)
{
	for (size_t i = 0; i < got.count; i++)
		if (got.all[i].kind == kind)
			return i;
	print_found();
	ck_abort_msg("nothing of kind %s", kvlog_finding_name(kind));
	return 0;
}

static bool
is_told(const char *file, uint64_t off)
{
	for (size_t i = 0; i < got.count; i++)
		if (strcmp(got.all[i].file, file) == 0 &&
		    off >= got.all[i].off &&
		    off < got.all[i].off + got.all[i].len)
			return true;
	return false;
}

/* The store */

static struct op *
new_op(const char *key, bool put, size_t value_len)
{
	struct op *op = &ops[op_count];

	ck_assert_uint_lt(op_count, OPS_MAX);
	memset(op, 0, sizeof *op);
	(void)snprintf(op->key, sizeof op->key, "%s", key);
	op->put = put;
	op->value_len = value_len;
	memset(op->value, (int)(op_count % 255 + 1), value_len);
	op->len = api_record_size(strlen(key), value_len);
	op_count++;
	return op;
}

static void
place_op(struct op *op, const struct kvlog_receipt *receipt, uint64_t off)
{
	op->segment = receipt->segment;
	op->off = off;
}

static void
put_one(struct kvlog *db, const char *key, size_t value_len)
{
	struct op *op = new_op(key, true, value_len);
	struct kvlog_receipt receipt;

	ck_assert_int_eq(kvlog_put(db, op->key, strlen(op->key), op->value,
			     op->value_len, NULL, &receipt),
	    KVLOG_OK);
	place_op(op, &receipt, receipt.offset);
}

static void
delete_one(struct kvlog *db, const char *key)
{
	struct op *op = new_op(key, false, 0);
	struct kvlog_receipt receipt;

	ck_assert_int_eq(
	    kvlog_delete(db, key, strlen(key), NULL, &receipt), KVLOG_OK);
	place_op(op, &receipt, receipt.offset);
}

static void
put_batch(struct kvlog *db, unsigned first)
{
	struct kvlog_op steps[3];
	struct op *mine[3];
	struct kvlog_receipt receipt;
	uint64_t off;

	memset(steps, 0, sizeof steps);
	for (unsigned i = 0; i < 3; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key%02u", first + i);
		mine[i] = new_op(key, true, 33 + i);
		steps[i].type = KVLOG_OP_PUT;
		steps[i].key = mine[i]->key;
		steps[i].key_len = strlen(mine[i]->key);
		steps[i].value = mine[i]->value;
		steps[i].value_len = mine[i]->value_len;
	}
	ck_assert_int_eq(
	    kvlog_apply(db, steps, 3, NULL, &receipt, NULL), KVLOG_OK);
	off = receipt.offset;
	for (unsigned i = 0; i < 3; i++) {
		place_op(mine[i], &receipt, off);
		off += mine[i]->len;
	}
}

/* Three segments and a part, twenty keys, all written several times. */
static void
make_store(void)
{
	struct kvlog *db = api_open(api_store, KVLOG_OPEN_CREATE);

	op_count = 0;
	for (unsigned i = 0; op_count == 0 || ops[op_count - 1].segment < 4;
	     i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "key%02u", i * 7 % 20);
		if (i % 11 == 10)
			delete_one(db, ops[op_count - 3].key);
		else if (i % 13 == 12)
			put_batch(db, i % 17);
		else
			put_one(db, key, 20 + i * 37 % 200);
	}
	api_close(db);
}

/* The store's content without the records that lost() names. */
typedef bool lost_fn(const struct op *op);

static void
replay(struct model *model, lost_fn *lost)
{
	for (size_t i = 0; i < op_count; i++) {
		const struct op *op = &ops[i];

		if (lost != NULL && lost(op))
			continue;
		if (op->put)
			model_put(model, op->key, strlen(op->key), op->value,
			    op->value_len, MODEL_ANY_SEQ);
		else
			(void)model_delete(model, op->key, strlen(op->key));
	}
}

/* The store at api_new is what is left without lost(); it is removed. */
static void
expect_saved(lost_fn *lost, const char *what)
{
	struct model wanted = {0}, found = {0};
	char why[MODEL_WHY_LEN];
	struct kvlog *db = api_open(api_new, KVLOG_OPEN_READONLY);
	struct tree empty = {NULL, 0};

	replay(&wanted, lost);
	ck_assert_msg(model_read(&found, db, why), "%s: %s", what, why);
	if (!model_equal(&wanted, &found)) {
		model_explain(&wanted, &found, why);
		print_found();
		ck_abort_msg("%s: %s", what, why);
	}
	model_fini(&wanted);
	model_fini(&found);
	api_close(db);
	tree_write(api_new, &empty);
}

/* A copy at api_base/copy, whose control page is of another file. */
static char *
copy_store(void)
{
	struct tree tree;
	char *copy = files_path(api_base, "copy");

	tree_read(api_store, &tree);
	tree_write(copy, &tree);
	tree_fini(&tree);
	return copy;
}

static void
setup(void)
{
	api_setup();
	api_new = files_path(api_base, "new");
	make_store();
}

static void
teardown(void)
{
	free(api_new);
	api_teardown();
}

/* Flips */

static uint32_t
segment_of(const char *file)
{
	return strstr(file, ".seg") != NULL ? (uint32_t)strtoul(file, NULL, 10)
					    : 0;
}

static uint64_t
records_end(uint32_t segment)
{
	uint64_t end = DATA_OFF;

	for (size_t i = 0; i < op_count; i++)
		if (ops[i].segment == segment)
			end = ops[i].off + ops[i].len;
	return end;
}

/*
 * Bytes that mean nothing: the control page (which belongs to running
 * processes), space kept, and what lies behind the end of a sealed segment,
 * where leftovers are legal.
 */
static bool
means_nothing(const char *file, uint64_t off)
{
	uint32_t segment = segment_of(file);

	if (strcmp(file, "kvlog.lock") == 0)
		return off < 4096;
	if (strncmp(file, "reserve", 7) == 0 || strcmp(file, "spare") == 0)
		return true;
	return segment > 0 && segment < 4 && off >= records_end(segment);
}

static void
flip_all(const char *store, unsigned step)
{
	struct tree tree;
	unsigned told = 0, silent = 0;

	tree_read(store, &tree);
	for (size_t i = 0; i < tree.count; i++) {
		const char *name = tree.files[i].name;
		char *path = files_path(store, name);

		for (size_t off = 0; off < tree.files[i].len; off += step) {
			unsigned bit = (unsigned)(off % 8);
			enum kvlog_status st;

			if (strcmp(name, "kvlog.lock") == 0 && off < 4096)
				continue;
			files_flip(path, off, bit);
			st = verify(store, 0);
			if (st != KVLOG_OK && st != KVLOG_CORRUPT)
				ck_abort_msg(
				    "%s at %zu: %s", name, off, got.err.text);
			if (means_nothing(name, off)) {
				silent++;
				ck_assert_int_eq(st, KVLOG_OK);
			} else if (!is_told(name, off)) {
				print_found();
				ck_abort_msg(
				    "%s at %zu is not told", name, off);
			} else {
				told++;
			}
			/* Nobody may miss damage to data. */
			if (segment_of(name) > 0 && off >= DATA_OFF &&
			    off < records_end(segment_of(name)))
				ck_assert_int_eq(st, KVLOG_CORRUPT);
			files_flip(path, off, bit);
		}
		free(path);
	}
	ck_assert_int_eq(verify(store, 0), KVLOG_OK);
	ck_assert_uint_eq(got.report.damage_count, 0);
	ck_assert_uint_gt(told, 20000 / step);
	ck_assert_uint_gt(silent, 100 / step);
	tree_fini(&tree);
}

START_TEST(every_flipped_byte_is_told)
{
	flip_all(api_store, STEP); /* whose page is believed */
}
END_TEST

START_TEST(every_flipped_byte_of_a_copy_is_told)
{
	char *copy = copy_store();

	flip_all(copy, 5 * STEP);
	free(copy);
}
END_TEST

/* Salvage */

static uint32_t hit_segment;
static uint64_t hit_off;

static bool
is_hit(const struct op *op)
{
	return op->segment == hit_segment && hit_off >= op->off &&
	       hit_off < op->off + op->len;
}

/* Padding is not part of a record's sums. */
static bool
is_hit_not_padding(const struct op *op)
{
	return is_hit(op) &&
	       hit_off < op->off + 28 + strlen(op->key) + op->value_len;
}

START_TEST(salvage_saves_all_but_the_flipped_record)
{
	char *copy = copy_store();
	uint64_t saved = 0;

	for (hit_segment = 1; hit_segment <= 4; hit_segment++) {
		char name[16], *path;

		(void)snprintf(name, sizeof name, "%08u.seg", hit_segment);
		path = files_path(copy, name);
		for (hit_off = hit_segment * 5; hit_off < 8192;
		     hit_off += 29 * STEP) {
			enum kvlog_status st;

			files_flip(path, (size_t)hit_off, 3);
			st = salvage(copy, 0);
			ck_assert_msg(st == KVLOG_OK || st == KVLOG_CORRUPT,
			    "%s at %" PRIu64 ": %s", name, hit_off,
			    got.err.text);
			expect_saved(is_hit_not_padding, name);
			files_flip(path, (size_t)hit_off, 3);
			saved++;
		}
		free(path);
	}
	ck_assert_uint_gt(saved, 1000 / STEP);
	free(copy);
}
END_TEST

static bool
is_cut(const struct op *op)
{
	return op->segment == hit_segment && op->off + op->len > hit_off;
}

START_TEST(a_file_cut_at_any_length_is_told_and_salvaged)
{
	char *copy = copy_store();

	for (hit_segment = 1; hit_segment <= 4; hit_segment++) {
		char name[16], *path;
		size_t len;
		uint8_t *bytes;

		(void)snprintf(name, sizeof name, "%08u.seg", hit_segment);
		path = files_path(copy, name);
		bytes = files_read(path, &len);
		for (hit_off = hit_segment; hit_off < len;
		     hit_off += 3 * STEP) {
			enum kvlog_status st;

			ck_assert_int_eq(truncate(path, (off_t)hit_off), 0);
			st = verify(copy, 0);
			if (st != KVLOG_CORRUPT) {
				print_found();
				ck_abort_msg("%s cut at %" PRIu64 ": %s", name,
				    hit_off, got.err.text);
			}
			if (hit_off % 61 < 3) {
				st = salvage(copy, 0);
				ck_assert_msg(
				    st == KVLOG_CORRUPT, "%s", got.err.text);
				expect_saved(is_cut, name);
			}
			files_write(path, bytes, len);
		}
		free(bytes);
		free(path);
	}
	ck_assert_int_eq(verify(copy, 0), KVLOG_OK);
	free(copy);
}
END_TEST

static bool
is_in_segment(const struct op *op)
{
	return op->segment == hit_segment;
}

/* What opening refuses: a missing segment, both copies of a header gone,
 * another store's segment. */
START_TEST(stores_that_do_not_open_are_salvaged)
{
	char *copy = copy_store(), *other = files_path(api_base, "other");
	struct kvlog *db = api_open(other, KVLOG_OPEN_CREATE);
	struct kvlog_options o = api_options(0);

	api_put(db, "alien", "value");
	api_close(db);
	for (hit_segment = 1; hit_segment <= 4; hit_segment++) {
		static const uint8_t zeros[512];
		struct tree tree;
		char name[16], *path, *alien;
		uint8_t *bytes;
		size_t len;

		(void)snprintf(name, sizeof name, "%08u.seg", hit_segment);
		path = files_path(copy, name);
		alien = files_path(other, "00000001.seg");
		tree_read(copy, &tree);

		ck_assert_int_eq(unlink(path), 0);
		if (hit_segment < 4) {
			ck_assert_int_eq(
			    kvlog_open(copy, &o, &db, NULL), KVLOG_CORRUPT);
			(void)salvage(copy, 0);
			(void)find_kind(KVLOG_FINDING_SEGMENT);
		} else {
			/* The note tells what was there. */
			(void)salvage(copy, 0);
			(void)find_kind(KVLOG_FINDING_END);
		}
		expect_saved(is_in_segment, "missing");

		bytes = files_read(alien, &len);
		files_write(path, bytes, len);
		free(bytes);
		ck_assert_int_eq(
		    kvlog_open(copy, &o, &db, NULL), KVLOG_CORRUPT);
		ck_assert_int_eq(salvage(copy, 0), KVLOG_CORRUPT);
		(void)find_kind(KVLOG_FINDING_FOREIGN);
		expect_saved(is_in_segment, "another store's");

		tree_write(copy, &tree);
		files_patch(path, 0, zeros, sizeof zeros);
		files_patch(path, 4096, zeros, sizeof zeros);
		ck_assert_int_eq(
		    kvlog_open(copy, &o, &db, NULL), KVLOG_CORRUPT);
		ck_assert_int_eq(salvage(copy, 0), KVLOG_CORRUPT);
		(void)find_kind(KVLOG_FINDING_HEADERS);
		expect_saved(NULL, "without headers");
		tree_write(copy, &tree);
		tree_fini(&tree);
		free(alien);
		free(path);
	}
	free(other);
	free(copy);
}
END_TEST

/* An op that no later one of its key replaces, in this segment. */
static const struct op *
newest_put(uint32_t segment, bool older)
{
	for (size_t i = op_count; i-- > 0;) {
		bool replaced = false, before = false;

		if (!ops[i].put || ops[i].segment != segment)
			continue;
		for (size_t k = 0; k < op_count; k++)
			if (strcmp(ops[k].key, ops[i].key) == 0) {
				replaced |= k > i;
				before |= k < i;
			}
		if (!replaced && before == older)
			return &ops[i];
	}
	return NULL;
}

static void
flip_op(const char *store, const struct op *op, uint64_t at)
{
	char name[16], *path;

	(void)snprintf(name, sizeof name, "%08u.seg", op->segment);
	path = files_path(store, name);
	files_flip(path, (size_t)(op->off + at), 0);
	free(path);
}

/* A value is lost: its key shows the older one, or with strict none. */
START_TEST(strict_hides_older_values)
{
	const struct op *op = newest_put(4, true);
	struct kvlog *db;

	ck_assert_ptr_nonnull(op);
	flip_op(api_store, op, 28 + strlen(op->key));
	ck_assert_int_eq(
	    salvage(api_store, KVLOG_SALVAGE_STRICT), KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.hidden_keys, 1);
	ck_assert_str_eq(got.all[find_kind(KVLOG_FINDING_VALUE)].key, op->key);
	ck_assert_int_eq(got.all[find_kind(KVLOG_FINDING_VALUE)].older,
	    KVLOG_OLDER_SURVIVES);
	db = api_open(api_new, KVLOG_OPEN_READONLY);
	api_expect(db, op->key, NULL);
	api_close(db);
}
END_TEST

static uint64_t batch_off;
static uint32_t batch_segment;

static bool
is_of_batch(const struct op *op)
{
	return op->segment == batch_segment && op->off >= batch_off &&
	       op->off < batch_off + 3 * op->len + 24 && op->value_len >= 33 &&
	       op->value_len <= 35;
}

START_TEST(strict_leaves_out_parts_of_batches)
{
	size_t i = 0;

	while (ops[i].value_len != 33 || ops[i + 1].value_len != 34 ||
	       ops[i + 2].value_len != 35)
		i++;
	batch_segment = ops[i].segment;
	batch_off = ops[i].off;
	hit_segment = ops[i + 1].segment;
	hit_off = ops[i + 1].off + 2; /* the header */
	flip_op(api_store, &ops[i + 1], 2);
	ck_assert_int_eq(salvage(api_store, 0), KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.single_records, 2);
	expect_saved(is_hit, "not strict");
	ck_assert_int_eq(
	    salvage(api_store, KVLOG_SALVAGE_STRICT), KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.single_records, 0);
	expect_saved(is_of_batch, "strict");
}
END_TEST

START_TEST(a_store_without_damage_is_copied)
{
	struct kvlog_verify_options o = KVLOG_VERIFY_OPTIONS_INIT;

	ck_assert_int_eq(salvage(api_store, 0), KVLOG_OK);
	ck_assert_uint_eq(got.report.saved_records, op_count);
	expect_saved(NULL, "copy");
	/* Not into what is there. */
	ck_assert_int_eq(kvlog_salvage(api_store, api_store, NULL, NULL, NULL),
	    KVLOG_CONFLICT);
	ck_assert_int_eq(kvlog_salvage(api_new, api_store, NULL, NULL, NULL),
	    KVLOG_CONFLICT);
	o.size = 1;
	ck_assert_int_eq(kvlog_verify(api_store, &o, NULL, NULL), KVLOG_INVAL);
	o.size = sizeof o;
	o.flags = 0x80;
	ck_assert_int_eq(kvlog_verify(api_store, &o, NULL, NULL), KVLOG_INVAL);
	o.flags = KVLOG_VERIFY_QUICK | KVLOG_VERIFY_REBUILD_HINTS;
	ck_assert_int_eq(kvlog_verify(api_store, &o, NULL, NULL), KVLOG_INVAL);
	o.flags = KVLOG_VERIFY_QUICK;
	ck_assert_int_eq(
	    kvlog_salvage(api_store, api_new, &o, NULL, NULL), KVLOG_INVAL);
	ck_assert_int_eq(
	    kvlog_verify("/nowhere/at/all", NULL, NULL, NULL), KVLOG_NOSTORE);
	ck_assert_int_eq(kvlog_verify(NULL, NULL, NULL, NULL), KVLOG_INVAL);
	got.report.size = 3;
	ck_assert_int_eq(
	    kvlog_verify(api_store, NULL, &got.report, NULL), KVLOG_INVAL);
}
END_TEST

/* Hints */

static size_t
hint_files(const char *store, char name[80])
{
	struct tree tree;
	size_t count = 0;

	tree_read(store, &tree);
	for (size_t i = 0; i < tree.count; i++)
		if (strstr(tree.files[i].name, ".hint") != NULL) {
			count++;
			(void)snprintf(name, 80, "%s", tree.files[i].name);
		}
	tree_fini(&tree);
	return count;
}

/* The header of a record is lost; a hint still knows whose it was. */
START_TEST(hints_name_the_keys_of_lost_records)
{
	bool older = _i == 0;
	const struct op *op = NULL;
	size_t at;

	for (uint32_t s = 3; s >= 1 && op == NULL; s--)
		op = newest_put(s, older);
	if (op == NULL)
		return; /* of this kind there is none */
	flip_op(api_store, op, 9);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_CORRUPT);
	at = find_kind(KVLOG_FINDING_KEY);
	ck_assert_str_eq(got.all[at].key, older ? op->key : "");
	ck_assert_uint_eq(got.all[at].off, op->off);
	ck_assert_int_eq(
	    got.all[at].older, older ? KVLOG_OLDER_SURVIVES : KVLOG_OLDER_NONE);
	ck_assert_uint_eq(got.report.damage_count, 1);
}
END_TEST

START_TEST(hints_are_rebuilt)
{
	char name[80] = "", *path, *own;
	size_t count = hint_files(api_store, name), len;
	uint8_t *bytes;

	ck_assert_uint_gt(count, 0);
	path = files_path(api_store, name);
	bytes = files_read(path, &len);
	switch (_i) {
	case 0: /* damaged */
		files_flip(path, len - 100, 1);
		ck_assert_int_eq(verify(api_store, 0), KVLOG_CORRUPT);
		(void)find_kind(KVLOG_FINDING_HINT);
		break;
	case 1: /* cut off */
		files_write(path, bytes, 4096);
		ck_assert_int_eq(verify(api_store, 0), KVLOG_CORRUPT);
		break;
	case 2: /* missing */
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
		break;
	default: /* another store's */
		own = api_store;
		api_store = files_path(api_base, "other");
		make_store();
		(void)hint_files(api_store, name);
		free(path);
		path = files_path(api_store, name);
		free(bytes);
		bytes = files_read(path, &len);
		free(api_store);
		api_store = own;
		free(path);
		path =
		    files_path(api_store, "00000001-00000099.4608-9200.hint");
		files_write(path, bytes, len);
		ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
		(void)find_kind(KVLOG_FINDING_STALE_HINT);
		break;
	}
	ck_assert_int_eq(
	    verify(api_store, KVLOG_VERIFY_REBUILD_HINTS), KVLOG_OK);
	ck_assert_uint_eq(got.report.removed_hints, _i == 2 ? 0 : 1);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
	for (size_t i = 0; i < got.count; i++)
		ck_assert_int_eq(got.all[i].kind, KVLOG_FINDING_SPARE);
	ck_assert_uint_gt(hint_files(api_store, name), 0);
	free(bytes);
	free(path);
}
END_TEST

/* ... and also that nobody misses it. */
START_TEST(hints_tell_when_lost_records_had_been_replaced)
{
	size_t i = 0, k = 0;

	/* One that is written again in the same segment. */
	for (; k == 0; i++)
		for (size_t n = i + 1;
		     n < op_count && k == 0 && ops[n].segment == ops[i].segment;
		     n++)
			if (strcmp(ops[n].key, ops[i].key) == 0)
				k = i + 1;
	flip_op(api_store, &ops[k - 1], 9);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_CORRUPT);
	ck_assert_int_eq(got.all[find_kind(KVLOG_FINDING_RECORD)].older,
	    KVLOG_OLDER_REPLACED);
	for (size_t n = 0; n < got.count; n++)
		ck_assert_int_ne(got.all[n].kind, KVLOG_FINDING_KEY);
}
END_TEST

static uint32_t
crc32c(const uint8_t *p, size_t len)
{
	uint32_t reg = UINT32_MAX;

	while (len-- > 0) {
		reg ^= *p++;
		for (unsigned bit = 0; bit < 8; bit++)
			reg = (reg >> 1) ^
			      ((reg & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~reg;
}

/* Put a block back with a sum that is right. */
static void
patch_block(const char *path, uint8_t block[4096])
{
	uint32_t sum = crc32c(block + 4, 4092);

	for (unsigned k = 0; k < 4; k++)
		block[k] = (uint8_t)(sum >> 8 * k);
	files_patch(path, 4096, block, 4096);
}

static uint64_t
little(const uint8_t *p, unsigned len)
{
	uint64_t n = 0;

	while (len-- > 0)
		n = n << 8 | p[len];
	return n;
}

/* The op at a place, and an older one of the same key, type and segment. */
static const struct op *
older_op(uint32_t segment, uint64_t off)
{
	for (size_t i = 0; i < op_count; i++) {
		if (ops[i].segment != segment || ops[i].off != off)
			continue;
		while (i-- > 0 && ops[i].segment == segment) {
			size_t k = 0;

			while (ops[k].segment != segment || ops[k].off != off)
				k++;
			if (strcmp(ops[i].key, ops[k].key) == 0 &&
			    ops[i].put == ops[k].put)
				return &ops[i];
		}
		return NULL;
	}
	return NULL;
}

/* Sound in all but that a newer record is there. */
START_TEST(an_entry_of_an_older_record_is_told)
{
	char name[80] = "", *path;
	uint8_t *bytes, block[4096];
	size_t len, size, count, tried = 0;

	ck_assert_uint_gt(hint_files(api_store, name), 0);
	path = files_path(api_store, name);
	bytes = files_read(path, &len);
	size = 5u + bytes[62];
	count = bytes[4096 + 8] | (size_t)bytes[4096 + 9] << 8;
	for (size_t i = 0; i < count; i++) {
		uint8_t *p = block + 16 + i * size + 5;
		unsigned off_bits = bytes[60];
		uint64_t mask = ((UINT64_C(1) << off_bits) - 1) << 4, loc;
		const struct op *older;

		memcpy(block, bytes + 4096, sizeof block);
		loc = little(p, bytes[62]);
		older =
		    older_op((uint32_t)little(
				 bytes + 128 + 64 * (loc >> (4 + off_bits)), 4),
			(loc & mask) >> 4 << 3);
		if (older == NULL)
			continue;
		loc = (loc & ~mask) | older->off >> 3 << 4;
		for (unsigned k = 0; k < bytes[62]; k++)
			p[k] = (uint8_t)(loc >> 8 * k);
		patch_block(path, block);
		ck_assert_int_eq(verify(api_store, 0), KVLOG_CORRUPT);
		(void)find_kind(KVLOG_FINDING_HINT);
		tried++;
	}
	ck_assert_uint_gt(tried, 3);
	free(bytes);
	free(path);
}
END_TEST

/* A hint whose sums are right and whose entries are not: each byte of them
 * matters, and so does their order. */
START_TEST(wrong_entries_of_hints_are_told)
{
	char name[80] = "", *path;
	uint8_t *bytes, block[4096];
	size_t len, size, count, tried = 0;

	ck_assert_uint_gt(hint_files(api_store, name), 0);
	path = files_path(api_store, name);
	bytes = files_read(path, &len);
	size = 5u + bytes[62]; /* hash and location */
	count = bytes[4096 + 8] | (size_t)bytes[4096 + 9] << 8;
	ck_assert_uint_gt(count, 5);
	/* The location's highest byte may have bits that mean nothing. */
	for (size_t i = 0; i < count * size; i++) {
		if (i % size == size - 1)
			continue;
		memcpy(block, bytes + 4096, sizeof block);
		block[16 + i] ^= (uint8_t)(1u << (i % 8));
		if (i % size == 0 && i > 0) { /* exchange two entries */
			memcpy(
			    block + 16 + i - size, bytes + 4096 + 16 + i, size);
			memcpy(
			    block + 16 + i, bytes + 4096 + 16 + i - size, size);
		}
		patch_block(path, block);
		if (verify(api_store, 0) != KVLOG_CORRUPT) {
			print_found();
			ck_abort_msg(
			    "byte %zu of entry %zu", i % size, i / size);
		}
		(void)find_kind(KVLOG_FINDING_HINT);
		ck_assert_uint_eq(got.report.damage_count, 1);
		tried++;
	}
	ck_assert_uint_gt(tried, 40);
	files_patch(path, 4096, bytes + 4096, 4096);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
	free(bytes);
	free(path);
}
END_TEST

START_TEST(hints_are_not_rebuilt_over_damage)
{
	flip_op(api_store, &ops[3], 9);
	ck_assert_int_eq(
	    verify(api_store, KVLOG_VERIFY_REBUILD_HINTS), KVLOG_CORRUPT);
	ck_assert_uint_eq(got.report.removed_hints, 0);
}
END_TEST

/* Beside a writer */

static void
must(enum kvlog_status st, const struct kvlog_error *err)
{
	if (st == KVLOG_OK)
		return;
	fprintf(stderr, "writer: %s %s\n", kvlog_status_text(st), err->text);
	_exit(1);
}

static void
write_for_ever(int to_parent)
{
	struct kvlog_error err = {0};
	struct kvlog_write how = KVLOG_WRITE_INIT;
	struct kvlog *db = api_open(api_store, 0);

	how.err = &err;
	for (unsigned i = 0;; i++) {
		char key[16], value[200];

		(void)snprintf(key, sizeof key, "live%u", i % 97);
		memset(value, 'a' + (int)(i % 26), sizeof value);
		must(
		    kvlog_put(db, key, strlen(key), value, i % 200, &how, NULL),
		    &err);
		if (i % 50 == 0)
			must(kvlog_sync(db), &err);
		if (i == 10 && write(to_parent, "x", 1) != 1)
			_exit(1);
		if (i % 4 == 0)
			(void)usleep(1000);
	}
}

START_TEST(a_store_in_use_is_clean)
{
	int fds[2];
	char byte;
	pid_t pid;
	uint64_t last_seq = 0;
	unsigned grown = 0;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0)
		write_for_ever(fds[1]);
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	for (unsigned i = 0; i < 100 / STEP; i++) {
		enum kvlog_status st =
		    verify(api_store, i % 5 == 0 ? KVLOG_VERIFY_QUICK : 0);

		if (st != KVLOG_OK) {
			print_found();
			ck_abort_msg("look %u: %s", i, got.err.text);
		}
		ck_assert_msg(got.report.live, "look %u, pid %d", i,
		    (int)waitpid(pid, NULL, WNOHANG));
		ck_assert(!got.report.torn);
		grown += got.report.last_seq > last_seq;
		last_seq = got.report.last_seq;
	}
	ck_assert_uint_gt(grown, 10 / STEP);
	ck_assert_int_eq(salvage(api_store, 0), KVLOG_OK);
	ck_assert_int_eq(verify(api_new, 0), KVLOG_OK);
	/* Killed in the midst of it. */
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
	ck_assert(!got.report.live);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(the_writer_itself_may_look)
{
	struct kvlog *db = api_open(api_store, 0);

	api_put(db, "own", "value");
	ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
	ck_assert(got.report.live);
	ck_assert_uint_eq(got.report.last_seq, kvlog_last_seq(db));
	ck_assert_int_eq(
	    verify(api_store, KVLOG_VERIFY_REBUILD_HINTS), KVLOG_BUSY);
	api_put(db, "own", "other");
	api_close(db);
	ck_assert_int_eq(verify(api_store, 0), KVLOG_OK);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("verify");
	TCase *tc = tcase_create("verify");

	/* Thousands of stores are made and synced: in memory, if there is
	 * some. */
	if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 400);
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, every_flipped_byte_is_told);
	tcase_add_test(tc, every_flipped_byte_of_a_copy_is_told);
	tcase_add_test(tc, salvage_saves_all_but_the_flipped_record);
	tcase_add_test(tc, a_file_cut_at_any_length_is_told_and_salvaged);
	tcase_add_test(tc, stores_that_do_not_open_are_salvaged);
	tcase_add_test(tc, strict_hides_older_values);
	tcase_add_test(tc, strict_leaves_out_parts_of_batches);
	tcase_add_test(tc, a_store_without_damage_is_copied);
	tcase_add_loop_test(tc, hints_name_the_keys_of_lost_records, 0, 2);
	tcase_add_test(tc, hints_tell_when_lost_records_had_been_replaced);
	tcase_add_loop_test(tc, hints_are_rebuilt, 0, 4);
	tcase_add_test(tc, wrong_entries_of_hints_are_told);
	tcase_add_test(tc, an_entry_of_an_older_record_is_told);
	tcase_add_test(tc, hints_are_not_rebuilt_over_damage);
	tcase_add_test(tc, a_store_in_use_is_clean);
	tcase_add_test(tc, the_writer_itself_may_look);
	return test_main(suite);
}
