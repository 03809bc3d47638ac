/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoch.c - deferred freeing.
 *
 * There is one epoch number, which only grows.  A reader notes the number's
 * parity by adding one to a counter of that parity, and looks at the number
 * again: if it has moved, the counter may be the wrong one, and the reader
 * takes it back and tries anew.  So of any reader inside:
 *
 *   EPOCH-1  it is counted under the parity of an epoch e that was current
 *            after it was counted.
 *   EPOCH-2  the epoch goes from e to e + 1 only when every counter of
 *            e - 1's parity has been seen at 0 while e was current; hence
 *            readers inside are of the current epoch or the one before.
 *   EPOCH-3  an object retired in epoch r is freed when the epoch is at least
 *            r + 2: by EPOCH-2 no reader of r or before is left, and readers of
 *            r + 1 came after the object was taken out.
 *
 * Why a counter at 0 is final in EPOCH-2: number and counters are changed
 * and read in one total order (seq_cst).  A reader of e - 1 was counted
 * before it read the number as e - 1, thus before the number became e, thus
 * before the counter was read.  A late one reads e and goes back; it may
 * delay the step, but never lets one through.
 *
 * The counters are spread over EPOCH_LINES cache lines, and each thread keeps
 * to one of them, so that readers on different processors do not meet.  All
 * order comes from operations on the counters and the number themselves, not
 * from fences, which ThreadSanitizer does not follow.
 */
#include "config.h"

#include "epoch.h"

#include <errno.h>
#include <stdatomic.h>

#include "os.h"

_Thread_local uint32_t epoch_thread_line ATTR_LOCAL_TLS;

uint32_t
epoch_choose_line(void)
{
	static _Atomic uint32_t threads;
	uint32_t thread =
	    atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);

	epoch_thread_line = (uint32_t)offsetof(struct epoch, inside) +
			    thread % EPOCH_LINES * CACHE_LINE;
	return epoch_thread_line;
}

int
epoch_create(struct epoch **ret_epoch)
{
	struct epoch *epoch = os->aligned(CACHE_LINE, sizeof *epoch);

	if (epoch == NULL)
		return ENOMEM;
	atomic_init(&epoch->now, 2);
	epoch->head = NULL;
	epoch->tail = &epoch->head;
	for (unsigned i = 0; i < EPOCH_COUNTERS; i++)
		atomic_init(&epoch->inside[i], 0);
	*ret_epoch = epoch;
	return 0;
}

/* Free what was retired in epoch `last` or before. */
static void
free_up_to(struct epoch *epoch, uint64_t last)
{
	while (epoch->head != NULL && epoch->head->epoch <= last) {
		struct epoch_node *node = epoch->head;

		epoch->head = node->next;
		if (epoch->head == NULL)
			epoch->tail = &epoch->head;
		node->fn(node->arg); /* node is gone */
	}
}

void
epoch_destroy(struct epoch *epoch)
{
	if (epoch == NULL)
		return;
	for (unsigned i = 0; i < EPOCH_COUNTERS; i++)
		assert(atomic_load(&epoch->inside[i]) == 0);
	free_up_to(epoch, UINT64_MAX);
	os->free(epoch);
}

void
epoch_retire(struct epoch *epoch, struct epoch_node *node,
    void (*fn)(void *arg), void *arg)
{
	node->next = NULL;
	node->fn = fn;
	node->arg = arg;
	node->epoch = atomic_load(&epoch->now);
	*epoch->tail = node;
	epoch->tail = &node->next;
}

/* Go to the next epoch if nobody is left from the one before (EPOCH-2). */
static bool
advance(struct epoch *epoch)
{
	uint64_t now = atomic_load(&epoch->now);

	for (unsigned i = 0; i < EPOCH_LINES; i++)
		if (atomic_load(&epoch->inside[i * EPOCH_LINE_COUNTERS +
					       ((now - 1) & 1)]) != 0)
			return false;
	atomic_store(&epoch->now, now + 1);
	return true;
}

bool
epoch_is_empty(const struct epoch *epoch)
{
	return epoch->head == NULL;
}

void
epoch_free(struct epoch *epoch)
{
	/* Two steps make everything ready if no reader is inside. */
	for (int step = 0; step < 2; step++)
		if (!advance(epoch))
			break;
	free_up_to(epoch, atomic_load(&epoch->now) - 2); /* EPOCH-3 */
}
