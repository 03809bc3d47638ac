/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.h - the lock files that this process has open.
 *
 * Two things must not happen in a process that opens a store twice.  With
 * classic fcntl locks, which belong to the process, a second writer would be
 * let in, and closing any descriptor of the file would drop the first one's
 * locks.  So a process has at most one writer of a store, which its other
 * handles take part in, and where locks are of that kind descriptors of a lock
 * file are closed together, when the last handle on it goes.
 *
 * Threads: any.
 *
 * A forked child begins with an empty registry, its copies of the descriptors
 * closed: locks of Linux live as long as any copy, and the parent's must end
 * with the parent (control.c sees to the mapping, which is a copy too).  What
 * the parent had open is of no use to the child, which sees by registry_forks()
 * that it is one.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "base.h"
#include "os.h"

struct registry_entry;

/* In how many forks, one within the other, this process was the child; another
 * number than at the opening of a handle says that the handle is the
 * parent's. */
extern _Atomic uint32_t registry_fork_count;
static inline uint32_t
registry_forks(void)
{
	return atomic_load_explicit(&registry_fork_count, memory_order_relaxed);
}

/*
 * Take part in the entry of the lock file with this identity.  fd is open on
 * it and belongs to the registry from then on, also on failure.  0, or
 * ENOMEM.
 */
int registry_join(
    uint64_t dev, uint64_t ino, int fd, struct registry_entry **ret_entry);

/* End that; NULL is fine.  fd is closed: at once or, where that would end the
 * locks of the others, too, with the last of them. */
void registry_leave(struct registry_entry *entry, int fd);

/* Become the one writer of this process; false if there is another. */
bool registry_claim_writer(struct registry_entry *entry);
void registry_drop_writer(struct registry_entry *entry);
/* Whether there is one: classic locks do not tell the process that has them. */
bool registry_has_writer(struct registry_entry *entry);
/* Likewise, the nonce of the control page that it has formatted; 0: none. */
void registry_set_nonce(struct registry_entry *entry, uint64_t nonce);
uint64_t registry_nonce(struct registry_entry *entry);

/*
 * The writer's store, for other handles of this process to take part in:
 * offered once it is open.  share gives it to one more, or NULL;
 * withdraw ends the part of one, and says whether it was the last: then it is
 * not offered any more.
 */
struct store;
void registry_offer_writer(struct registry_entry *entry, struct store *store);
struct store *registry_share_writer(struct registry_entry *entry);
bool registry_withdraw_writer(struct registry_entry *entry);

/* For tests that end a simulated process in the midst of anything: the next
 * one begins with an empty registry. */
void registry_forget(void);

#endif
