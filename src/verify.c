/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.c - the verdict on what the walk has found, and telling it.
 *
 * With A, the greatest number that anything valid attests as durable, each
 * suspect place is judged in the order of the log.  s is the last whole
 * commit before it, n the first one that is valid behind it:
 *
 *     A <= s        the torn end: the log ends here, nothing was promised
 *     A >= n - 1    damage; the log goes on at n
 *     otherwise     damage; the log ends here
 *
 * What lies behind the end of the log is no part of it: it is told as
 * leftovers, and nothing in it is damage.  If the control page is believed,
 * everything up to its position counts as attested.
 */
#include "config.h"

#include "verify.h"

#include "bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TRIES 200 /* until a listing beside a writer holds still */
#define TRY_PAUSE_NS UINT64_C(2000000)
#define LOCK_SIZE 8192u
#define NOTE_OFF 4096u
#define NOTE_SIZE 64u

/* Words for programs, sentences for people. */
#define KINDS(X)                                                               \
	X(RECORD, "record",                                                    \
	    "bytes are no record; what stood here is lost: salvage the store " \
	    "or restore it from a backup")                                     \
	X(VALUE, "value",                                                      \
	    "the value is damaged; put the key again, or restore it from a "   \
	    "backup")                                                          \
	X(KEY, "key", "the record of this key is lost by the damage above")    \
	X(COMMIT, "commit",                                                    \
	    "parts of a batch are missing; its other records count")           \
	X(MISSING, "missing",                                                  \
	    "commits are missing here: the bytes are whole, but of other "     \
	    "commits")                                                         \
	X(END, "end",                                                          \
	    "the log ends here, before commits that were durable; salvage "    \
	    "saves whole records behind it")                                   \
	X(UNREADABLE, "unreadable",                                            \
	    "the medium cannot be read here; copy the store to a good disk, "  \
	    "then salvage it")                                                 \
	X(SIZE, "size",                                                        \
	    "the file does not have the size that its header says")            \
	X(HEADER, "header",                                                    \
	    "one of the two copies of the header is damaged; the other "       \
	    "serves")                                                          \
	X(HEADERS, "headers",                                                  \
	    "both copies of the header are damaged and no record can be "      \
	    "read; restore the file from a backup, or salvage the store")      \
	X(LINK, "link",                                                        \
	    "the link to the segment before is damaged; nothing is lost by "   \
	    "that alone")                                                      \
	X(ZEROS, "zeros",                                                      \
	    "bytes that should be zero are not; no data is lost")              \
	X(CONTENT, "content", "checksums are right, what they cover is not")   \
	X(SEGMENT, "segment",                                                  \
	    "segments are missing; restore the files from a backup, or "       \
	    "salvage the store")                                               \
	X(SET, "set",                                                          \
	    "parts of this output are missing; restore the files from a "      \
	    "backup, or salvage the store")                                    \
	X(FOREIGN, "foreign",                                                  \
	    "the file belongs to another store; move it out of the "           \
	    "directory and put the right one in its place")                    \
	X(HISTORY, "history",                                                  \
	    "the file does not follow the one before: one of them is of "      \
	    "another copy of the store; put the right one in its place")       \
	X(NAME, "name",                                                        \
	    "the file is another segment's by its header; rename it, or put "  \
	    "the right one in its place")                                      \
	X(FILE, "file",                                                        \
	    "a file of records should be here, and something "                 \
	    "else is; restore it from a backup")                               \
	X(HINT, "hint",                                                        \
	    "the hint file is damaged or wrong; no data is lost: remove it, "  \
	    "or rebuild the hints")                                            \
	X(TORN, "torn",                                                        \
	    "the end that a crash has torn; nothing here was promised, and "   \
	    "the next writer cuts it off")                                     \
	X(STALE_HINT, "stale-hint", "the hint file is of no use any more")     \
	X(LOCK, "lock",                                                        \
	    "the lock file is not as it should be; a writer makes "            \
	    "it anew")                                                         \
	X(LEFTOVER, "leftover",                                                \
	    "left over from work that did not end; the next writer removes "   \
	    "it")                                                              \
	X(STRANGER, "stranger", "not a file of the store")                     \
	X(SPARE, "spare", "space kept for what comes")

static const struct {
	const char *name, *text;
} kinds[] = {
#define KIND(id, name, text) [KVLOG_FINDING_##id] = {name, text},
    KINDS(KIND)
#undef KIND
};

const char *
verify_kind_name(enum kvlog_finding_kind kind)
{
	if ((size_t)kind >= sizeof kinds / sizeof kinds[0] ||
	    kinds[kind].name == NULL)
		return "unknown";
	return kinds[kind].name;
}

static const char *
text_of(const struct place *p)
{
	return p->text != NULL ? p->text : kinds[p->kind].text;
}

bool
verify_progress(struct verify *v, uint64_t bytes)
{
	v->done += bytes;
	v->report->byte_count += bytes;
	v->total = max_u64(v->total, v->done);
	if (v->options->progress != NULL && !v->cancelled)
		v->cancelled =
		    !v->options->progress(v->options->arg, v->done, v->total);
	return !v->cancelled;
}

/* Verdict */

static bool
is_behind(size_t live, uint64_t off, size_t end_live, uint64_t end_off)
{
	return live > end_live || (live == end_live && off >= end_off);
}

/* Take back what was found behind the end; but what ends the log itself, and
 * what is wrong with other files. */
static void
drop_behind(struct verify *v, const struct place *ender)
{
	for (size_t n = 0; n < v->place_count; n++) {
		struct place *p = &v->places[n];

		if (p != ender && !p->stays && p->live != VERIFY_NO_FILE &&
		    is_behind(p->live, p->off, v->end_live, v->end_off))
			p->dropped = true;
	}
}

/* The log ends at p. */
static void
end_log(struct verify *v, struct place *p, uint64_t s)
{
	v->ended = true;
	v->end_live = p->end_live;
	v->end_off = p->end_off;
	v->s = s;
	drop_behind(v, p);
}

static void
end_torn(struct verify *v, struct place *p, uint64_t s)
{
	const struct verify_file *f;

	end_log(v, p, s);
	f = v->live[v->end_live];
	if (p->rule == RULE_GAP) {
		p->dropped = true; /* the log ends before it, by itself */
		return;
	}
	v->report->torn = true;
	p->kind = KVLOG_FINDING_TORN;
	p->damage = false;
	p->text = NULL;
	p->first_seq = p->last_seq = 0;
	p->live = v->end_live;
	p->segment = f->id.last;
	p->off = v->end_off;
	p->len = f->last > p->off ? f->last - p->off : 0;
}

/* Commits that were durable are missing where the log ends. */
static void
add_lost_end(struct verify *v, uint64_t reached)
{
	struct place *p =
	    verify_add(v, KVLOG_FINDING_END, v->end_live, v->end_off, 0);

	if (p == NULL)
		return;
	p->first_seq = reached + 1;
	p->last_seq = v->attested;
}

/* Whether what is known of A settles that p is no end of the log. */
static bool
is_settled(struct place *p, uint64_t attested, uint64_t s)
{
	switch (p->rule) {
	case RULE_FACT:
		return true;
	case RULE_SOFT:
	case RULE_FRAGMENT:
		return attested >= p->first_seq;
	case RULE_LINK:
		return attested > s && p->next == s;
	case RULE_BAD:
	case RULE_GAP:
		break;
	}
	return false;
}

/* A link is damaged, and commits before it are missing. */
static void
add_loss_to_link(struct place *p, uint64_t s)
{
	if (p->next == VERIFY_NONE || p->next == s)
		return;
	p->first_seq = s + 1;
	p->last_seq = p->next;
	p->text = "the link to the segment before is damaged, and commits "
		  "before it are missing";
}

/* Whether some bytes from place n on could not be read.  They may be readable
 * tomorrow, and attest what stands before them. */
static bool
is_unreadable_from(const struct verify *v, size_t n)
{
	for (; n < v->place_count; n++)
		if (v->places[n].unreadable)
			return true;
	return false;
}

static void
judge(struct verify *v)
{
	const bool quick = (v->options->flags & KVLOG_VERIFY_QUICK) != 0;
	const uint64_t attested = v->warm ? VERIFY_NONE : v->attested;
	/* Up to where the log goes on: all is one place until then. */
	uint64_t raised = 0, bridged = VERIFY_NONE;

	for (size_t n = 0; n < v->place_count; n++) {
		struct place *p = &v->places[n];
		uint64_t s = max_u64(p->s, raised);
		uint64_t reached = max_u64(p->reached, raised);

		if (is_settled(p, attested, s))
			continue;
		if (attested <= reached &&
		    !(p->next == bridged && reached == bridged &&
			p->rule != RULE_GAP)) {
			if (quick) {
				p->damage = false;
				p->text = "a quick look cannot tell whether "
					  "this is damage or the torn end of "
					  "a crash; check in full";
				continue;
			}
			if (is_unreadable_from(v, n)) {
				end_log(v, p, s); /* no torn end */
				return;
			}
			end_torn(v, p, s);
			return;
		}
		p->stays = true; /* whatever comes: A is behind it */
		if (p->rule == RULE_LINK)
			add_loss_to_link(p, s);
		if (p->rule == RULE_GAP || (v->warm && p->next == VERIFY_NONE))
			continue;
		if (p->next == VERIFY_NONE || attested < p->next) {
			end_log(v, p, s);
			add_lost_end(v, reached);
			return;
		}
		bridged = p->next;
		raised = max_u64(raised, p->next);
	}
	v->s = max_u64(v->s, raised);
}

/* Where the log ends if no place has ended it. */
static void
judge_end(struct verify *v)
{
	const uint64_t reached = max_u64(v->s, v->base);
	size_t i = v->live_count;

	while (i > 0 && v->live[i - 1]->seg == NULL)
		i--;
	v->end_live = i > 0 ? i - 1 : VERIFY_NO_FILE;
	if (i == 0)
		return;
	v->end_off = v->live[i - 1]->end;
	if (v->warm)
		v->end_off = control_pos_off(v->state.position);
	else if (v->attested > reached &&
		 (v->options->flags & KVLOG_VERIFY_QUICK) == 0)
		add_lost_end(v, reached);
}

bool
verify_is_beyond(const struct verify *v, size_t live, uint64_t off)
{
	return v->ended && (live > v->end_live ||
			       (live == v->end_live && off >= v->end_off));
}

bool
verify_in_fragment(
    const struct verify *v, size_t *next, size_t live, uint64_t off)
{
	for (; *next < v->place_count; (*next)++) {
		const struct place *p = &v->places[*next];

		if (p->rule != RULE_FRAGMENT || p->live < live ||
		    (p->live == live && p->off + p->len <= off))
			continue;
		return p->live == live && p->off <= off;
	}
	return false;
}

/* The live file that has the segment of this number, as far as the log goes;
 * VERIFY_NO_FILE if there is none. */
static size_t
find_number(const struct verify *v, uint32_t number)
{
	for (size_t i = 0; i < v->live_count && i <= v->end_live; i++)
		if (v->live[i]->id.first <= number &&
		    number <= v->live[i]->id.last)
			return i;
	return VERIFY_NO_FILE;
}

static bool
is_salt_of(const struct verify_file *f, uint64_t salt)
{
	return f->made_up ? sum_salt(salt) == f->seg->salt_sum
			  : salt == f->seg->header.salt;
}

/* Where the records of live file i end. */
static uint64_t
end_of(const struct verify *v, size_t i, uint64_t *ret_last_seq)
{
	const struct segment_link *link = verify_seal(v, i);

	*ret_last_seq = 0;
	if (i == v->end_live)
		return v->end_off;
	if (link == NULL)
		return v->live[i]->last;
	*ret_last_seq = link->prev_last_seq;
	return max_u64(link->prev_end, SEGMENT_DATA_OFF);
}

static void
add_missing_note(struct verify *v, size_t i, uint64_t end, const char *what,
    uint64_t last_seq)
{
	const struct control_note *note = &v->note;
	struct place *p;

	for (size_t n = 0; n < v->place_count; n++)
		if (v->places[n].kind == KVLOG_FINDING_END)
			return; /* that the log is too short is told */
	p = verify_add(v, KVLOG_FINDING_END, i, end, 0);
	if (p == NULL)
		return;
	if (last_seq != 0 && note->last_seq > last_seq) {
		p->first_seq = last_seq + 1;
		p->last_seq = note->last_seq;
	}
	snprintf(v->note_text, sizeof v->note_text,
	    "the lock file has noted a log up to offset %" PRIu64
	    " of segment %" PRIu32 ", %s: a file is of another copy of the "
	    "store, or was cut; put the right one in its place",
	    note->end, note->segment, what);
	p->text = v->note_text;
}

/*
 * The end note is a lower bound in place as well as in number: numbers alone
 * do not tell that a part of the log is of another copy, whose range of
 * numbers may be greater.
 */
static void
check_note(struct verify *v)
{
	const bool quick = (v->options->flags & KVLOG_VERIFY_QUICK) != 0;
	const struct verify_file *f;
	uint64_t end, last_seq;
	size_t i;

	if (!v->has_note || v->end_live == VERIFY_NO_FILE ||
	    (v->report->live && !v->warm))
		return;
	i = find_number(v, v->note.segment);
	if (i == VERIFY_NO_FILE) {
		add_missing_note(
		    v, v->end_live, v->end_off, "which is not there", 0);
		return;
	}
	f = v->live[i];
	if (f->seg == NULL || f->id.round != 0)
		return;
	end = end_of(v, i, &last_seq);
	if (!is_salt_of(f, v->note.salt))
		add_missing_note(
		    v, i, end, "and the segment here is another one", 0);
	else if (end < v->note.end && (!quick || verify_seal(v, i) != NULL ||
					  (v->warm && i == v->end_live)))
		add_missing_note(
		    v, i, end, "and it ends here, before that", last_seq);
}

/* Other files */

static void
add_other(struct verify *v, enum kvlog_finding_kind kind, const char *name,
    const char *text)
{
	struct place *p = verify_add(v, kind, VERIFY_NO_FILE, 0, 0);

	if (p == NULL)
		return;
	p->name = name;
	p->text = text;
}

static bool
has_irregular_lock(const struct verify *v)
{
	for (size_t i = 0; i < v->file_count; i++)
		if (v->files[i].file.kind == FILE_LOCK)
			return verify_is_irregular(v, DIR_LOCK_NAME);
	return false;
}

static void
add_lock(struct verify *v, uint64_t off, uint64_t len, const char *text)
{
	struct place *p =
	    verify_add(v, KVLOG_FINDING_LOCK, VERIFY_NO_FILE, off, len);

	if (p == NULL)
		return;
	p->name = DIR_LOCK_NAME;
	p->text = text;
}

/* The end note, and the bytes around it that nobody uses. */
static void
check_note_bytes(struct verify *v, const uint8_t *bytes)
{
	static const uint8_t zeros[NOTE_SIZE];
	uint64_t off = NOTE_OFF + NOTE_SIZE, end = LOCK_SIZE;

	if (!v->has_note && memcmp(bytes + NOTE_OFF, zeros, NOTE_SIZE) != 0)
		add_lock(v, NOTE_OFF, NOTE_SIZE,
		    "the note of the end is damaged or another store's; it "
		    "says nothing");
	while (off < end && bytes[off] == 0)
		off++;
	while (end > off && bytes[end - 1] == 0)
		end--;
	if (off < end)
		add_lock(
		    v, off, end - off, "bytes that should be zero are not");
}

static void
check_lock_file(struct verify *v)
{
	const uint8_t *bytes = v->control.map.addr;

	if (has_irregular_lock(v))
		add_lock(v, 0, 0,
		    "something else has the name of the lock file, so that "
		    "no writer can open the store; remove it, and a writer "
		    "makes it anew");
	else if (v->control.fd < 0)
		add_lock(v, 0, 0,
		    "the lock file is missing or cannot be read; a writer "
		    "makes it anew");
	else if (bytes == NULL)
		add_lock(v, 0, 0,
		    "the lock file is shorter than it should be; a writer "
		    "makes it whole");
	else
		check_note_bytes(v, bytes);
}

static void
tell_other_files(struct verify *v)
{
	for (size_t i = 0; i < v->file_count; i++) {
		const struct verify_file *f = &v->files[i];

		switch (f->file.kind) {
		case FILE_SEGMENT:
			if (f->fault == FAULT_FOREIGN && !f->live)
				add_other(v, KVLOG_FINDING_FOREIGN,
				    f->file.name, NULL);
			else if (f->fault == FAULT_NAME)
				add_other(
				    v, KVLOG_FINDING_NAME, f->file.name, NULL);
			else if (!f->live)
				add_other(v, KVLOG_FINDING_LEFTOVER,
				    f->file.name, NULL);
			break;
		case FILE_TMP:
			add_other(v, KVLOG_FINDING_LEFTOVER, f->file.name,
			    strcmp(f->file.name, DIR_DAMAGED_NAME) == 0
				? "segments of the store were damaged when "
				  "this backup of it was made"
				: NULL);
			break;
		case FILE_SPARE:
		case FILE_RESERVE:
			if (verify_is_irregular(v, f->file.name))
				add_other(v, KVLOG_FINDING_STRANGER,
				    f->file.name,
				    "this should be a file and is none, so "
				    "that writing may fail; remove it");
			else
				add_other(
				    v, KVLOG_FINDING_SPARE, f->file.name, NULL);
			break;
		case FILE_FOREIGN:
			add_other(
			    v, KVLOG_FINDING_STRANGER, f->file.name, NULL);
			break;
		case FILE_LOCK:
		case FILE_HINT:
			break;
		}
	}
	for (size_t i = v->end_live + 1; v->ended && i < v->live_count; i++)
		add_other(v, KVLOG_FINDING_LEFTOVER, v->live[i]->file.name,
		    "behind the end of the log; the next writer removes it, "
		    "salvage saves its records");
	check_lock_file(v);
}

/* The whole */

static void
fill_report(struct verify *v)
{
	struct kvlog_verify_report *r = v->report;

	memcpy(r->uuid, v->store.uuid, sizeof r->uuid);
	r->segment_count = v->live_count;
	r->last_seq = v->s;
	r->attested_seq = v->attested;
	if (v->end_live != VERIFY_NO_FILE) {
		r->end_segment = v->live[v->end_live]->id.last;
		r->end_offset = v->end_off;
	}
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];

		if (p->dropped || p->kind == 0)
			continue;
		if (p->damage) {
			r->damage_count++;
			r->damaged_bytes += p->len;
		} else {
			r->note_count++;
		}
	}
}

/* Forget what a look has found, for another one. */
static void
forget(struct verify *v)
{
	struct kvlog_verify_report *r = v->report;

	verify_close_hints(v);
	verify_unlist(v);
	for (size_t n = 0; n < v->place_count; n++)
		os->free(v->places[n].key);
	verify_forget_buckets(v);
	v->place_count = v->pending = 0;
	v->s = v->base = v->attested = 0;
	v->done = v->total = 0;
	v->has_last_key = v->ended = v->no_memory = false;
	r->record_count = r->commit_count = r->byte_count = 0;
	r->left_out_count = 0;
}

static enum kvlog_status
look(struct verify *v, bool last_try)
{
	enum kvlog_status st = verify_list(v);
	bool any = false;

	if (st == KVLOG_BUSY && last_try && v->live != NULL &&
	    v->live_count > 0)
		st = KVLOG_OK; /* a writer without a page to be believed */
	if (st != KVLOG_OK)
		return st;
	for (size_t i = 0; i < v->file_count; i++)
		any |= v->files[i].file.kind == FILE_SEGMENT;
	if (!any)
		return err_set(v->err, KVLOG_NOSTORE, 0, "%s has no segments",
		    v->dir.path);
	st = verify_open_hints(v);
	if (st == KVLOG_OK)
		st = verify_walk(v);
	if (st != KVLOG_OK)
		return st;
	judge(v);
	if (!v->ended)
		judge_end(v);
	verify_settle_buckets(v);
	check_note(v);
	tell_other_files(v);
	st = verify_check_hints(v);
	if (st == KVLOG_OK && v->no_memory)
		st = err_set(v->err, KVLOG_NOMEM, 0, "check %s", v->dir.path);
	return st;
}

static enum kvlog_status
say_busy(struct verify *v)
{
	return err_set(v->err, KVLOG_BUSY, 0,
	    "the files of %s change faster than they can be listed; try again",
	    v->dir.path);
}

enum kvlog_status
verify_init(struct verify *v, const char *path,
    const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err)
{
	enum kvlog_status st;

	memset(v, 0, sizeof *v);
	v->options = options;
	v->report = report;
	v->err = err;
	v->control.fd = v->dir.fd = -1;
	v->end_live = VERIFY_NO_FILE;
	st = dir_open(&v->dir, path, 0666, err);
	if (st != KVLOG_OK)
		return st;
	st = control_open(&v->control, &v->dir, false, err);
	if (st == KVLOG_NOMEM)
		return st;
	if (st != KVLOG_OK) {
		/* Something else has its name: nothing hangs on it. */
		memset(&v->control, 0, sizeof v->control);
		v->control.fd = -1;
	}
	for (unsigned i = 0;; i++) {
		st = look(v, i == TRIES);
		if (st != KVLOG_BUSY || i == TRIES)
			break;
		forget(v);
		os->sleep_ns(TRY_PAUSE_NS);
	}
	if (st == KVLOG_BUSY)
		return say_busy(v);
	if (st == KVLOG_CANCELLED)
		return err_set(err, st, 0, "cancelled");
	return st;
}

void
verify_fini(struct verify *v)
{
	struct kvlog_verify_report unused = {0};

	v->report = &unused;
	forget(v);
	for (size_t n = 0; n < v->wanted_count; n++)
		if (!v->wanted[n].of_value)
			os->free(v->wanted[n].key);
	os->free(v->wanted);
	os->free(v->places);
	os->free(v->last_key);
	control_close(&v->control);
	dir_close(&v->dir);
}

static void
tell(const struct verify *v, const struct place *p)
{
	struct kvlog_finding finding = {
	    .size = sizeof finding,
	    .kind = p->kind,
	    .damage = p->damage,
	    .segment = p->segment,
	    .file = p->live != VERIFY_NO_FILE ? v->live[p->live]->file.name
					      : p->name,
	    .offset = p->off,
	    .length = p->len,
	    .first_seq = p->first_seq,
	    .last_seq = p->last_seq,
	    .key = p->key,
	    .key_len = p->key_len,
	    .older = p->older,
	    .bucket_seq = p->bucket_seq,
	    .bucket_ordinal = p->bucket_ordinal,
	    .text = text_of(p),
	};
	const struct verify_bucket *bucket =
	    verify_find_bucket(v, p->bucket_seq, p->bucket_ordinal);

	if (bucket != NULL) {
		finding.bucket = bucket->name;
		finding.bucket_len = bucket->name_len;
	}
	if (p->kind == KVLOG_FINDING_SEGMENT)
		finding.file = ""; /* it is not there */
	v->options->finding(v->options->arg, &finding);
}

/* A key that the place told before concerns. */
static void
tell_key(const struct verify *v, const struct wanted *w)
{
	struct place p = {
	    .kind = KVLOG_FINDING_KEY,
	    .damage = true,
	    .live = w->live,
	    .segment = v->live[w->live]->id.last,
	    .off = w->off,
	    .key = w->key,
	    .key_len = w->key_len,
	    .bucket_seq = w->bucket_seq,
	    .bucket_ordinal = w->bucket_ordinal,
	    .older = w->older,
	};

	if (w->key == NULL)
		p.text = "a key is lost by the damage above; its name is not "
			 "known, as no other record of it is left";
	else if (w->older == KVLOG_OLDER_REPLACED)
		p.text = "the damage above was a record of this key that a "
			 "newer one has replaced";
	tell(v, &p);
}

enum kvlog_status
verify_tell(struct verify *v)
{
	const struct place *first = NULL;
	size_t w = 0;
	enum kvlog_status st = verify_keys(v);

	if (st == KVLOG_BUSY)
		return say_busy(v);
	if (st == KVLOG_OK && v->no_memory)
		st = err_set(v->err, KVLOG_NOMEM, 0, "check %s", v->dir.path);
	if (st != KVLOG_OK)
		return st;
	fill_report(v);
	for (size_t n = 0; n < v->place_count; n++) {
		const struct place *p = &v->places[n];

		if (p->dropped || p->kind == 0)
			continue;
		if (first == NULL && p->damage)
			first = p;
		if (v->options->finding == NULL)
			continue;
		tell(v, p);
		for (; w < v->wanted_count && v->wanted[w].place <= n; w++)
			if (!v->wanted[w].of_value)
				tell_key(v, &v->wanted[w]);
	}
	if (first == NULL)
		return KVLOG_OK;
	return err_set_at(v->err, KVLOG_CORRUPT, first->segment, first->off,
	    "%s is damaged; of %" PRIu64 " findings the first: %s", v->dir.path,
	    v->report->damage_count, text_of(first));
}

enum kvlog_status
verify_store(const char *path, const struct kvlog_verify_options *options,
    struct kvlog_verify_report *report, struct kvlog_error *err)
{
	struct verify v;
	enum kvlog_status st = verify_init(&v, path, options, report, err);

	if (st == KVLOG_OK)
		st = verify_tell(&v);
	verify_fini(&v);
	return st;
}
