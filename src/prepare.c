/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prepare.c - ahead of the log: the spare, its pages, its blocks.
 *
 * A store into a page that is not mapped costs 100 times what it costs
 * otherwise, and the sync of a block that was never written twice what it
 * costs otherwise, since the file system has to note that it is written.  So
 * pages are populated before the log gets there; and if what is written is
 * synced at once, the spare's pages are then synced too, so that its blocks
 * are written: with zeros, as populating changes no byte.  Whatever is
 * prepared too late, or not at all, costs time and nothing else.
 *
 * The spare keeps step with the log, some times as fast: so neither the disk
 * nor those who write have to wait for long, and little is done in vain if the
 * store is closed.
 */
#include "config.h"

#include "prepare.h"

#include "repair.h"
#include "rollover.h"
#include "sync.h"
#include "turn.h"

#include <string.h>

/* Of the active segment this much is populated ahead of its end ... */
#define AHEAD (UINT64_C(4) << 20)
/* ... and of the spare so many times what the active one holds. */
#define PACE 4
/* What one step populates, and what it syncs: half a millisecond each, by
 * which a commit's sync may be delayed. */
#define POPULATE_LEN (UINT64_C(1) << 20)
#define SYNC_LEN (UINT64_C(256) << 10)
/* The log is synced as it grows if no more than this is not synced. */
#define CLOSE_BEHIND (UINT64_C(64) << 10)

struct piece {
	struct segment *seg; /* kept until end_piece() */
	struct os_map map;   /* as it was: it may be sealed meanwhile */
	char name[DIR_NAME_LEN];
	uint64_t off, len;
	bool sync;
};

bool
log_prepare_spare(struct log *log)
{
	struct segment *seg = NULL;
	struct segment_store store;
	struct segment_plan plan;
	bool wanted;

	views_lock(log->views);
	wanted = log->spare_wanted && !atomic_load(&log->broken);
	log_check_spare(log);
	wanted = wanted && log->spare == NULL;
	log->spare_wanted = false;
	if (!wanted) {
		pthread_mutex_unlock(&log->views->lock);
		return false;
	}
	plan = log_plan_next(log, "next.tmp"); /* looks at each segment */
	store = *plan.store; /* what follows is done without the turn */
	plan.store = &store;
	pthread_mutex_unlock(&log->views->lock);

	/* Made under a name of its own, so that a commit that cannot wait
	 * makes one beside it. */
	if (repair_new_segment(log->dir, &plan, &seg, NULL, NULL) != KVLOG_OK)
		return false;
	if (log_await_turn(log, NULL) == KVLOG_OK) {
		if (log->spare == NULL &&
		    plan.number == segment_number(log_active(log)) + 1 &&
		    os->rename(log->dir->fd, plan.name, DIR_SPARE_NAME) == 0) {
			memcpy(
			    seg->name, DIR_SPARE_NAME, sizeof DIR_SPARE_NAME);
			log->spare = seg;
			seg = NULL;
		}
		log_release_turn(log);
	}
	if (seg != NULL) {
		os->unlink(log->dir->fd, plan.name);
		segment_close(seg);
	}
	return true;
}

/* Whether syncs follow the log closely, of whatever process: as it was so far
 * if too little has been written to tell. */
static bool
is_synced_closely(const struct log *log)
{
	const struct segment *active = log_active(log);
	const uint64_t end = segment_end(active);
	const uint64_t synced = control_synced(log->control);

	if (control_pos_segment(synced) == segment_number(active) &&
	    control_pos_off(synced) > SEGMENT_DATA_OFF)
		return end <= control_pos_off(synced) + CLOSE_BEHIND;
	return log->synced_closely && end <= SEGMENT_DATA_OFF + CLOSE_BEHIND;
}

/* Take the next piece, from where the last one ended to goal at most. */
static bool
take_piece(struct log *log, struct segment *seg, uint64_t from, uint64_t goal,
    struct piece *piece)
{
	const uint64_t len = log->synced_closely ? SYNC_LEN : POPULATE_LEN;

	from = max_u64(from, seg->prepared);
	if (from >= goal || seg->map.by_pwrite)
		return false;
	piece->seg = log->preparing = segment_ref(seg);
	piece->map = seg->map;
	piece->sync = log->synced_closely;
	piece->off = from;
	piece->len = min_u64(goal - from, len);
	memcpy(piece->name, seg->name, sizeof piece->name);
	seg->prepared = from + piece->len;
	return true;
}

static bool
begin_piece(struct log *log, bool maintainer, struct piece *piece)
{
	struct segment *active, *spare;
	uint64_t end;
	bool found;

	views_lock(log->views);
	active = log_active(log);
	end = segment_end(active);
	spare = maintainer && !atomic_load(&log->broken) ? log->spare : NULL;
	log->synced_closely = is_synced_closely(log);
	/* A page that is populated is written by the next sync: one that
	 * somebody waits for is not the place for that. */
	found = !log->synced_closely &&
		take_piece(log, active, end,
		    min_u64(end + AHEAD, active->allocated), piece);
	if (!found && spare != NULL)
		found = take_piece(log, spare, 0,
		    min_u64(
			spare->header.size, PACE * (end - SEGMENT_DATA_OFF)),
		    piece);
	pthread_mutex_unlock(&log->views->lock);
	return found;
}

/* By a descriptor of its own: if this sync fails, and the segment is the
 * active one by now, the next one of the log has to fail as well. */
static int
sync_piece(struct log *log, const struct piece *piece)
{
	struct os_stat st;
	int fd, rc = 0;

	/* It may have got its number; that it is not written costs time. */
	if (os->open(log->dir->fd, piece->name, OS_OPEN_READ, 0, &fd) != 0)
		return 0;
	if (os->stat(fd, &st) == 0 && st.dev == piece->seg->dev &&
	    st.ino == piece->seg->ino) {
		os->advise(
		    &piece->map, piece->off, piece->len, OS_ADVICE_FORGET);
		rc = log_sync_ahead(log, fd);
	}
	os->close(fd);
	return rc;
}

/* Whether it is a segment by now, of this process or of another one. */
static bool
is_in_use(const struct log *log, const struct segment *spare)
{
	const struct segset *set = log->view->set;

	for (size_t i = set->count; i > 0; i--)
		if (set->segments[i - 1]->dev == spare->dev &&
		    set->segments[i - 1]->ino == spare->ino)
			return true;
	return false;
}

/* A spare that cannot be written is none.  If there are commits in it already,
 * those whose descriptors are newer than the failure will not hear of it. */
static void
tell_of_failure(struct log *log, const struct piece *piece, int rc)
{
	if (log_await_turn(log, NULL) != KVLOG_OK) {
		(void)log_sync_failed(log, rc, NULL);
		return;
	}
	log_check_spare(log);
	if (log->spare == piece->seg)
		log_drop_spare(log);
	else if (is_in_use(log, piece->seg))
		(void)log_sync_failed(log, rc, NULL);
	log_release_turn(log);
}

static void
end_piece(struct log *log, const struct piece *piece)
{
	views_lock(log->views);
	log->preparing = NULL;
	if (log->forsaken)
		segment_close(piece->seg);
	log->forsaken = false;
	segment_close(piece->seg);
	pthread_mutex_unlock(&log->views->lock);
}

bool
log_prepare_pages(struct log *log, bool maintainer)
{
	struct piece piece;
	int rc;

	if (!begin_piece(log, maintainer, &piece))
		return false;
	os->advise(&piece.map, piece.off, piece.len, OS_ADVICE_POPULATE);
	rc = piece.sync ? sync_piece(log, &piece) : 0;
	if (rc != 0)
		tell_of_failure(log, &piece, rc);
	end_piece(log, &piece);
	return true;
}
